import { describe, expect, it } from 'vitest'
import type { ChardevConfig } from './config.ts'
import { parseCommandLine } from './parse.ts'

function chardevsOf(line: string): readonly ChardevConfig[] {
  const command = parseCommandLine([...`${line} -kernel vmlinuz`.split(' ')])
  if (command.kind !== 'launch') throw new Error('no launch')
  return command.config.chardevs
}

const unix = { kind: 'socket', address: { unix: '/s' } } as const

describe('-chardev', () => {
  it.each<[string, object]>([
    ['socket,id=c,path=/s,reconnect=2', { ...unix, server: false, wait: false, reconnectMs: 2000 }],
    ['socket,id=c,path=/s,reconnect-ms=50', { ...unix, server: false, wait: false, reconnectMs: 50 }],
    ['socket,id=c,path=/s,reconnect=0', { ...unix, server: false, wait: false }],
    ['socket,id=c,path=/s,server=on,wait=off,replay=64K,telnet=off', { ...unix, server: true, wait: false, replay: 65_536 }],
    ['pipe,id=c,path=/p', { kind: 'pipe', path: '/p' }],
    ['ringbuf,id=c', { kind: 'ringbuf', size: 65_536 }],
    ['memory,id=c,size=1M', { kind: 'ringbuf', size: 2 ** 20 }],
    ['stdio,id=c,mux=on', { kind: 'stdio', mux: true }],
    ['null,id=c,mux=off,logfile=/l', { kind: 'null', log: { path: '/l', append: false } }],
    ['pty,id=c,logfile=/l,logappend=on', { kind: 'pty', log: { path: '/l', append: true } }],
  ])('understands %s', (text, config) => {
    expect(chardevsOf(`-chardev ${text}`)).toEqual([{ label: 'c', ...config }])
  })

  it('has a short form for pipes', () => {
    expect(chardevsOf('-serial pipe:/tmp/p,q')).toEqual([{ label: 'serial0', kind: 'pipe', path: '/tmp/p,q' }])
  })

  it('is shared by up to four with mux=on', () => {
    const shared = '-chardev null,id=c,mux=on -serial chardev:c -mon c -device virtio-serial-device -device virtconsole,chardev=c -device virtconsole,chardev=c'
    expect(chardevsOf(shared)).toHaveLength(1)
    expect(() => chardevsOf(`${shared} -device virtconsole,chardev=c`)).toThrow('-device virtconsole chardev=c: 4 share this character device already; add another')
  })

  it.each([
    ['socket,id=c,path=/s,server,reconnect=1', '-chardev id=c reconnect=: only a client connects, and so can do so again; leave it out'],
    ['socket,id=c,path=/s,reconnect=1,reconnect-ms=2', '-chardev id=c: reconnect= and reconnect-ms= say the same; leave one out'],
    ['socket,id=c,path=/s,replay=1K', '-chardev id=c replay=: only a server has clients that come late; leave it out, or add server'],
    ['socket,id=c,path=/s,server,replay=2M', '-chardev socket replay=2M: must be between 1b and 1M'],
    ['socket,id=c,path=/s,telnet=on', '-chardev socket telnet=on: only off is supported'],
    ['ringbuf,id=c,size=1000', '-chardev id=c size=1000: is no power of two; use one, such as 64K'],
    ['null,id=c,logappend=on', '-chardev id=c logappend: there is nothing to append to without logfile=; add it'],
    ['pipe,id=c', '-chardev pipe: needs path=; add it'],
  ])('refuses %s', (text, message) => {
    expect(() => chardevsOf(`-chardev ${text}`)).toThrow(expect.objectContaining({ message }))
  })
})
