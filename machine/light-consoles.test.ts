import { expect, it } from 'vitest'
import { VirtualClock } from '../device-model/clock.ts'
import { FarEnd, controlBytes } from '../device-model/virtio/console-bench.ts'
import { VirtioMmio } from '../device-model/virtio/mmio.ts'
import { MmioDriver } from '../device-model/virtio/mmio-driver.ts'
import { newMemory } from '../device-model/virtio/queue/test-bench.ts'
import { LightConsole } from './light-consoles.ts'

const CONSOLE = 3, PORT_OPEN = 6, CONTROL_TX = 3
const MULTIPORT = 2n
const SECOND = 1_000_000_000n
const MESSAGE = 0x8_0000

function bench() {
  const memory = newMemory()
  const clock = new VirtualClock()
  const changes: string[] = []
  const events = { log: () => undefined }
  const controller = new LightConsole({
    id: 'vs', maxPorts: 4, clock, events, onChange: (id, isOpen) => void changes.push(`${id} ${isOpen ? 'open' : 'closed'}`),
    ports: [{ id: 'p', nr: 1, isConsole: false, name: undefined, backend: new FarEnd() }],
  })
  const mmio = VirtioMmio.create({ device: controller.device, memory, irq: { setLevel: () => undefined, pulse: () => undefined }, events })
  const driver = new MmioDriver({ access: mmio, memory, base: 0x1000, features: MULTIPORT, queueSize: 16 }).start(CONSOLE, 10)
  const open = (nr: number, isOpen: boolean) => {
    memory.write(MESSAGE, controlBytes(nr, PORT_OPEN, isOpen ? 1 : 0))
    driver.queue(CONTROL_TX).add({ readable: [{ address: MESSAGE, length: 8 }] })
    driver.kick(CONTROL_TX)
    driver.queue(CONTROL_TX).takeUsed()
  }
  return { controller, clock, changes, open }
}

it('tells of a port that is opened and closed all the time once a second, and of what it is in the end', () => {
  const { clock, changes, open } = bench()
  for (let round = 0; round < 500; round++) {
    open(1, true)
    open(1, false)
  }
  expect(changes).toEqual(['p open'])
  clock.advance(SECOND)
  expect(changes).toEqual(['p open', 'p closed'])
  clock.advance(SECOND)
  open(1, true)
  expect(changes).toEqual(['p open', 'p closed', 'p open'])
})

it('gives a port that is plugged in the first number that is free, and refuses one that is taken', () => {
  const { controller } = bench()
  const port = (id: string, nr?: number) => ({ id, nr, isConsole: false, name: undefined, backend: new FarEnd() })
  controller.plug(port('q'))
  expect(controller.ports.map(({ id, nr }) => `${id ?? ''}${nr}`)).toEqual(['p1', 'q2'])
  expect(() => controller.plug(port('r', 2))).toThrow('device_add id=r: nr=2 is taken by another port')
  const backend = controller.unplug('p')
  expect([(backend as FarEnd).isUsed, controller.ports.length]).toEqual([false, 1])
  expect(controller.unplug('p')).toBeUndefined()
})
