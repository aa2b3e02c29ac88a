/* SPDX-License-Identifier: GPL-2.0-only */
/* Which addresses of a protected guest are RAM. Implemented in guest_ram.c. */
#ifndef __KVM_NVHE_GUEST_RAM_H__
#define __KVM_NVHE_GUEST_RAM_H__

#include <nvhe/pkvm.h>

int pkvm_init_guest_ram(struct pkvm_hyp_vm *vm);
bool pkvm_guest_range_is_ram(const struct pkvm_hyp_vm *vm, u64 gfn, u64 nr_pages);

#endif /* __KVM_NVHE_GUEST_RAM_H__ */
