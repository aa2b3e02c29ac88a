// SPDX-License-Identifier: GPL-2.0-only
/*
 * Guest-private pages: the mark, and who may have a marked page.
 *
 * Owns PG_guest and the question to its owner. The hypervisor is what keeps a
 * secret; the mark makes the kernel polite: a page that would only fault is
 * refused with an error instead. It may be looked at without locks, since a
 * stale answer costs no more than that fault.
 *
 * May not know what a guest is: whoever sets the mark answers for it.
 */

#include <linux/export.h>
#include <linux/guest_page.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/pagemap.h>
#include <linux/rmap.h>

#include "internal.h"

DEFINE_STATIC_KEY_FALSE(guest_pages_in_use);

static const struct guest_page_ops *guest_page_ops __read_mostly;

/**
 * guest_pages_register() - From now on there may be guest-private pages.
 * @ops: the one owner of the mark; must stay.
 *
 * May sleep. Calling it again with the same owner changes nothing.
 */
void guest_pages_register(const struct guest_page_ops *ops)
{
	WRITE_ONCE(guest_page_ops, ops);
	/* The key is seen after the owner: enabling it synchronises all CPUs. */
	static_branch_enable(&guest_pages_in_use);
}

/**
 * guest_page_mark() - Mark a page before a hypervisor takes it.
 * @page: a pinned page.
 *
 * Return: true; false when it carries the mark already, for another guest or
 * at another address.
 */
bool guest_page_mark(struct page *page)
{
	return !TestSetPageGuest(page);
}

/**
 * guest_page_unmark() - Clear the mark after a hypervisor gave a page back.
 * @page: a page that is still pinned and carries the mark.
 */
void guest_page_unmark(struct page *page)
{
	ClearPageGuest(page);
}

static bool forget_one(struct folio *folio, struct vm_area_struct *vma,
		       unsigned long address, void *arg)
{
	struct mmu_notifier_range range;
	struct page *page = arg;
	unsigned long addr;

	addr = vma_address(vma, folio->index + folio_page_idx(folio, page), 1);
	if (addr == -EFAULT)
		return true;

	mmu_notifier_range_init(&range, MMU_NOTIFY_CLEAR, 0, vma->vm_mm, addr,
				addr + PAGE_SIZE);
	mmu_notifier_invalidate_range_start(&range);
	mmu_notifier_invalidate_range_end(&range);

	return true;
}

/**
 * guest_page_forget() - Make every secondary MMU drop a page.
 * @page: a pinned page that carries the mark.
 *
 * The page may be mapped by devices or by ordinary guests of this or of other
 * processes that share the memory. With the mark set, none of them gets it
 * again. May sleep; takes the folio lock and the locks of its mappings.
 */
void guest_page_forget(struct page *page)
{
	struct rmap_walk_control rwc = {
		.rmap_one	= forget_one,
		.arg		= page,
	};
	struct folio *folio = page_folio(page);

	folio_lock(folio);
	rmap_walk(folio, &rwc);
	folio_unlock(folio);
}

bool __guest_user_page_private(struct vm_area_struct *vma, unsigned long addr,
			       bool write)
{
	struct page *page;
	long ret;

	/* No lookup finds these, and no guest can have them. */
	if (vma->vm_flags & (VM_IO | VM_PFNMAP))
		return false;

	ret = get_user_pages_remote(vma->vm_mm, addr, 1, write ? FOLL_WRITE : 0,
				    &page, NULL);
	if (ret == 1)
		put_page(page);

	return ret == -EFAULT;
}

bool __guest_pages_private(struct page *page, unsigned long nr)
{
	unsigned long i;

	for (i = 0; i < nr; i++) {
		struct page *p = nth_page(page, i);

		if (PageGuest(p) && !guest_page_ops->host_may_access(p))
			return true;
	}

	return false;
}

bool __guest_pfn_private(unsigned long pfn)
{
	return pfn_valid(pfn) && __guest_pages_private(pfn_to_page(pfn), 1);
}

size_t __guest_pages_accessible(struct folio *folio, loff_t pos, size_t len)
{
	size_t offset = offset_in_folio(folio, pos);
	size_t end = min(folio_size(folio), offset + len);
	size_t cur;

	for (cur = round_down(offset, PAGE_SIZE); cur < end; cur += PAGE_SIZE) {
		if (__guest_pages_private(folio_page(folio, cur >> PAGE_SHIFT), 1))
			return cur > offset ? cur - offset : 0;
	}

	return len;
}
