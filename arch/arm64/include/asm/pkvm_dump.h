/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What EL2 shows of its tables to a host that debugs it (CONFIG_NVHE_EL2_DEBUG).
 *
 * The calls __pkvm_dump_host_page(pfn), __pkvm_dump_hyp_page(pfn) and
 * __pkvm_dump_guest_page(handle, gfn) each show the one entry that decides about a
 * page: SMCCC result 1 is 0 or an errno, 2 the entry as it stands in the table, 3
 * where it stands and what else EL2 notes of the page. Their numbers are known to every
 * kernel, the calls are in those with the option only: others answer NOT_SUPPORTED.
 * Implemented in hyp/nvhe/table_dump.c, which holds this file to what EL2 does.
 */
#ifndef __ASM_PKVM_DUMP_H
#define __ASM_PKVM_DUMP_H

#include <linux/bits.h>
#include <linux/errno.h>

/* In result 3: the level of the table that the entry stands in, signed. */
#define PKVM_DUMP_LEVEL		GENMASK_ULL(7, 0)
/* Of __pkvm_dump_hyp_page(): references that EL2 or guests' tables hold to the page. */
#define PKVM_DUMP_REFCOUNT	GENMASK_ULL(23, 8)
/* The same: guests that map the whole block in which the page lies. */
#define PKVM_DUMP_BLOCKS	GENMASK_ULL(39, 32)

/*
 * What an entry that is neither valid nor 0 says (KVM_INVALID_PTE_OWNER_MASK): whose
 * the page is in the host's table, what became of it in a guest's.
 */
#define PKVM_DUMP_HYP		1
#define PKVM_DUMP_FFA		2
#define PKVM_DUMP_GUEST		3
#define PKVM_DUMP_POISONED	4
#define PKVM_DUMP_MMIO		5

/* Of PKVM_DUMP_GUEST: the VM's handle without its offset, and the guest frame. */
#define PKVM_DUMP_GUEST_GFN	GENMASK_ULL(51, 12)
#define PKVM_DUMP_GUEST_VM	GENMASK_ULL(59, 52)

/* The states in the software bits of an entry that is valid; both clear: owned. */
#define PKVM_DUMP_SHARED	BIT_ULL(55)	/* the owner lends it */
#define PKVM_DUMP_BORROWED	BIT_ULL(56)	/* somebody else's */

struct kvm;
struct ptdump_pg_state;

#ifdef CONFIG_NVHE_EL2_DEBUG
int pkvm_ptdump_guest(struct kvm *kvm, struct ptdump_pg_state *st);
#else
static inline int pkvm_ptdump_guest(struct kvm *kvm, struct ptdump_pg_state *st)
{
	return -EOPNOTSUPP;
}
#endif

#endif /* __ASM_PKVM_DUMP_H */
