/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Descriptors of memory that the host shares with the secure world. Implemented in
 * ffa_desc.c.
 */
#ifndef __KVM_NVHE_FFA_DESC_H__
#define __KVM_NVHE_FFA_DESC_H__

#include <linux/arm_ffa.h>

struct ffa_mem_region_addr_range *ffa_desc_ranges(void *desc, u32 len, u32 version,
						  u32 *nr);

#endif /* __KVM_NVHE_FFA_DESC_H__ */
