/** How replies and events look on a terminal. Text that comes from the machine can hold anything: control characters never reach the terminal as such. */

export interface Style { readonly colour: boolean }

const CODES = { key: 36, string: 32, number: 33, literal: 35, error: 31, event: 34, dim: 2 } as const
/** Widest value that stays on one line. */
const LINE_WIDTH = 72

/** Colour is for terminals whose owner did not ask for none (https://no-color.org). */
export function wantsColour(stream: { readonly isTTY?: boolean }, environment: NodeJS.ProcessEnv): boolean {
  return stream.isTTY === true && (environment['NO_COLOR'] ?? '') === '' && environment['TERM'] !== 'dumb'
}

export function paint(text: string, kind: keyof typeof CODES, { colour }: Style): string {
  return colour ? `\x1b[${CODES[kind]}m${text}\x1b[0m` : text
}

/** Makes control characters visible, line feed and tab excepted. */
export function harmless(text: string): string {
  return text.replace(/\r\n/g, '\n').replace(/[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]/g, (character) =>
    `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

/** A value as indented JSON; short ones stay on one line. */
export function renderValue(value: unknown, style: Style, indent = ''): string {
  if (typeof value !== 'object' || value === null) return renderScalar(value, style)
  const plain = JSON.stringify(value)
  const entries = Object.entries(value)
  const list = Array.isArray(value)
  const [open, close] = list ? ['[', ']'] : ['{', '}']
  if (entries.length === 0) return `${open}${close}`
  const inner = `${indent}  `
  const flat = plain.length + indent.length <= LINE_WIDTH
  const parts = entries.map(([key, member]) => {
    const name = list ? '' : `${paint(scalarText(key), 'key', style)}: `
    return name + renderValue(member, style, flat ? indent : inner)
  })
  const space = list ? '' : ' '
  if (flat) return `${open}${space}${parts.join(', ')}${space}${close}`
  return `${open}\n${parts.map((part) => inner + part).join(',\n')}\n${indent}${close}`
}

function renderScalar(value: unknown, style: Style): string {
  return paint(scalarText(value), typeof value === 'string' ? 'string' : typeof value === 'number' ? 'number' : 'literal', style)
}

function scalarText(value: unknown): string {
  return harmless(JSON.stringify(value) ?? 'null')
}
