/** One vector before it runs: registers and memory as a snapshot, and the instruction's bytes. Reused from vector to vector. */
import { CODE, DATA_SIZE, RSP, S_FCW, S_FSW, S_FTW, S_GPR, S_MEMORY, S_MXCSR, S_RFLAGS, S_RIP, S_SELECTORS, SNAPSHOT, STACK, STACK_SIZE, USER_CODE64, USER_DATA, memoryOffset } from './arena.ts'
import { Random } from './random.ts'
import { integer } from './values.ts'

/** What memory holds unless a vector says otherwise: the same bytes for all of them. */
export const BASE_MEMORY = new Uint8Array(DATA_SIZE + STACK_SIZE)
const memoryRandom = new Random('memory')
const baseView = new DataView(BASE_MEMORY.buffer)
for (let at = 0; at < BASE_MEMORY.length; at += 8) integer(memoryRandom, baseView, at)
/** The page that may only be read. */
export const READ_ONLY_BYTES = BASE_MEMORY.slice(0x1000, 0x2000)
// No 8 bytes of it are a canonical address: what branches through it faults there and then.
READ_ONLY_BYTES.forEach((byte, at) => { READ_ONLY_BYTES[at] = byte & 0x7e || 0x5a })

export class State {
  readonly bytes = new Uint8Array(SNAPSHOT)
  readonly view = new DataView(this.bytes.buffer)
  readonly memory = this.bytes.subarray(S_MEMORY)
  readonly code: Uint8Array
  codeLength = 0
  /** Linear address of the instruction. */
  start = CODE
  mode: 32 | 64 = 64
  /** RFLAGS bits that count. */
  flagsMask = 0
  /** Snapshot bytes whose results do not count: [offset, length] pairs. */
  readonly ignored: number[] = []
  /** The memory operand consists of several parts (environments, save areas, masked stores). */
  wideOperand = false
  private readonly pokes: number[] = []

  /** @param codeBytes room for code */
  constructor(codeBytes = 16) {
    this.code = new Uint8Array(codeBytes)
    this.memory.set(BASE_MEMORY)
  }

  /** Ordinary surroundings: FPU as after FNINIT, a stack, memory as it was. */
  reset(mode: 32 | 64): void {
    for (let i = 0; i < this.pokes.length; i += 2) {
      const at = this.pokes[i]!, length = this.pokes[i + 1]!
      this.memory.set(BASE_MEMORY.subarray(at, at + length), at)
    }
    this.pokes.length = 0
    this.ignored.length = 0
    this.wideOperand = false
    this.bytes.fill(0, 0, S_MEMORY)
    this.mode = mode
    this.setGpr(RSP, STACK + 0x800)
    this.view.setUint32(S_RFLAGS, 0x202, true)
    this.view.setUint32(S_MXCSR, 0x1f80, true)
    this.view.setUint16(S_FCW, 0x37f, true)
    this.view.setUint16(S_FSW, 0, true)
    this.view.setUint8(S_FTW, 0)
    for (const segment of [0, 2, 3]) this.view.setUint16(S_SELECTORS + segment * 2, USER_DATA, true)
    this.view.setUint16(S_SELECTORS + 2, mode === 64 ? USER_CODE64 : 0x23, true)
  }

  setGpr(register: number, value: number): void {
    this.view.setUint32(S_GPR + register * 8, value >>> 0, true)
    this.view.setInt32(S_GPR + register * 8 + 4, Math.floor(value / 4294967296), true)
  }
  setGpr64(register: number, value: bigint): void { this.view.setBigUint64(S_GPR + register * 8, BigInt.asUintN(64, value), true) }
  gpr(register: number): bigint { return this.view.getBigUint64(S_GPR + register * 8, true) }

  /** Announces that the vector changes these bytes of memory. @returns their offset in the snapshot, -1 outside the arena */
  poke(address: number, length: number): number {
    const offset = memoryOffset(address)
    const at = offset - S_MEMORY
    if (at < 0 || at + length > this.memory.length) return -1
    this.pokes.push(at, length)
    return offset
  }

  /** RIP after an instruction that falls through; what the stored result is the difference to. */
  finish(): void { this.view.setUint32(S_RIP, this.start + this.codeLength, true) }
}
