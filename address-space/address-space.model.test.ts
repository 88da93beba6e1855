import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { AddressSpace } from './address-space.ts'
import type { FlatNotifier, FlatRange } from './flat-view.ts'
import { Region } from './region.ts'

/**
 * The naive model: which region's which byte is seen at each of the first bytes of the space, computed byte by byte from a plain copy of the tree.
 */
const SPACE = 96

interface Node {
  readonly kind: 'ram' | 'rom' | 'romd' | 'io' | 'container' | 'alias'
  readonly region: Region
  size: number
  offset: number
  priority: number
  /** larger = added or moved later */
  sequence: number
  enabled: boolean
  readOnly: boolean
  romd: boolean
  parent: Node | undefined
  readonly target: Node | undefined
  readonly targetOffset: number
}

interface Seen { readonly region: Region; readonly offset: number; readonly readOnly: boolean; readonly io: boolean }

function see(nodes: readonly Node[], node: Node, at: number, readOnly: boolean): Seen | undefined {
  if (!node.enabled || at < 0 || at >= node.size) return undefined
  const dropsWrites = readOnly || node.readOnly
  if (node.target !== undefined) return see(nodes, node.target, at + node.targetOffset, dropsWrites)
  const children = nodes.filter((other) => other.parent === node).sort((a, b) => b.priority - a.priority || b.sequence - a.sequence)
  for (const child of children) {
    const seen = see(nodes, child, at - child.offset, dropsWrites)
    if (seen !== undefined) return seen
  }
  if (node.kind === 'container') return undefined
  return { region: node.region, offset: at, readOnly: dropsWrites, io: node.kind === 'io' || (node.kind === 'romd' && !node.romd) }
}

const kinds = ['ram', 'rom', 'romd', 'io', 'container', 'alias'] as const
const small = fc.integer({ min: 0, max: 60 })
const action = fc.record({
  what: fc.constantFrom('create', 'add', 'remove', 'move', 'resize', 'enable', 'readOnly', 'romd', 'notifier'),
  kind: fc.constantFrom(...kinds),
  node: fc.nat(30),
  other: fc.nat(30),
  offset: small,
  size: fc.integer({ min: 1, max: 64 }),
  priority: fc.integer({ min: -1, max: 2 }),
  flag: fc.boolean(),
})
type Action = typeof action extends fc.Arbitrary<infer T> ? T : never

class Model {
  readonly nodes: Node[] = []
  #sequence = 0

  constructor() {
    this.#push('container', Region.container('root', SPACE), undefined, 0)
  }

  get root(): Node {
    return this.nodes[0] as Node
  }

  #push(kind: Node['kind'], region: Region, target: Node | undefined, targetOffset: number): void {
    const { size } = region
    this.nodes.push({
      kind, region, size, offset: 0, priority: 0, sequence: 0, enabled: true, readOnly: kind === 'rom', romd: true, parent: undefined, target, targetOffset,
    })
  }

  apply(step: Action): void {
    const node = this.nodes[step.node % this.nodes.length] as Node
    const other = this.nodes[step.other % this.nodes.length] as Node
    switch (step.what) {
      case 'create': return this.#create(step, other)
      case 'add': return this.#add(step, node, other)
      case 'remove':
        if (node.parent === undefined) return
        node.parent.region.remove(node.region)
        node.parent = undefined
        return
      case 'move':
        if (node.offset === step.offset && node.priority === step.priority) return
        node.region.move(step.offset, step.priority)
        node.offset = step.offset
        node.priority = step.priority
        node.sequence = ++this.#sequence
        return
      case 'resize': {
        const size = node.region.bytes.length > 0 ? Math.min(step.size, node.region.bytes.length) : step.size
        if (node === this.root) return
        node.region.resize(size)
        node.size = size
        return
      }
      case 'enable':
        node.region.setEnabled(step.flag)
        node.enabled = step.flag
        return
      case 'readOnly':
        node.region.setReadOnly(step.flag)
        node.readOnly = step.flag
        return
      case 'romd':
        if (node.kind !== 'romd') return
        node.region.setRomdMode(step.flag)
        node.romd = step.flag
        return
      case 'notifier':
        if (node.kind === 'io' && step.offset < node.size) node.region.addNotifier({ offset: step.offset, size: 1, notify: () => undefined })
        return
    }
  }

  #create({ kind, size, offset }: Action, other: Node): void {
    const name = `${kind}${this.nodes.length}`
    const ops = { read: () => 0, write: () => undefined }
    if (kind === 'alias') this.#push(kind, Region.alias(name, other.region, offset, size), other, offset)
    else if (kind === 'container') this.#push(kind, Region.container(name, size), undefined, 0)
    else if (kind === 'io') this.#push(kind, Region.io(name, size, ops), undefined, 0)
    else if (kind === 'romd') this.#push(kind, Region.romd(name, new Uint8Array(size), ops), undefined, 0)
    else this.#push(kind, Region[kind](name, new Uint8Array(size)), undefined, 0)
  }

  #add({ offset, priority }: Action, parent: Node, child: Node): void {
    const allowed = parent.kind !== 'alias' && child.parent === undefined && child !== this.root && !this.#reaches(child, parent)
    if (!allowed) {
      expect(() => {
        if (child === this.root) throw new Error('the root of the space stays on top in this test')
        parent.region.add(child.region, offset, priority)
      }).toThrow()
      return
    }
    parent.region.add(child.region, offset, priority)
    child.parent = parent
    child.offset = offset
    child.priority = priority
    child.sequence = ++this.#sequence
  }

  #reaches(from: Node, wanted: Node): boolean {
    if (from === wanted || (from.target !== undefined && this.#reaches(from.target, wanted))) return true
    return this.nodes.some((child) => child.parent === from && this.#reaches(child, wanted))
  }
}

/** A listener that holds only what the deltas told it, and checks their form. */
function follower() {
  const ranges = new Set<FlatRange>()
  const notifiers = new Set<FlatNotifier>()
  let open = false
  let unchanged = new Set<FlatRange>()
  let added = new Set<FlatRange>()
  return {
    ranges,
    notifiers,
    begin() {
      expect(open).toBe(false)
      open = true
      unchanged = new Set()
      added = new Set()
    },
    del(range: FlatRange) {
      expect(open && ranges.delete(range)).toBe(true)
      expect(added.size + unchanged.size).toBe(0)
    },
    add(range: FlatRange) {
      expect(open && !ranges.has(range)).toBe(true)
      ranges.add(range)
      added.add(range)
    },
    unchanged(range: FlatRange) {
      expect(open && ranges.has(range)).toBe(true)
      unchanged.add(range)
    },
    notifierAdd(notifier: FlatNotifier) {
      expect(notifiers.has(notifier)).toBe(false)
      notifiers.add(notifier)
    },
    notifierDel(notifier: FlatNotifier) {
      expect(notifiers.delete(notifier)).toBe(true)
    },
    commit() {
      expect(open).toBe(true)
      expect(added.size + unchanged.size).toBe(ranges.size)
      open = false
    },
  }
}

function checkAgainstModel(space: AddressSpace, model: Model): void {
  let previousEnd = 0
  for (const { start, size } of space.view.ranges) {
    expect(start).toBeGreaterThanOrEqual(previousEnd)
    expect(size).toBeGreaterThan(0)
    previousEnd = start + size
  }
  for (let at = 0; at < SPACE; at++) {
    const range = space.view.find(at)
    const actual = range && { region: range.region, offset: at - range.start + range.offsetInRegion, readOnly: range.readOnly, io: range.kind === 'io' }
    const expected = see(model.nodes, model.root, at, false)
    expect(actual?.region.name).toBe(expected?.region.name)
    expect(actual).toEqual(expected)
    const doorbells = expected?.io === true ? expected.region.notifiers.filter((notifier) => notifier.offset === expected.offset) : []
    expect(space.view.notifiers.filter((notifier) => notifier.address === at).map((notifier) => notifier.notifier)).toEqual(doorbells)
  }
}

describe('address space against the naive model', () => {
  it('shows every byte as the model does, through random trees and changes, and its deltas rebuild the view', () => {
    fc.assert(fc.property(fc.array(fc.array(action, { minLength: 1, maxLength: 6 }), { maxLength: 20 }), (transactions) => {
      const model = new Model()
      const space = new AddressSpace('model', model.root.region)
      const listener = follower()
      space.addListener(listener)
      for (const steps of transactions) {
        if (steps.length === 1) steps.forEach((step) => model.apply(step))
        else space.transaction(() => steps.forEach((step) => model.apply(step)))
        expect([...listener.ranges].sort((a, b) => a.start - b.start)).toEqual(space.view.ranges)
        expect(listener.notifiers).toEqual(new Set(space.view.notifiers))
      }
      checkAgainstModel(space, model)
      const late = follower()
      space.addListener(late)
      expect([...late.ranges]).toEqual(space.view.ranges)
    }), { numRuns: 400, interruptAfterTimeLimit: 10_000 })
  })

  it('reads and writes RAM at random places and sizes as a byte array would', () => {
    const access = fc.tuple(fc.integer({ min: 0, max: 70 }), fc.constantFrom(1 as const, 2 as const, 4 as const, 8 as const), fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }))
    fc.assert(fc.property(fc.array(access, { maxLength: 30 }), (accesses) => {
      const root = Region.container('root', 80)
      const [a, b, c] = [Region.ram('a', new Uint8Array(20)), Region.ram('b', new Uint8Array(20)), Region.rom('c', new Uint8Array(10).fill(0x33))]
      root.add(a, 0)
      root.add(Region.alias('b-upper', b, 5, 15), 20)
      root.add(c, 40)
      const space = new AddressSpace('bytes', root)
      const bytes = new Uint8Array(80).fill(0xff)
      bytes.fill(0, 0, 35)
      bytes.fill(0x33, 40, 50)
      for (const [at, size, value] of accesses) {
        if (size === 8) space.write64(at, value)
        else space.write(at, size, Number(BigInt.asUintN(32, value)))
        for (let i = 0; i < size; i++) if (at + i < 35) bytes[at + i] = Number((value >> BigInt(8 * i)) & 0xffn)
        let expected = 0n
        for (let i = size - 1; i >= 0; i--) expected = (expected << 8n) | BigInt(bytes[at + i] ?? 0xff)
        expect(size === 8 ? space.read64(at) : BigInt(space.read(at, size))).toBe(expected)
      }
      expect(space.readBytes(0, 80)).toEqual(bytes)
    }), { numRuns: 150 })
  })
})
