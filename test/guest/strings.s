# String instructions and string I/O that meet faults half-way, the LOCK prefix, alignment checks, page-crossing data breakpoints and
# page-crossing code. SDM volume 2 (REP, LOCK, INS, OUTS), volume 3 sections 6.15 (#AC) and 17.2.
.include "macros.inc"
.set VA, TEST_BASE              # page A, page B at VA + 0x1000, nothing at VA + 0x2000 and before VA
.text
.global suite_strings
.macro LEFT name, counter, source, destination
  mov trap_rcx, %rax
  CHECK "strings.\name\().rcx", \counter
  mov trap_rsi, %rax
  CHECK "strings.\name\().rsi", \source
  mov trap_rdi, %rax
  CHECK "strings.\name\().rdi", \destination
.endm
.macro POINT counter, source, destination
  mov $\counter, %rcx
  mov $\source, %rsi
  mov $\destination, %rdi
.endm
suite_strings:
  call map_pages

  # ---- destination ends
  POINT 100, arena, VA+0x1ff0
  FAULT "strings.movsb.destination", 14, 2, rep movsb
  LEFT movsb.destination, 84, arena+16, VA+0x2000
  POINT 100, arena, VA+0x1ff0
  FAULT "strings.movsq.destination", 14, 2, rep movsq
  LEFT movsq.destination, 98, arena+16, VA+0x2000
  movq $0, page_b + 0xff8
  POINT 100, arena, VA+0x1ff3   # the second quadword straddles the end: no byte of it is written
  movq $-1, arena + 8
  FAULT "strings.movsq.straddle", 14, 2, rep movsq
  LEFT movsq.straddle, 99, arena+8, VA+0x1ffb
  mov page_b + 0xffb, %eax
  CHECK "strings.movsq.straddle.nothing-written", 0
  # ---- source ends
  POINT 100, VA+0x1ffd, arena
  FAULT "strings.movsb.source", 14, 0, rep movsb
  LEFT movsb.source, 97, VA+0x2000, arena+3
  POINT 100, VA+0x1ffd, arena
  FAULT "strings.movsd.source", 14, 0, rep movsl
  LEFT movsd.source, 100, VA+0x1ffd, arena
  POINT 100, VA+0x1ffe, arena
  FAULT "strings.lodsb", 14, 0, rep lodsb
  LEFT lodsb, 98, VA+0x2000, arena
  # ---- downwards
  POINT 100, arena+0x1000, VA+5
  TRY 2f
  std
1:rep movsb
2:cld
  TRAP "strings.movsb.down", 14, 2, 1b
  LEFT movsb.down, 94, arena+0xffa, VA-1
  mov trap_rflags, %rax
  and $0x400, %eax
  CHECK "strings.movsb.down.df", 0x400
  POINT 100, arena, VA+16
  TRY 2f
  std
1:rep stosq
2:cld
  TRAP "strings.stosq.down", 14, 2, 1b
  LEFT stosq.down, 97, arena, VA-8
  # ---- compare and scan stop at the fault with the flags of the last comparison
  call map_pages
  mov $page_a, %edi
  mov $0x2000, %ecx
  xor %eax, %eax
  rep stosb
  POINT 100, arena, VA+0x1ffc
  xor %eax, %eax
  FAULT "strings.scasb", 14, 0, repe scasb
  LEFT scasb, 96, arena, VA+0x2000
  mov trap_rflags, %rax
  and $0x40, %eax
  CHECK "strings.scasb.zf", 0x40
  movl $0, arena
  POINT 100, arena, VA+0x1ffe
  FAULT "strings.cmpsb", 14, 0, repe cmpsb
  LEFT cmpsb, 98, arena+2, VA+0x2000
  POINT 100, arena, VA+0x1ff0
  movb $7, page_b + 0xff4
  mov $7, %eax
  repne scasb
  mov %rcx, %rax
  CHECK "strings.scasb.found", 95
  # ---- non-canonical half-way, and with 32-bit addresses
  POINT 100, arena, 0x7ffffffffff8
  FAULT "strings.stosb.absent-top", 14, 2, rep stosb
  POINT 3, arena, 0x800000000000
  FAULT "strings.stosb.non-canonical", 13, 0, rep stosb
  LEFT stosb.non-canonical, 3, arena, 0x800000000000
  POINT 0, 0x800000000000, 0x800000000000
  TRY 2f
  rep movsb
2:NOTRAP "strings.zero-count"
  mov $0xffffffff00000002, %rcx
  mov $0xffffffff00000000, %rax
  mov $arena, %esi
  or %rax, %rsi
  lea 64(%rsi), %rdi
  movw $0x1234, arena
  addr32 rep movsb
  movzwl arena + 64, %eax
  CHECK "strings.addr32.moved", 0x1234
  mov %rcx, %rax
  CHECK "strings.addr32.rcx", 0
  mov %rdi, %rax
  CHECK "strings.addr32.rdi", arena+66
  mov $0xffffffff00000000, %rcx # only ECX counts
  TRY 2f
  addr32 rep stosb
2:NOTRAP "strings.addr32.zero-count"
  # ---- overlapping: forwards repeats the pattern
  movl $0x04030201, arena
  movl $0, arena + 4
  movl $0, arena + 8
  POINT 8, arena, arena+2
  rep movsb
  mov arena + 4, %eax
  CHECK "strings.overlap", 0x02010201
  POINT 2, arena, arena+4
  movl $0x44332211, arena
  rep movsl
  mov arena + 8, %eax
  CHECK "strings.overlap-dword", 0x44332211

  # ---- string I/O: port 0x80 takes anything
  call map_pages
  mov $0x80, %edx
  POINT 100, VA+0x1ff8, arena
  FAULT "strings.outsb", 14, 0, rep outsb
  LEFT outsb, 92, VA+0x2000, arena
  POINT 100, VA+0x1ff8, arena
  FAULT "strings.outsd", 14, 0, rep outsl
  LEFT outsd, 98, VA+0x2000, arena
  mov $0x61, %edx
  POINT 100, arena, VA+0x1ffd
  FAULT "strings.insb", 14, 2, rep insb
  LEFT insb, 97, arena, VA+0x2000
  POINT 2, arena, VA
  rep insb
  mov %rdi, %rax
  CHECK "strings.insb.done", VA+2
  POINT 0, 0x800000000000, 0x800000000000
  TRY 2f
  rep insb
  rep outsb
2:NOTRAP "strings.io.zero-count"
  # INS must not take the device's byte when its destination faults: the PIT gives low and high byte in turn
  mov $0xb0, %al
  out %al, $0x43
  mov $0x34, %al
  out %al, $0x42
  mov $0x12, %al
  out %al, $0x42
  in $0x61, %al
  and $0xfc, %al
  out %al, $0x61                # gate low: the count stands still
  mov $0xb0, %al
  out %al, $0x43
  mov $0x34, %al
  out %al, $0x42
  mov $0x12, %al
  out %al, $0x42
  mov $0x42, %edx
  mov $VA + 0x2000, %rdi
  FAULT "strings.insb.absent", 14, 2, insb
  in $0x42, %al
  movzx %al, %eax
  CHECK "strings.insb.device-untouched", 0x34
  in $0x42, %al
  movq $page_a + 5, test_pt     # read-only
  mov %cr3, %rax
  mov %rax, %cr3
  mov $0x61, %edx
  POINT 1, arena, VA
  FAULT "strings.insb.read-only", 14, 3, insb
  USERCODE "strings.outsb.user", 13, 0, "mov $0x80, %edx; outsb"
  movb $0xfe, io_bitmap + 0x80/8
  mov $arena + USER_BASE, %rsi
  USERCODE "strings.outsb.user-allowed", VEC_DONE, 0, "mov $0x80, %edx; outsb; int $VEC_DONE"
  movb $0xff, io_bitmap + 0x80/8
  call map_pages

  # ---- LOCK: memory read-modify-writes only
.macro LOCKED name, code:vararg
  TRY .Llocked\@
  \code
.Llocked\@:
  NOTRAP "lock.\name"
.endm
.macro UNLOCKABLE name, bytes:vararg
  FAULT "lock.\name", 6, 0, .byte 0xf0, \bytes
.endm
  mov $arena, %edi
  mov $arena, %esi
  movq $0, arena
  movq $0, arena + 8
  xor %eax, %eax
  xor %ecx, %ecx
  xor %edx, %edx
  LOCKED add, lock addl %eax, (%rdi)
  LOCKED adc, lock adcb $1, (%rdi)
  LOCKED and, lock andq $-1, (%rdi)
  LOCKED or, lock orw $1, (%rdi)
  LOCKED sbb, lock sbbl %eax, (%rdi)
  LOCKED sub, lock subl %eax, (%rdi)
  LOCKED xor, lock xorl %eax, (%rdi)
  LOCKED inc, lock incl (%rdi)
  LOCKED dec, lock decl (%rdi)
  LOCKED not, lock notl (%rdi)
  LOCKED neg, lock negl (%rdi)
  LOCKED bts, lock btsl %eax, (%rdi)
  LOCKED btr, lock btrl $3, (%rdi)
  LOCKED btc, lock btcq %rax, (%rdi)
  LOCKED xadd, lock xaddl %eax, (%rdi)
  LOCKED xchg, lock xchgl %eax, (%rdi)
  LOCKED cmpxchg, lock cmpxchgl %ecx, (%rdi)
  LOCKED cmpxchg8b, lock cmpxchg8b (%rdi)
  LOCKED cmpxchg16b, lock cmpxchg16b (%rdi)
  UNLOCKABLE nop, 0x90
  UNLOCKABLE cmp, 0x39, 0x07
  UNLOCKABLE test, 0x85, 0x07
  UNLOCKABLE bt, 0x0f, 0xa3, 0x07
  UNLOCKABLE bt-immediate, 0x0f, 0xba, 0x27, 1
  UNLOCKABLE shl, 0xd1, 0x27
  UNLOCKABLE add-from-memory, 0x03, 0x07
  UNLOCKABLE xchg-registers, 0x87, 0xc1
  UNLOCKABLE xadd-registers, 0x0f, 0xc1, 0xc1
  UNLOCKABLE cmpxchg-registers, 0x0f, 0xb1, 0xc1
  UNLOCKABLE inc-register, 0xff, 0xc0
  UNLOCKABLE push, 0x50
  UNLOCKABLE pop-memory, 0x8f, 0x07
  UNLOCKABLE movs, 0xa4
  UNLOCKABLE stos, 0xaa
  UNLOCKABLE cli, 0xfa
  UNLOCKABLE movaps, 0x0f, 0x28, 0x07
  UNLOCKABLE fld, 0xd9, 0x07
  UNLOCKABLE bsf, 0x0f, 0xbc, 0x07
  UNLOCKABLE jmp, 0xeb, 0
  UNLOCKABLE mul, 0xf7, 0x27
  UNLOCKABLE shld, 0x0f, 0xa4, 0x07, 1
  UNLOCKABLE lea, 0x8d, 0x07
  UNLOCKABLE cpuid, 0x0f, 0xa2

  # ---- #AC: every size, the stack, not for bytes and not for system accesses
  mov $CR0_DEFAULT | 0x40000, %eax
  mov %rax, %cr0
  movl $0x40002, user_flags
.macro ALIGNED name, vector, code, error=0
  mov $arena + USER_BASE, %rdi
  mov $arena + USER_BASE, %rsi
  mov $1, %ecx
  USERCODE "ac.\name", \vector, \error, "\code"
.endm
  ALIGNED byte, VEC_DONE, "mov 1(%rdi), %al; mov %al, 3(%rdi); int $VEC_DONE"
  ALIGNED word, 17, "mov 1(%rdi), %ax"
  ALIGNED word-even, VEC_DONE, "mov 2(%rdi), %ax; int $VEC_DONE"
  ALIGNED dword, 17, "mov 2(%rdi), %eax"
  ALIGNED dword-four, VEC_DONE, "mov 4(%rdi), %eax; int $VEC_DONE"
  ALIGNED qword, 17, "mov 4(%rdi), %rax"
  ALIGNED write, 17, "mov %rax, 4(%rdi)"
  ALIGNED modify, 17, "addl $1, 1(%rdi)"
  ALIGNED push, 17, "sub $4, %rsp; push %rax"
  ALIGNED string, 17, "inc %rsi; movsl"
  ALIGNED fld64, 17, "fldl 4(%rdi)"
  ALIGNED call, 17, "sub $1, %rsp; call 1f; 1:"
  ALIGNED cross-page, 17, "mov 0xfff(%rdi), %ax"
  ALIGNED fld80, 17, "fldt 4(%rdi)"
  ALIGNED fld80-eight, VEC_DONE, "fldt 8(%rdi); fstp %st(0); int $VEC_DONE"
  ALIGNED fbstp, 17, "fldz; fbstp 4(%rdi)"
  ALIGNED fnstenv, 17, "fnstenv 2(%rdi)"
  ALIGNED fnstenv-four, VEC_DONE, "fnstenv 4(%rdi); int $VEC_DONE"
  ALIGNED fnstenv-16-bit, 17, "data16 fnstenv 1(%rdi)"
  ALIGNED fnstenv-16-bit-even, VEC_DONE, "data16 fnstenv 2(%rdi); int $VEC_DONE"
  ALIGNED fnsave, 17, "fnsave 2(%rdi)"
  ALIGNED fnsave-four, VEC_DONE, "fnsave 4(%rdi); int $VEC_DONE"
                                # before #PF, where the manual leaves the order open (volume 3, 6.9) and processors do it so
  ALIGNED before-absent, 17, "mov $0x7ff000000001, %rax; mov (%rax), %eax"
  ALIGNED before-absent-write, 17, "mov $0x7ff000000001, %rax; mov %eax, (%rax)"
  ALIGNED aligned-absent, 14, "mov $0x7ff000000004, %rax; mov (%rax), %eax", 4
  ALIGNED before-supervisor-page, 17, "mov $arena + 1, %rax; mov (%rax), %eax"
  ALIGNED after-non-canonical, 13, "mov $0x800000000001, %rax; mov (%rax), %eax"
  movl $2, user_flags
  mov $CR0_DEFAULT, %eax
  mov %rax, %cr0

  # ---- data breakpoints and accesses that cross a page
.macro CROSSWATCH name, address, length, code:vararg
  mov $\address, %rax
  mov %rax, %dr3
  mov $0x10000440 | (\length << 30), %rax
  mov %rax, %dr7
  mov $0xffff0ff0, %eax
  mov %rax, %dr6
  mov $VA, %rdi
  TRY 2f
  \code
1:nop
2:xor %eax, %eax
  mov %rax, %dr7
.endm
  CROSSWATCH before, VA+0xffc, 3, movq $1, 0xffe(%rdi)
  TRAP "debug.cross.first-page", 1, 0, 1b
  mov trap_dr6, %rax
  and $0xf, %eax
  CHECK "debug.cross.first-page.dr6", 8
  CROSSWATCH after, VA+0x1000, 3, movq $1, 0xffe(%rdi)
  TRAP "debug.cross.second-page", 1, 0, 1b
  CROSSWATCH beyond, VA+0x1008, 3, movq $1, 0xffe(%rdi)
  NOTRAP "debug.cross.beyond"
  CROSSWATCH vector, VA+0x1000, 0, movups %xmm0, 0xff1(%rdi)
  TRAP "debug.cross.sse", 1, 0, 1b
  CROSSWATCH modify, VA+0x1000, 0, addl $1, 0xffd(%rdi)
  TRAP "debug.cross.modify", 1, 0, 1b
  mov %rsp, %rbx                # a watched stack slot, here the first of a new page
  mov $VA + 0x1008, %rcx
  CROSSWATCH push, VA+0x1000, 2, xchg %rcx, %rsp
  NOTRAP "debug.cross.no-access"
  mov %rbx, %rsp
  mov $VA+0x1000, %rax
  mov %rax, %dr3
  mov $0x90000440, %rax
  mov %rax, %dr7
  TRY 2f
  mov $VA + 0x1008, %rsp
  push %rax
1:nop
2:xor %eax, %eax
  mov %rax, %dr7
  mov %rbx, %rsp
  TRAP "debug.cross.push", 1, 0, 1b
  CROSSWATCH fault, VA+0x1ffc, 3, movq $1, 0x1ffe(%rdi)    # the access never happened
  TRAP "debug.cross.fault-first", 14, 2
  mov %dr6, %rax
  and $0xf, %eax
  CHECK "debug.cross.fault-first.dr6", 0

  # ---- code that crosses pages: what is in the second page may fault, change, or end the instruction
  call map_pages
  mov $page_a, %edi
  mov $0x90, %al
  mov $0x2000, %ecx
  rep stosb
  movb $0xc3, page_b + 16
  mov $VA + 0xff0, %rcx
  TRY 2f
  call *%rcx
2:NOTRAP "fetch.falls-into-second-page"
  movb $0x48, page_a + 0xffd    # movabs $imm64, %rax: 3 bytes here, 7 there
  movb $0xb8, page_a + 0xffe
  movb $0x88, page_a + 0xfff
  movabs $0x00c3112233445566, %rax
  mov %rax, page_b
  movb $0x77, page_b + 6
  movb $0xc3, page_b + 7
  mov $VA + 0xffd, %rcx
  call *%rcx
  CHECK "fetch.movabs", 0x7711223344556688
  btsq $63, test_pt + 8         # the second page may not be executed
  mov %cr3, %rax
  mov %rax, %cr3
  TRY 2f
  mov $VA + 0xffd, %rcx
  jmp *%rcx
2:TRAP "fetch.nx-second-page", 14, 0x11
  mov trap_rip, %rax
  CHECK "fetch.nx-second-page.rip", VA+0xffd
  mov trap_cr2, %rax
  CHECK "fetch.nx-second-page.cr2", VA+0x1000
  btrq $63, test_pt + 8
  mov $VA + 0x1000, %rax
  invlpg (%rax)
  mov $VA + 0xffd, %rcx
  call *%rcx
  CHECK "fetch.repaired", 0x7711223344556688
  movq $page_a + 7, test_pt + 8 # another page behind it: the old decoding must not be used
  mov $VA + 0x1000, %rax
  invlpg (%rax)
  movabs $0x00c3aabbccddeeff, %rax
  mov %rax, page_a
  movb $0x99, page_a + 6
  movb $0xc3, page_a + 7
  mov $VA + 0xffd, %rcx
  call *%rcx
  CHECK "fetch.second-page-remapped", 0x99aabbccddeeff88
  movq $page_b + 3, test_pt + 8 # supervisor page behind a user page
  mov %cr3, %rax
  mov %rax, %cr3
  USER u_jump
  TRAP "fetch.user-into-supervisor", 14, 0x15
  mov trap_rip, %rax
  CHECK "fetch.user-into-supervisor.rip", VA+0xffd
  call map_pages
  movb $0x66, page_a + 0xff9    # 15 bytes over the border run, 16 are #GP
  mov $page_a + 0xff4, %edi
  mov $0x66, %al
  mov $14, %ecx
  rep stosb
  movb $0x90, page_b + 2
  movb $0xc3, page_b + 3
  mov $VA + 0xff4, %rcx
  TRY 2f
  call *%rcx
2:NOTRAP "fetch.length15-crossing"
  movb $0x66, page_b + 2
  movb $0x90, page_b + 3
  TRY 2f
  mov $VA + 0xff4, %rcx
  jmp *%rcx
2:TRAP "fetch.length16-crossing", 13, 0
  NOT_ON_QEMU "fetch.unbacked", 3f
  TRY 2f                        # nothing there: all ones, which is no instruction
  mov $0xd0000000, %ecx
  jmp *%rcx
2:TRAP "fetch.unbacked", 6, 0
3:
  # ---- patching as kernels do it: INT3 over the first byte, the tail, then the first byte
  movb $0xe9, poke
  movl $poke_old - poke - 5, poke + 1
  call poke
  CHECK "poke.before", 1
  movb $0xcc, poke
  TRY 2f
  call poke
2:TRAP "poke.int3", 3, 0, poke+1
  movl $poke_new - poke - 5, poke + 1
  TRY 2f
  call poke
2:TRAP "poke.int3-again", 3, 0, poke+1
  movb $0xe9, poke
  call poke
  CHECK "poke.after", 2
  movl $0x00441f0f, poke        # nopl 0(%rax,%rax,1)
  movb $0, poke + 4
  call poke
  CHECK "poke.nop", 3
  movq $0, pml4 + 8
  mov %cr3, %rax
  mov %rax, %cr3
  ret

u_jump:
  mov $VA + 0xffd, %rcx
  jmp *%rcx
.balign 64
poke:
  .byte 0xe9, 0, 0, 0, 0        # jmp, completed above
  mov $3, %eax
  ret
poke_old:
  mov $1, %eax
  ret
poke_new:
  mov $2, %eax
  ret
