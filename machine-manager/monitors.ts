/** Opens the monitors of a configuration: a server socket gets a listener of its own, every other character device is one client that never ends. */
import { formatAddress, listen } from '../host/socket-listener.ts'
import { QmpServer } from './qmp/server.ts'
import { versionNumber } from './version-number.ts'
import type { Socket } from 'node:net'
import type { Listener } from '../host/socket-listener.ts'
import type { Logger } from './log.ts'
import { isListener } from './chardevs.ts'
import type { Chardevs } from './chardevs.ts'
import type { VmConfig } from './options/config.ts'
import type { ChardevInfo, VirtualMachine } from './vm.ts'

export interface Monitors {
  /** Resolves when every monitor that waits for its first client has had it. */
  readonly connected: Promise<unknown>
  chardevs(): ChardevInfo[]
  close(): Promise<void>
}

/** @throws MesovirtError of the listeners and character devices; what was opened before is closed again */
export async function openMonitors(config: VmConfig, vm: VirtualMachine, chardevs: Chardevs, log: Logger): Promise<Monitors> {
  const server = new QmpServer({ vm, version: versionNumber(), log: (message) => log.error(message) })
  const info: (() => ChardevInfo)[] = []
  const firstClients: Promise<void>[] = []
  const close = async (): Promise<void> => {
    await server.close()
  }
  try {
    for (const monitor of config.monitors) {
      const chardev = config.chardevs.find(({ label }) => label === monitor.chardev)
      if (chardev === undefined) continue
      if (isListener(chardev)) {
        const watched = watch(await listen(chardev.address), chardev.label)
        server.addListener(watched.listener)
        info.push(watched.info)
        if (chardev.wait) {
          log.info(`monitor ${chardev.label}: waiting for a connection on ${formatAddress(watched.listener.address)}`)
          firstClients.push(watched.firstClient)
        }
      } else {
        server.addChardev(chardevs.claim(chardev.label))
      }
    }
  } catch (error) {
    await close()
    throw error
  }
  return { connected: Promise.all(firstClients), chardevs: () => info.map((one) => one()), close }
}

/** A listener that knows whether a client is there, as query-chardev tells it. */
function watch(listener: Listener, label: string): { listener: Listener; info: () => ChardevInfo; firstClient: Promise<void> } {
  let clients = 0
  let arrived: () => void = () => undefined
  const firstClient = new Promise<void>((resolve) => { arrived = resolve })
  const counted = (serve: (socket: Socket) => void) => (socket: Socket): void => {
    clients++
    socket.once('close', () => { clients-- })
    serve(socket)
    arrived()
  }
  return {
    listener: {
      address: listener.address,
      onConnection: (handler) => listener.onConnection(handler === null ? null : counted(handler)),
      close: () => listener.close(),
    },
    info: () => ({ label, filename: `${clients > 0 ? '' : 'disconnected:'}${formatAddress(listener.address)},server=on`, frontendOpen: true }),
    firstClient,
  }
}
