/** A session at a terminal: prompt, history, completion, and events above the line that is being typed. */
import { clearLine, createInterface, cursorTo } from 'node:readline'
import { MesovirtError } from '../../host/errors.ts'
import { describeArguments } from '../../machine-manager/qmp/commands/define.ts'
import { findCommand } from '../../machine-manager/qmp/commands/table.ts'
import { renderResult } from './batch.ts'
import { complete } from './complete.ts'
import { harmless, paint, renderValue } from './render.ts'
import { parseRequest } from './request.ts'
import type { QmpClient, QmpEvent } from '../../machine-manager/qmp/client.ts'
import type { History } from './history.ts'

export interface InteractiveOptions {
  readonly input: NodeJS.ReadableStream
  readonly output: NodeJS.WritableStream
  readonly history: History
  readonly colour: boolean
}

const PROMPT = '(qmp) '
const HELP = `command name=value ...   run a command, e.g. query-status
{"execute": ...}         the same as JSON
hmp LINE                 a line of the human monitor, e.g. hmp info registers
help [COMMAND]           this text, or what a command does
exit                     leave; the machine runs on (quit ends the machine)
`

/** Runs until `exit`, end of input or the end of the connection. @returns exit status: 1 when the machine hung up without a word */
export async function runInteractive(client: QmpClient, { input, output, history, colour }: InteractiveOptions): Promise<0 | 1> {
  const style = { colour }
  let ending = false
  let commandNames: readonly string[] = []
  const terminal = createInterface({
    input, output, terminal: true, prompt: PROMPT, historySize: 1000, removeHistoryDuplicates: true,
    history: [...history.load()].reverse(),
    completer: (line: string) => complete(line, commandNames),
  })
  const finished = new Promise<void>((resolve) => { terminal.once('close', resolve) })
  let closed = false
  void finished.then(() => { closed = true })
  const print = (text: string) => {
    cursorTo(output, 0)
    clearLine(output, 0)
    output.write(text)
    if (!closed) terminal.prompt(true)
  }
  client.onEvent((event) => {
    if (event.event === 'SHUTDOWN') ending = true
    // One turn later: a reply that came before the event is printed before it.
    setImmediate(() => print(renderEvent(event, style)))
  })
  const lost = client.closed.then(() => {
    if (closed) return false
    print(ending ? 'The machine has ended.\n' : `${paint('The machine closed the connection.', 'error', style)}\n`)
    terminal.close()
    return !ending
  })
  const { version } = client.greeting.QMP
  const { major, minor, micro } = version.qemu
  output.write(`Connected to ${harmless(String(version.package))} (QMP of QEMU ${major}.${minor}.${micro}). help explains, Tab completes, exit leaves.\n`)
  commandNames = await listCommands(client)

  const run = async (line: string): Promise<void> => {
    const [word = '', topic = ''] = line.trim().split(/\s+/)
    if (word === 'exit') return terminal.close()
    if (word === 'help') return print(help(topic, commandNames))
    try {
      const typed = parseRequest(line)
      if (typed === undefined) return
      if (typed.request['execute'] === 'quit') ending = true
      const reply = await client.send(typed.request)
      print('error' in reply
        ? `${paint(harmless(`${reply.error.class}: ${reply.error.desc}`), 'error', style)}\n`
        : renderResult(reply.return, typed.text, { terminal: true, colour }))
    } catch (error) {
      if (!(error instanceof MesovirtError)) throw error
      if (error.code !== 'QMP_CLOSED') print(`${paint(harmless(error.message), 'error', style)}\n`)
    }
  }
  let work = Promise.resolve()
  terminal.on('line', (line) => {
    history.add(line)
    work = work.then(() => run(line)).then(() => { if (!closed) terminal.prompt() })
  })
  terminal.on('SIGINT', () => {
    // Ctrl-C drops the line, as a shell does.
    output.write('^C\n')
    terminal.write(null, { ctrl: true, name: 'e' })
    terminal.write(null, { ctrl: true, name: 'u' })
    terminal.prompt()
  })
  terminal.on('SIGCONT', () => terminal.prompt(true))
  terminal.prompt()
  await finished
  await work
  client.close()
  return await lost ? 1 : 0
}

async function listCommands(client: QmpClient): Promise<readonly string[]> {
  const reply = await client.send({ execute: 'query-commands' }).catch(() => undefined)
  if (reply === undefined || !('return' in reply) || !Array.isArray(reply.return)) return []
  return reply.return.flatMap((entry: { name?: unknown }) => typeof entry?.name === 'string' ? [harmless(entry.name)] : []).sort()
}

function renderEvent({ event, data, timestamp }: QmpEvent, style: { readonly colour: boolean }): string {
  const seconds = Number(timestamp?.seconds)
  const time = Number.isFinite(seconds) && Math.abs(seconds) < 1e11 ? new Date(seconds * 1000).toISOString().slice(11, 19) : ''
  const details = data === undefined || Object.keys(data).length === 0 ? '' : ` ${renderValue(data, style)}`
  return `${paint(time, 'dim', style)} ${paint(harmless(event), 'event', style)}${details}\n`
}

function help(topic: string, commandNames: readonly string[]): string {
  if (topic === '') return commandNames.length === 0 ? HELP : `${HELP}\nCommands: ${commandNames.join(' ')}\n`
  const command = findCommand(topic)
  if (command === undefined) return `${commandNames.includes(topic) ? 'Nothing is known here about' : 'There is no command'} ${harmless(topic)}.\n`
  const rows = describeArguments(command).map(({ name, type, optional, description }) => `  ${name} (${type}${optional ? ', optional' : ''}): ${description}\n`)
  return `${command.doc}\n${rows.join('')}Example: ${command.example}\n`
}
