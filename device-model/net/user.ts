/**
 * Network backend of libslirp: the guest is behind a router that lives in this process, with DHCP, DNS and TFTP, and reaches what the host reaches by ordinary sockets. Needs no
 * rights. The library's timers and descriptors are served by Node's event loop.
 */
import { MesovirtError } from '../../host/errors.ts'
import { READABLE, watchFd, WRITABLE } from '../../host/fd-watch.ts'
import type { FdWatch } from '../../host/fd-watch.ts'
import { Slirp, SLIRP_ERR, SLIRP_HUP, SLIRP_IN, SLIRP_OUT, SLIRP_PRI } from '../../host/slirp.ts'
import type { PollRequest, SlirpConfig } from '../../host/slirp.ts'
import type { NetBackend, NetPeer } from './backend.ts'

/** Frames for the guest that wait; beyond these they are dropped, and TCP sends them again. */
const WAITING_FRAMES = 1024, WAITING_BYTES = 2 ** 22
const NS_PER_MS = 1e6

/** A port of the host whose connections, or datagrams, go to the guest. */
export interface HostForward {
  readonly protocol: 'tcp' | 'udp'
  readonly hostAddress: Uint8Array
  readonly hostPort: number
  /** All zero: the first address that DHCP gives. */
  readonly guestAddress: Uint8Array
  readonly guestPort: number
}

export interface UserOptions {
  readonly id: string
  readonly slirp: SlirpConfig
  readonly forwards: readonly HostForward[]
  readonly log?: ((message: string) => void) | undefined
}

interface Watched {
  readonly watch: FdWatch
  /** As the library wants them. */
  events: number
  /** Found, and not told yet. */
  found: number
}

interface SlirpTimer {
  readonly id: number
  readonly data: number
  timeout: NodeJS.Timeout | undefined
}

export class UserBackend implements NetBackend {
  readonly kind = 'user'
  readonly id: string
  readonly description: string
  readonly queues = 1
  readonly hasHeader = false
  readonly trusted = true
  readonly connected = true
  readonly #log: (message: string) => void
  readonly #slirp: Slirp
  readonly #watched = new Map<number, Watched>()
  readonly #timers = new Map<number, SlirpTimer>()
  #nextTimer = 1
  #peer: NetPeer | null = null
  #frames: Uint8Array[] = []
  #head = 0
  #bytes = 0
  /** The card was told of frames, and has not found the end of them yet. */
  #told = false
  #due: NodeJS.Timeout | undefined
  #pass: NodeJS.Immediate | undefined
  #closed = false
  dropped = 0

  /** @throws MesovirtError SLIRP_MISSING, SLIRP_CONFIG, NETDEV_FORWARD */
  constructor({ id, slirp, forwards, log = () => undefined }: UserOptions) {
    this.id = id
    this.#log = log
    this.description = `user:${[...slirp.network].join('.')}`
    this.#slirp = new Slirp(slirp, {
      frame: (bytes) => this.#arrived(bytes),
      log: (message) => log(`netdev ${id}: ${message.trim()}`),
      timerNew: (timerId, data) => {
        this.#timers.set(this.#nextTimer, { id: timerId, data, timeout: undefined })
        return this.#nextTimer++
      },
      timerFree: (timer) => {
        clearTimeout(this.#timers.get(timer)?.timeout)
        this.#timers.delete(timer)
      },
      timerSet: (timer, atMs) => this.#setTimer(timer, atMs),
      forget: (fd) => this.#forget(fd),
      notify: () => this.#soon(),
    })
    try {
      for (const forward of forwards) this.addForward(forward)
    } catch (error) {
      void this.close()
      throw error
    }
    this.#soon()
  }

  /** @throws MesovirtError NETDEV_FORWARD */
  addForward({ protocol, hostAddress, hostPort, guestAddress, guestPort }: HostForward): void {
    if (this.#slirp.addForward(protocol === 'udp', hostAddress, hostPort, guestAddress, guestPort)) return this.#soon()
    throw new MesovirtError('NETDEV_FORWARD', `netdev ${this.id}: ${protocol} port ${hostPort} of ${[...hostAddress].join('.')} cannot be opened; another program has it, or it is not ours to take`)
  }

  attach(peer: NetPeer | null): void {
    this.#peer = peer
    this.#clear()
  }

  take(): Uint8Array | undefined {
    const frame = this.#frames[this.#head]
    if (frame === undefined) {
      this.#clear()
      return undefined
    }
    this.#head++
    this.#bytes -= frame.length
    if (this.#head >= WAITING_FRAMES) {
      this.#frames = this.#frames.slice(this.#head)
      this.#head = 0
    }
    return frame
  }

  ready(): boolean {
    return true
  }

  send(frame: Uint8Array): void {
    if (this.#closed) return
    this.#slirp.input(frame)
    this.#soon()
  }

  commit(): void {
    // Each frame was taken at once.
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    this.#peer = null
    this.#clear()
    clearTimeout(this.#due)
    clearImmediate(this.#pass)
    this.#slirp.close()
    for (const fd of [...this.#watched.keys()]) this.#forget(fd)
    for (const { timeout } of this.#timers.values()) clearTimeout(timeout)
    this.#timers.clear()
  }

  #arrived(frame: Uint8Array): void {
    if (this.#peer === null) return
    if (this.#frames.length - this.#head >= WAITING_FRAMES || this.#bytes + frame.length > WAITING_BYTES) {
      this.dropped++
      return
    }
    this.#frames.push(frame)
    this.#bytes += frame.length
    if (this.#told) return
    this.#told = true
    // The library may answer from inside `send`, when the card is busy.
    setImmediate(() => this.#peer?.readable(0))
  }

  #clear(): void {
    this.#frames = []
    this.#head = this.#bytes = 0
    this.#told = false
  }

  // The library's main loop

  /** At the end of this turn of the event loop: tell what was found, ask what to wait for. */
  #soon(): void {
    if (this.#pass === undefined && !this.#closed) this.#pass = setImmediate(() => this.#turn()).unref()
  }

  #turn(): void {
    this.#pass = undefined
    if (this.#closed) return
    this.#slirp.poll(this.#slirp.requests.map(({ fd, events }) => this.#found(fd) & (events | SLIRP_ERR | SLIRP_HUP)))
    for (const entry of this.#watched.values()) entry.found = 0
    const waitMs = this.#slirp.fill()
    this.#watch(this.#slirp.requests)
    clearTimeout(this.#due)
    this.#due = waitMs === 0xffff_ffff ? undefined : setTimeout(() => this.#soon(), waitMs).unref()
  }

  #found(fd: number): number {
    return this.#watched.get(fd)?.found ?? 0
  }

  #watch(requests: readonly PollRequest[]): void {
    const wanted = new Map<number, number>()
    for (const { fd, events } of requests) wanted.set(fd, (wanted.get(fd) ?? 0) | events)
    for (const [fd, entry] of this.#watched) {
      if (!wanted.has(fd)) this.#set(entry, 0)
    }
    for (const [fd, events] of wanted) {
      const entry = this.#watched.get(fd) ?? this.#open(fd)
      if (entry !== undefined) this.#set(entry, events)
    }
  }

  #open(fd: number): Watched | undefined {
    try {
      const watch = watchFd(fd, (events) => {
        const entry = this.#watched.get(fd)
        if (entry === undefined) return
        entry.found |= ((events & READABLE) !== 0 ? SLIRP_IN | SLIRP_HUP : 0) | ((events & WRITABLE) !== 0 ? SLIRP_OUT : 0)
        // An error looks like both, and ends the watch: it begins again if the library still asks for it.
        if ((events & READABLE) !== 0 && (events & WRITABLE) !== 0) this.#set(entry, 0)
        this.#soon()
      }, { events: 0 })
      watch.unref()
      const entry: Watched = { watch, events: 0, found: 0 }
      this.#watched.set(fd, entry)
      return entry
    } catch (error) {
      this.#log(`netdev ${this.id}: ${error instanceof Error ? error.message : String(error)}`)
      return undefined
    }
  }

  #set(entry: Watched, events: number): void {
    if (entry.events === events) return
    entry.events = events
    entry.watch.events(((events & (SLIRP_IN | SLIRP_PRI)) !== 0 ? READABLE : 0) | ((events & SLIRP_OUT) !== 0 ? WRITABLE : 0))
  }

  #forget(fd: number): void {
    this.#watched.get(fd)?.watch.close()
    this.#watched.delete(fd)
  }

  #setTimer(timer: number, atMs: number): void {
    const entry = this.#timers.get(timer)
    if (entry === undefined) return
    clearTimeout(entry.timeout)
    const nowMs = Number(process.hrtime.bigint()) / NS_PER_MS
    entry.timeout = setTimeout(() => {
      if (this.#closed) return
      this.#slirp.handleTimer(entry.id, entry.data)
      this.#soon()
    }, Math.max(0, Math.min(2 ** 31 - 1, atMs - nowMs))).unref()
  }
}
