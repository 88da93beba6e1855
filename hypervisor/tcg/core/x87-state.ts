/**
 * The x87 register stack, the status word and the response to exceptions (SDM volume 1 sections 8.1, 8.4, 8.5), shared by the files x87*.ts.
 * Works on the vCPU that x87Begin selected.
 */
import { FCW, FPR, FSW, FTW } from './layout'
import { DE, IE, OE, PE, UE, ZE, sfFlags, sfMask, sfRaise, sfSetDenormals, sfSetFlags, sfSetMask, sfSetRound } from './softfloat-core'
import { fxIndefinite, fxRoundUp, fxSe, fxSet, fxSetPrecision, fxSig } from './softfloat80'

export const C0: u32 = 0x100, C1: u32 = 0x200, C2: u32 = 0x400, C3: u32 = 0x4000
export const STACK_FAULT: u32 = 0x40, SUMMARY: u32 = 0x80, BUSY: u32 = 0x8000
export const CONDITIONS: u32 = 0x4700

export let vcpu: usize = 0
/** Status word while an instruction runs; x87End writes it back. */
export let status: u32 = 0

/** Loads status and control word; clears C1, which almost every instruction does. */
export function x87Begin(cpu: usize): void {
  vcpu = cpu
  status = load<u16>(cpu + FSW)
  const control = load<u16>(cpu + FCW)
  sfSetFlags(0)
  sfSetMask(control & 0x3f)
  sfSetRound((control >> 10) & 3)
  sfSetDenormals(0, 0)
  const precision = (control >> 8) & 3
  fxSetPrecision(precision == 0 ? 24 : precision == 2 ? 53 : 64)
}

export function x87End(): void { store<u16>(vcpu + FSW, status) }

/** For code that shares the settings with SSE: nothing of the x87 control word stays behind. */
export function x87Release(): void {
  sfSetFlags(0)
  sfSetMask(0x3f)
  sfSetRound(0)
}

export function setConditions(bits: u32): void { status = (status & ~CONDITIONS) | bits }
export function setC1(on: bool): void { status = on ? status | C1 : status & ~C1 }

// ---- the stack ----------------------------------------------------------------------------------------------------------------

export function physical(i: u32): u32 { return ((status >> 11) + i) & 7 }
/** Address of ST(i). */
export function st(i: u32): usize { return vcpu + FPR + (physical(i) << 4) }
export function isEmpty(i: u32): bool { return ((load<u8>(vcpu + FTW) >> physical(i)) & 1) == 0 }
function setFull(i: u32): void { store<u8>(vcpu + FTW, u32(load<u8>(vcpu + FTW)) | (1 << physical(i))) }
export function setEmpty(i: u32): void { store<u8>(vcpu + FTW, u32(load<u8>(vcpu + FTW)) & ~(1 << physical(i))) }
export function moveTop(by: u32): void { status = (status & ~0x3800) | ((((status >> 11) + by) & 7) << 11) }

export function pop(): void {
  setEmpty(0)
  moveTop(1)
}

/** Writes the arithmetic result to ST(i). */
export function writeResult(i: u32): void {
  const p = st(i)
  store<u64>(p, fxSig)
  store<u16>(p + 8, fxSe)
  setFull(i)
}

export function pushResult(): void {
  moveTop(7)
  writeResult(0)
}

export function signExponent(i: u32): u32 { return load<u16>(st(i) + 8) }
export function significand(i: u32): u64 { return load<u64>(st(i)) }

/** fx result = ST(i). */
export function copyToResult(i: u32): void { fxSet(significand(i), signExponent(i)) }

// ---- exceptions ---------------------------------------------------------------------------------------------------------------

/** Sets ES and B as the flags and masks demand. */
export function summarise(): void {
  const control = load<u16>(vcpu + FCW)
  status &= ~(SUMMARY | BUSY)
  if (status & ~u32(control) & 0x3f) status |= SUMMARY | BUSY
}

/**
 * Moves the exceptions of the computation into the status word, and C1 from its rounding. Returns true when an unmasked IE, DE or ZE forbids
 * the result: then nothing but the flags may change.
 */
export function commit(): bool {
  const unmasked = sfFlags & ~sfMask
  const early = (unmasked & (IE | DE | ZE)) != 0
  if (early) sfSetFlags(sfFlags & (IE | DE | ZE))
  status |= u32(sfFlags)
  setC1(!early && fxRoundUp != 0)
  if (unmasked) status |= SUMMARY | BUSY
  return early
}

/** commit() for a store to memory, where unmasked overflow and underflow forbid the store and the pop too (SDM 8.5.4, 8.5.5). */
export function commitStore(): bool {
  const unmasked = sfFlags & ~sfMask
  const early = (unmasked & (IE | DE | ZE | OE | UE)) != 0
  if (early) sfSetFlags(sfFlags & ~PE)
  status |= u32(sfFlags)
  setC1(!early && fxRoundUp != 0)
  if (unmasked) status |= SUMMARY | BUSY
  return early
}

/** Stack overflow or underflow: IE, SF and C1. The masked result (indefinite) is in fx; true when unmasked, so that nothing is written. */
export function stackFault(overflow: bool): bool {
  sfRaise(IE)
  status |= STACK_FAULT | u32(IE)
  setC1(overflow)
  fxIndefinite()
  if (sfMask & IE) return false
  status |= SUMMARY | BUSY
  return true
}

/** Checks that ST(i) holds a value; otherwise stores the masked answer to ST(target) and returns true. */
export function underflowed(i: u32, target: u32): bool {
  if (!isEmpty(i)) return false
  if (!stackFault(false)) writeResult(target)
  return true
}

/** Checks that a push has room; otherwise pushes the masked answer and returns true. */
export function overflowed(): bool {
  if (isEmpty(7)) return false
  if (!stackFault(true)) pushResult()
  return true
}
