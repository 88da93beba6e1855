/** Where a monitor is, as people write it on the command line. */
import { MesovirtError } from '../../host/errors.ts'
import type { SocketAddress } from '../../host/socket-listener.ts'

/**
 * `vm.sock`, `unix:vm.sock`, `localhost:4444`, `tcp:127.0.0.1:4444`, `[::1]:4444`; what follows a comma (`,server,nowait`) is ignored, so that the value of
 * -qmp can be used as it is.
 * @throws MesovirtError QMP_ADDRESS
 */
export function parseMonitorAddress(text: string): SocketAddress {
  const [place = ''] = text.split(',')
  const unix = /^unix:(.+)$/.exec(place)?.[1]
  if (unix !== undefined) return { unix }
  const [, bracketed, plain, digits] = /^(?:tcp:)?(?:\[([^\]]+)\]|([^:/]*)):(\d{1,5})$/.exec(place) ?? []
  if (digits !== undefined) {
    const port = Number(digits)
    if (port < 1 || port > 65535) throw new MesovirtError('QMP_ADDRESS', `Port ${digits} is out of range: use 1 to 65535`)
    return { host: bracketed ?? (plain === '' || plain === undefined ? '127.0.0.1' : plain), port }
  }
  if (place === '' || place.startsWith('tcp:')) throw new MesovirtError('QMP_ADDRESS', `"${text}" is no monitor: give a socket path or HOST:PORT`)
  return { unix: place }
}
