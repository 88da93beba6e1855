import { expect, test, vi } from 'vitest'
import { AcpiPower } from './acpi-power.ts'
import { VirtualClock } from './clock.ts'
import { I8042 } from './i8042.ts'
import { BootTimeline, DebugPort, type BootPhase } from './platform-ports.ts'

const NO_LINE = { setLevel: () => undefined, pulse: () => undefined }

test('boot markers and debug codes become a time line with their moment', () => {
  const clock = new VirtualClock()
  const seen: BootPhase[] = []
  const timeline = new BootTimeline(clock, (phase) => seen.push(phase))
  const port = new DebugPort(timeline)

  clock.advance(5n)
  timeline.scratchWritten(1)
  timeline.scratchWritten(0x5a)
  clock.advance(5n)
  port.write(0, 1, 0x41)
  port.write(0, 1, 0x41)
  timeline.scratchWritten(2)

  expect(seen).toEqual([
    { source: 'port 0x3ff', code: 1, name: 'kernel start', atNs: 5n },
    { source: 'port 0x80', code: 0x41, name: 'user space reached', atNs: 10n },
    { source: 'port 0x3ff', code: 2, name: 'user space reached', atNs: 10n },
  ])
  expect(port.read(0)).toBe(0x41)
})

test('a guest that writes debug codes for ever neither makes the time line grow nor hides a marker', () => {
  const timeline = new BootTimeline(new VirtualClock())
  const port = new DebugPort(timeline)

  for (let i = 0; i < 10_000; i++) port.write(0, 1, 1 + (i % 2))

  timeline.scratchWritten(2)

  expect(timeline.phases.length).toBe(128 + 1)
  expect(timeline.phases.at(-1)?.source).toBe('port 0x3ff')
  expect(timeline.dropped).toBe(10_000 - 128)
})

test('i8042: 0xFE resets, the status never says "input buffer full"', () => {
  const onReset = vi.fn()
  const controller = I8042.create({ onReset })

  for (let command = 0; command < 0xfe; command++) {
    controller.write(4, 1, command)
    expect(controller.read(4) & 0x02).toBe(0)
    controller.write(0, 1, 0xff)
    controller.read(0)
  }
  expect(onReset).not.toHaveBeenCalled()
  controller.write(4, 1, 0xfe)

  expect(onReset).toHaveBeenCalledOnce()
})

test('i8042: the probe of Linux finds a controller without keyboard and mouse', () => {
  const controller = I8042.create({ onReset: () => undefined })
  const ask = (command: number) => {
    controller.write(4, 1, command)
    return (controller.read(4) & 1) !== 0 ? controller.read(0) : undefined
  }

  const empty = controller.read(4) & 1
  const selfTest = ask(0xaa)
  const config = ask(0x20)
  controller.write(4, 1, 0x60)
  controller.write(0, 1, 0x47)
  const changed = ask(0x20)
  controller.write(4, 1, 0xd3)
  controller.write(0, 1, 0x5a)
  const loop = controller.read(0)

  expect(empty).toBe(0)
  expect(selfTest).toBe(0x55)
  expect(config).toBe(0x34)
  expect(changed).toBe(0x67)
  expect(loop).not.toBe(0x5a)
  expect(ask(0xa9)).toBe(0x01)
})

test('i8042: state survives a round trip and damaged state is an error', () => {
  const controller = I8042.create({ onReset: () => undefined })
  controller.write(4, 1, 0xaa)

  const copy = I8042.fromState(JSON.parse(JSON.stringify(controller.state())), { onReset: () => undefined })

  expect(copy.read(0)).toBe(0x55)
  expect(() => I8042.fromState({ config: -1, pending: 0, replies: [] }, { onReset: () => undefined })).toThrow(/config/)
})

test('acpi: S5 powers off, the reset value resets, anything else does neither', () => {
  const onPowerOff = vi.fn()
  const onReset = vi.fn()
  const power = AcpiPower.create({ irq: NO_LINE, onPowerOff, onReset })

  power.write(1, 1, 0x80)
  power.write(0, 1, 5 << 2)
  power.write(0, 1, (1 << 2) | 0x20)
  power.write(2, 1, 6)
  power.write(7, 1, 0xff)
  const calls = [onPowerOff.mock.calls.length, onReset.mock.calls.length]
  power.write(0, 1, (5 << 2) | 0x20)
  power.write(2, 1, 1)

  expect(calls).toEqual([0, 0])
  expect(onPowerOff).toHaveBeenCalledOnce()
  expect(onReset).toHaveBeenCalledOnce()
  expect(Object.keys(power.guestErrors.counts())).toHaveLength(3)
})

test('acpi: the power button holds its line until the guest clears the status bit, and a restored one raises it again', () => {
  const levels: number[] = []
  const wiring = { irq: { setLevel: (level: 0 | 1) => levels.push(level), pulse: () => undefined }, onPowerOff: () => undefined, onReset: () => undefined }
  const power = AcpiPower.create(wiring)

  power.press()
  power.press()
  const status = power.read(4)
  const saved = power.state()
  power.write(4, 1, 0x02)
  const kept = power.read(4)
  power.write(4, 1, 0x01)
  const cleared = power.read(4)
  AcpiPower.fromState(saved, wiring)

  expect([status, kept, cleared]).toEqual([1, 1, 0])
  expect(levels).toEqual([1, 0, 1])
})
