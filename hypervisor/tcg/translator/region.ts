/**
 * Which blocks become one function: from a hot block along jumps, calls and returns, across pages where the interpreter has been seen to go there, and the order
 * and nesting in which WebAssembly's structured control flow can hold them (dominator tree, after N. Ramsey, "Beyond Relooper", ICFP 2022). An edge that does not fit leaves the region.
 */
import { HEAT_DEAD } from '../core/layout.ts'
import type { Block, Uop, UopReader } from './uops.ts'

export interface Limits {
  readonly blocks: number
  readonly uops: number
  /** entries a successor must have had */
  readonly heat: number
  /** ... a block on another page, or one that is called */
  readonly farHeat: number
  /** ... and no longer once the region has so many instructions */
  readonly farUops: number
}

export interface Edge {
  /** index of the jumping uop */
  readonly index: number
  readonly target: Node
  /** it would make a loop with two ways in: through the choice of the entry */
  again: boolean
}

export interface Node {
  readonly first: number
  readonly uops: readonly Uop[]
  /** how far its page is from the hot block's, in the guest's address space */
  readonly delta: number
  /** where its page is in RAM */
  readonly page: number
  /** Several of one uop: an indirect jump and where it may lead. */
  edges: Edge[]
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

/** Where a direct jump leads, relative to its page. */
function targetOf(uop: Uop): number | undefined {
  if (uop.name === 'JMP' || uop.name === 'JCC' || uop.name === 'CALL') return uop.high === uop.low >> 31 ? uop.low : undefined
  return uop.name === 'END' ? uop.offset : undefined
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
/** Calls whose returns one RET looks for. */
const RETURNS = 4

/**
 * @param wanted first uops of hot blocks: where they are part of the region they become entries
 * @returns undefined when nothing would be gained
 */
export function formRegion(reader: UopReader, first: number, limits: Limits, wanted: ReadonlySet<number> = new Set()): Region | undefined {
  const start = reader.block(first)
  if (start === undefined) return undefined
  const nodes = new Map<number, Node>()
  const roots: Node[] = []
  let size = 0
  const add = (block: Block, delta: number): Node | undefined => {
    const known = nodes.get(block.first)
    if (known !== undefined) return known.delta === delta ? known : undefined
    const uops = body(reader.uops(block))
    if (nodes.size >= limits.blocks || nodes.size > 0 && size + uops.length > limits.uops) return undefined
    size += uops.length
    const node = makeNode(block.first, uops, delta, block.host - block.host % PAGE)
    nodes.set(block.first, node)
    if (wanted.has(block.first) && !isEmpty(node) && roots.length < ENTRIES) roots.push(node)
    return node
  }
  const near = (node: Node, offset: number): Block | undefined => {
    const block = reader.find(node.page + offset)
    return block === undefined || block.heat < limits.heat && !nodes.has(block.first) ? undefined : block
  }
  /** What the interpreter found there last. */
  const far = (hint: number, offset: number | undefined): Block | undefined => {
    const block = reader.hinted(hint)
    if (block === undefined || offset !== undefined && block.host % PAGE !== offset) return undefined
    return (block.heat < limits.farHeat || size > limits.farUops) && !nodes.has(block.first) ? undefined : block
  }
  const entry = add(start, 0)
  if (entry === undefined || isEmpty(entry)) return undefined
  if (!roots.includes(entry)) roots.push(entry)
  /** call -> what is behind it */
  const calls = new Map<Edge, Node>()
  const behind = new Map<Node, Node>()
  const connect = (node: Node, index: number, target: Node | undefined): Edge | undefined => {
    if (target === undefined || isEmpty(target)) return undefined
    const edge = { index, target, again: false }
    node.edges.push(edge)
    return edge
  }
  for (const node of nodes.values()) {
    node.uops.forEach((uop, index) => {
      const isCall = uop.name === 'CALL' || uop.name === 'CALL_IND'
      if (isCall) {
        // A return from a call is another way in, unless it has a region already.
        const offset = uop.offset + uop.length
        const block = offset < PAGE ? near(node, offset) : undefined
        const target = block === undefined || roots.length >= ENTRIES || block.heat >= HEAT_DEAD && !nodes.has(block.first) ? undefined : add(block, node.delta)
        if (target !== undefined && !isEmpty(target)) {
          if (!roots.includes(target)) roots.push(target)
          behind.set(node, target)
        }
      }
      const offset = targetOf(uop)
      let edge: Edge | undefined
      if (offset !== undefined) {
        const delta = Math.floor(offset / PAGE) * PAGE
        const block = delta !== 0 ? far(uop.disp, offset - delta) : isCall ? far(reader.find(node.page + offset)?.first ?? 0, offset) : near(node, offset)
        if (block !== undefined) edge = connect(node, index, add(block, node.delta + delta))
      } else if (uop.name === 'JMP_IND' || uop.name === 'CALL_IND') {
        // How far the pages are from each other is a guess: in RAM as in the guest's address space.
        const block = far(uop.high, undefined)
        if (block !== undefined) edge = connect(node, index, add(block, node.delta + block.host - block.host % PAGE - node.page))
      }
      const after = behind.get(node)
      if (isCall && edge !== undefined && after !== undefined) calls.set(edge, after)
    })
  }
  for (const [{ target }, after] of calls) connectReturns(target, after, behind)
  const root = makeNode(0, [], 0, 0)
  for (const node of roots) addEntry(root, node)
  return { root, nodes: arrange(root), uops: size }
}

/** From each RET of the function that begins with `callee` to what is behind a call of it. */
function connectReturns(callee: Node, after: Node, behind: ReadonlyMap<Node, Node>): void {
  const seen = new Set([callee])
  for (const node of seen) {
    const last = node.uops.length - 1, name = node.uops[last]?.name
    if (name === 'RET') {
      const known = node.edges.filter(({ index }) => index === last)
      if (known.length < RETURNS && !known.some(({ target }) => target === after)) node.edges.push({ index: last, target: after, again: false })
    }
    for (const { index, target } of node.edges) if (index !== last || name !== 'RET' && name !== 'CALL' && name !== 'CALL_IND') seen.add(target)
    const next = behind.get(node)
    if (next !== undefined) seen.add(next)
  }
}

function makeNode(first: number, uops: readonly Uop[], delta: number, page: number): Node {
  return { first, uops, delta, page, edges: [], order: -1, children: [], dominator: undefined, isLoop: false }
}

/** The interpreter would have to take over at once. */
function isEmpty({ uops }: Node): boolean {
  return uops[0]?.name === 'leave' || uops[0]?.name === 'END'
}

function addEntry(root: Node, entry: Node): boolean {
  if (root.edges.some(({ target }) => target === entry)) return true
  if (root.edges.length >= ENTRIES + 4) return false
  root.edges.push({ index: root.edges.length, target: entry, again: false })
  return true
}

/** The nodes to which control goes from a node by itself. */
function successors({ edges }: Node): Node[] {
  return edges.filter(({ again }) => !again).map(({ target }) => target)
}

/** Sets order, dominators and loops. Edges into the middle of loops go through the choice of the entry, or leave the region. */
function arrange(root: Node): Node[] {
  for (;;) {
    const nodes = reversePostOrder(root)
    const predecessors = new Map<Node, Node[]>(nodes.map((node) => [node, []]))
    for (const node of nodes) for (const target of successors(node)) predecessors.get(target)?.push(node)
    dominate(nodes, predecessors)
    let changed = false
    for (const node of nodes) {
      node.edges = node.edges.filter((edge) => {
        const { target, again } = edge
        if (again || target.order > node.order) return true
        if (dominates(target, node)) {
          target.isLoop = true
          return true
        }
        changed = true
        edge.again = true
        return addEntry(root, target)
      })
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
    stack.push({ node, rest: successors(node).reverse() })
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
