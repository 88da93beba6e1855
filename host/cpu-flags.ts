/** The host's processor as /proc/cpuinfo tells of it (proc(5)): vendor, model, feature flags. Linux only; elsewhere nothing is known. */
import { closeSync, openSync, readSync } from 'node:fs'

export interface CpuIdentity {
  /** e.g. `AuthenticAMD`; '' where the file does not say */
  readonly vendor: string
  /** e.g. `AMD EPYC 7B13` */
  readonly model: string
  /** Linux's names: `vmx`, `svm`, `npt`, `avx2` ... */
  readonly flags: ReadonlySet<string>
}

/** Hardware virtualization of an x86 processor: Intel's, AMD's, or none that the host shows. */
export type CpuVirtualization = 'vmx' | 'svm' | 'none'

const UNKNOWN: CpuIdentity = { vendor: '', model: '', flags: new Set() }
/** Holds the first processor with room to spare. On a big host the whole file takes milliseconds, and every processor says the same. */
const FIRST_PROCESSOR_BYTES = 16 * 1024

/** Reads the first processor of a text of /proc/cpuinfo. aarch64's `Features` count as flags. */
export function parseCpuInfo(text: string): CpuIdentity {
  const first = text.split('\n\n', 1)[0] ?? ''
  const field = (name: string): string => new RegExp(`^${name}[ \\t]*:[ \\t]*(.*)$`, 'm').exec(first)?.[1]?.trim() ?? ''
  return { vendor: field('vendor_id'), model: field('model name'), flags: new Set((field('flags') || field('Features')).split(/\s+/).filter((flag) => flag !== '')) }
}

/** The host's first processor; unknown where there is no /proc/cpuinfo. */
export function readCpu(): CpuIdentity {
  let fd: number
  try {
    fd = openSync('/proc/cpuinfo', 'r')
  } catch {
    return UNKNOWN
  }
  try {
    const bytes = Buffer.alloc(FIRST_PROCESSOR_BYTES)
    let length = 0
    for (let count = -1; count !== 0 && length < bytes.length; length += count) count = readSync(fd, bytes, length, bytes.length - length, null)
    return parseCpuInfo(bytes.toString('latin1', 0, length))
  } catch {
    return UNKNOWN
  } finally {
    closeSync(fd)
  }
}

export function virtualizationOf({ flags }: CpuIdentity): CpuVirtualization {
  return flags.has('vmx') ? 'vmx' : flags.has('svm') ? 'svm' : 'none'
}
