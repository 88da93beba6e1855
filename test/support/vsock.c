/*
 * Test part: a program in a Linux guest at one end of a vsock stream (AF_VSOCK, vsock(7)). "vsock connect CID PORT" connects, "vsock listen PORT" takes one connection. Standard input
 * goes out, and its end is told; what comes goes to standard output, to its end.
 */
#include <linux/vm_sockets.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static char bytes[65536];

static int fail(const char *what) {
  perror(what);
  return 1;
}

/* One read's worth. Returns 1 at the end, below 0 where it fails. */
static int move(int from, int to) {
  ssize_t length = read(from, bytes, sizeof bytes);
  if (length <= 0) return length == 0 ? 1 : -1;
  for (ssize_t done = 0; done < length;) {
    ssize_t written = write(to, bytes + done, length - done);
    if (written < 0) return -1;
    done += written;
  }
  return 0;
}

static int carry(int stream) {
  struct pollfd ends[2] = { { 0, POLLIN, 0 }, { stream, POLLIN, 0 } };
  while (ends[0].fd >= 0 || ends[1].fd >= 0) {
    if (poll(ends, 2, -1) < 0) return fail("poll");
    if (ends[0].revents != 0) {
      int end = move(0, stream);
      if (end < 0) return fail("send");
      if (end > 0) {
        shutdown(stream, SHUT_WR);
        ends[0].fd = -1;
      }
    }
    if (ends[1].revents != 0) {
      int end = move(stream, 1);
      if (end < 0) return fail("receive");
      if (end > 0) ends[1].fd = -1;
    }
  }
  close(stream);
  return 0;
}

int main(int count, char **words) {
  struct sockaddr_vm address;
  int stream = socket(AF_VSOCK, SOCK_STREAM, 0);
  if (stream < 0) return fail("socket");
  memset(&address, 0, sizeof address);
  address.svm_family = AF_VSOCK;
  address.svm_port = strtoul(words[count - 1], 0, 10);
  if (count == 4) {
    address.svm_cid = strtoul(words[2], 0, 10);
    if (connect(stream, (struct sockaddr *)&address, sizeof address) < 0) return fail("connect");
    return carry(stream);
  }
  address.svm_cid = VMADDR_CID_ANY;
  if (bind(stream, (struct sockaddr *)&address, sizeof address) < 0) return fail("bind");
  if (listen(stream, 8) < 0) return fail("listen");
  int taken = accept(stream, 0, 0);
  if (taken < 0) return fail("accept");
  close(stream);
  return carry(taken);
}
