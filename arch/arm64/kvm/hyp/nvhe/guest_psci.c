// SPDX-License-Identifier: GPL-2.0-only
/*
 * PSCI 1.1 for protected guests: the power states of their vCPUs.
 *
 * Owns which vCPU is on, and what it starts with. The host is told that a vCPU
 * was turned on or off, so that it schedules it or not; it has no say in it,
 * and a vCPU that is off here does not run, whatever the host does.
 *
 *	OFF --CPU_ON, by one caller only--> ON_PENDING --its next run--> ON
 *	 ^								  |
 *	 +-------------------------- CPU_OFF -----------------------------+
 *
 * It may not touch another vCPU's registers: the one that turns a vCPU on
 * leaves the entry point in its reset_state, and the vCPU's own next run
 * applies it.
 */

#include <linux/kvm_host.h>

#include <asm/kvm_emulate.h>
#include <asm/kvm_hyp.h>

#include <kvm/arm_hypercalls.h>
#include <kvm/arm_psci.h>

#include <nvhe/guest_regs.h>

/**
 * pkvm_init_power_state() - The power state of a new vCPU.
 * @hyp_vcpu: the vCPU.
 * @boot: whether it is the one that boots the guest.
 */
void pkvm_init_power_state(struct pkvm_hyp_vcpu *hyp_vcpu, bool boot)
{
	hyp_vcpu->boot_vcpu = boot;
	hyp_vcpu->power_state = boot ? PSCI_0_2_AFFINITY_LEVEL_ON_PENDING :
				       PSCI_0_2_AFFINITY_LEVEL_OFF;
}

/**
 * pkvm_power_up() - Get a vCPU ready to run, if it may.
 * @hyp_vcpu: the vCPU, loaded on this CPU.
 *
 * A vCPU that was turned on gets its reset state here. The guest's first one
 * starts where the host says, with the x0 that the host says.
 *
 * Return: 0; -EAGAIN while another CPU is turning it on; -EPERM when it is off.
 */
int pkvm_power_up(struct pkvm_hyp_vcpu *hyp_vcpu)
{
	struct vcpu_reset_state *reset = &hyp_vcpu->vcpu.arch.reset_state;
	struct kvm_cpu_context *host_ctxt = &hyp_vcpu->host_vcpu->arch.ctxt;

	switch (READ_ONCE(hyp_vcpu->power_state)) {
	case PSCI_0_2_AFFINITY_LEVEL_ON:
		return 0;
	case PSCI_0_2_AFFINITY_LEVEL_ON_PENDING:
		break;
	default:
		return -EPERM;
	}

	if (hyp_vcpu->boot_vcpu) {
		/* Later starts of this vCPU are the guest's business. */
		pkvm_reset_protected_vcpu(hyp_vcpu,
					  READ_ONCE(host_ctxt->regs.pc),
					  READ_ONCE(host_ctxt->regs.regs[0]),
					  false);
		hyp_vcpu->boot_vcpu = false;
	} else {
		/* Pairs with the release in guest_cpu_on(). */
		if (!smp_load_acquire(&reset->reset))
			return -EAGAIN;

		pkvm_reset_protected_vcpu(hyp_vcpu, reset->pc, reset->r0,
					  reset->be);
		reset->reset = false;
	}

	/* From here on no PC of the host's is the guest's: let nobody print it as one. */
	WRITE_ONCE(host_ctxt->regs.pc, 0);
	WRITE_ONCE(hyp_vcpu->power_state, PSCI_0_2_AFFINITY_LEVEL_ON);

	return 0;
}

/*
 * The VM's vCPUs do not change while one of them is loaded: all are there
 * before the first can be, and none goes before the last is put.
 */
static struct pkvm_hyp_vcpu *mpidr_to_hyp_vcpu(struct pkvm_hyp_vm *hyp_vm,
					       u64 mpidr)
{
	unsigned int i;

	if (mpidr & ~MPIDR_HWID_BITMASK)
		return NULL;

	for (i = 0; i < hyp_vm->nr_vcpus; i++) {
		if (pkvm_vcpu_affinity(hyp_vm->vcpus[i]) == mpidr)
			return hyp_vm->vcpus[i];
	}

	return NULL;
}

static long guest_cpu_on(struct pkvm_hyp_vcpu *caller, u64 mpidr, u64 entry,
			 u64 context_id)
{
	struct pkvm_hyp_vm *hyp_vm = pkvm_hyp_vcpu_to_hyp_vm(caller);
	struct pkvm_hyp_vcpu *target = mpidr_to_hyp_vcpu(hyp_vm, mpidr);
	struct vcpu_reset_state *reset;

	if (!target)
		return PSCI_RET_INVALID_PARAMS;
	if (!IS_ALIGNED(entry, 4) || entry >= BIT_ULL(hyp_vm->pgt.ia_bits))
		return PSCI_RET_INVALID_ADDRESS;

	/* Of several callers one wins, and alone writes the reset state. */
	switch (cmpxchg(&target->power_state, PSCI_0_2_AFFINITY_LEVEL_OFF,
			PSCI_0_2_AFFINITY_LEVEL_ON_PENDING)) {
	case PSCI_0_2_AFFINITY_LEVEL_OFF:
		break;
	case PSCI_0_2_AFFINITY_LEVEL_ON_PENDING:
		return PSCI_RET_ON_PENDING;
	default:
		return PSCI_RET_ALREADY_ON;
	}

	reset = &target->vcpu.arch.reset_state;
	reset->pc = entry;
	reset->r0 = context_id;
	reset->be = read_sysreg_el1(SYS_SCTLR) & SCTLR_ELx_EE;
	/* Pairs with the acquire in pkvm_power_up(). */
	smp_store_release(&reset->reset, true);

	return PSCI_RET_SUCCESS;
}

static long guest_affinity_info(struct pkvm_hyp_vcpu *caller, u64 mpidr,
				u64 level)
{
	struct pkvm_hyp_vm *hyp_vm = pkvm_hyp_vcpu_to_hyp_vm(caller);
	long ret = PSCI_RET_INVALID_PARAMS;
	unsigned int i;
	u64 mask;

	if (level > 3 || mpidr & ~MPIDR_HWID_BITMASK)
		return PSCI_RET_INVALID_PARAMS;
	/* The affinity fields from @level on; the shift of level 3 is 32. */
	mask = MPIDR_HWID_BITMASK & ~(BIT_ULL(MPIDR_LEVEL_SHIFT(level)) - 1);

	for (i = 0; i < hyp_vm->nr_vcpus; i++) {
		struct pkvm_hyp_vcpu *hyp_vcpu = hyp_vm->vcpus[i];

		if ((pkvm_vcpu_affinity(hyp_vcpu) ^ mpidr) & mask)
			continue;

		switch (READ_ONCE(hyp_vcpu->power_state)) {
		case PSCI_0_2_AFFINITY_LEVEL_ON:
			return PSCI_0_2_AFFINITY_LEVEL_ON;
		case PSCI_0_2_AFFINITY_LEVEL_ON_PENDING:
			ret = PSCI_0_2_AFFINITY_LEVEL_ON_PENDING;
			break;
		default:
			if (ret == PSCI_RET_INVALID_PARAMS)
				ret = PSCI_0_2_AFFINITY_LEVEL_OFF;
		}
	}

	return ret;
}

static long guest_psci_features(u32 fn)
{
	switch (fn) {
	case PSCI_0_2_FN_PSCI_VERSION:
	case PSCI_0_2_FN_CPU_SUSPEND:
	case PSCI_0_2_FN64_CPU_SUSPEND:
	case PSCI_0_2_FN_CPU_OFF:
	case PSCI_0_2_FN_CPU_ON:
	case PSCI_0_2_FN64_CPU_ON:
	case PSCI_0_2_FN_AFFINITY_INFO:
	case PSCI_0_2_FN64_AFFINITY_INFO:
	case PSCI_0_2_FN_MIGRATE_INFO_TYPE:
	case PSCI_0_2_FN_SYSTEM_OFF:
	case PSCI_0_2_FN_SYSTEM_RESET:
	case PSCI_1_0_FN_PSCI_FEATURES:
	case PSCI_1_1_FN_SYSTEM_RESET2:
	case PSCI_1_1_FN64_SYSTEM_RESET2:
	case ARM_SMCCC_VERSION_FUNC_ID:
		return PSCI_RET_SUCCESS;
	default:
		return PSCI_RET_NOT_SUPPORTED;
	}
}

static bool reset_type_valid(u32 type)
{
	return type == PSCI_1_1_RESET_TYPE_SYSTEM_WARM_RESET ||
	       type >= PSCI_1_1_RESET_TYPE_VENDOR_START;
}

/**
 * pkvm_guest_psci_call() - A guest's PSCI call.
 * @hyp_vcpu: the calling vCPU, its EL1 registers still in the CPU.
 * @fn: the function.
 *
 * Return: true when the guest has its result and goes on; false when the host
 * must be told, which pkvm_guest_psci_exit() does.
 */
bool pkvm_guest_psci_call(struct pkvm_hyp_vcpu *hyp_vcpu, u32 fn)
{
	struct kvm_vcpu *vcpu = &hyp_vcpu->vcpu;
	unsigned long arg1 = smccc_get_arg1(vcpu);
	unsigned long arg2 = smccc_get_arg2(vcpu);
	unsigned long arg3 = smccc_get_arg3(vcpu);
	long ret;

	/* Calls of the 32-bit convention have 32-bit arguments. */
	if (!(fn & PSCI_0_2_64BIT)) {
		arg1 = lower_32_bits(arg1);
		arg2 = lower_32_bits(arg2);
		arg3 = lower_32_bits(arg3);
	}

	switch (fn) {
	case PSCI_0_2_FN_PSCI_VERSION:
		ret = KVM_ARM_PSCI_1_1;
		break;
	case PSCI_1_0_FN_PSCI_FEATURES:
		ret = guest_psci_features(arg1);
		break;
	case PSCI_0_2_FN_CPU_ON:
	case PSCI_0_2_FN64_CPU_ON:
		ret = guest_cpu_on(hyp_vcpu, arg1, arg2, arg3);
		if (ret == PSCI_RET_SUCCESS)
			return false;
		break;
	case PSCI_0_2_FN_CPU_OFF:
		/*
		 * Its registers are of no use any more, and another vCPU may
		 * turn it on from here. It starts once this CPU has put it.
		 */
		smp_store_release(&hyp_vcpu->power_state,
				  PSCI_0_2_AFFINITY_LEVEL_OFF);
		return false;
	case PSCI_0_2_FN_AFFINITY_INFO:
	case PSCI_0_2_FN64_AFFINITY_INFO:
		ret = guest_affinity_info(hyp_vcpu, arg1, arg2);
		break;
	case PSCI_0_2_FN_MIGRATE_INFO_TYPE:
		ret = PSCI_0_2_TOS_MP;
		break;
	case PSCI_1_1_FN_SYSTEM_RESET2:
	case PSCI_1_1_FN64_SYSTEM_RESET2:
		if (reset_type_valid(arg1))
			return false;
		ret = PSCI_RET_INVALID_PARAMS;
		break;
	case PSCI_0_2_FN_CPU_SUSPEND:
	case PSCI_0_2_FN64_CPU_SUSPEND:
	case PSCI_0_2_FN_SYSTEM_OFF:
	case PSCI_0_2_FN_SYSTEM_RESET:
		return false;
	default:
		ret = PSCI_RET_NOT_SUPPORTED;
	}

	smccc_set_retval(vcpu, ret, 0, 0, 0);

	return true;
}

/**
 * pkvm_guest_psci_exit() - What the host learns of a PSCI call.
 * @hyp_vcpu: the calling vCPU.
 * @fn: the function.
 * @ret: what the guest finds in x0 when it goes on.
 *
 * Return: how many of the guest's registers, from x0 on, the host sees; 0 for
 * a function that is not one of ours.
 */
unsigned int pkvm_guest_psci_exit(struct pkvm_hyp_vcpu *hyp_vcpu, u32 fn,
				  u64 *ret)
{
	switch (fn) {
	case PSCI_0_2_FN_CPU_ON:
	case PSCI_0_2_FN64_CPU_ON:
		*ret = PSCI_RET_SUCCESS;
		return 2;
	case PSCI_0_2_FN_CPU_OFF:
	case PSCI_0_2_FN_CPU_SUSPEND:
	case PSCI_0_2_FN64_CPU_SUSPEND:
		*ret = PSCI_RET_SUCCESS;
		return 1;
	case PSCI_0_2_FN_SYSTEM_OFF:
	case PSCI_0_2_FN_SYSTEM_RESET:
		/* Nobody should see this: the system is gone. */
		*ret = PSCI_RET_INTERNAL_FAILURE;
		return 1;
	case PSCI_1_1_FN_SYSTEM_RESET2:
	case PSCI_1_1_FN64_SYSTEM_RESET2:
		*ret = PSCI_RET_INTERNAL_FAILURE;
		return 3;
	default:
		return 0;
	}
}
