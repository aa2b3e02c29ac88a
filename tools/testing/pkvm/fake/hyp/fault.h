/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __FAKE_HYP_FAULT_H
#define __FAKE_HYP_FAULT_H

#include <linux/kvm_host.h>

extern struct kvm_vcpu_fault_info fake_fault;

static inline bool __get_fault_info(u64 esr, struct kvm_vcpu_fault_info *fault)
{
	*fault = fake_fault;

	return true;
}

#endif /* __FAKE_HYP_FAULT_H */
