// SPDX-License-Identifier: GPL-2.0-only
/*
 * Stage-2 faults of guests, as EL1 handles them.
 *
 * Owns the way from an abort to a mapping, or to an error that tells the VMM what
 * could not be served: describe the fault, look up the memory, choose the size,
 * install, finish. Looks memory up through virt/kvm/follow_pfn.c and installs
 * through the page-table code, or in protected mode through EL2 (pkvm_stage2.c);
 * holds no page beyond the fault, and never looks at a page that it finds in a
 * guest's table. The memory of protected guests is pkvm_guest.c's.
 *
 * Order: mmap_lock is dropped before mmu_lock is taken; memory is touched (cache
 * maintenance, tags) under mmu_lock only, after the retry check.
 */

#include <linux/hugetlb.h>
#include <linux/kvm_follow_pfn.h>
#include <linux/kvm_host.h>
#include <linux/sched/signal.h>
#include <trace/events/kvm.h>

#include <asm/kvm_arm.h>
#include <asm/kvm_emulate.h>
#include <asm/kvm_mmu.h>
#include <asm/kvm_nested.h>
#include <asm/kvm_pgtable.h>
#include <asm/kvm_pkvm.h>
#include <asm/kvm_ras.h>
#include <asm/mte.h>
#include <asm/pkvm_stage2.h>
#include <asm/stage2_pgtable.h>
#include <asm/virt.h>

#include "trace.h"

/**
 * struct stage2_fault - A guest's fault on memory of a memslot.
 * @vcpu: the vCPU; its hw_mmu is the table that faulted.
 * @slot: the memslot that covers @ipa.
 * @nested: the guest's own translation of a nested guest's address, or NULL.
 * @fault_ipa: where it faulted, in the address space of the table.
 * @ipa: the same in the address space of the VM.
 * @hva: the VMM's address of that page.
 * @perm: an entry is there, and lacks a permission.
 * @granule: bytes that this entry maps; 0 when that is not known.
 * @write: of a store.
 * @exec: of an instruction fetch.
 * @own: memory that is there for all who only read will not do.
 * @logging: the slot's dirty pages are logged: only pages, writable by a write.
 * @vma_size: bytes that the VMA's page size promises, for hugetlbfs; PAGE_SIZE
 *	for all others.
 * @mte_allowed: the VMA's memory may have tags.
 * @any_uncached: the VMA's device memory may be mapped non-cacheable.
 * @mmu_seq: the invalidation sequence before the VMA and the page were looked at.
 * @prot: what the guest may do, and the type of the memory.
 */
struct stage2_fault {
	struct kvm_vcpu *vcpu;
	struct kvm_memory_slot *slot;
	struct kvm_s2_trans *nested;
	phys_addr_t fault_ipa;
	phys_addr_t ipa;
	hva_t hva;
	bool perm;
	unsigned long granule;
	bool write;
	bool exec;
	bool own;
	bool logging;
	unsigned long vma_size;
	bool mte_allowed;
	bool any_uncached;
	unsigned long mmu_seq;
	enum kvm_pgtable_prot prot;
};

/* ------------------------------------------------------------------ describe */

/*
 * What the syndrome says. -EFAULT for a fault that makes no sense: there is no
 * permission to read that a mapping of ours could lack, unless it shadows another.
 */
static int describe_fault(struct stage2_fault *fault)
{
	struct kvm_vcpu *vcpu = fault->vcpu;

	fault->perm = kvm_vcpu_trap_is_permission_fault(vcpu);
	fault->granule = 0;
	fault->write = kvm_is_write_fault(vcpu);
	fault->exec = kvm_vcpu_trap_is_exec_fault(vcpu);
	fault->own = false;
	fault->logging = kvm_slot_dirty_track_enabled(fault->slot) &&
			 !(fault->slot->flags & KVM_MEM_READONLY);

	if (fault->perm) {
		if (!fault->write && !fault->exec && !fault->nested)
			return -EFAULT;
		/*
		 * Of a table walk's fault not every CPU tells the level of this table:
		 * QEMU's before 8.2 tell that of the guest's.
		 */
		if (!kvm_vcpu_abt_iss1tw(vcpu))
			fault->granule = kvm_vcpu_trap_get_perm_fault_granule(vcpu);
	}

	return 0;
}

/* What will have to be known of the VMA once it may be gone. */
static void describe_vma(struct stage2_fault *fault, struct vm_area_struct *vma)
{
	fault->vma_size = is_vm_hugetlb_page(vma) ?
			  huge_page_size(hstate_vma(vma)) : PAGE_SIZE;
	fault->mte_allowed = vma->vm_flags & VM_MTE_ALLOWED;
	fault->any_uncached = vma->vm_flags & VM_ALLOW_ANY_UNCACHED;
}

/* ------------------------------------------------------------------- look up */

/*
 * Find the page, with one walk where the VMA is at hand and the page in place.
 * Returns as kvm_follow_hva().
 */
static int look_up(struct stage2_fault *fault, struct kvm_followed_pfn *found)
{
	struct kvm *kvm = fault->vcpu->kvm;
	struct mm_struct *mm = current->mm;
	struct kvm_follow_pfn kfp = {
		.slot		= fault->slot,
		.gfn		= gpa_to_gfn(fault->ipa),
		.foll		= FOLL_INTERRUPTIBLE,
		.hold		= KVM_HOLD_GET,
		.upgrade	= !(fault->slot->flags & KVM_MEM_READONLY),
	};
	struct vm_area_struct *vma;
	int ret = -ENOENT;

	if (fault->write || fault->own)
		kfp.foll |= FOLL_WRITE;

	mmap_read_lock(mm);
	vma = vma_lookup(mm, fault->hva);
	if (!vma) {
		mmap_read_unlock(mm);
		return -EFAULT;
	}
	describe_vma(fault, vma);

	/*
	 * The VMA cannot change before the unlock, and cannot after it without
	 * the sequence moving.
	 */
	fault->mmu_seq = kvm->mmu_invalidate_seq;
	/*
	 * A page table is read after the sequence: pairs with the smp_wmb() in
	 * kvm_mmu_invalidate_end().
	 */
	smp_rmb();

	kfp.special = vma->vm_flags & (VM_IO | VM_PFNMAP);
	if (kfp.special)
		ret = kvm_follow_mapped(&kfp, vma, fault->hva, found);
	mmap_read_unlock(mm);

	return ret == -ENOENT ? kvm_follow_hva(&kfp, fault->hva, found) : ret;
}

/*
 * The memory type, in KVM_PGTABLE_PROT_DEVICE or _NORMAL_NC, none for cacheable
 * memory. A special mapping has the type of the host's leaf: two views of one
 * page with different types lose stores. What is not in the linear map can be
 * neither cleaned nor invalidated, so it is never cacheable, whatever the host
 * has it mapped as.
 */
static enum kvm_pgtable_prot memory_type(const struct stage2_fault *fault,
					 const struct kvm_followed_pfn *found)
{
	bool cacheable = pfn_is_map_memory(found->pfn);

	if (found->source == KVM_FOLLOW_SPECIAL) {
		switch (pgprot_val(found->pgprot) & PTE_ATTRINDX_MASK) {
		case PTE_ATTRINDX(MT_NORMAL):
		case PTE_ATTRINDX(MT_NORMAL_TAGGED):
			break;
		case PTE_ATTRINDX(MT_NORMAL_NC):
			return KVM_PGTABLE_PROT_NORMAL_NC;
		default:
			cacheable = false;
		}
	}

	if (cacheable)
		return 0;

	return fault->any_uncached ? KVM_PGTABLE_PROT_NORMAL_NC :
				     KVM_PGTABLE_PROT_DEVICE;
}

/*
 * What the guest may do. -ENOEXEC for a fetch from memory that nothing may be
 * fetched from.
 */
static int choose_prot(struct stage2_fault *fault,
		       const struct kvm_followed_pfn *found)
{
	enum kvm_pgtable_prot type = memory_type(fault, found);
	struct kvm_s2_trans *nested = fault->nested;
	bool writable = found->writable;

	if (fault->exec && type)
		return -ENOEXEC;

	fault->prot = KVM_PGTABLE_PROT_R | type;

	/* The first write has to be seen. */
	if (fault->logging && !fault->write)
		writable = false;
	/* Memory of its own is looked up as for a write, and may be had to read only. */
	if (fault->slot->flags & KVM_MEM_READONLY)
		writable = false;

	/*
	 * No more than the guest hypervisor gives: a fetch that it forbids comes back as
	 * a permission fault, which is its. The level of its translation goes into the
	 * entry, as the span of an invalidation that has no hint.
	 */
	if (nested) {
		writable &= kvm_s2_trans_writable(nested);
		if (!kvm_s2_trans_readable(nested))
			fault->prot &= ~KVM_PGTABLE_PROT_R;
		fault->prot |= kvm_encode_nested_level(nested);
	}

	if (writable)
		fault->prot |= KVM_PGTABLE_PROT_W;
	if ((fault->exec || (!type && cpus_have_final_cap(ARM64_HAS_CACHE_DIC))) &&
	    (!nested || kvm_s2_trans_executable(nested)))
		fault->prot |= KVM_PGTABLE_PROT_X;

	return 0;
}

/* --------------------------------------------------------------- choose size */

/*
 * Bytes that the host's leaf maps, or -EAGAIN when there is none any more. With
 * mmu_lock held, after the retry check: the answer stays true as long.
 */
static long host_leaf_size(struct mm_struct *mm, hva_t hva)
{
	pgd_t *pgdp = pgd_offset(mm, hva), pgd;
	long size = -EAGAIN;
	unsigned long flags;
	p4d_t *p4dp, p4d;
	pud_t *pudp, pud;
	pmd_t *pmdp, pmd;

	/* The host frees tables after an IPI to all CPUs. */
	local_irq_save(flags);

	pgd = READ_ONCE(*pgdp);
	if (!pgd_present(pgd))
		goto out;

	p4dp = p4d_offset_lockless(pgdp, pgd, hva);
	p4d = READ_ONCE(*p4dp);
	if (!p4d_present(p4d))
		goto out;

	pudp = pud_offset_lockless(p4dp, p4d, hva);
	pud = READ_ONCE(*pudp);
	if (!pud_present(pud))
		goto out;
	if (pud_leaf(pud)) {
		if (pud_valid(pud))
			size = PUD_SIZE;
		goto out;
	}

	pmdp = pmd_offset_lockless(pudp, pud, hva);
	pmd = READ_ONCE(*pmdp);
	if (!pmd_present(pmd))
		goto out;
	if (pmd_leaf(pmd)) {
		if (pmd_valid(pmd))
			size = PMD_SIZE;
		goto out;
	}

	if (pte_valid(__ptep_get(pte_offset_kernel(&pmd, hva))))
		size = PAGE_SIZE;
out:
	local_irq_restore(flags);

	return size;
}

/*
 * Would a block of @size bytes have each page of the slot where it belongs? The
 * VMM's address and the guest's must lie alike within the block, and all of the
 * block in the slot.
 */
static bool slot_takes_block(const struct kvm_memory_slot *slot, hva_t hva,
			     unsigned long size)
{
	hva_t start = slot->userspace_addr, head = ALIGN_DOWN(hva, size);
	gpa_t gpa = gfn_to_gpa(slot->base_gfn);

	return IS_ALIGNED(start ^ gpa, size) && head >= start &&
	       head + size <= start + slot->npages * PAGE_SIZE;
}

/* The largest block of the architecture up to @size bytes that the slot takes. */
static unsigned long largest_block(const struct stage2_fault *fault,
				   unsigned long size)
{
#ifndef __PAGETABLE_PMD_FOLDED
	if (size >= PUD_SIZE && slot_takes_block(fault->slot, fault->hva, PUD_SIZE))
		return PUD_SIZE;
#endif
	if (size >= PMD_SIZE && slot_takes_block(fault->slot, fault->hva, PMD_SIZE))
		return PMD_SIZE;

	return PAGE_SIZE;
}

/* Bytes to map, or an error. Called as host_leaf_size(). */
static long choose_size(const struct stage2_fault *fault)
{
	/* EL2 takes no larger blocks. */
	unsigned long limit = is_protected_kvm_enabled() ? PMD_SIZE : PUD_SIZE;
	long size, leaf;

	if (fault->logging)
		return PAGE_SIZE;

	/* A shadow entry covers no more than the entry that it shadows. */
	if (fault->nested)
		limit = min(limit, kvm_s2_trans_size(fault->nested));

	if (fault->vma_size > PAGE_SIZE)
		return largest_block(fault, min(limit, fault->vma_size));

	if (fault->granule > PAGE_SIZE && limit >= PMD_SIZE)
		return fault->granule;

	size = largest_block(fault, min(limit, PMD_SIZE));
	if (size == PAGE_SIZE)
		return PAGE_SIZE;

	leaf = host_leaf_size(fault->vcpu->kvm->mm, fault->hva);
	if (leaf < 0)
		return leaf;

	return leaf >= size ? size : PAGE_SIZE;
}

/* ------------------------------------------------------------------- install */

/*
 * The guest sees the tags of memory that is mapped cacheable, so that they must
 * be the guest's first. Two of them cannot be at it for one page: private memory
 * only can have tags (a shared VMA is refused), and mmap_lock orders this with a
 * VMM that gives itself tags by mprotect().
 */
static void sanitise_tags(kvm_pfn_t pfn, unsigned long size)
{
	struct page *page = pfn_to_page(pfn);
	unsigned long i;

	for (i = 0; i < size >> PAGE_SHIFT; i++, page++) {
		if (try_page_mte_tagging(page)) {
			mte_clear_page_tags(page_address(page));
			set_page_mte_tagged(page);
		}
	}
}

static bool is_normal(const struct stage2_fault *fault)
{
	return !(fault->prot & (KVM_PGTABLE_PROT_DEVICE | KVM_PGTABLE_PROT_NORMAL_NC));
}

/* Is the entry of a page a larger one? With mmu_lock held. */
static bool is_mapped_larger(struct kvm_pgtable *pgt, phys_addr_t ipa, unsigned long size)
{
	kvm_pte_t pte;
	s8 level;
	int ret;

	/* What another vCPU replaces is freed when nobody reads it any more. */
	rcu_read_lock();
	ret = kvm_pgtable_get_leaf(pgt, ipa, &pte, &level);
	rcu_read_unlock();

	return !ret && kvm_pte_valid(pte) && kvm_granule_size(level) > size;
}

/*
 * Add permissions to the entry of the very page: it may be smaller by now than it was.
 * -E2BIG when it maps more than @size bytes. While writes are logged it can only become
 * smaller, so that no page is made writable unseen.
 */
static int relax(struct stage2_fault *fault, kvm_pfn_t pfn, unsigned long size)
{
	struct kvm_pgtable *pgt = fault->vcpu->arch.hw_mmu->pgt;
	phys_addr_t ipa = fault->fault_ipa & PAGE_MASK;

	if (is_protected_kvm_enabled())
		return pkvm_s2_relax_perms(ipa, size, __pfn_to_phys(pfn), fault->prot);

	if (is_mapped_larger(pgt, ipa, size))
		return -E2BIG;

	return kvm_pgtable_stage2_relax_perms(pgt, ipa,
					      fault->prot & ~KVM_NV_GUEST_MAP_SZ);
}

/*
 * Map what was found, with mmu_lock held for read. -EAGAIN when it is not true any
 * more, or when another vCPU was faster.
 */
static int map_found(struct stage2_fault *fault, kvm_pfn_t found)
{
	struct kvm_vcpu *vcpu = fault->vcpu;
	struct kvm_pgtable *pgt = vcpu->arch.hw_mmu->pgt;
	struct kvm *kvm = vcpu->kvm;
	phys_addr_t ipa = fault->fault_ipa;
	kvm_pfn_t pfn;
	long size;
	int ret;

	/* For a page it does not matter what is being invalidated elsewhere. */
	if (mmu_invalidate_retry_gfn(kvm, fault->mmu_seq, gpa_to_gfn(fault->ipa)))
		return -EAGAIN;

	size = choose_size(fault);
	if (size < 0)
		return size;
	if (size > PAGE_SIZE && mmu_invalidate_retry(kvm, fault->mmu_seq))
		return -EAGAIN;

	/* The page that is held stays the one that was found. */
	pfn = ALIGN_DOWN(found, size >> PAGE_SHIFT);

	if (fault->perm && (!fault->granule || fault->granule == size)) {
		ret = relax(fault, pfn, size);
		if (ret != -E2BIG)
			return ret;
		/* It has changed: tables may be wanted, for what the next fault tells. */
		if (fault->granule)
			return -EAGAIN;
	}

	ipa = ALIGN_DOWN(ipa, size);
	if (kvm_has_mte(kvm) && is_normal(fault)) {
		/* The VMM may have put in a VMA that the slot was not made with. */
		if (!fault->mte_allowed)
			return -EFAULT;
		sanitise_tags(pfn, size);
	}

	if (is_protected_kvm_enabled()) {
		ret = pkvm_s2_map(ipa, size, __pfn_to_phys(pfn), fault->prot);
		if (ret != -EBUSY || size == PAGE_SIZE)
			return ret;
		/* EL2 counts fewer blocks than pages. The page may be there, to read. */
		ipa = fault->fault_ipa & PAGE_MASK;
		if (fault->granule == PAGE_SIZE)
			return relax(fault, found, PAGE_SIZE);
		return pkvm_s2_map(ipa, PAGE_SIZE, __pfn_to_phys(found), fault->prot);
	}

	return kvm_pgtable_stage2_map(pgt, ipa, size, __pfn_to_phys(pfn),
				      fault->prot, &vcpu->arch.mmu_page_cache,
				      KVM_PGTABLE_WALK_HANDLE_FAULT |
				      KVM_PGTABLE_WALK_SHARED);
}

static int install(struct stage2_fault *fault, struct kvm_followed_pfn *found)
{
	bool dirty = fault->prot & KVM_PGTABLE_PROT_W;
	struct kvm *kvm = fault->vcpu->kvm;
	int ret;

	read_lock(&kvm->mmu_lock);
	ret = map_found(fault, found->pfn);
	if (!ret)
		kvm_commit_followed(kvm, found, dirty);
	read_unlock(&kvm->mmu_lock);

	if (!ret && dirty)
		mark_page_dirty_in_slot(kvm, fault->slot, gpa_to_gfn(fault->ipa));

	return ret;
}

/* -------------------------------------------------------------------- finish */

/*
 * The VMM learns of broken memory by a signal. One that is blocked or ignored
 * would leave the vCPU faulting for ever.
 */
static int report_poison(const struct stage2_fault *fault)
{
	send_sig_mceerr(BUS_MCEERR_AR, (void __user *)fault->hva,
			__ffs(fault->vma_size), current);

	return signal_pending(current) ? 0 : -EHWPOISON;
}

/* What KVM_RUN makes of it: 1 to go on, -ENOEXEC for an abort of the guest. */
static int finish(const struct stage2_fault *fault, int ret)
{
	if (ret == -EHWPOISON)
		ret = report_poison(fault);

	switch (ret) {
	case 0:
	case -EAGAIN:
	case -E2BIG:	/* another vCPU brought a block meanwhile */
		return 1;
	case -ENOEXEC:
		return ret;
	case -EINTR:
		kvm_handle_signal_exit(fault->vcpu);
		return ret;
	case -ENOMEM:
	case -EHWPOISON:
		break;
	default:
		ret = -EFAULT;
	}

	kvm_prepare_memory_fault_exit(fault->vcpu, fault->ipa & PAGE_MASK, PAGE_SIZE,
				      fault->write, fault->exec, false);
	return ret;
}

static int topup_tables(struct kvm_vcpu *vcpu)
{
	if (is_protected_kvm_enabled())
		return pkvm_topup_stage2_mc(vcpu);

	return kvm_mmu_topup_memory_cache(&vcpu->arch.mmu_page_cache,
					  kvm_mmu_cache_min_pages(vcpu->arch.hw_mmu));
}

static int map(struct stage2_fault *fault)
{
	struct kvm_followed_pfn found __free(kvm_followed_pfn) = {};
	int ret;

	ret = look_up(fault, &found);
	if (ret)
		return ret;

	ret = choose_prot(fault, &found);
	if (ret)
		return ret;

	return install(fault, &found);
}

static int serve(struct stage2_fault *fault)
{
	int ret;

	ret = describe_fault(fault);
	if (ret)
		return ret;

	/* What is mapped stays as large when writes are logged; else it may be a block. */
	if (!fault->logging || fault->granule != PAGE_SIZE) {
		ret = topup_tables(fault->vcpu);
		if (ret)
			return ret;
	}

	ret = map(fault);
	/*
	 * EL2 has counted as many guests' entries as it can of this page: the one of
	 * zeroes, most likely, which all memory is that nobody has written yet.
	 */
	if (ret == -EBUSY && !fault->write) {
		fault->own = true;
		ret = map(fault);
	}

	return ret;
}

/* -------------------------------------------------------------------- aborts */

/* The guest used a page that KVM had made old. Nothing else is known of it. */
static void handle_access_fault(struct kvm_vcpu *vcpu, phys_addr_t fault_ipa)
{
	trace_kvm_access_fault(fault_ipa);

	read_lock(&vcpu->kvm->mmu_lock);
	if (is_protected_kvm_enabled())
		pkvm_s2_mkyoung(fault_ipa);
	else
		kvm_pgtable_stage2_mkyoung(vcpu->arch.hw_mmu->pgt, fault_ipa);
	read_unlock(&vcpu->kvm->mmu_lock);
}

/* An address that no table can map is the guest's own mistake. */
static bool inject_bad_address(struct kvm_vcpu *vcpu, phys_addr_t fault_ipa)
{
	if (fault_ipa >= BIT_ULL(get_kvm_ipa_limit())) {
		kvm_inject_size_fault(vcpu);
		return true;
	}

	if (fault_ipa < BIT_ULL(vcpu->arch.hw_mmu->pgt->ia_bits))
		return false;

	fault_ipa |= kvm_vcpu_get_hfar(vcpu) & GENMASK(11, 0);
	if (kvm_vcpu_trap_is_iabt(vcpu))
		kvm_inject_pabt(vcpu, fault_ipa);
	else
		kvm_inject_dabt(vcpu, fault_ipa);

	return true;
}

/*
 * No slot, or a write to a read-only one: a device, unless the access cannot be
 * one. Returns as finish().
 */
static int handle_io(struct kvm_vcpu *vcpu, phys_addr_t ipa, bool no_slot)
{
	/* Fetches and table walks have no syndrome that a VMM could use. */
	if (kvm_vcpu_trap_is_iabt(vcpu))
		return -ENOEXEC;

	if (kvm_vcpu_abt_iss1tw(vcpu)) {
		kvm_inject_dabt(vcpu, kvm_vcpu_get_hfar(vcpu));
		return 1;
	}

	/* What is nowhere is in no cache. */
	if (no_slot && kvm_vcpu_dabt_is_cm(vcpu)) {
		kvm_incr_pc(vcpu);
		return 1;
	}

	/* HPFAR gives the page; the offset in it is that of the address. */
	return io_mem_abort(vcpu, ipa | (kvm_vcpu_get_hfar(vcpu) & GENMASK(11, 0)));
}

/*
 * A nested guest faulted on its shadow table: find the address in the VM, or let
 * the guest hypervisor have the fault. Returns true when it does.
 */
static bool handle_nested(struct kvm_vcpu *vcpu, phys_addr_t fault_ipa,
			  struct kvm_s2_trans *trans)
{
	int ret;

	ret = kvm_walk_nested_s2(vcpu, fault_ipa, trans);
	if (!ret)
		ret = kvm_s2_handle_perm_fault(vcpu, trans);
	if (!ret)
		return false;

	kvm_inject_s2_fault(vcpu, kvm_s2_trans_esr(trans));
	return true;
}

static int handle_memory_abort(struct kvm_vcpu *vcpu, phys_addr_t fault_ipa)
{
	struct kvm_s2_mmu *mmu = vcpu->arch.hw_mmu;
	struct stage2_fault fault __uninitialized;
	struct kvm_s2_trans trans;
	bool writable;
	gfn_t gfn;

	/* Each step fills in what is its own; clearing all of it costs. */
	fault.vcpu = vcpu;
	fault.nested = NULL;
	fault.fault_ipa = fault_ipa;
	fault.ipa = fault_ipa;

	if (kvm_is_nested_s2_mmu(vcpu->kvm, mmu) && mmu->nested_stage2_enabled) {
		if (handle_nested(vcpu, fault_ipa, &trans))
			return 1;
		fault.nested = &trans;
		fault.ipa = kvm_s2_trans_output(&trans);
	}

	gfn = gpa_to_gfn(fault.ipa);
	fault.slot = gfn_to_memslot(vcpu->kvm, gfn);
	fault.hva = gfn_to_hva_memslot_prot(fault.slot, gfn, &writable);
	if (kvm_is_error_hva(fault.hva) ||
	    (kvm_is_write_fault(vcpu) && !writable))
		return handle_io(vcpu, fault.ipa, kvm_is_error_hva(fault.hva));

	/* kvm_arch_prepare_memory_region() refuses slots beyond. */
	VM_WARN_ON_ONCE(fault.ipa >= kvm_phys_size(mmu));

	if (esr_fsc_is_access_flag_fault(kvm_vcpu_get_esr(vcpu))) {
		handle_access_fault(vcpu, fault_ipa);
		return 1;
	}

	if (kvm_vm_is_protected(vcpu->kvm))
		return pkvm_guest_mem_abort(vcpu, fault_ipa, fault.slot, fault.hva) ?: 1;

	return finish(&fault, serve(&fault));
}

/**
 * kvm_handle_guest_abort() - Handle an abort that a guest took to EL2.
 * @vcpu: the vCPU, loaded, with the syndrome of the abort.
 *
 * Memory of a slot is mapped, an access outside is a device's, and what is
 * neither is the guest's abort. May sleep; takes kvm->srcu, and under it first
 * mmap_lock, then, when that is dropped, mmu_lock.
 *
 * Source: Arm ARM D8.17 (stage 2 aborts), D24.2.40 (ESR_EL2); KVM API 5
 * (KVM_EXIT_MEMORY_FAULT).
 *
 * Return: 1 when the guest can go on; 0 to let the VMM emulate a device;
 * -EFAULT, -EHWPOISON or -ENOMEM for memory that could not be had, with
 * KVM_EXIT_MEMORY_FAULT; -EINTR for a signal; otherwise as io_mem_abort().
 */
int kvm_handle_guest_abort(struct kvm_vcpu *vcpu)
{
	phys_addr_t fault_ipa = kvm_vcpu_get_fault_ipa(vcpu);
	unsigned long esr = kvm_vcpu_get_esr(vcpu);
	int ret, idx;

	if (esr_fsc_is_translation_fault(esr) && inject_bad_address(vcpu, fault_ipa))
		return 1;

	/* The host may know what to do; the guest need not hear of it then. */
	if (kvm_vcpu_abt_issea(vcpu)) {
		if (kvm_handle_guest_sea(fault_ipa, esr))
			kvm_inject_vabt(vcpu);
		return 1;
	}

	trace_kvm_guest_fault(*vcpu_pc(vcpu), esr, kvm_vcpu_get_hfar(vcpu), fault_ipa);

	if (!esr_fsc_is_translation_fault(esr) &&
	    !esr_fsc_is_permission_fault(esr) &&
	    !esr_fsc_is_access_flag_fault(esr)) {
		kvm_err("Unsupported FSC: EC=%#x xFSC=%#lx ESR_EL2=%#lx\n",
			kvm_vcpu_trap_get_class(vcpu),
			(unsigned long)kvm_vcpu_trap_get_fault(vcpu), esr);
		kvm_prepare_memory_fault_exit(vcpu, fault_ipa & PAGE_MASK, PAGE_SIZE,
					      kvm_is_write_fault(vcpu),
					      kvm_vcpu_trap_is_exec_fault(vcpu),
					      kvm_vm_is_protected(vcpu->kvm));
		return -EFAULT;
	}

	idx = srcu_read_lock(&vcpu->kvm->srcu);
	ret = handle_memory_abort(vcpu, fault_ipa);
	srcu_read_unlock(&vcpu->kvm->srcu, idx);

	if (ret == -ENOEXEC) {
		kvm_inject_pabt(vcpu, kvm_vcpu_get_hfar(vcpu));
		ret = 1;
	}

	return ret;
}
