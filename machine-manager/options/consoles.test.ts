import { describe, expect, it } from 'vitest'
import type { SerialConfig } from './config.ts'
import { parseCommandLine } from './parse.ts'

const ALL_RINGS = { packed: true, indirect: true, eventIndex: true }
const CHARDEVS = ['a', 'b', 'c', 'd'].map((id) => `-chardev null,id=${id}`).join(' ')

function controllersOf(line: string): readonly SerialConfig[] {
  const command = parseCommandLine([...`${line} ${CHARDEVS} -kernel vmlinuz`.split(' ')])
  if (command.kind !== 'launch') throw new Error('no launch')
  return command.config.devices as readonly SerialConfig[]
}

const numbers = (line: string) => controllersOf(line).map(({ ports }) => ports.map(({ chardev, nr }) => `${chardev}${nr}`).join(' '))

describe('virtio-serial-device with virtconsole and virtserialport', () => {
  it('make a console as Kata Containers asks for it', () => {
    expect(controllersOf('-device virtio-serial-device,id=virtio-serial0 -device virtconsole,chardev=a,id=virtio-console0,nr=0')).toEqual([{
      kind: 'virtio-serial', id: 'virtio-serial0', rings: ALL_RINGS, maxPorts: 31, ports: [{ id: 'virtio-console0', isConsole: true, chardev: 'a', name: undefined, nr: 0 }],
    }])
  })

  it('make a channel as libvirt asks QEMU for it, with the spelling of StratoVirt too', () => {
    const [controller] = controllersOf('-device {"driver":"virtio-serial-device","id":"vs","max-ports":4} -device {"driver":"virtserialport","bus":"vs.0","nr":2,"chardev":"b","id":"ch0","name":"org.qemu.guest_agent.0"}')
    expect(controller?.maxPorts).toBe(4)
    expect(controller?.ports).toEqual([{ id: 'ch0', isConsole: false, chardev: 'b', name: 'org.qemu.guest_agent.0', nr: 2 }])
  })

  it('give numbers that nobody asked for: 0 to the first console, channels from 1 on, whatever the order', () => {
    expect(numbers('-device virtserialport,chardev=a -device virtconsole,chardev=b -device virtserialport,chardev=c,nr=1 -device virtconsole,chardev=d -device virtio-serial-device')).toEqual(['c1 a2 b0 d3'])
  })

  it('put ports on the controller whose bus they name, else on the first', () => {
    expect(numbers('-device virtio-serial-device,id=x -device virtio-serial-device,id=y -device virtconsole,chardev=a -device virtconsole,chardev=b,bus=y.0 -device virtserialport,chardev=c,bus=x')).toEqual(['a0 c1', 'b0'])
    expect(numbers('-device virtio-serial -device virtconsole,chardev=a,bus=virtio-serial-bus.0')).toEqual(['a0'])
  })

  it.each([
    ['-device virtconsole,chardev=a,id=p', 'OPTION_MISSING', '-device virtconsole id=p: needs a controller; add -device virtio-serial-device'],
    ['-device virtio-serial-device,id=vs -device virtconsole,chardev=a,bus=vt.0', 'OPTION_MISSING', '-device virtconsole chardev=a bus=vt.0: no virtio-serial-device has this bus; did you mean vs.0?'],
    ['-device virtio-serial-device -device virtconsole', 'OPTION_MISSING', '-device virtconsole: needs chardev=; add it'],
    ['-device virtio-serial-device -device virtconsole,chardev=z', 'OPTION_MISSING', '-device virtconsole chardev=z: no character device has the id z; add -chardev'],
    ['-device virtio-serial-device -device virtconsole,chardev=a -device virtserialport,chardev=a', 'OPTION_CONFLICT',
      '-device virtconsole chardev=a and -device virtserialport chardev=a: a character device serves one of them; add another, or mux=on'],
    ['-device virtio-serial-device -device virtserialport,chardev=a,nr=0', 'SERIAL_PORT', '-device virtserialport chardev=a: nr=0 is for a virtconsole; use 1 or more'],
    ['-device virtio-serial-device,max_ports=2 -device virtserialport,chardev=a,nr=2', 'SERIAL_PORT',
      '-device virtserialport chardev=a: nr=2 is beyond the last port, 1; use a lower one, or a larger max_ports'],
    ['-device virtio-serial-device -device virtserialport,chardev=a,nr=1 -device virtserialport,chardev=b,nr=1', 'SERIAL_PORT',
      '-device virtserialport chardev=b: nr=1 is taken by another port; use another number, or leave it out'],
    ['-device virtio-serial-device,max_ports=1 -device virtserialport,chardev=a', 'SERIAL_PORT',
      '-device virtserialport chardev=a: all 1 ports are taken, or are for consoles; use a larger max_ports'],
    ['-device virtio-serial-device,id=x -device virtconsole,chardev=a,id=x', 'OPTION_CONFLICT', '-device id=x: another one has this id; use another id'],
    ['-device virtio-serial-device,max_ports=32', 'OPTION_VALUE', '-device virtio-serial-device max_ports=32: must be a whole number between 1 and 31'],
  ])('refuse %s', (line, code, message) => {
    expect(() => controllersOf(line)).toThrow(expect.objectContaining({ code, message }))
  })
})
