// SPDX-License-Identifier: GPL-2.0-only
/*
 * A walk as a target of libFuzzer: its bytes choose the machine and each step, and
 * the model is the oracle. Which walk, the Makefile says in WALK. Built only where
 * clang is.
 */
#include "walk.h"

#define MAX_STEPS	400

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	struct random r = { .data = data, .left = size };
	const char *wrong = fake_lock_ranks(OWNERSHIP_H);

	if (wrong)
		die("the order of the locks in ownership.h: %s", wrong);
	if (!size)
		return 0;
	WALK.boot(&r);
	for (int i = 0; i < MAX_STEPS && WALK.step(&r); i++)
		;
	WALK.end();

	return 0;
}
