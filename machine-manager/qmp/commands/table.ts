/** All QMP commands, in the order query-commands lists them, and the types that follow from them. */
import type * as v from 'valibot'
import { balloonCommands } from './balloon.ts'
import { blockCommands } from './block.ts'
import { chardevCommands } from './chardev.ts'
import { informationCommands } from './information.ts'
import { introspectionCommands } from './introspection.ts'
import { lifecycleCommands } from './lifecycle.ts'
import { monitorCommands } from './monitor.ts'
import { networkCommands } from './network.ts'
import type { Command } from './define.ts'

const table = [...monitorCommands, ...lifecycleCommands, ...informationCommands, ...introspectionCommands, ...blockCommands, ...networkCommands, ...balloonCommands, ...chardevCommands] as const

type TableCommand = (typeof table)[number]
export type CommandName = TableCommand['name']
type CommandOf<Name extends CommandName> = Extract<TableCommand, { readonly name: Name }>

/** Arguments of a command as a client writes them. */
export type CommandArguments<Name extends CommandName> =
  CommandOf<Name> extends Command<string, infer Entries, unknown> ? v.InferInput<v.ObjectSchema<Entries, undefined>> : never
/** What `return` holds. */
export type CommandResult<Name extends CommandName> = Awaited<ReturnType<CommandOf<Name>['run']>>

export const COMMANDS: readonly Command[] = table

const byName = new Map<string, Command>(COMMANDS.map((command) => [command.name, command]))

export function findCommand(name: string): Command | undefined {
  return byName.get(name)
}
