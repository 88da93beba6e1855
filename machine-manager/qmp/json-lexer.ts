/**
 * Tokens of a JSON byte stream (RFC 8259, plus QEMU's single-quoted strings), fed byte by byte. Leaves out the grammar, which is json-stream.ts.
 * After a byte that no token can contain it skips to the next structural character, line end or flush byte (0xFE, 0xFF), as QEMU's lexer does.
 */

export type Token =
  | { readonly kind: 'punctuation'; readonly text: string }
  | { readonly kind: 'string' | 'number' | 'keyword'; readonly bytes: Uint8Array }
  /** The token was longer than the limit; its bytes were not kept. */
  | { readonly kind: 'too-long' }
  /** Bytes that are no token. */
  | { readonly kind: 'stray'; readonly bytes: Uint8Array }
  /** A line feed between tokens: no grammar needs it, error recovery does. */
  | { readonly kind: 'line-end' }

const TAB = 0x09, LINE_FEED = 0x0a, CARRIAGE_RETURN = 0x0d, SPACE = 0x20
const DOUBLE_QUOTE = 0x22, SINGLE_QUOTE = 0x27, BACKSLASH = 0x5c
const PLUS = 0x2b, MINUS = 0x2d, DOT = 0x2e, ZERO = 0x30
/** The first byte that cannot occur in UTF-8 text; both are used by clients to force a parser into a known state. */
const FLUSH = 0xfe
const STRUCTURAL = new Set([...'{}[],:'].map((character) => character.charCodeAt(0)))
/** A token buffer that grew beyond this is given back after the token. */
const KEEP_BUFFER = 64 * 1024

/** Most bytes end no token: one shared empty list for all of them. */
const NONE: readonly Token[] = []

const isDigit = (byte: number) => byte >= 0x30 && byte <= 0x39
const isLower = (byte: number) => byte >= 0x61 && byte <= 0x7a

type State = 'start' | 'recovery' | 'string' | 'escape' | 'keyword' | NumberState
type NumberState = 'minus' | 'zero' | 'integer' | 'dot' | 'fraction' | 'e' | 'e-sign' | 'exponent'

/** RFC 8259 section 6 as a table: the state after a byte, or undefined when the number cannot go on with it. */
function nextNumberState(state: NumberState, byte: number): NumberState | undefined {
  const exponent = byte === 0x65 || byte === 0x45
  switch (state) {
    case 'minus': return byte === ZERO ? 'zero' : isDigit(byte) ? 'integer' : undefined
    case 'zero': return byte === DOT ? 'dot' : exponent ? 'e' : undefined
    case 'integer': return isDigit(byte) ? 'integer' : byte === DOT ? 'dot' : exponent ? 'e' : undefined
    case 'dot': return isDigit(byte) ? 'fraction' : undefined
    case 'fraction': return isDigit(byte) ? 'fraction' : exponent ? 'e' : undefined
    case 'e': return isDigit(byte) ? 'exponent' : byte === PLUS || byte === MINUS ? 'e-sign' : undefined
    case 'e-sign': return isDigit(byte) ? 'exponent' : undefined
    case 'exponent': return isDigit(byte) ? 'exponent' : undefined
  }
}

const canEndNumber = (state: NumberState) => state === 'zero' || state === 'integer' || state === 'fraction' || state === 'exponent'

export class JsonLexer {
  private readonly maxTokenBytes: number
  private state: State = 'start'
  private quote = 0
  private buffer = new Uint8Array(256)
  private length = 0
  private tooLong = false

  constructor(maxTokenBytes: number) {
    this.maxTokenBytes = maxTokenBytes
  }

  /** True between tokens. */
  get idle(): boolean {
    return this.state === 'start' || this.state === 'recovery'
  }

  /** @returns the tokens that end with or before this byte: none, one, or two (`tr{` ends a keyword and is a token itself) */
  push(byte: number): readonly Token[] {
    switch (this.state) {
      case 'start': return this.start(byte)
      case 'recovery':
        if (!STRUCTURAL.has(byte) && byte < FLUSH && (byte >= SPACE || byte === TAB)) return NONE
        this.state = 'start'
        return this.start(byte)
      case 'string':
        if (byte < SPACE || byte >= FLUSH) return this.stray(byte)
        if (byte === this.quote) return [this.take('string')]
        if (byte === BACKSLASH) this.state = 'escape'
        this.keep(byte)
        return NONE
      case 'escape':
        if (byte < SPACE || byte >= FLUSH) return this.stray(byte)
        this.keep(byte)
        this.state = 'string'
        return NONE
      case 'keyword':
        if (isLower(byte)) {
          this.keep(byte)
          return NONE
        }
        return [this.take('keyword'), ...this.start(byte)]
      default: return this.number(this.state, byte)
    }
  }

  /** End of input: @returns the number or keyword that nothing else could end */
  end(): readonly Token[] {
    if (this.state === 'keyword') return [this.take('keyword')]
    if (this.idle || this.state === 'string' || this.state === 'escape') return NONE
    return canEndNumber(this.state as NumberState) ? [this.take('number')] : []
  }

  /** Forgets a half-read token. */
  reset(): void {
    this.state = 'start'
    this.clear()
  }

  private start(byte: number): readonly Token[] {
    if (byte === LINE_FEED) return [{ kind: 'line-end' }]
    if (byte === SPACE || byte === TAB || byte === CARRIAGE_RETURN) return NONE
    if (STRUCTURAL.has(byte)) return [{ kind: 'punctuation', text: String.fromCharCode(byte) }]
    if (byte === DOUBLE_QUOTE || byte === SINGLE_QUOTE) {
      this.quote = byte
      this.state = 'string'
      return NONE
    }
    if (isDigit(byte) || byte === MINUS) {
      this.keep(byte)
      this.state = byte === MINUS ? 'minus' : byte === ZERO ? 'zero' : 'integer'
      return NONE
    }
    if (isLower(byte)) {
      this.keep(byte)
      this.state = 'keyword'
      return NONE
    }
    return this.stray(byte)
  }

  private number(state: NumberState, byte: number): readonly Token[] {
    const next = nextNumberState(state, byte)
    if (next !== undefined) {
      this.keep(byte)
      this.state = next
      return NONE
    }
    // A leading zero is not a token of its own: `01` is one mistake, not two numbers.
    if (!canEndNumber(state) || (state === 'zero' && isDigit(byte))) return this.stray(byte)
    return [this.take('number'), ...this.start(byte)]
  }

  private stray(byte: number): readonly Token[] {
    const inString = this.state === 'string' || this.state === 'escape'
    this.keep(byte)
    const text = this.buffer.slice(0, Math.min(this.length, 64))
    const bytes = inString ? Uint8Array.of(this.quote, ...text) : text
    this.clear()
    this.state = 'recovery'
    return [{ kind: 'stray', bytes }]
  }

  private take(kind: 'string' | 'number' | 'keyword'): Token {
    const token: Token = this.tooLong ? { kind: 'too-long' } : { kind, bytes: this.buffer.slice(0, this.length) }
    this.clear()
    this.state = 'start'
    return token
  }

  private keep(byte: number): void {
    if (this.length >= this.maxTokenBytes) {
      this.tooLong = true
      return
    }
    if (this.length === this.buffer.length) {
      const larger = new Uint8Array(Math.min(this.buffer.length * 2, this.maxTokenBytes))
      larger.set(this.buffer)
      this.buffer = larger
    }
    this.buffer[this.length++] = byte
  }

  private clear(): void {
    this.length = 0
    this.tooLong = false
    if (this.buffer.length > KEEP_BUFFER) this.buffer = new Uint8Array(256)
  }
}
