// SPDX-License-Identifier: GPL-2.0-only
/*
 * Where the tracepoints of protected mode live (trace_pkvm.h).
 */

#include <linux/kvm_host.h>

#include <asm/pkvm_trace.h>

#define CREATE_TRACE_POINTS
#include "trace_pkvm.h"

/**
 * pkvm_trace_hypercall() - Trace a call of the host's to EL2.
 * @func: enum __kvm_host_smccc_func.
 * @nr_args: how many of the arguments there are, at most 5.
 * @a1: first argument; the others follow.
 * @a2: see @a1.
 * @a3: see @a1.
 * @a4: see @a1.
 * @a5: see @a1.
 * @ret: what EL2 returned.
 *
 * Out of line, as who calls EL2 need not know how a tracepoint is made. Called where
 * the tracepoint is enabled, in any context but with a guest loaded in the CPU.
 */
void pkvm_trace_hypercall(u32 func, u32 nr_args, u64 a1, u64 a2, u64 a3, u64 a4, u64 a5,
			  u64 ret)
{
	const u64 args[] = { a1, a2, a3, a4, a5 };

	trace_pkvm_hypercall(func, min_t(u32, nr_args, ARRAY_SIZE(args)), args, ret);
}
