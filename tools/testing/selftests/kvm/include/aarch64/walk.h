/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A random walk through the calls to EL2, and the model of ownership that goes with it:
 * who owns each page, who borrows it, and what each guest has at each address (I1).
 *
 * walk_model.c owns the model and compares it with the tables of EL2; walk_ops.c makes
 * the calls, and says beforehand what must come of each. A walk is one thread's, with
 * pages and VMs of its own, so that all is foreseen however many walks there are.
 */
#ifndef SELFTEST_KVM_ARM64_WALK_H
#define SELFTEST_KVM_ARM64_WALK_H

#include <stdbool.h>
#include <stdint.h>

#include "hostile.h"

#include "../../test_modules/kvm_el2_dump.h"

#define WALK_PAGE	4096ul
#define WALK_BLOCK	512
#define WALK_PAGES	(2 * WALK_BLOCK)
#define WALK_VMS	4
#define WALK_VCPUS	2
#define WALK_CPUS	8
/* Guest frames that the model knows: as many as the pages, and some devices. */
#define WALK_GFN	(PKVM_HOLE_IPA / WALK_PAGE)
#define WALK_DEV_GFN	((PKVM_DEV_IPA + 0x100000) / WALK_PAGE)
#define WALK_DEVS	4
/* Pages that all walks fight for, and where each VM has them. */
#define WALK_COMMON	8
#define WALK_COMMON_GFN	(WALK_GFN + 0x1000)
#define WALK_RECORD	24

/**
 * struct wpage - A page of the walk's.
 * @guest: it is a guest's, not the host's.
 * @vm: which VM's of the walk.
 * @rel: at which frame of the model's.
 * @lent: the guest shares it with the host.
 * @el2: the host shares it with EL2.
 * @maps: how often ordinary guests map it, by itself.
 * @val: its first word.
 */
struct wpage {
	bool guest, lent, el2;
	unsigned int vm, rel, maps;
	uint64_t val;
};

enum wkind { W_NONE, W_LEAF, W_BLOCK, W_POISON };

/**
 * struct wslot - What a guest has at a frame.
 * @kind: what it is; of a block, all of its frames say so.
 * @young: the guest may use it at once.
 * @lent: a protected guest shares it with the host.
 * @memory: it is a page of the walk's, and not of a device.
 * @prot: KHH_R, W, X, DEV, NC.
 * @pfn: the page.
 */
struct wslot {
	enum wkind kind;
	bool young, lent, memory;
	uint64_t prot, pfn;
};

struct wvm {
	struct pkvm_vm *vm;
	bool protected, dying;
	uint32_t handle;
	uint64_t ipa_pages;
	uint64_t pinned;		/* a page that the host shares and EL2 holds */
	int cpu[WALK_VCPUS];		/* that has the vCPU loaded, or -1 */
	struct wslot slot[WALK_PAGES];
	bool device[WALK_DEVS];
	unsigned int next_common;	/* of protected VMs: each frame is used once */
};

struct wloaded {
	int vm, vcpu;			/* vm is -1 for none */
};

struct walk {
	uint64_t seed, drawn;
	int cpu;			/* the thread's */
	unsigned int nr_cpus;		/* that it may use: from cpu on */
	bool alone;			/* there is no other walk */
	uint64_t first;			/* pfn of its first page */
	uint64_t el2, hole;		/* a page of EL2's, and of nothing */
	uint64_t common;		/* pfn, or 0 */
	uint32_t stale;			/* a handle that was good once, or 0 */
	struct wpage page[WALK_PAGES];
	unsigned int blocks[2];		/* how often guests map each block as one */
	struct wvm vm[WALK_VMS];
	struct wloaded loaded[WALK_CPUS];
	uint64_t steps, done, refused, guest, vms;
	char record[WALK_RECORD][160];
	unsigned int at;
};

extern int ked_dev;

/* walk_model.c */
const char *walk_unavailable(void);
void walk_close(void);
void walk_count(uint64_t pages[KED_NR_OWNERS]);
uint64_t walk_find_el2(void);
uint64_t walk_find_hole(void);
void walk_dump(struct ked_page *p, unsigned int nr);
const char *walk_difference(const struct walk *w, bool all);
const char *walk_common_wrong(struct walk **w, unsigned int nr);
struct wpage *walk_page(struct walk *w, uint64_t pfn);
bool walk_owned(struct walk *w, uint64_t pfn, uint64_t nr, bool *memory);
bool walk_alone(struct walk *w, uint64_t pfn, uint64_t nr);
void walk_unshare(struct walk *w, struct wvm *vm, unsigned int rel);

/* walk_ops.c */
void walk_begin(struct walk *w);
void walk_step(struct walk *w);
void walk_check(struct walk *w, bool all);
void walk_end(struct walk *w);

#endif /* SELFTEST_KVM_ARM64_WALK_H */
