// SPDX-License-Identifier: GPL-2.0-only
/*
 * The hypercalls of protected guests.
 *
 * Owns which calls a protected guest has and what they answer. No answer is
 * ever the host's: what the host must do for a call, it is asked to do, and
 * then the guest makes the call again.
 *
 * It may not change page tables but through ownership.h and guest_stage2.h.
 *
 * What the host sees of a call, and what it may answer in x0:
 *
 *	MEM_SHARE	x0 function, x1 address: give the guest the page
 *	MEM_UNSHARE	x0 function, x1 address: hide the page and return it, with
 *			__pkvm_host_donate_guest(); else the guest gets
 *			INVALID_PARAMETER
 *	MMIO_GUARD_MAP	x0 function, x1 address: put out pages for EL2's tables
 *			0: done, make the call again; else the guest gets
 *			INVALID_PARAMETER
 *	PSCI		see pkvm_guest_psci_exit(); nothing
 *
 * All other calls end here.
 */

#include <linux/arm-smccc.h>
#include <linux/kvm_host.h>
#include <linux/uuid.h>

#include <asm/archrandom.h>
#include <asm/kvm_emulate.h>
#include <asm/kvm_hyp.h>

#include <hyp/adjust_pc.h>
#include <kvm/arm_hypercalls.h>

#include <nvhe/fixed_config.h>
#include <nvhe/guest_regs.h>
#include <nvhe/guest_stage2.h>
#include <nvhe/ownership.h>

/* Arm DEN0098; these codes are not those of the SMCCC. */
#define TRNG_VERSION_1_0	0x10000
#define TRNG_NOT_SUPPORTED	(-1)
#define TRNG_INVALID_PARAMETERS	(-2)
#define TRNG_NO_ENTROPY		(-3)

#define TRNG_MAX_WORDS		3
#define TRNG_TRIES		16

/* Names the entropy source: the CPU's RNDRRS register. */
static const uuid_t trng_rndr_uuid __aligned(4) =
	UUID_INIT(0x6c1062e9, 0x2408, 0x4751,
		  0xbb, 0x88, 0xc6, 0xc0, 0x14, 0x70, 0x77, 0x4c);

static bool el3_has_smccc_1_1(void)
{
	return kvm_host_psci_config.smccc_version >= ARM_SMCCC_VERSION_1_1;
}

/*
 * The calls for these workarounds are answered in hyp-entry.S, after the
 * vectors have done the work. That is worth something only where this CPU's
 * vectors do it and the firmware is there; in doubt the guest is told that
 * there is nothing.
 */
static long arch_workaround(u32 feature)
{
	struct arm_smccc_res res;

	if (!el3_has_smccc_1_1())
		return SMCCC_RET_NOT_SUPPORTED;

	arm_smccc_1_1_smc(ARM_SMCCC_ARCH_FEATURES_FUNC_ID, feature, &res);

	switch ((int)res.a0) {
	case SMCCC_RET_SUCCESS:
		if (__this_cpu_read(kvm_hyp_vector) ==
		    (unsigned long)__kvm_hyp_vector)
			return SMCCC_RET_NOT_SUPPORTED;
		return SMCCC_RET_SUCCESS;
	case SMCCC_ARCH_WORKAROUND_RET_UNAFFECTED:
		return SMCCC_ARCH_WORKAROUND_RET_UNAFFECTED;
	default:
		return SMCCC_RET_NOT_SUPPORTED;
	}
}

static long arch_features(u32 feature)
{
	switch (feature) {
	case ARM_SMCCC_VERSION_FUNC_ID:
	case ARM_SMCCC_ARCH_FEATURES_FUNC_ID:
		return SMCCC_RET_SUCCESS;
	case ARM_SMCCC_ARCH_WORKAROUND_1:
	case ARM_SMCCC_ARCH_WORKAROUND_3:
		return arch_workaround(feature);
	default:
		return SMCCC_RET_NOT_SUPPORTED;
	}
}

static bool cpu_has_rndr(void)
{
	u64 isar0 = read_sysreg(id_aa64isar0_el1);

	return FIELD_GET(ID_AA64ISAR0_EL1_RNDR_MASK, isar0);
}

static bool get_random_words(unsigned long *words, unsigned int nr)
{
	unsigned int i, tries;

	for (i = 0; i < nr; i++) {
		for (tries = 0; !__arm64_rndrrs(&words[i]); tries++) {
			if (tries == TRNG_TRIES)
				return false;
		}
	}

	return true;
}

/* @size is how many bits each register takes: 32 or 64. */
static void trng_rnd(struct kvm_vcpu *vcpu, unsigned int size)
{
	unsigned long words[TRNG_MAX_WORDS] = {};
	unsigned long nr_bits = smccc_get_arg1(vcpu);
	unsigned int nr;

	if (size == 32)
		nr_bits = lower_32_bits(nr_bits);
	if (!nr_bits || nr_bits > 3 * size) {
		smccc_set_retval(vcpu, TRNG_INVALID_PARAMETERS, 0, 0, 0);
		return;
	}

	nr = DIV_ROUND_UP(nr_bits, BITS_PER_LONG);
	if (!get_random_words(words, nr)) {
		memzero_explicit(words, sizeof(words));
		smccc_set_retval(vcpu, TRNG_NO_ENTROPY, 0, 0, 0);
		return;
	}
	if (nr_bits % BITS_PER_LONG)
		words[nr - 1] &= GENMASK(nr_bits % BITS_PER_LONG - 1, 0);

	/* The last register has the lowest bits. */
	if (size == 32)
		smccc_set_retval(vcpu, 0, lower_32_bits(words[1]),
				 upper_32_bits(words[0]),
				 lower_32_bits(words[0]));
	else
		smccc_set_retval(vcpu, 0, words[2], words[1], words[0]);

	memzero_explicit(words, sizeof(words));
}

static void trng_from_el3(struct kvm_vcpu *vcpu, u32 fn)
{
	struct arm_smccc_res res;

	if (!el3_has_smccc_1_1()) {
		smccc_set_retval(vcpu, TRNG_NOT_SUPPORTED, 0, 0, 0);
		return;
	}

	arm_smccc_1_1_smc(fn, smccc_get_arg1(vcpu), 0, 0, 0, 0, 0, 0, &res);
	smccc_set_retval(vcpu, res.a0, res.a1, res.a2, res.a3);
	memzero_explicit(&res, sizeof(res));
}

/* Entropy comes from the CPU or from the firmware, never from the host. */
static void trng_call(struct kvm_vcpu *vcpu, u32 fn)
{
	const __le32 *uuid = (const __le32 *)trng_rndr_uuid.b;
	long ret = TRNG_NOT_SUPPORTED;

	if (!cpu_has_rndr()) {
		trng_from_el3(vcpu, fn);
		return;
	}

	switch (fn) {
	case ARM_SMCCC_TRNG_VERSION:
		ret = TRNG_VERSION_1_0;
		break;
	case ARM_SMCCC_TRNG_FEATURES:
		switch (lower_32_bits(smccc_get_arg1(vcpu))) {
		case ARM_SMCCC_TRNG_VERSION:
		case ARM_SMCCC_TRNG_FEATURES:
		case ARM_SMCCC_TRNG_GET_UUID:
		case ARM_SMCCC_TRNG_RND32:
		case ARM_SMCCC_TRNG_RND64:
			ret = 0;
		}
		break;
	case ARM_SMCCC_TRNG_GET_UUID:
		smccc_set_retval(vcpu, le32_to_cpu(uuid[0]), le32_to_cpu(uuid[1]),
				 le32_to_cpu(uuid[2]), le32_to_cpu(uuid[3]));
		return;
	case ARM_SMCCC_TRNG_RND32:
		trng_rnd(vcpu, 32);
		return;
	case ARM_SMCCC_TRNG_RND64:
		trng_rnd(vcpu, 64);
		return;
	}

	smccc_set_retval(vcpu, ret, 0, 0, 0);
}

/* Are the arguments from @first to x3 zero, as reserved ones must be? */
static bool reserved_args_zero(struct kvm_vcpu *vcpu, unsigned int first)
{
	unsigned int i;

	for (i = first; i <= 3; i++) {
		if (vcpu_get_reg(vcpu, i))
			return false;
	}

	return true;
}

/* The size of the pages that the calls below are about, for the guest to ask. */
static long granule_call(struct kvm_vcpu *vcpu)
{
	return reserved_args_zero(vcpu, 1) ? PAGE_SIZE :
					     SMCCC_RET_INVALID_PARAMETER;
}

static long enroll_call(struct pkvm_hyp_vcpu *hyp_vcpu)
{
	if (!reserved_args_zero(&hyp_vcpu->vcpu, 1))
		return SMCCC_RET_INVALID_PARAMETER;

	WRITE_ONCE(pkvm_hyp_vcpu_to_hyp_vm(hyp_vcpu)->mmio_guard, true);

	return SMCCC_RET_SUCCESS;
}

/*
 * Calls about one page. Returns false when the host must do its part first,
 * true with the guest's result in @val otherwise.
 */
static bool page_call(struct pkvm_hyp_vcpu *hyp_vcpu, u32 fn, unsigned long *val)
{
	struct kvm_vcpu *vcpu = &hyp_vcpu->vcpu;
	u64 ipa = smccc_get_arg1(vcpu);
	/* MMIO_GUARD_MAP has attributes in x2, which mean nothing here. */
	unsigned int first = 2;
	int ret = -EINVAL;

	if (fn == ARM_SMCCC_VENDOR_HYP_KVM_MMIO_GUARD_FUNC_ID)
		first = 3;
	if (!reserved_args_zero(vcpu, first))
		goto out;

	switch (fn) {
	case ARM_SMCCC_VENDOR_HYP_KVM_MEM_SHARE_FUNC_ID:
		ret = __pkvm_guest_share_host(hyp_vcpu, ipa);
		if (ret == -ENOENT)
			return false;
		break;
	case ARM_SMCCC_VENDOR_HYP_KVM_MEM_UNSHARE_FUNC_ID:
		ret = __pkvm_guest_check_shared(hyp_vcpu, ipa);
		/* The host must let go of the page first. */
		if (!ret)
			return false;
		break;
	case ARM_SMCCC_VENDOR_HYP_KVM_MMIO_GUARD_FUNC_ID:
		ret = pkvm_guest_mmio_map(hyp_vcpu, ipa);
		if (ret == -ENOMEM)
			return false;
		break;
	case ARM_SMCCC_VENDOR_HYP_KVM_MMIO_GUARD_UNMAP_FUNC_ID:
		ret = pkvm_guest_mmio_unmap(hyp_vcpu, ipa);
		break;
	}
out:
	*val = ret ? SMCCC_RET_INVALID_PARAMETER : SMCCC_RET_SUCCESS;

	return true;
}

/**
 * pkvm_handle_guest_hvc64() - A protected guest's hypercall.
 * @vcpu: the vCPU that just exited, its EL1 registers still in the CPU.
 * @exit_code: not used.
 *
 * Return: true when the guest has its results and goes on; false when the host
 * must do something, which pkvm_guest_hvc_exit() tells it.
 */
bool pkvm_handle_guest_hvc64(struct kvm_vcpu *vcpu, u64 *exit_code)
{
	struct pkvm_hyp_vcpu *hyp_vcpu = to_pkvm_hyp_vcpu(vcpu);
	unsigned long val[4] = { SMCCC_RET_NOT_SUPPORTED };
	u32 fn = smccc_get_function(vcpu);

	switch (fn) {
	case ARM_SMCCC_VERSION_FUNC_ID:
		/* Registers from x4 on are neither arguments nor results of any call. */
		val[0] = ARM_SMCCC_VERSION_1_2;
		break;
	case ARM_SMCCC_ARCH_FEATURES_FUNC_ID:
		val[0] = arch_features(smccc_get_arg1(vcpu));
		break;
	case ARM_SMCCC_VENDOR_HYP_CALL_UID_FUNC_ID:
		val[0] = ARM_SMCCC_VENDOR_HYP_UID_KVM_REG_0;
		val[1] = ARM_SMCCC_VENDOR_HYP_UID_KVM_REG_1;
		val[2] = ARM_SMCCC_VENDOR_HYP_UID_KVM_REG_2;
		val[3] = ARM_SMCCC_VENDOR_HYP_UID_KVM_REG_3;
		break;
	case ARM_SMCCC_VENDOR_HYP_KVM_FEATURES_FUNC_ID:
		val[0] = BIT(ARM_SMCCC_KVM_FUNC_FEATURES) |
			 BIT(ARM_SMCCC_KVM_FUNC_HYP_MEMINFO) |
			 BIT(ARM_SMCCC_KVM_FUNC_MEM_SHARE) |
			 BIT(ARM_SMCCC_KVM_FUNC_MEM_UNSHARE) |
			 BIT(ARM_SMCCC_KVM_FUNC_MMIO_GUARD_INFO) |
			 BIT(ARM_SMCCC_KVM_FUNC_MMIO_GUARD_ENROLL) |
			 BIT(ARM_SMCCC_KVM_FUNC_MMIO_GUARD) |
			 BIT(ARM_SMCCC_KVM_FUNC_MMIO_GUARD_UNMAP);
		break;
	case ARM_SMCCC_VENDOR_HYP_KVM_HYP_MEMINFO_FUNC_ID:
	case ARM_SMCCC_VENDOR_HYP_KVM_MMIO_GUARD_INFO_FUNC_ID:
		val[0] = granule_call(vcpu);
		break;
	case ARM_SMCCC_VENDOR_HYP_KVM_MMIO_GUARD_ENROLL_FUNC_ID:
		val[0] = enroll_call(hyp_vcpu);
		break;
	case ARM_SMCCC_VENDOR_HYP_KVM_MEM_SHARE_FUNC_ID:
	case ARM_SMCCC_VENDOR_HYP_KVM_MEM_UNSHARE_FUNC_ID:
	case ARM_SMCCC_VENDOR_HYP_KVM_MMIO_GUARD_FUNC_ID:
	case ARM_SMCCC_VENDOR_HYP_KVM_MMIO_GUARD_UNMAP_FUNC_ID:
		if (!page_call(hyp_vcpu, fn, &val[0]))
			return false;
		break;
	case ARM_SMCCC_TRNG_VERSION:
	case ARM_SMCCC_TRNG_FEATURES:
	case ARM_SMCCC_TRNG_GET_UUID:
	case ARM_SMCCC_TRNG_RND32:
	case ARM_SMCCC_TRNG_RND64:
		trng_call(vcpu, fn);
		return true;
	default:
		return pkvm_guest_psci_call(hyp_vcpu, fn);
	}

	smccc_set_retval(vcpu, val[0], val[1], val[2], val[3]);

	return true;
}

/**
 * pkvm_guest_is_unsharing() - Does a guest wait for the host to return a page?
 * @hyp_vcpu: a vCPU that is loaded on this CPU and does not run.
 * @ipa: address of the page.
 *
 * Return: true while its last exit was the call to unshare that very page.
 */
bool pkvm_guest_is_unsharing(struct pkvm_hyp_vcpu *hyp_vcpu, u64 ipa)
{
	struct kvm_vcpu *vcpu = &hyp_vcpu->vcpu;

	return hyp_vcpu->exit_code == ARM_EXCEPTION_TRAP &&
	       kvm_vcpu_trap_get_class(vcpu) == ESR_ELx_EC_HVC64 &&
	       smccc_get_function(vcpu) == ARM_SMCCC_VENDOR_HYP_KVM_MEM_UNSHARE_FUNC_ID &&
	       smccc_get_arg1(vcpu) == ipa;
}

/**
 * pkvm_guest_unshare_done() - The call that a guest waits in has succeeded.
 * @hyp_vcpu: a vCPU for which pkvm_guest_is_unsharing() was true.
 */
void pkvm_guest_unshare_done(struct pkvm_hyp_vcpu *hyp_vcpu)
{
	smccc_set_retval(&hyp_vcpu->vcpu, SMCCC_RET_SUCCESS, 0, 0, 0);
}

/**
 * pkvm_handle_guest_smc64() - A protected guest's SMC.
 * @vcpu: the vCPU that just exited, its EL1 registers still in the CPU.
 * @exit_code: not used.
 *
 * No call reaches the firmware. An SMC traps, so the PC is still at it.
 *
 * Return: true, the guest goes on.
 */
bool pkvm_handle_guest_smc64(struct kvm_vcpu *vcpu, u64 *exit_code)
{
	vcpu_set_reg(vcpu, 0, SMCCC_RET_NOT_SUPPORTED);
	__kvm_skip_instr(vcpu);

	return true;
}

/**
 * pkvm_guest_hvc_exit() - Show the host what it must know of a hypercall.
 * @hyp_vcpu: the vCPU, whose call pkvm_handle_guest_hvc64() did not finish.
 *
 * A call that is the host's to serve keeps its registers, to be made again. One
 * that the host is only told of gets its result here.
 */
void pkvm_guest_hvc_exit(struct pkvm_hyp_vcpu *hyp_vcpu)
{
	struct user_pt_regs *host_regs = &hyp_vcpu->host_vcpu->arch.ctxt.regs;
	struct kvm_vcpu *vcpu = &hyp_vcpu->vcpu;
	u32 fn = smccc_get_function(vcpu);
	unsigned int i, nr_regs;
	bool done = true;
	u64 ret = 0;

	switch (fn) {
	case ARM_SMCCC_VENDOR_HYP_KVM_MEM_SHARE_FUNC_ID:
	case ARM_SMCCC_VENDOR_HYP_KVM_MEM_UNSHARE_FUNC_ID:
	case ARM_SMCCC_VENDOR_HYP_KVM_MMIO_GUARD_FUNC_ID:
		nr_regs = 2;
		done = false;
		break;
	default:
		nr_regs = pkvm_guest_psci_exit(hyp_vcpu, fn, &ret);
	}

	for (i = 0; i < 4; i++) {
		u64 val = i < nr_regs ? vcpu_get_reg(vcpu, i) : 0;

		/* The upper half is not part of the function, nor of its args. */
		if (!i || !ARM_SMCCC_IS_64(fn))
			val = lower_32_bits(val);
		WRITE_ONCE(host_regs->regs[i], val);
	}

	if (done)
		smccc_set_retval(vcpu, ret, 0, 0, 0);
}

/**
 * pkvm_guest_hvc_entry() - Finish a hypercall that the host was asked to serve.
 * @hyp_vcpu: the vCPU, about to run.
 * @host_ret: what the host left in x0.
 *
 * A call that the host was only told of has its result in x0, which is no
 * function of ours: nothing is left to do then.
 */
void pkvm_guest_hvc_entry(struct pkvm_hyp_vcpu *hyp_vcpu, u64 host_ret)
{
	struct kvm_vcpu *vcpu = &hyp_vcpu->vcpu;

	switch (smccc_get_function(vcpu)) {
	case ARM_SMCCC_VENDOR_HYP_KVM_MEM_SHARE_FUNC_ID:
		break;
	case ARM_SMCCC_VENDOR_HYP_KVM_MEM_UNSHARE_FUNC_ID:
		/* Had the host returned the page, the call would be finished. */
		host_ret = -EPERM;
		break;
	case ARM_SMCCC_VENDOR_HYP_KVM_MMIO_GUARD_FUNC_ID:
		if (!host_ret && pkvm_refill_stage2_mc(hyp_vcpu))
			host_ret = -ENOMEM;
		break;
	default:
		return;
	}

	if (host_ret)
		smccc_set_retval(vcpu, SMCCC_RET_INVALID_PARAMETER, 0, 0, 0);
	else
		*vcpu_pc(vcpu) -= 4;
}
