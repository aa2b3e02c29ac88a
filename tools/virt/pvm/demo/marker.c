// SPDX-License-Identifier: GPL-2.0-only
/*
 * The bytes that begin each cell of the demo's secret.
 *
 * They are made at run time: they must stand in no file, or the search in
 * guest memory would find the copy of a program and prove nothing. For the
 * same reason they must never be printed in the guest.
 */
#include <linux/compiler.h>

#include "marker.h"

static const u8 masked[MARKER_LEN] = {
	0xa5, 0xd1, 0x33, 0x3c, 0x26, 0xc5, 0x6f, 0x7a,
	0xa6, 0xb5, 0x56, 0xbf, 0x57, 0xed, 0x18, 0x05,
};

/* Read with READ_ONCE, or the compiler would compute the result and store it. */
static u8 mask = 0xa7;

void marker_make(u8 *out)
{
	int i;

	for (i = 0; i < MARKER_LEN; i++)
		out[i] = masked[i] ^ (u8)(READ_ONCE(mask) + 29 * i);
}
