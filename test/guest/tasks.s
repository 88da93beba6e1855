# Hardware task switching: JMP, CALL, IRET and task gates between 32-bit, 16-bit and virtual-8086 tasks. SDM volume 3 chapter 8.
.include "macros.inc"
.include "protected.inc"
.set SEL_T1, 0x50
.set SEL_GATE, 0x58             # task gate to T1, DPL 3
.set SEL_T16, 0x60
.set SEL_TNP, 0x68              # not present
.set SEL_TSHORT, 0x70           # limit too small
.set SEL_CODE_T16, 0x78         # code based at task16
.set GATE_VECTOR, 0x28
.text
.global suite_tasks
suite_tasks:
  push %rbx
  mov %rsp, tasks_rsp
  mov $gdt32, %edi
.macro BASE selector, label
  mov $\label, %eax
  mov %ax, \selector + 2(%rdi)
  shr $16, %eax
  mov %al, \selector + 4(%rdi)
.endm
  BASE SEL_T1, tss_t1
  BASE SEL_T16, tss_t16
  BASE SEL_TNP, tss_t1
  BASE SEL_TSHORT, tss_t1
  BASE SEL_CODE_T16, task16
  movb $0x89, SEL_TSS + 5(%rdi)
  movq $SEL_T1 << 16, idt32 + GATE_VECTOR*8
  movb $0xe5, idt32 + GATE_VECTOR*8 + 5
  mov $tasks_main, %ebx
  jmp leave_long_mode
tasks_back:
  mov tasks_rsp, %rsp
  pop %rbx
  movb $0x89, gdt + TSS + 5
  mov $TSS, %eax
  ltr %ax
  xor %eax, %eax
  lldt %ax
  jmp flush_records

.code32
.macro BUSY name, selector, want
  movzbl gdt32 + \selector + 5, %eax
  RECORD32 "tasks.\name", \want
.endm
.macro SEEN name, what, want
  mov \what, %eax
  RECORD32 "tasks.\name", \want
.endm
# T1 starts at \eip with known registers.
.macro TASK eip
  movl $\eip, task_entry
  call reset_task
.endm
reset_task:
  mov $tss_t1, %edi
  mov $26, %ecx
  xor %eax, %eax
  rep stosl
  mov task_entry, %eax
  mov %eax, tss_t1 + 32
  movl $2, tss_t1 + 36
  movl $0x11111111, tss_t1 + 40 # eax
  movl $0x22222222, tss_t1 + 44 # ecx
  movl $stack_t1, tss_t1 + 56
  movl $0x33333333, tss_t1 + 68 # edi
  movl $intr_t1, tss_t1 + 4
  movl $SEL_DATA, tss_t1 + 8
  movl $SEL_CODE, tss_t1 + 76
  movl $SEL_DATA, tss_t1 + 72
  movl $SEL_DATA, tss_t1 + 80
  movl $SEL_DATA, tss_t1 + 84
  movl $SEL_DATA, tss_t1 + 88
  movl $SEL_DATA, tss_t1 + 92
  movl $0x680000, tss_t1 + 100
  movb $0x89, gdt32 + SEL_T1 + 5
  ret

tasks_main:
  mov $SEL_TSS, %eax
  ltr %ax

  # ---- JMP there and back
  TASK task_jump
  clts
  mov $0x12345678, %ebx
  stc
1:ljmp $SEL_T1, $0
  lahf
  mov %eax, saved_flags
  mov %cr0, %eax
  and $8, %eax
  RECORD32 "tasks.jmp.ts", 8
  mov %ebx, %eax
  RECORD32 "tasks.jmp.registers-return", 0x12345678
  mov saved_flags, %eax
  shr $8, %eax
  and $1, %eax
  RECORD32 "tasks.jmp.flags-return", 1
  SEEN jmp.eax, seen_eax, 0x11111111
  SEEN jmp.edi, seen_edi, 0x33333333
  SEEN jmp.tr, seen_tr, SEL_T1
  SEEN jmp.flags, seen_flags, 2
  SEEN jmp.old-not-busy, seen_busy_old, 0x89
  SEEN jmp.new-busy, seen_busy_new, 0x8b
  SEEN jmp.no-link, seen_link, 0
  BUSY jmp.back.not-busy, SEL_T1, 0x89
  BUSY jmp.back.busy, SEL_TSS, 0x8b
  mov tss_t1 + 32, %eax
  sub $task_jump_next, %eax
  RECORD32 "tasks.jmp.saved-eip", 0
  mov tss_t1 + 44, %eax
  RECORD32 "tasks.jmp.saved-ecx", 0x22222223
  clts

  # ---- CALL and IRET, twice: the second call goes on behind the IRET
  TASK task_call
  lcall $SEL_T1, $0
  SEEN call.nt, seen_flags, 0x4002
  SEEN call.link, seen_link, SEL_TSS
  SEEN call.old-stays-busy, seen_busy_old, 0x8b
  SEEN call.new-busy, seen_busy_new, 0x8b
  BUSY iret.not-busy, SEL_T1, 0x89
  mov tss_t1 + 36, %eax
  and $0x4000, %eax
  RECORD32 "tasks.iret.nt-cleared-in-image", 0
  pushfl
  pop %eax
  and $0x4000, %eax
  RECORD32 "tasks.iret.nt-clear-here", 0
  mov tss_t1 + 32, %eax
  sub $task_call_next, %eax
  RECORD32 "tasks.iret.saved-eip", 0
  lcall $SEL_T1, $0
  SEEN call.again, seen_count, 2
  clts

  # ---- task gates: in the GDT and in the IDT, with and without an error code
  TASK task_call
  lcall $SEL_GATE, $0
  SEEN gate.tr, seen_tr, SEL_T1
  TASK task_call
  int $GATE_VECTOR
  SEEN int.tr, seen_tr, SEL_T1
  SEEN int.link, seen_link, SEL_TSS
  mov idt32 + 13*8, %eax        # #GP through a task gate
  mov %eax, saved_gate
  mov idt32 + 13*8 + 4, %eax
  mov %eax, saved_gate + 4
  movl $SEL_T1 << 16, idt32 + 13*8
  movl $0x8500, idt32 + 13*8 + 4
  TASK task_fault
  mov $0x1f8, %ecx
1:mov %ecx, %ds
  nop
  mov saved_gate, %eax
  mov %eax, idt32 + 13*8
  mov saved_gate + 4, %eax
  mov %eax, idt32 + 13*8 + 4
  SEEN fault.error, seen_eax, 0x1f8
  mov seen_eip, %eax
  sub $1b, %eax
  RECORD32 "tasks.fault.eip", 0
  clts

  # ---- refusals, in the old task
  FAULT32 "tasks.jmp-busy", 13, SEL_TSS, ljmp $SEL_TSS, $0
  FAULT32 "tasks.call-not-present", 11, SEL_TNP, lcall $SEL_TNP, $0
  FAULT32 "tasks.limit", 10, SEL_TSHORT, ljmp $SEL_TSHORT, $0
  TASK task_jump
  TRY32 2f
  pushl $SEL_UDATA
  pushl $user32_top
  pushl $2
  pushl $SEL_UCODE
  pushl $u32_task
  iret
2:GOT32 "tasks.dpl", 13, SEL_T1
  TASK task_call
  TRY32 2f
  pushl $SEL_UDATA
  pushl $user32_top
  pushl $2
  pushl $SEL_UCODE
  pushl $u32_gate
  iret
2:GOT32 "tasks.gate-from-ring3", VEC_DONE, 0
  SEEN gate-from-ring3.tr, seen_tr, SEL_T1
  mov $SEL_DATA, %eax
  mov %eax, %ds
  mov %eax, %es
  clts

  # ---- refusals in the new task: its EIP is in the frame
.macro BAD name, vector, error, offset, value
  TASK task_jump
  movl $\value, tss_t1 + \offset
  TRY32 2f
  ljmp $SEL_T1, $0
2:GOT32 "tasks.\name", \vector, \error
  mov t_eip, %eax
  sub $task_jump, %eax
  RECORD32 "tasks.\name\().eip", 0
  str %ax
  movzwl %ax, %eax
  RECORD32 "tasks.\name\().tr", SEL_T1
  mov $SEL_DATA, %eax
  mov %eax, %fs
  mov %eax, %gs
  xor %eax, %eax
  lldt %ax
  movb $0x89, gdt32 + SEL_TSS + 5
  mov $SEL_TSS, %eax
  ltr %ax
  clts
.endm
  BAD bad-ds, 10, 0x1f8, 84, 0x1f8
  BAD bad-ldt, 10, SEL_DATA, 96, SEL_DATA
  BAD gs-not-data, 10, SEL_TSS, 92, SEL_TSS
  # the T bit of a TSS
  TASK task_jump
  orl $1, tss_t1 + 100
  mov $0xffff0ff0, %eax
  mov %eax, %dr6
  TRY32 2f
  ljmp $SEL_T1, $0
2:GOT32 "tasks.t-bit", 1, 0
  mov t_eip, %eax
  sub $task_jump, %eax
  RECORD32 "tasks.t-bit.eip", 0
  mov %dr6, %eax
  and $0x8000, %eax
  RECORD32 "tasks.t-bit.dr6", 0x8000
  movb $0x89, gdt32 + SEL_TSS + 5
  mov $SEL_TSS, %eax
  ltr %ax
  clts
  # a local breakpoint does not survive the switch
  TASK task_jump
  mov $0x403, %eax
  mov $task_jump, %ecx
  mov %ecx, %dr0
  mov $0x401, %eax
  mov %eax, %dr7
  TRY32 2f
  ljmp $SEL_T1, $0
2:mov t_vector, %eax
  RECORD32 "tasks.local-breakpoint", -1
  mov %dr7, %eax
  RECORD32 "tasks.local-breakpoint.cleared", 0x400
  xor %eax, %eax
  mov %eax, %dr7
  clts

  # ---- a 16-bit task
  movw $0, tss_t16 + 14         # ip
  movw $2, tss_t16 + 16
  movw $0x4321, tss_t16 + 18    # ax
  movw $0, tss_t16 + 26         # sp
  movw $SEL_DATA, tss_t16 + 34
  movw $SEL_CODE_T16, tss_t16 + 36
  movw $SEL_DATA, tss_t16 + 38
  movw $SEL_DATA, tss_t16 + 40
  movw $0, tss_t16 + 42
  ljmp $SEL_T16, $0
  movzwl seen_eax, %eax
  RECORD32 "tasks.16.ax", 0x4321
  SEEN 16.tr, seen_tr, SEL_T16
  SEEN 16.fs, seen_fs, 0
  movzwl tss_t16 + 14, %eax
  sub $task16_next - task16, %eax
  RECORD32 "tasks.16.saved-ip", 0
  BUSY 16.not-busy, SEL_T16, 0x81
  clts

  # ---- a virtual-8086 task: leaves through its ring-0 stack
  TASK 0x500
  movb $0xfa, 0x500             # cli
  movl $0x20002, tss_t1 + 36
  movl $0x7000, tss_t1 + 56
  movl $0, tss_t1 + 76
  movl $0, tss_t1 + 80
  movl $0x1234, tss_t1 + 84
  TRY32 2f
  ljmp $SEL_T1, $0
2:GOT32 "tasks.v86", 13, 0
  mov t_eflags, %eax
  and $0x20000, %eax
  RECORD32 "tasks.v86.vm", 0x20000
  SEEN v86.ip, t_eip, 0x500
  mov t_frame, %eax
  sub $intr_t1, %eax
  RECORD32 "tasks.v86.stack", -36
  movb $0x89, gdt32 + SEL_TSS + 5
  mov $SEL_TSS, %eax
  ltr %ax
  clts
  push $tasks_back
  jmp enter_long_mode32

look:
  mov %eax, seen_eax
  mov %edi, seen_edi
  pushfl
  pop seen_flags
  str %eax
  movzwl %ax, %eax
  mov %eax, seen_tr
  movzbl gdt32 + SEL_TSS + 5, %eax
  mov %eax, seen_busy_old
  movzbl gdt32 + SEL_T1 + 5, %eax
  mov %eax, seen_busy_new
  movzwl tss_t1, %eax
  mov %eax, seen_link
  ret
task_jump:
  call look
  inc %ecx
  ljmp $SEL_TSS, $0
task_jump_next:
  hlt
task_call:
  call look
  movl $1, seen_count
  iret
task_call_next:
  incl seen_count
  iret
task_fault:                     # a fault handler that is a task: error code on its own stack, the faulting EIP in the other's TSS
  pop seen_eax
  mov tss32 + 32, %eax
  mov %eax, seen_eip
  addl $2, tss32 + 32
  iret
task16:
  mov %eax, seen_eax
  str %eax
  movzwl %ax, %eax
  mov %eax, seen_tr
  mov %fs, %eax
  movzwl %ax, %eax
  mov %eax, seen_fs
  ljmp $SEL_TSS, $0
task16_next:
  hlt
u32_task:
  lcall $SEL_T1, $0
u32_gate:
  lcall $SEL_GATE, $0
  int $VEC_DONE
.code64

.bss
.balign 16
tss_t1: .skip 0x68
tss_t16: .skip 44
.balign 16
.skip 1024
stack_t1:
.skip 1024
intr_t1:
task_entry: .skip 4
saved_flags: .skip 4
saved_gate: .skip 8
seen_eax: .skip 4
seen_edi: .skip 4
seen_flags: .skip 4
seen_tr: .skip 4
seen_busy_old: .skip 4
seen_busy_new: .skip 4
seen_link: .skip 4
seen_count: .skip 4
seen_eip: .skip 4
seen_fs: .skip 4
.balign 8
tasks_rsp: .skip 8
