/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Tracepoints of protected mode: the host's calls to EL2, and how guests leave it.
 *
 * They show what the host has in its registers and in its struct kvm_vcpu, and nothing
 * more: of a protected guest, that is what EL2 put there for this one exit.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM kvm

#if !defined(_TRACE_PKVM_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_PKVM_H

#include <linux/kvm_host.h>
#include <linux/tracepoint.h>

#include <asm/kvm_arm.h>
#include <asm/kvm_asm.h>
#include <asm/kvm_emulate.h>

#define PKVM_HYPERCALLS(_)					\
	_(__kvm_get_mdcr_el2)					\
	_(__pkvm_init)						\
	_(__pkvm_create_private_mapping)			\
	_(__pkvm_cpu_set_vector)				\
	_(__kvm_enable_ssbs)					\
	_(__vgic_v3_init_lrs)					\
	_(__vgic_v3_get_gic_config)				\
	_(__kvm_tlb_flush_vmid_ipa)				\
	_(__kvm_tlb_flush_vmid_ipa_nsh)				\
	_(__kvm_tlb_flush_vmid)					\
	_(__kvm_tlb_flush_vmid_range)				\
	_(__kvm_flush_cpu_context)				\
	_(__pkvm_prot_finalize)					\
	_(__pkvm_host_share_hyp)				\
	_(__pkvm_host_unshare_hyp)				\
	_(__kvm_adjust_pc)					\
	_(__kvm_flush_vm_context)				\
	_(__kvm_timer_set_cntvoff)				\
	_(__vgic_v3_save_vmcr_aprs)				\
	_(__vgic_v3_restore_vmcr_aprs)				\
	_(__pkvm_init_vm)					\
	_(__pkvm_init_vcpu)					\
	_(__pkvm_vcpu_load)					\
	_(__pkvm_vcpu_put)					\
	_(__pkvm_host_donate_guest)				\
	_(__pkvm_host_can_access)				\
	_(__pkvm_host_force_reclaim)				\
	_(__pkvm_host_share_guest)				\
	_(__pkvm_host_relax_guest)				\
	_(__pkvm_guest_stage2_op)				\
	_(__pkvm_start_teardown_vm)				\
	_(__pkvm_reclaim_guest_pages)				\
	_(__pkvm_finalize_teardown_vm)

#define PKVM_DEFINE_ENUM(f)	TRACE_DEFINE_ENUM(__KVM_HOST_SMCCC_FUNC_##f);
#define PKVM_NAME(f)		{ __KVM_HOST_SMCCC_FUNC_##f, #f },

PKVM_HYPERCALLS(PKVM_DEFINE_ENUM)

/* One call, after it: arguments as the host gave them, result as EL2 gave it. */
TRACE_EVENT(pkvm_hypercall,
	    TP_PROTO(u32 func, u32 nr_args, const u64 *args, u64 ret),
	    TP_ARGS(func, nr_args, args, ret),
	    TP_STRUCT__entry(__field(u32, func)
			     __dynamic_array(u64, args, nr_args)
			     __field(s64, ret)),
	    TP_fast_assign(__entry->func = func;
			   memcpy(__get_dynamic_array(args), args, nr_args * sizeof(u64));
			   __entry->ret = ret;),
	    TP_printk("func=%u %s args=%s ret=%lld", __entry->func,
		      __print_symbolic(__entry->func, PKVM_HYPERCALLS(PKVM_NAME) { -1, NULL }),
		      __print_array(__get_dynamic_array(args),
				    __get_dynamic_array_len(args) / sizeof(u64), sizeof(u64)),
		      __entry->ret)
);

/* A vCPU is back: why, as far as EL2 tells. 0 is what it does not tell. */
TRACE_EVENT(pkvm_guest_exit,
	    TP_PROTO(const struct kvm_vcpu *vcpu, int ret),
	    TP_ARGS(vcpu, ret),
	    TP_STRUCT__entry(__field(u32, handle)
			     __field(u32, vcpu_idx)
			     __field(bool, is_protected)
			     __field(u32, code)
			     __field(u64, esr)
			     __field(u64, ipa)),
	    TP_fast_assign(bool trap = ARM_EXCEPTION_IS_TRAP(ret);
			   u64 esr = trap ? kvm_vcpu_get_esr(vcpu) : 0;
			   u64 ec = ESR_ELx_EC(esr);

			   __entry->handle = vcpu->kvm->arch.pkvm.handle;
			   __entry->vcpu_idx = vcpu->vcpu_idx;
			   __entry->is_protected = kvm_vm_is_protected(vcpu->kvm);
			   __entry->code = ret;
			   __entry->esr = esr;
			   __entry->ipa = ec == ESR_ELx_EC_DABT_LOW ||
					  ec == ESR_ELx_EC_IABT_LOW ?
					  kvm_vcpu_get_fault_ipa(vcpu) : 0;),
	    TP_printk("vm=%#x vcpu=%u %s %s esr=%#llx ec=%#llx %s ipa=%#llx", __entry->handle,
		      __entry->vcpu_idx, __entry->is_protected ? "protected" : "ordinary",
		      __print_symbolic(ARM_EXCEPTION_CODE(__entry->code),
				       kvm_arm_exception_type),
		      __entry->esr, ESR_ELx_EC(__entry->esr),
		      __print_symbolic(ESR_ELx_EC(__entry->esr), kvm_arm_exception_class),
		      __entry->ipa)
);

#endif /* _TRACE_PKVM_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace_pkvm
#include <trace/define_trace.h>
