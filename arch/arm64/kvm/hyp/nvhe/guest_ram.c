// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which addresses of a protected guest are RAM.
 *
 * Owns the list of ranges that the host declares when it makes a VM, and what
 * follows from it: what is in a range is never a device's, so that no access to it
 * is shown to the host as MMIO; what is not never becomes memory. So no address is
 * the one now and the other later, and the host cannot have the first store to a
 * page before it gives the guest that page. It touches no table.
 */

#include <linux/kvm_host.h>

#include <asm/kvm_pkvm.h>

#include <nvhe/guest_ram.h>

/**
 * pkvm_init_guest_ram() - Take the ranges that the host declares.
 * @vm: the VM; its first bytes are a struct pkvm_guest_ram of the host's. It is EL2's
 *	memory already: what is read here does not change.
 *
 * Return: 0; -EINVAL for too many ranges, or one that is empty or beyond what can be
 * an address.
 */
int pkvm_init_guest_ram(struct pkvm_hyp_vm *vm)
{
	struct pkvm_guest_ram *ram = &vm->ram;
	unsigned int i;

	memmove(ram, vm, sizeof(*ram));

	if (ram->nr > PKVM_MAX_RAM_RANGES)
		return -EINVAL;

	for (i = 0; i < ram->nr; i++) {
		struct pkvm_ram_range *r = &ram->range[i];
		u64 max = BIT_ULL(64 - PAGE_SHIFT);

		if (!r->nr_pages || r->gfn >= max || r->nr_pages > max - r->gfn)
			return -EINVAL;
	}

	return 0;
}

/**
 * pkvm_guest_range_is_ram() - Has the host declared all of this to be RAM?
 * @vm: the VM; its ranges do not change any more.
 * @gfn: first guest frame.
 * @nr_pages: pages; the two do not wrap.
 *
 * Return: true if one range has all of it. The host merges ranges that touch.
 */
bool pkvm_guest_range_is_ram(const struct pkvm_hyp_vm *vm, u64 gfn, u64 nr_pages)
{
	const struct pkvm_guest_ram *ram = &vm->ram;
	unsigned int i;

	for (i = 0; i < ram->nr; i++) {
		const struct pkvm_ram_range *r = &ram->range[i];

		if (gfn >= r->gfn && gfn - r->gfn < r->nr_pages &&
		    nr_pages <= r->nr_pages - (gfn - r->gfn))
			return true;
	}

	return false;
}
