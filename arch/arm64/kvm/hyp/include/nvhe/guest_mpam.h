/* SPDX-License-Identifier: GPL-2.0-only */
/* Memory partitioning is not for guests (guest_mpam.c). */
#ifndef __KVM_NVHE_GUEST_MPAM_H__
#define __KVM_NVHE_GUEST_MPAM_H__

#include <asm/sysreg.h>

extern bool hyp_no_mpam;

/* This CPU, whatever others have: version 1 has the one field, version 0.1 the other. */
static inline bool cpu_has_mpam(void)
{
	return !hyp_no_mpam &&
	       ((read_sysreg_s(SYS_ID_AA64PFR0_EL1) & ID_AA64PFR0_EL1_MPAM_MASK) ||
		(read_sysreg_s(SYS_ID_AA64PFR1_EL1) & ID_AA64PFR1_EL1_MPAM_frac_MASK));
}

void pkvm_trap_mpam(void);
void pkvm_untrap_mpam(void);

#endif /* __KVM_NVHE_GUEST_MPAM_H__ */
