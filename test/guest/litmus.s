# Memory order between processors (SDM volume 3 section 8.2): litmus tests whose forbidden outcomes must never be seen, and counters that locked
# operations must keep exact, operands across cache lines and pages among them. Run by smp.s with the processors it has brought up, this one as thread 0.
#
# A test is a record: functions of threads 0..3 (0: none), a mask and the forbidden outcome, as bytes. A function gets %rdi = &x, %rsi = &y, fresh memory for
# each of ITERATIONS, and leaves what it saw in bits 0 and 1 of %eax; the outcome is thread 0's in bits 0 and 1, thread 1's in bits 2 and 3, and so on.
.include "macros.inc"
.set ITERATIONS, 8192
.set X, 0x1000000
.set Y, 0x1100000
.set SEEN, 0x1200000            # a byte per thread and iteration: + thread * ITERATIONS
.set PROGRESS, 0x1300000        # iterations begun, per thread, a cache line each
.set PATIENCE, 200

.text
.global litmus_all, litmus_ap

.macro LITMUS name:req, test:req
  mov $\test, %r13d
  call litmus
  CHECK "litmus.\name", 0
.endm
.macro COUNT name:req, test:req, at:req, each:req
  mov $counters, %edi
  mov $1024, %ecx
  xor %eax, %eax
  rep stosq
  mov $\test, %r13d
  call litmus
  mov ap_online, %eax
  mov $3, %ecx
  cmp %ecx, %eax
  cmova %ecx, %eax
  inc %eax
  imul $\each, %eax
  sub \at, %eax
  CHECK "litmus.\name", 0
.endm

litmus_all:
  LITMUS "sb-outcomes", t_sb
  LITMUS "mp", t_mp
  LITMUS "lb", t_lb
  LITMUS "sb-mfence", t_sb_mfence
  LITMUS "sb-xchg", t_sb_xchg
  LITMUS "sb-lock", t_sb_lock
  LITMUS "sb-cpuid", t_sb_cpuid
  LITMUS "mp-mfence", t_mp_mfence
  cmpl $3, ap_online
  jb 1f
  LITMUS "iriw", t_iriw
  LITMUS "iriw-mfence", t_iriw_mfence
1:COUNT "count-xadd", t_xadd, counters, ITERATIONS
  COUNT "count-cmpxchg", t_cmpxchg, counters, ITERATIONS
  COUNT "count-cmpxchg16b", t_wide, counters + 256, ITERATIONS
  COUNT "count-spinlock", t_spinlock, counters, ITERATIONS
  COUNT "count-bits", t_bits, counters, ITERATIONS
  COUNT "count-inside-8", t_inside, counters + 66, ITERATIONS
  COUNT "count-split-line", t_split_line, counters + 126, ITERATIONS/64
  COUNT "count-split-page", t_split_page, counters + 4094, ITERATIONS/64
  ret

# Runs test %r13 on all processors. Returns in %eax how often the forbidden outcome was seen.
litmus:
  mov $X, %edi
  mov $(PROGRESS + 0x1000 - X) / 8, %ecx
  xor %eax, %eax
  rep stosq
  xor %r14d, %r14d
1:cmpq $0, (%r13,%r14,8)        # who takes no part is never waited for
  je 2f
  cmp ap_online, %r14d
  jbe 3f
2:mov %r14d, %eax
  shl $6, %eax
  movl $0x7fffffff, PROGRESS(%rax)
3:inc %r14d
  cmp $4, %r14d
  jne 1b
  movl $0, ap_done
  mov %r13, litmus_test
  incl litmus_command
  mov litmus_command, %eax
  mov %eax, command
  xor %r14d, %r14d
  call litmus_thread
  mov $30, %edx                 # some 60 s
4:mov ap_online, %ecx
  mov $ap_done, %esi
  push %rdx
  call wait_for
  pop %rdx
  mov ap_done, %eax
  cmp ap_online, %eax
  jae 5f
  dec %edx
  jnz 4b
  mov $-1, %eax                 # somebody never came back
  ret
5:xor %eax, %eax
  xor %ebx, %ebx
6:movzbl SEEN(%rbx), %ecx
  movzbl SEEN + ITERATIONS(%rbx), %edx
  shl $2, %edx
  or %edx, %ecx
  movzbl SEEN + 2*ITERATIONS(%rbx), %edx
  shl $4, %edx
  or %edx, %ecx
  movzbl SEEN + 3*ITERATIONS(%rbx), %edx
  shl $6, %edx
  or %edx, %ecx
  and 32(%r13), %cl
  cmp 33(%r13), %cl
  jne 7f
  inc %eax
7:inc %ebx
  cmp $ITERATIONS, %ebx
  jne 6b
  ret

# What another processor does: %r15 is its rank, from 0.
litmus_ap:
  lea 1(%r15), %r14d
  cmp $4, %r14d
  jae 1f
  push %rbx
  mov litmus_test, %r13
  call litmus_thread
  pop %rbx
1:ret

# Thread %r14 of test %r13.
litmus_thread:
  cmpq $0, (%r13,%r14,8)
  jne 1f
  ret
1:mov %r14d, %r12d
  shl $6, %r12d
  add $PROGRESS, %r12d
  xor %ebx, %ebx
2:lea 1(%rbx), %eax
  mov %eax, (%r12)
  mov $PATIENCE, %ecx           # the others may have no processor of the host at the moment
3:cmp %eax, PROGRESS
  jb 4f
  cmp %eax, PROGRESS + 64
  jb 4f
  cmp %eax, PROGRESS + 128
  jb 4f
  cmp %eax, PROGRESS + 192
  jae 5f
4:pause
  dec %ecx
  jnz 3b
5:mov %r14d, %ecx               # a little apart, ever differently
  imul %ebx, %ecx
  xor %ebx, %ecx
  and $7, %ecx
  inc %ecx
6:dec %ecx
  jnz 6b
  mov %ebx, %edi
  shl $6, %edi
  lea Y(%rdi), %esi
  add $X, %edi
  call *(%r13,%r14,8)
  mov %r14d, %ecx
  imul $ITERATIONS, %ecx
  mov %al, SEEN(%rcx,%rbx)
  inc %ebx
  cmp $ITERATIONS, %ebx
  jne 2b
  movl $0x7fffffff, (%r12)
  ret

# ---- what threads do
.macro SEE first:req, second=0   # what was loaded first into bit 0, then bit 1
  lea (\first,\second,2), %eax
.endm
store_x_load_y:
  movl $1, (%rdi)
  mov (%rsi), %eax
  ret
store_y_load_x:
  movl $1, (%rsi)
  mov (%rdi), %eax
  ret
mfence_x_y:
  movl $1, (%rdi)
  mfence
  mov (%rsi), %eax
  ret
mfence_y_x:
  movl $1, (%rsi)
  mfence
  mov (%rdi), %eax
  ret
xchg_x_y:
  mov $1, %eax
  xchg %eax, (%rdi)
  mov (%rsi), %eax
  ret
xchg_y_x:
  mov $1, %eax
  xchg %eax, (%rsi)
  mov (%rdi), %eax
  ret
lock_x_y:
  movl $1, (%rdi)
  lock addl $0, -8(%rsp)
  mov (%rsi), %eax
  ret
lock_y_x:
  movl $1, (%rsi)
  lock addl $0, -8(%rsp)
  mov (%rdi), %eax
  ret
cpuid_x_y:
  movl $1, (%rdi)
  push %rbx
  xor %eax, %eax
  cpuid
  pop %rbx
  mov (%rsi), %eax
  ret
cpuid_y_x:
  movl $1, (%rsi)
  push %rbx
  xor %eax, %eax
  cpuid
  pop %rbx
  mov (%rdi), %eax
  ret
write_x_y:
  movl $1, (%rdi)
  movl $1, (%rsi)
  xor %eax, %eax
  ret
write_x_mfence_y:
  movl $1, (%rdi)
  mfence
  movl $1, (%rsi)
  xor %eax, %eax
  ret
read_y_x:
  mov (%rsi), %eax
  mov (%rdi), %ecx
  SEE %rax, %rcx
  ret
read_x_y:
  mov (%rdi), %eax
  mov (%rsi), %ecx
  SEE %rax, %rcx
  ret
read_y_mfence_x:
  mov (%rsi), %eax
  mfence
  mov (%rdi), %ecx
  SEE %rax, %rcx
  ret
read_x_mfence_y:
  mov (%rdi), %eax
  mfence
  mov (%rsi), %ecx
  SEE %rax, %rcx
  ret
load_x_store_y:
  mov (%rdi), %eax
  movl $1, (%rsi)
  ret
load_y_store_x:
  mov (%rsi), %eax
  movl $1, (%rdi)
  ret
write_x:
  movl $1, (%rdi)
  xor %eax, %eax
  ret
write_y:
  movl $1, (%rsi)
  xor %eax, %eax
  ret

count_xadd:
  mov $1, %eax
  lock xadd %rax, counters
  xor %eax, %eax
  ret
count_cmpxchg:
  mov counters, %eax
1:lea 1(%rax), %ecx
  lock cmpxchg %ecx, counters
  jne 1b
  xor %eax, %eax
  ret
count_wide:                     # both halves must stay equal
  push %rbx
  mov counters + 256, %rax
  mov counters + 264, %rdx
1:lea 1(%rax), %rbx
  lea 1(%rdx), %rcx
  lock cmpxchg16b counters + 256
  jne 1b
  cmp %rax, %rdx
  je 2f
  lock addq $1000000, counters + 256
2:pop %rbx
  xor %eax, %eax
  ret
count_spinlock:
  mov $1, %eax
  xchg %al, counters + 64
  test %al, %al
  jz 1f
  pause
  jmp count_spinlock
1:incq counters
  movb $0, counters + 64
  xor %eax, %eax
  ret
count_bits:                     # a lock of one bit beside another that comes and goes
  lock btsl $1, counters + 64
  jnc 1f
  pause
  jmp count_bits
1:incq counters
  lock orb $0x80, counters + 64
  lock andb $0x7f, counters + 64
  lock btrl $1, counters + 64
  xor %eax, %eax
  ret
count_inside:                   # 4 bytes that are not aligned, inside 8 that are
  lock incl counters + 66
  xor %eax, %eax
  ret
count_split_line:
  xor %eax, %eax
  test $63, %ebx
  jnz 1f
  lock incl counters + 126
1:ret
count_split_page:
  xor %eax, %eax
  test $63, %ebx
  jnz 1f
  lock incl counters + 4094
1:ret

.data
.balign 8
t_sb: .quad store_x_load_y, store_y_load_x, 0, 0
  .byte 0x0a, 0x0a
.balign 8
t_mp: .quad write_x_y, read_y_x, 0, 0
  .byte 0x0c, 0x04
.balign 8
t_lb: .quad load_x_store_y, load_y_store_x, 0, 0
  .byte 0x05, 0x05
.balign 8
t_sb_mfence: .quad mfence_x_y, mfence_y_x, 0, 0
  .byte 0x05, 0x00
.balign 8
t_sb_xchg: .quad xchg_x_y, xchg_y_x, 0, 0
  .byte 0x05, 0x00
.balign 8
t_sb_lock: .quad lock_x_y, lock_y_x, 0, 0
  .byte 0x05, 0x00
.balign 8
t_sb_cpuid: .quad cpuid_x_y, cpuid_y_x, 0, 0
  .byte 0x05, 0x00
.balign 8
t_mp_mfence: .quad write_x_mfence_y, read_y_mfence_x, 0, 0
  .byte 0x0c, 0x04
.balign 8
t_iriw: .quad write_x, write_y, read_x_y, read_y_x
  .byte 0xf0, 0x50
.balign 8
t_iriw_mfence: .quad write_x, write_y, read_x_mfence_y, read_y_mfence_x
  .byte 0xf0, 0x50
.macro COUNTERS name:req, function:req
.balign 8
\name: .quad \function, \function, \function, \function
  .byte 0, 1                    # nothing is seen
.endm
  COUNTERS t_xadd, count_xadd
  COUNTERS t_cmpxchg, count_cmpxchg
  COUNTERS t_wide, count_wide
  COUNTERS t_spinlock, count_spinlock
  COUNTERS t_bits, count_bits
  COUNTERS t_inside, count_inside
  COUNTERS t_split_line, count_split_line
  COUNTERS t_split_page, count_split_page
.balign 8
litmus_test: .quad 0
litmus_command: .long 0xf       # commands of smp.s from 0x10 on are ours
.bss
.balign 4096
counters: .skip 8192
