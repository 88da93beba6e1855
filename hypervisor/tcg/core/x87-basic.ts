/**
 * x87 arithmetic, comparison, loads and stores on the register stack (SDM volume 1 sections 8.3.1-8.3.5, 8.5); x87.ts decides which.
 */
import { setFlagsArith } from './flags'
import { DE, IE, SNAN, aC, sfFlags, sfRaise, sfRound } from './softfloat-core'
import {
  FX_ADD, FX_DIV, FX_MUL, FX_SUB, fxBinary, fxCompare, fxDenormal, fxFromF32, fxFromF64, fxFromInteger, fxSe, fxSet, fxSig, fxToBcd, fxToF32,
  fxToF64, fxToInteger, load80,
} from './softfloat80'
import {
  C0, C1, C2, C3, commit, commitStore, copyToResult, isEmpty, overflowed, pop, pushResult, setC1, setConditions, signExponent, significand,
  stackFault, status, vcpu, writeResult,
} from './x87-state'

const CF: u32 = 1, PF: u32 = 4, ZF: u32 = 0x40

/** Forms of the arithmetic group: op >> 3. */
const FORM_M4 = 1, FORM_M8 = 2, FORM_I2 = 3, FORM_I4 = 4, FORM_ST = 5, FORM_STIP = 7
/** Kinds of the arithmetic group: op & 7. */
const KIND_ADD = 0, KIND_MUL = 1, KIND_COM = 2, KIND_COMP = 3, KIND_SUB = 4, KIND_SUBR = 5, KIND_DIVR = 7

// ---- arithmetic and comparison ------------------------------------------------------------------------------------------------

/** Loads the memory operand of an arithmetic form into fx. */
function loadOperand(form: i32, mem: usize): i32 {
  switch (form) {
    case FORM_M4:
      fxFromF32(load<u32>(mem))
      return fxDenormal
    case FORM_M8:
      fxFromF64(load<u64>(mem))
      return fxDenormal
    case FORM_I2:
      fxFromInteger(load<i16>(mem))
      return 0
    default:
      fxFromInteger(load<i32>(mem))
      return 0
  }
}

function compareCodes(order: i32): u32 { return order == 2 ? C3 | C2 | C0 : order < 0 ? C0 : order == 0 ? C3 : 0 }

/** Compares ST(0) with fx (already loaded), then pops `pops` values. */
function compareWith(sig: u64, se: u32, denormal: i32, quiet: bool, pops: i32): void {
  const order = fxCompare(significand(0), signExponent(0), sig, se, denormal, quiet)
  const unmasked = commit()
  setConditions(compareCodes(order))
  // The codes tell the outcome even when an unmasked exception keeps the stack from being popped.
  if (!unmasked) while (pops-- > 0) pop()
}

function compareUnderflow(pops: i32): void {
  const unmasked = stackFault(false)
  setConditions(C3 | C2 | C0)
  if (!unmasked) while (pops-- > 0) pop()
}

export function compareStack(i: u32, quiet: bool, pops: i32): void {
  if (isEmpty(0) || isEmpty(i)) return compareUnderflow(pops)
  compareWith(significand(i), signExponent(i), 0, quiet, pops)
}

/** FCOMI and its kin. The flags tell the outcome even when an unmasked exception keeps the stack from being popped. */
export function compareToFlags(i: u32, quiet: bool, popAfter: bool): void {
  let order = 2
  let unmasked: bool
  if (isEmpty(0) || isEmpty(i)) unmasked = stackFault(false)
  else {
    order = fxCompare(significand(0), signExponent(0), significand(i), signExponent(i), 0, quiet)
    const c1 = status & C1
    unmasked = commit()
    setC1(c1 != 0)
  }
  setFlagsArith(vcpu, order == 2 ? ZF | PF | CF : order < 0 ? CF : order == 0 ? ZF : 0)
  if (popAfter && !unmasked) pop()
}

export function arithmetic(form: i32, kind: i32, i: u32, mem: usize): void {
  let target: u32 = 0
  let denormal = 0
  if (form >= FORM_ST) {
    if (kind == KIND_COM || kind == KIND_COMP) return compareStack(i, false, kind - KIND_COM)
    if (form > FORM_ST) target = i
    if (isEmpty(0) || isEmpty(i)) {
      if (!stackFault(false)) {
        writeResult(target)
        if (form == FORM_STIP) pop()
      }
      return
    }
    const source = form == FORM_ST ? i : 0
    fxSet(significand(source), signExponent(source))
  } else {
    if (isEmpty(0)) {
      if (kind == KIND_COM || kind == KIND_COMP) return compareUnderflow(kind - KIND_COM)
      if (!stackFault(false)) writeResult(0)
      return
    }
    denormal = loadOperand(form, mem)
    if (kind == KIND_COM || kind == KIND_COMP) return compareWith(fxSig, fxSe, denormal, false, kind - KIND_COM)
  }
  const op = kind == KIND_ADD ? FX_ADD : kind == KIND_MUL ? FX_MUL : kind <= KIND_SUBR ? FX_SUB : FX_DIV
  fxBinary(op, significand(target), signExponent(target), fxSig, fxSe, kind == KIND_SUBR || kind == KIND_DIVR, denormal)
  if (commit()) return
  writeResult(target)
  if (form == FORM_STIP) pop()
}

export function compareZero(): void {
  if (isEmpty(0)) return compareUnderflow(0)
  compareWith(0, 0, 0, false, 0)
}

// ---- loads and stores ---------------------------------------------------------------------------------------------------------

export function loadReal(mem: usize, wide: bool): void {
  if (overflowed()) return
  if (wide) fxFromF64(load<u64>(mem))
  else fxFromF32(load<u32>(mem))
  if (fxDenormal) sfRaise(DE)
  load80(fxSig, fxSe)
  if (aC == SNAN) {
    sfRaise(IE)
    fxSet(fxSig | 0x4000000000000000, fxSe)
  }
  // An unmasked denormal is loaded and then reported: it has become a normal number.
  const unmasked = commit()
  if (!unmasked || !(sfFlags & IE)) pushResult()
}

/** FLDL2T ... FLDLN2: the constants have 66 bits inside, so rounding control shows. `nearestUp`: rounding to nearest rounds it up. */
export function loadConstant(sig: u64, se: u32, nearestUp: bool): void {
  if (overflowed()) return
  if (sfRound == 2 && !nearestUp) sig++
  if ((sfRound & 1) && nearestUp) sig--
  fxSet(sig, se)
  pushResult()
}

export function loadSimple(sig: u64, se: u32): void {
  if (overflowed()) return
  fxSet(sig, se)
  pushResult()
}

/** 1 when the last x87Op wrote its memory operand; 0 when an unmasked exception kept it from storing, or it stores nothing. */
export let x87Stored: i32 = 0
export function setStored(stored: bool): void { x87Stored = i32(stored) }

export function storeReal(mem: usize, wide: bool, popAfter: bool): void {
  if (isEmpty(0)) {
    if (stackFault(false)) return
    if (wide) store<u64>(mem, 0xfff8000000000000)
    else store<u32>(mem, 0xffc00000)
  } else {
    let v: u64
    if (wide) v = fxToF64(significand(0), signExponent(0))
    else v = fxToF32(significand(0), signExponent(0))
    if (commitStore()) return
    if (wide) store<u64>(mem, v)
    else store<u32>(mem, u32(v))
  }
  x87Stored = 1
  if (popAfter) pop()
}

export function storeInteger(mem: usize, bits: i32, mode: i32, popAfter: bool): void {
  let v: i64 = i64(-1) << (bits - 1)
  if (isEmpty(0)) {
    if (stackFault(false)) return
  } else {
    v = fxToInteger(significand(0), signExponent(0), bits, mode)
    if (commit()) return
  }
  if (bits == 16) store<u16>(mem, u16(v))
  else if (bits == 32) store<u32>(mem, u32(v))
  else store<u64>(mem, v)
  x87Stored = 1
  if (popAfter) pop()
}

export function storeBcd(mem: usize): void {
  if (isEmpty(0)) {
    if (stackFault(false)) return
    store<u64>(mem, 0xc000000000000000)
    store<u16>(mem, 0xffff, 8)
  } else {
    fxToBcd(significand(0), signExponent(0), mem)
    if (commit()) return
  }
  x87Stored = 1
  pop()
}

/** FST/FSTP ST(i), FSTP m80 and FLD m80 copy all 80 bits and know no exceptions but the stack's. */
export function storeStack(i: u32, popAfter: bool): void {
  if (isEmpty(0)) {
    if (stackFault(false)) return
    writeResult(i)
  } else {
    copyToResult(0)
    writeResult(i)
  }
  if (popAfter) pop()
}

export function storeExtended(mem: usize): void {
  if (isEmpty(0)) {
    if (stackFault(false)) return
  } else copyToResult(0)
  store<u64>(mem, fxSig)
  store<u16>(mem, fxSe, 8)
  x87Stored = 1
  pop()
}
