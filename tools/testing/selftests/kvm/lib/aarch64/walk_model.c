// SPDX-License-Identifier: GPL-2.0-only
/*
 * The model behind walk.h: what it says of each page and each frame of the guests, and
 * whether the tables of EL2 say the same. Makes no call but those that show a table.
 */
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>
#include <linux/bits.h>

#include "kvm_util.h"
#include "walk.h"

int ked_dev = -1;

/* Entries (Arm ARM D8.3), and what EL2 has in them: asm/pkvm_dump.h. */
#define VALID		BIT(0)
#define ADDRESS		GENMASK(47, 12)
#define S2_TYPE(e)	((e) >> 2 & 0xf)
#define S2_W		BIT(7)
#define S2_AF		BIT(10)
#define S2_XN		BIT(54)
#define STATE		GENMASK(56, 55)
#define SHARED		BIT(55)
#define BORROWED	BIT(56)
#define OWNER(id)	((id) << 2)
#define OF_GUEST	3ul
#define POISONED	4ul
#define MMIO		5ul
#define TYPE_DEVICE	1
#define TYPE_NC		5
#define PAGE_LEVEL	3

const char *walk_unavailable(void)
{
	struct ked_page p = { .table = KED_HOST };
	struct ked_dump d = { .pages = (uintptr_t)&p, .nr = 1 };
	const char *why = hostile_unavailable() ?: hostile_load(KED_MODULE, KED_DEVICE);

	if (why)
		return why;
	ked_dev = open(KED_DEVICE, O_RDWR | O_CLOEXEC);
	TEST_ASSERT(ked_dev >= 0, "cannot open %s: %s", KED_DEVICE, strerror(errno));
	if (!ioctl(ked_dev, KED_IOC_DUMP, &d))
		return NULL;
	TEST_ASSERT(errno == EOPNOTSUPP && !getenv("PKVM_EL2_DEBUG"), "cannot see a table: %s",
		    strerror(errno));
	walk_close();
	return "not a kernel with NVHE_EL2_DEBUG: EL2 shows no table";
}

void walk_close(void)
{
	pkvm_close_fd(&ked_dev);
	hostile_close();
}

void walk_dump(struct ked_page *p, unsigned int nr)
{
	struct ked_dump d = { .pages = (uintptr_t)p, .nr = nr };

	TEST_ASSERT(!ioctl(ked_dev, KED_IOC_DUMP, &d), "cannot see a table: %s",
		    strerror(errno));
}

/* The next range of memory, of the lines in /proc/iomem. */
static bool next_ram(FILE *f, uint64_t *pfn, uint64_t *end)
{
	char line[256];

	while (fgets(line, sizeof(line), f)) {
		if (!strstr(line, "System RAM") || sscanf(line, "%lx-%lx", pfn, end) != 2)
			continue;
		*pfn /= WALK_PAGE;
		*end = (*end + 1) / WALK_PAGE;
		return true;
	}
	return false;
}

static FILE *open_iomem(void)
{
	FILE *f = fopen("/proc/iomem", "r");

	TEST_ASSERT(f, "cannot open /proc/iomem");
	return f;
}

/* Whose all of the memory is. */
void walk_count(uint64_t pages[KED_NR_OWNERS])
{
	struct ked_count c;
	FILE *f = open_iomem();
	uint64_t pfn, end;
	int i;

	memset(pages, 0, KED_NR_OWNERS * sizeof(*pages));
	while (next_ram(f, &pfn, &end)) {
		c = (struct ked_count) { .pfn = pfn, .nr = end - pfn };
		TEST_ASSERT(!ioctl(ked_dev, KED_IOC_COUNT, &c), "cannot count: %s",
			    strerror(errno));
		for (i = 0; i < KED_NR_OWNERS; i++)
			pages[i] += c.pages[i];
	}
	fclose(f);
}

/* A page of EL2's since the start, out of the largest piece that it has. */
uint64_t walk_find_el2(void)
{
	FILE *f = open_iomem();
	uint64_t pfn, end, found = 0;

	while (!found && next_ram(f, &pfn, &end)) {
		for (; !found && pfn < end; pfn += WALK_BLOCK) {
			struct ked_count c = { .pfn = pfn, .nr = WALK_BLOCK };

			if (end - pfn < WALK_BLOCK)
				break;
			TEST_ASSERT(!ioctl(ked_dev, KED_IOC_COUNT, &c), "cannot count: %s",
				    strerror(errno));
			if (c.pages[KED_OF_HYP] == WALK_BLOCK)
				found = pfn + WALK_BLOCK / 2;
		}
	}
	fclose(f);
	TEST_ASSERT(found, "EL2 has no memory");
	return found;
}

/* Far beyond memory: where that ends, something may be hidden. */
uint64_t walk_find_hole(void)
{
	FILE *f = open_iomem();
	uint64_t pfn, end, last = 0;

	while (next_ram(f, &pfn, &end))
		last = end > last ? end : last;
	fclose(f);
	return last + (1ul << 30) / WALK_PAGE + 1;
}

/* ------------------------------------------------------------------ the model */

struct wpage *walk_page(struct walk *w, uint64_t pfn)
{
	return pfn - w->first < WALK_PAGES ? &w->page[pfn - w->first] : NULL;
}

/* Has the host these for itself, or shares them with ordinary guests only? */
bool walk_owned(struct walk *w, uint64_t pfn, uint64_t nr, bool *memory)
{
	struct wpage *p;

	*memory = pfn != w->hole;
	if (!*memory)
		return true;
	for (; nr; nr--, pfn++) {
		p = walk_page(w, pfn);
		if (!p || p->guest || p->el2)
			return false;
	}
	return true;
}

/* Are they memory that nobody but the host has? */
bool walk_alone(struct walk *w, uint64_t pfn, uint64_t nr)
{
	bool memory;

	if (!walk_owned(w, pfn, nr, &memory) || !memory)
		return false;
	for (; nr; nr--, pfn++) {
		if (walk_page(w, pfn)->maps || w->blocks[(pfn - w->first) / WALK_BLOCK])
			return false;
	}
	return true;
}

/* An ordinary guest loses the leaf at a frame, if there is one. */
void walk_unshare(struct walk *w, struct wvm *vm, unsigned int rel)
{
	struct wslot *s = &vm->slot[rel];

	if (s->kind == W_BLOCK) {
		s = &vm->slot[rel - rel % WALK_BLOCK];
		if (s->memory)
			w->blocks[(s->pfn - w->first) / WALK_BLOCK]--;
		memset(s, 0, WALK_BLOCK * sizeof(*s));
	} else if (s->kind == W_LEAF) {
		if (s->memory)
			walk_page(w, s->pfn)->maps--;
		memset(s, 0, sizeof(*s));
	}
}

/* ------------------------------------------------------------- the comparison */

static char difference[256];

#define DIFFERS(...) \
	(snprintf(difference, sizeof(difference), __VA_ARGS__), difference)

static const char *host_wrong(const struct walk *w, unsigned int i, const struct ked_page *d)
{
	const struct wpage *p = &w->page[i];
	uint64_t pfn = w->first + i, want, e = d->entry;
	uint64_t size = KED_LEVEL(d->note) == PAGE_LEVEL ? 1 : WALK_BLOCK;

	if (d->ret)
		return DIFFERS("the host's entry of page %u: %lld", i, (long long)d->ret);
	if (p->guest && !p->lent) {
		want = OWNER(OF_GUEST) | (WALK_GFN + p->rel) << 12 |
		       (uint64_t)(w->vm[p->vm].handle - khh_info.handle_offset) << 52;
		if (e == want && size == 1)
			return NULL;
		return DIFFERS("the host's entry of page %u is %#lx, not %#lx, a guest's", i, e,
			       want);
	}
	want = p->lent ? BORROWED : p->el2 ? SHARED : 0;
	/* What is the host's alone need not be mapped yet. */
	if (!e && !want)
		return NULL;
	if (!(e & VALID) || (e & STATE) != want || (want && size != 1) ||
	    (KED_LEVEL(d->note) >= PAGE_LEVEL - 1 &&
	     (e & ADDRESS) != (pfn - pfn % size) * WALK_PAGE))
		return DIFFERS("the host's entry of page %u is %#lx at level %d, state %#lx", i,
			       e, KED_LEVEL(d->note), want);
	return NULL;
}

static const char *hyp_wrong(const struct walk *w, unsigned int i, const struct ked_page *d)
{
	const struct wpage *p = &w->page[i];
	unsigned int blocks = w->blocks[i / WALK_BLOCK], maps = p->guest ? 0 : p->maps;
	bool wrong;

	if (d->ret)
		return DIFFERS("EL2's entry of page %u: %lld", i, (long long)d->ret);
	if (p->el2)
		wrong = !(d->entry & VALID) || (d->entry & STATE) != BORROWED ||
			(d->entry & ADDRESS) != (w->first + i) * WALK_PAGE;
	else
		wrong = d->entry;
	if (wrong)
		return DIFFERS("EL2's entry of page %u is %#lx, shared %d", i,
			       (unsigned long)d->entry, p->el2);
	if (KED_REFCOUNT(d->note) != maps || KED_BLOCKS(d->note) != blocks)
		return DIFFERS("page %u counts %u and %u blocks, not %u and %u", i,
			       (unsigned int)KED_REFCOUNT(d->note),
			       (unsigned int)KED_BLOCKS(d->note), maps, blocks);
	return NULL;
}

static const char *leaf_wrong(const struct wvm *vm, const struct wslot *s,
			      const struct ked_page *d, unsigned int rel)
{
	uint64_t e = d->entry, size = s->kind == W_BLOCK ? WALK_BLOCK : 1;
	uint64_t pfn = s->pfn - (s->kind == W_BLOCK ? rel % WALK_BLOCK : 0), want = BORROWED;

	if (!(e & VALID) || (e & ADDRESS) != pfn * WALK_PAGE ||
	    KED_LEVEL(d->note) != (size == 1 ? PAGE_LEVEL : PAGE_LEVEL - 1))
		return "the place";
	if (vm->protected)
		want = s->lent ? SHARED : 0;
	if ((e & STATE) != want)
		return "the state";
	if (!!(e & S2_W) != !!(s->prot & KHH_W))
		return "the permission to write";
	if (!!(e & S2_XN) == !!(s->prot & KHH_X))
		return "the permission to execute";
	if (!!(e & S2_AF) != s->young)
		return "the age";
	if ((S2_TYPE(e) == TYPE_DEVICE) != !!(s->prot & KHH_DEV) ||
	    (S2_TYPE(e) == TYPE_NC) != !!(s->prot & KHH_NC))
		return "the type";
	return NULL;
}

static const char *guest_wrong(const struct walk *w, unsigned int v, unsigned int rel,
			       const struct ked_page *d)
{
	const struct wvm *vm = &w->vm[v];
	const struct wslot *s = &vm->slot[rel];
	const char *what = NULL;

	if (d->ret)
		return DIFFERS("VM %u, frame %u: %lld", v, rel, (long long)d->ret);
	if (s->kind == W_LEAF || s->kind == W_BLOCK)
		what = leaf_wrong(vm, s, d, rel);
	else if (d->entry != (s->kind == W_POISON ? OWNER(POISONED) : 0))
		what = "what is there";
	if (!what)
		return NULL;
	return DIFFERS("VM %u, frame %u, kind %d: %s differs: %#lx at level %d; prot %#lx pfn %#lx",
		       v, rel, s->kind, what, (unsigned long)d->entry, KED_LEVEL(d->note),
		       s->prot, s->pfn);
}

static const char *device_wrong(const struct walk *w, unsigned int v, unsigned int i,
				const struct ked_page *d)
{
	uint64_t want = w->vm[v].device[i] ? OWNER(MMIO) : 0;

	if (d->ret || d->entry != want)
		return DIFFERS("VM %u, device %u: %#lx, not %#lx", v, i,
			       (unsigned long)d->entry, want);
	return NULL;
}

/* Around which the walk's choices are: see choose_index(). */
static const struct { unsigned int first, nr; } hot[] = {
	{ 0, 12 }, { WALK_BLOCK - 6, 12 }, { WALK_PAGES - 1, 1 },
};

/**
 * walk_difference() - Compare the tables of EL2 with the model.
 * @w: the walk.
 * @all: all of its pages and frames, or those only that it prefers.
 *
 * Return: what differs, in a buffer that the next call reuses; NULL if nothing does.
 */
const char *walk_difference(const struct walk *w, bool all)
{
	static __thread struct ked_page d[(2 + WALK_VMS) * WALK_PAGES + WALK_VMS * WALK_DEVS];
	static __thread unsigned int list[WALK_PAGES];
	const char *wrong = NULL;
	unsigned int nr = 0, n = 0, i, j, v;
	struct ked_page *at;

	if (all) {
		for (i = 0; i < WALK_PAGES; i++)
			list[nr++] = i;
	} else {
		for (j = 0; j < ARRAY_SIZE(hot); j++) {
			for (i = 0; i < hot[j].nr; i++)
				list[nr++] = hot[j].first + i;
		}
	}

	for (i = 0; i < nr; i++) {
		d[n++] = (struct ked_page) { KED_HOST, .frame = w->first + list[i] };
		d[n++] = (struct ked_page) { KED_HYP, .frame = w->first + list[i] };
	}
	for (v = 0; v < WALK_VMS; v++) {
		if (!w->vm[v].vm)
			continue;
		for (i = 0; i < nr; i++)
			d[n++] = (struct ked_page) { KED_GUEST, w->vm[v].handle,
						     WALK_GFN + list[i] };
		for (i = 0; i < WALK_DEVS; i++)
			d[n++] = (struct ked_page) { KED_GUEST, w->vm[v].handle,
						     WALK_DEV_GFN + i };
	}
	walk_dump(d, n);

	at = d;
	for (i = 0; i < nr && !wrong; i++, at += 2)
		wrong = host_wrong(w, list[i], at) ?: hyp_wrong(w, list[i], at + 1);
	for (v = 0; v < WALK_VMS && !wrong; v++) {
		if (!w->vm[v].vm)
			continue;
		for (i = 0; i < nr && !wrong; i++)
			wrong = guest_wrong(w, v, list[i], at++);
		for (i = 0; i < WALK_DEVS && !wrong; i++)
			wrong = device_wrong(w, v, i, at++);
	}
	return wrong;
}

/**
 * walk_common_wrong() - Look at the pages that several walks fight for.
 * @w: the walks, none of which moves.
 * @nr: how many.
 *
 * Nobody foresees whose they are, but each has one owner, whoever borrows one is known to
 * EL2, and nobody borrows what is a guest's (I1).
 *
 * Return: what is wrong, in a buffer that the next call reuses; NULL if nothing is.
 */
const char *walk_common_wrong(struct walk **w, unsigned int nr)
{
	struct ked_page d[3];
	unsigned int i, j, v, maps;
	uint64_t pfn;

	for (i = 0; i < WALK_COMMON; i++) {
		pfn = w[0]->common + i;
		d[0] = (struct ked_page) { KED_HOST, .frame = pfn };
		d[1] = (struct ked_page) { KED_HYP, .frame = pfn };
		walk_dump(d, 2);
		maps = 0;
		for (j = 0; j < nr * WALK_VMS; j++) {
			struct wvm *vm = &w[j / WALK_VMS]->vm[j % WALK_VMS];

			if (!vm->vm || vm->protected)
				continue;
			d[2] = (struct ked_page) { KED_GUEST, vm->handle, WALK_COMMON_GFN + i };
			walk_dump(&d[2], 1);
			if (!d[2].entry)
				continue;
			if ((d[2].entry & ADDRESS) != pfn * WALK_PAGE ||
			    (d[2].entry & STATE) != BORROWED)
				return DIFFERS("page %u: an ordinary guest has %#lx", i,
					       (unsigned long)d[2].entry);
			maps++;
		}
		if (KED_REFCOUNT(d[1].note) != maps || KED_BLOCKS(d[1].note))
			return DIFFERS("page %u counts %u, not %u", i,
				       (unsigned int)KED_REFCOUNT(d[1].note), maps);
		if (d[0].entry & VALID || !d[0].entry) {
			uint64_t state = d[0].entry & STATE;

			if (state == BORROWED || !!state != !!d[1].entry || (state && maps))
				return DIFFERS("page %u: host %#lx, EL2 %#lx, %u guests", i,
					       (unsigned long)d[0].entry,
					       (unsigned long)d[1].entry, maps);
			continue;
		}
		v = khh_info.handle_offset + (d[0].entry >> 52 & 0xff);
		d[2] = (struct ked_page) { KED_GUEST, v, d[0].entry >> 12 & 0xffffffffff };
		walk_dump(&d[2], 1);
		if ((d[0].entry >> 2 & 0xff) != OF_GUEST || maps || d[1].entry || d[2].ret ||
		    !(d[2].entry & VALID) || (d[2].entry & STATE) ||
		    (d[2].entry & ADDRESS) != pfn * WALK_PAGE)
			return DIFFERS("page %u: host %#lx, EL2 %#lx, %u guests, owner %#lx", i,
				       (unsigned long)d[0].entry, (unsigned long)d[1].entry,
				       maps, (unsigned long)d[2].entry);
	}
	return NULL;
}
