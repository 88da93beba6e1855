/** One region to the body of one WebAssembly function: control flow, jumps, the stack; everything else is in the other emit files or done by the core. */
import {
  CPL, EVENTS, G_IRQ_DIRTY, G_KICK, GS, MSR_KERNEL_GS_BASE, REGION_DIRECT, REGION_INDIRECT, REGION_RESUME, RFLAGS, SEG, SEG_SIZE,
} from '../core/layout.ts'
import { MEM, OP } from './encoder.ts'
import type { Label } from './encoder.ts'
import { ArithmeticEmitter } from './emit-arithmetic.ts'
import { BitEmitter } from './emit-bits.ts'
import { MoveEmitter } from './emit-move.ts'
import { SseEmitter } from './emit-sse.ts'
import { Flags } from './flags.ts'
import { CPU, ENTRY, Frame, LEFT, V64, VA, X32, Y64 } from './frame.ts'
import { entersWithFlags, neededFlags } from './liveness.ts'
import type { Edge, Node, Region } from './region.ts'
import { conditionOf } from './uops.ts'
import type { Uop } from './uops.ts'

const RSP = 4, RBP = 5
const AUX_SRC_IMM = 16
const FLAG_IF = 0x200

export class RegionEmitter {
  readonly #frame: Frame
  readonly #flags: Flags
  readonly #moves: MoveEmitter
  readonly #arithmetic: ArithmeticEmitter
  readonly #bits: BitEmitter
  readonly #sse: SseEmitter
  readonly #blocks = new Map<Node, Label>()
  readonly #loops = new Map<Node, Label>()
  readonly #wantsFlags = new Map<Node, boolean>()
  /** where the entry is chosen */
  #choice: Label = 0
  readonly #missing: Map<string, number> | undefined

  /** @param missing counts instructions that the core had to do */
  constructor({ root }: Region, missing?: Map<string, number>) {
    this.#missing = missing
    this.#frame = new Frame(root.edges.some(({ target }) => entersWithFlags(target)))
    this.#flags = new Flags(this.#frame)
    this.#moves = new MoveEmitter(this.#frame, this.#flags)
    this.#arithmetic = new ArithmeticEmitter(this.#frame, this.#flags)
    this.#bits = new BitEmitter(this.#frame, this.#flags)
    this.#sse = new SseEmitter(this.#frame, this.#flags)
  }

  emit({ root, nodes }: Region): ReturnType<Frame['finish']> {
    for (const node of nodes) this.#wantsFlags.set(node, entersWithFlags(node))
    const { code } = this.#frame
    const isChosenAgain = nodes.some(({ edges }) => edges.some(({ again }) => again))
    if (isChosenAgain) this.#choice = code.loop()
    this.#node(root)
    if (isChosenAgain) code.op(OP.unreachable).end()
    return this.#frame.finish()
  }

  /** A node and all it dominates. */
  #node(node: Node): void {
    const { code } = this.#frame
    if (node.isLoop) this.#loops.set(node, code.loop())
    const children = [...node.children].sort((a, b) => b.order - a.order)
    for (const child of children) this.#blocks.set(child, code.block())
    if (node.uops.length === 0) this.#choose(node)
    else this.#body(node)
    for (const child of children.reverse()) {
      code.end()
      this.#node(child)
    }
    if (node.isLoop) code.op(OP.unreachable).end() // never fallen out of
  }

  /** From the root to the entry that ENTRY names. */
  #choose(root: Node): void {
    const { code } = this.#frame
    root.edges.forEach(({ target }, index) => {
      const label = this.#blocks.get(target) as Label
      if (index === root.edges.length - 1) code.br(label)
      else code.get(ENTRY).i32(target.first).op(OP.i32_eq).brIf(label)
    })
  }

  #body(node: Node): void {
    this.#flags.dead() // what is in the CC locals is all that is known
    this.#sse.forget()
    const needed = neededFlags(node)
    for (const [index, uop] of node.uops.entries()) {
      this.#frame.index = index
      if (this.#control(node, uop, index)) return
      const isNeeded = needed[index] as boolean
      if (uop.name === 'JCC' || this.#stack(uop) || this.#system(uop) || this.#moves.emit(uop) || this.#arithmetic.emit(uop, isNeeded) || this.#bits.emit(uop, isNeeded) || this.#sse.emit(uop)) continue
      this.#step(uop)
    }
    // The block ended without saying so: the interpreter takes over.
    const last = node.uops[node.uops.length - 1] as Uop
    this.#frame.leave(last.at | REGION_RESUME)
  }

  #step(uop: Uop): void {
    const what = uop.name === 'step' || uop.name === 'SIMD' ? `${uop.op}:${uop.x & 0xffff}` : uop.name + uop.shape + uop.size
    this.#missing?.set(what, (this.#missing.get(what) ?? 0) + 1)
    this.#flags.forget()
    this.#sse.forget()
    this.#frame.step(uop)
    this.#frame.code.get(X32)
    this.#frame.leaveIf(uop, X32)
  }

  /** @returns whether the block ends here for good */
  #control(node: Node, uop: Uop, index: number): boolean {
    const { code } = this.#frame
    const edges = node.edges.filter((edge) => edge.index === index)
    switch (uop.name) {
      case 'JCC':
        this.#flags.condition(conditionOf(uop))
        code.if()
        this.#jump(node, uop, edges[0])
        code.end()
        return false
      case 'JMP':
        this.#jump(node, uop, edges[0])
        return true
      case 'END':
        if (edges[0] === undefined) this.#frame.leave(uop.at | REGION_RESUME)
        else this.#go(node, edges[0], 0, () => { this.#frame.leave(uop.at | REGION_RESUME) })
        return true
      case 'CALL':
        this.#pushReturn(uop, REGION_DIRECT)
        this.#jump(node, uop, edges[0])
        return true
      case 'RET': {
        this.#frame.register(RSP)
        code.set(VA)
        this.#frame.readPointer(uop, 3, true)
        this.#frame.load(3)
        code.set(V64)
        const drop = (): void => {
          code.get(VA).i64(8 + (uop.aux & AUX_SRC_IMM ? uop.low & 0xffff : 0)).op(OP.i64_add)
          this.#frame.setRegister(RSP)
        }
        this.#known(node, uop, edges, V64, drop)
        this.#checkTarget(uop)
        drop()
        this.#leaveTo(uop, V64)
        return true
      }
      case 'JMP_IND': case 'CALL_IND':
        if (uop.shape === 'M') {
          this.#frame.address(uop)
          code.set(VA)
          this.#frame.readPointer(uop, 3)
          this.#frame.load(3)
        } else this.#frame.register(uop.d >> 3)
        code.tee(V64).set(Y64)
        this.#checkTarget(uop)
        if (uop.name === 'CALL_IND') {
          this.#frame.setTarget(Y64)
          this.#pushReturn(uop, REGION_INDIRECT)
        }
        this.#known(node, uop, edges, Y64, () => undefined)
        this.#leaveTo(uop, Y64)
        return true
      case 'STI':
        if (node.uops[index + 1]?.name !== 'END') return false
        this.#frame.leave(uop.at | REGION_RESUME) // its shadow reaches beyond the block
        return true
      case 'leave':
        this.#frame.leave(uop.at | REGION_RESUME)
        return true
      default: return false
    }
  }

  /** System instructions behind which execution just goes on. */
  #system({ name, at }: Uop): boolean {
    if (name !== 'CLI' && name !== 'STI' && name !== 'SWAPGS') return false
    const { code } = this.#frame
    code.get(CPU).memory(MEM.i32_load, CPL)
    if (name === 'STI') {
      // Something waits: the core takes it behind the next instruction.
      code.get(CPU).memory(MEM.i32_load, EVENTS).op(OP.i32_or).i32(0).memory(MEM.i32_load, G_IRQ_DIRTY).op(OP.i32_or).i32(0).memory(MEM.i32_load, G_KICK).op(OP.i32_or)
    }
    code.if()
    this.#frame.leave(at | REGION_RESUME)
    code.end().get(CPU)
    if (name === 'SWAPGS') {
      const base = SEG + GS * SEG_SIZE
      code.get(CPU).memory(MEM.i64_load, base).set(V64).get(CPU).memory(MEM.i64_load, MSR_KERNEL_GS_BASE).memory(MEM.i64_store, base)
      code.get(CPU).get(V64).memory(MEM.i64_store, MSR_KERNEL_GS_BASE)
    } else {
      code.get(CPU).memory(MEM.i32_load, RFLAGS).i32(name === 'STI' ? FLAG_IF : ~FLAG_IF).op(name === 'STI' ? OP.i32_or : OP.i32_and).memory(MEM.i32_store, RFLAGS)
    }
    return true
  }

  #jump(node: Node, uop: Uop, edge: Edge | undefined): void {
    const leave = (): void => { this.#frame.leave(uop.at | REGION_DIRECT) }
    if (edge === undefined) leave()
    else this.#go(node, edge, 1, leave)
  }

  /** Goes where an indirect jump was seen to lead, if it does. @param first what is to be done before */
  #known(node: Node, uop: Uop, edges: readonly Edge[], local: number, first: () => void): void {
    const { code } = this.#frame
    for (const edge of edges) {
      const { target } = edge
      code.get(local)
      this.#frame.page()
      code.i64(target.delta - node.delta + (target.uops[0] as Uop).offset).op(OP.i64_add, OP.i64_eq).if()
      first()
      this.#go(node, edge, 1, () => { this.#leaveTo(uop, local) })
      code.end()
    }
  }

  /** Follows an edge. @param jump instructions that the way out counts itself; `leave` writes that way out */
  #go(node: Node, edge: Edge, jump: number, leave: () => void): void {
    const { code } = this.#frame
    const { target, index, again } = edge
    const move = target.delta - node.delta
    if (move !== 0) this.#frame.checkPage(move, target.page, target.first, leave)
    // The budget; leaves when it is used up, as the interpreter would.
    code.get(LEFT).i32(index + jump).op(OP.i32_sub).tee(X32).i32(0).op(OP.i32_le_s).if()
    leave()
    code.end().get(X32).set(LEFT)
    if (move !== 0) this.#frame.setPage()
    if (this.#wantsFlags.get(target) === true) this.#flags.settle()
    if (again) code.i32(target.first).set(ENTRY).br(this.#choice)
    else code.br((target.order <= node.order ? this.#loops.get(target) : this.#blocks.get(target)) as Label)
  }

  #leaveTo(uop: Uop, local: number): void {
    this.#frame.setTarget(local)
    this.#frame.leave(uop.at | REGION_INDIRECT)
  }

  /** A target in V64 that is not canonical is the interpreter's to refuse; nothing has been changed yet. */
  #checkTarget(uop: Uop): void {
    const { code } = this.#frame
    code.get(V64).i64(16).op(OP.i64_shl).i64(16).op(OP.i64_shr_s).get(V64).op(OP.i64_ne).if()
    this.#frame.leave(uop.at | REGION_RESUME)
    code.end()
  }

  /** @param jump how a region is left whose end is this store: by the jump all the same */
  #pushReturn(uop: Uop, jump: number): void {
    const { code } = this.#frame
    this.#frame.page()
    code.i64(uop.offset + uop.length).op(OP.i64_add).set(V64)
    this.#below()
    const finish = (): void => {
      code.get(VA)
      this.#frame.setRegister(RSP)
    }
    this.#frame.write(uop, 3, V64, { stack: true, finish, jump })
    finish()
  }
  #below(): void {
    this.#frame.register(RSP)
    this.#frame.code.i64(8).op(OP.i64_sub).set(VA)
  }

  #stack(uop: Uop): boolean {
    const { code } = this.#frame
    if (uop.size !== 3) return false
    switch (uop.name) {
      case 'PUSH':
        if (uop.shape === 'M') {
          this.#frame.address(uop)
          code.set(VA)
          this.#frame.readPointer(uop, 3)
          this.#frame.load(3)
        } else if (uop.shape === 'RI') this.#frame.immediate(uop, 3)
        else this.#frame.register(uop.d >> 3)
        code.set(V64)
        this.#below()
        this.#frame.write(uop, 3, V64, { stack: true, finish: () => {
          code.get(VA)
          this.#frame.setRegister(RSP)
        } })
        code.get(VA)
        this.#frame.setRegister(RSP)
        return true
      case 'POP': case 'LEAVE':
        this.#frame.register(uop.name === 'POP' ? RSP : RBP)
        code.set(VA)
        this.#frame.readPointer(uop, 3, true)
        this.#frame.load(3)
        code.set(V64).get(VA).i64(8).op(OP.i64_add)
        this.#frame.setRegister(RSP)
        code.get(V64)
        this.#frame.setRegister(uop.name === 'POP' ? uop.d >> 3 : RBP)
        return true
      default: return false
    }
  }
}
