/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Who owns each physical page, and every transition between the host and a
 * guest. Implemented in ownership.c; the transitions between host, EL2 and the
 * secure world are in mem_protect.c.
 *
 * Lock order, the only place where it is written down:
 *
 *	vm_table_lock -> host_mmu.lock -> pkvm_pgd_lock
 *				       -> pkvm_hyp_vm::lock -> hyp_pool::lock
 *		      -> mem_protect_lock
 */
#ifndef __KVM_NVHE_OWNERSHIP_H__
#define __KVM_NVHE_OWNERSHIP_H__

#include <nvhe/pkvm.h>

/*
 * An invalid entry of the host's table for a guest's page. The owner field is
 * PKVM_ID_GUEST; bit 10 stays clear, as KVM_INVALID_PTE_LOCKED is there.
 */
#define HOST_ENTRY_GFN		GENMASK_ULL(51, 12)
#define HOST_ENTRY_VM		GENMASK_ULL(59, 52)

void lock_host_and_guest(struct pkvm_hyp_vm *vm);
void unlock_host_and_guest(struct pkvm_hyp_vm *vm);
int host_check_owned(phys_addr_t phys, u64 nr_pages, bool *memory);
int host_check_alone(phys_addr_t phys, u64 nr_pages);
int pkvm_check_guest_range(struct pkvm_hyp_vm *vm, u64 pfn, u64 gfn, u64 nr_pages,
			   u64 *phys, u64 *ipa);
int __pkvm_host_donate_guest(struct pkvm_hyp_vcpu *hyp_vcpu, u64 pfn, u64 gfn,
			     u64 nr_pages);
int __pkvm_guest_share_host(struct pkvm_hyp_vcpu *hyp_vcpu, u64 ipa);
int __pkvm_guest_check_shared(struct pkvm_hyp_vcpu *hyp_vcpu, u64 ipa);
int __pkvm_host_reclaim_page(struct pkvm_hyp_vm *vm, u64 pfn, u64 gfn);
int __pkvm_host_can_access(u64 pfn);
int __pkvm_host_force_reclaim(u64 pfn);
void host_inject_mem_abort(struct kvm_cpu_context *host_ctxt,
			   const struct kvm_vcpu_fault_info *fault);
void host_inject_undef(void);

#endif /* __KVM_NVHE_OWNERSHIP_H__ */
