// SPDX-License-Identifier: GPL-2.0-only
/*
 * Ordinary guests on memory that nobody refcounts, as drivers map it into their
 * VMM (VM_PFNMAP, VM_IO, VM_MIXEDMAP): the guest sees what the host sees (O5), as
 * long as it sees it and not longer (O2), and no page is referenced for it (O1, I9).
 * T1 to T9 and T14. Everything here is for ordinary guests in all modes (I10).
 *
 * The kinds of pages are those of test_modules/kvm_test_pages.h. Emulation has no
 * caches to be incoherent: that WC and device memory have the right type is read
 * from the stage-2 leaf, the contents would agree with any type.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#include <linux/compiler.h>
#include <linux/sizes.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "kselftest_harness.h"
#include "kvm_util.h"
#include "processor.h"
#include "ucall_common.h"
#include "pageref.h"

#define TIMEOUT		240
#define MAX_VCPUS	4
#define PAGE		4096UL
#define WORDS		(PAGE / sizeof(uint64_t))
#define SLOT		10
#define BUF_GPA		0x40000000UL
#define BUF_GVA		0x40000000UL
#define MAX_PAGES	1024
#define STORM_PAGES	32
#define STORM_MS	150	/* at least */
#define BLOCK		512UL		/* pages of a 2M block */

/* Fields of a stage-2 leaf. */
#define S2_MEMATTR(pte)	((pte) >> 2 & 0xf)
#define S2_DEVICE	0x1
#define S2_NORMAL_NC	0x5
#define S2_ADDR		GENMASK_ULL(47, 12)
#define S2_WRITE	BIT(7)

#define A64_MOVZ_X0(imm) (0xd2800000U | (imm) << 5)
#define A64_RET		0xd65f03c0U
#define NO_RETURN	(~0UL)

/* ------------------------------------------------------------- the guest */

enum op { OP_FILL, OP_CHECK, OP_LOAD, OP_STORE, OP_CODE, OP_EXEC, OP_STORM };

struct cmd {
	uint64_t op;
	uint64_t page;		/* first page of the buffer */
	uint64_t nr;
	uint64_t seed;		/* of the contents; the value of OP_STORE */
	uint64_t result;	/* bad words, or the value of OP_LOAD */
	uint64_t aborts;	/* instruction aborts of OP_EXEC */
	uint64_t rounds;	/* of OP_STORM */
	uint64_t stop;
	uint64_t expected[STORM_PAGES];	/* what the guest has stored last */
};

static struct cmd cmds[MAX_VCPUS];

static uint64_t pattern(uint64_t seed, uint64_t page, uint64_t i)
{
	return (seed << 48 | page << 16 | i) * 0x9e3779b97f4a7c15ULL;
}

static uint64_t *guest_page(uint64_t page)
{
	return (uint64_t *)(BUF_GVA + page * PAGE);
}

/* One word of each page is this vCPU's: nobody else changes it. */
static void guest_storm(struct cmd *c, int id)
{
	uint64_t p;

	while (!READ_ONCE(c->stop)) {
		for (p = 0; p < c->nr; p++) {
			uint64_t *word = guest_page(c->page + p) + 8 * (id + 1);

			if (READ_ONCE(*word) != c->expected[p])
				c->result++;
			WRITE_ONCE(*word, ++c->expected[p]);
		}
		c->rounds++;
	}
}

static void guest_run(struct cmd *c, int id)
{
	uint64_t p, i;

	for (p = c->page; p < c->page + c->nr && c->op != OP_STORM; p++) {
		uint64_t *at = guest_page(p);
		uint32_t *code = (uint32_t *)at;

		switch (c->op) {
		case OP_FILL:
			for (i = 0; i < WORDS; i++)
				WRITE_ONCE(at[i], pattern(c->seed, p, i));
			break;
		case OP_CHECK:
			for (i = 0; i < WORDS; i++)
				c->result += READ_ONCE(at[i]) != pattern(c->seed, p, i);
			break;
		case OP_LOAD:
			c->result = READ_ONCE(*at);
			break;
		case OP_STORE:
			WRITE_ONCE(*at, c->seed);
			break;
		case OP_CODE:
			WRITE_ONCE(code[0], A64_MOVZ_X0((uint32_t)(p + c->seed) & 0xffff));
			WRITE_ONCE(code[1], A64_RET);
			asm volatile("dc cvau, %0\n\tdsb ish\n\tic ivau, %0\n\tdsb ish\n\tisb"
				     : : "r"(at) : "memory");
			break;
		case OP_EXEC:
			c->result += ((uint64_t(*)(void))at)() != ((p + c->seed) & 0xffff);
			break;
		}
	}
	if (c->op == OP_STORM)
		guest_storm(c, id);
}

static void guest_main(int id)
{
	for (;;) {
		guest_run(&cmds[id], id);
		GUEST_SYNC(id);
	}
}

/* Came by a call: return to the caller with a value that no page returns. */
static void guest_iabt(struct ex_regs *regs)
{
	cmds[guest_get_vcpuid()].aborts++;
	regs->regs[0] = NO_RETURN;
	regs->pc = regs->regs[30];
}

/* -------------------------------------------------------------- the host */

struct guest {
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpu[MAX_VCPUS];
	struct cmd *cmd[MAX_VCPUS];
	char *area;		/* 2M-aligned room for MAX_PAGES pages */
	int log;
};

static void guest_create(struct guest *g)
{
	char *room;
	int i;

	g->log = klog_open();
	g->vm = vm_create_with_vcpus(MAX_VCPUS, guest_main, g->vcpu);
	vm_init_descriptor_tables(g->vm);
	/* The library's name: an abort from the guest's own level. */
	vm_install_sync_handler(g->vm, VECTOR_SYNC_CURRENT, ESR_EC_IABT, guest_iabt);
	for (i = 0; i < MAX_VCPUS; i++) {
		vcpu_init_descriptor_tables(g->vcpu[i]);
		vcpu_args_set(g->vcpu[i], 1, i);
		g->cmd[i] = addr_gva2hva(g->vm, (vm_vaddr_t)&cmds[i]);
	}
	virt_map(g->vm, BUF_GVA, BUF_GPA, MAX_PAGES);
	room = mmap(NULL, MAX_PAGES * PAGE + SZ_2M, PROT_NONE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	TEST_ASSERT(room != MAP_FAILED, "mmap: %s", strerror(errno));
	g->area = (char *)(((uintptr_t)room + SZ_2M - 1) & ~(SZ_2M - 1UL));
}

/* The kernel has nothing to say against how all this ended (O4). */
static const char *guest_end(struct guest *g)
{
	const char *complaint;

	if (g->vm)
		kvm_vm_free(g->vm);
	if (g->area)
		munmap(g->area, MAX_PAGES * PAGE);
	complaint = klog_complaint(g->log);
	close(g->log);
	return complaint;
}

static int set_slot(struct guest *g, uint64_t gpa, size_t pages, void *hva,
		    uint32_t flags)
{
	return __vm_set_user_memory_region(g->vm, SLOT, flags, gpa, pages * PAGE, hva);
}

static void must_slot(struct guest *g, size_t pages, void *hva)
{
	TEST_ASSERT(!set_slot(g, BUF_GPA, pages, hva, 0), "memslot: %s", strerror(errno));
}

/* Over whatever is there; page is an index of the buffer. */
static void map_at(void *at, int fd, uint32_t page, size_t pages, int prot, int flags)
{
	void *p = mmap(at, pages * PAGE, prot, MAP_FIXED | flags, fd, page * PAGE);

	TEST_ASSERT(p == at, "mmap: %s", strerror(errno));
}

static void map_shared(void *at, int fd, size_t pages)
{
	map_at(at, fd, 0, pages, PROT_READ | PROT_WRITE, MAP_SHARED);
}

static void map_anon(void *at, size_t pages)
{
	map_at(at, -1, 0, pages, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS);
}

/*
 * KVM_RUN until the guest has done its command: 0, or the errno that came instead,
 * or this, which is no errno: the guest touched what no memslot has.
 */
#define RUN_MMIO	1000

static int run(struct guest *g, int cpu)
{
	struct ucall uc;

	while (__vcpu_run(g->vcpu[cpu])) {
		if (errno != EINTR)
			return errno;
	}
	switch (get_ucall(g->vcpu[cpu], &uc)) {
	case UCALL_SYNC:
		return 0;
	case UCALL_ABORT:
		REPORT_GUEST_ASSERT(uc);
	}
	return RUN_MMIO;
}

static void prepare(struct guest *g, int cpu, enum op what, uint64_t page, uint64_t nr,
		    uint64_t seed)
{
	struct cmd *c = g->cmd[cpu];

	memset(c, 0, sizeof(*c));
	c->op = what;
	c->page = page;
	c->nr = nr;
	c->seed = seed;
}

static int start(struct guest *g, enum op what, uint64_t page, uint64_t nr, uint64_t seed)
{
	prepare(g, 0, what, page, nr, seed);
	return run(g, 0);
}

static uint64_t pc_of(struct kvm_vcpu *vcpu)
{
	uint64_t pc;

	vcpu_get_reg(vcpu, ARM64_CORE_REG(regs.pc), &pc);
	return pc;
}

static uint64_t must(struct guest *g, enum op what, uint64_t page, uint64_t nr,
		     uint64_t seed)
{
	int err = start(g, what, page, nr, seed);

	TEST_ASSERT(!err, "KVM_RUN: %s, exit reason %d, memory fault at %#llx, pc %#lx",
		    strerror(err), g->vcpu[0]->run->exit_reason,
		    g->vcpu[0]->run->memory_fault.gpa,
		    pc_of(g->vcpu[0]));
	return g->cmd[0]->result;
}

/* Is this how a fault that cannot be served looks to the VMM? Prints what is not. */
static bool is_fault(struct guest *g, int got, int err, uint64_t page)
{
	struct kvm_run *run = g->vcpu[0]->run;

	if (got == err && run->exit_reason == KVM_EXIT_MEMORY_FAULT &&
	    run->memory_fault.gpa == BUF_GPA + page * PAGE &&
	    run->memory_fault.size == PAGE && !run->memory_fault.flags)
		return true;
	ksft_print_msg("KVM_RUN gave %s, not %s at %#lx\n", got ? strerror(got) : "success",
		       strerror(err), BUF_GPA + page * PAGE);
	ksft_print_msg("exit reason %d, gpa %#llx, size %#llx, flags %#llx\n",
		       run->exit_reason, run->memory_fault.gpa, run->memory_fault.size,
		       run->memory_fault.flags);
	return false;
}

/* Words of the host's own mapping, of which the compiler knows nothing. */
static uint64_t load(const void *at)
{
	return READ_ONCE(*(const uint64_t *)at);
}

static void store(void *at, uint64_t value)
{
	WRITE_ONCE(*(uint64_t *)at, value);
}

static void host_fill(void *at, uint64_t page, uint64_t nr, uint64_t seed)
{
	uint64_t *word = at;
	uint64_t p, i;

	for (p = page; p < page + nr; p++)
		for (i = 0; i < WORDS; i++)
			store(word++, pattern(seed, p, i));
}

static uint64_t host_check(const void *at, uint64_t page, uint64_t nr, uint64_t seed)
{
	const uint64_t *word = at;
	uint64_t p, i, bad = 0;

	for (p = page; p < page + nr; p++)
		for (i = 0; i < WORDS; i++)
			bad += load(word++) != pattern(seed, p, i);
	return bad;
}

/* Physical pages must agree too: no view of user space is involved. */
static uint64_t kernel_check(int fd, uint64_t nr, uint64_t seed)
{
	uint64_t p, bad = 0;

	for (p = 0; p < nr; p++)
		bad += ktp_peek64(fd, p, 8 * (p % WORDS)) != pattern(seed, p, p % WORDS);
	return bad;
}

/* The stage-2 leaf at a page of the buffer: its level, or -errno. */
static int stage2(struct guest *g, int fd, uint64_t page, uint64_t *pte)
{
	struct ktp_stage2 s = {
		.vcpu_fd = g->vcpu[0]->fd, .gpa = BUF_GPA + page * PAGE,
	};

	if (ioctl(fd, KTP_IOC_STAGE2, &s))
		return -errno;
	*pte = s.pte;
	return s.level;
}

static long read_number(const char *path)
{
	char text[32] = "";
	int fd = open(path, O_RDONLY);

	if (fd < 0)
		return -1;
	if (read(fd, text, sizeof(text) - 1) < 0)
		text[0] = 0;
	close(fd);
	if (text[0] == 'Y' || text[0] == 'N')
		return text[0] == 'Y';
	return strtol(text, NULL, 0);
}

/* -------------------------------------------------------------- vCPU threads */

/*
 * A vCPU that storms: what cannot be served for the moment is tried again, and an
 * access that no memslot takes is done by the VMM, as a VMM does for a device.
 */
struct storm {
	struct guest *g;
	int cpu;
	char *mmio;		/* where the pages are when no memslot has them */
	unsigned long faults, mmios;
	int err;
	bool over;		/* came home, with an error or because it was told to */
	pthread_t thread;
};

static void storm_run(struct storm *s)
{
	struct kvm_run *kvm_run = s->g->vcpu[s->cpu]->run;

	for (;;) {
		uint64_t gpa;

		s->err = run(s->g, s->cpu);
		if (!s->err)
			return;
		if (s->err == EFAULT && kvm_run->exit_reason == KVM_EXIT_MEMORY_FAULT) {
			s->faults++;
			sched_yield();
			continue;
		}
		gpa = kvm_run->mmio.phys_addr;
		if (s->err != RUN_MMIO || kvm_run->exit_reason != KVM_EXIT_MMIO || !s->mmio ||
		    kvm_run->mmio.len != 8 || gpa < BUF_GPA ||
		    gpa >= BUF_GPA + MAX_PAGES * PAGE)
			return;
		s->mmios++;
		if (kvm_run->mmio.is_write)
			memcpy(s->mmio + gpa - BUF_GPA, kvm_run->mmio.data, 8);
		else
			memcpy(kvm_run->mmio.data, s->mmio + gpa - BUF_GPA, 8);
	}
}

static void *storm_vcpu(void *arg)
{
	struct storm *s = arg;

	storm_run(s);
	WRITE_ONCE(s->over, true);
	return NULL;
}

static void storm_begin(struct guest *g, struct storm *s, int cpus, uint64_t pages,
			char *mmio)
{
	int i;

	for (i = 0; i < cpus; i++) {
		s[i] = (struct storm){ .g = g, .cpu = i, .mmio = mmio };
		prepare(g, i, OP_STORM, 0, pages, 0);
		pthread_create(&s[i].thread, NULL, storm_vcpu, &s[i]);
	}
}

/* Has this happened before it has taken too long for any machine? */
#define soon(condition) ({							\
	int ms_left = 10000;							\
										\
	while (!(condition) && ms_left-- > 0)					\
		usleep(1000);							\
	ms_left > 0;								\
})

/* What all vCPUs met so far: faults that could not be served, and MMIO. */
static unsigned long storm_met(struct storm *s, int cpus)
{
	unsigned long n = 0;

	for (; cpus--; s++)
		n += READ_ONCE(s->faults) + READ_ONCE(s->mmios);
	return n;
}

/* Print the lines of a file of /proc that have @what in them. */
static void print_lines(const char *path, const char *what)
{
	FILE *f = fopen(path, "r");
	char line[512];

	while (f && fgets(line, sizeof(line), f)) {
		if (strstr(line, what))
			ksft_print_msg("%s: %s", path, line);
	}
	if (f)
		fclose(f);
}

/*
 * A vCPU does not get anywhere: show where all threads are, whether they have had
 * the CPU, and whether the CPUs' timers tick, twice.
 */
static void print_threads(void)
{
	static const char * const files[] = { "stat", "schedstat", "syscall", "stack" };
	char path[64];
	struct dirent *d;
	DIR *tasks;
	int i, j;

	for (i = 0; i < 2; i++) {
		print_lines("/proc/interrupts", "timer");
		tasks = opendir("/proc/self/task");
		while (tasks && (d = readdir(tasks))) {
			for (j = 0; d->d_name[0] != '.' && j < (int)ARRAY_SIZE(files); j++) {
				snprintf(path, sizeof(path), "/proc/self/task/%.16s/%s",
					 d->d_name, files[j]);
				print_lines(path, "");
			}
		}
		if (tasks)
			closedir(tasks);
		sleep(1);
	}
}

/*
 * Stop them. True when every vCPU came home, did something, and always read what it
 * had written before; and finds it there in the end, through the host's mapping.
 */
static bool storm_end(struct guest *g, struct storm *s, int cpus, const char *mem)
{
	bool good = true;
	uint64_t p, lost;
	int i;

	for (i = 0; i < cpus; i++) {
		if (!soon(READ_ONCE(g->cmd[i]->rounds) || READ_ONCE(s[i].over)))
			print_threads();
	}
	for (i = 0; i < cpus; i++)
		WRITE_ONCE(g->cmd[i]->stop, 1);
	for (i = 0; i < cpus; i++) {
		struct cmd *c = g->cmd[i];

		pthread_join(s[i].thread, NULL);
		for (lost = 0, p = 0; p < c->nr; p++)
			lost += load(mem + p * PAGE + 64 * (i + 1)) != c->expected[p];
		if (!s[i].err && !c->result && !lost && c->rounds)
			continue;
		good = false;
		ksft_print_msg("vCPU %d: %s, exit reason %d, %lu faults, %lu MMIO\n", i,
			       strerror(s[i].err), g->vcpu[i]->run->exit_reason,
			       s[i].faults, s[i].mmios);
		ksft_print_msg("%lu rounds, %lu bad, %lu lost\n", c->rounds, c->result, lost);
	}
	return good;
}

static unsigned long faults_of(int fd, uint32_t nr)
{
	struct ktp_page pages[STORM_PAGES];
	unsigned long n = 0;
	uint32_t p;

	ktp_snapshot(fd, 0, nr, pages);
	for (p = 0; p < nr; p++)
		n += pages[p].faults;
	return n;
}

/*
 * Let the storm blow until the driver has had so many faults of its pages: on a
 * slow machine that takes longer. False when it does not come to that, at once
 * when a vCPU has given up.
 */
static bool storm_blows(struct storm *s, int fd, unsigned long want)
{
	int ms;

	for (ms = 0; ms < 20000 && !READ_ONCE(s->over); ms += 10) {
		if (ms >= STORM_MS && faults_of(fd, STORM_PAGES) >= want)
			return true;
		usleep(10000);
	}
	ksft_print_msg("%lu faults, not %lu\n", faults_of(fd, STORM_PAGES), want);
	return false;
}

static unsigned long storm_rounds(struct guest *g, int cpus)
{
	unsigned long n = 0;

	while (cpus--)
		n += READ_ONCE(g->cmd[cpus]->rounds);
	return n;
}

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000UL + t.tv_nsec / 1000000;
}

/* ------------------------------------------------- what holds for every kind */

FIXTURE(kind) {
	struct guest g;
	int fd;
	struct ktp_page *before, *after;
};

FIXTURE_VARIANT(kind) {
	uint32_t kind, nr, order, flags;
};

FIXTURE_VARIANT_ADD(kind, p1_order3) {
	.kind = KTP_PFN, .nr = 64, .order = 3,
};

FIXTURE_VARIANT_ADD(kind, p1_order9) {
	.kind = KTP_PFN, .nr = 512, .order = 9,
};

FIXTURE_VARIANT_ADD(kind, p2_order3) {
	.kind = KTP_COMP, .nr = 64, .order = 3,
};

FIXTURE_VARIANT_ADD(kind, p2_order9) {
	.kind = KTP_COMP, .nr = 512, .order = 9,
};

FIXTURE_VARIANT_ADD(kind, p3_single) {
	.kind = KTP_SINGLE, .nr = 64,
};

FIXTURE_VARIANT_ADD(kind, p4_mixed) {
	.kind = KTP_MIXED, .nr = 64,
};

FIXTURE_VARIANT_ADD(kind, p4_mixed_pfn) {
	.kind = KTP_MIXED_PFN, .nr = 64,
};

FIXTURE_VARIANT_ADD(kind, p5_reserved) {
	.kind = KTP_RESERVED, .nr = 64,
};

FIXTURE_VARIANT_ADD(kind, p6_hidden) {
	.kind = KTP_HIDDEN, .nr = 64,
};

FIXTURE_VARIANT_ADD(kind, p7_mkwrite) {
	.kind = KTP_PFN, .nr = 64, .order = 3, .flags = KTP_MKWRITE,
};

FIXTURE_VARIANT_ADD(kind, p9_pmd) {
	.kind = KTP_PFN, .nr = 512, .order = 9, .flags = KTP_PMD,
};

FIXTURE_VARIANT_ADD(kind, p9_pmd_mkwrite) {
	.kind = KTP_PFN, .nr = 512, .order = 9, .flags = KTP_PMD | KTP_MKWRITE,
};

FIXTURE_VARIANT_ADD(kind, p10_scrambled) {
	.kind = KTP_PFN, .nr = 512, .order = 9, .flags = KTP_SCRAMBLE,
};

FIXTURE_VARIANT_ADD(kind, p11_wc) {
	.kind = KTP_PFN, .nr = 64, .order = 3, .flags = KTP_WC,
};

FIXTURE_VARIANT_ADD(kind, p11_device) {
	.kind = KTP_PFN, .nr = 64, .order = 3, .flags = KTP_DEV,
};

FIXTURE_SETUP(kind)
{
	const char *why = ktp_unavailable();

	if (why)
		SKIP(return, "%s", why);
	self->fd = ktp_create(variant->kind, variant->nr, variant->order, variant->flags);
	if (self->fd == -ENODEV)
		SKIP(return, "no such pages here; hidden RAM needs the boot argument mem=");
	ASSERT_GE(self->fd, 0);
	self->before = calloc(variant->nr, sizeof(*self->before));
	self->after = calloc(variant->nr, sizeof(*self->after));
	ktp_snapshot(self->fd, 0, variant->nr, self->before);
	guest_create(&self->g);
	map_shared(self->g.area, self->fd, variant->nr);
	must_slot(&self->g, variant->nr, self->g.area);
}

FIXTURE_TEARDOWN(kind)
{
	const char *text;
	uint32_t p;

	if (!self->g.vm)
		return;
	/* Nobody but the module ever had a reference (O1). */
	munmap(self->g.area, variant->nr * PAGE);
	ktp_snapshot(self->fd, 0, variant->nr, self->after);
	if (self->before[0].pfn == self->after[0].pfn) {
		/* mm itself calls a page accessed when it takes a normal entry away. */
		for (p = 0; variant->kind == KTP_MIXED && p < variant->nr; p++)
			self->after[p].flags = self->before[p].flags;
		text = ktp_pages_differ(self->before, self->after, variant->nr);
		EXPECT_EQ(NULL, text)
			TH_LOG("%s", text);
	}
	EXPECT_EQ(0, close(self->fd));
	text = guest_end(&self->g);
	EXPECT_EQ(NULL, text)
		TH_LOG("kernel log: %s", text);
}

static bool executable(const FIXTURE_VARIANT(kind) * variant)
{
	/* Hidden RAM has no place in the linear map, so it can be no cacheable memory. */
	return !(variant->flags & (KTP_WC | KTP_DEV)) && variant->kind != KTP_HIDDEN;
}

/* T1, I9: each page, tails too, both ways (O5), without one reference (O1). */
TEST_F_TIMEOUT(kind, t1_same_contents_no_reference, TIMEOUT)
{
	const char *why = pageref_unavailable();
	struct guest *g = &self->g;
	uint32_t nr = variant->nr, p;

	/* A page table entry of KTP_MIXED has a reference: before the watch begins. */
	for (p = 0; p < nr; p++) {
		if (variant->kind == KTP_MIXED || p % 2)
			host_fill(g->area + p * PAGE, p, 1, 1);
	}
	ktp_snapshot(self->fd, 0, nr, self->after);
	if (!why && self->before[0].count >= 0)
		pageref_start(self->before, nr);
	for (p = 1; p < nr; p += 2)
		EXPECT_EQ(0, must(g, OP_CHECK, p, 1, 1));
	must(g, OP_FILL, 0, nr, 2);
	EXPECT_EQ(0, must(g, OP_CHECK, 0, nr, 2));
	if (!why && self->before[0].count >= 0) {
		EXPECT_EQ(0, pageref_stop())
			TH_LOG("first event: %s", pageref_first());
	}
	if (variant->kind != KTP_MIXED)
		memcpy(self->after, self->before, nr * sizeof(*self->after));
	ktp_snapshot(self->fd, 0, nr, self->before);
	EXPECT_EQ(NULL, ktp_pages_differ(self->before, self->after, nr))
		TH_LOG("%s", ktp_pages_differ(self->before, self->after, nr));
	EXPECT_EQ(0, kernel_check(self->fd, nr, 2));
	EXPECT_EQ(0, host_check(g->area, 0, nr, 2));
	host_fill(g->area, 0, nr, 3);
	EXPECT_EQ(0, must(g, OP_CHECK, 0, nr, 3));
	for (p = 0; p < nr; p++)
		ktp_poke64(self->fd, p, 0, p + 1000);
	for (p = 0; p < nr; p++)
		ASSERT_EQ(p + 1000, must(g, OP_LOAD, p, 1, 0));
	/* The teardown compares with what was before any of this. */
	munmap(g->area, nr * PAGE);
	if (variant->kind == KTP_MIXED)
		ktp_snapshot(self->fd, 0, nr, self->before);
	if (why && self->before[0].count >= 0)
		SKIP(return, "contents are right; references not watched: %s", why);
}

/* T1: from each page, what the kernel wrote and what the guest wrote. */
TEST_F_TIMEOUT(kind, t1_execute, TIMEOUT)
{
	uint32_t nr = variant->nr, p, code[2] = { 0, A64_RET };
	struct guest *g = &self->g;

	for (p = 0; p < nr; p++) {
		code[0] = A64_MOVZ_X0(p + 7);
		ktp_poke(self->fd, p, 0, code, sizeof(code));
	}
	if (executable(variant)) {
		EXPECT_EQ(0, must(g, OP_EXEC, 0, nr, 7));
		must(g, OP_CODE, 0, nr, 99);
		EXPECT_EQ(0, must(g, OP_EXEC, 0, nr, 99));
		EXPECT_EQ(0, g->cmd[0]->aborts);
	} else {
		/* Both before and after there is a leaf. */
		EXPECT_EQ(nr, must(g, OP_EXEC, 0, nr, 7));
		EXPECT_EQ(nr, g->cmd[0]->aborts);
		must(g, OP_FILL, 0, nr, 1);
		EXPECT_EQ(nr, must(g, OP_EXEC, 0, nr, 7));
		EXPECT_EQ(nr, g->cmd[0]->aborts);
		EXPECT_EQ(0, must(g, OP_CHECK, 0, nr, 1));
	}
}

/* T4: leaves go at any time; only the host's fault handler is asked again. */
TEST_F_TIMEOUT(kind, t4_revoke_storm, TIMEOUT)
{
	struct guest *g = &self->g;
	struct storm s[2];

	ktp_storm_start(self->fd, KTP_STORM_REVOKE, 200);
	storm_begin(g, s, ARRAY_SIZE(s), STORM_PAGES, NULL);
	EXPECT_TRUE(storm_blows(s, self->fd, variant->flags & KTP_PMD ? 5 : 3 * STORM_PAGES));
	EXPECT_TRUE(storm_end(g, s, ARRAY_SIZE(s), g->area));
	EXPECT_GT(ktp_storm_stop(self->fd), 2);
	EXPECT_EQ(0, s[0].faults + s[1].faults);
}

/* T5, O2: after a replacement the guest is in the new page and never in the old. */
TEST_F_TIMEOUT(kind, t5_replace, TIMEOUT)
{
	struct guest *g = &self->g;
	uint32_t nr = variant->nr, p;

	must(g, OP_FILL, 0, nr, 1);
	ktp_replace(self->fd, 0);
	ktp_snapshot(self->fd, 0, nr, self->before);
	for (p = 0; p < nr; p += 5)
		must(g, OP_STORE, p, 1, p + 500);
	ktp_snapshot(self->fd, 0, nr, self->after);
	for (p = 0; p < nr; p++) {
		uint32_t faults = self->after[p].faults - self->before[p].faults;

		ASSERT_EQ(p % (variant->flags & KTP_PMD ? BLOCK : 5) == 0, faults);
	}
	for (p = 0; p < nr; p += 5)
		ASSERT_EQ(p + 500, ktp_peek64(self->fd, p, 0));
	EXPECT_EQ(0, ktp_check_canary(self->fd, KTP_CHECK_FREE));
	/* What the guest reads is the new memory: zero but for the stores. */
	for (p = 0; p < nr; p += 7)
		ASSERT_EQ(p % 5 ? 0 : p + 500, must(g, OP_LOAD, p, 1, 0));
	munmap(g->area, nr * PAGE);
	ktp_snapshot(self->fd, 0, nr, self->before);
}

/* T5, O2: the same while vCPUs write: nothing is lost, nothing comes too late. */
TEST_F_TIMEOUT(kind, t5_replace_storm, TIMEOUT)
{
	struct guest *g = &self->g;
	struct storm s[3];

	ktp_storm_start(self->fd, KTP_STORM_REPLACE, 500);
	storm_begin(g, s, ARRAY_SIZE(s), STORM_PAGES, NULL);
	EXPECT_TRUE(storm_blows(s, self->fd, variant->flags & KTP_PMD ? 5 : 4 * STORM_PAGES));
	EXPECT_GE(ktp_storm_stop(self->fd), 1);
	EXPECT_TRUE(storm_end(g, s, ARRAY_SIZE(s), g->area));
	EXPECT_EQ(0, ktp_check_canary(self->fd, 0));
	EXPECT_EQ(0, s[0].faults + s[1].faults + s[2].faults);
	munmap(g->area, variant->nr * PAGE);
	ktp_snapshot(self->fd, 0, variant->nr, self->before);
}

/* FREE: the guest has no page any more, and stops where the host would get SIGBUS. */
TEST_F_TIMEOUT(kind, t3_freed_pages_are_gone, TIMEOUT)
{
	struct guest *g = &self->g;

	must(g, OP_FILL, 0, variant->nr, 1);
	ASSERT_EQ(0, ioctl(self->fd, KTP_IOC_FREE));
	EXPECT_TRUE(is_fault(g, start(g, OP_STORE, 3, 1, 1), EFAULT, 3));
	EXPECT_TRUE(is_fault(g, run(g, 0), EFAULT, 3));
	/* Ordinary memory takes its place, and the store is done there. */
	map_anon(g->area, variant->nr);
	EXPECT_EQ(0, run(g, 0));
	EXPECT_EQ(1, load(g->area + 3 * PAGE));
	EXPECT_EQ(0, close(self->fd));
	/* Nothing is left that the teardown could look at. */
	self->fd = ktp_create(KTP_SINGLE, variant->nr, 0, 0);
	ktp_snapshot(self->fd, 0, variant->nr, self->before);
}

/* The watch must be able to see: one reference per entry of KTP_MIXED. */
TEST(o1_sees_references)
{
	const char *why = ktp_unavailable() ?: pageref_unavailable();
	struct ktp_page pages[8];
	char *mem;
	int fd, i;

	if (why)
		SKIP(return, "%s", why);
	fd = ktp_create(KTP_MIXED, 8, 0, 0);
	ASSERT_GE(fd, 0);
	mem = mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, mem);
	ktp_snapshot(fd, 0, 8, pages);
	pageref_start(pages + 1, 6);
	for (i = 0; i < 8; i++)
		store(mem + i * PAGE, 1);
	EXPECT_GE(pageref_stop(), 6);
	pageref_start(pages, 8);
	for (i = 0; i < 8; i++)
		store(mem + i * PAGE, 2);
	EXPECT_EQ(0, pageref_stop());
	munmap(mem, 8 * PAGE);
	close(fd);
}

/* ------------------------------------------------------------ one kind each */

FIXTURE(pfn) {
	struct guest g;
	char *mem;
	int fd[2];
	struct ktp_page pages[MAX_PAGES];
};

FIXTURE_SETUP(pfn)
{
	const char *why = ktp_unavailable();

	self->fd[0] = -1;
	self->fd[1] = -1;
	if (why)
		SKIP(return, "%s", why);
	guest_create(&self->g);
	self->mem = self->g.area;
}

FIXTURE_TEARDOWN(pfn)
{
	const char *text;
	int i;

	if (!self->g.vm)
		return;
	for (i = 0; i < 2; i++) {
		if (self->fd[i] >= 0)
			EXPECT_EQ(0, close(self->fd[i]));
	}
	text = guest_end(&self->g);
	EXPECT_EQ(NULL, text)
		TH_LOG("kernel log: %s", text);
}

/* A buffer in self->fd[i]; -ENODEV is left to the caller. */
#define create(i, ...) ASSERT_GE(self->fd[i] = ktp_create(__VA_ARGS__), 0)

static struct ktp_page page_now(int fd, uint32_t page)
{
	struct ktp_page p;

	ktp_snapshot(fd, page, 1, &p);
	return p;
}

/* T2, K1: the driver is asked before a write, once per page, however it comes. */
TEST_F_TIMEOUT(pfn, t2_write_asks_driver, TIMEOUT)
{
	struct guest *g = &self->g;

	create(0, KTP_PFN, 8, 3, KTP_MKWRITE);
	map_shared(self->mem, self->fd[0], 8);
	must_slot(g, 8, self->mem);

	/* Nothing is there, and the first access is a write. */
	must(g, OP_STORE, 0, 1, 11);
	EXPECT_EQ(11, ktp_peek64(self->fd[0], 0, 0));
	EXPECT_EQ(1, page_now(self->fd[0], 0).mkwrites);

	/* The guest has read it. */
	EXPECT_EQ(0, must(g, OP_LOAD, 1, 1, 0));
	EXPECT_EQ(0, page_now(self->fd[0], 1).mkwrites);
	must(g, OP_STORE, 1, 1, 12);
	EXPECT_EQ(12, ktp_peek64(self->fd[0], 1, 0));
	EXPECT_EQ(1, page_now(self->fd[0], 1).mkwrites);

	/* The host has read it, the guest has not. */
	EXPECT_EQ(0, load(self->mem + 2 * PAGE));
	must(g, OP_STORE, 2, 1, 13);
	EXPECT_EQ(13, load(self->mem + 2 * PAGE));
	EXPECT_EQ(1, page_now(self->fd[0], 2).mkwrites);

	/* The host has written it: nobody need be asked again. */
	store(self->mem + 3 * PAGE, 14);
	EXPECT_EQ(14, must(g, OP_LOAD, 3, 1, 0));
	must(g, OP_STORE, 3, 1, 15);
	EXPECT_EQ(15, ktp_peek64(self->fd[0], 3, 0));
	EXPECT_EQ(1, page_now(self->fd[0], 3).mkwrites);

	/* Again after each revocation, and not in between. */
	ktp_revoke(self->fd[0], 0, 8);
	must(g, OP_STORE, 0, 1, 16);
	must(g, OP_STORE, 0, 1, 17);
	EXPECT_EQ(17, ktp_peek64(self->fd[0], 0, 0));
	EXPECT_EQ(2, page_now(self->fd[0], 0).mkwrites);
}

/* T2: the driver may say no, to the first fault and to the second one. */
TEST_F_TIMEOUT(pfn, t2_driver_refuses_write, TIMEOUT)
{
	struct guest *g = &self->g;

	create(0, KTP_PFN, 8, 3, KTP_MKWRITE);
	map_shared(self->mem, self->fd[0], 8);
	must_slot(g, 8, self->mem);
	EXPECT_EQ(0, must(g, OP_LOAD, 5, 1, 0));
	ktp_fault_error(self->fd[0], KTP_FAULT_SIGBUS, ~0);
	EXPECT_TRUE(is_fault(g, start(g, OP_STORE, 5, 1, 21), EFAULT, 5));
	EXPECT_EQ(0, ktp_peek64(self->fd[0], 5, 0));
	ktp_fault_error(self->fd[0], KTP_FAULT_OK, 0);
	EXPECT_EQ(0, run(g, 0));
	EXPECT_EQ(21, ktp_peek64(self->fd[0], 5, 0));
}

/* T2, P8: a private mapping is copied for the guest's write as for the host's. */
TEST_F_TIMEOUT(pfn, t2_private_mapping_is_copied, TIMEOUT)
{
	struct guest *g = &self->g;
	const char *why = pageref_unavailable();
	uint32_t p;

	create(0, KTP_PFN, 8, 3, KTP_REMAP);
	for (p = 0; p < 8; p++)
		ktp_poke64(self->fd[0], p, 0, 100 + p);
	map_at(self->mem, self->fd[0], 0, 8, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	must_slot(g, 8, self->mem);
	ktp_snapshot(self->fd[0], 0, 8, self->pages);
	if (!why)
		pageref_start(self->pages, 8);

	EXPECT_EQ(100, must(g, OP_LOAD, 0, 1, 0));
	must(g, OP_STORE, 0, 1, 200);			/* after a read */
	must(g, OP_STORE, 1, 1, 201);			/* at once */
	EXPECT_EQ(102, must(g, OP_LOAD, 2, 1, 0));
	store(self->mem + 2 * PAGE, 202);	/* by the host */
	EXPECT_EQ(202, must(g, OP_LOAD, 2, 1, 0));
	must(g, OP_STORE, 2, 1, 302);			/* of a copy */
	if (!why) {
		EXPECT_EQ(0, pageref_stop())
			TH_LOG("first event: %s", pageref_first());
	}

	EXPECT_EQ(200, load(self->mem + 0 * PAGE));
	EXPECT_EQ(201, load(self->mem + 1 * PAGE));
	EXPECT_EQ(302, load(self->mem + 2 * PAGE));
	EXPECT_EQ(200, must(g, OP_LOAD, 0, 1, 0));
	EXPECT_EQ(201, must(g, OP_LOAD, 1, 1, 0));
	for (p = 0; p < 8; p++)
		EXPECT_EQ(100 + p, ktp_peek64(self->fd[0], p, 0));
	for (p = 3; p < 8; p++)
		EXPECT_EQ(100 + p, must(g, OP_LOAD, p, 1, 0));
}

/* T3: each way in which the host could not do it either; then the cause goes. */
TEST_F_TIMEOUT(pfn, t3_read_only_mapping, TIMEOUT)
{
	struct guest *g = &self->g;
	int i;

	create(0, KTP_PFN, 8, 3, 0);
	map_at(self->mem, self->fd[0], 0, 8, PROT_READ, MAP_SHARED);
	must_slot(g, 8, self->mem);
	ktp_poke64(self->fd[0], 4, 0, 5);
	EXPECT_EQ(5, must(g, OP_LOAD, 4, 1, 0));
	EXPECT_TRUE(is_fault(g, start(g, OP_STORE, 4, 1, 6), EFAULT, 4));
	/* It stays so, and no fault is left over. */
	for (i = 0; i < 100; i++)
		ASSERT_TRUE(is_fault(g, run(g, 0), EFAULT, 4));
	/* Nor when nothing is there and the write comes first. */
	ktp_revoke(self->fd[0], 0, 8);
	EXPECT_TRUE(is_fault(g, run(g, 0), EFAULT, 4));
	EXPECT_EQ(5, ktp_peek64(self->fd[0], 4, 0));
	ASSERT_EQ(0, mprotect(self->mem, 8 * PAGE, PROT_READ | PROT_WRITE));
	EXPECT_EQ(0, run(g, 0));
	EXPECT_EQ(6, ktp_peek64(self->fd[0], 4, 0));
	/* And back: what the guest could write it cannot write any more. */
	ASSERT_EQ(0, mprotect(self->mem, 8 * PAGE, PROT_READ));
	EXPECT_TRUE(is_fault(g, start(g, OP_STORE, 4, 1, 7), EFAULT, 4));
	EXPECT_EQ(6, ktp_peek64(self->fd[0], 4, 0));
	ASSERT_EQ(0, mprotect(self->mem, 8 * PAGE, PROT_READ | PROT_WRITE));
	EXPECT_EQ(0, run(g, 0));
}

TEST_F_TIMEOUT(pfn, t3_inaccessible_mapping, TIMEOUT)
{
	struct guest *g = &self->g;
	int present;

	create(0, KTP_PFN, 8, 3, 0);
	map_shared(self->mem, self->fd[0], 8);
	must_slot(g, 8, self->mem);
	for (present = 0; present < 2; present++) {
		if (present)
			host_fill(self->mem, 0, 8, 1);
		ASSERT_EQ(0, mprotect(self->mem, 8 * PAGE, PROT_NONE));
		EXPECT_TRUE(is_fault(g, start(g, OP_LOAD, 2, 1, 0), EFAULT, 2));
		ASSERT_EQ(0, mprotect(self->mem, 8 * PAGE, PROT_READ | PROT_WRITE));
		EXPECT_EQ(0, run(g, 0));
		/* The guest has the page now, and loses it. */
		ASSERT_EQ(0, mprotect(self->mem, 8 * PAGE, PROT_NONE));
		EXPECT_TRUE(is_fault(g, start(g, OP_STORE, 2, 1, 9), EFAULT, 2));
		ASSERT_EQ(0, mprotect(self->mem, 8 * PAGE, PROT_READ | PROT_WRITE));
		EXPECT_EQ(0, run(g, 0));
		EXPECT_EQ(9, ktp_peek64(self->fd[0], 2, 0));
	}
}

TEST_F_TIMEOUT(pfn, t3_driver_fails, TIMEOUT)
{
	static const struct { enum ktp_fault_error error; int err; } cases[] = {
		{ KTP_FAULT_SIGBUS, EFAULT }, { KTP_FAULT_OOM, ENOMEM },
	};
	struct guest *g = &self->g;
	size_t i;
	int write;

	create(0, KTP_PFN, 8, 3, 0);
	map_shared(self->mem, self->fd[0], 8);
	must_slot(g, 8, self->mem);
	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		for (write = 0; write < 2; write++) {
			ktp_revoke(self->fd[0], 0, 8);
			ktp_fault_error(self->fd[0], cases[i].error, ~0);
			EXPECT_TRUE(is_fault(g, start(g, write ? OP_STORE : OP_LOAD, 6, 1, i),
					     cases[i].err, 6));
			EXPECT_TRUE(is_fault(g, run(g, 0), cases[i].err, 6));
			ktp_fault_error(self->fd[0], KTP_FAULT_OK, 0);
			EXPECT_EQ(0, run(g, 0));
		}
		EXPECT_EQ(i, ktp_peek64(self->fd[0], 6, 0));
	}
}

/* A driver that says done and has done nothing: the host would try again and again. */
TEST_F_TIMEOUT(pfn, t3_driver_installs_nothing, TIMEOUT)
{
	struct guest *g = &self->g;
	int err, i;

	create(0, KTP_PFN, 8, 3, 0);
	map_shared(self->mem, self->fd[0], 8);
	must_slot(g, 8, self->mem);
	ktp_fault_error(self->fd[0], KTP_FAULT_NOPAGE, 10);
	err = start(g, OP_STORE, 1, 1, 31);
	for (i = 0; err && i < 20; i++) {
		ASSERT_TRUE(is_fault(g, err, EFAULT, 1));
		err = run(g, 0);
	}
	EXPECT_EQ(0, err);
	EXPECT_EQ(31, ktp_peek64(self->fd[0], 1, 0));
}

static int sigbus_fd, sigbus_code;
static void *sigbus_addr;

static void on_sigbus(int sig, siginfo_t *info, void *context)
{
	struct ktp_error e = { .error = KTP_FAULT_OK };

	WRITE_ONCE(sigbus_code, info->si_code);
	WRITE_ONCE(sigbus_addr, info->si_addr);
	ioctl(sigbus_fd, KTP_IOC_FAULT_ERROR, &e);
}

/* T3: poison that a driver reports reaches the VMM as poison. */
TEST_F_TIMEOUT(pfn, t3_driver_reports_poison, TIMEOUT)
{
	struct sigaction act = { .sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO };
	struct guest *g = &self->g;
	sigset_t set;

	create(0, KTP_PFN, 8, 3, 0);
	map_shared(self->mem, self->fd[0], 8);
	must_slot(g, 8, self->mem);
	sigbus_fd = self->fd[0];
	sigaction(SIGBUS, &act, NULL);

	/* A handler takes the cause away, and the guest goes on. */
	ktp_fault_error(self->fd[0], KTP_FAULT_HWPOISON, ~0);
	EXPECT_EQ(0, start(g, OP_STORE, 7, 1, 41));
	EXPECT_EQ(BUS_MCEERR_AR, READ_ONCE(sigbus_code));
	EXPECT_EQ((uintptr_t)self->mem + 7 * PAGE, (uintptr_t)READ_ONCE(sigbus_addr) & ~(PAGE - 1));
	EXPECT_EQ(41, ktp_peek64(self->fd[0], 7, 0));

	/* Nobody would hear the signal. */
	sigemptyset(&set);
	sigaddset(&set, SIGBUS);
	sigprocmask(SIG_BLOCK, &set, NULL);
	ktp_revoke(self->fd[0], 0, 8);
	ktp_fault_error(self->fd[0], KTP_FAULT_HWPOISON, ~0);
	EXPECT_TRUE(is_fault(g, start(g, OP_STORE, 7, 1, 42), EHWPOISON, 7));
	ktp_fault_error(self->fd[0], KTP_FAULT_OK, 0);
	EXPECT_EQ(0, run(g, 0));
	EXPECT_EQ(42, ktp_peek64(self->fd[0], 7, 0));
}

/* T4: as fast as the host can, on all vCPUs, with the references watched (O1). */
TEST_F_TIMEOUT(pfn, t4_revoke_storm_all_vcpus, TIMEOUT)
{
	const char *why = pageref_unavailable();
	struct guest *g = &self->g;
	struct storm s[MAX_VCPUS];

	create(0, KTP_PFN, 64, 3, KTP_MKWRITE);
	map_shared(self->mem, self->fd[0], 64);
	must_slot(g, 64, self->mem);
	ktp_snapshot(self->fd[0], 0, 64, self->pages);
	if (!why)
		pageref_start(self->pages, 64);
	ktp_storm_start(self->fd[0], KTP_STORM_REVOKE, 50);
	storm_begin(g, s, MAX_VCPUS, STORM_PAGES, NULL);
	EXPECT_TRUE(storm_blows(s, self->fd[0], 20 * STORM_PAGES));
	EXPECT_GT(ktp_storm_stop(self->fd[0]), 2);
	EXPECT_TRUE(storm_end(g, s, MAX_VCPUS, self->mem));
	if (!why) {
		EXPECT_EQ(0, pageref_stop())
			TH_LOG("first event: %s", pageref_first());
	}
}

/* T6: a slot per buffer, whose mapping goes away under a guest that writes. */
TEST_F_TIMEOUT(pfn, t6_munmap_under_guest, TIMEOUT)
{
	struct guest *g = &self->g;
	struct storm s[2];
	int i;

	create(0, KTP_PFN, 64, 3, 0);
	map_shared(self->mem, self->fd[0], 64);
	must_slot(g, 64, self->mem);
	storm_begin(g, s, 2, STORM_PAGES, NULL);
	for (i = 0; i < 30; i++) {
		unsigned long met = storm_met(s, 2);

		ASSERT_EQ(0, munmap(self->mem + i * PAGE, 3 * PAGE));
		ASSERT_TRUE(soon(storm_met(s, 2) > met));
		map_at(self->mem + i * PAGE, self->fd[0], i, 3, PROT_READ | PROT_WRITE,
		       MAP_SHARED);
	}
	EXPECT_TRUE(storm_end(g, s, 2, self->mem));
}

TEST_F_TIMEOUT(pfn, t6_mremap_under_guest, TIMEOUT)
{
	char *other = self->mem + 256 * PAGE;
	struct guest *g = &self->g;
	struct storm s[2];
	int i;

	create(0, KTP_PFN, 64, 3, 0);
	map_shared(self->mem, self->fd[0], 64);
	must_slot(g, 64, self->mem);
	storm_begin(g, s, 2, STORM_PAGES, NULL);
	for (i = 0; i < 20; i++) {
		unsigned long met = storm_met(s, 2);

		ASSERT_EQ(other, mremap(self->mem, 64 * PAGE, 64 * PAGE,
					MREMAP_MAYMOVE | MREMAP_FIXED, other));
		ASSERT_TRUE(soon(storm_met(s, 2) > met));
		ASSERT_EQ(self->mem, mremap(other, 64 * PAGE, 64 * PAGE,
					    MREMAP_MAYMOVE | MREMAP_FIXED, self->mem));
	}
	EXPECT_TRUE(storm_end(g, s, 2, self->mem));
}

/* T6: one live slot, over which buffers and ordinary memory come and go. */
TEST_F_TIMEOUT(pfn, t6_map_fixed_over_slot, TIMEOUT)
{
	struct guest *g = &self->g;
	struct storm s[2];
	int i;

	create(0, KTP_PFN, 64, 3, 0);
	create(1, KTP_SINGLE, 64, 0, 0);
	map_anon(self->mem, 256);
	must_slot(g, 256, self->mem);
	/* The storm has the first pages to itself; the rest is swapped below it. */
	storm_begin(g, s, 2, STORM_PAGES, NULL);
	for (i = 0; i < 40; i++) {
		char *at = self->mem + (64 + 16 * (i % 4)) * PAGE;

		prepare(g, 2, OP_FILL, 64, 128, i);
		ASSERT_EQ(0, run(g, 2));
		map_at(at, self->fd[i % 2], 0, 64, PROT_READ | PROT_WRITE, MAP_SHARED);
		prepare(g, 2, OP_FILL, 64, 128, i + 1);
		ASSERT_EQ(0, run(g, 2));
		ASSERT_EQ(0, host_check(self->mem + 64 * PAGE, 64, 128, i + 1));
		/* No buffer is there twice. */
		if (i % 2) {
			map_anon(self->mem + 64 * PAGE, 128);
			prepare(g, 2, OP_LOAD, 100, 1, 0);
			ASSERT_EQ(0, run(g, 2));
			ASSERT_EQ(0, g->cmd[2]->result);
			/* What the guest wrote is in the buffer and stays there. */
			ASSERT_EQ(pattern(i + 1, 64 + 16 * (i % 4), 0),
				  ktp_peek64(self->fd[i % 2], 0, 0));
		}
	}
	EXPECT_TRUE(storm_end(g, s, 2, self->mem));
	EXPECT_EQ(0, s[0].faults + s[1].faults);
}

/* T7: the slot goes, moves and comes back; the VMM stands in for it meanwhile. */
TEST_F_TIMEOUT(pfn, t7_slot_changes_under_guest, TIMEOUT)
{
	struct guest *g = &self->g;
	struct storm s[3];
	int i;

	create(0, KTP_PFN, 64, 3, 0);
	map_shared(self->mem, self->fd[0], 64);
	must_slot(g, 64, self->mem);
	storm_begin(g, s, 3, STORM_PAGES, self->mem);
	for (i = 0; i < 50; i++) {
		unsigned long met = storm_met(s, 3);

		/* A slot of no size is deleted, one with another address moves. */
		ASSERT_EQ(0, i % 2 ? set_slot(g, BUF_GPA, 0, self->mem, 0) :
				     set_slot(g, BUF_GPA + SZ_1G, 64, self->mem, 0));
		ASSERT_TRUE(soon(storm_met(s, 3) > met));
		ASSERT_EQ(0, set_slot(g, BUF_GPA, 64, self->mem, 0));
		usleep(2000);
	}
	EXPECT_TRUE(storm_end(g, s, 3, self->mem));
	EXPECT_EQ(0, s[0].faults + s[1].faults + s[2].faults);
}

/* Does anybody write to the words of the storm? */
static int memory_moves(const char *mem)
{
	static uint64_t copy[STORM_PAGES][2];
	int p, c, again;

	for (again = 0; again < 5; again++) {
		for (p = 0; p < STORM_PAGES; p++) {
			for (c = 0; c < 2; c++) {
				uint64_t v = load(mem + p * PAGE + 64 * (c + 1));

				if (again && v != copy[p][c])
					return 1;
				copy[p][c] = v;
			}
		}
		usleep(1000);
	}
	return 0;
}

/* T8: children keep the memory as it was when they were born; the guest goes on. */
TEST_F_TIMEOUT(pfn, t8_fork_while_guest_writes, TIMEOUT)
{
	struct guest *g = &self->g;
	struct storm s[2];
	int i, status, bad = 0;

	map_anon(self->mem, 64);
	must_slot(g, 64, self->mem);
	storm_begin(g, s, 2, STORM_PAGES, NULL);
	for (i = 0; i < 30; i++) {
		unsigned long rounds = storm_rounds(g, 2);
		uint64_t end = now_ms() + 2000;
		pid_t pid;

		while (storm_rounds(g, 2) == rounds && now_ms() < end)
			usleep(500);
		pid = fork();
		ASSERT_GE(pid, 0);
		if (!pid)
			_exit(memory_moves(self->mem));
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		bad += !WIFEXITED(status) || WEXITSTATUS(status);
	}
	EXPECT_EQ(0, bad);
	EXPECT_TRUE(storm_end(g, s, 2, self->mem));
	EXPECT_EQ(0, s[0].faults + s[1].faults);
}

/* T9, P9: a block where the host has one and both addresses allow it, else pages. */
TEST_F_TIMEOUT(pfn, t9_block_of_pmd_leaf, TIMEOUT)
{
	struct guest *g = &self->g;
	uint64_t pte = 0;
	int level;

	create(0, KTP_PFN, BLOCK, 9, KTP_PMD);
	map_shared(self->mem, self->fd[0], BLOCK);
	must_slot(g, BLOCK, self->mem);
	must(g, OP_FILL, 0, BLOCK, 1);
	EXPECT_EQ(0, kernel_check(self->fd[0], BLOCK, 1));
	EXPECT_EQ(1, page_now(self->fd[0], 0).faults);
	level = stage2(g, self->fd[0], 77, &pte);
	if (level != -EOPNOTSUPP) {
		EXPECT_EQ(2, level);
		EXPECT_EQ(page_now(self->fd[0], 0).pfn << 12, pte & S2_ADDR);
	}

	/* A hole of one page: the rest stays right, the page is refused. */
	ASSERT_EQ(0, munmap(self->mem + 100 * PAGE, PAGE));
	must(g, OP_FILL, 0, 100, 2);
	must(g, OP_FILL, 101, BLOCK - 101, 2);
	EXPECT_TRUE(is_fault(g, start(g, OP_STORE, 100, 1, 5), EFAULT, 100));
	level = stage2(g, self->fd[0], 77, &pte);
	if (level != -EOPNOTSUPP)
		EXPECT_EQ(3, level);
	EXPECT_EQ(pattern(1, 100, 9), ktp_peek64(self->fd[0], 100, 72));
	map_at(self->mem + 100 * PAGE, self->fd[0], 100, 1, PROT_READ | PROT_WRITE,
	       MAP_SHARED);
	EXPECT_EQ(0, run(g, 0));
	must(g, OP_FILL, 100, 1, 2);
	EXPECT_EQ(0, kernel_check(self->fd[0], BLOCK, 2));
}

TEST_F_TIMEOUT(pfn, t9_pmd_leaf_at_odd_gpa, TIMEOUT)
{
	struct guest *g = &self->g;
	uint64_t pte = 0;
	int level;

	create(0, KTP_PFN, BLOCK, 9, KTP_PMD);
	map_shared(self->mem, self->fd[0], BLOCK);
	ASSERT_EQ(0, set_slot(g, BUF_GPA + 3 * PAGE, BLOCK, self->mem, 0));
	must(g, OP_FILL, 3, BLOCK, 1);
	EXPECT_EQ(0, host_check(self->mem, 3, BLOCK, 1));
	level = stage2(g, self->fd[0], 77, &pte);
	if (level != -EOPNOTSUPP) {
		EXPECT_EQ(3, level);
		EXPECT_EQ(page_now(self->fd[0], 74).pfn << 12, pte & S2_ADDR);
	}
}

/* T9: a slot that covers a part of a block must not show the rest of it. */
TEST_F_TIMEOUT(pfn, t9_part_of_pmd_leaf, TIMEOUT)
{
	struct guest *g = &self->g;
	uint64_t pte = 0;
	int level;

	create(0, KTP_PFN, BLOCK, 9, KTP_PMD);
	map_shared(self->mem, self->fd[0], BLOCK);
	must_slot(g, BLOCK / 2, self->mem);
	must(g, OP_FILL, 0, BLOCK / 2, 1);
	level = stage2(g, self->fd[0], 5, &pte);
	if (level != -EOPNOTSUPP)
		EXPECT_EQ(3, level);
	/* No memory there: the VMM gets the access. */
	EXPECT_EQ(RUN_MMIO, start(g, OP_STORE, BLOCK / 2, 1, 1));
	EXPECT_EQ(KVM_EXIT_MMIO, g->vcpu[0]->run->exit_reason);
	EXPECT_EQ(0, ktp_peek64(self->fd[0], BLOCK / 2, 0));
}

/* T9, P10: 2M-aligned in every way but for where the pages are. */
TEST_F_TIMEOUT(pfn, t9_scrambled_pages, TIMEOUT)
{
	struct guest *g = &self->g;
	uint64_t pte = 0;
	uint32_t p;

	create(0, KTP_PFN, BLOCK, 9, KTP_SCRAMBLE);
	map_shared(self->mem, self->fd[0], BLOCK);
	must_slot(g, BLOCK, self->mem);
	ktp_snapshot(self->fd[0], 0, BLOCK, self->pages);
	EXPECT_EQ(0, self->pages[0].pfn % BLOCK);
	/* All host leaves are there when the first fault of the guest comes. */
	host_fill(self->mem, 0, BLOCK, 1);
	EXPECT_EQ(0, must(g, OP_CHECK, 0, BLOCK, 1));
	must(g, OP_FILL, 0, BLOCK, 2);
	EXPECT_EQ(0, kernel_check(self->fd[0], BLOCK, 2));
	for (p = 0; p < BLOCK; p++) {
		int level = stage2(g, self->fd[0], p, &pte);

		if (level == -EOPNOTSUPP)
			break;
		ASSERT_EQ(3, level);
		ASSERT_EQ(self->pages[p].pfn << 12, pte & S2_ADDR);
	}
}

/* T9, K1: a read-only block leaf becomes writable by asking the driver once. */
TEST_F_TIMEOUT(pfn, t9_read_only_pmd_leaf, TIMEOUT)
{
	struct guest *g = &self->g;
	uint64_t pte = 0;
	int level;

	create(0, KTP_PFN, 2 * BLOCK, 9, KTP_PMD | KTP_MKWRITE);
	map_shared(self->mem, self->fd[0], 2 * BLOCK);
	must_slot(g, 2 * BLOCK, self->mem);
	/* Read, then write. */
	EXPECT_EQ(0, must(g, OP_LOAD, 9, 1, 0));
	EXPECT_EQ(0, page_now(self->fd[0], 0).mkwrites);
	level = stage2(g, self->fd[0], 9, &pte);
	if (level != -EOPNOTSUPP) {
		EXPECT_EQ(2, level);
		EXPECT_EQ(0, pte & S2_WRITE);
	}
	must(g, OP_STORE, 9, 1, 51);
	EXPECT_EQ(51, ktp_peek64(self->fd[0], 9, 0));
	EXPECT_EQ(1, page_now(self->fd[0], 0).mkwrites);
	must(g, OP_FILL, 0, BLOCK, 1);
	EXPECT_EQ(1, page_now(self->fd[0], 0).mkwrites);
	EXPECT_EQ(0, kernel_check(self->fd[0], BLOCK, 1));
	level = stage2(g, self->fd[0], 9, &pte);
	if (level != -EOPNOTSUPP) {
		EXPECT_EQ(2, level);
		EXPECT_EQ(S2_WRITE, pte & S2_WRITE);
	}
	/* Write first. */
	must(g, OP_STORE, BLOCK + 9, 1, 52);
	EXPECT_EQ(52, ktp_peek64(self->fd[0], BLOCK + 9, 0));
	EXPECT_EQ(1, page_now(self->fd[0], BLOCK).mkwrites);
}

/* Which pages of the slot does the bitmap call dirty? */
static uint64_t dirty_pages(struct guest *g, uint8_t *dirty, size_t pages)
{
	uint64_t log[MAX_PAGES / 64] = {}, n = 0, p;

	kvm_vm_get_dirty_log(g->vm, SLOT, log);
	for (p = 0; p < pages; p++) {
		dirty[p] = log[p / 64] >> p % 64 & 1;
		n += dirty[p];
	}
	return n;
}

/* B6: a slot with dirty logging gets such a mapping afterwards: nothing is missed. */
TEST_F_TIMEOUT(pfn, b6_dirty_log_sees_writes, TIMEOUT)
{
	struct guest *g = &self->g;
	uint8_t dirty[MAX_PAGES];
	int pmd, again;
	uint32_t p;

	for (pmd = 0; pmd < 2; pmd++) {
		map_anon(self->mem, 2 * BLOCK);
		ASSERT_EQ(0, set_slot(g, BUF_GPA, 2 * BLOCK, self->mem,
				      KVM_MEM_LOG_DIRTY_PAGES));
		create(pmd, KTP_PFN, BLOCK, 9, pmd ? KTP_PMD : 0);
		map_shared(self->mem, self->fd[pmd], BLOCK);
		for (again = 0; again < 2; again++) {
			for (p = 0; p < 2 * BLOCK; p += 32) {
				/* Reads dirty nothing, not even beside a write. */
				must(g, OP_LOAD, p + 1, 1, 0);
				must(g, OP_STORE, p, 1, 60 + again);
				must(g, OP_LOAD, p + 2, 1, 0);
			}
			EXPECT_EQ(2 * BLOCK / 32, dirty_pages(g, dirty, 2 * BLOCK));
			for (p = 0; p < 2 * BLOCK; p++)
				ASSERT_EQ(p % 32 == 0, dirty[p]);
			EXPECT_EQ(60 + again, ktp_peek64(self->fd[pmd], 32, 0));
		}
		EXPECT_EQ(0, dirty_pages(g, dirty, 2 * BLOCK));
		ASSERT_EQ(0, set_slot(g, BUF_GPA, 0, self->mem, 0));
	}
}

/*
 * B6: and the other way round: the mapping is there, and in the guest, when logging
 * is switched on. It may be refused, as the creation of such a slot is, and then
 * nothing has changed; but what is logged must be right.
 */
TEST_F_TIMEOUT(pfn, b6_dirty_log_switched_on, TIMEOUT)
{
	struct guest *g = &self->g;
	uint8_t dirty[MAX_PAGES];
	int pmd, err;
	uint32_t p;

	for (pmd = 0; pmd < 2; pmd++) {
		map_anon(self->mem, 2 * BLOCK);
		must_slot(g, 2 * BLOCK, self->mem);
		create(pmd, KTP_PFN, BLOCK, 9, pmd ? KTP_PMD : 0);
		map_shared(self->mem, self->fd[pmd], BLOCK);
		must(g, OP_FILL, 0, 2 * BLOCK, 1);
		err = set_slot(g, BUF_GPA, 2 * BLOCK, self->mem, KVM_MEM_LOG_DIRTY_PAGES);
		if (err)
			EXPECT_EQ(EINVAL, errno);
		for (p = 0; p < 2 * BLOCK; p += 16)
			must(g, OP_STORE, p, 1, 70 + p);
		if (!err) {
			EXPECT_EQ(2 * BLOCK / 16, dirty_pages(g, dirty, 2 * BLOCK));
			for (p = 0; p < 2 * BLOCK; p++)
				ASSERT_EQ(p % 16 == 0, dirty[p]);
		}
		for (p = 0; p < BLOCK; p += 16)
			ASSERT_EQ(70 + p, ktp_peek64(self->fd[pmd], p, 0));
		ASSERT_EQ(0, set_slot(g, BUF_GPA, 0, self->mem, 0));
	}
}

/* P11: the guest's type is the host's (O5 is in t1_same_contents). */
TEST_F_TIMEOUT(pfn, p11_type_of_host_leaf, TIMEOUT)
{
	static const struct { uint32_t kind, flags; int type; } cases[] = {
		{ KTP_PFN, 0, 0 },
		{ KTP_PFN, KTP_WC, S2_NORMAL_NC },
		{ KTP_PFN, KTP_DEV, S2_DEVICE },
		{ KTP_SINGLE, KTP_WC, S2_NORMAL_NC },
		{ KTP_PFN, KTP_WC | KTP_MKWRITE, S2_NORMAL_NC },
		{ KTP_MIXED_PFN, KTP_WC, S2_NORMAL_NC },
	};
	struct guest *g = &self->g;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		uint32_t order = 0;
		uint64_t pte = 0;
		int level;

		if (cases[i].kind == KTP_PFN)
			order = 3;
		create(0, cases[i].kind, 8, order, cases[i].flags);
		map_shared(self->mem, self->fd[0], 8);
		must_slot(g, 8, self->mem);
		must(g, OP_FILL, 0, 8, i);
		level = stage2(g, self->fd[0], 5, &pte);
		if (level == -EOPNOTSUPP)
			SKIP(return, "EL2 has the stage-2 tables");
		ASSERT_EQ(3, level);
		/* Write-back is 0b1111, or 0b0110 with FEAT_S2FWB. */
		EXPECT_TRUE(S2_MEMATTR(pte) == cases[i].type ||
			    (!cases[i].type && (S2_MEMATTR(pte) == 0xf ||
						S2_MEMATTR(pte) == 0x6)))
			TH_LOG("case %zu: leaf %#lx", i, pte);
		EXPECT_EQ(0, kernel_check(self->fd[0], 8, i));
		ASSERT_EQ(0, set_slot(g, BUF_GPA, 0, self->mem, 0));
		munmap(self->mem, 8 * PAGE);
		close(self->fd[0]);
		self->fd[0] = -1;
	}
}

/* P6: a real device, whose registers are where both sides look. */
TEST_F_TIMEOUT(pfn, p6_device_registers, TIMEOUT)
{
	struct guest *g = &self->g;
	uint32_t *regs = (uint32_t *)self->mem;
	uint64_t pte = 0;
	uint32_t match;
	int level;

	self->fd[0] = ktp_create(KTP_MMIO, 1, 0, 0);
	if (self->fd[0] == -ENODEV)
		SKIP(return, "no PL031 clock in this machine");
	ASSERT_GE(self->fd[0], 0);
	map_shared(self->mem, self->fd[0], 1);
	must_slot(g, 1, self->mem);
	/* The match register (4) holds what is written; the upper word of a load. */
	match = ktp_peek32(self->fd[0], 0, 4);
	WRITE_ONCE(regs[1], 0x12345678);
	EXPECT_EQ(0x12345678, ktp_peek32(self->fd[0], 0, 4));
	EXPECT_EQ(0x12345678, must(g, OP_LOAD, 0, 1, 0) >> 32);
	WRITE_ONCE(regs[1], 0x9abcdef0);
	EXPECT_EQ(0x9abcdef0, must(g, OP_LOAD, 0, 1, 0) >> 32);
	ktp_poke(self->fd[0], 0, 4, &match, 4);
	level = stage2(g, self->fd[0], 0, &pte);
	if (level != -EOPNOTSUPP) {
		EXPECT_EQ(3, level);
		EXPECT_EQ(S2_DEVICE, S2_MEMATTR(pte));
	}
	/* Nothing is fetched from a device. */
	EXPECT_EQ(1, must(g, OP_EXEC, 0, 1, 0));
	EXPECT_EQ(1, g->cmd[0]->aborts);
}

/* --------------------------------------------------------------------- T14 */

#define UNSAFE_PARAM	"/sys/module/kvm/parameters/allow_unsafe_mappings"

static int vcpu_map(struct guest *g, int fd, uint64_t page, uint64_t *value)
{
	struct ktp_vcpu_map m = {
		.vcpu_fd = g->vcpu[0]->fd, .gfn = BUF_GPA / PAGE + page,
		.flags = KTP_VCPU_WRITE, .value = *value, .offset = 8,
	};

	if (ioctl(fd, KTP_IOC_VCPU_MAP, &m))
		return -errno;
	*value = m.value;
	return m.error;
}

/* T14: memory that can be held may be mapped by the kernel, with or without. */
TEST_F_TIMEOUT(pfn, t14_ordinary_memory_maps, TIMEOUT)
{
	struct guest *g = &self->g;
	uint64_t value = 77;

	/* A kernel without it is not the one that the module was built for. */
	ASSERT_NE(-1, read_number(UNSAFE_PARAM));
	create(0, KTP_PFN, 8, 3, 0);
	map_anon(self->mem, 8);
	must_slot(g, 8, self->mem);
	store(self->mem + PAGE + 8, 76);
	EXPECT_EQ(0, vcpu_map(g, self->fd[0], 1, &value));
	EXPECT_EQ(76, value);
	EXPECT_EQ(77, load(self->mem + PAGE + 8));
	/* Not where there is no memory. */
	EXPECT_EQ(-EINVAL, vcpu_map(g, self->fd[0], MAX_PAGES, &value));
}

/* Not KTP_MIXED: its entries are normal ones, by which anybody may hold a page. */
static const struct { uint32_t kind, nr, order, flags; } t14_kinds[] = {
	{ KTP_PFN, 8, 3, 0 }, { KTP_COMP, 8, 3, 0 }, { KTP_SINGLE, 8, 0, 0 },
	{ KTP_MIXED_PFN, 8, 0, 0 }, { KTP_RESERVED, 8, 0, 0 }, { KTP_HIDDEN, 8, 0, 0 },
	{ KTP_PFN, 8, 3, KTP_MKWRITE },
};

/* T14: what cannot be held is refused, and not touched. */
TEST_F_TIMEOUT(pfn, t14_refused_by_default, TIMEOUT)
{
	const char *why = pageref_unavailable();
	struct guest *g = &self->g;
	size_t i;
	int fd, p;

	if (read_number(UNSAFE_PARAM) == 1)
		SKIP(return, "booted with kvm.allow_unsafe_mappings=1");
	ASSERT_EQ(0, read_number(UNSAFE_PARAM));
	for (i = 0; i < ARRAY_SIZE(t14_kinds); i++) {
		fd = ktp_create(t14_kinds[i].kind, t14_kinds[i].nr, t14_kinds[i].order,
				t14_kinds[i].flags);
		if (fd == -ENODEV)
			continue;
		ASSERT_GE(fd, 0);
		map_shared(self->mem, fd, 8);
		must_slot(g, 8, self->mem);
		must(g, OP_FILL, 0, 8, i);
		ktp_snapshot(fd, 0, 8, self->pages);
		if (!why && self->pages[0].count >= 0)
			pageref_start(self->pages, 8);
		for (p = 0; p < 8; p++) {
			uint64_t value = 1;

			EXPECT_EQ(-EINVAL, vcpu_map(g, fd, p, &value));
		}
		if (!why && self->pages[0].count >= 0)
			EXPECT_EQ(0, pageref_stop());
		EXPECT_EQ(0, must(g, OP_CHECK, 0, 8, i));
		ASSERT_EQ(0, set_slot(g, BUF_GPA, 0, self->mem, 0));
		munmap(self->mem, 8 * PAGE);
		EXPECT_EQ(0, close(fd));
	}
	EXPECT_EQ(0, klog_count(g->log, "allow_unsafe_mappings"));
}

/* T14: the administrator has allowed it: it works, and still nothing is held (O1). */
TEST_F_TIMEOUT(pfn, t14_unsafe_mapping_is_not_held, TIMEOUT)
{
	const char *why = pageref_unavailable();
	struct guest *g = &self->g;
	int fd, p, writable;
	size_t i;

	if (read_number(UNSAFE_PARAM) != 1)
		SKIP(return, "needs the boot argument kvm.allow_unsafe_mappings=1");
	/* Whoever booted has decided, and nobody else. */
	writable = open(UNSAFE_PARAM, O_WRONLY);
	EXPECT_EQ(-1, writable);
	for (i = 0; i < ARRAY_SIZE(t14_kinds); i++) {
		fd = ktp_create(t14_kinds[i].kind, t14_kinds[i].nr, t14_kinds[i].order,
				t14_kinds[i].flags);
		if (fd == -ENODEV)
			continue;
		ASSERT_GE(fd, 0);
		map_shared(self->mem, fd, 8);
		must_slot(g, 8, self->mem);
		host_fill(self->mem, 0, 8, i);
		ktp_snapshot(fd, 0, 8, self->pages);
		if (!why && self->pages[0].count >= 0)
			pageref_start(self->pages, 8);
		for (p = 0; p < 8; p++) {
			uint64_t value = 900 + p;

			EXPECT_EQ(0, vcpu_map(g, fd, p, &value));
			EXPECT_EQ(pattern(i, p, 1), value);
			EXPECT_EQ(900 + p, ktp_peek64(fd, p, 8));
		}
		if (!why && self->pages[0].count >= 0) {
			EXPECT_EQ(0, pageref_stop())
				TH_LOG("first event: %s", pageref_first());
		}
		ASSERT_EQ(0, set_slot(g, BUF_GPA, 0, self->mem, 0));
		munmap(self->mem, 8 * PAGE);
		EXPECT_EQ(0, close(fd));
	}
	/* One line in the life of the kernel, and the taint "U". */
	EXPECT_LE(klog_count(g->log, "allow_unsafe_mappings"), 1);
	EXPECT_EQ(1, read_number("/proc/sys/kernel/tainted") >> 6 & 1);
}

TEST_HARNESS_MAIN
