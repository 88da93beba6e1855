/** Address expressions of the human monitor (QEMU documentation, "QEMU Monitor"): C operators on 64-bit integers, and `$register`. Leaves out comparison. */

/** The text of the error is what the monitor prints. */
export class ExpressionError extends Error {}

const MASK = (1n << 64n) - 1n
/** Weakest first, as the monitor binds them: additive, then bitwise, then multiplicative. */
const LEVELS = [['+', '-'], ['&', '|', '^'], ['*', '/', '%']] as const
/** Depth of parentheses and signs: bounds the recursion. */
const MAX_DEPTH = 64

/**
 * Evaluates the expression at the start of the text.
 * @param register value of a register by name, undefined when there is no such
 * @returns the value modulo 2^64 and the text behind the expression
 */
export async function evaluate(source: string, register: (name: string) => Promise<bigint | undefined>): Promise<{ value: bigint; rest: string }> {
  let position = 0
  let depth = 0
  const peek = (): string => {
    while (/\s/.test(source.charAt(position))) position += 1
    return source.charAt(position)
  }
  const match = (pattern: RegExp): string | undefined => {
    pattern.lastIndex = position
    const found = pattern.exec(source)?.[0]
    if (found !== undefined) position += found.length
    return found
  }

  async function binary(level: number): Promise<bigint> {
    const operators: readonly string[] | undefined = LEVELS[level]
    if (operators === undefined) return unary()
    let value = await binary(level + 1)
    while (true) {
      const operator = peek()
      if (operator === '' || !operators.includes(operator)) return value
      position += 1
      value = apply(operator, value, await binary(level + 1))
    }
  }

  async function unary(): Promise<bigint> {
    if (++depth > MAX_DEPTH) throw new ExpressionError('expression too complex')
    const value = await primary()
    depth -= 1
    return value
  }

  async function primary(): Promise<bigint> {
    const first = peek()
    if (first === '') throw new ExpressionError('unexpected end of expression')
    if (first === '+' || first === '-' || first === '~') {
      position += 1
      const value = await unary()
      return (first === '-' ? -value : first === '~' ? ~value : value) & MASK
    }
    if (first === '(') {
      position += 1
      const value = await binary(0)
      if (peek() !== ')') throw new ExpressionError("')' expected")
      position += 1
      return value
    }
    if (first === "'") {
      const quoted = match(/'[^']'/uy)
      if (quoted === undefined) throw new ExpressionError('character constant expected')
      return BigInt(quoted.codePointAt(1) ?? 0)
    }
    if (first === '$') {
      position += 1
      const value = await register(match(/\w*/y) ?? '')
      if (value === undefined) throw new ExpressionError('unknown register')
      return value
    }
    return number(first)
  }

  function number(first: string): bigint {
    const digits = match(/0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*/y)
    if (digits === undefined) throw new ExpressionError(`invalid char '${first}' in expression`)
    if (digits.length > 32) throw new ExpressionError('number too large')
    const value = BigInt(/^0[0-7]+$/.test(digits) ? `0o${digits.slice(1)}` : digits)
    if (value > MASK) throw new ExpressionError('number too large')
    return value
  }

  const value = await binary(0)
  peek()
  return { value, rest: source.slice(position) }
}

function apply(operator: string, left: bigint, right: bigint): bigint {
  if ((operator === '/' || operator === '%') && right === 0n) throw new ExpressionError('division by zero')
  switch (operator) {
    case '+': return (left + right) & MASK
    case '-': return (left - right) & MASK
    case '*': return (left * right) & MASK
    case '/': return left / right
    case '%': return left % right
    case '&': return left & right
    case '|': return left | right
    default: return left ^ right
  }
}
