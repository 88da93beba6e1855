# What `npm run bench -- cpu` runs on both machines: small loops, each started from the host over COM1.
# Host: one letter (which loop), one character (0x40 + log2 of the iterations). Guest: '<', the loop, '>', 16 hexadecimal digits of a result that
# depends on every iteration, '\n'. A further loop is a routine (iterations in %rcx, result in %rax) and a row of `table`.
# Memory: image from 1 MiB, buffers from 16 MiB, identity-mapped by 2 MiB pages up to 1 GiB, user-accessible.

.set BUFFER, 0x1000000          # 64 KiB source
.set TARGET, 0x1120000          # 64 KiB target, in other entries of a direct-mapped TLB than the source
.set PAGES, 0x2000000           # 32 MiB, touched once per page
.set COM1, 0x3f8
.set K64, 0x08                  # selectors; SYSRET wants user data before user code
.set KDATA, 0x10
.set UDATA, 0x1b
.set UCODE, 0x23

.section .note.pvh, "a", @note
  .long 4, 8, 18                # XEN_ELFNOTE_PHYS32_ENTRY
  .asciz "Xen"
  .quad pvh_start

.text
.code32
.global pvh_start
pvh_start:
  cli
  cld
  mov $pml4, %eax
  movl $pdpt + 7, (%eax)
  mov $pdpt, %eax
  movl $pd + 7, (%eax)
  mov $pd, %edi
  mov $0x87, %eax               # present, writable, user, 2 MiB
  mov $512, %ecx
1:mov %eax, (%edi)
  add $8, %edi
  add $0x200000, %eax
  dec %ecx
  jnz 1b
  mov $0x6a0, %eax              # PAE PGE OSFXSR OSXMMEXCPT
  mov %eax, %cr4
  mov $pml4, %eax
  mov %eax, %cr3
  mov $0xc0000080, %ecx
  mov $0x901, %eax              # NXE LME SCE
  xor %edx, %edx
  wrmsr
  mov $0x80010023, %eax         # PG WP NE MP PE
  mov %eax, %cr0
  lgdt gdt_pointer
  ljmp $K64, $start

.code64
start:
  mov $KDATA, %eax
  mov %eax, %ds
  mov %eax, %es
  mov %eax, %ss
  mov $stack_top, %rsp
  mov $0xc0000081, %ecx         # STAR: kernel selectors, user base
  xor %eax, %eax
  mov $((0x10 << 16) | K64), %edx
  wrmsr
  mov $0xc0000082, %ecx         # LSTAR
  mov $syscall_entry, %eax
  xor %edx, %edx
  wrmsr
  mov $0xc0000084, %ecx         # FMASK: interrupts stay off
  mov $0x200, %eax
  wrmsr
  mov $BUFFER, %rdi             # something to read
  mov $8192, %ecx
  mov $0x9e3779b97f4a7c15, %rax
1:mov %rax, (%rdi)
  add $8, %rdi
  rol $7, %rax
  add %rcx, %rax
  dec %ecx
  jnz 1b
  call build_list
  mov $COM1 + 4, %edx           # OUT2, as a driver sets it: input is held back until the port can deliver it
  mov $0x0b, %al
  out %al, %dx
  mov $COM1 + 1, %edx
  mov $1, %al
  out %al, %dx
  mov $'\n', %al
  call putc

command:
  call getc
  movzbl %al, %ebx
  call getc
  lea -0x40(%rax), %ecx
  mov $table, %rsi
1:cmpq $0, (%rsi)
  je command
  cmp %rbx, (%rsi)
  je 2f
  add $16, %rsi
  jmp 1b
2:mov $1, %r15
  shl %cl, %r15
  mov 8(%rsi), %r14
  mov $'<', %al
  call putc
  mov %r15, %rcx
  call *%r14
  mov %rax, %rbx
  mov $'>', %al
  call putc
  mov $16, %ecx
3:rol $4, %rbx
  mov %ebx, %eax
  and $15, %eax
  mov digits(%rax), %al
  call putc
  dec %ecx
  jnz 3b
  mov $'\n', %al
  call putc
  jmp command

putc:                           # %al; preserves all but %rax, %rdx
  mov %al, %ah
  mov $COM1 + 5, %edx
1:in %dx, %al
  test $0x20, %al
  jz 1b
  mov $COM1, %edx
  mov %ah, %al
  out %al, %dx
  ret

getc:                           # to %rax
  mov $COM1 + 5, %edx
1:in %dx, %al
  test $1, %al
  jz 1b
  mov $COM1, %edx
  in %dx, %al
  movzbl %al, %eax
  ret

.section .rodata
digits: .ascii "0123456789abcdef"
.balign 8
table:
  .quad 'l', loop10
  .quad 'm', mix
  .quad 'h', sha256
  .quad 'b', copy_rep
  .quad 'v', copy_sse
  .quad 'd', doubles
  .quad 'c', calls
  .quad 's', system_calls
  .quad 't', touch_pages
  .quad 'i', port_reads
  .quad 'o', port_writes
  .quad 0, 0

.text
# 10 instructions, one of them a load and one a store.
.balign 64
loop10:
  mov $BUFFER, %rsi
  mov $TARGET, %rdi
  xor %edx, %edx
  xor %ebx, %ebx
  mov $0x0123456789abcdef, %r8
1:mov (%rsi,%rdx,8), %rax
  add %rbx, %rax
  xor %r8, %rax
  lea 3(%rbx,%rax), %rbx
  mov %rax, (%rdi,%rdx,8)
  inc %rdx
  and $511, %edx
  rol $3, %r8
  dec %rcx
  jnz 1b
  mov %rbx, %rax
  ret

# A list search, a state machine over bytes, a small matrix product and a CRC: what integer programs are made of, with branches that data decides.
.balign 64
mix:
  xor %ebp, %ebp
  mov $0xffff, %r9d
mix_round:
  mov $list, %rsi               # search: 64 nodes, compare and follow
  lea (%rcx,%rbp), %eax
  and $63, %eax
1:cmp %eax, 8(%rsi)
  je 2f
  mov (%rsi), %rsi
  test %rsi, %rsi
  jnz 1b
2:add 8(%rsi), %ebp
  mov $BUFFER, %rsi             # state machine: 64 bytes, 4 states
  mov $64, %edx
  xor %r10d, %r10d
3:movzbl (%rsi), %eax
  inc %rsi
  jmp *states(,%r10,8)
state_start:
  mov $1, %r10d
  test $1, %al
  jz 4f
  mov $2, %r10d
  jmp 4f
state_even:
  cmp $0x40, %al
  jae 5f
  inc %ebp
  xor %r10d, %r10d
  jmp 4f
5:mov $3, %r10d
  jmp 4f
state_odd:
  lea 1(%rbp,%rax), %ebp
  mov $3, %r10d
  cmp $0xc0, %al
  jb 4f
  xor %r10d, %r10d
  jmp 4f
state_last:
  xor %eax, %ebp
  xor %r10d, %r10d
4:dec %edx
  jnz 3b
  xor %ebx, %ebx                # 6 x 6 matrix product of 32-bit numbers
6:xor %edx, %edx
7:xor %edi, %edi
  xor %r11d, %r11d
  imul $24, %rbx, %r8
8:mov BUFFER(%r8,%rdi,4), %eax
  imul $24, %rdi, %r12
  imul BUFFER + 1024(%r12,%rdx,4), %eax
  add %eax, %r11d
  inc %edi
  cmp $6, %edi
  jb 8b
  add %r11d, %ebp
  mov %r11d, TARGET(%r8,%rdx,4)
  inc %edx
  cmp $6, %edx
  jb 7b
  inc %ebx
  cmp $6, %ebx
  jb 6b
  mov %ebp, %eax                # CRC-16 of what came out, bit by bit
  mov $32, %edx
9:mov %eax, %r8d
  xor %r9d, %r8d
  shr $1, %r9d
  test $1, %r8b
  jz 1f
  xor $0xa001, %r9d
1:shr $1, %eax
  dec %edx
  jnz 9b
  dec %rcx
  jnz mix_round
  mov %ebp, %eax
  shl $32, %rax
  or %r9, %rax
  ret

build_list:                     # 64 nodes in an order that does not follow the addresses
  mov $list, %rdi
  mov $63, %ecx
  xor %eax, %eax
1:lea 37(%rax), %edx
  and $63, %edx
  mov %edx, %esi
  shl $4, %esi
  lea list(%rsi), %r8
  mov %r8, (%rdi)
  mov %eax, 8(%rdi)
  mov %r8, %rdi
  mov %edx, %eax
  dec %ecx
  jnz 1b
  movq $0, (%rdi)
  mov %eax, 8(%rdi)
  ret

# SHA-256 (FIPS 180-4) of one block per iteration, chained; scalar code as a compiler writes it.
.macro sha_schedule
  mov -60(%rsi), %eax           # s0(w[t-15])
  mov %eax, %ebx
  mov %eax, %edx
  ror $7, %eax
  ror $18, %ebx
  shr $3, %edx
  xor %ebx, %eax
  xor %edx, %eax
  add -64(%rsi), %eax
  add -28(%rsi), %eax
  mov -8(%rsi), %ebx            # s1(w[t-2])
  mov %ebx, %edx
  mov %ebx, %edi
  ror $17, %ebx
  ror $19, %edx
  shr $10, %edi
  xor %edx, %ebx
  xor %edi, %ebx
  add %ebx, %eax
  mov %eax, (%rsi)
  add $4, %rsi
.endm
.macro sha_round a b c d e f g h offset
  mov \e, %eax
  mov \e, %ebx
  mov \e, %edx
  ror $6, %eax
  ror $11, %ebx
  ror $25, %edx
  xor %ebx, %eax
  xor %edx, %eax
  add \h, %eax
  add sha_k + \offset(%rsi), %eax
  add sha_w + \offset(%rsi), %eax
  mov \f, %ebx
  xor \g, %ebx
  and \e, %ebx
  xor \g, %ebx
  add %ebx, %eax
  add %eax, \d
  mov \a, \h
  mov \a, %ebx
  mov \a, %edx
  ror $2, \h
  ror $13, %ebx
  ror $22, %edx
  xor %ebx, \h
  xor %edx, \h
  add %eax, \h
  mov \a, %ebx
  mov \a, %edx
  and \b, %ebx
  or \b, %edx
  and \c, %edx
  or %edx, %ebx
  add %ebx, \h
.endm
.balign 64
sha256:
  push %rcx
  mov $sha_start, %rsi
  mov $sha_state, %rdi
  mov $8, %ecx
  rep movsl
  pop %rcx
sha_block:
  push %rcx
  mov $BUFFER, %rsi
  mov $sha_w, %rdi
  mov $16, %ecx
1:lodsl
  bswap %eax
  stosl
  dec %ecx
  jnz 1b
  mov $sha_w + 64, %rsi
  mov $48, %ecx
2:sha_schedule
  dec %ecx
  jnz 2b
  mov sha_state, %r8d
  mov sha_state + 4, %r9d
  mov sha_state + 8, %r10d
  mov sha_state + 12, %r11d
  mov sha_state + 16, %r12d
  mov sha_state + 20, %r13d
  mov sha_state + 24, %r14d
  mov sha_state + 28, %ebp
  xor %esi, %esi
3:sha_round %r8d %r9d %r10d %r11d %r12d %r13d %r14d %ebp 0
  sha_round %ebp %r8d %r9d %r10d %r11d %r12d %r13d %r14d 4
  sha_round %r14d %ebp %r8d %r9d %r10d %r11d %r12d %r13d 8
  sha_round %r13d %r14d %ebp %r8d %r9d %r10d %r11d %r12d 12
  sha_round %r12d %r13d %r14d %ebp %r8d %r9d %r10d %r11d 16
  sha_round %r11d %r12d %r13d %r14d %ebp %r8d %r9d %r10d 20
  sha_round %r10d %r11d %r12d %r13d %r14d %ebp %r8d %r9d 24
  sha_round %r9d %r10d %r11d %r12d %r13d %r14d %ebp %r8d 28
  add $32, %esi
  cmp $256, %esi
  jb 3b
  add %r8d, sha_state
  add %r9d, sha_state + 4
  add %r10d, sha_state + 8
  add %r11d, sha_state + 12
  add %r12d, sha_state + 16
  add %r13d, sha_state + 20
  add %r14d, sha_state + 24
  add %ebp, sha_state + 28
  pop %rcx
  dec %rcx
  jnz sha_block
  mov sha_state, %eax
  shl $32, %rax
  mov sha_state + 4, %ebx
  or %rbx, %rax
  ret

.balign 64
copy_rep:                       # 64 KiB by one REP MOVSB
  mov %rcx, %rbp
1:mov $BUFFER, %rsi
  mov $TARGET, %rdi
  mov $65536, %ecx
  rep movsb
  incq BUFFER
  dec %rbp
  jnz 1b
  mov TARGET, %rax
  ret

.balign 64
copy_sse:                       # 64 KiB, 64 bytes at a time through XMM registers
  mov %rcx, %rbp
1:mov $BUFFER, %rsi
  mov $TARGET, %rdi
  mov $1024, %ecx
2:movdqu (%rsi), %xmm0
  movdqu 16(%rsi), %xmm1
  movdqu 32(%rsi), %xmm2
  movdqu 48(%rsi), %xmm3
  movaps %xmm0, (%rdi)
  movaps %xmm1, 16(%rdi)
  movaps %xmm2, 32(%rdi)
  movaps %xmm3, 48(%rdi)
  add $64, %rsi
  add $64, %rdi
  dec %ecx
  jnz 2b
  incq BUFFER
  dec %rbp
  jnz 1b
  mov TARGET, %rax
  ret

.balign 64
doubles:                        # 4 scalar operations per iteration
  movsd one, %xmm0
  movsd third, %xmm1
  movsd almost, %xmm2
  movsd one, %xmm3
1:addsd %xmm1, %xmm0
  mulsd %xmm2, %xmm0
  addsd %xmm0, %xmm3
  mulsd %xmm2, %xmm3
  dec %rcx
  jnz 1b
  movq %xmm3, %rax
  ret

.balign 64
calls:                          # one direct and one indirect call per iteration
  xor %eax, %eax
  mov $called + 64, %rbx
1:call called
  call *%rbx
  dec %rcx
  jnz 1b
  ret
.balign 64
called:
  add $3, %rax
  ret
.balign 64
  lea (%rax,%rax,2), %rax
  ret

.balign 64
system_calls:                   # SYSCALL and SYSRET, from user mode and back
  mov %rcx, %r12
  mov %rsp, kernel_stack
  xor %r13d, %r13d
  mov $2, %r11d
  mov $user, %rcx
  sysretq
.balign 64
user:
  syscall
  dec %r12
  jnz user
  mov $1, %r14d
  syscall
.balign 64
syscall_entry:
  cmp $1, %r14d
  je 1f
  inc %r13
  sysretq
1:mov kernel_stack, %rsp
  xor %r14d, %r14d
  mov $KDATA, %eax
  mov %eax, %ss
  mov %r13, %rax
  ret

.balign 64
touch_pages:                    # one load per 4 KiB page over 32 MiB: more pages than a TLB holds
  mov $PAGES, %rsi
  xor %eax, %eax
  xor %edx, %edx
1:add (%rsi,%rdx), %rax
  add $4096, %rdx
  and $0x1ffffff, %edx
  inc %rax
  dec %rcx
  jnz 1b
  ret

.balign 64
port_reads:                     # the line status that a serial driver polls
  mov $COM1 + 5, %edx
  xor %ebx, %ebx
1:in %dx, %al
  inc %rbx
  dec %rcx
  jnz 1b
  mov %rbx, %rax
  ret

.balign 64
port_writes:                    # the delay port
  xor %ebx, %ebx
1:mov %bl, %al
  out %al, $0x80
  inc %rbx
  dec %rcx
  jnz 1b
  mov %rbx, %rax
  ret

.section .rodata
.balign 8
one: .double 1
third: .double 0.3333333333333333
almost: .double 0.9999
states: .quad state_start, state_even, state_odd, state_last
sha_start: .long 0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19
sha_k:
  .long 0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5
  .long 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174
  .long 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da
  .long 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967
  .long 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85
  .long 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070
  .long 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3
  .long 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2
.balign 8
gdt:
  .quad 0
  .quad 0x00af9b000000ffff      # K64
  .quad 0x00cf93000000ffff      # KDATA
  .quad 0x00cff3000000ffff      # UDATA
  .quad 0x00affb000000ffff      # UCODE
gdt_end:
gdt_pointer:
  .word gdt_end - gdt - 1
  .quad gdt

.bss
.balign 4096
pml4: .skip 4096
pdpt: .skip 4096
pd: .skip 4096
list: .skip 1024
sha_w: .skip 256
sha_state: .skip 32
kernel_stack: .skip 8
.balign 16
.skip 8192
stack_top:
