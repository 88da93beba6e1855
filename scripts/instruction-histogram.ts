/**
 * `node scripts/ts.mjs scripts/instruction-histogram.ts [KERNEL INITRD]`: which rows of the decode table a boot of Linux executes, and how often; writes
 * docs/instruction-histogram.md. Emitters of the translator are written in this order. It boots on the interpreter, instructions being the clock, and looks at one slice of 20 000
 * instructions in 50: there it goes from jump to jump, and counts what lies between.
 */
import fs from 'node:fs'
import { CPU_AREA, CPL, G_RETIRED, INSTRUCTIONS, MODE, RIP } from '../hypervisor/tcg/core/layout.ts'
import type { Row } from '../hypervisor/tcg/isa/row.ts'
import { ROWS } from '../hypervisor/tcg/isa/table.ts'
import { UopReader } from '../hypervisor/tcg/translator/uops.ts'
import { fetchGuest } from '../src/guest/fetch-guest.ts'
import { GREETING } from '../src/guest/initramfs.ts'
import { CoreMachine } from '../test/support/core-machine.ts'

const PAGE = 'docs/instruction-histogram.md'
const RAM = 256 * 2 ** 20
const SLICE = 20_000, EVERY = 50
const LIMIT = 4_000_000_000n
const ACCESS_FETCH = 2, MODE_64 = 2, USER = 3
const LISTED = 120
/** An instruction takes 32 ns: what the kernel waits for passes in few of them. */
const NS_SHIFT = 5

/** The row of an instruction of 64-bit code. */
export function rowOf(code: Uint8Array): Row | undefined {
  let at = 0, operand16 = false, repeat = 0, rex = 0
  for (; at < code.length; at++) {
    const byte = code[at] as number
    if (byte === 0x66) operand16 = true
    else if (byte === 0xf2 || byte === 0xf3) repeat = byte
    else if (![0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x67, 0xf0].includes(byte)) break
  }
  if (((code[at] ?? 0) & 0xf0) === 0x40) rex = code[at++] as number
  let op = code[at++] ?? 0
  if (op === 0x0f) {
    op = op << 8 | (code[at++] ?? 0)
    if (op === 0x0f38 || op === 0x0f3a) op = op << 8 | (code[at++] ?? 0)
  }
  const modRm = code[at] ?? 0
  const isRegister = modRm >= 0xc0
  const mandatory = repeat !== 0 ? repeat : operand16 ? 0x66 : 0
  return ROWS.find((row) => row.op === op && row.mode !== '!64' && (row.pp === undefined || row.pp === mandatory) && (row.reg === undefined || row.reg === (modRm >> 3 & 7))
    && (row.mod === undefined || row.mod === (isRegister ? 'r' : 'm')) && (row.rm === undefined || row.rm === (modRm & 7)) && (row.w === undefined || row.w === (rex >> 3 & 1)))
}

interface Exports { runCpu(cpu: number, instructions: bigint): number; translate(cpu: number, address: bigint, access: number, user: boolean): number }
interface Seen { readonly rows: readonly (Row | undefined)[]; readonly runs: Uint32Array }

class Histogram {
  readonly counts = new Map<Row, number>()
  total = 0
  /** in code that is not 64-bit, or crosses pages */
  other = 0
  readonly #machine: CoreMachine
  readonly #exports: Exports
  readonly #reader: UopReader
  readonly #blocks = new Map<number, Seen>()

  constructor(machine: CoreMachine) {
    this.#machine = machine
    this.#exports = machine.core as unknown as Exports
    this.#reader = new UopReader(machine.view)
  }

  /** Runs a slice, jump by jump. */
  slice(): void {
    const { view } = this.#machine
    const start = view.getBigUint64(CPU_AREA + INSTRUCTIONS, true)
    let done = 0
    while (done < SLICE) {
      const rip = view.getBigUint64(CPU_AREA + RIP, true)
      const is64 = view.getUint32(CPU_AREA + MODE, true) === MODE_64
      const user = view.getUint32(CPU_AREA + CPL, true) === USER
      // Before it runs: what faults now is what the fetch would have raised.
      const host = is64 ? this.#exports.translate(CPU_AREA, rip, ACCESS_FETCH, user) : 0
      const reason = this.#exports.runCpu(CPU_AREA, 1n)
      const now = Number(view.getBigUint64(CPU_AREA + INSTRUCTIONS, true) - start)
      this.#count(host, now - done)
      done = now
      if (reason !== 0) break
    }
    view.setBigUint64(G_RETIRED, view.getBigUint64(G_RETIRED, true) + BigInt(done), true)
  }

  #count(host: number, instructions: number): void {
    this.total += instructions
    const seen = host === 0 ? undefined : this.#blocks.get(host) ?? this.#look(host)
    if (seen === undefined) this.other += instructions
    else {
      // A repeated string instruction counts once for each turn.
      seen.runs[Math.min(instructions, seen.rows.length)] = (seen.runs[Math.min(instructions, seen.rows.length)] as number) + 1
      this.other += Math.max(0, instructions - seen.rows.length)
    }
  }

  #look(host: number): Seen | undefined {
    const block = this.#reader.find(host >>> 0)
    if (block === undefined) return undefined
    const page = (host >>> 0) - (host >>> 0) % 4096
    const bytes = new Uint8Array(this.#machine.view.buffer)
    const rows = this.#reader.uops(block).filter(({ name }) => name !== 'END').map(({ offset, length }) => rowOf(bytes.slice(page + offset, page + offset + length)))
    const seen = { rows, runs: new Uint32Array(rows.length + 1) }
    this.#blocks.set(host, seen)
    return seen
  }

  finish(): void {
    for (const { rows, runs } of this.#blocks.values()) {
      let left = runs.reduce((sum, count) => sum + count, 0)
      rows.forEach((row, index) => {
        left -= runs[index] as number
        if (row === undefined) this.other += left
        else this.counts.set(row, (this.counts.get(row) ?? 0) + left)
      })
    }
  }
}

function page(histogram: Histogram, what: string, instructions: bigint): string {
  const rows = [...histogram.counts].filter(([, count]) => count > 0).sort((a, b) => b[1] - a[1])
  const percent = (count: number): string => (count / histogram.total * 100).toFixed(3)
  let sum = 0
  const lines = rows.slice(0, LISTED).map(([row, count]) => {
    sum += count
    return `| ${row.name} | ${row.op.toString(16).toUpperCase().padStart(2, '0')}${row.reg === undefined ? '' : ` /${row.reg}`} | ${row.form} | ${percent(count)} | ${percent(sum)} |`
  })
  return `${[
    '# Instructions of a boot',
    '',
    `<!-- Written by "node scripts/ts.mjs scripts/instruction-histogram.ts". Do not edit. -->`,
    '',
    `Rows of the decode table by how often a boot of ${what} to user space executes them: ${(Number(instructions) / 1e6).toFixed(0)} M instructions, of which one slice in ${EVERY} was looked at`,
    `(${(histogram.total / 1e6).toFixed(1)} M). ${rows.length} rows were seen, of ${ROWS.length}; the first ${Math.min(LISTED, rows.length)} are listed. Repeated turns of string instructions, code across pages and code outside 64-bit mode: ${percent(histogram.other)} %.`,
    '',
    '| instruction | opcode | operands | % | sum |',
    '| --- | --- | --- | ---: | ---: |',
    ...lines,
  ].join('\n')}\n`
}

async function main([kernel, initrd]: readonly string[]): Promise<void> {
  const guest = kernel === undefined ? await fetchGuest({ cacheDir: '.cache/guest', flavour: 'cloud', vmlinux: true }) : undefined
  const image = kernel ?? guest?.vmlinux ?? ''
  const ram = initrd ?? guest?.initrd
  const machine = new CoreMachine({ ram: RAM, kernel: image, ...ram === undefined ? {} : { initrd: ram }, commandLine: 'console=ttyS0 reboot=t', shift: NS_SHIFT })
  const histogram = new Histogram(machine)
  for (let slice = 0; !machine.console.includes(GREETING) && machine.retired < LIMIT; slice++) {
    if (slice % EVERY === EVERY - 1) histogram.slice()
    else if (machine.run(1) !== 0) break
  }
  histogram.finish()
  fs.writeFileSync(PAGE, page(histogram, guest?.package ?? image, machine.retired))
  process.stdout.write(`${PAGE} is written\n`)
}

if (process.argv[1]?.endsWith('instruction-histogram.ts') === true) await main(process.argv.slice(2))
