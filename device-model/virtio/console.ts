/**
 * Console device with any number of ports. OASIS virtio 1.2 section 5.3: consoles and plain byte channels, names, opening and closing on both sides, size of terminals, emergency writes. A console
 * loses the oldest output when its host does not read, for a kernel that prints must not wait; a channel loses nothing: its guest waits.
 */
import { GuestErrors } from '../contracts.ts'
import type { CharBackend, CharEvent, DeviceEvents } from '../contracts.ts'
import { HeldInput, HELD_INPUT_LIMIT } from '../held-input.ts'
import { damaged, stateBoolean, stateBytes, stateNumber, stateRecord } from '../state.ts'
import {
  CONTROL_LENGTH, ControlMessages, DEVICE_READY, F_EMERG_WRITE, F_MULTIPORT, F_SIZE, PORT_OPEN, PORT_READY, SAY_ADD, SAY_CONSOLE, SAY_NAME, SAY_OPEN, SAY_REMOVE, SAY_RESIZE,
} from './console-control.ts'
import type { DescribedPort } from './console-control.ts'
import { DEVICE_TYPE_CONSOLE } from './constants.ts'
import type { Activation, VirtioDevice, VirtioHost } from './device.ts'
import { copyFrom, copyTo } from './queue/chain.ts'
import type { Chain } from './queue/chain.ts'
import type { VirtQueue } from './queue/queue.ts'

const QUEUE_SIZE = 128
export const MOST_PORTS = 31
/** Bytes of one port that are moved before others have a turn. */
const BYTES_A_TURN = 256 * 1024
const PIECE = 64 * 1024
const CONFIG_LENGTH = 12, CONFIG_COLUMNS = 0, CONFIG_ROWS = 2, CONFIG_PORTS = 4, CONFIG_EMERGENCY = 8
const CONTROL_RX = 2, CONTROL_TX = 3
const NAME = 'virtio-serial'

export interface ConsolePortOptions {
  /** Below the number of ports of the device. */
  readonly nr: number
  /** hvc0 and so on, or a plain channel (/dev/vport0p1). */
  readonly isConsole: boolean
  /** /dev/virtio-ports/NAME with udev, /sys/class/virtio-ports/ without. */
  readonly name?: string | undefined
  /** Not closed by the device. */
  readonly backend: CharBackend
  readonly onGuestOpen?: ((isOpen: boolean) => void) | undefined
}

export interface VirtioConsoleWiring {
  /** 1..31. With 1 there is port 0 alone, a console without control messages. */
  readonly maxPorts: number
  readonly ports: readonly ConsolePortOptions[]
  readonly events?: DeviceEvents | undefined
  /** Calls back in a later turn of the event loop. Default setImmediate. */
  readonly defer?: ((callback: () => void) => void) | undefined
}

/** By number of port. */
interface LaneState {
  readonly guestOpen: boolean
  readonly announced: boolean
  /** Bytes of its oldest buffer that the host has already. */
  readonly sent: number
  /** Input that has no room in the guest yet. */
  readonly held: readonly number[]
}

export interface VirtioConsoleState {
  readonly ready: boolean
  readonly due: readonly number[]
  readonly lanes: readonly LaneState[]
}

/** The queues of one number of port, and the port there, if any. */
interface Lane {
  readonly nr: number
  rx: VirtQueue | undefined
  tx: VirtQueue | undefined
  /** A buffer of the guest that the host has a part of. */
  sending: Chain | undefined
  sent: number
  deferred: boolean
  port: ConsolePortOptions | undefined
  held: HeldInput
  guestOpen: boolean
  /** The driver was told of the port. */
  announced: boolean
  flow: boolean
}

export class VirtioConsole implements VirtioDevice {
  readonly name = NAME
  readonly deviceType = DEVICE_TYPE_CONSOLE
  readonly features: bigint
  readonly queueSizes: readonly number[]
  /** Of the ports that are there from the start: 64 of them would cost kvm tens of milliseconds. */
  readonly doorbells: readonly number[]
  readonly config = new Uint8Array(CONFIG_LENGTH)
  readonly guestErrors: GuestErrors
  readonly #wiring: VirtioConsoleWiring
  readonly #lanes: readonly Lane[]
  readonly #messages: ControlMessages
  readonly #piece = new Uint8Array(PIECE)
  #host: VirtioHost | undefined
  #controlRx: VirtQueue | undefined
  #controlTx: VirtQueue | undefined
  #active = false
  #multiport = false
  /** The driver has said that it wants to hear of ports. */
  #ready: boolean
  #paused = false

  constructor(state: VirtioConsoleState, wiring: VirtioConsoleWiring) {
    this.#wiring = wiring
    const { maxPorts, ports } = wiring
    this.guestErrors = new GuestErrors(NAME, wiring.events)
    this.#messages = new ControlMessages(maxPorts)
    this.#messages.load(state.due)
    this.#ready = state.ready
    this.#lanes = Array.from({ length: maxPorts }, (_, nr) => {
      const { guestOpen = false, announced = false, sent = 0, held: bytes = [] } = state.lanes[nr] ?? {}
      const held = new HeldInput()
      held.load(bytes)
      return { nr, rx: undefined, tx: undefined, sending: undefined, sent, deferred: false, port: undefined, held, guestOpen, announced, flow: false }
    })
    this.queueSizes = Array.from({ length: maxPorts === 1 ? 2 : 2 * maxPorts + 2 }, () => QUEUE_SIZE)
    this.doorbells = [...ports.flatMap(({ nr }) => [rxIndex(nr), rxIndex(nr) + 1]), ...maxPorts === 1 ? [] : [CONTROL_RX, CONTROL_TX]]
    const hasSize = ports.some(({ isConsole, backend }) => isConsole && backend.size !== undefined)
    this.features = F_EMERG_WRITE | (maxPorts > 1 ? F_MULTIPORT : 0n) | (hasSize ? F_SIZE : 0n)
    new DataView(this.config.buffer).setUint32(CONFIG_PORTS, maxPorts, true)
    for (const port of ports) this.#attach(port)
    this.#storeSize()
  }

  static create(wiring: VirtioConsoleWiring): VirtioConsole {
    return new VirtioConsole({ ready: false, due: [], lanes: [] }, wiring)
  }

  /** @throws MesovirtError DEVICE_STATE */
  static fromState(state: unknown, wiring: VirtioConsoleWiring): VirtioConsole {
    const record = stateRecord(NAME, state)
    const lanes = record['lanes']
    if (!Array.isArray(lanes) || lanes.length > wiring.maxPorts) throw damaged(NAME, `lanes is not a list of at most ${wiring.maxPorts}`)
    return new VirtioConsole({
      ready: stateBoolean(NAME, record, 'ready'), due: stateBytes(NAME, record, 'due', wiring.maxPorts),
      lanes: lanes.map((lane): LaneState => {
        const one = stateRecord(NAME, lane)
        return {
          guestOpen: stateBoolean(NAME, one, 'guestOpen'), announced: stateBoolean(NAME, one, 'announced'), sent: stateNumber(NAME, one, 'sent', Number.MAX_SAFE_INTEGER),
          held: stateBytes(NAME, one, 'held', HELD_INPUT_LIMIT),
        }
      }),
    }, wiring)
  }

  state(): VirtioConsoleState {
    return {
      ready: this.#ready, due: this.#messages.state(),
      lanes: this.#lanes.map(({ guestOpen, announced, sent, held }) => ({ guestOpen, announced, sent, held: held.toArray() })),
    }
  }

  attach(host: VirtioHost): void {
    this.#host = host
  }

  get maxPorts(): number {
    return this.#lanes.length
  }

  /** Those that are there, by ascending number. */
  get ports(): readonly ConsolePortOptions[] {
    return this.#lanes.flatMap(({ port }) => port === undefined ? [] : [port])
  }

  /** Whether the guest has the port open. */
  isGuestOpen(nr: number): boolean {
    const lane = this.#lanes[nr]
    return lane !== undefined && this.#isOpen(lane)
  }

  /** Plugs in a port at a number that is free. */
  addPort(port: ConsolePortOptions): void {
    this.#host?.update(() => {
      this.#attach(port)
      if (this.#ready) this.#say(port.nr, SAY_ADD)
    })
  }

  /** Takes a port out; nothing uses its backend any more when this returns. */
  removePort(nr: number): void {
    const lane = this.#lanes[nr]
    const port = lane?.port
    if (lane === undefined || port === undefined) return
    port.backend.setFlow(false)
    port.backend.onInput(null)
    port.backend.onEvent?.(null)
    this.#host?.update(() => {
      this.#setGuestOpen(lane, false)
      lane.port = undefined
      lane.flow = false
      lane.held = new HeldInput()
      this.#messages.forget(nr)
      if (lane.announced) this.#say(nr, SAY_REMOVE)
      lane.announced = false
      // The driver wants the buffers back that it has sent.
      this.#transmit(lane)
    })
  }

  activate({ queues, features }: Activation): void {
    this.#active = true
    this.#multiport = (features & F_MULTIPORT) !== 0n
    for (const lane of this.#lanes) {
      const first = rxIndex(lane.nr)
      const isThere = lane.nr === 0 || this.#multiport
      lane.rx = isThere ? queues[first] : undefined
      lane.tx = isThere ? queues[first + 1] : undefined
    }
    this.#controlRx = this.#multiport ? queues[CONTROL_RX] : undefined
    this.#controlTx = this.#multiport ? queues[CONTROL_TX] : undefined
    for (const lane of this.#lanes) this.#settle(lane)
  }

  kick(index: number): void {
    if (index === CONTROL_RX && this.#multiport) this.#tell()
    else if (index === CONTROL_TX && this.#multiport) this.#listen()
    else {
      const lane = this.#laneOf(index)
      if (lane === undefined) return
      if ((index & 1) === 0) this.#receive(lane)
      else this.#transmit(lane)
    }
  }

  stopQueue(index: number): void {
    if (index === CONTROL_RX && this.#multiport) this.#controlRx = undefined
    else if (index === CONTROL_TX && this.#multiport) this.#controlTx = undefined
    else {
      const lane = this.#laneOf(index)
      if (lane === undefined) return
      if ((index & 1) === 0) lane.rx = undefined
      else closeSender(lane)
      this.#settle(lane)
    }
  }

  /** Input that no guest has seen stays for the next one. */
  reset(): void {
    this.#active = this.#multiport = this.#ready = false
    this.#controlRx = this.#controlTx = undefined
    this.#messages.clear()
    for (const lane of this.#lanes) {
      lane.rx = undefined
      closeSender(lane)
      lane.announced = false
      this.#setGuestOpen(lane, false)
      this.#settle(lane)
    }
  }

  async pause(): Promise<void> {
    this.#paused = true
    for (const lane of this.#lanes) this.#settle(lane)
  }

  resume(): void {
    this.#paused = false
    for (const lane of this.#lanes) this.#settle(lane)
  }

  /** Emergency write (5.3.4.1): a character for the console at any time, before any negotiation too. */
  configWritten(offset: number, _size: 1 | 2 | 4, value: number): void {
    if (offset !== CONFIG_EMERGENCY) return this.guestErrors.count('write to a part of the configuration space that cannot be written')
    const port = this.#lanes[0]?.port
    if (port?.isConsole === true) port.backend.write(Uint8Array.of(value & 0xff))
  }

  // Ports

  #laneOf(index: number): Lane | undefined {
    if (index < 2) return this.#lanes[0]
    return this.#multiport && index > CONTROL_TX ? this.#lanes[(index >> 1) - 1] : undefined
  }

  #attach(port: ConsolePortOptions): void {
    const lane = this.#lanes[port.nr]
    if (lane === undefined) return
    lane.port = port
    port.backend.onInput((bytes) => this.#update(() => this.#accept(lane, bytes)))
    port.backend.onEvent?.((event) => this.#update(() => this.#happened(lane, event)))
    this.#settle(lane)
  }

  /** A backend may speak before there is a transport. */
  #update(change: () => void): void {
    if (this.#host === undefined) change()
    else this.#host.update(change)
  }

  #isOpen(lane: Lane): boolean {
    return this.#active && (this.#multiport ? lane.guestOpen : lane.nr === 0)
  }

  #setGuestOpen(lane: Lane, isOpen: boolean): void {
    if (lane.guestOpen === isOpen) return
    lane.guestOpen = isOpen
    lane.port?.onGuestOpen?.(isOpen)
  }

  #happened(lane: Lane, event: CharEvent): void {
    switch (event) {
      case 'opened':
      case 'closed':
        if (lane.port?.isConsole === false && lane.announced) this.#say(lane.nr, SAY_OPEN)
        break
      case 'writable': this.#transmit(lane); break
      case 'resized':
        if (lane.port?.isConsole !== true) return
        this.#storeSize()
        if (lane.announced) this.#say(lane.nr, SAY_RESIZE)
        if ((this.features & F_SIZE) !== 0n) this.#host?.configChanged()
        break
      case 'break': break // section 5.3 has none
    }
  }

  /** Of the first console: the configuration space has room for one. */
  #storeSize(): void {
    const size = this.ports.find(({ isConsole }) => isConsole)?.backend.size
    if (size === undefined || (this.features & F_SIZE) === 0n) return
    const view = new DataView(this.config.buffer)
    view.setUint16(CONFIG_COLUMNS, size.columns, true)
    view.setUint16(CONFIG_ROWS, size.rows, true)
  }

  // To the guest

  #accept(lane: Lane, bytes: Uint8Array): void {
    if (!lane.held.push(bytes)) this.#wiring.events?.log(`${NAME}: port ${lane.nr} lost ${bytes.length} bytes of input: its backend did not wait`)
    this.#receive(lane)
  }

  #receive(lane: Lane): void {
    const { rx, held } = lane
    if (rx !== undefined && !this.#paused && held.length > 0 && this.#isOpen(lane)) {
      rx.serve((chain) => {
        if (chain.readableLength > 0 || chain.writableLength === 0) this.guestErrors.count('a buffer for input that cannot be written')
        let written = 0
        while (held.length > 0) {
          const count = copyTo(chain.writable, written, held.peek())
          if (count === 0) break
          held.consume(count)
          written += count
        }
        rx.push(chain, written)
        this.#settle(lane)
      }, () => held.length > 0 && !this.#paused && lane.rx === rx && this.#isOpen(lane))
    }
    this.#settle(lane)
  }

  /** The backend brings input only while the guest has taken all there was. */
  #settle(lane: Lane): void {
    const flow = !this.#paused && lane.rx !== undefined && lane.held.length === 0 && this.#isOpen(lane)
    if (flow === lane.flow) return
    lane.flow = flow
    lane.port?.backend.setFlow(flow)
  }

  // From the guest

  #transmit(lane: Lane): void {
    const { tx } = lane
    if (tx === undefined || this.#paused || lane.deferred) return
    const turn = { left: BYTES_A_TURN }
    // What waited goes first.
    this.#send(lane, tx, turn)
    tx.serve((chain) => {
      if (chain.writableLength > 0) this.guestErrors.count('a buffer of output that cannot be read')
      lane.sending = chain
      this.#send(lane, tx, turn)
    }, () => lane.sending === undefined && lane.tx === tx && !this.#paused && !lane.deferred)
  }

  /** Hands over as much of the present buffer as may be now. */
  #send(lane: Lane, tx: VirtQueue, turn: { left: number }): void {
    const { sending: chain, port } = lane
    if (chain === undefined) return
    while (port !== undefined && lane.sent < chain.readableLength) {
      if (!port.isConsole && port.backend.canWrite === false) return
      if (turn.left <= 0) return this.#continue(lane)
      const count = copyFrom(chain.readable, lane.sent, this.#piece)
      port.backend.write(this.#piece.subarray(0, count))
      lane.sent += count
      turn.left -= count
    }
    lane.sending = undefined
    lane.sent = 0
    tx.push(chain, 0)
  }

  #continue(lane: Lane): void {
    if (lane.deferred) return
    lane.deferred = true
    const run = () => this.#update(() => {
      lane.deferred = false
      this.#transmit(lane)
    })
    if (this.#wiring.defer === undefined) setImmediate(run)
    else this.#wiring.defer(run)
  }

  // Control messages

  #describe(nr: number): DescribedPort | undefined {
    const port = this.#lanes[nr]?.port
    return port === undefined ? undefined : { name: port.name, hostOpen: port.isConsole || port.backend.connected, size: port.isConsole ? port.backend.size : undefined }
  }

  #say(nr: number, what: number): void {
    this.#messages.say(nr, what)
    this.#tell()
  }

  #tell(): void {
    const rx = this.#controlRx
    if (rx === undefined || this.#paused) return
    rx.serve((chain) => {
      const message = this.#messages.next((nr) => this.#describe(nr))
      if (message === undefined || chain.writableLength < message.bytes.length) {
        if (message !== undefined) this.guestErrors.count('a buffer too small for a control message', `${chain.writableLength} bytes`)
        rx.push(chain, 0)
        return
      }
      copyTo(chain.writable, 0, message.bytes)
      rx.push(chain, message.bytes.length)
      this.#messages.done(message.port, message.what)
      const lane = this.#lanes[message.port]
      if (lane !== undefined && message.what === SAY_ADD) lane.announced = true
    }, () => this.#messages.next((nr) => this.#describe(nr)) !== undefined && !this.#paused && this.#controlRx === rx)
  }

  #listen(): void {
    const tx = this.#controlTx
    tx?.serve((chain) => {
      const bytes = new Uint8Array(CONTROL_LENGTH)
      const length = copyFrom(chain.readable, 0, bytes)
      const view = new DataView(bytes.buffer)
      if (length < CONTROL_LENGTH) this.guestErrors.count('a control message that is cut off', `${length} bytes`)
      else this.#command(view.getUint32(0, true), view.getUint16(4, true), view.getUint16(6, true))
      tx.push(chain, 0)
    }, () => !this.#paused && this.#controlTx === tx)
    this.#tell()
  }

  #command(nr: number, event: number, value: number): void {
    if (event === DEVICE_READY) {
      if (value === 0) return this.guestErrors.count('the driver has failed to set the device up')
      this.#ready = true
      for (const { nr: one, port, announced } of this.#lanes) if (port !== undefined && !announced) this.#messages.say(one, SAY_ADD)
      return
    }
    const lane = this.#lanes[nr]
    if (lane?.port === undefined) return this.guestErrors.count('a control message for a port that is not there', `port ${nr}`)
    if (event === PORT_READY) {
      if (value === 0) this.guestErrors.count('the driver has failed to set a port up', `port ${nr}`)
      else this.#messages.say(nr, SAY_NAME | SAY_OPEN | (lane.port.isConsole ? SAY_CONSOLE | SAY_RESIZE : 0))
    } else if (event === PORT_OPEN) {
      this.#setGuestOpen(lane, value !== 0)
      this.#receive(lane)
    } else this.guestErrors.count('a control message of an unknown kind', `${event}`)
  }
}

/** Queue to the driver; the one from it follows. */
function rxIndex(nr: number): number {
  return nr === 0 ? 0 : 2 * nr + 2
}

function closeSender(lane: Lane): void {
  lane.tx = undefined
  lane.sending = undefined
  lane.sent = 0
}
