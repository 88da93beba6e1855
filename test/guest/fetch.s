# Where code comes from: the limit of CS inside straight-line code, and instructions that lie in the registers of a device. SDM volume 3, 5.3 and 4.10.
.include "macros.inc"
.set APIC, -0x1200000
.set VA, TEST_BASE
.text
.global suite_fetch
suite_fetch:
  # ---- limit of a 32-bit code segment at `arena`, 4 KiB: SMALL becomes code for a while
  movb $0x9b, gdt + SMALL + 5
.macro CODE offset, bytes:vararg
  mov $.Lbytes\@, %esi
  mov $arena + \offset, %edi
  mov $.Lend\@ - .Lbytes\@, %ecx
  rep movsb
  .pushsection .rodata
.Lbytes\@: .byte \bytes
.Lend\@:
  .popsection
.endm
.macro INSMALL name, limit, offset, vector, rip
  movw $\limit, gdt + SMALL
  TRY 2f
  pushq $SMALL
  pushq $\offset
  lretq
2:TRAP "fetch.limit.\name", \vector, 0, \rip
.endm
  CODE 0x800, 0x90, 0x90, 0xb8, 1, 0, 0, 0, 0xcd, VEC_DONE        # nop; nop; mov $1, %eax; int
  INSMALL inside, 0xfff, 0x800, VEC_DONE, 0x809
  INSMALL ends-there, 0x808, 0x800, VEC_DONE, 0x809
  INSMALL next-instruction, 0x806, 0x800, 13, 0x807
  INSMALL inside-immediate, 0x805, 0x800, 13, 0x802
  INSMALL inside-opcode-only, 0x802, 0x800, 13, 0x802
  INSMALL raised-again, 0xfff, 0x800, VEC_DONE, 0x809
  CODE 0xa00, 0x90, 0xb8, 2, 0, 0, 0, 0xcd, VEC_DONE              # decoded under the low limit first
  INSMALL cut-block, 0xa04, 0xa00, 13, 0xa01
  INSMALL cut-block-again, 0xfff, 0xa00, VEC_DONE, 0xa08
  CODE 0xffa, 0x90, 0x90, 0x90, 0x90, 0xb8, 3, 0, 0, 0, 0xcd, VEC_DONE
  INSMALL page-crossing, 0xfff, 0xffa, 13, 0xffe
  INSMALL page-crossing-by-one, 0x1001, 0xffa, 13, 0xffe
  INSMALL page-crossing-inside, 0x1004, 0xffa, VEC_DONE, 0x1005
  CODE 0xff9, 0x90, 0x90, 0x90, 0x90, 0xf3, 0xf3, 0xf3            # prefixes only, up to the limit
  INSMALL prefixes, 0xfff, 0xff9, 13, 0xffd
  movw $0xfff, gdt + SMALL
  movb $0x93, gdt + SMALL + 5

  # ---- instructions in the initial count of the APIC timer, whose 32 bits are all plain storage while the timer's entry is masked
  NOT_ON_QEMU "fetch.device", .Lfetch_end
  movl $0x1ff, APIC + 0xf0
  movl $0x10000, APIC + 0x320
  movl $0x90c35ab0, APIC + 0x380          # mov $0x5a, %al; ret; nop
  mov $APIC + 0x380, %rax
  TRY 2f
  call *%rax
2:NOTRAP "fetch.device.runs"
  movzbl %al, %eax
  CHECK "fetch.device.result", 0x5a
  movl $0x90c35bb0, APIC + 0x380          # what was fetched is not kept
  mov $APIC + 0x380, %rax
  call *%rax
  movzbl %al, %eax
  CHECK "fetch.device.changed", 0x5b
  mov $1, %eax                            # a breakpoint elsewhere: one instruction at a time
  mov %rax, %dr7
  mov $APIC + 0x380, %rax
  call *%rax
  xor %ecx, %ecx
  mov %rcx, %dr7
  movzbl %al, %eax
  CHECK "fetch.device.stepped", 0x5b
  movl $0x90900b0f, APIC + 0x380          # ud2
  mov $APIC + 0x380, %rax
  TRY 2f
  call *%rax
2:TRAP "fetch.device.ud2", 6, 0, APIC + 0x380
  mov $0xfeb00000, %eax                   # nobody is there: all ones, which is no instruction
  TRY 2f
  jmp *%rax
2:TRAP "fetch.nothing", 6
  mov trap_rip, %rax
  CHECK "fetch.nothing.rip", 0xfeb00000

  # ---- one instruction in RAM and a device: reserved registers read as 0
  call map_pages
  movq $arena + 3, test_pt
  mov $0xfee00013, %eax
  mov %rax, test_pt + 8
  movq $arena + 0x1003, test_pt + 16
  mov %cr3, %rax
  mov %rax, %cr3
  movb $0xc2, arena + 0xfff               # ret $0
  movb $0xff, arena + 0x1000              # the page that follows in RAM is not the one that follows here
  mov $VA + 0xfff, %rax
  mov %rsp, %rbx
  TRY 2f
  call *%rax
2:NOTRAP "fetch.device.from-ram"
  mov %rsp, %rax
  sub %rbx, %rax
  CHECK "fetch.device.from-ram-stack", 0
  mov %rbx, %rsp
  movb $0xc0, arena + 0x1000              # 00 c0: add %al, %al
  movb $0xc3, arena + 0x1001              # ret
  mov $VA + 0x1fff, %rdx
  mov $0x21, %eax
  TRY 2f
  call *%rdx
2:NOTRAP "fetch.device.into-ram"
  CHECK "fetch.device.into-ram-result", 0x42
  movl $0, APIC + 0x280                   # the reserved registers left an error
  movl $0, APIC + 0x280
  movl $0, APIC + 0x380
.Lfetch_end:
  ret
