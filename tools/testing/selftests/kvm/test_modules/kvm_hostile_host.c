// SPDX-License-Identifier: GPL-2.0-only
/*
 * /dev/kvm_hostile_host: the host kernel as the attacker of EL2. Calls EL2 with any
 * number and any arguments, in any state of the vCPUs, and lets a test look at
 * the pages and touch them.
 *
 * Only for tests. It opens the whole kernel to whoever may open it.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/arm-smccc.h>
#include <linux/capability.h>
#include <linux/cleanup.h>
#include <linux/kvm_host.h>
#include <linux/list.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/smp.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>

#include <asm/daifflags.h>
#include <asm/kvm_asm.h>
#include <asm/kvm_mmu.h>
#include <asm/kvm_pgtable.h>
#include <asm/kvm_pkvm.h>
#include <asm/virt.h>

#include "kvm_hostile_file.h"
#include "kvm_hostile_host.h"

static_assert(KHH_X == KVM_PGTABLE_PROT_X);
static_assert(KHH_W == KVM_PGTABLE_PROT_W);
static_assert(KHH_R == KVM_PGTABLE_PROT_R);
static_assert(KHH_DEV == KVM_PGTABLE_PROT_DEVICE);
static_assert(KHH_NC == KVM_PGTABLE_PROT_NORMAL_NC);
static_assert(KHH_SW(0) == KVM_PGTABLE_PROT_SW0);
static_assert(KHH_SW(3) == KVM_PGTABLE_PROT_SW3);
static_assert((int)KHH_OP_UNSHARE == PKVM_S2_UNSHARE);
static_assert((int)KHH_OP_FLUSH == PKVM_S2_FLUSH);
static_assert((int)KHH_OP_TLBI == PKVM_S2_TLBI);

#define ID(name)	__KVM_HOST_SMCCC_FUNC___##name

static const u32 function_ids[] = {
	[KHH_pkvm_prot_finalize] = ID(pkvm_prot_finalize),
	[KHH_pkvm_host_share_hyp] = ID(pkvm_host_share_hyp),
	[KHH_pkvm_host_unshare_hyp] = ID(pkvm_host_unshare_hyp),
	[KHH_kvm_vcpu_run] = ID(kvm_vcpu_run),
	[KHH_kvm_adjust_pc] = ID(kvm_adjust_pc),
	[KHH_vgic_v3_save_vmcr_aprs] = ID(vgic_v3_save_vmcr_aprs),
	[KHH_vgic_v3_restore_vmcr_aprs] = ID(vgic_v3_restore_vmcr_aprs),
	[KHH_pkvm_init_vm] = ID(pkvm_init_vm),
	[KHH_pkvm_init_vcpu] = ID(pkvm_init_vcpu),
	[KHH_pkvm_vcpu_load] = ID(pkvm_vcpu_load),
	[KHH_pkvm_vcpu_put] = ID(pkvm_vcpu_put),
	[KHH_pkvm_host_donate_guest] = ID(pkvm_host_donate_guest),
	[KHH_pkvm_host_can_access] = ID(pkvm_host_can_access),
	[KHH_pkvm_host_force_reclaim] = ID(pkvm_host_force_reclaim),
	[KHH_pkvm_host_share_guest] = ID(pkvm_host_share_guest),
	[KHH_pkvm_host_relax_guest] = ID(pkvm_host_relax_guest),
	[KHH_pkvm_guest_stage2_op] = ID(pkvm_guest_stage2_op),
	[KHH_pkvm_start_teardown_vm] = ID(pkvm_start_teardown_vm),
	[KHH_pkvm_reclaim_guest_pages] = ID(pkvm_reclaim_guest_pages),
	[KHH_pkvm_finalize_teardown_vm] = ID(pkvm_finalize_teardown_vm),
};

static_assert(ARRAY_SIZE(function_ids) == KHH_NR_FUNCTIONS);

struct block {
	struct list_head list;
	unsigned long pfn;
	unsigned int order;
};

struct session {
	struct mutex lock;	/* of blocks */
	struct list_head blocks;
};

/* ------------------------------------------------------------- calls to EL2 */

static void access_memory(struct khh_call *c)
{
	void *p = (void *)c->args[0];

	c->ret = 0;
	if (c->fn == KHH_STORE)
		c->smccc = store_nofault(p, c->args[1], c->args[2]);
	else
		c->smccc = copy_from_kernel_nofault(&c->ret, p,
						    min_t(u64, c->args[2], sizeof(u64)));
}

/* All 64 bits of register 0: the kernel's own macros send 32. */
#define CONDUIT(insn)							\
static void insn##_with(u64 id, const u64 *a, struct arm_smccc_res *res) \
{									\
	register u64 r0 asm("x0") = id;					\
	register u64 r1 asm("x1") = a[0];				\
	register u64 r2 asm("x2") = a[1];				\
	register u64 r3 asm("x3") = a[2];				\
	register u64 r4 asm("x4") = a[3];				\
	register u64 r5 asm("x5") = a[4];				\
	register u64 r6 asm("x6") = a[5];				\
									\
	asm volatile(#insn " #0"					\
		     : "+r" (r0), "+r" (r1), "+r" (r2), "+r" (r3),	\
		       "+r" (r4), "+r" (r5), "+r" (r6)			\
		     :: "x7", "x8", "x9", "x10", "x11", "x12", "x13",	\
			"x14", "x15", "x16", "x17", "memory");		\
	res->a0 = r0;							\
	res->a1 = r1;							\
}

CONDUIT(hvc)
CONDUIT(smc)

static void call(struct khh_call *c)
{
	u64 id = c->fn < KHH_NR_FUNCTIONS ? function_ids[c->fn] : c->id;
	struct arm_smccc_res res;
	u64 *a = c->args;
	u32 i;
	int j;

	if (c->fn == KHH_STORE || c->fn == KHH_LOAD) {
		access_memory(c);
		return;
	}
	if (c->fn <= KHH_NUMBER)
		id = KVM_HOST_SMCCC_ID(id);

	c->done = 0;
	for (i = 0; i < max(c->repeat, 1U); i++) {
		if (c->fn == KHH_SMC)
			smc_with(id, a, &res);
		else
			hvc_with(id, a, &res);
		c->smccc = res.a0;
		c->ret = res.a1;
		if (c->smccc || c->ret)
			break;
		c->done++;
		for (j = 0; j < KHH_NR_ARGS; j++)
			a[j] += c->step[j];
	}
}

struct batch {
	struct khh_call *calls;
	u32 nr;
};

static void call_all(void *data)
{
	struct batch *b = data;
	u32 i;

	for (i = 0; i < b->nr; i++)
		call(&b->calls[i]);
}

static int calls_with_vcpu(struct batch *b, int fd)
{
	struct file *file __free(fput) = fget(fd);
	struct kvm_vcpu *vcpu = vcpu_of(file);

	if (IS_ERR(vcpu))
		return PTR_ERR(vcpu);
	if (mutex_lock_killable(&vcpu->mutex))
		return -EINTR;
	vcpu_load(vcpu);
	preempt_disable();
	call_all(b);
	preempt_enable();
	vcpu_put(vcpu);
	mutex_unlock(&vcpu->mutex);
	return 0;
}

static int do_calls(struct khh_calls *args)
{
	struct khh_call *calls __free(kfree) = NULL;
	void __user *user = u64_to_user_ptr(args->calls);
	struct batch b = { .nr = args->nr };
	int err = 0;
	u32 i;

	if (args->nr > KHH_MAX_CALLS || (args->cpu >= 0 && args->vcpu_fd >= 0))
		return -EINVAL;
	calls = kcalloc(args->nr, sizeof(*calls), GFP_KERNEL);
	if (!calls)
		return -ENOMEM;
	if (copy_from_user(calls, user, args->nr * sizeof(*calls)))
		return -EFAULT;
	for (i = 0; i < args->nr; i++) {
		if (calls[i].repeat > KHH_MAX_REPEAT || calls[i].fn > KHH_SMC ||
		    calls[i].fn == KHH_NR_FUNCTIONS)
			return -EINVAL;
	}
	b.calls = calls;
	if (args->vcpu_fd >= 0) {
		err = calls_with_vcpu(&b, args->vcpu_fd);
	} else if (args->cpu >= 0) {
		err = smp_call_function_single(args->cpu, call_all, &b, 1);
	} else {
		preempt_disable();
		call_all(&b);
		preempt_enable();
	}
	if (!err && copy_to_user(user, calls, args->nr * sizeof(*calls)))
		err = -EFAULT;
	return err;
}

/* --------------------------------------------------------- VMs and vCPUs */

static int do_info(struct khh_info *info)
{
	*info = (struct khh_info) {
		.first_id	= __KVM_HOST_SMCCC_FUNC___pkvm_prot_finalize,
		.nr_ids		= IS_ENABLED(CONFIG_NVHE_EL2_DEBUG) ?
				  __KVM_HOST_SMCCC_FUNC___pkvm_dump_guest_page + 1 :
				  __KVM_HOST_SMCCC_FUNC___pkvm_finalize_teardown_vm + 1,
		.max_vms	= KVM_MAX_PVMS,
		.handle_offset	= PKVM_HANDLE_OFFSET,
		.max_pages	= PTRS_PER_PTE,
		.max_op_pages	= PKVM_MAX_OP_PAGES,
	};
	return 0;
}

static int do_vm(struct khh_vm *args)
{
	struct file *file __free(fput) = fget(args->vm_fd);
	struct page *page;
	struct kvm *kvm;

	if (!file_is_kvm(file))
		return -EINVAL;
	kvm = file->private_data;
	page = xa_load(&kvm->arch.pkvm.guest_pages, args->gfn);
	args->handle = kvm->arch.pkvm.handle;
	args->is_protected = kvm->arch.pkvm.enabled;
	args->ipa_bits = VTCR_EL2_IPA(kvm->arch.mmu.vtcr);
	args->addr = (u64)kvm;
	args->created_addr = (u64)&kvm->arch.pkvm.nr_vcpus;
	args->pfn = is_vmalloc_addr(kvm) ? vmalloc_to_pfn(kvm) :
					    PHYS_PFN(virt_to_phys(kvm));
	args->guest_pfn = page ? page_to_pfn(page) : 0;
	return 0;
}

static int do_mc(struct khh_mc *args)
{
	struct file *file __free(fput) = fget(args->vcpu_fd);
	struct kvm_vcpu *vcpu = vcpu_of(file);
	struct kvm_hyp_memcache *mc, old;
	int err = 0;

	if (IS_ERR(vcpu))
		return PTR_ERR(vcpu);
	if (mutex_lock_killable(&vcpu->mutex))
		return -EINTR;
	mc = &vcpu->arch.stage2_mc;
	while (!args->set && mc->nr_pages < args->topup) {
		/* As KVM allocates them: it frees them. */
		phys_addr_t *p = (phys_addr_t *)__get_free_page(GFP_KERNEL_ACCOUNT);

		if (!p) {
			err = -ENOMEM;
			break;
		}
		*p = mc->head;
		mc->head = virt_to_phys(p);
		mc->nr_pages++;
	}
	old = *mc;
	if (args->set) {
		mc->head = args->head;
		mc->nr_pages = args->nr;
	}
	mutex_unlock(&vcpu->mutex);
	args->head = old.head;
	args->nr = old.nr_pages;
	args->addr = (u64)vcpu;
	args->pfn = PHYS_PFN(virt_to_phys(vcpu));
	args->idx = vcpu->vcpu_idx;
	args->mc_addr = (u64)mc;
	args->hcr_addr = (u64)&vcpu->arch.hcr_el2;
	args->mdcr_addr = (u64)&vcpu->arch.mdcr_el2;
	args->esr_addr = (u64)&vcpu->arch.fault.esr_el2;
	args->cflags_addr = (u64)&vcpu->arch.cflags;
	args->iflags_addr = (u64)&vcpu->arch.iflags;
	args->sve_addr = (u64)&vcpu->arch.sve_state;
	args->sve_vl_addr = (u64)&vcpu->arch.sve_max_vl;
	args->x_addr = (u64)&vcpu->arch.ctxt.regs.regs[0];
	args->pstate_addr = (u64)&vcpu->arch.ctxt.regs.pstate;
	args->cpu_if_addr = (u64)&vcpu->arch.vgic_cpu.vgic_v3;
	args->cval_addr = (u64)&vcpu->arch.ctxt.sys_regs[CNTV_CVAL_EL0];
	args->cntv_ctl_addr = (u64)&vcpu->arch.ctxt.sys_regs[CNTV_CTL_EL0];
	return err;
}

/* ------------------------------------------------------------------- pages */

static int do_alloc(struct session *s, struct khh_pages *args)
{
	struct block *b __free(kfree) = kzalloc(sizeof(*b), GFP_KERNEL);
	struct page *page;

	if (args->order > MAX_PAGE_ORDER)
		return -EINVAL;
	if (!b)
		return -ENOMEM;
	page = alloc_pages(GFP_KERNEL | __GFP_ZERO | __GFP_NOWARN, args->order);
	if (!page)
		return -ENOMEM;
	b->pfn = page_to_pfn(page);
	b->order = args->order;
	args->pfn = b->pfn;
	args->addr = (u64)page_address(page);
	guard(mutex)(&s->lock);
	list_add(&no_free_ptr(b)->list, &s->blocks);
	return 0;
}

/* Only what is the host's alone can be shared with EL2. */
static bool is_alone(unsigned long pfn)
{
	struct arm_smccc_res res;

	arm_smccc_1_1_hvc(KVM_HOST_SMCCC_FUNC(__pkvm_host_share_hyp), pfn, &res);
	if (res.a0 || res.a1)
		return false;
	arm_smccc_1_1_hvc(KVM_HOST_SMCCC_FUNC(__pkvm_host_unshare_hyp), pfn, &res);
	return !res.a0 && !res.a1;
}

/*
 * A page that somebody else has must not come into other hands. One that EL2 took for its
 * tables KVM frees when the VM ends: such a page a test has to leave to KVM.
 */
static bool free_block(struct block *b)
{
	unsigned long i;
	bool leak = false;

	for (i = 0; i < BIT(b->order) && !leak; i++)
		leak = !is_alone(b->pfn + i);
	list_del(&b->list);
	if (leak)
		pr_info("%lu pages at pfn %#lx did not come back\n", BIT(b->order),
			b->pfn);
	else if (!WARN(page_count(pfn_to_page(b->pfn)) != 1,
		       "pages at pfn %#lx are not the test's any more\n", b->pfn))
		__free_pages(pfn_to_page(b->pfn), b->order);
	kfree(b);
	return leak;
}

static int do_free(struct session *s, struct khh_pages *args)
{
	struct block *b;

	guard(mutex)(&s->lock);
	list_for_each_entry(b, &s->blocks, list) {
		if (b->pfn == args->pfn) {
			free_block(b);
			return 0;
		}
	}
	return -ENOENT;
}

static int do_access(struct khh_access *args, bool write)
{
	void *p;

	if (args->offset > PAGE_SIZE - sizeof(u64) || !pfn_valid(args->pfn))
		return -EINVAL;
	p = page_address(pfn_to_page(args->pfn)) + args->offset;
	if (write)
		return store_nofault(p, args->value, sizeof(u64));
	return copy_from_kernel_nofault(&args->value, p, sizeof(u64));
}

/* The same page, not through the caches. */
static int do_peek_nc(struct khh_access *args)
{
	struct page *page;
	void *p;
	int err;

	if (args->offset > PAGE_SIZE - sizeof(u64) || !pfn_valid(args->pfn))
		return -EINVAL;
	page = pfn_to_page(args->pfn);
	p = vmap(&page, 1, VM_MAP, pgprot_writecombine(PAGE_KERNEL));
	if (!p)
		return -ENOMEM;
	err = copy_from_kernel_nofault(&args->value, p + args->offset, sizeof(u64));
	vunmap(p);
	return err;
}

/* ------------------------------------------------------------ very many vCPUs */

/* More than EL2 takes for a VM, a table or a vCPU. */
#define BIG_ORDER	4
#define VCPU_ORDER	2

struct many {
	struct list_head blocks;
	struct kvm *kvm;
	struct kvm_vcpu *vcpu;
	u32 handles[KVM_MAX_PVMS];
	u32 nr;
};

static s64 el2(u32 id, u64 a, u64 b, u64 c)
{
	struct arm_smccc_res res;

	arm_smccc_1_1_hvc(KVM_HOST_SMCCC_ID(id), a, b, c, 0, 0, 0, &res);
	return res.a0 ? -EOPNOTSUPP : res.a1;
}

static void *many_alloc(struct many *m, unsigned int order)
{
	struct block *b = kzalloc(sizeof(*b), GFP_KERNEL);
	struct page *page = alloc_pages(GFP_KERNEL | __GFP_ZERO | __GFP_NOWARN |
					__GFP_NORETRY, order);

	if (!b || !page) {
		kfree(b);
		if (page)
			__free_pages(page, order);
		return NULL;
	}
	b->pfn = page_to_pfn(page);
	b->order = order;
	list_add(&b->list, &m->blocks);
	return page_address(page);
}

static void *many_shared(struct many *m, size_t size)
{
	void *p = many_alloc(m, get_order(size));
	size_t i;

	for (i = 0; p && i < size; i += PAGE_SIZE)
		el2(ID(pkvm_host_share_hyp), PHYS_PFN(virt_to_phys(p + i)), 0, 0);
	return p;
}

static void many_unshare(void *p, size_t size)
{
	size_t i;

	for (i = 0; p && i < size; i += PAGE_SIZE)
		el2(ID(pkvm_host_unshare_hyp), PHYS_PFN(virt_to_phys(p + i)), 0, 0);
}

/* One VM with as many vCPUs as it can have; 0 if EL2 took them all. */
static s64 many_vcpus(struct many *m, struct khh_pins *args)
{
	void *vm = many_alloc(m, BIG_ORDER), *pgd = many_alloc(m, BIG_ORDER);
	s64 ret = -ENOMEM;
	u32 i;

	if (!vm || !pgd)
		return ret;
	ret = el2(ID(pkvm_init_vm), (u64)m->kvm, (u64)vm, (u64)pgd);
	if (ret < 0)
		return ret;
	m->handles[m->nr] = ret;
	for (i = 0; i < KVM_MAX_VCPUS; i++) {
		void *mem = many_alloc(m, VCPU_ORDER);

		if (!mem || fatal_signal_pending(current))
			return -ENOMEM;
		m->vcpu->vcpu_idx = i;
		ret = el2(ID(pkvm_init_vcpu), m->handles[m->nr], (u64)m->vcpu, (u64)mem);
		if (ret)
			return ret;
		args->made++;
		cond_resched();
	}
	return 0;
}

static int do_pins(struct khh_pins *args)
{
	struct many *m __free(kfree) = kzalloc(sizeof(*m), GFP_KERNEL);
	struct block *b, *next;
	u32 i;

	if (!m)
		return -ENOMEM;
	INIT_LIST_HEAD(&m->blocks);
	m->kvm = many_shared(m, sizeof(*m->kvm));
	m->vcpu = many_shared(m, sizeof(*m->vcpu) + VL_ARCH_MAX * 40);
	args->made = 0;
	args->ret = -ENOMEM;
	if (m->kvm && m->vcpu) {
		m->kvm->arch.pkvm.nr_vcpus = KVM_MAX_VCPUS;
		vcpu_set_flag(m->vcpu, VCPU_INITIALIZED);
		if (args->sve) {
			vcpu_set_flag(m->vcpu, GUEST_HAS_SVE);
			vcpu_set_flag(m->vcpu, VCPU_SVE_FINALIZED);
			m->vcpu->arch.sve_state = m->vcpu;
			m->vcpu->arch.sve_max_vl = SVE_VL_MIN;
		}
		for (args->ret = 0; !args->ret && m->nr < KVM_MAX_PVMS; m->nr++)
			args->ret = many_vcpus(m, args);
	}
	for (i = 0; i < m->nr; i++) {
		if (!m->handles[i])
			continue;
		el2(ID(pkvm_start_teardown_vm), m->handles[i], 0, 0);
		el2(ID(pkvm_finalize_teardown_vm), m->handles[i], 0, 0);
		cond_resched();
	}
	many_unshare(m->kvm, sizeof(*m->kvm));
	many_unshare(m->vcpu, sizeof(*m->vcpu) + VL_ARCH_MAX * 40);
	args->left = 0;
	list_for_each_entry_safe(b, next, &m->blocks, list) {
		args->left += free_block(b);
		cond_resched();
	}
	return 0;
}

/* ---------------------------------------------------- forbidden instructions */

/*
 * What may trap to EL2 because the CPU has it and the kernel does not know it, or was
 * told not to use it: all go to x12. Before them vectors that write down ESR_EL1 in
 * x9 and step over the instruction, or to where it was called from if it was a branch
 * to nowhere; nothing but a synchronous exception from EL1 can come while they are used.
 */
#define INSN_SIZE	64
#define INSN_NAME	16

asm(".pushsection .text, \"ax\"\n"
"	.macro	khh_insn name, insn:vararg\n"
"	.balign	64\n"
"	hint	#34\n"
"	\\insn\n"
"	ret\n"
"	nop\n"
"	.asciz	\"\\name\"\n"
"	.endm\n"
"	.balign	2048\n"
"khh_vectors:\n"
"	.rept	4\n"
"	b	.\n"
"	.balign	128\n"
"	.endr\n"
"	mrs	x9, esr_el1\n"
"	lsr	x10, x9, #26\n"
"	cmp	x10, #0x21\n"
"	mrs	x10, elr_el1\n"
"	add	x10, x10, #4\n"
"	csel	x10, x30, x10, eq\n"
"	msr	elr_el1, x10\n"
"	eret\n"
"	.balign	128\n"
"	.rept	11\n"
"	b	.\n"
"	.balign	128\n"
"	.endr\n"
"khh_insns:\n"
"	khh_insn rdvl, .inst 0x04bf502c\n"
"	khh_insn rdsvl, .inst 0x04bf582c\n"
"	khh_insn svcr, mrs x12, s3_3_c4_c2_2\n"
"	khh_insn smstart_sm, .inst 0xd503437f\n"
"	khh_insn tpidr2_el0, mrs x12, s3_3_c13_c0_5\n"
"	khh_insn smpri_el1, mrs x12, s3_0_c1_c2_4\n"
"	khh_insn smcr_el1, mrs x12, s3_0_c1_c2_6\n"
"	khh_insn zcr_el1, mrs x12, s3_0_c1_c2_0\n"
"	khh_insn fpmr, mrs x12, s3_3_c4_c4_2\n"
"	khh_insn accdata_el1, mrs x12, s3_0_c13_c0_5\n"
"	khh_insn rcwmask_el1, mrs x12, s3_0_c13_c0_6\n"
"	khh_insn gcscr_el1, mrs x12, s3_0_c2_c5_0\n"
"	khh_insn pir_el1, mrs x12, s3_0_c10_c2_3\n"
"	khh_insn por_el1, mrs x12, s3_0_c10_c2_4\n"
"	khh_insn tcr2_el1, mrs x12, s3_0_c2_c0_3\n"
"	khh_insn mair2_el1, mrs x12, s3_0_c10_c2_1\n"
"	khh_insn pmscr_el1, mrs x12, s3_0_c9_c9_0\n"
"	khh_insn pmblimitr_el1, mrs x12, s3_0_c9_c10_0\n"
"	khh_insn trblimitr_el1, mrs x12, s3_0_c9_c11_0\n"
"	khh_insn trfcr_el1, mrs x12, s3_0_c1_c2_1\n"
"	khh_insn brbcr_el1, mrs x12, s2_1_c9_c0_0\n"
"	khh_insn trcauthstatus, mrs x12, s2_1_c7_c14_6\n"
"	khh_insn amcr_el0, mrs x12, s3_3_c13_c2_0\n"
"	khh_insn mpam1_el1, mrs x12, s3_0_c10_c5_0\n"
"	khh_insn lorid_el1, mrs x12, s3_0_c10_c4_7\n"
"	khh_insn erridr_el1, mrs x12, s3_0_c5_c3_0\n"
"	khh_insn gmid_el1, mrs x12, s3_1_c0_c0_4\n"
"	khh_insn pmcr_el0, mrs x12, s3_3_c9_c12_0\n"
"	khh_insn impdef, mrs x12, s3_0_c15_c0_0\n"
"	khh_insn hcr_el2, mrs x12, s3_4_c1_c1_0\n"
"	khh_insn vttbr_el2, mrs x12, s3_4_c2_c1_0\n"
"	khh_insn mdcr_el3, mrs x12, s3_6_c1_c3_1\n"
"	khh_insn tstart, .inst 0xd523306c\n"
"	khh_insn ld64b, .inst 0xf83fd16c\n"
"	khh_insn udf, .inst 0\n"
"	.balign	64\n"
"khh_insns_end:\n"
"	.popsection\n");

static int do_insn(struct khh_insn *args)
{
	unsigned long flags;
	char *insn;
	u64 cpacr;

	args->nr = (khh_insns_end - khh_insns) / INSN_SIZE;
	if (args->index >= args->nr)
		return -EINVAL;
	insn = khh_insns + args->index * INSN_SIZE;
	memcpy(args->name, insn + INSN_NAME, sizeof(args->name));
	args->name[sizeof(args->name) - 1] = 0;

	flags = local_daif_save();
	cpacr = read_sysreg(cpacr_el1);
	/* All that EL1 can allow itself: SME, FP, SVE. */
	write_sysreg(cpacr | 3UL << 24 | 3UL << 20 | 3UL << 16, cpacr_el1);
	asm volatile("mrs	x11, vbar_el1\n"
		     "msr	vbar_el1, %1\n"
		     "isb\n"
		     "mov	x9, xzr\n"
		     "blr	%2\n"
		     "msr	vbar_el1, x11\n"
		     "isb\n"
		     "mov	%0, x9\n"
		     : "=r" (args->esr)
		     : "r" (khh_vectors), "r" (insn)
		     : "x9", "x10", "x11", "x12", "x30", "cc", "memory");
	write_sysreg(cpacr, cpacr_el1);
	isb();
	local_daif_restore(flags);
	return 0;
}

/* ------------------------------------------------- ways to access an address */

/* The address is x12, what is stored is x13; what is loaded goes there. */
asm(".pushsection .text, \"ax\"\n"
"	.arch	armv8.5-a+memtag+lse\n"
"	.arch_extension fp\n"
"	.arch_extension simd\n"
"	.balign	64\n"
"khh_tries:\n"
"	khh_insn ldr, ldr x13, [x12]\n"
"	khh_insn ldrb, ldrb w13, [x12]\n"
"	khh_insn ldtr, ldtr x13, [x12]\n"
"	khh_insn ldp, ldp x13, x14, [x12]\n"
"	khh_insn ldar, ldar x13, [x12]\n"
"	khh_insn ldxr, ldxr x13, [x12]\n"
"	khh_insn ldr_q, ldr q0, [x12]\n"
"	khh_insn str, str x13, [x12]\n"
"	khh_insn strb, strb w13, [x12]\n"
"	khh_insn sttr, sttr x13, [x12]\n"
"	khh_insn stp, stp x13, x14, [x12]\n"
"	khh_insn stlr, stlr x13, [x12]\n"
"	khh_insn stxr, stxr w14, x13, [x12]\n"
"	khh_insn str_q, str q0, [x12]\n"
"	khh_insn cas, cas x13, x14, [x12]\n"
"	khh_insn ldadd, ldadd x13, x14, [x12]\n"
"	khh_insn swp, swp x13, x14, [x12]\n"
"	khh_insn prfm, prfm pldl1keep, [x12]\n"
"	khh_insn prfm_st, prfm pstl1keep, [x12]\n"
"	khh_insn dc_zva, dc zva, x12\n"
"	khh_insn dc_ivac, dc ivac, x12\n"
"	khh_insn dc_cvac, dc cvac, x12\n"
"	khh_insn dc_cvau, dc cvau, x12\n"
"	khh_insn dc_civac, dc civac, x12\n"
"	khh_insn dc_cvap, sys #3, c7, c12, #1, x12\n"
"	khh_insn ic_ivau, ic ivau, x12\n"
"	khh_insn at_s1e1r, at s1e1r, x12\n"
"	khh_insn at_s1e1w, at s1e1w, x12\n"
"	khh_insn at_s1e0r, at s1e0r, x12\n"
"	khh_insn ldg, ldg x13, [x12]\n"
"	khh_insn stg, stg x12, [x12]\n"
"	khh_insn stzg, stzg x12, [x12]\n"
"	khh_insn st2g, st2g x12, [x12]\n"
"	khh_insn stgp, stgp x13, x14, [x12]\n"
"	khh_insn ldgm, ldgm x13, [x12]\n"
"	khh_insn stgm, stgm x13, [x12]\n"
"	khh_insn stzgm, stzgm x13, [x12]\n"
"	khh_insn dc_gva, dc gva, x12\n"
"	khh_insn dc_gzva, dc gzva, x12\n"
"	khh_insn dc_igvac, dc igvac, x12\n"
"	khh_insn dc_cigvac, dc cigvac, x12\n"
"	khh_insn fetch, ret x12\n"
"	.balign	64\n"
"khh_tries_end:\n"
"	.popsection\n");

#define TRY_T0SZ	25

/* Not kept anywhere: the next translation is a walk. */
static void set_lower_half(u64 ttbr0, u64 tcr)
{
	write_sysreg(ttbr0, ttbr0_el1);
	write_sysreg(tcr, tcr_el1);
	isb();
	asm volatile("tlbi	vmalle1\n"
		     "dsb	nsh\n"
		     "isb\n" ::: "memory");
}

static void try_insn(struct khh_try *args, char *insn)
{
	register u64 addr asm("x12") = args->addr;
	register u64 value asm("x13") = 0;
	register u64 esr asm("x9") = 0;

	asm volatile("mrs	x11, vbar_el1\n"
		     "msr	vbar_el1, %3\n"
		     "isb\n"
		     "blr	%4\n"
		     "dsb	sy\n"
		     "msr	vbar_el1, x11\n"
		     "isb\n"
		     : "+r" (addr), "+r" (value), "+r" (esr)
		     : "r" (khh_vectors), "r" (insn)
		     : "x10", "x11", "x14", "x30", "cc", "memory");
	args->esr = esr;
	args->value = value;
}

static int do_try(struct khh_try *args)
{
	unsigned long flags;
	u64 ttbr0, tcr;
	char *insn;

	args->nr = (khh_tries_end - khh_tries) / INSN_SIZE;
	if (args->index >= args->nr)
		return -EINVAL;
	insn = khh_tries + args->index * INSN_SIZE;
	memcpy(args->name, insn + INSN_NAME, sizeof(args->name));
	args->name[sizeof(args->name) - 1] = 0;

	flags = local_daif_save();
	ttbr0 = read_sysreg(ttbr0_el1);
	tcr = read_sysreg(tcr_el1);
	if (args->ttbr0)
		set_lower_half(args->ttbr0, (tcr & ~(TCR_T0SZ_MASK | TCR_EPD0_MASK |
						     TCR_TG0_MASK | TCR_DS)) |
			       TRY_T0SZ << TCR_T0SZ_OFFSET);
	try_insn(args, insn);
	args->far = read_sysreg(far_el1);
	if (args->ttbr0)
		set_lower_half(ttbr0, tcr);
	local_daif_restore(flags);
	return 0;
}

static int do_func(struct khh_func *args)
{
	s64 (*fn)(u64 a, u64 b, u64 c, u64 d) = (void *)args->addr;

	if (!fn)
		return -EINVAL;
	args->ret = fn(args->args[0], args->args[1], args->args[2], args->args[3]);
	return 0;
}

/* -------------------------------------------------------------- the device */

static long khh_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct session *s = file->private_data;
	void __user *user = (void __user *)arg;
	union {
		struct khh_calls calls;
		struct khh_info info;
		struct khh_vm vm;
		struct khh_mc mc;
		struct khh_pages pages;
		struct khh_access access;
		struct khh_insn insn;
		struct khh_pins pins;
		struct khh_try attempt;
		struct khh_func func;
	} u = {};
	long err;

	if (_IOC_SIZE(cmd) > sizeof(u))
		return -ENOTTY;
	if (_IOC_DIR(cmd) & _IOC_WRITE && copy_from_user(&u, user, _IOC_SIZE(cmd)))
		return -EFAULT;
	switch (cmd) {
	case KHH_IOC_CALLS:
		err = do_calls(&u.calls);
		break;
	case KHH_IOC_INFO:
		err = do_info(&u.info);
		break;
	case KHH_IOC_VM:
		err = do_vm(&u.vm);
		break;
	case KHH_IOC_MC:
		err = do_mc(&u.mc);
		break;
	case KHH_IOC_ALLOC:
		err = do_alloc(s, &u.pages);
		break;
	case KHH_IOC_FREE:
		err = do_free(s, &u.pages);
		break;
	case KHH_IOC_PEEK:
		err = do_access(&u.access, false);
		break;
	case KHH_IOC_POKE:
		err = do_access(&u.access, true);
		break;
	case KHH_IOC_PINS:
		err = do_pins(&u.pins);
		break;
	case KHH_IOC_INSN:
		err = do_insn(&u.insn);
		break;
	case KHH_IOC_TRY:
		err = do_try(&u.attempt);
		break;
	case KHH_IOC_FUNC:
		err = do_func(&u.func);
		break;
	case KHH_IOC_PEEK_NC:
		err = do_peek_nc(&u.access);
		break;
	default:
		err = -ENOTTY;
	}
	if (!err && _IOC_DIR(cmd) & _IOC_READ && copy_to_user(user, &u, _IOC_SIZE(cmd)))
		err = -EFAULT;
	return err;
}

static int khh_open(struct inode *inode, struct file *file)
{
	struct session *s;

	if (!capable(CAP_SYS_ADMIN))
		return -EPERM;
	s = kzalloc(sizeof(*s), GFP_KERNEL);
	if (!s)
		return -ENOMEM;
	mutex_init(&s->lock);
	INIT_LIST_HEAD(&s->blocks);
	file->private_data = s;
	return 0;
}

static int khh_release(struct inode *inode, struct file *file)
{
	struct session *s = file->private_data;
	struct block *b, *next;

	list_for_each_entry_safe(b, next, &s->blocks, list)
		free_block(b);
	kfree(s);
	return 0;
}

static const struct file_operations khh_fops = {
	.owner		= THIS_MODULE,
	.open		= khh_open,
	.release	= khh_release,
	.unlocked_ioctl	= khh_ioctl,
	.llseek		= noop_llseek,
};

static struct miscdevice khh_device = {
	.minor	= MISC_DYNAMIC_MINOR,
	.name	= "kvm_hostile_host",
	.fops	= &khh_fops,
	.mode	= 0600,
};

/* Elsewhere there is no EL2 to attack, or it has no such calls. */
static int __init khh_init(void)
{
	return is_protected_kvm_enabled() ? misc_register(&khh_device) : -ENODEV;
}

static void __exit khh_exit(void)
{
	misc_deregister(&khh_device);
}

module_init(khh_init);
module_exit(khh_exit);
MODULE_DESCRIPTION("A hostile host kernel for the KVM selftests");
MODULE_LICENSE("GPL");
