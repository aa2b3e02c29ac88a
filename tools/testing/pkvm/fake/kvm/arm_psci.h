/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __FAKE_KVM_ARM_PSCI_H
#define __FAKE_KVM_ARM_PSCI_H

#include <uapi/linux/psci.h>

/* include/kvm/arm_psci.h, which is about the host's vCPUs in all else */
#define KVM_ARM_PSCI_1_1	PSCI_VERSION(1, 1)

#endif /* __FAKE_KVM_ARM_PSCI_H */
