/**
 * Control messages of a console device with several ports. OASIS virtio 1.2 section 5.3.6.2. What the device has to say is kept as one set of flags for each port, so that a driver that takes
 * no messages, or asks for them without end, costs no memory.
 */
import type { TerminalSize } from '../contracts.ts'

export const F_SIZE = 1n << 0n, F_MULTIPORT = 1n << 1n, F_EMERG_WRITE = 1n << 2n

/** Events of struct virtio_console_control. */
export const DEVICE_READY = 0, PORT_ADD = 1, PORT_REMOVE = 2, PORT_READY = 3, CONSOLE_PORT = 4, RESIZE = 5, PORT_OPEN = 6, PORT_NAME = 7

export const CONTROL_LENGTH = 8

/** What there is to say of a port, as bits; the order of their messages is that of `ORDER`. */
export const SAY_REMOVE = 1, SAY_ADD = 2, SAY_CONSOLE = 4, SAY_NAME = 8, SAY_OPEN = 16, SAY_RESIZE = 32
const ORDER = [SAY_REMOVE, SAY_ADD, SAY_CONSOLE, SAY_NAME, SAY_OPEN, SAY_RESIZE] as const
const SAY_ALL = SAY_REMOVE | SAY_ADD | SAY_CONSOLE | SAY_NAME | SAY_OPEN | SAY_RESIZE

/** A port as its messages tell of it. */
export interface DescribedPort {
  readonly name: string | undefined
  readonly hostOpen: boolean
  readonly size: TerminalSize | undefined
}

/** What is still to be said, by number of port. */
export class ControlMessages {
  readonly #due: Uint8Array

  constructor(ports: number) {
    this.#due = new Uint8Array(ports)
  }

  say(port: number, what: number): void {
    this.#due[port] = (this.#due[port] ?? 0) | what
  }

  forget(port: number): void {
    this.#due[port] = 0
  }

  clear(): void {
    this.#due.fill(0)
  }

  /** Plain data. */
  state(): number[] {
    return [...this.#due]
  }

  load(due: readonly number[]): void {
    this.#due.set(due.map((bits) => bits & SAY_ALL))
  }

  /** The next message: which port, what of it, and its bytes. Call `done` once the driver has it. */
  next(describe: (port: number) => DescribedPort | undefined): { readonly port: number; readonly what: number; readonly bytes: Uint8Array } | undefined {
    for (const [port, bits] of this.#due.entries()) {
      if (bits === 0) continue
      for (const what of ORDER) {
        if ((bits & what) === 0) continue
        const described = describe(port)
        const bytes = described === undefined && what !== SAY_REMOVE ? undefined : messageOf(port, what, described)
        if (bytes !== undefined) return { port, what, bytes }
        this.done(port, what)
      }
    }
    return undefined
  }

  done(port: number, what: number): void {
    this.#due[port] = (this.#due[port] ?? 0) & ~what
  }
}

/** undefined: there is nothing of that kind to say. */
function messageOf(port: number, what: number, described: DescribedPort | undefined): Uint8Array | undefined {
  switch (what) {
    case SAY_REMOVE: return message(port, PORT_REMOVE, 1)
    case SAY_ADD: return message(port, PORT_ADD, 1)
    case SAY_CONSOLE: return message(port, CONSOLE_PORT, 1)
    case SAY_OPEN: return message(port, PORT_OPEN, described?.hostOpen === true ? 1 : 0)
    case SAY_NAME: return described?.name === undefined ? undefined : message(port, PORT_NAME, 1, Buffer.from(described.name))
    case SAY_RESIZE: return described?.size === undefined ? undefined : message(port, RESIZE, 0, sizeBytes(described.size))
    default: return undefined
  }
}

function message(port: number, event: number, value: number, more: Uint8Array = new Uint8Array(0)): Uint8Array {
  const bytes = new Uint8Array(CONTROL_LENGTH + more.length)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, port, true)
  view.setUint16(4, event, true)
  view.setUint16(6, value, true)
  bytes.set(more, CONTROL_LENGTH)
  return bytes
}

/** As the document has it. Linux read it the other way round until commit 5326ab737a47 (6.15, and stable releases since), so an older guest's terminal lies on its side. */
function sizeBytes({ columns, rows }: TerminalSize): Uint8Array {
  const bytes = new Uint8Array(4)
  const view = new DataView(bytes.buffer)
  view.setUint16(0, columns, true)
  view.setUint16(2, rows, true)
  return bytes
}
