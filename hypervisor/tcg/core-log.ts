/** The lines of -d, under QEMU's names: records that the core leaves in shared memory (core/log.ts), in words. There is no disassembler: in_asm shows bytes. */
import type { GuestLog, LogItem } from '../hypervisor.ts'
import {
  G_LOG, G_LOG_HEAD, G_LOG_RING, G_LOG_TAIL, JIT_DROPPED, JIT_HOT, LOG_CPU_RESET, LOG_EXEC, LOG_GUEST_ERRORS, LOG_IN_ASM, LOG_INT, LOG_JIT, LOG_MMU, LOG_RECORD, LOG_RECORDS,
} from './core/layout.ts'

const BITS: Readonly<Record<LogItem, number>> = {
  int: LOG_INT, cpu_reset: LOG_CPU_RESET, in_asm: LOG_IN_ASM, exec: LOG_EXEC, mmu: LOG_MMU, guest_errors: LOG_GUEST_ERRORS, jit: LOG_JIT,
}
const EVERY_MS = 1
const KINDS = ['exception', 'software', 'external', 'icebp'], ACCESSES = ['read', 'write', 'fetch'], MODES = ['16', '32', '64']

export class CoreLog {
  readonly #view: DataView
  readonly #words: Int32Array
  readonly #write: (text: string) => void
  readonly #timer: NodeJS.Timeout
  #delivered = 0

  constructor(memory: ArrayBufferLike, { items, write }: GuestLog) {
    this.#view = new DataView(memory)
    this.#words = new Int32Array(memory)
    this.#write = write
    Atomics.store(this.#words, G_LOG >> 2, items.reduce((bits, item) => bits | BITS[item], 0))
    this.#timer = setInterval(() => this.drain(), EVERY_MS)
    this.#timer.unref()
  }

  /** Writes what is there. A vCPU that waited goes on, and its records are written as well, as long as there are any. */
  drain(): void {
    const lines: string[] = []
    for (let tail = Atomics.load(this.#words, G_LOG_TAIL >> 2); tail !== Atomics.load(this.#words, G_LOG_HEAD >> 2); tail = tail + 1 | 0) {
      const at = G_LOG_RING + (tail & LOG_RECORDS - 1) * LOG_RECORD
      const kind = Atomics.exchange(this.#words, at >> 2, 0)
      if (kind === 0) break // its vCPU is still writing
      lines.push(this.#line(kind, at))
      Atomics.store(this.#words, G_LOG_TAIL >> 2, tail + 1 | 0)
      Atomics.notify(this.#words, G_LOG_TAIL >> 2)
      if (lines.length === LOG_RECORDS) break
    }
    if (lines.length === 0) return
    this.#write(lines.join(''))
    if (lines.length === LOG_RECORDS) setImmediate(() => this.drain())
  }

  stop(): void {
    clearInterval(this.#timer)
    this.drain()
  }

  #line(kind: number, at: number): string {
    const long = (index: number): bigint => this.#view.getBigUint64(at + 8 + index * 8, true)
    const [a, b, c] = [long(0), long(1), long(2)]
    const cpu = this.#view.getUint32(at + 4, true)
    const low = Number(a & 0xffff_ffffn), high = Number(a >> 32n)
    switch (kind) {
      case LOG_INT: return `${String(this.#delivered++).padStart(6)}: v=${hex(low & 255, 2)} e=${hex(low >> 10 & 1 ? high : 0, 4)} ${KINDS[low >> 8 & 3]} cpu=${cpu} cpl=${low >> 12 & 3} pc=${hex(b, 16)} CR2=${hex(c, 16)}\n`
      case LOG_CPU_RESET: return `CPU Reset (CPU ${a})${b === 0n ? '' : ', INIT'}\n`
      case LOG_IN_ASM: return `IN: cpu=${cpu} ${MODES[Number(c >> 32n)] ?? '?'}-bit 0x${hex(a, 16)}: ${this.#bytes(Number(b), Number(c & 0xffff_ffffn))}\n`
      case LOG_EXEC: return `Trace ${cpu}: 0x${hex(a, 16)} cpl=${b} ${MODES[Number(c)] ?? '?'}-bit\n`
      case LOG_MMU: {
        const bits = Number(c & 0xffff_ffffn)
        return `mmu: cpu=${cpu} ${ACCESSES[bits & 255] ?? '?'} by ${bits & 0x100 ? 'user' : 'kernel'} of 0x${hex(a, 16)}: ${bits & 0x10000 ? `fault, error 0x${(c >> 32n).toString(16)}` : `0x${hex(b, 12)}`}\n`
      }
      case LOG_GUEST_ERRORS: return `guest_errors: cpu=${cpu} ${b === 0n ? 'RDMSR of' : `WRMSR of 0x${c.toString(16)} to`} 0x${hex(a, 8)}, which is not there\n`
      case LOG_JIT: return low === JIT_HOT ? `jit: cpu=${cpu} block at 0x${hex(b, 16)} is hot\n` : low === JIT_DROPPED ? `jit: code dropped by a store of ${c} bytes at offset 0x${b.toString(16)}\n` : 'jit: all code dropped\n'
      default: return `record of unknown kind ${kind}\n`
    }
  }

  #bytes(host: number, length: number): string {
    return Buffer.from(new Uint8Array(this.#view.buffer, host, Math.min(length, 768))).toString('hex').replace(/..(?=.)/g, '$& ')
  }
}

function hex(value: number | bigint, digits: number): string {
  return value.toString(16).padStart(digits, '0')
}
