/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * EL2's test of itself at initialisation. Implemented in ownership_selftest.c.
 */
#ifndef __KVM_NVHE_OWNERSHIP_SELFTEST_H__
#define __KVM_NVHE_OWNERSHIP_SELFTEST_H__

#include <nvhe/gfp.h>

#ifdef CONFIG_NVHE_EL2_DEBUG
int pkvm_ownership_selftest(struct hyp_pool *pool);
#else
static inline int pkvm_ownership_selftest(struct hyp_pool *pool)
{
	return 0;
}
#endif

#endif /* __KVM_NVHE_OWNERSHIP_SELFTEST_H__ */
