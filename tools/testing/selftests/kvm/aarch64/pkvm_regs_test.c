// SPDX-License-Identifier: GPL-2.0-only
/*
 * The registers of a protected guest (I8): at each exit the host gets what that
 * exit needs and no more, what it answers changes nothing else, and the system
 * registers that the guest reads describe a machine without what is not
 * isolated. The guest fills all registers with values that cannot occur by
 * chance, leaves for the host in every way there is, and compares.
 */
#include <errno.h>
#include <asm/kvm.h>
#include <linux/psci.h>
#include <linux/sizes.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "kselftest_harness.h"
#include "kvm_util.h"
#include "processor.h"
#include "pkvm.h"

#define TIMEOUT		120
#define MAX_SLICE	256	/* bytes of an SVE register's longest slice */

/* ------------------------------------------------------------- guest code */

#define REG(n)		BIT(n)

/* Runs a function that faults; returns the number of exceptions. */
static uint64_t guest_catch_in(uint64_t fn, uint64_t arg)
{
	struct pkvm_guest_cpu *cpu = guest_cpu();

	cpu->caught = 0;
	WRITE_ONCE(cpu->catching, 1);
	((uint64_t (*)(uint64_t))fn)(arg);
	return guest_report_caught();
}

/* Indexes into guest_mrs_stubs. */
#define FIRST_WITH_FIELDS	27
#define FIRST_READABLE		31
#define FIRST_UNDEFINED		49
#define FIRST_DEBUG		61
#define NR_SYSREGS		67

static uint64_t guest_call_stub(uint64_t stubs, uint64_t index, uint64_t arg)
{
	struct pkvm_guest_cpu *cpu = guest_cpu();
	typeof(guest_mrs_stubs) *fn;

	fn = (void *)(stubs + PKVM_STUB_SIZE * index);
	/* All that the guest can trap by itself is allowed: SME, FP, SVE. */
	write_sysreg(3UL << 24 | 3UL << 20 | 3UL << 16, cpacr_el1);
	isb();
	cpu->caught = 0;
	WRITE_ONCE(cpu->catching, 1);
	return fn(arg);
}

/* Returns the number of exceptions, the value is out[4]. */
static uint64_t guest_read_sysreg(uint64_t index)
{
	guest_out(4, guest_call_stub((uintptr_t)guest_mrs_stubs, index, 0xdead));
	return guest_report_caught();
}

static uint64_t guest_write_debug(uint64_t index, uint64_t val)
{
	guest_call_stub((uintptr_t)guest_msr_debug_stubs, index - FIRST_DEBUG, val);
	asm volatile("msr S2_0_C1_C0_4, xzr" ::: "memory");	/* OSLAR_EL1 */
	isb();
	return guest_report_caught();
}

static uint64_t guest_cntvct(void)
{
	isb();
	return read_sysreg(cntvct_el0);
}

static uint64_t guest_ctr(void)
{
	return read_sysreg(ctr_el0);
}

static uint64_t guest_clidr(void)
{
	return read_sysreg(clidr_el1);
}

/* The CPU interface of the GIC, as a kernel sets it up. */
static uint64_t guest_gic_cpu_interface(void)
{
	struct pkvm_guest_cpu *cpu = guest_cpu();
	uint64_t sre, pmr, enabled = 0, irq = 0;

	cpu->caught = 0;
	WRITE_ONCE(cpu->catching, 1);
	asm volatile("mrs %0, S3_0_C12_C12_5" : "=r" (sre));	/* SRE */
	asm volatile("msr S3_0_C4_C6_0, %0" :: "r" (0xf0UL));	/* PMR */
	asm volatile("mrs %0, S3_0_C4_C6_0" : "=r" (pmr));
	asm volatile("msr S3_0_C12_C12_7, %0" :: "r" (1UL));	/* IGRPEN1 */
	asm volatile("msr S3_0_C12_C12_3, xzr" ::);		/* BPR1 */
	isb();
	asm volatile("mrs %0, S3_0_C12_C12_7" : "=r" (enabled));
	asm volatile("mrs %0, S3_0_C12_C12_0" : "=r" (irq));	/* IAR1 */
	guest_out(4, sre);
	guest_out(5, pmr);
	guest_out(6, enabled);
	guest_out(7, irq);
	return guest_report_caught();
}

#define TRY_APR(bit, reg)							\
do {										\
	const unsigned int _bit = (bit);					\
										\
	cpu->caught = 0;							\
	asm volatile("mrs %0, " #reg : "=r" (val));				\
	seen |= (uint64_t)!READ_ONCE(cpu->caught) << _bit;			\
	cpu->caught = 0;							\
	asm volatile("msr " #reg ", xzr\n isb" ::: "memory");			\
	written |= (uint64_t)!READ_ONCE(cpu->caught) << _bit;			\
} while (0)

/* Which active priorities registers can be read, and (in out[4]) written. */
static uint64_t guest_active_priorities(void)
{
	struct pkvm_guest_cpu *cpu = guest_cpu();
	uint64_t val, seen = 0, written = 0;

	WRITE_ONCE(cpu->catching, 1);
	TRY_APR(0, S3_0_C12_C8_4);
	TRY_APR(1, S3_0_C12_C8_5);
	TRY_APR(2, S3_0_C12_C8_6);
	TRY_APR(3, S3_0_C12_C8_7);
	TRY_APR(4, S3_0_C12_C9_0);
	TRY_APR(5, S3_0_C12_C9_1);
	TRY_APR(6, S3_0_C12_C9_2);
	TRY_APR(7, S3_0_C12_C9_3);
	guest_report_caught();
	guest_out(4, written);
	return seen;
}

/* A load or a store of 2, 4 or 8 bytes; returns the number of exceptions. */
static uint64_t guest_try_unaligned(uint64_t addr, uint64_t size, uint64_t store, uint64_t val)
{
	struct pkvm_guest_cpu *cpu = guest_cpu();

	cpu->caught = 0;
	WRITE_ONCE(cpu->catching, 1);
	if (size == 2 && store)
		asm volatile("strh %w0, [%1]" :: "r" (val), "r" (addr) : "memory");
	else if (size == 2)
		asm volatile("ldrh %w0, [%1]" : "+r" (val) : "r" (addr) : "memory");
	else if (size == 4 && store)
		asm volatile("str %w0, [%1]" :: "r" (val), "r" (addr) : "memory");
	else if (size == 4)
		asm volatile("ldr %w0, [%1]" : "+r" (val) : "r" (addr) : "memory");
	else if (store)
		asm volatile("str %0, [%1]" :: "r" (val), "r" (addr) : "memory");
	else
		asm volatile("ldr %0, [%1]" : "+r" (val) : "r" (addr) : "memory");
	guest_out(4, val);
	return guest_report_caught();
}

#define NR_SVE_INSNS	8

/* One instruction of SVE or SME, when the FP registers are the guest's already. */
static uint64_t guest_try_sve(uint64_t index)
{
	static uint64_t buf[MAX_SLICE / 8] __aligned(16);
	struct pkvm_guest_cpu *cpu = guest_cpu();
	uint64_t val;

	write_sysreg(3UL << 24 | 3UL << 20 | 3UL << 16, cpacr_el1);
	isb();
	asm volatile("fmov d31, xzr" ::: "memory");
	cpu->caught = 0;
	WRITE_ONCE(cpu->catching, 1);
	asm volatile(".arch_extension sve");
	switch (index) {
	case 0:
		asm volatile("rdvl %0, #1" : "=r" (val));
		break;
	case 1:
		asm volatile("ptrue p0.b" :::);
		break;
	case 2:
		asm volatile("rdffr p0.b" :::);
		break;
	case 3:
		asm volatile("str p0, [%0]" :: "r" (buf) : "memory");
		break;
	case 4:
		asm volatile("str z31, [%0]" :: "r" (buf) : "memory");
		break;
	case 5:
		asm volatile("dup z31.b, #0" :::);
		break;
	case 6:
		asm volatile("setffr" :::);
		break;
	case 7:
		asm volatile(".inst 0xd503477f" :::);		/* smstart */
		break;
	}
	return guest_report_caught();
}

/* What the guest has in some of the registers, and then new values. */
static uint64_t guest_swap_regs(uint64_t q, uint64_t fpsr, uint64_t user, uint64_t el1)
{
	uint64_t low, high;

	asm volatile("mov %0, v31.d[0]\n\tmov %1, v31.d[1]\n\tdup v31.2d, %2"
		     : "=&r" (low), "=&r" (high) : "r" (q));
	guest_out(2, low);
	guest_out(3, high);
	guest_out(4, read_sysreg(fpsr));
	guest_out(5, read_sysreg(tpidr_el0));
	guest_out(6, read_sysreg(far_el1));
	write_sysreg(fpsr, fpsr);
	write_sysreg(user, tpidr_el0);
	write_sysreg(el1, far_el1);
	return 0;
}

/* --------------------------------------------------------------- host side */

FIXTURE(regs) {
	struct pkvm_vm *vm;
	struct pkvm_vcpu *vcpu;
	struct pkvm_counters before;
	uint64_t seed;
};

FIXTURE_SETUP(regs)
{
	const char *why = pkvm_unavailable();

	if (why)
		SKIP(return, "%s", why);
	pkvm_counters_read(&self->before);
	self->seed = pkvm_seed();
	self->vm = pkvm_vm_create(NULL);
	self->vcpu = pkvm_vcpu0(self->vm);
	pkvm_must(self->vcpu, guest_make_canaries, self->seed);
}

FIXTURE_TEARDOWN(regs)
{
	pkvm_vm_free(self->vm);
	EXPECT_TRUE(pkvm_counters_back(&self->before, -1));
}

/*
 * How many of the guest's values, whole or the upper half of one, are in this
 * memory. Any alignment of four.
 */
static size_t canaries_in(const void *mem, size_t size, uint64_t seed)
{
	uint32_t high[32 + 2 * PKVM_NR_Q];
	const uint32_t *p = mem;
	size_t i, found = 0;
	int j;

	for (j = 0; j < ARRAY_SIZE(high); j++)
		high[j] = pkvm_pattern(seed, j) >> 32;
	for (i = 0; i < size / 4; i++) {
		for (j = 0; j < ARRAY_SIZE(high); j++)
			found += p[i] == high[j];
	}
	return found;
}

/* What the kernel left in the vector registers of its caller. */
static size_t canaries_in_host_vectors(uint64_t seed)
{
	uint64_t q[2 * PKVM_NR_Q], *p = q;

	asm volatile("st1 {v0.2d-v3.2d}, [%0], #64\n"
		     "st1 {v4.2d-v7.2d}, [%0], #64\n"
		     "st1 {v8.2d-v11.2d}, [%0], #64\n"
		     "st1 {v12.2d-v15.2d}, [%0], #64\n"
		     "st1 {v16.2d-v19.2d}, [%0], #64\n"
		     "st1 {v20.2d-v23.2d}, [%0], #64\n"
		     "st1 {v24.2d-v27.2d}, [%0], #64\n"
		     "st1 {v28.2d-v31.2d}, [%0], #64\n"
		     : "+r" (p) :: "memory");
	return canaries_in(q, sizeof(q), seed);
}

/* After an exit: nothing of the guest is where the VMM can read. */
static void expect_no_canaries(struct __test_metadata *_metadata,
			       struct pkvm_vcpu *vcpu, uint64_t seed)
{
	EXPECT_EQ(canaries_in_host_vectors(seed), 0);
	EXPECT_EQ(canaries_in(vcpu->run, vcpu->run_size, seed), 0);
}

/* An answer that says as many wrong things as it can. */
static void scribble(struct pkvm_vcpu *vcpu, const uint64_t *data)
{
	struct kvm_run *run = vcpu->run;

	memset(&run->mmio, 0xee, sizeof(run->mmio));
	if (data)
		memcpy(run->mmio.data, data, 8);
	memset(&run->s, 0xee, sizeof(run->s));
}

static const struct {
	const char *name;
	uint64_t fn;
	int len;
} stores[] = {
	{ "strb", (uint64_t)guest_canary_strb, 1 },
	{ "strh", (uint64_t)guest_canary_strh, 2 },
	{ "str w", (uint64_t)guest_canary_strw, 4 },
	{ "str x", (uint64_t)guest_canary_strx, 8 },
	{ "str xzr", (uint64_t)guest_canary_strzr, 8 },
};

/* S50, S51, S53 */
TEST_F_TIMEOUT(regs, i8_mmio_stores, TIMEOUT)
{
	struct pkvm_vcpu *vcpu = self->vcpu;
	struct kvm_run *run = vcpu->run;
	uint64_t data, want, round;
	int i;

	for (round = 0; round < 2; round++) {
		for (i = 0; i < ARRAY_SIZE(stores); i++) {
			memset(&run->mmio, 0, sizeof(run->mmio));
			want = i == 4 ? 0 : pkvm_pattern(self->seed, 7);
			if (stores[i].len < 8)
				want &= BIT(8 * stores[i].len) - 1;

			ASSERT_EQ(pkvm_call(vcpu, stores[i].fn, PKVM_DEV_IPA + 8 * i),
				  PKVM_EXIT);
			EXPECT_EQ(run->exit_reason, KVM_EXIT_MMIO);
			EXPECT_EQ(run->mmio.phys_addr, PKVM_DEV_IPA + 8 * i);
			EXPECT_EQ(run->mmio.len, stores[i].len);
			EXPECT_EQ(run->mmio.is_write, 1);
			memcpy(&data, run->mmio.data, 8);
			EXPECT_EQ(data, want) {
				TH_LOG("%s", stores[i].name);
			}
			/* That much the guest has said itself. */
			memset(run->mmio.data, 0, 8);
			expect_no_canaries(_metadata, vcpu, self->seed);

			if (round)
				scribble(vcpu, NULL);
			ASSERT_EQ(pkvm_resume(vcpu), PKVM_RETURNED);
			EXPECT_EQ(vcpu->ret, 0) {
				TH_LOG("%s: registers %#lx changed", stores[i].name,
				       vcpu->ret);
			}
		}
	}
}

static const struct {
	const char *name;
	uint64_t fn;
	int len;
	bool sign;
	bool to_w;
} loads[] = {
	{ "ldrb", (uint64_t)guest_canary_ldrb, 1, false, true },
	{ "ldrh", (uint64_t)guest_canary_ldrh, 2, false, true },
	{ "ldr w", (uint64_t)guest_canary_ldrw, 4, false, true },
	{ "ldr x", (uint64_t)guest_canary_ldrx, 8, false, false },
	{ "ldrsb w", (uint64_t)guest_canary_ldrsb_w, 1, true, true },
	{ "ldrsb x", (uint64_t)guest_canary_ldrsb_x, 1, true, false },
	{ "ldrsh w", (uint64_t)guest_canary_ldrsh_w, 2, true, true },
	{ "ldrsh x", (uint64_t)guest_canary_ldrsh_x, 2, true, false },
	{ "ldrsw x", (uint64_t)guest_canary_ldrsw_x, 4, true, false },
};

/* S52, S53: the answer is as wide as the access, whatever the host says. */
TEST_F_TIMEOUT(regs, i8_mmio_loads, TIMEOUT)
{
	static const uint64_t answers[] = {
		0, ~0UL, 0x8182838485868788, 0x7172737475767778,
		0xffffffff00000000, 0x80, 0x8000, 0x80000000, 1UL << 63,
	};
	struct pkvm_vcpu *vcpu = self->vcpu;
	struct kvm_run *run = vcpu->run;
	int i, j, shift;
	uint64_t want;

	for (i = 0; i < ARRAY_SIZE(loads); i++) {
		for (j = 0; j < ARRAY_SIZE(answers); j++) {
			shift = 64 - 8 * loads[i].len;
			want = answers[j] << shift;
			want = loads[i].sign ? (uint64_t)((int64_t)want >> shift) :
					       want >> shift;
			if (loads[i].to_w)
				want &= 0xffffffff;

			memset(&run->mmio, 0, sizeof(run->mmio));
			ASSERT_EQ(pkvm_call(vcpu, loads[i].fn, PKVM_DEV_IPA, REG(7)),
				  PKVM_EXIT);
			EXPECT_EQ(run->exit_reason, KVM_EXIT_MMIO);
			EXPECT_EQ(run->mmio.len, loads[i].len);
			EXPECT_EQ(run->mmio.is_write, 0);
			expect_no_canaries(_metadata, vcpu, self->seed);
			scribble(vcpu, &answers[j]);
			ASSERT_EQ(pkvm_resume(vcpu), PKVM_RETURNED);
			EXPECT_EQ(vcpu->ret, 0) {
				TH_LOG("%s: registers %#lx changed", loads[i].name,
				       vcpu->ret);
			}
			EXPECT_EQ(vcpu->out[7], want) {
				TH_LOG("%s of %#lx", loads[i].name, answers[j]);
			}
		}
	}
	/* To the zero register: nothing changes, x31 is not SP. */
	ASSERT_EQ(pkvm_call(vcpu, guest_canary_ldr_zr, PKVM_DEV_IPA), PKVM_EXIT);
	scribble(vcpu, &answers[1]);
	ASSERT_EQ(pkvm_resume(vcpu), PKVM_RETURNED);
	EXPECT_EQ(vcpu->ret, 0);
}

/* Exits that user space does not see, and those that do not leave EL2. */
TEST_F_TIMEOUT(regs, i8_other_exits_change_nothing, TIMEOUT)
{
	static const struct {
		const char *name;
		uint64_t fn, arg, may_change;
	} ops[] = {
		{ "nop", (uint64_t)guest_canary_nop, 0, 0 },
		{ "fault on new memory, store", (uint64_t)guest_canary_strx,
			PKVM_MEM_IPA + SZ_64K, 0 },
		{ "fault on new memory, load", (uint64_t)guest_canary_ldrx,
			PKVM_MEM_IPA + 2 * SZ_64K, REG(7) },
		{ "hvc version", (uint64_t)guest_canary_hvc, 0x80000000, 0xf },
		{ "hvc psci version", (uint64_t)guest_canary_hvc,
			PSCI_0_2_FN_PSCI_VERSION, 0xf },
		{ "hvc unknown", (uint64_t)guest_canary_hvc, 0xc600ffff, 0xf },
		{ "hvc share, bad", (uint64_t)guest_canary_hvc, PKVM_HVC_SHARE, 0xf },
		{ "smc", (uint64_t)guest_canary_smc, 0x80000000, 0xf },
		{ "mrs revidr", (uint64_t)guest_canary_revidr, 0, REG(7) },
		{ "mrs ccsidr", (uint64_t)guest_canary_ccsidr, 0, REG(7) },
		{ "mrs id_aa64pfr0", (uint64_t)guest_canary_id_reg, 0, REG(7) },
		{ "msr mdscr", (uint64_t)guest_canary_mdscr, 0, 0 },
		{ "msr icc_sgi1r", (uint64_t)guest_canary_sgi, 0, 0 },
		{ "load from the GIC", (uint64_t)guest_canary_ldrw,
			PKVM_GICD_IPA, REG(7) },
		{ "store to the GIC", (uint64_t)guest_canary_strw,
			PKVM_GICD_IPA + 0x420, 0 },
	};
	int i, round;

	for (round = 0; round < 3; round++) {
		for (i = 0; i < ARRAY_SIZE(ops); i++) {
			EXPECT_EQ(pkvm_must(self->vcpu, ops[i].fn, ops[i].arg,
					    ops[i].may_change), 0) {
				TH_LOG("%s: registers %#lx changed", ops[i].name,
				       self->vcpu->ret);
			}
			expect_no_canaries(_metadata, self->vcpu, self->seed);
		}
	}
}

TEST_F_TIMEOUT(regs, i8_wfi, TIMEOUT)
{
	int stop, i, tries;

	for (i = 0; i < 3; i++) {
		/* Woken by a signal, it goes on after the WFI when run again. */
		stop = pkvm_call_timeout(self->vcpu, 50, guest_canary_wfi, 0, 0);
		expect_no_canaries(_metadata, self->vcpu, self->seed);
		for (tries = 0; stop == -EINTR && tries < 20; tries++)
			stop = pkvm_resume_timeout(self->vcpu, 100);
		ASSERT_EQ(stop, PKVM_RETURNED);
		EXPECT_EQ(self->vcpu->ret, 0) {
			TH_LOG("registers %#lx changed", self->vcpu->ret);
		}
	}
}

/* While a guest waits for its answer the host does to the vCPU what it can. */
TEST_F_TIMEOUT(regs, i8_host_cannot_touch_a_stopped_vcpu, TIMEOUT)
{
	struct pkvm_vcpu *vcpu = self->vcpu;
	struct kvm_vcpu_events events = { 0 };
	struct pkvm_counters counters;
	uint64_t val, answer = 0x1122;
	int i, reached = 0;

	ASSERT_EQ(pkvm_call(vcpu, guest_canary_ldrx, PKVM_DEV_IPA, REG(7)), PKVM_EXIT);
	for (i = 0; i < PKVM_NR_X; i++) {
		val = 0;
		reached += pkvm_get_reg(vcpu, ARM64_CORE_REG(regs.regs[i]), &val) != -EPERM;
		reached += val != 0;
		reached += pkvm_set_reg(vcpu, ARM64_CORE_REG(regs.regs[i]), 1) != -EPERM;
	}
	EXPECT_EQ(reached, 0);
	EXPECT_EQ(pkvm_set_reg(vcpu, ARM64_CORE_REG(regs.pc), 4), -EPERM);
	EXPECT_EQ(pkvm_set_reg(vcpu, KVM_ARM64_SYS_REG(SYS_VBAR_EL1), 0), -EPERM);
	EXPECT_EQ(ioctl(vcpu->fd, KVM_GET_VCPU_EVENTS, &events), -1);
	EXPECT_EQ(errno, EPERM);
	EXPECT_EQ(canaries_in(&events, sizeof(events), self->seed), 0);
	scribble(vcpu, &answer);
	ASSERT_EQ(pkvm_resume_timeout(vcpu, 5000), PKVM_RETURNED);
	EXPECT_EQ(vcpu->ret, 0);
	EXPECT_EQ(vcpu->out[7], answer);

	/*
	 * To initialise it anew is refused, and at once: no page of the guest's is looked
	 * at for that, whether the CPU would have to clean them or not.
	 */
	ASSERT_EQ(pkvm_call(vcpu, guest_canary_strx, PKVM_DEV_IPA, 0), PKVM_EXIT);
	pkvm_counters_read(&counters);
	alarm(10);
	for (i = 0; i < 3; i++)
		EXPECT_EQ(pkvm_vcpu_init(vcpu, i & 1), -EPERM);
	alarm(0);
	EXPECT_TRUE(pkvm_counters_back(&counters, -1));
	ASSERT_EQ(pkvm_resume_timeout(vcpu, 5000), PKVM_RETURNED);
	EXPECT_EQ(vcpu->ret, 0);
}

/* A host that does not answer is asked again; the guest does not run on. */
TEST_F_TIMEOUT(regs, i8_unanswered_exit_is_repeated, TIMEOUT)
{
	struct pkvm_vcpu *vcpu = self->vcpu;
	uint64_t data, answer = 0x8877665544332211;
	int i;

	ASSERT_EQ(pkvm_call(vcpu, guest_canary_strx, PKVM_DEV_IPA, 0), PKVM_EXIT);
	for (i = 0; i < 3; i++) {
		vcpu->run->exit_reason = KVM_EXIT_UNKNOWN;
		memset(&vcpu->run->mmio, 0, sizeof(vcpu->run->mmio));
		ASSERT_EQ(pkvm_resume(vcpu), PKVM_EXIT);
		EXPECT_EQ(vcpu->run->mmio.phys_addr, PKVM_DEV_IPA);
		memcpy(&data, vcpu->run->mmio.data, 8);
		EXPECT_EQ(data, pkvm_pattern(self->seed, 7));
	}
	ASSERT_EQ(pkvm_resume(vcpu), PKVM_RETURNED);
	EXPECT_EQ(vcpu->ret, 0);

	ASSERT_EQ(pkvm_call(vcpu, guest_canary_ldrx, PKVM_DEV_IPA, REG(7)), PKVM_EXIT);
	for (i = 0; i < 3; i++) {
		vcpu->run->exit_reason = KVM_EXIT_SYSTEM_EVENT;
		scribble(vcpu, NULL);
		ASSERT_EQ(pkvm_resume(vcpu), PKVM_EXIT);
		expect_no_canaries(_metadata, vcpu, self->seed);
	}
	scribble(vcpu, &answer);
	ASSERT_EQ(pkvm_resume(vcpu), PKVM_RETURNED);
	EXPECT_EQ(vcpu->ret, 0);
	EXPECT_EQ(vcpu->out[7], answer);
}

/* S55: two guests take turns with registers full of different values. */
TEST_F_TIMEOUT(regs, i8_two_guests_take_turns, TIMEOUT)
{
	struct pkvm_opts opts = { 0 };
	struct pkvm_vm *vm[3] = { self->vm };
	int i, round;

	vm[1] = pkvm_vm_create(&opts);
	opts.ordinary = true;
	vm[2] = pkvm_vm_create(&opts);
	for (i = 1; i < 3; i++)
		pkvm_must(pkvm_vcpu0(vm[i]), guest_make_canaries, self->seed + i);
	for (round = 0; round < 10; round++) {
		for (i = 0; i < 3; i++)
			ASSERT_EQ(pkvm_call(pkvm_vcpu0(vm[i]), guest_canary_strx,
					    PKVM_DEV_IPA), PKVM_EXIT);
		for (i = 2; i >= 0; i--) {
			ASSERT_EQ(pkvm_resume(pkvm_vcpu0(vm[i])), PKVM_RETURNED);
			EXPECT_EQ(pkvm_vcpu0(vm[i])->ret, 0) {
				TH_LOG("guest %d: registers %#lx changed", i,
				       pkvm_vcpu0(vm[i])->ret);
			}
		}
	}
	pkvm_vm_free(vm[1]);
	pkvm_vm_free(vm[2]);
}

#define CORE(size, reg)	(KVM_REG_ARM64 | KVM_REG_SIZE_ ## size | KVM_REG_ARM_CORE | \
			 KVM_REG_ARM_CORE_REG(fp_regs.reg))

/* The registers of guest_swap_regs(), as the VMM has them. */
struct some_regs {
	uint64_t q[2], fpsr, user, el1;
};

static void regs_of_vmm(struct __test_metadata *_metadata, struct pkvm_vcpu *vcpu,
			unsigned long request, struct some_regs *r)
{
	const struct {
		uint64_t id, *val;
	} regs[] = {
		{ vcpu->vm->sve ? KVM_REG_ARM64_SVE_ZREG(31, 0) : CORE(U128, vregs[31]), r->q },
		{ CORE(U32, fpsr), &r->fpsr },
		{ KVM_ARM64_SYS_REG(SYS_TPIDR_EL0), &r->user },
		{ KVM_ARM64_SYS_REG(SYS_FAR_EL1), &r->el1 },
	};
	uint64_t buf[MAX_SLICE / 8] = { 0 };
	struct kvm_one_reg reg;
	int i, n;

	for (i = 0; i < ARRAY_SIZE(regs); i++) {
		n = i ? 1 : 2;
		memcpy(buf, regs[i].val, n * 8);
		reg = (struct kvm_one_reg) { .id = regs[i].id, .addr = (uintptr_t)buf };
		ASSERT_EQ(ioctl(vcpu->fd, request, &reg), 0) {
			TH_LOG("register %d, %#lx: %s", i, regs[i].id, strerror(errno));
		}
		memcpy(regs[i].val, buf, n * 8);
	}
}

static struct some_regs new_regs(uint64_t seed)
{
	return (struct some_regs) {
		.q	= { pkvm_pattern(seed, 0), pkvm_pattern(seed, 1) },
		.fpsr	= pkvm_pattern(seed, 2) & 0x1f,		/* the exception flags */
		.user	= pkvm_pattern(seed, 3),
		.el1	= pkvm_pattern(seed, 4),
	};
}

/* An ordinary guest's registers are the VMM's as well, used or not in the last run. */
static void ordinary_regs(struct __test_metadata *_metadata, bool sve, uint64_t seed)
{
	struct pkvm_opts opts = { .ordinary = true, .sve = sve };
	struct pkvm_vm *vm = pkvm_vm_create(&opts);
	struct pkvm_vcpu *vcpu = pkvm_vcpu0(vm);
	struct some_regs r, set, mine;
	int round;

	for (round = 0; round < 4; round++, seed++) {
		/* A run that uses no FP register neither loses nor changes one. */
		ASSERT_EQ(pkvm_call(vcpu, guest_load, PKVM_DEV_IPA), PKVM_EXIT);
		set = new_regs(seed);
		regs_of_vmm(_metadata, vcpu, KVM_SET_ONE_REG, &set);
		ASSERT_EQ(pkvm_resume(vcpu), PKVM_RETURNED);
		regs_of_vmm(_metadata, vcpu, KVM_GET_ONE_REG, &r);
		EXPECT_EQ(memcmp(&r, &set, sizeof(r)), 0);

		/* What the VMM set last is what the guest finds. */
		set = new_regs(seed + 1000);
		regs_of_vmm(_metadata, vcpu, KVM_SET_ONE_REG, &set);
		mine = new_regs(seed + 2000);
		mine.q[1] = mine.q[0];
		pkvm_must(vcpu, guest_swap_regs, mine.q[0], mine.fpsr, mine.user, mine.el1);
		EXPECT_EQ(vcpu->out[2], set.q[0]);
		EXPECT_EQ(vcpu->out[3], set.q[1]);
		EXPECT_EQ(vcpu->out[4], set.fpsr);
		EXPECT_EQ(vcpu->out[5], set.user);
		EXPECT_EQ(vcpu->out[6], set.el1);

		/* And what the guest left is what the VMM finds, also a run later. */
		regs_of_vmm(_metadata, vcpu, KVM_GET_ONE_REG, &r);
		EXPECT_EQ(memcmp(&r, &mine, sizeof(r)), 0);
		pkvm_must(vcpu, guest_nop);
		regs_of_vmm(_metadata, vcpu, KVM_GET_ONE_REG, &r);
		EXPECT_EQ(memcmp(&r, &mine, sizeof(r)), 0);
	}
	pkvm_vm_free(vm);
}

TEST_F_TIMEOUT(regs, i10_ordinary_registers_are_the_vmms, TIMEOUT)
{
	ordinary_regs(_metadata, false, self->seed);
}

TEST_F_TIMEOUT(regs, i10_ordinary_registers_are_the_vmms_sve, TIMEOUT)
{
	if (ioctl(self->vm->kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_ARM_SVE) <= 0)
		SKIP(return, "no SVE");
	ordinary_regs(_metadata, true, self->seed);
}

static uint64_t read_id(struct __test_metadata *_metadata, struct pkvm_vcpu *vcpu,
			int index)
{
	EXPECT_EQ(pkvm_must(vcpu, guest_read_sysreg, index), 0) {
		TH_LOG("system register %d: ESR %#lx", index, vcpu->out[1]);
	}
	return vcpu->out[4];
}

static unsigned int field(uint64_t reg, int shift)
{
	return (reg >> shift) & 0xf;
}

TEST_F_TIMEOUT(regs, i8_id_registers, TIMEOUT)
{
	struct pkvm_vcpu *vcpu = self->vcpu;
	uint64_t val;
	int i;

	for (i = 0; i < FIRST_WITH_FIELDS; i++) {
		EXPECT_EQ(read_id(_metadata, vcpu, i), 0) {
			TH_LOG("ID register %d is not zero", i);
		}
	}

	val = read_id(_metadata, vcpu, FIRST_WITH_FIELDS);	/* PFR0 */
	EXPECT_EQ(field(val, 0), 1);		/* EL0: AArch64 only */
	EXPECT_EQ(field(val, 4), 1);		/* EL1 */
	EXPECT_EQ(field(val, 24), 1);		/* GIC: system registers */
	EXPECT_EQ(field(val, 32), 0);		/* SVE */
	EXPECT_EQ(field(val, 40), 0);		/* MPAM */
	EXPECT_EQ(field(val, 44), 0);		/* AMU */
	val = read_id(_metadata, vcpu, FIRST_WITH_FIELDS + 1);	/* PFR1 */
	EXPECT_EQ(field(val, 8), 0);		/* MTE */
	EXPECT_EQ(field(val, 24), 0);		/* SME */
	val = read_id(_metadata, vcpu, FIRST_WITH_FIELDS + 2);	/* DFR0 */
	EXPECT_EQ(field(val, 4), 0);		/* TraceVer */
	EXPECT_EQ(field(val, 8), 0);		/* PMUVer */
	EXPECT_EQ(field(val, 32), 0);		/* PMSVer */
	EXPECT_EQ(field(val, 40), 0);		/* TraceFilt */
	EXPECT_EQ(field(val, 44), 0);		/* TraceBuffer */
	EXPECT_EQ(field(val, 52), 0);		/* BRBE */
	val = read_id(_metadata, vcpu, FIRST_WITH_FIELDS + 3);	/* MMFR0 */
	EXPECT_LE(field(val, 0), 2);		/* PARange: 40 bits at most */
	/* The granule of the host is one that the guest can use, too. */
	if (getpagesize() == SZ_4K)
		EXPECT_NE(field(val, 28), 0xf);
}

/* What a kernel reads when it starts. */
TEST_F_TIMEOUT(regs, readable_registers, TIMEOUT)
{
	int i;

	for (i = FIRST_READABLE; i < FIRST_UNDEFINED; i++)
		read_id(_metadata, self->vcpu, i);
}

#define NO_IRQ	1023

/* Whether the host's GIC is one that works, or its registers have to trap to EL2. */
TEST_F_TIMEOUT(regs, i10_gic_cpu_interface, TIMEOUT)
{
	struct pkvm_opts opts = { .ordinary = true };
	struct pkvm_vm *ordinary = pkvm_vm_create(&opts);
	struct pkvm_vcpu *vcpus[] = { self->vcpu, pkvm_vcpu0(ordinary) };
	int i;

	for (i = 0; i < ARRAY_SIZE(vcpus); i++) {
		EXPECT_EQ(pkvm_must(vcpus[i], guest_gic_cpu_interface), 0) {
			TH_LOG("%s guest: exception at %#lx, ESR %#lx",
			       i ? "ordinary" : "protected", vcpus[i]->out[2],
			       vcpus[i]->out[1]);
		}
		EXPECT_EQ(vcpus[i]->out[4] & 1, 1);
		EXPECT_EQ(vcpus[i]->out[5], 0xf0);
		EXPECT_EQ(vcpus[i]->out[6], 1);
		EXPECT_EQ(vcpus[i]->out[7], NO_IRQ);
	}
	pkvm_vm_free(ordinary);
}

/*
 * A CPU interface may have more bits of priority than its virtual one. Of the registers
 * for those EL2 has none.
 */
TEST_F_TIMEOUT(regs, i5_active_priorities, TIMEOUT)
{
	struct pkvm_opts opts = { .ordinary = true };
	struct pkvm_vm *ordinary = pkvm_vm_create(&opts);
	struct pkvm_vcpu *vcpus[] = { self->vcpu, pkvm_vcpu0(ordinary) };
	uint64_t seen;
	int i;

	for (i = 0; i < ARRAY_SIZE(vcpus); i++) {
		seen = pkvm_must(vcpus[i], guest_active_priorities);
		EXPECT_EQ(seen, vcpus[i]->out[4]);
		TH_LOG("%s guest: %#lx", i ? "ordinary" : "protected", seen);
		/* The first of each group, and the second not without. */
		EXPECT_EQ(seen & 0x11, 0x11);
		EXPECT_TRUE(!(seen & 0xcc) || (seen & 0x22) == 0x22);
		pkvm_must(vcpus[i], guest_gic_cpu_interface);
	}
	pkvm_vm_free(ordinary);
}

/*
 * A host that called lines longer than they are would have the guest clean too few; one
 * that left out a level of unification would have it clean none.
 */
TEST_F_TIMEOUT(regs, i8_cache_type_is_the_machines, TIMEOUT)
{
	const uint64_t id = KVM_ARM64_SYS_REG(SYS_CTR_EL0), dminline = 1UL << 16;
	const uint64_t levels = KVM_ARM64_SYS_REG(SYS_CLIDR_EL1), loc = 1UL << 24;
	struct pkvm_vm *vm = pkvm_vm_create(NULL);
	uint64_t val, clidr;

	EXPECT_EQ(pkvm_get_reg(pkvm_vcpu0(vm), id, &val), 0);
	EXPECT_EQ(pkvm_set_reg(pkvm_vcpu0(vm), id, val - dminline), 0);
	EXPECT_EQ(pkvm_get_reg(pkvm_vcpu0(vm), levels, &clidr), 0);
	EXPECT_EQ(pkvm_set_reg(pkvm_vcpu0(vm), levels, clidr + loc), 0);
	EXPECT_EQ(pkvm_must(pkvm_vcpu0(vm), guest_ctr), read_sysreg(ctr_el0));
	/* As KVM has them, without the VMM's change. */
	EXPECT_EQ(pkvm_must(pkvm_vcpu0(vm), guest_clidr), clidr);
	pkvm_vm_free(vm);
}

static void expect_undef(struct __test_metadata *_metadata, struct pkvm_vcpu *vcpu,
			 const char *what, int nr)
{
	EXPECT_EQ(vcpu->ret, 1) {
		TH_LOG("%s %d: no exception", what, nr);
	}
	/* Current EL with SP_ELx, synchronous; unknown reason, 32-bit insn. */
	EXPECT_EQ(vcpu->out[0], 4);
	EXPECT_EQ(vcpu->out[1], 0x02000000) {
		TH_LOG("%s %d", what, nr);
	}
}

/* S58 */
TEST_F_TIMEOUT(regs, i8_undefined_registers, TIMEOUT)
{
	int i;

	for (i = FIRST_UNDEFINED; i < FIRST_DEBUG; i++) {
		pkvm_must(self->vcpu, guest_read_sysreg, i);
		expect_undef(_metadata, self->vcpu, "system register", i);
		EXPECT_EQ(self->vcpu->out[4], 0xdead);
	}
}

/* S55: the upper bits of Z registers, P registers and FFR hold what the host had there. */
TEST_F_TIMEOUT(regs, i8_vectors_and_predicates_are_undefined, TIMEOUT)
{
	int i;

	for (i = 0; i < NR_SVE_INSNS; i++) {
		pkvm_must(self->vcpu, guest_try_sve, i);
		expect_undef(_metadata, self->vcpu, "instruction of SVE or SME", i);
	}
}

TEST_F_TIMEOUT(regs, i8_undef_is_taken_in_the_guest, TIMEOUT)
{
	static const uint64_t fns[] = {
		(uint64_t)guest_fault_impdef_mrs, (uint64_t)guest_fault_impdef_msr,
		(uint64_t)guest_fault_udf,
	};
	int i, round;

	for (round = 0; round < 2; round++) {
		for (i = 0; i < ARRAY_SIZE(fns); i++) {
			pkvm_must(self->vcpu, guest_catch_in, fns[i], 0);
			expect_undef(_metadata, self->vcpu, "instruction", i);
			EXPECT_EQ(self->vcpu->out[2], fns[i]);
		}
		EXPECT_EQ(pkvm_must(self->vcpu, guest_canary_nop, 0, 0), 0);
	}
	EXPECT_EQ(pkvm_must(self->vcpu, guest_catch_in,
			    (uint64_t)guest_fault_brk, 0), 1);
	EXPECT_EQ(self->vcpu->out[1], 0xf2000123);
	EXPECT_EQ(self->vcpu->out[2], (uint64_t)guest_fault_brk);
}

TEST_F_TIMEOUT(regs, i8_debug_registers_are_raz_wi, TIMEOUT)
{
	static const uint64_t vals[] = { 0xa000, ~0UL, 0x1 };
	int i, j;

	for (i = FIRST_DEBUG; i < NR_SYSREGS; i++) {
		for (j = 0; j < ARRAY_SIZE(vals); j++) {
			EXPECT_EQ(pkvm_must(self->vcpu, guest_write_debug, i,
					    vals[j]), 0) {
				TH_LOG("debug register %d: ESR %#lx", i,
				       self->vcpu->out[1]);
			}
			EXPECT_EQ(read_id(_metadata, self->vcpu, i), 0) {
				TH_LOG("debug register %d", i);
			}
		}
	}
}

/* Nobody but the guest could say what these mean, so nobody is asked. */
TEST_F_TIMEOUT(regs, i8_undecodable_mmio_is_an_abort, TIMEOUT)
{
	static const uint64_t fns[] = {
		(uint64_t)guest_fault_post_index, (uint64_t)guest_fault_post_index_str,
		(uint64_t)guest_fault_pair, (uint64_t)guest_fault_vector,
	};
	int i;

	for (i = 0; i < ARRAY_SIZE(fns); i++) {
		ASSERT_EQ(pkvm_must(self->vcpu, guest_catch_in, fns[i],
				    PKVM_DEV_IPA + 32), 1);
		EXPECT_EQ((self->vcpu->out[1] >> ESR_EC_SHIFT) & ESR_EC_MASK,
			  ESR_EC_DABT);
		EXPECT_EQ(self->vcpu->out[1] & 0x3f, 0x10);	/* external */
		EXPECT_EQ(self->vcpu->out[2], fns[i]);
		EXPECT_EQ(self->vcpu->out[3], PKVM_DEV_IPA + 32);
	}
}

static void expect_abort(struct __test_metadata *_metadata, struct pkvm_vcpu *vcpu,
			 uint64_t addr, int size, bool store)
{
	ASSERT_EQ(pkvm_call(vcpu, guest_try_unaligned, addr, size, store, ~0UL), PKVM_RETURNED) {
		TH_LOG("%s of %d bytes at %#lx: the host is shown %u at %#llx",
		       store ? "store" : "load", size, addr, vcpu->run->mmio.len,
		       vcpu->run->mmio.phys_addr);
	}
	EXPECT_EQ(vcpu->ret, 1);
	EXPECT_EQ((vcpu->out[1] >> ESR_EC_SHIFT) & ESR_EC_MASK, ESR_EC_DABT);
	EXPECT_EQ(vcpu->out[1] & 0x3f, 0x10);
	EXPECT_EQ(vcpu->out[3], addr);
	EXPECT_EQ(vcpu->out[4], ~0UL);
}

/* An access begins where no memory is, and ends in memory: none of it is MMIO. */
TEST_F_TIMEOUT(regs, i8_mmio_that_ends_in_ram, TIMEOUT)
{
	static const int sizes[] = { 2, 4, 8 };
	struct pkvm_vm *vm = pkvm_vm_create(NULL);
	struct pkvm_vcpu *vcpu = pkvm_vcpu0(vm);
	uint64_t page = getpagesize(), at = PKVM_MEM2_IPA - page - 4;
	void *mem;
	int i, n;

	mem = mmap(NULL, SZ_64K, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(mem, MAP_FAILED);
	ASSERT_EQ(pkvm_set_slot(vm, 9, PKVM_MEM2_IPA, SZ_64K, mem, 0), 0);
	pkvm_must(vcpu, guest_store, PKVM_MEM2_IPA, self->seed);

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		for (n = 1; n < sizes[i]; n++) {
			expect_abort(_metadata, vcpu, PKVM_MEM2_IPA - n, sizes[i], true);
			expect_abort(_metadata, vcpu, PKVM_MEM2_IPA - n, sizes[i], false);
		}
	}
	EXPECT_EQ(pkvm_must(vcpu, guest_load, PKVM_MEM2_IPA), self->seed);

	/* What lies before memory, or in two pages of which neither is any, is. */
	ASSERT_EQ(pkvm_call(vcpu, guest_try_unaligned, PKVM_MEM2_IPA - 8, 8, true, 1), PKVM_EXIT);
	EXPECT_EQ(vcpu->run->mmio.phys_addr, PKVM_MEM2_IPA - 8);
	ASSERT_EQ(pkvm_resume(vcpu), PKVM_RETURNED);
	ASSERT_EQ(pkvm_call(vcpu, guest_try_unaligned, at, 8, true, 1), PKVM_EXIT);
	EXPECT_EQ(vcpu->run->mmio.phys_addr, at);
	ASSERT_EQ(pkvm_resume(vcpu), PKVM_RETURNED);

	/* Unless the guest says that only one of the two is a device's. */
	EXPECT_EQ(pkvm_must(vcpu, guest_hvc, PKVM_HVC_GUARD_MAP, PKVM_CTL_IPA), 0);
	EXPECT_EQ(pkvm_must(vcpu, guest_hvc, PKVM_HVC_GUARD_MAP, at & ~(page - 1)), 0);
	EXPECT_EQ(pkvm_must(vcpu, guest_hvc, PKVM_HVC_GUARD_ENROLL), 0);
	expect_abort(_metadata, vcpu, at, 8, true);
	expect_abort(_metadata, vcpu, at, 8, false);
	EXPECT_EQ(pkvm_must(vcpu, guest_hvc, PKVM_HVC_GUARD_MAP, PKVM_MEM2_IPA - page), 0);
	ASSERT_EQ(pkvm_call(vcpu, guest_try_unaligned, at, 8, true, 1), PKVM_EXIT);
	ASSERT_EQ(pkvm_resume(vcpu), PKVM_RETURNED);

	pkvm_vm_free(vm);
	munmap(mem, SZ_64K);
}

TEST_F_TIMEOUT(regs, i8_execution_where_no_memory_is, TIMEOUT)
{
	ASSERT_EQ(pkvm_must(self->vcpu, guest_try_exec, PKVM_HOLE_IPA), 1);
	EXPECT_EQ((self->vcpu->out[1] >> ESR_EC_SHIFT) & ESR_EC_MASK, ESR_EC_IABT);
	EXPECT_EQ(self->vcpu->out[2], PKVM_HOLE_IPA);
}

/* The first store to a page of RAM is never shown as MMIO. */
TEST_F_TIMEOUT(regs, i8_first_touch_is_not_mmio, TIMEOUT)
{
	size_t off;

	for (off = 0; off < SZ_256K; off += getpagesize()) {
		EXPECT_EQ(pkvm_must(self->vcpu, guest_canary_strx, PKVM_MEM_IPA + off,
				    0), 0);
		expect_no_canaries(_metadata, self->vcpu, self->seed);
	}
}

/* S54: time is the machine's; the host cannot move it. */
TEST_F_TIMEOUT(regs, i8_virtual_counter, TIMEOUT)
{
	struct pkvm_vm *vm = pkvm_vm_create(NULL);
	uint64_t before, guest, after;
	int i;

	pkvm_set_reg(pkvm_vcpu0(vm), KVM_REG_ARM_TIMER_CNT, 0);
	for (i = 0; i < 5; i++) {
		isb();
		before = read_sysreg(cntvct_el0);
		guest = pkvm_must(pkvm_vcpu0(vm), guest_cntvct);
		isb();
		after = read_sysreg(cntvct_el0);
		EXPECT_LE(before, guest);
		EXPECT_LE(guest, after);
		pkvm_set_reg(pkvm_vcpu0(vm), KVM_REG_ARM_TIMER_CNT, 0);
	}
	pkvm_vm_free(vm);
}

TEST_HARNESS_MAIN
