/* SPDX-License-Identifier: GPL-2.0-only */
/* The kernel's numbers; who answers an SMC is spmc.c. */
#ifndef __FAKE_LINUX_ARM_SMCCC_H
#define __FAKE_LINUX_ARM_SMCCC_H

#include <linux/kvm_host.h>

#include <include/linux/arm-smccc.h>

void fake_smc(unsigned long a0, unsigned long a1, unsigned long a2, unsigned long a3,
	      unsigned long a4, unsigned long a5, unsigned long a6, unsigned long a7,
	      struct arm_smccc_res *res);

#undef arm_smccc_1_1_smc
#define arm_smccc_1_1_smc	fake_smc

#endif /* __FAKE_LINUX_ARM_SMCCC_H */
