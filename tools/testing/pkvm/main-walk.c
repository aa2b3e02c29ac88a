// SPDX-License-Identifier: GPL-2.0-only
/*
 * The walks from the command line.
 *
 *	walk [--ffa] [--steps N] [--seed N]
 *
 * Says where it was when something is wrong: the same arguments lead there again.
 */
#include <getopt.h>

#include "walk.h"

#define STEPS_PER_BOOT	4000

static const struct walk *walk = &walk_calls;
static unsigned long seed = 1, steps = 2000, step;

static void where(void)
{
	fprintf(stderr, "at step %lu of: walk%s --seed %lu --steps %lu\n", step,
		walk == &walk_ffa ? " --ffa" : "", seed, step + 1);
}

void __asan_on_error(void)
{
	where();
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "steps", required_argument, NULL, 'n' },
		{ "seed", required_argument, NULL, 's' },
		{ "ffa", no_argument, NULL, 'f' },
		{ }
	};
	struct random r = { 0 };
	const char *wrong;
	int c;

	while ((c = getopt_long(argc, argv, "n:s:f", options, NULL)) != -1) {
		if (c == 'n')
			steps = strtoul(optarg, NULL, 0);
		else if (c == 's')
			seed = strtoul(optarg, NULL, 0);
		else if (c == 'f')
			walk = &walk_ffa;
		else
			return 2;
	}
	fake_where = where;
	wrong = fake_lock_ranks(OWNERSHIP_H);
	if (wrong)
		die("the order of the locks in ownership.h: %s", wrong);
	r.state = seed * 0x9e3779b97f4a7c15UL + 1;
	for (step = 0; step < steps; step++) {
		if (!(step % STEPS_PER_BOOT)) {
			if (step)
				walk->end();
			walk->boot(&r);
		}
		walk->step(&r);
	}
	walk->end();
	printf("# %lu steps of %s, seed %lu\n", steps, walk->name, seed);

	return 0;
}
