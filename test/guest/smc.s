# Self-modifying code (SDM volume 3 section 8.1.3): what is written is executed, wherever and through whichever mapping it was written.
.include "macros.inc"
.text
.global suite_smc
suite_smc:
  # ---- the next instruction
  movb $0x22, 1f + 1
1:mov $0x11, %eax
  CHECK "smc.next-instruction", 0x22
  # ---- one that already ran, in the same block
  mov $3, %ecx
  xor %ebx, %ebx
2:
1:mov $1, %eax
  add %eax, %ebx
  incl 1b + 1
  loop 2b
  mov %ebx, %eax
  CHECK "smc.loop", 6
  # ---- a function in another page
  call smc_function
  movl $0x5678, smc_function + 1
  call smc_function
  CHECK "smc.other-page", 0x5678
  # ---- the opcode, not only an immediate
  movb $0x40 + 0x0f, smc_opcode # rex prefix instead of cmc: nothing
  stc
  call smc_opcode
  setc %al
  movzx %al, %eax
  CHECK "smc.opcode", 1
  # ---- through the user alias of the same memory
  movl $0x1234, USER_BASE + smc_function + 1
  call smc_function
  CHECK "smc.alias", 0x1234
  mov $smc_function + USER_BASE, %ecx
  call *%rcx
  movl $0x4321, smc_function + 1
  mov $smc_function + USER_BASE, %ecx
  call *%rcx
  CHECK "smc.run-in-alias", 0x4321
  # ---- an instruction that crosses a page, changed in either page
  mov $smc_page + 0xffe, %edi
  movb $0xb8, (%rdi)
  movl $0x44332211, 1(%rdi)
  movb $0xc3, 5(%rdi)
  call *%rdi
  movb $0x99, 4(%rdi)
  call *%rdi
  CHECK "smc.cross-page.second", 0x99332211
  movb $0x88, 1(%rdi)
  call *%rdi
  CHECK "smc.cross-page.first", 0x99332288
  # ---- a jump that crosses a page: its second page holds nothing but three bytes of the displacement
  movb $0xe9, (%rdi)
  mov $smc_first, %eax
  sub $smc_page + 0x1003, %eax
  mov %eax, 1(%rdi)
  call *%rdi
  mov %eax, %ebx
  mov $smc_second, %eax
  sub $smc_page + 0x1003, %eax
  shr $8, %eax
  mov %ax, 2(%rdi)
  shr $16, %eax
  mov %al, 4(%rdi)
  call *%rdi
  shl $8, %ebx
  or %ebx, %eax
  CHECK "smc.cross-page.jump", 0x102
  # ---- by string, SSE, locked and stack writes
  mov $smc_page, %edi
  mov $0x90, %al
  mov $64, %ecx
  rep stosb
  movb $0xc3, smc_page + 64
  mov $7, %eax
  call smc_page
  movl $0x000001b8, smc_page + 64 # the end of a long straight run of code, in another cache line than its beginning
  movw $0xc300, smc_page + 68
  call smc_page
  movb $2, smc_page + 65
  call smc_page
  CHECK "smc.other-line", 2
  movl $0x000001b8, smc_source  # mov $1, %eax
  movl $0x00c30000, smc_source + 4
  mov $smc_source, %esi
  mov $smc_page, %edi
  mov $8, %ecx
  movb $0, smc_source + 4
  movb $0xc3, smc_source + 5
  rep movsb
  call smc_page
  CHECK "smc.rep-movs", 1
  movb $2, smc_source + 1
  movups smc_source, %xmm0
  movups %xmm0, smc_page
  call smc_page
  CHECK "smc.sse-store", 2
  lock incb smc_page + 1
  call smc_page
  CHECK "smc.locked", 3
  mov $4, %eax
  xchg %al, smc_page + 1
  call smc_page
  CHECK "smc.xchg", 4
  mov %rsp, %rbx
  mov $smc_page + 8, %esp
  mov $0x00c300000005b8, %rax
  push %rax
  mov %rbx, %rsp
  call smc_page
  CHECK "smc.push", 5
  # ---- a write that reaches into the code page from the page before
  mov $smc_page2 - 2, %edi
  movb $0xb8, smc_page2
  movl $6, smc_page2 + 1
  movb $0xc3, smc_page2 + 5
  call smc_page2
  movabs $0xc300000007b80000, %rax
  mov %rax, (%rdi)
  call smc_page2
  CHECK "smc.write-across-boundary", 7
  # ---- a mapping that changes under the code
  call map_pages
  movl $0x000008b8, page_a
  movw $0xc300, page_a + 4
  movl $0x000009b8, page_b
  movw $0xc300, page_b + 4
  mov $TEST_BASE, %rdi
  call *%rdi
  mov %eax, %ebx
  movq $page_b + 7, test_pt
  invlpg (%rdi)
  call *%rdi
  shl $8, %ebx
  or %ebx, %eax
  CHECK "smc.remapped", 0x809
  movb $10, page_b + 1          # written by its physical name, run by the mapped one
  call *%rdi
  CHECK "smc.through-other-mapping", 10
  # ---- the same bytes in another mode: 0x48 is REX.W here, DEC EAX there
  movb $0x48, smc_page
  movb $0xff, smc_page + 1
  movb $0xc0, smc_page + 2      # 64-bit: inc %rax; 32-bit: dec %eax; inc %eax
  movb $0xcd, smc_page + 3
  movb $VEC_DONE, smc_page + 4
  mov $0xffffffff, %eax
  TRY 2f
  jmp smc_page
2:mov trap_rax, %rax
  CHECK "smc.mode.64", 0x100000000
  mov $5, %eax
  COMPAT smc_page
  mov trap_rax, %eax
  CHECK "smc.mode.32", 5
  movq $0, pml4 + 8
  ret

.balign 4096
smc_function:
  mov $0, %eax
  ret
smc_opcode:
  cmc
  nop
  ret
.balign 256                     # the two differ in the upper bytes of a displacement only
smc_first:
  mov $1, %eax
  ret
.balign 256
smc_second:
  mov $2, %eax
  ret
.bss
.balign 4096
smc_page: .skip 4096
smc_page2: .skip 4096
smc_source: .skip 64
