/** Prints what the bench measured: a table for the terminal, JSON for programs, docs/PERFORMANCE.md for readers. */
import type { HostFacts } from './host.ts'
import { formatNumber, formatSpread, summarise } from './statistics.ts'
import type { Figure } from './statistics.ts'

export const COLUMNS = ['figure', 'mesovirt', 'spread', 'QEMU tcg', 'QEMU better by', 'target', ''] as const
/** The same for the part on KVM, whose peers are a loop in C and QEMU on KVM. */
const KVM_COLUMNS: readonly string[] = ['figure', 'mesovirt', 'spread', 'C or QEMU kvm', 'that is better by', 'target', '']
const KVM = 'kvm'
const KVM_HEADING = '## KVM'

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
    const { bench, name, unit, better, target, timesPeer } = figure
    const withUnit = (value: number | undefined) => value === undefined ? '-' : `${formatNumber(value)} ${unit}`.trimEnd()
    return [
      `${bench}: ${name}`, withUnit(ours), formatSpread(figure.ours), withUnit(peer), behind === undefined ? '' : behind < 0.1 ? behind.toPrecision(1) : behind.toFixed(2),
      target === undefined && timesPeer === undefined ? '' : `${better === 'lower' ? '<=' : '>='} ${timesPeer === undefined ? withUnit(target) : `${formatNumber(timesPeer)} x QEMU`}`, verdict,
    ]
  })
}

/** Lines of the terminal's table. */
export function textTable(figures: readonly Figure[]): string[] {
  const rows = [[...columnsOf(figures)], ...tableOf(figures)]
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

function columnsOf(figures: readonly Figure[]): readonly string[] {
  return figures.every(({ bench }) => bench === KVM) ? KVM_COLUMNS : COLUMNS
}

/** docs/PERFORMANCE.md with the parts that a run has measured; `page` is what it was. The software CPU and KVM have a part each, of runs of their own. */
export function docsPage(page: string, run: Run): string {
  const at = page.indexOf(`\n${KVM_HEADING}\n`)
  const [software, kvm] = at === -1 ? [page, ''] : [page.slice(0, at), page.slice(at + 1)]
  const part = (isKvm: boolean): Run => ({
    ...run, figures: run.figures.filter(({ bench }) => (bench === KVM) === isKvm), notes: run.notes.filter((note) => note.startsWith(`${KVM}:`) === isKvm),
  })
  const [ofSoftware, ofKvm] = [part(false), part(true)]
  const first = ofSoftware.figures.length > 0 ? `${softwarePart(ofSoftware)}\n` : software
  const second = ofKvm.figures.length > 0 ? `${kvmPart(ofKvm)}\n` : kvm
  return second === '' ? first : `${first.trimEnd()}\n\n${second}`
}

function softwarePart(run: Run): string {
  return [
    '# Performance',
    '',
    'What the last documented runs of the bench printed. Every figure stands beside QEMU\'s software CPU (`qemu-system-x86_64 -accel tcg`) on the same machine in the same',
    'run, in turns. A bench is no test: it never fails. `npm run bench -- --write-docs` writes this page anew; `bench/LOSERS.md` holds the designs that lost.',
    '',
    ...figuresOf(run),
    '',
    '"QEMU better by" is a factor: 2 means that QEMU takes half the time or reaches twice the rate, below 1 mesovirt is ahead.',
  ].join('\n')
}

function kvmPart(run: Run): string {
  return [
    KVM_HEADING,
    '',
    'Exits stand beside a loop in C that runs the same guest (`bench/kvm-exits.c`), starts and memory beside `qemu-system-x86_64 -M microvm -accel kvm`. `/dev/kvm` may be of any kind;',
    'the ratios say more than the times.',
    '',
    ...figuresOf(run),
  ].join('\n')
}

function figuresOf(run: Run): string[] {
  const row = (cells: readonly string[]) => `| ${cells.join(' | ')} |`
  return [
    '```',
    `npm run bench${run.command === '' ? '' : ` -- ${run.command}`}`,
    '```',
    '',
    `${run.date}, medians of ${run.rounds} rounds.`,
    '',
    ...hostLines(run.host).map((line) => `* ${line}`),
    ...run.notes.map((line) => `* ${line}`),
    '',
    row(columnsOf(run.figures)), row(COLUMNS.map((_, column) => column === 0 ? '---' : '---:')),
    ...tableOf(run.figures).map(row),
  ]
}
