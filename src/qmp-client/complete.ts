/** Tab completion: commands the machine has, arguments the command table knows, lines of the human monitor. */
import { describeArguments } from '../../machine-manager/qmp/commands/define.ts'
import { findCommand } from '../../machine-manager/qmp/commands/table.ts'

/** Words that this client understands itself. */
export const LOCAL_WORDS = ['exit', 'help', 'hmp'] as const
const HUMAN_LINES = ['help', 'info mtree', 'info registers', 'info registers -a', 'info status', 'x /', 'xp /']

/**
 * @param line what stands before the cursor
 * @param commandNames of the machine
 * @returns the candidates, and the text they replace: Node readline's shape
 */
export function complete(line: string, commandNames: readonly string[]): [string[], string] {
  const text = line.trimStart()
  const [, command, rest] = /^(\S+)\s+(.*)$/s.exec(text) ?? []
  if (command === undefined || rest === undefined) return [matching([...commandNames, ...LOCAL_WORDS].sort(), text).map((name) => `${name} `), text]
  if (command === 'hmp') return [matching(HUMAN_LINES, rest), rest]
  if (command === 'help') return [matching(commandNames, rest), rest]
  const word = /\S*$/.exec(rest)?.[0] ?? ''
  const known = findCommand(command)
  if (known === undefined || word.includes('=')) return [[], word]
  const given = new Set([...rest.matchAll(/(\S+?)=/g)].map(([, name]) => name))
  const names = describeArguments(known).map(({ name }) => name).filter((name) => !given.has(name))
  return [matching(names, word).map((name) => `${name}=`), word]
}

function matching(candidates: readonly string[], start: string): string[] {
  return candidates.filter((candidate) => candidate.startsWith(start))
}
