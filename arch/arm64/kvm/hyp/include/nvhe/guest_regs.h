/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The registers of protected vCPUs: what they are at reset, what the host may
 * see at each exit and change at each entry (guest_regs.c), the guest's
 * hypercalls (guest_hvc.c) and its power states (guest_psci.c). And those of
 * ordinary vCPUs, with which EL2 trusts the host no more (ordinary_regs.c).
 */
#ifndef __KVM_NVHE_GUEST_REGS_H__
#define __KVM_NVHE_GUEST_REGS_H__

#include <nvhe/pkvm.h>

static inline struct pkvm_hyp_vcpu *to_pkvm_hyp_vcpu(struct kvm_vcpu *vcpu)
{
	return container_of(vcpu, struct pkvm_hyp_vcpu, vcpu);
}

/* guest_regs.c */
int pkvm_init_protected_vcpu(struct pkvm_hyp_vcpu *hyp_vcpu,
			     const struct kvm_vcpu *host_vcpu);
int pkvm_run_protected_vcpu(struct pkvm_hyp_vcpu *hyp_vcpu);
u64 pkvm_vcpu_affinity(const struct pkvm_hyp_vcpu *hyp_vcpu);
void pkvm_reset_protected_vcpu(struct pkvm_hyp_vcpu *hyp_vcpu, u64 pc, u64 x0,
			       bool be);
struct vgic_v3_cpu_if *pkvm_host_cpu_if(struct vgic_v3_cpu_if *cpu_if);
void pkvm_flush_ptrauth(struct kvm_vcpu *vcpu);
void pkvm_flush_vgic(struct pkvm_hyp_vcpu *hyp_vcpu, u32 sre);
void pkvm_sync_vgic(struct pkvm_hyp_vcpu *hyp_vcpu);
void pkvm_sync_vserror(struct pkvm_hyp_vcpu *hyp_vcpu);
void pkvm_inject_live_sync(struct kvm_vcpu *vcpu, u64 esr);
void pkvm_guest_abort_exit(struct kvm_vcpu *vcpu);
void pkvm_init_cpu(void);
void pkvm_close_tpidr2(void);
void pkvm_reopen_tpidr2(void);
void pkvm_leave_vcpu_for_panic(void);

/* ordinary_regs.c */
void pkvm_init_ordinary_vm(struct pkvm_hyp_vm *hyp_vm, struct kvm *host_kvm);
int pkvm_init_ordinary_vcpu(struct pkvm_hyp_vcpu *hyp_vcpu);
void pkvm_destroy_ordinary_vcpu(struct pkvm_hyp_vcpu *hyp_vcpu);
int pkvm_run_ordinary_vcpu(struct pkvm_hyp_vcpu *hyp_vcpu);
void pkvm_flush_ordinary_fp(struct kvm_vcpu *vcpu);
void pkvm_adjust_pc(struct pkvm_hyp_vcpu *hyp_vcpu);

/* guest_hvc.c */
bool pkvm_handle_guest_hvc64(struct kvm_vcpu *vcpu, u64 *exit_code);
bool pkvm_handle_guest_smc64(struct kvm_vcpu *vcpu, u64 *exit_code);
void pkvm_guest_hvc_exit(struct pkvm_hyp_vcpu *hyp_vcpu);
void pkvm_guest_hvc_entry(struct pkvm_hyp_vcpu *hyp_vcpu, u64 host_ret);
bool pkvm_guest_is_unsharing(struct pkvm_hyp_vcpu *hyp_vcpu, u64 ipa);
void pkvm_guest_unshare_done(struct pkvm_hyp_vcpu *hyp_vcpu);

/* guest_psci.c */
void pkvm_init_power_state(struct pkvm_hyp_vcpu *hyp_vcpu, bool boot);
int pkvm_power_up(struct pkvm_hyp_vcpu *hyp_vcpu);
bool pkvm_guest_psci_call(struct pkvm_hyp_vcpu *hyp_vcpu, u32 fn);
unsigned int pkvm_guest_psci_exit(struct pkvm_hyp_vcpu *hyp_vcpu, u32 fn,
				  u64 *ret);

/* hyp-main.c: the FP registers change hands lazily */
void fpsimd_sve_flush(void);
void fpsimd_sve_sync(struct kvm_vcpu *vcpu);
void fpsimd_sve_drop(void);

/* Number of implemented list registers (hyp-main.c) */
extern unsigned int hyp_gicv3_nr_lr;

#endif /* __KVM_NVHE_GUEST_REGS_H__ */
