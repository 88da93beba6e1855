# Real mode: segment arithmetic, limits, interrupts through the vector table, 16-bit stack and string wrap, operand-size prefixes,
# the way down through 16-bit protected mode and back. SDM volume 3 chapter 21. The code is copied to physical 0x8000.
.include "macros.inc"
.set LOW, 0x8000
.text
.global suite_realmode
suite_realmode:
  push %rbx
  mov $low_start, %esi
  mov $LOW, %edi
  mov $low_end - low_start, %ecx
  rep movsb
  movl $0x6000, 0x5ff8          # records of this suite: next free one
  mov %rsp, real_rsp
  mov $1f, %ebx
  jmp leave_long_mode
.code32
1:lgdt gdt_real_pointer
  ljmp $0x18, $(low_16 - low_start + LOW)
.code64
real_back:
  mov real_rsp, %rsp
  pop %rbx
  movb $0x89, gdt + TSS + 5
  mov $TSS, %eax
  ltr %ax
  xor %eax, %eax
  lldt %ax
  mov $0x6000, %esi             # move the records to where flush_records looks
  mov $records, %edi
  mov 0x5ff8, %ecx
  sub %esi, %ecx
  rep movsb
  mov %edi, record_next
  jmp flush_records

# Value in %eax; names are linear addresses that only the reporter follows.
.macro REC name, want
  .pushsection .rodata
.Lname\@: .asciz "\name"
  .popsection
  push %edi
  push %ds
  pushw $0
  popw %ds
  mov 0x5ff8, %edi
  movl $.Lname\@, (%di)
  movl $0, 4(%di)
  mov %eax, 8(%di)
  movl $0, 12(%di)
  movl $\want, 16(%di)
  movl $0, 20(%di)
  addl $24, 0x5ff8
  pop %ds
  pop %edi
.endm

.code16
low_start:
low_16:                         # 16-bit protected mode, 64 KiB segments
  mov $0x20, %ax
  mov %ax, %ds
  mov %ax, %es
  mov %ax, %ss
  mov $0x7000, %esp
  mov %cr0, %eax
  mov %ax, %bx
  and $~1, %al
  mov %eax, %cr0
  ljmp $0, $(1f - low_start + LOW)
1:xor %ax, %ax
  mov %ax, %ds
  mov %ax, %es
  mov %ax, %fs
  mov %ax, %gs
  mov %ax, %ss
  mov $0x7000, %sp
  lidtl ivt_pointer - low_start + LOW
  xor %eax, %eax
  mov %cs, %ax
  REC "realmode.cs", 0
  smsw %ax
  and $1, %eax
  REC "realmode.pe-clear", 0

  # vector table: 0, 6, 12, 13 and 0x60
  movw $(int_fault0 - low_start + LOW), 0
  movw $0, 2
  movw $(int_fault6 - low_start + LOW), 6*4
  movw $0, 6*4+2
  movw $(int_fault12 - low_start + LOW), 12*4
  movw $0, 12*4+2
  movw $(int_fault13 - low_start + LOW), 13*4
  movw $0, 13*4+2
  movw $(int_60 - low_start + LOW), 0x60*4
  movw $0, 0x60*4+2

  # segment * 16 + offset, beyond 1 MiB too (A20 open)
  mov $0x7f0, %ax
  mov %ax, %ds
  movl $0x13579bdf, %ds:0x10
  xor %ax, %ax
  mov %ax, %ds
  mov 0x7f10, %eax
  REC "realmode.segment-base", 0x13579bdf
  mov $0xffff, %ax
  mov %ax, %es
  movl $0xa20a20a2, 0           # linear 0 is not linear 0x100000
  mov %es:0x10, %eax
  movw $(int_fault0 - low_start + LOW), 0
  movw $0, 2
  sub $0xa20a20a2, %eax
  setz %al
  movzx %al, %eax
  REC "realmode.a20-open", 0
  xor %ax, %ax
  mov %ax, %es

  # 16-bit address wrap: BX + SI and the stack
  movl $0x2468ace0, 0x7f20
  mov $0xff20, %bx
  mov $0x8000, %si
  mov (%bx,%si), %eax
  REC "realmode.address-wraps", 0x2468ace0
  mov %sp, %bp
  mov $0x7f00, %ax
  mov %ax, %ss
  xor %sp, %sp
  pushw $0x1234
  mov %sp, %cx
  xor %ax, %ax
  mov %ax, %ss
  mov %bp, %sp
  movzx %cx, %eax
  REC "realmode.stack-wraps", 0xfffe

  # far call and return, CS changes
  xor %eax, %eax
  lcall $(LOW >> 4), $(far_function - low_start)
  REC "realmode.far-call-cs", LOW >> 4

  # INT n and IRET: flags, CS and IP on the stack, IF and TF cleared
  mov %sp, %bp
  sti
  int $0x60
1:cli
  movzx %ax, %eax
  REC "realmode.int-pushed-ip", 1b-low_start+LOW
  movzx %bx, %eax
  and $0x200, %eax
  REC "realmode.int-if-in-handler", 0
  movzx %cx, %eax
  and $0x200, %eax
  REC "realmode.int-if-pushed", 0x200
  mov %bp, %ax
  sub %sp, %ax
  movzx %ax, %eax
  REC "realmode.int-stack-balanced", 0

  # faults point to the instruction; there are no error codes
.macro REAL_FAULT name, vector, code:vararg
  movl $-1, real_vector - low_start + LOW
  movw $(.Lafter\@ - low_start + LOW), real_recover - low_start + LOW
  mov %sp, real_sp - low_start + LOW
.Lcode\@: \code
.Lafter\@:
  mov real_vector - low_start + LOW, %eax
  REC "realmode.\name", \vector
  movzwl real_ip - low_start + LOW, %eax
  REC "realmode.\name\().ip", .Lcode\@-low_start+LOW
.endm
  xor %dx, %dx
  mov $1, %ax
  xor %cx, %cx
  REAL_FAULT divide, 0, div %cx
  REAL_FAULT undefined, 6, ud2
  REAL_FAULT lldt-undefined, 6, lldt %ax
  mov $0xffff, %bx
  REAL_FAULT limit, 13, mov (%bx), %ax
  mov $0x10000, %ebx
  REAL_FAULT limit-32-bit-address, 13, mov (%ebx), %al
  mov $0xfffd, %ebp
  REAL_FAULT stack-limit, 12, mov (%bp), %eax

  # string operations use CX, SI, DI and wrap them
  movl $0x44332211, 0x7f30
  mov $0x7f30, %si
  mov $0x7f40, %di
  mov $0xabcd0004, %ecx
  cld
  rep movsb
  mov %ecx, %eax
  REC "realmode.rep-uses-cx", 0xabcd0000
  mov 0x7f40, %eax
  REC "realmode.rep-movsb", 0x44332211
  mov $0xffff, %di
  mov $0x1234ffff, %edi
  mov $0x7fff, %ax
  mov %ax, %es
  xor %ax, %ax
  stosb
  mov %edi, %eax
  REC "realmode.di-wraps", 0x12340000
  xor %ax, %ax
  mov %ax, %es
  mov $0x50003, %ecx
  xor %ebx, %ebx
1:inc %ebx
  loop 1b
  mov %ebx, %eax
  REC "realmode.loop-uses-cx", 3

  # PUSHF keeps 16 bits, POPF can set IOPL and IF
  pushw $0x3202
  popfw
  pushfw
  pop %ax
  pushw $2
  popfw
  movzx %ax, %eax
  REC "realmode.popf", 0x3202

  # a limit of 4 GiB loaded in protected mode stays (what is called unreal mode)
  lgdtl gdt_low_pointer - low_start + LOW
  mov %cr0, %eax
  or $1, %al
  mov %eax, %cr0
  jmp 1f
1:mov $0x10, %bx
  mov %bx, %ds
  and $~1, %al
  mov %eax, %cr0
  jmp 1f
1:xor %bx, %bx
  mov %bx, %ds
  movl $-1, real_vector - low_start + LOW
  movw $(1f - low_start + LOW), real_recover - low_start + LOW
  mov %sp, real_sp - low_start + LOW
  mov $0x100000, %ebx
  mov (%ebx), %ecx
1:mov real_vector - low_start + LOW, %eax
  REC "realmode.limit-kept-from-protected-mode", -1

  # up again: protected mode, then long mode
  mov %cr0, %eax
  or $1, %al
  mov %eax, %cr0
  ljmpl $0x08, $up32
.balign 4
real_vector: .long 0
real_recover: .word 0
real_sp: .word 0
real_ip: .word 0
ivt_pointer:
  .word 0x3ff
  .long 0
gdt_low_pointer:
  .word gdt_real_end - gdt_real - 1
  .long gdt_real
far_function:
  mov %cs, %ax
  lretw
int_60:
  pushfw
  popw %bx
  mov %sp, %si
  mov (%si), %ax
  mov 4(%si), %cx
  iretw
.macro FAULT_HANDLER n
int_fault\n:
  movl $\n, real_vector - low_start + LOW
  jmp int_fault
.endm
  FAULT_HANDLER 0
  FAULT_HANDLER 6
  FAULT_HANDLER 12
  FAULT_HANDLER 13
int_fault:
  popw real_ip - low_start + LOW
  mov real_sp - low_start + LOW, %sp
  jmp *real_recover - low_start + LOW
low_end:
.code32
up32:
  mov $0x10, %eax
  mov %eax, %ds
  mov %eax, %es
  mov %eax, %ss
  mov %eax, %fs
  mov %eax, %gs
  mov $intr_stack_top, %esp
  push $real_back
  jmp enter_long_mode32
.code64

.data
.balign 8
gdt_real:
  .quad 0
  .quad 0x00cf9b000000ffff      # 08
  .quad 0x00cf93000000ffff      # 10
  .quad 0x00009b000000ffff      # 18 16-bit code
  .quad 0x000093000000ffff      # 20 16-bit data
gdt_real_end:
gdt_real_pointer:
  .word gdt_real_end - gdt_real - 1
  .quad gdt_real
.bss
.balign 8
real_rsp: .skip 8
