/** What a person types, as a QMP request: `command key=value ...`, `hmp LINE`, or the JSON itself. */
import { MesovirtError } from '../../host/errors.ts'
import { JsonStream } from '../../machine-manager/qmp/json-stream.ts'
import type { JsonObject, JsonValue } from '../../machine-manager/qmp/json-stream.ts'

/** A request; `text`: print the result as it is, not as JSON. */
export interface TypedRequest { readonly request: JsonObject; readonly text: boolean }

/**
 * Reads one line. Values are JSON where they can be (numbers, true, false, null, arrays, objects), else strings; quotes make a string. `a.b=1` is a nested object.
 * @returns undefined for an empty line or a `#` comment
 * @throws MesovirtError QMP_INPUT
 */
export function parseRequest(line: string): TypedRequest | undefined {
  const trimmed = line.trim()
  if (trimmed === '' || trimmed.startsWith('#')) return undefined
  if (trimmed.startsWith('{')) return { request: parseRawRequest(trimmed), text: false }
  const [, command = '', rest = ''] = /^(\S+)\s*(.*)$/s.exec(trimmed) ?? []
  if (command === 'hmp') return { request: request('human-monitor-command', { 'command-line': rest }), text: true }
  const args = parseArguments(rest)
  return { request: request(command, args), text: command === 'human-monitor-command' }
}

function request(execute: string, args: JsonObject): JsonObject {
  return Object.keys(args).length === 0 ? { execute } : { execute, arguments: args }
}

function parseRawRequest(text: string): JsonObject {
  const stream = new JsonStream()
  const items = [...stream.push(Buffer.from(text)), ...stream.end()]
  const [first, second] = items
  const broken = items.find((item) => item.kind === 'error')
  if (broken?.kind === 'error') throw new MesovirtError('QMP_INPUT', broken.message)
  if (first?.kind !== 'value' || second !== undefined) throw new MesovirtError('QMP_INPUT', 'Give one JSON object per line')
  return first.value as JsonObject
}

function parseArguments(text: string): JsonObject {
  const result = emptyObject()
  let rest = text
  while (rest !== '') {
    const [whole, key = ''] = /^([^\s=]+)=/.exec(rest) ?? []
    if (whole === undefined) throw new MesovirtError('QMP_INPUT', `"${/^\S+/.exec(rest)?.[0] ?? rest}" is no argument: write name=value`)
    const { value, length } = readValue(rest.slice(whole.length), key)
    assign(result, key, value)
    const after = rest.slice(whole.length + length)
    if (after !== '' && !/^\s/.test(after)) throw new MesovirtError('QMP_INPUT', `The value of ${key} ends before "${after}": put a space between arguments`)
    rest = after.trimStart()
  }
  return result
}

/** The value at the start of the text, and how many characters it takes. */
function readValue(text: string, key: string): { value: JsonValue; length: number } {
  const first = text.charAt(0)
  if (first === '"' || first === "'" || first === '{' || first === '[') {
    const json = readJson(text)
    if (json === undefined) throw new MesovirtError('QMP_INPUT', `The value of ${key} is not complete JSON: check quotes and brackets`)
    return json
  }
  const word = /^\S*/.exec(text)?.[0] ?? ''
  // A blank ends a number or keyword, which nothing else does.
  const json = readJson(`${word} `)
  return { value: json !== undefined && json.length >= word.length ? json.value : word, length: word.length }
}

function readJson(text: string): { value: JsonValue; length: number } | undefined {
  const stream = new JsonStream()
  let length = 0
  for (const character of text) {
    length += character.length
    for (const item of stream.push(Buffer.from(character))) return item.kind === 'value' ? { value: item.value, length } : undefined
  }
  return undefined
}

function assign(target: JsonObject, path: string, value: JsonValue): void {
  const names = path.split('.')
  const last = names.pop() ?? ''
  let object = target
  for (const name of names) {
    const next = object[name] ??= emptyObject()
    if (typeof next !== 'object' || next === null || Array.isArray(next)) throw new MesovirtError('QMP_INPUT', `${path}: ${name} has a value already`)
    object = next
  }
  if (last === '' || names.includes('')) throw new MesovirtError('QMP_INPUT', `"${path}" is no argument name`)
  if (Object.hasOwn(object, last)) throw new MesovirtError('QMP_INPUT', `${path} is given twice`)
  object[last] = value
}

function emptyObject(): JsonObject {
  return Object.create(null) as JsonObject
}
