/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __FAKE_LINUX_MEMBLOCK_H
#define __FAKE_LINUX_MEMBLOCK_H

#include <asm/fake.h>

#define MEMBLOCK_NOMAP	0x4

struct memblock_region {
	phys_addr_t base;
	phys_addr_t size;
	unsigned int flags;
};

#endif /* __FAKE_LINUX_MEMBLOCK_H */
