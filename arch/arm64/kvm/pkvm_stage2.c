// SPDX-License-Identifier: GPL-2.0-only
/*
 * Stage-2 tables of ordinary VMs in protected mode, as EL1 sees them.
 *
 * Owns the calls that stand in for kvm_pgtable_stage2_*() where EL2 keeps the
 * tables (hyp/nvhe/guest_share.c): the host shares memory with its guests by
 * hypercall, and has no table of its own. Each takes what its counterpart takes,
 * under the same locks, so that the mmu notifiers, dirty logging and memslots
 * need not know.
 *
 * Before the first run EL2 does not know the VM, and nothing is mapped.
 */

#include <linux/kvm_host.h>
#include <linux/minmax.h>
#include <linux/sched/signal.h>

#include <asm/kvm_arm.h>
#include <asm/kvm_asm.h>
#include <asm/kvm_mmu.h>
#include <asm/kvm_pgtable.h>
#include <asm/kvm_pkvm.h>
#include <asm/pkvm_stage2.h>
#include <asm/stage2_pgtable.h>

/* A protected VM has none of this: its memory is pkvm_guest.c's. */
static pkvm_handle_t handle_of(struct kvm *kvm)
{
	return kvm_vm_is_protected(kvm) ? 0 : READ_ONCE(kvm->arch.pkvm.handle);
}

/* Apply an operation piece by piece: EL2 takes no interrupts meanwhile. */
static s64 for_range(struct kvm_pgtable *pgt, enum pkvm_stage2_op op, u64 addr,
		     u64 size)
{
	pkvm_handle_t handle = handle_of(kvm_s2_mmu_to_kvm(pgt->mmu));
	u64 gfn = gpa_to_gfn(addr), end = gpa_to_gfn(addr + size), nr;
	s64 ret, any = 0;

	if (!handle)
		return 0;

	for (; gfn < end; gfn += nr) {
		nr = min_t(u64, end - gfn, PKVM_MAX_OP_PAGES);
		ret = kvm_call_hyp_nvhe(__pkvm_guest_stage2_op, handle, op, gfn, nr);
		if (ret < 0)
			return ret;
		any |= ret;
	}

	return any;
}

/**
 * pkvm_s2_init() - What the host has to know of a table that it does not have.
 * @pgt: the geometry, for those who ask how large an address may be.
 * @mmu: the VM's.
 *
 * Return: 0.
 */
int pkvm_s2_init(struct kvm_pgtable *pgt, struct kvm_s2_mmu *mmu)
{
	pgt->ia_bits = VTCR_EL2_IPA(mmu->vtcr);
	pgt->start_level = VTCR_EL2_TGRAN_SL0_BASE -
			   FIELD_GET(VTCR_EL2_SL0_MASK, mmu->vtcr);
	pgt->pgd = NULL;
	pgt->mmu = mmu;

	return 0;
}

/* Unshare the first part of a range that EL2 is willing to. Returns what is left. */
static s64 unshare_some(struct kvm_pgtable *pgt, u64 end, u64 left)
{
	pkvm_handle_t handle = handle_of(kvm_s2_mmu_to_kvm(pgt->mmu));

	if (!handle)
		return 0;

	return kvm_call_hyp_nvhe(__pkvm_guest_stage2_op, handle, PKVM_S2_UNSHARE,
				 end - left, left);
}

/**
 * pkvm_s2_destroy() - Take back all that is shared with a guest.
 * @pgt: the VM's.
 *
 * May sleep.
 */
void pkvm_s2_destroy(struct kvm_pgtable *pgt)
{
	u64 end = gpa_to_gfn(BIT_ULL(pgt->ia_bits));
	s64 left = end;

	while ((left = unshare_some(pgt, end, left)) > 0)
		cond_resched();

	/* The VM is there, and the range is all of it. */
	WARN_ON_ONCE(left);
}

/**
 * pkvm_s2_unmap() - Take back what is shared in a range.
 * @pgt: the VM's, with mmu_lock held for write.
 * @addr: IPA, page-aligned.
 * @size: bytes.
 *
 * A block that lies in the range in part is taken back as a whole. On return no
 * CPU has it in a TLB.
 *
 * Return: 0, or what EL2 says of the range.
 */
int pkvm_s2_unmap(struct kvm_pgtable *pgt, u64 addr, u64 size)
{
	s64 left = size >> PAGE_SHIFT;

	while (left > 0)
		left = unshare_some(pgt, gpa_to_gfn(addr + size), left);

	return left;
}

/**
 * pkvm_s2_wrprotect() - Make the guest's next write to a range a fault.
 * @pgt: the VM's, with mmu_lock held for write.
 * @addr: IPA, page-aligned.
 * @size: bytes.
 *
 * Return: 0, or what EL2 says of the range.
 */
int pkvm_s2_wrprotect(struct kvm_pgtable *pgt, u64 addr, u64 size)
{
	return for_range(pgt, PKVM_S2_WRPROTECT, addr, size);
}

/**
 * pkvm_s2_flush() - Clean a range to the point of coherency.
 * @pgt: the VM's, with mmu_lock held for write.
 * @addr: IPA, page-aligned.
 * @size: bytes.
 *
 * mmu_lock is dropped now and then: the guest chooses when this is done, and the VMM how
 * much there is, with memory behind it or without.
 *
 * Return: 0; -EINTR when the process is being killed; what EL2 says of the range.
 */
int pkvm_s2_flush(struct kvm_pgtable *pgt, u64 addr, u64 size)
{
	u64 gfn = gpa_to_gfn(addr), end = gpa_to_gfn(addr + size), nr;
	struct kvm *kvm = kvm_s2_mmu_to_kvm(pgt->mmu);
	pkvm_handle_t handle = handle_of(kvm);
	s64 ret;

	if (!handle || cpus_have_final_cap(ARM64_HAS_STAGE2_FWB))
		return 0;

	for (; gfn < end; gfn += nr) {
		if (fatal_signal_pending(current))
			return -EINTR;

		/* To clean a page takes a hundred times as long as to change its entry. */
		nr = min_t(u64, end - gfn, PKVM_MAX_PAGES_PER_CALL);
		ret = kvm_call_hyp_nvhe(__pkvm_guest_stage2_op, handle, PKVM_S2_FLUSH, gfn,
					nr);
		if (ret < 0)
			return ret;

		/* From here on the table is not looked at: it may be gone. */
		cond_resched_rwlock_write(&kvm->mmu_lock);
	}

	return 0;
}

/**
 * pkvm_s2_split() - Blocks are split by the fault that needs it.
 * @pgt: the VM's.
 * @addr: IPA, page-aligned.
 * @size: bytes.
 * @mc: not used.
 *
 * Return: 0; splitting ahead of time is best effort.
 */
int pkvm_s2_split(struct kvm_pgtable *pgt, u64 addr, u64 size,
		  struct kvm_mmu_memory_cache *mc)
{
	return 0;
}

/**
 * pkvm_s2_test_clear_young() - Has the guest used a range?
 * @pgt: the VM's, with mmu_lock held.
 * @addr: IPA, page-aligned.
 * @size: bytes.
 * @mkold: from now on it has not.
 *
 * Return: true if it has.
 */
bool pkvm_s2_test_clear_young(struct kvm_pgtable *pgt, u64 addr, u64 size, bool mkold)
{
	return for_range(pgt, mkold ? PKVM_S2_CLEAR_YOUNG : PKVM_S2_TEST_YOUNG,
			 addr, size) > 0;
}

/**
 * pkvm_s2_mkyoung() - The guest has used a page.
 * @addr: IPA of the fault of the vCPU that this CPU has loaded.
 */
void pkvm_s2_mkyoung(u64 addr)
{
	kvm_call_hyp_nvhe(__pkvm_host_relax_guest, gpa_to_gfn(addr), 0, 0);
}

/**
 * pkvm_s2_map() - Share memory with a guest.
 * @addr: IPA of the fault of the vCPU that this CPU has loaded, page-aligned.
 * @size: bytes, at most a block of the second-last level.
 * @phys: the memory.
 * @prot: what the guest may do, and the memory's type.
 *
 * Called with mmu_lock held, after the retry check: cleans the memory for a guest
 * that may have its caches off, and may fetch from it.
 *
 * Return: 0; -EAGAIN when the guest has to fault again, because it is there or because
 * EL2 wants table pages; or what EL2 says (__pkvm_host_share_guest()).
 */
int pkvm_s2_map(u64 addr, u64 size, u64 phys, enum kvm_pgtable_prot prot)
{
	int ret;

	if (!(prot & (KVM_PGTABLE_PROT_DEVICE | KVM_PGTABLE_PROT_NORMAL_NC))) {
		__clean_dcache_guest_page(__va(phys), size);
		if (prot & KVM_PGTABLE_PROT_X)
			__invalidate_icache_guest_page(__va(phys), size);
	}

	ret = kvm_call_hyp_nvhe(__pkvm_host_share_guest, PHYS_PFN(phys),
				gpa_to_gfn(addr), size >> PAGE_SHIFT, prot);

	return ret > 0 ? -EAGAIN : ret;
}

/**
 * pkvm_s2_relax_perms() - Let a guest do more with memory that it has.
 * @addr: IPA of the fault of the vCPU that this CPU has loaded, page-aligned.
 * @size: bytes that the entry may map.
 * @phys: the memory.
 * @prot: what the guest may do.
 *
 * Called as pkvm_s2_map().
 *
 * Return: 0; -E2BIG, with nothing changed, when the entry maps more than @size; or what
 * else EL2 says (__pkvm_host_relax_guest()).
 */
int pkvm_s2_relax_perms(u64 addr, u64 size, u64 phys, enum kvm_pgtable_prot prot)
{
	if (prot & KVM_PGTABLE_PROT_X)
		__invalidate_icache_guest_page(__va(phys), size);

	return kvm_call_hyp_nvhe(__pkvm_host_relax_guest, gpa_to_gfn(addr),
				 size >> PAGE_SHIFT, prot & KVM_PGTABLE_PROT_RWX);
}

/**
 * pkvm_s2_flush_tlbs() - Invalidate all TLB entries of a VM.
 * @kvm: the VM.
 */
void pkvm_s2_flush_tlbs(struct kvm *kvm)
{
	pkvm_handle_t handle = handle_of(kvm);

	if (handle)
		kvm_call_hyp_nvhe(__pkvm_guest_stage2_op, handle, PKVM_S2_TLBI, 0, 1);
}
