// SPDX-License-Identifier: GPL-2.0-only
/*
 * Does the log of dirty pages tell all that a VMM has to know to move a guest while it
 * runs? Several vCPUs write to the same pages, and the host does as a migration does:
 * asks what is dirty, clears that, and copies those pages, over and over. Then the vCPUs
 * stop, the last pages are copied, and the copy must be the guest's memory. And what the
 * guest's MMU writes, the marks of use in its tables, is logged as what it writes itself.
 *
 * Owns no part of the kernel: ordinary guests, in every mode.
 */
#include <linux/kernel-page-flags.h>
#include <linux/sizes.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "kvm_util.h"
#include "processor.h"
#include "held.h"
#include "pkvm.h"

#define TIMEOUT		240
#define NR_VCPUS	2
#define MEM_SIZE	SZ_4M
#define NR_ROUNDS	16
#define PAGE		4096ul

/* The guest's own tables: two levels in the first block, the last in the second. */
#define BLOCK_IPA	(PKVM_MEM_IPA + SZ_2M)
#define L1_IPA		PKVM_MEM_IPA
#define L2_IPA		(PKVM_MEM_IPA + PAGE)
#define L3_IPA		BLOCK_IPA
/* The second block by way of them: in pages, and behind that as a block. */
#define WINDOW		(500ul << 30)
#define WINDOW_BLOCK	(WINDOW + SZ_2M)
#define ENTRY_AF	BIT(10)
#define ENTRY_MEM	(BIT(54) | 3 << 8)
#define TCR_HA		BIT(39)
#define ENDLESS_MS	10000

/* Never returns. Each vCPU has its own words of the pages that all write to. */
static uint64_t guest_write_about(uint64_t addr, uint64_t size)
{
	uint64_t id = guest_cpu()->id, n, i;

	for (n = 0;; n++) {
		uint64_t base = pkvm_pattern(n / 64, 1) % size;

		/* Mostly a few neighbours, which have just been written to, as programs do. */
		for (i = 0; i < 4; i++) {
			uint64_t at = (base + pkvm_pattern(n, i) % SZ_64K) % size;

			at = at / (NR_VCPUS * 8) * (NR_VCPUS * 8) + 8 * id;
			WRITE_ONCE(*(uint64_t *)(addr + at), n << 1 | id);
		}
	}
	return 0;
}

/* From now on the MMU marks what is used, in tables that say of nothing that it is. */
static uint64_t guest_mark_by_hardware(void)
{
	uint64_t *from = (uint64_t *)(read_sysreg(ttbr0_el1) & ~0xffful);
	uint64_t *l1 = (uint64_t *)L1_IPA, *l2 = (uint64_t *)L2_IPA;
	uint64_t *l3 = (uint64_t *)L3_IPA, i;

	if (!(read_sysreg(id_aa64mmfr1_el1) & 0xf))
		return 0;

	for (i = 0; i < 512; i++) {
		WRITE_ONCE(l1[i], from[i]);
		WRITE_ONCE(l2[i], 0);
		WRITE_ONCE(l3[i], (BLOCK_IPA + i * PAGE) | ENTRY_MEM | 3);
	}
	WRITE_ONCE(l1[WINDOW >> 30], L2_IPA | 3);
	WRITE_ONCE(l2[0], L3_IPA | 3);
	WRITE_ONCE(l2[1], BLOCK_IPA | ENTRY_MEM | 1);
	write_sysreg(read_sysreg(tcr_el1) | TCR_HA, tcr_el1);
	guest_use_table(L1_IPA);
	return 1;
}

/* What khugepaged does, at once: the memory of a guest goes to a new huge page. */
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE	25
#endif

struct mover {
	pthread_t thread;
	char *mem;
	bool stop;
	bool failed;
	size_t nr;
};

static void *move_memory(void *arg)
{
	struct mover *mover = arg;
	size_t i;

	for (i = 0; !READ_ONCE(mover->stop); i++) {
		char *block = mover->mem + i * SZ_2M % MEM_SIZE;

		/* A VMA's end in a block takes it apart. */
		if (mlock(block, getpagesize()) || munlock(block, getpagesize()))
			mover->failed = true;
		if (!madvise(block, SZ_2M, MADV_COLLAPSE))
			mover->nr++;
	}
	return NULL;
}

FIXTURE(dirty) {
	struct pkvm_vm *vm;
	struct mover mover;
	struct pkvm_thread threads[NR_VCPUS];
	unsigned long *bitmap;
	char *copy;
	size_t page, nr_pages;
};

FIXTURE_VARIANT(dirty) {
	enum pkvm_backing backing;
	uint64_t manual;
};

FIXTURE_VARIANT_ADD(dirty, thp_all_set) {
	.backing = PKVM_THP,
	.manual = KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE | KVM_DIRTY_LOG_INITIALLY_SET,
};

FIXTURE_VARIANT_ADD(dirty, thp_manual) {
	.backing = PKVM_THP,
	.manual = KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE,
};

FIXTURE_VARIANT_ADD(dirty, thp) { .backing = PKVM_THP };

FIXTURE_VARIANT_ADD(dirty, memfd_all_set) {
	.backing = PKVM_MEMFD,
	.manual = KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE | KVM_DIRTY_LOG_INITIALLY_SET,
};

static int set_log(struct pkvm_vm *vm, bool on)
{
	return pkvm_set_slot(vm, 1, PKVM_MEM_IPA, vm->mem_size, vm->mem,
			     on ? KVM_MEM_LOG_DIRTY_PAGES : 0);
}

FIXTURE_SETUP(dirty)
{
	struct pkvm_opts opts = {
		.ordinary = true, .nr_vcpus = NR_VCPUS, .all_on = true,
		.mem_size = MEM_SIZE, .backing = variant->backing,
	};
	struct kvm_enable_cap cap = {
		.cap = KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, .args = { variant->manual },
	};

	self->page = getpagesize();
	self->nr_pages = MEM_SIZE / self->page;
	self->vm = pkvm_vm_create(&opts);
	self->copy = calloc(self->nr_pages, self->page);
	self->bitmap = calloc(self->nr_pages / 8, 1);
	ASSERT_TRUE(self->copy && self->bitmap);
	if (variant->manual)
		ASSERT_EQ(ioctl(self->vm->fd, KVM_ENABLE_CAP, &cap), 0);
}

FIXTURE_TEARDOWN(dirty)
{
	pkvm_vm_free(self->vm);
	free(self->copy);
	free(self->bitmap);
}

/* Copy what is dirty; returns how many pages. */
static size_t copy_dirty(struct _test_data_dirty *self, bool manual)
{
	struct kvm_dirty_log get = { .slot = 1, .dirty_bitmap = self->bitmap };
	struct kvm_clear_dirty_log clear = {
		.slot = 1, .num_pages = self->nr_pages, .dirty_bitmap = self->bitmap,
	};
	size_t i, nr = 0;

	TEST_ASSERT(!ioctl(self->vm->fd, KVM_GET_DIRTY_LOG, &get), "KVM_GET_DIRTY_LOG");
	if (manual)
		TEST_ASSERT(!ioctl(self->vm->fd, KVM_CLEAR_DIRTY_LOG, &clear),
			    "KVM_CLEAR_DIRTY_LOG");
	for (i = 0; i < self->nr_pages; i++) {
		if (!(self->bitmap[i / 64] >> i % 64 & 1))
			continue;
		memcpy(self->copy + i * self->page, self->vm->mem + i * self->page, self->page);
		nr++;
	}
	return nr;
}

static size_t pages_that_differ(struct _test_data_dirty *self)
{
	size_t i, nr = 0;

	for (i = 0; i < self->nr_pages; i++) {
		if (!memcmp(self->copy + i * self->page, self->vm->mem + i * self->page,
			    self->page))
			continue;
		if (nr++ < 8)
			printf("# page %#zx differs\n", i);
	}
	return nr;
}

static void move_guest(struct __test_metadata *_metadata, struct _test_data_dirty *self,
		       bool manual)
{
	size_t rounds = pkvm_env("STAGE2_DIRTY_ROUNDS", NR_ROUNDS), missed = 0, pages = 0, r;
	int i, j;

	for (r = 0; r < rounds; r++) {
		/* Out of the guest's table: it comes back in blocks, where it can. */
		ASSERT_EQ(mprotect(self->vm->mem, MEM_SIZE, PROT_READ), 0);
		ASSERT_EQ(mprotect(self->vm->mem, MEM_SIZE, PROT_READ | PROT_WRITE), 0);
		for (i = 0; i < NR_VCPUS; i++)
			__pkvm_thread_start(&self->threads[i], &self->vm->vcpus[i],
					    r ? 0 : (uint64_t)guest_write_about,
					    pkvm_args(PKVM_MEM_IPA, MEM_SIZE));
		usleep(2000);
		ASSERT_EQ(set_log(self->vm, true), 0);
		memcpy(self->copy, self->vm->mem, MEM_SIZE);
		for (j = 0; j < 5; j++) {
			pages += copy_dirty(self, manual);
			usleep(r % 8 * 1000);
		}
		for (i = 0; i < NR_VCPUS; i++)
			EXPECT_EQ(pkvm_thread_stop(&self->threads[i]), -EINTR);
		pages += copy_dirty(self, manual);
		missed += pages_that_differ(self);
		ASSERT_EQ(set_log(self->vm, false), 0);
		if (missed)
			break;
	}
	EXPECT_EQ(missed, 0);
	EXPECT_GT(pages, rounds);
	TH_LOG("%zu of %zu rounds, %zu pages", r, rounds, pages);
}

TEST_F_TIMEOUT(dirty, nothing_is_missed, TIMEOUT)
{
	move_guest(_metadata, self, variant->manual);
}

TEST_F_TIMEOUT(dirty, nothing_is_missed_of_memory_that_moves, TIMEOUT)
{
	if (variant->backing != PKVM_THP)
		SKIP(return, "this memory is collapsed by its file");
	self->mover = (struct mover){ .mem = self->vm->mem };
	ASSERT_EQ(pthread_create(&self->mover.thread, NULL, move_memory, &self->mover), 0);
	move_guest(_metadata, self, variant->manual);
	WRITE_ONCE(self->mover.stop, true);
	pthread_join(self->mover.thread, NULL);
	EXPECT_FALSE(self->mover.failed);
	EXPECT_GE(self->mover.nr, NR_ROUNDS);
	TH_LOG("%zu blocks moved", self->mover.nr);
}

static bool is_dirty(struct _test_data_dirty *self, uint64_t ipa)
{
	uint64_t i = (ipa - PKVM_MEM_IPA) / PAGE;

	return self->bitmap[i / 64] >> i % 64 & 1;
}

static uint64_t entry(struct _test_data_dirty *self, uint64_t ipa, int i)
{
	return READ_ONCE(((uint64_t *)(self->vm->mem + ipa - PKVM_MEM_IPA))[i]);
}

/* All that the guest has is there, in blocks where it can, and logged from here on. */
static void log_from_here(struct __test_metadata *_metadata, struct _test_data_dirty *self,
			  const struct _fixture_variant_dirty *variant)
{
	bool manual = variant->manual;

	if (variant->backing == PKVM_THP)
		ASSERT_TRUE(flags_of(pfn_of(self->vm->mem + SZ_2M)) & BIT_ULL(KPF_THP));
	ASSERT_EQ(set_log(self->vm, true), 0);
	memcpy(self->copy, self->vm->mem, MEM_SIZE);
	copy_dirty(self, manual);
}

/* Why it cannot be, or NULL. */
static const char *mark_by_hardware(struct _test_data_dirty *self)
{
	if (self->page != PAGE)
		return "the guest's tables are for pages of 4 KiB";
	if (!pkvm_must(pkvm_vcpu0(self->vm), guest_mark_by_hardware))
		return "no hardware update of access flags";
	return NULL;
}

/* The first write to a block after it is logged is that of a table walk. */
TEST_F_TIMEOUT(dirty, walk_and_store_in_one_block, TIMEOUT)
{
	struct pkvm_vcpu *vcpu = pkvm_vcpu0(self->vm);
	const char *why = mark_by_hardware(self);
	uint64_t i;

	if (why)
		SKIP(return, "%s", why);
	log_from_here(_metadata, self, variant);

	EXPECT_EQ(pkvm_call_timeout(vcpu, ENDLESS_MS, guest_load, WINDOW + 7 * PAGE),
		  PKVM_RETURNED);
	EXPECT_TRUE(entry(self, L3_IPA, 7) & ENTRY_AF);
	for (i = 16; i < 32; i++)
		pkvm_must(vcpu, guest_store, BLOCK_IPA + i * PAGE, i);

	copy_dirty(self, variant->manual);
	EXPECT_TRUE(is_dirty(self, L3_IPA));
	for (i = 16; i < 32; i++)
		EXPECT_TRUE(is_dirty(self, BLOCK_IPA + i * PAGE));
	EXPECT_FALSE(is_dirty(self, BLOCK_IPA + 7 * PAGE));
	EXPECT_EQ(pages_that_differ(self), 0);
}

/* The walk's entry is a block's, in a table that is mapped to read as a page. */
TEST_F_TIMEOUT(dirty, walk_of_a_block_entry, TIMEOUT)
{
	struct pkvm_vcpu *vcpu = pkvm_vcpu0(self->vm);
	const char *why = mark_by_hardware(self);

	if (why)
		SKIP(return, "%s", why);
	log_from_here(_metadata, self, variant);
	/* It breaks up the block that the table lies in. */
	pkvm_must(vcpu, guest_store, L2_IPA + 8 * PAGE, 1);
	pkvm_must(vcpu, guest_load, L2_IPA);

	EXPECT_EQ(pkvm_call_timeout(vcpu, ENDLESS_MS, guest_load, WINDOW_BLOCK + 7 * PAGE),
		  PKVM_RETURNED);
	EXPECT_TRUE(entry(self, L2_IPA, 1) & ENTRY_AF);
	copy_dirty(self, variant->manual);
	EXPECT_TRUE(is_dirty(self, L2_IPA));
	EXPECT_EQ(pages_that_differ(self), 0);
}

/* A log that ends leaves what it had to be read only. */
TEST_F_TIMEOUT(dirty, walk_after_the_log, TIMEOUT)
{
	struct pkvm_vcpu *vcpu = pkvm_vcpu0(self->vm);
	const char *why = mark_by_hardware(self);

	if (why)
		SKIP(return, "%s", why);
	log_from_here(_metadata, self, variant);
	ASSERT_EQ(set_log(self->vm, false), 0);

	EXPECT_EQ(pkvm_call_timeout(vcpu, ENDLESS_MS, guest_load, WINDOW + 7 * PAGE),
		  PKVM_RETURNED);
	EXPECT_TRUE(entry(self, L3_IPA, 7) & ENTRY_AF);
	pkvm_must(vcpu, guest_store, L3_IPA + 9 * PAGE, 9);
}

TEST_HARNESS_MAIN
