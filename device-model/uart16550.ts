/**
 * 16550A UART as TI's PC16550D data sheet (section 8) describes it, interrupt gated by OUT2 as on a PC. Left out: modem wiring, transmission time,
 * parity and framing errors, DMA mode, break.
 */
import { GuestErrors, type CharBackend, type Clock, type DeviceEvents, type InterruptLine, type RegisterShadow, type Timer } from './contracts.ts'
import { HeldInput } from './held-input.ts'
import { ShadowPublisher } from './register-shadow.ts'
import {
  RBR_THR, IER, IIR_FCR, LCR, MCR, LSR, MSR, SCR, IER_RECEIVED, IER_THR_EMPTY, IER_LINE_STATUS, IER_MODEM_STATUS, IER_MASK, IIR_LINE_STATUS,
  IIR_RECEIVED, IIR_TIMEOUT, IIR_THR_EMPTY, IIR_MODEM_STATUS, IIR_NONE, IIR_FIFO_ENABLED, FCR_ENABLE, FCR_CLEAR_RECEIVER, FCR_KEPT,
  LCR_WORD_LENGTH, LCR_TWO_STOP_BITS, LCR_PARITY, LCR_DLAB, MCR_OUT2, MCR_LOOP, MCR_MASK, LSR_BREAK, LSR_DATA_READY, LSR_OVERRUN, LSR_IDLE, MSR_DELTA_MASK,
  MSR_RI, MSR_PRESENT,
} from './uart16550-registers.ts'
import { checkState, RESET_STATE, type Uart16550State } from './uart16550-state.ts'

export { UART16550_SHADOW, UART16550_SIZE } from './uart16550-registers.ts'

const FIFO_SIZE = 16
const TRIGGER_LEVELS = [1, 4, 8, 14] as const
const INPUT_CLOCK_HZ = 1_843_200n
const TIMEOUT_CHARACTERS = 4n
/** Silly divisors must not make the console feel dead. */
const LONGEST_TIMEOUT_NS = 10_000_000n
const OUTPUT_CHUNK = 4096
/** A driver that switches all interrupts on at once may be probing (see #writeIer); after this time it is taken to listen. */
const PROBE_NS = 20_000_000n

export interface Uart16550Wiring {
  readonly irq: InterruptLine
  readonly clock: Clock
  readonly backend: CharBackend
  readonly events?: DeviceEvents | undefined
  readonly shadow?: RegisterShadow | undefined
  /** Called after a write of the scratch register (0x3FF on COM1 carries boot markers). */
  readonly onScratch?: ((value: number) => void) | undefined
}

/**
 * One serial port. LSR, MSR, IER, LCR, MCR and SCR are published to the shadow while reading them has no side effect; THR is posted
 * while it transmits (DLAB clear, no loopback): such a write leaves every published register as it is. RBR and IIR change by reading and are neither.
 */
export class Uart16550 {
  readonly guestErrors: GuestErrors
  readonly #wiring: Uart16550Wiring
  #ier = 0
  #fcr = 0
  #lcr = 0
  #mcr = 0
  #scr = 0
  #divisor = 0
  #overrun = false
  #msrDeltas = 0
  #thrEmptyPending = false
  #timeoutPending = false
  #timeout: Timer | undefined
  #probe: Timer | undefined
  #received: number[] = []
  /** Input the backend has handed over and the FIFO has no room for. */
  readonly #held = new HeldInput()
  readonly #shadow: ShadowPublisher
  /** A break came since LSR was read. It is no part of the saved state: one that is lost there harms nobody. */
  #break = false
  #flow = false
  #level: 0 | 1 = 0
  #output = new Uint8Array(OUTPUT_CHUNK)
  #outputLength = 0
  #flushScheduled = false

  constructor(state: Uart16550State, wiring: Uart16550Wiring) {
    this.#wiring = wiring
    this.guestErrors = new GuestErrors('uart16550', wiring.events)
    this.#shadow = new ShadowPublisher(wiring.shadow)
    this.#load(state)
    wiring.backend.onInput((bytes) => this.#accept(bytes))
    wiring.backend.onEvent?.((event) => { if (event === 'break') this.#acceptBreak() })
    this.#settle()
  }

  /** A port as it is after power-on. */
  static create(wiring: Uart16550Wiring): Uart16550 {
    return new Uart16550(RESET_STATE, wiring)
  }

  /** @param state untrusted data that claims to come from `state()`; @throws MesovirtError DEVICE_STATE */
  static fromState(state: unknown, wiring: Uart16550Wiring): Uart16550 {
    return new Uart16550(checkState(state), wiring)
  }

  state(): Uart16550State {
    return {
      ier: this.#ier, fcr: this.#fcr, lcr: this.#lcr, mcr: this.#mcr, scr: this.#scr, divisor: this.#divisor, overrun: this.#overrun,
      msrDeltas: this.#msrDeltas, thrEmptyPending: this.#thrEmptyPending, timeoutPending: this.#timeoutPending, received: [...this.#received],
      held: this.#held.toArray(),
    }
  }

  /** Machine reset. Input that no guest has seen yet stays for the next one. */
  reset(): void {
    this.flush()
    this.#timeout?.cancel()
    this.#timeout = undefined
    this.#probe?.cancel()
    this.#probe = undefined
    this.#load({ ...RESET_STATE, held: this.#held.toArray() })
    this.#settle()
  }

  /** @param offset 0..7; other sizes than one byte are split by the address space */
  read(offset: number, _size: 1 | 2 | 4 = 1): number {
    switch (offset) {
      case RBR_THR: return this.#dlab ? this.#divisor & 0xff : this.#takeReceived()
      case IER: return this.#dlab ? this.#divisor >> 8 : this.#ier
      case IIR_FCR: return this.#readIir()
      case LCR: return this.#lcr
      case MCR: return this.#mcr
      case LSR: return this.#readLsr()
      case MSR: return this.#readMsr()
      case SCR: return this.#scr
      default:
        this.guestErrors.count('read of an unknown register')
        return 0xff
    }
  }

  /** @param offset 0..7; @param value its low byte counts */
  write(offset: number, _size: 1 | 2 | 4, value: number): void {
    const byte = value & 0xff
    switch (offset) {
      case RBR_THR:
        if (this.#dlab) this.#divisor = (this.#divisor & 0xff00) | byte
        else this.#transmit(byte)
        break
      case IER:
        if (this.#dlab) this.#divisor = (this.#divisor & 0xff) | (byte << 8)
        else this.#writeIer(byte & IER_MASK)
        break
      case IIR_FCR: this.#writeFcr(byte); break
      case LCR: this.#lcr = byte; break
      case MCR: this.#writeMcr(byte & MCR_MASK); break
      case LSR: // "for factory testing": ignored, as are writes of MSR
      case MSR: break
      case SCR:
        this.#scr = byte
        this.#wiring.onScratch?.(byte)
        break
      default:
        this.guestErrors.count('write of an unknown register')
        return
    }
    this.#settle()
  }

  /** Sends what has been written so far to the backend now. It happens by itself at the end of the event-loop turn. */
  flush(): void {
    if (this.#outputLength === 0) return
    const bytes = this.#output.slice(0, this.#outputLength)
    this.#outputLength = 0
    this.#wiring.backend.write(bytes)
  }

  /** Bytes of input that wait for the guest. */
  get pendingInput(): number {
    return this.#received.length + this.#held.length
  }

  get #dlab(): boolean {
    return (this.#lcr & LCR_DLAB) !== 0
  }

  get #loopback(): boolean {
    return (this.#mcr & MCR_LOOP) !== 0
  }

  get #fifoEnabled(): boolean {
    return (this.#fcr & FCR_ENABLE) !== 0
  }

  /** Whether the guest takes input by interrupt. */
  get #listening(): boolean {
    return (this.#ier & IER_RECEIVED) !== 0 && (this.#mcr & (MCR_OUT2 | MCR_LOOP)) === MCR_OUT2 && this.#probe === undefined
  }

  get #capacity(): number {
    return this.#fifoEnabled ? FIFO_SIZE : 1
  }

  #load(state: Uart16550State): void {
    this.#ier = state.ier
    this.#fcr = state.fcr
    this.#lcr = state.lcr
    this.#mcr = state.mcr
    this.#scr = state.scr
    this.#divisor = state.divisor
    this.#overrun = state.overrun
    this.#break = false
    this.#msrDeltas = state.msrDeltas
    this.#thrEmptyPending = state.thrEmptyPending
    this.#timeoutPending = state.timeoutPending
    this.#received = [...state.received]
    this.#held.load(state.held)
    if (this.#received.length > 0 && !this.#timeoutPending) this.#restartTimeout()
  }

  /** Brings FIFO, interrupt line, flow control and shadow in line with the registers. Every change of state ends here. */
  #settle(): void {
    this.#refill()
    this.#updateLine()
    this.#updateFlow()
    this.#updateShadow()
  }

  /** Posted writes that the guest made earlier come first. */
  #hostEvent(change: () => void): void {
    const shadow = this.#wiring.shadow
    if (shadow?.update === undefined) change()
    else shadow.update(change)
  }

  // Receiver

  #accept(bytes: Uint8Array): void {
    this.#hostEvent(() => {
      if (!this.#held.push(bytes)) this.#wiring.events?.log('uart16550: input dropped, the backend ignores flow control')
      this.#settle()
    })
  }

  /** A character of zeros that is marked (data sheet, LSR bit 4); a driver that does not listen yet misses it. */
  #acceptBreak(): void {
    this.#hostEvent(() => {
      if (!this.#listening || this.#received.length >= this.#capacity) return
      this.#received.push(0)
      this.#break = true
      this.#restartTimeout()
      this.#settle()
    })
  }

  /** Host input moves only while the guest listens by interrupt: what a driver finds before that it throws away when it starts. */
  #refill(): void {
    if (!this.#listening) return
    let moved = false
    while (this.#received.length < this.#capacity) {
      const byte = this.#held.shift()
      if (byte === undefined) break
      this.#received.push(byte)
      moved = true
    }
    if (moved) this.#restartTimeout()
  }

  #takeReceived(): number {
    const byte = this.#received.shift() ?? 0
    this.#timeoutPending = false
    this.#restartTimeout()
    this.#settle()
    return byte
  }

  #receiveLooped(byte: number): void {
    if (this.#received.length < this.#capacity) {
      this.#received.push(byte)
    } else {
      // Without the FIFO the new character replaces the old one; with it, it is lost in the shift register.
      this.#overrun = true
      if (!this.#fifoEnabled) this.#received = [byte]
    }
    this.#timeoutPending = false
    this.#restartTimeout()
  }

  /** Data sheet, FIFO interrupt mode: four character times without a character coming in or being read. */
  #restartTimeout(): void {
    this.#timeout?.cancel()
    this.#timeout = undefined
    if (!this.#fifoEnabled || this.#received.length === 0) return
    this.#timeout = this.#wiring.clock.schedule(this.#wiring.clock.now() + this.#timeoutNs(), () => {
      this.#timeout = undefined
      this.#hostEvent(() => {
        this.#timeoutPending = this.#received.length > 0 && this.#timeout === undefined
        this.#settle()
      })
    })
  }

  #timeoutNs(): bigint {
    const dataBits = 5 + (this.#lcr & LCR_WORD_LENGTH)
    const bits = 1 + dataBits + ((this.#lcr & LCR_PARITY) !== 0 ? 1 : 0) + ((this.#lcr & LCR_TWO_STOP_BITS) !== 0 ? 2 : 1)
    const divisor = this.#divisor === 0 ? 1 : this.#divisor
    const ns = (TIMEOUT_CHARACTERS * BigInt(bits * divisor * 16) * 1_000_000_000n) / INPUT_CLOCK_HZ
    return ns < LONGEST_TIMEOUT_NS ? ns : LONGEST_TIMEOUT_NS
  }

  #updateFlow(): void {
    const wanted = this.#listening && this.#held.length === 0
    if (wanted === this.#flow) return
    this.#flow = wanted
    this.#wiring.backend.setFlow(wanted)
  }

  // Transmitter

  #transmit(byte: number): void {
    if (this.#loopback) this.#receiveLooped(byte)
    else this.#queueOutput(byte)
    // The write takes the interrupt back; the empty transmitter asserts it anew: the line falls and rises.
    this.#thrEmptyPending = false
    this.#updateLine()
    this.#thrEmptyPending = true
  }

  #queueOutput(byte: number): void {
    this.#output[this.#outputLength++] = byte
    if (this.#outputLength === OUTPUT_CHUNK) return this.flush()
    if (this.#flushScheduled) return
    this.#flushScheduled = true
    setImmediate(() => {
      this.#flushScheduled = false
      this.flush()
    })
  }

  // Interrupts

  #writeIer(value: number): void {
    const risen = value & ~this.#ier
    this.#ier = value
    // Linux's probe sets all bits and takes them back at once, to see which there are. Input that came between would be lost with the FIFO.
    this.#probe?.cancel()
    this.#probe = undefined
    if ((risen & IER_RECEIVED) !== 0 && value === IER_MASK) {
      this.#probe = this.#wiring.clock.schedule(this.#wiring.clock.now() + PROBE_NS, () => {
        this.#probe = undefined
        this.#hostEvent(() => this.#settle())
      })
    }
    // Enabling the interrupt with an empty transmitter raises it at once; drivers test for this.
    if ((risen & IER_THR_EMPTY) !== 0) this.#thrEmptyPending = true
  }

  #cause(): number {
    if ((this.#ier & IER_LINE_STATUS) !== 0 && (this.#overrun || this.#break)) return IIR_LINE_STATUS
    if ((this.#ier & IER_RECEIVED) !== 0 && this.#received.length > 0) {
      const trigger = this.#fifoEnabled ? TRIGGER_LEVELS[(this.#fcr >> 6) as 0 | 1 | 2 | 3] : 1
      if (this.#received.length >= trigger) return IIR_RECEIVED
      if (this.#timeoutPending) return IIR_TIMEOUT
    }
    if ((this.#ier & IER_THR_EMPTY) !== 0 && this.#thrEmptyPending) return IIR_THR_EMPTY
    if ((this.#ier & IER_MODEM_STATUS) !== 0 && this.#msrDeltas !== 0) return IIR_MODEM_STATUS
    return IIR_NONE
  }

  /** The line is high while there is a cause. On a PC the OUT2 pin gates it, and loopback drives that pin inactive. */
  #updateLine(): void {
    const gated = (this.#mcr & (MCR_OUT2 | MCR_LOOP)) === MCR_OUT2
    const level = gated && this.#cause() !== IIR_NONE ? 1 : 0
    if (level === this.#level) return
    this.#level = level
    this.#wiring.irq.setLevel(level)
  }

  #readIir(): number {
    const cause = this.#cause()
    if (cause === IIR_THR_EMPTY) {
      this.#thrEmptyPending = false
      this.#settle()
    }
    return cause | (this.#fifoEnabled ? IIR_FIFO_ENABLED : 0)
  }

  #readLsr(): number {
    const value = this.#lsr()
    if (this.#overrun || this.#break) {
      this.#overrun = this.#break = false
      this.#settle()
    }
    return value
  }

  #lsr(): number {
    return LSR_IDLE | (this.#received.length > 0 ? LSR_DATA_READY : 0) | (this.#overrun ? LSR_OVERRUN : 0) | (this.#break ? LSR_BREAK : 0)
  }

  // Control

  #writeFcr(value: number): void {
    const wasEnabled = this.#fcr & FCR_ENABLE
    const enabled = value & FCR_ENABLE
    // Bit 0 must be set while the others are written, or they are not programmed; changing it clears the FIFOs.
    this.#fcr = enabled === 0 ? 0 : value & FCR_KEPT
    if (enabled === wasEnabled && (enabled === 0 || (value & FCR_CLEAR_RECEIVER) === 0)) return
    // Linux turns interrupts on before the FIFO: a character that came in between stays, though the data sheet would lose it.
    if (enabled !== 0 && wasEnabled === 0 && (value & FCR_CLEAR_RECEIVER) === 0) return this.#restartTimeout()
    this.#received = []
    this.#timeoutPending = false
    this.#restartTimeout()
  }

  #writeMcr(value: number): void {
    const before = this.#modemLines()
    this.#mcr = value
    const after = this.#modemLines()
    const changed = before ^ after
    // Deltas sit four bits below their lines; the ring indicator's reports the trailing edge only.
    this.#msrDeltas |= ((changed & ~MSR_RI) >> 4) | ((before & ~after & MSR_RI) >> 4)
  }

  /** Upper half of MSR: the world outside, or in loopback DTR to DSR, RTS to CTS, OUT1 to RI, OUT2 to DCD. */
  #modemLines(): number {
    if (!this.#loopback) return MSR_PRESENT
    const { dtr, rts, out1, out2 } = { dtr: this.#mcr & 1, rts: (this.#mcr >> 1) & 1, out1: (this.#mcr >> 2) & 1, out2: (this.#mcr >> 3) & 1 }
    return (rts << 4) | (dtr << 5) | (out1 << 6) | (out2 << 7)
  }

  #readMsr(): number {
    const value = this.#modemLines() | (this.#msrDeltas & MSR_DELTA_MASK)
    if (this.#msrDeltas !== 0) {
      this.#msrDeltas = 0
      this.#settle()
    }
    return value
  }

  // vCPU-side shadow

  #updateShadow(): void {
    this.#shadow.publish(IER, this.#dlab ? this.#divisor >> 8 : this.#ier)
    this.#shadow.publish(LCR, this.#lcr)
    this.#shadow.publish(MCR, this.#mcr)
    this.#shadow.publish(SCR, this.#scr)
    // Reading takes error and delta bits back: while one is set, the read must reach the device.
    if (this.#overrun || this.#break) this.#shadow.withdraw(LSR, this.#lsr() & ~(LSR_OVERRUN | LSR_BREAK))
    else this.#shadow.publish(LSR, this.#lsr())
    if (this.#msrDeltas !== 0) this.#shadow.withdraw(MSR, this.#modemLines())
    else this.#shadow.publish(MSR, this.#modemLines())
    this.#shadow.setPosted(RBR_THR, !this.#dlab && !this.#loopback, { keepsShadow: true })
  }
}
