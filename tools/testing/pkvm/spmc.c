// SPDX-License-Identifier: GPL-2.0-only
/*
 * The secure world that answers the SMCs of the code under test, and the SMCs of the
 * host. It speaks FF-A 1.0 and 1.1 (DEN0077A, the calls about memory), reads the
 * descriptors by itself, and knows which pages it has. Its oracle is the model: what
 * EL2 passes on must be the host's alone, and what it still has nobody else may get.
 */
#include "model.h"
#include "spmc.h"

#define STATE_MASK	(3UL << 55)
#define STATE_SHARED	BIT(55)

/* Where the descriptor has what, in bytes (DEN0077A, 1.0 and 1.1). */
#define DESC_HANDLE	8
#define DESC_EP_COUNT	28
#define DESC_EP_OFFSET	32
#define DESC_EPS_1_0	32
#define EP_COMPOSITE	4
#define EP_SIZE		16
#define COMPOSITE_COUNT	4
#define COMPOSITE_SIZE	16
#define RANGE_SIZE	16
#define RANGE_PAGES	8

struct spmc spmc;
bool spmc_mute;
unsigned long smc_ret[4];
bool smc_forwarded;
phys_addr_t host_tx, host_rx;

static u64 has[NR_PAGES];
static u64 last_handle;
/* The call that the host is in: what is reclaimed in another stays as it is. */
static unsigned long host_call;

/**
 * spmc_boot() - Start the secure world.
 */
void spmc_boot(void)
{
	memset(&spmc, 0, sizeof(spmc));
	memset(has, 0, sizeof(has));
	spmc.version = FFA_VERSION_1_1;
	spmc.fragment = PAGE_SIZE;
	spmc.partition_size = 24;
	kvm_host_psci_config.smccc_version = spmc_mute ? ARM_SMCCC_VERSION_1_1 :
							 ARM_SMCCC_VERSION_1_2;
	host_tx = 0;
	host_rx = 0;
}

/**
 * spmc_has() - Is a page the secure world's, too?
 * @phys: the page.
 *
 * Return: true if it is.
 */
bool spmc_has(phys_addr_t phys)
{
	return page_index(phys) >= 0 && has[page_index(phys)];
}

/**
 * spmc_check() - What the secure world has must be shared with it in the model.
 */
void spmc_check(void)
{
	for (int i = 0; i < (int)NR_PAGES; i++) {
		if (has[i] && (m.page[i].owner != OWNER_HOST || !m.page[i].ffa))
			die("the secure world still has %#lx", page_phys(i));
	}
}

static u32 get32(const u8 *p)
{
	u32 v;

	memcpy(&v, p, sizeof(v));

	return v;
}

static u64 get64(const u8 *p)
{
	u64 v;

	memcpy(&v, p, sizeof(v));

	return v;
}

static void answer(struct arm_smccc_res *res, u64 a0, u64 a1, u64 a2, u64 a3)
{
	*res = (struct arm_smccc_res) { a0, a1, a2, a3 };
}

static void refuse(struct arm_smccc_res *res, long error)
{
	answer(res, FFA_ERROR, 0, error, 0);
}

static struct spmc_region *find(u64 handle)
{
	for (int i = 0; i < SPMC_REGIONS; i++) {
		if (spmc.region[i].handle == handle)
			return &spmc.region[i];
	}

	return NULL;
}

/* Where the ranges of a descriptor begin; 0 when it makes no sense. */
static u32 ranges_at(const struct spmc_region *r, u32 have)
{
	u32 eps = spmc.agreed > FFA_VERSION_1_0 ? get32(r->desc + DESC_EP_OFFSET) : DESC_EPS_1_0;
	u32 composite;

	if (have < 48 || get32(r->desc + DESC_EP_COUNT) != 1 || eps > have - EP_SIZE)
		return 0;
	composite = get32(r->desc + eps + EP_COMPOSITE);
	if (composite > have || have - composite < COMPOSITE_SIZE ||
	    (u64)composite + COMPOSITE_SIZE +
	    (u64)get32(r->desc + composite + COMPOSITE_COUNT) * RANGE_SIZE != r->len)
		return 0;

	return composite + COMPOSITE_SIZE;
}

/* The pages from byte @from of a descriptor on: take them, or give them back. */
static void take_pages(struct spmc_region *r, u32 from, u32 to, bool take)
{
	for (; from < to; from += RANGE_SIZE) {
		u64 phys = get64(r->desc + from);
		u64 nr = get32(r->desc + from + RANGE_PAGES);

		for (; nr--; phys += PAGE_SIZE) {
			struct mpage *p = mpage(phys);
			int level;

			if (!take) {
				p->ffa = false;
				continue;
			}
			if (!model_alone(phys, 1))
				die("the secure world gets %#lx, which is not the host's alone",
				    phys);
			if ((table_lookup(&host_mmu.pgt, phys, &level) & STATE_MASK) !=
			    STATE_SHARED)
				die("the secure world gets %#lx, which is not marked", phys);
			p->ffa = true;
		}
	}
}

static void note_pages(struct spmc_region *r, u32 from, u32 to, u64 handle)
{
	for (; from < to; from += RANGE_SIZE) {
		u64 phys = get64(r->desc + from);
		u64 nr = get32(r->desc + from + RANGE_PAGES);

		for (; nr--; phys += PAGE_SIZE)
			has[page_index(phys)] = handle;
	}
}

/* A fragment has come: of a new region, or of one that is not complete. */
static void more(struct spmc_region *r, u32 from, u32 len, const unsigned long *a,
		 struct arm_smccc_res *res)
{
	u32 ranges;

	memcpy(r->desc + r->have, host_ptr(spmc.tx), len);
	ranges = ranges_at(r, r->have + len);
	if (from < ranges)
		from = ranges;
	if (ranges)
		take_pages(r, from, r->have + len, true);
	if (a[0] == spmc.fail || !ranges) {
		if (ranges)
			take_pages(r, from, r->have + len, false);
		if (!r->have)
			r->handle = 0;
		refuse(res, a[0] == spmc.fail ? spmc.error : FFA_RET_INVALID_PARAMETERS);
		return;
	}
	r->have += len;
	note_pages(r, from, r->have, r->handle);
	if (r->have < r->len)
		answer(res, FFA_MEM_FRAG_RX, HANDLE_LOW(r->handle), HANDLE_HIGH(r->handle),
		       r->have);
	else
		answer(res, FFA_SUCCESS, 0, HANDLE_LOW(r->handle), HANDLE_HIGH(r->handle));
}

static void first_fragment(const unsigned long *a, struct arm_smccc_res *res)
{
	u32 len = a[1], fraglen = a[2];
	struct spmc_region *r = find(0);

	if (!spmc.tx || !r || len > sizeof(r->desc) || fraglen > len) {
		refuse(res, FFA_RET_NO_MEMORY);
		return;
	}
	last_handle++;
	r->handle = last_handle << 32 | last_handle;
	r->len = len;
	r->have = 0;
	more(r, 0, fraglen, a, res);
}

static void next_fragment(const unsigned long *a, struct arm_smccc_res *res)
{
	u64 handle = PACK_HANDLE(a[1], a[2]);
	struct spmc_region *r = handle ? find(handle) : NULL;
	u32 len = a[3];

	/* What it does not want is looked at all the same: it was passed on. */
	if (!r || r->have == r->len || len > r->len - r->have || !len) {
		refuse(res, FFA_RET_INVALID_PARAMETERS);
		return;
	}
	more(r, r->have, len, a, res);
}

static void give_back(u64 handle, struct arm_smccc_res *res)
{
	struct spmc_region *r = handle ? find(handle) : NULL;

	if (!r) {
		refuse(res, FFA_RET_INVALID_PARAMETERS);
		return;
	}
	for (int i = 0; i < (int)NR_PAGES; i++) {
		if (has[i] != handle)
			continue;
		has[i] = 0;
		if (host_call == FFA_MEM_RECLAIM)
			m.page[i].ffa = false;
	}
	memset(r, 0, sizeof(*r));
	answer(res, FFA_SUCCESS, 0, 0, 0);
}

static void show(u64 handle, u32 from, bool first, struct arm_smccc_res *res)
{
	struct spmc_region *r = handle ? find(handle) : NULL;
	u32 n;

	if (!spmc.rx || !r || r->have < r->len || from >= r->len) {
		refuse(res, FFA_RET_INVALID_PARAMETERS);
		return;
	}
	n = r->len - from < spmc.fragment ? r->len - from : spmc.fragment;
	memcpy(r->desc + DESC_HANDLE, &handle, sizeof(handle));
	memcpy(host_ptr(spmc.rx), r->desc + from, n);
	if (first)
		answer(res, FFA_MEM_RETRIEVE_RESP, r->len, n, 0);
	else
		answer(res, FFA_MEM_FRAG_TX, HANDLE_LOW(handle), HANDLE_HIGH(handle), n);
}

void fake_smc(unsigned long a0, unsigned long a1, unsigned long a2, unsigned long a3,
	      unsigned long a4, unsigned long a5, unsigned long a6, unsigned long a7,
	      struct arm_smccc_res *res)
{
	const unsigned long a[] = { a0, a1, a2, a3, a4, a5, a6, a7 };

	spmc.calls++;
	memcpy(spmc.last, a, sizeof(a));
	if (spmc.meanwhile)
		spmc.meanwhile();
	if (spmc.answer && spmc.answer(a, res))
		return;
	if (a0 == spmc.fail && a0 != FFA_MEM_FRAG_TX && a0 != FFA_FN64_MEM_SHARE &&
	    a0 != FFA_FN64_MEM_LEND) {
		refuse(res, spmc.error);
		return;
	}
	switch (a0) {
	case FFA_VERSION:
		/* As a call of the 32-bit convention: the other half means nothing. */
		if (a1 >> 31 || FFA_MAJOR_VERSION(a1) != 1) {
			answer(res, (u32)FFA_RET_NOT_SUPPORTED, 0, 0, 0);
			break;
		}
		spmc.agreed = a1 < spmc.version ? a1 : spmc.version;
		answer(res, spmc.version, 0, 0, 0);
		break;
	case FFA_ID_GET:
		answer(res, FFA_SUCCESS, 0, spmc.id, 0);
		break;
	case FFA_FEATURES:
		check(a1 == FFA_FN64_RXTX_MAP);
		answer(res, FFA_SUCCESS, 0, spmc.min_size, 0);
		break;
	case FFA_FN64_RXTX_MAP:
		if (spmc.tx) {
			refuse(res, FFA_RET_DENIED);
			break;
		}
		check(a3 == 1 && mpage(a1)->owner == OWNER_STATIC &&
		      mpage(a2)->owner == OWNER_STATIC);
		spmc.tx = a1;
		spmc.rx = a2;
		answer(res, FFA_SUCCESS, 0, 0, 0);
		break;
	case FFA_RXTX_UNMAP:
		check(spmc.tx && !a1);
		spmc.tx = 0;
		spmc.rx = 0;
		answer(res, FFA_SUCCESS, 0, 0, 0);
		break;
	case FFA_FN64_MEM_SHARE:
	case FFA_FN64_MEM_LEND:
		first_fragment(a, res);
		break;
	case FFA_MEM_FRAG_TX:
		next_fragment(a, res);
		break;
	case FFA_FN64_MEM_RETRIEVE_REQ:
		if (spmc.tx)
			show(get64((u8 *)host_ptr(spmc.tx) + DESC_HANDLE), 0, true, res);
		else
			refuse(res, FFA_RET_INVALID_PARAMETERS);
		break;
	case FFA_MEM_FRAG_RX:
		show(PACK_HANDLE(a1, a2), a3, false, res);
		break;
	case FFA_RX_RELEASE:
		answer(res, FFA_SUCCESS, 0, 0, 0);
		break;
	case FFA_MEM_RECLAIM:
		give_back(PACK_HANDLE(a1, a2), res);
		break;
	case FFA_PARTITION_INFO_GET:
		memset(host_ptr(spmc.rx), 0x5a, PAGE_SIZE);
		answer(res, FFA_SUCCESS, 0, spmc.partitions, spmc.partition_size);
		break;
	default:
		die("EL2 calls %#lx of the secure world", a0);
	}
}

/* --- the host */

static void mailbox(phys_addr_t phys, bool map)
{
	struct mpage *p = mpage(phys);

	if (map) {
		check(model_alone(phys, 1));
		p->shared = true;
		p->pins++;
	} else if (!--p->pins) {
		p->shared = false;
	}
}

/**
 * op_smc() - The host makes an SMC.
 * @a0: the function, as EL2 gets it.
 * @a1: its arguments.
 * @a2: likewise.
 * @a3: likewise.
 * @a4: likewise.
 * @a5: likewise.
 *
 * Return: the error that the host is told, 0 when it is told of none, or what is
 * in x0 after FFA_VERSION; 1 when EL2 leaves the call to the firmware.
 */
long op_smc(unsigned long a0, unsigned long a1, unsigned long a2, unsigned long a3,
	    unsigned long a4, unsigned long a5)
{
	struct kvm_cpu_context ctxt = { .regs.regs = { a0, a1, a2, a3, a4, a5 } };
	bool fine;

	fake_step();
	host_call = a0;
	smc_forwarded = !kvm_host_ffa_handler(&ctxt, a0);
	host_call = 0;
	memcpy(smc_ret, ctxt.regs.regs, sizeof(smc_ret));
	fine = !smc_forwarded && smc_ret[0] == FFA_SUCCESS;
	if (smc_forwarded) {
		check(smc_ret[0] == a0 && smc_ret[1] == a1 && smc_ret[2] == a2 &&
		      smc_ret[3] == a3);
	}
	if (fine && a0 == FFA_FN64_RXTX_MAP) {
		check(!host_tx && a1 != a2);
		host_tx = a1;
		host_rx = a2;
		mailbox(host_tx, true);
		mailbox(host_rx, true);
	} else if (fine && a0 == FFA_RXTX_UNMAP) {
		check(host_tx);
		mailbox(host_tx, false);
		mailbox(host_rx, false);
		host_tx = 0;
		host_rx = 0;
	}
	check(!!host_tx == !!spmc.tx);
	model_check();
	spmc_check();
	if (smc_forwarded)
		return 1;
	if (a0 == FFA_VERSION)
		return (int)smc_ret[0];

	return smc_ret[0] == FFA_ERROR ? (int)smc_ret[2] : 0;
}
