/** Model-specific registers, CPUID, the time-stamp counter and the KVM paravirtual clock. Intel SDM volume 4; Linux Documentation/virt/kvm/x86/msr.rst. */
import {
  G_WALL_NS, GPR, SEG_BASE, FS, GS, CR0, CR4, EFER, MSR_STAR, MSR_LSTAR, MSR_CSTAR, MSR_FMASK, MSR_KERNEL_GS_BASE, MSR_SYSENTER_CS, MSR_SYSENTER_ESP,
  MSR_SYSENTER_EIP, MSR_TSC_AUX, MSR_PAT, MSR_MISC_ENABLE, MSR_SPEC_CTRL, MSR_APIC_BASE, MSR_TSC_OFFSET, MSR_TSC_ADJUST, MSR_KVM_WALL_CLOCK,
  G_CHIP_LOCK, MSR_KVM_SYSTEM_TIME, MSR_MTRR_DEF_TYPE, MSR_MTRR_FIXED, MSR_MTRR_VARIABLE, CPL, CPUID_COUNT, CPUID_TABLE, LOG_GUEST_ERRORS,
} from './layout'
import { VEC_GP, raise } from './fault'
import { canonical } from './address'
import { flushTlb } from './tlb'
import { xlReadOnly, physToHost } from './ram'
import { invalidateRange } from './cache'
import { segment, updateMode } from './segment'
import { acquire, release } from './sync'
import { machineNs } from './time'
import { tscDeadlineWrite, lapicTscChanged, tscDeadlineRead } from './apic-timer'
import { log, logs } from './log'
import { apicValue, x2apicRead, x2apicWrite, apicBaseWrite } from './x2apic'

/** Guest TSC: 1 GHz machine time plus the vCPU's offset. */
// @ts-ignore: decorator
@inline export function tsc(cpu: usize): u64 { return machineNs() + load<u64>(cpu, MSR_TSC_OFFSET) }

export function rdtsc(cpu: usize, withAux: bool): u32 {
  if ((load<u32>(cpu, CR4) & 4) && load<u32>(cpu, CPL) && (load<u32>(cpu, CR0) & 1)) { raise(cpu, VEC_GP, 0); return 1 }
  const value = tsc(cpu)
  store<u64>(cpu, value & 0xffffffff, GPR)
  store<u64>(cpu, value >> 32, GPR + 16)
  if (withAux) store<u64>(cpu, <u64>load<u32>(cpu, MSR_TSC_AUX), GPR + 8)
  return 0
}

/** CPUID from the table the host filled; leaves that are not there read as zero. */
export function cpuid(cpu: usize): void {
  const leaf = load<u32>(cpu, GPR), subleaf = load<u32>(cpu, GPR + 8)
  let a: u32 = 0, b: u32 = 0, c: u32 = 0, d: u32 = 0
  const count = load<u32>(cpu, CPUID_COUNT)
  for (let i: u32 = 0; i < count; i++) {
    const entry: usize = cpu + CPUID_TABLE + i * 32
    if (load<u32>(entry) != leaf) continue
    const want = load<u32>(entry, 4)
    if (want != 0xffffffff && want != subleaf) continue
    a = load<u32>(entry, 8); b = load<u32>(entry, 12); c = load<u32>(entry, 16); d = load<u32>(entry, 20)
    break
  }
  if (leaf == 1 && !(load<u32>(cpu, MSR_APIC_BASE) & 0x800)) d &= ~0x200
  if (leaf == 0xb || leaf == 0x1f) c = (c & ~0xff) | (subleaf & 0xff)
  store<u64>(cpu, a, GPR); store<u64>(cpu, b, GPR + 24); store<u64>(cpu, c, GPR + 8); store<u64>(cpu, d, GPR + 16)
}

/** Plain read/write registers: their storage, 0 if the MSR is none of them. */
function storage(msr: u32): u32 {
  switch (msr) {
    case 0x174: return MSR_SYSENTER_CS
    case 0x175: return MSR_SYSENTER_ESP
    case 0x176: return MSR_SYSENTER_EIP
    case 0xc0000081: return MSR_STAR
    case 0xc0000082: return MSR_LSTAR
    case 0xc0000083: return MSR_CSTAR
    case 0xc0000084: return MSR_FMASK
    case 0xc0000102: return MSR_KERNEL_GS_BASE
    case 0xc0000103: return MSR_TSC_AUX
    case 0x277: return MSR_PAT
    case 0x1a0: return MSR_MISC_ENABLE
    case 0x48: return MSR_SPEC_CTRL
    case 0x2ff: return MSR_MTRR_DEF_TYPE
    case 0x250: return MSR_MTRR_FIXED
    case 0x258: return MSR_MTRR_FIXED + 8
    case 0x259: return MSR_MTRR_FIXED + 16
    default:
  }
  if (msr >= 0x268 && msr <= 0x26f) return MSR_MTRR_FIXED + 24 + (msr - 0x268) * 8
  if (msr >= 0x200 && msr <= 0x20f) return MSR_MTRR_VARIABLE + (msr - 0x200) * 8
  return 0
}

let msrValue: u64 = 0
/** Of a register of the local APIC or its timer. */
function isApic(msr: u32): bool { return (msr >= 0x800 && msr <= 0x8ff) || msr == 0x10 || msr == 0x3b || msr == 0x1b || msr == 0x6e0 }

/** @returns false for #GP */
function readMsr(cpu: usize, msr: u32): bool {
  const place = storage(msr)
  if (place) { msrValue = load<u64>(cpu + place); return true }
  if (msr >= 0x800 && msr <= 0x8ff) {
    if (x2apicRead(cpu, msr, machineNs()) != 0) return false
    msrValue = apicValue()
    return true
  }
  switch (msr) {
    case 0x10: msrValue = tsc(cpu); return true
    case 0x3b: msrValue = load<u64>(cpu, MSR_TSC_ADJUST); return true
    case 0x1b: msrValue = load<u64>(cpu, MSR_APIC_BASE); return true
    case 0x6e0: msrValue = tscDeadlineRead(cpu); return true
    case 0xc0000080: msrValue = load<u64>(cpu, EFER); return true
    case 0xc0000100: msrValue = load<u64>(segment(cpu, FS), SEG_BASE); return true
    case 0xc0000101: msrValue = load<u64>(segment(cpu, GS), SEG_BASE); return true
    case 0xfe: msrValue = 0x508; return true // MTRRcap: 8 variable, fixed, write-combining
    case 0x10a: msrValue = ARCH_CAPABILITIES; return true
    case 0x8b: msrValue = <u64>0x1 << 32; return true // microcode revision
    case 0x17: case 0x1b0: case 0x1d9: case 0x3a: case 0x19a: case 0x19b: case 0x19c: case 0x79: case 0x179: case 0x17a: case 0x140: case 0xcd: case 0x34: msrValue = 0; return true
    case 0x4b564d00: msrValue = load<u64>(cpu, MSR_KVM_WALL_CLOCK); return true
    case 0x4b564d01: msrValue = load<u64>(cpu, MSR_KVM_SYSTEM_TIME); return true
    default: return false
  }
}

/** RDCL_NO IBRS_ALL SKIP_L1DFL SSB_NO MDS_NO PSCHANGE_MC_NO TAA_NO SBDR_SSDP_NO FBSDP_NO PSDP_NO BHI_NO PBRSB_NO GDS_NO RFDS_NO ITS_NO: no speculation here to mitigate. */
const ARCH_CAPABILITIES: u64 = 1 | 2 | 8 | 16 | 32 | 64 | 256 | (1 << 13) | (1 << 14) | (1 << 15) | (1 << 20) | (1 << 24) | (1 << 26) | (1 << 27) | ((<u64>1) << 62)

const PHYSICAL_BITS: u64 = 46 // as CPUID says (../cpuid.ts)

/** MTRRs know UC, WC, WT, WP and WB; UC- is a type of the PAT only. */
function validMtrrTypes(value: u64, bits: u64): bool {
  for (let i: u64 = 0; i < bits; i += 8) {
    const type = (value >> i) & 0xff
    if (type == 2 || type == 3 || type > 6) return false
  }
  return true
}

function validMemoryTypes(value: u64): bool {
  for (let i: u64 = 0; i < 64; i += 8) {
    const type = (value >> i) & 0xff
    if (type == 2 || type == 3 || type > 7) return false
  }
  return true
}

/** @returns false for #GP */
function writeMsr(cpu: usize, msr: u32, value: u64): bool {
  const place = storage(msr)
  if (place) {
    switch (msr) {
      case 0x175: case 0x176: case 0xc0000082: case 0xc0000083: case 0xc0000102: if (!canonical(value)) return false; break
      case 0xc0000103: case 0xc0000084: if (value >> 32) return false; break
      case 0x277: if (!validMemoryTypes(value)) return false; break
      case 0x48: if (value & ~0x407) return false; break // IBRS STIBP SSBD BHI_DIS_S: kept, nothing to do
      case 0x2ff: if (value & ~0xcff || !validMtrrTypes(value & 0xff, 8)) return false; break
      default:
        if (msr >= 0x250 && msr <= 0x26f && !validMtrrTypes(value, 64)) return false
        if (msr >= 0x200 && msr <= 0x20f && (value >> PHYSICAL_BITS || (msr & 1 ? value & 0x7ff : value & 0xf00 || !validMtrrTypes(value & 0xff, 8)))) return false
    }
    store<u64>(cpu + place, value)
    return true
  }
  if (msr >= 0x800 && msr <= 0x8ff) return x2apicWrite(cpu, msr, value, machineNs()) == 0
  switch (msr) {
    case 0x10: {
      const offset = value - machineNs()
      store<u64>(cpu, load<u64>(cpu, MSR_TSC_ADJUST) + offset - load<u64>(cpu, MSR_TSC_OFFSET), MSR_TSC_ADJUST)
      store<u64>(cpu, offset, MSR_TSC_OFFSET)
      lapicTscChanged(cpu, machineNs())
      return true
    }
    case 0x3b:
      store<u64>(cpu, load<u64>(cpu, MSR_TSC_OFFSET) + value - load<u64>(cpu, MSR_TSC_ADJUST), MSR_TSC_OFFSET)
      store<u64>(cpu, value, MSR_TSC_ADJUST)
      lapicTscChanged(cpu, machineNs())
      return true
    case 0x1b: {
      if (apicBaseWrite(cpu, value) != 0) return false
      flushTlb(cpu, false) // the register page may cover RAM, or have covered some
      return true
    }
    case 0x6e0: tscDeadlineWrite(cpu, value, machineNs()); return true
    case 0xc0000080: {
      if (value & ~0xd01) return false
      const old = load<u64>(cpu, EFER)
      if ((old ^ value) & 0x100 && load<u32>(cpu, CR0) & 0x80000000) return false
      store<u64>(cpu, (value & ~0x400) | (old & 0x400), EFER)
      if ((old ^ value) & 0x800) flushTlb(cpu, false)
      updateMode(cpu)
      return true
    }
    case 0xc0000100: if (!canonical(value)) return false; store<u64>(segment(cpu, FS), value, SEG_BASE); return true
    case 0xc0000101: if (!canonical(value)) return false; store<u64>(segment(cpu, GS), value, SEG_BASE); return true
    case 0x49: return (value & ~1) == 0 // PRED_CMD: nothing to flush
    case 0x10b: return (value & ~1) == 0 // FLUSH_CMD
    case 0x8b: case 0x79: case 0x1d9: case 0x19a: case 0x19b: case 0x3a: case 0x140: case 0x17a: case 0x17: return true
    case 0x4b564d00: store<u64>(cpu, value, MSR_KVM_WALL_CLOCK); writeWallClock(value); return true
    case 0x4b564d01: store<u64>(cpu, value, MSR_KVM_SYSTEM_TIME); updateKvmClock(cpu); return true
    default: return false
  }
}

export function rdmsr(cpu: usize): u32 {
  const msr = load<u32>(cpu, GPR + 8), apic = isApic(msr)
  if (apic) acquire(G_CHIP_LOCK)
  const valid = readMsr(cpu, msr)
  if (apic) release(G_CHIP_LOCK)
  if (!valid) { badMsr(cpu, 0); raise(cpu, VEC_GP, 0); return 1 }
  store<u64>(cpu, msrValue & 0xffffffff, GPR)
  store<u64>(cpu, msrValue >> 32, GPR + 16)
  return 0
}
export function wrmsr(cpu: usize): u32 {
  const msr = load<u32>(cpu, GPR + 8), apic = isApic(msr)
  if (apic) acquire(G_CHIP_LOCK)
  const valid = writeMsr(cpu, msr, <u64>load<u32>(cpu, GPR) | (<u64>load<u32>(cpu, GPR + 16) << 32))
  if (apic) release(G_CHIP_LOCK)
  if (valid && (msr == 0x10 || msr == 0x3b)) updateKvmClock(cpu)
  if (valid) return 0
  badMsr(cpu, 1)
  raise(cpu, VEC_GP, 0)
  return 1
}
function badMsr(cpu: usize, write: u32): void {
  if (logs(LOG_GUEST_ERRORS)) log(cpu, LOG_GUEST_ERRORS, load<u32>(cpu, GPR + 8), write, <u64>load<u32>(cpu, GPR) | (<u64>load<u32>(cpu, GPR + 16) << 32))
}

/** struct pvclock_wall_clock { version, sec, nsec }. */
function writeWallClock(address: u64): void {
  const host = physToHost(address)
  if (!host || xlReadOnly || (address & 0xfff) > 0xff4) return
  const wall = load<u64>(G_WALL_NS)
  store<u32>(host, load<u32>(host) + 1 | 1)
  store<u32>(host, <u32>(wall / 1000000000), 4)
  store<u32>(host, <u32>(wall % 1000000000), 8)
  store<u32>(host, load<u32>(host) + 1)
  invalidateRange(host, 12)
}

/** struct pvclock_vcpu_time_info: system time = TSC - tsc_timestamp + system_time, 1 GHz on both sides. */
function updateKvmClock(cpu: usize): void {
  const msr = load<u64>(cpu, MSR_KVM_SYSTEM_TIME)
  if (!(msr & 1)) return
  const address = msr & ~1
  const host = physToHost(address)
  if (!host || xlReadOnly || (address & 0xfff) > 0xfe0) return
  const now = machineNs()
  store<u32>(host, load<u32>(host) + 1 | 1)
  store<u64>(host, now + load<u64>(cpu, MSR_TSC_OFFSET), 8)
  store<u64>(host, now, 16)
  store<u32>(host, 0x80000000, 24) // ns = ((ticks << 1) * 2^31) >> 32
  store<u8>(host, 1, 28)
  store<u8>(host, 1, 29) // TSC is stable
  store<u32>(host, load<u32>(host) + 1)
  invalidateRange(host, 32)
}
