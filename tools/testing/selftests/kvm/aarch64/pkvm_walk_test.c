// SPDX-License-Identifier: GPL-2.0-only
/*
 * A random walk in the machine (I1): calls to EL2, valid, stale and malformed, and what
 * guests ask for, in an order that nobody chose. A model says beforehand what each must
 * give; after every few calls the tables of EL2 are compared with it, and at the end every
 * page of the machine is whose it was at the start.
 *
 * i1_one_cpu makes all calls from one thread, on several CPUs, and takes the same way
 * each time with the same seed. i1_all_cpus has a walk on each CPU, which fight for some
 * pages.
 *
 * PKVM_WALK_SECONDS=N: for how long each of the two (default 4).
 * PKVM_SEED=N: which way.
 *
 * Needs a kernel with NVHE_EL2_DEBUG: others do not show their tables.
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "kvm_util.h"
#include "processor.h"
#include "pageref.h"
#include "walk.h"

#define TIMEOUT		7200
#define ORDER		10		/* of WALK_PAGES */
#define ROUND_MS	250		/* between two looks at what is common */
#define STEPS		5000		/* that are enough to have done everything */

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static double seconds(void)
{
	return pkvm_env("PKVM_WALK_SECONDS", 4);
}

static void stay_on(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	TEST_ASSERT(!sched_setaffinity(0, sizeof(set), &set), "cannot stay on CPU %d", cpu);
}

static unsigned int nr_cpus(void)
{
	unsigned int nr = sysconf(_SC_NPROCESSORS_ONLN);

	return nr < WALK_CPUS ? nr : WALK_CPUS;
}

static struct walk *make_walk(int cpu, unsigned int cpus)
{
	struct walk *w = calloc(1, sizeof(*w));

	TEST_ASSERT(w, "no memory");
	w->seed = pkvm_pattern(pkvm_seed(), cpu);
	w->cpu = cpu;
	w->nr_cpus = cpus;
	w->el2 = walk_find_el2();
	w->hole = walk_find_hole();
	w->first = khh_page_alloc(ORDER);
	return w;
}

static void tell(const struct walk *w)
{
	printf("# CPU %d: %lu steps, %lu calls done, %lu refused, %lu by guests, %lu VMs\n",
	       w->cpu, w->steps, w->done, w->refused, w->guest, w->vms);
}

FIXTURE(walk) {
	uint64_t before[KED_NR_OWNERS];
	int klog;
};

FIXTURE_SETUP(walk)
{
	const char *why = walk_unavailable();

	if (why)
		SKIP(return, "%s", why);
	self->klog = klog_open();
	walk_count(self->before);
	ASSERT_GT(self->before[KED_OF_HYP], 0);
}

/* Nothing has leaked, and nobody has complained. */
FIXTURE_TEARDOWN(walk)
{
	static const char *const whose[] = {
		"the host's", "EL2's", "the secure world's", "guests'", "shared", "borrowed",
	};
	uint64_t after[KED_NR_OWNERS];
	const char *bad;
	int i, tries;

	if (ked_dev < 0)
		return;
	/* The last of a VM is freed after a grace period. */
	for (tries = 0; tries < 30; tries++) {
		walk_count(after);
		if (!memcmp(after, self->before, sizeof(after)))
			break;
		usleep(100000);
	}
	for (i = 0; i < KED_NR_OWNERS; i++) {
		EXPECT_EQ(after[i], self->before[i]) {
			TH_LOG("pages that are %s", whose[i]);
		}
	}
	bad = klog_complaint(self->klog);
	EXPECT_EQ(bad, NULL) {
		TH_LOG("the kernel says: %s", bad);
	}
	close(self->klog);
	walk_close();
}

TEST_F_TIMEOUT(walk, i1_one_cpu, TIMEOUT)
{
	struct walk *w = make_walk(0, nr_cpus());
	double end;

	stay_on(0);
	w->alone = true;
	walk_begin(w);
	/* On a busy machine until each kind of step was taken, if that takes longer. */
	end = now() + seconds();
	while (now() < end || (w->steps < STEPS && !(w->done && w->refused && w->guest)))
		walk_step(w);
	walk_end(w);
	tell(w);
	EXPECT_GT(w->done, 0);
	EXPECT_GT(w->refused, 0);
	EXPECT_GT(w->guest, 0);
	khh_page_free(w->first);
	free(w);
}

/* -------------------------------------------------------------- on all CPUs */

struct crowd {
	struct walk *walk[WALK_CPUS];
	unsigned int nr;
	pthread_barrier_t barrier;
	double end;
	atomic_bool over;
};

struct walker {
	struct crowd *crowd;
	unsigned int me;
	pthread_t tid;
};

static void *walker(void *arg)
{
	struct walker *r = arg;
	struct crowd *c = r->crowd;
	struct walk *w = c->walk[r->me];
	const char *wrong;
	double round;

	stay_on(w->cpu);
	walk_begin(w);
	do {
		round = now() + ROUND_MS / 1000.0;
		do
			walk_step(w);
		while (now() < round);
		walk_check(w, true);
		pthread_barrier_wait(&c->barrier);
		if (!r->me) {
			wrong = walk_common_wrong(c->walk, c->nr);
			TEST_ASSERT(!wrong, "PKVM_SEED=%lu: %s", pkvm_seed(), wrong);
			c->over = now() >= c->end;
		}
		pthread_barrier_wait(&c->barrier);
	} while (!c->over);
	walk_end(w);
	return NULL;
}

TEST_F_TIMEOUT(walk, i1_all_cpus, TIMEOUT)
{
	struct walker r[WALK_CPUS];
	struct crowd c = { .nr = nr_cpus(), .end = now() + seconds() };
	uint64_t common;
	unsigned int i;

	if (c.nr < 2)
		SKIP(return, "needs two CPUs");
	common = khh_page_alloc(3);
	for (i = 0; i < c.nr; i++) {
		c.walk[i] = make_walk(i, 1);
		c.walk[i]->common = common;
	}
	ASSERT_EQ(pthread_barrier_init(&c.barrier, NULL, c.nr), 0);
	for (i = 0; i < c.nr; i++) {
		r[i] = (struct walker) { .crowd = &c, .me = i };
		ASSERT_EQ(pthread_create(&r[i].tid, NULL, walker, &r[i]), 0);
	}
	for (i = 0; i < c.nr; i++)
		pthread_join(r[i].tid, NULL);
	for (i = 0; i < WALK_COMMON; i++) {
		hvc(KHH_pkvm_host_unshare_hyp, common + i);
		EXPECT_TRUE(khh_page_is_alone(common + i));
	}
	khh_page_free(common);
	for (i = 0; i < c.nr; i++) {
		tell(c.walk[i]);
		khh_page_free(c.walk[i]->first);
		free(c.walk[i]);
	}
}

/* ------------------------------------------------------- is the model looked at? */

#define SEES(what, ...) do {						\
	__typeof__(what) *__p = &(what), __was = *__p;			\
									\
	*__p = __VA_ARGS__;						\
	EXPECT_NE(walk_difference(w, false), NULL) {			\
		TH_LOG("not seen: %s is %s", #what, #__VA_ARGS__);	\
	}								\
	*__p = __was;							\
	EXPECT_EQ(walk_difference(w, false), NULL);			\
} while (0)

/* A model that is wrong is found to be, in each thing that it says. */
TEST_F_TIMEOUT(walk, i1_comparison_sees_all, TIMEOUT)
{
	struct walk *w = make_walk(0, 1);
	struct wvm *a, *p;
	struct wslot *s;
	int i;

	stay_on(0);
	w->alone = true;
	walk_begin(w);
	a = &w->vm[0];
	p = &w->vm[WALK_VMS - 1];
	ASSERT_EQ(hvc(KHH_pkvm_host_share_hyp, w->first), 0);
	w->page[0].el2 = true;
	ASSERT_EQ(khh_share(pkvm_vcpu0(a->vm), w->first + 1, WALK_GFN + 1, 1, KHH_RW), 0);
	w->page[1].maps = 1;
	a->slot[1] = (struct wslot) { W_LEAF, true, false, true, KHH_RW, w->first + 1 };
	for (i = 2; i < 5; i++) {
		ASSERT_EQ(khh_donate(pkvm_vcpu0(p->vm), w->first + i, WALK_GFN + i, 1), 0);
		w->page[i].guest = true;
		w->page[i].vm = p - w->vm;
		w->page[i].rel = i;
		p->slot[i] = (struct wslot) { W_LEAF, true, false, true, KHH_RWX,
					      w->first + i };
	}
	ASSERT_EQ(pkvm_must(pkvm_vcpu0(p->vm), guest_hvc, PKVM_HVC_SHARE,
			    (WALK_GFN + 3) * WALK_PAGE, 0, 0), 0);
	w->page[3].lent = true;
	p->slot[3].lent = true;
	ASSERT_EQ(hvc(KHH_pkvm_host_force_reclaim, w->first + 4), 0);
	w->page[4] = (struct wpage) {};
	p->slot[4] = (struct wslot) { .kind = W_POISON };
	ASSERT_EQ(walk_difference(w, true), NULL);

	SEES(w->page[0].el2, false);
	SEES(w->page[5].el2, true);
	SEES(w->page[1].maps, 0);
	SEES(w->page[1].maps, 2);
	SEES(w->page[5].maps, 1);
	SEES(w->blocks[0], 1);
	SEES(w->page[2].guest, false);
	SEES(w->page[2].rel, 6);
	SEES(w->page[2].vm, WALK_VMS - 2);
	SEES(w->page[2].lent, true);
	SEES(w->page[3].lent, false);
	SEES(w->page[5].guest, true);
	s = &a->slot[1];
	SEES(s->kind, W_NONE);
	SEES(s->kind, W_BLOCK);
	SEES(s->pfn, w->first);
	SEES(s->young, false);
	SEES(s->prot, KHH_R);
	SEES(s->prot, KHH_RWX);
	SEES(s->prot, KHH_RW | KHH_DEV);
	SEES(s->prot, KHH_RW | KHH_NC);
	SEES(p->slot[3].lent, false);
	SEES(p->slot[2].lent, true);
	SEES(p->slot[4].kind, W_NONE);
	SEES(p->slot[5].kind, W_POISON);
	SEES(p->device[0], true);
	walk_end(w);
	khh_page_free(w->first);
	free(w);
}

TEST_HARNESS_MAIN
