/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the walks draw: implemented in walk.c. A walk is the same again with the same
 * seed, or with the same bytes of a fuzzer.
 */
#ifndef __PKVM_TEST_WALK_H
#define __PKVM_TEST_WALK_H

#include "model.h"

struct random {
	u64 state;
	const u8 *data;		/* of a fuzzer, or NULL */
	size_t left;
};

/**
 * struct walk - A walk.
 * @name: its name.
 * @boot: starts it: a machine of some kind.
 * @step: takes one step; false when there is nothing left to draw from.
 * @end: takes down what the walk has built: nothing may stay with EL2.
 */
struct walk {
	const char *name;
	void (*boot)(struct random *r);
	bool (*step)(struct random *r);
	void (*end)(void);
};

/* walk.c, the calls of the host and of guests; walk-ffa.c, those and FF-A */
extern const struct walk walk_calls, walk_ffa;

u64 draw(struct random *r);
u64 below(struct random *r, u64 n);
bool one_in(struct random *r, u64 n);
u64 wild(struct random *r);
u64 any_pfn(struct random *r);
u64 any_nr(struct random *r);
phys_addr_t free_pages(struct random *r, unsigned long size);
void walk_step_of(struct random *r, unsigned int cpu);

#endif /* __PKVM_TEST_WALK_H */
