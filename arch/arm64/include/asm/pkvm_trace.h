/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The host's calls to EL2, as a tracepoint sees them (kvm:pkvm_hypercall).
 *
 * kvm_call_hyp_nvhe() makes its calls through pkvm_hypercall() below: the call itself,
 * and with it a static key for whoever traces it. Arguments are evaluated once.
 */
#ifndef __ASM_PKVM_TRACE_H
#define __ASM_PKVM_TRACE_H

#include <linux/args.h>
#include <linux/arm-smccc.h>
#include <linux/tracepoint-defs.h>
#include <linux/types.h>

#include <asm/kvm_asm.h>

DECLARE_TRACEPOINT(pkvm_hypercall);

void pkvm_trace_hypercall(u32 func, u32 nr_args, u64 a1, u64 a2, u64 a3, u64 a4, u64 a5,
			  u64 ret);

/* While a guest runs, nothing may be traced; kvm_entry and kvm_exit tell of it. */
#define __pkvm_traced(f, nr, res, x1, x2, x3, x4, x5)				\
	do {									\
		if (__KVM_HOST_SMCCC_FUNC_##f != __KVM_HOST_SMCCC_FUNC___kvm_vcpu_run && \
		    tracepoint_enabled(pkvm_hypercall))				\
			pkvm_trace_hypercall(__KVM_HOST_SMCCC_FUNC_##f, nr,	\
					     (u64)(x1), (u64)(x2), (u64)(x3),	\
					     (u64)(x4), (u64)(x5), (res)->a1);	\
	} while (0)

#define __pkvm_hypercall0(f, res)						\
	do {									\
		arm_smccc_1_1_hvc(KVM_HOST_SMCCC_FUNC(f), res);			\
		__pkvm_traced(f, 0, res, 0, 0, 0, 0, 0);			\
	} while (0)

#define __pkvm_hypercall1(f, res, a1)						\
	do {									\
		__auto_type _a1 = (a1);						\
										\
		arm_smccc_1_1_hvc(KVM_HOST_SMCCC_FUNC(f), _a1, res);		\
		__pkvm_traced(f, 1, res, _a1, 0, 0, 0, 0);			\
	} while (0)

#define __pkvm_hypercall2(f, res, a1, a2)					\
	do {									\
		__auto_type _a1 = (a1);						\
		__auto_type _a2 = (a2);						\
										\
		arm_smccc_1_1_hvc(KVM_HOST_SMCCC_FUNC(f), _a1, _a2, res);	\
		__pkvm_traced(f, 2, res, _a1, _a2, 0, 0, 0);			\
	} while (0)

#define __pkvm_hypercall3(f, res, a1, a2, a3)					\
	do {									\
		__auto_type _a1 = (a1);						\
		__auto_type _a2 = (a2);						\
		__auto_type _a3 = (a3);						\
										\
		arm_smccc_1_1_hvc(KVM_HOST_SMCCC_FUNC(f), _a1, _a2, _a3, res);	\
		__pkvm_traced(f, 3, res, _a1, _a2, _a3, 0, 0);			\
	} while (0)

#define __pkvm_hypercall4(f, res, a1, a2, a3, a4)				\
	do {									\
		__auto_type _a1 = (a1);						\
		__auto_type _a2 = (a2);						\
		__auto_type _a3 = (a3);						\
		__auto_type _a4 = (a4);						\
										\
		arm_smccc_1_1_hvc(KVM_HOST_SMCCC_FUNC(f), _a1, _a2, _a3, _a4, res); \
		__pkvm_traced(f, 4, res, _a1, _a2, _a3, _a4, 0);		\
	} while (0)

#define __pkvm_hypercall5(f, res, a1, a2, a3, a4, a5)				\
	do {									\
		__auto_type _a1 = (a1);						\
		__auto_type _a2 = (a2);						\
		__auto_type _a3 = (a3);						\
		__auto_type _a4 = (a4);						\
		__auto_type _a5 = (a5);						\
										\
		arm_smccc_1_1_hvc(KVM_HOST_SMCCC_FUNC(f), _a1, _a2, _a3, _a4, _a5, res); \
		__pkvm_traced(f, 5, res, _a1, _a2, _a3, _a4, _a5);		\
	} while (0)

#define pkvm_hypercall(f, res, ...)						\
	CONCATENATE(__pkvm_hypercall, COUNT_ARGS(__VA_ARGS__))(f, res, ##__VA_ARGS__)

#endif /* __ASM_PKVM_TRACE_H */
