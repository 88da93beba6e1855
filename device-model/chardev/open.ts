/** From a character-device configuration to a working backend. Kinds that cost start-up time are loaded when first used. */
import type { SocketAddress } from '../../host/socket-listener.ts'
import type { CharBackend } from '../contracts.ts'
import { NamedBackend } from './named.ts'

export type ChardevConfig = {
  readonly label: string
  /** Several may share it. */
  readonly mux?: boolean
  /** A copy of its output. */
  readonly log?: { readonly path: string; readonly append: boolean }
} & (
  | { readonly kind: 'stdio'; /** Ctrl-C acts on the process, not the guest. Default false. */ readonly signal?: boolean }
  | { readonly kind: 'pty' }
  | {
    readonly kind: 'socket'; readonly address: SocketAddress; readonly server: boolean; readonly wait: boolean
    /** A client tries again after so many milliseconds. */
    readonly reconnectMs?: number
    /** A server shows so many bytes of the last output to each new client. */
    readonly replay?: number
  }
  | { readonly kind: 'file'; readonly path: string; readonly append?: boolean }
  | { readonly kind: 'pipe'; readonly path: string }
  | { readonly kind: 'ringbuf'; /** bytes */ readonly size: number }
  | { readonly kind: 'null' }
)

export interface ChardevEnvironment {
  /** The user asked to end the machine (Ctrl-A x on a terminal). */
  readonly onQuit?: () => void
  readonly log?: (message: string) => void
}

/**
 * Opens a backend. At most one `stdio` may be open in a process: the configuration layer sees to it.
 * @throws MesovirtError SOCKET_IN_USE, NOT_A_SOCKET, SOCKET_PATH, SOCKET_LISTEN, CHARDEV_CONNECT, CHARDEV_FILE, CHARDEV_PIPE, CHARDEV_PTY
 */
export async function openChardev(config: ChardevConfig, environment: ChardevEnvironment = {}): Promise<CharBackend> {
  const { onQuit, log } = environment
  const { label } = config
  switch (config.kind) {
    // Where several share the terminal, who shares it out has the escape keys.
    case 'stdio': return new (await import('./stdio.ts')).StdioBackend({ label, signal: config.signal, onQuit, escape: config.mux !== true })
    case 'pty': return (await import('./pty.ts')).openPty(label)
    case 'socket': return (await import('./socket.ts')).openSocket({ ...config, log })
    case 'file': return new (await import('./file.ts')).FileBackend({ ...config, log })
    case 'pipe': return new (await import('./pipe.ts')).PipeBackend({ ...config, log })
    case 'ringbuf': return new (await import('./ringbuf.ts')).RingBackend(label, config.size)
    case 'null': return new (await import('./null.ts')).NullBackend(label)
  }
}

/** The file that copies of the output go to, where one was asked for. @throws MesovirtError CHARDEV_FILE */
export async function openLogFile({ label, log: file }: ChardevConfig, { log }: ChardevEnvironment = {}): Promise<CharBackend | undefined> {
  return file === undefined ? undefined : await openChardev({ kind: 'file', label: `${label} logfile`, ...file }, log === undefined ? {} : { log })
}

/** Opens a backend that can be exchanged later, with the file for copies of its output. @throws MesovirtError as openChardev */
export async function openNamed(config: ChardevConfig, environment: ChardevEnvironment = {}): Promise<NamedBackend> {
  const logFile = await openLogFile(config, environment)
  try {
    return new NamedBackend(await openChardev(config, environment), logFile)
  } catch (error) {
    await logFile?.close()
    throw error
  }
}
