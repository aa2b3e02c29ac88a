// SPDX-License-Identifier: GPL-2.0-only
/*
 * What EL2 asks the host to do for a protected guest's hypercall.
 *
 * EL2 answers the guest (hyp/nvhe/guest_hvc.c, guest_psci.c). It exits to the
 * host for what only the host can do: schedule a vCPU or stop doing so, end the
 * VM, find memory. Of the guest's registers the host then has the function and
 * the few arguments that are needed, in x0 to x2 of its own copy, and nothing
 * else there means anything. It answers in x0, where an answer is wanted.
 */

#include <linux/arm-smccc.h>
#include <linux/kvm_host.h>

#include <asm/kvm_emulate.h>
#include <asm/kvm_pkvm.h>

#include <kvm/arm_hypercalls.h>
#include <kvm/arm_psci.h>

/*
 * EL2 has turned a vCPU on: let it run. It may still be on its way out of a
 * CPU_OFF that EL2 saw first. reset_state.reset says so to vcpu_off() then; the
 * rest of that structure is EL2's business for a protected vCPU.
 */
static void vcpu_on(struct kvm_vcpu *source_vcpu, unsigned long mpidr)
{
	struct kvm_vcpu *vcpu = kvm_mpidr_to_vcpu(source_vcpu->kvm, mpidr);

	if (!vcpu)
		return;

	spin_lock(&vcpu->arch.mp_state_lock);
	if (kvm_arm_vcpu_stopped(vcpu)) {
		WRITE_ONCE(vcpu->arch.mp_state.mp_state, KVM_MP_STATE_RUNNABLE);
		kvm_vcpu_wake_up(vcpu);
	} else {
		vcpu->arch.reset_state.reset = true;
	}
	spin_unlock(&vcpu->arch.mp_state_lock);
}

static void vcpu_off(struct kvm_vcpu *vcpu)
{
	spin_lock(&vcpu->arch.mp_state_lock);
	if (vcpu->arch.reset_state.reset) {
		vcpu->arch.reset_state.reset = false;
	} else {
		WRITE_ONCE(vcpu->arch.mp_state.mp_state, KVM_MP_STATE_STOPPED);
		kvm_make_request(KVM_REQ_SLEEP, vcpu);
	}
	spin_unlock(&vcpu->arch.mp_state_lock);
}

/*
 * Tell EL2 how it went. The guest repeats its call after a success, and after
 * a failure that time will mend; other failures are the guest's to handle.
 */
static int answer(struct kvm_vcpu *vcpu, int ret)
{
	if (ret == -EAGAIN || ret == -EINTR)
		ret = 0;

	vcpu_set_reg(vcpu, 0, ret);

	return 1;
}

/**
 * pkvm_handle_guest_hvc() - Serve a hypercall exit of a protected guest.
 * @vcpu: the vCPU.
 *
 * Return: 1 to run the guest again; 0 to exit to the VMM, with the reason in
 * kvm_run; -EINVAL for a call that EL2 does not pass on.
 */
int pkvm_handle_guest_hvc(struct kvm_vcpu *vcpu)
{
	u32 fn = smccc_get_function(vcpu);

	switch (fn) {
	case PSCI_0_2_FN_CPU_ON:
	case PSCI_0_2_FN64_CPU_ON:
		vcpu_on(vcpu, smccc_get_arg1(vcpu));
		return 1;
	case PSCI_0_2_FN_CPU_OFF:
		vcpu_off(vcpu);
		return 1;
	case PSCI_0_2_FN_CPU_SUSPEND:
	case PSCI_0_2_FN64_CPU_SUSPEND:
		/* As for other guests: all states are standby states. */
		kvm_vcpu_wfi(vcpu);
		return 1;
	case PSCI_0_2_FN_SYSTEM_OFF:
		kvm_prepare_system_event(vcpu, KVM_SYSTEM_EVENT_SHUTDOWN, 0);
		return 0;
	case PSCI_0_2_FN_SYSTEM_RESET:
		kvm_prepare_system_event(vcpu, KVM_SYSTEM_EVENT_RESET, 0);
		return 0;
	case PSCI_1_1_FN_SYSTEM_RESET2:
	case PSCI_1_1_FN64_SYSTEM_RESET2:
		kvm_prepare_system_event(vcpu, KVM_SYSTEM_EVENT_RESET,
					 KVM_SYSTEM_EVENT_RESET_FLAG_PSCI_RESET2);
		return 0;
	case ARM_SMCCC_VENDOR_HYP_KVM_MEM_SHARE_FUNC_ID:
		return answer(vcpu, pkvm_guest_fault_in(vcpu, smccc_get_arg1(vcpu)));
	case ARM_SMCCC_VENDOR_HYP_KVM_MEM_UNSHARE_FUNC_ID:
		/* EL2 knows how it went. */
		pkvm_guest_unshare(vcpu, smccc_get_arg1(vcpu));
		return 1;
	case ARM_SMCCC_VENDOR_HYP_KVM_MMIO_GUARD_FUNC_ID:
		return answer(vcpu, pkvm_topup_stage2_mc(vcpu));
	default:
		return -EINVAL;
	}
}
