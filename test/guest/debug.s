# #DB: single step, breakpoints, ICEBP, general detect, the MOV SS shadow. SDM volume 3 chapter 17.
.include "macros.inc"
.macro CLEAR_DR6
  mov $0xffff0ff0, %eax
  mov %rax, %dr6
.endm
.macro CHECK_DR6 name, want
  mov trap_dr6, %rax
  and $0xe00f, %eax
  CHECK "\name", \want
.endm
.macro DISARM
  xor %eax, %eax
  mov %rax, %dr7
.endm
.text
.global suite_debug
suite_debug:
  CLEAR_DR6
  TRY 2f
  pushq $0x102
  popfq
  nop
1:nop
2:TRAP "debug.step", 1, 0, 1b
  CHECK_DR6 "debug.step.dr6", 0x4000
  mov trap_rflags, %rax
  and $0x100, %eax
  CHECK "debug.step.tf-pushed", 0x100
  TRY 2f                        # TF set by IRET: the first instruction runs, then the trap
  mov %rsp, %rbx
  pushq $KDATA
  push %rbx
  pushq $0x102
  pushq $K64
  pushq $1f
  iretq
1:nop
3:nop
2:TRAP "debug.step.iret", 1, 0, 3b
  CLEAR_DR6
  TRY 2f                        # MOV SS holds the trap back by one instruction
  mov $KDATA, %ecx
  pushq $0x102
  popfq
  mov %ecx, %ss
  nop
1:nop
2:TRAP "debug.step.mov-ss", 1, 0, 1b
  TRY 2f                        # INT n clears TF: the trap comes after the handler returned, here it is the gate that is seen
  pushq $0x102
  popfq
  int $VEC_DONE
1:nop
2:TRAP "debug.step.int", VEC_DONE, 0, 1b
  movl $0x102, user_flags
  USER u_step
  TRAP "debug.step.user", 1, 0, u_step_end + USER_BASE
  movl $2, user_flags
  mov $arena, %edi              # REP: a trap after each iteration
  mov $arena + 64, %esi
  mov $3, %ecx
  TRY 2f
  pushq $0x102
  popfq
1:rep movsb
2:TRAP "debug.step.rep", 1, 0, 1b
  mov trap_rcx, %rax
  CHECK "debug.step.rep-count", 2

  CLEAR_DR6
  TRY 2f
  .byte 0xf1
1:nop
2:TRAP "debug.icebp", 1, 0, 1b

  # ---- code breakpoint: a fault before the instruction, RF in the frame as it was (volume 3, 17.3.1.1), RF set passes it
  CLEAR_DR6
  mov $1f, %eax
  mov %rax, %dr0
  mov $0x402, %eax
  mov %rax, %dr7
  xor %ebx, %ebx
  TRY 2f
  nop
1:inc %ebx
2:DISARM
  TRAP "debug.code", 1, 0, 1b
  CHECK_DR6 "debug.code.dr6", 1
  mov trap_rbx, %rax
  CHECK "debug.code.before", 0
  mov trap_rflags, %rax
  and $0x10000, %eax
  CHECK "debug.code.rf", 0
  mov $1f, %eax
  mov %rax, %dr0
  mov $0x402, %eax
  mov %rax, %dr7
  xor %ebx, %ebx
  TRY 2f
  mov %rsp, %rax
  pushq $KDATA
  push %rax
  pushq $0x10002
  pushq $K64
  pushq $1f
  iretq
1:inc %ebx
  jmp 3f
3:
2:DISARM
  NOTRAP "debug.code.resume"
  mov %rbx, %rax
  CHECK "debug.code.resumed", 1

  # ---- data breakpoints: a trap after the access, matched by bytes
.macro WATCH bits
  mov $arena + 8, %eax
  mov %rax, %dr1
  mov $0x404 | \bits, %eax
  mov %rax, %dr7
.endm
  CLEAR_DR6
  WATCH 0xd00000                # 4 bytes, write
  TRY 2f
  movl $5, arena + 8
1:nop
2:DISARM
  TRAP "debug.data.write", 1, 0, 1b
  CHECK_DR6 "debug.data.dr6", 2
  mov arena + 8, %eax
  CHECK "debug.data.done", 5
  WATCH 0xd00000
  TRY 2f
  mov arena + 8, %eax
2:DISARM
  NOTRAP "debug.data.read-of-write-watch"
  WATCH 0xd00000
  TRY 2f
  movb $1, arena + 11
1:nop
2:DISARM
  TRAP "debug.data.last-byte", 1, 0, 1b
  WATCH 0xd00000
  TRY 2f
  movb $1, arena + 12
2:DISARM
  NOTRAP "debug.data.beyond"
  WATCH 0xd00000
  TRY 2f
  movq $1, arena + 4
1:nop
2:DISARM
  TRAP "debug.data.overlap", 1, 0, 1b
  WATCH 0xf00000                # read or write
  TRY 2f
  mov arena + 8, %eax
1:nop
2:DISARM
  TRAP "debug.data.read", 1, 0, 1b
  WATCH 0x900000                # 8 bytes, write (LEN 10b in 64-bit mode)
  TRY 2f
  movb $1, arena + 15
1:nop
2:DISARM
  TRAP "debug.data.eight-bytes", 1, 0, 1b
  CLEAR_DR6
  WATCH 0xd00000
  mov $arena, %edi
  mov $16, %ecx
  xor %eax, %eax
  TRY 2f
1:rep stosb
2:DISARM
  TRAP "debug.data.rep", 1, 0, 1b
  mov trap_rcx, %rax
  CHECK "debug.data.rep-count", 7

  # ---- I/O breakpoint needs CR4.DE
  mov $CR4_DEFAULT | 8, %eax
  mov %rax, %cr4
  mov $0x80, %eax
  mov %rax, %dr2
  mov $0x02000410, %eax
  mov %rax, %dr7
  CLEAR_DR6
  TRY 2f
  out %al, $0x80
1:nop
2:DISARM
  TRAP "debug.io", 1, 0, 1b
  CHECK_DR6 "debug.io.dr6", 4

  # ---- DR4 and DR5, general detect, reserved bits
  FAULT "debug.dr4-with-de", 6, 0, .byte 0x0f, 0x21, 0xe0
  mov $CR4_DEFAULT, %eax
  mov %rax, %cr4
  CLEAR_DR6
  .byte 0x0f, 0x21, 0xe0        # mov %dr4, %rax
  CHECK "debug.dr4-alias", 0xffff0ff0
  mov $0x2400, %eax
  mov %rax, %dr7
  TRY 2f
1:mov %dr0, %rax
2:TRAP "debug.general-detect", 1, 0, 1b
  CHECK_DR6 "debug.general-detect.dr6", 0x2000
  mov %dr7, %rax                # delivery clears GD
  CHECK "debug.general-detect.cleared", 0x400
  DISARM
  mov %dr7, %rax
  CHECK "debug.dr7.fixed-bit", 0x400
  mov $0x100000000, %rax
  FAULT "debug.dr7.high-half", 13, 0, mov %rax, %dr7
  FAULT "debug.dr6.high-half", 13, 0, mov %rax, %dr6
  xor %eax, %eax
  mov %rax, %dr6
  mov %dr6, %rax
  CHECK "debug.dr6.fixed-bits", 0xffff0ff0
  ret

u_step:
  nop
u_step_end:
  int $VEC_DONE
