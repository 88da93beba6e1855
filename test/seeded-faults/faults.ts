/**
 * Faults for the software CPU: small wrong edits of its source, each of a kind that a person could make. test/full/seeded-faults.test.ts builds a
 * core with each of them and demands that the instruction vectors or the bare-metal guest notice. An edit that no program could tell (a TLB
 * that forgets too much, a flag that is undefined anyway) does not belong here.
 */

/** The check that must notice: vectors of these families, or the guest. */
export type Check = { readonly by: 'vectors', readonly units: readonly string[] } | { readonly by: 'guest' }

export interface Fault {
  /** A sentence about the faulty CPU. */
  readonly name: string
  /** Source file in hypervisor/tcg/core. */
  readonly file: string
  /** Exact text of the source. */
  readonly find: string
  readonly replace: string
  /** How often `find` occurs, 1 unless said otherwise; every occurrence is replaced. */
  readonly times?: number
  readonly caught: Check
}

const integer: Check = { by: 'vectors', units: ['int', 'int-32'] }
const sse: Check = { by: 'vectors', units: ['sse'] }
const mmx: Check = { by: 'vectors', units: ['mmx'] }
const x87: Check = { by: 'vectors', units: ['x87'] }
const guest: Check = { by: 'guest' }

const INTEGER: readonly Fault[] = [
  { name: 'ADC forgets its carry in when it computes the carry out', file: 'flags.ts', caught: integer,
    find: 'case CC_ADC >> 2: return load<u64>(cpu, CC_SRC2) ? u32(<u64>dst <= <u64>src) : u32(<u64>dst < <u64>src)',
    replace: 'case CC_ADC >> 2: return u32(<u64>dst < <u64>src)' },
  { name: 'AF of a subtraction misses the borrow', file: 'flags.ts', caught: integer,
    find: 'case CC_SUB >> 2: return <u32>((dst + src) ^ src ^ dst) & FL_AF', replace: 'case CC_SUB >> 2: return <u32>(src ^ dst) & FL_AF' },
  { name: 'OF of a one-bit left shift is the sign of the result', file: 'flags.ts', caught: integer,
    find: 'case CC_SHL >> 2: return u32((src ^ dst) < 0)', replace: 'case CC_SHL >> 2: return u32(dst < 0)' },
  { name: 'PF counts the bits of the whole result', file: 'flags.ts', caught: integer,
    find: '~popcnt<u32>(<u32>load<u8>(cpu, CC_DST)) & 1', replace: '~popcnt<u32>(load<u32>(cpu, CC_DST)) & 1' },
  { name: 'INC and DEC change the carry flag', file: 'alu.ts', caught: integer,
    find: 'setcc(cpu, CC_INC + size, r, carry)', replace: 'setcc(cpu, CC_ADD + size, r, 1)' },
  { name: 'fast handlers sign-extend 32-bit results', file: 'exec-inline.ts', caught: integer,
    find: '<u64>value & 0xffffffff) } // a cast', replace: '<i64>value) } // a cast' },
  { name: '16-bit results clear the rest of the register', file: 'operand.ts', caught: integer,
    find: 'else if (size == 1) store<u16>(cpu + offset, <u16>value)', replace: 'else if (size == 1) store<u64>(cpu + offset, value & 0xffff)' },
  { name: 'AH, CH, DH and BH are SPL, BPL, SIL and DIL', file: 'decode.ts', caught: integer,
    find: 'if (size == 0 && !rex && n >= 4 && n < 8) return GPR + (n - 4) * 8 + 1', replace: 'if (false) return 0' },
  { name: '64-bit shifts use five bits of the count', file: 'alu.ts', times: 2, caught: integer,
    find: 'const count = amount & (size == 3 ? 63 : 31)', replace: 'const count = amount & 31' },
  { name: 'RCL by more than the width of 8 and 16 bits is not reduced', file: 'alu.ts', caught: integer,
    find: 'const n = size >= 2 ? count : count % (bits + 1)', replace: 'const n = count % bits' },
  { name: 'the high half of a 128-bit product loses a carry', file: 'math128.ts', caught: integer,
    find: 'return ah * bh + (lh >> 32) + (hl >> 32) + (mid >> 32)', replace: 'return ah * bh + (lh >> 32) + (hl >> 32)' },
  { name: 'DIV lets a quotient of one bit too many through', file: 'alu.ts', caught: integer,
    find: 'if (quotient > mask(size)) return false', replace: 'if (quotient >> 1 > mask(size)) return false' },
  { name: 'IDIV rejects the most negative quotient', file: 'alu.ts', caught: integer,
    find: 'negativeQuotient ? quotient > limit', replace: 'negativeQuotient ? quotient >= limit' },
  { name: 'a negative bit offset of BT reaches upwards', file: 'bits.ts', caught: integer,
    find: '(index >> <i64>(3 + size)) << <i64>size', replace: '(<i64>(<u64>index >> <u64>(3 + size))) << <i64>size' },
  { name: 'a false CMOV leaves the upper half of a 32-bit destination', file: 'generic.ts', caught: integer,
    find: 'else if (size == 2) writeRegister(cpu, load<u16>(u, UOP_D), 2, load<u32>(cpu + load<u16>(u, UOP_D)))', replace: '' },
  { name: 'string instructions step down by one byte whatever their size', file: 'string.ts', caught: integer,
    find: '? 0 - (<u64>1 << size) :', replace: '? 0 - <u64>1 :' },
  { name: 'REPE and REPNE do not count the element that ends them', file: 'string.ts', times: 2, caught: integer,
    find: 'if (!repeated) return 0\n    writeRegister(cpu, RCX, w, count)\n    if (ends(cpu, aux)) return 0\n',
    replace: 'if (!repeated || ends(cpu, aux)) return 0\n    writeRegister(cpu, RCX, w, count)\n' },
  { name: 'CMPXCHG8B compares the low half only', file: 'bits.ts', caught: integer,
    find: 'const equal = value == (<u64>load<u32>(cpu, GPR) | (<u64>load<u32>(cpu, GPR + 16) << 32))',
    replace: 'const equal = <u32>value == load<u32>(cpu, GPR)' },
  { name: 'CRC32 uses the polynomial of Ethernet', file: 'alu.ts', caught: integer,
    find: '0x82f63b78', replace: '0xedb88320' },
  { name: 'a jump on CF is taken when the operands of a 32-bit comparison are equal', file: 'exec-inline.ts', caught: guest,
    find: 'return u32(load<u32>(cpu, CC_DST) + load<u32>(cpu, CC_SRC) < load<u32>(cpu, CC_SRC))',
    replace: 'return u32(load<u32>(cpu, CC_DST) + load<u32>(cpu, CC_SRC) <= load<u32>(cpu, CC_SRC))' },
  { name: 'JL compares 64-bit operands as unsigned numbers', file: 'exec-inline.ts', caught: guest,
    find: 'return u32(load<i64>(cpu, CC_DST) + load<i64>(cpu, CC_SRC) < load<i64>(cpu, CC_SRC))',
    replace: 'return u32(load<u64>(cpu, CC_DST) + load<u64>(cpu, CC_SRC) < load<u64>(cpu, CC_SRC))' },
]

const VECTOR: readonly Fault[] = [
  { name: 'PADDSW of XMM registers wraps', file: 'sse-int.ts', caught: sse,
    find: 'i16x8.add_sat_s(get(d), get(s))', replace: 'i16x8.add(get(d), get(s))' },
  { name: 'PMULHRSW saturates', file: 'sse-int.ts', caught: sse,
    find: 'return v128.xor(i16x8.q15mulr_sat_s(a, b), v128.and(i16x8.eq(a, least), i16x8.eq(b, least)))',
    replace: 'return i16x8.q15mulr_sat_s(a, b)' },
  { name: 'an inexact product of singles does not set the precision flag', file: 'sse-lane.ts', caught: sse,
    find: '(free || <f64>a * <f64>b == <f64>r)', replace: 'true' },
  { name: 'MIN and MAX return the first operand when one is a NaN', file: 'sse-lane.ts', times: 2, caught: sse,
    find: 'const r = order == (kind == MIN ? -1 : 1) ? a : b', replace: 'const r = order == 2 || order == (kind == MIN ? -1 : 1) ? a : b' },
  { name: 'UCOMISS raises the invalid exception for quiet NaNs', file: 'sse-fp.ts', caught: sse,
    find: 'case SSE_UCOMISS: return compare32(cpu, d, s, false)', replace: 'case SSE_UCOMISS: return compare32(cpu, d, s, true)' },
  { name: 'a result that is flushed to zero is not inexact', file: 'softfloat-core.ts', caught: sse,
    find: 'sfFlags |= UE | PE\n      return ZERO', replace: 'sfFlags |= UE\n      return ZERO' },
  { name: 'PCMPESTRI takes a negative length as zero', file: 'sse-str.ts', caught: sse,
    find: 'length < 0 ? -length : length', replace: 'length < 0 ? 0 : length' },
  { name: 'MMX instructions leave the x87 tags as they were', file: 'simd.ts', caught: mmx,
    find: '  store<u8>(cpu, 0xff, FTW)\n', replace: '' },
  { name: 'x87 arithmetic ignores precision control', file: 'x87-state.ts', caught: x87,
    find: 'fxSetPrecision(precision == 0 ? 24 : precision == 2 ? 53 : 64)', replace: 'fxSetPrecision(64)' },
  { name: 'x87 stack overflow is reported as underflow', file: 'x87-state.ts', caught: x87,
    find: 'setC1(overflow)', replace: 'setC1(false)' },
  { name: 'an unmasked invalid operand still pops the x87 stack', file: 'x87-basic.ts', caught: x87,
    find: 'if (commit()) return\n  writeResult(target)\n', replace: 'if (!commit()) writeResult(target)\n' },
  { name: 'FCOM calls a NaN greater', file: 'x87-basic.ts', caught: x87,
    find: 'order == 2 ? C3 | C2 | C0 : order < 0', replace: 'order == 2 ? 0 : order < 0' },
  { name: 'LDMXCSR accepts reserved bits', file: 'x87.ts', caught: guest,
    find: '      if (value >> 16) return VECTOR_GP\n', replace: '' },
]

const PAGING: readonly Fault[] = [
  { name: 'a store across a page boundary goes to the next physical page', file: 'access.ts', caught: guest,
    find: 'scatter(cpu, from + first, ramBehind(cpu, phys2), phys2, size - first)',
    replace: 'scatter(cpu, from + first, ramBehind(cpu, phys1 + first), phys1 + first, size - first)' },
  { name: 'a store across a page boundary writes before the second page is checked', file: 'access.ts', caught: guest,
    find: '  const phys1 = xlPhys\n  translate(cpu, second, ACCESS_WRITE, user)\n',
    replace: '  const phys1 = xlPhys\n  scatter(cpu, from, physToHost(phys1), phys1, first)\n  translate(cpu, second, ACCESS_WRITE, user)\n' },
  { name: 'the error code of a page fault does not tell user mode', file: 'paging.ts', caught: guest,
    find: '(u32(user) << 2)', replace: '0' },
  { name: 'the error code of a page fault has no instruction bit', file: 'paging.ts', caught: guest,
    find: 'code |= 16', replace: 'code |= 0' },
  { name: 'a write does not set the dirty bit', file: 'paging.ts', caught: guest,
    find: 'access == ACCESS_WRITE ? 0x60 : 0x20', replace: '0x20' },
  { name: 'the accessed bit of upper levels stays clear', file: 'paging.ts', caught: guest,
    find: 'if (a2 && !(e2 & 0x20)) updateEntry(a2, e2, 0x20, wide)', replace: '' },
  { name: 'NX counts on the upper levels only', file: 'paging.ts', caught: guest,
    find: '; nx = nx || (entry >> 63) != 0\n      }\n    }', replace: '\n      }\n    }' },
  { name: 'ring 0 writes to read-only pages in spite of CR0.WP', file: 'paging.ts', caught: guest,
    find: '(!user && !(cr0 & 0x10000))', replace: '!user' },
  { name: 'SMEP does nothing', file: 'paging.ts', caught: guest,
    find: '(!user && us && (cr4 & 0x100000) != 0)', replace: 'false' },
  { name: 'reserved bits of a 2 MiB page are ignored', file: 'paging.ts', caught: guest,
    find: 'entry & (reserved | 0x1fe000)', replace: 'entry & reserved' },
  { name: 'INVLPG drops one small piece of a 2 MiB page', file: 'tlb.ts', caught: guest,
    find: 'if (load<u64>(cpu, TLB_LARGE) & reachBit(va)) {', replace: 'if (false) {' },
  { name: 'a change of CR3 keeps entries that are not global', file: 'tlb.ts', caught: guest,
    find: 'store<u32>(cpu, count + 1, TLB_FILLED_COUNT)', replace: '' },
  { name: 'an indirect jump does not notice that its page is mapped elsewhere', file: 'jump-cache.ts', caught: guest,
    find: ' && <usize>rip + load<u32>(entry, 8) == load<u32>(u - BLOCK_BYTES, BLOCK_HOST)', replace: '' },
  { name: 'INVLPG keeps the entry for stores', file: 'tlb.ts', caught: guest,
    find: 'for (let array: usize = 0; array < 6; array++) {', replace: 'for (let array: usize = 0; array < 6; array += 3) {' },
  { name: 'a load of CR3 keeps what the TLB holds', file: 'control.ts', caught: guest,
    find: 'store<u64>(cpu, value, CR3)\n  flushTlb(cpu, (load<u32>(cpu, CR4) & 0x80) != 0)', replace: 'store<u64>(cpu, value, CR3)' },
  { name: 'a change of CR4.PGE keeps global pages', file: 'control.ts', caught: guest,
    find: 'if ((old ^ value) & 0x1000b0) flushTlb(cpu, false)', replace: 'if ((old ^ value) & 0x1000b0) flushTlb(cpu, true)' },
]

const PRIVILEGE: readonly Fault[] = [
  { name: 'an interrupt gate uses the neighbour of its IST entry', file: 'interrupt.ts', caught: guest,
    find: 'ist ? 28 + ist * 8', replace: 'ist ? 36 + ist * 8' },
  { name: 'the frame of an interrupt from ring 3 is pushed with the rights of ring 3', file: 'interrupt.ts', caught: guest,
    find: 'const user = newCpl == 3', replace: 'const user = cpl == 3' },
  { name: 'the stack of a handler is not aligned to 16 bytes', file: 'interrupt.ts', caught: guest,
    find: 'frameVa = sp & ~15', replace: 'frameVa = sp' },
  { name: 'a contributory exception during a page fault is no double fault', file: 'interrupt.ts', caught: guest,
    find: '(vector == VEC_PF && (contributory(second) || second == VEC_PF))', replace: '(vector == VEC_PF && second == VEC_PF)' },
  { name: 'software may call gates of inner rings', file: 'interrupt.ts', caught: guest,
    find: 'if (kind == KIND_SOFTWARE && ((high >> 13) & 3) < cpl)', replace: 'if (false)' },
  { name: 'IRET in long mode ignores NT', file: 'interrupt.ts', caught: guest,
    find: 'if (isLong(cpu)) { raise(cpu, VEC_GP, 0); return 0 }\n    const link', replace: 'const link' },
  { name: 'IRET in ring 3 sets IF', file: 'interrupt.ts', caught: guest,
    find: 'if (cpl <= (load<u32>(cpu, RFLAGS) >> 12 & 3)) mask |= FL_IF', replace: 'mask |= FL_IF' },
  { name: 'POPF in ring 3 changes IF', file: 'system.ts', caught: guest,
    find: '|| cpl <= iopl) mask |= FL_IF', replace: '|| true) mask |= FL_IF' },
  { name: 'SYSRET loads SS with RPL 0', file: 'far.ts', caught: guest,
    find: 'flatSegment(cpu, SS, ((selector + 8) & 0xfffc) | 3, DATA | 0x6000)',
    replace: 'flatSegment(cpu, SS, (selector + 8) & 0xfffc, DATA | 0x6000)' },
  { name: 'SYSCALL keeps the flags that FMASK names', file: 'far.ts', caught: guest,
    find: 'setRflags(cpu, 0, load<u64>(cpu, MSR_FMASK) | FL_RF)', replace: 'setRflags(cpu, 0, FL_RF)' },
  { name: 'a return to an outer ring keeps data segments of the inner one', file: 'segment.ts', caught: guest,
    find: 'if (!conforming && ((attributes >> 13) & 3) < cpl) setNull(cpu, index, 0)', replace: '' },
  { name: 'the first byte of an expand-down segment is the limit itself', file: 'address.ts', caught: guest,
    find: 'if (offset <= limit || last > top) ok = false', replace: 'if (offset < limit || last > top) ok = false' },
  { name: 'a segment limit checks the first byte of an operand', file: 'address.ts', caught: guest,
    find: 'else if (last > limit) ok = false', replace: 'else if (offset > limit) ok = false' },
  { name: 'the I/O permission map is asked for the first port only', file: 'port-io.ts', caught: guest,
    find: '((1 << bytes) - 1))) return true', replace: '1)) return true' },
  { name: 'LTR does not mark the task busy', file: 'descriptor-register.ts', caught: guest,
    find: 'high = descHigh | 0x200', replace: 'high = descHigh' },
  { name: 'a task switch does not set CR0.TS', file: 'task.ts', caught: guest,
    find: 'store<u64>(cpu, load<u64>(cpu, CR0) | 8, CR0) // TS', replace: '' },
  { name: 'STI lets interrupts in at once', file: 'system.ts', caught: guest,
    find: 'if (!(load<u32>(cpu, RFLAGS) & FL_IF)) store<u32>(cpu, 1, INHIBIT)', replace: '' },
  { name: 'MOV SS has no interrupt shadow', file: 'segment-load.ts', caught: guest,
    find: 'if (segment == SS) store<u32>(cpu, 2, INHIBIT)', replace: '' },
  { name: 'a single step reports no BS in DR6', file: 'run.ts', caught: guest,
    find: '| 0x4000, LAST_DEBUG)', replace: '| 0x8000, LAST_DEBUG)' },
]

const CODE_CHANGES: readonly Fault[] = [
  { name: 'decoded code guards its first 64 bytes only', file: 'cache.ts', caught: guest,
    find: 'min<u32>((offset + length - 1) >> 6, 63)', replace: 'first' },
  { name: 'a store that hits the code of a block leaves the running block alone', file: 'cache.ts', caught: guest,
    find: 'store<u16>(u, OP_LEAVE)', replace: '{}' },
  { name: 'the second page of a block is not watched', file: 'cache.ts', caught: guest,
    find: 'store<u64>(record2, load<u64>(record2, PAGE_LINES) | lineMask(0, length2), PAGE_LINES)', replace: '' },
  { name: 'a page whose code is decoded stays writable through the TLB', file: 'cache.ts', caught: guest,
    find: 'if (!multi && !load<u64>(record, PAGE_LINES)) dropWriteEntries(host)', replace: '' },
  { name: 'an instruction across two pages survives a new mapping of the second', file: 'block.ts', caught: guest,
    find: 'if ((second & ~0xfff) != load<u32>(u - BLOCK_BYTES, BLOCK_PAGE2)) u = 0', replace: '' },
]

const INTERRUPT_CONTROLLERS: readonly Fault[] = [
  { name: 'the local APIC delivers interrupts of the task priority itself', file: 'lapic.ts', caught: guest,
    find: '<u32>(vector >> 4) > priority >> 4', replace: '<u32>(vector >> 4) >= priority >> 4' },
  { name: 'an EOI retires the lowest interrupt in service', file: 'lapic.ts', caught: guest,
    find: 'return (word << 5) + 31 - <i32>clz(bits)', replace: 'return (word << 5) + <i32>ctz(bits)' },
  { name: 'an expired TSC deadline is still read back', file: 'apic-timer.ts', caught: guest,
    find: 'store<u64>(cpu + MSR_TSC_DEADLINE, 0)\n  } else {', replace: '} else {' },
  { name: 'the APIC timer is periodic in one-shot mode', file: 'apic-timer.ts', caught: guest,
    find: 'if (timerMode(cpu) == TIMER_PERIODIC && initial != 0) {', replace: 'if (initial != 0) {' },
  { name: 'NMIs nest', file: 'run.ts', caught: guest,
    find: 'store<u32>(cpu, 1, NMI_BLOCKED)', replace: 'store<u32>(cpu, 0, NMI_BLOCKED)' },
  { name: 'an IPI to all others reaches its sender', file: 'apic-message.ts', caught: guest,
    find: 'shorthand == SHORTHAND_OTHERS ? cpu : 0', replace: '0' },
  { name: 'the PIC lets interrupts of lower priority nest', file: 'pic.ts', caught: guest,
    find: 'if (rank < serving) return level', replace: 'if (rank != serving) return level' },
  { name: 'the PIC forgets its mask', file: 'pic.ts', caught: guest,
    find: 'let rank = bestRank(chip, get(chip, IRR) & ~mask)', replace: 'let rank = bestRank(chip, get(chip, IRR))' },
  { name: 'a level-triggered pin of the IOAPIC does not wait for the EOI', file: 'ioapic.ts', caught: guest,
    find: 'if (level && taken) setEntry(pin, entry(pin) | RTE_REMOTE_IRR)', replace: '' },
  { name: 'mode 2 of the PIT has its output low but for one clock', file: 'pit.ts', caught: guest,
    find: 'e % count != count - 1 ? 1 : 0', replace: 'e % count != count - 1 ? 0 : 1' },
]

export const FAULTS: readonly Fault[] = [...INTEGER, ...VECTOR, ...PAGING, ...PRIVILEGE, ...CODE_CHANGES, ...INTERRUPT_CONTROLLERS]
