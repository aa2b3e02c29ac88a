// SPDX-License-Identifier: GPL-2.0-only
/*
 * Does TLB invalidation by address work for EL2's own mappings?
 *
 * Owns one boot-time test and its result. Some emulated CPUs ignore TLBI VALE2IS
 * when EL2 runs with HCR_EL2.E2H set (QEMU 7.2 does). EL2's fixmap then keeps
 * showing the page that it showed first, and a page that is to be cleared on its
 * way back to the host stays as it is while another one is wiped. So look, and
 * invalidate everything where the address is not enough.
 */

#include <asm/kvm_hyp.h>
#include <asm/kvm_mmu.h>

#include <nvhe/memory.h>
#include <nvhe/mm.h>

bool hyp_tlbi_va_broken;

static u64 read_through_fixmap(void *va)
{
	u64 val = READ_ONCE(*(u64 *)hyp_fixmap_map(hyp_virt_to_phys(va)));

	hyp_fixmap_unmap();

	return val;
}

/**
 * hyp_probe_tlbi() - Find out, once, whether the fixmap can be trusted.
 * @zeroes: EL2 address of a page of EL2's that starts with zeroes.
 *
 * Called on the boot CPU before the host is deprivileged, with the fixmap set up.
 */
void hyp_probe_tlbi(void *zeroes)
{
	void *text = (void *)ALIGN_DOWN((unsigned long)__hyp_text_start, PAGE_SIZE);

	/* Two pages that differ; if they did not, nothing would be shown. */
	if (read_through_fixmap(text) && !read_through_fixmap(zeroes))
		return;

	hyp_tlbi_va_broken = true;
	/* The TLB still has the text there, and whoever comes next may write. */
	hyp_fixmap_unmap();
}
