/** Registers of virtio over MMIO, version 2. OASIS virtio 1.2 section 4.2.2, table 4.1. Legacy registers (version 1) and QueueReset (0x0c0) are left out. */
import type { ShadowPageOptions } from '../../address-space/shadow-page.ts'

export const VIRTIO_MMIO_SIZE = 0x200

export const MAGIC_VALUE = 0x000, VERSION = 0x004, DEVICE_ID = 0x008, VENDOR_ID = 0x00c
export const DEVICE_FEATURES = 0x010, DEVICE_FEATURES_SEL = 0x014, DRIVER_FEATURES = 0x020, DRIVER_FEATURES_SEL = 0x024
export const QUEUE_SEL = 0x030, QUEUE_NUM_MAX = 0x034, QUEUE_NUM = 0x038, QUEUE_READY = 0x044, QUEUE_NOTIFY = 0x050
export const INTERRUPT_STATUS = 0x060, INTERRUPT_ACK = 0x064, STATUS = 0x070
export const QUEUE_DESC_LOW = 0x080, QUEUE_DESC_HIGH = 0x084, QUEUE_DRIVER_LOW = 0x090, QUEUE_DRIVER_HIGH = 0x094
export const QUEUE_DEVICE_LOW = 0x0a0, QUEUE_DEVICE_HIGH = 0x0a4
export const SHM_SEL = 0x0ac, SHM_LEN_LOW = 0x0b0, SHM_LEN_HIGH = 0x0b4, SHM_BASE_LOW = 0x0b8, SHM_BASE_HIGH = 0x0bc
export const CONFIG_GENERATION = 0x0fc, CONFIG = 0x100

/** Bits of InterruptStatus. */
export const INTERRUPT_USED_BUFFER = 1, INTERRUPT_CONFIG_CHANGE = 2

/**
 * Registers that vCPUs read without asking. InterruptACK is posted, which its edge-triggered line allows; it changes InterruptStatus, so a read of that waits
 * for it.
 */
export const VIRTIO_MMIO_SHADOW: Required<ShadowPageOptions> = {
  shadow: [MAGIC_VALUE, VERSION, DEVICE_ID, VENDOR_ID, INTERRUPT_STATUS, STATUS, CONFIG_GENERATION].map((offset) => ({ offset, size: 4 })),
  posted: [{ offset: INTERRUPT_ACK, size: 4 }],
}
