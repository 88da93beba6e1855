/**
 * x87 state in memory: FLDENV/FNSTENV, FRSTOR/FNSAVE, FXSAVE/FXRSTOR (SDM volume 1 section 8.1.10 and 10.5). FIP, FDP and FOP are whatever the
 * instruction loop recorded in the vCPU block. FXSAVE leaves bytes 464..511 and, outside 64-bit mode, XMM8..15 untouched.
 */
import { CR0, FCS, FCW, FDP, FDS, FIP, FOP, FSW, FTW, MODE, MODE_64, MXCSR, RFLAGS, XMM } from './layout'
import { significand, signExponent, st, status, summarise, vcpu, x87Begin, x87End } from './x87-state'

const MXCSR_MASK: u32 = 0xffff
const EFLAGS_VM: u64 = 0x20000

/** Tag of ST(i) as the full tag word has it: 0 valid, 1 zero, 2 special. */
function tagOf(i: u32): u32 {
  const e = signExponent(i) & 0x7fff
  const m = significand(i)
  if (e == 0) return m == 0 ? 1 : 2
  return e == 0x7fff || !(m >> 63) ? 2 : 0
}

function fullTags(): u32 {
  const present: u32 = load<u8>(vcpu + FTW)
  const top = status >> 11
  let tags: u32 = 0
  for (let r: u32 = 0; r < 8; r++) tags |= (present & (1 << r) ? tagOf((r - top) & 7) : 3) << (r * 2)
  return tags
}

function setTags(full: u32): void {
  let present: u32 = 0
  for (let r: u32 = 0; r < 8; r++) if (((full >> (r * 2)) & 3) != 3) present |= 1 << r
  store<u8>(vcpu + FTW, present)
}

/** Real-address and virtual-8086 mode save 20-bit linear addresses and the opcode instead of selectors. */
function realFormat(): bool { return (load<u64>(vcpu + CR0) & 1) == 0 || (load<u64>(vcpu + RFLAGS) & EFLAGS_VM) != 0 }

/** Writes 28 bytes, or 14 with `short`. */
export function storeEnvironment(p: usize, short: bool): void {
  const control = load<u16>(vcpu + FCW)
  const ip = u32(load<u64>(vcpu + FIP))
  const dp = u32(load<u64>(vcpu + FDP))
  const op = u32(load<u16>(vcpu + FOP)) & 0x7ff
  const cs = u32(load<u16>(vcpu + FCS))
  const ds = u32(load<u16>(vcpu + FDS))
  const real = realFormat()
  const ipLinear = ip + (real ? cs << 4 : 0)
  const dpLinear = dp + (real ? ds << 4 : 0)
  if (short) {
    store<u16>(p, control)
    store<u16>(p + 2, status)
    store<u16>(p + 4, fullTags())
    store<u16>(p + 6, real ? ipLinear : ip)
    store<u16>(p + 8, real ? ((ipLinear >> 4) & 0xf000) | op : cs)
    store<u16>(p + 10, real ? dpLinear : dp)
    store<u16>(p + 12, real ? (dpLinear >> 4) & 0xf000 : ds)
    return
  }
  store<u32>(p, 0xffff0000 | u32(control))
  store<u32>(p + 4, 0xffff0000 | status)
  store<u32>(p + 8, 0xffff0000 | fullTags())
  store<u32>(p + 12, real ? 0xffff0000 | (ipLinear & 0xffff) : ip)
  store<u32>(p + 16, real ? ((ipLinear >> 4) & 0x0ffff000) | op : (op << 16) | cs)
  store<u32>(p + 20, real ? 0xffff0000 | (dpLinear & 0xffff) : dp)
  store<u32>(p + 24, real ? (dpLinear >> 4) & 0x0ffff000 : ds)
}

export function loadEnvironment(p: usize, short: bool): void {
  const control = u32(load<u16>(p))
  const word = u32(load<u16>(p + (short ? 2 : 4)))
  const tags = u32(load<u16>(p + (short ? 4 : 8)))
  const real = realFormat()
  let ip: u32, dp: u32, cs: u32 = 0, ds: u32 = 0, op: u32 = load<u16>(vcpu + FOP)
  if (short) {
    ip = load<u16>(p + 6)
    dp = load<u16>(p + 10)
    const high = u32(load<u16>(p + 8))
    if (real) {
      ip |= (high & 0xf000) << 4
      op = high & 0x7ff
      dp |= (u32(load<u16>(p + 12)) & 0xf000) << 4
    } else {
      cs = high
      ds = load<u16>(p + 12)
    }
  } else {
    ip = load<u32>(p + 12)
    dp = load<u32>(p + 20)
    const high = load<u32>(p + 16)
    if (real) {
      ip = (ip & 0xffff) | ((high & 0x0ffff000) << 4)
      op = high & 0x7ff
      dp = (dp & 0xffff) | ((load<u32>(p + 24) & 0x0ffff000) << 4)
    } else {
      cs = high & 0xffff
      op = (high >> 16) & 0x7ff
      ds = load<u16>(p + 24)
    }
  }
  store<u16>(vcpu + FCW, (control & 0x1f3f) | 0x40)
  store<u16>(vcpu + FSW, word)
  store<u64>(vcpu + FIP, ip)
  store<u64>(vcpu + FDP, dp)
  store<u16>(vcpu + FCS, cs)
  store<u16>(vcpu + FDS, ds)
  store<u16>(vcpu + FOP, op)
  setTags(tags)
  x87Begin(vcpu)
  summarise()
}

/** FNINIT. Register contents stay. */
export function initialise(): void {
  store<u16>(vcpu + FCW, 0x37f)
  store<u16>(vcpu + FSW, 0)
  store<u8>(vcpu + FTW, 0)
  store<u64>(vcpu + FIP, 0)
  store<u64>(vcpu + FDP, 0)
  store<u16>(vcpu + FCS, 0)
  store<u16>(vcpu + FDS, 0)
  store<u16>(vcpu + FOP, 0)
  x87Begin(vcpu)
}

/** FNSAVE: environment, then ST(0)..ST(7) of 10 bytes each, then FNINIT. */
export function saveAll(p: usize, short: bool): void {
  storeEnvironment(p, short)
  p += short ? 14 : 28
  for (let i: u32 = 0; i < 8; i++, p += 10) {
    store<u64>(p, significand(i))
    store<u16>(p + 8, signExponent(i))
  }
  initialise()
}

/** FRSTOR. */
export function restoreAll(p: usize, short: bool): void {
  loadEnvironment(p, short)
  p += short ? 14 : 28
  for (let i: u32 = 0; i < 8; i++, p += 10) {
    const r = st(i)
    store<u64>(r, load<u64>(p))
    store<u16>(r + 8, load<u16>(p + 8))
  }
}

function xmmCount(): u32 { return load<u32>(vcpu + MODE) == MODE_64 ? 16 : 8 }

/** FXSAVE; `wide`: 64-bit instruction and data pointers (REX.W). */
export function fxsave(p: usize, wide: bool): void {
  store<u16>(p, load<u16>(vcpu + FCW))
  store<u16>(p + 2, status)
  store<u16>(p + 4, load<u8>(vcpu + FTW))
  store<u16>(p + 6, load<u16>(vcpu + FOP) & 0x7ff)
  store<u64>(p + 8, wide ? load<u64>(vcpu + FIP) : u64(u32(load<u64>(vcpu + FIP))) | (u64(load<u16>(vcpu + FCS)) << 32))
  store<u64>(p + 16, wide ? load<u64>(vcpu + FDP) : u64(u32(load<u64>(vcpu + FDP))) | (u64(load<u16>(vcpu + FDS)) << 32))
  store<u32>(p + 24, load<u32>(vcpu + MXCSR))
  store<u32>(p + 28, MXCSR_MASK)
  for (let i: u32 = 0; i < 8; i++) {
    store<u64>(p + 32 + (i << 4), significand(i))
    store<u64>(p + 40 + (i << 4), signExponent(i))
  }
  memory.copy(p + 160, vcpu + XMM, xmmCount() << 4)
}

/** FXRSTOR; returns 13 and changes nothing when MXCSR has reserved bits. */
export function fxrstor(p: usize, wide: bool): i32 {
  const mxcsr = load<u32>(p + 24)
  if (mxcsr & ~MXCSR_MASK) return 13
  store<u16>(vcpu + FCW, (load<u16>(p) & 0x1f3f) | 0x40)
  store<u16>(vcpu + FSW, load<u16>(p + 2))
  store<u8>(vcpu + FTW, load<u8>(p + 4))
  store<u16>(vcpu + FOP, load<u16>(p + 6) & 0x7ff)
  const ip = load<u64>(p + 8)
  const dp = load<u64>(p + 16)
  store<u64>(vcpu + FIP, wide ? ip : u64(u32(ip)))
  store<u64>(vcpu + FDP, wide ? dp : u64(u32(dp)))
  store<u16>(vcpu + FCS, wide ? 0 : u16(ip >> 32))
  store<u16>(vcpu + FDS, wide ? 0 : u16(dp >> 32))
  store<u32>(vcpu + MXCSR, mxcsr)
  x87Begin(vcpu)
  for (let i: u32 = 0; i < 8; i++) {
    const r = st(i)
    store<u64>(r, load<u64>(p + 32 + (i << 4)))
    store<u16>(r + 8, load<u16>(p + 40 + (i << 4)))
  }
  memory.copy(vcpu + XMM, p + 160, xmmCount() << 4)
  summarise()
  x87End()
  return 0
}
