/** Text of -help and of `-machine help`, from the option table. */
import { GROUPS, isHere } from './option-types.ts'
import type { OptionSpec, SubOption } from './option-types.ts'
import { OPTIONS } from './table.ts'
import { describeType } from './values.ts'
import type { Choice } from './values.ts'

const INDENT = 4
const KEY_COLUMN = 22
const MIN_WIDTH = 40
const MAX_WIDTH = 120

export const USAGE = `Usage: mesovirt -kernel FILE [-initrd FILE] [-append WORDS...] [-serial stdio] [OPTION...]
       mesovirt COMMAND ...
`

/** What is printed when mesovirt is called without arguments. */
export const SHORT_HELP = `${USAGE}
Boots a virtual machine. A first example:
  mesovirt -machine microvm -m 256 -kernel vmlinuz -initrd initrd.img -append "console=ttyS0" -serial stdio

mesovirt -help lists every option, mesovirt help every command.
`

/** The whole of -help. @param columns width of the terminal */
export function helpText(columns: number): string {
  const width = Math.max(MIN_WIDTH, Math.min(MAX_WIDTH, columns))
  const lines = [USAGE, ...wrap(
    'Options take one dash or two. Properties are written key=value with commas between; a comma inside a value is written twice; '
    + 'a JSON object works too. on and off may be yes and no or true and false.', 0, width)]
  for (const group of GROUPS) {
    const working = OPTIONS.filter((option) => option.group === group && option.status === undefined && isHere(option))
    if (working.length === 0) continue
    lines.push('', `${group}:`, ...working.flatMap((option) => [...describeOption(option, width), '']).slice(0, -1))
  }
  const ignoredOptions = OPTIONS.filter((option) => option.status?.state === 'ignored')
  lines.push('', 'Accepted and ignored:', ...ignoredOptions.flatMap((option) => row(`-${option.name}`,
    option.status?.state === 'ignored' ? option.status.reason : '', 2, width)))
  const absent = OPTIONS.filter((option) => !isHere(option)).map((option) => `-${option.name}`)
  lines.push('', 'Known, not in this version:', ...wrap(absent.join(' '), 2, width))
  return `${lines.join('\n')}\n`
}

/** What one option accepts. */
export function optionHelpText(option: OptionSpec, columns: number): string {
  return `${describeOption(option, Math.max(MIN_WIDTH, Math.min(MAX_WIDTH, columns))).join('\n')}\n`
}

/** How an option is written: `-machine [type=]microvm[,key=value...]`. */
export function synopsis(option: OptionSpec): string {
  const names = [option.name, ...(option.aliases ?? [])].map((name) => `-${name}`).join(', ')
  const value = option.argument ?? valueSynopsis(option)
  return value === '' ? names : `${names} ${value}`
}

function valueSynopsis({ form }: OptionSpec): string {
  switch (form.kind) {
    case 'flag': return ''
    case 'words': return 'WORDS...'
    case 'plain': return form.optional === true ? `[${describeType(form.type)}]` : describeType(form.type)
    case 'keys': {
      const first = form.sub.find((sub) => sub.key === form.implied)
      return first === undefined ? 'key=value[,...]' : `[${first.key}=]${describeType(first.type)}${form.sub.length > 1 ? '[,key=value...]' : ''}`
    }
    case 'variants': return `KIND[,key=value...]`
    case 'character-device': return 'BACKEND'
    case 'unread': return '...'
  }
}

function describeOption(option: OptionSpec, width: number): string[] {
  const lines = [...wrap(synopsis(option), 2, width, 4), ...wrap(option.help, INDENT, width)]
  const { form } = option
  if (form.kind === 'keys') lines.push(...describeKeys(form.sub, INDENT + 2, width))
  if (form.kind === 'variants') {
    lines.push(...describeKeys(form.common, INDENT + 2, width))
    for (const variant of form.variants) {
      if (variant.status?.state === 'later') continue
      lines.push(...row(variant.name, variant.help, INDENT + 2, width), ...describeKeys(variant.sub, INDENT + 4, width))
    }
    const works = new Map<string, string[]>()
    for (const variant of form.variants) if (variant.status?.state === 'later') works.set(variant.status.work,
      [...(works.get(variant.status.work) ?? []), variant.name])
    for (const names of works.values()) lines.push(...wrap(`not in this version: ${names.join(' ')}`, INDENT + 2, width, INDENT + 4))
  }
  return lines
}

function describeKeys(sub: readonly SubOption[], indent: number, width: number): string[] {
  const absent = sub.filter((option) => option.status?.state === 'later').map((option) => option.key)
  const rows = sub.flatMap((option) => {
    if (option.status?.state === 'later') return []
    const fallback = option.default === undefined ? '' : ` (default ${option.default})`
    const note = option.status?.state === 'ignored' ? ` (ignored: ${option.status.reason})` : ''
    return row(`${option.key}=${describeType(option.type)}`, `${option.help}${fallback}${note}${describeChoices(option)}`, indent, width)
  })
  return absent.length === 0 ? rows : [...rows, ...wrap(`not in this version: ${absent.join(' ')}`, indent, width, indent + 2)]
}

function describeChoices(option: SubOption): string {
  const { type } = option
  if (type.kind !== 'choice' && type.kind !== 'preference') return ''
  const explained = type.choices.flatMap((choice: Choice) => {
    if (choice.status?.state === 'later') return [`${choice.name}: not in this version`]
    return choice.help === undefined || option.help.includes(choice.help) ? [] : [`${choice.name}: ${choice.help}`]
  })
  return explained.length === 0 ? '' : `; ${explained.join('; ')}`
}

/** A name with its text in a second column. */
function row(name: string, text: string, indent: number, width: number): string[] {
  const column = indent + KEY_COLUMN
  const head = `${' '.repeat(indent)}${name}`
  const lines = wrap(text, column, width)
  if (lines.length === 0) return [head]
  if (head.length >= column) return [head, ...lines]
  return [head.padEnd(column) + (lines[0] ?? '').slice(column), ...lines.slice(1)]
}

/** Breaks text at spaces. @param hanging indent of later lines, by default that of the first */
export function wrap(text: string, indent: number, width: number, hanging = indent): string[] {
  const lines: string[] = []
  let line = ' '.repeat(indent)
  let empty = true
  for (const word of text.split(' ').filter((part) => part !== '')) {
    if (!empty && line.length + 1 + word.length > width) {
      lines.push(line)
      line = ' '.repeat(hanging)
      empty = true
    }
    line += empty ? word : ` ${word}`
    empty = false
  }
  if (!empty) lines.push(line)
  return lines
}
