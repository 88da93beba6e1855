# Flags and who uses them, in one breath: an emulator may keep the operands of the last arithmetic instruction instead of its flags and have
# short cuts for frequent pairs. Each conditional jump, ADC, SBB, INC and CMOVcc comes right behind each producer of flags and must agree with
# SETcc. SDM volume 1, 3.4.3 and appendix B.
.include "macros.inc"
.text
.global suite_conditions

# Runs \code for all pairs of values in %rsi and %rdx, after \producer on %rax (a copy of %rsi); \code counts agreements in %ebx.
.macro PAIRS name, want, code
  xor %ebx, %ebx
  mov $values, %r10d
.Lfirst\@:
  mov $values, %r11d
.Lsecond\@:
  mov (%r10), %rsi
  mov (%r11), %rdx
  call \code
  add $8, %r11d
  cmp $values_end, %r11d
  jne .Lsecond\@
  add $8, %r10d
  cmp $values_end, %r10d
  jne .Lfirst\@
  mov %ebx, %eax
  CHECK "conditions.\name", \want
.endm
.set VALUES, 14
.set PAIR_COUNT, VALUES*VALUES
.set PRODUCERS, 38

.macro PRODUCE consumer, cc
  \consumer \cc, cmp %rdx, %rax
  \consumer \cc, cmp %edx, %eax
  \consumer \cc, cmp %dx, %ax
  \consumer \cc, cmp %dl, %al
  \consumer \cc, sub %rdx, %rax
  \consumer \cc, sub %edx, %eax
  \consumer \cc, sub %dx, %ax
  \consumer \cc, sub %dl, %al
  \consumer \cc, add %rdx, %rax
  \consumer \cc, add %edx, %eax
  \consumer \cc, add %dx, %ax
  \consumer \cc, add %dl, %al
  \consumer \cc, test %rdx, %rax
  \consumer \cc, test %edx, %eax
  \consumer \cc, test %dl, %al
  \consumer \cc, and %rdx, %rax
  \consumer \cc, xor %edx, %eax
  \consumer \cc, adc %rdx, %rax
  \consumer \cc, adc %edx, %eax
  \consumer \cc, adc %dl, %al
  \consumer \cc, sbb %rdx, %rax
  \consumer \cc, sbb %edx, %eax
  \consumer \cc, sbb %dx, %ax
  \consumer \cc, inc %rax
  \consumer \cc, inc %eax
  \consumer \cc, inc %al
  \consumer \cc, dec %rax
  \consumer \cc, dec %eax
  \consumer \cc, dec %ax
  \consumer \cc, neg %rax
  \consumer \cc, neg %eax
  \consumer \cc, neg %al
  \consumer \cc, shl $1, %rax
  \consumer \cc, shl $1, %eax
  \consumer \cc, shr $1, %rax
  \consumer \cc, shr $1, %eax
  \consumer \cc, sar $1, %rax
  \consumer \cc, sar $1, %eax
.endm

.macro JUMP cc, producer:vararg
  mov %rsi, %rax
  bt $3, %edi                   # a carry for the producers that take or keep one
  \producer
  set\cc %cl
  j\cc 1f
  xor $1, %cl                   # not taken: SETcc must have said 0
1:movzx %cl, %ecx
  add %ecx, %ebx
  inc %edi
.endm
.macro JUMPS cc
code_j\cc:
  PRODUCE JUMP, \cc
  ret
.endm

.macro CARRY unused, producer:vararg
  mov %rsi, %rax
  bt $3, %edi
  \producer
  setc %cl
  movzx %cl, %ecx               # leaves the flags alone
  mov $0, %r8d
  adc $0, %r8d
  cmp %ecx, %r8d
  sete %cl
  movzx %cl, %ecx
  add %ecx, %ebx
  mov %rsi, %rax
  bt $3, %edi
  \producer
  setc %cl
  movzx %cl, %ecx
  sbb %r8, %r8
  neg %r8
  cmp %rcx, %r8
  sete %cl
  movzx %cl, %ecx
  add %ecx, %ebx
  mov %rsi, %rax
  bt $3, %edi
  \producer
  setc %cl
  inc %r8d                      # keeps CF
  setc %al
  cmp %cl, %al
  sete %cl
  movzx %cl, %ecx
  add %ecx, %ebx
  inc %edi
.endm
.macro MOVE unused, producer:vararg
  .irp cc, b, be, l, le, s, o
    mov %rsi, %rax
    bt $3, %edi
    \producer
    set\cc %cl
    movzx %cl, %ecx
    mov $0, %r8d
    mov $1, %r9d
    cmov\cc %r9, %r8
    cmp %ecx, %r8d
    sete %cl
    movzx %cl, %ecx
    add %ecx, %ebx
  .endr
  inc %edi
.endm

suite_conditions:
  xor %edi, %edi
  .irp cc, o, no, b, ae, e, ne, be, a, s, ns, p, np, l, ge, le, g
    PAIRS j\cc, PAIR_COUNT*PRODUCERS, code_j\cc
  .endr
  PAIRS carry, PAIR_COUNT*PRODUCERS*3, code_carry
  PAIRS cmov, PAIR_COUNT*PRODUCERS*6, code_move
  ret
  .irp cc, o, no, b, ae, e, ne, be, a, s, ns, p, np, l, ge, le, g
    JUMPS \cc
  .endr
code_carry:
  PRODUCE CARRY, none
  ret
code_move:
  PRODUCE MOVE, none
  ret

.section .rodata
.balign 8
values:
  .quad 0, 1, -1, 2, 0x7f, 0x80, 0x7fff, 0x8000, 0x7fffffff, 0x80000000, 0xffffffff, 0x7fffffffffffffff, 0x8000000000000000, 0x123456789abcdef0
values_end:
