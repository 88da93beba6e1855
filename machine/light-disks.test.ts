import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import { BlockImage } from '../device-model/block/image.ts'
import { VirtualClock } from '../device-model/clock.ts'
import { MmioDriver } from '../device-model/virtio/mmio-driver.ts'
import { LightMachine } from './light.ts'
import type { MachineEvent } from './light.ts'
import { EMPTY_SLOT } from './light-disks.ts'
import { TestHypervisor } from './test-hypervisor.ts'

const MIB = 2 ** 20
const BLOCK = 2, IN = 0, OUT = 1, OK = 0, IOERR = 1
const HEADER = 0x50_0000, STATUS = 0x50_0100, DATA = 0x50_1000
const SLOT_0 = 0xf010_0000, SLOT_1 = 0xf010_0200
const EIO = 5, CONFIG_CHANGE = 2

const closers: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close()
})

function openImage(): BlockImage {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'mesovirt-disks-'))
  const filename = path.join(folder, 'image')
  fs.writeFileSync(filename, Buffer.alloc(MIB, 7))
  const image = BlockImage.open({ id: 'node0', filename, readOnly: false, aio: 'threads', direct: false, noFlush: false, discard: 'ignore', detectZeroes: 'off', locking: 'off' },
    { clock: new VirtualClock() })
  closers.push(async () => {
    await image.close()
    fs.rmSync(folder, { recursive: true })
  })
  return image
}

async function start(blk: Partial<typeof EMPTY_SLOT> = {}) {
  const image = openImage()
  const machine = new LightMachine({
    memory: 32 * MIB, kernel: new Uint8Array(1024).fill(0x90), topology: { cpus: 1, sockets: 1, dies: 1, cores: 1, threads: 1 }, slots: true,
    virtio: [{ kind: 'virtio-blk', id: 'disk0', image, blk: { ...EMPTY_SLOT, ...blk } }], accelerator: (settings) => new TestHypervisor(settings),
  })
  closers.push(() => machine.close())
  await machine.load({ run: true })
  const events: MachineEvent[] = []
  machine.subscribe((event) => events.push(event))
  const drive = (base: number, at: number) => {
    const driver = new MmioDriver({
      memory: machine.board.ram, base: at, access: {
        read: (offset, size) => machine.board.memory.read(base + offset, size), write: (offset, size, value) => machine.board.memory.write(base + offset, size, value),
      },
    }).start(BLOCK, 1)
    /** @returns the status once there is one */
    const request = async (type: number, until = () => machine.board.ram.readU8(STATUS) !== 0xff) => {
      const { ram } = machine.board
      ram.writeU32(HEADER, type)
      ram.writeU64(HEADER + 8, 0n)
      ram.writeU8(STATUS, 0xff)
      const data = { address: DATA, length: 512 }, header = { address: HEADER, length: 16 }, status = { address: STATUS, length: 1 }
      driver.queue(0).add(type === IN ? { readable: [header], writable: [data, status] } : { readable: [header, data], writable: [status] })
      driver.kick(0)
      while (!until()) await new Promise((resolve) => setTimeout(resolve, 1))
      driver.queue(0).takeUsed()
      return ram.readU8(STATUS)
    }
    return { driver, request }
  }
  return { machine, image, events, drive }
}

describe('the disks of a LightMachine', () => {
  it('that fail under a stop policy stop the machine with an event, and go on with it', async () => {
    const { machine, image, events, drive } = await start({ onWriteError: 'stop' })
    const { request } = drive(SLOT_0, 0x40_0000)
    Object.defineProperty(image, 'write', { configurable: true, value: (_at: number, _buffers: unknown, _length: number, done: (errno: number) => void) => queueMicrotask(() => done(EIO)) })
    machine.board.ram.fill(DATA, 512, 0x33)
    expect(await request(OUT, () => machine.status() === 'io-error')).toBe(0xff)
    expect(events).toEqual([
      { name: 'BLOCK_IO_ERROR', data: { 'device': 'disk0', 'node-name': 'node0', 'operation': 'write', 'action': 'stop', 'nospace': false, 'reason': 'EIO' } }, { name: 'STOP' },
    ])
    expect(machine.disks[0]?.ioStatus).toBe('failed')
    Reflect.deleteProperty(image, 'write')
    await machine.cont()
    while (machine.board.ram.readU8(STATUS) === 0xff) await new Promise((resolve) => setTimeout(resolve, 1))
    expect(machine.board.ram.readU8(STATUS)).toBe(OK)
    expect(machine.disks[0]?.ioStatus).toBe('ok')
    expect(fs.readFileSync(image.config.filename)[0]).toBe(0x33)
  })

  it('come and go in slots, and the driver hears of it', async () => {
    const { machine, events, drive } = await start()
    const { driver, request } = drive(SLOT_1, 0x40_0000)
    expect(await request(IN)).toBe(IOERR)
    const image = openImage()
    driver.acknowledge()
    machine.plugDisk(1, { id: 'later', image, serial: 's', onWriteError: 'report', onReadError: 'report' })
    expect(driver.acknowledge() & CONFIG_CHANGE).toBe(CONFIG_CHANGE)
    expect(machine.board.memory.read(SLOT_1 + 0x100, 4)).toBe(MIB / 512)
    expect(await request(IN)).toBe(OK)
    expect(machine.board.ram.readU8(DATA)).toBe(7)
    expect(() => machine.plugDisk(1, { id: 'x', image, onWriteError: 'report', onReadError: 'report' })).toThrow('disk slot 1 is taken by later; use another one')
    expect(() => machine.plugDisk(4, { id: 'x', image, onWriteError: 'report', onReadError: 'report' })).toThrow('there is no disk slot 4; use 0 to 3')
    const disk = machine.disks[1]
    if (disk !== undefined) machine.unplugDisk(disk)
    expect(driver.acknowledge() & CONFIG_CHANGE).toBe(CONFIG_CHANGE)
    expect(machine.board.memory.read(SLOT_1 + 0x100, 4)).toBe(0)
    expect(await request(IN)).toBe(IOERR)
    expect(events).toEqual([{ name: 'DEVICE_DELETED', data: { device: 'later', path: 'later' } }])
  })

  it('touch no memory of a stopped machine', async () => {
    const { machine, drive } = await start()
    const { driver } = drive(SLOT_0, 0x40_0000)
    for (let count = 0; count < 20; count++) {
      machine.board.ram.writeU32(HEADER, IN)
      machine.board.ram.writeU64(HEADER + 8, BigInt(count * 8))
      driver.queue(0).add({ readable: [{ address: HEADER, length: 16 }], writable: [{ address: DATA + count * 4096, length: 4096 }, { address: STATUS, length: 1 }] })
    }
    driver.kick(0)
    await machine.stop()
    const before = Buffer.from(machine.readPhysical(0, 8 * MIB))
    driver.kick(0)
    await new Promise((resolve) => setTimeout(resolve, 20))
    expect(before.equals(machine.readPhysical(0, 8 * MIB))).toBe(true)
  })
})
