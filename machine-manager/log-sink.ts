/** Where log lines go: a rotating file, or a descriptor that may be a terminal, a pipe nobody reads, or a socket. Writes never block. */
import fs from 'node:fs'
import { Socket } from 'node:net'
import { MesovirtError } from '../host/errors.ts'

export const MAX_LOG_BYTES = 100 * 1024 * 1024
export const KEPT_LOGS = 7
/** What may wait for a slow reader. Beyond it new lines are dropped and counted. */
const MAX_WAITING_BYTES = 1024 * 1024
const RETRY_MS = 50

/** Writes what it can at once and says how much that was. */
type Writer = (bytes: Uint8Array) => number

export class LogSink {
  readonly #write: Writer
  readonly #closeFile: () => void
  #waiting: Buffer[] = []
  #waitingBytes = 0
  #lost = 0
  #retry: NodeJS.Timeout | undefined

  constructor(write: Writer, close: () => void) {
    this.#write = write
    this.#closeFile = close
  }

  /**
   * A file that is appended to; at `maxBytes`, or on a new day, it becomes `path.1` and so on to `path.7`.
   * @throws MesovirtError LOG_FILE
   */
  static file(path: string, maxBytes = MAX_LOG_BYTES): LogSink {
    let fd = openLogFile(path)
    let size = fs.fstatSync(fd).size
    let day = today()
    const rotate = () => {
      day = today()
      size = 0
      try {
        shiftLogs(path)
        const next = openLogFile(path)
        fs.closeSync(fd)
        fd = next
      } catch {
        // The folder does not let us rotate: go on in the same file rather than lose lines, and try again a file's length later.
      }
    }
    return new LogSink((bytes) => {
      if (size > 0 && (size + bytes.length > maxBytes || day !== today())) rotate()
      const written = fs.writeSync(fd, bytes)
      size += written
      return written
    }, () => fs.closeSync(fd))
  }

  /** An open descriptor, such as standard error. It stays open, and blocking for those who share it. */
  static descriptor(fd: number): LogSink {
    const own = mayBlock(fd) ? reopenNonBlocking(fd) : undefined
    if (own !== undefined) return new LogSink((bytes) => fs.writeSync(own, bytes), () => fs.closeSync(own))
    if (isSocket(fd)) return socketSink(fd)
    return new LogSink((bytes) => fs.writeSync(fd, bytes), () => undefined)
  }

  /** Lines dropped since the last one that was written. */
  get lost(): number { return this.#lost }

  /** Queues one line, with its line end. */
  write(line: string): void {
    const bytes = Buffer.from(line)
    if (this.#waitingBytes + bytes.length > MAX_WAITING_BYTES) {
      this.#lost++
      return
    }
    if (this.#lost > 0 && this.#waitingBytes === 0) {
      this.#push(Buffer.from(`(${this.#lost} log lines lost: nobody read them)\n`))
      this.#lost = 0
    }
    this.#push(bytes)
    this.#flush()
  }

  close(): void {
    this.#flush()
    clearTimeout(this.#retry)
    this.#waiting = []
    this.#waitingBytes = 0
    try {
      this.#closeFile()
    } catch {
      // Nothing depends on it.
    }
  }

  #push(bytes: Buffer): void {
    this.#waiting.push(bytes)
    this.#waitingBytes += bytes.length
  }

  #flush(): void {
    for (let line = this.#waiting[0]; line !== undefined; line = this.#waiting[0]) {
      let written: number
      try {
        written = this.#write(line)
      } catch (error) {
        if (error instanceof Error && 'code' in error && error.code === 'EAGAIN') return this.#later()
        // A full disk or a closed pipe: this line is lost, the next one may do better.
        written = line.length
        this.#lost++
      }
      this.#waitingBytes -= written
      if (written < line.length) this.#waiting[0] = line.subarray(written)
      else this.#waiting.shift()
    }
  }

  /** The reader is slow. The timer does not keep the process alive. */
  #later(): void {
    if (this.#retry !== undefined) return
    this.#retry = setTimeout(() => {
      this.#retry = undefined
      this.#flush()
    }, RETRY_MS).unref()
  }
}

function openLogFile(path: string): number {
  try {
    return fs.openSync(path, fs.constants.O_WRONLY | fs.constants.O_CREAT | fs.constants.O_APPEND | fs.constants.O_NONBLOCK, 0o640)
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown error'
    throw new MesovirtError('LOG_FILE', `-D ${path}: cannot be opened (${code}); check the path and its permissions`, { cause: error })
  }
}

function shiftLogs(path: string): void {
  for (let number = KEPT_LOGS - 1; number >= 1; number--) {
    if (fs.existsSync(`${path}.${number}`)) fs.renameSync(`${path}.${number}`, `${path}.${number + 1}`)
  }
  fs.renameSync(path, `${path}.1`)
}

function today(): string {
  return new Date().toISOString().slice(0, 10)
}

/**
 * A second, non-blocking open file description of a pipe or terminal (Linux). Setting O_NONBLOCK on the shared one would surprise
 * everybody who inherited it. Undefined where that cannot be had.
 */
function reopenNonBlocking(fd: number): number | undefined {
  try {
    return fs.openSync(`/proc/self/fd/${fd}`, fs.constants.O_WRONLY | fs.constants.O_NOCTTY | fs.constants.O_NONBLOCK)
  } catch {
    return undefined
  }
}

/** Pipes and terminals. A file does not block, and a second description of one would have a position of its own and overwrite. */
function mayBlock(fd: number): boolean {
  try {
    const stat = fs.fstatSync(fd)
    return stat.isFIFO() || stat.isCharacterDevice()
  } catch {
    return false
  }
}

function isSocket(fd: number): boolean {
  try {
    return fs.fstatSync(fd).isSocket()
  } catch {
    return false
  }
}

/** libuv writes to a socket without blocking and queues the rest; what it holds counts against the same limit. */
function socketSink(fd: number): LogSink {
  const socket = new Socket({ fd, readable: false, writable: true })
  socket.on('error', () => undefined)
  socket.unref()
  return new LogSink((bytes) => {
    if (socket.writableLength > MAX_WAITING_BYTES) throw Object.assign(new Error('the reader is slow'), { code: 'EAGAIN' })
    socket.write(Uint8Array.from(bytes))
    return bytes.length
  }, () => undefined)
}
