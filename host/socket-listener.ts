/** Listening on a unix or TCP socket with fixed rules for left-over socket files. Used by monitors and by socket character devices. */
import { chmodSync, existsSync, lstatSync, unlinkSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import type { Server, Socket } from 'node:net'
import { onProcessEnd } from './cleanup.ts'
import { MesovirtError } from './errors.ts'

/** Where to listen or connect. Port 0 lets the system choose one when listening. */
export type SocketAddress = { readonly unix: string } | { readonly host: string; readonly port: number }

/** A socket that accepts connections. */
export interface Listener {
  /** The address in use; for TCP with the port the system chose. */
  readonly address: SocketAddress
  /**
   * Sets who gets new connections (null: nobody). They are ordinary flowing Node sockets; a connection that came earlier is delivered now.
   * At most 16 wait for a handler, then the one that has waited longest is closed.
   */
  onConnection(handler: ((socket: Socket) => void) | null): void
  /** Stops listening and removes the socket file. Connections that were handed out stay open. */
  close(): Promise<void>
}

const MAX_WAITING = 16
const BACKLOG = 16
/** sockaddr_un.sun_path is 108 bytes on Linux, 104 on macOS, with the ending zero. libuv cuts longer paths silently. */
const MAX_UNIX_PATH = process.platform === 'linux' ? 107 : 103
const PROBE_TIMEOUT_MS = 2000

/** The address as people write it: `unix:/run/vm.sock`, `tcp:127.0.0.1:4444`, `tcp:[::1]:4444`. */
export function formatAddress(address: SocketAddress): string {
  if ('unix' in address) return `unix:${address.unix}`
  return `tcp:${address.host.includes(':') ? `[${address.host}]` : address.host}:${address.port}`
}

/**
 * Starts listening. A socket file nobody listens on is replaced; the file is made accessible to the owner only and removed at close and at process end.
 * @throws MesovirtError SOCKET_IN_USE (a live listener or a taken port), NOT_A_SOCKET (the path is something else), SOCKET_PATH, SOCKET_LISTEN
 */
export async function listen(address: SocketAddress): Promise<Listener> {
  if ('unix' in address) {
    checkUnixPath(address.unix)
    await removeStaleSocket(address.unix)
  }
  const net = await import('node:net')
  const server = net.createServer()
  const connections = deliver(server)
  await start(server, address)
  // An error after a good start is a failed accept (out of descriptors): the connection is lost, the listener lives on.
  server.on('error', () => undefined)
  const removeFile = 'unix' in address ? guardSocketFile(address.unix) : undefined
  const bound = server.address()
  return {
    address: typeof bound === 'object' && bound !== null && 'host' in address ? { host: address.host, port: bound.port } : address,
    onConnection: connections.setHandler,
    async close() {
      connections.drop()
      if (!server.listening) return
      removeFile?.()
      server.close()
    },
  }
}

/** One client at a time, the rest wait in the order they came, as QEMU's socket devices do. */
export function serveOneAtATime(listener: Listener, serve: (socket: Socket) => void): void {
  listener.onConnection(function take(socket: Socket) {
    listener.onConnection(null)
    socket.once('close', () => listener.onConnection(take))
    serve(socket)
  })
}

/** Holds early connections until somebody wants them. An unread Node socket buffers some KiB, the rest stays in the kernel. */
function deliver(server: Server): { setHandler: Listener['onConnection']; drop(): void } {
  const waiting: Socket[] = []
  let handler: ((socket: Socket) => void) | null = null
  const ignoreError = () => undefined
  const flush = () => {
    while (handler !== null) {
      const socket = waiting.shift()
      if (socket === undefined) return
      if (!socket.destroyed) handler(socket)
    }
  }
  server.on('connection', (socket) => {
    // A reset by the peer must never become an uncaught exception, whatever the handler listens to.
    socket.on('error', ignoreError)
    waiting.push(socket)
    if (waiting.length > MAX_WAITING) waiting.shift()?.destroy()
    flush()
  })
  return {
    setHandler(next) {
      handler = next
      flush()
    },
    drop() {
      handler = null
      for (const socket of waiting.splice(0)) socket.destroy()
    },
  }
}

function checkUnixPath(path: string): void {
  if (path === '' || path.includes('\0')) throw new MesovirtError('SOCKET_PATH', 'A socket needs a file path: give path=/some/file')
  const length = Buffer.byteLength(path)
  if (length > MAX_UNIX_PATH) {
    throw new MesovirtError('SOCKET_PATH', `Socket path "${path}" has ${length} bytes, the system allows ${MAX_UNIX_PATH}: use a shorter path`)
  }
}

async function removeStaleSocket(path: string): Promise<void> {
  let isSocket: boolean
  try {
    isSocket = lstatSync(path).isSocket()
  } catch {
    return // Nothing there. A missing directory is reported when listening fails.
  }
  if (!isSocket) throw new MesovirtError('NOT_A_SOCKET', `"${path}" exists and is not a socket: remove it or use another path`)
  if (await hasListener(path)) {
    throw new MesovirtError('SOCKET_IN_USE', `Another process listens on "${path}": end it or use another path`)
  }
  try {
    unlinkSync(path)
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return
    throw new MesovirtError('SOCKET_LISTEN', `Cannot replace the left-over socket "${path}" (${codeOf(error)}): remove it`, { cause: error })
  }
}

/** Only a refused connection proves that nobody listens: a full backlog or missing permission means somebody might. */
async function hasListener(path: string): Promise<boolean> {
  const net = await import('node:net')
  return new Promise((answer) => {
    const socket = net.connect({ path })
    const finish = (live: boolean) => {
      socket.destroy()
      answer(live)
    }
    socket.setTimeout(PROBE_TIMEOUT_MS, () => finish(true))
    socket.once('connect', () => finish(true))
    socket.once('error', (error) => finish(codeOf(error) !== 'ECONNREFUSED' && codeOf(error) !== 'ENOENT'))
  })
}

function start(server: Server, address: SocketAddress): Promise<void> {
  return new Promise((done, fail) => {
    server.once('error', (error) => fail(listenError(error, address)))
    server.once('listening', () => {
      server.removeAllListeners('error')
      done()
    })
    if (!('unix' in address)) {
      server.listen({ host: address.host, port: address.port, backlog: BACKLOG })
      return
    }
    // The socket file is created inside this call: the mask leaves no moment in which others could connect.
    const mask = process.umask(0o177)
    try {
      server.listen({ path: address.unix, backlog: BACKLOG })
    } finally {
      process.umask(mask)
    }
  })
}

function listenError(error: Error, address: SocketAddress): MesovirtError {
  const where = formatAddress(address)
  switch (codeOf(error)) {
    case 'EADDRINUSE':
      return new MesovirtError('SOCKET_IN_USE', `Another process listens on ${where}: end it or use another address`, { cause: error })
    case 'ENOENT':
    case 'ENOTDIR':
    case 'EACCES':
    case 'EPERM':
      // libuv reports a missing directory as EACCES.
      if ('unix' in address && !existsSync(dirname(address.unix))) {
        return new MesovirtError('SOCKET_PATH', `Cannot listen on ${where}: its directory does not exist, create it first`, { cause: error })
      }
      return new MesovirtError('SOCKET_LISTEN', `Cannot listen on ${where}: no permission, use another address`, { cause: error })
    case 'EADDRNOTAVAIL':
    case 'ENOTFOUND':
      return new MesovirtError('SOCKET_LISTEN', `Cannot listen on ${where}: this machine has no such address`, { cause: error })
    default:
      return new MesovirtError('SOCKET_LISTEN', `Cannot listen on ${where} (${codeOf(error)}): use another address`, { cause: error })
  }
}

/** Registers removal at process end. Removes only the file we made: a successor may have replaced it. */
function guardSocketFile(path: string): () => void {
  const absolute = resolve(path)
  let inode: number
  try {
    chmodSync(absolute, 0o600)
    inode = lstatSync(absolute).ino
  } catch {
    return () => undefined // Somebody removed the file already.
  }
  const cleanup = onProcessEnd(() => {
    if (lstatSync(absolute).ino === inode) unlinkSync(absolute)
  })
  return () => {
    try {
      cleanup.run()
    } catch {
      // The file is gone already, which is what was wanted.
    }
  }
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : 'unknown error'
}
