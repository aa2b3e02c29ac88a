// SPDX-License-Identifier: GPL-2.0-only
/*
 * The counters of the CPU (FEAT_PMUv3). While a protected guest runs those of the host
 * stand still, however the host sets them up (I8). An ordinary guest's are the host's
 * to give: its own count for it, and those of perf do or do not, as perf asks.
 *
 * Cycles, because QEMU counts these everywhere: one in a nanosecond of its time.
 */
#include <errno.h>
#include <asm/kvm.h>
#include <linux/perf_event.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include "kselftest_harness.h"
#include "kvm_util.h"
#include "processor.h"
#include "pkvm.h"

#define TIMEOUT		120
#define RUN_MS		100
#define PMU_IRQ		23

/* ------------------------------------------------------------- guest code */

/* Stays in the guest for so many ms of its time. Returns how often it went round. */
static uint64_t guest_spin(uint64_t ms)
{
	uint64_t end, n = 0;

	end = read_sysreg(cntvct_el0) + ms * read_sysreg(cntfrq_el0) / 1000;
	do {
		isb();
		n++;
	} while (read_sysreg(cntvct_el0) < end);
	return n;
}

/* The same, and counts it with the guest's own cycle counter. */
static uint64_t guest_count_cycles(uint64_t ms)
{
	uint64_t before;

	write_sysreg(0, pmccfiltr_el0);
	write_sysreg(1UL << 31, pmcntenset_el0);
	write_sysreg(1UL << 6 | 1, pmcr_el0);
	isb();
	before = read_sysreg(pmccntr_el0);
	guest_spin(ms);
	return read_sysreg(pmccntr_el0) - before;
}

/* ------------------------------------------------------------- host code */

/* A counter of this thread's cycles, but not of those that @attr excludes. */
static int open_cycles(struct perf_event_attr attr)
{
	attr.type = PERF_TYPE_HARDWARE;
	attr.config = PERF_COUNT_HW_CPU_CYCLES;
	attr.size = sizeof(attr);
	attr.pinned = 1;
	return syscall(__NR_perf_event_open, &attr, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);
}

static uint64_t read_counter(int fd)
{
	uint64_t val = 0;

	/* Nothing is there to be read once a pinned one had to go. */
	TEST_ASSERT(read(fd, &val, sizeof(val)) == sizeof(val), "the counter is gone");
	return val;
}

FIXTURE(pmu) {
	struct pkvm_vm *vm;
	int fd;
};

FIXTURE_SETUP(pmu)
{
	const char *why = pkvm_unavailable();

	self->fd = -1;
	if (why)
		SKIP(return, "%s", why);
	self->fd = open_cycles((struct perf_event_attr) {});
	if (self->fd < 0)
		SKIP(return, "perf counts no cycles here: %s", strerror(errno));
}

FIXTURE_TEARDOWN(pmu)
{
	pkvm_vm_free(self->vm);
	pkvm_close_fd(&self->fd);
}

/* How many cycles are counted in 1000 ns that a guest spins. */
static uint64_t cycles_per_us(struct pkvm_vm *vm, int fd)
{
	uint64_t before, start = read_sysreg(cntvct_el0), ticks;

	before = read_counter(fd);
	pkvm_must(pkvm_vcpu0(vm), guest_spin, RUN_MS);
	ticks = read_sysreg(cntvct_el0) - start;
	return (read_counter(fd) - before) * read_sysreg(cntfrq_el0) / ticks / 1000000;
}

/* Of some: whoever stops this machine for a while makes what counts slow... */
static uint64_t most_cycles_per_us(struct pkvm_vm *vm, int fd)
{
	uint64_t most = 0;
	int i;

	for (i = 0; i < 5; i++)
		most = max(most, cycles_per_us(vm, fd));
	return most;
}

/* ... and what is between two runs large. */
static uint64_t least_cycles_per_us(struct pkvm_vm *vm, int fd)
{
	uint64_t least = ~0UL;
	int i;

	for (i = 0; i < 5; i++)
		least = min(least, cycles_per_us(vm, fd));
	return least;
}

static struct pkvm_vm *ordinary_vm(void)
{
	return pkvm_vm_create(&(struct pkvm_opts) { .ordinary = true });
}

TEST_F_TIMEOUT(pmu, i8_counters_of_the_host_stand_still, TIMEOUT)
{
	struct pkvm_vm *ordinary = ordinary_vm();
	uint64_t usual, seen;

	if (pkvm_forced_ordinary())
		SKIP(return, "ordinary VMs are forced");
	self->vm = pkvm_vm_create(NULL);
	/* The first run has the faults. */
	cycles_per_us(ordinary, self->fd);
	cycles_per_us(self->vm, self->fd);

	usual = most_cycles_per_us(ordinary, self->fd);
	seen = least_cycles_per_us(self->vm, self->fd);
	pkvm_vm_free(ordinary);
	TH_LOG("cycles in a microsecond: %lu of an ordinary guest, %lu of a protected one",
	       usual, seen);
	ASSERT_GT(usual, 100);
	EXPECT_LT(seen, usual / 4);
	/* The host's go on. */
	seen = read_counter(self->fd);
	usleep(1000);
	EXPECT_GT(read_counter(self->fd), seen);
}

TEST_F_TIMEOUT(pmu, perf_has_what_it_asks_for_of_an_ordinary_guest, TIMEOUT)
{
	struct perf_event_attr host = { .exclude_guest = 1 }, guest = { .exclude_host = 1 };
	int of_host, of_guest;
	uint64_t usual;

	self->vm = ordinary_vm();
	cycles_per_us(self->vm, self->fd);
	usual = most_cycles_per_us(self->vm, self->fd);
	ASSERT_GT(usual, 100);

	of_host = open_cycles(host);
	of_guest = open_cycles(guest);
	ASSERT_GE(of_host, 0);
	ASSERT_GE(of_guest, 0);
	EXPECT_LT(least_cycles_per_us(self->vm, of_host), usual / 4);
	EXPECT_GT(most_cycles_per_us(self->vm, of_guest), usual / 2);
	close(of_host);
	close(of_guest);
}

TEST_F_TIMEOUT(pmu, an_ordinary_guest_counts, TIMEOUT)
{
	uint64_t irq = PMU_IRQ, cycles;
	struct kvm_device_attr set = {
		.group = KVM_ARM_VCPU_PMU_V3_CTRL,
		.attr = KVM_ARM_VCPU_PMU_V3_IRQ,
		.addr = (uint64_t)&irq,
	};
	struct kvm_device_attr init = {
		.group = KVM_ARM_VCPU_PMU_V3_CTRL,
		.attr = KVM_ARM_VCPU_PMU_V3_INIT,
	};

	self->vm = pkvm_vm_create(&(struct pkvm_opts) {
		.ordinary = true, .pmu = true,
	});
	ASSERT_EQ(ioctl(pkvm_vcpu0(self->vm)->fd, KVM_SET_DEVICE_ATTR, &set), 0);
	ASSERT_EQ(ioctl(pkvm_vcpu0(self->vm)->fd, KVM_SET_DEVICE_ATTR, &init), 0);

	pkvm_must(pkvm_vcpu0(self->vm), guest_count_cycles, 1);
	cycles = pkvm_must(pkvm_vcpu0(self->vm), guest_count_cycles, RUN_MS);
	TH_LOG("%lu cycles in %u ms", cycles, RUN_MS);
	EXPECT_GT(cycles, RUN_MS * 100000UL);
}

TEST_HARNESS_MAIN
