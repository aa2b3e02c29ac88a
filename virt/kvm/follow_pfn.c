// SPDX-License-Identifier: GPL-2.0-only
/*
 * Follow a gfn or a hva to the pfn behind it.
 *
 * Owns KVM's lookups of host memory, the references that they take, and the
 * rules for both. Asks mm/ only; knows no architecture's page tables.
 *
 * What KVM holds, and what it does not:
 *
 * - A page is held only if GUP returned it, and is given back exactly once, as
 *   what it was taken for: a reference is put, a pin is unpinned. Nobody
 *   finds out from a pfn whether its page is held: the head of a block that was
 *   not allocated as a compound page has a count that looks like a reference,
 *   its tails have none, the tails of a compound page are held by their head.
 *
 * - The hold bridges the time from lookup to installation. A guest mapping holds
 *   nothing itself: the mmu notifier takes it away before the page goes.
 *
 * - Memory in VM_IO and VM_PFNMAP mappings is never held, whether it has struct
 *   pages or not, and their flags are not touched. Its pfn is good for as long as
 *   the host's mapping is: whoever uses it samples the invalidation sequence
 *   before the lookup, installs it under mmu_lock unless the sequence moved, and
 *   touches the memory (cache maintenance, tags, hypercalls) after that check
 *   only. Then a driver that revokes the memory either sees the guest's mapping
 *   and undoes it, or makes the installation try again.
 *
 * - What the notifier does not guard, KVM's own mappings of guest memory, must be
 *   pinned. Where that cannot be, it is refused, unless the administrator says
 *   that the memory is never taken away (allow_unsafe_mappings).
 *
 * - Dirty and accessed are set on a held page under mmu_lock after a successful
 *   installation. A page found in a guest's page table is not held: its flags
 *   are none of KVM's business.
 *
 * - A guest-private page is found with FOLL_GUEST only (linux/guest_page.h).
 *
 * FOLL_* flags say how to look up, FAULT_FLAG_* how to fault; they are different
 * numbers for different functions and never stand in one variable.
 */

#include <linux/errno.h>
#include <linux/export.h>
#include <linux/guest_page.h>
#include <linux/kvm_follow_pfn.h>
#include <linux/kvm_host.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/panic.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/swap.h>

#include "kvm_mm.h"

#define CREATE_TRACE_POINTS
#include <trace/events/kvm_follow_pfn.h>

static bool __ro_after_init allow_unsafe_mappings;
module_param(allow_unsafe_mappings, bool, 0444);
MODULE_PARM_DESC(allow_unsafe_mappings,
		 "Let KVM map VM_IO and VM_PFNMAP memory of guests for itself, although nothing holds it there");

/* Two are enough where nobody revokes what is being looked up. */
#define FAULT_TRIES	8

static bool is_pin(enum kvm_hold hold)
{
	return hold == KVM_HOLD_PIN || hold == KVM_HOLD_LONGTERM;
}

static void found_page(const struct kvm_follow_pfn *kfp, struct page *page,
		       bool writable, enum kvm_follow_source source,
		       struct kvm_followed_pfn *found)
{
	found->pfn = page_to_pfn(page);
	found->writable = writable;
	found->source = source;

	if (kfp->hold == KVM_HOLD_NONE) {
		put_page(page);
		return;
	}

	found->page = page;
	found->hold = kfp->hold;
}

/*
 * Only for a writable page: a read that took the fast path could be given a page
 * that a copy-on-write is just replacing, and never notice.
 */
static bool follow_fast(const struct kvm_follow_pfn *kfp, hva_t hva,
			struct kvm_followed_pfn *found)
{
	struct page *page;

	if (kfp->hold == KVM_HOLD_PIN) {
		if (!(kfp->foll & FOLL_WRITE) ||
		    pin_user_pages_fast(hva, 1, FOLL_WRITE, &page) != 1)
			return false;
	} else {
		/* GUP's fast path knows neither FOLL_GUEST nor long terms. */
		if (!(kfp->foll & FOLL_WRITE) && !kfp->upgrade)
			return false;
		if ((kfp->foll & FOLL_GUEST) || kfp->hold == KVM_HOLD_LONGTERM ||
		    !get_user_page_fast_only(hva, FOLL_WRITE, &page))
			return false;
	}

	found_page(kfp, page, true, KVM_FOLLOW_FAST, found);
	return true;
}

/*
 * The guest's access is a CPU's access: it honours NUMA hints, or a page that a
 * guest maps would never see one.
 */
static int follow_slow(const struct kvm_follow_pfn *kfp, hva_t hva,
		       struct kvm_followed_pfn *found)
{
	unsigned int foll = kfp->foll | FOLL_HWPOISON | FOLL_HONOR_NUMA_FAULT;
	bool writable = foll & FOLL_WRITE;
	struct page *page, *wpage;
	long nr;

	might_sleep();

	if (kfp->hold == KVM_HOLD_LONGTERM)
		foll |= FOLL_LONGTERM;

	if (is_pin(kfp->hold))
		nr = pin_user_pages_unlocked(hva, 1, &page, foll);
	else
		nr = get_user_pages_unlocked(hva, 1, &page, foll);
	if (nr != 1)
		return nr < 0 ? nr : -EFAULT;

	/* Now that it is there, a read may do better without a fault. */
	if (!writable && kfp->upgrade &&
	    get_user_page_fast_only(hva, FOLL_WRITE, &wpage)) {
		put_page(page);
		page = wpage;
		writable = true;
	}

	found_page(kfp, page, writable, KVM_FOLLOW_SLOW, found);
	return 0;
}

static bool is_special(const struct vm_area_struct *vma)
{
	return vma->vm_flags & (VM_IO | VM_PFNMAP);
}

/* What the host's own access would need. */
static int vma_permits(const struct vm_area_struct *vma, bool write)
{
	if (write)
		return vma->vm_flags & VM_WRITE ? 0 : -EROFS;

	return vma->vm_flags & VM_READ ? 0 : -EFAULT;
}

/*
 * gfn_to_pfn() gives its callers a bare pfn to release. Take what they will put
 * back, or refuse what they would underflow.
 */
static bool get_by_pfn(kvm_pfn_t pfn)
{
	struct page *page;

	if (!IS_ENABLED(CONFIG_KVM_GFN_TO_PFN))
		return false;

	page = kvm_pfn_to_refcounted_page(pfn);
	return !page || get_page_unless_zero(page);
}

/*
 * Read the host's leaf, with mmap_lock held. -ENOENT when there is none, or none
 * to write through.
 */
static int follow_leaf(const struct kvm_follow_pfn *kfp, struct vm_area_struct *vma,
		       hva_t hva, struct kvm_followed_pfn *found)
{
	struct follow_pfnmap_args args = { .vma = vma, .address = hva };
	bool write = kfp->foll & FOLL_WRITE;
	int ret = 0;

	if (follow_pfnmap_start(&args))
		return -ENOENT;

	if (write && !args.writable) {
		ret = -ENOENT;
	} else if (guest_pfn_private(args.pfn) ||
		   (kfp->hold == KVM_HOLD_BY_PFN && !get_by_pfn(args.pfn))) {
		ret = -EFAULT;
	} else {
		found->pfn = args.pfn;
		found->pgprot = args.pgprot;
		found->writable = args.writable && (write || kfp->upgrade);
		found->source = KVM_FOLLOW_SPECIAL;
	}
	follow_pfnmap_end(&args);

	return ret;
}

static int special_permits(const struct kvm_follow_pfn *kfp,
			   const struct vm_area_struct *vma)
{
	int ret = vma_permits(vma, kfp->foll & FOLL_WRITE);

	if (ret)
		return ret;
	if (kfp->hold == KVM_HOLD_LONGTERM ||
	    (kfp->hold == KVM_HOLD_PIN && !allow_unsafe_mappings))
		return -EOPNOTSUPP;

	return 0;
}

/*
 * What a store or load of the host would do about a leaf that is not there, or is
 * read-only: let the driver make it so (->fault, ->pfn_mkwrite, copy on write).
 * Returns 0 to look again, for the VMA too: mmap_lock may have been dropped.
 */
static int fault_in(struct vm_area_struct *vma, hva_t hva, bool write, bool tried)
{
	unsigned int flags = FAULT_FLAG_ALLOW_RETRY | FAULT_FLAG_KILLABLE;
	vm_fault_t fault;

	if (write)
		flags |= FAULT_FLAG_WRITE;
	if (tried)
		flags |= FAULT_FLAG_TRIED;

	/* fixup_user_fault() does not tell poison from other errors. */
	fault = handle_mm_fault(vma, hva, flags, NULL);
	if (fault & (VM_FAULT_RETRY | VM_FAULT_COMPLETED)) {
		mmap_read_lock(current->mm);
		return 0;
	}
	if (fault & VM_FAULT_ERROR)
		return vm_fault_to_errno(fault, FOLL_HWPOISON);

	return 0;
}

/*
 * Look behind a VM_IO or VM_PFNMAP mapping, with mmap_lock held; -ENXIO when there
 * is no such mapping. A fault that brings a read-only leaf may have to be followed
 * by one that opens it, and a leaf can go as soon as it was made: like the host's
 * CPU, try again; but not for ever, since the caller may have to let others
 * pass.
 */
static int follow_special(const struct kvm_follow_pfn *kfp, hva_t hva,
			  struct kvm_followed_pfn *found)
{
	struct mm_struct *mm = current->mm;
	struct vm_area_struct *vma;
	int ret, tries;

	for (tries = 0; ; tries++) {
		vma = vma_lookup(mm, hva);
		if (!vma || !is_special(vma))
			return -ENXIO;

		ret = special_permits(kfp, vma);
		if (ret)
			return ret;

		ret = follow_leaf(kfp, vma, hva, found);
		if (ret != -ENOENT)
			return ret;

		if (tries == FAULT_TRIES)
			return -EAGAIN;
		if (tries && signal_pending(current))
			return -EINTR;

		ret = fault_in(vma, hva, kfp->foll & FOLL_WRITE, tries);
		if (ret)
			return ret;
	}
}

static int follow_special_locked(const struct kvm_follow_pfn *kfp, hva_t hva,
				 struct kvm_followed_pfn *found)
{
	int ret;

	mmap_read_lock(current->mm);
	ret = follow_special(kfp, hva, found);
	mmap_read_unlock(current->mm);

	return ret;
}

/* After GUP has failed: is there a mapping that would take the access? */
static bool is_permitted(hva_t hva, bool write)
{
	struct vm_area_struct *vma;
	bool permitted;

	mmap_read_lock(current->mm);
	vma = vma_lookup(current->mm, hva);
	permitted = vma && (vma->vm_flags & VM_READ) && !vma_permits(vma, write);
	mmap_read_unlock(current->mm);

	return permitted;
}

static int follow_hva(const struct kvm_follow_pfn *kfp, hva_t hva,
		      struct kvm_followed_pfn *found)
{
	int ret, special = -ENXIO;

	if (kfp->special) {
		special = follow_special_locked(kfp, hva, found);
		if (special != -ENXIO)
			return special;
	}

	if (follow_fast(kfp, hva, found))
		return 0;

	ret = follow_slow(kfp, hva, found);
	if (!ret || ret == -EHWPOISON || ret == -EINTR || ret == -ENOMEM)
		return ret;

	/* GUP has nothing to do with special mappings. */
	special = follow_special_locked(kfp, hva, found);
	if (special != -ENXIO)
		return special;

	if ((kfp->foll & FOLL_NOWAIT) && is_permitted(hva, kfp->foll & FOLL_WRITE))
		return -EBUSY;

	return ret;
}

/**
 * kvm_follow_hva() - Look up the page at an address of the VMM.
 * @kfp: what to look up; its slot is not used.
 * @hva: host virtual address, in current->mm.
 * @found: the answer; fully written in any case.
 *
 * Called without mmap_lock and mmu_lock; may sleep.
 *
 * Return: 0; or, with nothing held,
 * -EFAULT when nothing is mapped there, when the host may not read it, when a
 * driver failed, or when a guest owns the page and FOLL_GUEST was not said;
 * -EROFS when the host may not write it (GUP says -EFAULT);
 * -EHWPOISON when the memory is broken;
 * -EOPNOTSUPP when a pin is asked for and the memory cannot be held;
 * -EINVAL for a pin that is to be upgraded;
 * -EINTR for a signal: a fatal one, or any with FOLL_INTERRUPTIBLE or where special
 * memory has to be tried again;
 * -EAGAIN when a driver takes back what it maps faster than it can be followed;
 * -EBUSY with FOLL_NOWAIT when the page would have to be waited for (not for
 * special memory);
 * -ENOMEM and others as get_user_pages().
 */
int kvm_follow_hva(const struct kvm_follow_pfn *kfp, hva_t hva,
		   struct kvm_followed_pfn *found)
{
	int ret;

	*found = (struct kvm_followed_pfn) {
		.pfn	= KVM_PFN_ERR_FAULT,
		.hva	= hva,
	};

	if (WARN_ON_ONCE(is_pin(kfp->hold) && kfp->upgrade))
		ret = -EINVAL;
	else
		ret = follow_hva(kfp, hva, found);
	trace_kvm_follow_pfn(kfp->gfn, found, ret);

	return ret;
}
EXPORT_SYMBOL_GPL(kvm_follow_hva);

/**
 * kvm_follow_pfn() - Look up the page behind a guest frame.
 * @kfp: what to look up.
 * @found: the answer; fully written in any case.
 *
 * Called with kvm->srcu held, which keeps the slot, and otherwise as
 * kvm_follow_hva(). A read-only slot gives no writable page.
 *
 * Return: as kvm_follow_hva(); -ENOENT when no valid slot covers the frame,
 * -EROFS for a write to a read-only slot.
 */
int kvm_follow_pfn(const struct kvm_follow_pfn *kfp, struct kvm_followed_pfn *found)
{
	struct kvm_follow_pfn ro;
	bool writable;
	hva_t hva;

	hva = gfn_to_hva_memslot_prot(kfp->slot, kfp->gfn, &writable);
	if (kvm_is_error_hva(hva) || (!writable && (kfp->foll & FOLL_WRITE))) {
		*found = (struct kvm_followed_pfn) {
			.pfn	= KVM_PFN_ERR_FAULT,
			.hva	= hva,
		};
		return kvm_is_error_hva(hva) ? -ENOENT : -EROFS;
	}

	if (!writable && kfp->upgrade) {
		ro = *kfp;
		ro.upgrade = false;
		kfp = &ro;
	}

	return kvm_follow_hva(kfp, hva, found);
}
EXPORT_SYMBOL_GPL(kvm_follow_pfn);

/**
 * kvm_follow_mapped() - Look at a special mapping as it is now.
 * @kfp: what to look up.
 * @vma: a VMA of current->mm.
 * @hva: an address in it.
 * @found: the answer; fully written in any case.
 *
 * For one who has the VMA at hand: one walk, no fault, no second lookup. Called
 * with mmap_lock held for read, which stays held; the invalidation sequence was
 * sampled before. Does not look at the slot.
 *
 * Return: 0; -ENOENT when kvm_follow_pfn() has to be asked, which is the one to
 * say why not; other errors as kvm_follow_hva().
 */
int kvm_follow_mapped(const struct kvm_follow_pfn *kfp, struct vm_area_struct *vma,
		      hva_t hva, struct kvm_followed_pfn *found)
{
	int ret;

	mmap_assert_locked(vma->vm_mm);

	*found = (struct kvm_followed_pfn) {
		.pfn	= KVM_PFN_ERR_FAULT,
		.hva	= hva,
	};

	if (!is_special(vma) || special_permits(kfp, vma))
		return -ENOENT;

	ret = follow_leaf(kfp, vma, hva, found);
	if (!ret)
		trace_kvm_follow_pfn(kfp->gfn, found, ret);

	return ret;
}
EXPORT_SYMBOL_GPL(kvm_follow_mapped);

/**
 * kvm_release_held() - Give up a page that a lookup has held; it was not used.
 * @page: the page.
 * @hold: how it is held; not KVM_HOLD_NONE.
 *
 * In any context that may put a page.
 */
void kvm_release_held(struct page *page, enum kvm_hold hold)
{
	if (is_pin(hold))
		unpin_user_page(page);
	else
		put_page(page);
}
EXPORT_SYMBOL_GPL(kvm_release_held);

/**
 * kvm_put_followed() - Give up what an answer holds; the page was used.
 * @found: the answer; holds nothing any more.
 * @dirty: it was, or will be, written.
 */
void kvm_put_followed(struct kvm_followed_pfn *found, bool dirty)
{
	enum kvm_hold hold = found->hold;
	struct page *page = kvm_take_followed(found);

	if (!page)
		return;

	/* Of a PG_reserved page the flags are those of who reserved it. */
	if (!PageReserved(page)) {
		if (dirty)
			SetPageDirty(page);
		mark_page_accessed(page);
	}
	kvm_release_held(page, hold);
}
EXPORT_SYMBOL_GPL(kvm_put_followed);

/**
 * kvm_follow_to_map() - Look up a page that KVM is going to map for itself.
 * @kvm: the VM, with kvm->srcu held.
 * @gfn: guest frame number.
 * @found: the answer; the page is pinned.
 *
 * No notifier guards such a mapping. With allow_unsafe_mappings, memory that
 * nothing can hold is let through, with a warning.
 *
 * Return: as kvm_follow_pfn(), for a write.
 */
int kvm_follow_to_map(struct kvm *kvm, gfn_t gfn, struct kvm_followed_pfn *found)
{
	struct kvm_follow_pfn kfp = {
		.slot	= gfn_to_memslot(kvm, gfn),
		.gfn	= gfn,
		.foll	= FOLL_WRITE,
		.hold	= KVM_HOLD_PIN,
	};
	int ret = kvm_follow_pfn(&kfp, found);

	if (!ret && !found->page) {
		pr_warn_once("kvm: %s[%d]: nothing holds the memory behind gfn 0x%llx while the kernel maps it (allow_unsafe_mappings)\n",
			     current->comm, task_pid_nr(current), gfn);
		add_taint(TAINT_USER, LOCKDEP_STILL_OK);
	}

	return ret;
}

/**
 * kvm_unpin_mapped() - Unpin a page that KVM had mapped for itself.
 * @page: what kvm_follow_to_map() has pinned.
 * @dirty: it was written.
 */
void kvm_unpin_mapped(struct page *page, bool dirty)
{
	struct kvm_followed_pfn found = { .page = page, .hold = KVM_HOLD_PIN };

	kvm_put_followed(&found, dirty);
}
