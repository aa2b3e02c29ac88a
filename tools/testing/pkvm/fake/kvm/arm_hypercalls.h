/* SPDX-License-Identifier: GPL-2.0-only */
#include <include/kvm/arm_hypercalls.h>
