import { afterEach, describe, expect, it } from 'vitest'
import type { RandomSource } from '../device-model/random-source.ts'
import { MmioDriver } from '../device-model/virtio/mmio-driver.ts'
import { LightMachine } from './light.ts'
import type { LightMachineOptions } from './light.ts'
import { announceWindows, VIRTIO_WINDOWS, virtioWindow } from './light-virtio.ts'
import { TestHypervisor } from './test-hypervisor.ts'

const MIB = 2 ** 20
const FIRST_DEVICE = 0xf010_0c00
const COMMAND_LINE = 0x2_0000
const RSDP_ADDRESS = 0xe_0000, TABLES_SIZE = 0x1000
const ENTROPY = 4

class Source implements RandomSource {
  readonly id = 'rng0'
  done: ((bytes: Uint8Array) => void) | undefined
  read(_length: number, done: (bytes: Uint8Array) => void): void { this.done = done }
  async close(): Promise<void> {}
}

const machines: LightMachine[] = []
afterEach(() => Promise.all(machines.splice(0).map((machine) => machine.close())))

function build(options: Partial<LightMachineOptions> = {}) {
  const source = new Source()
  const late: { hypervisor?: TestHypervisor } = {}
  const machine = new LightMachine({
    memory: 32 * MIB, kernel: new Uint8Array(1024).fill(0x90), topology: { cpus: 1, sockets: 1, dies: 1, cores: 1, threads: 1 }, commandLine: 'quiet',
    virtio: [{ kind: 'virtio-rng', source }, { kind: 'virtio-rng', source, rings: { packed: false } }],
    accelerator: (settings) => late.hypervisor = new TestHypervisor(settings), ...options,
  })
  machines.push(machine)
  const { memory } = machine.board
  const access = (base: number) => ({
    read: (offset: number, size: 1 | 2 | 4) => memory.read(base + offset, size),
    write: (offset: number, size: 1 | 2 | 4, value: number) => memory.write(base + offset, size, value),
  })
  const driver = (base: number, packed: boolean) => new MmioDriver({ access: access(base), memory: machine.board.ram, base: 0x40_0000, packed })
  return { machine, source, driver, hypervisor: late.hypervisor as TestHypervisor }
}

const text = (machine: LightMachine, address: number, length: number) => Buffer.from(machine.readPhysical(address, length)).toString('latin1')
const commandLine = (machine: LightMachine) => text(machine, COMMAND_LINE, 2048).split('\0')[0]
const announced = (machine: LightMachine) => text(machine, RSDP_ADDRESS, TABLES_SIZE).split('LNRO0005').length - 1

describe('the virtio-mmio windows', () => {
  it('have the places and interrupts of StratoVirt, the first six kept for disks and network cards', () => {
    expect(virtioWindow(VIRTIO_WINDOWS.disks.first)).toEqual({ base: 0xf010_0000, size: 0x200, gsi: 5 })
    expect(virtioWindow(VIRTIO_WINDOWS.networkCards.first)).toEqual({ base: 0xf010_0800, size: 0x200, gsi: 9 })
    expect(virtioWindow(VIRTIO_WINDOWS.devices.first)).toEqual({ base: FIRST_DEVICE, size: 0x200, gsi: 11 })
    expect(virtioWindow(VIRTIO_WINDOWS.devices.first + VIRTIO_WINDOWS.devices.count - 1).gsi).toBe(15)
  })

  it('hold devices that work, each on its interrupt', () => {
    const { machine, source, driver, hypervisor } = build()
    const second = driver(FIRST_DEVICE + 0x200, false).start(ENTROPY, 1)
    second.queue(0).add({ writable: [{ address: 0x50_0000, length: 8 }] })
    second.kick(0)
    source.done?.(new Uint8Array(8).fill(3))
    expect(second.queue(0).takeUsed()).toEqual([{ id: 0, written: 8 }])
    expect(hypervisor.levels.has(12)).toBe(true)
    expect(hypervisor.levels.has(11)).toBe(false)
    expect(second.acknowledge()).toBe(1)
    expect([...machine.readPhysical(0x50_0000, 8)]).toEqual([3, 3, 3, 3, 3, 3, 3, 3])
    expect(machine.board.memory.read(0xf010_0000, 4)).toBe(0xffff_ffff)
  })

  it('are reset with the machine', async () => {
    const { machine, driver } = build()
    await machine.load()
    const first = driver(FIRST_DEVICE, true).start(ENTROPY, 1)
    expect(first.status).toBe(15)
    await machine.reset()
    expect(first.status).toBe(0)
  })

  it('are five at most', () => {
    const source = new Source()
    const virtio = Array.from({ length: 6 }, () => ({ kind: 'virtio-rng', source }) as const)
    expect(() => build({ virtio })).toThrow(expect.objectContaining({ code: 'VIRTIO_WINDOWS' }))
  })

  it('ring no doorbells where a run must be repeatable', () => {
    const { machine } = build({ clock: { kind: 'instruction-count', shift: 3, sleep: false } })
    expect(machine.board.memory.view.notifiers).toHaveLength(0)
    expect(build().machine.board.memory.view.notifiers.map(({ address, size, datamatch }) => [address, size, datamatch])).toEqual([
      [FIRST_DEVICE + 0x50, 4, 0n], [FIRST_DEVICE + 0x250, 4, 0n],
    ])
  })
})

describe('devices are announced', () => {
  const words = ' virtio_mmio.device=512@0xf0100c00:11 virtio_mmio.device=512@0xf0100e00:12'
  it.each([
    ['auto', 'quiet', `quiet${words}`, 2], ['on', 'quiet', 'quiet', 2], ['off', 'quiet', `quiet${words}`, 0],
    ['auto', 'quiet acpi=off', `quiet acpi=off${words}`, 0], ['auto', 'quiet -- --init-argument', `quiet${words} -- --init-argument`, 2],
  ] as const)('with acpi=%s and %j on the command line as %j, and in the tables %i times', async (acpi, line, expected, count) => {
    const { machine } = build({ acpi, commandLine: line })
    await machine.load()
    expect(commandLine(machine)).toBe(expected)
    expect(announced(machine)).toBe(count)
  })

  it('where there are some', async () => {
    const { machine } = build({ virtio: [] })
    await machine.load()
    expect(commandLine(machine)).toBe('quiet')
    expect(announced(machine)).toBe(0)
  })

  it('before what is init\'s, wherever that begins', () => {
    const windows = [virtioWindow(0)]
    const word = ' virtio_mmio.device=512@0xf0100000:5'
    expect(announceWindows('', windows)).toBe(word)
    expect(announceWindows('-- x', windows)).toBe(`${word} -- x`)
    expect(announceWindows('a --b c-- d --', windows)).toBe(`a --b c-- d${word} --`)
    expect(announceWindows('a --', [])).toBe('a --')
  })
})
