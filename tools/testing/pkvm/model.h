/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * An abstract model of ownership: who owns each page, who borrows it, and what each
 * guest has at each address. model.c compares it with everything that EL2 holds;
 * ops.c makes each call and says beforehand what must come of it.
 */
#ifndef __PKVM_TEST_MODEL_H
#define __PKVM_TEST_MODEL_H

#include "fake.h"

#define MODEL_VMS	KVM_MAX_PVMS
#define MODEL_VCPUS	4

enum owner {
	OWNER_HOST,
	OWNER_EL2,
	OWNER_GUEST,
	/* Since the start, and for ever. */
	OWNER_STATIC,
};

/**
 * struct mpage - A page of memory.
 * @owner: whose it is.
 * @vm: the VM, if a guest's.
 * @gfn: where that guest has it.
 * @lent: does that guest share it with the host?
 * @shared: does the host share it with EL2?
 * @ffa: does the host share it with the secure world?
 * @loose: does EL2 own it for no purpose?
 * @pins: how often EL2 holds on to a page that is shared with it.
 * @maps: how often ordinary guests map the page.
 * @blocks: how often they map the block that begins here.
 */
struct mpage {
	enum owner owner;
	u8 vm;
	u64 gfn;
	bool lent, shared, ffa, loose;
	u32 pins, maps, blocks;
};

enum slot_kind {
	SLOT_NONE,
	SLOT_PAGE,
	SLOT_BLOCK,
	SLOT_POISON,
	SLOT_MMIO,
};

/**
 * struct mslot - What a guest has at an address.
 * @kind: what it is.
 * @phys: the page.
 * @prot: KVM_PGTABLE_PROT_*.
 * @young: has the guest used it?
 * @shared: does a protected guest share it with the host?
 */
struct mslot {
	enum slot_kind kind;
	u64 phys;
	u64 prot;
	bool young, shared;
};

struct mvcpu {
	phys_addr_t phys, host;
	unsigned int mc;
	int cpu;		/* that has it loaded, or -1 */
	u64 unsharing;		/* the page that it waits for, plus one; or 0 */
};

struct mvm {
	bool used, protected, dying, mmio_guard;
	unsigned int created, nr_vcpus;
	phys_addr_t vm, host;
	struct mvcpu vcpu[MODEL_VCPUS];
	struct mslot *slots;
	struct pkvm_guest_ram ram;
	u64 nr_pages;
};

struct model {
	struct mpage page[NR_PAGES];
	struct mvm vm[MODEL_VMS];
	/* VM index and vCPU that each CPU has loaded; -1 for none. */
	int loaded_vm[FAKE_CPUS], loaded_vcpu[FAKE_CPUS];
};

extern struct model m;

/* model.c */
void model_boot(const struct fake_features *features);
void model_check(void);
struct mpage *mpage(phys_addr_t phys);
bool model_is_ram(const struct mvm *vm, u64 gfn, u64 nr);
bool model_owned(u64 phys, u64 nr, bool *memory);
bool model_alone(u64 phys, u64 nr);
int model_missing(struct mvm *vm, u64 ipa, u64 nr, bool block);
void page_write(phys_addr_t phys);

/* ops.c: each returns what the call returned, after all was compared */
#define VM_SIZE		PAGE_ALIGN(sizeof(struct pkvm_hyp_vm) + MODEL_VCPUS * 8)
#define VCPU_SIZE	PAGE_ALIGN(sizeof(struct pkvm_hyp_vcpu))

unsigned long pgd_size(void);
struct pkvm_hyp_vcpu *loaded_vcpu(void);
struct kvm_hyp_memcache *host_mc(void);

long op_host_touch(u64 addr);
long op_share_hyp(u64 pfn);
long op_unshare_hyp(u64 pfn);
long op_donate_hyp(u64 pfn, u64 nr);
long op_hyp_donate_host(u64 pfn, u64 nr);
long op_share_ffa(u64 pfn, u64 nr);
long op_unshare_ffa(u64 pfn, u64 nr);
long op_pin(u64 phys, u64 size);
void op_unpin(u64 phys, u64 size);

long op_init_vm(u64 host, u64 vm, u64 pgd, unsigned int nr_vcpus, bool protected,
		const struct pkvm_guest_ram *ram);
long op_init_vcpu(unsigned int handle, u64 host, u64 vcpu, unsigned int idx);
long op_load(unsigned int handle, unsigned int vcpu);
void op_put(void);
long op_start_teardown(unsigned int handle);
long op_finalize(unsigned int handle);
void op_topup(phys_addr_t *pages, unsigned int nr);

long op_donate_guest(u64 pfn, u64 gfn, u64 nr);
long op_guest_share(u64 ipa);
long op_guest_unshare(u64 ipa);
long op_reclaim(unsigned int handle, u64 pfn, u64 gfn, u64 nr);
long op_can_access(u64 pfn);
long op_force_reclaim(u64 pfn);
long op_mmio_map(u64 ipa);
long op_mmio_unmap(u64 ipa);
bool op_mmio_allowed(u64 ipa);

long op_share_guest(u64 pfn, u64 gfn, u64 nr, u64 prot);
long op_relax(u64 gfn, u64 nr, u64 prot);
long op_stage2(unsigned int handle, u32 op, u64 gfn, u64 nr);

/* main-fuzz.c, for libFuzzer */
int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

#endif /* __PKVM_TEST_MODEL_H */
