/* SPDX-License-Identifier: GPL-2.0-only */
/* A host that writes to a page while EL2 reads it. */
#ifndef __PKVM_TEST_WATCH_H
#define __PKVM_TEST_WATCH_H

#include <linux/types.h>

#include <asm/fake.h>

void watch_start(phys_addr_t phys, void (*fn)(void));
unsigned int watch_end(void);

#endif /* __PKVM_TEST_WATCH_H */
