/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Follow a gfn or a hva to the pfn behind it, and own what was taken on the way.
 *
 * One structure asks, another one answers and owns: it says which page is held
 * and how, and gives it up when it goes out of scope. What a pfn looks like
 * says nothing about who holds it; only the answer does. See
 * virt/kvm/follow_pfn.c for the rules.
 */
#ifndef _LINUX_KVM_FOLLOW_PFN_H
#define _LINUX_KVM_FOLLOW_PFN_H

#include <linux/cleanup.h>
#include <linux/kvm_host.h>
#include <linux/mm.h>

/**
 * enum kvm_hold - How a page is held.
 * @KVM_HOLD_NONE: not at all. The pfn may be used under mmu_lock, after the
 *	invalidation retry check, and in a mapping that the mmu notifier undoes.
 * @KVM_HOLD_GET: a reference. The page stays what it is, but its contents
 *	are the business of those who map it, not of the kernel (C15).
 * @KVM_HOLD_PIN: a pin: the kernel itself reads or writes the contents.
 * @KVM_HOLD_LONGTERM: a pin for as long as the guest wants; the caller has paid
 *	for it (account_locked_vm()).
 * @KVM_HOLD_BY_PFN: as asked for by gfn_to_pfn() alone, whose callers release
 *	by pfn: a reference, and what cannot be released that way is refused.
 */
enum kvm_hold {
	KVM_HOLD_NONE,
	KVM_HOLD_GET,
	KVM_HOLD_PIN,
	KVM_HOLD_LONGTERM,
	KVM_HOLD_BY_PFN,
};

/**
 * enum kvm_follow_source - Where an answer comes from.
 * @KVM_FOLLOW_FAST: fast GUP.
 * @KVM_FOLLOW_SLOW: GUP, after a fault if need be.
 * @KVM_FOLLOW_SPECIAL: the page tables of a VM_IO or VM_PFNMAP mapping, whose
 *	memory is never held.
 */
enum kvm_follow_source {
	KVM_FOLLOW_FAST,
	KVM_FOLLOW_SLOW,
	KVM_FOLLOW_SPECIAL,
};

/**
 * struct kvm_follow_pfn - What to look up.
 * @slot: the memslot, NULL when none covers @gfn. Unused with kvm_follow_hva().
 * @gfn: guest frame number. With kvm_follow_hva() for the trace only.
 * @foll: FOLL_WRITE, FOLL_NOWAIT, FOLL_INTERRUPTIBLE, FOLL_GUEST. Never
 *	FAULT_FLAG_*, and never the flags that follow from @hold.
 * @hold: how to hold the page. GET is granted as NONE for special memory; a pin
 *	is refused there.
 * @upgrade: a read that may be answered with a writable page if that costs no
 *	fault. Not with a pin.
 * @special: the VMA was VM_IO or VM_PFNMAP a moment ago: look there first. A
 *	hint; a wrong one costs time only.
 */
struct kvm_follow_pfn {
	struct kvm_memory_slot *slot;
	gfn_t gfn;
	unsigned int foll;
	enum kvm_hold hold;
	bool upgrade;
	bool special;
};

/**
 * struct kvm_followed_pfn - What was found, and what is owned.
 * @pfn: host page frame number; an error pfn unless the lookup returned 0.
 * @page: the page that this structure holds, NULL when it holds none.
 * @hold: how @page is held; KVM_HOLD_NONE without @page.
 * @source: where it was found.
 * @writable: may be mapped writable. True for each write.
 * @pgprot: protection and memory type of the host's leaf; only with
 *	KVM_FOLLOW_SPECIAL.
 * @hva: the host virtual address that was followed.
 *
 * To be declared with __free(kvm_followed_pfn): whatever was neither committed
 * nor taken is released, unused, on every way out.
 */
struct kvm_followed_pfn {
	kvm_pfn_t pfn;
	struct page *page;
	enum kvm_hold hold;
	enum kvm_follow_source source;
	bool writable;
	pgprot_t pgprot;
	hva_t hva;
};

int kvm_follow_pfn(const struct kvm_follow_pfn *kfp, struct kvm_followed_pfn *found);
int kvm_follow_hva(const struct kvm_follow_pfn *kfp, hva_t hva,
		   struct kvm_followed_pfn *found);
int kvm_follow_mapped(const struct kvm_follow_pfn *kfp, struct vm_area_struct *vma,
		      hva_t hva, struct kvm_followed_pfn *found);

int kvm_follow_to_map(struct kvm *kvm, gfn_t gfn, struct kvm_followed_pfn *found);
void kvm_unpin_mapped(struct page *page, bool dirty);

void kvm_release_held(struct page *page, enum kvm_hold hold);
void kvm_put_followed(struct kvm_followed_pfn *found, bool dirty);

/**
 * kvm_take_followed() - Take the hold out of an answer.
 * @found: the answer; holds nothing any more.
 *
 * Return: the page, NULL if none was held. The caller owns the hold now.
 */
static inline struct page *kvm_take_followed(struct kvm_followed_pfn *found)
{
	struct page *page = found->page;

	found->page = NULL;
	found->hold = KVM_HOLD_NONE;

	return page;
}

/**
 * kvm_release_followed() - Give up what an answer holds; it was not used.
 * @found: the answer; holds nothing any more.
 *
 * In any context that may put a page.
 */
static inline void kvm_release_followed(struct kvm_followed_pfn *found)
{
	enum kvm_hold hold = found->hold;
	struct page *page = kvm_take_followed(found);

	if (page)
		kvm_release_held(page, hold);
}

DEFINE_FREE(kvm_followed_pfn, struct kvm_followed_pfn, kvm_release_followed(&_T))

/**
 * kvm_commit_followed() - The guest has the page mapped now: let go of it.
 * @kvm: the VM, with mmu_lock held since before the retry check.
 * @found: the answer; holds nothing any more.
 * @dirty: the guest may write it.
 *
 * Under the lock, because a file system may write a page back, and expect nobody
 * to dirty it afterwards, as soon as the notifier has run.
 */
static inline void kvm_commit_followed(struct kvm *kvm,
				       struct kvm_followed_pfn *found, bool dirty)
{
	lockdep_assert_held(&kvm->mmu_lock);
	if (found->page)
		kvm_put_followed(found, dirty);
}

#endif /* _LINUX_KVM_FOLLOW_PFN_H */
