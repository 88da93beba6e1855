# Privilege transitions: interrupt gates, IST, IRET, SYSCALL and SYSENTER families, call gates, compatibility mode.
# SDM volume 2 (the instructions), volume 3 sections 5.8, 6.12, 6.14.
.include "macros.inc"
.macro MSR number, low, high=0
  mov $\number, %ecx
  mov $\low, %eax
  mov $\high, %edx
  wrmsr
.endm
.text
.global suite_privilege, gate_target
suite_privilege:
  # ---- interrupt from ring 3: stack from the TSS, old state in the frame
  movl $0x202, user_flags
  USER u_done
  TRAP "privilege.int.user", VEC_DONE, 0, u_done_end+USER_BASE
  movl $2, user_flags
  mov trap_frame, %rax
  CHECK "privilege.int.rsp0", intr_stack_top-40
  mov trap_cs, %rax
  CHECK "privilege.int.cs", U64
  mov trap_ss, %rax
  CHECK "privilege.int.ss", UDATA
  mov trap_rsp, %rax
  CHECK "privilege.int.rsp", user_stack_top+USER_BASE
  mov trap_rflags, %rax
  CHECK "privilege.int.rflags", 0x202
  USER u_ist
  TRAP "privilege.int.ist", VEC_IST
  mov trap_frame, %rax
  CHECK "privilege.int.ist-stack", ist4_top-40
  # the handler runs with a null SS, IF and TF clear
  movq $1f, trap_hook
  TRY 2f
  movl $0x202, user_flags
  USER u_done
1:mov %ss, %eax
  pushfq
  pop %rbx
  movq $0, trap_hook
  mov recover_rsp, %rsp
2:movl $2, user_flags
  CHECK "privilege.int.handler-ss", 0
  mov %rbx, %rax
  and $0x300, %eax
  CHECK "privilege.int.handler-flags", 0
  mov $KDATA, %eax
  mov %eax, %ss
  # from ring 0: the frame is aligned to 16 and has SS:RSP too
  mov %rsp, %rbx
  TRY 2f
  mov %rbx, %rsp
  and $-16, %rsp
  sub $3, %rsp
  mov %rsp, %rdx
  int $VEC_DONE
2:mov trap_rdx, %rax
  sub trap_rsp, %rax
  CHECK "privilege.int.ring0-rsp", 0
  mov trap_frame, %rax
  and $15, %eax
  CHECK "privilege.int.ring0-aligned", 8
  mov trap_ss, %rax
  CHECK "privilege.int.ring0-ss", KDATA
  # trap gate keeps IF
  movb $0x8f, idt + 0x41*16 + 5
  movq $1f, trap_hook
  TRY 2f
  mov $0xff, %al
  out %al, $0x21
  out %al, $0xa1
  sti
  int $0x41
1:pushfq
  pop %rax
  cli
  movq $0, trap_hook
  mov recover_rsp, %rsp
2:and $0x200, %eax
  CHECK "privilege.int.trap-gate-keeps-if", 0x200
  movb $0x8e, idt + 0x41*16 + 5

  # ---- IRET
  USER u32_done, U32
  TRAP "privilege.iret.to-compat", VEC_DONE, 0, u32_done_end+USER_BASE
  mov trap_rax, %rax
  CHECK "privilege.compat.32-bit-inc-dec", 0x11
  COMPAT c32_done
  TRAP "privilege.iret.compat-ring0", VEC_DONE
  mov trap_rax, %rax
  CHECK "privilege.compat.address-wrap", 0x55aa
.macro IRET_FAULT name, vector, error, ss, cs, rip, flags=2
  TRY 2f
  mov %rsp, %rax
  pushq $\ss
  push %rax
  pushq $\flags
  pushq $\cs
  mov $\rip, %rax
  push %rax
1:iretq
2:TRAP "privilege.iret.\name", \vector, \error, 1b
.endm
  IRET_FAULT null-cs, 13, 0, KDATA, 0, 0
  IRET_FAULT data-cs, 13, KDATA, KDATA, KDATA, 0
  IRET_FAULT cs-beyond-gdt, 13, 0x1f8, KDATA, 0x1f8, 0
  IRET_FAULT not-present-cs, 11, NPCODE, KDATA, NPCODE, 0
  NOT_ON_QEMU "privilege.iret.bad-code", 3f
  IRET_FAULT bad-code, 13, BADCODE, KDATA, BADCODE, landing
3:
  IRET_FAULT inner-ring, 13, U64&~3, KDATA, U64&~3, 0
  IRET_FAULT ss-wrong-ring, 13, KDATA, KDATA, U64, 0
  IRET_FAULT ss-code, 13, U64&~3, U64, U64, 0
  IRET_FAULT ss-not-present, 12, NPUDATA, NPUDATA|3, U64, 0
  IRET_FAULT null-ss-ring3, 13, 0, 3, U64, 0
  IRET_FAULT non-canonical-rip, 13, 0, KDATA, K64, 0x800000000000
  TRY 2f
  pushq $0x4002                 # NT: no task return in IA-32e mode
  popfq
1:iretq
2:TRAP "privilege.iret.nt", 13, 0, 1b
  TRY 2f                        # a null SS is fine for ring 0 in 64-bit mode
  mov %rsp, %rax
  pushq $0
  push %rax
  pushq $2
  pushq $K64
  pushq $1f
  iretq
1:mov %ss, %eax
2:NOTRAP "privilege.iret.null-ss-ring0"
  CHECK "privilege.iret.null-ss", 0
  mov $KDATA, %eax
  mov %eax, %ss
  mov $UDATA, %eax              # going out, DS and ES that ring 3 may not have become null
  mov %eax, %es
  mov $KDATA, %eax
  mov %eax, %ds
  USER u_done
  mov %ds, %eax
  CHECK "privilege.iret.clears-ds", 0
  mov %es, %eax
  CHECK "privilege.iret.keeps-es", UDATA
  mov $KDATA, %eax
  mov %eax, %ds
  mov %eax, %es

  # ---- SYSCALL, SYSRET
  MSR 0xc0000081, 0, 0x00200008
  MSR 0xc0000082, syscall_entry
  MSR 0xc0000083, syscall_entry
  MSR 0xc0000084, 0x3200
  movl $0x3202, user_flags
  USER u_syscall
  TRAP "privilege.syscall.returns", VEC_DONE, 0, u_syscall_end+USER_BASE
  mov syscall_cs, %rax
  CHECK "privilege.syscall.cs", K64
  mov syscall_ss, %rax
  CHECK "privilege.syscall.ss", KDATA
  mov syscall_rcx, %rax
  CHECK "privilege.syscall.rcx", u_syscall_next+USER_BASE
  mov syscall_r11, %rax
  CHECK "privilege.syscall.r11", 0x3202
  mov syscall_flags, %rax
  CHECK "privilege.syscall.fmask", 2
  mov syscall_rsp, %rax
  CHECK "privilege.syscall.rsp-kept", user_stack_top+USER_BASE
  mov trap_rflags, %rax
  CHECK "privilege.sysret.rflags", 0x3202
  mov trap_cs, %rax
  CHECK "privilege.sysret.cs", U64
  mov trap_ss, %rax
  CHECK "privilege.sysret.ss", UDATA
  movl $2, user_flags
  MSR 0xc0000082, syscall_entry_wrmsr
  USER u_syscalls
  TRAP "privilege.sysret.no-access-of-ring-0", 14, 5, u_syscalls_read+USER_BASE
  MSR 0xc0000082, syscall_entry
  TRY 2f                        # SYSRET to compatibility mode
  mov $u32_done + USER_BASE, %ecx
  mov $2, %r11d
  mov $user_stack_top + USER_BASE, %esp
  sysretl
2:TRAP "privilege.sysret.compat", VEC_DONE, 0, u32_done_end+USER_BASE
  mov trap_cs, %rax
  CHECK "privilege.sysret.compat-cs", U32
  TRY 2f
  mov $0x800000000000, %rcx
  mov $2, %r11d
1:sysretq
2:TRAP "privilege.sysret.non-canonical", 13, 0, 1b
  MSR 0xc0000080, 0xd00
  FAULT "privilege.syscall.without-sce", 6, 0, syscall
  FAULT "privilege.sysret.without-sce", 6, 0, sysretq
  MSR 0xc0000080, 0xd01

  # ---- SYSENTER, SYSEXIT
  NOT_ON_AMD "privilege.sysenter", .Lsysenter_end
  MSR 0x174, 0
  FAULT "privilege.sysenter.null-cs", 13, 0, sysenter
  FAULT "privilege.sysexit.null-cs", 13, 0, sysexitl
  MSR 0x174, K64
  MSR 0x175, intr_stack_top
  MSR 0x176, sysenter_entry
  movl $0x202, user_flags
  USER u_sysenter
  TRAP "privilege.sysenter.returns", VEC_DONE, 0, u_done_end+USER_BASE
  movl $2, user_flags
  mov syscall_cs, %rax
  CHECK "privilege.sysenter.cs", K64
  mov syscall_ss, %rax
  CHECK "privilege.sysenter.ss", KDATA
  mov syscall_rsp, %rax
  CHECK "privilege.sysenter.rsp", intr_stack_top
  mov syscall_flags, %rax
  CHECK "privilege.sysenter.if-cleared", 2
  mov trap_cs, %rax
  CHECK "privilege.sysexit.cs64", K64+35
  mov trap_ss, %rax
  CHECK "privilege.sysexit.ss64", K64+43
  TRY 2f
  mov $u32_done + USER_BASE, %edx
  mov $user_stack_top + USER_BASE, %ecx
  sysexitl
2:TRAP "privilege.sysexit.compat", VEC_DONE, 0, u32_done_end+USER_BASE
  mov trap_cs, %rax
  CHECK "privilege.sysexit.cs32", K64+19
.Lsysenter_end:

  # ---- far transfers and call gates
  TRY 2f
  pushq $K64
  pushq $1f
  lretq
1:nop
2:NOTRAP "privilege.lret.same-ring"
  TRY 2f
  mov %rsp, %rax
  pushq $UDATA
  pushq $user_stack_top + USER_BASE
  pushq $U64
  pushq $u_done + USER_BASE
  lretq
2:TRAP "privilege.lret.to-ring3", VEC_DONE, 0, u_done_end+USER_BASE
  mov trap_rsp, %rax
  CHECK "privilege.lret.rsp", user_stack_top+USER_BASE
.macro FARJUMP name, vector, error, selector, target=1f
  movl $\target, arena
  movl $0, arena + 4
  movw $\selector, arena + 4
  TRY 2f
3:ljmp *arena
1:
2:TRAP "privilege.ljmp.\name", \vector, \error, 3b
.endm
  FARJUMP same, -1, 0, K64
  FARJUMP null, 13, 0, 0
  FARJUMP data, 13, KDATA, KDATA
  FARJUMP not-present, 11, NPCODE, NPCODE
  NOT_ON_QEMU "privilege.ljmp.bad-code", 4f
  FARJUMP bad-code, 13, BADCODE, BADCODE, landing
4:
  FARJUMP tss, 13, TSS, TSS
  FARJUMP dpl3-non-conforming, 13, U64&~3, U64&~3
  FARJUMP conforming, -1, 0, CONF64
  FARJUMP back, -1, 0, K64
  FARJUMP gate-not-present, 11, GATE_NP, GATE_NP
  movl $0, arena
  movw $GATE, arena + 4
  mov %rsp, %rbx
  TRY 2f
  lcall *arena
1:nop
2:NOTRAP "privilege.gate.same-ring"
  mov %rsp, %rax
  sub %rbx, %rax
  CHECK "privilege.gate.same-ring-stack", 0
  mov gate_rsp, %rax
  sub %rbx, %rax
  CHECK "privilege.gate.same-ring-pushes-16", -16
  USER u_gate
  TRAP "privilege.gate.returns", VEC_DONE, 0, u_gate_end+USER_BASE
  mov gate_cs, %rax
  CHECK "privilege.gate.cs", K64
  mov gate_ss, %rax
  CHECK "privilege.gate.ss", 0
  mov gate_rsp, %rax
  CHECK "privilege.gate.rsp0", intr_stack_top-32
  mov gate_frame + 0, %rax
  CHECK "privilege.gate.return-rip", u_gate_next+USER_BASE
  mov gate_frame + 8, %rax
  CHECK "privilege.gate.return-cs", U64
  mov gate_frame + 24, %rax
  CHECK "privilege.gate.return-ss", UDATA
  mov trap_rsp, %rax
  CHECK "privilege.gate.outer-rsp", user_stack_top+USER_BASE-16
  USER u_gate_privileged
  TRAP "privilege.gate.dpl", 13, GATE_K, u_gate_privileged_at+USER_BASE
  USER u_gate_jump
  TRAP "privilege.gate.jump-inner", 13, K64, u_gate_jump_at+USER_BASE
  USER u_conforming
  TRAP "privilege.conforming.keeps-cpl", 13, 0
  mov trap_cs, %rax
  CHECK "privilege.conforming.cs", CONF64|3
  ret

landing:                        # where a processor ends up that misses the fault
  ud2
gate_target:
  push %rax
  mov %cs, %rax
  mov %rax, gate_cs
  mov %ss, %rax
  mov %rax, gate_ss
  lea 8(%rsp), %rax
  mov %rax, gate_rsp
  mov 8(%rsp), %rax
  mov %rax, gate_frame
  mov 16(%rsp), %rax
  mov %rax, gate_frame + 8
  mov 32(%rsp), %rax
  mov %rax, gate_frame + 24
  pop %rax
  lretq

syscall_entry:
  call remember
  mov syscall_r11, %r11
  mov syscall_rcx, %rcx
  sysretq
# What it reads ring 3 must not: processors that remember translations by privilege may mix that up behind a WRMSR and a SYSRET.
syscall_entry_wrmsr:
  mov %rcx, %rsi
  mov syscall_cs, %rax
  mov $0x174, %ecx
  xor %eax, %eax
  xor %edx, %edx
  wrmsr
  mov %rsi, %rcx
  sysretq
sysenter_entry:
  call remember
  mov $u_done + USER_BASE, %edx
  mov $user_stack_top + USER_BASE, %ecx
  rex.w sysexit
remember:
  mov %rsp, syscall_rsp
  mov %rcx, syscall_rcx
  mov %r11, syscall_r11
  mov $stack_scratch, %esp
  pushfq
  popq syscall_flags
  mov syscall_rsp, %rsp
  push %rax
  mov %cs, %rax
  mov %rax, syscall_cs
  mov %ss, %rax
  mov %rax, syscall_ss
  pop %rax
  addq $8, syscall_rsp          # without the return address of this call
  ret

u_done:
  int $VEC_DONE
u_done_end:
u_ist:
  int $VEC_IST
u_syscalls:
  mov $8, %ebx
1:syscall
  dec %ebx
  jz 2f
  jmp 1b
2:nop
u_syscalls_read:
  mov syscall_cs, %rax
  int $VEC_DONE
u_syscall:
  syscall
u_syscall_next:
  int $VEC_DONE
u_syscall_end:
u_sysenter:
  sysenter
u_gate:
  pushq $0
  pushq $0
  movl $0, (%rsp)
  movw $GATE | 3, 4(%rsp)
  lcall *(%rsp)
u_gate_next:
  int $VEC_DONE
u_gate_end:
u_gate_privileged:
  push %rax
  movw $GATE_K, 4(%rsp)
u_gate_privileged_at:
  lcall *(%rsp)
u_gate_jump:
  push %rax
  movw $GATE, 4(%rsp)
u_gate_jump_at:
  ljmp *(%rsp)
u_conforming:
  push %rax
  lea 1f(%rip), %eax
  mov %eax, (%rsp)
  movw $CONF64, 4(%rsp)
  ljmp *(%rsp)
1:hlt

.code32
u32_done:
  mov $0x10, %eax
  inc %eax
  int $VEC_DONE
u32_done_end:
c32_done:
  movl $0x55aa, arena
  mov $0xffffffff, %ebx         # effective addresses wrap at 4 GiB
  mov arena + 1(%ebx), %eax
  int $VEC_DONE
.code64

.bss
.skip 64
stack_scratch:
.balign 8
syscall_cs: .skip 8
syscall_ss: .skip 8
syscall_rcx: .skip 8
syscall_r11: .skip 8
syscall_rsp: .skip 8
syscall_flags: .skip 8
gate_cs: .skip 8
gate_ss: .skip 8
gate_rsp: .skip 8
gate_frame: .skip 32
