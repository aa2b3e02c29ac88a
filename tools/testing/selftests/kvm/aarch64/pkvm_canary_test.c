// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a host kernel finds of a protected guest's registers at each kind of exit, and
 * what it can change before the next entry (I8; S50, S53, S54, S56). The guest has a
 * value of its own in every register, general, vector and system ones; it leaves for
 * the host in every way there is, and compares.
 *
 * At each exit the module kvm_hostile_vcpu shows the host's struct kvm_vcpu and struct
 * kvm, and the CPU's registers as they are when EL2 returns. Before each entry it has
 * put another value into every field.
 */
#include <fcntl.h>
#include <linux/psci.h>
#include <linux/sizes.h>

#include "kselftest_harness.h"
#include "kvm_util.h"
#include "processor.h"
#include "hostile.h"
#include "pageref.h"
#include "../test_modules/kvm_hostile_vcpu.h"

#define TIMEOUT		120
#define PAGE		4096ul
#define REG(n)		BIT(n)

#define EC_WFX		0x01
#define EC_HVC64	0x16
#define EC_SYS64	0x18
#define EC_IABT_LOW	0x20
#define EC_DABT_LOW	0x24

/* ------------------------------------------------------------- guest code */

/* Indexes of canaries: after those of pkvm_canaries. */
#define SYS_CANARY	(32 + 2 * PKVM_NR_Q)

#define NR_SYS		26

/* Those that an exception of the guest's changes. */
#define SYS_EXCEPTION	(REG(12) | REG(13) | REG(14) | REG(15))

static uint64_t sys_expected[NR_SYS];

static bool guest_has_keys(void)
{
	uint64_t isar1, isar2;

	asm volatile("mrs %0, S3_0_C0_C6_1" : "=r" (isar1));
	asm volatile("mrs %0, S3_0_C0_C6_2" : "=r" (isar2));
	/* APA, API, GPA, GPI; APA3, GPA3 */
	return (isar1 & 0xff000ff0) || (isar2 & 0xff00);
}

/*
 * Give a register a value of its own, or see whether it is still there. A CPU may have
 * fewer bits than the mask: what it keeps is what counts.
 */
#define SYS(index, reg, mask)						\
do {									\
	const unsigned int _i = (index);				\
	uint64_t _val = pkvm_pattern(seed, SYS_CANARY + _i) & (mask);	\
									\
	if (set)							\
		asm volatile("msr " #reg ", %0\n isb" :: "r" (_val));	\
	asm volatile("mrs %0, " #reg : "=r" (_val));			\
	if (set)							\
		WRITE_ONCE(sys_expected[_i], _val);			\
	else if (_val != READ_ONCE(sys_expected[_i]))			\
		bad |= REG(_i);						\
} while (0)

/* The registers that neither an exception nor the guest itself needs. */
static uint64_t guest_sys(bool set, uint64_t seed)
{
	uint64_t bad = 0;

	SYS(0, sp_el0, ~0ul);
	SYS(1, tpidr_el0, ~0ul);
	SYS(2, tpidrro_el0, ~0ul);
	SYS(3, contextidr_el1, ~0ul);
	SYS(4, ttbr1_el1, ~0ul);
	SYS(5, amair_el1, ~0ul);
	SYS(6, afsr0_el1, ~0ul);
	SYS(7, afsr1_el1, ~0ul);
	SYS(8, par_el1, ~0ul);
	SYS(9, cntkctl_el1, 0x3fful);
	SYS(10, fpcr, 0x07c00000ul);
	SYS(11, fpsr, 0x0800009ful);
	SYS(12, esr_el1, ~0ul);
	SYS(13, far_el1, ~0ul);
	SYS(14, elr_el1, ~0ul);
	SYS(15, spsr_el1, ~0ul);
	if (!guest_has_keys())
		return bad;
	SYS(16, S3_0_C2_C1_0, ~0ul);
	SYS(17, S3_0_C2_C1_1, ~0ul);
	SYS(18, S3_0_C2_C1_2, ~0ul);
	SYS(19, S3_0_C2_C1_3, ~0ul);
	SYS(20, S3_0_C2_C2_0, ~0ul);
	SYS(21, S3_0_C2_C2_1, ~0ul);
	SYS(22, S3_0_C2_C2_2, ~0ul);
	SYS(23, S3_0_C2_C2_3, ~0ul);
	SYS(24, S3_0_C2_C3_0, ~0ul);
	SYS(25, S3_0_C2_C3_1, ~0ul);
	return bad;
}

/*
 * One instruction with a canary in every register. The store to the device tells the
 * host that it comes; from there on the host enters by itself. x1 to x3 are arguments
 * of a call, or 0: the canaries. Out: 5, the system registers that have changed; 6,
 * the syndrome of the exception that was caught, if one was.
 */
static uint64_t guest_exit(uint64_t fn, uint64_t addr, uint64_t may_change, uint64_t seed,
			   uint64_t x1, uint64_t x2)
{
	uint64_t (*insn)(uint64_t addr, uint64_t may_change) = (void *)fn;
	struct pkvm_guest_cpu *cpu = guest_cpu();
	uint64_t bad, sys;

	guest_make_canaries(seed);
	if (x1)
		WRITE_ONCE(pkvm_canaries.x[1], x1);
	if (x2)
		WRITE_ONCE(pkvm_canaries.x[2], x2);
	/* Reserved arguments have to be 0. */
	if (addr == PKVM_HVC_SHARE || addr == PKVM_HVC_UNSHARE) {
		WRITE_ONCE(pkvm_canaries.x[2], 0);
		WRITE_ONCE(pkvm_canaries.x[3], 0);
	}
	WRITE_ONCE(cpu->catching, 1);
	WRITE_ONCE(cpu->esr, 0);
	guest_mmio_store(PKVM_DEV_IPA, 1);
	guest_sys(true, seed);
	bad = insn(addr, may_change);
	sys = guest_sys(false, seed);
	WRITE_ONCE(cpu->catching, 0);
	guest_out(5, sys);
	guest_out(6, READ_ONCE(cpu->esr));
	return bad;
}

/*
 * What comes with SME, which no guest is promised, is in no ID register of the guest's.
 * Between two exits: out[4] is what was there, out[5] what is there after the second.
 */
static uint64_t guest_tpidr2(uint64_t seed)
{
	struct pkvm_guest_cpu *cpu = guest_cpu();
	uint64_t was = 0, is = 0;

	cpu->caught = 0;
	WRITE_ONCE(cpu->catching, 1);
	guest_mmio_store(PKVM_DEV_IPA, 1);
	asm volatile("mrs %0, S3_3_C13_C0_5" : "+r" (was));
	asm volatile("msr S3_3_C13_C0_5, %0\n isb" :: "r" (pkvm_pattern(seed, 0)) : "memory");
	guest_mmio_store(PKVM_DEV_IPA, 1);
	asm volatile("mrs %0, S3_3_C13_C0_5" : "+r" (is));
	guest_report_caught();
	guest_out(4, was);
	guest_out(5, is);
	return READ_ONCE(cpu->caught);
}

/* --------------------------------------------------------------- host side */

FIXTURE(canary) {
	struct pkvm_vm *vm;
	struct pkvm_vcpu *vcpu;
	struct khv_where at;
	struct khv_run r;
	struct khv_change changes[KHV_MAX_CHANGES];
	struct khv_live live[2];
	uint8_t *seen;
	uint64_t seed;
	uint64_t fill;
	size_t x_offset;
	int dev, klog;
};

FIXTURE_SETUP(canary)
{
	struct pkvm_opts opts = { .nr_vcpus = 2 };
	const char *why = hostile_unavailable();

	if (!why)
		why = hostile_load(KHV_MODULE, KHV_DEVICE);
	if (why)
		SKIP(return, "%s", why);
	self->dev = open(KHV_DEVICE, O_RDWR | O_CLOEXEC);
	ASSERT_GE(self->dev, 0);
	self->klog = klog_open();
	self->seed = pkvm_seed();
	self->fill = self->seed ^ 0xf111f111;
	self->vm = pkvm_vm_create(&opts);
	self->vcpu = pkvm_vcpu0(self->vm);
	pkvm_must(self->vcpu, guest_touch_image);
	self->at.vcpu_fd = self->vcpu->fd;
	ASSERT_EQ(ioctl(self->dev, KHV_IOC_WHERE, &self->at), 0);
	self->x_offset = self->at.regs - khh_vcpu_info(self->vcpu).addr;
	self->seen = malloc(self->at.vcpu_size + self->at.kvm_size);
	ASSERT_NE(self->seen, NULL);
}

FIXTURE_TEARDOWN(canary)
{
	const char *bad;

	if (!self->vm)
		return;
	pkvm_vm_free(self->vm);
	free(self->seen);
	close(self->dev);
	hostile_close();
	bad = klog_complaint(self->klog);
	EXPECT_EQ(bad, NULL) {
		TH_LOG("the kernel says: %s", bad);
	}
	close(self->klog);
}

static void do_enter(struct _test_data_canary *self, uint32_t flags, uint32_t iflags,
		     uint64_t x0, uint64_t cntvoff)
{
	self->r = (struct khv_run) {
		.vcpu_fd = self->vcpu->fd,
		.flags = flags,
		.seed = ++self->fill,
		.x0 = x0,
		.cntvoff = cntvoff,
		.iflags = iflags,
		.changes = (uintptr_t)self->changes,
		.seen = (uintptr_t)self->seen,
		.seen_size = self->at.vcpu_size + self->at.kvm_size,
		.live = (uintptr_t)self->live,
	};
	TEST_ASSERT(!ioctl(self->dev, KHV_IOC_RUN, &self->r), "KHV_IOC_RUN: %s",
		    strerror(errno));
}

static void enter(struct _test_data_canary *self, uint32_t flags, uint32_t iflags,
		  uint64_t x0)
{
	do_enter(self, flags, iflags, x0, 0);
}

static void enter_with_offset(struct _test_data_canary *self, uint64_t cntvoff)
{
	do_enter(self, KHV_FILL, KHH_IFLAGS_INCREMENT, 0, cntvoff);
}

/*
 * How many of the guest's values, whole or the upper half of one, are in this memory.
 * What a register of 32 bits has kept is the lower half of its value.
 */
static size_t canaries_in(const void *mem, size_t size, uint64_t seed)
{
	uint32_t half[SYS_CANARY + NR_SYS + 1];
	const uint32_t *p = mem;
	size_t i, j, found = 0;

	for (j = 0; j < SYS_CANARY + NR_SYS; j++)
		half[j] = pkvm_pattern(seed, j) >> 32;
	/* contextidr_el1 */
	half[j] = pkvm_pattern(seed, SYS_CANARY + 3);
	for (i = 0; i < size / 4; i++) {
		for (j = 0; j < ARRAY_SIZE(half); j++)
			found += p[i] == half[j];
	}
	return found;
}

/* What the table of exits says of one. */
struct exit {
	const char *name;
	uint64_t fn;
	uint64_t arg, x1, x2;
	uint64_t may_change;	/* of the general registers, for the guest */
	uint64_t sys_change;	/* of the system registers, the same */
	uint32_t ec;
	uint32_t iflags;	/* how the host answers; 0: KVM does, later */
	uint32_t shown;		/* so many registers of the guest's, from x0 on */
	uint64_t x[4];		/* are these */
	bool mmio;
	bool abort;
	bool once;		/* the next entry goes on, without an answer */
};

#define SCTLR_ENDIANNESS	(BIT(24) | BIT(25))

#define ALWAYS	(REG(KHV_ESR) | REG(KHV_FAR) | REG(KHV_HPFAR) | REG(KHV_DISR) | \
		 REG(KHV_PSTATE) | REG(KHV_VGIC_LR) | REG(KHV_VGIC_HCR) | \
		 REG(KHV_FLAGS))

/* EL2 has written where this exit allows it, and nowhere else. */
static void expect_changes(struct __test_metadata *_metadata,
			   struct _test_data_canary *self, const struct exit *e, bool irq)
{
	uint64_t may = irq ? REG(KHV_VGIC_LR) | REG(KHV_VGIC_HCR) | REG(KHV_FLAGS) : ALWAYS;
	uint64_t may_far;
	uint32_t i, nr_x = 0;

	if (!irq && (e->ec == EC_SYS64 || e->mmio))
		nr_x = 1;
	if (!irq && e->ec == EC_HVC64)
		nr_x = 4;
	if (!irq && e->mmio)
		may |= REG(KHV_SCTLR);
	for (i = 0; i < self->r.nr_changes; i++) {
		struct khv_change *c = &self->changes[i];
		bool good = c->what == KHV_X ? c->index < nr_x : may & REG(c->what);

		switch (c->what) {
		case KHV_FLAGS:
			/* Only those of the answer, and they are taken back. */
			good = good && !((c->before ^ c->after) & ~0xfful << 8) &&
			       !(c->before & 0xff00 & c->after & 0xf00);
			break;
		case KHV_SCTLR:
			good = good && !(c->after & ~SCTLR_ENDIANNESS);
			break;
		case KHV_FAR:
			/* Of a fetch it is the PC. */
			may_far = e->mmio || (e->abort && e->ec != EC_IABT_LOW) ? 0xffful : 0;
			good = good && !(c->after & ~may_far);
			break;
		case KHV_HPFAR:
			good = good && (e->mmio || e->abort || !c->after);
			break;
		case KHV_DISR:
			good = good && !c->after;
			break;
		}
		EXPECT_TRUE(good) {
			TH_LOG("%s%s: the host's vCPU, %u/%#x: %#llx became %#llx", e->name,
			       irq ? ", interrupt" : "", c->what, c->index, c->before,
			       c->after);
		}
	}
}

static void expect_nothing_seen(struct __test_metadata *_metadata,
				struct _test_data_canary *self, const struct exit *e,
				bool irq)
{
	uint64_t *x = (uint64_t *)(self->seen + self->x_offset);
	uint64_t pstate = x[33];
	uint32_t i;

	for (i = 0; !irq && i < e->shown; i++) {
		EXPECT_EQ(x[i], e->x[i]) {
			TH_LOG("%s: the host sees %#lx in x%u", e->name, x[i], i);
		}
		/* That much the guest has said itself. */
		x[i] = 0;
	}
	if (!irq && e->ec == EC_HVC64) {
		for (; i < 4; i++)
			EXPECT_EQ(x[i], 0);
	}
	EXPECT_EQ(canaries_in(self->seen, self->at.vcpu_size + self->at.kvm_size, self->seed),
		  0) {
		TH_LOG("%s%s: values of the guest's in the host's structures", e->name,
		       irq ? ", interrupt" : "");
	}
	EXPECT_EQ(canaries_in(&self->live[1], sizeof(self->live[1]), self->seed), 0) {
		TH_LOG("%s%s: values of the guest's in the CPU", e->name,
		       irq ? ", interrupt" : "");
	}
	/* The host has its own. */
	EXPECT_EQ(memcmp(&self->live[0], &self->live[1], sizeof(self->live[0])), 0) {
		TH_LOG("%s%s: the host's registers changed", e->name, irq ? ", interrupt" : "");
	}
	if (irq)
		return;
	/* Mode, A and no more. */
	EXPECT_EQ(pstate & ~0x11ful, 0) {
		TH_LOG("%s: PSTATE %#lx", e->name, pstate);
	}
	/* Neither which register, nor what memory it was. */
	if (e->mmio || e->ec == EC_SYS64)
		EXPECT_EQ(self->r.esr & (e->mmio ? 0x1ful << 16 : 0x1ful << 5), 0);
	if (e->abort)
		EXPECT_EQ(self->r.esr & 0x1ff0000ul, 0);
}

static void expect_exit(struct __test_metadata *_metadata, struct _test_data_canary *self,
			const struct exit *e)
{
	EXPECT_EQ(self->r.ret & 0xff, KHH_EXIT_TRAP) {
		TH_LOG("%s: EL2 returns %#llx after %llu entries", e->name, self->r.ret,
		       self->r.nr_entries);
	}
	EXPECT_EQ(KHH_EC(self->r.esr), e->ec) {
		TH_LOG("%s: ESR %#llx", e->name, self->r.esr);
	}
	expect_changes(_metadata, self, e, false);
	expect_nothing_seen(_metadata, self, e, false);
}

/* The guest's registers are as they were, but what the exit may change. */
static void expect_unharmed(struct __test_metadata *_metadata,
			    struct _test_data_canary *self, const struct exit *e)
{
	EXPECT_EQ(self->vcpu->ret, 0) {
		TH_LOG("%s: registers %#lx changed", e->name, self->vcpu->ret);
	}
	EXPECT_EQ(self->vcpu->out[5] & ~e->sys_change, 0) {
		TH_LOG("%s: system registers %#lx changed", e->name, self->vcpu->out[5]);
	}
}

static void try_exit(struct __test_metadata *_metadata, struct _test_data_canary *self,
		     const struct exit *e)
{
	struct exit next = { .name = e->name, .ec = EC_DABT_LOW, .mmio = true };
	/* To a call 0 means that it is to be made again. */
	uint64_t again = e->ec == EC_HVC64 ? 0 : KHH_ANYTHING;

	ASSERT_EQ(pkvm_call(self->vcpu, guest_exit, e->fn, e->arg, e->may_change, self->seed,
			    e->x1, e->x2), PKVM_EXIT) {
		TH_LOG("%s", e->name);
	}
	khh_step(self->vcpu);
	enter(self, KHV_FILL, KHH_IFLAGS_INCREMENT, 0);
	expect_exit(_metadata, self, e);
	if (!e->once) {
		/* An interrupt instead of an answer: the guest does it again. */
		enter(self, KHV_FILL | KHV_WAIT_IRQ, 0, again);
		EXPECT_EQ(self->r.ret, KHH_EXIT_IRQ);
		expect_changes(_metadata, self, e, true);
		expect_nothing_seen(_metadata, self, e, true);
		enter(self, KHV_FILL, 0, again);
		expect_exit(_metadata, self, e);
	}
	if (e->iflags || e->once || e->ec == EC_HVC64) {
		/* On to the next: it tells the VMM what has become of the registers. */
		enter(self, KHV_FILL, e->iflags, KHH_ANYTHING);
		EXPECT_EQ(KHH_EC(self->r.esr), next.ec);
		expect_changes(_metadata, self, &next, false);
	}
}

#define PATTERN(n)	pkvm_pattern(self->seed, n)
#define STORE(insn, value)						\
	{ .name = #insn, .fn = (uint64_t)guest_canary_##insn, .arg = PKVM_DEV_IPA + 64, \
	  .ec = EC_DABT_LOW, .mmio = true, .iflags = KHH_IFLAGS_INCREMENT, \
	  .shown = 1, .x = { value } }
#define LOAD(insn)							\
	{ .name = #insn, .fn = (uint64_t)guest_canary_##insn, .arg = PKVM_DEV_IPA + 64, \
	  .may_change = REG(7), .ec = EC_DABT_LOW, .mmio = true,	\
	  .iflags = KHH_IFLAGS_INCREMENT, .shown = 1 }

TEST_F_TIMEOUT(canary, i8_exits_to_a_device, TIMEOUT)
{
	const struct exit exits[] = {
		STORE(strb, PATTERN(7) & 0xff),
		STORE(strh, PATTERN(7) & 0xffff),
		STORE(strw, PATTERN(7) & 0xffffffff),
		STORE(strx, PATTERN(7)),
		STORE(strzr, 0),
		LOAD(ldrb), LOAD(ldrh), LOAD(ldrw), LOAD(ldrx), LOAD(ldrsb_w),
		LOAD(ldrsb_x), LOAD(ldrsh_w), LOAD(ldrsh_x), LOAD(ldrsw_x),
	};
	int i;

	for (i = 0; i < ARRAY_SIZE(exits); i++) {
		try_exit(_metadata, self, &exits[i]);
		ASSERT_EQ(pkvm_resume(self->vcpu), PKVM_RETURNED);
		expect_unharmed(_metadata, self, &exits[i]);
	}
	/* To the zero register: nothing changes. */
	try_exit(_metadata, self, &(struct exit) {
		.name = "ldr xzr", .fn = (uint64_t)guest_canary_ldr_zr,
		.arg = PKVM_DEV_IPA + 64, .ec = EC_DABT_LOW, .mmio = true,
		.iflags = KHH_IFLAGS_INCREMENT, .shown = 1,
	});
	ASSERT_EQ(pkvm_resume(self->vcpu), PKVM_RETURNED);
	expect_unharmed(_metadata, self, &exits[0]);
}

/* The host's TPIDR2_EL0 is none of the guest's business, nor the other way round. */
TEST_F_TIMEOUT(canary, i8_thread_pointer_of_sme, TIMEOUT)
{
	const struct exit e = { .name = "msr tpidr2", .ec = EC_DABT_LOW, .mmio = true,
				.iflags = KHH_IFLAGS_INCREMENT, .shown = 1, .x = { 1 } };

	ASSERT_EQ(pkvm_call(self->vcpu, guest_tpidr2, self->seed), PKVM_EXIT);
	khh_step(self->vcpu);
	enter(self, KHV_FILL, KHH_IFLAGS_INCREMENT, 0);
	expect_exit(_metadata, self, &e);
	enter(self, KHV_FILL, KHH_IFLAGS_INCREMENT, 0);
	ASSERT_EQ(pkvm_resume(self->vcpu), PKVM_RETURNED);
	/* Undefined, or nothing that anybody left there. */
	TH_LOG("%lu exceptions, host %#llx", self->vcpu->ret, self->live[0].sys[19]);
	EXPECT_TRUE(self->vcpu->ret == 0 || self->vcpu->ret == 3);
	EXPECT_EQ(self->vcpu->out[4], 0);
	EXPECT_EQ(self->vcpu->out[5], 0);
}

/* The host may not answer as it likes: these are to end in an exception. */
TEST_F_TIMEOUT(canary, i8_exits_that_end_in_an_exception, TIMEOUT)
{
	const struct exit exits[] = {
		{ .name = "abort of a store", .fn = (uint64_t)guest_canary_strx,
		  .arg = PKVM_DEV_IPA + 64, .ec = EC_DABT_LOW, .mmio = true,
		  .iflags = KHH_IFLAGS_PENDING, .shown = 1, .x = { PATTERN(7) },
		  .sys_change = SYS_EXCEPTION },
		{ .name = "abort of a load", .fn = (uint64_t)guest_canary_ldrx,
		  .arg = PKVM_DEV_IPA + 64, .ec = EC_DABT_LOW, .mmio = true,
		  .iflags = KHH_IFLAGS_PENDING, .shown = 1,
		  .sys_change = SYS_EXCEPTION },
		{ .name = "abort of a first store", .fn = (uint64_t)guest_canary_strx,
		  .arg = PKVM_MEM_IPA + 5 * SZ_64K, .ec = EC_DABT_LOW, .abort = true,
		  .iflags = KHH_IFLAGS_PENDING, .sys_change = SYS_EXCEPTION },
		{ .name = "abort of a first fetch", .fn = (uint64_t)guest_canary_fetch,
		  .arg = PKVM_MEM_IPA + 4 * SZ_64K + 0x7f4, .may_change = REG(30),
		  .sys_change = SYS_EXCEPTION, .ec = EC_IABT_LOW, .abort = true,
		  .iflags = KHH_IFLAGS_PENDING },
	};
	int i;

	for (i = 0; i < ARRAY_SIZE(exits); i++) {
		try_exit(_metadata, self, &exits[i]);
		ASSERT_EQ(pkvm_resume(self->vcpu), PKVM_RETURNED);
		expect_unharmed(_metadata, self, &exits[i]);
		/* An external abort, from the current level. */
		EXPECT_EQ(self->vcpu->out[6] >> 26, exits[i].ec + 1);
		EXPECT_EQ(self->vcpu->out[6] & 0x1ffffff, 0x10);
	}
}

TEST_F_TIMEOUT(canary, i8_exits_of_registers_and_waits, TIMEOUT)
{
	const struct exit exits[] = {
		{ .name = "wfi", .fn = (uint64_t)guest_canary_wfi, .ec = EC_WFX,
		  .iflags = KHH_IFLAGS_INCREMENT },
		{ .name = "mrs ccsidr", .fn = (uint64_t)guest_canary_ccsidr, .ec = EC_SYS64,
		  .may_change = REG(7), .iflags = KHH_IFLAGS_INCREMENT, .shown = 1 },
		{ .name = "msr icc_sgi1r", .fn = (uint64_t)guest_canary_sgi, .ec = EC_SYS64,
		  .iflags = KHH_IFLAGS_INCREMENT, .shown = 1 },
	};
	int i;

	for (i = 0; i < ARRAY_SIZE(exits); i++) {
		try_exit(_metadata, self, &exits[i]);
		ASSERT_EQ(pkvm_resume(self->vcpu), PKVM_RETURNED);
		expect_unharmed(_metadata, self, &exits[i]);
	}
}

/* Where the host is to give memory: no word of what is read or written there. */
TEST_F_TIMEOUT(canary, i8_exits_for_memory, TIMEOUT)
{
	const struct exit exits[] = {
		{ .name = "first store", .fn = (uint64_t)guest_canary_strx,
		  .arg = PKVM_MEM_IPA + SZ_64K, .ec = EC_DABT_LOW, .abort = true },
		{ .name = "first load", .fn = (uint64_t)guest_canary_ldrx,
		  .arg = PKVM_MEM_IPA + 2 * SZ_64K, .may_change = REG(7),
		  .ec = EC_DABT_LOW, .abort = true },
		{ .name = "first byte", .fn = (uint64_t)guest_canary_strb,
		  .arg = PKVM_MEM_IPA + 3 * SZ_64K + 5, .ec = EC_DABT_LOW, .abort = true },
	};
	int i;

	for (i = 0; i < ARRAY_SIZE(exits); i++) {
		try_exit(_metadata, self, &exits[i]);
		ASSERT_EQ(pkvm_resume(self->vcpu), PKVM_RETURNED);
		expect_unharmed(_metadata, self, &exits[i]);
	}
}

#define CALL(what, function, arg1, arg2, ...)				\
	{ .name = what, .fn = (uint64_t)guest_canary_hvc, .arg = (function), \
	  .x1 = (arg1), .x2 = (arg2), .ec = EC_HVC64, .may_change = 0xf, \
	  ## __VA_ARGS__ }

/* The host is told of these: of their arguments it sees what it needs. */
TEST_F_TIMEOUT(canary, i8_exits_of_calls, TIMEOUT)
{
	const uint64_t entry = (uint64_t)pkvm_guest_entry;
	const struct exit told[] = {
		CALL("CPU_ON", PSCI_0_2_FN64_CPU_ON, 1, entry, .shown = 2, .once = true,
		     .x = { PSCI_0_2_FN64_CPU_ON, 1 }),
		CALL("CPU_SUSPEND", PSCI_0_2_FN64_CPU_SUSPEND, 0, 0, .shown = 1,
		     .once = true, .x = { PSCI_0_2_FN64_CPU_SUSPEND }),
		CALL("SYSTEM_OFF", PSCI_0_2_FN_SYSTEM_OFF, 0, 0, .shown = 1,
		     .once = true, .x = { PSCI_0_2_FN_SYSTEM_OFF }),
		CALL("SYSTEM_RESET", PSCI_0_2_FN_SYSTEM_RESET, 0, 0, .shown = 1,
		     .once = true, .x = { PSCI_0_2_FN_SYSTEM_RESET }),
		CALL("SYSTEM_RESET2", PSCI_1_1_FN64_SYSTEM_RESET2, 0x80000001, 0x1234,
		     .shown = 3, .once = true,
		     .x = { PSCI_1_1_FN64_SYSTEM_RESET2, 0x80000001, 0x1234 }),
	};
	int i;

	for (i = 0; i < ARRAY_SIZE(told); i++) {
		try_exit(_metadata, self, &told[i]);
		ASSERT_EQ(pkvm_resume(self->vcpu), PKVM_RETURNED);
		expect_unharmed(_metadata, self, &told[i]);
	}
}

/* And these it is to serve: a page that is to be shared, and one to let go of. */
TEST_F_TIMEOUT(canary, i8_exits_of_calls_for_pages, TIMEOUT)
{
	const uint64_t fresh = PKVM_MEM_IPA + SZ_64K, shared = PKVM_MEM_IPA + 2 * SZ_64K;
	const struct exit exits[] = {
		CALL("SHARE", PKVM_HVC_SHARE, fresh, 0, .shown = 2,
		     .x = { PKVM_HVC_SHARE, fresh }),
		CALL("UNSHARE", PKVM_HVC_UNSHARE, shared, 0, .shown = 2, .once = true,
		     .x = { PKVM_HVC_UNSHARE, shared }),
	};
	int i;

	ASSERT_EQ(pkvm_must(self->vcpu, guest_hvc, PKVM_HVC_SHARE, shared), 0);
	for (i = 0; i < ARRAY_SIZE(exits); i++) {
		try_exit(_metadata, self, &exits[i]);
		ASSERT_EQ(pkvm_resume(self->vcpu), PKVM_RETURNED);
		expect_unharmed(_metadata, self, &exits[i]);
	}
	/* The host has done nothing for it: the guest was told so. */
	EXPECT_EQ(pkvm_must(self->vcpu, guest_hvc, PKVM_HVC_UNSHARE, fresh),
		  PKVM_SMCCC_INVALID_PARAMETER);
	EXPECT_EQ(pkvm_must(self->vcpu, guest_hvc, PKVM_HVC_UNSHARE, shared), 0);
}

TEST_F_TIMEOUT(canary, i8_exit_of_cpu_off, TIMEOUT)
{
	const struct exit off = CALL("CPU_OFF", PSCI_0_2_FN_CPU_OFF, 0, 0, .shown = 1,
				     .once = true, .x = { PSCI_0_2_FN_CPU_OFF });

	ASSERT_EQ(pkvm_call(self->vcpu, guest_exit, off.fn, off.arg, off.may_change,
			    self->seed), PKVM_EXIT);
	khh_step(self->vcpu);
	enter(self, KHV_FILL, KHH_IFLAGS_INCREMENT, 0);
	expect_exit(_metadata, self, &off);
	/* What is off does not run, and shows nothing either. */
	enter(self, KHV_FILL, KHH_IFLAGS_INCREMENT, 0);
	EXPECT_EQ(self->r.ret, KHH_EXIT_IL);
	EXPECT_EQ(self->r.nr_changes, 0);
	expect_nothing_seen(_metadata, self, &off, true);
}

/* Stops, then tells the host what time it is. */
static uint64_t guest_tell_time(void)
{
	guest_mmio_store(PKVM_DEV_IPA, 1);
	isb();
	guest_mmio_store(PKVM_DEV_IPA + 8, read_sysreg(cntvct_el0));
	return 0;
}

/* S54: EL2 has a call for CNTVOFF_EL2; it moves no guest's time, and not its own. */
TEST_F_TIMEOUT(canary, i8_the_counter_has_no_offset, TIMEOUT)
{
	static const uint64_t offsets[] = { 1ul << 40, ~0ul << 40, 1ul << 63, ~0ul, 12345 };
	uint64_t before, after;
	int i;

	for (i = 0; i < ARRAY_SIZE(offsets); i++) {
		ASSERT_EQ(pkvm_call(self->vcpu, guest_tell_time), PKVM_EXIT);
		khh_step(self->vcpu);
		isb();
		before = read_sysreg(cntvct_el0);
		enter_with_offset(self, offsets[i]);
		isb();
		after = read_sysreg(cntvct_el0);
		ASSERT_EQ(KHH_EC(self->r.esr), EC_DABT_LOW);
		EXPECT_LE(before, self->r.x[0]);
		EXPECT_LE(self->r.x[0], after);
		enter(self, 0, KHH_IFLAGS_INCREMENT, 0);
		ASSERT_EQ(pkvm_resume(self->vcpu), PKVM_RETURNED);
	}
}

TEST_HARNESS_MAIN
