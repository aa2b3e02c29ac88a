// SPDX-License-Identifier: GPL-2.0-only
/*
 * The steps behind walk.h: each chooses a call and its arguments, valid, stale or
 * malformed, says by the model what EL2 must answer, makes the call, and changes the
 * model as the call must have changed the tables.
 *
 * What a walk does depends on its seed alone. Where EL2 may stop early, for an interrupt
 * or for lack of table pages, the step goes on until all is done.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>
#include <linux/bits.h>
#include <linux/sizes.h>

#include "kvm_util.h"
#include "walk.h"

#define RAM_SLOT	9
#define MAX_TRIES	8
#define EC_HVC64	0x16
#define NOWHERE		BIT(52)	/* a frame whose address wraps */
#define DEV_IPA(i)	((WALK_DEV_GFN + (i)) * WALK_PAGE)
/* Any errno will do. */
#define ANY_ERROR	1L

/* --------------------------------------------------------------------- choices */

static uint64_t draw(struct walk *w, uint64_t nr)
{
	return pkvm_pattern(w->seed, w->drawn++) % nr;
}

static bool one_in(struct walk *w, unsigned int n)
{
	return !draw(w, n);
}

/* Most often one of a few, around the ends of a block, so that calls meet. */
static unsigned int choose_index(struct walk *w)
{
	switch (draw(w, 16)) {
	case 0:
		return draw(w, WALK_PAGES);
	case 1:
		return 0;
	case 2:
		return WALK_BLOCK;
	case 3:
		return WALK_PAGES - 1;
	case 4:
	case 5:
	case 6:
		return WALK_BLOCK - 6 + draw(w, 12);
	default:
		return draw(w, 12);
	}
}

static unsigned int choose_nr(struct walk *w, unsigned int max)
{
	unsigned int nr;

	switch (draw(w, 12)) {
	case 0:
	case 1:
		nr = WALK_BLOCK;
		break;
	case 2:
		nr = 1 + draw(w, WALK_BLOCK);
		break;
	case 3:
	case 4:
		nr = 2 + draw(w, 4);
		break;
	default:
		nr = 1;
	}
	return nr < max ? nr : max;
}

static uint64_t choose_bad_pfn(struct walk *w)
{
	struct wvm *vm = &w->vm[draw(w, WALK_VMS)];

	switch (draw(w, 5)) {
	case 0:
		return w->el2;
	case 1:
		return w->hole;
	case 2:
		return vm->pinned;
	case 3:
		return ~0ul;
	default:
		return NOWHERE + draw(w, 2) * w->first;
	}
}

static bool wraps(uint64_t pfn)
{
	return pfn >= NOWHERE;
}

static uint32_t choose_handle(struct walk *w, struct wvm **vm)
{
	uint32_t nobody[] = {
		0, 1, khh_info.handle_offset - 1, khh_info.handle_offset + khh_info.max_vms,
		0x80000000, 0xffffffff,
	};

	*vm = NULL;
	if (one_in(w, 12))
		return nobody[draw(w, ARRAY_SIZE(nobody))];
	if (one_in(w, 24) && w->alone && w->stale)
		return w->stale;
	*vm = &w->vm[draw(w, WALK_VMS)];
	return (*vm)->handle;
}

static unsigned int choose_cpu(struct walk *w)
{
	return draw(w, w->nr_cpus);
}

static uint64_t choose_prot(struct walk *w)
{
	static const uint64_t good[] = {
		KHH_R, KHH_RW, KHH_RWX, KHH_R | KHH_X, KHH_RW | KHH_DEV, KHH_RW | KHH_NC,
	};
	static const uint64_t bad[] = {
		0, KHH_W, KHH_X, KHH_RW | KHH_DEV | KHH_NC, KHH_RWX | KHH_DEV,
		KHH_RWX | KHH_NC, KHH_RW | KHH_SW(0), KHH_RW | KHH_SW(1), ~0ul,
	};

	return one_in(w, 12) ? bad[draw(w, ARRAY_SIZE(bad))] : good[draw(w, ARRAY_SIZE(good))];
}

static bool prot_good(uint64_t prot)
{
	uint64_t type = prot & (KHH_DEV | KHH_NC);

	return !(prot & ~(KHH_RWX | KHH_DEV | KHH_NC)) && prot & KHH_R &&
	       type != (KHH_DEV | KHH_NC) && !(type && prot & KHH_X);
}

/* ----------------------------------------------------------- what was expected */

static void __printf(2, 3) record(struct walk *w, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(w->record[w->at++ % WALK_RECORD], sizeof(w->record[0]), fmt, args);
	va_end(args);
}

static void fail(struct walk *w, const char *what)
{
	unsigned int i, first = w->at > WALK_RECORD ? w->at - WALK_RECORD : 0;

	for (i = first; i < w->at; i++)
		printf("# %s\n", w->record[i % WALK_RECORD]);
	printf("# PKVM_SEED=%lu, CPU %d, step %lu: %s\n", pkvm_seed(), w->cpu, w->steps, what);
	fflush(stdout);
	TEST_FAIL("%s", what);
}

static void expect(struct walk *w, long ret, long want)
{
	char text[128];

	if (ret < 0)
		w->refused++;
	else
		w->done++;
	if (ret == want || (want == ANY_ERROR && ret < 0 && ret != (long)KHH_ANYTHING))
		return;
	snprintf(text, sizeof(text), "the last call gave %ld, not %ld", ret, want);
	fail(w, text);
}

static long raw(struct walk *w, unsigned int cpu, struct khh_call c)
{
	return khh_one_call(cpu ? w->cpu + cpu : -1, -1, c);
}

void walk_check(struct walk *w, bool all)
{
	const char *wrong = walk_difference(w, all);

	if (wrong)
		fail(w, wrong);
}

/* -------------------------------------------------------- the host alone, and EL2 */

static uint64_t choose_pfn(struct walk *w)
{
	return one_in(w, 10) ? choose_bad_pfn(w) : w->first + choose_index(w);
}

static void op_share_hyp(struct walk *w)
{
	uint64_t pfn = choose_pfn(w);
	struct wpage *p = walk_page(w, pfn);
	long want = p ? walk_alone(w, pfn, 1) ? 0 : -EPERM : ANY_ERROR;

	record(w, "share_hyp %#lx", pfn - w->first);
	expect(w, raw(w, choose_cpu(w), KHH_CALL(KHH_pkvm_host_share_hyp, pfn)), want);
	if (!want)
		p->el2 = true;
}

static void op_unshare_hyp(struct walk *w)
{
	uint64_t pfn = choose_pfn(w);
	struct wpage *p = walk_page(w, pfn);
	long want = p ? p->el2 ? 0 : -EPERM : ANY_ERROR;

	record(w, "unshare_hyp %#lx", pfn - w->first);
	expect(w, raw(w, choose_cpu(w), KHH_CALL(KHH_pkvm_host_unshare_hyp, pfn)), want);
	if (!want)
		p->el2 = false;
}

static void op_can_access(struct walk *w)
{
	uint64_t pfn = choose_pfn(w);
	struct wpage *p = walk_page(w, pfn);
	long want;

	if (wraps(pfn) || pfn == w->hole)
		want = -EINVAL;
	else
		want = p ? !p->guest || p->lent : pfn != w->el2;
	record(w, "can_access %#lx", pfn - w->first);
	expect(w, raw(w, choose_cpu(w), KHH_CALL(KHH_pkvm_host_can_access, pfn)), want);
}

/* A guest has no longer what it had: cleared, it is the host's. */
static void returned(struct wvm *vm, struct wpage *p, enum wkind left)
{
	vm->slot[p->rel] = (struct wslot) { .kind = left };
	*p = (struct wpage) {};
}

static void op_force_reclaim(struct walk *w)
{
	uint64_t pfn = choose_pfn(w);
	struct wpage *p = walk_page(w, pfn);
	long want;

	if (wraps(pfn))
		want = -EINVAL;
	else if (p)
		want = p->guest && !p->lent ? 0 : -EAGAIN;
	else
		want = pfn == w->el2 || pfn == w->hole ? -EPERM : -EAGAIN;
	record(w, "force_reclaim %#lx", pfn - w->first);
	expect(w, raw(w, choose_cpu(w), KHH_CALL(KHH_pkvm_host_force_reclaim, pfn)), want);
	if (!want)
		returned(&w->vm[p->vm], p, W_POISON);
}

/* The host's kernel reads or writes: only what is not a guest's. */
static void op_touch(struct walk *w)
{
	unsigned int i = choose_index(w);
	struct wpage *p = &w->page[i];
	uint64_t val = pkvm_pattern(w->seed, w->drawn++);
	int want = p->guest && !p->lent ? EFAULT : 0;

	if (one_in(w, 2)) {
		record(w, "poke page %u", i);
		expect(w, -khh_poke(w->first + i, 0, val), -want);
		if (!want)
			p->val = val;
		return;
	}
	record(w, "peek page %u", i);
	expect(w, -khh_peek(w->first + i, 0, &val), -want);
	if (!want && val != p->val)
		fail(w, "the page does not hold what was written to it");
}

/* --------------------------------------------------------------- vCPUs and CPUs */

static void put_vcpu(struct walk *w, unsigned int cpu)
{
	struct wloaded *l = &w->loaded[cpu];

	record(w, "put on %u", cpu);
	khh_one_call(cpu ? w->cpu + cpu : -1, -1, KHH_CALL(KHH_pkvm_vcpu_put));
	if (l->vm >= 0)
		w->vm[l->vm].cpu[l->vcpu] = -1;
	l->vm = -1;
}

static long model_load(struct walk *w, unsigned int cpu, struct wvm *vm, uint64_t vcpu)
{
	if (!vm || vcpu >= WALK_VCPUS)
		return -ENOENT;
	if (w->loaded[cpu].vm >= 0 || vm->cpu[vcpu] >= 0 || vm->dying)
		return -EBUSY;
	vm->cpu[vcpu] = cpu;
	w->loaded[cpu] = (struct wloaded) { .vm = vm - w->vm, .vcpu = vcpu };
	return 0;
}

static void load_vcpu(struct walk *w, unsigned int cpu, uint32_t handle, struct wvm *vm,
		      uint64_t vcpu)
{
	record(w, "load %#x/%lu on %u", handle, vcpu, cpu);
	expect(w, raw(w, cpu, KHH_CALL(KHH_pkvm_vcpu_load, handle, vcpu)),
	       model_load(w, cpu, vm, vcpu));
}

static void op_load(struct walk *w)
{
	static const uint64_t bad[] = { WALK_VCPUS, 511, 0x7fffffff, 0xffffffff };
	uint64_t vcpu = one_in(w, 12) ? bad[draw(w, ARRAY_SIZE(bad))] : draw(w, WALK_VCPUS);
	struct wvm *vm;
	uint32_t handle = choose_handle(w, &vm);

	load_vcpu(w, choose_cpu(w), handle, vm, vcpu);
}

static void op_put(struct walk *w)
{
	put_vcpu(w, choose_cpu(w));
}

/* A CPU that has a vCPU loaded, most often, of a kind that is wanted, mostly. */
static unsigned int loaded_cpu(struct walk *w, bool protected)
{
	unsigned int cpu = choose_cpu(w), vcpu = draw(w, WALK_VCPUS);
	struct wvm *vm = &w->vm[(protected ? WALK_VMS / 2 : 0) + draw(w, WALK_VMS / 2)];
	struct wloaded *l = &w->loaded[cpu];

	if (one_in(w, 16))
		return cpu;
	if (l->vm >= 0 && w->vm[l->vm].protected == protected && !one_in(w, 4))
		return cpu;
	if (vm->cpu[vcpu] >= 0)
		return vm->cpu[vcpu];
	if (l->vm >= 0)
		put_vcpu(w, cpu);
	load_vcpu(w, cpu, vm->handle, vm, vcpu);
	return cpu;
}

static struct wvm *loaded_vm(struct walk *w, unsigned int cpu)
{
	return w->loaded[cpu].vm >= 0 ? &w->vm[w->loaded[cpu].vm] : NULL;
}

static void topup(struct walk *w, unsigned int cpu)
{
	struct wvm *vm = loaded_vm(w, cpu);

	if (vm)
		khh_topup(&vm->vm->vcpus[w->loaded[cpu].vcpu]);
}

/* KVM is to run vCPU 0 of this VM on the thread's own CPU. */
static void make_way(struct walk *w, struct wvm *vm)
{
	if (vm->cpu[0] >= 0)
		put_vcpu(w, vm->cpu[0]);
	if (w->loaded[0].vm >= 0)
		put_vcpu(w, 0);
}

/* ------------------------------------------------------------- ordinary guests */

/* A range for a call that maps: @rel is meaningless if @gfn is bad. */
struct range {
	uint64_t pfn, gfn, nr;
	unsigned int rel;
	long error;
};

static void choose_range(struct walk *w, struct wvm *vm, struct range *r)
{
	static const uint64_t bad_nr[] = { 0, 513, 1024, BIT(40), NOWHERE, ~0ul };
	unsigned int page = choose_index(w), rel = choose_index(w);
	unsigned int max = WALK_PAGES - (page > rel ? page : rel);

	*r = (struct range) { .nr = choose_nr(w, max), .rel = rel };
	if (r->nr == WALK_BLOCK && !one_in(w, 4)) {
		/* What can be a block should be one. */
		page -= page % WALK_BLOCK;
		r->rel -= r->rel % WALK_BLOCK;
	}
	r->pfn = w->first + page;
	r->gfn = WALK_GFN + r->rel;
	switch (draw(w, 40)) {
	case 0:
		r->pfn = NOWHERE + draw(w, WALK_BLOCK);
		r->error = -EINVAL;
		break;
	case 1:
		r->gfn = NOWHERE + draw(w, WALK_BLOCK);
		r->error = -EINVAL;
		break;
	case 2:
		r->nr = bad_nr[draw(w, ARRAY_SIZE(bad_nr))];
		r->error = -EINVAL;
		break;
	case 3:
		r->gfn = (vm ? vm->ipa_pages : NOWHERE / 2) - draw(w, r->nr);
		r->error = -ERANGE;
		break;
	case 4:
	case 5:
		r->pfn = one_in(w, 2) ? w->el2 : w->hole;
		r->nr = 1 + draw(w, 4);
		if (r->nr > max)
			r->nr = max;
		break;
	}
}

static bool can_be_block(const struct range *r)
{
	return r->nr == WALK_BLOCK && !((r->pfn | r->gfn) % WALK_BLOCK);
}

/* As far as the table of the guest; what is in the way is gone then. */
static long model_share(struct walk *w, struct wvm *vm, const struct range *r,
			uint64_t prot, bool *memory)
{
	struct wslot *s = vm ? &vm->slot[r->rel] : NULL;
	uint64_t i;

	if (!vm || vm->protected || !prot_good(prot))
		return -EINVAL;
	if (r->error)
		return r->error;
	if (!walk_owned(w, r->pfn, r->nr, memory))
		return -EPERM;
	if (!*memory && !(prot & (KHH_DEV | KHH_NC)))
		return -EPERM;
	if (s->pfn == r->pfn && ((s->kind == W_LEAF && r->nr == 1) ||
				 (s->kind == W_BLOCK && r->nr == WALK_BLOCK &&
				  !(r->rel % WALK_BLOCK))))
		return -EAGAIN;
	for (i = 0; i < r->nr; i++)
		walk_unshare(w, vm, r->rel + i);
	return 0;
}

static void op_share_guest(struct walk *w)
{
	unsigned int cpu = loaded_cpu(w, false), tries = 0;
	struct wvm *vm = loaded_vm(w, cpu);
	uint64_t prot = choose_prot(w), i;
	struct range r;
	bool memory;
	long want, ret;

	choose_range(w, vm, &r);
	record(w, "share_guest on %u: VM %d page %#lx frame %#lx nr %#lx prot %#lx", cpu,
	       w->loaded[cpu].vm, r.pfn - w->first, r.gfn - WALK_GFN, r.nr, prot);
	if (one_in(w, 2))
		topup(w, cpu);
	do {
		want = model_share(w, vm, &r, prot, &memory);
		ret = raw(w, cpu, KHH_CALL(KHH_pkvm_host_share_guest, r.pfn, r.gfn, r.nr,
					   prot));
		if (want || ret <= 0)
			break;
		topup(w, cpu);
	} while (++tries < MAX_TRIES);
	expect(w, ret, want);
	if (want)
		return;
	for (i = 0; i < r.nr; i++) {
		vm->slot[r.rel + i] = (struct wslot) {
			.kind = can_be_block(&r) ? W_BLOCK : W_LEAF, .young = true,
			.memory = memory, .prot = prot, .pfn = r.pfn + i,
		};
		if (memory && !can_be_block(&r))
			walk_page(w, r.pfn + i)->maps++;
	}
	if (memory && can_be_block(&r))
		w->blocks[(r.pfn - w->first) / WALK_BLOCK]++;
}

static void each_of_leaf(struct wvm *vm, unsigned int rel,
			 void (*fn)(struct wslot *s, uint64_t arg), uint64_t arg)
{
	unsigned int nr = vm->slot[rel].kind == W_BLOCK ? WALK_BLOCK : 1, i;

	rel -= rel % nr;
	for (i = 0; i < nr; i++)
		fn(&vm->slot[rel + i], arg);
}

static void more(struct wslot *s, uint64_t prot)
{
	s->prot |= prot & (KHH_W | KHH_X);
	s->young = true;
}

static void less(struct wslot *s, uint64_t prot)
{
	s->prot &= ~prot;
}

static void old(struct wslot *s, uint64_t unused)
{
	s->young = false;
}

static void op_relax(struct walk *w)
{
	unsigned int cpu = loaded_cpu(w, false), rel = choose_index(w);
	struct wvm *vm = loaded_vm(w, cpu);
	uint64_t prot = one_in(w, 6) ? 0 : choose_prot(w), gfn = WALK_GFN + rel;
	uint64_t nr = one_in(w, 3) ? 1 : WALK_BLOCK - one_in(w, 6);
	long want = -EAGAIN;

	if (one_in(w, 30))
		gfn = NOWHERE;
	else if (one_in(w, 30) && vm)
		gfn = vm->ipa_pages + rel;
	record(w, "relax on %u: VM %d frame %#lx at most %lu prot %#lx", cpu,
	       w->loaded[cpu].vm, gfn - WALK_GFN, nr, prot);
	if (!vm || vm->protected || (prot && !prot_good(prot)) || gfn == NOWHERE)
		want = -EINVAL;
	else if (gfn >= vm->ipa_pages)
		want = -ERANGE;
	else if (prot && vm->slot[rel].kind == W_BLOCK && nr < WALK_BLOCK)
		want = -E2BIG;
	else if (vm->slot[rel].kind != W_NONE)
		want = prot & KHH_X && vm->slot[rel].prot & (KHH_DEV | KHH_NC) ? -EINVAL : 0;
	expect(w, raw(w, cpu, KHH_CALL(KHH_pkvm_host_relax_guest, gfn, nr, prot)), want);
	if (!want)
		each_of_leaf(vm, rel, more, prot);
}

/* All that the model must become, and what the call returns for it. */
static long model_op(struct walk *w, struct wvm *vm, uint64_t op, unsigned int rel,
		     uint64_t nr)
{
	bool young = false;
	uint64_t i;

	for (i = rel; i < rel + nr; i++) {
		struct wslot *s = &vm->slot[i];

		if (s->kind == W_NONE)
			continue;
		young |= s->young;
		switch (op) {
		case KHH_OP_UNSHARE:
			walk_unshare(w, vm, i);
			break;
		case KHH_OP_WRPROTECT:
			each_of_leaf(vm, i, less, KHH_W);
			break;
		case KHH_OP_CLEAR_YOUNG:
			each_of_leaf(vm, i, old, 0);
			break;
		}
	}
	return (op == KHH_OP_TEST_YOUNG || op == KHH_OP_CLEAR_YOUNG) && young;
}

static void op_stage2(struct walk *w)
{
	struct wvm *vm;
	uint32_t handle = choose_handle(w, &vm);
	uint64_t op = draw(w, KHH_NR_OPS + !draw(w, 20)), nr, gfn, left;
	unsigned int cpu = choose_cpu(w), rel = choose_index(w), tries = 0;
	long want = 0, ret;

	nr = choose_nr(w, WALK_PAGES - rel);
	gfn = WALK_GFN + rel;
	switch (draw(w, 40)) {
	case 0:
		gfn = NOWHERE + rel;
		want = -EINVAL;
		break;
	case 1:
		nr = 0;
		want = -EINVAL;
		break;
	case 2:
		nr = NOWHERE - rel;
		want = -EINVAL;
		break;
	}
	record(w, "stage2_op %lu on %u: handle %#x frame %#lx nr %#lx", op, cpu, handle,
	       gfn - WALK_GFN, nr);
	if (!want && !vm)
		want = -ENOENT;
	else if (!want && (vm->protected || op >= KHH_NR_OPS))
		want = -EINVAL;
	left = nr;
	do {
		ret = raw(w, cpu, KHH_CALL(KHH_pkvm_guest_stage2_op, handle, op,
					   gfn + nr - left, left));
		if (want || op != KHH_OP_UNSHARE || ret <= 0)
			break;
		if ((uint64_t)ret > left)
			fail(w, "more is left than there was");
		tries += (uint64_t)ret == left;
		left = ret;
	} while (tries < MAX_TRIES);
	expect(w, ret, want ?: model_op(w, vm, op, rel, nr));
}

/* ------------------------------------------------------------ protected guests */

static long model_donate(struct walk *w, struct wvm *vm, const struct range *r, bool ram)
{
	uint64_t i;

	if (!vm || !vm->protected)
		return -EINVAL;
	if (r->error)
		return r->error;
	if (!ram || !walk_alone(w, r->pfn, r->nr))
		return -EPERM;
	for (i = 0; i < r->nr; i++) {
		if (vm->slot[r->rel + i].kind == W_LEAF)
			return -EEXIST;
		if (vm->slot[r->rel + i].kind == W_POISON)
			return -EHWPOISON;
	}
	return 0;
}

static void op_donate(struct walk *w)
{
	unsigned int cpu = loaded_cpu(w, true), tries = 0;
	struct wvm *vm = loaded_vm(w, cpu);
	bool ram = true;
	struct range r;
	long want, ret;
	uint64_t i;

	choose_range(w, vm, &r);
	if (!r.error && one_in(w, 40)) {
		r.gfn = WALK_DEV_GFN;
		ram = false;
	}
	record(w, "donate on %u: VM %d page %#lx frame %#lx nr %#lx", cpu, w->loaded[cpu].vm,
	       r.pfn - w->first, r.gfn - WALK_GFN, r.nr);
	want = model_donate(w, vm, &r, ram);
	if (one_in(w, 2))
		topup(w, cpu);
	do {
		ret = raw(w, cpu, KHH_CALL(KHH_pkvm_host_donate_guest, r.pfn, r.gfn, r.nr));
		if (want || ret <= 0)
			break;
		topup(w, cpu);
	} while (++tries < MAX_TRIES);
	expect(w, ret, want);
	if (want)
		return;
	for (i = 0; i < r.nr; i++) {
		struct wpage *p = walk_page(w, r.pfn + i);

		p->guest = true;
		p->vm = vm - w->vm;
		p->rel = r.rel + i;
		vm->slot[r.rel + i] = (struct wslot) {
			.kind = W_LEAF, .young = true, .memory = true, .prot = KHH_RWX,
			.pfn = r.pfn + i,
		};
	}
}

/* Nothing of it works while the VM lives; the end of a VM is end_vm()'s. */
static void op_end_too_soon(struct walk *w)
{
	struct wvm *vm;
	uint32_t handle = choose_handle(w, &vm);
	unsigned int rel = choose_index(w), i;
	uint64_t nr = one_in(w, 8) ? 0 : choose_nr(w, WALK_PAGES);
	bool busy = false;
	long want;

	for (i = 0; vm && i < WALK_VCPUS; i++)
		busy |= vm->cpu[i] >= 0;
	switch (draw(w, 3)) {
	case 0:
		want = !nr ? -EINVAL : !vm ? -ENOENT : vm->protected ? -EBUSY : -EINVAL;
		record(w, "reclaim of handle %#x, frame %u", handle, rel);
		expect(w, raw(w, choose_cpu(w),
			      KHH_CALL(KHH_pkvm_reclaim_guest_pages, handle, w->first + rel,
				       WALK_GFN + rel, nr)), want);
		break;
	case 1:
		record(w, "finalize handle %#x", handle);
		expect(w, raw(w, choose_cpu(w),
			      KHH_CALL(KHH_pkvm_finalize_teardown_vm, handle)),
		       vm ? -EBUSY : -ENOENT);
		break;
	default:
		if (vm && !busy)
			break;
		record(w, "teardown of handle %#x", handle);
		expect(w, raw(w, choose_cpu(w), KHH_CALL(KHH_pkvm_start_teardown_vm, handle)),
		       vm ? -EBUSY : -ENOENT);
	}
}

/* ------------------------------------------------------------- what guests do */

#define INVALID		PKVM_SMCCC_INVALID_PARAMETER

static long guest_call(struct walk *w, struct wvm *vm, uint64_t fn, uint64_t ipa)
{
	w->guest++;
	return pkvm_must(pkvm_vcpu0(vm->vm), guest_hvc, fn, ipa, 0, 0);
}

static uint64_t guest_asks_back(uint64_t ipa)
{
	guest_mmio_store(PKVM_DEV_IPA, 1);
	return guest_hvc(PKVM_HVC_UNSHARE, ipa, 0, 0);
}

/*
 * The guest wants a lent page back, and the host returns it by hand, as KVM does not know
 * of the page. Another than that one will not do.
 */
static void take_back(struct walk *w, struct wvm *vm, unsigned int rel)
{
	struct pkvm_vcpu *vcpu = pkvm_vcpu0(vm->vm);
	struct wslot *s = &vm->slot[rel];
	uint64_t ipa = (WALK_GFN + rel) * WALK_PAGE;
	uint64_t other = w->first + choose_index(w);
	struct khh_mc mc = khh_vcpu_info(vcpu);
	struct khh_call c[] = {
		KHH_CALL(KHH_STORE, mc.x_addr, KHH_ANYTHING, 8),
		KHH_CALL(KHH_STORE, mc.iflags_addr, KHH_IFLAGS_INCREMENT, 1),
		KHH_CALL(KHH_kvm_vcpu_run, mc.addr),
		KHH_CALL(KHH_LOAD, mc.esr_addr, 0, 8),
	};

	c[2].repeat = 100;	/* 0 is an exit for an interrupt */
	record(w, "VM %ld asks for frame %u back", vm - w->vm, rel);
	if (pkvm_call(vcpu, guest_asks_back, ipa) != PKVM_EXIT)
		fail(w, "the guest did not stop");
	khh_step(vcpu);
	khh_calls(-1, vcpu->fd, c, ARRAY_SIZE(c));
	if (c[2].ret != KHH_EXIT_TRAP || KHH_EC(c[3].ret) != EC_HVC64)
		fail(w, "the guest's call did not come");
	if (other != s->pfn)
		expect(w, khh_one_call(-1, vcpu->fd, KHH_CALL(KHH_pkvm_host_donate_guest, other,
							      WALK_GFN + rel, 1)), -EPERM);
	if (!one_in(w, 4)) {
		expect(w, khh_one_call(-1, vcpu->fd, KHH_CALL(KHH_pkvm_host_donate_guest, s->pfn,
							      WALK_GFN + rel, 1)), 0);
		s->lent = false;
		walk_page(w, s->pfn)->lent = false;
	}
	if (pkvm_resume(vcpu) != PKVM_RETURNED)
		fail(w, "the guest did not go on");
	expect(w, vcpu->ret, s->lent ? INVALID : 0);
}

static void protected_guest(struct walk *w, struct wvm *vm, unsigned int rel)
{
	struct wslot *s = &vm->slot[rel];
	uint64_t ipa = (WALK_GFN + rel) * WALK_PAGE, val = pkvm_pattern(w->seed, w->drawn++);
	unsigned int i = draw(w, WALK_DEVS);
	long want = INVALID;

	switch (draw(w, 8)) {
	case 0:
	case 1:
		/* Where nothing is, KVM would bring a page that the walk does not know. */
		if (s->kind == W_NONE || one_in(w, 8))
			ipa += draw(w, 2) ? 8 : vm->ipa_pages * WALK_PAGE;
		else if (s->kind == W_LEAF && !s->lent)
			want = 0;
		record(w, "VM %ld shares %#lx", vm - w->vm, ipa);
		expect(w, guest_call(w, vm, PKVM_HVC_SHARE, ipa), want);
		if (!want)
			s->lent = walk_page(w, s->pfn)->lent = true;
		break;
	case 2:
		record(w, "VM %ld unshares %#lx", vm - w->vm, ipa);
		expect(w, guest_call(w, vm, PKVM_HVC_UNSHARE, ipa), INVALID);
		break;
	case 3:
		if (s->lent)
			take_back(w, vm, rel);
		break;
	case 4:
		if (one_in(w, 4)) {
			record(w, "VM %ld guards %#lx", vm - w->vm, ipa);
			expect(w, guest_call(w, vm, PKVM_HVC_GUARD_MAP, ipa), INVALID);
			expect(w, guest_call(w, vm, PKVM_HVC_GUARD_UNMAP, ipa), INVALID);
			break;
		}
		record(w, "VM %ld guards device %u", vm - w->vm, i);
		expect(w, guest_call(w, vm, PKVM_HVC_GUARD_MAP, DEV_IPA(i)), 0);
		vm->device[i] = true;
		break;
	case 5:
		record(w, "VM %ld lets go of device %u", vm - w->vm, i);
		expect(w, guest_call(w, vm, PKVM_HVC_GUARD_UNMAP, DEV_IPA(i)),
		       vm->device[i] ? 0 : INVALID);
		vm->device[i] = false;
		break;
	case 6:
		if (s->kind != W_LEAF)
			break;
		record(w, "VM %ld stores to frame %u", vm - w->vm, rel);
		w->guest++;
		pkvm_must(pkvm_vcpu0(vm->vm), guest_store, ipa, val);
		walk_page(w, s->pfn)->val = val;
		break;
	default:
		if (s->kind != W_LEAF)
			break;
		record(w, "VM %ld loads from frame %u", vm - w->vm, rel);
		w->guest++;
		if (pkvm_must(pkvm_vcpu0(vm->vm), guest_load, ipa) != walk_page(w, s->pfn)->val)
			fail(w, "the guest does not find what is in the page");
	}
}

static void ordinary_guest(struct walk *w, struct wvm *vm, unsigned int rel)
{
	struct wslot *s = &vm->slot[rel];
	uint64_t ipa = (WALK_GFN + rel) * WALK_PAGE, val = pkvm_pattern(w->seed, w->drawn++);

	if (one_in(w, 8)) {
		record(w, "VM %ld, ordinary, shares %#lx", vm - w->vm, ipa);
		expect(w, guest_call(w, vm, PKVM_HVC_SHARE, ipa), PKVM_SMCCC_NOT_SUPPORTED);
		return;
	}
	/* All else would come to KVM, which knows of no memory there. */
	if (s->kind == W_NONE || !s->young || !s->memory)
		return;
	w->guest++;
	if (s->prot & KHH_W && one_in(w, 2)) {
		record(w, "VM %ld, ordinary, stores to frame %u", vm - w->vm, rel);
		pkvm_must(pkvm_vcpu0(vm->vm), guest_store, ipa, val);
		walk_page(w, s->pfn)->val = val;
		return;
	}
	record(w, "VM %ld, ordinary, loads from frame %u", vm - w->vm, rel);
	if (pkvm_must(pkvm_vcpu0(vm->vm), guest_load, ipa) != walk_page(w, s->pfn)->val)
		fail(w, "the guest does not find what is in the page");
}

/* Of a few frames one that is in use, if there is one. */
static void op_guest(struct walk *w)
{
	struct wvm *vm = &w->vm[draw(w, 4) ? WALK_VMS / 2 + draw(w, WALK_VMS / 2) :
					     draw(w, WALK_VMS / 2)];
	unsigned int rel = 0, tries;

	for (tries = 0; tries < 4; tries++) {
		rel = choose_index(w);
		if (vm->slot[rel].kind != W_NONE)
			break;
	}
	make_way(w, vm);
	if (vm->protected)
		protected_guest(w, vm, rel);
	else
		ordinary_guest(w, vm, rel);
}

/* --------------------------------------------------------------- pages of all */

/* Somebody else may be faster: any of these, and the tables tell later what came of it. */
static void allow(struct walk *w, long ret, long other)
{
	if (ret && ret != other)
		expect(w, ret, other);
	if (ret)
		w->refused++;
	else
		w->done++;
}

static void op_common(struct walk *w)
{
	unsigned int i = draw(w, WALK_COMMON), cpu;
	uint64_t pfn = w->common + i;
	struct wvm *vm;
	long ret;

	switch (draw(w, 7)) {
	case 0:
		record(w, "common: share_hyp %u", i);
		allow(w, hvc(KHH_pkvm_host_share_hyp, pfn), -EPERM);
		break;
	case 1:
		record(w, "common: unshare_hyp %u", i);
		allow(w, hvc(KHH_pkvm_host_unshare_hyp, pfn), -EPERM);
		break;
	case 2:
		cpu = loaded_cpu(w, false);
		vm = loaded_vm(w, cpu);
		if (!vm || vm->protected)
			break;
		topup(w, cpu);
		record(w, "common: share_guest %u, VM %d", i, w->loaded[cpu].vm);
		ret = raw(w, cpu, KHH_CALL(KHH_pkvm_host_share_guest, pfn, WALK_COMMON_GFN + i, 1,
					   KHH_RWX));
		allow(w, ret == -EAGAIN ? 0 : ret, -EPERM);
		break;
	case 3:
		vm = &w->vm[draw(w, WALK_VMS / 2)];
		record(w, "common: unshare %u, VM %ld", i, vm - w->vm);
		while (hvc(KHH_pkvm_guest_stage2_op, vm->handle, KHH_OP_UNSHARE,
			   WALK_COMMON_GFN + i, 1) > 0)
			;
		break;
	case 4:
		cpu = loaded_cpu(w, true);
		vm = loaded_vm(w, cpu);
		if (!vm || !vm->protected || vm->next_common == WALK_PAGES)
			break;
		topup(w, cpu);
		record(w, "common: donate %u, VM %d", i, w->loaded[cpu].vm);
		ret = raw(w, cpu, KHH_CALL(KHH_pkvm_host_donate_guest, pfn,
					   WALK_COMMON_GFN + vm->next_common, 1));
		vm->next_common += !ret;
		allow(w, ret, -EPERM);
		break;
	case 5:
		record(w, "common: force_reclaim %u", i);
		allow(w, hvc(KHH_pkvm_host_force_reclaim, pfn), -EAGAIN);
		break;
	default:
		record(w, "common: can_access %u", i);
		allow(w, hvc(KHH_pkvm_host_can_access, pfn), 1);
	}
}

/* -------------------------------------------------------------- the life of VMs */

static void begin_vm(struct walk *w, unsigned int v)
{
	struct pkvm_opts opts = { .ordinary = v < WALK_VMS / 2, .nr_vcpus = WALK_VCPUS };
	struct wvm *vm = &w->vm[v];
	struct khh_vm info;
	unsigned int i;
	void *ram;

	memset(vm, 0, sizeof(*vm));
	vm->protected = !opts.ordinary;
	vm->vm = pkvm_vm_create(&opts);
	/* What EL2 is to give to a protected guest has to be RAM from the start. */
	if (vm->protected) {
		ram = mmap(NULL, SZ_1G, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		TEST_ASSERT(ram != MAP_FAILED &&
			    !pkvm_set_slot(vm->vm, RAM_SLOT, PKVM_HOLE_IPA, SZ_1G, ram, 0),
			    "cannot declare more memory");
		munmap(ram, SZ_1G);
	}
	pkvm_must(pkvm_vcpu0(vm->vm), guest_touch_image);
	info = khh_vm_info(vm->vm, 0);
	vm->handle = info.handle;
	vm->ipa_pages = (1ul << info.ipa_bits) / WALK_PAGE;
	vm->pinned = info.pfn;
	for (i = 0; i < WALK_VCPUS; i++)
		vm->cpu[i] = -1;
	if (w->stale == vm->handle)
		w->stale = 0;
	w->vms++;
	record(w, "VM %u begins, handle %#x", v, vm->handle);
}

/* Frames that follow each other and have pages that do. */
static unsigned int run_of(struct walk *w, struct wvm *vm, unsigned int rel)
{
	unsigned int nr = 1;

	while (rel + nr < WALK_PAGES && vm->slot[rel + nr].kind == W_LEAF &&
	       vm->slot[rel + nr].pfn == vm->slot[rel].pfn + nr)
		nr++;
	return 1 + draw(w, nr);
}

/* The host takes all back, with some mistakes. */
static void reclaim_all(struct walk *w, struct wvm *vm)
{
	unsigned int rel, nr, i;
	struct wpage *p;
	uint64_t val;
	long ret;

	for (rel = 0; rel < WALK_PAGES; rel += nr) {
		struct wslot *s = &vm->slot[rel];

		nr = 1;
		if (s->kind == W_POISON && one_in(w, 4))
			expect(w, hvc(KHH_pkvm_reclaim_guest_pages, vm->handle, w->first,
				      WALK_GFN + rel, 1), 1);
		if (s->kind == W_NONE && one_in(w, 64))
			expect(w, hvc(KHH_pkvm_reclaim_guest_pages, vm->handle, w->first,
				      WALK_GFN + rel, 1), -ENOENT);
		if (s->kind != W_LEAF)
			continue;
		record(w, "VM %ld dies: frame %u", vm - w->vm, rel);
		if (one_in(w, 8))
			expect(w, hvc(KHH_pkvm_reclaim_guest_pages, vm->handle, s->pfn ^ 1,
				      WALK_GFN + rel, 1), -EPERM);
		p = walk_page(w, s->pfn);
		if (!p->lent && one_in(w, 8)) {
			expect(w, hvc(KHH_pkvm_host_force_reclaim, s->pfn), 0);
			returned(vm, p, W_POISON);
			continue;
		}
		nr = run_of(w, vm, rel);
		for (i = 0; i < nr; i += ret) {
			ret = hvc(KHH_pkvm_reclaim_guest_pages, vm->handle, s->pfn + i,
				  WALK_GFN + rel + i, nr - i);
			if (ret <= 0 || ret > nr - i)
				expect(w, ret, nr - i);
		}
		if (khh_peek(p - w->page + w->first + nr - 1, 0, &val) || val)
			fail(w, "a page that is back was not cleared");
		for (i = 0; i < nr; i++)
			returned(vm, p + i, W_NONE);
	}
}

static void end_vm(struct walk *w, unsigned int v)
{
	struct wvm *vm = &w->vm[v];
	unsigned int i;

	record(w, "VM %u ends", v);
	make_way(w, vm);
	for (i = 0; i < WALK_VCPUS; i++) {
		if (vm->cpu[i] >= 0)
			put_vcpu(w, vm->cpu[i]);
	}
	if (vm->protected || one_in(w, 2)) {
		expect(w, hvc(KHH_pkvm_start_teardown_vm, vm->handle), 0);
		vm->dying = true;
		load_vcpu(w, 0, vm->handle, vm, 0);
		walk_check(w, false);
	}
	if (vm->protected) {
		reclaim_all(w, vm);
		/* Whoever has them: this VM must have none. */
		for (i = 0; w->common && i < WALK_COMMON; i++)
			hvc(KHH_pkvm_host_force_reclaim, w->common + i);
		walk_check(w, false);
	}
	expect(w, hvc(KHH_pkvm_finalize_teardown_vm, vm->handle), -EBUSY);
	/* What an ordinary guest has, KVM takes back. */
	pkvm_vm_free(vm->vm);
	for (i = 0; !vm->protected && i < WALK_PAGES; i++)
		walk_unshare(w, vm, i);
	w->stale = vm->handle;
	vm->vm = NULL;
	if (w->alone) {
		load_vcpu(w, 0, w->stale, NULL, 0);
		walk_check(w, false);
	}
}

static void op_new_vm(struct walk *w)
{
	unsigned int v = draw(w, WALK_VMS);

	end_vm(w, v);
	begin_vm(w, v);
}

/* ------------------------------------------------------------------- the walk */

static const struct {
	void (*fn)(struct walk *w);
	unsigned int weight;
} ops[] = {
	{ op_share_guest, 160 }, { op_donate, 160 }, { op_guest, 120 }, { op_stage2, 80 },
	{ op_share_hyp, 50 }, { op_unshare_hyp, 60 }, { op_relax, 50 }, { op_touch, 60 },
	{ op_force_reclaim, 60 }, { op_can_access, 30 }, { op_load, 60 }, { op_put, 60 },
	{ op_end_too_soon, 40 }, { op_new_vm, 2 },
};

void walk_begin(struct walk *w)
{
	unsigned int i;

	for (i = 0; i < WALK_CPUS; i++)
		w->loaded[i].vm = -1;
	for (i = 0; i < WALK_PAGES; i++) {
		w->page[i].val = pkvm_pattern(w->seed, w->drawn++);
		TEST_ASSERT(!khh_poke(w->first + i, 0, w->page[i].val), "cannot write");
	}
	for (i = 0; i < WALK_VMS; i++)
		begin_vm(w, i);
	walk_check(w, true);
}

void walk_step(struct walk *w)
{
	unsigned int all = 0, i, n;

	w->steps++;
	if (w->common && one_in(w, 4)) {
		op_common(w);
		return;
	}
	for (i = 0; i < ARRAY_SIZE(ops); i++)
		all += ops[i].weight;
	n = draw(w, all);
	for (i = 0; n >= ops[i].weight; i++)
		n -= ops[i].weight;
	ops[i].fn(w);
	if (!(w->steps % 8))
		walk_check(w, !(w->steps % 512));
}

/* All VMs end, and every page is the host's alone again. */
void walk_end(struct walk *w)
{
	unsigned int i;

	walk_check(w, true);
	for (i = 0; i < WALK_VMS; i++)
		end_vm(w, i);
	for (i = 0; i < WALK_PAGES; i++) {
		if (w->page[i].el2)
			expect(w, hvc(KHH_pkvm_host_unshare_hyp, w->first + i), 0);
		w->page[i].el2 = false;
		if (w->page[i].guest || w->page[i].maps)
			fail(w, "the model has lost a page");
	}
	walk_check(w, true);
}
