# Paging in long mode: single cases. Error-code bits, reserved bits, page crossings, INVLPG and global pages, the A and D bits of
# special instructions. SDM volume 3 chapter 4. The full permission table is paging_table.s.
.include "macros.inc"
.set VA, TEST_BASE              # first page of the test mapping: PTE 0
.text
.global suite_paging, map_pages, test_pdpt, test_pd, test_pt
# test_pml4e -> test_pdpt[0] -> test_pd[0] -> test_pt; PTE 0 and 1 map two pages, the rest is empty
map_pages:
  movq $test_pdpt + 7, pml4 + 8
  movq $test_pd + 7, test_pdpt
  movq $test_pt + 7, test_pd
  movq $page_a + 7, test_pt
  movq $page_b + 7, test_pt + 8
  movq $0, test_pt + 16
flush:
  push %rax
  mov %cr3, %rax
  mov %rax, %cr3
  pop %rax
  ret
.macro CR2 name, want
  mov trap_cr2, %rax
  CHECK "\name", \want
.endm

suite_paging:
  call map_pages
  mov $VA, %rbp

  # ---- error-code bits
  mov $VA + 0x2123, %rax
  FAULT "paging.error.read-absent", 14, 0, mov (%rax), %cl
  CR2 "paging.cr2.byte", VA + 0x2123
  mov $VA + 0x2123, %rax
  FAULT "paging.error.write-absent", 14, 2, mov %cl, (%rax)
  mov $VA + 0x2123, %rax
  TRY 2f
  jmp *%rax
2:TRAP "paging.error.fetch-absent", 14, 0x10
  mov trap_rip, %rax
  CHECK "paging.error.fetch-rip", VA + 0x2123
  mov $VA + 0x2000, %rdi
  USERFAULT "paging.error.user-read-absent", 14, 4, mov (%rdi), %cl
  mov $VA + 0x2000, %rdi
  USERFAULT "paging.error.user-write-absent", 14, 6, mov %cl, (%rdi)
  movq $page_a + 3, test_pt     # supervisor page
  call flush
  mov %rbp, %rdi
  USERFAULT "paging.error.user-read-supervisor", 14, 5, mov (%rdi), %cl
  mov $VA, %rdi
  USERFAULT "paging.error.user-write-supervisor", 14, 7, mov %cl, (%rdi)
  movq $page_a + 1, test_pt
  call flush
  mov $VA, %rax
  FAULT "paging.error.write-protected", 14, 3, incb (%rax)
  mov $VA, %rax
  FAULT "paging.error.locked-rmw-is-a-write", 14, 3, lock cmpxchg %ecx, (%rax)

  # ---- reserved bits
.macro RESERVED name, entry, bits
  mov \entry, %rbx
  movabs $\bits, %rcx
  or %rbx, %rcx
  mov %rcx, \entry
  call flush
  mov $VA, %rax
  FAULT "paging.reserved.\name", 14, 9, mov (%rax), %cl
  mov %rbx, \entry
.endm
  call map_pages
  RESERVED pml4e-51, pml4 + 8, 0x8000000000000
  RESERVED pml4e-ps, pml4 + 8, 0x80
  RESERVED pdpte-51, test_pdpt, 0x8000000000000
  RESERVED pde-51, test_pd, 0x8000000000000
  RESERVED pte-51, test_pt, 0x8000000000000
  RESERVED pde-large-unaligned, test_pd, 0x2080
  RESERVED pdpte-huge-unaligned, test_pdpt, 0x2080
  mov $0xc0000080, %ecx         # without EFER.NXE bit 63 is reserved
  mov $0x501, %eax
  xor %edx, %edx
  wrmsr
  mov test_pt, %rbx
  btsq $63, test_pt
  call flush
  mov $VA, %rax
  FAULT "paging.reserved.nx-without-nxe", 14, 9, mov (%rax), %cl
  mov $VA, %rax
  FAULT "paging.reserved.nx-without-nxe-write", 14, 0xb, mov %cl, (%rax)
  mov %rbx, test_pt
  movq $0, test_pt + 8
  call flush
  mov $VA + 0x1000, %rax
  TRY 2f
  jmp *%rax
2:TRAP "paging.error.fetch-without-nxe", 14, 0
  mov $0xc0000080, %ecx
  mov $0xd01, %eax
  xor %edx, %edx
  wrmsr

  # ---- accesses that cross into another page
  call map_pages
  movq $page_b + 7, test_pt     # VA is page B, VA + 0x1000 is page A
  movq $page_a + 7, test_pt + 8
  call flush
  mov $VA + 0xffd, %rax
  movabs $0x1122334455667788, %rcx
  mov %rcx, (%rax)
  mov page_b + 0xffd, %ax
  shl $16, %eax
  mov page_a, %ax
  CHECK "paging.cross.scattered-write", 0x77884455
  mov $VA + 0xffd, %rax
  mov (%rax), %rax
  CHECK "paging.cross.scattered-read", 0x1122334455667788
  movq $0, test_pt + 8
  call flush
  movl $0, page_b + 0xffc
  mov $VA + 0xffe, %rax
  FAULT "paging.cross.write-fault", 14, 2, movl $-1, (%rax)
  CR2 "paging.cross.cr2", VA + 0x1000
  mov page_b + 0xffc, %eax
  CHECK "paging.cross.nothing-written", 0
  mov $VA + 0xffe, %rax
  FAULT "paging.cross.read-fault", 14, 0, movups -8(%rax), %xmm0
  movq $page_a + 5, test_pt + 8
  call flush
  mov $VA + 0xffe, %rax
  FAULT "paging.cross.rmw-read-only-second", 14, 3, addl $-1, (%rax)
  CR2 "paging.cross.rmw-cr2", VA + 0x1000
  mov page_b + 0xffc, %eax
  CHECK "paging.cross.rmw-nothing-written", 0

  # ---- code that crosses a page: 5-byte MOV with its immediate in the second page
  call map_pages
  movb $0xb8, page_a + 0xffe
  movb $0x44, page_a + 0xfff
  movb $0x11, page_b
  movb $0x22, page_b + 1
  movb $0x33, page_b + 2
  movb $0xc3, page_b + 3
  mov $VA + 0xffe, %rcx
  call *%rcx
  CHECK "paging.code-cross.runs", 0x33221144
  movq $0, test_pt + 8
  call flush
  TRY 2f
  mov $VA + 0xffe, %rcx
  jmp *%rcx
2:TRAP "paging.code-cross.fault", 14, 0x10
  mov trap_rip, %rax
  CHECK "paging.code-cross.rip", VA + 0xffe
  CR2 "paging.code-cross.cr2", VA + 0x1000

  # ---- accessed and dirty bits
  call map_pages
  mov $VA, %rax
  mov (%rax), %cl
  mov test_pt, %rax
  and $0x60, %eax
  CHECK "paging.ad.read", 0x20
  mov pml4 + 8, %rax
  and test_pdpt, %rax
  and test_pd, %rax
  and $0x20, %eax
  CHECK "paging.ad.upper-levels", 0x20
  mov $VA, %rax
  mov %cl, (%rax)
  mov test_pt, %rax
  and $0x60, %eax
  CHECK "paging.ad.write-after-read", 0x60
  call map_pages
  mov $VA, %rdx
  xor %eax, %eax
  movl $1, page_a
  lock cmpxchg %ecx, (%rdx)     # fails, but still writes the old value back
  mov test_pt, %rax
  and $0x60, %eax
  CHECK "paging.ad.failed-cmpxchg", 0x60
  call map_pages
  mov $VA, %rdi
  xor %ecx, %ecx
  rep stosb                     # no iteration, no access
  mov test_pt, %rax
  and $0x60, %eax
  CHECK "paging.ad.rep-zero", 0
  movq $page_a + 3, test_pt
  call flush
  mov $VA, %rdi
  USERFAULT "paging.ad.user-fault", 14, 5, mov (%rdi), %cl
  mov test_pt, %rax
  and $0x60, %eax
  CHECK "paging.ad.none-on-fault", 0

  # ---- REP across a fault keeps what is done
  call map_pages
  movq $0, test_pt + 8
  call flush
  mov $VA + 0xff0, %rdi
  mov $64, %ecx
  mov $0x5a, %al
  FAULT "paging.rep.fault", 14, 2, rep stosb
  mov trap_rcx, %rax
  CHECK "paging.rep.count", 48
  mov trap_rdi, %rax
  CHECK "paging.rep.destination", VA + 0x1000
  mov page_a + 0xff8, %rax
  CHECK "paging.rep.written", 0x5a5a5a5a5a5a5a5a

  # ---- INVLPG and global pages
  call map_pages
  movl $0xaaaa, page_a
  movl $0xbbbb, page_b
  mov $VA, %rcx
  mov (%rcx), %eax
  movq $page_b + 7, test_pt
  invlpg (%rcx)
  mov (%rcx), %eax
  CHECK "paging.invlpg", 0xbbbb
  movq $page_a + 7, test_pt
  call flush
  mov (%rcx), %eax
  CHECK "paging.cr3-flushes", 0xaaaa
  mov $CR4_DEFAULT | 0x80, %eax
  mov %rax, %cr4
  movq $page_a + 0x107, test_pt
  invlpg (%rcx)
  mov (%rcx), %eax
  movq $page_b + 0x107, test_pt
  mov $CR4_DEFAULT, %eax        # clearing PGE flushes global entries
  mov %rax, %cr4
  mov (%rcx), %eax
  CHECK "paging.pge-flushes-global", 0xbbbb
  mov $VA, %rcx
  mov $CR4_DEFAULT | 0x80, %eax
  mov %rax, %cr4
  mov (%rcx), %eax
  movq $page_a + 0x107, test_pt
  invlpg (%rcx)
  mov (%rcx), %eax
  CHECK "paging.invlpg-global", 0xaaaa
  movq $page_a + 7, test_pt
  invlpg (%rcx)
  movl $0xaaaa, (%rcx)
  mov (%rcx), %eax
  movq $page_b + 7, test_pt
  call flush
  mov (%rcx), %eax
  CHECK "paging.cr3-flushes-not-global", 0xbbbb
  movl $0xbbbb, (%rcx)
  mov page_a, %eax
  CHECK "paging.cr3-flushes-not-global.written", 0xaaaa

  # An indirect call goes where its page is now: two functions on each page, the second of which makes the page known again.
  movl $0x000001b8, page_a + 0x100 # mov $1, %eax; ret
  movl $0x0000c300, page_a + 0x104
  movl $0x000002b8, page_b + 0x100
  movl $0x0000c300, page_b + 0x104
  movb $0xc3, page_a + 0x200
  movb $0xc3, page_b + 0x200
  lea 0x100(%rcx), %rdx
  lea 0x200(%rcx), %rdi
  movq $page_a + 3, test_pt
  call flush
  call *%rdx
  call *%rdx
  CHECK "paging.remapped-code.before", 1
  movq $page_b + 3, test_pt
  invlpg (%rcx)
  call *%rdi
  call *%rdx
  CHECK "paging.remapped-code.invlpg", 2
  movq $page_a + 3, test_pt
  call flush
  call *%rdi
  call *%rdx
  CHECK "paging.remapped-code.cr3", 1
  mov $CR4_DEFAULT, %eax
  mov %rax, %cr4

  # ---- large pages: 2 MiB and its invalidation by an address inside
  movq $0x87, test_pd
  call flush
  mov $VA + 0x100000, %rax
  mov (%rax), %ax
  mov 0x100000, %cx
  xor %ecx, %eax
  movzx %ax, %eax
  CHECK "paging.2m.translation", 0
  mov $VA, %rax                 # its first 4 KiB are used too
  mov (%rax), %ax
  movq $test_pt + 7, test_pd
  mov $VA + 0x1fffff, %rax
  invlpg (%rax)
  mov $VA, %rax
  mov (%rax), %eax
  CHECK "paging.2m.invlpg-inside", 0xaaaa

  # ---- the stack, descriptor tables and page tables themselves
  call map_pages
  movq $page_a + 5, test_pt
  call flush
  mov $arena, %esi
  mov $VA + 0x10, %rdi
  TRY 2f
1:movsb
2:TRAP "paging.movs-write-fault", 14, 3, 1b
  mov trap_rdi, %rax
  CHECK "paging.movs-keeps-rdi", VA + 0x10
  call map_pages                # a GDT whose entries from 0x28 on are in a page that is not there
  mov $gdt, %esi
  mov $page_a + 0x1000-0x28, %edi
  mov $0x28, %ecx
  rep movsb
  movq $0, test_pt + 8
  call flush
  movw $0xff, arena
  mov $VA + 0x1000-0x28, %rax
  mov %rax, arena + 2
  lgdt arena
  TRY 2f
  mov $UDATA&~3, %eax
1:mov %eax, %es
2:lgdt gdt_pointer
  TRAP "paging.descriptor.absent", 14, 0, 1b
  CR2 "paging.descriptor.cr2", VA+0x1000
  movq $page_a + 3, test_pt     # the descriptor read of ring 3 is a supervisor access
  movq $page_b + 3, test_pt + 8
  mov $gdt + 0x28, %esi
  mov $page_b, %edi
  mov $0xd8, %ecx
  rep movsb
  call flush
  lgdt arena
  USER u_load_ds
  lgdt gdt_pointer
  TRAP "paging.descriptor.supervisor-page-from-ring3", VEC_DONE
  mov $KDATA, %eax
  mov %eax, %ds
  movq $0, pml4 + 8
  jmp flush

u_load_ds:
  mov $UDATA, %eax
  mov %eax, %ds
  int $VEC_DONE

.bss
.balign 4096
test_pdpt: .skip 4096
test_pd: .skip 4096
test_pt: .skip 4096
.global page_a, page_b
page_a: .skip 4096
page_b: .skip 4096
