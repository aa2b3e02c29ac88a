// SPDX-License-Identifier: GPL-2.0-only
/*
 * What EL2's tables say, in debugfs (CONFIG_NVHE_EL2_DEBUG and
 * CONFIG_PTDUMP_STAGE2_DEBUGFS).
 *
 * Owns how the host reads the tables that it does not have, one entry after the other
 * (asm/pkvm_dump.h), and how it shows them: those of a VM in protected mode in that VM's
 * stage2_page_tables, who owns which memory in kvm/pkvm_page_ownership, and how much of
 * EL2's own is in use in kvm/pkvm_el2_pages. Nothing stops while it is read: each entry
 * is true, but not all at one time.
 */

#include <linux/arm-smccc.h>
#include <linux/debugfs.h>
#include <linux/init.h>
#include <linux/kvm_host.h>
#include <linux/memblock.h>
#include <linux/sched.h>
#include <linux/seq_file.h>

#include <asm/kvm_asm.h>
#include <asm/kvm_mmu.h>
#include <asm/kvm_pgtable.h>
#include <asm/kvm_pkvm.h>
#include <asm/pkvm_dump.h>
#include <asm/ptdump.h>

/* An entry, and what it decides about. */
struct entry {
	u64 pte;
	s8 level;
	u64 note;
	u64 end;	/* address behind the last one */
};

static int dump(unsigned long call, u64 arg1, u64 arg2, u64 addr, struct entry *e)
{
	struct arm_smccc_res res;
	u64 size;

	arm_smccc_1_1_hvc(call, arg1, arg2, &res);
	if (res.a0 != SMCCC_RET_SUCCESS)
		return -EOPNOTSUPP;
	if (res.a1)
		return res.a1;

	e->pte = res.a2;
	e->note = res.a3;
	e->level = FIELD_GET(PKVM_DUMP_LEVEL, e->note);
	size = kvm_granule_size(e->level);
	e->end = ALIGN_DOWN(addr, size) + size;

	return 0;
}

static int dump_guest(pkvm_handle_t handle, u64 ipa, struct entry *e)
{
	return dump(KVM_HOST_SMCCC_FUNC(__pkvm_dump_guest_page), handle, ipa >> PAGE_SHIFT,
		    ipa, e);
}

static int dump_host(u64 phys, struct entry *e)
{
	return dump(KVM_HOST_SMCCC_FUNC(__pkvm_dump_host_page), phys >> PAGE_SHIFT, 0,
		    phys, e);
}

static int dump_hyp(u64 phys, struct entry *e)
{
	return dump(KVM_HOST_SMCCC_FUNC(__pkvm_dump_hyp_page), phys >> PAGE_SHIFT, 0, phys, e);
}

/* ------------------------------------------------------------- a guest's table */

#define STATE		(PTE_VALID | PKVM_DUMP_SHARED | PKVM_DUMP_BORROWED)
#define NOT_MAPPED(id)	FIELD_PREP_CONST(KVM_INVALID_PTE_OWNER_MASK, id)

static const struct ptdump_prot_bits guest_bits[] = {
	{
		.mask	= PTE_VALID,
		.val	= PTE_VALID,
		.set	= " ",
		.clear	= "F",
	}, {
		.mask	= KVM_PTE_LEAF_ATTR_LO_S2_S2AP_R | PTE_VALID,
		.val	= KVM_PTE_LEAF_ATTR_LO_S2_S2AP_R | PTE_VALID,
		.set	= "R",
		.clear	= " ",
	}, {
		.mask	= KVM_PTE_LEAF_ATTR_LO_S2_S2AP_W | PTE_VALID,
		.val	= KVM_PTE_LEAF_ATTR_LO_S2_S2AP_W | PTE_VALID,
		.set	= "W",
		.clear	= " ",
	}, {
		.mask	= KVM_PTE_LEAF_ATTR_HI_S2_XN | PTE_VALID,
		.val	= PTE_VALID,
		.set	= "X",
		.clear	= " ",
	}, {
		.mask	= KVM_PTE_LEAF_ATTR_LO_S2_AF | PTE_VALID,
		.val	= KVM_PTE_LEAF_ATTR_LO_S2_AF | PTE_VALID,
		.set	= "AF",
		.clear	= "  ",
	}, {
		.mask	= PTE_TABLE_BIT | PTE_VALID,
		.val	= PTE_VALID,
		.set	= "BLK",
		.clear	= "   ",
	}, {
		.mask	= STATE,
		.val	= PTE_VALID,
		.set	= "PRIVATE",
		.clear	= "",
	}, {
		.mask	= STATE,
		.val	= PTE_VALID | PKVM_DUMP_SHARED,
		.set	= "SHARED",
		.clear	= "",
	}, {
		.mask	= STATE,
		.val	= PTE_VALID | PKVM_DUMP_BORROWED,
		.set	= "BORROWED",
		.clear	= "",
	}, {
		.mask	= KVM_INVALID_PTE_OWNER_MASK | PTE_VALID,
		.val	= NOT_MAPPED(PKVM_DUMP_POISONED),
		.set	= "POISONED",
		.clear	= "",
	}, {
		.mask	= KVM_INVALID_PTE_OWNER_MASK | PTE_VALID,
		.val	= NOT_MAPPED(PKVM_DUMP_MMIO),
		.set	= "DEVICE",
		.clear	= "",
	},
};

/**
 * pkvm_ptdump_guest() - Show the stage-2 table that EL2 keeps for a VM.
 * @kvm: the VM, kept by the caller.
 * @st: where the lines go; its levels, one for each that a table can have, are filled in.
 *
 * May sleep. Takes no lock: the table may change meanwhile.
 *
 * Return: 0, also for a VM that EL2 does not know yet; or what EL2 says of an entry.
 */
int pkvm_ptdump_guest(struct kvm *kvm, struct ptdump_pg_state *st)
{
	/* Not by kvm_pgtable, which goes with the VMM's memory. */
	u64 end = kvm_phys_size(&kvm->arch.mmu), ipa;
	pkvm_handle_t handle = READ_ONCE(kvm->arch.pkvm.handle);
	struct entry e;
	u64 mask = 0;
	int i, ret;

	for (i = 0; i < ARRAY_SIZE(guest_bits); i++)
		mask |= guest_bits[i].mask;
	for (i = 0; i <= KVM_PGTABLE_LAST_LEVEL; i++) {
		struct ptdump_pg_level *level = &st->pg_level[i];

		snprintf(level->name, sizeof(level->name), "%u", i);
		level->num = ARRAY_SIZE(guest_bits);
		level->bits = guest_bits;
		level->mask = mask;
	}

	/* The file is read again from its start when it does not fit. */
	st->level = -1;
	st->start_address = 0;

	for (ipa = 0; handle && ipa < end; ipa = e.end) {
		ret = dump_guest(handle, ipa, &e);
		if (ret)
			return ret;
		note_page(&st->ptdump, ipa, e.level, e.pte);
		cond_resched();
	}

	return 0;
}

/* ------------------------------------------------------------ who owns a page */

/* A range of memory of which the same can be said. */
struct owned {
	u64 start;
	const char *owner;
	/* Of a guest's: which, and its first frame. */
	u64 vm;
	u64 gfn;
};

static bool maps(const struct entry *e, u64 state)
{
	return (e->pte & STATE) == (PTE_VALID | state);
}

/* The host's table says that a page is shared, and EL2's, with whom. */
static int owner_of(u64 phys, const struct entry *host, struct owned *r)
{
	struct entry hyp;
	int ret;

	*r = (struct owned) { .start = phys };

	if (!host->pte || maps(host, 0)) {
		r->owner = "host";
		return 0;
	}
	if (!(host->pte & PTE_VALID)) {
		switch (FIELD_GET(KVM_INVALID_PTE_OWNER_MASK, host->pte)) {
		case PKVM_DUMP_HYP:
			r->owner = "EL2";
			return 0;
		case PKVM_DUMP_GUEST:
			r->owner = "guest";
			r->vm = FIELD_GET(PKVM_DUMP_GUEST_VM, host->pte);
			r->gfn = FIELD_GET(PKVM_DUMP_GUEST_GFN, host->pte);
			return 0;
		}
		r->owner = "unknown";
		return 0;
	}

	ret = dump_hyp(phys, &hyp);
	if (ret)
		return ret;
	if (maps(host, PKVM_DUMP_SHARED))
		r->owner = maps(&hyp, PKVM_DUMP_BORROWED) ? "host, shared with EL2" :
							     "host, shared with FF-A";
	else
		r->owner = maps(&hyp, PKVM_DUMP_SHARED) ? "EL2, shared with host" :
							  "guest, shared with host";

	return 0;
}

static bool goes_on(const struct owned *r, const struct owned *next)
{
	if (!r->owner || strcmp(r->owner, next->owner) || r->vm != next->vm)
		return false;

	return !r->gfn || next->gfn - r->gfn == (next->start - r->start) >> PAGE_SHIFT;
}

static void show(struct seq_file *m, const struct owned *r, u64 end)
{
	if (!r->owner)
		return;

	seq_printf(m, "0x%012llx-0x%012llx %9lluK %s", r->start, end,
		   (end - r->start) >> 10, r->owner);
	if (!strcmp(r->owner, "guest"))
		seq_printf(m, " %#llx gfn 0x%llx", r->vm + PKVM_HANDLE_OFFSET, r->gfn);
	seq_putc(m, '\n');
}

static int show_region(struct seq_file *m, u64 start, u64 end)
{
	struct owned now = {}, next;
	struct entry e;
	int ret;
	u64 phys;

	for (phys = start; phys < end; phys = e.end) {
		ret = dump_host(phys, &e);
		if (!ret)
			ret = owner_of(phys, &e, &next);
		if (ret)
			return ret;
		if (!goes_on(&now, &next)) {
			show(m, &now, phys);
			now = next;
		}
		cond_resched();
	}
	show(m, &now, end);

	return 0;
}

static int pkvm_page_ownership_show(struct seq_file *m, void *unused)
{
	struct memblock_region *reg;
	int ret;

	for_each_mem_region(reg) {
		ret = show_region(m, reg->base, reg->base + reg->size);
		if (ret)
			return ret;
	}

	return 0;
}
DEFINE_SHOW_ATTRIBUTE(pkvm_page_ownership);

/* ---------------------------------------------------------- what EL2 uses */

/* Counts the pages that are EL2's alone, and those of them that its pools gave out. */
static int count_el2_pages(u64 start, u64 end, u64 *owned, u64 *used)
{
	struct entry host, hyp;
	int ret;
	u64 phys;

	for (phys = start; phys < end; phys = host.end) {
		ret = dump_host(phys, &host);
		if (ret)
			return ret;
		if (host.pte & PTE_VALID ||
		    FIELD_GET(KVM_INVALID_PTE_OWNER_MASK, host.pte) != PKVM_DUMP_HYP)
			continue;
		/* What EL2 owns stands in the host's table page by page, or in blocks. */
		for (; phys < min(host.end, end); phys += PAGE_SIZE) {
			ret = dump_hyp(phys, &hyp);
			if (ret)
				return ret;
			(*owned)++;
			if (FIELD_GET(PKVM_DUMP_REFCOUNT, hyp.note))
				(*used)++;
		}
		cond_resched();
	}

	return 0;
}

static int pkvm_el2_pages_show(struct seq_file *m, void *unused)
{
	struct memblock_region *reg;
	u64 owned = 0, used = 0;
	int ret;

	for_each_mem_region(reg) {
		ret = count_el2_pages(reg->base, reg->base + reg->size, &owned, &used);
		if (ret)
			return ret;
	}
	seq_printf(m, "owned %llu\nused %llu\n", owned, used);

	return 0;
}
DEFINE_SHOW_ATTRIBUTE(pkvm_el2_pages);

static int __init pkvm_ptdump_init(void)
{
	struct dentry *dir;

	if (!is_protected_kvm_enabled() || !is_kvm_arm_initialised())
		return 0;

	dir = debugfs_lookup("kvm", NULL);
	if (!dir)
		return 0;
	debugfs_create_file("pkvm_page_ownership", 0400, dir, NULL,
			    &pkvm_page_ownership_fops);
	debugfs_create_file("pkvm_el2_pages", 0400, dir, NULL, &pkvm_el2_pages_fops);
	dput(dir);

	return 0;
}
late_initcall(pkvm_ptdump_init);
