/**
 * The QMP server of a machine: any number of monitors, each a listener or a character device, one client at a time on each as in QEMU. A client that connects
 * meanwhile waits; its commands are read when its turn comes, even if it has hung up by then.
 */
import { setImmediate as turn, setTimeout as delay } from 'node:timers/promises'
import { listen, serveOneAtATime } from '../../host/socket-listener.ts'
import { COMMANDS } from './commands/table.ts'
import { HumanMonitor } from './human/monitor.ts'
import { eventLine } from './protocol.ts'
import { QmpSession } from './session.ts'
import type { Socket } from 'node:net'
import type { CharBackend } from '../../device-model/contracts.ts'
import type { Listener, SocketAddress } from '../../host/socket-listener.ts'
import type { VirtualMachine } from '../vm.ts'
import type { CommandContext } from './commands/define.ts'
import type { Outlet } from './session.ts'

export interface QmpServerOptions {
  readonly vm: VirtualMachine
  /** Version of this program, e.g. `0.1.0`: clients see `mesovirt-0.1.0`. */
  readonly version: string
  /** Told, in one line, about errors that are our own. */
  readonly log?: (message: string) => void
}

/** How long `flush` waits for clients that do not read. */
const FLUSH_MS = 100

export class QmpServer {
  private readonly context: CommandContext
  private readonly log: (message: string) => void
  private readonly sessions = new Set<QmpSession>()
  private readonly sockets = new Set<Socket>()
  private readonly listeners = new Set<Listener>()
  private readonly chardevs = new Set<CharBackend>()
  private readonly unsubscribe: () => void

  constructor({ vm, version, log }: QmpServerOptions) {
    const human = new HumanMonitor(vm)
    this.log = log ?? (() => undefined)
    this.context = {
      vm,
      version,
      commandNames: COMMANDS.map(({ name }) => name),
      humanMonitor: (line, cpuIndex) => human.run(line, cpuIndex),
    }
    this.unsubscribe = vm.subscribe((event) => {
      const line = eventLine(event, Date.now() * 1000)
      for (const session of this.sessions) session.event(line)
    })
  }

  /**
   * Opens a monitor on a socket.
   * @returns the address in use; for TCP with the port the system chose
   * @throws MesovirtError as host/socket-listener's `listen`
   */
  async listen(address: SocketAddress): Promise<SocketAddress> {
    const listener = await listen(address)
    this.addListener(listener)
    return listener.address
  }

  /** Opens a monitor on a listener that exists already; clients that came before are served now. The server closes it. */
  addListener(listener: Listener): void {
    this.listeners.add(listener)
    serveOneAtATime(listener, (socket) => {
      this.serve(socket).catch((error: unknown) => {
        this.reportFault('monitor', error)
        socket.destroy()
      })
    })
  }

  /** Opens a monitor on a character device (`-mon chardev=ID`). The device is one client that never ends; it is greeted now, and whenever somebody comes to it. */
  addChardev(backend: CharBackend): void {
    const session = this.createSession({
      write(line) {
        backend.write(Buffer.from(line))
        return true // The device keeps a bounded number of bytes and says nothing about its reader.
      },
      drained: async () => undefined,
      empty: true,
    })
    this.chardevs.add(backend)
    let work = Promise.resolve()
    let waiting = 0
    backend.onInput((bytes) => {
      const copy = bytes.slice()
      waiting += 1
      backend.setFlow(false)
      work = work.then(() => session.feed(copy)).catch((error: unknown) => this.reportFault('monitor', error)).then(() => {
        waiting -= 1
        if (waiting === 0) backend.setFlow(true)
      })
    })
    backend.onEvent?.((event) => { if (event === 'opened') session.greet() })
    session.greet()
    backend.setFlow(true)
  }

  /** Waits until every client has been sent its replies and events, at most 100 ms. To be called between the SHUTDOWN event and the end of the process. */
  async flush(): Promise<void> {
    // The event that made the caller come here may still be on its way to us.
    await turn()
    const deadline = performance.now() + FLUSH_MS
    while (performance.now() < deadline && [...this.sessions].some(({ settled }) => !settled)) await delay(1)
  }

  /** Stops listening, removes the socket files, sends what is due and hangs up. Character devices stay open: they have other owners. */
  async close(): Promise<void> {
    await Promise.all([...this.listeners].map((listener) => listener.close()))
    await this.flush()
    this.unsubscribe()
    for (const backend of this.chardevs) {
      backend.onInput(null)
      backend.onEvent?.(null)
    }
    for (const socket of this.sockets) socket.destroy()
    this.sessions.clear()
  }

  private createSession(outlet: Outlet): QmpSession {
    const session = new QmpSession(outlet, this.context, (command, error) => this.reportFault(command, error))
    this.sessions.add(session)
    return session
  }

  private reportFault(command: string, error: unknown): void {
    this.log(`QMP ${command}: ${error instanceof Error ? error.stack ?? error.message : String(error)}`)
  }

  /** Serves one connection to its end. */
  private async serve(socket: Socket): Promise<void> {
    const session = this.createSession(socketOutlet(socket))
    this.sockets.add(socket)
    socket.once('close', () => {
      this.sessions.delete(session)
      this.sockets.delete(socket)
    })
    const input = readPaced(socket)
    await input.begun
    session.greet()
    while (true) {
      const chunk = await input.next()
      if (chunk === 'closed') return
      if (chunk === 'end') break
      await session.feed(chunk)
    }
    await session.finish()
    socket.end()
  }
}

function socketOutlet(socket: Socket): Outlet {
  // A client may stop sending and still want its replies.
  socket.allowHalfOpen = true
  socket.setNoDelay(true)
  socket.setKeepAlive(true)
  return {
    write: (line) => !socket.writable || socket.write(line),
    drained: () => new Promise((resolve) => {
      const done = () => {
        socket.off('drain', done)
        socket.off('close', done)
        resolve()
      }
      if (socket.destroyed) {
        resolve()
        return
      }
      socket.on('drain', done)
      socket.on('close', done)
    }),
    get empty() {
      return socket.destroyed || socket.writableLength === 0
    },
  }
}

interface PacedInput {
  /** Resolves when input has arrived, or could have. */
  readonly begun: Promise<void>
  /** The next bytes; `end`: the client sends no more; `closed`: the connection is gone. */
  next(): Promise<Uint8Array | 'end' | 'closed'>
}

/**
 * Reads a socket one chunk at a time: while a chunk is worked on, the rest stays with the sender.
 *
 * A client may send a command and hang up before we have accepted it. Writing the greeting to it fails, and Node drops unread input of a socket that failed:
 * so input is given one turn of the event loop to arrive before anything is written.
 */
function readPaced(socket: Socket): PacedInput {
  const chunks: Uint8Array[] = []
  let ended = false
  let wake: () => void = () => undefined
  const begun = Promise.race([new Promise<void>((resolve) => { wake = resolve }), turn().then(() => turn()).then(() => undefined)])
  socket.on('data', (chunk: Buffer) => {
    socket.pause()
    chunks.push(chunk)
    wake()
  })
  socket.on('end', () => {
    ended = true
    wake()
  })
  socket.on('close', () => wake())
  return {
    begun,
    async next() {
      while (true) {
        const chunk = chunks.shift()
        if (chunk !== undefined) return chunk
        if (ended) return 'end'
        if (socket.destroyed) return 'closed'
        const woken = new Promise<void>((resolve) => { wake = resolve })
        socket.resume()
        await woken
      }
    },
  }
}
