# Bring-up of the other processors by INIT and SIPI, messages between processors, locked operations, cross-processor code and mapping changes.
# SDM volume 3 sections 9.4 and 11.6; memory order is in litmus.s. With one processor everything is skipped.
.include "macros.inc"
.set APIC, -0x1200000
.set LOW, 0x9000
.set AP_STACK, 4096
.set MAX_APS, 15
.text
.global suite_smp, ap_online, ap_done, command, wait_for
suite_smp:
  call apic_on
  mov $ap_nmi, %eax             # the others' IDT: NMI, one message vector
  mov $ap_idt + 2*16, %edi
  call gate
  mov $ap_ipi, %eax
  mov $ap_idt + 0xd0*16, %edi
  call gate
  mov $ap_start, %esi
  mov $LOW, %edi
  mov $ap_end - ap_start, %ecx
  rep movsb
  movl $0xc4500, APIC + 0x300   # INIT to all others
  mov $12000, %eax
  call delay
  mov ap_online, %eax
  CHECK "smp.init-alone-starts-nothing", 0
  movl $0xc4600 | LOW >> 12, APIC + 0x300
  mov $2400, %eax
  call delay
  movl $0xc4600 | LOW >> 12, APIC + 0x300
  mov $300, %ebx                # 3 s for the first one: on a busy host they may be slow to start
  mov ap_online, %ecx
  test %ecx, %ecx
  jz 2f
1:mov $30, %ebx                 # then until nothing new has come for 0.3 s
  mov ap_online, %ecx
2:mov $12000, %eax
  call delay
  cmp ap_online, %ecx
  jne 1b
  dec %ebx
  jnz 2b
  test %ecx, %ecx
  jnz 2f
  SKIP "smp"
  ret
2:mov ap_started, %eax
  sub ap_online, %eax
  CHECK "smp.second-sipi-ignored", 0
  mov ap_ids, %eax
  bt $0, %eax
  setc %al
  movzx %al, %eax
  CHECK "smp.ids-not-ours", 0
  popcnt ap_ids, %eax
  sub ap_online, %eax
  CHECK "smp.ids-distinct", 0
  mov ap_bsp_flags, %eax
  CHECK "smp.bsp-flag-only-here", 0
  mov ap_real_cs, %eax
  CHECK "smp.sipi-cs", LOW>>4

  # ---- a message to each, and to all
  mov $1, %ebx
3:bt %ebx, ap_ids
  jnc 4f
  mov %ebx, %eax
  shl $24, %eax
  mov %eax, APIC + 0x310
  movl $0x40d0, APIC + 0x300
  incl sent
4:inc %ebx
  cmp $32, %ebx
  jne 3b
  mov sent, %ecx
  mov $ap_ipis, %esi
  call wait_for
  mov ap_ipis, %eax
  sub ap_online, %eax
  CHECK "smp.ipi-each", 0
  movl $0xc40d0, APIC + 0x300
  mov ap_online, %ecx
  add %ecx, %ecx
  call wait_for
  mov ap_ipis, %eax
  shr $1, %eax
  sub ap_online, %eax
  CHECK "smp.ipi-all-others", 0
  movl $0xc4400, APIC + 0x300   # NMI
  mov ap_online, %ecx
  mov $ap_nmis, %esi
  call wait_for
  mov ap_nmis, %eax
  sub ap_online, %eax
  CHECK "smp.nmi", 0

  # ---- locked increments from everybody
  movl $1, command
  mov $20000, %ecx
5:lock incl counter
  loop 5b
  mov ap_online, %ecx
  mov $ap_done, %esi
  call wait_for
  mov ap_online, %eax
  inc %eax
  imul $20000, %eax
  sub counter, %eax
  CHECK "smp.lock-inc", 0

  # ---- code that this processor changes, run by the others after a serializing instruction
  movl $0, ap_done
  movl $0x77, ap_function + 1
  movl $2, command
  mov ap_online, %ecx
  call wait_for
  mov ap_sum, %eax
  mov ap_online, %ecx
  imul $0x77, %ecx
  sub %ecx, %eax
  CHECK "smp.cross-modified-code", 0

  # ---- a mapping that this processor changes; the others INVLPG when told
  call map_pages
  movl $1, page_a
  movl $2, page_b
  movl $0, ap_done
  movl $0, ap_sum
  movl $3, command              # read the mapping
  mov ap_online, %ecx
  call wait_for
  mov ap_sum, %eax
  sub ap_online, %eax
  CHECK "smp.mapping-before", 0
  movq $page_b + 7, test_pt
  movl $0, ap_done
  movl $0, ap_sum
  movl $4, command              # INVLPG, read
  mov ap_online, %ecx
  call wait_for
  mov ap_sum, %eax
  shr $1, %eax
  sub ap_online, %eax
  CHECK "smp.mapping-after-shootdown", 0
  movl $5, command
  movq $0, pml4 + 8
  call litmus_all

  # ---- INIT stops them
  movl $0xc4500, APIC + 0x300
  mov $2400, %eax
  call delay
  movl $0, ap_ipis
  movl $0xc40d0, APIC + 0x300
  mov $2400, %eax
  call delay
  mov ap_ipis, %eax
  CHECK "smp.init-stops", 0
  ret

gate:
  mov %ax, (%rdi)
  movl $K64, 2(%rdi)
  movb $0x8e, 5(%rdi)
  shr $16, %eax
  mov %eax, 6(%rdi)
  ret
wait_for:                       # until (%esi) >= %ecx, at most about 2 s
  push %rbx
  mov $200, %ebx
1:cmp %ecx, (%rsi)
  jae 2f
  mov $11932, %eax
  call delay
  dec %ebx
  jnz 1b
2:pop %rbx
  ret

.code16
ap_start:
  cli
  xor %eax, %eax
  mov %cs, %ax
  mov %ax, %cx
  mov %ax, %ds
  lgdtl ap_gdt_pointer - ap_start
  mov %cr0, %eax
  or $1, %al
  mov %eax, %cr0
  ljmpl $0x08, $ap_32
.balign 4
ap_gdt_pointer:
  .word 0x2f
  .long ap_gdt
ap_end:
.code32
ap_32:
  mov $0x10, %eax
  mov %eax, %ds
  mov %eax, %es
  mov %eax, %ss
  movzx %cx, %ecx
  mov %ecx, ap_real_cs
  mov $1, %eax
  lock xadd %eax, ap_started
  cmp $MAX_APS, %eax
  jae ap_stop
  imul $AP_STACK, %eax
  lea ap_stacks + AP_STACK(%eax), %esp
  mov $CR4_DEFAULT, %eax
  mov %eax, %cr4
  mov $pml4, %eax
  mov %eax, %cr3
  mov $0xc0000080, %ecx
  mov $0x901, %eax
  xor %edx, %edx
  wrmsr
  mov $CR0_DEFAULT, %eax
  mov %eax, %cr0
  ljmp $0x18, $ap_64
ap_stop:
  hlt
  jmp ap_stop
.code64
ap_64:
  lgdt gdt_pointer
  pushq $K64
  pushq $1f
  lretq
1:mov $KDATA, %eax
  mov %eax, %ss
  mov %eax, %ds
  mov %eax, %es
  lidt ap_idt_pointer
  movl $0x1ff, APIC + 0xf0
  movl $0x10000, APIC + 0x350
  mov APIC + 0x20, %ecx
  shr $24, %ecx
  mov $1, %eax
  shl %cl, %eax
  lock or %eax, ap_ids
  mov $0x1b, %ecx
  rdmsr
  and $0x100, %eax
  lock or %eax, ap_bsp_flags
  xor %r15d, %r15d              # rank, kept for litmus.s
  inc %r15d
  lock xadd %r15d, ap_ranks
  lock incl ap_online
  sti
  xor %ebx, %ebx                # last command carried out
2:mov command, %eax
  cmp %ebx, %eax
  je 8f
  mov %eax, %ebx
  cmp $0x10, %eax
  jb 1f
  call litmus_ap
  jmp 7f
1:cmp $1, %eax
  jne 3f
  mov $20000, %ecx
1:lock incl counter
  loop 1b
  jmp 7f
3:cmp $2, %eax
  jne 3f
  xor %eax, %eax
  push %rbx
  cpuid
  pop %rbx
  call ap_function
  lock add %eax, ap_sum
  jmp 7f
3:mov $TEST_BASE, %rcx
  cmp $3, %eax
  je 4f
  cmp $4, %eax
  jne 8f
  invlpg (%rcx)
4:mov (%rcx), %eax
  lock add %eax, ap_sum
7:lock incl ap_done
8:pause
  jmp 2b

ap_nmi:
  lock incl ap_nmis
  iretq
ap_ipi:
  lock incl ap_ipis
  movl $0, APIC + 0xb0
  iretq
.balign 64
ap_function:
  mov $1, %eax
  ret

.data
.balign 16
ap_gdt:
  .quad 0
  .quad 0x00cf9b000000ffff
  .quad 0x00cf93000000ffff
  .quad 0x00af9b000000ffff
  .quad 0, 0
.balign 8
  .word 0, 0, 0
ap_idt_pointer:
  .word 0xfff
  .quad ap_idt
.balign 16
.bss
.balign 4096
ap_idt: .skip 4096
ap_stacks: .skip MAX_APS * AP_STACK
.balign 8
ap_started: .skip 4
ap_online: .skip 4
ap_ranks: .skip 4
ap_ids: .skip 4
ap_bsp_flags: .skip 4
ap_real_cs: .skip 4
ap_ipis: .skip 4
ap_nmis: .skip 4
ap_done: .skip 4
ap_sum: .skip 4
sent: .skip 4
counter: .skip 4
command: .skip 4
