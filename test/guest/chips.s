# 8259A, 8254 and IOAPIC as a guest sees them. Interrupts come from the PIT (line 0) and from the UART's transmitter (line 4).
.include "macros.inc"
.set APIC, -0x1200000
.set IO_APIC, -0x1400000
.set PIC_BASE, 0x60
.macro OUTB port, value
  mov $\value, %al
  out %al, $\port
.endm
.macro UART_IRQ on              # the transmitter-empty interrupt, the transmitter being empty
  mov $0x3f9, %edx
  mov $2*\on, %al
  out %al, %dx
.endm
.macro IOREDTBL pin, low, high=0
  movl $0x11+2*\pin, IO_APIC
  movl $\high, IO_APIC + 0x10
  movl $0x10+2*\pin, IO_APIC
  movl $\low, IO_APIC + 0x10
.endm
.text
.global suite_pic_pit, suite_ioapic
# Both PICs at PIC_BASE with everything masked, edge-triggered, LINT0 takes them.
pic_on:
  OUTB 0x20, 0x11
  OUTB 0x21, PIC_BASE
  OUTB 0x21, 4
  OUTB 0x21, 1
  OUTB 0xa0, 0x11
  OUTB 0xa1, PIC_BASE+8
  OUTB 0xa1, 2
  OUTB 0xa1, 1
  OUTB 0x21, 0xff
  OUTB 0xa1, 0xff
  ret
window:                         # interrupts on for a moment
  sti
  nop
  nop
  cli
  ret

# Interrupts on until vector %ebx was counted, at most about 0.2 s.
.global await
await:
  push %rcx
  mov $200, %ecx
1:call window
  cmpl $0, vector_count(,%rbx,4)
  jne 2f
  mov $1193, %eax
  call delay
  loop 1b
2:pop %rcx
  ret

suite_pic_pit:
  call apic_on
  call pic_on
  movl $0x700, APIC + 0x350     # LINT0 ExtINT
  movq $hook_count, trap_hook
  mov $vector_count, %edi
  xor %eax, %eax
  mov $256, %ecx
  rep stosl

  # ---- PIT counting
  in $0x61, %al
  and $0xfc, %al
  out %al, $0x61                # gate of channel 2 low
  OUTB 0x43, 0xb0
  OUTB 0x42, 0x34
  OUTB 0x42, 0x12
  in $0x61, %al
  and $0x20, %eax
  CHECK "pit.mode0.out-low", 0
  OUTB 0x43, 0x80
  in $0x42, %al
  mov %al, %bl
  in $0x42, %al
  mov %al, %bh
  movzx %bx, %eax
  CHECK "pit.gate-low-holds", 0x1234
  OUTB 0x43, 0xe8               # status of channel 2
  in $0x42, %al
  movzx %al, %eax
  CHECK "pit.status", 0x30
  mov $200, %eax
  call delay
  in $0x61, %al
  and $0x20, %eax
  CHECK "pit.mode0.out-high", 0x20
  OUTB 0x43, 0xb4               # mode 2 runs down
  OUTB 0x42, 0xff
  OUTB 0x42, 0xff
  mov $2000, %ecx
1:in $0x61, %al
  loop 1b
  OUTB 0x43, 0x80
  in $0x42, %al
  mov %al, %bl
  in $0x42, %al
  mov %al, %bh
  movzx %bx, %eax
  cmp $0xfff0, %eax
  setb %al
  movzx %al, %eax
  CHECK "pit.mode2.counts", 1
  in $0x61, %al
  and $0x20, %eax
  CHECK "pit.mode2.out-high", 0x20
  rdtsc
  shl $32, %rdx
  lea (%rdx,%rax), %rbx
  mov $11932, %eax              # 10 ms; three measures must agree within a factor of four
  call delay
  rdtsc
  shl $32, %rdx
  add %rdx, %rax
  sub %rbx, %rax
  mov %rax, tsc_per_10ms
  cmp $1000000, %rax
  seta %al
  movzx %al, %eax
  CHECK "pit.tsc-per-10ms-plausible", 1

  # ---- PIC: mask, request, service
  OUTB 0x20, 0x0a
  in $0x20, %al                 # whatever came before
  UART_IRQ 1
  OUTB 0x20, 0x0a
  in $0x20, %al
  and $0x10, %eax
  CHECK "pic.irr", 0x10
  call window
  mov vector_count + (PIC_BASE+4)*4, %eax
  CHECK "pic.masked", 0
  OUTB 0x21, 0xef
  call window
  mov vector_count + (PIC_BASE+4)*4, %eax
  CHECK "pic.delivered", 1
  OUTB 0x20, 0x0b
  in $0x20, %al
  movzx %al, %eax
  CHECK "pic.isr", 0x10
  in $0x21, %al
  movzx %al, %eax
  CHECK "pic.imr", 0xef
  # a lower level waits, a higher one does not
  OUTB 0x43, 0x30               # PIT mode 0: one interrupt on line 0
  OUTB 0x40, 50
  OUTB 0x40, 0
  OUTB 0x20, 0xc3               # priorities rotated: now line 0 is the lower one
  OUTB 0x21, 0xfe
  mov $200, %ecx                # at most about 0.2 s
1:mov $1193, %eax
  call delay
  OUTB 0x20, 0x0a
  in $0x20, %al
  and $1, %eax
  jnz 2f
  loop 1b
2:
  CHECK "pic.rotated.request", 1
  call window
  mov vector_count + PIC_BASE*4, %eax
  CHECK "pic.rotated.lower-waits", 0
  OUTB 0x20, 0xc7               # and back
  OUTB 0x21, 0xee
  mov $PIC_BASE, %ebx
  call await
  mov vector_count + PIC_BASE*4, %eax
  CHECK "pic.higher-nests", 1
  OUTB 0x20, 0x0b
  in $0x20, %al
  movzx %al, %eax
  CHECK "pic.isr-nested", 0x11
  OUTB 0x20, 0x20               # non-specific EOI ends the higher
  in $0x20, %al
  movzx %al, %eax
  CHECK "pic.eoi", 0x10
  OUTB 0x20, 0x64
  in $0x20, %al
  movzx %al, %eax
  CHECK "pic.specific-eoi", 0
  UART_IRQ 0
  mov $0x3fa, %edx
  in %dx, %al
  # periodic: mode 2 at about 1 kHz
  movl $0, vector_count + PIC_BASE*4
  movq $hook_pic, trap_hook
  OUTB 0x21, 0xfe
  OUTB 0x43, 0x34
  OUTB 0x40, 0xa9
  OUTB 0x40, 0x04
  mov $10, %ebx
1:sti
  hlt
  cli
  dec %ebx
  jnz 1b
  mov vector_count + PIC_BASE*4, %eax
  CHECK "pit.mode2.ten-interrupts", 10
  OUTB 0x21, 0xff
  OUTB 0x43, 0x30               # stops it
  # LINT0 masked: nothing reaches the processor
  movl $0x10700, APIC + 0x350
  OUTB 0x21, 0xfe
  OUTB 0x40, 50
  OUTB 0x40, 0
  mov $20000, %eax
  call delay
  call window
  mov vector_count + PIC_BASE*4, %eax
  CHECK "pic.lint0-masked", 10
  OUTB 0x21, 0xff
  OUTB 0x20, 0x20
  ret

hook_pic:
  push %rax
  mov $0x20, %al
  out %al, $0x20
  pop %rax
  jmp hook_count

suite_ioapic:
  call apic_on
  call pic_on
  mov $vector_count, %edi
  xor %eax, %eax
  mov $256, %ecx
  rep stosl
  movq $hook_apic, trap_hook
  movl $1, IO_APIC
  mov IO_APIC + 0x10, %eax
  and $0xff00ff, %eax
  mov %eax, %ebx
  shr $16, %eax
  CHECK "ioapic.last-pin", 23
  IOREDTBL 4, 0x1afff, 0xff000000
  movl $0x18, IO_APIC
  mov IO_APIC + 0x10, %eax
  CHECK "ioapic.redirection-low", 0x1afff
  movl $0x19, IO_APIC
  mov IO_APIC + 0x10, %eax
  CHECK "ioapic.redirection-high", 0xff000000

  # Printing uses the transmitter and so moves the line: results are kept first and printed afterwards.
.macro KEEP n
  mov %eax, kept + 4*\n
.endm
.macro KEPT name, n, want
  mov kept + 4*\n, %eax
  CHECK "ioapic.\name", \want
.endm
.macro REDIRECTION n
  movl $0x18, IO_APIC
  mov IO_APIC + 0x10, %eax
  KEEP \n
.endm
.macro DELIVERED n, vector
  call window
  mov vector_count + \vector*4, %eax
  KEEP \n
.endm
  # ---- edge: one message per edge
  IOREDTBL 4, 0x71
  UART_IRQ 1
  DELIVERED 0, 0x71
  DELIVERED 1, 0x71
  UART_IRQ 0
  KEPT edge, 0, 1
  KEPT edge-once, 1, 1

  # ---- level: remote IRR until EOI, again while the line is high
  movq $hook_count, trap_hook
  IOREDTBL 4, 0x8072
  UART_IRQ 1
  DELIVERED 0, 0x72
  REDIRECTION 1
  mov APIC + 0x180 + 3*16, %eax
  KEEP 2
  mov APIC + 0x100 + 3*16, %eax
  KEEP 3
  DELIVERED 4, 0x72
  movl $0, APIC + 0xb0
  DELIVERED 5, 0x72
  UART_IRQ 0
  mov $0x3fa, %edx
  in %dx, %al
  movl $0, APIC + 0xb0
  DELIVERED 6, 0x72
  REDIRECTION 7
  IOREDTBL 4, 0x10000
  KEPT level, 0, 1
  KEPT remote-irr, 1, 0xc072
  KEPT tmr, 2, 1<<18
  KEPT isr, 3, 1<<18
  KEPT level-waits-for-eoi, 4, 1
  KEPT level-again, 5, 2
  KEPT level-lowered, 6, 2
  KEPT remote-irr-cleared, 7, 0x8072

  # ---- the PIT arrives on pin 2; logical destination, then lowest priority
  movq $hook_apic, trap_hook
  movl $0xffffffff, APIC + 0xe0
  movl $0x01000000, APIC + 0xd0
  IOREDTBL 2, 0x873, 0x01000000
  OUTB 0x43, 0x30
  OUTB 0x40, 50
  OUTB 0x40, 0
  mov $0x73, %ebx
  call await
  mov vector_count + 0x73*4, %eax
  CHECK "ioapic.pit-logical", 1
  IOREDTBL 2, 0x974, 0x01000000
  OUTB 0x43, 0x30
  OUTB 0x40, 50
  OUTB 0x40, 0
  mov $0x74, %ebx
  call await
  mov vector_count + 0x74*4, %eax
  CHECK "ioapic.pit-lowest-priority", 1
  IOREDTBL 2, 0x10000
  movl $0, APIC + 0xd0
  ret

.bss
.balign 8
.global tsc_per_10ms
tsc_per_10ms: .skip 8
kept: .skip 64
