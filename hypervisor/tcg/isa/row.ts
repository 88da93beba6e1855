/** The decode table's vocabulary: one row = one opcode (with its mandatory prefix and ModRM extension) and its operand form. */

export interface Row {
  /** Mnemonic in Intel's spelling, lower case: `add`, `paddb`, `fld`. */
  readonly name: string
  /** Opcode with its map: 0x00..0xff one-byte, 0x0f00.. two-byte, 0x0f3800.., 0x0f3a00.. three-byte. */
  readonly op: number
  /** Mandatory prefix that selects the row; `0` = only without one; absent = the row ignores 66/F2/F3 as selector. */
  readonly pp?: 0 | 0x66 | 0xf2 | 0xf3
  /** ModRM.reg when it extends the opcode. */
  readonly reg?: number
  /** Row holds only for register (`r`) or memory (`m`) ModRM.rm. */
  readonly mod?: 'r' | 'm'
  /** ModRM.rm when it extends the opcode (x87, 0F 01). */
  readonly rm?: number
  /** REX.W when it selects the row (MOVD/MOVQ, CVTSI2SD ...); absent = both. */
  readonly w?: 0 | 1
  /** `64` only in 64-bit mode, `!64` only outside; absent = everywhere. */
  readonly mode?: '64' | '!64'
  /** Operand form, see docs in the row files. */
  readonly form: string
  /** Name of the handler constant (generated into core/op.gen.ts). Several rows may share one. */
  readonly handler: string
  readonly unit: 'int' | 'sys' | 'x87' | 'mmx' | 'sse'
  /** Can user mode execute it without a fault? Default true. */
  readonly user?: boolean
  /** RFLAGS bits that the instruction leaves undefined (mask), for the vectors. */
  readonly undefinedFlags?: number
  /** Results that need a tolerance or cannot be compared: units in the last place, or `random`. */
  readonly tolerance?: number | 'random'
}
