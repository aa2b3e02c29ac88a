/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Memory that the host shares with ordinary guests, and their tables.
 * Implemented in guest_share.c.
 */
#ifndef __KVM_NVHE_GUEST_SHARE_H__
#define __KVM_NVHE_GUEST_SHARE_H__

#include <asm/kvm_pkvm.h>

#include <nvhe/mem_protect.h>
#include <nvhe/memory.h>
#include <nvhe/pkvm.h>

/* How often hyp_page::nr_blocks can count. */
#define PKVM_MAX_BLOCKS		U8_MAX

/*
 * What describes the page that begins the block around @phys. It is there, even where
 * that is no memory: see pkvm_guests_map().
 */
static inline struct hyp_page *block_head(phys_addr_t phys)
{
	return hyp_phys_to_page(ALIGN_DOWN(phys, PMD_SIZE));
}

bool pkvm_guests_map(phys_addr_t phys, u64 nr_pages);
int __pkvm_host_share_guest(struct pkvm_hyp_vcpu *hyp_vcpu, u64 pfn, u64 gfn,
			    u64 nr_pages, enum kvm_pgtable_prot prot);
int __pkvm_host_relax_guest(struct pkvm_hyp_vcpu *hyp_vcpu, u64 gfn,
			    u64 nr_pages, enum kvm_pgtable_prot prot);
s64 __pkvm_guest_stage2_op(pkvm_handle_t handle, u32 op, u64 gfn, u64 nr_pages);

#endif /* __KVM_NVHE_GUEST_SHARE_H__ */
