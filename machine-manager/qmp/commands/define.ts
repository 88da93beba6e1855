/** How a QMP command is declared: once, with valibot, and everything else (validation, types, query-commands, completion, docs) is derived from that. */
import * as v from 'valibot'
import type { VirtualMachine } from '../../vm.ts'
import type { JsonObject, JsonValue } from '../json-stream.ts'

/** Error classes that QEMU's clients know. */
export type QmpErrorClass = 'GenericError' | 'CommandNotFound' | 'DeviceNotActive' | 'DeviceNotFound' | 'KVMMissingCap'

/** An error reply: thrown by handlers, turned into `{"error":{"class":...,"desc":...}}`. */
export class QmpError extends Error {
  readonly errorClass: QmpErrorClass
  constructor(errorClass: QmpErrorClass, description: string) {
    super(description)
    this.name = 'QmpError'
    this.errorClass = errorClass
  }
}

/** What a handler may use. */
export interface CommandContext {
  readonly vm: VirtualMachine
  /** Version of this program, e.g. `0.1.0`. */
  readonly version: string
  readonly commandNames: readonly string[]
  /** Runs one line of the human monitor. @param cpuIndex the vCPU it is about */
  humanMonitor(line: string, cpuIndex: number): Promise<string>
}

export interface Command<Name extends string = string, Entries extends v.ObjectEntries = v.ObjectEntries, Result = unknown> {
  readonly name: Name
  /** One or two sentences for people. */
  readonly doc: string
  readonly arguments: Entries
  /** Shape of `return` for people; absent: an empty object. */
  readonly returns?: string
  /** Example request, as it goes over the wire. */
  readonly example: string
  /** Method syntax on purpose: a table of commands holds handlers of different argument types. */
  run(args: v.InferOutput<v.ObjectSchema<Entries, undefined>>, context: CommandContext): Result | Promise<Result>
}

/** Declares a command; only here to infer the types. */
export function defineCommand<const Name extends string, const Entries extends v.ObjectEntries, Result>(
  command: Command<Name, Entries, Result>,
): Command<Name, Entries, Result> {
  return command
}

// The message of each schema is the type's name in QEMU's words: error texts and docs both print it.
export const text = (description: string) => v.pipe(v.string('string'), v.description(description))
export const integer = (description: string) => v.pipe(v.number('integer'), v.safeInteger('integer'), v.description(description))
export const list = <const Item extends v.GenericSchema>(item: Item, description: string) => v.pipe(v.array(item, 'array'), v.description(description))
export const choice = <const Options extends readonly string[]>(options: Options) => v.picklist(options)
export const optional = <const Schema extends v.GenericSchema>(schema: Schema) => v.exactOptional(schema)

/**
 * Checks the `arguments` member of a request.
 * @throws QmpError GenericError in QEMU's words: the first parameter that is missing, of a wrong type or value, or else unknown
 */
export function parseArguments(command: Command, given: JsonObject): v.InferOutput<v.ObjectSchema<v.ObjectEntries, undefined>> {
  const result = v.safeParse(v.object(command.arguments), given, { abortEarly: true })
  if (!result.success) throw new QmpError('GenericError', describeIssue(result.issues[0]))
  for (const key of Object.keys(given)) {
    if (!Object.hasOwn(command.arguments, key)) throw new QmpError('GenericError', `Parameter '${key}' is unexpected`)
  }
  return result.output
}

function describeIssue(issue: v.BaseIssue<unknown>): string {
  const parameter = pathOf(issue)
  if (issue.input === undefined) return `Parameter '${parameter}' is missing`
  if (issue.type === 'picklist') {
    return typeof issue.input === 'string'
      ? `Parameter '${parameter}' does not accept value '${issue.input}'`
      : `Invalid parameter type for '${parameter}', expected: string`
  }
  return `Invalid parameter type for '${parameter}', expected: ${issue.message}`
}

/** QEMU's spelling: `file.aio`, `enable[0]`. */
function pathOf(issue: v.BaseIssue<unknown>): string {
  return (issue.path ?? []).reduce((path, { key }) => typeof key === 'number' ? `${path}[${key}]` : path === '' ? String(key) : `${path}.${String(key)}`, '')
}

/** Name and shape of one argument, for docs and completion. */
export interface ArgumentInfo {
  readonly name: string
  readonly type: string
  readonly optional: boolean
  readonly description: string
}

/** The arguments of a command as data. */
export function describeArguments(command: Command): readonly ArgumentInfo[] {
  return Object.entries(command.arguments).map(([name, schema]) => {
    const inner = schema.type === 'exact_optional' ? (schema as v.ExactOptionalSchema<v.GenericSchema, undefined>).wrapped : schema as v.GenericSchema
    const message = (inner as { message?: unknown }).message
    return {
      name,
      type: typeof message === 'string' ? message : inner.type,
      optional: inner !== schema,
      description: v.getDescription(inner) ?? '',
    }
  })
}

export type { JsonObject, JsonValue }
