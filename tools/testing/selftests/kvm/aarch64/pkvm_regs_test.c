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

#include "kselftest_harness.h"
#include "kvm_util.h"
#include "processor.h"
#include "pkvm.h"

#define TIMEOUT		120

/* ------------------------------------------------------------- guest code */

#define NR_X		31
#define NR_Q		32
#define REG(n)		BIT(n)

struct canaries {
	uint64_t x[NR_X + 1];
	uint64_t q[2 * NR_Q];
};

/* Filled in by the guest only; the host's copy stays empty. */
static struct canaries guest_canaries;

static uint64_t guest_make_canaries(uint64_t seed)
{
	int i;

	for (i = 0; i < NR_X; i++)
		WRITE_ONCE(guest_canaries.x[i], pkvm_pattern(seed, i));
	for (i = 0; i < 2 * NR_Q; i++)
		WRITE_ONCE(guest_canaries.q[i], pkvm_pattern(seed, 32 + i));
	return 0;
}

/*
 * Called with what the registers were after the instruction. may_change has the
 * bits of the registers that the instruction writes. x0 is the address that the
 * caller gave. The result has a bit for each other register that has changed.
 */
uint64_t guest_check_canaries(struct canaries *seen, uint64_t may_change,
			      uint64_t x0);
uint64_t guest_check_canaries(struct canaries *seen, uint64_t may_change,
			      uint64_t x0)
{
	uint64_t bad = 0;
	int i;

	for (i = 1; i < NR_X; i++)
		if (seen->x[i] != guest_canaries.x[i])
			bad |= REG(i);
	if (seen->x[0] != x0)
		bad |= REG(0);
	bad &= ~may_change;
	for (i = 0; i < 2 * NR_Q; i++)
		if (seen->q[i] != guest_canaries.q[i])
			bad |= BIT(32 + i / 2);
	guest_out(7, seen->x[7]);
	return bad;
}

/*
 * One function per instruction: x0 is its address, x7 its data, every other
 * register has its canary. x1 is the mask for the check.
 */
#define CANARY_FN(name, insn)						\
	uint64_t guest_canary_##name(uint64_t addr, uint64_t may_change);	\
	asm(".pushsection .text\n"					\
	    ".globl guest_canary_" #name "\n"				\
	    ".type guest_canary_" #name ", %function\n"			\
	    "guest_canary_" #name ":\n"					\
	    "	stp	x29, x30, [sp, #-176]!\n"			\
	    "	stp	x19, x20, [sp, #16]\n"				\
	    "	stp	x21, x22, [sp, #32]\n"				\
	    "	stp	x23, x24, [sp, #48]\n"				\
	    "	stp	x25, x26, [sp, #64]\n"				\
	    "	stp	x27, x28, [sp, #80]\n"				\
	    "	stp	d8, d9, [sp, #96]\n"				\
	    "	stp	d10, d11, [sp, #112]\n"				\
	    "	stp	d12, d13, [sp, #128]\n"				\
	    "	stp	d14, d15, [sp, #144]\n"				\
	    "	stp	x0, x1, [sp, #160]\n"				\
	    "	sub	sp, sp, #768\n"					\
	    "	adrp	x30, guest_canaries\n"				\
	    "	add	x30, x30, :lo12:guest_canaries\n"		\
	    "	add	x29, x30, #256\n"				\
	    "	.irp	n, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30\n" \
	    "	ldr	q\\n, [x29, #(16 * \\n)]\n"			\
	    "	.endr\n"						\
	    "	.irp	n, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31\n" \
	    "	ldr	q\\n, [x29, #(16 * \\n)]\n"			\
	    "	.endr\n"						\
	    "	.irp	n, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15\n" \
	    "	ldr	x\\n, [x30, #(8 * \\n)]\n"			\
	    "	.endr\n"						\
	    "	.irp	n, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30\n" \
	    "	ldr	x\\n, [x30, #(8 * \\n)]\n"			\
	    "	.endr\n"						\
	    insn "\n"							\
	    "	str	x0, [sp]\n"					\
	    "	.irp	n, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15\n" \
	    "	str	x\\n, [sp, #(8 * \\n)]\n"			\
	    "	.endr\n"						\
	    "	.irp	n, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30\n" \
	    "	str	x\\n, [sp, #(8 * \\n)]\n"			\
	    "	.endr\n"						\
	    "	.irp	n, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30\n" \
	    "	str	q\\n, [sp, #(256 + 16 * \\n)]\n"		\
	    "	.endr\n"						\
	    "	.irp	n, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31\n" \
	    "	str	q\\n, [sp, #(256 + 16 * \\n)]\n"		\
	    "	.endr\n"						\
	    "	mov	x0, sp\n"					\
	    "	ldr	x1, [sp, #(768 + 168)]\n"			\
	    "	ldr	x2, [sp, #(768 + 160)]\n"			\
	    "	bl	guest_check_canaries\n"				\
	    "	add	sp, sp, #768\n"					\
	    "	ldp	d14, d15, [sp, #144]\n"				\
	    "	ldp	d12, d13, [sp, #128]\n"				\
	    "	ldp	d10, d11, [sp, #112]\n"				\
	    "	ldp	d8, d9, [sp, #96]\n"				\
	    "	ldp	x27, x28, [sp, #80]\n"				\
	    "	ldp	x25, x26, [sp, #64]\n"				\
	    "	ldp	x23, x24, [sp, #48]\n"				\
	    "	ldp	x21, x22, [sp, #32]\n"				\
	    "	ldp	x19, x20, [sp, #16]\n"				\
	    "	ldp	x29, x30, [sp], #176\n"				\
	    "	ret\n"							\
	    ".popsection")

_Static_assert(sizeof(struct canaries) == 768, "the frame of CANARY_FN");

CANARY_FN(strb, "strb w7, [x0]");
CANARY_FN(strh, "strh w7, [x0]");
CANARY_FN(strw, "str w7, [x0]");
CANARY_FN(strx, "str x7, [x0]");
CANARY_FN(strzr, "str xzr, [x0]");
CANARY_FN(ldrb, "ldrb w7, [x0]");
CANARY_FN(ldrh, "ldrh w7, [x0]");
CANARY_FN(ldrw, "ldr w7, [x0]");
CANARY_FN(ldrx, "ldr x7, [x0]");
CANARY_FN(ldrsb_w, "ldrsb w7, [x0]");
CANARY_FN(ldrsb_x, "ldrsb x7, [x0]");
CANARY_FN(ldrsh_w, "ldrsh w7, [x0]");
CANARY_FN(ldrsh_x, "ldrsh x7, [x0]");
CANARY_FN(ldrsw_x, "ldrsw x7, [x0]");
CANARY_FN(ldr_zr, "ldr xzr, [x0]");
CANARY_FN(hvc, "hvc #0");
CANARY_FN(smc, "smc #0");
CANARY_FN(wfi, "wfi");
CANARY_FN(nop, "nop");
CANARY_FN(revidr, "mrs x7, revidr_el1");
CANARY_FN(ccsidr, "mrs x7, ccsidr_el1");
CANARY_FN(id_reg, "mrs x7, id_aa64pfr0_el1");
CANARY_FN(mdscr, "msr mdscr_el1, x7");
CANARY_FN(sgi, "msr S3_0_C12_C11_5, xzr");		/* ICC_SGI1R_EL1 */

/* Instructions whose exceptions are looked at one by one. */
#define FAULT_FN(name, insn)						\
	uint64_t guest_fault_##name(uint64_t addr);			\
	asm(".pushsection .text\n"					\
	    ".globl guest_fault_" #name "\n"				\
	    ".type guest_fault_" #name ", %function\n"			\
	    "guest_fault_" #name ":\n"					\
	    insn "\n"							\
	    "	ret\n"							\
	    ".popsection")

FAULT_FN(impdef_mrs, "mrs x0, S3_0_C15_C0_0");
FAULT_FN(impdef_msr, "msr S3_0_C15_C0_0, xzr");
FAULT_FN(udf, ".inst 0");
FAULT_FN(brk, "brk #0x123");
FAULT_FN(post_index, "ldr x1, [x0], #8");
FAULT_FN(post_index_str, "str x1, [x0], #8");
FAULT_FN(pair, "ldp x1, x2, [x0]");
FAULT_FN(vector, "ldr q0, [x0]");

/* Runs one of the above; returns the number of exceptions. */
static uint64_t guest_catch_in(uint64_t fn, uint64_t arg)
{
	struct pkvm_guest_cpu *cpu = guest_cpu();

	cpu->caught = 0;
	WRITE_ONCE(cpu->catching, 1);
	((uint64_t (*)(uint64_t))fn)(arg);
	return guest_report_caught();
}

/* System registers by number, as mrs wants them in the instruction. */
#define SYSREGS(X)							\
	/* 0: AArch32, all of which the guest must find absent */	\
	X(0, S3_0_C0_C1_0) X(1, S3_0_C0_C1_1) X(2, S3_0_C0_C1_2)	\
	X(3, S3_0_C0_C1_3) X(4, S3_0_C0_C1_4) X(5, S3_0_C0_C1_5)	\
	X(6, S3_0_C0_C1_6) X(7, S3_0_C0_C1_7) X(8, S3_0_C0_C2_0)	\
	X(9, S3_0_C0_C2_1) X(10, S3_0_C0_C2_2) X(11, S3_0_C0_C2_3)	\
	X(12, S3_0_C0_C2_4) X(13, S3_0_C0_C2_5) X(14, S3_0_C0_C2_6)	\
	X(15, S3_0_C0_C2_7) X(16, S3_0_C0_C3_0) X(17, S3_0_C0_C3_1)	\
	X(18, S3_0_C0_C3_2) X(19, S3_0_C0_C3_4) X(20, S3_0_C0_C3_5)	\
	X(21, S3_0_C0_C3_6)						\
	/* 22: of AArch64, absent as well */				\
	X(22, S3_0_C0_C4_4) X(23, S3_0_C0_C4_5)	/* ZFR0, SMFR0 */	\
	X(24, S3_0_C0_C5_1)			/* DFR1 */		\
	X(25, S3_0_C0_C5_4) X(26, S3_0_C0_C5_5)	/* AFR0, AFR1 */	\
	/* 27: with fields */						\
	X(27, S3_0_C0_C4_0) X(28, S3_0_C0_C4_1)	/* PFR0, PFR1 */	\
	X(29, S3_0_C0_C5_0)			/* DFR0 */		\
	X(30, S3_0_C0_C7_0)			/* MMFR0 */		\
	/* 31: readable */						\
	X(31, midr_el1) X(32, revidr_el1) X(33, aidr_el1)		\
	X(34, mpidr_el1) X(35, ctr_el0) X(36, clidr_el1)		\
	X(37, ccsidr_el1) X(38, csselr_el1) X(39, dczid_el0)		\
	X(40, cntfrq_el0) X(41, cntvct_el0) X(42, S3_0_C0_C6_0)		\
	X(43, S3_0_C0_C6_1) X(44, S3_0_C0_C6_2) X(45, S3_0_C0_C7_1)	\
	X(46, S3_0_C0_C7_2) X(47, S3_0_C0_C7_3) X(48, S3_0_C0_C4_2)	\
	/* 49: undefined: PMU, SVE, SME, MTE, trace, profiling, AMU */	\
	X(49, S3_3_C9_C12_0) X(50, S3_3_C9_C13_0) X(51, S3_0_C9_C14_1)	\
	X(52, S3_0_C1_C2_0) X(53, S3_0_C1_C2_6) X(54, S3_0_C1_C0_6)	\
	X(55, S3_0_C1_C2_1) X(56, S3_0_C9_C9_7) X(57, S3_0_C9_C11_0)	\
	X(58, S3_3_C13_C2_0) X(59, S3_0_C15_C1_0) X(60, S3_4_C1_C1_0)	\
	/* 61: debug, reads as zero and ignores writes */		\
	X(61, S2_0_C0_C2_2) X(62, S2_0_C0_C0_4) X(63, S2_0_C0_C0_5)	\
	X(64, S2_0_C0_C0_6) X(65, S2_0_C0_C0_7) X(66, S2_0_C1_C3_4)

#define FIRST_WITH_FIELDS	27
#define FIRST_READABLE		31
#define FIRST_UNDEFINED		49
#define FIRST_DEBUG		61
#define NR_SYSREGS		67

/* Returns the number of exceptions, the value is out[4]. */
static uint64_t guest_read_sysreg(uint64_t index)
{
	struct pkvm_guest_cpu *cpu = guest_cpu();
	uint64_t val = 0xdead;

	cpu->caught = 0;
	WRITE_ONCE(cpu->catching, 1);
	switch (index) {
#define X(n, name) case n: asm volatile("mrs %0, " #name : "+r" (val) :: "memory"); break;
	SYSREGS(X)
#undef X
	}
	guest_out(4, val);
	return guest_report_caught();
}

static uint64_t guest_write_debug(uint64_t index, uint64_t val)
{
	struct pkvm_guest_cpu *cpu = guest_cpu();

	cpu->caught = 0;
	WRITE_ONCE(cpu->catching, 1);
	switch (index) {
	case 61:
		asm volatile("msr S2_0_C0_C2_2, %0" :: "r" (val) : "memory");
		break;
	case 62:
		asm volatile("msr S2_0_C0_C0_4, %0" :: "r" (val) : "memory");
		break;
	case 63:
		asm volatile("msr S2_0_C0_C0_5, %0" :: "r" (val) : "memory");
		break;
	case 64:
		asm volatile("msr S2_0_C0_C0_6, %0" :: "r" (val) : "memory");
		break;
	case 65:
		asm volatile("msr S2_0_C0_C0_7, %0" :: "r" (val) : "memory");
		break;
	case 66:
		asm volatile("msr S2_0_C1_C3_4, %0" :: "r" (val) : "memory");
		break;
	}
	asm volatile("msr S2_0_C1_C0_4, xzr" ::: "memory");	/* OSLAR_EL1 */
	isb();
	return guest_report_caught();
}

static uint64_t guest_cntvct(void)
{
	isb();
	return read_sysreg(cntvct_el0);
}

/* The CPU interface of the GIC, as a kernel sets it up. */
static uint64_t guest_gic_cpu_interface(void)
{
	struct pkvm_guest_cpu *cpu = guest_cpu();
	uint64_t sre, pmr;

	cpu->caught = 0;
	WRITE_ONCE(cpu->catching, 1);
	asm volatile("mrs %0, S3_0_C12_C12_5" : "=r" (sre));	/* SRE */
	asm volatile("msr S3_0_C4_C6_0, %0" :: "r" (0xf0UL));	/* PMR */
	asm volatile("mrs %0, S3_0_C4_C6_0" : "=r" (pmr));
	asm volatile("msr S3_0_C12_C12_7, %0" :: "r" (1UL));	/* IGRPEN1 */
	asm volatile("msr S3_0_C12_C12_3, xzr" ::);		/* BPR1 */
	isb();
	guest_out(4, sre);
	guest_out(5, pmr);
	return guest_report_caught();
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
	uint32_t high[32 + 2 * NR_Q];
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
	uint64_t q[2 * NR_Q], *p = q;

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
	uint64_t val, answer = 0x1122;
	int i, reached = 0;

	ASSERT_EQ(pkvm_call(vcpu, guest_canary_ldrx, PKVM_DEV_IPA, REG(7)), PKVM_EXIT);
	for (i = 0; i < NR_X; i++) {
		val = 0;
		reached += pkvm_get_reg(vcpu, ARM64_CORE_REG(regs.regs[i]), &val) != -EPERM;
		reached += val != 0;
		reached += pkvm_set_reg(vcpu, ARM64_CORE_REG(regs.regs[i]), 1) != -EPERM;
	}
	EXPECT_EQ(reached, 0);
	EXPECT_EQ(pkvm_set_reg(vcpu, ARM64_CORE_REG(regs.pc), 4), -EPERM);
	EXPECT_EQ(pkvm_set_reg(vcpu, KVM_ARM64_SYS_REG(SYS_VBAR_EL1), 0), -EPERM);
	ioctl(vcpu->fd, KVM_GET_VCPU_EVENTS, &events);
	EXPECT_EQ(canaries_in(&events, sizeof(events), self->seed), 0);
	scribble(vcpu, &answer);
	ASSERT_EQ(pkvm_resume_timeout(vcpu, 5000), PKVM_RETURNED);
	EXPECT_EQ(vcpu->ret, 0);
	EXPECT_EQ(vcpu->out[7], answer);

	/* To initialise it anew is refused, or changes nothing. */
	ASSERT_EQ(pkvm_call(vcpu, guest_canary_strx, PKVM_DEV_IPA, 0), PKVM_EXIT);
	TH_LOG("KVM_ARM_VCPU_INIT: %d", pkvm_vcpu_init(vcpu, false));
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
		scribble(vcpu, &data);
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
	EXPECT_EQ(pkvm_must(self->vcpu, guest_gic_cpu_interface), 0) {
		TH_LOG("exception at %#lx, ESR %#lx", self->vcpu->out[2],
		       self->vcpu->out[1]);
	}
	EXPECT_EQ(self->vcpu->out[4] & 1, 1);
	EXPECT_EQ(self->vcpu->out[5], 0xf0);
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
