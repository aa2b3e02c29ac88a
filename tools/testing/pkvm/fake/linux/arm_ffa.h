/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __FAKE_LINUX_ARM_FFA_H
#define __FAKE_LINUX_ARM_FFA_H

#include <linux/arm-smccc.h>

/* What FFA_PARTITION_INFO_GET gives for each partition, in version 1.0. */
#define FFA_1_0_PARTITON_INFO_SZ	8

#include <generated/arm_ffa.h>

#endif /* __FAKE_LINUX_ARM_FFA_H */
