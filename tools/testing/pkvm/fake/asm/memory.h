/* SPDX-License-Identifier: GPL-2.0-only */
#include <asm/fake.h>
#include <arch/arm64/include/asm/brk-imm.h>
