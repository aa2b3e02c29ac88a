/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The CPU's own buffers for the host, samples and trace, stand still while EL2 has a
 * guest's tables loaded: host_buffers.c.
 */
#ifndef __KVM_NVHE_HOST_BUFFERS_H__
#define __KVM_NVHE_HOST_BUFFERS_H__

void pkvm_stop_host_buffers(void);
void pkvm_resume_host_buffers(void);

#endif /* __KVM_NVHE_HOST_BUFFERS_H__ */
