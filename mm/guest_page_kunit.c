// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests of mm/guest_page.c, with an owner of the mark that is no hypervisor:
 * it says what a test tells it to say. What a page holds can be looked at all the
 * time, since nothing but the mark keeps it from the host here.
 *
 * Owns the mark while it runs, so that it must run before any guest does.
 */

#include <kunit/test.h>
#include <linux/elf.h>
#include <linux/falloc.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/guest_page.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/mmu_notifier.h>
#include <linux/mount.h>
#include <linux/pagemap.h>
#include <linux/panic.h>
#include <linux/shmem_fs.h>
#include <linux/swap.h>
#include <linux/swapops.h>
#include <linux/uaccess.h>

#include "internal.h"

#define NR	4
#define SECRET	0x5ec2e7UL

static bool is_open;

static bool host_may_access(struct page *page)
{
	return READ_ONCE(is_open);
}

/* The page that the owner was last told is broken. */
static struct page *failed;

static void memory_failed(struct page *page)
{
	failed = page;
}

/* Whether a page that is not open while it is hidden again was so before. */
static bool was_open;

static bool is_open_to_owner(struct page *page)
{
	return READ_ONCE(was_open);
}

static const struct guest_page_ops fake_owner = {
	.is_open	= is_open_to_owner,
	.memory_failure	= memory_failed,
	.host_may_access = host_may_access,
};

struct guest_mem {
	struct file *file;
	unsigned long addr;
	struct page *page[NR];
	long marked;
};

static bool is_file(struct kunit *test)
{
	return *(const bool *)test->param_value;
}

static unsigned long __user *word(struct guest_mem *mem, int i)
{
	return (unsigned long __user *)(mem->addr + i * PAGE_SIZE);
}

/* Memory with a number in each page, which is pinned as an owner pins it. */
static void guest_mem_make(struct kunit *test, struct guest_mem *mem)
{
	int i;

	WRITE_ONCE(is_open, false);
	mem->file = NULL;
	if (is_file(test)) {
		mem->file = shmem_file_setup("guest", NR * PAGE_SIZE, VM_NORESERVE);
		KUNIT_ASSERT_NOT_ERR_OR_NULL(test, mem->file);
	}
	mem->addr = kunit_vm_mmap(test, mem->file, 0, NR * PAGE_SIZE,
				  PROT_READ | PROT_WRITE,
				  mem->file ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS,
				  0);
	KUNIT_ASSERT_NE(test, mem->addr, 0);
	KUNIT_ASSERT_FALSE(test, IS_ERR_VALUE(mem->addr));

	for (i = 0; i < NR; i++)
		KUNIT_ASSERT_EQ(test, put_user(SECRET + i, word(mem, i)), 0);
	KUNIT_ASSERT_EQ(test, pin_user_pages_fast(mem->addr, NR,
						  FOLL_WRITE | FOLL_LONGTERM,
						  mem->page), NR);
	mem->marked = (long)guest_pages_nr();
}

static void guest_mem_free(struct kunit *test, struct guest_mem *mem)
{
	int i;

	for (i = 0; i < NR; i++)
		guest_page_unhide(mem->page[i]);
	KUNIT_EXPECT_EQ(test, (long)guest_pages_nr(), mem->marked);
	unpin_user_pages(mem->page, NR);
	if (mem->file)
		fput(mem->file);
}

static void expect_hidden(struct kunit *test, struct guest_mem *mem, int i)
{
	unsigned long val;
	struct page *page;

	KUNIT_EXPECT_TRUE(test, PageGuest(mem->page[i]));
	KUNIT_EXPECT_EQ(test, get_user(val, word(mem, i)), -EFAULT);
	KUNIT_EXPECT_EQ(test, put_user(1UL, word(mem, i)), -EFAULT);
	KUNIT_EXPECT_EQ(test, get_user_pages_fast((unsigned long)word(mem, i), 1, 0,
						  &page), -EFAULT);
	KUNIT_EXPECT_EQ(test, pin_user_pages_fast((unsigned long)word(mem, i), 1,
						  FOLL_WRITE, &page), -EFAULT);
	KUNIT_EXPECT_EQ(test, *(unsigned long *)page_address(mem->page[i]),
			SECRET + i);
}

static void expect_open(struct kunit *test, struct guest_mem *mem, int i)
{
	unsigned long val = 0;

	KUNIT_EXPECT_EQ(test, get_user(val, word(mem, i)), 0);
	KUNIT_EXPECT_EQ(test, val, SECRET + i);
	KUNIT_EXPECT_EQ(test, put_user(SECRET + i, word(mem, i)), 0);
	KUNIT_EXPECT_FALSE(test, PageGuest(mem->page[i]));
}

/* A hidden page is out of reach, its neighbours are not, and it comes back. */
static void hide_and_unhide(struct kunit *test)
{
	struct guest_mem mem;

	guest_mem_make(test, &mem);
	KUNIT_ASSERT_EQ(test, guest_page_hide(mem.page[1]), 0);
	KUNIT_EXPECT_EQ(test, (long)guest_pages_nr(), mem.marked + 1);
	expect_hidden(test, &mem, 1);
	expect_open(test, &mem, 0);
	expect_open(test, &mem, 2);
	expect_hidden(test, &mem, 1);

	guest_page_unhide(mem.page[1]);
	KUNIT_EXPECT_EQ(test, (long)guest_pages_nr(), mem.marked);
	expect_open(test, &mem, 1);
	guest_mem_free(test, &mem);
}

/* The mark has one owner. */
static void hide_twice(struct kunit *test)
{
	struct guest_mem mem;

	guest_mem_make(test, &mem);
	KUNIT_ASSERT_EQ(test, guest_page_hide(mem.page[0]), 0);
	KUNIT_EXPECT_EQ(test, guest_page_hide(mem.page[0]), -EBUSY);
	KUNIT_EXPECT_EQ(test, guest_page_hide_again(mem.page[0]), 0);
	KUNIT_EXPECT_EQ(test, (long)guest_pages_nr(), mem.marked + 1);
	expect_hidden(test, &mem, 0);
	guest_mem_free(test, &mem);
}

/* What the owner opens comes back by itself, and can be taken again. */
static void open_and_hide_again(struct kunit *test)
{
	struct guest_mem mem;
	int i, round;

	guest_mem_make(test, &mem);
	for (i = 0; i < NR; i++)
		KUNIT_ASSERT_EQ(test, guest_page_hide(mem.page[i]), 0);

	for (round = 0; round < 3; round++) {
		WRITE_ONCE(is_open, true);
		for (i = 0; i < NR; i++)
			expect_open(test, &mem, i);
		KUNIT_EXPECT_EQ(test, (long)guest_pages_nr(), mem.marked);

		for (i = 0; i < NR; i++)
			KUNIT_ASSERT_EQ(test, guest_page_hide_again(mem.page[i]), 0);
		WRITE_ONCE(is_open, false);
		KUNIT_EXPECT_EQ(test, (long)guest_pages_nr(), mem.marked + NR);
		for (i = 0; i < NR; i++)
			expect_hidden(test, &mem, i);
	}
	guest_mem_free(test, &mem);
}

/* Pages that lie together come back together. */
static void neighbours_come_back(struct kunit *test)
{
	struct guest_mem mem;
	unsigned long val;
	int i;

	guest_mem_make(test, &mem);
	for (i = 0; i < NR; i++)
		KUNIT_ASSERT_EQ(test, guest_page_hide(mem.page[i]), 0);
	WRITE_ONCE(is_open, true);
	KUNIT_EXPECT_EQ(test, get_user(val, word(&mem, 2)), 0);
	for (i = 0; i < NR; i++)
		KUNIT_EXPECT_FALSE(test, PageGuest(mem.page[i]));
	guest_mem_free(test, &mem);
}

/* What fork() asks about the page at @addr. */
static int fork_page(unsigned long addr)
{
	struct mm_struct *mm = current->mm;
	int ret = -EINVAL;
	spinlock_t *ptl;	/* of the page table */
	pte_t *ptep;

	mmap_read_lock(mm);
	ptep = pte_offset_map_lock(mm, mm_find_pmd(mm, addr), addr, &ptl);
	if (ptep) {
		if (is_swap_pte(ptep_get(ptep)))
			ret = guest_page_fork(vma_lookup(mm, addr), addr, ptep);
		pte_unmap_unlock(ptep, ptl);
	}
	mmap_read_unlock(mm);

	return ret;
}

/* A child gets what is open and nothing else, whoever has the folio's lock. */
static void fork_while_locked(struct kunit *test)
{
	struct guest_mem mem;
	unsigned long addr, val = 0;

	if (is_file(test))
		kunit_skip(test, "a child faults files in by itself");

	guest_mem_make(test, &mem);
	addr = (unsigned long)word(&mem, 1);
	KUNIT_ASSERT_EQ(test, guest_page_hide(mem.page[1]), 0);
	KUNIT_EXPECT_EQ(test, fork_page(addr), 0);

	lock_page(mem.page[1]);
	KUNIT_EXPECT_EQ(test, fork_page(addr), 0);
	WRITE_ONCE(is_open, true);
	KUNIT_EXPECT_EQ(test, fork_page(addr), -ENOENT);
	unlock_page(mem.page[1]);

	/* The mapping is there, and is found when the page is taken again. */
	KUNIT_EXPECT_EQ(test, get_user(val, word(&mem, 1)), 0);
	KUNIT_EXPECT_EQ(test, val, SECRET + 1);
	KUNIT_EXPECT_EQ(test, guest_page_hide_again(mem.page[1]), 0);
	WRITE_ONCE(is_open, false);
	KUNIT_EXPECT_EQ(test, (long)guest_pages_nr(), mem.marked + 1);
	expect_hidden(test, &mem, 1);

	WRITE_ONCE(is_open, true);
	KUNIT_EXPECT_EQ(test, fork_page(addr), -ENOENT);
	expect_open(test, &mem, 1);
	guest_mem_free(test, &mem);
}

/*
 * Between the mark and the end of its mappings a page is found by lookups that are
 * on their way: the fast one must see the mark by itself.
 */
static void marked_and_mapped(struct kunit *test)
{
	struct guest_mem mem;
	unsigned long addr;
	struct page *page;

	guest_mem_make(test, &mem);
	addr = (unsigned long)word(&mem, 1);
	SetPageGuest(mem.page[1]);
	KUNIT_EXPECT_EQ(test, get_user_pages_fast_only(addr, 1, 0, &page), 0);
	KUNIT_EXPECT_EQ(test, get_user_pages_fast_only(addr, 1, FOLL_WRITE, &page), 0);
	KUNIT_EXPECT_EQ(test, get_user_pages_fast(addr, 1, 0, &page), -EFAULT);
	KUNIT_EXPECT_EQ(test, pin_user_pages_fast(addr, 1, FOLL_WRITE, &page), -EFAULT);
	ClearPageGuest(mem.page[1]);
	KUNIT_ASSERT_EQ(test, get_user_pages_fast_only(addr, 1, FOLL_WRITE, &page), 1);
	put_page(page);
	guest_mem_free(test, &mem);
}

/* A page that others hold is not hidden, and nothing is lost by the attempt. */
static void held_pages_stay(struct kunit *test)
{
	unsigned long addr;
	struct guest_mem mem;
	struct page *page;

	guest_mem_make(test, &mem);
	addr = (unsigned long)word(&mem, 1);

	KUNIT_ASSERT_EQ(test, get_user_pages_fast(addr, 1, 0, &page), 1);
	KUNIT_EXPECT_EQ(test, guest_page_hide(mem.page[1]), -EAGAIN);
	expect_open(test, &mem, 1);
	put_page(page);

	KUNIT_ASSERT_EQ(test, pin_user_pages_fast(addr, 1, FOLL_WRITE, &page), 1);
	KUNIT_EXPECT_EQ(test, guest_page_hide(mem.page[1]), -EAGAIN);
	expect_open(test, &mem, 1);
	unpin_user_page(page);

	KUNIT_EXPECT_EQ(test, guest_page_hide(mem.page[1]), 0);
	expect_hidden(test, &mem, 1);

	/* The same while the owner has it open. */
	WRITE_ONCE(is_open, true);
	KUNIT_ASSERT_EQ(test, get_user_pages_fast(addr, 1, 0, &page), 1);
	KUNIT_EXPECT_EQ(test, guest_page_hide_again(mem.page[1]), -EAGAIN);
	expect_open(test, &mem, 1);
	put_page(page);
	KUNIT_EXPECT_EQ(test, guest_page_hide_again(mem.page[1]), 0);
	WRITE_ONCE(is_open, false);
	expect_hidden(test, &mem, 1);
	guest_mem_free(test, &mem);
}

/*
 * A page that was open is hidden again and is held: until the next try the host has it,
 * though nobody else may open it meanwhile. One that was not open stays hidden.
 */
static void held_while_hidden_again(struct kunit *test)
{
	struct guest_mem mem;

	guest_mem_make(test, &mem);
	KUNIT_ASSERT_EQ(test, guest_page_hide(mem.page[1]), 0);

	get_page(mem.page[1]);
	KUNIT_EXPECT_EQ(test, guest_page_hide_again(mem.page[1]), -EAGAIN);
	expect_hidden(test, &mem, 1);

	WRITE_ONCE(was_open, true);
	KUNIT_EXPECT_EQ(test, guest_page_hide_again(mem.page[1]), -EAGAIN);
	expect_open(test, &mem, 1);
	KUNIT_EXPECT_EQ(test, (long)guest_pages_nr(), mem.marked);
	put_page(mem.page[1]);

	KUNIT_EXPECT_EQ(test, guest_page_hide_again(mem.page[1]), 0);
	WRITE_ONCE(was_open, false);
	expect_hidden(test, &mem, 1);
	guest_mem_free(test, &mem);
}

/* One who takes a page just while it is unmapped. */
struct late_holder {
	struct mmu_notifier mn;
	struct page *page;	/* that it will take */
};

static int take_late(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	struct page *page = xchg(&container_of(mn, struct late_holder, mn)->page, NULL);

	if (page)
		get_page(page);

	return 0;
}

static const struct mmu_notifier_ops late_holder_ops = {
	.invalidate_range_start	= take_late,
};

/* A page that somebody came to hold meanwhile is mapped as it was before. */
static void held_while_unmapped(struct kunit *test)
{
	struct late_holder holder = { .mn.ops = &late_holder_ops };
	struct guest_mem mem;
	unsigned long addr;
	struct page *page;

	guest_mem_make(test, &mem);
	addr = (unsigned long)word(&mem, 1);
	KUNIT_ASSERT_EQ(test, mmu_notifier_register(&holder.mn, current->mm), 0);
	WRITE_ONCE(holder.page, mem.page[1]);
	KUNIT_EXPECT_EQ(test, guest_page_hide(mem.page[1]), -EAGAIN);
	mmu_notifier_unregister(&holder.mn, current->mm);
	KUNIT_EXPECT_NULL(test, holder.page);

	KUNIT_EXPECT_FALSE(test, PageGuest(mem.page[1]));
	if (!is_file(test)) {
		KUNIT_ASSERT_EQ(test, get_user_pages_fast_only(addr, 1, 0, &page), 1);
		put_page(page);
	}
	expect_open(test, &mem, 1);

	put_page(mem.page[1]);
	KUNIT_EXPECT_EQ(test, guest_page_hide(mem.page[1]), 0);
	expect_hidden(test, &mem, 1);
	guest_mem_free(test, &mem);
}

/* A page that another process may have, too, is left alone. */
static void not_exclusive(struct kunit *test)
{
	struct guest_mem mem;

	if (is_file(test))
		kunit_skip(test, "knows no exclusive pages");

	guest_mem_make(test, &mem);
	ClearPageAnonExclusive(mem.page[1]);
	KUNIT_EXPECT_EQ(test, guest_page_hide(mem.page[1]), -EAGAIN);
	SetPageAnonExclusive(mem.page[1]);
	expect_open(test, &mem, 1);
	KUNIT_EXPECT_EQ(test, guest_page_hide(mem.page[1]), 0);
	guest_mem_free(test, &mem);
}

/* What broke while a guest had it is not mapped again, neither by a touch nor at the end. */
static void broken_while_hidden(struct kunit *test)
{
	struct percpu_counter *rss;
	unsigned long addr, val;
	struct guest_mem mem;
	s64 before;
	struct page *page;
	int i;

	if (!IS_ENABLED(CONFIG_MEMORY_FAILURE))
		kunit_skip(test, "memory does not break");

	guest_mem_make(test, &mem);
	for (i = 0; i < NR; i++)
		KUNIT_ASSERT_EQ(test, guest_page_hide(mem.page[i]), 0);
	rss = &current->mm->rss_stat[MM_ANONPAGES];
	before = percpu_counter_sum(rss);

	SetPageHWPoison(mem.page[0]);
	SetPageHWPoison(mem.page[1]);
	WRITE_ONCE(is_open, true);
	KUNIT_EXPECT_EQ(test, get_user(val, word(&mem, 2)), 0);
	if (!is_file(test))
		KUNIT_EXPECT_EQ(test, fork_page((unsigned long)word(&mem, 1)), 0);
	KUNIT_EXPECT_EQ(test, get_user(val, word(&mem, 1)), -EFAULT);
	guest_page_unhide(mem.page[0]);
	for (i = 0; i < 2; i++) {
		addr = (unsigned long)word(&mem, i);
		KUNIT_EXPECT_EQ(test, get_user(val, word(&mem, i)), -EFAULT);
		KUNIT_EXPECT_EQ(test, get_user_pages_fast(addr, 1, 0, &page), -EFAULT);
		KUNIT_EXPECT_FALSE(test, page_mapped(mem.page[i]));
	}
	if (!is_file(test))
		KUNIT_EXPECT_EQ(test, percpu_counter_sum(rss), before - 2);

	ClearPageHWPoison(mem.page[0]);
	ClearPageHWPoison(mem.page[1]);
	guest_mem_free(test, &mem);
}

/* The owner hears of every page: of its own it knows better than the mark. */
static void failure_is_told(struct kunit *test)
{
	struct guest_mem mem;

	guest_mem_make(test, &mem);
	guest_page_failed(mem.page[1]);
	KUNIT_EXPECT_PTR_EQ(test, failed, mem.page[1]);
	KUNIT_ASSERT_EQ(test, guest_page_hide(mem.page[2]), 0);
	guest_page_failed(mem.page[2]);
	KUNIT_EXPECT_PTR_EQ(test, failed, mem.page[2]);
	failed = NULL;
	guest_mem_free(test, &mem);
}

/* FOLL_GUEST finds what others do not, and asks for the same permissions. */
static void foll_guest(struct kunit *test)
{
	struct guest_mem mem;
	unsigned long addr;
	struct page *page;

	guest_mem_make(test, &mem);
	addr = (unsigned long)word(&mem, 1);
	KUNIT_ASSERT_EQ(test, guest_page_hide(mem.page[1]), 0);

	KUNIT_EXPECT_EQ(test, get_user_pages_unlocked(addr, 1, &page, 0), -EFAULT);
	KUNIT_EXPECT_EQ(test, get_user_pages_unlocked(addr, 1, &page, FOLL_WRITE),
			-EFAULT);
	KUNIT_ASSERT_EQ(test, get_user_pages_unlocked(addr, 1, &page, FOLL_GUEST), 1);
	KUNIT_EXPECT_PTR_EQ(test, page, mem.page[1]);
	put_page(page);
	KUNIT_ASSERT_EQ(test, pin_user_pages_unlocked(addr, 1, &page, FOLL_GUEST |
						      FOLL_WRITE | FOLL_LONGTERM), 1);
	KUNIT_EXPECT_PTR_EQ(test, page, mem.page[1]);
	unpin_user_page(page);

	/* Not by others. */
	mmap_read_lock(current->mm);
	KUNIT_EXPECT_EQ(test, get_user_pages_remote(current->mm, addr, 1, FOLL_GUEST,
						    &page, NULL), -EINVAL);
	mmap_read_unlock(current->mm);

	/* Of a mapping that may not be written, for reading only. */
	mmap_write_lock(current->mm);
	vm_flags_clear(vma_lookup(current->mm, addr), VM_WRITE);
	mmap_write_unlock(current->mm);
	KUNIT_EXPECT_EQ(test, get_user_pages_unlocked(addr, 1, &page, FOLL_GUEST |
						      FOLL_WRITE), -EFAULT);
	KUNIT_ASSERT_EQ(test, get_user_pages_unlocked(addr, 1, &page, FOLL_GUEST), 1);
	put_page(page);
	expect_hidden(test, &mem, 1);
	guest_mem_free(test, &mem);
}

/* Without its mapping the page is still its owner's, and nobody else's. */
static void unmapped_while_hidden(struct kunit *test)
{
	struct guest_mem mem;
	struct folio *folio;

	guest_mem_make(test, &mem);
	folio = page_folio(mem.page[1]);
	KUNIT_ASSERT_EQ(test, guest_page_hide(mem.page[1]), 0);
	KUNIT_ASSERT_EQ(test, vm_munmap(mem.addr, NR * PAGE_SIZE), 0);
	KUNIT_EXPECT_FALSE(test, folio_mapped(folio));
	KUNIT_EXPECT_EQ(test, folio_ref_count(folio),
			GUP_PIN_COUNTING_BIAS + !!mem.file);
	KUNIT_EXPECT_EQ(test, *(unsigned long *)page_address(mem.page[1]), SECRET + 1);

	/* It can be opened and taken again, with nothing to unmap. */
	KUNIT_EXPECT_EQ(test, guest_page_hide_again(mem.page[1]), 0);
	guest_mem_free(test, &mem);
}

/* File access fails as for a broken page, and a hole does not clear the page. */
static void file_access(struct kunit *test)
{
	struct guest_mem mem;
	struct folio *folio;
	unsigned long val;
	pgoff_t offset;
	loff_t pos;

	if (!is_file(test))
		kunit_skip(test, "has no file");

	guest_mem_make(test, &mem);
	KUNIT_ASSERT_EQ(test, guest_page_hide(mem.page[1]), 0);

	pos = PAGE_SIZE;
	KUNIT_EXPECT_EQ(test, kernel_read(mem.file, &val, sizeof(val), &pos), -EIO);
	val = 1;
	pos = PAGE_SIZE;
	KUNIT_EXPECT_EQ(test, kernel_write(mem.file, &val, sizeof(val), &pos), -EIO);
	pos = 2 * PAGE_SIZE;
	KUNIT_EXPECT_EQ(test, kernel_read(mem.file, &val, sizeof(val), &pos),
			sizeof(val));
	KUNIT_EXPECT_EQ(test, val, SECRET + 2);
	KUNIT_EXPECT_EQ(test, vfs_fallocate(mem.file, FALLOC_FL_PUNCH_HOLE |
					    FALLOC_FL_KEEP_SIZE, PAGE_SIZE, 64), 0);
	KUNIT_EXPECT_LT(test, memfd_pin_folios(mem.file, PAGE_SIZE, 2 * PAGE_SIZE - 1,
					       &folio, 1, &offset), 0);
	expect_hidden(test, &mem, 1);

	WRITE_ONCE(is_open, true);
	KUNIT_EXPECT_EQ(test, memfd_pin_folios(mem.file, PAGE_SIZE, 2 * PAGE_SIZE - 1,
					       &folio, 1, &offset), 1);
	KUNIT_EXPECT_EQ(test, guest_page_hide_again(mem.page[1]), -EAGAIN);
	unpin_folio(folio);
	pos = PAGE_SIZE;
	KUNIT_EXPECT_EQ(test, kernel_read(mem.file, &val, sizeof(val), &pos),
			sizeof(val));
	KUNIT_EXPECT_EQ(test, val, SECRET + 1);
	WRITE_ONCE(is_open, false);
	guest_mem_free(test, &mem);
}

/* Without its file the page is still its owner's. */
static void truncated_while_hidden(struct kunit *test)
{
	struct guest_mem mem;
	unsigned long val = 1;

	if (!is_file(test))
		kunit_skip(test, "has no file");

	guest_mem_make(test, &mem);
	KUNIT_ASSERT_EQ(test, guest_page_hide(mem.page[1]), 0);
	KUNIT_EXPECT_EQ(test, vfs_fallocate(mem.file, FALLOC_FL_PUNCH_HOLE |
					    FALLOC_FL_KEEP_SIZE, PAGE_SIZE, PAGE_SIZE), 0);
	KUNIT_EXPECT_TRUE(test, PageGuest(mem.page[1]));
	KUNIT_EXPECT_EQ(test, page_ref_count(mem.page[1]), GUP_PIN_COUNTING_BIAS);
	KUNIT_EXPECT_EQ(test, *(unsigned long *)page_address(mem.page[1]), SECRET + 1);

	/* What is in the file now is another page. */
	KUNIT_EXPECT_EQ(test, get_user(val, word(&mem, 1)), 0);
	KUNIT_EXPECT_EQ(test, val, 0);
	KUNIT_EXPECT_EQ(test, guest_page_hide_again(mem.page[1]), 0);
	guest_mem_free(test, &mem);
}

#ifdef CONFIG_PROC_KCORE
/* Where /proc/kcore has a page of the linear map, or a negative error. */
static loff_t kcore_offset(struct file *kcore, struct page *page)
{
	unsigned long addr = (unsigned long)page_address(page);
	struct elfhdr head;
	struct elf_phdr phdr;
	loff_t pos = 0;
	int i;

	if (kernel_read(kcore, &head, sizeof(head), &pos) != sizeof(head))
		return -EIO;

	pos = head.e_phoff;
	for (i = 0; i < head.e_phnum; i++) {
		if (kernel_read(kcore, &phdr, sizeof(phdr), &pos) != sizeof(phdr))
			return -EIO;
		if (phdr.p_type == PT_LOAD && addr >= phdr.p_vaddr &&
		    addr < phdr.p_vaddr + phdr.p_memsz)
			return phdr.p_offset + (addr - phdr.p_vaddr);
	}

	return -ENOENT;
}

/* What is read there is not the page, though nothing else keeps it from that. */
static void kcore_reads_zeroes(struct kunit *test)
{
	struct file_system_type *type = get_fs_type("proc");
	unsigned long *buf = kunit_kmalloc(test, PAGE_SIZE, GFP_KERNEL);
	struct guest_mem mem;
	struct vfsmount *proc;
	struct file *kcore;
	loff_t pos, at;
	int i;

	KUNIT_ASSERT_NOT_NULL(test, buf);
	KUNIT_ASSERT_NOT_NULL(test, type);
	proc = kern_mount(type);
	KUNIT_ASSERT_FALSE(test, IS_ERR(proc));
	kcore = file_open_root_mnt(proc, "kcore", O_RDONLY, 0);
	if (IS_ERR(kcore)) {
		kern_unmount(proc);
		KUNIT_FAIL(test, "no /proc/kcore: %ld", PTR_ERR(kcore));
		return;
	}

	guest_mem_make(test, &mem);
	at = kcore_offset(kcore, mem.page[1]);
	KUNIT_EXPECT_GT(test, at, 0);
	KUNIT_ASSERT_EQ(test, guest_page_hide(mem.page[1]), 0);
	for (i = 0; i < 2; i++) {
		WRITE_ONCE(is_open, i);
		memset(buf, 0x3c, PAGE_SIZE);
		pos = at;
		KUNIT_EXPECT_EQ(test, kernel_read(kcore, buf, PAGE_SIZE, &pos), PAGE_SIZE);
		KUNIT_EXPECT_EQ(test, buf[0], i ? SECRET + 1 : 0);
		KUNIT_EXPECT_EQ(test, buf[1], 0);
	}
	fput(kcore);
	kern_unmount(proc);
	guest_mem_free(test, &mem);
}
#endif

/* Only memory that swap backs is hidden. */
static void other_memory_is_refused(struct kunit *test)
{
	struct page *page = alloc_page(GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, page);
	KUNIT_EXPECT_EQ(test, guest_page_hide(page), -EIO);
	KUNIT_EXPECT_FALSE(test, PageGuest(page));
	__free_page(page);
}

/* A page that is freed too early is lost, and so is never somebody else's. */
static void freed_while_marked(struct kunit *test)
{
	struct page *page = alloc_page(GFP_KERNEL), *other[64];
	int i;

	KUNIT_ASSERT_NOT_NULL(test, page);
	SetPageGuest(page);
	__free_page(page);
	KUNIT_EXPECT_TRUE(test, PageGuest(page));
	KUNIT_EXPECT_FALSE(test, PageBuddy(page));
	KUNIT_EXPECT_TRUE(test, test_taint(TAINT_BAD_PAGE));
	for (i = 0; i < ARRAY_SIZE(other); i++) {
		other[i] = alloc_page(GFP_KERNEL);
		KUNIT_EXPECT_PTR_NE(test, other[i], page);
	}
	for (i = 0; i < ARRAY_SIZE(other); i++) {
		if (other[i])
			__free_page(other[i]);
	}

	/* It is the test's own: find it again. */
	ClearPageGuest(page);
	set_page_refcounted(page);
	__free_page(page);
}

/*
 * Nor as a part of several pages, where the allocator looks at each. Not with lockdep,
 * which is off for good when a page in a bad state was seen.
 */
static void freed_in_a_block(struct kunit *test)
{
	struct page *page;

	if (!static_branch_unlikely(&check_pages_enabled) || IS_ENABLED(CONFIG_PROVE_LOCKING))
		kunit_skip(test, "pages are not checked; or locks are, too");

	page = alloc_pages(GFP_KERNEL, 1);
	KUNIT_ASSERT_NOT_NULL(test, page);
	SetPageGuest(page + 1);
	__free_pages(page, 1);
	/* The mark goes when a page is taken back. */
	KUNIT_ASSERT_TRUE(test, PageGuest(page + 1));
	KUNIT_EXPECT_FALSE(test, PageBuddy(page));

	ClearPageGuest(page + 1);
	set_page_refcounted(page);
	__free_pages(page, 1);
}

static const bool backings[] = { false, true };

static void describe_backing(const bool *file, char *desc)
{
	strscpy(desc, *file ? "shmem" : "anonymous", KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(backing, backings, describe_backing);

static struct kunit_case guest_page_cases[] = {
	KUNIT_CASE_PARAM(hide_and_unhide, backing_gen_params),
	KUNIT_CASE_PARAM(hide_twice, backing_gen_params),
	KUNIT_CASE_PARAM(open_and_hide_again, backing_gen_params),
	KUNIT_CASE_PARAM(neighbours_come_back, backing_gen_params),
	KUNIT_CASE_PARAM(marked_and_mapped, backing_gen_params),
	KUNIT_CASE_PARAM(fork_while_locked, backing_gen_params),
	KUNIT_CASE_PARAM(held_pages_stay, backing_gen_params),
	KUNIT_CASE_PARAM(held_while_hidden_again, backing_gen_params),
	KUNIT_CASE_PARAM(held_while_unmapped, backing_gen_params),
	KUNIT_CASE_PARAM(not_exclusive, backing_gen_params),
	KUNIT_CASE_PARAM(broken_while_hidden, backing_gen_params),
	KUNIT_CASE_PARAM(failure_is_told, backing_gen_params),
	KUNIT_CASE_PARAM(foll_guest, backing_gen_params),
	KUNIT_CASE_PARAM(unmapped_while_hidden, backing_gen_params),
	KUNIT_CASE_PARAM(file_access, backing_gen_params),
	KUNIT_CASE_PARAM(truncated_while_hidden, backing_gen_params),
#ifdef CONFIG_PROC_KCORE
	KUNIT_CASE_PARAM(kcore_reads_zeroes, backing_gen_params),
#endif
	KUNIT_CASE(other_memory_is_refused),
	KUNIT_CASE(freed_while_marked),
	KUNIT_CASE(freed_in_a_block),
	{}
};

static int guest_page_suite_init(struct kunit_suite *suite)
{
	/* A suite that is run again, by debugfs, must not answer for real guests. */
	if (guest_pages_nr())
		return -EBUSY;
	guest_pages_register(&fake_owner);

	return 0;
}

static void guest_page_suite_exit(struct kunit_suite *suite)
{
	/* Until there is another owner. */
	WRITE_ONCE(is_open, false);
}

static struct kunit_suite guest_page_suite = {
	.name		= "guest_page",
	.suite_init	= guest_page_suite_init,
	.suite_exit	= guest_page_suite_exit,
	.test_cases	= guest_page_cases,
};

kunit_test_suite(guest_page_suite);
