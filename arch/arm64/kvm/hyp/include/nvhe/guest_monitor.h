/* SPDX-License-Identifier: GPL-2.0-only */
/* The host's counters and trace stop for protected guests (guest_monitor.c). */
#ifndef __KVM_NVHE_GUEST_MONITOR_H__
#define __KVM_NVHE_GUEST_MONITOR_H__

#include <linux/types.h>

bool pkvm_cpu_has_counters(void);
void pkvm_init_monitors(void);
bool pkvm_host_begins_to_trace(u64 esr);
bool pkvm_host_traces(void);
void pkvm_stop_monitors(void);
void pkvm_resume_monitors(void);

#endif /* __KVM_NVHE_GUEST_MONITOR_H__ */
