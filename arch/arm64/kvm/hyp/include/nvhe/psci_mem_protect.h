/* SPDX-License-Identifier: GPL-2.0-only */
/* What a reset of the machine leaves of protected guests (psci_mem_protect.c). */
#ifndef __KVM_NVHE_PSCI_MEM_PROTECT_H__
#define __KVM_NVHE_PSCI_MEM_PROTECT_H__

#include <linux/types.h>

void pkvm_mem_protect_get(void);
void pkvm_mem_protect_put(void);
u64 pkvm_reset_function(u64 func_id);

#endif /* __KVM_NVHE_PSCI_MEM_PROTECT_H__ */
