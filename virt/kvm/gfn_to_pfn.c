// SPDX-License-Identifier: GPL-2.0-only
/*
 * Lookups for architectures that hold guest pages by pfn.
 *
 * Owns gfn_to_pfn() and its relatives, as thin callers of follow_pfn.c. A bare pfn
 * does not say whether its page is held, so these guess from the page, and
 * refuse memory for which the guess would do harm: VM_PFNMAP mappings of pages
 * that look as if they had a reference count, and have none.
 *
 * Do not use any of this in new code: kvm_follow_pfn() tells what is held.
 */

#include <linux/export.h>
#include <linux/kvm_follow_pfn.h>
#include <linux/kvm_host.h>
#include <linux/mm.h>
#include <linux/swap.h>

#include "kvm_mm.h"

/*
 * The flags of a PG_reserved page belong to whoever reserved it
 * (page-flags.h); of all others KVM may say that a guest used them.
 */
static void kvm_mark_page_dirty(struct page *page)
{
	if (!PageReserved(page))
		SetPageDirty(page);
}

static void kvm_mark_page_accessed(struct page *page)
{
	if (!PageReserved(page))
		mark_page_accessed(page);
}

/**
 * kvm_is_zone_device_page() - Is a page of ZONE_DEVICE?
 * @page: a page that is held: only then can its device not go away.
 *
 * Return: true if it is.
 */
bool kvm_is_zone_device_page(struct page *page)
{
	if (WARN_ON_ONCE(!page_count(page)))
		return false;

	return is_zone_device_page(page);
}

/**
 * kvm_pfn_to_refcounted_page() - Guess whether a pfn's page is held.
 * @pfn: not an error pfn.
 *
 * PG_reserved pages have no owner that counts, except the zero page and, for what
 * references are concerned, ZONE_DEVICE.
 *
 * Return: the page, or NULL if it has none or none that is counted.
 */
struct page *kvm_pfn_to_refcounted_page(kvm_pfn_t pfn)
{
	struct page *page;

	if (!pfn_valid(pfn))
		return NULL;

	page = pfn_to_page(pfn);
	if (!PageReserved(page) || is_zero_pfn(pfn) || kvm_is_zone_device_page(page))
		return page;

	return NULL;
}

static kvm_pfn_t error_to_pfn(int error)
{
	switch (error) {
	case -ENOENT:
		return KVM_PFN_NOSLOT;
	case -EROFS:
		return KVM_PFN_ERR_RO_FAULT;
	case -EHWPOISON:
		return KVM_PFN_ERR_HWPOISON;
	case -EINTR:
		return KVM_PFN_ERR_SIGPENDING;
	default:
		return KVM_PFN_ERR_FAULT;
	}
}

static kvm_pfn_t hold_by_pfn(struct kvm_follow_pfn *kfp, bool *async, bool *writable)
{
	struct kvm_followed_pfn found;
	int ret;

	kfp->hold = KVM_HOLD_BY_PFN;
	ret = kvm_follow_pfn(kfp, &found);
	if (writable)
		*writable = !ret && found.writable;
	if (async && ret == -EBUSY)
		*async = true;
	if (ret)
		return error_to_pfn(ret);

	/* Released by pfn from now on. */
	kvm_take_followed(&found);
	return found.pfn;
}

/**
 * __gfn_to_pfn_memslot() - Look up and hold the page behind a guest frame.
 * @slot: the memslot, or NULL.
 * @gfn: guest frame number.
 * @atomic: do not sleep; finds pages only that fast GUP finds writable.
 * @interruptible: give up for any signal.
 * @async: if not NULL, do not wait for I/O, and set it if there is some.
 * @write_fault: the page is to be written.
 * @writable: if not NULL, wants to know whether it may be, for a read too.
 * @hva: if not NULL, set to the host address.
 *
 * Return: the pfn, for kvm_release_pfn_clean() or kvm_release_pfn_dirty(), or an
 * error pfn.
 */
kvm_pfn_t __gfn_to_pfn_memslot(const struct kvm_memory_slot *slot, gfn_t gfn,
			       bool atomic, bool interruptible, bool *async,
			       bool write_fault, bool *writable, hva_t *hva)
{
	struct kvm_follow_pfn kfp = {
		.slot		= (struct kvm_memory_slot *)slot,
		.gfn		= gfn,
		.foll		= (write_fault ? FOLL_WRITE : 0) |
				  (async ? FOLL_NOWAIT : 0) |
				  (interruptible ? FOLL_INTERRUPTIBLE : 0),
		.upgrade	= writable,
	};

	if (hva)
		*hva = gfn_to_hva_memslot_prot(kfp.slot, gfn, NULL);
	if (atomic) {
		kvm_pfn_t pfn = gfn_to_pfn_memslot_atomic(slot, gfn);

		if (writable)
			*writable = !is_error_noslot_pfn(pfn);
		return pfn;
	}

	return hold_by_pfn(&kfp, async, writable);
}
EXPORT_SYMBOL_GPL(__gfn_to_pfn_memslot);

/**
 * gfn_to_pfn_prot() - Look up and hold the page behind a guest frame.
 * @kvm: the VM.
 * @gfn: guest frame number.
 * @write_fault: the page is to be written.
 * @writable: as for __gfn_to_pfn_memslot().
 *
 * Return: as __gfn_to_pfn_memslot().
 */
kvm_pfn_t gfn_to_pfn_prot(struct kvm *kvm, gfn_t gfn, bool write_fault,
			  bool *writable)
{
	return __gfn_to_pfn_memslot(gfn_to_memslot(kvm, gfn), gfn, false, false,
				    NULL, write_fault, writable, NULL);
}
EXPORT_SYMBOL_GPL(gfn_to_pfn_prot);

/**
 * gfn_to_pfn_memslot() - Look up and hold the page behind a frame, to write it.
 * @slot: the memslot, or NULL.
 * @gfn: guest frame number.
 *
 * Return: as __gfn_to_pfn_memslot().
 */
kvm_pfn_t gfn_to_pfn_memslot(const struct kvm_memory_slot *slot, gfn_t gfn)
{
	return __gfn_to_pfn_memslot(slot, gfn, false, false, NULL, true, NULL, NULL);
}
EXPORT_SYMBOL_GPL(gfn_to_pfn_memslot);

/**
 * gfn_to_pfn_memslot_atomic() - Hold the page behind a frame if it is at hand.
 * @slot: the memslot, or NULL.
 * @gfn: guest frame number.
 *
 * Does not sleep.
 *
 * Return: the pfn of a writable page; KVM_PFN_ERR_FAULT when there is none.
 */
kvm_pfn_t gfn_to_pfn_memslot_atomic(const struct kvm_memory_slot *slot, gfn_t gfn)
{
	hva_t hva = gfn_to_hva_memslot((struct kvm_memory_slot *)slot, gfn);
	struct page *page;

	if (kvm_is_error_hva(hva) ||
	    !get_user_page_fast_only(hva, FOLL_WRITE, &page))
		return KVM_PFN_ERR_FAULT;

	return page_to_pfn(page);
}
EXPORT_SYMBOL_GPL(gfn_to_pfn_memslot_atomic);

/**
 * gfn_to_pfn() - Look up and hold the page behind a guest frame, to write it.
 * @kvm: the VM.
 * @gfn: guest frame number.
 *
 * Return: as __gfn_to_pfn_memslot().
 */
kvm_pfn_t gfn_to_pfn(struct kvm *kvm, gfn_t gfn)
{
	return gfn_to_pfn_memslot(gfn_to_memslot(kvm, gfn), gfn);
}
EXPORT_SYMBOL_GPL(gfn_to_pfn);

/**
 * gfn_to_page_many_atomic() - Get the pages of a run of frames that are at hand.
 * @slot: the memslot.
 * @gfn: the first guest frame number.
 * @pages: for the pages, each with a reference.
 * @nr_pages: pages.
 *
 * Does not sleep.
 *
 * Return: how many, from the first on; 0 when the run leaves the slot; -1 for no
 * slot.
 */
int gfn_to_page_many_atomic(struct kvm_memory_slot *slot, gfn_t gfn,
			    struct page **pages, int nr_pages)
{
	hva_t hva = gfn_to_hva_memslot(slot, gfn);

	if (kvm_is_error_hva(hva))
		return -1;
	if (slot->base_gfn + slot->npages - gfn < nr_pages)
		return 0;

	return get_user_pages_fast_only(hva, nr_pages, FOLL_WRITE, pages);
}
EXPORT_SYMBOL_GPL(gfn_to_page_many_atomic);

/**
 * gfn_to_page() - Get the page behind a guest frame.
 * @kvm: the VM.
 * @gfn: guest frame number.
 *
 * Return: the page, with a reference; KVM_ERR_PTR_BAD_PAGE when there is none that
 * can be held.
 */
struct page *gfn_to_page(struct kvm *kvm, gfn_t gfn)
{
	struct kvm_follow_pfn kfp = {
		.slot	= gfn_to_memslot(kvm, gfn),
		.gfn	= gfn,
		.foll	= FOLL_WRITE,
		.hold	= KVM_HOLD_GET,
	};
	struct kvm_followed_pfn found;

	if (kvm_follow_pfn(&kfp, &found) || !found.page)
		return KVM_ERR_PTR_BAD_PAGE;

	return kvm_take_followed(&found);
}
EXPORT_SYMBOL_GPL(gfn_to_page);

/**
 * kvm_release_page_clean() - Put a page that a guest has used.
 * @page: the page.
 */
void kvm_release_page_clean(struct page *page)
{
	WARN_ON(is_error_page(page));

	kvm_mark_page_accessed(page);
	put_page(page);
}
EXPORT_SYMBOL_GPL(kvm_release_page_clean);

/**
 * kvm_release_page_dirty() - Put a page that a guest has written.
 * @page: the page.
 */
void kvm_release_page_dirty(struct page *page)
{
	WARN_ON(is_error_page(page));

	kvm_mark_page_dirty(page);
	kvm_release_page_clean(page);
}
EXPORT_SYMBOL_GPL(kvm_release_page_dirty);

/**
 * kvm_release_pfn_clean() - Release what gfn_to_pfn() has held.
 * @pfn: its result, an error pfn too.
 */
void kvm_release_pfn_clean(kvm_pfn_t pfn)
{
	kvm_release_pfn(pfn, false);
}
EXPORT_SYMBOL_GPL(kvm_release_pfn_clean);

/**
 * kvm_release_pfn_dirty() - Release what gfn_to_pfn() has held and a guest wrote.
 * @pfn: its result, an error pfn too.
 */
void kvm_release_pfn_dirty(kvm_pfn_t pfn)
{
	kvm_release_pfn(pfn, true);
}
EXPORT_SYMBOL_GPL(kvm_release_pfn_dirty);

/**
 * kvm_release_pfn() - Release what gfn_to_pfn() has held.
 * @pfn: its result, an error pfn too.
 * @dirty: a guest wrote the page.
 */
void kvm_release_pfn(kvm_pfn_t pfn, bool dirty)
{
	struct page *page;

	if (is_error_noslot_pfn(pfn))
		return;

	page = kvm_pfn_to_refcounted_page(pfn);
	if (!page)
		return;

	if (dirty)
		kvm_release_page_dirty(page);
	else
		kvm_release_page_clean(page);
}

/**
 * kvm_set_pfn_dirty() - Say that a guest has written a page.
 * @pfn: not an error pfn.
 */
void kvm_set_pfn_dirty(kvm_pfn_t pfn)
{
	if (!WARN_ON(is_error_noslot_pfn(pfn)) && pfn_valid(pfn))
		kvm_mark_page_dirty(pfn_to_page(pfn));
}
EXPORT_SYMBOL_GPL(kvm_set_pfn_dirty);

/**
 * kvm_set_pfn_accessed() - Say that a guest has used a page.
 * @pfn: not an error pfn.
 */
void kvm_set_pfn_accessed(kvm_pfn_t pfn)
{
	if (!WARN_ON(is_error_noslot_pfn(pfn)) && pfn_valid(pfn))
		kvm_mark_page_accessed(pfn_to_page(pfn));
}
EXPORT_SYMBOL_GPL(kvm_set_pfn_accessed);
