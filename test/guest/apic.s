# Local APIC: registers, priorities, EOI, NMI, timer in its three modes, x2APIC. SDM volume 3 chapter 11.
.include "macros.inc"
.set APIC, -0x1200000
.macro COUNT name, vector, want
  mov vector_count + \vector*4, %eax
  CHECK "\name", \want
.endm
.text
.global suite_apic
window:
  sti
  nop
  nop
  cli
  ret
clear_counts:
  mov $vector_count, %edi
  xor %eax, %eax
  mov $256, %ecx
  rep stosl
  ret
suite_apic:
  call apic_on
  call clear_counts
  movq $hook_apic, trap_hook
  mov APIC + 0x20, %eax
  CHECK "apic.id", 0
  mov APIC + 0x30, %eax
  shr $4, %eax
  and $15, %eax
  CHECK "apic.version-integrated", 1
  mov $0x1b, %ecx
  rdmsr
  CHECK "apic.base-msr", 0xfee00900

  # ---- software disable masks the LVT
  movl $0xfe, APIC + 0x370
  movl $0xff, APIC + 0xf0
  mov APIC + 0x370, %eax
  CHECK "apic.svr-off-masks-lvt", 0x100fe
  movl $0x40052, APIC + 0x300
  call window
  COUNT "apic.svr-off-refuses", 0x52, 0
  movl $0x1ff, APIC + 0xf0
  movl $0x10000, APIC + 0x370

  # ---- self IPI, priorities, TPR
  movl $0x40081, APIC + 0x300
  mov APIC + 0x200 + 4*16, %eax
  CHECK "apic.irr", 2
  call window
  COUNT "apic.self-ipi", 0x81, 1
  mov APIC + 0x200 + 4*16, %eax
  CHECK "apic.irr-cleared", 0
  movl $0x40041, APIC + 0x300
  movl $0x40091, APIC + 0x300
  movl $0x80, APIC + 0x80
  call window
  COUNT "apic.tpr.above-passes", 0x91, 1
  COUNT "apic.tpr.below-waits", 0x41, 0
  mov APIC + 0xa0, %eax
  CHECK "apic.ppr-is-tpr", 0x80
  mov $4, %eax
  mov %rax, %cr8
  call window
  COUNT "apic.cr8.same-class-waits", 0x41, 0
  mov $3, %eax
  mov %rax, %cr8
  call window
  COUNT "apic.cr8.lower-passes", 0x41, 1
  xor %eax, %eax
  mov %rax, %cr8
  movq $hook_count, trap_hook   # without EOI
  movl $0x40092, APIC + 0x300
  call window
  mov APIC + 0xa0, %eax
  CHECK "apic.ppr-in-service", 0x90
  mov APIC + 0x100 + 4*16, %eax
  CHECK "apic.isr", 1 << 18
  movl $0x4009f, APIC + 0x300
  call window
  COUNT "apic.nesting.same-class-waits", 0x9f, 0
  movl $0x400a0, APIC + 0x300
  call window
  COUNT "apic.nesting.higher-class", 0xa0, 1
  movl $0, APIC + 0xb0
  call window
  COUNT "apic.nesting.after-first-eoi", 0x9f, 0
  movl $0, APIC + 0xb0
  call window
  COUNT "apic.nesting.after-second-eoi", 0x9f, 1
  movl $0, APIC + 0xb0
  movq $order_hook, trap_hook   # both pending: the higher vector first
  movl $0, order
  movl $0x40051, APIC + 0x300
  movl $0x40061, APIC + 0x300
  call window
  mov order, %eax
  CHECK "apic.order", 0x6151
  movl $0, order                # two classes in one 32-bit word of the request register
  movl $0x4004e, APIC + 0x300
  movl $0x40051, APIC + 0x300
  call window
  mov order, %eax
  CHECK "apic.order-in-word", 0x514e
  movq $hook_apic, trap_hook

  # ---- errors
  movl $0, APIC + 0x280
  movl $0, APIC + 0x280
  movl $0x40005, APIC + 0x300
  movl $0, APIC + 0x280
  mov APIC + 0x280, %eax
  and $0x60, %eax
  CHECK "apic.esr.send-illegal-vector", 0x20
  call window                   # nothing was sent
  COUNT "apic.esr.illegal-vector-not-sent", 5, 0
  movl $0, APIC + 0x280

  # ---- NMI: not held back by IF, blocked until IRET
  movq $0, trap_hook
  movl $0, APIC + 0x310
  TRY 2f
  movl $0x400, APIC + 0x300
  mov $100000, %ecx
1:pause
  loop 1b
2:TRAP "apic.nmi", 2
  mov trap_frame, %rax
  CHECK "apic.nmi.ist", ist2_top-40
  movq $nmi_nested, trap_hook   # still blocked: a second one comes only after IRET
  movl $0, nmi_seen
  movl $0x400, APIC + 0x300
  mov $10000, %ecx
1:pause
  loop 1b
  mov nmi_seen, %eax
  CHECK "apic.nmi.blocked-until-iret", 0
  mov %rsp, %rax
  pushq $KDATA
  push %rax
  pushq $2
  pushq $K64
  pushq $1f
  iretq
1:mov $10000, %ecx
1:pause
  loop 1b
  mov nmi_seen, %eax
  CHECK "apic.nmi.after-iret", 1
  movq $hook_apic, trap_hook

  # ---- timer
  movl $3, APIC + 0x3e0         # divide by 16
  movl $0x100b0, APIC + 0x320
  movl $0xffffffff, APIC + 0x380
  mov $2000, %eax
  call delay
  mov APIC + 0x390, %eax
  not %eax
  mov %eax, %ebx                # ticks in about 1.7 ms
  cmp $100, %eax
  seta %al
  movzx %al, %eax
  CHECK "apic.timer.counts-down", 1
  movl $0xb0, APIC + 0x320
  mov %ebx, APIC + 0x380
  sti
  hlt
  cli
  COUNT "apic.timer.one-shot", 0xb0, 1
  mov APIC + 0x390, %eax
  CHECK "apic.timer.one-shot-stops", 0
  mov $10000, %eax
  call delay
  call window
  COUNT "apic.timer.one-shot-once", 0xb0, 1
  movl $0x200b1, APIC + 0x320
  mov %ebx, APIC + 0x380
  mov $5, %ecx
1:sti
  hlt
  cli
  loop 1b
  COUNT "apic.timer.periodic", 0xb1, 5
  movl $0x300b1, APIC + 0x320   # masked: counts on, silent
  mov $10000, %eax
  call delay
  call window
  COUNT "apic.timer.masked", 0xb1, 5
  mov APIC + 0x390, %eax
  test %eax, %eax
  setnz %al
  movzx %al, %eax
  CHECK "apic.timer.masked-counts", 1
  movl $0, APIC + 0x380
  mov APIC + 0x390, %eax
  CHECK "apic.timer.stopped", 0

  # ---- TSC deadline
  mov $1, %eax
  cpuid
  bt $24, %ecx
  jc 1f
  SKIP "apic.tsc-deadline"
  jmp 3f
1:mov $0x6e0, %ecx
  rdtsc
  add $1000, %eax
  wrmsr
  rdmsr
  or %edx, %eax
  CHECK "apic.tsc-deadline.ignored-in-other-mode", 0
  movl $0x400b2, APIC + 0x320
  movl $1000, APIC + 0x380
  mov APIC + 0x390, %eax
  CHECK "apic.tsc-deadline.no-count", 0
  rdtsc
  shl $32, %rdx
  add %rdx, %rax
  mov tsc_per_10ms, %rdx
  shr $2, %rdx
  add %rdx, %rax
  mov %rax, %rbx
  mov %rax, %rdx
  shr $32, %rdx
  wrmsr
  rdmsr
  shl $32, %rdx
  or %rdx, %rax
  sub %rbx, %rax
  CHECK "apic.tsc-deadline.reads-back", 0
  sti
  hlt
  cli
  rdtsc
  shl $32, %rdx
  or %rdx, %rax
  cmp %rbx, %rax
  setae %al
  movzx %al, %eax
  CHECK "apic.tsc-deadline.not-early", 1
  COUNT "apic.tsc-deadline.fires", 0xb2, 1
  mov $0x6e0, %ecx
  rdmsr
  or %edx, %eax
  CHECK "apic.tsc-deadline.cleared", 0
  mov $1, %eax                  # in the past
  xor %edx, %edx
  wrmsr
  call window
  COUNT "apic.tsc-deadline.past", 0xb2, 2
  rdtsc
  add $0x10000000, %eax
  adc $0, %edx
  wrmsr
  xor %eax, %eax
  xor %edx, %edx
  wrmsr
  call window
  COUNT "apic.tsc-deadline.disarmed", 0xb2, 2
  movl $0x10000, APIC + 0x320
3:
  # ---- x2APIC
  mov $1, %eax
  cpuid
  bt $21, %ecx
  jc 1f
  SKIP "apic.x2apic"
  ret
1:movq $0, trap_hook            # from here faults are caught
  mov $0x802, %ecx
  FAULT "apic.x2apic.msr-outside-mode", 13, 0, rdmsr
.macro BASE name, low, vector
  mov $0x1b, %ecx
  mov $\low, %eax
  xor %edx, %edx
  TRY 2f
  wrmsr
2:TRAP "apic.base.\name", \vector
.endm
  BASE x2apic-without-enable, 0xfee00500, 13
  BASE reserved-bit, 0xfee00901, 13
  BASE to-x2apic, 0xfee00d00, -1
  BASE x2apic-to-xapic, 0xfee00900, 13
  mov $0x802, %ecx
  rdmsr
  CHECK "apic.x2apic.id", 0
  mov $0x80d, %ecx
  rdmsr
  CHECK "apic.x2apic.ldr", 1
.macro X2FAULT name, msr, instruction, low=0, high=0
  mov $\msr, %ecx
  mov $\low, %eax
  mov $\high, %edx
  FAULT "apic.x2apic.\name", 13, 0, \instruction
.endm
  X2FAULT no-dfr, 0x80e, rdmsr
  X2FAULT no-high-icr, 0x831, rdmsr
  X2FAULT eoi-write-only, 0x80b, rdmsr
  X2FAULT eoi-nonzero, 0x80b, wrmsr, 1
  X2FAULT id-read-only, 0x802, wrmsr
  X2FAULT tpr-reserved, 0x808, wrmsr, 0x100
  X2FAULT high-half, 0x808, wrmsr, 0, 1
  X2FAULT self-ipi-write-only, 0x83f, rdmsr
  movq $hook_x2apic, trap_hook
  mov $0x83f, %ecx
  mov $0xc1, %eax
  xor %edx, %edx
  wrmsr
  call window
  COUNT "apic.x2apic.self-ipi", 0xc1, 1
  mov $0x830, %ecx
  mov $0xc2, %eax
  xor %edx, %edx
  wrmsr
  call window
  COUNT "apic.x2apic.icr", 0xc2, 1
  mov $0x830, %ecx
  mov $0x8c3, %eax
  mov $1, %edx
  wrmsr
  call window
  COUNT "apic.x2apic.logical", 0xc3, 1
  movq $0, trap_hook
  BASE x2apic-to-off, 0xfee00100, -1
  BASE off-to-x2apic, 0xfee00d00, 13
  BASE off-to-xapic, 0xfee00900, -1
  mov APIC + 0xf0, %eax
  CHECK "apic.base.off-resets", 0xff
  call apic_on

  # ---- the register page moves over RAM and back (11.4.5): RAM below it is out of reach, and unharmed
  NOT_ON_QEMU "apic.moved", .Lmoved_end
  movl $0x12345678, arena + 0x1030
  movl $0x12345678, arena + 0x1080
  mov $0x1b, %ecx
  xor %edx, %edx
  mov $arena + 0x1000 + 0x900, %eax
  wrmsr
  mov arena + 0x1030, %eax
  CHECK "apic.moved.version", 0x50014
  movl $0x20, arena + 0x1080
  mov %cr8, %rax
  CHECK "apic.moved.write", 2
  mov APIC + 0x30, %eax
  CHECK "apic.moved.old-place-empty", 0xffffffff
  movl $0, arena + 0x1080
  movl $0xabcd1234, arena + 0xffe
  movzwl arena + 0xffe, %eax
  CHECK "apic.moved.crossing-write", 0x1234
  mov $0x1b, %ecx
  xor %edx, %edx
  mov $0xfee00900, %eax
  wrmsr
  mov arena + 0x1030, %eax
  CHECK "apic.moved.ram-kept", 0x12345678
  mov arena + 0x1080, %eax
  CHECK "apic.moved.ram-not-written", 0x12345678
  mov APIC + 0x30, %eax
  CHECK "apic.moved.back", 0x50014
  call apic_on
.Lmoved_end:
  ret

hook_x2apic:
  push %rax
  push %rcx
  push %rdx
  mov $0x80b, %ecx
  xor %eax, %eax
  xor %edx, %edx
  wrmsr
  pop %rdx
  pop %rcx
  pop %rax
  jmp hook_count
order_hook:
  movl $0, APIC + 0xb0
  shll $8, order
  or %eax, order
  jmp hook_return
nmi_nested:
  incl nmi_seen
  jmp hook_return
.bss
.balign 8
order: .skip 8
nmi_seen: .skip 8
