/** Values of options: booleans, numbers, sizes, choices, text. Accepts QEMU's and StratoVirt's spellings of each. */
import { optionError, printable } from './errors.ts'
import { didYouMean } from './suggest.ts'

/** Working; accepted without effect, for the reason given; or known but brought by later work. */
export type Status =
  | { readonly state: 'working' }
  | { readonly state: 'ignored'; readonly reason: string }
  /** `instead`: what there is in its place */
  | { readonly state: 'later'; readonly work: string; readonly instead?: string }

export interface Choice {
  readonly name: string
  readonly aliases?: readonly string[]
  readonly help?: string
  readonly status?: Status
}

/** Type of a value. `bareUnit` is what one unit of a size without suffix means, in bytes. */
export type ValueType =
  | { readonly kind: 'text'; readonly maxBytes: number; readonly name?: string }
  | { readonly kind: 'path'; readonly maxBytes: number }
  | { readonly kind: 'boolean'; readonly only?: boolean }
  | { readonly kind: 'integer'; readonly min: number; readonly max: number }
  | { readonly kind: 'size'; readonly min: number; readonly max: number; readonly bareUnit: number }
  /** `otherwise` is the later work that every other word belongs to. */
  | { readonly kind: 'choice'; readonly choices: readonly Choice[]; readonly otherwise?: string }
  /** Choices in order of preference with colons between: `kvm:tcg`. The value is the list as typed, every name checked. */
  | { readonly kind: 'preference'; readonly choices: readonly Choice[] }

export type Value = string | number | boolean

export const KIB = 1024
export const MIB = 1024 * KIB
export const GIB = 1024 * MIB
export const TIB = 1024 * GIB

const TRUE_WORDS = new Set(['on', 'yes', 'true', 'unmap'])
const FALSE_WORDS = new Set(['off', 'no', 'false', 'ignore'])
const SUFFIX: Readonly<Record<string, number>> = { b: 1, k: KIB, m: MIB, g: GIB, t: TIB }

/** `on`/`yes`/`true` and `off`/`no`/`false` (StratoVirt also `unmap` and `ignore`), any case; undefined for anything else. */
export function parseBoolean(text: string): boolean | undefined {
  const word = text.toLowerCase()
  return TRUE_WORDS.has(word) ? true : FALSE_WORDS.has(word) ? false : undefined
}

/** A decimal or 0x-hexadecimal integer without sign, at most 2^53-1; undefined for anything else. */
export function parseInteger(text: string): number | undefined {
  if (!/^(\d+|0[xX][0-9a-fA-F]+)$/.test(text)) return undefined
  const number = Number(text)
  return Number.isSafeInteger(number) ? number : undefined
}

/**
 * A size in bytes: number with an optional suffix b, k, m, g or t in either case, powers of 1024; a decimal fraction is allowed with a suffix when
 * the result is a whole number of bytes. Undefined for anything else.
 * @param bareUnit bytes per unit of a number without suffix
 */
export function parseSize(text: string, bareUnit: number): number | undefined {
  const match = /^(?:(0[xX][0-9a-fA-F]+)|(\d+(?:\.\d+)?)([bkmgt]?))$/i.exec(text)
  if (match === null) return undefined
  const suffix = match[3] ?? ''
  const unit = suffix === '' ? bareUnit : SUFFIX[suffix.toLowerCase()] ?? bareUnit
  const bytes = Number(match[1] ?? match[2]) * unit
  return Number.isSafeInteger(bytes) ? bytes : undefined
}

/** A size as people write it: the largest suffix that divides it. */
export function formatSize(bytes: number): string {
  for (const [suffix, unit] of [['T', TIB], ['G', GIB], ['M', MIB], ['K', KIB]] as const) {
    if (bytes >= unit && bytes % unit === 0) return `${bytes / unit}${suffix}`
  }
  return `${bytes}b`
}

/** Finds a choice by name or alias, in any case. */
export function findChoice(choices: readonly Choice[], text: string): Choice | undefined {
  const word = text.toLowerCase()
  return choices.find((choice) => choice.name.toLowerCase() === word || choice.aliases?.some((alias) => alias.toLowerCase() === word))
}

/**
 * Reads a value of the given type.
 * @param where option and key, for error messages
 * @returns the value; a choice by its canonical name
 * @throws MesovirtError OPTION_VALUE, OPTION_LATER
 */
export function parseValue(type: ValueType, text: string, where: string): Value {
  const at = `${where}${text === '' || text.length > 60 ? '' : where.endsWith('=') ? text : ` ${text}`}`
  switch (type.kind) {
    case 'text':
    case 'path':
      if (text === '') throw optionError('OPTION_VALUE', where, 'the value is empty; give one')
      if (text.includes('\0')) throw optionError('OPTION_VALUE', where, 'the value holds a zero byte')
      return checkLength(text, type.maxBytes, where)
    case 'boolean': {
      const value = parseBoolean(text)
      if (value === undefined) throw optionError('OPTION_VALUE', at, 'must be on or off')
      if (type.only !== undefined && value !== type.only) throw optionError('OPTION_VALUE', at, `only ${type.only ? 'on' : 'off'} is supported`)
      return value
    }
    case 'integer': {
      const value = parseInteger(text)
      if (value === undefined || value < type.min || value > type.max) {
        throw optionError('OPTION_VALUE', at, `must be a whole number between ${type.min} and ${type.max}`)
      }
      return value
    }
    case 'size': {
      const value = parseSize(text, type.bareUnit)
      if (value === undefined) throw optionError('OPTION_VALUE', at, 'not a size; write a number with K, M, G or T, such as 512M')
      if (value < type.min || value > type.max) throw optionError('OPTION_VALUE', at,
        `must be between ${formatSize(type.min)} and ${formatSize(type.max)}`)
      return value
    }
    case 'choice':
      if (type.otherwise !== undefined && findChoice(type.choices, text) === undefined) throw laterError(at, type.otherwise)
      return checkChoice(type.choices, text, where, at).name
    case 'preference': {
      const names = text.split(':')
      const found = names.map((name) => findChoice(type.choices, name) ?? unknownChoice(type.choices, name, where, at))
      return found.map((choice) => choice.name).join(':')
    }
  }
}

function checkLength(text: string, maxBytes: number, where: string): string {
  const bytes = Buffer.byteLength(text)
  if (bytes > maxBytes) throw optionError('OPTION_VALUE', where, `the value has ${bytes} bytes, at most ${maxBytes} are allowed; shorten it`)
  return text
}

function checkChoice(choices: readonly Choice[], text: string, where: string, at: string): Choice {
  const choice = findChoice(choices, text) ?? unknownChoice(choices, text, where, at)
  if (choice.status?.state === 'later') throw laterError(at, choice.status.work)
  return choice
}

function unknownChoice(choices: readonly Choice[], text: string, where: string, at: string): never {
  const working = choices.filter((choice) => choice.status?.state !== 'later').map((choice) => choice.name)
  const hint = didYouMean(text, choices.flatMap((choice) => [choice.name, ...(choice.aliases ?? [])]))
  if (text === '') throw optionError('OPTION_VALUE', where, `the value is empty; use ${listWords(working)}`)
  throw optionError('OPTION_VALUE', at, `"${printable(text, 60)}" is not known${hint || `; use ${listWords(working)}`}`)
}

/** The error for what is known and not there yet. `work` reads as the subject of a sentence in the plural: `virtio devices`. */
export function laterError(where: string, work: string, instead?: string): Error {
  return optionError('OPTION_LATER', where, `${work} are not in this version${instead === undefined ? '' : `; use ${instead}`}`)
}

/** `a`, `a or b`, `a, b or c`. */
export function listWords(words: readonly string[]): string {
  return words.length < 2 ? words.join('') : `${words.slice(0, -1).join(', ')} or ${words.at(-1) ?? ''}`
}

/** Placeholder of a value type in help and documents: `N`, `SIZE`, `on|off`, `a|b|c`. */
export function describeType(type: ValueType): string {
  switch (type.kind) {
    case 'text': return type.name ?? 'TEXT'
    case 'path': return 'PATH'
    case 'boolean': return type.only === undefined ? 'on|off' : type.only ? 'on' : 'off'
    case 'integer': return 'N'
    case 'size': return 'SIZE'
    case 'choice': return type.choices.filter((choice) => choice.status?.state !== 'later').map((choice) => choice.name).join('|')
    case 'preference': return type.choices.filter((choice) => choice.status?.state !== 'later').map((choice) => choice.name).join('|')
  }
}
