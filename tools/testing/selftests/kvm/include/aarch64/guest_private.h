/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A guest whose memory is in all the states that a host can meet at once, and
 * the ways of a host to get at memory. For the tests of guest-private pages.
 *
 * A window is a run of pages in one state, with pages of the host's own before
 * and after it. A path of the host is tried on one window after the other; what
 * each page must hold is known at any time, by the guest and by the host.
 *
 * This owns no test. It uses the UAPI only.
 */
#ifndef SELFTEST_KVM_ARM64_GUEST_PRIVATE_H
#define SELFTEST_KVM_ARM64_GUEST_PRIVATE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "pkvm.h"

#define GP_PAGE		4096UL
#define GP_PAGES	4		/* of a window */
#define GP_MEM_SIZE	0x200000UL	/* one huge page */
#define GP_STRIDE	16		/* pages from one window to the next */
#define GP_FIRST	4		/* page of the first window */
#define GP_OWN_SEED	0x0b5e55edUL	/* what the host's own pages hold */

enum gp_state {
	GP_PRIVATE,		/* donated, never shared */
	GP_SHARED,		/* the guest lets the host in */
	GP_AGAIN,		/* shared and used by the host, then private again */
	GP_GONE,		/* private when the VM ended */
	GP_NR_STATES,
};

enum gp_backing {
	GP_MEMFD,
	GP_ANON,
	GP_MEMFD_THP,		/* both in huge pages, before the guest has it */
	GP_ANON_THP,
	GP_MEMFD_COPY,		/* a private mapping of a memfd: its pages are anonymous */
	GP_SHARED_ANON,		/* shmem without a name */
};

struct gp_window {
	enum gp_state state;
	bool open;			/* the host may touch it */
	char *mem;
	uint64_t ipa;
	off_t off;			/* in the memfd */
	uint64_t seed[GP_PAGES];	/* what each page holds; 0: zeroes */
	uint64_t pfn[GP_PAGES];		/* from before the guest had it; 0: unknown */
};

/* What one process wants of another; both have it mapped. */
struct gp_desk {
	long (*fn)(struct gp_desk *desk);
	long ret;
	uint64_t arg[6];
	int sig;
	int code;
	uint64_t addr;
	uint64_t buf[512];
};

/* A process of its own that was forked before the VM was there. */
struct gp_agent {
	pid_t pid;
	int sock;
	struct gp_desk *desk;
};

struct gp_host {
	struct pkvm_vm *vm;
	struct pkvm_vcpu *vcpu;
	enum gp_backing backing;
	bool file;			/* one of the memfd kinds */
	int fd;				/* the memfd, or -1 */
	char *mem;
	uint64_t next_seed;
	struct gp_window win[GP_NR_STATES];
	struct gp_agent agent;
	struct pkvm_counters before;
	struct pkvm_counters now;
};

const char *gp_state_name(enum gp_state state);

/* Everything up to the states; the counters are from before. */
void gp_open(struct gp_host *h, enum gp_backing backing, int nr_vcpus, size_t mem_size);
void gp_make_windows(struct gp_host *h);
void gp_end_vm(struct gp_host *h);
bool gp_close(struct gp_host *h);

/* As gp_open() would make them; the file is closed by the caller. */
char *gp_alloc(enum gp_backing backing, size_t size, int *fd);

/* Transitions of a window, by the guest. 0 or what the guest got. */
long gp_share(struct gp_host *h, struct gp_window *w);
long gp_unshare(struct gp_host *h, struct gp_window *w);
void gp_fill(struct gp_host *h, struct gp_window *w);

/*
 * What is true, and what is said if not. All of them may be asked at any time.
 * gp_guest_has: the guest finds in every page what is to be there.
 * gp_host_has: the same for the host, in a window that is open.
 * gp_mapped: so many pages of the window the host has mapped.
 * gp_touch_fails: loads and stores at any offset are SIGSEGV with the address.
 */
bool gp_guest_has(struct gp_host *h, struct gp_window *w);
bool gp_guest_has_all(struct gp_host *h);
bool gp_host_has(struct gp_window *w);
int gp_mapped(struct gp_window *w);
bool gp_touch_fails(struct gp_window *w);
bool gp_host_right(struct gp_window *w);	/* the one or the other */
bool gp_own_pages_left(struct gp_host *h);
bool gp_page_is(const void *buf, uint64_t seed);
/* Words of any window's private contents that are in the buffer. */
size_t gp_secrets(struct gp_host *h, const void *buf, size_t len);
void gp_pattern(void *buf, uint64_t seed);
/* A seed that nobody had; the caller says which page holds it now. */
uint64_t gp_seed(struct gp_host *h);

void gp_agent_start(struct gp_agent *a);
void gp_agent_stop(struct gp_agent *a);
long gp_agent_run(struct gp_agent *a, long (*fn)(struct gp_desk *desk));

/* A task with this address space but no thread of ours, for debuggers. */
pid_t gp_shadow_start(void);
void gp_shadow_stop(pid_t pid);

/* io_uring, one request at a time. Negative: -errno. */
struct gp_uring {
	int fd;
	unsigned int *sq_tail, *sq_mask, *sq_array, *cq_head, *cq_tail, *cq_mask;
	struct io_uring_sqe *sqes;
	struct io_uring_cqe *cqes;
	void *sq, *cq;
	size_t sq_size, cq_size, sqes_size;
};

int gp_uring_open(struct gp_uring *u);
void gp_uring_close(struct gp_uring *u);
int gp_uring_register(struct gp_uring *u, void *buf, size_t len);
int gp_uring_unregister(struct gp_uring *u);
int gp_uring_do(struct gp_uring *u, int op, int fd, void *buf, size_t len, off_t off);

/* A block device for direct I/O: zram1, or why there is none. */
const char *gp_disk_open(int *fd, size_t size);
void gp_disk_close(int fd);

/*
 * A file whose direct reads never end before the file is released: the pages of
 * the reader stay pinned by the request. NULL, or why there is none.
 */
struct gp_slow_file {
	int dev;
	int fd;
	char dir[32];
	pthread_t server, reader;
	void *buf;
	uint64_t unique;
	uint32_t len;
	bool release;
	bool pending;
	long ret;
};

const char *gp_slow_open(struct gp_slow_file *f);
bool gp_slow_read(struct gp_slow_file *f, void *buf, size_t len);
bool gp_slow_wait(struct gp_slow_file *f);
void gp_slow_answer(struct gp_slow_file *f);
void gp_slow_release(struct gp_slow_file *f);
void gp_slow_close(struct gp_slow_file *f);

/* For the harness: what failed, and in which state. */
#define IN_STATE(cond, w)						\
do {									\
	bool _right = (cond);						\
									\
	EXPECT_TRUE(_right) {						\
		TH_LOG("state: %s", gp_state_name((w)->state));		\
	}								\
} while (0)

#define WANT_ERRNO(call, want, w)					\
do {									\
	int _want = (want);						\
	long _ret;							\
									\
	errno = 0;							\
	_ret = (long)(call);						\
	EXPECT_TRUE(_ret == -1 && errno == _want) {			\
		TH_LOG("state %s: returned %ld, errno %d, not %d",	\
		       gp_state_name((w)->state), _ret, errno, _want);	\
	}								\
} while (0)

#define GIVEN_UP	(_metadata->exit_code == KSFT_SKIP)

/* Guest side: pages of which each is filled by a seed of its own. */
uint64_t guest_pages_fill(uint64_t ipa, uint64_t nr, uint64_t seed);
uint64_t guest_page_check(uint64_t ipa, uint64_t seed);
uint64_t guest_pages_share(uint64_t fn, uint64_t ipa, uint64_t nr);

#endif /* SELFTEST_KVM_ARM64_GUEST_PRIVATE_H */
