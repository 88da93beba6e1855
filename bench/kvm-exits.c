/*
 * The peer of the kvm bench: the plainest loop in C that can run its guest (bench/kvm-guest.ts). One vCPU, one memory slot at 0, exits answered in place.
 * Linux Documentation/virt/kvm/api.rst. usage: kvm-exits IMAGE MAPPED DOORBELL-ADDRESS|0, prints nanoseconds and then the guest's RAM.
 */
#include <fcntl.h>
#include <linux/kvm.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define RAM_BYTES (1 << 20)
#define ENTRY 0x1000
#define ANSWERED 0x900
#define MARKER_PORT 0x80
#define CALLED_PORT 0x310
#define START 1

static unsigned char *ram;
static int bell;
/* What the loop and the thread say to each other. */
static _Atomic unsigned asked, answered;

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static int call(int fd, unsigned long request, unsigned long argument, const char *name)
{
    int result = ioctl(fd, request, argument);
    if (result < 0)
        fail(name);
    return result;
}

/* Waits as an event loop does, and answers as the handlers of ours do. */
static void *answer(void *unused)
{
    struct pollfd wait = { .fd = bell, .events = POLLIN };
    unsigned long long count;
    for (;;) {
        if (poll(&wait, 1, -1) != 1 || read(bell, &count, sizeof count) != sizeof count)
            fail("eventfd");
        atomic_store(&answered, atomic_load(&asked));
        atomic_fetch_add((_Atomic unsigned *)(ram + ANSWERED), 1);
    }
    return unused;
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1e9 + time.tv_nsec;
}

static struct kvm_segment flat(unsigned char type)
{
    struct kvm_segment segment = { .limit = 0xffffffff, .selector = 8, .type = type, .present = 1, .s = 1, .db = 1, .g = 1 };
    return segment;
}

int main(int argc, char **argv)
{
    if (argc != 4)
        return 2;
    unsigned long mapped = strtoul(argv[2], 0, 0), doorbell = strtoul(argv[3], 0, 0);
    int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC), image = open(argv[1], O_RDONLY);
    if (kvm < 0 || image < 0)
        fail("open");
    int vm = call(kvm, KVM_CREATE_VM, 0, "KVM_CREATE_VM");
    call(vm, KVM_SET_TSS_ADDR, 0xfffbd000, "KVM_SET_TSS_ADDR");
    /* As ours has it: an exit passes through the same checks for interrupts. */
    call(vm, KVM_CREATE_IRQCHIP, 0, "KVM_CREATE_IRQCHIP");
    ram = mmap(0, RAM_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (ram == MAP_FAILED || read(image, ram + ENTRY, 4096) <= 0)
        fail("image");
    struct kvm_userspace_memory_region region = { .memory_size = RAM_BYTES, .userspace_addr = (unsigned long)ram };
    call(vm, KVM_SET_USER_MEMORY_REGION, (unsigned long)&region, "KVM_SET_USER_MEMORY_REGION");
    pthread_t thread;
    bell = eventfd(0, EFD_NONBLOCK);
    if (bell < 0 || pthread_create(&thread, 0, answer, 0) != 0)
        fail("thread");
    if (doorbell != 0) {
        struct kvm_ioeventfd event = { .addr = doorbell, .len = 4, .fd = bell };
        call(vm, KVM_IOEVENTFD, (unsigned long)&event, "KVM_IOEVENTFD");
    }
    int vcpu = call(vm, KVM_CREATE_VCPU, 0, "KVM_CREATE_VCPU");
    struct kvm_run *run = mmap(0, call(kvm, KVM_GET_VCPU_MMAP_SIZE, 0, "size"), PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
    if (run == MAP_FAILED)
        fail("mmap");
    struct kvm_sregs sregs;
    call(vcpu, KVM_GET_SREGS, (unsigned long)&sregs, "KVM_GET_SREGS");
    sregs.cs = flat(11);
    sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = flat(3);
    sregs.cr0 = 0x11;
    call(vcpu, KVM_SET_SREGS, (unsigned long)&sregs, "KVM_SET_SREGS");
    struct kvm_regs regs = { .rip = ENTRY, .rsp = 0x1000, .rflags = 2 };
    call(vcpu, KVM_SET_REGS, (unsigned long)&regs, "KVM_SET_REGS");

    double start = 0;
    unsigned long long sum = 0;
    for (;;) {
        if (ioctl(vcpu, KVM_RUN, 0) < 0)
            fail("KVM_RUN");
        if (run->exit_reason == KVM_EXIT_IO) {
            unsigned char *data = (unsigned char *)run + run->io.data_offset;
            for (unsigned left = run->io.count; left > 0; left--, data += run->io.size) {
                if (run->io.direction == KVM_EXIT_IO_OUT) {
                    sum += *data;
                    if (run->io.port != MARKER_PORT)
                        continue;
                    if (*data != START)
                        goto done;
                    start = now();
                } else {
                    if (run->io.port == CALLED_PORT) {
                        unsigned long long one = 1;
                        unsigned mine = atomic_fetch_add(&asked, 1) + 1;
                        if (write(bell, &one, sizeof one) != sizeof one)
                            fail("eventfd");
                        while (atomic_load(&answered) != mine)
                            ;
                    }
                    memset(data, 0x60, run->io.size);
                }
            }
        } else if (run->exit_reason == KVM_EXIT_MMIO && run->mmio.phys_addr == mapped) {
            if (run->mmio.is_write)
                sum += run->mmio.data[0];
            else
                memset(run->mmio.data, 0x60, run->mmio.len);
        } else {
            fprintf(stderr, "exit reason %u\n", run->exit_reason);
            return 1;
        }
    }
done:;
    double elapsed = now() - start;
    if (fwrite(&elapsed, sizeof elapsed, 1, stdout) != 1 || fwrite(ram, RAM_BYTES, 1, stdout) != 1)
        fail("stdout");
    return sum == 1;
}
