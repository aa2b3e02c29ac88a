// SPDX-License-Identifier: GPL-2.0-only
/*
 * /dev/kvm_test_pages: buffers for the KVM selftests whose pages and page tables
 * are like those of drivers that KVM has to live with (graphics buffers, memory
 * without struct pages, pages that become writable on demand), with counters, and
 * with revocation and replacement at any time.
 *
 * Only for tests: it lets any user who may open it fill the kernel's memory.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/bitmap.h>
#include <linux/cleanup.h>
#include <linux/dcache.h>
#include <linux/delay.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/io.h>
#include <linux/kthread.h>
#include <linux/kvm_host.h>
#include <linux/libnvdimm.h>
#include <linux/list.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/of.h>
#include <linux/of_address.h>
#include <linux/overflow.h>
#include <linux/pfn_t.h>
#include <linux/random.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/srcu.h>
#include <linux/timekeeping.h>
#include <linux/tracepoint.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>

#include <asm/kvm_mmu.h>
#include <asm/kvm_pgtable.h>

#include "kvm_test_pages.h"

#define POISON_BYTE	0x6b
/* So many replaced backings are kept by a storm before it checks and frees them. */
#define STORM_KEEPS	8

/* The pages behind a buffer at one time, in the order of their allocation. */
struct backing {
	struct list_head list;
	u32 kind;
	u32 order;
	u32 nr;
	unsigned long pfns[] __counted_by(nr);
};

enum stall_state { STALL_NONE, STALL_WANTED, STALL_NOW, STALL_OVER };

/* A fault that is held up; see KTP_IOC_STALL. */
struct stall {
	enum stall_state state;
	struct kvm_vcpu *vcpu;	/* only to compare */
	u64 gpa;
	u64 esr;
};

struct buffer {
	/*
	 * An address space for each buffer, so that revoking one leaves the
	 * others alone although all are opened through one inode.
	 */
	struct address_space mapping;
	/*
	 * Held to read by faults (below mmap_lock) and to write by whatever
	 * changes the pages: user memory is never touched under it.
	 */
	struct rw_semaphore lock;
	struct backing *now;
	struct list_head old;
	u32 nr_old;		/* backings in old */
	u64 bad_words;
	bool dead;		/* after FREE */
	u32 kind, order, nr, flags;
	atomic_t *faults;
	atomic_t *mkwrites;

	spinlock_t error_lock;	/* of the two below, in faults */
	u32 error;
	u32 error_count;

	struct mutex storm_lock;	/* of the two below; outside lock */
	struct task_struct *storm;
	struct ktp_storm storm_args;

	struct page *held;

	struct mutex stall_lock;	/* of who begins or ends one */
	struct stall stall;
};

/* RAM that the kernel was told to leave alone. */
static struct {
	struct mutex lock;	/* of used */
	unsigned long base;
	unsigned long nr;
	unsigned long *used;
} hidden = {
	.lock = __MUTEX_INITIALIZER(hidden.lock),
};

static unsigned long mmio_pfn;

/* Called for each fault of a guest before its memory is looked up. Not exported. */
static struct tracepoint *guest_fault;

/* ------------------------------------------------------------------- pages */

static bool has_struct_pages(u32 kind)
{
	return kind != KTP_HIDDEN && kind != KTP_MMIO;
}

static pgprot_t leaf_prot(u32 kind, u32 flags, pgprot_t prot)
{
	if (kind == KTP_MMIO || flags & KTP_DEV)
		return pgprot_noncached(prot);
	if (flags & KTP_WC)
		return pgprot_writecombine(prot);
	return prot;
}

/*
 * The kernel's view of a page, with the type that users have it by. A mapping of
 * Normal-NC does for device-type RAM: neither goes through a cache.
 */
static void *page_map(u32 kind, u32 flags, unsigned long pfn)
{
	struct page *page;

	switch (kind) {
	case KTP_MMIO:
		return (void __force *)ioremap(PFN_PHYS(pfn), PAGE_SIZE);
	case KTP_HIDDEN:
		return memremap(PFN_PHYS(pfn), PAGE_SIZE,
				flags & (KTP_WC | KTP_DEV) ? MEMREMAP_WC : MEMREMAP_WB);
	default:
		page = pfn_to_page(pfn);
		if (flags & (KTP_WC | KTP_DEV))
			return vmap(&page, 1, VM_MAP, pgprot_writecombine(PAGE_KERNEL));
		return page_address(page);
	}
}

static void page_unmap(u32 kind, u32 flags, void *p)
{
	if (kind == KTP_MMIO)
		iounmap((void __iomem *)p);
	else if (kind == KTP_HIDDEN)
		memunmap(p);
	else if (flags & (KTP_WC | KTP_DEV))
		vunmap(p);
}

static int page_fill(u32 kind, u32 flags, unsigned long pfn, u64 word)
{
	u64 *p = page_map(kind, flags, pfn);
	size_t i;

	if (!p)
		return -ENOMEM;
	for (i = 0; i < PAGE_SIZE / sizeof(*p); i++)
		WRITE_ONCE(p[i], word);
	page_unmap(kind, flags, p);
	return 0;
}

/* How many words of a page are not what it was filled with. */
static u64 page_check(u32 kind, u32 flags, unsigned long pfn, u64 word)
{
	u64 *p = page_map(kind, flags, pfn);
	u64 bad = 0;
	size_t i;

	if (!p)
		return 0;
	for (i = 0; i < PAGE_SIZE / sizeof(*p); i++)
		bad += READ_ONCE(p[i]) != word;
	page_unmap(kind, flags, p);
	return bad;
}

static int hidden_get(u32 order, unsigned long *pfn)
{
	unsigned long at;

	guard(mutex)(&hidden.lock);
	if (!hidden.nr)
		return -ENODEV;
	at = bitmap_find_next_zero_area(hidden.used, hidden.nr, 0, BIT(order),
					BIT(order) - 1);
	if (at >= hidden.nr)
		return -ENOMEM;
	bitmap_set(hidden.used, at, BIT(order));
	*pfn = hidden.base + at;
	return 0;
}

static void hidden_put(unsigned long pfn, u32 order)
{
	guard(mutex)(&hidden.lock);
	bitmap_clear(hidden.used, pfn - hidden.base, BIT(order));
}

/* One block of 2^order pages; order is 0 for the kinds of single pages. */
static int block_get(u32 kind, u32 order, unsigned long *pfn)
{
	gfp_t gfp = GFP_KERNEL | __GFP_ZERO | __GFP_NORETRY | __GFP_NOWARN;
	struct page *page;

	if (kind == KTP_MMIO) {
		*pfn = mmio_pfn;
		return mmio_pfn ? 0 : -ENODEV;
	}
	if (kind == KTP_HIDDEN)
		return hidden_get(order, pfn);
	if (kind == KTP_COMP)
		gfp |= __GFP_COMP;
	page = alloc_pages(gfp, order);
	if (!page)
		return -ENOMEM;
	if (kind == KTP_RESERVED)
		SetPageReserved(page);
	*pfn = page_to_pfn(page);
	return 0;
}

static void block_put(u32 kind, u32 order, unsigned long pfn)
{
	struct page *page;
	u32 i;

	if (kind == KTP_MMIO)
		return;
	if (kind == KTP_HIDDEN) {
		hidden_put(pfn, order);
		return;
	}
	page = pfn_to_page(pfn);
	/* Nobody but the module may hold these; the tests look for this line. */
	for (i = 0; i < BIT(order); i++) {
		int want = i == 0;

		if (page_ref_count(page + i) != want)
			pr_err("BUG: page %u of a block of kind %u has count %d, not %d\n",
			       i, kind, page_ref_count(page + i), want);
	}
	if (kind == KTP_RESERVED)
		ClearPageReserved(page);
	__free_pages(page, order);
}

static void backing_put(struct backing *b)
{
	u32 i;

	if (IS_ERR_OR_NULL(b))
		return;
	for (i = 0; i < b->nr; i += BIT(b->order))
		block_put(b->kind, b->order, b->pfns[i]);
	kvfree(b);
}

DEFINE_FREE(backing, struct backing *, backing_put(_T))

static struct backing *backing_get(u32 kind, u32 order, u32 nr, u32 flags)
{
	struct backing *b = kvzalloc(struct_size(b, pfns, nr), GFP_KERNEL);
	u32 i, j;
	int err;

	if (!b)
		return ERR_PTR(-ENOMEM);
	INIT_LIST_HEAD(&b->list);
	b->kind = kind;
	b->order = order;
	/* Grows with the blocks, so that backing_put() frees what is there. */
	for (i = 0; i < nr; i += BIT(order)) {
		unsigned long pfn;

		err = block_get(kind, order, &pfn);
		if (err) {
			backing_put(b);
			return ERR_PTR(err);
		}
		b->nr = i + BIT(order);
		for (j = 0; j < BIT(order); j++)
			b->pfns[i + j] = pfn + j;
		cond_resched();
	}
	if (kind == KTP_MMIO)
		return b;
	for (i = 0; i < nr; i++) {
		/* Was zeroed through the cache, which users may go round. */
		if (has_struct_pages(kind) && flags & (KTP_WC | KTP_DEV) &&
		    IS_ENABLED(CONFIG_ARCH_HAS_PMEM_API))
			arch_wb_cache_pmem(page_address(pfn_to_page(b->pfns[i])),
					   PAGE_SIZE);
		if (kind == KTP_HIDDEN && page_fill(kind, flags, b->pfns[i], 0)) {
			backing_put(b);
			return ERR_PTR(-ENOMEM);
		}
	}
	return b;
}

/* The pfn at an index of the buffer; the first page of a block keeps its place. */
static unsigned long pfn_at(struct buffer *buf, struct backing *b, u32 index)
{
	u32 mask = BIT(buf->order) - 1;

	if (buf->flags & KTP_SCRAMBLE)
		index = (index & ~mask) | (index * 37 & mask);
	return b->pfns[index];
}

/* ------------------------------------------------------------------ faults */

/* True when this fault has to end in *ret without a leaf. */
static bool fault_diverted(struct buffer *buf, vm_fault_t *ret)
{
	u32 error;

	scoped_guard(spinlock, &buf->error_lock) {
		error = buf->error_count ? buf->error : KTP_FAULT_OK;
		if (buf->error_count && buf->error_count != U32_MAX)
			buf->error_count--;
	}
	switch (error) {
	case KTP_FAULT_SIGBUS:
		*ret = VM_FAULT_SIGBUS;
		return true;
	case KTP_FAULT_HWPOISON:
		*ret = VM_FAULT_HWPOISON;
		return true;
	case KTP_FAULT_NOPAGE:
		*ret = VM_FAULT_NOPAGE;
		return true;
	case KTP_FAULT_OOM:
		*ret = VM_FAULT_OOM;
		return true;
	default:
		return false;
	}
}

static vm_fault_t ktp_fault(struct vm_fault *vmf)
{
	struct vm_area_struct *vma = vmf->vma;
	struct buffer *buf = vma->vm_file->private_data;
	unsigned long addr = vmf->address & PAGE_MASK;
	unsigned long pfn;
	vm_fault_t ret;
	int err;

	guard(rwsem_read)(&buf->lock);
	if (buf->dead || vmf->pgoff >= buf->nr)
		return VM_FAULT_SIGBUS;
	atomic_inc(&buf->faults[vmf->pgoff]);
	if (fault_diverted(buf, &ret))
		return ret;
	pfn = pfn_at(buf, buf->now, vmf->pgoff);
	switch (buf->kind) {
	case KTP_MIXED:
		err = vm_insert_page(vma, addr, pfn_to_page(pfn));
		if (err == -ENOMEM)
			return VM_FAULT_OOM;
		/* EBUSY: another thread was faster. */
		return err && err != -EBUSY ? VM_FAULT_SIGBUS : VM_FAULT_NOPAGE;
	case KTP_MIXED_PFN:
		return vmf_insert_mixed(vma, addr, pfn_to_pfn_t(pfn));
	default:
		return vmf_insert_pfn(vma, addr, pfn);
	}
}

static vm_fault_t ktp_huge_fault(struct vm_fault *vmf, unsigned int order)
{
	struct vm_area_struct *vma = vmf->vma;
	struct buffer *buf = vma->vm_file->private_data;
	unsigned long addr = vmf->address & PMD_MASK;
	bool write = vmf->flags & FAULT_FLAG_WRITE;
	unsigned long index;
	vm_fault_t ret;

	guard(rwsem_read)(&buf->lock);
	if (!(buf->flags & KTP_PMD) || order != PMD_ORDER ||
	    addr < vma->vm_start || addr + PMD_SIZE > vma->vm_end)
		return VM_FAULT_FALLBACK;
	index = ((addr - vma->vm_start) >> PAGE_SHIFT) + vma->vm_pgoff;
	if (!IS_ALIGNED(index, HPAGE_PMD_NR))
		return VM_FAULT_FALLBACK;
	if (buf->dead || index >= buf->nr)
		return VM_FAULT_SIGBUS;
	if (pmd_none(pmdp_get_lockless(vmf->pmd))) {
		atomic_inc(&buf->faults[index]);
		/* The first write finds a read-only leaf and comes back. */
		if (buf->flags & KTP_MKWRITE)
			write = false;
	} else if (write) {
		atomic_inc(&buf->mkwrites[index]);
	}
	if (fault_diverted(buf, &ret))
		return ret;
	return vmf_insert_pfn_pmd(vmf, pfn_to_pfn_t(buf->now->pfns[index]), write);
}

static vm_fault_t ktp_pfn_mkwrite(struct vm_fault *vmf)
{
	struct buffer *buf = vmf->vma->vm_file->private_data;
	vm_fault_t ret;

	guard(rwsem_read)(&buf->lock);
	if (buf->dead || vmf->pgoff >= buf->nr)
		return VM_FAULT_SIGBUS;
	atomic_inc(&buf->mkwrites[vmf->pgoff]);
	if (fault_diverted(buf, &ret))
		return ret;
	return 0;
}

static const struct vm_operations_struct ktp_vm_ops = {
	.fault		= ktp_fault,
	.huge_fault	= ktp_huge_fault,
};

/* With these, mm makes each leaf of a shared mapping read-only at first. */
static const struct vm_operations_struct ktp_mkwrite_vm_ops = {
	.fault		= ktp_fault,
	.huge_fault	= ktp_huge_fault,
	.pfn_mkwrite	= ktp_pfn_mkwrite,
};

/* Nothing to fault in: remap_pfn_range() has done it, what is revoked is gone. */
static int mmap_remap(struct buffer *buf, struct vm_area_struct *vma)
{
	unsigned long first = vma->vm_pgoff, nr = vma_pages(vma), i;
	int err;

	if (is_cow_mapping(vma->vm_flags)) {
		/* Private mappings find their pages by vm_pgoff: one run, all of it. */
		if (buf->flags & KTP_SCRAMBLE || first + nr > BIT(buf->order))
			return -EINVAL;
		return remap_pfn_range(vma, vma->vm_start, buf->now->pfns[first],
				       nr << PAGE_SHIFT, vma->vm_page_prot);
	}
	for (i = 0; i < nr; i++) {
		err = remap_pfn_range(vma, vma->vm_start + (i << PAGE_SHIFT),
				      pfn_at(buf, buf->now, first + i), PAGE_SIZE,
				      vma->vm_page_prot);
		if (err)
			return err;
	}
	return 0;
}

static int ktp_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct buffer *buf = file->private_data;
	unsigned long end;

	/* A fault takes the VMA's lock first, then the buffer's. */
	vma_start_write(vma);
	guard(rwsem_read)(&buf->lock);
	if (!buf->now)
		return -ENXIO;
	if (check_add_overflow(vma->vm_pgoff, vma_pages(vma), &end) || end > buf->nr)
		return -EINVAL;
	/* vmf_insert_pfn() must not meet a private mapping. */
	if (is_cow_mapping(vma->vm_flags) && !(buf->flags & KTP_REMAP))
		return -EINVAL;
	vma->vm_page_prot = leaf_prot(buf->kind, buf->flags, vma->vm_page_prot);
	vm_flags_set(vma, VM_IO | VM_DONTEXPAND | VM_DONTDUMP);
	if (buf->flags & KTP_REMAP)
		return mmap_remap(buf, vma);
	if (buf->kind == KTP_MIXED || buf->kind == KTP_MIXED_PFN)
		vm_flags_set(vma, VM_MIXEDMAP);
	else
		vm_flags_set(vma, VM_PFNMAP);
	if (buf->flags & KTP_PMD)
		vm_flags_set(vma, VM_HUGEPAGE);
	vma->vm_ops = buf->flags & KTP_MKWRITE ? &ktp_mkwrite_vm_ops : &ktp_vm_ops;
	return 0;
}

/* ------------------------------------------------ revocation, replacement */

static void revoke(struct buffer *buf, u32 first, u32 nr)
{
	/* vm_pgoff of a private remap is not an index. */
	if (buf->flags & KTP_REMAP)
		unmap_mapping_range(&buf->mapping, 0, 0, 1);
	else
		unmap_mapping_range(&buf->mapping, (loff_t)first << PAGE_SHIFT,
				    (loff_t)nr << PAGE_SHIFT, 1);
}

static int copy_pages(struct buffer *buf, struct backing *to, struct backing *from)
{
	u32 i;

	for (i = 0; i < buf->nr; i++) {
		void *src = page_map(buf->kind, buf->flags, from->pfns[i]);
		void *dst = page_map(buf->kind, buf->flags, to->pfns[i]);

		if (src && dst)
			memcpy(dst, src, PAGE_SIZE);
		if (src)
			page_unmap(buf->kind, buf->flags, src);
		if (dst)
			page_unmap(buf->kind, buf->flags, dst);
		if (!src || !dst)
			return -ENOMEM;
	}
	return 0;
}

/*
 * From the moment that unmap_mapping_range() returns, nobody has the old pages:
 * what is copied from them is the last word, and the canary stays.
 */
static int replace(struct buffer *buf, u32 flags)
{
	struct backing *b __free(backing) = backing_get(buf->kind, buf->order, buf->nr,
							buf->flags);
	struct backing *from = buf->now;
	int err;
	u32 i;

	if (IS_ERR(b))
		return PTR_ERR(b);
	revoke(buf, 0, buf->nr);
	if (flags & KTP_REPLACE_COPY) {
		err = copy_pages(buf, b, from);
		if (err)
			return err;
	}
	buf->now = no_free_ptr(b);
	for (i = 0; i < from->nr; i++) {
		err = page_fill(from->kind, buf->flags, from->pfns[i], KTP_CANARY);
		if (err) {
			backing_put(from);
			return err;
		}
	}
	list_add_tail(&from->list, &buf->old);
	buf->nr_old++;
	return 0;
}

static u64 check_one(struct buffer *buf, struct backing *b)
{
	u64 bad = 0;
	u32 i;

	for (i = 0; i < b->nr; i++)
		bad += page_check(b->kind, buf->flags, b->pfns[i], KTP_CANARY);
	return bad;
}

/* Words once found bad stay in bad_words when their page is freed. */
static u64 check_old(struct buffer *buf, u32 keep, bool free)
{
	struct backing *b, *next;
	u64 bad = 0;

	list_for_each_entry_safe(b, next, &buf->old, list) {
		u64 n = check_one(buf, b);

		if (free && buf->nr_old > keep) {
			list_del(&b->list);
			buf->nr_old--;
			buf->bad_words += n;
			backing_put(b);
		} else {
			bad += n;
		}
	}
	return buf->bad_words + bad;
}

static void storm_round(struct buffer *buf)
{
	struct ktp_storm *args = &buf->storm_args;
	u32 first = get_random_u32_below(buf->nr);
	u32 nr = get_random_u32_below(buf->nr - first) + 1;

	guard(rwsem_write)(&buf->lock);
	if (buf->dead)
		return;
	switch (args->op) {
	case KTP_STORM_REVOKE:
		revoke(buf, first, nr);
		break;
	case KTP_STORM_REVOKE_ALL:
		revoke(buf, 0, buf->nr);
		break;
	case KTP_STORM_REPLACE:
		/* Out of memory: the next round may do. */
		if (replace(buf, KTP_REPLACE_COPY))
			return;
		if (buf->nr_old > STORM_KEEPS)
			check_old(buf, STORM_KEEPS / 2, true);
		break;
	}
	args->rounds++;
}

static int storm_thread(void *data)
{
	struct buffer *buf = data;

	while (!kthread_should_stop()) {
		storm_round(buf);
		if (buf->storm_args.interval_us)
			fsleep(buf->storm_args.interval_us);
		else
			cond_resched();
	}
	return 0;
}

static int storm_start(struct buffer *buf, const struct ktp_storm *args)
{
	struct task_struct *task;

	if (args->op > KTP_STORM_REPLACE || args->interval_us > USEC_PER_SEC)
		return -EINVAL;
	guard(mutex)(&buf->storm_lock);
	if (buf->storm)
		return -EBUSY;
	scoped_guard(rwsem_read, &buf->lock) {
		if (!buf->now)
			return -ENXIO;
		if (buf->kind == KTP_MMIO && args->op == KTP_STORM_REPLACE)
			return -EOPNOTSUPP;
		/* What a private mapping has copied is lost with its leaves. */
		if (buf->flags & KTP_REMAP)
			return -EOPNOTSUPP;
	}
	buf->storm_args = *args;
	buf->storm_args.rounds = 0;
	task = kthread_run(storm_thread, buf, "ktp_storm");
	if (IS_ERR(task))
		return PTR_ERR(task);
	buf->storm = task;
	return 0;
}

static int storm_stop(struct buffer *buf, struct ktp_storm *args)
{
	guard(mutex)(&buf->storm_lock);
	if (!buf->storm)
		return -ENOENT;
	kthread_stop(buf->storm);
	buf->storm = NULL;
	*args = buf->storm_args;
	return 0;
}

/* ------------------------------------------------------------------ ioctls */

static int check_create(const struct ktp_create *c)
{
	if (c->kind >= KTP_NR_KINDS || !c->nr_pages || c->nr_pages > KTP_MAX_PAGES ||
	    c->order > MAX_PAGE_ORDER || c->nr_pages % BIT(c->order) ||
	    c->flags & ~(KTP_MKWRITE | KTP_PMD | KTP_SCRAMBLE | KTP_WC | KTP_DEV |
			 KTP_REMAP))
		return -EINVAL;
	if (c->order && c->kind != KTP_PFN && c->kind != KTP_COMP &&
	    c->kind != KTP_HIDDEN)
		return -EINVAL;
	if (c->kind == KTP_MMIO && c->nr_pages != 1)
		return -EINVAL;
	if (c->flags & KTP_WC && (c->flags & KTP_DEV || c->kind == KTP_MMIO))
		return -EINVAL;
	if (c->flags & KTP_SCRAMBLE && (!c->order || c->flags & KTP_PMD))
		return -EINVAL;
	/* The entries of KTP_MIXED are normal ones, of which pfn_mkwrite hears nothing. */
	if (c->flags & KTP_MKWRITE && c->kind == KTP_MIXED)
		return -EINVAL;
	if (c->flags & KTP_PMD && (c->order < PMD_ORDER || c->flags & KTP_REMAP))
		return -EINVAL;
	/* remap_pfn_range() comes before mm knows that it must make leaves read-only. */
	if (c->flags & KTP_REMAP && (c->flags & KTP_MKWRITE || c->kind == KTP_MIXED ||
				     c->kind == KTP_MIXED_PFN))
		return -EINVAL;
	return 0;
}

static int do_create(struct buffer *buf, const struct ktp_create *c)
{
	struct backing *b;
	int err;

	err = check_create(c);
	if (err)
		return err;
	guard(rwsem_write)(&buf->lock);
	if (buf->now || buf->dead)
		return -EBUSY;
	if (!buf->faults)
		buf->faults = kvcalloc(KTP_MAX_PAGES, sizeof(*buf->faults), GFP_KERNEL);
	if (!buf->mkwrites)
		buf->mkwrites = kvcalloc(KTP_MAX_PAGES, sizeof(*buf->mkwrites), GFP_KERNEL);
	if (!buf->faults || !buf->mkwrites)
		return -ENOMEM;
	b = backing_get(c->kind, c->order, c->nr_pages, c->flags);
	if (IS_ERR(b))
		return PTR_ERR(b);
	buf->kind = c->kind;
	buf->order = c->order;
	buf->nr = c->nr_pages;
	buf->flags = c->flags;
	buf->now = b;
	return 0;
}

static int do_snapshot(struct buffer *buf, const struct ktp_snapshot *s)
{
	struct ktp_page *pages __free(kvfree) = NULL;
	u32 i;

	if (!s->nr || s->nr > KTP_MAX_PAGES || s->first > KTP_MAX_PAGES)
		return -EINVAL;
	pages = kvcalloc(s->nr, sizeof(*pages), GFP_KERNEL);
	if (!pages)
		return -ENOMEM;
	scoped_guard(rwsem_read, &buf->lock) {
		if (!buf->now)
			return -ENXIO;
		if (s->first + s->nr > buf->nr)
			return -EINVAL;
		for (i = 0; i < s->nr; i++) {
			unsigned long pfn = pfn_at(buf, buf->now, s->first + i);
			struct ktp_page *p = &pages[i];

			p->pfn = pfn;
			p->count = -1;
			p->faults = atomic_read(&buf->faults[s->first + i]);
			p->mkwrites = atomic_read(&buf->mkwrites[s->first + i]);
			if (!has_struct_pages(buf->kind))
				continue;
			p->flags = READ_ONCE(pfn_to_page(pfn)->flags);
			p->count = page_ref_count(pfn_to_page(pfn));
			p->mapcount = atomic_read(&pfn_to_page(pfn)->_mapcount) + 1;
		}
	}
	if (copy_to_user(u64_to_user_ptr(s->pages), pages,
			 array_size(s->nr, sizeof(*pages))))
		return -EFAULT;
	return 0;
}

static int do_revoke(struct buffer *buf, const struct ktp_range *r)
{
	guard(rwsem_write)(&buf->lock);
	if (!buf->now)
		return -ENXIO;
	if (!r->nr || r->first >= buf->nr || r->nr > buf->nr - r->first)
		return -EINVAL;
	revoke(buf, r->first, r->nr);
	return 0;
}

static int do_replace(struct buffer *buf, unsigned long flags)
{
	if (flags & ~KTP_REPLACE_COPY)
		return -EINVAL;
	guard(rwsem_write)(&buf->lock);
	if (!buf->now)
		return -ENXIO;
	if (buf->kind == KTP_MMIO)
		return -EOPNOTSUPP;
	return replace(buf, flags);
}

static int do_check(struct buffer *buf, struct ktp_check *c)
{
	if (c->flags & ~KTP_CHECK_FREE)
		return -EINVAL;
	guard(rwsem_write)(&buf->lock);
	c->bad_words = check_old(buf, 0, c->flags & KTP_CHECK_FREE);
	c->old_pages = buf->nr_old * buf->nr;
	return 0;
}

static int do_free(struct buffer *buf)
{
	struct backing *b;
	u32 i;

	guard(rwsem_write)(&buf->lock);
	b = buf->now;
	if (!b)
		return -ENXIO;
	revoke(buf, 0, buf->nr);
	buf->dead = true;
	buf->now = NULL;
	if (b->kind != KTP_MMIO) {
		for (i = 0; i < b->nr; i++)
			page_fill(b->kind, buf->flags, b->pfns[i],
				  0x0101010101010101ULL * POISON_BYTE);
	}
	backing_put(b);
	return 0;
}

static int do_access(struct buffer *buf, const struct ktp_access *a, bool write)
{
	void *copy __free(kvfree) = NULL;
	void *p;

	if (!a->len || a->len > PAGE_SIZE || a->offset > PAGE_SIZE - a->len)
		return -EINVAL;
	copy = kvzalloc(a->len, GFP_KERNEL);
	if (!copy)
		return -ENOMEM;
	if (write && copy_from_user(copy, u64_to_user_ptr(a->data), a->len))
		return -EFAULT;
	scoped_guard(rwsem_read, &buf->lock) {
		if (!buf->now)
			return -ENXIO;
		if (a->page >= buf->nr)
			return -EINVAL;
		if (buf->kind == KTP_MMIO && (a->len != 4 || a->offset % 4))
			return -EINVAL;
		p = page_map(buf->kind, buf->flags, pfn_at(buf, buf->now, a->page));
		if (!p)
			return -ENOMEM;
		if (buf->kind == KTP_MMIO && write)
			writel(*(u32 *)copy, (void __iomem *)(p + a->offset));
		else if (buf->kind == KTP_MMIO)
			*(u32 *)copy = readl((void __iomem *)(p + a->offset));
		else if (write)
			memcpy(p + a->offset, copy, a->len);
		else
			memcpy(copy, p + a->offset, a->len);
		page_unmap(buf->kind, buf->flags, p);
	}
	if (!write && copy_to_user(u64_to_user_ptr(a->data), copy, a->len))
		return -EFAULT;
	return 0;
}

static int do_fault_error(struct buffer *buf, const struct ktp_error *e)
{
	if (e->error > KTP_FAULT_OOM)
		return -EINVAL;
	guard(spinlock)(&buf->error_lock);
	buf->error = e->error;
	buf->error_count = e->count;
	return 0;
}

/* A vCPU is known by the name of its anonymous inode: its f_op are not exported. */
static struct kvm_vcpu *vcpu_of(struct file *file)
{
	static const char prefix[] = "anon_inode:kvm-vcpu:";
	struct kvm_vcpu *vcpu;
	char name[64], *path;

	if (!file)
		return ERR_PTR(-EBADF);
	path = d_path(&file->f_path, name, sizeof(name));
	if (IS_ERR(path) || strncmp(path, prefix, sizeof(prefix) - 1))
		return ERR_PTR(-EINVAL);
	vcpu = file->private_data;
	return vcpu->kvm->mm == current->mm ? vcpu : ERR_PTR(-EIO);
}

static int do_vcpu_map(struct ktp_vcpu_map *m)
{
	struct file *file __free(fput) = fget(m->vcpu_fd);
	struct kvm_vcpu *vcpu = vcpu_of(file);
	struct kvm_host_map map = {};
	bool write = m->flags & KTP_VCPU_WRITE;
	u64 *word, value = m->value;
	int idx;

	if (IS_ERR(vcpu))
		return PTR_ERR(vcpu);
	if (m->flags & ~KTP_VCPU_WRITE || m->offset % sizeof(*word) ||
	    m->offset >= PAGE_SIZE)
		return -EINVAL;
	if (mutex_lock_killable(&vcpu->mutex))
		return -EINTR;
	/* As KVM_RUN does: who dirties a page must be a running vCPU. */
	vcpu_load(vcpu);
	idx = srcu_read_lock(&vcpu->kvm->srcu);
	m->error = kvm_vcpu_map(vcpu, m->gfn, &map);
	if (!m->error) {
		word = map.hva + m->offset;
		m->pfn = map.pfn;
		m->has_page = map.page && map.page != KVM_UNMAPPED_PAGE;
		m->value = READ_ONCE(*word);
		if (write)
			WRITE_ONCE(*word, value);
		kvm_vcpu_unmap(vcpu, &map, write);
	}
	srcu_read_unlock(&vcpu->kvm->srcu, idx);
	vcpu_put(vcpu);
	mutex_unlock(&vcpu->mutex);
	return 0;
}

static int do_stage2(struct ktp_stage2 *s)
{
	struct file *file __free(fput) = fget(s->vcpu_fd);
	struct kvm_vcpu *vcpu = vcpu_of(file);
	struct kvm_pgtable *pgt;
	kvm_pte_t *table, pte;
	struct kvm *kvm;
	s8 level;
	u64 i;

	if (IS_ERR(vcpu))
		return PTR_ERR(vcpu);
	kvm = vcpu->kvm;
	/* The writer's lock keeps every table where it is. */
	guard(write_lock)(&kvm->mmu_lock);
	pgt = kvm->arch.mmu.pgt;
	if (!pgt || !pgt->pgd)
		return -EOPNOTSUPP;
	if (s->gpa >= BIT(pgt->ia_bits))
		return -EINVAL;
	table = (kvm_pte_t __force *)pgt->pgd;
	level = pgt->start_level;
	/* The first level may be several tables in a row. */
	i = s->gpa >> kvm_granule_shift(level);
	for (;;) {
		pte = READ_ONCE(table[i]);
		if (!kvm_pte_valid(pte))
			return -ENOENT;
		if (level == KVM_PGTABLE_LAST_LEVEL || !(pte & PTE_TABLE_BIT))
			break;
		table = phys_to_virt(kvm_pte_to_phys(pte));
		level++;
		i = (s->gpa >> kvm_granule_shift(level)) & (PTRS_PER_PTE - 1);
	}
	s->pte = pte;
	s->level = level;
	return 0;
}

static int do_unhold(struct buffer *buf)
{
	struct page *page = xchg(&buf->held, NULL);

	if (!page)
		return -ENOENT;
	put_page(page);
	return 0;
}

static int do_hold(struct buffer *buf, u64 addr)
{
	struct page *page;
	int nr;

	nr = get_user_pages_fast(untagged_addr(addr), 1, 0, &page);
	if (nr != 1)
		return nr < 0 ? nr : -EFAULT;
	if (cmpxchg(&buf->held, NULL, page)) {
		put_page(page);
		return -EBUSY;
	}
	return 0;
}

/* Preemption is off: nothing but GO or the time ends it. */
static void stall_here(void *data, unsigned long pc, unsigned long esr,
		       unsigned long far, unsigned long long ipa)
{
	struct stall *s = data;
	u64 end;

	if (READ_ONCE(s->state) != STALL_WANTED ||
	    s->vcpu != kvm_get_running_vcpu() || s->gpa != ipa)
		return;
	s->esr = esr;
	if (cmpxchg(&s->state, STALL_WANTED, STALL_NOW) != STALL_WANTED)
		return;
	end = ktime_get_mono_fast_ns() + KTP_STALL_MS * NSEC_PER_MSEC;
	while (READ_ONCE(s->state) == STALL_NOW) {
		if (ktime_get_mono_fast_ns() > end)
			cmpxchg(&s->state, STALL_NOW, STALL_OVER);
		cpu_relax();
	}
}

static int do_stall(struct buffer *buf, const struct ktp_stall *args)
{
	struct file *file __free(fput) = fget(args->vcpu_fd);
	struct kvm_vcpu *vcpu = vcpu_of(file);
	struct stall *s = &buf->stall;
	int err;

	if (IS_ERR(vcpu))
		return PTR_ERR(vcpu);
	if (!guest_fault)
		return -EOPNOTSUPP;
	guard(mutex)(&buf->stall_lock);
	if (s->state != STALL_NONE)
		return -EBUSY;
	s->vcpu = vcpu;
	s->gpa = args->gpa;
	/* Before the probe: nobody sees the rest without it. */
	s->state = STALL_WANTED;
	err = tracepoint_probe_register(guest_fault, stall_here, s);
	if (err)
		s->state = STALL_NONE;
	return err;
}

static int do_stalled(struct buffer *buf, u64 *esr)
{
	struct stall *s = &buf->stall;
	int ms;

	for (ms = 0; ms < KTP_STALL_MS; ms++) {
		/* Pairs with cmpxchg() in stall_here(). */
		if (smp_load_acquire(&s->state) == STALL_NOW) {
			*esr = s->esr;
			return 0;
		}
		if (msleep_interruptible(1))
			return -EINTR;
	}
	return -ETIMEDOUT;
}

static int do_go(struct buffer *buf)
{
	enum stall_state was;

	guard(mutex)(&buf->stall_lock);
	was = xchg(&buf->stall.state, STALL_NONE);
	if (was == STALL_NONE)
		return -ENOENT;
	tracepoint_probe_unregister(guest_fault, stall_here, &buf->stall);
	tracepoint_synchronize_unregister();
	return was == STALL_NOW ? 0 : -ETIMEDOUT;
}

static long ktp_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct buffer *buf = file->private_data;
	void __user *user = (void __user *)arg;
	union {
		struct ktp_create create;
		struct ktp_snapshot snapshot;
		struct ktp_range range;
		struct ktp_check check;
		struct ktp_access access;
		struct ktp_storm storm;
		struct ktp_error error;
		struct ktp_vcpu_map map;
		struct ktp_stage2 stage2;
		struct ktp_stall stall;
		__u64 addr;
		__u64 esr;
	} u = {};
	long err;

	if (_IOC_TYPE(cmd) != KTP_IOC || _IOC_SIZE(cmd) > sizeof(u))
		return -ENOTTY;
	if (_IOC_DIR(cmd) & _IOC_WRITE && copy_from_user(&u, user, _IOC_SIZE(cmd)))
		return -EFAULT;
	switch (cmd) {
	case KTP_IOC_CREATE:
		err = do_create(buf, &u.create);
		break;
	case KTP_IOC_SNAPSHOT:
		err = do_snapshot(buf, &u.snapshot);
		break;
	case KTP_IOC_REVOKE:
		err = do_revoke(buf, &u.range);
		break;
	case KTP_IOC_REPLACE:
		err = do_replace(buf, arg);
		break;
	case KTP_IOC_CHECK:
		err = do_check(buf, &u.check);
		break;
	case KTP_IOC_FREE:
		err = do_free(buf);
		break;
	case KTP_IOC_PEEK:
		err = do_access(buf, &u.access, false);
		break;
	case KTP_IOC_POKE:
		err = do_access(buf, &u.access, true);
		break;
	case KTP_IOC_STORM_START:
		err = storm_start(buf, &u.storm);
		break;
	case KTP_IOC_STORM_STOP:
		err = storm_stop(buf, &u.storm);
		break;
	case KTP_IOC_FAULT_ERROR:
		err = do_fault_error(buf, &u.error);
		break;
	case KTP_IOC_VCPU_MAP:
		err = do_vcpu_map(&u.map);
		break;
	case KTP_IOC_STAGE2:
		err = do_stage2(&u.stage2);
		break;
	case KTP_IOC_HOLD:
		err = do_hold(buf, u.addr);
		break;
	case KTP_IOC_UNHOLD:
		err = do_unhold(buf);
		break;
	case KTP_IOC_STALL:
		err = do_stall(buf, &u.stall);
		break;
	case KTP_IOC_STALLED:
		err = do_stalled(buf, &u.esr);
		break;
	case KTP_IOC_GO:
		err = do_go(buf);
		break;
	default:
		err = -ENOTTY;
	}
	if (!err && _IOC_DIR(cmd) & _IOC_READ && copy_to_user(user, &u, _IOC_SIZE(cmd)))
		err = -EFAULT;
	return err;
}

static int ktp_open(struct inode *inode, struct file *file)
{
	struct buffer *buf = kzalloc(sizeof(*buf), GFP_KERNEL);

	if (!buf)
		return -ENOMEM;
	address_space_init_once(&buf->mapping);
	buf->mapping.host = inode;
	buf->mapping.a_ops = &empty_aops;
	init_rwsem(&buf->lock);
	INIT_LIST_HEAD(&buf->old);
	spin_lock_init(&buf->error_lock);
	mutex_init(&buf->storm_lock);
	mutex_init(&buf->stall_lock);
	file->f_mapping = &buf->mapping;
	file->private_data = buf;
	return 0;
}

/* The file outlives its mappings, so no leaf is left here. */
static int ktp_release(struct inode *inode, struct file *file)
{
	struct buffer *buf = file->private_data;
	struct ktp_storm args;

	storm_stop(buf, &args);
	do_go(buf);
	do_unhold(buf);
	check_old(buf, 0, true);
	backing_put(buf->now);
	kvfree(buf->faults);
	kvfree(buf->mkwrites);
	file->f_mapping = inode->i_mapping;
	kfree(buf);
	return 0;
}

static const struct file_operations ktp_fops = {
	.owner		= THIS_MODULE,
	.open		= ktp_open,
	.release	= ktp_release,
	.mmap		= ktp_mmap,
	.unlocked_ioctl	= ktp_ioctl,
	.llseek		= noop_llseek,
};

static struct miscdevice ktp_device = {
	.minor	= MISC_DYNAMIC_MINOR,
	.name	= "kvm_test_pages",
	.fops	= &ktp_fops,
	.mode	= 0600,
};

/* Memory that the device tree names and the kernel does not have: mem= was given. */
static void find_hidden(void)
{
	const unsigned long want = SZ_64M >> PAGE_SHIFT, align = HPAGE_PMD_NR;
	struct device_node *np;
	struct resource res;
	int i;

	for_each_node_by_type(np, "memory") {
		for (i = 0; !of_address_to_resource(np, i, &res); i++) {
			unsigned long end = PHYS_PFN(res.end + 1);
			unsigned long first = end;

			/* The hidden part is the upper one. */
			while (first > PHYS_PFN(res.start) && end - first < want &&
			       !pfn_valid(first - 1) && !page_is_ram(first - 1))
				first--;
			first = ALIGN(first, align);
			if (first < end && end - first > hidden.nr) {
				hidden.base = first;
				hidden.nr = end - first;
			}
		}
	}
}

static void find_mmio(void)
{
	struct device_node *np = of_find_compatible_node(NULL, NULL, "arm,pl031");
	struct resource res;

	if (np && !of_address_to_resource(np, 0, &res))
		mmio_pfn = PHYS_PFN(res.start);
	of_node_put(np);
}

static void is_guest_fault(struct tracepoint *tp, void *unused)
{
	if (!strcmp(tp->name, "kvm_guest_fault"))
		guest_fault = tp;
}

static int __init ktp_init(void)
{
	int err;

	for_each_kernel_tracepoint(is_guest_fault, NULL);
	find_mmio();
	find_hidden();
	if (hidden.nr) {
		hidden.used = bitmap_zalloc(hidden.nr, GFP_KERNEL);
		if (!hidden.used)
			return -ENOMEM;
	}
	err = misc_register(&ktp_device);
	if (err)
		bitmap_free(hidden.used);
	else
		pr_info("%lu hidden pages at pfn %#lx, MMIO at pfn %#lx\n",
			hidden.nr, hidden.base, mmio_pfn);
	return err;
}

static void __exit ktp_exit(void)
{
	misc_deregister(&ktp_device);
	bitmap_free(hidden.used);
}

module_init(ktp_init);
module_exit(ktp_exit);
MODULE_DESCRIPTION("Buffers with unusual pages for the KVM selftests");
MODULE_LICENSE("GPL");
