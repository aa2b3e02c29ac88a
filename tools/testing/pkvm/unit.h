/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the files with unit tests share: implemented in main-unit.c, which runs them.
 */
#ifndef __PKVM_TEST_UNIT_H
#define __PKVM_TEST_UNIT_H

#include "model.h"

#define is(call, want)							\
do {									\
	long __got = (call);						\
									\
	if (__got != (want))						\
		die("%s is %ld, not %s", #call, __got, #want);		\
} while (0)

#define PFN(p)	((p) >> PAGE_SHIFT)

/* Memory that begins a block, and is all the host's. */
#define BLOCK	(MEM0 + MEM0_SIZE - 2 * PMD_SIZE)
#define BLOCK2	(MEM0 + MEM0_SIZE - PMD_SIZE)

struct unit {
	const char *name;
	void (*fn)(void);
	bool mute;		/* the firmware is of before FF-A when EL2 starts */
	bool once;		/* the same on all CPUs, or it chooses its own */
};

#define T(n)		{ #n, test_##n, false, false }
#define T_MUTE(n)	{ #n, test_##n, true, false }
#define T_ONCE(n)	{ #n, test_##n, false, true }

phys_addr_t take(unsigned long size);
void declare_ram(u64 gfn, u64 nr);
unsigned int make_vm(bool protected, unsigned int nr_vcpus);
unsigned int start_vm(bool protected);

/* unit-ffa.c */
extern const struct unit ffa_tests[];
extern const unsigned int nr_ffa_tests;

/* unit-psci.c */
extern const struct unit psci_tests[];
extern const unsigned int nr_psci_tests;

#endif /* __PKVM_TEST_UNIT_H */
