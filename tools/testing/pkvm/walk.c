// SPDX-License-Identifier: GPL-2.0-only
/*
 * A walk through valid, stale and malformed calls, drawn from a seed or from the bytes
 * of a fuzzer. What must come of each is the business of ops.c and model.c; here is
 * only what to try next, so that interesting states are reached: few pages, few
 * addresses, and a fifth of nonsense.
 */
#include "spmc.h"
#include "walk.h"

/* Where the walk takes pages for structures and tables from. */
#define PLAY_BLOCKS	(MEM0 + MEM0_SIZE - 2 * PMD_SIZE)
#define STRUCTS		HOST_MEM
#define STRUCTS_SIZE	(PLAY_BLOCKS - HOST_MEM)

/* Counts that pretend that many guests map a page, or a block. */
static struct {
	phys_addr_t phys;
	unsigned int maps, blocks;
} bias;

/* What EL2 was given for no purpose, and pinned. */
static phys_addr_t loose, pinned;

/**
 * draw() - Draw a number.
 * @r: what to draw from.
 *
 * Return: 40 bits of a seed's, 16 of a fuzzer's.
 */
u64 draw(struct random *r)
{
	if (r->data) {
		u64 v = 0;

		for (int i = 0; i < 2 && r->left; i++, r->left--)
			v = v << 8 | *r->data++;
		return v;
	}

	/* xorshift64* */
	r->state ^= r->state >> 12;
	r->state ^= r->state << 25;
	r->state ^= r->state >> 27;

	return (r->state * 0x2545f4914f6cdd1dUL) >> 24;
}

/**
 * below() - Draw a number of some range.
 * @r: what to draw from.
 * @n: not 0.
 *
 * Return: 0 to @n - 1.
 */
u64 below(struct random *r, u64 n)
{
	return draw(r) % n;
}

/**
 * one_in() - Draw yes or no.
 * @r: what to draw from.
 * @n: not 0.
 *
 * Return: true in one of @n times.
 */
bool one_in(struct random *r, u64 n)
{
	return !below(r, n);
}

/**
 * wild() - Draw a frame number that makes little sense.
 * @r: what to draw from.
 *
 * Return: the number.
 */
u64 wild(struct random *r)
{
	u64 top = 1UL << (fake_features.pa_bits - PAGE_SHIFT);
	const u64 numbers[] = {
		0, 1, -1UL, -2UL, 1UL << 52, (1UL << 52) - 1, 1UL << 63, top, top - 1,
		top + 1, MEM0 >> 12, DEVICE >> 12, NOMAP >> 12, (NOMAP >> 12) - 1,
		(MEM1 >> 12) - 1, MEM_END >> 12, (MEM_END >> 12) - 1, 1UL << 40,
		draw(r) << below(r, 40),
	};

	return numbers[below(r, ARRAY_SIZE(numbers))];
}

/**
 * any_pfn() - Draw the number of a page, most often of one that much happens to.
 * @r: what to draw from.
 *
 * Return: the number.
 */
u64 any_pfn(struct random *r)
{
	switch (below(r, 16)) {
	case 0:
		return wild(r);
	case 1:
		return page_phys(below(r, NR_PAGES)) >> 12;
	case 2:
		return (MEM1 >> 12) + below(r, 383);
	case 3:
		return (MEM2 >> 12) + below(r, 1024);
	case 4:
	case 5:
		return (PLAY_BLOCKS >> 12) + 512 * below(r, 2);
	case 6:
		return (MEM2 + SZ_2M) >> 12;
	case 7:
		return (DEVICE >> 12) + below(r, 4);
	default:
		return (PLAY_BLOCKS >> 12) + 500 + below(r, 24);
	}
}

/**
 * any_nr() - Draw how many pages something is about.
 * @r: what to draw from.
 *
 * Return: most often few, or a block.
 */
u64 any_nr(struct random *r)
{
	switch (below(r, 12)) {
	case 0:
		return wild(r);
	case 1:
	case 2:
		return 512;
	case 3:
		return below(r, 512) + 1;
	case 4:
	case 5:
	case 6:
		return below(r, 6) + 1;
	default:
		return 1;
	}
}

static u64 any_gfn(struct random *r)
{
	u64 base = window_gfn(below(r, NR_WINDOWS));

	switch (below(r, 12)) {
	case 0:
		return wild(r);
	case 1:
		return base + below(r, WINDOW_PAGES);
	case 2:
	case 3:
		return base + 512 * below(r, 2);
	default:
		return base + 500 + below(r, 24);
	}
}

/* What would be mapped must lie in a window, where the model looks. */
static u64 in_window(u64 gfn, u64 nr)
{
	u64 top = 1UL << (fake_features.pa_bits - 12), i;

	if (!nr || nr > 512 || gfn >= top || gfn + nr > top)
		return gfn;
	for (i = 0; i < nr && gfn_slot(gfn + i) >= 0; i++)
		;

	return i == nr ? gfn : window_gfn(gfn & 1);
}

/**
 * free_pages() - Draw pages of the host's alone, one behind the other.
 * @r: what to draw from.
 * @size: how many bytes.
 *
 * Return: the address, which is a multiple of @size, or 0 when there are none.
 */
phys_addr_t free_pages(struct random *r, unsigned long size)
{
	phys_addr_t phys = STRUCTS + below(r, STRUCTS_SIZE / size) * size;

	for (int tries = 0; tries < 64; tries++, phys += size) {
		if (phys + size > STRUCTS + STRUCTS_SIZE)
			phys = STRUCTS;
		if (model_alone(phys, size / PAGE_SIZE) && phys != loose)
			return phys;
	}

	return 0;
}

static phys_addr_t some_page(struct random *r)
{
	return one_in(r, 12) ? any_pfn(r) << 12 : free_pages(r, PAGE_SIZE);
}

static unsigned int any_handle(struct random *r)
{
	unsigned int handle = PKVM_HANDLE_OFFSET + below(r, 5);

	return one_in(r, 16) ? wild(r) & 0xffff : handle;
}

static struct mvm *known_vm(struct random *r)
{
	struct mvm *vm = &m.vm[below(r, 5)];

	return vm->used ? vm : NULL;
}

/* A slot of this kind, or any. */
static int used_slot(struct random *r, struct mvm *vm)
{
	int slot = below(r, NR_SLOTS);

	for (int i = 0; i < NR_SLOTS; i++, slot = (slot + 1) % NR_SLOTS) {
		if (vm->slots[slot].kind != SLOT_NONE)
			return slot;
	}

	return 0;
}

static void topup(struct random *r)
{
	phys_addr_t pages[12];
	unsigned int nr = one_in(r, 4) ? below(r, 4) : ARRAY_SIZE(pages);

	for (unsigned int i = 0; i < nr; i++) {
		pages[i] = one_in(r, 60) ? wild(r) << below(r, 13) : free_pages(r, PAGE_SIZE);
		/* A page stands in the list once, or it is a ring. */
		for (unsigned int j = 0; j < i && !one_in(r, 20); j++) {
			if (pages[i] == pages[j])
				pages[i] = free_pages(r, PAGE_SIZE);
		}
	}
	op_topup(pages, nr);
}

/* All, or with gaps where the walk maps things, or nonsense. */
static void declare_ram(struct random *r, struct pkvm_guest_ram *ram)
{
	static const struct pkvm_ram_range all = { 0, 1UL << 52 };

	*ram = (struct pkvm_guest_ram) { .nr = 1, .range[0] = all };
	if (one_in(r, 3))
		return;
	ram->nr = below(r, 6);
	if (one_in(r, 8))
		ram->nr = PKVM_MAX_RAM_RANGES + (one_in(r, 2) ? wild(r) : 0);
	for (u64 i = 0; i < ram->nr && i < PKVM_MAX_RAM_RANGES; i++) {
		struct pkvm_ram_range *range = &ram->range[i];

		range->gfn = window_gfn(below(r, NR_WINDOWS)) + 490 + below(r, 24);
		range->nr_pages = one_in(r, 2) ? 512 : 1 + below(r, 16);
		if (one_in(r, 64))
			range->nr_pages = wild(r);
		if (one_in(r, 64))
			range->gfn = wild(r);
	}
}

static void make_vm(struct random *r)
{
	phys_addr_t host = some_page(r), vm, pgd;
	unsigned int nr = one_in(r, 12) ? wild(r) : 1 + below(r, 2);
	struct pkvm_guest_ram ram;

	if (page_index(host) >= 0 && !one_in(r, 12))
		op_share_hyp(host >> 12);
	vm = some_page(r);
	pgd = one_in(r, 12) ? vm : free_pages(r, pgd_size());
	if (nr > MODEL_VCPUS && nr <= KVM_MAX_VCPUS)
		nr = 1;
	/* No structure may end where memory does: the machine is no larger. */
	if (page_index(host) < 0 || page_index(host + PAGE_SIZE) < 0)
		return;
	declare_ram(r, &ram);
	op_init_vm(host, vm, pgd, nr, one_in(r, 2), &ram);
}

static void make_vcpu(struct random *r, unsigned int handle)
{
	phys_addr_t host = free_pages(r, PAGE_SIZE);
	struct mvm *vm = &m.vm[(handle - PKVM_HANDLE_OFFSET) % MODEL_VMS];

	if (!host)
		return;
	if (!one_in(r, 12))
		op_share_hyp(host >> 12);
	fake_init_vcpu_ret = one_in(r, 12) ? -EPERM : 0;
	op_init_vcpu(handle, host, one_in(r, 12) ? host : free_pages(r, VCPU_SIZE),
		     one_in(r, 12) ? wild(r) : vm->nr_vcpus);
	fake_init_vcpu_ret = 0;
}

/* Bring a VM nearer to its end. */
static void end_vm(struct random *r, struct mvm *vm)
{
	unsigned int handle = PKVM_HANDLE_OFFSET + (vm - m.vm);
	int slot;
	u64 gfn;

	if (!vm->dying) {
		for (unsigned int i = 0; i < vm->nr_vcpus; i++) {
			if (vm->vcpu[i].cpu >= 0) {
				/* It is in a call itself. */
				if (fake_locks_held(vm->vcpu[i].cpu))
					return;
				fake_cpu = vm->vcpu[i].cpu;
				op_put();
			}
		}
		op_start_teardown(handle);
		return;
	}
	if (!vm->nr_pages) {
		op_finalize(handle);
		return;
	}
	slot = used_slot(r, vm);
	gfn = slot_gfn(slot);
	if (vm->protected)
		op_reclaim(handle, vm->slots[slot].phys >> 12, gfn, one_in(r, 8) ? 1 : 512);
	else
		op_stage2(handle, PKVM_S2_UNSHARE, gfn, 1 + below(r, 1024));
}

static void drop_bias(void)
{
	struct hyp_page *page = hyp_phys_to_page(bias.phys);

	if (!bias.phys)
		return;
	page->refcount -= bias.maps;
	page->nr_blocks -= bias.blocks;
	mpage(bias.phys)->maps -= bias.maps;
	mpage(bias.phys)->blocks -= bias.blocks;
	bias.phys = 0;
}

/* Pretend that so many guests map something that the next one is too many. */
static void set_bias(struct random *r)
{
	phys_addr_t phys = PLAY_BLOCKS + PMD_SIZE * below(r, 2);
	bool block = one_in(r, 2), memory;
	struct mpage *p;

	if (bias.phys) {
		drop_bias();
		return;
	}
	if (!block)
		phys += below(r, 4) * PAGE_SIZE;
	p = mpage(phys);
	if (!model_owned(phys, block ? 512 : 1, &memory))
		return;
	bias.phys = phys;
	bias.maps = block ? 0 : 65535 - p->maps - below(r, 3);
	bias.blocks = block ? 255 - p->blocks - min(below(r, 3), 255UL - p->blocks) : 0;
	hyp_phys_to_page(phys)->refcount += bias.maps;
	hyp_phys_to_page(phys)->nr_blocks += bias.blocks;
	p->maps += bias.maps;
	p->blocks += bias.blocks;
}

static void hyp_op(struct random *r)
{
	u64 pfn = any_pfn(r), nr = 1 + below(r, 3);
	struct mpage *p = mpage(pfn << 12);

	switch (below(r, 8)) {
	case 0:
	case 1:
		op_share_hyp(pfn);
		break;
	case 2:
		op_unshare_hyp(pfn);
		break;
	case 3:
		if (!loose) {
			if (!op_donate_hyp(pfn, 1))
				loose = pfn << 12;
		} else {
			op_hyp_donate_host(loose >> 12, 1);
			loose = 0;
		}
		break;
	case 4:
		op_share_ffa(pfn, nr);
		break;
	case 5:
		/* Nobody calls that for what the secure world still has. */
		for (u64 i = 0; i < nr; i++) {
			p = mpage((pfn + i) << 12);
			if (p && (p->shared || spmc_has((pfn + i) << 12)))
				return;
		}
		op_unshare_ffa(pfn, nr);
		break;
	default:
		if (pinned) {
			op_unpin(pinned, 8);
			pinned = 0;
		} else if (p && !op_pin(pfn << 12, 8)) {
			pinned = pfn << 12;
		}
	}
}

static void protected_op(struct random *r)
{
	u64 gfn = any_gfn(r), nr = any_nr(r);
	u64 ipa = one_in(r, 16) ? wild(r) : gfn << 12;
	struct mvm *vm = &m.vm[m.loaded_vm[fake_cpu]];
	u64 waits = vm->vcpu[m.loaded_vcpu[fake_cpu]].unsharing;
	int slot = gfn_slot((waits - 1) >> 12);

	if (waits && !one_in(r, 4)) {
		op_donate_guest(one_in(r, 4) ? any_pfn(r) : vm->slots[slot].phys >> 12,
				(waits - 1) >> 12, one_in(r, 8) ? 2 : 1);
		return;
	}
	/* Often where there is something. */
	if (one_in(r, 3))
		ipa = slot_gfn(used_slot(r, vm)) << 12;

	switch (below(r, 10)) {
	case 0:
	case 1:
	case 2:
	case 3:
		gfn = in_window(gfn, nr);
		if (!one_in(r, 4))
			topup(r);
		op_donate_guest(any_pfn(r), gfn, nr);
		break;
	case 4:
	case 5:
		op_guest_share(ipa);
		break;
	case 6:
		op_guest_unshare(ipa);
		break;
	case 7:
		op_mmio_map(ipa & 0xfff ? ipa : in_window(ipa >> 12, 1) << 12);
		break;
	case 8:
		op_mmio_unmap(ipa);
		break;
	default:
		if (!(ipa >> fake_features.pa_bits))
			op_mmio_allowed(ipa);
	}
}

static u64 any_prot(struct random *r)
{
	static const u64 types[] = {
		0, 0, 0, 0, 0, KVM_PGTABLE_PROT_DEVICE, KVM_PGTABLE_PROT_NORMAL_NC,
		KVM_PGTABLE_PROT_DEVICE | KVM_PGTABLE_PROT_NORMAL_NC,
	};

	if (one_in(r, 20))
		return wild(r);

	return types[below(r, 8)] | (below(r, 8) & 7) | KVM_PGTABLE_PROT_R;
}

static void ordinary_op(struct random *r)
{
	u64 gfn = any_gfn(r), nr = any_nr(r);

	if (one_in(r, 4)) {
		op_relax(gfn, nr, one_in(r, 3) ? 0 : any_prot(r));
		return;
	}
	gfn = in_window(gfn, nr);
	if (!one_in(r, 4))
		topup(r);
	op_share_guest(any_pfn(r), gfn, nr, any_prot(r));
}

static void boot(struct random *r)
{
	static const struct fake_features machines[] = {
		{ .pa_bits = 40 },
		{ .pa_bits = 42, .fwb = true },
		{ .pa_bits = 44, .tlb_range = true },
		{ .pa_bits = 48, .fwb = true, .tlb_range = true },
		{ .pa_bits = 52, .fwb = true, .tlb_range = true, .lpa2 = true },
	};

	memset(&bias, 0, sizeof(bias));
	loose = 0;
	pinned = 0;
	model_boot(&machines[below(r, ARRAY_SIZE(machines))]);
}

/**
 * walk_step_of() - A CPU takes one step.
 * @r: what to draw from.
 * @cpu: the CPU.
 */
void walk_step_of(struct random *r, unsigned int cpu)
{
	unsigned int handle = any_handle(r);
	struct mvm *vm;

	fake_cpu = cpu;
	if (one_in(r, 8))
		fake_irq_after = 1 + below(r, 20);

	switch (below(r, 32)) {
	case 0:
		make_vm(r);
		break;
	case 1:
	case 2:
		make_vcpu(r, handle);
		break;
	case 3:
	case 4:
		op_load(handle, one_in(r, 16) ? wild(r) : below(r, 2));
		break;
	case 5:
		op_put();
		break;
	case 6:
		vm = known_vm(r);
		if (vm && (vm->dying || one_in(r, 6)))
			end_vm(r, vm);
		break;
	case 7:
		vm = known_vm(r);
		if (vm && vm->dying)
			end_vm(r, vm);
		else if (one_in(r, 16))
			op_start_teardown(handle);
		else
			op_finalize(handle);
		break;
	case 8:
		op_reclaim(handle, any_pfn(r), any_gfn(r), any_nr(r));
		break;
	case 9:
		op_can_access(any_pfn(r));
		break;
	case 10:
		op_force_reclaim(any_pfn(r));
		break;
	case 11:
	case 12:
		op_host_touch(any_pfn(r) << 12);
		break;
	case 13:
	case 14:
	case 15:
		hyp_op(r);
		break;
	case 16:
		set_bias(r);
		break;
	case 17:
	case 18:
	case 19:
		op_stage2(handle, one_in(r, 16) ? wild(r) : below(r, 6), any_gfn(r), any_nr(r));
		break;
	default:
		if (m.loaded_vm[fake_cpu] < 0)
			op_load(handle, below(r, 2));
		else if (m.vm[m.loaded_vm[fake_cpu]].protected)
			protected_op(r);
		else
			ordinary_op(r);
	}
	fake_irq_after = 0;
}

static bool step(struct random *r)
{
	if (r->data && !r->left)
		return false;

	walk_step_of(r, below(r, 3));

	return true;
}

static void end(void)
{
	struct random r = { .state = 1 };

	drop_bias();
	if (pinned)
		op_unpin(pinned, 8);
	if (loose)
		op_hyp_donate_host(loose >> 12, 1);
	for (int i = 0; i < MODEL_VMS; i++) {
		while (m.vm[i].used)
			end_vm(&r, &m.vm[i]);
	}
	for (size_t i = 0; i < NR_PAGES; i++) {
		u64 pfn = page_phys(i) >> 12;

		if (m.page[i].ffa)
			op_unshare_ffa(pfn, 1);
		if (m.page[i].shared)
			op_unshare_hyp(pfn);
		if (m.page[i].owner != OWNER_STATIC && m.page[i].owner != OWNER_HOST)
			die("the page %#lx is not the host's again", pfn << 12);
	}
}

const struct walk walk_calls = { "calls", boot, step, end };
