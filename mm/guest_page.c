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
#include <linux/pagemap.h>

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
