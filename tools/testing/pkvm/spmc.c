// SPDX-License-Identifier: GPL-2.0-only
/*
 * The secure world that answers the SMCs of the code under test, and the SMCs of the
 * host. It speaks FF-A 1.0 and 1.1 (DEN0077A, the calls about memory), reads the
 * descriptors by itself, and knows which pages it has. Its oracle is the model: what
 * EL2 passes on must be the host's alone, and what it still has nobody else may get.
 *
 * Of the mailboxes and of the buffer that EL2 puts a descriptor together in, EL2 can
 * touch only what the call is about, byte for byte: AddressSanitizer stops the rest.
 */
#include <sanitizer/asan_interface.h>

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
	has_version_negotiated = false;
	spmc.version = FFA_VERSION_1_1;
	spmc.fragment = PAGE_SIZE;
	spmc.partition_size = 24;
	kvm_host_psci_config.smccc_version = spmc_mute ? ARM_SMCCC_VERSION_1_1 :
							 ARM_SMCCC_VERSION_1_2;
	host_tx = 0;
	host_rx = 0;
}

/**
 * spmc_forget() - The secure world starts anew, and has nothing of the host's.
 */
void spmc_forget(void)
{
	memset(spmc.region, 0, sizeof(spmc.region));
	memset(has, 0, sizeof(has));
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
				has[page_index(phys)] = 0;
				continue;
			}
			if (!model_alone(phys, 1))
				die("the secure world gets %#lx, which is not the host's alone",
				    phys);
			if ((table_lookup(&host_mmu.pgt, phys, &level) & STATE_MASK) !=
			    STATE_SHARED)
				die("the secure world gets %#lx, which is not marked", phys);
			p->ffa = true;
			has[page_index(phys)] = r->handle;
		}
	}
}

/* The model and the tables agree at this moment, so that others can do something. */
static void let_others(void)
{
	unsigned int cpu = fake_cpu;

	if (spmc.other_cpu)
		spmc.other_cpu();
	fake_cpu = cpu;
}

/* A fragment has come: of a new region, or of one that is not complete. */
static void more(struct spmc_region *r, u32 from, u32 len, const unsigned long *a,
		 struct arm_smccc_res *res)
{
	u32 ranges;

	memcpy(r->desc + r->have, host_ptr(spmc.tx), len);
	if (!r->have && (get32(r->desc + DESC_EP_COUNT) != 1 || r->desc[0] || r->desc[1]))
		die("EL2 passes on a descriptor of %u endpoints, from %u",
		    get32(r->desc + DESC_EP_COUNT), r->desc[0] | r->desc[1] << 8);
	ranges = ranges_at(r, r->have + len);
	if (from < ranges)
		from = ranges;
	if (ranges) {
		take_pages(r, from, r->have + len, true);
		let_others();
	}
	if (a[0] == spmc.fail || !ranges) {
		if (ranges)
			take_pages(r, from, r->have + len, false);
		if (!r->have)
			r->handle = 0;
		refuse(res, a[0] == spmc.fail ? spmc.error : FFA_RET_INVALID_PARAMETERS);
		return;
	}
	r->have += len;
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
	let_others();
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

static void serve(const unsigned long *a, struct arm_smccc_res *res)
{
	unsigned long a0 = a[0];

	if (a0 == spmc.fail && a0 != FFA_MEM_FRAG_TX && a0 != FFA_FN64_MEM_SHARE &&
	    a0 != FFA_FN64_MEM_LEND) {
		refuse(res, spmc.error);
		return;
	}
	switch (a0) {
	case FFA_VERSION:
		/* As a call of the 32-bit convention: the other half means nothing. */
		if (a[1] >> 31 || FFA_MAJOR_VERSION(a[1]) != 1) {
			answer(res, (u32)FFA_RET_NOT_SUPPORTED, 0, 0, 0);
			break;
		}
		spmc.agreed = a[1] < spmc.version ? a[1] : spmc.version;
		answer(res, spmc.version, 0, 0, 0);
		break;
	case FFA_ID_GET:
		answer(res, FFA_SUCCESS, 0, spmc.id, 0);
		break;
	case FFA_FEATURES:
		check(a[1] == FFA_FN64_RXTX_MAP);
		answer(res, FFA_SUCCESS, 0, spmc.min_size, 0);
		break;
	case FFA_FN64_RXTX_MAP:
		if (spmc.tx) {
			refuse(res, FFA_RET_DENIED);
			break;
		}
		check(a[3] == 1 && mpage(a[1])->owner == OWNER_STATIC &&
		      mpage(a[2])->owner == OWNER_STATIC);
		spmc.tx = a[1];
		spmc.rx = a[2];
		answer(res, FFA_SUCCESS, 0, 0, 0);
		break;
	case FFA_RXTX_UNMAP:
		check(spmc.tx && !a[1]);
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
		show(PACK_HANDLE(a[1], a[2]), a[3], false, res);
		break;
	case FFA_RX_RELEASE:
		/* No other CPU may be in the middle of reading the mailbox. */
		check(fake_locks_held(fake_cpu));
		answer(res, FFA_SUCCESS, 0, 0, 0);
		break;
	case FFA_MEM_RECLAIM:
		give_back(PACK_HANDLE(a[1], a[2]), res);
		break;
	case FFA_PARTITION_INFO_GET:
		memset(host_ptr(spmc.rx), 0x5a, PAGE_SIZE);
		answer(res, FFA_SUCCESS, 0, spmc.partitions, spmc.partition_size);
		break;
	default:
		die("EL2 calls %#lx of the secure world", a0);
	}
}

/* --- what EL2 can touch */

static void forbid(const void *at, size_t size)
{
	__asan_poison_memory_region(at, size);
}

static void allow(const void *at, size_t size)
{
	__asan_unpoison_memory_region(at, size < PAGE_SIZE ? size : PAGE_SIZE);
}

static void *box_tx(void)
{
	return fake_ffa_pages;
}

static void *box_rx(void)
{
	return fake_ffa_pages + PAGE_SIZE;
}

static void *desc_buf(void)
{
	return fake_ffa_pages + 2 * PAGE_SIZE;
}

#define DESC_BUF_SIZE	((hyp_ffa_proxy_pages() - 2) * PAGE_SIZE)

/* The bytes that the host speaks of in a call; of other calls, what is there. */
static void call_begins(u32 fn, u32 a2, u32 a3)
{
	u32 size;

	forbid(box_tx(), hyp_ffa_proxy_pages() * PAGE_SIZE);
	switch (fn) {
	case FFA_MEM_SHARE:
	case FFA_FN64_MEM_SHARE:
	case FFA_MEM_LEND:
	case FFA_FN64_MEM_LEND:
	case FFA_MEM_FRAG_TX:
		size = fn == FFA_MEM_FRAG_TX ? a3 : a2;
		allow(box_tx(), size);
		if (host_tx) {
			forbid(el2_ptr(host_tx), PAGE_SIZE);
			allow(el2_ptr(host_tx), size);
		}
		break;
	case FFA_MEM_RECLAIM:
		allow(box_tx(), sizeof(struct ffa_mem_region));
	}
}

static void call_ends(void)
{
	__asan_unpoison_memory_region(box_tx(), hyp_ffa_proxy_pages() * PAGE_SIZE);
	if (host_tx && fake_el2_maps(host_tx))
		allow(el2_ptr(host_tx), PAGE_SIZE);
}

/* The incoming mailbox is EL2's from an answer that says so until it gives it back. */
static void smc_ends(unsigned long fn, const struct arm_smccc_res *res)
{
	switch (fn) {
	case FFA_RX_RELEASE:
		forbid(box_rx(), PAGE_SIZE);
		break;
	case FFA_PARTITION_INFO_GET:
		if (res->a0 == FFA_SUCCESS)
			allow(box_rx(), PAGE_SIZE);
		break;
	case FFA_FN64_MEM_RETRIEVE_REQ:
		if (res->a0 != FFA_MEM_RETRIEVE_RESP)
			break;
		allow(box_rx(), res->a2);
		if (res->a1 <= DESC_BUF_SIZE)
			__asan_unpoison_memory_region(desc_buf(), res->a1);
		break;
	case FFA_MEM_FRAG_RX:
		if (res->a0 == FFA_MEM_FRAG_TX)
			allow(box_rx(), res->a3);
	}
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
	if (!spmc.answer || !spmc.answer(a, res))
		serve(a, res);
	smc_ends(a0, res);
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
 * ffa_describe() - Write a descriptor of one endpoint.
 * @to: where to.
 * @version: of FF-A.
 * @ranges: the memory.
 * @nr: how many there are.
 *
 * Return: its length. What a test spoils in it, it spoils afterwards.
 */
u32 ffa_describe(void *to, u32 version, const struct ffa_range *ranges, u32 nr)
{
	u32 eps = version > FFA_VERSION_1_0 ? sizeof(struct ffa_mem_region) : DESC_EPS_1_0;
	u32 composite = eps + EP_SIZE, pages = 0;
	struct ffa_mem_region_attributes *ep = to + eps;
	struct ffa_composite_mem_region *c = to + composite;
	struct ffa_mem_region *d = to;

	memset(to, 0, composite + sizeof(*c));
	d->ep_count = 1;
	if (version > FFA_VERSION_1_0) {
		d->ep_mem_size = EP_SIZE;
		d->ep_mem_offset = eps;
	}
	ep->receiver = 0x8001;
	ep->composite_off = composite;
	for (u32 i = 0; i < nr; i++) {
		c->constituents[i] = (struct ffa_mem_region_addr_range) {
			.address = ranges[i].phys, .pg_cnt = ranges[i].nr,
		};
		pages += ranges[i].nr;
	}
	c->total_pg_cnt = pages;
	c->addr_range_cnt = nr;

	return composite + sizeof(*c) + nr * sizeof(c->constituents[0]);
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
	call_begins(a0, a2, a3);
	smc_forwarded = !kvm_host_ffa_handler(&ctxt, a0);
	call_ends();
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
