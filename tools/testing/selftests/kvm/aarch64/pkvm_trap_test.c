// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a protected guest may try against EL2, the host and its own isolation, with the
 * KVM API alone on the other side (S57 to S59, S62, S64, S65, S67, S72). All system
 * registers are tried, not those that somebody thought of: what the guest can read or
 * write is in a list here, by name, and anything else has to be undefined (I5, I8).
 */
#include <linux/sizes.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "kvm_util.h"
#include "processor.h"
#include "pageref.h"
#include "pkvm.h"

#define TIMEOUT		120
#define PAGE		4096ul

/* In the guest's memory: lent to the host, and the guest's own. */
#define READ_IPA	(PKVM_MEM_IPA + 16 * PAGE)
#define WRITE_IPA	(PKVM_MEM_IPA + 17 * PAGE)
#define STOP_IPA	(PKVM_MEM_IPA + 18 * PAGE)
#define TABLE_IPA	(PKVM_MEM_IPA + 19 * PAGE)
#define CODE_IPA	(PKVM_MEM_IPA + 20 * PAGE)
#define WORK_IPA	(PKVM_MEM_IPA + 32 * PAGE)
#define SHARED_IPA	(PKVM_MEM_IPA + 64 * PAGE)
#define NR_SHARED	64

/* ------------------------------------------------------------- guest code */

/* Index of a system register, of op0 2 or 3: the bits of its instruction from 5 on. */
#define NR_ENC		BIT(15)
#define ENC(op0, op1, crn, crm, op2) \
	(((op0) - 2) << 14 | (op1) << 11 | (crn) << 7 | (crm) << 3 | (op2))

#define MRS_X0		0xd5300000u
#define MSR_XZR		0xd510001fu
#define SYS_XZR		0xd508001fu
#define RET		0xd65f03c0u

#define SLOTS		512

/* Written by the guest, so that it stands alone in its page. */
static uint32_t code[2 * SLOTS] __aligned(4096);

static void guest_make_slots(uint32_t insn, uint64_t first)
{
	uint64_t i;

	for (i = 0; i < SLOTS; i++) {
		WRITE_ONCE(code[2 * i], insn | (first + i) << 5);
		WRITE_ONCE(code[2 * i + 1], RET);
	}
	for (i = 0; i < sizeof(code); i += 16)
		asm volatile("dc cvau, %0" :: "r" ((uint64_t)code + i) : "memory");
	asm volatile("dsb ish\n ic iallu\n dsb ish\n isb" ::: "memory");
}

/* Calls a slot: true if that raised no exception. */
static bool guest_call_slot(uint64_t slot)
{
	struct pkvm_guest_cpu *cpu = guest_cpu();
	uint64_t before = READ_ONCE(cpu->caught);
	void (*fn)(void) = (void *)&code[2 * slot];

	fn();
	return READ_ONCE(cpu->caught) == before;
}

static void set_bit_of(uint64_t map, uint64_t bit)
{
	uint64_t *word = (uint64_t *)map + bit / 64;

	WRITE_ONCE(*word, READ_ONCE(*word) | BIT(bit % 64));
}

static bool bit_of(uint64_t map, uint64_t bit)
{
	return READ_ONCE(((uint64_t *)map)[bit / 64]) & BIT(bit % 64);
}

/* All that EL1 can allow itself, so that what traps does so for EL2. */
static void guest_allow_all(void)
{
	write_sysreg(3UL << 24 | 3UL << 20 | 3UL << 16, cpacr_el1);
	isb();
	WRITE_ONCE(guest_cpu()->catching, 1);
}

/* A bit in map for each register that can be read. Returns how many. */
static uint64_t guest_read_all(uint64_t map)
{
	uint64_t first, i, nr = 0;

	guest_allow_all();
	for (first = 0; first < NR_ENC; first += SLOTS) {
		guest_make_slots(MRS_X0, first);
		for (i = 0; i < SLOTS; i++) {
			if (guest_call_slot(i)) {
				set_bit_of(map, first + i);
				nr++;
			}
		}
	}
	WRITE_ONCE(guest_cpu()->catching, 0);
	return nr;
}

/* The same for writes to what cannot be read: the guest needs the others. */
static uint64_t guest_write_all(uint64_t map, uint64_t readable)
{
	uint64_t first, i, nr = 0;

	guest_allow_all();
	for (first = 0; first < NR_ENC; first += SLOTS) {
		guest_make_slots(MSR_XZR, first);
		for (i = 0; i < SLOTS; i++) {
			if (!bit_of(readable, first + i) && guest_call_slot(i)) {
				set_bit_of(map, first + i);
				nr++;
			}
		}
	}
	WRITE_ONCE(guest_cpu()->catching, 0);
	return nr;
}

/*
 * The values of op0 3, op1 0, CRn 0, CRm 1 to 7: what the CPU has. Returns how many are
 * undefined.
 */
static uint64_t guest_read_ids(uint64_t to)
{
	uint64_t before, i;
	uint64_t (*fn)(void);

	guest_allow_all();
	guest_make_slots(MRS_X0, ENC(3, 0, 0, 0, 0));
	before = READ_ONCE(guest_cpu()->caught);
	for (i = 8; i < 64; i++) {
		fn = (void *)&code[2 * i];
		WRITE_ONCE(((uint64_t *)to)[i], fn());
	}
	WRITE_ONCE(guest_cpu()->catching, 0);
	return READ_ONCE(guest_cpu()->caught) - before;
}

/* TLB and cache maintenance, address translation of EL2 and EL3: op1 4, 6 and 7. */
static uint64_t guest_el2_instructions(void)
{
	static const uint64_t op1s[] = { 4, 6, 7 };
	uint64_t first, i, n, nr = 0;

	guest_allow_all();
	for (n = 0; n < ARRAY_SIZE(op1s); n++) {
		for (first = 0; first < BIT(11); first += SLOTS) {
			guest_make_slots(SYS_XZR, op1s[n] << 11 | first);
			for (i = 0; i < SLOTS; i++) {
				if (guest_call_slot(i))
					guest_out(nr++ % 8, op1s[n] << 11 | (first + i));
			}
		}
	}
	WRITE_ONCE(guest_cpu()->catching, 0);
	return nr;
}

/* A copy of the guest's table: its first level is all of it. */
static uint64_t guest_copy_table(uint64_t to)
{
	uint64_t *from = (uint64_t *)(read_sysreg(ttbr0_el1) & ~0xffful), i;

	for (i = 0; i < 512; i++)
		WRITE_ONCE(((uint64_t *)to)[i], from[i]);
	return 0;
}

/* To EL0 in AArch32 state, where it loops. It comes back only if that is refused. */
static uint64_t guest_go_to_aarch32(uint64_t table, uint64_t at)
{
	const uint64_t mem = PKVM_MEM_IPA >> 30;
	uint64_t *entry = (uint64_t *)table + mem;

	guest_copy_table(table);
	/* EL0 may use and execute it. */
	WRITE_ONCE(*entry, (READ_ONCE(*entry) | BIT(6)) & ~BIT(54));
	WRITE_ONCE(*(uint32_t *)at, 0xeafffffe);	/* b . */
	asm volatile("dsb ish\n ic iallu\n dsb ish\n" ::: "memory");
	guest_use_table(table);
	asm volatile("msr elr_el1, %0\n"
		     "msr spsr_el1, %1\n"
		     "isb\n"
		     "eret\n" :: "r" (at), "r" (0x10ul) : "memory");
	return 1;
}

/* Maintenance of all that is the guest's, for its whole domain. */
static uint64_t guest_maintain(uint64_t stop, uint64_t addr)
{
	uint64_t n = 0;

	do {
		asm volatile("tlbi vmalle1is\n"
			     "tlbi vaae1is, %0\n"
			     "tlbi vae1is, %1\n"
			     "tlbi aside1is, xzr\n"
			     "tlbi vmalle1\n"
			     "dsb ish\n"
			     "ic ialluis\n"
			     "ic iallu\n"
			     "dc civac, %2\n"
			     "dc ivac, %2\n"
			     "dsb ish\n"
			     "isb\n"
			     :: "r" (addr >> 12), "r" (n << 12), "r" (addr + (n * 64) % PAGE)
			     : "memory");
		n++;
	} while (!READ_ONCE(*(uint64_t *)stop));
	return n;
}

/* The same call for one address after the other: how many succeeded; the rest is out. */
static uint64_t guest_call_forever(uint64_t stop, uint64_t fn, uint64_t addr, uint64_t step,
				   uint64_t most)
{
	uint64_t done = 0, failed = 0;

	do {
		if (guest_hvc_quiet(fn, addr, 0, 0))
			failed++;
		else
			done++;
		addr += step;
	} while (!READ_ONCE(*(uint64_t *)stop) && done + failed < most);
	guest_out(0, failed);
	return done;
}

/* Works in memory that is found through a table of the host's, which says anything. */
static uint64_t guest_trust_table(uint64_t table, uint64_t work, uint64_t stop)
{
	uint64_t bad = 0, seed = 0;

	guest_use_table(table);
	do {
		guest_fill(work, 256, ++seed);
		asm volatile("tlbi vmalle1\n dsb nsh\n isb" ::: "memory");
		bad += guest_verify(work, 256, seed);
	} while (!READ_ONCE(*(uint64_t *)stop));
	return bad;
}

/* How often unsharing did not work, and out 0: words of unshared pages that changed. */
static uint64_t guest_share_and_unshare_all(uint64_t addr, uint64_t nr, uint64_t rounds)
{
	uint64_t i, r, refused = 0, bad = 0;

	for (r = 0; r < rounds; r++) {
		for (i = 0; i < nr; i++)
			guest_hvc_quiet(PKVM_HVC_SHARE, addr + i * PAGE, 0, 0);
		for (i = 0; i < nr; i++) {
			if (guest_hvc_quiet(PKVM_HVC_UNSHARE, addr + i * PAGE, 0, 0)) {
				refused++;
				continue;
			}
			guest_fill(addr + i * PAGE, 256, r + i);
			bad += guest_verify(addr + i * PAGE, 256, r + i);
		}
	}
	guest_out(0, bad);
	return refused;
}

#define SMC_FN(n, insn)							\
static uint64_t guest_##n(uint64_t fn)					\
{									\
	register uint64_t x0 asm("x0") = fn;				\
	register uint64_t x1 asm("x1") = 0;				\
	register uint64_t x2 asm("x2") = 0;				\
	register uint64_t x3 asm("x3") = 0;				\
									\
	asm volatile(insn : "+r" (x0), "+r" (x1), "+r" (x2), "+r" (x3)	\
		     :: "memory");					\
	return x0;							\
}

SMC_FN(smc_1, "smc #1")
SMC_FN(smc_max, "smc #0xffff")
SMC_FN(hvc_1, "hvc #1")
SMC_FN(hvc_panic, "hvc #0x2222")
SMC_FN(hvc_max, "hvc #0xffff")

/* --------------------------------------------------------------- host side */

FIXTURE(trap) {
	struct pkvm_vm *vm, *other;
	struct pkvm_vcpu *vcpu;
	struct pkvm_counters before;
	uint64_t seed;
	int klog;
};

static void *mem_at(struct pkvm_vm *vm, uint64_t ipa)
{
	return vm->mem + (ipa - PKVM_MEM_IPA);
}

FIXTURE_SETUP(trap)
{
	const char *why = pkvm_unavailable();

	if (why)
		SKIP(return, "%s", why);
	pkvm_counters_read(&self->before);
	self->klog = klog_open();
	self->seed = pkvm_seed();
	self->vm = pkvm_vm_create(NULL);
	self->other = pkvm_vm_create(NULL);
	self->vcpu = pkvm_vcpu0(self->vm);
	pkvm_must(pkvm_vcpu0(self->other), guest_fill, PKVM_MEM_IPA, 4 * PAGE, self->seed);
}

FIXTURE_TEARDOWN(trap)
{
	const char *bad;

	if (!self->vm)
		return;
	EXPECT_EQ(pkvm_must(pkvm_vcpu0(self->other), guest_verify, PKVM_MEM_IPA, 4 * PAGE,
			    self->seed), 0);
	pkvm_vm_free(self->vm);
	pkvm_vm_free(self->other);
	EXPECT_TRUE(pkvm_counters_back(&self->before, -1));
	bad = klog_complaint(self->klog);
	EXPECT_EQ(bad, NULL) {
		TH_LOG("the kernel says: %s", bad);
	}
	close(self->klog);
}

/* A page that the host can read and write, zeroed. */
static uint64_t *lend(struct _test_data_trap *self, uint64_t ipa)
{
	pkvm_must(self->vcpu, guest_store, ipa, 0);
	TEST_ASSERT(!pkvm_must(self->vcpu, guest_hvc, PKVM_HVC_SHARE, ipa),
		    "the guest cannot share a page");
	return mem_at(self->vm, ipa);
}

/* From one register to another of the same op0, op1 and CRn, or to itself. */
struct allowed {
	uint8_t op0, op1, crn, crm, op2, last_crm, last_op2;
	const char *name;
};

#define ONE(op0, op1, crn, crm, op2, name)	{ op0, op1, crn, crm, op2, 0, 0, name }
#define MANY(op0, op1, crn, crm, op2, last_crm, last_op2, name) \
	{ op0, op1, crn, crm, op2, last_crm, last_op2, name }

/*
 * What a protected guest may read, and why that is its own: EL2 switches it (S), traps
 * and answers (T), lets the host answer (H), or it is the same for all (C).
 */
static const struct allowed readable[] = {
	MANY(2, 0, 0, 0, 4, 0, 7, "DBGBVR0 to DBGWCR0: T"),
	ONE(2, 0, 0, 2, 2, "MDSCR: T"),
	ONE(2, 0, 1, 0, 4, "OSLAR: T"),
	ONE(2, 0, 1, 1, 4, "OSLSR: T"),
	ONE(2, 0, 1, 3, 4, "OSDLR: T"),
	MANY(3, 0, 0, 0, 0, 7, 7, "identification: T"),
	ONE(3, 0, 1, 0, 0, "SCTLR: S"),
	ONE(3, 0, 1, 0, 2, "CPACR: S"),
	MANY(3, 0, 2, 0, 0, 0, 2, "TTBR0, TTBR1, TCR: S"),
	MANY(3, 0, 2, 1, 0, 3, 1, "keys: S"),
	MANY(3, 0, 4, 0, 0, 0, 1, "SPSR, ELR: S"),
	ONE(3, 0, 4, 1, 0, "SP_EL0: S"),
	MANY(3, 0, 4, 2, 0, 2, 4, "SPSel, CurrentEL, PAN, UAO: S"),
	ONE(3, 0, 4, 6, 0, "ICC_PMR: S"),
	MANY(3, 0, 5, 1, 0, 1, 1, "AFSR0, AFSR1: S"),
	ONE(3, 0, 5, 2, 0, "ESR: S"),
	MANY(3, 0, 5, 3, 0, 5, 1, "error records: T"),
	ONE(3, 0, 6, 0, 0, "FAR: S"),
	ONE(3, 0, 7, 4, 0, "PAR: S"),
	ONE(3, 0, 10, 2, 0, "MAIR: S"),
	ONE(3, 0, 10, 3, 0, "AMAIR: S"),
	ONE(3, 0, 12, 0, 0, "VBAR: S"),
	MANY(3, 0, 12, 1, 0, 1, 1, "ISR: C, DISR: S"),
	MANY(3, 0, 12, 8, 0, 12, 7, "the GIC's CPU interface: S, T, H"),
	ONE(3, 0, 13, 0, 1, "CONTEXTIDR: S"),
	ONE(3, 0, 13, 0, 4, "TPIDR_EL1: S"),
	ONE(3, 0, 14, 1, 0, "CNTKCTL: S"),
	ONE(3, 1, 0, 0, 0, "CCSIDR: H"),
	ONE(3, 1, 0, 0, 1, "CLIDR: C"),
	ONE(3, 1, 0, 0, 7, "AIDR: T"),
	ONE(3, 2, 0, 0, 0, "CSSELR: H"),
	ONE(3, 3, 0, 0, 1, "CTR: C or H"),
	ONE(3, 3, 0, 0, 7, "DCZID: C"),
	MANY(3, 3, 2, 4, 0, 4, 1, "RNDR, RNDRRS: C"),
	MANY(3, 3, 4, 2, 0, 2, 1, "NZCV, DAIF: S"),
	MANY(3, 3, 4, 2, 5, 2, 7, "DIT, SSBS, TCO: S"),
	MANY(3, 3, 4, 4, 0, 4, 1, "FPCR, FPSR: S"),
	MANY(3, 3, 13, 0, 2, 0, 3, "TPIDR_EL0, TPIDRRO: S"),
	ONE(3, 3, 14, 0, 0, "CNTFRQ: C"),
	MANY(3, 3, 14, 0, 1, 0, 2, "CNTPCT, CNTVCT: C"),
	MANY(3, 3, 14, 0, 5, 0, 6, "the same, self-synchronised: C"),
	MANY(3, 3, 14, 2, 0, 2, 2, "CNTP: H"),
	MANY(3, 3, 14, 3, 0, 3, 2, "CNTV: the host's to keep"),
};

/* And what it may write that it cannot read. */
static const struct allowed writable[] = {
	ONE(2, 0, 1, 0, 4, "OSLAR: T"),
	MANY(3, 0, 12, 8, 0, 12, 7, "the GIC's CPU interface: S, T, H"),
};

/*
 * What HCR_EL2.TIDCP traps, and FEAT_FGT on a CPU with SME, but not in QEMU. There all
 * are constants but TPIDR2_EL0, which is 0 at each entry.
 */
static const struct allowed emulated[] = {
	MANY(3, 0, 11, 0, 0, 15, 7, "the implementation's: C"),
	MANY(3, 0, 15, 0, 0, 15, 7, "the implementation's: C"),
	MANY(3, 1, 11, 0, 0, 15, 7, "the implementation's: C"),
	MANY(3, 1, 15, 0, 0, 15, 7, "the implementation's: C"),
	ONE(3, 0, 1, 2, 4, "SMPRI: C"),
	ONE(3, 3, 13, 0, 5, "TPIDR2_EL0: S"),
};

static bool is_emulated(void)
{
	char compatible[64] = "";
	FILE *f = fopen("/sys/firmware/devicetree/base/compatible", "r");

	if (!f)
		return false;
	if (!fgets(compatible, sizeof(compatible), f))
		compatible[0] = 0;
	fclose(f);
	return !strcmp(compatible, "linux,dummy-virt");
}

static bool is_allowed(const struct allowed *list, int nr, uint32_t enc)
{
	uint32_t first, last;
	int i;

	for (i = 0; i < nr; i++) {
		const struct allowed *a = &list[i];

		first = ENC(a->op0, a->op1, a->crn, a->crm, a->op2);
		last = ENC(a->op0, a->op1, a->crn, a->last_crm, a->last_op2);
		if (enc >= first && enc <= max(first, last))
			return true;
	}
	return false;
}

static int expect_only(struct __test_metadata *_metadata, const uint64_t *map,
		       const struct allowed *list, int nr, const char *what)
{
	bool also = is_emulated();
	uint32_t enc;
	int found = 0;

	for (enc = 0; enc < NR_ENC; enc++) {
		if (!(READ_ONCE(map[enc / 64]) & BIT(enc % 64)))
			continue;
		found++;
		EXPECT_TRUE(is_allowed(list, nr, enc) ||
			    (also && is_allowed(emulated, ARRAY_SIZE(emulated), enc))) {
			TH_LOG("the guest can %s S%u_%u_C%u_C%u_%u", what, 2 + (enc >> 14),
			       enc >> 11 & 7, enc >> 7 & 15, enc >> 3 & 15, enc & 7);
		}
	}
	return found;
}

/*
 * S58: PMU, SPE, TRBE, BRBE, AMU, MPAM, RAS, LOR, trace, debug, SVE, SME, MTE, those of
 * EL2 and EL3, and whatever else this CPU may have. Undefined, or in the list.
 */
TEST_F_TIMEOUT(trap, i8_every_system_register, TIMEOUT)
{
	uint64_t *read_map = lend(self, READ_IPA), *write_map = lend(self, WRITE_IPA);
	int reads, writes;

	pkvm_must(self->vcpu, guest_read_all, READ_IPA);
	pkvm_must(self->vcpu, guest_write_all, WRITE_IPA, READ_IPA);
	reads = expect_only(_metadata, read_map, readable, ARRAY_SIZE(readable), "read");
	writes = expect_only(_metadata, write_map, writable, ARRAY_SIZE(writable), "write");
	TH_LOG("%d can be read, %d more can be written", reads, writes);
	EXPECT_GE(reads, 60);
	EXPECT_GE(writes, 4);
}

/* A field of an ID register, and the most that may stand in it. */
struct id_field {
	uint8_t crm, op2, shift, max;
	bool none;		/* 15: there is none */
};

/*
 * What is in a guest's ID registers: features that are instructions only, or whose
 * state EL2 switches, as far as that is so. All other fields are 0.
 */
static const struct id_field id_fields[] = {
	/* PFR0: EL0, EL1, EL3, FP, AdvSIMD, GIC, RAS, DIT, CSV2, CSV3 */
	{ 4, 0, 0, 1 }, { 4, 0, 4, 1 }, { 4, 0, 12, 1 }, { 4, 0, 16, 1, true },
	{ 4, 0, 20, 1, true }, { 4, 0, 24, 1 }, { 4, 0, 28, 1 }, { 4, 0, 48, 1 },
	{ 4, 0, 56, 1 }, { 4, 0, 60, 1 },
	/* PFR1: BT, SSBS */
	{ 4, 1, 0, 1 }, { 4, 1, 4, 2 },
	/* DFR0: DoubleLock, MTPMU */
	{ 5, 0, 36, 0, true }, { 5, 0, 48, 0, true },
	/* ISAR0: AES, SHA1, SHA2, CRC32, Atomic, RDM, SHA3, SM3, SM4, DP, FHM, TS, TLB, RNDR */
	{ 6, 0, 4, 2 }, { 6, 0, 8, 1 }, { 6, 0, 12, 2 }, { 6, 0, 16, 1 }, { 6, 0, 20, 3 },
	{ 6, 0, 28, 1 }, { 6, 0, 32, 1 }, { 6, 0, 36, 1 }, { 6, 0, 40, 1 }, { 6, 0, 44, 1 },
	{ 6, 0, 48, 1 }, { 6, 0, 52, 2 }, { 6, 0, 56, 2 }, { 6, 0, 60, 1 },
	/* ISAR1: DPB, APA, API, JSCVT, FCMA, LRCPC, GPA, GPI, FRINTTS, SB, SPECRES, BF16 */
	{ 6, 1, 0, 2 }, { 6, 1, 4, 5 }, { 6, 1, 8, 5 }, { 6, 1, 12, 1 }, { 6, 1, 16, 1 },
	{ 6, 1, 20, 3 }, { 6, 1, 24, 1 }, { 6, 1, 28, 1 }, { 6, 1, 32, 1 }, { 6, 1, 36, 1 },
	{ 6, 1, 40, 2 }, { 6, 1, 44, 2 },
	/* DGH, I8MM */
	{ 6, 1, 48, 1 }, { 6, 1, 52, 1 },
	/* ISAR2: GPA3, APA3, MOPS, ATS1A */
	{ 6, 2, 8, 1 }, { 6, 2, 12, 5 }, { 6, 2, 16, 1 }, { 6, 2, 60, 1 },
	/* MMFR0: PARange, ASIDBits, BigEnd, SNSMem, BigEndEL0, TGran16, 64 and 4, ExS */
	{ 7, 0, 0, 2 }, { 7, 0, 4, 2 }, { 7, 0, 8, 1 }, { 7, 0, 12, 1 }, { 7, 0, 16, 1 },
	{ 7, 0, 20, 2 }, { 7, 0, 24, 0, true }, { 7, 0, 28, 1, true }, { 7, 0, 44, 1 },
	/* MMFR1: HAFDBS, VMIDBits, HPDS, PAN, SpecSEI, ETS, CMOW */
	{ 7, 1, 0, 2 }, { 7, 1, 4, 2 }, { 7, 1, 12, 2 }, { 7, 1, 20, 3 }, { 7, 1, 24, 1 },
	{ 7, 1, 36, 3 }, { 7, 1, 56, 1 },
	/* MMFR2: CnP, UAO, IESB, AT, IDS, TTL, BBM, E0PD */
	{ 7, 2, 0, 1 }, { 7, 2, 4, 1 }, { 7, 2, 12, 1 }, { 7, 2, 32, 1 }, { 7, 2, 36, 2 },
	{ 7, 2, 48, 1 }, { 7, 2, 52, 2 }, { 7, 2, 60, 1 },
};

static bool id_field_is_fine(unsigned int reg, unsigned int shift, unsigned int val)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(id_fields); i++) {
		const struct id_field *f = &id_fields[i];

		if (f->crm * 8 + f->op2 == reg && f->shift == shift)
			return val <= f->max || (f->none && val == 15);
	}
	return !val;
}

/* A guest is not offered what is not isolated: whatever the CPU has, now or later. */
TEST_F_TIMEOUT(trap, i8_every_field_of_the_id_registers, TIMEOUT)
{
	uint64_t *ids = lend(self, READ_IPA), pfr0;
	unsigned int reg, shift, val;

	EXPECT_EQ(pkvm_must(self->vcpu, guest_read_ids, READ_IPA), 0);
	for (reg = 8; reg < 64; reg++) {
		for (shift = 0; shift < 64; shift += 4) {
			val = READ_ONCE(ids[reg]) >> shift & 15;
			EXPECT_TRUE(id_field_is_fine(reg, shift, val)) {
				TH_LOG("S3_0_C0_C%u_%u has %u at bit %u", reg / 8, reg % 8,
				       val, shift);
			}
		}
	}
	/* AArch64 at EL0 and EL1 and no EL2, with a GIC. */
	pfr0 = READ_ONCE(ids[4 * 8]);
	EXPECT_EQ(pfr0 & 0xf000fff, 0x1000011);
}

/* S59: of EL2's maintenance there is none; of its own it does what it likes. */
TEST_F_TIMEOUT(trap, i5_instructions_of_el2, TIMEOUT)
{
	EXPECT_EQ(pkvm_must(self->vcpu, guest_el2_instructions), 0) {
		TH_LOG("%lu, the first is %#lx", self->vcpu->ret, self->vcpu->out[0]);
	}
}

TEST_F_TIMEOUT(trap, i1_maintenance_is_its_own, TIMEOUT)
{
	uint64_t *stop = lend(self, STOP_IPA);
	struct pkvm_vcpu *other = pkvm_vcpu0(self->other);
	struct pkvm_thread t;
	int i;

	pkvm_must(self->vcpu, guest_fill, WORK_IPA, PAGE, self->seed);
	pkvm_thread_start(&t, self->vcpu, guest_maintain, STOP_IPA, WORK_IPA);
	for (i = 0; i < 10; i++) {
		EXPECT_EQ(pkvm_must(other, guest_verify, PKVM_MEM_IPA, 4 * PAGE, self->seed),
			  0);
		EXPECT_EQ(pkvm_must(other, guest_fill, PKVM_MEM_IPA, 4 * PAGE, self->seed), 0);
	}
	WRITE_ONCE(*stop, 1);
	ASSERT_EQ(pkvm_thread_join(&t), PKVM_RETURNED);
	EXPECT_GT(self->vcpu->ret, 0);
}

/* S57: EL2 does not let it run on, and the host learns of it. */
TEST_F_TIMEOUT(trap, i5_aarch32, TIMEOUT)
{
	int stop, i;

	pkvm_must(self->vcpu, guest_store, TABLE_IPA, 0);
	pkvm_must(self->vcpu, guest_store, CODE_IPA, 0);
	stop = pkvm_call_timeout(self->vcpu, 5000, guest_go_to_aarch32, TABLE_IPA, CODE_IPA);
	if (stop == PKVM_PANIC) {
		/* No AArch32 on this CPU: illegal execution state, in the guest. */
		EXPECT_EQ(self->vcpu->out[1] >> ESR_EC_SHIFT & ESR_EC_MASK, 0x0e);
		SKIP(return, "this CPU has no AArch32");
	}
	EXPECT_NE(stop, -EINTR) {
		TH_LOG("it runs in AArch32 state");
	}
	TH_LOG("KVM_RUN: %d, exit reason %u", stop, self->vcpu->run->exit_reason);
	EXPECT_TRUE(stop < 0 || (stop == PKVM_EXIT && self->vcpu->run->exit_reason ==
				 KVM_EXIT_FAIL_ENTRY));
	/* Never again. */
	for (i = 0; i < 3; i++) {
		stop = pkvm_resume_timeout(self->vcpu, 100);
		EXPECT_TRUE((stop < 0 && stop != -EINTR) ||
			    (stop == PKVM_EXIT && self->vcpu->run->exit_reason ==
			     KVM_EXIT_FAIL_ENTRY)) {
			TH_LOG("KVM_RUN: %d", stop);
		}
	}
}

/* S62: requests without end; the VMM is not kept from ending it, nothing is lost. */
TEST_F_TIMEOUT(trap, i5_requests_without_end, TIMEOUT)
{
	static const struct {
		uint64_t fn, addr, step;
		bool works;
	} t[] = {
		/* No memory: shares that the host is asked to serve. */
		{ PKVM_HVC_SHARE, PKVM_HOLE_IPA, PAGE },
		{ PKVM_HVC_SHARE, PKVM_CTL_IPA, PAGE },
		{ PKVM_HVC_UNSHARE, PKVM_HOLE_IPA, PAGE },
		/* Each takes a table of its own, of which there are so many. */
		{ PKVM_HVC_GUARD_MAP, PKVM_HOLE_IPA, SZ_2M, true },
	};
	uint64_t *stop = lend(self, STOP_IPA);
	int i, ret;

	for (i = 0; i < ARRAY_SIZE(t); i++) {
		struct pkvm_thread thread;

		/* It can be stopped at any time, and goes on. */
		WRITE_ONCE(*stop, 0);
		pkvm_thread_start(&thread, self->vcpu, guest_call_forever, STOP_IPA, t[i].fn,
				  t[i].addr, t[i].step, 1ul << 40);
		usleep(300000);
		ret = pkvm_thread_stop(&thread);
		EXPECT_EQ(ret, -EINTR) {
			TH_LOG("request %d: %d", i, ret);
		}
		WRITE_ONCE(*stop, 1);
		while (ret == -EINTR)
			ret = pkvm_resume(self->vcpu);
		ASSERT_EQ(ret, PKVM_RETURNED);
		TH_LOG("request %d: %lu served, %lu refused", i, self->vcpu->ret,
		       self->vcpu->out[0]);
		EXPECT_EQ(self->vcpu->ret != 0, t[i].works);
		EXPECT_LE(self->vcpu->ret, SZ_4M / PAGE);
		EXPECT_TRUE(t[i].works || self->vcpu->out[0] != 0);
	}
}

/* S64, S72: the immediate means nothing, and neither do bits above the function's. */
TEST_F_TIMEOUT(trap, i5_smc_and_hvc_of_any_number, TIMEOUT)
{
	static const uint64_t high[] = { 0, 1ul << 32, 1ul << 63, 0xffffffff00000000 };
	static const uint64_t fns[] = {
		0, 1, 2, 3, 0x80000000, 0x84000000, 0x84000008, 0xc4000003, 0x8600ff01,
		0xc6000000, 0xffffffff,
	};
	int i, j;

	for (i = 0; i < ARRAY_SIZE(high); i++) {
		for (j = 0; j < ARRAY_SIZE(fns); j++) {
			EXPECT_EQ(pkvm_must(self->vcpu, guest_smc_1, high[i] | fns[j]), ~0ul);
			EXPECT_EQ(pkvm_must(self->vcpu, guest_smc_max, high[i] | fns[j]), ~0ul);
		}
		EXPECT_EQ(pkvm_must(self->vcpu, guest_hvc_1, high[i] | 0x84000000), 0x10001);
		EXPECT_EQ(pkvm_must(self->vcpu, guest_hvc_panic, high[i] | 0x84000000),
			  0x10001);
		EXPECT_EQ(pkvm_must(self->vcpu, guest_hvc_max, high[i] | 0x84000000), 0x10001);
		/* Those of the host, and of EL2's stub. */
		for (j = 0; j < 4; j++)
			EXPECT_EQ(pkvm_must(self->vcpu, guest_hvc_1, high[i] | j), ~0ul);
		EXPECT_EQ(pkvm_must(self->vcpu, guest_hvc_1, high[i] | 0xc6000040), ~0ul);
	}
}

/* S65: the guest that trusts the host with its tables harms itself only. */
TEST_F_TIMEOUT(trap, i5_guest_tables_in_a_shared_page, TIMEOUT)
{
	uint64_t *stop = lend(self, STOP_IPA), *table = lend(self, TABLE_IPA);
	uint64_t wild[] = {
		0, ~0ul, 3, PKVM_HOLE_IPA | 3, (1ul << 39) - 4093, PKVM_CTL_IPA | 0x701,
		TABLE_IPA | 3, 1ul << 47 | 0x701,
	};
	struct pkvm_thread t;
	uint64_t good[2], i;
	int ret;

	pkvm_must(self->vcpu, guest_store, WORK_IPA, 0);
	pkvm_must(self->vcpu, guest_copy_table, TABLE_IPA);
	good[0] = READ_ONCE(table[PKVM_MEM_IPA >> 30]);
	good[1] = READ_ONCE(table[0]);
	ASSERT_NE(good[0], 0);
	pkvm_thread_start(&t, self->vcpu, guest_trust_table, TABLE_IPA, WORK_IPA, STOP_IPA);
	for (i = 0; i < 20000 && !READ_ONCE(t.done); i++) {
		WRITE_ONCE(table[PKVM_MEM_IPA >> 30], wild[i % ARRAY_SIZE(wild)]);
		WRITE_ONCE(table[PKVM_MEM_IPA >> 30], good[0]);
		/* Where its code is: for a moment only, so that it lives for some time. */
		if (i % 64 == 63) {
			WRITE_ONCE(table[0], wild[i / 64 % ARRAY_SIZE(wild)]);
			WRITE_ONCE(table[0], good[1]);
		}
	}
	WRITE_ONCE(*stop, 1);
	WRITE_ONCE(table[0], good[1]);
	WRITE_ONCE(table[PKVM_MEM_IPA >> 30], good[0]);
	usleep(50000);
	ret = pkvm_thread_stop(&t);
	TH_LOG("after %lu changes: %d", i, ret);
	/* Whatever became of it, it is alone with that: see the teardown. */
	EXPECT_NE(i, 0);
}

struct user {
	pthread_t tid;
	char *mem;
	bool stop;
	uint64_t done, refused, other;
};

static void *use_pages(void *arg)
{
	struct user *u = arg;
	char buf[256];
	unsigned int n = 0;

	memset(buf, 0xee, sizeof(buf));
	while (!READ_ONCE(u->stop)) {
		char *page = u->mem + (n++ * 7 % NR_SHARED) * PAGE;
		struct iovec local = { buf, sizeof(buf) }, remote = { page, sizeof(buf) };
		ssize_t ret;

		if (n & 1)
			ret = process_vm_writev(getpid(), &local, 1, &remote, 1, 0);
		else
			ret = process_vm_readv(getpid(), &local, 1, &remote, 1, 0);
		if (ret == sizeof(buf))
			u->done++;
		else if (ret < 0 && errno == EFAULT)
			u->refused++;
		else
			u->other++;
		memset(buf, 0xee, sizeof(buf));
	}
	return NULL;
}

/* S67: all pages, while the host uses all of them. */
TEST_F_TIMEOUT(trap, i1_i6_unshare_all_while_used, TIMEOUT)
{
	struct user u = { .mem = mem_at(self->vm, SHARED_IPA) };
	int tries;

	ASSERT_EQ(pthread_create(&u.tid, NULL, use_pages, &u), 0);
	pkvm_must(self->vcpu, guest_share_and_unshare_all, SHARED_IPA, NR_SHARED, 8);
	/* They are private now: who has not been refused yet will be. */
	for (tries = 0; tries < 10000 && !READ_ONCE(u.refused); tries++)
		usleep(1000);
	WRITE_ONCE(u.stop, true);
	pthread_join(u.tid, NULL);
	TH_LOG("%lu accesses, %lu refused; %lu unshares refused", u.done, u.refused,
	       self->vcpu->ret);
	/* What is private again stays what the guest wrote. */
	EXPECT_EQ(self->vcpu->out[0], 0);
	EXPECT_EQ(u.other, 0);
	EXPECT_GT(u.refused, 0);
}

TEST_HARNESS_MAIN
