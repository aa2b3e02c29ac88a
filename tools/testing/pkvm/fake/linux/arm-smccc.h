/* SPDX-License-Identifier: GPL-2.0-only */
/* The kernel's numbers; who answers an SMC is spmc.c. */
#ifndef __FAKE_LINUX_ARM_SMCCC_H
#define __FAKE_LINUX_ARM_SMCCC_H

#include <linux/kvm_host.h>

#include <include/linux/arm-smccc.h>

void fake_smc(unsigned long a0, unsigned long a1, unsigned long a2, unsigned long a3,
	      unsigned long a4, unsigned long a5, unsigned long a6, unsigned long a7,
	      struct arm_smccc_res *res);

/* Arguments that are left out are zero here. */
#define __fake_smc3(fn, a1, res)	fake_smc(fn, a1, 0, 0, 0, 0, 0, 0, res)
#define __fake_smc5(fn, a1, a2, a3, res)				\
	fake_smc(fn, a1, a2, a3, 0, 0, 0, 0, res)
#define __fake_smc9(...)		fake_smc(__VA_ARGS__)
#define __fake_smc(a, b, c, d, e, f, g, h, i, n, ...)	__fake_smc##n

#undef arm_smccc_1_1_smc
#define arm_smccc_1_1_smc(...)						\
	__fake_smc(__VA_ARGS__, 9, 8, 7, 6, 5, 4, 3)(__VA_ARGS__)

#endif /* __FAKE_LINUX_ARM_SMCCC_H */
