// SPDX-License-Identifier: GPL-2.0-only
/*
 * PSCI of a protected guest, which EL2 serves: which vCPU runs, where it starts
 * and with which registers is the guest's decision, and the host only learns
 * what it needs to schedule (I8). A bad call hurts nobody (I5).
 */
#include <errno.h>
#include <asm/kvm.h>
#include <linux/psci.h>
#include <linux/sizes.h>
#include <sys/ioctl.h>

#include "kselftest_harness.h"
#include "kvm_util.h"
#include "processor.h"
#include "pkvm.h"

#define TIMEOUT		120

/* What KVM resets a register to whose reset value is unknown. */
#define KVM_UNKNOWN_RESET_VALUE	0x1de7ec7edbadc0deUL

#define FN_CPU_SUSPEND		PSCI_0_2_FN64_CPU_SUSPEND
#define FN_CPU_ON		PSCI_0_2_FN64_CPU_ON
#define FN_AFFINITY_INFO	PSCI_0_2_FN64_AFFINITY_INFO

FIXTURE(psci) {
	struct pkvm_vm *vm;
	struct pkvm_vcpu *vcpu;
	struct pkvm_counters before;
};

FIXTURE_SETUP(psci)
{
	struct pkvm_opts opts = { .nr_vcpus = 3 };
	const char *why = pkvm_unavailable();

	if (why)
		SKIP(return, "%s", why);
	pkvm_counters_read(&self->before);
	self->vm = pkvm_vm_create(&opts);
	self->vcpu = pkvm_vcpu0(self->vm);
}

FIXTURE_TEARDOWN(psci)
{
	pkvm_vm_free(self->vm);
	EXPECT_TRUE(pkvm_counters_back(&self->before, -1));
}

/* ------------------------------------------------------------ guest code */

static uint64_t guest_ready[PKVM_MAX_VCPUS];

/* Two callers leave here at the same time, as far as that can be done. */
static uint64_t guest_raced_cpu_on(uint64_t me, uint64_t nr, uint64_t mpidr,
				   uint64_t entry, uint64_t arg)
{
	uint64_t i;

	WRITE_ONCE(guest_ready[me], 1);
	for (i = 0; i < nr; i++)
		while (!READ_ONCE(guest_ready[i]))
			;
	return guest_hvc(FN_CPU_ON, mpidr, entry, arg);
}

static uint64_t guest_read_canary(uint64_t cpu, uint64_t index)
{
	return READ_ONCE(pkvm_guest_cpus[cpu].canary[index]);
}

static uint64_t guest_write_canary(uint64_t cpu, uint64_t index, uint64_t val)
{
	WRITE_ONCE(pkvm_guest_cpus[cpu].canary[index], val);
	return 0;
}

static bool guest_has_keys(void)
{
	uint64_t isar1, isar2;

	asm volatile("mrs %0, S3_0_C0_C6_1" : "=r" (isar1));
	asm volatile("mrs %0, S3_0_C0_C6_2" : "=r" (isar2));
	/* APA, API, GPA, GPI; APA3, GPA3 */
	return (isar1 & 0xff000ff0) || (isar2 & 0xff00);
}

/* What a vCPU leaves behind when it is turned off. */
static uint64_t guest_spoil_registers(uint64_t val)
{
	write_sysreg(val, amair_el1);
	write_sysreg(val, afsr0_el1);
	write_sysreg(val, afsr1_el1);
	write_sysreg(val, ttbr1_el1);
	write_sysreg(val, contextidr_el1);
	write_sysreg(val, tpidr_el0);
	write_sysreg(val, tpidrro_el0);
	write_sysreg(val, par_el1);
	write_sysreg(val & 0x3ff, cntkctl_el1);
	write_sysreg(val, cntv_cval_el0);
	write_sysreg(0x01400000, fpcr);
	write_sysreg(0x1f, fpsr);
	if (guest_has_keys()) {
		asm volatile("msr S3_0_C2_C1_0, %0\n msr S3_0_C2_C1_1, %0\n"
			     "msr S3_0_C2_C1_2, %0\n msr S3_0_C2_C1_3, %0\n"
			     "msr S3_0_C2_C2_0, %0\n msr S3_0_C2_C2_1, %0\n"
			     "msr S3_0_C2_C2_2, %0\n msr S3_0_C2_C2_3, %0\n"
			     "msr S3_0_C2_C3_0, %0\n msr S3_0_C2_C3_1, %0\n"
			     :: "r" (val));
	}
	return 0;
}

static uint64_t guest_my_id(void)
{
	return guest_cpu()->id;
}

static uint64_t guest_mpidr(void)
{
	return read_sysreg(mpidr_el1) & 0xff00ffffffUL;
}

static uint64_t guest_spin(uint64_t addr)
{
	while (!READ_ONCE(*(uint64_t *)addr))
		;
	return 0;
}

/* ------------------------------------------------------------- host side */

static long psci(struct pkvm_vcpu *vcpu, uint64_t fn, uint64_t a1, uint64_t a2,
		 uint64_t a3)
{
	return (int)pkvm_must(vcpu, guest_hvc, fn, a1, a2, a3);
}

static long cpu_on(struct pkvm_vcpu *vcpu, uint64_t target)
{
	return psci(vcpu, FN_CPU_ON, target, (uintptr_t)pkvm_guest_entry,
		    (uintptr_t)&pkvm_guest_cpus[target]);
}

static bool wait_for_affinity(struct pkvm_vcpu *vcpu, uint64_t mpidr, long state)
{
	int tries = 200;

	while (psci(vcpu, FN_AFFINITY_INFO, mpidr, 0, 0) != state) {
		if (!--tries)
			return false;
		usleep(10000);
	}
	return true;
}

TEST_F_TIMEOUT(psci, version_and_features, TIMEOUT)
{
	static const uint64_t have[] = {
		PSCI_0_2_FN_PSCI_VERSION, PSCI_0_2_FN_CPU_SUSPEND,
		PSCI_0_2_FN64_CPU_SUSPEND, PSCI_0_2_FN_CPU_OFF,
		PSCI_0_2_FN_CPU_ON, PSCI_0_2_FN64_CPU_ON,
		PSCI_0_2_FN_AFFINITY_INFO, PSCI_0_2_FN64_AFFINITY_INFO,
		PSCI_0_2_FN_SYSTEM_OFF, PSCI_0_2_FN_SYSTEM_RESET,
		PSCI_1_0_FN_PSCI_FEATURES, 0x80000000,
	};
	static const uint64_t have_not[] = {
		0x84001234, 0xc4001234, PSCI_0_2_FN_MIGRATE, 0x12345678,
	};
	int i;

	EXPECT_EQ(psci(self->vcpu, PSCI_0_2_FN_PSCI_VERSION, 0, 0, 0), 0x10001);
	for (i = 0; i < ARRAY_SIZE(have); i++) {
		EXPECT_GE(psci(self->vcpu, PSCI_1_0_FN_PSCI_FEATURES, have[i], 0, 0), 0) {
			TH_LOG("function %#lx", have[i]);
		}
	}
	for (i = 0; i < ARRAY_SIZE(have_not); i++) {
		EXPECT_EQ(psci(self->vcpu, PSCI_1_0_FN_PSCI_FEATURES, have_not[i], 0, 0),
			  PSCI_RET_NOT_SUPPORTED) {
			TH_LOG("function %#lx", have_not[i]);
		}
	}
}

TEST_F_TIMEOUT(psci, i5_cpu_on_bad_target, TIMEOUT)
{
	uint64_t entry = (uintptr_t)pkvm_guest_entry;
	static const uint64_t bad[] = {
		3, 15, 0x100, 0x10000, 1UL << 32, ~0UL, 0xff00ffffffUL, 1UL << 24,
	};
	int i;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		EXPECT_EQ(psci(self->vcpu, FN_CPU_ON, bad[i], entry, 0),
			  PSCI_RET_INVALID_PARAMS) {
			TH_LOG("target %#lx", bad[i]);
		}
	}
	/* Itself. */
	EXPECT_EQ(psci(self->vcpu, FN_CPU_ON, 0, entry, 0), PSCI_RET_ALREADY_ON);
	EXPECT_EQ(psci(self->vcpu, FN_AFFINITY_INFO, 1, 0, 0),
		  PSCI_0_2_AFFINITY_LEVEL_OFF);
}

/*
 * S63: a start address where no code is. EL2 may refuse it or let that vCPU
 * fault; it may not hurt anybody else.
 */
TEST_F_TIMEOUT(psci, i5_cpu_on_bad_entry, TIMEOUT)
{
	static const uint64_t bad[] = {
		PKVM_MEM_IPA + 1, PKVM_CTL_IPA, 1UL << 52, ~0UL,
	};
	int i;

	for (i = 0; i < 2; i++) {
		long ret = psci(self->vcpu, FN_CPU_ON, i + 1, bad[i], 0);

		/* The second is an address like any other. */
		EXPECT_EQ(ret, i || self->vm->ordinary ? PSCI_RET_SUCCESS :
							 PSCI_RET_INVALID_ADDRESS);
		if (ret)
			continue;
		EXPECT_NE(pkvm_call_timeout(&self->vm->vcpus[i + 1], 100, guest_nop),
			  PKVM_RETURNED);
	}
	for (i = 2; i < ARRAY_SIZE(bad); i++)
		psci(self->vcpu, FN_CPU_ON, 1, bad[i], 0);
	EXPECT_EQ(pkvm_must(self->vcpu, guest_nop), 0);
}

/* The first and the last address that are none, and the order of the checks. */
TEST_F_TIMEOUT(psci, i5_cpu_on_entry_codes, TIMEOUT)
{
	uint64_t entry = (uintptr_t)pkvm_guest_entry;
	const uint64_t bad[] = {
		1, 2, 3, entry + 1, entry + 2, entry | 1UL << 63, entry | 1UL << 56,
		1UL << 52, 1UL << 63, ~0UL, ~3UL,
	};
	int i;

	if (self->vm->ordinary)
		SKIP(return, "an ordinary vCPU starts anywhere");
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		EXPECT_EQ(psci(self->vcpu, FN_CPU_ON, 1, bad[i], 0),
			  PSCI_RET_INVALID_ADDRESS) {
			TH_LOG("entry %#lx", bad[i]);
		}
		EXPECT_EQ(psci(self->vcpu, FN_CPU_ON, 1UL << 40, bad[i], 0),
			  PSCI_RET_INVALID_PARAMS);
	}
	EXPECT_EQ(psci(self->vcpu, FN_AFFINITY_INFO, 1, 0, 0),
		  PSCI_0_2_AFFINITY_LEVEL_OFF);
	/* Those of 32 bits have arguments of 32 bits. */
	EXPECT_EQ(psci(self->vcpu, PSCI_0_2_FN_CPU_ON, 1UL << 32 | 1, 1UL << 63 | 2, 0),
		  PSCI_RET_INVALID_ADDRESS);
	EXPECT_EQ(psci(self->vcpu, PSCI_0_2_FN_AFFINITY_INFO, 1UL << 32 | 1, 1UL << 32, 0),
		  PSCI_0_2_AFFINITY_LEVEL_OFF);
	/* On once and for all, though nobody runs it. */
	EXPECT_EQ(psci(self->vcpu, FN_CPU_ON, 1, PKVM_MEM_IPA, 0), PSCI_RET_SUCCESS);
	EXPECT_EQ(psci(self->vcpu, FN_CPU_ON, 1, PKVM_MEM_IPA, 0), PSCI_RET_ON_PENDING);
	EXPECT_EQ(psci(self->vcpu, FN_AFFINITY_INFO, 1, 0, 0),
		  PSCI_0_2_AFFINITY_LEVEL_ON_PENDING);
}

TEST_F_TIMEOUT(psci, i5_affinity_info_arguments, TIMEOUT)
{
	const struct {
		uint64_t mpidr, level;
		long ret;
	} t[] = {
		{ 0, 0, PSCI_0_2_AFFINITY_LEVEL_ON },
		{ 1, 0, PSCI_0_2_AFFINITY_LEVEL_OFF },
		{ 15, 0, PSCI_RET_INVALID_PARAMS },
		/* The vCPUs are one cluster: the lower fields do not count. */
		{ 0, 1, PSCI_0_2_AFFINITY_LEVEL_ON },
		{ 0xff, 1, PSCI_0_2_AFFINITY_LEVEL_ON },
		{ 0x100, 1, PSCI_RET_INVALID_PARAMS },
		{ 0xffff, 2, PSCI_0_2_AFFINITY_LEVEL_ON },
		{ 0x10000, 2, PSCI_RET_INVALID_PARAMS },
		{ 0xffffff, 3, PSCI_0_2_AFFINITY_LEVEL_ON },
		{ 1UL << 32, 3, PSCI_RET_INVALID_PARAMS },
		{ 0, 4, PSCI_RET_INVALID_PARAMS },
		{ 0, 5, PSCI_RET_INVALID_PARAMS },
		{ 0, 1UL << 32, PSCI_RET_INVALID_PARAMS },
		{ 0, ~0UL, PSCI_RET_INVALID_PARAMS },
		{ 1UL << 24, 0, PSCI_RET_INVALID_PARAMS },
		{ 1UL << 31, 3, PSCI_RET_INVALID_PARAMS },
		{ 1UL << 40, 3, PSCI_RET_INVALID_PARAMS },
		{ ~0UL, 0, PSCI_RET_INVALID_PARAMS },
	};
	int i;

	for (i = 0; i < ARRAY_SIZE(t); i++) {
		EXPECT_EQ(psci(self->vcpu, FN_AFFINITY_INFO, t[i].mpidr, t[i].level, 0),
			  t[i].ret) {
			TH_LOG("%#lx at level %#lx", t[i].mpidr, t[i].level);
		}
	}
}

TEST_F_TIMEOUT(psci, i8_cpu_on_and_off, TIMEOUT)
{
	struct pkvm_vcpu *second = &self->vm->vcpus[1];
	struct pkvm_thread t;

	EXPECT_EQ(psci(self->vcpu, FN_AFFINITY_INFO, 0, 0, 0),
		  PSCI_0_2_AFFINITY_LEVEL_ON);
	EXPECT_EQ(psci(self->vcpu, FN_AFFINITY_INFO, 1, 0, 0),
		  PSCI_0_2_AFFINITY_LEVEL_OFF);
	EXPECT_EQ(psci(self->vcpu, FN_AFFINITY_INFO, 9, 0, 0),
		  PSCI_RET_INVALID_PARAMS);
	EXPECT_EQ(psci(self->vcpu, FN_AFFINITY_INFO, 1, 4, 0),
		  PSCI_RET_INVALID_PARAMS);

	ASSERT_EQ(cpu_on(self->vcpu, 1), PSCI_RET_SUCCESS);
	/* Not yet run by the host: pending, or on, but not to be had again. */
	EXPECT_NE(psci(self->vcpu, FN_AFFINITY_INFO, 1, 0, 0),
		  PSCI_0_2_AFFINITY_LEVEL_OFF);
	EXPECT_NE(cpu_on(self->vcpu, 1), PSCI_RET_SUCCESS);

	EXPECT_EQ(pkvm_must(second, guest_my_id), 1);
	EXPECT_EQ(pkvm_must(second, guest_mpidr), 1);
	EXPECT_EQ(psci(self->vcpu, FN_AFFINITY_INFO, 1, 0, 0),
		  PSCI_0_2_AFFINITY_LEVEL_ON);
	EXPECT_EQ(cpu_on(self->vcpu, 1), PSCI_RET_ALREADY_ON);
	EXPECT_EQ(cpu_on(second, 0), PSCI_RET_ALREADY_ON);

	/* CPU_OFF does not return; the vCPU waits in the kernel. */
	pkvm_thread_start(&t, second, guest_hvc, PSCI_0_2_FN_CPU_OFF);
	EXPECT_TRUE(wait_for_affinity(self->vcpu, 1, PSCI_0_2_AFFINITY_LEVEL_OFF));
	EXPECT_EQ(pkvm_thread_stop(&t), -EINTR);

	/* And once more, from the start. */
	ASSERT_EQ(cpu_on(self->vcpu, 1), PSCI_RET_SUCCESS);
	EXPECT_EQ(pkvm_must(second, guest_my_id), 1);
}

/* The host is not asked whether a vCPU waits for its CPU_ON in KVM_RUN. */
TEST_F_TIMEOUT(psci, i8_cpu_on_wakes_a_waiting_vcpu, TIMEOUT)
{
	struct pkvm_thread t;

	pkvm_must(self->vcpu, guest_nop);
	pkvm_thread_start(&t, &self->vm->vcpus[2], guest_my_id);
	usleep(50000);
	EXPECT_FALSE(t.done);
	ASSERT_EQ(cpu_on(self->vcpu, 2), PSCI_RET_SUCCESS);
	EXPECT_EQ(pkvm_thread_join(&t), PKVM_RETURNED);
	EXPECT_EQ(self->vm->vcpus[2].ret, 2);
}

/* Of two vCPUs that want the same third, one gets it. */
TEST_F_TIMEOUT(psci, i5_cpu_on_race, TIMEOUT)
{
	struct pkvm_vcpu *second = &self->vm->vcpus[1];
	struct pkvm_vcpu *third = &self->vm->vcpus[2];
	uint64_t args[] = {
		2, (uintptr_t)pkvm_guest_entry, (uintptr_t)&pkvm_guest_cpus[2]
	};
	struct pkvm_thread t[2];
	int i, won = 0;

	ASSERT_EQ(cpu_on(self->vcpu, 1), PSCI_RET_SUCCESS);
	pkvm_must(second, guest_nop);

	for (i = 0; i < 2; i++)
		pkvm_thread_start(&t[i], &self->vm->vcpus[i], guest_raced_cpu_on,
				  i, 2, args[0], args[1], args[2]);
	for (i = 0; i < 2; i++) {
		long ret;

		ASSERT_EQ(pkvm_thread_join(&t[i]), PKVM_RETURNED);
		ret = (int)self->vm->vcpus[i].ret;
		won += ret == PSCI_RET_SUCCESS;
		EXPECT_TRUE(ret == PSCI_RET_SUCCESS || ret == PSCI_RET_ALREADY_ON ||
			    ret == PSCI_RET_ON_PENDING) {
			TH_LOG("caller %d got %ld", i, ret);
		}
	}
	EXPECT_EQ(won, 1);
	EXPECT_EQ(pkvm_must(third, guest_my_id), 2);
}

/* What a vCPU finds when it starts: what the guest gave it, and else reset. */
static void check_reset_state(struct __test_metadata *_metadata,
			      struct pkvm_vcpu *vcpu, int cpu)
{
	static const char * const sysregs[] = {
		"ttbr0_el1", "ttbr1_el1", "tcr_el1", "mair_el1", "vbar_el1",
		"elr_el1", "far_el1", "esr_el1", "tpidr_el1", "tpidr_el0",
		"tpidrro_el0", "contextidr_el1", "par_el1", "sp_el0",
		"cpacr_el1", "cntv_ctl_el0", "cntkctl_el1",
	};
	static const char * const more[] = {
		"amair_el1", "afsr0_el1", "afsr1_el1", "spsr_el1", "cntv_cval_el0",
		"fpcr", "fpsr", "apiakeylo", "apiakeyhi", "apibkeylo", "apibkeyhi",
		"apdakeylo", "apdakeyhi", "apdbkeylo", "apdbkeyhi", "apgakeylo",
		"apgakeyhi",
	};
	uint64_t val;
	int i;

	EXPECT_EQ(pkvm_must(vcpu, guest_read_canary, cpu, 0),
		  (uintptr_t)&pkvm_guest_cpus[cpu]);
	for (i = 1; i < 32; i++) {
		EXPECT_EQ(pkvm_must(vcpu, guest_read_canary, cpu, i), 0) {
			TH_LOG("x%d (31 is sp)", i);
		}
	}
	/* KVM's value; RES1 bits besides. MMU and caches are off; little endian. */
	val = pkvm_must(vcpu, guest_read_canary, cpu, 32);
	EXPECT_EQ(val & ~0x30d50878UL, 0) {
		TH_LOG("sctlr_el1 is %#lx", val);
	}
	/* Unknown at reset: any constant will do, but nobody's value. */
	for (i = 0; i < ARRAY_SIZE(sysregs); i++) {
		val = pkvm_must(vcpu, guest_read_canary, cpu, 33 + i);
		EXPECT_TRUE(val == 0 || val == KVM_UNKNOWN_RESET_VALUE) {
			TH_LOG("%s is %#lx", sysregs[i], val);
		}
	}
	EXPECT_EQ(pkvm_must(vcpu, guest_read_canary, cpu, 50), 1 << 2);	/* EL1 */
	EXPECT_EQ(pkvm_must(vcpu, guest_read_canary, cpu, 51), 0x3c0);	/* DAIF */
	EXPECT_EQ(pkvm_must(vcpu, guest_read_canary, cpu, 52), 0);	/* v0 to */
	EXPECT_EQ(pkvm_must(vcpu, guest_read_canary, cpu, 53), 0);	/* v31 */
	for (i = 0; i < ARRAY_SIZE(more); i++) {
		/* Keys that the CPU does not have are not written down. */
		if (i == 7 && !pkvm_must(vcpu, guest_has_keys))
			break;
		val = pkvm_must(vcpu, guest_read_canary, cpu, 54 + i);
		EXPECT_TRUE(val == 0 || val == KVM_UNKNOWN_RESET_VALUE) {
			TH_LOG("%s is %#lx", more[i], val);
		}
	}
}

/* The first vCPU has PC and x0 from the host, and nothing else. */
TEST_F_TIMEOUT(psci, i8_boot_vcpu_is_reset, TIMEOUT)
{
	uint64_t junk = pkvm_pattern(pkvm_seed(), 3);
	int i;

	/* What the host sets besides must not arrive. */
	for (i = 1; i < 31; i++)
		pkvm_set_reg(self->vcpu, ARM64_CORE_REG(regs.regs[i]), junk);
	pkvm_set_reg(self->vcpu, ARM64_CORE_REG(regs.sp), junk);
	pkvm_set_reg(self->vcpu, ARM64_CORE_REG(sp_el1), junk);
	pkvm_set_reg(self->vcpu, ARM64_CORE_REG(elr_el1), junk);
	for (i = 0; i < 32; i++)
		pkvm_set_reg(self->vcpu, KVM_REG_ARM64 | KVM_REG_SIZE_U64 |
			     KVM_REG_ARM_CORE |
			     KVM_REG_ARM_CORE_REG(fp_regs.vregs[i]), junk);
	pkvm_set_reg(self->vcpu, KVM_ARM64_SYS_REG(SYS_TTBR0_EL1), junk & ~0xfffUL);
	pkvm_set_reg(self->vcpu, KVM_ARM64_SYS_REG(SYS_TPIDR_EL1), junk);
	pkvm_set_reg(self->vcpu, KVM_ARM64_SYS_REG(SYS_AMAIR_EL1), junk);
	pkvm_set_reg(self->vcpu, KVM_ARM64_SYS_REG(SYS_AFSR0_EL1), junk);
	pkvm_set_reg(self->vcpu, KVM_ARM64_SYS_REG(SYS_CNTKCTL_EL1), 0x303);
	pkvm_set_reg(self->vcpu, KVM_ARM64_SYS_REG(SYS_SCTLR_EL1), 0x30d5087f);
	pkvm_set_reg(self->vcpu, KVM_REG_ARM_TIMER_CVAL, junk);
	pkvm_set_reg(self->vcpu, KVM_ARM64_SYS_REG(SYS_VBAR_EL1), junk & ~0x7ffUL);
	ASSERT_EQ(pkvm_set_reg(self->vcpu, ARM64_CORE_REG(regs.pc),
			       (uintptr_t)pkvm_guest_dump_entry), 0);

	check_reset_state(_metadata, self->vcpu, 0);
}

TEST_F_TIMEOUT(psci, i8_secondary_is_reset, TIMEOUT)
{
	struct pkvm_vcpu *second = &self->vm->vcpus[1];
	struct pkvm_thread t;
	int i, round;

	/* The host would rather have it elsewhere. */
	pkvm_set_reg(second, ARM64_CORE_REG(regs.pc), PKVM_HOLE_IPA);
	pkvm_set_reg(second, ARM64_CORE_REG(regs.regs[5]), 0x5555);

	/* The second time it starts with registers full of its own values. */
	for (round = 0; round < 2; round++) {
		for (i = 0; i < 71; i++)
			pkvm_must(self->vcpu, guest_write_canary, 1, i, ~0UL);
		ASSERT_EQ(psci(self->vcpu, FN_CPU_ON, 1,
			       (uintptr_t)pkvm_guest_dump_entry,
			       (uintptr_t)&pkvm_guest_cpus[1]), PSCI_RET_SUCCESS);
		check_reset_state(_metadata, second, 1);
		pkvm_must(second, guest_spoil_registers, pkvm_pattern(round, 1));
		pkvm_thread_start(&t, second, guest_hvc, PSCI_0_2_FN_CPU_OFF,
				  ~0UL, ~0UL, ~0UL);
		ASSERT_TRUE(wait_for_affinity(self->vcpu, 1,
					      PSCI_0_2_AFFINITY_LEVEL_OFF));
		EXPECT_EQ(pkvm_thread_stop(&t), -EINTR);
	}
}

/* A vCPU that the guest did not start does not run, whatever the host says. */
TEST_F_TIMEOUT(psci, i8_host_cannot_start_a_vcpu, TIMEOUT)
{
	struct kvm_mp_state state = { .mp_state = KVM_MP_STATE_RUNNABLE };
	struct pkvm_vcpu *second = &self->vm->vcpus[1];
	struct pkvm_thread t;

	pkvm_set_reg(second, ARM64_CORE_REG(regs.pc), (uintptr_t)pkvm_guest_entry);
	pkvm_set_reg(second, ARM64_CORE_REG(regs.regs[0]),
		     (uintptr_t)&pkvm_guest_cpus[1]);
	pkvm_must(self->vcpu, guest_nop);

	ioctl(second->fd, KVM_SET_MP_STATE, &state);
	EXPECT_LT(pkvm_call_timeout(second, 200, guest_nop), 0);
	EXPECT_TRUE(second->pending);
	EXPECT_EQ(psci(self->vcpu, FN_AFFINITY_INFO, 1, 0, 0),
		  PSCI_0_2_AFFINITY_LEVEL_OFF);

	/* One that the guest switched off stays off as well. */
	ASSERT_EQ(cpu_on(self->vcpu, 2), PSCI_RET_SUCCESS);
	pkvm_must(&self->vm->vcpus[2], guest_nop);
	pkvm_thread_start(&t, &self->vm->vcpus[2], guest_hvc, PSCI_0_2_FN_CPU_OFF);
	ASSERT_TRUE(wait_for_affinity(self->vcpu, 2, PSCI_0_2_AFFINITY_LEVEL_OFF));
	EXPECT_LT(pkvm_thread_stop(&t), 0);
	ioctl(self->vm->vcpus[2].fd, KVM_SET_MP_STATE, &state);
	pkvm_vcpu_init(&self->vm->vcpus[2], false);
	EXPECT_LT(pkvm_call_timeout(&self->vm->vcpus[2], 200, guest_nop), 0);
	EXPECT_EQ(psci(self->vcpu, FN_AFFINITY_INFO, 2, 0, 0),
		  PSCI_0_2_AFFINITY_LEVEL_OFF);
}

/* Only one vCPU starts where the host says: the first of the guest. */
TEST_F_TIMEOUT(psci, i8_second_runnable_vcpu_is_refused, TIMEOUT)
{
	struct pkvm_opts opts = { .nr_vcpus = 2, .all_on = true };
	struct pkvm_vm *vm = pkvm_vm_create(&opts);
	int first, second;

	pkvm_set_reg(&vm->vcpus[1], ARM64_CORE_REG(regs.pc),
		     (uintptr_t)pkvm_guest_entry);
	pkvm_set_reg(&vm->vcpus[1], ARM64_CORE_REG(regs.regs[0]),
		     (uintptr_t)&pkvm_guest_cpus[1]);
	first = pkvm_call(&vm->vcpus[0], guest_nop);
	second = pkvm_call(&vm->vcpus[1], guest_nop);
	/* The VM may be refused as a whole, too. */
	EXPECT_TRUE(first < 0 || second < 0) {
		TH_LOG("both vCPUs ran: %d %d", first, second);
	}
	TH_LOG("KVM_RUN: %d and %d", first, second);
	pkvm_vm_free(vm);
}

static void expect_system_event(struct __test_metadata *_metadata,
				struct pkvm_vcpu *vcpu, uint64_t fn, uint32_t type)
{
	ASSERT_EQ(pkvm_call(vcpu, guest_hvc, fn), PKVM_EXIT);
	EXPECT_EQ(vcpu->run->exit_reason, KVM_EXIT_SYSTEM_EVENT);
	EXPECT_EQ(vcpu->run->system_event.type, type);
}

TEST_F_TIMEOUT(psci, system_off_exits, TIMEOUT)
{
	expect_system_event(_metadata, self->vcpu, PSCI_0_2_FN_SYSTEM_OFF,
			    KVM_SYSTEM_EVENT_SHUTDOWN);
}

TEST_F_TIMEOUT(psci, system_reset_exits, TIMEOUT)
{
	expect_system_event(_metadata, self->vcpu, PSCI_0_2_FN_SYSTEM_RESET,
			    KVM_SYSTEM_EVENT_RESET);
}

/*
 * A VMM asks for the type and the cookie of a reset that has them, and takes an error
 * for a crash. It gets these two, and for no other reason.
 */
TEST_F_TIMEOUT(psci, i8_system_reset2_shows_its_arguments, TIMEOUT)
{
	uint64_t x1 = ARM64_CORE_REG(regs.regs[1]), x2 = ARM64_CORE_REG(regs.regs[2]);
	uint64_t val;

	pkvm_must(self->vcpu, guest_nop);
	EXPECT_EQ(pkvm_get_reg(self->vcpu, x1, &val), -EPERM);

	ASSERT_EQ(pkvm_call(self->vcpu, guest_hvc, PSCI_1_1_FN64_SYSTEM_RESET2,
			    0x80000001, 0x123456789aUL), PKVM_EXIT);
	EXPECT_EQ(self->vcpu->run->exit_reason, KVM_EXIT_SYSTEM_EVENT);
	EXPECT_EQ(self->vcpu->run->system_event.type, KVM_SYSTEM_EVENT_RESET);
	EXPECT_EQ(self->vcpu->run->system_event.ndata, 1);
	EXPECT_EQ(self->vcpu->run->system_event.data[0],
		  KVM_SYSTEM_EVENT_RESET_FLAG_PSCI_RESET2);

	EXPECT_EQ(pkvm_get_reg(self->vcpu, x1, &val), 0);
	EXPECT_EQ(val, 0x80000001);
	EXPECT_EQ(pkvm_get_reg(self->vcpu, x2, &val), 0);
	EXPECT_EQ(val, 0x123456789aUL);
	EXPECT_EQ(pkvm_get_reg(self->vcpu, ARM64_CORE_REG(regs.regs[3]), &val), -EPERM);
	EXPECT_EQ(pkvm_get_reg(self->vcpu, ARM64_CORE_REG(regs.pc), &val), -EPERM);
	EXPECT_EQ(pkvm_set_reg(self->vcpu, x1, 0), -EPERM);
}

/* One that has none shows none. */
TEST_F_TIMEOUT(psci, i8_system_reset_shows_nothing, TIMEOUT)
{
	uint64_t val;

	expect_system_event(_metadata, self->vcpu, PSCI_0_2_FN_SYSTEM_RESET,
			    KVM_SYSTEM_EVENT_RESET);
	EXPECT_EQ(pkvm_get_reg(self->vcpu, ARM64_CORE_REG(regs.regs[1]), &val), -EPERM);
	EXPECT_EQ(pkvm_get_reg(self->vcpu, ARM64_CORE_REG(regs.regs[2]), &val), -EPERM);
}

TEST_F_TIMEOUT(psci, system_off_of_a_secondary, TIMEOUT)
{
	struct pkvm_thread t;

	/* While another vCPU is busy in the guest. */
	ASSERT_EQ(cpu_on(self->vcpu, 1), PSCI_RET_SUCCESS);
	pkvm_thread_start(&t, self->vcpu, guest_spin, PKVM_MEM_IPA);
	expect_system_event(_metadata, &self->vm->vcpus[1], PSCI_0_2_FN_SYSTEM_OFF,
			    KVM_SYSTEM_EVENT_SHUTDOWN);
	EXPECT_NE(pkvm_thread_stop(&t), PKVM_RETURNED);
}

/* A suspended vCPU waits, is woken, and finds success and its registers. */
TEST_F_TIMEOUT(psci, i8_cpu_suspend_returns, TIMEOUT)
{
	int stop, tries;

	pkvm_must(self->vcpu, guest_nop);
	stop = pkvm_call_timeout(self->vcpu, 50, guest_hvc, FN_CPU_SUSPEND, 0,
				 PKVM_HOLE_IPA, 0x77);
	for (tries = 0; stop == -EINTR && tries < 20; tries++)
		stop = pkvm_resume_timeout(self->vcpu, 100);
	ASSERT_EQ(stop, PKVM_RETURNED);
	EXPECT_EQ((int)self->vcpu->ret, PSCI_RET_SUCCESS);
}

TEST_HARNESS_MAIN
