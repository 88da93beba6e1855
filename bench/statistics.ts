/** Figures of the bench: what was measured on ours and on the peer, and what is said about it. */

export interface Figure {
  readonly bench: string
  readonly name: string
  readonly unit: string
  /** Which way is better. `none`: a fact that is only reported. */
  readonly better: 'lower' | 'higher' | 'none'
  /** One value per round. */
  readonly ours: readonly number[]
  /** The same on the peer, where it can be measured. */
  readonly peer?: readonly number[] | undefined
  /** What the median is meant to reach. */
  readonly target?: number | undefined
  /** The same, as a multiple of the peer's median. */
  readonly timesPeer?: number | undefined
}

export interface Summary {
  readonly ours: number | undefined
  readonly peer: number | undefined
  /** How many times better the peer is; below 1 we are better. */
  readonly behind: number | undefined
  readonly verdict: 'PASS' | 'over target' | 'below target' | ''
}

/** @returns undefined for no values */
export function median(values: readonly number[]): number | undefined {
  const sorted = [...values].sort((left, right) => left - right)
  const middle = Math.floor(sorted.length / 2)
  const upper = sorted[middle]
  if (upper === undefined) return undefined
  return sorted.length % 2 === 1 ? upper : (upper + (sorted[middle - 1] ?? upper)) / 2
}

export function summarise({ ours, peer, better, target, timesPeer }: Figure): Summary {
  const mine = median(ours)
  const other = peer === undefined ? undefined : median(peer)
  const behind = mine === undefined || other === undefined || better === 'none' ? undefined : better === 'lower' ? mine / other : other / mine
  return { ours: mine, peer: other, behind: behind !== undefined && Number.isFinite(behind) ? behind : undefined, verdict: judge(mine, better, timesPeer === undefined ? target : other === undefined ? undefined : timesPeer * other) }
}

function judge(value: number | undefined, better: Figure['better'], target: number | undefined): Summary['verdict'] {
  if (value === undefined || target === undefined || better === 'none') return ''
  if (better === 'lower') return value <= target ? 'PASS' : 'over target'
  return value >= target ? 'PASS' : 'below target'
}

/** Three significant digits; whole numbers stay whole. */
export function formatNumber(value: number | undefined): string {
  if (value === undefined) return '-'
  if (Number.isInteger(value) || Math.abs(value) >= 100) return String(Math.round(value))
  return Math.abs(value) >= 10 ? value.toFixed(1) : value.toFixed(2)
}

/** `1.2 .. 1.5`, nothing for a single value. */
export function formatSpread(values: readonly number[]): string {
  if (values.length < 2) return ''
  return `${formatNumber(Math.min(...values))} .. ${formatNumber(Math.max(...values))}`
}
