// SPDX-License-Identifier: GPL-2.0-only
/*
 * Guest page tables at EL2.
 *
 * Owns the stage-2 tables of every VM that EL2 maps memory for, and the pages
 * that these tables are made of. Knows nothing of the host's table: who may
 * have a page is decided in ownership.c, which is the only caller of what
 * maps, unmaps or changes the state of a guest's page.
 *
 * All functions that take a VM want pkvm_hyp_vm::lock held, except where they
 * say that they take it.
 */

#include <linux/kvm_host.h>
#include <linux/overflow.h>

#include <asm/kvm_hyp.h>
#include <asm/kvm_mmu.h>
#include <asm/kvm_pgtable.h>

#include <nvhe/gfp.h>
#include <nvhe/guest_ram.h>
#include <nvhe/guest_stage2.h>
#include <nvhe/leaf.h>
#include <nvhe/memory.h>
#include <nvhe/mm.h>

/*
 * Tables that a guest can have for pages which it calls a device's. No memslot
 * bounds those, and the pages are the host's: enough for windows of some GiB.
 */
#define MAX_GUARD_TABLES	(SZ_4M >> PAGE_SHIFT)

#define GUEST_ENTRY_ID(pte)	FIELD_GET(KVM_INVALID_PTE_OWNER_MASK, pte)

/*
 * The page-table code calls mm_ops without a VM; the one whose lock this CPU
 * holds is the one that is meant.
 */
static DEFINE_PER_CPU(struct pkvm_hyp_vm *, __current_vm);
#define current_vm (*this_cpu_ptr(&__current_vm))

/**
 * guest_lock_component() - Take the lock of a VM's tables.
 * @vm: the VM.
 *
 * At most one VM's lock may be held by a CPU at a time.
 */
void guest_lock_component(struct pkvm_hyp_vm *vm)
{
	hyp_spin_lock(&vm->lock);
	current_vm = vm;
}

/**
 * guest_unlock_component() - Drop the lock of a VM's tables.
 * @vm: the VM.
 */
void guest_unlock_component(struct pkvm_hyp_vm *vm)
{
	current_vm = NULL;
	hyp_spin_unlock(&vm->lock);
}

static bool guest_stage2_force_pte_cb(u64 addr, u64 end,
				      enum kvm_pgtable_prot prot)
{
	return true;
}

static void *guest_s2_zalloc_pages_exact(size_t size)
{
	void *addr = hyp_alloc_pages(&current_vm->pool, get_order(size));

	/* Concatenated PGDs are a power of two of pages: no tail to free. */
	if (addr)
		hyp_split_page(hyp_virt_to_page(addr));

	return addr;
}

static void guest_s2_free_pages_exact(void *addr, unsigned long size)
{
	unsigned long i;

	for (i = 0; i < size; i += PAGE_SIZE)
		hyp_put_page(&current_vm->pool, addr + i);
}

static void *guest_s2_zalloc_page(void *mc)
{
	struct hyp_page *p;
	void *addr;

	addr = hyp_alloc_pages(&current_vm->pool, 0);
	if (addr || !mc)
		return addr;

	addr = pop_hyp_memcache(mc, hyp_phys_to_virt);
	if (!addr)
		return NULL;

	memset(addr, 0, PAGE_SIZE);
	p = hyp_virt_to_page(addr);
	memset(p, 0, sizeof(*p));
	p->refcount = 1;

	return addr;
}

static void guest_s2_get_page(void *addr)
{
	hyp_get_page(&current_vm->pool, addr);
}

static void guest_s2_put_page(void *addr)
{
	hyp_put_page(&current_vm->pool, addr);
}

/*
 * The fixmap shows one page at a time; a leaf may be a block. An ordinary guest needs
 * no maintenance where stage 2 forces its accesses to be cacheable. A protected one
 * does: for the sake of guest_sync_page().
 */
static void clean_dcache_guest_page(void *va, size_t size)
{
	size_t i;

	for (i = 0; i < size; i += PAGE_SIZE) {
		if (current_vm->kvm.arch.pkvm.enabled) {
			guest_sync_page(__hyp_pa(va) + i, false);
			continue;
		}
		__clean_dcache_guest_page(hyp_fixmap_map(__hyp_pa(va) + i), PAGE_SIZE);
		hyp_fixmap_unmap();
	}
}

static void invalidate_icache_guest_page(void *va, size_t size)
{
	size_t i;

	for (i = 0; i < size; i += PAGE_SIZE) {
		__invalidate_icache_guest_page(hyp_fixmap_map(__hyp_pa(va) + i),
					       PAGE_SIZE);
		hyp_fixmap_unmap();
	}
}

/**
 * kvm_guest_prepare_stage2() - Make the empty stage-2 table of a VM.
 * @vm: the VM, not yet visible to anybody.
 * @pgd: EL2 address of the pages for its first level, owned by EL2.
 *
 * Takes the VM's lock.
 *
 * Return: 0, or -ENOMEM when the pages do not do: a first level of more than one page
 * must be aligned to its size.
 */
int kvm_guest_prepare_stage2(struct pkvm_hyp_vm *vm, void *pgd)
{
	struct kvm_s2_mmu *mmu = &vm->kvm.arch.mmu;
	unsigned long nr_pages;
	int ret;

	nr_pages = kvm_pgtable_stage2_pgd_size(mmu->vtcr) >> PAGE_SHIFT;
	/* The pool believes what the pages say of themselves. */
	memset(hyp_virt_to_page(pgd), 0, nr_pages * sizeof(struct hyp_page));
	ret = hyp_pool_init(&vm->pool, hyp_virt_to_pfn(pgd), nr_pages, 0);
	if (ret)
		return ret;

	hyp_spin_lock_init(&vm->lock);
	vm->mm_ops = (struct kvm_pgtable_mm_ops) {
		.zalloc_pages_exact	= guest_s2_zalloc_pages_exact,
		.free_pages_exact	= guest_s2_free_pages_exact,
		.zalloc_page		= guest_s2_zalloc_page,
		.phys_to_virt		= hyp_phys_to_virt,
		.virt_to_phys		= hyp_virt_to_phys,
		.page_count		= hyp_page_count,
		.get_page		= guest_s2_get_page,
		.put_page		= guest_s2_put_page,
		.dcache_clean_inval_poc	= clean_dcache_guest_page,
		.icache_inval_pou	= invalidate_icache_guest_page,
	};

	/* Private pages change hands one by one, shared ones may be blocks. */
	guest_lock_component(vm);
	ret = __kvm_pgtable_stage2_init(mmu->pgt, mmu, &vm->mm_ops, 0,
					vm->kvm.arch.pkvm.enabled ?
					guest_stage2_force_pte_cb : NULL);
	guest_unlock_component(vm);
	if (ret) {
		/* As the host's again, they say nothing. */
		memset(hyp_virt_to_page(pgd), 0, nr_pages * sizeof(struct hyp_page));
		return ret;
	}

	mmu->pgd_phys = __hyp_pa(vm->pgt.pgd);

	return 0;
}

/* Give one page of EL2's own back to the host, cleared, through @mc. */
static void return_table_page(void *addr, struct kvm_hyp_memcache *mc)
{
	memset(hyp_virt_to_page(addr), 0, sizeof(struct hyp_page));
	memset(addr, 0, PAGE_SIZE);
	push_hyp_memcache(mc, addr, hyp_virt_to_phys);
	kvm_flush_dcache_to_poc(addr, PAGE_SIZE);

	/*
	 * Cannot fail: the page was EL2's alone since it was taken from the
	 * host, and giving it back only rewrites existing entries.
	 */
	__pkvm_hyp_donate_host(hyp_virt_to_pfn(addr), 1);
}

/**
 * return_free_tables() - Return the tables that a VM does not use any more.
 * @vm: a dying VM, which the caller keeps.
 * @mc: where the host finds the pages; in memory shared with the host.
 *
 * All that its memory took, one page for each table's worth of it: called without
 * locks, and stops for interrupts.
 *
 * Return: true when none is left; false when an interrupt waits.
 */
bool return_free_tables(struct pkvm_hyp_vm *vm, struct kvm_hyp_memcache *mc)
{
	void *addr;

	while ((addr = hyp_alloc_pages(&vm->pool, 0))) {
		return_table_page(addr, mc);
		if (read_sysreg(isr_el1))
			return false;
	}

	return true;
}

/**
 * reclaim_guest_pages() - Return every page that a VM's tables were made of.
 * @vm: a VM that is out of the VM table and maps no page.
 * @mc: where the host finds the pages; in memory shared with the host.
 *
 * Takes the VM's lock. The caller has invalidated the VM's TLB entries, and returned
 * the free tables: left are those for what the guest lost or called a device's.
 */
void reclaim_guest_pages(struct pkvm_hyp_vm *vm, struct kvm_hyp_memcache *mc)
{
	unsigned int i;
	void *addr;

	guest_lock_component(vm);
	kvm_pgtable_stage2_destroy(&vm->pgt);
	vm->kvm.arch.mmu.pgd_phys = 0ULL;
	guest_unlock_component(vm);

	while ((addr = hyp_alloc_pages(&vm->pool, 0)))
		return_table_page(addr, mc);

	for (i = 0; i < vm->nr_vcpus; i++) {
		struct kvm_hyp_memcache *vcpu_mc = &vm->vcpus[i]->stage2_mc;

		while ((addr = pop_hyp_memcache(vcpu_mc, hyp_phys_to_virt)))
			return_table_page(addr, mc);
	}
}

/*
 * Take one page from the host's list. The list is the host's word: its head
 * may be any number, and the page behind it changes until it is EL2's.
 */
static void *admit_table_page(void *arg)
{
	struct kvm_hyp_memcache *host_mc = arg;

	if (!host_mc->nr_pages || !PAGE_ALIGNED(host_mc->head))
		return NULL;

	if (__pkvm_host_donate_hyp(hyp_phys_to_pfn(host_mc->head), 1))
		return NULL;

	return pop_hyp_memcache(host_mc, hyp_phys_to_virt);
}

/**
 * pkvm_refill_stage2_mc() - Take table pages that the host put out.
 * @hyp_vcpu: the vCPU, loaded on this CPU.
 *
 * Takes what the host's vCPU offers up to what one fault can need. Called
 * without locks: each page passes through the host's and EL2's.
 *
 * Return: 0, or -ENOMEM when the host offered too few pages; those that were
 * good are kept.
 */
int pkvm_refill_stage2_mc(struct pkvm_hyp_vcpu *hyp_vcpu)
{
	struct kvm_hyp_memcache *host_mc = &hyp_vcpu->host_vcpu->arch.stage2_mc;
	struct kvm_hyp_memcache copy = {
		.head		= READ_ONCE(host_mc->head),
		.nr_pages	= READ_ONCE(host_mc->nr_pages),
	};
	unsigned long min_pages;
	int ret;

	/* Two walks may part at the first level: see tables_needed(). */
	min_pages = 2 * kvm_mmu_cache_min_pages(&pkvm_hyp_vcpu_to_hyp_vm(hyp_vcpu)->kvm.arch.mmu);
	ret = __topup_hyp_memcache(&hyp_vcpu->stage2_mc, min_pages,
				   admit_table_page, hyp_virt_to_phys, &copy);

	WRITE_ONCE(host_mc->head, copy.head);
	WRITE_ONCE(host_mc->nr_pages, copy.nr_pages);

	return ret;
}

static bool in_table(struct pkvm_hyp_vm *vm, u64 ipa, u64 nr_pages)
{
	u64 end;

	hyp_assert_lock_held(&vm->lock);

	return !check_add_overflow(ipa, nr_pages << PAGE_SHIFT, &end) &&
	       end <= BIT_ULL(vm->pgt.ia_bits);
}

/**
 * guest_stage2_tables_needed() - Count the tables that a mapping will take.
 * @vm: the VM.
 * @ipa: page-aligned start of the range.
 * @nr_pages: pages in the range, 1 to PTRS_PER_PTE.
 *
 * A range of at most one table's pages ends in at most two tables, so the
 * walks for its first and its last page tell all.
 *
 * Return: the exact number of table pages, or -ERANGE beyond the VM's IPA size.
 */
int guest_stage2_tables_needed(struct pkvm_hyp_vm *vm, u64 ipa, u64 nr_pages)
{
	u64 last = ipa + (nr_pages - 1) * PAGE_SIZE;
	struct pkvm_leaf leaf;
	int need;
	s8 l;

	if (!in_table(vm, ipa, nr_pages))
		return -ERANGE;

	pkvm_find_leaf(&vm->pgt, ipa, &leaf);
	need = KVM_PGTABLE_LAST_LEVEL - leaf.level;
	if (nr_pages == 1)
		return need;

	/* A table at level l + 1 spans one entry of level l. */
	pkvm_find_leaf(&vm->pgt, last, &leaf);
	for (l = leaf.level; l < KVM_PGTABLE_LAST_LEVEL; l++) {
		u64 span = kvm_granule_size(l);

		if (ALIGN_DOWN(ipa, span) != ALIGN_DOWN(last, span))
			need++;
	}

	return need;
}

/* Why an entry that is not valid cannot take a page; 0 when it can. */
static int check_free_entry(kvm_pte_t pte)
{
	if (!pte)
		return 0;

	return GUEST_ENTRY_ID(pte) == PKVM_GUEST_POISONED ? -EHWPOISON : -EPERM;
}

/**
 * guest_stage2_check_free() - May pages be mapped here?
 * @vm: the VM.
 * @ipa: page-aligned start of the range.
 * @nr_pages: pages in the range.
 *
 * Return: 0 when nothing is there; -EEXIST when a page is mapped, -EHWPOISON
 * when one was lost to a forced reclaim, -EPERM when the guest called it a
 * device's, -ERANGE beyond the VM's IPA size.
 */
int guest_stage2_check_free(struct pkvm_hyp_vm *vm, u64 ipa, u64 nr_pages)
{
	u64 end = ipa + nr_pages * PAGE_SIZE;
	struct pkvm_leaf leaf;
	int ret;

	if (!in_table(vm, ipa, nr_pages))
		return -ERANGE;

	pkvm_find_leaf(&vm->pgt, ipa, &leaf);
	for (;;) {
		ret = kvm_pte_valid(leaf.pte) ? -EEXIST : check_free_entry(leaf.pte);
		if (ret)
			return ret;
		ipa = pkvm_leaf_end(&leaf, ipa);
		if (ipa >= end)
			return 0;
		pkvm_next_leaf(&vm->pgt, ipa, &leaf);
	}
}

/**
 * guest_stage2_get_page() - Find the page that a guest has at an address.
 * @vm: the VM.
 * @ipa: page-aligned address.
 * @phys: the page, on success.
 * @state: PKVM_PAGE_OWNED or PKVM_PAGE_SHARED_OWNED, on success.
 *
 * Return: 0; -ENOENT when nothing is mapped; -EHWPOISON for a poisoned page;
 * -EPERM for a device's; -ERANGE beyond the VM's IPA size.
 */
int guest_stage2_get_page(struct pkvm_hyp_vm *vm, u64 ipa, phys_addr_t *phys,
			  enum pkvm_page_state *state)
{
	struct pkvm_leaf leaf;

	if (!in_table(vm, ipa, 1))
		return -ERANGE;

	pkvm_find_leaf(&vm->pgt, ipa, &leaf);
	if (!kvm_pte_valid(leaf.pte))
		return check_free_entry(leaf.pte) ?: -ENOENT;

	*phys = kvm_pte_to_phys(leaf.pte) + (ipa & (pkvm_leaf_size(&leaf) - 1));
	*state = pkvm_getstate(leaf.pte);

	return 0;
}

/**
 * guest_stage2_map() - Map pages that now belong to the guest.
 * @hyp_vcpu: the vCPU whose table pages are used.
 * @ipa: page-aligned start of the range, checked to be free.
 * @nr_pages: pages in the range.
 * @phys: the first page; they are contiguous.
 *
 * Cleans the pages to the point of coherency before they appear in the table,
 * as the guest may run with its caches off.
 *
 * Return: 0. Cannot fail when guest_stage2_tables_needed() pages are at hand.
 */
int guest_stage2_map(struct pkvm_hyp_vcpu *hyp_vcpu, u64 ipa, u64 nr_pages,
		     phys_addr_t phys)
{
	struct pkvm_hyp_vm *vm = pkvm_hyp_vcpu_to_hyp_vm(hyp_vcpu);

	hyp_assert_lock_held(&vm->lock);
	return kvm_pgtable_stage2_map(&vm->pgt, ipa, nr_pages * PAGE_SIZE, phys,
				      pkvm_mkstate(KVM_PGTABLE_PROT_RWX,
						   PKVM_PAGE_OWNED),
				      &hyp_vcpu->stage2_mc, 0);
}

/**
 * guest_stage2_set_state() - Change the sharing state of a mapped page.
 * @vm: the VM.
 * @ipa: page-aligned address, with a page mapped.
 * @state: the new state.
 *
 * Only software bits change, which needs neither TLB nor cache maintenance
 * (Arm ARM, "bits reserved for software use").
 *
 * Return: 0. Cannot fail on a page that guest_stage2_get_page() found.
 */
int guest_stage2_set_state(struct pkvm_hyp_vm *vm, u64 ipa,
			   enum pkvm_page_state state)
{
	enum pkvm_page_state old;
	phys_addr_t phys;
	int ret;

	ret = guest_stage2_get_page(vm, ipa, &phys, &old);
	if (ret)
		return ret;

	return kvm_pgtable_stage2_map(&vm->pgt, ipa, PAGE_SIZE, phys,
				      pkvm_mkstate(KVM_PGTABLE_PROT_RWX, state),
				      NULL, 0);
}

/**
 * guest_stage2_unmap() - Take pages out of a guest's table.
 * @vm: the VM.
 * @ipa: page-aligned start of the range.
 * @nr_pages: pages in the range.
 *
 * Invalidates the VM's TLB entries of the range on all CPUs before it returns,
 * so that the guest cannot write to a page after it is scrubbed.
 *
 * Return: 0, or -ERANGE beyond the VM's IPA size.
 */
int guest_stage2_unmap(struct pkvm_hyp_vm *vm, u64 ipa, u64 nr_pages)
{
	hyp_assert_lock_held(&vm->lock);
	return kvm_pgtable_stage2_unmap(&vm->pgt, ipa, nr_pages * PAGE_SIZE);
}

/**
 * guest_stage2_poison() - Replace a mapped page by a mark that it was lost.
 * @vm: the VM.
 * @ipa: page-aligned address, with a page mapped.
 *
 * The entry exists at the last level, so that no table page is needed.
 * Invalidates the TLB entries of the page on all CPUs before it returns.
 *
 * Return: 0. Cannot fail on a page that guest_stage2_get_page() found.
 */
int guest_stage2_poison(struct pkvm_hyp_vm *vm, u64 ipa)
{
	hyp_assert_lock_held(&vm->lock);
	return kvm_pgtable_stage2_set_owner(&vm->pgt, ipa, PAGE_SIZE, NULL,
					    PKVM_GUEST_POISONED);
}

/**
 * guest_scrub_page() - Clear a page that is on its way back to the host.
 * @phys: the page; no table but EL2's maps it for a guest any more.
 *
 * Clean to the point of coherency: the host may have a non-cacheable alias. Nor is it
 * to find instructions of the guest's by having a CPU execute what was the guest's code.
 */
void guest_scrub_page(phys_addr_t phys)
{
	void *va = hyp_fixmap_map(phys);

	memset(va, 0, PAGE_SIZE);
	kvm_flush_dcache_to_poc(va, PAGE_SIZE);
	__invalidate_icache_guest_page(va, PAGE_SIZE);
	hyp_fixmap_unmap();
}

/**
 * guest_sync_page() - Let a page have one value, in the caches and behind them.
 * @phys: the page, which the host cannot reach: not yet, or no more.
 * @code: in the caches of instructions, too. A page that its guest opens may have been
 *	code. Of one that is new to a guest the page tables see to that; in one that it
 *	gets back it has to see to its code itself.
 *
 * The host may have a non-cacheable alias, since its stage 2 does not force a type.
 * Through it a page that the guest shares would show what the guest has overwritten
 * since, and what the host has put behind a line of the cache would replace, when that
 * line goes, what the guest has found in it. Source: Arm ARM B2.16, mismatched memory
 * attributes.
 */
void guest_sync_page(phys_addr_t phys, bool code)
{
	void *va = hyp_fixmap_map(phys);

	kvm_flush_dcache_to_poc(va, PAGE_SIZE);
	if (code)
		__invalidate_icache_guest_page(va, PAGE_SIZE);
	hyp_fixmap_unmap();
}

/**
 * pkvm_guest_mmio_map() - The guest says that a page is a device's.
 * @hyp_vcpu: the calling vCPU, loaded on this CPU.
 * @ipa: address, as the guest gave it.
 *
 * Takes the VM's lock. Asking twice for one page is no error.
 *
 * Return: 0; -EINVAL for an unaligned address or one beyond the VM's IPA size;
 * -EEXIST where the guest has memory, or could; -ENOSPC when its devices' pages lie in
 * too many tables; -ENOMEM when the host must top up the table pages first.
 */
int pkvm_guest_mmio_map(struct pkvm_hyp_vcpu *hyp_vcpu, u64 ipa)
{
	struct pkvm_hyp_vm *vm = pkvm_hyp_vcpu_to_hyp_vm(hyp_vcpu);
	int ret, need;

	if (!PAGE_ALIGNED(ipa) || ipa >= BIT_ULL(vm->pgt.ia_bits))
		return -EINVAL;
	if (pkvm_guest_range_is_ram(vm, ipa >> PAGE_SHIFT, 1))
		return -EEXIST;

	guest_lock_component(vm);

	ret = guest_stage2_check_free(vm, ipa, 1);
	if (ret == -EPERM) {
		ret = 0;
		goto unlock;
	}
	if (ret) {
		ret = -EEXIST;
		goto unlock;
	}

	need = guest_stage2_tables_needed(vm, ipa, 1);
	if (need > (int)(MAX_GUARD_TABLES - vm->nr_guard_tables)) {
		ret = -ENOSPC;
		goto unlock;
	}
	if (need > (int)hyp_vcpu->stage2_mc.nr_pages) {
		ret = -ENOMEM;
		goto unlock;
	}

	ret = kvm_pgtable_stage2_set_owner(&vm->pgt, ipa, PAGE_SIZE,
					   &hyp_vcpu->stage2_mc, PKVM_GUEST_MMIO);
	if (!ret)
		vm->nr_guard_tables += need;
unlock:
	guest_unlock_component(vm);

	return ret;
}

/**
 * pkvm_guest_mmio_unmap() - The guest takes back that a page is a device's.
 * @hyp_vcpu: the calling vCPU, loaded on this CPU.
 * @ipa: address, as the guest gave it.
 *
 * Takes the VM's lock.
 *
 * Return: 0; -EINVAL for an unaligned address or one beyond the VM's IPA size;
 * -ENOENT when it was not a device's.
 */
int pkvm_guest_mmio_unmap(struct pkvm_hyp_vcpu *hyp_vcpu, u64 ipa)
{
	struct pkvm_hyp_vm *vm = pkvm_hyp_vcpu_to_hyp_vm(hyp_vcpu);
	int ret;

	if (!PAGE_ALIGNED(ipa) || ipa >= BIT_ULL(vm->pgt.ia_bits))
		return -EINVAL;

	guest_lock_component(vm);
	if (guest_stage2_check_free(vm, ipa, 1) == -EPERM)
		ret = kvm_pgtable_stage2_set_owner(&vm->pgt, ipa, PAGE_SIZE,
						   NULL, PKVM_GUEST_NONE);
	else
		ret = -ENOENT;
	guest_unlock_component(vm);

	return ret;
}

/**
 * pkvm_guest_mmio_allowed() - May an abort at this address be shown as MMIO?
 * @hyp_vcpu: the vCPU that took the abort.
 * @ipa: the address, any alignment.
 *
 * Takes the VM's lock. Where the guest has memory, be it mapped by another vCPU
 * since the abort, nothing of an access is for the host.
 *
 * Return: true outside of what the host declared to be RAM, when the guest has called
 * this page a device's, or when nothing is there and it never enrolled in the MMIO
 * guard.
 */
bool pkvm_guest_mmio_allowed(struct pkvm_hyp_vcpu *hyp_vcpu, u64 ipa)
{
	struct pkvm_hyp_vm *vm = pkvm_hyp_vcpu_to_hyp_vm(hyp_vcpu);
	int ret;

	if (pkvm_guest_range_is_ram(vm, ipa >> PAGE_SHIFT, 1))
		return false;

	guest_lock_component(vm);
	ret = guest_stage2_check_free(vm, ALIGN_DOWN(ipa, PAGE_SIZE), 1);
	guest_unlock_component(vm);

	return ret == -EPERM || (!ret && !READ_ONCE(vm->mmio_guard));
}
