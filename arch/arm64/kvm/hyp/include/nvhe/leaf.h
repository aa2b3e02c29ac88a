/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Look an address up in a stage-2 table of EL2's own: the host's or a guest's.
 *
 * Owns nothing and changes nothing. For the paths that ask one question of a table
 * whose lock they hold: a walk with callbacks costs ten times as much.
 */
#ifndef __KVM_NVHE_LEAF_H__
#define __KVM_NVHE_LEAF_H__

#include <asm/kvm_pgtable.h>

#include <nvhe/memory.h>

/**
 * struct pkvm_leaf - The entry that decides about an address.
 * @ptep: where it stands in the table.
 * @pte: what it says: a page, a block, or not valid.
 * @level: of the table that it stands in.
 */
struct pkvm_leaf {
	kvm_pte_t *ptep;
	kvm_pte_t pte;
	s8 level;
};

static inline u64 pkvm_leaf_size(const struct pkvm_leaf *leaf)
{
	return kvm_granule_size(leaf->level);
}

/* The address behind the last one that @leaf decides about. */
static inline u64 pkvm_leaf_end(const struct pkvm_leaf *leaf, u64 addr)
{
	u64 size = pkvm_leaf_size(leaf);

	return ALIGN_DOWN(addr, size) + size;
}

/* Does an entry of the architecture's type 3 point to another table? */
static inline bool pkvm_entry_is_table(kvm_pte_t pte, s8 level)
{
	return level < KVM_PGTABLE_LAST_LEVEL && (pte & 3) == 3;
}

/**
 * pkvm_find_leaf() - Find the entry that decides about an address.
 * @pgt: a stage-2 table of EL2's, with its lock held.
 * @addr: the address, below 2^@pgt->ia_bits.
 * @leaf: the answer.
 *
 * Source: Arm ARM D8.2 (translation process; tables of the first level may be
 * concatenated) and D8.3 (descriptor types).
 */
static inline void pkvm_find_leaf(const struct kvm_pgtable *pgt, u64 addr,
				  struct pkvm_leaf *leaf)
{
	s8 level = pgt->start_level;
	kvm_pte_t *table = (kvm_pte_t *)pgt->pgd, pte;
	u64 idx;

	/* No more than the table has, where speculation runs past the caller's check. */
	addr &= BIT_ULL(pgt->ia_bits) - 1;
	idx = addr >> kvm_granule_shift(level);

	while (pkvm_entry_is_table(pte = READ_ONCE(table[idx]), level)) {
		table = hyp_phys_to_virt(kvm_pte_to_phys(pte));
		level++;
		idx = (addr >> kvm_granule_shift(level)) & (PTRS_PER_PTE - 1);
	}

	*leaf = (struct pkvm_leaf) {
		.ptep	= &table[idx],
		.pte	= pte,
		.level	= level,
	};
}

/**
 * pkvm_next_leaf() - Find the entry that decides about what comes next.
 * @pgt: as for pkvm_find_leaf().
 * @addr: the end of what @leaf decides about, below 2^@pgt->ia_bits.
 * @leaf: the last answer, and the next.
 */
static inline void pkvm_next_leaf(const struct kvm_pgtable *pgt, u64 addr,
				  struct pkvm_leaf *leaf)
{
	kvm_pte_t pte;

	/* Most often it stands beside the last one. */
	if (leaf->level == KVM_PGTABLE_LAST_LEVEL &&
	    !IS_ALIGNED(addr, kvm_granule_size(KVM_PGTABLE_LAST_LEVEL - 1))) {
		pte = READ_ONCE(*++leaf->ptep);
		leaf->pte = pte;
		return;
	}

	pkvm_find_leaf(pgt, addr, leaf);
}

#endif /* __KVM_NVHE_LEAF_H__ */
