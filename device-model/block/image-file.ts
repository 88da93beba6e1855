/** Opens the file or block device behind a disk: size, what O_DIRECT wants, locks. open(2), statx(2), and sysfs for block devices. */
import fs from 'node:fs'
import { MesovirtError } from '../../host/errors.ts'
import { errnoName } from '../../host/ffi.ts'
import { optionalLibc } from '../../host/file-io-threads.ts'
import { lockImage } from '../../host/file-lock.ts'
import type { BlockImageConfig } from './config.ts'

export const SECTOR = 512
const AT_EMPTY_PATH = 0x1000
const STATX_DIOALIGN = 0x2000
const STATX_SIZE = 256, DIO_MEMORY_AT = 0x98, DIO_OFFSET_AT = 0x9c
const PAGE = 4096

export interface ImageFile {
  readonly fd: number
  readonly isDevice: boolean
  /** What O_DIRECT wants places and lengths in the file to be multiples of; 1 without. */
  readonly alignment: number
  /** The same for addresses of buffers. */
  readonly memoryAlignment: number
  /** Bytes now. */
  size(): number
}

/** @throws MesovirtError DISK_FILE, DISK_LOCK; nothing is left open then */
export function openImageFile(config: BlockImageConfig): ImageFile {
  const { filename, readOnly, direct } = config
  const isDevice = checkKind(config)
  const flags = (readOnly ? fs.constants.O_RDONLY : fs.constants.O_RDWR) | (direct ? fs.constants.O_DIRECT : 0)
  let fd: number
  try {
    fd = fs.openSync(filename, flags)
  } catch (error) {
    throw fileError(config, error, readOnly, direct)
  }
  try {
    lock(config, fd)
    const { file, memory } = direct ? directAlignment(fd) : { file: 1, memory: 1 }
    const size = isDevice ? () => deviceSize(fd) : () => fs.fstatSync(fd).size
    size()
    if (config.isRaw !== true) refuseOtherFormats(config)
    return { fd, isDevice, alignment: file, memoryAlignment: memory, size }
  } catch (error) {
    fs.closeSync(fd)
    throw error
  }
}

/** Looked at before it is opened: opening a pipe could wait for ever. */
function checkKind(config: BlockImageConfig): boolean {
  const { filename, expect = 'any' } = config
  let stat: fs.Stats
  try {
    stat = fs.statSync(filename)
  } catch (error) {
    throw fileError(config, error, config.readOnly, false)
  }
  if (!stat.isFile() && !stat.isBlockDevice()) {
    throw diskError(config, `is ${stat.isDirectory() ? 'a folder' : 'neither a file nor a block device'}; name a disk image`)
  }
  if (expect === 'file' && !stat.isFile()) throw diskError(config, 'is a block device; use driver=host_device')
  if (expect === 'device' && !stat.isBlockDevice()) throw diskError(config, 'is no block device; use driver=file')
  return stat.isBlockDevice()
}

/** What a guest would make of such an image is never what was meant. */
function refuseOtherFormats(config: BlockImageConfig): void {
  const fd = fs.openSync(config.filename, fs.constants.O_RDONLY)
  const start = Buffer.alloc(8)
  try {
    fs.readSync(fd, start, 0, start.length, 0)
  } finally {
    fs.closeSync(fd)
  }
  const text = start.toString('latin1')
  const format = text.startsWith('QFI\xfb') ? 'qcow2' : text.startsWith('KDMV') ? 'vmdk' : text.startsWith('vhdxfile') ? 'vhdx' : undefined
  if (format === undefined) return
  throw diskError(config, `is an image of the format ${format}; convert it with: qemu-img convert -O raw FILE NEW, or use format=raw to show it to the guest as it is`)
}

function fileError(config: BlockImageConfig, error: unknown, readOnly: boolean, direct: boolean): MesovirtError {
  const { code = 'unknown error' } = error as NodeJS.ErrnoException
  switch (code) {
    case 'ENOENT': case 'ENOTDIR': return diskError(config, 'no such file; check the path, or make one with: truncate -s 1G FILE')
    case 'EACCES': case 'EPERM': return diskError(config, `no permission to ${readOnly ? 'read' : 'write'} it; ${readOnly ? 'change its mode or its owner' : 'change its mode, or use readonly=on'}`)
    case 'EROFS': return diskError(config, 'its file system is read-only; use readonly=on')
    default: return diskError(config, direct && code === 'EINVAL' ? 'its file system has no O_DIRECT; use direct=off' : `cannot be opened (${code}); check the path`)
  }
}

/** `disk d0 (/path): reason` */
export function diskError(config: BlockImageConfig, reason: string, code = 'DISK_FILE'): MesovirtError {
  return new MesovirtError(code, `disk ${config.id}: ${config.filename}: ${reason}`)
}

function lock(config: BlockImageConfig, fd: number): void {
  const { locking, readOnly } = config
  if (locking === 'off') return
  if (optionalLibc() === undefined) {
    if (locking === 'on') throw diskError(config, 'locks need the package koffi; install it, or use locking=off', 'DISK_LOCK')
    return
  }
  const result = lockImage(fd, !readOnly)
  if (result === 'in-use') {
    throw diskError(config, `another machine or disk uses it${readOnly ? ' for writing' : ''}; end that, open both with readonly=on, or use locking=off if you know that it is safe`, 'DISK_LOCK')
  }
  if (typeof result === 'object' && locking === 'on') throw diskError(config, `cannot be locked (${result.failed}); use locking=off`, 'DISK_LOCK')
}

function directAlignment(fd: number): { file: number; memory: number } {
  const libc = optionalLibc()
  const result = new Uint8Array(STATX_SIZE)
  if (libc?.statx(fd, '', AT_EMPTY_PATH, STATX_DIOALIGN, result) === 0) {
    const view = new DataView(result.buffer)
    const memory = view.getUint32(DIO_MEMORY_AT, true), file = view.getUint32(DIO_OFFSET_AT, true)
    if (memory > 0 && file > 0) return { file: Math.max(file, SECTOR), memory: Math.max(memory, SECTOR) }
  }
  // Kernels before 6.1 do not tell: the smaller of both that works.
  const buffer = new Uint8Array(new SharedArrayBuffer(2 * PAGE))
  for (const alignment of [SECTOR, PAGE]) {
    try {
      fs.readSync(fd, buffer, 0, alignment, 0)
      return { file: alignment, memory: PAGE }
    } catch {
      // not this one
    }
  }
  return { file: PAGE, memory: PAGE }
}

/** From sysfs, in sectors of 512 bytes whatever the device has. */
function deviceSize(fd: number): number {
  const { rdev } = fs.fstatSync(fd)
  const major = (rdev >>> 8) & 0xfff, minor = (rdev & 0xff) | ((rdev >>> 12) & 0xfff00)
  try {
    return Number(fs.readFileSync(`/sys/dev/block/${major}:${minor}/size`, 'utf8')) * SECTOR
  } catch (error) {
    throw new MesovirtError('DISK_FILE', `the size of block device ${major}:${minor} is not known (${(error as NodeJS.ErrnoException).code ?? errnoName(0)}); /sys is needed`)
  }
}
