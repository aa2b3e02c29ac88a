/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Stage-2 tables that EL2 keeps for ordinary VMs in protected mode.
 * Implemented in arch/arm64/kvm/pkvm_stage2.c.
 */
#ifndef __ARM64_PKVM_STAGE2_H__
#define __ARM64_PKVM_STAGE2_H__

#include <asm/kvm_pgtable.h>
#include <asm/virt.h>

struct kvm;
struct kvm_mmu_memory_cache;

/* The function of that name for whoever keeps the tables in this mode. */
#define KVM_S2_FN(fn)							\
	(is_protected_kvm_enabled() ? pkvm_s2_##fn : kvm_pgtable_stage2_##fn)

int pkvm_s2_init(struct kvm_pgtable *pgt, struct kvm_s2_mmu *mmu);
void pkvm_s2_destroy(struct kvm_pgtable *pgt);
int pkvm_s2_unmap(struct kvm_pgtable *pgt, u64 addr, u64 size);
int pkvm_s2_wrprotect(struct kvm_pgtable *pgt, u64 addr, u64 size);
int pkvm_s2_flush(struct kvm_pgtable *pgt, u64 addr, u64 size);
int pkvm_s2_split(struct kvm_pgtable *pgt, u64 addr, u64 size,
		  struct kvm_mmu_memory_cache *mc);
bool pkvm_s2_test_clear_young(struct kvm_pgtable *pgt, u64 addr, u64 size, bool mkold);
void pkvm_s2_mkyoung(u64 addr);
int pkvm_s2_map(u64 addr, u64 size, u64 phys, enum kvm_pgtable_prot prot);
int pkvm_s2_relax_perms(u64 addr, u64 size, u64 phys, enum kvm_pgtable_prot prot);
void pkvm_s2_flush_tlbs(struct kvm *kvm);

#endif /* __ARM64_PKVM_STAGE2_H__ */
