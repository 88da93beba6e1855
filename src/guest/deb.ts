/**
 * Reads chosen files out of a Debian package without unpacking the rest: deb(5), ar(5) and tar(5) (ustar with GNU long names).
 * The compressed tar comes from dpkg-deb where there is one, else from our own ar reader and the host's xz, zstd or gzip.
 */
import { spawn } from 'node:child_process'
import fs from 'node:fs'
import { MesovirtError } from '../../host/errors.ts'

const AR_MAGIC = '!<arch>\n'
const AR_HEADER_SIZE = 60
const TAR_BLOCK = 512
const MAX_FILE_SIZE = 512 * 1024 * 1024
const TOOLS: Readonly<Record<string, string>> = { 'data.tar.xz': 'xz', 'data.tar.zst': 'zstd', 'data.tar.gz': 'gzip', 'data.tar': 'cat' }

export interface DebFile { readonly path: string; readonly content: Uint8Array }

/**
 * @param wanted is asked for each regular file (paths like `boot/vmlinuz-6.1`); `stop` says when enough was found
 * @throws MesovirtError DEB_DAMAGED, TOOL_MISSING
 */
export async function readDeb(deb: string, wanted: (path: string) => boolean, stop: (found: readonly DebFile[]) => boolean): Promise<DebFile[]> {
  try {
    return await readThrough('dpkg-deb', ['--fsys-tarfile', deb], deb, null, wanted, stop)
  } catch (error) {
    if (!(error instanceof MesovirtError) || error.code !== 'TOOL_MISSING') throw error
  }
  const data = findData(deb)
  return readThrough(data.tool, data.tool === 'cat' ? [] : ['-dc'], deb, data, wanted, stop)
}

/** Where data.tar.* lies in the package. Exported for its test. @throws MesovirtError DEB_DAMAGED */
export function findData(deb: string): { tool: string; offset: number; size: number } {
  const fd = fs.openSync(deb, 'r')
  try {
    const total = fs.fstatSync(fd).size
    const read = (position: number, length: number) => {
      const buffer = Buffer.alloc(length)
      return buffer.toString('latin1', 0, fs.readSync(fd, buffer, 0, length, position))
    }
    if (read(0, AR_MAGIC.length) !== AR_MAGIC) throw damaged(deb, 'it is no package')
    for (let at = AR_MAGIC.length; at + AR_HEADER_SIZE <= total;) {
      const header = read(at, AR_HEADER_SIZE)
      const name = header.slice(0, 16).trim().replace(/\/$/, '')
      const size = Number(header.slice(48, 58).trim())
      if (!header.endsWith('`\n') || !Number.isInteger(size) || size < 0 || at + AR_HEADER_SIZE + size > total) throw damaged(deb, 'a member reaches past its end')
      if (name.startsWith('data.tar')) {
        const tool = Object.hasOwn(TOOLS, name) ? TOOLS[name] : undefined
        if (tool === undefined) throw damaged(deb, `${name} is compressed in an unknown way`)
        return { tool, offset: at + AR_HEADER_SIZE, size }
      }
      at += AR_HEADER_SIZE + size + size % 2
    }
    throw damaged(deb, 'it holds no data')
  } finally {
    fs.closeSync(fd)
  }
}

async function readThrough(
  tool: string, args: string[], deb: string, part: { offset: number; size: number } | null, wanted: (path: string) => boolean, stop: (found: readonly DebFile[]) => boolean,
): Promise<DebFile[]> {
  const child = spawn(tool, args, { stdio: [part === null ? 'ignore' : 'pipe', 'pipe', 'ignore'] })
  const ended = new Promise<void>((resolve, reject) => {
    child.on('error', (error: NodeJS.ErrnoException) => reject(error.code === 'ENOENT'
      ? new MesovirtError('TOOL_MISSING', `'${deb}' needs ${tool} to be unpacked; install it`) : error))
    child.on('close', () => resolve())
  })
  ended.catch(() => {}) // awaited below, once the reading has ended
  if (part !== null && child.stdin !== null) {
    child.stdin.on('error', () => {}) // the reader may stop early
    fs.createReadStream(deb, { start: part.offset, end: part.offset + part.size - 1 }).pipe(child.stdin)
  }
  try {
    return await readTar(child.stdout as AsyncIterable<Buffer>, deb, wanted, stop)
  } catch (error) {
    if (child.pid === undefined) await ended // says that the tool is missing
    throw error
  } finally {
    child.kill()
    child.stdout?.destroy() // 'close' waits for the unread rest otherwise
    if (child.pid !== undefined) await ended
  }
}

/** Exported for its test. */
export async function readTar(stream: AsyncIterable<Buffer>, deb: string, wanted: (path: string) => boolean, stop: (found: readonly DebFile[]) => boolean): Promise<DebFile[]> {
  const reader = new BlockReader(stream)
  const found: DebFile[] = []
  let longName: string | null = null
  for (let header = await reader.take(TAR_BLOCK); header !== null; header = await reader.take(TAR_BLOCK)) {
    if (header.every((byte) => byte === 0)) return found
    const text = (from: number, length: number) => header.toString('utf8', from, from + length).replace(/\0.*$/s, '')
    const size = parseInt(text(124, 12).trim() || '0', 8)
    if (!Number.isInteger(size) || size < 0) throw damaged(deb, 'a file in it has no valid size')
    const padded = Math.ceil(size / TAR_BLOCK) * TAR_BLOCK
    const type = String.fromCharCode(header[156] as number)
    const prefix = text(257, 5) === 'ustar' ? text(345, 155) : ''
    const path: string = (longName ?? (prefix === '' ? text(0, 100) : `${prefix}/${text(0, 100)}`)).replace(/^\.\//, '')
    longName = null
    const take = type === 'L' || ((type === '0' || type === '\0') && wanted(path))
    if (!take) {
      if (!await reader.skip(padded)) throw damaged(deb, 'its data is cut off')
      continue
    }
    if (size > MAX_FILE_SIZE) throw damaged(deb, `'${path}' claims ${size} bytes`)
    const content = await reader.take(padded)
    if (content === null) throw damaged(deb, 'its data is cut off')
    if (type === 'L') longName = content.toString('utf8', 0, size).replace(/\0.*$/s, '')
    else found.push({ path, content: content.subarray(0, size) })
    if (type !== 'L' && stop(found)) return found
  }
  // A tar ends in zero blocks; a stream that just stops came from a tool that failed.
  throw damaged(deb, 'its data is cut off')
}

/** Pulls exact numbers of bytes out of a stream. */
class BlockReader {
  readonly #source: AsyncIterator<Buffer>
  #chunk: Buffer = Buffer.alloc(0)

  constructor(stream: AsyncIterable<Buffer>) {
    this.#source = stream[Symbol.asyncIterator]()
  }

  /** `length` bytes, or null at the end of the stream. */
  async take(length: number): Promise<Buffer | null> {
    const parts: Buffer[] = []
    let missing = length
    while (missing > 0) {
      if (this.#chunk.length === 0 && !await this.#next()) return null
      const part = this.#chunk.subarray(0, missing)
      this.#chunk = this.#chunk.subarray(part.length)
      parts.push(part)
      missing -= part.length
    }
    return parts.length === 1 ? parts[0] as Buffer : Buffer.concat(parts)
  }

  async skip(length: number): Promise<boolean> {
    let missing = length
    while (missing > 0) {
      if (this.#chunk.length === 0 && !await this.#next()) return false
      const count = Math.min(missing, this.#chunk.length)
      this.#chunk = this.#chunk.subarray(count)
      missing -= count
    }
    return true
  }

  async #next(): Promise<boolean> {
    const { value, done } = await this.#source.next()
    if (done === true) return false
    this.#chunk = value as Buffer
    return true
  }
}

function damaged(deb: string, what: string): MesovirtError {
  return new MesovirtError('DEB_DAMAGED', `package '${deb}' is damaged: ${what}; remove it and fetch it again`)
}
