// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory that the host shares with ordinary guests, and their tables.
 *
 * Owns the stage-2 tables of guests that are not protected: what the host asks to
 * map for them, to unmap, to age and to write-protect. The host may show such a
 * guest whatever it owns itself, and nothing else: no page of EL2's, of the
 * secure world's or of another guest's, and none that a guest has lent to it.
 *
 * Of memory that is shared with guests, struct hyp_page counts how often it is mapped:
 * each page for itself, and in the first page of a block how often the whole block
 * is. The host's table does not change, and keeps its blocks. What is mapped by a
 * guest is given to nobody else (pkvm_guests_map()). What is not memory cannot
 * change hands, so that nothing of it has to be remembered.
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
#include <nvhe/leaf.h>
#include <nvhe/mem_protect.h>
#include <nvhe/memory.h>
#include <nvhe/ownership.h>
#include <nvhe/vm_table.h>

#define SHARE_TYPE	(KVM_PGTABLE_PROT_DEVICE | KVM_PGTABLE_PROT_NORMAL_NC)
#define SHARE_PROT	(KVM_PGTABLE_PROT_RWX | SHARE_TYPE)

/* The type of a leaf of the last level (Arm ARM D8.3). */
#define LEAF_IS_PAGE	BIT(1)

/* Leaves that are taken out before the TLBs are told, for lack of stack. */
#define UNSHARE_BATCH	16
/* Entries that are looked at for them, for lack of time. */
#define UNSHARE_LOOKS	(2 * PTRS_PER_PTE)

static bool prot_valid(enum kvm_pgtable_prot prot)
{
	enum kvm_pgtable_prot type = prot & SHARE_TYPE;

	return !(prot & ~SHARE_PROT) && (prot & KVM_PGTABLE_PROT_R) &&
	       type != SHARE_TYPE && !(type && (prot & KVM_PGTABLE_PROT_X));
}

/**
 * pkvm_guests_map() - Does an ordinary guest map any page of a range?
 * @phys: first page; all are memory that the host owns.
 * @nr_pages: pages.
 *
 * The host's lock is held.
 *
 * Return: true if one does.
 */
bool pkvm_guests_map(phys_addr_t phys, u64 nr_pages)
{
	u64 i;

	/* A page and the head of its block are described in one page. */
	BUILD_BUG_ON(PTRS_PER_PTE * sizeof(struct hyp_page) > PAGE_SIZE ||
		     !is_power_of_2(sizeof(struct hyp_page)));

	for (i = 0; i < nr_pages; i++, phys += PAGE_SIZE) {
		if (hyp_phys_to_page(phys)->refcount || block_head(phys)->nr_blocks)
			return true;
	}

	return false;
}

/* A whole block, which one entry maps and one count counts. */
static bool is_block(u64 ipa, phys_addr_t phys, u64 nr_pages)
{
	return nr_pages == PTRS_PER_PTE && IS_ALIGNED(ipa | phys, PMD_SIZE);
}

/* Do as many guests map memory as can be counted? */
static bool is_full(phys_addr_t phys, u64 nr_pages, bool block)
{
	struct hyp_page *page = hyp_phys_to_page(phys);
	u64 i;

	if (block)
		return page->nr_blocks == PKVM_MAX_BLOCKS;

	for (i = 0; i < nr_pages; i++) {
		if (page[i].refcount == USHRT_MAX)
			return true;
	}

	return false;
}

/* One guest more maps memory that is not full. */
static void get_shared(phys_addr_t phys, u64 nr_pages, bool block)
{
	struct hyp_page *page = hyp_phys_to_page(phys);
	u64 i;

	if (block) {
		page->nr_blocks++;
		return;
	}

	for (i = 0; i < nr_pages; i++)
		page[i].refcount++;
}

/* A guest's table has let go of a leaf, or of pages that were to be leaves. */
static void put_shared(phys_addr_t phys, u64 nr_pages, bool block)
{
	struct hyp_page *page = hyp_phys_to_page(phys);
	u64 i;

	if (block) {
		page->nr_blocks--;
		return;
	}

	for (i = 0; i < nr_pages; i++)
		page[i].refcount--;
}

struct gone {
	u64		ipa;
	phys_addr_t	phys;
	bool		block;
};

/*
 * Take the next few leaves from @ipa on out of the guest's table. Whole leaves: one
 * that begins before the range or ends after it goes too. Returns where to
 * go on, @end when nothing is left.
 */
static u64 unshare_some(struct pkvm_hyp_vm *vm, u64 ipa, u64 end)
{
	struct gone gone[UNSHARE_BATCH];
	unsigned int nr = 0, looks, i;
	struct pkvm_leaf leaf;
	u64 to = 0;

	pkvm_find_leaf(&vm->pgt, ipa, &leaf);
	for (looks = 0; looks < UNSHARE_LOOKS; looks++) {
		u64 size = pkvm_leaf_size(&leaf);

		if (kvm_pte_valid(leaf.pte)) {
			/* Without FWB a leaf is cleaned: one block takes long enough. */
			if (nr == UNSHARE_BATCH ||
			    (nr && (size != PAGE_SIZE || gone[nr - 1].block) &&
			     !cpus_have_final_cap(ARM64_HAS_STAGE2_FWB)))
				break;
			gone[nr++] = (struct gone) {
				.ipa	= ALIGN_DOWN(ipa, size),
				.phys	= kvm_pte_to_phys(leaf.pte),
				.block	= size != PAGE_SIZE,
			};
			to = ALIGN_DOWN(ipa, size) + size;
		}

		ipa = pkvm_leaf_end(&leaf, ipa);
		if (ipa >= end)
			break;
		pkvm_next_leaf(&vm->pgt, ipa, &leaf);
	}
	ipa = min(ipa, end);
	if (!nr)
		return ipa;

	/* On return no TLB has them: only then the host may do as it likes. */
	kvm_pgtable_stage2_unmap(&vm->pgt, gone[0].ipa, to - gone[0].ipa);

	for (i = 0; i < nr; i++) {
		u64 nr_pages = gone[i].block ? PTRS_PER_PTE : 1;

		vm->nr_guest_pages -= nr_pages;
		if (addr_is_allowed_memory(gone[i].phys))
			put_shared(gone[i].phys, nr_pages, gone[i].block);
	}

	return ipa;
}

/*
 * Make room for a mapping: @leaf becomes the entry that it will begin at, or that the
 * tables will hang from. -EAGAIN when the very page or block is there, which another
 * vCPU has brought: the guest tries again, and if it lacks a permission then it will
 * say so. -EBUSY when the memory is @full: the guest keeps what it has there.
 */
static int make_room(struct pkvm_hyp_vm *vm, u64 ipa, u64 size, phys_addr_t phys,
		     bool full, struct pkvm_leaf *leaf)
{
	bool valid;
	u64 next;

	pkvm_find_leaf(&vm->pgt, ipa, leaf);
	valid = kvm_pte_valid(leaf->pte);
	if (valid && pkvm_leaf_size(leaf) == size && IS_ALIGNED(ipa, size) &&
	    kvm_pte_to_phys(leaf->pte) == phys)
		return -EAGAIN;
	if (full)
		return -EBUSY;
	if (!valid && pkvm_leaf_end(leaf, ipa) >= ipa + size)
		return 0;

	for (next = ipa; next < ipa + size; )
		next = unshare_some(vm, next, ipa + size);
	pkvm_find_leaf(&vm->pgt, ipa, leaf);

	return 0;
}

/* Table pages that the mapping will take, when @leaf is what make_room() left. */
static int tables_needed(struct pkvm_hyp_vm *vm, u64 ipa, u64 nr_pages, bool block,
			 const struct pkvm_leaf *leaf)
{
	if (nr_pages > 1 && !block)
		return guest_stage2_tables_needed(vm, ipa, nr_pages);

	/* A table where a block will be is given back. */
	return max(KVM_PGTABLE_LAST_LEVEL - block - leaf->level, 0);
}

/* The memory type in a leaf for a guest (Arm ARM D8.6, stage-2 memory types). */
static kvm_pte_t leaf_type(enum kvm_pgtable_prot prot)
{
	bool fwb = cpus_have_final_cap(ARM64_HAS_STAGE2_FWB);

	if (prot & KVM_PGTABLE_PROT_DEVICE)
		return PAGE_S2_MEMATTR(DEVICE_nGnRE, fwb);
	if (prot & KVM_PGTABLE_PROT_NORMAL_NC)
		return PAGE_S2_MEMATTR(NORMAL_NC, fwb);
	return PAGE_S2_MEMATTR(NORMAL, fwb);
}

/*
 * The attributes of a leaf for a guest, of a @prot that is valid (Arm ARM D8.3,
 * stage-2 attribute fields).
 */
static kvm_pte_t leaf_attributes(enum kvm_pgtable_prot prot)
{
	kvm_pte_t attr = leaf_type(prot);

	attr |= KVM_PTE_LEAF_ATTR_LO_S2_AF | KVM_PTE_LEAF_ATTR_LO_S2_S2AP_R;
	if (prot & KVM_PGTABLE_PROT_W)
		attr |= KVM_PTE_LEAF_ATTR_LO_S2_S2AP_W;
	if (!(prot & KVM_PGTABLE_PROT_X))
		attr |= KVM_PTE_LEAF_ATTR_HI_S2_XN;
	/* With LPA2 these bits are the address's. */
	if (!kvm_lpa2_is_enabled())
		attr |= FIELD_PREP(KVM_PTE_LEAF_ATTR_LO_S2_SH,
				   KVM_PTE_LEAF_ATTR_LO_S2_SH_IS);

	return attr | pkvm_mkstate(0, PKVM_PAGE_SHARED_BORROWED);
}

/*
 * Map where nothing is, with the tables at hand. Most often the table is there
 * already, and @leaf the entry that is to be written.
 */
static int map_leaf(struct pkvm_hyp_vcpu *hyp_vcpu, u64 ipa, u64 nr_pages,
		    phys_addr_t phys, enum kvm_pgtable_prot prot, bool block,
		    const struct pkvm_leaf *leaf)
{
	struct pkvm_hyp_vm *vm = pkvm_hyp_vcpu_to_hyp_vm(hyp_vcpu);

	if (leaf->pte || leaf->level != KVM_PGTABLE_LAST_LEVEL - block ||
	    (nr_pages > 1 && !block))
		return kvm_pgtable_stage2_map(&vm->pgt, ipa, nr_pages << PAGE_SHIFT, phys,
					      pkvm_mkstate(prot, PKVM_PAGE_SHARED_BORROWED),
					      &hyp_vcpu->stage2_mc,
					      KVM_PGTABLE_WALK_SKIP_CMO);

	/* Invalid to valid: nothing for the TLBs to know. */
	WRITE_ONCE(*leaf->ptep, kvm_phys_to_pte(phys) | leaf_attributes(prot) |
		   KVM_PTE_VALID | (block ? 0 : LEAF_IS_PAGE));
	vm->mm_ops.get_page(leaf->ptep);
	dsb(ishst);

	return 0;
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
 * -EBUSY for a page that is mapped 65535 times, or a block that is 255 times and can
 * still be shared page by page, while what was there stays; -EAGAIN when it is mapped
 * already; the positive number of table pages that are missing when the host must top up.
 */
int __pkvm_host_share_guest(struct pkvm_hyp_vcpu *hyp_vcpu, u64 pfn, u64 gfn,
			    u64 nr_pages, enum kvm_pgtable_prot prot)
{
	struct pkvm_hyp_vm *vm = pkvm_hyp_vcpu_to_hyp_vm(hyp_vcpu);
	struct pkvm_leaf leaf;
	u64 phys, ipa, size;
	bool memory, block;
	int ret, need;

	if (pkvm_hyp_vcpu_is_protected(hyp_vcpu) || !prot_valid(prot))
		return -EINVAL;

	ret = pkvm_check_guest_range(vm, pfn, gfn, nr_pages, &phys, &ipa);
	if (ret)
		return ret;
	size = nr_pages << PAGE_SHIFT;
	block = is_block(ipa, phys, nr_pages);

	pkvm_refill_stage2_mc(hyp_vcpu);

	lock_host_and_guest(vm);

	ret = host_check_owned(phys, nr_pages, &memory);
	if (!ret && !memory && !(prot & SHARE_TYPE))
		ret = -EPERM;
	if (!ret)
		ret = make_room(vm, ipa, size, phys,
				memory && is_full(phys, nr_pages, block), &leaf);
	if (ret)
		goto unlock;

	need = tables_needed(vm, ipa, nr_pages, block, &leaf);
	if (need > (int)hyp_vcpu->stage2_mc.nr_pages) {
		ret = need;
		goto unlock;
	}

	if (memory)
		get_shared(phys, nr_pages, block);

	/* Cannot fail: nothing is there, and the tables are at hand. */
	ret = map_leaf(hyp_vcpu, ipa, nr_pages, phys, prot, block, &leaf);
	if (ret) {
		kvm_pgtable_stage2_unmap(&vm->pgt, ipa, size);
		if (memory)
			put_shared(phys, nr_pages, block);
		goto unlock;
	}
	vm->nr_guest_pages += nr_pages;
unlock:
	unlock_host_and_guest(vm);

	return ret;
}

/**
 * __pkvm_host_relax_guest() - Let an ordinary guest do more with what it has.
 * @hyp_vcpu: the faulting vCPU, loaded on this CPU.
 * @gfn: guest frame number, as the host gave it.
 * @nr_pages: pages that this may be given to, as the host gave it.
 * @prot: KVM_PGTABLE_PROT_R, and _W and _X to add, as the host gave it; 0 makes
 *	the page young and adds nothing.
 *
 * Takes the VM's lock. Only the TLB of this CPU is told; others fault once more.
 *
 * Return: 0; -EINVAL for a protected VM, a number that wraps, a @prot that makes no
 * sense, or _X for a device or memory that is not cached; -ERANGE beyond the VM's IPA
 * size; -EAGAIN when nothing is mapped there; -E2BIG, and nothing is changed, when more
 * would be than @nr_pages with something in @prot: the host has the guest's writes to
 * some of them to see yet.
 */
int __pkvm_host_relax_guest(struct pkvm_hyp_vcpu *hyp_vcpu, u64 gfn, u64 nr_pages,
			    enum kvm_pgtable_prot prot)
{
	struct pkvm_hyp_vm *vm = pkvm_hyp_vcpu_to_hyp_vm(hyp_vcpu);
	struct pkvm_leaf leaf;
	kvm_pte_t new;
	int ret = 0;
	u64 ipa;

	if (pkvm_hyp_vcpu_is_protected(hyp_vcpu) ||
	    (prot && !prot_valid(prot)) ||
	    check_shl_overflow(gfn, PAGE_SHIFT, &ipa))
		return -EINVAL;
	if (ipa >= BIT_ULL(vm->pgt.ia_bits))
		return -ERANGE;

	guest_lock_component(vm);
	pkvm_find_leaf(&vm->pgt, ipa, &leaf);
	/* Gone since the fault: the guest will fault again. */
	if (!kvm_pte_valid(leaf.pte)) {
		ret = -EAGAIN;
		goto unlock;
	}
	if (prot && pkvm_leaf_size(&leaf) >> PAGE_SHIFT > nr_pages) {
		ret = -E2BIG;
		goto unlock;
	}
	/* As it could not have been shared. */
	if ((prot & KVM_PGTABLE_PROT_X) &&
	    (leaf.pte & KVM_PTE_LEAF_ATTR_LO_S2_MEMATTR) != leaf_type(KVM_PGTABLE_PROT_R)) {
		ret = -EINVAL;
		goto unlock;
	}

	new = leaf.pte | KVM_PTE_LEAF_ATTR_LO_S2_AF;
	if (prot & KVM_PGTABLE_PROT_W)
		new |= KVM_PTE_LEAF_ATTR_LO_S2_S2AP_W;
	if (prot & KVM_PGTABLE_PROT_X)
		new &= ~KVM_PTE_LEAF_ATTR_HI_S2_XN;
	WRITE_ONCE(*leaf.ptep, new);

	/* An entry that is made young is in no TLB yet. */
	if (prot)
		__kvm_tlb_flush_vmid_ipa_nsh(&vm->kvm.arch.mmu, ipa, leaf.level);
unlock:
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
