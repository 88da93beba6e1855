/** -chardev and its short forms: from checked values to a character device. */
import type { ChardevConfig } from './config.ts'
import { optionError } from './errors.ts'
import type { NamedValues, Values } from './interpret.ts'
import { laterError } from './values.ts'

const DEFAULT_RING = 65_536

/** @param origin the option, for error messages. @throws MesovirtError OPTION_CONFLICT, OPTION_MISSING, OPTION_VALUE */
export function chardevConfig({ name, values }: NamedValues, label: string, origin: string): ChardevConfig {
  const path = values.text('path') ?? ''
  const common = commonConfig(values, label, origin)
  switch (name) {
    case 'stdio': {
      const signal = values.boolean('signal')
      return { ...common, kind: 'stdio', ...(signal === undefined ? {} : { signal }) }
    }
    case 'pty': return { ...common, kind: 'pty' }
    case 'null': return { ...common, kind: 'null' }
    case 'file': return { ...common, kind: 'file', path, append: values.boolean('append') ?? false }
    case 'pipe': return { ...common, kind: 'pipe', path }
    case 'ringbuf': {
      const size = values.number('size') ?? DEFAULT_RING
      if (!Number.isInteger(Math.log2(size))) throw optionError('OPTION_VALUE', `${origin} size=${size}`, 'is no power of two; use one, such as 64K')
      return { ...common, kind: 'ringbuf', size }
    }
    case 'socket': return { ...common, ...socketConfig(values, origin) }
    default: throw laterError(origin, 'character devices of this kind')
  }
}

function commonConfig(values: Values, label: string, origin: string): Pick<ChardevConfig, 'label' | 'mux' | 'log'> {
  const path = values.text('logfile')
  if (path === undefined && values.has('logappend')) throw optionError('OPTION_MISSING', `${origin} logappend`, 'there is nothing to append to without logfile=; add it')
  return {
    label, ...values.boolean('mux') === true ? { mux: true } : {}, ...path === undefined ? {} : { log: { path, append: values.boolean('logappend') ?? false } },
  }
}

type SocketConfig = Omit<Extract<ChardevConfig, { kind: 'socket' }>, 'label' | 'mux' | 'log'>

function socketConfig(values: Values, origin: string): SocketConfig {
  const path = values.text('path')
  const port = values.number('port')
  const server = values.boolean('server') ?? false
  const wait = values.boolean('wait')
  if (!server && wait === true) throw optionError('OPTION_CONFLICT', origin, 'wait is for servers; add server')
  const seconds = values.number('reconnect')
  const reconnectMs = values.number('reconnect-ms') ?? (seconds === undefined ? 0 : seconds * 1000)
  if (seconds !== undefined && values.has('reconnect-ms')) throw optionError('OPTION_CONFLICT', origin, 'reconnect= and reconnect-ms= say the same; leave one out')
  if (reconnectMs > 0 && server) throw optionError('OPTION_CONFLICT', `${origin} reconnect=`, 'only a client connects, and so can do so again; leave it out')
  const replay = values.number('replay')
  if (replay !== undefined && !server) throw optionError('OPTION_CONFLICT', `${origin} replay=`, 'only a server has clients that come late; leave it out, or add server')
  const common = {
    kind: 'socket', server, wait: server && (wait ?? true), ...reconnectMs > 0 ? { reconnectMs } : {}, ...replay === undefined ? {} : { replay },
  } as const
  if (path !== undefined) {
    if (port !== undefined || values.has('host')) throw optionError('OPTION_CONFLICT', origin,
      'a socket has either path= or host= and port=; leave one out')
    return { ...common, address: { unix: path } }
  }
  if (port === undefined) throw optionError('OPTION_MISSING', origin, 'a socket needs path=, or host= and port=')
  if (port === 0 && !server) throw optionError('OPTION_VALUE', origin, 'a client needs a port between 1 and 65535')
  return { ...common, address: { host: values.text('host') ?? (server ? '0.0.0.0' : '127.0.0.1'), port } }
}
