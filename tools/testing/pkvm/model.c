// SPDX-License-Identifier: GPL-2.0-only
/*
 * The model of ownership, and its comparison with all that EL2 holds: the host's
 * table, EL2's own, each guest's, the counts in the vmemmap, and where each page that
 * the host gave to EL2 is now. Calls nothing of EL2's; reads memory as it is.
 */
#include <linux/arm-smccc.h>

#include "model.h"

struct model m;

/* Uses of EL2's pages, found anew in each comparison. */
enum use {
	USE_NONE,
	USE_VM,
	USE_VCPU,
	USE_TABLE,
	USE_FREE,
	USE_MEMCACHE,
};

static u8 use[NR_PAGES];
static unsigned int table_used[NR_PAGES];

/**
 * mpage() - What the model knows of a page.
 * @phys: any address.
 *
 * Return: the page, or NULL for what is no memory.
 */
struct mpage *mpage(phys_addr_t phys)
{
	int i = page_index(phys);

	return i < 0 ? NULL : &m.page[i];
}

/**
 * model_boot() - Start the machine, and the model.
 * @features: what its CPUs can do.
 */
void model_boot(const struct fake_features *features)
{
	for (fake_cpu = 0; fake_cpu < FAKE_CPUS; fake_cpu++)
		pkvm_put_hyp_vcpu();
	for (int i = 0; i < MODEL_VMS; i++)
		free(m.vm[i].slots);
	memset(&m, 0, sizeof(m));
	for (phys_addr_t p = MEM0; p < HOST_MEM; p += PAGE_SIZE)
		mpage(p)->owner = OWNER_STATIC;
	for (int cpu = 0; cpu < FAKE_CPUS; cpu++)
		m.loaded_vm[cpu] = -1;
	fake_boot(features);
	model_check();
}

static u64 page_pattern(phys_addr_t phys)
{
	return phys * 0x9e3779b97f4a7c15UL | 1;
}

/**
 * page_write() - The owner writes to its page.
 * @phys: the page.
 */
void page_write(phys_addr_t phys)
{
	u64 *p = host_ptr(phys);

	p[0] = page_pattern(phys);
	p[PAGE_SIZE / 8 - 1] = page_pattern(phys);
}

/**
 * model_is_ram() - Has the host declared a range to be a guest's memory?
 * @vm: the VM.
 * @gfn: where it begins, of an address that is 64 bits long.
 * @nr: pages.
 *
 * Return: true if it lies in one of the VM's ranges.
 */
bool model_is_ram(const struct mvm *vm, u64 gfn, u64 nr)
{
	for (u64 i = 0; i < vm->ram.nr; i++) {
		u64 first = vm->ram.range[i].gfn, next = first + vm->ram.range[i].nr_pages;

		if (first <= gfn && gfn + nr <= next)
			return true;
	}

	return false;
}

/**
 * model_owned() - Does the host own a range?
 * @phys: where it begins.
 * @nr: pages, at most PTRS_PER_PTE.
 * @memory: is it memory?
 *
 * Return: true if it does, be it shared with ordinary guests.
 */
bool model_owned(u64 phys, u64 nr, bool *memory)
{
	u64 end = phys + nr * PAGE_SIZE;

	if (end < phys || end > 1UL << fake_features.pa_bits)
		return false;
	*memory = page_is_memory(phys);
	for (; phys < end; phys += PAGE_SIZE) {
		struct mpage *p = mpage(phys);

		if (page_is_memory(phys) != *memory)
			return false;
		if (p && (p->owner != OWNER_HOST || p->shared || p->ffa))
			return false;
	}

	return true;
}

/**
 * model_alone() - Is a range memory of the host's that nobody else maps?
 * @phys: where it begins.
 * @nr: pages.
 *
 * Return: true if it is.
 */
bool model_alone(u64 phys, u64 nr)
{
	bool memory;

	if (!model_owned(phys, nr, &memory) || !memory)
		return false;
	for (; nr--; phys += PAGE_SIZE) {
		struct mpage *head = mpage(ALIGN_DOWN(phys, PMD_SIZE));

		if (mpage(phys)->maps || (head && head->blocks))
			return false;
	}

	return true;
}

/**
 * model_missing() - Count the tables that a mapping lacks, one by one.
 * @vm: the VM.
 * @ipa: where it begins.
 * @nr: pages.
 * @block: one entry for all?
 *
 * Return: their number.
 */
int model_missing(struct mvm *vm, u64 ipa, u64 nr, bool block)
{
	struct pkvm_hyp_vm *hyp_vm = el2_ptr(vm->vm);
	int missing = 0, last = block ? 2 : 3;

	for (int level = hyp_vm->pgt.start_level; level < last; level++) {
		u64 seen = -1UL;

		for (u64 i = 0; i < nr; i++) {
			u64 at = (ipa + i * PAGE_SIZE) / level_size(level);
			int found;

			if (at == seen)
				continue;
			seen = at;
			table_lookup(&hyp_vm->pgt, ipa + i * PAGE_SIZE, &found);
			missing += found <= level;
		}
	}

	return missing;
}

/* --- the entries that must be */

static u64 addr_bits(u64 phys)
{
	return fake_features.lpa2 ? (phys & ~(3UL << 50)) | (phys >> 50 & 3) << 8 : phys;
}

#define STAGE2_SH	(fake_features.lpa2 ? 0 : 3UL << 8)
#define STAGE2_RW	(3UL << 6)
#define STAGE2_AF	(1UL << 10)
#define STAGE2_XN	(1UL << 54)
#define STATE_SHARED	(1UL << 55)
#define STATE_BORROWED	(2UL << 55)

static u64 guest_entry(const struct mvm *vm, const struct mslot *s, u64 phys, int *level)
{
	u64 pte = addr_bits(phys), attr = fake_features.fwb ? 6 : 15;

	*level = s->kind == SLOT_BLOCK ? 2 : 3;
	switch (s->kind) {
	case SLOT_NONE:
		return 0;
	case SLOT_POISON:
		return 4 << 2;
	case SLOT_MMIO:
		return 5 << 2;
	default:
		break;
	}

	if (s->prot & KVM_PGTABLE_PROT_DEVICE)
		attr = 1;
	else if (s->prot & KVM_PGTABLE_PROT_NORMAL_NC)
		attr = 5;
	pte |= attr << 2 | STAGE2_SH | BIT(6);
	if (s->prot & KVM_PGTABLE_PROT_W)
		pte |= BIT(7);
	if (!(s->prot & KVM_PGTABLE_PROT_X))
		pte |= STAGE2_XN;
	if (s->young)
		pte |= STAGE2_AF;
	if (!vm->protected)
		pte |= STATE_BORROWED;
	else if (s->shared)
		pte |= STATE_SHARED;

	return pte | (s->kind == SLOT_BLOCK ? 1 : 3);
}

static void host_entry_check(phys_addr_t phys, u64 pte, int level)
{
	const struct mpage *p = mpage(phys);
	u64 valid = 15 << 2 | STAGE2_SH | STAGE2_RW | STAGE2_AF, want;
	u64 size = level_size(level);

	valid |= addr_bits(ALIGN_DOWN(phys, size)) | (level == 3 ? 3 : 1);
	switch (p->owner) {
	case OWNER_HOST:
		if (p->shared || p->ffa) {
			want = valid | STATE_SHARED;
			break;
		}
		if (!pte || pte == valid)
			return;
		want = valid;
		break;
	case OWNER_GUEST:
		want = p->lent ? valid | STATE_BORROWED :
		       3 << 2 | (u64)p->vm << 52 | p->gfn << 12;
		break;
	default:
		want = 1 << 2;
	}
	if (pte != want || (p->owner != OWNER_HOST && level != 3))
		die("the host's entry for %#lx is %#lx at level %d, not %#lx", phys, pte, level,
		    want);
}

/* The first page of memory from an address on; all ones behind the last. */
static u64 next_memory(u64 at)
{
	static const u64 starts[] = { MEM0, MEM1, MEM2 };

	for (size_t i = 0; page_index(at) < 0; i++) {
		if (i == ARRAY_SIZE(starts))
			return -1UL;
		if (at < starts[i])
			return starts[i];
	}

	return at;
}

static void host_leaf(struct table_walk *w, u64 ia, u64 pte, int level)
{
	u64 *seen = w->arg, end = ia + level_size(level), at;

	/* What is no memory is mapped lazily, to read and write, where it is. */
	if (page_index(ia) < 0 && (level == 3 || page_index(end - 1) < 0)) {
		u64 want = addr_bits(ia) | 15 << 2 | STAGE2_SH | STAGE2_RW | STAGE2_AF | STAGE2_XN |
			   (level == 3 ? 3 : 1);

		if (pte != want)
			die("the host's entry for %#lx, no memory, is %#lx", ia, pte);
	}
	for (at = next_memory(ia); at < end; at = next_memory(at + PAGE_SIZE)) {
		host_entry_check(at, pte, level);
		(*seen)++;
		use[page_index(at)] |= 0x80;
	}
}

static void count_table(struct table_walk *w, phys_addr_t phys, u64 ia, int level,
			unsigned int used)
{
	int i = page_index(phys);

	if (use[i] & 0x7f)
		die("the page %#lx has two uses: %u, and a table", phys, use[i] & 0x7f);
	use[i] |= USE_TABLE;
	table_used[i] = used;
}

static void el2_leaf(struct table_walk *w, u64 ia, u64 pte, int level)
{
	phys_addr_t phys = ia - EL2_VIEW;
	struct mpage *p = mpage(phys);
	u64 want;

	if (!p || level != 3)
		die("EL2 maps %#lx", ia);
	/* Normal memory, AP to read and write at EL2, not to execute. */
	want = addr_bits(phys) | 1UL << 6 | STAGE2_SH | STAGE2_AF | STAGE2_XN | 3;
	if (p->shared)
		want |= STATE_BORROWED;
	else if (p->owner != OWNER_EL2 && p->owner != OWNER_STATIC)
		die("EL2 maps %#lx, which is not its own", phys);
	if (pte != want)
		die("EL2's entry for %#lx is %#lx, not %#lx", phys, pte, want);
	(*(u64 *)w->arg)++;
}

static void check_el2(void)
{
	struct table_walk w = { el2_leaf, count_table };
	u64 seen = 0, want = 0;

	w.arg = &seen;
	table_walk(&pkvm_pgtable, &w);
	for (size_t i = 0; i < NR_PAGES; i++) {
		struct mpage *p = &m.page[i];
		bool maps = p->owner == OWNER_EL2 || p->owner == OWNER_STATIC || p->shared;

		want += maps;
		if (fake_el2_maps(page_phys(i)) != maps)
			die("EL2 can%s touch %#lx", maps ? "not" : "", page_phys(i));
	}
	if (seen != want)
		die("EL2 maps %lu pages, not %lu", seen, want);
}

static void check_host(void)
{
	u64 seen = 0;
	struct table_walk w = { host_leaf, count_table, &seen };

	table_walk(&host_mmu.pgt, &w);
	for (size_t i = 0; i < NR_PAGES; i++) {
		if (use[i] & 0x80)
			use[i] &= 0x7f;
		else
			host_entry_check(page_phys(i), 0, 3);
	}
}

struct guest_walk {
	struct mvm *vm;
	u64 seen;
};

static void guest_leaf(struct table_walk *w, u64 ia, u64 pte, int level)
{
	struct guest_walk *g = w->arg;
	int slot = gfn_slot(ia / PAGE_SIZE), want_level;
	struct mslot *s;
	u64 want;

	if (slot < 0)
		die("a guest has %#lx at %#lx", pte, ia);
	s = &g->vm->slots[slot];
	want = guest_entry(g->vm, s, s->phys, &want_level);
	if (pte != want || level != want_level)
		die("a guest's entry for %#lx is %#lx at level %d, not %#lx at %d", ia, pte,
		    level, want, want_level);
	g->seen += level == 2 ? PTRS_PER_PTE : 1;
}

static void mark(phys_addr_t phys, u64 size, enum use what)
{
	for (; size; size -= PAGE_SIZE, phys += PAGE_SIZE) {
		int i = page_index(phys);

		if (i < 0 || use[i])
			die("the page %#lx has two uses: %u and %u", phys, i < 0 ? 0 : use[i],
			    what);
		use[i] = what;
	}
}

static phys_addr_t of_el2(const void *va)
{
	return (unsigned long)va - EL2_VIEW;
}

static void mark_pool(struct hyp_pool *pool)
{
	for (int order = 0; order <= pool->max_order; order++) {
		struct list_head *head = &pool->free_area[order], *at = head->next;

		while (at != head) {
			phys_addr_t phys = of_el2(at);
			struct hyp_page *p = hyp_phys_to_page(phys);

			if (p->order != order || p->refcount)
				die("the free page %#lx has order %u, count %u", phys, p->order,
				    p->refcount);
			mark(phys, PAGE_SIZE << order, USE_FREE);
			at = ((struct list_head *)host_ptr(phys))->next;
		}
	}
}

static void mark_memcache(struct kvm_hyp_memcache *mc, unsigned int nr)
{
	phys_addr_t phys = mc->head;

	if (mc->nr_pages != nr)
		die("a vCPU has %lu pages for tables, not %u", mc->nr_pages, nr);
	for (; nr; nr--) {
		mark(phys, PAGE_SIZE, USE_MEMCACHE);
		phys = *(u64 *)host_ptr(phys);
	}
}

/* The page that a vCPU has left for to unshare it, plus one; or 0. */
static u64 unsharing(struct pkvm_hyp_vcpu *hyp_vcpu)
{
	const u64 *x = hyp_vcpu->vcpu.arch.ctxt.regs.regs;

	if (hyp_vcpu->exit_code != ARM_EXCEPTION_TRAP ||
	    hyp_vcpu->vcpu.arch.fault.esr_el2 >> 26 != 0x16 ||
	    (u32)x[0] != ARM_SMCCC_VENDOR_HYP_KVM_MEM_UNSHARE_FUNC_ID)
		return 0;

	return x[1] + 1;
}

static void check_vm(struct mvm *vm)
{
	struct pkvm_hyp_vm *hyp_vm = el2_ptr(vm->vm);
	struct guest_walk g = { vm, 0 };
	struct table_walk w = { guest_leaf, count_table, &g };
	u64 want = 0, mapped = 0;

	mark(vm->vm, VM_SIZE, USE_VM);
	for (unsigned int i = 0; i < vm->nr_vcpus; i++) {
		mark(vm->vcpu[i].phys, VCPU_SIZE, USE_VCPU);
		mark_memcache(&hyp_vm->vcpus[i]->stage2_mc, vm->vcpu[i].mc);
		if (unsharing(hyp_vm->vcpus[i]) != vm->vcpu[i].unsharing)
			die("vCPU %u waits for %#lx, not %#lx", i,
			    unsharing(hyp_vm->vcpus[i]), vm->vcpu[i].unsharing);
	}
	table_walk(&hyp_vm->pgt, &w);
	mark_pool(&hyp_vm->pool);
	for (int i = 0; i < NR_SLOTS; i++) {
		enum slot_kind kind = vm->slots[i].kind;
		bool device = kind == SLOT_MMIO;

		want += kind != SLOT_NONE;
		mapped += kind == SLOT_PAGE || kind == SLOT_BLOCK;
		/* What was memory once never is a device's, nor the other way round. */
		if (vm->protected && kind != SLOT_NONE &&
		    model_is_ram(vm, slot_gfn(i), 1) == device)
			die("a guest has an entry of kind %d at %#lx", kind,
			    slot_gfn(i) * PAGE_SIZE);
	}
	if (g.seen != want)
		die("a guest has %lu entries, not %lu", g.seen, want);
	if (hyp_vm->nr_guest_pages != mapped || vm->nr_pages != mapped)
		die("a guest has %lu pages, but counts %lu (model: %lu)", mapped,
		    hyp_vm->nr_guest_pages, vm->nr_pages);
	if (hyp_vm->nr_vcpus != vm->nr_vcpus || hyp_vm->is_dying != vm->dying ||
	    hyp_vm->kvm.arch.pkvm.enabled != vm->protected ||
	    hyp_vm->kvm.created_vcpus != vm->created ||
	    memcmp(&hyp_vm->ram, &vm->ram, sizeof(vm->ram)))
		die("a VM's state: %u vCPUs, dying %d", hyp_vm->nr_vcpus, hyp_vm->is_dying);
}

static unsigned int vm_refs(const struct mvm *vm)
{
	unsigned int refs = 0;

	for (unsigned int i = 0; i < vm->nr_vcpus; i++)
		refs += vm->vcpu[i].cpu >= 0;

	return refs;
}

static void check_page(size_t i)
{
	const struct mpage *p = &m.page[i];
	phys_addr_t phys = page_phys(i);
	const struct hyp_page *hp = hyp_phys_to_page(phys);
	unsigned int count = 0, blocks = 0;

	if (p->owner == OWNER_HOST) {
		count = p->maps + p->pins;
		blocks = p->blocks;
	} else if (use[i] == USE_TABLE) {
		count = 1 + table_used[i];
	} else if (use[i] == USE_VM) {
		for (int v = 0; v < MODEL_VMS; v++) {
			if (m.vm[v].used && m.vm[v].vm == phys)
				count = vm_refs(&m.vm[v]);
		}
	}
	if (p->owner == OWNER_EL2 && !use[i] != p->loose)
		die("the page %#lx of EL2 is lost", phys);
	if (use[i] && p->owner != OWNER_EL2 && p->owner != OWNER_STATIC)
		die("EL2 uses the page %#lx (%u), which is not its own", phys, use[i]);
	if (hp->refcount != count || hp->nr_blocks != blocks)
		die("the page %#lx counts %u and %u blocks, not %u and %u", phys, hp->refcount,
		    hp->nr_blocks, count, blocks);
	if ((p->owner == OWNER_HOST || p->owner == OWNER_GUEST) && hp->order)
		die("the page %#lx has an order, %u", phys, hp->order);
	if (p->owner == OWNER_GUEST &&
	    (*(u64 *)host_ptr(phys) != page_pattern(phys) ||
	     *(u64 *)host_ptr(phys + PAGE_SIZE - 8) != page_pattern(phys)))
		die("the guest's page %#lx was written to", phys);
}

/**
 * model_check() - Compare all that EL2 holds with the model.
 */
void model_check(void)
{
	unsigned int cpu = fake_cpu, nr_vcpus = 0;
	struct hyp_page *hp;

	fake_tlb_sync();
	memset(use, 0, sizeof(use));
	check_el2();
	check_host();
	for (int i = 0; i < MODEL_VMS; i++) {
		if (!m.vm[i].used)
			continue;
		check_vm(&m.vm[i]);
		nr_vcpus += m.vm[i].nr_vcpus;
	}
	if (fake_live_vcpus != nr_vcpus)
		die("%u vCPUs have registers, not %u", fake_live_vcpus, nr_vcpus);
	for (size_t i = 0; i < NR_PAGES; i++) {
		if (m.page[i].owner != OWNER_STATIC) {
			check_page(i);
			continue;
		}
		/* Each page that is out of the pools of the two tables is in a table. */
		hp = hyp_phys_to_page(page_phys(i));
		if (hp->refcount != (use[i] == USE_TABLE ? 1 + table_used[i] : 0))
			die("the page %#lx of a pool counts %u", page_phys(i), hp->refcount);
	}
	for (fake_cpu = 0; fake_cpu < FAKE_CPUS; fake_cpu++) {
		struct pkvm_hyp_vcpu *vcpu = pkvm_get_loaded_hyp_vcpu(), *want = NULL;

		if (m.loaded_vm[fake_cpu] >= 0) {
			struct mvm *vm = &m.vm[m.loaded_vm[fake_cpu]];

			want = el2_ptr(vm->vcpu[m.loaded_vcpu[fake_cpu]].phys);
		}
		if (vcpu != want)
			die("CPU %u has %p loaded, not %p", fake_cpu, vcpu, want);
	}
	fake_cpu = cpu;
}
