// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the VMM of a protected guest may not do.
 *
 * EL2 enforces all of this by itself. The checks here give the VMM an error
 * where it would otherwise see its request have no effect. Which capabilities
 * are offered is decided in pkvm_ext_allowed().
 *
 * EL2 takes over a VM's vCPUs when the first of them runs. From then on the
 * host has no register of theirs to show or to set.
 */

#include <linux/kvm_host.h>
#include <linux/uaccess.h>

#include <asm/kvm_pkvm.h>

#define PROTECTED_VCPU_FEATURES	(BIT(KVM_ARM_VCPU_POWER_OFF) |		\
				 BIT(KVM_ARM_VCPU_PSCI_0_2) |		\
				 BIT(KVM_ARM_VCPU_PTRAUTH_ADDRESS) |	\
				 BIT(KVM_ARM_VCPU_PTRAUTH_GENERIC))

#define CORE_REG_U64(name)	(KVM_REG_ARM64 | KVM_REG_SIZE_U64 |	\
				 KVM_REG_ARM_CORE | KVM_REG_ARM_CORE_REG(name))

static bool el2_has_vcpus(struct kvm *kvm)
{
	return READ_ONCE(kvm->arch.pkvm.handle) || kvm_vm_has_ran_once(kvm);
}

/**
 * pkvm_check_vcpu_create() - May KVM_CREATE_VCPU add a vCPU?
 * @kvm: any VM.
 *
 * Return: 0; -EBUSY in protected mode after the VM's first run.
 */
int pkvm_check_vcpu_create(struct kvm *kvm)
{
	return READ_ONCE(kvm->arch.pkvm.handle) ? -EBUSY : 0;
}

/**
 * pkvm_check_vcpu_known() - Does EL2 know a vCPU that is to run for the first time?
 * @vcpu: the vCPU, whose VM is known in protected mode.
 *
 * A vCPU that was created while another one ran for the first time may have been too
 * late.
 *
 * Return: 0 or -EBUSY.
 */
int pkvm_check_vcpu_known(struct kvm_vcpu *vcpu)
{
	return vcpu->vcpu_idx < vcpu->kvm->arch.pkvm.nr_vcpus ? 0 : -EBUSY;
}

/**
 * pkvm_check_vcpu_init() - May KVM_ARM_VCPU_INIT do this?
 * @vcpu: the vCPU, of any VM.
 * @init: what is asked for.
 *
 * Return: 0; for a protected VM -EPERM after its first run, -EINVAL for
 * features that protected guests do not have.
 */
int pkvm_check_vcpu_init(struct kvm_vcpu *vcpu, const struct kvm_vcpu_init *init)
{
	if (!vcpu_is_protected(vcpu))
		return 0;
	if (el2_has_vcpus(vcpu->kvm))
		return -EPERM;

	/* PSCI is there whether the VMM asks for it or not. */
	return init->features[0] & ~PROTECTED_VCPU_FEATURES ? -EINVAL : 0;
}

/**
 * pkvm_check_state_access() - May the VMM get or set a vCPU's state?
 * @vcpu: the vCPU, of any VM.
 *
 * Asked vCPU by vCPU: the threads of a VMM may each set up their own while
 * another runs already.
 *
 * Return: 0; for a protected VM -EPERM after the vCPU's first run.
 */
int pkvm_check_state_access(struct kvm_vcpu *vcpu)
{
	return vcpu_is_protected(vcpu) && vcpu_has_run_once(vcpu) ? -EPERM : 0;
}

/**
 * pkvm_check_vcpu_ioctl() - May the VMM make this request of a vCPU?
 * @vcpu: the vCPU, of any VM.
 * @ioctl: the request.
 *
 * For those that nothing more than the request has to be known of.
 *
 * Return: 0; as pkvm_check_state_access() for those that get state.
 */
int pkvm_check_vcpu_ioctl(struct kvm_vcpu *vcpu, unsigned int ioctl)
{
	return ioctl == KVM_GET_VCPU_EVENTS ? pkvm_check_state_access(vcpu) : 0;
}

/*
 * A SYSTEM_RESET2 has a type and a cookie, in the registers that EL2 shows at this exit.
 * The VMM can write to kvm_run: it would read what EL2 has shown the host last.
 */
static bool is_arg_of_reset(struct kvm_vcpu *vcpu, u64 id)
{
	struct kvm_run *run = vcpu->run;

	if (id != CORE_REG_U64(regs.regs[1]) && id != CORE_REG_U64(regs.regs[2]))
		return false;

	return READ_ONCE(run->exit_reason) == KVM_EXIT_SYSTEM_EVENT &&
	       READ_ONCE(run->system_event.type) == KVM_SYSTEM_EVENT_RESET &&
	       READ_ONCE(run->system_event.data[0]) ==
	       KVM_SYSTEM_EVENT_RESET_FLAG_PSCI_RESET2;
}

/**
 * pkvm_check_one_reg() - May the VMM get or set this register of a vCPU?
 * @vcpu: the vCPU, of any VM.
 * @ioctl: KVM_GET_ONE_REG or KVM_SET_ONE_REG.
 * @id: the register, as the VMM names it.
 *
 * Return: as pkvm_check_state_access(); and 0 to get X1 and X2 after a SYSTEM_RESET2,
 * for which VMMs ask.
 */
int pkvm_check_one_reg(struct kvm_vcpu *vcpu, unsigned int ioctl, u64 id)
{
	if (ioctl == KVM_GET_ONE_REG && is_arg_of_reset(vcpu, id))
		return 0;

	return pkvm_check_state_access(vcpu);
}

/**
 * pkvm_check_mp_state() - May KVM_SET_MP_STATE do this?
 * @vcpu: the vCPU, of any VM.
 * @mp_state: what is asked for.
 *
 * Return: 0; for a protected VM -EPERM after its first run, -EINVAL for a state
 * that is neither running nor off.
 */
int pkvm_check_mp_state(struct kvm_vcpu *vcpu, const struct kvm_mp_state *mp_state)
{
	if (!vcpu_is_protected(vcpu))
		return 0;
	if (el2_has_vcpus(vcpu->kvm))
		return -EPERM;

	switch (mp_state->mp_state) {
	case KVM_MP_STATE_RUNNABLE:
	case KVM_MP_STATE_STOPPED:
		return 0;
	default:
		return -EINVAL;
	}
}

/**
 * pkvm_check_run() - May this vCPU run for the first time?
 * @vcpu: the vCPU, of any VM.
 *
 * Return: 0; for a protected VM -EINVAL without a GICv3 in the kernel.
 */
int pkvm_check_run(struct kvm_vcpu *vcpu)
{
	struct kvm *kvm = vcpu->kvm;

	if (!kvm_vm_is_protected(kvm))
		return 0;

	return irqchip_in_kernel(kvm) &&
	       kvm->arch.vgic.vgic_model == KVM_DEV_TYPE_ARM_VGIC_V3 ? 0 : -EINVAL;
}

/**
 * kvm_arch_has_dirty_log() - Can the VMM learn which pages a VM writes to?
 * @kvm: the VM, of any kind.
 *
 * Return: false for a protected VM: no slot of it may ask for that.
 */
bool kvm_arch_has_dirty_log(struct kvm *kvm)
{
	return !kvm_vm_is_protected(kvm);
}

/**
 * pkvm_enable_protected_vm_cap() - KVM_ENABLE_CAP of KVM_CAP_ARM_PROTECTED_VM.
 * @kvm: the VM, of any kind.
 * @cap: what is asked for: its flags are the number of a request, not flags.
 *
 * The interface is that of crosvm and Android. A host has no firmware to start its
 * guests with: INFO says so, and there is no address to put it at.
 *
 * Return: 0; -EINVAL for a VM that is not protected, a request that is not known, an
 * argument that must be zero, and for SET_FW_IPA; -EFAULT when INFO's buffer
 * cannot be written.
 */
int pkvm_enable_protected_vm_cap(struct kvm *kvm, struct kvm_enable_cap *cap)
{
	const struct kvm_protected_vm_info info = {};

	if (!kvm_vm_is_protected(kvm) || cap->args[1] || cap->args[2] || cap->args[3])
		return -EINVAL;

	switch (cap->flags) {
	case KVM_CAP_ARM_PROTECTED_VM_FLAGS_INFO:
		return copy_to_user(u64_to_user_ptr(cap->args[0]), &info, sizeof(info)) ?
		       -EFAULT : 0;
	case KVM_CAP_ARM_PROTECTED_VM_FLAGS_SET_FW_IPA:
	default:
		return -EINVAL;
	}
}

/**
 * pkvm_declare_ram() - Tell EL2 which addresses of a VM are memory.
 * @kvm: the VM, before its first run.
 * @ram: where EL2 finds it: the start of what is donated to __pkvm_init_vm().
 *
 * These are the memslots that there are now. For EL2 nothing else ever is memory, and
 * no access to it is MMIO. An ordinary VM has no such list.
 *
 * Return: 0; -E2BIG when the memslots of a protected VM are more than
 * PKVM_MAX_RAM_RANGES pieces.
 */
int pkvm_declare_ram(struct kvm *kvm, struct pkvm_guest_ram *ram)
{
	struct kvm_memslot_iter iter;
	int idx, ret = 0;

	ram->nr = 0;
	if (!kvm_vm_is_protected(kvm))
		return 0;

	idx = srcu_read_lock(&kvm->srcu);
	kvm_for_each_memslot_in_gfn_range(&iter, kvm_memslots(kvm), 0, ULONG_MAX) {
		struct kvm_memory_slot *slot = iter.slot;
		struct pkvm_ram_range *last = ram->nr ? &ram->range[ram->nr - 1] : NULL;

		if (last && last->gfn + last->nr_pages == slot->base_gfn) {
			last->nr_pages += slot->npages;
			continue;
		}
		if (ram->nr == PKVM_MAX_RAM_RANGES) {
			ret = -E2BIG;
			break;
		}
		ram->range[ram->nr++] = (struct pkvm_ram_range) {
			.gfn		= slot->base_gfn,
			.nr_pages	= slot->npages,
		};
	}
	srcu_read_unlock(&kvm->srcu, idx);

	return ret;
}
