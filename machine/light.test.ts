import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import type { CharBackend } from '../device-model/contracts.ts'
import { LightMachine } from './light.ts'
import type { LightMachineOptions, MachineEvent } from './light.ts'
import { LIGHT_INTERRUPTS, LIGHT_MEMORY, LIGHT_PORTS, splitRam } from './light-board.ts'
import { TestHypervisor } from './test-hypervisor.ts'

const MIB = 2 ** 20, GIB = 2 ** 30
const COM1 = 0x3f8, KEYBOARD_COMMAND = 0x64, POWER = 0x600
const ACPI_SLEEP_S5 = 0x34
const RSDP_ADDRESS = 0xe_0000
const ONE_CPU = { cpus: 1, sockets: 1, dies: 1, cores: 1, threads: 1 }

/** The smallest thing that passes for a flat kernel. */
const kernel = new Uint8Array(1024).fill(0x90)

class Backend implements CharBackend {
  readonly label = 'serial0'
  readonly kind = 'fake'
  readonly filename = 'fake'
  readonly connected = true
  text = ''
  write(bytes: Uint8Array): void { this.text += Buffer.from(bytes).toString('latin1') }
  onInput(): void {}
  setFlow(): void {}
  async close(): Promise<void> {}
}

let hypervisor: TestHypervisor
let machine: LightMachine
let events: MachineEvent[]
let serial: Backend

function build(extra: Partial<LightMachineOptions> = {}): LightMachine {
  serial = new Backend()
  machine = new LightMachine({
    memory: 32 * MIB, kernel, topology: ONE_CPU, serial,
    accelerator: (options) => {
      hypervisor = new TestHypervisor(options)
      return hypervisor
    },
    ...extra,
  })
  events = []
  machine.subscribe((event) => events.push(event))
  return machine
}

const out = (port: number, value: number) => machine.board.ports.write(port, 1, value)
const names = () => events.map(({ name }) => name)
/** A vCPU touches the machine before it asks for something. */
const posts = () => { machine.board.bus.counters.calls++ }

beforeEach(() => {
  build()
})

afterEach(() => machine.close())

test('the memory map has no overlaps and leaves nothing to chance: every block names who answers', () => {
  for (const map of [LIGHT_MEMORY, LIGHT_PORTS]) {
    const blocks = Object.values(map)
    for (const [index, { base }] of blocks.entries()) {
      const before = blocks[index - 1]
      if (before !== undefined) expect(base).toBeGreaterThanOrEqual(before.base + before.size)
    }
  }
  expect(LIGHT_MEMORY.virtioMmio.base).toBe(0xf010_0000)
  expect(LIGHT_MEMORY.ioapic.base).toBe(0xfec0_0000)
  expect(LIGHT_MEMORY.localApic.base).toBe(0xfee0_0000)
  expect(LIGHT_PORTS.serial.base).toBe(COM1)
  expect(LIGHT_INTERRUPTS.serial).toBe(4)
})

test('RAM above 3 GiB continues at 4 GiB', () => {
  expect(splitRam(256 * MIB)).toEqual([{ guestAddress: 0, size: 256 * MIB }])
  expect(splitRam(3 * GIB)).toEqual([{ guestAddress: 0, size: 3 * GIB }])
  expect(splitRam(3.5 * GIB)).toEqual([{ guestAddress: 0, size: 3 * GIB }, { guestAddress: 4 * GIB, size: GIB / 2 }])
})

test('loading resets the processors, writes the kernel and sets where it is entered', async () => {
  await machine.load()
  expect(hypervisor.calls).toEqual(['reset', 'enter'])
  expect(hypervisor.entry?.rip).toBe(0x100_0000)
  expect(machine.board.ram.readU8(0x100_0000)).toBe(0x90)
  expect(machine.status()).toBe('prelaunch')
})

test.each([
  ['auto', 'console=ttyS0', true], ['auto', 'acpi=off', false], ['auto', 'acpi=off acpi=force', true], ['on', 'acpi=off', true], ['off', '', false],
] as const)('acpi=%s with the command line "%s" gives tables: %s', async (acpi, commandLine, expected) => {
  await machine.close()
  build({ acpi, commandLine })
  await machine.load()
  const signature = Buffer.from(machine.board.ram.read(RSDP_ADDRESS, 8)).toString()
  expect(signature === 'RSD PTR ').toBe(expected)
})

test('stop and cont tell once, however often they are called', async () => {
  await machine.load()
  await machine.start()
  await machine.stop()
  await machine.stop()
  expect(machine.status()).toBe('paused')
  await machine.cont()
  await machine.cont()
  expect(machine.status()).toBe('running')
  expect(names()).toEqual(['STOP', 'RESUME'])
})

test('a power-off by the guest ends the machine after its serial output is out', async () => {
  await machine.load()
  await machine.start()
  posts()
  for (const letter of 'bye') out(COM1, letter.charCodeAt(0))
  out(POWER, ACPI_SLEEP_S5)
  expect(await machine.ended).toEqual({ kind: 'shutdown', guest: true, reason: 'guest-shutdown' })
  expect(serial.text).toBe('bye')
  expect(events).toEqual([{ name: 'SHUTDOWN', data: { guest: true, reason: 'guest-shutdown' } }])
})

test('a reset by the guest ends the machine, once, unless it was asked to restart', async () => {
  await machine.load()
  await machine.start()
  posts()
  out(KEYBOARD_COMMAND, 0xfe)
  out(KEYBOARD_COMMAND, 0xfe)
  expect(await machine.ended).toEqual({ kind: 'shutdown', guest: true, reason: 'guest-reset' })
  expect(names()).toEqual(['SHUTDOWN'])

  await machine.close()
  build({ onGuestReset: 'reset' })
  await machine.load()
  await machine.start()
  posts()
  out(KEYBOARD_COMMAND, 0xfe)
  await vi.waitFor(() => expect(names()).toEqual(['RESET']))
  await vi.waitFor(() => expect(machine.status()).toBe('running'))
  expect(events[0]?.data).toEqual({ guest: true, reason: 'guest-reset' })
  expect(hypervisor.calls).toEqual(['reset', 'enter', 'resume', 'pause', 'reset', 'enter', 'resume'])
})

test('a triple fault counts as a reset by the guest', async () => {
  await machine.load()
  await machine.start()
  posts()
  hypervisor.options.onEvent({ kind: 'triple-fault', cpu: 0 })
  expect(await machine.ended).toEqual({ kind: 'shutdown', guest: true, reason: 'guest-reset' })
})

test('a kernel that shuts the processor down before it touched any device is reported as no kernel', async () => {
  await machine.load()
  await machine.start()
  hypervisor.options.onEvent({ kind: 'triple-fault', cpu: 0 })
  expect((await machine.ended).kind).toBe('kernel-failed')
})

test('with onShutdown pause the machine stays for inspection, refuses cont, and waits after a reset', async () => {
  await machine.close()
  build({ onShutdown: 'pause' })
  await machine.load()
  await machine.start()
  posts()
  out(POWER, ACPI_SLEEP_S5)
  await vi.waitFor(() => expect(machine.status()).toBe('shutdown'))
  expect(names()).toEqual(['SHUTDOWN', 'STOP'])
  await expect(machine.cont()).rejects.toMatchObject({ code: 'RESET_REQUIRED' })
  await machine.reset()
  expect(machine.status()).toBe('prelaunch')
  await machine.cont()
  expect(machine.status()).toBe('running')
  expect(names()).toEqual(['SHUTDOWN', 'STOP', 'RESET', 'RESUME'])
  // A second request is heard again.
  out(POWER, ACPI_SLEEP_S5)
  await vi.waitFor(() => expect(machine.status()).toBe('shutdown'))
})

test('reset restarts a running machine whatever a guest reset would do', async () => {
  await machine.load()
  await machine.start()
  await machine.reset()
  expect(machine.status()).toBe('running')
  expect(events).toEqual([{ name: 'RESET', data: { guest: false, reason: 'host-qmp-system-reset' } }])
})

test('quit ends the machine in any state, with one event, and cont no longer runs it', async () => {
  await machine.load()
  machine.quit('host-signal')
  machine.quit('host-qmp-quit')
  expect(await machine.ended).toEqual({ kind: 'shutdown', guest: false, reason: 'host-signal' })
  await machine.cont()
  expect(hypervisor.running).toBe(false)
  expect(names()).toEqual(['SHUTDOWN'])
})

test('what is asked before the power-up is done waits for it and is not lost', async () => {
  const paused = machine.stop()
  await machine.load({ run: true })
  await paused
  expect(machine.status()).toBe('paused')
  expect(hypervisor.calls).toEqual(['reset', 'enter', 'resume', 'pause'])
})

test('a machine that is told to quit before it is loaded ends without running', async () => {
  machine.quit('host-signal')
  await machine.ended
  await machine.load({ run: true })
  expect(hypervisor.calls).toEqual([])
})

test('the power button raises its interrupt and tells', async () => {
  await machine.load()
  await machine.start()
  machine.powerdown()
  expect(names()).toEqual(['POWERDOWN'])
  expect(hypervisor.levels.get(LIGHT_INTERRUPTS.power)).toBe(1)
})

test('registers pause a running machine for the time of reading, without an event', async () => {
  await machine.load()
  await machine.start()
  expect(await machine.registers(0)).toBe('CPU#0\n')
  expect(machine.status()).toBe('running')
  expect(hypervisor.calls).toEqual(['reset', 'enter', 'resume', 'pause', 'resume'])
  expect(events).toEqual([])
})

test('an internal error ends the machine, or keeps it until a reset', async () => {
  await machine.load()
  await machine.start()
  hypervisor.options.onEvent({ kind: 'internal-error', message: 'trap' })
  expect(await machine.ended).toEqual({ kind: 'internal-error', message: 'trap' })
  expect(events.slice(-2)).toEqual([{ name: 'STOP' }, { name: 'SHUTDOWN', data: { guest: false, reason: 'host-error' } }])

  await machine.close()
  const errors: string[] = []
  build({ onInternalError: 'keep', logError: (message) => errors.push(message) })
  await machine.load()
  await machine.start()
  hypervisor.options.onEvent({ kind: 'internal-error', message: 'trap' })
  await vi.waitFor(() => expect(machine.status()).toBe('internal-error'))
  expect(errors).toEqual(['trap'])
  await expect(machine.cont()).rejects.toMatchObject({ code: 'RESET_REQUIRED' })
  await machine.reset()
  await machine.cont()
  expect(machine.status()).toBe('running')
})

test('boot markers reach the time line with machine time', async () => {
  const phases: string[] = []
  await machine.close()
  build({ onBootPhase: ({ name, atNs }) => phases.push(`${name} ${atNs}`) })
  hypervisor.time = 5n
  out(0x3ff, 1)
  hypervisor.time = 9n
  out(0x3ff, 2)
  expect(phases).toEqual(['kernel start 5', 'user space reached 9'])
})

test('without a serial backend there is no COM1, and reads answer all ones', async () => {
  await machine.close()
  build({ serial: undefined })
  expect(machine.board.ports.read(COM1 + 5, 1)).toBe(0xff)
  expect(machine.board.acpiHardware.serial).toBeNull()
})

test('what takes long before the start ends when somebody quits; memory that is gone cannot be read', async () => {
  build({ ramBacking: { preallocate: true } })
  const { ramBacking } = hypervisor.options
  expect([ramBacking?.preallocate, ramBacking?.signal?.aborted]).toEqual([true, false])
  machine.quit('host-qmp-quit')
  expect(ramBacking?.signal?.aborted).toBe(true)
  expect(machine.readPhysical(0x1000, 2)).toEqual(new Uint8Array(2))
  await machine.close()
  expect(() => machine.readPhysical(0x1000, 2)).toThrow('the machine has ended, and its memory is gone')
})
