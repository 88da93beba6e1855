/** Shape of the option table: what one row says. The rows are in table-*.ts; parser, help, documents, completion and introspection read them. */
import type { Status, ValueType } from './values.ts'

export type MachineType = 'microvm' | 'q35' | 'virt'

/** Headings of `-help`, in this order. */
export const GROUPS = ['Machine', 'Boot', 'Devices and back-ends', 'Monitors', 'Life of the process', 'Time and debugging', 'Information',
  'Security', 'Display'] as const
export type Group = (typeof GROUPS)[number]

/** One `key=value` of an option. */
export interface SubOption {
  readonly key: string
  readonly aliases?: readonly string[]
  readonly type: ValueType
  readonly help: string
  /** Default as it would be typed. */
  readonly default?: string
  readonly required?: boolean
  /** It may be given again; all values count. */
  readonly repeatable?: boolean
  readonly status?: Status
}

/** One kind of back-end or device: the first, keyless part of an option value. */
export interface Variant {
  readonly name: string
  readonly aliases?: readonly string[]
  readonly help: string
  readonly sub: readonly SubOption[]
  readonly status?: Status
  readonly machines?: readonly MachineType[]
}

/** What follows an option on the command line. */
export type OptionForm =
  /** Nothing. */
  | { readonly kind: 'flag' }
  /** One value that is not split: a path, a UUID. */
  | { readonly kind: 'plain'; readonly type: ValueType; readonly optional?: boolean }
  /** Any number of words up to the next option, joined by spaces. */
  | { readonly kind: 'words'; readonly maxBytes: number }
  /** `k=v,k=v`; `implied` is the key of a first value without key. */
  | { readonly kind: 'keys'; readonly implied?: string; readonly sub: readonly SubOption[] }
  /** `NAME,k=v,k=v`, where NAME decides about the keys; NAME may be given as `key=NAME` too; `common` are keys of all. */
  | { readonly kind: 'variants'; readonly key: string; readonly common: readonly SubOption[]; readonly variants: readonly Variant[] }
  /** QEMU's short form of a character device: `stdio`, `unix:PATH,server,nowait`, `chardev:ID`. */
  | { readonly kind: 'character-device' }
  /** A value nobody looks at, of an option that is ignored or comes later. */
  | { readonly kind: 'unread' }

/** One option. */
export interface OptionSpec {
  readonly name: string
  readonly aliases?: readonly string[]
  readonly group: Group
  readonly form: OptionForm
  readonly help: string
  /** How the value is shown in help, when the form does not say it well. */
  readonly argument?: string
  readonly repeatable?: boolean
  readonly status?: Status
  /** Machine types it is for; absent: all. */
  readonly machines?: readonly MachineType[]
}

/** False for what later work brings, and for an option all of whose variants it brings. */
export function isHere(option: OptionSpec): boolean {
  if (option.form.kind === 'variants') return option.form.variants.some((variant) => variant.status?.state !== 'later')
  return option.status?.state !== 'later'
}

export const ON_OFF: ValueType = { kind: 'boolean' }
export const MAX_ID_BYTES = 255
export const MAX_PATH_BYTES = 4096
export const TEXT_255: ValueType = { kind: 'text', maxBytes: MAX_ID_BYTES }
export const ID: ValueType = { kind: 'text', maxBytes: MAX_ID_BYTES, name: 'ID' }
export const PATH: ValueType = { kind: 'path', maxBytes: MAX_PATH_BYTES }

export const ignored = (reason: string): Status => ({ state: 'ignored', reason })
export const later = (work: string, instead?: string): Status => ({ state: 'later', work, ...instead === undefined ? {} : { instead } })
