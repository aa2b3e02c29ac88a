// SPDX-License-Identifier: GPL-2.0-only
/*
 * EL2's test of itself at initialisation: who owns what, and every way to change it.
 *
 * Owns a table of calls, each with what it has to return and what it has to change,
 * and a model of who owns which of the pages and what guests have where. After each
 * call, also one that is refused, all of the tables have to be as the model says:
 * the host's, EL2's own and those of two protected guests and an ordinary one. The
 * calls are those that the host and guests make, so that the test makes its guests and
 * ends them as the host does. Not tested here: what more than one CPU does at a time.
 *
 * It runs on the boot CPU before the host is deprivileged, with pages of EL2's own that
 * play the host's, and gives them back. If a step goes wrong it stops there and undoes
 * nothing: initialisation fails, so that the host keeps the machine to itself, without
 * KVM, and says which step it was (asm/pkvm_selftest.h). It never panics: a machine
 * that does not boot tells nobody.
 */

#include <linux/arm-smccc.h>
#include <linux/kvm_host.h>
#include <linux/sizes.h>

#include <asm/kvm_emulate.h>
#include <asm/kvm_hyp.h>
#include <asm/kvm_mmu.h>
#include <asm/kvm_pgtable.h>
#include <asm/kvm_pkvm.h>
#include <asm/pkvm_selftest.h>

#include <nvhe/guest_regs.h>
#include <nvhe/guest_share.h>
#include <nvhe/guest_stage2.h>
#include <nvhe/leaf.h>
#include <nvhe/mem_protect.h>
#include <nvhe/memory.h>
#include <nvhe/mm.h>
#include <nvhe/ownership.h>
#include <nvhe/ownership_selftest.h>
#include <nvhe/vm_table.h>

/* What the host reads afterwards. */
struct pkvm_selftest pkvm_selftest;

/* ----------------------------------------------------------- pages and frames */

#define ORDER		8
#define NR_PAGES	BIT(ORDER)
#define NR_VMS		3

/* The VMs: two that are protected, and an ordinary one. */
enum { A, B, O };

/* Where in the pages is what a VM is made of, EL2's part and the host's. */
#define PGD(vm)		(32 * (vm))
#define VM(vm)		(32 * (vm) + 16)
#define VCPU(vm)	(32 * (vm) + 20)
#define HOST_KVM(vm)	(32 * (vm) + 24)
#define HOST_VCPU(vm)	(96 + 8 * (vm))
#define TABLES(vm)	(120 + 16 * (vm))
#define KVM_PAGES	DIV_ROUND_UP(sizeof(struct kvm), PAGE_SIZE)
#define HOST_VCPU_PAGES	DIV_ROUND_UP(sizeof(struct kvm_vcpu), PAGE_SIZE)
#define VM_PAGES	DIV_ROUND_UP(sizeof(struct pkvm_hyp_vm) + sizeof(void *), PAGE_SIZE)
#define VCPU_PAGES	DIV_ROUND_UP(sizeof(struct pkvm_hyp_vcpu), PAGE_SIZE)
/* The pages that the steps move. */
#define DATA		168
#define P(n)		(DATA + (n))
#define NR_DATA		8
/* And what is none of these pages. */
#define DEVICE		252	/* not memory */
#define BLOCK		253	/* the first page of a block of the host's memory */
#define WRAPS		254	/* a number whose address wraps */

/* Guest frames, by index; what is below NR_RAM is declared to be RAM. */
#define NR_RAM		6
#define NR_SMALL	8
#define BLOCK_AT(n)	(NR_SMALL + (n))
#define NR_GFNS		(NR_SMALL + 2)
#define UNALIGNED	13	/* for calls that take an address: the first, plus 1 */
#define FAR		14	/* beyond the guest's address space */
#define GFN_WRAPS	15
#define GFN_BASE	(SZ_2G >> PAGE_SHIFT)

#define NO_PAGES	U16_MAX
#define ENOUGH		U16_MAX

static void *base;
static phys_addr_t device, block;
static pkvm_handle_t handles[NR_VMS];

static void *page_va(unsigned int page)
{
	return base + page * PAGE_SIZE;
}

static phys_addr_t page_phys(unsigned int page)
{
	switch (page) {
	case DEVICE:
		return device;
	case BLOCK:
		return block;
	default:
		return hyp_virt_to_phys(page_va(page));
	}
}

static u64 page_pfn(unsigned int page)
{
	return page == WRAPS ? BIT_ULL(64 - PAGE_SHIFT) : hyp_phys_to_pfn(page_phys(page));
}

static u64 gfn_of(unsigned int gfn)
{
	switch (gfn) {
	case FAR:
		return BIT_ULL(host_mmu.pgt.ia_bits - PAGE_SHIFT);
	case GFN_WRAPS:
		return BIT_ULL(64 - PAGE_SHIFT);
	case UNALIGNED:
		return GFN_BASE;
	default:
		return GFN_BASE + (gfn < NR_SMALL ? gfn :
				   (gfn - NR_SMALL + 1) * PTRS_PER_PTE);
	}
}

static struct pkvm_hyp_vm *vm_of(unsigned int vm)
{
	return page_va(VM(vm));
}

static struct pkvm_hyp_vcpu *vcpu_of(unsigned int vm)
{
	return page_va(VCPU(vm));
}

static struct kvm *host_kvm_of(unsigned int vm)
{
	return page_va(HOST_KVM(vm));
}

static struct kvm_vcpu *host_vcpu_of(unsigned int vm)
{
	return page_va(HOST_VCPU(vm));
}

/* ------------------------------------------------------------------ the model */

/* What the host has of a page. 0 in a step: as before. */
enum { H_OWNS = 1, H_LENDS, H_BORROWS, H_HYP, H_GUEST };
/* What EL2 has of it in its own table. */
enum { E_NONE = 1, E_OWNS, E_BORROWS };
/* What a guest has at a frame. */
enum { G_NONE = 1, G_OWNS, G_LENDS, G_BORROWS, G_BLOCK, G_POISONED, G_DEVICE };

struct frame {
	u8 state;
	u8 page;
	u8 prot;	/* of what an ordinary guest borrows */
	bool old;	/* not used since the host asked */
};

static struct {
	u8 host[NR_PAGES];
	u8 hyp[NR_PAGES];
	/* Of H_GUEST: whose. */
	u8 vm[NR_PAGES];
	u8 gfn[NR_PAGES];
	u8 pins[NR_PAGES];
	struct frame frames[NR_VMS][NR_GFNS];
	u8 alive[NR_VMS];
	/* Pages that the VM's tables can be made of. */
	u8 tables[NR_VMS];
} model;

static bool wrong(enum pkvm_selftest_what what, unsigned int index, u64 want, u64 got)
{
	pkvm_selftest.what = what;
	pkvm_selftest.index = index;
	pkvm_selftest.want = want;
	pkvm_selftest.got = got;

	return false;
}

static bool same(enum pkvm_selftest_what what, unsigned int index, u64 want, u64 got)
{
	return want == got || wrong(what, index, want, got);
}

/* How often ordinary guests map a page; of no use to blocks. */
static unsigned int times_mapped(unsigned int page)
{
	unsigned int vm, gfn, times = 0;

	for (vm = 0; vm < NR_VMS; vm++) {
		for (gfn = 0; gfn < NR_SMALL; gfn++) {
			struct frame *f = &model.frames[vm][gfn];

			times += f->state == G_BORROWS && f->page == page;
		}
	}

	return times;
}

static bool host_is_right(unsigned int page)
{
	phys_addr_t phys = page_phys(page);
	struct pkvm_leaf leaf;
	u64 got = 0;

	pkvm_find_leaf(&host_mmu.pgt, phys, &leaf);
	if (!leaf.pte) {
		got = H_OWNS;
	} else if (!kvm_pte_valid(leaf.pte)) {
		if (FIELD_GET(KVM_INVALID_PTE_OWNER_MASK, leaf.pte) == PKVM_ID_HYP)
			got = H_HYP;
		else if (FIELD_GET(KVM_INVALID_PTE_OWNER_MASK, leaf.pte) == PKVM_ID_GUEST)
			got = H_GUEST;
	} else if (kvm_pte_to_phys(leaf.pte) == ALIGN_DOWN(phys, pkvm_leaf_size(&leaf))) {
		if (pkvm_getstate(leaf.pte) == PKVM_PAGE_OWNED)
			got = H_OWNS;
		else if (pkvm_getstate(leaf.pte) == PKVM_PAGE_SHARED_OWNED)
			got = H_LENDS;
		else if (pkvm_getstate(leaf.pte) == PKVM_PAGE_SHARED_BORROWED)
			got = H_BORROWS;
	}
	if (!same(PKVM_SELFTEST_HOST, page, model.host[page], got))
		return false;
	if (got != H_GUEST)
		return true;

	return same(PKVM_SELFTEST_HOST, page,
		    gfn_of(model.gfn[page]) | (u64)model.vm[page] << 40,
		    FIELD_GET(HOST_ENTRY_GFN, leaf.pte) |
		    FIELD_GET(HOST_ENTRY_VM, leaf.pte) << 40);
}

static bool hyp_is_right(unsigned int page)
{
	kvm_pte_t pte;
	u64 got = 0;
	s8 level;

	if (kvm_pgtable_get_leaf(&pkvm_pgtable, (u64)page_va(page), &pte, &level))
		return wrong(PKVM_SELFTEST_HYP, page, model.hyp[page], U64_MAX);

	if (!kvm_pte_valid(pte))
		got = E_NONE;
	else if (level != KVM_PGTABLE_LAST_LEVEL || kvm_pte_to_phys(pte) != page_phys(page))
		got = U64_MAX;
	else if (pkvm_getstate(kvm_pgtable_hyp_pte_prot(pte)) == PKVM_PAGE_OWNED)
		got = E_OWNS;
	else if (pkvm_getstate(kvm_pgtable_hyp_pte_prot(pte)) == PKVM_PAGE_SHARED_BORROWED)
		got = E_BORROWS;

	return same(PKVM_SELFTEST_HYP, page, model.hyp[page], got);
}

/* EL2's own pages are counted by those who use them. */
static bool count_is_right(unsigned int page)
{
	unsigned int want = 0;

	if (model.host[page] == H_HYP)
		return true;
	if (model.host[page] == H_OWNS)
		want = times_mapped(page);
	else if (model.host[page] == H_LENDS)
		want = model.pins[page];

	return same(PKVM_SELFTEST_COUNT, page, want, hyp_phys_to_page(page_phys(page))->refcount);
}

/* What the entry for a frame has to say of its state, and of what an ordinary guest may. */
static bool frame_is_right(unsigned int vm, unsigned int gfn)
{
	const struct frame *f = &model.frames[vm][gfn];
	struct pkvm_leaf leaf;
	u64 got = 0;
	u8 prot = 0;

	pkvm_find_leaf(&vm_of(vm)->pgt, gfn_of(gfn) << PAGE_SHIFT, &leaf);
	if (!leaf.pte) {
		got = G_NONE;
	} else if (!kvm_pte_valid(leaf.pte)) {
		if (FIELD_GET(KVM_INVALID_PTE_OWNER_MASK, leaf.pte) == PKVM_GUEST_POISONED)
			got = G_POISONED;
		else if (FIELD_GET(KVM_INVALID_PTE_OWNER_MASK, leaf.pte) == PKVM_GUEST_MMIO)
			got = G_DEVICE;
	} else if (kvm_pte_to_phys(leaf.pte) == page_phys(f->page)) {
		if (leaf.level == KVM_PGTABLE_LAST_LEVEL - 1)
			got = G_BLOCK;
		else if (pkvm_getstate(leaf.pte) == PKVM_PAGE_OWNED)
			got = G_OWNS;
		else if (pkvm_getstate(leaf.pte) == PKVM_PAGE_SHARED_OWNED)
			got = G_LENDS;
		else if (pkvm_getstate(leaf.pte) == PKVM_PAGE_SHARED_BORROWED)
			got = G_BORROWS;
	}
	if (!same(PKVM_SELFTEST_GUEST, 16 * vm + gfn, f->state, got))
		return false;
	if (got != G_BORROWS)
		return true;

	if (leaf.pte & KVM_PTE_LEAF_ATTR_LO_S2_S2AP_R)
		prot |= KVM_PGTABLE_PROT_R;
	if (leaf.pte & KVM_PTE_LEAF_ATTR_LO_S2_S2AP_W)
		prot |= KVM_PGTABLE_PROT_W;
	if (!(leaf.pte & KVM_PTE_LEAF_ATTR_HI_S2_XN))
		prot |= KVM_PGTABLE_PROT_X;
	if (!same(PKVM_SELFTEST_GUEST, 16 * vm + gfn, f->prot & KVM_PGTABLE_PROT_RWX, prot))
		return false;

	return same(PKVM_SELFTEST_GUEST, 16 * vm + gfn, !f->old,
		    !!(leaf.pte & KVM_PTE_LEAF_ATTR_LO_S2_AF));
}

static bool guest_is_right(unsigned int vm)
{
	unsigned int gfn, total = 0;

	for (gfn = 0; gfn < NR_GFNS; gfn++) {
		const struct frame *f = &model.frames[vm][gfn];

		if (!frame_is_right(vm, gfn))
			return false;
		if (f->state == G_BLOCK)
			total += PTRS_PER_PTE;
		else
			total += f->state == G_OWNS || f->state == G_LENDS ||
				 f->state == G_BORROWS;
	}

	return same(PKVM_SELFTEST_TOTAL, vm, total, vm_of(vm)->nr_guest_pages);
}

static bool all_is_right(void)
{
	unsigned int page, vm, blocks = 0;
	bool memory;

	for (page = 0; page < NR_PAGES; page++) {
		if (page >= DEVICE && page <= WRAPS)
			continue;
		if (!host_is_right(page) || !hyp_is_right(page) || !count_is_right(page))
			return false;
	}
	for (vm = 0; vm < NR_VMS; vm++) {
		if (model.alive[vm] && !guest_is_right(vm))
			return false;
		blocks += (model.frames[vm][BLOCK_AT(0)].state == G_BLOCK) +
			  (model.frames[vm][BLOCK_AT(1)].state == G_BLOCK);
	}

	/* Of the host's own memory, only what guests map may have changed. */
	return same(PKVM_SELFTEST_COUNT, BLOCK, blocks, hyp_phys_to_page(block)->nr_blocks) &&
	       same(PKVM_SELFTEST_COUNT, BLOCK, times_mapped(BLOCK),
		    hyp_phys_to_page(block)->refcount) &&
	       same(PKVM_SELFTEST_HOST, BLOCK, 0,
		    host_check_owned(block, PTRS_PER_PTE, &memory));
}

/* ------------------------------------------------------------------ the steps */

enum op {
	SHARE_HYP, UNSHARE_HYP, PIN, UNPIN, DONATE_HYP, HYP_DONATE_HOST,
	SHARE_FFA, UNSHARE_FFA, CAN_ACCESS, FORCE_RECLAIM,
	SHARE_STRUCTS, UNSHARE_STRUCTS, INIT_VM, INIT_VCPU, LOAD, PUT, TOPUP, OFFER_BAD,
	DONATE_GUEST, GUEST_SHARE, GUEST_UNSHARES, GUEST_CHECK,
	MMIO_MAP, MMIO_UNMAP, MMIO_ALLOWED,
	SHARE_GUEST, RELAX, MKYOUNG, CLEAR_YOUNG, WRPROTECT, STAGE2_OP,
	START_TEARDOWN, RECLAIM, FINALIZE,
};

/* A result that depends on the machine: as many tables as there can be. */
#define NEED		S32_MAX

struct step {
	u16 line;
	u8 op;
	u8 vm;
	u8 page;
	u8 gfn;
	u16 nr;			/* pages; 0 means 1 */
	u8 prot;		/* or index of a vCPU, or what STAGE2_OP does */
	s32 want;		/* result */
	/* What it changes. */
	u8 host, hyp, guest;
	bool old;
};

#define STEP(_op, ...)	{ __LINE__, _op, ##__VA_ARGS__ }
#define RO		KVM_PGTABLE_PROT_R
#define RW		(KVM_PGTABLE_PROT_R | KVM_PGTABLE_PROT_W)
#define RX		(KVM_PGTABLE_PROT_R | KVM_PGTABLE_PROT_X)
#define RWX		KVM_PGTABLE_PROT_RWX
#define DEV		KVM_PGTABLE_PROT_DEVICE
#define NC		KVM_PGTABLE_PROT_NORMAL_NC

static const struct step steps[] = {
	/* The host and EL2: shares. */
	STEP(SHARE_HYP, .page = P(0), .host = H_LENDS, .hyp = E_BORROWS),
	STEP(SHARE_HYP, .page = P(0), .want = -EPERM),
	STEP(DONATE_HYP, .page = P(0), .want = -EPERM),
	STEP(HYP_DONATE_HOST, .page = P(0), .want = -EPERM),
	STEP(SHARE_FFA, .page = P(0), .want = -EPERM),
	STEP(FORCE_RECLAIM, .page = P(0), .want = -EAGAIN),
	STEP(CAN_ACCESS, .page = P(0), .want = 1),
	STEP(PIN, .page = P(0)),
	STEP(PIN, .page = P(0)),
	STEP(UNSHARE_HYP, .page = P(0), .want = -EBUSY),
	STEP(UNPIN, .page = P(0)),
	STEP(UNSHARE_HYP, .page = P(0), .want = -EBUSY),
	STEP(UNPIN, .page = P(0)),
	STEP(PIN, .page = P(1), .want = -EPERM),
	STEP(PIN, .page = P(0), .nr = 2, .want = -EPERM),
	STEP(UNSHARE_HYP, .page = P(0), .host = H_OWNS, .hyp = E_NONE),
	STEP(UNSHARE_HYP, .page = P(0), .want = -EPERM),

	/* The host and EL2: gifts; several pages move together or not at all. */
	STEP(HYP_DONATE_HOST, .page = P(0), .want = -EPERM),
	STEP(SHARE_HYP, .page = P(2), .host = H_LENDS, .hyp = E_BORROWS),
	STEP(DONATE_HYP, .page = P(0), .nr = 3, .want = -EPERM),
	STEP(UNSHARE_HYP, .page = P(2), .host = H_OWNS, .hyp = E_NONE),
	STEP(DONATE_HYP, .page = P(0), .nr = 2, .host = H_HYP, .hyp = E_OWNS),
	STEP(DONATE_HYP, .page = P(1), .nr = 2, .want = -EPERM),
	STEP(SHARE_HYP, .page = P(1), .want = -EPERM),
	STEP(UNSHARE_HYP, .page = P(1), .want = -EPERM),
	STEP(PIN, .page = P(1), .want = -EPERM),
	STEP(SHARE_FFA, .page = P(1), .want = -EPERM),
	STEP(UNSHARE_FFA, .page = P(1), .want = -EPERM),
	STEP(FORCE_RECLAIM, .page = P(1), .want = -EPERM),
	STEP(CAN_ACCESS, .page = P(1), .want = 0),
	STEP(HYP_DONATE_HOST, .page = P(0), .nr = 3, .want = -EPERM),
	STEP(HYP_DONATE_HOST, .page = P(0), .nr = 2, .host = H_OWNS, .hyp = E_NONE),
	STEP(CAN_ACCESS, .page = P(1), .want = 1),

	/* The host and the secure world. */
	STEP(SHARE_FFA, .page = P(0), .nr = 2, .host = H_LENDS),
	STEP(SHARE_FFA, .page = P(1), .nr = 2, .want = -EPERM),
	STEP(SHARE_HYP, .page = P(0), .want = -EPERM),
	STEP(UNSHARE_HYP, .page = P(0), .want = -EPERM),
	STEP(DONATE_HYP, .page = P(0), .want = -EPERM),
	STEP(PIN, .page = P(0), .want = -EPERM),
	STEP(FORCE_RECLAIM, .page = P(0), .want = -EAGAIN),
	STEP(UNSHARE_FFA, .page = P(0), .nr = 3, .want = -EPERM),
	STEP(UNSHARE_FFA, .page = P(0), .nr = 2, .host = H_OWNS),
	STEP(UNSHARE_FFA, .page = P(0), .want = -EPERM),

	/* What is not memory, or no page at all. */
	STEP(SHARE_HYP, .page = DEVICE, .want = -EPERM),
	STEP(SHARE_HYP, .page = WRAPS, .want = -EINVAL),
	STEP(UNSHARE_HYP, .page = WRAPS, .want = -EINVAL),
	STEP(DONATE_HYP, .page = DEVICE, .want = -EPERM),
	STEP(SHARE_FFA, .page = DEVICE, .want = -EPERM),
	STEP(FORCE_RECLAIM, .page = DEVICE, .want = -EPERM),
	STEP(FORCE_RECLAIM, .page = WRAPS, .want = -EINVAL),
	STEP(CAN_ACCESS, .page = DEVICE, .want = -EINVAL),
	STEP(CAN_ACCESS, .page = WRAPS, .want = -EINVAL),

	/* Two protected VMs come to be. */
	STEP(LOAD, A, .want = -ENOENT),
	STEP(INIT_VM, A, .want = -EPERM),
	STEP(SHARE_STRUCTS, A),
	STEP(INIT_VCPU, A, .want = -ENOENT),
	STEP(INIT_VM, A),
	STEP(INIT_VM, A, .want = -ENOMEM),
	STEP(LOAD, A, .want = -ENOENT),
	STEP(INIT_VCPU, A),
	STEP(INIT_VCPU, A, .want = -ENOMEM),
	STEP(UNSHARE_HYP, .page = HOST_KVM(A), .want = -EBUSY),
	STEP(UNSHARE_HYP, .page = HOST_VCPU(A), .want = -EBUSY),
	STEP(DONATE_HYP, .page = VM(A), .want = -EPERM),
	STEP(SHARE_HYP, .page = PGD(A), .want = -EPERM),
	STEP(FORCE_RECLAIM, .page = VCPU(A), .want = -EPERM),
	STEP(LOAD, A, .prot = 1, .want = -ENOENT),
	STEP(LOAD, A),
	STEP(LOAD, A, .want = -EBUSY),
	STEP(START_TEARDOWN, A, .want = -EBUSY),
	STEP(RECLAIM, A, .page = P(0), .want = -EBUSY),
	STEP(FINALIZE, A, .want = -EBUSY),
	STEP(SHARE_STRUCTS, B),
	STEP(INIT_VM, B),
	STEP(INIT_VCPU, B),
	STEP(LOAD, B, .want = -EBUSY),

	/* A gift to a guest, when EL2 has table pages for it. */
	STEP(DONATE_GUEST, A, P(0), 0, .want = NEED),
	STEP(OFFER_BAD, A, VM(A), .want = -ENOMEM),
	STEP(OFFER_BAD, A, HOST_KVM(A), .want = -ENOMEM),
	STEP(OFFER_BAD, A, DEVICE, .want = -ENOMEM),
	STEP(TOPUP, A, .nr = 1, .want = -ENOMEM),
	STEP(DONATE_GUEST, A, P(0), 0, .want = NEED),
	STEP(TOPUP, A, .nr = ENOUGH),
	STEP(DONATE_GUEST, A, P(0), 0, .host = H_GUEST, .guest = G_OWNS),
	STEP(DONATE_GUEST, A, P(0), 0, .want = -EPERM),
	STEP(DONATE_GUEST, A, P(0), 1, .want = -EPERM),
	STEP(DONATE_GUEST, A, P(1), 0, .want = -EEXIST),
	STEP(DONATE_GUEST, A, P(1), 1, .nr = 2, .host = H_GUEST, .guest = G_OWNS),
	STEP(DONATE_GUEST, A, P(2), 3, .nr = 2, .want = -EPERM),
	STEP(DONATE_GUEST, A, P(3), 2, .nr = 2, .want = -EEXIST),
	STEP(DONATE_GUEST, A, P(3), 3, .nr = NO_PAGES, .want = -EINVAL),
	STEP(DONATE_GUEST, A, P(3), 3, .nr = PTRS_PER_PTE + 1, .want = -EINVAL),
	STEP(DONATE_GUEST, A, P(3), FAR, .want = -ERANGE),
	STEP(DONATE_GUEST, A, P(3), GFN_WRAPS, .want = -EINVAL),
	STEP(DONATE_GUEST, A, WRAPS, 3, .want = -EINVAL),
	STEP(DONATE_GUEST, A, DEVICE, 3, .want = -EPERM),
	STEP(DONATE_GUEST, A, VM(B), 3, .want = -EPERM),
	STEP(DONATE_GUEST, A, HOST_KVM(A), 3, .want = -EPERM),
	STEP(DONATE_GUEST, A, P(3), NR_RAM, .want = -EPERM),
	STEP(DONATE_GUEST, A, P(3), NR_RAM - 1, .nr = 2, .want = -EPERM),

	/* What a guest has is nobody else's. */
	STEP(SHARE_HYP, .page = P(0), .want = -EPERM),
	STEP(UNSHARE_HYP, .page = P(0), .want = -EPERM),
	STEP(DONATE_HYP, .page = P(0), .want = -EPERM),
	STEP(HYP_DONATE_HOST, .page = P(0), .want = -EPERM),
	STEP(PIN, .page = P(0), .want = -EPERM),
	STEP(SHARE_FFA, .page = P(0), .want = -EPERM),
	STEP(UNSHARE_FFA, .page = P(0), .want = -EPERM),
	STEP(CAN_ACCESS, .page = P(0), .want = 0),
	STEP(OFFER_BAD, A, P(0), .want = -ENOMEM),
	STEP(DONATE_GUEST, B, P(0), 0, .want = -EPERM),
	STEP(SHARE_GUEST, A, P(3), 3, .prot = RWX, .want = -EINVAL),
	STEP(RELAX, A, .gfn = 0, .prot = RWX, .want = -EINVAL),
	STEP(STAGE2_OP, A, .gfn = 0, .prot = PKVM_S2_UNSHARE, .want = -EINVAL),
	STEP(STAGE2_OP, A, .gfn = 0, .prot = PKVM_S2_WRPROTECT, .want = -EINVAL),

	/* A guest lets the host in. */
	STEP(GUEST_CHECK, A, .gfn = 0, .want = -EPERM),
	STEP(GUEST_SHARE, A, P(0), 0, .host = H_BORROWS, .guest = G_LENDS),
	STEP(GUEST_SHARE, A, .gfn = 0, .want = -EPERM),
	STEP(GUEST_SHARE, A, .gfn = 4, .want = -ENOENT),
	STEP(GUEST_SHARE, A, .gfn = UNALIGNED, .want = -EINVAL),
	STEP(GUEST_SHARE, A, .gfn = FAR, .want = -EINVAL),
	STEP(GUEST_CHECK, A, .gfn = 0),
	STEP(GUEST_CHECK, A, .gfn = 1, .want = -EPERM),
	STEP(GUEST_CHECK, A, .gfn = 4, .want = -ENOENT),
	STEP(GUEST_CHECK, A, .gfn = UNALIGNED, .want = -EINVAL),
	STEP(GUEST_CHECK, A, .gfn = FAR, .want = -EINVAL),
	STEP(CAN_ACCESS, .page = P(0), .want = 1),
	STEP(SHARE_HYP, .page = P(0), .want = -EPERM),
	STEP(UNSHARE_HYP, .page = P(0), .want = -EPERM),
	STEP(DONATE_HYP, .page = P(0), .want = -EPERM),
	STEP(SHARE_FFA, .page = P(0), .want = -EPERM),
	STEP(UNSHARE_FFA, .page = P(0), .want = -EPERM),
	STEP(FORCE_RECLAIM, .page = P(0), .want = -EAGAIN),
	STEP(DONATE_GUEST, A, P(0), 0, .want = -EPERM),
	STEP(DONATE_GUEST, A, P(0), 4, .want = -EPERM),
	STEP(DONATE_GUEST, B, P(0), 0, .want = -EPERM),

	/* And shuts it out: the host has to return that page, to that call. */
	STEP(GUEST_UNSHARES, A, .gfn = 1),
	STEP(DONATE_GUEST, A, P(1), 1, .want = -EPERM),
	STEP(GUEST_UNSHARES, A, .gfn = 0),
	STEP(DONATE_GUEST, A, P(1), 0, .want = -EPERM),
	STEP(DONATE_GUEST, A, P(3), 0, .want = -EPERM),
	STEP(DONATE_GUEST, A, P(0), 0, .nr = 2, .want = -EPERM),
	STEP(DONATE_GUEST, A, P(0), 4, .want = -EPERM),
	STEP(DONATE_GUEST, B, P(0), 0, .want = -EPERM),
	STEP(DONATE_GUEST, A, P(0), 0, .host = H_GUEST, .guest = G_OWNS),
	STEP(DONATE_GUEST, A, P(0), 0, .want = -EPERM),
	STEP(GUEST_CHECK, A, .gfn = 0, .want = -EPERM),

	/* A guest calls a page a device's. */
	STEP(MMIO_MAP, A, .gfn = NR_RAM, .guest = G_DEVICE),
	STEP(MMIO_MAP, A, .gfn = NR_RAM),
	STEP(MMIO_MAP, A, .gfn = 0, .want = -EEXIST),
	STEP(MMIO_MAP, A, .gfn = UNALIGNED, .want = -EINVAL),
	STEP(MMIO_MAP, A, .gfn = FAR, .want = -EINVAL),
	STEP(MMIO_ALLOWED, A, .gfn = NR_RAM, .want = 1),
	STEP(MMIO_ALLOWED, A, .gfn = NR_RAM + 1, .want = 1),
	STEP(MMIO_ALLOWED, A, .gfn = NR_RAM - 1, .want = 0),
	STEP(MMIO_ALLOWED, A, .gfn = 0, .want = 0),
	STEP(GUEST_SHARE, A, .gfn = NR_RAM, .want = -EPERM),
	STEP(GUEST_CHECK, A, .gfn = NR_RAM, .want = -EPERM),
	STEP(DONATE_GUEST, A, P(3), NR_RAM, .want = -EPERM),
	STEP(MMIO_UNMAP, A, .gfn = NR_RAM, .guest = G_NONE),
	STEP(MMIO_UNMAP, A, .gfn = NR_RAM, .want = -ENOENT),
	STEP(MMIO_UNMAP, A, .gfn = 0, .want = -ENOENT),
	STEP(MMIO_UNMAP, A, .gfn = FAR, .want = -EINVAL),

	/* A second guest, and pages that the first one has, or has lent. */
	STEP(GUEST_SHARE, A, P(1), 1, .host = H_BORROWS, .guest = G_LENDS),
	STEP(PUT, A),
	STEP(PUT, A),
	STEP(LOAD, B),
	STEP(TOPUP, B, .nr = ENOUGH),
	STEP(DONATE_GUEST, B, P(0), 0, .want = -EPERM),
	STEP(DONATE_GUEST, B, P(1), 0, .want = -EPERM),
	STEP(DONATE_GUEST, B, P(3), 0, .host = H_GUEST, .guest = G_OWNS),
	STEP(DONATE_GUEST, B, P(4), 1, .host = H_GUEST, .guest = G_OWNS),
	STEP(DONATE_GUEST, A, P(4), 4, .want = -EPERM),
	STEP(GUEST_CHECK, B, .gfn = 1, .want = -EPERM),
	STEP(PUT, B),

	/* The host takes a page by force: it comes back clean, the guest has lost it. */
	STEP(LOAD, A),
	STEP(FORCE_RECLAIM, A, P(0), 0, .host = H_OWNS, .guest = G_POISONED),
	STEP(FORCE_RECLAIM, A, P(0), 0, .want = -EAGAIN),
	STEP(FORCE_RECLAIM, A, P(1), 1, .want = -EAGAIN),
	STEP(DONATE_GUEST, A, P(0), 0, .want = -EHWPOISON),
	STEP(DONATE_GUEST, A, P(5), 0, .want = -EHWPOISON),
	STEP(GUEST_SHARE, A, .gfn = 0, .want = -EHWPOISON),
	STEP(GUEST_CHECK, A, .gfn = 0, .want = -EHWPOISON),
	STEP(MMIO_ALLOWED, A, .gfn = 0, .want = 0),
	STEP(DONATE_GUEST, A, P(0), 4, .host = H_GUEST, .guest = G_OWNS),
	STEP(PUT, A),

	/* An ordinary guest: the host shares what it owns alone, and keeps it. */
	STEP(SHARE_STRUCTS, O),
	STEP(INIT_VM, O),
	STEP(INIT_VCPU, O),
	STEP(LOAD, O),
	STEP(DONATE_GUEST, O, P(5), 0, .want = -EINVAL),
	STEP(RELAX, O, .gfn = 0, .prot = RWX, .want = -EAGAIN),
	STEP(SHARE_GUEST, O, P(5), 0, .prot = RO, .want = NEED),
	STEP(OFFER_BAD, O, P(0), .want = -ENOMEM),
	STEP(TOPUP, O, .nr = ENOUGH),
	STEP(SHARE_GUEST, O, P(5), 0, .prot = KVM_PGTABLE_PROT_W, .want = -EINVAL),
	STEP(SHARE_GUEST, O, P(5), 0, .prot = RX | DEV, .want = -EINVAL),
	STEP(SHARE_GUEST, O, P(5), 0, .prot = RO | DEV | NC, .want = -EINVAL),
	STEP(SHARE_GUEST, O, P(5), 0, .prot = RO | BIT(5), .want = -EINVAL),
	STEP(SHARE_GUEST, O, P(5), 0, .nr = NO_PAGES, .prot = RO, .want = -EINVAL),
	STEP(SHARE_GUEST, O, P(5), FAR, .prot = RO, .want = -ERANGE),
	STEP(SHARE_GUEST, O, P(5), GFN_WRAPS, .prot = RO, .want = -EINVAL),
	STEP(SHARE_GUEST, O, P(5), 0, .prot = RO, .guest = G_BORROWS),
	STEP(SHARE_GUEST, O, P(5), 0, .prot = RWX, .want = -EAGAIN),
	STEP(SHARE_GUEST, O, P(5), 1, .prot = RWX, .guest = G_BORROWS),
	STEP(SHARE_GUEST, O, P(0), 2, .prot = RWX, .want = -EPERM),
	STEP(SHARE_GUEST, O, P(1), 2, .prot = RWX, .want = -EPERM),
	STEP(SHARE_GUEST, O, P(3), 2, .prot = RWX, .want = -EPERM),
	STEP(SHARE_GUEST, O, P(4), 2, .nr = 2, .prot = RWX, .want = -EPERM),
	STEP(SHARE_GUEST, O, VM(O), 2, .prot = RWX, .want = -EPERM),
	STEP(SHARE_GUEST, O, HOST_KVM(O), 2, .prot = RWX, .want = -EPERM),
	STEP(SHARE_HYP, .page = P(6), .host = H_LENDS, .hyp = E_BORROWS),
	STEP(SHARE_GUEST, O, P(6), 2, .prot = RWX, .want = -EPERM),
	STEP(UNSHARE_HYP, .page = P(6), .host = H_OWNS, .hyp = E_NONE),
	STEP(SHARE_FFA, .page = P(6), .host = H_LENDS),
	STEP(SHARE_GUEST, O, P(6), 2, .prot = RWX, .want = -EPERM),
	STEP(UNSHARE_FFA, .page = P(6), .host = H_OWNS),

	/* What an ordinary guest maps is the host's, but for nobody else. */
	STEP(CAN_ACCESS, .page = P(5), .want = 1),
	STEP(SHARE_HYP, .page = P(5), .want = -EPERM),
	STEP(DONATE_HYP, .page = P(5), .want = -EPERM),
	STEP(DONATE_HYP, .page = P(5), .nr = 2, .want = -EPERM),
	STEP(SHARE_FFA, .page = P(5), .want = -EPERM),
	STEP(DONATE_GUEST, A, P(5), 5, .want = -EPERM),
	STEP(OFFER_BAD, O, P(5), .want = -ENOMEM),
	STEP(FORCE_RECLAIM, .page = P(5), .want = -EAGAIN),

	/* What it may do with it. */
	STEP(RELAX, O, P(5), 0, .prot = RW, .guest = G_BORROWS),
	STEP(RELAX, O, .gfn = 0, .nr = NO_PAGES, .prot = RW, .want = -E2BIG),
	STEP(RELAX, O, .gfn = 0, .prot = KVM_PGTABLE_PROT_X, .want = -EINVAL),
	STEP(RELAX, O, .gfn = 5, .prot = RW, .want = -EAGAIN),
	STEP(RELAX, O, .gfn = FAR, .prot = RW, .want = -ERANGE),
	STEP(RELAX, O, .gfn = GFN_WRAPS, .prot = RW, .want = -EINVAL),
	STEP(STAGE2_OP, O, .gfn = 0, .prot = PKVM_S2_TEST_YOUNG, .want = 1),
	STEP(STAGE2_OP, O, .gfn = 5, .prot = PKVM_S2_TEST_YOUNG, .want = 0),
	STEP(CLEAR_YOUNG, O, P(5), 0, .prot = RW, .want = 1, .guest = G_BORROWS, .old = true),
	STEP(STAGE2_OP, O, .gfn = 0, .prot = PKVM_S2_TEST_YOUNG, .want = 0),
	STEP(CLEAR_YOUNG, O, .gfn = 0, .want = 0),
	STEP(MKYOUNG, O, P(5), 0, .prot = RW, .guest = G_BORROWS),
	STEP(WRPROTECT, O, P(5), 0, .prot = RO, .guest = G_BORROWS),
	STEP(RELAX, O, P(5), 0, .prot = RW, .guest = G_BORROWS),
	STEP(STAGE2_OP, O, .gfn = 0, .nr = NO_PAGES, .prot = PKVM_S2_FLUSH, .want = -EINVAL),
	STEP(STAGE2_OP, O, .gfn = FAR, .prot = PKVM_S2_FLUSH, .want = -ERANGE),
	STEP(STAGE2_OP, O, .gfn = GFN_WRAPS, .prot = PKVM_S2_UNSHARE, .want = -EINVAL),
	STEP(STAGE2_OP, O, .gfn = 0, .prot = U8_MAX, .want = -EINVAL),
	STEP(STAGE2_OP, O, .gfn = 0, .prot = PKVM_S2_TLBI),
	STEP(STAGE2_OP, O, .gfn = 0, .nr = 2, .prot = PKVM_S2_FLUSH),

	/* Another page in its place, and several at once. */
	STEP(SHARE_GUEST, O, P(6), 0, .prot = RX, .guest = G_BORROWS),
	STEP(SHARE_GUEST, O, P(6), 2, .nr = 2, .prot = RW, .guest = G_BORROWS),
	STEP(DONATE_HYP, .page = P(7), .want = -EPERM),
	STEP(SHARE_GUEST, O, DEVICE, 4, .prot = RW, .want = -EPERM),
	STEP(SHARE_GUEST, O, DEVICE, 4, .prot = RO | DEV, .guest = G_BORROWS),
	STEP(RELAX, O, DEVICE, 4, .prot = RX, .want = -EINVAL),
	STEP(RELAX, O, DEVICE, 4, .prot = RWX, .want = -EINVAL),
	STEP(RELAX, O, DEVICE, 4, .prot = RW | DEV, .guest = G_BORROWS),
	STEP(STAGE2_OP, O, P(5), 1, .prot = PKVM_S2_UNSHARE, .guest = G_NONE),
	STEP(STAGE2_OP, O, .gfn = 1, .prot = PKVM_S2_UNSHARE),
	STEP(SHARE_HYP, .page = P(5), .host = H_LENDS, .hyp = E_BORROWS),
	STEP(UNSHARE_HYP, .page = P(5), .host = H_OWNS, .hyp = E_NONE),
	STEP(STAGE2_OP, O, .gfn = 2, .nr = 3, .prot = PKVM_S2_UNSHARE, .guest = G_NONE),

	/* Blocks: one count for all of one, and each goes as a whole. */
	STEP(TOPUP, O, .nr = ENOUGH),
	STEP(SHARE_GUEST, O, BLOCK, BLOCK_AT(0), .nr = PTRS_PER_PTE, .prot = RWX,
	     .guest = G_BLOCK),
	STEP(SHARE_GUEST, O, BLOCK, BLOCK_AT(0), .nr = PTRS_PER_PTE, .prot = RWX,
	     .want = -EAGAIN),
	STEP(SHARE_GUEST, O, BLOCK, BLOCK_AT(1), .nr = PTRS_PER_PTE, .prot = RWX,
	     .guest = G_BLOCK),
	STEP(SHARE_GUEST, O, BLOCK, 1, .prot = RW, .guest = G_BORROWS),
	STEP(SHARE_HYP, .page = BLOCK, .want = -EPERM),
	STEP(SHARE_FFA, .page = BLOCK, .want = -EPERM),
	STEP(STAGE2_OP, O, .gfn = 1, .prot = PKVM_S2_UNSHARE, .guest = G_NONE),
	STEP(SHARE_HYP, .page = BLOCK, .want = -EPERM),
	STEP(STAGE2_OP, O, .gfn = BLOCK_AT(0), .prot = PKVM_S2_UNSHARE, .guest = G_NONE),
	STEP(DONATE_HYP, .page = BLOCK, .want = -EPERM),
	STEP(STAGE2_OP, O, .gfn = BLOCK_AT(1), .nr = PTRS_PER_PTE, .prot = PKVM_S2_UNSHARE,
	     .guest = G_NONE),

	/* An ordinary VM ends: its memory never was another's. */
	STEP(START_TEARDOWN, O, .want = -EBUSY),
	STEP(PUT, O),
	STEP(START_TEARDOWN, O),
	STEP(LOAD, O, .want = -EBUSY),
	STEP(RECLAIM, O, P(6), 0, .want = -EINVAL),
	STEP(FINALIZE, O, .want = -EBUSY),
	STEP(STAGE2_OP, O, .gfn = 0, .prot = PKVM_S2_UNSHARE, .guest = G_NONE),
	STEP(FINALIZE, O),
	STEP(FINALIZE, O, .want = -ENOENT),
	STEP(START_TEARDOWN, O, .want = -ENOENT),
	STEP(STAGE2_OP, O, .gfn = 0, .prot = PKVM_S2_UNSHARE, .want = -ENOENT),
	STEP(UNSHARE_STRUCTS, O),

	/* Protected ones end: all comes back clean, shared or not, each page once. */
	STEP(START_TEARDOWN, A),
	STEP(LOAD, A, .want = -EBUSY),
	STEP(FINALIZE, A, .want = -EBUSY),
	STEP(RECLAIM, A, P(2), 1, .want = -EPERM),
	STEP(RECLAIM, A, P(1), 5, .want = -ENOENT),
	STEP(RECLAIM, A, P(3), 2, .want = -EPERM),
	STEP(RECLAIM, A, P(1), 1, .nr = NO_PAGES, .want = -EINVAL),
	STEP(RECLAIM, A, P(1), FAR, .want = -ERANGE),
	STEP(RECLAIM, A, WRAPS, 1, .want = -EINVAL),
	STEP(RECLAIM, B, P(3), 0, .want = -EBUSY),
	STEP(RECLAIM, A, P(1), 1, .want = 1, .host = H_OWNS, .guest = G_NONE),
	STEP(RECLAIM, A, P(1), 1, .want = -ENOENT),
	STEP(RECLAIM, A, P(0), 0, .want = 1),
	STEP(RECLAIM, A, P(0), 4, .want = 1, .host = H_OWNS, .guest = G_NONE),
	STEP(FINALIZE, A, .want = -EBUSY),
	STEP(RECLAIM, A, P(2), 2, .want = 1, .host = H_OWNS, .guest = G_NONE),
	STEP(FINALIZE, A),
	STEP(FINALIZE, A, .want = -ENOENT),
	STEP(LOAD, A, .want = -ENOENT),
	STEP(RECLAIM, A, P(2), 2, .want = -ENOENT),
	STEP(UNSHARE_STRUCTS, A),
	STEP(START_TEARDOWN, B),
	STEP(FORCE_RECLAIM, B, P(3), 0, .host = H_OWNS, .guest = G_POISONED),
	STEP(RECLAIM, B, P(3), 0, .want = 1),
	STEP(RECLAIM, B, P(4), 1, .want = 1, .host = H_OWNS, .guest = G_NONE),
	STEP(FINALIZE, B),
	STEP(FORCE_RECLAIM, .page = P(4), .want = -EAGAIN),
	STEP(UNSHARE_STRUCTS, B),
};

/* -------------------------------------------------------------------- contents */

#define PATTERN		0x5ec3e7c0ffee0000UL

static void fill(unsigned int page)
{
	u64 *p = hyp_fixmap_map(page_phys(page));
	unsigned int i;

	for (i = 0; i < PAGE_SIZE / sizeof(*p); i++)
		p[i] = PATTERN + i;
	hyp_fixmap_unmap();
}

/* Only zeroes, or only what fill() has written, from word @first on? */
static bool content_is(unsigned int page, unsigned int first, bool zeroes)
{
	u64 *p = hyp_fixmap_map(page_phys(page)), got = 0, want = 0;
	unsigned int i;

	for (i = first; i < PAGE_SIZE / sizeof(*p); i++) {
		want = zeroes ? 0 : PATTERN + i;
		got = p[i];
		if (got != want)
			break;
	}
	hyp_fixmap_unmap();

	return same(PKVM_SELFTEST_CONTENT, page, want, got);
}

/* The guest has written to its page before the host asks for it. */
static bool gives_back(const struct step *s)
{
	return (s->op == RECLAIM || s->op == FORCE_RECLAIM) && s->page >= DATA &&
	       s->page < DATA + NR_DATA;
}

/* -------------------------------------------------------------- how they are taken */

static unsigned int nr_of(const struct step *s)
{
	return s->nr == NO_PAGES ? 0 : s->nr ?: 1;
}

static s64 share_structs(unsigned int vm, bool share)
{
	unsigned int i;
	int ret = 0;

	for (i = 0; i < KVM_PAGES && !ret; i++) {
		u64 pfn = page_pfn(HOST_KVM(vm) + i);

		ret = share ? __pkvm_host_share_hyp(pfn) : __pkvm_host_unshare_hyp(pfn);
	}
	for (i = 0; i < HOST_VCPU_PAGES && !ret; i++) {
		u64 pfn = page_pfn(HOST_VCPU(vm) + i);

		ret = share ? __pkvm_host_share_hyp(pfn) : __pkvm_host_unshare_hyp(pfn);
	}
	if (share && !ret) {
		memset(host_kvm_of(vm), 0, sizeof(struct kvm));
		memset(host_vcpu_of(vm), 0, sizeof(struct kvm_vcpu));
		host_kvm_of(vm)->arch.pkvm.nr_vcpus = 1;
		host_kvm_of(vm)->arch.pkvm.enabled = vm != O;
	}

	return ret;
}

/* The host declares what is RAM in the memory that it gives. */
static s64 init_vm(unsigned int vm)
{
	struct pkvm_guest_ram *ram;
	int ret;

	if (model.host[VM(vm)] == H_OWNS) {
		ram = hyp_fixmap_map(page_phys(VM(vm)));
		ram->nr = 1;
		ram->range[0].gfn = GFN_BASE;
		ram->range[0].nr_pages = NR_RAM;
		hyp_fixmap_unmap();
	}

	ret = __pkvm_init_vm(host_kvm_of(vm), (unsigned long)page_va(VM(vm)),
			     (unsigned long)page_va(PGD(vm)));
	if (ret <= 0)
		return ret;
	handles[vm] = ret;

	return 0;
}

static unsigned int topup_pages(const struct step *s)
{
	struct pkvm_hyp_vm *vm = vm_of(s->vm);

	if (s->nr != ENOUGH)
		return s->nr;

	return 2 * kvm_mmu_cache_min_pages(&vm->kvm.arch.mmu) -
	       vcpu_of(s->vm)->stage2_mc.nr_pages;
}

static s64 topup(const struct step *s)
{
	struct kvm_hyp_memcache *mc = &host_vcpu_of(s->vm)->arch.stage2_mc;
	unsigned int i;

	for (i = 0; i < topup_pages(s); i++) {
		phys_addr_t phys = page_phys(TABLES(s->vm) + model.tables[s->vm] + i);
		phys_addr_t *next = hyp_fixmap_map(phys);

		*next = mc->head;
		mc->head = phys;
		mc->nr_pages++;
		hyp_fixmap_unmap();
	}

	return pkvm_refill_stage2_mc(vcpu_of(s->vm)) ?: mc->nr_pages;
}

/* A page that EL2 must not take is first in the list; for a vCPU that lacks pages. */
static s64 offer_bad(const struct step *s)
{
	struct kvm_hyp_memcache *mc = &host_vcpu_of(s->vm)->arch.stage2_mc;
	int ret;

	mc->head = page_phys(s->page);
	mc->nr_pages = 1;
	ret = pkvm_refill_stage2_mc(vcpu_of(s->vm));
	mc->head = 0;
	mc->nr_pages = 0;

	return ret;
}

/* Interrupts may wait: the host boots. */
static s64 finalize(pkvm_handle_t handle)
{
	s64 ret;

	do {
		ret = __pkvm_finalize_teardown_vm(handle);
	} while (ret == -EAGAIN);

	return ret;
}

/* The vCPU's last exit was its call to unshare a page. */
static s64 guest_unshares(const struct step *s)
{
	struct pkvm_hyp_vcpu *hyp_vcpu = vcpu_of(s->vm);

	hyp_vcpu->exit_code = ARM_EXCEPTION_TRAP;
	hyp_vcpu->vcpu.arch.fault.esr_el2 = ESR_ELx_EC_HVC64 << ESR_ELx_EC_SHIFT;
	vcpu_set_reg(&hyp_vcpu->vcpu, 0, ARM_SMCCC_VENDOR_HYP_KVM_MEM_UNSHARE_FUNC_ID);
	vcpu_set_reg(&hyp_vcpu->vcpu, 1, gfn_of(s->gfn) << PAGE_SHIFT);

	return 0;
}

static s64 call(const struct step *s)
{
	u64 pfn = page_pfn(s->page), gfn = gfn_of(s->gfn), nr = nr_of(s);
	u64 ipa = (gfn << PAGE_SHIFT) + (s->gfn == UNALIGNED);
	struct pkvm_hyp_vcpu *hyp_vcpu = vcpu_of(s->vm);
	void *va = page_va(s->page);

	switch (s->op) {
	case SHARE_HYP:
		return __pkvm_host_share_hyp(pfn);
	case UNSHARE_HYP:
		return __pkvm_host_unshare_hyp(pfn);
	case PIN:
		return hyp_pin_shared_mem(va, va + nr * PAGE_SIZE);
	case UNPIN:
		hyp_unpin_shared_mem(va, va + nr * PAGE_SIZE);
		return 0;
	case DONATE_HYP:
		return __pkvm_host_donate_hyp(pfn, nr);
	case HYP_DONATE_HOST:
		return __pkvm_hyp_donate_host(pfn, nr);
	case SHARE_FFA:
		return __pkvm_host_share_ffa(pfn, nr);
	case UNSHARE_FFA:
		return __pkvm_host_unshare_ffa(pfn, nr);
	case CAN_ACCESS:
		return __pkvm_host_can_access(pfn);
	case FORCE_RECLAIM:
		return __pkvm_host_force_reclaim(pfn);
	case SHARE_STRUCTS:
	case UNSHARE_STRUCTS:
		return share_structs(s->vm, s->op == SHARE_STRUCTS);
	case INIT_VM:
		return init_vm(s->vm);
	case INIT_VCPU:
		return __pkvm_init_vcpu(handles[s->vm], host_vcpu_of(s->vm),
					(unsigned long)hyp_vcpu);
	case LOAD:
		return pkvm_load_hyp_vcpu(handles[s->vm], s->prot);
	case PUT:
		pkvm_put_hyp_vcpu();
		return 0;
	case TOPUP:
		return topup(s);
	case OFFER_BAD:
		return offer_bad(s);
	case DONATE_GUEST:
		return __pkvm_host_donate_guest(hyp_vcpu, pfn, gfn, nr);
	case GUEST_SHARE:
		return __pkvm_guest_share_host(hyp_vcpu, ipa);
	case GUEST_UNSHARES:
		return guest_unshares(s);
	case GUEST_CHECK:
		return __pkvm_guest_check_shared(hyp_vcpu, ipa);
	case MMIO_MAP:
		return pkvm_guest_mmio_map(hyp_vcpu, ipa);
	case MMIO_UNMAP:
		return pkvm_guest_mmio_unmap(hyp_vcpu, ipa);
	case MMIO_ALLOWED:
		return pkvm_guest_mmio_allowed(hyp_vcpu, ipa);
	case SHARE_GUEST:
		return __pkvm_host_share_guest(hyp_vcpu, pfn, gfn, nr, s->prot);
	case RELAX:
		return __pkvm_host_relax_guest(hyp_vcpu, gfn, nr, s->prot);
	case MKYOUNG:
		return __pkvm_host_relax_guest(hyp_vcpu, gfn, 0, 0);
	case CLEAR_YOUNG:
		return __pkvm_guest_stage2_op(handles[s->vm], PKVM_S2_CLEAR_YOUNG, gfn, nr);
	case WRPROTECT:
		return __pkvm_guest_stage2_op(handles[s->vm], PKVM_S2_WRPROTECT, gfn, nr);
	case STAGE2_OP:
		return __pkvm_guest_stage2_op(handles[s->vm], s->prot, gfn, nr);
	case START_TEARDOWN:
		return __pkvm_start_teardown_vm(handles[s->vm]);
	case RECLAIM:
		return __pkvm_reclaim_guest_pages(handles[s->vm], pfn, gfn, nr);
	case FINALIZE:
		return finalize(handles[s->vm]);
	default:
		return -EOPNOTSUPP;
	}
}

/* ----------------------------------------------------- what they have to change */

static void set_pages(unsigned int page, unsigned int nr, u8 host, u8 hyp)
{
	memset(&model.host[page], host, nr);
	memset(&model.hyp[page], hyp, nr);
}

static void pin(unsigned int page, unsigned int nr, int by)
{
	while (nr--)
		model.pins[page++] += by;
}

static unsigned int pgd_pages(void)
{
	return kvm_pgtable_stage2_pgd_size(host_mmu.arch.mmu.vtcr) >> PAGE_SHIFT;
}

static void vm_is_made(unsigned int vm)
{
	unsigned int gfn;

	set_pages(PGD(vm), pgd_pages(), H_HYP, E_OWNS);
	set_pages(VM(vm), VM_PAGES, H_HYP, E_OWNS);
	pin(HOST_KVM(vm), KVM_PAGES, 1);
	for (gfn = 0; gfn < NR_GFNS; gfn++)
		model.frames[vm][gfn].state = G_NONE;
	model.alive[vm] = true;
}

static void vm_is_gone(unsigned int vm)
{
	set_pages(PGD(vm), pgd_pages(), H_OWNS, E_NONE);
	set_pages(VM(vm), VM_PAGES, H_OWNS, E_NONE);
	set_pages(VCPU(vm), VCPU_PAGES, H_OWNS, E_NONE);
	set_pages(TABLES(vm), model.tables[vm], H_OWNS, E_NONE);
	pin(HOST_KVM(vm), KVM_PAGES, -1);
	pin(HOST_VCPU(vm), HOST_VCPU_PAGES, -1);
	memset(model.frames[vm], 0, sizeof(model.frames[vm]));
	model.alive[vm] = false;
}

static void change_data(const struct step *s)
{
	/* A block is one frame of the model. */
	unsigned int nr = s->gfn < NR_SMALL ? nr_of(s) : 1, i;

	for (i = 0; i < nr; i++) {
		unsigned int page = s->page + i, gfn = s->gfn + i;
		struct frame *f = &model.frames[s->vm][gfn];

		if (s->host)
			model.host[page] = s->host;
		if (s->hyp)
			model.hyp[page] = s->hyp;
		if (s->host == H_GUEST) {
			model.vm[page] = s->vm;
			model.gfn[page] = gfn;
		}
		if (s->guest)
			*f = (struct frame) { .state = s->guest, .page = page,
					      .prot = s->prot, .old = s->old };
	}
}

/* How many pages a call has moved is known before it, and its result. */
static void change(const struct step *s, unsigned int nr_tables)
{
	if (s->op == TOPUP) {
		set_pages(TABLES(s->vm) + model.tables[s->vm], nr_tables, H_HYP, E_OWNS);
		model.tables[s->vm] += nr_tables;
		return;
	}
	if (s->want < 0)
		return;

	switch (s->op) {
	case SHARE_STRUCTS:
		set_pages(HOST_KVM(s->vm), KVM_PAGES, H_LENDS, E_BORROWS);
		set_pages(HOST_VCPU(s->vm), HOST_VCPU_PAGES, H_LENDS, E_BORROWS);
		break;
	case UNSHARE_STRUCTS:
		set_pages(HOST_KVM(s->vm), KVM_PAGES, H_OWNS, E_NONE);
		set_pages(HOST_VCPU(s->vm), HOST_VCPU_PAGES, H_OWNS, E_NONE);
		break;
	case PIN:
		pin(s->page, nr_of(s), 1);
		break;
	case UNPIN:
		pin(s->page, nr_of(s), -1);
		break;
	case INIT_VM:
		vm_is_made(s->vm);
		break;
	case INIT_VCPU:
		set_pages(VCPU(s->vm), VCPU_PAGES, H_HYP, E_OWNS);
		pin(HOST_VCPU(s->vm), HOST_VCPU_PAGES, 1);
		break;
	case FINALIZE:
		vm_is_gone(s->vm);
		break;
	default:
		change_data(s);
	}
}

/* Every page that a VM was made of is in the host's list, clean but for the link. */
static bool all_returned(const struct step *s)
{
	struct kvm_hyp_memcache *mc = &host_kvm_of(s->vm)->arch.pkvm.teardown_mc;
	unsigned int i, vm = s->vm;
	bool good = true;

	if (s->op != FINALIZE || s->want)
		return true;
	if (!same(PKVM_SELFTEST_RETURNED, vm, pgd_pages() + VM_PAGES + VCPU_PAGES +
		  model.tables[vm], mc->nr_pages))
		return false;

	for (i = 0; i < pgd_pages() && good; i++)
		good = content_is(PGD(vm) + i, 1, true);
	for (i = 0; i < VM_PAGES && good; i++)
		good = content_is(VM(vm) + i, 1, true);
	for (i = 0; i < VCPU_PAGES && good; i++)
		good = content_is(VCPU(vm) + i, 1, true);
	for (i = 0; i < model.tables[vm] && good; i++)
		good = content_is(TABLES(vm) + i, 1, true);

	return good;
}

static bool take_step(const struct step *s)
{
	unsigned int nr_tables = s->op == TOPUP ? topup_pages(s) : 0;
	s64 want = s->want, got;

	pkvm_selftest.line = s->line;
	if (want == NEED)
		want = KVM_PGTABLE_LAST_LEVEL - vm_of(s->vm)->pgt.start_level;
	if (gives_back(s))
		fill(s->page);

	got = call(s);
	if (!same(PKVM_SELFTEST_RESULT, 0, want, got))
		return false;

	if (want != s->want)
		return all_is_right();
	/* A page is cleared if it comes back, and else left as it is. */
	if (gives_back(s) && !content_is(s->page, 0, s->host))
		return false;
	if (!all_returned(s))
		return false;
	change(s, nr_tables);

	return all_is_right();
}

/* ------------------------------------------------------------- begin and end */

/* What is not memory, and a block of the host's that nobody uses as memory here. */
static bool find_others(void)
{
	unsigned int i;
	u64 end = 0;

	for (i = 0; i < hyp_memblock_nr; i++) {
		u64 phys = ALIGN(hyp_memory[i].base, PMD_SIZE);

		end = hyp_memory[i].base + hyp_memory[i].size;
		for (; !block && phys + PMD_SIZE <= end; phys += PMD_SIZE) {
			if (!host_check_alone(phys, PTRS_PER_PTE))
				block = phys;
		}
	}
	device = hyp_memblock_nr && hyp_memory[0].base ? 0 : end;

	return block;
}

/*
 * Is EL2's memory Inner Shareable (Arm ARM, PAR_EL1.SH)? If it is not, each CPU may
 * have a lock of its own there. On one CPU, and where there are no caches, nothing else
 * shows it.
 */
static bool memory_is_shareable(void)
{
	u64 of_host = read_sysreg_par(), par;

	asm volatile("at s1e2r, %0" : : "r" (&model));
	isb();
	par = read_sysreg_par();
	write_sysreg(of_host, par_el1);

	return same(PKVM_SELFTEST_SHAREABLE, 0, KVM_PTE_LEAF_ATTR_LO_S1_SH_IS,
		    FIELD_GET(SYS_PAR_EL1_SH, par));
}

static int begin(struct hyp_pool *pool)
{
	unsigned int i;

	BUILD_BUG_ON(VM(0) + VM_PAGES > VCPU(0) || VCPU(0) + VCPU_PAGES > HOST_KVM(0) ||
		     HOST_KVM(0) + KVM_PAGES > PGD(1) ||
		     HOST_VCPU(0) + HOST_VCPU_PAGES > HOST_VCPU(1));
	BUILD_BUG_ON(P(NR_DATA) > DEVICE || TABLES(NR_VMS) > DATA);

	if (!memory_is_shareable())
		return -EIO;

	pkvm_selftest.what = PKVM_SELFTEST_SETUP;
	if (find_others())
		base = hyp_alloc_pages(pool, ORDER);
	if (!base)
		return 0;

	hyp_split_page(hyp_virt_to_page(base));
	/* What nobody has mapped, nobody refers to. */
	for (i = 0; i < NR_PAGES; i++)
		hyp_virt_to_page(page_va(i))->refcount = 0;
	set_pages(0, NR_PAGES, H_OWNS, E_NONE);

	return __pkvm_hyp_donate_host(hyp_virt_to_pfn(base), NR_PAGES);
}

static int end(struct hyp_pool *pool)
{
	unsigned int i;
	int ret;

	ret = __pkvm_host_donate_hyp(hyp_virt_to_pfn(base), NR_PAGES);
	if (ret)
		return ret;
	/* First all are somebody's: the pool takes what nobody has for its own. */
	for (i = 0; i < NR_PAGES; i++)
		hyp_set_page_refcounted(hyp_virt_to_page(page_va(i)));
	for (i = 0; i < NR_PAGES; i++)
		hyp_put_page(pool, page_va(i));
	pkvm_selftest.what = PKVM_SELFTEST_GOOD;

	return 0;
}

/**
 * pkvm_ownership_selftest() - Try every change of who owns what.
 * @pool: where to take pages of EL2's from, and to give them back to.
 *
 * Called on the boot CPU when all tables are there, before the host is deprivileged: no
 * other CPU is at EL2, and no lock is contended.
 *
 * Return: 0, also when there is nothing to test with, as with large pages: the host then
 * says so; -EIO when a step went wrong; -ENOMEM when its pages could not change hands.
 */
int pkvm_ownership_selftest(struct hyp_pool *pool)
{
	unsigned int i;
	int ret;

	ret = begin(pool);
	if (ret || !base)
		return ret;

	for (i = 0; i < ARRAY_SIZE(steps); i++) {
		if (!take_step(&steps[i]))
			return -EIO;
		pkvm_selftest.checks++;
	}

	return end(pool);
}
