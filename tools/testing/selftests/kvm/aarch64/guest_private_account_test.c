// SPDX-License-Identifier: GPL-2.0-only
/*
 * What guest-private memory costs, and who pays (I4, I7): each page is charged to the
 * VMM and pinned once, never beyond RLIMIT_MEMLOCK, whatever guests and VMM do at the
 * same time, whatever fails, and in whatever way the VM ends; and all of it is to be
 * seen where memory is counted.
 *
 * GUEST_PRIVATE_ROUNDS=N: how often a storm shares and takes back (default 500).
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <asm/kvm.h>
#include <linux/capability.h>
#include <linux/falloc.h>
#include <linux/psci.h>
#include <linux/sizes.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "kselftest_harness.h"
#include "kvm_util.h"
#include "processor.h"
#include "held.h"
#include "hostile.h"
#include "guest_private.h"

#define TIMEOUT		180
#define PAGE_KB		4L
#define NOBODY		65534
#define BOUND_MS	10000	/* for one KVM_RUN, on a slow machine */
#define SLACK_KB	8192	/* caches of the kernel, the huge page of zeroes */

/* ------------------------------------------------------------ guest side */

/* Stores into nr pages that begin at ipa, step pages apart. */
static uint64_t guest_touch(uint64_t ipa, uint64_t nr, uint64_t step, uint64_t val)
{
	uint64_t i;

	for (i = 0; i < nr; i++)
		WRITE_ONCE(*(uint64_t *)(ipa + i * step * GP_PAGE), val + i);
	return 0;
}

/* All vCPUs come to each page at once: the count of those there is in turn[]. */
static uint64_t guest_touch_together(uint64_t ipa, uint64_t nr, uint64_t turn,
				     uint64_t cpus, uint64_t me)
{
	uint64_t i, bad = 0;

	for (i = 0; i < nr; i++) {
		uint64_t *count = (uint64_t *)turn + i;
		uint64_t *word = (uint64_t *)(ipa + i * GP_PAGE);

		__atomic_fetch_add(count, 1, __ATOMIC_SEQ_CST);
		while (__atomic_load_n(count, __ATOMIC_SEQ_CST) < cpus)
			;
		WRITE_ONCE(word[me], i + me);
	}
	for (i = 0; i < nr; i++)
		bad += READ_ONCE(((uint64_t *)(ipa + i * GP_PAGE))[me]) != i + me;
	return bad;
}

static uint64_t guest_share_storm(uint64_t ipa, uint64_t nr, uint64_t rounds)
{
	uint64_t i, addr, bad = 0, refused = 0;

	for (i = 0; i < rounds; i++) {
		addr = ipa + i % nr * GP_PAGE;
		WRITE_ONCE(*(uint64_t *)(addr + 2048), i);
		bad += !!guest_hvc_quiet(PKVM_HVC_SHARE, addr, 0, 0);
		while (guest_hvc_quiet(PKVM_HVC_UNSHARE, addr, 0, 0))
			refused++;
		bad += READ_ONCE(*(uint64_t *)(addr + 2048)) != i;
	}
	guest_out(0, refused);
	return bad;
}

/* ---------------------------------------------------------------- the limit */

static bool set_ipc_lock(bool on)
{
	struct __user_cap_header_struct header = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	struct __user_cap_data_struct data[2];

	if (syscall(__NR_capget, &header, data))
		return false;
	if (on)
		data[0].effective |= 1U << CAP_IPC_LOCK;
	else
		data[0].effective &= ~(1U << CAP_IPC_LOCK);
	return !syscall(__NR_capset, &header, data);
}

static bool limit_kb(long kb)
{
	struct rlimit limit = { kb << 10, RLIM_INFINITY };

	return !setrlimit(RLIMIT_MEMLOCK, &limit);
}

static long pins(void)
{
	struct pkvm_counters c;

	pkvm_counters_read(&c);
	return c.pin_acquired - c.pin_released;
}

FIXTURE(account) {
	struct gp_host host;
	struct rlimit limit;
};

FIXTURE_VARIANT(account) {
	enum gp_backing backing;
};

FIXTURE_VARIANT_ADD(account, memfd) { GP_MEMFD };
FIXTURE_VARIANT_ADD(account, anon) { GP_ANON };

FIXTURE_SETUP(account)
{
	struct gp_host *h = &self->host;
	const char *why = pkvm_unavailable();
	uint64_t i;

	if (why)
		SKIP(return, "%s", why);
	ASSERT_EQ(getrlimit(RLIMIT_MEMLOCK, &self->limit), 0);
	gp_open(h, variant->backing, PKVM_MAX_VCPUS, 0);
	/* What the guest's code and stacks take is there when a case begins. */
	pkvm_must(h->vcpu, guest_touch, PKVM_MEM_IPA, 1, 1, 0);
	pkvm_must(h->vcpu, guest_share_storm, PKVM_MEM_IPA, 1, 1);
	pkvm_must(h->vcpu, guest_touch_together, PKVM_MEM_IPA, 1, PKVM_MEM_IPA + 2048, 1, 0);
	pkvm_must(h->vcpu, guest_page_check, PKVM_MEM_IPA, 1);
	for (i = 1; i < PKVM_MAX_VCPUS; i++) {
		pkvm_must(h->vcpu, guest_hvc, PSCI_0_2_FN64_CPU_ON, i,
			  (uintptr_t)pkvm_guest_entry, (uintptr_t)&pkvm_guest_cpus[i]);
		pkvm_must(&h->vm->vcpus[i], guest_touch, PKVM_MEM_IPA, 1, 1, 0);
		pkvm_must(&h->vm->vcpus[i], guest_touch_together, PKVM_MEM_IPA, 1,
			  PKVM_MEM_IPA + 2048, 1, 0);
	}
	pkvm_counters_read(&h->now);
}

FIXTURE_TEARDOWN(account)
{
	setrlimit(RLIMIT_MEMLOCK, &self->limit);
	EXPECT_TRUE(!self->host.vm || gp_close(&self->host));
}

#define FIRST	(PKVM_MEM_IPA + 16 * GP_PAGE)

TEST_F_TIMEOUT(account, boundary, TIMEOUT)
{
	struct gp_host *h = &self->host;
	long vmlck = h->now.vmlck_kb, held = pins(), nr = 16;
	int i;

	ASSERT_TRUE(set_ipc_lock(false));
	ASSERT_TRUE(limit_kb(vmlck + nr * PAGE_KB));
	/* N and not one more, however often it asks. */
	EXPECT_EQ(pkvm_call(h->vcpu, guest_touch, FIRST, nr, 1, 1), PKVM_RETURNED);
	EXPECT_EQ(pkvm_vmlck_kb(), vmlck + nr * PAGE_KB);
	EXPECT_EQ(pins(), held + nr);
	EXPECT_EQ(pkvm_call(h->vcpu, guest_touch, FIRST, nr + 1, 1, 1), -ENOMEM);
	for (i = 0; i < 3; i++) {
		EXPECT_EQ(h->vcpu->run->exit_reason, KVM_EXIT_MEMORY_FAULT);
		EXPECT_EQ(h->vcpu->run->memory_fault.gpa, FIRST + nr * GP_PAGE);
		EXPECT_EQ(pkvm_resume(h->vcpu), -ENOMEM);
	}
	EXPECT_EQ(pkvm_vmlck_kb(), vmlck + nr * PAGE_KB);
	EXPECT_EQ(pins(), held + nr);
	/* That page is the host's. */
	EXPECT_EQ(pkvm_host_read(h->mem + 32 * GP_PAGE, NULL).sig, 0);
	ASSERT_TRUE(limit_kb(vmlck + (nr + 1) * PAGE_KB));
	EXPECT_EQ(pkvm_resume(h->vcpu), PKVM_RETURNED);
	EXPECT_EQ(pkvm_vmlck_kb(), vmlck + (nr + 1) * PAGE_KB);
	ASSERT_TRUE(set_ipc_lock(true));
}

/* What is pinned stays; nothing more comes. */
TEST_F_TIMEOUT(account, limit_lowered, TIMEOUT)
{
	struct gp_host *h = &self->host;
	long vmlck = h->now.vmlck_kb, nr = 16;
	uint64_t seed = gp_seed(h);

	ASSERT_TRUE(set_ipc_lock(false));
	ASSERT_TRUE(limit_kb(vmlck + 2 * nr * PAGE_KB));
	EXPECT_EQ(pkvm_call(h->vcpu, guest_fill, FIRST, nr * GP_PAGE, seed), PKVM_RETURNED);
	ASSERT_TRUE(limit_kb(PAGE_KB));
	EXPECT_EQ(pkvm_call(h->vcpu, guest_touch, FIRST + nr * GP_PAGE, 1, 1, 1), -ENOMEM);
	EXPECT_EQ(pkvm_vmlck_kb(), vmlck + nr * PAGE_KB);
	/* Shared and taken back: it is paid for. */
	ASSERT_TRUE(limit_kb(vmlck + (nr + 1) * PAGE_KB));
	EXPECT_EQ(pkvm_resume(h->vcpu), PKVM_RETURNED);
	ASSERT_TRUE(limit_kb(PAGE_KB));
	EXPECT_EQ(pkvm_must(h->vcpu, guest_share_storm, FIRST + nr * GP_PAGE, 1, 4), 0);
	EXPECT_EQ(pkvm_must(h->vcpu, guest_verify, FIRST, nr * GP_PAGE, seed), 0);
	ASSERT_TRUE(set_ipc_lock(true));
}

TEST_F_TIMEOUT(account, capability_exempts, TIMEOUT)
{
	struct gp_host *h = &self->host;
	long vmlck = h->now.vmlck_kb;

	ASSERT_TRUE(limit_kb(0));
	EXPECT_EQ(pkvm_call(h->vcpu, guest_touch, FIRST, 16, 1, 1), PKVM_RETURNED);
	/* But it is counted. */
	EXPECT_EQ(pkvm_vmlck_kb(), vmlck + 16 * PAGE_KB);
}

/* Threads that are started meanwhile are those of a user without any capability. */
static bool as_nobody(bool on)
{
	/* Unlike the library's call this is for one thread; root comes back by its saved ID. */
	return !(on ? syscall(__NR_setresuid, NOBODY, NOBODY, 0) :
		      syscall(__NR_setresuid, 0, 0, 0));
}

/* A hostile guest: all vCPUs want four times what it may have. */
TEST_F_TIMEOUT(account, no_page_more, TIMEOUT)
{
	struct gp_host *h = &self->host;
	struct pkvm_thread t[PKVM_MAX_VCPUS];
	long limit, held = pins(), most = 0, most_pins = 0, nr = 64, now;
	int i, done, samples = 0;

	limit = h->now.vmlck_kb + nr * PAGE_KB;
	ASSERT_TRUE(limit_kb(limit));
	ASSERT_TRUE(as_nobody(true));
	for (i = 0; i < PKVM_MAX_VCPUS; i++)
		pkvm_thread_start(&t[i], &h->vm->vcpus[i], guest_touch,
				  FIRST + i * GP_PAGE, nr, PKVM_MAX_VCPUS, 1);
	ASSERT_TRUE(as_nobody(false));
	do {
		done = 0;
		for (i = 0; i < PKVM_MAX_VCPUS; i++)
			done += READ_ONCE(t[i].done);
		now = pkvm_vmlck_kb();
		if (now > most)
			most = now;
		now = pins() - held;
		if (now > most_pins)
			most_pins = now;
		samples++;
	} while (done < PKVM_MAX_VCPUS);
	for (i = 0; i < PKVM_MAX_VCPUS; i++) {
		int stop = pkvm_thread_join(&t[i]);

		EXPECT_TRUE(stop == -ENOMEM || stop == PKVM_RETURNED) {
			TH_LOG("vCPU %d: %d", i, stop);
		}
	}
	TH_LOG("at most %ld of %ld kB and %ld pins in %d samples", most, limit, most_pins,
	       samples);
	EXPECT_LE(most, limit);
	/* Each is paid for before it is taken. */
	EXPECT_LE(most_pins, nr);
	/* Who came last could not have all; what could be had was had. */
	EXPECT_EQ(pkvm_vmlck_kb(), limit);
	EXPECT_EQ(pins(), held + nr);
}

TEST_F_TIMEOUT(account, race_for_one_gfn, TIMEOUT)
{
	struct gp_host *h = &self->host;
	struct pkvm_thread t[PKVM_MAX_VCPUS];
	long held = pins(), nr = 32;
	uint64_t turn = PKVM_MEM_IPA + 4 * GP_PAGE;
	int i, stop;

	pkvm_must(h->vcpu, guest_count_nonzero, turn, GP_PAGE);
	for (i = 0; i < PKVM_MAX_VCPUS; i++)
		pkvm_thread_start(&t[i], &h->vm->vcpus[i], guest_touch_together, FIRST, nr,
				  turn, PKVM_MAX_VCPUS, i);
	for (i = 0; i < PKVM_MAX_VCPUS; i++) {
		stop = pkvm_thread_join(&t[i]);
		EXPECT_EQ(stop, PKVM_RETURNED);
		EXPECT_EQ(h->vm->vcpus[i].ret, 0);
	}
	EXPECT_EQ(pkvm_vmlck_kb(), h->now.vmlck_kb + (nr + 1) * PAGE_KB);
	EXPECT_EQ(pins(), held + nr + 1);
}

/* The same, with the host's own hands in it. */
TEST_F_TIMEOUT(account, race_with_the_host, TIMEOUT)
{
	struct gp_host *h = &self->host;
	struct pkvm_thread t[PKVM_MAX_VCPUS];
	uint64_t turn = PKVM_MEM_IPA + 4 * GP_PAGE;
	long held = pins(), nr = 64, tries = 0;
	char *mem = h->mem + 16 * GP_PAGE;
	int i, done;

	pkvm_must(h->vcpu, guest_count_nonzero, turn, GP_PAGE);
	for (i = 0; i < 2; i++)
		pkvm_thread_start(&t[i], &h->vm->vcpus[i], guest_touch_together, FIRST, nr,
				  turn, 2, i);
	do {
		/* Not where the guests look. */
		pkvm_host_write(mem + tries % nr * GP_PAGE + 2048, 1);
		madvise(mem + (tries * 7 + 3) % nr * GP_PAGE, GP_PAGE, MADV_COLD);
		tries++;
		done = READ_ONCE(t[0].done) + READ_ONCE(t[1].done);
	} while (done < 2);
	for (i = 0; i < 2; i++) {
		int stop = pkvm_thread_join(&t[i]);

		while (stop == -EFAULT || stop == -EAGAIN)
			stop = pkvm_resume(&h->vm->vcpus[i]);
		EXPECT_EQ(stop, PKVM_RETURNED);
		EXPECT_EQ(h->vm->vcpus[i].ret, 0);
	}
	EXPECT_EQ(pkvm_vmlck_kb(), h->now.vmlck_kb + (nr + 1) * PAGE_KB);
	EXPECT_EQ(pins(), held + nr + 1);
}

/* Nobody brings what is missing in that memory, until it is put there. */
static int forget_memory(char *mem, size_t len)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = {
		.range = { (uintptr_t)mem, len }, .mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	/* Without O_NONBLOCK it cannot be polled. */
	int fd = syscall(__NR_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	return fd < 0 || ioctl(fd, UFFDIO_API, &api) || ioctl(fd, UFFDIO_REGISTER, &reg) ?
	       -1 : fd;
}

/* A vCPU that wants the page at FIRST, in a thread that ends with it. */
struct racer {
	struct pkvm_vcpu *vcpu;
	uint64_t seed;
	pthread_t tid;
	struct rusage used;
	int stop;
	bool done;
};

static void *racer_main(void *data)
{
	struct racer *r = data;

	r->stop = pkvm_call(r->vcpu, guest_page_check, FIRST, r->seed);
	while (r->stop == -EINTR)
		r->stop = pkvm_resume(r->vcpu);
	getrusage(RUSAGE_THREAD, &r->used);
	WRITE_ONCE(r->done, true);
	return NULL;
}

static long used_ms(const struct rusage *used)
{
	return (used->ru_utime.tv_sec + used->ru_stime.tv_sec) * 1000 +
	       (used->ru_utime.tv_usec + used->ru_stime.tv_usec) / 1000;
}

/* Exits for a call and its arguments, and as many for the page that it wants. */
#define CALL_EXITS	(2 * (1 + PKVM_NR_ARGS))

/*
 * While the page is being fetched for one vCPU, which can take as long as the VMM wants,
 * another that comes to it waits, too, and does not keep a CPU from others.
 */
TEST_F_TIMEOUT(account, race_waits, TIMEOUT)
{
	struct gp_host *h = &self->host;
	char *page = h->mem + 16 * GP_PAGE, path[96];
	static char text[4096] __aligned(4096);
	struct uffdio_copy copy = {
		.dst = (uintptr_t)page, .src = (uintptr_t)text, .len = GP_PAGE,
	};
	long held = pins(), exits, tries, busy = 0, sleeps, waited;
	uint64_t seed = gp_seed(h);
	struct timespec start;
	struct racer r[2];
	struct uffd_msg msg;
	struct pollfd event;
	int i;

	event.fd = forget_memory(page, GP_PAGE);
	event.events = POLLIN;
	if (event.fd < 0)
		SKIP(return, "no CONFIG_USERFAULTFD");
	snprintf(path, sizeof(path), "/sys/kernel/debug/kvm/%d-%d/exits", getpid(), h->vm->fd);
	for (i = 0; i < 2; i++)
		r[i] = (struct racer) { .vcpu = &h->vm->vcpus[i], .seed = seed };
	gp_pattern(text, seed);

	/* The first sleeps while it pins the page. */
	ASSERT_EQ(pthread_create(&r[0].tid, NULL, racer_main, &r[0]), 0);
	EXPECT_EQ(poll(&event, 1, BOUND_MS), 1);
	EXPECT_EQ(read(event.fd, &msg, sizeof(msg)), sizeof(msg));
	EXPECT_EQ(msg.event, UFFD_EVENT_PAGEFAULT);
	EXPECT_EQ(msg.arg.pagefault.address, (uintptr_t)page);

	/* From here on the exits are the other's. */
	exits = read_number(path);
	EXPECT_GE(exits, 0);
	ASSERT_EQ(pthread_create(&r[1].tid, NULL, racer_main, &r[1]), 0);
	for (i = 0; i < BOUND_MS && read_number(path) < exits + CALL_EXITS; i++)
		usleep(1000);

	exits = read_number(path);
	clock_gettime(CLOCK_MONOTONIC, &start);
	sleep(1);
	waited = timespec_to_ns(timespec_elapsed(start)) / 1000000;
	tries = read_number(path) - exits;
	EXPECT_FALSE(READ_ONCE(r[0].done));
	EXPECT_FALSE(READ_ONCE(r[1].done));
	EXPECT_EQ(pins(), held);
	EXPECT_EQ(ioctl(event.fd, UFFDIO_COPY, &copy), 0);

	for (i = 0; i < 2; i++) {
		pthread_join(r[i].tid, NULL);
		EXPECT_EQ(r[i].stop, PKVM_RETURNED);
		EXPECT_EQ(r[i].vcpu->ret, 0);
		busy += used_ms(&r[i].used);
	}
	close(event.fd);
	sleeps = r[1].used.ru_nvcsw;
	TH_LOG("%ld ms, of which %ld were used; %ld tries, %ld sleeps", waited, busy, tries,
	       sleeps);
	EXPECT_GT(tries, 0);
	/* Emulated, the way to a sleep may take longer than the sleep. */
	EXPECT_TRUE(busy < waited / 3 || sleeps > tries / 4);
	EXPECT_EQ(pkvm_vmlck_kb(), h->now.vmlck_kb + PAGE_KB);
	EXPECT_EQ(pins(), held + 1);
}

TEST_F_TIMEOUT(account, share_storm, TIMEOUT)
{
	struct gp_host *h = &self->host;
	struct pkvm_counters before;
	struct pkvm_thread t;
	long touches = 0;

	pkvm_must(h->vcpu, guest_touch, FIRST, 16, 1, 1);
	/* What is allocated once is there before it counts. */
	EXPECT_EQ(pkvm_must(h->vcpu, guest_share_storm, FIRST, 16, 64), 0);
	pkvm_counters_read(&before);
	pkvm_thread_start(&t, h->vcpu, guest_share_storm, FIRST, 16,
			  pkvm_env("GUEST_PRIVATE_ROUNDS", 500));
	while (!READ_ONCE(t.done)) {
		pkvm_host_read(h->mem + (16 + touches % 16) * GP_PAGE, NULL);
		touches++;
	}
	EXPECT_EQ(pkvm_thread_join(&t), PKVM_RETURNED);
	EXPECT_EQ(h->vcpu->ret, 0);
	TH_LOG("%ld touches, %lu times refused", touches, h->vcpu->out[0]);
	EXPECT_TRUE(pkvm_counters_back(&before, 2048));
}

static void start_vcpu1(struct pkvm_vm *vm)
{
	pkvm_must(pkvm_vcpu0(vm), guest_hvc, PSCI_0_2_FN64_CPU_ON, 1,
		  (uintptr_t)pkvm_guest_entry, (uintptr_t)&pkvm_guest_cpus[1]);
	pkvm_must(&vm->vcpus[1], guest_nop);
	pkvm_must(&vm->vcpus[1], guest_touch_image);
}

/* One page of the host behind two addresses of a guest: it has it at the first. */
TEST_F_TIMEOUT(account, same_hva_at_two_gfns, TIMEOUT)
{
	struct pkvm_opts opts = { .backing = PKVM_CALLER, .nr_vcpus = 2 };
	struct pkvm_counters before;
	struct pkvm_vm *vm;
	int fd, i, stop;

	opts.mem = gp_alloc(variant->backing, SZ_1M, &fd);
	opts.mem_size = SZ_1M;
	vm = pkvm_vm_create(&opts);
	ASSERT_EQ(pkvm_set_slot(vm, 9, PKVM_MEM2_IPA, SZ_1M, opts.mem, 0), 0);
	start_vcpu1(vm);
	pkvm_must(pkvm_vcpu0(vm), guest_fill, PKVM_MEM_IPA, GP_PAGE, 7);
	pkvm_must(pkvm_vcpu0(vm), guest_touch, PKVM_MEM2_IPA + GP_PAGE, 1, 1, 1);
	pkvm_counters_read(&before);
	for (i = 0; i < 3; i++) {
		stop = pkvm_call_timeout(pkvm_vcpu0(vm), 10000, guest_touch, PKVM_MEM2_IPA,
					 1, 1, 1);
		EXPECT_EQ(stop, -EFAULT);
		EXPECT_EQ(pkvm_vcpu0(vm)->run->exit_reason, KVM_EXIT_MEMORY_FAULT);
		EXPECT_TRUE(pkvm_counters_back(&before, -1));
		if (stop != -EFAULT)
			break;
		pkvm_vcpu0(vm)->pending = false;
		stop = pkvm_resume_timeout(pkvm_vcpu0(vm), 10000);
		EXPECT_EQ(stop, -EFAULT);
	}
	/* Shared, and used by the host: nothing in mm/ tells whose page it is. */
	EXPECT_EQ(pkvm_must(&vm->vcpus[1], guest_hvc, PKVM_HVC_SHARE, PKVM_MEM_IPA), 0);
	EXPECT_EQ(pkvm_host_read(opts.mem, NULL).sig, 0);
	EXPECT_FALSE(has_mark(pfn_of(opts.mem)));
	pkvm_counters_read(&before);
	for (i = 0; i < 3; i++) {
		EXPECT_EQ(pkvm_resume_timeout(pkvm_vcpu0(vm), BOUND_MS), -EFAULT);
		EXPECT_TRUE(pkvm_counters_back(&before, -1));
	}
	EXPECT_EQ(pkvm_must(&vm->vcpus[1], guest_hvc, PKVM_HVC_UNSHARE, PKVM_MEM_IPA), 0);
	EXPECT_EQ(pkvm_must(&vm->vcpus[1], guest_verify, PKVM_MEM_IPA, GP_PAGE, 7), 0);
	pkvm_vm_free(vm);
	munmap(opts.mem, SZ_1M);
	if (fd >= 0)
		close(fd);
}

/* Two VMs over the same memory: it belongs to the first that touched it. */
TEST_F_TIMEOUT(account, same_hva_in_two_vms, TIMEOUT)
{
	struct gp_host *h = &self->host;
	struct pkvm_opts opts = { .backing = PKVM_CALLER, .mem = h->mem };
	struct pkvm_counters before;
	struct pkvm_vm *vm;
	int i, stop;

	opts.mem_size = h->vm->mem_size;
	pkvm_must(h->vcpu, guest_pages_fill, FIRST, 1, 77);
	vm = pkvm_vm_create(&opts);
	pkvm_must(pkvm_vcpu0(vm), guest_touch, FIRST + GP_PAGE, 1, 1, 1);
	pkvm_counters_read(&before);
	stop = pkvm_call_timeout(pkvm_vcpu0(vm), 10000, guest_touch, FIRST, 1, 1, 1);
	for (i = 0; i < 3; i++) {
		EXPECT_EQ(stop, -EFAULT);
		EXPECT_EQ(pkvm_vcpu0(vm)->run->exit_reason, KVM_EXIT_MEMORY_FAULT);
		EXPECT_TRUE(pkvm_counters_back(&before, -1));
		stop = pkvm_resume_timeout(pkvm_vcpu0(vm), 10000);
	}
	EXPECT_EQ(pkvm_must(h->vcpu, guest_page_check, FIRST, 77), 0);
	/* Shared is lent by its owner, who still is the one that pays. */
	EXPECT_EQ(pkvm_must(h->vcpu, guest_hvc, PKVM_HVC_SHARE, FIRST), 0);
	EXPECT_EQ(pkvm_resume_timeout(pkvm_vcpu0(vm), 10000), -EFAULT);
	EXPECT_EQ(pkvm_must(h->vcpu, guest_page_check, FIRST, 77), 0);
	/* The same when the host has used it: nothing in mm/ tells whose page it is. */
	EXPECT_EQ(pkvm_host_read(h->mem + 16 * GP_PAGE, NULL).sig, 0);
	EXPECT_FALSE(has_mark(pfn_of(h->mem + 16 * GP_PAGE)));
	for (i = 0; i < 3; i++) {
		EXPECT_EQ(pkvm_resume_timeout(pkvm_vcpu0(vm), BOUND_MS), -EFAULT);
		EXPECT_EQ(pkvm_vcpu0(vm)->run->exit_reason, KVM_EXIT_MEMORY_FAULT);
		EXPECT_TRUE(pkvm_counters_back(&before, -1));
	}
	EXPECT_TRUE(gp_page_is(h->mem + 16 * GP_PAGE, 77));
	EXPECT_EQ(pkvm_must(h->vcpu, guest_hvc, PKVM_HVC_UNSHARE, FIRST), 0);
	EXPECT_EQ(pkvm_must(h->vcpu, guest_page_check, FIRST, 77), 0);
	pkvm_vm_free(vm);
}

/*
 * Another VM over the frame of a private page, which the VMM maps by its number: an
 * ordinary one, and a protected one, whose memory that could never be.
 */
TEST_F_TIMEOUT(account, same_frame_in_two_vms, TIMEOUT)
{
	static const int want[] = { -EFAULT, -EIO };
	struct gp_host *h = &self->host;
	char *page = h->mem + 16 * GP_PAGE;
	struct pkvm_counters before;
	int i, j, stop, fd;
	struct pkvm_vm *vm;
	uint64_t pfn;
	void *p;

	pkvm_host_write(page, 1);
	pfn = pfn_of(page);
	ASSERT_NE(pfn, 0);
	pkvm_must(h->vcpu, guest_pages_fill, FIRST, 1, 77);
	fd = open("/dev/mem", O_RDWR);
	if (fd < 0)
		SKIP(return, "no /dev/mem");
	p = mmap(NULL, GP_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, pfn * GP_PAGE);
	if (p == MAP_FAILED)
		SKIP(return, "/dev/mem maps no RAM");
	for (i = 0; i < ARRAY_SIZE(want); i++) {
		struct pkvm_opts opts = {
			.backing = PKVM_CALLER, .mem = p, .mem_size = GP_PAGE, .ordinary = !i,
		};

		vm = pkvm_vm_create(&opts);
		pkvm_must(pkvm_vcpu0(vm), guest_nop);
		stop = pkvm_call_timeout(pkvm_vcpu0(vm), BOUND_MS, guest_load, PKVM_MEM_IPA);
		pkvm_counters_read(&before);
		for (j = 0; j < 3; j++) {
			EXPECT_EQ(stop, want[i]);
			EXPECT_EQ(pkvm_vcpu0(vm)->run->exit_reason, KVM_EXIT_MEMORY_FAULT);
			EXPECT_TRUE(pkvm_counters_back(&before, -1));
			stop = pkvm_resume_timeout(pkvm_vcpu0(vm), BOUND_MS);
		}
		EXPECT_TRUE(has_mark(pfn));
		EXPECT_EQ(pkvm_must(h->vcpu, guest_page_check, FIRST, 77), 0);
		pkvm_vm_free(vm);
	}
	EXPECT_TRUE(pkvm_is_segv_at(pkvm_host_read(page, NULL), page));
	munmap(p, GP_PAGE);
	close(fd);
}

/* ------------------------------------------------------------ where it lies */

/* Pages of the range that the host has mapped and that are in ZONE_MOVABLE. */
static long movable_pages(const char *mem, long nr)
{
	unsigned long start[8], size[8], pfn;
	bool movable = false;
	long i, found = 0;
	int z, zones = 0;
	char line[256];
	FILE *f;

	f = fopen("/proc/zoneinfo", "r");
	while (f && zones < 8 && fgets(line, sizeof(line), f)) {
		if (!strncmp(line, "Node", 4)) {
			movable = strstr(line, "Movable");
			size[zones] = 0;
		}
		if (movable && sscanf(line, " spanned %lu", &size[zones]) == 1 &&
		    !size[zones])
			movable = false;
		if (movable && sscanf(line, " start_pfn: %lu", &start[zones]) == 1)
			zones++;
	}
	if (f)
		fclose(f);
	for (i = 0; i < nr; i++) {
		pfn = pfn_of(mem + i * GP_PAGE);
		for (z = 0; z < zones && pfn; z++)
			found += pfn >= start[z] && pfn < start[z] + size[z];
	}
	return found;
}

/* What a guest has can stay for ever, and must not lie where memory shall move. */
TEST_F_TIMEOUT(account, movable_zone, TIMEOUT)
{
	struct gp_host *h = &self->host;
	char *mem = h->mem + 16 * GP_PAGE;
	long nr = 128, before, i;

	for (i = 0; i < nr; i++)
		pkvm_host_write(mem + i * GP_PAGE, i);
	before = movable_pages(mem, nr);
	TH_LOG("%ld of %ld pages can be moved", before, nr);
	if (!before)
		SKIP(return, "nothing in ZONE_MOVABLE, or no movablecore=");
	pkvm_must(h->vcpu, guest_touch, FIRST, nr, 1, 1);
	/* So that the host sees where they are. */
	EXPECT_EQ(pkvm_must(h->vcpu, guest_pages_share, PKVM_HVC_SHARE, FIRST, nr), 0);
	for (i = 0; i < nr; i++) {
		EXPECT_EQ(pkvm_host_read(mem + i * GP_PAGE, NULL).sig, 0);
		EXPECT_NE(pfn_of(mem + i * GP_PAGE), 0);
	}
	EXPECT_EQ(movable_pages(mem, nr), 0);
	/* Contents moved with them. */
	for (i = 0; i < nr; i++)
		EXPECT_EQ(*(uint64_t *)(mem + i * GP_PAGE), 1 + i);
}

/* Pages of the range that the host has mapped in frames from base on. */
static long pages_between(const char *mem, long nr, uint64_t base, uint64_t count)
{
	long i, found = 0;
	uint64_t pfn;

	for (i = 0; i < nr; i++) {
		pfn = pfn_of(mem + i * GP_PAGE);
		found += pfn >= base && pfn < base + count;
	}
	return found;
}

#define CMA	"/sys/kernel/debug/cma/reserved/"

/*
 * Pages that devices may want back are lent to whoever has pages that move. A guest's
 * do not: they have left when it gets them, and the devices can have all.
 */
TEST_F_TIMEOUT(account, contiguous_area, TIMEOUT)
{
	long base = read_number(CMA "base_pfn"), count = read_number(CMA "count");
	char *mem = self->host.mem + 16 * GP_PAGE, *other, text[24];
	long nr = 128, used, before, i, tries;
	struct gp_host *h = &self->host;

	if (count <= 0)
		SKIP(return, "no cma=, or no CONFIG_CMA_DEBUGFS");
	/* What each CPU has at hand, of anywhere, is not there for the guest. */
	other = mmap(NULL, SZ_32M, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(other, MAP_FAILED);
	memset(other, 1, SZ_32M);
	for (i = 0; i < nr; i++)
		pkvm_host_write(mem + i * GP_PAGE, i);
	before = pages_between(mem, nr, base, count);
	TH_LOG("%ld of %ld pages are lent", before, nr);
	EXPECT_GT(before, 0);
	pkvm_must(h->vcpu, guest_touch, FIRST, nr, 1, 1);
	/* All but what devices have, at the start. Somebody may look at a page just then. */
	used = read_number(CMA "used");
	EXPECT_LT(used, 256);
	snprintf(text, sizeof(text), "%ld", read_number(CMA "maxchunk"));
	for (tries = 0; tries < 50 && !write_text(CMA "alloc", text); tries++)
		usleep(10000);
	EXPECT_EQ(read_number(CMA "used"), count);
	for (i = 0; i < nr; i++)
		EXPECT_EQ(pkvm_must(h->vcpu, guest_load, FIRST + i * GP_PAGE), 1 + i);
	/* So that the host sees where they are. */
	EXPECT_EQ(pkvm_must(h->vcpu, guest_pages_share, PKVM_HVC_SHARE, FIRST, nr), 0);
	for (i = 0; i < nr; i++)
		EXPECT_EQ(*(uint64_t *)(mem + i * GP_PAGE), 1 + i);
	EXPECT_EQ(pages_between(mem, nr, base, count), 0);
	EXPECT_EQ(pages_between(mem, nr, 1, ~0UL >> 1), nr);
	write_text(CMA "free", text);
	EXPECT_EQ(read_number(CMA "used"), used);
	munmap(other, SZ_32M);
}

#define GIGANTIC	"/sys/kernel/mm/hugepages/hugepages-32768kB/nr_hugepages"

/* The largest of huge pages are made of memory that can be emptied, or not at all. */
TEST_F_TIMEOUT(account, gigantic_pages, TIMEOUT)
{
	struct gp_host *h = &self->host;
	long got, nr = 128, i;

	if (read_number(GIGANTIC) != 0)
		SKIP(return, "no huge pages of 32 MB, or some are there");
	pkvm_must(h->vcpu, guest_touch, FIRST, nr, 1, 1);
	pkvm_counters_read(&h->now);
	write_text(GIGANTIC, "16");
	got = read_number(GIGANTIC);
	TH_LOG("%ld pages of 32 MB", got);
	EXPECT_GT(got, 0);
	for (i = 0; i < nr; i++)
		EXPECT_EQ(pkvm_must(h->vcpu, guest_load, FIRST + i * GP_PAGE), 1 + i);
	EXPECT_TRUE(pkvm_is_segv_at(pkvm_host_read(h->mem + 16 * GP_PAGE, NULL),
				    h->mem + 16 * GP_PAGE));
	write_text(GIGANTIC, "0");
	EXPECT_EQ(read_number(GIGANTIC), 0);
	EXPECT_TRUE(pkvm_counters_back(&h->now, -1));
}

#define MEMORY	"/sys/devices/system/memory/"

/* A block of memory, by its number: 0, or the errno. */
static int set_offline(uint64_t block)
{
	char path[64];
	int fd, err = 0;

	snprintf(path, sizeof(path), MEMORY "memory%lu/state", block);
	fd = open(path, O_WRONLY);
	if (fd < 0 || write(fd, "offline", 7) != 7)
		err = errno;
	close(fd);
	return err;
}

static bool is_online(uint64_t block)
{
	char path[64], text[16] = "";
	int fd;

	snprintf(path, sizeof(path), MEMORY "memory%lu/state", block);
	fd = open(path, O_RDONLY);
	if (fd < 0 || read(fd, text, sizeof(text) - 1) < 0)
		text[0] = 0;
	close(fd);
	return !strcmp(text, "online\n");
}

/*
 * Memory that a guest has is not unplugged. What lies beside it in a block decides
 * who says so first: the pages that cannot move, or the architecture, which keeps
 * all that was there at boot.
 */
TEST_F_TIMEOUT(account, offline_block, TIMEOUT)
{
	struct gp_host *h = &self->host;
	uint64_t size, block, last = ~0UL;
	char *mem = h->mem + 16 * GP_PAGE, text[32] = "";
	long nr = 64, i, blocks = 0;
	int fd, err;

	fd = open(MEMORY "block_size_bytes", O_RDONLY);
	if (fd < 0 || read(fd, text, sizeof(text) - 1) < 0)
		SKIP(return, "no CONFIG_MEMORY_HOTPLUG");
	close(fd);
	size = strtoul(text, NULL, 16) / GP_PAGE;
	ASSERT_GT(size, 0);
	pkvm_must(h->vcpu, guest_touch, FIRST, nr, 1, 1);
	/* So that the host sees where they are; then they are the guest's again. */
	EXPECT_EQ(pkvm_must(h->vcpu, guest_pages_share, PKVM_HVC_SHARE, FIRST, nr), 0);
	for (i = 0; i < nr; i++) {
		EXPECT_EQ(pkvm_host_read(mem + i * GP_PAGE, NULL).sig, 0);
		block = pfn_of(mem + i * GP_PAGE) / size;
		EXPECT_EQ(pkvm_must(h->vcpu, guest_pages_share, PKVM_HVC_UNSHARE,
				    FIRST + i * GP_PAGE, 1), 0);
		if (block == last)
			continue;
		last = block;
		blocks++;
		pkvm_counters_read(&h->now);
		err = set_offline(block);
		TH_LOG("block %lu: %s", block, strerror(err));
		EXPECT_TRUE(err == EBUSY || err == EPERM);
		EXPECT_TRUE(is_online(block));
		EXPECT_TRUE(pkvm_counters_back(&h->now, -1));
		EXPECT_TRUE(pkvm_is_segv_at(pkvm_host_read(mem + i * GP_PAGE, NULL),
					    mem + i * GP_PAGE));
	}
	EXPECT_GT(blocks, 0);
	for (i = 0; i < nr; i++)
		EXPECT_EQ(pkvm_must(h->vcpu, guest_load, FIRST + i * GP_PAGE), 1 + i);
}

/* ------------------------------------------------------------ what may fail */

static bool fault_injection_on(void)
{
	static const char * const off[] = {
		"failslab/ignore-gfp-wait", "fail_page_alloc/ignore-gfp-wait",
		"fail_page_alloc/ignore-gfp-highmem",
	};
	char path[96];
	int i;

	for (i = 0; i < ARRAY_SIZE(off); i++) {
		snprintf(path, sizeof(path), "/sys/kernel/debug/%s", off[i]);
		if (!write_text(path, "N"))
			return false;
	}
	write_text("/sys/kernel/debug/fail_page_alloc/min-order", "0");
	write_text("/sys/kernel/debug/failslab/verbose", "0");
	write_text("/sys/kernel/debug/fail_page_alloc/verbose", "0");
	return true;
}

/* Each allocation on the way of a page to its guest and of a share and an unshare. */
TEST_F_TIMEOUT(account, allocations_fail, TIMEOUT)
{
	struct gp_host *h = &self->host;
	long vmlck = pkvm_vmlck_kb(), held = pins(), failed = 0, nth, left;
	bool hit = true;
	char text[24];
	int fd, stop;

	fd = open("/proc/thread-self/fail-nth", O_RDWR);
	if (fd < 0 || !fault_injection_on())
		SKIP(return, "no CONFIG_FAILSLAB, CONFIG_FAIL_PAGE_ALLOC or debugfs");
	for (nth = 1; hit && nth < 200; nth++) {
		uint64_t ipa = FIRST + nth * GP_PAGE;

		snprintf(text, sizeof(text), "%ld", nth);
		ASSERT_GT(pwrite(fd, text, strlen(text), 0), 0);
		stop = pkvm_call(h->vcpu, guest_share_storm, ipa, 1, 1);
		memset(text, 0, sizeof(text));
		ASSERT_GT(pread(fd, text, sizeof(text) - 1, 0), 0);
		left = strtol(text, NULL, 0);
		ASSERT_EQ(pwrite(fd, "0", 1, 0), 1);
		hit = !left;
		failed += stop != PKVM_RETURNED;
		if (stop != PKVM_RETURNED) {
			EXPECT_TRUE(stop == -ENOMEM || stop == -EFAULT) {
				TH_LOG("allocation %ld: %d", nth, stop);
			}
			EXPECT_EQ(h->vcpu->run->exit_reason, KVM_EXIT_MEMORY_FAULT);
			EXPECT_EQ(pkvm_vmlck_kb(), vmlck);
			EXPECT_EQ(pins(), held);
			stop = pkvm_resume(h->vcpu);
		}
		ASSERT_EQ(stop, PKVM_RETURNED);
		EXPECT_EQ(h->vcpu->ret, 0);
		vmlck += PAGE_KB;
		held++;
		EXPECT_EQ(pkvm_vmlck_kb(), vmlck);
		EXPECT_EQ(pins(), held);
	}
	close(fd);
	TH_LOG("%ld allocations, of which %ld ended KVM_RUN", nth - 2, failed);
	EXPECT_FALSE(hit);
	EXPECT_GT(failed, 0);
}

/*
 * What the guest wants to have at FIRST and does not get: KVM_RUN ends so, each time,
 * and nobody pays for it. The other vCPUs go on.
 */
static void expect_refused(struct __test_metadata *_metadata, struct gp_host *h, int want)
{
	struct pkvm_counters before;
	int i, stop;

	pkvm_counters_read(&before);
	stop = pkvm_call_timeout(h->vcpu, BOUND_MS, guest_touch, FIRST, 1, 1, 1);
	for (i = 0; i < 3; i++) {
		EXPECT_EQ(stop, want);
		EXPECT_EQ(h->vcpu->run->exit_reason, KVM_EXIT_MEMORY_FAULT);
		EXPECT_EQ(h->vcpu->run->memory_fault.gpa, FIRST);
		EXPECT_TRUE(pkvm_counters_back(&before, -1));
		stop = pkvm_resume_timeout(h->vcpu, BOUND_MS);
	}
	EXPECT_EQ(stop, want);
	EXPECT_EQ(pkvm_must(&h->vm->vcpus[1], guest_touch, FIRST + GP_PAGE, 1, 1, 1), 0);
	EXPECT_EQ(pkvm_vmlck_kb(), before.vmlck_kb + PAGE_KB);
	EXPECT_EQ(pins(), before.pin_acquired - before.pin_released + 1);
}

/* The page broke before the guest came to it. */
TEST_F_TIMEOUT(account, broken_memory, TIMEOUT)
{
	struct gp_host *h = &self->host;
	char *page = h->mem + 16 * GP_PAGE, text[32];

	if (access("/sys/kernel/debug/hwpoison/corrupt-pfn", W_OK))
		SKIP(return, "no CONFIG_HWPOISON_INJECT or debugfs");
	pkvm_host_write(page, 1);
	snprintf(text, sizeof(text), "%#lx", pfn_of(page));
	ASSERT_TRUE(write_text("/sys/kernel/debug/hwpoison/corrupt-pfn", text));
	EXPECT_EQ(pkvm_host_read(page, NULL).sig, SIGBUS);
	expect_refused(_metadata, h, -EHWPOISON);
	EXPECT_EQ(pkvm_host_read(page, NULL).sig, SIGBUS);
	gp_end_vm(h);
	/* No file keeps it from being good again. */
	munmap(page, GP_PAGE);
	if (h->file)
		fallocate(h->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 16 * GP_PAGE,
			  GP_PAGE);
	write_text("/sys/kernel/debug/hwpoison/unpoison-pfn", text);
}

/* EL2 does not take a sound page that the host has lent to EL2 itself. */
TEST_F_TIMEOUT(account, refused_by_el2, TIMEOUT)
{
	struct gp_host *h = &self->host;
	char *page = h->mem + 16 * GP_PAGE;
	const char *why = hostile_unavailable();
	uint64_t pfn;

	if (why)
		SKIP(return, "%s", why);
	gp_pattern(page, 5);
	pfn = pfn_of(page);
	ASSERT_NE(pfn, 0);
	ASSERT_EQ(hvc(KHH_pkvm_host_share_hyp, pfn), 0);
	expect_refused(_metadata, h, -EFAULT);
	/* It is the host's as before: mapped, without the mark, to be read and written. */
	EXPECT_TRUE(gp_page_is(page, 5));
	EXPECT_EQ(pkvm_host_write(page, pkvm_pattern(5, 0)).sig, 0);
	EXPECT_EQ(pfn_of(page), pfn);
	EXPECT_FALSE(has_mark(pfn_of(page)));
	ASSERT_EQ(hvc(KHH_pkvm_host_unshare_hyp, pfn), 0);
	/* And then the guest may have it. */
	EXPECT_EQ(pkvm_resume_timeout(h->vcpu, BOUND_MS), PKVM_RETURNED);
	EXPECT_TRUE(pkvm_is_segv_at(pkvm_host_read(page, NULL), page));
	hostile_close();
}

/* The sum of what a file says under that name, or -1. */
static long value_of(const char *path, const char *key)
{
	size_t len = strlen(key);
	char line[256];
	long val = -1;
	FILE *f;

	f = fopen(path, "r");
	if (!f)
		return -1;
	while (fgets(line, sizeof(line), f)) {
		char *at = strstr(line, key);

		if (at && (at[len] == ':' || at[len] == ' '))
			val = (val < 0 ? 0 : val) + strtol(at + len + 1, NULL, 10);
	}
	fclose(f);
	return val;
}

/* The file of this VM below /sys/kernel/debug/kvm. */
static bool debugfs_file(struct gp_host *h, char *path, size_t len)
{
	snprintf(path, len, "/sys/kernel/debug/kvm/%d-%d/guest_memory", getpid(),
		 h->vm->fd);
	return !access(path, R_OK);
}

/* What the host takes by force is zeroes, in whatever way it looks. */
TEST_F_TIMEOUT(account, taken_by_force, TIMEOUT)
{
	enum { LOST = PKVM_MAX_VCPUS - 1 };
	static char buf[LOST * GP_PAGE] __aligned(GP_PAGE);
	struct gp_host *h = &self->host;
	char *mem = h->mem + 16 * GP_PAGE;
	struct iovec local = { buf, sizeof(buf) }, remote = { mem, sizeof(buf) };
	const char *why = hostile_unavailable();
	struct pkvm_counters before;
	uint64_t pfn[LOST], val;
	char path[96];
	int i, j;

	if (why)
		SKIP(return, "%s", why);
	for (i = 0; i < LOST; i++) {
		gp_pattern(mem + i * GP_PAGE, 1);
		pfn[i] = pfn_of(mem + i * GP_PAGE);
		ASSERT_NE(pfn[i], 0);
	}
	pkvm_must(h->vcpu, guest_pages_fill, FIRST, LOST + 1, 77);
	/* One of them has been the host's meanwhile. */
	EXPECT_EQ(pkvm_must(h->vcpu, guest_share_storm, FIRST, 1, 1), 0);
	pkvm_must(h->vcpu, guest_pages_fill, FIRST, LOST + 1, 77);
	pkvm_counters_read(&before);
	for (i = 0; i < LOST; i++) {
		EXPECT_EQ(khh_peek(pfn[i], 8, &val), EFAULT);
		ASSERT_EQ(hvc(KHH_pkvm_host_force_reclaim, pfn[i]), 0);
	}

	/* The kernel first, by its own mapping. */
	for (i = 0; i < LOST; i++) {
		for (j = 0; j < GP_PAGE; j += 8) {
			EXPECT_EQ(khh_peek(pfn[i], j, &val), 0);
			EXPECT_EQ(val, 0);
		}
	}
	memset(buf, 0x3c, sizeof(buf));
	EXPECT_EQ(process_vm_readv(getpid(), &local, 1, &remote, 1, 0), sizeof(buf));
	EXPECT_EQ(pkvm_count_nonzero(buf, sizeof(buf)), 0);
	if (h->file) {
		memset(buf, 0x3c, sizeof(buf));
		EXPECT_EQ(pread(h->fd, buf, sizeof(buf), 16 * GP_PAGE), sizeof(buf));
		EXPECT_EQ(pkvm_count_nonzero(buf, sizeof(buf)), 0);
	}
	for (i = 0; i < LOST; i++) {
		EXPECT_TRUE(gp_page_is(mem + i * GP_PAGE, 0));
		EXPECT_EQ(pfn_of(mem + i * GP_PAGE), pfn[i]);
		EXPECT_FALSE(has_mark(pfn[i]));
		gp_pattern(mem + i * GP_PAGE, 5);
	}

	/* The guest does not take them for its own; then nobody pays for them. */
	for (i = 0; i < LOST; i++) {
		EXPECT_EQ(pkvm_call(&h->vm->vcpus[i], guest_page_check, FIRST + i * GP_PAGE, 0),
			  -EFAULT);
		EXPECT_EQ(h->vm->vcpus[i].run->exit_reason, KVM_EXIT_MEMORY_FAULT);
		EXPECT_EQ(h->vm->vcpus[i].run->memory_fault.gpa, FIRST + i * GP_PAGE);
		before.vmlck_kb -= PAGE_KB;
		before.pin_released++;
		EXPECT_TRUE(pkvm_counters_back(&before, -1));
		EXPECT_TRUE(gp_page_is(mem + i * GP_PAGE, 5));
	}
	ASSERT_TRUE(debugfs_file(h, path, sizeof(path)));
	EXPECT_EQ(value_of(path, "poisoned"), LOST);
	EXPECT_EQ(value_of(path, "forced_reclaims"), LOST);
	EXPECT_EQ(value_of(path, "pinned") * PAGE_KB, pkvm_vmlck_kb());
	EXPECT_EQ(pkvm_must(&h->vm->vcpus[LOST], guest_page_check, FIRST + LOST * GP_PAGE,
			    77 + LOST), 0);
	gp_end_vm(h);
	for (i = 0; i < LOST; i++)
		EXPECT_TRUE(gp_page_is(mem + i * GP_PAGE, 5));
	hostile_close();
}

/* ------------------------------------------------------------- where it is seen */

static void expect_seen(struct __test_metadata *_metadata, const char *path,
			const char *key, long before, long more)
{
	long now, tries;

	EXPECT_GE(before, 0) {
		TH_LOG("no %s in %s", key, path);
	}
	/* Counters of each CPU are added up now and then. */
	for (tries = 0; tries < 30; tries++) {
		now = value_of(path, key);
		if (now == before + more)
			return;
		usleep(100000);
		pins();
	}
	EXPECT_EQ(now, before + more) {
		TH_LOG("%s in %s", key, path);
	}
}

TEST_F_TIMEOUT(account, meminfo, TIMEOUT)
{
	static const char * const path = "/proc/meminfo";
	struct gp_host *h = &self->host;
	long before = value_of(path, "GuestPrivate");
	long pages = value_of("/proc/vmstat", "nr_guest_private");

	pkvm_must(h->vcpu, guest_touch, FIRST, 64, 1, 1);
	expect_seen(_metadata, path, "GuestPrivate", before, 64 * PAGE_KB);
	expect_seen(_metadata, "/proc/vmstat", "nr_guest_private", pages, 64);
	gp_end_vm(h);
	expect_seen(_metadata, path, "GuestPrivate", 0, 0);
	expect_seen(_metadata, "/proc/vmstat", "nr_guest_private", 0, 0);
}

TEST_F_TIMEOUT(account, node_meminfo, TIMEOUT)
{
	static const char * const path = "/sys/devices/system/node/node%d/meminfo";
	char name[2][64];
	long before[2] = { 0, 0 }, now = 0;
	struct gp_host *h = &self->host;
	int i, nodes = 0;

	for (i = 0; i < 2; i++) {
		snprintf(name[i], sizeof(name[i]), path, i);
		if (access(name[i], R_OK))
			break;
		before[i] = value_of(name[i], "GuestPrivate");
		EXPECT_GE(before[i], 0);
		nodes++;
	}
	if (!nodes)
		SKIP(return, "no CONFIG_NUMA");
	pkvm_must(h->vcpu, guest_touch, FIRST, 64, 1, 1);
	pins();
	for (i = 0; i < nodes; i++)
		now += value_of(name[i], "GuestPrivate") - before[i];
	EXPECT_EQ(now, 64 * PAGE_KB);
}

TEST_F_TIMEOUT(account, smaps, TIMEOUT)
{
	static const char * const path = "/proc/self/smaps";
	struct gp_host *h = &self->host;
	long before, rss;

	memset(h->mem + 16 * GP_PAGE, 0x11, 64 * GP_PAGE);
	before = value_of(path, "GuestPrivate");
	rss = value_of(path, "Rss");
	pkvm_must(h->vcpu, guest_touch, FIRST, 64, 1, 1);
	expect_seen(_metadata, path, "GuestPrivate", before, 64 * PAGE_KB);
	/* Its entries are pages, and no swap; the library may have come and gone. */
	if (!h->file)
		EXPECT_GT(value_of(path, "Rss"), rss - 32 * PAGE_KB);
}

/* What the guest has is still of the VMM's size. */
TEST_F_TIMEOUT(account, rss, TIMEOUT)
{
	struct gp_host *h = &self->host;
	static const char * const path = "/proc/self/status";
	const char *key = h->file ? "RssShmem" : "RssAnon";
	char *mem = h->mem + 16 * GP_PAGE;
	long before, without;

	value_of(path, key);
	without = value_of(path, key);
	memset(mem, 0x11, 64 * GP_PAGE);
	before = value_of(path, key);
	EXPECT_EQ(before, without + 64 * PAGE_KB);
	pkvm_must(h->vcpu, guest_touch, FIRST, 64, 1, 1);
	/* A page of a file that is not mapped does not count. */
	EXPECT_EQ(value_of(path, key), h->file ? without : before);
	/* What the host unmaps is none of its size, though the guest has it. */
	EXPECT_EQ(munmap(mem, 32 * GP_PAGE), 0);
	EXPECT_EQ(value_of(path, key), h->file ? without : without + 32 * PAGE_KB);
	EXPECT_EQ(munmap(mem + 32 * GP_PAGE, 32 * GP_PAGE), 0);
	EXPECT_EQ(value_of(path, key), without);
	EXPECT_EQ(pkvm_must(h->vcpu, guest_touch, FIRST, 64, 1, 1), 0);
	EXPECT_EQ(value_of(path, key), without);
}

TEST_F_TIMEOUT(account, memory_stat, TIMEOUT)
{
	static const char * const dir = "/sys/fs/cgroup/guestprivate";
	char path[80], procs[80], pid[16];
	struct gp_host *h = &self->host;
	long before;

	/* New memory is charged to the group that this process is in now. */
	write_text("/sys/fs/cgroup/cgroup.subtree_control", "+memory");
	if (mkdir(dir, 0700) && errno != EEXIST)
		SKIP(return, "no cgroup2");
	snprintf(path, sizeof(path), "%s/memory.stat", dir);
	snprintf(procs, sizeof(procs), "%s/cgroup.procs", dir);
	snprintf(pid, sizeof(pid), "%d", getpid());
	if (access(path, R_OK) || !write_text(procs, pid))
		SKIP(return, "no memory controller");
	before = value_of(path, "guest_private");
	pkvm_must(h->vcpu, guest_touch, FIRST, 64, 1, 1);
	expect_seen(_metadata, path, "guest_private", before, 64 * GP_PAGE);
	gp_end_vm(h);
	expect_seen(_metadata, path, "guest_private", 0, 0);
	write_text("/sys/fs/cgroup/cgroup.procs", pid);
	rmdir(dir);
}

/* A number of a group of the old kind, in pages. Small changes are added up later. */
static bool group_has(const char *dir, const char *group, const char *key, long least,
		      long most)
{
	char path[96];
	long val, tries;

	snprintf(path, sizeof(path), "%s/%s/memory.stat", dir, group);
	for (tries = 0; tries < 300; tries++) {
		val = value_of(path, key) / (long)GP_PAGE;
		if (val >= least && val <= most)
			return true;
		usleep(100000);
		/* By every CPU, asleep or not. */
		pins();
	}
	printf("# %s has %ld pages of %s, not %ld to %ld\n", group, val, key, least, most);
	return false;
}

static bool group_write(const char *dir, const char *group, const char *file,
			const char *text)
{
	char path[96];

	snprintf(path, sizeof(path), "%s/%s/%s", dir, group, file);
	return write_text(path, text);
}

/*
 * A VMM moves to another group and takes its memory along, as the groups of cgroup v1
 * can: what is the host's goes, what is private stays where it is counted.
 */
TEST_F_TIMEOUT(account, moved_to_another_group, TIMEOUT)
{
	struct gp_host *h = &self->host;
	const char *key = h->file ? "total_shmem" : "total_rss";
	/* The library's memory counts, too, where it is of the same kind. */
	long nr = 128, shared = 32, own = 64, i, slack = h->file ? 0 : 24;
	char dir[] = "/tmp/memoryXXXXXX", pid[16], path[64];
	char *mem = h->mem + 16 * GP_PAGE;
	uint64_t seed = gp_seed(h);

	ASSERT_NE(mkdtemp(dir), NULL);
	if (mount("memory", dir, "cgroup", 0, "memory")) {
		rmdir(dir);
		SKIP(return, "no memory controller of cgroup v1: %s", strerror(errno));
	}
	snprintf(path, sizeof(path), "%s/from", dir);
	ASSERT_EQ(mkdir(path, 0700), 0);
	snprintf(path, sizeof(path), "%s/to", dir);
	ASSERT_EQ(mkdir(path, 0700), 0);
	snprintf(pid, sizeof(pid), "%d", getpid());
	ASSERT_TRUE(group_write(dir, "to", "memory.move_charge_at_immigrate", "3"));
	ASSERT_TRUE(group_write(dir, "from", "cgroup.procs", pid));

	pkvm_must(h->vcpu, guest_pages_fill, FIRST, nr, seed);
	memset(mem + nr * GP_PAGE, 0x11, own * GP_PAGE);
	EXPECT_EQ(pkvm_must(h->vcpu, guest_pages_share, PKVM_HVC_SHARE, FIRST, shared), 0);
	for (i = 0; i < shared; i++)
		EXPECT_EQ(pkvm_host_read(mem + i * GP_PAGE, NULL).sig, 0);
	EXPECT_TRUE(group_has(dir, "from", key, nr + own, nr + own + slack));
	EXPECT_TRUE(group_has(dir, "to", key, 0, 0));
	pkvm_counters_read(&h->now);

	ASSERT_TRUE(group_write(dir, "to", "cgroup.procs", pid));
	EXPECT_TRUE(group_has(dir, "from", key, nr - shared, nr - shared + slack));
	EXPECT_TRUE(group_has(dir, "to", key, shared + own - slack, shared + own + slack));
	EXPECT_TRUE(pkvm_counters_back(&h->now, -1));
	for (i = 0; i < nr; i++) {
		EXPECT_EQ(pkvm_must(h->vcpu, guest_page_check, FIRST + i * GP_PAGE, seed + i),
			  0);
	}
	EXPECT_TRUE(pkvm_is_segv_at(pkvm_host_read(mem + shared * GP_PAGE, NULL),
				    mem + shared * GP_PAGE));

	/* And none is left when the guest is gone and the memory with it. */
	gp_end_vm(h);
	expect_seen(_metadata, "/proc/meminfo", "GuestPrivate", 0, 0);
	EXPECT_EQ(pkvm_count_nonzero(mem, nr * GP_PAGE), 0);
	EXPECT_EQ(madvise(mem, (nr + own) * GP_PAGE, h->file ? MADV_REMOVE : MADV_DONTNEED), 0);
	EXPECT_TRUE(group_has(dir, "from", key, 0, slack));
	EXPECT_TRUE(group_has(dir, "to", key, 0, slack));
	EXPECT_TRUE(group_write(dir, ".", "cgroup.procs", pid));
	snprintf(path, sizeof(path), "%s/from", dir);
	EXPECT_EQ(rmdir(path), 0);
	snprintf(path, sizeof(path), "%s/to", dir);
	EXPECT_EQ(rmdir(path), 0);
	EXPECT_EQ(umount(dir), 0);
	rmdir(dir);
}

TEST_F_TIMEOUT(account, debugfs, TIMEOUT)
{
	struct gp_host *h = &self->host;
	long private, shared, pinned, refused;
	char path[96];
	int fds[2];
	struct iovec iov;

	ASSERT_TRUE(debugfs_file(h, path, sizeof(path))) {
		TH_LOG("no %s", path);
	}
	private = value_of(path, "private");
	shared = value_of(path, "shared");
	pinned = value_of(path, "pinned");
	refused = value_of(path, "hides_refused");
	EXPECT_EQ(pinned * PAGE_KB, pkvm_vmlck_kb());
	EXPECT_EQ(value_of(path, "poisoned"), 0);
	EXPECT_EQ(value_of(path, "forced_reclaims"), 0);
	pkvm_must(h->vcpu, guest_touch, FIRST, 16, 1, 1);
	EXPECT_EQ(value_of(path, "private"), private + 16);
	EXPECT_EQ(pkvm_must(h->vcpu, guest_hvc, PKVM_HVC_SHARE, FIRST), 0);
	EXPECT_EQ(value_of(path, "private"), private + 15);
	EXPECT_EQ(value_of(path, "shared"), shared + 1);
	EXPECT_EQ(value_of(path, "pinned"), pinned + 16);
	iov.iov_base = h->mem + 16 * GP_PAGE;
	iov.iov_len = GP_PAGE;
	ASSERT_EQ(pipe(fds), 0);
	ASSERT_EQ(vmsplice(fds[1], &iov, 1, 0), GP_PAGE);
	EXPECT_NE(pkvm_must(h->vcpu, guest_hvc, PKVM_HVC_UNSHARE, FIRST), 0);
	EXPECT_GT(value_of(path, "hides_refused"), refused);
	close(fds[0]);
	close(fds[1]);
	EXPECT_EQ(pkvm_must(h->vcpu, guest_hvc, PKVM_HVC_UNSHARE, FIRST), 0);
	EXPECT_EQ(value_of(path, "shared"), shared);
}

/* -------------------------------------------------------------- ways to end */

FIXTURE(end) {
	struct pkvm_counters before;
};

FIXTURE_VARIANT(end) {
	enum gp_backing backing;
};

FIXTURE_VARIANT_ADD(end, memfd) { GP_MEMFD };
FIXTURE_VARIANT_ADD(end, anon) { GP_ANON };

FIXTURE_SETUP(end)
{
	const char *why = pkvm_unavailable();

	if (why)
		SKIP(return, "%s", why);
	pkvm_counters_read(&self->before);
}

FIXTURE_TEARDOWN(end)
{
	EXPECT_TRUE(pkvm_counters_back(&self->before, SLACK_KB));
	EXPECT_LE(value_of("/proc/meminfo", "GuestPrivate"), 0);
}

static void new_vm(struct gp_host *h, enum gp_backing backing)
{
	gp_open(h, backing, 1, 0);
	gp_make_windows(h);
	pkvm_must(h->vcpu, guest_touch, PKVM_MEM_IPA + SZ_1M, 128, 1, 1);
}

/* Zeroes where the guest was, by the mapping and by the file, and kept as such. */
TEST_F_TIMEOUT(end, close_files, TIMEOUT)
{
	static char page[4096];
	struct gp_host h;
	int s, i;

	new_vm(&h, variant->backing);
	EXPECT_GT(pkvm_vmlck_kb(), self->before.vmlck_kb);
	gp_end_vm(&h);
	EXPECT_EQ(pkvm_vmlck_kb(), self->before.vmlck_kb);
	for (s = 0; s < GP_NR_STATES; s++) {
		EXPECT_TRUE(gp_host_has(&h.win[s]));
		for (i = 0; i < GP_PAGES && h.file; i++) {
			ASSERT_EQ(pread(h.fd, page, GP_PAGE, h.win[s].off + i * GP_PAGE),
				  GP_PAGE);
			EXPECT_TRUE(gp_page_is(page, 0));
		}
	}
	EXPECT_EQ(pkvm_count_nonzero(h.mem + SZ_1M, 128 * GP_PAGE), 0);
	EXPECT_TRUE(gp_own_pages_left(&h));
	/* It is ordinary memory again, and dirty: it goes to swap and comes back. */
	if (!held_setup()) {
		memset(h.mem + SZ_1M, 0x77, 16 * GP_PAGE);
		EXPECT_EQ(madvise(h.mem, GP_MEM_SIZE, MADV_PAGEOUT), 0);
		EXPECT_EQ(h.mem[SZ_1M + 5 * GP_PAGE], 0x77);
		EXPECT_TRUE(gp_own_pages_left(&h));
		EXPECT_EQ(pkvm_count_nonzero(h.mem + SZ_1M + 16 * GP_PAGE, 16 * GP_PAGE), 0);
		held_cleanup();
	}
	EXPECT_TRUE(gp_close(&h));
}

/* A VMM in a process of its own: what it does when it has told us that it is up. */
static pid_t start_vmm(enum gp_backing backing, int up, void (*then)(struct gp_host *h))
{
	pid_t pid = fork();

	if (!pid) {
		struct gp_host h;

		new_vm(&h, backing);
		gp_agent_stop(&h.agent);
		if (write(up, "x", 1) != 1)
			_exit(1);
		then(&h);
		_exit(0);
	}
	return pid;
}

static void wait_for_death(struct gp_host *h)
{
	for (;;)
		pause();
}

TEST_F_TIMEOUT(end, sigkill, TIMEOUT)
{
	int up[2], status;
	pid_t pid;
	char c;

	ASSERT_EQ(pipe(up), 0);
	pid = start_vmm(variant->backing, up[1], wait_for_death);
	ASSERT_EQ(read(up[0], &c, 1), 1);
	ASSERT_EQ(kill(pid, SIGKILL), 0);
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_EQ(WTERMSIG(status), SIGKILL);
}

static void churn_for_ever(struct gp_host *h)
{
	pkvm_call(h->vcpu, guest_share_storm, PKVM_MEM_IPA + SZ_1M, 16, ~0UL);
}

TEST_F_TIMEOUT(end, sigkill_while_sharing, TIMEOUT)
{
	int up[2], status, i;
	pid_t pid;
	char c;

	ASSERT_EQ(pipe(up), 0);
	for (i = 0; i < 3; i++) {
		pid = start_vmm(variant->backing, up[1], churn_for_ever);
		ASSERT_EQ(read(up[0], &c, 1), 1);
		usleep(20000 + 7000 * i);
		ASSERT_EQ(kill(pid, SIGKILL), 0);
		ASSERT_EQ(waitpid(pid, &status, 0), pid);
		EXPECT_EQ(WTERMSIG(status), SIGKILL);
	}
}

static int mailbox[2];

/* All that keeps the VM, so that it survives the address space. */
static void send_files(struct gp_host *h)
{
	int fds[] = { h->vm->fd, h->vcpu->fd };

	if (!pkvm_send_fds(mailbox[1], fds, 2))
		_exit(1);
}

/* exit_mmap() comes first; the pages stay the guest's until the files are closed. */
TEST_F_TIMEOUT(end, memory_first, TIMEOUT)
{
	int up[2], status, fds[2] = { -1, -1 };
	long held = pins();
	pid_t pid;
	char c;

	ASSERT_EQ(pipe(up), 0);
	ASSERT_EQ(socketpair(AF_UNIX, SOCK_DGRAM, 0, mailbox), 0);
	pid = start_vmm(variant->backing, up[1], send_files);
	ASSERT_EQ(read(up[0], &c, 1), 1);
	ASSERT_TRUE(pkvm_recv_fds(mailbox[0], fds, 2));
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_EQ(status, 0);
	EXPECT_GT(pins(), held + 128);
	EXPECT_EQ(ioctl(fds[1], KVM_RUN, NULL), -1);
	EXPECT_EQ(errno, EIO);
	write_text("/proc/sys/vm/drop_caches", "3");
	write_text("/proc/sys/vm/compact_memory", "1");
	close(fds[0]);
	close(fds[1]);
	close(mailbox[0]);
	close(mailbox[1]);
}

static void eat_memory(struct gp_host *h)
{
	char *p;

	/* Guest and host, until there is no more. */
	for (;;) {
		p = mmap(NULL, SZ_1M, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			 0);
		if (p != MAP_FAILED)
			memset(p, 1, SZ_1M);
		pkvm_call(h->vcpu, guest_touch, PKVM_MEM_IPA + SZ_512K, 64, 1, 1);
	}
}

TEST_F_TIMEOUT(end, oom_kill, TIMEOUT)
{
	static const char * const dir = "/sys/fs/cgroup/guestoom";
	char path[80], text[16];
	int up[2], status;
	pid_t pid;
	char c;

	write_text("/sys/fs/cgroup/cgroup.subtree_control", "+memory");
	if (mkdir(dir, 0700) && errno != EEXIST)
		SKIP(return, "no cgroup2");
	snprintf(path, sizeof(path), "%s/memory.max", dir);
	if (!write_text(path, "32M"))
		SKIP(return, "no memory controller");
	ASSERT_EQ(pipe(up), 0);
	pid = start_vmm(variant->backing, up[1], eat_memory);
	snprintf(path, sizeof(path), "%s/cgroup.procs", dir);
	snprintf(text, sizeof(text), "%d", pid);
	EXPECT_TRUE(write_text(path, text));
	ASSERT_EQ(read(up[0], &c, 1), 1);
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_TRUE(WIFSIGNALED(status));
	EXPECT_EQ(WTERMSIG(status), SIGKILL);
	snprintf(path, sizeof(path), "%s/memory.events", dir);
	EXPECT_GT(value_of(path, "oom_kill"), 0);
	rmdir(dir);
}

/* A VMM, with all of its memory in a group, whose guest has a page that breaks. */
static void break_a_page(enum gp_backing backing, const char *dir, int told)
{
	char path[80], text[24];
	struct gp_host h;
	uint64_t pfn;

	snprintf(path, sizeof(path), "%s/cgroup.procs", dir);
	snprintf(text, sizeof(text), "%d", getpid());
	if (!write_text(path, text))
		_exit(1);
	new_vm(&h, backing);
	gp_agent_stop(&h.agent);
	pfn = khh_vm_info(h.vm, (PKVM_MEM_IPA + SZ_1M) / GP_PAGE).guest_pfn;
	snprintf(text, sizeof(text), "%#lx", pfn);
	write_text("/sys/kernel/debug/hwpoison/corrupt-pfn", text);
	_exit(write(told, &pfn, sizeof(pfn)) != sizeof(pfn));
}

/* A page that broke is in no group's account, and keeps no group that is gone. */
TEST_F_TIMEOUT(end, broken_memory, TIMEOUT)
{
	/* A parent of its own: groups of other cases may be dying still. */
	static const char * const top = "/sys/fs/cgroup/guestbroken";
	static const char * const dir = "/sys/fs/cgroup/guestbroken/vm";
	const char *why = hostile_unavailable();
	int told[2], status, tries;
	char path[80], text[24];
	uint64_t pfn;
	long dying;
	pid_t pid;

	if (why)
		SKIP(return, "%s", why);
	if (access("/sys/kernel/debug/hwpoison/corrupt-pfn", W_OK))
		SKIP(return, "no CONFIG_HWPOISON_INJECT or debugfs");
	write_text("/sys/fs/cgroup/cgroup.subtree_control", "+memory");
	if (mkdir(top, 0700) && errno != EEXIST)
		SKIP(return, "no cgroup2");
	snprintf(path, sizeof(path), "%s/cgroup.subtree_control", top);
	if (!write_text(path, "+memory")) {
		rmdir(top);
		SKIP(return, "no memory controller");
	}
	rmdir(dir);
	ASSERT_EQ(mkdir(dir, 0700), 0);
	ASSERT_EQ(pipe(told), 0);
	pid = fork();
	if (!pid)
		break_a_page(variant->backing, dir, told[1]);
	close(told[1]);
	ASSERT_EQ(read(told[0], &pfn, sizeof(pfn)), sizeof(pfn));
	EXPECT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_EQ(status, 0);
	snprintf(path, sizeof(path), "%s/memory.stat", dir);
	expect_seen(_metadata, path, "guest_private", 0, 0);
	EXPECT_EQ(rmdir(dir), 0);
	snprintf(path, sizeof(path), "%s/cgroup.stat", top);
	for (tries = 0; tries < 300; tries++) {
		dying = value_of(path, "nr_dying_descendants");
		if (!dying)
			break;
		usleep(100000);
	}
	EXPECT_EQ(dying, 0);
	rmdir(top);
	close(told[0]);
	hostile_close();
	snprintf(text, sizeof(text), "%#lx", pfn);
	write_text("/sys/kernel/debug/hwpoison/unpoison-pfn", text);
}

/* What the VMM that waits wants to read, with its address space locked meanwhile. */
static void *read_slowly(void *addr)
{
	int fd = open("/proc/self/mem", O_RDONLY);
	uint64_t val;

	if (pread(fd, &val, 8, (uintptr_t)addr) != 8)
		perror("# the slow read");
	close(fd);
	return NULL;
}

/*
 * A guest that lost a page by force is about to come to it, while its VMM waits for a
 * file of its own with its address space locked: what is left to be settled has to wait.
 */
static void wait_with_all_locked(const char *file, enum gp_backing backing, int go)
{
	pthread_t thread;
	struct gp_host h;
	uint64_t pfn;
	char c, *p;
	int fd;

	gp_open(&h, backing, 1, 0);
	gp_pattern(h.mem + 16 * GP_PAGE, 1);
	pkvm_must(h.vcpu, guest_touch, FIRST, 1, 1, 1);
	/* It may have been moved to be pinned. */
	pfn = khh_vm_info(h.vm, FIRST / GP_PAGE).guest_pfn;
	if (hvc(KHH_pkvm_host_force_reclaim, pfn))
		_exit(1);
	fd = open(file, O_RDONLY);
	p = mmap(NULL, GP_PAGE, PROT_READ, MAP_PRIVATE, fd, 0);
	if (p == MAP_FAILED || pthread_create(&thread, NULL, read_slowly, p) ||
	    read(go, &c, 1) != 1)
		_exit(2);
	if (pkvm_call(h.vcpu, guest_touch, FIRST, 1, 1, 1) != -EFAULT)
		_exit(3);
	pthread_join(thread, NULL);
	_exit(0);
}

/* Others do not wait for it: not with a new VM, and not with the end of one. */
TEST_F_TIMEOUT(end, vmm_that_waits, TIMEOUT)
{
	const char *why = hostile_unavailable();
	int go[2], status, tries;
	struct gp_slow_file slow;
	struct pkvm_thread t;
	struct gp_host h;
	char file[64];
	pid_t pid;

	if (!why)
		why = gp_slow_open(&slow);
	if (why)
		SKIP(return, "%s", why);
	snprintf(file, sizeof(file), "%s/file", slow.dir);
	ASSERT_EQ(pipe(go), 0);
	pid = fork();
	if (!pid)
		wait_with_all_locked(file, variant->backing, go[0]);
	EXPECT_TRUE(gp_slow_wait(&slow));
	ASSERT_EQ(write(go[1], "", 1), 1);
	usleep(300000);
	EXPECT_EQ(waitpid(pid, &status, WNOHANG), 0);
	gp_open(&h, variant->backing, 1, 0);
	pkvm_thread_start(&t, h.vcpu, guest_touch, FIRST, 1, 1, 1);
	for (tries = 0; tries < 500 && !READ_ONCE(t.done); tries++)
		usleep(10000);
	EXPECT_TRUE(READ_ONCE(t.done)) {
		TH_LOG("another VM waits, too");
	}
	if (READ_ONCE(t.done))
		gp_end_vm(&h);
	EXPECT_EQ(waitpid(pid, &status, WNOHANG), 0);
	gp_slow_answer(&slow);
	EXPECT_EQ(pkvm_thread_join(&t), PKVM_RETURNED);
	EXPECT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_EQ(status, 0);
	hostile_close();
	/* From before all of it. The other process of the VM has the slow file, too. */
	h.before = self->before;
	EXPECT_TRUE(gp_close(&h));
	gp_slow_close(&slow);
}

#define SPLITTERS	3	/* vCPUs that want a small page at once */
#define SPLIT_ROUNDS	8
#define HUGE(i)		((i) * (uint64_t)SZ_2M)

/*
 * The vCPUs of a guest come to huge pages, of which one is split at a time; the VMM
 * throws them away meanwhile. Then who had waited for his turn finds none, and nobody
 * that would bring it.
 */
static void throw_away_while_split(enum gp_backing backing, int told, int go)
{
	struct pkvm_thread t[SPLITTERS];
	struct gp_host h;
	int i, round, fd;
	char c, *mem;

	gp_open(&h, backing, SPLITTERS, HUGE(1 + SPLITTERS * SPLIT_ROUNDS));
	for (i = 1; i < SPLITTERS; i++) {
		pkvm_must(h.vcpu, guest_hvc, PSCI_0_2_FN64_CPU_ON, i,
			  (uintptr_t)pkvm_guest_entry, (uintptr_t)&pkvm_guest_cpus[i]);
		pkvm_must(&h.vm->vcpus[i], guest_touch_image);
	}
	pkvm_must(h.vcpu, guest_touch, PKVM_MEM_IPA, 1, 1, 1);
	fd = forget_memory(h.mem + HUGE(1), HUGE(SPLITTERS * SPLIT_ROUNDS));
	if (fd < 0)
		_exit(KSFT_SKIP);
	for (round = 0; round < SPLIT_ROUNDS; round++) {
		uint64_t off = HUGE(1 + SPLITTERS * round);

		mem = h.mem + off;
		for (i = 0; i < SPLITTERS; i++)
			pkvm_thread_start(&t[i], &h.vm->vcpus[i], guest_touch,
					  PKVM_MEM_IPA + off + HUGE(i), 1, 1, 1);
		usleep(2000 + 4000 * round);
		madvise(mem, HUGE(SPLITTERS), h.file ? MADV_REMOVE : MADV_DONTNEED);
		usleep(20000);
		if (write(told, &c, 1) != 1 || read(go, &c, 1) != 1)
			_exit(1);
		for (i = 0; i < SPLITTERS; i++) {
			struct uffdio_zeropage zero = {
				.range = { (uintptr_t)mem + HUGE(i), GP_PAGE },
			};

			/* Where a vCPU was fast enough nobody waits. */
			ioctl(fd, UFFDIO_ZEROPAGE, &zero);
		}
		for (i = 0; i < SPLITTERS; i++) {
			if (pkvm_thread_join(&t[i]) != PKVM_RETURNED)
				_exit(2);
		}
	}
	_exit(0);
}

/* One folio is split at a time; who has a turn does not wait for the VMM of his guest. */
TEST_F_TIMEOUT(end, vmm_that_keeps_a_turn, TIMEOUT)
{
	enum gp_backing huge = variant->backing == GP_ANON ? GP_ANON_THP : GP_MEMFD_THP;
	int told[2], go[2], status, round, tries;
	long split = read_vmstat("thp_split_page");
	struct pkvm_thread t;
	bool waits = false;
	struct gp_host h;
	pid_t pid;
	char c;

	ASSERT_EQ(pipe(told), 0);
	ASSERT_EQ(pipe(go), 0);
	pid = fork();
	if (!pid)
		throw_away_while_split(huge, told[1], go[0]);
	close(told[1]);
	gp_open(&h, huge, 1, HUGE(1 + SPLIT_ROUNDS));
	pkvm_must(h.vcpu, guest_touch, PKVM_MEM_IPA, 1, 1, 1);
	for (round = 0; round < SPLIT_ROUNDS && !waits; round++) {
		if (read(told[0], &c, 1) != 1)
			break;
		pkvm_thread_start(&t, h.vcpu, guest_touch, PKVM_MEM_IPA + HUGE(1 + round), 1,
				  1, 1);
		for (tries = 0; tries < 500 && !READ_ONCE(t.done); tries++)
			usleep(10000);
		waits = !READ_ONCE(t.done);
		EXPECT_FALSE(waits) {
			TH_LOG("another VM waits, too: round %d", round);
		}
		if (waits)
			kill(pid, SIGKILL);
		EXPECT_EQ(write(go[1], "", 1), 1);
		EXPECT_EQ(pkvm_thread_join(&t), PKVM_RETURNED);
	}
	close(go[1]);
	close(told[0]);
	EXPECT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_TRUE(waits || !status) {
		TH_LOG("it ended with %#x", status);
	}
	EXPECT_GT(read_vmstat("thp_split_page"), split + SPLIT_ROUNDS);
	EXPECT_TRUE(gp_close(&h));
}

TEST_HARNESS_MAIN
