/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __FAKE_ASM_ARCHRANDOM_H
#define __FAKE_ASM_ARCHRANDOM_H

#include <linux/types.h>

/* The entropy source of the CPU; a test says what comes of it. */
bool fake_rndrrs(unsigned long *v);
#define __arm64_rndrrs(v)	fake_rndrrs(v)

#endif /* __FAKE_ASM_ARCHRANDOM_H */
