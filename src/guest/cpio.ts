/**
 * Writes a cpio archive in "newc" format, the one an initramfs uses. Linux Documentation/driver-api/early-userspace/buffer-format.rst.
 * The same entries always give the same bytes. Left out: hard links, checksums ("crc" format), owners other than root.
 */
import { MesovirtError } from '../../host/errors.ts'

export type CpioEntry =
  | { readonly path: string; readonly type: 'directory'; readonly mode?: number }
  | { readonly path: string; readonly type: 'file'; readonly content: Uint8Array | string; readonly mode?: number }
  | { readonly path: string; readonly type: 'symlink'; readonly target: string }
  | { readonly path: string; readonly type: 'character' | 'block'; readonly major: number; readonly minor: number; readonly mode?: number }

const MAGIC = '070701'
const TRAILER = 'TRAILER!!!'
const S_IFCHR = 0o020000, S_IFDIR = 0o040000, S_IFBLK = 0o060000, S_IFREG = 0o100000, S_IFLNK = 0o120000
/** cpio pads its parts to 4 and, by custom, archives to 512 bytes. */
const ALIGNMENT = 4, ARCHIVE_ALIGNMENT = 512

/**
 * @param entries in the order they are to be unpacked: a folder before what it holds. Paths are relative, without `.` or `..`.
 * @throws MesovirtError CPIO_PATH for a path that is absolute, climbs, or is named twice
 */
export function writeCpio(entries: readonly CpioEntry[]): Uint8Array {
  const seen = new Set<string>()
  const parts: Uint8Array[] = []
  entries.forEach((entry, index) => {
    if (!/^[^/\0]+(\/[^/\0]+)*$/.test(entry.path) || entry.path.split('/').some((part) => part === '.' || part === '..') || seen.has(entry.path)) {
      throw new MesovirtError('CPIO_PATH', `'${entry.path}' cannot be a path in an initramfs; use a relative one, once`)
    }
    seen.add(entry.path)
    parts.push(...record(entry.path, index + 1, encode(entry)))
  })
  parts.push(...record(TRAILER, 0, { mode: 0, links: 1, content: new Uint8Array(0), major: 0, minor: 0 }))
  const length = parts.reduce((sum, part) => sum + part.length, 0)
  parts.push(padding(length, ARCHIVE_ALIGNMENT))
  return Uint8Array.from(Buffer.concat(parts))
}

interface Encoded { mode: number; links: number; content: Uint8Array; major: number; minor: number }

function encode(entry: CpioEntry): Encoded {
  const plain = { links: 1, content: new Uint8Array(0), major: 0, minor: 0 }
  switch (entry.type) {
    case 'directory': return { ...plain, mode: S_IFDIR | (entry.mode ?? 0o755), links: 2 }
    case 'file': return { ...plain, mode: S_IFREG | (entry.mode ?? 0o644), content: typeof entry.content === 'string' ? new TextEncoder().encode(entry.content) : entry.content }
    case 'symlink': return { ...plain, mode: S_IFLNK | 0o777, content: new TextEncoder().encode(entry.target) }
    case 'character': return { ...plain, mode: S_IFCHR | (entry.mode ?? 0o600), major: entry.major, minor: entry.minor }
    case 'block': return { ...plain, mode: S_IFBLK | (entry.mode ?? 0o600), major: entry.major, minor: entry.minor }
  }
}

function record(path: string, inode: number, { mode, links, content, major, minor }: Encoded): Uint8Array[] {
  const name = new TextEncoder().encode(`${path}\0`)
  // ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor namesize check
  const fields = [inode, mode, 0, 0, links, 0, content.length, 0, 0, major, minor, name.length, 0]
  const header = new TextEncoder().encode(MAGIC + fields.map((field) => field.toString(16).padStart(8, '0')).join(''))
  return [header, name, padding(header.length + name.length, ALIGNMENT), content, padding(content.length, ALIGNMENT)]
}

function padding(length: number, alignment: number): Uint8Array {
  return new Uint8Array((alignment - length % alignment) % alignment)
}
