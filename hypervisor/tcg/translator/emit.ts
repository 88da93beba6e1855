/** One region to the body of one WebAssembly function: control flow, jumps, the stack; everything else is in the other emit files or done by the core. */
import { REGION_DIRECT, REGION_INDIRECT, REGION_RESUME } from '../core/layout.ts'
import { OP } from './encoder.ts'
import type { Label } from './encoder.ts'
import { ArithmeticEmitter } from './emit-arithmetic.ts'
import { BitEmitter } from './emit-bits.ts'
import { MoveEmitter } from './emit-move.ts'
import { Flags } from './flags.ts'
import { ENTRY, Frame, LEFT, V64, VA, W64, X32 } from './frame.ts'
import { entersWithFlags, neededFlags } from './liveness.ts'
import type { Node, Region } from './region.ts'
import { conditionOf } from './uops.ts'
import type { Uop } from './uops.ts'

const RSP = 4, RBP = 5
const AUX_SRC_IMM = 16

export class RegionEmitter {
  readonly #frame: Frame
  readonly #flags: Flags
  readonly #moves: MoveEmitter
  readonly #arithmetic: ArithmeticEmitter
  readonly #bits: BitEmitter
  readonly #blocks = new Map<Node, Label>()
  readonly #loops = new Map<Node, Label>()
  readonly #wantsFlags = new Map<Node, boolean>()
  /** where the entry is chosen */
  #choice: Label = 0
  readonly #missing: Map<string, number> | undefined

  /** @param missing counts instructions that the core had to do */
  constructor({ root }: Region, missing?: Map<string, number>) {
    this.#missing = missing
    this.#frame = new Frame([...root.edges.values()].some(entersWithFlags))
    this.#flags = new Flags(this.#frame)
    this.#moves = new MoveEmitter(this.#frame, this.#flags)
    this.#arithmetic = new ArithmeticEmitter(this.#frame, this.#flags)
    this.#bits = new BitEmitter(this.#frame, this.#flags)
  }

  emit({ root, nodes }: Region): ReturnType<Frame['finish']> {
    for (const node of nodes) this.#wantsFlags.set(node, entersWithFlags(node))
    const { code } = this.#frame
    const isChosenAgain = nodes.some(({ again }) => again.size > 0)
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
    const entries = [...root.edges.values()]
    entries.forEach((entry, index) => {
      const label = this.#blocks.get(entry) as Label
      if (index === entries.length - 1) code.br(label)
      else code.get(ENTRY).i32(entry.first).op(OP.i32_eq).brIf(label)
    })
  }

  #body(node: Node): void {
    this.#flags.dead() // what is in the CC locals is all that is known
    const needed = neededFlags(node)
    for (const [index, uop] of node.uops.entries()) {
      this.#frame.index = index
      if (this.#control(node, uop, index)) return
      const isNeeded = needed[index] as boolean
      if (uop.name === 'JCC' || this.#stack(uop) || this.#moves.emit(uop) || this.#arithmetic.emit(uop, isNeeded) || this.#bits.emit(uop, isNeeded)) continue
      this.#step(uop)
    }
    // The block ended without saying so: the interpreter takes over.
    const last = node.uops[node.uops.length - 1] as Uop
    this.#frame.leave(last.at | REGION_RESUME)
  }

  #step(uop: Uop): void {
    const what = uop.name === 'step' ? `${uop.op}:${uop.x & 0xffff}` : uop.name + uop.shape + uop.size
    this.#missing?.set(what, (this.#missing.get(what) ?? 0) + 1)
    this.#flags.forget()
    this.#frame.step(uop)
    this.#frame.code.get(X32)
    this.#frame.leaveIf(uop, X32)
  }

  /** @returns whether the block ends here for good */
  #control(node: Node, uop: Uop, index: number): boolean {
    const { code } = this.#frame
    const target = node.edges.get(index) ?? node.again.get(index)
    switch (uop.name) {
      case 'JCC':
        this.#flags.condition(conditionOf(uop))
        code.if()
        this.#jump(node, uop, target)
        code.end()
        return false
      case 'JMP':
        this.#jump(node, uop, target)
        return true
      case 'END':
        if (target === undefined) this.#frame.leave(uop.at | REGION_RESUME)
        else {
          this.#spend(uop.at | REGION_RESUME, index, 0)
          this.#branch(node, target, index)
        }
        return true
      case 'CALL':
        this.#pushReturn(uop)
        this.#frame.leave(uop.at | REGION_DIRECT)
        return true
      case 'RET':
        this.#frame.register(RSP)
        code.set(VA)
        this.#frame.readPointer(uop, 3, true)
        this.#frame.load(3)
        code.set(V64)
        this.#checkTarget(uop)
        code.get(VA).i64(8 + (uop.aux & AUX_SRC_IMM ? uop.low & 0xffff : 0)).op(OP.i64_add)
        this.#frame.setRegister(RSP)
        this.#frame.setTarget(V64)
        this.#frame.leave(uop.at | REGION_INDIRECT)
        return true
      case 'JMP_IND': case 'CALL_IND':
        if (uop.shape === 'M') {
          this.#frame.address(uop)
          code.set(VA)
          this.#frame.readPointer(uop, 3)
          this.#frame.load(3)
        } else this.#frame.register(uop.d >> 3)
        code.set(V64)
        this.#checkTarget(uop)
        if (uop.name === 'CALL_IND') {
          code.get(V64).set(W64)
          this.#pushReturn(uop)
          this.#frame.setTarget(W64)
        } else this.#frame.setTarget(V64)
        this.#frame.leave(uop.at | REGION_INDIRECT)
        return true
      case 'leave':
        this.#frame.leave(uop.at | REGION_RESUME)
        return true
      default: return false
    }
  }

  #jump(node: Node, uop: Uop, target: Node | undefined): void {
    if (target === undefined) {
      this.#frame.leave(uop.at | REGION_DIRECT)
      return
    }
    this.#spend(uop.at | REGION_DIRECT, this.#frame.index + 1, 1)
    this.#branch(node, target, this.#frame.index)
  }

  /** Takes `count` uops from the budget; leaves when it is used up, as the interpreter would. @param back what the way out counts itself */
  #spend(what: number, count: number, back: number): void {
    const { code } = this.#frame
    code.get(LEFT).i32(count).op(OP.i32_sub).tee(LEFT).i32(0).op(OP.i32_le_s).if()
    this.#frame.leave(what, -back)
    code.end()
  }

  #branch(node: Node, target: Node, index: number): void {
    if (this.#wantsFlags.get(target) === true) this.#flags.settle()
    if (node.again.has(index)) {
      this.#frame.code.i32(target.first).set(ENTRY).br(this.#choice)
      return
    }
    this.#frame.code.br((target.order <= node.order ? this.#loops.get(target) : this.#blocks.get(target)) as Label)
  }

  /** A target in V64 that is not canonical is the interpreter's to refuse; nothing has been changed yet. */
  #checkTarget(uop: Uop): void {
    const { code } = this.#frame
    code.get(V64).i64(16).op(OP.i64_shl).i64(16).op(OP.i64_shr_s).get(V64).op(OP.i64_ne).if()
    this.#frame.leave(uop.at | REGION_RESUME)
    code.end()
  }

  #pushReturn(uop: Uop): void {
    const { code } = this.#frame
    this.#frame.page()
    code.i64(uop.offset + uop.length).op(OP.i64_add).set(V64)
    this.#below()
    // A store that ends the region leaves by the jump all the same.
    this.#frame.write(uop, 3, V64, { stack: true, ignore: true })
    code.get(VA)
    this.#frame.setRegister(RSP)
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
