// SPDX-License-Identifier: GPL-2.0-only
/*
 * Guest memory: one memfd (or anonymous) mapping, the way from a guest
 * address to ours, and the only functions that may read or write guest
 * memory from C code.
 *
 * A page that the guest has not shared faults when we touch it. That is the
 * guest's mistake and must never end this process, so the accessors here
 * return -EFAULT instead. Code elsewhere passes guest pointers only to these
 * accessors or to system calls, which fail with EFAULT by themselves.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "pvm.h"

/* Where a fault on guest memory continues; NULL when none is expected. */
struct fault_env {
	sigjmp_buf buf;
};

static __thread struct fault_env *fault_env;
static __thread int fault_code;

/* Guest memory, for the signal handler: nothing else may fault. */
static uintptr_t fault_start, fault_end;

static void fault_handler(int sig, siginfo_t *si, void *context)
{
	static const char text[] =
		"pvm: internal error: unexpected memory fault in the VMM\n";
	struct fault_env *env = fault_env;
	uintptr_t addr = (uintptr_t)si->si_addr;

	(void)context;
	if (env && addr >= fault_start && addr < fault_end) {
		fault_env = NULL;
		fault_code = si->si_code;
		siglongjmp(env->buf, sig);
	}

	if (write(STDERR_FILENO, text, sizeof(text) - 1) < 0)
		_exit(PVM_INTERNAL);
	signal(sig, SIG_DFL);
}

void mem_init_faults(void)
{
	/*
	 * SA_NODEFER: the handler leaves by siglongjmp, and saving the signal
	 * mask at each access would cost a system call.
	 */
	struct sigaction sa = {
		.sa_sigaction = fault_handler,
		.sa_flags = SA_SIGINFO | SA_NODEFER,
	};

	sigaction(SIGSEGV, &sa, NULL);
	sigaction(SIGBUS, &sa, NULL);
}

#define compiler_barrier() atomic_signal_fence(memory_order_seq_cst)

int guarded_copy(void *dst, const void *src, size_t len)
{
	struct fault_env env;

	if (sigsetjmp(env.buf, 0))
		return -EFAULT;
	fault_env = &env;
	compiler_barrier();
	memcpy(dst, src, len);
	compiler_barrier();
	fault_env = NULL;
	return 0;
}

int guarded_load16(const u16 *p, u16 *val)
{
	struct fault_env env;

	if (sigsetjmp(env.buf, 0))
		return -EFAULT;
	fault_env = &env;
	compiler_barrier();
	*val = __atomic_load_n(p, __ATOMIC_ACQUIRE);
	compiler_barrier();
	fault_env = NULL;
	return 0;
}

int guarded_store16(u16 *p, u16 val)
{
	struct fault_env env;

	if (sigsetjmp(env.buf, 0))
		return -EFAULT;
	fault_env = &env;
	compiler_barrier();
	__atomic_store_n(p, val, __ATOMIC_RELEASE);
	compiler_barrier();
	fault_env = NULL;
	return 0;
}

static int create_memfd(u64 size)
{
	int fd = memfd_create("pvm_guest", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0)
		die(PVM_REFUSED, "cannot create a memfd for guest memory: %s; try --anon",
		    strerror(errno));
	if (ftruncate(fd, size))
		die(PVM_NO_MEMORY, "cannot size guest memory to %lu MiB: %s",
		    size / SZ_1M, strerror(errno));
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
		die(PVM_INTERNAL, "cannot seal guest memory: %s", strerror(errno));
	return fd;
}

static void check_memlock(struct vm *vm)
{
	struct rlimit rl;

	if (!vm->opt.protected_vm || geteuid() == 0 || getrlimit(RLIMIT_MEMLOCK, &rl))
		return;
	if (rl.rlim_cur != RLIM_INFINITY && rl.rlim_cur < vm->ram.size)
		pvm_info("warning: a protected guest's memory is locked: it may need %lu MiB, RLIMIT_MEMLOCK is %lu MiB (raise it with ulimit -l)",
			 vm->ram.size / SZ_1M,
			 rl.rlim_cur / SZ_1M);
}

void ram_create(struct vm *vm)
{
	u64 size = vm->opt.mem;
	struct ram *ram = &vm->ram;
	u8 *area, *base;

	ram->gpa = RAM_BASE;
	ram->size = size;
	ram->memfd = -1;

	/* Align to 2 MiB in our address space too, or no block can be mapped. */
	area = mmap(NULL, size + SZ_2M, PROT_NONE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (area == MAP_FAILED)
		die(PVM_NO_MEMORY, "no room for %lu MiB of guest memory: %s",
		    size / SZ_1M, strerror(errno));
	base = (u8 *)(((uintptr_t)area + SZ_2M - 1) & ~(uintptr_t)(SZ_2M - 1));
	if (base > area)
		munmap(area, base - area);
	munmap(base + size, area + SZ_2M - base);

	if (vm->opt.anon) {
		ram->host = mmap(base, size, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	} else {
		ram->memfd = create_memfd(size);
		ram->host = mmap(base, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
				 ram->memfd, 0);
	}
	if (ram->host == MAP_FAILED)
		die(PVM_NO_MEMORY, "cannot map %lu MiB of guest memory: %s",
		    size / SZ_1M, strerror(errno));

	fault_start = (uintptr_t)ram->host;
	fault_end = fault_start + size;

	/* A core dump would only trip over the guest's pages. */
	madvise(ram->host, size, MADV_DONTDUMP);
	if (vm->opt.hugepages && madvise(ram->host, size, MADV_HUGEPAGE))
		die(PVM_REFUSED, "--hugepages: this kernel has no transparent huge pages (%s)",
		    strerror(errno));
	check_memlock(vm);
	pvm_dbg("guest memory %#lx-%#lx is at %p-%p here",
		ram->gpa, ram->gpa + size,
		(void *)ram->host, (void *)(ram->host + size));
}

/* Our address of [gpa, gpa + len), or NULL if that is not all RAM. */
void *ram_ptr(struct vm *vm, u64 gpa, u64 len)
{
	struct ram *ram = &vm->ram;
	u64 off = gpa - ram->gpa;

	if (gpa < ram->gpa || off > ram->size || len > ram->size - off)
		return NULL;
	return ram->host + off;
}

u64 ram_gpa(struct vm *vm, const void *p)
{
	return (const u8 *)p - vm->ram.host + vm->ram.gpa;
}

/*
 * Look for --probe-for through our own mapping. This is what a VMM that has
 * been taken over would do; the demo asks for it with SIGUSR1.
 */
void ram_probe(struct vm *vm, const char *when)
{
	unsigned long ok = 0, accerr = 0, other = 0, hits = 0;
	struct ram *ram = &vm->ram;
	u8 page[SZ_4K];
	u64 off;

	for (off = 0; off < ram->size; off += SZ_4K) {
		fault_code = 0;
		if (guarded_copy(page, ram->host + off, SZ_4K)) {
			if (fault_code == SEGV_ACCERR)
				accerr++;
			else
				other++;
			continue;
		}
		ok++;
		if (vm->opt.probe_len &&
		    memmem(page, SZ_4K, vm->opt.probe, vm->opt.probe_len))
			hits++;
	}
	memset(page, 0, sizeof(page));
	pvm_info("probe %s: own mapping: %lu pages tried, %lu read, %lu refused (SEGV_ACCERR %lu, other %lu), marker in %lu pages",
		 when, ok + accerr + other, ok, accerr + other, accerr, other, hits);
}

static const u8 zero_page[SZ_4K];

/* Is this page still what we copied there before the guest ran? */
static bool page_is_image(const struct image *img, u64 gpa, const u8 *page)
{
	u64 off, len;

	if (!img->data || gpa < img->gpa || gpa >= img->gpa + img->size)
		return false;
	off = gpa - img->gpa;
	len = img->size - off < SZ_4K ? img->size - off : SZ_4K;
	if (memcmp(page, (const u8 *)img->data + off, len))
		return false;
	return !memcmp(page + len, zero_page, SZ_4K - len);
}

/*
 * After the VM is gone, every page that the guest owned must read as zero.
 * Pages that the guest never touched still hold the image that was loaded
 * there; they never left the host. Returns false if anything else is found.
 */
bool ram_scan_after(struct vm *vm)
{
	unsigned long zero = 0, image = 0, dirty = 0, refused = 0;
	struct ram *ram = &vm->ram;
	u8 page[SZ_4K];
	u64 off, gpa, first = 0;

	for (off = 0; off < ram->size; off += SZ_4K) {
		gpa = ram->gpa + off;
		if (guarded_copy(page, ram->host + off, SZ_4K)) {
			refused++;
		} else if (!memcmp(page, zero_page, SZ_4K)) {
			zero++;
		} else if (page_is_image(&vm->kernel, gpa, page) ||
			   page_is_image(&vm->initrd, gpa, page) ||
			   page_is_image(&vm->fdt, gpa, page)) {
			image++;
		} else {
			if (!dirty++)
				first = gpa;
		}
	}
	pvm_info("scan after: %lu pages: %lu zero, %lu untouched copies of the loaded images, %lu with guest data, %lu unreadable",
		 zero + image + dirty + refused, zero, image, dirty, refused);
	if (dirty)
		pvm_info("scan after: the first page with guest data is at %#lx",
			 first);
	return !dirty && !refused;
}

/* What the kernel has charged this process for, or -1. */
long vmlck_kb(void)
{
	FILE *f = fopen("/proc/self/status", "re");
	char line[128];
	long kb = -1;

	if (!f)
		return -1;
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "VmLck: %ld kB", &kb) == 1)
			break;
	}
	fclose(f);
	return kb;
}
