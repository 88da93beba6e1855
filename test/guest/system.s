# System instructions: control registers, MSRs, interrupt flag and shadows, HLT, I/O permissions. SDM volumes 2 and 3 (2.5, 2.8).
.include "macros.inc"
.set APIC, -0x1200000
.text
.global suite_system
suite_system:
  # ---- control registers
.macro CR0_FAULT name, value
  NOT_ON_QEMU "system.cr0.\name", .Lnext\@
  mov $\value, %rax
  FAULT "system.cr0.\name", 13, 0, mov %rax, %cr0
.Lnext\@:
.endm
  CR0_FAULT pg-without-pe, 0x80000000
  CR0_FAULT nw-without-cd, CR0_DEFAULT|0x20000000
  CR0_FAULT high-half, 0x100000000|CR0_DEFAULT
  NOT_ON_QEMU "system.cr4.clear-pae-in-long-mode", 3f
  mov $CR4_DEFAULT & ~0x20, %eax
  FAULT "system.cr4.clear-pae-in-long-mode", 13, 0, mov %rax, %cr4
3:NOT_ON_QEMU "system.cr4.reserved", 3f
  mov $CR4_DEFAULT | 0x80000000, %eax
  FAULT "system.cr4.reserved", 13, 0, mov %rax, %cr4
3:
  mov $0x10, %eax
  FAULT "system.cr8.reserved", 13, 0, mov %rax, %cr8
  mov $9, %eax
  mov %rax, %cr8
  mov %cr8, %rax
  CHECK "system.cr8.read", 9
  mov APIC + 0x80, %eax
  CHECK "system.cr8.is-tpr", 0x90
  xor %eax, %eax
  mov %rax, %cr8
  mov $0x123456789, %rax
  mov %rax, %cr2
  mov %cr2, %rax
  CHECK "system.cr2.full-width", 0x123456789
  mov $0x33 | 8, %eax
  lmsw %ax
  mov %cr0, %rax
  CHECK "system.lmsw.sets-ts", CR0_DEFAULT | 8
  clts
  mov %cr0, %rax
  CHECK "system.clts", CR0_DEFAULT
  mov $0x32, %eax
  lmsw %ax
  mov %cr0, %rax
  CHECK "system.lmsw.keeps-pe", CR0_DEFAULT
  xor %eax, %eax
  smsw %rax
  CHECK "system.smsw", CR0_DEFAULT

  # ---- MSRs
  mov $0x12345678, %ecx
  FAULT "system.rdmsr.unknown", 13, 0, rdmsr
  FAULT "system.wrmsr.unknown", 13, 0, wrmsr
  mov $0xc0000080, %ecx
  mov $0xd01 | 0x10000, %eax
  xor %edx, %edx
  FAULT "system.efer.reserved", 13, 0, wrmsr
  mov $0xc01, %eax
  FAULT "system.efer.clear-lme-while-paging", 13, 0, wrmsr
  mov $0xd01, %eax
  TRY 2f
  wrmsr
2:NOTRAP "system.efer.same"
  rdmsr
  CHECK "system.efer.lma-read-only", 0xd01
.macro NONCANONICAL name, msr
  mov $\msr, %ecx
  xor %eax, %eax
  mov $0x8000, %edx
  FAULT "system.wrmsr.\name\().non-canonical", 13, 0, wrmsr
.endm
  NONCANONICAL lstar, 0xc0000082
  NONCANONICAL fs-base, 0xc0000100
  NONCANONICAL gs-base, 0xc0000101
  NONCANONICAL kernel-gs-base, 0xc0000102
  NONCANONICAL sysenter-eip, 0x176
  mov $0x277, %ecx              # PAT: 2 is a reserved memory type
  mov $0x00070602, %eax
  mov $0x00070406, %edx
  FAULT "system.wrmsr.pat-reserved", 13, 0, wrmsr
  mov $0xc0000100, %ecx
  mov $0x89abcdef, %eax
  mov $0xffff8123, %edx
  wrmsr
  rdmsr
  shl $32, %rdx
  or %rdx, %rax
  CHECK "system.fs-base", 0xffff812389abcdef

  # ---- SWAPGS, FSGSBASE
  mov $0xc0000101, %ecx
  mov $0x1111, %eax
  xor %edx, %edx
  wrmsr
  mov $0xc0000102, %ecx
  mov $0x2222, %eax
  wrmsr
  swapgs
  rdmsr
  CHECK "system.swapgs.kernel", 0x1111
  mov $0xc0000101, %ecx
  rdmsr
  CHECK "system.swapgs.gs", 0x2222
  USERFAULT "system.swapgs.user", 13, 0, swapgs
  xor %eax, %eax
  FAULT "system.rdfsbase.off", 6, 0, rdfsbase %rax
  mov $7, %eax
  xor %ecx, %ecx
  cpuid
  test $1, %ebx
  jnz 1f
  SKIP "system.fsgsbase"
  jmp 3f
1:mov $CR4_DEFAULT | 0x10000, %eax
  mov %rax, %cr4
  mov $0x7ffffffff123, %rcx
  wrfsbase %rcx
  rdfsbase %rax
  CHECK "system.fsgsbase.fs", 0x7ffffffff123
  mov $0x800000000000, %rcx
  FAULT "system.fsgsbase.non-canonical", 13, 0, wrgsbase %rcx
  mov $-1, %rcx
  wrgsbase %ecx
  rdgsbase %rax
  CHECK "system.fsgsbase.32-bit", 0xffffffff
  mov $CR4_DEFAULT, %eax
  mov %rax, %cr4
3:
  # ---- CPUID, TSC, XGETBV
  xor %ebx, %ebx
  mov $0x80000000, %eax
  cpuid
  shr $31, %rax
  CHECK "system.cpuid.extended-range", 1
  mov $-1, %rax
  mov $-1, %rbx
  mov $-1, %rcx
  mov $-1, %rdx
  cpuid
  shr $32, %rax
  shr $32, %rbx
  or %rbx, %rax
  CHECK "system.cpuid.clears-high-halves", 0
  rdtsc
  shl $32, %rdx
  or %rdx, %rax
  mov %rax, %rbx
  mov $1000, %ecx
1:loop 1b
  rdtsc
  shl $32, %rdx
  or %rdx, %rax
  cmp %rbx, %rax
  seta %al
  movzx %al, %eax
  CHECK "system.rdtsc.advances", 1
  mov $0xc0000103, %ecx
  mov $0x77, %eax
  xor %edx, %edx
  wrmsr
  rdtscp
  mov %rcx, %rax
  CHECK "system.rdtscp.aux", 0x77
  mov $CR4_DEFAULT | 4, %eax
  mov %rax, %cr4
  USERFAULT "system.rdtsc.tsd-user", 13, 0, rdtsc
  TRY 2f
  rdtsc
2:NOTRAP "system.rdtsc.tsd-kernel"
  mov $CR4_DEFAULT, %eax
  mov %rax, %cr4
  USER u_rdtsc
  TRAP "system.rdtsc.user", VEC_DONE
  xor %ecx, %ecx
  FAULT "system.xgetbv.without-osxsave", 6, 0, xgetbv

  # ---- INVLPG, caches
  TRY 2f
  mov $0x800000000000, %rax
  invlpg (%rax)
  wbinvd
  invd
2:NOTRAP "system.invlpg.non-canonical-and-wbinvd"
  FAULT "system.invlpg.register", 6, 0, .byte 0x0f, 0x01, 0xff

  # ---- privileged instructions in ring 3
  USERFAULT "system.user.cli", 13, 0, cli
  USERFAULT "system.user.sti", 13, 0, sti
  USERFAULT "system.user.hlt", 13, 0, hlt
  USERFAULT "system.user.mov-from-cr0", 13, 0, mov %cr0, %rax
  USERFAULT "system.user.mov-to-cr3", 13, 0, mov %rax, %cr3
  USERFAULT "system.user.mov-cr8", 13, 0, mov %rax, %cr8
  USERFAULT "system.user.mov-dr", 13, 0, mov %dr0, %rax
  USERFAULT "system.user.rdmsr", 13, 0, rdmsr
  USERFAULT "system.user.wrmsr", 13, 0, wrmsr
  USERFAULT "system.user.lgdt", 13, 0, lgdt (%rsp)
  USERFAULT "system.user.lidt", 13, 0, lidt (%rsp)
  USERFAULT "system.user.lldt", 13, 0, lldt %ax
  USERFAULT "system.user.ltr", 13, 0, ltr %ax
  USERFAULT "system.user.lmsw", 13, 0, lmsw %ax
  USERFAULT "system.user.clts", 13, 0, clts
  USERFAULT "system.user.invlpg", 13, 0, invlpg (%rsp)
  USERFAULT "system.user.invd", 13, 0, invd
  USERFAULT "system.user.wbinvd", 13, 0, wbinvd
  USERFAULT "system.user.sysretq", 13, 0, sysretq
  USERFAULT "system.user.sysexit", 13, 0, sysexitl
  USERFAULT "system.user.int-privileged-gate", 13, 0x20*8+2, int $0x20
  USERCODE "system.user.smsw-allowed", VEC_DONE, 0, "smsw %eax; int $VEC_DONE"
  USERFAULT "system.user.rdpmc", 13, 0, rdpmc

  # ---- POPF, IOPL
  movl $0x3002, user_flags
  USER u_sti
  TRAP "system.iopl3.sti", VEC_DONE
  mov trap_rflags, %rax
  and $0x3200, %eax
  CHECK "system.iopl3.sti-flags", 0x3200
  movl $2, user_flags
  USER u_popf
  mov trap_rflags, %rax
  and $0x203200, %eax
  CHECK "system.popf.user-iopl0", 0x200000
  movl $0x3002, user_flags
  USER u_popf
  mov trap_rflags, %rax
  and $0x3200, %eax
  CHECK "system.popf.user-iopl3", 0x3200
  movl $2, user_flags           # IRET within ring 3 obeys the same rules
  USER u_iret
  TRAP "system.iret.user", VEC_DONE
  mov trap_rflags, %rax
  and $0x203200, %eax
  CHECK "system.iret.user-iopl0", 0x200000
  movl $0x3002, user_flags
  USER u_iret
  mov trap_rflags, %rax
  and $0x3200, %eax
  CHECK "system.iret.user-iopl3", 0x3200
  movl $2, user_flags
  pushq $0x3002
  popfq
  pushfq
  pop %rax
  pushq $2
  popfq
  and $0x3000, %eax
  CHECK "system.popf.kernel-iopl", 0x3000
  mov $0xffff802a, %eax         # reserved bits, VM and RF read back as 0
  push %rax
  popfq
  pushfq
  pop %rax
  pushq $2
  popfq
  and $0xffc3802a, %eax
  CHECK "system.popf.reserved", 2

  # ---- I/O permission bitmap
  movb $0xfe, io_bitmap + 0x80/8
  USERCODE "system.io.allowed", VEC_DONE, 0, "out %al, $0x80; int $VEC_DONE"
  USERFAULT "system.io.denied", 13, 0, out %al, $0x81
  USERFAULT "system.io.word-spans", 13, 0, out %ax, $0x80
  movb $0xfc, io_bitmap + 0x80/8
  USERCODE "system.io.word-allowed", VEC_DONE, 0, "out %ax, $0x80; int $VEC_DONE"
  movb $0x7f, io_bitmap + 0x80/8
  movb $0xfe, io_bitmap + 0x88/8
  USERCODE "system.io.word-across-bytes", VEC_DONE, 0, "mov $0x87, %edx; out %ax, %dx; int $VEC_DONE"
  movb $0xff, io_bitmap + 0x80/8
  movb $0xff, io_bitmap + 0x88/8
  movl $0x3002, user_flags
  USERCODE "system.io.iopl3", VEC_DONE, 0, "out %al, $0x80; int $VEC_DONE"
  movl $2, user_flags

  # ---- HLT, STI shadow (a self-IPI is pending when interrupts come on)
  call apic_on
  movq $hook_apic, trap_hook
  movl $0, vector_count + 0x50*4
  movl $0x40050, APIC + 0x300
  xor %ebx, %ebx
  sti
  inc %ebx                      # runs before the interrupt
1:nop
  nop
  cli
  mov trap_rip, %rax
  sub $1b, %rax
  CHECK "system.sti.shadow", 0
  mov vector_count + 0x50*4, %eax
  CHECK "system.sti.taken-once", 1
  movl $0x40050, APIC + 0x300
  sti
  hlt
1:cli
  mov trap_rip, %rax
  sub $1b, %rax
  CHECK "system.sti-hlt", 0
  movl $0x40050, APIC + 0x300
  sti
  cli                           # nothing may come in between
  mov vector_count + 0x50*4, %eax
  CHECK "system.sti-cli", 2
  sti
  mov $KDATA, %eax
  mov %eax, %ss                 # the shadow of MOV SS when an interrupt is already over
  nop
  cli
  mov vector_count + 0x50*4, %eax
  CHECK "system.sti.delivered-later", 3
  movl $0x40050, APIC + 0x300
  pushq $0x202                  # POPF has no shadow
  popfq
1:inc %ebx
  nop
  cli
  mov trap_rip, %rax
  sub $1b, %rax
  CHECK "system.popf.no-shadow", 0
  movq $0, trap_hook
  ret

# Local APIC on with spurious vector 0xff, everything masked, PIC masked.
.global apic_on
apic_on:
  mov $0xff, %al
  out %al, $0x21
  out %al, $0xa1
  movl $0x1ff, APIC + 0xf0
  movl $0x10000, APIC + 0x320
  movl $0x10000, APIC + 0x350
  movl $0x10000, APIC + 0x360
  movl $0x10000, APIC + 0x370
  movl $0, APIC + 0x80
  ret

u_rdtsc:
  rdtsc
  int $VEC_DONE
u_sti:
  sti
  int $VEC_DONE
u_iret:
  mov %rsp, %rdx
  pushq $UDATA
  push %rdx
  pushq $0x203202
  pushq $U64
  lea 1f(%rip), %rax
  push %rax
  iretq
1:int $VEC_DONE
u_popf:
  pushq $0x203202
  popfq
  int $VEC_DONE
