/** The character devices of a machine by name, and who uses them: what the command line opens, and what QMP's chardev commands are about. */
import type { CharBackend } from '../device-model/contracts.ts'
import { Mux } from '../device-model/chardev/mux.ts'
import type { NamedBackend } from '../device-model/chardev/named.ts'
import { openChardev, openLogFile, openNamed } from '../device-model/chardev/open.ts'
import type { ChardevConfig, ChardevEnvironment } from '../device-model/chardev/open.ts'
import { RingBackend } from '../device-model/chardev/ringbuf.ts'
import { MesovirtError } from '../host/errors.ts'
import { chardevFromQmp } from './options/chardev-members.ts'
import type { ChardevControl, ChardevInfo } from './vm.ts'

const MOST_SHARING = 4

interface User {
  readonly frontend: CharBackend
  readonly isOpen: () => boolean
}

interface Entry {
  config: ChardevConfig
  readonly named: NamedBackend
  readonly mux: Mux | undefined
  readonly users: User[]
}

export class Chardevs implements ChardevControl {
  /** Those that monitors listen on. */
  monitors: () => readonly ChardevInfo[] = () => []
  readonly #environment: ChardevEnvironment
  readonly #entries = new Map<string, Entry>()
  /** Names that are being opened, and those of monitors. */
  readonly #taken = new Set<string>()

  constructor(environment: ChardevEnvironment) {
    this.#environment = environment
  }

  /** Nobody else gets this name. */
  reserve(label: string): void {
    this.#taken.add(label)
  }

  /** @throws MesovirtError CHARDEV_NAME, and of the backend */
  async open(config: ChardevConfig): Promise<NamedBackend> {
    const { label } = config
    if (this.#entries.has(label) || this.#taken.has(label)) throw new MesovirtError('CHARDEV_NAME', `chardev ${label}: another character device has this name; use another name`)
    this.#checkTerminal(config)
    this.#taken.add(label)
    try {
      const named = await openNamed(config, this.#environment)
      this.#entries.set(label, { config, named, mux: config.mux === true ? new Mux(named, { onQuit: this.#environment.onQuit }) : undefined, users: [] })
      return named
    } finally {
      this.#taken.delete(label)
    }
  }

  /** One more that uses it. @param isOpen whether it listens; for query-chardev. @throws MesovirtError CHARDEV_NAME, CHARDEV_BUSY */
  claim(label: string, isOpen: () => boolean = () => true): CharBackend {
    const { named, mux, users } = this.#get(label)
    if (users.length >= (mux === undefined ? 1 : MOST_SHARING)) throw new MesovirtError('CHARDEV_BUSY', `Chardev '${label}' is busy`)
    const frontend = mux?.frontend() ?? named
    users.push({ frontend, isOpen })
    return frontend
  }

  /** It is used no more by whoever claimed it. */
  release(frontend: CharBackend): void {
    for (const { users, mux } of this.#entries.values()) {
      const at = users.findIndex((user) => user.frontend === frontend)
      if (at < 0) continue
      users.splice(at, 1)
      frontend.setFlow(false)
      frontend.onInput(null)
      frontend.onEvent?.(null)
      if (mux !== undefined) void frontend.close()
    }
  }

  list(): readonly ChardevInfo[] {
    const ours = [...this.#entries.values()].map(({ named, users }) => ({ label: named.label, filename: named.filename, frontendOpen: users.some(({ isOpen }) => isOpen()) }))
    return [...ours, ...this.monitors()]
  }

  async add(id: string, backend: unknown): Promise<{ pty?: string }> {
    return ptyOf(await this.open(chardevFromQmp(id, backend, 'chardev-add')))
  }

  async change(id: string, backend: unknown): Promise<{ pty?: string }> {
    const entry = this.#get(id)
    const config = chardevFromQmp(id, backend, 'chardev-change')
    if (entry.mux !== undefined || config.mux === true) throw new MesovirtError('CHARDEV_BUSY', `Chardev '${id}' is shared (mux=on), and cannot be changed`)
    this.#checkTerminal(config)
    const logFile = await openLogFile(config, this.#environment)
    const opened = await openChardev(config, this.#environment).catch(async (error: unknown) => {
      await logFile?.close()
      throw error
    })
    if (this.#entries.get(id) !== entry) {
      await opened.close()
      throw notFound(id)
    }
    entry.config = config
    await Promise.all(entry.named.replace(opened, logFile).map((one) => one.close()))
    return ptyOf(entry.named)
  }

  async remove(id: string): Promise<void> {
    const { named, users } = this.#get(id)
    if (users.length > 0) throw new MesovirtError('CHARDEV_BUSY', `Chardev '${id}' is busy`)
    this.#entries.delete(id)
    await named.close()
  }

  readRing(id: string, count: number): Uint8Array {
    return this.#ring(id).take(count)
  }

  writeRing(id: string, bytes: Uint8Array): void {
    this.#ring(id)
    this.#get(id).named.write(bytes)
  }

  async close(): Promise<void> {
    const all = [...this.#entries.values()]
    this.#entries.clear()
    await Promise.all(all.map(({ named }) => named.close()))
  }

  #get(label: string): Entry {
    const entry = this.#entries.get(label)
    if (entry === undefined) throw notFound(label)
    return entry
  }

  #ring(id: string): RingBackend {
    const { backend } = this.#get(id).named
    if (!(backend instanceof RingBackend)) throw new MesovirtError('CHARDEV_KIND', `${id} is not a ringbuf device`)
    return backend
  }

  #checkTerminal({ kind, label }: ChardevConfig): void {
    if (kind !== 'stdio' || ![...this.#entries.values()].some(({ config }) => config.kind === 'stdio')) return
    throw new MesovirtError('CHARDEV_BUSY', `chardev ${label}: another one owns standard input and output; use another back-end`)
  }
}

/** Whether a monitor on it is a listener of its own; on everything else it is one client that never ends. */
export function isListener(chardev: ChardevConfig): chardev is Extract<ChardevConfig, { kind: 'socket' }> {
  return chardev.kind === 'socket' && chardev.server && chardev.mux !== true
}

function ptyOf({ kind, filename }: CharBackend): { pty?: string } {
  return kind === 'pty' ? { pty: filename.replace(/^pty:/, '') } : {}
}

function notFound(label: string): MesovirtError {
  return new MesovirtError('CHARDEV_NAME', `Chardev '${label}' not found`)
}
