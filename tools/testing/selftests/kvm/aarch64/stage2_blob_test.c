// SPDX-License-Identifier: GPL-2.0-only
/*
 * Buffers of real drivers as guest memory, the way virtio-gpu blobs use them:
 * dma-heap and udmabuf memory in an ordinary guest, as a memslot of its own or
 * mapped over a part of a slot that is there, revoked and replaced while the guest
 * runs. Guards I9 and I10. And T13: a protected guest does not get such memory,
 * and neither the buffer nor the host notice that it asked (I5, I7).
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>
#include <linux/dma-heap.h>
#include <linux/sizes.h>
#include <linux/udmabuf.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "kselftest_harness.h"
#include "kvm_util.h"
#include "processor.h"
#include "pkvm.h"
#include "held.h"
#include "pageref.h"

#define TIMEOUT		120
#define PAGE		((size_t)getpagesize())
#define BLOB_SLOT	2	/* beside those of pkvm.c */
#define BLOB_IPA	PKVM_MEM2_IPA
#define BLOB_SIZE	SZ_256K
#define NR_VCPUS	4
/* A word of ordinary guest memory that tells vCPUs to come to an end. */
#define STOP_OFF	(SZ_1M - 64)
#define STOP_IPA	(PKVM_MEM_IPA + STOP_OFF)
#define NR_SWAPS	100
#define TAG		0x7a90000000000000UL
#define TAG_MASK	0xffff000000000000UL

/* ----------------------------------------------------------------- buffers */

enum driver { DMA_HEAP, UDMABUF };

static const char * const driver_dev[] = {
	[DMA_HEAP] = "/dev/dma_heap/system",
	[UDMABUF] = "/dev/udmabuf",
};

struct blob {
	int fd;			/* the dma-buf */
	int memfd;		/* what a udmabuf is made of, or -1 */
	char *mem;
	size_t size;
};

static int heap_alloc(size_t size)
{
	struct dma_heap_allocation_data data = {
		.len = size,
		.fd_flags = O_RDWR | O_CLOEXEC,
	};
	int heap = open(driver_dev[DMA_HEAP], O_RDWR | O_CLOEXEC);

	if (heap < 0)
		return -1;
	if (ioctl(heap, DMA_HEAP_IOCTL_ALLOC, &data))
		data.fd = -1;
	close(heap);
	return data.fd;
}

static int udmabuf_alloc(size_t size, int *memfd)
{
	struct udmabuf_create create = { .flags = UDMABUF_FLAGS_CLOEXEC, .size = size };
	int dev = open(driver_dev[UDMABUF], O_RDWR | O_CLOEXEC);
	int fd;

	if (dev < 0)
		return -1;
	*memfd = memfd_create("blob", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	TEST_ASSERT(*memfd >= 0 && !ftruncate(*memfd, size), "no memfd");
	TEST_ASSERT(!fcntl(*memfd, F_ADD_SEALS, F_SEAL_SHRINK), "cannot seal");
	create.memfd = *memfd;
	fd = ioctl(dev, UDMABUF_CREATE, &create);
	close(dev);
	return fd;
}

/* A new buffer, zero as the drivers make it; mapped by the caller. */
static struct blob blob_alloc(enum driver driver, size_t size)
{
	struct blob b = { .memfd = -1, .size = size };

	b.fd = driver == DMA_HEAP ? heap_alloc(size) : udmabuf_alloc(size, &b.memfd);
	TEST_ASSERT(b.fd >= 0, "no buffer of %zu bytes from %s", size,
		    driver_dev[driver]);
	return b;
}

/* At addr, over what is there, or anywhere. */
static void blob_map(struct blob *b, void *addr)
{
	b->mem = mmap(addr, b->size, PROT_READ | PROT_WRITE,
		      MAP_SHARED | (addr ? MAP_FIXED : 0), b->fd, 0);
	TEST_ASSERT(b->mem != MAP_FAILED, "cannot map the buffer");
}

/* The buffer itself; its mapping may have been replaced by another. */
static void blob_close(struct blob *b)
{
	close(b->fd);
	if (b->memfd >= 0)
		close(b->memfd);
}

static void *reserve(size_t size)
{
	char *p = mmap(NULL, size + SZ_2M, PROT_NONE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	TEST_ASSERT(p != MAP_FAILED, "no address space");
	/* Aligned like the guest's address: blocks must be possible. */
	return (void *)(((uintptr_t)p + SZ_2M - 1) & ~(SZ_2M - 1UL));
}

static void host_fill(void *mem, size_t size, uint64_t seed)
{
	size_t i;

	for (i = 0; i < size / 8; i++)
		WRITE_ONCE(((uint64_t *)mem)[i], pkvm_pattern(seed, i));
}

static size_t host_verify(void *mem, size_t size, uint64_t seed)
{
	size_t i, bad = 0;

	for (i = 0; i < size / 8; i++)
		bad += READ_ONCE(((uint64_t *)mem)[i]) != pkvm_pattern(seed, i);
	return bad;
}

/* --------------------------------------------------------------- the guest */

/*
 * Each page begins with a tag that the host wrote before the guest could see it.
 * Whatever buffer is there now, a load finds a tag, never what a freed page holds;
 * and a store to another word goes to a buffer that is there.
 */
static uint64_t guest_tags(uint64_t addr, uint64_t pages, uint64_t word,
			   uint64_t stop)
{
	uint64_t bad = 0, rounds = 0, i, *page;

	do {
		rounds++;
		for (i = 0; i < pages; i++) {
			page = (uint64_t *)(addr + i * SZ_4K);
			bad += (READ_ONCE(page[0]) & TAG_MASK) != TAG;
			WRITE_ONCE(page[word], TAG | rounds);
		}
	} while (!READ_ONCE(*(uint64_t *)stop));
	/* Nothing is swapped any more. */
	WRITE_ONCE(((uint64_t *)addr)[word], TAG | rounds);
	guest_out(0, rounds);
	return bad;
}

/* ------------------------------------------------------------- the fixture */

FIXTURE(blob) {
	struct pkvm_vm *vm;
	struct pkvm_vcpu *vcpu;
	struct pkvm_counters before;
	int klog;
};

FIXTURE_VARIANT(blob) {
	enum driver driver;
};

FIXTURE_VARIANT_ADD(blob, dma_heap) { .driver = DMA_HEAP };
FIXTURE_VARIANT_ADD(blob, udmabuf) { .driver = UDMABUF };

static void vcpu_to_entry(struct pkvm_vcpu *vcpu)
{
	TEST_ASSERT(!pkvm_set_reg(vcpu, ARM64_CORE_REG(regs.pstate), 0x3c5) &&
		    !pkvm_set_reg(vcpu, ARM64_CORE_REG(regs.pc),
				  (uintptr_t)pkvm_guest_entry) &&
		    !pkvm_set_reg(vcpu, ARM64_CORE_REG(regs.regs[0]),
				  (uintptr_t)&pkvm_guest_cpus[vcpu->id]),
		    "cannot set the registers of vCPU %d", vcpu->id);
}

static void set_stop(struct pkvm_vm *vm, uint64_t val)
{
	WRITE_ONCE(*(uint64_t *)(vm->mem + STOP_OFF), val);
}

FIXTURE_SETUP(blob)
{
	struct pkvm_opts opts = {
		.ordinary = true, .nr_vcpus = NR_VCPUS, .all_on = true,
		.mem_size = SZ_1M,
	};
	int i;

	self->klog = klog_open();
	if (access(driver_dev[variant->driver], R_OK | W_OK))
		SKIP(return, "no %s (CONFIG_DMABUF_HEAPS_SYSTEM, CONFIG_UDMABUF)",
		     driver_dev[variant->driver]);
	self->vm = pkvm_vm_create(&opts);
	self->vcpu = pkvm_vcpu0(self->vm);
	for (i = 1; i < NR_VCPUS; i++)
		vcpu_to_entry(&self->vm->vcpus[i]);
	set_stop(self->vm, 1);
	for (i = 0; i < NR_VCPUS; i++)
		pkvm_must(&self->vm->vcpus[i], guest_churn, PKVM_MEM_IPA, 64, 0, STOP_IPA);
	pkvm_counters_read(&self->before);
}

FIXTURE_TEARDOWN(blob)
{
	const char *bad;

	pkvm_vm_free(self->vm);
	bad = klog_complaint(self->klog);
	EXPECT_EQ(bad, NULL)
		TH_LOG("%s", bad);
	/* Not MemFree, which lacks what is on its way back; see below. */
	EXPECT_TRUE(pkvm_counters_back(&self->before, -1));
}

/* What the one side writes the other reads, and no page is another's. */
static void expect_coherent(struct __test_metadata *_metadata,
			    struct pkvm_vcpu *vcpu, struct blob *b, uint64_t seed)
{
	host_fill(b->mem, b->size, seed);
	EXPECT_EQ(pkvm_must(vcpu, guest_verify, BLOB_IPA, b->size, seed), 0);
	pkvm_must(vcpu, guest_fill, BLOB_IPA, b->size, seed + 1);
	EXPECT_EQ(host_verify(b->mem, b->size, seed + 1), 0);
}

static void expect_refused(struct __test_metadata *_metadata,
			   struct pkvm_vcpu *vcpu, int ret, uint64_t gpa)
{
	EXPECT_EQ(ret, -EFAULT);
	EXPECT_EQ(vcpu->run->exit_reason, KVM_EXIT_MEMORY_FAULT);
	EXPECT_EQ(vcpu->run->memory_fault.gpa, gpa);
	EXPECT_EQ(vcpu->run->memory_fault.size, PAGE);
	EXPECT_EQ(vcpu->run->memory_fault.flags, 0);
}

/* A dma-heap buffer has blocks of 1M, 64K and 4K, whose tails have no count. */
TEST_F_TIMEOUT(blob, every_page, TIMEOUT)
{
	struct blob b = blob_alloc(variant->driver, SZ_8M);

	blob_map(&b, reserve(SZ_8M));
	ASSERT_EQ(pkvm_set_slot(self->vm, BLOB_SLOT, BLOB_IPA, b.size, b.mem, 0), 0);
	expect_coherent(_metadata, self->vcpu, &b, 1);
	ASSERT_EQ(munmap(b.mem, b.size), 0);
	blob_close(&b);
}

/* The guest is the first to touch the pages, and it may execute them. */
TEST_F_TIMEOUT(blob, first_touch_by_guest, TIMEOUT)
{
	struct blob b = blob_alloc(variant->driver, BLOB_SIZE);
	uint64_t off;

	blob_map(&b, reserve(BLOB_SIZE));
	ASSERT_EQ(pkvm_set_slot(self->vm, BLOB_SLOT, BLOB_IPA, b.size, b.mem, 0), 0);
	EXPECT_EQ(pkvm_must(self->vcpu, guest_count_nonzero, BLOB_IPA, b.size / 2), 0);
	for (off = 0; off < b.size; off += PAGE)
		pkvm_must(self->vcpu, guest_store, BLOB_IPA + off, 0xd65f03c0 | off << 32);
	for (off = 0; off < b.size; off += PAGE) {
		EXPECT_EQ(pkvm_must(self->vcpu, guest_try_exec, BLOB_IPA + off), 0);
		EXPECT_EQ(*(uint64_t *)(b.mem + off), 0xd65f03c0 | off << 32);
	}
	ASSERT_EQ(munmap(b.mem, b.size), 0);
	blob_close(&b);
}

/* A memslot per blob, made and deleted while the guest runs elsewhere. */
TEST_F_TIMEOUT(blob, slot_per_blob, TIMEOUT)
{
	struct pkvm_thread t;
	struct blob b;
	int i;

	set_stop(self->vm, 0);
	pkvm_thread_start(&t, &self->vm->vcpus[1], guest_churn, PKVM_MEM_IPA, SZ_64K,
			  3, STOP_IPA);
	for (i = 0; i < 24; i++) {
		b = blob_alloc(variant->driver, BLOB_SIZE + i % 3 * SZ_64K);
		blob_map(&b, NULL);
		ASSERT_EQ(pkvm_set_slot(self->vm, BLOB_SLOT, BLOB_IPA, b.size, b.mem, 0), 0);
		expect_coherent(_metadata, self->vcpu, &b, 100 * i);
		/* The VMM may close the file before, and unmap before or after. */
		if (i & 1)
			blob_close(&b);
		if (i & 2)
			ASSERT_EQ(munmap(b.mem, b.size), 0);
		ASSERT_EQ(pkvm_set_slot(self->vm, BLOB_SLOT, BLOB_IPA, 0, NULL, 0), 0);
		/* Nothing there: a device, and no memory of a blob that is gone. */
		EXPECT_EQ(pkvm_call(self->vcpu, guest_load, BLOB_IPA), PKVM_EXIT);
		EXPECT_EQ(self->vcpu->run->exit_reason, KVM_EXIT_MMIO);
		EXPECT_EQ(pkvm_resume(self->vcpu), PKVM_RETURNED);
		if (!(i & 2))
			ASSERT_EQ(munmap(b.mem, b.size), 0);
		if (!(i & 1))
			blob_close(&b);
	}
	EXPECT_FALSE(READ_ONCE(t.done));
	set_stop(self->vm, 1);
	EXPECT_EQ(pkvm_thread_join(&t), PKVM_RETURNED);
	EXPECT_EQ(self->vm->vcpus[1].ret, 0);
}

/* One slot for all blobs, over a reservation that gives the guest nothing. */
TEST_F_TIMEOUT(blob, mapped_over_a_slot, TIMEOUT)
{
	char *arena = reserve(SZ_2M);
	uint64_t gpa = BLOB_IPA;
	struct blob a, b;
	int i, ret;

	ASSERT_EQ(pkvm_set_slot(self->vm, BLOB_SLOT, BLOB_IPA, SZ_2M, arena, 0), 0);
	for (i = 0; i < 8; i++) {
		ret = pkvm_call(self->vcpu, guest_load, gpa);
		expect_refused(_metadata, self->vcpu, ret, gpa);

		a = blob_alloc(variant->driver, BLOB_SIZE);
		blob_map(&a, arena);
		*(uint64_t *)a.mem = 0xa000 + i;
		EXPECT_EQ(pkvm_resume(self->vcpu), PKVM_RETURNED);
		EXPECT_EQ(self->vcpu->ret, 0xa000 + i);
		expect_coherent(_metadata, self->vcpu, &a, i);

		/* Another blob in its place: the old one keeps what it has. */
		b = blob_alloc(variant->driver, BLOB_SIZE);
		blob_map(&b, arena);
		EXPECT_EQ(pkvm_must(self->vcpu, guest_count_nonzero, BLOB_IPA, b.size), 0);
		expect_coherent(_metadata, self->vcpu, &b, 50 + i);
		blob_map(&a, NULL);
		EXPECT_EQ(host_verify(a.mem, a.size, i + 1), 0);
		ASSERT_EQ(munmap(a.mem, a.size), 0);
		blob_close(&a);

		ASSERT_EQ(mmap(arena, BLOB_SIZE, PROT_NONE, MAP_PRIVATE | MAP_FIXED |
			       MAP_ANONYMOUS | MAP_NORESERVE, -1, 0), arena);
		blob_close(&b);
		ret = pkvm_call(self->vcpu, guest_store, gpa + 3 * PAGE, 1);
		expect_refused(_metadata, self->vcpu, ret, gpa + 3 * PAGE);
		/* Let it end, for the next round. */
		ASSERT_EQ(mmap(arena, BLOB_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE |
			       MAP_FIXED | MAP_ANONYMOUS, -1, 0), arena);
		EXPECT_EQ(pkvm_resume(self->vcpu), PKVM_RETURNED);
		ASSERT_EQ(mmap(arena, BLOB_SIZE, PROT_NONE, MAP_PRIVATE | MAP_FIXED |
			       MAP_ANONYMOUS | MAP_NORESERVE, -1, 0), arena);
	}
}

/* The mapping goes, the buffer stays: nobody may have it by the old mapping. */
TEST_F_TIMEOUT(blob, revoked_by_munmap, TIMEOUT)
{
	struct blob b = blob_alloc(variant->driver, BLOB_SIZE), view = b;
	int i, ret;

	blob_map(&view, NULL);
	blob_map(&b, reserve(BLOB_SIZE));
	ASSERT_EQ(pkvm_set_slot(self->vm, BLOB_SLOT, BLOB_IPA, b.size, b.mem, 0), 0);
	for (i = 0; i < 4; i++) {
		uint64_t gpa = BLOB_IPA + i * PAGE;

		expect_coherent(_metadata, self->vcpu, &b, 10 * i);
		ASSERT_EQ(munmap(b.mem, b.size), 0);
		ret = pkvm_call(self->vcpu, guest_store, gpa, 0xbad);
		expect_refused(_metadata, self->vcpu, ret, gpa);
		EXPECT_EQ(host_verify(view.mem, view.size, 10 * i + 1), 0);
		blob_map(&b, b.mem);
		EXPECT_EQ(pkvm_resume(self->vcpu), PKVM_RETURNED);
		EXPECT_EQ(*(uint64_t *)(view.mem + i * PAGE), 0xbad);
	}
	ASSERT_EQ(munmap(view.mem, view.size), 0);
	ASSERT_EQ(munmap(b.mem, b.size), 0);
	blob_close(&b);
}

/*
 * Blobs are swapped under all vCPUs, and what was there is freed each time. A
 * store through a stale mapping shows in the next blob, which is made of the same
 * pages and must be zero when it comes; a stale load shows as a word without tag.
 */
TEST_F_TIMEOUT(blob, swapped_under_vcpus, TIMEOUT)
{
	size_t pages = SZ_64K / PAGE, i, dirty = 0, swaps;
	char *arena = reserve(SZ_64K);
	struct pkvm_thread t[NR_VCPUS];
	struct blob now, next;

	ASSERT_EQ(pkvm_set_slot(self->vm, BLOB_SLOT, BLOB_IPA, SZ_64K, arena, 0), 0);
	now = blob_alloc(variant->driver, SZ_64K);
	blob_map(&now, arena);
	for (i = 0; i < pages; i++)
		*(uint64_t *)(arena + i * PAGE) = TAG;
	set_stop(self->vm, 0);
	for (i = 0; i < NR_VCPUS; i++)
		pkvm_thread_start(&t[i], &self->vm->vcpus[i], guest_tags, BLOB_IPA,
				  pages, i + 1, STOP_IPA);
	for (swaps = 0; swaps < NR_SWAPS; swaps++) {
		next = blob_alloc(variant->driver, SZ_64K);
		blob_map(&next, NULL);
		dirty += pkvm_count_nonzero(next.mem, next.size);
		for (i = 0; i < pages; i++)
			*(uint64_t *)(next.mem + i * PAGE) = TAG | swaps;
		ASSERT_EQ(munmap(next.mem, next.size), 0);
		blob_map(&next, arena);
		blob_close(&now);
		now = next;
		/* Let them in; sometimes the next one comes at once. */
		usleep(swaps % 4 * 500);
	}
	set_stop(self->vm, 1);

	EXPECT_EQ(dirty, 0);
	for (i = 0; i < NR_VCPUS; i++) {
		EXPECT_EQ(pkvm_thread_join(&t[i]), PKVM_RETURNED);
		EXPECT_EQ(self->vm->vcpus[i].ret, 0);
		/* Their last stores went to the buffer that is there. */
		EXPECT_EQ(((uint64_t *)arena)[i + 1], TAG | self->vm->vcpus[i].out[0]);
	}
	ASSERT_EQ(munmap(arena, SZ_64K), 0);
	blob_close(&now);
}

/* What 64 MiB of buffers were made of is free memory again: nobody holds it. */
TEST_F_TIMEOUT(blob, memory_is_given_back, TIMEOUT)
{
	struct pkvm_counters before;
	struct blob b;
	int i;

	pkvm_counters_read(&before);
	for (i = 0; i < 8; i++) {
		b = blob_alloc(variant->driver, SZ_8M);
		blob_map(&b, reserve(SZ_8M));
		ASSERT_EQ(pkvm_set_slot(self->vm, BLOB_SLOT, BLOB_IPA, b.size, b.mem, 0), 0);
		pkvm_must(self->vcpu, guest_fill, BLOB_IPA, b.size, i);
		ASSERT_EQ(munmap(b.mem, b.size), 0);
		blob_close(&b);
		ASSERT_EQ(pkvm_set_slot(self->vm, BLOB_SLOT, BLOB_IPA, 0, NULL, 0), 0);
	}
	EXPECT_TRUE(pkvm_counters_back(&before, SZ_16M / 1024));
}

/* A udmabuf's pages are the memfd's, and nobody else's when it is closed. */
TEST_F_TIMEOUT(blob, memfd_is_given_back, TIMEOUT)
{
	const char *why;
	struct blob b;
	char *view;

	if (variant->driver != UDMABUF)
		SKIP(return, "a dma-heap buffer has no memfd; see memory_is_given_back");
	why = held_setup();
	if (why)
		SKIP(return, "the leak oracle cannot work: %s", why);
	b = blob_alloc(variant->driver, BLOB_SIZE);
	blob_map(&b, NULL);
	view = mmap(NULL, b.size, PROT_READ | PROT_WRITE, MAP_SHARED, b.memfd, 0);
	ASSERT_NE(view, MAP_FAILED);
	ASSERT_EQ(pkvm_set_slot(self->vm, BLOB_SLOT, BLOB_IPA, b.size, b.mem, 0), 0);
	expect_coherent(_metadata, self->vcpu, &b, 5);
	EXPECT_EQ(host_verify(view, b.size, 6), 0);
	/* The udmabuf holds them all, which is also what the oracle must see. */
	EXPECT_EQ(held_pages(view, b.size), b.size / PAGE);
	ASSERT_EQ(munmap(b.mem, b.size), 0);
	close(b.fd);
	EXPECT_EQ(held_pages(view, b.size), 0);
	EXPECT_EQ(host_verify(view, b.size, 6), 0);
	ASSERT_EQ(munmap(view, b.size), 0);
	close(b.memfd);
	held_cleanup();
}

/* ------------------------------------------------------ T13: protected guests */

#define REFUSED_PAGES	8

FIXTURE(refused) {
	struct pkvm_vm *vm;
	struct pkvm_counters before;
	int klog;
};

FIXTURE_VARIANT(refused) {
	int kind;		/* of kvm_test_pages, or -1: the driver's */
	int order;
	int nr;
	enum driver driver;
};

FIXTURE_VARIANT_ADD(refused, p1) { .kind = KTP_PFN, .order = 3, .nr = 8 };
FIXTURE_VARIANT_ADD(refused, p2) { .kind = KTP_COMP, .order = 3, .nr = 8 };
FIXTURE_VARIANT_ADD(refused, p3) { .kind = KTP_SINGLE, .nr = 8 };
FIXTURE_VARIANT_ADD(refused, p4_page) { .kind = KTP_MIXED, .nr = 8 };
FIXTURE_VARIANT_ADD(refused, p4_pfn) { .kind = KTP_MIXED_PFN, .nr = 8 };
FIXTURE_VARIANT_ADD(refused, p5) { .kind = KTP_RESERVED, .nr = 8 };
FIXTURE_VARIANT_ADD(refused, p6_hidden) { .kind = KTP_HIDDEN, .nr = 8 };
FIXTURE_VARIANT_ADD(refused, p6_device) { .kind = KTP_MMIO, .nr = 1 };
FIXTURE_VARIANT_ADD(refused, dma_heap) { .kind = -1, .driver = DMA_HEAP, .nr = 8 };
FIXTURE_VARIANT_ADD(refused, udmabuf) { .kind = -1, .driver = UDMABUF, .nr = 8 };

FIXTURE_SETUP(refused)
{
	const char *why = pkvm_unavailable();

	self->klog = klog_open();
	if (why)
		SKIP(return, "%s", why);
	if (variant->kind >= 0) {
		why = ktp_unavailable();
		if (why)
			SKIP(return, "%s", why);
	} else if (access(driver_dev[variant->driver], R_OK | W_OK)) {
		SKIP(return, "no %s", driver_dev[variant->driver]);
	}
	pkvm_counters_read(&self->before);
}

FIXTURE_TEARDOWN(refused)
{
	const char *bad;

	pkvm_vm_free(self->vm);
	EXPECT_TRUE(pkvm_counters_back(&self->before, -1));
	bad = klog_complaint(self->klog);
	EXPECT_EQ(bad, NULL)
		TH_LOG("%s", bad);
}

/* A load, a store and a fetch, each by a guest of its own: it does not survive. */
TEST_F_TIMEOUT(refused, t13_protected_guest, TIMEOUT)
{
	struct ktp_page before[REFUSED_PAGES], after[REFUSED_PAGES];
	size_t size = variant->nr * PAGE;
	int fd, i, access, ret, memfd = -1;
	bool ram = variant->kind != KTP_MMIO;
	struct blob b = {};
	char *mem;

	if (variant->kind >= 0) {
		fd = ktp_create(variant->kind, variant->nr, variant->order, 0);
		if (fd == -ENODEV)
			SKIP(return, "none here: it needs RAM that mem= hides");
		ASSERT_GE(fd, 0);
	} else {
		b = blob_alloc(variant->driver, size);
		fd = b.fd;
		memfd = b.memfd;
	}
	mem = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(mem, MAP_FAILED);
	for (i = 0; i < variant->nr; i++)
		(void)READ_ONCE(*(uint32_t *)(mem + i * PAGE));
	if (ram)
		host_fill(mem, size, 77);

	for (access = 0; access < 3; access++) {
		uint64_t gpa = PKVM_MEM2_IPA + access % variant->nr * PAGE;
		struct pkvm_vcpu *vcpu;
		long vmlck;

		if (variant->kind >= 0)
			ktp_snapshot(fd, 0, variant->nr, before);
		self->vm = pkvm_vm_create(NULL);
		vcpu = pkvm_vcpu0(self->vm);
		/* Before the first run: what is a slot then is the guest's RAM. */
		ASSERT_EQ(pkvm_set_slot(self->vm, BLOB_SLOT, PKVM_MEM2_IPA, size, mem, 0), 0);
		/* The guest itself is well. */
		pkvm_must(vcpu, guest_fill, PKVM_MEM_IPA, SZ_64K, access);
		EXPECT_EQ(pkvm_must(vcpu, guest_verify, PKVM_MEM_IPA, SZ_64K, access), 0);
		/* So that the code of what follows is there, and charged. */
		pkvm_must(vcpu, guest_load, PKVM_MEM_IPA);
		pkvm_must(vcpu, guest_store, PKVM_MEM_IPA, 0);
		pkvm_must(vcpu, guest_try_exec, (uint64_t)guest_nop);
		vmlck = pkvm_vmlck_kb();

		if (access == 0)
			ret = pkvm_call_timeout(vcpu, 5000, guest_load, gpa);
		else if (access == 1)
			ret = pkvm_call_timeout(vcpu, 5000, guest_store, gpa, 0xbad);
		else
			ret = pkvm_call_timeout(vcpu, 5000, guest_try_exec, gpa);
		EXPECT_TRUE(ret == -EFAULT || ret == -EIO)
			TH_LOG("access %d: KVM_RUN gave %d", access, ret);
		EXPECT_EQ(vcpu->run->exit_reason, KVM_EXIT_MEMORY_FAULT);
		EXPECT_EQ(vcpu->run->memory_fault.gpa, gpa);
		EXPECT_EQ(vcpu->run->memory_fault.size, PAGE);
		/* It was not charged for what it did not get. */
		EXPECT_EQ(pkvm_vmlck_kb(), vmlck);

		/* The host's all the time, and as it was. */
		if (ram) {
			EXPECT_EQ(host_verify(mem, size, 77), 0);
			host_fill(mem, size, 78);
			EXPECT_EQ(host_verify(mem, size, 78), 0);
			host_fill(mem, size, 77);
		} else {
			(void)READ_ONCE(*(uint32_t *)mem);
		}
		pkvm_vm_free(self->vm);
		self->vm = NULL;
		if (variant->kind >= 0) {
			ktp_snapshot(fd, 0, variant->nr, after);
			EXPECT_EQ(ktp_pages_differ(before, after, variant->nr), NULL)
				TH_LOG("%s", ktp_pages_differ(before, after, variant->nr));
		}
		/* A teardown that scrubs what it gives back must not scrub this. */
		if (ram)
			EXPECT_EQ(host_verify(mem, size, 77), 0);
	}
	ASSERT_EQ(munmap(mem, size), 0);
	close(fd);
	if (memfd >= 0)
		close(memfd);
}

TEST_HARNESS_MAIN
