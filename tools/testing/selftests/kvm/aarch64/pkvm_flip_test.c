// SPDX-License-Identifier: GPL-2.0-only
/*
 * What changes while EL2 looks at it (S26), and calls that end a VM while it runs (S40,
 * S43; hole 13 of the base). Another CPU writes one value after the other into fields
 * that EL2 reads from the host: of a vCPU that is entered over and over, of what VMs
 * and vCPUs are made of, of the list of pages for tables. Whatever EL2 made of it, it
 * lives, the guests have what they had, and no page is lost (I1, I2, I5, I8).
 *
 * The module kvm_hostile_vcpu changes the fields; PKVM_FLIP_MS says for how long.
 */
#include <fcntl.h>
#include <linux/sizes.h>
#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "kvm_util.h"
#include "processor.h"
#include "hostile.h"
#include "pageref.h"
#include "../test_modules/kvm_hostile_vcpu.h"

#define TIMEOUT		300
#define PAGE		4096ul
#define FLIP_MS		1500
#define FREE_GFN	(PKVM_HOLE_IPA / PAGE)
#define PRIVATE_GFN	(PKVM_MEM_IPA / PAGE + 1)
#define WORK_IPA	(PKVM_MEM_IPA + 8 * PAGE)
#define STOP_IPA	(PKVM_MEM_IPA + 32 * PAGE)

/* ------------------------------------------------------------- guest code */

/*
 * Computes, and leaves for the host by every kind of exit, until *stop. The host may
 * answer each access to the device by an abort, which is caught. Returns how often
 * anything was wrong.
 */
static uint64_t guest_under_flips(uint64_t stop, uint64_t work, uint64_t seed)
{
	struct pkvm_guest_cpu *cpu = guest_cpu();
	uint64_t bad = 0, val, rounds = 0, keep = seed;

	asm volatile("" : "+r" (keep));
	WRITE_ONCE(cpu->catching, 1);
	write_sysreg(seed, tpidr_el0);
	do {
		rounds++;
		guest_fill(work, 256, seed + rounds);
		asm volatile("fmov d9, %0" :: "r" (seed) : "v9");
		/* What the host answers is of the width of the load. */
		val = 0;
		asm volatile("ldrb %w0, [%1]" : "+r" (val) : "r" (PKVM_DEV_IPA));
		bad += val > 0xff;
		val = 0;
		asm volatile("ldrsh %0, [%1]" : "+r" (val) : "r" (PKVM_DEV_IPA));
		bad += val + 0x8000 > 0xffff;
		asm volatile("strb %w0, [%1]" :: "r" (keep), "r" (PKVM_DEV_IPA));
		asm volatile("mrs %0, ccsidr_el1" : "=r" (val));
		bad += guest_hvc_quiet(0x80000000, 0, 0, 0) != 0x10002;
		asm volatile("fmov %0, d9" : "=r" (val) :: "v9");
		bad += val != seed;
		bad += read_sysreg(tpidr_el0) != seed;
		bad += keep != seed;
		bad += guest_verify(work, 256, seed + rounds);
	} while (!READ_ONCE(*(uint64_t *)stop));
	WRITE_ONCE(cpu->catching, 0);
	guest_out(0, rounds);
	return bad;
}

static uint64_t guest_knock(uint64_t stop)
{
	do {
		guest_mmio_store(PKVM_DEV_IPA, 1);
	} while (!READ_ONCE(*(uint64_t *)stop));
	return 0;
}

/* --------------------------------------------------------------- host side */

FIXTURE(flip) {
	struct pkvm_vm *ordinary, *prot;
	uint64_t seed;
	int dev, klog, ms;
};

static void pin_to(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	TEST_ASSERT(!sched_setaffinity(0, sizeof(set), &set), "cannot run on CPU %d", cpu);
}

static struct pkvm_vm *make_vm(bool ordinary, uint64_t seed)
{
	struct pkvm_opts opts = { .ordinary = ordinary };
	struct pkvm_vm *vm = pkvm_vm_create(&opts);

	/* Whatever is missing later, nobody would serve. */
	pkvm_must(pkvm_vcpu0(vm), guest_touch_image);
	pkvm_must(pkvm_vcpu0(vm), guest_fill, PKVM_MEM_IPA, 4 * PAGE, seed);
	pkvm_must(pkvm_vcpu0(vm), guest_fill, WORK_IPA, 256, seed);
	pkvm_must(pkvm_vcpu0(vm), guest_store, STOP_IPA, 0);
	if (!ordinary)
		TEST_ASSERT(!pkvm_must(pkvm_vcpu0(vm), guest_hvc, PKVM_HVC_SHARE, STOP_IPA),
			    "the guest cannot share a page");
	return vm;
}

static bool is_sound(struct pkvm_vm *vm, uint64_t seed)
{
	return !pkvm_must(pkvm_vcpu0(vm), guest_verify, PKVM_MEM_IPA, 4 * PAGE, seed);
}

FIXTURE_SETUP(flip)
{
	const char *why = hostile_unavailable();

	if (!why)
		why = hostile_load(KHV_MODULE, KHV_DEVICE);
	if (!why && sysconf(_SC_NPROCESSORS_ONLN) < 2)
		why = "needs two CPUs";
	if (why)
		SKIP(return, "%s", why);
	self->dev = open(KHV_DEVICE, O_RDWR | O_CLOEXEC);
	ASSERT_GE(self->dev, 0);
	pin_to(0);
	self->klog = klog_open();
	self->seed = pkvm_seed();
	self->ms = pkvm_env("PKVM_FLIP_MS", FLIP_MS);
	self->ordinary = make_vm(true, self->seed);
	self->prot = make_vm(false, self->seed + 1);
}

FIXTURE_TEARDOWN(flip)
{
	const char *bad;

	if (!self->prot)
		return;
	EXPECT_TRUE(!self->ordinary || is_sound(self->ordinary, self->seed));
	EXPECT_TRUE(is_sound(self->prot, self->seed + 1));
	pkvm_vm_free(self->ordinary);
	pkvm_vm_free(self->prot);
	close(self->dev);
	hostile_close();
	bad = klog_complaint(self->klog);
	EXPECT_EQ(bad, NULL) {
		TH_LOG("the kernel says: %s", bad);
	}
	close(self->klog);
}

struct fields {
	struct khv_field f[KHV_MAX_FIELDS];
	uint32_t nr;
};

#define FIELD(fs, at, size, ...)					\
do {									\
	static const uint64_t _values[] = { __VA_ARGS__ };		\
									\
	add_field(fs, at, size, _values, ARRAY_SIZE(_values));		\
} while (0)

static void add_field(struct fields *fs, uint64_t addr, uint32_t len,
		      const uint64_t *values, uint32_t nr)
{
	struct khv_field *f = &fs->f[fs->nr++];

	TEST_ASSERT(fs->nr <= KHV_MAX_FIELDS && nr <= KHV_MAX_VALUES, "too many fields");
	f->addr = addr;
	f->len = len;
	f->nr = nr;
	memcpy(f->values, values, nr * sizeof(*values));
}

static struct khv_where where_is(struct _test_data_flip *self, struct pkvm_vm *vm)
{
	struct khv_where at = { .vcpu_fd = pkvm_vcpu0(vm)->fd };

	TEST_ASSERT(!ioctl(self->dev, KHV_IOC_WHERE, &at), "KHV_IOC_WHERE failed");
	return at;
}

/* What EL2 may read at the entry of any vCPU, or must not. */
static void add_vcpu(struct fields *fs, const struct khv_where *at)
{
	int i;

	/* iflags: none, step, exceptions of all kinds; cflags and sflags beside them. */
	FIELD(fs, at->flags, 1, 0xff, 0, 0x5a);
	FIELD(fs, at->flags + 1, 1, 2, 0, 0xff, 1);
	FIELD(fs, at->flags + 2, 1, 0xff, 0);
	/* Waits trap; no stage 2, SErrors, all traps off. */
	FIELD(fs, at->hcr, 8, 3ul << 13, ~0ul, 0, 1ul << 8 | 3ul << 13);
	FIELD(fs, at->mdcr, 8, 0, ~0ul, 0x1f);
	FIELD(fs, at->vsesr, 8, 0, ~0ul);
	FIELD(fs, at->debug_ptr, 8, 0, ~0ul, 0xffff000000000000, 8);
	FIELD(fs, at->hw_mmu, 8, 0, ~0ul, 0xffff000000000000);
	FIELD(fs, at->running_vcpu, 8, 0, ~0ul);
	FIELD(fs, at->sve_state, 8, 0, ~0ul, 0xffff000000000000);
	FIELD(fs, at->sve_vl, 4, 0, ~0u, 16, 8192);
	FIELD(fs, at->mp_state, 4, 0, 3, ~0u);
	FIELD(fs, at->vcpu_id, 4, 0, 511, ~0u);
	/* But no traps: those would be left to the host, for it to undo. */
	FIELD(fs, at->vgic_hcr, 4, 1, 0xff, 0, 0xf8000001);
	FIELD(fs, at->vgic_vmcr, 4, 0, ~0u);
	FIELD(fs, at->vgic_sre, 4, 7, 0, ~0u);
	FIELD(fs, at->vgic_its_vm, 8, 0, ~0ul);
	FIELD(fs, at->vgic_used_lrs, 4, 0, 0x10000000, 4, ~0u);
	for (i = 0; i < 16; i++)
		FIELD(fs, at->vgic_lr + 8 * i, 8, 0, ~0ul, 1ul << 62 | 1ul << 60 | 40,
		      3ul << 62 | 1ul << 61 | 1023ul << 32);
}

static struct khv_spin spin(struct _test_data_flip *self, struct pkvm_vm *vm,
			    struct fields *fs)
{
	struct khv_spin all = {}, s;
	int ms, i;

	for (ms = self->ms; ms > 0; ms -= KHV_MAX_MS / 2) {
		s = (struct khv_spin) {
			.vcpu_fd = pkvm_vcpu0(vm)->fd,
			.ms = KHV_MAX_MS / 2,
			.flip = { .fields = (uintptr_t)fs->f, .nr = fs->nr, .cpu = 1 },
		};
		TEST_ASSERT(!ioctl(self->dev, KHV_IOC_SPIN, &s), "KHV_IOC_SPIN: %s",
			    strerror(errno));
		all.entries += s.entries;
		all.flip.flips += s.flip.flips;
		for (i = 0; i < KHV_NR_CODES; i++)
			all.exits[i] += s.exits[i];
	}
	printf("# %llu entries, %llu exits by trap, %llu fields changed\n", all.entries,
	       all.exits[KHH_EXIT_TRAP], all.flip.flips);
	return all;
}

TEST_F_TIMEOUT(flip, i8_vcpu_of_a_protected_guest, TIMEOUT)
{
	struct khv_where at = where_is(self, self->prot);
	struct pkvm_vcpu *vcpu = pkvm_vcpu0(self->prot);
	struct fields *fs = calloc(1, sizeof(*fs));
	uint64_t *stop = (uint64_t *)(self->prot->mem + (STOP_IPA - PKVM_MEM_IPA));
	struct khv_spin s;
	int i;

	add_vcpu(fs, &at);
	for (i = 0; i < 34; i++)
		FIELD(fs, at.regs + 8 * i, 8, 0, ~0ul, 0x8badf00d80c5f3f9, 8);
	for (i = 0; i < at.nr_sys; i++)
		FIELD(fs, at.sys + 8 * i, 8, 0, ~0ul);

	ASSERT_EQ(pkvm_call(vcpu, guest_under_flips, STOP_IPA, WORK_IPA, self->seed),
		  PKVM_EXIT);
	khh_step(vcpu);
	s = spin(self, self->prot, fs);
	EXPECT_GT(s.entries, 100);
	EXPECT_GT(s.exits[KHH_EXIT_TRAP], 10);
	/* It can be entered at all times. */
	EXPECT_EQ(s.exits[KHV_NR_CODES - 1], 0);
	EXPECT_EQ(s.exits[KHH_EXIT_IL], 0);
	WRITE_ONCE(*stop, 1);
	while ((i = pkvm_resume(vcpu)) == PKVM_EXIT)
		;
	ASSERT_EQ(i, PKVM_RETURNED);
	EXPECT_EQ(vcpu->ret, 0) {
		TH_LOG("wrong %lu times", vcpu->ret);
	}
	TH_LOG("%lu rounds in the guest", vcpu->out[0]);
	EXPECT_GT(vcpu->out[0], 1);
	free(fs);
}

/*
 * PSTATE of an ordinary guest is the host's word. With a mode that the CPU cannot go to
 * from EL2 it stays at EL2, with the interrupt masks that the host wants: none. So EL2
 * has to refuse before it tries, also when an interrupt would be the reason not to.
 */
TEST_F_TIMEOUT(flip, i5_modes_that_are_not_a_guests, TIMEOUT)
{
	struct khv_where at = where_is(self, self->ordinary);
	struct khv_change changes[KHV_MAX_CHANGES];
	struct khv_live live[2];
	uint8_t *seen = malloc(at.vcpu_size + at.kvm_size);
	struct fields *fs = calloc(1, sizeof(*fs));
	struct khv_run r;
	struct khv_spin s;
	uint64_t mode;
	int il = 0;

	ASSERT_NE(seen, NULL);
	for (mode = 0; mode < 64; mode++) {
		r = (struct khv_run) {
			.vcpu_fd = pkvm_vcpu0(self->ordinary)->fd,
			.flags = KHV_PSTATE_IS | KHV_WAIT_IRQ,
			/* Also as if from an illegal return. */
			.pstate = (mode & 0x1f) | (mode & 0x20 ? BIT(20) : 0),
			.changes = (uintptr_t)changes,
			.live = (uintptr_t)live,
			.seen = (uintptr_t)seen,
			.seen_size = at.vcpu_size + at.kvm_size,
		};
		ASSERT_EQ(ioctl(self->dev, KHV_IOC_RUN, &r), 0);
		EXPECT_TRUE(r.ret == KHH_EXIT_IRQ || r.ret == KHH_EXIT_IL) {
			TH_LOG("mode %#lx: %#llx", mode, r.ret);
		}
		il += r.ret == KHH_EXIT_IL;
	}
	TH_LOG("%d of 64 are not a guest's", il);
	EXPECT_GE(il, 40);
	/* And until one comes at the very moment. */
	FIELD(fs, at.regs + 8 * 33, 8, 0xd, 0x1a, 0x1, 0xf);
	s = spin(self, self->ordinary, fs);
	/* Before the first change, and after the last, it is the guest's own. */
	EXPECT_GT(s.exits[KHH_EXIT_IL], s.entries / 2);
	free(seen);
	free(fs);
}

/* Its registers are the host's: it runs anything. EL2's are not. */
TEST_F_TIMEOUT(flip, i5_vcpu_of_an_ordinary_guest, TIMEOUT)
{
	struct khv_where at = where_is(self, self->ordinary);
	struct pkvm_vcpu *vcpu = pkvm_vcpu0(self->ordinary);
	struct fields *fs = calloc(1, sizeof(*fs));
	struct khv_spin s;
	uint64_t i;

	add_vcpu(fs, &at);
	for (i = 0; i < 31; i++)
		FIELD(fs, at.regs + 8 * i, 8, 0, ~0ul, PKVM_DEV_IPA);
	FIELD(fs, at.regs + 8 * 32, 8, 0, ~0ul, PKVM_HOLE_IPA, PKVM_MEM_IPA);
	/* All modes, those of EL2 and EL3 and of 32 bits too. */
	FIELD(fs, at.regs + 8 * 33, 8, 0x3c5, 0x3c9, 0x1f, 0xd);
	for (i = 0; i < at.nr_sys; i++)
		FIELD(fs, at.sys + 8 * i, 8, 0, ~0ul, 0x30d00980);
	for (i = 0; i < at.debug_size / 8 && fs->nr < KHV_MAX_FIELDS - 32; i++)
		FIELD(fs, at.debug_state + 8 * i, 8, 0, ~0ul, 0x1ff);
	ASSERT_EQ(pkvm_call(vcpu, guest_under_flips, STOP_IPA, WORK_IPA, self->seed),
		  PKVM_EXIT);
	khh_step(vcpu);
	s = spin(self, self->ordinary, fs);
	EXPECT_GT(s.entries, 100);
	pkvm_vm_free(self->ordinary);
	self->ordinary = NULL;
	free(fs);
}

static void flip_start(struct _test_data_flip *self, struct fields *fs)
{
	struct khv_flip f = { .fields = (uintptr_t)fs->f, .nr = fs->nr, .cpu = 1 };

	TEST_ASSERT(!ioctl(self->dev, KHV_IOC_FLIP_START, &f), "KHV_IOC_FLIP_START: %s",
		    strerror(errno));
}

static uint64_t flip_stop(struct _test_data_flip *self)
{
	struct khv_flip f = {};

	TEST_ASSERT(!ioctl(self->dev, KHV_IOC_FLIP_STOP, &f), "KHV_IOC_FLIP_STOP: %s",
		    strerror(errno));
	return f.flips;
}

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

#define VM_ORDER	5
#define PGD_PAGE	16
#define VCPU_ORDER	2
#define NR_VCPUS	3

/* What VMs and vCPUs are made of, in pages of the test's own. */
struct parts {
	struct khh_pages kvm, vcpu, vm, vcpus[NR_VCPUS];
};

static void share_all(const struct khh_pages *p, bool undo)
{
	int i;

	for (i = 0; i < 1 << p->order; i++)
		TEST_ASSERT(!hvc(undo ? KHH_pkvm_host_unshare_hyp : KHH_pkvm_host_share_hyp,
				 p->pfn + i), "page %d of %#llx is not ours", i, p->pfn);
}

static unsigned int order_of(uint64_t size)
{
	unsigned int order = 0;

	while (PAGE << order < size)
		order++;
	return order;
}

static void make_parts(struct parts *p, const struct khv_where *at)
{
	int i;

	p->kvm = khh_pages_alloc(order_of(at->kvm_size));
	p->vcpu = khh_pages_alloc(order_of(at->vcpu_size));
	p->vm = khh_pages_alloc(VM_ORDER);
	for (i = 0; i < NR_VCPUS; i++)
		p->vcpus[i] = khh_pages_alloc(VCPU_ORDER);
	share_all(&p->kvm, false);
	share_all(&p->vcpu, false);
}

/* The most that EL2 takes: as the host, a page of its own, pointers to 512 vCPUs. */
static int first_free(const struct khv_where *at)
{
	return (at->kvm_size + PAGE - 1) / PAGE + 2;
}

static void fill_around(struct parts *p, const struct khv_where *at)
{
	int i;

	for (i = first_free(at); i < PGD_PAGE; i++)
		khh_poke(p->vm.pfn + i, PAGE - 8, KHH_ANYTHING);
}

/* EL2 writes to what it was given, and no more. */
static int overwritten(struct parts *p, const struct khv_where *at)
{
	uint64_t val;
	int i, bad = 0;

	for (i = first_free(at); i < PGD_PAGE; i++)
		bad += khh_peek(p->vm.pfn + i, PAGE - 8, &val) || val != KHH_ANYTHING;
	return bad;
}

static int not_alone(const struct khh_pages *p)
{
	int i, bad = 0;

	for (i = 0; i < 1 << p->order; i++)
		bad += !khh_page_is_alone(p->pfn + i);
	return bad;
}

/* S28, too: indexes, and how many there are. */
TEST_F_TIMEOUT(flip, i2_what_vms_and_vcpus_are_made_of, TIMEOUT)
{
	struct khv_where at = where_is(self, self->prot);
	uint64_t kvm = khh_vm_info(self->prot, 0).addr, vcpu, end, rounds = 0, loads = 0;
	struct fields *fs = calloc(1, sizeof(*fs));
	long made[2] = {}, vcpus[2] = {}, ret, handle;
	struct parts p = {};
	unsigned int i;

	vcpu = khh_vcpu_info(pkvm_vcpu0(self->prot)).addr;
	make_parts(&p, &at);
#define KVM_FIELD(f)	(p.kvm.addr + (at.f) - kvm)
#define VCPU_FIELD(f)	(p.vcpu.addr + (at.f) - vcpu)
	FIELD(fs, KVM_FIELD(kvm_created), 4, 1, 512, 3, ~0u);
	FIELD(fs, KVM_FIELD(kvm_enabled), 1, 0, 1);
	FIELD(fs, KVM_FIELD(kvm_flags), 8, 0, ~0ul);
	for (i = 0; i < at.kvm_nr_id_regs; i++)
		FIELD(fs, KVM_FIELD(kvm_id_regs) + 8 * i, 8, 0, ~0ul, 0x1111111111111111);
	FIELD(fs, KVM_FIELD(kvm_fgu), 8, 0, ~0ul);
	FIELD(fs, KVM_FIELD(kvm_teardown_mc), 8, 0, ~0ul, 8);
	FIELD(fs, KVM_FIELD(kvm_teardown_mc) + 8, 8, 0, ~0ul);
	FIELD(fs, VCPU_FIELD(vcpu_idx), 4, 0, 1, 2, ~0u);
	FIELD(fs, VCPU_FIELD(vcpu_id), 4, 0, 1, 2, ~0u);
	FIELD(fs, VCPU_FIELD(mp_state), 4, 0, 3, ~0u);
	FIELD(fs, VCPU_FIELD(flags), 1, 0xff, 0, 0x8);
	FIELD(fs, VCPU_FIELD(sve_state), 8, 0, ~0ul, 0xffff000000000000);
	FIELD(fs, VCPU_FIELD(sve_vl), 4, 16, 32, ~0u, 0);
	/* The declaration of RAM: how many ranges, and the first. */
	FIELD(fs, p.vm.addr, 8, 0, 1, 64, ~0ul);
	FIELD(fs, p.vm.addr + 8, 8, 0, ~0ul);
	FIELD(fs, p.vm.addr + 16, 8, 1, 0, ~0ul);
	flip_start(self, fs);
	/* Of each kind there is at least one, on a slow machine as well. */
	for (end = now_ms() + self->ms; now_ms() < end ||
	     (!(made[0] && made[1] && vcpus[0] && vcpus[1]) && now_ms() < end + 60000);
	     rounds++) {
		fill_around(&p, &at);
		handle = hvc(KHH_pkvm_init_vm, p.kvm.addr, p.vm.addr,
			     p.vm.addr + PGD_PAGE * PAGE);
		made[handle > 0]++;
		if (handle < 0) {
			ASSERT_EQ(handle, -EINVAL);
			continue;
		}
		for (i = 0; i < NR_VCPUS; i++) {
			ret = hvc(KHH_pkvm_init_vcpu, handle, p.vcpu.addr, p.vcpus[i].addr);
			vcpus[!ret]++;
			if (ret && ret != -EBUSY && ret != -EPERM)
				ASSERT_EQ(ret, -EINVAL);
			loads += !hvc(KHH_pkvm_vcpu_load, handle, i);
			hvc(KHH_pkvm_vcpu_put);
		}
		ASSERT_EQ(hvc(KHH_pkvm_start_teardown_vm, handle), 0);
		ASSERT_EQ(hvc(KHH_pkvm_finalize_teardown_vm, handle), 0);
		ASSERT_EQ(overwritten(&p, &at), 0);
		ASSERT_EQ(not_alone(&p.vm), 0);
	}
	TH_LOG("%lu fields changed; VMs: %ld, refused %ld; vCPUs: %ld, refused %ld; loaded: %lu",
	       flip_stop(self), made[1], made[0], vcpus[1], vcpus[0], loads);
	EXPECT_GT(made[1], 0);
	EXPECT_GT(made[0], 0);
	EXPECT_GT(vcpus[1], 0);
	EXPECT_GT(vcpus[0], 0);
	/* No pin is left behind. */
	share_all(&p.kvm, true);
	share_all(&p.vcpu, true);
	for (i = 0; i < NR_VCPUS; i++) {
		EXPECT_EQ(not_alone(&p.vcpus[i]), 0);
		khh_page_free(p.vcpus[i].pfn);
	}
	khh_page_free(p.vm.pfn);
	khh_page_free(p.vcpu.pfn);
	khh_page_free(p.kvm.pfn);
	free(fs);
}

#define NR_LISTED	16

static struct khh_mc set_mc(struct pkvm_vcpu *vcpu, uint64_t head, uint64_t nr)
{
	struct khh_mc mc = { .vcpu_fd = vcpu->fd, .set = 1, .head = head, .nr = nr };

	khh_must(KHH_IOC_MC, &mc);
	return mc;
}

static void add_values(struct fields *fs, uint64_t addr, uint64_t a, uint64_t b, uint64_t c,
		       uint64_t d)
{
	const uint64_t values[] = { a, b, c, d };

	add_field(fs, addr, 8, values, 4);
}

/*
 * The list of pages for tables: its head, its length, and the links in the pages, each
 * of which may be EL2's by then.
 */
TEST_F_TIMEOUT(flip, i1_list_of_table_pages, TIMEOUT)
{
	struct pkvm_vcpu *v = pkvm_vcpu0(self->ordinary);
	uint64_t page = khh_page_alloc(0), pages[NR_LISTED], phys, end, gfn = FREE_GFN;
	uint64_t guests = khh_vm_info(self->prot, PRIVATE_GFN).guest_pfn * PAGE, linear, i, n;
	uint64_t rounds = 0, taken = 0, head = 0, left = 0, flips;
	struct fields *fs = calloc(1, sizeof(*fs));
	struct khh_mc mc;
	long ret;

	ASSERT_NE(guests, 0);
	end = now_ms() + self->ms;
	do {
		khh_topup(v);
		mc = khh_vcpu_info(v);
		linear = mc.addr - mc.addr % PAGE - mc.pfn * PAGE;
		for (n = 0, phys = mc.head; n < NR_LISTED && n < mc.nr; n++) {
			pages[n] = phys;
			ASSERT_EQ(khh_peek(phys / PAGE, 0, &phys), 0);
		}
		fs->nr = 0;
		add_values(fs, mc.mc_addr, pages[0], pages[1], guests, 8);
		add_values(fs, mc.mc_addr + 8, n, ~0ul, 0, 1);
		for (i = 0; i < n; i++)
			add_values(fs, linear + pages[i], pages[(i + 1) % n], pages[i],
				   guests, ~0ul << 12);
		flip_start(self, fs);
		for (i = 0; i < 200; i++, gfn += 512) {
			ret = hvc_vcpu(v, KHH_pkvm_host_share_guest, page, gfn, 1, KHH_RW);
			ASSERT_GE(ret, 0);
		}
		flips = flip_stop(self);
		ASSERT_GT(flips, 0);
		/* What EL2 did not take is the host's again, and the list is made anew. */
		head = 0;
		left = 0;
		for (i = 0; i < n; i++) {
			if (!khh_page_is_alone(pages[i] / PAGE)) {
				taken++;
				continue;
			}
			ASSERT_EQ(khh_poke(pages[i] / PAGE, 0, head), 0);
			head = pages[i];
			left++;
		}
		/* Longer lists are left alone but for their beginning. */
		ASSERT_LE(mc.nr, NR_LISTED);
		set_mc(v, head, left);
		rounds++;
	} while (now_ms() < end || (!taken && now_ms() < end + 60000));
	TH_LOG("%lu rounds, EL2 took %lu pages", rounds, taken);
	EXPECT_GT(taken, 0);
	while (hvc(KHH_pkvm_guest_stage2_op, khh_handle(self->ordinary), KHH_OP_UNSHARE, 0,
		   1ul << (khh_vm_info(self->ordinary, 0).ipa_bits - 12)) > 0)
		;
	EXPECT_TRUE(is_sound(self->ordinary, self->seed));
	EXPECT_TRUE(khh_page_is_alone(page));
	khh_page_free(page);
	/* A page that EL2 has and the host lists too would be freed twice here. */
	pkvm_vm_free(self->ordinary);
	self->ordinary = NULL;
	free(fs);
}

/* ------------------------------------------------------ S40, S43: races of the end */

struct runner {
	pthread_t tid;
	struct pkvm_vcpu *vcpu;
	uint64_t runs, refused, other;
	bool stop;
};

static void *keep_running(void *arg)
{
	struct runner *r = arg;
	int ret = pkvm_call(r->vcpu, guest_knock, STOP_IPA);

	while (!READ_ONCE(r->stop)) {
		/* Not loaded: the other CPU had it, or the VM is dying. */
		if (ret == PKVM_EXIT)
			r->runs++;
		else
			r->refused += ret == -EINVAL;
		r->other += ret != PKVM_EXIT && ret != -EINVAL;
		ret = pkvm_resume(r->vcpu);
	}
	return NULL;
}

/*
 * One CPU runs a vCPU over and over, the other wants the VM to end. It does, between
 * two runs, and from then on nothing loads the vCPU; before, nothing is reclaimed.
 */
TEST_F_TIMEOUT(flip, i5_teardown_of_a_vm_that_runs, TIMEOUT)
{
	const int rounds = 6;
	uint64_t busy = 0, won = 0, denied = 0;
	int round;

	for (round = 0; round < rounds; round++) {
		struct pkvm_vm *vm = make_vm(false, self->seed);
		struct khh_vm v = khh_vm_info(vm, PRIVATE_GFN);
		struct runner r = { .vcpu = pkvm_vcpu0(vm) };
		uint64_t end = now_ms() + 20000, val;
		struct khh_call c[] = {
			KHH_CALL(KHH_pkvm_vcpu_load, v.handle, 0),
			KHH_CALL(KHH_pkvm_vcpu_put),
		};
		long ret;

		ASSERT_EQ(pthread_create(&r.tid, NULL, keep_running, &r), 0);
		pin_to(1);
		while (!READ_ONCE(r.runs) && now_ms() < end)
			usleep(1000);
		for (end = now_ms() + 300; now_ms() < end; ) {
			/* Not yet: the VM lives. */
			EXPECT_EQ(hvc(KHH_pkvm_finalize_teardown_vm, v.handle), -EBUSY);
			EXPECT_EQ(hvc(KHH_pkvm_reclaim_guest_pages, v.handle, v.guest_pfn,
				      PRIVATE_GFN, 1), -EBUSY);
			khh_calls(1, -1, c, 2);
			denied += c[0].ret == -EBUSY;
		}
		do {
			ret = hvc(KHH_pkvm_start_teardown_vm, v.handle);
			busy += ret == -EBUSY;
		} while (ret == -EBUSY);
		ASSERT_EQ(ret, 0);
		won++;
		EXPECT_EQ(hvc(KHH_pkvm_vcpu_load, v.handle, 0), -EBUSY);
		EXPECT_EQ(hvc(KHH_pkvm_finalize_teardown_vm, v.handle), -EBUSY);
		EXPECT_EQ(khh_peek(v.guest_pfn, 0, &val), EFAULT);
		for (end = now_ms() + 2000; !READ_ONCE(r.refused) && now_ms() < end; )
			usleep(1000);
		WRITE_ONCE(r.stop, true);
		pthread_join(r.tid, NULL);
		pin_to(0);
		EXPECT_GT(r.runs, 0);
		EXPECT_GT(r.refused, 0);
		EXPECT_EQ(r.other, 0);
		/* It does not run, and whoever wants that is told. */
		EXPECT_EQ(pkvm_resume(r.vcpu), -EINVAL);
		EXPECT_EQ(r.vcpu->run->exit_reason, KVM_EXIT_FAIL_ENTRY);
		pkvm_vm_free(vm);
		EXPECT_EQ(khh_peek(v.guest_pfn, 0, &val), 0);
	}
	TH_LOG("ended %lu times, busy %lu times; loads refused: %lu", won, busy, denied);
	EXPECT_GT(denied, 0);
}

TEST_HARNESS_MAIN
