/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __FAKE_ASM_KVM_HYP_H
#define __FAKE_ASM_KVM_HYP_H

#include <linux/kvm_host.h>
#include <linux/memblock.h>

#include <asm/kvm_arm.h>

extern struct memblock_region hyp_memory[];
extern unsigned int hyp_memblock_nr;

/* A CPU's vectors; these work around nothing. */
DECLARE_PER_CPU(unsigned long, kvm_hyp_vector);
extern char __kvm_hyp_vector[];

#endif /* __FAKE_ASM_KVM_HYP_H */
