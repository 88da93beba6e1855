/**
 * Every x87 instruction, FXSAVE/FXRSTOR, LDMXCSR/STMXCSR and EMMS on one vCPU block (SDM volume 1 chapter 8, volume 2). The caller decodes, checks
 * CR0.EM/TS and CR4.OSFXSR, probes and copies memory operands, and records FIP, FDP and FOP where x87RecordsPointers says so.
 * Not modelled: FERR#.
 */
import { FCW, FSW, FTW, MXCSR } from './layout'
import { getFlags } from './flags'
import { sfRound } from './softfloat-core'
import {
  fxExamine, fxExponentSe, fxExponentSig, fxExtract, fxFromBcd, fxFromInteger, fxPartial, fxQuotient, fxReduced, fxRemainder, fxRound,
  fxScale, fxSe, fxSet, fxSig, fxSqrt,
} from './softfloat80'
import { fxAtan } from './x87-atan'
import {
  arithmetic, compareStack, compareToFlags, compareZero, loadConstant, loadReal, loadSimple, setStored, storeBcd, storeExtended,
  storeInteger, storeReal, storeStack,
} from './x87-basic'
import { fxrstor, fxsave, initialise, loadEnvironment, restoreAll, saveAll, storeEnvironment } from './x87-env'
import { fx2xm1, fxYl2x, fxYl2xp1 } from './x87-log'
import { fxCos, fxSin, fxSinCos, fxTan, mathOutOfRange, mathSe, mathSig } from './x87-trig'
import {
  C0, C1, C2, C3, SUMMARY, commit, copyToResult, isEmpty, moveTop, overflowed, pop, pushResult, setC1, setConditions, setEmpty, signExponent,
  significand, stackFault, status, summarise, underflowed, vcpu, writeResult, x87Begin, x87End, x87Release,
} from './x87-state'
import {
  X87_FDIVR_STIP, X87_FLD_M4, X87_FLD_M8, X87_FLD_M10, X87_FLD_STI, X87_FILD_I2, X87_FILD_I4, X87_FILD_I8, X87_FBLD, X87_FLD1, X87_FLDL2T,
  X87_FLDL2E, X87_FLDPI, X87_FLDLG2, X87_FLDLN2, X87_FLDZ, X87_FST_M4, X87_FSTP_M4, X87_FST_M8, X87_FSTP_M8, X87_FSTP_M10, X87_FST_STI,
  X87_FSTP_STI, X87_FSTPNCE, X87_FIST_I2, X87_FISTP_I2, X87_FIST_I4, X87_FISTP_I4, X87_FISTP_I8, X87_FISTTP_I2, X87_FISTTP_I4, X87_FISTTP_I8,
  X87_FBSTP, X87_FCOMPP, X87_FUCOM, X87_FUCOMP, X87_FUCOMPP, X87_FCOMI, X87_FCOMIP, X87_FUCOMI, X87_FUCOMIP, X87_FTST, X87_FXAM, X87_FXCH,
  X87_FFREE, X87_FFREEP, X87_FINCSTP, X87_FDECSTP, X87_FNOP, X87_FCMOVB, X87_FCMOVNU, X87_FCHS, X87_FABS, X87_FSQRT, X87_FSCALE, X87_FXTRACT,
  X87_FPREM, X87_FPREM1, X87_FRNDINT, X87_FYL2X, X87_FYL2XP1, X87_FPTAN, X87_FPATAN, X87_FSIN, X87_FCOS, X87_FSINCOS, X87_FLDENV,
  X87_FLDENV14, X87_FNSTENV, X87_FNSTENV14, X87_FRSTOR, X87_FRSTOR94, X87_FNSAVE, X87_FNSAVE94, X87_FLDCW, X87_FNSTCW, X87_FNSTSW,
  X87_FNSTSW_AX, X87_FNINIT, X87_FNCLEX, X87_EMMS, X87_FXSAVE, X87_FXSAVE64, X87_FXRSTOR, X87_FXRSTOR64, X87_LDMXCSR, X87_STMXCSR, X87_FNNOP,
} from './x87-ops'

export { x87Stored } from './x87-basic'

const VECTOR_MF = 16, VECTOR_GP = 13
const CF: u32 = 1, PF: u32 = 4, ZF: u32 = 0x40

function waits(op: i32): bool {
  switch (op) {
    case X87_FNSTENV: case X87_FNSTENV14: case X87_FNSAVE: case X87_FNSAVE94: case X87_FNSTCW: case X87_FNSTSW: case X87_FNSTSW_AX:
    case X87_FNINIT: case X87_FNCLEX: case X87_FXSAVE: case X87_FXSAVE64: case X87_FXRSTOR: case X87_FXRSTOR64: case X87_LDMXCSR: case X87_STMXCSR:
    case X87_FNNOP:
      return false
    default: return true
  }
}

/** Does the instruction update FIP, FCS, FOP, and with a memory operand FDP, FDS? Control instructions do not (SDM volume 1 section 8.1.8). */
export function x87RecordsPointers(op: i32): bool { return op < X87_FLDENV }

// ---- registers ----------------------------------------------------------------------------------------------------------------

function exchange(i: u32): void {
  if (isEmpty(0) || isEmpty(i)) {
    if (stackFault(false)) return
    if (isEmpty(0)) writeResult(0)
    if (isEmpty(i)) writeResult(i)
  }
  copyToResult(0)
  const sig = fxSig, se = fxSe
  copyToResult(i)
  writeResult(0)
  fxSet(sig, se)
  writeResult(i)
}

/** FCMOVcc: condition 0..7 = B E BE U NB NE NBE NU. */
function conditionalMove(condition: i32, i: u32): void {
  if (isEmpty(0) || isEmpty(i)) {
    if (!stackFault(false)) writeResult(0)
    return
  }
  const flags = getFlags(vcpu)
  let taken: bool
  switch (condition & 3) {
    case 0: taken = (flags & CF) != 0; break
    case 1: taken = (flags & ZF) != 0; break
    case 2: taken = (flags & (CF | ZF)) != 0; break
    default: taken = (flags & PF) != 0
  }
  if (taken != ((condition & 4) != 0)) {
    copyToResult(i)
    writeResult(0)
  }
}

/** Replaces ST(0) by the result. */
function replaceTop(): void {
  if (!commit()) writeResult(0)
}

/** Instructions with a second result, which is pushed: checks the stack first; the masked answer goes to both places. */
function twoResultsFault(): bool {
  const empty = isEmpty(0)
  if (!empty && isEmpty(7)) return false
  if (!stackFault(!empty)) {
    writeResult(0)
    pushResult()
  }
  return true
}

function pushSecond(sig: u64, se: u32): void {
  fxSet(sig, se)
  pushResult()
}

function extract(): void {
  if (twoResultsFault()) return
  fxExtract(significand(0), signExponent(0))
  if (commit()) return
  const sig = fxSig, se = fxSe
  fxSet(fxExponentSig, fxExponentSe)
  writeResult(0)
  pushSecond(sig, se)
}

function sineCosine(tangent: bool): void {
  status &= ~C2
  if (twoResultsFault()) return
  if (tangent) fxTan(significand(0), signExponent(0))
  else fxSinCos(significand(0), signExponent(0))
  if (mathOutOfRange) {
    status |= C2
    return
  }
  if (commit()) return
  writeResult(0)
  pushSecond(mathSig, mathSe)
}

function sineOrCosine(op: i32): void {
  status &= ~C2
  if (underflowed(0, 0)) return
  if (op == X87_FSIN) fxSin(significand(0), signExponent(0))
  else fxCos(significand(0), signExponent(0))
  if (mathOutOfRange) {
    status |= C2
    return
  }
  replaceTop()
}

function remainder(nearest: bool): void {
  status &= ~C2
  if (isEmpty(0) || isEmpty(1)) {
    if (!stackFault(false)) writeResult(0)
    return
  }
  fxRemainder(significand(0), signExponent(0), significand(1), signExponent(1), nearest)
  if (commit()) return
  writeResult(0)
  if (!fxReduced) return // NaN, infinity: C0 and C3 stay
  if (fxPartial) return setConditions(C2)
  setConditions((fxQuotient & 4 ? C0 : 0) | (fxQuotient & 2 ? C3 : 0) | (fxQuotient & 1 ? C1 : 0))
}

/** FYL2X, FYL2XP1, FPATAN: result to ST(1), pop. */
function twoOperands(op: i32): void {
  if (isEmpty(0) || isEmpty(1)) {
    if (stackFault(false)) return
  } else {
    const xSig = significand(0), xSe = signExponent(0), ySig = significand(1), ySe = signExponent(1)
    if (op == X87_FYL2X) fxYl2x(xSig, xSe, ySig, ySe)
    else if (op == X87_FYL2XP1) fxYl2xp1(xSig, xSe, ySig, ySe)
    else fxAtan(xSig, xSe, ySig, ySe)
    if (commit()) return
  }
  writeResult(1)
  pop()
}

function oneOperand(op: i32): void {
  if (underflowed(0, 0)) return
  const sig = significand(0), se = signExponent(0)
  switch (op) {
    case X87_FCHS: fxSet(sig, se ^ 0x8000); break
    case X87_FABS: fxSet(sig, se & 0x7fff); break
    case X87_FSQRT: fxSqrt(sig, se); break
    case X87_FRNDINT: fxRound(sig, se); break
    default: fx2xm1(sig, se)
  }
  replaceTop()
}

function scale(): void {
  if (isEmpty(0) || isEmpty(1)) {
    if (!stackFault(false)) writeResult(0)
    return
  }
  fxScale(significand(0), signExponent(0), significand(1), signExponent(1))
  replaceTop()
}

function examine(): void {
  const sign = signExponent(0) & 0x8000 ? C1 : 0
  setConditions((isEmpty(0) ? C3 | C0 : fxExamine(significand(0), signExponent(0))) | sign)
}

// ---- dispatch -----------------------------------------------------------------------------------------------------------------

function writesMemory(op: i32): bool {
  switch (op) {
    case X87_FNSTENV: case X87_FNSTENV14: case X87_FNSAVE: case X87_FNSAVE94: case X87_FNSTCW: case X87_FNSTSW: case X87_FNSTSW_AX:
    case X87_FXSAVE: case X87_FXSAVE64: case X87_STMXCSR:
      return true
    default: return false
  }
}

/** Instructions on the environment; returns the vector to raise or 0. */
function control(cpu: usize, op: i32, mem: usize): i32 {
  switch (op) {
    case X87_FLDENV: case X87_FLDENV14: loadEnvironment(mem, op == X87_FLDENV14); break
    case X87_FNSTENV: case X87_FNSTENV14:
      storeEnvironment(mem, op == X87_FNSTENV14)
      store<u16>(cpu + FCW, load<u16>(cpu + FCW) | 0x3f)
      summarise()
      break
    case X87_FRSTOR: case X87_FRSTOR94: restoreAll(mem, op == X87_FRSTOR94); break
    case X87_FNSAVE: case X87_FNSAVE94: saveAll(mem, op == X87_FNSAVE94); break
    case X87_FLDCW:
      store<u16>(cpu + FCW, (load<u16>(mem) & 0x1f3f) | 0x40)
      summarise()
      break
    case X87_FNSTCW: store<u16>(mem, load<u16>(cpu + FCW)); break
    case X87_FNSTSW: case X87_FNSTSW_AX: store<u16>(mem, load<u16>(cpu + FSW)); break
    case X87_FNINIT: initialise(); break
    case X87_FNCLEX: store<u16>(cpu + FSW, load<u16>(cpu + FSW) & 0x7f00); return 0
    case X87_EMMS:
      store<u8>(cpu + FTW, 0)
      moveTop(8 - (status >> 11 & 7))
      break
    case X87_FXSAVE: case X87_FXSAVE64: fxsave(mem, op == X87_FXSAVE64); break
    case X87_FXRSTOR: case X87_FXRSTOR64: return fxrstor(mem, op == X87_FXRSTOR64)
    case X87_LDMXCSR: {
      const value = load<u32>(mem)
      if (value >> 16) return VECTOR_GP
      store<u32>(cpu + MXCSR, value)
      break
    }
    case X87_STMXCSR: store<u32>(mem, load<u32>(cpu + MXCSR)); break
    default: break // FWAIT, for which the check for pending exceptions was all, and FNNOP
  }
  x87End()
  return 0
}

function transferOrCompare(op: i32, i: u32, mem: usize): void {
  switch (op) {
    case X87_FLD_M4: return loadReal(mem, false)
    case X87_FLD_M8: return loadReal(mem, true)
    case X87_FLD_M10: return loadSimple(load<u64>(mem), load<u16>(mem, 8))
    case X87_FLD_STI:
      if (isEmpty(i)) {
        // Underflow wins over overflow; the indefinite is pushed.
        if (!stackFault(false)) pushResult()
        return
      }
      return loadSimple(significand(i), signExponent(i))
    case X87_FILD_I2: case X87_FILD_I4: case X87_FILD_I8:
      if (overflowed()) return
      fxFromInteger(op == X87_FILD_I2 ? load<i16>(mem) : op == X87_FILD_I4 ? load<i32>(mem) : load<i64>(mem))
      return pushResult()
    case X87_FBLD:
      if (overflowed()) return
      fxFromBcd(mem)
      return pushResult()
    case X87_FLD1: return loadSimple(0x8000000000000000, 0x3fff)
    case X87_FLDL2T: return loadConstant(0xd49a784bcd1b8afe, 0x4000, false)
    case X87_FLDL2E: return loadConstant(0xb8aa3b295c17f0bc, 0x3fff, true)
    case X87_FLDPI: return loadConstant(0xc90fdaa22168c235, 0x4000, true)
    case X87_FLDLG2: return loadConstant(0x9a209a84fbcff799, 0x3ffd, true)
    case X87_FLDLN2: return loadConstant(0xb17217f7d1cf79ac, 0x3ffe, true)
    case X87_FLDZ: return loadSimple(0, 0)
    case X87_FST_M4: return storeReal(mem, false, false)
    case X87_FSTP_M4: return storeReal(mem, false, true)
    case X87_FST_M8: return storeReal(mem, true, false)
    case X87_FSTP_M8: return storeReal(mem, true, true)
    case X87_FSTP_M10: return storeExtended(mem)
    case X87_FST_STI: return storeStack(i, false)
    case X87_FSTP_STI: return storeStack(i, true)
    case X87_FSTPNCE:
      if (isEmpty(0)) return moveTop(1)
      return storeStack(i, true)
    case X87_FIST_I2: return storeInteger(mem, 16, sfRound, false)
    case X87_FISTP_I2: return storeInteger(mem, 16, sfRound, true)
    case X87_FIST_I4: return storeInteger(mem, 32, sfRound, false)
    case X87_FISTP_I4: return storeInteger(mem, 32, sfRound, true)
    case X87_FISTP_I8: return storeInteger(mem, 64, sfRound, true)
    case X87_FISTTP_I2: return storeInteger(mem, 16, 3, true)
    case X87_FISTTP_I4: return storeInteger(mem, 32, 3, true)
    case X87_FISTTP_I8: return storeInteger(mem, 64, 3, true)
    case X87_FBSTP: return storeBcd(mem)
    case X87_FCOMPP: return compareStack(1, false, 2)
    case X87_FUCOM: return compareStack(i, true, 0)
    case X87_FUCOMP: return compareStack(i, true, 1)
    case X87_FUCOMPP: return compareStack(1, true, 2)
    case X87_FCOMI: return compareToFlags(i, false, false)
    case X87_FCOMIP: return compareToFlags(i, false, true)
    case X87_FUCOMI: return compareToFlags(i, true, false)
    case X87_FUCOMIP: return compareToFlags(i, true, true)
    case X87_FTST: return compareZero()
    case X87_FXAM: return examine()
    default: return
  }
}

function stackOrFunction(op: i32, i: u32): void {
  switch (op) {
    case X87_FXCH: return exchange(i)
    case X87_FFREE: return setEmpty(i)
    case X87_FFREEP:
      setEmpty(i)
      return pop()
    case X87_FINCSTP: return moveTop(1)
    case X87_FDECSTP: return moveTop(7)
    case X87_FNOP: return
    case X87_FSCALE: return scale()
    case X87_FXTRACT: return extract()
    case X87_FPREM: return remainder(false)
    case X87_FPREM1: return remainder(true)
    case X87_FSIN: case X87_FCOS: return sineOrCosine(op)
    case X87_FSINCOS: return sineCosine(false)
    case X87_FPTAN: return sineCosine(true)
    case X87_FYL2X: case X87_FYL2XP1: case X87_FPATAN: return twoOperands(op)
    default: break
  }
  if (op >= X87_FCMOVB && op <= X87_FCMOVNU) conditionalMove(op - X87_FCMOVB, i)
  else oneOperand(op)
}

/** FCOMI and FCMOV leave C1 alone unless the stack faults (as processors do; the SDM leaves it open), FNOP always. */
function keepsC1(op: i32): bool { return op == X87_FNOP || (op >= X87_FCOMI && op <= X87_FUCOMIP) || (op >= X87_FCMOVB && op <= X87_FCMOVNU) }

/**
 * Executes one instruction. `op` is a constant of x87-ops.ts, `sti` the i of ST(i), `mem` the address of the memory operand's bytes: loaded by the
 * caller before, or copied to the guest by the caller afterwards if x87Stored is 1. Returns 0 or the vector to raise: 16 (#MF; with CR0.NE clear
 * the caller signals IRQ 13 instead) or 13. An unmasked exception of the instruction itself only sets ES: the next waiting instruction reports it.
 */
export function x87Op(cpu: usize, op: i32, sti: i32, mem: usize): i32 {
  setStored(false)
  if (waits(op) && load<u16>(cpu + FSW) & SUMMARY) return VECTOR_MF
  x87Begin(cpu)
  if (op >= X87_FLDENV) {
    const vector = control(cpu, op, mem)
    setStored(writesMemory(op))
    x87Release()
    return vector
  }
  if (!keepsC1(op)) setC1(false)
  if (op <= X87_FDIVR_STIP) arithmetic(op >> 3, op & 7, u32(sti), mem)
  else if (op <= X87_FXAM) transferOrCompare(op, u32(sti), mem)
  else stackOrFunction(op, u32(sti))
  x87End()
  x87Release()
  return 0
}
