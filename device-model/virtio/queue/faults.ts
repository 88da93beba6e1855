/** What a driver can get wrong about a ring. Each ends the device's work until it is reset (DEVICE_NEEDS_RESET); the texts go to the log. */
export const FAULTS = {
  ringPlace: 'a ring does not lie in guest RAM, or not aligned',
  ringSize: 'a queue has an impossible size',
  availableIndex: 'the available index runs more than the queue size ahead',
  inFlight: 'more buffers are in flight than the queue holds',
  descriptorIndex: 'a descriptor index is out of range',
  loop: 'a descriptor chain is a loop',
  length: 'a descriptor chain is too long',
  bytes: 'a descriptor chain describes more than 2^32 bytes',
  empty: 'a descriptor describes no bytes',
  memory: 'a descriptor points outside guest RAM',
  order: 'a descriptor that the device reads comes after one that it writes',
  indirectFeature: 'an indirect descriptor without the feature',
  indirectNested: 'an indirect descriptor inside an indirect table',
  indirectNext: 'an indirect descriptor that continues, or is part of a list',
  indirectTable: 'an indirect table with an impossible length or place',
} as const

export type QueueFault = (typeof FAULTS)[keyof typeof FAULTS]

/** Thrown while a ring is walked and caught by the queue: no device ever sees it. */
export class RingFault extends Error {
  readonly fault: QueueFault
  readonly detail: string

  constructor(fault: QueueFault, detail = '') {
    super(fault)
    this.fault = fault
    this.detail = detail
  }
}
