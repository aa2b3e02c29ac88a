/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/*
 * The ioctls of /dev/kvm_test_pages, shared by the module and the tests.
 *
 * An open file owns at most one buffer. CREATE makes it, mmap() maps it (the
 * offset chooses the first page), close() and the last munmap() free it. The
 * kind says where the pages come from, the flags say how they are mapped.
 */
#ifndef KVM_TEST_PAGES_H
#define KVM_TEST_PAGES_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define KTP_DEVICE		"/dev/kvm_test_pages"
#define KTP_MODULE		"kvm_test_pages.ko"
#define KTP_MAX_PAGES		8192

enum ktp_kind {
	KTP_PFN,	/* P1: blocks of 2^order without __GFP_COMP */
	KTP_COMP,	/* P2: blocks of 2^order with __GFP_COMP */
	KTP_SINGLE,	/* P3: single refcounted pages */
	KTP_MIXED,	/* P4: VM_MIXEDMAP, vm_insert_page(); one reference per PTE */
	KTP_MIXED_PFN,	/* P4: VM_MIXEDMAP, vmf_insert_mixed(); no reference */
	KTP_RESERVED,	/* P5: single pages with PG_reserved */
	KTP_HIDDEN,	/* P6: RAM that mem= hides; no struct page. ENODEV if none */
	KTP_MMIO,	/* P6: the one page of the PL031 clock. ENODEV if none */
	KTP_NR_KINDS,
};

/* Flags of CREATE. Only one of WC and DEV. Any with any kind unless it says so. */
#define KTP_MKWRITE		0x01 /* P7: leaves start read-only, pfn_mkwrite; not MIXED */
#define KTP_PMD			0x02 /* P9: PMD leaves; KTP_PFN or COMP, order 9 */
#define KTP_SCRAMBLE		0x04 /* P10: pages in another order than their pfns */
#define KTP_WC			0x08 /* P11: pgprot_writecombine() */
#define KTP_DEV			0x10 /* pgprot_noncached(); KTP_MMIO has it anyway */
#define KTP_REMAP		0x20 /* P8: remap_pfn_range() in mmap(), no fault */
					 /* handler; one block; MAP_PRIVATE needs it */

struct ktp_create {
	__u32 kind;
	__u32 nr_pages;		/* a multiple of 1 << order */
	__u32 order;		/* of KTP_PFN and KTP_COMP; else 0 */
	__u32 flags;
};

struct ktp_page {
	__u64 pfn;
	__u64 flags;		/* page->flags; 0 without a struct page */
	__s32 count;		/* of this very struct page; -1 without one */
	__s32 mapcount;
	__u32 faults;		/* calls of ->fault; ->huge_fault counts at its first page */
	__u32 mkwrites;		/* calls of ->pfn_mkwrite, or write ->huge_faults on a leaf */
};

struct ktp_snapshot {
	__u32 first;
	__u32 nr;
	__u64 pages;		/* struct ktp_page[nr] */
};

struct ktp_range {
	__u32 first;
	__u32 nr;
};

/*
 * REPLACE revokes all, takes new pages (with the old contents if COPY), and fills
 * the old ones with KTP_CANARY. They stay allocated until CHECK with FREE.
 */
#define KTP_CANARY		0xca9a27ca9a27ca9aULL
#define KTP_REPLACE_COPY	0x01
#define KTP_CHECK_FREE		0x01

struct ktp_check {
	__u32 flags;
	__u32 old_pages;	/* out: so many pages are kept */
	__u64 bad_words;	/* out: so many words of them are not the canary, ever */
};

struct ktp_access {
	__u32 page;
	__u32 offset;
	__u32 len;		/* within the page; 4 and aligned for KTP_MMIO */
	__u32 pad;
	__u64 data;
};

enum ktp_storm_op {
	KTP_STORM_REVOKE,	/* a random range of the buffer */
	KTP_STORM_REVOKE_ALL,
	KTP_STORM_REPLACE,	/* with the contents copied, so that guests see no change */
};

struct ktp_storm {
	__u32 op;
	__u32 interval_us;	/* 0: as fast as it goes */
	__u64 rounds;		/* out, by STORM_STOP */
};

enum ktp_fault_error {
	KTP_FAULT_OK,
	KTP_FAULT_SIGBUS,
	KTP_FAULT_HWPOISON,
	KTP_FAULT_NOPAGE,	/* says that it is done, but installs nothing */
	KTP_FAULT_OOM,
};

struct ktp_error {
	__u32 error;
	__u32 count;		/* of the next faults; ~0: until changed */
};

/*
 * kvm_vcpu_map() of gfn for a vCPU of the caller's mm, then a read and perhaps a
 * write of the 64-bit word at offset through the mapping, then kvm_vcpu_unmap().
 */
#define KTP_VCPU_WRITE		0x01

struct ktp_vcpu_map {
	__s32 vcpu_fd;
	__u32 flags;
	__u64 gfn;
	__u64 offset;
	__u64 value;		/* in: to write; out: what was there */
	__u64 pfn;		/* out: of the map */
	__s32 error;		/* out: of kvm_vcpu_map() */
	__u32 has_page;		/* out: the map has a struct page */
};

#define KTP_IOC			'K'
#define KTP_IOC_CREATE		_IOW(KTP_IOC, 0xe0, struct ktp_create)
#define KTP_IOC_SNAPSHOT	_IOW(KTP_IOC, 0xe1, struct ktp_snapshot)
#define KTP_IOC_REVOKE		_IOW(KTP_IOC, 0xe2, struct ktp_range)
#define KTP_IOC_REPLACE		_IO(KTP_IOC, 0xe3)	/* the argument is the flags */
#define KTP_IOC_CHECK		_IOWR(KTP_IOC, 0xe4, struct ktp_check)
#define KTP_IOC_FREE		_IO(KTP_IOC, 0xe5)	/* revoke, poison, free; then SIGBUS */
#define KTP_IOC_PEEK		_IOW(KTP_IOC, 0xe6, struct ktp_access)
#define KTP_IOC_POKE		_IOW(KTP_IOC, 0xe7, struct ktp_access)
#define KTP_IOC_STORM_START	_IOW(KTP_IOC, 0xe8, struct ktp_storm)
#define KTP_IOC_STORM_STOP	_IOR(KTP_IOC, 0xe9, struct ktp_storm)
#define KTP_IOC_FAULT_ERROR	_IOW(KTP_IOC, 0xea, struct ktp_error)
#define KTP_IOC_VCPU_MAP	_IOWR(KTP_IOC, 0xeb, struct ktp_vcpu_map)

/*
 * The stage-2 leaf at a guest address, as the host's own tables have it.
 * EOPNOTSUPP when EL2 has them; ENOENT when there is no leaf at that address.
 */
struct ktp_stage2 {
	__s32 vcpu_fd;
	__s32 level;		/* out */
	__u64 gpa;
	__u64 pte;		/* out */
};

#define KTP_IOC_STAGE2		_IOWR(KTP_IOC, 0xee, struct ktp_stage2)

/* One more reference to the page at a user address, until UNHOLD or close(). */
#define KTP_IOC_HOLD		_IOW(KTP_IOC, 0xec, __u64)
#define KTP_IOC_UNHOLD		_IO(KTP_IOC, 0xed)

/*
 * The next fault of a vCPU at gpa is held up on its way from the exit to the
 * look-up, by a busy CPU. One at a time for each file. STALL is EOPNOTSUPP when the
 * kernel has no tracepoint there.
 */
#define KTP_STALL_MS		5000	/* at most */

struct ktp_stall {
	__s32 vcpu_fd;
	__u32 pad;
	__u64 gpa;		/* of a page */
};

#define KTP_IOC_STALL		_IOW(KTP_IOC, 0xef, struct ktp_stall)
/* Wait as long for the fault to come; the result is its syndrome. Or ETIMEDOUT. */
#define KTP_IOC_STALLED		_IOR(KTP_IOC, 0xf0, __u64)
/* Let it go on. ETIMEDOUT unless it was held up until now. */
#define KTP_IOC_GO		_IO(KTP_IOC, 0xf1)

#endif /* KVM_TEST_PAGES_H */
