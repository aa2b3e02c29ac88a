// SPDX-License-Identifier: GPL-2.0-only
/*
 * The proxy of FF-A, in KTAP: what the host is told, what the secure world gets, and
 * what is the host's afterwards. No machine of QEMU has a secure world, so that only
 * here the proxy runs.
 */
#include "spmc.h"
#include "unit.h"
#include "watch.h"

#define INVALID		FFA_RET_INVALID_PARAMETERS
#define DENIED		FFA_RET_DENIED
#define UNSUPPORTED	FFA_RET_NOT_SUPPORTED
#define NO_MEMORY	FFA_RET_NO_MEMORY
#define ABORTED		FFA_RET_ABORTED

#define V1_0		FFA_VERSION_1_0
#define V1_1		FFA_VERSION_1_1
#define V1_2		FFA_VERSION_1_2

static long call(unsigned long fn, unsigned long a1, unsigned long a2, unsigned long a3)
{
	return op_smc(fn, a1, a2, a3, 0, 0);
}

static long version(u32 v)
{
	return call(FFA_VERSION, v, 0, 0);
}

/* Both know the version, and the host has mailboxes. */
static void start(u32 v)
{
	is(version(v), v);
	is(call(FFA_FN64_RXTX_MAP, take(PAGE_SIZE), take(PAGE_SIZE), 1), 0);
}

/* --- descriptors */

/* What the host has in its mailbox, of the version that is spoken. */
static u32 put(const struct ffa_range *ranges, u32 nr)
{
	return ffa_describe(host_ptr(host_tx), spmc.agreed, ranges, nr);
}

static struct ffa_mem_region_attributes *host_ep(void)
{
	return (void *)((u8 *)host_ptr(host_tx) + (spmc.agreed > V1_0 ? 48 : 32));
}

static struct ffa_composite_mem_region *host_composite(void)
{
	return (void *)((u8 *)host_ptr(host_tx) + (spmc.agreed > V1_0 ? 64 : 48));
}

#define HEADERS	((u32)((u8 *)host_composite()->constituents - (u8 *)host_ptr(host_tx)))

static long share(u32 len)
{
	return call(FFA_FN64_MEM_SHARE, len, len, 0);
}

static long share_one(u64 phys, u32 nr)
{
	struct ffa_range r = { phys, nr };

	return share(put(&r, 1));
}

/* The handle that the last call gave. */
static u64 handle(void)
{
	return PACK_HANDLE(smc_ret[2], smc_ret[3]);
}

static long reclaim(u64 handle)
{
	return call(FFA_MEM_RECLAIM, HANDLE_LOW(handle), HANDLE_HIGH(handle), 0);
}

static unsigned int count_secure(void)
{
	unsigned int n = 0;

	for (int i = 0; i < (int)NR_PAGES; i++)
		n += m.page[i].ffa;

	return n;
}

/* --- versions */

static void test_ffa_version(void)
{
	/* Nothing else before it. */
	is(call(FFA_FN64_RXTX_MAP, take(PAGE_SIZE), take(PAGE_SIZE), 1), INVALID);
	is(call(FFA_ID_GET, 0, 0, 0), INVALID);
	is(call(FFA_FN64_MEM_SHARE, 96, 96, 0), INVALID);
	is(version(0), UNSUPPORTED);
	is(version(2 << 16), UNSUPPORTED);
	is(version(0x7fff0000), UNSUPPORTED);
	is(version(-1U), UNSUPPORTED);
	/* Bit 31 is no part of a version, whatever firmware makes of it. */
	is(version(1U << 31 | V1_0), UNSUPPORTED);
	is(version(1U << 31 | V1_1), UNSUPPORTED);
	check(spmc.calls == 1 && spmc.agreed == V1_1);

	/* Firmware that is not what the proxy can do with. */
	spmc.fail = FFA_ID_GET;
	is(version(V1_1), UNSUPPORTED);
	spmc.fail = FFA_FEATURES;
	is(version(V1_1), UNSUPPORTED);
	spmc.fail = 0;
	spmc.id = 1;
	is(version(V1_1), UNSUPPORTED);
	spmc.id = 0;
	spmc.min_size = FFA_FEAT_RXTX_MIN_SZ_16K;
	is(version(V1_1), UNSUPPORTED);
	spmc.min_size = FFA_FEAT_RXTX_MIN_SZ_64K;
	is(version(V1_1), UNSUPPORTED);
	spmc.min_size = 77;
	is(version(V1_1), UNSUPPORTED);
	spmc.min_size = 0;
	is(call(FFA_ID_GET, 0, 0, 0), INVALID);

	/* What EL2 does not speak it does not promise. */
	is(version(V1_2), V1_1);
	check(!smc_ret[1] && !smc_ret[2] && !smc_ret[3]);
	is(version(V1_0), V1_1);
	is(version(2 << 16), UNSUPPORTED);
	check(!smc_ret[1] && !smc_ret[2] && !smc_ret[3]);
	check(spmc.agreed == V1_1);
	is(call(FFA_ID_GET, 0, 0, 0), 1);
}

static bool no_downgrade(const unsigned long *a, struct arm_smccc_res *res)
{
	if (a[0] != FFA_VERSION)
		return false;
	/* A result of 32 bits. */
	*res = (struct arm_smccc_res) { (u32)FFA_RET_NOT_SUPPORTED };

	return true;
}

static void test_ffa_downgrade(void)
{
	struct ffa_range r = { BLOCK, 1 };
	u8 *d;

	spmc.answer = no_downgrade;
	is(version(V1_0), UNSUPPORTED);
	is(call(FFA_ID_GET, 0, 0, 0), INVALID);
	spmc.answer = NULL;
	is(version(V1_0), V1_0);
	check(spmc.agreed == V1_0);
	is(version(V1_1), V1_0);
	is(call(FFA_FN64_RXTX_MAP, take(PAGE_SIZE), take(PAGE_SIZE), 1), 0);
	/* The endpoints are at 32 now, whatever is said where 1.1 would look. */
	d = host_ptr(host_tx);
	is(share(put(&r, 1)), 0);
	check(spmc_has(BLOCK));
	is(reclaim(handle()), 0);
	is(share(ffa_describe(d, V1_1, &r, 1)), INVALID);
	check(!count_secure());
}

static void test_ffa_old_firmware(void)
{
	spmc.version = V1_0;
	check(!hyp_ffa_init(fake_ffa_pages));
	is(version(V1_1), V1_0);
	spmc.version = 2 << 16;
	is(hyp_ffa_init(fake_ffa_pages), -EOPNOTSUPP);
	/* Of none there is none, be the answer of 32 bits or of 64. */
	spmc.answer = no_downgrade;
	is(hyp_ffa_init(fake_ffa_pages), 0);
	spmc.calls = 0;
	kvm_host_psci_config.smccc_version = ARM_SMCCC_VERSION_1_1;
	is(hyp_ffa_init(fake_ffa_pages), 0);
	check(!spmc.calls);
}

/* EL2 has no mailboxes then, and a secure world that answers later changes nothing. */
static void test_ffa_none_at_boot(void)
{
	spmc.calls = 0;
	is(version(V1_0), UNSUPPORTED);
	is(version(V1_1), UNSUPPORTED);
	check(!smc_ret[1] && !smc_ret[2] && !smc_ret[3]);
	is(reclaim(1), INVALID);
	is(call(FFA_FN64_RXTX_MAP, take(PAGE_SIZE), take(PAGE_SIZE), 1), INVALID);
	is(call(FFA_RXTX_UNMAP, 0, 0, 0), INVALID);
	is(call(FFA_FN64_MEM_SHARE, 96, 96, 0), INVALID);
	check(!spmc.calls && !spmc.tx);
}

static void test_ffa_calls(void)
{
	static const u32 refused[] = {
		FFA_MEM_RETRIEVE_REQ, FFA_FN64_MEM_RETRIEVE_REQ, FFA_MEM_RETRIEVE_RESP,
		FFA_MEM_RELINQUISH, FFA_MEM_OP_PAUSE, FFA_MEM_OP_RESUME, FFA_MEM_FRAG_RX,
		FFA_MEM_DONATE, FFA_FN64_MEM_DONATE, FFA_MSG_SEND, FFA_MSG_POLL,
		FFA_MSG_WAIT, FFA_MSG_SEND_DIRECT_RESP, FFA_RXTX_MAP,
	};
	static const u32 passed[] = {
		FFA_ID_GET, FFA_RUN, FFA_YIELD, FFA_MSG_SEND_DIRECT_REQ,
		FFA_FN64_MSG_SEND_DIRECT_REQ, FFA_NOTIFICATION_GET, FFA_SMC_32(0xff),
	};
	/* Not of FF-A: not looked at, whatever was agreed on. */
	static const u32 others[] = {
		0, FFA_SMC_32(0x5f), FFA_SMC_32(0x100), 0x82000073, 0xc2000073, 0x04000073,
		0x04000060, 0x86000073, -1U,
	};

	for (size_t i = 0; i < ARRAY_SIZE(others); i++)
		is(call(others[i], 0, 0, 0), 1);
	start(V1_1);
	spmc.calls = 0;
	for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
		is(call(refused[i], 0x1000, 0x2000, 1), UNSUPPORTED);
		is(call(FFA_FEATURES, refused[i], 0, 0), UNSUPPORTED);
	}
	for (size_t i = 0; i < ARRAY_SIZE(passed); i++) {
		is(call(passed[i], 5, 6, 7), 1);
		is(call(FFA_FEATURES, passed[i], 0, 0), 1);
	}
	for (size_t i = 0; i < ARRAY_SIZE(others); i++)
		is(call(others[i], 0, 0, 0), 1);
	is(call(FFA_FEATURES, FFA_FN64_MEM_SHARE, 0, 0), 0);
	check(!smc_ret[1] && !smc_ret[2] && !smc_ret[3]);
	is(call(FFA_FEATURES, FFA_MEM_LEND, 0, 0), 0);
	is(call(FFA_FEATURES, 3, 0, 0), 1);
	check(!spmc.calls);
	is(call(FFA_RX_RELEASE, 0, 0, 0), 0);
	check(spmc.calls == 1 && spmc.last[0] == FFA_RX_RELEASE && smc_ret[0] == FFA_SUCCESS);
	spmc.fail = FFA_RX_RELEASE;
	spmc.error = DENIED;
	is(call(FFA_RX_RELEASE, 0, 0, 0), DENIED);
}

/* --- mailboxes */

static void test_ffa_mailboxes(void)
{
	phys_addr_t tx = take(PAGE_SIZE), rx = take(PAGE_SIZE);
	u64 top = 1UL << fake_features.pa_bits;

	is(version(V1_1), V1_1);
	is(call(FFA_RXTX_UNMAP, 0, 0, 0), INVALID);
	is(share(96), INVALID);
	is(call(FFA_MEM_FRAG_TX, 1, 1, 16), INVALID);
	is(call(FFA_PARTITION_INFO_GET, 0, 0, 0), FFA_RET_BUSY);
	spmc.calls = 0;
	is(call(FFA_FN64_RXTX_MAP, tx, rx, 0), INVALID);
	is(call(FFA_FN64_RXTX_MAP, tx, rx, 2), INVALID);
	is(call(FFA_FN64_RXTX_MAP, tx, rx, -1U), INVALID);
	is(call(FFA_FN64_RXTX_MAP, tx + 8, rx, 1), INVALID);
	is(call(FFA_FN64_RXTX_MAP, tx, rx + 0x800, 1), INVALID);
	check(!spmc.calls);
	is(call(FFA_FN64_RXTX_MAP, tx, tx, 1), INVALID);
	is(call(FFA_FN64_RXTX_MAP, MEM0, rx, 1), INVALID);
	is(call(FFA_FN64_RXTX_MAP, tx, MEM0, 1), INVALID);
	is(call(FFA_FN64_RXTX_MAP, DEVICE, rx, 1), INVALID);
	is(call(FFA_FN64_RXTX_MAP, tx, NOMAP, 1), INVALID);
	is(call(FFA_FN64_RXTX_MAP, top, rx, 1), INVALID);
	is(call(FFA_FN64_RXTX_MAP, tx, -PAGE_SIZE, 1), INVALID);
	is(op_share_ffa(PFN(tx), 1), 0);
	is(call(FFA_FN64_RXTX_MAP, tx, rx, 1), INVALID);
	is(op_unshare_ffa(PFN(tx), 1), 0);
	/* The secure world does not want to: nothing is shared with EL2. */
	spmc.fail = FFA_FN64_RXTX_MAP;
	spmc.error = FFA_RET_NO_MEMORY;
	is(call(FFA_FN64_RXTX_MAP, tx, rx, 1), NO_MEMORY);
	/* A failure that names no reason is one all the same. */
	spmc.error = 0;
	is(call(FFA_FN64_RXTX_MAP, tx, rx, 1), ABORTED);
	spmc.fail = 0;
	is(call(FFA_FN64_RXTX_MAP, tx, rx, 1), 0);
	spmc.calls = 0;
	is(call(FFA_FN64_RXTX_MAP, take(PAGE_SIZE), take(PAGE_SIZE), 1), DENIED);
	check(!spmc.calls);
	is(op_unshare_hyp(PFN(tx)), -EBUSY);
	is(op_unshare_hyp(PFN(rx)), -EBUSY);
	is(op_donate_hyp(PFN(tx), 1), -EPERM);
	is(share_one(tx, 1), DENIED);
	is(call(FFA_RXTX_UNMAP, 1, 0, 0), INVALID);
	is(call(FFA_RXTX_UNMAP, 1 << 16, 0, 0), INVALID);
	is(call(FFA_RXTX_UNMAP, 0, 0, 0), 0);
	is(call(FFA_RXTX_UNMAP, 0, 0, 0), INVALID);
	is(share(96), INVALID);
	is(op_unshare_hyp(PFN(tx)), -EPERM);
	/* Somebody else at EL2 holds on to it. */
	is(call(FFA_FN64_RXTX_MAP, rx, tx, 1), 0);
	is(op_pin(rx, 8), 0);
	is(call(FFA_RXTX_UNMAP, 0, 0, 0), 0);
	is(op_unshare_hyp(PFN(rx)), -EBUSY);
	op_unpin(rx, 8);
	is(op_unshare_hyp(PFN(rx)), 0);
	is(op_donate_hyp(PFN(tx), 2), 0);
}

/* --- regions */

static void test_ffa_share(void)
{
	static const struct ffa_range three[] = {
		{ BLOCK, 1 }, { BLOCK2 - PAGE_SIZE, 3 }, { MEM2, 2 },
	};
	u64 a, b;

	start(V1_1);
	is(share(put(three, 3)), 0);
	a = handle();
	check(count_secure() == 6 && spmc_has(BLOCK2 + PAGE_SIZE) && !spmc_has(BLOCK + PAGE_SIZE));
	/* Not twice, to nobody else, and not back before it is given back. */
	is(share(put(three, 1)), DENIED);
	is(op_share_hyp(PFN(BLOCK)), -EPERM);
	is(op_unshare_hyp(PFN(BLOCK)), -EPERM);
	is(op_donate_hyp(PFN(BLOCK), 1), -EPERM);
	is(op_host_touch(BLOCK), 0);
	is(call(FFA_MEM_LEND, put(&(struct ffa_range){ BLOCK + PAGE_SIZE, 1 }, 1), 96, 0), 0);
	check(spmc.last[0] == FFA_FN64_MEM_LEND);
	b = handle();
	is(reclaim(0), INVALID);
	is(reclaim(a + 100), INVALID);
	is(reclaim(HANDLE_LOW(a)), INVALID);
	spmc.fail = FFA_MEM_RECLAIM;
	spmc.error = FFA_RET_DENIED;
	is(reclaim(a), DENIED);
	check(count_secure() == 7);
	spmc.fail = 0;
	is(reclaim(a), 0);
	is(reclaim(a), INVALID);
	check(count_secure() == 1);
	is(op_donate_hyp(PFN(BLOCK), 1), 0);
	is(op_donate_hyp(PFN(BLOCK) + 1, 1), -EPERM);
	is(reclaim(b), 0);
	is(op_donate_hyp(PFN(BLOCK) + 1, 1), 0);
}

static void test_ffa_not_the_hosts(void)
{
	u64 pfn = PFN(BLOCK), top = 1UL << fake_features.pa_bits;
	const struct ffa_range bad[] = {
		{ MEM0, 1 }, { HOST_MEM - PAGE_SIZE, 2 }, { DEVICE, 1 }, { NOMAP, 1 },
		{ NOMAP - PAGE_SIZE, 2 }, { MEM_END, 1 }, { MEM_END - PAGE_SIZE, 2 },
		{ top, 1 }, { top - PAGE_SIZE, 1 }, { top - PAGE_SIZE, 2 },
		{ -PAGE_SIZE, 1 }, { -PAGE_SIZE, 2 }, { BLOCK, -1U }, { BLOCK, 0 }, { 0, 1 },
		{ BLOCK + 8, 1 }, { BLOCK + 0x800, 1 }, { BLOCK + 1, 0 },
		/* A guest's, one that is shared with EL2, EL2's, one with a guest. */
		{ BLOCK2, 1 }, { BLOCK2 - PAGE_SIZE, 2 }, { BLOCK2 + PAGE_SIZE, 1 },
		{ BLOCK2 + 2 * PAGE_SIZE, 1 }, { BLOCK2 + 3 * PAGE_SIZE, 1 },
		{ BLOCK2 + 4 * PAGE_SIZE, 1 },
	};

	start_vm(true);
	is(op_donate_guest(PFN(BLOCK2), 5, 2), 0);
	is(op_guest_share(6 << 12), 0);
	is(op_share_hyp(PFN(BLOCK2) + 2), 0);
	is(op_donate_hyp(PFN(BLOCK2) + 3, 1), 0);
	fake_cpu = 1;
	start_vm(false);
	is(op_share_guest(PFN(BLOCK2) + 4, 5, 1, KVM_PGTABLE_PROT_R), 0);
	start(V1_1);
	spmc.calls = 0;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct ffa_range r[] = { { BLOCK, 2 }, { BLOCK + SZ_1M, 5 }, bad[i] };

		is(share_one(bad[i].phys, bad[i].nr), DENIED);
		/* What was shared before is undone. */
		is(share(put(r, 3)), DENIED);
		is(op_share_hyp(pfn), 0);
		is(op_unshare_hyp(pfn), 0);
	}
	check(!spmc.calls && !count_secure());
	/* Twice in one region. */
	is(share(put((struct ffa_range[]){ { BLOCK, 4 }, { BLOCK + 0x3000, 1 } }, 2)), DENIED);
	check(!spmc.calls && !count_secure());
	/* No memory of the secure world becomes a guest's. */
	is(share_one(BLOCK, 4), 0);
	fake_cpu = 0;
	is(op_donate_guest(pfn + 3, 9, 1), -EPERM);
	fake_cpu = 1;
	is(op_share_guest(pfn + 3, 9, 1, KVM_PGTABLE_PROT_R), -EPERM);
	is(reclaim(handle()), 0);
	is(op_share_guest(pfn + 3, 9, 1, KVM_PGTABLE_PROT_R), 0);
}

static void test_ffa_refused(void)
{
	static const struct ffa_range two[] = { { BLOCK, 2 }, { MEM2, 3 } };

	start(V1_1);
	spmc.fail = FFA_FN64_MEM_SHARE;
	spmc.error = FFA_RET_NO_MEMORY;
	is(share(put(two, 2)), NO_MEMORY);
	check(!count_secure());
	spmc.fail = 0;
	is(share(put(two, 2)), 0);
}

/* Numbers in a descriptor, one after the other. */
static void test_ffa_descriptor(void)
{
	static const struct ffa_range two[] = { { BLOCK, 2 }, { MEM2, 3 } };
	static const u32 wrong[] = {
		0, 1, 2, 4, 7, 8, 16, 32, 47, 49, 56, 63, 65, 72, 76, 80, 96, 112, 4080,
		4081, 4095, 4096, 4097, 0x10000, 0x7fffffff, 0x80000000, 0xfffffff0,
		0xfffffff8, 0xffffffff, -48U, -64U, -16U,
	};
	struct ffa_mem_region *d;
	u32 len;

	start(V1_1);
	d = host_ptr(host_tx);
	spmc.calls = 0;
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		len = put(two, 2);
		d->ep_mem_offset = wrong[i];
		is(share(len), INVALID);
		len = put(two, 2);
		host_ep()->composite_off = wrong[i];
		/* Whatever is taken for a region there, no page is in it. */
		if (!share(len))
			is(reclaim(handle()), 0);
		check(!count_secure());
		len = put(two, 2);
		if (wrong[i] != 1) {
			d->ep_count = wrong[i];
			is(share(len), INVALID);
		}
	}
	spmc.calls = 0;
	len = put(two, 2);
	d->sender_id = 1;
	is(share(len), INVALID);
	/* More ranges than the region says that it has. */
	len = put(two, 2);
	host_composite()->addr_range_cnt = 1;
	is(share(len), INVALID);
	host_composite()->addr_range_cnt = 0;
	is(share(len), INVALID);
	check(!spmc.calls);
	/* Fewer, or as many as no number can count: the secure world's business. */
	for (u32 n = 0x10000000; n; n <<= 1) {
		host_composite()->addr_range_cnt = n;
		is(share(len), INVALID);
	}
	host_composite()->addr_range_cnt = -1U;
	is(share(len), INVALID);
	check(spmc.calls == 5 && !count_secure());
	/* A range that ends with what there is of the descriptor. */
	len = put(two, 2);
	for (u32 n = 0; n < len; n++) {
		is(call(FFA_FN64_MEM_SHARE, n, n, 0), INVALID);
		check(!count_secure());
	}
	spmc.calls = 0;
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		/* More than there is, than fits, or than can be kept. */
		is(call(FFA_FN64_MEM_SHARE, wrong[i], wrong[i] + 1, 0), INVALID);
		if (wrong[i] > 4096) {
			is(call(FFA_FN64_MEM_SHARE, wrong[i], wrong[i], 0), INVALID);
			is(call(FFA_FN64_MEM_SHARE, wrong[i], len, 0), NO_MEMORY);
		}
	}
	is(call(FFA_FN64_MEM_SHARE, len - 16, len, 0), INVALID);
	is(call(FFA_FN64_MEM_SHARE, len, len, 1), INVALID);
	is(call(FFA_FN64_MEM_SHARE, len, len, 1UL << 63), INVALID);
	is(op_smc(FFA_FN64_MEM_SHARE, len, len, 0, 1, 0), INVALID);
	check(!spmc.calls);
	/* All that a mailbox can hold. */
	{
		struct ffa_range r[(4096 - 80) / 16];

		for (size_t i = 0; i < ARRAY_SIZE(r); i++)
			r[i] = (struct ffa_range) { BLOCK + 2 * i * PAGE_SIZE, 1 };
		len = put(r, ARRAY_SIZE(r));
		check(len == 4096);
		is(share(len), 0);
		check(count_secure() == ARRAY_SIZE(r));
		is(reclaim(handle()), 0);
		check(!count_secure());
	}
}

/* The same without a host around it: nothing outside of the descriptor is read. */
static void test_ffa_desc_ranges(void)
{
	const u32 versions[] = { V1_0, V1_1, V1_2 };
	static const struct ffa_range two[] = { { BLOCK, 2 }, { MEM2, 3 } };

	for (size_t i = 0; i < ARRAY_SIZE(versions); i++) {
		u32 v = versions[i], nr, eps = v > V1_0 ? 48 : 32;
		u8 whole[256];
		u32 len = ffa_describe(whole, v, two, 2);

		for (u32 n = 0; n <= len; n++) {
			u8 *d = malloc(n ?: 1);
			struct ffa_mem_region_addr_range *r;

			memcpy(d, whole, n);
			nr = 77;
			r = ffa_desc_ranges(d, n, v, &nr);
			if (n < eps + 32 || (n - eps) % 16)
				check(!r);
			else
				check((u8 *)r == d + eps + 32 && nr == (n - eps - 32) / 16);
			free(d);
		}
		/* Where a region may begin. */
		for (u32 n = len - 15; n <= len; n++) {
			for (u32 off = 0; off < 3 * len; off++) {
				u8 *d = malloc(n);
				struct ffa_mem_region_addr_range *r;

				memcpy(d, whole, n);
				memcpy(d + eps + 4, &off, sizeof(off));
				nr = 77;
				r = ffa_desc_ranges(d, n, v, &nr);
				if (!off || off % 8 || off + 16 > n)
					check(!r);
				if (r)
					check((u8 *)(r + nr) == d + n);
				free(d);
			}
		}
	}
}

/* --- fragments */

static long fragment(u64 handle, const struct ffa_range *ranges, u32 nr)
{
	struct ffa_mem_region_addr_range *to = host_ptr(host_tx);

	for (u32 i = 0; i < nr; i++) {
		to[i] = (struct ffa_mem_region_addr_range) {
			.address = ranges[i].phys, .pg_cnt = ranges[i].nr,
		};
	}

	return call(FFA_MEM_FRAG_TX, HANDLE_LOW(handle), HANDLE_HIGH(handle),
		    nr * sizeof(*to));
}

/* The first @first of the ranges; the call's answer has the handle elsewhere. */
static u64 begin(const struct ffa_range *ranges, u32 nr, u32 first)
{
	u32 len = put(ranges, nr);

	is(call(FFA_FN64_MEM_SHARE, len, len - (nr - first) * 16, 0), 0 * nr);
	check(smc_ret[0] == FFA_MEM_FRAG_RX);

	return PACK_HANDLE(smc_ret[1], smc_ret[2]);
}

static void test_ffa_fragments(void)
{
	static const struct ffa_range r[] = {
		{ BLOCK, 2 }, { MEM2, 3 }, { BLOCK2, 1 }, { BLOCK2 + SZ_1M, 4 }, { MEM1, 1 },
	};
	u64 h;

	start(V1_1);
	h = begin(r, 5, 2);
	check(count_secure() == 5);
	/* What is not whole is no region yet. */
	is(reclaim(h), INVALID);
	is(fragment(h + 1, r + 2, 1), INVALID);
	check(count_secure() == 5);
	is(call(FFA_MEM_FRAG_TX, HANDLE_LOW(h), HANDLE_HIGH(h), 8), INVALID);
	is(call(FFA_MEM_FRAG_TX, HANDLE_LOW(h), HANDLE_HIGH(h), 4097), INVALID);
	is(call(FFA_MEM_FRAG_TX, HANDLE_LOW(h), HANDLE_HIGH(h), 4112), INVALID);
	is(call(FFA_MEM_FRAG_TX, HANDLE_LOW(h), HANDLE_HIGH(h), -16U), INVALID);
	is(fragment(h, r + 2, 1), 0);
	check(smc_ret[0] == FFA_MEM_FRAG_RX && count_secure() == 6);
	is(fragment(h, r + 3, 2), 0);
	check(smc_ret[0] == FFA_SUCCESS && count_secure() == 11);
	/* Back in as many pieces as the secure world likes. */
	for (u32 n = 1; n < 200; n += 1 + n / 4) {
		spmc.fragment = n;
		is(reclaim(h), 0);
		check(!count_secure());
		h = begin(r, 5, 0);
		is(fragment(h, r, 5), 0);
	}
	/* More fragments than were promised. */
	is(fragment(h, &(struct ffa_range){ MEM2 + SZ_1M, 1 }, 1), INVALID);
	check(count_secure() == 11);
}

/* What the secure world refuses is the host's again; what it has it keeps. */
static void test_ffa_fragment_refused(void)
{
	static const struct ffa_range r[] = { { BLOCK, 2 }, { MEM2, 3 }, { BLOCK2, 1 } };
	u64 h;

	start(V1_1);
	h = begin(r, 3, 1);
	spmc.fail = FFA_MEM_FRAG_TX;
	spmc.error = FFA_RET_NO_MEMORY;
	is(fragment(h, r + 1, 2), NO_MEMORY);
	check(count_secure() == 2);
	spmc.fail = 0;
	/* A bad one ends the region: none of it is the secure world's any more. */
	spmc.calls = 0;
	is(fragment(h, (struct ffa_range[]){ { MEM2, 3 }, { MEM0, 1 } }, 2), DENIED);
	check(spmc.calls == 1 && spmc.last[0] == FFA_MEM_RECLAIM);
	check(!spmc_has(BLOCK) && count_secure() == 2);
	is(fragment(h, r + 1, 2), INVALID);
	check(count_secure() == 2);
	/* Nobody gets what EL2 cannot tell to be free. */
	is(op_donate_hyp(PFN(BLOCK), 1), -EPERM);
	is(op_donate_hyp(PFN(MEM2), 3), 0);
}

/* --- a secure world that says what it likes */

static unsigned long odd[3];	/* total, of this fragment, of the next one */
static unsigned int odd_pieces;

static bool odd_answer(const unsigned long *a, struct arm_smccc_res *res)
{
	switch (a[0]) {
	case FFA_FN64_MEM_RETRIEVE_REQ:
		*res = (struct arm_smccc_res) { FFA_MEM_RETRIEVE_RESP, odd[0], odd[1] };
		return true;
	case FFA_MEM_FRAG_RX:
		odd_pieces++;
		check(odd_pieces <= 4096);
		*res = (struct arm_smccc_res) { FFA_MEM_FRAG_TX, 0, 0, odd[2] };
		return true;
	case FFA_MEM_RECLAIM:
		die("a region that was not understood is given back");
	default:
		return false;
	}
}

static void test_ffa_odd_answers(void)
{
	static const u32 n[] = {
		0, 16, 80, 95, 96, 4096, 4097, 0x80000000, 0xffffffff,
	};

	start(V1_1);
	is(share_one(BLOCK, 2), 0);
	spmc.answer = odd_answer;
	memset(host_ptr(spmc.rx), 0xff, PAGE_SIZE);
	for (size_t i = 0; i < ARRAY_SIZE(n); i++) {
		for (size_t j = 0; j < ARRAY_SIZE(n); j++) {
			for (size_t k = 0; k < ARRAY_SIZE(n); k++) {
				long want = ABORTED;

				odd[0] = n[i];
				odd[1] = n[j];
				odd[2] = n[k];
				odd_pieces = 0;
				if (n[j] <= n[i] && n[j] <= 4096 && n[i] > 4096)
					want = NO_MEMORY;
				is(reclaim(handle()), want);
				check(count_secure() == 2);
			}
		}
	}
	/* An error in the middle. */
	odd[0] = 96;
	odd[1] = 48;
	spmc.answer = NULL;
	spmc.fragment = 48;
	spmc.fail = FFA_MEM_FRAG_RX;
	spmc.error = FFA_RET_NO_DATA;
	is(reclaim(spmc.region[0].handle), INVALID);
	check(count_secure() == 2);
	spmc.fail = 0;
	is(reclaim(spmc.region[0].handle), 0);
}

static unsigned long wrong_answer[4];

static bool answers_wrong(const unsigned long *a, struct arm_smccc_res *res)
{
	if (a[0] != FFA_FN64_MEM_SHARE && a[0] != FFA_MEM_FRAG_TX)
		return false;
	*res = (struct arm_smccc_res) {
		wrong_answer[0], wrong_answer[1], wrong_answer[2], wrong_answer[3],
	};

	return true;
}

/*
 * It does not refuse, but says something else than that it has what it got: it may go
 * on with it all the same, so that nobody else gets the pages.
 */
static void test_ffa_wrong_answers(void)
{
	static const struct ffa_range two[] = { { BLOCK, 2 }, { MEM2, 3 } };
	const struct {
		unsigned long x[4];
		bool whole;
	} answers[] = {
		{ { FFA_MEM_FRAG_RX, 1, 0, 96 }, true }, { { FFA_MEM_FRAG_RX, 1, 0, 80 }, false },
		{ { FFA_MEM_FRAG_RX, 1, 0, 0 }, false }, { { FFA_SUCCESS, 0, 1, 0 }, false },
	};
	u64 pfn = PFN(BLOCK);

	start_vm(true);
	start(V1_1);
	spmc.answer = answers_wrong;
	for (size_t i = 0; i < ARRAY_SIZE(answers); i++) {
		struct ffa_range r[] = { { BLOCK + i * SZ_64K, 2 }, two[1] };
		u32 len = put(r, 2), fraglen = answers[i].whole ? len : len - 16;

		if (answers[i].whole)
			fraglen = len = put(r, 1);
		memcpy(wrong_answer, answers[i].x, sizeof(wrong_answer));
		/* The model has them marked beforehand: all is compared after the call. */
		for (int j = 0; j < 2; j++)
			mpage(r[0].phys + j * PAGE_SIZE)->ffa = true;
		is(call(FFA_FN64_MEM_SHARE, len, fraglen, 0), 0);
		is(op_donate_guest(pfn + i * 16, 5, 1), -EPERM);
	}
	/* A refusal in words that nobody knows is one. */
	wrong_answer[0] = FFA_MEM_RETRIEVE_RESP;
	is(share_one(MEM2, 1), 0);
	wrong_answer[0] = FFA_ERROR;
	wrong_answer[2] = ABORTED;
	is(share_one(MEM2, 1), ABORTED);
	is(op_donate_guest(PFN(MEM2), 5, 1), 0);
}

static void test_ffa_partitions(void)
{
	u8 *rx;

	start(V1_1);
	rx = host_ptr(host_rx);
	memset(rx, 0, PAGE_SIZE);
	spmc.partitions = 3;
	is(call(FFA_PARTITION_INFO_GET, 0, 0, 0), 0);
	check(rx[0] == 0x5a && rx[71] == 0x5a && !rx[72]);
	memset(rx, 0, PAGE_SIZE);
	is(op_smc(FFA_PARTITION_INFO_GET, 0, 0, 0, 0, 1), 0);
	check(!rx[0]);
	spmc.partitions = 0;
	is(call(FFA_PARTITION_INFO_GET, 0, 0, 0), 0);
	check(!rx[0]);
	spmc.partitions = 171;
	is(call(FFA_PARTITION_INFO_GET, 0, 0, 0), ABORTED);
	spmc.partitions = 0x10000000;
	spmc.partition_size = 16;
	is(call(FFA_PARTITION_INFO_GET, 0, 0, 0), ABORTED);
	spmc.partitions = 1;
	spmc.partition_size = -1UL;
	is(call(FFA_PARTITION_INFO_GET, 0, 0, 0), ABORTED);
	check(!rx[0]);
	spmc.partition_size = 4096;
	is(call(FFA_PARTITION_INFO_GET, 0, 0, 0), 0);
	check(rx[0] == 0x5a && rx[4095] == 0x5a);
}

/* --- a host that changes its mailbox under EL2's eyes */

static u8 good[128], evil[128];
static bool flips;

static void flip(void)
{
	memcpy(host_ptr(host_tx), flips ? evil : good, sizeof(good));
	flips = !flips;
}

/* Each instruction of EL2's that reads the mailbox sees what the last one did not. */
static void test_ffa_changing_mailbox(void)
{
	static const struct ffa_range mine = { BLOCK, 2 }, el2s = { MEM0, 2 };
	unsigned int shared = 0, denied = 0;

	start(V1_1);
	check(ffa_describe(good, V1_1, &mine, 1) == 96);
	check(ffa_describe(evil, V1_1, &el2s, 1) == 96);
	for (int i = 0; i < 64; i++) {
		long ret;

		/* Alike up to some byte. */
		memcpy(evil, good, 32 + i);
		flips = i & 1;
		flip();
		watch_start(host_tx, flip);
		ret = share(96);
		check(watch_end());
		if (!ret) {
			shared++;
			check(count_secure() == 2);
			is(reclaim(handle()), 0);
		} else {
			check(ret == DENIED || ret == INVALID);
			denied++;
		}
		check(!count_secure());
		ffa_describe(evil, V1_1, &el2s, 1);
	}
	check(shared && denied);
}

static void spoil(void)
{
	memcpy(host_ptr(host_tx), evil, sizeof(evil));
}

/* It changes while the secure world has it: what is undone is what was done. */
static void test_ffa_changed_mailbox(void)
{
	static const struct ffa_range mine = { BLOCK, 2 }, other = { MEM2, 2 };

	start(V1_1);
	is(share_one(MEM2, 2), 0);
	ffa_describe(evil, V1_1, &other, 1);
	spmc.meanwhile = spoil;
	spmc.fail = FFA_FN64_MEM_SHARE;
	spmc.error = FFA_RET_NO_MEMORY;
	is(share(put(&mine, 1)), NO_MEMORY);
	check(count_secure() == 2 && spmc_has(MEM2));
	spmc.fail = 0;
	is(share(put(&mine, 1)), 0);
	check(count_secure() == 4);
	is(reclaim(handle()), 0);
	check(count_secure() == 2 && spmc_has(MEM2));
}

const struct unit ffa_tests[] = {
	T_ONCE(ffa_version), T(ffa_downgrade), T(ffa_old_firmware),
	T_MUTE(ffa_none_at_boot), T(ffa_calls), T(ffa_mailboxes),
	T(ffa_share), T(ffa_not_the_hosts), T(ffa_refused), T(ffa_descriptor),
	T_ONCE(ffa_desc_ranges), T(ffa_fragments), T(ffa_fragment_refused), T_ONCE(ffa_odd_answers),
	T(ffa_wrong_answers), T(ffa_partitions), T(ffa_changing_mailbox), T(ffa_changed_mailbox),
};

const unsigned int nr_ffa_tests = ARRAY_SIZE(ffa_tests);
