// SPDX-License-Identifier: GPL-2.0-only
/*
 * A walk through the proxy of FF-A: whole, cut, spoiled and changing descriptors, of a
 * secure world that refuses and that lies, among all the calls of the other walk.
 *
 * What must come of a call that is well formed is worked out from the model. Of any
 * other one spmc.c and the model say what must not: that the secure world gets a page
 * which is not the host's alone, or that is not marked; that EL2 touches a byte which
 * the call is not about; that a page is marked which the secure world has not got.
 */
#include "spmc.h"
#include "walk.h"
#include "watch.h"

#define MAX_RANGES	12
/* The least that EL2 takes for a descriptor, whatever the version. */
#define MIN_FRAGMENT	80

/* Those of the last descriptor, and how many of them have been sent. */
static struct {
	struct ffa_range range[MAX_RANGES];
	u32 nr, sent;
	u64 handle;
} now;

/* The draw of a step, for what runs in the middle of a call. */
static struct random *middle;

static u32 odd_number(struct random *r)
{
	const u32 numbers[] = {
		0, 1, 8, 16, 32, 48, 64, 80, 96, 4080, 4096, 4097, 0x10000, 0x7fffffff,
		0x80000000, -8U, -16U, -48U, -64U, -80U, -1U, draw(r),
	};

	return numbers[below(r, ARRAY_SIZE(numbers))];
}

static void spoil(struct random *r, void *at, u32 size)
{
	for (u64 n = 1 + below(r, 3); n--;) {
		u32 value = odd_number(r);

		memcpy(at + below(r, size / 4) * 4, &value, sizeof(value));
	}
}

/* The host writes to its mailbox: to the headers, or somewhere. */
static void scribble(void)
{
	spoil(middle, host_ptr(host_tx), one_in(middle, 2) ? 96 : PAGE_SIZE);
}

static void other_cpu(void)
{
	if (one_in(middle, 4))
		walk_step_of(middle, (fake_cpu + 1 + below(middle, 2)) % 3);
}

static long call(unsigned long fn, unsigned long a1, unsigned long a2, unsigned long a3)
{
	return op_smc(fn, a1, a2, a3, 0, 0);
}

static void want(const char *what, long got, long wanted)
{
	if (got != wanted)
		die("%s is %ld, not %ld", what, got, wanted);
}

/* --- memory */

static bool overlaps(const struct ffa_range *a, const struct ffa_range *b)
{
	return a->phys < b->phys + (u64)b->nr * PAGE_SIZE &&
	       b->phys < a->phys + (u64)a->nr * PAGE_SIZE;
}

/* Is each of some ranges the host's alone, and in the list once? */
static bool all_alone(const struct ffa_range *range, u32 nr)
{
	for (u32 i = 0; i < nr; i++) {
		if (!PAGE_ALIGNED(range[i].phys) || !range[i].nr ||
		    !model_alone(range[i].phys, range[i].nr))
			return false;
		for (u32 j = 0; j < i; j++) {
			if (overlaps(&range[i], &range[j]))
				return false;
		}
	}

	return true;
}

static void draw_ranges(struct random *r)
{
	now.nr = 1 + below(r, one_in(r, 4) ? MAX_RANGES : 3);
	for (u32 i = 0; i < now.nr; i++) {
		struct ffa_range *range = &now.range[i];

		/* Most often what can be had, or the walk gets nowhere. */
		if (one_in(r, 6)) {
			*range = (struct ffa_range) { any_pfn(r) << PAGE_SHIFT, any_nr(r) };
		} else {
			range->nr = 1 + below(r, 4);
			range->phys = free_pages(r, range->nr * PAGE_SIZE);
		}
		if (one_in(r, 40))
			range->phys += below(r, PAGE_SIZE);
	}
}

static void put_ranges(void *to, const struct ffa_range *range, u32 nr)
{
	struct ffa_mem_region_addr_range *entry = to;

	for (u32 i = 0; i < nr; i++) {
		entry[i] = (struct ffa_mem_region_addr_range) {
			.address = range[i].phys, .pg_cnt = range[i].nr,
		};
	}
}

static bool region_is_free(void)
{
	for (int i = 0; i < SPMC_REGIONS; i++) {
		if (!spmc.region[i].handle)
			return true;
	}

	return false;
}

/* Some region, be it complete or not, or none. */
static struct spmc_region *any_region(struct random *r)
{
	struct spmc_region *region = &spmc.region[below(r, SPMC_REGIONS)];

	return region->handle ? region : NULL;
}

/* How a transfer goes on after a call of it that returned @ret. */
static void follow(long ret, u32 sent)
{
	now.sent = ret || smc_ret[0] != FFA_MEM_FRAG_RX ? 0 : sent;
	if (now.sent)
		now.handle = PACK_HANDLE(smc_ret[1], smc_ret[2]);
}

static void step_share(struct random *r)
{
	static const u32 calls[] = {
		FFA_MEM_SHARE, FFA_FN64_MEM_SHARE, FFA_MEM_LEND, FFA_FN64_MEM_LEND,
	};
	u32 fn = calls[below(r, ARRAY_SIZE(calls))], len = 96, fraglen, sent;
	bool odd = one_in(r, 3), watched = false;
	u64 a3 = 0, a4 = 0;
	long ret, wanted;

	draw_ranges(r);
	sent = now.nr;
	if (host_tx)
		len = ffa_describe(host_ptr(host_tx), spmc.agreed, now.range, now.nr);
	if (one_in(r, 3))
		sent = below(r, now.nr + 1);
	fraglen = len - 16 * (now.nr - sent);

	if (!host_tx || fraglen < MIN_FRAGMENT)
		wanted = FFA_RET_INVALID_PARAMETERS;
	else if (!all_alone(now.range, sent))
		wanted = FFA_RET_DENIED;
	else if (!region_is_free())
		wanted = FFA_RET_NO_MEMORY;
	else if (spmc.fail == FFA_FN64_MEM_SHARE &&
		 (fn == FFA_MEM_SHARE || fn == FFA_FN64_MEM_SHARE))
		wanted = spmc.error;
	else
		wanted = 0;

	if (odd && host_tx) {
		if (!one_in(r, 3))
			spoil(r, host_ptr(host_tx), one_in(r, 4) ? PAGE_SIZE : 96);
		if (one_in(r, 4))
			len = odd_number(r);
		if (one_in(r, 4))
			fraglen = odd_number(r);
		if (one_in(r, 16))
			a3 = draw(r) << below(r, 40);
		if (one_in(r, 16))
			a4 = odd_number(r);
		watched = one_in(r, 4);
		if (one_in(r, 4))
			spmc.meanwhile = scribble;
	}
	if (watched)
		watch_start(host_tx, scribble);
	ret = op_smc(fn, len, fraglen, a3, a4, 0);
	if (watched)
		watch_end();
	if (!odd)
		want("the share", ret, wanted);
	follow(odd ? -1 : ret, sent);
}

static void step_fragment(struct random *r)
{
	u32 nr = now.sent ? 1 + below(r, now.nr - now.sent) : 1, len;
	struct spmc_region *region = any_region(r);
	const struct ffa_range *next = now.range + now.sent;
	bool odd = !now.sent || one_in(r, 3), watched = false;
	u64 handle = now.handle;
	long ret, wanted;

	if (!now.sent)
		draw_ranges(r);
	len = nr * 16;
	if (host_tx)
		put_ranges(host_ptr(host_tx), next, nr);
	if (!host_tx)
		wanted = FFA_RET_INVALID_PARAMETERS;
	else if (!all_alone(next, nr))
		wanted = FFA_RET_DENIED;
	else if (spmc.fail == FFA_MEM_FRAG_TX)
		wanted = spmc.error;
	else
		wanted = 0;

	if (odd && host_tx) {
		if (one_in(r, 2))
			spoil(r, host_ptr(host_tx), len);
		if (one_in(r, 4))
			len = odd_number(r);
		if (one_in(r, 4))
			handle = region ? region->handle : draw(r);
		watched = one_in(r, 4);
		if (one_in(r, 4))
			spmc.meanwhile = scribble;
	}
	if (watched)
		watch_start(host_tx, scribble);
	ret = call(FFA_MEM_FRAG_TX, HANDLE_LOW(handle), HANDLE_HIGH(handle), len);
	if (watched)
		watch_end();
	if (!odd)
		want("the fragment", ret, wanted);
	follow(odd ? -1 : ret, now.sent + nr);
}

/* --- a secure world that says what it likes, and gives nothing back */

static bool lie(const unsigned long *a, struct arm_smccc_res *res)
{
	struct random *r = middle;
	u8 *rx = host_ptr(spmc.rx);
	u64 len, n;

	switch (a[0]) {
	case FFA_FN64_MEM_RETRIEVE_REQ:
		draw_ranges(r);
		now.sent = 0;
		len = ffa_describe(rx, spmc.agreed, now.range, now.nr);
		n = len;
		if (one_in(r, 2))
			spoil(r, rx, one_in(r, 2) ? 96 : PAGE_SIZE);
		if (one_in(r, 2))
			len = odd_number(r);
		if (one_in(r, 2))
			n = odd_number(r);
		*res = (struct arm_smccc_res) { FFA_MEM_RETRIEVE_RESP, len, n };
		return true;
	case FFA_MEM_FRAG_RX:
		*res = (struct arm_smccc_res) {
			one_in(r, 8) ? FFA_SUCCESS : FFA_MEM_FRAG_TX, 0, 0,
			one_in(r, 2) ? 16 + below(r, 64) : odd_number(r),
		};
		return true;
	case FFA_MEM_RECLAIM:
		*res = (struct arm_smccc_res) { FFA_ERROR, 0, FFA_RET_DENIED };
		return true;
	default:
		return false;
	}
}

static void step_reclaim(struct random *r)
{
	struct spmc_region *region = any_region(r);
	u64 handle = region && !one_in(r, 16) ? region->handle : draw(r);
	bool known = region && handle == region->handle;
	long ret, wanted = 0;

	if (!known || region->have < region->len || !spmc.rx)
		wanted = FFA_RET_INVALID_PARAMETERS;
	if (spmc.fail == FFA_FN64_MEM_RETRIEVE_REQ || spmc.fail == FFA_MEM_RECLAIM)
		wanted = wanted ?: spmc.error;
	if (spmc.fail == FFA_MEM_FRAG_RX && known && !wanted && region->len > spmc.fragment)
		wanted = FFA_RET_INVALID_PARAMETERS;
	if (spmc.fail == FFA_FN64_MEM_RETRIEVE_REQ)
		wanted = spmc.error;
	if (!has_version_negotiated)
		wanted = FFA_RET_INVALID_PARAMETERS;
	if (spmc.rx && one_in(r, 4))
		spmc.answer = lie;
	ret = call(FFA_MEM_RECLAIM, HANDLE_LOW(handle), HANDLE_HIGH(handle),
		   one_in(r, 16) ? draw(r) : 0);
	if (spmc.answer) {
		check(ret);
		return;
	}
	want("the reclaim", ret, wanted);
	check(!!ret == (wanted || region->handle));
}

/* --- the rest */

static void step_mailboxes(struct random *r)
{
	bool odd = one_in(r, 3);
	u64 tx, rx;
	long ret, wanted;

	if (host_tx) {
		if (one_in(r, 3))
			call(FFA_RXTX_UNMAP, one_in(r, 4) ? odd_number(r) : 0, 0, 0);
		else
			want("the second map", call(FFA_FN64_RXTX_MAP, host_tx, host_rx, 1),
			     FFA_RET_DENIED);
		return;
	}
	tx = odd ? any_pfn(r) << PAGE_SHIFT : free_pages(r, PAGE_SIZE);
	rx = odd ? any_pfn(r) << PAGE_SHIFT : free_pages(r, PAGE_SIZE);
	if (odd && one_in(r, 4))
		tx += below(r, PAGE_SIZE);
	wanted = model_alone(tx, 1) && model_alone(rx, 1) && tx != rx &&
		 PAGE_ALIGNED(tx) && PAGE_ALIGNED(rx) ? 0 : FFA_RET_INVALID_PARAMETERS;
	if (spmc.fail == FFA_FN64_RXTX_MAP && PAGE_ALIGNED(tx))
		wanted = spmc.error;
	if (!has_version_negotiated)
		wanted = FFA_RET_INVALID_PARAMETERS;
	ret = call(FFA_FN64_RXTX_MAP, tx, rx, odd && one_in(r, 4) ? odd_number(r) : 1);
	if (!odd)
		want("the map", ret, wanted);
	if (wanted)
		check(ret);
}

static void step_partitions(struct random *r)
{
	u8 *rx = host_rx ? host_ptr(host_rx) : NULL;
	u32 count_only = below(r, 2);
	u64 size;
	long ret;

	spmc.partitions = one_in(r, 3) ? odd_number(r) : below(r, 200);
	spmc.partition_size = one_in(r, 3) ? odd_number(r) : 24;
	if (rx)
		memset(rx, 0, PAGE_SIZE);
	ret = op_smc(FFA_PARTITION_INFO_GET, 0, 0, 0, 0, count_only);
	if (ret || !rx)
		return;
	size = spmc.agreed > FFA_VERSION_1_0 ? spmc.partition_size : FFA_1_0_PARTITON_INFO_SZ;
	size *= spmc.agreed > FFA_VERSION_1_0 && count_only ? 0 : spmc.partitions;
	check(size <= PAGE_SIZE);
	for (u64 i = 0; i < PAGE_SIZE; i++)
		check(rx[i] == (i < size ? 0x5a : 0));
}

static void any_call(struct random *r)
{
	u32 fn = one_in(r, 4) ? draw(r) << below(r, 17) : 0x84000060 + below(r, 0x30);

	if (one_in(r, 3))
		fn |= 0x40000000;
	/* Those with a step of their own, which knows what must come of them. */
	switch (fn) {
	case FFA_FN64_RXTX_MAP:
	case FFA_PARTITION_INFO_GET:
		return;
	}
	op_smc(fn, odd_number(r), odd_number(r), odd_number(r), odd_number(r), odd_number(r));
	now.sent = 0;
}

static void agree(struct random *r)
{
	const u32 versions[] = {
		FFA_VERSION_1_0, FFA_VERSION_1_1, FFA_VERSION_1_1, FFA_VERSION_1_2, 0,
		1U << 31 | FFA_VERSION_1_0, 2 << 16, -1U,
	};

	call(FFA_VERSION, versions[below(r, ARRAY_SIZE(versions))], 0, 0);
}

static void boot(struct random *r)
{
	walk_calls.boot(r);
	memset(&now, 0, sizeof(now));
	if (one_in(r, 4)) {
		spmc.version = FFA_VERSION_1_0;
		check(!hyp_ffa_init(fake_ffa_pages));
	}
	if (!one_in(r, 16)) {
		call(FFA_VERSION, one_in(r, 3) ? FFA_VERSION_1_0 : FFA_VERSION_1_1, 0, 0);
		call(FFA_FN64_RXTX_MAP, free_pages(r, SZ_8K), HOST_MEM, 1);
	}
}

static void ffa_step(struct random *r)
{
	static const u32 calls[] = {
		FFA_FN64_MEM_SHARE, FFA_MEM_FRAG_TX, FFA_FN64_MEM_RETRIEVE_REQ, FFA_MEM_FRAG_RX,
		FFA_MEM_RECLAIM, FFA_FN64_RXTX_MAP, FFA_PARTITION_INFO_GET,
	};

	fake_cpu = below(r, 3);
	middle = r;
	spmc.fragment = one_in(r, 2) ? PAGE_SIZE : 16 + below(r, 128);
	if (one_in(r, 6)) {
		spmc.fail = calls[below(r, ARRAY_SIZE(calls))];
		spmc.error = FFA_RET_NOT_SUPPORTED - (long)below(r, 8);
	}
	spmc.other_cpu = other_cpu;
	switch (below(r, 16)) {
	case 0:
		step_mailboxes(r);
		break;
	case 1:
		step_partitions(r);
		break;
	case 2:
		any_call(r);
		break;
	case 3:
		agree(r);
		break;
	case 4:
	case 5:
	case 6:
	case 7:
		step_reclaim(r);
		break;
	case 8:
	case 9:
	case 10:
		step_fragment(r);
		break;
	default:
		if (now.sent && !one_in(r, 4))
			step_fragment(r);
		else
			step_share(r);
	}
	spmc.fail = 0;
	spmc.answer = NULL;
	spmc.meanwhile = NULL;
	spmc.other_cpu = NULL;
}

static bool step(struct random *r)
{
	if (r->data && !r->left)
		return false;
	if (one_in(r, 4))
		walk_step_of(r, below(r, 3));
	else
		ffa_step(r);

	return true;
}

static void end(void)
{
	struct random r = { .state = 1 };

	fake_cpu = 0;
	middle = &r;
	if (host_tx)
		want("the last unmap", call(FFA_RXTX_UNMAP, 0, 0, 0), 0);
	/* What never was whole stays marked: nobody but the secure world knows what it was. */
	spmc_forget();
	walk_calls.end();
}

const struct walk walk_ffa = { "FF-A", boot, step, end };
