// SPDX-License-Identifier: GPL-2.0-only
/*
 * The states and the ways of guest_private.h. Owns the memory of the VM that it
 * makes, zram1 while a disk is open, and one mount below /tmp while a slow file
 * is. Judges nothing by itself: it says what it finds.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <linux/fuse.h>
#include <linux/stddef.h>
#include <linux/io_uring.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <linux/compiler.h>
#include <linux/kernel.h>

#include "kvm_util.h"
#include "held.h"
#include "guest_private.h"

#define HUGE_SIZE	0x200000UL

/* ------------------------------------------------------------ guest side */

uint64_t guest_pages_fill(uint64_t ipa, uint64_t nr, uint64_t seed)
{
	uint64_t i;

	for (i = 0; i < nr; i++)
		guest_fill(ipa + i * GP_PAGE, GP_PAGE, seed + i);
	return 0;
}

/* The number of bad words; seed 0 stands for zeroes. */
uint64_t guest_page_check(uint64_t ipa, uint64_t seed)
{
	return seed ? guest_verify(ipa, GP_PAGE, seed) :
		      guest_count_nonzero(ipa, GP_PAGE);
}

/* The first error, or 0; the pages done before it are out[0]. */
uint64_t guest_pages_share(uint64_t fn, uint64_t ipa, uint64_t nr)
{
	uint64_t i, ret = 0;

	for (i = 0; i < nr && !ret; i++)
		ret = guest_hvc_quiet(fn, ipa + i * GP_PAGE, 0, 0);
	guest_out(0, ret ? i - 1 : i);
	return ret;
}

/* ---------------------------------------------------------------- contents */

const char *gp_state_name(enum gp_state state)
{
	static const char * const names[] = {
		[GP_PRIVATE] = "private", [GP_SHARED] = "shared",
		[GP_AGAIN] = "private again", [GP_GONE] = "after the VM",
	};

	return names[state];
}

void gp_pattern(void *buf, uint64_t seed)
{
	uint64_t *p = buf;
	size_t i;

	for (i = 0; i < GP_PAGE / 8; i++)
		WRITE_ONCE(p[i], seed ? pkvm_pattern(seed, i) : 0);
}

bool gp_page_is(const void *buf, uint64_t seed)
{
	const uint64_t *p = buf;
	size_t i, bad = 0, first = 0;

	for (i = 0; i < GP_PAGE / 8; i++) {
		if (READ_ONCE(p[i]) != (seed ? pkvm_pattern(seed, i) : 0)) {
			if (!bad)
				first = i;
			bad++;
		}
	}
	if (bad)
		printf("# %zu words are not what they should be; word %zu is %#lx\n",
		       bad, first, p[first]);
	return !bad;
}

uint64_t gp_seed(struct gp_host *h)
{
	return h->next_seed += GP_PAGES;
}

size_t gp_secrets(struct gp_host *h, const void *buf, size_t len)
{
	const uint64_t *p = buf;
	size_t i, j, found = 0;
	int s, k;

	/* A few words of each page are enough to know it by. */
	for (s = 0; s < GP_NR_STATES; s++) {
		for (k = 0; k < GP_PAGES; k++) {
			if (h->win[s].open || !h->win[s].seed[k])
				continue;
			for (j = 0; j < GP_PAGE / 8; j += 73) {
				uint64_t word = pkvm_pattern(h->win[s].seed[k], j);

				for (i = 0; i < len / 8; i++)
					found += p[i] == word;
			}
		}
	}
	return found;
}

/* ------------------------------------------------------------------- states */

char *gp_alloc(enum gp_backing backing, size_t size, int *fd)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS;
	char *p, *start;

	*fd = -1;
	if (backing == GP_SHARED_ANON)
		flags = MAP_SHARED | MAP_ANONYMOUS;
	if (backing == GP_MEMFD || backing == GP_MEMFD_THP || backing == GP_MEMFD_COPY) {
		*fd = memfd_create("guest", MFD_CLOEXEC | MFD_ALLOW_SEALING);
		TEST_ASSERT(*fd >= 0 && !ftruncate(*fd, size), "no memfd");
		flags = backing == GP_MEMFD_COPY ? MAP_PRIVATE : MAP_SHARED;
	}
	p = mmap(NULL, size + HUGE_SIZE, PROT_NONE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	TEST_ASSERT(p != MAP_FAILED, "no address space");
	start = (char *)(((uintptr_t)p + HUGE_SIZE - 1) & ~(HUGE_SIZE - 1));
	if (start > p)
		munmap(p, start - p);
	munmap(start + size, p + HUGE_SIZE - start);
	p = mmap(start, size, PROT_READ | PROT_WRITE, flags | MAP_FIXED, *fd, 0);
	TEST_ASSERT(p != MAP_FAILED, "no memory for a guest");
	if (backing == GP_MEMFD_THP || backing == GP_ANON_THP) {
		write_text("/sys/kernel/mm/transparent_hugepage/shmem_enabled", "advise");
		madvise(p, size, MADV_HUGEPAGE);
		memset(p, 0, size);
	} else {
		madvise(p, size, MADV_NOHUGEPAGE);
	}
	return p;
}

void gp_open(struct gp_host *h, enum gp_backing backing, int nr_vcpus, size_t mem_size)
{
	struct pkvm_opts opts = {
		.nr_vcpus = nr_vcpus,
		.mem_size = mem_size ?: GP_MEM_SIZE,
		.backing = PKVM_CALLER,
	};

	memset(h, 0, sizeof(*h));
	pkvm_counters_read(&h->before);
	h->backing = backing;
	h->file = backing == GP_MEMFD || backing == GP_MEMFD_THP;
	h->next_seed = pkvm_seed() | 1;
	/* A huge page that it had, too, would be copied for the guest, and not split. */
	if (backing == GP_ANON_THP)
		gp_agent_start(&h->agent);
	h->mem = gp_alloc(backing, opts.mem_size, &h->fd);
	if (backing != GP_ANON_THP)
		gp_agent_start(&h->agent);
	opts.mem = h->mem;
	h->vm = pkvm_vm_create(&opts);
	h->vcpu = pkvm_vcpu0(h->vm);
}

long gp_share(struct gp_host *h, struct gp_window *w)
{
	long ret = pkvm_must(h->vcpu, guest_pages_share, PKVM_HVC_SHARE, w->ipa,
			     GP_PAGES);

	w->open = !ret;
	return ret;
}

long gp_unshare(struct gp_host *h, struct gp_window *w)
{
	long ret = pkvm_must(h->vcpu, guest_pages_share, PKVM_HVC_UNSHARE, w->ipa,
			     GP_PAGES);

	w->open = !!ret;
	return ret;
}

void gp_fill(struct gp_host *h, struct gp_window *w)
{
	uint64_t seed = gp_seed(h);
	int i;

	pkvm_must(h->vcpu, guest_pages_fill, w->ipa, GP_PAGES, seed);
	for (i = 0; i < GP_PAGES; i++)
		w->seed[i] = seed + i;
}

static char *own_page(struct gp_window *w, int side)
{
	return side ? w->mem + GP_PAGES * GP_PAGE : w->mem - GP_PAGE;
}

/* Window 0 and 3 private, 1 shared, 2 private after the host had its share. */
void gp_make_windows(struct gp_host *h)
{
	struct gp_window *w;
	int s, i;

	for (s = 0; s < GP_NR_STATES; s++) {
		w = &h->win[s];
		w->state = s;
		w->off = (GP_FIRST + s * GP_STRIDE) * GP_PAGE;
		w->mem = h->mem + w->off;
		w->ipa = PKVM_MEM_IPA + w->off;
		for (i = 0; i < 2; i++)
			gp_pattern(own_page(w, i), GP_OWN_SEED);
		for (i = 0; i < GP_PAGES; i++) {
			w->mem[i * GP_PAGE] = 1;
			w->pfn[i] = pfn_of(w->mem + i * GP_PAGE);
		}
		gp_fill(h, w);
	}
	TEST_ASSERT(!gp_share(h, &h->win[GP_SHARED]), "cannot share");
	w = &h->win[GP_AGAIN];
	TEST_ASSERT(!gp_share(h, w), "cannot share");
	for (i = 0; i < GP_PAGES; i++) {
		w->seed[i] = gp_seed(h);
		gp_pattern(w->mem + i * GP_PAGE, w->seed[i]);
	}
	TEST_ASSERT(!gp_unshare(h, w), "cannot unshare");
	/* The code that the guest comes to later costs no page more, wherever it lies. */
	TEST_ASSERT(gp_guest_has_all(h), "the guest has not what it wrote");
	pkvm_must(h->vcpu, guest_page_check, w->ipa, 0);
	pkvm_must(h->vcpu, guest_load, w->ipa);
	pkvm_must(h->vcpu, guest_hvc, PKVM_HVC_MEMINFO);
	pkvm_counters_read(&h->now);
}

/* The VM is gone when this returns; its memory is the host's. */
void gp_end_vm(struct gp_host *h)
{
	int s, i;

	pkvm_vm_close(h->vm);
	h->vcpu = NULL;
	for (s = 0; s < GP_NR_STATES; s++) {
		h->win[s].open = true;
		for (i = 0; i < GP_PAGES; i++)
			h->win[s].seed[i] = 0;
	}
}

/* Ends what is left of it. Are charge and pins where they were? */
bool gp_close(struct gp_host *h)
{
	size_t size = h->vm->mem_size;

	if (h->vcpu)
		gp_end_vm(h);
	gp_agent_stop(&h->agent);
	pkvm_vm_free(h->vm);
	munmap(h->mem, size);
	if (h->fd >= 0)
		close(h->fd);
	return pkvm_counters_back(&h->before, -1);
}

/* ---------------------------------------------------------------- what holds */

bool gp_guest_has(struct gp_host *h, struct gp_window *w)
{
	int i, stop;

	for (i = 0; i < GP_PAGES; i++) {
		stop = pkvm_call(h->vcpu, guest_page_check, w->ipa + i * GP_PAGE,
				 w->seed[i]);
		/* Work that the kernel left for this thread ends KVM_RUN, too. */
		while (stop == -EINTR)
			stop = pkvm_resume(h->vcpu);
		if (stop == PKVM_RETURNED && !h->vcpu->ret)
			continue;
		if (stop == PKVM_RETURNED)
			printf("# the guest finds %lu bad words in page %d (%s)\n",
			       h->vcpu->ret, i, gp_state_name(w->state));
		else if (stop < 0)
			printf("# the guest lost page %d (%s): KVM_RUN: %s, exit %u, gpa %#llx\n",
			       i, gp_state_name(w->state), strerror(-stop),
			       h->vcpu->run->exit_reason,
			       h->vcpu->run->memory_fault.gpa);
		else
			printf("# the guest stops at page %d (%s): %d\n", i,
			       gp_state_name(w->state), stop);
		return false;
	}
	return true;
}

bool gp_guest_has_all(struct gp_host *h)
{
	int s;

	if (!h->vcpu)
		return true;
	for (s = 0; s < GP_NR_STATES; s++)
		if (!gp_guest_has(h, &h->win[s]))
			return false;
	return true;
}

bool gp_host_has(struct gp_window *w)
{
	int i;

	for (i = 0; i < GP_PAGES; i++)
		if (!gp_page_is(w->mem + i * GP_PAGE, w->seed[i]))
			return false;
	return true;
}

int gp_mapped(struct gp_window *w)
{
	int i, mapped = 0;

	for (i = 0; i < GP_PAGES; i++)
		mapped += !!pfn_of(w->mem + i * GP_PAGE);
	return mapped;
}

bool gp_touch_fails(struct gp_window *w)
{
	static const size_t offsets[] = { 0, 8, 0x7f8, 0xff8 };
	bool right = true;
	int i, j;

	for (i = 0; i < GP_PAGES; i++) {
		for (j = 0; j < ARRAY_SIZE(offsets); j++) {
			char *p = w->mem + i * GP_PAGE + offsets[j];

			right &= pkvm_is_segv_at(pkvm_host_read(p, NULL), p);
			right &= pkvm_is_segv_at(pkvm_host_write(p, 1), p);
		}
	}
	return right;
}

bool gp_host_right(struct gp_window *w)
{
	return w->open ? gp_host_has(w) : gp_touch_fails(w);
}

bool gp_own_pages_left(struct gp_host *h)
{
	int s, i;

	for (s = 0; s < GP_NR_STATES; s++) {
		for (i = 0; i < 2; i++) {
			if (!gp_page_is(own_page(&h->win[s], i), GP_OWN_SEED)) {
				printf("# a page of the host's own beside a window (%s)\n",
				       gp_state_name(s));
				return false;
			}
		}
	}
	return true;
}

/* -------------------------------------------------------------- other tasks */

static void agent_main(struct gp_agent *a)
{
	char c;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (read(a->sock, &c, 1) == 1) {
		a->desk->ret = a->desk->fn(a->desk);
		if (write(a->sock, &c, 1) != 1)
			break;
	}
	_exit(0);
}

void gp_agent_start(struct gp_agent *a)
{
	int sv[2];

	a->desk = mmap(NULL, sizeof(*a->desk), PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	TEST_ASSERT(a->desk != MAP_FAILED, "no memory");
	TEST_ASSERT(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv),
		    "socketpair() failed");
	a->pid = fork();
	TEST_ASSERT(a->pid >= 0, "fork() failed");
	a->sock = sv[!a->pid];
	close(sv[!!a->pid]);
	if (!a->pid)
		agent_main(a);
}

/* What fn returned there; it finds its arguments on the desk. */
long gp_agent_run(struct gp_agent *a, long (*fn)(struct gp_desk *desk))
{
	char c = 0;

	a->desk->fn = fn;
	TEST_ASSERT(write(a->sock, &c, 1) == 1 && read(a->sock, &c, 1) == 1,
		    "the other process died");
	return a->desk->ret;
}

void gp_agent_stop(struct gp_agent *a)
{
	if (!a->desk)
		return;
	close(a->sock);
	/* Another that was forked later may have a copy of our end of the socket. */
	kill(a->pid, SIGKILL);
	while (waitpid(a->pid, NULL, 0) < 0 && errno == EINTR)
		;
	munmap(a->desk, sizeof(*a->desk));
	a->desk = NULL;
}

static int shadow_main(void *arg)
{
	for (;;)
		syscall(__NR_ppoll, NULL, 0, NULL, NULL, 0);
	return 0;
}

pid_t gp_shadow_start(void)
{
	static char stack[16384] __aligned(16);

	return clone(shadow_main, stack + sizeof(stack), CLONE_VM | SIGCHLD, NULL);
}

void gp_shadow_stop(pid_t pid)
{
	kill(pid, SIGKILL);
	while (waitpid(pid, NULL, __WALL) < 0 && errno == EINTR)
		;
}

/* ------------------------------------------------------------------ io_uring */

int gp_uring_open(struct gp_uring *u)
{
	struct io_uring_params p = {};

	memset(u, 0, sizeof(*u));
	u->fd = syscall(__NR_io_uring_setup, 4, &p);
	if (u->fd < 0)
		return -errno;
	u->sq_size = p.sq_off.array + p.sq_entries * sizeof(unsigned int);
	u->cq_size = p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe);
	u->sqes_size = p.sq_entries * sizeof(struct io_uring_sqe);
	u->sq = mmap(NULL, u->sq_size, PROT_READ | PROT_WRITE, MAP_SHARED, u->fd,
		     IORING_OFF_SQ_RING);
	u->cq = mmap(NULL, u->cq_size, PROT_READ | PROT_WRITE, MAP_SHARED, u->fd,
		     IORING_OFF_CQ_RING);
	u->sqes = mmap(NULL, u->sqes_size, PROT_READ | PROT_WRITE, MAP_SHARED, u->fd,
		       IORING_OFF_SQES);
	TEST_ASSERT(u->sq != MAP_FAILED && u->cq != MAP_FAILED &&
		    u->sqes != MAP_FAILED, "cannot map the rings");
	u->sq_tail = u->sq + p.sq_off.tail;
	u->sq_mask = u->sq + p.sq_off.ring_mask;
	u->sq_array = u->sq + p.sq_off.array;
	u->cq_head = u->cq + p.cq_off.head;
	u->cq_tail = u->cq + p.cq_off.tail;
	u->cq_mask = u->cq + p.cq_off.ring_mask;
	u->cqes = u->cq + p.cq_off.cqes;
	return 0;
}

void gp_uring_close(struct gp_uring *u)
{
	munmap(u->sq, u->sq_size);
	munmap(u->cq, u->cq_size);
	munmap(u->sqes, u->sqes_size);
	close(u->fd);
}

int gp_uring_register(struct gp_uring *u, void *buf, size_t len)
{
	struct iovec iov = { buf, len };

	return syscall(__NR_io_uring_register, u->fd, IORING_REGISTER_BUFFERS, &iov,
		       1) ? -errno : 0;
}

int gp_uring_unregister(struct gp_uring *u)
{
	return syscall(__NR_io_uring_register, u->fd, IORING_UNREGISTER_BUFFERS, NULL,
		       0) ? -errno : 0;
}

int gp_uring_do(struct gp_uring *u, int op, int fd, void *buf, size_t len, off_t off)
{
	unsigned int tail = *u->sq_tail, head = *u->cq_head, i = tail & *u->sq_mask;
	struct io_uring_sqe *sqe = &u->sqes[i];
	int ret;

	memset(sqe, 0, sizeof(*sqe));
	sqe->opcode = op;
	sqe->fd = fd;
	sqe->addr = (uintptr_t)buf;
	sqe->len = len;
	sqe->off = off;
	u->sq_array[i] = i;
	__atomic_store_n(u->sq_tail, tail + 1, __ATOMIC_RELEASE);
	ret = syscall(__NR_io_uring_enter, u->fd, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0);
	if (ret < 0)
		return -errno;
	TEST_ASSERT(__atomic_load_n(u->cq_tail, __ATOMIC_ACQUIRE) != head,
		    "io_uring gave no result");
	ret = u->cqes[head & *u->cq_mask].res;
	__atomic_store_n(u->cq_head, head + 1, __ATOMIC_RELEASE);
	return ret;
}

/* --------------------------------------------------------------------- disks */

static int disk_nr = -1;

const char *gp_disk_open(int *fd, size_t size)
{
	char path[64], text[32];
	int tries;

	/* zram0 is the swap of held.h: one more, made and removed here. */
	disk_nr = read_number("/sys/class/zram-control/hot_add");
	if (disk_nr < 0)
		return "no zram device can be added (CONFIG_ZRAM, root)";
	snprintf(path, sizeof(path), "/sys/block/zram%d/disksize", disk_nr);
	snprintf(text, sizeof(text), "%zu", size);
	if (!write_text(path, text))
		return "a zram device takes no size";
	snprintf(path, sizeof(path), "/dev/zram%d", disk_nr);
	for (tries = 0; tries < 100; tries++) {
		*fd = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
		if (*fd >= 0)
			return NULL;
		usleep(1000);
	}
	return "a zram device cannot be opened";
}

void gp_disk_close(int fd)
{
	char text[16];
	int tries;

	close(fd);
	snprintf(text, sizeof(text), "%d", disk_nr);
	for (tries = 0; tries < 100; tries++) {
		if (write_text("/sys/class/zram-control/hot_remove", text))
			break;
		usleep(1000);
	}
}

/* ----------------------------------------------------------------- slow file */

static void slow_answer(struct gp_slow_file *f, uint64_t unique, int error,
			const void *data, size_t len)
{
	struct {
		struct fuse_out_header head;
		char data[4096];
	} out = {
		.head = {
			.len = sizeof(out.head) + len,
			.error = error,
			.unique = unique,
		},
	};

	if (len)
		memcpy(out.data, data, len);
	if (write(f->dev, &out, out.head.len) < 0)
		perror("# the slow file's answer");
}

static void slow_attr(struct fuse_attr *attr, uint64_t node)
{
	memset(attr, 0, sizeof(*attr));
	attr->ino = node;
	attr->mode = node == FUSE_ROOT_ID ? S_IFDIR | 0755 : S_IFREG | 0600;
	attr->nlink = 1;
	attr->size = node == FUSE_ROOT_ID ? 0 : HUGE_SIZE;
	attr->blksize = GP_PAGE;
}

/* The server of a file system with one file, which answers no read by itself. */
static void *slow_server(void *data)
{
	struct gp_slow_file *f = data;
	struct fuse_in_header *in;
	static char msg[65536];
	ssize_t len;

	in = (void *)msg;
	for (;;) {
		struct fuse_init_out init = {
			.major = FUSE_KERNEL_VERSION,
			.minor = FUSE_KERNEL_MINOR_VERSION,
			.max_readahead = 0,
			.max_write = GP_PAGE,
		};
		struct fuse_entry_out entry = { .nodeid = 2, .generation = 1 };
		struct fuse_attr_out attr = {};
		struct fuse_open_out opened = { .open_flags = FOPEN_DIRECT_IO };

		len = read(f->dev, msg, sizeof(msg));
		if (len < 0 && (errno == EINTR || errno == ENOENT))
			continue;
		if (len < (ssize_t)sizeof(*in))
			return NULL;
		switch (in->opcode) {
		case FUSE_INIT:
			slow_answer(f, in->unique, 0, &init, sizeof(init));
			break;
		case FUSE_LOOKUP:
			slow_attr(&entry.attr, 2);
			slow_answer(f, in->unique, 0, &entry, sizeof(entry));
			break;
		case FUSE_GETATTR:
			slow_attr(&attr.attr, in->nodeid);
			slow_answer(f, in->unique, 0, &attr, sizeof(attr));
			break;
		case FUSE_OPEN:
			slow_answer(f, in->unique, 0, &opened, sizeof(opened));
			break;
		case FUSE_READ:
			f->len = ((struct fuse_read_in *)(in + 1))->size;
			f->unique = in->unique;
			__atomic_store_n(&f->pending, true, __ATOMIC_RELEASE);
			break;
		case FUSE_FORGET:
		case FUSE_BATCH_FORGET:
		case FUSE_INTERRUPT:
			break;
		case FUSE_FLUSH:
		case FUSE_RELEASE:
			slow_answer(f, in->unique, 0, NULL, 0);
			break;
		default:
			slow_answer(f, in->unique, -EOPNOTSUPP, NULL, 0);
			break;
		}
	}
}

const char *gp_slow_open(struct gp_slow_file *f)
{
	char opts[128], path[64];

	memset(f, 0, sizeof(*f));
	f->dev = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (f->dev < 0)
		return "no /dev/fuse (CONFIG_FUSE_FS)";
	snprintf(f->dir, sizeof(f->dir), "/tmp/slowXXXXXX");
	TEST_ASSERT(mkdtemp(f->dir), "mkdtemp() failed");
	snprintf(opts, sizeof(opts), "fd=%d,rootmode=40755,user_id=0,group_id=0",
		 f->dev);
	if (mount("slow", f->dir, "fuse", MS_NOSUID | MS_NODEV, opts)) {
		rmdir(f->dir);
		close(f->dev);
		return "cannot mount a fuse file system (root)";
	}
	TEST_ASSERT(!pthread_create(&f->server, NULL, slow_server, f), "no thread");
	snprintf(path, sizeof(path), "%s/file", f->dir);
	f->fd = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
	TEST_ASSERT(f->fd >= 0, "cannot open the slow file");
	return NULL;
}

static void *slow_reader(void *data)
{
	struct gp_slow_file *f = data;

	f->ret = pread(f->fd, f->buf, f->len, 0);
	if (f->ret < 0)
		f->ret = -errno;
	return NULL;
}

/* Has somebody asked for what is in the file? */
bool gp_slow_wait(struct gp_slow_file *f)
{
	int tries;

	for (tries = 0; tries < 60000; tries++) {
		if (__atomic_load_n(&f->pending, __ATOMIC_ACQUIRE))
			return true;
		usleep(1000);
	}
	return false;
}

/* True when the pages of buf are in a request that is on its way. */
bool gp_slow_read(struct gp_slow_file *f, void *buf, size_t len)
{
	f->buf = buf;
	f->len = len;
	f->pending = false;
	TEST_ASSERT(!pthread_create(&f->reader, NULL, slow_reader, f), "no thread");
	return gp_slow_wait(f);
}

/* Let the request end, with what the file is said to hold, whoever waits for it. */
void gp_slow_answer(struct gp_slow_file *f)
{
	static char text[4096];

	memset(text, 0x5a, sizeof(text));
	slow_answer(f, f->unique, 0, text, min_t(size_t, f->len, sizeof(text)));
}

void gp_slow_release(struct gp_slow_file *f)
{
	gp_slow_answer(f);
	pthread_join(f->reader, NULL);
}

void gp_slow_close(struct gp_slow_file *f)
{
	close(f->fd);
	umount2(f->dir, MNT_DETACH);
	close(f->dev);
	/* The read of the server ends when the file system is gone. */
	pthread_join(f->server, NULL);
	rmdir(f->dir);
}
