/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __FAKE_LINUX_PERF_ARM_PMUV3_H
#define __FAKE_LINUX_PERF_ARM_PMUV3_H

#include <asm/sysreg.h>

#define ARMV8_PMU_PMCR_E	(1 << 0)
#define ARMV8_PMU_PMCR_P	(1 << 1)
#define ARMV8_PMU_PMCR_C	(1 << 2)

static inline bool pmuv3_implemented(int pmuver)
{
	return pmuver != ID_AA64DFR0_EL1_PMUVer_NI &&
	       pmuver != ID_AA64DFR0_EL1_PMUVer_IMP_DEF;
}

#endif /* __FAKE_LINUX_PERF_ARM_PMUV3_H */
