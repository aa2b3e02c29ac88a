/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/*
 * The ioctls of /dev/kvm_el2_dump, shared by the module and the tests: what EL2 of a
 * kernel with NVHE_EL2_DEBUG has in its tables. Changes nothing.
 */
#ifndef KVM_EL2_DUMP_H
#define KVM_EL2_DUMP_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define KED_DEVICE		"/dev/kvm_el2_dump"
#define KED_MODULE		"kvm_el2_dump.ko"

enum ked_table {
	KED_HOST,		/* the host's, of a page frame */
	KED_HYP,		/* EL2's own, of a page frame */
	KED_GUEST,		/* that of a VM, of a guest frame */
};

/* One entry, and what else EL2 notes: see arch/arm64/include/asm/pkvm_dump.h. */
struct ked_page {
	__u32 table;
	__u32 handle;		/* for KED_GUEST */
	__u64 frame;
	__s64 ret;		/* out: 0 or an errno of EL2's */
	__u64 entry;		/* out */
	__u64 note;		/* out */
};

#define KED_LEVEL(note)		((__s8)(note))
#define KED_REFCOUNT(note)	((note) >> 8 & 0xffff)
#define KED_BLOCKS(note)	((note) >> 32 & 0xff)

struct ked_dump {
	__u64 pages;		/* struct ked_page[nr] */
	__u32 nr;
	__u32 pad;
};

/* What the host's table says of a range: pages by whose they are. */
enum ked_owner {
	KED_OF_HOST,		/* and nobody else's */
	KED_OF_HYP,
	KED_OF_FFA,
	KED_OF_GUEST,
	KED_SHARED,		/* the host's, and lent */
	KED_BORROWED,		/* lent to the host */
	KED_NR_OWNERS,
};

struct ked_count {
	__u64 pfn;
	__u64 nr;
	__u64 pages[KED_NR_OWNERS];	/* out */
};

#define KED_IOC			'K'
#define KED_IOC_DUMP		_IOW(KED_IOC, 0xd0, struct ked_dump)
#define KED_IOC_COUNT		_IOWR(KED_IOC, 0xd1, struct ked_count)

#endif /* KVM_EL2_DUMP_H */
