/* What the parts of the bench's Linux program share: system calls without a C library, and the items that are measured. */
#ifndef GUEST_H
#define GUEST_H

typedef unsigned char u8;
typedef unsigned short u16;
typedef short s16;
typedef unsigned int u32;
typedef int s32;
typedef unsigned long u64;

/* Linux x86-64 numbers */
enum {
  SYS_READ = 0, SYS_WRITE = 1, SYS_CLOSE = 3, SYS_MMAP = 9, SYS_MUNMAP = 11, SYS_PIPE = 22, SYS_FORK = 57, SYS_EXIT = 60, SYS_WAIT4 = 61, SYS_GETPPID = 110, SYS_CLOCK_GETTIME = 228,
};

long call(long number, long a, long b, long c, long d, long e, long f);
#define CALL3(number, a, b, c) call(number, (long)(a), (long)(b), (long)(c), 0, 0, 0)

/* Each runs `count` iterations. The result depends on the count and on what was computed, not on the machine, the time or what ran before. */
u64 run_loop(u64 count);
u64 run_mix(u64 count);
u64 run_sha256(u64 count);
u64 run_double(u64 count);
u64 run_getppid(u64 count);
u64 run_fork(u64 count);
u64 run_pipe(u64 count);
u64 run_movsb(u64 count);
u64 run_memcpy(u64 count);
u64 run_memset(u64 count);
u64 run_touch(u64 count);
u64 run_parallel(u64 count);

void copy_bytes(void *to, const void *from, u64 length);
/* Of a buffer, so that a copy that goes wrong anywhere shows. */
u64 hash_bytes(const void *bytes, u64 length);
/* Says why on the console and ends the program. */
void fail(const char *what);

#endif
