/* Items that ask the kernel: a system call that does nothing, processes, pipes, and a job for two processors. */
#include "guest.h"

u64 run_getppid(u64 count) {
  u64 same = 0;
  long parent = CALL3(SYS_GETPPID, 0, 0, 0);
  for (u64 i = 0; i < count; i++) same += CALL3(SYS_GETPPID, 0, 0, 0) == parent;
  return same;
}

static long wait_for(long child) {
  s32 status = -1;
  if (call(SYS_WAIT4, child, (long)&status, 0, 0, 0, 0) != child) fail("wait4");
  return status;
}

u64 run_fork(u64 count) {
  u64 sum = 0;
  for (u64 i = 0; i < count; i++) {
    long child = CALL3(SYS_FORK, 0, 0, 0);
    if (child == 0) CALL3(SYS_EXIT, i & 127, 0, 0);
    if (child < 0) fail("fork");
    sum = sum * 31 + (u64)(wait_for(child) >> 8);
  }
  return sum;
}

/* A byte to another process and back. */
u64 run_pipe(u64 count) {
  s32 there[2], back[2];
  u8 byte = 1;
  u64 sum = 0;
  if (CALL3(SYS_PIPE, there, 0, 0) != 0 || CALL3(SYS_PIPE, back, 0, 0) != 0) fail("pipe");
  long child = CALL3(SYS_FORK, 0, 0, 0);
  if (child < 0) fail("fork");
  if (child == 0) {
    for (u64 i = 0; i < count; i++) {
      if (CALL3(SYS_READ, there[0], &byte, 1) != 1) break;
      byte = (u8)(byte * 5 + 1);
      CALL3(SYS_WRITE, back[1], &byte, 1);
    }
    CALL3(SYS_EXIT, 0, 0, 0);
  }
  for (u64 i = 0; i < count; i++) {
    if (CALL3(SYS_WRITE, there[1], &byte, 1) != 1 || CALL3(SYS_READ, back[0], &byte, 1) != 1) fail("the pipe");
    sum = sum * 31 + byte;
  }
  wait_for(child);
  for (int i = 0; i < 2; i++) {
    CALL3(SYS_CLOSE, there[i], 0, 0);
    CALL3(SYS_CLOSE, back[i], 0, 0);
  }
  return sum;
}

/* Two processes with the same work, `count` iterations of the mix each, at the same time. */
u64 run_parallel(u64 count) {
  long children[2];
  u64 sum = 0;
  for (int i = 0; i < 2; i++) {
    children[i] = CALL3(SYS_FORK, 0, 0, 0);
    if (children[i] < 0) fail("fork");
    if (children[i] == 0) CALL3(SYS_EXIT, run_mix(count) & 127, 0, 0);
  }
  for (int i = 0; i < 2; i++) sum = sum * 256 + (u64)(wait_for(children[i]) >> 8);
  return sum;
}
