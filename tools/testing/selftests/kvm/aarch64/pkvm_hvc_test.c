// SPDX-License-Identifier: GPL-2.0-only
/*
 * The hypercalls that EL2 serves for a protected guest: what exists, what it
 * answers, and that bad arguments and unknown calls are errors for the guest
 * and no concern of the host (I5). A call that ends in an exit to user space
 * fails the test everywhere here: the host must not see the registers (I8).
 */
#include <asm/kvm.h>
#include <linux/psci.h>
#include <linux/sizes.h>

#include "kselftest_harness.h"
#include "kvm_util.h"
#include "processor.h"
#include "pkvm.h"

#define TIMEOUT		120

#define FEATURE_MEMINFO		BIT(2)
#define FEATURE_SHARE		BIT(3)
#define FEATURE_UNSHARE		BIT(4)
#define FEATURE_GUARD		BIT(7)

#define SMCCC_VERSION		0x80000000UL
#define SMCCC_ARCH_FEATURES	0x80000001UL

#define TRNG_VERSION		0x84000050UL
#define TRNG_FEATURES		0x84000051UL
#define TRNG_GET_UUID		0x84000052UL
#define TRNG_RND32		0x84000053UL
#define TRNG_RND64		0xc4000053UL
#define TRNG_INVALID		(-2L)
#define TRNG_NO_ENTROPY		(-3L)

FIXTURE(hvc) {
	struct pkvm_vm *vm;
	struct pkvm_vcpu *vcpu;
	struct pkvm_counters before;
};

FIXTURE_SETUP(hvc)
{
	const char *why = pkvm_unavailable();

	if (why)
		SKIP(return, "%s", why);
	pkvm_counters_read(&self->before);
	self->vm = pkvm_vm_create(NULL);
	self->vcpu = pkvm_vcpu0(self->vm);
}

FIXTURE_TEARDOWN(hvc)
{
	pkvm_vm_free(self->vm);
	EXPECT_TRUE(pkvm_counters_back(&self->before, -1));
}

/* The result of a call; values of 32 bits are sign-extended. */
static long hvc(struct pkvm_vcpu *vcpu, uint64_t fn, uint64_t a1, uint64_t a2,
		uint64_t a3)
{
	uint64_t ret = pkvm_must(vcpu, guest_hvc, fn, a1, a2, a3);

	return (fn & BIT(30)) ? (long)ret : (int)ret;
}

TEST_F_TIMEOUT(hvc, smccc_version_and_features, TIMEOUT)
{
	EXPECT_EQ(hvc(self->vcpu, SMCCC_VERSION, 0, 0, 0), 0x10002);
	EXPECT_EQ(hvc(self->vcpu, SMCCC_ARCH_FEATURES, 0x80001234, 0, 0),
		  PKVM_SMCCC_NOT_SUPPORTED);
	EXPECT_EQ(hvc(self->vcpu, PSCI_0_2_FN_PSCI_VERSION, 0, 0, 0), 0x10001);
}

/* The function is 32 bits wide: what stands above it changes nothing. */
TEST_F_TIMEOUT(hvc, i2_function_is_32_bits, TIMEOUT)
{
	uint64_t high = 0xffffffff00000000UL;

	EXPECT_EQ((int)pkvm_must(self->vcpu, guest_hvc, high | SMCCC_VERSION),
		  hvc(self->vcpu, SMCCC_VERSION, 0, 0, 0));
	EXPECT_EQ((long)pkvm_must(self->vcpu, guest_hvc, high | PKVM_HVC_MEMINFO),
		  getpagesize());
}

TEST_F_TIMEOUT(hvc, vendor_uid_and_features, TIMEOUT)
{
	uint32_t features;

	hvc(self->vcpu, PKVM_HVC_UID, 0, 0, 0);
	EXPECT_EQ((uint32_t)self->vcpu->out[0], 0xb66fb428U);
	EXPECT_EQ((uint32_t)self->vcpu->out[1], 0xe911c52eU);
	EXPECT_EQ((uint32_t)self->vcpu->out[2], 0x564bcaa9U);
	EXPECT_EQ((uint32_t)self->vcpu->out[3], 0x743a004dU);

	features = hvc(self->vcpu, PKVM_HVC_FEATURES, 0, 0, 0);
	EXPECT_EQ(features & FEATURE_MEMINFO, FEATURE_MEMINFO);
	EXPECT_EQ(features & FEATURE_SHARE, FEATURE_SHARE);
	EXPECT_EQ(features & FEATURE_UNSHARE, FEATURE_UNSHARE);
	EXPECT_EQ(features & FEATURE_GUARD, FEATURE_GUARD);
	/* Words 1 to 3 are reserved, and must not carry host or EL2 values. */
	EXPECT_EQ((uint32_t)self->vcpu->out[3], 0U);
}

/* FEATURES and the calls agree, for every number of the vendor range. */
TEST_F_TIMEOUT(hvc, i5_unadvertised_calls_are_not_supported, TIMEOUT)
{
	uint64_t features;
	int n;

	features = (uint32_t)hvc(self->vcpu, PKVM_HVC_FEATURES, 0, 0, 0);
	features |= self->vcpu->out[1] << 32;
	for (n = 1; n < 64; n++) {
		if (features & BIT(n))
			continue;
		EXPECT_EQ(hvc(self->vcpu, PKVM_HVC(n), PKVM_MEM_IPA, 0, 0),
			  PKVM_SMCCC_NOT_SUPPORTED) {
			TH_LOG("vendor call %d", n);
		}
	}
}

TEST_F_TIMEOUT(hvc, i5_unknown_calls_are_not_supported, TIMEOUT)
{
	static const uint64_t unknown[] = {
		0x80002fff, 0xc0002fff,		/* architecture */
		0x81000001, 0xc1000001,		/* CPU */
		0x82000001, 0xc2000001,		/* SiP */
		0x83000001, 0xc3000001,		/* OEM */
		0x8400ffff, 0xc400ffff,		/* standard secure: PSCI */
		0x84000060, 0xc400006f,		/* standard secure: FF-A */
		0x85000001, 0xc500ff00,		/* standard hyp */
		0x86001234, 0xc6000100,		/* vendor hyp */
		0xb0000000, 0xf0000000,		/* trusted applications */
		0xff000000, 0x00000000,		/* trusted OS; yielding */
		0x7fffffff,
	};
	int i;

	for (i = 0; i < ARRAY_SIZE(unknown); i++) {
		EXPECT_EQ((int)hvc(self->vcpu, unknown[i], ~0UL, ~0UL, ~0UL),
			  PKVM_SMCCC_NOT_SUPPORTED) {
			TH_LOG("function %#lx", unknown[i]);
		}
	}
}

/* S64: an SMC is answered, is never forwarded, and moves on. */
TEST_F_TIMEOUT(hvc, i5_smc_is_not_supported, TIMEOUT)
{
	static const uint64_t fns[] = {
		SMCCC_VERSION, PSCI_0_2_FN_PSCI_VERSION, PSCI_0_2_FN_SYSTEM_OFF,
		PKVM_HVC_MEMINFO, PKVM_HVC_SHARE, 0x82000001, 0xc2000001, 0,
	};
	int i;

	for (i = 0; i < ARRAY_SIZE(fns); i++) {
		EXPECT_EQ((int)pkvm_must(self->vcpu, guest_smc, fns[i], PKVM_MEM_IPA),
			  PKVM_SMCCC_NOT_SUPPORTED) {
			TH_LOG("function %#lx", fns[i]);
		}
	}
}

TEST_F_TIMEOUT(hvc, meminfo, TIMEOUT)
{
	EXPECT_EQ(hvc(self->vcpu, PKVM_HVC_MEMINFO, 0, 0, 0), getpagesize());
	EXPECT_EQ(hvc(self->vcpu, PKVM_HVC_MEMINFO, 1, 0, 0),
		  PKVM_SMCCC_INVALID_PARAMETER);
	EXPECT_EQ(hvc(self->vcpu, PKVM_HVC_MEMINFO, 0, 1, 0),
		  PKVM_SMCCC_INVALID_PARAMETER);
	EXPECT_EQ(hvc(self->vcpu, PKVM_HVC_MEMINFO, 0, 0, 1),
		  PKVM_SMCCC_INVALID_PARAMETER);
}

/* S60, S61: what cannot be shared is refused, and nothing changes. */
TEST_F_TIMEOUT(hvc, i1_share_bad_arguments, TIMEOUT)
{
	uint64_t ipa = PKVM_MEM_IPA, page = getpagesize();
	static const uint64_t fns[] = { PKVM_HVC_SHARE, PKVM_HVC_UNSHARE };
	uint64_t limit = 1UL << pkvm_max_ipa_bits();
	uint64_t bad[] = {
		ipa + 1, ipa + page / 2, ipa + page - 8,	/* unaligned */
		ipa + self->vm->mem_size,			/* after the RAM */
		PKVM_HOLE_IPA, PKVM_CTL_IPA, PKVM_GICD_IPA,	/* no RAM */
		limit - page, limit, limit + ipa, 1UL << 52, 1UL << 63,
		-page, -1UL,
		(1UL << 56) | ipa,				/* a tag */
	};
	int i, j;

	pkvm_must(self->vcpu, guest_fill, ipa, page, 1);
	for (j = 0; j < ARRAY_SIZE(fns); j++) {
		for (i = 0; i < ARRAY_SIZE(bad); i++) {
			EXPECT_EQ(hvc(self->vcpu, fns[j], bad[i], 0, 0),
				  PKVM_SMCCC_INVALID_PARAMETER) {
				TH_LOG("call %#lx, ipa %#lx", fns[j], bad[i]);
			}
		}
		EXPECT_EQ(hvc(self->vcpu, fns[j], ipa, 0, 1),
			  PKVM_SMCCC_INVALID_PARAMETER);
	}
	EXPECT_EQ(pkvm_must(self->vcpu, guest_verify, ipa, page, 1), 0);
	if (!self->vm->ordinary)
		EXPECT_TRUE(pkvm_is_segv_at(pkvm_host_read(self->vm->mem, NULL),
					    self->vm->mem));
}

TEST_F_TIMEOUT(hvc, i1_share_and_unshare_codes, TIMEOUT)
{
	uint64_t ipa = PKVM_MEM_IPA;

	pkvm_must(self->vcpu, guest_store, ipa, 1);
	EXPECT_EQ(hvc(self->vcpu, PKVM_HVC_UNSHARE, ipa, 0, 0),
		  PKVM_SMCCC_INVALID_PARAMETER);
	EXPECT_EQ(hvc(self->vcpu, PKVM_HVC_SHARE, ipa, 0, 0), 0);
	EXPECT_EQ(hvc(self->vcpu, PKVM_HVC_SHARE, ipa, 0, 0),
		  PKVM_SMCCC_INVALID_PARAMETER);
	EXPECT_EQ(hvc(self->vcpu, PKVM_HVC_UNSHARE, ipa, 0, 0), 0);
	EXPECT_EQ(hvc(self->vcpu, PKVM_HVC_UNSHARE, ipa, 0, 0),
		  PKVM_SMCCC_INVALID_PARAMETER);
	/* And again, from the state that this left. */
	EXPECT_EQ(hvc(self->vcpu, PKVM_HVC_SHARE, ipa, 0, 0), 0);
	EXPECT_EQ(hvc(self->vcpu, PKVM_HVC_UNSHARE, ipa, 0, 0), 0);
}

/* A page that the guest never touched can be shared: it is RAM all the same. */
TEST_F_TIMEOUT(hvc, i1_share_before_first_touch, TIMEOUT)
{
	uint64_t ipa = PKVM_MEM_IPA + SZ_64K;

	EXPECT_EQ(hvc(self->vcpu, PKVM_HVC_SHARE, ipa, 0, 0), 0);
	pkvm_must(self->vcpu, guest_store, ipa, 0x1234);
	EXPECT_EQ(*(uint64_t *)(self->vm->mem + SZ_64K), 0x1234);
	EXPECT_EQ(hvc(self->vcpu, PKVM_HVC_UNSHARE, ipa, 0, 0), 0);
}

TEST_F_TIMEOUT(hvc, guard_bad_arguments, TIMEOUT)
{
	uint64_t page = getpagesize();

	EXPECT_EQ(hvc(self->vcpu, PKVM_HVC_GUARD_INFO, 0, 0, 0), page);
	EXPECT_EQ(hvc(self->vcpu, PKVM_HVC_GUARD_MAP, PKVM_DEV_IPA + 8, 0, 0),
		  PKVM_SMCCC_INVALID_PARAMETER);
	EXPECT_EQ(hvc(self->vcpu, PKVM_HVC_GUARD_MAP, -page, 0, 0),
		  PKVM_SMCCC_INVALID_PARAMETER);
	EXPECT_EQ(hvc(self->vcpu, PKVM_HVC_GUARD_MAP, 1UL << 52, 0, 0),
		  PKVM_SMCCC_INVALID_PARAMETER);
	/* S66: RAM that is in use is no device. */
	pkvm_must(self->vcpu, guest_store, PKVM_MEM_IPA, 7);
	EXPECT_EQ(hvc(self->vcpu, PKVM_HVC_GUARD_MAP, PKVM_MEM_IPA, 0, 0),
		  PKVM_SMCCC_INVALID_PARAMETER);
	EXPECT_EQ(pkvm_must(self->vcpu, guest_load, PKVM_MEM_IPA), 7);
	/* As often as the guest likes. */
	EXPECT_EQ(hvc(self->vcpu, PKVM_HVC_GUARD_MAP, PKVM_DEV_IPA, 0, 0), 0);
	EXPECT_EQ(hvc(self->vcpu, PKVM_HVC_GUARD_MAP, PKVM_DEV_IPA, 0, 0), 0);
}

/* Each of its pages needs a table of its own; returns how many there are. */
static uint64_t guest_guard_far_apart(uint64_t ipa, uint64_t step, uint64_t max)
{
	uint64_t i;

	for (i = 0; i < max; i++) {
		if (guest_hvc_quiet(PKVM_HVC_GUARD_MAP, ipa + i * step, 0, 0))
			break;
	}
	return i;
}

/* The tables are the host's memory, and no memslot bounds them. */
TEST_F_TIMEOUT(hvc, i5_guard_takes_no_more_tables_than_it_may, TIMEOUT)
{
	uint64_t page = getpagesize(), step = page * page / 8, ipa = 1UL << 36;
	uint64_t most = SZ_4M / page, nr;

	nr = pkvm_must(self->vcpu, guest_guard_far_apart, ipa, step, most + 1);
	EXPECT_GT(nr, most / 2);
	EXPECT_LE(nr, most);
	/* Beside one that is there no table is needed, nor is one for memory. */
	EXPECT_EQ(hvc(self->vcpu, PKVM_HVC_GUARD_MAP, ipa + page, 0, 0), 0);
	EXPECT_EQ(hvc(self->vcpu, PKVM_HVC_GUARD_MAP, ipa + nr * step, 0, 0),
		  PKVM_SMCCC_INVALID_PARAMETER);
	pkvm_must(self->vcpu, guest_store, PKVM_MEM_IPA, 7);
	EXPECT_EQ(pkvm_must(self->vcpu, guest_load, PKVM_MEM_IPA), 7);
}

static bool exits_as_store(struct pkvm_vcpu *vcpu, uint64_t ipa, uint64_t val)
{
	struct kvm_run *run = vcpu->run;
	uint64_t seen;

	if (pkvm_call(vcpu, guest_try_store, ipa, val) != PKVM_EXIT)
		return false;
	memcpy(&seen, run->mmio.data, 8);
	if (run->exit_reason != KVM_EXIT_MMIO || run->mmio.phys_addr != ipa ||
	    !run->mmio.is_write || run->mmio.len != 8 || seen != val)
		return false;
	return pkvm_resume(vcpu) == PKVM_RETURNED && vcpu->ret == 0;
}

/* Without the guard an access to no memory is MMIO, as for any guest. */
TEST_F_TIMEOUT(hvc, guard_is_off_until_asked_for, TIMEOUT)
{
	EXPECT_TRUE(exits_as_store(self->vcpu, PKVM_DEV_IPA, 0x11));
	EXPECT_EQ(hvc(self->vcpu, PKVM_HVC_GUARD_MAP, PKVM_DEV_IPA, 0, 0), 0);
	EXPECT_TRUE(exits_as_store(self->vcpu, PKVM_DEV_IPA, 0x22));
	EXPECT_TRUE(exits_as_store(self->vcpu, PKVM_DEV_IPA + SZ_64K, 0x33));
}

/* I8: with it, what the guest did not name never reaches the host. */
TEST_F_TIMEOUT(hvc, i8_guard_keeps_stores_from_the_host, TIMEOUT)
{
	struct pkvm_vcpu *vcpu = self->vcpu;
	uint64_t secret = pkvm_pattern(pkvm_seed(), 1);

	ASSERT_EQ(hvc(vcpu, PKVM_HVC_GUARD_MAP, PKVM_CTL_IPA, 0, 0), 0);
	ASSERT_EQ(hvc(vcpu, PKVM_HVC_GUARD_ENROLL, 0, 0, 0), 0);

	memset(vcpu->run->mmio.data, 0, 8);
	ASSERT_EQ(pkvm_must(vcpu, guest_try_store, PKVM_DEV_IPA + 16, secret), 1);
	EXPECT_EQ(vcpu->out[0], 4);	/* current EL, synchronous */
	EXPECT_EQ((vcpu->out[1] >> ESR_EC_SHIFT) & ESR_EC_MASK, ESR_EC_DABT);
	EXPECT_EQ(vcpu->out[3], PKVM_DEV_IPA + 16);
	EXPECT_EQ(pkvm_must(vcpu, guest_try_load, PKVM_DEV_IPA), 1);
	EXPECT_EQ(pkvm_must(vcpu, guest_try_store, PKVM_HOLE_IPA, secret), 1);
	EXPECT_EQ(vcpu->out[3], PKVM_HOLE_IPA);
	/* RAM is not concerned. */
	EXPECT_EQ(pkvm_must(vcpu, guest_try_store, PKVM_MEM_IPA, secret), 0);

	ASSERT_EQ(hvc(vcpu, PKVM_HVC_GUARD_MAP, PKVM_DEV_IPA, 0, 0), 0);
	EXPECT_TRUE(exits_as_store(vcpu, PKVM_DEV_IPA + 16, 0x55));
	EXPECT_EQ(hvc(vcpu, PKVM_HVC_GUARD_UNMAP, PKVM_DEV_IPA, 0, 0), 0);
}

TEST_F_TIMEOUT(hvc, trng, TIMEOUT)
{
	struct pkvm_vcpu *vcpu = self->vcpu;
	uint64_t draw[4][3], ret;
	int i;

	if (hvc(vcpu, TRNG_VERSION, 0, 0, 0) == PKVM_SMCCC_NOT_SUPPORTED)
		SKIP(return, "no source of entropy at EL2 on this CPU");
	EXPECT_GE(hvc(vcpu, TRNG_VERSION, 0, 0, 0), 0x10000);
	EXPECT_EQ(hvc(vcpu, TRNG_FEATURES, TRNG_VERSION, 0, 0), 0);
	EXPECT_EQ(hvc(vcpu, TRNG_FEATURES, TRNG_RND64, 0, 0), 0);
	EXPECT_EQ(hvc(vcpu, TRNG_FEATURES, 0x84000059, 0, 0),
		  PKVM_SMCCC_NOT_SUPPORTED);
	/* -1 would say that there is none. */
	EXPECT_NE((int)hvc(vcpu, TRNG_GET_UUID, 0, 0, 0), -1);

	EXPECT_EQ(hvc(vcpu, TRNG_RND64, 0, 0, 0), TRNG_INVALID);
	EXPECT_EQ(hvc(vcpu, TRNG_RND64, 193, 0, 0), TRNG_INVALID);
	EXPECT_EQ(hvc(vcpu, TRNG_RND64, -1UL, 0, 0), TRNG_INVALID);
	EXPECT_EQ(hvc(vcpu, TRNG_RND32, 97, 0, 0), TRNG_INVALID);

	for (i = 0; i < 4; i++) {
		do {
			ret = hvc(vcpu, TRNG_RND64, 192, 0, 0);
		} while ((long)ret == TRNG_NO_ENTROPY);
		ASSERT_EQ(ret, 0);
		memcpy(draw[i], &vcpu->out[1], sizeof(draw[i]));
		EXPECT_NE(draw[i][0], draw[i][1]);
		if (i)
			EXPECT_NE(memcmp(draw[i], draw[i - 1], sizeof(draw[i])), 0);
	}
	/* No more bits than were asked for. */
	ASSERT_EQ(hvc(vcpu, TRNG_RND64, 8, 0, 0), 0);
	EXPECT_EQ(vcpu->out[1] | vcpu->out[2], 0);
	EXPECT_EQ(vcpu->out[3] & ~0xffUL, 0);
}

TEST_HARNESS_MAIN
