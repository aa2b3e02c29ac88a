// SPDX-License-Identifier: GPL-2.0-only
/*
 * Each transition of the ownership table, in KTAP: every call of ops.c compares all
 * state with the model, and what it returns is said here. Each case has a process and
 * a machine of its own for each kind of CPU, so that one that dies does not hide the
 * others.
 *
 *	unit [CASE...]
 */
#include <fnmatch.h>
#include <sys/wait.h>
#include <unistd.h>

#include <nvhe/guest_monitor.h>
#include <nvhe/guest_mpam.h>
#include <nvhe/host_buffers.h>
#include <nvhe/host_smc.h>
#include <nvhe/leaf.h>

#include "spmc.h"
#include "unit.h"
#include "walk.h"

/* The CPUs that the tests of this directory run on. */
static const struct fake_features machines[] = {
	{ .pa_bits = 40 },
	{ .pa_bits = 42, .fwb = true },
	{ .pa_bits = 44, .tlb_range = true },
	{ .pa_bits = 48, .fwb = true, .tlb_range = true },
	{ .pa_bits = 52, .fwb = true, .tlb_range = true, .lpa2 = true },
};

#define RWX	KVM_PGTABLE_PROT_RWX
#define R	KVM_PGTABLE_PROT_R
#define W	KVM_PGTABLE_PROT_W
#define X	KVM_PGTABLE_PROT_X
#define DEV	KVM_PGTABLE_PROT_DEVICE
#define NC	KVM_PGTABLE_PROT_NORMAL_NC

/* What the next VM has for memory: all, if a test says nothing else. */
static struct pkvm_guest_ram ram;

void declare_ram(u64 gfn, u64 nr)
{
	ram = (struct pkvm_guest_ram) { .nr = 1, .range[0] = { gfn, nr } };
}

/* Where the tests take pages from: structures from the front, the rest at will. */
static phys_addr_t next_page;

phys_addr_t take(unsigned long size)
{
	phys_addr_t phys = ALIGN(next_page, size);

	next_page = phys + size;

	return phys;
}

unsigned int make_vm(bool protected, unsigned int nr_vcpus)
{
	phys_addr_t host = take(PAGE_SIZE);
	long handle;

	is(op_share_hyp(PFN(host)), 0);
	handle = op_init_vm(host, take(VM_SIZE), take(pgd_size()), nr_vcpus, protected,
			    &ram);
	check(handle >= PKVM_HANDLE_OFFSET);
	for (unsigned int i = 0; i < nr_vcpus; i++) {
		host = take(PAGE_SIZE);
		is(op_share_hyp(PFN(host)), 0);
		is(op_init_vcpu(handle, host, take(VCPU_SIZE), i), 0);
	}

	return handle;
}

static void topup(unsigned int nr)
{
	phys_addr_t pages[16];

	for (unsigned int i = 0; i < nr; i++)
		pages[i] = take(PAGE_SIZE);
	op_topup(pages, nr);
}

/* A VM with vCPU 0 loaded here and pages for tables put out. */
unsigned int start_vm(bool protected)
{
	unsigned int handle = make_vm(protected, 1);

	is(op_load(handle, 0), 0);
	topup(12);

	return handle;
}

static void test_lock_order(void)
{
	check(!fake_lock_ranks(OWNERSHIP_H));
}

static void test_host_touch(void)
{
	is(op_host_touch(HOST_MEM), 0);
	is(op_host_touch(HOST_MEM), 0);
	is(op_host_touch(MEM0), 1);
	is(op_host_touch(MEM1), 0);
	is(op_host_touch(NOMAP), 0);
	is(op_host_touch(DEVICE), 0);
	is(op_host_touch(MEM2 + SZ_2M), 0);
	is(op_host_touch((1UL << fake_features.pa_bits) - PAGE_SIZE), 0);
	if (fake_features.pa_bits < 52)
		is(op_host_touch(1UL << fake_features.pa_bits), 1);
}

static void test_share_hyp(void)
{
	u64 pfn = PFN(HOST_MEM);

	is(op_unshare_hyp(pfn), -EPERM);
	is(op_share_hyp(pfn), 0);
	is(op_share_hyp(pfn), -EPERM);
	is(op_host_touch(HOST_MEM), 0);
	is(op_donate_hyp(pfn, 1), -EPERM);
	is(op_share_ffa(pfn, 1), -EPERM);
	is(op_unshare_hyp(pfn), 0);
	is(op_unshare_hyp(pfn), -EPERM);
	is(op_share_hyp(PFN(MEM0)), -EPERM);
	is(op_share_hyp(PFN(DEVICE)), -EPERM);
	is(op_share_hyp(PFN(NOMAP)), -EPERM);
	is(op_share_hyp(PFN(NOMAP) - 1), 0);
	is(op_share_hyp(PFN(MEM_END)), -EPERM);
	is(op_share_hyp(1UL << (fake_features.pa_bits - 12)), -EPERM);
	is(op_share_hyp(-1UL), -EINVAL);
	is(op_unshare_hyp(-1UL), -EINVAL);
	/* The same page, but for bits that no address has. */
	is(op_share_hyp(pfn | 1UL << 52), -EINVAL);
	is(op_share_hyp(pfn), 0);
	is(op_unshare_hyp(pfn | 1UL << 63), -EINVAL);
	is(op_unshare_hyp(pfn), 0);
}

static void test_pins(void)
{
	u64 pfn = PFN(HOST_MEM);

	is(op_pin(HOST_MEM, 100), -EPERM);
	is(op_share_hyp(pfn), 0);
	is(op_pin(HOST_MEM + 4000, 96), 0);
	is(op_pin(HOST_MEM + 4000, 97), -EPERM);
	is(op_unshare_hyp(pfn), -EBUSY);
	is(op_share_hyp(pfn + 1), 0);
	is(op_pin(HOST_MEM + 4000, 97), 0);
	op_unpin(HOST_MEM + 4000, 96);
	is(op_unshare_hyp(pfn), -EBUSY);
	op_unpin(HOST_MEM + 4000, 97);
	is(op_unshare_hyp(pfn), 0);
	is(op_unshare_hyp(pfn + 1), 0);
	/* As if the host had it pinned as often as can be counted. */
	is(op_share_hyp(pfn), 0);
	is(op_share_hyp(pfn + 1), 0);
	hyp_phys_to_page(HOST_MEM + PAGE_SIZE)->refcount = 65534;
	mpage(HOST_MEM + PAGE_SIZE)->pins = 65534;
	is(op_pin(HOST_MEM, 2 * PAGE_SIZE), 0);
	is(op_pin(HOST_MEM, 2 * PAGE_SIZE), -EBUSY);
	is(op_pin(HOST_MEM, PAGE_SIZE), 0);
	op_unpin(HOST_MEM, PAGE_SIZE);
	op_unpin(HOST_MEM, 2 * PAGE_SIZE);
	hyp_phys_to_page(HOST_MEM + PAGE_SIZE)->refcount = 0;
	mpage(HOST_MEM + PAGE_SIZE)->pins = 0;
	is(op_unshare_hyp(pfn), 0);
	is(op_unshare_hyp(pfn + 1), 0);
}

static void test_donate_hyp(void)
{
	u64 pfn = PFN(BLOCK);

	is(op_host_touch(BLOCK), 0);
	is(op_donate_hyp(pfn + 7, 3), 0);
	is(op_host_touch(BLOCK), 0);
	is(op_host_touch(BLOCK + 7 * PAGE_SIZE), 1);
	is(op_donate_hyp(pfn + 9, 1), -EPERM);
	is(op_donate_hyp(pfn + 5, 3), -EPERM);
	is(op_share_hyp(pfn + 8), -EPERM);
	is(op_force_reclaim(pfn + 8), -EPERM);
	is(op_can_access(pfn + 8), 0);
	is(op_hyp_donate_host(pfn + 7, 3), 0);
	is(op_can_access(pfn + 8), 1);
	is(op_donate_hyp(PFN(MEM1 + MEM1_SIZE) - 1, 2), -EPERM);
	is(op_donate_hyp(PFN(MEM_END) - 1, 2), -EPERM);
}

static void test_ffa(void)
{
	u64 pfn = PFN(HOST_MEM);

	is(op_share_ffa(pfn, 0), -EPERM);
	/* Nothing, at the end of what the table has entries for. */
	is(op_share_ffa(1UL << (fake_features.pa_bits - 12), 0), -EPERM);
	is(op_share_ffa(pfn, 4), 0);
	is(op_share_ffa(pfn + 3, 2), -EPERM);
	is(op_share_hyp(pfn), -EPERM);
	is(op_unshare_hyp(pfn), -EPERM);
	is(op_donate_hyp(pfn, 1), -EPERM);
	is(op_unshare_ffa(pfn + 3, 2), -EPERM);
	is(op_unshare_ffa(pfn, 4), 0);
	is(op_unshare_ffa(pfn, 4), -EPERM);
	is(op_unshare_ffa(1UL << (fake_features.pa_bits - 12), 1), -ERANGE);
}

static void test_init_vm(void)
{
	phys_addr_t host = take(PAGE_SIZE), vm = take(VM_SIZE), pgd = take(pgd_size());
	unsigned int handle;

	is(op_init_vm(host, vm, pgd, 1, true, &ram), -EPERM);
	is(op_share_hyp(PFN(host)), 0);
	is(op_init_vm(host, vm, pgd, 0, true, &ram), -EINVAL);
	is(op_init_vm(host, vm, pgd, 0x7fffffff, true, &ram), -EINVAL);
	is(op_init_vm(host, vm, pgd, KVM_MAX_VCPUS + 1, true, &ram), -EINVAL);
	is(op_init_vm(host, vm, MEM0, KVM_MAX_VCPUS, true, &ram), -ENOMEM);
	is(op_init_vm(host, vm + 8, pgd, 1, true, &ram), -ENOMEM);
	is(op_init_vm(host, vm, vm, 1, true, &ram), -ENOMEM);
	is(op_init_vm(host, vm, MEM0, 1, true, &ram), -ENOMEM);
	is(op_init_vm(host, MEM0, pgd, 1, true, &ram), -ENOMEM);
	is(op_init_vm(host, host, pgd, 1, true, &ram), -ENOMEM);
	kvm_init_params[3].hcr_el2 &= ~HCR_VM;
	is(op_init_vm(host, vm, pgd, 1, true, &ram), -EPERM);
	kvm_init_params[3].hcr_el2 |= HCR_VM;
	handle = op_init_vm(host, vm, pgd, 2, true, &ram);
	is(handle, PKVM_HANDLE_OFFSET);
	is(op_init_vm(host, vm, pgd, 1, true, &ram), -ENOMEM);
	is(op_unshare_hyp(PFN(host)), -EBUSY);
	is(op_finalize(handle), -EBUSY);
	is(op_finalize(handle + 1), -ENOENT);
	is(op_finalize(0), -ENOENT);
	is(op_finalize(PKVM_HANDLE_OFFSET - 1), -ENOENT);
	is(op_finalize(PKVM_HANDLE_OFFSET + KVM_MAX_PVMS), -ENOENT);
	is(op_start_teardown(handle), 0);
	is(op_finalize(handle), 0);
	is(op_finalize(handle), -ENOENT);
	is(op_start_teardown(handle), -ENOENT);
	is(op_unshare_hyp(PFN(host)), 0);
}

/* The first handle is easily guessed. */
static void end_first_vm(void)
{
	check(!__pkvm_start_teardown_vm(PKVM_HANDLE_OFFSET));
	check(!__pkvm_finalize_teardown_vm(PKVM_HANDLE_OFFSET));
}

/* A VM that is gone before the call that made it has returned. */
static void test_init_vm_race(void)
{
	phys_addr_t host = take(PAGE_SIZE), vm = take(VM_SIZE), pgd = take(pgd_size());
	struct kvm *kvm = host_ptr(host);

	is(op_share_hyp(PFN(host)), 0);
	memcpy(host_ptr(vm), &ram, sizeof(ram));
	kvm->arch.pkvm.nr_vcpus = 1;
	kvm->arch.pkvm.enabled = true;
	fake_step();
	fake_other_cpu = end_first_vm;
	is(__pkvm_init_vm(el2_ptr(host), HOST_VIEW + vm, HOST_VIEW + pgd),
	   PKVM_HANDLE_OFFSET);
	check(!fake_other_cpu);
	is(op_finalize(PKVM_HANDLE_OFFSET), -ENOENT);
	is(op_unshare_hyp(PFN(host)), 0);
}

static void test_init_vcpu(void)
{
	phys_addr_t host = take(PAGE_SIZE), vcpu = take(VCPU_SIZE);
	unsigned int handle = make_vm(true, 0 + 1);

	is(op_start_teardown(handle), 0);
	is(op_finalize(handle), 0);
	next_page = HOST_MEM + SZ_1M;
	{
		phys_addr_t kvm = take(PAGE_SIZE);

		is(op_share_hyp(PFN(kvm)), 0);
		handle = op_init_vm(kvm, take(VM_SIZE), take(pgd_size()), 2, true, &ram);
	}
	is(op_init_vcpu(handle, host, vcpu, 0), -EBUSY);
	is(op_share_hyp(PFN(host)), 0);
	is(op_init_vcpu(handle, host, vcpu, 1), -EINVAL);
	is(op_init_vcpu(handle + 1, host, vcpu, 0), -ENOENT);
	is(op_init_vcpu(handle, host, vcpu + 16, 0), -ENOMEM);
	is(op_init_vcpu(handle, host, host, 0), -ENOMEM);
	fake_init_vcpu_ret = -EPERM;
	is(op_init_vcpu(handle, host, vcpu, 0), -EPERM);
	fake_init_vcpu_ret = 0;
	is(op_init_vcpu(handle, host, vcpu, 0), 0);
	/* vCPUs of a protected VM wait for each other. */
	is(op_load(handle, 0), -EBUSY);
	is(op_init_vcpu(handle, host, take(VCPU_SIZE), 1), 0);
	is(op_init_vcpu(handle, host, take(VCPU_SIZE), 2), -EINVAL);
	is(op_load(handle, 0), 0);
}

static void test_load(void)
{
	unsigned int a = make_vm(false, 2), b = make_vm(true, 1);

	is(op_load(a, 2), -ENOENT);
	is(op_load(a, -1U), -ENOENT);
	is(op_load(b + 1, 0), -ENOENT);
	is(op_load(0, 0), -ENOENT);
	is(op_load(a, 0), 0);
	is(op_load(a, 0), -EBUSY);
	is(op_load(a, 1), -EBUSY);
	is(op_start_teardown(a), -EBUSY);
	fake_cpu = 1;
	is(op_load(a, 0), -EBUSY);
	is(op_load(b, 0), 0);
	op_put();
	op_put();
	is(op_load(a, 1), 0);
	fake_cpu = 0;
	op_put();
	is(op_start_teardown(a), -EBUSY);
	is(op_load(a, 0), 0);
	op_put();
	fake_cpu = 1;
	op_put();
	is(op_load(a, 0), 0);
	op_put();
	is(op_start_teardown(a), 0);
	is(op_load(a, 0), -EBUSY);
	is(op_finalize(a), 0);
	is(op_load(a, 0), -ENOENT);
}

static void test_donate_guest(void)
{
	u64 pfn = PFN(BLOCK), end = 1UL << (fake_features.pa_bits - 12), w1 = window_gfn(1);
	unsigned int handle = start_vm(true);
	phys_addr_t page = take(PAGE_SIZE);

	is(op_donate_guest(pfn, 5, 0), -EINVAL);
	is(op_donate_guest(pfn, 5, 513), -EINVAL);
	is(op_donate_guest(pfn, 5, -1UL), -EINVAL);
	is(op_donate_guest(1UL << 52, 5, 1), -EINVAL);
	is(op_donate_guest(pfn, 1UL << 52, 1), -EINVAL);
	is(op_donate_guest(-1UL, 5, 2), -EINVAL);
	is(op_donate_guest((1UL << 52) - 1, 5, 2), -EINVAL);
	is(op_donate_guest(pfn, (1UL << 52) - 1, 2), -EINVAL);
	is(op_donate_guest(pfn, -1UL, 2), -EINVAL);
	if (fake_features.pa_bits < 52) {
		is(op_donate_guest(pfn, end, 1), -ERANGE);
		is(op_donate_guest(pfn, end - 1, 2), -ERANGE);
		is(op_donate_guest(end, 5, 1), -EPERM);
	}
	is(op_donate_guest(PFN(DEVICE), 5, 1), -EPERM);
	is(op_donate_guest(PFN(NOMAP), 5, 1), -EPERM);
	is(op_donate_guest(PFN(NOMAP) - 1, 5, 2), -EPERM);
	is(op_donate_guest(PFN(MEM1) - 1, 5, 2), -EPERM);
	is(op_donate_guest(PFN(MEM0), 5, 1), -EPERM);
	is(op_host_touch(BLOCK), 0);
	is(op_donate_guest(pfn + 3, 5, 1), 0);
	is(op_donate_guest(pfn + 3, 6, 1), -EPERM);
	is(op_donate_guest(pfn + 4, 5, 1), -EEXIST);
	is(op_donate_guest(pfn + 4, 4, 2), -EEXIST);
	is(op_donate_guest(pfn + 2, 7, 2), -EPERM);
	is(op_host_touch(BLOCK + 3 * PAGE_SIZE), 1);
	is(op_host_touch(BLOCK + 2 * PAGE_SIZE), 0);
	is(op_share_hyp(pfn + 3), -EPERM);
	is(op_donate_hyp(pfn + 3, 1), -EPERM);
	is(op_share_ffa(pfn + 3, 1), -EPERM);
	is(op_donate_guest(pfn + 512, w1 + 256, 512), 0);
	is(op_donate_guest(pfn + 4, window_gfn(2) + WINDOW_PAGES - 1, 1), 0);
	is(op_share_hyp(PFN(page)), 0);
	is(op_donate_guest(PFN(page), 20, 1), -EPERM);
	is(op_share_guest(PFN(page) + 1, 20, 1, RWX), -EINVAL);
	is(op_relax(5, 1, RWX), -EINVAL);
	is(op_stage2(handle, PKVM_S2_UNSHARE, 5, 1), -EINVAL);
	is(op_reclaim(handle, pfn + 3, 5, 1), -EBUSY);
	op_put();
	is(op_start_teardown(handle), 0);
	is(op_finalize(handle), -EBUSY);
	is(op_reclaim(handle, pfn + 3, 5, 0), -EINVAL);
	is(op_reclaim(handle + 1, pfn + 3, 5, 1), -ENOENT);
	is(op_reclaim(handle, pfn + 4, 5, 1), -EPERM);
	is(op_reclaim(handle, pfn + 3, 6, 1), -ENOENT);
	is(op_reclaim(handle, 1UL << 52, 5, 1), -EINVAL);
	is(op_reclaim(handle, pfn + 3, 1UL << 52, 1), -EINVAL);
	if (fake_features.pa_bits < 52)
		is(op_reclaim(handle, pfn + 3, end, 1), -ERANGE);
	is(op_reclaim(handle, pfn + 3, 5, 1), 1);
	is(op_reclaim(handle, pfn + 3, 5, 1), -ENOENT);
	is(op_host_touch(BLOCK + 3 * PAGE_SIZE), 0);
	is(op_reclaim(handle, pfn + 4, window_gfn(2) + WINDOW_PAGES - 1, 9), 1);
	fake_irq_after = 3;
	is(op_reclaim(handle, pfn + 512, w1 + 256, 512), 3);
	is(op_reclaim(handle, pfn + 515, w1 + 259, -1UL), 509);
	is(op_finalize(handle), 0);
}

static void test_tables_needed(void)
{
	u64 pfn = PFN(BLOCK), w1 = window_gfn(1);
	unsigned int handle, levels;
	phys_addr_t pages[16];

	declare_ram(4, (1UL << 52) - 4);
	handle = make_vm(true, 1);
	is(op_load(handle, 0), 0);
	levels = 3 - ((struct pkvm_hyp_vm *)el2_ptr(m.vm[0].vm))->pgt.start_level;
	op_topup(pages, 0);
	is(op_donate_guest(pfn, w1 + 511, 1), levels);
	/* Two walks part at the first level and below. */
	is(op_donate_guest(pfn, w1 + 511, 2), 2 * levels - (levels > 2));
	is(op_mmio_map(slot_gfn(3) << 12), -ENOMEM);
	for (unsigned int n = 1; n < 2 * levels - (levels > 2); n++) {
		topup(1);
		is(op_donate_guest(pfn, w1 + 511, 2), 2 * levels - (levels > 2));
	}
	topup(1);
	is(op_donate_guest(pfn, w1 + 511, 2), 0);
	is(op_donate_guest(pfn + 4, w1 + 4, 3), 0);
	is(op_donate_guest(pfn + 8, w1 + WINDOW_PAGES - 1, 1), 0);

	/* What is put out may be anything. */
	pages[0] = 0x1234;
	op_topup(pages, 1);
	is(op_donate_guest(pfn + 9, window_gfn(2), 1), levels - (levels > 2 ? 0 : 0));
	pages[0] = MEM0;
	op_topup(pages, 1);
	is(op_donate_guest(pfn + 9, window_gfn(2), 1), levels);
	pages[0] = -PAGE_SIZE;
	op_topup(pages, 1);
	is(op_donate_guest(pfn + 9, window_gfn(2), 1), levels);
	pages[0] = BLOCK;
	op_topup(pages, 1);
	is(op_donate_guest(pfn + 9, window_gfn(2), 1), levels);
	host_mc()->nr_pages = -1UL;
	host_mc()->head = BLOCK2;
	*(u64 *)host_ptr(BLOCK2) = BLOCK2;
	is(op_donate_guest(pfn + 9, window_gfn(2), 1), levels == 1 ? 0 : levels);
	check(m.page[page_index(BLOCK2)].owner == OWNER_EL2);
}

static void test_guest_share(void)
{
	u64 pfn = PFN(BLOCK), ipa = 5 << 12;
	unsigned int handle = start_vm(true);
	struct kvm_pgtable *pgt = &pkvm_hyp_vcpu_to_hyp_vm(loaded_vcpu())->pgt;
	struct pkvm_leaf leaf, beyond;

	/* What speculation makes of an address that is none stays in the table. */
	pkvm_find_leaf(pgt, ipa, &leaf);
	pkvm_find_leaf(pgt, ipa | 7UL << pgt->ia_bits | 1UL << 63, &beyond);
	check(beyond.ptep == leaf.ptep);

	is(op_guest_share(ipa), -ENOENT);
	is(op_guest_unshare(ipa), -ENOENT);
	is(op_donate_guest(pfn, 5, 3), 0);
	is(op_guest_unshare(ipa), -EPERM);
	is(op_guest_share(ipa + 8), -EINVAL);
	is(op_guest_share(1UL << fake_features.pa_bits), -EINVAL);
	is(op_guest_share(-PAGE_SIZE), -EINVAL);
	is(op_guest_unshare(ipa + 8), -EINVAL);
	is(op_guest_unshare(1UL << fake_features.pa_bits), -EINVAL);
	is(op_guest_share(ipa), 0);
	is(op_guest_share(ipa), -EPERM);
	is(op_host_touch(BLOCK), 0);
	is(op_can_access(pfn), 1);
	is(op_force_reclaim(pfn), -EAGAIN);
	/* What the host has on loan is not its own. */
	is(op_share_hyp(pfn), -EPERM);
	is(op_donate_hyp(pfn, 1), -EPERM);
	is(op_donate_guest(pfn, 9, 1), -EPERM);
	is(op_share_ffa(pfn, 1), -EPERM);
	is(op_guest_unshare(ipa), 0);
	/* Until the host returns it, it is the host's to use. */
	is(op_host_touch(BLOCK), 0);
	is(op_donate_guest(pfn + 1, 5, 1), -EPERM);
	is(op_donate_guest(pfn + 9, 5, 1), -EPERM);
	is(op_donate_guest(PFN(MEM0), 5, 1), -EPERM);
	is(op_donate_guest(1UL << 52, 5, 1), -EINVAL);
	is(op_donate_guest(pfn, 5, 2), -EPERM);
	is(op_donate_guest(pfn, 6, 1), -EPERM);
	is(op_donate_guest(pfn, 5, 1), 0);
	is(op_host_touch(BLOCK), 1);
	is(op_donate_guest(pfn, 5, 1), -EPERM);
	is(op_guest_unshare(ipa), -EPERM);
	is(op_guest_share(ipa), 0);
	is(op_guest_share(ipa + PAGE_SIZE), 0);
	/* A guest that runs on waits no more. */
	is(op_guest_unshare(ipa), 0);
	is(op_guest_share(ipa), -EPERM);
	is(op_donate_guest(pfn, 5, 1), -EPERM);
	/* And other memory can come while it waits. */
	is(op_guest_unshare(ipa), 0);
	is(op_donate_guest(pfn + 9, 9, 1), 0);
	op_put();
	is(op_load(handle, 0), 0);
	is(op_donate_guest(pfn, 5, 1), 0);
	is(op_guest_share(ipa), 0);
	op_put();
	is(op_start_teardown(handle), 0);
	is(op_reclaim(handle, pfn, 5, 3), 3);
	is(op_reclaim(handle, pfn + 9, 9, 1), 1);
	is(op_finalize(handle), 0);
}

/* Two vCPUs wait for one page. */
static void test_unshare_twice(void)
{
	u64 pfn = PFN(BLOCK), ipa = 5 << 12;
	unsigned int handle = make_vm(true, 2);

	is(op_load(handle, 0), 0);
	topup(12);
	is(op_donate_guest(pfn, 5, 1), 0);
	is(op_guest_share(ipa), 0);
	is(op_guest_unshare(ipa), 0);
	fake_cpu = 1;
	is(op_load(handle, 1), 0);
	is(op_donate_guest(pfn, 5, 1), -EPERM);
	is(op_guest_unshare(ipa), 0);
	is(op_donate_guest(pfn, 5, 1), 0);
	fake_cpu = 0;
	is(op_donate_guest(pfn, 5, 1), -EPERM);
	is(op_force_reclaim(pfn), 0);
	is(op_donate_guest(pfn, 5, 1), -EHWPOISON);
}

static void test_guest_ram(void)
{
	u64 top = 1UL << 52, pfn = PFN(BLOCK);
	phys_addr_t host = take(PAGE_SIZE), vm = take(VM_SIZE), pgd = take(pgd_size());

	is(op_share_hyp(PFN(host)), 0);
	for (int protected = 0; protected < 2; protected++) {
		declare_ram(5, 0);
		is(op_init_vm(host, vm, pgd, 1, protected, &ram), -EINVAL);
		declare_ram(top, 1);
		is(op_init_vm(host, vm, pgd, 1, protected, &ram), -EINVAL);
		declare_ram(top + 1, 1);
		is(op_init_vm(host, vm, pgd, 1, protected, &ram), -EINVAL);
		declare_ram(top - 1, 2);
		is(op_init_vm(host, vm, pgd, 1, protected, &ram), -EINVAL);
		declare_ram(5, -1UL);
		is(op_init_vm(host, vm, pgd, 1, protected, &ram), -EINVAL);
		for (int i = 0; i < PKVM_MAX_RAM_RANGES; i++)
			ram.range[i] = (struct pkvm_ram_range) { 5 + 2 * i, 1 };
		ram.nr = PKVM_MAX_RAM_RANGES + 1;
		is(op_init_vm(host, vm, pgd, 1, protected, &ram), -EINVAL);
		ram.nr = -1UL;
		is(op_init_vm(host, vm, pgd, 1, protected, &ram), -EINVAL);
	}
	/* All that can be declared: every other page from 5 on. */
	ram.nr = PKVM_MAX_RAM_RANGES;
	start_vm(true);
	is(op_donate_guest(pfn, 4, 1), -EPERM);
	is(op_donate_guest(pfn, 5, 2), -EPERM);
	is(op_donate_guest(pfn, 5, 1), 0);
	is(op_donate_guest(pfn + 1, 6, 1), -EPERM);
	is(op_donate_guest(pfn + 1, 5 + 126, 1), 0);
	is(op_donate_guest(pfn + 2, 5 + 128, 1), -EPERM);
	is(op_mmio_map(6 << 12), 0);
	is(op_mmio_map(7 << 12), -EEXIST);
	is(op_mmio_allowed(7 << 12), false);
	is(op_mmio_allowed(8 << 12), true);
	op_put();
	/* None at all. */
	ram.nr = 0;
	start_vm(true);
	is(op_donate_guest(pfn + 2, 0, 1), -EPERM);
	is(op_donate_guest(pfn + 2, 5, 1), -EPERM);
	is(op_mmio_allowed(5 << 12), true);
}

static void test_force_reclaim(void)
{
	u64 pfn = PFN(BLOCK), ipa = 5 << 12;
	unsigned int handle = start_vm(true);

	is(op_force_reclaim(pfn), -EAGAIN);
	is(op_force_reclaim(PFN(DEVICE)), -EPERM);
	is(op_force_reclaim(PFN(NOMAP)), -EPERM);
	is(op_force_reclaim(PFN(MEM0)), -EPERM);
	is(op_force_reclaim(1UL << 52), -EINVAL);
	is(op_can_access(1UL << 52), -EINVAL);
	is(op_can_access(PFN(DEVICE)), -EINVAL);
	is(op_can_access(PFN(NOMAP)), -EINVAL);
	is(op_donate_guest(pfn, 5, 3), 0);
	is(op_can_access(pfn), 0);
	is(op_force_reclaim(pfn + 1), 0);
	is(op_force_reclaim(pfn + 1), -EAGAIN);
	is(op_can_access(pfn + 1), 1);
	is(op_donate_guest(pfn + 1, 6, 1), -EHWPOISON);
	is(op_guest_share(ipa + PAGE_SIZE), -EHWPOISON);
	is(op_guest_unshare(ipa + PAGE_SIZE), -EHWPOISON);
	is(op_mmio_map(ipa + PAGE_SIZE), -EEXIST);
	is(op_mmio_unmap(ipa + PAGE_SIZE), -ENOENT);
	is(op_mmio_allowed(ipa + PAGE_SIZE), false);
	is(op_donate_guest(pfn + 1, 9, 1), 0);
	is(op_guest_share(ipa), 0);
	op_put();
	is(op_start_teardown(handle), 0);
	is(op_force_reclaim(pfn + 2), 0);
	is(op_reclaim(handle, pfn, 5, 3), 3);
	is(op_reclaim(handle, pfn + 1, 9, 1), 1);
	is(op_finalize(handle), 0);
}

static void test_mmio(void)
{
	u64 pfn = PFN(BLOCK), ipa = 5 << 12;
	struct pkvm_hyp_vm *hyp_vm;
	unsigned int handle;

	declare_ram(6, 1);
	handle = start_vm(true);
	is(op_mmio_map(ipa), -ENOMEM);
	is(op_mmio_map(ipa + PAGE_SIZE), -EEXIST);
	is(op_mmio_allowed(ipa + PAGE_SIZE), false);
	is(op_donate_guest(pfn, 6, 1), 0);
	is(op_mmio_map(ipa + 1), -EINVAL);
	is(op_mmio_map(1UL << fake_features.pa_bits), -EINVAL);
	is(op_mmio_unmap(ipa + 1), -EINVAL);
	is(op_mmio_unmap(1UL << fake_features.pa_bits), -EINVAL);
	is(op_mmio_allowed(ipa), true);
	is(op_mmio_map(ipa), 0);
	is(op_mmio_map(ipa), 0);
	is(op_mmio_map(ipa + PAGE_SIZE), -EEXIST);
	is(op_mmio_allowed(ipa), true);
	is(op_mmio_allowed(ipa + PAGE_SIZE), false);
	is(op_donate_guest(pfn + 1, 5, 1), -EPERM);
	is(op_guest_share(ipa), -EPERM);
	m.vm[0].mmio_guard = true;
	((struct pkvm_hyp_vm *)el2_ptr(m.vm[0].vm))->mmio_guard = true;
	is(op_mmio_allowed(ipa + 2 * PAGE_SIZE), false);
	is(op_mmio_allowed(ipa), true);
	is(op_mmio_unmap(ipa), 0);
	is(op_mmio_unmap(ipa), -ENOENT);
	is(op_mmio_allowed(ipa), false);
	is(op_mmio_map(ipa), 0);
	/* Where it has tables already, as often as it likes; then no more of them. */
	hyp_vm = el2_ptr(m.vm[0].vm);
	check(hyp_vm->nr_guard_tables <= 4);
	hyp_vm->nr_guard_tables = SZ_4M >> PAGE_SHIFT;
	fake_step();
	is(pkvm_guest_mmio_map(loaded_vcpu(), window_gfn(1) << PAGE_SHIFT), -ENOSPC);
	is(op_mmio_unmap(ipa), 0);
	is(op_mmio_map(ipa), 0);
	op_put();
	is(op_start_teardown(handle), 0);
	is(op_reclaim(handle, pfn, 5, 1), -EPERM);
	is(op_reclaim(handle, pfn, 6, 1), 1);
	is(op_finalize(handle), 0);
}

static void test_share_guest(void)
{
	u64 pfn = PFN(BLOCK), w1 = window_gfn(1), end = 1UL << (fake_features.pa_bits - 12);
	unsigned int handle = start_vm(false);

	is(op_donate_guest(pfn, 5, 1), -EINVAL);
	is(op_share_guest(pfn, 5, 0, RWX), -EINVAL);
	is(op_share_guest(pfn, 5, 513, RWX), -EINVAL);
	is(op_share_guest(1UL << 52, 5, 1, RWX), -EINVAL);
	is(op_share_guest(pfn, 1UL << 52, 1, RWX), -EINVAL);
	is(op_share_guest(pfn, 5, 1, 0), -EINVAL);
	is(op_share_guest(pfn, 5, 1, W | X), -EINVAL);
	is(op_share_guest(pfn, 5, 1, R | DEV | NC), -EINVAL);
	is(op_share_guest(pfn, 5, 1, RWX | DEV), -EINVAL);
	is(op_share_guest(pfn, 5, 1, RWX | NC), -EINVAL);
	is(op_share_guest(pfn, 5, 1, RWX | KVM_PGTABLE_PROT_SW0), -EINVAL);
	is(op_share_guest(pfn, 5, 1, -1UL), -EINVAL);
	if (fake_features.pa_bits < 52) {
		is(op_share_guest(pfn, end, 1, RWX), -ERANGE);
		is(op_share_guest(end, 5, 1, R | DEV), -EPERM);
	}
	is(op_share_guest(PFN(MEM0), 5, 1, RWX), -EPERM);
	is(op_share_guest(PFN(DEVICE), 5, 1, RWX), -EPERM);
	is(op_share_guest(PFN(NOMAP), 5, 1, R), -EPERM);
	is(op_share_guest(PFN(NOMAP) - 1, 5, 2, R | DEV), -EPERM);
	is(op_share_guest(PFN(DEVICE), 5, 2, R | W | DEV), 0);
	is(op_share_guest(PFN(NOMAP), 7, 2, R | NC), 0);
	/* Nobody runs code of a device, nor of what is not cached. */
	is(op_relax(5, 1, RWX), -EINVAL);
	is(op_relax(8, 1, R | X), -EINVAL);
	is(op_relax(8, 1, R | W | NC), 0);
	is(op_share_guest(pfn, 5, 1, RWX), 0);
	is(op_share_guest(pfn, 5, 1, RWX), -EAGAIN);
	is(op_share_guest(pfn, 5, 1, R), -EAGAIN);
	is(op_share_guest(pfn + 1, 5, 1, R), 0);
	is(op_share_guest(pfn, w1 + 500, 30, RWX), 0);
	/* What a guest maps is given to nobody. */
	is(op_share_hyp(pfn + 1), -EPERM);
	is(op_donate_hyp(pfn + 1, 1), -EPERM);
	is(op_share_ffa(pfn + 1, 1), -EPERM);
	is(op_relax(5, 0, R | W), -E2BIG);
	is(op_relax(5, 1, R | W), 0);
	is(op_relax(5, 1, 0), 0);
	is(op_relax(6, 0, 0), 0);
	is(op_relax(20, 1, R), -EAGAIN);
	is(op_relax(5, 1, W), -EINVAL);
	is(op_relax(1UL << 52, 1, R), -EINVAL);
	if (fake_features.pa_bits < 52)
		is(op_relax(end, 1, R), -ERANGE);
	is(op_stage2(handle, PKVM_S2_TEST_YOUNG, 0, 16), 1);
	is(op_stage2(handle, PKVM_S2_CLEAR_YOUNG, 0, 16), 1);
	is(op_stage2(handle, PKVM_S2_TEST_YOUNG, 0, 16), 0);
	is(op_stage2(handle, PKVM_S2_CLEAR_YOUNG, 0, 16), 0);
	is(op_relax(6, 0, 0), 0);
	is(op_stage2(handle, PKVM_S2_TEST_YOUNG, 6, 1), 1);
	is(op_stage2(handle, PKVM_S2_WRPROTECT, 0, 8192), 0);
	is(op_stage2(handle, PKVM_S2_TLBI, 0, 1), 0);
	is(op_stage2(handle, PKVM_S2_FLUSH, 0, 8192), 0);
	is(op_stage2(handle, PKVM_S2_FLUSH, 0, 8193), -EINVAL);
	is(op_stage2(handle, PKVM_S2_TLBI + 1, 0, 1), -EINVAL);
	is(op_stage2(handle, -1U, 0, 1), -EINVAL);
	is(op_stage2(handle, PKVM_S2_UNSHARE, 0, 0), -EINVAL);
	is(op_stage2(handle, PKVM_S2_UNSHARE, -1UL, 2), -EINVAL);
	is(op_stage2(handle, PKVM_S2_UNSHARE, 2, -1UL), -EINVAL);
	is(op_stage2(handle + 1, PKVM_S2_UNSHARE, 0, 1), -ENOENT);
	if (fake_features.pa_bits < 52)
		is(op_stage2(handle, PKVM_S2_UNSHARE, 0, end + 1), -ERANGE);
	is(op_stage2(handle, PKVM_S2_UNSHARE, 5, 1), 0);
	is(op_share_hyp(pfn + 1), -EPERM);
	op_put();
	is(op_start_teardown(handle), 0);
	is(op_reclaim(handle, pfn, 5, 1), -EINVAL);
	is(op_finalize(handle), -EBUSY);
	is(op_stage2(handle, PKVM_S2_UNSHARE, 0, end - (end == 1UL << 40)), 0);
	is(op_share_hyp(pfn + 1), 0);
	is(op_finalize(handle), 0);
}

static void test_share_block(void)
{
	u64 pfn = PFN(BLOCK), w1 = window_gfn(1);
	unsigned int handle = start_vm(false);

	is(op_host_touch(BLOCK), 0);
	is(op_share_guest(pfn, 0, 512, RWX), 0);
	is(op_share_guest(pfn, 0, 512, RWX), -EAGAIN);
	/* The block's head counts for each of its pages. */
	is(op_share_hyp(pfn), -EPERM);
	is(op_share_hyp(pfn + 511), -EPERM);
	is(op_donate_hyp(pfn + 100, 1), -EPERM);
	is(op_share_guest(pfn, w1, 512, R), 0);
	is(op_share_guest(pfn + 7, w1 + 512, 512, R), 0);
	is(op_share_guest(pfn + 512, 512, 3, R), 0);
	is(op_stage2(handle, PKVM_S2_WRPROTECT, 3, 1), 0);
	is(op_stage2(handle, PKVM_S2_TLBI, 3, 1), 0);
	is(op_relax(511, 1, RWX), -E2BIG);
	is(op_relax(511, 511, R), -E2BIG);
	is(op_relax(511, 512, RWX), 0);
	is(op_stage2(handle, PKVM_S2_FLUSH, 3, 1), 0);
	/* A page in the middle of a block takes the block's place. */
	is(op_share_guest(pfn + 3, 3, 1, RWX), 0);
	is(op_share_hyp(pfn), -EPERM);
	is(op_stage2(handle, PKVM_S2_UNSHARE, w1 + 5, 1), 0);
	is(op_share_hyp(pfn), 0);
	is(op_share_hyp(pfn + 8), -EPERM);
	is(op_unshare_hyp(pfn), 0);
	/* And a block that of pages, whose table is given back. */
	is(op_share_guest(pfn, 0, 512, R | W), 0);
	is(op_share_guest(pfn, 512, 512, R), 0);
	is(op_share_guest(pfn + 1, 400, 200, R), 0);
	is(op_stage2(handle, PKVM_S2_UNSHARE, 0, 1 << 20), 0);
	is(op_share_hyp(pfn), 0);
	/* Memory that begins and ends in the middle of a block */
	is(op_share_guest(PFN(MEM1), 0, 255, RWX), 0);
	is(op_share_guest(PFN(MEM1) + 255, 512, 128, RWX), 0);
	is(op_donate_hyp(PFN(MEM1), 1), -EPERM);
	is(op_donate_hyp(PFN(MEM1) + 382, 1), -EPERM);
	is(op_stage2(handle, PKVM_S2_UNSHARE, 0, 1 << 20), 0);
	is(op_donate_hyp(PFN(MEM1), 1), 0);
	is(op_share_guest(PFN(MEM1), 0, 1, RWX), -EPERM);
}

static void test_share_limits(void)
{
	u64 pfn = PFN(BLOCK);
	unsigned int handle = start_vm(false);
	struct hyp_page *page = hyp_phys_to_page(BLOCK);

	/* As if many guests did. */
	page->nr_blocks = 254;
	mpage(BLOCK)->blocks = 254;
	is(op_share_guest(pfn, 0, 512, R), 0);
	is(op_share_guest(pfn, 512, 512, R), -EBUSY);
	is(op_share_guest(pfn, 512, 1, R), 0);
	is(op_stage2(handle, PKVM_S2_UNSHARE, 0, 512), 0);
	is(op_share_guest(pfn, 0, 512, R), 0);
	is(op_stage2(handle, PKVM_S2_UNSHARE, 0, 1024), 0);
	page->nr_blocks = 0;
	mpage(BLOCK)->blocks = 0;

	page[7].refcount = 65534;
	mpage(BLOCK + 7 * PAGE_SIZE)->maps = 65534;
	is(op_share_guest(pfn, 0, 100, R), 0);
	is(op_share_guest(pfn, 200, 100, R), -EBUSY);
	is(op_share_guest(pfn + 7, 400, 1, R), -EBUSY);
	is(op_share_guest(pfn, 200, 7, R), 0);
	is(op_share_guest(pfn, 512, 512, R), 0);
	is(op_stage2(handle, PKVM_S2_UNSHARE, 7, 1), 0);
	is(op_share_guest(pfn + 7, 400, 1, R), 0);
	is(op_stage2(handle, PKVM_S2_UNSHARE, 0, 1024), 0);
	page[7].refcount = 0;
	mpage(BLOCK + 7 * PAGE_SIZE)->maps = 0;
	is(op_donate_hyp(pfn, 8), 0);
}

static void test_unshare_stops(void)
{
	u64 pfn = PFN(BLOCK);
	unsigned int handle = start_vm(false);

	is(op_share_guest(pfn, 0, 512, RWX), 0);
	is(op_stage2(handle, PKVM_S2_UNSHARE, 0, 512), 0);
	is(op_share_guest(pfn, 1, 500, RWX), 0);
	fake_irq_after = 1;
	is(op_stage2(handle, PKVM_S2_UNSHARE, 0, 1024), 1024 - 17);
	fake_irq_after = 2;
	is(op_stage2(handle, PKVM_S2_UNSHARE, 0, 1024), 1024 - 49);
	is(op_stage2(handle, PKVM_S2_UNSHARE, 0, 1024), 0);
	fake_irq_after = 0;
	check(!m.vm[0].nr_pages);
}

/* Tables of three windows, in the pool of a VM that is about to end. */
static unsigned int ended_vm(bool is_protected)
{
	u64 pfn = PFN(BLOCK);
	unsigned int handle = start_vm(is_protected);

	for (unsigned int i = 0; i < NR_WINDOWS; i++) {
		u64 gfn = window_gfn(i);

		if (is_protected)
			is(op_donate_guest(pfn + i, gfn, 1), 0);
		else
			is(op_share_guest(pfn + i, gfn, 1, RWX), 0);
	}
	if (!is_protected)
		is(op_stage2(handle, PKVM_S2_UNSHARE, 0, 1UL << (fake_features.pa_bits - 12)), 0);
	op_put();
	is(op_start_teardown(handle), 0);
	for (unsigned int i = 0; is_protected && i < NR_WINDOWS; i++)
		is(op_reclaim(handle, pfn + i, window_gfn(i), 1), 1);

	return handle;
}

static void end_twice(void)
{
	check(__pkvm_finalize_teardown_vm(PKVM_HANDLE_OFFSET) == -EBUSY);
	check(__pkvm_start_teardown_vm(PKVM_HANDLE_OFFSET) == -EBUSY);
	check(pkvm_load_hyp_vcpu(PKVM_HANDLE_OFFSET, 0) == -EBUSY);
}

static void do_finalize_stops(bool is_protected)
{
	unsigned int handle = ended_vm(is_protected);

	fake_irq_after = 2;
	is(op_finalize(handle), -EAGAIN);
	fake_irq_after = 1;
	is(op_finalize(handle), -EAGAIN);
	/* The same on another CPU, while this one returns tables. */
	fake_other_cpu = end_twice;
	is(op_finalize(handle), 0);
	check(!fake_other_cpu);
	is(op_finalize(handle), -ENOENT);
}

static void test_finalize_stops(void)
{
	do_finalize_stops(true);
	do_finalize_stops(false);
}

static void test_two_guests(void)
{
	unsigned int a, b;
	u64 pfn = PFN(BLOCK);

	a = start_vm(true);
	is(op_donate_guest(pfn, 5, 2), 0);
	fake_cpu = 1;
	b = start_vm(true);
	is(op_donate_guest(pfn, 5, 1), -EPERM);
	is(op_donate_guest(pfn + 2, 5, 1), 0);
	fake_cpu = 2;
	start_vm(false);
	is(op_share_guest(pfn, 5, 1, RWX), -EPERM);
	is(op_share_guest(pfn + 3, 5, 1, RWX), 0);
	fake_cpu = 0;
	is(op_guest_share(5 << 12), 0);
	fake_cpu = 2;
	is(op_share_guest(pfn, 5, 1, RWX), -EPERM);
	fake_cpu = 1;
	is(op_donate_guest(pfn + 3, 7, 1), -EPERM);
	is(op_guest_share(5 << 12), 0);
	op_put();
	is(op_start_teardown(b), 0);
	is(op_reclaim(b, pfn, 5, 1), -EPERM);
	is(op_reclaim(b, pfn + 2, 5, 1), 1);
	is(op_finalize(b), 0);
	/* The handle and its VMID are another's now. */
	is(start_vm(false), b);
	is(op_share_guest(pfn + 2, 5, 1, RWX), 0);
	is(op_reclaim(a, pfn, 5, 1), -EBUSY);
}

/* The host's table cannot be split for ever: what is no memory is forgotten then. */
static void test_recycle(void)
{
	unsigned int gib = 0;
	u64 addr;

	is(op_host_touch(DEVICE), 0);
	for (addr = 4UL << 30; addr < 1UL << 40 && gib < 200; addr += SZ_1G, gib++) {
		/* A page that no block can map: beside what is annotated. */
		is(op_host_touch(addr), 0);
	}
	is(op_donate_hyp(PFN(BLOCK) + 1, 1), 0);
	is(op_host_touch(DEVICE), 0);
}

static const struct walk *walk;
static unsigned long walk_seed, walk_at;

static void walk_where(void)
{
	fprintf(stderr, "at step %lu of: walk%s --seed %lu --steps %lu\n", walk_at,
		walk == &walk_ffa ? " --ffa" : "", walk_seed, walk_at + 1);
}

void __asan_on_error(void)
{
	if (fake_where)
		fake_where();
}

/* A short one of each seed; the rest is for the program of that name. */
static void short_walks(const struct walk *w, unsigned int steps)
{
	walk = w;
	fake_where = walk_where;
	for (walk_seed = 1; walk_seed <= 3; walk_seed++) {
		struct random r = { .state = walk_seed * 0x9e3779b97f4a7c15UL + 1 };

		walk->boot(&r);
		for (walk_at = 0; walk_at < steps; walk_at++)
			walk->step(&r);
		walk->end();
	}
	fake_where = NULL;
}

static void test_walk(void)
{
	short_walks(&walk_calls, 300);
}

static void test_walk_ffa(void)
{
	short_walks(&walk_ffa, 500);
}

/* What the CPU that runs has for a guest, and that the host finds what it left. */
static void mpam_switch(u64 mpam2, u64 mpamhcr)
{
	struct fake_mpam *cpu = &fake_mpam[fake_cpu], before;

	cpu->mpam2 = 1UL << 63 | 1UL << 50 | 0x23450003;
	cpu->mpamhcr = 0x103;
	before = *cpu;
	check(cpu_has_mpam());
	pkvm_trap_mpam();
	check(cpu->mpam2 == (1UL << 63 | 0x23450003 | mpam2) && cpu->mpamhcr == mpamhcr);
	pkvm_untrap_mpam();
	check(!memcmp(cpu, &before, sizeof(before)));
}

/* No CPU of QEMU has FEAT_MPAM, so that only here a guest's accesses trap. */
static void test_mpam(void)
{
	const u64 traps = 3UL << 48, tidr = 1UL << 58;

	memset(fake_mpam, 0, sizeof(fake_mpam));
	check(!cpu_has_mpam());
	fake_mpam[1] = (struct fake_mpam) { .pfr0 = 1UL << 40 };
	fake_mpam[2] = (struct fake_mpam) { .pfr0 = 1UL << 40, .idr = 1UL << 17 | tidr };
	fake_mpam[3] = (struct fake_mpam) { .pfr1 = 1UL << 16, .idr = tidr };
	fake_cpu = 1;
	mpam_switch(traps, 0x103);
	fake_cpu = 2;
	mpam_switch(traps, 1UL << 31);
	fake_cpu = 3;
	mpam_switch(traps | tidr, 0x103);
	fake_cpu = 0;
	check(!cpu_has_mpam());
}

/* A guest runs while the host has these in use. */
static void monitors_switch(u64 pmcr, u64 trfcr)
{
	struct fake_monitors *cpu = &fake_monitors[fake_cpu];

	cpu->pmcr = pmcr;
	fake_el1[SYS_TRFCR] = trfcr;
	pkvm_stop_monitors();
	check(cpu->pmcr == (pmcr & ~1UL));
	check(cpu->mdcr & MDCR_EL2_TTRF ? fake_el1[SYS_TRFCR] == trfcr : !fake_el1[SYS_TRFCR]);
	pkvm_resume_monitors();
	check(cpu->pmcr == pmcr && fake_el1[SYS_TRFCR] == trfcr);
}

static void monitors_boot(u64 dfr0)
{
	fake_monitors[fake_cpu] = (struct fake_monitors) { .dfr0 = dfr0, .mdcr = 6 };
	pkvm_init_monitors();
}

/* No CPU of QEMU traces. Registers that the CPU has not, or EL3 may have, are a bug. */
static void test_monitors(void)
{
	const u64 counters = 6UL << 8, trace = 1UL << 40, other = 15UL << 8;
	const u64 sys64 = 0x18UL << 26 | 1UL << 25;
	/* MRS and MSR of TRFCR_EL1; of ACTLR_EL1, its neighbour. */
	const u64 reads = sys64 | 3UL << 20 | 1UL << 17 | 1UL << 10 | 2UL << 1 | 1;
	const u64 writes = reads & ~1UL, neighbour = reads & ~(2UL << 1);
	struct fake_monitors *cpu = &fake_monitors[1];

	fake_cpu = 1;
	monitors_boot(0);
	check(cpu->mdcr == 6 && !pkvm_cpu_has_counters());
	monitors_switch(0, 0);
	monitors_boot(other);
	check(cpu->mdcr == 6 && !pkvm_cpu_has_counters());
	monitors_switch(0, 0);
	monitors_boot(counters);
	check(cpu->mdcr == 6 && pkvm_cpu_has_counters());
	monitors_switch(0x41003041, 0);
	monitors_switch(0x41003040, 0);

	monitors_boot(counters | trace);
	check(cpu->mdcr == (6 | MDCR_EL2_TTRF));
	monitors_switch(0x41003041, 0x43);
	check(!pkvm_host_begins_to_trace(neighbour) && cpu->mdcr == (6 | MDCR_EL2_TTRF));
	check(pkvm_host_begins_to_trace(writes) && cpu->mdcr == 6);
	monitors_switch(0x41003041, 0x43);
	monitors_switch(0x41003040, 0x3);
	/* What was on a moment ago is not turned on again. */
	monitors_switch(0x41003040, 0);
	/* A CPU that comes back, and one that nobody traced. */
	monitors_boot(trace);
	check(cpu->mdcr == (6 | MDCR_EL2_TTRF));
	monitors_switch(0, 3);
	check(pkvm_host_begins_to_trace(reads) && cpu->mdcr == 6);
	fake_cpu = 2;
	monitors_boot(trace);
	monitors_switch(0, 3);
	fake_cpu = 0;
}

/* What the CPU writes for the host, with these in use, while a guest's tables are loaded. */
static void buffers_switch(u64 pmblimitr, u64 pmscr, u64 trblimitr, u64 trfcr)
{
	struct fake_monitors *cpu = &fake_monitors[fake_cpu];
	bool traces = !(cpu->mdcr & MDCR_EL2_TTRF);

	cpu->pmblimitr = pmblimitr;
	cpu->trblimitr = trblimitr;
	cpu->samples_drained = 0;
	cpu->trace_drained = 0;
	fake_el1[SYS_PMSCR] = pmscr;
	fake_el1[SYS_TRFCR] = trfcr;
	pkvm_stop_host_buffers();
	check(cpu->pmblimitr == (pmblimitr & ~1UL) && cpu->trblimitr == (trblimitr & ~1UL));
	check(cpu->samples_drained == (pmblimitr & 1) && cpu->trace_drained == (trblimitr & 1));
	check(fake_el1[SYS_PMSCR] == (pmblimitr & 1 ? 0 : pmscr));
	check(fake_el1[SYS_TRFCR] == (trblimitr & 1 && traces ? 0 : trfcr));
	pkvm_resume_host_buffers();
	check(cpu->pmblimitr == pmblimitr && cpu->trblimitr == trblimitr);
	check(fake_el1[SYS_PMSCR] == pmscr && fake_el1[SYS_TRFCR] == trfcr);
}

/* No CPU of QEMU has such buffers. Registers that the CPU has not are a bug. */
static void test_buffers(void)
{
	const u64 samples = 2UL << 32, trace = 1UL << 44 | 1UL << 40;
	const u64 traces = 0x18UL << 26 | 1UL << 25 | 3UL << 20 | 1UL << 17 | 1UL << 10 |
			   2UL << 1;
	const u64 limit = 0x1234567890001000;
	struct fake_monitors *cpu = &fake_monitors[1];

	fake_cpu = 1;
	monitors_boot(0);
	buffers_switch(0, 0, 0, 0);
	monitors_boot(samples);
	buffers_switch(limit, 3, 0, 0);
	buffers_switch(limit | 1, 3, 0, 0);
	/* What was on a moment ago is not turned on again. */
	buffers_switch(limit, 3, 0, 0);
	monitors_boot(trace);
	buffers_switch(0, 0, limit, 3);
	/* Without a use of TRFCR_EL1 it is not looked at. */
	buffers_switch(0, 0, limit | 1, 3);
	check(pkvm_host_begins_to_trace(traces));
	buffers_switch(0, 0, limit | 1, 3);
	buffers_switch(0, 0, limit | 1, 0);
	buffers_switch(0, 0, limit, 3);
	monitors_boot(samples | trace);
	check(pkvm_host_begins_to_trace(traces));
	buffers_switch(limit | 1, 3, limit | 3, 0x43);
	/* EL3 has them. */
	monitors_boot(samples | trace);
	cpu->pmbidr = 1 << 4;
	cpu->trbidr = 1 << 4;
	buffers_switch(0, 0, 0, 0);
	fake_cpu = 0;
}

/* Services that serve their caller at its own exception level would serve EL2. */
static void test_host_smc(void)
{
	static const struct {
		u32 from, to;
		bool allowed;
	} standard[] = {
		{ 0x000, 0x03f, false },	/* PSCI has a proxy; SDEI */
		{ 0x040, 0x10f, true },		/* MM, TRNG, FF-A, errata */
		{ 0x110, 0x12f, false },	/* DRTM */
		{ 0x130, 0x14f, true },		/* PCI */
		{ 0x150, 0xffff, false },	/* RMI, and what nobody knows */
	};
	static const u32 kinds[] = { 0x80000000, 0xc0000000, 0x00000000, 0x40000000 };

	for (u32 kind = 0; kind < ARRAY_SIZE(kinds); kind++) {
		for (u32 i = 0; i < ARRAY_SIZE(standard); i++) {
			for (u32 nr = standard[i].from; nr <= standard[i].to; nr++) {
				u32 id = kinds[kind] | 4 << 24 | nr;

				check(pkvm_host_smc_allowed(id) == standard[i].allowed);
				/* A hint is not a number; other owners' numbers are theirs. */
				check(pkvm_host_smc_allowed(id | 1 << 16) == standard[i].allowed);
				check(pkvm_host_smc_allowed(id & ~(4 << 24)));
				check(pkvm_host_smc_allowed(id | 2 << 24));
				check(pkvm_host_smc_allowed(id | 0x30 << 24));
			}
		}
	}
}

static const struct unit tests[] = {
	T_ONCE(lock_order), T(host_touch), T(share_hyp), T(pins), T(donate_hyp), T(ffa),
	T(init_vm), T(init_vm_race), T(init_vcpu), T(load), T(donate_guest), T(tables_needed),
	T(guest_share), T(unshare_twice), T(guest_ram), T(force_reclaim), T(mmio),
	T(share_guest), T(share_block), T(share_limits), T(unshare_stops), T(finalize_stops),
	T(two_guests), T(recycle), T_ONCE(mpam), T_ONCE(monitors), T_ONCE(buffers),
	T_ONCE(host_smc), T_ONCE(walk), T_ONCE(walk_ffa),
};

#define NR_OWN		ARRAY_SIZE(tests)
#define NR_TESTS	(NR_OWN + nr_ffa_tests + nr_psci_tests)

static const struct unit *test(unsigned int i)
{
	if (i < NR_OWN)
		return &tests[i];
	i -= NR_OWN;

	return i < nr_ffa_tests ? &ffa_tests[i] : &psci_tests[i - nr_ffa_tests];
}

static bool chosen(const char *name, int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		if (!fnmatch(argv[i], name, 0))
			return true;
	}

	return argc < 2;
}

static int run(const struct unit *t)
{
	const char *wrong = fake_lock_ranks(OWNERSHIP_H);
	int status, failed = 0;

	for (size_t i = 0; i < (t->once ? 1 : ARRAY_SIZE(machines)); i++) {
		pid_t pid;

		fflush(NULL);
		pid = fork();
		if (!pid) {
			if (wrong)
				die("the order of the locks in ownership.h: %s", wrong);
			spmc_mute = t->mute;
			model_boot(&machines[i]);
			next_page = HOST_MEM;
			declare_ram(0, 1UL << 52);
			t->fn();
			fflush(NULL);
			_exit(0);
		}
		if (pid < 0 || waitpid(pid, &status, 0) != pid)
			return -1;
		failed |= status;
	}

	return failed;
}

int main(int argc, char **argv)
{
	int nr = 0, failed = 0;

	printf("KTAP version 1\n");
	for (size_t i = 0; i < NR_TESTS; i++)
		nr += chosen(test(i)->name, argc, argv);
	printf("1..%d\n", nr);
	nr = 0;
	for (size_t i = 0; i < NR_TESTS; i++) {
		int status;

		if (!chosen(test(i)->name, argc, argv))
			continue;
		status = run(test(i));
		failed += !!status;
		printf("%s %d %s\n", status ? "not ok" : "ok", ++nr, test(i)->name);
	}

	return !!failed || !nr;
}
