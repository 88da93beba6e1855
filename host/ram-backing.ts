/**
 * What guest RAM consists of besides anonymous memory: a memfd that other processes can map (memfd_create(2)), a file, or a file without a name in a
 * folder, on hugetlbfs too (Linux Documentation/admin-guide/mm/hugetlbpage.rst). Left out: huge pages of a memfd, which no option asks for yet.
 */
import fs from 'node:fs'
import path from 'node:path'
import { MesovirtError } from './errors.ts'
import { errnoName, lastErrno } from './ffi.ts'
import { openMemfd, sealSize } from './shared-memory.ts'

/** What the user wants of guest RAM. Nothing of it: memory of this process alone, which every host has. */
export interface RamBacking {
  /** Other processes can map it: writes arrive in the file, or a memfd where there is none. */
  readonly share?: boolean | undefined
  /** A file, or a folder in which a file without a name is made. Without `share` the file's content shows, and nothing is written to it. */
  readonly path?: string | undefined
  /** Every page gets its memory before the machine starts. */
  readonly preallocate?: boolean | undefined
  /** Called while that goes on, on the main thread. */
  readonly onProgress?: ((doneBytes: number, totalBytes: number) => void) | undefined
  /** Ends that early: whoever waits for it goes on. */
  readonly signal?: AbortSignal | undefined
  /** Part of core dumps; default true. */
  readonly dump?: boolean | undefined
}

/** An open file of at least the size of RAM; RAM begins at its byte 0. */
export interface RamFile {
  readonly fd: number
  /** bytes; more than 4096 on hugetlbfs only */
  readonly pageSize: number
  readonly shared: boolean
  /** Its pages come out of the memory that the host hands out to everybody: not those of hugetlbfs, and not those a disk can take back. */
  readonly usesMemory: boolean
  /** It had bytes of its own, which the guest finds in its memory. */
  readonly hasContent: boolean
  /** The option that asked for it, for error messages. */
  readonly option: string
  /** From now on a file that was made here stays. */
  keep(): void
  /** Closes it. A file that was made here goes with it, unless it is to stay. */
  close(): void
}

export const SMALL_PAGE = 4096
const MIB = 2 ** 20
/** statfs(2), f_type */
const HUGETLBFS = 0x9584_58f6, TMPFS = 0x0102_1994

/** The option that needs more than memory of this process, as the user typed it; undefined where there is none. */
export function nativeOption({ share, path: where, preallocate, dump }: RamBacking): string | undefined {
  if (where !== undefined) return pathOption(where)
  if (share === true) return '-machine mem-share=on'
  if (preallocate === true) return '-mem-prealloc'
  return dump === false ? '-machine dump-guest-core=off' : undefined
}

/**
 * Opens what backs RAM.
 * @param size bytes, whole pages
 * @returns undefined for anonymous memory
 * @throws MesovirtError RAM_FILE, RAM_HUGE_PAGES, FFI_MISSING: nothing is left open or made then
 */
export function openRamFile(size: number, { share = false, path: where }: RamBacking): RamFile | undefined {
  if (where !== undefined) return openPath(where, size, share)
  return share ? memfdOf(size) : undefined
}

function memfdOf(size: number): RamFile {
  const option = '-machine mem-share=on'
  const fd = openMemfd('mesovirt-ram')
  if (fd < 0) throw fileError(option, `the kernel gives no memfd (${errnoName(lastErrno())}); use -mem-path /dev/shm with it, or leave mem-share out`)
  try {
    fs.ftruncateSync(fd, size)
  } catch (cause) {
    fs.closeSync(fd)
    throw fileError(option, `the kernel gives no memfd of ${mib(size)} (${errorCode(cause)}); use a smaller -m`, cause)
  }
  sealSize(fd)
  return { fd, pageSize: SMALL_PAGE, shared: true, usesMemory: true, hasContent: false, option, keep: () => undefined, close: () => fs.closeSync(fd) }
}

function openPath(where: string, size: number, shared: boolean): RamFile {
  const option = pathOption(where)
  const attempt = <T>(action: () => T): T => {
    try {
      return action()
    } catch (cause) {
      throw fileError(option, `${fileProblem(errorCode(cause))}`, cause)
    }
  }
  const stat = attempt(() => fs.statSync(where, { throwIfNoEntry: false }))
  if (stat !== undefined && !stat.isFile() && !stat.isDirectory()) throw fileError(option, 'is neither a file nor a folder; give the path of one')
  const opened = attempt(() => stat?.isDirectory() === true ? openUnnamed(where) : openNamed(where, stat, shared))
  const discard = () => {
    fs.closeSync(opened.fd)
    if (opened.made) fs.rmSync(where, { force: true })
  }
  try {
    const { pageSize, usesMemory, hasContent } = fit(opened.fd, size, shared, option)
    let keep = false
    return {
      fd: opened.fd, pageSize, shared, usesMemory: usesMemory || (!shared && pageSize === SMALL_PAGE), hasContent, option,
      keep: () => { keep = true },
      close: () => keep ? fs.closeSync(opened.fd) : discard(),
    }
  } catch (error) {
    discard()
    throw error
  }
}

interface Opened { readonly fd: number; /** Under this name, by us. */ readonly made: boolean }

function openUnnamed(folder: string): Opened {
  const file = path.join(folder, `.mesovirt-ram-${process.pid}-${Math.random().toString(36).slice(2)}`)
  const fd = fs.openSync(file, fs.constants.O_RDWR | fs.constants.O_CREAT | fs.constants.O_EXCL, 0o600)
  fs.unlinkSync(file)
  return { fd, made: false }
}

/** A file with content that nothing is written to may be one that we can only read. */
function openNamed(file: string, stat: fs.Stats | undefined, shared: boolean): Opened {
  const { O_RDONLY, O_RDWR, O_CREAT, O_EXCL } = fs.constants
  if (stat === undefined) return { fd: fs.openSync(file, O_RDWR | O_CREAT | O_EXCL, 0o600), made: true }
  return { fd: fs.openSync(file, shared || stat.size === 0 ? O_RDWR : O_RDONLY), made: false }
}

/** Gives an empty file its size. One with content keeps it: a file of another kind, given by mistake, must not grow. */
function fit(fd: number, size: number, shared: boolean, option: string): Pick<RamFile, 'pageSize' | 'usesMemory' | 'hasContent'> {
  const system = fs.statfsSync(`/proc/self/fd/${fd}`)
  const isHuge = system.type === HUGETLBFS
  const pageSize = isHuge ? system.bsize : SMALL_PAGE
  if (size % pageSize !== 0) {
    const fitting = Math.ceil(size / pageSize) * pageSize / MIB
    throw hugePages(option, `its huge pages have ${mib(pageSize)} each, and -m must be a multiple of that; use -m ${fitting}`)
  }
  const { size: before, blocks } = fs.fstatSync(fd)
  if (before > 0 && before < size) {
    throw fileError(option, `the file has ${mib(before)} and -m needs ${mib(size)}; give one that is as large, empty, or not there yet`)
  }
  const isTmpfs = system.type === TMPFS
  const room = system.bavail * system.bsize + blocks * 512
  // A page without room is a SIGBUS later. On tmpfs a page that is read takes room as well.
  if (!isHuge && (shared || isTmpfs) && system.blocks > 0 && room < size) {
    throw fileError(option, `its file system has ${mib(room)} left and -m needs ${mib(size)}; use a smaller -m, or another place`)
  }
  try {
    if (before === 0) fs.ftruncateSync(fd, size)
  } catch (cause) {
    throw fileError(option, `cannot be made ${mib(size)} large: ${fileProblem(errorCode(cause))}`, cause)
  }
  return { pageSize, usesMemory: isTmpfs, hasContent: before > 0 }
}

/** Why RAM could not be mapped from hugetlbfs: the kernel sets all pages aside at once, or refuses. */
export function hugePageError({ fd, option, pageSize }: RamFile, size: number, errno: number): MesovirtError {
  const needed = size / pageSize
  const pool = `/sys/kernel/mm/hugepages/hugepages-${pageSize / 1024}kB`
  const count = (name: string) => Number(readText(`${pool}/${name}`) ?? NaN)
  const spare = Math.max(0, count('free_hugepages') - count('resv_hugepages'))
  const { blocks, bavail } = fs.statfsSync(`/proc/self/fd/${fd}`)
  const wanted = `${needed} huge pages of ${mib(pageSize)} are needed`
  // A mount without a size of its own counts nothing.
  if (blocks > 0 && bavail < needed && bavail < spare) return hugePages(option, `${wanted}, and the mount has ${bavail} left; mount it with a larger size=`)
  const total = count('nr_hugepages') + needed - spare
  if (Number.isNaN(total)) return hugePages(option, `${wanted}, and the kernel refuses (${errnoName(errno)}); make more of them`)
  const command = pageSize === defaultHugePage() ? `sysctl vm.nr_hugepages=${total}` : `echo ${total} > ${pool}/nr_hugepages`
  return hugePages(option, `${wanted}, and ${spare} are free; make them, as root: ${command}`)
}

function hugePages(option: string, what: string): MesovirtError {
  return new MesovirtError('RAM_HUGE_PAGES', `${option}: ${what}`)
}

function defaultHugePage(): number {
  return Number(/^Hugepagesize:\s*(\d+) kB/m.exec(readText('/proc/meminfo') ?? '')?.[1]) * 1024
}

function readText(file: string): string | undefined {
  try {
    return fs.readFileSync(file, 'utf8')
  } catch {
    return undefined
  }
}

function fileError(option: string, what: string, cause?: unknown): MesovirtError {
  return new MesovirtError('RAM_FILE', `${option}: ${what}`, cause === undefined ? {} : { cause })
}

function fileProblem(code: string): string {
  switch (code) {
    case 'ENOENT': case 'ENOTDIR': return 'its folder does not exist; check the path'
    case 'EACCES': case 'EPERM': return 'no permission; change the mode or the owner'
    case 'EISDIR': return 'there is no such folder; make it'
    case 'EROFS': return 'the file system is read-only; use another place'
    case 'ENOSPC': case 'EDQUOT': return 'the file system is full; use another place'
    case 'EFBIG': return 'the file system takes no file of that size; use another place'
    default: return `it cannot be used (${code}); use another path`
  }
}

function errorCode(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : String(error)
}

/** The path is the user's: an error stays one line. */
function pathOption(where: string): string {
  return `-mem-path ${where.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/g, '?')}`
}

export function mib(bytes: number): string {
  return `${bytes >= MIB ? Math.floor(bytes / MIB) : Math.ceil(bytes / 1024)} ${bytes >= MIB ? 'MiB' : 'KiB'}`
}
