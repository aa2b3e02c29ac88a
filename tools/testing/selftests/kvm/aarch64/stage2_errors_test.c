// SPDX-License-Identifier: GPL-2.0-only
/*
 * Every way out of the stage-2 fault handler that is not the ordinary one, as an
 * ordinary guest's VMM sees it (T10, T11): what KVM_RUN says, that the guest goes
 * on when the cause is gone, and that no page stays held (O3) and the kernel does
 * not complain (O4) afterwards. Guards I5, I9 and I10.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#include <linux/sizes.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "kselftest_harness.h"
#include "kvm_util.h"
#include "processor.h"
#include "pkvm.h"
#include "held.h"
#include "pageref.h"

#define TIMEOUT		120
#define PAGE		((size_t)getpagesize())
#define MEM_SIZE	SZ_1M
#define SLOT2		2	/* beside those of pkvm.c */
/* A word of ordinary guest memory that tells vCPUs to come to an end. */
#define STOP_OFF	(MEM_SIZE - 64)
#define STOP_IPA	(PKVM_MEM_IPA + STOP_OFF)
#define A64_RET		0xd65f03c0U
#define ESR_FSC		0x3f
#define FSC_EXTABT	0x10
#define FSC_PERM_L2	0x0e

/* ------------------------------------------------------------- the guest */

/*
 * Call addr so often, whatever comes of it; returns the number of exceptions and
 * reports the last one. The loop is the guest's, so that one round costs one fault.
 */
static uint64_t guest_exec_loop(uint64_t addr, uint64_t rounds)
{
	struct pkvm_guest_cpu *cpu = guest_cpu();
	void (*fn)(void) = (void *)addr;

	cpu->caught = 0;
	WRITE_ONCE(cpu->catching, 1);
	while (rounds--) {
		barrier();
		fn();
	}
	return guest_report_caught();
}

/* ------------------------------------------------------------ the fixture */

FIXTURE(err) {
	struct pkvm_vm *vm;
	struct pkvm_vcpu *vcpu;
	char *mem;
	int klog;
	bool swap;
};

/* vCPU 1, which has not run yet. */
static void start_vcpu1(struct pkvm_vm *vm)
{
	struct pkvm_vcpu *vcpu = &vm->vcpus[1];

	TEST_ASSERT(!pkvm_set_reg(vcpu, ARM64_CORE_REG(regs.pstate), 0x3c5) &&
		    !pkvm_set_reg(vcpu, ARM64_CORE_REG(regs.pc),
				  (uintptr_t)pkvm_guest_entry) &&
		    !pkvm_set_reg(vcpu, ARM64_CORE_REG(regs.regs[0]),
				  (uintptr_t)&pkvm_guest_cpus[1]), "cannot start vCPU 1");
}

static void set_stop(struct pkvm_vm *vm, uint64_t val)
{
	WRITE_ONCE(*(uint64_t *)(vm->mem + STOP_OFF), val);
}

FIXTURE_SETUP(err)
{
	struct pkvm_opts opts = {
		.ordinary = true, .nr_vcpus = 2, .all_on = true,
		.mem_size = MEM_SIZE, .backing = PKVM_ANON,
	};
	const char *why;

	self->klog = klog_open();
	why = held_setup();
	if (why)
		SKIP(return, "the leak oracle cannot work: %s", why);
	self->swap = true;
	self->vm = pkvm_vm_create(&opts);
	self->vcpu = pkvm_vcpu0(self->vm);
	self->mem = self->vm->mem;
	memset(self->mem, 0x11, MEM_SIZE);
	/* So that the guest's own code and stack are mapped before any test. */
	pkvm_must(self->vcpu, guest_churn, PKVM_MEM_IPA, 8, 0, STOP_IPA);
	pkvm_must(self->vcpu, guest_exec_loop, (uint64_t)guest_nop, 1);
}

FIXTURE_TEARDOWN(err)
{
	const char *bad;

	pkvm_vm_free(self->vm);
	if (self->swap)
		held_cleanup();
	bad = klog_complaint(self->klog);
	EXPECT_EQ(bad, NULL)
		TH_LOG("%s", bad);
}

/* A fault that cannot be served, as the KVM API has it. */
static void expect_memory_fault(struct __test_metadata *_metadata,
				struct pkvm_vcpu *vcpu, int ret, int err,
				uint64_t gpa)
{
	struct kvm_run *run = vcpu->run;

	EXPECT_EQ(ret, -err);
	EXPECT_EQ(run->exit_reason, KVM_EXIT_MEMORY_FAULT);
	EXPECT_EQ(run->memory_fault.gpa, gpa);
	EXPECT_EQ(run->memory_fault.size, PAGE);
	EXPECT_EQ(run->memory_fault.flags, 0);
}

TEST_F_TIMEOUT(err, cap_memory_fault_info, TIMEOUT)
{
	EXPECT_EQ(ioctl(self->vm->fd, KVM_CHECK_EXTENSION,
			KVM_CAP_MEMORY_FAULT_INFO), 1);
	EXPECT_EQ(ioctl(self->vm->kvm_fd, KVM_CHECK_EXTENSION,
			KVM_CAP_MEMORY_FAULT_INFO), 1);
}

/* The oracle of all other cases must see one reference, and only that. */
TEST_F_TIMEOUT(err, o3_sees_one_reference, TIMEOUT)
{
	struct iovec iov = { self->mem + 3 * PAGE, 1 };
	int fds[2];

	pkvm_must(self->vcpu, guest_fill, PKVM_MEM_IPA, MEM_SIZE, 1);
	EXPECT_EQ(held_pages(self->mem, MEM_SIZE), 0);
	EXPECT_EQ(pkvm_must(self->vcpu, guest_verify, PKVM_MEM_IPA, MEM_SIZE, 1), 0);

	ASSERT_EQ(pipe(fds), 0);
	ASSERT_EQ(vmsplice(fds[1], &iov, 1, 0), 1);
	EXPECT_EQ(held_pages(self->mem, MEM_SIZE), 1);
	EXPECT_EQ(pkvm_must(self->vcpu, guest_verify, PKVM_MEM_IPA, MEM_SIZE, 1), 0);
	close(fds[0]);
	close(fds[1]);
	EXPECT_EQ(held_pages(self->mem, MEM_SIZE), 0);
	EXPECT_EQ(pkvm_must(self->vcpu, guest_verify, PKVM_MEM_IPA, MEM_SIZE, 1), 0);
}

/* ------------------------------------------------- memory that is not there */

TEST_F_TIMEOUT(err, no_vma, TIMEOUT)
{
	uint64_t gpa = PKVM_MEM_IPA + 5 * PAGE;
	char *page = self->mem + 5 * PAGE;
	int i, ret;

	pkvm_must(self->vcpu, guest_fill, PKVM_MEM_IPA, MEM_SIZE, 2);
	ASSERT_EQ(munmap(page, PAGE), 0);
	klog_count(self->klog, "");

	ret = pkvm_call(self->vcpu, guest_load, gpa + 8);
	expect_memory_fault(_metadata, self->vcpu, ret, EFAULT, gpa);
	/* As often as the VMM tries, and the log stays silent. */
	for (i = 0; i < 200; i++) {
		ret = pkvm_resume(self->vcpu);
		ASSERT_EQ(ret, -EFAULT);
	}
	expect_memory_fault(_metadata, self->vcpu, ret, EFAULT, gpa);
	EXPECT_LE(klog_count(self->klog, ""), 3);

	ASSERT_EQ(mmap(page, PAGE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0), page);
	((uint64_t *)page)[1] = 0x7e57;
	EXPECT_EQ(pkvm_resume(self->vcpu), PKVM_RETURNED);
	EXPECT_EQ(self->vcpu->ret, 0x7e57);

	/* The same for a store and for a fetch. */
	ASSERT_EQ(munmap(page, PAGE), 0);
	ret = pkvm_call(self->vcpu, guest_store, gpa + 8, 0x5708e);
	expect_memory_fault(_metadata, self->vcpu, ret, EFAULT, gpa);
	ASSERT_EQ(mmap(page, PAGE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0), page);
	EXPECT_EQ(pkvm_resume(self->vcpu), PKVM_RETURNED);
	EXPECT_EQ(((uint64_t *)page)[1], 0x5708e);

	ASSERT_EQ(munmap(page, PAGE), 0);
	ret = pkvm_call(self->vcpu, guest_exec_loop, gpa, 1);
	expect_memory_fault(_metadata, self->vcpu, ret, EFAULT, gpa);
	ASSERT_EQ(mmap(page, PAGE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0), page);
	*(uint32_t *)page = A64_RET;
	EXPECT_EQ(pkvm_resume(self->vcpu), PKVM_RETURNED);
	EXPECT_EQ(self->vcpu->ret, 0);

	EXPECT_EQ(pkvm_must(self->vcpu, guest_verify, PKVM_MEM_IPA, 5 * PAGE, 2), 0);
	EXPECT_EQ(held_pages(self->mem, MEM_SIZE), 0);
}

/* A page that the guest has already, and one that it has not. */
TEST_F_TIMEOUT(err, prot_none, TIMEOUT)
{
	uint64_t gpa = PKVM_MEM_IPA + 6 * PAGE;
	char *page = self->mem + 6 * PAGE;
	int i, ret;

	for (i = 0; i < 3; i++) {
		((uint64_t *)page)[2] = 0xabc + i;
		ASSERT_EQ(mprotect(page, PAGE, PROT_NONE), 0);
		ret = pkvm_call(self->vcpu, guest_load, gpa + 16);
		expect_memory_fault(_metadata, self->vcpu, ret, EFAULT, gpa);
		ASSERT_EQ(mprotect(page, PAGE, PROT_READ | PROT_WRITE), 0);
		EXPECT_EQ(pkvm_resume(self->vcpu), PKVM_RETURNED);
		EXPECT_EQ(self->vcpu->ret, 0xabc + i);
	}
	EXPECT_EQ(held_pages(self->mem, MEM_SIZE), 0);
}

TEST_F_TIMEOUT(err, prot_read, TIMEOUT)
{
	uint64_t gpa = PKVM_MEM_IPA + 7 * PAGE;
	uint64_t *page = (void *)self->mem + 7 * PAGE;
	int i, ret;

	for (i = 0; i < 3; i++) {
		page[1] = 0x60 + i;
		ASSERT_EQ(mprotect(page, PAGE, PROT_READ), 0);
		/* In the last round the page is in stage 2: a permission fault. */
		if (i)
			EXPECT_EQ(pkvm_must(self->vcpu, guest_load, gpa + 8), 0x60 + i);
		ret = pkvm_call(self->vcpu, guest_store, gpa + 8, 0x700 + i);
		expect_memory_fault(_metadata, self->vcpu, ret, EFAULT, gpa);
		EXPECT_EQ(page[1], 0x60 + i);
		ASSERT_EQ(mprotect(page, PAGE, PROT_READ | PROT_WRITE), 0);
		EXPECT_EQ(page[1], 0x60 + i);
		EXPECT_EQ(pkvm_resume(self->vcpu), PKVM_RETURNED);
		EXPECT_EQ(page[1], 0x700 + i);
	}
	EXPECT_EQ(held_pages(self->mem, MEM_SIZE), 0);
}

/* As on the base: loads are served, a store is the VMM's to emulate. */
TEST_F_TIMEOUT(err, readonly_slot, TIMEOUT)
{
	struct kvm_run *run = self->vcpu->run;
	uint64_t *mem, val;
	int i;

	mem = mmap(NULL, SZ_64K, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(mem, MAP_FAILED);
	memset(mem, 0x22, SZ_64K);
	ASSERT_EQ(pkvm_set_slot(self->vm, SLOT2, PKVM_MEM2_IPA, SZ_64K, mem,
				KVM_MEM_READONLY), 0);
	for (i = 0; i < 2; i++) {
		/* Before the page is in stage 2, and after. */
		EXPECT_EQ(pkvm_call(self->vcpu, guest_store,
				    PKVM_MEM2_IPA + PAGE + 8, 0x3333), PKVM_EXIT);
		ASSERT_EQ(run->exit_reason, KVM_EXIT_MMIO);
		EXPECT_EQ(run->mmio.phys_addr, PKVM_MEM2_IPA + PAGE + 8);
		EXPECT_EQ(run->mmio.is_write, 1);
		EXPECT_EQ(run->mmio.len, 8);
		memcpy(&val, run->mmio.data, 8);
		EXPECT_EQ(val, 0x3333);
		EXPECT_EQ(pkvm_resume(self->vcpu), PKVM_RETURNED);
		EXPECT_EQ(pkvm_must(self->vcpu, guest_load, PKVM_MEM2_IPA + PAGE + 8),
			  0x2222222222222222UL);
	}
	mem[1024] = 0x55;
	EXPECT_EQ(pkvm_must(self->vcpu, guest_load, PKVM_MEM2_IPA + 2 * PAGE), 0x55);
	EXPECT_EQ(held_pages(mem, SZ_64K), 0);
}

/* ------------------------------------------------------------ dirty logging */

TEST_F_TIMEOUT(err, dirty_log_is_exact, TIMEOUT)
{
	size_t nr = SZ_256K / PAGE, i, round;
	uint64_t bitmap[SZ_256K / SZ_4K / 64];
	struct kvm_dirty_log log = { .slot = SLOT2, .dirty_bitmap = bitmap };
	char *mem;

	mem = mmap(NULL, SZ_256K, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(mem, MAP_FAILED);
	ASSERT_EQ(pkvm_set_slot(self->vm, SLOT2, PKVM_MEM2_IPA, SZ_256K, mem,
				KVM_MEM_LOG_DIRTY_PAGES), 0);
	for (round = 0; round < 4; round++) {
		memset(mem, round, SZ_256K);
		/* Every third page is written, every fifth is read. */
		for (i = 0; i < nr; i++) {
			uint64_t ipa = PKVM_MEM2_IPA + i * PAGE + 8 * round;

			if (i % 5 == 0)
				pkvm_must(self->vcpu, guest_load, ipa);
			if (i % 3 == round % 3)
				pkvm_must(self->vcpu, guest_store, ipa, i);
			if (i % 5 == 1)
				pkvm_must(self->vcpu, guest_load, ipa);
		}
		/* Not without the page-outs that the oracle does. */
		if (round == 2)
			EXPECT_EQ(held_pages(mem, SZ_256K), 0);
		memset(bitmap, 0xff, sizeof(bitmap));
		ASSERT_EQ(ioctl(self->vm->fd, KVM_GET_DIRTY_LOG, &log), 0);
		for (i = 0; i < nr; i++) {
			bool set = bitmap[i / 64] >> (i % 64) & 1;

			EXPECT_EQ(set, i % 3 == round % 3)
				TH_LOG("round %zu, page %zu", round, i);
		}
	}
	EXPECT_EQ(held_pages(mem, SZ_256K), 0);
}

TEST_F_TIMEOUT(err, dirty_log_switched_while_faulting, TIMEOUT)
{
	uint64_t bitmap[SZ_256K / SZ_4K / 64];
	struct kvm_dirty_log log = { .slot = SLOT2, .dirty_bitmap = bitmap };
	struct pkvm_thread t;
	int round;
	char *mem;

	mem = mmap(NULL, SZ_256K, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(mem, MAP_FAILED);
	memset(mem, 0, SZ_256K);
	ASSERT_EQ(pkvm_set_slot(self->vm, SLOT2, PKVM_MEM2_IPA, SZ_256K, mem, 0), 0);
	set_stop(self->vm, 0);
	pkvm_thread_start(&t, self->vcpu, guest_churn, PKVM_MEM2_IPA, SZ_256K, 5,
			  STOP_IPA);
	for (round = 0; round < 100; round++) {
		ASSERT_EQ(pkvm_set_slot(self->vm, SLOT2, PKVM_MEM2_IPA, SZ_256K, mem,
					round & 1 ? 0 : KVM_MEM_LOG_DIRTY_PAGES), 0);
		if (!(round & 1))
			ASSERT_EQ(ioctl(self->vm->fd, KVM_GET_DIRTY_LOG, &log), 0);
		usleep(1000);
	}
	EXPECT_FALSE(READ_ONCE(t.done));
	set_stop(self->vm, 1);
	EXPECT_EQ(pkvm_thread_join(&t), PKVM_RETURNED);
	EXPECT_EQ(self->vcpu->ret, 0);
	EXPECT_EQ(held_pages(mem, SZ_256K), 0);
}

/* -------------------------------------------------------- invalidation storm */

/*
 * The host invalidates the guest's own pages, contents and all kept, and some that
 * are none of its business: every lookup may be overtaken (-EAGAIN) at any point.
 */
TEST_F_TIMEOUT(err, invalidation_storm, TIMEOUT)
{
	char *other = self->mem + SZ_512K;
	struct pkvm_thread t[2];
	uint64_t seed;
	int i;

	start_vcpu1(self->vm);
	set_stop(self->vm, 0);
	for (i = 0; i < 2; i++)
		pkvm_thread_start(&t[i], &self->vm->vcpus[i], guest_churn,
				  PKVM_MEM_IPA + i * SZ_128K, SZ_128K, i << 16,
				  STOP_IPA);
	for (i = 0; i < 2000; i++) {
		int prot = PROT_READ | PROT_WRITE | (i & 1 ? PROT_EXEC : 0);

		ASSERT_EQ(mprotect(self->mem, SZ_256K, prot), 0);
		ASSERT_EQ(madvise(other, SZ_64K, MADV_DONTNEED), 0);
		WRITE_ONCE(*other, 1);
		/* Sometimes let them come to the end of a round. */
		if (i % 50 == 0)
			usleep(2000);
	}
	set_stop(self->vm, 1);
	for (i = 0; i < 2; i++) {
		EXPECT_EQ(pkvm_thread_join(&t[i]), PKVM_RETURNED);
		EXPECT_EQ(self->vm->vcpus[i].ret, 0);
		seed = self->vm->vcpus[i].out[0];
		EXPECT_EQ(pkvm_must(self->vcpu, guest_verify, PKVM_MEM_IPA + i * SZ_128K,
				    SZ_128K, seed), 0);
	}
	EXPECT_EQ(held_pages(self->mem, MEM_SIZE), 0);
}

/* ----------------------------------------- a block that became pages meanwhile */

#define THP_SYS		"/sys/kernel/mm/transparent_hugepage/"

/* A call on a CPU of its own. */
struct far_call {
	pthread_t tid;
	struct pkvm_vcpu *vcpu;
	int cpu;
	uint64_t gpa;
	uint64_t val;
	int ret;
};

static void move_to(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	TEST_ASSERT(!sched_setaffinity(0, sizeof(set), &set), "no CPU %d", cpu);
}

static void *far_store(void *arg)
{
	struct far_call *call = arg;

	move_to(call->cpu);
	call->ret = pkvm_call(call->vcpu, guest_store, call->gpa, call->val);
	return NULL;
}

/* A child that ends well if it sees this value there when it is asked. */
static pid_t watch_word(const uint64_t *word, uint64_t val, int *ask)
{
	int fds[2];
	pid_t pid;
	char c;

	TEST_ASSERT(!pipe(fds), "pipe: %s", strerror(errno));
	pid = fork();
	TEST_ASSERT(pid >= 0, "fork: %s", strerror(errno));
	if (!pid) {
		close(fds[1]);
		_exit(read(fds[0], &c, 1) != 1 || READ_ONCE(*word) != val);
	}
	close(fds[0]);
	*ask = fds[1];
	return pid;
}

/*
 * vCPU 1 faults by a store into a block that the guest has only to read. Before the
 * fault gets to the look-up, a store of vCPU 0 to the same page makes the host split
 * the block: vCPU 1 may write to this page then, and not to the first one of what was
 * the block, which is the host's page of zeroes or one that a child has, too.
 */
static void split_test(struct __test_metadata *_metadata, struct pkvm_vm *vm, bool zeroes)
{
	static const uint64_t magic = 0x5ec2e7;
	struct far_call call = { .vcpu = &vm->vcpus[1], .val = 0x1111 };
	long block = read_number(THP_SYS "hpage_pmd_size");
	struct pkvm_vcpu *vcpu = pkvm_vcpu0(vm);
	/* The last word of a page, which nobody else looks at. */
	size_t word = PAGE - sizeof(uint64_t), i;
	int cpu = -1, ask, fd, status;
	uint64_t *zero, *head, pfn;
	const char *why;
	cpu_set_t set;
	char *mem;
	pid_t pid;

	why = ktp_unavailable();
	if (why)
		SKIP(return, "%s", why);
	fd = open(KTP_DEVICE, O_RDWR | O_CLOEXEC);
	ASSERT_GE(fd, 0);
	if (block <= 0 || (zeroes && read_number(THP_SYS "use_zero_page") != 1))
		SKIP(return, "no huge pages, or no huge page of zeroes");
	ASSERT_EQ(sched_getaffinity(0, sizeof(set), &set), 0);
	if (CPU_COUNT(&set) < 2)
		SKIP(return, "a vCPU that waits needs a CPU of its own");
	for (i = 0; i < CPU_SETSIZE; i++) {
		if (!CPU_ISSET(i, &set))
			continue;
		if (cpu >= 0)
			break;
		cpu = i;
	}
	call.cpu = i;
	move_to(cpu);

	mem = mmap(NULL, 2 * block, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(mem, MAP_FAILED);
	mem = (char *)(((uintptr_t)mem + block - 1) & ~(block - 1UL));
	ASSERT_EQ(madvise(mem, block, MADV_HUGEPAGE), 0);
	zero = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(zero, MAP_FAILED);
	ASSERT_EQ(madvise(zero, PAGE, MADV_NOHUGEPAGE), 0);
	head = (void *)mem + word;
	if (!zeroes)
		memset(mem, 0x33, block);
	pid = zeroes ? watch_word((void *)zero + word, 0, &ask) :
		       watch_word(head, *head, &ask);
	ASSERT_EQ(pkvm_set_slot(vm, SLOT2, PKVM_MEM2_IPA, block, mem, 0), 0);
	start_vcpu1(vm);
	pkvm_must(call.vcpu, guest_nop);

	call.gpa = PKVM_MEM2_IPA + 5 * PAGE;
	pkvm_must(vcpu, guest_load, call.gpa);
	pfn = pfn_of(mem);
	if (pfn % (block / PAGE) || pfn_of(mem + block - PAGE) != pfn + block / PAGE - 1)
		SKIP(return, "no huge page to be had");
	if (!ktp_stall(fd, call.vcpu->fd, call.gpa))
		SKIP(return, "no tracepoint kvm_guest_fault");
	ASSERT_EQ(pthread_create(&call.tid, NULL, far_store, &call), 0);
	/* It was a block for the guest, too. */
	EXPECT_EQ(ktp_stalled(fd) & ESR_FSC, FSC_PERM_L2);

	pkvm_must(vcpu, guest_store, call.gpa + 8, 0x2222);
	pkvm_must(vcpu, guest_load, PKVM_MEM2_IPA);
	(void)READ_ONCE(*zero);
	pfn = pfn_of(zeroes ? (char *)zero : mem);
	EXPECT_NE(pfn, 0);
	EXPECT_EQ(pfn_of(mem), pfn);
	ktp_go(fd);
	pthread_join(call.tid, NULL);
	EXPECT_EQ(call.ret, PKVM_RETURNED);
	EXPECT_EQ(pfn_of(mem), pfn);

	pkvm_must(vcpu, guest_store, PKVM_MEM2_IPA + word, magic);
	EXPECT_EQ(write(ask, "", 1), 1);
	EXPECT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_EQ(status, 0)
		TH_LOG("the guest writes to %s", zeroes ? "the page of zeroes" :
		       "the page of another process");
	/* Of its own, since it is written. */
	EXPECT_NE(pfn_of(mem), pfn);
	EXPECT_EQ(READ_ONCE(*head), magic);
	/* Where it should not have been, it must not stay. */
	pkvm_must(vcpu, guest_store, PKVM_MEM2_IPA + word, 0);
	EXPECT_EQ(*(uint64_t *)(mem + 5 * PAGE), call.val);
	EXPECT_EQ(((uint64_t *)(mem + 5 * PAGE))[1], 0x2222);
	close(ask);
	close(fd);
	ASSERT_EQ(pkvm_set_slot(vm, SLOT2, PKVM_MEM2_IPA, 0, NULL, 0), 0);
}

TEST_F_TIMEOUT(err, block_of_zeroes_split_before_the_lookup, TIMEOUT)
{
	split_test(_metadata, self->vm, true);
}

TEST_F_TIMEOUT(err, shared_block_split_before_the_lookup, TIMEOUT)
{
	split_test(_metadata, self->vm, false);
}

/* --------------------------------------------------------- hardware poison */

static int bus_count, bus_code, bus_lsb;
static uintptr_t bus_addr;

static void bus_handler(int sig, siginfo_t *info, void *ctx)
{
	WRITE_ONCE(bus_code, info->si_code);
	WRITE_ONCE(bus_addr, (uintptr_t)info->si_addr);
	WRITE_ONCE(bus_lsb, info->si_addr_lsb);
	WRITE_ONCE(bus_count, bus_count + 1);
}

static void heal(uint64_t pfn)
{
	char text[32];

	/* Only a courtesy: else the machine has a page less until it reboots. */
	snprintf(text, sizeof(text), "%#lx", pfn);
	write_text("/sys/kernel/debug/hwpoison/unpoison-pfn", text);
}

enum sigbus { HANDLED, BLOCKED, IGNORED };

static void poison_test(struct __test_metadata *_metadata, struct pkvm_vcpu *vcpu,
			char *page, uint64_t gpa, bool write, enum sigbus how)
{
	struct sigaction sa = { .sa_sigaction = bus_handler, .sa_flags = SA_SIGINFO };
	sigset_t set;
	uint64_t pfn;
	int ret;

	/* The guest has it when it is poisoned. */
	pkvm_must(vcpu, guest_store, gpa, 0x900d);
	WRITE_ONCE(*(uint64_t *)page, 0x900d);
	pfn = pfn_of(page);
	ASSERT_NE(pfn, 0);
	/* madvise() sends a SIGBUS too, and one that cannot be blocked. */
	ASSERT_EQ(sigaction(SIGBUS, &sa, NULL), 0);
	if (madvise(page, PAGE, MADV_HWPOISON))
		SKIP(return, "MADV_HWPOISON: %s", strerror(errno));

	sigemptyset(&set);
	sigaddset(&set, SIGBUS);
	if (how == BLOCKED)
		ASSERT_EQ(pthread_sigmask(SIG_BLOCK, &set, NULL), 0);
	if (how == IGNORED)
		ASSERT_NE(signal(SIGBUS, SIG_IGN), SIG_ERR);
	WRITE_ONCE(bus_count, 0);
	/* In a thread: a kernel that does not stop must not take us along. */
	if (write)
		ret = pkvm_call_timeout(vcpu, 3000, guest_store, gpa + 8, 0x1234);
	else
		ret = pkvm_call_timeout(vcpu, 3000, guest_load, gpa + 8);
	if (how != HANDLED) {
		EXPECT_EQ(READ_ONCE(bus_count), 0);
		expect_memory_fault(_metadata, vcpu, ret, EHWPOISON, gpa);
	} else {
		EXPECT_EQ(ret, -EINTR);
		EXPECT_GE(READ_ONCE(bus_count), 1);
		EXPECT_EQ(READ_ONCE(bus_code), BUS_MCEERR_AR);
		EXPECT_EQ(READ_ONCE(bus_addr) & ~(PAGE - 1), (uintptr_t)page);
		EXPECT_EQ(READ_ONCE(bus_lsb), 12);
	}

	/* The VMM puts another page there, and the guest goes on. */
	ASSERT_EQ(mmap(page, PAGE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0), page);
	((uint64_t *)page)[1] = 0x4321;
	EXPECT_EQ(pkvm_resume_timeout(vcpu, 3000), PKVM_RETURNED);
	EXPECT_EQ(write ? ((uint64_t *)page)[1] : vcpu->ret, write ? 0x1234 : 0x4321);
	heal(pfn);
	signal(SIGBUS, SIG_IGN);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

/* The thread that runs the vCPU gets the signal. */
TEST_F_TIMEOUT(err, hwpoison_is_sigbus, TIMEOUT)
{
	int i;

	for (i = 0; i < 2; i++)
		poison_test(_metadata, self->vcpu, self->mem + (9 + i) * PAGE,
			    PKVM_MEM_IPA + (9 + i) * PAGE, i, HANDLED);
	EXPECT_EQ(held_pages(self->mem, MEM_SIZE), 0);
}

/* Nobody hears the signal, so KVM_RUN says it, and does not loop for ever. */
TEST_F_TIMEOUT(err, hwpoison_sigbus_blocked, TIMEOUT)
{
	int i;

	for (i = 0; i < 2; i++)
		poison_test(_metadata, self->vcpu, self->mem + (11 + i) * PAGE,
			    PKVM_MEM_IPA + (11 + i) * PAGE, i, BLOCKED);
	EXPECT_EQ(held_pages(self->mem, MEM_SIZE), 0);
}

TEST_F_TIMEOUT(err, hwpoison_sigbus_ignored, TIMEOUT)
{
	int i;

	for (i = 0; i < 2; i++)
		poison_test(_metadata, self->vcpu, self->mem + (13 + i) * PAGE,
			    PKVM_MEM_IPA + (13 + i) * PAGE, i, IGNORED);
	EXPECT_EQ(held_pages(self->mem, MEM_SIZE), 0);
}

/* ---------------------------------------------------------- signal pending */

static int uffd_open(void *mem, size_t size)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = {
		.range = { (uintptr_t)mem, size },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	int fd = syscall(__NR_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	if (fd < 0)
		return -1;
	TEST_ASSERT(!ioctl(fd, UFFDIO_API, &api), "UFFDIO_API failed");
	TEST_ASSERT(!ioctl(fd, UFFDIO_REGISTER, &reg), "UFFDIO_REGISTER failed");
	return fd;
}

/* A page that never comes must not make the vCPU's thread deaf. */
TEST_F_TIMEOUT(err, signal_during_userfault, TIMEOUT)
{
	static const uint64_t seen = 0x5ee2;
	struct uffd_msg msg;
	struct pkvm_thread t;
	uint64_t *src;
	int uffd, i, ms, ret;
	char *mem;

	mem = mmap(NULL, SZ_64K, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(mem, MAP_FAILED);
	src = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(src, MAP_FAILED);
	uffd = uffd_open(mem, SZ_64K);
	if (uffd < 0)
		SKIP(return, "no userfaultfd: %s", strerror(errno));
	ASSERT_EQ(pkvm_set_slot(self->vm, SLOT2, PKVM_MEM2_IPA, SZ_64K, mem, 0), 0);

	for (i = 0; i < 4; i++) {
		uint64_t ipa = PKVM_MEM2_IPA + i * PAGE;
		struct pollfd pfd = { .fd = uffd, .events = POLLIN };
		struct uffdio_copy copy = {
			.dst = (uintptr_t)mem + i * PAGE,
			.src = (uintptr_t)src,
			.len = PAGE,
		};

		if (i & 1)
			pkvm_thread_start(&t, self->vcpu, guest_store, ipa + 8, 0x9999);
		else
			pkvm_thread_start(&t, self->vcpu, guest_load, ipa);
		ASSERT_EQ(poll(&pfd, 1, 10000), 1);
		ASSERT_EQ(read(uffd, &msg, sizeof(msg)), sizeof(msg));
		EXPECT_EQ(msg.arg.pagefault.address & ~(PAGE - 1), copy.dst);
		usleep(10000);
		EXPECT_FALSE(READ_ONCE(t.done));

		for (ms = 0; ms < 3000 && !READ_ONCE(t.done); ms += 10) {
			pthread_kill(t.tid, SIGUSR1);
			usleep(10000);
		}
		EXPECT_TRUE(READ_ONCE(t.done))
			TH_LOG("the vCPU did not hear the signal");
		src[0] = seen + i;
		ASSERT_EQ(ioctl(uffd, UFFDIO_COPY, &copy), 0);
		ret = pkvm_thread_join(&t);
		EXPECT_EQ(ret, -EINTR);
		EXPECT_EQ(self->vcpu->run->exit_reason, KVM_EXIT_INTR);
		if (ret != -EINTR)
			continue;

		EXPECT_EQ(pkvm_resume_timeout(self->vcpu, 5000), PKVM_RETURNED);
		EXPECT_EQ(*(uint64_t *)(mem + i * PAGE), seen + i);
		EXPECT_EQ(i & 1 ? ((uint64_t *)(mem + i * PAGE))[1] : self->vcpu->ret,
			  i & 1 ? 0x9999 : seen + i);
	}
	close(uffd);
	EXPECT_EQ(held_pages(mem, 4 * PAGE), 0);
}

/* ---------------------------------------------------------- out of memory */

static bool fault_injection_on(void)
{
	static const struct { const char *file, *value; } set[] = {
		{ "failslab/ignore-gfp-wait", "N" },
		{ "failslab/verbose", "0" },
		{ "fail_page_alloc/ignore-gfp-wait", "N" },
		{ "fail_page_alloc/ignore-gfp-highmem", "N" },
		{ "fail_page_alloc/min-order", "0" },
		{ "fail_page_alloc/verbose", "0" },
	};
	char path[128];
	int i;

	for (i = 0; i < ARRAY_SIZE(set); i++) {
		snprintf(path, sizeof(path), "/sys/kernel/debug/%s", set[i].file);
		if (!write_text(path, set[i].value))
			return false;
	}
	return true;
}

/* Where copies to and from user space fail too, the failure may be this one. */
static void fail_nth_set(int fd, int n)
{
	char text[16];
	int len = snprintf(text, sizeof(text), "%d", n), ret;

	do {
		ret = pwrite(fd, text, len, 0);
	} while (ret < 0 && errno == EFAULT);
	TEST_ASSERT(ret == len, "cannot set fail-nth");
}

/* Allocations until the one that fails; 0 if it has failed. */
static int fail_nth_left(int fd)
{
	char text[16] = "";
	int ret = pread(fd, text, sizeof(text) - 1, 0);

	if (ret < 0 && errno == EFAULT)
		return 1;
	TEST_ASSERT(ret > 0, "cannot read fail-nth");
	return atoi(text);
}

/*
 * Each allocation below a guest fault fails once: the first, the second, and so
 * on until there is none left to fail. Touches of new 2M regions each take a page
 * of stage-2 tables from the vCPU's cache, so that some of them must fill it up.
 */
TEST_F_TIMEOUT(err, each_allocation_fails, TIMEOUT)
{
	enum { TOUCHES = 64 };
	size_t size = TOUCHES * (size_t)SZ_2M;
	int nth, touch, failed = 0, enomem = 0, efault = 0, other = 0, fd, ret, left;
	bool hit = true;
	char *mem;

	fd = open("/proc/thread-self/fail-nth", O_RDWR);
	if (fd < 0 || !fault_injection_on())
		SKIP(return, "no CONFIG_FAILSLAB, CONFIG_FAIL_PAGE_ALLOC or debugfs");
	mem = mmap(NULL, size, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	ASSERT_NE(mem, MAP_FAILED);
	madvise(mem, size, MADV_NOHUGEPAGE);

	for (nth = 1; hit && nth < 500; nth++) {
		/* A new slot: all of its stage-2 tables are gone. */
		if (nth > 1)
			ASSERT_EQ(pkvm_set_slot(self->vm, SLOT2, PKVM_MEM2_IPA, 0, mem, 0), 0);
		ASSERT_EQ(madvise(mem, size, MADV_DONTNEED), 0);
		ASSERT_EQ(pkvm_set_slot(self->vm, SLOT2, PKVM_MEM2_IPA, size, mem, 0), 0);
		hit = false;
		for (touch = 0; touch < TOUCHES; touch++) {
			uint64_t gpa = PKVM_MEM2_IPA + touch * (uint64_t)SZ_2M;
			uint64_t *page = (void *)mem + touch * (size_t)SZ_2M;
			uint64_t val = nth << 16 | touch;

			fail_nth_set(fd, nth);
			ret = pkvm_call(self->vcpu, guest_store, gpa, val);
			left = fail_nth_left(fd);
			fail_nth_set(fd, 0);
			if (!left) {
				hit = true;
				failed++;
			}
			if (ret != PKVM_RETURNED) {
				ASSERT_EQ(left, 0);
				ASSERT_TRUE(ret == -ENOMEM || ret == -EFAULT)
					TH_LOG("allocation %d, touch %d: %d", nth, touch, ret);
				expect_memory_fault(_metadata, self->vcpu, ret, -ret, gpa);
				enomem += ret == -ENOMEM;
				efault += ret == -EFAULT;
				ASSERT_EQ(pkvm_resume(self->vcpu), PKVM_RETURNED);
			} else {
				other += !left;
			}
			ASSERT_EQ(page[0], val);
			if (hit && touch >= 40)
				break;
		}
		for (touch--; touch >= 0; touch--)
			ASSERT_EQ(held_pages(mem + touch * (size_t)SZ_2M, PAGE), 0);
	}
	printf("# up to %d allocations in a fault, %d failed:", nth - 2, failed);
	printf(" %d ENOMEM, %d EFAULT, %d without effect\n", enomem, efault, other);
	EXPECT_FALSE(hit);
	/* The guest's page and one of a table at least. */
	EXPECT_GE(nth - 2, 2);
	EXPECT_GE(enomem, 2);
	/* Out of memory is the cause, so it is what the VMM hears. */
	EXPECT_EQ(efault, 0);
	close(fd);
}

struct zapper {
	pthread_t tid;
	char *mem;
	size_t size;
	bool stop;
};

static void *zap(void *arg)
{
	struct zapper *z = arg;

	while (!READ_ONCE(z->stop))
		TEST_ASSERT(!madvise(z->mem, z->size, MADV_DONTNEED), "MADV_DONTNEED failed");
	return NULL;
}

/*
 * The same of the first KVM_RUN, which makes the VM for EL2. What it has made is undone
 * when it cannot go on, while the VMM takes memory away from the guest: who does that
 * must not find a VM that is not there yet, or not any more.
 */
TEST_F_TIMEOUT(err, i5_each_allocation_of_the_first_run_fails, TIMEOUT)
{
	struct pkvm_opts opts = {
		.ordinary = true, .nr_vcpus = 2, .no_gic = true, .mem_size = SZ_64K,
		.backing = PKVM_ANON,
	};
	int fd, first, nth, ret, left = 0, failed = 0;
	struct pkvm_vm *vm;
	struct zapper z;

	fd = open("/proc/thread-self/fail-nth", O_RDWR);
	if (fd < 0 || !fault_injection_on())
		SKIP(return, "no CONFIG_FAILSLAB, CONFIG_FAIL_PAGE_ALLOC or debugfs");
	for (first = 1; !left && first < 100; first++) {
		vm = pkvm_vm_create(&opts);
		z = (struct zapper) { .mem = vm->mem, .size = vm->mem_size };
		ASSERT_EQ(pthread_create(&z.tid, NULL, zap, &z), 0);
		/* Until it is no loss: then the VM is there. */
		for (nth = first, ret = -ENOMEM; ret != PKVM_RETURNED && nth < 200; nth++) {
			fail_nth_set(fd, nth);
			ret = nth > first ? pkvm_resume(pkvm_vcpu0(vm)) :
					    pkvm_call(pkvm_vcpu0(vm), guest_nop);
			left = fail_nth_left(fd);
			fail_nth_set(fd, 0);
			failed += ret != PKVM_RETURNED;
			if (ret != PKVM_RETURNED)
				ASSERT_TRUE(!left && (ret == -ENOMEM || ret == -EFAULT))
					TH_LOG("allocation %d: %d", nth, ret);
		}
		WRITE_ONCE(z.stop, true);
		pthread_join(z.tid, NULL);
		ASSERT_EQ(ret, PKVM_RETURNED);
		pkvm_must(pkvm_vcpu0(vm), guest_fill, PKVM_MEM_IPA, SZ_8K, first);
		EXPECT_EQ(pkvm_must(pkvm_vcpu0(vm), guest_verify, PKVM_MEM_IPA, SZ_8K, first), 0);
		pkvm_vm_free(vm);
		/* All of them were tried, if the last one was not. */
		left = nth == first + 1 ? left : 0;
	}
	printf("# %d VMs, %d runs failed\n", first - 1, failed);
	EXPECT_NE(left, 0);
	/* In protected mode EL2's own, of the VM and of each vCPU. */
	EXPECT_GE(failed, pkvm_protected_mode() ? 8 : 1);
	close(fd);
}

/* ----------------------------------------------------------------- hugetlb */

#define HUGE_SYS	"/sys/kernel/mm/hugepages/hugepages-2048kB/"

TEST_F_TIMEOUT(err, hugetlb_comes_back, TIMEOUT)
{
	long before;
	char *mem;
	int ret, i;

	if (!write_text(HUGE_SYS "nr_hugepages", "2") ||
	    read_number(HUGE_SYS "nr_hugepages") < 2)
		SKIP(return, "no two hugetlb pages of 2M to be had");
	before = read_number(HUGE_SYS "free_hugepages");
	for (i = 0; i < 3; i++) {
		char *res = mmap(NULL, 4 * SZ_2M, PROT_NONE,
				 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		ASSERT_NE(res, MAP_FAILED);
		/* Aligned as the guest's address is, or KVM uses single pages. */
		mem = (char *)(((uintptr_t)res + SZ_2M - 1) & ~(SZ_2M - 1UL));
		ASSERT_EQ(mmap(mem, SZ_2M, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_FIXED,
			       -1, 0), mem);
		ASSERT_EQ(pkvm_set_slot(self->vm, SLOT2, PKVM_MEM2_IPA, SZ_2M, mem, 0), 0);
		if (i != 1)
			pkvm_must(self->vcpu, guest_fill, PKVM_MEM2_IPA, SZ_64K, i);
		else
			mem[PAGE] = 1;
		EXPECT_EQ(read_number(HUGE_SYS "free_hugepages"), before - 1);
		/* A store that fails, by a translation or a permission fault. */
		ASSERT_EQ(mprotect(mem, SZ_2M, PROT_READ), 0);
		if (i == 2)
			pkvm_must(self->vcpu, guest_load, PKVM_MEM2_IPA + PAGE);
		ret = pkvm_call(self->vcpu, guest_store, PKVM_MEM2_IPA + PAGE, 1);
		EXPECT_EQ(ret, -EFAULT);
		EXPECT_EQ(self->vcpu->run->exit_reason, KVM_EXIT_MEMORY_FAULT);
		ASSERT_EQ(mprotect(mem, SZ_2M, PROT_READ | PROT_WRITE), 0);
		EXPECT_EQ(pkvm_resume(self->vcpu), PKVM_RETURNED);
		EXPECT_EQ(*(uint64_t *)(mem + PAGE), 1);
		ASSERT_EQ(munmap(res, 4 * SZ_2M), 0);
		/* The slot is still there: only the guest's mapping was. */
		EXPECT_EQ(read_number(HUGE_SYS "free_hugepages"), before);
		ASSERT_EQ(pkvm_set_slot(self->vm, SLOT2, PKVM_MEM2_IPA, 0, NULL, 0), 0);
	}
	write_text(HUGE_SYS "nr_hugepages", "0");
}

/* ------------------------------------- memory that nothing is fetched from */

#define EXEC_ROUNDS		10000

FIXTURE(exec) {
	struct pkvm_vm *vm;
	struct pkvm_vcpu *vcpu;
	int klog;
};

FIXTURE_VARIANT(exec) {
	int kind, nr, order, flags;
};

FIXTURE_VARIANT_ADD(exec, device_ram) {
	.kind = KTP_PFN, .nr = 8, .order = 3, .flags = KTP_DEV
};

FIXTURE_VARIANT_ADD(exec, device_single) {
	.kind = KTP_SINGLE, .nr = 8, .flags = KTP_DEV
};

FIXTURE_VARIANT_ADD(exec, wc_ram) {
	.kind = KTP_PFN, .nr = 8, .order = 3, .flags = KTP_WC
};

FIXTURE_VARIANT_ADD(exec, hidden_ram) { .kind = KTP_HIDDEN, .nr = 8 };
FIXTURE_VARIANT_ADD(exec, device) { .kind = KTP_MMIO, .nr = 1 };

FIXTURE_SETUP(exec)
{
	struct pkvm_opts opts = { .ordinary = true };
	const char *why = ktp_unavailable();

	self->klog = klog_open();
	if (why)
		SKIP(return, "%s", why);
	self->vm = pkvm_vm_create(&opts);
	self->vcpu = pkvm_vcpu0(self->vm);
	pkvm_must(self->vcpu, guest_exec_loop, (uint64_t)guest_nop, 1);
}

FIXTURE_TEARDOWN(exec)
{
	const char *bad;

	pkvm_vm_free(self->vm);
	bad = klog_complaint(self->klog);
	EXPECT_EQ(bad, NULL)
		TH_LOG("%s", bad);
}

/* The guest gets an abort each time, and the pages' counts stay as they are. */
TEST_F_TIMEOUT(exec, aborts_and_holds_nothing, TIMEOUT)
{
	struct ktp_page before[8], after[8];
	size_t size = variant->nr * PAGE, i;
	uint64_t esr;
	char *mem;
	int fd;

	fd = ktp_create(variant->kind, variant->nr, variant->order, variant->flags);
	if (fd == -ENODEV)
		SKIP(return, "none here: it needs RAM that mem= hides");
	ASSERT_GE(fd, 0);
	mem = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(mem, MAP_FAILED);
	for (i = 0; i < variant->nr && variant->kind != KTP_MMIO; i++)
		WRITE_ONCE(*(uint32_t *)(mem + i * PAGE), A64_RET);
	(void)READ_ONCE(*(uint32_t *)mem);
	ktp_snapshot(fd, 0, variant->nr, before);
	ASSERT_EQ(pkvm_set_slot(self->vm, SLOT2, PKVM_MEM2_IPA, size, mem, 0), 0);
	for (i = 0; i < variant->nr; i++) {
		uint64_t gpa = PKVM_MEM2_IPA + i * PAGE;

		/* The second page is mapped for loads already. */
		if (i == 1)
			EXPECT_EQ(pkvm_must(self->vcpu, guest_try_load, gpa), 0);
		EXPECT_EQ(pkvm_must(self->vcpu, guest_exec_loop, gpa,
				    EXEC_ROUNDS / variant->nr),
			  EXEC_ROUNDS / variant->nr);
		esr = self->vcpu->out[1];
		EXPECT_EQ((esr >> ESR_EC_SHIFT) & ESR_EC_MASK, ESR_EC_IABT);
		EXPECT_EQ(esr & ESR_FSC, FSC_EXTABT);
		EXPECT_EQ(self->vcpu->out[3], gpa);
	}
	ktp_snapshot(fd, 0, variant->nr, after);
	EXPECT_EQ(ktp_pages_differ(before, after, variant->nr), NULL)
		TH_LOG("%s", ktp_pages_differ(before, after, variant->nr));
	ASSERT_EQ(munmap(mem, size), 0);
	close(fd);
}

/* ------------------------------------------------- T11: pages of ZONE_DEVICE */

#define PMEM_DEV	"/dev/pmem0"
#define PMEM_LABEL	"kvm-selftest"
#define EXT4_LABEL	(1024 + 120)

static void alarm_handler(int sig)
{
}

/* Does the file system get the blocks of the file back? It waits for the pages. */
static bool dax_comes_back(int fd, int seconds)
{
	struct sigaction sa = { .sa_handler = alarm_handler };
	int ret;

	/* Without SA_RESTART, so that the wait ends. */
	sigaction(SIGALRM, &sa, NULL);
	alarm(seconds);
	ret = ftruncate(fd, 0);
	alarm(0);
	return !ret;
}

FIXTURE(dax) {
	struct pkvm_vm *vm;
	struct pkvm_vcpu *vcpu;
	char dir[32];
	char file[64];
	int klog;
	bool mounted;
};

FIXTURE_SETUP(dax)
{
	struct pkvm_opts opts = { .ordinary = true };
	char label[16] = "";
	int fd = open(PMEM_DEV, O_RDONLY | O_CLOEXEC);

	self->klog = klog_open();
	if (fd < 0)
		SKIP(return, "no " PMEM_DEV " (tools/qemu/boot --pmem, CONFIG_OF_PMEM)");
	ASSERT_EQ(pread(fd, label, sizeof(label), EXT4_LABEL), sizeof(label));
	close(fd);
	if (strncmp(label, PMEM_LABEL, sizeof(label)))
		SKIP(return, PMEM_DEV " is not named " PMEM_LABEL ": not ours");
	snprintf(self->dir, sizeof(self->dir), "/tmp/dax.XXXXXX");
	ASSERT_NE(mkdtemp(self->dir), NULL);
	if (mount(PMEM_DEV, self->dir, "ext4", 0, "dax=always")) {
		rmdir(self->dir);
		SKIP(return, "cannot mount " PMEM_DEV " with DAX: %s", strerror(errno));
	}
	self->mounted = true;
	snprintf(self->file, sizeof(self->file), "%s/file", self->dir);
	self->vm = pkvm_vm_create(&opts);
	self->vcpu = pkvm_vcpu0(self->vm);
	pkvm_must(self->vcpu, guest_exec_loop, (uint64_t)guest_nop, 1);
}

FIXTURE_TEARDOWN(dax)
{
	const char *bad;

	pkvm_vm_free(self->vm);
	if (self->mounted) {
		unlink(self->file);
		EXPECT_EQ(umount(self->dir), 0);
		rmdir(self->dir);
	}
	bad = klog_complaint(self->klog);
	EXPECT_EQ(bad, NULL)
		TH_LOG("%s", bad);
}

TEST_F_TIMEOUT(dax, t11_exec_holds_nothing, TIMEOUT)
{
	size_t size = 2 * SZ_2M, i;
	struct iovec iov;
	char *res, *mem;
	uint64_t caught;
	int fd, fds[2];

	fd = open(self->file, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	ASSERT_GE(fd, 0);
	ASSERT_EQ(fallocate(fd, 0, 0, size), 0);
	res = mmap(NULL, size + SZ_2M, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(res, MAP_FAILED);
	mem = (char *)(((uintptr_t)res + SZ_2M - 1) & ~(SZ_2M - 1UL));
	ASSERT_EQ(mmap(mem, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0),
		  mem);
	ASSERT_EQ(pkvm_set_slot(self->vm, SLOT2, PKVM_MEM2_IPA, size, mem, 0), 0);

	/* Pages and blocks of it as data (B1: the page that is put is the one that was got). */
	for (i = 0; i < size; i += SZ_64K + PAGE)
		pkvm_must(self->vcpu, guest_fill, PKVM_MEM2_IPA + i, PAGE, i);
	for (i = 0; i < size; i += SZ_64K + PAGE)
		EXPECT_EQ(pkvm_must(self->vcpu, guest_verify, PKVM_MEM2_IPA + i, PAGE, i), 0);
	/* As code (B2): an abort or not, always the same and for free. */
	for (i = 0; i < 4; i++) {
		WRITE_ONCE(*(uint32_t *)(mem + i * PAGE), A64_RET);
		caught = pkvm_must(self->vcpu, guest_exec_loop, PKVM_MEM2_IPA + i * PAGE,
				   EXEC_ROUNDS / 4);
		EXPECT_TRUE(caught == 0 || caught == EXEC_ROUNDS / 4);
	}
	printf("# fetches from DAX memory %s\n", caught ? "abort" : "work");

	/* One reference, and the file system does not get its blocks. */
	ASSERT_EQ(pipe(fds), 0);
	iov = (struct iovec) { mem + PAGE, 1 };
	ASSERT_EQ(vmsplice(fds[1], &iov, 1, 0), 1);
	EXPECT_FALSE(dax_comes_back(fd, 1));
	close(fds[0]);
	close(fds[1]);
	EXPECT_TRUE(dax_comes_back(fd, 10));
	/* Under the guest's mapping, which is gone with the blocks. */
	EXPECT_EQ(pkvm_call(self->vcpu, guest_load, PKVM_MEM2_IPA), -EFAULT);
	EXPECT_EQ(self->vcpu->run->exit_reason, KVM_EXIT_MEMORY_FAULT);
	ASSERT_EQ(munmap(res, size + SZ_2M), 0);
	close(fd);
}

/* A protected guest gets no such memory, and the file system keeps its blocks. */
TEST_F_TIMEOUT(dax, i7_backing_is_eio, TIMEOUT)
{
	struct pkvm_opts opts = { .backing = PKVM_CALLER, .mem_size = SZ_2M };
	struct pkvm_vm *vm;
	int fd;

	if (!pkvm_protected_mode())
		SKIP(return, "no protected guests here");
	fd = open(self->file, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	ASSERT_GE(fd, 0);
	ASSERT_EQ(fallocate(fd, 0, 0, SZ_2M), 0);
	opts.mem = mmap(NULL, SZ_2M, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(opts.mem, MAP_FAILED);
	vm = pkvm_vm_create(&opts);
	EXPECT_EQ(pkvm_call(pkvm_vcpu0(vm), guest_load, PKVM_MEM_IPA), -EIO);
	EXPECT_EQ(pkvm_vcpu0(vm)->run->exit_reason, KVM_EXIT_MEMORY_FAULT);
	EXPECT_EQ(munmap(opts.mem, SZ_2M), 0);
	EXPECT_TRUE(dax_comes_back(fd, 10));
	pkvm_vm_free(vm);
	close(fd);
}

TEST_HARNESS_MAIN
