/** What this accelerator needs of the kernel's KVM: Linux Documentation/virt/kvm/api.rst, section 4.4 KVM_CHECK_EXTENSION. All of it is in Linux 4.20. */
import { MesovirtError } from '../../host/errors.ts'
import { errnoName, ffi, lastErrno } from '../../host/ffi.ts'
import { KVM_CHECK_EXTENSION, KVM_GET_API_VERSION } from './abi.ts'

export interface Capability { readonly name: string; readonly number: number; readonly why: string }

export const REQUIRED_CAPABILITIES: readonly Capability[] = [
  { name: 'KVM_CAP_IRQCHIP', number: 0, why: 'interrupt controllers in the kernel' },
  { name: 'KVM_CAP_USER_MEMORY', number: 3, why: 'guest memory of this process' },
  { name: 'KVM_CAP_SET_TSS_ADDR', number: 4, why: 'real mode on Intel processors' },
  { name: 'KVM_CAP_EXT_CPUID', number: 7, why: 'what CPUID tells the guest' },
  { name: 'KVM_CAP_MP_STATE', number: 14, why: 'start and reset of further processors' },
  { name: 'KVM_CAP_IRQ_ROUTING', number: 26, why: 'message-signalled interrupts' },
  { name: 'KVM_CAP_IRQFD', number: 32, why: 'interrupts by eventfd' },
  { name: 'KVM_CAP_PIT2', number: 33, why: 'the interval timer' },
  { name: 'KVM_CAP_IOEVENTFD', number: 36, why: 'doorbells by eventfd' },
  { name: 'KVM_CAP_SET_IDENTITY_MAP_ADDR', number: 37, why: 'real mode on Intel processors' },
  { name: 'KVM_CAP_ADJUST_CLOCK', number: 39, why: 'guest time that stands still in a pause' },
  { name: 'KVM_CAP_VCPU_EVENTS', number: 41, why: 'reset of pending events' },
  { name: 'KVM_CAP_DEBUGREGS', number: 50, why: 'reset of the debug registers' },
  { name: 'KVM_CAP_XSAVE', number: 55, why: 'reset of the vector registers' },
  { name: 'KVM_CAP_SIGNAL_MSI', number: 77, why: 'message-signalled interrupts' },
  { name: 'KVM_CAP_READONLY_MEM', number: 81, why: 'ROM and flash' },
  { name: 'KVM_CAP_IMMEDIATE_EXIT', number: 136, why: 'pausing a vCPU without a race' },
]

const API_VERSION = 12

/** @param kvm descriptor of /dev/kvm; @returns what it lacks. @throws MesovirtError FFI_MISSING, FFI_BROKEN */
export function missingCapabilities(kvm: number): Capability[] {
  return REQUIRED_CAPABILITIES.filter(({ number }) => extension(kvm, number) <= 0)
}

/** Value of a capability of the kernel, 0 where it has none. */
export function extension(kvm: number, number: number): number {
  return ffi().libc.ioctl(kvm, KVM_CHECK_EXTENSION, number)
}

/** @throws MesovirtError KVM_CAPABILITY, with the list of what is missing */
export function requireCapabilities(kvm: number): void {
  const version = ffi().libc.ioctl(kvm, KVM_GET_API_VERSION, 0)
  if (version === -1) throw new MesovirtError('KVM_CAPABILITY', `/dev/kvm does not answer as KVM does (${errnoName(lastErrno())}); use -accel tcg`)
  if (version !== API_VERSION) throw new MesovirtError('KVM_CAPABILITY', `/dev/kvm speaks version ${version} of its interface, not ${API_VERSION}; use -accel tcg`)
  const missing = missingCapabilities(kvm)
  if (missing.length === 0) return
  const list = missing.map(({ name, why }) => `${name} (${why})`).join(', ')
  throw new MesovirtError('KVM_CAPABILITY', `the kernel's KVM lacks ${list}; use a newer kernel, or -accel tcg`)
}
