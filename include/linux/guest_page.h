/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Guest-private pages: memory that the kernel holds but may not touch, because
 * a hypervisor has given it to a guest.
 *
 * A page that carries the mark is refused to get_user_pages() without
 * FOLL_GUEST and to file access, whoever asks. The mark covers (I3): it is set
 * before the hypervisor takes a page and cleared after it gives it back. A
 * guest may let the host into a marked page; the owner of the mark knows.
 *
 * This knows nothing of KVM. See mm/guest_page.c.
 */
#ifndef _LINUX_GUEST_PAGE_H
#define _LINUX_GUEST_PAGE_H

#include <linux/jump_label.h>
#include <linux/mm_types.h>
#include <linux/page-flags.h>

/**
 * struct guest_page_ops - What the owner of the mark can tell.
 * @host_may_access: is this marked page open to the host now? Called in any
 *	context, with page table locks held; must not sleep.
 */
struct guest_page_ops {
	bool (*host_may_access)(struct page *page);
};

#ifdef CONFIG_GUEST_PAGE

DECLARE_STATIC_KEY_FALSE(guest_pages_in_use);

void guest_pages_register(const struct guest_page_ops *ops);
bool guest_page_mark(struct page *page);
void guest_page_unmark(struct page *page);
void guest_page_forget(struct page *page);
bool __guest_user_page_private(struct vm_area_struct *vma, unsigned long addr,
			       bool write);
bool __guest_pages_private(struct page *page, unsigned long nr);
bool __guest_pfn_private(unsigned long pfn);
size_t __guest_pages_accessible(struct folio *folio, loff_t pos, size_t len);

/**
 * guest_pages_private() - Is any page of a run private to a guest?
 * @page: the first page.
 * @nr: pages, within one folio.
 *
 * A no-op until the first guest with private pages exists.
 *
 * Return: true when the host may not touch all of them.
 */
static inline bool guest_pages_private(struct page *page, unsigned long nr)
{
	return static_branch_unlikely(&guest_pages_in_use) &&
	       __guest_pages_private(page, nr);
}

/**
 * guest_pfn_private() - Is a page private to a guest?
 * @pfn: any page frame number, with a struct page or without.
 *
 * For those who found it in a page table, and not by GUP.
 *
 * Return: true when the host may not touch it.
 */
static inline bool guest_pfn_private(unsigned long pfn)
{
	return static_branch_unlikely(&guest_pages_in_use) &&
	       __guest_pfn_private(pfn);
}

/**
 * guest_pages_accessible() - How much of a file may be touched from here on?
 * @folio: a folio of the page cache.
 * @pos: file position in bytes, within @folio.
 * @len: bytes wanted; may go beyond the folio.
 *
 * Return: @len, or the bytes before the first private page, 0 if @pos is in
 * one.
 */
static inline size_t guest_pages_accessible(struct folio *folio, loff_t pos,
					    size_t len)
{
	if (static_branch_unlikely(&guest_pages_in_use))
		return __guest_pages_accessible(folio, pos, len);

	return len;
}

/**
 * guest_user_page_private() - Can an access to a faulted-in page never succeed?
 * @vma: the mapping, with mmap_lock held.
 * @addr: an address in it that was faulted in just now.
 * @write: whether it was for a write.
 *
 * For those who fault a page in and try their access again: the page tables are
 * in order, so that the fault handler would send them round for ever. May
 * sleep.
 *
 * Return: true when a guest has the page.
 */
static inline bool guest_user_page_private(struct vm_area_struct *vma,
					   unsigned long addr, bool write)
{
	return static_branch_unlikely(&guest_pages_in_use) &&
	       __guest_user_page_private(vma, addr, write);
}

#else

static inline bool guest_user_page_private(struct vm_area_struct *vma,
					   unsigned long addr, bool write)
{
	return false;
}

static inline bool guest_pages_private(struct page *page, unsigned long nr)
{
	return false;
}

static inline bool guest_pfn_private(unsigned long pfn)
{
	return false;
}

static inline size_t guest_pages_accessible(struct folio *folio, loff_t pos,
					    size_t len)
{
	return len;
}

#endif /* CONFIG_GUEST_PAGE */
#endif /* _LINUX_GUEST_PAGE_H */
