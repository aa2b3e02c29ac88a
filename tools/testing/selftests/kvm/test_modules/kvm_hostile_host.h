/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/*
 * The ioctls of /dev/kvm_hostile_host, shared by the module and the test: what a
 * host kernel that wants to break EL2 can do. The numbers of the calls to EL2 are
 * the kernel's own business, so that the test names them by enum khh_fn.
 */
#ifndef KVM_HOSTILE_HOST_H
#define KVM_HOSTILE_HOST_H

#include <linux/const.h>
#include <linux/ioctl.h>
#include <linux/types.h>

#define KHH_DEVICE		"/dev/kvm_hostile_host"
#define KHH_MODULE		"kvm_hostile_host.ko"

/* KHH_x is the call that the kernel has as __KVM_HOST_SMCCC_FUNC___x. */
enum khh_fn {
	KHH_pkvm_prot_finalize,
	KHH_pkvm_host_share_hyp,
	KHH_pkvm_host_unshare_hyp,
	KHH_kvm_vcpu_run,
	KHH_kvm_adjust_pc,
	KHH_vgic_v3_save_vmcr_aprs,
	KHH_vgic_v3_restore_vmcr_aprs,
	KHH_pkvm_init_vm,
	KHH_pkvm_init_vcpu,
	KHH_pkvm_vcpu_load,
	KHH_pkvm_vcpu_put,
	KHH_pkvm_host_donate_guest,
	KHH_pkvm_host_can_access,
	KHH_pkvm_host_force_reclaim,
	KHH_pkvm_host_share_guest,
	KHH_pkvm_host_relax_guest,
	KHH_pkvm_guest_stage2_op,
	KHH_pkvm_start_teardown_vm,
	KHH_pkvm_reclaim_guest_pages,
	KHH_pkvm_finalize_teardown_vm,
	KHH_NR_FUNCTIONS,
	KHH_NUMBER,		/* id is the number of one of EL2's calls */
	KHH_WHOLE,		/* id is all of register 0 */
	/* No calls, but what a host does between them, at a kernel address. */
	KHH_STORE,		/* args: address, value, bytes */
	KHH_LOAD,		/* args: address, 0, bytes; the value is ret */
	/* To the firmware, as EL2 lets it: id is all of register 0. */
	KHH_SMC,
};

/* As KVM_PGTABLE_PROT_*; the module checks that they are. */
#define KHH_X			_BITULL(0)
#define KHH_W			_BITULL(1)
#define KHH_R			_BITULL(2)
#define KHH_DEV			_BITULL(3)
#define KHH_NC			_BITULL(4)
#define KHH_SW(n)		_BITULL(55 + (n))

/* As PKVM_S2_*. */
enum khh_op {
	KHH_OP_UNSHARE,
	KHH_OP_WRPROTECT,
	KHH_OP_FLUSH,
	KHH_OP_TEST_YOUNG,
	KHH_OP_CLEAR_YOUNG,
	KHH_OP_TLBI,
	KHH_NR_OPS,
};

#define KHH_NR_ARGS		6
#define KHH_MAX_REPEAT		4096
#define KHH_MAX_CALLS		8

/* A call to EL2, or several: each time step is added, until one is not answered by 0. */
struct khh_call {
	__u32 fn;
	__u32 repeat;		/* 0 means 1 */
	__u64 id;
	__u64 args[KHH_NR_ARGS];
	__u64 step[KHH_NR_ARGS];
	__s64 smccc;		/* out: register 0 of the last one */
	__s64 ret;		/* out: register 1 of the last one */
	__u64 done;		/* out: so many were answered by 0 */
};

/*
 * Calls in a row on one CPU without preemption. With a vCPU, that vCPU is loaded
 * as KVM_RUN does it, and put afterwards; else none is, unless the calls do it.
 */
struct khh_calls {
	__s32 cpu;		/* -1: any; with a vCPU it has to be */
	__s32 vcpu_fd;		/* or -1 */
	__u32 nr;
	__u32 pad;
	__u64 calls;		/* struct khh_call[nr] */
};

struct khh_info {
	__u32 first_id;		/* of the calls that are not barred */
	__u32 nr_ids;
	__u32 max_vms;
	__u32 handle_offset;
	__u32 max_pages;	/* in one call that maps */
	__u32 max_op_pages;
};

struct khh_vm {
	__s32 vm_fd;
	__u32 handle;		/* out: 0 before the first run */
	__u32 ipa_bits;		/* out */
	__u32 is_protected;	/* out */
	__u64 addr;		/* out: struct kvm */
	__u64 created_addr;	/* out: vCPUs that EL2 is told of; 4 bytes */
	__u64 pfn;		/* out: its first page */
	__u64 gfn;		/* in: of a page that a protected guest has */
	__u64 guest_pfn;	/* out: that page, or 0 */
};

/* Which pages the host has put out for EL2. SET puts others, and returns those. */
struct khh_mc {
	__s32 vcpu_fd;
	__u32 set;
	__u64 head;		/* in for SET; out */
	__u64 nr;		/* in for SET; out */
	__u64 topup;		/* in: without SET, put out so many at least */
	__u64 addr;		/* out: struct kvm_vcpu */
	__u64 pfn;		/* out: its first page */
	__u64 idx;		/* out */
	__u64 mc_addr;		/* out: where head and nr are */
	__u64 hcr_addr;		/* out: HCR_EL2 as the host wants it */
	__u64 mdcr_addr;	/* out: MDCR_EL2, the same */
	__u64 esr_addr;		/* out: ESR_EL2 of the last exit */
	__u64 cflags_addr;	/* out: what the vCPU has; a byte, as iflags */
	__u64 iflags_addr;	/* out: what is to be done at the next entry */
	__u64 sve_addr;		/* out: the pointer to the SVE registers */
	__u64 sve_vl_addr;	/* out: their length; 4 bytes */
	__u64 x_addr;		/* out: general registers, of which x0 is an answer */
	__u64 pstate_addr;	/* out: PSTATE that the guest is to start with */
	__u64 cpu_if_addr;	/* out: struct vgic_v3_cpu_if */
	__u64 cval_addr;	/* out: CNTV_CVAL_EL0 to be loaded */
	__u64 cntv_ctl_addr;	/* out: CNTV_CTL_EL0, the same */
};

struct khh_pages {
	__u32 order;		/* for ALLOC */
	__u32 pad;
	__u64 pfn;
	__u64 addr;		/* out of ALLOC: the kernel's */
};

/* Eight bytes of any page in the kernel's linear map; EFAULT if that faults. */
struct khh_access {
	__u64 pfn;
	__u64 offset;
	__u64 value;
};

/* Execute one of the instructions that a kernel would not, on this CPU. */
struct khh_insn {
	__u32 index;
	__u32 nr;		/* out: how many there are */
	__u64 esr;		/* out: of the exception at EL1; 0 if there was none */
	char name[32];		/* out */
};

/*
 * Access an address by one of many instructions, and say how that ended. With ttbr0
 * it is one of the lower half, in tables of the caller's: 39 bits, three levels.
 */
struct khh_try {
	__u32 index;
	__u32 nr;		/* out: how many there are */
	__u64 addr;
	__u64 ttbr0;		/* or 0: the kernel's tables */
	__u64 esr;		/* out: of the exception at EL1; 0 if there was none */
	__u64 far;		/* out: the same */
	__u64 value;		/* out: what a load brought */
	char name[32];		/* out */
};

/* Call a function of the kernel's, by its address in /proc/kallsyms. */
struct khh_func {
	__u64 addr;
	__u64 args[4];
	__s64 ret;		/* out */
};

#ifdef __KERNEL__
extern char khh_vectors[], khh_insns[], khh_insns_end[], khh_tries[], khh_tries_end[];
#endif

/*
 * Make vCPUs of one and the same struct kvm_vcpu until EL2 refuses, or there is no
 * memory; then end their VMs. EL2 pins what a vCPU consists of, so often.
 */
struct khh_pins {
	__u64 made;		/* out: vCPUs */
	__s64 ret;		/* out: what EL2 said to the one after */
	__u32 sve;		/* in: each pins itself twice */
	__u32 left;		/* out: pages that did not come back */
};

#define KHH_IOC			'K'
#define KHH_IOC_CALLS		_IOW(KHH_IOC, 0xf0, struct khh_calls)
#define KHH_IOC_INFO		_IOR(KHH_IOC, 0xf1, struct khh_info)
#define KHH_IOC_VM		_IOWR(KHH_IOC, 0xf2, struct khh_vm)
#define KHH_IOC_MC		_IOWR(KHH_IOC, 0xf3, struct khh_mc)
#define KHH_IOC_ALLOC		_IOWR(KHH_IOC, 0xf4, struct khh_pages)
#define KHH_IOC_FREE		_IOW(KHH_IOC, 0xf5, struct khh_pages)
#define KHH_IOC_PEEK		_IOWR(KHH_IOC, 0xf6, struct khh_access)
#define KHH_IOC_POKE		_IOW(KHH_IOC, 0xf7, struct khh_access)
#define KHH_IOC_INSN		_IOWR(KHH_IOC, 0xf8, struct khh_insn)
#define KHH_IOC_PINS		_IOWR(KHH_IOC, 0xf9, struct khh_pins)
#define KHH_IOC_TRY		_IOWR(KHH_IOC, 0xfa, struct khh_try)
#define KHH_IOC_FUNC		_IOWR(KHH_IOC, 0xfb, struct khh_func)
#define KHH_IOC_PEEK_NC		_IOWR(KHH_IOC, 0xfc, struct khh_access)	/* past the caches */

#endif /* KVM_HOSTILE_HOST_H */
