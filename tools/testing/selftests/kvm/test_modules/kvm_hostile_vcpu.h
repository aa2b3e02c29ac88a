/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/*
 * The ioctls of /dev/kvm_hostile_vcpu, shared by the module and the tests: how a host
 * kernel enters a vCPU with whatever it likes in its structure, what it finds there
 * after an exit, and fields that change under EL2's eyes.
 */
#ifndef KVM_HOSTILE_VCPU_H
#define KVM_HOSTILE_VCPU_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define KHV_DEVICE		"/dev/kvm_hostile_vcpu"
#define KHV_MODULE		"kvm_hostile_vcpu.ko"

/* Where EL2 wrote into the host's struct kvm_vcpu. */
enum khv_what {
	KHV_X,			/* index: which general register */
	KHV_PSTATE,
	KHV_SCTLR,
	KHV_ESR,
	KHV_FAR,
	KHV_HPFAR,
	KHV_DISR,
	KHV_HCR,
	KHV_FLAGS,		/* the word with the iflags */
	KHV_VGIC_HCR,
	KHV_VGIC_LR,
	KHV_OTHER,		/* index: offset in struct kvm_vcpu */
	KHV_NR_WHAT,
};

struct khv_change {
	__u32 what;
	__u32 index;
	__u64 before;
	__u64 after;
};

#define KHV_MAX_CHANGES		64
#define KHV_NR_Q		64
#define KHV_NR_KEYS		10
#define KHV_NR_SYS		20

/* What the host finds in the CPU itself when EL2 returns. */
struct khv_live {
	__u64 q[KHV_NR_Q];
	__u64 fpcr;
	__u64 fpsr;
	__u64 keys[KHV_NR_KEYS];
	__u64 sys[KHV_NR_SYS];
};

#define KHV_FILL		1	/* every field has a new value before each entry */
#define KHV_WAIT_IRQ		2	/* enter when an interrupt is pending */
#define KHV_PSTATE_IS		4	/* enter with the PSTATE given, if it is the host's */
#define KHV_RUN_FLAGS		7

/* Enter a vCPU, again after interrupts, until it exits for another reason. */
struct khv_run {
	__s32 vcpu_fd;
	__u32 flags;
	__u64 seed;		/* of the values for KHV_FILL */
	__u64 x0;		/* the answer to the last exit */
	__u64 cntvoff;		/* CNTVOFF_EL2 at the entry, and 0 after the exit */
	__u64 pstate;		/* for KHV_PSTATE_IS */
	__u32 iflags;		/* the answer, as x0 */
	__u32 nr_changes;	/* out */
	__u64 changes;		/* struct khv_change[KHV_MAX_CHANGES] */
	__u64 seen;		/* where to copy the structures, after the last entry */
	__u64 seen_size;	/* in; out: how much there is */
	__u64 live;		/* struct khv_live[2]: before and after the last entry */
	__u64 nr_entries;	/* out */
	__s64 ret;		/* out: what EL2 returned */
	__u64 esr;		/* out, as the host finds it */
	__u64 x[4];		/* out, the same */
};

#define KHV_MAX_VALUES		4
#define KHV_MAX_FIELDS		512

/* A field that another CPU fills with one value after the other. */
struct khv_field {
	__u64 addr;		/* the kernel's */
	__u32 len;		/* 1, 4 or 8 */
	__u32 nr;		/* of the values */
	__u64 values[KHV_MAX_VALUES];
};

/* START returns at once; STOP puts back what was there, and says how often. */
struct khv_flip {
	__u64 fields;		/* struct khv_field[nr] */
	__u32 nr;
	__s32 cpu;
	__u64 flips;		/* out of STOP */
};

#define KHV_NR_CODES		8
#define KHV_MAX_MS		1000

/* Enter a vCPU again and again while the fields change, for KHV_MAX_MS at most. */
struct khv_spin {
	__s32 vcpu_fd;
	__u32 ms;
	struct khv_flip flip;
	__u64 entries;			/* out */
	__u64 exits[KHV_NR_CODES];	/* out, by ARM_EXCEPTION_CODE(); the last: errors */
};

/* Where fields are that EL2 reads; all are addresses of the kernel. */
struct khv_where {
	__s32 vcpu_fd;
	__u32 nr_sys;		/* out: words at sys */
	__u64 regs;		/* x0 to x30, SP, PC, PSTATE */
	__u64 sys;		/* the system registers */
	__u64 fpsimd;		/* struct user_fpsimd_state */
	__u64 hcr, mdcr, vsesr;
	__u64 flags;		/* cflags, iflags, sflags; a byte each */
	__u64 debug_ptr, debug_state, debug_size;
	__u64 vgic_hcr, vgic_vmcr, vgic_sre, vgic_lr, vgic_its_vm, vgic_used_lrs;
	__u64 sve_state, sve_vl;
	__u64 vcpu_id, vcpu_idx, mp_state, hw_mmu, running_vcpu;
	__u64 kvm_created, kvm_enabled, kvm_flags, kvm_id_regs, kvm_nr_id_regs, kvm_fgu;
	__u64 kvm_teardown_mc;
	__u32 kvm_size, vcpu_size;
};

#define KHV_IOC			'K'
#define KHV_IOC_RUN		_IOWR(KHV_IOC, 0xe0, struct khv_run)
#define KHV_IOC_SPIN		_IOWR(KHV_IOC, 0xe1, struct khv_spin)
#define KHV_IOC_FLIP_START	_IOW(KHV_IOC, 0xe2, struct khv_flip)
#define KHV_IOC_FLIP_STOP	_IOR(KHV_IOC, 0xe3, struct khv_flip)
#define KHV_IOC_WHERE		_IOWR(KHV_IOC, 0xe4, struct khv_where)

#endif /* KVM_HOSTILE_VCPU_H */
