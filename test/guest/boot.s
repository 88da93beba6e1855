# PVH entry, long mode, descriptor tables, trap handler, console and report of the self-checking guest.
# Memory: image from 1 MiB; 0x1000..0xffff is used by real-mode and AP code (realmode.s, smp.s).
.include "macros.inc"

.section .note.pvh, "a", @note
  .long 4, 8, 18                # XEN_ELFNOTE_PHYS32_ENTRY
  .asciz "Xen"
  .quad pvh_start

.text
.code32
.global pvh_start, enter_long_mode32
pvh_start:
  cli
  cld
  mov $stack_top, %esp
  mov 24(%ebx), %eax            # cmdline_paddr of struct hvm_start_info (Xen, PVH boot protocol)
  test %eax, %eax
  jz 1f
  cmpl $0x756d6571, (%eax)      # "qemu": the processor is QEMU's although its CPUID does not say so, as under kvm in QEMU
  sete is_qemu
1:push $main
enter_long_mode32:              # from 32-bit protected mode without paging, to the 64-bit address on the stack
  mov $CR4_DEFAULT, %eax
  mov %eax, %cr4
  mov $pml4, %eax
  mov %eax, %cr3
  mov $0xc0000080, %ecx
  mov $0x901, %eax              # NXE LME SCE
  xor %edx, %edx
  wrmsr
  mov $CR0_DEFAULT, %eax
  mov %eax, %cr0
  lgdt gdt_pointer
  ljmp $K64, $1f
.code64
1:mov (%rsp), %ebx
  add $4, %rsp
  call sane
  jmp *%rbx

# Puts back everything that tests change. Preserves all registers but %rax.
.global sane
sane:
  cli
  lgdt gdt_pointer
  lidt idt_pointer
  mov $KDATA, %eax
  mov %eax, %ds
  mov %eax, %es
  mov %eax, %fs
  mov %eax, %gs
  mov %eax, %ss
  mov $CR0_DEFAULT, %eax
  mov %rax, %cr0
  mov $CR4_DEFAULT, %eax
  mov %rax, %cr4
  mov $pml4, %eax
  mov %rax, %cr3
  xor %eax, %eax
  mov %rax, %dr7
  mov %rax, %cr8
  movq $0, trap_hook
  movl $2, user_flags
  push %rcx
  push %rdx
  mov $0xc0000080, %ecx
  mov $0xd01, %eax
  xor %edx, %edx
  wrmsr
  pop %rdx
  pop %rcx
  pushq $2
  popfq
  ret

main:
  movq $unexpected, recover_rip
  movq $stack_top, recover_rsp
  call console_init
  call build_idt
  mov $0x40000000, %eax         # a few checks would leave QEMU's TCG in a state that nothing recovers from
  cpuid
  cmp $0x54474354, %ebx
  sete %al
  or %al, is_qemu
  xor %eax, %eax
  cpuid
  cmp $0x68747541, %ebx         # "Auth"enticAMD
  sete is_amd
  call describe_tss
  mov $TSS, %eax
  ltr %ax
  xor %eax, %eax
  lldt %ax
  call sane
  mov $0xc0000080, %ecx
  rdmsr
  CHECK "boot.efer", 0xd01
  mov %cs, %eax
  CHECK "boot.cs", K64
.macro SUITE name
  call \name
  call sane
.endm
  SUITE suite_exceptions
  SUITE suite_debug
  SUITE suite_paging
  SUITE suite_paging_table
  SUITE suite_privilege
  SUITE suite_segments
  SUITE suite_system
  SUITE suite_conditions
  SUITE suite_smc
  SUITE suite_fetch
  SUITE suite_strings
  SUITE suite_identity
  SUITE suite_protected
  SUITE suite_tasks
  SUITE suite_realmode
  SUITE suite_pic_pit
  SUITE suite_ioapic
  SUITE suite_apic
  SUITE suite_smp
finish:
  mov $text_done, %edi
  call print
  mov passed, %rax
  call print_decimal
  mov $text_fail_count, %edi
  call print
  mov failed, %rax
  call print_decimal
  mov $'\n', %al
  call putc
  mov $0xfe, %al
  out %al, $0x64
  mov $100000, %ecx
1:pause
  loop 1b
  lidt null_pointer             # no keyboard controller: a triple fault ends the machine too
  ud2

# ---- descriptor tables ----------------------------------------------------------------------------------------------------------
describe_tss:                   # base addresses that the assembler cannot split
  mov $tss, %eax
  mov $gdt + TSS, %edi
  call describe_base
  mov $tss_b, %eax
  mov $gdt + TSS_B, %edi
  call describe_base
  mov $ldt, %eax
  mov $gdt + LDT, %edi
  call describe_base
  mov $arena, %eax
  mov $gdt + SMALL, %edi
  call describe_base
  mov $arena, %eax
  mov $ldt + 8, %edi
  call describe_base
  mov $gate_target, %eax
  mov $gdt + GATE, %edi
  call describe_gate
  mov $gdt + GATE_K, %edi
  call describe_gate
  mov $gdt + GATE_NP, %edi
describe_gate:
  mov %ax, (%rdi)
  mov %eax, %edx
  shr $16, %edx
  mov %dx, 6(%rdi)
  ret
describe_base:
  mov %ax, 2(%rdi)
  mov %eax, %edx
  shr $16, %edx
  mov %dl, 4(%rdi)
  mov %dh, 7(%rdi)
  ret

build_idt:
  xor %ecx, %ecx
1:mov %ecx, %eax
  shl $4, %eax
  lea stubs(%rax), %edx
  lea idt(%rax), %edi
  mov %dx, (%rdi)
  movw $K64, 2(%rdi)
  movw $0x8e00, 4(%rdi)
  shr $16, %edx
  mov %edx, 6(%rdi)
  movq $0, 8(%rdi)
  movw %dx, 6(%rdi)
  inc %ecx
  cmp $256, %ecx
  jne 1b
  movb $0xee, idt + 3*16 + 5
  movb $0xee, idt + 4*16 + 5
  movb $0xee, idt + VEC_DONE*16 + 5
  movb $0xee, idt + VEC_IST*16 + 5
  movb $1, idt + 8*16 + 4       # IST of #DF, NMI, #SS, VEC_IST
  movb $2, idt + 2*16 + 4
  movb $3, idt + 12*16 + 4
  movb $4, idt + VEC_IST*16 + 4
  ret

# ---- traps ------------------------------------------------------------------------------------------------------------------------
.balign 16
.global stubs
stubs:
.set vector, 0
.rept 256
  .balign 16
  .if vector != 8 && (vector < 10 || vector > 14) && vector != 17 && vector != 21
  pushq $0
  .endif
  pushq $vector
  jmp trap
  .set vector, vector + 1
.endr
.balign 16
trap:
  mov %rax, trap_rax
  mov %rcx, trap_rcx
  mov %rdx, trap_rdx
  mov %rbx, trap_rbx
  mov %rbp, trap_rbp
  mov %rsi, trap_rsi
  mov %rdi, trap_rdi
  mov %r11, trap_r11
  pop %rax
  pop %rcx
  mov %rsp, trap_frame
  cmpq $0, trap_hook
  jne 1f
  mov %rax, trap_vector
  mov %rcx, trap_error
  mov (%rsp), %rax
  mov %rax, trap_rip
  mov 8(%rsp), %rax
  mov %rax, trap_cs
  mov 16(%rsp), %rax
  mov %rax, trap_rflags
  mov 24(%rsp), %rax
  mov %rax, trap_rsp
  mov 32(%rsp), %rax
  mov %rax, trap_ss
  mov %cr2, %rax
  mov %rax, trap_cr2
  mov %dr6, %rax
  mov %rax, trap_dr6
  mov recover_rsp, %rsp
  pushq $2
  popfq
  cld
  mov trap_rax, %rax
  mov trap_rcx, %rcx
  jmp *recover_rip
1:jmp *trap_hook                # vector in %rax, error code in %rcx, frame on the stack

# Hook for interrupts that return: counts, remembers the vector and the interrupted RIP, EOI to the local APIC.
.global hook_apic, hook_count, hook_return
hook_apic:
  movl $0, LAPIC_LOW + 0xb0
hook_count:
  mov %rax, trap_vector
  incq trap_count
  incl vector_count(,%rax,4)
  mov (%rsp), %rax
  mov %rax, trap_rip
hook_return:
  mov trap_rax, %rax
  mov trap_rcx, %rcx
  iretq
.set LAPIC_LOW, -0x1200000      # 0xfee00000 through the mapping at the top of the address space, reachable by a displacement

.global enter_user
enter_user:                     # user_rip, user_cs, user_flags
  pushq $UDATA
  pushq $user_stack_top + USER_BASE
  push %rax
  mov user_flags, %eax
  xchg %rax, (%rsp)
  pushq user_cs
  pushq user_rip
  iretq

# ---- report -----------------------------------------------------------------------------------------------------------------------
.macro SAVE
  pushfq
  push %rax
  push %rcx
  push %rdx
  push %rsi
  push %rdi
.endm
.macro RESTORE
  pop %rdi
  pop %rsi
  pop %rdx
  pop %rcx
  pop %rax
  popfq
.endm

.global report, report_trap, report_skip, flush_records, print, putc, print_hex, print_decimal
report:
  SAVE
  movq $unexpected, recover_rip
  mov report_got, %rax
  cmp report_want, %rax
  jne 1f
  call say_ok
  jmp 2f
1:call say_fail
  mov report_got, %rax
  call print_hex
  mov $text_want, %edi
  call print
  mov report_want, %rax
  call print_hex
  mov $'\n', %al
  call putc
2:RESTORE
  ret

report_trap:
  SAVE
  movq $unexpected, recover_rip
  mov trap_vector, %rax
  cmp want_vector, %rax
  jne 1f
  cmp $-1, %rax
  je 3f
  mov trap_error, %rax
  cmp want_error, %rax
  jne 1f
  mov want_rip, %rax
  test %rax, %rax
  jz 3f
  cmp trap_rip, %rax
  jne 1f
3:call say_ok
  jmp 2f
1:call say_fail
  mov trap_vector, %rax
  call print_hex
  mov $'/', %al
  call putc
  mov trap_error, %rax
  call print_hex
  mov $'/', %al
  call putc
  mov trap_rip, %rax
  call print_hex
  mov $text_want, %edi
  call print
  mov want_vector, %rax
  call print_hex
  mov $'/', %al
  call putc
  mov want_error, %rax
  call print_hex
  mov $'/', %al
  call putc
  mov want_rip, %rax
  call print_hex
  mov $'\n', %al
  call putc
2:RESTORE
  ret

unexpected:                     # a trap that no test asked for: tell and end
  mov $stack_top, %esp
  movq $text_unexpected, report_name
  movq $-1, want_vector
  movq $0, want_error
  call report_trap
  jmp finish

report_skip:
  SAVE
  mov $text_skip, %edi
  call print
  mov report_name, %rdi
  call print
  mov $'\n', %al
  call putc
  RESTORE
  ret

say_ok:
  incq passed
  mov $text_ok, %edi
  call print
  mov report_name, %rdi
  call print
  mov $'\n', %al
  jmp putc
say_fail:
  incq failed
  mov $text_fail, %edi
  call print
  mov report_name, %rdi
  call print
  mov $text_got, %edi
  jmp print

flush_records:                  # what 32-bit and real-mode code left
  mov $records, %ebx
1:cmp %ebx, record_next
  je 2f
  mov (%rbx), %rax
  mov %rax, report_name
  mov 8(%rbx), %rax
  mov %rax, report_got
  mov 16(%rbx), %rax
  mov %rax, report_want
  call report
  add $24, %rbx
  jmp 1b
2:movl $records, record_next
  ret

# ---- console ----------------------------------------------------------------------------------------------------------------------
console_init:
  mov $0xff, %al                # firmware may have left its timer running
  out %al, $0x21
  out %al, $0xa1
  mov $0x3f9, %edx
  xor %eax, %eax
  out %al, %dx
  mov $0x3fb, %edx
  mov $3, %al
  out %al, %dx
  mov $0x3fc, %edx
  mov $0xb, %al                 # OUT2 lets interrupts through to the PIC, as on any PC
  out %al, %dx
  ret
putc:                           # %al
  push %rdx
  push %rcx
  push %rax
  mov $100000, %ecx
  mov $0x3fd, %edx
1:in %dx, %al
  test $0x20, %al
  loopz 1b
  pop %rax
  mov $0x3f8, %edx
  out %al, %dx
  pop %rcx
  pop %rdx
  ret
print:                          # %rdi
  push %rax
1:mov (%rdi), %al
  test %al, %al
  jz 2f
  call putc
  inc %rdi
  jmp 1b
2:pop %rax
  ret
print_hex:                      # %rax, at least one digit
  push %rcx
  push %rdx
  push %rax
  mov %rax, %rdx
  mov $64, %ecx
1:sub $4, %ecx
  jz 2f
  mov %rdx, %rax
  shr %cl, %rax
  jz 1b
2:mov %rdx, %rax
  shr %cl, %rax
  and $15, %eax
  mov digits(%rax), %al
  call putc
  sub $4, %ecx
  jns 2b
  pop %rax
  pop %rdx
  pop %rcx
  ret
print_decimal:
  push %rbx
  push %rdx
  mov $10, %ebx
  push $0
1:xor %edx, %edx
  div %rbx
  add $'0', %edx
  push %rdx
  test %rax, %rax
  jnz 1b
2:pop %rax
  test %eax, %eax
  jz 3f
  call putc
  jmp 2b
3:pop %rdx
  pop %rbx
  ret

# ---- time: channel 2 of the PIT through port 0x61 -----------------------------------------------------------------------------
.global delay
delay:                          # %eax = PIT ticks, at most 65535; all registers but flags preserved
  push %rax
  push %rcx
  mov %eax, %ecx
  in $0x61, %al
  and $0xfc, %al
  or $1, %al
  out %al, $0x61
  mov $0xb0, %al
  out %al, $0x43
  mov %cl, %al
  out %al, $0x42
  mov %ch, %al
  out %al, $0x42
  mov $50000000, %ecx           # a machine without a PIT fails its checks instead of hanging
1:in $0x61, %al
  test $0x20, %al
  loopz 1b
  pop %rcx
  pop %rax
  ret

.section .rodata
digits: .ascii "0123456789abcdef"
text_unexpected: .asciz "unexpected-trap"
text_ok: .asciz "ok "
text_fail: .asciz "FAIL "
text_skip: .asciz "skip "
text_got: .asciz " got="
text_want: .asciz " want="
text_done: .asciz "DONE pass="
text_fail_count: .asciz " fail="

.data
.balign 4096
.global pml4, pdpt, pd0, pd1
pml4:
  .quad pdpt + 7
  .fill 510, 8, 0
  .quad pdpt_high + 3           # the last 2 GiB again: local APIC and IOAPIC by sign-extended displacements
pdpt:
  .quad pd0 + 7, pd1 + 7, pd2 + 7, pd3 + 7
  .fill 508, 8, 0
pdpt_high:
  .fill 510, 8, 0
  .quad pd2 + 3, pd3 + 3
pd0:
.set page, 0
.rept 512
  .quad page + 0x83
  .set page, page + 0x200000
.endr
pd1:
.set page, 0
.rept 512
  .quad page + 0x87
  .set page, page + 0x200000
.endr
pd2:
.set page, 0x80000000
.rept 1024                      # pd3 follows
  .ifeq page - 0xc0000000
pd3:
  .endif
  .quad page + 0x93
  .set page, page + 0x200000
.endr

.balign 16
.global gdt, gdt_pointer, idt_pointer, idt, tss, tss_b, ldt, null_pointer
gdt:
  .quad 0
  .quad 0x00af9b000000ffff      # 08 code64
  .quad 0x00cf93000000ffff      # 10 data
  .quad 0x00cf9b000000ffff      # 18 code32
  .quad 0x00cffb000000ffff      # 20 user code32
  .quad 0x00cff3000000ffff      # 28 user data
  .quad 0x00affb000000ffff      # 30 user code64
  .quad 0x000093000000ffff      # 38 data, 64 KiB
  .quad 0x00009b000000ffff      # 40 code16
  .quad 0x00af9f000000ffff      # 48 conforming code64
  .quad 0x00cf9f000000ffff      # 50 conforming code32
  .quad 0x00cf91000000ffff      # 58 read-only data
  .quad 0x004097000000ffff      # 60 expand-down, valid above 0xffff
  .quad 0x0040930000000fff      # 68 4 KiB
  .quad 0x00cf13000000ffff      # 70 not present
  .quad 0x00af1b000000ffff      # 78 code, not present
  .quad 0x00cf99000000ffff      # 80 execute-only
  .quad 0x0000ec0000080000, 0   # 88 call gate, DPL 3
  .quad 0x0000820000000017, 0   # 98 LDT
  .quad 0x0000890000002087, 0   # a8 TSS with an I/O bitmap
  .quad 0x0000890000000067, 0   # b8 second TSS
  .quad 0x00006c0000080000, 0   # c8 call gate, not present
  .quad 0x00ef9b000000ffff      # d8 L = D = 1
  .quad 0x0000fb000000ffff      # e0 user code16
  .quad 0x00008c0000080000, 0   # e8 call gate, DPL 0
  .quad 0x00cf73000000ffff      # f8 user data, not present
gdt_end:
ldt:
  .quad 0
  .quad 0x0040930000000fff
  .quad 0
.balign 8
  .word 0, 0, 0
gdt_pointer:
  .word gdt_end - gdt - 1
  .quad gdt
.balign 8
  .word 0, 0, 0
idt_pointer:
  .word 0xfff
  .quad idt
null_pointer:
  .word 0
  .quad 0
.balign 16
tss:
  .long 0
  .quad intr_stack_top, 0, 0, 0
  .quad ist1_top, ist2_top, ist3_top, ist4_top, 0, 0, 0
  .quad 0
  .word 0, 0x68
.global io_bitmap
io_bitmap:
  .fill 0x2000, 1, 0xff
  .byte 0xff
  .fill 31, 1, 0xff
tss_b:
  .fill 0x68, 1, 0

.global record_next
record_next: .long records

.bss
.balign 4096
.global stack_top, user_stack_top, intr_stack_top, ist1_top, ist2_top, ist3_top, ist4_top, arena, records
.macro STACK name
  .skip 8192
\name:
.endm
  STACK stack_top
  STACK user_stack_top
  STACK intr_stack_top
  STACK ist1_top
  STACK ist2_top
  STACK ist3_top
  STACK ist4_top
idt: .skip 4096
arena: .skip 8192
records: .skip 24 * 300
.macro VAR names:vararg
  .irp name, \names
  .global \name
\name: .skip 8
  .endr
.endm
VAR trap_vector, trap_error, trap_rip, trap_cs, trap_rflags, trap_rsp, trap_ss, trap_cr2, trap_dr6, trap_frame, trap_hook, trap_count
VAR trap_rax, trap_rcx, trap_rdx, trap_rbx, trap_rbp, trap_rsi, trap_rdi, trap_r11
VAR is_qemu, is_amd, recover_rip, recover_rsp, user_rip, user_cs, user_flags
VAR report_name, report_got, report_want, want_vector, want_error, want_rip, passed, failed
.global vector_count
vector_count: .skip 1024
