// SPDX-License-Identifier: GPL-2.0-only
/*
 * Who owns each physical page: the transitions between the host and guests.
 *
 * The host's stage-2 table is the record. A page that belongs to a guest has
 * an invalid entry there that names the VM and the gfn; a page that a guest
 * shares has a valid one in state SHARED_BORROWED. The guest's table holds the
 * other half: OWNED or SHARED_OWNED. Transitions between the host, EL2 and the
 * secure world are mem_protect.c's.
 *
 * Each transition checks everything first, under both locks, and then commits
 * steps that cannot fail; where one still could, the change is rolled back and
 * the caller gets an error. See ownership.h for the order of the locks.
 */

#include <linux/kvm_host.h>
#include <linux/overflow.h>

#include <asm/kvm_emulate.h>
#include <asm/kvm_hyp.h>
#include <asm/kvm_mmu.h>
#include <asm/kvm_pgtable.h>

#include <nvhe/guest_ram.h>
#include <nvhe/guest_regs.h>
#include <nvhe/guest_share.h>
#include <nvhe/guest_stage2.h>
#include <nvhe/leaf.h>
#include <nvhe/mem_protect.h>
#include <nvhe/memory.h>
#include <nvhe/mm.h>
#include <nvhe/ownership.h>
#include <nvhe/vm_table.h>

static kvm_pte_t host_guest_entry(struct pkvm_hyp_vm *vm, u64 gfn)
{
	BUILD_BUG_ON(KVM_MAX_PVMS - 1 > FIELD_MAX(HOST_ENTRY_VM));

	return FIELD_PREP(KVM_INVALID_PTE_OWNER_MASK, PKVM_ID_GUEST) |
	       FIELD_PREP(HOST_ENTRY_VM, pkvm_hyp_vm_idx(vm)) |
	       FIELD_PREP(HOST_ENTRY_GFN, gfn);
}

static bool host_entry_is_guest(kvm_pte_t pte)
{
	return !kvm_pte_valid(pte) &&
	       FIELD_GET(KVM_INVALID_PTE_OWNER_MASK, pte) == PKVM_ID_GUEST;
}

/**
 * lock_host_and_guest() - Take the locks of the host's and of a VM's tables.
 * @vm: the VM.
 */
void lock_host_and_guest(struct pkvm_hyp_vm *vm)
{
	hyp_spin_lock(&host_mmu.lock);
	guest_lock_component(vm);
}

/**
 * unlock_host_and_guest() - Drop them.
 * @vm: the VM.
 */
void unlock_host_and_guest(struct pkvm_hyp_vm *vm)
{
	guest_unlock_component(vm);
	hyp_spin_unlock(&host_mmu.lock);
}

/**
 * host_check_owned() - Does the host own every page of a range?
 * @phys: first page, any address.
 * @nr_pages: pages; memory and devices do not mix in one range.
 * @memory: is it memory, or what else is in the physical address space?
 *
 * Pages that the host shares with ordinary guests are its own. The host's lock
 * is held.
 *
 * Return: 0 or -EPERM.
 */
int host_check_owned(phys_addr_t phys, u64 nr_pages, bool *memory)
{
	struct pkvm_leaf leaf;
	u64 end, next;

	/* No pages could be beyond the end of the table, where no entry is. */
	if (!nr_pages || check_add_overflow(phys, nr_pages << PAGE_SHIFT, &end) ||
	    end > BIT_ULL(host_mmu.pgt.ia_bits))
		return -EPERM;

	*memory = host_memory_range(phys, &next);
	while (next < end) {
		if (host_memory_range(next, &next) != *memory)
			return -EPERM;
	}

	pkvm_find_leaf(&host_mmu.pgt, phys, &leaf);
	for (;;) {
		if (kvm_pte_valid(leaf.pte) ? pkvm_getstate(leaf.pte) != PKVM_PAGE_OWNED :
					      leaf.pte)
			return -EPERM;
		phys = pkvm_leaf_end(&leaf, phys);
		if (phys >= end)
			return 0;
		pkvm_next_leaf(&host_mmu.pgt, phys, &leaf);
	}
}

/**
 * host_check_alone() - Is a range memory that the host owns and nobody else maps?
 * @phys: first page, any address.
 * @nr_pages: pages.
 *
 * The host's lock is held.
 *
 * Return: 0 or -EPERM.
 */
int host_check_alone(phys_addr_t phys, u64 nr_pages)
{
	bool memory;
	int ret;

	ret = host_check_owned(phys, nr_pages, &memory);
	if (ret)
		return ret;

	return !memory || pkvm_guests_map(phys, nr_pages) ? -EPERM : 0;
}

/* Write whose it is into the entries of a range that nobody has. */
static void host_annotate(struct pkvm_hyp_vm *vm, phys_addr_t phys, u64 gfn, u64 nr_pages)
{
	u64 addr = phys, end = phys + nr_pages * PAGE_SIZE;
	struct pkvm_leaf leaf;

	pkvm_find_leaf(&host_mmu.pgt, addr, &leaf);
	for (;;) {
		/* Invalid to invalid: nothing for the TLBs to know. */
		WRITE_ONCE(*leaf.ptep,
			   host_guest_entry(vm, gfn + ((addr - phys) >> PAGE_SHIFT)));
		addr = pkvm_leaf_end(&leaf, addr);
		if (addr >= end)
			return;
		pkvm_next_leaf(&host_mmu.pgt, addr, &leaf);
	}
}

static int undo_visitor(const struct kvm_pgtable_visit_ctx *ctx,
			enum kvm_pgtable_walk_flags visit)
{
	if (host_entry_is_guest(ctx->old)) {
		WRITE_ONCE(*ctx->ptep, 0);
		ctx->mm_ops->put_page(ctx->ptep);
	}

	return 0;
}

/* The range was the host's alone: whatever the entries say now, it is again. */
static void host_undo_guest(phys_addr_t phys, u64 nr_pages)
{
	struct kvm_pgtable_walker walker = {
		.cb	= undo_visitor,
		.flags	= KVM_PGTABLE_WALK_LEAF,
	};

	kvm_pgtable_walk(&host_mmu.pgt, phys, nr_pages * PAGE_SIZE, &walker);
}

/*
 * Unmap a range from the host and write down whose it is. On return the host's
 * TLB entries for it are gone from all CPUs. Fails with -ENOMEM, and changes
 * nothing, when the host's table cannot be split any further.
 */
static int host_set_guest(struct pkvm_hyp_vm *vm, phys_addr_t phys, u64 gfn,
			  u64 nr_pages)
{
	int ret;

	ret = host_stage2_set_owner_locked(phys, nr_pages * PAGE_SIZE, PKVM_ID_GUEST);
	if (ret)
		host_undo_guest(phys, nr_pages);
	else
		host_annotate(vm, phys, gfn, nr_pages);

	return ret;
}

/* What the host's table says of a page of memory. */
static kvm_pte_t host_entry(phys_addr_t phys)
{
	struct pkvm_leaf leaf;

	hyp_assert_lock_held(&host_mmu.lock);
	pkvm_find_leaf(&host_mmu.pgt, phys, &leaf);

	return leaf.pte;
}

/* Is this page, in the host's book, private to this VM at this gfn? */
static bool host_entry_is(phys_addr_t phys, struct pkvm_hyp_vm *vm, u64 gfn)
{
	return host_entry(phys) == host_guest_entry(vm, gfn);
}

/* Is this page, in the host's book, borrowed from a guest? */
static bool host_entry_is_borrowed(phys_addr_t phys)
{
	kvm_pte_t pte = host_entry(phys);

	return kvm_pte_valid(pte) && pkvm_getstate(pte) == PKVM_PAGE_SHARED_BORROWED;
}

/**
 * pkvm_check_guest_range() - Can these be pages for a guest at all?
 * @vm: the VM.
 * @pfn: first page frame, as the host gave it.
 * @gfn: first guest frame, as the host gave it.
 * @nr_pages: pages, as the host gave it.
 * @phys: address of the first page, on success.
 * @ipa: address of the first guest frame, on success.
 *
 * Return: 0; -EINVAL for a range that is empty, too long or wraps; -ERANGE beyond
 * the VM's IPA size.
 */
int pkvm_check_guest_range(struct pkvm_hyp_vm *vm, u64 pfn, u64 gfn, u64 nr_pages,
			   u64 *phys, u64 *ipa)
{
	u64 end, size;

	if (!nr_pages || nr_pages > PKVM_MAX_PAGES_PER_CALL)
		return -EINVAL;

	size = nr_pages << PAGE_SHIFT;
	if (check_shl_overflow(pfn, PAGE_SHIFT, phys) ||
	    check_shl_overflow(gfn, PAGE_SHIFT, ipa) ||
	    check_add_overflow(*phys, size, &end) ||
	    check_add_overflow(*ipa, size, &end))
		return -EINVAL;

	return end > BIT_ULL(vm->pgt.ia_bits) ? -ERANGE : 0;
}

/* A guest's argument: a whole page within its address space? */
static bool guest_page_arg_valid(struct pkvm_hyp_vm *vm, u64 ipa)
{
	return PAGE_ALIGNED(ipa) && ipa < BIT_ULL(vm->pgt.ia_bits);
}

/* Find a page that the guest lets the host into. */
static int get_shared_page(struct pkvm_hyp_vm *vm, u64 ipa, phys_addr_t *phys)
{
	enum pkvm_page_state state;
	int ret;

	ret = guest_stage2_get_page(vm, ipa, phys, &state);
	if (ret)
		return ret;

	return state == PKVM_PAGE_SHARED_OWNED && host_entry_is_borrowed(*phys) ?
	       0 : -EPERM;
}

/*
 * The host returns a page that it has on loan, and that the guest has asked for.
 * On return the host's TLB entries for the page are gone from all CPUs.
 */
static int host_return_page(struct pkvm_hyp_vcpu *hyp_vcpu, u64 ipa, phys_addr_t phys)
{
	struct pkvm_hyp_vm *vm = pkvm_hyp_vcpu_to_hyp_vm(hyp_vcpu);
	phys_addr_t page;
	int ret;

	lock_host_and_guest(vm);

	ret = get_shared_page(vm, ipa, &page);
	if (!ret && page != phys)
		ret = -EPERM;
	/* The entry is at the last level since it was shared: no split. */
	if (!ret)
		ret = host_set_guest(vm, phys, ipa >> PAGE_SHIFT, 1);
	if (!ret) {
		guest_sync_page(phys, false);
		ret = guest_stage2_set_state(vm, ipa, PKVM_PAGE_OWNED);
	}

	unlock_host_and_guest(vm);

	if (!ret)
		pkvm_guest_unshare_done(hyp_vcpu);

	return ret;
}

/**
 * __pkvm_host_donate_guest() - The host gives pages to a protected guest.
 * @hyp_vcpu: the faulting vCPU, loaded on this CPU.
 * @pfn: first page frame, as the host gave it.
 * @gfn: first guest frame, as the host gave it.
 * @nr_pages: pages, contiguous on both sides, as the host gave it.
 *
 * As the pages are contiguous, none can stand in one call twice.
 * Takes the host's and the VM's lock. All pages move or none does.
 *
 * Or the host returns a page: while the vCPU waits in a call to unshare it, the
 * host has it on loan, and its donation ends the loan and the guest's call.
 *
 * Return: 0; -EINVAL for a VM that is not protected or a range that is empty,
 * too long or wraps; -ERANGE beyond the VM's IPA size; -EPERM when the host
 * does not own all pages alone, or has not declared the guest's frames to be RAM;
 * -EEXIST when the guest has memory there; -EHWPOISON when it lost memory
 * there to a forced reclaim; the positive number of table pages that are
 * missing when the host must top up; -ENOMEM when the host's own table cannot
 * be split.
 */
int __pkvm_host_donate_guest(struct pkvm_hyp_vcpu *hyp_vcpu, u64 pfn, u64 gfn,
			     u64 nr_pages)
{
	struct pkvm_hyp_vm *vm = pkvm_hyp_vcpu_to_hyp_vm(hyp_vcpu);
	u64 ipa, phys;
	int ret, need;

	if (!pkvm_hyp_vcpu_is_protected(hyp_vcpu))
		return -EINVAL;

	ret = pkvm_check_guest_range(vm, pfn, gfn, nr_pages, &phys, &ipa);
	if (ret)
		return ret;

	if (nr_pages == 1 && pkvm_guest_is_unsharing(hyp_vcpu, ipa))
		return host_return_page(hyp_vcpu, ipa, phys);

	if (!pkvm_guest_range_is_ram(vm, gfn, nr_pages))
		return -EPERM;

	/* Whatever the host has put out; the exact need is computed below. */
	pkvm_refill_stage2_mc(hyp_vcpu);

	lock_host_and_guest(vm);

	ret = host_check_alone(phys, nr_pages);
	if (ret)
		goto unlock;

	ret = guest_stage2_check_free(vm, ipa, nr_pages);
	if (ret)
		goto unlock;

	need = guest_stage2_tables_needed(vm, ipa, nr_pages);
	if (need < 0 || need > (int)hyp_vcpu->stage2_mc.nr_pages) {
		ret = need;
		goto unlock;
	}

	/* The host loses sight of the pages before the guest gets them. */
	ret = host_set_guest(vm, phys, gfn, nr_pages);
	if (ret)
		goto unlock;

	ret = guest_stage2_map(hyp_vcpu, ipa, nr_pages, phys);
	if (ret) {
		guest_stage2_unmap(vm, ipa, nr_pages);
		host_undo_guest(phys, nr_pages);
		goto unlock;
	}

	vm->nr_guest_pages += nr_pages;
unlock:
	unlock_host_and_guest(vm);

	return ret;
}

/**
 * __pkvm_guest_share_host() - A guest lets the host into one of its pages.
 * @hyp_vcpu: the calling vCPU, loaded on this CPU.
 * @ipa: address, as the guest gave it.
 *
 * Takes the host's and the VM's lock.
 *
 * Return: 0; -EINVAL for an address that is unaligned or beyond the VM's IPA
 * size; -ENOENT when nothing is mapped there yet; -EHWPOISON when the page was
 * lost; -EPERM when it is shared already, or a device's; -ENOMEM when the
 * host's table cannot be split.
 */
int __pkvm_guest_share_host(struct pkvm_hyp_vcpu *hyp_vcpu, u64 ipa)
{
	struct pkvm_hyp_vm *vm = pkvm_hyp_vcpu_to_hyp_vm(hyp_vcpu);
	enum kvm_pgtable_prot prot;
	enum pkvm_page_state state;
	phys_addr_t phys;
	int ret;

	if (!guest_page_arg_valid(vm, ipa))
		return -EINVAL;

	lock_host_and_guest(vm);

	ret = guest_stage2_get_page(vm, ipa, &phys, &state);
	if (ret)
		goto unlock;
	if (state != PKVM_PAGE_OWNED || !host_entry_is(phys, vm, ipa >> PAGE_SHIFT)) {
		ret = -EPERM;
		goto unlock;
	}

	guest_sync_page(phys, true);
	prot = pkvm_mkstate(PKVM_HOST_MEM_PROT, PKVM_PAGE_SHARED_BORROWED);
	ret = host_stage2_idmap_locked(phys, PAGE_SIZE, prot);
	if (!ret)
		ret = guest_stage2_set_state(vm, ipa, PKVM_PAGE_SHARED_OWNED);
unlock:
	unlock_host_and_guest(vm);

	return ret;
}

/**
 * __pkvm_guest_check_shared() - Can a guest shut the host out of a page?
 * @hyp_vcpu: the calling vCPU, loaded on this CPU.
 * @ipa: address, as the guest gave it.
 *
 * Takes the host's and the VM's lock. If so, the host is asked to let go of the
 * page first; see __pkvm_host_donate_guest().
 *
 * Return: 0; -EINVAL for an address that is unaligned or beyond the VM's IPA
 * size; -ENOENT when nothing is mapped there; -EHWPOISON when the page was
 * lost; -EPERM when it is not shared.
 */
int __pkvm_guest_check_shared(struct pkvm_hyp_vcpu *hyp_vcpu, u64 ipa)
{
	struct pkvm_hyp_vm *vm = pkvm_hyp_vcpu_to_hyp_vm(hyp_vcpu);
	phys_addr_t phys;
	int ret;

	if (!guest_page_arg_valid(vm, ipa))
		return -EINVAL;

	lock_host_and_guest(vm);
	ret = get_shared_page(vm, ipa, &phys);
	unlock_host_and_guest(vm);

	return ret;
}

/**
 * __pkvm_host_reclaim_page() - The host takes a page back from a dying VM.
 * @vm: a VM whose teardown has begun: no vCPU of it runs or can be loaded.
 * @pfn: page frame, as the host gave it.
 * @gfn: guest frame, as the host gave it.
 *
 * The page is cleared before the host can reach it again, and a shared one as
 * well. Takes the host's and the VM's lock.
 *
 * Return: 0, also for a page that a forced reclaim returned earlier; -EINVAL
 * for numbers that wrap; -ERANGE beyond the VM's IPA size; -ENOENT when the VM
 * has no memory at @gfn; -EPERM when it is not @pfn.
 */
int __pkvm_host_reclaim_page(struct pkvm_hyp_vm *vm, u64 pfn, u64 gfn)
{
	enum pkvm_page_state state;
	phys_addr_t phys, page;
	u64 ipa;
	int ret;

	if (check_shl_overflow(pfn, PAGE_SHIFT, &phys) ||
	    check_shl_overflow(gfn, PAGE_SHIFT, &ipa))
		return -EINVAL;

	lock_host_and_guest(vm);

	ret = guest_stage2_get_page(vm, ipa, &page, &state);
	if (ret == -EHWPOISON) {
		ret = 0;
		goto unlock;
	}
	if (ret)
		goto unlock;

	if (page != phys ||
	    (state == PKVM_PAGE_OWNED && !host_entry_is(phys, vm, gfn)) ||
	    (state == PKVM_PAGE_SHARED_OWNED && !host_entry_is_borrowed(phys))) {
		ret = -EPERM;
		goto unlock;
	}

	ret = guest_stage2_unmap(vm, ipa, 1);
	if (ret)
		goto unlock;

	guest_scrub_page(phys);
	vm->nr_guest_pages--;

	/* Both rewrite an entry of the last level and need no table page. */
	if (state == PKVM_PAGE_OWNED)
		host_undo_guest(phys, 1);
	else
		ret = host_stage2_idmap_locked(phys, PAGE_SIZE, PKVM_HOST_MEM_PROT);
unlock:
	unlock_host_and_guest(vm);

	return ret;
}

/**
 * __pkvm_host_can_access() - May the host touch this page now?
 * @pfn: page frame, as the host gave it.
 *
 * Takes the host's lock. The answer may be stale as soon as it is given.
 *
 * Return: 1 when the host owns the page or has it on loan, 0 otherwise;
 * -EINVAL for a number that wraps or is not memory.
 */
int __pkvm_host_can_access(u64 pfn)
{
	phys_addr_t phys;
	kvm_pte_t pte;
	int ret;

	if (check_shl_overflow(pfn, PAGE_SHIFT, &phys) ||
	    !addr_is_allowed_memory(phys))
		return -EINVAL;

	hyp_spin_lock(&host_mmu.lock);
	pte = host_entry(phys);
	ret = !pte || kvm_pte_valid(pte);
	hyp_spin_unlock(&host_mmu.lock);

	return ret;
}

/**
 * __pkvm_host_force_reclaim() - Give back a page that the host cannot do
 * without.
 * @pfn: page frame that the host touched, as the host gave it.
 *
 * The guest loses the page: it is cleared, and its gfn stays poisoned.
 * Takes vm_table_lock, the host's and the VM's lock.
 *
 * Return: 0; -EAGAIN when the host may touch the page already; -EPERM when the
 * page is not a guest's; -EINVAL for a number that wraps.
 */
int __pkvm_host_force_reclaim(u64 pfn)
{
	enum pkvm_page_state state;
	phys_addr_t phys, page;
	struct pkvm_hyp_vm *vm;
	kvm_pte_t pte;
	int ret;
	u64 gfn;

	if (check_shl_overflow(pfn, PAGE_SHIFT, &phys))
		return -EINVAL;
	if (!addr_is_allowed_memory(phys))
		return -EPERM;

	hyp_spin_lock(&vm_table_lock);
	hyp_spin_lock(&host_mmu.lock);

	pte = host_entry(phys);
	if (!pte || kvm_pte_valid(pte)) {
		ret = -EAGAIN;
		goto unlock_host;
	}
	if (!host_entry_is_guest(pte)) {
		ret = -EPERM;
		goto unlock_host;
	}

	vm = pkvm_get_vm_by_idx(FIELD_GET(HOST_ENTRY_VM, pte));
	gfn = FIELD_GET(HOST_ENTRY_GFN, pte);
	if (!vm) {
		ret = -EPERM;
		goto unlock_host;
	}

	guest_lock_component(vm);
	ret = guest_stage2_get_page(vm, gfn << PAGE_SHIFT, &page, &state);
	if (!ret && (page != phys || state != PKVM_PAGE_OWNED))
		ret = -EPERM;
	if (!ret)
		ret = guest_stage2_poison(vm, gfn << PAGE_SHIFT);
	if (!ret) {
		guest_scrub_page(phys);
		vm->nr_guest_pages--;
		host_undo_guest(phys, 1);
	}
	guest_unlock_component(vm);

unlock_host:
	hyp_spin_unlock(&host_mmu.lock);
	hyp_spin_unlock(&vm_table_lock);

	return ret;
}

/* PSTATE on entry to EL1 from @spsr (Arm ARM, D1.3, "Exception entry"). */
static u64 host_exception_pstate(u64 spsr)
{
	u64 sctlr = read_sysreg_el1(SYS_SCTLR);
	u64 pstate = spsr & (PSR_N_BIT | PSR_Z_BIT | PSR_C_BIT | PSR_V_BIT |
			     PSR_PAN_BIT | PSR_DIT_BIT);

	if (!(sctlr & SCTLR_EL1_SPAN))
		pstate |= PSR_PAN_BIT;
	if (sctlr & SCTLR_ELx_DSSBS)
		pstate |= PSR_SSBS_BIT;
	if (system_supports_mte())
		pstate |= PSR_TCO_BIT;

	return pstate | PSR_D_BIT | PSR_A_BIT | PSR_I_BIT | PSR_F_BIT |
	       PSR_MODE_EL1h;
}

static u64 host_exception_vector(u64 spsr)
{
	u64 mode = spsr & (PSR_MODE_MASK | PSR_MODE32_BIT);
	u64 offset;

	if (mode == PSR_MODE_EL1t)
		offset = 0x000;
	else if (mode == PSR_MODE_EL1h)
		offset = 0x200;
	else if (!(mode & PSR_MODE32_BIT))
		offset = 0x400;
	else
		offset = 0x600;

	return read_sysreg_el1(SYS_VBAR) + offset;
}

/* The host takes a synchronous exception to EL1 where it is. */
static void host_take_exception(u64 spsr, u64 esr)
{
	write_sysreg_el1(esr, SYS_ESR);
	write_sysreg_el1(read_sysreg_el2(SYS_ELR), SYS_ELR);
	write_sysreg_el1(spsr, SYS_SPSR);
	write_sysreg_el2(host_exception_vector(spsr), SYS_ELR);
	write_sysreg_el2(host_exception_pstate(spsr), SYS_SPSR);
}

/**
 * host_inject_mem_abort() - Tell the host that it may not touch a page.
 * @host_ctxt: the host's context on this CPU.
 * @fault: the abort that the host took to EL2.
 *
 * The host takes the abort at EL1 as one of its own, with ESR_EL1.S1PTW set:
 * hardware never reports that to EL1, so it marks aborts that EL2 decided on.
 * A page-table walk of the host that ran into the page is a different thing:
 * FAR_EL1 does not name the page then. It is reported as an external abort on
 * the walk, without the mark.
 */
void host_inject_mem_abort(struct kvm_cpu_context *host_ctxt,
			   const struct kvm_vcpu_fault_info *fault)
{
	u64 spsr = read_sysreg_el2(SYS_SPSR);
	u64 esr = fault->esr_el2 & (ESR_ELx_IL | ESR_ELx_FSC | ESR_ELx_CM |
				    ESR_ELx_WNR);
	u64 ec = ESR_ELx_EC(fault->esr_el2);

	if ((spsr & (PSR_MODE_MASK | PSR_MODE32_BIT)) != PSR_MODE_EL0t &&
	    !(spsr & PSR_MODE32_BIT)) {
		ec = ec == ESR_ELx_EC_IABT_LOW ? ESR_ELx_EC_IABT_CUR :
						 ESR_ELx_EC_DABT_CUR;
	}

	if (fault->esr_el2 & ESR_ELx_S1PTW)
		esr = (esr & ~ESR_ELx_FSC) | ESR_ELx_FSC_SEA_TTW(3);
	else
		esr |= ESR_ELx_S1PTW;

	write_sysreg_el1(fault->far_el2, SYS_FAR);
	host_take_exception(spsr, esr | (ec << ESR_ELx_EC_SHIFT));
}

/**
 * host_inject_undef() - Tell the host that it may not execute an instruction.
 *
 * The host trapped to EL2 with something that the kernel did not find when it
 * booted, or was told not to use. For a host that keeps to that it does not exist.
 */
void host_inject_undef(void)
{
	host_take_exception(read_sysreg_el2(SYS_SPSR),
			    ESR_ELx_EC_UNKNOWN << ESR_ELx_EC_SHIFT |
			    (read_sysreg_el2(SYS_ESR) & ESR_ELx_IL));
}
