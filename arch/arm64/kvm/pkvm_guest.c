// SPDX-License-Identifier: GPL-2.0-only
/*
 * The memory of protected VMs, as the host sees it.
 *
 * Owns the way of a page from the VMM to a guest and back: charge, pin, donate
 * to EL2; reclaim from EL2, unpin, uncharge; and what happens when the host
 * touches a page that it has given away. EL2 decides (hyp/nvhe/ownership.c);
 * this file asks, and keeps the host's books right whatever the answer is.
 *
 * It does not map anything into a guest, and never looks at a guest's page.
 */

#include <linux/guest_page.h>
#include <linux/kvm_follow_pfn.h>
#include <linux/kvm_host.h>
#include <linux/mm.h>
#include <linux/panic.h>
#include <linux/sched/signal.h>
#include <linux/shmem_fs.h>
#include <linux/extable.h>

#include <asm/kvm_asm.h>
#include <asm/kvm_emulate.h>
#include <asm/kvm_mmu.h>
#include <asm/kvm_pkvm.h>
#include <asm/pkvm_abort.h>
#include <asm/stage2_pgtable.h>
#include <asm/traps.h>

static bool host_may_access(struct page *page)
{
	return kvm_call_hyp_nvhe(__pkvm_host_can_access, page_to_pfn(page)) == 1;
}

static const struct guest_page_ops guest_page_ops = {
	.host_may_access = host_may_access,
};

/**
 * pkvm_init_host_vm() - Decide what kind of VM this is.
 * @kvm: the VM under creation.
 * @type: argument of KVM_CREATE_VM.
 *
 * Return: 0; -EINVAL when a protected VM is asked for and EL2 does not protect
 * this host, as there is no silent downgrade.
 */
int pkvm_init_host_vm(struct kvm *kvm, unsigned long type)
{
	xa_init_flags(&kvm->arch.pkvm.guest_pages, XA_FLAGS_ACCOUNT);

	if (!(type & KVM_VM_TYPE_ARM_PROTECTED))
		return 0;
	if (!is_pkvm_initialized())
		return -EINVAL;

	pr_warn_once("kvm: protected guests are not protected from devices that access memory by themselves\n");
	add_taint(TAINT_USER, LOCKDEP_STILL_OK);
	guest_pages_register(&guest_page_ops);
	kvm->arch.pkvm.enabled = true;

	return 0;
}

/**
 * pkvm_vcpu_load() - Tell EL2 that this CPU is about to run a vCPU.
 * @vcpu: the vCPU.
 *
 * Called with preemption disabled. Before the first run EL2 has no such vCPU.
 */
void pkvm_vcpu_load(struct kvm_vcpu *vcpu)
{
	pkvm_handle_t handle;

	if (!is_protected_kvm_enabled())
		return;

	handle = READ_ONCE(vcpu->kvm->arch.pkvm.handle);
	if (handle)
		kvm_call_hyp_nvhe(__pkvm_vcpu_load, handle, vcpu->vcpu_idx);
}

/**
 * pkvm_vcpu_put() - Tell EL2 that this CPU is done with a vCPU.
 * @vcpu: the vCPU.
 *
 * Called with preemption disabled.
 */
void pkvm_vcpu_put(struct kvm_vcpu *vcpu)
{
	if (is_protected_kvm_enabled() && READ_ONCE(vcpu->kvm->arch.pkvm.handle))
		kvm_call_hyp_nvhe(__pkvm_vcpu_put);
}

/**
 * pkvm_guest_prepare_memory_region() - May this memslot change?
 * @kvm: a protected VM, with slots_lock held.
 * @new: the slot to be, NULL for a deletion.
 * @change: what changes.
 *
 * Return: 0; -EINVAL for flags that a protected VM cannot have (read-only, dirty
 * logging); -EPERM for a slot that is moved or deleted after the first run.
 */
int pkvm_guest_prepare_memory_region(struct kvm *kvm,
				     const struct kvm_memory_slot *new,
				     enum kvm_mr_change change)
{
	if (new && new->flags)
		return -EINVAL;

	if (change != KVM_MR_CREATE && READ_ONCE(kvm->arch.pkvm.handle))
		return -EPERM;

	return 0;
}

/**
 * pkvm_topup_stage2_mc() - Put out pages for EL2's tables.
 * @vcpu: the vCPU whose fault or hypercall may need them.
 *
 * May sleep.
 *
 * Return: 0 or -ENOMEM.
 */
int pkvm_topup_stage2_mc(struct kvm_vcpu *vcpu)
{
	return topup_hyp_memcache(&vcpu->arch.stage2_mc,
				  2 * kvm_mmu_cache_min_pages(vcpu->arch.hw_mmu));
}

/* Refuse early, and by name, what could never be a guest's memory. */
static int check_backing(unsigned long hva)
{
	struct mm_struct *mm = current->mm;
	struct vm_area_struct *vma;
	int ret = 0;

	mmap_read_lock(mm);
	vma = vma_lookup(mm, hva);
	if (!vma)
		ret = -EFAULT;
	else if (vma->vm_flags & (VM_MIXEDMAP | VM_HUGETLB))
		ret = -EIO;
	else if ((vma->vm_flags & VM_MAYSHARE) && !vma_is_shmem(vma))
		ret = -EIO;
	mmap_read_unlock(mm);

	return ret;
}

/*
 * Pin the page behind @hva for as long as the guest has it. Only memory that
 * swap backs will do: a file's page could be written back while the guest
 * changes it.
 */
static int pin_guest_page(gfn_t gfn, unsigned long hva, struct page **page)
{
	struct kvm_followed_pfn found __free(kvm_followed_pfn) = {};
	struct kvm_follow_pfn kfp = {
		.gfn	= gfn,
		.foll	= FOLL_WRITE | FOLL_GUEST | FOLL_INTERRUPTIBLE,
		.hold	= KVM_HOLD_LONGTERM,
	};
	int ret;

	ret = check_backing(hva);
	if (ret)
		return ret;

	ret = kvm_follow_hva(&kfp, hva, &found);
	if (ret)
		return ret == -EOPNOTSUPP || ret == -EROFS ? -EIO : ret;

	if (!folio_test_swapbacked(page_folio(found.page)))
		return -EIO;

	*page = kvm_take_followed(&found);
	return 0;
}

/* Give one pinned page to the guest; EL2 says how many table pages it lacks. */
static int donate_page(struct kvm_vcpu *vcpu, struct page *page, gfn_t gfn)
{
	int ret;

	for (;;) {
		ret = kvm_call_hyp_nvhe(__pkvm_host_donate_guest,
					page_to_pfn(page), gfn, 1);
		if (ret <= 0)
			return ret;

		ret = topup_hyp_memcache(&vcpu->arch.stage2_mc, ret);
		if (ret)
			return ret;
	}
}

/*
 * The book has an entry for @gfn. While it is empty another vCPU is at it, and
 * EL2 must not be offered the page twice: the guest tries again. With a page in it
 * the guest has that page; or the host took it back by force (I5), which only EL2
 * can tell: it refuses any page there for good.
 */
static int retry_guest_page(struct kvm_vcpu *vcpu, struct page *page, gfn_t gfn)
{
	int ret;

	if (!xa_load(&vcpu->kvm->arch.pkvm.guest_pages, gfn))
		return 0;

	ret = kvm_call_hyp_nvhe(__pkvm_host_donate_guest, page_to_pfn(page), gfn, 1);
	if (ret == -EHWPOISON)
		return -EFAULT;

	/* EL2 took a page that no book has: leak it rather than free it. */
	if (WARN_ON_ONCE(!ret)) {
		get_page(page);
		return -EFAULT;
	}

	return 0;
}

/*
 * Serve a fault at @gfn with the page at @hva. Called with kvm->srcu held and
 * the vCPU loaded; may sleep. Returns 0 when the guest can go on or try again.
 */
static int map_guest_page(struct kvm_vcpu *vcpu, gfn_t gfn, unsigned long hva)
{
	struct xarray *pages = &vcpu->kvm->arch.pkvm.guest_pages;
	struct mm_struct *mm = current->mm;
	struct page *page;
	int ret;

	ret = pkvm_topup_stage2_mc(vcpu);
	if (ret)
		return ret;

	/* Takes mmap_lock: before the pin, and with no lock held. */
	ret = account_locked_vm(mm, 1, true);
	if (ret)
		return ret;

	ret = pin_guest_page(gfn, hva, &page);
	if (ret)
		goto uncharge;

	/* Reserved, and empty until EL2 has the page. */
	ret = xa_insert(pages, gfn, NULL, GFP_KERNEL_ACCOUNT);
	if (ret == -EBUSY) {
		ret = retry_guest_page(vcpu, page, gfn);
		goto unpin;
	}
	if (ret)
		goto unpin;

	/* A page has one owner, at one gfn (I1): EL2 would refuse as well. */
	if (!guest_page_mark(page)) {
		ret = -EFAULT;
		goto erase;
	}

	/* Ordinary guests may have the page from before it was marked. */
	guest_page_forget(page);

	ret = donate_page(vcpu, page, gfn);
	if (!ret) {
		/* Into a reserved slot: takes no memory, cannot fail. */
		xa_store(pages, gfn, page, GFP_KERNEL_ACCOUNT);
		return 0;
	}

	guest_page_unmark(page);
	if (ret == -EPERM)
		ret = -EFAULT;
erase:
	xa_erase(pages, gfn);
unpin:
	unpin_user_page(page);
uncharge:
	account_locked_vm(mm, 1, false);

	return ret;
}

/**
 * pkvm_guest_mem_abort() - Serve a stage-2 fault of a protected guest.
 * @vcpu: the vCPU, loaded.
 * @fault_ipa: where the guest faulted.
 * @memslot: the slot that covers it.
 * @hva: the VMM's address for it.
 *
 * Called with kvm->srcu held. A failure is KVM_RUN's, with the address in
 * KVM_EXIT_MEMORY_FAULT.
 *
 * Return: 0 when the guest can go on; -ENOMEM without memory or at the limit of
 * RLIMIT_MEMLOCK; -EIO for a backing that is not swap-backed; -EHWPOISON for a
 * broken page; -EFAULT when there is no page, when it is in use otherwise, or
 * when the guest lost it; -EINTR, -EAGAIN to try KVM_RUN again.
 */
int pkvm_guest_mem_abort(struct kvm_vcpu *vcpu, phys_addr_t fault_ipa,
			 struct kvm_memory_slot *memslot, unsigned long hva)
{
	int ret;

	ret = map_guest_page(vcpu, gpa_to_gfn(fault_ipa), hva);
	if (ret == -EINTR)
		kvm_handle_signal_exit(vcpu);
	else if (ret && ret != -EAGAIN)
		kvm_prepare_memory_fault_exit(vcpu, fault_ipa & PAGE_MASK,
					      PAGE_SIZE,
					      kvm_is_write_fault(vcpu),
					      kvm_vcpu_trap_is_exec_fault(vcpu),
					      true);

	return ret;
}

/**
 * pkvm_guest_fault_in() - Give a guest the page that it wants to share.
 * @vcpu: the vCPU, loaded.
 * @gpa: guest physical address.
 *
 * Return: 0; -ENOENT when no slot covers the address; otherwise as
 * pkvm_guest_mem_abort().
 */
int pkvm_guest_fault_in(struct kvm_vcpu *vcpu, gpa_t gpa)
{
	struct kvm *kvm = vcpu->kvm;
	struct kvm_memory_slot *memslot;
	gfn_t gfn = gpa_to_gfn(gpa);
	unsigned long hva;
	int idx, ret;

	idx = srcu_read_lock(&kvm->srcu);
	memslot = gfn_to_memslot(kvm, gfn);
	hva = gfn_to_hva_memslot_prot(memslot, gfn, NULL);
	ret = kvm_is_error_hva(hva) ? -ENOENT : map_guest_page(vcpu, gfn, hva);
	srcu_read_unlock(&kvm->srcu, idx);

	return ret;
}

/**
 * pkvm_guest_unshared() - A guest has shut the host out of a page.
 * @vcpu: the vCPU, which does not run until this is done.
 * @gpa: guest physical address.
 *
 * EL2 has taken the page from the host's table, but ordinary guests that map
 * the same memory have tables of the host's own making. May sleep.
 */
void pkvm_guest_unshared(struct kvm_vcpu *vcpu, gpa_t gpa)
{
	struct page *page = xa_load(&vcpu->kvm->arch.pkvm.guest_pages,
				    gpa_to_gfn(gpa));

	if (page)
		guest_page_forget(page);
}

/* The longest run of pages from @gfn on that is contiguous on both sides. */
static unsigned long guest_run(struct xarray *pages, unsigned long gfn,
			       struct page *page)
{
	unsigned long pfn = page_to_pfn(page), nr = 1;
	struct page *next;

	while ((next = xa_load(pages, gfn + nr)) && page_to_pfn(next) == pfn + nr)
		nr++;

	return nr;
}

/**
 * pkvm_guest_reclaim_all() - Take back all memory of a VM that will not run
 * again.
 * @kvm: the VM, at its end: no vCPU is loaded or will be.
 *
 * EL2 clears each page before it is unpinned here. A page that EL2 would not
 * return is leaked rather than freed: it still is the guest's. May sleep.
 */
void pkvm_guest_reclaim_all(struct kvm *kvm)
{
	struct xarray *pages = &kvm->arch.pkvm.guest_pages;
	pkvm_handle_t handle = kvm->arch.pkvm.handle;
	unsigned long gfn = 0, nr, i, uncharge = 0;
	struct page *page;
	int ret;

	if (WARN_ON(kvm_call_hyp_nvhe(__pkvm_start_teardown_vm, handle)))
		return;

	while ((page = xa_find(pages, &gfn, ULONG_MAX, XA_PRESENT))) {
		nr = guest_run(pages, gfn, page);
		ret = kvm_call_hyp_nvhe(__pkvm_reclaim_guest_pages, handle,
					page_to_pfn(page), gfn, nr);
		if (WARN_ON(ret <= 0)) {
			xa_erase(pages, gfn++);
			continue;
		}

		for (i = 0; i < ret; i++, gfn++) {
			page = xa_erase(pages, gfn);
			guest_page_unmark(page);
			unpin_user_pages_dirty_lock(&page, 1, true);
		}
		uncharge += ret;
		cond_resched();
	}

	if (uncharge)
		account_locked_vm(kvm->mm, uncharge, false);
}

/* Which page does the kernel have at @addr? False when it has none. */
static bool kernel_addr_to_pfn(unsigned long addr, unsigned long *pfn)
{
	unsigned long flags;
	u64 par;

	local_irq_save(flags);
	asm volatile("at s1e1r, %0" :: "r" (addr));
	isb();
	par = read_sysreg_par();
	local_irq_restore(flags);

	*pfn = PHYS_PFN(par & GENMASK_ULL(51, PAGE_SHIFT));

	return !(par & SYS_PAR_EL1_F);
}

/**
 * do_pkvm_abort() - The host touched a page that is not the host's.
 * @far: the address.
 * @esr: ESR_EL1, with EL2's mark.
 * @regs: where it happened.
 *
 * In this order (I5): the fixup of an access that may fail; SIGSEGV to a user;
 * for anything else the page is taken back from its guest, which fails at its
 * next touch, and the access is tried again on a page of zeroes.
 *
 * Return: true when that was all; false when the page is EL2's own or no page
 * at all, and the kernel has no business there.
 */
bool do_pkvm_abort(unsigned long far, unsigned long esr, struct pt_regs *regs)
{
	unsigned long pfn;
	int ret;

	if (user_mode(regs)) {
		current->thread.fault_address = untagged_addr(far);
		current->thread.fault_code = esr & ~ESR_ELx_S1PTW;
		arm64_force_sig_fault(SIGSEGV, SEGV_ACCERR, far,
				      "access to guest-private memory");
		return true;
	}

	if (ESR_ELx_EC(esr) != ESR_ELx_EC_IABT_CUR && fixup_exception(regs))
		return true;

	if (!kernel_addr_to_pfn(far, &pfn))
		return false;

	ret = kvm_call_hyp_nvhe(__pkvm_host_force_reclaim, pfn);
	if (ret == -EAGAIN)
		return true;
	if (ret)
		return false;

	pr_warn_ratelimited("kvm: %s[%d] touched guest-private page %#lx at %pS; the guest loses it\n",
			    current->comm, task_pid_nr(current), pfn,
			    (void *)instruction_pointer(regs));

	return true;
}

NOKPROBE_SYMBOL(do_pkvm_abort);
