# Every exception vector except #DB (debug.s) and the page-fault table (paging.s): vector, error code, RIP. SDM volume 3 chapter 6.
.include "macros.inc"
.text
.global suite_exceptions
suite_exceptions:
  # ---- #DE
  xor %edx, %edx
  mov $1, %eax
  xor %ecx, %ecx
  FAULT "exception.de.zero32", 0, 0, div %ecx
  mov $1, %edx
  mov $1, %ecx
  FAULT "exception.de.quotient64", 0, 0, div %rcx
  mov $0x8000000000000000, %rax
  cqo
  mov $-1, %rcx
  FAULT "exception.de.idiv-min", 0, 0, idiv %rcx
  mov $0x200, %eax
  mov $2, %cl
  FAULT "exception.de.quotient8", 0, 0, div %cl
  COMPAT c32_aam
  TRAP "exception.de.aam", 0, 0, c32_aam

  # ---- #BP #OF #BR
  TRY 2f
  int3
1:nop
2:TRAP "exception.bp", 3, 0, 1b
  USER u_int3
  TRAP "exception.bp.user", 3, 0, u_int3_end + USER_BASE
  COMPAT c32_into
  TRAP "exception.of", 4, 0, c32_into_end
  COMPAT c32_into_clear
  TRAP "exception.of.clear", VEC_DONE
  COMPAT c32_bound
  TRAP "exception.br", 5, 0, c32_bound_at
  COMPAT c32_bound_inside
  TRAP "exception.br.inside", VEC_DONE

  # ---- #UD
  FAULT "exception.ud.ud2", 6, 0, ud2
  FAULT "exception.ud.ud1", 6, 0, .byte 0x0f, 0xb9, 0xc0
  FAULT "exception.ud.push-es-64", 6, 0, .byte 0x06
  FAULT "exception.ud.daa-64", 6, 0, .byte 0x27
  FAULT "exception.ud.into-64", 6, 0, .byte 0xce
  FAULT "exception.ud.ljmp-imm-64", 6, 0, .byte 0xea
  FAULT "exception.ud.lock-register", 6, 0, .byte 0xf0, 0x01, 0xc8
  FAULT "exception.ud.lock-mov", 6, 0, .byte 0xf0, 0x89, 0x07
  FAULT "exception.ud.mov-cs", 6, 0, .byte 0x8e, 0xc8
  FAULT "exception.ud.mov-sreg6", 6, 0, .byte 0x8e, 0xf0
  FAULT "exception.ud.mov-cr1", 6, 0, .byte 0x0f, 0x20, 0xc8
  FAULT "exception.ud.lea-register", 6, 0, .byte 0x8d, 0xc0
  FAULT "exception.ud.group3b", 6, 0, .byte 0xff, 0xf8

  # ---- length limit: 15 bytes run, 16 are #GP(0)
  TRY 2f
  .fill 14, 1, 0x66
  nop
2:NOTRAP "exception.length15"
  TRY 2f
1:.fill 15, 1, 0x66
  nop
2:TRAP "exception.length16", 13, 0, 1b

  # ---- #NM and the #UD next to it
  mov $CR0_DEFAULT | 8, %eax
  mov %rax, %cr0
  FAULT "exception.nm.x87", 7, 0, fldz
  FAULT "exception.nm.sse", 7, 0, movaps %xmm0, %xmm1
  FAULT "exception.nm.mmx", 7, 0, movq %mm0, %mm1
  FAULT "exception.nm.wait", 7, 0, fwait
  FAULT "exception.nm.fxsave", 7, 0, fxsave arena
  mov $CR0_DEFAULT & ~2 | 8, %eax
  mov %rax, %cr0
  TRY 2f
  fwait
2:NOTRAP "exception.nm.wait-without-mp"
  mov $CR0_DEFAULT | 4, %eax
  mov %rax, %cr0
  FAULT "exception.nm.emulate-x87", 7, 0, fldz
  FAULT "exception.ud.emulate-sse", 6, 0, movaps %xmm0, %xmm1
  FAULT "exception.ud.emulate-mmx", 6, 0, movq %mm0, %mm1
  mov $CR0_DEFAULT, %eax
  mov %rax, %cr0
  mov $CR4_DEFAULT & ~0x200, %eax
  mov %rax, %cr4
  FAULT "exception.ud.no-osfxsr", 6, 0, movaps %xmm0, %xmm1
  mov $CR4_DEFAULT, %eax
  mov %rax, %cr4

  # ---- #DF and faults during delivery
  andb $0x7f, idt + 13*16 + 5
  TRY 2f
  mov $0x800000000000, %rax
1:mov (%rax), %al
2:TRAP "exception.df.gp-np", 8, 0
  mov trap_frame, %rax
  CHECK "exception.df.ist-frame", ist1_top-40
  orb $0x80, idt + 13*16 + 5
  andb $0x7f, idt + 14*16 + 5
  TRY 2f
1:mov 0x90000000000, %al
2:TRAP "exception.df.pf-np", 8, 0
  orb $0x80, idt + 14*16 + 5
  andb $0x7f, idt + 6*16 + 5
  TRY 2f                        # benign first: handled serially; EXT is set, the event was no INT n
1:ud2
2:TRAP "exception.np.during-ud", 11, 6*8+3, 1b
  orb $0x80, idt + 6*16 + 5
  andb $0x7f, idt + 0x40*16 + 5
  FAULT "exception.np.int", 11, 0x40*8+2, int $0x40
  orb $0x80, idt + 0x40*16 + 5
  movb $0x85, idt + 0x40*16 + 5 # task gate: not in IA-32e mode
  FAULT "exception.gp.gate-type", 13, 0x40*8+2, int $0x40
  movb $0x8e, idt + 0x40*16 + 5
  movw $0x3f8, idt_short
  lidt idt_short
  FAULT "exception.gp.idt-limit", 13, 0x80*8+2, int $0x80
  lidt idt_pointer

  # ---- #NP #SS #GP
  mov $NPDATA, %ecx
  FAULT "exception.np.data", 11, NPDATA, mov %ecx, %ds
  FAULT "exception.ss.not-present", 12, NPDATA, mov %ecx, %ss
  mov $0x800000000000, %rbp
  FAULT "exception.ss.non-canonical", 12, 0, mov (%rbp), %al
  FAULT "exception.ss.non-canonical-ds", 12, 0, .byte 0x3e, 0x8a, 0x45, 0    # DS CS ES SS prefixes are ignored (volume 1, 3.3.7.1)
  FAULT "exception.gp.non-canonical-gs", 13, 0, mov %gs:(%rbp), %al
  mov %rbp, %rax
  FAULT "exception.gp.non-canonical-read", 13, 0, mov (%rax), %cl
  FAULT "exception.gp.non-canonical-write", 13, 0, movq $0, (%rax)
  FAULT "exception.gp.non-canonical-jump", 13, 0, jmp *%rax
  mov %rsp, %rbx                # #SS has an IST stack, so a stack that cannot be pushed to is survivable
  mov $0x7fff00000000, %rax
  shl $1, %rax
  TRY 2f
  mov %rax, %rsp
1:push %rax
2:TRAP "exception.ss.push-non-canonical", 12, 0, 1b
  mov $GDT_LAST + 9, %ecx
  FAULT "exception.gp.beyond-gdt", 13, 0x108, mov %ecx, %ds
  mov $arena + 4, %eax
  FAULT "exception.gp.movaps-unaligned", 13, 0, movaps (%rax), %xmm0
  TRY 2f
  movups (%rax), %xmm0
2:NOTRAP "exception.gp.movups-unaligned"

  # ---- #MF: raised by the next waiting instruction
  fninit
  movw $0x37b, arena            # zero-divide unmasked
  fldcw arena
  fld1
  fldz
  TRY 2f
  fdivrp %st, %st(1)
  fnstsw %ax
  nop
1:fwait
2:TRAP "exception.mf", 16, 0, 1b
  fnstsw %ax
  and $0x80ff, %eax
  CHECK "exception.mf.status", 0x8084
  fnclex
  fninit

  # ---- #AC
  mov $CR0_DEFAULT | 0x40000, %eax
  mov %rax, %cr0
  movl $0x40002, user_flags
  USER u_unaligned
  TRAP "exception.ac", 17, 0, u_unaligned_at + USER_BASE
  movl $2, user_flags
  USER u_unaligned
  TRAP "exception.ac.flag-clear", VEC_DONE
  pushq $0x40002
  popfq
  TRY 2f
  mov arena + 1, %eax
2:NOTRAP "exception.ac.kernel"
  pushq $2
  popfq
  mov $CR0_DEFAULT, %eax
  mov %rax, %cr0
  movl $0x40002, user_flags
  USER u_unaligned
  TRAP "exception.ac.am-clear", VEC_DONE
  movl $2, user_flags

  # ---- #XM
  movl $0x1d80, arena           # zero-divide unmasked
  ldmxcsr arena
  movl $0x3f800000, arena
  movss arena, %xmm0
  xorps %xmm1, %xmm1
  FAULT "exception.xm", 19, 0, divss %xmm1, %xmm0
  movd %xmm0, %eax
  CHECK "exception.xm.destination-kept", 0x3f800000
  stmxcsr arena
  mov arena, %eax
  CHECK "exception.xm.flag", 0x1d84
  movl $0x9780, arena           # flush to zero, but underflow is unmasked: then it does nothing, and 2^-126 * 2^-1 is exact
  ldmxcsr arena
  movl $0x00800000, arena
  movss arena, %xmm0
  movl $0x3f000000, arena
  movss arena, %xmm1
  FAULT "exception.xm.underflow", 19, 0, mulss %xmm1, %xmm0
  stmxcsr arena
  mov arena, %eax
  CHECK "exception.xm.underflow-exact", 0x9790
  movl $0x3f800000, arena
  movss arena, %xmm0
  xorps %xmm1, %xmm1
  movl $0x1d80, arena
  ldmxcsr arena
  mov $CR4_DEFAULT & ~0x400, %eax
  mov %rax, %cr4
  FAULT "exception.xm.without-osxmmexcpt", 6, 0, divss %xmm1, %xmm0
  mov $CR4_DEFAULT, %eax
  mov %rax, %cr4
  movl $0x1f80, arena
  ldmxcsr arena
  movl $0x10000, arena
  mov $arena, %eax
  FAULT "exception.gp.mxcsr-reserved", 13, 0, ldmxcsr (%rax)

  # ---- a fault leaves the instruction without effect
  mov $arena, %ecx
  movl $0x11111111, arena
  mov $0x800000000000, %rsi
  mov $5, %edx
  TRY 2f
  xadd %edx, (%rsi)
2:mov trap_rdx, %rax
  CHECK "exception.restart.xadd", 5
  mov %rsp, %rbx
  TRY 2f
  pushq (%rsi)
2:mov trap_rsp, %rax
  sub %rbx, %rax
  CHECK "exception.restart.push", 0
  mov $3, %ecx
  mov $arena, %edi
  TRY 2f
  rep movsb
2:mov trap_rcx, %rax
  CHECK "exception.restart.rep-count", 3
  mov trap_rdi, %rax
  CHECK "exception.restart.rep-destination", arena
  ret

u_int3:
  int3
u_int3_end:
  int $VEC_DONE
u_unaligned:
u_unaligned_at:
  mov -7(%rsp), %eax
  int $VEC_DONE

.code32
c32_aam:
  aam $0
c32_into:
  mov $0x7fffffff, %eax
  add $1, %eax
  into
c32_into_end:
  int $VEC_DONE
c32_into_clear:
  xor %eax, %eax
  into
  int $VEC_DONE
c32_bound:
  mov $11, %eax
  movl $0, arena
  movl $10, arena + 4
c32_bound_at:
  bound %eax, arena
  int $VEC_DONE
c32_bound_inside:
  mov $10, %eax
  bound %eax, arena
  int $VEC_DONE
.code64

.data
.balign 8
idt_short:
  .word 0
  .quad idt
