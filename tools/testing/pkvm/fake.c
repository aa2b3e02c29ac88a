// SPDX-License-Identifier: GPL-2.0-only
/*
 * The machine that the code of EL2 runs on here.
 *
 * Memory is one file that is mapped three times: as EL2 sees it, where only what its
 * own table maps can be touched (AddressSanitizer stops anything else); as the host
 * and the guests see it; and page by page through the fixmap. The vmemmap exists only
 * where EL2 would back it.
 *
 * The TLBs hold all that they may hold: each entry of a table that was ever seen valid,
 * until it is invalidated, by its level, and no longer stands in the table at that
 * moment. A page may not change hands before.
 *
 * Locks know their holder and their rank, which is read from nvhe/ownership.h.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <unistd.h>

#include <sanitizer/asan_interface.h>

#include <nvhe/guest_monitor.h>
#include <nvhe/guest_regs.h>

#include "fake.h"
#include "spmc.h"

#define MAP_AT		(MAP_FIXED_NOREPLACE | MAP_NORESERVE)
#define VMEMMAP_SIZE	(MEM_END / PAGE_SIZE * sizeof(struct hyp_page) + PAGE_SIZE)

struct fake_features fake_features;
u64 id_aa64mmfr0_el1_sys_val, id_aa64mmfr1_el1_sys_val;
unsigned int fake_cpu;
bool kvm_protected_mode_initialized;
s64 hyp_physvirt_offset = -(s64)EL2_VIEW;
u64 fake_el1[FAKE_SYSREGS], fake_el2[FAKE_SYSREGS];
DEFINE_PER_CPU(struct kvm_nvhe_init_params, kvm_init_params);
struct kvm_vcpu_fault_info fake_fault;
struct fake_mpam fake_mpam[FAKE_CPUS];
struct fake_rndr fake_rndr;
struct kvm_host_data fake_host_data[FAKE_CPUS];
DEFINE_PER_CPU(unsigned long, kvm_hyp_vector);
char __kvm_hyp_vector[8];
struct fake_monitors fake_monitors[FAKE_CPUS];

struct memblock_region hyp_memory[HYP_MEMBLOCK_REGIONS];
unsigned int hyp_memblock_nr;
struct kvm_pgtable pkvm_pgtable;
hyp_spinlock_t pkvm_pgd_lock;
unsigned long hyp_nr_cpus = FAKE_CPUS;

struct fake_tlb fake_host_tlb[NR_PAGES];
struct fake_tlb *fake_guest_tlb[NR_VMIDS];
static struct fake_tables host_tables, guest_tables[NR_VMIDS];
static bool el2_tlb[NR_PAGES];
/* Entries of all guests for each page, so that most need not be looked for. */
static unsigned int guest_refs[NR_PAGES];

u64 fake_now;
u64 fake_cleaned[NR_PAGES], fake_cleared[NR_PAGES], fake_icache[NR_PAGES];
u64 fake_synced[NR_PAGES];
struct fake_count fake_count;
unsigned int fake_irq_after;
int fake_init_vcpu_ret;
unsigned int fake_live_vcpus;
bool fake_donating;
void (*fake_other_cpu)(void);
phys_addr_t fake_s1_pool, fake_s2_pool;
void *fake_ffa_pages;
void (*fake_where)(void);
void (*fake_host_enter)(struct kvm_cpu_context *host_ctxt);

static phys_addr_t vm_table;
static struct hyp_pool hpool;
static struct kvm_pgtable_mm_ops hyp_ops;
static int memory_file = -1;

void fake_die(const char *file, int line, const char *fmt, ...)
{
	va_list args;

	fflush(stdout);
	fprintf(stderr, "%s:%d: ", strrchr(file, '/') ? strrchr(file, '/') + 1 : file, line);
	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	fprintf(stderr, "\n");
	if (fake_where)
		fake_where();
	abort();
}

/* --- memory */

static const struct memblock_region regions[] = {
	{ MEM0, MEM0_SIZE, 0 },
	{ MEM1, MEM1_SIZE, 0 },
	{ NOMAP, NOMAP_SIZE, MEMBLOCK_NOMAP },
	{ MEM2, MEM2_SIZE, 0 },
};

#define NR_REGIONS	ARRAY_SIZE(regions)

/**
 * page_index() - The number of a page of memory.
 * @phys: any address.
 *
 * Return: 0 to NR_PAGES - 1, or -1 for what is no memory.
 */
int page_index(phys_addr_t phys)
{
	if (phys - MEM0 < MEM0_SIZE)
		return (phys - MEM0) / PAGE_SIZE;
	if (phys - MEM1 < MEM1_SIZE + NOMAP_SIZE)
		return (MEM0_SIZE + phys - MEM1) / PAGE_SIZE;
	if (phys - MEM2 < MEM2_SIZE)
		return (MEM0_SIZE + MEM1_SIZE + NOMAP_SIZE + phys - MEM2) / PAGE_SIZE;

	return -1;
}

/**
 * page_phys() - The other way round.
 * @index: 0 to NR_PAGES - 1.
 *
 * Return: the address.
 */
phys_addr_t page_phys(int index)
{
	for (size_t i = 0; i < NR_REGIONS; i++) {
		if (index < (int)(regions[i].size / PAGE_SIZE))
			return regions[i].base + index * PAGE_SIZE;
		index -= regions[i].size / PAGE_SIZE;
	}
	die("no page %d", index);
}

/**
 * page_is_memory() - May anybody have it as memory?
 * @phys: any address.
 *
 * Return: true for memory that is not marked as not to be mapped.
 */
bool page_is_memory(phys_addr_t phys)
{
	return page_index(phys) >= 0 && phys - NOMAP >= NOMAP_SIZE;
}

static void map_view(unsigned long view, unsigned long phys, unsigned long size)
{
	void *at = (void *)(view + phys);

	if (mmap(at, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_AT, memory_file,
		 phys - MEM0) != at)
		die("cannot map %p", at);
}

static void map_memory(void)
{
	void *at = (void *)VMEMMAP_VIEW;

	if (memory_file >= 0)
		return;

	memory_file = memfd_create("memory", 0);
	if (memory_file < 0)
		die("memfd_create");
	if (ftruncate(memory_file, MEM_END - MEM0))
		die("ftruncate");
	for (size_t i = 0; i < NR_REGIONS; i++) {
		map_view(EL2_VIEW, regions[i].base, regions[i].size);
		map_view(HOST_VIEW, regions[i].base, regions[i].size);
		map_view(FIXMAP_VIEW, regions[i].base, regions[i].size);
	}
	if (mmap(at, VMEMMAP_SIZE, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_AT, -1, 0) != at)
		die("cannot map the vmemmap");
}

static void clear_memory(void)
{
	if (ftruncate(memory_file, 0) || ftruncate(memory_file, MEM_END - MEM0))
		die("ftruncate");
	for (size_t i = 0; i < NR_REGIONS; i++) {
		__asan_poison_memory_region(el2_ptr(regions[i].base), regions[i].size);
		__asan_poison_memory_region((void *)(FIXMAP_VIEW + regions[i].base),
					    regions[i].size);
	}

	/* As hyp_back_vmemmap() does: whole pages, for memory only. */
	__asan_unpoison_memory_region((void *)VMEMMAP_VIEW, VMEMMAP_SIZE);
	memset((void *)VMEMMAP_VIEW, 0, VMEMMAP_SIZE);
	__asan_poison_memory_region((void *)VMEMMAP_VIEW, VMEMMAP_SIZE);
	for (size_t i = 0; i < NR_REGIONS; i++) {
		u64 start = VMEMMAP_VIEW + regions[i].base / PAGE_SIZE * sizeof(struct hyp_page);
		u64 end = start + regions[i].size / PAGE_SIZE * sizeof(struct hyp_page);

		start = ALIGN_DOWN(start, PAGE_SIZE);
		__asan_unpoison_memory_region((void *)start, PAGE_ALIGN(end) - start);
	}
}

unsigned long kern_hyp_va(unsigned long va)
{
	return va - HOST_VIEW + EL2_VIEW;
}

static bool page_is_zero(phys_addr_t phys)
{
	const u64 *p = host_ptr(phys);

	return !p[0] && !memcmp(p, p + 1, PAGE_SIZE - sizeof(u64));
}

static void cleaned(void *va, size_t size, bool icache)
{
	unsigned long v = (unsigned long)va;
	phys_addr_t phys = v >= FIXMAP_VIEW ? v - FIXMAP_VIEW : v - EL2_VIEW;

	for (size_t i = 0; i < size; i += PAGE_SIZE, phys += PAGE_SIZE) {
		int page = page_index(phys);

		/* Per-CPU data is not in the machine's memory. */
		if (page < 0)
			return;
		if (icache) {
			fake_icache[page] = fake_now;
			continue;
		}
		fake_cleaned[page] = fake_now;
		if (!fake_host_tlb[page].pfn)
			fake_synced[page] = fake_now;
		if (page_is_zero(phys))
			fake_cleared[page] = fake_now;
	}
}

void kvm_flush_dcache_to_poc(void *va, size_t size)
{
	cleaned(va, size, false);
}

void __clean_dcache_guest_page(void *va, size_t size)
{
	if (!fake_features.fwb)
		cleaned(va, size, false);
}

void __invalidate_icache_guest_page(void *va, size_t size)
{
	cleaned(va, size, true);
}

/* --- guest addresses */

/**
 * window_gfn() - Where the tests map something for guests.
 * @window: 0 to NR_WINDOWS - 1: the lowest addresses, around what a table of level 2
 *	spans, the highest.
 *
 * Return: the first frame number.
 */
u64 window_gfn(int window)
{
	switch (window) {
	case 0:
		return 0;
	case 1:
		return (1UL << 18) - PTRS_PER_PTE;
	default:
		return (1UL << (fake_features.pa_bits - PAGE_SHIFT)) - WINDOW_PAGES;
	}
}

/**
 * gfn_slot() - The number of a guest frame of a window.
 * @gfn: any number.
 *
 * Return: 0 to NR_SLOTS - 1, or -1 for what is in no window.
 */
int gfn_slot(u64 gfn)
{
	for (int w = 0; w < NR_WINDOWS; w++) {
		if (gfn - window_gfn(w) < WINDOW_PAGES)
			return w * WINDOW_PAGES + (gfn - window_gfn(w));
	}

	return -1;
}

/**
 * slot_gfn() - The other way round.
 * @slot: 0 to NR_SLOTS - 1.
 *
 * Return: the frame number.
 */
u64 slot_gfn(int slot)
{
	return window_gfn(slot / WINDOW_PAGES) + slot % WINDOW_PAGES;
}

/* --- locks */

static struct {
	const char *name;
	const char *words;	/* how the code names it */
	int rank;
} ranks[] = {
	/* The proxy's are taken first, and never with another of the first. */
	{ "host_buffers.lock", "&host_buffers.lock", 0 },
	{ "version_lock", "&version_lock", 0 },
	{ "vm_table_lock", "&vm_table_lock", -1 },
	{ "mem_protect_lock", "&mem_protect_lock", -1 },
	{ "host_mmu.lock", "&host_mmu.lock", -1 },
	{ "pkvm_pgd_lock", "&pkvm_pgd_lock", -1 },
	{ "pkvm_hyp_vm::lock", "&vm->lock", -1 },
	{ "hyp_pool::lock", "&pool->lock", -1 },
};

#define NR_RANKS	ARRAY_SIZE(ranks)

static struct {
	hyp_spinlock_t *lock;
	int rank;
} held[FAKE_CPUS][8];

static int nr_held[FAKE_CPUS];

static int column(const char *line, const char *at)
{
	int col = 0;

	for (; line < at; line++)
		col = *line == '\t' ? (col / 8 + 1) * 8 : col + 1;

	return col;
}

/**
 * fake_lock_ranks() - Learn the order of the locks where it is written down.
 * @header: nvhe/ownership.h.
 *
 * Locks stand in a line from the outermost to the innermost with arrows between; a
 * line that begins with an arrow goes on below the arrow above it.
 *
 * Return: NULL, or what is wrong with the header.
 */
const char *fake_lock_ranks(const char *header)
{
	int arrow_col[8] = { 0 }, nr_arrows = 0;
	char line[256], copy[256];
	FILE *f = fopen(header, "r");

	if (!f)
		return "cannot be read";

	while (fgets(line, sizeof(line), f)) {
		char *arrow = strstr(line, "->");
		int rank, cols[8], nr = 0;

		if (!arrow || strncmp(line, " *", 2))
			continue;
		rank = 0;
		/* Does the line begin with it? */
		for (int i = 0; i < nr_arrows; i++) {
			if (arrow_col[i] == column(line, arrow) &&
			    line + strspn(line, " *\t") == arrow)
				rank = i + 1;
		}
		memcpy(copy, line, sizeof(copy));
		for (char *word = strtok(copy, " *\t\n"), *from = line; word;
		     word = strtok(NULL, " *\t\n")) {
			from = strstr(from, word);
			if (!strcmp(word, "->")) {
				cols[nr++] = column(line, from++);
				continue;
			}
			for (size_t i = 0; i < NR_RANKS; i++) {
				if (!strcmp(ranks[i].name, word))
					ranks[i].rank = rank;
			}
			rank++;
		}
		if (!nr_arrows)
			for (; nr_arrows < nr; nr_arrows++)
				arrow_col[nr_arrows] = cols[nr_arrows];
	}
	fclose(f);
	for (size_t i = 0; i < NR_RANKS; i++) {
		if (ranks[i].rank < 0)
			return ranks[i].name;
	}

	return NULL;
}

void fake_lock_init(hyp_spinlock_t *lock)
{
	lock->owner = 0;
}

void fake_lock(hyp_spinlock_t *lock, const char *words)
{
	int rank = -1;

	for (size_t i = 0; i < NR_RANKS; i++) {
		if (!strcmp(words, ranks[i].words))
			rank = ranks[i].rank;
	}
	if (rank < 0)
		die("a lock of no known rank: %s", words);
	if (lock->owner)
		die("%s is held already: a deadlock", words);
	for (int i = 0; i < nr_held[fake_cpu]; i++) {
		if (held[fake_cpu][i].rank >= rank)
			die("%s taken out of order, below a lock of rank %d", words,
			    held[fake_cpu][i].rank);
	}
	lock->owner = fake_cpu + 1;
	held[fake_cpu][nr_held[fake_cpu]].lock = lock;
	held[fake_cpu][nr_held[fake_cpu]++].rank = rank;
}

void fake_unlock(hyp_spinlock_t *lock)
{
	int nr = nr_held[fake_cpu];

	if (!nr || held[fake_cpu][nr - 1].lock != lock || lock->owner != fake_cpu + 1)
		die("a lock is dropped that was not taken last");
	lock->owner = 0;
	nr_held[fake_cpu]--;
	if (fake_other_cpu && lock == &vm_table_lock) {
		void (*fn)(void) = fake_other_cpu;

		fake_other_cpu = NULL;
		fn();
	}
}

void fake_assert_held(hyp_spinlock_t *lock, const char *words)
{
	if (kvm_protected_mode_initialized && lock->owner != fake_cpu + 1)
		die("%s is not held", words);
}

/**
 * fake_locks_held() - How many locks does a CPU hold?
 * @cpu: the CPU.
 *
 * Return: their number.
 */
int fake_locks_held(unsigned int cpu)
{
	return nr_held[cpu];
}

/* --- TLBs */

static struct fake_tlb leaf_tlb(u64 pte, int level, u64 ia)
{
	struct fake_tlb e = { 0 };

	if (!(pte & 1))
		return e;
	e.pfn = (entry_phys(pte) + (ia & (level_size(level) - 1))) / PAGE_SIZE + 1;
	e.level = level;
	e.writable = pte & BIT(7);

	return e;
}

static struct fake_tlb lookup_tlb(const struct kvm_pgtable *pgt, u64 ia)
{
	int level;
	u64 pte = table_lookup(pgt, ia, &level);

	return leaf_tlb(pte, level, ia);
}

static inline void set_tlb(struct fake_tlb *e, struct fake_tlb now)
{
	bool guest = e < fake_host_tlb || e >= fake_host_tlb + NR_PAGES;
	int i;

	if (guest && e->pfn != now.pfn) {
		i = e->pfn ? page_index((e->pfn - 1) * PAGE_SIZE) : -1;
		if (i >= 0)
			guest_refs[i]--;
		i = now.pfn ? page_index((now.pfn - 1) * PAGE_SIZE) : -1;
		if (i >= 0)
			guest_refs[i]++;
	}
	*e = now;
}

/* The entry went; a walker may bring back what the table says now. */
static void drop(struct fake_tlb *e, const struct kvm_pgtable *pgt, u64 ia, bool refill)
{
	struct fake_tlb now = { 0 };

	if (refill)
		now = lookup_tlb(pgt, ia);
	set_tlb(e, now);
}

static bool linked(const struct kvm_pgtable *pgt, const struct fake_tables *t, unsigned int i)
{
	phys_addr_t path[5];
	unsigned int nr = table_path(pgt, t->t[i].ia, path);
	int at = t->t[i].level - pgt->start_level - 1;

	return (unsigned int)at < nr && path[at] == t->t[i].phys;
}

static void drop_tables(struct fake_tables *t, const struct kvm_pgtable *pgt, u64 start,
			u64 end, bool refill)
{
	for (unsigned int i = 0; i < t->nr; ) {
		u64 ia = t->t[i].ia;

		if (ia < end && ia + level_size(t->t[i].level - 1) > start &&
		    !(refill && linked(pgt, t, i)))
			t->t[i] = t->t[--t->nr];
		else
			i++;
	}
}

/* Read as it stands in memory: the lock may be held. */
static struct pkvm_hyp_vm *vm_by_idx(unsigned int idx)
{
	return ((struct pkvm_hyp_vm **)host_ptr(vm_table))[idx];
}

static u64 vmid_of(struct kvm_s2_mmu *mmu)
{
	u64 vmid = atomic64_read(&mmu->vmid.id);

	if (vmid >= NR_VMIDS)
		die("VMID %lu", vmid);

	return vmid;
}

static struct pkvm_hyp_vm *vm_of(struct kvm_s2_mmu *mmu)
{
	return container_of(mmu, struct pkvm_hyp_vm, kvm.arch.mmu);
}

/* Does any walker of the machine read the tables? */
static bool walked(struct kvm_s2_mmu *mmu)
{
	return !vmid_of(mmu) || !vm_of(mmu)->is_dying;
}

static void invalidate_one(struct kvm_s2_mmu *mmu, u64 vmid, u64 ia, u64 start, u64 end,
			   int level, bool refill)
{
	struct fake_tlb *e;
	u64 size;
	int i;

	if (!vmid) {
		i = page_index(ia);
		e = i < 0 ? NULL : &fake_host_tlb[i];
	} else {
		i = gfn_slot(ia / PAGE_SIZE);
		e = i < 0 ? NULL : &fake_guest_tlb[vmid][i];
	}
	if (!e || !e->pfn || (level != TLBI_TTL_UNKNOWN && level != e->level))
		return;
	size = level_size(e->level);
	if (ALIGN_DOWN(ia, size) < end && ALIGN_DOWN(ia, size) + size > start)
		drop(e, mmu->pgt, ia, refill);
}

static void invalidate(struct kvm_s2_mmu *mmu, u64 start, u64 end, int level)
{
	u64 vmid = vmid_of(mmu), i, ia;
	bool refill = walked(mmu);
	struct fake_tables *tables = vmid ? &guest_tables[vmid] : &host_tables;

	drop_tables(tables, mmu->pgt, start, end, refill);
	if (vmid && !fake_guest_tlb[vmid])
		return;
	/* An entry of a known level covers no more than this. */
	if (level == 3 || level == 2) {
		ia = ALIGN_DOWN(start, level_size(level));
		for (; ia < end || ia < ALIGN(end, level_size(level)); ia += PAGE_SIZE)
			invalidate_one(mmu, vmid, ia, start, end, level, refill);
		return;
	}
	for (i = 0; !vmid && i < NR_PAGES; i++) {
		if (fake_host_tlb[i].pfn)
			invalidate_one(mmu, vmid, page_phys(i), start, end, level, refill);
	}
	for (i = 0; vmid && i < NR_SLOTS; i++) {
		if (fake_guest_tlb[vmid][i].pfn)
			invalidate_one(mmu, vmid, slot_gfn(i) * PAGE_SIZE, start, end, level,
				       refill);
	}
}

void __kvm_tlb_flush_vmid_ipa(struct kvm_s2_mmu *mmu, phys_addr_t ipa, int level)
{
	fake_count.ipa++;
	invalidate(mmu, ipa, ipa + 1, level);
}

/* One CPU's: the others keep what they have. */
void __kvm_tlb_flush_vmid_ipa_nsh(struct kvm_s2_mmu *mmu, phys_addr_t ipa, int level)
{
	fake_count.ipa_nsh++;
}

void __kvm_tlb_flush_vmid(struct kvm_s2_mmu *mmu)
{
	fake_count.vmid++;
	invalidate(mmu, 0, -1UL, TLBI_TTL_UNKNOWN);
}

void __kvm_tlb_flush_vmid_range(struct kvm_s2_mmu *mmu, phys_addr_t start,
				unsigned long pages)
{
	fake_count.range++;
	invalidate(mmu, start, start + pages * PAGE_SIZE, TLBI_TTL_UNKNOWN);
}

void __kvm_flush_cpu_context(struct kvm_s2_mmu *mmu)
{
	fake_count.cpu_context++;
}

static bool el2_table_maps(phys_addr_t phys)
{
	int level;
	u64 pte = table_lookup(&pkvm_pgtable, EL2_VIEW + phys, &level);

	return pte & 1;
}

void fake_tlbi_hyp(unsigned long va)
{
	int page = page_index(va - EL2_VIEW);

	fake_count.hyp++;
	if (page < 0 || el2_table_maps(va - EL2_VIEW))
		return;
	el2_tlb[page] = false;
	__asan_poison_memory_region((void *)(va & PAGE_MASK), PAGE_SIZE);
}

/**
 * fake_el2_maps() - Can EL2 touch a page?
 * @phys: a page of memory.
 *
 * Return: true if it can, be it through a TLB.
 */
bool fake_el2_maps(phys_addr_t phys)
{
	return el2_tlb[page_index(phys)];
}

static void stale(const char *whose, u64 ia, struct fake_tlb old, struct fake_tlb now)
{
	die("a TLB still has %#lx -> %#lx (level %d) of %s, where the table has %#lx (level %d)",
	    ia, (old.pfn - 1) * PAGE_SIZE, old.level, whose,
	    now.pfn ? (now.pfn - 1) * PAGE_SIZE : -1UL, now.level);
}

static inline void sync_one(struct fake_tlb *e, struct fake_tlb now, const char *whose, u64 ia,
			    bool perms)
{
	if (!e->pfn && !now.pfn)
		return;
	if (e->pfn && (e->pfn != now.pfn || e->level != now.level))
		stale(whose, ia, *e, now);
	/* Who takes a permission away tells the TLBs later, in a call of its own. */
	if (e->pfn && e->writable && !now.writable && perms)
		die("a TLB can still write to %#lx of %s", ia, whose);
	now.writable |= e->pfn && e->writable;
	set_tlb(e, now);
}

struct sync {
	struct fake_tlb now[NR_SLOTS + NR_PAGES];
	struct fake_tables *tables;
	const struct kvm_pgtable *pgt;
};

static void add_table(struct table_walk *w, phys_addr_t phys, u64 ia, int level,
		      unsigned int used)
{
	struct sync *s = w->arg;
	struct fake_tables *t = s->tables;

	if (level == s->pgt->start_level)
		return;
	for (unsigned int i = 0; i < t->nr; i++) {
		if (t->t[i].phys == phys && t->t[i].ia == ia && t->t[i].level == level)
			return;
	}
	check(t->nr < MAX_TABLES);
	t->t[t->nr].phys = phys;
	t->t[t->nr].ia = ia;
	t->t[t->nr++].level = level;
}

static void add_host_leaf(struct table_walk *w, u64 ia, u64 pte, int level)
{
	struct sync *s = w->arg;
	u64 end = ia + level_size(level);

	for (size_t i = 0; (pte & 1) && i < NR_REGIONS; i++) {
		u64 from = ia > regions[i].base ? ia : regions[i].base;
		u64 last = regions[i].base + regions[i].size;
		u64 to = end < last ? end : last;

		for (; from < to; from += PAGE_SIZE)
			s->now[page_index(from)] = leaf_tlb(pte, level, from);
	}
}

static void add_guest_leaf(struct table_walk *w, u64 ia, u64 pte, int level)
{
	struct sync *s = w->arg;
	u64 end = ia + level_size(level);

	for (; (pte & 1) && ia < end; ia += PAGE_SIZE) {
		int slot = gfn_slot(ia / PAGE_SIZE);

		if (slot < 0)
			die("a guest has %#lx, which nobody mapped", ia);
		s->now[slot] = leaf_tlb(pte, level, ia);
	}
}

static void sync_tables(struct sync *s, const char *whose)
{
	for (unsigned int i = 0; i < s->tables->nr; i++) {
		if (!linked(s->pgt, s->tables, i))
			die("a walker still has the table %#lx for %#lx of %s",
			    s->tables->t[i].phys, s->tables->t[i].ia, whose);
	}
}

static struct sync the_sync;

static void sync_host(void)
{
	struct sync *s = &the_sync;
	struct table_walk w = { add_host_leaf, add_table, s };

	memset(s->now, 0, sizeof(s->now));
	s->pgt = &host_mmu.pgt;
	s->tables = &host_tables;
	sync_tables(s, "the host");
	table_walk(s->pgt, &w);
	for (size_t i = 0; i < NR_PAGES; i++)
		sync_one(&fake_host_tlb[i], s->now[i], "the host", page_phys(i), true);
}

static void sync_guest(struct pkvm_hyp_vm *vm)
{
	u64 vmid = vmid_of(&vm->kvm.arch.mmu);
	struct sync *s = &the_sync;
	struct table_walk w = { add_guest_leaf, add_table, s };

	if (!fake_guest_tlb[vmid])
		fake_guest_tlb[vmid] = calloc(NR_SLOTS, sizeof(struct fake_tlb));
	memset(s->now, 0, sizeof(s->now));
	s->pgt = &vm->pgt;
	s->tables = &guest_tables[vmid];
	sync_tables(s, "a guest");
	table_walk(s->pgt, &w);
	for (size_t i = 0; i < NR_SLOTS; i++)
		sync_one(&fake_guest_tlb[vmid][i], s->now[i], "a guest",
			 slot_gfn(i) * PAGE_SIZE, vm->kvm.arch.pkvm.enabled);
}

/**
 * fake_tlb_sync() - At the end of a step: let the TLBs learn, and find what is stale.
 */
void fake_tlb_sync(void)
{
	check(!nr_held[fake_cpu]);
	sync_host();
	for (unsigned int idx = 0; idx < KVM_MAX_PVMS; idx++) {
		struct pkvm_hyp_vm *vm = vm_by_idx(idx);

		if (vm)
			sync_guest(vm);
	}
	for (size_t i = 0; i < NR_PAGES; i++) {
		if (el2_tlb[i] && !el2_table_maps(page_phys(i)))
			die("EL2's TLBs still have %#lx", page_phys(i));
	}
}

/**
 * fake_vm_died() - A VMID is free: no TLB may know it.
 * @vmid: the VMID.
 */
void fake_vm_died(u64 vmid)
{
	for (size_t i = 0; fake_guest_tlb[vmid] && i < NR_SLOTS; i++) {
		if (fake_guest_tlb[vmid][i].pfn)
			die("a TLB still has an entry of the dead VMID %lu", vmid);
	}
	if (guest_tables[vmid].nr)
		die("a walker still has tables of the dead VMID %lu", vmid);
}

static phys_addr_t fixmap[FAKE_CPUS];
static bool fixmap_is_guests[FAKE_CPUS];
static u8 fixmap_was[FAKE_CPUS][PAGE_SIZE];

/* Somebody writes to or cleans a page on its way: who else can reach it? */
static void check_alone(phys_addr_t phys)
{
	struct fake_tlb *host = &fake_host_tlb[page_index(phys)];
	u64 pfn = phys / PAGE_SIZE;

	if (host->pfn && lookup_tlb(&host_mmu.pgt, phys).pfn != host->pfn)
		die("%#lx is worked on while a TLB has it for the host", phys);
	if (host->pfn && fake_donating)
		die("%#lx is worked on for a guest while the host can write to it", phys);
	if (!guest_refs[page_index(phys)])
		return;
	for (unsigned int idx = 0; idx < KVM_MAX_PVMS; idx++) {
		struct fake_tlb *tlb = fake_guest_tlb[idx + 1];
		struct pkvm_hyp_vm *vm;

		if (!tlb)
			continue;
		for (size_t i = 0; i < NR_SLOTS; i++) {
			if (tlb[i].pfn != pfn + 1)
				continue;
			vm = vm_by_idx(idx);
			if (!vm || lookup_tlb(&vm->pgt, slot_gfn(i) * PAGE_SIZE).pfn != pfn + 1)
				die("%#lx is worked on while a TLB has it for a guest", phys);
			/* Of a protected guest, it may be cleaned, but not changed. */
			if (vm->kvm.arch.pkvm.enabled) {
				memcpy(fixmap_was[fake_cpu], host_ptr(phys), PAGE_SIZE);
				fixmap_is_guests[fake_cpu] = true;
			}
		}
	}
}

void *hyp_fixmap_map(phys_addr_t phys)
{
	void *va = (void *)(FIXMAP_VIEW + phys);

	if (fixmap[fake_cpu])
		die("the fixmap of this CPU is in use");
	if (!page_is_memory(phys) || !PAGE_ALIGNED(phys))
		die("the fixmap shows %#lx", phys);
	check_alone(phys);
	fixmap[fake_cpu] = phys;
	__asan_unpoison_memory_region(va, PAGE_SIZE);

	return va;
}

void hyp_fixmap_unmap(void)
{
	if (!fixmap[fake_cpu])
		die("the fixmap of this CPU is not in use");
	if (fixmap_is_guests[fake_cpu] &&
	    memcmp(fixmap_was[fake_cpu], host_ptr(fixmap[fake_cpu]), PAGE_SIZE))
		die("%#lx is changed while a TLB has it for a guest", fixmap[fake_cpu]);
	fixmap_is_guests[fake_cpu] = false;
	__asan_poison_memory_region((void *)(FIXMAP_VIEW + fixmap[fake_cpu]), PAGE_SIZE);
	fixmap[fake_cpu] = 0;
}

/* --- what mm.c, setup.c, guest_regs.c, ordinary_regs.c and guest_hvc.c do */

int pkvm_create_mappings_locked(void *from, void *to, enum kvm_pgtable_prot prot)
{
	unsigned long va = (unsigned long)from & PAGE_MASK, end = PAGE_ALIGN((unsigned long)to);

	hyp_assert_lock_held(&pkvm_pgd_lock);
	for (; va < end; va += PAGE_SIZE) {
		phys_addr_t phys = va - EL2_VIEW;
		struct fake_tlb *host;
		int ret;

		check(page_index(phys) >= 0);
		host = &fake_host_tlb[page_index(phys)];
		if (pkvm_getstate(prot) == PKVM_PAGE_OWNED && host->pfn)
			die("EL2 takes %#lx while a TLB has it for the host", phys);
		ret = kvm_pgtable_hyp_map(&pkvm_pgtable, va, PAGE_SIZE, phys, prot);
		if (ret)
			return ret;
		el2_tlb[page_index(phys)] = true;
		__asan_unpoison_memory_region((void *)va, PAGE_SIZE);
	}

	return 0;
}

static int set_up_vcpu(struct pkvm_hyp_vcpu *hyp_vcpu)
{
	check(!hyp_vcpu->vcpu.arch.fake_set_up);
	if (fake_init_vcpu_ret)
		return fake_init_vcpu_ret;
	hyp_vcpu->vcpu.arch.fake_set_up = true;
	hyp_vcpu->vcpu.arch.fake_mpidr = fake_mpidr(hyp_vcpu->vcpu.vcpu_idx);
	fake_live_vcpus++;

	return 0;
}

int pkvm_init_protected_vcpu(struct pkvm_hyp_vcpu *hyp_vcpu,
			     const struct kvm_vcpu *host_vcpu)
{
	int ret = set_up_vcpu(hyp_vcpu);

	check(hyp_vcpu->vcpu.kvm->arch.pkvm.enabled);
	if (!ret)
		pkvm_init_power_state(hyp_vcpu, !hyp_vcpu->vcpu.vcpu_idx);

	return ret;
}

void pkvm_init_ordinary_vm(struct pkvm_hyp_vm *hyp_vm, struct kvm *host_kvm)
{
	check(!hyp_vm->kvm.arch.pkvm.enabled && hyp_vm->host_kvm == host_kvm);
}

int pkvm_init_ordinary_vcpu(struct pkvm_hyp_vcpu *hyp_vcpu)
{
	check(!hyp_vcpu->vcpu.kvm->arch.pkvm.enabled);

	return set_up_vcpu(hyp_vcpu);
}

/* As guest_regs.c has nothing to let go of, it is called for each vCPU. */
void pkvm_destroy_ordinary_vcpu(struct pkvm_hyp_vcpu *hyp_vcpu)
{
	check(hyp_vcpu->vcpu.arch.fake_set_up);
	hyp_vcpu->vcpu.arch.fake_set_up = false;
	fake_live_vcpus--;
}

void pkvm_init_cpu(void)
{
	pkvm_init_monitors();
	fake_monitors[fake_cpu].sme_barred = true;
}

void pkvm_reset_protected_vcpu(struct pkvm_hyp_vcpu *hyp_vcpu, u64 pc, u64 x0, bool be)
{
	memset(&hyp_vcpu->vcpu.arch.ctxt, 0, sizeof(hyp_vcpu->vcpu.arch.ctxt));
	*vcpu_pc(&hyp_vcpu->vcpu) = pc;
	vcpu_set_reg(&hyp_vcpu->vcpu, 0, x0);
	*vcpu_cpsr(&hyp_vcpu->vcpu) = be;
	hyp_vcpu->exit_code = ARM_EXCEPTION_IRQ;
	fake_count.resets++;
}

u64 fake_id_aa64isar0_el1(void)
{
	return FIELD_PREP(ID_AA64ISAR0_EL1_RNDR_MASK, fake_rndr.there);
}

bool fake_rndrrs(unsigned long *v)
{
	if (fake_rndr.dry) {
		fake_rndr.dry--;
		/* What it leaves there then is no secret. */
		*v = 0;
		return false;
	}
	*v = fake_rndr.next;
	fake_rndr.next = ~fake_rndr.next * 3;

	return true;
}

u64 pkvm_vcpu_affinity(const struct pkvm_hyp_vcpu *hyp_vcpu)
{
	return hyp_vcpu->vcpu.arch.fake_mpidr & MPIDR_HWID_BITMASK;
}

/**
 * fake_mpidr() - The affinity of a vCPU, or of a CPU.
 * @id: its number.
 *
 * Return: MPIDR_EL1, all of whose fields are in use from number 1 on.
 */
u64 fake_mpidr(unsigned int id)
{
	return BIT(31) | (id & 1) | (id & 2) << 7 | (id & 2) << 15 | (u64)(id & 3) << 32;
}

/* Only where these are is of interest. */
void kvm_hyp_cpu_entry(unsigned long r0)
{
	die("a CPU starts here, with %#lx", r0);
}

void kvm_hyp_cpu_resume(unsigned long r0)
{
	die("a CPU resumes here, with %#lx", r0);
}

void __noreturn __host_enter(struct kvm_cpu_context *host_ctxt)
{
	check(fake_host_enter);
	fake_host_enter(host_ctxt);
	die("the host has returned to EL2");
}

u64 cpu_logical_map(unsigned int cpu)
{
	check(cpu < FAKE_CPUS);

	return fake_mpidr(cpu) & MPIDR_HWID_BITMASK;
}

u64 fake_isr_el1(void)
{
	return fake_irq_after && !--fake_irq_after;
}

/**
 * fake_el1_reg() - A system register of EL1 of the CPU that runs.
 * @reg: which.
 *
 * Return: where its value is. A register that may be EL3's is the end, as it would be
 * at EL2.
 */
u64 *fake_el1_reg(enum fake_sysreg reg)
{
	struct fake_monitors *monitors = &fake_monitors[fake_cpu];

	check(reg != SYS_PMSCR || monitors->dfr0 & ID_AA64DFR0_EL1_PMSVer_MASK);
	/* As long as accesses of the host trap, it may be EL3's. */
	check(reg != SYS_TRFCR || (monitors->dfr0 & ID_AA64DFR0_EL1_TraceFilt_MASK &&
				   !(monitors->mdcr & MDCR_EL2_TTRF)));

	return &fake_el1[reg];
}

/**
 * fake_sysreg() - A system register of the CPU that runs.
 * @reg: its number.
 *
 * Return: where its value is. A register that this CPU does not have is the end, as it
 * would be at EL2.
 */
u64 *fake_sysreg(u32 reg)
{
	struct fake_monitors *monitors = &fake_monitors[fake_cpu];
	struct fake_mpam *mpam = &fake_mpam[fake_cpu];

	if (reg == SYS_ID_AA64DFR0_EL1)
		return &monitors->dfr0;
	if (reg == SYS_MDCR_EL2)
		return &monitors->mdcr;
	if (reg == SYS_PMCR_EL0) {
		check(monitors->dfr0 & ID_AA64DFR0_EL1_PMUVer_MASK);
		return &monitors->pmcr;
	}
	if (reg == SYS_PMBIDR_EL1 || reg == SYS_PMBLIMITR_EL1) {
		check(monitors->dfr0 & ID_AA64DFR0_EL1_PMSVer_MASK);
		if (reg == SYS_PMBIDR_EL1)
			return &monitors->pmbidr;
		check(!(monitors->pmbidr & PMBIDR_EL1_P));
		return &monitors->pmblimitr;
	}
	if (reg == SYS_TRBIDR_EL1 || reg == SYS_TRBLIMITR_EL1) {
		check(monitors->dfr0 & ID_AA64DFR0_EL1_TraceBuffer_MASK);
		if (reg == SYS_TRBIDR_EL1)
			return &monitors->trbidr;
		check(!(monitors->trbidr & TRBIDR_EL1_P));
		return &monitors->trblimitr;
	}
	if (reg == SYS_ID_AA64PFR0_EL1)
		return &mpam->pfr0;
	if (reg == SYS_ID_AA64PFR1_EL1)
		return &mpam->pfr1;
	check(mpam->pfr0 || mpam->pfr1);
	if (reg == sys_reg(3, 0, 10, 4, 4))
		return &mpam->idr;
	if (reg == SYS_MPAM2_EL2)
		return &mpam->mpam2;
	check(reg == SYS_MPAMHCR_EL2 && mpam->idr & BIT(17));

	return &mpam->mpamhcr;
}

/* PSB CSYNC: nothing new is made, and the unit can still write. */
void fake_drain_samples(void)
{
	struct fake_monitors *monitors = &fake_monitors[fake_cpu];

	check(!fake_el1[SYS_PMSCR] && monitors->pmblimitr & PMBLIMITR_EL1_E);
	monitors->samples_drained++;
}

/* TSB CSYNC, the same. */
void fake_drain_trace(void)
{
	struct fake_monitors *monitors = &fake_monitors[fake_cpu];

	check((monitors->mdcr & MDCR_EL2_TTRF || !fake_el1[SYS_TRFCR]) &&
	      monitors->trblimitr & TRBLIMITR_EL1_E);
	monitors->trace_drained++;
}

static void *hyp_zalloc(void *arg)
{
	return hyp_alloc_pages(&hpool, 0);
}

static void hyp_get(void *addr)
{
	hyp_get_page(&hpool, addr);
}

static void hyp_put(void *addr)
{
	hyp_put_page(&hpool, addr);
}

static phys_addr_t boot_pool(phys_addr_t *next, unsigned long pages)
{
	phys_addr_t phys = *next;

	*next = ALIGN(phys + pages * PAGE_SIZE, SZ_64K);
	check(*next < HOST_MEM);

	return phys;
}

/**
 * fake_boot() - Start the machine, and EL2 on it, as setup.c would.
 * @features: what its CPUs can do.
 */
void fake_boot(const struct fake_features *features)
{
	static const u8 parange[] = { [40] = 2, [42] = 3, [44] = 4, [48] = 5, [52] = 6 };
	phys_addr_t next = MEM0, s1, s2, phys;

	kvm_protected_mode_initialized = false;
	fake_features = *features;
	id_aa64mmfr0_el1_sys_val = parange[features->pa_bits];
	fake_cpu = 0;
	fake_irq_after = 0;
	fake_init_vcpu_ret = 0;
	fake_live_vcpus = 0;
	fake_donating = false;
	fake_rndr = (struct fake_rndr) { 0 };
	memset(&fake_count, 0, sizeof(fake_count));
	memset(fake_host_tlb, 0, sizeof(fake_host_tlb));
	memset(&host_tables, 0, sizeof(host_tables));
	memset(guest_tables, 0, sizeof(guest_tables));
	memset(el2_tlb, 0, sizeof(el2_tlb));
	memset(guest_refs, 0, sizeof(guest_refs));
	memset(fixmap, 0, sizeof(fixmap));
	for (int i = 0; i < NR_VMIDS; i++) {
		free(fake_guest_tlb[i]);
		fake_guest_tlb[i] = NULL;
	}

	map_memory();
	clear_memory();
	__hyp_vmemmap = VMEMMAP_VIEW;
	memcpy(hyp_memory, regions, sizeof(regions));
	hyp_memblock_nr = NR_REGIONS;
	memset(&host_mmu, 0, sizeof(host_mmu));
	memset(&pkvm_pgtable, 0, sizeof(pkvm_pgtable));

	__asan_unpoison_memory_region(el2_ptr(MEM0), EL2_SIZE);
	s1 = boot_pool(&next, hyp_s1_pgtable_pages());
	s2 = boot_pool(&next, host_s2_pgtable_pages());
	phys = boot_pool(&next, hyp_vm_table_pages());
	vm_table = phys;
	fake_s1_pool = s1;
	fake_s2_pool = s2;

	hyp_ops = (struct kvm_pgtable_mm_ops) {
		.zalloc_page	= hyp_zalloc,
		.phys_to_virt	= hyp_phys_to_virt,
		.virt_to_phys	= hyp_virt_to_phys,
		.get_page	= hyp_get,
		.put_page	= hyp_put,
		.page_count	= hyp_page_count,
	};
	check(!hyp_pool_init(&hpool, s1 / PAGE_SIZE, hyp_s1_pgtable_pages(), 0));
	check(!kvm_pgtable_hyp_init(&pkvm_pgtable, 48, &hyp_ops));
	hyp_spin_lock_init(&pkvm_pgd_lock);
	hyp_spin_lock(&pkvm_pgd_lock);
	check(!pkvm_create_mappings_locked(el2_ptr(MEM0), el2_ptr(HOST_MEM), PAGE_HYP));
	hyp_spin_unlock(&pkvm_pgd_lock);

	fake_ffa_pages = el2_ptr(boot_pool(&next, hyp_ffa_proxy_pages()));
	check(!kvm_host_prepare_stage2(el2_ptr(s2)));
	hyp_spin_lock(&host_mmu.lock);
	check(!host_stage2_set_owner_locked(MEM0, EL2_SIZE, PKVM_ID_HYP));
	hyp_spin_unlock(&host_mmu.lock);
	pkvm_hyp_vm_table_init(el2_ptr(phys));
	for (int i = 0; i < FAKE_CPUS; i++)
		kvm_init_params[i].hcr_el2 |= HCR_VM;
	kvm_protected_mode_initialized = true;
	spmc_boot();
	check(!hyp_ffa_init(fake_ffa_pages));
	fake_now++;
	fake_tlb_sync();
}

/**
 * fake_step() - A step begins.
 */
void fake_step(void)
{
	fake_now++;
}
