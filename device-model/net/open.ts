/** Opens a network backend by its configuration. */
import { MesovirtError } from '../../host/errors.ts'
import type { SlirpConfig } from '../../host/slirp.ts'
import type { TapQueue } from '../../host/tap-device.ts'
import type { NetBackend } from './backend.ts'
import type { StreamAddress } from './stream.ts'
import type { HostForward } from './user.ts'

export interface UserConfig {
  readonly kind: 'user'
  readonly id: string
  readonly slirp: SlirpConfig
  readonly forwards: readonly HostForward[]
}

export interface StreamConfig {
  readonly kind: 'stream'
  readonly id: string
  readonly address: StreamAddress
  readonly server: boolean
  readonly reconnectMs: number | undefined
}

export interface TapConfig {
  readonly kind: 'tap'
  readonly id: string
  /** Opened by whoever started us; they are ours from then on. */
  readonly fds: readonly number[]
  readonly ifname: string | undefined
  readonly queues: number
  /** undefined: where the device has it */
  readonly header: boolean | undefined
}

export interface VhostUserConfig {
  readonly kind: 'vhost-user'
  readonly id: string
  /** Label of a unix socket among the character devices, where the other process listens. */
  readonly chardev: string
  /** Queue pairs. */
  readonly queues: number
}

/** A backend of -netdev. */
export type NetdevConfig = UserConfig | StreamConfig | TapConfig | VhostUserConfig

/** Where the process behind a character device listens. */
export interface PeerSocket {
  readonly path: string
  readonly reconnectMs?: number | undefined
}

/** What a backend needs is loaded with it. @param socketOf what is behind a character device. @throws MesovirtError of the backend */
export async function openNetBackend(config: NetdevConfig, log: (message: string) => void, socketOf: (chardev: string) => PeerSocket): Promise<NetBackend> {
  switch (config.kind) {
    case 'vhost-user': {
      const { openVhostUserNet } = await import('./vhost-user.ts')
      return openVhostUserNet({ id: config.id, queues: config.queues, ...socketOf(config.chardev), log })
    }
    case 'user': {
      const { UserBackend } = await import('./user.ts')
      return new UserBackend({ ...config, log })
    }
    case 'stream': {
      const { openStream } = await import('./stream.ts')
      return openStream({ ...config, log })
    }
    case 'tap': return openTapBackend(config, log)
  }
}

async function openTapBackend({ id, fds, ifname = '', queues, header }: TapConfig, log: (message: string) => void): Promise<NetBackend> {
  const [{ TapBackend }, { adoptTap, openTap }, { closeSync }] = await Promise.all([import('./tap.ts'), import('../../host/tap-device.ts'), import('node:fs')])
  const opened: TapQueue[] = []
  try {
    for (const fd of fds) opened.push(adoptTap(fd, header))
    while (fds.length === 0 && opened.length < queues) opened.push(openTap(opened[0]?.name ?? ifname, queues > 1, header ?? true))
    if (opened.some(({ hasHeader }) => hasHeader !== opened[0]?.hasHeader)) throw new MesovirtError('TAP_OPEN', `netdev ${id}: some queues have a header and others none; open all alike`)
    return new TapBackend(id, opened, log)
  } catch (error) {
    if (fds.length === 0) for (const { fd } of opened) closeSync(fd)
    throw error
  }
}
