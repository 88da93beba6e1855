/**
 * libslirp 4.7 and later, a TCP/IP stack in user space: its C interface (libslirp.h, configuration version 4), loaded when a machine wants it. Its library is a package of the
 * host (Debian: libslirp0). All calls are made on the main thread, and its callbacks come from inside them.
 */
import { MesovirtError } from './errors.ts'
import { ffi } from './ffi.ts'

const LIBRARIES = ['libslirp.so.0', 'libslirp.so']
const OLDEST = [4, 7] as const
const CONFIG_VERSION = 4

export const SLIRP_IN = 1, SLIRP_OUT = 2, SLIRP_PRI = 4, SLIRP_ERR = 8, SLIRP_HUP = 16

/** Addresses are in the order of their text: four or sixteen bytes. */
export interface SlirpConfig {
  readonly restricted: boolean
  readonly ipv4: boolean
  readonly network: Uint8Array
  readonly mask: Uint8Array
  readonly host: Uint8Array
  readonly ipv6: boolean
  readonly prefix6: Uint8Array
  readonly prefix6Length: number
  readonly host6: Uint8Array
  readonly hostname: string | undefined
  readonly tftpServerName: string | undefined
  readonly tftp: string | undefined
  readonly bootFile: string | undefined
  readonly dhcpStart: Uint8Array
  readonly dns: Uint8Array
  readonly dns6: Uint8Array
  readonly dnsSearch: readonly string[]
  readonly domainName: string | undefined
}

/** What the library asks of its surroundings. */
export interface SlirpHost {
  /** A frame for the guest, to be kept: it is not used any more elsewhere. */
  frame(bytes: Uint8Array): void
  log(message: string): void
  /** @param id what `handleTimer` wants back */
  timerNew(id: number, data: number): number
  timerFree(timer: number): void
  /** @param atMs time of `process.hrtime` in milliseconds */
  timerSet(timer: number, atMs: number): void
  /** The descriptor is about to be closed. */
  forget(fd: number): void
  /** There is something to do soon. */
  notify(): void
}

export interface PollRequest {
  readonly fd: number
  /** SLIRP_IN and so on */
  readonly events: number
}

interface Native {
  slirp_new(config: number, callbacks: number, opaque: number): number
  slirp_cleanup(slirp: number): void
  slirp_input(slirp: number, frame: Uint8Array, length: number): void
  slirp_pollfds_fill(slirp: number, timeout: Uint8Array, add: bigint, opaque: number): void
  slirp_pollfds_poll(slirp: number, failed: number, get: bigint, opaque: number): void
  slirp_handle_timer(slirp: number, id: number, data: number): void
  slirp_add_hostfwd(slirp: number, isUdp: number, hostAddress: number, hostPort: number, guestAddress: number, guestPort: number): number
  slirp_remove_hostfwd(slirp: number, isUdp: number, hostAddress: number, hostPort: number): number
}

interface Library {
  readonly native: Native
  readonly callbacks: number
  readonly addPoll: bigint
  readonly getEvents: bigint
  readonly copy: (destination: Uint8Array, source: number, length: number) => number
  encodeConfig(config: SlirpConfig, strings: (text: string | undefined) => number, list: (texts: readonly string[]) => number): number
}

const stacks = new Map<number, Slirp>()
let nextHandle = 1
let loaded: Library | undefined

/** Whether the library is there, and its version; otherwise why not. */
export function slirpVersion(): string | MesovirtError {
  try {
    return open().version
  } catch (error) {
    if (error instanceof MesovirtError) return error
    throw error
  }
}

export class Slirp {
  readonly host: SlirpHost
  /** What the last `fill` asked for; the library knows entries by their index. */
  requests: PollRequest[] = []
  readonly #handle: number
  readonly #native: number
  readonly #timeout = new Uint8Array(4)
  readonly #memory: number[] = []
  #events: readonly number[] = []

  /** @throws MesovirtError SLIRP_MISSING, FFI_MISSING */
  constructor(config: SlirpConfig, host: SlirpHost) {
    this.host = host
    const { native, callbacks, encodeConfig } = library()
    this.#handle = nextHandle++
    stacks.set(this.#handle, this)
    const encoded = encodeConfig(config, (text) => this.#text(text), (texts) => this.#list(texts))
    this.#memory.push(encoded)
    this.#native = native.slirp_new(encoded, callbacks, this.#handle)
    if (this.#native !== 0) return
    this.#free()
    throw new MesovirtError('SLIRP_CONFIG', '-netdev user: libslirp refuses these addresses; use the defaults')
  }

  /** A frame of the guest. */
  input(frame: Uint8Array): void {
    library().native.slirp_input(this.#native, frame, frame.length)
  }

  /** Asks what to wait for; it is in `requests`. @returns milliseconds until `poll` shall be called at the latest */
  fill(): number {
    this.requests = []
    const view = new DataView(this.#timeout.buffer)
    view.setUint32(0, 0xffff_ffff, true)
    library().native.slirp_pollfds_fill(this.#native, this.#timeout, library().addPoll, this.#handle)
    return view.getUint32(0, true)
  }

  /** @param events what was found, by the indices of `requests` */
  poll(events: readonly number[]): void {
    this.#events = events
    library().native.slirp_pollfds_poll(this.#native, 0, library().getEvents, this.#handle)
  }

  /** What poll found for an entry. */
  found(index: number): number {
    return this.#events[index] ?? 0
  }

  handleTimer(id: number, data: number): void {
    library().native.slirp_handle_timer(this.#native, id, data)
  }

  /** @returns false where the port is taken, or not ours to take */
  addForward(isUdp: boolean, hostAddress: Uint8Array, hostPort: number, guestAddress: Uint8Array, guestPort: number): boolean {
    return library().native.slirp_add_hostfwd(this.#native, isUdp ? 1 : 0, word(hostAddress), hostPort, word(guestAddress), guestPort) === 0
  }

  removeForward(isUdp: boolean, hostAddress: Uint8Array, hostPort: number): boolean {
    return library().native.slirp_remove_hostfwd(this.#native, isUdp ? 1 : 0, word(hostAddress), hostPort) === 0
  }

  /** Closes its sockets; it must not be called from inside one of its callbacks. */
  close(): void {
    library().native.slirp_cleanup(this.#native)
    this.#free()
  }

  #free(): void {
    stacks.delete(this.#handle)
    for (const address of this.#memory) ffi().libc.free(address)
  }

  #text(text: string | undefined): number {
    if (text === undefined) return 0
    const bytes = Buffer.from(`${text}\0`)
    return this.#keep(bytes)
  }

  /** char*[] with an ending null. */
  #list(texts: readonly string[]): number {
    if (texts.length === 0) return 0
    const pointers = new BigUint64Array([...texts.map((text) => BigInt(this.#text(text))), 0n])
    return this.#keep(new Uint8Array(pointers.buffer))
  }

  #keep(bytes: Uint8Array): number {
    const { libc, koffi } = ffi()
    const address = libc.malloc(bytes.length)
    new Uint8Array(koffi.view(address, bytes.length)).set(bytes)
    this.#memory.push(address)
    return address
  }
}

/** struct in_addr, which travels by value: the bytes in memory order. */
function word(address: Uint8Array): number {
  return new DataView(address.buffer, address.byteOffset).getUint32(0, true)
}

function words(address: Uint8Array): number[] {
  return [0, 4, 8, 12].map((at) => word(address.subarray(at, at + 4)))
}

function library(): Library {
  return loaded ??= load()
}

function open() {
  const { koffi } = ffi()
  const handle = LIBRARIES.map((name) => {
    try {
      return koffi.load(name)
    } catch {
      return undefined
    }
  }).find((found) => found !== undefined)
  if (handle === undefined) throw new MesovirtError('SLIRP_MISSING', '-netdev user needs the library libslirp, which is not installed; install the package libslirp0 (Debian) or libslirp')
  const version = (handle.func('const char* slirp_version_string()') as () => string)()
  const [major = 0, minor = 0] = version.split('.').map(Number)
  if (major < OLDEST[0] || (major === OLDEST[0] && minor < OLDEST[1])) {
    throw new MesovirtError('SLIRP_MISSING', `-netdev user needs libslirp ${OLDEST.join('.')} or later, and the host has ${version}; install a later one`)
  }
  return { handle, version }
}

function load(): Library {
  const { koffi, libc, libraries } = ffi()
  const { handle } = open()
  const call = (declaration: string) => handle.func(declaration) as unknown
  const callback = (declaration: string, answer: (...values: never[]) => unknown, otherwise?: unknown): bigint =>
    koffi.register(contained(answer, otherwise), koffi.pointer(koffi.proto(declaration))) as unknown as bigint
  const stack = (opaque: number) => stacks.get(opaque)?.host

  const copy = libraries.c.func('uintptr_t memmove(void* destination, uintptr_t source, size_t length)') as Library['copy']
  const callbacks = koffi.struct('mesovirt_slirp_callbacks', {
    send_packet: 'uintptr_t', guest_error: 'uintptr_t', clock_get_ns: 'uintptr_t', timer_new: 'uintptr_t', timer_free: 'uintptr_t', timer_mod: 'uintptr_t',
    register_poll_fd: 'uintptr_t', unregister_poll_fd: 'uintptr_t', notify: 'uintptr_t', init_completed: 'uintptr_t', timer_new_opaque: 'uintptr_t',
  })
  const table = libc.malloc(koffi.sizeof(callbacks))
  koffi.encode(table, callbacks, {
    send_packet: callback('intptr_t mesovirt_slirp_send(uintptr_t bytes, size_t length, uintptr_t opaque)', (bytes: number, length: number, opaque: number) => {
      const frame = new Uint8Array(length)
      copy(frame, bytes, length)
      stack(opaque)?.frame(frame)
      return length
    }, -1),
    guest_error: callback('void mesovirt_slirp_error(const char* message, uintptr_t opaque)', (message: string, opaque: number) => stack(opaque)?.log(message)),
    clock_get_ns: callback('int64_t mesovirt_slirp_clock(uintptr_t opaque)', () => process.hrtime.bigint(), 0n),
    timer_new: 0,
    timer_free: callback('void mesovirt_slirp_timer_free(uintptr_t timer, uintptr_t opaque)', (timer: number, opaque: number) => stack(opaque)?.timerFree(timer)),
    timer_mod: callback('void mesovirt_slirp_timer_mod(uintptr_t timer, int64_t at, uintptr_t opaque)',
      (timer: number, at: number, opaque: number) => stack(opaque)?.timerSet(timer, Number(at))),
    register_poll_fd: callback('void mesovirt_slirp_register(int fd, uintptr_t opaque)', () => undefined),
    unregister_poll_fd: callback('void mesovirt_slirp_unregister(int fd, uintptr_t opaque)', (fd: number, opaque: number) => stack(opaque)?.forget(fd)),
    notify: callback('void mesovirt_slirp_notify(uintptr_t opaque)', (opaque: number) => stack(opaque)?.notify()),
    init_completed: callback('void mesovirt_slirp_ready(uintptr_t slirp, uintptr_t opaque)', () => undefined),
    timer_new_opaque: callback('uintptr_t mesovirt_slirp_timer_new(int id, uintptr_t data, uintptr_t opaque)',
      (id: number, data: number, opaque: number) => stack(opaque)?.timerNew(id, data) ?? 0, 0),
  })
  const configType = koffi.struct('mesovirt_slirp_config', {
    version: 'uint32_t', restricted: 'int', in_enabled: 'bool', vnetwork: 'uint32_t', vnetmask: 'uint32_t', vhost: 'uint32_t',
    in6_enabled: 'bool', vprefix_addr6: koffi.array('uint32_t', 4), vprefix_len: 'uint8_t', vhost6: koffi.array('uint32_t', 4),
    vhostname: 'uintptr_t', tftp_server_name: 'uintptr_t', tftp_path: 'uintptr_t', bootfile: 'uintptr_t', vdhcp_start: 'uint32_t', vnameserver: 'uint32_t',
    vnameserver6: koffi.array('uint32_t', 4), vdnssearch: 'uintptr_t', vdomainname: 'uintptr_t', if_mtu: 'size_t', if_mru: 'size_t', disable_host_loopback: 'bool',
    enable_emu: 'bool', outbound_addr: 'uintptr_t', outbound_addr6: 'uintptr_t', disable_dns: 'bool', disable_dhcp: 'bool',
  })
  return {
    native: {
      slirp_new: call('uintptr_t slirp_new(uintptr_t config, uintptr_t callbacks, uintptr_t opaque)'),
      slirp_cleanup: call('void slirp_cleanup(uintptr_t slirp)'),
      slirp_input: call('void slirp_input(uintptr_t slirp, void* frame, int length)'),
      slirp_pollfds_fill: call('void slirp_pollfds_fill(uintptr_t slirp, void* timeout, uintptr_t add, uintptr_t opaque)'),
      slirp_pollfds_poll: call('void slirp_pollfds_poll(uintptr_t slirp, int failed, uintptr_t get, uintptr_t opaque)'),
      slirp_handle_timer: call('void slirp_handle_timer(uintptr_t slirp, int id, uintptr_t data)'),
      slirp_add_hostfwd: call('int slirp_add_hostfwd(uintptr_t slirp, int is_udp, uint32_t host, int host_port, uint32_t guest, int guest_port)'),
      slirp_remove_hostfwd: call('int slirp_remove_hostfwd(uintptr_t slirp, int is_udp, uint32_t host, int host_port)'),
    } as Native,
    callbacks: table,
    addPoll: callback('int mesovirt_slirp_add_poll(int fd, int events, uintptr_t opaque)', (fd: number, events: number, opaque: number) => {
      const requests = stacks.get(opaque)?.requests ?? []
      requests.push({ fd, events })
      return requests.length - 1
    }, -1),
    getEvents: callback('int mesovirt_slirp_get_events(int index, uintptr_t opaque)', (index: number, opaque: number) => stacks.get(opaque)?.found(index) ?? 0, 0),
    copy,
    encodeConfig(config, strings, list) {
      const address = libc.malloc(koffi.sizeof(configType))
      koffi.encode(address, configType, {
        version: CONFIG_VERSION, restricted: config.restricted ? 1 : 0, in_enabled: config.ipv4, vnetwork: word(config.network), vnetmask: word(config.mask), vhost: word(config.host),
        in6_enabled: config.ipv6, vprefix_addr6: words(config.prefix6), vprefix_len: config.prefix6Length, vhost6: words(config.host6),
        vhostname: strings(config.hostname), tftp_server_name: strings(config.tftpServerName), tftp_path: strings(config.tftp), bootfile: strings(config.bootFile),
        vdhcp_start: word(config.dhcpStart), vnameserver: word(config.dns), vnameserver6: words(config.dns6), vdnssearch: list(config.dnsSearch),
        vdomainname: strings(config.domainName), if_mtu: 0, if_mru: 0, disable_host_loopback: false, enable_emu: false, outbound_addr: 0, outbound_addr6: 0,
        disable_dns: false, disable_dhcp: false,
      })
      return address
    },
  }
}

/** As `guarded` of fd-watch.ts, for callbacks that answer: no exception may leave a native callback. */
function contained(callback: (...values: never[]) => unknown, otherwise: unknown): (...values: never[]) => unknown {
  return (...values) => {
    try {
      return callback(...values)
    } catch (error) {
      setImmediate(() => {
        throw error
      })
      return otherwise
    }
  }
}
