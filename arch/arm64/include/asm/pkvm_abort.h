/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Aborts that EL2 injects into the host for pages that are not the host's.
 */
#ifndef __ASM_PKVM_ABORT_H
#define __ASM_PKVM_ABORT_H

#include <asm/esr.h>
#include <asm/virt.h>

struct pt_regs;

/*
 * Hardware never sets S1PTW in an abort that is taken to EL1 (Arm ARM, ESR_EL1:
 * the bit is RES0 there), so EL2 marks its own with it.
 */
static inline bool esr_is_pkvm_abort(unsigned long esr)
{
	return is_pkvm_initialized() && (esr & ESR_ELx_S1PTW);
}

#ifdef CONFIG_KVM
bool do_pkvm_abort(unsigned long far, unsigned long esr, struct pt_regs *regs);
#else
static inline bool do_pkvm_abort(unsigned long far, unsigned long esr,
				 struct pt_regs *regs)
{
	return false;
}
#endif

#endif /* __ASM_PKVM_ABORT_H */
