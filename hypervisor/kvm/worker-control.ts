/**
 * How the main thread and a vCPU worker steer each other: words in shared memory, CONTROL_WORDS for each vCPU. Main asks by REQUEST, then ends a KVM_RUN
 * that may be under way by immediate_exit and the kick signal; the worker answers by STATE. What it has to tell comes as a message.
 */
export const REQUEST = 0 // REQUEST_*, stored by main and notified
export const STATE = 1 // STATE_*, stored by the worker and notified
export const THREAD = 2 // host thread id, 0 until the worker runs; notified
export const SETUP = 3 // 1: the WorkerSetup is in the worker's mailbox, or none will come and REQUEST says to quit; stored by main and notified
export const ENDED = 4 // 1: this vCPU has shut down or failed; stored by the worker, taken back by main with a reset. Nothing runs meanwhile
export const CONTROL_WORDS = 16 // a cache line

/** Stay outside the guest. */
export const REQUEST_PARK = 0
export const REQUEST_RUN = 1
/** End the thread. */
export const REQUEST_QUIT = 2

/** Outside KVM_RUN with no access to a device half done: main may read and write the vCPU's state. */
export const STATE_PARKED = 0
export const STATE_RUNNING = 1
/** The thread makes no native call any more. Ended from outside before that, in one, it would take the whole process with it (koffi 3.3.4, Node 20.20). */
export const STATE_GONE = 2

/** What a thread is born with. It may be born before there is a virtual machine, so as to be up when that is. */
export interface WorkerStart {
  readonly index: number
  readonly control: SharedArrayBuffer
}

/** The first and only message to it. */
export interface WorkerSetup {
  /** descriptor of the vCPU, and the size of its kvm_run */
  readonly vcpu: number
  readonly runBytes: number
  readonly bus: SharedArrayBuffer
  /** descriptor that wakes main */
  readonly bell: number
}

/** The vCPU is parked when main gets one of these, and stays so until a reset. */
export type WorkerMessage =
  | { readonly kind: 'triple-fault'; readonly cpu: number }
  /** An exit that nothing here can answer; `detail` in one line. */
  | { readonly kind: 'internal-error'; readonly cpu: number; readonly detail: string }
