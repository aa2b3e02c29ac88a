/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What EL2's self-test at initialisation tells the host (CONFIG_NVHE_EL2_DEBUG).
 *
 * EL2 has no console. It leaves its verdict here, and the host prints it before it
 * loses sight of EL2's memory (kvm/pkvm_selftest.c).
 */
#ifndef __ASM_PKVM_SELFTEST_H
#define __ASM_PKVM_SELFTEST_H

#include <linux/init.h>
#include <linux/types.h>

/* What a step of the test found to be wrong; @index below says where. */
enum pkvm_selftest_what {
	PKVM_SELFTEST_GOOD,
	PKVM_SELFTEST_SHAREABLE,	/* EL2's memory, as its PAR_EL1.SH says */
	PKVM_SELFTEST_SETUP,	/* no memory to test with */
	PKVM_SELFTEST_RESULT,	/* what the call returned */
	PKVM_SELFTEST_HOST,	/* the host's table; index of a page */
	PKVM_SELFTEST_HYP,	/* EL2's own table; index of a page */
	PKVM_SELFTEST_GUEST,	/* a guest's table; 16 * VM + index of a guest frame */
	PKVM_SELFTEST_COUNT,	/* who else has a page; its index */
	PKVM_SELFTEST_TOTAL,	/* pages that a guest has; index of a VM */
	PKVM_SELFTEST_CONTENT,	/* scrubbed, or left as it was; index of a page */
	PKVM_SELFTEST_RETURNED,	/* pages that a dead VM gave back; index of a VM */
};

struct pkvm_selftest {
	u32 checks;		/* calls whose result and whole effect were right */
	u32 line;		/* of ownership_selftest.c: the step that went wrong */
	u32 what;		/* enum pkvm_selftest_what */
	u32 index;
	u64 want;
	u64 got;
};

#ifdef CONFIG_NVHE_EL2_DEBUG
void __init pkvm_report_selftest(void);
#else
static inline void pkvm_report_selftest(void) { }
#endif

#endif /* __ASM_PKVM_SELFTEST_H */
