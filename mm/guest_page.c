// SPDX-License-Identifier: GPL-2.0-only
/*
 * Guest-private pages: the mark, and who may have a marked page.
 *
 * Owns PG_guest, hiding and unhiding, and the question to the owner. The
 * hypervisor is what keeps a secret; the mark makes the kernel polite: a page
 * that would only fault is refused with an error instead.
 *
 * Hiding takes a page from every page table of the host. Of anonymous memory a
 * swap entry of its own type stays behind, which has the pfn, the reference and
 * the rmap of the mapping that it replaces: walkers that do not know the type
 * find nothing there, and what must know whether the page is still somebody's
 * memory (its anon_vma, its share in RSS) does. page_vma_mapped_walk() does not
 * return such entries. Of shmem nothing stays behind; what would bring the page
 * back into a page table, a pipe or a buffer asks here.
 *
 * The mark changes under the folio lock, and its counter with it, so that it goes
 * to the account that the folio is in then. It may be looked at without locks, since
 * a stale answer costs no more than a fault.
 *
 * Pages with the mark are small: a large folio is split before it is pinned.
 *
 * Lock order, as in mm/rmap.c: mmap_lock, folio lock, i_mmap_rwsem or anon_vma
 * lock, page table lock. The owner is asked below all of them.
 *
 * May not know what a guest is: whoever sets the mark answers for it.
 */

#include <linux/cacheflush.h>
#include <linux/export.h>
#include <linux/guest_page.h>
#include <linux/hugetlb.h>
#include <linux/kcore.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/moduleparam.h>
#include <linux/pagemap.h>
#include <linux/pagewalk.h>
#include <linux/rcupdate_wait.h>
#include <linux/rmap.h>
#include <linux/sched/signal.h>
#include <linux/seq_file.h>
#include <linux/shmem_fs.h>
#include <linux/swap.h>
#include <linux/swapops.h>
#include <linux/sysfs.h>
#include <linux/vmstat.h>

#include "internal.h"
#include "swap.h"

DEFINE_STATIC_KEY_FALSE(guest_pages_in_use);

/* For tests of the hypervisor, which must do without all of this. */
#ifdef CONFIG_GUEST_PAGE_BYPASS
static bool bypass __read_mostly;
module_param(bypass, bool, 0444);
MODULE_PARM_DESC(bypass, "hide nothing, mark nothing");
#else
#define bypass false
#endif

static const struct guest_page_ops *guest_page_ops __read_mostly;

/* References that come and go are worth a few jiffies, others are not. */
#define HIDE_TRIES	5

/* Pages whose mappings come back together. */
#define RESTORE_AROUND	SZ_64K

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

static void set_mark(struct page *page)
{
	if (!TestSetPageGuest(page))
		lruvec_stat_mod_folio(page_folio(page), NR_GUEST_PRIVATE, 1);
}

static void clear_mark(struct page *page)
{
	if (TestClearPageGuest(page))
		lruvec_stat_mod_folio(page_folio(page), NR_GUEST_PRIVATE, -1);
}

/*
 * The host wants to touch a page: is it open, and does the mark go for good?
 * With the folio locked, so that nobody hides it meanwhile.
 */
static bool open_page(struct page *page)
{
	VM_WARN_ON_ONCE_PAGE(!PageLocked(page), page);

	if (!PageGuest(page))
		return true;
	if (!guest_page_ops->host_may_access(page))
		return false;

	clear_mark(page);
	return true;
}

/* ------------------------------------- entries of hidden anonymous memory */

/* The entry's reference, rmap and share in RSS become the mapping's. */
static void restore_pte(struct vm_area_struct *vma, unsigned long address,
			pte_t *ptep, struct page *page)
{
	pte_t old = ptep_get(ptep);
	pte_t pte = mk_pte(page, READ_ONCE(vma->vm_page_prot));

	/* The guest may have written, whoever is going to write here. */
	folio_mark_dirty(page_folio(page));
	if (pte_swp_soft_dirty(old))
		pte = pte_mksoft_dirty(pte);
	/* The page was, and is, exclusive: there is nothing to copy. */
	if (pte_swp_uffd_wp(old))
		pte = pte_mkuffd_wp(pte);
	else if (vma->vm_flags & VM_WRITE)
		pte = maybe_mkwrite(pte_mkdirty(pte), vma);

	/* Nothing to flush: nothing was there. */
	set_pte_at(vma->vm_mm, address, ptep, pte);
	update_mmu_cache(vma, address, ptep);

	if (vma->vm_flags & VM_LOCKED) {
		mlock_vma_folio(page_folio(page), vma);
		/* Whose reference would be in the way of hiding it again. */
		mlock_drain_local();
	}
}

/*
 * A page that broke while it was hidden is mapped by nobody again: whoever touches
 * it hears of it, as of one that was mapped. The caller has a reference.
 */
static void poison_pte(struct vm_area_struct *vma, unsigned long address,
		       pte_t *ptep, struct page *page)
{
	struct folio *folio = page_folio(page);

	set_pte_at(vma->vm_mm, address, ptep,
		   swp_entry_to_pte(make_hwpoison_entry(page)));
	dec_mm_counter(vma->vm_mm, mm_counter(folio));
	folio_remove_rmap_pte(folio, page, vma);
	folio_put(folio);
}

static struct page *guest_entry_page(pte_t pte)
{
	swp_entry_t entry;

	if (!is_swap_pte(pte))
		return NULL;
	entry = pte_to_swp_entry(pte);

	return is_guest_entry(entry) ? pfn_swap_entry_to_page(entry) : NULL;
}

static bool unhide_one(struct folio *folio, struct vm_area_struct *vma,
		       unsigned long address, void *arg)
{
	struct page *page = folio_page(folio, 0);
	struct mm_struct *mm = vma->vm_mm;
	spinlock_t *ptl;	/* of the page table */
	pte_t *ptep;
	pmd_t *pmd;

	pmd = mm_find_pmd(mm, address);
	if (!pmd)
		return true;

	ptep = pte_offset_map_lock(mm, pmd, address, &ptl);
	if (!ptep)
		return true;
	if (guest_entry_page(ptep_get(ptep)) == page) {
		if (PageHWPoison(page))
			poison_pte(vma, address, ptep, page);
		else
			restore_pte(vma, address, ptep, page);
	}
	pte_unmap_unlock(ptep, ptl);

	return true;
}

/* Undo what hiding has done to anonymous memory. With the folio locked. */
static void map_page(struct folio *folio)
{
	struct rmap_walk_control rwc = {
		.rmap_one	= unhide_one,
		.anon_lock	= folio_lock_anon_vma_read,
	};

	if (folio_test_anon(folio))
		rmap_walk(folio, &rwc);
}

/* ------------------------------------------------------------------- hiding */

static bool hide_one(struct folio *folio, struct vm_area_struct *vma,
		     unsigned long address, void *arg)
{
	DEFINE_FOLIO_VMA_WALK(pvmw, folio, vma, address, PVMW_SYNC);
	struct page *page = folio_page(folio, 0);
	struct mm_struct *mm = vma->vm_mm;
	struct mmu_notifier_range range;
	pte_t pte, entry;

	mmu_notifier_range_init(&range, MMU_NOTIFY_CLEAR, 0, mm, address,
				address + PAGE_SIZE);
	mmu_notifier_invalidate_range_start(&range);

	while (page_vma_mapped_walk(&pvmw)) {
		flush_cache_page(vma, pvmw.address, page_to_pfn(page));
		/* On return no CPU has it in its TLB. */
		pte = ptep_clear_flush(vma, pvmw.address, pvmw.pte);
		if (pte_dirty(pte))
			folio_mark_dirty(folio);

		entry = swp_entry_to_pte(make_guest_entry(page));
		if (pte_soft_dirty(pte))
			entry = pte_swp_mksoft_dirty(entry);
		if (pte_uffd_wp(pte))
			entry = pte_swp_mkuffd_wp(entry);
		set_pte_at(mm, pvmw.address, pvmw.pte, entry);

		/*
		 * munlock() does not find the page behind the entry. Nobody else
		 * locks it, and a mapping that comes back sees to it again.
		 */
		if (folio_test_mlocked(folio))
			munlock_folio(folio);
	}

	mmu_notifier_invalidate_range_end(&range);

	return true;
}

static void unmap_page(struct folio *folio)
{
	struct rmap_walk_control rwc = {
		.rmap_one	= hide_one,
		/* None for a folio that is not mapped: it may be gone, then. */
		.anon_lock	= folio_lock_anon_vma_read,
	};

	if (folio_test_anon(folio))
		rmap_walk(folio, &rwc);
	else if (folio->mapping)
		/* Unlike unmap_mapping_folio(), this leaves userfaultfd its markers. */
		unmap_mapping_pages(folio->mapping, folio->index, 1, false);

	/* A mapping that was locked leaves a reference in a batch of this CPU. */
	mlock_drain_local();
}

/*
 * Who holds the folio but its owner's pin, its page cache and its mappings? Each
 * GUP user, pipe, and isolation for reclaim or migration counts. Without a
 * present PTE nobody gets a new reference but through the hooks, which look at
 * the mark after they have taken theirs, so that either they see the mark or
 * this sees them.
 */
static bool is_held(struct folio *folio)
{
	int expected, refs;

	/* Pairs with the barrier in taking a reference. */
	smp_mb();
	refs = folio_ref_count(folio);
	/*
	 * A mapping that goes drops its rmap first, its reference then: seen in the
	 * other order, its reference would count for a holder's. Hidden pages are
	 * not mapped again.
	 */
	smp_rmb();
	expected = GUP_PIN_COUNTING_BIAS + folio_mapcount(folio);
	if (!folio_test_anon(folio) && folio->mapping)
		expected++;

	return folio_test_swapcache(folio) || refs > expected;
}

/* Can this be hidden at all? With the folio locked. */
static int check_page(struct folio *folio)
{
	if (folio_test_hugetlb(folio) || folio_is_zone_device(folio))
		return -EIO;
	/* Anonymous memory is without it after MADV_FREE; the pin forbids a discard. */
	if (!folio_test_swapbacked(folio) && !folio_test_anon(folio))
		return -EIO;
	if (folio_test_large(folio))
		return -EAGAIN;
	if (folio_test_anon(folio) &&
	    (folio_test_ksm(folio) || !PageAnonExclusive(&folio->page)))
		return -EAGAIN;

	return 0;
}

static int try_to_hide(struct folio *folio, bool again)
{
	struct page *page = folio_page(folio, 0);
	bool marked;
	int ret;

	/* A page that was just faulted in is in a batch of this CPU, mostly. */
	if (!folio_test_lru(folio))
		lru_add_drain();

	folio_lock(folio);
	ret = check_page(folio);
	if (ret)
		goto unlock;

	marked = PageGuest(page);
	if (marked && !again) {
		ret = -EBUSY;
		goto unlock;
	}

	folio_wait_writeback(folio);
	folio_free_swap(folio);

	/* Before anything has changed: most failures are found here. */
	ret = -EAGAIN;
	if (is_held(folio))
		goto give_back;

	set_mark(page);
	unmap_page(folio);

	if (!is_held(folio) &&
	    folio_mapcount(folio) <= (folio_test_anon(folio) ? 1 : 0)) {
		ret = 0;
		goto unlock;
	}
give_back:
	/* The host has it until the next try, but what it has not. */
	if (PageGuest(page) && (!marked || guest_page_ops->is_open(page))) {
		clear_mark(page);
		/* Of a file, mappings come back when they are used. */
		map_page(folio);
	}
unlock:
	folio_unlock(folio);

	return ret;
}

static int hide(struct page *page, bool again)
{
	struct folio *folio = page_folio(page);
	int i, ret;

	might_sleep();
	if (bypass)
		return 0;

	for (i = 0; ; i++) {
		ret = try_to_hide(folio, again);
		if (ret != -EAGAIN || i == HIDE_TRIES || folio_test_large(folio) ||
		    fatal_signal_pending(current))
			return ret;

		/* Batches of other CPUs once, then users that are just busy. */
		if (!i)
			lru_add_drain_all();
		else
			schedule_timeout_killable(1);
	}
}

/**
 * guest_page_hide() - Take a page from the host before a hypervisor does.
 * @page: a page that the caller has pinned for long (FOLL_PIN, once).
 *
 * On success it carries the mark, no page table of the host's maps it, no TLB
 * has it, secondary MMUs were told, and nobody but the caller holds it. On
 * failure all is as before; mappings may have to be faulted in again. But a fork
 * meanwhile does not wait to see what comes of it: the child has nothing there.
 *
 * Called without locks. May sleep, for a few jiffies while others use the page.
 *
 * Return: 0; -EIO for memory that can never be hidden: hugetlb, devices', files';
 * -EBUSY when it carries the mark already, for another guest or at another
 * address; -EAGAIN when others hold it, when it is part of a large folio (see
 * guest_page_split()), or when it is not this process's alone.
 */
int guest_page_hide(struct page *page)
{
	return hide(page, false);
}

/**
 * guest_page_hide_again() - Take a page that the owner had opened to the host.
 * @page: as for guest_page_hide().
 *
 * Whether the host has made use of it or not: the mark may still be there.
 *
 * Return: as guest_page_hide(), but never -EBUSY. After a failure, the owner is
 * asked as before.
 */
int guest_page_hide_again(struct page *page)
{
	return hide(page, true);
}

/**
 * guest_page_unhide() - A hypervisor has given a page back.
 * @page: a page that the caller still has pinned; the mark may be gone already.
 *
 * Anonymous memory is mapped again where it was, but if it broke; shmem when it is
 * used. Called without locks; may sleep.
 */
void guest_page_unhide(struct page *page)
{
	struct folio *folio = page_folio(page);

	folio_lock(folio);
	clear_mark(page);
	map_page(folio);
	folio_unlock(folio);
}

/**
 * guest_page_split() - Make a page small, as those with the mark are.
 * @page: a page with a reference, and no pin, of the caller's.
 *
 * Called without locks; may sleep.
 *
 * Return: 0; -EAGAIN or -EBUSY when others hold the folio; -EIO for hugetlb.
 */
int guest_page_split(struct page *page)
{
	struct folio *folio = page_folio(page);
	int ret;

	if (!folio_test_large(folio))
		return 0;
	if (folio_test_hugetlb(folio))
		return -EIO;

	lru_add_drain();
	folio_lock(folio);
	ret = split_huge_page(page);
	/* The lock is now that of the page's own folio. */
	unlock_page(page);

	return ret;
}

/* ------------------------------------------- what hooks ask about page tables */

/* Bring back what lies around and is open too, within one page table. */
static void restore_around(struct vm_area_struct *vma, unsigned long address,
			   pte_t *ptep)
{
	unsigned long first = ALIGN_DOWN(address, max(RESTORE_AROUND, PAGE_SIZE));
	unsigned long last = first + max(RESTORE_AROUND, PAGE_SIZE);
	unsigned long addr;
	struct page *page;

	first = max(first, vma->vm_start);
	last = min(last, vma->vm_end);
	ptep -= (address - first) >> PAGE_SHIFT;

	for (addr = first; addr < last; addr += PAGE_SIZE, ptep++) {
		page = guest_entry_page(ptep_get(ptep));
		if (!page || PageHWPoison(page) || !trylock_page(page))
			continue;
		if (open_page(page))
			restore_pte(vma, addr, ptep, page);
		unlock_page(page);
	}
}

/**
 * guest_page_fault() - The host touched anonymous memory that was hidden.
 * @vmf: the fault; its orig_pte is a guest entry. No page table lock is held.
 *
 * Return: 0 when it is mapped again, or something else is there;
 * VM_FAULT_SIGSEGV while a guest has it; VM_FAULT_HWPOISON when it is broken;
 * VM_FAULT_RETRY as folio_lock_or_retry().
 */
vm_fault_t guest_page_fault(struct vm_fault *vmf)
{
	struct page *page = guest_entry_page(vmf->orig_pte);
	struct vm_area_struct *vma = vmf->vma;
	struct folio *folio = page_folio(page);
	unsigned long address = vmf->address & PAGE_MASK;
	vm_fault_t ret;

	/* The entry may be gone, and its page be anything by now. */
	if (!folio_try_get(folio))
		return 0;
	ret = folio_lock_or_retry(folio, vmf);
	if (ret)
		goto put;

	vmf->pte = pte_offset_map_lock(vma->vm_mm, vmf->pmd, address, &vmf->ptl);
	if (!vmf->pte)
		goto unlock;
	if (pte_same(ptep_get(vmf->pte), vmf->orig_pte)) {
		if (!open_page(page)) {
			ret = VM_FAULT_SIGSEGV;
		} else if (PageHWPoison(page)) {
			poison_pte(vma, address, vmf->pte, page);
			ret = VM_FAULT_HWPOISON;
		} else {
			restore_pte(vma, address, vmf->pte, page);
			restore_around(vma, address, vmf->pte);
		}
	}
	pte_unmap_unlock(vmf->pte, vmf->ptl);
unlock:
	folio_unlock(folio);
put:
	folio_put(folio);

	return ret;
}

/**
 * guest_page_fork() - A process forks that has a hidden page.
 * @vma: the parent's mapping.
 * @address: of the page.
 * @ptep: the parent's entry, a guest entry; its lock is held.
 *
 * The folio may be locked by anybody, for long, and cannot be waited for here.
 * The owner's answer is good without the folio's lock: it turns before hiding looks
 * at this entry, under the entry's lock, and a mapping that was restored before
 * is found there. Only the mark may stay, which costs later lookups a question.
 *
 * Return: 0 when the child gets nothing there; -ENOENT when the entry is a
 * mapping again, to be copied like any other.
 */
int guest_page_fork(struct vm_area_struct *vma, unsigned long address, pte_t *ptep)
{
	struct page *page = guest_entry_page(ptep_get(ptep));
	bool locked;
	int ret = 0;

	/* The parent's next touch sees to it. */
	if (PageHWPoison(page))
		return 0;

	locked = trylock_page(page);
	if (locked ? open_page(page) : !__guest_pages_private(page, 1)) {
		restore_pte(vma, address, ptep, page);
		ret = -ENOENT;
	}
	if (locked)
		unlock_page(page);

	return ret;
}

/* Hidden anonymous memory, by its entry. */
static struct page *follow_entry(struct vm_area_struct *vma, unsigned long address,
				 unsigned int flags)
{
	struct mm_struct *mm = vma->vm_mm;
	struct page *page = NULL;
	spinlock_t *ptl;	/* of the page table */
	pte_t *ptep;
	pmd_t *pmd;
	int ret;

	pmd = mm_find_pmd(mm, address);
	if (!pmd)
		return NULL;
	ptep = pte_offset_map_lock(mm, pmd, address, &ptl);
	if (!ptep)
		return NULL;

	page = guest_entry_page(ptep_get(ptep));
	if (page && __guest_pages_private(page, 1)) {
		ret = try_grab_folio(page_folio(page), 1, flags);
		if (ret)
			page = ERR_PTR(ret);
	} else {
		page = NULL;
	}
	pte_unmap_unlock(ptep, ptl);

	return page;
}

/* Hidden shmem, by its place in the file. */
static struct page *follow_file(struct vm_area_struct *vma, unsigned long address,
				unsigned int flags)
{
	struct page *page = NULL;
	struct folio *folio;
	int ret;

	if (!vma_is_shmem(vma) || ((flags & FOLL_WRITE) && !(vma->vm_flags & VM_SHARED)))
		return NULL;

	folio = filemap_get_folio(vma->vm_file->f_mapping,
				  linear_page_index(vma, address));
	if (IS_ERR(folio))
		return NULL;
	if (__guest_pages_private(&folio->page, 1)) {
		page = &folio->page;
		ret = try_grab_folio(folio, 1, flags);
		if (ret)
			page = ERR_PTR(ret);
	}
	folio_put(folio);

	return page;
}

/**
 * guest_page_follow() - Look up a hidden page for its guest.
 * @vma: the mapping, with mmap_lock held; its flags allow the access.
 * @address: user address; no page is mapped there.
 * @flags: FOLL_GUEST and others, for try_grab_folio().
 *
 * Return: the page, held as @flags say; NULL when no private page is there; an
 * error of try_grab_folio().
 */
struct page *guest_page_follow(struct vm_area_struct *vma, unsigned long address,
			       unsigned int flags)
{
	struct page *page = follow_entry(vma, address, flags);

	return page ? page : follow_file(vma, address, flags);
}

/* -------------------------------------------- what hooks ask about the mark */

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

bool __guest_folio_refused(struct folio *folio)
{
	return !open_page(&folio->page);
}

vm_fault_t __guest_file_fault(struct vm_fault *vmf)
{
	struct folio *folio = page_folio(vmf->page);

	if (open_page(vmf->page))
		return 0;

	folio_unlock(folio);
	folio_put(folio);
	vmf->page = NULL;

	return VM_FAULT_SIGSEGV;
}

/**
 * guest_pages_nr() - How many pages carry the mark?
 *
 * Exact, unlike the counters that are read most of the time: a single small VM
 * would not show up there for a second.
 *
 * Return: pages, of all nodes.
 */
unsigned long guest_pages_nr(void)
{
	long nr = atomic_long_read(&vm_node_stat[NR_GUEST_PRIVATE]);
	struct pglist_data *pgdat;
	int cpu;

	for_each_online_pgdat(pgdat) {
		for_each_online_cpu(cpu)
			nr += per_cpu_ptr(pgdat->per_cpu_nodestats,
					  cpu)->vm_node_stat_diff[NR_GUEST_PRIVATE];
	}

	return max(nr, 0);
}

void __guest_page_failed(struct page *page)
{
	if (guest_page_ops->memory_failure)
		guest_page_ops->memory_failure(page);
}

void __guest_folio_failed(struct folio *folio)
{
	map_page(folio);
}

void __guest_folio_uncharge(struct folio *folio)
{
	lruvec_stat_mod_folio(folio, NR_GUEST_PRIVATE, -1);
	/* The node's count is that of the mark, which stays. */
	mod_node_page_state(folio_pgdat(folio), NR_GUEST_PRIVATE, 1);
}

void __guest_page_leak(struct page *page)
{
	pr_alert("guest page %#lx: freed while it is private; it is lost\n",
		 page_to_pfn(page));
	dump_page(page, "private to a guest");
	add_taint(TAINT_BAD_PAGE, LOCKDEP_STILL_OK);
}

/* -------------------------------------------------------------- what is shown */

/* Table by table: to get at entries a walk would split what is huge. */
static int count_table(pmd_t *pmd, unsigned long address, unsigned long end,
		       struct mm_walk *walk)
{
	unsigned long *nr = walk->private;
	pte_t *start, *ptep;
	struct page *page;
	spinlock_t *ptl;	/* of the table */

	start = pte_offset_map_lock(walk->mm, pmd, address, &ptl);
	/* Huge: there are no entries in it. */
	if (!start)
		return 0;
	for (ptep = start; address != end; ptep++, address += PAGE_SIZE) {
		page = guest_entry_page(ptep_get(ptep));
		if (page && PageGuest(page))
			++*nr;
	}
	pte_unmap_unlock(start, ptl);
	cond_resched();

	return 0;
}

static const struct mm_walk_ops count_entries = {
	.pmd_entry	= count_table,
	.walk_lock	= PGWALK_RDLOCK,
};

static unsigned long count_file_pages(struct vm_area_struct *vma)
{
	pgoff_t last = vma->vm_pgoff + vma_pages(vma) - 1;
	XA_STATE(xas, &vma->vm_file->f_mapping->i_pages, vma->vm_pgoff);
	unsigned long nr = 0;
	struct page *page;

	guard(rcu)();
	xas_for_each(&xas, page, last) {
		/* A stale page may be anything, but has flags to look at. */
		if (!xas_retry(&xas, page) && !xa_is_value(page) && PageGuest(page))
			nr++;
		if (need_resched()) {
			xas_pause(&xas);
			cond_resched_rcu();
		}
	}

	return nr;
}

/**
 * guest_pages_show_smap() - A line for /proc/PID/smaps.
 * @m: the file.
 * @vma: a mapping, with mmap_lock held.
 */
void guest_pages_show_smap(struct seq_file *m, struct vm_area_struct *vma)
{
	unsigned long nr = 0;

	if (static_branch_unlikely(&guest_pages_in_use)) {
		walk_page_vma(vma, &count_entries, &nr);
		if (vma_is_shmem(vma) && vma->vm_file)
			nr += count_file_pages(vma);
	}

	seq_printf(m, "GuestPrivate:   %8lu kB\n", nr << (PAGE_SHIFT - 10));
}

/**
 * guest_pages_show_node() - A line for the meminfo of a node.
 * @nid: the node.
 * @buf: what is shown.
 * @len: bytes that are there already.
 *
 * Return: bytes that were added.
 */
int guest_pages_show_node(int nid, char *buf, int len)
{
	return sysfs_emit_at(buf, len, "Node %d GuestPrivate:   %8lu kB\n", nid,
			     node_page_state(NODE_DATA(nid), NR_GUEST_PRIVATE) <<
			     (PAGE_SHIFT - 10));
}

#ifdef CONFIG_PROC_KCORE
/* /proc/kcore reads zeroes where a guest's page is. */
static int guest_page_is_ram(unsigned long pfn)
{
	return !guest_pfn_private(pfn);
}

static int __init guest_page_init(void)
{
	return register_mem_pfn_is_ram(guest_page_is_ram);
}
fs_initcall(guest_page_init);
#endif
