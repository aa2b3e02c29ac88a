/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __FAKE_ASM_KVM_ASM_H
#define __FAKE_ASM_KVM_ASM_H

#include <linux/kvm_host.h>

/* How a guest left (arch/arm64/include/asm/kvm_asm.h) */
#define ARM_EXCEPTION_IRQ	0
#define ARM_EXCEPTION_TRAP	2

#endif /* __FAKE_ASM_KVM_ASM_H */
