/**
 * Which blocks become one function: from a hot block along direct jumps and fall-through inside its page, and the order and nesting in which WebAssembly's
 * structured control flow can hold them (dominator tree, after N. Ramsey, "Beyond Relooper", ICFP 2022). An edge that does not fit leaves the region.
 */
import { HEAT_DEAD } from '../core/layout.ts'
import type { Block, Uop, UopReader } from './uops.ts'

export interface Limits {
  readonly blocks: number
  readonly uops: number
  /** entries a successor must have had */
  readonly heat: number
}

export interface Node {
  readonly first: number
  readonly uops: readonly Uop[]
  /** index of a jumping uop -> its target */
  readonly edges: Map<number, Node>
  /** ... -> its target, an entry, where that edge would make a loop with two ways in: through the choice of the entry */
  readonly again: Map<number, Node>
  /** position in reverse post-order */
  order: number
  /** nodes that this one immediately dominates, in order */
  children: Node[]
  dominator: Node | undefined
  isLoop: boolean
}

export interface Region {
  /** no block of the guest: its edges lead to the entries */
  readonly root: Node
  /** the root first */
  readonly nodes: readonly Node[]
  readonly uops: number
}

const PAGE = 4096

/** Page offset that a uop jumps to inside its page, -1 if it does not. */
function targetInPage(uop: Uop): number {
  if (uop.name === 'JMP' || uop.name === 'JCC') return uop.high === 0 && uop.low >= 0 && uop.low < PAGE ? uop.low : -1
  return uop.name === 'END' && uop.offset < PAGE ? uop.offset : -1
}

/** Uops behind these are never reached from the block's beginning. */
const LAST = new Set(['JMP', 'END', 'RET', 'CALL', 'JMP_IND', 'CALL_IND', 'leave'])

/** The uops of a block up to where control surely leaves it. */
function body(uops: readonly Uop[]): readonly Uop[] {
  const end = uops.findIndex(({ name }) => LAST.has(name))
  return end < 0 ? uops : uops.slice(0, end + 1)
}

/** Ways into one region. The hot block is the first; others are returns from calls, and blocks that are hot, too. */
const ENTRIES = 10

/**
 * @param wanted first uops of hot blocks: where they are part of the region they become entries
 * @returns undefined when nothing would be gained
 */
export function formRegion(reader: UopReader, first: number, limits: Limits, wanted: ReadonlySet<number> = new Set()): Region | undefined {
  const start = reader.block(first)
  if (start === undefined) return undefined
  const page = start.host - start.host % PAGE
  const nodes = new Map<number, Node>()
  const roots: Node[] = []
  let size = 0
  const add = (block: Block): Node | undefined => {
    const known = nodes.get(block.first)
    if (known !== undefined) return known
    const uops = body(reader.uops(block))
    if (nodes.size >= limits.blocks || nodes.size > 0 && size + uops.length > limits.uops) return undefined
    size += uops.length
    const node = makeNode(block.first, uops)
    nodes.set(block.first, node)
    if (wanted.has(block.first) && !isEmpty(node) && roots.length < ENTRIES) roots.push(node)
    return node
  }
  const entry = add(start)
  if (entry === undefined || isEmpty(entry)) return undefined
  if (!roots.includes(entry)) roots.push(entry)
  for (const node of nodes.values()) {
    node.uops.forEach((uop, index) => {
      const back = uop.name === 'CALL' || uop.name === 'CALL_IND'
      const offset = back ? uop.offset + uop.length : targetInPage(uop)
      if (offset < 0 || offset >= PAGE) return
      const block = reader.find(page + offset)
      if (block === undefined || block.heat < limits.heat && !nodes.has(block.first)) return
      // A return from a call is another way in, unless it has a region already.
      if (back && (roots.length >= ENTRIES || block.heat >= HEAT_DEAD)) return
      const target = add(block)
      if (target === undefined || isEmpty(target)) return
      if (!back) node.edges.set(index, target)
      else if (!roots.includes(target)) roots.push(target)
    })
  }
  const root = makeNode(0, [])
  for (const node of roots) addEntry(root, node)
  return { root, nodes: arrange(root), uops: size }
}

function makeNode(first: number, uops: readonly Uop[]): Node {
  return { first, uops, edges: new Map(), again: new Map(), order: -1, children: [], dominator: undefined, isLoop: false }
}

/** The interpreter would have to take over at once. */
function isEmpty({ uops }: Node): boolean {
  return uops[0]?.name === 'leave' || uops[0]?.name === 'END'
}

function addEntry(root: Node, entry: Node): boolean {
  for (const known of root.edges.values()) if (known === entry) return true
  if (root.edges.size >= ENTRIES + 4) return false
  root.edges.set(root.edges.size, entry)
  return true
}

/** Sets order, dominators and loops. Edges into the middle of loops go through the choice of the entry, or leave the region. */
function arrange(root: Node): Node[] {
  for (;;) {
    const nodes = reversePostOrder(root)
    const predecessors = new Map<Node, Node[]>(nodes.map((node) => [node, []]))
    for (const node of nodes) for (const target of node.edges.values()) predecessors.get(target)?.push(node)
    dominate(nodes, predecessors)
    let changed = false
    for (const node of nodes) {
      for (const [index, target] of node.edges) {
        if (target.order > node.order) continue
        if (dominates(target, node)) target.isLoop = true
        else {
          node.edges.delete(index)
          if (addEntry(root, target)) node.again.set(index, target)
          changed = true
        }
      }
    }
    if (changed) continue
    for (const node of nodes) node.dominator?.children.push(node)
    return nodes
  }
}

function reversePostOrder(root: Node): Node[] {
  const seen = new Set<Node>()
  const post: Node[] = []
  const stack: { node: Node; rest: Node[] }[] = []
  const visit = (node: Node): void => {
    seen.add(node)
    stack.push({ node, rest: [...node.edges.values()].reverse() })
  }
  visit(root)
  while (stack.length > 0) {
    const top = stack[stack.length - 1] as { node: Node; rest: Node[] }
    const next = top.rest.pop()
    if (next === undefined) {
      post.push(top.node)
      stack.pop()
    } else if (!seen.has(next)) visit(next)
  }
  const nodes = post.reverse()
  nodes.forEach((node, order) => {
    node.order = order
    node.isLoop = false
    node.children = []
    node.dominator = undefined
  })
  return nodes
}

/** Immediate dominators: K. Cooper, T. Harvey, K. Kennedy, "A Simple, Fast Dominance Algorithm". */
function dominate(nodes: readonly Node[], predecessors: ReadonlyMap<Node, readonly Node[]>): void {
  const entry = nodes[0] as Node
  entry.dominator = entry
  for (let changed = true; changed;) {
    changed = false
    for (const node of nodes) {
      if (node === entry) continue
      let best: Node | undefined
      for (const before of predecessors.get(node) ?? []) {
        if (before.dominator === undefined) continue
        best = best === undefined ? before : meet(best, before)
      }
      if (best !== node.dominator) {
        node.dominator = best
        changed = true
      }
    }
  }
  entry.dominator = undefined
}

function meet(a: Node, b: Node): Node {
  let left = a, right = b
  while (left !== right) {
    while (left.order > right.order) left = left.dominator as Node
    while (right.order > left.order) right = right.dominator as Node
  }
  return left
}

function dominates(a: Node, b: Node): boolean {
  let node: Node | undefined = b
  while (node !== undefined && node.order > a.order) node = node.dominator
  return node === a
}
