// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory that the host shares with ordinary guests, and their tables.
 *
 * Owns the stage-2 tables of guests that are not protected: what the host asks to
 * map for them, to unmap, to age and to write-protect. The host may show such a
 * guest whatever it owns itself, and nothing else: no page of EL2's, of the
 * secure world's or of another guest's, and none that a guest has lent to it.
 *
 * A page of memory that is shared with guests is in state PKVM_PAGE_SHARED_GUESTS in
 * the host's table, and struct hyp_page counts how often it is mapped; with the
 * last mapping it is the host's alone again. What is not memory cannot change
 * hands, so that nothing of it has to be remembered.
 *
 * For the order of the locks see ownership.h.
 */

#include <linux/kvm_host.h>
#include <linux/overflow.h>

#include <asm/kvm_hyp.h>
#include <asm/kvm_mmu.h>
#include <asm/kvm_pgtable.h>

#include <nvhe/guest_share.h>
#include <nvhe/guest_stage2.h>
#include <nvhe/mem_protect.h>
#include <nvhe/memory.h>
#include <nvhe/ownership.h>
#include <nvhe/vm_table.h>

#define SHARE_TYPE	(KVM_PGTABLE_PROT_DEVICE | KVM_PGTABLE_PROT_NORMAL_NC)
#define SHARE_PROT	(KVM_PGTABLE_PROT_RWX | SHARE_TYPE)

/* Leaves that are taken out before the TLBs are told, for lack of stack. */
#define UNSHARE_BATCH	16

static bool prot_valid(enum kvm_pgtable_prot prot)
{
	enum kvm_pgtable_prot type = prot & SHARE_TYPE;

	return !(prot & ~SHARE_PROT) && (prot & KVM_PGTABLE_PROT_R) &&
	       type != SHARE_TYPE && !(type && (prot & KVM_PGTABLE_PROT_X));
}

static int check_shareable_visitor(const struct kvm_pgtable_visit_ctx *ctx,
				   enum kvm_pgtable_walk_flags visit)
{
	enum pkvm_page_state state;

	if (!kvm_pte_valid(ctx->old))
		return ctx->old ? -EPERM : 0;

	state = pkvm_getstate(kvm_pgtable_stage2_pte_prot(ctx->old));
	return state == PKVM_PAGE_OWNED || state == PKVM_PAGE_SHARED_GUESTS ?
	       0 : -EPERM;
}

/*
 * Does the host own the range, and can it be shared once more? Memory and devices
 * do not mix in one call.
 */
static int check_shareable(phys_addr_t phys, u64 nr_pages, bool *memory)
{
	struct kvm_pgtable_walker walker = {
		.cb	= check_shareable_visitor,
		.flags	= KVM_PGTABLE_WALK_LEAF,
	};
	u64 i;

	*memory = addr_is_allowed_memory(phys);
	for (i = 0; i < nr_pages; i++) {
		phys_addr_t page = phys + i * PAGE_SIZE;

		if (addr_is_allowed_memory(page) != *memory)
			return -EPERM;
		if (*memory && hyp_phys_to_page(page)->refcount == USHRT_MAX)
			return -EBUSY;
	}

	return kvm_pgtable_walk(&host_mmu.pgt, phys, nr_pages * PAGE_SIZE, &walker);
}

static int set_host_state(phys_addr_t phys, u64 nr_pages, enum pkvm_page_state state)
{
	return nr_pages ? host_stage2_idmap_locked(phys, nr_pages * PAGE_SIZE,
						   pkvm_mkstate(PKVM_HOST_MEM_PROT,
								state)) : 0;
}

/*
 * A guest's table has let go of pages. Those that none maps any more are the host's
 * alone again, run by run, so that the host gets a block back for a block. Cannot
 * fail: entries of the last level change their software bits, or are replaced by
 * a block that needs no table.
 */
static void put_shared(phys_addr_t phys, u64 nr_pages)
{
	u64 i, run = 0;

	for (i = 0; i < nr_pages; i++) {
		if (!--hyp_phys_to_page(phys + i * PAGE_SIZE)->refcount) {
			run++;
			continue;
		}
		set_host_state(phys + (i - run) * PAGE_SIZE, run, PKVM_PAGE_OWNED);
		run = 0;
	}
	set_host_state(phys + (i - run) * PAGE_SIZE, run, PKVM_PAGE_OWNED);
}

static int get_run(phys_addr_t phys, u64 nr_pages)
{
	int ret = set_host_state(phys, nr_pages, PKVM_PAGE_SHARED_GUESTS);

	/* Some of it may have been done. */
	if (ret)
		set_host_state(phys, nr_pages, PKVM_PAGE_OWNED);

	return ret;
}

/* A guest is going to map pages: say so in the host's table, if it is the first. */
static int get_shared(phys_addr_t phys, u64 nr_pages)
{
	u64 i, done = 0, run = 0;
	int ret;

	for (i = 0; i < nr_pages; i++) {
		if (!hyp_phys_to_page(phys + i * PAGE_SIZE)->refcount) {
			run++;
			continue;
		}
		ret = get_run(phys + (i - run) * PAGE_SIZE, run);
		if (ret)
			goto undo;
		run = 0;
		for (; done <= i; done++)
			hyp_phys_to_page(phys + done * PAGE_SIZE)->refcount++;
	}
	ret = get_run(phys + (i - run) * PAGE_SIZE, run);
	if (ret)
		goto undo;
	for (; done < nr_pages; done++)
		hyp_phys_to_page(phys + done * PAGE_SIZE)->refcount++;

	return 0;
undo:
	put_shared(phys, done);
	return ret;
}

struct leaf {
	u64		ipa;
	phys_addr_t	phys;
	u64		size;
};

struct leaves {
	struct leaf	leaf[UNSHARE_BATCH];
	unsigned int	nr;
};

static int collect_visitor(const struct kvm_pgtable_visit_ctx *ctx,
			   enum kvm_pgtable_walk_flags visit)
{
	u64 size = kvm_granule_size(ctx->level);
	struct leaves *leaves = ctx->arg;

	if (!kvm_pte_valid(ctx->old))
		return 0;
	if (leaves->nr == UNSHARE_BATCH)
		return 1;

	leaves->leaf[leaves->nr++] = (struct leaf) {
		.ipa	= ALIGN_DOWN(ctx->addr, size),
		.phys	= kvm_pte_to_phys(ctx->old),
		.size	= size,
	};

	return 0;
}

/*
 * Take the next few leaves from @ipa on out of the guest's table. Whole leaves: one
 * that begins before the range or ends after it goes too. Returns where to
 * go on, @end when nothing is left.
 */
static u64 unshare_some(struct pkvm_hyp_vm *vm, u64 ipa, u64 end)
{
	struct leaves leaves = { .nr = 0 };
	struct kvm_pgtable_walker walker = {
		.cb	= collect_visitor,
		.flags	= KVM_PGTABLE_WALK_LEAF,
		.arg	= &leaves,
	};
	struct leaf *last;
	unsigned int i;

	kvm_pgtable_walk(&vm->pgt, ipa, end - ipa, &walker);
	if (!leaves.nr)
		return end;

	/* On return no TLB has them: only then the host may do as it likes. */
	last = &leaves.leaf[leaves.nr - 1];
	kvm_pgtable_stage2_unmap(&vm->pgt, leaves.leaf[0].ipa,
				 last->ipa + last->size - leaves.leaf[0].ipa);

	for (i = 0; i < leaves.nr; i++) {
		struct leaf *l = &leaves.leaf[i];

		vm->nr_guest_pages -= l->size >> PAGE_SHIFT;
		if (addr_is_allowed_memory(l->phys))
			put_shared(l->phys, l->size >> PAGE_SHIFT);
	}

	return min(last->ipa + last->size, end);
}

/*
 * What is there already? -EAGAIN for the very page or block that is to be mapped,
 * which another vCPU has brought: the guest tries again, and if it lacks a
 * permission then it will say so.
 */
static int check_present(struct pkvm_hyp_vm *vm, u64 ipa, u64 size, phys_addr_t phys)
{
	kvm_pte_t pte;
	s8 level;
	int ret;

	ret = kvm_pgtable_get_leaf(&vm->pgt, ipa, &pte, &level);
	if (ret)
		return ret;

	return kvm_pte_valid(pte) && kvm_granule_size(level) == size &&
	       kvm_pte_to_phys(pte) == phys ? -EAGAIN : 0;
}

/**
 * __pkvm_host_share_guest() - Map memory of the host for an ordinary guest.
 * @hyp_vcpu: the faulting vCPU, loaded on this CPU.
 * @pfn: first page frame, as the host gave it.
 * @gfn: first guest frame, as the host gave it.
 * @nr_pages: pages, contiguous on both sides, as the host gave it.
 * @prot: KVM_PGTABLE_PROT_R, and _W, _X, _DEVICE or _NORMAL_NC, as the host gave it.
 *
 * What was mapped there before is unmapped, by whole blocks. The host has done the
 * cache maintenance: it sees all of the memory. Takes the host's and the VM's lock.
 *
 * Return: 0; -EINVAL for a protected VM, a range that is empty, too long or wraps,
 * or a @prot that makes no sense; -ERANGE beyond the VM's IPA size; -EPERM for what
 * the host does not own, or would have mapped as memory although it is none;
 * -EBUSY for a page that is mapped 65535 times; -EAGAIN when it is mapped already;
 * the positive number of table pages that are missing when the host must top
 * up; -ENOMEM when the host's own table cannot be split.
 */
int __pkvm_host_share_guest(struct pkvm_hyp_vcpu *hyp_vcpu, u64 pfn, u64 gfn,
			    u64 nr_pages, enum kvm_pgtable_prot prot)
{
	struct pkvm_hyp_vm *vm = pkvm_hyp_vcpu_to_hyp_vm(hyp_vcpu);
	u64 phys, ipa, size, next;
	bool memory;
	int ret, need;

	if (pkvm_hyp_vcpu_is_protected(hyp_vcpu) || !prot_valid(prot))
		return -EINVAL;

	ret = pkvm_check_guest_range(vm, pfn, gfn, nr_pages, &phys, &ipa);
	if (ret)
		return ret;
	size = nr_pages << PAGE_SHIFT;

	pkvm_refill_stage2_mc(hyp_vcpu);

	lock_host_and_guest(vm);

	ret = check_shareable(phys, nr_pages, &memory);
	if (!ret && !memory && !(prot & SHARE_TYPE))
		ret = -EPERM;
	if (!ret)
		ret = check_present(vm, ipa, size, phys);
	if (ret)
		goto unlock;

	for (next = ipa; next < ipa + size; )
		next = unshare_some(vm, next, ipa + size);

	need = guest_stage2_tables_needed(vm, ipa, nr_pages);
	if (need < 0 || need > (int)hyp_vcpu->stage2_mc.nr_pages) {
		ret = need;
		goto unlock;
	}

	if (memory) {
		ret = get_shared(phys, nr_pages);
		if (ret)
			goto unlock;
	}

	/* Cannot fail: nothing is there, and the tables are at hand. */
	ret = kvm_pgtable_stage2_map(&vm->pgt, ipa, size, phys,
				     pkvm_mkstate(prot, PKVM_PAGE_SHARED_BORROWED),
				     &hyp_vcpu->stage2_mc, KVM_PGTABLE_WALK_SKIP_CMO);
	if (ret) {
		kvm_pgtable_stage2_unmap(&vm->pgt, ipa, size);
		if (memory)
			put_shared(phys, nr_pages);
		goto unlock;
	}
	vm->nr_guest_pages += nr_pages;
unlock:
	unlock_host_and_guest(vm);

	return ret;
}

static int relax_visitor(const struct kvm_pgtable_visit_ctx *ctx,
			 enum kvm_pgtable_walk_flags visit)
{
	enum kvm_pgtable_prot prot = *(enum kvm_pgtable_prot *)ctx->arg;
	kvm_pte_t new = ctx->old | KVM_PTE_LEAF_ATTR_LO_S2_AF;

	/* Gone since the fault: the guest will fault again. */
	if (!kvm_pte_valid(ctx->old))
		return -EAGAIN;

	if (prot & KVM_PGTABLE_PROT_W)
		new |= KVM_PTE_LEAF_ATTR_LO_S2_S2AP_W;
	if (prot & KVM_PGTABLE_PROT_X)
		new &= ~KVM_PTE_LEAF_ATTR_HI_S2_XN;

	WRITE_ONCE(*ctx->ptep, new);

	return ctx->level + 1;
}

/**
 * __pkvm_host_relax_guest() - Let an ordinary guest do more with what it has.
 * @hyp_vcpu: the faulting vCPU, loaded on this CPU.
 * @gfn: guest frame number, as the host gave it.
 * @prot: KVM_PGTABLE_PROT_R, and _W and _X to add, as the host gave it; 0 makes
 *	the page young and adds nothing.
 *
 * Takes the VM's lock. Only the TLB of this CPU is told; others fault once more.
 *
 * Return: 0; -EINVAL for a protected VM, a number that wraps or a @prot that makes
 * no sense; -ERANGE beyond the VM's IPA size; -EAGAIN when nothing is mapped
 * there.
 */
int __pkvm_host_relax_guest(struct pkvm_hyp_vcpu *hyp_vcpu, u64 gfn,
			    enum kvm_pgtable_prot prot)
{
	struct pkvm_hyp_vm *vm = pkvm_hyp_vcpu_to_hyp_vm(hyp_vcpu);
	struct kvm_pgtable_walker walker = {
		.cb	= relax_visitor,
		.flags	= KVM_PGTABLE_WALK_LEAF | KVM_PGTABLE_WALK_HANDLE_FAULT,
		.arg	= &prot,
	};
	u64 ipa;
	int ret;

	if (pkvm_hyp_vcpu_is_protected(hyp_vcpu) ||
	    (prot && !prot_valid(prot)) ||
	    check_shl_overflow(gfn, PAGE_SHIFT, &ipa))
		return -EINVAL;
	if (ipa >= BIT_ULL(vm->pgt.ia_bits))
		return -ERANGE;

	guest_lock_component(vm);
	ret = kvm_pgtable_walk(&vm->pgt, ipa, PAGE_SIZE, &walker);
	if (ret > 0) {
		/* An entry that is made young is in no TLB yet. */
		if (prot)
			__kvm_tlb_flush_vmid_ipa_nsh(&vm->kvm.arch.mmu, ipa, ret - 1);
		ret = 0;
	}
	guest_unlock_component(vm);

	return ret;
}

/* Take what the host wants from its share; stop for interrupts. */
static u64 unshare_range(struct pkvm_hyp_vm *vm, u64 ipa, u64 end)
{
	do {
		lock_host_and_guest(vm);
		ipa = unshare_some(vm, ipa, end);
		unlock_host_and_guest(vm);
	} while (ipa < end && !read_sysreg(isr_el1));

	return (end - ipa) >> PAGE_SHIFT;
}

/**
 * __pkvm_guest_stage2_op() - Change a range of an ordinary guest's table.
 * @handle: the VM, as the host gave it.
 * @op: enum pkvm_stage2_op, as the host gave it.
 * @gfn: first guest frame, as the host gave it.
 * @nr_pages: pages, as the host gave it.
 *
 * Takes vm_table_lock, which it drops again, then the VM's lock, and the host's
 * before that to unshare. A range of unshare may be of any size, as it is cut short;
 * that of others PKVM_MAX_OP_PAGES.
 *
 * Return: for PKVM_S2_UNSHARE, how many pages of the range are left to do; for
 * PKVM_S2_TEST_YOUNG and PKVM_S2_CLEAR_YOUNG, 1 if the guest used any of it, else 0;
 * 0 for others; -ENOENT when there is no such VM; -EINVAL for a protected one, an
 * unknown @op or a range that is empty, too long or wraps; -ERANGE beyond the VM's
 * IPA size.
 */
s64 __pkvm_guest_stage2_op(pkvm_handle_t handle, u32 op, u64 gfn, u64 nr_pages)
{
	struct pkvm_hyp_vm *vm;
	u64 ipa, size, end;
	s64 ret;

	if (check_shl_overflow(gfn, PAGE_SHIFT, &ipa) ||
	    check_shl_overflow(nr_pages, PAGE_SHIFT, &size) ||
	    check_add_overflow(ipa, size, &end) || !size)
		return -EINVAL;
	if (op != PKVM_S2_UNSHARE && nr_pages > PKVM_MAX_OP_PAGES)
		return -EINVAL;

	vm = pkvm_get_vm(handle);
	if (!vm)
		return -ENOENT;

	if (vm->kvm.arch.pkvm.enabled) {
		ret = -EINVAL;
		goto put;
	}
	if (end > BIT_ULL(vm->pgt.ia_bits)) {
		ret = -ERANGE;
		goto put;
	}

	if (op == PKVM_S2_UNSHARE) {
		ret = unshare_range(vm, ipa, end);
		goto put;
	}

	guest_lock_component(vm);
	switch (op) {
	case PKVM_S2_WRPROTECT:
		ret = kvm_pgtable_stage2_wrprotect(&vm->pgt, ipa, size);
		break;
	case PKVM_S2_FLUSH:
		ret = kvm_pgtable_stage2_flush(&vm->pgt, ipa, size);
		break;
	case PKVM_S2_TEST_YOUNG:
	case PKVM_S2_CLEAR_YOUNG:
		/* Its WARN is for walks that fail: this one is in range. */
		ret = kvm_pgtable_stage2_test_clear_young(&vm->pgt, ipa, size,
							  op == PKVM_S2_CLEAR_YOUNG);
		break;
	case PKVM_S2_TLBI:
		__kvm_tlb_flush_vmid(&vm->kvm.arch.mmu);
		ret = 0;
		break;
	default:
		ret = -EINVAL;
	}
	guest_unlock_component(vm);
put:
	pkvm_put_vm(vm);

	return ret;
}
