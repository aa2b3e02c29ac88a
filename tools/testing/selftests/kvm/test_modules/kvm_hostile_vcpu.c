// SPDX-License-Identifier: GPL-2.0-only
/*
 * /dev/kvm_hostile_vcpu: the host kernel's end of a vCPU, misused. Enters vCPUs by
 * themselves, without KVM's code around it, with every field of struct kvm_vcpu set to
 * nonsense; shows all that the host can find after the exit, in the structures and in
 * the CPU; and changes fields from another CPU while EL2 looks at them.
 *
 * KVM sees none of it: its own values are there again before it comes back to them.
 * Only for tests.
 */
#include <linux/arm-smccc.h>
#include <linux/capability.h>
#include <linux/cleanup.h>
#include <linux/cpufeature.h>
#include <linux/delay.h>
#include <linux/kthread.h>
#include <linux/kvm_host.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>

#include <asm/kvm_asm.h>
#include <asm/kvm_pkvm.h>
#include <asm/sysreg.h>
#include <asm/virt.h>

#include "kvm_hostile_file.h"
#include "kvm_hostile_vcpu.h"

#define MAX_ENTRIES	1000

/* How long an interrupt may take to come: the timer's does so each tick. */
#define IRQ_WAIT_US	(100 * USEC_PER_MSEC)

#define IFLAGS_ANSWER	(unpack_vcpu_flag(PENDING_EXCEPTION) | \
			 unpack_vcpu_flag(EXCEPT_MASK))

static s64 enter(struct kvm_vcpu *vcpu)
{
	struct arm_smccc_res res;

	arm_smccc_1_1_hvc(KVM_HOST_SMCCC_FUNC(__kvm_vcpu_run), vcpu, 0, 0, 0, 0, 0, &res);
	return res.a0 ? -EOPNOTSUPP : res.a1;
}

static void set_cntvoff(u64 offset)
{
	struct arm_smccc_res res;

	arm_smccc_1_1_hvc(KVM_HOST_SMCCC_FUNC(__kvm_timer_set_cntvoff), offset, &res);
}

/* ------------------------------------------------------- the host's structures */

#define OFFSET(field)	offsetof(struct kvm_vcpu, field)
#define END(field)	offsetofend(struct kvm_vcpu, field)

/*
 * What no other CPU looks at, so that it may hold anything while this one has
 * interrupts off: all but locks, lists, timers and perf events.
 */
static const struct span {
	size_t start, end;
} ranges[] = {
	{ OFFSET(arch.ctxt), OFFSET(arch.vgic_cpu) },
	{ OFFSET(arch.vgic_cpu.vgic_v3), OFFSET(arch.vgic_cpu.vgic_v3.its_vpe) },
	{ OFFSET(arch.vgic_cpu.vgic_v3.its_vpe.its_vm),
	  END(arch.vgic_cpu.vgic_v3.its_vpe.its_vm) },
	{ OFFSET(arch.vgic_cpu.vgic_v3.used_lrs), END(arch.vgic_cpu.vgic_v3.used_lrs) },
	{ OFFSET(arch.guest_debug_preserved), END(arch.mp_state) },
	{ OFFSET(arch.stage2_mc), END(arch.ccsidr) },
	{ OFFSET(vcpu_id), END(vcpu_id) },
	{ OFFSET(vcpu_idx), END(vcpu_idx) },
};

static u64 mix(u64 x)
{
	x = (x ^ (x >> 31)) * 0x7fb5d329728ea185;
	x = (x ^ (x >> 27)) * 0x81dadef4bc2dd44d;
	return x ^ (x >> 33);
}

/* Another value in each word; bytes at the end of a range are the last word's. */
static void fill(void *vcpu, u64 seed)
{
	const struct span *r;
	size_t at;
	u64 val;

	for (r = ranges; r < ranges + ARRAY_SIZE(ranges); r++) {
		for (at = r->start; at < r->end; at += sizeof(val)) {
			val = mix(seed + at);
			memcpy(vcpu + at, &val, min(sizeof(val), r->end - at));
		}
	}
}

static void copy_ranges(void *to, const void *from)
{
	const struct span *r;

	for (r = ranges; r < ranges + ARRAY_SIZE(ranges); r++)
		memcpy(to + r->start, from + r->start, r->end - r->start);
}

#define REG(n)		OFFSET(arch.ctxt.regs.regs[n])
#define SYS(name)	(OFFSET(arch.ctxt.sys_regs) + 8 * (name))

static void name_change(struct khv_change *c, size_t at)
{
	size_t lr = OFFSET(arch.vgic_cpu.vgic_v3.vgic_lr);

	c->index = 0;
	if (at >= REG(0) && at < REG(31)) {
		c->what = KHV_X;
		c->index = (at - REG(0)) / 8;
	} else if (at == OFFSET(arch.ctxt.regs.pstate)) {
		c->what = KHV_PSTATE;
	} else if (at == SYS(SCTLR_EL1)) {
		c->what = KHV_SCTLR;
	} else if (at == OFFSET(arch.fault.esr_el2)) {
		c->what = KHV_ESR;
	} else if (at == OFFSET(arch.fault.far_el2)) {
		c->what = KHV_FAR;
	} else if (at == OFFSET(arch.fault.hpfar_el2)) {
		c->what = KHV_HPFAR;
	} else if (at == OFFSET(arch.fault.disr_el1)) {
		c->what = KHV_DISR;
	} else if (at == OFFSET(arch.hcr_el2)) {
		c->what = KHV_HCR;
	} else if (at == ALIGN_DOWN(OFFSET(arch.iflags), 8)) {
		c->what = KHV_FLAGS;
	} else if (at == ALIGN_DOWN(OFFSET(arch.vgic_cpu.vgic_v3.vgic_hcr), 8)) {
		c->what = KHV_VGIC_HCR;
	} else if (at >= lr && at < lr + 8 * VGIC_V3_MAX_LRS) {
		c->what = KHV_VGIC_LR;
		c->index = (at - lr) / 8;
	} else {
		c->what = KHV_OTHER;
		c->index = at;
	}
}

/* The words of the ranges in which two copies differ. */
static u32 compare(struct khv_change *changes, const void *before, const void *after)
{
	const struct span *r;
	u32 nr = 0;
	size_t at;

	for (r = ranges; r < ranges + ARRAY_SIZE(ranges); r++) {
		for (at = ALIGN_DOWN(r->start, 8); at < r->end; at += 8) {
			const u64 *b = before + at, *a = after + at;

			if (*a == *b || nr == KHV_MAX_CHANGES)
				continue;
			changes[nr].before = *b;
			changes[nr].after = *a;
			name_change(&changes[nr++], at);
		}
	}
	return nr;
}

/* ---------------------------------------------------------------- the CPU itself */

static noinline void read_q(u64 *q)
{
	asm volatile(".arch_extension fp\n"
		     ".arch_extension simd\n"
		     "st1 {v0.2d-v3.2d}, [%0], #64\n"
		     "st1 {v4.2d-v7.2d}, [%0], #64\n"
		     "st1 {v8.2d-v11.2d}, [%0], #64\n"
		     "st1 {v12.2d-v15.2d}, [%0], #64\n"
		     "st1 {v16.2d-v19.2d}, [%0], #64\n"
		     "st1 {v20.2d-v23.2d}, [%0], #64\n"
		     "st1 {v24.2d-v27.2d}, [%0], #64\n"
		     "st1 {v28.2d-v31.2d}, [%0], #64\n"
		     : "+r" (q) :: "memory");
}

/* Known to the kernel or not. */
static bool has_tpidr2(void)
{
	return read_sysreg(id_aa64pfr1_el1) & ID_AA64PFR1_EL1_SME_MASK;
}

static u64 read_tpidr2(void)
{
	return has_tpidr2() ? read_sysreg_s(SYS_TPIDR2_EL0) : 0;
}

static void write_tpidr2(u64 val)
{
	if (has_tpidr2())
		write_sysreg_s(val, SYS_TPIDR2_EL0);
}

static noinline void read_live(struct khv_live *l)
{
	read_q(l->q);
	l->fpcr = read_sysreg(fpcr);
	l->fpsr = read_sysreg(fpsr);
	memset(l->keys, 0, sizeof(l->keys));
	if (cpus_have_final_cap(ARM64_HAS_ADDRESS_AUTH)) {
		l->keys[0] = read_sysreg_s(SYS_APIAKEYLO_EL1);
		l->keys[1] = read_sysreg_s(SYS_APIAKEYHI_EL1);
		l->keys[2] = read_sysreg_s(SYS_APIBKEYLO_EL1);
		l->keys[3] = read_sysreg_s(SYS_APIBKEYHI_EL1);
		l->keys[4] = read_sysreg_s(SYS_APDAKEYLO_EL1);
		l->keys[5] = read_sysreg_s(SYS_APDAKEYHI_EL1);
		l->keys[6] = read_sysreg_s(SYS_APDBKEYLO_EL1);
		l->keys[7] = read_sysreg_s(SYS_APDBKEYHI_EL1);
	}
	if (cpus_have_final_cap(ARM64_HAS_GENERIC_AUTH)) {
		l->keys[8] = read_sysreg_s(SYS_APGAKEYLO_EL1);
		l->keys[9] = read_sysreg_s(SYS_APGAKEYHI_EL1);
	}
	l->sys[0] = read_sysreg(sp_el0);
	l->sys[1] = read_sysreg(tpidr_el0);
	l->sys[2] = read_sysreg(tpidrro_el0);
	l->sys[3] = read_sysreg(tpidr_el1);
	l->sys[4] = read_sysreg(contextidr_el1);
	l->sys[5] = read_sysreg(ttbr0_el1);
	l->sys[6] = read_sysreg(ttbr1_el1);
	l->sys[7] = read_sysreg(tcr_el1);
	l->sys[8] = read_sysreg(mair_el1);
	l->sys[9] = read_sysreg(amair_el1);
	l->sys[10] = read_sysreg(afsr0_el1);
	l->sys[11] = read_sysreg(afsr1_el1);
	l->sys[12] = read_sysreg(esr_el1);
	l->sys[13] = read_sysreg(far_el1);
	l->sys[14] = read_sysreg(elr_el1);
	l->sys[15] = read_sysreg(spsr_el1);
	l->sys[16] = read_sysreg(par_el1);
	l->sys[17] = read_sysreg(cntkctl_el1);
	l->sys[18] = read_sysreg(mdscr_el1);
	l->sys[19] = read_tpidr2();
}

/* ------------------------------------------------------------------ one exit */

struct attempt {
	struct khv_live live[2];
	struct khv_change changes[KHV_MAX_CHANGES];
	struct kvm_vcpu *saved, *before, *after;
};

static void wait_for_irq(void)
{
	int us;

	for (us = 0; us < IRQ_WAIT_US && !(read_sysreg(isr_el1) & ISR_EL1_I); us++)
		udelay(1);
}

static void enter_once(struct kvm_vcpu *vcpu, struct khv_run *args, struct attempt *a,
		       u64 seed)
{
	unsigned long flags;
	u64 tpidr2;

	local_irq_save(flags);
	copy_ranges(a->saved, vcpu);
	tpidr2 = read_tpidr2();
	if (args->flags & KHV_FILL) {
		fill(vcpu, seed);
		write_tpidr2(~seed);
		/* No SError, and no interrupt for the sake of the list registers. */
		vcpu->arch.hcr_el2 &= ~HCR_VSE;
		vcpu->arch.hcr_el2 |= HCR_TWI | HCR_TWE;
		vcpu->arch.vgic_cpu.vgic_v3.vgic_hcr = ICH_HCR_EN;
	}
	vcpu->arch.ctxt.regs.regs[0] = args->x0;
	if (args->flags & KHV_PSTATE_IS)
		vcpu->arch.ctxt.regs.pstate = args->pstate;
	vcpu->arch.iflags = args->iflags;
	memcpy(a->before, vcpu, sizeof(*vcpu));
	if (args->flags & KHV_WAIT_IRQ)
		wait_for_irq();
	read_live(&a->live[0]);
	/* The host's own clock, too: nobody may look at it until it is right again. */
	if (args->cntvoff)
		set_cntvoff(args->cntvoff);
	args->ret = enter(vcpu);
	if (args->cntvoff)
		set_cntvoff(0);
	read_live(&a->live[1]);
	memcpy(a->after, vcpu, sizeof(*vcpu));
	copy_ranges(vcpu, a->saved);
	write_tpidr2(tpidr2);
	/* The answer was given. */
	vcpu->arch.iflags &= ~IFLAGS_ANSWER;
	local_irq_restore(flags);
}

static int run(struct kvm_vcpu *vcpu, struct khv_run *args, struct attempt *a)
{
	if (mutex_lock_killable(&vcpu->mutex))
		return -EINTR;
	vcpu_load(vcpu);
	do {
		preempt_disable();
		enter_once(vcpu, args, a, args->seed + (args->nr_entries << 32));
		preempt_enable();
		args->iflags = 0;
		args->nr_entries++;
	} while (args->ret == ARM_EXCEPTION_IRQ && !(args->flags & KHV_WAIT_IRQ) &&
		 args->nr_entries < MAX_ENTRIES);
	vcpu_put(vcpu);
	mutex_unlock(&vcpu->mutex);
	return 0;
}

static int show(struct kvm_vcpu *vcpu, struct khv_run *args, struct attempt *a)
{
	void __user *to = u64_to_user_ptr(args->seen);
	size_t room = args->seen_size;

	args->nr_changes = compare(a->changes, a->before, a->after);
	args->esr = a->after->arch.fault.esr_el2;
	memcpy(args->x, a->after->arch.ctxt.regs.regs, sizeof(args->x));
	args->seen_size = sizeof(*vcpu) + sizeof(*vcpu->kvm);
	if (room < args->seen_size)
		return -ENOSPC;
	if (copy_to_user(to, a->after, sizeof(*vcpu)) ||
	    copy_to_user(to + sizeof(*vcpu), vcpu->kvm, sizeof(*vcpu->kvm)) ||
	    copy_to_user(u64_to_user_ptr(args->live), a->live, sizeof(a->live)) ||
	    copy_to_user(u64_to_user_ptr(args->changes), a->changes, sizeof(a->changes)))
		return -EFAULT;
	return 0;
}

static int do_run(struct khv_run *args)
{
	struct file *file __free(fput) = fget(args->vcpu_fd);
	struct attempt *a __free(kfree) = kzalloc(sizeof(*a), GFP_KERNEL);
	struct kvm_vcpu *copies __free(kvfree) = NULL, *vcpu = vcpu_of(file);
	int err;

	if (IS_ERR(vcpu))
		return PTR_ERR(vcpu);
	if (args->flags & ~KHV_RUN_FLAGS)
		return -EINVAL;
	copies = kvcalloc(3, sizeof(*copies), GFP_KERNEL);
	if (!a || !copies)
		return -ENOMEM;
	a->saved = copies;
	a->before = copies + 1;
	a->after = copies + 2;
	args->nr_entries = 0;
	err = run(vcpu, args, a);
	return err ?: show(vcpu, args, a);
}

/* ------------------------------------------------------- fields that change */

struct flipper {
	struct task_struct *task;
	struct khv_field *fields;
	u64 *old;
	u64 flips;
	u32 nr;
	int paused;		/* 1: it is to pause; 2: it does */
};

/* The address is the test's word; a page may be EL2's by now. */
static void put(u64 addr, u64 val, u32 len)
{
	store_nofault((void *)addr, val, len);
}

static int flip(void *data)
{
	struct flipper *f = data;
	unsigned int round = 0;
	u32 i;

	while (!kthread_should_stop()) {
		if (READ_ONCE(f->paused)) {
			/* Pairs with flip_pause(): the last change was before. */
			smp_store_release(&f->paused, 2);
			cond_resched();
			continue;
		}
		for (i = 0; i < f->nr; i++) {
			struct khv_field *at = &f->fields[i];

			put(at->addr, at->values[(round + i) % at->nr], at->len);
			f->flips++;
		}
		round++;
		cond_resched();
	}
	return 0;
}

static void flip_free(struct flipper *f)
{
	if (!f)
		return;
	kvfree(f->fields);
	kvfree(f->old);
	kfree(f);
}

static struct flipper *flip_make(const struct khv_flip *args)
{
	size_t size = array_size(args->nr, sizeof(struct khv_field));
	struct flipper *f;
	u32 i;

	if (!args->nr || args->nr > KHV_MAX_FIELDS || args->cpu < 0 ||
	    args->cpu >= nr_cpu_ids || !cpu_online(args->cpu))
		return ERR_PTR(-EINVAL);
	f = kzalloc(sizeof(*f), GFP_KERNEL);
	if (!f)
		return ERR_PTR(-ENOMEM);
	f->nr = args->nr;
	f->old = kvcalloc(args->nr, sizeof(*f->old), GFP_KERNEL);
	f->fields = vmemdup_user(u64_to_user_ptr(args->fields), size);
	if (IS_ERR(f->fields)) {
		int err = PTR_ERR(f->fields);

		f->fields = NULL;
		flip_free(f);
		return ERR_PTR(err);
	}
	for (i = 0; f->old && i < f->nr; i++) {
		struct khv_field *at = &f->fields[i];

		if (!at->nr || at->nr > KHV_MAX_VALUES ||
		    (at->len != 1 && at->len != 4 && at->len != sizeof(u64)) ||
		    copy_from_kernel_nofault(&f->old[i], (void *)at->addr, at->len))
			break;
	}
	if (!f->old || i < f->nr) {
		flip_free(f);
		return ERR_PTR(-EINVAL);
	}
	f->task = kthread_create(flip, f, "khv-flip");
	if (IS_ERR(f->task)) {
		int err = PTR_ERR(f->task);

		flip_free(f);
		return ERR_PTR(err);
	}
	kthread_bind(f->task, args->cpu);
	return f;
}

static void flip_restore(struct flipper *f)
{
	u32 i;

	for (i = 0; i < f->nr; i++)
		put(f->fields[i].addr, f->old[i], f->fields[i].len);
}

/* Without sleeping: from here on everything is as it was. */
static void flip_pause(struct flipper *f)
{
	WRITE_ONCE(f->paused, 1);
	/* Pairs with flip(). */
	while (smp_load_acquire(&f->paused) != 2)
		cpu_relax();
	flip_restore(f);
}

/* Returns how often; restores what flip_pause() has not. */
static u64 flip_stop(struct flipper *f)
{
	bool paused = f->paused;
	u64 flips;

	kthread_stop(f->task);
	if (!paused)
		flip_restore(f);
	flips = f->flips;
	flip_free(f);
	return flips;
}

static void count_exit(struct khv_spin *args, s64 ret)
{
	u32 code = ret < 0 ? KHV_NR_CODES - 1 : ARM_EXCEPTION_CODE(ret);

	args->entries++;
	args->exits[min_t(u32, code, KHV_NR_CODES - 1)]++;
}

/* Without preemption: KVM would look at the vCPU when it is scheduled again. */
static void spin(struct kvm_vcpu *vcpu, struct khv_spin *args)
{
	unsigned long end = jiffies + msecs_to_jiffies(args->ms);
	struct arm_smccc_res res;
	unsigned long flags;
	s64 ret;

	preempt_disable();
	while (time_before(jiffies, end) && !signal_pending(current)) {
		local_irq_save(flags);
		ret = enter(vcpu);
		arm_smccc_1_1_hvc(KVM_HOST_SMCCC_FUNC(__kvm_adjust_pc), vcpu, &res);
		local_irq_restore(flags);
		count_exit(args, ret);
	}
	preempt_enable();
}

static int do_spin(struct khv_spin *args)
{
	struct file *file __free(fput) = fget(args->vcpu_fd);
	struct kvm_vcpu *vcpu = vcpu_of(file);
	struct flipper *f;

	if (IS_ERR(vcpu))
		return PTR_ERR(vcpu);
	if (args->ms > KHV_MAX_MS)
		return -EINVAL;
	f = flip_make(&args->flip);
	if (IS_ERR(f))
		return PTR_ERR(f);
	args->entries = 0;
	memset(args->exits, 0, sizeof(args->exits));
	mutex_lock(&vcpu->mutex);
	vcpu_load(vcpu);
	/* Not even between the first change and the last. */
	preempt_disable();
	wake_up_process(f->task);
	spin(vcpu, args);
	flip_pause(f);
	vcpu->arch.iflags &= ~IFLAGS_ANSWER;
	preempt_enable();
	vcpu_put(vcpu);
	args->flip.flips = flip_stop(f);
	mutex_unlock(&vcpu->mutex);
	return 0;
}

/* ------------------------------------------------------------------ the device */

static int do_where(struct khv_where *args)
{
	struct file *file __free(fput) = fget(args->vcpu_fd);
	struct kvm_vcpu *vcpu = vcpu_of(file);
	struct vgic_v3_cpu_if *cpu_if;
	struct kvm_vcpu_arch *arch;
	struct kvm *kvm;

	if (IS_ERR(vcpu))
		return PTR_ERR(vcpu);
	arch = &vcpu->arch;
	cpu_if = &arch->vgic_cpu.vgic_v3;
	kvm = vcpu->kvm;
	*args = (struct khv_where) {
		.vcpu_fd	= args->vcpu_fd,
		.nr_sys		= ARRAY_SIZE(arch->ctxt.sys_regs),
		.regs		= (u64)&arch->ctxt.regs,
		.sys		= (u64)arch->ctxt.sys_regs,
		.fpsimd		= (u64)&arch->ctxt.fp_regs,
		.hcr		= (u64)&arch->hcr_el2,
		.mdcr		= (u64)&arch->mdcr_el2,
		.vsesr		= (u64)&arch->vsesr_el2,
		.flags		= (u64)&arch->cflags,
		.debug_ptr	= (u64)&arch->debug_ptr,
		.debug_state	= (u64)&arch->vcpu_debug_state,
		.debug_size	= sizeof(arch->vcpu_debug_state),
		.vgic_hcr	= (u64)&cpu_if->vgic_hcr,
		.vgic_vmcr	= (u64)&cpu_if->vgic_vmcr,
		.vgic_sre	= (u64)&cpu_if->vgic_sre,
		.vgic_lr	= (u64)cpu_if->vgic_lr,
		.vgic_its_vm	= (u64)&cpu_if->its_vpe.its_vm,
		.vgic_used_lrs	= (u64)&cpu_if->used_lrs,
		.sve_state	= (u64)&arch->sve_state,
		.sve_vl		= (u64)&arch->sve_max_vl,
		.vcpu_id	= (u64)&vcpu->vcpu_id,
		.vcpu_idx	= (u64)&vcpu->vcpu_idx,
		.mp_state	= (u64)&arch->mp_state.mp_state,
		.hw_mmu		= (u64)&arch->hw_mmu,
		.running_vcpu	= (u64)&arch->ctxt.__hyp_running_vcpu,
		.kvm_created	= (u64)&kvm->arch.pkvm.nr_vcpus,
		.kvm_enabled	= (u64)&kvm->arch.pkvm.enabled,
		.kvm_flags	= (u64)&kvm->arch.flags,
		.kvm_id_regs	= (u64)kvm->arch.id_regs,
		.kvm_nr_id_regs	= ARRAY_SIZE(kvm->arch.id_regs),
		.kvm_fgu	= (u64)kvm->arch.fgu,
		.kvm_teardown_mc = (u64)&kvm->arch.pkvm.teardown_mc,
		.kvm_size	= sizeof(*kvm),
		.vcpu_size	= sizeof(*vcpu),
	};
	return 0;
}

struct session {
	struct mutex lock;	/* of flipper */
	struct flipper *flipper;
};

static int do_flip_start(struct session *s, struct khv_flip *args)
{
	struct flipper *f;
	int tries;

	guard(mutex)(&s->lock);
	if (s->flipper)
		return -EBUSY;
	f = flip_make(args);
	if (IS_ERR(f))
		return PTR_ERR(f);
	s->flipper = f;
	wake_up_process(f->task);
	/* It may be a while until its CPU has time for it. */
	for (tries = 0; tries < 100000 && !READ_ONCE(f->flips) && !signal_pending(current);
	     tries++)
		usleep_range(50, 100);
	return 0;
}

static int do_flip_stop(struct session *s, struct khv_flip *args)
{
	guard(mutex)(&s->lock);
	if (!s->flipper)
		return -ENOENT;
	args->flips = flip_stop(s->flipper);
	s->flipper = NULL;
	return 0;
}

static long khv_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct session *s = file->private_data;
	void __user *user = (void __user *)arg;
	union {
		struct khv_run run;
		struct khv_spin spin;
		struct khv_flip flip;
		struct khv_where where;
	} u = {};
	long err;

	if (_IOC_SIZE(cmd) > sizeof(u))
		return -ENOTTY;
	if (_IOC_DIR(cmd) & _IOC_WRITE && copy_from_user(&u, user, _IOC_SIZE(cmd)))
		return -EFAULT;
	switch (cmd) {
	case KHV_IOC_RUN:
		err = do_run(&u.run);
		break;
	case KHV_IOC_SPIN:
		err = do_spin(&u.spin);
		break;
	case KHV_IOC_FLIP_START:
		err = do_flip_start(s, &u.flip);
		break;
	case KHV_IOC_FLIP_STOP:
		err = do_flip_stop(s, &u.flip);
		break;
	case KHV_IOC_WHERE:
		err = do_where(&u.where);
		break;
	default:
		err = -ENOTTY;
	}
	if (!err && _IOC_DIR(cmd) & _IOC_READ && copy_to_user(user, &u, _IOC_SIZE(cmd)))
		err = -EFAULT;
	return err;
}

static int khv_open(struct inode *inode, struct file *file)
{
	struct session *s;

	if (!capable(CAP_SYS_ADMIN))
		return -EPERM;
	s = kzalloc(sizeof(*s), GFP_KERNEL);
	if (!s)
		return -ENOMEM;
	mutex_init(&s->lock);
	file->private_data = s;
	return 0;
}

static int khv_release(struct inode *inode, struct file *file)
{
	struct session *s = file->private_data;

	if (s->flipper)
		flip_stop(s->flipper);
	kfree(s);
	return 0;
}

static const struct file_operations khv_fops = {
	.owner		= THIS_MODULE,
	.open		= khv_open,
	.release	= khv_release,
	.unlocked_ioctl	= khv_ioctl,
	.llseek		= noop_llseek,
};

static struct miscdevice khv_device = {
	.minor	= MISC_DYNAMIC_MINOR,
	.name	= "kvm_hostile_vcpu",
	.fops	= &khv_fops,
	.mode	= 0600,
};

static int __init khv_init(void)
{
	return is_protected_kvm_enabled() ? misc_register(&khv_device) : -ENODEV;
}

static void __exit khv_exit(void)
{
	misc_deregister(&khv_device);
}

module_init(khv_init);
module_exit(khv_exit);
MODULE_DESCRIPTION("The host's end of a vCPU, misused, for the KVM selftests");
MODULE_LICENSE("GPL");
