/**
 * The kernel's KVM interface as far as this project calls it: request numbers, capabilities, layouts of its structures on x86-64.
 * Linux include/uapi/linux/kvm.h and arch/x86/include/uapi/asm/kvm.h; meaning in Documentation/virt/kvm/api.rst.
 */

// ---- requests to /dev/kvm ----
export const KVM_GET_API_VERSION = 0xae00
export const KVM_CREATE_VM = 0xae01
export const KVM_GET_MSR_INDEX_LIST = 0xc004_ae02
export const KVM_CHECK_EXTENSION = 0xae03
export const KVM_GET_VCPU_MMAP_SIZE = 0xae04
export const KVM_GET_SUPPORTED_CPUID = 0xc008_ae05

// ---- requests to a virtual machine ----
export const KVM_CREATE_VCPU = 0xae41
export const KVM_GET_DIRTY_LOG = 0x4010_ae42
export const KVM_SET_USER_MEMORY_REGION = 0x4020_ae46
export const KVM_SET_TSS_ADDR = 0xae47
export const KVM_SET_IDENTITY_MAP_ADDR = 0x4008_ae48
export const KVM_CREATE_IRQCHIP = 0xae60
export const KVM_IRQ_LINE = 0x4008_ae61
export const KVM_GET_IRQCHIP = 0xc208_ae62
export const KVM_SET_IRQCHIP = 0x8208_ae63
export const KVM_SET_GSI_ROUTING = 0x4008_ae6a
export const KVM_IRQFD = 0x4020_ae76
export const KVM_CREATE_PIT2 = 0x4040_ae77
export const KVM_IOEVENTFD = 0x4040_ae79
export const KVM_SET_CLOCK = 0x4030_ae7b
export const KVM_GET_CLOCK = 0x8030_ae7c
export const KVM_GET_PIT2 = 0x8070_ae9f
export const KVM_SET_PIT2 = 0x4070_aea0
export const KVM_SIGNAL_MSI = 0x4020_aea5

// ---- requests to a vCPU ----
export const KVM_RUN = 0xae80
export const KVM_GET_REGS = 0x8090_ae81
export const KVM_SET_REGS = 0x4090_ae82
export const KVM_GET_SREGS = 0x8138_ae83
export const KVM_SET_SREGS = 0x4138_ae84
export const KVM_TRANSLATE = 0xc018_ae85
export const KVM_GET_MSRS = 0xc008_ae88
export const KVM_SET_MSRS = 0x4008_ae89
export const KVM_SET_SIGNAL_MASK = 0x4004_ae8b
export const KVM_GET_LAPIC = 0x8400_ae8e
export const KVM_SET_LAPIC = 0x4400_ae8f
export const KVM_SET_CPUID2 = 0x4008_ae90
export const KVM_GET_MP_STATE = 0x8004_ae98
export const KVM_SET_MP_STATE = 0x4004_ae99
export const KVM_GET_VCPU_EVENTS = 0x8040_ae9f
export const KVM_SET_VCPU_EVENTS = 0x4040_aea0
export const KVM_GET_DEBUGREGS = 0x8080_aea1
export const KVM_SET_DEBUGREGS = 0x4080_aea2
export const KVM_GET_XSAVE = 0x9000_aea4
export const KVM_SET_XSAVE = 0x5000_aea5
export const KVM_GET_XCRS = 0x8188_aea6
export const KVM_SET_XCRS = 0x4188_aea7
export const KVM_KVMCLOCK_CTRL = 0xaead
export const KVM_GET_STATS_FD = 0xaece

// ---- sizes of structures, bytes ----
export const SREGS_BYTES = 312
export const REGS_BYTES = 144
export const IRQCHIP_BYTES = 520
export const PIT_STATE2_BYTES = 112
export const LAPIC_BYTES = 1024
export const VCPU_EVENTS_BYTES = 64
export const DEBUGREGS_BYTES = 128
export const XCRS_BYTES = 392
export const XSAVE_BYTES = 4096
export const CPUID_ENTRY_BYTES = 40
export const MSR_ENTRY_BYTES = 16
export const CLOCK_BYTES = 48

// ---- struct kvm_run ----
export const RUN_IMMEDIATE_EXIT = 1
export const RUN_EXIT_REASON = 8
/** Where the union of the exits begins: kvm_run.io, .mmio, .internal, ... */
export const RUN_EXIT = 32
export const RUN_IO_DIRECTION = 32 // u8: 1 = out
export const RUN_IO_SIZE = 33 // u8
export const RUN_IO_PORT = 34 // u16
export const RUN_IO_COUNT = 36 // u32: elements of a string instruction
export const RUN_IO_DATA_OFFSET = 40 // u64, from the start of kvm_run
export const RUN_MMIO_ADDRESS = 32 // u64
export const RUN_MMIO_DATA = 40 // up to 8 bytes
export const RUN_MMIO_LENGTH = 48 // u32
export const RUN_MMIO_IS_WRITE = 52 // u8
export const RUN_HARDWARE_REASON = 32 // u64: .hw and .fail_entry
export const RUN_SUBERROR = 32 // u32
export const RUN_SUBERROR_WORDS = 36 // u32: how many of the words are filled
export const RUN_SUBERROR_DATA = 40 // u64[16]
export const RUN_SYSTEM_EVENT = 32 // u32

export const EXIT_UNKNOWN = 0
export const EXIT_EXCEPTION = 1
export const EXIT_IO = 2
export const EXIT_HYPERCALL = 3
export const EXIT_DEBUG = 4
export const EXIT_HLT = 5
export const EXIT_MMIO = 6
export const EXIT_IRQ_WINDOW_OPEN = 7
export const EXIT_SHUTDOWN = 8
export const EXIT_FAIL_ENTRY = 9
export const EXIT_INTR = 10
export const EXIT_NMI = 16
export const EXIT_INTERNAL_ERROR = 17
export const EXIT_SYSTEM_EVENT = 24
export const EXIT_NAMES: Readonly<Record<number, string>> = {
  [EXIT_UNKNOWN]: 'KVM_EXIT_UNKNOWN', [EXIT_EXCEPTION]: 'KVM_EXIT_EXCEPTION', [EXIT_HYPERCALL]: 'KVM_EXIT_HYPERCALL', [EXIT_DEBUG]: 'KVM_EXIT_DEBUG', [EXIT_HLT]: 'KVM_EXIT_HLT',
  [EXIT_IRQ_WINDOW_OPEN]: 'KVM_EXIT_IRQ_WINDOW_OPEN', [EXIT_FAIL_ENTRY]: 'KVM_EXIT_FAIL_ENTRY', [EXIT_NMI]: 'KVM_EXIT_NMI', [EXIT_INTERNAL_ERROR]: 'KVM_EXIT_INTERNAL_ERROR',
  [EXIT_SYSTEM_EVENT]: 'KVM_EXIT_SYSTEM_EVENT',
}

export const SUBERROR_EMULATION = 1
export const SUBERROR_NAMES: Readonly<Record<number, string>> = {
  [SUBERROR_EMULATION]: 'the kernel cannot emulate an instruction', 2: 'simultaneous exceptions', 3: 'an exit while an event was delivered', 4: 'an unexpected exit reason',
}
export const SYSTEM_EVENT_SHUTDOWN = 1, SYSTEM_EVENT_RESET = 2, SYSTEM_EVENT_CRASH = 3

// ---- flags and values ----
export const MEM_LOG_DIRTY_PAGES = 1
export const MEM_READONLY = 2
export const IOEVENTFD_DATAMATCH = 1
export const IOEVENTFD_PIO = 2
export const IOEVENTFD_DEASSIGN = 4
export const IRQFD_DEASSIGN = 1
export const IRQFD_RESAMPLE = 2
export const PIT_SPEAKER_DUMMY = 1
export const ROUTING_IRQCHIP = 1
export const ROUTING_MSI = 2
export const IRQCHIP_PIC_MASTER = 0, IRQCHIP_PIC_SLAVE = 1, IRQCHIP_IOAPIC = 2
export const MP_STATE_RUNNABLE = 0
export const MP_STATE_UNINITIALIZED = 1
export const MP_STATE_HALTED = 3

// ---- capabilities ----
export const CAP_NR_VCPUS = 9
export const CAP_NR_MEMSLOTS = 10
export const CAP_MAX_VCPUS = 66
export const CAP_KVMCLOCK_CTRL = 76
export const CAP_BINARY_STATS_FD = 203
