# What the processor says about itself: CPUID leaves that must agree with one another, MSRs that must fault, the KVM clock.
# SDM volume 2 (CPUID), volume 4; Linux Documentation/virt/kvm/x86/msr.rst. Clock checks are left out without a KVM clock.
.include "macros.inc"
.set APIC, -0x1200000
.macro BOOLEAN name, condition
  set\condition %al
  movzx %al, %eax
  CHECK "\name", 1
.endm
.macro LEAF leaf, subleaf=0
  mov $\leaf, %eax
  mov $\subleaf, %ecx
  cpuid
.endm
.text
.global suite_identity
suite_identity:
  # ---- CPUID
  LEAF 0
  cmp $7, %eax
  BOOLEAN "cpuid.max-leaf", ae
  LEAF 0
  mov %ebx, %r8d
  mov %edx, %r9d
  mov %ecx, %r10d
  mov %r8d, %eax
  CHECK "cpuid.vendor.genu", 0x756e6547
  mov %r9d, %eax
  CHECK "cpuid.vendor.inei", 0x49656e69
  mov %r10d, %eax
  CHECK "cpuid.vendor.ntel", 0x6c65746e
  LEAF 1
  mov %ebx, %eax
  shr $24, %eax
  CHECK "cpuid.initial-apic-id", 0
  LEAF 1
  and $0x06008b71, %edx         # FPU TSC MSR PAE CX8 APIC SEP CMOV(15) FXSR.. as a long-mode kernel needs
  mov %edx, %eax
  CHECK "cpuid.edx.needed", 0x06008b70|1
  LEAF 1
  bt $31, %ecx
  BOOLEAN "cpuid.hypervisor-bit", c
  LEAF 0x80000000
  cmp $0x80000008, %eax
  BOOLEAN "cpuid.max-extended", ae
  LEAF 0x80000001
  and $0x20100800, %edx
  mov %edx, %eax
  CHECK "cpuid.extended.syscall-nx-lm", 0x20100800
  LEAF 0x80000008
  mov %eax, %ebx
  movzx %al, %eax
  cmp $36, %eax
  BOOLEAN "cpuid.physical-bits", ae
  cmp $48, %bh
  BOOLEAN "cpuid.linear-bits", ae
  LEAF 0x40000000
  cmp $0x40000000, %eax
  BOOLEAN "cpuid.hypervisor-leaf", ae
  LEAF 0xb
  mov %edx, %eax
  CHECK "cpuid.x2apic-id", 0
  LEAF 0xb, 5                   # levels that do not exist: type 0, the subleaf is echoed
  mov %ecx, %eax
  CHECK "cpuid.topology-end", 5
  NOT_ON_QEMU "cpuid.apic-off", 3f
  mov $0x1b, %ecx               # the APIC bit follows IA32_APIC_BASE
  rdmsr
  mov %eax, %ebx
  and $~0x800, %eax
  wrmsr
  push %rbx
  LEAF 1
  pop %rbx
  mov %edx, %edi
  mov $0x1b, %ecx
  mov %ebx, %eax
  xor %edx, %edx
  wrmsr
  bt $9, %edi
  BOOLEAN "cpuid.apic-off", nc
  LEAF 1
  bt $9, %edx
  BOOLEAN "cpuid.apic-on", c
3:

  # ---- MSRs that are #GP(0): unknown ones, reserved bits, bad values
.macro BADREAD name, msr
  mov $\msr, %ecx
  FAULT "msr.read.\name", 13, 0, rdmsr
.endm
.macro BADWRITE name, msr, low=0, high=0
  mov $\msr, %ecx
  mov $\low, %eax
  mov $\high, %edx
  FAULT "msr.write.\name", 13, 0, wrmsr
.endm
  BADREAD zero-page, 0x7ff
  BADREAD vmx, 0x480
  BADREAD last, 0xffffffff
  BADREAD amd, 0xc0010015
  BADREAD pred-cmd, 0x49
  BADREAD beyond-kvm, 0x4b564dff
  BADREAD mtrr-hole, 0x25a
  BADWRITE mtrr-cap, 0xfe
  BADWRITE efer-bit-1, 0xc0000080, 0xd03
  BADWRITE efer-high, 0xc0000080, 0xd01, 1
  BADWRITE fmask-high, 0xc0000084, 0, 1
  BADWRITE sysenter-esp, 0x175, 0, 0x8000
  BADWRITE cstar, 0xc0000083, 0, 0x8000
  BADWRITE pat-type3, 0x277, 0x03
  BADWRITE pat-type8, 0x277, 0x08
  BADWRITE mtrr-fixed-type2, 0x250, 0x02
  BADWRITE mtrr-default-type, 0x2ff, 0xc02
  BADWRITE mtrr-default-reserved, 0x2ff, 0x1006
  BADWRITE mtrr-base-type, 0x200, 0x07
  BADWRITE mtrr-base-reserved, 0x200, 0x100
  BADWRITE mtrr-mask-reserved, 0x201, 0x400
  BADWRITE apic-base-reserved, 0x1b, 0xfee00901
  BADWRITE apic-base-beyond, 0x1b, 0xfee00900, 0x80000000
  BADWRITE pred-cmd-reserved, 0x49, 2
  USERFAULT "msr.user.rdmsr", 13, 0, rdmsr
  mov $0xc0000081, %ecx         # STAR keeps all 64 bits
  mov $0x89abcdef, %eax
  mov $0x01234567, %edx
  wrmsr
  rdmsr
  shl $32, %rdx
  or %rdx, %rax
  CHECK "msr.star", 0x0123456789abcdef
  mov $0x10, %ecx               # writing the TSC moves it, TSC_ADJUST follows
  rdmsr
  push %rax
  push %rdx
  mov $0x3b, %ecx
  rdmsr
  mov %eax, %ebx
  mov $0x10, %ecx
  mov $0x1000, %edx
  xor %eax, %eax
  wrmsr
  rdtsc
  mov %edx, %eax
  CHECK "msr.tsc.written", 0x1000
  LEAF 7
  bt $1, %ebx
  jc 1f
  SKIP "msr.tsc-adjust"
  jmp 2f
1:mov $0x3b, %ecx
  rdmsr
  or %eax, %edx
  setnz %al
  movzx %al, %eax
  CHECK "msr.tsc-adjust.follows", 1
  mov $0x3b, %ecx
  xor %eax, %eax
  xor %edx, %edx
  wrmsr
  mov $0x10, %ecx
  rdmsr
  mov %edx, %eax
  cmp $0x1000, %eax
  BOOLEAN "msr.tsc-adjust.moves-tsc", b
2:pop %rdx
  pop %rax
  mov $0x10, %ecx
  wrmsr

  # ---- KVM clock
  LEAF 0x40000001
  bt $3, %eax
  jc 1f
3:SKIP "kvmclock"
  ret
1:LEAF 0x40000000
  cmp $0x4b4d564b, %ebx         # "KVMK"
  jne 3b
  mov $0x4b564d00, %ecx         # wall clock: version even, a time of this century
  mov $clock_page + 64, %eax
  xor %edx, %edx
  wrmsr
  mov clock_page + 64, %eax
  and $1, %eax
  CHECK "kvmclock.wall.version", 0
  mov clock_page + 68, %eax
  cmp $1600000000, %eax
  BOOLEAN "kvmclock.wall.seconds", a
  mov clock_page + 72, %eax
  cmp $1000000000, %eax
  BOOLEAN "kvmclock.wall.nanoseconds", b
  mov $0x4b564d01, %ecx
  mov $clock_page + 1, %eax
  xor %edx, %edx
  wrmsr
  rdmsr
  CHECK "kvmclock.msr", clock_page+1
  mov clock_page, %eax
  and $1, %eax
  CHECK "kvmclock.version", 0
  cmpl $0, clock_page
  BOOLEAN "kvmclock.version-counts", ne
  movzbl clock_page + 29, %eax
  CHECK "kvmclock.stable", 1
  call clock_read
  mov %rax, %rbx
  rdtsc
  shl $32, %rdx
  or %rax, %rdx
  mov %rdx, %rdi
  mov $11932, %eax              # 10 ms
  call delay
  call clock_read
  sub %rbx, %rax
  mov %rax, %rbx
  cmp $9000000, %rbx
  BOOLEAN "kvmclock.ten-ms.at-least", a
  cmp $2000000000, %rbx
  BOOLEAN "kvmclock.ten-ms.at-most", b
  mov $0x4b564d01, %ecx         # off: the page is left alone
  xor %eax, %eax
  xor %edx, %edx
  wrmsr
  mov $0x4b564d01, %ecx         # an address beyond memory is no way to harm the machine
  mov $1, %eax
  mov $0x3fff, %edx
  TRY 2f
  wrmsr
2:NOTRAP "kvmclock.beyond-memory"
  mov $0x4b564d01, %ecx
  xor %eax, %eax
  xor %edx, %edx
  wrmsr
  ret

# ns of the KVM clock in %rax: ((tsc - timestamp) << shift) * multiplier >> 32 + system time
clock_read:
  push %rcx
  push %rdx
  rdtsc
  shl $32, %rdx
  or %rdx, %rax
  sub clock_page + 8, %rax
  mov clock_page + 28, %cl
  shl %cl, %rax
  mov clock_page + 24, %edx
  mul %rdx
  shrd $32, %rdx, %rax
  add clock_page + 16, %rax
  pop %rdx
  pop %rcx
  ret

.bss
.balign 4096
clock_page: .skip 4096
