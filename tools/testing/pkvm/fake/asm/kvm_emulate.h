/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __FAKE_ASM_KVM_EMULATE_H
#define __FAKE_ASM_KVM_EMULATE_H

#include <asm/esr.h>

/* PSTATE (arch/arm64/include/uapi/asm/ptrace.h) */
#define PSR_MODE_EL0t	0x00000000
#define PSR_MODE_EL1t	0x00000004
#define PSR_MODE_EL1h	0x00000005
#define PSR_MODE32_BIT	0x00000010
#define PSR_MODE_MASK	0x0000000f
#define PSR_F_BIT	0x00000040
#define PSR_I_BIT	0x00000080
#define PSR_A_BIT	0x00000100
#define PSR_D_BIT	0x00000200
#define PSR_SSBS_BIT	0x00001000
#define PSR_PAN_BIT	0x00400000
#define PSR_DIT_BIT	0x01000000
#define PSR_TCO_BIT	0x02000000
#define PSR_V_BIT	0x10000000
#define PSR_C_BIT	0x20000000
#define PSR_Z_BIT	0x40000000
#define PSR_N_BIT	0x80000000

#endif /* __FAKE_ASM_KVM_EMULATE_H */
