/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Guest-private pages: memory that the kernel holds but may not touch, because
 * a hypervisor has given it to a guest.
 *
 * A page that carries the mark is in no page table of the host's, and is refused
 * to get_user_pages() without FOLL_GUEST, to faults and to file access, whoever
 * asks. The mark covers (I3): it is set before the hypervisor takes a page and
 * cleared after it gives it back. A guest may let the host into a marked page;
 * the owner of the mark knows, and the next touch clears it.
 *
 * This knows nothing of KVM. See mm/guest_page.c.
 */
#ifndef _LINUX_GUEST_PAGE_H
#define _LINUX_GUEST_PAGE_H

#include <linux/jump_label.h>
#include <linux/mm_types.h>
#include <linux/page-flags.h>

struct seq_file;
struct vm_fault;

/**
 * struct guest_page_ops - What the owner of the mark can tell.
 * @host_may_access: is this marked page open to the host now? If so, it stays
 *	open until the owner has hidden it again. Called in any context, with
 *	page table locks held; must not sleep.
 * @is_open: the same of a marked page that guest_page_hide_again() is at work on, and
 *	which is not open for others meanwhile. Called with the folio locked.
 * @memory_failure: a page is broken, which may be a guest's: one that is open to the
 *	host has lost the mark, mostly. May sleep.
 */
struct guest_page_ops {
	bool (*host_may_access)(struct page *page);
	bool (*is_open)(struct page *page);
	void (*memory_failure)(struct page *page);
};

#ifdef CONFIG_GUEST_PAGE

DECLARE_STATIC_KEY_FALSE(guest_pages_in_use);

void guest_pages_register(const struct guest_page_ops *ops);
int guest_page_hide(struct page *page);
int guest_page_hide_again(struct page *page);
void guest_page_unhide(struct page *page);
int guest_page_split(struct page *page);
unsigned long guest_pages_nr(void);
void guest_pages_show_smap(struct seq_file *m, struct vm_area_struct *vma);
int guest_pages_show_node(int nid, char *buf, int len);

vm_fault_t guest_page_fault(struct vm_fault *vmf);
int guest_page_fork(struct vm_area_struct *vma, unsigned long address, pte_t *ptep);
struct page *guest_page_follow(struct vm_area_struct *vma, unsigned long address,
			       unsigned int flags);
bool __guest_pages_private(struct page *page, unsigned long nr);
bool __guest_pfn_private(unsigned long pfn);
bool __guest_folio_refused(struct folio *folio);
vm_fault_t __guest_file_fault(struct vm_fault *vmf);
void __guest_page_leak(struct page *page);
void __guest_page_failed(struct page *page);
void __guest_folio_failed(struct folio *folio);
void __guest_folio_uncharge(struct folio *folio);

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
 * guest_folio_refused() - May the host touch a folio of the page cache?
 * @folio: the folio, locked.
 *
 * A folio that was opened to the host loses the mark. For whoever is going to
 * map it, or use it under a reference that was taken before.
 *
 * Return: true when a guest has it.
 */
static inline bool guest_folio_refused(struct folio *folio)
{
	return static_branch_unlikely(&guest_pages_in_use) &&
	       PageGuest(&folio->page) && __guest_folio_refused(folio);
}

/**
 * guest_file_fault() - May a fault map what the file system found?
 * @vmf: the fault, with its page locked and referenced.
 * @page: that page.
 * @ret: what to return for a page that it may.
 *
 * Return: @ret; VM_FAULT_SIGSEGV, with the page released, when a guest has it.
 */
static inline vm_fault_t guest_file_fault(struct vm_fault *vmf,
					  struct page *page,
					  vm_fault_t ret)
{
	if (static_branch_unlikely(&guest_pages_in_use) && PageGuest(page))
		return __guest_file_fault(vmf) ?: ret;

	return ret;
}

/**
 * guest_page_leaks() - Must a page not be freed?
 * @page: a page without references.
 *
 * A page that still is a guest's is lost rather than given to somebody else: an
 * owner's bug must not become a leak of data.
 *
 * Return: true when it carries the mark; this was said in the kernel log.
 */
static inline bool guest_page_leaks(struct page *page)
{
	if (likely(!PageGuest(page)))
		return false;
	__guest_page_leak(page);

	return true;
}

/**
 * guest_page_failed() - Tell the owner of guests' pages that a page is broken.
 * @page: any page. May sleep.
 */
static inline void guest_page_failed(struct page *page)
{
	if (static_branch_unlikely(&guest_pages_in_use))
		__guest_page_failed(page);
}

/**
 * guest_folio_failed() - Let go of a broken folio where a guest's page was mapped.
 * @folio: a small folio that is marked as broken, locked, with a reference of the
 *	caller's.
 *
 * Who touches one of these places hears of it, as of one where it was mapped. May sleep.
 */
static inline void guest_folio_failed(struct folio *folio)
{
	if (static_branch_unlikely(&guest_pages_in_use))
		__guest_folio_failed(folio);
}

/**
 * guest_folio_uncharge() - A folio that may be a guest's is going to have no account.
 * @folio: the folio, locked, and charged to an account that counts guests' pages.
 */
static inline void guest_folio_uncharge(struct folio *folio)
{
	if (static_branch_unlikely(&guest_pages_in_use) && PageGuest(&folio->page))
		__guest_folio_uncharge(folio);
}

#else

static inline vm_fault_t guest_page_fault(struct vm_fault *vmf)
{
	return 0;
}

static inline int guest_page_fork(struct vm_area_struct *vma, unsigned long address,
				  pte_t *ptep)
{
	return 0;
}

static inline struct page *guest_page_follow(struct vm_area_struct *vma,
					     unsigned long address,
					     unsigned int flags)
{
	return NULL;
}

static inline bool guest_pages_private(struct page *page, unsigned long nr)
{
	return false;
}

static inline bool guest_pfn_private(unsigned long pfn)
{
	return false;
}

static inline bool guest_folio_refused(struct folio *folio)
{
	return false;
}

static inline vm_fault_t guest_file_fault(struct vm_fault *vmf,
					  struct page *page,
					  vm_fault_t ret)
{
	return ret;
}

static inline bool guest_page_leaks(struct page *page)
{
	return false;
}

static inline void guest_page_failed(struct page *page)
{
}

static inline void guest_folio_failed(struct folio *folio)
{
}

static inline void guest_folio_uncharge(struct folio *folio)
{
}

static inline void guest_pages_show_smap(struct seq_file *m,
					 struct vm_area_struct *vma)
{
}

static inline int guest_pages_show_node(int nid, char *buf, int len)
{
	return 0;
}

#endif /* CONFIG_GUEST_PAGE */
#endif /* _LINUX_GUEST_PAGE_H */
