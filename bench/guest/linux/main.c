/*
 * The bench's program in a Linux guest: says "bench: ready", then reads lines "NAME ITERATIONS" from its console, runs what they name and answers
 * "= NAME ITERATIONS NANOSECONDS RESULT", by the guest's monotonic clock. A further item is a function and a row of `items`. Without a C library, so that it runs
 * in any initramfs and everything in it is the same on both sides.
 */
#include "guest.h"

struct item { const char *name; u64 (*run)(u64 count); };
static const struct item items[] = {
  { "loop", run_loop }, { "mix", run_mix }, { "sha256", run_sha256 }, { "double", run_double },
  { "getppid", run_getppid }, { "fork", run_fork }, { "pipe", run_pipe },
  { "movsb", run_movsb }, { "memcpy", run_memcpy }, { "memset", run_memset }, { "touch", run_touch },
  { "parallel", run_parallel },
};

long call(long number, long a, long b, long c, long d, long e, long f) {
  register long r10 __asm__("r10") = d;
  register long r8 __asm__("r8") = e;
  register long r9 __asm__("r9") = f;
  __asm__ volatile("syscall" : "+a"(number) : "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11", "memory");
  return number;
}

static u64 length_of(const char *text) {
  u64 length = 0;
  while (text[length]) length++;
  return length;
}

static void say(const char *text) {
  CALL3(SYS_WRITE, 1, text, length_of(text));
}

void fail(const char *what) {
  say("bench: ");
  say(what);
  say(" failed\n");
  CALL3(SYS_EXIT, 1, 0, 0);
}

u64 hash_bytes(const void *bytes, u64 length) {
  /* FNV-1a over words: each length here is a multiple of 8 */
  const u64 *words = bytes;
  u64 hash = 0xcbf29ce484222325;
  for (u64 i = 0; i < length / 8; i++) hash = (hash ^ words[i]) * 0x100000001b3;
  return hash;
}

static u64 now(void) {
  long time[2];
  if (CALL3(SYS_CLOCK_GETTIME, 1, time, 0) != 0) fail("clock_gettime");
  return (u64)time[0] * 1000000000 + (u64)time[1];
}

static char *put_number(char *at, u64 value, u32 base) {
  char digits[24];
  int count = 0;
  do digits[count++] = "0123456789abcdef"[value % base]; while (value /= base);
  while (count > 0) *at++ = digits[--count];
  return at;
}

/* @returns 0 at the end of the input */
static int read_line(char *line, u64 room) {
  for (u64 used = 0;;) {
    char c;
    if (CALL3(SYS_READ, 0, &c, 1) != 1) return 0;
    if (c == '\n') { line[used] = 0; return 1; }
    if (used + 1 < room) line[used++] = c;
  }
}

/* "NAME ITERATIONS" @returns the item, 0 if there is none */
static const struct item *parse(const char *line, u64 *count) {
  for (u64 i = 0; i < sizeof items / sizeof *items; i++) {
    const char *name = items[i].name, *at = line;
    while (*name && *name == *at) { name++; at++; }
    if (*name || *at++ != ' ') continue;
    for (*count = 0; *at >= '0' && *at <= '9'; at++) *count = *count * 10 + (u64)(*at - '0');
    return &items[i];
  }
  return 0;
}

static void measure(const struct item *item, u64 count) {
  char answer[160] = "= ";
  u64 start = now();
  u64 result = item->run(count);
  u64 taken = now() - start;
  char *at = answer + 2;
  for (const char *name = item->name; *name;) *at++ = *name++;
  *at++ = ' ';
  at = put_number(at, count, 10);
  *at++ = ' ';
  at = put_number(at, taken, 10);
  *at++ = ' ';
  at = put_number(at, result, 16);
  *at++ = '\n';
  *at = 0;
  say(answer);
}

__attribute__((used)) static void run(void) {
  char line[80];
  say("bench: ready\n");
  while (read_line(line, sizeof line)) {
    u64 count;
    const struct item *item = parse(line, &count);
    if (item) measure(item, count);
    else say("bench: no such item\n");
  }
  CALL3(SYS_EXIT, 0, 0, 0);
}

__asm__(".global _start\n_start:\n  xor %ebp, %ebp\n  and $-16, %rsp\n  call run\n  hlt\n");

/* gcc may call these for what it finds in the code */
void *memcpy(void *to, const void *from, u64 length) {
  copy_bytes(to, from, length);
  return to;
}

void *memset(void *to, int value, u64 length) {
  u8 *at = to;
  __asm__ volatile("rep stosb" : "+D"(at), "+c"(length) : "a"(value) : "memory");
  return to;
}
