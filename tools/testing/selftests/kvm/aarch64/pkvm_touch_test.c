// SPDX-License-Identifier: GPL-2.0-only
/*
 * The host touches what it may not, by every instruction there is for it (S05, S08,
 * S09), through page tables that lie in such a page (S06), and what it finds when it
 * may again (S10). And what it tells the firmware, past EL2 or through it (S72, S73).
 * Whatever it is, the host kernel gets an exception that it can tell from others, the
 * guest keeps what it has, and EL2 lives (I1, I4, I5).
 *
 * The module kvm_hostile_host does it as the kernel; the rest is done as the VMM.
 */
#include <asm/hwcap.h>
#include <fcntl.h>
#include <linux/psci.h>
#include <linux/sizes.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "kvm_util.h"
#include "processor.h"
#include "hostile.h"
#include "pageref.h"
#include "../test_modules/kvm_hostile_vcpu.h"

#define TIMEOUT		120
#define PAGE		4096ul
#define PRIVATE_GFN	(PKVM_MEM_IPA / PAGE + 1)
#define LENT_GFN	(PKVM_MEM_IPA / PAGE + 2)
#define FREE_GFN	(PKVM_HOLE_IPA / PAGE)
#define NOT_SUPPORTED	(-1L)

#define EC_UNKNOWN	0x00
#define EC_IABT_CUR	0x21
#define EC_DABT_CUR	0x25
#define ESR_S1PTW	BIT(7)
#define FSC(esr)	((esr) & 0x3f)
#define FSC_TRANSLATION	0x04	/* to 0x07, by level */
#define FSC_PERMISSION	0x0c	/* the same */
#define FSC_WALK	0x14	/* external abort on the walk, the same */

FIXTURE(touch) {
	struct pkvm_vm *vm;
	struct pkvm_vcpu *vcpu;
	struct khh_vm private, lent;
	void *ram;
	uint64_t seed;
	uint64_t linear;	/* the kernel's address of page 0 */
	int klog;
};

FIXTURE_SETUP(touch)
{
	const char *why = hostile_unavailable();
	struct khh_pages p;

	if (why)
		SKIP(return, "%s", why);
	self->klog = klog_open();
	self->seed = pkvm_seed();
	self->vm = pkvm_vm_create(NULL);
	self->vcpu = pkvm_vcpu0(self->vm);
	/* What EL2 is to give to the guest has to be RAM from the start. */
	self->ram = mmap(NULL, 16 * PAGE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_EQ(pkvm_set_slot(self->vm, 9, PKVM_HOLE_IPA, 16 * PAGE, self->ram, 0), 0);
	pkvm_must(self->vcpu, guest_fill, PKVM_MEM_IPA, 4 * PAGE, self->seed);
	ASSERT_EQ(pkvm_must(self->vcpu, guest_hvc, PKVM_HVC_SHARE, LENT_GFN * PAGE), 0);
	self->private = khh_vm_info(self->vm, PRIVATE_GFN);
	self->lent = khh_vm_info(self->vm, LENT_GFN);
	ASSERT_NE(self->private.guest_pfn, 0);
	p = khh_pages_alloc(0);
	self->linear = p.addr - p.pfn * PAGE;
	khh_page_free(p.pfn);
}

FIXTURE_TEARDOWN(touch)
{
	const char *bad;

	if (!self->vm)
		return;
	pkvm_vm_free(self->vm);
	munmap(self->ram, 16 * PAGE);
	hostile_close();
	bad = klog_complaint(self->klog);
	EXPECT_EQ(bad, NULL) {
		TH_LOG("the kernel says: %s", bad);
	}
	close(self->klog);
}

static bool guest_has_it_all(struct _test_data_touch *self)
{
	/* All of it but the page that it has lent. */
	return !pkvm_must(self->vcpu, guest_verify, PKVM_MEM_IPA, 2 * PAGE, self->seed);
}

static struct khh_try try(uint32_t index, uint64_t addr, uint64_t ttbr0)
{
	struct khh_try t = { .index = index, .addr = addr, .ttbr0 = ttbr0 };

	khh_must(KHH_IOC_TRY, &t);
	return t;
}

/* What does not translate an address, or need not where nothing is cached. */
static bool may_do_nothing(const char *name)
{
	static const char * const names[] = {
		"prfm", "prfm_st", "dc_ivac", "dc_cvac", "dc_cvau", "dc_civac", "dc_cvap",
		"ic_ivau", "at_s1e1r", "at_s1e1w", "at_s1e0r", "stxr", "ldtr", "sttr",
		"dc_igvac", "dc_cigvac", "ldgm", "stgm", "stzgm", "ldg", "stg", "stzg",
		"st2g", "stgp", "dc_gva", "dc_gzva",
	};
	int i;

	for (i = 0; i < ARRAY_SIZE(names); i++) {
		if (!strcmp(name, names[i]))
			return true;
	}
	return false;
}

/* EL1 has tags to lose only where there are some: the machine says so. */
static bool has_tags(void)
{
	return getauxval(AT_HWCAP2) & HWCAP2_MTE;
}

/* Every instruction fails as EL2 marks it, or is not there, or does nothing. */
static void expect_refused(struct __test_metadata *_metadata,
			   struct _test_data_touch *self, uint64_t pfn, const char *what)
{
	uint64_t addr = self->linear + pfn * PAGE + 64;
	struct khh_try t = { .nr = 1 };
	int i, marked = 0;

	for (i = 0; i < t.nr; i++) {
		t = try(i, addr, 0);
		EXPECT_EQ(t.value, 0) {
			TH_LOG("%s of %s brings %#llx", t.name, what, t.value);
		}
		if (!t.esr) {
			EXPECT_TRUE(may_do_nothing(t.name)) {
				TH_LOG("%s of %s is not refused", t.name, what);
			}
			continue;
		}
		/* Unprivileged accesses and those to tags may end at the kernel's tables. */
		if (KHH_EC(t.esr) == EC_UNKNOWN || FSC(t.esr) >= 0x0c ||
		    !strcmp(t.name, "ldtr") || !strcmp(t.name, "sttr"))
			continue;
		EXPECT_EQ(KHH_EC(t.esr), EC_DABT_CUR) {
			TH_LOG("%s of %s: ESR %#llx", t.name, what, t.esr);
		}
		EXPECT_EQ(FSC(t.esr) & ~3ul, FSC_TRANSLATION);
		EXPECT_EQ(t.esr & ESR_S1PTW, ESR_S1PTW) {
			TH_LOG("%s of %s has no mark: ESR %#llx", t.name, what, t.esr);
		}
		/* Block operations begin where the block does. */
		EXPECT_EQ(t.far & ~(PAGE - 1), addr & ~(PAGE - 1));
		marked++;
	}
	TH_LOG("%s: %d of %u are refused%s", what, marked, t.nr,
	       has_tags() ? ", with tags" : "");
	EXPECT_GE(marked, 12);
}

TEST_F_TIMEOUT(touch, i1_i5_private_page, TIMEOUT)
{
	expect_refused(_metadata, self, self->private.guest_pfn, "a private page");
	EXPECT_TRUE(guest_has_it_all(self));
}

TEST_F_TIMEOUT(touch, i1_i5_page_of_el2, TIMEOUT)
{
	struct khh_mc mc = { .vcpu_fd = self->vcpu->fd, .topup = 16 };
	uint64_t table, donated = khh_page_alloc(0), i;

	/* A page that EL2 takes for tables. */
	khh_must(KHH_IOC_MC, &mc);
	table = khh_vcpu_info(self->vcpu).head / PAGE;
	ASSERT_EQ(khh_donate(self->vcpu, donated, FREE_GFN, 1), 0);
	for (i = 0; i < 64 && khh_page_is_alone(table); i++) {
		hvc_vcpu(self->vcpu, KHH_pkvm_host_donate_guest, donated, FREE_GFN, 1);
		pkvm_must(self->vcpu, guest_hvc, PKVM_HVC_GUARD_MAP,
			  0x100000000 + (i << 30));
	}
	if (khh_page_is_alone(table))
		SKIP(return, "EL2 takes no table page here");
	expect_refused(_metadata, self, table, "EL2's page");
	EXPECT_EQ(hvc(KHH_pkvm_host_force_reclaim, donated), 0);
	khh_page_free(donated);
	EXPECT_TRUE(guest_has_it_all(self));
}

/* The same instructions where they are allowed: that is what they look like. */
TEST_F_TIMEOUT(touch, page_of_the_host, TIMEOUT)
{
	struct khh_pages p = khh_pages_alloc(0);
	struct khh_try t = { .nr = 1 };
	int i, worked = 0;

	for (i = 0; i < t.nr; i++) {
		t = try(i, p.addr + 64, 0);
		worked += !t.esr;
		/* The one or other is not there, or not for such a page. */
		EXPECT_EQ(t.esr & ESR_S1PTW && KHH_EC(t.esr) == EC_DABT_CUR, 0) {
			TH_LOG("%s: ESR %#llx", t.name, t.esr);
		}
	}
	TH_LOG("%d of %u work", worked, t.nr);
	EXPECT_GE(worked, 18);
	khh_page_free(p.pfn);
}

/* As the kernel's tables have it: valid, normal memory, EL1 only, no execution. */
#define DESC_TABLE(pfn)	((pfn) * PAGE | 3)
#define DESC_PAGE(pfn)	((pfn) * PAGE | 3ul << 53 | 1 << 10 | 3 << 8 | 3)

/*
 * S06: tables of the host's in a page that is not the host's any more. An external
 * abort on the walk, without the mark that says whose page was touched: the address
 * names another.
 */
TEST_F_TIMEOUT(touch, i5_host_tables_in_a_private_page, TIMEOUT)
{
	uint64_t t[3], data = khh_page_alloc(0), val;
	struct khh_try r;
	int i, j;

	for (i = 0; i < 3; i++)
		t[i] = khh_page_alloc(0);
	ASSERT_EQ(khh_poke(t[0], 0, DESC_TABLE(t[1])), 0);
	ASSERT_EQ(khh_poke(t[1], 0, DESC_TABLE(t[2])), 0);
	ASSERT_EQ(khh_poke(t[2], 0, DESC_PAGE(data)), 0);
	ASSERT_EQ(khh_poke(data, 8, 0x1234), 0);
	r = try(0, 8, t[0] * PAGE);
	ASSERT_EQ(r.esr, 0);
	ASSERT_EQ(r.value, 0x1234);

	for (i = 0; i < 4; i++) {
		uint64_t lost = i < 3 ? t[i] : data;

		ASSERT_EQ(khh_donate(self->vcpu, lost, FREE_GFN + i, 1), 0);
		for (j = 0; j < r.nr; j++) {
			r = try(j, 8, t[0] * PAGE);
			EXPECT_EQ(r.value, 0);
			if (!r.esr) {
				EXPECT_TRUE(may_do_nothing(r.name)) {
					TH_LOG("%s at level %d is not refused", r.name, i);
				}
				continue;
			}
			if (KHH_EC(r.esr) != EC_DABT_CUR || FSC(r.esr) == 0x21)
				continue;
			if (i == 3 && r.esr & ESR_S1PTW) {
				/* Not a walk, but the page. */
				EXPECT_EQ(FSC(r.esr) & ~3ul, FSC_TRANSLATION);
				continue;
			}
			if (i == 3)
				continue;
			EXPECT_EQ(r.esr & ESR_S1PTW, 0) {
				TH_LOG("%s at level %d: ESR %#llx", r.name, i, r.esr);
			}
			EXPECT_EQ(FSC(r.esr) & ~3ul, FSC_WALK);
		}
		/* It is the guest's as before: a walk takes nothing away. */
		EXPECT_EQ(khh_peek(lost, 0, &val), EFAULT);
		EXPECT_EQ(pkvm_must(self->vcpu, guest_load, (FREE_GFN + i) * PAGE + 8),
			  i == 3 ? 0x1234 : 0);
		EXPECT_EQ(hvc(KHH_pkvm_host_force_reclaim, lost), 0);
		/* What it lost it has to write again. */
		ASSERT_EQ(khh_poke(t[0], 0, DESC_TABLE(t[1])), 0);
		ASSERT_EQ(khh_poke(t[1], 0, DESC_TABLE(t[2])), 0);
		ASSERT_EQ(khh_poke(t[2], 0, DESC_PAGE(data)), 0);
		ASSERT_EQ(khh_poke(data, 8, 0x1234), 0);
		ASSERT_EQ(try(0, 8, t[0] * PAGE).value, 0x1234);
	}
	for (i = 0; i < 3; i++)
		khh_page_free(t[i]);
	khh_page_free(data);
	EXPECT_TRUE(guest_has_it_all(self));
}

/* A page of a device's, or 0. */
static uint64_t find_device(void)
{
	FILE *f = fopen("/proc/iomem", "r");
	uint64_t start, pfn = 0;
	char line[256];

	TEST_ASSERT(f, "cannot open /proc/iomem");
	while (!pfn && fgets(line, sizeof(line), f)) {
		if (strstr(line, "pl031") && sscanf(line, "%lx-", &start) == 1)
			pfn = start / PAGE;
	}
	fclose(f);
	return pfn;
}

#define INSN_RET	0xd65f03c0

/* The last of the ways to touch a page, by its name. */
static struct khh_try fetch(uint64_t addr, uint64_t ttbr0)
{
	struct khh_try t = try(0, addr, ttbr0);

	t = try(t.nr - 1, addr, ttbr0);
	TEST_ASSERT(!strcmp(t.name, "fetch"), "the last one is %s", t.name);
	return t;
}

/*
 * S07: the host kernel executes what is not its own. Nor may it execute a device, which
 * it may read: that, too, has to end, and not be tried for ever.
 */
TEST_F_TIMEOUT(touch, i5_execution_by_the_kernel, TIMEOUT)
{
	const uint64_t executable = ~(1ul << 53);
	uint64_t t[3], data = khh_page_alloc(0), device = find_device();
	struct khh_try r;
	int i;

	for (i = 0; i < 3; i++)
		t[i] = khh_page_alloc(0);
	ASSERT_EQ(khh_poke(t[0], 0, DESC_TABLE(t[1])), 0);
	ASSERT_EQ(khh_poke(t[1], 0, DESC_TABLE(t[2])), 0);
	ASSERT_EQ(khh_poke(t[2], 0, DESC_PAGE(data) & executable), 0);
	ASSERT_EQ(khh_poke(t[2], 8, DESC_PAGE(device) & executable), 0);
	ASSERT_EQ(khh_poke(t[2], 16, DESC_PAGE(self->private.guest_pfn) & executable), 0);
	ASSERT_EQ(khh_poke(data, 8, INSN_RET), 0);
	/* So it can. */
	EXPECT_EQ(fetch(8, t[0] * PAGE).esr, 0);

	r = fetch(2 * PAGE + 8, t[0] * PAGE);
	EXPECT_EQ(KHH_EC(r.esr), EC_IABT_CUR);
	EXPECT_EQ(FSC(r.esr) & ~3ul, FSC_TRANSLATION);
	EXPECT_EQ(r.esr & ESR_S1PTW, ESR_S1PTW);
	EXPECT_EQ(r.far, 2 * PAGE + 8);
	if (device) {
		/* EL2 maps it when it is read. */
		EXPECT_EQ(try(0, PAGE + 8, t[0] * PAGE).esr, 0);
		r = fetch(PAGE + 8, t[0] * PAGE);
		EXPECT_EQ(KHH_EC(r.esr), EC_IABT_CUR);
		EXPECT_EQ(FSC(r.esr) & ~3ul, FSC_PERMISSION);
		EXPECT_EQ(r.esr & ESR_S1PTW, ESR_S1PTW);
		EXPECT_EQ(r.far, PAGE + 8);
		EXPECT_EQ(try(0, PAGE + 8, t[0] * PAGE).esr, 0);
	}
	for (i = 0; i < 3; i++)
		khh_page_free(t[i]);
	khh_page_free(data);
	EXPECT_TRUE(guest_has_it_all(self));
}

/* A page far beyond the end of memory, where nothing answers. */
static uint64_t find_hole(void)
{
	FILE *f = fopen("/proc/iomem", "r");
	uint64_t start, end, last = 0;
	char line[256];

	TEST_ASSERT(f, "cannot open /proc/iomem");
	while (fgets(line, sizeof(line), f)) {
		if (strstr(line, "System RAM") &&
		    sscanf(line, "%lx-%lx", &start, &end) == 2 && end > last)
			last = end;
	}
	fclose(f);
	return last / PAGE + SZ_1G / PAGE;
}

/* How often an access ended in each way while tables changed. */
struct ends {
	uint64_t last_level, walk;
};

/*
 * Access page 1 of a translation of its own, @tries times, while another CPU has its
 * tables lead to @pfn and to nowhere, by turns.
 */
static struct ends flip_tables(struct __test_metadata *_metadata,
			       struct _test_data_touch *self, uint64_t pfn, int tries,
			       struct khh_try (*access)(uint64_t addr, uint64_t ttbr0),
			       uint64_t ec, uint64_t fsc)
{
	const uint64_t executable = ~(1ul << 53);
	uint64_t t[3], hole = find_hole(), i;
	struct khv_field entry = { .len = 8, .nr = 2 };
	struct khv_flip flip = { .fields = (uintptr_t)&entry, .nr = 1, .cpu = 1 };
	struct ends ends = { 0, 0 };
	cpu_set_t all, one;
	struct khh_try r;
	int dev;

	dev = open(KHV_DEVICE, O_RDWR | O_CLOEXEC);
	TEST_ASSERT(dev >= 0, "no %s", KHV_DEVICE);
	for (i = 0; i < 3; i++)
		t[i] = khh_page_alloc(0);
	TEST_ASSERT(!khh_poke(t[0], 0, DESC_TABLE(t[1])) &&
		    !khh_poke(t[1], 0, DESC_TABLE(t[2])) &&
		    !khh_poke(t[2], 8, DESC_PAGE(pfn) & executable), "no tables");
	/* Whatever EL2 maps at the first touch. */
	try(0, PAGE + 8, t[0] * PAGE);
	entry.addr = self->linear + t[1] * PAGE;
	entry.values[0] = DESC_TABLE(hole);
	entry.values[1] = DESC_TABLE(t[2]);

	TEST_ASSERT(!sched_getaffinity(0, sizeof(all), &all), "affinity");
	CPU_ZERO(&one);
	CPU_SET(0, &one);
	TEST_ASSERT(!sched_setaffinity(0, sizeof(one), &one), "affinity");
	TEST_ASSERT(!ioctl(dev, KHV_IOC_FLIP_START, &flip), "flip: %s", strerror(errno));
	/* The tables are of both kinds, and so is what was seen: if need be, try longer. */
	for (i = 0; i < tries || (i < 50 * tries && (ends.last_level <= tries / 100 ||
						     ends.walk <= tries / 100)); i++) {
		r = access(PAGE + 8, t[0] * PAGE);
		EXPECT_EQ(KHH_EC(r.esr), ec);
		if ((FSC(r.esr) & ~3ul) == fsc)
			ends.last_level++;
		else if ((FSC(r.esr) & ~3ul) == FSC_WALK)
			ends.walk++;
	}
	TEST_ASSERT(!ioctl(dev, KHV_IOC_FLIP_STOP, &flip), "flip: %s", strerror(errno));
	EXPECT_EQ(ends.last_level + ends.walk, i);
	sched_setaffinity(0, sizeof(all), &all);
	close(dev);
	for (i = 0; i < 3; i++)
		khh_page_free(t[i]);
	EXPECT_GT(ends.last_level, tries / 100);
	EXPECT_GT(ends.walk, tries / 100);

	return ends;
}

static const char *cannot_flip(void)
{
	const char *why = hostile_load(KHV_MODULE, KHV_DEVICE);

	return why ?: sysconf(_SC_NPROCESSORS_ONLN) < 2 ? "no second CPU" : NULL;
}

/*
 * The same while another CPU has the kernel's tables lead to nowhere, and back. If EL2
 * walked them after the CPU did, to learn what was to be executed, it would be EL2 that
 * takes the external abort (S80).
 */
TEST_F_TIMEOUT(touch, i5_execution_while_tables_change, TIMEOUT)
{
	uint64_t device = find_device();
	const char *why = cannot_flip();
	struct ends ends;

	if (why || !device)
		SKIP(return, "%s", why ?: "no device to execute");
	ends = flip_tables(_metadata, self, device, 2000, fetch, EC_IABT_CUR,
			   FSC_PERMISSION);
	TH_LOG("%lu times a device, %lu times nothing", ends.last_level, ends.walk);
	EXPECT_TRUE(guest_has_it_all(self));
}

static struct khh_try load(uint64_t addr, uint64_t ttbr0)
{
	return try(0, addr, ttbr0);
}

/*
 * The same for a guest's page. For a Cortex-A57 of before r1p3 EL2 has to walk the
 * host's tables (erratum 834220), and has a way on from the external abort.
 */
TEST_F_TIMEOUT(touch, i5_access_while_tables_change, TIMEOUT)
{
	const char *why = cannot_flip();
	struct ends ends;

	if (why)
		SKIP(return, "%s", why);
	ends = flip_tables(_metadata, self, self->private.guest_pfn, 2000, load, EC_DABT_CUR,
			   FSC_TRANSLATION);
	TH_LOG("%lu times a private page, %lu times nothing", ends.last_level, ends.walk);
	EXPECT_TRUE(guest_has_it_all(self));
}

/* S08: what a VMM may do to caches, at its own address of a private page. */
static sigjmp_buf back;
static int signal_seen;

static void on_signal(int sig)
{
	WRITE_ONCE(signal_seen, sig);
	siglongjmp(back, 1);
}

#define USER_INSN(name, insn)						\
static void user_##name(void *p)					\
{									\
	asm volatile(insn :: "r" (p) : "memory");			\
}

USER_INSN(dc_zva, "dc zva, %0")
USER_INSN(dc_cvac, "dc cvac, %0")
USER_INSN(dc_cvau, "dc cvau, %0")
USER_INSN(dc_civac, "dc civac, %0")
USER_INSN(ic_ivau, "ic ivau, %0")
USER_INSN(prfm, "prfm pldl1keep, [%0]")
USER_INSN(ldxr, "ldxr x9, [%0]")
USER_INSN(ldp_q, "ldp q0, q1, [%0]")

static int user_try(void (*fn)(void *p), void *p)
{
	static const int sigs[] = { SIGSEGV, SIGBUS, SIGILL };
	struct sigaction sa = { .sa_handler = on_signal, .sa_flags = SA_NODEFER };
	struct sigaction old[ARRAY_SIZE(sigs)];
	int i;

	WRITE_ONCE(signal_seen, 0);
	for (i = 0; i < ARRAY_SIZE(sigs); i++)
		sigaction(sigs[i], &sa, &old[i]);
	if (!sigsetjmp(back, 1))
		fn(p);
	for (i = 0; i < ARRAY_SIZE(sigs); i++)
		sigaction(sigs[i], &old[i], NULL);
	return READ_ONCE(signal_seen);
}

TEST_F_TIMEOUT(touch, i5_cache_maintenance_of_the_vmm, TIMEOUT)
{
	static const struct {
		const char *name;
		void (*fn)(void *p);
		bool must;
	} t[] = {
		{ "dc zva", user_dc_zva, true }, { "ldxr", user_ldxr, true },
		{ "ldp q", user_ldp_q, true }, { "dc cvac", user_dc_cvac },
		{ "dc cvau", user_dc_cvau }, { "dc civac", user_dc_civac },
		{ "ic ivau", user_ic_ivau }, { "prfm", user_prfm },
	};
	char *page = self->vm->mem + PAGE, *lent = self->vm->mem + 2 * PAGE;
	int i, sig;

	for (i = 0; i < ARRAY_SIZE(t); i++) {
		sig = user_try(t[i].fn, page + 128);
		EXPECT_TRUE(sig == SIGSEGV || (!sig && !t[i].must)) {
			TH_LOG("%s of a private page: signal %d", t[i].name, sig);
		}
		if (t[i].fn != user_dc_zva) {
			EXPECT_EQ(user_try(t[i].fn, lent + 128), 0) {
				TH_LOG("%s of a lent page", t[i].name);
			}
		}
	}
	EXPECT_TRUE(guest_has_it_all(self));
}

/* S10: whichever way the host looks at it, nothing is left in a page that comes back. */
TEST_F_TIMEOUT(touch, i4_every_alias_is_zero, TIMEOUT)
{
	uint64_t page = khh_page_alloc(0), off, val;
	struct khh_access a = { .pfn = page };

	ASSERT_EQ(khh_donate(self->vcpu, page, FREE_GFN, 1), 0);
	pkvm_must(self->vcpu, guest_fill, FREE_GFN * PAGE, PAGE, self->seed);
	/* Neither does an alias show it while it is the guest's. */
	EXPECT_TRUE(ioctl(khh_dev, KHH_IOC_PEEK_NC, &a) && errno == EFAULT);
	ASSERT_EQ(hvc(KHH_pkvm_host_force_reclaim, page), 0);
	for (off = 0; off < PAGE; off += 8) {
		a.offset = off;
		khh_must(KHH_IOC_PEEK_NC, &a);
		ASSERT_EQ(a.value, 0);
		ASSERT_EQ(khh_peek(page, off, &val), 0);
		ASSERT_EQ(val, 0);
	}
	khh_page_free(page);
}

/* ------------------------------------------------------------ S72, S73: SMCs */

static long smc(uint64_t id, uint64_t a, uint64_t b, uint64_t c)
{
	struct khh_call call = {
		.fn = KHH_SMC, .id = id, .args = { a, b, c },
	};

	khh_calls(-1, -1, &call, 1);
	return call.smccc;
}

/*
 * The function of an SMC is 32 bits: with others set too, a call is the same call, and
 * goes the same way. If EL2 did not know CPU_ON for what it is, the firmware would
 * start a CPU at EL2 where the host says.
 */
TEST_F_TIMEOUT(touch, i5_smc_with_more_than_32_bits, TIMEOUT)
{
	static const uint64_t high[] = { 0, 1ul << 32, 1ul << 63, 0xffffffff00000000 };
	uint64_t wild = self->private.guest_pfn * PAGE;
	long version = smc(PSCI_0_2_FN_PSCI_VERSION, 0, 0, 0);
	int i, cpu;

	ASSERT_GE(version, 2);
	for (i = 0; i < ARRAY_SIZE(high); i++) {
		EXPECT_EQ(smc(high[i] | PSCI_0_2_FN64_CPU_ON, ~0ul, wild, 0),
			  PSCI_RET_INVALID_PARAMS) {
			TH_LOG("upper half %#lx", high[i]);
		}
		for (cpu = 0; cpu < sysconf(_SC_NPROCESSORS_ONLN); cpu++)
			EXPECT_EQ(smc(high[i] | PSCI_0_2_FN64_CPU_ON, cpu, wild, 0),
				  PSCI_RET_ALREADY_ON);
		/* These the relay does not let through. */
		EXPECT_EQ(smc(high[i] | PSCI_0_2_FN_CPU_ON, 0, wild, 0), NOT_SUPPORTED);
		EXPECT_EQ(smc(high[i] | PSCI_0_2_FN_CPU_SUSPEND, 0, wild, 0), NOT_SUPPORTED);
		EXPECT_EQ(smc(high[i] | 0x8400001f, 0, wild, 0), NOT_SUPPORTED);
		/* And of the secure world there is nothing here to be called. */
		EXPECT_EQ(smc(high[i] | 0x84000063, 0x10001, 0, 0), NOT_SUPPORTED);
		EXPECT_EQ(smc(high[i] | 0xc600ffff, wild, 0, 0), NOT_SUPPORTED);
	}
	EXPECT_TRUE(guest_has_it_all(self));
}

struct race {
	pthread_t tid;
	int cpu;
	long wrong, calls;
	bool *stop;
};

static void *turn_on(void *arg)
{
	struct race *r = arg;
	cpu_set_t set;
	long ret;

	CPU_ZERO(&set);
	CPU_SET(r->cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
	while (!READ_ONCE(*r->stop)) {
		ret = smc(PSCI_0_2_FN64_CPU_ON, r->calls % 3, r->calls << 12, r->calls);
		r->wrong += ret != PSCI_RET_ALREADY_ON && ret != PSCI_RET_INVALID_PARAMS;
		r->calls++;
	}
	return NULL;
}

/*
 * S73: CPUs are turned on that are on, from two CPUs and to all kinds of places, while
 * a guest runs. The relay keeps the place for each CPU: it must not stay taken.
 */
TEST_F_TIMEOUT(touch, i5_relay_of_cpu_on, TIMEOUT)
{
	bool stop = false;
	struct race r[2] = { { .cpu = 0, .stop = &stop }, { .cpu = 1, .stop = &stop } };
	int i;

	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		SKIP(return, "needs two CPUs");
	for (i = 0; i < 2; i++)
		ASSERT_EQ(pthread_create(&r[i].tid, NULL, turn_on, &r[i]), 0);
	for (i = 0; i < 20; i++)
		EXPECT_TRUE(guest_has_it_all(self));
	WRITE_ONCE(stop, true);
	for (i = 0; i < 2; i++) {
		pthread_join(r[i].tid, NULL);
		EXPECT_EQ(r[i].wrong, 0);
		EXPECT_GT(r[i].calls, 0);
	}
	TH_LOG("%ld calls", r[0].calls + r[1].calls);
	/* Not a state to wake up from: the host goes on where it was. */
	EXPECT_EQ(smc(PSCI_0_2_FN64_CPU_SUSPEND, 0, self->private.guest_pfn * PAGE, 1), 0);
	EXPECT_TRUE(guest_has_it_all(self));
}

/* 0, or why the kernel does not turn the CPU off or on. */
static int set_online(int cpu, bool online)
{
	char path[64];
	int fd, err;

	snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%d/online", cpu);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return errno;
	err = write(fd, online ? "1" : "0", 1) == 1 ? 0 : errno;
	close(fd);
	return err;
}

/* An instruction of the module's table, executed by the host: ESR_EL1, or 0. */
static uint64_t try_insn(const char *name)
{
	struct khh_insn in = { .nr = 1 };

	for (; in.index < in.nr; in.index++) {
		khh_must(KHH_IOC_INSN, &in);
		if (!strcmp(in.name, name))
			return in.esr;
	}
	return -1;
}

/*
 * S73: a CPU that was off starts at EL2, and stage 2 is on before the host has it
 * again. So look at once, before a guest runs there, whose exit would turn it on.
 */
TEST_F_TIMEOUT(touch, i1_i5_cpu_that_comes_back, TIMEOUT)
{
	struct pkvm_vm *other;
	cpu_set_t all, one;
	uint64_t val, esr;
	int i, err;

	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		SKIP(return, "needs two CPUs");
	ASSERT_EQ(sched_getaffinity(0, sizeof(all), &all), 0);
	for (i = 0; i < 3; i++) {
		err = set_online(1, false);
		if (!i && (err == ENOENT || err == EPERM || err == EOPNOTSUPP))
			SKIP(return, "CPUs cannot be turned off here");
		ASSERT_EQ(err, 0);
		EXPECT_TRUE(guest_has_it_all(self));
		ASSERT_EQ(set_online(1, true), 0);

		CPU_ZERO(&one);
		CPU_SET(1, &one);
		ASSERT_EQ(sched_setaffinity(0, sizeof(one), &one), 0);
		EXPECT_EQ(khh_peek(self->private.guest_pfn, 0, &val), EFAULT) {
			TH_LOG("the host reads %#lx", val);
		}
		/* In streaming mode EL2's own SVE instructions would be undefined. */
		if (!(getauxval(AT_HWCAP2) & HWCAP2_SME)) {
			esr = try_insn("smstart_sm");
			ASSERT_NE(esr, 0);
			EXPECT_EQ(KHH_EC(esr), 0);
		}
		EXPECT_EQ(khh_poke(self->private.guest_pfn, 0, KHH_ANYTHING), EFAULT);
		EXPECT_EQ(khh_peek(self->lent.guest_pfn, 0, &val), 0);
		EXPECT_TRUE(guest_has_it_all(self));
		EXPECT_EQ(khh_peek(self->private.guest_pfn, 0, &val), EFAULT);
		other = pkvm_vm_create(NULL);
		pkvm_must(pkvm_vcpu0(other), guest_fill, PKVM_MEM_IPA, 16 * PAGE, i);
		EXPECT_EQ(pkvm_must(pkvm_vcpu0(other), guest_verify, PKVM_MEM_IPA,
				    16 * PAGE, i), 0);
		pkvm_vm_free(other);
		/* It is forgotten at a CPU that goes off: all of them again. */
		ASSERT_EQ(sched_setaffinity(0, sizeof(all), &all), 0);
	}
}

TEST_HARNESS_MAIN
