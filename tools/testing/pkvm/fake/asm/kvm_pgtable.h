/* SPDX-License-Identifier: GPL-2.0-only */
#include <arch/arm64/include/asm/kvm_pgtable.h>
