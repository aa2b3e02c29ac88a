// SPDX-License-Identifier: GPL-2.0-only
/*
 * Who holds a page when a guest wants it for itself (I3, I5, I6): a pipe, a request
 * on its way, a buffer that the kernel keeps. The holder would go on to read or write
 * it, so the guest does not get it: on its first touch KVM_RUN ends, bounded, with
 * EFAULT and the address; from MEM_UNSHARE the guest gets an error. Nothing is lost
 * by that, no charge and no pin stays, and once the page is let go both work.
 *
 * What only maps a page, or has it on a list, is no holder: it has to lose it.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <asm/kvm.h>
#include <linux/futex.h>
#include <linux/sizes.h>
#include <linux/udmabuf.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "kselftest_harness.h"
#include "kvm_util.h"
#include "processor.h"
#include "held.h"
#include "guest_private.h"
#include "../../../../../mm/gup_test.h"

#define TIMEOUT		120
#define BOUND_MS	10000	/* for one KVM_RUN, on a slow machine */
#define HELD_PAGE	300	/* of the memory; nobody has touched it */
#define GUP_TEST	"/sys/kernel/debug/gup_test"
#define KSM		"/sys/kernel/mm/ksm/"

/* What holds a page, and how it lets go. take() returns why it cannot. */
struct holder {
	const char *(*take)(struct gp_host *h, char *page, off_t off);
	void (*let_go)(struct gp_host *h);
	bool reads;		/* the contents are in got[] when it has let go */
};

static int held_fds[2] = { -1, -1 };
static int held_fd = -1;
static struct gp_uring held_ring;
static struct gp_slow_file held_file;
static char got[GP_PAGE];

static const char *take_splice(struct gp_host *h, char *page, off_t off)
{
	loff_t from = off;

	TEST_ASSERT(!pipe(held_fds), "pipe() failed");
	TEST_ASSERT(splice(h->fd, &from, held_fds[1], NULL, GP_PAGE, 0) == GP_PAGE,
		    "splice() failed");
	return NULL;
}

static void read_pipe(struct gp_host *h)
{
	TEST_ASSERT(read(held_fds[0], got, GP_PAGE) == GP_PAGE, "the pipe is empty");
	close(held_fds[0]);
	close(held_fds[1]);
}

static const char *take_vmsplice(struct gp_host *h, char *page, off_t off)
{
	struct iovec iov = { page, GP_PAGE };

	TEST_ASSERT(!pipe(held_fds), "pipe() failed");
	TEST_ASSERT(vmsplice(held_fds[1], &iov, 1, 0) == GP_PAGE, "vmsplice() failed");
	return NULL;
}

static const char *take_sendfile(struct gp_host *h, char *page, off_t off)
{
	TEST_ASSERT(!socketpair(AF_UNIX, SOCK_STREAM, 0, held_fds), "socketpair() failed");
	TEST_ASSERT(sendfile(held_fds[1], h->fd, &off, GP_PAGE) == GP_PAGE,
		    "sendfile() failed");
	return NULL;
}

/* A connection to ourselves whose reader wants nothing yet: what is sent waits. */
static bool stuck_connection(void)
{
	struct sockaddr_in addr = {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	int one = 1, small = 4096, large = SZ_1M, s = socket(AF_INET, SOCK_STREAM, 0);
	struct ifreq lo = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };
	socklen_t len = sizeof(addr);

	if (s < 0)
		return false;
	ioctl(s, SIOCSIFFLAGS, &lo);
	held_fds[1] = socket(AF_INET, SOCK_STREAM, 0);
	if (setsockopt(s, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)) ||
	    bind(s, (struct sockaddr *)&addr, len) || listen(s, 1) ||
	    getsockname(s, (struct sockaddr *)&addr, &len) ||
	    setsockopt(held_fds[1], SOL_SOCKET, SO_ZEROCOPY, &one, sizeof(one)) ||
	    setsockopt(held_fds[1], SOL_SOCKET, SO_SNDBUFFORCE, &large, sizeof(large)) ||
	    connect(held_fds[1], (struct sockaddr *)&addr, len))
		return false;
	held_fds[0] = accept(s, NULL, NULL);
	close(s);
	return held_fds[0] >= 0;
}

#define FILLER	(64 * GP_PAGE)	/* more than the reader takes before it reads */

static const char *take_zerocopy(struct gp_host *h, char *page, off_t off)
{
	static char filler[FILLER];

	if (!stuck_connection())
		return "no TCP with MSG_ZEROCOPY";
	TEST_ASSERT(send(held_fds[1], filler, FILLER, MSG_DONTWAIT) == FILLER,
		    "the filler was not taken");
	TEST_ASSERT(send(held_fds[1], page, GP_PAGE, MSG_ZEROCOPY | MSG_DONTWAIT) ==
		    GP_PAGE, "send() failed");
	return NULL;
}

static void read_socket(struct gp_host *h)
{
	size_t i;

	for (i = 0; i <= FILLER; i += GP_PAGE)
		TEST_ASSERT(recv(held_fds[0], got, GP_PAGE, MSG_WAITALL) == GP_PAGE,
			    "the socket is empty");
	close(held_fds[0]);
	close(held_fds[1]);
}

static const char *take_direct_io(struct gp_host *h, char *page, off_t off)
{
	const char *why = gp_slow_open(&held_file);

	if (!why)
		TEST_ASSERT(gp_slow_read(&held_file, page, GP_PAGE),
			    "the request did not come");
	return why;
}

static void end_direct_io(struct gp_host *h)
{
	gp_slow_release(&held_file);
	TEST_ASSERT(held_file.ret == GP_PAGE, "the read gave %ld", held_file.ret);
	gp_slow_close(&held_file);
}

static const char *take_io_uring(struct gp_host *h, char *page, off_t off)
{
	if (gp_uring_open(&held_ring))
		return "no io_uring";
	TEST_ASSERT(!gp_uring_register(&held_ring, page, GP_PAGE),
		    "cannot register a buffer");
	return NULL;
}

static void end_io_uring(struct gp_host *h)
{
	gp_uring_unregister(&held_ring);
	gp_uring_close(&held_ring);
}

static const char *take_udmabuf(struct gp_host *h, char *page, off_t off)
{
	struct udmabuf_create create = { .memfd = h->fd, .offset = off, .size = GP_PAGE };
	int dev = open("/dev/udmabuf", O_RDWR);

	if (dev < 0)
		return "no /dev/udmabuf";
	fcntl(h->fd, F_ADD_SEALS, F_SEAL_SHRINK);
	held_fd = ioctl(dev, UDMABUF_CREATE, &create);
	close(dev);
	TEST_ASSERT(held_fd >= 0, "no dma-buf");
	return NULL;
}

static void close_held_fd(struct gp_host *h)
{
	close(held_fd);
}

static const char *take_pin(struct gp_host *h, char *page, off_t off)
{
	struct pin_longterm_test args = {
		.addr = (uintptr_t)page, .size = GP_PAGE,
		.flags = PIN_LONGTERM_TEST_FLAG_USE_WRITE,
	};

	held_fd = open(GUP_TEST, O_RDWR);
	if (held_fd < 0)
		return "no CONFIG_GUP_TEST or debugfs";
	TEST_ASSERT(!ioctl(held_fd, PIN_LONGTERM_TEST_START, &args), "cannot pin");
	return NULL;
}

static const struct holder splice_holder = { take_splice, read_pipe, true };
static const struct holder vmsplice_holder = { take_vmsplice, read_pipe, true };
static const struct holder sendfile_holder = { take_sendfile, read_pipe, true };
static const struct holder zerocopy_holder = { take_zerocopy, read_socket, true };
static const struct holder direct_io_holder = { take_direct_io, end_direct_io };
static const struct holder io_uring_holder = { take_io_uring, end_io_uring };
static const struct holder udmabuf_holder = { take_udmabuf, close_held_fd };
static const struct holder pin_holder = { take_pin, close_held_fd };

FIXTURE(pinned) {
	struct gp_host host;
};

FIXTURE_VARIANT(pinned) {
	enum gp_backing backing;
	const struct holder *holder;
};

FIXTURE_VARIANT_ADD(pinned, memfd_splice) { GP_MEMFD, &splice_holder };
FIXTURE_VARIANT_ADD(pinned, memfd_vmsplice) { GP_MEMFD, &vmsplice_holder };
FIXTURE_VARIANT_ADD(pinned, anon_vmsplice) { GP_ANON, &vmsplice_holder };
FIXTURE_VARIANT_ADD(pinned, memfd_sendfile) { GP_MEMFD, &sendfile_holder };
FIXTURE_VARIANT_ADD(pinned, memfd_zerocopy) { GP_MEMFD, &zerocopy_holder };
FIXTURE_VARIANT_ADD(pinned, anon_zerocopy) { GP_ANON, &zerocopy_holder };
FIXTURE_VARIANT_ADD(pinned, memfd_direct_io) { GP_MEMFD, &direct_io_holder };
FIXTURE_VARIANT_ADD(pinned, anon_direct_io) { GP_ANON, &direct_io_holder };
FIXTURE_VARIANT_ADD(pinned, memfd_io_uring) { GP_MEMFD, &io_uring_holder };
FIXTURE_VARIANT_ADD(pinned, anon_io_uring) { GP_ANON, &io_uring_holder };
FIXTURE_VARIANT_ADD(pinned, memfd_udmabuf) { GP_MEMFD, &udmabuf_holder };
FIXTURE_VARIANT_ADD(pinned, memfd_pin) { GP_MEMFD, &pin_holder };
FIXTURE_VARIANT_ADD(pinned, anon_pin) { GP_ANON, &pin_holder };

FIXTURE_SETUP(pinned)
{
	const char *why = pkvm_unavailable();

	if (why)
		SKIP(return, "%s", why);
	gp_open(&self->host, variant->backing, 1, 0);
	gp_make_windows(&self->host);
}

FIXTURE_TEARDOWN(pinned)
{
	EXPECT_TRUE(!self->host.vm || gp_close(&self->host));
}

/* It may take the kernel a moment to let go, but the guest needs no more of them. */
static int until_not_held(struct pkvm_vcpu *vcpu)
{
	int stop, tries = 0;

	do {
		stop = pkvm_resume_timeout(vcpu, BOUND_MS);
		if (stop == PKVM_RETURNED)
			break;
		usleep(20000);
	} while (++tries < 50);
	return stop;
}

TEST_F_TIMEOUT(pinned, first_touch, TIMEOUT)
{
	struct gp_host *h = &self->host;
	off_t off = HELD_PAGE * GP_PAGE;
	char *page = h->mem + off;
	uint64_t ipa = PKVM_MEM_IPA + off, seed = gp_seed(h), before = gp_seed(h);
	struct pkvm_counters held;
	const char *why;
	int stop, i;

	gp_pattern(page, before);
	why = variant->holder->take(h, page, off);
	if (why)
		SKIP(return, "%s", why);
	pkvm_counters_read(&held);

	stop = pkvm_call_timeout(h->vcpu, BOUND_MS, guest_pages_fill, ipa, 1, seed);
	for (i = 0; i < 3; i++) {
		EXPECT_EQ(stop, -EFAULT) {
			TH_LOG("try %d: %s", i, stop == -EINTR ? "it did not end" : "");
		}
		EXPECT_EQ(h->vcpu->run->exit_reason, KVM_EXIT_MEMORY_FAULT);
		EXPECT_EQ(h->vcpu->run->memory_fault.gpa & ~(GP_PAGE - 1), ipa);
		EXPECT_NE(h->vcpu->run->memory_fault.size, 0);
		EXPECT_TRUE(pkvm_counters_back(&held, -1));
		/* It is the host's as it was. */
		EXPECT_TRUE(gp_page_is(page, before));
		if (stop == PKVM_RETURNED)
			break;
		stop = pkvm_resume_timeout(h->vcpu, BOUND_MS);
	}
	variant->holder->let_go(h);
	EXPECT_TRUE(stop == PKVM_RETURNED || until_not_held(h->vcpu) == PKVM_RETURNED);
	EXPECT_EQ(pkvm_must(h->vcpu, guest_page_check, ipa, seed), 0);
	EXPECT_TRUE(pkvm_is_segv_at(pkvm_host_read(page, NULL), page));
	EXPECT_TRUE(gp_guest_has_all(h));
}

TEST_F_TIMEOUT(pinned, unshare, TIMEOUT)
{
	struct gp_host *h = &self->host;
	struct gp_window *w = &h->win[GP_SHARED];
	struct pkvm_counters held;
	int stop, i, tries;
	const char *why;
	uint64_t secret;

	EXPECT_TRUE(gp_host_has(w));
	why = variant->holder->take(h, w->mem, w->off);
	if (why)
		SKIP(return, "%s", why);
	pkvm_counters_read(&held);
	for (i = 0; i < 3; i++) {
		stop = pkvm_call_timeout(h->vcpu, BOUND_MS, guest_hvc, PKVM_HVC_UNSHARE,
					 w->ipa);
		EXPECT_EQ(stop, PKVM_RETURNED);
		EXPECT_NE(h->vcpu->ret, 0);
		if (stop == PKVM_RETURNED && !h->vcpu->ret)
			w->open = false;
		EXPECT_TRUE(pkvm_counters_back(&held, -1));
		/* Still shared, for both of them. */
		EXPECT_TRUE(gp_guest_has(h, w));
		EXPECT_TRUE(w->open && gp_host_has(w));
	}
	/* Pages that nobody holds are not concerned. */
	EXPECT_EQ(pkvm_must(h->vcpu, guest_hvc, PKVM_HVC_UNSHARE, w->ipa + GP_PAGE), 0);
	EXPECT_EQ(pkvm_must(h->vcpu, guest_hvc, PKVM_HVC_SHARE, w->ipa + GP_PAGE), 0);

	variant->holder->let_go(h);
	for (tries = 0; tries < 50 && w->open; tries++) {
		w->open = !!pkvm_must(h->vcpu, guest_hvc, PKVM_HVC_UNSHARE, w->ipa);
		if (w->open)
			usleep(20000);
	}
	EXPECT_FALSE(w->open);
	secret = gp_seed(h);
	pkvm_must(h->vcpu, guest_pages_fill, w->ipa, 1, secret);
	EXPECT_TRUE(pkvm_is_segv_at(pkvm_host_read(w->mem, NULL), w->mem));
	EXPECT_EQ(pkvm_must(h->vcpu, guest_page_check, w->ipa, secret), 0);
}

/* Its owner dies with what it holds, and the other way round. */
TEST_F_TIMEOUT(pinned, end_of_vm, TIMEOUT)
{
	struct gp_host *h = &self->host;
	struct gp_window *w = &h->win[GP_SHARED];
	const char *why;

	EXPECT_TRUE(gp_host_has(w));
	why = variant->holder->take(h, w->mem, w->off);
	if (why)
		SKIP(return, "%s", why);
	gp_end_vm(h);
	/* Zeroed for all who have it. */
	EXPECT_TRUE(gp_host_has(w));
	variant->holder->let_go(h);
	if (variant->holder->reads)
		EXPECT_TRUE(gp_page_is(got, 0));
}

/* ----------------------------------------------------------------- no holders */

FIXTURE(loose) {
	struct gp_host host;
	struct gp_window w;
};

FIXTURE_VARIANT(loose) {
	enum gp_backing backing;
};

FIXTURE_VARIANT_ADD(loose, memfd) { GP_MEMFD };
FIXTURE_VARIANT_ADD(loose, anon) { GP_ANON };

FIXTURE_SETUP(loose)
{
	const char *why = pkvm_unavailable();

	if (why)
		SKIP(return, "%s", why);
	gp_open(&self->host, variant->backing, 1, 0);
	gp_make_windows(&self->host);
	self->w.off = HELD_PAGE * GP_PAGE;
	self->w.mem = self->host.mem + self->w.off;
	self->w.ipa = PKVM_MEM_IPA + self->w.off;
}

FIXTURE_TEARDOWN(loose)
{
	EXPECT_TRUE(!self->host.vm || gp_close(&self->host));
}

static void host_fills(struct gp_host *h, struct gp_window *w)
{
	int i;

	for (i = 0; i < GP_PAGES; i++) {
		w->seed[i] = gp_seed(h);
		gp_pattern(w->mem + i * GP_PAGE, w->seed[i]);
	}
}

/* The guest gets the pages as the host left them, then changes them. */
static void guest_takes(struct __test_metadata *_metadata, struct gp_host *h,
			struct gp_window *w)
{
	EXPECT_TRUE(gp_guest_has(h, w));
	gp_fill(h, w);
	EXPECT_TRUE(gp_guest_has_all(h));
	EXPECT_TRUE(gp_guest_has(h, w));
	EXPECT_TRUE(gp_touch_fails(w));
}

/* On the lists of pages on their way to the LRU. */
TEST_F_TIMEOUT(loose, just_faulted_in, TIMEOUT)
{
	host_fills(&self->host, &self->w);
	guest_takes(_metadata, &self->host, &self->w);
}

TEST_F_TIMEOUT(loose, never_touched, TIMEOUT)
{
	guest_takes(_metadata, &self->host, &self->w);
}

/* Anonymous memory is then the page of zeroes that all have. */
TEST_F_TIMEOUT(loose, only_read, TIMEOUT)
{
	uint64_t val;

	EXPECT_EQ(pkvm_host_read(self->w.mem, &val).sig, 0);
	EXPECT_EQ(val, 0);
	guest_takes(_metadata, &self->host, &self->w);
}

/* Pages that count as locked, with what each CPU has on its way. */
static long locked_pages(void)
{
	write_text("/proc/sys/vm/drop_caches", "1");
	write_text("/proc/sys/vm/stat_refresh", "1");
	return read_vmstat("nr_mlock");
}

TEST_F_TIMEOUT(loose, locked, TIMEOUT)
{
	struct gp_host *h = &self->host;
	struct gp_window *w = &self->w;
	long before = locked_pages();

	host_fills(h, w);
	ASSERT_EQ(mlock(w->mem, GP_PAGES * GP_PAGE), 0);
	EXPECT_EQ(locked_pages(), before + GP_PAGES);
	guest_takes(_metadata, h, w);
	EXPECT_EQ(locked_pages(), before);
	/* What the host has back is locked as before. */
	ASSERT_EQ(gp_share(h, w), 0);
	EXPECT_TRUE(gp_host_has(w));
	EXPECT_EQ(locked_pages(), before + GP_PAGES);
	ASSERT_EQ(gp_unshare(h, w), 0);
	ASSERT_EQ(munlock(w->mem, GP_PAGES * GP_PAGE), 0);
	EXPECT_TRUE(gp_guest_has(h, w));
	EXPECT_TRUE(gp_touch_fails(w));
	EXPECT_EQ(locked_pages(), before);
	gp_end_vm(h);
	EXPECT_EQ(pkvm_host_read(w->mem, NULL).sig, 0);
	EXPECT_EQ(locked_pages(), before);
}

/* Cold, where the host does not want it any more; shmem does not know that. */
static void free_lazily(struct __test_metadata *_metadata, struct gp_host *h,
			struct gp_window *w)
{
	EXPECT_TRUE(!madvise(w->mem, GP_PAGES * GP_PAGE, MADV_FREE) ||
		    (h->file && errno == EINVAL));
	/* Only the lists of the LRU know, until they are emptied. */
	write_text("/proc/sys/vm/drop_caches", "1");
}

/* Until it is reclaimed or written, by whomever, it is memory as any other. */
TEST_F_TIMEOUT(loose, freed_lazily, TIMEOUT)
{
	struct gp_host *h = &self->host;
	struct gp_window *w = &self->w;
	const char *why = held_setup();
	int i;

	if (why)
		SKIP(return, "%s", why);
	host_fills(h, w);
	free_lazily(_metadata, h, w);
	guest_takes(_metadata, h, w);
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(gp_share(h, w), 0);
		EXPECT_TRUE(gp_host_has(w));
		free_lazily(_metadata, h, w);
		EXPECT_EQ(gp_unshare(h, w), 0);
		gp_fill(h, w);
	}
	/* The guest wrote: nobody throws that away. */
	ASSERT_EQ(gp_share(h, w), 0);
	EXPECT_EQ(madvise(w->mem, GP_PAGES * GP_PAGE, MADV_PAGEOUT), 0);
	EXPECT_TRUE(gp_host_has(w));
	EXPECT_EQ(gp_unshare(h, w), 0);
	EXPECT_TRUE(gp_guest_has(h, w));
	EXPECT_TRUE(gp_touch_fails(w));
	held_cleanup();
}

TEST_F_TIMEOUT(loose, swapped_out, TIMEOUT)
{
	struct gp_window *w = &self->w;
	const char *why = held_setup();

	if (why)
		SKIP(return, "%s", why);
	host_fills(&self->host, w);
	EXPECT_EQ(madvise(w->mem, GP_PAGES * GP_PAGE, MADV_PAGEOUT), 0);
	guest_takes(_metadata, &self->host, w);
	held_cleanup();
	EXPECT_TRUE(gp_guest_has(&self->host, w));
}

TEST_F_TIMEOUT(loose, merged_by_ksm, TIMEOUT)
{
	struct gp_window *w = &self->w;
	size_t len = GP_PAGES * GP_PAGE;
	int i, tries;
	long from;
	char *twin;

	if (access(KSM "run", W_OK))
		SKIP(return, "no CONFIG_KSM");
	twin = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(twin, MAP_FAILED);
	host_fills(&self->host, w);
	memcpy(twin, w->mem, len);
	write_text(KSM "sleep_millisecs", "0");
	write_text(KSM "pages_to_scan", "100000");
	EXPECT_EQ(madvise(twin, len, MADV_MERGEABLE), 0);
	EXPECT_EQ(madvise(w->mem, len, MADV_MERGEABLE), 0);
	from = read_number(KSM "full_scans");
	write_text(KSM "run", "1");
	for (tries = 0; tries < 400 && read_number(KSM "full_scans") < from + 4; tries++)
		usleep(5000);
	guest_takes(_metadata, &self->host, w);
	for (i = 0; i < GP_PAGES; i++)
		EXPECT_NE(*(uint64_t *)(twin + i * GP_PAGE), pkvm_pattern(w->seed[i], 0));
	write_text(KSM "run", "2");
	write_text(KSM "run", "0");
	EXPECT_TRUE(gp_guest_has(&self->host, w));
	munmap(twin, len);
}

static long agent_maps(struct gp_desk *d)
{
	static char *p;

	if (!p)
		p = mmap(NULL, GP_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, d->arg[0],
			 d->arg[1]);
	if (p == MAP_FAILED)
		return -errno;
	d->sig = pkvm_host_read(p, &d->buf[0]).sig;
	return 0;
}

/* Mapped by another process, which loses it: at the first touch, at each unshare. */
TEST_F_TIMEOUT(loose, mapped_elsewhere, TIMEOUT)
{
	struct gp_host *h = &self->host;
	struct gp_window *w = &self->w;
	struct gp_desk *d = h->agent.desk;
	char *alias;
	int i;

	if (!h->file) {
		/* The same memory at another address, as far as that exists. */
		alias = mremap(w->mem, 0, GP_PAGE, MREMAP_MAYMOVE);
		EXPECT_EQ(alias, MAP_FAILED);
		guest_takes(_metadata, h, w);
		return;
	}
	host_fills(h, w);
	alias = mremap(w->mem, 0, GP_PAGE, MREMAP_MAYMOVE);
	ASSERT_NE(alias, MAP_FAILED);
	EXPECT_EQ(*(uint64_t *)alias, pkvm_pattern(w->seed[0], 0));
	d->arg[0] = h->fd;
	d->arg[1] = w->off;
	ASSERT_EQ(gp_agent_run(&h->agent, agent_maps), 0);
	EXPECT_EQ(d->sig, 0);
	EXPECT_EQ(d->buf[0], pkvm_pattern(w->seed[0], 0));
	guest_takes(_metadata, h, w);
	for (i = 0; i < 3; i++) {
		EXPECT_TRUE(pkvm_is_segv_at(pkvm_host_read(alias, NULL), alias));
		ASSERT_EQ(gp_agent_run(&h->agent, agent_maps), 0);
		EXPECT_EQ(d->sig, SIGSEGV);
		EXPECT_EQ(gp_share(h, w), 0);
		EXPECT_EQ(*(uint64_t *)alias, pkvm_pattern(w->seed[0], 0));
		ASSERT_EQ(gp_agent_run(&h->agent, agent_maps), 0);
		EXPECT_EQ(d->sig, 0);
		EXPECT_EQ(d->buf[0], pkvm_pattern(w->seed[0], 0));
		EXPECT_EQ(gp_unshare(h, w), 0);
	}
	EXPECT_TRUE(gp_guest_has(h, w));
	munmap(alias, GP_PAGE);
}

struct waiter {
	uint32_t *addr;
	uint32_t val;
	bool here;
};

static void *futex_waiter(void *arg)
{
	struct timespec ts = { .tv_sec = TIMEOUT / 2 };
	struct waiter *w = arg;

	WRITE_ONCE(w->here, true);
	syscall(__NR_futex, w->addr, FUTEX_WAIT, w->val, &ts, NULL, 0);
	return NULL;
}

static void wake_up(int sig)
{
}

/* A waiter is found by the file and the offset, and holds no page. */
TEST_F_TIMEOUT(loose, futex_waiter, TIMEOUT)
{
	struct gp_host *h = &self->host;
	struct gp_window *w = &h->win[GP_SHARED];
	struct sigaction sa = { .sa_handler = wake_up };
	struct waiter waiter = { .addr = (uint32_t *)w->mem };
	pthread_t thread;
	int tries;

	EXPECT_TRUE(gp_host_has(w));
	waiter.val = *waiter.addr;
	ASSERT_EQ(sigaction(SIGUSR1, &sa, NULL), 0);
	ASSERT_EQ(pthread_create(&thread, NULL, futex_waiter, &waiter), 0);
	while (!READ_ONCE(waiter.here))
		usleep(1000);
	usleep(50000);
	/* On its way there it holds the page for a moment, however long that is. */
	for (tries = 0; tries < 50 && gp_unshare(h, w); tries++)
		usleep(20000);
	EXPECT_LT(tries, 50);
	EXPECT_TRUE(gp_touch_fails(w));
	EXPECT_EQ(pthread_kill(thread, SIGUSR1), 0);
	pthread_join(thread, NULL);
	EXPECT_TRUE(gp_guest_has_all(h));
}

TEST_HARNESS_MAIN
