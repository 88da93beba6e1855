/** From the text after an option to checked values, by the option table. Leaves out what values of several options mean together: build.ts. */
import { parseKeyValues, splitOnce } from './grammar.ts'
import type { KeyValue } from './grammar.ts'
import type { OptionSpec, SubOption, Variant } from './option-types.ts'
import { optionError, printable } from './errors.ts'
import { didYouMean } from './suggest.ts'
import { laterError, listWords, parseBoolean, parseValue } from './values.ts'
import type { Status, Value } from './values.ts'

/** Checked values by key. Ignored keys are checked and left out. */
export class Values {
  readonly #values: Map<string, Value>
  readonly #lists = new Map<string, string[]>()

  constructor(values: readonly (readonly [string, Value])[] = []) {
    this.#values = new Map(values)
  }

  set(key: string, value: Value): void { this.#values.set(key, value) }
  /** One more value of a key that may be given again. */
  add(key: string, value: Value): void { this.#lists.set(key, [...this.list(key), String(value)]) }
  /** All values of such a key. */
  list(key: string): readonly string[] { return this.#lists.get(key) ?? [] }
  has(key: string): boolean { return this.#values.has(key) }
  keys(): string[] { return [...this.#values.keys()] }

  text(key: string): string | undefined {
    const value = this.#values.get(key)
    return typeof value === 'string' ? value : undefined
  }

  number(key: string): number | undefined {
    const value = this.#values.get(key)
    return typeof value === 'number' ? value : undefined
  }

  boolean(key: string): boolean | undefined {
    const value = this.#values.get(key)
    return typeof value === 'boolean' ? value : undefined
  }
}

/** A back-end or device with its keys. */
export interface NamedValues { readonly name: string; readonly values: Values }

/** Throws if the option itself comes later. Variants say it themselves, with their name. */
export function checkStatus(spec: OptionSpec): void {
  if (spec.status?.state === 'later') throw laterError(`-${spec.name}`, spec.status.work)
}

/**
 * Reads the pieces of a value by a list of keys.
 * @param where option, and variant if there is one, for error messages
 * @throws MesovirtError OPTION_UNKNOWN, OPTION_VALUE, OPTION_REPEATED, OPTION_MISSING, OPTION_LATER
 */
export function readValues(pairs: readonly KeyValue[], sub: readonly SubOption[], where: string): Values {
  const values = new Values()
  const seen = new Set<string>()
  for (const pair of pairs) {
    const { option, text } = resolve(pair, sub, where)
    const at = `${where} ${option.key}=`
    if (seen.has(option.key) && option.repeatable !== true) throw optionError('OPTION_REPEATED', `${where} ${option.key}`, 'is given twice; give it once')
    seen.add(option.key)
    const status: Status | undefined = option.status
    if (status?.state === 'later') throw laterError(`${where} ${option.key}`, status.work)
    const value = parseValue(option.type, text, at)
    if (status?.state === 'ignored') continue
    if (option.repeatable === true) values.add(option.key, value)
    else values.set(option.key, value)
  }
  for (const option of sub) {
    if (option.required === true && !seen.has(option.key)) {
      throw optionError('OPTION_MISSING', where, `needs ${option.key}=; add it`)
    }
  }
  return values
}

/** Finds the key of one piece. A bare word is a boolean: `server` means on, `nowait` means wait=off. */
function resolve(pair: KeyValue, sub: readonly SubOption[], where: string): { option: SubOption; text: string } {
  const exact = findKey(sub, pair.key)
  if (exact !== undefined) {
    if (pair.value !== undefined) return { option: exact, text: pair.value }
    if (exact.type.kind === 'boolean') return { option: exact, text: 'on' }
    throw optionError('OPTION_VALUE', `${where} ${pair.key}`, `needs a value; write ${exact.key}=...`)
  }
  const negated = pair.key.startsWith('no') ? findKey(sub, pair.key.slice(2).replace(/^-/, '')) : undefined
  if (negated?.type.kind === 'boolean') {
    const value = pair.value === undefined ? true : parseBoolean(pair.value)
    if (value !== undefined) return { option: negated, text: value ? 'off' : 'on' }
  }
  const names = sub.filter((option) => option.status === undefined).map((option) => option.key)
  const hint = didYouMean(pair.key, sub.flatMap((option) => [option.key, ...(option.aliases ?? [])]))
  const known = names.length === 0 ? '; it takes no properties' : `; it takes ${listWords(names)}`
  throw optionError('OPTION_UNKNOWN', `${where} ${printable(pair.key, 60)}`, `unknown property${hint || known}`)
}

function findKey(sub: readonly SubOption[], key: string): SubOption | undefined {
  return sub.find((option) => option.key === key || option.aliases?.includes(key))
}

/**
 * Reads `NAME,k=v,...` where NAME selects the keys; NAME may also be `key=NAME`, or a member of a JSON object, at any place.
 * @param key name under which the first piece may be given, e.g. `driver`
 * @param common keys of every variant
 */
export function readVariant(text: string, key: string, variants: readonly Variant[], where: string, common: readonly SubOption[] = []): NamedValues {
  const pairs = parseKeyValues(text, key, where)
  const at = pairs.findIndex((pair) => pair.key === key)
  const name = pairs[at]?.value
  if (name === undefined || name === '') throw optionError('OPTION_MISSING', where, `needs a ${key}; write it first`)
  const variant = findVariant(variants, name, where)
  return { name: variant.name, values: readValues(pairs.filter((_, index) => index !== at), [...common, ...variant.sub], `${where} ${variant.name}`) }
}

function findVariant(variants: readonly Variant[], name: string, where: string): Variant {
  const variant = variants.find((candidate) => candidate.name === name || candidate.aliases?.includes(name))
  const at = `${where} ${printable(name, 60)}`
  if (variant === undefined) {
    const working = variants.filter((candidate) => candidate.status?.state !== 'later').map((candidate) => candidate.name)
    const known = working.length === 0 ? '' : `; use ${listWords(working)}`
    throw optionError('OPTION_UNKNOWN', at, `not known${didYouMean(name, variants.map((candidate) => candidate.name)) || known}`)
  }
  if (variant.status?.state === 'later') throw laterError(at, variant.status.work, variant.status.instead)
  return variant
}

/** What -serial and -qmp name: nothing, a -chardev, or a back-end of their own. */
export type CharacterDeviceReference =
  | { readonly kind: 'none' }
  | { readonly kind: 'reference'; readonly id: string }
  | ({ readonly kind: 'inline' } & NamedValues)

/** Prefixes of QEMU's short form that are not in this version. */
const LATER_PREFIXES: Readonly<Record<string, string>> = {
  mon: 'human monitors beside a serial port (mon:)', telnet: 'telnet sockets', websocket: 'web sockets', udp: 'UDP sockets',
    vc: 'virtual consoles',
}

/**
 * Reads QEMU's short form of a character device: `stdio`, `pty`, `null`, `none`, `file:PATH`, `pipe:PATH`, `unix:PATH[,server][,nowait]`,
 * `tcp:HOST:PORT[,...]`, `chardev:ID`, and StratoVirt's `socket,path=PATH[,...]` and `file,path=PATH`.
 * @param variants kinds of character devices with their keys
 */
export function readCharacterDevice(text: string, variants: readonly Variant[], where: string): CharacterDeviceReference {
  if (/^\s*\{/.test(text)) return { kind: 'inline', ...readVariant(text, 'backend', variants, where) }
  if (text === 'none') return { kind: 'none' }
  const [prefix, rest] = splitOnce(text, ':')
  if (prefix === 'chardev' && rest !== undefined) {
    if (rest === '') throw optionError('OPTION_MISSING', where, 'needs the id of a -chardev after chardev:')
    return { kind: 'reference', id: rest }
  }
  // A file name is taken as it stands, commas and all, as QEMU does.
  if ((prefix === 'file' || prefix === 'pipe') && rest !== undefined) return inline(prefix, [{ key: 'path', value: rest }], variants, where)
  if ((prefix === 'unix' || prefix === 'tcp') && rest !== undefined) return inline('socket', socketPairs(prefix, rest, where), variants, where)
  const work = LATER_PREFIXES[prefix]
  if (work !== undefined && Object.hasOwn(LATER_PREFIXES, prefix)) throw laterError(`${where} ${printable(text, 60)}`, work)
  return { kind: 'inline', ...readVariant(text, 'backend', variants, where) }
}

function inline(name: string, pairs: readonly KeyValue[], variants: readonly Variant[], where: string): CharacterDeviceReference {
  const variant = findVariant(variants, name, where)
  return { kind: 'inline', name, values: readValues(pairs, variant.sub, where) }
}

function socketPairs(prefix: 'unix' | 'tcp', rest: string, where: string): KeyValue[] {
  const [first, ...others] = parseKeyValues(`address=${rest}`, undefined, where)
  const address = first?.value ?? ''
  if (prefix === 'unix') return [{ key: 'path', value: address }, ...others]
  const match = /^(?:\[([^\]]*)\]|([^:]*)):(\d+)$/.exec(address)
  if (match === null) throw optionError('OPTION_VALUE', `${where} tcp:${printable(address, 60)}`, 'write tcp:HOST:PORT, an IPv6 address in brackets')
  const host = match[1] ?? match[2] ?? ''
  return [...(host === '' ? [] : [{ key: 'host', value: host }]), { key: 'port', value: match[3] ?? '' }, ...others]
}
