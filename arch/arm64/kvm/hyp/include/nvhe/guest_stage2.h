/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Guest page tables at EL2: the tables of every protected VM, the pages that
 * they are made of, and the two states that a guest can ask for itself (shared
 * with the host, MMIO guard). Implemented in guest_stage2.c.
 *
 * Locks: host_mmu.lock, then pkvm_hyp_vm::lock; see ownership.h.
 */
#ifndef __KVM_NVHE_GUEST_STAGE2_H__
#define __KVM_NVHE_GUEST_STAGE2_H__

#include <nvhe/mem_protect.h>
#include <nvhe/pkvm.h>

/*
 * Owners that may stand in an invalid entry of a guest's table. They share the
 * annotation field that kvm_pgtable_stage2_set_owner() writes.
 */
enum pkvm_guest_entry {
	PKVM_GUEST_NONE		= 0,
	/* The host lost the page to a forced reclaim; never mapped again. */
	PKVM_GUEST_POISONED	= PKVM_ID_GUEST + 1,
	/* The guest said that this page is a device's. */
	PKVM_GUEST_MMIO,
};

void guest_lock_component(struct pkvm_hyp_vm *vm);
void guest_unlock_component(struct pkvm_hyp_vm *vm);

int pkvm_refill_stage2_mc(struct pkvm_hyp_vcpu *hyp_vcpu);
int guest_stage2_tables_needed(struct pkvm_hyp_vm *vm, u64 ipa, u64 nr_pages);
int guest_stage2_check_free(struct pkvm_hyp_vm *vm, u64 ipa, u64 nr_pages);
int guest_stage2_get_page(struct pkvm_hyp_vm *vm, u64 ipa, phys_addr_t *phys,
			  enum pkvm_page_state *state);
int guest_stage2_map(struct pkvm_hyp_vcpu *hyp_vcpu, u64 ipa, u64 nr_pages,
		     phys_addr_t phys);
int guest_stage2_set_state(struct pkvm_hyp_vm *vm, u64 ipa,
			   enum pkvm_page_state state);
int guest_stage2_unmap(struct pkvm_hyp_vm *vm, u64 ipa, u64 nr_pages);
int guest_stage2_poison(struct pkvm_hyp_vm *vm, u64 ipa);
void guest_scrub_page(phys_addr_t phys);
void guest_sync_page(phys_addr_t phys, bool code);

int pkvm_guest_mmio_map(struct pkvm_hyp_vcpu *hyp_vcpu, u64 ipa);
int pkvm_guest_mmio_unmap(struct pkvm_hyp_vcpu *hyp_vcpu, u64 ipa);
bool pkvm_guest_mmio_allowed(struct pkvm_hyp_vcpu *hyp_vcpu, u64 ipa);

#endif /* __KVM_NVHE_GUEST_STAGE2_H__ */
