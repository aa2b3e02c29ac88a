// SPDX-License-Identifier: GPL-2.0-only
/*
 * The memory of a protected guest as its host meets it: private pages cannot be
 * read or changed by any way that user space has (I3, I5, I6), shared ones can,
 * what comes back is zero (I4), is charged while it is away (I7), and belongs to
 * one guest at one address (I1).
 *
 * A private page that the kernel itself touches may cost the guest that page
 * (forced reclaim): then the guest must stop with -EFAULT and never run on with
 * other contents. It may never cost the host anything.
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <time.h>
#include <asm/kvm.h>
#include <linux/capability.h>
#include <linux/falloc.h>
#include <linux/futex.h>
#include <linux/sizes.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "kselftest_harness.h"
#include "kvm_util.h"
#include "processor.h"
#include "gic_v3.h"
#include "held.h"
#include "pkvm.h"

#define TIMEOUT		180
#define MEM_SIZE	SZ_4M
#define PAGE		((size_t)getpagesize())

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE	25
#endif
#ifndef MADV_SOFT_OFFLINE
#define MADV_SOFT_OFFLINE	101
#endif

static uint64_t page_share(struct pkvm_vcpu *vcpu, uint64_t ipa)
{
	return pkvm_must(vcpu, guest_hvc, PKVM_HVC_SHARE, ipa);
}

static uint64_t page_unshare(struct pkvm_vcpu *vcpu, uint64_t ipa)
{
	return pkvm_must(vcpu, guest_hvc, PKVM_HVC_UNSHARE, ipa);
}

/* ----------------------------------------------- what holds for any backing */

FIXTURE(mem) {
	struct pkvm_vm *vm;
	struct pkvm_vcpu *vcpu;
	struct pkvm_counters before;
	uint64_t seed;
};

FIXTURE_VARIANT(mem) {
	enum pkvm_backing backing;
};

FIXTURE_VARIANT_ADD(mem, memfd) { .backing = PKVM_MEMFD };
FIXTURE_VARIANT_ADD(mem, anon) { .backing = PKVM_ANON };
FIXTURE_VARIANT_ADD(mem, thp) { .backing = PKVM_THP };

FIXTURE_SETUP(mem)
{
	struct pkvm_opts opts = { .mem_size = MEM_SIZE, .backing = variant->backing };
	const char *why = pkvm_unavailable();

	if (why)
		SKIP(return, "%s", why);
	pkvm_counters_read(&self->before);
	self->seed = pkvm_seed();
	self->vm = pkvm_vm_create(&opts);
	self->vcpu = pkvm_vcpu0(self->vm);
	/* So that the guest's code and stack do not count below. */
	pkvm_must(self->vcpu, guest_fill, PKVM_MEM_IPA, 8, 0);
	pkvm_must(self->vcpu, guest_verify, PKVM_MEM_IPA, 8, 0);
	pkvm_must(self->vcpu, guest_hvc, PKVM_HVC_MEMINFO);
}

FIXTURE_TEARDOWN(mem)
{
	pkvm_vm_free(self->vm);
	EXPECT_TRUE(pkvm_counters_back(&self->before, -1));
}

TEST_F_TIMEOUT(mem, i3_i7_guest_computes_in_private_memory, TIMEOUT)
{
	long vmlck = pkvm_vmlck_kb();
	size_t off;

	pkvm_must(self->vcpu, guest_fill, PKVM_MEM_IPA, MEM_SIZE, self->seed);
	EXPECT_EQ(pkvm_must(self->vcpu, guest_verify, PKVM_MEM_IPA, MEM_SIZE,
			    self->seed), 0);
	EXPECT_EQ(pkvm_vmlck_kb() - vmlck, (long)(MEM_SIZE - PAGE) / 1024);
	for (off = 0; off < MEM_SIZE; off += PAGE) {
		const void *p = self->vm->mem + off;

		ASSERT_TRUE(pkvm_is_segv_at(pkvm_host_read(p, NULL), p));
	}
	EXPECT_EQ(pkvm_must(self->vcpu, guest_verify, PKVM_MEM_IPA, MEM_SIZE,
			    self->seed), 0);
}

/* Only what the guest touched is away; the rest is the host's as before. */
TEST_F_TIMEOUT(mem, i3_untouched_pages_stay, TIMEOUT)
{
	size_t off;

	if (variant->backing == PKVM_THP)
		SKIP(return, "may be donated in larger blocks");
	for (off = SZ_64K; off < SZ_128K; off += PAGE)
		*(uint64_t *)(self->vm->mem + off) = off;
	for (off = SZ_64K; off < SZ_128K; off += 2 * PAGE)
		EXPECT_EQ(pkvm_must(self->vcpu, guest_load, PKVM_MEM_IPA + off), off);
	for (off = SZ_64K; off < SZ_128K; off += PAGE) {
		struct pkvm_fault f = pkvm_host_read(self->vm->mem + off, NULL);

		EXPECT_TRUE((off / PAGE) & 1 ? !f.sig :
			    pkvm_is_segv_at(f, self->vm->mem + off));
	}
}

/* S01 */
TEST_F_TIMEOUT(mem, i5_read_write_exec_are_sigsegv, TIMEOUT)
{
	char *page = self->vm->mem + 5 * PAGE;
	static const size_t offsets[] = { 0, 8, 0x100, 0x7f8, 0xff8 };
	uint64_t ipa = PKVM_MEM_IPA + 5 * PAGE;
	struct pkvm_fault f;
	int i, round;

	pkvm_must(self->vcpu, guest_fill, ipa, PAGE, self->seed);
	for (round = 0; round < 3; round++) {
		for (i = 0; i < ARRAY_SIZE(offsets); i++) {
			char *p = page + offsets[i];

			EXPECT_TRUE(pkvm_is_segv_at(pkvm_host_read(p, NULL), p));
			EXPECT_TRUE(pkvm_is_segv_at(pkvm_host_write(p, 1), p));
		}
		/* The last bytes of the page before, the first of this one. */
		*(uint64_t *)(page - 8) = 0;
		f = pkvm_host_read(page - 3, NULL);
		EXPECT_EQ(f.sig, SIGSEGV);
		EXPECT_EQ(f.addr & ~(PAGE - 1), (uintptr_t)page);
	}
	ASSERT_EQ(mprotect(page, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC), 0);
	EXPECT_TRUE(pkvm_is_segv_at(pkvm_host_exec(page), page));
	EXPECT_TRUE(pkvm_is_segv_at(pkvm_host_exec(page + 0x100), page + 0x100));
	EXPECT_EQ(pkvm_must(self->vcpu, guest_verify, ipa, PAGE, self->seed), 0);
}

/* S05: system calls that read or write a buffer of the caller. */
TEST_F_TIMEOUT(mem, i5_syscalls_give_efault, TIMEOUT)
{
	char *page = self->vm->mem + 8 * PAGE, *before = page - 16;
	struct iovec iov = { .iov_base = page, .iov_len = 64 };
	uint64_t ipa = PKVM_MEM_IPA + 8 * PAGE;
	int fds[2], zero, sv[2];
	char buf[32] = "";

	pkvm_must(self->vcpu, guest_fill, ipa, PAGE, self->seed);
	ASSERT_EQ(pipe(fds), 0);
	ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, sv), 0);
	zero = open("/dev/zero", O_RDONLY);
	ASSERT_GE(zero, 0);

#define EXPECT_EFAULT(call)						\
	do {								\
		errno = 0;						\
		EXPECT_EQ((long)(call), -1);				\
		EXPECT_EQ(errno, EFAULT);				\
	} while (0)

	EXPECT_EFAULT(write(fds[1], page, 16));
	EXPECT_EFAULT(writev(fds[1], &iov, 1));
	EXPECT_EFAULT(send(sv[0], page, 16, 0));
	EXPECT_EFAULT(read(zero, page, 16));
	EXPECT_EFAULT(readv(zero, &iov, 1));
	ASSERT_EQ(write(fds[1], buf, 16), 16);
	EXPECT_EFAULT(read(fds[0], page, 16));
	EXPECT_EFAULT(stat(page, (struct stat *)buf));
	EXPECT_EFAULT(stat("/", (struct stat *)page));
	EXPECT_EFAULT(open(page, O_RDONLY));
	EXPECT_EFAULT(syscall(__NR_nanosleep, page, NULL));
	EXPECT_EFAULT(syscall(__NR_clock_gettime, CLOCK_REALTIME, page));
	EXPECT_EFAULT(syscall(__NR_pipe2, page, 0));
	EXPECT_EFAULT(syscall(__NR_getrandom, page, 16, 0));
	EXPECT_EFAULT(syscall(__NR_uname, page));
	EXPECT_EFAULT(syscall(__NR_ppoll, page, 1, NULL, NULL, 0));
	EXPECT_EFAULT(syscall(__NR_getcwd, page, 64));
	EXPECT_EFAULT(ioctl(self->vm->fd, KVM_SET_USER_MEMORY_REGION, page));
	/* S04 */
	EXPECT_EFAULT(syscall(__NR_futex, page, FUTEX_WAIT_PRIVATE,
			      (uint32_t)pkvm_pattern(self->seed, 0), NULL));
	EXPECT_EFAULT(syscall(__NR_futex, buf, FUTEX_WAKE_OP_PRIVATE, 1, 1, page,
			      FUTEX_OP(FUTEX_OP_ADD, 1, FUTEX_OP_CMP_EQ, 0)));
	/* Half of it is there: a short count, or nothing. */
	EXPECT_LE(write(fds[1], before, 32), 16);
	EXPECT_LE(read(zero, before, 32), 16);
	EXPECT_LE(syscall(__NR_getrandom, before, 32, 0), 16);
#undef EXPECT_EFAULT

	EXPECT_EQ(pkvm_must(self->vcpu, guest_verify, ipa, PAGE, self->seed), 0);
	EXPECT_TRUE(pkvm_is_segv_at(pkvm_host_read(page, NULL), page));
}

TEST_F_TIMEOUT(mem, i1_share_and_unshare, TIMEOUT)
{
	uint64_t ipa = PKVM_MEM_IPA + 3 * PAGE;
	uint64_t *page = (void *)(self->vm->mem + 3 * PAGE), val;
	long vmlck;
	int i;

	pkvm_must(self->vcpu, guest_fill, ipa - PAGE, 3 * PAGE, self->seed);
	vmlck = pkvm_vmlck_kb();
	for (i = 0; i < 3; i++) {
		pkvm_must(self->vcpu, guest_store, ipa, 0x1000 + i);
		ASSERT_EQ(page_share(self->vcpu, ipa), 0);
		/* What the guest wrote before and after it shared the page. */
		ASSERT_EQ(pkvm_host_read(page, &val).sig, 0);
		EXPECT_EQ(val, 0x1000 + i);
		pkvm_must(self->vcpu, guest_store, ipa + 8, 0x2000 + i);
		EXPECT_EQ(page[1], 0x2000 + i);
		/* And the other way round. */
		page[2] = 0x3000 + i;
		EXPECT_EQ(pkvm_must(self->vcpu, guest_load, ipa + 16), 0x3000 + i);
		/* The neighbours did not come along. */
		EXPECT_EQ(pkvm_host_read((char *)page - 8, NULL).sig, SIGSEGV);
		EXPECT_EQ(pkvm_host_read((char *)page + PAGE, NULL).sig, SIGSEGV);

		ASSERT_EQ(page_unshare(self->vcpu, ipa), 0);
		EXPECT_TRUE(pkvm_is_segv_at(pkvm_host_read(page, NULL), page));
		EXPECT_TRUE(pkvm_is_segv_at(pkvm_host_write(page + 2, 9), page + 2));
		EXPECT_EQ(pkvm_must(self->vcpu, guest_load, ipa + 16), 0x3000 + i);
		/* It is the guest's all the time, so it is charged all the time. */
		EXPECT_EQ(pkvm_vmlck_kb(), vmlck);
	}
}

/* A shared page is good for everything that the kernel does with memory. */
TEST_F_TIMEOUT(mem, i6_shared_page_in_system_calls, TIMEOUT)
{
	uint64_t ipa = PKVM_MEM_IPA + 3 * PAGE, buf[512];
	char *page = self->vm->mem + 3 * PAGE;
	struct iovec local = { buf, PAGE }, remote = { page, PAGE };
	int fds[2];

	pkvm_must(self->vcpu, guest_fill, ipa, PAGE, 4);
	ASSERT_EQ(page_share(self->vcpu, ipa), 0);
	ASSERT_EQ(pipe(fds), 0);
	EXPECT_EQ(write(fds[1], page, PAGE), PAGE);
	EXPECT_EQ(read(fds[0], buf, PAGE), PAGE);
	EXPECT_EQ(buf[100], pkvm_pattern(4, 100));
	memset(buf, 0, sizeof(buf));
	EXPECT_EQ(process_vm_readv(getpid(), &local, 1, &remote, 1, 0), PAGE);
	EXPECT_EQ(buf[101], pkvm_pattern(4, 101));
	buf[102] = 0x77;
	EXPECT_EQ(process_vm_writev(getpid(), &local, 1, &remote, 1, 0), PAGE);
	EXPECT_EQ(pkvm_must(self->vcpu, guest_load, ipa + 8 * 102), 0x77);
	ASSERT_EQ(page_unshare(self->vcpu, ipa), 0);
	EXPECT_EQ(pkvm_must(self->vcpu, guest_load, ipa + 8 * 103),
		  pkvm_pattern(4, 103));
}

/* A lookup that is not for the guest is refused, and costs the guest nothing. */
TEST_F_TIMEOUT(mem, i6_lookups_are_refused, TIMEOUT)
{
	uint64_t ipa = PKVM_MEM_IPA + 3 * PAGE, buf[512];
	char *page = self->vm->mem + 3 * PAGE;
	struct iovec local = { buf, PAGE }, remote = { page, PAGE };
	int fds[2], mem;

	pkvm_must(self->vcpu, guest_fill, ipa, PAGE, self->seed);

	EXPECT_EQ(process_vm_readv(getpid(), &local, 1, &remote, 1, 0), -1);
	EXPECT_EQ(errno, EFAULT);
	EXPECT_EQ(process_vm_writev(getpid(), &local, 1, &remote, 1, 0), -1);
	EXPECT_EQ(errno, EFAULT);

	mem = open("/proc/self/mem", O_RDWR);
	ASSERT_GE(mem, 0);
	EXPECT_EQ(pread(mem, buf, PAGE, (uintptr_t)page), -1);
	EXPECT_EQ(errno, EIO);
	EXPECT_EQ(pwrite(mem, buf, PAGE, (uintptr_t)page), -1);
	EXPECT_EQ(errno, EIO);
	close(mem);

	ASSERT_EQ(pipe(fds), 0);
	EXPECT_EQ(vmsplice(fds[1], &remote, 1, 0), -1);
	EXPECT_EQ(errno, EFAULT);

	EXPECT_EQ(pkvm_must(self->vcpu, guest_verify, ipa, PAGE, self->seed), 0);
}

/* S67: unshare while the host has the page in use; only one of them loses. */
TEST_F_TIMEOUT(mem, i6_unshare_of_a_page_in_use, TIMEOUT)
{
	uint64_t ipa = PKVM_MEM_IPA + 3 * PAGE, ret;
	char *page = self->vm->mem + 3 * PAGE, buf[64];
	struct iovec iov = { page, 64 };
	int fds[2];

	pkvm_must(self->vcpu, guest_store, ipa, 0x1111);
	ASSERT_EQ(page_share(self->vcpu, ipa), 0);
	ASSERT_EQ(pipe(fds), 0);
	/* The pipe now has a reference, and reads the page when it is read. */
	ASSERT_EQ(vmsplice(fds[1], &iov, 1, 0), 64);
	ret = page_unshare(self->vcpu, ipa);
	if (ret == 0) {
		pkvm_must(self->vcpu, guest_store, ipa, 0x5ec7e7);
		memset(buf, 0, sizeof(buf));
		if (read(fds[0], buf, 64) > 0)
			EXPECT_NE(*(uint64_t *)buf, 0x5ec7e7);
	} else {
		EXPECT_EQ(pkvm_host_read(page, NULL).sig, 0);
		EXPECT_EQ(read(fds[0], buf, 64), 64);
		EXPECT_EQ(*(uint64_t *)buf, 0x1111);
		/* Given back, it can be had. */
		EXPECT_EQ(page_unshare(self->vcpu, ipa), 0);
		EXPECT_TRUE(pkvm_is_segv_at(pkvm_host_read(page, NULL), page));
	}
}

/* S11: private or shared, untouched or written by the host last. */
TEST_F_TIMEOUT(mem, i4_memory_comes_back_zero, TIMEOUT)
{
	struct pkvm_vm *vm = self->vm;
	size_t off;

	pkvm_must(self->vcpu, guest_fill, PKVM_MEM_IPA, SZ_1M, self->seed);
	for (off = 0; off < SZ_64K; off += PAGE)
		ASSERT_EQ(page_share(self->vcpu, PKVM_MEM_IPA + off), 0);
	for (off = 0; off < SZ_64K; off += 2 * PAGE)
		ASSERT_EQ(page_unshare(self->vcpu, PKVM_MEM_IPA + off), 0);
	for (off = PAGE; off < SZ_64K; off += 4 * PAGE)
		memset(vm->mem + off, 0xaa, PAGE);
	pkvm_vm_close(vm);
	EXPECT_EQ(pkvm_vmlck_kb(), self->before.vmlck_kb);
	EXPECT_EQ(pkvm_count_nonzero(vm->mem, SZ_1M), 0);
	EXPECT_EQ(pkvm_count_nonzero(vm->image, vm->image_size) >= vm->image_size / 8,
		  false);
	if (vm->mem_fd >= 0) {
		uint64_t buf[512];
		size_t bad = 0;

		for (off = 0; off < SZ_1M; off += sizeof(buf)) {
			ASSERT_EQ(pread(vm->mem_fd, buf, sizeof(buf), off),
				  sizeof(buf));
			bad += pkvm_count_nonzero(buf, sizeof(buf));
		}
		EXPECT_EQ(bad, 0);
	}
	/* It is ordinary memory again. */
	memset(vm->mem, 0x55, SZ_1M);
	EXPECT_EQ(*(uint64_t *)(vm->mem + SZ_64K), 0x5555555555555555UL);
}

/* S45: whatever the VMM does to its mapping, the guest has its pages. */
TEST_F_TIMEOUT(mem, i1_unmapped_backing, TIMEOUT)
{
	struct pkvm_vm *vm = self->vm;
	uint64_t ipa = PKVM_MEM_IPA;
	void *p;

	pkvm_must(self->vcpu, guest_fill, ipa, SZ_1M, self->seed);

	madvise(vm->mem, SZ_256K, MADV_DONTNEED);
	EXPECT_EQ(pkvm_must(self->vcpu, guest_verify, ipa, SZ_1M, self->seed), 0);
	/* What the host finds there is something else, or nothing. */
	pkvm_host_write(vm->mem + PAGE, 0xbad);
	if (vm->mem_fd >= 0) {
		fallocate(vm->mem_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			  SZ_64K, SZ_64K);
		pkvm_host_write(vm->mem + SZ_64K, 0xbad);
	}
	EXPECT_EQ(pkvm_must(self->vcpu, guest_verify, ipa, SZ_1M, self->seed), 0);

	munmap(vm->mem + SZ_256K, SZ_256K);
	p = mmap(vm->mem + SZ_256K, SZ_128K, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	ASSERT_NE(p, MAP_FAILED);
	memset(p, 0xbd, SZ_128K);
	EXPECT_EQ(pkvm_must(self->vcpu, guest_verify, ipa, SZ_1M, self->seed), 0);

	if (vm->mem_fd >= 0) {
		int ret = ftruncate(vm->mem_fd, SZ_512K);

		EXPECT_EQ(ret, 0);
		EXPECT_EQ(pkvm_must(self->vcpu, guest_verify, ipa, SZ_1M,
				    self->seed), 0);
	}
	/* A page that the guest does not have yet, and that nobody has now. */
	munmap(vm->mem + SZ_2M, SZ_2M);
	EXPECT_EQ(pkvm_call(self->vcpu, guest_load, ipa + SZ_2M), -EFAULT);
	EXPECT_EQ(pkvm_call(self->vcpu, guest_load, ipa + SZ_2M), -EFAULT);
}

/* S02: what the kernel does with memory by itself. */
TEST_F_TIMEOUT(mem, i3_memory_management_leaves_it_alone, TIMEOUT)
{
	static const int advice[] = {
		MADV_COLD, MADV_PAGEOUT, MADV_COLLAPSE,
		MADV_WILLNEED, MADV_FREE, MADV_NOHUGEPAGE, MADV_HUGEPAGE,
		MADV_POPULATE_READ, MADV_POPULATE_WRITE,
	};
	struct pkvm_vm *vm = self->vm;
	int i;

	pkvm_must(self->vcpu, guest_fill, PKVM_MEM_IPA, MEM_SIZE, self->seed);
	for (i = 0; i < ARRAY_SIZE(advice); i++) {
		madvise(vm->mem, MEM_SIZE, advice[i]);
		EXPECT_EQ(pkvm_must(self->vcpu, guest_verify, PKVM_MEM_IPA, MEM_SIZE,
				    self->seed), 0) {
			TH_LOG("advice %d", advice[i]);
		}
	}
	write_text("/proc/sys/vm/compact_memory", "1");
	write_text("/proc/sys/vm/drop_caches", "3");
	mprotect(vm->mem, MEM_SIZE, PROT_NONE);
	mprotect(vm->mem, MEM_SIZE, PROT_READ | PROT_WRITE);
	mlock(vm->mem, MEM_SIZE);
	munlock(vm->mem, MEM_SIZE);
	usleep(200000);
	EXPECT_EQ(pkvm_must(self->vcpu, guest_verify, PKVM_MEM_IPA, MEM_SIZE,
			    self->seed), 0);
	EXPECT_TRUE(pkvm_is_segv_at(pkvm_host_read(vm->mem, NULL), vm->mem));
}

/* The mapping moves, the pages do not. */
TEST_F_TIMEOUT(mem, i5_mremap, TIMEOUT)
{
	struct pkvm_vm *vm = self->vm;
	char *p;

	pkvm_must(self->vcpu, guest_fill, PKVM_MEM_IPA, SZ_64K, self->seed);
	p = mremap(vm->mem, SZ_64K, SZ_64K, MREMAP_MAYMOVE | MREMAP_FIXED,
		   vm->mem + MEM_SIZE - SZ_64K);
	if (p != MAP_FAILED)
		EXPECT_TRUE(pkvm_is_segv_at(pkvm_host_read(p + 8, NULL), p + 8));
	EXPECT_EQ(pkvm_must(self->vcpu, guest_verify, PKVM_MEM_IPA, SZ_64K,
			    self->seed), 0);
}

static bool drop_ipc_lock(void)
{
	struct __user_cap_header_struct header = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	struct __user_cap_data_struct data[2];

	if (syscall(__NR_capget, &header, data))
		return false;
	data[0].effective &= ~(1U << CAP_IPC_LOCK);
	return !syscall(__NR_capset, &header, data);
}

/* S46: no more than the VMM's user may lock. */
TEST_F_TIMEOUT(mem, i7_rlimit_memlock, TIMEOUT)
{
	struct rlimit old, limit;
	long vmlck;

	ASSERT_TRUE(drop_ipc_lock());
	ASSERT_EQ(getrlimit(RLIMIT_MEMLOCK, &old), 0);
	limit = old;
	limit.rlim_cur = (pkvm_vmlck_kb() << 10) + SZ_256K;
	/* Room for the second half of the test, if the user may have it. */
	limit.rlim_max = RLIM_INFINITY;
	if (setrlimit(RLIMIT_MEMLOCK, &limit)) {
		limit.rlim_max = old.rlim_max;
		ASSERT_EQ(setrlimit(RLIMIT_MEMLOCK, &limit), 0);
	}

	EXPECT_EQ(pkvm_call(self->vcpu, guest_fill, PKVM_MEM_IPA, MEM_SIZE,
			    self->seed), -ENOMEM);
	vmlck = pkvm_vmlck_kb();
	EXPECT_LE(vmlck, (long)(limit.rlim_cur >> 10));
	EXPECT_EQ(pkvm_resume(self->vcpu), -ENOMEM);
	EXPECT_EQ(pkvm_vmlck_kb(), vmlck);

	/* With more it goes on as if nothing had been. */
	limit.rlim_cur = limit.rlim_max;
	ASSERT_EQ(setrlimit(RLIMIT_MEMLOCK, &limit), 0);
	if (limit.rlim_cur != RLIM_INFINITY && limit.rlim_cur < 4 * MEM_SIZE)
		SKIP(return, "the hard limit is too low to go on");
	EXPECT_EQ(pkvm_resume(self->vcpu), PKVM_RETURNED);
	EXPECT_EQ(pkvm_must(self->vcpu, guest_verify, PKVM_MEM_IPA, MEM_SIZE,
			    self->seed), 0);
}

/* ------------------------------------------------ attacks on a private page */

#define ATTACK_SKIPPED	(-1000)
#define ATTACK_ODD	(-1001)	/* failed in a way it should not */

struct attack {
	struct pkvm_vm *vm;
	char *target;		/* the private page, as the host has it mapped */
	uint64_t pfn;		/* of the target, from before; 0: unknown */
	char *buf;		/* what was obtained, or what shall be written */
	const char *why;	/* skipped because */
};

FIXTURE(attack) {
	struct pkvm_counters before;
	uint64_t seed;
};

FIXTURE_VARIANT(attack) {
	enum pkvm_backing backing;
	/* bytes in buf (0 for writes), a negative errno, or one of the above */
	long (*run)(struct attack *a);
};

static long vm_readv(struct attack *a)
{
	struct iovec local = { a->buf, PAGE }, remote = { a->target, PAGE };
	long ret = process_vm_readv(getpid(), &local, 1, &remote, 1, 0);

	return ret < 0 ? -errno : ret;
}

static long vm_writev(struct attack *a)
{
	struct iovec local = { a->buf, PAGE }, remote = { a->target, PAGE };
	long ret = process_vm_writev(getpid(), &local, 1, &remote, 1, 0);

	return ret < 0 ? -errno : 0;
}

static long proc_mem(struct attack *a, bool write)
{
	int fd = open("/proc/self/mem", O_RDWR);
	long ret;

	if (fd < 0)
		return -errno;
	if (write)
		ret = pwrite(fd, a->buf, PAGE, (uintptr_t)a->target);
	else
		ret = pread(fd, a->buf, PAGE, (uintptr_t)a->target);
	if (ret < 0)
		ret = -errno;
	close(fd);
	return write && ret > 0 ? 0 : ret;
}

static long proc_mem_read(struct attack *a)
{
	return proc_mem(a, false);
}

static long proc_mem_write(struct attack *a)
{
	return proc_mem(a, true);
}

/* A debugger: reads or writes the first words of the page. */
static long debugger(struct attack *a, bool write)
{
	uint64_t *shared;
	int i, status;
	pid_t pid;
	long ret;

	shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		      -1, 0);
	pid = fork();
	if (!pid) {
		pid_t parent = getppid();

		if (ptrace(PTRACE_ATTACH, parent, NULL, NULL))
			_exit(1);
		waitpid(parent, &status, __WALL);
		for (i = 0; i < 64; i++) {
			errno = 0;
			if (write)
				ptrace(PTRACE_POKEDATA, parent, a->target + 8 * i,
				       ~0UL);
			else
				shared[i] = ptrace(PTRACE_PEEKDATA, parent,
						   a->target + 8 * i, NULL);
			if (errno)
				break;
		}
		status = errno;
		ptrace(PTRACE_DETACH, parent, NULL, NULL);
		_exit(status ? 2 : 0);
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	memcpy(a->buf, shared, 512);
	munmap(shared, PAGE);
	if (!WIFEXITED(status) || WEXITSTATUS(status) == 1) {
		a->why = "cannot trace the parent";
		return ATTACK_SKIPPED;
	}
	ret = WEXITSTATUS(status) ? -EIO : 512;
	return write && ret > 0 ? 0 : ret;
}

static long ptrace_peek(struct attack *a)
{
	return debugger(a, false);
}

static long ptrace_poke(struct attack *a)
{
	return debugger(a, true);
}

static long splice_out(struct attack *a)
{
	struct iovec iov = { a->target, PAGE };
	long ret = 0;
	int fds[2];

	if (pipe(fds))
		return -errno;
	if (vmsplice(fds[1], &iov, 1, SPLICE_F_NONBLOCK) < 0) {
		ret = -errno;
	} else {
		ret = read(fds[0], a->buf, PAGE);
		if (ret < 0)
			ret = -errno;
	}
	close(fds[0]);
	close(fds[1]);
	return ret;
}

/* As before, but the reference is older than the guest's possession. */
static int early_pipe[2] = { -1, -1 };

static long splice_early(struct attack *a)
{
	long ret = read(early_pipe[0], a->buf, PAGE);

	return ret < 0 ? -errno : ret;
}

static long file_read(struct attack *a)
{
	long ret = pread(a->vm->mem_fd, a->buf, PAGE, a->target - a->vm->mem);

	return ret < 0 ? -errno : ret;
}

static long file_write(struct attack *a)
{
	long ret = pwrite(a->vm->mem_fd, a->buf, PAGE, a->target - a->vm->mem);

	return ret < 0 ? -errno : 0;
}

static long file_sendfile(struct attack *a)
{
	off_t off = a->target - a->vm->mem;
	long ret;
	int sv[2];

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, sv))
		return -errno;
	ret = sendfile(sv[0], a->vm->mem_fd, &off, PAGE);
	if (ret > 0)
		ret = recv(sv[1], a->buf, PAGE, MSG_DONTWAIT);
	if (ret < 0)
		ret = -errno;
	close(sv[0]);
	close(sv[1]);
	return ret;
}

static long file_second_mapping(struct attack *a)
{
	char *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, a->vm->mem_fd,
		       a->target - a->vm->mem);
	struct pkvm_fault f;
	long ret = 0;
	size_t i;

	if (p == MAP_FAILED)
		return -errno;
	for (i = 0; i < PAGE; i += 8) {
		f = pkvm_host_read(p + i, (uint64_t *)(a->buf + i));
		if (f.sig) {
			ret = pkvm_is_segv_at(f, p + i) ? -EFAULT : ATTACK_ODD;
			break;
		}
		ret += 8;
	}
	munmap(p, PAGE);
	return ret;
}

/* A copy on write mapping of the same file must not copy it either. */
static long file_private_mapping(struct attack *a)
{
	char *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE,
		       a->vm->mem_fd, a->target - a->vm->mem);
	struct pkvm_fault f;
	long ret = PAGE;

	if (p == MAP_FAILED)
		return -errno;
	f = pkvm_host_write(p, 0);
	if (f.sig)
		ret = -EFAULT;
	else
		memcpy(a->buf, p, PAGE);
	munmap(p, PAGE);
	return ret;
}

/* A shared futex is found by its page, and read by the kernel. */
static long shared_futex(struct attack *a)
{
	struct timespec ts = { .tv_nsec = 1000000 };

	/* -EAGAIN would mean: compared, and not equal. */
	if (!syscall(__NR_futex, a->target, FUTEX_WAIT, 0, &ts))
		return 0;
	return errno == EAGAIN || errno == ETIMEDOUT ? ATTACK_ODD : -errno;
}

/* Direct I/O: the block driver reads the page through the kernel's mapping. */
static long direct_io(struct attack *a, bool write)
{
	static const char * const dev = "/dev/zram0";
	long ret;
	int fd;

	write_text("/sys/block/zram0/disksize", "1M");
	fd = open(dev, O_RDWR | O_DIRECT);
	if (fd < 0) {
		a->why = "no block device /dev/zram0";
		return ATTACK_SKIPPED;
	}
	if (write) {
		ret = pwrite(fd, a->buf, PAGE, 0);
		if (ret > 0)
			ret = pread(fd, a->target, PAGE, 0) < 0 ? -errno : 0;
		else
			ret = -errno;
	} else {
		ret = pwrite(fd, a->target, PAGE, 0);
		if (ret > 0)
			ret = pread(fd, a->buf, PAGE, 0);
		if (ret < 0)
			ret = -errno;
	}
	close(fd);
	return ret;
}

static long direct_write(struct attack *a)
{
	return direct_io(a, false);
}

static long direct_read(struct attack *a)
{
	return direct_io(a, true);
}

static long dev_mem(struct attack *a, bool map, bool write)
{
	off_t pa = a->pfn * PAGE;
	int fd = open("/dev/mem", O_RDWR | O_SYNC);
	struct pkvm_fault f;
	uint64_t *p;
	long ret;

	if (fd < 0 || !a->pfn) {
		a->why = "no /dev/mem";
		return ATTACK_SKIPPED;
	}
	if (!map) {
		ret = write ? pwrite(fd, a->buf, PAGE, pa) :
			      pread(fd, a->buf, PAGE, pa);
		if (ret < 0)
			ret = -errno;
	} else {
		p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, pa);
		if (p == MAP_FAILED) {
			close(fd);
			a->why = "/dev/mem maps no RAM here";
			return ATTACK_SKIPPED;
		}
		f = write ? pkvm_host_write(p, 1) :
			    pkvm_host_read(p, (uint64_t *)a->buf);
		ret = f.sig ? (pkvm_is_segv_at(f, p) ? -EFAULT : ATTACK_ODD) : 8;
		munmap(p, PAGE);
	}
	close(fd);
	return write && ret > 0 ? 0 : ret;
}

static long dev_mem_read(struct attack *a)
{
	return dev_mem(a, false, false);
}

static long dev_mem_write(struct attack *a)
{
	return dev_mem(a, false, true);
}

static long dev_mem_map_read(struct attack *a)
{
	return dev_mem(a, true, false);
}

static long dev_mem_map_write(struct attack *a)
{
	return dev_mem(a, true, true);
}

struct futex_try {
	uint32_t word, *at;
	void *with;
	int op;
};

static int try_futex(void *arg)
{
	struct futex_try *t = arg;

	return syscall(__NR_futex, t->at, t->op | FUTEX_PRIVATE_FLAG, 1, NULL, t->with,
		       FUTEX_OP(FUTEX_OP_ADD, 1, FUTEX_OP_CMP_EQ, 0)) < 0 ? errno : 0;
}

/*
 * A private futex has no page that the kernel asks for, and this mapping is one that it
 * believes good: whatever it tries it must not try for ever. Not by fork(), which would
 * have to copy the guest's memory.
 */
static long dev_mem_futex(struct attack *a, int op)
{
	static char stack[SZ_64K] __aligned(16);
	struct futex_try t = { .op = op };
	int fd = open("/dev/mem", O_RDWR), status, i;
	pid_t pid;

	t.with = fd < 0 ? MAP_FAILED : mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
					    a->pfn * PAGE);
	if (fd >= 0)
		close(fd);
	if (t.with == MAP_FAILED || !a->pfn) {
		a->why = "/dev/mem maps no RAM here";
		return ATTACK_SKIPPED;
	}

	t.at = op == FUTEX_WAKE_OP ? &t.word : t.with;
	pid = clone(try_futex, stack + sizeof(stack), CLONE_VM | SIGCHLD, &t);
	if (pid < 0)
		return -errno;
	for (i = 0; i < 1000 && !waitpid(pid, &status, WNOHANG); i++)
		usleep(10000);
	if (i == 1000) {
		kill(pid, SIGKILL);
		return ATTACK_ODD;
	}
	munmap(t.with, PAGE);

	return WIFEXITED(status) && WEXITSTATUS(status) == EFAULT ? -EFAULT : ATTACK_ODD;
}

static long dev_mem_futex_pi(struct attack *a)
{
	return dev_mem_futex(a, FUTEX_LOCK_PI);
}

static long dev_mem_futex_wake_op(struct attack *a)
{
	return dev_mem_futex(a, FUTEX_WAKE_OP);
}

static long kernel_core(struct attack *a)
{
	Elf64_Ehdr eh;
	Elf64_Phdr ph;
	uint64_t pa = a->pfn * PAGE;
	int i, fd = open("/proc/kcore", O_RDONLY);
	long ret = ATTACK_SKIPPED;

	a->why = "no /proc/kcore with this page";
	if (fd < 0 || !a->pfn || pread(fd, &eh, sizeof(eh), 0) != sizeof(eh))
		return ATTACK_SKIPPED;
	for (i = 0; i < eh.e_phnum; i++) {
		if (pread(fd, &ph, sizeof(ph), eh.e_phoff + i * sizeof(ph)) !=
		    sizeof(ph))
			break;
		if (ph.p_type != PT_LOAD || ph.p_paddr == ~0UL ||
		    pa < ph.p_paddr || pa >= ph.p_paddr + ph.p_memsz)
			continue;
		ret = pread(fd, a->buf, PAGE, ph.p_offset + (pa - ph.p_paddr));
		if (ret < 0)
			ret = -errno;
		break;
	}
	close(fd);
	return ret;
}

/* fork() copies pinned anonymous memory, and shares the rest. */
static long forked_child(struct attack *a)
{
	uint64_t *shared;
	int status;
	pid_t pid;
	size_t i;

	shared = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid = fork();
	if (pid < 0)
		return -errno;
	if (!pid) {
		for (i = 0; i < PAGE / 8; i++) {
			if (pkvm_host_read(a->target + 8 * i, &shared[i]).sig)
				break;
		}
		if (i)
			pkvm_host_write(a->target, 1);
		shared[PAGE / 8] = i;
		_exit(0);
	}
	waitpid(pid, &status, 0);
	i = shared[PAGE / 8];
	memcpy(a->buf, shared, PAGE);
	munmap(shared, 2 * PAGE);
	return i ? 8 * i : -EFAULT;
}

/* The mapping is dropped, and what is there now is read. */
static long dontneed_and_read(struct attack *a)
{
	struct iovec local = { a->buf, PAGE }, remote = { a->target, PAGE };
	long ret;

	madvise(a->target, PAGE, MADV_DONTNEED);
	ret = process_vm_readv(getpid(), &local, 1, &remote, 1, 0);
	return ret < 0 ? -errno : ret;
}

/* The VMM offers the page for merging; the kernel hashes and compares it. */
static long same_page_merging(struct attack *a)
{
	if (madvise(a->target, PAGE, MADV_MERGEABLE) ||
	    !write_text("/sys/kernel/mm/ksm/sleep_millisecs", "1") ||
	    !write_text("/sys/kernel/mm/ksm/run", "1")) {
		a->why = "no KSM";
		return ATTACK_SKIPPED;
	}
	usleep(300000);
	write_text("/sys/kernel/mm/ksm/run", "0");
	return 0;
}

static long soft_offline(struct attack *a)
{
	if (madvise(a->target, PAGE, MADV_SOFT_OFFLINE))
		return -errno;
	return 0;
}

FIXTURE_VARIANT_ADD(attack, memfd_process_vm_readv) { PKVM_MEMFD, vm_readv };
FIXTURE_VARIANT_ADD(attack, anon_process_vm_readv) { PKVM_ANON, vm_readv };
FIXTURE_VARIANT_ADD(attack, memfd_process_vm_writev) { PKVM_MEMFD, vm_writev };
FIXTURE_VARIANT_ADD(attack, anon_process_vm_writev) { PKVM_ANON, vm_writev };
FIXTURE_VARIANT_ADD(attack, memfd_proc_mem_read) { PKVM_MEMFD, proc_mem_read };
FIXTURE_VARIANT_ADD(attack, anon_proc_mem_read) { PKVM_ANON, proc_mem_read };
FIXTURE_VARIANT_ADD(attack, memfd_proc_mem_write) { PKVM_MEMFD, proc_mem_write };
FIXTURE_VARIANT_ADD(attack, anon_proc_mem_write) { PKVM_ANON, proc_mem_write };
FIXTURE_VARIANT_ADD(attack, memfd_ptrace_peek) { PKVM_MEMFD, ptrace_peek };
FIXTURE_VARIANT_ADD(attack, anon_ptrace_peek) { PKVM_ANON, ptrace_peek };
FIXTURE_VARIANT_ADD(attack, memfd_ptrace_poke) { PKVM_MEMFD, ptrace_poke };
FIXTURE_VARIANT_ADD(attack, anon_ptrace_poke) { PKVM_ANON, ptrace_poke };
FIXTURE_VARIANT_ADD(attack, memfd_vmsplice) { PKVM_MEMFD, splice_out };
FIXTURE_VARIANT_ADD(attack, anon_vmsplice) { PKVM_ANON, splice_out };
FIXTURE_VARIANT_ADD(attack, memfd_vmsplice_before) { PKVM_MEMFD, splice_early };
FIXTURE_VARIANT_ADD(attack, anon_vmsplice_before) { PKVM_ANON, splice_early };
FIXTURE_VARIANT_ADD(attack, memfd_shared_futex) { PKVM_MEMFD, shared_futex };
FIXTURE_VARIANT_ADD(attack, anon_shared_futex) { PKVM_ANON, shared_futex };
FIXTURE_VARIANT_ADD(attack, memfd_direct_io_out) { PKVM_MEMFD, direct_write };
FIXTURE_VARIANT_ADD(attack, anon_direct_io_out) { PKVM_ANON, direct_write };
FIXTURE_VARIANT_ADD(attack, memfd_direct_io_in) { PKVM_MEMFD, direct_read };
FIXTURE_VARIANT_ADD(attack, anon_direct_io_in) { PKVM_ANON, direct_read };
FIXTURE_VARIANT_ADD(attack, memfd_dev_mem_read) { PKVM_MEMFD, dev_mem_read };
FIXTURE_VARIANT_ADD(attack, anon_dev_mem_read) { PKVM_ANON, dev_mem_read };
FIXTURE_VARIANT_ADD(attack, memfd_dev_mem_write) { PKVM_MEMFD, dev_mem_write };
FIXTURE_VARIANT_ADD(attack, anon_dev_mem_write) { PKVM_ANON, dev_mem_write };
FIXTURE_VARIANT_ADD(attack, memfd_dev_mem_map_read) { PKVM_MEMFD, dev_mem_map_read };
FIXTURE_VARIANT_ADD(attack, anon_dev_mem_map_read) { PKVM_ANON, dev_mem_map_read };
FIXTURE_VARIANT_ADD(attack, memfd_dev_mem_map_write) { PKVM_MEMFD, dev_mem_map_write };
FIXTURE_VARIANT_ADD(attack, anon_dev_mem_map_write) { PKVM_ANON, dev_mem_map_write };
FIXTURE_VARIANT_ADD(attack, memfd_dev_mem_futex_pi) { PKVM_MEMFD, dev_mem_futex_pi };
FIXTURE_VARIANT_ADD(attack, anon_dev_mem_futex_pi) { PKVM_ANON, dev_mem_futex_pi };
FIXTURE_VARIANT_ADD(attack, memfd_dev_mem_futex_op) { PKVM_MEMFD, dev_mem_futex_wake_op };
FIXTURE_VARIANT_ADD(attack, anon_dev_mem_futex_op) { PKVM_ANON, dev_mem_futex_wake_op };
FIXTURE_VARIANT_ADD(attack, memfd_kcore) { PKVM_MEMFD, kernel_core };
FIXTURE_VARIANT_ADD(attack, anon_kcore) { PKVM_ANON, kernel_core };
FIXTURE_VARIANT_ADD(attack, memfd_fork) { PKVM_MEMFD, forked_child };
FIXTURE_VARIANT_ADD(attack, anon_fork) { PKVM_ANON, forked_child };
FIXTURE_VARIANT_ADD(attack, memfd_dontneed_and_read) { PKVM_MEMFD, dontneed_and_read };
FIXTURE_VARIANT_ADD(attack, anon_dontneed_and_read) { PKVM_ANON, dontneed_and_read };
FIXTURE_VARIANT_ADD(attack, memfd_ksm) { PKVM_MEMFD, same_page_merging };
FIXTURE_VARIANT_ADD(attack, anon_ksm) { PKVM_ANON, same_page_merging };
FIXTURE_VARIANT_ADD(attack, memfd_soft_offline) { PKVM_MEMFD, soft_offline };
FIXTURE_VARIANT_ADD(attack, anon_soft_offline) { PKVM_ANON, soft_offline };
FIXTURE_VARIANT_ADD(attack, memfd_read) { PKVM_MEMFD, file_read };
FIXTURE_VARIANT_ADD(attack, memfd_write) { PKVM_MEMFD, file_write };
FIXTURE_VARIANT_ADD(attack, memfd_sendfile) { PKVM_MEMFD, file_sendfile };
FIXTURE_VARIANT_ADD(attack, memfd_second_mapping) { PKVM_MEMFD, file_second_mapping };
FIXTURE_VARIANT_ADD(attack, memfd_private_mapping) { PKVM_MEMFD, file_private_mapping };

FIXTURE_SETUP(attack)
{
	const char *why = pkvm_unavailable();

	if (why)
		SKIP(return, "%s", why);
	pkvm_counters_read(&self->before);
	self->seed = pkvm_seed();
}

FIXTURE_TEARDOWN(attack)
{
	EXPECT_TRUE(pkvm_counters_back(&self->before, -1));
}

static size_t secrets_in(const char *buf, size_t len, uint64_t seed)
{
	size_t i, j, found = 0;

	for (i = 0; i + 8 <= len; i += 8) {
		for (j = 0; j < PAGE / 8; j++)
			found += *(uint64_t *)(buf + i) == pkvm_pattern(seed, j);
	}
	return found;
}

/* The host never gets the secret; the guest has it, or stops with -EFAULT. */
TEST_F_TIMEOUT(attack, i5_i6, TIMEOUT)
{
	struct pkvm_opts opts = { .backing = variant->backing };
	uint64_t ipa = PKVM_MEM_IPA + 16 * PAGE;
	static char buf[SZ_64K] __aligned(SZ_64K);
	struct attack a = { .buf = buf };
	struct pkvm_vcpu *vcpu;
	struct pkvm_vm *vm;
	struct iovec iov;
	long got;
	int stop;

	vm = pkvm_vm_create(&opts);
	vcpu = pkvm_vcpu0(vm);
	a.vm = vm;
	a.target = vm->mem + 16 * PAGE;
	*(uint64_t *)a.target = 1;
	a.pfn = pfn_of(a.target);
	if (variant->run == splice_early) {
		/* An extra reference may forbid the donation; so be it. */
		iov.iov_base = a.target;
		iov.iov_len = PAGE;
		ASSERT_EQ(pipe(early_pipe), 0);
		ASSERT_EQ(vmsplice(early_pipe[1], &iov, 1, 0), PAGE);
		pkvm_must(vcpu, guest_nop);
		stop = pkvm_call(vcpu, guest_fill, ipa, PAGE, self->seed);
		if (stop < 0) {
			TH_LOG("a page with other users is not donated: %d", stop);
			close(early_pipe[0]);
			close(early_pipe[1]);
			pkvm_vm_free(vm);
			return;
		}
		ASSERT_EQ(stop, PKVM_RETURNED);
	}

	/* The neighbours as well, so that a range is not cut at the page. */
	pkvm_must(vcpu, guest_fill, ipa - PAGE, 3 * PAGE, self->seed + 1);
	pkvm_must(vcpu, guest_fill, ipa, PAGE, self->seed);

	memset(buf, 0x3c, sizeof(buf));
	got = variant->run(&a);
	if (got == ATTACK_SKIPPED) {
		pkvm_vm_free(vm);
		SKIP(return, "%s", a.why);
	}
	TH_LOG("the attack got %ld", got);
	EXPECT_EQ(secrets_in(buf, PAGE, self->seed), 0);
	EXPECT_EQ(secrets_in(buf, PAGE, self->seed + 1), 0);
	EXPECT_NE(got, ATTACK_ODD);

	stop = pkvm_call(vcpu, guest_verify, ipa, PAGE, self->seed);
	if (stop == PKVM_RETURNED) {
		TH_LOG("the guest kept its page");
		EXPECT_EQ(vcpu->ret, 0);
		EXPECT_EQ(pkvm_must(vcpu, guest_verify, ipa - PAGE, PAGE,
				    self->seed + 1), 0);
	} else {
		TH_LOG("the guest lost its page");
		EXPECT_EQ(stop, -EFAULT);
		EXPECT_EQ(vcpu->run->exit_reason, KVM_EXIT_MEMORY_FAULT);
		EXPECT_EQ(vcpu->run->memory_fault.gpa & ~(PAGE - 1), ipa);
		EXPECT_NE(vcpu->run->memory_fault.size, 0);
		/* For ever. */
		EXPECT_EQ(pkvm_resume(vcpu), -EFAULT);
	}
	if (early_pipe[0] >= 0) {
		close(early_pipe[0]);
		close(early_pipe[1]);
	}
	pkvm_vm_close(vm);
	memset(buf, 0, sizeof(buf));
	/* What the attack itself wrote may be there, the secret may not. */
	memcpy(buf, a.target, PAGE);
	EXPECT_EQ(secrets_in(buf, PAGE, self->seed), 0);
	pkvm_vm_free(vm);
}

/* ---------------------------------------------------------- one of each kind */

FIXTURE(one) {
	struct pkvm_counters before;
	uint64_t seed;
};

FIXTURE_SETUP(one)
{
	const char *why = pkvm_unavailable();

	if (why)
		SKIP(return, "%s", why);
	pkvm_counters_read(&self->before);
	self->seed = pkvm_seed();
}

FIXTURE_TEARDOWN(one)
{
	EXPECT_TRUE(pkvm_counters_back(&self->before, -1));
}

/* A guest whose memory is mem: its first touch fails so, and costs nothing. */
static void expect_backing_refused(struct __test_metadata *_metadata, void *mem,
				   size_t size, int want)
{
	struct pkvm_opts opts = {
		.backing = PKVM_CALLER, .mem = mem, .mem_size = size,
	};
	struct pkvm_vm *vm = pkvm_vm_create(&opts);
	struct pkvm_vcpu *vcpu = pkvm_vcpu0(vm);
	struct pkvm_counters before;
	int stop;

	pkvm_must(vcpu, guest_nop);
	/* Its function and stack are in by now, or count twice. */
	stop = pkvm_call(vcpu, guest_load, PKVM_MEM_IPA);
	EXPECT_EQ(stop, want);
	pkvm_counters_read(&before);
	stop = pkvm_resume(vcpu);
	EXPECT_EQ(stop, want);
	EXPECT_EQ(vcpu->run->exit_reason, KVM_EXIT_MEMORY_FAULT);
	EXPECT_EQ(vcpu->run->memory_fault.gpa & ~(PAGE - 1), PKVM_MEM_IPA);
	EXPECT_TRUE(pkvm_counters_back(&before, -1));
	pkvm_vm_free(vm);
}

#define ITS_IPA		0x49000000UL

/* 0 or -errno. */
static int its_set(int its, uint32_t group, uint64_t attr, uint64_t val)
{
	return __kvm_device_attr_set(its, group, attr, &val) ? -errno : 0;
}

static int its_ctrl(int its, uint64_t what)
{
	return its_set(its, KVM_DEV_ARM_VGIC_GRP_CTRL, what, 0);
}

/* An ITS that is ready; its file, or -errno. */
static int its_create(struct pkvm_vm *vm)
{
	struct kvm_create_device dev = { .type = KVM_DEV_TYPE_ARM_VGIC_ITS };
	int ret;

	if (ioctl(vm->fd, KVM_CREATE_DEVICE, &dev))
		return -errno;
	ret = its_set(dev.fd, KVM_DEV_ARM_VGIC_GRP_ADDR, KVM_VGIC_ITS_ADDR_TYPE, ITS_IPA) ?:
	      its_ctrl(dev.fd, KVM_DEV_ARM_VGIC_CTRL_INIT);
	return ret ? ret : (int)dev.fd;
}

/* In memory that is the guest's alone the tables are neither written nor read. */
static void expect_tables_refused(struct __test_metadata *_metadata,
				  struct pkvm_vcpu *vcpu, int its, uint64_t seed)
{
	pkvm_must(vcpu, guest_fill, PKVM_MEM_IPA, PAGE, seed);
	EXPECT_EQ(its_ctrl(its, KVM_DEV_ARM_ITS_SAVE_TABLES), -EFAULT);
	EXPECT_EQ(its_ctrl(its, KVM_DEV_ARM_ITS_RESTORE_TABLES), -EFAULT);
	EXPECT_EQ(pkvm_must(vcpu, guest_verify, PKVM_MEM_IPA, PAGE, seed), 0);
}

/* KVM keeps the tables of an ITS in the guest's memory, by its host address. */
TEST_F_TIMEOUT(one, i5_its_tables, TIMEOUT)
{
	static const enum pkvm_backing backings[] = { PKVM_MEMFD, PKVM_ANON };
	/* Valid: collections, in a page of 64K at the start of the guest's memory. */
	uint64_t baser1 = BIT(63) | PKVM_MEM_IPA | 2 << 8;
	int i, its;

	for (i = 0; i < ARRAY_SIZE(backings); i++) {
		struct pkvm_opts opts = { .backing = backings[i] };
		struct pkvm_vm *vm = pkvm_vm_create(&opts);
		struct pkvm_vcpu *vcpu = pkvm_vcpu0(vm);

		its = its_create(vm);
		ASSERT_GE(its, 0);
		ASSERT_EQ(its_set(its, KVM_DEV_ARM_VGIC_GRP_ITS_REGS,
				  GITS_BASER + sizeof(baser1), baser1), 0);

		expect_tables_refused(_metadata, vcpu, its, self->seed);

		/* What the guest shares is good for it: no collection, so an empty entry. */
		pkvm_must(vcpu, guest_store, PKVM_MEM_IPA, 0x1234);
		EXPECT_EQ(page_share(vcpu, PKVM_MEM_IPA), 0);
		EXPECT_EQ(its_ctrl(its, KVM_DEV_ARM_ITS_SAVE_TABLES), 0);
		EXPECT_EQ(its_ctrl(its, KVM_DEV_ARM_ITS_RESTORE_TABLES), 0);
		EXPECT_EQ(pkvm_must(vcpu, guest_load, PKVM_MEM_IPA), 0);

		/* Private again. */
		EXPECT_EQ(page_unshare(vcpu, PKVM_MEM_IPA), 0);
		expect_tables_refused(_metadata, vcpu, its, self->seed);
		close(its);
		pkvm_vm_free(vm);
	}
}

/* Tables of a GIC, each with 64K of the guest's memory for itself. */
enum gic_table { PENDING, CONFIG, COMMANDS, DEVICES, COLLECTIONS, EVENTS, NR_GIC_TABLES };

#define TABLE_IPA(n)	(PKVM_MEM_IPA + ((n) + 1) * SZ_64K)
#define LPI		8192UL
#define GITS(reg)	(ITS_IPA + (reg))

/* Registers of 32 bits take nothing else. */
static uint64_t guest_store32(uint64_t addr, uint64_t val)
{
	asm volatile("str %w1, [%0]" :: "r" (addr), "r" (val) : "memory");
	return 0;
}

/* One device with one event, which is one LPI; and that event. */
static const uint64_t map_and_raise[][4] = {
	{ GITS_CMD_MAPC, 0, BIT(63) },
	{ GITS_CMD_MAPD, 4, BIT(63) | TABLE_IPA(EVENTS) },
	{ GITS_CMD_MAPTI, LPI << 32, 0 },
	{ GITS_CMD_INT, 0, 0 },
};

/* The properties of the LPI are read again. */
static const uint64_t look_again[][4] = {
	{ GITS_CMD_INV, 0, 0 },
};

/* The guest gives its commands to the ITS, which is the host: all are taken. */
static void its_run(struct __test_metadata *_metadata, struct pkvm_vcpu *vcpu,
		    const uint64_t (*commands)[4], int nr)
{
	uint64_t at = pkvm_must(vcpu, guest_load, GITS(GITS_CREADR));
	int i;

	for (i = 0; i < 4 * nr; i++, at += 8)
		pkvm_must(vcpu, guest_store, TABLE_IPA(COMMANDS) + at,
			  commands[i / 4][i % 4]);
	pkvm_must(vcpu, guest_store, GITS(GITS_CWRITER), at);
	EXPECT_EQ(pkvm_must(vcpu, guest_load, GITS(GITS_CREADR)), at);
}

static int save_pending(struct pkvm_vm *vm)
{
	return its_set(vm->gic_fd, KVM_DEV_ARM_VGIC_GRP_CTRL,
		       KVM_DEV_ARM_VGIC_SAVE_PENDING_TABLES, 0);
}

/* Where the LPI is in the table of those that are pending. */
static uint64_t pending_word(struct pkvm_vcpu *vcpu)
{
	return pkvm_must(vcpu, guest_load, TABLE_IPA(PENDING) + LPI / 8);
}

/*
 * Commands to an ITS, the properties of LPIs and which of them are pending: what KVM
 * would read or write of it in memory that is the guest's alone does not happen.
 */
TEST_F_TIMEOUT(one, i5_lpi_tables, TIMEOUT)
{
	static const enum pkvm_backing backings[] = { PKVM_MEMFD, PKVM_ANON };
	static const enum gic_table saved[] = { EVENTS, DEVICES, COLLECTIONS };
	int i, t, its;

	for (i = 0; i < ARRAY_SIZE(backings); i++) {
		struct pkvm_opts opts = { .backing = backings[i] };
		struct pkvm_vm *vm = pkvm_vm_create(&opts);
		struct pkvm_vcpu *vcpu = pkvm_vcpu0(vm);

		its = its_create(vm);
		ASSERT_GE(its, 0);
		for (t = 0; t < NR_GIC_TABLES; t++)
			pkvm_must(vcpu, guest_store, TABLE_IPA(t), 0);
		pkvm_must(vcpu, guest_store, PKVM_GICR_IPA + GICR_PROPBASER,
			  TABLE_IPA(CONFIG) | 15);
		pkvm_must(vcpu, guest_store, PKVM_GICR_IPA + GICR_PENDBASER,
			  TABLE_IPA(PENDING));
		pkvm_must(vcpu, guest_store32, PKVM_GICR_IPA + GICR_CTLR,
			  GICR_CTLR_ENABLE_LPIS);
		pkvm_must(vcpu, guest_store, GITS(GITS_CBASER),
			  BIT(63) | TABLE_IPA(COMMANDS));
		pkvm_must(vcpu, guest_store, GITS(GITS_BASER),
			  BIT(63) | TABLE_IPA(DEVICES) | 2 << 8);
		pkvm_must(vcpu, guest_store, GITS(GITS_BASER) + 8,
			  BIT(63) | TABLE_IPA(COLLECTIONS) | 2 << 8);
		pkvm_must(vcpu, guest_store32, GITS(GITS_CTLR), GITS_CTLR_ENABLE);

		/* Commands, then properties, then what is pending: no LPI comes to be. */
		for (t = COMMANDS; t >= PENDING; t--) {
			its_run(_metadata, vcpu, map_and_raise, ARRAY_SIZE(map_and_raise));
			EXPECT_EQ(save_pending(vm), 0);
			EXPECT_EQ(pending_word(vcpu), 0);
			EXPECT_EQ(page_share(vcpu, TABLE_IPA(t)), 0);
		}
		/* All is there now, and the event is seen. */
		its_run(_metadata, vcpu, map_and_raise, ARRAY_SIZE(map_and_raise));
		EXPECT_EQ(save_pending(vm), 0);
		EXPECT_EQ(pending_word(vcpu), 1);

		/* Private again: nothing is written there, and the errors are told. */
		EXPECT_EQ(page_unshare(vcpu, TABLE_IPA(PENDING)), 0);
		EXPECT_EQ(page_unshare(vcpu, TABLE_IPA(CONFIG)), 0);
		pkvm_must(vcpu, guest_fill, TABLE_IPA(PENDING), PAGE, self->seed);
		pkvm_must(vcpu, guest_fill, TABLE_IPA(CONFIG), PAGE, self->seed);
		EXPECT_EQ(save_pending(vm), -EFAULT);
		its_run(_metadata, vcpu, look_again, ARRAY_SIZE(look_again));
		EXPECT_EQ(save_pending(vm), -EFAULT);

		/* What an ITS saves of its device: each table must be shared. */
		for (t = 0; t < ARRAY_SIZE(saved); t++) {
			pkvm_must(vcpu, guest_fill, TABLE_IPA(saved[t]), PAGE, self->seed);
			EXPECT_EQ(its_ctrl(its, KVM_DEV_ARM_ITS_SAVE_TABLES), -EFAULT);
			EXPECT_EQ(pkvm_must(vcpu, guest_verify, TABLE_IPA(saved[t]), PAGE,
					    self->seed), 0);
			EXPECT_EQ(page_share(vcpu, TABLE_IPA(saved[t])), 0);
		}
		EXPECT_EQ(its_ctrl(its, KVM_DEV_ARM_ITS_SAVE_TABLES), 0);
		EXPECT_NE(pkvm_must(vcpu, guest_load, TABLE_IPA(EVENTS)),
			  pkvm_pattern(self->seed, 0));

		/* Made anew it comes to nothing, as at first. */
		its_run(_metadata, vcpu, map_and_raise, ARRAY_SIZE(map_and_raise));
		EXPECT_EQ(save_pending(vm), 0);
		EXPECT_EQ(pkvm_must(vcpu, guest_verify, TABLE_IPA(PENDING), PAGE,
				    self->seed), 0);
		EXPECT_EQ(pkvm_must(vcpu, guest_verify, TABLE_IPA(CONFIG), PAGE,
				    self->seed), 0);
		close(its);
		pkvm_vm_free(vm);
	}
}

/*
 * On a host that hides nothing: the kernel finds the page and looks into it. EL2 has
 * the last word: the host reads zeroes and lives, the guest lost the page.
 */
TEST_F_TIMEOUT(one, i5_bypassed, TIMEOUT)
{
	static const enum pkvm_backing backings[] = { PKVM_MEMFD, PKVM_ANON };
	struct pkvm_opts opts = {};
	char on = 'N', *target;
	static uint64_t buf[512];
	struct pkvm_vm *vm;
	int i, fd;

	fd = open("/sys/module/guest_page/parameters/bypass", O_RDONLY);
	if (fd < 0 || read(fd, &on, 1) != 1 || on != 'Y')
		SKIP(return, "not on a host with guest_page.bypass=1");
	close(fd);
	for (i = 0; i < 2; i++) {
		struct iovec local = { buf, PAGE }, remote = { NULL, PAGE };

		opts.backing = backings[i];
		vm = pkvm_vm_create(&opts);
		target = vm->mem + 16 * PAGE;
		remote.iov_base = target;
		pkvm_must(pkvm_vcpu0(vm), guest_fill, PKVM_MEM_IPA + 16 * PAGE, PAGE,
			  self->seed);
		/* User space is told by a signal, and the guest has it still. */
		EXPECT_TRUE(pkvm_is_segv_at(pkvm_host_read(target, NULL), target));
		EXPECT_TRUE(pkvm_is_segv_at(pkvm_host_write(target, 1), target));
		EXPECT_EQ(pkvm_must(pkvm_vcpu0(vm), guest_verify, PKVM_MEM_IPA + 16 * PAGE,
				    PAGE, self->seed), 0);
		/* By the direct map of the kernel. */
		memset(buf, 0x3c, sizeof(buf));
		EXPECT_EQ(process_vm_readv(getpid(), &local, 1, &remote, 1, 0), PAGE);
		EXPECT_EQ(pkvm_count_nonzero(buf, sizeof(buf)), 0);
		EXPECT_EQ(pkvm_call(pkvm_vcpu0(vm), guest_verify, PKVM_MEM_IPA + 16 * PAGE,
				    PAGE, self->seed), -EFAULT);
		EXPECT_EQ(pkvm_vcpu0(vm)->run->exit_reason, KVM_EXIT_MEMORY_FAULT);
		pkvm_vm_free(vm);
	}
}

TEST_F_TIMEOUT(one, i7_file_backing_is_eio, TIMEOUT)
{
	char dir[] = "/tmp/pkvmXXXXXX", path[64];
	char *p;
	int fd;

	ASSERT_NE(mkdtemp(dir), NULL);
	if (mount("none", dir, "ramfs", 0, NULL)) {
		rmdir(dir);
		SKIP(return, "cannot mount a ramfs");
	}
	snprintf(path, sizeof(path), "%s/ram", dir);
	fd = open(path, O_RDWR | O_CREAT, 0600);
	ASSERT_GE(fd, 0);
	ASSERT_EQ(ftruncate(fd, SZ_1M), 0);
	p = mmap(NULL, SZ_1M, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(p, MAP_FAILED);
	memset(p, 0x11, SZ_64K);
	expect_backing_refused(_metadata, p, SZ_1M, -EIO);
	EXPECT_EQ(p[5], 0x11);
	munmap(p, SZ_1M);
	close(fd);
	EXPECT_EQ(umount(dir), 0);
	rmdir(dir);
}

/* Other processes can detach and remove such memory, and it has operations of its own. */
TEST_F_TIMEOUT(one, i7_sysv_backing_is_eio, TIMEOUT)
{
	int id = shmget(IPC_PRIVATE, SZ_1M, IPC_CREAT | 0600);
	char *p;

	ASSERT_GE(id, 0);
	p = shmat(id, NULL, 0);
	EXPECT_EQ(shmctl(id, IPC_RMID, NULL), 0);
	ASSERT_NE(p, (void *)-1);
	memset(p, 0x11, SZ_64K);
	expect_backing_refused(_metadata, p, SZ_1M, -EIO);
	EXPECT_EQ(p[5], 0x11);
	EXPECT_EQ(shmdt(p), 0);
}

/* The kernel has no mapping of such memory, and could not clear it. */
TEST_F_TIMEOUT(one, i7_secretmem_backing_is_eio, TIMEOUT)
{
	int fd = syscall(__NR_memfd_secret, 0);
	char *p;

	if (fd < 0)
		SKIP(return, "no memfd_secret(): %s", strerror(errno));
	ASSERT_EQ(ftruncate(fd, SZ_1M), 0);
	p = mmap(NULL, SZ_1M, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(p, MAP_FAILED);
	memset(p, 0x11, SZ_64K);
	expect_backing_refused(_metadata, p, SZ_1M, -EIO);
	EXPECT_EQ(p[5], 0x11);
	EXPECT_EQ(munmap(p, SZ_1M), 0);
	close(fd);
}

TEST_F_TIMEOUT(one, i7_hugetlb_backing_is_eio, TIMEOUT)
{
	char *p;

	write_text("/proc/sys/vm/nr_hugepages", "4");
	p = mmap(NULL, SZ_4M, PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
	if (p == MAP_FAILED)
		SKIP(return, "no huge pages");
	*p = 0x11;
	expect_backing_refused(_metadata, p, SZ_4M, -EIO);
	EXPECT_EQ(*p, 0x11);
	munmap(p, SZ_4M);
	write_text("/proc/sys/vm/nr_hugepages", "0");
}

/* A PFNMAP: the interrupt controller of the machine, or what is at 128 MiB. */
TEST_F_TIMEOUT(one, i9_pfnmap_backing_is_eio, TIMEOUT)
{
	int fd = open("/dev/mem", O_RDWR);
	char *p;

	if (fd < 0)
		SKIP(return, "no /dev/mem");
	p = mmap(NULL, SZ_64K, PROT_READ | PROT_WRITE, MAP_SHARED, fd, SZ_128M);
	close(fd);
	if (p == MAP_FAILED)
		SKIP(return, "/dev/mem maps nothing at 128 MiB");
	expect_backing_refused(_metadata, p, SZ_64K, -EIO);
	munmap(p, SZ_64K);
}

/* The kernel's own page, which it shares with EL2 while the VM runs. */
TEST_F_TIMEOUT(one, i1_run_page_as_guest_memory, TIMEOUT)
{
	struct pkvm_vm *vm = pkvm_vm_create(NULL);

	expect_backing_refused(_metadata, vm->vcpus[0].run, PAGE, -EIO);
	EXPECT_EQ(pkvm_must(pkvm_vcpu0(vm), guest_nop), 0);
	pkvm_vm_free(vm);
}

TEST_F_TIMEOUT(one, i5_no_or_readonly_backing_is_efault, TIMEOUT)
{
	char *p = mmap(NULL, SZ_1M, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ASSERT_NE(p, MAP_FAILED);
	expect_backing_refused(_metadata, p, SZ_1M, -EFAULT);
	ASSERT_EQ(mprotect(p, SZ_1M, PROT_READ), 0);
	expect_backing_refused(_metadata, p, SZ_1M, -EFAULT);
	munmap(p, SZ_1M);
	/* Where no mapping comes by itself, unlike at p from now on. */
	expect_backing_refused(_metadata, (void *)BIT(40), SZ_1M, -EFAULT);
}

/* One page at two addresses of a guest: it has it at the first. */
TEST_F_TIMEOUT(one, i1_same_page_in_two_slots, TIMEOUT)
{
	struct pkvm_opts opts = { .nr_vcpus = 2 };
	struct pkvm_vm *vm = pkvm_vm_create(&opts);
	struct pkvm_vcpu *vcpu = pkvm_vcpu0(vm);
	int stop;

	ASSERT_EQ(pkvm_set_slot(vm, 9, PKVM_MEM2_IPA, vm->mem_size, vm->mem, 0), 0);
	pkvm_must(vcpu, guest_fill, PKVM_MEM_IPA, PAGE, self->seed);
	pkvm_must(vcpu, guest_hvc, 0xc4000003, 1, (uintptr_t)pkvm_guest_entry,
		  (uintptr_t)&pkvm_guest_cpus[1]);
	pkvm_must(&vm->vcpus[1], guest_nop);

	stop = pkvm_call_timeout(&vm->vcpus[1], 5000, guest_store, PKVM_MEM2_IPA, 0xbad);
	TH_LOG("the second address: %d", stop);
	EXPECT_LT(stop, 0);
	EXPECT_NE(stop, -EINTR) {
		TH_LOG("KVM_RUN did not end");
	}
	EXPECT_EQ(pkvm_must(vcpu, guest_verify, PKVM_MEM_IPA, PAGE, self->seed), 0);
	/* A page that is shared is the guest's as well. */
	ASSERT_EQ(page_share(vcpu, PKVM_MEM_IPA), 0);
	EXPECT_LT(pkvm_resume_timeout(&vm->vcpus[1], 5000), 0);
	EXPECT_EQ(pkvm_must(vcpu, guest_verify, PKVM_MEM_IPA, PAGE, self->seed), 0);
	pkvm_vm_free(vm);
}

/* One page in two guests: it belongs to the one that was first. */
TEST_F_TIMEOUT(one, i1_same_page_in_two_vms, TIMEOUT)
{
	struct pkvm_opts opts = { 0 };
	struct pkvm_vm *first, *second;
	int i, stop;

	for (i = 0; i < 2; i++) {
		/* A protected one, and an ordinary one. */
		first = pkvm_vm_create(NULL);
		opts.mem_fd = first->mem_fd;
		opts.ordinary = i;
		second = pkvm_vm_create(&opts);
		pkvm_must(pkvm_vcpu0(first), guest_fill, PKVM_MEM_IPA, PAGE, self->seed);
		pkvm_must(pkvm_vcpu0(second), guest_nop);

		stop = pkvm_call_timeout(pkvm_vcpu0(second), 5000, guest_load,
					 PKVM_MEM_IPA);
		TH_LOG("the second VM, ordinary %d: %d", i, stop);
		EXPECT_LT(stop, 0);
		EXPECT_NE(stop, -EINTR) {
			TH_LOG("KVM_RUN did not end");
		}
		EXPECT_EQ(pkvm_must(pkvm_vcpu0(first), guest_verify, PKVM_MEM_IPA, PAGE,
				    self->seed), 0);
		/* When the first is gone, the second may have it, and zeroed. */
		pkvm_vm_free(first);
		ASSERT_EQ(pkvm_resume(pkvm_vcpu0(second)), PKVM_RETURNED);
		EXPECT_EQ(pkvm_vcpu0(second)->ret, 0);
		pkvm_vm_free(second);
	}
}

/* The other way round: an ordinary guest has it mapped, then it is donated. */
TEST_F_TIMEOUT(one, i1_page_of_an_ordinary_vm, TIMEOUT)
{
	struct pkvm_opts opts = { .ordinary = true };
	struct pkvm_vm *ordinary = pkvm_vm_create(&opts), *vm;
	struct pkvm_vcpu *spy = pkvm_vcpu0(ordinary), *vcpu;
	int stop;

	pkvm_must(spy, guest_fill, PKVM_MEM_IPA, PAGE, 1);
	opts.ordinary = false;
	opts.mem_fd = ordinary->mem_fd;
	vm = pkvm_vm_create(&opts);
	vcpu = pkvm_vcpu0(vm);
	stop = pkvm_call(vcpu, guest_fill, PKVM_MEM_IPA, PAGE, self->seed);
	TH_LOG("a page that an ordinary VM had: %d", stop);
	if (stop == PKVM_RETURNED) {
		/* It got the page, so the other must have lost it. */
		stop = pkvm_call(spy, guest_load, PKVM_MEM_IPA);
		EXPECT_TRUE(vm->ordinary || stop < 0) {
			TH_LOG("the ordinary guest read %#lx", spy->ret);
		}
		EXPECT_EQ(pkvm_must(vcpu, guest_verify, PKVM_MEM_IPA, PAGE, self->seed),
			  0);
	} else {
		EXPECT_LT(stop, 0);
		EXPECT_EQ(pkvm_must(spy, guest_verify, PKVM_MEM_IPA, PAGE, 1), 0);
	}
	pkvm_vm_free(vm);
	pkvm_vm_free(ordinary);
}

/*
 * S03: the kernel compares and hashes names in words that may reach over the
 * end of a page, into one that is private. With every other page private, some
 * of the buffers it uses end there.
 */
TEST_F_TIMEOUT(one, i5_load_unaligned_zeropad, TIMEOUT)
{
	struct pkvm_opts opts = { .backing = PKVM_ANON, .mem_size = SZ_4M };
	struct pkvm_vm *vm = pkvm_vm_create(&opts);
	char path[4096];
	size_t off;
	int i, j;

	memset(vm->mem, 0, vm->mem_size);
	for (off = 0; off < vm->mem_size; off += 2 * PAGE)
		pkvm_must(pkvm_vcpu0(vm), guest_store, PKVM_MEM_IPA + off, off);
	/* Gives the pages between to the kernel. */
	for (off = PAGE; off < vm->mem_size; off += 2 * PAGE)
		madvise(vm->mem + off, PAGE, MADV_DONTNEED);

	for (i = 0; i < 2000; i++) {
		int len = 4095 - i % 24;

		for (j = 0; j < len; j++)
			path[j] = j % 16 == i % 16 ? '/' : 'x';
		path[0] = '/';
		path[len] = 0;
		EXPECT_EQ(access(path, F_OK), -1);
		EXPECT_TRUE(errno == ENOENT || errno == ENAMETOOLONG ||
			    errno == ENOMEM) {
			TH_LOG("errno %d", errno);
		}
	}
	for (off = 0; off < vm->mem_size; off += 2 * PAGE)
		ASSERT_EQ(pkvm_must(pkvm_vcpu0(vm), guest_load, PKVM_MEM_IPA + off), off);
	pkvm_vm_free(vm);
}

/* S02: the dump of a crashed VMM, as the machine's crash handler gets it. */
TEST_F_TIMEOUT(one, i5_core_dump, TIMEOUT)
{
	char old[256] = "core\n", path[64];
	struct rlimit unlimited = { RLIM_INFINITY, RLIM_INFINITY };
	int fd, status;
	size_t found = 0;
	ssize_t len;
	pid_t pid;
	char *buf;

	fd = open("/proc/sys/kernel/core_pattern", O_RDWR);
	if (fd < 0)
		SKIP(return, "cannot set core_pattern");
	len = read(fd, old, sizeof(old) - 1);
	close(fd);
	ASSERT_GT(len, 0);
	old[len] = 0;
	ASSERT_TRUE(write_text("/proc/sys/kernel/core_pattern", "/tmp/pkvm.core.%p"));

	pid = fork();
	if (!pid) {
		struct pkvm_opts opts = { .backing = PKVM_ANON };
		struct pkvm_vm *vm;

		setrlimit(RLIMIT_CORE, &unlimited);
		/* Shared anonymous and private memory are in the dump. */
		write_text("/proc/self/coredump_filter", "0x3f");
		vm = pkvm_vm_create(&opts);
		pkvm_must(pkvm_vcpu0(vm), guest_fill, PKVM_MEM_IPA, SZ_64K, self->seed);
		signal(SIGSEGV, SIG_DFL);
		*(uint64_t *)(vm->mem + PAGE) = 1;
		_exit(0);
	}
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_TRUE(WIFSIGNALED(status));
	EXPECT_EQ(WTERMSIG(status), SIGSEGV);
	write_text("/proc/sys/kernel/core_pattern", old);

	snprintf(path, sizeof(path), "/tmp/pkvm.core.%d", pid);
	fd = open(path, O_RDONLY);
	if (fd < 0)
		SKIP(return, "no core dump was written");
	buf = malloc(SZ_64K);
	while ((len = read(fd, buf, SZ_64K)) > 0) {
		ssize_t i;

		for (i = 0; i + 8 <= len; i += 8)
			found += *(uint64_t *)(buf + i) == pkvm_pattern(self->seed, 700);
	}
	free(buf);
	close(fd);
	unlink(path);
	EXPECT_EQ(found, 0);
}

/* Each vCPU has a word of its own in each page, and so has the host. */
#define RACE_PAGES	8
#define RACE_WORD(cpu)	(2048 + 8 * (cpu))
#define RACE_HOST_WORD	64

/* Who shares and who takes back is chance: only the own word has to stay what it was. */
static uint64_t guest_share_loop(uint64_t ipa, uint64_t cpu, uint64_t rounds, uint64_t step)
{
	uint64_t i, bad = 0;

	for (i = 1; i <= rounds; i++) {
		uint64_t addr = ipa + i * step % RACE_PAGES * 4096;

		WRITE_ONCE(*(uint64_t *)(addr + RACE_WORD(cpu)), i);
		guest_hvc_quiet(PKVM_HVC_SHARE, addr, 0, 0);
		guest_hvc_quiet(PKVM_HVC_UNSHARE, addr, 0, 0);
		bad += READ_ONCE(*(uint64_t *)(addr + RACE_WORD(cpu))) != i;
	}
	return bad;
}

struct race_host {
	pthread_t tid;
	char *mem;
	uint64_t last;		/* what a vCPU may have written at most */
	size_t faults, reads, wrong;
	bool stop;
};

/* What it can read is a guest's word; what it writes is in its own. */
static void *race_host_access(void *arg)
{
	struct race_host *h = arg;
	uint64_t val, i;

	for (i = 0; !READ_ONCE(h->stop); i++) {
		char *p = h->mem + i % RACE_PAGES * PAGE;

		if (pkvm_host_read(p + RACE_WORD(i / RACE_PAGES % 2), &val).sig) {
			h->faults++;
			continue;
		}
		h->reads++;
		h->wrong += val > h->last;
		if (pkvm_host_write(p + RACE_HOST_WORD, i).sig)
			h->faults++;
	}
	return NULL;
}

/* S32: two vCPUs and the host fight for the same pages; nobody may win by accident. */
TEST_F_TIMEOUT(one, i5_i6_share_race_with_host_access, TIMEOUT)
{
	struct pkvm_opts opts = { .nr_vcpus = 2 };
	struct pkvm_vm *vm = pkvm_vm_create(&opts);
	struct race_host host = { .mem = vm->mem, .last = 600 };
	struct pkvm_thread t[2];
	int i;

	ASSERT_EQ(pkvm_must(&vm->vcpus[0], guest_hvc, PSCI_0_2_FN64_CPU_ON, 1,
			    (uintptr_t)pkvm_guest_entry, (uintptr_t)&pkvm_guest_cpus[1]), 0);
	/* All in, and every page was shared once: the host has nothing to bring there. */
	for (i = 0; i < 2; i++)
		pkvm_must(&vm->vcpus[i], guest_share_loop, PKVM_MEM_IPA, i, RACE_PAGES, 1);
	ASSERT_EQ(pthread_create(&host.tid, NULL, race_host_access, &host), 0);
	for (i = 0; i < 2; i++)
		pkvm_thread_start(&t[i], &vm->vcpus[i], guest_share_loop, PKVM_MEM_IPA, i,
				  host.last, 1 + 2 * i);
	for (i = 0; i < 2; i++) {
		EXPECT_EQ(pkvm_thread_join(&t[i]), PKVM_RETURNED);
		EXPECT_EQ(vm->vcpus[i].ret, 0) {
			TH_LOG("vCPU %d: %lu words are not as it left them", i,
			       vm->vcpus[i].ret);
		}
	}
	WRITE_ONCE(host.stop, true);
	pthread_join(host.tid, NULL);
	EXPECT_EQ(host.wrong, 0);
	EXPECT_GT(host.faults, 0);
	EXPECT_GT(host.reads, 0);
	TH_LOG("%zu accesses faulted, %zu did not", host.faults, host.reads);
	pkvm_vm_free(vm);
}

TEST_HARNESS_MAIN
