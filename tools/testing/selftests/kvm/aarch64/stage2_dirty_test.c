// SPDX-License-Identifier: GPL-2.0-only
/*
 * Does the log of dirty pages tell all that a VMM has to know to move a guest while it
 * runs? Several vCPUs write to the same pages, and the host does as a migration does:
 * asks what is dirty, clears that, and copies those pages, over and over. Then the vCPUs
 * stop, the last pages are copied, and the copy must be the guest's memory.
 *
 * Owns no part of the kernel: ordinary guests, in every mode.
 */
#include <linux/sizes.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "kvm_util.h"
#include "processor.h"
#include "pkvm.h"

#define TIMEOUT		240
#define NR_VCPUS	2
#define MEM_SIZE	SZ_4M
#define NR_ROUNDS	16

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

FIXTURE(dirty) {
	struct pkvm_vm *vm;
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

TEST_F_TIMEOUT(dirty, nothing_is_missed, TIMEOUT)
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
			pages += copy_dirty(self, variant->manual);
			usleep(r % 8 * 1000);
		}
		for (i = 0; i < NR_VCPUS; i++)
			EXPECT_EQ(pkvm_thread_stop(&self->threads[i]), -EINTR);
		pages += copy_dirty(self, variant->manual);
		missed += pages_that_differ(self);
		ASSERT_EQ(set_log(self->vm, false), 0);
		if (missed)
			break;
	}
	EXPECT_EQ(missed, 0);
	EXPECT_GT(pages, rounds);
	TH_LOG("%zu of %zu rounds, %zu pages", r, rounds, pages);
}

TEST_HARNESS_MAIN
