/**
 * Where a guest spends its instructions: the RIPs at which slices end (core/run.ts), by the symbols of a System.map or of /proc/kallsyms saved to a file. A sample stands for
 * a slice, some 20 000 instructions. Kernels that randomise their address, and modules that were loaded later, are not in such a file.
 */
import fs from 'node:fs'
import { MesovirtError } from '../../host/errors.ts'
import type { SymbolShare } from '../hypervisor.ts'
import { G_PROFILE, G_PROFILE_COUNT, G_PROFILE_RING, PROFILE } from './core/layout.ts'

const LARGEST_FILE = 64 * 2 ** 20
/** The ring holds more than this many milliseconds of slices on any host. */
const EVERY_MS = 25
const KERNEL = 0xffff_8000_0000_0000n
const USER_SPACE = '(user space)', NO_SYMBOL = '(kernel, no symbol)'

/** Functions of a kernel by address. */
export class SymbolTable {
  readonly #addresses: BigUint64Array
  readonly #names: readonly string[]

  /** @param text lines `address type name`, in any order; types other than t and w are not code. @throws MesovirtError TCG_SYMBOLS */
  constructor(text: string, name: string) {
    const found = [...text.matchAll(/^([0-9a-f]{1,16}) [tTwW] (\S+)/gm)].map(([, address = '', symbol = '']) => ({ address: BigInt(`0x${address}`), symbol }))
      .filter(({ address }) => address !== 0n).sort((a, b) => a.address < b.address ? -1 : a.address > b.address ? 1 : 0)
    if (found.length === 0) throw new MesovirtError('TCG_SYMBOLS', `symbols=${name} holds no symbol; give a System.map, or what root of the guest reads from /proc/kallsyms`)
    this.#addresses = BigUint64Array.from(found, ({ address }) => address)
    this.#names = found.map(({ symbol }) => symbol)
  }

  /** @throws MesovirtError TCG_SYMBOLS */
  static read(file: string): SymbolTable {
    let text: string
    try {
      if (fs.statSync(file).size > LARGEST_FILE) throw new Error(`it is larger than ${LARGEST_FILE / 2 ** 20} MiB`)
      text = fs.readFileSync(file, 'latin1')
    } catch (error) {
      throw new MesovirtError('TCG_SYMBOLS', `symbols=${file} cannot be read (${error instanceof Error ? error.message : String(error)}); check the path`)
    }
    return new SymbolTable(text, file)
  }

  nameOf(address: bigint): string {
    if (address < KERNEL) return USER_SPACE
    let low = 0, high = this.#addresses.length
    while (low < high) {
      const middle = low + high >> 1
      if ((this.#addresses[middle] as bigint) <= address) low = middle + 1
      else high = middle
    }
    return low === 0 ? NO_SYMBOL : this.#names[low - 1] as string
  }
}

export class GuestProfile {
  readonly #view: DataView
  readonly #words: Int32Array
  readonly #symbols: SymbolTable
  readonly #counts = new Map<string, number>()
  readonly #timer: NodeJS.Timeout
  #seen = 0
  #samples = 0

  constructor(memory: ArrayBufferLike, symbols: SymbolTable) {
    this.#view = new DataView(memory)
    this.#words = new Int32Array(memory)
    this.#symbols = symbols
    Atomics.store(this.#words, G_PROFILE >> 2, 1)
    this.#timer = setInterval(() => this.#collect(), EVERY_MS)
    this.#timer.unref()
  }

  stop(): void {
    clearInterval(this.#timer)
  }

  /** Where most samples are, most first. */
  top(count: number): SymbolShare[] {
    this.#collect()
    return [...this.#counts].sort((a, b) => b[1] - a[1]).slice(0, count).map(([name, samples]) => ({ name, samples, percent: samples / this.#samples * 100 }))
  }

  #collect(): void {
    const count = Atomics.load(this.#words, G_PROFILE_COUNT >> 2) >>> 0
    // Samples that were overwritten are lost; they hardly change the shares.
    for (let at = Math.max(this.#seen, count - PROFILE); at < count; at++) {
      const name = this.#symbols.nameOf(this.#view.getBigUint64(G_PROFILE_RING + at % PROFILE * 8, true))
      this.#counts.set(name, (this.#counts.get(name) ?? 0) + 1)
      this.#samples++
    }
    this.#seen = count
  }
}
