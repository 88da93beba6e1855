import { describe, expect, it, vi } from 'vitest'
import { AddressSpace } from './address-space.ts'
import type { AddressSpaceListener } from './address-space.ts'
import { Region } from './region.ts'
import type { AccessRules } from './region.ts'

/** A device that remembers its accesses; a register byte reads as its offset. */
function device(name: string, size: number, access: AccessRules = {}) {
  const log: string[] = []
  const region = Region.io(name, size, {
    read(offset, width) {
      log.push(`r${width} ${offset.toString(16)}`)
      let value = 0
      for (let i = width - 1; i >= 0; i--) value = value * 256 + ((offset + i) & 0xff)
      return value
    },
    write(offset, width, value) {
      log.push(`w${width} ${offset.toString(16)}=${value.toString(16)}`)
    },
    read64(offset) {
      log.push(`r8 ${offset.toString(16)}`)
      return 0x1122_3344_5566_7788n
    },
    write64(offset, value) {
      log.push(`w8 ${offset.toString(16)}=${value.toString(16)}`)
    },
  }, { access })
  return { region, log }
}

function spaceOf(...children: [Region, number, number?][]) {
  const root = Region.container('system', 2 ** 40)
  for (const [child, offset, priority] of children) root.add(child, offset, priority)
  return { root, space: new AddressSpace('memory', root) }
}

const shape = (space: AddressSpace) => space.view.ranges.map((r) => [r.start, r.size, r.region.name, r.offsetInRegion])

describe('flat view', () => {
  it('lets the higher priority win and shows the rest of the lower one on both sides', () => {
    const { space } = spaceOf([Region.ram('ram', new Uint8Array(0x1000)), 0], [device('vga', 0x100).region, 0x400, 1])
    expect(shape(space)).toEqual([[0, 0x400, 'ram', 0], [0x400, 0x100, 'vga', 0], [0x500, 0xb00, 'ram', 0x500]])
  })

  it('lets the later added of equal priorities win, and the later moved', () => {
    const a = device('a', 0x10).region
    const b = device('b', 0x10).region
    const { space } = spaceOf([a, 0], [b, 8])
    expect(shape(space)).toEqual([[0, 8, 'a', 0], [8, 0x10, 'b', 0]])
    a.move(4)
    expect(shape(space)).toEqual([[4, 0x10, 'a', 0], [0x14, 4, 'b', 12]])
  })

  it('keeps priorities local to the parent and lets a hole in a container show what lies below', () => {
    const ram = Region.ram('ram', new Uint8Array(0x100))
    const box = Region.container('box', 0x100)
    box.add(device('inside', 0x10).region, 0x20, -1000)
    const { space } = spaceOf([ram, 0, 0], [box, 0, 1])
    expect(shape(space)).toEqual([[0, 0x20, 'ram', 0], [0x20, 0x10, 'inside', 0], [0x30, 0xd0, 'ram', 0x30]])
  })

  it('shows a region through an alias, split and read-only', () => {
    const ram = Region.ram('ram', new Uint8Array(0x3000))
    const low = Region.alias('low', ram, 0, 0x1000)
    const high = Region.alias('high', ram, 0x1000, 0x2000, { readOnly: true })
    const { space } = spaceOf([low, 0], [high, 0x1_0000_0000])
    expect(shape(space)).toEqual([[0, 0x1000, 'ram', 0], [0x1_0000_0000, 0x2000, 'ram', 0x1000]])
    space.write(0x1_0000_0000, 4, 0x1234)
    expect(space.counters.readOnlyWrites).toBe(1)
    expect(ram.bytes[0x1000]).toBe(0)
    high.setReadOnly(false)
    space.write(0x1_0000_0000, 4, 0x1234)
    expect(ram.bytes[0x1000]).toBe(0x34)
  })

  it('follows changes below an alias target that is in no tree itself', () => {
    const bar = Region.container('bar', 0x100)
    const { space } = spaceOf([Region.alias('window', bar, 0x10, 0x20), 0x1000])
    const child = device('child', 0x10).region
    bar.add(child, 0x18)
    expect(shape(space)).toEqual([[0x1008, 0x10, 'child', 0]])
    child.setEnabled(false)
    expect(shape(space)).toEqual([])
  })

  it('refuses trees that contain themselves, second parents and children of aliases', () => {
    const code = expect.objectContaining({ code: 'REGION' })
    const a = Region.container('a', 16)
    const b = Region.container('b', 16)
    a.add(b, 0)
    expect(() => b.add(a, 0)).toThrow(code)
    expect(() => b.add(Region.alias('loop', a, 0, 16), 0)).toThrow(code)
    expect(() => Region.container('c', 16).add(b, 0)).toThrow(code)
    expect(() => Region.alias('x', a, 0, 16).add(Region.container('d', 1), 0)).toThrow(code)
    expect(() => a.add(Region.container('e', 1), -1)).toThrow(code)
    expect(() => Region.container('e', NaN)).toThrow(code)
    expect(() => a.remove(Region.container('e', 1))).toThrow(code)
  })

  it('renders once per outermost transaction', () => {
    const { root, space } = spaceOf()
    const commit = vi.fn()
    space.addListener({ commit })
    space.transaction(() => {
      root.add(device('a', 16).region, 0)
      space.transaction(() => root.add(device('b', 16).region, 16))
      expect(space.view.ranges.length).toBe(0)
    })
    root.transaction(() => {
      root.add(device('c', 16).region, 32)
      root.add(device('d', 16).region, 48)
    })
    expect(commit).toHaveBeenCalledTimes(3)
    expect(space.view.ranges.length).toBe(4)
    expect(() => space.commit()).toThrow(expect.objectContaining({ code: 'REGION' }))
  })

  it('tells a listener what went, what came and what stayed, in order, and replays on registration', () => {
    const a = device('a', 16).region
    const b = device('b', 16).region
    a.addNotifier({ offset: 4, size: 2, notify: () => undefined })
    const { space } = spaceOf([a, 0], [b, 0x100])
    const log: string[] = []
    const listener: AddressSpaceListener = {
      begin: () => log.push('begin'),
      del: (r) => log.push(`del ${r.region.name}@${r.start}`),
      add: (r) => log.push(`add ${r.region.name}@${r.start}`),
      unchanged: (r) => log.push(`unchanged ${r.region.name}@${r.start}`),
      notifierAdd: (n) => log.push(`notifierAdd ${n.address}`),
      notifierDel: (n) => log.push(`notifierDel ${n.address}`),
      commit: () => log.push('commit'),
    }
    const stop = space.addListener(listener)
    expect(log.splice(0)).toEqual(['begin', 'add a@0', 'add b@256', 'notifierAdd 4', 'commit'])
    a.move(0x200)
    expect(log.splice(0)).toEqual(['begin', 'notifierDel 4', 'del a@0', 'unchanged b@256', 'add a@512', 'notifierAdd 516', 'commit'])
    stop()
    b.setEnabled(false)
    expect(log).toEqual([])
  })

  it('renders again when a listener changes the tree', () => {
    const { root, space } = spaceOf()
    let done = false
    space.addListener({ commit: (view) => {
      if (view.ranges.length !== 1 || done) return
      done = true
      root.add(device('second', 16).region, 16)
    } })
    root.add(device('first', 16).region, 0)
    expect(shape(space)).toEqual([[0, 16, 'first', 0], [16, 16, 'second', 0]])
  })
})

describe('dispatch', () => {
  it('passes an access the device implements as it is', () => {
    const { region, log } = device('d', 0x100)
    const { space } = spaceOf([region, 0x1000])
    expect(space.read(0x1004, 4)).toBe(0x0706_0504)
    space.write(0x1002, 2, 0x1_beef)
    expect(space.read64(0x1008)).toBe(0x1122_3344_5566_7788n)
    space.write64(0x1010, -1n)
    expect(log).toEqual(['r4 4', 'w2 2=beef', 'r8 8', 'w8 10=ffffffffffffffff'])
  })

  it('splits a wider access, low address first', () => {
    const { region, log } = device('d', 0x100, { max: 1 })
    const { space } = spaceOf([region, 0])
    expect(space.read(0x10, 4)).toBe(0x1312_1110)
    space.write(0, 2, 0xaabb)
    space.write64(8, 0x0807_0605_0403_0201n)
    expect(log.splice(0, 6)).toEqual(['r1 10', 'r1 11', 'r1 12', 'r1 13', 'w1 0=bb', 'w1 1=aa'])
    expect(log).toEqual([1, 2, 3, 4, 5, 6, 7, 8].map((n) => `w1 ${(7 + n).toString(16)}=${n}`))
  })

  it('widens a narrower read and pads a narrower write to the cell of the device', () => {
    const { region, log } = device('d', 0x100, { min: 4, max: 4 })
    const { space } = spaceOf([region, 0])
    expect(space.read(0x12, 1)).toBe(0x12)
    expect(space.read(0x12, 2)).toBe(0x1312)
    space.write(0x11, 1, 0xee)
    expect(log).toEqual(['r4 10', 'r4 10', 'w4 10=ee00'])
  })

  it('splits an unaligned access into aligned ones unless the device takes it', () => {
    const aligned = device('aligned', 0x100)
    const cells = device('cells', 0x100, { min: 4, max: 4 })
    const loose = device('loose', 0x100, { unaligned: true })
    const { space } = spaceOf([aligned.region, 0], [cells.region, 0x100], [loose.region, 0x200])
    expect(space.read(0x11, 4)).toBe(0x1413_1211)
    expect(space.read(0x112, 4)).toBe(0x1514_1312)
    expect(space.read(0x211, 4)).toBe(0x1413_1211)
    expect(aligned.log).toEqual(['r1 11', 'r2 12', 'r1 14'])
    expect(cells.log).toEqual(['r4 10', 'r4 14'])
    expect(loose.log).toEqual(['r4 11'])
  })

  it('splits an access that straddles ranges: RAM, device and nothing', () => {
    const ram = Region.ram('ram', new Uint8Array(0x10).fill(0x5a))
    const { region, log } = device('d', 0x2)
    const { space } = spaceOf([ram, 0], [region, 0x10])
    expect(space.read(0xf, 4)).toBe(0xff01_005a)
    space.write(0xf, 4, 0xddcc_bbaa)
    expect(ram.bytes[0xf]).toBe(0xaa)
    expect(log).toEqual(['r2 0', 'w2 0=ccbb'])
    expect(space.counters).toEqual({ unassignedReads: 1, unassignedWrites: 1, readOnlyWrites: 0 })
    expect([...space.readBytes(0xe, 6)]).toEqual([0x5a, 0xaa, 0, 1, 0xff, 0xff])
    space.writeBytes(0xe, Uint8Array.of(1, 2, 3, 4, 5))
    expect([...ram.bytes.subarray(14)]).toEqual([1, 2])
    expect(log.slice(-1)).toEqual(['w2 0=403'])
  })

  it('reads all ones from nothing, drops writes, counts both and logs once per window', () => {
    const onUnassigned = vi.fn()
    const root = Region.container('io', 0x1_0000)
    const space = new AddressSpace('I/O', root, { onUnassigned })
    expect(space.read(0x80, 1)).toBe(0xff)
    expect(space.read(0x84, 2)).toBe(0xffff)
    expect(space.read(0xfffe, 4)).toBe(0xffff_ffff)
    expect(space.read64(0x80)).toBe(0xffff_ffff_ffff_ffffn)
    space.write(0x81, 4, 1)
    expect(space.counters).toEqual({ unassignedReads: 4, unassignedWrites: 1, readOnlyWrites: 0 })
    expect(onUnassigned.mock.calls).toEqual([
      [{ space: 'I/O', address: 0x80, size: 1, isWrite: false }],
      [{ space: 'I/O', address: 0xfffe, size: 4, isWrite: false }],
    ])
  })

  it('logs a bounded number of times however many addresses a guest tries', () => {
    const onUnassigned = vi.fn()
    const space = new AddressSpace('memory', Region.container('m', 2 ** 40), { onUnassigned })
    for (let i = 0; i < 1000; i++) space.read(i * 0x1000, 4)
    expect(onUnassigned).toHaveBeenCalledTimes(256)
    expect(space.counters.unassignedReads).toBe(1000)
  })

  it.each([NaN, -1, 0.5, Infinity, 2 ** 53, 2 ** 53 - 2, 2 ** 64])('answers address %s like nothing and does not throw', (address) => {
    const { space } = spaceOf([Region.ram('ram', new Uint8Array(16)), 0])
    expect(space.read(address, 4)).toBe(0xffff_ffff)
    expect(space.read64(address)).toBe(0xffff_ffff_ffff_ffffn)
    space.write(address, 4, 1)
    space.write64(address, 1n)
    expect([...space.readBytes(address, 2)]).toEqual([0xff, 0xff])
    expect(space.counters.unassignedWrites).toBe(2)
  })

  it('ignores and counts writes to ROM', () => {
    const { space } = spaceOf([Region.rom('bios', Uint8Array.of(1, 2, 3, 4)), 0])
    space.write(0, 4, 0)
    space.write64(0, 0n)
    expect(space.read(0, 4)).toBe(0x0403_0201)
    expect(space.counters.readOnlyWrites).toBe(2)
  })

  it('reads a ROM device from memory, writes it through its ops, and switches', () => {
    const ops = { read: vi.fn(() => 0x77), write: vi.fn() }
    const flash = Region.romd('flash', Uint8Array.of(1, 2, 3, 4), ops)
    const { space } = spaceOf([flash, 0])
    expect(space.read(1, 1)).toBe(2)
    space.write(1, 1, 0x90)
    expect(ops.write).toHaveBeenCalledWith(1, 1, 0x90)
    flash.setRomdMode(false)
    expect(space.view.ranges[0]?.kind).toBe('io')
    expect(space.read(1, 1)).toBe(0x77)
    flash.setRomdMode(true)
    expect(space.read(1, 1)).toBe(2)
  })

  it('triggers a notifier by exact address, size and value, and passes everything else to the device', () => {
    const { region, log } = device('d', 0x100)
    const anySize = vi.fn()
    const matched = vi.fn()
    const wide = vi.fn()
    region.addNotifier({ offset: 0x50, size: 0, notify: anySize })
    region.addNotifier({ offset: 0x60, size: 4, datamatch: 7n, notify: matched })
    region.addNotifier({ offset: 0x70, size: 8, datamatch: 1n, notify: wide })
    const { space } = spaceOf([region, 0x1000])
    space.write(0x1050, 1, 1)
    space.write(0x1050, 4, 2)
    space.write(0x1060, 4, 7)
    space.write(0x1060, 2, 7)
    space.write(0x1060, 4, 8)
    space.write64(0x1070, 1n)
    space.write64(0x1070, 2n)
    expect(space.read(0x1050, 1)).toBe(0x50)
    expect(anySize).toHaveBeenCalledTimes(2)
    expect(matched).toHaveBeenCalledTimes(1)
    expect(wide).toHaveBeenCalledTimes(1)
    expect(log).toEqual(['w2 60=7', 'w4 60=8', 'w8 70=2', 'r1 50'])
  })

  it('shows no notifier whose register is hidden', () => {
    const { region } = device('d', 0x100)
    region.addNotifier({ offset: 0x50, size: 4, notify: () => undefined })
    const cover = device('cover', 1).region
    const { space } = spaceOf([region, 0], [cover, 0x53, 1])
    expect(space.view.notifiers).toEqual([])
    cover.setEnabled(false)
    expect(space.view.notifiers.map((n) => n.address)).toEqual([0x50])
  })

  it('describes the tree and the flat view like info mtree', () => {
    const ram = Region.ram('pc.ram', new Uint8Array(0x2000))
    const { root, space } = spaceOf([Region.alias('ram-low', ram, 0, 0x2000), 0])
    root.add(Region.io('uart', 8, { read: () => 0, write: () => undefined }), 0x1000, 2)
    root.add(Region.container('hole', 0x10, { enabled: false }), 0x4000)
    expect(space.describe()).toBe(`address-space: memory
  0000000000000000-000000ffffffffff (prio 0, i/o): system
    0000000000000000-0000000000001fff (prio 0, ram): alias ram-low @pc.ram 0000000000000000-0000000000001fff
    0000000000001000-0000000000001007 (prio 2, i/o): uart
    0000000000004000-000000000000400f (prio 0, i/o): hole [disabled]

memory-region: pc.ram
  0000000000000000-0000000000001fff (prio 0, ram): pc.ram

FlatView "memory", root: system
  0000000000000000-0000000000000fff (prio 0, ram): pc.ram
  0000000000001000-0000000000001007 (prio 2, i/o): uart
  0000000000001008-0000000000001fff (prio 0, ram): pc.ram @0000000000001008
`)
  })
})
