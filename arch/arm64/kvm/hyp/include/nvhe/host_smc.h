/* SPDX-License-Identifier: GPL-2.0-only */
/* Which SMCs of the host go on to the firmware (host_smc.c). */
#ifndef __KVM_NVHE_HOST_SMC_H__
#define __KVM_NVHE_HOST_SMC_H__

#include <linux/types.h>

bool pkvm_host_smc_allowed(u32 func_id);

#endif /* __KVM_NVHE_HOST_SMC_H__ */
