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

#include <linux/debugfs.h>
#include <linux/delay.h>
#include <linux/extable.h>
#include <linux/guest_page.h>
#include <linux/irq_work.h>
#include <linux/kvm_follow_pfn.h>
#include <linux/kvm_host.h>
#include <linux/mm.h>
#include <linux/panic.h>
#include <linux/proc_fs.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/seq_file.h>
#include <linux/shmem_fs.h>

#include <asm/kvm_asm.h>
#include <asm/kvm_emulate.h>
#include <asm/kvm_mmu.h>
#include <asm/kvm_pkvm.h>
#include <asm/pkvm_abort.h>
#include <asm/stage2_pgtable.h>
#include <asm/traps.h>

/*
 * The book of a VM, kvm->arch.pkvm.guest_pages, says for each gfn: nothing;
 * reserved, while one vCPU is at it; the page that EL2 has, pinned and charged;
 * or that the guest lost it by force, and gets no other.
 */
#define GFN_LOST	xa_mk_value(1)

/* Tries to get a small page, of memory that others may be splitting or merging. */
#define SPLIT_TRIES	10

/* VMs that have pages, for whoever knows a pfn only; and the books' lost pages. */
static LIST_HEAD(guest_vms);
static DEFINE_MUTEX(guest_vms_lock);

/* One large folio is split at a time: two would hold it against each other. */
static DEFINE_MUTEX(split_lock);

/*
 * Pages, by pfn, between the moment they are hidden and EL2's decision. The host
 * does not get them back meanwhile, whatever EL2 says: it would be out of date.
 */
static DEFINE_XARRAY(moving_pages);

static bool is_open_at_el2(struct page *page)
{
	return kvm_call_hyp_nvhe(__pkvm_host_can_access, page_to_pfn(page)) == 1;
}

static bool host_may_access(struct page *page)
{
	return !xa_load(&moving_pages, page_to_pfn(page)) && is_open_at_el2(page);
}

/* Which guest has a page, and where? With guest_vms_lock held. NULL for none. */
static struct kvm *find_page(struct page *page, gfn_t *gfn)
{
	struct kvm_protected_vm *vm;
	struct page *entry;
	unsigned long i;

	lockdep_assert_held(&guest_vms_lock);

	list_for_each_entry(vm, &guest_vms, node) {
		xa_for_each(&vm->guest_pages, i, entry) {
			if (entry == page) {
				*gfn = i;
				return container_of(vm, struct kvm, arch.pkvm);
			}
			cond_resched();
		}
	}

	return NULL;
}

/*
 * The guest cannot be told, and may use the page at any time: stop it. Those of its
 * vCPUs that are off wait for that to change, and would go on waiting. Which of them
 * run is for EL2 to know.
 */
static void page_broke(struct page *page)
{
	struct kvm_vcpu *vcpu;
	struct kvm *kvm;
	unsigned long i;
	gfn_t gfn;

	guard(mutex)(&guest_vms_lock);
	kvm = find_page(page, &gfn);
	if (!kvm)
		return;

	pr_err("kvm [%d]: gfn %#llx of a protected guest is broken memory\n",
	       kvm->userspace_pid, gfn);
	WRITE_ONCE(kvm->arch.pkvm.broken_gfn, gfn);
	kvm_make_all_cpus_request(kvm, KVM_REQ_GUEST_PAGE_BROKEN);
	kvm_for_each_vcpu(i, vcpu, kvm) {
		spin_lock(&vcpu->arch.mp_state_lock);
		WRITE_ONCE(vcpu->arch.mp_state.mp_state, KVM_MP_STATE_RUNNABLE);
		spin_unlock(&vcpu->arch.mp_state_lock);
	}
	/* These, and those that wait for an interrupt. */
	kvm_make_all_cpus_request(kvm, KVM_REQ_UNBLOCK);
}

/**
 * pkvm_guest_page_broken() - A vCPU must not run on: a page of its VM broke.
 * @vcpu: the vCPU.
 *
 * Return: -EHWPOISON, with the address in KVM_EXIT_MEMORY_FAULT, now and always.
 */
int pkvm_guest_page_broken(struct kvm_vcpu *vcpu)
{
	gfn_t gfn = READ_ONCE(vcpu->kvm->arch.pkvm.broken_gfn);

	kvm_make_request(KVM_REQ_GUEST_PAGE_BROKEN, vcpu);
	kvm_prepare_memory_fault_exit(vcpu, gfn_to_gpa(gfn), PAGE_SIZE, false, false,
				      true);

	return -EHWPOISON;
}

static const struct guest_page_ops guest_page_ops = {
	.host_may_access	= host_may_access,
	.is_open		= is_open_at_el2,
	.memory_failure		= page_broke,
};

/* A CPU may have been left without stage 2, when the host lost its privileges. */
static bool refused __ro_after_init;

/**
 * pkvm_refuse_guests() - There will be no protected guests.
 *
 * At boot, when EL2 protects none after all.
 */
void __init pkvm_refuse_guests(void)
{
	refused = true;
}

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
	INIT_LIST_HEAD(&kvm->arch.pkvm.node);

	if (!(type & KVM_VM_TYPE_ARM_PROTECTED))
		return 0;
	if (!is_pkvm_initialized() || refused)
		return -EINVAL;

	pr_warn_once("kvm: protected guests are not protected from devices that access memory by themselves\n");
	add_taint(TAINT_USER, LOCKDEP_STILL_OK);
	guest_pages_register(&guest_page_ops);
	kvm->arch.pkvm.enabled = true;

	return 0;
}

/*
 * Each first and last VM would have the scheduler's text patched, and all CPUs
 * interrupted for it, to turn the notifiers on and off that load and put vCPUs.
 * They stay on instead. Before the other CPUs run, since an emulator that translates
 * the scheduler just while it is patched may keep what it was: QEMU 7.2 does,
 * and then a vCPU is switched out, or in, and neither KVM nor EL2 hears of it.
 */
static int __init keep_preempt_notifiers(void)
{
	if (is_hyp_mode_available() && kvm_get_mode() == KVM_MODE_PROTECTED)
		preempt_notifier_inc();

	return 0;
}
early_initcall(keep_preempt_notifiers);

/**
 * pkvm_vcpu_load() - Tell EL2 that this CPU is about to run a vCPU.
 * @vcpu: the vCPU.
 *
 * Called with preemption disabled. Before the first run EL2 has no such vCPU.
 */
void pkvm_vcpu_load(struct kvm_vcpu *vcpu)
{
	pkvm_handle_t handle;
	int ret;

	if (!is_protected_kvm_enabled())
		return;

	handle = READ_ONCE(vcpu->kvm->arch.pkvm.handle);
	if (!handle)
		return;

	ret = kvm_call_hyp_nvhe(__pkvm_vcpu_load, handle, vcpu->vcpu_idx);
	if (unlikely(ret))
		pr_warn_ratelimited("kvm [%d]: EL2 does not load vCPU %d on CPU %d (error %d); KVM_RUN will fail\n",
				    vcpu->kvm->userspace_pid, vcpu->vcpu_idx,
				    smp_processor_id(), ret);
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
 * kvm_arch_check_memslot() - May this memslot change?
 * @kvm: the VM, of any kind, with slots_lock held.
 * @new: the slot to be, NULL for a deletion.
 *
 * Asked before vCPUs can see of the change, and again when it is prepared: the guest may
 * have started.
 *
 * Return: 0, always for an ordinary VM; -EINVAL for flags that a protected VM cannot
 * have (read-only, dirty logging); -EPERM for any change after the first run, new slots
 * included.
 */
int kvm_arch_check_memslot(struct kvm *kvm, const struct kvm_memory_slot *new)
{
	if (!kvm_vm_is_protected(kvm))
		return 0;

	if (new && new->flags)
		return -EINVAL;

	/* EL2 knows what is memory since the first run. */
	if (READ_ONCE(kvm->arch.pkvm.handle))
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

/* Look up the page behind @hva, which the VMM may write, and pin it for long. */
static int get_guest_page(gfn_t gfn, unsigned long hva, struct kvm_followed_pfn *found)
{
	struct kvm_follow_pfn kfp = {
		.gfn	= gfn,
		.foll	= FOLL_WRITE | FOLL_GUEST | FOLL_INTERRUPTIBLE,
		.hold	= KVM_HOLD_LONGTERM,
	};
	int ret;

	ret = kvm_follow_hva(&kfp, hva, found);

	return ret == -EOPNOTSUPP || ret == -EROFS ? -EIO : ret;
}

/*
 * Split the folio behind @hva, if it is there as it was just now. Other VMs wait for
 * the lock: with it, nothing may be waited for that a VMM can delay, as the fault of a
 * page that a file system of its own has to fetch.
 */
static int split_guest_page(unsigned long hva)
{
	struct folio *folio;
	struct page *page;
	int ret = -EAGAIN;

	if (mutex_lock_killable(&split_lock))
		return -EINTR;
	if (get_user_page_fast_only(hva, FOLL_WRITE, &page)) {
		folio = page_folio(page);
		if (folio_test_anon(folio) || folio_test_swapbacked(folio))
			ret = guest_page_split(page);
		put_page(page);
	}
	mutex_unlock(&split_lock);

	return ret;
}

/*
 * Pin the page behind @hva for as long as the guest has it. A file's page could be
 * written back while the guest changes it: shmem and anonymous memory only, of
 * which MADV_FREE leaves the latter without the flag that says so. A page of a
 * large folio is made a small one first, since a folio that is pinned cannot be
 * split.
 */
static int pin_guest_page(gfn_t gfn, unsigned long hva, struct page **page)
{
	struct folio *folio;
	int i, ret;

	ret = check_backing(hva);
	if (ret)
		return ret;

	for (i = 0; i < SPLIT_TRIES; i++) {
		struct kvm_followed_pfn found __free(kvm_followed_pfn) = {};

		ret = get_guest_page(gfn, hva, &found);
		if (ret)
			return ret;
		folio = page_folio(found.page);
		if (!folio_test_anon(folio) && !folio_test_swapbacked(folio))
			return -EIO;
		if (!folio_test_large(folio)) {
			*page = kvm_take_followed(&found);
			return 0;
		}
		kvm_release_followed(&found);

		ret = split_guest_page(hva);
		if (ret && ret != -EAGAIN && ret != -EBUSY)
			return ret;
		/* Others look at the folio: let them finish. */
		if (ret && schedule_timeout_killable(1))
			return -EINTR;
	}

	return -EFAULT;
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
 * Hide a page from the host, and then let EL2 have it: for the first time, or
 * @again, after the guest has shared it. If either fails the host has it as
 * before.
 */
static int hand_over_page(struct kvm_vcpu *vcpu, struct page *page, gfn_t gfn,
			  bool again)
{
	unsigned long pfn = page_to_pfn(page);
	int ret;

	/* Two vCPUs, of one VM or of two, do not move one page at a time. */
	ret = xa_insert(&moving_pages, pfn, xa_mk_value(1), GFP_KERNEL);
	if (ret)
		return ret == -EBUSY ? -EFAULT : ret;

	/* From here on lose_page() leaves it alone; it may have been there before. */
	if (again && xa_load(&vcpu->kvm->arch.pkvm.guest_pages, gfn) != page) {
		xa_erase(&moving_pages, pfn);
		return -ENOENT;
	}

	ret = again ? guest_page_hide_again(page) : guest_page_hide(page);
	if (!ret) {
		ret = donate_page(vcpu, page, gfn);
		/* It still is the host's, unless another vCPU was faster. */
		if (ret && is_open_at_el2(page))
			guest_page_unhide(page);
	} else if (ret == -EAGAIN) {
		atomic_long_inc(&vcpu->kvm->arch.pkvm.hides_refused);
	}
	xa_erase(&moving_pages, pfn);

	/* EL2's refusal, or another guest's page, or one that others hold. */
	return ret == -EPERM || ret == -EBUSY || ret == -EAGAIN ? -EFAULT : ret;
}

static void track_vm(struct kvm *kvm)
{
	struct list_head *node = &kvm->arch.pkvm.node;

	if (!list_empty_careful(node))
		return;

	guard(mutex)(&guest_vms_lock);
	if (list_empty(node))
		list_add(node, &guest_vms);
}

/*
 * EL2 gave a page of this VM back to the host by force: it is the host's. While a
 * vCPU is about to move that page the book stays as it is: the guest's next touch,
 * or the end of the VM, gets it right. Returns whose page it is to be uncharged from
 * with no lock held, with a reference: its VMM can keep mmap_lock for long, and VMs of
 * others want guest_vms_lock. NULL when nothing was lost.
 */
static struct mm_struct *lose_page(struct kvm *kvm, gfn_t gfn)
{
	struct xarray *pages = &kvm->arch.pkvm.guest_pages;
	unsigned long pfn;
	struct page *page;

	lockdep_assert_held(&guest_vms_lock);

	page = xa_load(pages, gfn);
	if (!page || xa_is_value(page))
		return NULL;

	pfn = page_to_pfn(page);
	if (xa_insert(&moving_pages, pfn, xa_mk_value(1), GFP_KERNEL))
		return NULL;
	/* Over an entry: takes no memory. */
	xa_store(pages, gfn, GFN_LOST, GFP_KERNEL_ACCOUNT);
	xa_erase(&moving_pages, pfn);

	guest_page_unhide(page);
	unpin_user_pages_dirty_lock(&page, 1, true);

	atomic_long_inc(&kvm->arch.pkvm.forced_reclaims);
	pr_warn("kvm [%d]: the host took gfn %#llx from its protected guest by force\n",
		kvm->userspace_pid, gfn);
	mmgrab(kvm->mm);

	return kvm->mm;
}

/* The rest of lose_page(), with no lock held. */
static void uncharge_lost_page(struct mm_struct *mm)
{
	if (!mm)
		return;

	account_locked_vm(mm, 1, false);
	mmdrop(mm);
}

static void settle_lost_pages(void);

/*
 * The book has an entry for @gfn. While it is empty another vCPU is at it, and
 * EL2 must not be offered a page twice: the guest tries again. With a page in it
 * the guest has that page; or the host took it back by force (I5), and nobody
 * has got round to the book yet: EL2 knows, and refuses any page there for good.
 */
static int retry_guest_page(struct kvm_vcpu *vcpu, gfn_t gfn)
{
	struct page *page = xa_load(&vcpu->kvm->arch.pkvm.guest_pages, gfn);
	struct mm_struct *mm;
	int ret;

	if (!page) {
		/* Who is at it may sleep, or want this CPU. */
		usleep_range_state(50, 100, TASK_INTERRUPTIBLE);
		return 0;
	}
	if (xa_is_value(page))
		return -EFAULT;

	ret = kvm_call_hyp_nvhe(__pkvm_host_donate_guest, page_to_pfn(page), gfn, 1);
	if (ret != -EHWPOISON)
		return 0;

	/* None waits to be settled later, when it may be another guest's. */
	settle_lost_pages();
	scoped_guard(mutex, &guest_vms_lock)
		mm = lose_page(vcpu->kvm, gfn);
	uncharge_lost_page(mm);

	return -EFAULT;
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

	/* Reserved, and empty until EL2 has the page. */
	ret = xa_insert(pages, gfn, NULL, GFP_KERNEL_ACCOUNT);
	if (ret)
		return ret == -EBUSY ? retry_guest_page(vcpu, gfn) : ret;

	track_vm(vcpu->kvm);

	/* Takes mmap_lock: before the pin, and with no lock held. */
	ret = account_locked_vm(mm, 1, true);
	if (ret)
		goto erase;

	ret = pin_guest_page(gfn, hva, &page);
	if (ret)
		goto uncharge;

	ret = hand_over_page(vcpu, page, gfn, false);
	if (ret)
		goto unpin;

	/* Into a reserved slot: takes no memory, cannot fail. */
	xa_store(pages, gfn, page, GFP_KERNEL_ACCOUNT);

	/* One that broke on its way was in nobody's book. Pairs with its flag's. */
	smp_mb();
	if (unlikely(PageHWPoison(page)))
		page_broke(page);

	return 0;
unpin:
	unpin_user_page(page);
uncharge:
	account_locked_vm(mm, 1, false);
erase:
	xa_erase(pages, gfn);

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
 * pkvm_guest_unshare() - A guest wants to shut the host out of a page.
 * @vcpu: the vCPU, loaded, whose call waits at EL2.
 * @gpa: guest physical address.
 *
 * EL2 finishes the call when the host offers the page, and fails it if it does
 * not. May sleep.
 *
 * Return: 0; -ENOENT when the guest has no page there; -EFAULT when others hold
 * the page, or EL2 refuses.
 */
int pkvm_guest_unshare(struct kvm_vcpu *vcpu, gpa_t gpa)
{
	gfn_t gfn = gpa_to_gfn(gpa);
	struct page *page = xa_load(&vcpu->kvm->arch.pkvm.guest_pages, gfn);

	if (!page || xa_is_value(page))
		return -ENOENT;

	return hand_over_page(vcpu, page, gfn, true);
}

/*
 * The longest run of pages from @gfn on that is contiguous on both sides, up to what
 * EL2 takes in one call: what comes after it would be counted once more.
 */
static unsigned long guest_run(struct xarray *pages, unsigned long gfn,
			       struct page *page)
{
	unsigned long pfn = page_to_pfn(page), nr = 1;
	struct page *next;

	while (nr < PKVM_MAX_PAGES_PER_CALL && (next = xa_load(pages, gfn + nr)) &&
	       !xa_is_value(next) && page_to_pfn(next) == pfn + nr)
		nr++;

	return nr;
}

/**
 * pkvm_guest_reclaim_all() - Take back all memory of a VM that will not run
 * again.
 * @kvm: the VM, at its end: no vCPU is loaded or will be.
 * @handle: EL2's name for it, which @kvm need not know yet.
 *
 * EL2 clears each page before it is unpinned here. A page that EL2 would not
 * return is leaked rather than freed: it still is the guest's. May sleep.
 */
void pkvm_guest_reclaim_all(struct kvm *kvm, pkvm_handle_t handle)
{
	struct xarray *pages = &kvm->arch.pkvm.guest_pages;
	unsigned long gfn = 0, nr, i, uncharge = 0;
	struct page *page;
	int ret;

	/* What was taken by force is in this book, and later in no book. */
	settle_lost_pages();
	scoped_guard(mutex, &guest_vms_lock)
		list_del_init(&kvm->arch.pkvm.node);

	if (WARN_ON(kvm_call_hyp_nvhe(__pkvm_start_teardown_vm, handle)))
		return;

	while ((page = xa_find(pages, &gfn, ULONG_MAX, XA_PRESENT))) {
		if (xa_is_value(page)) {
			xa_erase(pages, gfn++);
			continue;
		}

		nr = guest_run(pages, gfn, page);
		ret = kvm_call_hyp_nvhe(__pkvm_reclaim_guest_pages, handle,
					page_to_pfn(page), gfn, nr);
		if (WARN_ON(ret <= 0)) {
			xa_erase(pages, gfn++);
			continue;
		}

		for (i = 0; i < ret; i++, gfn++) {
			page = xa_erase(pages, gfn);
			guest_page_unhide(page);
			unpin_user_pages_dirty_lock(&page, 1, true);
		}
		uncharge += ret;
		cond_resched();
	}

	if (uncharge)
		account_locked_vm(kvm->mm, uncharge, false);
}

/*
 * Pages that were taken by force, until a work item that may sleep settles with
 * their VMs. One that finds no room here is settled when its guest touches it, or
 * ends.
 */
static struct {
	raw_spinlock_t	lock;
	unsigned int	nr;
	unsigned long	pfn[64];
	/* Aborts that may be about to add one. */
	atomic_t	running;
} lost_pages = {
	.lock	= __RAW_SPIN_LOCK_UNLOCKED(lost_pages.lock),
};

static bool pop_lost_page(unsigned long *pfn)
{
	guard(raw_spinlock_irqsave)(&lost_pages.lock);
	if (!lost_pages.nr)
		return false;
	*pfn = lost_pages.pfn[--lost_pages.nr];

	return true;
}

/* Settle one page. False when there was none. */
static bool settle_lost_page(void)
{
	struct mm_struct *mm = NULL;
	unsigned long pfn;
	struct kvm *kvm;
	gfn_t gfn;

	scoped_guard(mutex, &guest_vms_lock) {
		if (!pop_lost_page(&pfn))
			return false;
		kvm = find_page(pfn_to_page(pfn), &gfn);
		if (kvm)
			mm = lose_page(kvm, gfn);
	}
	uncharge_lost_page(mm);

	return true;
}

static void settle_lost_pages(void)
{
	while (atomic_read(&lost_pages.running))
		cpu_relax();

	while (settle_lost_page())
		;
}

static void lost_pages_workfn(struct work_struct *work)
{
	settle_lost_pages();
}

static DECLARE_WORK(lost_pages_work, lost_pages_workfn);

static void lost_pages_irqfn(struct irq_work *work)
{
	queue_work(system_unbound_wq, &lost_pages_work);
}

static DEFINE_IRQ_WORK(lost_pages_irq_work, lost_pages_irqfn);

/* In any context, even where a lock of this CPU's may be held. */
static void push_lost_page(unsigned long pfn)
{
	unsigned long flags;

	if (!raw_spin_trylock_irqsave(&lost_pages.lock, flags))
		return;
	if (lost_pages.nr < ARRAY_SIZE(lost_pages.pfn))
		lost_pages.pfn[lost_pages.nr++] = pfn;
	raw_spin_unlock_irqrestore(&lost_pages.lock, flags);

	irq_work_queue(&lost_pages_irq_work);
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

	/* Who waits for this may not let it wait. */
	preempt_disable();
	atomic_inc(&lost_pages.running);
	ret = kvm_call_hyp_nvhe(__pkvm_host_force_reclaim, pfn);
	if (!ret)
		push_lost_page(pfn);
	atomic_dec(&lost_pages.running);
	preempt_enable();
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

static int guest_memory_show(struct seq_file *m, void *unused)
{
	struct kvm *kvm = m->private;
	unsigned long gfn, private = 0, shared = 0, poisoned = 0;
	struct page *page;

	xa_for_each(&kvm->arch.pkvm.guest_pages, gfn, page) {
		if (xa_is_value(page))
			poisoned++;
		else if (is_open_at_el2(page))
			shared++;
		else
			private++;
		cond_resched();
	}

	seq_printf(m, "private %lu\n", private);
	seq_printf(m, "shared %lu\n", shared);
	seq_printf(m, "poisoned %lu\n", poisoned);
	seq_printf(m, "pinned %lu\n", private + shared);
	seq_printf(m, "hides_refused %ld\n",
		   atomic_long_read(&kvm->arch.pkvm.hides_refused));
	seq_printf(m, "forced_reclaims %ld\n",
		   atomic_long_read(&kvm->arch.pkvm.forced_reclaims));

	return 0;
}

static int guest_memory_open(struct inode *inode, struct file *file)
{
	struct kvm *kvm = inode->i_private;
	int ret;

	if (!kvm_get_kvm_safe(kvm))
		return -ENOENT;
	ret = single_open(file, guest_memory_show, kvm);
	if (ret)
		kvm_put_kvm(kvm);

	return ret;
}

static int guest_memory_release(struct inode *inode, struct file *file)
{
	kvm_put_kvm(inode->i_private);

	return single_release(inode, file);
}

static const struct file_operations guest_memory_fops = {
	.owner		= THIS_MODULE,
	.open		= guest_memory_open,
	.read		= seq_read,
	.llseek		= seq_lseek,
	.release	= guest_memory_release,
};

/**
 * pkvm_guest_create_debugfs() - Show where the memory of a protected VM is.
 * @kvm: the VM, whose debugfs directory exists.
 *
 * The file is guest_memory: pages that are private, that the guest shares, that
 * it lost by force; all that are pinned; how often a page was in use and could
 * not be hidden, or was taken by force.
 */
void pkvm_guest_create_debugfs(struct kvm *kvm)
{
	if (kvm_vm_is_protected(kvm))
		debugfs_create_file("guest_memory", 0400, kvm->debugfs_dentry, kvm,
				    &guest_memory_fops);
}

#ifdef CONFIG_PROC_FS
/* What /proc/meminfo has for all nodes together. */
void arch_report_meminfo(struct seq_file *m)
{
	seq_printf(m, "GuestPrivate:   %8lu kB\n",
		   guest_pages_nr() << (PAGE_SHIFT - 10));
}
#endif
