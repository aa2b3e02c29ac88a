// SPDX-License-Identifier: GPL-2.0-only
/*
 * Hypercalls and power states of protected guests, and the power calls of the host, in
 * KTAP: each function with good and bad arguments, to the number that comes back, and
 * what the host is shown of it.
 */
#include <setjmp.h>

#include <linux/arm-smccc.h>

#include <kvm/arm_psci.h>
#include <nvhe/guest_regs.h>
#include <nvhe/trap_handler.h>

#include "spmc.h"
#include "unit.h"

#define NOT_SUPPORTED	SMCCC_RET_NOT_SUPPORTED
#define INVALID		SMCCC_RET_INVALID_PARAMETER

/* The numbers that have no name in the kernel. */
#define TRNG_INVALID	(-2)
#define TRNG_NO_ENTROPY	(-3)

#define ON		PSCI_0_2_AFFINITY_LEVEL_ON
#define OFF		PSCI_0_2_AFFINITY_LEVEL_OFF
#define PENDING		PSCI_0_2_AFFINITY_LEVEL_ON_PENDING

#define CANARY		0x5ec2e7000000UL

/* --- a guest */

/* What hvc() returns when the host has to do something. */
#define TO_HOST		0x7057

static u64 *x(void)
{
	return loaded_vcpu()->vcpu.arch.ctxt.regs.regs;
}

static u64 *host_x(void)
{
	return loaded_vcpu()->host_vcpu->arch.ctxt.regs.regs;
}

/* The guest on this CPU makes a call; its other registers are its own. */
static long hvc(u64 fn, u64 a1, u64 a2, u64 a3)
{
	struct pkvm_hyp_vcpu *hyp_vcpu = loaded_vcpu();
	u64 exit_code = ARM_EXCEPTION_TRAP, args[] = { fn, a1, a2, a3 };

	memcpy(x(), args, sizeof(args));
	for (int i = 4; i < 31; i++)
		x()[i] = CANARY + i;
	hyp_vcpu->exit_code = ARM_EXCEPTION_IRQ;
	hyp_vcpu->vcpu.arch.fault.esr_el2 = (u64)ESR_ELx_EC_HVC64 << ESR_ELx_EC_SHIFT;
	if (!pkvm_handle_guest_hvc64(&hyp_vcpu->vcpu, &exit_code)) {
		hyp_vcpu->exit_code = ARM_EXCEPTION_TRAP;
		return TO_HOST;
	}
	for (int i = 4; i < 31; i++)
		check(x()[i] == CANARY + i);

	return x()[0];
}

/* A call of one result: what else it leaves is zero. */
static long call(u64 fn, u64 a1, u64 a2, u64 a3)
{
	long ret = hvc(fn, a1, a2, a3);

	check(ret == TO_HOST || (!x()[1] && !x()[2] && !x()[3]));

	return ret;
}

/* The host is told of the call: of @nr registers of the guest's, all four are set. */
static void shown(unsigned int nr)
{
	u64 args[4];

	memcpy(args, x(), sizeof(args));
	memset(host_x(), 0xff, 31 * sizeof(u64));
	pkvm_guest_hvc_exit(loaded_vcpu());
	for (unsigned int i = 0; i < 4; i++) {
		u64 want = i < nr ? args[i] : 0;

		if (!i || !ARM_SMCCC_IS_64(args[0]))
			want = (u32)want;
		check(host_x()[i] == want);
	}
	for (int i = 4; i < 31; i++)
		check(host_x()[i] == -1UL);
}

static void test_hvc_smccc(void)
{
	start_vm(true);
	spmc.calls = 0;
	is(call(ARM_SMCCC_VERSION_FUNC_ID, 0, 0, 0), ARM_SMCCC_VERSION_1_2);
	is(call(ARM_SMCCC_ARCH_FEATURES_FUNC_ID, ARM_SMCCC_VERSION_FUNC_ID, 0, 0), 0);
	is(call(ARM_SMCCC_ARCH_FEATURES_FUNC_ID, ARM_SMCCC_ARCH_FEATURES_FUNC_ID, 0, 0), 0);
	is(call(ARM_SMCCC_ARCH_FEATURES_FUNC_ID, ARM_SMCCC_ARCH_SOC_ID, 0, 0), NOT_SUPPORTED);
	is(call(ARM_SMCCC_ARCH_FEATURES_FUNC_ID, ARM_SMCCC_HV_PV_TIME_FEATURES, 0, 0),
	   NOT_SUPPORTED);
	is(call(ARM_SMCCC_ARCH_FEATURES_FUNC_ID, -1UL, 0, 0), NOT_SUPPORTED);
	is(hvc(ARM_SMCCC_VENDOR_HYP_CALL_UID_FUNC_ID, 0, 0, 0),
	   ARM_SMCCC_VENDOR_HYP_UID_KVM_REG_0);
	check(x()[1] == ARM_SMCCC_VENDOR_HYP_UID_KVM_REG_1 &&
	      x()[2] == ARM_SMCCC_VENDOR_HYP_UID_KVM_REG_2 &&
	      x()[3] == ARM_SMCCC_VENDOR_HYP_UID_KVM_REG_3);
	/* Only what there is, so not RELINQUISH, nor what is about many pages. */
	is(call(ARM_SMCCC_VENDOR_HYP_KVM_FEATURES_FUNC_ID, 0, 0, 0), 0x1fd);
	check(!spmc.calls);
}

static void test_hvc_unknown(void)
{
	static const u32 own[] = {
		ARM_SMCCC_VERSION_FUNC_ID, ARM_SMCCC_ARCH_FEATURES_FUNC_ID,
		ARM_SMCCC_VENDOR_HYP_CALL_UID_FUNC_ID,
	};
	unsigned int known = 0;

	start_vm(true);
	spmc.calls = 0;
	/* All owners, both conventions, fast calls and yielding ones. */
	for (u32 owner = 0; owner < 64; owner++) {
		for (u32 conv = 0; conv < 4; conv++) {
			for (u32 n = 0; n < 0x40; n++) {
				u32 fn = conv << 30 | owner << 24 | (owner & 1 ? n : 0xffc0 + n);

				if (owner == 4 || owner == 6 || (!owner && conv == 2))
					continue;
				is(call(fn, n, 0, 0), NOT_SUPPORTED);
				known++;
			}
		}
	}
	check(known > 15000);
	/* In the standard ranges: PSCI to 0x1f, TRNG at 0x50, FF-A from 0x60 on. */
	for (u32 n = 0x20; n < 0x100; n++) {
		if (n >= 0x50 && n <= 0x53)
			continue;
		is(call(0x84000000 | n, 0, 0, 0), NOT_SUPPORTED);
		is(call(0xc4000000 | n, 0, 0, 0), NOT_SUPPORTED);
	}
	for (size_t i = 0; i < ARRAY_SIZE(own); i++)
		is(call(own[i] & ~(1U << 31), 0, 0, 0), NOT_SUPPORTED);
	check(!spmc.calls);
	/* SMCs: of whatever number, and the guest goes on behind it. */
	for (u32 i = 0; i < 8; i++) {
		u64 exit_code = ARM_EXCEPTION_TRAP;

		x()[0] = i & 1 ? 0x84000000 + i : ARM_SMCCC_VERSION_FUNC_ID;
		fake_el2[SYS_ELR] = 0x8000;
		fake_el2[SYS_SPSR] = PSR_MODE_EL1h | PSR_BTYPE_MASK | DBG_SPSR_SS;
		check(pkvm_handle_guest_smc64(&loaded_vcpu()->vcpu, &exit_code));
		check(x()[0] == (u64)NOT_SUPPORTED && fake_el2[SYS_ELR] == 0x8004);
		check(fake_el2[SYS_SPSR] == PSR_MODE_EL1h);
	}
	check(!spmc.calls);
}

/* Firmware that says that it does what @workaround says. */
static long workaround;

static bool says_workaround(const unsigned long *a, struct arm_smccc_res *res)
{
	check(a[0] == ARM_SMCCC_ARCH_FEATURES_FUNC_ID);
	check(a[1] == ARM_SMCCC_ARCH_WORKAROUND_1 || a[1] == ARM_SMCCC_ARCH_WORKAROUND_3);
	*res = (struct arm_smccc_res) { workaround };

	return true;
}

static long ask_workaround(long firmware, bool vectors)
{
	workaround = firmware;
	kvm_hyp_vector[fake_cpu] = (unsigned long)__kvm_hyp_vector + 4 * vectors;

	return call(ARM_SMCCC_ARCH_FEATURES_FUNC_ID, ARM_SMCCC_ARCH_WORKAROUND_1, 0, 0);
}

static void test_hvc_workarounds(void)
{
	start_vm(true);
	spmc.answer = says_workaround;
	is(ask_workaround(0, true), 0);
	/* These vectors do nothing of it. */
	is(ask_workaround(0, false), NOT_SUPPORTED);
	is(ask_workaround(1, false), 1);
	is(ask_workaround((u32)NOT_SUPPORTED, true), NOT_SUPPORTED);
	is(ask_workaround(NOT_SUPPORTED, true), NOT_SUPPORTED);
	is(ask_workaround(2, true), NOT_SUPPORTED);
	workaround = 0;
	is(call(ARM_SMCCC_ARCH_FEATURES_FUNC_ID, ARM_SMCCC_ARCH_WORKAROUND_3, 0, 0), 0);
	is(call(ARM_SMCCC_ARCH_FEATURES_FUNC_ID, ARM_SMCCC_ARCH_WORKAROUND_2, 0, 0),
	   NOT_SUPPORTED);
	kvm_host_psci_config.smccc_version = ARM_SMCCC_VERSION_1_0;
	spmc.calls = 0;
	is(ask_workaround(0, true), NOT_SUPPORTED);
	check(!spmc.calls);
}

static bool firmware_trng(const unsigned long *a, struct arm_smccc_res *res)
{
	/* Two registers of the guest's, and nothing else. */
	for (int i = 2; i < 8; i++)
		check(!a[i]);
	*res = (struct arm_smccc_res) { a[0] == ARM_SMCCC_TRNG_VERSION ? 0x10001 : -3UL,
					a[1], 2, 3 };

	return true;
}

static void test_hvc_trng(void)
{
	start_vm(true);
	/* Without an entropy source of the CPU's, the firmware's; never the host's. */
	spmc.answer = firmware_trng;
	spmc.calls = 0;
	is(hvc(ARM_SMCCC_TRNG_VERSION, 7, 8, 9), 0x10001);
	check(x()[1] == 7 && x()[2] == 2 && x()[3] == 3);
	is(hvc(ARM_SMCCC_TRNG_RND64, 64, 8, 9), -3);
	check(spmc.calls == 2);
	kvm_host_psci_config.smccc_version = ARM_SMCCC_VERSION_1_0;
	is(call(ARM_SMCCC_TRNG_RND64, 64, 8, 9), NOT_SUPPORTED);
	check(spmc.calls == 2);

	fake_rndr.there = true;
	fake_rndr.next = 0x1122334455667788;
	is(call(ARM_SMCCC_TRNG_VERSION, 0, 0, 0), 0x10000);
	is(call(ARM_SMCCC_TRNG_FEATURES, ARM_SMCCC_TRNG_RND64, 0, 0), 0);
	is(call(ARM_SMCCC_TRNG_FEATURES, ARM_SMCCC_TRNG_RND64 + 1, 0, 0), NOT_SUPPORTED);
	hvc(ARM_SMCCC_TRNG_GET_UUID, 0, 0, 0);
	/* No word of it may look like an error. */
	for (int i = 0; i < 4; i++)
		check(x()[i] && !(x()[i] >> 32) && (u32)x()[i] != (u32)NOT_SUPPORTED);
	is(call(ARM_SMCCC_TRNG_RND64, 0, 0, 0), TRNG_INVALID);
	is(call(ARM_SMCCC_TRNG_RND64, 193, 0, 0), TRNG_INVALID);
	is(call(ARM_SMCCC_TRNG_RND64, 1UL << 32, 0, 0), TRNG_INVALID);
	is(call(ARM_SMCCC_TRNG_RND64, -1UL, 0, 0), TRNG_INVALID);
	is(call(ARM_SMCCC_TRNG_RND32, 0, 0, 0), TRNG_INVALID);
	is(call(ARM_SMCCC_TRNG_RND32, 97, 0, 0), TRNG_INVALID);
	is(call(ARM_SMCCC_TRNG_RND32, 1UL << 32, 0, 0), TRNG_INVALID);
	/* As many bits as were asked for, in the last registers. */
	for (u64 bits = 1; bits <= 192; bits++) {
		u64 w[3], last = bits % 64 ? (1UL << bits % 64) - 1 : -1UL;
		unsigned int n = (bits + 63) / 64;

		fake_rndr.next = 0xfedcba9876543210;
		is(hvc(ARM_SMCCC_TRNG_RND64, bits, 0, 0), 0);
		w[0] = 0xfedcba9876543210;
		w[1] = ~w[0] * 3;
		w[2] = ~w[1] * 3;
		for (unsigned int i = 0; i < 3; i++)
			check(x()[3 - i] == (i < n ? w[i] & (i == n - 1 ? last : -1UL) : 0));
		if (bits > 96)
			continue;
		fake_rndr.next = 0xfedcba9876543210;
		is(hvc(ARM_SMCCC_TRNG_RND32, 1UL << 40 | bits, 0, 0), 0);
		w[n - 1] &= last;
		check(x()[3] == (u32)w[0] && x()[2] == w[0] >> 32);
		check(x()[1] == (n > 1 ? (u32)w[1] : 0));
	}
	/* A source that is dry for a moment, and one that is for long. */
	fake_rndr.dry = 16;
	is(hvc(ARM_SMCCC_TRNG_RND64, 64, 0, 0), 0);
	fake_rndr.dry = 17;
	is(call(ARM_SMCCC_TRNG_RND64, 64, 0, 0), TRNG_NO_ENTROPY);
	fake_rndr.dry = 0;
	check(spmc.calls == 2);
}

/* Calls about pages: what is not zero and should be, and what the host has to do. */
static void test_hvc_pages(void)
{
	static const u32 all[] = {
		ARM_SMCCC_VENDOR_HYP_KVM_MEM_SHARE_FUNC_ID,
		ARM_SMCCC_VENDOR_HYP_KVM_MEM_UNSHARE_FUNC_ID,
		ARM_SMCCC_VENDOR_HYP_KVM_MMIO_GUARD_FUNC_ID,
		ARM_SMCCC_VENDOR_HYP_KVM_MMIO_GUARD_UNMAP_FUNC_ID,
	};
	const u32 share = all[0], unshare = all[1], guard = all[2], unguard = all[3];
	const u64 top = 1UL << fake_features.pa_bits;
	struct pkvm_hyp_vcpu *hyp_vcpu;
	u64 gpa = 5 << 12;
	int slot;

	declare_ram(0, 512);
	start_vm(true);
	hyp_vcpu = loaded_vcpu();
	is(call(ARM_SMCCC_VENDOR_HYP_KVM_HYP_MEMINFO_FUNC_ID, 0, 0, 0), PAGE_SIZE);
	is(call(ARM_SMCCC_VENDOR_HYP_KVM_MMIO_GUARD_INFO_FUNC_ID, 0, 0, 0), PAGE_SIZE);
	for (int i = 0; i < 3; i++) {
		u64 a[3] = { 0 };

		a[i] = i == 2 ? 1UL << 63 : 1;
		is(call(ARM_SMCCC_VENDOR_HYP_KVM_HYP_MEMINFO_FUNC_ID, a[0], a[1], a[2]), INVALID);
		is(call(ARM_SMCCC_VENDOR_HYP_KVM_MMIO_GUARD_INFO_FUNC_ID, a[0], a[1], a[2]),
		   INVALID);
		is(call(ARM_SMCCC_VENDOR_HYP_KVM_MMIO_GUARD_ENROLL_FUNC_ID, a[0], a[1], a[2]),
		   INVALID);
		check(!pkvm_hyp_vcpu_to_hyp_vm(hyp_vcpu)->mmio_guard);
	}
	is(op_donate_guest(PFN(BLOCK), 5, 2), 0);
	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		is(call(all[i], gpa + 8, 0, 0), INVALID);
		is(call(all[i], top, 0, 0), INVALID);
		is(call(all[i], -PAGE_SIZE, 0, 0), INVALID);
		if (all[i] != guard)
			is(call(all[i], gpa, 1, 0), INVALID);
		is(call(all[i], gpa, 0, 1), INVALID);
		is(call(all[i], gpa, 0, 1UL << 32), INVALID);
	}
	is(call(unshare, gpa, 0, 0), INVALID);
	is(call(guard, gpa, 0, 0), INVALID);
	is(call(unguard, gpa, 0, 0), INVALID);
	model_check();

	/* A page that is not there yet: the host brings it, and the guest asks again. */
	hyp_vcpu->vcpu.arch.ctxt.regs.pc = 0x8004;
	is(hvc(share, 9 << 12, 0, 0), TO_HOST);
	shown(2);
	pkvm_guest_hvc_entry(hyp_vcpu, 0);
	check(*vcpu_pc(&hyp_vcpu->vcpu) == 0x8000 && x()[0] == share && x()[1] == 9 << 12);
	hyp_vcpu->vcpu.arch.ctxt.regs.pc = 0x8004;
	is(hvc(share, 9 << 12, 0, 0), TO_HOST);
	shown(2);
	pkvm_guest_hvc_entry(hyp_vcpu, -1UL);
	check(*vcpu_pc(&hyp_vcpu->vcpu) == 0x8004 && x()[0] == (u64)INVALID && !x()[1]);
	hyp_vcpu->exit_code = ARM_EXCEPTION_IRQ;
	model_check();

	is(call(share, gpa, 0, 0), 0);
	slot = gfn_slot(5);
	m.vm[0].slots[slot].shared = true;
	mpage(BLOCK)->lent = true;
	model_check();
	is(call(share, gpa, 0, 0), INVALID);
	model_check();

	/* Whatever the host answers: only the page can do it. */
	hyp_vcpu->vcpu.arch.ctxt.regs.pc = 0x8004;
	for (u64 answer = 0; answer < 2; answer++) {
		is(hvc(unshare, gpa, 0, 0), TO_HOST);
		check(pkvm_guest_is_unsharing(hyp_vcpu, gpa));
		check(!pkvm_guest_is_unsharing(hyp_vcpu, gpa + PAGE_SIZE));
		shown(2);
		pkvm_guest_hvc_entry(hyp_vcpu, answer);
		check(*vcpu_pc(&hyp_vcpu->vcpu) == 0x8004 && x()[0] == (u64)INVALID);
		check(!pkvm_guest_is_unsharing(hyp_vcpu, gpa));
		model_check();
	}
	is(hvc(unshare, gpa, 0, 0), TO_HOST);
	m.vm[0].vcpu[0].unsharing = gpa + 1;
	shown(2);
	is(op_donate_guest(PFN(BLOCK), 5, 1), 0);
	check(!x()[0] && !x()[1]);
	/* The call is over: the host's answer means nothing any more. */
	pkvm_guest_hvc_entry(hyp_vcpu, -1UL);
	check(!x()[0] && *vcpu_pc(&hyp_vcpu->vcpu) == 0x8004);

	is(call(ARM_SMCCC_VENDOR_HYP_KVM_MMIO_GUARD_ENROLL_FUNC_ID, 0, 0, 0), 0);
	m.vm[0].mmio_guard = true;
	model_check();
}

/* A guard page where EL2 has no pages for tables: the host puts some out, or not. */
static void test_hvc_guard(void)
{
	const u32 guard = ARM_SMCCC_VENDOR_HYP_KVM_MMIO_GUARD_FUNC_ID;
	u64 gpa = window_gfn(1) << PAGE_SHIFT;
	struct kvm_hyp_memcache none = { 0 };
	struct pkvm_hyp_vcpu *hyp_vcpu;

	declare_ram(0, 512);
	start_vm(true);
	hyp_vcpu = loaded_vcpu();
	for (int i = 0; i < 3; i++) {
		struct kvm_hyp_memcache kept = *host_mc();

		*vcpu_pc(&hyp_vcpu->vcpu) = 0x8004;
		is(hvc(guard, gpa, CANARY, 0), TO_HOST);
		/* The attributes in x2 are not shown. */
		shown(2);
		/* It says that it cannot; that it did, and did not; it did. */
		if (i == 1)
			*host_mc() = none;
		pkvm_guest_hvc_entry(hyp_vcpu, i ? 0 : -1UL);
		check(*vcpu_pc(&hyp_vcpu->vcpu) == (i == 2 ? 0x8000 : 0x8004));
		check(x()[0] == (i == 2 ? guard : (u64)INVALID));
		hyp_vcpu->exit_code = ARM_EXCEPTION_IRQ;
		if (i == 1)
			*host_mc() = kept;
	}
	is(call(guard, gpa, CANARY, 0), 0);
	is(call(guard, gpa, 0, 0), 0);
	is(call(guard, gpa, 0, 1), INVALID);
	is(call(ARM_SMCCC_VENDOR_HYP_KVM_MMIO_GUARD_UNMAP_FUNC_ID, gpa, 0, 0), 0);
	is(call(ARM_SMCCC_VENDOR_HYP_KVM_MMIO_GUARD_UNMAP_FUNC_ID, gpa, 0, 0), INVALID);
}

/* Another vCPU of this CPU's VM. */
static struct pkvm_hyp_vcpu *vcpu(unsigned int i)
{
	return pkvm_hyp_vcpu_to_hyp_vm(loaded_vcpu())->vcpus[i];
}

static long affinity(u64 mpidr, u64 level)
{
	long ret = call(PSCI_0_2_FN64_AFFINITY_INFO, mpidr, level, 0);

	if (!(mpidr >> 32) && !(level >> 32))
		is(call(PSCI_0_2_FN_AFFINITY_INFO, mpidr, level, 0), ret);

	return ret;
}

#define AFF(i)	(fake_mpidr(i) & MPIDR_HWID_BITMASK)

static unsigned int start_vcpus(void)
{
	unsigned int handle = make_vm(true, 4);

	for (unsigned int i = 0; i < 4; i++) {
		fake_cpu = i;
		is(op_load(handle, i), 0);
	}
	fake_cpu = 0;
	loaded_vcpu()->host_vcpu->arch.ctxt.regs.pc = 0x80000;
	host_x()[0] = 77;
	is(pkvm_power_up(loaded_vcpu()), 0);

	return handle;
}

static void test_psci_features(void)
{
	static const u32 has[] = {
		PSCI_0_2_FN_PSCI_VERSION, PSCI_0_2_FN_CPU_SUSPEND, PSCI_0_2_FN64_CPU_SUSPEND,
		PSCI_0_2_FN_CPU_OFF, PSCI_0_2_FN_CPU_ON, PSCI_0_2_FN64_CPU_ON,
		PSCI_0_2_FN_AFFINITY_INFO, PSCI_0_2_FN64_AFFINITY_INFO,
		PSCI_0_2_FN_MIGRATE_INFO_TYPE, PSCI_0_2_FN_SYSTEM_OFF,
		PSCI_0_2_FN_SYSTEM_RESET, PSCI_1_0_FN_PSCI_FEATURES,
		PSCI_1_1_FN_SYSTEM_RESET2, PSCI_1_1_FN64_SYSTEM_RESET2,
		ARM_SMCCC_VERSION_FUNC_ID,
	};
	unsigned int n = 0;

	start_vcpus();
	is(call(PSCI_0_2_FN_PSCI_VERSION, 0, 0, 0), PSCI_VERSION(1, 1));
	is(call(PSCI_0_2_FN_MIGRATE_INFO_TYPE, 0, 0, 0), PSCI_0_2_TOS_MP);
	for (size_t i = 0; i < ARRAY_SIZE(has); i++) {
		is(call(PSCI_1_0_FN_PSCI_FEATURES, has[i], 0, 0), 0);
		/* Of 32 bits, as the call is. */
		is(call(PSCI_1_0_FN_PSCI_FEATURES, 1UL << 32 | has[i], 0, 0), 0);
	}
	for (u32 i = 0; i < 0x20; i++) {
		n += !call(PSCI_1_0_FN_PSCI_FEATURES, 0x84000000 | i, 0, 0);
		n += !call(PSCI_1_0_FN_PSCI_FEATURES, 0xc4000000 | i, 0, 0);
	}
	check(n == ARRAY_SIZE(has) - 1);
	/* What is not there is said not to be, and is not. */
	for (u32 i = 0; i < 0x40; i++) {
		u32 fn = (i & 0x20 ? 0xc4000000 : 0x84000000) | (i & 0x1f);
		bool there = !call(PSCI_1_0_FN_PSCI_FEATURES, fn, 0, 0);

		if (!there)
			is(call(fn, 0, 0, 0), NOT_SUPPORTED);
	}
	/* Those of 0.1 have no number here, and the 64-bit forms are no others. */
	is(call(PSCI_0_2_FN64(0), 0, 0, 0), NOT_SUPPORTED);
	is(call(PSCI_0_2_FN64(2), 0, 0, 0), NOT_SUPPORTED);
	is(call(0x95c1ba5e, 0, 0, 0), NOT_SUPPORTED);
	model_check();
}

static void test_psci_boot(void)
{
	unsigned int handle = make_vm(true, 2);
	struct user_pt_regs *host;

	fake_cpu = 1;
	is(op_load(handle, 1), 0);
	/* Only the first one may start by itself. */
	is(pkvm_power_up(loaded_vcpu()), -EPERM);
	check(!fake_count.resets);
	fake_cpu = 0;
	is(op_load(handle, 0), 0);
	host = &loaded_vcpu()->host_vcpu->arch.ctxt.regs;
	host->pc = 0x80000;
	host->regs[0] = 0x1234567890;
	host->regs[1] = 1;
	is(pkvm_power_up(loaded_vcpu()), 0);
	check(*vcpu_pc(&loaded_vcpu()->vcpu) == 0x80000 && x()[0] == 0x1234567890 && !x()[1]);
	check(!*vcpu_cpsr(&loaded_vcpu()->vcpu) && !host->pc);
	/* Once. */
	host->pc = 0x90000;
	*vcpu_pc(&loaded_vcpu()->vcpu) = 0x80010;
	is(pkvm_power_up(loaded_vcpu()), 0);
	check(fake_count.resets == 1 && *vcpu_pc(&loaded_vcpu()->vcpu) == 0x80010);
	/* Not even when it was off in between, and nobody but the guest starts it then. */
	is(hvc(PSCI_0_2_FN_CPU_OFF, 0, 0, 0), TO_HOST);
	shown(1);
	is(pkvm_power_up(loaded_vcpu()), -EPERM);
	op_put();
	is(op_load(handle, 0), 0);
	is(pkvm_power_up(loaded_vcpu()), -EPERM);
	check(fake_count.resets == 1);
}

static void test_psci_cpu_on(void)
{
	const u64 top = 1UL << fake_features.pa_bits;

	start_vcpus();
	is(call(PSCI_0_2_FN64_CPU_ON, AFF(0), 0x1000, 0), PSCI_RET_ALREADY_ON);
	is(call(PSCI_0_2_FN64_CPU_ON, AFF(4) + 2, 0x1000, 0), PSCI_RET_INVALID_PARAMS);
	is(call(PSCI_0_2_FN64_CPU_ON, fake_mpidr(1), 0x1000, 0), PSCI_RET_INVALID_PARAMS);
	for (int bit = 0; bit < 64; bit++) {
		u64 mpidr = AFF(1) ^ 1UL << bit;

		if (mpidr == AFF(0) || mpidr == AFF(1) || mpidr == AFF(2) || mpidr == AFF(3))
			continue;
		is(call(PSCI_0_2_FN64_CPU_ON, mpidr, 0x1000, 0), PSCI_RET_INVALID_PARAMS);
	}
	/* Of the 32-bit call nobody sees the upper halves; vCPU 1 is beyond them. */
	is(call(PSCI_0_2_FN_CPU_ON, AFF(1), 0x1000, 0), PSCI_RET_INVALID_PARAMS);
	is(call(PSCI_0_2_FN64_CPU_ON, AFF(1), 0x1002, 0), PSCI_RET_INVALID_ADDRESS);
	is(call(PSCI_0_2_FN64_CPU_ON, AFF(1), 0x1001, 0), PSCI_RET_INVALID_ADDRESS);
	is(call(PSCI_0_2_FN64_CPU_ON, AFF(1), top, 0), PSCI_RET_INVALID_ADDRESS);
	is(call(PSCI_0_2_FN64_CPU_ON, AFF(1), -4UL, 0), PSCI_RET_INVALID_ADDRESS);
	for (int i = 1; i < 4; i++)
		check(vcpu(i)->power_state == OFF && !vcpu(i)->vcpu.arch.reset_state.reset);

	/* On, with what the guest says, in the state that its own next run gives it. */
	fake_el1[SYS_SCTLR] = SCTLR_ELx_EE;
	is(hvc(PSCI_0_2_FN64_CPU_ON, AFF(1), top - 4, 0xc0ffee0000001111), TO_HOST);
	shown(2);
	check(!x()[0] && !x()[1]);
	is(affinity(AFF(1), 0), PENDING);
	/* Pending, and what it starts with is no later caller's. */
	is(call(PSCI_0_2_FN64_CPU_ON, AFF(1), 0x5000, 5), PSCI_RET_ON_PENDING);
	fake_cpu = 1;
	vcpu_set_reg(&loaded_vcpu()->vcpu, 9, CANARY);
	loaded_vcpu()->host_vcpu->arch.ctxt.regs.pc = 0x6660;
	host_x()[0] = 666;
	is(pkvm_power_up(loaded_vcpu()), 0);
	check(*vcpu_pc(&loaded_vcpu()->vcpu) == top - 4 && x()[0] == 0xc0ffee0000001111);
	check(*vcpu_cpsr(&loaded_vcpu()->vcpu) == 1 && !x()[9]);
	check(!loaded_vcpu()->host_vcpu->arch.ctxt.regs.pc);
	is(affinity(AFF(1), 0), ON);
	fake_cpu = 0;
	is(call(PSCI_0_2_FN64_CPU_ON, AFF(1), 0x5000, 5), PSCI_RET_ALREADY_ON);

	/* Off and on again, little endian now. */
	fake_el1[SYS_SCTLR] = 0;
	fake_cpu = 1;
	is(hvc(PSCI_0_2_FN_CPU_OFF, 0, 0, 0), TO_HOST);
	shown(1);
	is(pkvm_power_up(loaded_vcpu()), -EPERM);
	fake_cpu = 0;
	is(affinity(AFF(1), 0), OFF);
	is(hvc(PSCI_0_2_FN64_CPU_ON, AFF(1), 0x7000, 3), TO_HOST);
	shown(2);
	fake_cpu = 1;
	is(pkvm_power_up(loaded_vcpu()), 0);
	check(*vcpu_pc(&loaded_vcpu()->vcpu) == 0x7000 && x()[0] == 3);
	check(!*vcpu_cpsr(&loaded_vcpu()->vcpu));

	/* So with the first one: the second time it starts where the guest says. */
	fake_cpu = 0;
	is(hvc(PSCI_0_2_FN_CPU_OFF, 0, 0, 0), TO_HOST);
	shown(1);
	fake_cpu = 1;
	is(hvc(PSCI_0_2_FN64_CPU_ON, AFF(0), 0x9000, 4), TO_HOST);
	shown(2);
	fake_cpu = 0;
	loaded_vcpu()->host_vcpu->arch.ctxt.regs.pc = 0x6660;
	host_x()[0] = 666;
	is(pkvm_power_up(loaded_vcpu()), 0);
	check(*vcpu_pc(&loaded_vcpu()->vcpu) == 0x9000 && x()[0] == 4);
	model_check();
}

/*
 * Two turn a vCPU on at once, which also runs: whoever is first wins, and what it
 * starts with is whole. The vCPU that runs in between waits.
 */
static void test_psci_race(void)
{
	struct pkvm_hyp_vcpu *target;

	start_vcpus();
	target = vcpu(3);
	is(hvc(PSCI_0_2_FN64_CPU_ON, AFF(1), 0x1000, 1), TO_HOST);
	shown(2);
	fake_cpu = 1;
	is(pkvm_power_up(loaded_vcpu()), 0);
	fake_cpu = 0;
	/* As the loser sees it: pending, though nothing is in the reset state yet. */
	target->power_state = PENDING;
	is(call(PSCI_0_2_FN64_CPU_ON, AFF(3), 0x2000, 2), PSCI_RET_ON_PENDING);
	check(!target->vcpu.arch.reset_state.reset && !target->vcpu.arch.reset_state.pc);
	/* As the vCPU itself sees it: it has to come again. */
	fake_cpu = 3;
	is(pkvm_power_up(loaded_vcpu()), -EAGAIN);
	check(target->power_state == PENDING && fake_count.resets == 2);
	target->power_state = OFF;
	for (unsigned int round = 0; round < 2; round++) {
		for (unsigned int caller = 0; caller < 2; caller++) {
			fake_cpu = caller ^ round;
			if (!caller) {
				is(hvc(PSCI_0_2_FN64_CPU_ON, AFF(3), 0x3000 + 16 * fake_cpu,
				       fake_cpu), TO_HOST);
				shown(2);
			} else {
				is(call(PSCI_0_2_FN64_CPU_ON, AFF(3), 0x3000 + 16 * fake_cpu,
					fake_cpu), PSCI_RET_ON_PENDING);
			}
		}
		fake_cpu = 3;
		is(pkvm_power_up(target), 0);
		check(*vcpu_pc(&target->vcpu) == 0x3000 + 16 * round && x()[0] == round);
		/* Between its call to go off and its exit somebody turns it on. */
		is(hvc(PSCI_0_2_FN_CPU_OFF, 0, 0, 0), TO_HOST);
		fake_cpu = 0;
		is(hvc(PSCI_0_2_FN64_CPU_ON, AFF(3), 0x4000, 4), TO_HOST);
		shown(2);
		fake_cpu = 3;
		shown(1);
		is(pkvm_power_up(target), 0);
		check(*vcpu_pc(&target->vcpu) == 0x4000 && x()[0] == 4);
		is(hvc(PSCI_0_2_FN_CPU_OFF, 0, 0, 0), TO_HOST);
		shown(1);
		/* What it started with is used up, whoever turns it on next. */
		target->power_state = PENDING;
		is(pkvm_power_up(target), -EAGAIN);
		target->power_state = OFF;
	}
	model_check();
}

static void test_psci_affinity(void)
{
	start_vcpus();
	for (int i = 0; i < 4; i++)
		is(affinity(AFF(i), 0), i ? OFF : ON);
	is(affinity(AFF(0), 4), PSCI_RET_INVALID_PARAMS);
	is(affinity(AFF(0), -1U), PSCI_RET_INVALID_PARAMS);
	is(call(PSCI_0_2_FN64_AFFINITY_INFO, AFF(0), 1UL << 32, 0), PSCI_RET_INVALID_PARAMS);
	is(call(PSCI_0_2_FN_AFFINITY_INFO, AFF(0), 1UL << 32, 0), ON);
	is(affinity(fake_mpidr(0), 0), PSCI_RET_INVALID_PARAMS);
	is(affinity(7, 0), PSCI_RET_INVALID_PARAMS);
	is(affinity(7, 1), ON);
	is(affinity(0x0700, 1), PSCI_RET_INVALID_PARAMS);
	is(affinity(0x0707, 2), ON);
	is(affinity(0x070707, 3), ON);
	is(affinity(0x9900000000, 3), PSCI_RET_INVALID_PARAMS);
	for (u64 level = 0; level < 4; level++) {
		is(affinity(AFF(1), level), OFF);
		is(affinity(AFF(2), level), OFF);
	}
	is(hvc(PSCI_0_2_FN64_CPU_ON, AFF(3), 0x1000, 0), TO_HOST);
	shown(2);
	for (u64 level = 0; level < 4; level++)
		is(affinity(AFF(3), level), PENDING);
	fake_cpu = 3;
	is(pkvm_power_up(loaded_vcpu()), 0);
	for (u64 level = 0; level < 4; level++)
		is(affinity(AFF(3), level), ON);
	model_check();
}

/* What the host is only told of. */
static void test_psci_told(void)
{
	static const struct {
		u32 fn;
		unsigned int shown;
		long ret;
	} calls[] = {
		{ PSCI_0_2_FN_CPU_SUSPEND, 1, 0 }, { PSCI_0_2_FN64_CPU_SUSPEND, 1, 0 },
		{ PSCI_0_2_FN_SYSTEM_OFF, 1, PSCI_RET_INTERNAL_FAILURE },
		{ PSCI_0_2_FN_SYSTEM_RESET, 1, PSCI_RET_INTERNAL_FAILURE },
		{ PSCI_1_1_FN_SYSTEM_RESET2, 3, PSCI_RET_INTERNAL_FAILURE },
		{ PSCI_1_1_FN64_SYSTEM_RESET2, 3, PSCI_RET_INTERNAL_FAILURE },
	};

	start_vcpus();
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
		u64 type = calls[i].shown == 3 ? 0x80000001 : CANARY;

		is(hvc(calls[i].fn, type, CANARY, CANARY), TO_HOST);
		shown(calls[i].shown);
		check(x()[0] == (u64)calls[i].ret && !x()[1] && !x()[2] && !x()[3]);
		/* The host's x0 is no answer. */
		pkvm_guest_hvc_entry(loaded_vcpu(), 0x6666);
		check(x()[0] == (u64)calls[i].ret);
	}
	is(call(PSCI_1_1_FN_SYSTEM_RESET2, 1, 0, 0), PSCI_RET_INVALID_PARAMS);
	is(call(PSCI_1_1_FN64_SYSTEM_RESET2, 0x7fffffff, 0, 0), PSCI_RET_INVALID_PARAMS);
	is(hvc(PSCI_1_1_FN64_SYSTEM_RESET2, 0, 0, 0), TO_HOST);
	is(hvc(PSCI_1_1_FN_SYSTEM_RESET2, 0x80000000, 0, 0), TO_HOST);
	loaded_vcpu()->exit_code = ARM_EXCEPTION_IRQ;
	model_check();
}

/* --- the host's own power calls */

static long psci_ret;
static unsigned long psci_seen[4];
static unsigned int psci_calls;

static bool psci_firmware(const unsigned long *a, struct arm_smccc_res *res)
{
	memcpy(psci_seen, a, sizeof(psci_seen));
	psci_calls++;
	*res = (struct arm_smccc_res) { psci_ret, 1, 2, 3 };

	return true;
}

static jmp_buf host;

static void enter(struct kvm_cpu_context *host_ctxt)
{
	check(host_ctxt == &fake_host_data[fake_cpu].host_ctxt);
	longjmp(host, 1);
}

#define FORWARDED	0x7057

/* What the host finds in x0, or that EL2 left the call alone. */
static long psci(u64 fn, u64 a1, u64 a2, u64 a3)
{
	struct kvm_cpu_context ctxt = { .regs.regs = { fn, a1, a2, a3 } };

	psci_calls = 0;
	if (!kvm_host_psci_handler(&ctxt, fn)) {
		check(!psci_calls && ctxt.regs.regs[0] == fn && ctxt.regs.regs[1] == a1);
		return FORWARDED;
	}
	for (int i = 1; i < 4; i++)
		check(!ctxt.regs.regs[i]);

	return ctxt.regs.regs[0];
}

/* A CPU comes back: where, and with what, does the host go on? */
static void comes_back(unsigned int cpu, bool on, u64 pc, u64 x0)
{
	fake_cpu = cpu;
	memset(fake_el2, 0, sizeof(fake_el2));
	fake_monitors[cpu].sme_barred = false;
	fake_host_enter = enter;
	if (!setjmp(host))
		__kvm_host_psci_cpu_entry(on);
	check(fake_monitors[cpu].sme_barred);
	check(fake_el2[SYS_ELR] == pc && fake_el2[SYS_SPSR] == INIT_PSTATE_EL1);
	check(fake_el1[SYS_SCTLR] == INIT_SCTLR_EL1_MMU_OFF);
	check(fake_host_data[cpu].host_ctxt.regs.regs[0] == x0);
	fake_cpu = 0;
}

#define HYP_PA(fn)	((unsigned long)(fn) + hyp_physvirt_offset)

static void test_host_psci_calls(void)
{
	static const u32 forwarded[] = {
		PSCI_0_2_FN_PSCI_VERSION, PSCI_0_2_FN_CPU_OFF, PSCI_0_2_FN64_AFFINITY_INFO,
		PSCI_0_2_FN64_MIGRATE, PSCI_0_2_FN_MIGRATE_INFO_TYPE,
		PSCI_0_2_FN64_MIGRATE_INFO_UP_CPU, PSCI_0_2_FN_SYSTEM_OFF,
		PSCI_0_2_FN_SYSTEM_RESET,
		/* Of 1.0 and later. */
		PSCI_1_0_FN_PSCI_FEATURES, PSCI_1_0_FN_SET_SUSPEND_MODE,
		PSCI_1_1_FN64_SYSTEM_RESET2,
	};
	static const u32 entries[] = {
		PSCI_0_2_FN64_CPU_SUSPEND, PSCI_0_2_FN64_CPU_ON, PSCI_1_0_FN64_SYSTEM_SUSPEND,
	};
	static const u32 versions[] = {
		PSCI_VERSION(0, 2), PSCI_VERSION(1, 0), PSCI_VERSION(1, 1), PSCI_VERSION(1, 3),
	};

	spmc.answer = psci_firmware;
	for (size_t v = 0; v < ARRAY_SIZE(versions); v++) {
		bool old = !v;

		kvm_host_psci_config.version = versions[v];
		psci_ret = 0x11223344;
		for (size_t i = 0; i < ARRAY_SIZE(forwarded); i++) {
			if (old && i >= 8) {
				is(psci(forwarded[i], 1, 2, 3), PSCI_RET_NOT_SUPPORTED);
				check(!psci_calls);
				continue;
			}
			is(psci(forwarded[i], 1, 2, 3), 0x11223344);
			check(psci_calls == 1 && psci_seen[0] == forwarded[i]);
			check(psci_seen[1] == 1 && psci_seen[2] == 2 && psci_seen[3] == 3);
		}
		/* No other one of the range reaches the firmware, as it might start a CPU. */
		for (u32 i = 0; i < 0x40; i++) {
			u32 fn = (i & 0x20 ? 0xc4000000 : 0x84000000) | (i & 0x1f);
			bool known = false;

			for (size_t j = 0; j < ARRAY_SIZE(forwarded); j++)
				known |= fn == forwarded[j];
			for (size_t j = 0; j < ARRAY_SIZE(entries); j++)
				known |= fn == entries[j];
			if (known)
				continue;
			is(psci(fn, 1, 2, 3), PSCI_RET_NOT_SUPPORTED);
			check(!psci_calls);
		}
		is(psci(0x84000020, 1, 2, 3), FORWARDED);
		is(psci(0xc4000020, 1, 2, 3), FORWARDED);
		is(psci(0x80000000, 1, 2, 3), FORWARDED);
		is(psci(0x04000003, 1, 2, 3), FORWARDED);
		is(psci(0x95c1ba5e, 1, 2, 3), FORWARDED);
	}
}

static void test_host_psci_0_1(void)
{
	struct kvm_host_psci_config *c = &kvm_host_psci_config;

	spmc.answer = psci_firmware;
	c->version = PSCI_VERSION(0, 1);
	c->function_ids_0_1.cpu_suspend = 0x95c1ba5e;
	c->function_ids_0_1.cpu_off = 0x95c1ba5f;
	c->function_ids_0_1.cpu_on = 0x95c1ba60;
	c->function_ids_0_1.migrate = 0x95c1ba61;
	psci_ret = 7;
	for (u32 fn = 0x95c1ba5d; fn < 0x95c1ba63; fn++)
		is(psci(fn, AFF(1), 2, 3), FORWARDED);
	c->psci_0_1_cpu_suspend_implemented = true;
	c->psci_0_1_cpu_off_implemented = true;
	c->psci_0_1_cpu_on_implemented = true;
	c->psci_0_1_migrate_implemented = true;
	is(psci(0x95c1ba5d, 1, 2, 3), FORWARDED);
	is(psci(0x95c1ba62, 1, 2, 3), FORWARDED);
	is(psci(0x84000003, 1, 2, 3), FORWARDED);
	is(psci(0x95c1ba5f, 1, 2, 3), 7);
	check(psci_seen[0] == 0x95c1ba5f && psci_seen[1] == 1);
	is(psci(0x95c1ba61, 1, 2, 3), 7);
	is(psci(0x95c1ba5e, 9, 0x8000, 3), 7);
	check(psci_seen[0] == 0x95c1ba5e && psci_seen[1] == 9 &&
	      psci_seen[2] == HYP_PA(kvm_hyp_cpu_resume));
	psci_ret = PSCI_RET_SUCCESS;
	is(psci(0x95c1ba60, AFF(1), 0x9000, 5), 0);
	check(psci_seen[0] == 0x95c1ba60 && psci_seen[2] == HYP_PA(kvm_hyp_cpu_entry));
	comes_back(1, true, 0x9000, 5);
}

static void test_host_psci_cpu_on(void)
{
	const u32 on = PSCI_0_2_FN64_CPU_ON;

	spmc.answer = psci_firmware;
	kvm_host_psci_config.version = PSCI_VERSION(1, 1);
	psci_ret = 0;
	/* CPUs that EL2 does not know, and names that are none: firmware is not asked. */
	for (int bit = 0; bit < 64; bit++) {
		u64 mpidr = AFF(1) ^ 1UL << bit;

		if (mpidr == AFF(0) || mpidr == AFF(1) || mpidr == AFF(2) || mpidr == AFF(3))
			continue;
		is(psci(on, mpidr, 0x8000, 1), PSCI_RET_INVALID_PARAMS);
		check(!psci_calls);
	}
	is(psci(on, -1UL, 0x8000, 1), PSCI_RET_INVALID_PARAMS);
	is(psci(on, fake_mpidr(1), 0x8000, 1), PSCI_RET_INVALID_PARAMS);
	check(!psci_calls);

	/* One that has no stage 2 for the host, as EL2 was set up without it. */
	kvm_init_params[2].hcr_el2 &= ~HCR_VM;
	is(psci(on, AFF(2), 0x8000, 1), PSCI_RET_DENIED);
	check(!psci_calls);
	kvm_protected_mode_initialized = false;
	is(psci(on, AFF(2), 0x8000, 1), 0);
	kvm_protected_mode_initialized = true;
	kvm_init_params[2].hcr_el2 |= HCR_VM;
	comes_back(2, true, 0x8000, 1);
	psci_calls = 0;

	/* Firmware starts it at EL2's entry, with EL2's words, not the host's. */
	is(psci(on, AFF(1), 0x8000, 11), 0);
	check(psci_calls == 1 && psci_seen[0] == on && psci_seen[1] == AFF(1));
	check(psci_seen[2] == HYP_PA(kvm_hyp_cpu_entry));
	check(psci_seen[3] == HYP_PA(&kvm_init_params[1]));
	/* On its way: nobody changes where it goes. */
	fake_cpu = 2;
	is(psci(on, AFF(1), 0x6660, 66), PSCI_RET_ALREADY_ON);
	check(!psci_calls);
	/* Another one meanwhile. */
	is(psci(on, AFF(3), 0xa000, 33), 0);
	comes_back(1, true, 0x8000, 11);
	comes_back(3, true, 0xa000, 33);
	/* What firmware refuses can be tried again. */
	psci_ret = PSCI_RET_ALREADY_ON;
	is(psci(on, AFF(1), 0x6660, 66), PSCI_RET_ALREADY_ON);
	check(psci_calls == 1);
	psci_ret = PSCI_RET_INTERNAL_FAILURE;
	is(psci(on, AFF(1), 0x6660, 66), PSCI_RET_INTERNAL_FAILURE);
	psci_ret = 0;
	is(psci(on, AFF(1), 0xb000, 12), 0);
	comes_back(1, true, 0xb000, 12);
}

static void test_host_psci_suspend(void)
{
	spmc.answer = psci_firmware;
	kvm_host_psci_config.version = PSCI_VERSION(1, 1);
	psci_ret = PSCI_RET_DENIED;
	is(psci(PSCI_0_2_FN64_CPU_SUSPEND, 0x10001, 0x8000, 5), PSCI_RET_DENIED);
	check(psci_seen[1] == 0x10001 && psci_seen[2] == HYP_PA(kvm_hyp_cpu_resume));
	check(psci_seen[3] == HYP_PA(&kvm_init_params[0]));
	comes_back(0, false, 0x8000, 5);
	is(psci(PSCI_1_0_FN64_SYSTEM_SUSPEND, 0x9000, 6, 7), PSCI_RET_DENIED);
	check(psci_seen[1] == HYP_PA(kvm_hyp_cpu_resume));
	check(psci_seen[2] == HYP_PA(&kvm_init_params[0]) && !psci_seen[3]);
	/* A CPU that is turned on and one that resumes do not mix up their words. */
	fake_cpu = 2;
	psci_ret = 0;
	is(psci(PSCI_0_2_FN64_CPU_ON, AFF(0), 0xa000, 8), 0);
	comes_back(0, false, 0x9000, 6);
	comes_back(0, true, 0xa000, 8);
}

/* Firmware that overwrites RAM when the machine is reset, as long as it is told to. */
static struct {
	bool refuses;
	u64 on, calls;
} ram;

static bool overwriting_firmware(const unsigned long *a, struct arm_smccc_res *res)
{
	u64 was = ram.on;

	if (a[0] != PSCI_1_1_FN_MEM_PROTECT)
		return psci_firmware(a, res);
	check(a[1] <= 1);
	ram.calls++;
	if (ram.refuses) {
		*res = (struct arm_smccc_res) { PSCI_RET_NOT_SUPPORTED };
	} else {
		ram.on = a[1];
		*res = (struct arm_smccc_res) { was };
	}

	return true;
}

/* With which call does the machine reset, when the host wants to keep RAM? */
static u64 warm_reset(void)
{
	is(psci(PSCI_1_1_FN64_SYSTEM_RESET2, 0, 0, 0), PSCI_RET_DENIED);
	check(psci_calls == 1);

	return psci_seen[0];
}

static void end_vm(unsigned int handle)
{
	is(op_start_teardown(handle), 0);
	is(op_finalize(handle), 0);
}

static void test_mem_protect(void)
{
	unsigned int a, b, c;

	spmc.answer = overwriting_firmware;
	kvm_host_psci_config.version = PSCI_VERSION(1, 1);
	psci_ret = PSCI_RET_DENIED;
	memset(&ram, 0, sizeof(ram));
	/* Nothing to protect: RAM can be kept, and the firmware is not asked. */
	c = make_vm(false, 1);
	check(!ram.calls && warm_reset() == PSCI_1_1_FN64_SYSTEM_RESET2);
	a = make_vm(true, 1);
	check(ram.on && ram.calls == 1 && warm_reset() == PSCI_0_2_FN_SYSTEM_RESET);
	/* The host cannot change that. */
	is(psci(PSCI_1_1_FN_MEM_PROTECT, 0, 0, 0), PSCI_RET_NOT_SUPPORTED);
	check(ram.on && ram.calls == 1);
	b = make_vm(true, 1);
	end_vm(a);
	end_vm(c);
	check(ram.on && ram.calls == 1 && warm_reset() == PSCI_0_2_FN_SYSTEM_RESET);
	end_vm(b);
	check(!ram.on && ram.calls == 2 && warm_reset() == PSCI_1_1_FN64_SYSTEM_RESET2);

	/* A VM that could not be made is none: its table is not aligned. */
	if (pgd_size() > PAGE_SIZE) {
		phys_addr_t vm = take(VM_SIZE), pgd = take(2 * pgd_size()), host = take(PAGE_SIZE);

		pgd += IS_ALIGNED(pgd, pgd_size()) ? PAGE_SIZE : 0;
		is(op_share_hyp(PFN(host)), 0);
		is(op_init_vm(host, vm, pgd, 1, true, &(struct pkvm_guest_ram) {}), -ENOMEM);
		check(!ram.on && ram.calls == 4);
	}

	/* Somebody else wants it, before and after. */
	ram.on = 1;
	a = make_vm(true, 1);
	check(warm_reset() == PSCI_0_2_FN_SYSTEM_RESET);
	end_vm(a);
	check(ram.on && warm_reset() == PSCI_1_1_FN64_SYSTEM_RESET2);

	/* Firmware without it, and one that can do it at the second try. */
	ram.on = 0;
	ram.refuses = true;
	a = make_vm(true, 1);
	check(!ram.on && warm_reset() == PSCI_1_1_FN64_SYSTEM_RESET2);
	ram.refuses = false;
	b = make_vm(true, 1);
	check(ram.on && warm_reset() == PSCI_0_2_FN_SYSTEM_RESET);
	end_vm(a);
	/* It stays, and is told again when the next guest ends. */
	ram.refuses = true;
	end_vm(b);
	check(ram.on && warm_reset() == PSCI_0_2_FN_SYSTEM_RESET);
	ram.refuses = false;
	a = make_vm(true, 1);
	end_vm(a);
	check(!ram.on);

	/* Too old to have such a call. */
	ram.calls = 0;
	kvm_host_psci_config.version = PSCI_VERSION(1, 0);
	a = make_vm(true, 1);
	end_vm(a);
	check(!ram.calls);
}

const struct unit psci_tests[] = {
	T_ONCE(hvc_smccc), T_ONCE(hvc_unknown), T_ONCE(hvc_workarounds), T_ONCE(hvc_trng),
	T(hvc_pages), T(hvc_guard), T_ONCE(psci_features), T_ONCE(psci_boot), T(psci_cpu_on),
	T_ONCE(psci_race), T_ONCE(psci_affinity), T_ONCE(psci_told),
	T_ONCE(host_psci_calls), T_ONCE(host_psci_0_1),
	T_ONCE(host_psci_cpu_on), T_ONCE(host_psci_suspend), T(mem_protect),
};

const unsigned int nr_psci_tests = ARRAY_SIZE(psci_tests);
