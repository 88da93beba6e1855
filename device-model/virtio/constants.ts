/** Numbers of OASIS virtio 1.2 that devices, queues and transports share: status bits (2.1), feature bits (6), descriptor flags (2.7.5, 2.8). */

/** Device status field, section 2.1. */
export const ACKNOWLEDGE = 1, DRIVER = 2, DRIVER_OK = 4, FEATURES_OK = 8, DEVICE_NEEDS_RESET = 64, FAILED = 128

/** Reserved feature bits, section 6. The legacy interface, ordered buffers, notification data and ring reset are not offered. */
export const F_INDIRECT_DESC = 1n << 28n
export const F_EVENT_IDX = 1n << 29n
export const F_VERSION_1 = 1n << 32n
export const F_RING_PACKED = 1n << 34n

export const DESC_F_NEXT = 1, DESC_F_WRITE = 2, DESC_F_INDIRECT = 4
/** Packed rings only, section 2.8.1. */
export const DESC_F_AVAIL = 1 << 7, DESC_F_USED = 1 << 15
export const DESCRIPTOR_SIZE = 16

/** Device types, section 5. */
export const DEVICE_TYPE_NET = 1, DEVICE_TYPE_BLOCK = 2, DEVICE_TYPE_CONSOLE = 3, DEVICE_TYPE_ENTROPY = 4, DEVICE_TYPE_BALLOON = 5, DEVICE_TYPE_VSOCK = 19, DEVICE_TYPE_FS = 26
