# Segmentation: limits and types in compatibility mode, descriptor checks of loads, LAR LSL VERR VERW, LDTR, TR. SDM volume 3 chapter 5.
.include "macros.inc"
.text
.global suite_segments
suite_segments:
  # ---- loads
.macro LOAD name, vector, error, selector, register
  mov $\selector, %ecx
  FAULT "segments.load.\name", \vector, \error, mov %ecx, %\register
.endm
  LOAD ds-code-not-readable, 13, EXECONLY, EXECONLY, ds
  LOAD ds-system, 13, TSS, TSS, ds
  LOAD ds-ldt-beyond-limit, 13, 0x1c, 0x1c, ds
  LOAD ss-read-only, 13, RODATA, RODATA, ss
  LOAD ss-code, 13, K32, K32, ss
  LOAD ss-rpl, 13, KDATA, KDATA|3, ss
  LOAD ss-dpl, 13, UDATA&~3, UDATA, ss
  LOAD fs-not-present, 11, NPDATA, NPDATA, fs
  TRY 2f
  mov $3, %eax
  mov %eax, %ds
  mov $K32, %eax
  mov %eax, %es
  mov $CONF32 | 3, %eax
  mov %eax, %fs
2:NOTRAP "segments.load.null-and-readable-code"
  mov $KDATA, %eax
  mov %eax, %ds
  mov %eax, %es
  mov %eax, %fs
  TRY 2f
  xor %eax, %eax
  mov %eax, %ss
  mov %ss, %eax
  mov $KDATA, %ecx
  mov %ecx, %ss
2:NOTRAP "segments.load.null-ss-ring0"
  USERCODE "segments.load.user-dpl0", 13, KDATA, "mov $KDATA, %ecx; .byte 0x8e, 0xd9"
  USERCODE "segments.load.user-ss-dpl0", 13, KDATA, "mov $KDATA|3, %ecx; .byte 0x8e, 0xd1"
  USERCODE "segments.load.user-null-ss", 13, 0, "xor %ecx, %ecx; .byte 0x8e, 0xd1"
  # ---- every way into a code segment marks it accessed (3.4.5.1), and the stack segment if that is loaded, too
.macro ACCESSED name, selector, want
  movzbl gdt + (\selector & ~3) + 5, %eax
  CHECK "segments.accessed-bit.\name", \want
.endm
  andb $0xfe, gdt + CONF64 + 5
  movw $CONF64, idt + 0x40*16 + 2
  movq $hook_return, trap_hook
  int $0x40
  movq $0, trap_hook
  movw $K64, idt + 0x40*16 + 2
  ACCESSED interrupt-gate, CONF64, 0x9f
  andb $0xfe, gdt + CONF64 + 5
  movw $CONF64, gdt + GATE + 2
  movl $0, arena
  movw $GATE, arena + 4
  lcall *arena
  movw $K64, gdt + GATE + 2
  ACCESSED call-gate, CONF64, 0x9f
  andb $0xfe, gdt + CONF64 + 5
  pushq $CONF64
  pushq $1f
  lretq
1:ACCESSED far-return, CONF64, 0x9f
  andb $0xfe, gdt + K64 + 5
  andb $0xfe, gdt + KDATA + 5
  mov %rsp, %rax
  pushq $KDATA
  push %rax
  pushfq
  pushq $K64
  pushq $1f
  iretq
1:ACCESSED iret, K64, 0x9b
  ACCESSED iret-ss, KDATA, 0x93
  andb $0xfe, gdt + U64 - 3 + 5
  andb $0xfe, gdt + UDATA - 3 + 5
  andb $0xfe, gdt + K64 + 5
  USER u_done
  ACCESSED iret-outer, U64, 0xfb
  ACCESSED iret-outer-ss, UDATA, 0xf3
  ACCESSED interrupt-inner, K64, 0x9b
  andb $0xfe, gdt + U64 - 3 + 5
  andb $0xfe, gdt + UDATA - 3 + 5
  TRY 2f
  pushq $UDATA
  pushq $user_stack_top + USER_BASE
  pushq $U64
  pushq $u_done + USER_BASE
  lretq
2:TRAP "segments.accessed-bit.far-return-outer", VEC_DONE
  ACCESSED far-return-outer-cs, U64, 0xfb
  ACCESSED far-return-outer-ss, UDATA, 0xf3
  .irp selector, K64, KDATA, CONF64, U64 - 3, UDATA - 3
  orb $1, gdt + \selector + 5
  .endr

  andb $0xfe, gdt + SMALL + 5   # the accessed bit is set by a load
  mov $SMALL, %eax
  mov %eax, %fs
  movzbl gdt + SMALL + 5, %eax
  CHECK "segments.accessed-bit", 0x93
  mov $0xc0000100, %ecx
  rdmsr
  CHECK "segments.fs-base-from-descriptor", arena
  movl $0x12345678, arena + 0x20
  mov %fs:0x20, %eax
  CHECK "segments.fs-relative", 0x12345678
  mov %fs:0x1ffc, %eax          # no limit check in 64-bit mode
  mov $0xc0000100, %ecx
  mov $0x1000, %eax
  mov $0xffffffff, %edx
  wrmsr
  mov $arena + 0x20, %rcx       # base and offset wrap to 64 bits
  mov %rdx, %rax
  shl $32, %rax
  or $0x1000, %rax
  sub %rax, %rcx
  mov %fs:(%rcx), %eax
  CHECK "segments.base-wraps", 0x12345678
  mov $KDATA, %eax
  mov %eax, %fs

  # ---- limits and types, compatibility mode (64-bit mode has none)
.macro LIMIT name, vector, error, entry
  COMPAT \entry
  TRAP "segments.limit.\name", \vector, \error, \entry\()_at
.endm
.macro INSIDE name, entry
  COMPAT \entry
  TRAP "segments.limit.\name", VEC_DONE
.endm
  INSIDE last-byte, c32_last_byte
  LIMIT beyond, 13, 0, c32_beyond
  LIMIT straddles, 13, 0, c32_straddles
  LIMIT stack, 12, 0, c32_stack
  LIMIT null, 13, 0, c32_null
  LIMIT read-only, 13, 0, c32_read_only
  LIMIT execute-only, 13, 0, c32_execute_only
  LIMIT code-write, 13, 0, c32_code_write
  LIMIT expand-down-inside, 13, 0, c32_expand_low
  LIMIT bit-string, 13, 0, c32_bit_string
  LIMIT bit-string-write, 13, 0, c32_bit_string_write
  INSIDE bit-string-wraps, c32_bit_string_wraps
  INSIDE expand-down-above, c32_expand_high
  LIMIT call-beyond-code, 13, 0, c16_jump
  mov $KDATA, %eax
  mov %eax, %ds
  mov %eax, %es
  mov %eax, %ss
  mov %eax, %fs

  # ---- LAR LSL VERR VERW
.macro LARS name, selector, zf, value, mask=0xf0ff00
  mov $-1, %eax
  mov $\selector, %ecx
  lar %ecx, %eax
  setz %cl
  mov %eax, %ebx
  movzx %cl, %eax
  CHECK "segments.lar.\name", \zf
  .if \zf
  mov %ebx, %eax
  and $\mask, %eax
  CHECK "segments.lar.\name\().value", \value
  .endif
.endm
  LARS code, K64, 1, 0xa09b00
  LARS data, KDATA, 1, 0xc09300
  LARS tss-busy, TSS, 1, 0x8b00
  LARS gate, GATE, 1, 0xec00, 0xff00
  LARS ldt, LDT, 1, 0x8200
  LARS null, 0, 0, 0
  LARS beyond, 0x1f8, 0, 0
  LARS upper-half, LDT+8, 0, 0
  LARS rpl-too-weak, KDATA|3, 0, 0
  LARS conforming-ignores-rpl, CONF64|3, 1, 0xa09f00
.macro LSLS name, selector, zf, value
  mov $-1, %eax
  mov $\selector, %ecx
  lsl %ecx, %eax
  setz %cl
  mov %eax, %ebx
  movzx %cl, %eax
  CHECK "segments.lsl.\name", \zf
  .if \zf
  mov %ebx, %eax
  CHECK "segments.lsl.\name\().value", \value
  .endif
.endm
  LSLS pages, KDATA, 1, 0xffffffff
  LSLS bytes, SMALL, 1, 0xfff
  LSLS tss, TSS, 1, 0x2087
  LSLS gate, GATE, 0, 0
  LSLS null, 0, 0, 0
.macro VER name, instruction, selector, zf
  mov $\selector, %ecx
  \instruction %cx
  setz %al
  movzx %al, %eax
  CHECK "segments.\instruction.\name", \zf
.endm
  VER data, verr, KDATA, 1
  VER data, verw, KDATA, 1
  VER read-only, verw, RODATA, 0
  VER execute-only, verr, EXECONLY, 0
  VER code, verr, K64, 1
  VER code, verw, K64, 0
  VER system, verr, TSS, 0
  VER null, verr, 0, 0
  VER rpl, verr, KDATA|3, 0
  VER conforming, verr, CONF64|3, 1

  # ---- LDTR
  mov $LDT, %eax
  lldt %ax
  xor %eax, %eax
  sldt %eax
  CHECK "segments.sldt", LDT
  mov $LDT_DATA, %eax
  mov %eax, %fs
  mov %fs:0x20, %eax
  CHECK "segments.ldt-data", 0x12345678
  mov $KDATA, %ecx
  FAULT "segments.lldt.not-ldt", 13, KDATA, lldt %cx
  mov $LDT_DATA, %ecx
  FAULT "segments.lldt.from-ldt", 13, LDT_DATA&~3, lldt %cx
  xor %eax, %eax
  lldt %ax
  mov $LDT_DATA, %ecx
  FAULT "segments.ldt-null", 13, LDT_DATA, mov %ecx, %ds
  mov $KDATA, %eax
  mov %eax, %fs

  # ---- TR
  xor %eax, %eax
  str %eax
  CHECK "segments.str", TSS
  movzbl gdt + TSS + 5, %eax
  CHECK "segments.tss-busy", 0x8b
  mov $TSS, %ecx
  FAULT "segments.ltr.busy", 13, TSS, ltr %cx
  xor %ecx, %ecx
  FAULT "segments.ltr.null", 13, 0, ltr %cx
  mov $LDT, %ecx
  FAULT "segments.ltr.not-tss", 13, LDT, ltr %cx
  mov $TSS_B, %ecx
  ltr %cx
  movzbl gdt + TSS_B + 5, %eax
  CHECK "segments.ltr.marks-busy", 0x8b
  movb $0x89, gdt + TSS + 5
  mov $TSS, %ecx
  ltr %cx
  movb $0x89, gdt + TSS_B + 5
  xor %eax, %eax
  str %eax
  CHECK "segments.ltr.back", TSS

  # ---- stores of the table registers
  sgdt arena
  movzwl arena, %eax
  CHECK "segments.sgdt.limit", GDT_LAST
  mov arena + 2, %rax
  CHECK "segments.sgdt.base", gdt
  sidt arena
  mov arena + 2, %rax
  CHECK "segments.sidt.base", idt
  movw $0xff, arena
  mov $0x800000000000, %rax
  mov %rax, arena + 2
  mov $arena, %ecx
  FAULT "segments.lgdt.non-canonical", 13, 0, lgdt (%rcx)
  lgdt gdt_pointer
  ret

u_done:
  int $VEC_DONE

.code32
c32_last_byte:
  mov $SMALL, %eax
  mov %eax, %ds
  mov %ds:0xffc, %eax
  movb $1, %ds:0xfff
  int $VEC_DONE
c32_bit_string:
  mov $SMALL, %eax
  mov %eax, %ds
  mov $0x8000, %eax             # bit 0x8000 is in byte 0x1000
c32_bit_string_at:
  bt %eax, %ds:0
  int $VEC_DONE
c32_bit_string_write:
  mov $SMALL, %eax
  mov %eax, %ds
  mov $0x8000, %eax
c32_bit_string_write_at:
  bts %eax, %ds:0
  int $VEC_DONE
c32_bit_string_wraps:           # 4 bytes below offset 0 are the top of the segment
  mov $-32, %eax
  mov $4, %ecx
  btsl %eax, arena(%ecx)
  int $VEC_DONE
c32_beyond:
  mov $SMALL, %eax
  mov %eax, %ds
c32_beyond_at:
  movb $1, %ds:0x1000
  int $VEC_DONE
c32_straddles:
  mov $SMALL, %eax
  mov %eax, %ds
c32_straddles_at:
  mov %ds:0xffd, %eax
  int $VEC_DONE
c32_stack:
  mov $SMALL, %eax
  mov %eax, %ss
  mov $0x1004, %esp
c32_stack_at:
  push %eax
  int $VEC_DONE
c32_null:
  xor %eax, %eax
  mov %eax, %ds
c32_null_at:
  mov %ds:0, %eax
  int $VEC_DONE
c32_read_only:
  mov $RODATA, %eax
  mov %eax, %ds
  mov arena, %eax
c32_read_only_at:
  mov %eax, arena
  int $VEC_DONE
c32_execute_only:
  ljmp $EXECONLY, $c32_execute_only_at
c32_execute_only_at:
  mov %cs:arena, %eax
  int $VEC_DONE
c32_code_write:
  mov $K32, %eax
  mov %eax, %ds
  mov arena, %eax
c32_code_write_at:
  mov %eax, arena
  int $VEC_DONE
c32_expand_low:
  mov $EXPDOWN, %eax
  mov %eax, %ds
c32_expand_low_at:
  mov %ds:0xffff, %al
  int $VEC_DONE
c32_expand_high:
  mov $EXPDOWN, %eax
  mov %eax, %ds
  mov %ds:0x100000, %al
  int $VEC_DONE
c16_jump:                       # a jump beyond the limit of a 64 KiB code segment; 0x10000 does not fit
  movl $0x10000, arena
  movw $CODE16, arena + 4
c16_jump_at:
  ljmp *arena
.code64
