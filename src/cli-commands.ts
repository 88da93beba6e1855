/** Sub-commands, by commander. Each command's code is loaded only when it is the one that was asked for, or when help lists them all. */
import { Command, CommanderError } from 'commander'
import { MesovirtError } from '../host/errors.ts'
import type { CommandName } from '../machine-manager/options/completion.ts'
import { nearest } from '../machine-manager/options/suggest.ts'
import { addCompletionCommand } from './cli-completion.ts'
import { say } from './cli-output.ts'

const ADD: Readonly<Record<string, (program: Command) => Promise<void>>> = {
  guest: async (program) => (await import('./guest/command.ts')).addGuestCommand(program),
  qmp: async (program) => (await import('./qmp-client/command.ts')).addQmpCommand(program),
  doctor: async (program) => (await import('./doctor/command.ts')).addDoctorCommand(program),
  completion: async (program) => addCompletionCommand(program, () => listCommands(program)),
}

/**
 * Runs `mesovirt COMMAND ...`.
 * @param argv arguments without program name, the first is a word
 * @returns exit status
 */
export async function runCommand(argv: readonly string[]): Promise<number> {
  const name = argv[0] ?? ''
  const one = Object.hasOwn(ADD, name) ? ADD[name] : undefined
  if (one === undefined && name !== 'help') {
    const near = nearest(name, [...Object.keys(ADD), 'help'])
    throw new MesovirtError('COMMAND_UNKNOWN', `${name}: unknown command; ${near === undefined ? 'mesovirt help lists them' : `did you mean ${near}?`}`)
  }
  const program = createProgram()
  const wanted = one === undefined || name === 'completion' ? Object.values(ADD) : [one]
  for (const add of wanted) await add(program)
  try {
    await program.parseAsync(argv, { from: 'user' })
    return Number(process.exitCode ?? 0)
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error
    return error.exitCode
  }
}

function createProgram(): Command {
  const program = new Command('mesovirt')
    .description('A machine emulator: Linux to a shell anywhere Node runs, steered over QMP.')
    .usage('COMMAND ... | OPTION...')
    .addHelpText('after', '\nWithout a command the arguments are options that start a machine: mesovirt -help lists them.')
    .helpCommand('help [command]', 'explain a command')
    .showSuggestionAfterError(true)
    // Settings below are inherited by commands that are added after them.
    .exitOverride()
    .configureOutput({ writeErr: (text) => process.stderr.write(text),
      outputError: (text) => say(text.trim().replace(/^error: /, '').replaceAll('\n', ' ')) })
  return program
}

function listCommands(program: Command): CommandName[] {
  const commands = program.commands.map((command) => ({
    name: command.name(), help: command.description(),
    options: command.options.flatMap(({ long, description }) => (typeof long === 'string' ? [{ flag: long, help: description }] : [])),
  }))
  return [...commands, { name: 'help', help: 'explain a command', options: [] }]
}
