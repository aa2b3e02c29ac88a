// SPDX-License-Identifier: GPL-2.0-only
/*
 * Tags and the lookups of KVM (T12, and the tags' part of T10): the ioctl that
 * copies tags works on ordinary memory and refuses what KVM does not hold, a VM
 * with tags does not get memory that has none, and no page stays held (I9).
 *
 * QEMU needs -cpu max and -machine mte=on (tools/qemu/boot --mte).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>
#include <asm/hwcap.h>
#include <linux/kernel-page-flags.h>
#include <linux/sizes.h>
#include <sys/auxv.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/uio.h>

#include "kselftest_harness.h"
#include "kvm_util.h"
#include "processor.h"
#include "held.h"
#include "pageref.h"

#define PAGE		((size_t)getpagesize())
#define NR_PAGES	16
#define MEM_SLOT	5
#define MEM_GPA		UL(0x100000000)
#define MEM_GVA		UL(0x100000000)
#define GRANULE		16
#define PAGE_TAGS	(PAGE / GRANULE)
#define ALL_TAGS	(NR_PAGES * PAGE_TAGS)

#ifndef HWCAP2_MTE
#define HWCAP2_MTE	BIT(18)
#endif

/* The page's tags are somebody's; the kernel's own number, as that of KPF_GUEST. */
#define KPF_ARCH_2	41

#ifndef PROT_MTE
#define PROT_MTE	0x20
#endif

/*
 * Can memory have a tag for each granule? QEMU 7.2 looks up the tags of a page's
 * start for each address in it, so that a page has two. Asked without KVM.
 */
static bool tags_are_sound(void)
{
	bool sound = true;
	uintptr_t i, tag;
	char *p;

	p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE | PROT_MTE,
		 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	TEST_ASSERT(p != MAP_FAILED, "no memory with tags");
	*p = 0;
	for (i = 0; i < 16; i++)
		asm volatile(".arch armv8.5-a+memtag\n stg %0, [%1]"
			     :: "r" (i << 56), "r" (p + i * GRANULE) : "memory");
	for (i = 0; i < 16; i++) {
		tag = 0;
		asm volatile(".arch armv8.5-a+memtag\n ldg %0, [%1]"
			     : "+r" (tag) : "r" (p + i * GRANULE));
		sound &= tag >> 56 == i;
	}
	munmap(p, PAGE);
	return sound;
}

/* Reads or writes the word at any address that the host names, for ever. */
static uint64_t guest_addr, guest_val;
static bool guest_write;

static void guest_code(void)
{
	for (;;) {
		uint64_t *p = (void *)READ_ONCE(guest_addr);

		if (READ_ONCE(guest_write))
			WRITE_ONCE(*p, READ_ONCE(guest_val));
		else
			WRITE_ONCE(guest_val, READ_ONCE(*p));
		GUEST_SYNC(0);
	}
}

FIXTURE(mte) {
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpu;
	char *mem;
	uint8_t tags[NR_PAGES * SZ_4K / GRANULE];
	uint8_t back[NR_PAGES * SZ_4K / GRANULE];
	int klog;
	bool swap;
};

FIXTURE_SETUP(mte)
{
	struct kvm_enable_cap cap = { .cap = KVM_CAP_ARM_MTE };
	const char *why;
	size_t i;

	self->klog = klog_open();
	if (!(getauxval(AT_HWCAP2) & HWCAP2_MTE))
		SKIP(return, "no MTE here; in QEMU it is -cpu max -machine mte=on");
	why = held_setup();
	if (why)
		SKIP(return, "the leak oracle cannot work: %s", why);
	self->swap = true;

	self->vm = __vm_create(VM_SHAPE_DEFAULT, 1, 0);
	if (__vm_ioctl(self->vm, KVM_ENABLE_CAP, &cap))
		SKIP(return, "KVM_CAP_ARM_MTE: %s", strerror(errno));
	self->vcpu = vm_vcpu_add(self->vm, 0, guest_code);
	vm_userspace_mem_region_add(self->vm, VM_MEM_SRC_ANONYMOUS, MEM_GPA, MEM_SLOT,
				    NR_PAGES, 0);
	virt_map(self->vm, MEM_GVA, MEM_GPA, NR_PAGES);
	self->mem = addr_gpa2hva(self->vm, MEM_GPA);
	memset(self->mem, 0x42, NR_PAGES * PAGE);
	if (tags_are_sound()) {
		for (i = 0; i < ALL_TAGS; i++)
			self->tags[i] = (i * 7 + i / 11) & 0xf;
	} else {
		printf("# this emulator has two tags for a page: only they are compared\n");
		for (i = 0; i < ALL_TAGS; i++)
			self->tags[i] = (i / PAGE_TAGS * 5 + i % 2 * 3 + 1) & 0xf;
	}
}

FIXTURE_TEARDOWN(mte)
{
	const char *bad;

	if (self->vm)
		kvm_vm_free(self->vm);
	if (self->swap)
		held_cleanup();
	bad = klog_complaint(self->klog);
	EXPECT_EQ(bad, NULL)
		TH_LOG("%s", bad);
}

/* Bytes that were copied, or a negative errno. */
static int copy_tags(struct kvm_vm *vm, uint64_t gpa, size_t nr, void *tags,
		     uint64_t flags)
{
	struct kvm_arm_copy_mte_tags copy = {
		.guest_ipa = gpa,
		.length = nr * PAGE,
		.addr = tags,
		.flags = flags,
	};
	int ret = __vm_ioctl(vm, KVM_ARM_MTE_COPY_TAGS, &copy);

	return ret < 0 ? -errno : ret;
}

static size_t tags_differ(const uint8_t *a, const uint8_t *b)
{
	size_t i, first = 0, bad = 0;

	for (i = 0; i < ALL_TAGS; i++) {
		if (a[i] != b[i] && !bad++)
			first = i;
	}
	if (bad)
		printf("# %zu of %zu tags differ, the first is tag %zu: %#x, %#x\n",
		       bad, ALL_TAGS, first, a[first], b[first]);
	return bad;
}

/* One access of the guest: 0 when it was done, or a negative errno. */
static int guest_access(struct kvm_vm *vm, struct kvm_vcpu *vcpu, uint64_t gva,
			bool write, uint64_t *val)
{
	struct ucall uc;

	guest_addr = gva;
	guest_write = write;
	guest_val = *val;
	sync_global_to_guest(vm, guest_addr);
	sync_global_to_guest(vm, guest_write);
	sync_global_to_guest(vm, guest_val);
	if (_vcpu_run(vcpu))
		return -errno;
	if (get_ucall(vcpu, &uc) != UCALL_SYNC)
		return -ENOTRECOVERABLE;
	sync_global_from_guest(vm, guest_val);
	*val = guest_val;
	return 0;
}

TEST_F(mte, t12_tags_come_back)
{
	uint64_t val = 0x1234;
	size_t i;

	/* Nobody gave these pages tags, so they are zero. */
	memset(self->back, 0xee, sizeof(self->back));
	ASSERT_EQ(copy_tags(self->vm, MEM_GPA, NR_PAGES, self->back,
			    KVM_ARM_TAGS_FROM_GUEST), NR_PAGES * PAGE);
	for (i = 0; i < ALL_TAGS; i++)
		ASSERT_EQ(self->back[i], 0);

	ASSERT_EQ(copy_tags(self->vm, MEM_GPA, NR_PAGES, self->tags, 0),
		  NR_PAGES * PAGE);
	ASSERT_EQ(copy_tags(self->vm, MEM_GPA, NR_PAGES, self->back,
			    KVM_ARM_TAGS_FROM_GUEST), NR_PAGES * PAGE);
	EXPECT_EQ(tags_differ(self->tags, self->back), 0);

	/* The guest's use of a page does not change its tags. */
	EXPECT_EQ(guest_access(self->vm, self->vcpu, MEM_GVA + 3 * PAGE, true, &val), 0);
	EXPECT_EQ(*(uint64_t *)(self->mem + 3 * PAGE), 0x1234);
	EXPECT_EQ(*(uint64_t *)(self->mem + 3 * PAGE + 8), 0x4242424242424242UL);
	/* Nor does being paged out, which the oracle does to them. */
	EXPECT_EQ(held_pages(self->mem, NR_PAGES * PAGE), 0);
	ASSERT_EQ(copy_tags(self->vm, MEM_GPA, NR_PAGES, self->back,
			    KVM_ARM_TAGS_FROM_GUEST), NR_PAGES * PAGE);
	EXPECT_EQ(tags_differ(self->tags, self->back), 0);
	EXPECT_EQ(held_pages(self->mem, NR_PAGES * PAGE), 0);
}

/* Each error exit of the ioctl, many times: a leak would show. */
TEST_F(mte, t12_errors_hold_nothing)
{
	struct iovec iov = { self->mem + 2 * PAGE, 1 };
	char *bad;
	int i, fds[2];

	bad = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(bad, MAP_FAILED);
	ASSERT_EQ(munmap(bad + PAGE, PAGE), 0);

	for (i = 0; i < 20; i++) {
		/* The tags' buffer ends in the middle of the second page's. */
		char *end = bad + PAGE - PAGE_TAGS - PAGE_TAGS / 2;
		int ret;

		ret = copy_tags(self->vm, MEM_GPA, 2, end, KVM_ARM_TAGS_FROM_GUEST);
		EXPECT_EQ(ret, (int)PAGE);
		ret = copy_tags(self->vm, MEM_GPA, 2, end, 0);
		EXPECT_EQ(ret, (int)PAGE);
		EXPECT_EQ(copy_tags(self->vm, MEM_GPA, 1, bad + PAGE, 0), -EFAULT);
		EXPECT_EQ(copy_tags(self->vm, MEM_GPA, 1, bad + PAGE,
				    KVM_ARM_TAGS_FROM_GUEST), -EFAULT);
		/* No slot there. */
		EXPECT_EQ(copy_tags(self->vm, MEM_GPA + NR_PAGES * PAGE, 1, self->back,
				    KVM_ARM_TAGS_FROM_GUEST), -EFAULT);
	}
	/* No VMA, and one that cannot be written. */
	ASSERT_EQ(mprotect(self->mem + 5 * PAGE, PAGE, PROT_READ), 0);
	EXPECT_EQ(copy_tags(self->vm, MEM_GPA + 5 * PAGE, 1, self->tags, 0), -EFAULT);
	EXPECT_EQ(copy_tags(self->vm, MEM_GPA + 5 * PAGE, 1, self->back,
			    KVM_ARM_TAGS_FROM_GUEST), (int)PAGE);
	ASSERT_EQ(mprotect(self->mem + 5 * PAGE, PAGE, PROT_READ | PROT_WRITE), 0);
	EXPECT_EQ(held_pages(self->mem, NR_PAGES * PAGE), 0);

	/* And the oracle sees one reference to memory with tags. */
	ASSERT_EQ(pipe(fds), 0);
	ASSERT_EQ(vmsplice(fds[1], &iov, 1, 0), 1);
	EXPECT_EQ(held_pages(self->mem, NR_PAGES * PAGE), 1);
	close(fds[0]);
	close(fds[1]);
}

/*
 * Memory without VM_MTE_ALLOWED that comes into a slot later: the guest must not
 * get it, and the page that was looked up for it must not stay held.
 */
TEST_F(mte, t10_vma_without_tags)
{
	struct kvm_run *run = self->vcpu->run;
	char *page = self->mem + 7 * PAGE;
	uint64_t val = 0x77;
	int zero, i;

	zero = open("/dev/zero", O_RDWR);
	ASSERT_GE(zero, 0);
	ASSERT_EQ(guest_access(self->vm, self->vcpu, MEM_GVA + 7 * PAGE, true, &val), 0);
	ASSERT_EQ(mmap(page, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED,
		       zero, 0), page);
	memset(page, 0x33, PAGE);
	for (i = 0; i < 50; i++)
		ASSERT_EQ(guest_access(self->vm, self->vcpu, MEM_GVA + 7 * PAGE, i & 1,
				       &val), -EFAULT);
	EXPECT_EQ(run->exit_reason, KVM_EXIT_MEMORY_FAULT);
	EXPECT_EQ(run->memory_fault.gpa, MEM_GPA + 7 * PAGE);
	EXPECT_EQ(run->memory_fault.size, PAGE);
	EXPECT_EQ(run->memory_fault.flags, 0);
	EXPECT_EQ(*(uint64_t *)page, 0x3333333333333333UL);
	EXPECT_EQ(held_pages(page, PAGE), 0);

	/* With memory that can have tags the guest goes on where it stopped. */
	ASSERT_EQ(mmap(page, PAGE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0), page);
	val = 0x5555;
	EXPECT_EQ(guest_access(self->vm, self->vcpu, MEM_GVA + 7 * PAGE, true, &val), 0);
	EXPECT_EQ(held_pages(self->mem, NR_PAGES * PAGE), 0);
	close(zero);
}

/*
 * A block that comes where a page was, by a fault of permission: all of it is the guest's
 * now, and nobody else's tags may be in it.
 */
TEST_F(mte, t12_block_in_the_place_of_a_page)
{
	const uint64_t gpa = MEM_GPA + SZ_1G;
	int slot = MEM_SLOT + 1;
	uint64_t val = 1;
	char *area, *mem;

	if (PAGE != SZ_4K)
		SKIP(return, "blocks of 2 MiB");
	area = mmap(NULL, 2 * SZ_2M, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		    -1, 0);
	ASSERT_NE(area, MAP_FAILED);
	mem = (char *)(((uintptr_t)area + SZ_2M - 1) & ~(SZ_2M - 1ul));
	ASSERT_EQ(madvise(mem, SZ_2M, MADV_HUGEPAGE), 0);
	memset(mem, 0x11, SZ_2M);
	ASSERT_TRUE(flags_of(pfn_of(mem)) & BIT_ULL(KPF_THP));

	virt_map(self->vm, gpa, gpa, SZ_2M / PAGE);
	vm_set_user_memory_region(self->vm, slot, KVM_MEM_LOG_DIRTY_PAGES, gpa, SZ_2M, mem);
	ASSERT_EQ(guest_access(self->vm, self->vcpu, gpa + 3 * PAGE, false, &val), 0);
	/* Of huge pages the flags are those of the first page. */
	EXPECT_FALSE(flags_of(pfn_of(mem)) & BIT_ULL(KPF_ARCH_2));

	vm_set_user_memory_region(self->vm, slot, 0, gpa, SZ_2M, mem);
	ASSERT_EQ(guest_access(self->vm, self->vcpu, gpa + 3 * PAGE, true, &val), 0);
	/* In one block: the rest is there without a fault, which would see to its tags. */
	EXPECT_TRUE(flags_of(pfn_of(mem)) & BIT_ULL(KPF_ARCH_2));

	vm_set_user_memory_region(self->vm, slot, 0, gpa, 0, mem);
	munmap(area, 2 * SZ_2M);
}

/* ------------------------------------------- memory that KVM does not hold */

struct pfnmap {
	const char *name;
	struct ktp_create create;
};

static const struct pfnmap pfnmaps[] = {
	{ "P1", { .kind = KTP_PFN, .nr_pages = 8, .order = 3 } },
	{ "P2", { .kind = KTP_COMP, .nr_pages = 8, .order = 3 } },
	{ "P3", { .kind = KTP_SINGLE, .nr_pages = 8 } },
	{ "P5", { .kind = KTP_RESERVED, .nr_pages = 8 } },
	{ "P6", { .kind = KTP_HIDDEN, .nr_pages = 8 } },
	{ "P6, a device", { .kind = KTP_MMIO, .nr_pages = 1 } },
};

TEST_F(mte, t12_pfnmap_is_refused)
{
	struct ktp_page before[8], after[8];
	const char *why = ktp_unavailable();
	int i, j, fd, done = 0;
	uint32_t k;

	if (why)
		SKIP(return, "%s", why);
	for (i = 0; i < ARRAY_SIZE(pfnmaps); i++) {
		const struct ktp_create *c = &pfnmaps[i].create;
		size_t size = c->nr_pages * PAGE;

		fd = ktp_create(c->kind, c->nr_pages, c->order, c->flags);
		if (fd == -ENODEV) {
			printf("# SKIP %s: none here, it needs RAM that mem= hides\n",
			       pfnmaps[i].name);
			continue;
		}
		ASSERT_GE(fd, 0);
		/* Over a slot that is there: a shared VMA cannot make one with MTE. */
		ASSERT_EQ(mmap(self->mem, size, PROT_READ | PROT_WRITE,
			       MAP_SHARED | MAP_FIXED, fd, 0), self->mem);
		/* Once before the pages are in the host's table, and then after. */
		for (j = 0; j < 3; j++) {
			uint64_t gpa = MEM_GPA + (j % c->nr_pages) * PAGE;

			ktp_snapshot(fd, 0, c->nr_pages, before);
			EXPECT_EQ(copy_tags(self->vm, gpa, 1, self->tags, 0), -EFAULT)
				TH_LOG("%s, write", pfnmaps[i].name);
			EXPECT_EQ(copy_tags(self->vm, gpa, 1, self->back,
					    KVM_ARM_TAGS_FROM_GUEST), -EFAULT)
				TH_LOG("%s, read", pfnmaps[i].name);
			ktp_snapshot(fd, 0, c->nr_pages, after);
			EXPECT_EQ(ktp_pages_differ(before, after, c->nr_pages), NULL)
				TH_LOG("%s: %s", pfnmaps[i].name,
				       ktp_pages_differ(before, after, c->nr_pages));
			for (k = 0; k < c->nr_pages; k++)
				(void)READ_ONCE(*(uint32_t *)(self->mem + k * PAGE));
		}
		ASSERT_EQ(mmap(self->mem, size, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
			  self->mem);
		close(fd);
		done++;
	}
	EXPECT_GE(done, 4);
	ASSERT_EQ(copy_tags(self->vm, MEM_GPA, 8, self->tags, 0), 8 * PAGE);
	EXPECT_EQ(held_pages(self->mem, NR_PAGES * PAGE), 0);
}

TEST_HARNESS_MAIN
