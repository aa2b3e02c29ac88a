/* SPDX-License-Identifier: GPL-2.0-only */
/* Of the system registers' fields, those that the code under test names. */
#ifndef __FAKE_ASM_SYSREG_H
#define __FAKE_ASM_SYSREG_H

#include <linux/bits.h>

#define ID_AA64MMFR0_EL1_PARANGE_SHIFT	0
#define ID_AA64MMFR0_EL1_PARANGE_48	5
#define ID_AA64MMFR0_EL1_PARANGE_52	6
#define SCTLR_EL1_SPAN			BIT(23)
#define SCTLR_ELx_DSSBS			BIT(44)

#endif /* __FAKE_ASM_SYSREG_H */
