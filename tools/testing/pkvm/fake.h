/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The machine that the code of EL2 runs on here: memory, TLBs, CPUs. Implemented
 * in fake.c; what it pretends to be towards that code is in fake/.
 */
#ifndef __PKVM_TEST_FAKE_H
#define __PKVM_TEST_FAKE_H

#include <stdio.h>
#include <stdlib.h>

#include <linux/kvm_host.h>

#include <asm/kvm_emulate.h>
#include <asm/kvm_hyp.h>
#include <asm/kvm_mmu.h>
#include <asm/kvm_pgtable.h>
#include <asm/kvm_pkvm.h>

#include <nvhe/gfp.h>
#include <nvhe/guest_ram.h>
#include <nvhe/guest_share.h>
#include <nvhe/guest_stage2.h>
#include <nvhe/mem_protect.h>
#include <nvhe/memory.h>
#include <nvhe/mm.h>
#include <nvhe/ownership.h>
#include <nvhe/pkvm.h>
#include <nvhe/vm_table.h>

/*
 * The physical address space. EL2's own memory begins the first range. The second
 * range begins in the middle of a block and of a page of the vmemmap, and is followed
 * by memory that nobody maps; the third one crosses what one table of level 2 spans.
 */
#define MEM0		0x40000000UL
#define MEM0_SIZE	0x01200000UL
#define EL2_SIZE	0x00800000UL
#define MEM1		0x43101000UL
#define MEM1_SIZE	0x0017f000UL
#define NOMAP		(MEM1 + MEM1_SIZE)
#define NOMAP_SIZE	0x00010000UL
#define MEM2		0x7fe00000UL
#define MEM2_SIZE	0x00400000UL
#define MEM_END		(MEM2 + MEM2_SIZE)
#define DEVICE		0x09000000UL
#define HOST_MEM	(MEM0 + EL2_SIZE)

#define NR_PAGES	((MEM0_SIZE + MEM1_SIZE + NOMAP_SIZE + MEM2_SIZE) / PAGE_SIZE)

/* Where EL2 sees memory, the host does, and a page is seen for a moment. */
#define EL2_VIEW	0x200000000000UL
#define HOST_VIEW	0x210000000000UL
#define FIXMAP_VIEW	0x220000000000UL
#define VMEMMAP_VIEW	0x230000000000UL

/* Guest addresses that the tests use: each two blocks and more long. */
#define WINDOW_PAGES	(2 * PTRS_PER_PTE)
#define NR_WINDOWS	3
#define NR_SLOTS	(NR_WINDOWS * WINDOW_PAGES)
#define NR_VMIDS	256

/**
 * struct fake_tlb - What some TLB of the machine may hold for a page.
 * @pfn: of the page, or of what the entry maps there; plus one, 0 for nothing.
 * @level: of the entry.
 * @writable: is it?
 */
struct fake_tlb {
	u64 pfn;
	s8 level;
	bool writable;
};

/* A table that a walker of the machine may have remembered. */
#define MAX_TABLES	256
struct fake_tables {
	unsigned int nr;
	struct {
		phys_addr_t phys;
		u64 ia;
		s8 level;
	} t[MAX_TABLES];
};

extern struct fake_tlb fake_host_tlb[NR_PAGES];
extern struct fake_tlb *fake_guest_tlb[NR_VMIDS];

/*
 * When each page was cleaned to the point of coherency, all zero or not, and while the
 * host could not reach it.
 */
extern u64 fake_now;
extern u64 fake_cleaned[NR_PAGES], fake_cleared[NR_PAGES], fake_icache[NR_PAGES];
extern u64 fake_synced[NR_PAGES];

/* How often the TLBs were told what, and a vCPU was reset. */
extern struct fake_count {
	unsigned int ipa, ipa_nsh, vmid, range, cpu_context, hyp, resets;
} fake_count;

/* An interrupt comes when EL2 looks for the n-th time; 0 for never. */
extern unsigned int fake_irq_after;
/* What pkvm_init_protected_vcpu() and pkvm_init_ordinary_vcpu() say. */
extern int fake_init_vcpu_ret;
/* vCPUs whose registers are set up. */
extern unsigned int fake_live_vcpus;
/* What another CPU does once, as soon as this one drops vm_table_lock. */
extern void (*fake_other_cpu)(void);
/* The pages that leave the host in this step: it may not be able to write then. */
extern bool fake_donating;
extern struct kvm_vcpu_fault_info fake_fault;
/* The memory that EL2 makes its own table and the host's from. */
extern phys_addr_t fake_s1_pool, fake_s2_pool;
/* FEAT_MPAM of each CPU: its version, MPAMIDR_EL1 and what EL2 has set. */
extern struct fake_mpam {
	u64 pfr0, pfr1, idr;
	u64 mpam2, mpamhcr;
} fake_mpam[FAKE_CPUS];
/* A CPU's entropy source: is there one, how often it says no first, what comes then. */
extern struct fake_rndr {
	bool there;
	unsigned int dry;
	unsigned long next;
} fake_rndr;
/* What each CPU has that sees what runs there. */
extern struct fake_monitors {
	u64 dfr0, pmcr, mdcr;
	u64 pmbidr, pmblimitr, trbidr, trblimitr;
	/* How often what they have was written while they were on, and made nothing new. */
	unsigned int samples_drained, trace_drained;
	bool sme_barred;
} fake_monitors[FAKE_CPUS];
/* What the proxy of FF-A has for its buffers. */
extern void *fake_ffa_pages;

/* What begins when EL2 leaves to the host other than by a return. */
extern void (*fake_host_enter)(struct kvm_cpu_context *host_ctxt);

/* What psci-relay.c calls, and its own. */
void kvm_hyp_cpu_entry(unsigned long r0);
void kvm_hyp_cpu_resume(unsigned long r0);
void __noreturn __host_enter(struct kvm_cpu_context *host_ctxt);
bool kvm_host_psci_handler(struct kvm_cpu_context *host_ctxt, u32 func_id);
void __noreturn __kvm_host_psci_cpu_entry(bool is_cpu_on);

/* Says where a run is, for fake_die(). */
extern void (*fake_where)(void);

void fake_boot(const struct fake_features *features);
void fake_step(void);
void fake_tlb_sync(void);
void fake_vm_died(u64 vmid);
bool fake_el2_maps(phys_addr_t phys);
int fake_locks_held(unsigned int cpu);
u64 fake_mpidr(unsigned int id);
const char *fake_lock_ranks(const char *header);

int page_index(phys_addr_t phys);
phys_addr_t page_phys(int index);
bool page_is_memory(phys_addr_t phys);
u64 window_gfn(int window);
int gfn_slot(u64 gfn);
u64 slot_gfn(int slot);

static inline void *host_ptr(phys_addr_t phys)
{
	return (void *)(HOST_VIEW + phys);
}

static inline void *el2_ptr(phys_addr_t phys)
{
	return (void *)(EL2_VIEW + phys);
}

#define die(...)	fake_die(__FILE__, __LINE__, __VA_ARGS__)
#define check(c)							\
do {									\
	if (!(c))							\
		die("%s", #c);						\
} while (0)

/* tables.c: another reading of the tables, to check the first by */

/**
 * struct table_walk - What to do with a table.
 * @leaf: for each entry that is not zero and not a table.
 * @table: for each table.
 * @arg: theirs.
 */
struct table_walk {
	void (*leaf)(struct table_walk *w, u64 ia, u64 pte, int level);
	void (*table)(struct table_walk *w, phys_addr_t phys, u64 ia, int level,
		      unsigned int used);
	void *arg;
};

bool entry_is_table(u64 pte, int level);
u64 entry_phys(u64 pte);
u64 level_size(int level);
u64 table_lookup(const struct kvm_pgtable *pgt, u64 ia, int *level);
unsigned int table_path(const struct kvm_pgtable *pgt, u64 ia, phys_addr_t path[5]);
void table_walk(const struct kvm_pgtable *pgt, struct table_walk *w);

#endif /* __PKVM_TEST_FAKE_H */
