// SPDX-License-Identifier: GPL-2.0-only
/*
 * Descriptors of memory that the host shares with the secure world.
 *
 * Owns where in such a descriptor the list of ranges is, and how long it may be.
 * Each number in it is the host's, or that of a secure world which repeats what the
 * host said: the descriptor is in EL2's memory already, and nothing outside of it is
 * touched because of what it says, not even by speculation. It may not share or send
 * anything: that is ffa.c's business.
 */

#include <linux/align.h>
#include <linux/arm_ffa.h>
#include <linux/nospec.h>
#include <linux/overflow.h>

#include <nvhe/ffa_desc.h>

/**
 * ffa_desc_ranges() - Find the ranges that a descriptor lists.
 * @desc: the descriptor, in EL2's memory.
 * @len: bytes of it that are there.
 * @version: of FF-A, as negotiated.
 * @nr: how many ranges there are in @len, on success.
 *
 * The layout is that of DEN0077A, "Memory management": an array of endpoints, whose
 * first one says where the composite region is, whose tail are the ranges.
 *
 * Return: the first range; NULL when the array or the region is not within @len, when
 * the array begins elsewhere than behind the header, where the secure world would
 * look as well, when the region is not aligned as its type is, or when @len ends
 * within a range.
 */
struct ffa_mem_region_addr_range *ffa_desc_ranges(void *desc, u32 len, u32 version,
						  u32 *nr)
{
	struct ffa_mem_region_attributes *ep;
	struct ffa_composite_mem_region *reg;
	u32 ep_offset, end;

	if (len < sizeof(struct ffa_mem_region))
		return NULL;
	/* Not all bases have a name for this. */
	if (version > FFA_VERSION_1_0 &&
	    ((struct ffa_mem_region *)desc)->ep_mem_offset != sizeof(struct ffa_mem_region))
		return NULL;

	ep_offset = ffa_mem_desc_offset(desc, 0, version);
	if (check_add_overflow(ep_offset, (u32)sizeof(*ep), &end) || end > len)
		return NULL;
	ep = desc + array_index_nospec(ep_offset, len);

	if (!ep->composite_off || !IS_ALIGNED(ep->composite_off, sizeof(u64)) ||
	    check_add_overflow(ep->composite_off, (u32)sizeof(*reg), &end) || end > len ||
	    (len - end) % sizeof(reg->constituents[0]))
		return NULL;
	reg = desc + array_index_nospec(ep->composite_off, len);
	*nr = (len - end) / sizeof(reg->constituents[0]);

	return *nr <= reg->addr_range_cnt ? reg->constituents : NULL;
}
