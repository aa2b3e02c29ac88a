// SPDX-License-Identifier: GPL-2.0-only
/*
 * Entries of the tables that EL2 keeps, for a host that debugs it.
 *
 * Owns the calls that show one entry of the host's table, of EL2's own and of a
 * guest's (asm/pkvm_dump.h). In kernels with NVHE_EL2_DEBUG only: an entry tells where
 * a page is and whose it is, which is no business of a host that EL2 does not trust.
 * What is in a page it never tells. Changes nothing.
 */

#include <linux/kvm_host.h>
#include <linux/overflow.h>

#include <asm/kvm_hyp.h>
#include <asm/kvm_pgtable.h>
#include <asm/pkvm_dump.h>

#include <nvhe/guest_share.h>
#include <nvhe/guest_stage2.h>
#include <nvhe/leaf.h>
#include <nvhe/mem_protect.h>
#include <nvhe/memory.h>
#include <nvhe/mm.h>
#include <nvhe/ownership.h>
#include <nvhe/pkvm_hcall.h>
#include <nvhe/trap_handler.h>
#include <nvhe/vm_table.h>

static void check_format(void)
{
	BUILD_BUG_ON(PKVM_DUMP_HYP != PKVM_ID_HYP);
	BUILD_BUG_ON(PKVM_DUMP_FFA != PKVM_ID_FFA);
	BUILD_BUG_ON(PKVM_DUMP_GUEST != PKVM_ID_GUEST);
	BUILD_BUG_ON(PKVM_DUMP_POISONED != PKVM_GUEST_POISONED);
	BUILD_BUG_ON(PKVM_DUMP_MMIO != PKVM_GUEST_MMIO);
	BUILD_BUG_ON(PKVM_DUMP_GUEST_GFN != HOST_ENTRY_GFN);
	BUILD_BUG_ON(PKVM_DUMP_GUEST_VM != HOST_ENTRY_VM);
	BUILD_BUG_ON(PKVM_DUMP_SHARED != PKVM_PAGE_SHARED_OWNED);
	BUILD_BUG_ON(PKVM_DUMP_BORROWED != PKVM_PAGE_SHARED_BORROWED);
}

/* There are no tables before, and never in a mode without protection. */
static bool have_tables(void)
{
	return static_branch_likely(&kvm_protected_mode_initialized);
}

static void answer(struct kvm_cpu_context *host_ctxt, s64 ret, kvm_pte_t entry, u64 note)
{
	check_format();

	cpu_reg(host_ctxt, 1) = ret;
	cpu_reg(host_ctxt, 2) = ret ? 0 : entry;
	cpu_reg(host_ctxt, 3) = ret ? 0 : note;
}

/* The leaf that decides about @addr, of a table whose lock is held. */
static int find_leaf(const struct kvm_pgtable *pgt, u64 addr, struct pkvm_leaf *leaf)
{
	if (addr >= BIT_ULL(pgt->ia_bits))
		return -ERANGE;
	pkvm_find_leaf(pgt, addr, leaf);

	return 0;
}

static u64 note_level(s8 level)
{
	return FIELD_PREP(PKVM_DUMP_LEVEL, (u8)level);
}

/**
 * handle___pkvm_dump_host_page() - Show what the host's table says of a page.
 * @host_ctxt: register 1 is the page frame, as the host gave it.
 *
 * Takes the host's lock.
 *
 * Return, in register 1: 0; -EINVAL for a number that wraps; -ERANGE beyond the
 * physical address size; -EPERM before the host is deprivileged.
 */
void handle___pkvm_dump_host_page(struct kvm_cpu_context *host_ctxt)
{
	DECLARE_REG(u64, pfn, host_ctxt, 1);
	struct pkvm_leaf leaf = {};
	phys_addr_t phys;
	int ret = -EPERM;

	if (check_shl_overflow(pfn, PAGE_SHIFT, &phys)) {
		ret = -EINVAL;
	} else if (have_tables()) {
		hyp_spin_lock(&host_mmu.lock);
		ret = find_leaf(&host_mmu.pgt, phys, &leaf);
		hyp_spin_unlock(&host_mmu.lock);
	}

	answer(host_ctxt, ret, leaf.pte, note_level(leaf.level));
}

/**
 * handle___pkvm_dump_hyp_page() - Show what EL2 itself has of a page of memory.
 * @host_ctxt: register 1 is the page frame, as the host gave it.
 *
 * The entry is that of the page's linear address, 0 if it is not mapped there. Takes
 * the host's lock, which keeps the counts of what the host shares still, and
 * pkvm_pgd_lock.
 *
 * Return, in register 1: 0; -EINVAL for a number that wraps or that is not memory;
 * -EPERM before the host is deprivileged.
 */
void handle___pkvm_dump_hyp_page(struct kvm_cpu_context *host_ctxt)
{
	DECLARE_REG(u64, pfn, host_ctxt, 1);
	struct hyp_page *page;
	kvm_pte_t pte = 0;
	phys_addr_t phys;
	u64 note = 0;
	s8 level = 0;
	int ret;

	if (!have_tables()) {
		ret = -EPERM;
		goto out;
	}
	/* What is not memory, EL2 has no struct hyp_page of. */
	if (check_shl_overflow(pfn, PAGE_SHIFT, &phys) || !addr_is_memory(phys)) {
		ret = -EINVAL;
		goto out;
	}

	hyp_spin_lock(&host_mmu.lock);
	hyp_spin_lock(&pkvm_pgd_lock);
	ret = kvm_pgtable_get_leaf(&pkvm_pgtable, (u64)__hyp_va(phys), &pte, &level);
	page = hyp_phys_to_page(phys);
	note = note_level(level) | FIELD_PREP(PKVM_DUMP_REFCOUNT, READ_ONCE(page->refcount)) |
	       FIELD_PREP(PKVM_DUMP_BLOCKS, READ_ONCE(block_head(phys)->nr_blocks));
	hyp_spin_unlock(&pkvm_pgd_lock);
	hyp_spin_unlock(&host_mmu.lock);
out:
	answer(host_ctxt, ret, pte, note);
}

/**
 * handle___pkvm_dump_guest_page() - Show what a guest's table says of a page.
 * @host_ctxt: register 1 is the VM's handle, register 2 the guest frame, both as the
 *	host gave them.
 *
 * Takes vm_table_lock, which it drops again, then the VM's lock.
 *
 * Return, in register 1: 0; -ENOENT when there is no such VM; -EINVAL for a number
 * that wraps; -ERANGE beyond the VM's IPA size; -EPERM before the host is
 * deprivileged.
 */
void handle___pkvm_dump_guest_page(struct kvm_cpu_context *host_ctxt)
{
	DECLARE_REG(pkvm_handle_t, handle, host_ctxt, 1);
	DECLARE_REG(u64, gfn, host_ctxt, 2);
	struct pkvm_leaf leaf = {};
	struct pkvm_hyp_vm *vm;
	int ret;
	u64 ipa;

	if (!have_tables()) {
		ret = -EPERM;
		goto out;
	}
	if (check_shl_overflow(gfn, PAGE_SHIFT, &ipa)) {
		ret = -EINVAL;
		goto out;
	}
	vm = pkvm_get_vm(handle);
	if (!vm) {
		ret = -ENOENT;
		goto out;
	}

	guest_lock_component(vm);
	ret = find_leaf(&vm->pgt, ipa, &leaf);
	guest_unlock_component(vm);
	pkvm_put_vm(vm);
out:
	answer(host_ctxt, ret, leaf.pte, note_level(leaf.level));
}
