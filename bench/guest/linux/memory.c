/* Items that move memory: the string instructions, copies as a C library makes them, and pages that are touched for the first time. */
#include <emmintrin.h>
#include "guest.h"

enum { BUFFER = 65536, PAGE = 4096, PAGES = 64, COPY_BYTES = 32768 };

static u8 source[BUFFER] __attribute__((aligned(64))), target[BUFFER] __attribute__((aligned(64)));

static void fill_source(void) {
  for (u32 i = 0; i < BUFFER; i++) source[i] = (u8)(i * 7 + (i >> 8));
}

static inline void rep_movsb(void *to, const void *from, u64 length) {
  __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(length) : : "memory");
}

/* What C libraries do where the processor announces ERMS, which both machines do: vectors for what is short, the string instruction from 2 KiB on. */
void copy_bytes(void *to, const void *from, u64 length) {
  u8 *t = to;
  const u8 *f = from;
  if (length >= 2048) { rep_movsb(to, from, length); return; }
  if (length >= 16) {
    /* the last 16 bytes first: they may overlap those of the loop */
    __m128i last = _mm_loadu_si128((const __m128i *)(f + length - 16));
    u8 *end = t + length - 16;
    for (; t < end; t += 16, f += 16) _mm_storeu_si128((__m128i *)t, _mm_loadu_si128((const __m128i *)f));
    _mm_storeu_si128((__m128i *)end, last);
    return;
  }
  while (length--) { *t++ = *f++; __asm__ volatile("" : : : "memory"); }
}

/* 64 KiB an iteration. */
u64 run_movsb(u64 count) {
  fill_source();
  for (u64 i = 0; i < count; i++) {
    source[i & (BUFFER - 1)] ^= (u8)i;
    rep_movsb(target, source, BUFFER);
  }
  return hash_bytes(target, BUFFER);
}

/* 32 KiB an iteration, in copies of 4 KiB. */
u64 run_memcpy(u64 count) {
  fill_source();
  for (u64 i = 0; i < count; i++) {
    source[i & (COPY_BYTES - 1)] ^= (u8)i;
    for (u32 at = 0; at < COPY_BYTES; at += 4096) copy_bytes(target + at, source + at, 4096);
  }
  return hash_bytes(target, COPY_BYTES);
}

/* 64 KiB an iteration. */
u64 run_memset(u64 count) {
  for (u64 i = 0; i < count; i++) {
    void *to = target;
    u64 length = BUFFER;
    __asm__ volatile("rep stosb" : "+D"(to), "+c"(length) : "a"((u8)i) : "memory");
  }
  return hash_bytes(target, BUFFER);
}

/* A fresh mapping of 64 pages, each written once: 64 page faults, and the kernel's clearing and freeing of the pages. */
u64 run_touch(u64 count) {
  u64 sum = 0;
  for (u64 i = 0; i < count; i++) {
    u8 *pages = (u8 *)call(SYS_MMAP, 0, PAGES * PAGE, 3, 0x22, -1, 0); /* PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS */
    if ((long)pages < 0 && (long)pages > -4096) fail("mmap");
    for (u32 page = 0; page < PAGES; page++) pages[page * PAGE + (i & 4095)] = (u8)(page + i);
    for (u32 page = 0; page < PAGES; page++) sum = sum * 31 + pages[page * PAGE + (i & 4095)] + pages[page * PAGE + ((i + 1) & 4095)];
    if (CALL3(SYS_MUNMAP, pages, PAGES * PAGE, 0) != 0) fail("munmap");
  }
  return sum;
}
