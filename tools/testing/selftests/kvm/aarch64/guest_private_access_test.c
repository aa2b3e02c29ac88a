// SPDX-License-Identifier: GPL-2.0-only
/*
 * The contents of guest-private pages (I3, I5, I6): one case for each way in which
 * the host gets at what is in memory, by its own mapping, by a lookup of the page,
 * by the file or by the machine. Each is tried on private memory, on memory that the
 * guest shares, on memory that was shared before, and on what is left of the VM.
 *
 * What is not the host's fails with the errno of that way and nothing else happens:
 * the guest has every word, and no charge and no pin moved.
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <asm/kvm.h>
#include <linux/futex.h>
#include <linux/stddef.h>
#include <linux/fs.h>
#include <linux/io_uring.h>
#include <linux/loop.h>
#include <linux/perf_event.h>
#include <linux/sizes.h>
#include <linux/udmabuf.h>
#include <linux/vhost.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/ptrace.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "kselftest_harness.h"
#include "kvm_util.h"
#include "processor.h"
#include "held.h"
#include "hostile.h"
#include "guest_private.h"
#include "../../../../../lib/test_hmm_uapi.h"
#include "../../../../../mm/gup_test.h"

#define TIMEOUT		120
#define GUP_TEST	"/sys/kernel/debug/gup_test"
#define MIRROR		"/dev/hmm_dmirror0"
#define FOLL_WRITE	0x01
#define FOLL_FORCE	0x08
#define FOLL_HONOR_NUMA	0x1000
#define PM_SWAP		BIT_ULL(62)
#define PM_PRESENT	BIT_ULL(63)

FIXTURE(path) {
	struct gp_host host;
};

FIXTURE_VARIANT(path) {
	enum gp_backing backing;
};

FIXTURE_VARIANT_ADD(path, memfd) { GP_MEMFD };
FIXTURE_VARIANT_ADD(path, anon) { GP_ANON };

FIXTURE_SETUP(path)
{
	const char *why = pkvm_unavailable();

	if (why)
		SKIP(return, "%s", why);
	gp_open(&self->host, variant->backing, 1, 0);
	gp_make_windows(&self->host);
}

FIXTURE_TEARDOWN(path)
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

typedef void way_fn(struct __test_metadata *_metadata, struct gp_host *h,
		     struct gp_window *w);

static void walk(struct __test_metadata *_metadata, struct gp_host *h, way_fn *way)
{
	struct gp_window *w;
	bool mapped;
	int s;

	for (s = 0; s < GP_GONE && !GIVEN_UP; s++) {
		w = &h->win[s];
		mapped = !!gp_mapped(w);
		way(_metadata, h, w);
		IN_STATE(gp_guest_has_all(h), w);
		IN_STATE(pkvm_counters_back(&h->now, -1), w);
		if (w->open) {
			IN_STATE(gp_host_has(w), w);
			continue;
		}
		/* That it is not mapped to begin with is another case. */
		IN_STATE(mapped || !gp_mapped(w), w);
		IN_STATE(gp_touch_fails(w), w);
	}
	if (GIVEN_UP)
		return;
	EXPECT_TRUE(gp_own_pages_left(h));

	gp_end_vm(h);
	for (s = 0; s < GP_NR_STATES; s++) {
		w = &h->win[s];
		IN_STATE(gp_host_has(w), w);
	}
	w = &h->win[GP_GONE];
	way(_metadata, h, w);
	IN_STATE(gp_host_has(w), w);
}

/* One path: w is the window to try it on. */
#define WAY(fixture, name)						\
static void way_##name(struct __test_metadata *_metadata,		\
		       struct gp_host *h, struct gp_window *w);		\
TEST_F_TIMEOUT(fixture, name, TIMEOUT)					\
{									\
	walk(_metadata, &self->host, way_##name);			\
}									\
static void way_##name(struct __test_metadata *_metadata,		\
		       struct gp_host *h, struct gp_window *w)

#define PATH(name)	WAY(path, name)
/* For what needs a file. */
#define FILE_PATH(name)	WAY(file, name)

static char buf[SZ_16K] __aligned(SZ_4K);

/* ------------------------------------------------- by the mapping of the VMM */

PATH(load_store)
{
	struct pkvm_fault f;

	if (!w->open) {
		IN_STATE(gp_touch_fails(w), w);
		/* From the last bytes of the page before. */
		f = pkvm_host_read(w->mem - 3, NULL);
		EXPECT_EQ(f.sig, SIGSEGV);
		EXPECT_EQ(f.code, SEGV_ACCERR);
		EXPECT_EQ(f.addr & ~(GP_PAGE - 1), (uintptr_t)w->mem);
		return;
	}
	IN_STATE(gp_host_has(w), w);
	w->seed[1] = gp_seed(h);
	gp_pattern(w->mem + GP_PAGE, w->seed[1]);
}

static void do_zva(void *addr, uint64_t *val)
{
	asm volatile("dc zva, %0" :: "r" (addr) : "memory");
}

static void do_cvau(void *addr, uint64_t *val)
{
	asm volatile("dc cvau, %0" :: "r" (addr) : "memory");
}

static void do_cvac(void *addr, uint64_t *val)
{
	asm volatile("dc cvac, %0" :: "r" (addr) : "memory");
}

static void do_civac(void *addr, uint64_t *val)
{
	asm volatile("dc civac, %0" :: "r" (addr) : "memory");
}

static void do_ivau(void *addr, uint64_t *val)
{
	asm volatile("ic ivau, %0" :: "r" (addr) : "memory");
}

/* A program may clean what it may read. An emulator may make nothing of that. */
PATH(cache_maintenance)
{
	static void (* const ops[])(void *addr, uint64_t *val) = {
		do_cvau, do_cvac, do_civac, do_ivau,
	};
	struct pkvm_fault f;
	int i, j;

	for (i = 0; i < GP_PAGES; i++) {
		char *p = w->mem + i * GP_PAGE + 256;

		for (j = 0; j < ARRAY_SIZE(ops); j++) {
			f = pkvm_host_do(ops[j], p);
			IN_STATE(!f.sig || (!w->open && pkvm_is_segv_at(f, p)), w);
		}
		/* A store. */
		f = pkvm_host_do(do_zva, p);
		IN_STATE(w->open ? !f.sig : pkvm_is_segv_at(f, p), w);
		if (w->open)
			gp_pattern(w->mem + i * GP_PAGE, w->seed[i]);
	}
}

PATH(buffer_of_read)
{
	int fds[2];

	gp_pattern(buf, gp_seed(h));
	ASSERT_EQ(pipe(fds), 0);
	ASSERT_EQ(write(fds[1], buf, GP_PAGE), GP_PAGE);
	if (w->open) {
		EXPECT_EQ(read(fds[0], w->mem, GP_PAGE), GP_PAGE);
		w->seed[0] = h->next_seed;
	} else {
		WANT_ERRNO(read(fds[0], w->mem, GP_PAGE), EFAULT, w);
		WANT_ERRNO(syscall(__NR_getrandom, w->mem + 8, 16, 0), EFAULT, w);
		WANT_ERRNO(syscall(__NR_uname, w->mem), EFAULT, w);
	}
	close(fds[0]);
	close(fds[1]);
}

PATH(buffer_of_write)
{
	int fds[2], sv[2];

	ASSERT_EQ(pipe(fds), 0);
	ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, sv), 0);
	if (w->open) {
		EXPECT_EQ(write(fds[1], w->mem, GP_PAGE), GP_PAGE);
		EXPECT_EQ(read(fds[0], buf, GP_PAGE), GP_PAGE);
		EXPECT_TRUE(gp_page_is(buf, w->seed[0]));
	} else {
		WANT_ERRNO(write(fds[1], w->mem, GP_PAGE), EFAULT, w);
		WANT_ERRNO(send(sv[0], w->mem, 64, MSG_DONTWAIT), EFAULT, w);
		WANT_ERRNO(open(w->mem, O_RDONLY), EFAULT, w);
	}
	close(fds[0]);
	close(fds[1]);
	close(sv[0]);
	close(sv[1]);
}

PATH(io_uring_plain)
{
	struct gp_uring u;
	int ret, fds[2];

	ret = gp_uring_open(&u);
	if (ret)
		SKIP(return, "no io_uring: %d", ret);
	ASSERT_EQ(pipe(fds), 0);
	ret = gp_uring_do(&u, IORING_OP_WRITE, fds[1], w->mem, GP_PAGE, 0);
	EXPECT_EQ(ret, w->open ? (int)GP_PAGE : -EFAULT);
	if (w->open) {
		EXPECT_EQ(read(fds[0], buf, GP_PAGE), GP_PAGE);
		EXPECT_TRUE(gp_page_is(buf, w->seed[0]));
	}
	gp_pattern(buf, gp_seed(h));
	ASSERT_EQ(write(fds[1], buf, GP_PAGE), GP_PAGE);
	ret = gp_uring_do(&u, IORING_OP_READ, fds[0], w->mem, GP_PAGE, 0);
	EXPECT_EQ(ret, w->open ? (int)GP_PAGE : -EFAULT);
	if (w->open)
		w->seed[0] = h->next_seed;
	close(fds[0]);
	close(fds[1]);
	gp_uring_close(&u);
}

static long futex(void *addr, int op, uint32_t val)
{
	struct timespec ts = { .tv_nsec = 1000000 };

	return syscall(__NR_futex, addr, op, val, &ts, NULL, 0);
}

PATH(futex_value)
{
	uint32_t val = w->open ? *(uint32_t *)w->mem : 0;

	if (w->open) {
		WANT_ERRNO(futex(w->mem, FUTEX_WAIT_PRIVATE, val), ETIMEDOUT, w);
		WANT_ERRNO(futex(w->mem, FUTEX_WAIT_PRIVATE, val + 1), EAGAIN, w);
	} else {
		WANT_ERRNO(futex(w->mem, FUTEX_WAIT_PRIVATE, val), EFAULT, w);
		WANT_ERRNO(syscall(__NR_futex, buf, FUTEX_WAKE_OP_PRIVATE, 1, 1, w->mem,
				   FUTEX_OP(FUTEX_OP_ADD, 1, FUTEX_OP_CMP_EQ, 0)),
			   EFAULT, w);
		WANT_ERRNO(futex(w->mem + 4, FUTEX_LOCK_PI_PRIVATE, 0), EFAULT, w);
	}
}

/* A shared futex is found by its page. */
PATH(futex_key)
{
	if (w->open) {
		EXPECT_EQ(futex(w->mem, FUTEX_WAKE, 1), 0);
		WANT_ERRNO(futex(w->mem, FUTEX_WAIT, *(uint32_t *)w->mem + 1), EAGAIN,
			   w);
	} else {
		WANT_ERRNO(futex(w->mem, FUTEX_WAIT, 0), EFAULT, w);
		WANT_ERRNO(futex(w->mem, FUTEX_WAKE, 1), EFAULT, w);
	}
}

/* ------------------------------------------------------ by a lookup of the page */

PATH(process_vm_readv)
{
	struct iovec local = { buf, GP_PAGE }, remote = { w->mem, GP_PAGE };
	long ret;

	memset(buf, 0, sizeof(buf));
	errno = 0;
	ret = process_vm_readv(getpid(), &local, 1, &remote, 1, 0);
	if (w->open) {
		EXPECT_EQ(ret, GP_PAGE);
		EXPECT_TRUE(gp_page_is(buf, w->seed[0]));
	} else {
		EXPECT_TRUE(ret == -1 && errno == EFAULT) {
			TH_LOG("state %s: returned %ld, errno %d",
			       gp_state_name(w->state), ret, errno);
		}
		EXPECT_EQ(gp_secrets(h, buf, GP_PAGE), 0);
	}
}

PATH(process_vm_writev)
{
	struct iovec local = { buf, GP_PAGE }, remote = { w->mem, GP_PAGE };

	gp_pattern(buf, gp_seed(h));
	if (w->open) {
		EXPECT_EQ(process_vm_writev(getpid(), &local, 1, &remote, 1, 0),
			  GP_PAGE);
		w->seed[0] = h->next_seed;
	} else {
		WANT_ERRNO(process_vm_writev(getpid(), &local, 1, &remote, 1, 0), EFAULT,
			   w);
	}
}

static long agent_readv(struct gp_desk *d)
{
	struct iovec local = { d->buf, GP_PAGE };
	struct iovec remote = { (void *)d->arg[0], GP_PAGE };
	long ret = process_vm_readv(getppid(), &local, 1, &remote, 1, 0);

	return ret < 0 ? -errno : ret;
}

static long agent_proc_mem(struct gp_desk *d)
{
	char path[32];
	long ret;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/mem", getppid());
	fd = open(path, O_RDWR);
	if (fd < 0)
		return -errno;
	ret = pread(fd, d->buf, GP_PAGE, d->arg[0]);
	if (ret < 0)
		ret = -errno;
	close(fd);
	return ret;
}

/* By another process, whose lookup is a remote one. */
PATH(another_process)
{
	struct gp_agent *a = &h->agent;
	long ret;

	memset(a->desk->buf, 0, GP_PAGE);
	a->desk->arg[0] = (uintptr_t)w->mem;
	ret = gp_agent_run(a, agent_readv);
	EXPECT_EQ(ret, w->open ? (long)GP_PAGE : -EFAULT);
	ret = gp_agent_run(a, agent_proc_mem);
	EXPECT_EQ(ret, w->open ? (long)GP_PAGE : -EIO);
	EXPECT_EQ(gp_secrets(h, a->desk->buf, GP_PAGE), 0);
	IN_STATE(!w->open || gp_page_is(a->desk->buf, w->seed[0]), w);
}

PATH(proc_mem_read)
{
	int fd = open("/proc/self/mem", O_RDONLY);

	ASSERT_GE(fd, 0);
	memset(buf, 0, sizeof(buf));
	if (w->open) {
		EXPECT_EQ(pread(fd, buf, GP_PAGE, (uintptr_t)w->mem), GP_PAGE);
		EXPECT_TRUE(gp_page_is(buf, w->seed[0]));
	} else {
		WANT_ERRNO(pread(fd, buf, GP_PAGE, (uintptr_t)w->mem), EIO, w);
		EXPECT_EQ(gp_secrets(h, buf, GP_PAGE), 0);
		/* From a page of the host's own: what is before the first. */
		EXPECT_EQ(pread(fd, buf, 64, (uintptr_t)w->mem - 32), 32);
	}
	close(fd);
}

PATH(proc_mem_write)
{
	int fd = open("/proc/self/mem", O_RDWR);

	ASSERT_GE(fd, 0);
	gp_pattern(buf, gp_seed(h));
	if (w->open) {
		EXPECT_EQ(pwrite(fd, buf, GP_PAGE, (uintptr_t)w->mem), GP_PAGE);
		w->seed[0] = h->next_seed;
	} else {
		WANT_ERRNO(pwrite(fd, buf, GP_PAGE, (uintptr_t)w->mem), EIO, w);
	}
	close(fd);
}

PATH(ptrace_peek_poke)
{
	pid_t pid = gp_shadow_start();
	uint64_t word, first;
	int status;

	ASSERT_GT(pid, 0);
	ASSERT_EQ(ptrace(PTRACE_ATTACH, pid, NULL, NULL), 0);
	ASSERT_EQ(waitpid(pid, &status, __WALL), pid);
	errno = 0;
	word = ptrace(PTRACE_PEEKDATA, pid, w->mem, NULL);
	if (w->open) {
		first = *(uint64_t *)w->mem;
		EXPECT_EQ(errno, 0);
		EXPECT_EQ(word, first);
		EXPECT_EQ(ptrace(PTRACE_POKEDATA, pid, w->mem, ~first), 0);
		EXPECT_EQ(*(uint64_t *)w->mem, ~first);
		EXPECT_EQ(ptrace(PTRACE_POKEDATA, pid, w->mem, first), 0);
	} else {
		EXPECT_EQ(errno, EIO);
		WANT_ERRNO(ptrace(PTRACE_POKEDATA, pid, w->mem, 0x123), EIO, w);
	}
	gp_shadow_stop(pid);
}

PATH(vmsplice)
{
	struct iovec iov = { w->mem, GP_PAGE };
	int fds[2];

	ASSERT_EQ(pipe(fds), 0);
	if (w->open) {
		EXPECT_EQ(vmsplice(fds[1], &iov, 1, 0), GP_PAGE);
		EXPECT_EQ(read(fds[0], buf, GP_PAGE), GP_PAGE);
		EXPECT_TRUE(gp_page_is(buf, w->seed[0]));
	} else {
		WANT_ERRNO(vmsplice(fds[1], &iov, 1, SPLICE_F_NONBLOCK), EFAULT, w);
	}
	close(fds[0]);
	close(fds[1]);
}

PATH(direct_io_out)
{
	const char *why;
	int fd = -1;

	why = gp_disk_open(&fd, SZ_1M);
	if (why)
		SKIP(return, "%s", why);
	if (w->open) {
		EXPECT_EQ(pwrite(fd, w->mem, GP_PAGE, 0), GP_PAGE);
		EXPECT_EQ(pread(fd, buf, GP_PAGE, 0), GP_PAGE);
		EXPECT_TRUE(gp_page_is(buf, w->seed[0]));
	} else {
		WANT_ERRNO(pwrite(fd, w->mem, GP_PAGE, 0), EFAULT, w);
		WANT_ERRNO(pwrite(fd, w->mem, GP_PAGES * GP_PAGE, 0), EFAULT, w);
	}
	gp_disk_close(fd);
}

PATH(direct_io_in)
{
	const char *why;
	int fd = -1;

	why = gp_disk_open(&fd, SZ_1M);
	if (why)
		SKIP(return, "%s", why);
	gp_pattern(buf, gp_seed(h));
	EXPECT_EQ(pwrite(fd, buf, GP_PAGE, 0), GP_PAGE);
	if (w->open) {
		EXPECT_EQ(pread(fd, w->mem, GP_PAGE, 0), GP_PAGE);
		w->seed[0] = h->next_seed;
	} else {
		WANT_ERRNO(pread(fd, w->mem, GP_PAGE, 0), EFAULT, w);
	}
	gp_disk_close(fd);
}

PATH(io_uring_registered)
{
	struct gp_uring u;
	int ret;

	ret = gp_uring_open(&u);
	if (ret)
		SKIP(return, "no io_uring: %d", ret);
	ret = gp_uring_register(&u, w->mem, GP_PAGE);
	EXPECT_EQ(ret, w->open ? 0 : -EFAULT);
	EXPECT_EQ(gp_uring_unregister(&u), w->open ? 0 : -ENXIO);
	gp_uring_close(&u);
}

/* Every kind of lookup, with every flag that might talk it into it. */
PATH(lookup_flags)
{
	static const unsigned long cmds[] = {
		GUP_BASIC_TEST, GUP_FAST_BENCHMARK, PIN_BASIC_TEST,
		PIN_FAST_BENCHMARK, PIN_LONGTERM_BENCHMARK,
	};
	static const unsigned int flags[] = {
		0, FOLL_WRITE, FOLL_FORCE, FOLL_WRITE | FOLL_FORCE, FOLL_HONOR_NUMA,
		FOLL_HONOR_NUMA | FOLL_WRITE,
	};
	int i, j, fd = open(GUP_TEST, O_RDWR);

	if (fd < 0)
		SKIP(return, "no CONFIG_GUP_TEST or debugfs");
	for (i = 0; i < ARRAY_SIZE(cmds); i++) {
		for (j = 0; j < ARRAY_SIZE(flags); j++) {
			struct gup_test gup = {
				.addr = (uintptr_t)w->mem,
				.size = GP_PAGES * GP_PAGE,
				.nr_pages_per_call = 1,
				.gup_flags = flags[j],
			};

			EXPECT_EQ(ioctl(fd, cmds[i], &gup), 0);
			EXPECT_EQ(gup.size, w->open ? GP_PAGES * GP_PAGE : 0) {
				TH_LOG("state %s, command %d, flags %#x",
				       gp_state_name(w->state), i, flags[j]);
			}
		}
	}
	close(fd);
}

/* What it ends with, and that it does not try for ever. */
PATH(lookup_is_efault)
{
	struct pin_longterm_test args = {
		.addr = (uintptr_t)w->mem, .size = GP_PAGE,
	};
	int flags, fd = open(GUP_TEST, O_RDWR);

	if (fd < 0)
		SKIP(return, "no CONFIG_GUP_TEST or debugfs");
	for (flags = 0; flags < 4; flags++) {
		args.flags = flags;
		if (w->open) {
			EXPECT_EQ(ioctl(fd, PIN_LONGTERM_TEST_START, &args), 0);
			EXPECT_EQ(ioctl(fd, PIN_LONGTERM_TEST_STOP), 0);
		} else {
			WANT_ERRNO(ioctl(fd, PIN_LONGTERM_TEST_START, &args), EFAULT, w);
		}
	}
	close(fd);
}

FILE_PATH(udmabuf)
{
	struct udmabuf_create create = {
		.memfd = h->fd, .offset = w->off, .size = GP_PAGE,
	};
	int dev, ret;

	dev = open("/dev/udmabuf", O_RDWR);
	if (dev < 0)
		SKIP(return, "no /dev/udmabuf");
	ASSERT_EQ(fcntl(h->fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
	if (w->open) {
		char *p;

		ret = ioctl(dev, UDMABUF_CREATE, &create);
		ASSERT_GE(ret, 0);
		p = mmap(NULL, GP_PAGE, PROT_READ, MAP_SHARED, ret, 0);
		ASSERT_NE(p, MAP_FAILED);
		EXPECT_TRUE(gp_page_is(p, w->seed[0]));
		munmap(p, GP_PAGE);
		close(ret);
	} else {
		/* What memfd_pin_folios() says of any page that it cannot get. */
		WANT_ERRNO(ioctl(dev, UDMABUF_CREATE, &create), EINVAL, w);
		/* From a page of the host's own, which is let go again: see the pins. */
		create.offset -= GP_PAGE;
		create.size = 2 * GP_PAGE;
		WANT_ERRNO(ioctl(dev, UDMABUF_CREATE, &create), EINVAL, w);
		if (!held_setup()) {
			IN_STATE(!held_pages(w->mem - GP_PAGE, GP_PAGE), w);
			held_cleanup();
		}
	}
	close(dev);
}

/* A device in the kernel whose two rings are in the first pages of a window. */
static int vhost_open(struct __test_metadata *_metadata, struct gp_host *h,
		      struct gp_window *w, int kick, int err)
{
	struct {
		struct vhost_memory mem;
		struct vhost_memory_region region;
	} table = {
		.mem = { .nregions = 1 },
		.region = {
			.guest_phys_addr = PKVM_MEM_IPA,
			.memory_size = h->vm->mem_size,
			.userspace_addr = (uintptr_t)h->mem,
		},
	};
	int i, fd = open("/dev/vhost-vsock", O_RDWR);
	uint64_t cid = 42, features = 0;

	if (fd < 0)
		return fd;
	EXPECT_EQ(ioctl(fd, VHOST_SET_OWNER), 0);
	EXPECT_EQ(ioctl(fd, VHOST_SET_FEATURES, &features), 0);
	EXPECT_EQ(ioctl(fd, VHOST_SET_MEM_TABLE, &table), 0);
	for (i = 0; i < 2; i++) {
		struct vhost_vring_state num = { i, 8 }, base = { i, 0 };
		struct vhost_vring_file kicks = { i, kick }, errs = { i, err };
		struct vhost_vring_addr addr = {
			.index = i,
			.desc_user_addr = (uintptr_t)w->mem + i * GP_PAGE,
			.avail_user_addr = (uintptr_t)w->mem + i * GP_PAGE + 1024,
			.used_user_addr = (uintptr_t)w->mem + i * GP_PAGE + 2048,
		};

		EXPECT_EQ(ioctl(fd, VHOST_SET_VRING_NUM, &num), 0);
		EXPECT_EQ(ioctl(fd, VHOST_SET_VRING_BASE, &base), 0);
		EXPECT_EQ(ioctl(fd, VHOST_SET_VRING_ADDR, &addr), 0);
		EXPECT_EQ(ioctl(fd, VHOST_SET_VRING_KICK, &kicks), 0);
		EXPECT_EQ(ioctl(fd, VHOST_SET_VRING_ERR, &errs), 0);
	}
	EXPECT_EQ(ioctl(fd, VHOST_VSOCK_SET_GUEST_CID, &cid), 0);
	return fd;
}

/* The rings of a device in the kernel. */
PATH(vhost)
{
	int run = 1, fd = vhost_open(_metadata, h, w, -1, -1);

	if (fd < 0)
		SKIP(return, "no /dev/vhost-vsock");
	if (w->open) {
		memset(w->mem, 0, 2 * GP_PAGE);
		w->seed[0] = 0;
		w->seed[1] = 0;
		EXPECT_EQ(ioctl(fd, VHOST_VSOCK_SET_RUNNING, &run), 0);
		run = 0;
		EXPECT_EQ(ioctl(fd, VHOST_VSOCK_SET_RUNNING, &run), 0);
		/* It wrote the flags of its used rings. */
		memset(w->mem, 0, 2 * GP_PAGE);
	} else {
		WANT_ERRNO(ioctl(fd, VHOST_VSOCK_SET_RUNNING, &run), EFAULT, w);
	}
	close(fd);
}

/*
 * A device that runs reads its rings by the address space of the VMM and holds no
 * page: the guest may have them back at any time, and the device stops there.
 */
TEST_F_TIMEOUT(path, vhost_unshared, TIMEOUT)
{
	struct gp_host *h = &self->host;
	struct gp_window *w = &h->win[GP_SHARED];
	int fd, kick = eventfd(0, EFD_NONBLOCK), err = eventfd(0, EFD_NONBLOCK), run = 1;
	struct pollfd told = { .fd = err, .events = POLLIN };
	struct vring_avail *avail;
	uint64_t one = 1;

	ASSERT_GE(kick, 0);
	ASSERT_GE(err, 0);
	fd = vhost_open(_metadata, h, w, kick, err);
	if (fd < 0)
		SKIP(return, "no /dev/vhost-vsock");
	memset(w->mem, 0, 2 * GP_PAGE);
	ASSERT_EQ(ioctl(fd, VHOST_VSOCK_SET_RUNNING, &run), 0);
	/* It works: a request without a buffer is an error that it tells of. */
	avail = (void *)w->mem + GP_PAGE + 1024;
	avail->ring[0] = 100;
	__atomic_store_n(&avail->idx, 1, __ATOMIC_RELEASE);
	ASSERT_EQ(write(kick, &one, 8), 8);
	EXPECT_EQ(poll(&told, 1, 10000), 1);
	EXPECT_EQ(read(err, &one, 8), 8);

	EXPECT_EQ(gp_unshare(h, w), 0);
	gp_fill(h, w);
	one = 1;
	ASSERT_EQ(write(kick, &one, 8), 8);
	EXPECT_EQ(poll(&told, 1, 10000), 1);
	EXPECT_TRUE(gp_guest_has_all(h));
	EXPECT_TRUE(gp_touch_fails(w));
	run = 0;
	/* The backend goes, whatever its rings are now. */
	ioctl(fd, VHOST_VSOCK_SET_RUNNING, &run);
	close(fd);
	close(kick);
	close(err);
	EXPECT_TRUE(gp_guest_has_all(h));
	EXPECT_TRUE(pkvm_counters_back(&h->now, -1));
}

#define UPROBE		"/sys/bus/event_source/devices/uprobe/type"

/* A probe of this process in a file, until what is returned is closed. */
static int probe_open(int file, off_t off)
{
	struct perf_event_attr attr = {
		.size = sizeof(attr), .type = read_number(UPROBE), .config2 = off,
	};
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
	attr.config1 = (uintptr_t)path;
	return syscall(__NR_perf_event_open, &attr, 0, -1, -1, 0);
}

/* A probe in a file is written into the page, as a copy of it. */
FILE_PATH(uprobe)
{
	uint32_t nop = 0xd503201f;
	char *p;
	int fd;

	if (access(UPROBE, R_OK))
		SKIP(return, "no CONFIG_UPROBE_EVENTS");
	if (w->open) {
		WRITE_ONCE(*(uint32_t *)w->mem, nop);
		__builtin___clear_cache(w->mem, w->mem + 4);
	}
	p = mmap(NULL, GP_PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE, h->fd, w->off);
	ASSERT_NE(p, MAP_FAILED);
	fd = probe_open(h->fd, w->off);
	if (w->open) {
		EXPECT_GE(fd, 0) {
			TH_LOG("errno %d", errno);
		}
		if (fd >= 0)
			close(fd);
		gp_pattern(w->mem, w->seed[0]);
	} else {
		/* Refused; or armed where no page is, and then nothing is hit. */
		if (fd >= 0)
			close(fd);
		EXPECT_TRUE(pkvm_is_segv_at(pkvm_host_read(p, NULL), p));
	}
	munmap(p, GP_PAGE);
}

/* A probe that goes compares what it had copied with what is in the file by then. */
TEST_F_TIMEOUT(file, uprobe_outlives_share, TIMEOUT)
{
	struct gp_host *h = &self->host;
	struct gp_window *w = &h->win[GP_SHARED];
	uint32_t nop = 0xd503201f;
	char *p;
	int fd;

	if (access(UPROBE, R_OK))
		SKIP(return, "no CONFIG_UPROBE_EVENTS");
	WRITE_ONCE(*(uint32_t *)w->mem, nop);
	__builtin___clear_cache(w->mem, w->mem + 4);
	p = mmap(NULL, GP_PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE, h->fd, w->off);
	ASSERT_NE(p, MAP_FAILED);
	EXPECT_EQ(READ_ONCE(*(uint32_t *)p), nop);
	fd = probe_open(h->fd, w->off);
	ASSERT_GE(fd, 0);
	/* The mapping has a page of its own now. */
	EXPECT_NE(READ_ONCE(*(uint32_t *)p), nop);
	ASSERT_EQ(gp_unshare(h, w), 0);
	gp_fill(h, w);
	pkvm_counters_read(&h->now);

	EXPECT_EQ(close(fd), 0);
	EXPECT_EQ(READ_ONCE(*(uint32_t *)p), nop);
	EXPECT_TRUE(gp_guest_has_all(h));
	EXPECT_TRUE(gp_touch_fails(w));
	EXPECT_TRUE(pkvm_counters_back(&h->now, -1));
	munmap(p, GP_PAGE);
}

/* What perf says of a mapping: was there a build ID, and which one? */
struct mmap2_record {
	struct perf_event_header header;
	uint32_t pid, tid;
	uint64_t addr, len, pgoff;
	uint8_t id_size, unused[3];
	uint8_t id[20];
};

/* Map and unmap the start of the file; what is recorded of that, the last. */
static bool record_mapping(int event, struct perf_event_mmap_page *ring, int fd,
			   struct mmap2_record *record)
{
	char *data = (char *)ring + ring->data_offset;
	uint64_t tail = READ_ONCE(ring->data_head), head;
	char *p = mmap(NULL, GP_PAGE, PROT_READ, MAP_SHARED, fd, 0);
	size_t i;

	if (p == MAP_FAILED)
		return false;
	munmap(p, GP_PAGE);
	head = READ_ONCE(ring->data_head);
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	for (i = 0; i < sizeof(*record) && tail + i < head; i++)
		((char *)record)[i] = data[(tail + i) % ring->data_size];
	WRITE_ONCE(ring->data_tail, head);
	return i == sizeof(*record) && record->header.type == PERF_RECORD_MMAP2;
}

/* An ELF file with nothing but a build ID. */
static void put_elf(char *mem, const uint8_t *id)
{
	Elf64_Ehdr *head = (Elf64_Ehdr *)mem;
	Elf64_Phdr *phdr = (Elf64_Phdr *)(head + 1);
	Elf64_Nhdr *note = (Elf64_Nhdr *)(phdr + 1);

	memset(mem, 0, GP_PAGE);
	*head = (Elf64_Ehdr) {
		.e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB,
			     EV_CURRENT },
		.e_type = ET_DYN, .e_machine = EM_AARCH64, .e_version = EV_CURRENT,
		.e_phoff = sizeof(*head), .e_ehsize = sizeof(*head),
		.e_phentsize = sizeof(*phdr), .e_phnum = 1,
	};
	*phdr = (Elf64_Phdr) {
		.p_type = PT_NOTE, .p_offset = (char *)note - mem,
		.p_filesz = sizeof(*note) + 4 + 20, .p_align = 4,
	};
	*note = (Elf64_Nhdr) { .n_namesz = 4, .n_descsz = 20, .n_type = NT_GNU_BUILD_ID };
	memcpy(note + 1, "GNU", 4);
	memcpy((char *)(note + 1) + 4, id, 20);
}

/* The same by /proc/PID/maps, which may wait for the file: how many bytes it has. */
static long asked_for_id(char *mem, uint8_t *id)
{
	struct procmap_query query = {
		.size = sizeof(query), .query_addr = (uintptr_t)mem,
		.build_id_addr = (uintptr_t)id, .build_id_size = 20,
	};
	int ret, fd = open("/proc/self/maps", O_RDONLY);

	ret = ioctl(fd, PROCMAP_QUERY, &query) ? -errno : (int)query.build_id_size;
	close(fd);
	return ret;
}

/* perf looks for a build ID in the page cache, at the start of what is mapped. */
TEST_F_TIMEOUT(file, build_id, TIMEOUT)
{
	struct perf_event_attr attr = {
		.size = sizeof(attr), .type = PERF_TYPE_SOFTWARE,
		.config = PERF_COUNT_SW_DUMMY, .mmap = 1, .mmap2 = 1, .mmap_data = 1,
		.build_id = 1,
	};
	static const uint8_t id[20] = "the file's build ID";
	struct gp_host *h = &self->host;
	struct gp_window first = {
		.state = GP_PRIVATE, .mem = h->mem, .ipa = PKVM_MEM_IPA,
	};
	struct perf_event_mmap_page *ring;
	struct mmap2_record record;
	uint8_t asked[20] = {};
	int fd;

	fd = syscall(__NR_perf_event_open, &attr, 0, -1, -1, 0);
	if (fd < 0)
		SKIP(return, "no perf events: %s", strerror(errno));
	ring = mmap(NULL, 3 * GP_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(ring, MAP_FAILED);

	put_elf(first.mem, id);
	ASSERT_TRUE(record_mapping(fd, ring, h->fd, &record));
	EXPECT_TRUE(record.header.misc & PERF_RECORD_MISC_MMAP_BUILD_ID);
	EXPECT_EQ(memcmp(record.id, id, sizeof(id)), 0);
	EXPECT_EQ(asked_for_id(first.mem, asked), sizeof(id));
	EXPECT_EQ(memcmp(asked, id, sizeof(id)), 0);

	gp_fill(h, &first);
	pkvm_counters_read(&h->now);
	ASSERT_TRUE(record_mapping(fd, ring, h->fd, &record));
	EXPECT_FALSE(record.header.misc & PERF_RECORD_MISC_MMAP_BUILD_ID);
	EXPECT_EQ(asked_for_id(first.mem, asked), 0);
	EXPECT_TRUE(gp_guest_has(h, &first));
	EXPECT_TRUE(gp_touch_fails(&first));
	EXPECT_TRUE(pkvm_counters_back(&h->now, -1));

	ASSERT_EQ(gp_share(h, &first), 0);
	put_elf(first.mem, id);
	ASSERT_TRUE(record_mapping(fd, ring, h->fd, &record));
	EXPECT_TRUE(record.header.misc & PERF_RECORD_MISC_MMAP_BUILD_ID);
	EXPECT_EQ(asked_for_id(first.mem, asked), sizeof(id));
	EXPECT_TRUE(gp_guest_has_all(h));
	munmap(ring, 3 * GP_PAGE);
	close(fd);
}

/* ------------------------------------------------------------- by a device */

/*
 * The kernel's test of devices that have the page tables of a process for their own,
 * as graphics cards do. A file, or -1.
 */
static int mirror_open(const char **why)
{
	int fd;

	*why = hostile_load("test_hmm.ko", MIRROR);
	if (*why)
		return -1;
	fd = open(MIRROR, O_RDWR | O_CLOEXEC);
	*why = "no " MIRROR;
	return fd;
}

/* How many pages it did it to, or -errno. */
static long mirror_do(int fd, unsigned long cmd, void *mem, void *data, uint64_t nr)
{
	struct hmm_dmirror_cmd args = {
		.addr = (uintptr_t)mem, .ptr = (uintptr_t)data, .npages = nr,
	};

	return ioctl(fd, cmd, &args) ? -errno : (long)args.cpages;
}

PATH(mirror)
{
	const char *why;
	int i, fd = mirror_open(&why);

	if (fd < 0)
		SKIP(return, "%s", why);
	memset(buf, 0, sizeof(buf));
	if (w->open) {
		EXPECT_EQ(mirror_do(fd, HMM_DMIRROR_READ, w->mem, buf, GP_PAGES), GP_PAGES);
		for (i = 0; i < GP_PAGES; i++)
			IN_STATE(gp_page_is(buf + i * GP_PAGE, w->seed[i]), w);
		gp_pattern(buf, gp_seed(h));
		EXPECT_EQ(mirror_do(fd, HMM_DMIRROR_WRITE, w->mem, buf, 1), 1);
		w->seed[0] = h->next_seed;
	} else {
		EXPECT_EQ(mirror_do(fd, HMM_DMIRROR_READ, w->mem, buf, GP_PAGES), -EFAULT);
		/* From a page of the host's own. */
		EXPECT_EQ(mirror_do(fd, HMM_DMIRROR_READ, w->mem - GP_PAGE, buf, 2),
			  -EFAULT);
		EXPECT_EQ(gp_secrets(h, buf, sizeof(buf)), 0);
		EXPECT_EQ(mirror_do(fd, HMM_DMIRROR_WRITE, w->mem, buf, 1), -EFAULT);
	}
	close(fd);
}

/* The tables as they are, without a fault. */
PATH(mirror_snapshot)
{
	uint8_t prot[GP_PAGES];
	const char *why;
	int i, fd = mirror_open(&why);

	if (fd < 0)
		SKIP(return, "%s", why);
	for (i = 0; w->open && i < GP_PAGES; i++)
		EXPECT_EQ(pkvm_host_write(w->mem + i * GP_PAGE,
					  *(uint64_t *)(w->mem + i * GP_PAGE)).sig, 0);
	memset(prot, 0xaa, sizeof(prot));
	EXPECT_EQ(mirror_do(fd, HMM_DMIRROR_SNAPSHOT, w->mem, prot, GP_PAGES), GP_PAGES);
	for (i = 0; i < GP_PAGES; i++) {
		EXPECT_EQ(prot[i], w->open ? HMM_DMIRROR_PROT_WRITE :
			  HMM_DMIRROR_PROT_NONE) {
			TH_LOG("state %s, page %d", gp_state_name(w->state), i);
		}
	}
	close(fd);
}

/*
 * Into the memory of the device: nothing of what a guest has, shared or not, which is
 * pinned, and nothing of a file. What did not move the device does not find there.
 */
PATH(mirror_migrate)
{
	const char *why;
	int i, fd = mirror_open(&why);
	long ret;

	if (fd < 0)
		SKIP(return, "%s", why);
	memset(buf, 0x3c, sizeof(buf));
	ret = mirror_do(fd, HMM_DMIRROR_MIGRATE_TO_DEV, w->mem, buf, GP_PAGES);
	if (w->state == GP_GONE && !h->file) {
		EXPECT_EQ(ret, GP_PAGES);
		for (i = 0; i < GP_PAGES; i++)
			IN_STATE(gp_page_is(buf + i * GP_PAGE, 0), w);
		/* A touch brings it back. */
		IN_STATE(gp_host_has(w), w);
		IN_STATE(gp_mapped(w) == GP_PAGES, w);
	} else {
		EXPECT_EQ(ret, -ENOENT) {
			TH_LOG("state %s", gp_state_name(w->state));
		}
		EXPECT_EQ(gp_secrets(h, buf, sizeof(buf)), 0);
	}
	close(fd);
}

/* For the device alone, until a CPU touches it; of files there is no such thing. */
PATH(mirror_exclusive)
{
	const char *why;
	int i, fd = mirror_open(&why);
	long ret;

	if (fd < 0)
		SKIP(return, "%s", why);
	memset(buf, 0x3c, sizeof(buf));
	ret = mirror_do(fd, HMM_DMIRROR_EXCLUSIVE, w->mem, buf, GP_PAGES);
	if (w->open && !h->file) {
		EXPECT_EQ(ret, GP_PAGES);
		for (i = 0; i < GP_PAGES; i++)
			IN_STATE(gp_page_is(buf + i * GP_PAGE, w->seed[i]), w);
		IN_STATE(gp_mapped(w) == 0, w);
	} else {
		EXPECT_EQ(ret, -EBUSY) {
			TH_LOG("state %s", gp_state_name(w->state));
		}
		EXPECT_EQ(gp_secrets(h, buf, sizeof(buf)), 0);
	}
	close(fd);
}

/* Pages of the host's own that no window has, each with a seed. */
static struct gp_window fresh_window(struct gp_host *h)
{
	struct gp_window w = {
		.state = GP_PRIVATE, .mem = h->mem + SZ_1M, .ipa = PKVM_MEM_IPA + SZ_1M,
	};
	int i;

	for (i = 0; i < GP_PAGES; i++) {
		w.seed[i] = gp_seed(h);
		gp_pattern(w.mem + i * GP_PAGE, w.seed[i]);
	}
	return w;
}

/* What the device had found it loses when the guest gets the page, or has it back. */
TEST_F_TIMEOUT(path, mirror_is_told, TIMEOUT)
{
	struct gp_host *h = &self->host;
	struct gp_window fresh = fresh_window(h), *w = &h->win[GP_SHARED];
	const char *why;
	int i, fd = mirror_open(&why);

	if (fd < 0)
		SKIP(return, "%s", why);
	EXPECT_EQ(mirror_do(fd, HMM_DMIRROR_READ, fresh.mem, buf, GP_PAGES), GP_PAGES);
	for (i = 0; i < GP_PAGES; i++)
		EXPECT_TRUE(gp_page_is(buf + i * GP_PAGE, fresh.seed[i]));
	EXPECT_EQ(mirror_do(fd, HMM_DMIRROR_READ, w->mem, buf, GP_PAGES), GP_PAGES);
	for (i = 0; i < GP_PAGES; i++)
		EXPECT_TRUE(gp_page_is(buf + i * GP_PAGE, w->seed[i]));
	/* It holds nothing. */
	ASSERT_EQ(gp_unshare(h, w), 0);
	gp_fill(h, w);
	gp_fill(h, &fresh);
	pkvm_counters_read(&h->now);

	memset(buf, 0, sizeof(buf));
	for (i = 0; i < GP_PAGES; i++) {
		char *p = w->mem + i * GP_PAGE, *q = fresh.mem + i * GP_PAGE;

		EXPECT_EQ(mirror_do(fd, HMM_DMIRROR_READ, p, buf, 1), -EFAULT);
		EXPECT_EQ(mirror_do(fd, HMM_DMIRROR_WRITE, p, buf, 1), -EFAULT);
		EXPECT_EQ(mirror_do(fd, HMM_DMIRROR_READ, q, buf, 1), -EFAULT);
		EXPECT_EQ(mirror_do(fd, HMM_DMIRROR_WRITE, q, buf, 1), -EFAULT);
	}
	EXPECT_EQ(gp_secrets(h, buf, sizeof(buf)), 0);
	EXPECT_TRUE(gp_guest_has_all(h));
	EXPECT_TRUE(gp_guest_has(h, &fresh));
	EXPECT_TRUE(gp_touch_fails(w));
	EXPECT_TRUE(gp_touch_fails(&fresh));
	EXPECT_TRUE(pkvm_counters_back(&h->now, -1));
	/* And finds it again. */
	ASSERT_EQ(gp_share(h, w), 0);
	EXPECT_EQ(mirror_do(fd, HMM_DMIRROR_READ, w->mem, buf, GP_PAGES), GP_PAGES);
	for (i = 0; i < GP_PAGES; i++)
		EXPECT_TRUE(gp_page_is(buf + i * GP_PAGE, w->seed[i]));
	close(fd);
}

/* Pages that lie in the device when the guest comes to them come back for it. */
TEST_F_TIMEOUT(path, mirror_has_moved, TIMEOUT)
{
	struct gp_host *h = &self->host;
	struct gp_window fresh = fresh_window(h);
	const char *why;
	int fd = mirror_open(&why);

	if (fd < 0)
		SKIP(return, "%s", why);
	EXPECT_EQ(mirror_do(fd, HMM_DMIRROR_MIGRATE_TO_DEV, fresh.mem, buf, GP_PAGES),
		  h->file ? -ENOENT : (long)GP_PAGES);
	EXPECT_EQ(gp_mapped(&fresh), h->file ? GP_PAGES : 0);
	EXPECT_TRUE(gp_guest_has(h, &fresh));
	gp_fill(h, &fresh);
	EXPECT_TRUE(gp_guest_has(h, &fresh));
	EXPECT_TRUE(gp_touch_fails(&fresh));
	EXPECT_EQ(mirror_do(fd, HMM_DMIRROR_READ, fresh.mem, buf, GP_PAGES), -EFAULT);
	close(fd);
	EXPECT_TRUE(gp_guest_has_all(h));
}

/* A page that a device has for itself somebody holds: until a CPU has touched it. */
TEST_F_TIMEOUT(path, mirror_is_alone, TIMEOUT)
{
	struct gp_host *h = &self->host;
	struct gp_window *w = &h->win[GP_SHARED];
	const char *why;
	int i, fd = mirror_open(&why);

	if (fd < 0)
		SKIP(return, "%s", why);
	EXPECT_EQ(mirror_do(fd, HMM_DMIRROR_EXCLUSIVE, w->mem, buf, GP_PAGES),
		  h->file ? -EBUSY : (long)GP_PAGES);
	if (!h->file) {
		EXPECT_NE(gp_unshare(h, w), 0);
		EXPECT_TRUE(gp_guest_has_all(h));
		EXPECT_TRUE(gp_host_has(w));
	}
	for (i = 0; i < GP_PAGES; i++)
		EXPECT_EQ(pkvm_host_read(w->mem + i * GP_PAGE, NULL).sig, 0);
	EXPECT_EQ(gp_unshare(h, w), 0);
	gp_fill(h, w);
	EXPECT_TRUE(gp_guest_has_all(h));
	EXPECT_TRUE(gp_touch_fails(w));
	EXPECT_TRUE(pkvm_counters_back(&h->now, -1));
	close(fd);
}

/* ---------------------------------------------------------------- by the file */

FILE_PATH(read)
{
	memset(buf, 0, sizeof(buf));
	if (w->open) {
		EXPECT_EQ(pread(h->fd, buf, GP_PAGE, w->off), GP_PAGE);
		EXPECT_TRUE(gp_page_is(buf, w->seed[0]));
		EXPECT_EQ(lseek(h->fd, w->off + GP_PAGE, SEEK_SET), w->off + GP_PAGE);
		EXPECT_EQ(read(h->fd, buf, GP_PAGE), GP_PAGE);
		EXPECT_TRUE(gp_page_is(buf, w->seed[1]));
	} else {
		WANT_ERRNO(pread(h->fd, buf, GP_PAGE, w->off), EIO, w);
		EXPECT_EQ(lseek(h->fd, w->off + 100, SEEK_SET), w->off + 100);
		WANT_ERRNO(read(h->fd, buf, 8), EIO, w);
		/* From a page of the host's own: what is before the first. */
		EXPECT_EQ(pread(h->fd, buf, 64, w->off - 32), 32);
		EXPECT_EQ(gp_secrets(h, buf, sizeof(buf)), 0);
	}
}

FILE_PATH(write)
{
	gp_pattern(buf, gp_seed(h));
	if (w->open) {
		EXPECT_EQ(pwrite(h->fd, buf, GP_PAGE, w->off), GP_PAGE);
		w->seed[0] = h->next_seed;
	} else {
		WANT_ERRNO(pwrite(h->fd, buf, GP_PAGE, w->off), EIO, w);
		WANT_ERRNO(pwrite(h->fd, buf, 8, w->off + GP_PAGE + 8), EIO, w);
	}
}

FILE_PATH(sendfile)
{
	off_t off = w->off;
	int sv[2];

	ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, sv), 0);
	if (w->open) {
		EXPECT_EQ(sendfile(sv[0], h->fd, &off, GP_PAGE), GP_PAGE);
		EXPECT_EQ(recv(sv[1], buf, GP_PAGE, MSG_WAITALL), GP_PAGE);
		EXPECT_TRUE(gp_page_is(buf, w->seed[0]));
	} else {
		WANT_ERRNO(sendfile(sv[0], h->fd, &off, GP_PAGE), EIO, w);
	}
	close(sv[0]);
	close(sv[1]);
}

FILE_PATH(splice_tee)
{
	int fds[2], more[2];
	loff_t off = w->off;

	ASSERT_EQ(pipe(fds), 0);
	ASSERT_EQ(pipe(more), 0);
	if (w->open) {
		EXPECT_EQ(splice(h->fd, &off, fds[1], NULL, GP_PAGE, 0), GP_PAGE);
		EXPECT_EQ(tee(fds[0], more[1], GP_PAGE, 0), GP_PAGE);
		EXPECT_EQ(read(fds[0], buf, GP_PAGE), GP_PAGE);
		EXPECT_TRUE(gp_page_is(buf, w->seed[0]));
		EXPECT_EQ(read(more[0], buf, GP_PAGE), GP_PAGE);
		EXPECT_TRUE(gp_page_is(buf, w->seed[0]));
	} else {
		WANT_ERRNO(splice(h->fd, &off, fds[1], NULL, GP_PAGE, SPLICE_F_NONBLOCK),
			   EIO, w);
		WANT_ERRNO(tee(fds[0], more[1], GP_PAGE, SPLICE_F_NONBLOCK), EAGAIN, w);
		/* And into it. */
		gp_pattern(buf, gp_seed(h));
		ASSERT_EQ(write(fds[1], buf, GP_PAGE), GP_PAGE);
		off = w->off;
		WANT_ERRNO(splice(fds[0], NULL, h->fd, &off, GP_PAGE, SPLICE_F_NONBLOCK),
			   EIO, w);
	}
	close(fds[0]);
	close(fds[1]);
	close(more[0]);
	close(more[1]);
}

FILE_PATH(copy_range)
{
	int to = memfd_create("copy", 0);
	loff_t in = w->off, out = 0;

	ASSERT_GE(to, 0);
	if (w->open) {
		EXPECT_EQ(syscall(__NR_copy_file_range, h->fd, &in, to, &out, GP_PAGE, 0),
			  GP_PAGE);
		EXPECT_EQ(pread(to, buf, GP_PAGE, 0), GP_PAGE);
		EXPECT_TRUE(gp_page_is(buf, w->seed[0]));
	} else {
		WANT_ERRNO(syscall(__NR_copy_file_range, h->fd, &in, to, &out, GP_PAGE, 0),
			   EIO, w);
	}
	close(to);
}

/* By a disk that is the file. Past its cache, which may have what was there before. */
FILE_PATH(loop_device)
{
	struct loop_config config = { .fd = h->fd, .block_size = GP_PAGE };
	int disk, fd = open("/dev/loop-control", O_RDWR);
	char path[32];

	if (fd < 0)
		SKIP(return, "no CONFIG_BLK_DEV_LOOP");
	snprintf(path, sizeof(path), "/dev/loop%d", ioctl(fd, LOOP_CTL_GET_FREE));
	close(fd);
	disk = open(path, O_RDWR | O_DIRECT);
	ASSERT_GE(disk, 0);
	ASSERT_EQ(ioctl(disk, LOOP_CONFIGURE, &config), 0);
	memset(buf, 0x3c, GP_PAGE);
	if (w->open) {
		EXPECT_EQ(pread(disk, buf, GP_PAGE, w->off), GP_PAGE);
		EXPECT_TRUE(gp_page_is(buf, w->seed[0]));
		gp_pattern(buf, gp_seed(h));
		EXPECT_EQ(pwrite(disk, buf, GP_PAGE, w->off), GP_PAGE);
		w->seed[0] = h->next_seed;
	} else {
		WANT_ERRNO(pread(disk, buf, GP_PAGE, w->off), EIO, w);
		EXPECT_EQ(gp_secrets(h, buf, GP_PAGE), 0);
		WANT_ERRNO(pwrite(disk, buf, GP_PAGE, w->off), EIO, w);
	}
	EXPECT_EQ(ioctl(disk, LOOP_CLR_FD), 0);
	close(disk);
}

FILE_PATH(second_mapping)
{
	char *p;
	int i;

	p = mmap(NULL, GP_PAGES * GP_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, h->fd,
		 w->off);
	ASSERT_NE(p, MAP_FAILED);
	for (i = 0; i < GP_PAGES; i++) {
		if (w->open) {
			EXPECT_TRUE(gp_page_is(p + i * GP_PAGE, w->seed[i]));
		} else {
			char *q = p + i * GP_PAGE + 24;

			IN_STATE(pkvm_is_segv_at(pkvm_host_read(q, NULL), q), w);
			IN_STATE(pkvm_is_segv_at(pkvm_host_write(q, 1), q), w);
		}
	}
	munmap(p, GP_PAGES * GP_PAGE);
}

static long agent_touch_file(struct gp_desk *d)
{
	char *p = mmap(NULL, GP_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, d->arg[0],
		       d->arg[1]);
	struct pkvm_fault f;

	if (p == MAP_FAILED)
		return -errno;
	f = pkvm_host_read(p + 64, &d->buf[8]);
	if (!f.sig)
		memcpy(d->buf, p, GP_PAGE);
	d->sig = f.sig;
	d->code = f.code;
	d->addr = f.addr - (uintptr_t)p;
	munmap(p, GP_PAGE);
	return 0;
}

FILE_PATH(in_another_process)
{
	struct gp_desk *d = h->agent.desk;

	d->arg[0] = h->fd;
	d->arg[1] = w->off;
	ASSERT_EQ(gp_agent_run(&h->agent, agent_touch_file), 0);
	if (w->open) {
		EXPECT_EQ(d->sig, 0);
		EXPECT_TRUE(gp_page_is(d->buf, w->seed[0]));
	} else {
		EXPECT_EQ(d->sig, SIGSEGV);
		EXPECT_EQ(d->code, SEGV_ACCERR);
		EXPECT_EQ(d->addr, 64);
	}
}

/* Copy on write reads the page and then writes another. */
FILE_PATH(private_mapping)
{
	uint64_t val;
	char *p;
	int i;

	p = mmap(NULL, GP_PAGES * GP_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, h->fd,
		 w->off);
	ASSERT_NE(p, MAP_FAILED);
	for (i = 0; i < GP_PAGES; i++) {
		char *q = p + i * GP_PAGE;

		if (w->open) {
			EXPECT_EQ(pkvm_host_write(q, 1).sig, 0);
			*(uint64_t *)q = *(uint64_t *)(w->mem + i * GP_PAGE);
			EXPECT_TRUE(gp_page_is(q, w->seed[i]));
			continue;
		}
		/* Written first, or read first. */
		if (i & 1)
			IN_STATE(pkvm_is_segv_at(pkvm_host_read(q, &val), q), w);
		IN_STATE(pkvm_is_segv_at(pkvm_host_write(q, 1), q), w);
		IN_STATE(pkvm_is_segv_at(pkvm_host_read(q, &val), q), w);
	}
	munmap(p, GP_PAGES * GP_PAGE);
}

/* A fault maps what lies around it in the page cache; not this. */
FILE_PATH(fault_around)
{
	size_t len = GP_STRIDE * GP_PAGE, before = GP_FIRST * GP_PAGE;
	char *p, *q;
	int i;

	p = mmap(NULL, len, PROT_READ, MAP_SHARED, h->fd, w->off - before);
	ASSERT_NE(p, MAP_FAILED);
	q = p + before;
	/* A page of the host's own on each side. */
	EXPECT_EQ(pkvm_host_read(q - GP_PAGE, NULL).sig, 0);
	EXPECT_EQ(pkvm_host_read(q + GP_PAGES * GP_PAGE, NULL).sig, 0);
	for (i = 0; i < GP_PAGES; i++) {
		if (w->open) {
			EXPECT_TRUE(gp_page_is(q + i * GP_PAGE, w->seed[i]));
			continue;
		}
		EXPECT_EQ(pfn_of(q + i * GP_PAGE), 0) {
			TH_LOG("state %s: page %d is mapped", gp_state_name(w->state), i);
		}
		IN_STATE(pkvm_is_segv_at(pkvm_host_read(q + i * GP_PAGE, NULL),
					 q + i * GP_PAGE), w);
	}
	munmap(p, len);
}

FILE_PATH(populate)
{
	char *p;
	int i;

	p = mmap(NULL, GP_PAGES * GP_PAGE, PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_POPULATE, h->fd, w->off);
	ASSERT_NE(p, MAP_FAILED);
	for (i = 0; i < GP_PAGES; i++) {
		char *q = p + i * GP_PAGE;

		IN_STATE(w->open ? gp_page_is(q, w->seed[i]) :
			 pkvm_is_segv_at(pkvm_host_read(q, NULL), q), w);
	}
	munmap(p, GP_PAGES * GP_PAGE);
}

/* To allocate what is there is no access. */
FILE_PATH(fallocate)
{
	EXPECT_EQ(fallocate(h->fd, 0, w->off - GP_PAGE, (GP_PAGES + 2) * GP_PAGE), 0);
}

FILE_PATH(seek_data)
{
	EXPECT_EQ(lseek(h->fd, w->off, SEEK_DATA), w->off);
	EXPECT_GE(lseek(h->fd, w->off, SEEK_HOLE), w->off + (GP_PAGES + 1) * GP_PAGE);
}

/* ------------------------------------------------------------- by the machine */

PATH(kcore)
{
	int i, fd = open("/proc/kcore", O_RDONLY);
	uint64_t pa = w->pfn[0] * GP_PAGE;
	bool found = false;
	Elf64_Ehdr eh;
	Elf64_Phdr ph;

	if (fd < 0 || !pa || pread(fd, &eh, sizeof(eh), 0) != sizeof(eh))
		SKIP(return, "no /proc/kcore or no pfn");
	if (w->open) {
		EXPECT_EQ(pkvm_host_read(w->mem, NULL).sig, 0);
		pa = pfn_of(w->mem) * GP_PAGE;
	}
	/* Memory from the end of the kernel's image is in two segments. */
	for (i = 0; i < eh.e_phnum; i++) {
		ASSERT_EQ(pread(fd, &ph, sizeof(ph), eh.e_phoff + i * sizeof(ph)),
			  sizeof(ph));
		if (ph.p_type != PT_LOAD || ph.p_paddr == ~0UL || pa < ph.p_paddr ||
		    pa >= ph.p_paddr + ph.p_memsz)
			continue;
		memset(buf, 0x3c, GP_PAGE);
		EXPECT_EQ(pread(fd, buf, GP_PAGE, ph.p_offset + (pa - ph.p_paddr)),
			  GP_PAGE);
		if (w->open) {
			found |= !memcmp(buf, w->mem, GP_PAGE);
			continue;
		}
		/* Zeroes, as for any page that cannot be read. */
		EXPECT_TRUE(gp_page_is(buf, 0)) {
			TH_LOG("state %s, address %#lx", gp_state_name(w->state), pa);
		}
		found = true;
	}
	close(fd);
	IN_STATE(found, w);
}

/* What a debugger, a tracer or a BPF program of the kernel uses: it may fail. */
PATH(kernel_nofault)
{
	const char *why = hostile_unavailable();
	uint64_t val, pfn;
	int i;

	if (why)
		SKIP(return, "%s", why);
	for (i = 0; i < GP_PAGES; i++) {
		char *p = w->mem + i * GP_PAGE;

		if (w->open) {
			EXPECT_EQ(pkvm_host_read(p, NULL).sig, 0);
			EXPECT_EQ(khh_peek(pfn_of(p), 8, &val), 0);
			EXPECT_EQ(val, *(uint64_t *)(p + 8));
			continue;
		}
		pfn = w->pfn[i];
		val = 0;
		EXPECT_EQ(khh_peek(pfn, 8, &val), EFAULT);
		EXPECT_EQ(khh_poke(pfn, 8, 1), EFAULT);
		EXPECT_NE(val, pkvm_pattern(w->seed[i], 1));
	}
	hostile_close();
}

/* What the kernel tells of its tables is not contents, and harms nobody. */
PATH(page_maps)
{
	static const char * const files[] = {
		"/proc/self/smaps", "/proc/self/smaps_rollup", "/proc/self/numa_maps",
		"/proc/self/maps",
	};
	static const char * const by_pfn[] = {
		"/proc/kpageflags", "/proc/kpagecount", "/proc/kpagecgroup",
	};
	uint64_t val;
	int i, j, fd;

	for (i = 0; i < ARRAY_SIZE(files); i++) {
		fd = open(files[i], O_RDONLY);
		if (fd < 0)
			continue;
		while (read(fd, buf, sizeof(buf)) > 0)
			;
		close(fd);
	}
	for (i = 0; i < ARRAY_SIZE(by_pfn); i++) {
		fd = open(by_pfn[i], O_RDONLY);
		if (fd < 0)
			continue;
		for (j = 0; j < GP_PAGES; j++)
			EXPECT_EQ(pread(fd, &val, 8, w->pfn[j] * 8), 8);
		close(fd);
	}
	/* Marked, unless the host has used it since it was let in. */
	IN_STATE(!w->open || gp_host_has(w), w);
	for (j = 0; j < GP_PAGES; j++)
		IN_STATE(has_mark(w->pfn[j]) != w->open, w);
	/* Of anonymous memory it is known to be there, but not mapped. */
	fd = open("/proc/self/pagemap", O_RDONLY);
	ASSERT_GE(fd, 0);
	for (j = 0; j < GP_PAGES && !h->file && !w->open; j++) {
		EXPECT_EQ(pread(fd, &val, 8, ((uintptr_t)w->mem / GP_PAGE + j) * 8), 8);
		EXPECT_EQ(val & (PM_PRESENT | PM_SWAP), PM_SWAP) {
			TH_LOG("state %s: %#lx", gp_state_name(w->state), val);
		}
	}
	close(fd);
	/* The frame of a page that the host does not have is nobody's business. */
	IN_STATE(!w->open || gp_host_has(w), w);
	IN_STATE(gp_mapped(w) == (w->open ? GP_PAGES : 0), w);
}

TEST_HARNESS_MAIN
