// SPDX-License-Identifier: GPL-2.0-only
/*
 * What one stage-2 fault of an ordinary guest costs (I10), for each kind of memory
 * that faults in a way of its own. A benchmark: it owns no promise, tools that
 * compare two kernels do.
 *
 * The guest touches N pages and then 2N pages; the difference of the two times
 * over N is the cost of a fault, free of what every run costs. Of each size the
 * least of some batches counts. Time is the host's counter around KVM_RUN: with an emulator
 * that ticks once per nanosecond and instruction (QEMU's -icount shift=0) the
 * figures are instructions, host, EL2 and guest together, and repeatable.
 *
 * One line per kind: name, least, median, (median - least) / least in percent.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <linux/dma-heap.h>
#include <linux/sizes.h>
#include <linux/memfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "kvm_util.h"
#include "processor.h"
#include "ucall_common.h"
#include "../test_modules/kvm_test_pages.h"

#define TEST_SLOT	1
#define TEST_GPA	SZ_1G
#define TEST_GVA	SZ_1G
#define MAX_BATCHES	64
#define AREA_SIZE	SZ_64M
#define TAG		0x5a00000000000000ULL

enum prepare {
	ABSENT,		/* no host PTE: the fault of the host is part of the cost */
	PRESENT,	/* the host has touched every page */
	READ_BEFORE,	/* the guest has read every page */
	LOGGED,		/* the guest has written it, then dirty logging was enabled */
};

struct area {
	void *mem;
	int fd;
	size_t step;		/* from one leaf to the next */
	uint64_t nr;		/* leaves; half of them in the short run */
};

struct kind {
	const char *name;
	const char *(*make)(struct area *a);	/* why it cannot be made, or NULL */
	void (*forget)(struct area *a);		/* drop the host's PTEs */
	enum prepare prepare;
	bool huge;
};

/* What the guest shall touch; written by the host between its runs. */
static struct {
	uint64_t nr;
	uint64_t step;
	uint64_t tag;
	uint64_t write;
} job;

static struct kvm_vcpu *vcpu;
static struct kvm_vm *vm;
static uint64_t frequency;
static int batches = 8;
static uint64_t nr_small = 512;

static void guest_code(void)
{
	uint64_t i;

	for (;;) {
		uint64_t p = TEST_GVA;

		if (job.write) {
			for (i = 0; i < job.nr; i++, p += job.step)
				WRITE_ONCE(*(uint64_t *)p, job.tag + i);
		} else {
			for (i = 0; i < job.nr; i++, p += job.step)
				READ_ONCE(*(uint64_t *)p);
		}
		GUEST_SYNC(job.nr);
	}
}

static uint64_t now(void)
{
	uint64_t t;

	asm volatile("isb\n\tmrs %0, cntvct_el0\n\tisb" : "=r" (t) :: "memory");
	return t;
}

/* The guest touches nr leaves; return how long that took in nanoseconds. */
static double touch(struct area *a, uint64_t nr, bool write, uint64_t tag)
{
	uint64_t start, end;
	struct ucall uc;

	job.nr = nr;
	job.step = a->step;
	job.write = write;
	job.tag = tag;
	sync_global_to_guest(vm, job);
	start = now();
	vcpu_run(vcpu);
	end = now();
	TEST_ASSERT(get_ucall(vcpu, &uc) == UCALL_SYNC && uc.args[1] == nr,
		    "the guest did not come to its end");
	return (end - start) * 1e9 / frequency;
}

/* Size 0 deletes the slot, if there is one. */
static void slot_set(struct area *a, size_t size, uint32_t flags)
{
	static bool there;

	if (size || there)
		vm_set_user_memory_region(vm, TEST_SLOT, flags, TEST_GPA, size, a->mem);
	there = size;
}

/* ------------------------------------------------------------ kinds of memory */

static const char *make_mapped(struct area *a, int fd, int flags)
{
	void *p = mmap(NULL, AREA_SIZE + SZ_2M, PROT_NONE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return "no address space";
	/* Aligned for blocks, and never next to a mapping that it could join. */
	p = (void *)(((uintptr_t)p + SZ_2M - 1) & ~(uintptr_t)(SZ_2M - 1));
	a->mem = mmap(p, a->nr * a->step, PROT_READ | PROT_WRITE, flags | MAP_FIXED,
		      fd, 0);
	return a->mem == MAP_FAILED ? strerror(errno) : NULL;
}

static const char *make_anon(struct area *a)
{
	const char *why = make_mapped(a, -1, MAP_PRIVATE | MAP_ANONYMOUS);

	if (!why && madvise(a->mem, a->nr * a->step, MADV_NOHUGEPAGE))
		why = "no MADV_NOHUGEPAGE";
	return why;
}

static const char *make_thp(struct area *a)
{
	const char *why = make_mapped(a, -1, MAP_PRIVATE | MAP_ANONYMOUS);

	if (!why && madvise(a->mem, a->nr * a->step, MADV_HUGEPAGE))
		why = "no transparent huge pages";
	return why;
}

static const char *make_memfd(struct area *a)
{
	a->fd = syscall(__NR_memfd_create, "stage2_fault_perf", MFD_CLOEXEC);
	if (a->fd < 0 || ftruncate(a->fd, a->nr * a->step))
		return "no memfd";
	return make_mapped(a, a->fd, MAP_SHARED);
}

static void forget_dontneed(struct area *a)
{
	TEST_ASSERT(!madvise(a->mem, a->nr * a->step, MADV_DONTNEED), "MADV_DONTNEED");
}

/* P3: PFNMAP of single refcounted pages, the only one that every kernel takes. */
static const char *make_module(struct area *a)
{
	struct ktp_create create = { .kind = KTP_SINGLE, .nr_pages = a->nr };
	int ko = open("/opt/kvm/" KTP_MODULE, O_RDONLY | O_CLOEXEC);
	long done;

	if (ko < 0)
		return "no /opt/kvm/" KTP_MODULE;
	done = syscall(__NR_finit_module, ko, "", 0);
	close(ko);
	if (done && errno != EEXIST)
		return errno == ENOEXEC ? KTP_MODULE " is of another kernel" :
		       "cannot load " KTP_MODULE;
	a->fd = open(KTP_DEVICE, O_RDWR | O_CLOEXEC);
	if (a->fd < 0)
		return "no " KTP_DEVICE;
	if (ioctl(a->fd, KTP_IOC_CREATE, &create))
		return "no buffer of " KTP_DEVICE;
	return make_mapped(a, a->fd, MAP_SHARED);
}

static void forget_module(struct area *a)
{
	struct ktp_range all = { .nr = a->nr };

	TEST_ASSERT(!ioctl(a->fd, KTP_IOC_REVOKE, &all), "KTP_IOC_REVOKE");
}

/*
 * PFNMAP of a stock driver. A buffer of one page is a refcounted page of order 0,
 * which every kernel takes; its PTE is there from mmap() on.
 */
static const char *make_dma_heap(struct area *a)
{
	int heap = open("/dev/dma_heap/system", O_RDWR | O_CLOEXEC);
	const char *why;
	uint64_t i;

	if (heap < 0)
		return "no /dev/dma_heap/system";
	why = make_mapped(a, -1, MAP_PRIVATE | MAP_ANONYMOUS);
	for (i = 0; i < a->nr && !why; i++) {
		struct dma_heap_allocation_data data = {
			.len = a->step,
			.fd_flags = O_RDWR | O_CLOEXEC,
		};

		if (ioctl(heap, DMA_HEAP_IOCTL_ALLOC, &data)) {
			why = "no buffer of the dma-heap";
		} else {
			if (mmap(a->mem + i * a->step, a->step, PROT_READ | PROT_WRITE,
				 MAP_SHARED | MAP_FIXED, data.fd, 0) == MAP_FAILED)
				why = "no mapping of a dma-buf";
			close(data.fd);
		}
	}
	close(heap);
	return why;
}

static const struct kind kinds[] = {
	{ "anon-absent", make_anon, forget_dontneed, ABSENT },
	{ "anon-present", make_anon, forget_dontneed, PRESENT },
	{ "memfd-absent", make_memfd, forget_dontneed, ABSENT },
	{ "memfd-present", make_memfd, forget_dontneed, PRESENT },
	{ "thp-absent", make_thp, forget_dontneed, ABSENT, true },
	{ "thp-present", make_thp, forget_dontneed, PRESENT, true },
	{ "anon-write-after-read", make_anon, forget_dontneed, READ_BEFORE },
	{ "memfd-write-logged", make_memfd, forget_dontneed, LOGGED },
	{ "pfnmap-module-absent", make_module, forget_module, ABSENT },
	{ "pfnmap-module-present", make_module, forget_module, PRESENT },
	{ "pfnmap-dma-heap-present", make_dma_heap, NULL, PRESENT },
};

/* ------------------------------------------------------------------- measuring */

static bool is_huge(struct area *a)
{
	unsigned long start, kb = 0;
	char line[256];
	bool here = false;
	FILE *f = fopen("/proc/self/smaps", "r");

	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%*x %*4s", &start) == 1 && strchr(line, '-'))
			here = start == (uintptr_t)a->mem;
		else if (here && sscanf(line, "AnonHugePages: %lu", &kb) == 1)
			break;
	}
	if (f)
		fclose(f);
	return kb * 1024 == a->nr * a->step;
}

/* One timed run over nr leaves that all fault, and a look that it did its work. */
static double measure(const struct kind *k, struct area *a, uint64_t nr, uint64_t tag)
{
	size_t size = a->nr * a->step;
	uint64_t i;
	double t;

	/* Without its slot the guest has no stage-2 entry left of the area. */
	slot_set(a, 0, 0);
	if (k->forget)
		k->forget(a);
	if (k->prepare == PRESENT) {
		for (i = 0; i < a->nr; i++)
			WRITE_ONCE(*(uint64_t *)(a->mem + i * a->step), tag);
	}
	slot_set(a, size, 0);
	if (k->prepare == READ_BEFORE)
		touch(a, a->nr, false, 0);
	if (k->prepare == LOGGED) {
		touch(a, a->nr, true, tag);
		slot_set(a, size, KVM_MEM_LOG_DIRTY_PAGES);
	}
	t = touch(a, nr, true, tag);
	for (i = 0; i < nr; i++)
		TEST_ASSERT(READ_ONCE(*(uint64_t *)(a->mem + i * a->step)) == tag + i,
			    "%s: leaf %lu does not hold what the guest wrote",
			    k->name, i);
	return t;
}

/* Sorts the times of one size; the least and the median of them matter. */
static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static void bench(const struct kind *k)
{
	struct area a = {
		.mem = MAP_FAILED,
		.fd = -1,
		.step = k->huge ? SZ_2M : SZ_4K,
		.nr = k->huge ? AREA_SIZE / SZ_2M : 2 * nr_small,
	};
	double half[MAX_BATCHES], full[MAX_BATCHES], least, median;
	uint64_t more = a.nr - a.nr / 2;
	const char *why = k->make(&a);
	int i;

	if (!why) {
		/* The first one makes the guest's own tables and is not counted. */
		measure(k, &a, a.nr, TAG);
		if (k->huge && !is_huge(&a))
			why = "the host gave small pages";
	}
	if (why) {
		printf("%-24s SKIP %s\n", k->name, why);
	} else {
		for (i = 0; i < batches; i++) {
			half[i] = measure(k, &a, a.nr / 2, TAG + ((i + 1ULL) << 40));
			full[i] = measure(k, &a, a.nr, TAG + ((i + 1ULL) << 48));
		}
		/* The least of each size: a tick in the short run makes no gain. */
		qsort(half, batches, sizeof(*half), compare);
		qsort(full, batches, sizeof(*full), compare);
		least = (full[0] - half[0]) / more;
		median = (full[batches / 2] - half[batches / 2]) / more;
		/* No exit of a guest is that cheap: the leaves did not fault. */
		TEST_ASSERT(least > 500, "%s: %.1f ns is no fault", k->name, least);
		printf("%-24s %10.1f %10.1f %6.2f%%\n", k->name, least, median,
		       100 * (median - least) / least);
	}
	fflush(stdout);
	slot_set(&a, 0, 0);
	if (a.mem != MAP_FAILED)
		munmap(a.mem, a.nr * a.step);
	if (a.fd >= 0)
		close(a.fd);
}

static void help(const char *name)
{
	printf("usage: %s [-b batches] [-n pages] [kind ...]\n", name);
	printf(" -b: batches, 4 to %d (default: %d)\n", MAX_BATCHES, batches);
	printf(" -n: pages of the short run, up to %d (default: %lu)\n",
	       AREA_SIZE / SZ_4K / 2, nr_small);
	exit(KSFT_FAIL);
}

int main(int argc, char *argv[])
{
	uint64_t gpa;
	int opt, i, j;

	while ((opt = getopt(argc, argv, "hb:n:")) != -1) {
		if (opt == 'b')
			batches = atoi_positive("batches", optarg);
		else if (opt == 'n')
			nr_small = atoi_positive("pages", optarg);
		else
			help(argv[0]);
	}
	if (batches < 4 || batches > MAX_BATCHES || nr_small > AREA_SIZE / SZ_4K / 2)
		help(argv[0]);

	TEST_REQUIRE(getpagesize() == SZ_4K);
	asm volatile("mrs %0, cntfrq_el0" : "=r" (frequency));
	vm = __vm_create_with_one_vcpu(&vcpu, AREA_SIZE / SZ_4K, guest_code);
	/* The area's own guest page tables, once for all kinds. */
	for (gpa = 0; gpa < AREA_SIZE; gpa += SZ_4K)
		virt_pg_map(vm, TEST_GVA + gpa, TEST_GPA + gpa);

	for (i = 0; i < (int)ARRAY_SIZE(kinds); i++) {
		for (j = optind; j < argc; j++)
			if (!strcmp(argv[j], kinds[i].name))
				break;
		if (optind == argc || j < argc)
			bench(&kinds[i]);
	}
	kvm_vm_free(vm);
	return 0;
}
