/**
 * JSON values out of a byte stream that has no framing (RFC 8259; recovery after QEMU's docs/interop/qmp-spec). A value is delivered as soon as it is
 * complete: no line end is needed, one packet may hold many, one may come in many packets. Leaves out: `%` interpolation and comments, which QMP does not have.
 *
 * A broken message costs one error. It ends where its brackets balance, at a bracket of the wrong kind, at the next line end, or at a byte 0xFE or 0xFF.
 */
import { JsonLexer } from './json-lexer.ts'
import type { Token } from './json-lexer.ts'

export type JsonObject = { [key: string]: JsonValue }
/** Integers beyond 2^53 that fit 64 bits are bigint. Objects have no prototype. */
export type JsonValue = null | boolean | number | bigint | string | JsonValue[] | JsonObject

export type JsonItem =
  /** `idText`: the member `id` of a top-level object as JSON text on one line, its numbers spelled as they came. */
  | { readonly kind: 'value'; readonly value: JsonValue; readonly idText: string | undefined }
  | { readonly kind: 'error'; readonly message: string }

/** Bytes of the tokens of one message. */
export const MAX_MESSAGE_BYTES = 8 * 1024 * 1024
/** Tokens of one message: bounds the memory that many tiny values cost. */
export const MAX_TOKENS = 256 * 1024
export const MAX_NESTING = 1024

type Container = {
  readonly value: JsonValue[] | JsonObject
  /** What may come next. `first` also takes the closing bracket. */
  expects: 'first' | 'value' | 'key' | 'colon' | 'separator'
  key: string
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
const lossy = new TextDecoder('utf-8', { ignoreBOM: true })
const ESCAPES: Readonly<Record<string, string>> = { b: '\b', f: '\f', n: '\n', r: '\r', t: '\t', '"': '"', "'": "'", '\\': '\\', '/': '/' }
/** A surrogate pair, one code unit, or whatever follows the backslash. */
const ESCAPE = /\\(?:u([dD][89abAB][\da-fA-F]{2})\\u([dD][c-fC-F][\da-fA-F]{2})|u([\da-fA-F]{4})|u.{0,4}|[^])/gu
const SYNTAX = 'JSON parse error, '

/** A member of the right shape for a value that was not JSON. Caught inside this file. */
class JsonSyntax extends Error {}

export class JsonStream {
  private readonly lexer = new JsonLexer(MAX_MESSAGE_BYTES)
  private stack: Container[] = []
  private bytes = 0
  private tokens = 0
  /** Set: the message is broken, only its brackets are counted until it ends. */
  private failure: string | undefined
  private depth = 0
  private idParts: string[] | undefined
  private readsId = false

  /** True while a message has begun and not ended. */
  get pending(): boolean {
    return this.depth > 0 || !this.lexer.idle
  }

  /** Lazily yields what the bytes complete, so that a consumer which waits between items holds the rest back. */
  *push(bytes: Uint8Array): Generator<JsonItem, void, void> {
    for (const byte of bytes) {
      for (const token of this.lexer.push(byte)) {
        const item = this.accept(token)
        if (item !== undefined) yield item
      }
    }
  }

  /** End of input: a pending message becomes an error, a number or keyword that nothing ended becomes a value. */
  *end(): Generator<JsonItem, void, void> {
    for (const token of this.lexer.end()) {
      const item = this.accept(token)
      if (item !== undefined) yield item
    }
    const { pending } = this
    const message = this.failure ?? `${SYNTAX}premature end of input`
    this.lexer.reset()
    this.reset()
    if (pending) yield { kind: 'error', message }
  }

  private accept(token: Token): JsonItem | undefined {
    if (token.kind === 'line-end') return this.failure === undefined ? undefined : this.fail(this.failure)
    if (token.kind === 'stray') return this.fail(`${SYNTAX}stray '${lossy.decode(token.bytes)}'`)
    if (this.failure === undefined) this.checkLimits(token)
    if (this.failure !== undefined) return this.skip(token)
    try {
      return this.parse(token)
    } catch (error) {
      if (!(error instanceof JsonSyntax)) throw error
      if (this.depth === 0) return this.fail(error.message)
      this.failure = error.message
      this.stack = []
      return this.skip(token)
    }
  }

  private checkLimits(token: Token): void {
    this.tokens += 1
    this.bytes += 'bytes' in token ? token.bytes.length : 1
    if (token.kind === 'too-long' || this.bytes > MAX_MESSAGE_BYTES) this.failure = 'JSON token size limit exceeded'
    else if (this.tokens > MAX_TOKENS) this.failure = 'JSON token count limit exceeded'
    else if (this.depth >= MAX_NESTING && opensContainer(token)) this.failure = 'JSON nesting depth limit exceeded'
    if (this.failure !== undefined) this.stack = []
  }

  /** Follows the brackets of a broken message to its end. */
  private skip(token: Token): JsonItem | undefined {
    const text = token.kind === 'punctuation' ? token.text : ''
    if (text === '{' || text === '[') this.depth += 1
    if (text === '}' || text === ']') this.depth -= 1
    return this.depth <= 0 ? this.fail(this.failure ?? `${SYNTAX}expecting value`) : undefined
  }

  private parse(token: Token): JsonItem | undefined {
    const top = this.stack.at(-1)
    if (token.kind !== 'punctuation') {
      if (top !== undefined) checkPlace(top, token.kind)
      const value = decode(token)
      if (top !== undefined && isObject(top) && top.expects !== 'value') {
        this.openKey(top, value as string)
        return undefined
      }
      this.capture(typeof value === 'string' ? JSON.stringify(value) : lossy.decode((token as { bytes: Uint8Array }).bytes))
      return this.complete(value)
    }
    switch (token.text) {
      case '{':
      case '[':
        if (top !== undefined) checkPlace(top, 'container')
        this.capture(token.text)
        this.depth += 1
        this.stack.push({ value: token.text === '[' ? [] : Object.create(null) as JsonObject, expects: 'first', key: '' })
        return undefined
      case '}':
      case ']':
        return this.close(top, token.text)
      case ':':
        if (top === undefined || top.expects !== 'colon') throw new JsonSyntax(top === undefined ? `${SYNTAX}expecting value` : misplaced(top))
        top.expects = 'value'
        this.capture(':')
        return undefined
      default:
        if (top === undefined || top.expects !== 'separator') throw new JsonSyntax(top === undefined ? `${SYNTAX}expecting value` : misplaced(top))
        top.expects = isObject(top) ? 'key' : 'value'
        if (this.depth > 1) this.capture(',')
        return undefined
    }
  }

  private close(top: Container | undefined, bracket: string): JsonItem | undefined {
    if (top === undefined) throw new JsonSyntax(`${SYNTAX}expecting value`)
    // A wrong bracket says nothing about where the message ends, so it ends here.
    if (isObject(top) !== (bracket === '}')) return this.fail(`${SYNTAX}'${bracket}' closes the wrong bracket`)
    if (top.expects !== 'first' && top.expects !== 'separator') throw new JsonSyntax(misplaced(top))
    this.stack.pop()
    this.depth -= 1
    if (this.depth > 0) this.capture(bracket)
    return this.complete(top.value)
  }

  private openKey(top: Container, key: string): void {
    if (Object.hasOwn(top.value, key)) throw new JsonSyntax(`${SYNTAX}duplicate key`)
    top.key = key
    top.expects = 'colon'
    if (this.depth > 1) this.capture(JSON.stringify(key))
    else this.readsId = key === 'id'
  }

  /** Puts a finished value where it belongs. */
  private complete(value: JsonValue): JsonItem | undefined {
    const parent = this.stack.at(-1)
    if (parent === undefined) {
      const idText = this.idParts?.join('')
      this.reset()
      return { kind: 'value', value, idText }
    }
    if (Array.isArray(parent.value)) parent.value.push(value)
    else parent.value[parent.key] = value
    parent.expects = 'separator'
    if (this.depth === 1) this.readsId = false
    return undefined
  }

  private capture(text: string): void {
    if (!this.readsId) return
    if (this.depth === 1 && text === ':') return
    this.idParts ??= []
    this.idParts.push(text)
  }

  private fail(message: string): JsonItem {
    this.reset()
    return { kind: 'error', message }
  }

  private reset(): void {
    this.stack = []
    this.bytes = 0
    this.tokens = 0
    this.failure = undefined
    this.depth = 0
    this.idParts = undefined
    this.readsId = false
  }
}

function opensContainer(token: Token): boolean {
  return token.kind === 'punctuation' && (token.text === '{' || token.text === '[')
}

const isObject = (container: Container): container is Container & { value: JsonObject } => !Array.isArray(container.value)

/** @throws JsonSyntax when a value or key cannot stand here */
function checkPlace(top: Container, kind: string): void {
  const wantsKey = isObject(top) && (top.expects === 'first' || top.expects === 'key')
  if (wantsKey && kind !== 'string') throw new JsonSyntax(`${SYNTAX}key is not a string in object`)
  if (top.expects === 'colon' || top.expects === 'separator') throw new JsonSyntax(misplaced(top))
}

function misplaced(top: Container): string {
  if (top.expects === 'colon') return `${SYNTAX}missing : in object pair`
  if (top.expects === 'separator') return `${SYNTAX}expected separator in ${isObject(top) ? 'dict' : 'list'}`
  return `${SYNTAX}expecting value`
}

function decode(token: Token): JsonValue {
  switch (token.kind) {
    case 'string': return decodeString(token.bytes)
    case 'number': return decodeNumber(lossy.decode(token.bytes))
    case 'keyword': {
      const text = lossy.decode(token.bytes.subarray(0, 64))
      if (text === 'true') return true
      if (text === 'false') return false
      if (text === 'null') return null
      throw new JsonSyntax(`${SYNTAX}invalid keyword '${text}'`)
    }
    default: throw new JsonSyntax(`${SYNTAX}expecting value`)
  }
}

function decodeNumber(text: string): number | bigint {
  const value = Number(text)
  // 20 characters hold every 64-bit integer; a longer one is rounded, as QEMU rounds it.
  if (Number.isSafeInteger(value) || text.length > 20 || /[.eE]/.test(text)) return value
  return BigInt(text)
}

function decodeString(bytes: Uint8Array): string {
  let text: string
  try {
    text = utf8.decode(bytes)
  } catch {
    throw new JsonSyntax(`${SYNTAX}invalid UTF-8 sequence in string`)
  }
  if (!text.includes('\\')) return text
  return text.replace(ESCAPE, (escape, high?: string, low?: string, single?: string) => {
    if (high !== undefined && low !== undefined) return String.fromCharCode(Number.parseInt(high, 16), Number.parseInt(low, 16))
    if (single !== undefined && !/^d[89a-f]/i.test(single)) return String.fromCharCode(Number.parseInt(single, 16))
    if (escape[1] === 'u') throw new JsonSyntax(`${SYNTAX}${escape} is not a valid Unicode character`)
    const character = ESCAPES[escape.slice(1)]
    if (character === undefined) throw new JsonSyntax(`${SYNTAX}invalid escape sequence in string`)
    return character
  })
}
