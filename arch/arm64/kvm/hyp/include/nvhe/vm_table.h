/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * From handles to VMs, and which CPU runs which vCPU. Implemented in
 * vm_table.c; vm_table_lock is the outermost lock at EL2, see ownership.h.
 */
#ifndef __KVM_NVHE_VM_TABLE_H__
#define __KVM_NVHE_VM_TABLE_H__

#include <nvhe/pkvm.h>
#include <nvhe/spinlock.h>

extern hyp_spinlock_t vm_table_lock;

struct pkvm_hyp_vm *get_vm_by_handle(pkvm_handle_t handle);
struct pkvm_hyp_vm *pkvm_get_vm(pkvm_handle_t handle);
void pkvm_put_vm(struct pkvm_hyp_vm *hyp_vm);
struct pkvm_hyp_vm *pkvm_get_vm_by_idx(unsigned int idx);
unsigned int pkvm_hyp_vm_idx(const struct pkvm_hyp_vm *hyp_vm);
int insert_vm_table_entry(struct pkvm_hyp_vm *hyp_vm);
void remove_vm_table_entry(pkvm_handle_t handle);

int pkvm_load_hyp_vcpu(pkvm_handle_t handle, unsigned int vcpu_idx);
void pkvm_put_hyp_vcpu(void);
struct pkvm_hyp_vcpu *pkvm_get_loaded_hyp_vcpu(void);
bool pkvm_every_cpu_is_protected(void);

int __pkvm_start_teardown_vm(pkvm_handle_t handle);
int __pkvm_reclaim_guest_pages(pkvm_handle_t handle, u64 pfn, u64 gfn,
			       u64 nr_pages);

#endif /* __KVM_NVHE_VM_TABLE_H__ */
