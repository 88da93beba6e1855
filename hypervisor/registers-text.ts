/** Text of `info registers` in QEMU's shape, of a processor of any accelerator. */

export interface ShownSegment {
  readonly selector: number
  readonly base: bigint
  readonly limit: number
  /** as in a descriptor's high dword: bits 8..15 and 20..23 */
  readonly attributes: number
}

export interface ShownRegisters {
  readonly cpu: number
  /** RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8 to R15 */
  readonly gpr: readonly bigint[]
  readonly rip: bigint
  readonly rflags: bigint
  readonly cpl: number
  readonly inhibited: boolean
  readonly halted: boolean
  /** ES, CS, SS, DS, FS, GS, LDTR, TR */
  readonly segments: readonly ShownSegment[]
  readonly gdt: { readonly base: bigint; readonly limit: number }
  readonly idt: { readonly base: bigint; readonly limit: number }
  readonly cr0: bigint
  readonly cr2: bigint
  readonly cr3: bigint
  readonly cr4: bigint
  /** DR0 to DR3, DR6, DR7 */
  readonly dr: readonly bigint[]
  readonly efer: bigint
  readonly fcw: number
  readonly fsw: number
  /** a set bit for a register in use, as FXSAVE has it */
  readonly ftw: number
  readonly mxcsr: number
  /** mantissa, sign and exponent */
  readonly fpr: readonly (readonly [bigint, number])[]
  /** low and high half */
  readonly xmm: readonly (readonly [bigint, bigint])[]
}

const NAMES = ['RAX', 'RCX', 'RDX', 'RBX', 'RSP', 'RBP', 'RSI', 'RDI', 'R8 ', 'R9 ', 'R10', 'R11', 'R12', 'R13', 'R14', 'R15'] as const
/** In the order QEMU prints them. */
const SHOWN = [[0, 3, 1, 2], [6, 7, 5, 4], [8, 9, 10, 11], [12, 13, 14, 15]] as const
const SEGMENTS = ['ES ', 'CS ', 'SS ', 'DS ', 'FS ', 'GS ', 'LDT', 'TR '] as const
const FLAGS = [['D', 10], ['O', 11], ['S', 7], ['Z', 6], ['A', 4], ['P', 2], ['C', 0]] as const
const ATTR_L = 1 << 21, ATTR_DB = 1 << 22, ATTR_SYSTEM = 1 << 12, ATTR_PRESENT = 1 << 15, ATTR_ALL = 0x00f0_ff00

export function registersText(shown: ShownRegisters): string {
  const { gpr, rflags, segments, gdt, idt, dr, fpr, xmm } = shown
  const letters = FLAGS.map(([letter, bit]) => (rflags >> BigInt(bit)) & 1n ? letter : '-').join('')
  const lines = SHOWN.map((row) => row.map((index) => `${NAMES[index]}=${hex(gpr[index] ?? 0n, 16)}`).join(' '))
  lines.push(`RIP=${hex(shown.rip, 16)} RFL=${hex(rflags, 8)} [${letters}] CPL=${shown.cpl} II=${shown.inhibited ? 1 : 0} A20=1 SMM=0 HLT=${shown.halted ? 1 : 0}`)
  segments.forEach((segment, index) => lines.push(segmentLine(segment, SEGMENTS[index] ?? '?')))
  lines.push(`GDT=     ${hex(gdt.base, 16)} ${hex(gdt.limit, 8)}`, `IDT=     ${hex(idt.base, 16)} ${hex(idt.limit, 8)}`)
  lines.push(`CR0=${hex(shown.cr0, 8)} CR2=${hex(shown.cr2, 16)} CR3=${hex(shown.cr3, 16)} CR4=${hex(shown.cr4, 8)}`)
  lines.push([0, 1, 2, 3].map((index) => `DR${index}=${hex(dr[index] ?? 0n, 16)}`).join(' '))
  lines.push(`DR6=${hex(dr[4] ?? 0n, 16)} DR7=${hex(dr[5] ?? 0n, 16)}`, `EFER=${hex(shown.efer, 16)}`)
  // FTW is shown with a set bit for an empty register, as QEMU shows it.
  lines.push(`FCW=${hex(shown.fcw, 4)} FSW=${hex(shown.fsw, 4)} [ST=${(shown.fsw >> 11) & 7}] FTW=${hex(~shown.ftw & 0xff, 2)} MXCSR=${hex(shown.mxcsr, 8)}`)
  for (let index = 0; index < 8; index += 2) {
    lines.push([index, index + 1].map((at) => `FPR${at}=${hex(fpr[at]?.[0] ?? 0n, 16)} ${hex(fpr[at]?.[1] ?? 0, 4)}`).join(' '))
  }
  for (let index = 0; index < 16; index += 2) {
    lines.push([index, index + 1].map((at) => `XMM${String(at).padStart(2, '0')}=${hex(xmm[at]?.[1] ?? 0n, 16)} ${hex(xmm[at]?.[0] ?? 0n, 16)}`).join(' '))
  }
  return `\nCPU#${shown.cpu}\n${lines.join('\n')}\n`
}

function segmentLine({ selector, base, limit, attributes }: ShownSegment, name: string): string {
  const isCode = name === 'CS '
  const words = [hex(selector, 4), hex(base, 16), hex(limit, 8), hex(attributes & ATTR_ALL, 8)]
  const present = (attributes & ATTR_PRESENT) !== 0
  const kind = !present ? '' : (attributes & ATTR_SYSTEM) === 0 ? ` DPL=${(attributes >> 13) & 3} sys`
    : ` DPL=${(attributes >> 13) & 3} ${isCode ? attributes & ATTR_L ? 'CS64' : attributes & ATTR_DB ? 'CS32' : 'CS16' : 'DS'}`
  return `${name}=${words.join(' ')}${kind}`
}

function hex(value: bigint | number, digits: number): string {
  return value.toString(16).padStart(digits, '0')
}
