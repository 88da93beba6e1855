/** Prints what the bench measured: a table for the terminal, JSON for programs, docs/PERFORMANCE.md for readers. */
import type { HostFacts } from './host.ts'
import { formatNumber, formatSpread, summarise } from './statistics.ts'
import type { Figure } from './statistics.ts'

export const COLUMNS = ['figure', 'mesovirt', 'spread', 'QEMU tcg', 'QEMU better by', 'target', ''] as const

export interface Run {
  readonly host: HostFacts
  /** arguments after `npm run bench --` */
  readonly command: string
  readonly date: string
  readonly rounds: number
  readonly figures: readonly Figure[]
  /** What the figures were measured with, one line each. */
  readonly notes: readonly string[]
}

/** One row of cells per figure, in the order of COLUMNS. */
export function tableOf(figures: readonly Figure[]): string[][] {
  return figures.map((figure) => {
    const { ours, peer, behind, verdict } = summarise(figure)
    const { bench, name, unit, better, target } = figure
    const withUnit = (value: number | undefined) => value === undefined ? '-' : `${formatNumber(value)} ${unit}`.trimEnd()
    return [
      `${bench}: ${name}`, withUnit(ours), formatSpread(figure.ours), withUnit(peer), behind === undefined ? '' : behind < 0.1 ? behind.toPrecision(1) : behind.toFixed(2),
      target === undefined ? '' : `${better === 'lower' ? '<=' : '>='} ${withUnit(target)}`, verdict,
    ]
  })
}

/** Lines of the terminal's table. */
export function textTable(figures: readonly Figure[]): string[] {
  const rows = [[...COLUMNS], ...tableOf(figures)]
  const widths = COLUMNS.map((_, column) => Math.max(...rows.map((row) => (row[column] ?? '').length)))
  return rows.map((row) => row.map((cell, column) => column === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[column] ?? 0)).join('  ').trimEnd())
}

/** Lines that say what was measured on what. */
export function hostLines({ cpu, cores, memoryGib, kernel, node, v8, qemu, load }: HostFacts): string[] {
  return [
    `${cpu}, ${cores} cores, ${memoryGib} GiB, Linux ${kernel}`,
    `Node ${node} (V8 ${v8}), ${qemu ?? 'no QEMU: ours alone'}`,
    `load average at the start ${load.toFixed(1)}${load > cores / 2 ? ': the machine is busy, times are too long' : ''}`,
  ]
}

/** The run as JSON: values of every round, medians and verdicts. */
export function jsonOf(run: Run): string {
  return `${JSON.stringify({ ...run, figures: run.figures.map((figure) => ({ ...figure, ...{ summary: summarise(figure) } })) }, null, 2)}\n`
}

/** docs/PERFORMANCE.md */
export function docsPage(run: Run): string {
  const row = (cells: readonly string[]) => `| ${cells.join(' | ')} |`
  return `${[
    '# Performance',
    '',
    'What the last documented run of the bench printed. Every figure stands beside QEMU\'s software CPU (`qemu-system-x86_64 -accel tcg`) on the same machine in the same',
    'run, in turns. A bench is no test: it never fails. `npm run bench -- --write-docs` writes this page anew; `bench/LOSERS.md` holds the designs that lost.',
    '',
    '```',
    `npm run bench${run.command === '' ? '' : ` -- ${run.command}`}`,
    '```',
    '',
    `${run.date}, medians of ${run.rounds} rounds.`,
    '',
    ...hostLines(run.host).map((line) => `* ${line}`),
    ...run.notes.map((line) => `* ${line}`),
    '',
    row(COLUMNS), row(COLUMNS.map((_, column) => column === 0 ? '---' : '---:')),
    ...tableOf(run.figures).map(row),
    '',
    '"QEMU better by" is a factor: 2 means that QEMU takes half the time or reaches twice the rate, below 1 mesovirt is ahead.',
  ].join('\n')}\n`
}
