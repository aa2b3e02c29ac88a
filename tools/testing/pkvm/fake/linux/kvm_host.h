/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Of the structures of KVM, the members that the code under test touches. The
 * list of pages that EL2 and the host pass to and fro is the kernel's own text.
 */
#ifndef __FAKE_LINUX_KVM_HOST_H
#define __FAKE_LINUX_KVM_HOST_H

#include <linux/bitfield.h>
#include <linux/bits.h>
#include <linux/build_bug.h>
#include <linux/err.h>
#include <linux/kernel.h>
#include <linux/list.h>
#include <linux/sizes.h>
#include <linux/string.h>
#include <linux/types.h>

#include <asm/fake.h>
#include <asm/kvm_arm.h>

#include <generated/memcache.h>

typedef u64 kvm_pfn_t;
typedef u64 gpa_t;
typedef u16 pkvm_handle_t;

/* VGIC_V3_MAX_CPUS (include/kvm/arm_vgic.h) */
#define KVM_MAX_VCPUS	512

struct kvm_vmid {
	atomic64_t id;
};

struct kvm_arch;
struct kvm_enable_cap;
struct kvm_memory_slot;
struct kvm_pgtable;
struct kvm_vcpu;
struct kvm_vcpu_init;
struct kvm_device_attr;
struct kvm_mp_state;
enum kvm_mr_change { KVM_MR_CREATE };

struct kvm_s2_mmu {
	struct kvm_vmid vmid;
	phys_addr_t pgd_phys;
	struct kvm_pgtable *pgt;
	u64 vtcr;
	struct kvm_mmu_memory_cache {
		int nobjs;
	} split_page_cache;
	struct kvm_arch *arch;
};

struct kvm_protected_vm {
	pkvm_handle_t handle;
	struct kvm_hyp_memcache teardown_mc;
	bool enabled;
	unsigned int nr_vcpus;
};

struct kvm_arch {
	struct kvm_s2_mmu mmu;
	struct kvm_protected_vm pkvm;
};

struct kvm {
	unsigned int created_vcpus;
	struct kvm_arch arch;
};

struct kvm_vcpu_fault_info {
	u64 esr_el2;
	u64 far_el2;
	u64 hpfar_el2;
};

/* Registers */
struct user_pt_regs {
	u64 regs[31];
	u64 sp;
	u64 pc;
	u64 pstate;
};

struct kvm_cpu_context {
	struct user_pt_regs regs;
};

struct kvm_host_data {
	struct kvm_cpu_context host_ctxt;
};

extern struct kvm_host_data fake_host_data[];
#define host_data_ptr(f)	(&fake_host_data[fake_cpu].f)

struct vcpu_reset_state {
	unsigned long pc;
	unsigned long r0;
	bool be;
	bool reset;
};

struct kvm_vcpu_arch {
	struct kvm_cpu_context ctxt;
	struct kvm_vcpu_fault_info fault;
	struct vcpu_reset_state reset_state;
	struct kvm_s2_mmu *hw_mmu;
	u8 cflags;
	struct kvm_hyp_memcache stage2_mc;
	/* Instead of those of the system: were they set up, and who the vCPU is. */
	bool fake_set_up;
	u64 fake_mpidr;
};

struct kvm_vcpu {
	struct kvm *kvm;
	int vcpu_id;
	int vcpu_idx;
	struct kvm_vcpu_arch arch;
};

struct kvm_nvhe_init_params {
	u64 hcr_el2;
	u64 vttbr;
	u64 vtcr;
};

DECLARE_PER_CPU(struct kvm_nvhe_init_params, kvm_init_params);

struct kvm_host_psci_config {
	u32 version;
	u32 smccc_version;
	struct psci_0_1_function_ids {
		u32 cpu_suspend;
		u32 cpu_on;
		u32 cpu_off;
		u32 migrate;
	} function_ids_0_1;
	bool psci_0_1_cpu_suspend_implemented;
	bool psci_0_1_cpu_on_implemented;
	bool psci_0_1_cpu_off_implemented;
	bool psci_0_1_migrate_implemented;
};

extern struct kvm_host_psci_config kvm_host_psci_config;

#define vcpu_is_protected(vcpu)		((vcpu)->kvm->arch.pkvm.enabled)

#endif /* __FAKE_LINUX_KVM_HOST_H */
