/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __FAKE_LINUX_ARM_FFA_H
#define __FAKE_LINUX_ARM_FFA_H

/* Only their sizes are asked for, and by nobody. */
struct ffa_mem_region { };
struct ffa_mem_region_attributes { };
struct ffa_composite_mem_region { };
struct ffa_mem_region_addr_range { };

#endif /* __FAKE_LINUX_ARM_FFA_H */
