/** Bounds-checked reading of a boot image from a file or from memory; a 50 MB kernel goes from the file straight into guest memory. */
import fs from 'node:fs'
import { MesovirtError } from '../host/errors.ts'

/** Larger than any kernel with debug information; keeps offsets far below 2^53. */
const MAX_IMAGE_SIZE = 4 * 1024 ** 3

export type ImageKind = 'kernel' | 'initrd'

export class ImageFile {
  readonly kind: ImageKind
  /** Path as the user gave it, for messages. */
  readonly name: string
  readonly size: number
  readonly #fd: number | null
  readonly #bytes: Uint8Array | null

  /**
   * @param source path of a regular file, or the image itself
   * @param name what messages call an image given as bytes
   * @throws MesovirtError KERNEL_UNREADABLE / INITRD_UNREADABLE
   */
  constructor(kind: ImageKind, source: string | Uint8Array, name = `${kind} image`) {
    this.kind = kind
    if (typeof source !== 'string') {
      this.name = name
      this.size = source.length
      this.#fd = null
      this.#bytes = source
      return
    }
    this.name = source
    this.#bytes = null
    let fd: number
    try {
      // O_NONBLOCK: a named pipe must give an error below, not hang here.
      fd = fs.openSync(source, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK)
    } catch (error) {
      const reason = (error as NodeJS.ErrnoException).code === 'ENOENT' ? 'no such file' : (error as Error).message
      throw new MesovirtError(this.#code('UNREADABLE'), `cannot open ${kind} '${source}': ${reason}; check the -${kind} path`, { cause: error })
    }
    try {
      const stat = fs.fstatSync(fd)
      if (!stat.isFile()) throw new MesovirtError(this.#code('UNREADABLE'), `${kind} '${source}' is not a regular file; -${kind} takes the path of an image file`)
      if (stat.size > MAX_IMAGE_SIZE) throw new MesovirtError(this.#code('TOO_BIG'), `${kind} '${source}' is larger than 4 GiB; give a bootable image`)
      this.size = stat.size
    } catch (error) {
      fs.closeSync(fd)
      throw error
    }
    this.#fd = fd
  }

  /** Fills `target` with the bytes from `offset` on. @throws MesovirtError KERNEL_DAMAGED / INITRD_DAMAGED when the image ends before */
  readInto(offset: number, target: Uint8Array): void {
    if (!(offset >= 0) || offset + target.length > this.size) throw this.damaged(`it ends at byte ${this.size}, but byte ${offset + target.length} is needed`)
    if (this.#bytes !== null) {
      target.set(this.#bytes.subarray(offset, offset + target.length))
      return
    }
    let done = 0
    while (done < target.length) {
      const count = this.#readSome(target, done, offset + done)
      if (count === 0) throw this.damaged('it became shorter while it was read')
      done += count
    }
  }

  /** A copy of `length` bytes at `offset`. @throws as readInto */
  read(offset: number, length: number): Uint8Array {
    if (!(offset >= 0) || !(length >= 0) || offset + length > this.size) throw this.damaged(`it ends at byte ${this.size}, but byte ${offset + length} is needed`)
    const bytes = new Uint8Array(length)
    this.readInto(offset, bytes)
    return bytes
  }

  /** The error for an image whose content contradicts itself. */
  damaged(what: string): MesovirtError {
    return new MesovirtError(this.#code('DAMAGED'), `${this.kind} '${this.name}' is damaged: ${what}; fetch or build it again`)
  }

  /** The error for an image this loader does not boot. */
  unsupported(what: string): MesovirtError {
    return new MesovirtError(this.#code('UNSUPPORTED'), `${this.kind} '${this.name}' cannot be booted: ${what}`)
  }

  /** The error for an image that finds no room in guest memory. */
  tooBig(what: string): MesovirtError {
    return new MesovirtError(this.#code('TOO_BIG'), `${this.kind} '${this.name}' does not fit: ${what}; give the machine more memory with -m`)
  }

  close(): void {
    if (this.#fd !== null) fs.closeSync(this.#fd)
  }

  #code(suffix: string): string {
    return `${this.kind.toUpperCase()}_${suffix}`
  }

  #readSome(target: Uint8Array, at: number, position: number): number {
    try {
      return fs.readSync(this.#fd as number, target, at, target.length - at, position)
    } catch (error) {
      throw new MesovirtError(this.#code('UNREADABLE'), `cannot read ${this.kind} '${this.name}': ${(error as Error).message}`, { cause: error })
    }
  }
}
