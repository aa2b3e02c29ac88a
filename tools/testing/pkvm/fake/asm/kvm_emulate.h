/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __FAKE_ASM_KVM_EMULATE_H
#define __FAKE_ASM_KVM_EMULATE_H

#include <linux/kvm_host.h>

#include <asm/esr.h>
#include <asm/kvm_asm.h>

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

#define PSR_BTYPE_MASK	0x00000c00
#define DBG_SPSR_SS	0x00200000

#define vcpu_gp_regs(v)		(&(v)->arch.ctxt.regs)

static inline u64 vcpu_get_reg(const struct kvm_vcpu *vcpu, u8 n)
{
	return n == 31 ? 0 : vcpu->arch.ctxt.regs.regs[n];
}

static inline void vcpu_set_reg(struct kvm_vcpu *vcpu, u8 n, u64 v)
{
	if (n != 31)
		vcpu->arch.ctxt.regs.regs[n] = v;
}

static inline u64 *vcpu_pc(struct kvm_vcpu *vcpu)
{
	return &vcpu->arch.ctxt.regs.pc;
}

static inline u64 *vcpu_cpsr(struct kvm_vcpu *vcpu)
{
	return &vcpu->arch.ctxt.regs.pstate;
}

static inline bool vcpu_mode_is_32bit(const struct kvm_vcpu *vcpu)
{
	return false;
}

static inline void kvm_skip_instr32(struct kvm_vcpu *vcpu) { }

static inline u8 kvm_vcpu_trap_get_class(const struct kvm_vcpu *vcpu)
{
	return ESR_ELx_EC(vcpu->arch.fault.esr_el2);
}

static inline u64 kvm_vcpu_get_mpidr_aff(struct kvm_vcpu *vcpu)
{
	return vcpu->arch.fake_mpidr & MPIDR_HWID_BITMASK;
}

#endif /* __FAKE_ASM_KVM_EMULATE_H */
