/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The host's calls of protected mode, for the table in hyp-main.c. Implemented in
 * pkvm_hcall.c.
 */
#ifndef __KVM_NVHE_PKVM_HCALL_H__
#define __KVM_NVHE_PKVM_HCALL_H__

#include <linux/kvm_host.h>

void handle___pkvm_vcpu_load(struct kvm_cpu_context *host_ctxt);
void handle___pkvm_vcpu_put(struct kvm_cpu_context *host_ctxt);
void handle___pkvm_host_donate_guest(struct kvm_cpu_context *host_ctxt);
void handle___pkvm_host_can_access(struct kvm_cpu_context *host_ctxt);
void handle___pkvm_host_force_reclaim(struct kvm_cpu_context *host_ctxt);
void handle___pkvm_host_share_guest(struct kvm_cpu_context *host_ctxt);
void handle___pkvm_host_relax_guest(struct kvm_cpu_context *host_ctxt);
void handle___pkvm_guest_stage2_op(struct kvm_cpu_context *host_ctxt);
void handle___pkvm_start_teardown_vm(struct kvm_cpu_context *host_ctxt);
void handle___pkvm_reclaim_guest_pages(struct kvm_cpu_context *host_ctxt);
void handle___pkvm_finalize_teardown_vm(struct kvm_cpu_context *host_ctxt);

/* table_dump.c, with CONFIG_NVHE_EL2_DEBUG only */
void handle___pkvm_dump_host_page(struct kvm_cpu_context *host_ctxt);
void handle___pkvm_dump_hyp_page(struct kvm_cpu_context *host_ctxt);
void handle___pkvm_dump_guest_page(struct kvm_cpu_context *host_ctxt);

#endif /* __KVM_NVHE_PKVM_HCALL_H__ */
