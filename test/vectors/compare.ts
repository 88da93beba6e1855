/** Final snapshots against each other: equal, or equal within the tolerance that the row carries. */
import { S_CR2, S_ERROR, S_FCW, S_FPR, S_FSW, S_FS_BASE, S_FTW, S_GPR, S_GS_BASE, S_MEMORY, S_MXCSR, S_RFLAGS, S_RIP, S_SELECTORS, S_TRAP, S_XMM, SNAPSHOT } from './arena.ts'
import type { Row } from '../../hypervisor/tcg/isa/row.ts'

const NAMES = ['rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi', 'r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15']
const C1 = 0x0200

function hex(view: DataView, at: number, bytes: number): string {
  let text = ''
  for (let i = bytes - 1; i >= 0; i--) text += view.getUint8(at + i).toString(16).padStart(2, '0')
  return text
}

/** Fields in which two snapshots differ, as `name wanted/got`. */
export function differences(wanted: Uint8Array, got: Uint8Array): string[] {
  const a = new DataView(wanted.buffer, wanted.byteOffset), b = new DataView(got.buffer, got.byteOffset)
  const out: string[] = []
  const field = (name: string, at: number, bytes: number): void => {
    const left = hex(a, at, bytes), right = hex(b, at, bytes)
    if (left !== right) out.push(`${name} ${left.replace(/^0+(?=.)/, '')}/${right.replace(/^0+(?=.)/, '')}`)
  }
  field('trap', S_TRAP, 4); field('error', S_ERROR, 4); field('rip', S_RIP, 8); field('cr2', S_CR2, 8); field('flags', S_RFLAGS, 8)
  NAMES.forEach((name, i) => { field(name, S_GPR + i * 8, 8) })
  field('mxcsr', S_MXCSR, 4); field('fcw', S_FCW, 2); field('fsw', S_FSW, 2); field('ftw', S_FTW, 1)
  for (let i = 0; i < 8; i++) field(`r${i}`.replace('r', 'R'), S_FPR + i * 16, 10)
  for (let i = 0; i < 16; i++) field(`xmm${i}`, S_XMM + i * 16, 16)
  field('fsbase', S_FS_BASE, 8); field('gsbase', S_GS_BASE, 8)
  ;['es', 'cs', 'ss', 'ds', 'fs', 'gs'].forEach((name, i) => { field(name, S_SELECTORS + i * 2, 2) })
  for (let at = S_MEMORY; at < SNAPSHOT && out.length < 40; at += 8) field(`mem+${(at - S_MEMORY).toString(16)}`, at, 8)
  return out
}

/** Position of a binary32 on the number line, in units in the last place. */
function order32(bits: number): number { return bits >= 0x80000000 ? -(bits - 0x80000000) : bits }

function float32Close(a: DataView, b: DataView, at: number, tolerance: number): boolean {
  const left = a.getUint32(at, true), right = b.getUint32(at, true)
  return left === right || Math.abs(order32(left) - order32(right)) <= tolerance
}

function float80Close(a: DataView, b: DataView, at: number, tolerance: number): boolean {
  const signA = a.getUint16(at + 8, true), signB = b.getUint16(at + 8, true)
  if ((signA ^ signB) & 0x8000) return false
  const left = BigInt(signA & 0x7fff) << 63n | a.getBigUint64(at, true) & 0x7fff_ffff_ffff_ffffn
  const right = BigInt(signB & 0x7fff) << 63n | b.getBigUint64(at, true) & 0x7fff_ffff_ffff_ffffn
  const distance = left > right ? left - right : right - left
  return distance <= BigInt(tolerance)
}

/** Makes results that are close enough equal to what was wanted, so that the plain comparison passes. */
export function forgive(row: Row, wanted: Uint8Array, got: Uint8Array): void {
  if (typeof row.tolerance !== 'number') return
  const a = new DataView(wanted.buffer, wanted.byteOffset), b = new DataView(got.buffer, got.byteOffset)
  if (row.unit === 'sse') {
    for (let at = S_XMM; at < S_XMM + 256; at += 4) if (float32Close(a, b, at, row.tolerance)) b.setUint32(at, a.getUint32(at, true), true)
    return
  }
  for (let at = S_FPR; at < S_FPR + 128; at += 16) {
    if (!float80Close(a, b, at, row.tolerance)) continue
    got.set(wanted.subarray(at, at + 10), at)
  }
  // A result that may differ in its last place may also have been rounded the other way.
  const status = a.getUint16(S_FSW, true)
  b.setUint16(S_FSW, b.getUint16(S_FSW, true) & ~C1 | status & C1, true)
}

export function equal(wanted: Uint8Array, got: Uint8Array): boolean { return Buffer.compare(wanted, got) === 0 }
