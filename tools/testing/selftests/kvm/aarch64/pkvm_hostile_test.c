// SPDX-License-Identifier: GPL-2.0-only
/*
 * EL2 against a host kernel that is its enemy: calls with any arguments, in any
 * order and state (S20 to S27, S30 to S34, S40 to S44, S80). Each must be answered
 * by the error that EL2's own documentation names, and change nothing: guests go on
 * with what they had (I1, I3), pages are who they belonged to, and the machine lives.
 *
 * The module kvm_hostile_host makes the calls, by hostile.h; this file owns what is tried.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/psci.h>
#include <linux/sizes.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "kvm_util.h"
#include "processor.h"
#include "held.h"
#include "hostile.h"
#include "pageref.h"

#define TIMEOUT		180
#define PAGE		4096ul
#define MEM_SIZE	SZ_1M
#define NOT_SUPPORTED	(-1L)
#define EC_SVE			0x19
#define EC_SMC64		0x17
#define EC_SYS64		0x18
#define EC_DABT_LOW		0x24
#define EC_HVC64		0x16

/* Guest frames that no memslot has, but the guest's identity map does. */
#define FREE_GFN	(PKVM_HOLE_IPA / PAGE)
/* In a protected VM: a private page, and one that it lends to the host. */
#define PRIVATE_GFN	(PKVM_MEM_IPA / PAGE + 1)
#define LENT_GFN	(PKVM_MEM_IPA / PAGE + 2)

static long s2_op(uint64_t handle, uint64_t op, uint64_t gfn, uint64_t nr)
{
	return hvc(KHH_pkvm_guest_stage2_op, handle, op, gfn, nr);
}

/* EL2 stops for interrupts. */
static long take_back(struct pkvm_vm *vm, uint64_t gfn, uint64_t nr)
{
	uint64_t end = gfn + nr;
	long left = nr;

	while (left > 0)
		left = s2_op(khh_handle(vm), KHH_OP_UNSHARE, end - left, left);
	return left;
}

static int page_peek(uint64_t pfn, uint64_t *val)
{
	return khh_peek(pfn, 0, val);
}

static int page_poke(uint64_t pfn, uint64_t val)
{
	return khh_poke(pfn, 0, val);
}

/* A field of the host's vCPU: the page that it is in. The linear map has no gaps. */
static uint64_t field_pfn(const struct khh_mc *mc, uint64_t addr)
{
	return mc->pfn + addr / PAGE - mc->addr / PAGE;
}

static bool cpu_has_sve(void)
{
	int kvm = open_kvm_dev_path_or_exit();
	int ret = ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_ARM_SVE);

	close(kvm);
	return ret > 0;
}

/* The host reads and writes the page as ever. */
static bool page_is_usable(uint64_t pfn)
{
	uint64_t val;

	return !page_poke(pfn, KHH_ANYTHING) && !page_peek(pfn, &val) && val == KHH_ANYTHING;
}

/* ------------------------------------------------------------ the machine */

/* EL2's carve-out, as the kernel reported it at boot. */
static bool find_el2_memory(uint64_t *pfn, uint64_t *nr)
{
	int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	uint64_t mib, base;
	char line[8192], *p;
	ssize_t len;

	*nr = 0;
	while ((len = read(fd, line, sizeof(line) - 1)) > 0 || errno == EPIPE) {
		if (len <= 0)
			continue;
		line[len] = 0;
		p = strstr(line, "Reserved ");
		if (!p || !strstr(line, "kvm [") ||
		    sscanf(p, "Reserved %lu MiB at 0x%lx", &mib, &base) != 2)
			continue;
		*pfn = base / PAGE;
		*nr = mib * SZ_1M / PAGE;
	}
	close(fd);
	return *nr;
}

struct places {
	uint64_t last_ram;	/* pfn of the last page of memory */
	uint64_t hole;		/* of a page that is nothing */
	uint64_t mmio;		/* of a device, or 0 */
};

static void find_places(struct places *p)
{
	FILE *f = fopen("/proc/iomem", "r");
	uint64_t start, end;
	char line[256];

	memset(p, 0, sizeof(*p));
	TEST_ASSERT(f, "cannot open /proc/iomem");
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx", &start, &end) != 2)
			continue;
		if (strstr(line, "System RAM") && end / PAGE > p->last_ram)
			p->last_ram = end / PAGE;
		if (strstr(line, "pl031"))
			p->mmio = start / PAGE;
	}
	fclose(f);
	TEST_ASSERT(p->last_ram, "no memory in /proc/iomem");
	/* Far beyond: the end of memory may be hidden or a device. */
	p->hole = p->last_ram + SZ_1G / PAGE;
}

/* ------------------------------------------------------------- fixture */

FIXTURE(host) {
	struct pkvm_vm *a, *b;		/* ordinary */
	struct pkvm_vm *p, *q;		/* protected */
	struct pkvm_vcpu *va, *vb, *vp, *vq;
	uint64_t page;			/* the host's own */
	uint64_t seed;
	uint64_t next_gfn;		/* of p, for probes by donation */
	bool a_dead, b_dead, p_dead, q_dead;
	int klog;
};

static void *free_ram;

static struct pkvm_vm *make_vm(bool ordinary, uint64_t seed)
{
	struct pkvm_opts opts = {
		.ordinary = ordinary, .mem_size = MEM_SIZE,
	};
	struct pkvm_vm *vm = pkvm_vm_create(&opts);
	struct pkvm_vcpu *vcpu = pkvm_vcpu0(vm);

	/* What EL2 is to give to a protected guest has to be RAM from the start. */
	if (!ordinary)
		TEST_ASSERT(!pkvm_set_slot(vm, 9, PKVM_HOLE_IPA, SZ_1G, free_ram, 0),
			    "cannot declare more memory");
	pkvm_must(vcpu, guest_fill, PKVM_MEM_IPA, 4 * PAGE, seed);
	if (!ordinary)
		TEST_ASSERT(!pkvm_must(vcpu, guest_hvc, PKVM_HVC_SHARE, LENT_GFN * PAGE),
			    "the guest cannot share a page");
	khh_topup(vcpu);
	return vm;
}

FIXTURE_SETUP(host)
{
	const char *why = hostile_unavailable();

	if (why)
		SKIP(return, "%s", why);
	self->klog = klog_open();
	self->seed = pkvm_seed();
	free_ram = mmap(NULL, SZ_1G, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	ASSERT_NE(free_ram, MAP_FAILED);
	self->a = make_vm(true, self->seed);
	self->b = make_vm(true, self->seed + 1);
	self->p = make_vm(false, self->seed + 2);
	self->q = make_vm(false, self->seed + 3);
	self->va = pkvm_vcpu0(self->a);
	self->vb = pkvm_vcpu0(self->b);
	self->vp = pkvm_vcpu0(self->p);
	self->vq = pkvm_vcpu0(self->q);
	self->page = khh_page_alloc(0);
	self->next_gfn = FREE_GFN + 0x1000;
}

static bool vm_is_sound(struct pkvm_vcpu *vcpu, uint64_t seed)
{
	return !pkvm_must(vcpu, guest_verify, PKVM_MEM_IPA, 4 * PAGE, seed);
}

/* Whatever was tried: the guests have their memory, the host has its own. */
FIXTURE_TEARDOWN(host)
{
	const char *bad;

	if (!self->a)
		return;
	EXPECT_TRUE(self->a_dead || vm_is_sound(self->va, self->seed));
	EXPECT_TRUE(self->b_dead || vm_is_sound(self->vb, self->seed + 1));
	EXPECT_TRUE(self->p_dead || vm_is_sound(self->vp, self->seed + 2));
	EXPECT_TRUE(self->q_dead || vm_is_sound(self->vq, self->seed + 3));
	pkvm_vm_free(self->a);
	pkvm_vm_free(self->b);
	pkvm_vm_free(self->p);
	pkvm_vm_free(self->q);
	EXPECT_TRUE(page_is_usable(self->page));
	EXPECT_TRUE(khh_page_is_alone(self->page));
	khh_page_free(self->page);
	hostile_close();
	bad = klog_complaint(self->klog);
	EXPECT_EQ(bad, NULL) {
		TH_LOG("the kernel says: %s", bad);
	}
	close(self->klog);
}

/*
 * Would EL2 give this page to a protected guest? It does if it can, so that the page
 * comes back by force, and what was in it is lost.
 */
static long try_donation(struct _test_data_host *self, uint64_t pfn)
{
	long ret = khh_donate(self->vp, pfn, self->next_gfn++, 1);

	if (!ret && hvc(KHH_pkvm_host_force_reclaim, pfn))
		return KHH_ANYTHING;
	return ret;
}

/* ---------------------------------------------------------- S21: numbers */

TEST_F_TIMEOUT(host, barred_and_unknown_calls, TIMEOUT)
{
	static const uint64_t whole[] = {
		0, 1, 2, 3,		/* of the stub: vectors, restart */
		0x84000000, 0xc4000003,	/* of PSCI */
		0x8600ff01, 0xc6000003,	/* what guests call */
		0xffffffff, ~0ul, 1ul << 63, 0x1c6000000,
	};
	struct khh_call c;
	uint64_t id;
	int i;

	for (id = 0; id < 0x10000; id++) {
		if (id >= khh_info.first_id && id < khh_info.nr_ids)
			continue;
		if (id > khh_info.nr_ids + 64 && id % 251)
			continue;
		c = (struct khh_call) { .fn = KHH_NUMBER, .id = id,
					.args = { self->page, 1, 1, 1, 1, 1 } };
		khh_calls(-1, -1, &c, 1);
		EXPECT_EQ(c.smccc, NOT_SUPPORTED) {
			TH_LOG("number %lu", id);
		}
	}
	for (i = 0; i < ARRAY_SIZE(whole); i++) {
		c = (struct khh_call) { .fn = KHH_WHOLE, .id = whole[i] };
		khh_calls(-1, -1, &c, 1);
		EXPECT_EQ(c.smccc, NOT_SUPPORTED) {
			TH_LOG("function %#lx", whole[i]);
		}
	}
}

TEST_F_TIMEOUT(host, finalize_again, TIMEOUT)
{
	int cpu;

	for (cpu = 0; cpu < sysconf(_SC_NPROCESSORS_ONLN); cpu++)
		EXPECT_EQ(hvc_on(cpu, KHH_pkvm_prot_finalize), -EPERM);
}

/* --------------------------------------------------- S23: which vCPU is loaded */

TEST_F_TIMEOUT(host, no_vcpu_loaded, TIMEOUT)
{
	EXPECT_EQ(hvc(KHH_pkvm_host_share_guest, self->page, FREE_GFN, 1, KHH_RWX), -EINVAL);
	EXPECT_EQ(hvc(KHH_pkvm_host_relax_guest, FREE_GFN, 1, KHH_RWX), -EINVAL);
	EXPECT_EQ(hvc(KHH_pkvm_host_donate_guest, self->page, FREE_GFN, 1), -EINVAL);
	EXPECT_EQ(hvc(KHH_kvm_vcpu_run, khh_vm_info(self->a, 0).addr), -EINVAL);
	/* Putting nothing is nothing. */
	hvc(KHH_pkvm_vcpu_put);
	hvc(KHH_pkvm_vcpu_put);
	EXPECT_TRUE(khh_page_is_alone(self->page));
}

TEST_F_TIMEOUT(host, load_of_what_is_not_there, TIMEOUT)
{
	uint64_t handle = khh_handle(self->a), bad[] = {
		0, 1, khh_info.handle_offset - 1, khh_info.handle_offset + khh_info.max_vms - 1,
		khh_info.handle_offset + khh_info.max_vms, 0x7fffffff, 0x80000000, 0xffffffff,
		~0ul, 1ul << 63,
	};
	uint64_t idx[] = { 1, 2, 255, 256, 511, 512, 0x7fffffff, 0x80000000, 0xffffffff,
			   ~0ul };
	int i;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		EXPECT_EQ(hvc(KHH_pkvm_vcpu_load, bad[i], 0), -ENOENT) {
			TH_LOG("handle %#lx", bad[i]);
			hvc(KHH_pkvm_vcpu_put);
		}
	}
	for (i = 0; i < ARRAY_SIZE(idx); i++) {
		EXPECT_EQ(hvc(KHH_pkvm_vcpu_load, handle, idx[i]), -ENOENT) {
			TH_LOG("vCPU %#lx", idx[i]);
			hvc(KHH_pkvm_vcpu_put);
		}
	}
}

/* Handles and indices have 32 bits: more is the same as without, or refused. */
TEST_F_TIMEOUT(host, numbers_of_more_than_32_bits, TIMEOUT)
{
	uint64_t handle = khh_handle(self->a) + (1ul << 32);
	struct khh_call c[2] = {
		KHH_CALL(KHH_pkvm_vcpu_load, khh_handle(self->a), 1ul << 32),
		KHH_CALL(KHH_pkvm_vcpu_put),
	};
	long ret;

	khh_calls(-1, -1, c, 2);
	EXPECT_TRUE(!c[0].ret || c[0].ret == -ENOENT);
	ret = s2_op(handle, KHH_OP_TLBI, 0, 1);
	EXPECT_TRUE(!ret || ret == -ENOENT);
	/* Not the VM next to it. */
	EXPECT_EQ(s2_op(1ul << 32, KHH_OP_TLBI, 0, 1), -ENOENT);
}

TEST_F_TIMEOUT(host, load_twice, TIMEOUT)
{
	struct khh_call c[] = {
		KHH_CALL(KHH_pkvm_vcpu_load, khh_handle(self->p), 0),
		KHH_CALL(KHH_pkvm_vcpu_load, khh_handle(self->p), 0),
		KHH_CALL(KHH_pkvm_vcpu_load, khh_handle(self->q), 0),
		KHH_CALL(KHH_pkvm_vcpu_put),
		KHH_CALL(KHH_pkvm_vcpu_put),
		KHH_CALL(KHH_pkvm_vcpu_load, khh_handle(self->q), 0),
		KHH_CALL(KHH_pkvm_vcpu_put),
	};

	khh_calls(-1, -1, c, ARRAY_SIZE(c));
	EXPECT_EQ(c[0].ret, 0);
	EXPECT_EQ(c[1].ret, -EBUSY);
	EXPECT_EQ(c[2].ret, -EBUSY);
	EXPECT_EQ(c[5].ret, 0);
}

/* Base hole 4: one vCPU on two CPUs. */
TEST_F_TIMEOUT(host, load_on_two_cpus, TIMEOUT)
{
	uint64_t handle = khh_handle(self->p);

	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		SKIP(return, "needs two CPUs");
	ASSERT_EQ(hvc_on(0, KHH_pkvm_vcpu_load, handle, 0), 0);
	EXPECT_EQ(hvc_on(1, KHH_pkvm_vcpu_load, handle, 0), -EBUSY);
	/* What is not loaded here cannot be put from here. */
	hvc_on(1, KHH_pkvm_vcpu_put);
	EXPECT_EQ(hvc_on(1, KHH_pkvm_vcpu_load, handle, 0), -EBUSY);
	/* S40 */
	EXPECT_EQ(hvc(KHH_pkvm_start_teardown_vm, handle), -EBUSY);
	EXPECT_EQ(hvc(KHH_pkvm_finalize_teardown_vm, handle), -EBUSY);
	hvc_on(0, KHH_pkvm_vcpu_put);
	EXPECT_EQ(hvc_on(1, KHH_pkvm_vcpu_load, handle, 0), 0);
	hvc_on(1, KHH_pkvm_vcpu_put);
}

/* A vCPU runs only as the one that is loaded. */
TEST_F_TIMEOUT(host, run_another_than_the_loaded, TIMEOUT)
{
	struct khh_mc a = { .vcpu_fd = self->va->fd }, b = { .vcpu_fd = self->vb->fd };

	khh_must(KHH_IOC_MC, &a);
	khh_must(KHH_IOC_MC, &b);
	EXPECT_EQ(hvc_vcpu(self->va, KHH_kvm_vcpu_run, b.addr), -EINVAL);
	EXPECT_EQ(hvc_vcpu(self->va, KHH_kvm_vcpu_run, 0), -EINVAL);
	EXPECT_EQ(hvc_vcpu(self->va, KHH_kvm_vcpu_run, a.addr + 8), -EINVAL);
}

/* ------------------------------------------------- sharing: S20, the arguments */

TEST_F_TIMEOUT(host, share_of_a_bad_range, TIMEOUT)
{
	uint64_t top = 1ul << (khh_vm_info(self->a, 0).ipa_bits - 12);
	static const uint64_t nrs[] = { 0, 513, 1024, 1ul << 52, 1ul << 63, ~0ul };
	static const uint64_t frames[] = { ~0ul, ~0ul - 511, 1ul << 52, 1ul << 63,
					   (1ul << 52) - 1 };
	int i;

	for (i = 0; i < ARRAY_SIZE(nrs); i++)
		EXPECT_EQ(khh_share(self->va, self->page, FREE_GFN, nrs[i], KHH_RWX), -EINVAL);
	for (i = 0; i < ARRAY_SIZE(frames); i++) {
		EXPECT_EQ(khh_share(self->va, frames[i], FREE_GFN, 1, KHH_RWX), -EINVAL) {
			TH_LOG("pfn %#lx", frames[i]);
		}
		EXPECT_EQ(khh_share(self->va, self->page, frames[i], 1, KHH_RWX), -EINVAL) {
			TH_LOG("gfn %#lx", frames[i]);
		}
		EXPECT_EQ(hvc_vcpu(self->vp, KHH_pkvm_host_donate_guest, frames[i],
				   FREE_GFN, 1), -EINVAL);
		EXPECT_EQ(hvc_vcpu(self->vp, KHH_pkvm_host_donate_guest, self->page,
				   frames[i], 1), -EINVAL);
	}
	for (i = 0; i < ARRAY_SIZE(nrs); i++)
		EXPECT_EQ(hvc_vcpu(self->vp, KHH_pkvm_host_donate_guest, self->page,
				   FREE_GFN, nrs[i]), -EINVAL);
	EXPECT_EQ(khh_share(self->va, self->page, top, 1, KHH_RWX), -ERANGE);
	EXPECT_EQ(khh_share(self->va, self->page, top - 1, 2, KHH_RWX), -ERANGE);
	EXPECT_EQ(khh_donate(self->vp, self->page, top, 1), -ERANGE);
	/* Nothing is there, and the page is as it was. */
	EXPECT_EQ(hvc_vcpu(self->va, KHH_pkvm_host_relax_guest, FREE_GFN, 1, KHH_RW), -EAGAIN);
	EXPECT_TRUE(khh_page_is_alone(self->page));
	/* The last page of the address space is one. */
	EXPECT_EQ(khh_share(self->va, self->page, top - 1, 1, KHH_RWX), 0);
	EXPECT_EQ(take_back(self->a, top - 1, 1), 0);
}

TEST_F_TIMEOUT(host, share_with_a_bad_prot, TIMEOUT)
{
	static const uint64_t prots[] = {
		0, KHH_W, KHH_X, KHH_W | KHH_X, KHH_DEV, KHH_NC, KHH_W | KHH_NC,
		KHH_R | KHH_DEV | KHH_NC, KHH_R | KHH_X | KHH_DEV, KHH_R | KHH_X | KHH_NC,
		KHH_RWX | KHH_SW(0), KHH_RWX | KHH_SW(1), KHH_RWX | KHH_SW(2), KHH_RWX | KHH_SW(3),
		KHH_RWX | KHH_SW(0) | KHH_SW(1), KHH_RWX | 1ul << 5, KHH_RWX | 1ul << 32,
		KHH_RWX | 1ul << 54, KHH_RWX | 1ul << 59, KHH_RWX | 1ul << 63, ~0ul,
	};
	int i;

	for (i = 0; i < ARRAY_SIZE(prots); i++) {
		EXPECT_EQ(khh_share(self->va, self->page, FREE_GFN, 1, prots[i]), -EINVAL) {
			TH_LOG("prot %#lx", prots[i]);
		}
		/* 0 makes young, for which there is nothing. */
		EXPECT_EQ(hvc_vcpu(self->va, KHH_pkvm_host_relax_guest, FREE_GFN, 1,
				   prots[i]), prots[i] ? -EINVAL : -EAGAIN) {
			TH_LOG("prot %#lx", prots[i]);
		}
	}
	EXPECT_TRUE(khh_page_is_alone(self->page));
}

/* What share refuses at once, relax does not give afterwards. */
TEST_F_TIMEOUT(host, relax_gives_no_code_of_a_device, TIMEOUT)
{
	static const uint64_t types[] = { KHH_DEV, KHH_NC };
	int i;

	for (i = 0; i < ARRAY_SIZE(types); i++) {
		EXPECT_EQ(khh_share(self->va, self->page, FREE_GFN, 1, KHH_R | types[i]), 0);
		EXPECT_EQ(hvc_vcpu(self->va, KHH_pkvm_host_relax_guest, FREE_GFN, 1,
				   KHH_R | KHH_X), -EINVAL);
		EXPECT_EQ(hvc_vcpu(self->va, KHH_pkvm_host_relax_guest, FREE_GFN, 1,
				   KHH_RWX), -EINVAL);
		EXPECT_EQ(hvc_vcpu(self->va, KHH_pkvm_host_relax_guest, FREE_GFN, 1,
				   KHH_RW | types[i]), 0);
		EXPECT_EQ(take_back(self->a, FREE_GFN, 1), 0);
	}
	/* Of memory it does. */
	EXPECT_EQ(khh_share(self->va, self->page, FREE_GFN, 1, KHH_R), 0);
	EXPECT_EQ(hvc_vcpu(self->va, KHH_pkvm_host_relax_guest, FREE_GFN, 1, KHH_RWX), 0);
	EXPECT_EQ(take_back(self->a, FREE_GFN, 1), 0);
	EXPECT_TRUE(khh_page_is_alone(self->page));
}

/* S30: the kinds of VM do not mix. */
TEST_F_TIMEOUT(host, calls_for_the_other_kind_of_vm, TIMEOUT)
{
	struct khh_vm p = khh_vm_info(self->p, PRIVATE_GFN);
	uint32_t op;

	EXPECT_EQ(khh_share(self->vp, self->page, FREE_GFN, 1, KHH_RWX), -EINVAL);
	EXPECT_EQ(khh_share(self->vp, self->page, PRIVATE_GFN, 1, KHH_RWX), -EINVAL);
	EXPECT_EQ(hvc_vcpu(self->vp, KHH_pkvm_host_relax_guest, PRIVATE_GFN, 1, KHH_RWX), -EINVAL);
	EXPECT_EQ(hvc_vcpu(self->vp, KHH_pkvm_host_relax_guest, PRIVATE_GFN, 1, 0), -EINVAL);
	EXPECT_EQ(khh_donate(self->va, self->page, FREE_GFN, 1), -EINVAL);
	for (op = 0; op <= KHH_NR_OPS; op++)
		EXPECT_EQ(s2_op(p.handle, op, PRIVATE_GFN, 1), -EINVAL);
	EXPECT_TRUE(khh_page_is_alone(self->page));
}

/* ------------------------------------------------ sharing: S25, whose the page is */

/* No type and no permission makes EL2 show this page to an ordinary guest. */
static bool is_refused(struct pkvm_vcpu *vcpu, uint64_t pfn, const char *what)
{
	static const uint64_t prots[] = { KHH_RWX, KHH_R, KHH_RW | KHH_DEV, KHH_RW | KHH_NC };
	bool good = true;
	long ret;
	int i;

	for (i = 0; i < ARRAY_SIZE(prots); i++) {
		ret = khh_share(vcpu, pfn, FREE_GFN, 1, prots[i]);
		if (ret != -EPERM) {
			printf("# share of %s, pfn %#lx, prot %#lx: %ld\n", what, pfn,
			       prots[i], ret);
			good = false;
		}
	}
	return good;
}

TEST_F_TIMEOUT(host, share_of_a_protected_guests_page, TIMEOUT)
{
	struct khh_vm v = khh_vm_info(self->p, PRIVATE_GFN), l = khh_vm_info(self->p, LENT_GFN);
	uint64_t val;

	ASSERT_NE(v.guest_pfn, 0);
	ASSERT_NE(l.guest_pfn, 0);
	EXPECT_TRUE(is_refused(self->va, v.guest_pfn, "a private page"));
	EXPECT_TRUE(is_refused(self->va, l.guest_pfn, "a lent page"));
	EXPECT_EQ(page_peek(v.guest_pfn, &val), EFAULT);
	EXPECT_EQ(page_peek(l.guest_pfn, &val), 0);
}

TEST_F_TIMEOUT(host, share_of_el2s_memory, TIMEOUT)
{
	uint64_t pfn, nr, val, i;

	if (!find_el2_memory(&pfn, &nr))
		SKIP(return, "the kernel's log does not tell where EL2's memory is");
	for (i = 0; i < nr; i += nr / 16 ?: 1) {
		EXPECT_TRUE(is_refused(self->va, pfn + i, "EL2's memory"));
		EXPECT_EQ(page_peek(pfn + i, &val), EFAULT);
		EXPECT_EQ(page_poke(pfn + i, val), EFAULT);
	}
	EXPECT_TRUE(is_refused(self->va, pfn + nr - 1, "EL2's last page"));
	/* From the host's into EL2's, and out of it. */
	EXPECT_EQ(khh_share(self->va, pfn - 1, FREE_GFN, 2, KHH_RWX), -EPERM);
	EXPECT_EQ(khh_share(self->va, pfn + nr - 1, FREE_GFN, 2, KHH_RWX), -EPERM);
	EXPECT_EQ(khh_donate(self->vp, pfn, self->next_gfn, 1), -EPERM);
}

TEST_F_TIMEOUT(host, share_of_what_is_shared_with_el2, TIMEOUT)
{
	struct khh_mc mc = { .vcpu_fd = self->vp->fd };

	khh_must(KHH_IOC_MC, &mc);
	EXPECT_TRUE(is_refused(self->va, khh_vm_info(self->p, 0).pfn, "struct kvm"));
	EXPECT_TRUE(is_refused(self->va, mc.pfn, "struct kvm_vcpu"));
	EXPECT_EQ(khh_donate(self->vp, mc.pfn, self->next_gfn, 1), -EPERM);
	EXPECT_EQ(khh_donate(self->vp, khh_vm_info(self->q, 0).pfn, self->next_gfn, 1), -EPERM);
}

TEST_F_TIMEOUT(host, share_of_what_is_no_memory, TIMEOUT)
{
	struct places at;

	find_places(&at);
	EXPECT_EQ(khh_share(self->va, at.hole, FREE_GFN, 1, KHH_RWX), -EPERM);
	EXPECT_EQ(khh_donate(self->vp, at.hole, self->next_gfn, 1), -EPERM);
	/* Part of it. */
	EXPECT_EQ(khh_donate(self->vp, at.hole - 1, self->next_gfn, 2), -EPERM);
	if (!at.mmio)
		SKIP(return, "no PL031 here: the rest of the case did not run");
	EXPECT_EQ(khh_share(self->va, at.mmio, FREE_GFN, 1, KHH_RWX), -EPERM);
	EXPECT_EQ(khh_share(self->va, at.mmio, FREE_GFN, 1, KHH_R), -EPERM);
	EXPECT_EQ(khh_donate(self->vp, at.mmio, self->next_gfn, 1), -EPERM);
	EXPECT_EQ(hvc(KHH_pkvm_host_share_hyp, at.mmio), -EPERM);
	EXPECT_EQ(hvc(KHH_pkvm_host_share_hyp, at.hole), -EPERM);
	/* As what it is, it can be shared. */
	EXPECT_EQ(khh_share(self->va, at.mmio, FREE_GFN, 1, KHH_RW | KHH_DEV), 0);
	EXPECT_EQ(take_back(self->a, FREE_GFN, 1), 0);
}

TEST_F_TIMEOUT(host, the_last_page_of_memory, TIMEOUT)
{
	struct places at;

	find_places(&at);
	EXPECT_EQ(khh_share(self->va, at.last_ram, FREE_GFN, 2, KHH_RWX), -EPERM);
	EXPECT_EQ(khh_share(self->va, at.last_ram, FREE_GFN, 512, KHH_RWX), -EPERM);
	EXPECT_EQ(khh_share(self->va, at.last_ram, FREE_GFN, 1, KHH_RWX), 0);
	EXPECT_EQ(take_back(self->a, FREE_GFN, 1), 0);
	EXPECT_EQ(hvc(KHH_pkvm_host_can_access, at.last_ram), 1);
}

/* ---------------------------------------------------------- counts of shares */

TEST_F_TIMEOUT(host, two_places_in_two_vms, TIMEOUT)
{
	uint64_t pfn = self->page, ipa = FREE_GFN * PAGE;

	ASSERT_EQ(page_poke(pfn, 0x1234), 0);
	ASSERT_EQ(khh_share(self->va, pfn, FREE_GFN, 1, KHH_RWX), 0);
	ASSERT_EQ(khh_share(self->va, pfn, FREE_GFN + 1, 1, KHH_RWX), 0);
	ASSERT_EQ(khh_share(self->vb, pfn, FREE_GFN, 1, KHH_RWX), 0);
	/* The very same again is nobody's gain. */
	EXPECT_EQ(khh_share(self->vb, pfn, FREE_GFN, 1, KHH_RWX), -EAGAIN);
	EXPECT_EQ(pkvm_must(self->va, guest_load, ipa), 0x1234);
	EXPECT_EQ(pkvm_must(self->va, guest_load, ipa + PAGE), 0x1234);
	EXPECT_EQ(pkvm_must(self->vb, guest_load, ipa), 0x1234);

	EXPECT_EQ(try_donation(self, pfn), -EPERM);
	EXPECT_EQ(hvc(KHH_pkvm_host_share_hyp, pfn), -EPERM);
	EXPECT_EQ(take_back(self->a, FREE_GFN, 1), 0);
	EXPECT_EQ(try_donation(self, pfn), -EPERM);
	EXPECT_EQ(take_back(self->b, FREE_GFN, 1), 0);
	EXPECT_EQ(try_donation(self, pfn), -EPERM);
	EXPECT_FALSE(khh_page_is_alone(pfn));
	EXPECT_EQ(pkvm_must(self->va, guest_load, ipa + PAGE), 0x1234);
	/* Nothing there: no count goes down. */
	EXPECT_EQ(take_back(self->b, FREE_GFN, 1), 0);
	EXPECT_EQ(take_back(self->a, FREE_GFN, 1), 0);
	EXPECT_EQ(try_donation(self, pfn), -EPERM);
	EXPECT_EQ(take_back(self->a, FREE_GFN + 1, 1), 0);
	EXPECT_TRUE(khh_page_is_alone(pfn));
	EXPECT_EQ(try_donation(self, pfn), 0);
}

/* What is replaced is counted off, and the other page on. */
TEST_F_TIMEOUT(host, replaced_by_another_page, TIMEOUT)
{
	uint64_t other = khh_page_alloc(0), ipa = FREE_GFN * PAGE;

	ASSERT_EQ(page_poke(other, 2), 0);
	ASSERT_EQ(khh_share(self->va, self->page, FREE_GFN, 1, KHH_RWX), 0);
	ASSERT_EQ(khh_share(self->va, other, FREE_GFN, 1, KHH_RWX), 0);
	EXPECT_EQ(pkvm_must(self->va, guest_load, ipa), 2);
	EXPECT_TRUE(khh_page_is_alone(self->page));
	EXPECT_FALSE(khh_page_is_alone(other));
	/* A refusal does not cost what is there... */
	EXPECT_EQ(khh_share(self->va, khh_vm_info(self->p, PRIVATE_GFN).guest_pfn, FREE_GFN,
			    1, KHH_RWX), -EPERM);
	EXPECT_EQ(pkvm_must(self->va, guest_load, ipa), 2);
	EXPECT_EQ(take_back(self->a, FREE_GFN, 1), 0);
	EXPECT_TRUE(khh_page_is_alone(other));
	khh_page_free(other);
}

#define MOST_PAGES	65535ul
#define MOST_BLOCKS	255ul

/* Give a guest a page, at one frame after the other, until EL2 has had enough. */
static uint64_t share_until_full(struct pkvm_vcpu *vcpu, uint64_t pfn, uint64_t first)
{
	struct khh_call c;
	uint64_t n = 0;

	do {
		c = KHH_CALL(KHH_pkvm_host_share_guest, pfn, first + n, 1, KHH_RW);
		c.repeat = 1024;
		c.step[1] = 1;
		khh_calls(-1, vcpu->fd, &c, 1);
		TEST_ASSERT(!c.smccc, "EL2 does not know the call");
		n += c.done;
		if (c.ret > 0)
			khh_topup(vcpu);
	} while (c.ret >= 0 && n <= MOST_PAGES);
	TEST_ASSERT(c.ret == -EBUSY, "after %lu: %lld", n, c.ret);
	return n;
}

/* The same with a block. */
static uint64_t share_block_until_full(struct pkvm_vcpu *vcpu, uint64_t pfn, uint64_t first)
{
	uint64_t n = 0;
	long ret;

	do {
		ret = khh_share(vcpu, pfn, first + 512 * n, 512, KHH_RW);
		n += !ret;
	} while (!ret && n <= MOST_BLOCKS);
	TEST_ASSERT(ret == -EBUSY, "after %lu: %ld", n, ret);
	return n;
}

/* A page is counted up to 65535 times; the next is refused, and EL2 lives. */
TEST_F_TIMEOUT(host, the_count_does_not_overflow, TIMEOUT)
{
	const uint64_t most = MOST_PAGES, first = FREE_GFN;
	uint64_t n = share_until_full(self->va, self->page, first);

	ASSERT_EQ(n, most);
	EXPECT_EQ(khh_share(self->va, self->page, first + n, 1, KHH_RW), -EBUSY);
	EXPECT_EQ(khh_share(self->vb, self->page, first, 1, KHH_RW), -EBUSY);
	EXPECT_EQ(try_donation(self, self->page), -EPERM);
	EXPECT_EQ(take_back(self->a, first, 1), 0);
	EXPECT_EQ(khh_share(self->vb, self->page, first, 1, KHH_RW), 0);
	EXPECT_EQ(khh_share(self->va, self->page, first, 1, KHH_RW), -EBUSY);
	EXPECT_EQ(take_back(self->a, first, most), 0);
	EXPECT_FALSE(khh_page_is_alone(self->page));
	EXPECT_EQ(take_back(self->b, first, 1), 0);
	EXPECT_EQ(try_donation(self, self->page), 0);
}

/*
 * All memory that nobody has written yet is one page, and one guest or some can have it
 * as often as can be counted. Others read theirs nevertheless: they get pages of their
 * own (I10), and what they may only read stays so.
 */
TEST_F_TIMEOUT(host, i10_page_of_zeroes_that_is_full, TIMEOUT)
{
	const uint64_t ipa = FREE_GFN * PAGE, rom = ipa + SZ_64K, pages = 4;
	char *mem = mmap(NULL, 2 * SZ_64K, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *rom_mem = mem + SZ_64K;
	uint64_t zeroes, i, n;

	ASSERT_NE(mem, MAP_FAILED);
	madvise(mem, 2 * SZ_64K, MADV_NOHUGEPAGE);
	for (i = 0; i < 2 * SZ_64K; i += PAGE)
		ASSERT_EQ(READ_ONCE(mem[i]), 0);
	zeroes = pfn_of(mem);
	ASSERT_NE(zeroes, 0);
	ASSERT_EQ(zeroes, pfn_of(rom_mem + SZ_64K - PAGE));
	n = share_until_full(self->va, zeroes, FREE_GFN);
	EXPECT_GT(n, MOST_PAGES / 2);

	ASSERT_EQ(pkvm_set_slot(self->b, 9, ipa, SZ_64K, mem, 0), 0);
	ASSERT_EQ(pkvm_set_slot(self->b, 10, rom, SZ_64K, rom_mem, KVM_MEM_READONLY), 0);
	for (i = 0; i < pages; i++) {
		EXPECT_EQ(pkvm_must(self->vb, guest_load, ipa + i * PAGE), 0);
		EXPECT_EQ(pkvm_must(self->vb, guest_load, rom + i * PAGE), 0);
	}
	pkvm_must(self->vb, guest_store, ipa, 7);
	EXPECT_EQ(READ_ONCE(*(uint64_t *)mem), 7);
	ASSERT_EQ(pkvm_call(self->vb, guest_store, rom, 8), PKVM_EXIT);
	EXPECT_EQ(self->vb->run->exit_reason, KVM_EXIT_MMIO);
	EXPECT_EQ(self->vb->run->mmio.phys_addr, rom);
	ASSERT_EQ(pkvm_resume(self->vb), PKVM_RETURNED);
	EXPECT_EQ(READ_ONCE(*(uint64_t *)rom_mem), 0);

	EXPECT_EQ(take_back(self->a, FREE_GFN, n), 0);
	munmap(mem, 2 * SZ_64K);
}

/* S31 */
TEST_F_TIMEOUT(host, blocks_and_pages, TIMEOUT)
{
	const uint64_t gfn = FREE_GFN, ipa = gfn * PAGE;
	uint64_t block = khh_page_alloc(9), i;

	ASSERT_EQ(block % 512, 0);
	ASSERT_EQ(gfn % 512, 0);
	for (i = 0; i < 512; i++)
		ASSERT_EQ(page_poke(block + i, i), 0);

	/* A page over a block: the block goes, as a whole. */
	ASSERT_EQ(khh_share(self->va, block, gfn, 512, KHH_RWX), 0);
	EXPECT_EQ(pkvm_must(self->va, guest_load, ipa + 511 * PAGE), 511);
	EXPECT_EQ(try_donation(self, block + 511), -EPERM);
	ASSERT_EQ(khh_share(self->va, self->page, gfn + 5, 1, KHH_RWX), 0);
	EXPECT_TRUE(khh_page_is_alone(block));
	EXPECT_TRUE(khh_page_is_alone(block + 5));
	EXPECT_TRUE(khh_page_is_alone(block + 511));
	EXPECT_EQ(try_donation(self, block + 5), 0);
	EXPECT_FALSE(khh_page_is_alone(self->page));

	/* A block over pages, also over the same ones. */
	ASSERT_EQ(khh_share(self->va, block + 9, gfn + 9, 3, KHH_RWX), 0);
	ASSERT_EQ(khh_share(self->vb, block + 9, gfn + 9, 3, KHH_RWX), 0);
	ASSERT_EQ(khh_share(self->va, block, gfn, 512, KHH_RWX), 0);
	EXPECT_TRUE(khh_page_is_alone(self->page));
	EXPECT_EQ(khh_share(self->va, block, gfn, 512, KHH_RWX), -EAGAIN);
	EXPECT_EQ(pkvm_must(self->va, guest_load, ipa + 10 * PAGE), 10);

	/* The same memory at another address is another mapping. */
	EXPECT_EQ(khh_share(self->va, block, gfn + 5, 512, KHH_RWX), 0);
	EXPECT_EQ(pkvm_must(self->va, guest_load, ipa + 15 * PAGE), 10);
	ASSERT_EQ(khh_share(self->va, block, gfn, 512, KHH_RWX), 0);

	/* A part of a block is all of it. */
	EXPECT_EQ(take_back(self->a, gfn + 200, 1), 0);
	EXPECT_EQ(take_back(self->a, gfn, 1024), 0);
	for (i = 0; i < 512; i++) {
		ASSERT_EQ(khh_page_is_alone(block + i), i < 9 || i > 11) {
			TH_LOG("page %lu", i);
		}
	}
	EXPECT_EQ(take_back(self->b, gfn, 512), 0);

	/* Twice, in blocks and in odd pieces. */
	ASSERT_EQ(khh_share(self->va, block, gfn, 512, KHH_RWX), 0);
	ASSERT_EQ(khh_share(self->vb, block, gfn, 512, KHH_RWX), 0);
	ASSERT_EQ(khh_share(self->vb, block + 1, gfn + 1024, 511, KHH_RWX), 0);
	ASSERT_EQ(khh_share(self->va, block + 3, gfn + 2049, 300, KHH_RWX), 0);
	EXPECT_EQ(take_back(self->a, gfn, 512), 0);
	EXPECT_EQ(take_back(self->b, gfn, 512), 0);
	EXPECT_TRUE(khh_page_is_alone(block));
	EXPECT_EQ(try_donation(self, block + 1), -EPERM);
	EXPECT_EQ(take_back(self->b, gfn + 1024, 512), 0);
	EXPECT_TRUE(khh_page_is_alone(block + 1));
	EXPECT_EQ(try_donation(self, block + 302), -EPERM);
	EXPECT_TRUE(khh_page_is_alone(block + 303));
	EXPECT_EQ(take_back(self->a, gfn, 4096), 0);
	for (i = 0; i < 512; i++)
		ASSERT_TRUE(khh_page_is_alone(block + i));
	EXPECT_EQ(khh_donate(self->vp, block, FREE_GFN, 512), 0);
	for (i = 0; i < 512; i++)
		ASSERT_EQ(hvc(KHH_pkvm_host_force_reclaim, block + i), 0);
	khh_page_free(block);
}

/* A block is counted up to 255 times; its pages can still be shared after that. */
TEST_F_TIMEOUT(host, the_count_of_blocks_does_not_overflow, TIMEOUT)
{
	const uint64_t most = MOST_BLOCKS, gfn = FREE_GFN;
	uint64_t block = khh_page_alloc(9), i;

	ASSERT_EQ(share_block_until_full(self->va, block, gfn), most);
	EXPECT_EQ(khh_share(self->va, block, gfn + 512 * most, 512, KHH_RW), -EBUSY);
	EXPECT_EQ(khh_share(self->vb, block, gfn, 512, KHH_RW), -EBUSY);
	EXPECT_EQ(khh_share(self->vb, block + 7, gfn + 7, 1, KHH_RW), 0);
	/* Who is refused keeps what is there. */
	EXPECT_EQ(khh_share(self->vb, block, gfn, 512, KHH_RW), -EBUSY);
	EXPECT_EQ(khh_share(self->vb, block + 7, gfn + 7, 1, KHH_RW), -EAGAIN);
	EXPECT_EQ(take_back(self->a, gfn, 1), 0);
	EXPECT_EQ(khh_share(self->vb, block, gfn, 512, KHH_RW), 0);
	EXPECT_EQ(khh_share(self->va, block, gfn, 512, KHH_RW), -EBUSY);
	/* In no page of it, and not as the first or last of more. */
	EXPECT_EQ(take_back(self->a, gfn, 512 * (most - 1)), 0);
	EXPECT_EQ(take_back(self->b, gfn, 512), 0);
	for (i = 0; i < 512; i += 73)
		EXPECT_EQ(khh_donate(self->vp, block + i, self->next_gfn, 1), -EPERM);
	EXPECT_EQ(khh_donate(self->vp, block + 510, self->next_gfn, 3), -EPERM);
	EXPECT_EQ(take_back(self->a, gfn, 512 * most), 0);
	for (i = 0; i < 512; i++)
		ASSERT_TRUE(khh_page_is_alone(block + i));
	khh_page_free(block);
}

static uint64_t guest_load_unaligned(uint64_t addr)
{
	uint64_t val;

	asm volatile("ldr %0, [%1]" : "=r" (val) : "r" (addr) : "memory");
	return val;
}

/*
 * Of a block that is full a guest gets the pages, and has them all at once: also two
 * that one instruction needs, and one that is to be read first and executed then (I5).
 */
TEST_F_TIMEOUT(host, i5_pages_of_a_block_that_is_full, TIMEOUT)
{
	const uint64_t ipa = FREE_GFN * PAGE, border = 5 * PAGE - 4, code = 9 * PAGE;
	char *room = mmap(NULL, 2 * SZ_2M, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *mem = (char *)(((uintptr_t)room + SZ_2M - 1) & ~(SZ_2M - 1UL));
	uint64_t pfn, n;

	ASSERT_NE(room, MAP_FAILED);
	if (madvise(mem, SZ_2M, MADV_HUGEPAGE))
		SKIP(return, "no transparent huge pages");
	memset(mem, 0, SZ_2M);
	memset(mem + border, 0x5c, 8);
	*(uint32_t *)(mem + code) = 0xd65f03c0;		/* ret */
	__builtin___clear_cache(mem + code, mem + code + 4);
	pfn = pfn_of(mem);
	ASSERT_EQ(pfn % 512, 0);
	ASSERT_EQ(pfn_of(mem + SZ_2M - PAGE), pfn + 511);
	n = share_block_until_full(self->va, pfn, FREE_GFN);
	EXPECT_EQ(n, MOST_BLOCKS);
	ASSERT_EQ(pkvm_set_slot(self->b, 9, ipa, SZ_2M, mem, 0), 0);

	self->b_dead = true;
	ASSERT_EQ(pkvm_call_timeout(self->vb, 5000, guest_load_unaligned, ipa + border),
		  PKVM_RETURNED);
	EXPECT_EQ(self->vb->ret, 0x5c5c5c5c5c5c5c5cul);
	pkvm_must(self->vb, guest_load, ipa + code);
	ASSERT_EQ(pkvm_call_timeout(self->vb, 5000, guest_try_exec, ipa + code),
		  PKVM_RETURNED);
	EXPECT_EQ(self->vb->ret, 0);
	self->b_dead = false;

	EXPECT_EQ(take_back(self->a, FREE_GFN, 512 * n), 0);
	munmap(room, 2 * SZ_2M);
}

/* The same as the kernel does it: memory in more places than EL2 can count as blocks. */
TEST_F_TIMEOUT(host, one_block_of_a_vmm_in_many_places, TIMEOUT)
{
	const uint64_t places = 260;
	struct kvm_userspace_memory_region slot = { .memory_size = SZ_2M };
	char *room = mmap(NULL, 2 * SZ_2M, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *mem = (char *)(((uintptr_t)room + SZ_2M - 1) & ~(SZ_2M - 1UL));
	uint64_t i, at;

	ASSERT_NE(room, MAP_FAILED);
	if (madvise(mem, SZ_2M, MADV_HUGEPAGE))
		SKIP(return, "no transparent huge pages");
	for (i = 0; i < places; i++) {
		slot.slot = 100 + i;
		slot.guest_phys_addr = FREE_GFN * PAGE + i * SZ_2M;
		slot.userspace_addr = (uintptr_t)mem;
		ASSERT_EQ(0, ioctl(self->a->fd, KVM_SET_USER_MEMORY_REGION, &slot));
	}
	for (i = 0; i < places; i++) {
		at = i * 64 % SZ_2M;
		pkvm_must(self->va, guest_store, FREE_GFN * PAGE + i * SZ_2M + at, i + 1);
	}
	for (i = 0; i < places; i++) {
		at = i * 64 % SZ_2M;
		ASSERT_EQ(i + 1, *(uint64_t *)(mem + at));
		ASSERT_EQ(i + 1, pkvm_must(self->va, guest_load, FREE_GFN * PAGE +
					   (places - 1 - i) * SZ_2M + at));
	}
	munmap(room, 2 * SZ_2M);
	/* Each place was taken back: the memory is another's now. */
	EXPECT_EQ(take_back(self->a, FREE_GFN, 512 * places), 0);
}

/* A range with one page that may not be shared shares none. */
TEST_F_TIMEOUT(host, a_range_is_shared_as_a_whole, TIMEOUT)
{
	uint64_t block = khh_page_alloc(9), i;

	ASSERT_EQ(khh_donate(self->vp, block + 300, self->next_gfn++, 1), 0);
	EXPECT_EQ(khh_share(self->va, block, FREE_GFN, 512, KHH_RWX), -EPERM);
	EXPECT_EQ(khh_share(self->va, block + 299, FREE_GFN, 2, KHH_RWX), -EPERM);
	EXPECT_EQ(khh_donate(self->vq, block, FREE_GFN, 512), -EPERM);
	for (i = 0; i < 512; i++)
		ASSERT_EQ(khh_page_is_alone(block + i), i != 300);
	EXPECT_EQ(hvc(KHH_pkvm_host_force_reclaim, block + 300), 0);
	khh_page_free(block);
}

/* ------------------------------------------------------- permissions, ranges */

TEST_F_TIMEOUT(host, relax_gives_what_it_says, TIMEOUT)
{
	uint64_t top = 1ul << (khh_vm_info(self->a, 0).ipa_bits - 12);
	struct pkvm_vcpu *v = self->va;

	EXPECT_EQ(hvc_vcpu(v, KHH_pkvm_host_relax_guest, FREE_GFN, 1, KHH_RW), -EAGAIN);
	EXPECT_EQ(hvc_vcpu(v, KHH_pkvm_host_relax_guest, top, 1, KHH_RW), -ERANGE);
	EXPECT_EQ(hvc_vcpu(v, KHH_pkvm_host_relax_guest, 1ul << 52, 1, KHH_RW), -EINVAL);
	EXPECT_EQ(hvc_vcpu(v, KHH_pkvm_host_relax_guest, ~0ul, 1, KHH_RW), -EINVAL);
	ASSERT_EQ(khh_share(v, self->page, FREE_GFN, 1, KHH_R), 0);
	EXPECT_EQ(hvc_vcpu(v, KHH_pkvm_host_relax_guest, FREE_GFN, 1, KHH_RW | KHH_SW(0)), -EINVAL);
	EXPECT_EQ(hvc_vcpu(v, KHH_pkvm_host_relax_guest, FREE_GFN, 1, 0), 0);
	EXPECT_EQ(hvc_vcpu(v, KHH_pkvm_host_relax_guest, FREE_GFN, 0, KHH_RW), -E2BIG);
	EXPECT_EQ(hvc_vcpu(v, KHH_pkvm_host_relax_guest, FREE_GFN, 1, KHH_RW), 0);
	pkvm_must(v, guest_store, FREE_GFN * PAGE, 77);
	EXPECT_EQ(pkvm_must(v, guest_load, FREE_GFN * PAGE), 77);
	EXPECT_EQ(take_back(self->a, FREE_GFN, 1), 0);
	EXPECT_EQ(hvc_vcpu(v, KHH_pkvm_host_relax_guest, FREE_GFN, 1, KHH_RW), -EAGAIN);
}

/* S22 */
TEST_F_TIMEOUT(host, range_operations_with_bad_arguments, TIMEOUT)
{
	uint64_t top = 1ul << (khh_vm_info(self->a, 0).ipa_bits - 12);
	uint64_t h = khh_handle(self->a), handles[] = {
		0, 1, h - 0x1000, khh_info.handle_offset - 1,
		khh_info.handle_offset + khh_info.max_vms - 1,
		khh_info.handle_offset + khh_info.max_vms, 0x80000000, 0xffffffff, ~0ul, -h,
	};
	uint64_t op;
	int i;

	ASSERT_EQ(khh_share(self->va, self->page, FREE_GFN, 1, KHH_RWX), 0);
	for (i = 0; i < ARRAY_SIZE(handles); i++) {
		EXPECT_EQ(s2_op(handles[i], KHH_OP_UNSHARE, FREE_GFN, 1), -ENOENT) {
			TH_LOG("handle %#lx", handles[i]);
		}
	}
	for (op = 0; op < KHH_NR_OPS; op++) {
		EXPECT_EQ(s2_op(h, op, FREE_GFN, 0), -EINVAL);
		EXPECT_EQ(s2_op(h, op, ~0ul, 1), -EINVAL);
		EXPECT_EQ(s2_op(h, op, 1ul << 52, 1), -EINVAL);
		EXPECT_EQ(s2_op(h, op, FREE_GFN, ~0ul), -EINVAL);
		EXPECT_EQ(s2_op(h, op, FREE_GFN, 1ul << 52), -EINVAL);
		EXPECT_EQ(s2_op(h, op, (1ul << 52) - 1, 1), -EINVAL);
		EXPECT_EQ(s2_op(h, op, top, 1), -ERANGE);
		EXPECT_EQ(s2_op(h, op, top - 1, 2), -ERANGE);
		if (op != KHH_OP_UNSHARE)
			EXPECT_EQ(s2_op(h, op, 0, khh_info.max_op_pages + 1), -EINVAL);
	}
	for (op = KHH_NR_OPS; op < KHH_NR_OPS + 10; op++)
		EXPECT_EQ(s2_op(h, op, FREE_GFN, 1), -EINVAL);
	EXPECT_EQ(s2_op(h, 0xffffffff, FREE_GFN, 1), -EINVAL);
	/* After all that the guest still has the page. */
	pkvm_must(self->va, guest_store, FREE_GFN * PAGE, 55);
	EXPECT_EQ(pkvm_must(self->va, guest_load, FREE_GFN * PAGE), 55);
	EXPECT_EQ(take_back(self->a, 0, top), 0);
	EXPECT_TRUE(khh_page_is_alone(self->page));
}

/* The operations on all kinds of leaves: nobody may clean what is no memory. */
TEST_F_TIMEOUT(host, range_operations_on_all_kinds_of_leaves, TIMEOUT)
{
	uint64_t block = khh_page_alloc(9), h = khh_handle(self->a), op;
	struct places at;

	find_places(&at);
	ASSERT_EQ(khh_share(self->va, block, FREE_GFN, 512, KHH_RWX), 0);
	ASSERT_EQ(khh_share(self->va, self->page, FREE_GFN + 512, 1, KHH_R), 0);
	ASSERT_EQ(khh_share(self->va, self->page, FREE_GFN + 514, 1, KHH_RW | KHH_NC), 0);
	if (at.mmio)
		ASSERT_EQ(khh_share(self->va, at.mmio, FREE_GFN + 515, 1, KHH_RW | KHH_DEV), 0);
	EXPECT_EQ(khh_share(self->va, at.hole, FREE_GFN + 516, 1, KHH_RW | KHH_NC), 0);
	for (op = KHH_OP_WRPROTECT; op < KHH_NR_OPS; op++) {
		EXPECT_GE(s2_op(h, op, FREE_GFN, 1024), 0);
		EXPECT_GE(s2_op(h, op, FREE_GFN + 100, 3), 0);
		EXPECT_GE(s2_op(h, op, FREE_GFN, khh_info.max_op_pages), 0);
	}
	EXPECT_EQ(s2_op(h, KHH_OP_TEST_YOUNG, FREE_GFN + 513, 1), 0);
	EXPECT_EQ(take_back(self->a, FREE_GFN, 1024), 0);
	EXPECT_TRUE(khh_page_is_alone(block + 100));
	khh_page_free(block);
}

/* ------------------------------------------------------------- donation: S24, S25 */

TEST_F_TIMEOUT(host, donation_of_each_state, TIMEOUT)
{
	struct khh_vm p = khh_vm_info(self->p, PRIVATE_GFN), l = khh_vm_info(self->p, LENT_GFN);
	uint64_t pfn = self->page, val;

	/* Private to the same guest, to another; lent. */
	EXPECT_EQ(khh_donate(self->vp, p.guest_pfn, FREE_GFN, 1), -EPERM);
	EXPECT_EQ(khh_donate(self->vp, p.guest_pfn, PRIVATE_GFN, 1), -EPERM);
	EXPECT_EQ(khh_donate(self->vq, p.guest_pfn, FREE_GFN, 1), -EPERM);
	EXPECT_EQ(khh_donate(self->vp, l.guest_pfn, FREE_GFN, 1), -EPERM);
	EXPECT_EQ(khh_donate(self->vq, l.guest_pfn, FREE_GFN, 1), -EPERM);
	/* Shared with EL2. */
	ASSERT_EQ(hvc(KHH_pkvm_host_share_hyp, pfn), 0);
	EXPECT_EQ(khh_donate(self->vp, pfn, FREE_GFN, 1), -EPERM);
	EXPECT_EQ(khh_share(self->va, pfn, FREE_GFN, 1, KHH_RWX), -EPERM);
	EXPECT_EQ(hvc(KHH_pkvm_host_share_hyp, pfn), -EPERM);
	ASSERT_EQ(hvc(KHH_pkvm_host_unshare_hyp, pfn), 0);
	EXPECT_EQ(hvc(KHH_pkvm_host_unshare_hyp, pfn), -EPERM);
	/* Where the guest has another page. */
	EXPECT_EQ(khh_donate(self->vp, pfn, PRIVATE_GFN, 1), -EEXIST);
	EXPECT_EQ(khh_donate(self->vp, pfn, LENT_GFN, 1), -EEXIST);
	/* The host's own; then it is not. */
	ASSERT_EQ(page_poke(pfn, 0x77), 0);
	ASSERT_EQ(khh_donate(self->vp, pfn, FREE_GFN, 1), 0);
	EXPECT_EQ(pkvm_must(self->vp, guest_load, FREE_GFN * PAGE), 0x77);
	EXPECT_EQ(khh_donate(self->vp, pfn, FREE_GFN, 1), -EPERM);
	EXPECT_EQ(khh_donate(self->vp, pfn, FREE_GFN + 1, 1), -EPERM);
	EXPECT_EQ(khh_donate(self->vq, pfn, FREE_GFN, 1), -EPERM);
	EXPECT_EQ(khh_share(self->va, pfn, FREE_GFN, 1, KHH_RWX), -EPERM);
	EXPECT_EQ(hvc(KHH_pkvm_host_share_hyp, pfn), -EPERM);
	EXPECT_EQ(hvc(KHH_pkvm_host_unshare_hyp, pfn), -EPERM);
	EXPECT_EQ(hvc(KHH_pkvm_host_can_access, pfn), 0);
	EXPECT_EQ(page_peek(pfn, &val), EFAULT);
	EXPECT_EQ(page_poke(pfn, 1), EFAULT);
	/* I5: it comes back empty, and its place stays lost. */
	EXPECT_EQ(hvc(KHH_pkvm_host_force_reclaim, pfn), 0);
	EXPECT_EQ(page_peek(pfn, &val), 0);
	EXPECT_EQ(val, 0);
	EXPECT_EQ(hvc(KHH_pkvm_host_force_reclaim, pfn), -EAGAIN);
	EXPECT_EQ(khh_donate(self->vp, pfn, FREE_GFN, 1), -EHWPOISON);
}

TEST_F_TIMEOUT(host, share_hyp_of_what_the_host_has_not, TIMEOUT)
{
	struct khh_vm p = khh_vm_info(self->p, PRIVATE_GFN), l = khh_vm_info(self->p, LENT_GFN);
	uint64_t bad[] = { p.guest_pfn, l.guest_pfn, 0, 0, 0, 0, 1ul << 51 };
	uint64_t wraps[] = { ~0ul, self->page | 1ul << 52, self->page | 1ul << 63 };
	struct places at;
	uint64_t nr;
	int i;

	find_places(&at);
	bad[2] = at.hole;
	bad[3] = at.mmio;
	bad[4] = find_el2_memory(&bad[5], &nr) ? bad[5] + nr / 2 : at.hole;
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		EXPECT_EQ(hvc(KHH_pkvm_host_share_hyp, bad[i]), -EPERM) {
			TH_LOG("pfn %#lx", bad[i]);
		}
		EXPECT_LT(hvc(KHH_pkvm_host_unshare_hyp, bad[i]), 0);
	}
	/* Numbers whose address is that of another page. */
	for (i = 0; i < ARRAY_SIZE(wraps); i++)
		EXPECT_EQ(hvc(KHH_pkvm_host_share_hyp, wraps[i]), -EINVAL);
	EXPECT_EQ(hvc(KHH_pkvm_host_share_hyp, self->page), 0);
	for (i = 0; i < ARRAY_SIZE(wraps); i++)
		EXPECT_EQ(hvc(KHH_pkvm_host_unshare_hyp, wraps[i]), -EINVAL);
	EXPECT_EQ(hvc(KHH_pkvm_host_unshare_hyp, self->page), 0);
	/* In use by EL2: a vCPU's structure stays. */
	EXPECT_EQ(hvc(KHH_pkvm_host_unshare_hyp, p.pfn), -EBUSY);
}

TEST_F_TIMEOUT(host, access_questions_about_nothing, TIMEOUT)
{
	static const uint64_t far[] = { 1ul << 52, 1ul << 63, ~0ul };
	uint64_t pfn, nr;
	struct places at;
	int i;

	find_places(&at);
	for (i = 0; i < ARRAY_SIZE(far); i++) {
		EXPECT_EQ(hvc(KHH_pkvm_host_can_access, far[i]), -EINVAL);
		EXPECT_EQ(hvc(KHH_pkvm_host_force_reclaim, far[i]), -EINVAL);
	}
	EXPECT_EQ(hvc(KHH_pkvm_host_can_access, at.hole), -EINVAL);
	EXPECT_EQ(hvc(KHH_pkvm_host_can_access, at.mmio), -EINVAL);
	EXPECT_EQ(hvc(KHH_pkvm_host_force_reclaim, at.hole), -EPERM);
	EXPECT_EQ(hvc(KHH_pkvm_host_force_reclaim, at.mmio), -EPERM);
	EXPECT_EQ(hvc(KHH_pkvm_host_can_access, self->page), 1);
	EXPECT_EQ(hvc(KHH_pkvm_host_force_reclaim, self->page), -EAGAIN);
	EXPECT_EQ(hvc(KHH_pkvm_host_force_reclaim, khh_vm_info(self->p, LENT_GFN).guest_pfn),
		  -EAGAIN);
	if (find_el2_memory(&pfn, &nr)) {
		EXPECT_EQ(hvc(KHH_pkvm_host_can_access, pfn), 0);
		EXPECT_EQ(hvc(KHH_pkvm_host_force_reclaim, pfn), -EPERM);
		EXPECT_EQ(hvc(KHH_pkvm_host_force_reclaim, pfn + nr - 1), -EPERM);
	}
}

/* ------------------------------------------------- S30: owner, target and call */

/* What design I1 says of one page: who owns it, who has borrowed it. */
struct model {
	enum { OF_HOST, OF_P, OF_Q } owner;
	bool el2, a, b;		/* borrowed from the host */
	bool lent;		/* by the guest to the host */
};

enum matrix_call {
	M_SHARE_EL2, M_UNSHARE_EL2, M_SHARE_A, M_SHARE_B, M_TAKE_A, M_TAKE_B, M_DONATE_P,
	M_DONATE_Q, M_LEND, M_UNLEND, M_RECLAIM, M_ASK, M_NR_CALLS,
};

static const char *const call_names[] = {
	"share_hyp", "unshare_hyp", "share a", "share b", "unshare a", "unshare b",
	"donate p", "donate q", "lend", "unlend", "force_reclaim", "can_access",
};

/* What the call answers in this state, and the state after it. */
static long expect(struct model *m, enum matrix_call call)
{
	bool host = m->owner == OF_HOST, alone = host && !m->el2 && !m->a && !m->b;

	switch (call) {
	case M_SHARE_EL2:
		if (!alone)
			return -EPERM;
		m->el2 = true;
		return 0;
	case M_UNSHARE_EL2:
		if (!m->el2)
			return -EPERM;
		m->el2 = false;
		return 0;
	case M_SHARE_A:
	case M_SHARE_B:
		if (!host || m->el2)
			return -EPERM;
		if (call == M_SHARE_A ? m->a : m->b)
			return -EAGAIN;
		*(call == M_SHARE_A ? &m->a : &m->b) = true;
		return 0;
	case M_TAKE_A:
		m->a = false;
		return 0;
	case M_TAKE_B:
		m->b = false;
		return 0;
	case M_DONATE_P:
	case M_DONATE_Q:
		if (!alone)
			return -EPERM;
		m->owner = call == M_DONATE_P ? OF_P : OF_Q;
		return 0;
	case M_LEND:
		if (host || m->lent)
			return PKVM_SMCCC_INVALID_PARAMETER;
		m->lent = true;
		return 0;
	case M_UNLEND:
		if (!m->lent)
			return PKVM_SMCCC_INVALID_PARAMETER;
		m->lent = false;
		return 0;
	case M_RECLAIM:
		if (host || m->lent)
			return -EAGAIN;
		m->owner = OF_HOST;
		return 0;
	default:
		return host || m->lent;
	}
}

static uint64_t raw_answer(struct pkvm_vcpu *vcpu, struct khh_mc *mc, uint64_t answer,
			   uint64_t *x0);

static uint64_t guest_unlend(uint64_t ipa)
{
	guest_mmio_store(PKVM_DEV_IPA, 1);
	return guest_hvc(PKVM_HVC_UNSHARE, ipa, 0, 0);
}

/*
 * The guest wants a lent page back, and the host returns it: by hand, as KVM does not
 * know of the page.
 */
static long unlend(struct pkvm_vcpu *owner, uint64_t pfn, uint64_t gfn)
{
	struct khh_mc mc = khh_vcpu_info(owner);
	uint64_t x0;
	long ret;

	TEST_ASSERT(pkvm_call(owner, guest_unlend, gfn * PAGE) == PKVM_EXIT,
		    "the guest did not stop");
	owner->run->immediate_exit = 1;
	TEST_ASSERT(pkvm_run(owner) == -EINTR, "the guest did not step");
	owner->run->immediate_exit = 0;

	if (KHH_EC(raw_answer(owner, &mc, KHH_ANYTHING, &x0)) != EC_HVC64)
		return KHH_ANYTHING;
	ret = khh_donate(owner, pfn, gfn, 1);
	if (ret)
		return ret;
	TEST_ASSERT(pkvm_resume(owner) == PKVM_RETURNED, "the guest did not go on");

	return owner->ret;
}

/* The gfn at which the owner has the page: each is used once, then it is poisoned. */
static long make_call(struct _test_data_host *self, const struct model *m,
		      enum matrix_call call, uint64_t *gfn)
{
	struct pkvm_vcpu *owner = m->owner == OF_Q ? self->vq : self->vp;
	uint64_t pfn = self->page;

	switch (call) {
	case M_SHARE_EL2:
		return hvc(KHH_pkvm_host_share_hyp, pfn);
	case M_UNSHARE_EL2:
		return hvc(KHH_pkvm_host_unshare_hyp, pfn);
	case M_SHARE_A:
		return khh_share(self->va, pfn, FREE_GFN, 1, KHH_RWX);
	case M_SHARE_B:
		return khh_share(self->vb, pfn, FREE_GFN, 1, KHH_RWX);
	case M_TAKE_A:
		return take_back(self->a, FREE_GFN, 1);
	case M_TAKE_B:
		return take_back(self->b, FREE_GFN, 1);
	case M_DONATE_P:
	case M_DONATE_Q:
		if (m->owner == OF_HOST)
			*gfn = self->next_gfn++;
		return khh_donate(call == M_DONATE_P ? self->vp : self->vq, pfn,
				  m->owner == OF_HOST ? *gfn : self->next_gfn++, 1);
	case M_LEND:
	case M_UNLEND:
		/* The host would serve a share of nothing: ask at a page that it lent. */
		if (m->owner == OF_HOST)
			return PKVM_SMCCC_INVALID_PARAMETER;
		if (call == M_UNLEND && m->lent)
			return unlend(owner, pfn, *gfn);
		return pkvm_must(owner, guest_hvc, call == M_LEND ? PKVM_HVC_SHARE :
				 PKVM_HVC_UNSHARE, *gfn * PAGE);
	case M_RECLAIM:
		return hvc(KHH_pkvm_host_force_reclaim, pfn);
	default:
		return hvc(KHH_pkvm_host_can_access, pfn);
	}
}

/* Back to the host alone, by what the model says is needed. */
static void undo_all(struct _test_data_host *self, struct model *m, uint64_t *gfn)
{
	static const enum matrix_call undo[] = {
		M_UNSHARE_EL2, M_TAKE_A, M_TAKE_B, M_UNLEND, M_RECLAIM,
	};
	int i;

	for (i = 0; i < ARRAY_SIZE(undo); i++) {
		make_call(self, m, undo[i], gfn);
		expect(m, undo[i]);
	}
}

/*
 * Every call in every state that three calls can bring about, in turn: the answer and
 * the state after it are those of the model.
 */
TEST_F_TIMEOUT(host, every_call_in_every_state, 2 * TIMEOUT)
{
	const unsigned int depth = 3;
	uint64_t gfn = 0, tried = 0, n, i, nr;
	enum matrix_call seq[3];
	struct model m, before;
	long want, ret;
	uint64_t val;

	for (i = 0, nr = 1; i < depth; i++)
		nr *= M_NR_CALLS;
	for (n = 0; n < nr; n++) {
		for (i = 0, val = n; i < depth; i++, val /= M_NR_CALLS)
			seq[i] = val % M_NR_CALLS;
		memset(&m, 0, sizeof(m));
		for (i = 0; i < depth; i++) {
			before = m;
			want = expect(&m, seq[i]);
			ret = make_call(self, &before, seq[i], &gfn);
			ASSERT_EQ(ret, want) {
				TH_LOG("%s, %s, %s: call %lu; owner %d el2 %d a %d b %d lent %d",
				       call_names[seq[0]], call_names[seq[1]],
				       call_names[seq[2]], i + 1, before.owner, before.el2,
				       before.a, before.b, before.lent);
			}
			tried++;
		}
		/* The host's own view: reads succeed where it may, and nowhere else. */
		ASSERT_EQ(page_peek(self->page, &val),
			  m.owner == OF_HOST || m.lent ? 0 : EFAULT);
		undo_all(self, &m, &gfn);
		ASSERT_TRUE(khh_page_is_alone(self->page));
	}
	TH_LOG("%lu calls", tried);
}

/* -------------------------------------------------------------- the end of VMs */

static long reclaim(uint32_t handle, uint64_t pfn, uint64_t gfn, uint64_t nr)
{
	return hvc(KHH_pkvm_reclaim_guest_pages, handle, pfn, gfn, nr);
}

/* S41, S42 */
TEST_F_TIMEOUT(host, reclaim_and_finalize_out_of_order, TIMEOUT)
{
	struct khh_vm p = khh_vm_info(self->p, PRIVATE_GFN), l = khh_vm_info(self->p, LENT_GFN);
	uint64_t h = p.handle, q = khh_vm_info(self->q, PRIVATE_GFN).guest_pfn, val;

	EXPECT_EQ(reclaim(h, p.guest_pfn, PRIVATE_GFN, 1), -EBUSY);
	EXPECT_EQ(hvc(KHH_pkvm_finalize_teardown_vm, h), -EBUSY);
	EXPECT_EQ(hvc_vcpu(self->vp, KHH_pkvm_start_teardown_vm, h), -EBUSY);
	EXPECT_TRUE(vm_is_sound(self->vp, self->seed + 2));

	self->p_dead = true;
	ASSERT_EQ(hvc(KHH_pkvm_start_teardown_vm, h), 0);
	EXPECT_EQ(hvc(KHH_pkvm_start_teardown_vm, h), 0);
	/* S43 */
	EXPECT_EQ(hvc(KHH_pkvm_vcpu_load, h, 0), -EBUSY);
	EXPECT_EQ(hvc(KHH_pkvm_finalize_teardown_vm, h), -EBUSY);
	EXPECT_EQ(page_peek(p.guest_pfn, &val), EFAULT);
	EXPECT_EQ(reclaim(h, q, PRIVATE_GFN, 1), -EPERM);
	EXPECT_EQ(reclaim(h, self->page, PRIVATE_GFN, 1), -EPERM);
	EXPECT_EQ(reclaim(h, p.guest_pfn, LENT_GFN, 1), -EPERM);
	EXPECT_EQ(reclaim(h, p.guest_pfn, FREE_GFN, 1), -ENOENT);
	EXPECT_EQ(reclaim(h, p.guest_pfn, PRIVATE_GFN, 0), -EINVAL);
	EXPECT_EQ(reclaim(h, p.guest_pfn, 1ul << 52, 1), -EINVAL);
	EXPECT_EQ(reclaim(h, 1ul << 52, PRIVATE_GFN, 1), -EINVAL);
	EXPECT_EQ(reclaim(h, p.guest_pfn, (1ul << (p.ipa_bits - 12)), 1), -ERANGE);
	EXPECT_EQ(reclaim(h + 1000, p.guest_pfn, PRIVATE_GFN, 1), -ENOENT);
	EXPECT_EQ(reclaim(khh_handle(self->q), q, PRIVATE_GFN, 1), -EBUSY);
	EXPECT_EQ(page_peek(p.guest_pfn, &val), EFAULT);
	EXPECT_EQ(page_peek(q, &val), EFAULT);
	EXPECT_EQ(page_peek(l.guest_pfn, &val), 0);
	/* The host does the rest when the VM is closed. */
}

/* S44: the names of what is gone are gone. */
TEST_F_TIMEOUT(host, handle_of_a_vm_that_is_gone, TIMEOUT)
{
	struct pkvm_vm *vm = make_vm(false, 1);
	uint64_t h = khh_handle(vm);

	pkvm_vm_free(vm);
	EXPECT_EQ(hvc(KHH_pkvm_vcpu_load, h, 0), -ENOENT);
	EXPECT_EQ(hvc(KHH_pkvm_start_teardown_vm, h), -ENOENT);
	EXPECT_EQ(hvc(KHH_pkvm_finalize_teardown_vm, h), -ENOENT);
	EXPECT_EQ(reclaim(h, self->page, FREE_GFN, 1), -ENOENT);
	EXPECT_EQ(s2_op(h, KHH_OP_TLBI, 0, 1), -ENOENT);
	EXPECT_EQ(hvc(KHH_pkvm_finalize_teardown_vm, 0), -ENOENT);
	EXPECT_EQ(hvc(KHH_pkvm_start_teardown_vm, ~0ul), -ENOENT);
}

/*
 * S44: EL2 gives a handle, and with it a VMID, to the next VM. That one finds nothing
 * where the last had something, which is the host's by now.
 */
TEST_F_TIMEOUT(host, i1_i4_handle_that_is_used_again, TIMEOUT)
{
	const uint64_t mark = 0x57a1e, size = 16 * PAGE;
	struct pkvm_vm *old, *vm;
	uint64_t handle, off;
	int i;

	for (i = 0; i < 4; i++) {
		struct pkvm_opts opts = { .ordinary = i & 1, .mem_size = MEM_SIZE };

		old = pkvm_vm_create(&opts);
		pkvm_must(pkvm_vcpu0(old), guest_fill, PKVM_MEM_IPA, size, i);
		handle = khh_handle(old);
		pkvm_vm_close(old);
		for (off = 0; off < size; off += 8)
			*(uint64_t *)(old->mem + off) = mark;

		opts.ordinary = i & 2;
		vm = pkvm_vm_create(&opts);
		pkvm_must(pkvm_vcpu0(vm), guest_nop);
		EXPECT_EQ(khh_handle(vm), handle);
		EXPECT_EQ(pkvm_must(pkvm_vcpu0(vm), guest_count_nonzero, PKVM_MEM_IPA, size), 0);
		pkvm_must(pkvm_vcpu0(vm), guest_fill, PKVM_MEM_IPA, size, i + 1);
		for (off = 0; off < size; off += 8)
			if (*(uint64_t *)(old->mem + off) != mark)
				break;
		EXPECT_EQ(off, size);
		pkvm_vm_free(vm);
		pkvm_vm_free(old);
	}
}

TEST_F_TIMEOUT(host, finalize_with_pages_shared, TIMEOUT)
{
	uint64_t h = khh_handle(self->a);

	ASSERT_EQ(khh_share(self->va, self->page, FREE_GFN, 1, KHH_RWX), 0);
	EXPECT_EQ(hvc(KHH_pkvm_finalize_teardown_vm, h), -EBUSY);
	EXPECT_EQ(hvc_vcpu(self->va, KHH_pkvm_start_teardown_vm, h), -EBUSY);
	self->a_dead = true;
	ASSERT_EQ(hvc(KHH_pkvm_start_teardown_vm, h), 0);
	EXPECT_EQ(hvc(KHH_pkvm_finalize_teardown_vm, h), -EBUSY);
	EXPECT_FALSE(khh_page_is_alone(self->page));
	EXPECT_EQ(take_back(self->a, FREE_GFN, 1), 0);
	EXPECT_TRUE(khh_page_is_alone(self->page));
}

/*
 * An ordinary guest has nothing to be reclaimed: what is shared with it is counted,
 * and taken back by unsharing. If a page could be reclaimed from one while another
 * maps it, it would be the host's alone by name only, and a protected guest's
 * memory after that would be everybody's (I1, I3).
 */
TEST_F_TIMEOUT(host, reclaim_from_an_ordinary_vm, TIMEOUT)
{
	uint64_t h = khh_handle(self->a), pfn = self->page, seen, val;

	ASSERT_EQ(page_poke(pfn, 0x1111), 0);
	ASSERT_EQ(khh_share(self->va, pfn, FREE_GFN, 1, KHH_RWX), 0);
	ASSERT_EQ(khh_share(self->vb, pfn, FREE_GFN, 1, KHH_RWX), 0);
	EXPECT_LT(reclaim(h, pfn, FREE_GFN, 1), 0);
	self->a_dead = true;
	ASSERT_EQ(hvc(KHH_pkvm_start_teardown_vm, h), 0);
	EXPECT_LT(reclaim(h, pfn, FREE_GFN, 1), 0);
	EXPECT_EQ(page_peek(pfn, &val), 0);
	EXPECT_EQ(val, 0x1111);
	EXPECT_EQ(khh_donate(self->vp, pfn, FREE_GFN, 1), -EPERM) {
		/* How bad is it? */
		pkvm_must(self->vp, guest_store, FREE_GFN * PAGE, 0x5ec2e7);
		seen = pkvm_must(self->vb, guest_load, FREE_GFN * PAGE);
		TH_LOG("the ordinary guest reads %#lx, the protected guest's secret is %#x",
		       seen, 0x5ec2e7);
		hvc(KHH_pkvm_host_force_reclaim, pfn);
	}
	EXPECT_EQ(take_back(self->b, FREE_GFN, 1), 0);
	EXPECT_EQ(take_back(self->a, FREE_GFN, 1), 0);
}

/*
 * What is shared need not be memory. EL2 may not write to a device, or to nothing,
 * because the host says so: where nothing answers, that is EL2's end (S80).
 */
TEST_F_TIMEOUT(host, reclaim_of_what_is_no_memory, TIMEOUT)
{
	uint64_t h = khh_handle(self->a), pfn = khh_page_alloc(0);
	struct places at;

	find_places(&at);
	ASSERT_EQ(khh_share(self->va, pfn, FREE_GFN, 1, KHH_RWX), 0);
	ASSERT_EQ(khh_share(self->va, at.hole, FREE_GFN + 1, 1, KHH_RW | KHH_DEV), 0);
	self->a_dead = true;
	ASSERT_EQ(hvc(KHH_pkvm_start_teardown_vm, h), 0);
	EXPECT_LT(reclaim(h, at.hole, FREE_GFN + 1, 1), 0);
	EXPECT_EQ(take_back(self->a, FREE_GFN, 2), 0);
	khh_page_free(pfn);
}

/* -------------------------------------------------------- S33: pages for tables */

static struct khh_mc set_mc(struct pkvm_vcpu *vcpu, uint64_t head, uint64_t nr)
{
	struct khh_mc mc = { .vcpu_fd = vcpu->fd, .set = 1, .head = head, .nr = nr };

	khh_must(KHH_IOC_MC, &mc);
	return mc;
}

TEST_F_TIMEOUT(host, table_pages_that_are_not_the_hosts, TIMEOUT)
{
	struct khh_vm p = khh_vm_info(self->p, PRIVATE_GFN), l = khh_vm_info(self->p, LENT_GFN);
	/* Far away, so that it needs tables; each in a region of its own. */
	uint64_t gfn = 1ul << (khh_vm_info(self->a, 0).ipa_bits - 13), pfn, nr, val;
	uint64_t heads[13], nrs[] = { 1, 1000, ~0ul };
	struct khh_mc mine, after;
	int i, j, n = 0;
	struct places at;
	long ret;

	find_places(&at);
	heads[n++] = 0;
	heads[n++] = self->page * PAGE + 8;
	heads[n++] = self->page * PAGE + 4095;
	heads[n++] = p.guest_pfn * PAGE;
	heads[n++] = l.guest_pfn * PAGE;
	heads[n++] = p.pfn * PAGE;
	heads[n++] = at.hole * PAGE;
	heads[n++] = at.mmio * PAGE;
	heads[n++] = ~0ul;
	heads[n++] = ~0ul << 12;
	heads[n++] = 1ul << 52;
	/* Shared with a guest, as EL2 will find. */
	heads[n++] = self->page * PAGE;
	if (find_el2_memory(&pfn, &nr))
		heads[n++] = (pfn + 3) * PAGE;

	ASSERT_EQ(khh_share(self->vb, self->page, FREE_GFN, 1, KHH_RW), 0);
	/* Whatever EL2 holds from before is used up first. */
	for (i = 0; i < 64; i++) {
		mine = set_mc(self->va, 0, 0);
		ret = hvc_vcpu(self->va, KHH_pkvm_host_share_guest, self->page,
			       gfn + i * 512ul * 512, 1, KHH_RW);
		set_mc(self->va, mine.head, mine.nr);
		if (ret > 0)
			break;
		ASSERT_EQ(ret, 0);
	}
	ASSERT_GT(ret, 0);
	gfn += i * 512ul * 512;
	mine = set_mc(self->va, 0, 0);
	for (i = 0; i < n; i++) {
		for (j = 0; j < ARRAY_SIZE(nrs); j++) {
			set_mc(self->va, heads[i], nrs[j]);
			EXPECT_GT(hvc_vcpu(self->va, KHH_pkvm_host_share_guest, self->page,
					   gfn, 1, KHH_RW), 0) {
				TH_LOG("head %#lx, %lu pages", heads[i], nrs[j]);
			}
			after = set_mc(self->va, 0, 0);
			EXPECT_EQ(after.head, heads[i]);
			EXPECT_EQ(after.nr, nrs[j]);
		}
	}
	set_mc(self->va, mine.head, mine.nr);
	EXPECT_EQ(khh_share(self->va, self->page, gfn, 1, KHH_RW), 0);
	EXPECT_EQ(page_peek(l.guest_pfn, &val), 0);
	EXPECT_EQ(take_back(self->a, 0, 1ul << (khh_vm_info(self->a, 0).ipa_bits - 12)), 0);
	EXPECT_EQ(take_back(self->b, FREE_GFN, 1), 0);
}

/* A page that EL2 took for tables is EL2's. */
TEST_F_TIMEOUT(host, table_pages_are_el2s, TIMEOUT)
{
	uint64_t gfn = 1ul << (khh_vm_info(self->a, 0).ipa_bits - 13), val;
	struct khh_mc mc = { .vcpu_fd = self->va->fd };
	uint64_t head = 0;
	int i;

	khh_topup(self->va);
	for (i = 0; i < 64; i++) {
		khh_must(KHH_IOC_MC, &mc);
		head = mc.head;
		ASSERT_EQ(khh_share(self->va, self->page, gfn + i * 512ul * 512, 1, KHH_RW), 0);
		mc = (struct khh_mc) { .vcpu_fd = self->va->fd };
		khh_must(KHH_IOC_MC, &mc);
		if (mc.head != head)
			break;
		khh_topup(self->va);
		mc = (struct khh_mc) { .vcpu_fd = self->va->fd };
	}
	ASSERT_NE(mc.head, head);
	EXPECT_TRUE(is_refused(self->vb, head / PAGE, "a table"));
	EXPECT_EQ(khh_donate(self->vp, head / PAGE, self->next_gfn, 1), -EPERM);
	EXPECT_EQ(hvc(KHH_pkvm_host_share_hyp, head / PAGE), -EPERM);
	EXPECT_EQ(hvc(KHH_pkvm_host_unshare_hyp, head / PAGE), -EPERM);
	EXPECT_EQ(hvc(KHH_pkvm_host_can_access, head / PAGE), 0);
	EXPECT_EQ(hvc(KHH_pkvm_host_force_reclaim, head / PAGE), -EPERM);
	EXPECT_EQ(page_peek(head / PAGE, &val), EFAULT);
	EXPECT_EQ(page_poke(head / PAGE, 0), EFAULT);
	EXPECT_EQ(take_back(self->a, gfn, 64ul * 512 * 512), 0);
}

/*
 * S80: the host executes what EL2 does not let it, because the kernel does not know it.
 * That is an undefined instruction for the host, and not EL2's end.
 */
TEST_F_TIMEOUT(host, instructions_that_a_kernel_would_not, TIMEOUT)
{
	struct khh_insn in = { .nr = 1 };
	int undefined = 0;

	for (; in.index < in.nr; in.index++) {
		khh_must(KHH_IOC_INSN, &in);
		undefined += in.esr && !KHH_EC(in.esr);
		/* Executed; undefined, or the same with FEAT_IDST. */
		EXPECT_TRUE(!KHH_EC(in.esr) || KHH_EC(in.esr) == EC_SYS64) {
			TH_LOG("%s: ESR_EL1 %#llx", in.name, in.esr);
		}
	}
	/* At least those of EL2 and EL3. */
	EXPECT_GE(undefined, 4);
	TH_LOG("%d of %u are undefined", undefined, in.nr);
}

/* S27: a page can be pinned 65535 times, and not once more. */
TEST_F_TIMEOUT(host, very_many_pins, 2 * TIMEOUT)
{
	struct khh_pins pins = { .sve = cpu_has_sve() };
	const uint64_t most = 65535;

	khh_must(KHH_IOC_PINS, &pins);
	TH_LOG("%llu vCPUs, then %lld", pins.made, pins.ret);
	EXPECT_EQ(pins.left, 0);
	if (pins.ret == -ENOMEM)
		SKIP(return, "not enough memory for so many vCPUs");
	EXPECT_EQ(pins.ret, -EBUSY);
	EXPECT_EQ(pins.made, pins.sve ? most / 2 : most);
}

/* A VM has a known number of vCPUs, and so a known size. */
TEST_F_TIMEOUT(host, vms_of_any_number_of_vcpus, TIMEOUT)
{
	static const uint32_t nrs[] = { 0, 513, 1 << 20, 1u << 31, ~0u };
	struct khh_pages m = { .order = 4 };
	struct khh_vm a = khh_vm_info(self->a, 0);
	uint32_t created = khh_load(a.created_addr, 4);
	int i;

	khh_must(KHH_IOC_ALLOC, &m);
	for (i = 0; i < ARRAY_SIZE(nrs); i++) {
		khh_store(a.created_addr, nrs[i], 4);
		EXPECT_EQ(hvc(KHH_pkvm_init_vm, a.addr, m.addr, m.addr + 8 * PAGE), -EINVAL) {
			TH_LOG("%u vCPUs", nrs[i]);
		}
	}
	khh_store(a.created_addr, created, 4);
	for (i = 0; i < 16; i++)
		EXPECT_TRUE(khh_page_is_alone(m.pfn + i));
	khh_page_free(m.pfn);
}

/* ------------------------------------------------- S20: host pointers to EL2 */

TEST_F_TIMEOUT(host, vms_from_memory_that_is_not_shared, TIMEOUT)
{
	struct khh_vm a = khh_vm_info(self->a, 0);
	struct khh_mc mc = { .vcpu_fd = self->va->fd };
	struct khh_pages m = { .order = 4 };

	khh_must(KHH_IOC_MC, &mc);
	khh_must(KHH_IOC_ALLOC, &m);
	/* No struct kvm there. */
	EXPECT_EQ(hvc(KHH_pkvm_init_vm, m.addr, m.addr + 8 * PAGE, m.addr + 12 * PAGE),
		  -EPERM);
	/* Its structures are in use, unaligned, or the same. */
	EXPECT_EQ(hvc(KHH_pkvm_init_vm, a.addr, a.addr & ~(PAGE - 1), m.addr), -ENOMEM);
	EXPECT_EQ(hvc(KHH_pkvm_init_vm, a.addr, m.addr + 8, m.addr), -ENOMEM);
	EXPECT_EQ(hvc(KHH_pkvm_init_vm, a.addr, m.addr, m.addr), -ENOMEM);
	EXPECT_EQ(hvc(KHH_pkvm_init_vm, a.addr, 0, 0), -ENOMEM);
	/* vCPUs: of no VM, one too many, of memory in use. */
	EXPECT_EQ(hvc(KHH_pkvm_init_vcpu, 0, mc.addr, m.addr), -ENOENT);
	EXPECT_EQ(hvc(KHH_pkvm_init_vcpu, ~0ul, mc.addr, m.addr), -ENOENT);
	EXPECT_EQ(hvc(KHH_pkvm_init_vcpu, a.handle, mc.addr, m.addr), -EINVAL);
	EXPECT_EQ(hvc(KHH_pkvm_init_vcpu, a.handle, mc.addr, m.addr + 8), -ENOMEM);
	EXPECT_EQ(hvc(KHH_pkvm_init_vcpu, a.handle, mc.addr, mc.addr & ~(PAGE - 1)), -ENOMEM);
	EXPECT_TRUE(khh_page_is_alone(m.pfn));
	EXPECT_TRUE(khh_page_is_alone(m.pfn + 15));
	khh_page_free(m.pfn);
}

/* S80: nor of memory at odd addresses, where EL2 may not read as it does elsewhere. */
TEST_F_TIMEOUT(host, vms_from_pointers_that_are_not_aligned, TIMEOUT)
{
	struct khh_vm a = khh_vm_info(self->a, 0);
	const uint64_t nr_vcpus = a.created_addr - a.addr;
	struct khh_pages host = { .order = 5 }, el2 = { .order = 6 };
	uint64_t kvm, vcpu, vm, pgd, vcpu_mem;
	long handle;
	int i;

	khh_must(KHH_IOC_ALLOC, &host);
	khh_must(KHH_IOC_ALLOC, &el2);
	kvm = host.addr;
	vcpu = host.addr + 16 * PAGE;
	vm = el2.addr;
	pgd = el2.addr + 16 * PAGE;
	vcpu_mem = el2.addr + 32 * PAGE;
	for (i = 0; i < 32; i++)
		ASSERT_EQ(hvc(KHH_pkvm_host_share_hyp, host.pfn + i), 0);
	for (i = 7; i >= 0; i--) {
		/* One vCPU, wherever that is read. */
		khh_store(kvm + nr_vcpus + i, 1, 4);
		EXPECT_EQ(hvc(KHH_pkvm_init_vm, kvm + i, 0, 0), i ? -EINVAL : -ENOMEM) {
			TH_LOG("struct kvm at %d", i);
		}
		khh_store(kvm + nr_vcpus + i, i ? 0 : 1, 4);
	}
	handle = hvc(KHH_pkvm_init_vm, kvm, vm, pgd);
	ASSERT_GT(handle, 0);
	for (i = 1; i < 16; i++) {
		EXPECT_EQ(hvc(KHH_pkvm_init_vcpu, handle, vcpu + i, vcpu_mem), -EINVAL) {
			TH_LOG("struct kvm_vcpu at %d", i);
		}
	}
	/* They were wrong in nothing else. */
	EXPECT_EQ(hvc(KHH_pkvm_init_vcpu, handle, vcpu, vcpu_mem), 0);
	EXPECT_EQ(hvc(KHH_pkvm_start_teardown_vm, handle), 0);
	EXPECT_EQ(hvc(KHH_pkvm_finalize_teardown_vm, handle), 0);
	for (i = 0; i < 32; i++)
		EXPECT_EQ(hvc(KHH_pkvm_host_unshare_hyp, host.pfn + i), 0);
	for (i = 0; i < 64; i++)
		EXPECT_TRUE(khh_page_is_alone(el2.pfn + i));
	khh_page_free(host.pfn);
	khh_page_free(el2.pfn);
}

/*
 * Base hole 1 and 12: a guest without a stage 2 has all of the machine's memory. So
 * the host's word on HCR_EL2 must not count, for no kind of VM (I1, I3).
 */
TEST_F_TIMEOUT(host, run_without_stage_2, TIMEOUT)
{
	static const uint32_t code[] = {
		0xd503201f,	/* nop: KVM may yet step over one instruction */
		0xd503201f,	/* nop */
		0xf9400001,	/* ldr x1, [x0] */
		0xf9000041,	/* str x1, [x2] */
		0xd5033f9f,	/* dsb sy */
		0x14000000,	/* b . */
	};
	const uint64_t secret = 0x5ec2e7, ipa = PKVM_MEM_IPA + 8 * PAGE;
	uint64_t pfn = self->page, victim, hcr, val, seen = 0;
	struct khh_mc mc = khh_vcpu_info(self->va);
	uint64_t hcr_pfn = field_pfn(&mc, mc.hcr_addr), off = mc.hcr_addr % PAGE;
	int i;

	pkvm_must(self->vp, guest_store, ipa, secret);
	victim = khh_vm_info(self->p, ipa / PAGE).guest_pfn;
	ASSERT_NE(victim, 0);
	ASSERT_EQ(page_peek(victim, &val), EFAULT);

	for (i = 0; i < ARRAY_SIZE(code); i += 2)
		ASSERT_EQ(khh_poke(pfn, 4 * i, code[i] | (uint64_t)code[i + 1] << 32), 0);
	ASSERT_EQ(khh_poke(pfn, 0x800, 0), 0);
	self->a_dead = true;
	/* MMU off: the guest's addresses are the machine's, if nobody translates. */
	ASSERT_EQ(pkvm_set_reg(self->va, KVM_ARM64_SYS_REG(SYS_SCTLR_EL1), 0x30d00980), 0);
	ASSERT_EQ(pkvm_set_reg(self->va, ARM64_CORE_REG(regs.pc), pfn * PAGE), 0);
	ASSERT_EQ(pkvm_set_reg(self->va, ARM64_CORE_REG(regs.pstate), 0x3c5), 0);
	ASSERT_EQ(pkvm_set_reg(self->va, ARM64_CORE_REG(regs.regs[0]), victim * PAGE), 0);
	ASSERT_EQ(pkvm_set_reg(self->va, ARM64_CORE_REG(regs.regs[2]), pfn * PAGE + 0x800), 0);
	ASSERT_EQ(khh_peek(hcr_pfn, off, &hcr), 0);
	ASSERT_EQ(hcr & 1, 1);
	ASSERT_EQ(khh_poke(hcr_pfn, off, hcr & ~1ul), 0);
	pkvm_resume_timeout(self->va, 300);
	ASSERT_EQ(khh_poke(hcr_pfn, off, hcr), 0);
	ASSERT_EQ(khh_peek(pfn, 0x800, &seen), 0);
	EXPECT_EQ(seen, 0) {
		TH_LOG("without stage 2 an ordinary guest reads %#lx; the secret is %#lx",
		       seen, secret);
	}
}

/* The guest's PSTATE is the host's to give, but not a mode of EL2 or above. */
TEST_F_TIMEOUT(host, run_in_a_mode_that_is_not_a_guests, TIMEOUT)
{
	static const uint64_t modes[] = { 0x9, 0x8, 0xd, 0xc, 0xf, 0x1, 0x3, 0x1f, 0x1a, 0x16 };
	struct khh_mc mc = khh_vcpu_info(self->va);
	uint64_t pfn = field_pfn(&mc, mc.pstate_addr), off = mc.pstate_addr % PAGE, seen;
	int i;

	self->a_dead = true;
	for (i = 0; i < ARRAY_SIZE(modes); i++) {
		ASSERT_EQ(khh_poke(pfn, off, 0x3c0 | modes[i]), 0);
		pkvm_resume_timeout(self->va, 50);
		ASSERT_EQ(khh_peek(pfn, off, &seen), 0);
		/* EL1, or an illegal return, after which nothing is executed. */
		EXPECT_TRUE(seen & 1ul << 20 || (seen & 0x1f) <= 5 || seen & 0x10) {
			TH_LOG("mode %#lx: PSTATE %#lx", modes[i], seen);
		}
		ASSERT_EQ(pkvm_vcpu_init(self->va, false), 0);
	}
}

/* S20, S80: addresses that EL2 has no mapping for, nor a reason to follow. */
TEST_F_TIMEOUT(host, addresses_that_el2_does_not_have, TIMEOUT)
{
	struct khh_pages mine = {};
	uint64_t bad[4];
	int i;

	khh_must(KHH_IOC_ALLOC, &mine);
	bad[0] = mine.addr;
	bad[1] = mine.addr + 1;
	bad[2] = ~0ul;
	bad[3] = 0;
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		hvc(KHH_kvm_adjust_pc, bad[i]);
		hvc(KHH_vgic_v3_restore_vmcr_aprs, bad[i]);
		hvc(KHH_vgic_v3_save_vmcr_aprs, bad[i]);
	}
	khh_page_free(mine.pfn);
}

/*
 * Base hole 2: EL2 saves the state of the GIC where the host tells it. If that place
 * may be EL2's own memory then the host writes there, and reads what is there.
 */
TEST_F_TIMEOUT(host, gic_state_in_el2s_memory, TIMEOUT)
{
	/* Active priorities of group 1, after the last word of group 0. */
	const uint64_t mark = 0x100ul << 32, other = 0x10000ul << 32;
	struct khh_mc mc = khh_vcpu_info(self->va), later;
	uint64_t pfn = field_pfn(&mc, mc.cpu_if_addr + 24);
	uint64_t off = (mc.cpu_if_addr + 24) % PAGE, place, before, val;
	struct khh_call c[3];
	int i;

	/* A page that EL2 takes into its stock of table pages, and does not use yet. */
	for (i = 0; i < 64; i++) {
		khh_topup(self->va);
		mc = khh_vcpu_info(self->va);
		ASSERT_EQ(khh_share(self->va, self->page, FREE_GFN + i * 512ul * 512, 1,
				    KHH_RW), 0);
		later = khh_vcpu_info(self->va);
		if (later.head != mc.head)
			break;
	}
	ASSERT_NE(later.head, mc.head);
	ASSERT_EQ(page_peek(mc.head / PAGE, &val), EFAULT);
	/* The kernel's address of it; beyond what a list of pages uses. */
	place = mc.addr - mc.addr % PAGE - mc.pfn * PAGE + mc.head + 2048;

	ASSERT_EQ(khh_peek(pfn, off, &before), 0);
	ASSERT_EQ(khh_poke(pfn, off, mark), 0);
	c[0] = KHH_CALL(KHH_vgic_v3_restore_vmcr_aprs, mc.cpu_if_addr);
	c[1] = KHH_CALL(KHH_vgic_v3_save_vmcr_aprs, place);
	khh_calls(-1, -1, c, 2);
	ASSERT_EQ(khh_poke(pfn, off, other), 0);
	c[1] = KHH_CALL(KHH_vgic_v3_restore_vmcr_aprs, place);
	c[2] = KHH_CALL(KHH_vgic_v3_save_vmcr_aprs, mc.cpu_if_addr);
	khh_calls(-1, -1, c, 3);
	ASSERT_EQ(khh_peek(pfn, off, &val), 0);
	ASSERT_EQ(khh_poke(pfn, off, before), 0);
	EXPECT_EQ(val, other) {
		TH_LOG("through EL2's own memory %#lx came back", val);
	}
	khh_calls(-1, -1, c, 1);
	EXPECT_EQ(take_back(self->a, FREE_GFN, 64ul * 512 * 512), 0);
}

/* A machine, or a VM, that has no GICv3. Protected VMs need one: see i5_run_without_gic. */
FIXTURE(no_gic) {
	struct pkvm_vm *vm;
	struct pkvm_vcpu *vcpu;
	int klog;
};

FIXTURE_SETUP(no_gic)
{
	struct pkvm_opts opts = { .ordinary = true, .no_gic = true, .mem_size = MEM_SIZE };
	const char *why = hostile_unavailable();

	if (why)
		SKIP(return, "%s", why);
	self->klog = klog_open();
	self->vm = pkvm_vm_create(&opts);
	self->vcpu = pkvm_vcpu0(self->vm);
	pkvm_must(self->vcpu, guest_fill, PKVM_MEM_IPA, 4 * PAGE, 7);
}

FIXTURE_TEARDOWN(no_gic)
{
	const char *bad;

	if (!self->vm)
		return;
	EXPECT_TRUE(vm_is_sound(self->vcpu, 7));
	pkvm_vm_free(self->vm);
	hostile_close();
	bad = klog_complaint(self->klog);
	EXPECT_EQ(bad, NULL) {
		TH_LOG("the kernel says: %s", bad);
	}
	close(self->klog);
}

/* S80: on a machine with another GIC the registers are undefined, at EL2 too. */
TEST_F_TIMEOUT(no_gic, i5_state_of_a_gic_that_is_not_there, TIMEOUT)
{
	struct khh_mc mc = khh_vcpu_info(self->vcpu);

	hvc(KHH_vgic_v3_restore_vmcr_aprs, mc.cpu_if_addr);
	hvc(KHH_vgic_v3_save_vmcr_aprs, mc.cpu_if_addr);
	hvc_vcpu(self->vcpu, KHH_vgic_v3_restore_vmcr_aprs, mc.cpu_if_addr);
	hvc_vcpu(self->vcpu, KHH_vgic_v3_save_vmcr_aprs, mc.cpu_if_addr);
}

/* ---------------------------------------- S53, S54: what the host says of registers */

#define CFLAG_SVE		0x1
#define CFLAG_SVE_FINALIZED	0x2
#define IFLAGS_SAVE_BUFFERS	0x60	/* SPE and TRBE */
#define IFLAGS_INCREMENT	0x2
#define EXIT_TRAP		2

/* All Z registers survive an exit: the number of bad words. */
__attribute__((target("arch=armv8-a+sve")))
static uint64_t guest_sve_keeps(uint64_t seed)
{
	static uint64_t in[2 * 32] __aligned(256), out[2 * 32] __aligned(256);
	uint64_t i, vl, bad = 0;

	write_sysreg(3UL << 20 | 3UL << 16, cpacr_el1);
	isb();
	/* ZCR_EL1: as long as they can be. */
	asm volatile("msr s3_0_c1_c2_0, %0" :: "r" (0xful));
	isb();
	asm volatile("rdvl %0, #1" : "=r" (vl));
	for (i = 0; i < vl / 8 && i < ARRAY_SIZE(in); i++)
		WRITE_ONCE(in[i], pkvm_pattern(seed, i));
	asm volatile("ldr z31, [%0]\n"
		     "ldr z8, [%0]\n"
		     "str x30, [%2]\n"
		     "str z31, [%1]\n"
		     :: "r" (in), "r" (out), "r" (PKVM_DEV_IPA) : "memory", "z8", "z31");
	for (i = 0; i < vl / 8 && i < ARRAY_SIZE(in); i++)
		bad += READ_ONCE(in[i]) != READ_ONCE(out[i]);
	guest_out(0, vl);
	return bad;
}

/* Stops at a store to the device, then does what must trap. */
static uint64_t guest_store_and_pmcr(void)
{
	uint64_t val;

	guest_mmio_store(PKVM_DEV_IPA, 1);
	asm volatile("mrs %0, pmcr_el0" : "=r" (val));
	return val;
}

/* The same; whoever answers knows the call. */
static uint64_t guest_store_and_smc(void)
{
	register uint64_t x0 asm("x0");

	guest_mmio_store(PKVM_DEV_IPA, 1);
	x0 = PSCI_0_2_FN_PSCI_VERSION;
	asm volatile("smc #0" : "+r" (x0) : : "x1", "x2", "x3", "memory");
	return x0;
}

__attribute__((target("arch=armv8-a+sve")))
static uint64_t guest_store_and_sve(void)
{
	uint64_t vl;

	write_sysreg(3UL << 20 | 3UL << 16, cpacr_el1);
	isb();
	guest_mmio_store(PKVM_DEV_IPA, 1);
	asm volatile("rdvl %0, #1" : "=r" (vl));
	return vl;
}

static struct pkvm_vm *make_sve_vm(int nr_vcpus, bool late_init)
{
	struct pkvm_opts opts = {
		.ordinary = true, .mem_size = MEM_SIZE, .sve = true,
		.nr_vcpus = nr_vcpus, .late_init = late_init,
	};

	return pkvm_vm_create(&opts);
}

static uint64_t sve_keeps(struct pkvm_vcpu *vcpu, uint64_t seed)
{
	int stop = pkvm_call(vcpu, guest_sve_keeps, seed);

	if (stop == PKVM_EXIT && vcpu->run->exit_reason == KVM_EXIT_MMIO &&
	    vcpu->run->mmio.phys_addr == PKVM_DEV_IPA)
		stop = pkvm_resume(vcpu);
	return stop == PKVM_RETURNED ? vcpu->ret : 1000 + stop;
}

/*
 * Where EL2 saves a guest's SVE registers is the host's word, and what it saves is the
 * guest's: together they could write anything anywhere (base hole 2, CVE-2026-98928).
 */
TEST_F_TIMEOUT(host, sve_registers_where_they_may_not_be, TIMEOUT)
{
	static const uint32_t lengths[] = { 0, 8, 15, 24, 257, 512, 8192, 1u << 31, ~0u };
	struct khh_vm p = khh_vm_info(self->p, PRIVATE_GFN), l = khh_vm_info(self->p, LENT_GFN);
	uint64_t linear, state, flags, el2, nr, freed = khh_page_alloc(4), bad[16];
	struct khh_pages mine = { .order = 4 };
	struct pkvm_vcpu *vcpu;
	struct pkvm_vm *vm;
	struct khh_mc mc;
	uint32_t vl;
	int i, n = 0;

	if (!cpu_has_sve())
		SKIP(return, "no SVE here");
	vm = make_sve_vm(1, false);
	vcpu = pkvm_vcpu0(vm);
	mc = khh_vcpu_info(vcpu);
	state = khh_load(mc.sve_addr, 8);
	vl = khh_load(mc.sve_vl_addr, 4);
	flags = khh_load(mc.cflags_addr, 1);
	ASSERT_NE(state, 0);
	ASSERT_GE(vl, 32);
	khh_must(KHH_IOC_ALLOC, &mine);
	linear = mine.addr - mine.pfn * PAGE;
	/* All of it was shared with EL2 once, and most of it still is. */
	for (i = 0; i < 16; i++)
		ASSERT_EQ(hvc(KHH_pkvm_host_share_hyp, freed + i), 0);
	for (i = 0; i < 16; i++)
		ASSERT_EQ(hvc(KHH_pkvm_host_unshare_hyp, freed + i), 0);
	for (i = 0; i < 15; i++)
		ASSERT_EQ(hvc(KHH_pkvm_host_share_hyp, mine.pfn + i), 0);

	bad[n++] = 0;
	bad[n++] = ~0ul & ~15ul;
	bad[n++] = linear + p.guest_pfn * PAGE;
	bad[n++] = linear + l.guest_pfn * PAGE;
	bad[n++] = linear + freed * PAGE;
	bad[n++] = linear + self->page * PAGE;
	/* Begins in what is shared, ends in what is not, and the other way around. */
	bad[n++] = mine.addr + 15 * PAGE - 16;
	bad[n++] = mine.addr + 15 * PAGE;
	bad[n++] = mine.addr - 16;
	if (find_el2_memory(&el2, &nr)) {
		bad[n++] = linear + el2 * PAGE;
		bad[n++] = linear + (el2 + nr / 2) * PAGE;
		bad[n++] = linear + (el2 + nr - 1) * PAGE;
	}
	for (i = 0; i < n; i++) {
		khh_store(mc.sve_addr, bad[i], 8);
		EXPECT_LT(pkvm_run(vcpu), 0) {
			TH_LOG("SVE registers at %#lx", bad[i]);
		}
		EXPECT_EQ(khh_vm_info(vm, 0).handle, 0);
	}
	for (i = 1; i < 16; i++) {
		khh_store(mc.sve_addr, mine.addr + i, 8);
		EXPECT_EQ(pkvm_run(vcpu), -EINVAL);
	}
	khh_store(mc.sve_addr, mine.addr, 8);
	for (i = 0; i < ARRAY_SIZE(lengths); i++) {
		khh_store(mc.sve_vl_addr, lengths[i], 4);
		EXPECT_EQ(pkvm_run(vcpu), -EINVAL) {
			TH_LOG("SVE registers of %u bytes", lengths[i]);
		}
	}
	khh_store(mc.sve_vl_addr, vl, 4);

	/* Whatever was tried, nothing is left of it: a good place will do. */
	EXPECT_EQ(sve_keeps(vcpu, 1), 0);
	EXPECT_EQ(vcpu->out[0], vl);
	EXPECT_EQ(khh_load(mc.cflags_addr, 1), flags);
	/* EL2 writes there until the VM is gone. */
	EXPECT_EQ(hvc(KHH_pkvm_host_unshare_hyp, mine.pfn), -EBUSY);
	/* What KVM frees must be what it allocated. */
	khh_store(mc.sve_addr, state, 8);
	pkvm_vm_free(vm);
	EXPECT_EQ(hvc(KHH_pkvm_host_unshare_hyp, mine.pfn), 0);
	for (i = 1; i < 15; i++)
		hvc(KHH_pkvm_host_unshare_hyp, mine.pfn + i);
	EXPECT_TRUE(khh_page_is_alone(mine.pfn));
	EXPECT_TRUE(khh_page_is_alone(freed));
	khh_page_free(mine.pfn);
	khh_page_free(freed);
}

/* Once EL2 knows it, nothing that the host writes there moves it. */
TEST_F_TIMEOUT(host, sve_registers_that_move, TIMEOUT)
{
	struct khh_pages mine = { .order = 2 };
	uint64_t state, val, i, page, vl;
	struct pkvm_vcpu *vcpu;
	struct pkvm_vm *vm;
	struct khh_mc mc;

	if (!cpu_has_sve())
		SKIP(return, "no SVE here");
	vm = make_sve_vm(1, false);
	vcpu = pkvm_vcpu0(vm);
	mc = khh_vcpu_info(vcpu);
	ASSERT_EQ(sve_keeps(vcpu, 1), 0);
	khh_must(KHH_IOC_ALLOC, &mine);
	for (page = 0; page < 4; page++) {
		ASSERT_EQ(hvc(KHH_pkvm_host_share_hyp, mine.pfn + page), 0);
		for (i = 0; i < PAGE; i += 8)
			khh_poke(mine.pfn + page, i, KHH_ANYTHING);
	}
	state = khh_load(mc.sve_addr, 8);
	vl = khh_load(mc.sve_vl_addr, 4);
	khh_store(mc.sve_addr, mine.addr, 8);
	EXPECT_EQ(sve_keeps(vcpu, 2), 0);
	khh_store(mc.sve_addr, mine.addr - 16, 8);
	khh_store(mc.sve_vl_addr, 16, 4);
	EXPECT_EQ(sve_keeps(vcpu, 3), 0);
	khh_store(mc.sve_vl_addr, 0x7ffffff0, 4);
	EXPECT_EQ(sve_keeps(vcpu, 4), 0);
	EXPECT_EQ(vcpu->out[0], vl);
	khh_store(mc.sve_addr, state, 8);
	khh_store(mc.sve_vl_addr, vl, 4);
	for (page = 0; page < 4; page++) {
		for (i = 0; i < PAGE; i += 8) {
			ASSERT_EQ(khh_peek(mine.pfn + page, i, &val), 0);
			ASSERT_EQ(val, KHH_ANYTHING) {
				TH_LOG("EL2 wrote to page %lu, offset %lu", page, i);
			}
		}
		EXPECT_EQ(hvc(KHH_pkvm_host_unshare_hyp, mine.pfn + page), 0);
	}
	pkvm_vm_free(vm);
	khh_page_free(mine.pfn);
}

/* A VMM may initialise a vCPU when another runs already: EL2 learns of it in time. */
TEST_F_TIMEOUT(host, a_vcpu_that_is_initialised_late, TIMEOUT)
{
	bool sve = cpu_has_sve();
	struct pkvm_opts opts = {
		.ordinary = true, .mem_size = MEM_SIZE, .sve = sve, .nr_vcpus = 2,
		.late_init = true,
	};
	struct pkvm_vm *vm = pkvm_vm_create(&opts);
	struct pkvm_vcpu *late = &vm->vcpus[1];
	struct khh_mc mc = khh_vcpu_info(late);

	EXPECT_EQ(pkvm_must(pkvm_vcpu0(vm), guest_nop), 0);
	/* Not without. */
	EXPECT_EQ(hvc_vcpu(late, KHH_kvm_vcpu_run, mc.addr), -EINVAL);
	ASSERT_EQ(pkvm_vcpu_init(late, false), 0);
	ASSERT_EQ(pkvm_set_reg(late, ARM64_CORE_REG(regs.pstate), 0x3c5), 0);
	ASSERT_EQ(pkvm_set_reg(late, ARM64_CORE_REG(regs.pc), (uintptr_t)pkvm_guest_entry), 0);
	ASSERT_EQ(pkvm_set_reg(late, ARM64_CORE_REG(regs.regs[0]),
			       (uintptr_t)&pkvm_guest_cpus[1]), 0);
	EXPECT_EQ(pkvm_must(late, guest_nop), 0);
	if (sve)
		EXPECT_EQ(sve_keeps(late, 5), 0);
	pkvm_vm_free(vm);
}

/* Bring an ordinary vCPU to the device store in fn: the next entry is after it. */
static void stop_at_store(struct pkvm_vcpu *vcpu, uint64_t (*fn)(void))
{
	TEST_ASSERT(pkvm_call(vcpu, fn) == PKVM_EXIT &&
		    vcpu->run->exit_reason == KVM_EXIT_MMIO &&
		    vcpu->run->mmio.phys_addr == PKVM_DEV_IPA, "the guest did not stop");
	/* KVM steps over it when it is asked to go on. */
	vcpu->run->immediate_exit = 1;
	TEST_ASSERT(pkvm_run(vcpu) == -EINTR, "the guest did not step");
	vcpu->run->immediate_exit = 0;
}

/*
 * Enter a vCPU as the host's switch code does, with what was stored in its structure
 * just before; nothing of KVM is between that and EL2. Returns ESR_EL2, 0 if the
 * guest did not exit by itself.
 */
static uint64_t raw_run(struct pkvm_vcpu *vcpu, struct khh_mc *mc, struct khh_call *stores,
			int nr)
{
	struct khh_call c[KHH_MAX_CALLS];
	int i;

	memcpy(c, stores, nr * sizeof(*c));
	c[nr] = KHH_CALL(KHH_kvm_vcpu_run, mc->addr);
	/* 0 is an exit for an interrupt. */
	c[nr].repeat = 100;
	c[nr + 1] = KHH_CALL(KHH_LOAD, mc->esr_addr, 0, 8);
	khh_calls(-1, vcpu->fd, c, nr + 2);
	for (i = 0; i < nr; i++)
		TEST_ASSERT(!c[i].smccc, "store %d failed", i);
	TEST_ASSERT(!c[nr].smccc, "EL2 does not know the call");
	return c[nr].ret == EXIT_TRAP ? (uint64_t)c[nr + 1].ret : 0;
}

/* Raw again, with an answer to the last exit in x0; x0 of the next exit in *x0. */
static uint64_t raw_answer(struct pkvm_vcpu *vcpu, struct khh_mc *mc, uint64_t answer,
			   uint64_t *x0)
{
	struct khh_call c[] = {
		KHH_CALL(KHH_STORE, mc->x_addr, answer, 8),
		KHH_CALL(KHH_STORE, mc->iflags_addr, IFLAGS_INCREMENT, 1),
	};
	uint64_t esr = raw_run(vcpu, mc, c, 2);

	*x0 = khh_load(mc->x_addr, 8);
	return esr;
}

#define ESR_ISV			BIT(24)
#define ESR_WNR			BIT(6)
#define NR_STORES		8

static uint64_t guest_store_each(uint64_t addr, uint64_t secret)
{
	int i;

	guest_mmio_store(PKVM_DEV_IPA, 1);
	for (i = 0; i < NR_STORES; i++)
		guest_mmio_store(addr + i * PAGE, secret + i);
	return 0;
}

/*
 * The first store to each page of RAM: whatever the host does with the exit, the data
 * is not in it, and an answer as to a device changes nothing. With the guard and
 * without: what is RAM the host had to say before the first run.
 */
TEST_F_TIMEOUT(host, first_stores_to_ram, TIMEOUT)
{
	struct khh_mc mc = khh_vcpu_info(self->vp);
	uint64_t ipa = PKVM_MEM_IPA + 64 * PAGE, secret = pkvm_pattern(self->seed, 1);
	uint64_t esr, x0, given[2 * NR_STORES];
	int round, i, n = 0;

	for (round = 0; round < 2; round++, ipa += NR_STORES * PAGE) {
		if (round) {
			pkvm_must(self->vp, guest_hvc, PKVM_HVC_GUARD_MAP, PKVM_CTL_IPA);
			pkvm_must(self->vp, guest_hvc, PKVM_HVC_GUARD_MAP, PKVM_DEV_IPA);
			ASSERT_EQ(pkvm_must(self->vp, guest_hvc, PKVM_HVC_GUARD_ENROLL), 0);
		}
		/* Not even if the guest is mistaken. */
		EXPECT_EQ(pkvm_must(self->vp, guest_hvc, PKVM_HVC_GUARD_MAP, ipa),
			  PKVM_SMCCC_INVALID_PARAMETER);
		ASSERT_EQ(pkvm_call(self->vp, guest_store_each, ipa, secret), PKVM_EXIT);
		self->vp->run->immediate_exit = 1;
		ASSERT_EQ(pkvm_run(self->vp), -EINTR);
		self->vp->run->immediate_exit = 0;
		for (i = 0; i < NR_STORES; i++) {
			esr = raw_answer(self->vp, &mc, KHH_ANYTHING, &x0);
			EXPECT_EQ(KHH_EC(esr), EC_DABT_LOW);
			EXPECT_EQ(esr & ESR_ISV, 0) {
				TH_LOG("page %d: ESR %#lx", i, esr);
			}
			EXPECT_NE(x0, secret + i) {
				TH_LOG("the host has what the guest stored");
			}
			/* As if it were a device: the guest stays where it is. */
			esr = raw_answer(self->vp, &mc, KHH_ANYTHING, &x0);
			EXPECT_EQ(KHH_EC(esr), EC_DABT_LOW);
			EXPECT_NE(x0, secret + i);
			given[n] = khh_page_alloc(0);
			ASSERT_EQ(khh_donate(self->vp, given[n++], ipa / PAGE + i, 1), 0);
		}
		EXPECT_EQ(pkvm_resume(self->vp), PKVM_RETURNED);
		for (i = 0; i < NR_STORES; i++)
			EXPECT_EQ(pkvm_must(self->vp, guest_load, ipa + i * PAGE), secret + i);
	}
	/* KVM does not know of these pages. */
	self->p_dead = true;
	for (i = 0; i < n; i++)
		EXPECT_EQ(hvc(KHH_pkvm_host_force_reclaim, given[i]), 0);
}

/* What was not declared is never memory: then it cannot have been MMIO before. */
TEST_F_TIMEOUT(host, memory_that_was_not_declared, TIMEOUT)
{
	uint64_t end = PKVM_HOLE_IPA / PAGE + SZ_1G / PAGE;

	EXPECT_EQ(khh_donate(self->vp, self->page, PKVM_MEM2_IPA / PAGE, 1), -EPERM);
	EXPECT_EQ(khh_donate(self->vp, self->page, PKVM_CTL_IPA / PAGE, 1), -EPERM);
	EXPECT_EQ(khh_donate(self->vp, self->page, end, 1), -EPERM);
	EXPECT_EQ(khh_donate(self->vp, self->page, end - 1, 2), -EPERM);
	EXPECT_EQ(khh_donate(self->vp, self->page, FREE_GFN - 1, 1), -EPERM);
	EXPECT_TRUE(khh_page_is_alone(self->page));
	EXPECT_EQ(pkvm_set_slot(self->p, 10, PKVM_MEM2_IPA, SZ_64K, free_ram, 0), -EPERM);
	EXPECT_EQ(try_donation(self, self->page), 0);
}

/* The list itself: what EL2 cannot make sense of makes no VM. */
TEST_F_TIMEOUT(host, declarations_of_nonsense, TIMEOUT)
{
	static const uint64_t lists[][3] = {
		{ 65, 1, 1 }, { ~0ul, 1, 1 }, { 1ul << 32, 1, 1 }, { 1, 1, 0 },
		{ 1, 1, ~0ul }, { 1, ~0ul, 1 }, { 1, ~0ul, 2 }, { 1, 1ul << 52, 1 },
		{ 1, (1ul << 52) - 1, 2 }, { 64, 1, 1 },
	};
	/* A table of the first level may be 16 pages. */
	struct khh_pages m = { .order = 5 };
	struct khh_vm a = khh_vm_info(self->a, 0);
	int i, j;

	khh_must(KHH_IOC_ALLOC, &m);
	for (i = 0; i < ARRAY_SIZE(lists); i++) {
		for (j = 0; j < 3; j++)
			ASSERT_EQ(khh_poke(m.pfn, 8 * j, lists[i][j]), 0);
		EXPECT_EQ(hvc(KHH_pkvm_init_vm, a.addr, m.addr, m.addr + 16 * PAGE), -EINVAL) {
			TH_LOG("list %d", i);
		}
	}
	for (i = 0; i < 32; i++)
		EXPECT_TRUE(khh_page_is_alone(m.pfn + i));
	khh_page_free(m.pfn);
}

/* Pages for a first level that do not do leave no trace in what EL2 knows of them. */
TEST_F_TIMEOUT(host, tables_that_are_not_aligned, TIMEOUT)
{
	int ipa_bits = ioctl(self->a->kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_ARM_VM_IPA_SIZE);
	struct khh_pages m = { .order = 6 };
	struct khh_vm a = khh_vm_info(self->a, 0);
	int i, j;

	if (ipa_bits < 40 || (ipa_bits > 43 && ipa_bits < 49))
		SKIP(return, "the first level of %d bits is one page", ipa_bits);
	khh_must(KHH_IOC_ALLOC, &m);
	for (i = 31; i > 16; i -= 2) {
		for (j = 0; j < 3; j++)
			ASSERT_EQ(khh_poke(m.pfn, 8 * j, 0), 0);
		EXPECT_EQ(hvc(KHH_pkvm_init_vm, a.addr, m.addr, m.addr + i * PAGE), -ENOMEM);
	}
	for (i = 0; i < 64; i++)
		EXPECT_TRUE(khh_page_is_alone(m.pfn + i));
	khh_page_free(m.pfn);
}

#define GUEST_ACCESS(name, insn)					\
static uint64_t guest_access_##name(uint64_t val)			\
{									\
	guest_mmio_store(PKVM_DEV_IPA, 1);				\
	asm volatile(insn : "+r" (val) : "r" (PKVM_DEV_IPA + 64) : "memory"); \
	guest_mmio_store(PKVM_DEV_IPA + 8, val);			\
	return 0;							\
}

GUEST_ACCESS(strb, "strb %w0, [%1]")
GUEST_ACCESS(strh, "strh %w0, [%1]")
GUEST_ACCESS(strw, "str %w0, [%1]")
GUEST_ACCESS(strx, "str %0, [%1]")
GUEST_ACCESS(ldrb, "ldrb %w0, [%1]")
GUEST_ACCESS(ldrh, "ldrh %w0, [%1]")
GUEST_ACCESS(ldrw, "ldr %w0, [%1]")
GUEST_ACCESS(ldrx, "ldr %0, [%1]")
GUEST_ACCESS(ldrsb_w, "ldrsb %w0, [%1]")
GUEST_ACCESS(ldrsb_x, "ldrsb %0, [%1]")
GUEST_ACCESS(ldrsh_w, "ldrsh %w0, [%1]")
GUEST_ACCESS(ldrsh_x, "ldrsh %0, [%1]")
GUEST_ACCESS(ldrsw_x, "ldrsw %0, [%1]")

/*
 * S51, S52: from the host's side of the exit. A store shows the bytes that it stores;
 * of the answer to a load the guest takes those that it loads, extended by EL2.
 */
TEST_F_TIMEOUT(host, the_width_of_mmio, TIMEOUT)
{
	const uint64_t canary = 0xc0ffee11deadfa57, answer = 0x8badf00d80c5f3f9;
	const struct {
		uint64_t (*fn)(uint64_t val);
		uint64_t shown, got;
	} t[] = {
		{ guest_access_strb, canary & 0xff },
		{ guest_access_strh, canary & 0xffff },
		{ guest_access_strw, canary & 0xffffffff },
		{ guest_access_strx, canary },
		{ guest_access_ldrb, 0, 0xf9 },
		{ guest_access_ldrh, 0, 0xf3f9 },
		{ guest_access_ldrw, 0, 0x80c5f3f9 },
		{ guest_access_ldrx, 0, answer },
		{ guest_access_ldrsb_w, 0, 0xfffffff9 },
		{ guest_access_ldrsb_x, 0, 0xfffffffffffffff9 },
		{ guest_access_ldrsh_w, 0, 0xfffff3f9 },
		{ guest_access_ldrsh_x, 0, 0xfffffffffffff3f9 },
		{ guest_access_ldrsw_x, 0, 0xffffffff80c5f3f9 },
	};
	struct khh_mc mc = khh_vcpu_info(self->vp);
	uint64_t esr, x0;
	bool store;
	int i;

	for (i = 0; i < ARRAY_SIZE(t); i++) {
		store = i < 4;
		ASSERT_EQ(pkvm_call(self->vp, t[i].fn, canary), PKVM_EXIT);
		self->vp->run->immediate_exit = 1;
		ASSERT_EQ(pkvm_run(self->vp), -EINTR);
		self->vp->run->immediate_exit = 0;
		esr = raw_answer(self->vp, &mc, KHH_ANYTHING, &x0);
		EXPECT_EQ(esr & (ESR_ISV | ESR_WNR), ESR_ISV | (store ? ESR_WNR : 0));
		/* Not which register it is. */
		EXPECT_EQ(esr >> 16 & 0x1f, 0);
		EXPECT_EQ(x0, t[i].shown) {
			TH_LOG("access %d shows %#lx", i, x0);
		}
		esr = raw_answer(self->vp, &mc, answer, &x0);
		EXPECT_EQ(esr & (ESR_ISV | ESR_WNR), ESR_ISV | ESR_WNR);
		EXPECT_EQ(x0, store ? canary : t[i].got) {
			TH_LOG("access %d: the guest has %#lx", i, x0);
		}
		khh_store(mc.iflags_addr, IFLAGS_INCREMENT, 1);
		EXPECT_EQ(pkvm_resume(self->vp), PKVM_RETURNED);
	}
}

/* Guest addresses: a table of the guest's own, and where no memory is, nor a device. */
#define TABLE_IPA		(PKVM_MEM_IPA + 32 * PAGE)
#define NOWHERE_IPA		(PKVM_DEV_IPA + SZ_64M)
#define NOWHERE_VA		(5ul << 30)

#define ESR_S1PTW		BIT(7)
#define ESR_CM			BIT(8)
#define ESR_FSC			0x3ful
#define FSC_EXTERNAL		0x10

/*
 * Translate an address whose table is where no memory is. The result is what was in
 * PAR_EL1 before, unless somebody says that the translation was done; out[1] is the
 * syndrome of the exception.
 */
static uint64_t guest_translate(uint64_t table, uint64_t par)
{
	uint64_t *own = (uint64_t *)(read_sysreg(ttbr0_el1) & ~0xffful), i, ret;
	struct pkvm_guest_cpu *cpu = guest_cpu();

	for (i = 0; i < 512; i++)
		WRITE_ONCE(((uint64_t *)table)[i], own[i]);
	WRITE_ONCE(((uint64_t *)table)[NOWHERE_VA >> 30], NOWHERE_IPA | 3);
	WRITE_ONCE(cpu->esr, 0);
	WRITE_ONCE(cpu->caught, 0);
	guest_mmio_store(PKVM_DEV_IPA, 1);
	WRITE_ONCE(cpu->catching, 1);
	guest_use_table(table);
	write_sysreg(par, par_el1);
	asm volatile("at s1e1r, %0\n isb\n" :: "r" (NOWHERE_VA) : "memory");
	ret = read_sysreg(par_el1);
	guest_use_table((uint64_t)own);
	WRITE_ONCE(cpu->catching, 0);
	guest_out(0, READ_ONCE(cpu->caught));
	guest_out(1, READ_ONCE(cpu->esr));
	return ret;
}

/* Bring a protected vCPU to the device store in fn, so that the next entry is ours. */
#define stop_in(vcpu, ...)						\
do {									\
	struct pkvm_vcpu *_vcpu = (vcpu);				\
									\
	TEST_ASSERT(pkvm_call(_vcpu, __VA_ARGS__) == PKVM_EXIT, "the guest did not stop"); \
	khh_step(_vcpu);						\
} while (0)

/*
 * S52: a translation that the host would have the guest believe is done. The abort has
 * CM, as one on a cache operation, which the host may skip.
 */
TEST_F_TIMEOUT(host, a_translation_that_is_skipped, TIMEOUT)
{
	const uint64_t what = ESR_S1PTW | ESR_CM, par = 0x5a5000;
	struct khh_mc mc = khh_vcpu_info(self->vp);
	uint64_t esr, x0;
	int i;

	stop_in(self->vp, guest_translate, TABLE_IPA, par);
	esr = raw_answer(self->vp, &mc, KHH_ANYTHING, &x0);
	ASSERT_EQ(KHH_EC(esr), EC_DABT_LOW);
	ASSERT_EQ(esr & (what | ESR_ISV), what) {
		TH_LOG("not an abort of AT: ESR %#lx", esr);
	}
	for (i = 0; i < 3; i++) {
		EXPECT_EQ(raw_answer(self->vp, &mc, KHH_ANYTHING, &x0), esr) {
			TH_LOG("the guest went on without a translation");
		}
	}
	/* What the host may say is that there is nothing: the guest has an abort. */
	khh_store(mc.iflags_addr, 0, 1);
	EXPECT_EQ(pkvm_resume(self->vp), PKVM_RETURNED);
	EXPECT_EQ(self->vp->ret, par);
	EXPECT_EQ(self->vp->out[0], 1);
	EXPECT_EQ(self->vp->out[1] & ESR_FSC, FSC_EXTERNAL) {
		TH_LOG("ESR_EL1 %#lx", self->vp->out[1]);
	}
}

static uint64_t guest_stop_and_share(uint64_t ipa)
{
	guest_mmio_store(PKVM_DEV_IPA, 1);
	return guest_hvc(PKVM_HVC_SHARE, ipa, 0, 0);
}

/* Bring the guest into the call to unshare its lent page. */
static void ask_to_unlend(struct _test_data_host *self, struct khh_mc *mc)
{
	uint64_t x0;

	stop_in(self->vp, guest_unlend, LENT_GFN * PAGE);
	TEST_ASSERT(KHH_EC(raw_answer(self->vp, mc, KHH_ANYTHING, &x0)) == EC_HVC64 &&
		    x0 == PKVM_HVC_UNSHARE, "the guest does not ask for its page");
}

/* Enter by hand, with x0 for an answer: what the guest's call returned, in x0. */
static uint64_t answer_call(struct _test_data_host *self, struct khh_mc *mc, uint64_t x0)
{
	khh_store(mc->x_addr, x0, 8);
	TEST_ASSERT(pkvm_resume(self->vp) == PKVM_RETURNED, "the guest did not go on");
	return self->vp->ret;
}

/*
 * The guest wants a lent page back, and the host does anything but that. The page stays
 * lent, the guest learns it, and the host has no second chance.
 */
TEST_F_TIMEOUT(host, unshare_that_is_answered_wrongly, TIMEOUT)
{
	const uint64_t answers[] = {
		0, ~0ul, 1, PKVM_HVC_UNSHARE, PKVM_HVC_SHARE, PKVM_HVC_GUARD_MAP, 0x84000008,
	};
	uint64_t lent = khh_vm_info(self->p, LENT_GFN).guest_pfn, pages = khh_page_alloc(1);
	struct khh_mc mc = khh_vcpu_info(self->vp);
	int i;

	ASSERT_NE(lent, 0);
	for (i = 0; i < ARRAY_SIZE(answers); i++) {
		ask_to_unlend(self, &mc);
		/* Another page, another place, more than the page, another guest. */
		EXPECT_EQ(khh_donate(self->vp, self->page, LENT_GFN, 1), -EPERM);
		EXPECT_EQ(khh_donate(self->vp, lent, PRIVATE_GFN, 1), -EPERM);
		EXPECT_EQ(khh_donate(self->vp, lent, FREE_GFN, 1), -EPERM);
		EXPECT_EQ(khh_donate(self->vp, lent, LENT_GFN, 2), -EPERM);
		EXPECT_EQ(khh_donate(self->vp, lent, LENT_GFN, 0), -EINVAL);
		EXPECT_EQ(khh_donate(self->vp, pages, LENT_GFN, 2), -EEXIST);
		EXPECT_EQ(khh_donate(self->vq, lent, LENT_GFN, 1), -EPERM);
		EXPECT_EQ(khh_donate(self->vp, lent + (1ul << 52), LENT_GFN, 1), -EINVAL);
		EXPECT_EQ(khh_donate(self->vp, lent, LENT_GFN + (1ul << 52), 1), -EINVAL);
		EXPECT_EQ(hvc(KHH_pkvm_host_force_reclaim, lent), -EAGAIN);
		EXPECT_EQ(hvc(KHH_pkvm_host_can_access, lent), 1);
		EXPECT_EQ(answer_call(self, &mc, answers[i]), PKVM_SMCCC_INVALID_PARAMETER) {
			TH_LOG("answered by %#lx", answers[i]);
		}
		/* Too late. */
		EXPECT_EQ(khh_donate(self->vp, lent, LENT_GFN, 1), -EPERM);
		EXPECT_EQ(hvc(KHH_pkvm_host_can_access, lent), 1);
	}
	EXPECT_TRUE(khh_page_is_alone(self->page));

	/* It does so, and says that it has not; and does it again. */
	ask_to_unlend(self, &mc);
	EXPECT_EQ(khh_donate(self->vp, lent, LENT_GFN, 1), 0);
	EXPECT_EQ(hvc(KHH_pkvm_host_can_access, lent), 0);
	EXPECT_EQ(khh_donate(self->vp, lent, LENT_GFN, 1), -EPERM);
	EXPECT_EQ(answer_call(self, &mc, ~0ul), PKVM_SMCCC_OK);
	EXPECT_EQ(pkvm_must(self->vp, guest_hvc, PKVM_HVC_UNSHARE, LENT_GFN * PAGE),
		  PKVM_SMCCC_INVALID_PARAMETER);
	/* As the other tests have it. */
	EXPECT_EQ(pkvm_must(self->vp, guest_hvc, PKVM_HVC_SHARE, LENT_GFN * PAGE), 0);
	khh_page_free(pages);
}

/*
 * The guest shares a page that it does not have yet, and the host says that it has given
 * it one. The guest asks again; it never takes a page to be shared that is not there.
 */
TEST_F_TIMEOUT(host, share_that_is_answered_wrongly, TIMEOUT)
{
	uint64_t ipa = PKVM_HOLE_IPA + 0x2000 * PAGE, esr, x0;
	struct khh_mc mc = khh_vcpu_info(self->vp);
	int i;

	stop_in(self->vp, guest_stop_and_share, ipa);
	for (i = 0; i < 4; i++) {
		esr = raw_answer(self->vp, &mc, 0, &x0);
		EXPECT_EQ(KHH_EC(esr), EC_HVC64);
		EXPECT_EQ(x0, PKVM_HVC_SHARE);
		/* Nothing that is not the host's own, and nowhere else. */
		EXPECT_EQ(khh_donate(self->vp, khh_vm_info(self->p, LENT_GFN).guest_pfn,
				     ipa / PAGE, 1), -EPERM);
		EXPECT_EQ(khh_donate(self->vp, self->page, PRIVATE_GFN, 1), -EEXIST);
	}
	EXPECT_EQ(answer_call(self, &mc, KHH_ANYTHING), PKVM_SMCCC_INVALID_PARAMETER);
	EXPECT_EQ(hvc(KHH_pkvm_host_can_access, self->page), 1);

	/* It gives one, and says that it has not: the page is the guest's, and private. */
	stop_in(self->vp, guest_stop_and_share, ipa);
	EXPECT_EQ(KHH_EC(raw_answer(self->vp, &mc, 0, &x0)), EC_HVC64);
	EXPECT_EQ(khh_donate(self->vp, self->page, ipa / PAGE, 1), 0);
	EXPECT_EQ(answer_call(self, &mc, KHH_ANYTHING), PKVM_SMCCC_INVALID_PARAMETER);
	EXPECT_EQ(hvc(KHH_pkvm_host_can_access, self->page), 0);
	EXPECT_EQ(pkvm_must(self->vp, guest_hvc, PKVM_HVC_SHARE, ipa), PKVM_SMCCC_OK);
	EXPECT_EQ(hvc(KHH_pkvm_host_can_access, self->page), 1);
	ask_to_unlend(self, &mc);
	/* Asked for one, the host returns the other. */
	EXPECT_EQ(khh_donate(self->vp, self->page, ipa / PAGE, 1), -EPERM);
	EXPECT_EQ(answer_call(self, &mc, 0), PKVM_SMCCC_INVALID_PARAMETER);
	EXPECT_EQ(unlend(self->vp, self->page, ipa / PAGE), PKVM_SMCCC_OK);
	EXPECT_EQ(hvc(KHH_pkvm_host_force_reclaim, self->page), 0);
}

/* Enabled and masked: nothing fires. */
static uint64_t guest_set_vtimer(uint64_t cval)
{
	write_sysreg(cval, cntv_cval_el0);
	write_sysreg(3, cntv_ctl_el0);
	isb();
	return 0;
}

static uint64_t guest_vtimer_cval(void)
{
	return read_sysreg(cntv_cval_el0);
}

static uint64_t guest_vtimer_ctl(void)
{
	return read_sysreg(cntv_ctl_el0) & 3;
}

/* S54: the host loads the virtual timer's registers, and keeps them for a while. */
TEST_F_TIMEOUT(host, timer_that_the_host_moves, TIMEOUT)
{
	uint64_t cval = pkvm_pattern(self->seed, 9) >> 1;
	struct khh_mc p = khh_vcpu_info(self->vp), a = khh_vcpu_info(self->va);

	pkvm_must(self->vp, guest_set_vtimer, cval);
	/* So that it knows when to wake the guest. */
	EXPECT_EQ(khh_load(p.cval_addr, 8), cval);
	khh_store(p.cval_addr, 0x1234, 8);
	khh_store(p.cntv_ctl_addr, 0, 8);
	EXPECT_EQ(pkvm_must(self->vp, guest_vtimer_cval), cval);
	EXPECT_EQ(pkvm_must(self->vp, guest_vtimer_ctl), 3);
	EXPECT_EQ(khh_load(p.cval_addr, 8), cval);

	/* An ordinary guest's is the host's. */
	pkvm_must(self->va, guest_set_vtimer, cval);
	khh_store(a.cval_addr, 0x1234, 8);
	EXPECT_EQ(pkvm_must(self->va, guest_vtimer_cval), 0x1234);
}

/* Base hole 12: the traps are EL2's, and what the host wants of them does not count. */
TEST_F_TIMEOUT(host, traps_that_the_host_turns_off, TIMEOUT)
{
	struct khh_mc mc = khh_vcpu_info(self->va);
	struct khh_call off[] = {
		KHH_CALL(KHH_STORE, mc.mdcr_addr, 0, 8),
		/* But RW: the guest is of 64 bits. */
		KHH_CALL(KHH_STORE, mc.hcr_addr, 1ul << 31, 8),
	};
	uint64_t esr;

	stop_at_store(self->va, guest_store_and_pmcr);
	self->a_dead = true;
	esr = raw_run(self->va, &mc, off, 2);
	EXPECT_EQ(KHH_EC(esr), EC_SYS64) {
		TH_LOG("the guest reached the CPU's counters: ESR %#lx", esr);
	}
}

/* Of HCR_EL2 too: an SMC of an ordinary guest is the host's to answer, not firmware's. */
TEST_F_TIMEOUT(host, i5_smc_that_the_host_lets_through, TIMEOUT)
{
	struct khh_mc mc = khh_vcpu_info(self->va);
	struct khh_call off = KHH_CALL(KHH_STORE, mc.hcr_addr, 1ul << 31, 8);
	uint64_t esr;

	stop_at_store(self->va, guest_store_and_smc);
	self->a_dead = true;
	esr = raw_run(self->va, &mc, &off, 1);
	EXPECT_EQ(KHH_EC(esr), EC_SMC64) {
		TH_LOG("the guest reached the firmware: ESR %#lx", esr);
	}
}

/*
 * EL2 drains the host's profiling and trace buffers if there are any. If the host says
 * so where there are none, EL2 must not look for them (S80).
 */
TEST_F_TIMEOUT(host, buffers_that_the_cpu_does_not_have, TIMEOUT)
{
	struct khh_mc mc = khh_vcpu_info(self->va);
	struct khh_call all = KHH_CALL(KHH_STORE, mc.iflags_addr, IFLAGS_SAVE_BUFFERS, 1);
	uint64_t esr;

	stop_at_store(self->va, guest_store_and_pmcr);
	self->a_dead = true;
	esr = raw_run(self->va, &mc, &all, 1);
	EXPECT_EQ(KHH_EC(esr), EC_SYS64);
	/* KVM clears them when it puts a vCPU. */
	khh_store(mc.iflags_addr, 0, 1);
}

/* Exceptions of all kinds, and none, at the entry of a guest: it is the guest's loss. */
TEST_F_TIMEOUT(host, iflags_of_any_value, TIMEOUT)
{
	struct khh_mc mc = khh_vcpu_info(self->va);
	struct khh_call c;
	int i;

	stop_at_store(self->va, guest_store_and_pmcr);
	self->a_dead = true;
	for (i = 0; i < 256; i++) {
		c = KHH_CALL(KHH_STORE, mc.iflags_addr, i, 1);
		raw_run(self->va, &mc, &c, 1);
		hvc_vcpu(self->va, KHH_kvm_adjust_pc);
	}
	khh_store(mc.iflags_addr, 0, 1);
	EXPECT_TRUE(vm_is_sound(self->vb, self->seed + 1));
}

/* A vCPU has SVE from the start or never: its registers would have no place. */
TEST_F_TIMEOUT(host, sve_that_comes_later, TIMEOUT)
{
	struct khh_mc mc = khh_vcpu_info(self->va);
	uint64_t flags = khh_load(mc.cflags_addr, 1), esr;
	struct khh_call c[] = {
		KHH_CALL(KHH_STORE, mc.cflags_addr,
			 flags | CFLAG_SVE | CFLAG_SVE_FINALIZED, 1),
		KHH_CALL(KHH_STORE, mc.sve_vl_addr, 32, 4),
	};

	if (!cpu_has_sve())
		SKIP(return, "no SVE here");
	stop_at_store(self->va, guest_store_and_sve);
	self->a_dead = true;
	esr = raw_run(self->va, &mc, c, 2);
	khh_store(mc.cflags_addr, flags, 1);
	khh_store(mc.sve_vl_addr, 0, 4);
	EXPECT_EQ(KHH_EC(esr), EC_SVE) {
		TH_LOG("ESR %#lx", esr);
	}
}

/* ------------------------------------------------------------- S26, S32: races */

struct racer {
	pthread_t tid;
	int cpu, vcpu_fd;
	struct pkvm_vm *vm;
	uint64_t pfn;
	bool *stop;
	uint64_t won, wrong;
};

static void *race_to_share(void *arg)
{
	struct racer *r = arg;
	uint64_t handle = khh_handle(r->vm);
	long ret;

	while (!READ_ONCE(*r->stop)) {
		ret = khh_one_call(-1, r->vcpu_fd, KHH_CALL(KHH_pkvm_host_share_guest, r->pfn,
							    FREE_GFN, 1, KHH_RW));
		if (ret == -EPERM)
			continue;
		r->wrong += ret != 0;
		if (ret)
			continue;
		r->won++;
		/* Until it is taken back, nobody else can have it. */
		r->wrong += hvc(KHH_pkvm_host_share_hyp, r->pfn) != -EPERM;
		while (s2_op(handle, KHH_OP_UNSHARE, FREE_GFN, 1) > 0)
			;
	}
	return NULL;
}

static void *race_to_el2(void *arg)
{
	struct racer *r = arg;
	long ret;

	while (!READ_ONCE(*r->stop)) {
		ret = hvc(KHH_pkvm_host_share_hyp, r->pfn);
		r->wrong += ret && ret != -EPERM;
		if (ret)
			continue;
		r->won++;
		r->wrong += !!hvc(KHH_pkvm_host_unshare_hyp, r->pfn);
	}
	return NULL;
}

#define RACE_PAGES	64

/* What a vCPU can lend it marks; the rest is lost, or another vCPU has lent it. */
static uint64_t guest_share_all(uint64_t ipa, uint64_t step)
{
	uint64_t i, won = 0;

	for (i = 0; i < RACE_PAGES; i++) {
		uint64_t addr = ipa + i * step % RACE_PAGES * PAGE;

		if (guest_hvc_quiet(PKVM_HVC_SHARE, addr, 0, 0))
			continue;
		WRITE_ONCE(*(uint64_t *)addr, addr);
		won++;
	}
	return won;
}

/*
 * S32, S37: two vCPUs lend pages while the host takes the same pages by force. Each is
 * lent once, with what the guest wrote, or lost and empty.
 */
TEST_F_TIMEOUT(host, i1_i4_race_of_share_and_force_reclaim, TIMEOUT)
{
	struct pkvm_opts opts = { .nr_vcpus = 2, .mem_size = MEM_SIZE };
	const uint64_t mark = pkvm_pattern(self->seed, 0);
	uint64_t pfn, gfn = FREE_GFN, val, lost = 0, lent = 0, pfns[8];
	struct pkvm_vm *vm = pkvm_vm_create(&opts);
	long ret[RACE_PAGES];
	struct pkvm_thread t[2];
	uint32_t handle;
	int round, i;

	ASSERT_EQ(pkvm_set_slot(vm, 9, PKVM_HOLE_IPA, SZ_1G, free_ram, 0), 0);
	ASSERT_EQ(pkvm_must(&vm->vcpus[0], guest_hvc, PSCI_0_2_FN64_CPU_ON, 1,
			    (uintptr_t)pkvm_guest_entry, (uintptr_t)&pkvm_guest_cpus[1]), 0);
	pkvm_must(&vm->vcpus[0], guest_touch_image);
	pkvm_must(&vm->vcpus[1], guest_nop);
	handle = khh_handle(vm);

	for (round = 0; round < 8; round++, gfn += RACE_PAGES) {
		pfn = khh_page_alloc(6);
		for (i = 0; i < RACE_PAGES; i++)
			ASSERT_EQ(khh_poke(pfn + i, 8, mark), 0);
		ASSERT_EQ(khh_donate(&vm->vcpus[0], pfn, gfn, RACE_PAGES), 0);
		for (i = 0; i < 2; i++)
			pkvm_thread_start(&t[i], &vm->vcpus[i], guest_share_all, gfn * PAGE,
					  1 + 4 * i);
		/* From the other end, so that they meet; each other time not at once. */
		for (i = 0; round & 1 && i < 50000; i++) {
			if (hvc(KHH_pkvm_host_can_access, pfn) == 1)
				break;
			usleep(100);
		}
		for (i = RACE_PAGES - 1; i >= 0; i--)
			ret[i] = hvc(KHH_pkvm_host_force_reclaim, pfn + i);
		for (val = 0, i = 0; i < 2; i++) {
			EXPECT_EQ(pkvm_thread_join(&t[i]), PKVM_RETURNED);
			val += vm->vcpus[i].ret;
		}
		for (i = 0; i < RACE_PAGES; i++) {
			uint64_t want = ret[i] ? (gfn + i) * PAGE : 0, seen;

			EXPECT_TRUE(!ret[i] || ret[i] == -EAGAIN);
			EXPECT_EQ(khh_peek(pfn + i, 0, &seen), 0);
			EXPECT_EQ(seen, want);
			EXPECT_EQ(khh_peek(pfn + i, 8, &seen), 0);
			EXPECT_EQ(seen, ret[i] ? mark : 0);
			val += !ret[i];
			lost += !ret[i];
			lent += !!ret[i];
		}
		/* Each page once. */
		EXPECT_EQ(val, RACE_PAGES);
		for (i = 0; i < RACE_PAGES; i++)
			EXPECT_EQ(khh_page_is_alone(pfn + i), !ret[i]);
		pfns[round] = pfn;
	}
	TH_LOG("%lu pages lost, %lu lent", lost, lent);
	EXPECT_GT(lost, 0);
	EXPECT_GT(lent, 0);

	ASSERT_EQ(hvc(KHH_pkvm_start_teardown_vm, handle), 0);
	for (round = 0; round < 8; round++) {
		gfn = FREE_GFN + round * RACE_PAGES;
		pfn = pfns[round];
		for (i = 0; i < RACE_PAGES; i++) {
			if (!khh_page_is_alone(pfn + i))
				EXPECT_EQ(reclaim(handle, pfn + i, gfn + i, 1), 1);
			EXPECT_TRUE(khh_page_is_alone(pfn + i));
		}
		khh_page_free(pfn);
	}
	pkvm_vm_free(vm);
}

/* The page is in one hand at a time, whoever is quicker. */
TEST_F_TIMEOUT(host, race_of_share_and_donation, TIMEOUT)
{
	bool stop = false;
	struct racer s = { .vcpu_fd = self->va->fd, .vm = self->a, .pfn = self->page,
			   .stop = &stop };
	struct racer e = { .pfn = self->page, .stop = &stop };
	uint64_t gfn = FREE_GFN + 0x10000, donated = 0, refused = 0;
	long ret;
	int i;

	ASSERT_EQ(khh_share(self->va, self->page, FREE_GFN + 1, 1, KHH_RW), 0);
	ASSERT_EQ(take_back(self->a, FREE_GFN + 1, 1), 0);
	khh_topup(self->va);
	ASSERT_EQ(khh_share(self->va, self->page, FREE_GFN, 1, KHH_RW), 0);
	ASSERT_EQ(take_back(self->a, FREE_GFN, 1), 0);
	ASSERT_EQ(pthread_create(&s.tid, NULL, race_to_share, &s), 0);
	ASSERT_EQ(pthread_create(&e.tid, NULL, race_to_el2, &e), 0);
	for (i = 0; i < 2000; i++) {
		ret = khh_donate(self->vp, self->page, gfn, 1);
		if (ret == -EPERM) {
			refused++;
			continue;
		}
		EXPECT_EQ(ret, 0);
		if (ret)
			break;
		gfn++;
		donated++;
		EXPECT_EQ(hvc(KHH_pkvm_host_can_access, self->page), 0);
		EXPECT_EQ(hvc(KHH_pkvm_host_force_reclaim, self->page), 0);
	}
	WRITE_ONCE(stop, true);
	pthread_join(s.tid, NULL);
	pthread_join(e.tid, NULL);
	TH_LOG("donated %lu times, refused %lu; shared with a guest %lu times, with EL2 %lu",
	       donated, refused, s.won, e.won);
	/* A share of the guest's may be there already or lack a table, nothing else. */
	EXPECT_EQ(e.wrong, 0);
	EXPECT_EQ(s.wrong, 0);
	EXPECT_GT(donated, 0);
	EXPECT_GT(s.won, 0);
	EXPECT_EQ(take_back(self->a, FREE_GFN, 1), 0);
}

struct flipper {
	pthread_t tid;
	uint64_t pfn, offset, values[4];
	bool stop;
};

static void *flip(void *arg)
{
	struct flipper *f = arg;
	unsigned int i = 0;

	while (!READ_ONCE(f->stop))
		khh_poke(f->pfn, f->offset, f->values[i++ % 4]);
	return NULL;
}

/* S26: the list of table pages changes under EL2's eyes. */
TEST_F_TIMEOUT(host, table_pages_that_change, TIMEOUT)
{
	struct khh_mc mine = set_mc(self->va, 0, 0), mc = khh_vcpu_info(self->va);
	uint64_t page = mine.head / PAGE, next, i;
	struct flipper f = {
		.pfn = field_pfn(&mc, mc.mc_addr), .offset = mc.mc_addr % PAGE,
		.values = {
			khh_vm_info(self->p, PRIVATE_GFN).guest_pfn * PAGE,
			mine.head, khh_vm_info(self->a, 0).pfn * PAGE, 8,
		},
	};
	long ret, worst = 0;

	/*
	 * A list that bites its own tail. The page is one that KVM put out: if EL2 takes
	 * it, KVM frees it when the VM ends.
	 */
	ASSERT_GT(mine.nr, 0);
	ASSERT_EQ(page_peek(page, &next), 0);
	ASSERT_EQ(page_poke(page, mine.head), 0);
	ASSERT_EQ(khh_poke(field_pfn(&mc, mc.mc_addr + 8), (mc.mc_addr + 8) % PAGE, ~0ul), 0);
	ASSERT_EQ(pthread_create(&f.tid, NULL, flip, &f), 0);
	for (i = 0; i < 3000; i++) {
		ret = hvc_vcpu(self->va, KHH_pkvm_host_share_guest, self->page,
			       FREE_GFN + (i % 256) * 512 * 512, 1, KHH_RW);
		if (ret < worst && ret != -EAGAIN)
			worst = ret;
	}
	WRITE_ONCE(f.stop, true);
	pthread_join(f.tid, NULL);
	EXPECT_EQ(worst, 0);
	if (khh_page_is_alone(page)) {
		ASSERT_EQ(page_poke(page, next), 0);
		set_mc(self->va, mine.head, mine.nr);
	} else {
		set_mc(self->va, next, mine.nr - 1);
	}
	EXPECT_EQ(take_back(self->a, 0, 1ul << (khh_vm_info(self->a, 0).ipa_bits - 12)), 0);
}

/* ------------------------------------------------ hole 14: the host's own record */

static uint64_t kernel_symbol(const char *name)
{
	FILE *f = fopen("/proc/kallsyms", "r");
	char line[512], found[256], type;
	uint64_t addr, result = 0;

	TEST_ASSERT(f, "cannot open /proc/kallsyms");
	while (!result && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx %c %255s", &addr, &type, found) == 3 &&
		    !strcmp(found, name))
			result = addr;
	}
	fclose(f);
	TEST_ASSERT(result, "the kernel has no %s, or hides it", name);
	return result;
}

static long host_call(const char *name, uint64_t a, uint64_t b)
{
	struct khh_func f = { .addr = kernel_symbol(name), .args = { a, b } };

	khh_must(KHH_IOC_FUNC, &f);
	return (int32_t)f.ret;
}

/*
 * Of a range in which EL2 refuses a page, the host shares none, and knows that: the
 * next time it asks again.
 */
TEST_F_TIMEOUT(host, a_share_that_fails_leaves_nothing, TIMEOUT)
{
	struct khh_pages m = khh_pages_alloc(2);
	uint64_t end = m.addr + 4 * PAGE;
	int i, round;

	for (round = 0; round < 2; round++) {
		ASSERT_EQ(khh_donate(self->vp, m.pfn + 2, self->next_gfn++, 1), 0);
		EXPECT_EQ(host_call("kvm_share_hyp", m.addr, end), -EPERM);
		for (i = 0; i < 4; i++)
			EXPECT_EQ(khh_page_is_alone(m.pfn + i), i != 2);
		ASSERT_EQ(hvc(KHH_pkvm_host_force_reclaim, m.pfn + 2), 0);
		ASSERT_EQ(host_call("kvm_share_hyp", m.addr, end), 0);
		for (i = 0; i < 4; i++)
			EXPECT_FALSE(khh_page_is_alone(m.pfn + i)) {
				TH_LOG("round %d: EL2 does not have page %d", round, i);
			}
		host_call("kvm_unshare_hyp", m.addr, end);
		for (i = 0; i < 4; i++)
			EXPECT_TRUE(khh_page_is_alone(m.pfn + i));
	}
	khh_page_free(m.pfn);
}

/* Last, because a VM that cannot be torn down spoils what comes after. */
/* As reclaim_from_an_ordinary_vm, but the VM could not even be torn down then. */
TEST_F_TIMEOUT(host, reclaim_of_a_part_of_a_block, TIMEOUT)
{
	uint64_t h = khh_handle(self->a), block = khh_page_alloc(9), i;

	ASSERT_EQ(khh_share(self->va, block, FREE_GFN, 512, KHH_RWX), 0);
	self->a_dead = true;
	ASSERT_EQ(hvc(KHH_pkvm_start_teardown_vm, h), 0);
	EXPECT_LT(reclaim(h, block + 3, FREE_GFN + 3, 1), 0);
	EXPECT_EQ(take_back(self->a, FREE_GFN, 512), 0);
	for (i = 0; i < 512; i++) {
		ASSERT_TRUE(khh_page_is_alone(block + i)) {
			TH_LOG("page %lu is still shared", i);
		}
	}
	khh_page_free(block);
}

TEST_HARNESS_MAIN
