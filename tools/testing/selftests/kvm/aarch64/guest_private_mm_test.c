// SPDX-License-Identifier: GPL-2.0-only
/*
 * The life of guest-private pages in the hands of a VMM and of the memory
 * management (I1, I3, I5): one case for each thing that a process may do to its
 * mapping or to its file, or that the kernel does to pages on its own. None of them
 * lets the host in, none of them takes a page from the guest, and each either works
 * or ends with an errno that is its own.
 *
 * Each is tried on private memory, on memory that the guest shares, on memory that
 * was shared before, and on what is left of the VM.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <asm/kvm.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/mman.h>
#include <linux/mempolicy.h>
#include <linux/psci.h>
#include <linux/sizes.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "kselftest_harness.h"
#include "kvm_util.h"
#include "processor.h"
#include "held.h"
#include "guest_private.h"

#define TIMEOUT		120
#define LEN		(GP_PAGES * GP_PAGE)
#define KSM		"/sys/kernel/mm/ksm/"
#define THP		"/sys/kernel/mm/transparent_hugepage/"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE		25
#endif
#ifndef __NR_cachestat
#define __NR_cachestat		451
#endif
#ifndef MADV_SOFT_OFFLINE
#define MADV_SOFT_OFFLINE	101
#endif

FIXTURE(mm) {
	struct gp_host host;
};

FIXTURE_VARIANT(mm) {
	enum gp_backing backing;
};

FIXTURE_VARIANT_ADD(mm, memfd) { GP_MEMFD };
FIXTURE_VARIANT_ADD(mm, anon) { GP_ANON };

FIXTURE_SETUP(mm)
{
	const char *why = pkvm_unavailable();

	if (why)
		SKIP(return, "%s", why);
	gp_open(&self->host, variant->backing, 1, 0);
	gp_make_windows(&self->host);
}

FIXTURE_TEARDOWN(mm)
{
	EXPECT_TRUE(!self->host.vm || gp_close(&self->host));
}

FIXTURE(file) {
	struct gp_host host;
};

FIXTURE_VARIANT(file) {
	enum gp_backing backing;
};

FIXTURE_VARIANT_ADD(file, memfd) { GP_MEMFD };
FIXTURE_VARIANT_ADD(file, memfd_thp) { GP_MEMFD_THP };

FIXTURE_SETUP(file)
{
	const char *why = pkvm_unavailable();

	if (why)
		SKIP(return, "%s", why);
	gp_open(&self->host, variant->backing, 1, 0);
	gp_make_windows(&self->host);
}

FIXTURE_TEARDOWN(file)
{
	EXPECT_TRUE(!self->host.vm || gp_close(&self->host));
}

FIXTURE(thp) {
	struct gp_host host;
};

FIXTURE_VARIANT(thp) {
	enum gp_backing backing;
};

FIXTURE_VARIANT_ADD(thp, memfd) { GP_MEMFD_THP };
FIXTURE_VARIANT_ADD(thp, anon) { GP_ANON_THP };

FIXTURE_SETUP(thp)
{
	const char *why = pkvm_unavailable();
	long split;

	if (why)
		SKIP(return, "%s", why);
	split = read_vmstat("thp_split_page");
	gp_open(&self->host, variant->backing, 1, 0);
	gp_make_windows(&self->host);
	/* Its memory was one huge page, or these tests are of nothing. */
	EXPECT_GT(read_vmstat("thp_split_page"), split);
}

FIXTURE_TEARDOWN(thp)
{
	EXPECT_TRUE(!self->host.vm || gp_close(&self->host));
}

/* Guest RAM that is a private mapping of a file: copies, which are anonymous. */
FIXTURE(copy) {
	struct gp_host host;
};

FIXTURE_SETUP(copy)
{
	const char *why = pkvm_unavailable();

	if (why)
		SKIP(return, "%s", why);
	gp_open(&self->host, GP_MEMFD_COPY, 1, 0);
	gp_make_windows(&self->host);
}

FIXTURE_TEARDOWN(copy)
{
	EXPECT_TRUE(!self->host.vm || gp_close(&self->host));
}

/* Memory that a VMM has in common with its children: shmem that nobody can open. */
FIXTURE(shm) {
	struct gp_host host;
};

FIXTURE_SETUP(shm)
{
	const char *why = pkvm_unavailable();

	if (why)
		SKIP(return, "%s", why);
	gp_open(&self->host, GP_SHARED_ANON, 1, 0);
	gp_make_windows(&self->host);
}

FIXTURE_TEARDOWN(shm)
{
	EXPECT_TRUE(!self->host.vm || gp_close(&self->host));
}

typedef void way_fn(struct __test_metadata *_metadata, struct gp_host *h,
		    struct gp_window *w);

/* What a case leaves of the mapping of a window that it was tried on. */
enum after {
	STAYS,		/* all is as before */
	GOES,		/* the host has something else there, or nothing */
};

static void walk(struct __test_metadata *_metadata, struct gp_host *h, way_fn *way,
		 enum after after)
{
	struct gp_window *w;
	int s;

	for (s = 0; s < GP_GONE && !GIVEN_UP; s++) {
		w = &h->win[s];
		way(_metadata, h, w);
		IN_STATE(gp_guest_has_all(h), w);
		IN_STATE(pkvm_counters_back(&h->now, -1), w);
		if (after == GOES)
			continue;
		IN_STATE(gp_host_right(w), w);
	}
	if (GIVEN_UP)
		return;
	EXPECT_TRUE(gp_own_pages_left(h));

	/* It can still be shared, and taken back, if the host has it at all. */
	w = &h->win[GP_GONE];
	EXPECT_EQ(gp_share(h, w), 0);
	IN_STATE(gp_host_has(w), w);
	EXPECT_EQ(gp_unshare(h, w), 0);
	IN_STATE(gp_touch_fails(w), w);
	IN_STATE(gp_guest_has_all(h), w);

	gp_end_vm(h);
	for (s = 0; s < GP_NR_STATES; s++) {
		w = &h->win[s];
		if (after == STAYS || s == GP_GONE)
			IN_STATE(gp_host_has(w), w);
	}
	way(_metadata, h, w);
}

/* One thing that is done to a window. */
#define WAY(fixture, name, after)					\
static void way_##fixture##name(struct __test_metadata *_metadata,	\
		       struct gp_host *h, struct gp_window *w);		\
TEST_F_TIMEOUT(fixture, name, TIMEOUT)					\
{									\
	walk(_metadata, &self->host, way_##fixture##name, after);	\
}									\
static void way_##fixture##name(struct __test_metadata *_metadata,	\
		       struct gp_host *h, struct gp_window *w)

/* All windows at once, and again after the VM. */
static void once(struct __test_metadata *_metadata, struct gp_host *h, way_fn *way)
{
	struct gp_window *w;
	int s;

	way(_metadata, h, NULL);
	if (GIVEN_UP)
		return;
	EXPECT_TRUE(gp_guest_has_all(h));
	EXPECT_TRUE(pkvm_counters_back(&h->now, -1));
	for (s = 0; s < GP_NR_STATES; s++) {
		w = &h->win[s];
		IN_STATE(gp_host_right(w), w);
	}
	EXPECT_TRUE(gp_own_pages_left(h));
	gp_end_vm(h);
	for (s = 0; s < GP_NR_STATES; s++) {
		w = &h->win[s];
		IN_STATE(gp_host_has(w), w);
	}
	way(_metadata, h, NULL);
}

#define ONCE(fixture, name)						\
static void way_##fixture##name(struct __test_metadata *_metadata,	\
		       struct gp_host *h, struct gp_window *w);		\
TEST_F_TIMEOUT(fixture, name, TIMEOUT)					\
{									\
	once(_metadata, &self->host, way_##fixture##name);		\
}									\
static void way_##fixture##name(struct __test_metadata *_metadata,	\
		       struct gp_host *h, struct gp_window *w)

/* 0, or one of two errors, of which there may be only one. */
#define WANT_OK_OR(call, e1, e2)					\
do {									\
	int _e1 = (e1), _e2 = (e2);					\
	long _ret;							\
									\
	errno = 0;							\
	_ret = (long)(call);						\
	EXPECT_TRUE(!_ret || errno == _e1 || errno == _e2) {		\
		TH_LOG("returned %ld, errno %d", _ret, errno);		\
	}								\
} while (0)

/* ------------------------------------------------------------------ processes */

struct child {
	int sig[GP_PAGES];
	int code[GP_PAGES];
	bool addr_right[GP_PAGES];
	uint64_t word[GP_PAGES][512];
};

static void child_looks(struct child *c, struct gp_window *w, bool writes)
{
	struct pkvm_fault f;
	int i;

	for (i = 0; i < GP_PAGES; i++) {
		char *p = w->mem + i * GP_PAGE;

		f = writes ? pkvm_host_write(p, 0xbad) : pkvm_host_read(p, NULL);
		c->sig[i] = f.sig;
		c->code[i] = f.code;
		c->addr_right[i] = f.addr == (uintptr_t)p;
		if (!f.sig)
			memcpy(c->word[i], p, GP_PAGE);
	}
}

static struct child *fork_and_look(struct gp_window *w, bool writes)
{
	struct child *c = mmap(NULL, sizeof(*c), PROT_READ | PROT_WRITE,
			       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int status;
	pid_t pid;

	TEST_ASSERT(c != MAP_FAILED, "no memory");
	pid = fork();
	if (!pid) {
		child_looks(c, w, writes);
		_exit(0);
	}
	TEST_ASSERT(pid > 0 && waitpid(pid, &status, 0) == pid && !status,
		    "the child ended with %#x", status);
	return c;
}

/* A child has what is shared. Of what is private it has nothing. */
WAY(mm, fork, STAYS)
{
	struct child *c = fork_and_look(w, false);
	int i;

	for (i = 0; i < GP_PAGES; i++) {
		if (w->open)
			IN_STATE(!c->sig[i] && gp_page_is(c->word[i], w->seed[i]), w);
		else if (h->file)
			IN_STATE(c->sig[i] == SIGSEGV && c->code[i] == SEGV_ACCERR &&
				 c->addr_right[i], w);
		else	/* Nothing is there, and what comes is its own. */
			IN_STATE(!c->sig[i] && gp_page_is(c->word[i], 0), w);
	}
	EXPECT_EQ(gp_secrets(h, c->word, sizeof(c->word)), 0);
	munmap(c, sizeof(*c));
}

WAY(mm, fork_child_writes, GOES)
{
	struct child *c = fork_and_look(w, true);
	int i;

	/* Of private anonymous memory it may have a page of its own. */
	for (i = 0; i < GP_PAGES; i++)
		IN_STATE(c->sig[i] ? !w->open && c->sig[i] == SIGSEGV :
			 w->open || !h->file, w);
	EXPECT_EQ(gp_secrets(h, c->word, sizeof(c->word)), 0);
	munmap(c, sizeof(*c));
	/* In a file what the child wrote is there for all. */
	if (w->open && h->file) {
		for (i = 0; i < GP_PAGES; i++)
			gp_pattern(w->mem + i * GP_PAGE, w->seed[i]);
	}
	IN_STATE(gp_host_right(w), w);
}

/* The child lives on while the guest shares and takes back. */
TEST_F_TIMEOUT(mm, fork_then_unshare, TIMEOUT)
{
	struct gp_host *h = &self->host;
	struct gp_window *w = &h->win[GP_SHARED];
	int status, to[2], from[2];
	struct child *c;
	pid_t pid;
	char go;

	c = mmap(NULL, sizeof(*c), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		 -1, 0);
	ASSERT_NE(c, MAP_FAILED);
	ASSERT_EQ(pipe(to), 0);
	ASSERT_EQ(pipe(from), 0);
	pid = fork();
	if (!pid) {
		child_looks(c, w, false);
		if (write(from[1], &go, 1) != 1 || read(to[0], &go, 1) != 1)
			_exit(1);
		child_looks(c, w, false);
		_exit(0);
	}
	ASSERT_EQ(read(from[0], &go, 1), 1);
	EXPECT_EQ(c->sig[0], 0);
	EXPECT_TRUE(gp_page_is(c->word[0], w->seed[0]));
	EXPECT_EQ(gp_unshare(h, w), 0);
	/* New contents, which the child has never seen. */
	gp_fill(h, w);
	memset(c->word, 0, sizeof(c->word));
	ASSERT_EQ(write(to[1], &go, 1), 1);
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_EQ(status, 0);
	EXPECT_EQ(gp_secrets(h, c->word, sizeof(c->word)), 0);
	if (h->file) {
		EXPECT_EQ(c->sig[0], SIGSEGV);
		EXPECT_EQ(c->code[0], SEGV_ACCERR);
		EXPECT_TRUE(c->addr_right[0]);
	}
	IN_STATE(gp_touch_fails(w), w);
	EXPECT_TRUE(gp_guest_has_all(h));
	EXPECT_TRUE(pkvm_counters_back(&h->now, -1));
	munmap(c, sizeof(*c));
}

/* A child that came before, and touched nothing, when the page is donated. */
TEST_F_TIMEOUT(mm, fork_then_donate, TIMEOUT)
{
	struct gp_host *h = &self->host;
	struct gp_window w = { .off = 200 * GP_PAGE };
	int status, to[2], stop, tries;
	struct child *c;
	pid_t pid;
	char go;

	w.mem = h->mem + w.off;
	w.ipa = PKVM_MEM_IPA + w.off;
	memset(w.mem, 0x11, LEN);
	c = mmap(NULL, sizeof(*c), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		 -1, 0);
	ASSERT_NE(c, MAP_FAILED);
	ASSERT_EQ(pipe(to), 0);
	pid = fork();
	if (!pid) {
		if (read(to[0], &go, 1) != 1)
			_exit(1);
		child_looks(c, &w, false);
		_exit(0);
	}
	stop = pkvm_call(h->vcpu, guest_pages_fill, w.ipa, GP_PAGES, 0x5ec7e7);
	for (tries = 0; (stop == -EINTR || stop == -EAGAIN) && tries < 100; tries++)
		stop = pkvm_resume(h->vcpu);
	EXPECT_EQ(stop, PKVM_RETURNED);
	ASSERT_EQ(write(to[1], &go, 1), 1);
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_EQ(status, 0);
	EXPECT_NE(c->word[0][5], pkvm_pattern(0x5ec7e7, 5));
	if (h->file) {
		EXPECT_EQ(c->sig[0], SIGSEGV);
	} else {
		/* Copy on write: the child has what was there at the fork. */
		EXPECT_EQ(c->sig[0], 0);
		EXPECT_EQ(c->word[0][5], 0x1111111111111111UL);
	}
	EXPECT_TRUE(stop != PKVM_RETURNED ||
		    !pkvm_must(h->vcpu, guest_page_check, w.ipa, 0x5ec7e7));
	munmap(c, sizeof(*c));
}

/* ------------------------------------------------------------------- mappings */

static int map_flags(struct gp_host *h)
{
	return h->file ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS;
}

WAY(mm, munmap, GOES)
{
	uint64_t val;
	char *p;

	ASSERT_EQ(munmap(w->mem, LEN), 0);
	EXPECT_TRUE(gp_guest_has_all(h));
	EXPECT_EQ(pkvm_host_read(w->mem, NULL).code, SEGV_MAPERR);
	p = mmap(w->mem, LEN, PROT_READ | PROT_WRITE, map_flags(h) | MAP_FIXED, h->fd,
		 h->file ? w->off : 0);
	ASSERT_NE(p, MAP_FAILED);
	if (!h->file) {
		/* Other memory. */
		EXPECT_EQ(pkvm_host_read(p, &val).sig, 0);
		EXPECT_EQ(val, 0);
	} else {
		IN_STATE(gp_host_right(w), w);
	}
}

/* What the host does not even have mapped can be taken back. */
TEST_F_TIMEOUT(mm, munmap_then_unshare, TIMEOUT)
{
	struct gp_host *h = &self->host;
	struct gp_window *w = &h->win[GP_SHARED];

	EXPECT_TRUE(gp_host_has(w));
	ASSERT_EQ(munmap(w->mem, LEN), 0);
	EXPECT_EQ(gp_unshare(h, w), 0);
	EXPECT_TRUE(gp_guest_has_all(h));
	EXPECT_EQ(gp_share(h, w), 0);
	EXPECT_TRUE(gp_guest_has_all(h));
	EXPECT_TRUE(pkvm_counters_back(&h->now, -1));
}

WAY(mm, mremap, STAYS)
{
	char *to = mmap(NULL, LEN, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct gp_window there = *w;
	char *p;

	ASSERT_NE(to, MAP_FAILED);
	p = mremap(w->mem, LEN, LEN, MREMAP_MAYMOVE | MREMAP_FIXED, to);
	ASSERT_EQ(p, to);
	there.mem = p;
	IN_STATE(gp_host_right(&there), w);
	EXPECT_TRUE(gp_guest_has_all(h));
	ASSERT_EQ(mremap(p, LEN, LEN, MREMAP_MAYMOVE | MREMAP_FIXED, w->mem), w->mem);
}

/* It moves, and what stays behind is as never touched. */
WAY(mm, mremap_dontunmap, STAYS)
{
	struct gp_window there = *w;
	uint64_t val;
	char *p;

	IN_STATE(gp_host_right(w), w);
	p = mremap(w->mem, LEN, LEN, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);
	ASSERT_NE(p, MAP_FAILED);
	there.mem = p;
	IN_STATE(gp_host_right(&there), w);
	if (h->file) {
		IN_STATE(gp_host_right(w), w);
	} else {
		EXPECT_EQ(pkvm_host_read(w->mem, &val).sig, 0);
		EXPECT_EQ(val, 0);
	}
	EXPECT_TRUE(gp_guest_has_all(h));
	ASSERT_EQ(mremap(p, LEN, LEN, MREMAP_MAYMOVE | MREMAP_FIXED, w->mem), w->mem);
}

/* The pages of the file that are there, mapped anew. */
WAY(file, remap_file_pages, STAYS)
{
	ASSERT_EQ(remap_file_pages(w->mem, LEN, 0, w->off / GP_PAGE, 0), 0);
	IN_STATE(gp_host_right(w), w);
}

/* Shared and taken back at an address that the memslot does not know. */
TEST_F_TIMEOUT(mm, mremap_then_unshare, TIMEOUT)
{
	struct gp_host *h = &self->host;
	struct gp_window *w = &h->win[GP_SHARED], there = *w;
	char *p;

	EXPECT_TRUE(gp_host_has(w));
	p = mremap(w->mem, LEN, LEN, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);
	if (p == MAP_FAILED && errno == EINVAL)
		p = mremap(w->mem, LEN, 2 * LEN, MREMAP_MAYMOVE);
	ASSERT_NE(p, MAP_FAILED);
	there.mem = p;
	EXPECT_TRUE(gp_host_has(&there));
	EXPECT_EQ(gp_unshare(h, w), 0);
	EXPECT_TRUE(gp_touch_fails(&there));
	EXPECT_TRUE(gp_guest_has_all(h));
	EXPECT_EQ(gp_share(h, w), 0);
	EXPECT_TRUE(gp_host_has(&there));
	munmap(p, LEN);
}

WAY(mm, mprotect, STAYS)
{
	struct pkvm_fault f;

	ASSERT_EQ(mprotect(w->mem, LEN, PROT_NONE), 0);
	EXPECT_TRUE(pkvm_is_segv_at(pkvm_host_read(w->mem, NULL), w->mem));
	EXPECT_TRUE(gp_guest_has_all(h));
	ASSERT_EQ(mprotect(w->mem, LEN, PROT_READ), 0);
	EXPECT_TRUE(pkvm_is_segv_at(pkvm_host_write(w->mem, 1), w->mem));
	f = pkvm_host_read(w->mem, NULL);
	EXPECT_EQ(!f.sig, w->open);
	ASSERT_EQ(mprotect(w->mem, LEN, PROT_READ | PROT_WRITE | PROT_EXEC), 0);
	IN_STATE(w->open || pkvm_is_segv_at(pkvm_host_exec(w->mem), w->mem), w);
	ASSERT_EQ(mprotect(w->mem, LEN, PROT_READ | PROT_WRITE), 0);
}

/* A lock on memory that cannot be faulted in may be refused, no more. */
WAY(mm, mlock, STAYS)
{
	WANT_OK_OR(mlock(w->mem, LEN), w->open ? 0 : ENOMEM, 0);
	WANT_OK_OR(munlock(w->mem, LEN), 0, 0);
	WANT_OK_OR(syscall(__NR_mlock2, w->mem, LEN, MLOCK_ONFAULT), 0, 0);
	IN_STATE(gp_host_right(w), w);
	WANT_OK_OR(munlock(w->mem, LEN), 0, 0);
}

WAY(mm, mincore, STAYS)
{
	unsigned char in[GP_PAGES] = {};
	int i;

	/* In memory, whoever has it: a file's page is there, an entry is no swap. */
	EXPECT_EQ(mincore(w->mem, LEN, in), 0);
	for (i = 0; i < GP_PAGES; i++)
		IN_STATE(in[i] == 1, w);
}

/* What the host may not touch it does not have, in /proc/PID/pagemap. */
WAY(mm, pagemap_scan, STAYS)
{
	struct page_region regions[GP_PAGES];
	struct pm_scan_arg scan = {
		.size		= sizeof(scan),
		.start		= (uintptr_t)w->mem,
		.end		= (uintptr_t)w->mem + LEN,
		.vec		= (uintptr_t)regions,
		.vec_len	= GP_PAGES,
		.category_mask	= PAGE_IS_PRESENT,
		.return_mask	= PAGE_IS_PRESENT,
	};
	int i, nr, present = 0, fd = open("/proc/self/pagemap", O_RDONLY);

	ASSERT_GE(fd, 0);
	IN_STATE(gp_host_right(w), w);
	nr = ioctl(fd, PAGEMAP_SCAN, &scan);
	EXPECT_GE(nr, 0);
	for (i = 0; i < nr; i++)
		present += (regions[i].end - regions[i].start) / GP_PAGE;
	IN_STATE(present == (w->open ? GP_PAGES : 0), w);
	close(fd);
}

/* Pages, anonymous ones, those of files, and the peak: nothing to do for a guest. */
ONCE(mm, clear_refs)
{
	EXPECT_TRUE(write_text("/proc/self/clear_refs", "1"));
	EXPECT_TRUE(write_text("/proc/self/clear_refs", "2"));
	EXPECT_TRUE(write_text("/proc/self/clear_refs", "3"));
	EXPECT_TRUE(write_text("/proc/self/clear_refs", "5"));
}

/* --------------------------------------------------------------------- advice */

WAY(file, fadvise, STAYS)
{
	EXPECT_EQ(posix_fadvise(h->fd, w->off, LEN, POSIX_FADV_DONTNEED), 0);
	EXPECT_TRUE(gp_guest_has_all(h));
	EXPECT_EQ(posix_fadvise(h->fd, w->off, LEN, POSIX_FADV_WILLNEED), 0);
}

/* There is nowhere to write it to. */
WAY(file, sync, STAYS)
{
	EXPECT_EQ(fsync(h->fd), 0);
	EXPECT_EQ(msync(w->mem - GP_PAGE, LEN + 2 * GP_PAGE, MS_SYNC | MS_INVALIDATE), 0);
}

/* Counts them as any page of the file. */
WAY(file, cachestat, STAYS)
{
	struct cachestat_range range = { .off = w->off, .len = LEN };
	struct cachestat have;

	ASSERT_EQ(syscall(__NR_cachestat, h->fd, &range, &have, 0), 0);
	IN_STATE(have.nr_cache == GP_PAGES && !have.nr_evicted, w);
}

WAY(mm, madv_dontneed, GOES)
{
	uint64_t val;

	EXPECT_EQ(madvise(w->mem, LEN, MADV_DONTNEED), 0);
	EXPECT_TRUE(gp_guest_has_all(h));
	if (!h->file) {
		EXPECT_EQ(pkvm_host_read(w->mem, &val).sig, 0);
		EXPECT_EQ(val, 0);
		EXPECT_EQ(pkvm_host_write(w->mem, 0xbad).sig, 0);
	} else {
		IN_STATE(gp_host_right(w), w);
	}
}

/* Everything of the windows goes, and the neighbours stay. */
WAY(file, madv_remove, GOES)
{
	uint64_t val;

	EXPECT_EQ(madvise(w->mem, LEN, MADV_REMOVE), 0);
	EXPECT_EQ(pkvm_host_read(w->mem, &val).sig, 0);
	EXPECT_EQ(val, 0);
	EXPECT_EQ(pkvm_host_write(w->mem, 0xbad).sig, 0);
}

WAY(mm, madv_free, STAYS)
{
	/* Where it works the contents may go at any time: put them back. */
	int i, ret = madvise(w->mem, LEN, MADV_FREE);

	if (h->file) {
		EXPECT_EQ(ret, -1);
		EXPECT_EQ(errno, EINVAL);
	} else {
		EXPECT_EQ(ret, 0);
	}
	for (i = 0; i < GP_PAGES && w->open; i++)
		gp_pattern(w->mem + i * GP_PAGE, w->seed[i]);
}

WAY(mm, madv_cold_pageout, STAYS)
{
	const char *why = held_setup();
	long out = read_vmstat("pswpout");

	if (why)
		SKIP(return, "%s", why);
	EXPECT_EQ(madvise(w->mem, LEN, MADV_COLD), 0);
	EXPECT_EQ(madvise(w->mem - GP_PAGE, LEN + 2 * GP_PAGE, MADV_PAGEOUT), 0);
	/* The host's own on each side went. */
	IN_STATE(read_vmstat("pswpout") > out, w);
	EXPECT_TRUE(gp_guest_has_all(h));
	EXPECT_EQ(madvise(w->mem - GP_PAGE, LEN + 2 * GP_PAGE, MADV_WILLNEED), 0);
	held_cleanup();
}

WAY(mm, madv_populate, STAYS)
{
	if (w->open) {
		EXPECT_EQ(madvise(w->mem, LEN, MADV_POPULATE_READ), 0);
		EXPECT_EQ(madvise(w->mem, LEN, MADV_POPULATE_WRITE), 0);
	} else {
		WANT_ERRNO(madvise(w->mem, LEN, MADV_POPULATE_READ), EFAULT, w);
		WANT_ERRNO(madvise(w->mem, LEN, MADV_POPULATE_WRITE), EFAULT, w);
	}
}

static bool ksm_scans(int nr)
{
	long from = read_number(KSM "full_scans");
	int tries;

	for (tries = 0; tries < 6000; tries++) {
		if (read_number(KSM "full_scans") >= from + nr)
			return true;
		usleep(5000);
	}
	return false;
}

/* With other memory of the same contents to merge it with. */
WAY(mm, madv_mergeable, STAYS)
{
	char *twin = mmap(NULL, LEN, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int i;

	ASSERT_NE(twin, MAP_FAILED);
	if (access(KSM "run", W_OK))
		SKIP(return, "no CONFIG_KSM");
	for (i = 0; i < GP_PAGES; i++)
		gp_pattern(twin + i * GP_PAGE, w->seed[i]);
	write_text(KSM "sleep_millisecs", "0");
	write_text(KSM "pages_to_scan", "100000");
	EXPECT_EQ(madvise(twin, LEN, MADV_MERGEABLE), 0);
	EXPECT_EQ(madvise(w->mem, LEN, MADV_MERGEABLE), 0);
	write_text(KSM "run", "1");
	EXPECT_TRUE(ksm_scans(3));
	EXPECT_TRUE(gp_guest_has_all(h));
	EXPECT_EQ(madvise(w->mem, LEN, MADV_UNMERGEABLE), 0);
	write_text(KSM "run", "2");
	write_text(KSM "run", "0");
	for (i = 0; i < GP_PAGES; i++)
		EXPECT_TRUE(gp_page_is(twin + i * GP_PAGE, w->seed[i]));
	munmap(twin, LEN);
}

WAY(mm, madv_soft_offline, STAYS)
{
	/* It cannot be moved away; after the VM it can. */
	int ret = madvise(w->mem, GP_PAGE, MADV_SOFT_OFFLINE);

	if (ret && errno == EPERM)
		SKIP(return, "not for root, or no CONFIG_MEMORY_FAILURE");
	if (!w->open) {
		EXPECT_EQ(ret, -1);
		EXPECT_TRUE(errno == EFAULT || errno == EBUSY) {
			TH_LOG("errno %d", errno);
		}
	}
}

/*
 * A broken page under the guest: the VMM is told where, the guest stops there and
 * only there, and the host has not got the page by it.
 */
static void expect_broken(struct __test_metadata *_metadata, struct gp_host *h,
			  struct gp_window *w)
{
	struct pkvm_fault fault;
	char text[32];
	int s, stop;

	stop = pkvm_call(h->vcpu, guest_page_check, w->ipa, w->seed[0]);
	EXPECT_EQ(stop, -EHWPOISON);
	EXPECT_EQ(h->vcpu->run->exit_reason, KVM_EXIT_MEMORY_FAULT);
	EXPECT_EQ(h->vcpu->run->memory_fault.gpa & ~(GP_PAGE - 1), w->ipa);
	EXPECT_EQ(pkvm_resume(h->vcpu), -EHWPOISON);
	EXPECT_NE(pkvm_host_read(w->mem, NULL).sig, 0);
	EXPECT_NE(pkvm_host_write(w->mem, 1).sig, 0);
	gp_end_vm(h);
	/* Without its guest the page is as broken. */
	fault = pkvm_host_read(w->mem, NULL);
	EXPECT_EQ(fault.sig, SIGBUS);
	EXPECT_EQ(fault.code, BUS_MCEERR_AR);
	EXPECT_NE(pkvm_host_write(w->mem, 1).sig, 0);
	for (s = 0; s < GP_NR_STATES; s++)
		IN_STATE(&h->win[s] == w || gp_host_has(&h->win[s]), &h->win[s]);
	snprintf(text, sizeof(text), "%#lx", w->pfn[0]);
	write_text("/sys/kernel/debug/hwpoison/unpoison-pfn", text);
}

TEST_F_TIMEOUT(mm, madv_hwpoison, TIMEOUT)
{
	struct gp_host *h = &self->host;
	struct gp_window *w = &h->win[GP_PRIVATE];
	int ret = madvise(w->mem, GP_PAGE, MADV_HWPOISON);

	if (ret && errno == EPERM)
		SKIP(return, "not for root");
	/* The page cannot be had back; that it is broken is known all the same. */
	EXPECT_TRUE(!ret || errno == EBUSY) {
		TH_LOG("errno %d", errno);
	}
	expect_broken(_metadata, h, w);
}

static void break_first(struct __test_metadata *_metadata, struct gp_host *h,
			struct gp_window *w)
{
	char text[32];

	if (access("/sys/kernel/debug/hwpoison/corrupt-pfn", W_OK))
		SKIP(return, "no CONFIG_HWPOISON_INJECT or debugfs");
	snprintf(text, sizeof(text), "%#lx", w->pfn[0]);
	write_text("/sys/kernel/debug/hwpoison/corrupt-pfn", text);
	expect_broken(_metadata, h, w);
}

TEST_F_TIMEOUT(mm, hwpoison, TIMEOUT)
{
	break_first(_metadata, &self->host, &self->host.win[GP_AGAIN]);
}

/* The guest uses what it shares as much as what it does not. */
TEST_F_TIMEOUT(mm, hwpoison_shared, TIMEOUT)
{
	struct gp_window *w = &self->host.win[GP_SHARED];

	EXPECT_TRUE(gp_host_has(w));
	break_first(_metadata, &self->host, w);
}

/* Shared, and the host has not mapped it again. */
TEST_F_TIMEOUT(mm, hwpoison_shared_untouched, TIMEOUT)
{
	struct gp_window *w = &self->host.win[GP_PRIVATE];

	ASSERT_EQ(gp_share(&self->host, w), 0);
	EXPECT_EQ(gp_mapped(w), 0);
	break_first(_metadata, &self->host, w);
}

static uint64_t guest_wait(void)
{
	for (;;)
		asm volatile("wfi");
	return 0;
}

static uint64_t guest_spin(void)
{
	for (;;)
		asm volatile("nop");
	return 0;
}

/* Nobody has to touch the page: a guest that waits, or is not even on, ends too. */
static void ends_by_itself(struct __test_metadata *_metadata, struct pkvm_thread *t,
			   const char *what)
{
	int tries, stop;

	for (tries = 0; tries < 1000 && !READ_ONCE(t->done); tries++)
		usleep(10000);
	stop = READ_ONCE(t->done) ? pkvm_thread_join(t) : pkvm_thread_stop(t);
	EXPECT_EQ(stop, -EHWPOISON) {
		TH_LOG("the vCPU that %s: %d", what, stop);
	}
	EXPECT_EQ(t->vcpu->run->exit_reason, KVM_EXIT_MEMORY_FAULT);
}

WAY(mm, madv_dontfork, STAYS)
{
	struct child *c;

	EXPECT_EQ(madvise(w->mem, LEN, MADV_DONTFORK), 0);
	c = fork_and_look(w, false);
	EXPECT_EQ(c->sig[0], SIGSEGV);
	EXPECT_EQ(madvise(w->mem, LEN, MADV_DOFORK), 0);
	munmap(c, sizeof(*c));
}

WAY(mm, madv_wipeonfork, STAYS)
{
	struct child *c;
	int ret = madvise(w->mem, LEN, MADV_WIPEONFORK);

	if (h->file) {
		EXPECT_EQ(ret, -1);
		EXPECT_EQ(errno, EINVAL);
		return;
	}
	EXPECT_EQ(ret, 0);
	c = fork_and_look(w, false);
	EXPECT_EQ(c->sig[0], 0);
	EXPECT_TRUE(gp_page_is(c->word[0], 0));
	EXPECT_EQ(madvise(w->mem, LEN, MADV_KEEPONFORK), 0);
	munmap(c, sizeof(*c));
}

ONCE(mm, madv_hugepage_collapse)
{
	size_t len = h->vm->mem_size;

	EXPECT_EQ(madvise(h->mem, len, MADV_HUGEPAGE), 0);
	/* Pinned pages cannot move; what is left of the VM may. */
	if (h->vcpu) {
		EXPECT_EQ(madvise(h->mem, len, MADV_COLLAPSE), -1);
		EXPECT_TRUE(errno == EINVAL || errno == EAGAIN || errno == EBUSY ||
			    errno == ENOMEM) {
			TH_LOG("errno %d", errno);
		}
	} else {
		madvise(h->mem, len, MADV_COLLAPSE);
	}
	EXPECT_EQ(madvise(h->mem, len, MADV_NOHUGEPAGE), 0);
}

ONCE(mm, khugepaged)
{
	long collapsed = read_number(THP "khugepaged/pages_collapsed");
	long from = read_number(THP "khugepaged/full_scans");
	int tries;

	if (from < 0)
		SKIP(return, "no CONFIG_TRANSPARENT_HUGEPAGE");
	write_text(THP "khugepaged/scan_sleep_millisecs", "1");
	write_text(THP "khugepaged/alloc_sleep_millisecs", "1");
	write_text(THP "khugepaged/pages_to_scan", "100000");
	write_text(THP "shmem_enabled", "advise");
	EXPECT_EQ(madvise(h->mem, h->vm->mem_size, MADV_HUGEPAGE), 0);
	/* It does come here: what is left of the VM it takes, at one time or another. */
	for (tries = 0; tries < 6000; tries++) {
		if (read_number(THP "khugepaged/full_scans") >= from + 3 &&
		    (h->vcpu || read_number(THP "khugepaged/pages_collapsed") > collapsed))
			break;
		usleep(5000);
	}
	EXPECT_LT(tries, 6000);
	EXPECT_EQ(madvise(h->mem, h->vm->mem_size, MADV_NOHUGEPAGE), 0);
	/* As it is by itself. */
	write_text(THP "khugepaged/scan_sleep_millisecs", "10000");
	write_text(THP "khugepaged/alloc_sleep_millisecs", "60000");
	write_text(THP "khugepaged/pages_to_scan", "4096");
	write_text(THP "shmem_enabled", "never");
}

WAY(mm, process_madvise, STAYS)
{
	static const int advice[] = { MADV_COLD, MADV_PAGEOUT, MADV_WILLNEED };
	struct iovec iov = { w->mem, LEN };
	int i, pid = syscall(__NR_pidfd_open, getpid(), 0);

	ASSERT_GE(pid, 0);
	for (i = 0; i < ARRAY_SIZE(advice); i++)
		EXPECT_EQ(syscall(__NR_process_madvise, pid, &iov, 1, advice[i], 0), LEN);
	close(pid);
}

/* -------------------------------------------------------------- userfaultfd */

static int uffd_open(uint64_t features)
{
	struct uffdio_api api = { .api = UFFD_API, .features = features };
	int fd = syscall(__NR_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	if (fd >= 0 && ioctl(fd, UFFDIO_API, &api)) {
		close(fd);
		return -1;
	}
	return fd;
}

static int uffd_register(int fd, struct gp_window *w, uint64_t mode)
{
	struct uffdio_register reg = {
		.range = { (uintptr_t)w->mem, LEN }, .mode = mode,
	};

	return ioctl(fd, UFFDIO_REGISTER, &reg);
}

static int uffd_unregister(int fd, struct gp_window *w)
{
	struct uffdio_range range = { (uintptr_t)w->mem, LEN };

	return ioctl(fd, UFFDIO_UNREGISTER, &range);
}

/* What is there is not missing, so nothing can be put there. */
WAY(mm, uffd_missing, STAYS)
{
	static char page[4096] __aligned(4096);
	struct uffdio_copy copy = {
		.dst = (uintptr_t)w->mem, .src = (uintptr_t)page, .len = GP_PAGE,
	};
	struct uffdio_zeropage zero = { .range = { (uintptr_t)w->mem, GP_PAGE } };
	int fd = uffd_open(UFFD_FEATURE_SIGBUS);

	if (fd < 0)
		SKIP(return, "no CONFIG_USERFAULTFD");
	EXPECT_EQ(uffd_register(fd, w, UFFDIO_REGISTER_MODE_MISSING), 0);
	WANT_ERRNO(ioctl(fd, UFFDIO_COPY, &copy), EEXIST, w);
	WANT_ERRNO(ioctl(fd, UFFDIO_ZEROPAGE, &zero), EEXIST, w);
	EXPECT_TRUE(gp_guest_has_all(h));
	if (!w->open)
		IN_STATE(gp_touch_fails(w), w);
	EXPECT_EQ(uffd_unregister(fd, w), 0);
	close(fd);
}

WAY(mm, uffd_wp, STAYS)
{
	struct uffdio_writeprotect wp = {
		.range = { (uintptr_t)w->mem, LEN },
		.mode = UFFDIO_WRITEPROTECT_MODE_WP,
	};
	int fd = uffd_open(UFFD_FEATURE_SIGBUS | UFFD_FEATURE_PAGEFAULT_FLAG_WP |
			   UFFD_FEATURE_WP_HUGETLBFS_SHMEM);

	if (fd < 0)
		SKIP(return, "no userfaultfd with write protection");
	EXPECT_EQ(uffd_register(fd, w, UFFDIO_REGISTER_MODE_WP), 0);
	EXPECT_EQ(ioctl(fd, UFFDIO_WRITEPROTECT, &wp), 0);
	EXPECT_TRUE(gp_guest_has_all(h));
	if (w->open) {
		EXPECT_EQ(pkvm_host_read(w->mem, NULL).sig, 0);
		EXPECT_EQ(pkvm_host_write(w->mem, 1).sig, SIGBUS);
	} else {
		EXPECT_TRUE(pkvm_is_segv_at(pkvm_host_read(w->mem, NULL), w->mem));
		EXPECT_NE(pkvm_host_write(w->mem, 1).sig, 0);
	}
	wp.mode = 0;
	EXPECT_EQ(ioctl(fd, UFFDIO_WRITEPROTECT, &wp), 0);
	EXPECT_EQ(uffd_unregister(fd, w), 0);
	close(fd);
}

/*
 * The protection is the host's own: it is there when the guest lets the host in
 * again, whether it was made before the guest took the page or while it had it.
 */
TEST_F_TIMEOUT(mm, uffd_wp_survives, TIMEOUT)
{
	static const enum gp_state from[] = { GP_SHARED, GP_PRIVATE };
	struct gp_host *h = &self->host;
	int s, i, fd;

	for (s = 0; s < 2; s++) {
		struct gp_window *w = &h->win[from[s]];
		struct uffdio_writeprotect wp = {
			.range = { (uintptr_t)w->mem, LEN },
			.mode = UFFDIO_WRITEPROTECT_MODE_WP,
		};

		fd = uffd_open(UFFD_FEATURE_SIGBUS | UFFD_FEATURE_PAGEFAULT_FLAG_WP |
			       UFFD_FEATURE_WP_HUGETLBFS_SHMEM);
		if (fd < 0)
			SKIP(return, "no userfaultfd with write protection");
		IN_STATE(gp_host_right(w), w);
		ASSERT_EQ(uffd_register(fd, w, UFFDIO_REGISTER_MODE_WP), 0);
		ASSERT_EQ(ioctl(fd, UFFDIO_WRITEPROTECT, &wp), 0);
		if (w->open) {
			EXPECT_EQ(pkvm_host_write(w->mem, 1).sig, SIGBUS);
			EXPECT_EQ(gp_unshare(h, w), 0);
		}
		IN_STATE(gp_touch_fails(w), w);
		EXPECT_EQ(gp_share(h, w), 0);
		for (i = 0; i < GP_PAGES; i++) {
			char *p = w->mem + i * GP_PAGE;

			/* The first touch is a load here, and a store there. */
			if (i % 2)
				EXPECT_EQ(pkvm_host_read(p, NULL).sig, 0);
			IN_STATE(pkvm_host_write(p, 1).sig == SIGBUS, w);
			IN_STATE(gp_page_is(p, w->seed[i]), w);
		}
		wp.mode = 0;
		EXPECT_EQ(ioctl(fd, UFFDIO_WRITEPROTECT, &wp), 0);
		for (i = 0; i < GP_PAGES; i++) {
			EXPECT_EQ(pkvm_host_write(w->mem + i * GP_PAGE, 1).sig, 0);
			gp_pattern(w->mem + i * GP_PAGE, w->seed[i]);
		}
		EXPECT_TRUE(gp_guest_has_all(h));
		EXPECT_EQ(gp_unshare(h, w), 0);
		EXPECT_EQ(uffd_unregister(fd, w), 0);
		close(fd);
	}
	EXPECT_TRUE(pkvm_counters_back(&h->now, -1));
}

/* Where something is nothing is poisoned. A file's page that is not mapped is no such thing. */
WAY(mm, uffd_poison, STAYS)
{
	struct uffdio_poison poison = { .range = { (uintptr_t)w->mem, GP_PAGE } };
	int fd = uffd_open(UFFD_FEATURE_SIGBUS | UFFD_FEATURE_POISON);
	struct pkvm_fault f;

	if (fd < 0)
		SKIP(return, "no userfaultfd with poison");
	IN_STATE(gp_host_right(w), w);
	EXPECT_EQ(uffd_register(fd, w, UFFDIO_REGISTER_MODE_MISSING), 0);
	if (!h->file || w->open) {
		WANT_ERRNO(ioctl(fd, UFFDIO_POISON, &poison), EEXIST, w);
	} else {
		EXPECT_EQ(ioctl(fd, UFFDIO_POISON, &poison), 0);
		f = pkvm_host_read(w->mem, NULL);
		IN_STATE(f.sig == SIGBUS && f.code == BUS_MCEERR_AR, w);
		/* It is the host's mapping that is broken, until it goes. */
		EXPECT_TRUE(gp_guest_has_all(h));
		EXPECT_EQ(madvise(w->mem, GP_PAGE, MADV_DONTNEED), 0);
	}
	EXPECT_EQ(uffd_unregister(fd, w), 0);
	close(fd);
}

WAY(mm, uffd_move, STAYS)
{
	char *to = mmap(NULL, GP_PAGE, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct uffdio_move move = {
		.dst = (uintptr_t)to, .src = (uintptr_t)w->mem, .len = GP_PAGE,
	};
	struct uffdio_register reg = {
		.range = { (uintptr_t)to, GP_PAGE },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	int fd = uffd_open(UFFD_FEATURE_SIGBUS | UFFD_FEATURE_MOVE);

	if (fd < 0)
		SKIP(return, "no userfaultfd with moves");
	ASSERT_EQ(ioctl(fd, UFFDIO_REGISTER, &reg), 0);
	IN_STATE(gp_host_right(w), w);
	if (h->file) {
		WANT_ERRNO(ioctl(fd, UFFDIO_MOVE, &move), EINVAL, w);
	} else if (!w->open) {
		/* An entry that is no page, and no swap either. */
		WANT_ERRNO(ioctl(fd, UFFDIO_MOVE, &move), EFAULT, w);
	} else if (h->vcpu) {
		/* A page as any other, but pinned. */
		WANT_ERRNO(ioctl(fd, UFFDIO_MOVE, &move), EBUSY, w);
	} else {
		/* What is left of the VM goes. */
		EXPECT_EQ(ioctl(fd, UFFDIO_MOVE, &move), 0);
		EXPECT_EQ(move.move, GP_PAGE);
		EXPECT_TRUE(gp_page_is(to, 0));
	}
	close(fd);
	munmap(to, GP_PAGE);
}

WAY(file, uffd_continue, STAYS)
{
	struct uffdio_continue cont = { .range = { (uintptr_t)w->mem, GP_PAGE } };
	int ret, fd = uffd_open(UFFD_FEATURE_SIGBUS | UFFD_FEATURE_MINOR_SHMEM);

	if (fd < 0)
		SKIP(return, "no userfaultfd with minor faults");
	/* So that there is something to install. */
	EXPECT_EQ(madvise(w->mem, LEN, MADV_DONTNEED), 0);
	EXPECT_EQ(uffd_register(fd, w, UFFDIO_REGISTER_MODE_MINOR), 0);
	ret = ioctl(fd, UFFDIO_CONTINUE, &cont);
	if (w->open) {
		EXPECT_EQ(ret, 0);
	} else {
		EXPECT_EQ(ret, -1);
		EXPECT_TRUE(errno == EIO || errno == EFAULT) {
			TH_LOG("state %s: errno %d", gp_state_name(w->state), errno);
		}
		EXPECT_EQ(gp_mapped(w), 0);
		EXPECT_NE(pkvm_host_read(w->mem, NULL).sig, 0);
	}
	EXPECT_EQ(uffd_unregister(fd, w), 0);
	close(fd);
}

/* ------------------------------------------------------------------ placement */

static bool two_nodes(void)
{
	return !access("/sys/devices/system/node/node1", F_OK);
}

/* Where a page is that is mapped here, or -errno. */
static int node_of(void *addr)
{
	int status = -EINVAL;

	syscall(__NR_move_pages, 0, 1, &addr, NULL, &status, 0);
	return status;
}

WAY(mm, move_pages, STAYS)
{
	int node[GP_PAGES], old[GP_PAGES], status[GP_PAGES], i;
	void *pages[GP_PAGES];

	if (!two_nodes())
		SKIP(return, "one node only");
	IN_STATE(gp_host_right(w), w);
	for (i = 0; i < GP_PAGES; i++) {
		pages[i] = w->mem + i * GP_PAGE;
		old[i] = node_of(pages[i]);
		node[i] = !old[i];
		status[i] = 12345;
		/* A private page is none. */
		IN_STATE(w->open ? old[i] >= 0 : old[i] == -ENOENT, w);
	}
	syscall(__NR_move_pages, 0, GP_PAGES, pages, node, status, MPOL_MF_MOVE);
	for (i = 0; i < GP_PAGES; i++) {
		if (!w->open)
			IN_STATE(status[i] == -ENOENT, w);
		/* A shared one is pinned; what is left of the VM goes. */
		IN_STATE(node_of(pages[i]) == (w->open && !h->vcpu ? node[i] : old[i]), w);
	}
}

/* All of the process moves but what its guest has, private or shared. */
ONCE(mm, migrate_pages)
{
	struct gp_window *shared = &h->win[GP_SHARED];
	char *own = h->win[GP_PRIVATE].mem - GP_PAGE;
	unsigned long from, to;
	int i, node, nodes[GP_PAGES];
	long ret, stay = 0;

	if (!two_nodes())
		SKIP(return, "one node only");
	EXPECT_TRUE(gp_host_has(shared));
	EXPECT_TRUE(gp_page_is(own, GP_OWN_SEED));
	node = node_of(own);
	ASSERT_GE(node, 0);
	for (i = 0; i < GP_PAGES; i++) {
		nodes[i] = node_of(shared->mem + i * GP_PAGE);
		EXPECT_GE(nodes[i], 0);
		stay += nodes[i] == node;
	}
	from = 1UL << node;
	to = 1UL << !node;
	ret = syscall(__NR_migrate_pages, 0, 64, &from, &to);
	EXPECT_EQ(node_of(own), !node);
	if (h->vcpu) {
		/* Those that could not. */
		EXPECT_GE(ret, stay);
		for (i = 0; i < GP_PAGES; i++)
			EXPECT_EQ(node_of(shared->mem + i * GP_PAGE), nodes[i]);
	} else {
		EXPECT_GE(ret, 0);
		for (i = 0; i < GP_PAGES; i++)
			EXPECT_EQ(node_of(shared->mem + i * GP_PAGE), !node);
	}
	EXPECT_TRUE(gp_guest_has_all(h));
	EXPECT_GE(syscall(__NR_migrate_pages, 0, 64, &to, &from), 0);
}

WAY(mm, mbind, STAYS)
{
	unsigned long nodes;
	int node;

	if (!two_nodes())
		SKIP(return, "one node only");
	IN_STATE(gp_host_right(w), w);
	node = node_of(w->mem);
	IN_STATE(w->open ? node >= 0 : node == -ENOENT, w);
	/* Where the first page is not. */
	nodes = 1UL << (node == 0);
	if (w->open && h->vcpu) {
		WANT_ERRNO(syscall(__NR_mbind, w->mem, LEN, MPOL_BIND, &nodes, 64,
				   MPOL_MF_MOVE | MPOL_MF_STRICT), EIO, w);
		IN_STATE(node_of(w->mem) == node, w);
	} else {
		/* No page is there that would have to move; or it can. */
		IN_STATE(!syscall(__NR_mbind, w->mem, LEN, MPOL_BIND, &nodes, 64,
				  MPOL_MF_MOVE | MPOL_MF_STRICT), w);
		IN_STATE(node_of(w->mem) == (w->open ? node == 0 : -ENOENT), w);
	}
	EXPECT_TRUE(gp_guest_has_all(h));
	EXPECT_EQ(syscall(__NR_mbind, w->mem, LEN, MPOL_DEFAULT, NULL, 0, 0), 0);
}

static void *spin(void *stop)
{
	while (!READ_ONCE(*(bool *)stop))
		;
	return NULL;
}

/*
 * Hinting faults on everything, while the guest and the host use it. Memory is scanned
 * for them as a thread uses up its time, from when that was made short; of a process
 * with one thread only what lies elsewhere.
 */
ONCE(mm, numa_balancing)
{
	static const char * const knobs[] = {
		"scan_delay_ms", "scan_period_min_ms", "scan_period_max_ms",
	};
	clock_t begin = clock();
	long updates, faults;
	bool stop = false;
	pthread_t thread;
	char path[96];
	int i;

	if (!two_nodes() || !write_text("/proc/sys/kernel/numa_balancing", "1"))
		SKIP(return, "no CONFIG_NUMA_BALANCING or one node only");
	for (i = 0; i < ARRAY_SIZE(knobs); i++) {
		snprintf(path, sizeof(path), "/sys/kernel/debug/sched/numa_balancing/%s",
			 knobs[i]);
		write_text(path, "10");
	}
	updates = read_vmstat("numa_pte_updates");
	faults = read_vmstat("numa_hint_faults");
	ASSERT_EQ(pthread_create(&thread, NULL, spin, &stop), 0);
	/* Some rounds after it has begun. */
	for (i = 0; i < 12; ) {
		clock_t end = clock() + CLOCKS_PER_SEC / 50;

		while (clock() < end)
			;
		EXPECT_TRUE(gp_guest_has_all(h));
		EXPECT_TRUE(gp_host_has(&h->win[GP_SHARED]));
		if (clock() - begin > 100 * CLOCKS_PER_SEC)
			break;
		i += read_vmstat("numa_pte_updates") > updates &&
		     read_vmstat("numa_hint_faults") > faults;
	}
	EXPECT_EQ(i, 12);
	WRITE_ONCE(stop, true);
	pthread_join(thread, NULL);
	write_text("/proc/sys/kernel/numa_balancing", "0");
}

ONCE(mm, compaction)
{
	long scanned = read_vmstat("compact_migrate_scanned");

	if (!write_text("/proc/sys/vm/compact_memory", "1"))
		SKIP(return, "no CONFIG_COMPACTION");
	EXPECT_GT(read_vmstat("compact_migrate_scanned"), scanned);
}

ONCE(mm, drop_caches)
{
	EXPECT_TRUE(write_text("/proc/sys/vm/drop_caches", "3"));
}

/* Pressure with somewhere to go, and back. */
ONCE(mm, swapoff)
{
	const char *why = held_setup();
	long out = read_vmstat("pswpout");
	size_t len = SZ_4M;
	char *p;

	if (why)
		SKIP(return, "%s", why);
	p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(p, MAP_FAILED);
	memset(p, 0x44, len);
	EXPECT_EQ(madvise(p, len, MADV_PAGEOUT), 0);
	EXPECT_EQ(madvise(h->mem, h->vm->mem_size, MADV_PAGEOUT), 0);
	EXPECT_GT(read_vmstat("pswpout"), out);
	EXPECT_EQ(access("/sys/fs/cgroup/memory.reclaim", W_OK), 0);
	write_text("/sys/fs/cgroup/memory.reclaim", "4M");
	EXPECT_TRUE(gp_guest_has_all(h));
	EXPECT_EQ(swapoff("/dev/zram0"), 0);
	EXPECT_TRUE(gp_guest_has_all(h));
	EXPECT_EQ(p[len / 2], 0x44);
	munmap(p, len);
	held_cleanup();
}

/* ----------------------------------------------------------------------- file */

static int punch(struct gp_host *h, off_t off, size_t len)
{
	return fallocate(h->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off, len);
}

/* The page leaves the file and stays the guest's; what comes is another. */
WAY(file, punch_whole, GOES)
{
	uint64_t val;

	EXPECT_EQ(punch(h, w->off, LEN), 0);
	EXPECT_TRUE(gp_guest_has_all(h));
	EXPECT_EQ(pkvm_host_read(w->mem, &val).sig, 0);
	EXPECT_EQ(val, 0);
	EXPECT_EQ(pread(h->fd, &val, 8, w->off), 8);
	EXPECT_EQ(val, 0);
	EXPECT_EQ(pkvm_host_write(w->mem, 0xbad).sig, 0);
}

/*
 * Half of a page stays as it is, since the host cannot write zeroes there; whole ones
 * that lie between leave the file as always.
 */
TEST_F_TIMEOUT(file, punch_partial, TIMEOUT)
{
	struct gp_host *h = &self->host;
	uint64_t val;
	int s, i;

	for (s = 0; s < GP_GONE; s++) {
		struct gp_window *w = &h->win[s];

		EXPECT_EQ(punch(h, w->off + 1024, 2048), 0);
		/* The end of one, all of the next, the beginning of a third. */
		EXPECT_EQ(punch(h, w->off + GP_PAGE + 2048, 2 * GP_PAGE), 0);
		if (w->open) {
			EXPECT_EQ(*(uint64_t *)(w->mem + 1024), 0);
			EXPECT_EQ(*(uint64_t *)w->mem, pkvm_pattern(w->seed[0], 0));
			EXPECT_EQ(pkvm_must(h->vcpu, guest_load, w->ipa + 1024), 0);
			EXPECT_EQ(pkvm_must(h->vcpu, guest_load, w->ipa),
				  pkvm_pattern(w->seed[0], 0));
			continue;
		}
		IN_STATE(gp_guest_has(h, w), w);
		for (i = 0; i < GP_PAGES; i++) {
			char *p = w->mem + i * GP_PAGE;
			struct pkvm_fault f = pkvm_host_read(p, &val);

			if (i == 2)
				IN_STATE(!f.sig && !val, w);
			else
				IN_STATE(pkvm_is_segv_at(f, p), w);
		}
	}
	EXPECT_TRUE(pkvm_counters_back(&h->now, -1));
	EXPECT_TRUE(gp_own_pages_left(h));
}

/* The file ends before the guest's pages; later it is long again. */
TEST_F_TIMEOUT(file, truncate, TIMEOUT)
{
	struct gp_host *h = &self->host;
	struct gp_window *w = &h->win[0];
	uint64_t val;

	ASSERT_EQ(ftruncate(h->fd, GP_PAGE), 0);
	EXPECT_TRUE(gp_guest_has_all(h));
	val = 0;
	/* A huge page that is cut goes on to its end in mappings, with zeroes. */
	if (pkvm_host_read(w->mem, &val).sig != SIGBUS) {
		EXPECT_EQ(variant->backing, GP_MEMFD_THP);
		EXPECT_EQ(val, 0);
	}
	EXPECT_EQ(pread(h->fd, &val, 8, w->off), 0);
	ASSERT_EQ(ftruncate(h->fd, h->vm->mem_size), 0);
	EXPECT_EQ(pkvm_host_read(w->mem, &val).sig, 0);
	EXPECT_EQ(val, 0);
	EXPECT_EQ(pkvm_host_write(w->mem, 0xbad).sig, 0);
	EXPECT_TRUE(gp_guest_has_all(h));
	EXPECT_TRUE(pkvm_counters_back(&h->now, -1));
}

/* In the middle of a page: as half a hole. */
TEST_F_TIMEOUT(file, truncate_partial, TIMEOUT)
{
	struct gp_host *h = &self->host;
	struct gp_window *w = &h->win[GP_PRIVATE];
	uint64_t val;

	EXPECT_EQ(ftruncate(h->fd, w->off + 100), 0);
	EXPECT_TRUE(gp_guest_has_all(h));
	EXPECT_TRUE(pkvm_is_segv_at(pkvm_host_read(w->mem, NULL), w->mem));
	EXPECT_EQ(pkvm_host_read(w->mem + GP_PAGE, NULL).sig, SIGBUS);
	/* The page that the file ends in is in it still, when it is long again. */
	EXPECT_EQ(ftruncate(h->fd, h->vm->mem_size), 0);
	EXPECT_TRUE(pkvm_is_segv_at(pkvm_host_read(w->mem, NULL), w->mem));
	EXPECT_EQ(pkvm_host_read(w->mem + GP_PAGE, &val).sig, 0);
	EXPECT_EQ(val, 0);
	EXPECT_TRUE(gp_guest_has_all(h));
	EXPECT_TRUE(pkvm_counters_back(&h->now, -1));
}

ONCE(file, seals)
{
	EXPECT_EQ(fcntl(h->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW), 0);
	/* The VMM has it mapped for writing. */
	EXPECT_EQ(fcntl(h->fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
	EXPECT_EQ(errno, EBUSY);
	EXPECT_EQ(ftruncate(h->fd, GP_PAGE), -1);
	EXPECT_EQ(errno, EPERM);
}

/* Not even when nobody has it mapped: the guest can still write. */
TEST_F_TIMEOUT(file, seal_write_unmapped, TIMEOUT)
{
	struct gp_host *h = &self->host;

	gp_agent_stop(&h->agent);
	ASSERT_EQ(munmap(h->mem, h->vm->mem_size), 0);
	EXPECT_EQ(fcntl(h->fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
	EXPECT_EQ(errno, EBUSY);
	EXPECT_TRUE(gp_guest_has_all(h));
	gp_end_vm(h);
	EXPECT_EQ(fcntl(h->fd, F_ADD_SEALS, F_SEAL_WRITE), 0);
}

/* --------------------------------------------------------------- huge pages */

/* The guest's pages come out of a huge page, the others stay the host's. */
WAY(thp, load_store, STAYS)
{
	if (w->open) {
		w->seed[2] = gp_seed(h);
		gp_pattern(w->mem + 2 * GP_PAGE, w->seed[2]);
	} else {
		EXPECT_EQ(gp_mapped(w), 0);
		IN_STATE(gp_touch_fails(w), w);
	}
}

WAY(thp, fork, STAYS)
{
	struct child *c = fork_and_look(w, false);

	EXPECT_EQ(gp_secrets(h, c->word, sizeof(c->word)), 0);
	IN_STATE(!w->open || gp_page_is(c->word[0], w->seed[0]), w);
	munmap(c, sizeof(*c));
}

WAY(thp, madv_dontneed, GOES)
{
	EXPECT_EQ(madvise(w->mem, LEN, MADV_DONTNEED), 0);
	if (h->file && !w->open)
		IN_STATE(gp_touch_fails(w), w);
}

ONCE(thp, madv_pageout)
{
	const char *why = held_setup();

	if (why)
		SKIP(return, "%s", why);
	EXPECT_EQ(madvise(h->mem, h->vm->mem_size, MADV_PAGEOUT), 0);
	EXPECT_TRUE(gp_guest_has_all(h));
	held_cleanup();
}

/* A huge page of the host's own, nearly empty. */
static char *lone_huge_page(void)
{
	char *p = mmap(NULL, 2 * SZ_2M, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		       -1, 0);

	TEST_ASSERT(p != MAP_FAILED, "no memory");
	TEST_ASSERT(!madvise(p, 2 * SZ_2M, MADV_HUGEPAGE), "no huge pages");
	p = (char *)(((uintptr_t)p + SZ_2M - 1) & ~(SZ_2M - 1UL));
	*p = 0x55;
	return p;
}

/* By the kernel, from the list of what has little in it; and by hand. */
ONCE(thp, split)
{
	long split, underused;
	char text[96], *p;

	write_text(THP "khugepaged/max_ptes_none", "0");
	write_text(THP "shrink_underused", "1");
	p = lone_huge_page();
	underused = read_vmstat("thp_underused_split_page");
	write_text("/proc/sys/vm/drop_caches", "2");
	EXPECT_GT(read_vmstat("thp_underused_split_page"), underused);
	EXPECT_EQ(*p, 0x55);
	EXPECT_TRUE(gp_guest_has_all(h));
	write_text(THP "khugepaged/max_ptes_none", "511");

	p = lone_huge_page();
	split = read_vmstat("thp_split_page");
	snprintf(text, sizeof(text), "%d,%#lx,%#lx,0", getpid(), (uintptr_t)p,
		 (uintptr_t)p + SZ_2M);
	EXPECT_TRUE(write_text("/sys/kernel/debug/split_huge_pages", text));
	EXPECT_EQ(read_vmstat("thp_split_page"), split + 1);
	EXPECT_EQ(*p, 0x55);
	/* Of what the guest has nothing is huge; what is left of it khugepaged may have. */
	split = read_vmstat("thp_split_page");
	snprintf(text, sizeof(text), "%d,%#lx,%#lx,0", getpid(), (uintptr_t)h->mem,
		 (uintptr_t)h->mem + h->vm->mem_size);
	EXPECT_TRUE(write_text("/sys/kernel/debug/split_huge_pages", text));
	if (h->vcpu)
		EXPECT_EQ(read_vmstat("thp_split_page"), split);
	write_text("/sys/fs/cgroup/memory.reclaim", "4M");
}

/* Kilobytes that all mappings of this process have of something. */
static long smaps_sum(const char *key)
{
	FILE *f = fopen("/proc/self/smaps", "r");
	size_t len = strlen(key);
	char line[512];
	long sum = 0;

	TEST_ASSERT(f, "no /proc/self/smaps");
	while (fgets(line, sizeof(line), f)) {
		if (!strncmp(line, key, len) && line[len] == ':')
			sum += strtol(line + len + 1, NULL, 10);
	}
	fclose(f);
	return sum;
}

/* Who reads how much memory a process has splits none of it, a guest's or not (I10). */
ONCE(thp, i10_smaps)
{
	char *room = mmap(NULL, 2 * SZ_2M, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *file = (char *)(((uintptr_t)room + SZ_2M - 1) & ~(SZ_2M - 1UL));
	int fd = memfd_create("huge", MFD_CLOEXEC), i;
	char *anon = lone_huge_page();
	long split, anon_kb, file_kb;

	ASSERT_NE(room, MAP_FAILED);
	write_text(THP "shmem_enabled", "advise");
	ASSERT_EQ(ftruncate(fd, SZ_2M), 0);
	ASSERT_EQ(mmap(file, SZ_2M, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0), file);
	ASSERT_EQ(madvise(file, SZ_2M, MADV_HUGEPAGE), 0);
	*file = 0x66;
	split = read_vmstat("thp_split_pmd");
	anon_kb = smaps_sum("AnonHugePages");
	file_kb = smaps_sum("ShmemPmdMapped");
	EXPECT_GE(anon_kb, SZ_2M / 1024);
	EXPECT_GE(file_kb, SZ_2M / 1024);
	/* khugepaged may have made something else huge meanwhile. */
	for (i = 0; i < 3; i++) {
		EXPECT_GE(smaps_sum("AnonHugePages"), anon_kb);
		EXPECT_GE(smaps_sum("ShmemPmdMapped"), file_kb);
	}
	EXPECT_EQ(read_vmstat("thp_split_pmd"), split);
	EXPECT_EQ(*anon, 0x55);
	munmap(room, 2 * SZ_2M);
	close(fd);
}

ONCE(thp, mprotect_part)
{
	char *p = h->win[GP_PRIVATE].mem;

	EXPECT_EQ(mprotect(p + GP_PAGE, GP_PAGE, PROT_READ), 0);
	EXPECT_TRUE(gp_guest_has_all(h));
	EXPECT_EQ(mprotect(p + GP_PAGE, GP_PAGE, PROT_READ | PROT_WRITE), 0);
}

/* ------------------------------------------------- private mappings of a file */

/* What is in the file is not what the guest has, at any time. */
static bool file_is_empty(struct gp_host *h, struct gp_window *w)
{
	static char page[4096];
	int i;

	for (i = 0; i < GP_PAGES; i++) {
		if (pread(h->fd, page, GP_PAGE, w->off + i * GP_PAGE) != GP_PAGE ||
		    !gp_page_is(page, 0))
			return false;
	}
	return true;
}

WAY(copy, load_store, STAYS)
{
	IN_STATE(gp_host_right(w), w);
	IN_STATE(file_is_empty(h, w), w);
	if (w->open) {
		w->seed[1] = gp_seed(h);
		gp_pattern(w->mem + GP_PAGE, w->seed[1]);
		IN_STATE(file_is_empty(h, w), w);
	}
}

/* The child has nothing of a private page, and finds the file's. */
WAY(copy, fork, STAYS)
{
	struct child *c = fork_and_look(w, false);
	int i;

	for (i = 0; i < GP_PAGES; i++)
		IN_STATE(!c->sig[i] && gp_page_is(c->word[i], w->open ? w->seed[i] : 0),
			 w);
	EXPECT_EQ(gp_secrets(h, c->word, sizeof(c->word)), 0);
	munmap(c, sizeof(*c));
}

WAY(copy, munmap, GOES)
{
	uint64_t val;
	char *p;

	ASSERT_EQ(munmap(w->mem, LEN), 0);
	EXPECT_TRUE(gp_guest_has_all(h));
	p = mmap(w->mem, LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, h->fd, w->off);
	ASSERT_EQ(p, w->mem);
	EXPECT_EQ(pkvm_host_read(p, &val).sig, 0);
	EXPECT_EQ(val, 0);
}

/* Copies go with the file's end, from the host; not from the guest. */
TEST_F_TIMEOUT(copy, truncate, TIMEOUT)
{
	struct gp_host *h = &self->host;
	uint64_t val;
	int s;

	ASSERT_EQ(ftruncate(h->fd, GP_PAGE), 0);
	EXPECT_TRUE(gp_guest_has_all(h));
	EXPECT_TRUE(pkvm_counters_back(&h->now, -1));
	for (s = 0; s < GP_NR_STATES; s++)
		EXPECT_EQ(pkvm_host_read(h->win[s].mem, NULL).sig, SIGBUS);
	ASSERT_EQ(ftruncate(h->fd, h->vm->mem_size), 0);
	for (s = 0; s < GP_NR_STATES; s++) {
		EXPECT_EQ(pkvm_host_read(h->win[s].mem, &val).sig, 0);
		EXPECT_EQ(val, 0);
	}
	/* Nobody but the guest has what it had. */
	EXPECT_EQ(gp_unshare(h, &h->win[GP_SHARED]), 0);
	EXPECT_TRUE(gp_guest_has_all(h));
	EXPECT_TRUE(pkvm_counters_back(&h->now, -1));
}

/* ------------------------------------------------------- shmem without a name */

WAY(shm, load_store, STAYS)
{
	IN_STATE(gp_host_right(w), w);
	EXPECT_EQ(madvise(w->mem, LEN, MADV_DONTNEED), 0);
	IN_STATE(gp_host_right(w), w);
}

/* A child has the same pages: what is private is out of its reach, too. */
WAY(shm, fork, STAYS)
{
	struct child *c = fork_and_look(w, false);
	int i;

	for (i = 0; i < GP_PAGES; i++) {
		if (w->open)
			IN_STATE(!c->sig[i] && gp_page_is(c->word[i], w->seed[i]), w);
		else
			IN_STATE(c->sig[i] == SIGSEGV && c->code[i] == SEGV_ACCERR &&
				 c->addr_right[i], w);
	}
	EXPECT_EQ(gp_secrets(h, c->word, sizeof(c->word)), 0);
	munmap(c, sizeof(*c));
}

/* ------------------------------------------------------------ ends of a process */

FIXTURE(process) {
	struct pkvm_counters before;
};

FIXTURE_VARIANT(process) {
	enum gp_backing backing;
};

FIXTURE_VARIANT_ADD(process, memfd) { GP_MEMFD };
FIXTURE_VARIANT_ADD(process, anon) { GP_ANON };

FIXTURE_SETUP(process)
{
	const char *why = pkvm_unavailable();

	if (why)
		SKIP(return, "%s", why);
	pkvm_counters_read(&self->before);
}

FIXTURE_TEARDOWN(process)
{
	EXPECT_TRUE(pkvm_counters_back(&self->before, -1));
}

static size_t words_in_file(const char *path, uint64_t seed)
{
	static char part[SZ_16K];
	size_t i, found = 0;
	ssize_t len;
	int fd = open(path, O_RDONLY);

	while (fd >= 0 && (len = read(fd, part, sizeof(part))) > 0) {
		for (i = 0; i + 8 <= (size_t)len; i += 8)
			found += *(uint64_t *)(part + i) == pkvm_pattern(seed, 300);
	}
	close(fd);
	return found;
}

/* A hole where it is private; what is shared is there. */
TEST_F_TIMEOUT(process, core_dump, TIMEOUT)
{
	struct rlimit unlimited = { RLIM_INFINITY, RLIM_INFINITY };
	char old[256] = "core", path[64];
	uint64_t *seeds;
	int fd, status;
	ssize_t len;
	pid_t pid;

	fd = open("/proc/sys/kernel/core_pattern", O_RDONLY);
	ASSERT_GE(fd, 0);
	len = read(fd, old, sizeof(old) - 1);
	close(fd);
	ASSERT_GT(len, 0);
	old[len] = 0;
	ASSERT_TRUE(write_text("/proc/sys/kernel/core_pattern", "/tmp/guest.core.%p"));
	seeds = mmap(NULL, GP_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		     -1, 0);
	ASSERT_NE(seeds, MAP_FAILED);
	pid = fork();
	if (!pid) {
		struct gp_host h;
		int s;

		setrlimit(RLIMIT_CORE, &unlimited);
		write_text("/proc/self/coredump_filter", "0x3f");
		gp_open(&h, variant->backing, 1, 0);
		gp_make_windows(&h);
		for (s = 0; s < GP_NR_STATES; s++)
			seeds[s] = h.win[s].seed[1];
		signal(SIGSEGV, SIG_DFL);
		*(uint64_t *)h.win[GP_PRIVATE].mem = 1;
		_exit(0);
	}
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_TRUE(WIFSIGNALED(status));
	EXPECT_EQ(WTERMSIG(status), SIGSEGV);
	write_text("/proc/sys/kernel/core_pattern", old);
	snprintf(path, sizeof(path), "/tmp/guest.core.%d", pid);
	EXPECT_EQ(access(path, R_OK), 0);
	EXPECT_EQ(words_in_file(path, seeds[GP_PRIVATE]), 0);
	EXPECT_EQ(words_in_file(path, seeds[GP_AGAIN]), 0);
	EXPECT_EQ(words_in_file(path, seeds[GP_GONE]), 0);
	EXPECT_GT(words_in_file(path, seeds[GP_SHARED]), 0);
	unlink(path);
	munmap(seeds, GP_PAGE);
}

/* All vCPUs of a guest with a broken page end, whatever each of them does. */
TEST_F_TIMEOUT(process, hwpoison_ends_all, TIMEOUT)
{
	struct pkvm_thread t[3];
	struct gp_window *w;
	struct gp_host h;
	char text[32];

	if (access("/sys/kernel/debug/hwpoison/corrupt-pfn", W_OK))
		SKIP(return, "no CONFIG_HWPOISON_INJECT or debugfs");
	gp_open(&h, variant->backing, 3, 0);
	gp_make_windows(&h);
	w = &h.win[GP_PRIVATE];
	pkvm_must(h.vcpu, guest_hvc, PSCI_0_2_FN64_CPU_ON, 1, (uintptr_t)pkvm_guest_entry,
		  (uintptr_t)&pkvm_guest_cpus[1]);
	pkvm_must(&h.vm->vcpus[1], guest_nop);
	pkvm_thread_start(&t[0], h.vcpu, guest_wait);
	pkvm_thread_start(&t[1], &h.vm->vcpus[1], guest_spin);
	/* That one is off. */
	pkvm_thread_start(&t[2], &h.vm->vcpus[2], guest_nop);
	usleep(200000);
	EXPECT_FALSE(t[0].done || t[1].done || t[2].done);
	snprintf(text, sizeof(text), "%#lx", w->pfn[0]);
	write_text("/sys/kernel/debug/hwpoison/corrupt-pfn", text);
	ends_by_itself(_metadata, &t[0], "waits for an interrupt");
	ends_by_itself(_metadata, &t[1], "runs");
	ends_by_itself(_metadata, &t[2], "is off");
	gp_end_vm(&h);
	write_text("/sys/kernel/debug/hwpoison/unpoison-pfn", text);
	EXPECT_TRUE(gp_close(&h));
}

/* exec() ends the address space; the machine goes with the last file. */
TEST_F_TIMEOUT(process, exec, TIMEOUT)
{
	int status;
	pid_t pid;

	pid = fork();
	if (!pid) {
		struct gp_host h;

		gp_open(&h, variant->backing, 1, 0);
		gp_make_windows(&h);
		/* The other process must not wait for us. */
		gp_agent_stop(&h.agent);
		execl("/bin/true", "true", NULL);
		_exit(99);
	}
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_EQ(status, 0);
}

TEST_HARNESS_MAIN
