# Every page-permission combination as a table (SDM volume 3 section 4.6): page size 4 KiB, 2 MiB, 1 GiB x the level that lacks P, W, U or
# has NX (each: none or one of the levels) x read, write, fetch x ring 0, ring 3 x CR0.WP x CR4.SMEP. For each: fault or not, error code,
# CR2, and the A and D bits. One line per size, access, ring, WP and SMEP; its name is followed by the first failing combination.
.include "macros.inc"
.text
.global suite_paging_table

# Registers of the loops: r12 levels (4, 3, 2), r13 access (0 read, 1 write, 2 fetch), r14 bit 0 user, bit 1 WP, bit 2 SMEP,
# r15 the combination: byte 0 level without P, 1 without W, 2 without U, 3 with NX (0xff none, 0 = PML4E ...)
suite_paging_table:
  mov $7, %eax
  xor %ecx, %ecx
  cpuid
  shr $7, %ebx
  and $1, %ebx
  mov %ebx, has_smep
  mov $0x80000001, %eax
  cpuid
  shr $26, %edx
  and $1, %edx
  mov %edx, has_huge
  movb $0xc3, target            # ret
  movb $0xcd, target + 16       # int $VEC_DONE
  movb $VEC_DONE, target + 17
  mov $4, %r12d
size_loop:
  cmp $2, %r12d
  jne 1f
  cmpl $0, has_huge
  jne 1f
  SKIP "paging.table.1g"
  jmp size_next
1:xor %r14d, %r14d
mode_loop:
  test $4, %r14d
  jz 1f
  cmpl $0, has_smep
  jz mode_next
1:mov $CR0_DEFAULT & ~0x10000, %eax
  test $2, %r14d
  jz 1f
  or $0x10000, %eax
1:mov %rax, %cr0
  mov $CR4_DEFAULT, %eax
  test $4, %r14d
  jz 1f
  or $0x100000, %eax
1:mov %rax, %cr4
  xor %r13d, %r13d
access_loop:
  call group
  inc %r13d
  cmp $3, %r13d
  jne access_loop
mode_next:
  inc %r14d
  cmp $8, %r14d
  jne mode_loop
size_next:
  dec %r12d
  cmp $1, %r12d
  jne size_loop
  movq $0, pml4 + 8
  mov %cr3, %rax
  mov %rax, %cr3
  ret

group:                          # all combinations of one line
  movq $0, bad
  mov $-1, %r15d
1:call one
  # next combination: an odometer of four digits -1 .. levels - 1
  xor %ecx, %ecx
2:mov %r15d, %eax
  shr %cl, %eax
  inc %al
  movzx %al, %eax
  mov $0xff, %edx
  shl %cl, %edx
  not %edx
  and %edx, %r15d
  cmp %r12d, %eax
  je 3f
  shl %cl, %eax
  or %eax, %r15d
  jmp 1b
3:mov $0xff, %eax
  shl %cl, %eax
  or %eax, %r15d
  add $8, %ecx
  cmp $32, %ecx
  jne 2b
  call group_name
  mov bad, %rax
  mov %rax, report_got
  movq $0, report_want
  jmp report

one:
  # build: rbx = leaf address kept for the checks
  mov $test_pdpt + 7, %eax
  mov $0, %ecx
  call attributes
  mov %rax, pml4 + 8
  mov $test_pd + 7, %eax
  cmp $2, %r12d
  jne 1f
  mov $0x87, %eax
1:mov $1, %ecx
  call attributes
  mov %rax, test_pdpt
  mov $target, %edx
  mov %edx, %ebx
  shr $21, %ebx                 # the page directory index
  mov $test_pt + 7, %eax
  cmp $3, %r12d
  jne 1f
  mov %ebx, %eax
  shl $21, %eax
  or $0x87, %eax
1:mov $2, %ecx
  call attributes
  mov %rax, test_pd(,%rbx,8)
  mov %edx, %ebx
  shr $12, %ebx
  and $511, %ebx
  lea 7(%rdx), %eax
  mov $3, %ecx
  call attributes
  mov %rax, test_pt(,%rbx,8)
  mov $target, %ebp
  mov $TEST_BASE, %rax
  add %rax, %rbp
  invlpg (%rbp)

  # run
  test $1, %r14d
  jnz 5f
  TRY 9f
  cmp $1, %r13d
  je 2f
  ja 3f
  mov (%rbp), %al
  jmp 9f
2:mov %al, 32(%rbp)
  jmp 9f
3:call *%rbp
  jmp 9f
5:mov %rbp, %rdi
  cmp $1, %r13d
  je 6f
  ja 7f
  USER u_read
  jmp 9f
6:USER u_write
  jmp 9f
7:USER u_fetch
9:
  # expected error code in %esi, -1 = no fault
  xor %esi, %esi
  cmp $0xff, %r15b
  jne 8f                        # not present: P = 0
  mov %r15d, %eax
  shr $8, %eax
  cmp $0xff, %al
  sete %cl                      # cl: writable
  shr $8, %eax
  cmp $0xff, %al
  sete %ch                      # ch: user
  shr $8, %eax
  cmp $0xff, %al
  sete %dl                      # dl: executable
  mov $1, %esi
  test $1, %r14d
  jnz 4f
  cmp $1, %r13d                 # supervisor
  jb 7f
  ja 2f
  test %cl, %cl
  jnz 7f
  test $2, %r14d
  jz 7f
  jmp 8f
2:test %dl, %dl
  jz 8f
  test $4, %r14d
  jz 7f
  test %ch, %ch
  jz 7f
  jmp 8f
4:test %ch, %ch                 # user
  jz 8f
  cmp $1, %r13d
  jb 7f
  ja 5f
  test %cl, %cl
  jz 8f
  jmp 7f
5:test %dl, %dl
  jz 8f
7:mov $-1, %esi
  jmp 1f
8:cmp $1, %r13d                 # add W, U, I
  jb 2f
  ja 3f
  or $2, %esi
  jmp 2f
3:or $0x10, %esi
2:test $1, %r14d
  jz 1f
  or $4, %esi
1:
  # compare
  mov trap_vector, %rax
  cmp $-1, %esi
  jne 3f
  cmp $-1, %rax
  je 2f
  cmp $VEC_DONE, %rax
  jne complain
2:mov $0x20, %edx               # A in every level, D in the leaf if written
  jmp 4f
3:cmp $14, %rax
  jne complain
  mov trap_error, %rax
  cmp %rsi, %rax
  jne complain
  mov trap_cr2, %rax
  mov %rbp, %rcx
  cmp $1, %r13d
  jb 5f
  ja 6f
  add $32, %rcx
  jmp 5f
6:test $1, %r14d
  jz 5f
  add $16, %rcx
5:cmp %rcx, %rax
  jne complain
  xor %edx, %edx
4:mov test_pt(,%rbx,8), %rax
  cmp $4, %r12d
  je 5f
  mov $target, %ecx
  shr $21, %ecx
  mov test_pd(,%rcx,8), %rax
  cmp $3, %r12d
  je 5f
  mov test_pdpt, %rax
5:and $0x60, %eax
  cmpq $14, trap_vector         # A of a large page may be set by an access that faults (4.8 leaves it open), of a 4 KiB page it is not
  jne 5f
  cmp $4, %r12d
  je 5f
  and $0x40, %eax
5:cmp $1, %r13d
  jne 6f
  test %edx, %edx
  jz 6f
  or $0x40, %edx
6:cmp %edx, %eax
  jne complain
  test %edx, %edx
  jz 7f
  mov pml4 + 8, %eax
  and test_pdpt, %eax
  test $0x20, %al
  jz complain
7:ret
complain:
  cmpq $0, bad
  jne 1f
  mov %r15d, %eax
  mov $0x100000000, %rcx        # never 0
  or %rcx, %rax
  mov %rax, bad
1:ret

attributes:                     # entry %rax of level %ecx with what the combination takes away
  cmp %cl, %r15b
  jne 1f
  and $~1, %rax
1:mov %r15d, %esi
  shr $8, %esi
  cmp %cl, %sil
  jne 1f
  and $~2, %rax
1:shr $8, %esi
  cmp %cl, %sil
  jne 1f
  and $~4, %rax
1:shr $8, %esi
  cmp %cl, %sil
  jne 1f
  bts $63, %rax
1:ret

group_name:
  mov $name_buffer, %edi
  mov $text_prefix, %esi
  call append
  mov text_sizes - 16(,%r12,8), %rsi
  call append
  mov text_accesses(,%r13,8), %rsi
  call append
  mov %r14d, %eax
  and $1, %eax
  mov text_rings(,%rax,8), %rsi
  call append
  mov %r14d, %eax
  shr $1, %eax
  and $1, %eax
  mov text_wp(,%rax,8), %rsi
  call append
  mov %r14d, %eax
  shr $2, %eax
  mov text_smep(,%rax,8), %rsi
  call append
  movb $0, (%rdi)
  movq $name_buffer, report_name
  ret
append:
  lodsb
  test %al, %al
  jz 1f
  stosb
  jmp append
1:ret

u_read:
  mov (%rdi), %al
  int $VEC_DONE
u_write:
  mov %al, 32(%rdi)
  int $VEC_DONE
u_fetch:
  add $16, %rdi
  jmp *%rdi

.section .rodata
text_prefix: .asciz "paging.table."
s2: .asciz "1g"
s3: .asciz "2m"
s4: .asciz "4k"
a0: .asciz ".read"
a1: .asciz ".write"
a2: .asciz ".fetch"
r0: .asciz ".ring0"
r3: .asciz ".ring3"
w0: .asciz ".wp0"
w1: .asciz ".wp1"
m0: .asciz ".smep0"
m1: .asciz ".smep1"
.balign 8
text_sizes: .quad s2, s3, s4
text_accesses: .quad a0, a1, a2
text_rings: .quad r0, r3
text_wp: .quad w0, w1
text_smep: .quad m0, m1

.bss
.balign 4096
target: .skip 4096
name_buffer: .skip 64
has_smep: .skip 4
has_huge: .skip 4
bad: .skip 8
