// SPDX-License-Identifier: GPL-2.0-only
/*
 * Guests that share and take back their memory without a pause, while the host does
 * everything to the same memory at once (I3, I5, I6, I7): it forks, swaps, migrates,
 * merges, reads, splices, locks, maps, unmaps and throws away. Each guest keeps a
 * checksum of every page of its own and of what it alone writes in shared ones; at the
 * end all are right, nothing of what is private was ever read, and all that was taken
 * is given back.
 *
 * GUEST_PRIVATE_SECONDS=N: for how long (default 4).
 * PKVM_SEED=N: the same order of things, as far as the machine has one.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <time.h>
#include <asm/kvm.h>
#include <linux/falloc.h>
#include <linux/mempolicy.h>
#include <linux/sizes.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "kselftest_harness.h"
#include "kvm_util.h"
#include "processor.h"
#include "held.h"
#include "guest_private.h"

#define TIMEOUT		7200
#define NR_VMS		2
#define PAGES		48		/* of each guest, in the turmoil */
#define AREA		(64 * GP_PAGE)	/* where they begin */
#define LOST_PAGES	32		/* more of them, which the host may throw away */
#define LOST		(128 * GP_PAGE)
#define STOP		(PKVM_MEM_IPA + 4 * GP_PAGE)
#define KSM		"/sys/kernel/mm/ksm/"
/* In every private page, at no known offset: what no host thread may ever see. */
#define SECRET		0x5ec7e75ec7e75ec7UL

/* ------------------------------------------------------------ guest side */

static uint64_t guest_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/*
 * Word 0 of a page says what the page is filled with, by its generation; the last
 * quarter belongs to the host while the page is shared. Returns the number of wrong
 * words, out: rounds, refused unshares, pages that stayed shared.
 */
#define OWN_WORDS	(GP_PAGE / 8 * 3 / 4)

static uint64_t guest_turmoil(uint64_t ipa, uint64_t nr, uint64_t seed, uint64_t stop)
{
	uint64_t state = seed | 1, rounds = 0, refused = 0, bad = 0, i, j, tries;
	uint64_t open = 0;	/* a bit for each page that is shared */

	for (i = 0; i < nr; i++) {
		uint64_t *page = (uint64_t *)(ipa + i * GP_PAGE);

		for (j = 0; j < GP_PAGE / 8; j++)
			WRITE_ONCE(page[j], j < OWN_WORDS ? pkvm_pattern(seed + i, j) : 0);
		WRITE_ONCE(page[OWN_WORDS - 1], SECRET);
	}
	while (!READ_ONCE(*(uint64_t *)stop)) {
		uint64_t r = guest_random(&state), *page;

		/* Nobody knows what is in those, but they are fought for as much. */
		if (r & BIT(42)) {
			page = (uint64_t *)(PKVM_MEM_IPA + LOST +
					    (r >> 16) % LOST_PAGES * GP_PAGE);
			WRITE_ONCE(*page, r);
			guest_hvc_quiet(r & BIT(41) ? PKVM_HVC_SHARE : PKVM_HVC_UNSHARE,
					(uint64_t)page, 0, 0);
		}
		i = r % nr;
		page = (uint64_t *)(ipa + i * GP_PAGE);
		/* Whatever happened to it. */
		for (j = 0; j < OWN_WORDS - 1; j++)
			bad += READ_ONCE(page[j]) != pkvm_pattern(seed + i, j);
		if (open & BIT(i)) {
			for (tries = 0; tries < 8; tries++) {
				if (!guest_hvc_quiet(PKVM_HVC_UNSHARE, (uint64_t)page, 0, 0))
					break;
				refused++;
			}
			if (tries == 8)
				continue;
			open &= ~BIT(i);
			WRITE_ONCE(page[OWN_WORDS - 1], SECRET);
			bad += READ_ONCE(page[OWN_WORDS - 1]) != SECRET;
		} else {
			/* The secret was there and nobody changed it. */
			bad += READ_ONCE(page[OWN_WORDS - 1]) != SECRET;
			if (r & BIT(40))
				continue;
			WRITE_ONCE(page[OWN_WORDS - 1], 0);
			if (guest_hvc_quiet(PKVM_HVC_SHARE, (uint64_t)page, 0, 0))
				bad++;
			else
				open |= BIT(i);
		}
		rounds++;
	}
	guest_out(0, rounds);
	guest_out(1, refused);
	guest_out(2, open);
	return bad;
}

static uint64_t guest_secrets(uint64_t ipa, uint64_t nr)
{
	uint64_t i;

	for (i = 0; i < nr; i++)
		WRITE_ONCE(*(uint64_t *)(ipa + i * GP_PAGE), SECRET);
	return 0;
}

/* -------------------------------------------------------------------- host */

struct turmoil {
	struct gp_host host[NR_VMS];
	struct pkvm_thread guest[NR_VMS];
	bool stop;
	unsigned long done[16];
	unsigned long leaks;
};

struct worker {
	struct turmoil *t;
	int id;
	unsigned int rnd;
	pthread_t thread;
	void (*step)(struct worker *w, struct gp_host *h, char *page);
};

static void look_for_secrets(struct worker *w, const void *buf, ssize_t len)
{
	const uint64_t *p = buf;
	ssize_t i;

	for (i = 0; i < len / 8; i++) {
		if (p[i] == SECRET)
			__atomic_fetch_add(&w->t->leaks, 1, __ATOMIC_RELAXED);
	}
}

/* The signal handlers are the process's: by a system call nobody dies. */
static void by_pipe(struct worker *w, struct gp_host *h, char *page)
{
	char buf[GP_PAGE];
	ssize_t len;
	int fds[2];

	if (pipe(fds))
		return;
	len = write(fds[1], page, GP_PAGE);
	if (len > 0)
		look_for_secrets(w, buf, read(fds[0], buf, GP_PAGE));
	/* And into the part that is the host's. */
	memset(buf, 0x48, sizeof(buf));
	if (write(fds[1], buf, GP_PAGE / 4) == GP_PAGE / 4)
		len = read(fds[0], page + GP_PAGE * 3 / 4, GP_PAGE / 4);
	close(fds[0]);
	close(fds[1]);
}

static void by_lookup(struct worker *w, struct gp_host *h, char *page)
{
	char buf[GP_PAGE];
	struct iovec local = { buf, GP_PAGE }, remote = { page, GP_PAGE };
	ssize_t len = process_vm_readv(getpid(), &local, 1, &remote, 1, 0);

	look_for_secrets(w, buf, len);
}

static void by_file(struct worker *w, struct gp_host *h, char *page)
{
	char buf[GP_PAGE];
	loff_t off = page - h->mem;
	ssize_t len;
	int fds[2];

	if (!h->file) {
		by_lookup(w, h, page);
		return;
	}
	look_for_secrets(w, buf, pread(h->fd, buf, GP_PAGE, off));
	if (pipe(fds))
		return;
	len = splice(h->fd, &off, fds[1], NULL, GP_PAGE, SPLICE_F_NONBLOCK);
	/* It is held for a while. */
	if (rand_r(&w->rnd) % 2)
		sched_yield();
	if (len > 0)
		look_for_secrets(w, buf, read(fds[0], buf, GP_PAGE));
	close(fds[0]);
	close(fds[1]);
}

static void by_vmsplice(struct worker *w, struct gp_host *h, char *page)
{
	struct iovec iov = { page, GP_PAGE };
	char buf[GP_PAGE];
	int fds[2];

	if (pipe(fds))
		return;
	if (vmsplice(fds[1], &iov, 1, SPLICE_F_NONBLOCK) > 0)
		look_for_secrets(w, buf, read(fds[0], buf, GP_PAGE));
	close(fds[0]);
	close(fds[1]);
}

static void by_mapping(struct worker *w, struct gp_host *h, char *page)
{
	char buf[GP_PAGE];
	struct iovec local = { buf, GP_PAGE }, remote;
	char *p;

	if (!h->file)
		return;
	p = mmap(NULL, GP_PAGE, PROT_READ | PROT_WRITE,
		 rand_r(&w->rnd) % 2 ? MAP_SHARED : MAP_PRIVATE, h->fd, page - h->mem);
	if (p == MAP_FAILED)
		return;
	remote.iov_base = p;
	remote.iov_len = GP_PAGE;
	look_for_secrets(w, buf, process_vm_readv(getpid(), &local, 1, &remote, 1, 0));
	munmap(p, GP_PAGE);
}

static void by_fork(struct worker *w, struct gp_host *h, char *page)
{
	int fds[2];
	pid_t pid;

	if (pipe2(fds, O_NONBLOCK))
		return;
	/* Not the library's: it would wait for locks of threads that are not there. */
	pid = syscall(__NR_clone, SIGCHLD, 0, 0, 0, 0);
	if (!pid) {
		uint64_t buf[GP_PAGE / 8];
		bool leak = false;
		int i, j;

		/* All of them; by the pipe, so that none of it is a signal. */
		for (i = 0; i < PAGES; i++) {
			memset(buf, 0, sizeof(buf));
			syscall(__NR_write, fds[1], h->mem + AREA + i * GP_PAGE, GP_PAGE);
			/* A write that fails leaves a part of the pipe in use. */
			syscall(__NR_read, fds[0], buf, GP_PAGE);
			for (j = 0; j < GP_PAGE / 8; j++)
				leak |= buf[j] == SECRET;
		}
		syscall(__NR_exit_group, leak);
	}
	if (pid > 0) {
		int status = 0;

		while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
			;
		if (status)
			__atomic_fetch_add(&w->t->leaks, 1, __ATOMIC_RELAXED);
	}
	close(fds[0]);
	close(fds[1]);
	usleep(5000);
}

static void by_advice(struct worker *w, struct gp_host *h, char *page)
{
	static const int advice[] = {
		MADV_PAGEOUT, MADV_COLD, MADV_WILLNEED, MADV_POPULATE_READ,
		MADV_POPULATE_WRITE, MADV_MERGEABLE, MADV_HUGEPAGE, 25 /* COLLAPSE */,
	};
	size_t len = (rand_r(&w->rnd) % 8 + 1) * GP_PAGE;

	madvise(page, len, advice[rand_r(&w->rnd) % ARRAY_SIZE(advice)]);
}

static void by_protection(struct worker *w, struct gp_host *h, char *page)
{
	switch (rand_r(&w->rnd) % 3) {
	case 0:
		mprotect(page, GP_PAGE, PROT_READ);
		mprotect(page, GP_PAGE, PROT_READ | PROT_WRITE);
		break;
	case 1:
		mlock(page, GP_PAGE);
		munlock(page, GP_PAGE);
		break;
	default:
		/* Of a file only: elsewhere the contents would go. */
		if (h->file)
			madvise(page, GP_PAGE, MADV_DONTNEED);
		break;
	}
}

/* A twin of what can be read of the page, for KSM to find. */
static void by_merging(struct worker *w, struct gp_host *h, char *page)
{
	char *twin = mmap(NULL, 2 * GP_PAGE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct iovec local = { twin, GP_PAGE }, remote = { page, GP_PAGE };

	if (twin == MAP_FAILED)
		return;
	if (process_vm_readv(getpid(), &local, 1, &remote, 1, 0) == GP_PAGE) {
		look_for_secrets(w, twin, GP_PAGE);
		memcpy(twin + GP_PAGE, twin, GP_PAGE);
		madvise(twin, 2 * GP_PAGE, MADV_MERGEABLE);
		madvise(page, GP_PAGE, MADV_MERGEABLE);
		usleep(rand_r(&w->rnd) % 20000);
		look_for_secrets(w, twin, 2 * GP_PAGE);
		madvise(page, GP_PAGE, MADV_UNMERGEABLE);
	}
	munmap(twin, 2 * GP_PAGE);
}

static void by_migration(struct worker *w, struct gp_host *h, char *page)
{
	void *pages[8];
	int node[8], status[8], i;

	for (i = 0; i < 8; i++) {
		pages[i] = page + i * GP_PAGE;
		node[i] = rand_r(&w->rnd) % 2;
	}
	syscall(__NR_move_pages, 0, 8, pages, node, status, MPOL_MF_MOVE);
	if (!(rand_r(&w->rnd) % 64))
		write_text("/proc/sys/vm/compact_memory", "1");
	if (!(rand_r(&w->rnd) % 16))
		write_text("/sys/fs/cgroup/memory.reclaim", "1M");
}

/*
 * Plain loads and stores, which end with a signal where the page is private. The
 * handlers know one address at a time: one thread does this for all of them.
 */
static void by_touch(struct worker *w, struct gp_host *h, char *page)
{
	uint64_t val;

	if (!pkvm_host_read(page + GP_PAGE * 3 / 4 - 8, &val).sig && val == SECRET)
		__atomic_fetch_add(&w->t->leaks, 1, __ATOMIC_RELAXED);
	/* Not what the guest keeps its checksum of. */
	pkvm_host_write(page + GP_PAGE - 8, 0x48);
}

/*
 * Memory that the guest has not had and that is lost to it, or that it has and the
 * host throws away: behind the pages with a checksum.
 */
static void by_removal(struct worker *w, struct gp_host *h, char *page)
{
	int i = rand_r(&w->rnd) % LOST_PAGES;
	char *lost = h->mem + LOST + i * GP_PAGE, *to;

	switch (rand_r(&w->rnd) % 4) {
	case 0:
		madvise(lost, GP_PAGE, MADV_DONTNEED);
		break;
	case 1:
		if (h->file)
			fallocate(h->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				  LOST + i * GP_PAGE, GP_PAGE);
		else
			madvise(lost, GP_PAGE, MADV_FREE);
		break;
	case 2:
		/* There, and back again. */
		to = mremap(lost, GP_PAGE, GP_PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);
		if (to != MAP_FAILED)
			mremap(to, GP_PAGE, GP_PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, lost);
		break;
	default:
		to = mmap(lost, GP_PAGE, PROT_READ | PROT_WRITE,
			  MAP_FIXED | (h->file ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS),
			  h->fd, h->file ? LOST + i * GP_PAGE : 0);
		break;
	}
	/* So that there is something to be had. */
	by_pipe(w, h, lost);
}

/* A buffer that the kernel keeps for a while. */
static void by_registration(struct worker *w, struct gp_host *h, char *page)
{
	struct gp_uring u;

	if (gp_uring_open(&u))
		return;
	if (!gp_uring_register(&u, page, GP_PAGE)) {
		sched_yield();
		gp_uring_unregister(&u);
	}
	gp_uring_close(&u);
}

/* A block device, or -1. */
static int disk = -1;

/*
 * Direct I/O holds a page while it is on its way. To the disk it is any page; from
 * there only what nobody has a checksum of.
 */
static void by_direct_io(struct worker *w, struct gp_host *h, char *page)
{
	static char buf[GP_PAGE] __aligned(GP_PAGE);
	char *lost = h->mem + LOST + rand_r(&w->rnd) % LOST_PAGES * GP_PAGE;

	if (disk < 0) {
		by_lookup(w, h, page);
		return;
	}
	if (pwrite(disk, page, GP_PAGE, 0) == GP_PAGE)
		look_for_secrets(w, buf, pread(disk, buf, GP_PAGE, 0));
	if (pread(disk, lost, GP_PAGE, 0) == GP_PAGE)
		look_for_secrets(w, buf, pread(disk, buf, GP_PAGE, 0));
}

/* A VM that comes and goes, over memory of its own that was huge. */
static void by_other_vm(struct worker *w, struct gp_host *h, char *page)
{
	struct pkvm_opts opts = { .backing = PKVM_CALLER, .mem_size = GP_MEM_SIZE };
	struct pkvm_vm *vm;
	int i, fd;

	opts.mem = gp_alloc(rand_r(&w->rnd) % 2 ? GP_ANON_THP : GP_MEMFD_THP, GP_MEM_SIZE,
			    &fd);
	vm = pkvm_vm_create(&opts);
	/* It may end in the middle of that, as others hold a page. */
	pkvm_call_timeout(pkvm_vcpu0(vm), 1000, guest_secrets, PKVM_MEM_IPA, LOST_PAGES);
	pkvm_vm_free(vm);
	/* A child that was forked meanwhile may have it for a little longer. */
	for (i = 0; i < LOST_PAGES; i++)
		by_lookup(w, h, (char *)opts.mem + i * GP_PAGE);
	munmap(opts.mem, GP_MEM_SIZE);
	if (fd >= 0)
		close(fd);
	usleep(100000);
}

static void *work(void *data)
{
	struct worker *w = data;

	while (!READ_ONCE(w->t->stop)) {
		struct gp_host *h = &w->t->host[rand_r(&w->rnd) % NR_VMS];

		w->step(w, h, h->mem + AREA + rand_r(&w->rnd) % PAGES * GP_PAGE);
		w->t->done[w->id]++;
	}
	return NULL;
}

static const struct {
	const char *name;
	void (*step)(struct worker *w, struct gp_host *h, char *page);
} steps[] = {
	{ "read and write", by_pipe },
	{ "process_vm_readv", by_lookup },
	{ "pread and splice", by_file },
	{ "vmsplice", by_vmsplice },
	{ "other mappings", by_mapping },
	{ "fork", by_fork },
	{ "madvise", by_advice },
	{ "mprotect and mlock", by_protection },
	{ "merging", by_merging },
	{ "migration", by_migration },
	{ "loads and stores", by_touch },
	{ "removal", by_removal },
	{ "registered buffers", by_registration },
	{ "another VM", by_other_vm },
	{ "direct I/O", by_direct_io },
};

FIXTURE(stress) {
	struct pkvm_counters before;
};

FIXTURE_SETUP(stress)
{
	const char *why = pkvm_unavailable();

	if (why)
		SKIP(return, "%s", why);
	pkvm_counters_read(&self->before);
}

FIXTURE_TEARDOWN(stress)
{
	EXPECT_TRUE(pkvm_counters_back(&self->before, -1));
}

TEST_F_TIMEOUT(stress, share_and_unshare, TIMEOUT)
{
	static struct turmoil t;
	static struct worker workers[ARRAY_SIZE(steps)];
	long seconds = pkvm_env("GUEST_PRIVATE_SECONDS", 4);
	bool swap = !held_setup();
	struct gp_host *h;
	int i, j, stop;
	time_t end;

	if (gp_disk_open(&disk, SZ_1M))
		disk = -1;
	write_text(KSM "sleep_millisecs", "1");
	write_text(KSM "pages_to_scan", "1000");
	write_text(KSM "run", "1");
	write_text("/proc/sys/kernel/numa_balancing", "1");
	for (i = 0; i < NR_VMS; i++) {
		h = &t.host[i];
		gp_open(h, i ? GP_ANON : GP_MEMFD, 1, 0);
		pkvm_must(h->vcpu, guest_store, STOP, 0);
		ASSERT_EQ(pkvm_must(h->vcpu, guest_hvc, PKVM_HVC_SHARE, STOP), 0);
	}
	for (i = 0; i < NR_VMS; i++) {
		h = &t.host[i];
		pkvm_thread_start(&t.guest[i], h->vcpu, guest_turmoil,
				  PKVM_MEM_IPA + AREA, PAGES, pkvm_seed() + 1000 * i, STOP);
	}
	for (i = 0; i < ARRAY_SIZE(steps); i++) {
		workers[i].t = &t;
		workers[i].id = i;
		workers[i].rnd = pkvm_seed() + i;
		workers[i].step = steps[i].step;
		ASSERT_EQ(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
	}
	/* By the clock: a sleep of 10 ms may take ten times as long here. */
	for (end = time(NULL) + seconds; time(NULL) < end;) {
		usleep(10000);
		for (i = 0; i < NR_VMS; i++) {
			/* An end of KVM_RUN that a VMM would just repeat is no end. */
			if (!READ_ONCE(t.guest[i].done))
				continue;
			stop = pkvm_thread_join(&t.guest[i]);
			if (stop != -EFAULT && stop != -EAGAIN && stop != -EINTR) {
				EXPECT_EQ(stop, -EINTR);
				goto out;
			}
			__pkvm_thread_start(&t.guest[i], t.host[i].vcpu, 0, NULL);
		}
	}
out:
	WRITE_ONCE(t.stop, true);
	for (i = 0; i < ARRAY_SIZE(steps); i++) {
		pthread_join(workers[i].thread, NULL);
		TH_LOG("%s: %lu times", steps[i].name, t.done[i]);
		EXPECT_GT(t.done[i], 0);
	}
	for (i = 0; i < NR_VMS; i++) {
		h = &t.host[i];
		*(uint64_t *)(h->mem + 4 * GP_PAGE) = 1;
		stop = pkvm_thread_join(&t.guest[i]);
		for (j = 0; stop == -EINTR || stop == -EAGAIN || stop == -EFAULT; j++) {
			if (j == 100)
				break;
			stop = pkvm_resume_timeout(h->vcpu, 10000);
		}
		EXPECT_EQ(stop, PKVM_RETURNED) {
			TH_LOG("guest %d: exit %u, gpa %#llx", i, h->vcpu->run->exit_reason,
			       h->vcpu->run->memory_fault.gpa);
		}
		EXPECT_EQ(h->vcpu->ret, 0) {
			TH_LOG("guest %d found %lu wrong words", i, h->vcpu->ret);
		}
		TH_LOG("guest %d: %lu rounds, %lu times refused", i, h->vcpu->out[0],
		       h->vcpu->out[1]);
		EXPECT_GT(h->vcpu->out[0], 0);
	}
	EXPECT_EQ(t.leaks, 0);
	write_text("/proc/sys/kernel/numa_balancing", "0");
	write_text(KSM "run", "2");
	write_text(KSM "run", "0");
	/* A process that was forked later has the files of the VMs before. */
	for (i = 0; i < NR_VMS; i++)
		gp_agent_stop(&t.host[i].agent);
	for (i = 0; i < NR_VMS; i++) {
		h = &t.host[i];
		gp_end_vm(h);
		EXPECT_EQ(pkvm_count_nonzero(h->mem + AREA, PAGES * GP_PAGE), 0);
	}
	for (i = 0; i < NR_VMS; i++) {
		/* From before all of it; the others began with the first there. */
		t.host[i].before = self->before;
		EXPECT_TRUE(gp_close(&t.host[i]));
	}
	if (disk >= 0)
		gp_disk_close(disk);
	if (swap)
		held_cleanup();
}

TEST_HARNESS_MAIN
