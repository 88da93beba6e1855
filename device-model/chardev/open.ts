/** From a character-device configuration to a working backend. Kinds that cost start-up time are loaded when first used. */
import type { SocketAddress } from '../../host/socket-listener.ts'
import type { CharBackend } from '../contracts.ts'

export type ChardevConfig = { readonly label: string } & (
  | { readonly kind: 'stdio'; /** Ctrl-C acts on the process, not the guest. Default false. */ readonly signal?: boolean }
  | { readonly kind: 'pty' }
  | { readonly kind: 'socket'; readonly address: SocketAddress; readonly server: boolean; readonly wait: boolean }
  | { readonly kind: 'file'; readonly path: string; readonly append?: boolean }
  | { readonly kind: 'null' }
)

export interface ChardevEnvironment {
  /** The user asked to end the machine (Ctrl-A x on a terminal). */
  readonly onQuit?: () => void
  readonly log?: (message: string) => void
}

/**
 * Opens a backend. At most one `stdio` may be open in a process: the configuration layer sees to it.
 * @throws MesovirtError SOCKET_IN_USE, NOT_A_SOCKET, SOCKET_PATH, SOCKET_LISTEN, CHARDEV_CONNECT, CHARDEV_FILE, CHARDEV_PTY
 */
export async function openChardev(config: ChardevConfig, environment: ChardevEnvironment = {}): Promise<CharBackend> {
  const { onQuit, log } = environment
  switch (config.kind) {
    case 'stdio': return new (await import('./stdio.ts')).StdioBackend({ label: config.label, signal: config.signal, onQuit })
    case 'pty': return (await import('./pty.ts')).openPty(config.label)
    case 'socket': return (await import('./socket.ts')).openSocket({ ...config, log })
    case 'file': return new (await import('./file.ts')).FileBackend({ ...config, log })
    case 'null': return new (await import('./null.ts')).NullBackend(config.label)
  }
}
