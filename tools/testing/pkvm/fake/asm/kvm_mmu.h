/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __FAKE_ASM_KVM_MMU_H
#define __FAKE_ASM_KVM_MMU_H

#include <linux/kvm_host.h>

#include <asm/stage2_pgtable.h>

static inline u64 kvm_get_vttbr(struct kvm_s2_mmu *mmu)
{
	return mmu->pgd_phys;
}

static inline void __load_stage2(struct kvm_s2_mmu *mmu, struct kvm_arch *arch) { }

#endif /* __FAKE_ASM_KVM_MMU_H */
