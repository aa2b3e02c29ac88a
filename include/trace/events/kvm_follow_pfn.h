/* SPDX-License-Identifier: GPL-2.0-only */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM kvm

#if !defined(_TRACE_KVM_FOLLOW_PFN_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_KVM_FOLLOW_PFN_H

#include <linux/tracepoint.h>

TRACE_DEFINE_ENUM(KVM_HOLD_NONE);
TRACE_DEFINE_ENUM(KVM_HOLD_GET);
TRACE_DEFINE_ENUM(KVM_HOLD_PIN);
TRACE_DEFINE_ENUM(KVM_HOLD_LONGTERM);
TRACE_DEFINE_ENUM(KVM_HOLD_BY_PFN);
TRACE_DEFINE_ENUM(KVM_FOLLOW_FAST);
TRACE_DEFINE_ENUM(KVM_FOLLOW_SLOW);
TRACE_DEFINE_ENUM(KVM_FOLLOW_SPECIAL);

/* One lookup: what was asked is in gfn and hva, what came of it in the rest. */
TRACE_EVENT(kvm_follow_pfn,
	    TP_PROTO(gfn_t gfn, const struct kvm_followed_pfn *found, int error),
	    TP_ARGS(gfn, found, error),
	    TP_STRUCT__entry(__field(u64, gfn)
			     __field(u64, hva)
			     __field(u64, pfn)
			     __field(u8, source)
			     __field(u8, hold)
			     __field(bool, writable)
			     __field(int, error)),
	    TP_fast_assign(__entry->gfn = gfn;
			   __entry->hva = found->hva;
			   __entry->pfn = found->pfn;
			   __entry->source = found->source;
			   __entry->hold = found->hold;
			   __entry->writable = found->writable;
			   __entry->error = error;),
	    TP_printk("gfn=0x%llx hva=0x%llx pfn=0x%llx source=%s hold=%s writable=%d error=%d",
		      __entry->gfn, __entry->hva, __entry->pfn,
		      __print_symbolic(__entry->source,
				       { KVM_FOLLOW_FAST, "fast" },
				       { KVM_FOLLOW_SLOW, "slow" },
				       { KVM_FOLLOW_SPECIAL, "special" }),
		      __print_symbolic(__entry->hold,
				       { KVM_HOLD_NONE, "none" },
				       { KVM_HOLD_GET, "get" },
				       { KVM_HOLD_PIN, "pin" },
				       { KVM_HOLD_LONGTERM, "longterm" },
				       { KVM_HOLD_BY_PFN, "by-pfn" }),
		      __entry->writable, __entry->error)
);

#endif /* _TRACE_KVM_FOLLOW_PFN_H */

/* The system has a file of its name already. */
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE kvm_follow_pfn
#include <trace/define_trace.h>
