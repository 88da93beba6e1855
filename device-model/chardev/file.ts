/** Character device that writes to a file, device node or FIFO. As with QEMU the file is emptied first unless `append=on`. There is no input. */
import { closeSync, constants, openSync } from 'node:fs'
import { MesovirtError } from '../../host/errors.ts'
import { QueuedBackend } from './queued-backend.ts'
import { DescriptorWriter } from './writers.ts'

const DRAIN_MS = 1000

export interface FileOptions {
  readonly label: string
  readonly path: string
  readonly append?: boolean | undefined
  readonly log?: ((message: string) => void) | undefined
}

export class FileBackend extends QueuedBackend {
  readonly kind = 'file'
  readonly filename = 'file'
  readonly #fd: number
  protected readonly writer: DescriptorWriter

  /** @throws MesovirtError CHARDEV_FILE */
  constructor(options: FileOptions) {
    super(options.label, DRAIN_MS)
    this.#fd = openForWriting(options.path, options.append ?? false)
    this.writer = new DescriptorWriter(this.#fd, (error) => {
      options.log?.(`chardev ${options.label}: cannot write "${options.path}" (${codeOf(error)}), its output is lost from here on`)
    })
  }

  protected release(): void {
    closeSync(this.#fd)
  }
}

/** O_NONBLOCK: a FIFO nobody reads is an error at once instead of a wait without end, and a slow reader never stops the machine. */
function openForWriting(path: string, append: boolean): number {
  const mode = append ? constants.O_APPEND : constants.O_TRUNC
  try {
    return openSync(path, constants.O_WRONLY | constants.O_CREAT | constants.O_NONBLOCK | constants.O_NOCTTY | mode, 0o600)
  } catch (error) {
    throw new MesovirtError('CHARDEV_FILE', `Cannot write to file "${path}": ${reason(codeOf(error))}`, { cause: error })
  }
}

function reason(code: string): string {
  switch (code) {
    case 'ENOENT': return 'its directory does not exist, create it first'
    case 'EACCES':
    case 'EPERM': return 'no permission, use another path'
    case 'EISDIR': return 'it is a directory, name a file'
    case 'ENXIO': return 'it is a FIFO that nobody reads or a socket, start the reader first'
    default: return `${code}, use another path`
  }
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : 'unknown error'
}
