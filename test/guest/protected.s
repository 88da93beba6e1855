# Legacy protected mode: paging off, 32-bit paging with 4 KiB and 4 MiB pages, PAE; permission tables, faults, ring 3 through a 32-bit TSS,
# task return, virtual-8086. Results go through records because the 64-bit console code cannot run here.
.include "macros.inc"
.include "protected.inc"
.set WINDOW, 0x00800000         # linear 8 MiB: the page under test
.text
.global suite_protected, leave_long_mode, gdt32, idt32, tss32, user32_top
.global t_vector, t_error, t_eip, t_cs, t_eflags, t_user_esp, t_user_ss, t_cr2, t_eax, t_frame, t_esp, t_recover
suite_protected:
  push %rbx
  mov $gdt32, %edi              # base addresses of the TSSes
  mov $tss32, %eax
  mov %ax, SEL_TSS + 2(%rdi)
  shr $16, %eax
  mov %al, SEL_TSS + 4(%rdi)
  mov $tss32_b, %eax
  mov %ax, SEL_TSS2 + 2(%rdi)
  shr $16, %eax
  mov %al, SEL_TSS2 + 4(%rdi)
  movb $0x89, SEL_TSS + 5(%rdi)
  movb $0x82, SEL_TSS2 + 5(%rdi)
  xor %ecx, %ecx                # IDT
1:mov %ecx, %eax
  shl $4, %eax
  lea stubs32(%rax), %edx
  lea idt32(,%rcx,8), %edi
  mov %dx, (%rdi)
  movw $SEL_CODE, 2(%rdi)
  movw $0x8e00, 4(%rdi)
  shr $16, %edx
  mov %dx, 6(%rdi)
  inc %ecx
  cmp $64, %ecx
  jne 1b
  movb $0xee, idt32 + VEC_DONE*8 + 5
  movb $0xee, idt32 + 3*8 + 5
  movb $0xee, idt32 + 4*8 + 5
  mov %rsp, saved_rsp
  mov $protected_main, %ebx
  jmp leave_long_mode
back_to_long:                   # 64-bit
  mov saved_rsp, %rsp
  pop %rbx
  movb $0x89, gdt + TSS + 5
  mov $TSS, %eax
  ltr %ax
  xor %eax, %eax
  lldt %ax
  jmp flush_records

# To 32-bit protected mode without paging, continues at %ebx on the 32-bit tables.
leave_long_mode:
  lgdt gdt32_pointer
  lidt idt32_pointer
  mov $stack32_top, %esp
  pushq $SEL_CODE
  mov $1f, %eax
  push %rax
  lretq
.code32
1:mov $SEL_DATA, %eax
  mov %eax, %ds
  mov %eax, %es
  mov %eax, %ss
  mov %eax, %fs
  mov %eax, %gs
  mov %cr0, %eax
  and $0x7fffffff, %eax
  mov %eax, %cr0
  mov $0xc0000080, %ecx
  xor %eax, %eax
  xor %edx, %edx
  wrmsr
  xor %eax, %eax
  mov %eax, %cr4
  jmp *%ebx

protected_main:
  mov $0xc0000080, %ecx
  rdmsr
  RECORD32 "protected.efer-lma-cleared", 0
  mov $SEL_TSS, %eax
  ltr %ax

  # ---- without paging
  mov $0xffffffff, %eax
  mov $0x40000000, %ecx
  lea 1(%eax, %ecx), %eax
  RECORD32 "protected.lea-wraps", 0x40000000
  FAULT32 "protected.ud", 6, 0, ud2
  mov $0x1f8, %ecx
  FAULT32 "protected.gp-selector", 13, 0x1f8, mov %ecx, %ds
  mov $SEL_TSS, %ecx
  FAULT32 "protected.ltr-busy", 13, SEL_TSS, ltr %cx
  xor %ecx, %ecx
  FAULT32 "protected.null-ss", 13, 0, mov %ecx, %ss
  FAULT32 "protected.int-beyond-idt", 13, 0x50*8+2, int $0x50

  # ---- ring 3 and back through the 32-bit TSS
  TRY32 2f
  pushl $SEL_UDATA
  pushl $user32_top
  pushl $0x202
  pushl $SEL_UCODE
  pushl $u32_int
  iret
2:GOT32 "protected.ring3-int", VEC_DONE, 0
  mov t_cs, %eax
  RECORD32 "protected.ring3-cs", SEL_UCODE
  mov t_frame, %eax
  sub $intr32_top, %eax
  RECORD32 "protected.ring3-esp0", -20
  mov t_user_esp, %eax
  sub $user32_top, %eax
  RECORD32 "protected.ring3-esp", 0
  mov t_user_ss, %eax
  RECORD32 "protected.ring3-ss", SEL_UDATA
  andb $0xfe, gdt32 + SEL_DATA + 5        # the gate loads CS and SS0, and marks them accessed
  andb $0xfe, gdt32 + SEL_CODE + 5
  mov $accessed_handler, %eax
  mov %ax, idt32 + 0x20*8
  shr $16, %eax
  mov %ax, idt32 + 0x20*8 + 6
  movb $0xee, idt32 + 0x20*8 + 5
  TRY32 2f
  pushl $SEL_UDATA
  pushl $user32_top
  pushl $0x202
  pushl $SEL_UCODE
  pushl $u32_int20
  iret
2:movzbl %bl, %eax
  RECORD32 "protected.gate-marks-cs-accessed", 0x9b
  movzbl %bh, %eax
  RECORD32 "protected.gate-marks-ss-accessed", 0x93
  TRY32 2f
  pushl $SEL_UDATA
  pushl $user32_top
  pushl $2
  pushl $SEL_UCODE
  pushl $u32_cli
  iret
2:GOT32 "protected.ring3-cli", 13, 0
  mov $SEL_DATA, %eax
  mov %eax, %ds
  mov %eax, %es

  # ---- #TS: task return with a back link that is no TSS
  movw $SEL_DATA, tss32
  TRY32 2f
  pushl $0x4002
  popfl
1:iret
2:GOT32 "protected.ts-back-link", 10, SEL_DATA
  pushl $2
  popfl

  # ---- virtual-8086 mode: IRET goes in, a privileged instruction comes out
  TRY32 2f
  pushl $0                      # gs fs ds es
  pushl $0
  pushl $0x1234
  pushl $0x4321
  pushl $0                      # ss
  pushl $0x7000
  pushl $0x20002                # VM, IOPL 0
  pushl $0
  pushl $0x500
  movl $0x90d88c90, 0x500       # nop; mov %ds, %ax; nop; cli
  movb $0xfa, 0x504
  iret
2:GOT32 "protected.v86-cli", 13, 0
  mov t_eflags, %eax
  and $0x20000, %eax
  RECORD32 "protected.v86-vm-pushed", 0x20000
  mov t_eip, %eax
  RECORD32 "protected.v86-ip", 0x504
  movzwl t_eax, %eax
  RECORD32 "protected.v86-ds", 0x1234
  mov t_frame, %eax
  sub $intr32_top, %eax
  RECORD32 "protected.v86-frame", -36
  mov $SEL_DATA, %eax
  mov %eax, %ds
  mov %eax, %es

  # ---- 32-bit paging: identity by 4 MiB pages, the window by 4 KiB pages
  mov $pd32, %edi
  mov $0x87, %eax
  mov $1024, %ecx
1:mov %eax, (%edi)
  add $4, %edi
  add $0x400000, %eax
  loop 1b
  movl $pt32 + 7, pd32 + (WINDOW >> 22) * 4
  movl $page32 + 7, pt32
  mov $0x10, %eax               # PSE
  mov %eax, %cr4
  mov $pd32, %eax
  mov %eax, %cr3
  mov $0x80010033, %eax
  mov %eax, %cr0
  movl $0x600df00d, page32
  mov WINDOW, %eax
  RECORD32 "protected.paging32.translation", 0x600df00d
  mov pt32, %eax
  and $0x60, %eax
  RECORD32 "protected.paging32.accessed", 0x20
  movl $0x600df00e, WINDOW
  mov pt32, %eax
  and $0x60, %eax
  RECORD32 "protected.paging32.dirty", 0x60
  mov pd32 + (WINDOW >> 22) * 4, %eax
  and $0x20, %eax
  RECORD32 "protected.paging32.directory-accessed", 0x20
  movl $pd32 + (WINDOW >> 22) * 4, upper_entry
  movl $pt32, leaf_entry
  movl $pt32 + 7, upper_value
  movl $0, table_nx
  call permission_table
  mov table_bad, %eax
  RECORD32 "protected.paging32.table", 0
  mov table_count, %eax
  RECORD32 "protected.paging32.table-size", 27*2*2*2
  movl $pt32 + 7, pd32 + (WINDOW >> 22) * 4
  movl $0x400087, pd32 + ((WINDOW >> 22) + 1) * 4
  mov WINDOW + 0x400000 + 0x234, %eax
  mov 0x400234, %ecx
  sub %ecx, %eax
  RECORD32 "protected.paging32.4m", 0
  movl $0x600087, pd32 + ((WINDOW >> 22) + 1) * 4  # bit 21 of a 4 MiB entry is reserved
  invlpg WINDOW + 0x400000
  FAULT32 "protected.paging32.4m-reserved", 14, 9, mov WINDOW + 0x400000, %eax
  mov t_cr2, %eax
  RECORD32 "protected.paging32.cr2", WINDOW + 0x400000
                                # PSE off: PS is ignored and the entry points to a table
  movl $pt32 + 0x87, pd32 + (WINDOW >> 22) * 4
  movl $page32 + 7, pt32
  mov $pt_identity, %edi        # the image needs a table then: first 4 MiB
  mov $7, %eax
  mov $1024, %ecx
1:mov %eax, (%edi)
  add $4, %edi
  add $0x1000, %eax
  loop 1b
  movl $pt_identity + 7, pd32
  mov %cr3, %eax
  mov %eax, %cr3
  xor %eax, %eax
  mov %eax, %cr4
  movl $0x600df00e, page32
  mov WINDOW, %eax
  RECORD32 "protected.paging32.ps-ignored", 0x600df00e
  mov $0x00010033, %eax
  mov %eax, %cr0

  # ---- PAE with NX
  mov $pd_pae, %edi
  mov $0x87, %eax
  mov $2048, %ecx
1:mov %eax, (%edi)
  movl $0, 4(%edi)
  add $8, %edi
  add $0x200000, %eax
  loop 1b
  movl $pd_pae + 1, pdpt_pae
  movl $pd_pae + 0x1001, pdpt_pae + 8
  movl $pd_pae + 0x2001, pdpt_pae + 16
  movl $pd_pae + 0x3001, pdpt_pae + 24
  movl $pt_pae + 7, pd_pae + (WINDOW >> 21) * 8
  movl $page32 + 7, pt_pae
  movl $0, pt_pae + 4
  mov $0xc0000080, %ecx
  mov $0x800, %eax
  xor %edx, %edx
  wrmsr
  mov $0x20, %eax
  mov %eax, %cr4
  mov $pdpt_pae, %eax
  mov %eax, %cr3
  mov $0x80010033, %eax
  mov %eax, %cr0
  movl $0x600df00d, page32
  mov WINDOW, %eax
  RECORD32 "protected.pae.translation", 0x600df00d
  movl $pd_pae + (WINDOW >> 21) * 8, upper_entry
  movl $pt_pae, leaf_entry
  movl $pt_pae + 7, upper_value
  movl $1, table_nx
  call permission_table
  mov table_bad, %eax
  RECORD32 "protected.pae.table", 0
  mov table_count, %eax
  RECORD32 "protected.pae.table-size", 81*3*2*2
  movl $pt_pae + 7, pd_pae + (WINDOW >> 21) * 8
  movl $0, pd_pae + (WINDOW >> 21) * 8 + 4
  movl $page32 + 7, pt_pae
  movl $0x40000000, pt_pae + 4  # bit 62
  invlpg WINDOW
  FAULT32 "protected.pae.reserved", 14, 9, mov WINDOW, %eax
  movl $0, pt_pae + 4
  movl $pd_pae + 0x21, pdpt_pae + 24      # reserved bit in a PDPTE: #GP on the CR3 load
  mov %cr3, %eax
  FAULT32 "protected.pae.pdpte-reserved", 13, 0, mov %eax, %cr3
  movl $pd_pae + 0x3001, pdpt_pae + 24
  mov %cr3, %eax
  mov %eax, %cr3
  movl $0, pdpt_pae + 8         # PDPTEs are cached by the CR3 load: a later change has no effect
  mov $0x40000000, %ecx
  invlpg (%ecx)
  mov $0x00010033, %eax
  mov %eax, %cr0

  # ---- back
  push $back_to_long
  jmp enter_long_mode32

# All combinations of {none, upper, leaf} without P, W, U (and with NX) x read, write(, fetch) x ring x WP.
permission_table:
  movl $0, table_bad
  movl $0, table_count
  xor %ebx, %ebx                # bit 0 ring 3, bit 1 WP
10:
  mov $0x80000033, %eax
  test $2, %bl
  jz 1f
  or $0x10000, %eax
1:mov %eax, %cr0
  xor %edx, %edx                # access
11:
  movl $0, combination          # bytes: P W U NX, each 0 none, 1 upper, 2 leaf
12:
  call permission_one
  incl table_count
  mov $combination, %edi
  mov $3, %ecx
  add table_nx, %ecx
1:incb (%edi)
  cmpb $3, (%edi)
  jne 12b
  movb $0, (%edi)
  inc %edi
  loop 1b
  inc %edx
  mov table_nx, %eax
  add $2, %eax
  cmp %eax, %edx
  jne 11b
  inc %ebx
  cmp $4, %ebx
  jne 10b
  ret

permission_one:
  push %ebx
  push %edx
  mov upper_value, %eax
  mov $1, %cl
  mov upper_entry, %edi
  call permission_entry
  mov $page32 + 7, %eax
  mov $2, %cl
  mov leaf_entry, %edi
  call permission_entry
  invlpg WINDOW
  movb $0xc3, page32            # ret, and INT n at 16
  movb $0xcd, page32 + 16
  movb $VEC_DONE, page32 + 17
  TRY32 9f
  test $1, %bl
  jnz 5f
  cmp $1, %edx
  je 2f
  ja 3f
  mov WINDOW, %al
  jmp 9f
2:mov %al, WINDOW + 32
  jmp 9f
3:mov $WINDOW, %eax
  call *%eax
  jmp 9f
5:pushl $SEL_UDATA
  pushl $user32_top
  pushl $2
  pushl $SEL_UCODE
  mov u32_accesses(,%edx,4), %eax
  push %eax
  mov $SEL_UDATA, %eax
  mov %eax, %ds
  iret
9:mov $SEL_DATA, %eax
  mov %eax, %ds
  mov %eax, %es
  mov (%esp), %edx
  mov 4(%esp), %ebx
  # expectation in %esi
  xor %esi, %esi
  cmpb $0, combination
  jne 8f
  mov $1, %esi
  test $1, %bl
  jnz 4f
  cmp $1, %edx
  jb 7f
  ja 6f
  cmpb $0, combination + 1
  je 7f
  test $2, %bl
  jz 7f
  jmp 8f
4:cmpb $0, combination + 2
  jne 8f
  cmp $1, %edx
  jb 7f
  ja 6f
  cmpb $0, combination + 1
  je 7f
  jmp 8f
6:cmpb $0, combination + 3
  jne 8f
7:mov $-1, %esi
  jmp 3f
8:cmp $1, %edx
  jb 2f
  ja 1f
  or $2, %esi
  jmp 2f
1:or $0x10, %esi
2:test $1, %bl
  jz 3f
  or $4, %esi
3:mov t_vector, %eax
  cmp $-1, %esi
  jne 2f
  cmp $-1, %eax
  je 4f
  cmp $VEC_DONE, %eax
  je 4f
  jmp 5f
2:cmp $14, %eax
  jne 5f
  cmp %esi, t_error
  je 4f
5:mov combination, %eax         # remember the last failure: combination, access and mode, never 0
  shl $4, %eax
  or %edx, %eax
  shl $2, %eax
  or %ebx, %eax
  or $0x80000000, %eax
  mov %eax, table_bad
4:pop %edx
  pop %ebx
  ret

permission_entry:               # value %eax of level %cl to (%edi)
  cmp %cl, combination
  jne 1f
  and $~1, %eax
1:cmp %cl, combination + 1
  jne 1f
  and $~2, %eax
1:cmp %cl, combination + 2
  jne 1f
  and $~4, %eax
1:mov %eax, (%edi)
  cmpl $0, table_nx
  je 2f
  xor %eax, %eax
  cmp %cl, combination + 3
  jne 1f
  mov $0x80000000, %eax
1:mov %eax, 4(%edi)
2:ret

u32_int:
  int $VEC_DONE
u32_int20:
  int $0x20
accessed_handler:               # looks before it loads a segment register itself
  mov %cs:gdt32 + SEL_CODE + 5, %bl
  mov %cs:gdt32 + SEL_DATA + 5, %bh
  mov $SEL_DATA, %eax
  mov %eax, %ds
  mov %eax, %es
  mov t_esp, %esp
  jmp *t_recover
u32_cli:
  cli
u32_read:
  mov WINDOW, %al
  int $VEC_DONE
u32_write:
  mov %al, WINDOW + 32
  int $VEC_DONE
u32_fetch:
  mov $WINDOW + 16, %eax
  jmp *%eax

.balign 16
stubs32:
.set vector, 0
.rept 64
  .balign 16
  .if vector != 8 && (vector < 10 || vector > 14) && vector != 17
  pushl $0
  .endif
  pushl $vector
  jmp trap32
  .set vector, vector + 1
.endr
.balign 16
trap32:                         # DS may be a user's: the frame is moved by the flat selector
  push %eax
  mov $SEL_DATA, %eax
  mov %eax, %ds
  mov %eax, %es
  pop t_eax
  pop t_vector
  pop t_error
  mov %esp, t_frame
  mov (%esp), %eax
  mov %eax, t_eip
  movzwl 4(%esp), %eax
  mov %eax, t_cs
  mov 8(%esp), %eax
  mov %eax, t_eflags
  mov 12(%esp), %eax
  mov %eax, t_user_esp
  movzwl 16(%esp), %eax
  mov %eax, t_user_ss
  mov %cr2, %eax
  mov %eax, t_cr2
  mov t_esp, %esp
  pushl $2
  popfl
  mov $SEL_DATA, %eax
  mov %eax, %ss
  jmp *t_recover
.code64

.data
.balign 16
.global gdt32_pointer
gdt32:
  .quad 0
  .quad 0x00cf9b000000ffff      # 08
  .quad 0x00cf93000000ffff      # 10
  .quad 0x00cffb000000ffff      # 18
  .quad 0x00cff3000000ffff      # 20
  .quad 0x0000890000000067      # 28
  .quad 0x0000820000000067      # 30 (an LDT type, never loaded)
  .quad 0x00009b000000ffff      # 38
  .quad 0x000093000000ffff      # 40
  .quad 0x00af9b000000ffff      # 48
  .quad 0x0000890000000067      # 50 from here: tasks.s
  .quad 0x0000e50000500000      # 58 task gate to 50
  .quad 0x000081000000002b      # 60 16-bit TSS
  .quad 0x0000090000000067      # 68 not present
  .quad 0x0000890000000066      # 70 one byte short
  .quad 0x00409b000000ffff      # 78
gdt32_end:
.balign 8
  .word 0, 0, 0
gdt32_pointer:
  .word gdt32_end - gdt32 - 1
  .quad gdt32
.balign 8
  .word 0, 0, 0
idt32_pointer:
  .word 64*8 - 1
  .quad idt32
.balign 16
tss32:
  .long 0, intr32_top, SEL_DATA
  .fill 88, 1, 0
  .word 0, 0x68
tss32_b: .fill 0x68, 1, 0
u32_accesses: .long u32_read, u32_write, u32_fetch

.bss
.balign 4096
pd32: .skip 4096
pt32: .skip 4096
pt_identity: .skip 4096
pd_pae: .skip 4 * 4096
pt_pae: .skip 4096
page32: .skip 4096
pdpt_pae: .skip 32
.balign 16
.skip 4096
stack32_top:
.skip 4096
intr32_top:
.skip 4096
user32_top:
idt32: .skip 64 * 8
saved_rsp: .skip 8
t_vector: .skip 4
t_error: .skip 4
t_eip: .skip 4
t_cs: .skip 4
t_eflags: .skip 4
t_user_esp: .skip 4
t_user_ss: .skip 4
t_cr2: .skip 4
t_eax: .skip 4
t_frame: .skip 4
t_esp: .skip 4
t_recover: .skip 4
table_nx: .skip 4
table_bad: .skip 4
table_count: .skip 4
upper_entry: .skip 4
upper_value: .skip 4
leaf_entry: .skip 4
combination: .skip 4
