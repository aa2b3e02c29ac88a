/* SPDX-License-Identifier: GPL-2.0-only */
/* Of the system registers' fields, those that the code under test names. */
#ifndef __FAKE_ASM_SYSREG_H
#define __FAKE_ASM_SYSREG_H

#include <linux/bits.h>

#define ID_AA64DFR0_EL1_PMUVer_MASK	GENMASK(11, 8)
#define ID_AA64DFR0_EL1_PMUVer_NI	0
#define ID_AA64DFR0_EL1_PMUVer_IMP_DEF	15
#define ID_AA64DFR0_EL1_PMSVer_MASK	GENMASK(35, 32)
#define ID_AA64DFR0_EL1_TraceFilt_MASK	GENMASK(43, 40)
#define ID_AA64DFR0_EL1_TraceBuffer_MASK	GENMASK(47, 44)
#define ID_AA64MMFR0_EL1_PARANGE_SHIFT	0
#define ID_AA64MMFR0_EL1_PARANGE_48	5
#define ID_AA64MMFR0_EL1_PARANGE_52	6
#define ID_AA64PFR0_EL1_MPAM_MASK	GENMASK(43, 40)
#define ID_AA64PFR1_EL1_MPAM_frac_MASK	GENMASK(19, 16)
#define ID_AA64ISAR0_EL1_RNDR_MASK	GENMASK(63, 60)

#define SCTLR_EL1_SPAN			BIT(23)
#define SCTLR_ELx_EE			BIT(25)
/* Of no reset value more is looked at than that it is that one. */
#define INIT_SCTLR_EL1_MMU_OFF		0x30d00800UL
#define SCTLR_ELx_DSSBS			BIT(44)

/* Those that have no other name than their number. */
#define sys_reg(op0, op1, crn, crm, op2) \
	((op0) << 19 | (op1) << 16 | (crn) << 12 | (crm) << 8 | (op2) << 5)
#define SYS_ID_AA64DFR0_EL1		sys_reg(3, 0, 0, 5, 0)
#define SYS_ID_AA64PFR0_EL1		sys_reg(3, 0, 0, 4, 0)
#define SYS_ID_AA64PFR1_EL1		sys_reg(3, 0, 0, 4, 1)
#define SYS_PMCR_EL0			sys_reg(3, 3, 9, 12, 0)
#define SYS_MDCR_EL2			sys_reg(3, 4, 1, 1, 1)
#define SYS_TRFCR_EL1			sys_reg(3, 0, 1, 2, 1)
#define SYS_PMBLIMITR_EL1		sys_reg(3, 0, 9, 10, 0)
#define PMBLIMITR_EL1_E			BIT(0)
#define SYS_PMBIDR_EL1			sys_reg(3, 0, 9, 10, 7)
#define PMBIDR_EL1_P			BIT(4)
#define SYS_TRBLIMITR_EL1		sys_reg(3, 0, 9, 11, 0)
#define TRBLIMITR_EL1_E			BIT(0)
#define SYS_TRBIDR_EL1			sys_reg(3, 0, 9, 11, 7)
#define TRBIDR_EL1_P			BIT(4)
#define SYS_MPAMHCR_EL2			sys_reg(3, 4, 10, 4, 0)
#define SYS_MPAM2_EL2			sys_reg(3, 4, 10, 5, 0)

u64 *fake_sysreg(u32 reg);
#define read_sysreg_s(r)	(*fake_sysreg(r))
#define write_sysreg_s(v, r)	(*fake_sysreg(r) = (v))

#endif /* __FAKE_ASM_SYSREG_H */
