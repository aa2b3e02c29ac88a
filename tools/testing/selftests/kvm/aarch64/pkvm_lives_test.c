// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the lives of many VMs leave behind (I7; S48): each creates a VM, runs it and ends
 * it, and a little that is lost each time adds up. The host's free memory, its caches
 * and what kmemleak finds, and EL2's pages where the kernel shows them.
 *
 * PKVM_LIVES_SECONDS=N: for how long (default: FEW_LIVES VMs).
 * PKVM_EL2_DEBUG=1: the kernel shows what EL2 uses, and must.
 */
#include <fcntl.h>
#include <time.h>
#include <unistd.h>
#include <linux/psci.h>
#include <linux/sizes.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "kselftest_harness.h"
#include "kvm_util.h"
#include "processor.h"
#include "pkvm.h"
#include "held.h"

#define TIMEOUT		7200
#define FEW_LIVES	16
#define WORKERS		8	/* a VM waits most of its life for others to look away */
#define EL2_PAGES	"/sys/kernel/debug/kvm/pkvm_el2_pages"
#define KMEMLEAK	"/sys/kernel/debug/kmemleak"
#define MAX_CACHES	512

struct cache {
	char name[40];
	long objects;
};

/* Numbers that grow when something is lost, but the first. */
struct footprint {
	long free_kb;
	long kernel_kb;
	long el2_owned, el2_used;
	int nr_caches;
	struct cache caches[MAX_CACHES];
};

static void read_caches(struct footprint *fp)
{
	FILE *f = fopen("/proc/slabinfo", "r");
	char line[512];

	fp->nr_caches = 0;
	while (f && fp->nr_caches < MAX_CACHES && fgets(line, sizeof(line), f)) {
		struct cache *c = &fp->caches[fp->nr_caches];

		fp->nr_caches += sscanf(line, "%39s %ld", c->name, &c->objects) == 2;
	}
	if (f)
		fclose(f);
}

static void read_footprint(struct footprint *fp)
{
	static const char * const kernel[] = {
		"SUnreclaim", "KernelStack", "PageTables", "SecPageTables", "VmallocUsed",
		"Percpu",
	};
	int i, same = 0;
	long now;

	/* What is a cache, or is freed once all CPUs have looked, is not lost. */
	write_text("/proc/sys/vm/drop_caches", "3");
	for (fp->free_kb = 0, i = 0; i < 30 && same < 4; i++, same++) {
		sleep(1);
		now = pkvm_free_kb();
		if (now > fp->free_kb + 256)
			same = 0;
		fp->free_kb = max(fp->free_kb, now);
	}
	for (fp->kernel_kb = 0, i = 0; i < ARRAY_SIZE(kernel); i++)
		fp->kernel_kb += pkvm_proc_value("/proc/meminfo", kernel[i]);
	if (!access(EL2_PAGES, R_OK)) {
		fp->el2_owned = pkvm_proc_value(EL2_PAGES, "owned");
		fp->el2_used = pkvm_proc_value(EL2_PAGES, "used");
	}
	read_caches(fp);
}

static long objects_of(const struct footprint *fp, const char *name)
{
	int i;

	for (i = 0; i < fp->nr_caches; i++) {
		if (!strcmp(fp->caches[i].name, name))
			return fp->caches[i].objects;
	}
	return 0;
}

/* Of one KVM knows: whoever else lost something did so without us. */
static bool kmemleak_found_ours(void)
{
	char line[256], object[256] = "";
	FILE *f = fopen(KMEMLEAK, "r");
	bool ours = false;

	while (f && fgets(line, sizeof(line), f)) {
		if (!strncmp(line, "unreferenced", 12))
			snprintf(object, sizeof(object), "%s", line);
		if (!strstr(line, "kvm") || !object[0])
			continue;
		printf("# %s# %s", object, line);
		object[0] = 0;
		ours = true;
	}
	if (f)
		fclose(f);
	return ours;
}

/* The life of a VM: vCPUs that the guest turns on, memory that it has and that it lends. */
static void live(int nr)
{
	struct pkvm_opts opts = {
		.nr_vcpus = 2, .mem_size = SZ_2M, .ordinary = nr % 4 == 3,
		.backing = nr % 16 == 1 ? PKVM_THP : nr & 1 ? PKVM_ANON : PKVM_MEMFD,
	};
	struct pkvm_vm *vm = pkvm_vm_create(&opts);
	struct pkvm_vcpu *vcpu = pkvm_vcpu0(vm);

	pkvm_must(vcpu, guest_fill, PKVM_MEM_IPA, SZ_16K, nr);
	if (!vm->ordinary) {
		TEST_ASSERT(!(int)pkvm_must(vcpu, guest_hvc, PSCI_0_2_FN64_CPU_ON, 1,
					    (uintptr_t)pkvm_guest_entry,
					    (uintptr_t)&pkvm_guest_cpus[1]), "CPU_ON failed");
		pkvm_must(&vm->vcpus[1], guest_fill, PKVM_MEM_IPA + SZ_1M, SZ_16K, nr);
		pkvm_must(vcpu, guest_hvc, PKVM_HVC_SHARE, PKVM_MEM_IPA);
		pkvm_must(vcpu, guest_hvc, PKVM_HVC_SHARE, PKVM_MEM_IPA + SZ_4K);
		pkvm_must(vcpu, guest_hvc, PKVM_HVC_UNSHARE, PKVM_MEM_IPA);
		pkvm_must(vcpu, guest_hvc, PKVM_HVC_GUARD_MAP, PKVM_DEV_IPA);
	}
	pkvm_vm_free(vm);
}

/* What the workers have in common. */
static struct {
	long lives[WORKERS];
	bool stop;
} *common;

static void work(int me)
{
	long vmlck = pkvm_vmlck_kb();

	while (!READ_ONCE(common->stop)) {
		live(me + common->lives[me]);
		TEST_ASSERT(pkvm_vmlck_kb() == vmlck, "VmLck: %ld, then %ld kB", vmlck,
			    pkvm_vmlck_kb());
		WRITE_ONCE(common->lives[me], common->lives[me] + 1);
	}
	_exit(0);
}

/* So many lives, and as many more as there is time for; how many, or -1. */
static long many_lives(long least, time_t until)
{
	int i, status, bad = 0;
	long lives;

	memset(common, 0, sizeof(*common));
	for (i = 0; i < WORKERS; i++) {
		pid_t pid = fork();

		TEST_ASSERT(pid >= 0, "cannot fork");
		if (!pid)
			work(i);
	}
	do {
		usleep(20000);
		for (lives = 0, i = 0; i < WORKERS; i++)
			lives += READ_ONCE(common->lives[i]);
		/* None ends by itself but in a failure. */
		bad += waitpid(-1, &status, WNOHANG) > 0;
	} while (!bad && (lives < least || time(NULL) < until));
	WRITE_ONCE(common->stop, true);
	while (wait(&status) > 0)
		bad += !WIFEXITED(status) || WEXITSTATUS(status);
	for (lives = 0, i = 0; i < WORKERS; i++)
		lives += common->lives[i];
	return bad ? -1 : lives;
}

FIXTURE(lives) {
	struct pkvm_counters before;
};

FIXTURE_SETUP(lives)
{
	const char *why = pkvm_unavailable();

	if (why)
		SKIP(return, "%s", why);
	pkvm_counters_read(&self->before);
}

FIXTURE_TEARDOWN(lives)
{
	EXPECT_TRUE(pkvm_counters_back(&self->before, -1));
}

/*
 * The first lives fill what the kernel keeps for later. From then on half a KiB a life
 * is more than there may be, as is one object of a cache in every fourth.
 */
TEST_F_TIMEOUT(lives, i7_nothing_is_left, TIMEOUT)
{
	static struct footprint before, after;
	long seconds = pkvm_env("PKVM_LIVES_SECONDS", 0), slack_kb, first, lives;
	time_t start = time(NULL);
	int i;

	common = mmap(NULL, sizeof(*common), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(common, MAP_FAILED);
	first = many_lives(FEW_LIVES / 2, start + seconds / 5);
	ASSERT_GT(first, 0);
	read_footprint(&before);
	/* What was lost before is not asked for, nor is what has just been made. */
	write_text(KMEMLEAK, "scan");
	write_text(KMEMLEAK, "clear");
	lives = many_lives(FEW_LIVES, start + seconds);
	ASSERT_GT(lives, 0);
	read_footprint(&after);

	TH_LOG("%ld lives after %ld", lives, first);
	TH_LOG("free: %ld, then %ld kB; the kernel's: %ld, then %ld kB", before.free_kb,
	       after.free_kb, before.kernel_kb, after.kernel_kb);
	TH_LOG("EL2's: %ld pages in use, then %ld of %ld", before.el2_used, after.el2_used,
	       after.el2_owned);
	slack_kb = SZ_1M / SZ_1K + lives / 2;
	EXPECT_GE(after.free_kb, before.free_kb - slack_kb);
	EXPECT_LE(after.kernel_kb, before.kernel_kb + slack_kb);
	for (i = 0; i < after.nr_caches; i++) {
		struct cache *c = &after.caches[i];

		EXPECT_LE(c->objects, objects_of(&before, c->name) + 1000 + lives / 4) {
			TH_LOG("%s: %ld objects, then %ld", c->name,
			       objects_of(&before, c->name), c->objects);
		}
	}

	/* The host's table is EL2's, and has one more for each 2 MiB that is not all its own. */
	if (getenv("PKVM_EL2_DEBUG"))
		ASSERT_GT(after.el2_used, 0);
	EXPECT_EQ(after.el2_owned, before.el2_owned);
	EXPECT_LE(after.el2_used, before.el2_used + lives / 8 +
		  pkvm_proc_value("/proc/meminfo", "MemTotal") / (SZ_2M / SZ_1K));

	/* Objects that are some seconds old, and that two scans have not found. */
	if (access(KMEMLEAK, W_OK))
		return;
	for (i = 0; i < 2; i++) {
		sleep(6);
		write_text(KMEMLEAK, "scan");
	}
	EXPECT_FALSE(kmemleak_found_ours());
}

TEST_HARNESS_MAIN
