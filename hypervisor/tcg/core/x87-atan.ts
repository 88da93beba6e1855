/**
 * FPATAN (SDM volume 1 section 8.3.6, volume 2 table 3-28).
 * Operands have 80 bits, intermediate results 128, so results are correctly rounded but for near-ties (SDM volume 1 section 8.3.8 asks for 1 ulp).
 */
import { mulHigh } from './math128'
import { DE, ZERO, FINITE, INF, QNAN, aC, aS, aE, aM, aD, bC, bS, bE, bM, bD, sfRaise } from './softfloat-core'
import { fxSet, load80Pair, fxPropagate } from './softfloat80'
import { ODD_TERMS, ATAN_STEPS, PI_HIGH, PI_LOW, THREE_QUARTER_PI_HIGH, THREE_QUARTER_PI_LOW } from './x87-tables'
import { wH, wL, wE, wideSet, wideNormalise, wideMultiply, wideDivide, wideToFraction, widePolynomial, deliver } from './x87-wide'

const TOP: u64 = 0x8000000000000000

/** fx = sign * k * pi / 4 */
function deliverQuarterPi(sign: u32, k: u32): void {
  if (k == 3) wideSet(THREE_QUARTER_PI_HIGH, THREE_QUARTER_PI_LOW, 1)
  else wideSet(PI_HIGH, PI_LOW, k == 1 ? -1 : k == 2 ? 0 : 1)
  deliver(sign)
}

// ---- arc tangent --------------------------------------------------------------------------------------------------------------

/** w = atan(w) for a positive w <= 1. */
function arcTangent(): void {
  const zH = wH, zL = wL, zE = wE
  // Nearest step i / 32; t = (z - c) / (1 + z c).
  let step: u32 = 0
  if (zE >= -6) {
    step = (u32(zH >> (57 - zE)) + 1) >> 1
  }
  if (step != 0) {
    wideToFraction(zH, zL, zE - 1) // z / 2 in units of 2^-128, that is z in units of 2^-127
    const fH = wH, fL = wL
    const cH = u64(step) << 58
    let nH = fH - cH
    let nL = fL
    let negative = false
    if (fH < cH) {
      negative = true
      nL = 0 - fL
      nH = cH - fH - u64(fL != 0)
    }
    // 1 + z c, z c = fH:fL * step / 32
    const scaled = ((fH & 31) << 59) | (fL >> 5)
    const dH = TOP + (fH >> 5) * u64(step) + mulHigh(scaled, u64(step))
    const dL = scaled * u64(step)
    if ((nH | nL) == 0) {
      wideSet(load<u64>(ATAN_STEPS + (step << 4)), load<u64>(ATAN_STEPS + (step << 4), 8), 0)
      return wideNormalise()
    }
    wideSet(nH, nL, 0)
    wideNormalise()
    const numeratorH = wH, numeratorL = wL, numeratorE = wE
    wideSet(dH, dL, 0)
    if (!(dH >> 63)) wideSet((dH >> 1) | TOP, (dL >> 1) | (dH << 63), 1) // the sum passed 2
    wideDivide(numeratorH, numeratorL, numeratorE, wH, wL, wE)
    series()
    // back to units of 2^-127
    wideToFraction(wH, wL, wE - 1)
    const baseH = load<u64>(ATAN_STEPS + (step << 4))
    const baseL = load<u64>(ATAN_STEPS + (step << 4), 8)
    if (negative) wideSet(baseH - wH - u64(baseL < wL), baseL - wL, 0)
    else {
      const low = baseL + wL
      wideSet(baseH + wH + u64(low < baseL), low, 0)
    }
    return wideNormalise()
  }
  series()
}

/** w = atan(w) for 0 < w <= 1/64 by its Taylor series. */
function series(): void {
  const tH = wH, tL = wL, tE = wE
  wideMultiply(tH, tL, tE, tH, tL, tE)
  wideToFraction(wH, wL, wE)
  widePolynomial(ODD_TERMS, 12, wH, wL, true)
  if (wH >> 63) wideSet(TOP - 1, 0xffffffffffffffff, 0)
  wideMultiply(tH, tL, tE, (wH << 1) | (wL >> 63), wL << 1, -1)
}

/** FPATAN: the angle of the point (x, y), x = ST(0), y = ST(1), in (-pi, pi]. */
export function fxAtan(xSig: u64, xSe: u32, ySig: u64, ySe: u32): void {
  load80Pair(xSig, xSe, ySig, ySe)
  if (aC >= QNAN || bC >= QNAN) return fxPropagate()
  if (aD | bD) sfRaise(DE)
  const sign = bS
  if (bC == ZERO || (aC == INF && bC == FINITE)) {
    if (aS) return deliverQuarterPi(sign, 4)
    return fxSet(0, sign << 15)
  }
  if (bC == INF && aC == INF) return deliverQuarterPi(sign, aS ? 3 : 1)
  if (bC == INF || aC == ZERO) return deliverQuarterPi(sign, 2)
  const left = aS
  const steep = bE > aE || (bE == aE && bM > aM)
  if (steep) wideDivide(aM, 0, aE, bM, 0, bE)
  else wideDivide(bM, 0, bE, aM, 0, aE)
  if (!steep && !left && wE < FX_TINY) {
    // The quotient itself, a little less.
    if (wL == 0) {
      wH--
      wL = 0xffffffffffffffff
      wideNormalise()
    }
    return deliver(sign)
  }
  if (wE < -130) {
    if (steep) return deliverQuarterPi(sign, 2)
    if (left) return deliverQuarterPi(sign, 4)
  }
  arcTangent()
  if (!steep && !left) return deliver(sign)
  // pi/2 - v, pi/2 + v or pi - v, in units of 2^-126
  wideToFraction(wH, wL, wE - 2)
  const vH = wH, vL = wL
  const baseH = steep ? PI_HIGH >> 1 : PI_HIGH
  const baseL = steep ? (PI_HIGH << 63) | (PI_LOW >> 1) : PI_LOW
  if (steep && left) {
    const low = baseL + vL
    wideSet(baseH + vH + u64(low < baseL), low, 1)
  } else wideSet(baseH - vH - u64(baseL < vL), baseL - vL, 1)
  wideNormalise()
  deliver(sign)
}

/** Below 2^this the arc tangent differs from its argument only beyond 128 bits. */
const FX_TINY = -70
