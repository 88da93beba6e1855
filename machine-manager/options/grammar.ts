/**
 * Grammar of the command line: argv -> options, one option value -> keys and values. QEMU's spellings and StratoVirt's are both accepted.
 * Leaves out what an option means: that is the table (table.ts) and config.ts. Why no argument library does this: docs/adr/0001-option-grammar.md.
 */
import { optionError, printable } from './errors.ts'
import { didYouMean } from './suggest.ts'

/** How many words follow an option: none; exactly one; one or none; any number up to the next option. */
export type Arity = 'none' | 'required' | 'optional' | 'words'

/** What the splitter must know about an option. */
export interface OptionShape { readonly name: string; readonly arity: Arity }

/** The set of options a command line may use. `names` holds aliases too, without dash. */
export interface OptionSet<Shape extends OptionShape> {
  get(name: string): Shape | undefined
  names(): Iterable<string>
}

/** One use of an option, in command-line order. */
export interface Occurrence<Shape extends OptionShape> { readonly option: Shape; readonly value: string | undefined }

/** One `key=value` of an option value; `value` is undefined for a bare word such as `server` or `nowait`. */
export interface KeyValue { readonly key: string; readonly value: string | undefined }

const MAX_JSON_LENGTH = 64 * 1024
const MAX_JSON_DEPTH = 16
const MAX_PIECES = 1024

/**
 * Splits argv (without program name) into options. Options start with one dash or two. A word with a leading dash is a value only where an
 * option demands one and the word is no option itself, so `-append "--- quiet"` works and `-kernel -append x` is an error.
 * @throws MesovirtError OPTION_UNKNOWN, OPTION_MISSING
 */
export function splitArguments<Shape extends OptionShape>(argv: readonly string[], options: OptionSet<Shape>): Occurrence<Shape>[] {
  const found: Occurrence<Shape>[] = []
  let next = 0
  while (next < argv.length) {
    const word = argv[next++] ?? ''
    if (word === '--') {
      if (next < argv.length) throw optionError('OPTION_UNKNOWN', printable(argv[next] ?? ''), 'mesovirt takes nothing after --; remove it')
      break
    }
    const option = word.startsWith('-') ? findOption(word, options) : undefined
    if (option === undefined) throw unexpected(word, found.at(-1), options)
    if (option.arity === 'none') {
      found.push({ option, value: undefined })
      continue
    }
    const candidate = argv[next]
    const given = candidate !== undefined && candidate !== '--' && findOption(candidate, options) === undefined
    if (option.arity === 'optional') {
      const take = given && !candidate.startsWith('-')
      found.push({ option, value: take ? candidate : undefined })
      if (take) next++
      continue
    }
    if (!given) {
      const found = candidate === undefined ? '' : `, but the next word is ${printable(candidate)}`
      throw optionError('OPTION_MISSING', word, `needs a value${found}`)
    }
    const words = [candidate]
    next++
    // Later words of a many-word option stop at anything with a dash, so that a misspelt option is not swallowed.
    while (option.arity === 'words' && next < argv.length && !(argv[next] ?? '').startsWith('-')) words.push(argv[next++] ?? '')
    found.push({ option, value: words.join(' ') })
  }
  return found
}

function findOption<Shape extends OptionShape>(word: string, options: OptionSet<Shape>): Shape | undefined {
  if (!word.startsWith('-')) return undefined
  return options.get(word.slice(word.startsWith('--') ? 2 : 1))
}

function unexpected<Shape extends OptionShape>(word: string, last: Occurrence<Shape> | undefined, options: OptionSet<Shape>): Error {
  if (!word.startsWith('-')) {
    const after = last === undefined ? '' : ` (-${last.option.name} takes ${last.option.arity === 'none' ? 'no' : 'one'} value)`
    return optionError('OPTION_UNKNOWN', printable(word) || '""', `not an option${after}; options start with a dash, quote values that hold spaces`)
  }
  const name = word.replace(/^--?/, '')
  const [head = '', tail] = splitOnce(name, '=')
  if (tail !== undefined && options.get(head) !== undefined) return optionError('OPTION_UNKNOWN', word,
    `write -${head} ${printable(tail)}, with a space`)
  return optionError('OPTION_UNKNOWN', word, `unknown option${didYouMean(name, options.names(), '-') || '; see mesovirt -help'}`)
}

/**
 * Splits an option value into its comma-separated pieces. `,,` stands for a comma inside a piece; one trailing comma is tolerated.
 * @param where option for error messages
 */
export function splitPieces(text: string, where: string): string[] {
  const pieces: string[] = []
  let piece = ''
  for (let index = 0; index < text.length; index++) {
    const letter = text.charAt(index)
    if (letter !== ',') {
      piece += letter
    } else if (text.charAt(index + 1) === ',') {
      piece += ','
      index++
    } else {
      pieces.push(piece)
      piece = ''
      if (pieces.length > MAX_PIECES) throw optionError('OPTION_VALUE', where, `more than ${MAX_PIECES} comma-separated parts`)
    }
  }
  if (piece !== '' || pieces.length === 0) pieces.push(piece)
  return pieces
}

/**
 * Reads `k=v,k=v`, or a JSON object, into keys and values. Nested JSON members become dotted keys (`server.port`), array members numbers (`a.0`).
 * @param implied key of a first piece without `=`
 * @throws MesovirtError OPTION_VALUE
 */
export function parseKeyValues(text: string, implied: string | undefined, where: string): KeyValue[] {
  if (/^\s*\{/.test(text)) return parseJsonObject(text, where)
  return splitPieces(text, where).map((piece, index) => {
    const [key = '', value] = splitOnce(piece, '=')
    if (value !== undefined) {
      if (key === '') throw optionError('OPTION_VALUE', where, `"${printable(piece)}" has no key before the equals sign`)
      return { key, value }
    }
    if (index === 0 && implied !== undefined) return { key: implied, value: piece }
    if (piece === '') throw optionError('OPTION_VALUE', where, 'a part between commas is empty (a comma inside a value is written as two)')
    return { key: piece, value: undefined }
  })
}

function parseJsonObject(text: string, where: string): KeyValue[] {
  if (text.length > MAX_JSON_LENGTH) throw optionError('OPTION_VALUE', where, `a JSON value may have at most ${MAX_JSON_LENGTH} characters`)
  let parsed: unknown
  try {
    parsed = JSON.parse(text)
  } catch (error) {
    throw optionError('OPTION_VALUE', where, `not valid JSON: ${printable(error instanceof Error ? error.message : String(error))}`)
  }
  const flat: KeyValue[] = []
  flatten(parsed, '', 0, flat, where)
  return flat
}

function flatten(value: unknown, path: string, depth: number, flat: KeyValue[], where: string): void {
  if (depth > MAX_JSON_DEPTH) throw optionError('OPTION_VALUE', where, `JSON nested deeper than ${MAX_JSON_DEPTH}`)
  if (flat.length > MAX_PIECES) throw optionError('OPTION_VALUE', where, `more than ${MAX_PIECES} JSON members`)
  if (typeof value === 'object' && value !== null) {
    for (const [key, member] of Object.entries(value)) flatten(member, path === '' ? key : `${path}.${key}`, depth + 1, flat, where)
    return
  }
  if (value === null) throw optionError('OPTION_VALUE', `${where} ${path}`, 'null is not a value; leave the member out')
  flat.push({ key: path, value: typeof value === 'boolean' ? (value ? 'on' : 'off') : String(value) })
}

/** Writes keys and values in the form `parseKeyValues` reads. Commas are doubled. A first key equal to `implied` is left out where that is safe. */
export function renderKeyValues(pairs: readonly KeyValue[], implied?: string): string {
  return pairs.map(({ key, value }, index) => {
    if (value === undefined) return key
    const escaped = value.replaceAll(',', ',,')
    const bare = index === 0 && key === implied && value !== '' && !value.includes('=') && !/^\s*\{/.test(value)
    return bare ? escaped : `${key}=${escaped}`
  }).join(',')
}

/** The text before and after the first `separator`; the second is undefined when there is none. */
export function splitOnce(text: string, separator: string): [string, string | undefined] {
  const at = text.indexOf(separator)
  return at < 0 ? [text, undefined] : [text.slice(0, at), text.slice(at + separator.length)]
}
