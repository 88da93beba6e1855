/** Stack instructions of more than one push or pop: POP to memory, PUSHA, POPA, ENTER, LEAVE. Plain pushes and pops are in operand.ts. */
import { GPR, CPL, UOP_D, UOP_IMM } from './layout'
import { AUX_DST_MEM } from './decode'
import { failed, loadN, writeRegister, loadLinear, storeLinear, address, stackMask, stackLinear, setStackPointer, peek, dropStack } from './operand'
import { probeWrite } from './access'

export function pop(cpu: usize, u: usize, size: u32, aux: u32): u32 {
  const value = peek(cpu, size, 0)
  if (failed) return 1
  if (!(aux & AUX_DST_MEM)) {
    dropStack(cpu, 1 << size)
    writeRegister(cpu, load<u16>(u, UOP_D), size, value)
    return 0
  }
  // POP m computes its address with the incremented stack pointer.
  const before = load<u64>(cpu, GPR + 32)
  dropStack(cpu, 1 << size)
  if (storeLinear(cpu, u, address(cpu, u, (1 << size) | 0x10000), size, value)) return 0
  store<u64>(cpu, before, GPR + 32)
  return 1
}

export function pushAll(cpu: usize, size: u32): u32 {
  const sp = load<u64>(cpu, GPR + 32)
  const mask = stackMask(cpu)
  const bytes: u32 = 8 << size
  // All eight slots must be writable before the first is written.
  for (let i: u64 = 0; i < 8; i++) {
    const offset = (sp - ((i + 1) << size)) & mask
    if (!probeWrite(cpu, true, stackLinear(cpu, offset, size, true), 1 << size, load<u32>(cpu, CPL) == 3)) return 1
  }
  for (let i: u32 = 0; i < 8; i++) {
    const offset = (sp - ((i + 1) << size)) & mask
    if (!storeLinear(cpu, 0, stackLinear(cpu, offset, size, true), size, i == 4 ? sp : loadN(cpu + GPR + i * 8, size))) return 1
  }
  setStackPointer(cpu, sp - bytes, mask)
  return 0
}

export function popAll(cpu: usize, size: u32): u32 {
  for (let i: u64 = 0; i < 8; i++) { peek(cpu, size, i << size); if (failed) return 1 }
  const sp = load<u64>(cpu, GPR + 32)
  const mask = stackMask(cpu)
  for (let i: u32 = 0; i < 8; i++) {
    const register: u32 = 7 - i
    const value = loadLinear(cpu, 0, stackLinear(cpu, (sp + (i << size)) & mask, size, false), size)
    if (register != 4) writeRegister(cpu, GPR + register * 8, size, value)
  }
  setStackPointer(cpu, sp + (8 << size), mask)
  return 0
}

export function enter(cpu: usize, u: usize): u32 {
  const size = <u32>(load<u64>(u, UOP_IMM) >> 40) & 3 // its own operands are immediates: decode.ts put the operand size above them
  const bytes = load<u64>(u, UOP_IMM) & 0xffff
  const level = (load<u64>(u, UOP_IMM) >> 16) & 31
  const mask = stackMask(cpu)
  const sp = load<u64>(cpu, GPR + 32)
  const frame = load<u64>(cpu, GPR + 40)
  let at = (sp - (1 << size)) & mask
  const newFrame = at
  if (!storeLinear(cpu, 0, stackLinear(cpu, at, size, true), size, frame)) return 1
  for (let i: u64 = 1; i < level; i++) {
    const value = loadLinear(cpu, 0, stackLinear(cpu, (frame - (i << size)) & mask, size, false), size)
    if (failed) return 1
    at = (at - (1 << size)) & mask
    if (!storeLinear(cpu, 0, stackLinear(cpu, at, size, true), size, value)) return 1
  }
  if (level) {
    at = (at - (1 << size)) & mask
    if (!storeLinear(cpu, 0, stackLinear(cpu, at, size, true), size, newFrame)) return 1
  }
  const end = (at - bytes) & mask
  if (!probeWrite(cpu, true, stackLinear(cpu, end, 0, true), 1, load<u32>(cpu, CPL) == 3)) return 1
  if (size == 1 && mask != 0xffff) writeRegister(cpu, GPR + 40, 1, newFrame)
  else writeRegister(cpu, GPR + 40, size, newFrame)
  setStackPointer(cpu, end, mask)
  return 0
}

export function leaveFrame(cpu: usize, size: u32): u32 {
  const mask = stackMask(cpu)
  const frame = load<u64>(cpu, GPR + 40) & mask
  const value = loadLinear(cpu, 0, stackLinear(cpu, frame, size, false), size)
  if (failed) return 1
  setStackPointer(cpu, frame + (1 << size), mask)
  writeRegister(cpu, GPR + 40, size, value)
  return 0
}
