// SPDX-License-Identifier: GPL-2.0-only
/*
 * The life of protected VMs as user space sees it: what can be created, what is
 * refused and how, and that every way in which a VM can end gives back memory,
 * pins and charge (I4, I5, I7), while other VMs run on (I10).
 *
 * PKVM_KILLS=N: how many VMMs to kill at random moments (default 20).
 * PKVM_SEED=N: repeat a run.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <time.h>
#include <asm/kvm.h>
#include <linux/psci.h>
#include <linux/sizes.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "kselftest_harness.h"
#include "kvm_util.h"
#include "processor.h"
#include "pkvm.h"

#define TIMEOUT		180
#define TIMEOUT_KILLS	3600
#define SLACK_KB	8192	/* caches of the kernel, the huge page of zeroes */

static int vm_cap(struct pkvm_vm *vm, long cap)
{
	return ioctl(vm->fd, KVM_CHECK_EXTENSION, cap);
}

/* The errno of an ioctl, 0 if it succeeded. */
#define ioctl_errno(fd, cmd, arg) (ioctl(fd, cmd, arg) < 0 ? errno : 0)

static bool all_zero(struct pkvm_vm *vm)
{
	size_t off, bad;

	for (off = 0; off < vm->mem_size; off += getpagesize()) {
		bad = pkvm_count_nonzero(vm->mem + off, getpagesize());
		if (bad) {
			printf("# %zu words at offset %#zx came back, the first is %#lx\n",
			       bad, off, *(uint64_t *)(vm->mem + off));
			return false;
		}
	}
	return true;
}

/* ------------------------------------------------------- what can be created */

FIXTURE(create) {
};

FIXTURE_SETUP(create)
{
}

FIXTURE_TEARDOWN(create)
{
}

/* Never a silent downgrade: an unknown bit is an error, with or without ours. */
TEST_F_TIMEOUT(create, i10_unknown_type_bits, TIMEOUT)
{
	uint64_t ipa = pkvm_max_ipa_bits();
	int bit;

	for (bit = 8; bit < 64; bit++) {
		if (bit == 31)
			continue;
		EXPECT_EQ(pkvm_create_fd(BIT(bit) | ipa), -EINVAL) {
			TH_LOG("bit %d", bit);
		}
		EXPECT_EQ(pkvm_create_fd(BIT(bit) | BIT(31) | ipa), -EINVAL) {
			TH_LOG("bits %d and 31", bit);
		}
	}
}

TEST_F_TIMEOUT(create, i10_refused_without_protected_mode, TIMEOUT)
{
	if (pkvm_protected_mode())
		SKIP(return, "KVM is in protected mode");
	EXPECT_EQ(pkvm_create_fd(KVM_VM_TYPE_ARM_PROTECTED), -EINVAL);
	EXPECT_EQ(pkvm_create_fd(KVM_VM_TYPE_ARM_PROTECTED | pkvm_max_ipa_bits()),
		  -EINVAL);
}

TEST_F_TIMEOUT(create, i10_ordinary_vm, TIMEOUT)
{
	struct pkvm_opts opts = { .ordinary = true };
	struct pkvm_vm *vm = pkvm_vm_create(&opts);
	long vmlck = pkvm_vmlck_kb();
	uint64_t val;

	pkvm_must(pkvm_vcpu0(vm), guest_fill, PKVM_MEM_IPA, vm->mem_size, 1);
	EXPECT_EQ(((uint64_t *)vm->mem)[7], pkvm_pattern(1, 7));
	((uint64_t *)vm->mem)[9] = 0xabc;
	EXPECT_EQ(pkvm_must(pkvm_vcpu0(vm), guest_load, PKVM_MEM_IPA + 72), 0xabc);
	EXPECT_EQ(pkvm_vmlck_kb(), vmlck);
	EXPECT_EQ(pkvm_get_reg(pkvm_vcpu0(vm), ARM64_CORE_REG(regs.pc), &val), 0);
	pkvm_vm_close(vm);
	EXPECT_EQ(((uint64_t *)vm->mem)[7], pkvm_pattern(1, 7));
	pkvm_vm_free(vm);
}

/* EL2 takes the vCPUs that there are at the first run. */
TEST_F_TIMEOUT(create, i5_vcpu_after_the_first_run, TIMEOUT)
{
	struct pkvm_opts opts = { .ordinary = true, .no_gic = true };
	struct pkvm_vm *vm;

	if (!pkvm_protected_mode())
		SKIP(return, "KVM is not in protected mode");
	vm = pkvm_vm_create(&opts);
	pkvm_must(pkvm_vcpu0(vm), guest_nop);
	EXPECT_EQ(ioctl_errno(vm->fd, KVM_CREATE_VCPU, 1), EBUSY);
	pkvm_must(pkvm_vcpu0(vm), guest_nop);
	pkvm_vm_free(vm);
}

struct late_vcpu {
	struct pkvm_vm *vm;
	int delay;
	bool go;
	int fd;
};

static void *create_late_vcpu(void *arg)
{
	struct late_vcpu *late = arg;
	int i;

	while (!READ_ONCE(late->go))
		;
	for (i = 0; i < late->delay; i++)
		asm volatile("nop");
	late->fd = ioctl(late->vm->fd, KVM_CREATE_VCPU, 1);
	return NULL;
}

/* Whether it comes in time or not: it runs, or it is refused. */
TEST_F_TIMEOUT(create, i5_vcpu_during_the_first_run, TIMEOUT)
{
	struct pkvm_opts opts = { .ordinary = true, .no_gic = true };
	int i, ret, refused = 0, ran = 0;

	for (i = 0; i < 40; i++) {
		struct late_vcpu late = { .delay = i * 500 };
		struct pkvm_vm *vm = pkvm_vm_create(&opts);
		struct pkvm_vcpu *vcpu = &vm->vcpus[1];
		pthread_t thread;

		late.vm = vm;
		ASSERT_EQ(pthread_create(&thread, NULL, create_late_vcpu, &late), 0);
		WRITE_ONCE(late.go, true);
		pkvm_must(pkvm_vcpu0(vm), guest_nop);
		pthread_join(thread, NULL);
		if (late.fd < 0) {
			refused++;
			pkvm_vm_free(vm);
			continue;
		}
		*vcpu = (struct pkvm_vcpu) {
			.vm = vm, .id = 1, .fd = late.fd,
			.run_size = pkvm_vcpu0(vm)->run_size,
		};
		vcpu->run = mmap(NULL, vcpu->run_size, PROT_READ | PROT_WRITE,
				 MAP_SHARED, vcpu->fd, 0);
		ASSERT_NE(vcpu->run, MAP_FAILED);
		vm->nr_vcpus = 2;
		ASSERT_EQ(pkvm_vcpu_init(vcpu, false), 0);
		pkvm_set_reg(vcpu, ARM64_CORE_REG(regs.pstate), 0x3c5);
		pkvm_set_reg(vcpu, ARM64_CORE_REG(regs.pc), (uintptr_t)pkvm_guest_entry);
		pkvm_set_reg(vcpu, ARM64_CORE_REG(regs.regs[0]),
			     (uintptr_t)&pkvm_guest_cpus[1]);
		ret = pkvm_call_timeout(vcpu, 10000, guest_nop);
		EXPECT_TRUE(ret == PKVM_RETURNED || ret == -EBUSY) {
			TH_LOG("round %d: %d", i, ret);
		}
		ran += ret == PKVM_RETURNED;
		refused += ret == -EBUSY;
		pkvm_vm_free(vm);
	}
	TH_LOG("%d refused, %d ran", refused, ran);
}

TEST_F_TIMEOUT(create, ipa_sizes, TIMEOUT)
{
	uint64_t max = pkvm_max_ipa_bits(), bits;
	const char *why = pkvm_unavailable();
	int fd;

	if (why || pkvm_forced_ordinary())
		SKIP(return, "%s", why ?: "ordinary VMs are forced");
	/* 0 means the default. In protected mode other sizes may be ignored. */
	for (bits = 0; bits <= max; bits = bits ? bits + 1 : 32) {
		fd = pkvm_create_fd(KVM_VM_TYPE_ARM_PROTECTED | bits);
		EXPECT_GE(fd, 0) {
			TH_LOG("%lu bits", bits);
		}
		if (fd >= 0)
			close(fd);
	}
}

/* ------------------------------------------------------------ what is refused */

FIXTURE(vm) {
	struct pkvm_vm *vm;
	struct pkvm_vcpu *vcpu;
	struct pkvm_counters before;
};

FIXTURE_SETUP(vm)
{
	const char *why = pkvm_unavailable();

	if (why)
		SKIP(return, "%s", why);
	pkvm_counters_read(&self->before);
	self->vm = pkvm_vm_create(NULL);
	self->vcpu = pkvm_vcpu0(self->vm);
}

FIXTURE_TEARDOWN(vm)
{
	pkvm_vm_free(self->vm);
	EXPECT_TRUE(pkvm_counters_back(&self->before, -1));
}

TEST_F_TIMEOUT(vm, capabilities_tell_the_truth, TIMEOUT)
{
	static const struct {
		const char *name;
		long cap;
	} none[] = {
		{ "ARM_SVE", KVM_CAP_ARM_SVE },
		{ "ARM_PMU_V3", KVM_CAP_ARM_PMU_V3 },
		{ "ARM_MTE", KVM_CAP_ARM_MTE },
		{ "ARM_EL1_32BIT", KVM_CAP_ARM_EL1_32BIT },
		{ "STEAL_TIME", KVM_CAP_STEAL_TIME },
		{ "READONLY_MEM", KVM_CAP_READONLY_MEM },
		{ "SET_GUEST_DEBUG", KVM_CAP_SET_GUEST_DEBUG },
		{ "COUNTER_OFFSET", KVM_CAP_COUNTER_OFFSET },
		{ "ARM_NISV_TO_USER", KVM_CAP_ARM_NISV_TO_USER },
	};
	int i;

	for (i = 0; i < ARRAY_SIZE(none); i++) {
		EXPECT_EQ(vm_cap(self->vm, none[i].cap), 0) {
			TH_LOG("KVM_CAP_%s", none[i].name);
		}
	}
	EXPECT_EQ(vm_cap(self->vm, KVM_CAP_IRQCHIP), 1);
	EXPECT_EQ(vm_cap(self->vm, KVM_CAP_IOEVENTFD), 1);
	EXPECT_EQ(vm_cap(self->vm, KVM_CAP_USER_MEMORY), 1);
	EXPECT_EQ(vm_cap(self->vm, KVM_CAP_DESTROY_MEMORY_REGION_WORKS), 1);
	EXPECT_EQ(vm_cap(self->vm, KVM_CAP_MEMORY_FAULT_INFO), 1);
	EXPECT_EQ(vm_cap(self->vm, KVM_CAP_ARM_PSCI), 1);
	EXPECT_EQ(vm_cap(self->vm, KVM_CAP_ARM_PSCI_0_2), 1);
	EXPECT_GE(vm_cap(self->vm, KVM_CAP_NR_VCPUS), 1);
	EXPECT_GE(vm_cap(self->vm, KVM_CAP_MAX_VCPUS), 1);
	EXPECT_EQ(vm_cap(self->vm, KVM_CAP_ARM_VM_IPA_SIZE), pkvm_max_ipa_bits());
}

TEST_F_TIMEOUT(vm, vcpu_features_refused, TIMEOUT)
{
	static const struct {
		const char *name;
		int bit;
	} bad[] = {
		{ "SVE", KVM_ARM_VCPU_SVE },
		{ "PMU_V3", KVM_ARM_VCPU_PMU_V3 },
		{ "EL1_32BIT", KVM_ARM_VCPU_EL1_32BIT },
		{ "HAS_EL2", KVM_ARM_VCPU_HAS_EL2 },
	};
	uint64_t type = pkvm_max_ipa_bits();
	struct kvm_vcpu_init init;
	int i, fd, vm;

	/* The fixture's VM has all the vCPUs that its GIC allows. */
	if (!self->vm->ordinary)
		type |= KVM_VM_TYPE_ARM_PROTECTED;
	vm = pkvm_create_fd(type);
	ASSERT_GE(vm, 0);
	fd = ioctl(vm, KVM_CREATE_VCPU, 0);
	ASSERT_GE(fd, 0);
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		ASSERT_EQ(ioctl(vm, KVM_ARM_PREFERRED_TARGET, &init), 0);
		init.features[0] = BIT(bad[i].bit);
		EXPECT_NE(ioctl_errno(fd, KVM_ARM_VCPU_INIT, &init), 0) {
			TH_LOG("feature %s accepted", bad[i].name);
		}
	}
	close(fd);
	close(vm);
}

TEST_F_TIMEOUT(vm, i8_attributes_refused, TIMEOUT)
{
	struct kvm_smccc_filter filter = {
		.base = 0x84000050, .nr_functions = 4,
		.action = KVM_SMCCC_FILTER_FWD_TO_USER,
	};
	struct kvm_device_attr smccc = {
		.group = KVM_ARM_VM_SMCCC_CTRL, .attr = KVM_ARM_VM_SMCCC_FILTER,
		.addr = (uintptr_t)&filter,
	};
	uint64_t ipa = PKVM_MEM2_IPA;
	struct kvm_device_attr pvtime = {
		.group = KVM_ARM_VCPU_PVTIME_CTRL, .attr = KVM_ARM_VCPU_PVTIME_IPA,
		.addr = (uintptr_t)&ipa,
	};
	struct kvm_device_attr pmu = {
		.group = KVM_ARM_VCPU_PMU_V3_CTRL, .attr = KVM_ARM_VCPU_PMU_V3_INIT,
	};
	struct kvm_arm_counter_offset offset = { .counter_offset = 1000 };
	struct kvm_guest_debug debug = {
		.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP,
	};
	struct kvm_enable_cap mte = { .cap = KVM_CAP_ARM_MTE };

	EXPECT_EQ(ioctl_errno(self->vm->fd, KVM_SET_DEVICE_ATTR, &smccc), EINVAL);
	EXPECT_EQ(ioctl_errno(self->vm->fd, KVM_ARM_SET_COUNTER_OFFSET, &offset),
		  EINVAL);
	EXPECT_EQ(ioctl_errno(self->vm->fd, KVM_ENABLE_CAP, &mte), EINVAL);
	EXPECT_EQ(ioctl_errno(self->vcpu->fd, KVM_HAS_DEVICE_ATTR, &pvtime), ENXIO);
	EXPECT_EQ(ioctl_errno(self->vcpu->fd, KVM_SET_DEVICE_ATTR, &pvtime), ENXIO);
	EXPECT_EQ(ioctl_errno(self->vcpu->fd, KVM_HAS_DEVICE_ATTR, &pmu), ENXIO);
	EXPECT_EQ(ioctl_errno(self->vcpu->fd, KVM_SET_GUEST_DEBUG, &debug), EPERM);
	/* None of that has changed anything. */
	EXPECT_EQ(pkvm_must(self->vcpu, guest_nop), 0);
	EXPECT_EQ(ioctl_errno(self->vm->fd, KVM_ARM_SET_COUNTER_OFFSET, &offset),
		  EINVAL);
	EXPECT_EQ(ioctl_errno(self->vcpu->fd, KVM_SET_GUEST_DEBUG, &debug), EPERM);
}

/* What crosvm asks of a protected VM: the answers that it goes on with. */
TEST_F_TIMEOUT(vm, protected_vm_cap, TIMEOUT)
{
	struct kvm_protected_vm_info info;
	struct kvm_enable_cap cap = {
		.cap = KVM_CAP_ARM_PROTECTED_VM,
		.flags = KVM_CAP_ARM_PROTECTED_VM_FLAGS_INFO,
		.args = { (uintptr_t)&info },
	};
	uint64_t bits = pkvm_max_ipa_bits();
	int i, ordinary;

	EXPECT_EQ(vm_cap(self->vm, KVM_CAP_ARM_PROTECTED_VM), 1);
	EXPECT_EQ(ioctl(self->vm->kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_ARM_PROTECTED_VM), 1);

	/* There is no firmware, and no address to put it at. */
	memset(&info, 0xff, sizeof(info));
	EXPECT_EQ(ioctl_errno(self->vm->fd, KVM_ENABLE_CAP, &cap), 0);
	EXPECT_EQ(info.firmware_size, 0);
	for (i = 0; i < ARRAY_SIZE(info.reserved); i++)
		EXPECT_EQ(info.reserved[i], 0);
	cap.args[0] = 0;
	EXPECT_EQ(ioctl_errno(self->vm->fd, KVM_ENABLE_CAP, &cap), EFAULT);
	cap.args[0] = (uintptr_t)&info;
	for (i = 1; i < ARRAY_SIZE(cap.args); i++) {
		cap.args[i] = 1;
		EXPECT_EQ(ioctl_errno(self->vm->fd, KVM_ENABLE_CAP, &cap), EINVAL);
		cap.args[i] = 0;
	}
	cap.flags = KVM_CAP_ARM_PROTECTED_VM_FLAGS_SET_FW_IPA;
	cap.args[0] = 0x7fc00000;
	EXPECT_EQ(ioctl_errno(self->vm->fd, KVM_ENABLE_CAP, &cap), EINVAL);
	cap.flags = 2;
	EXPECT_EQ(ioctl_errno(self->vm->fd, KVM_ENABLE_CAP, &cap), EINVAL);

	ordinary = pkvm_create_fd(bits);
	ASSERT_GE(ordinary, 0);
	cap.flags = KVM_CAP_ARM_PROTECTED_VM_FLAGS_INFO;
	cap.args[0] = (uintptr_t)&info;
	EXPECT_EQ(ioctl(ordinary, KVM_CHECK_EXTENSION, KVM_CAP_ARM_PROTECTED_VM), 0);
	EXPECT_EQ(ioctl_errno(ordinary, KVM_ENABLE_CAP, &cap), EINVAL);
	close(ordinary);
	EXPECT_EQ(pkvm_must(self->vcpu, guest_nop), 0);
}

TEST_F_TIMEOUT(vm, i6_memslot_flags_refused, TIMEOUT)
{
	static const uint32_t flags[] = {
		KVM_MEM_LOG_DIRTY_PAGES, KVM_MEM_READONLY,
		KVM_MEM_LOG_DIRTY_PAGES | KVM_MEM_READONLY,
	};
	int i, ret, round;

	for (round = 0; round < 2; round++) {
		for (i = 0; i < ARRAY_SIZE(flags); i++) {
			ret = pkvm_set_slot(self->vm, 9, PKVM_MEM2_IPA, SZ_64K,
					    self->vm->mem, flags[i]);
			EXPECT_EQ(ret, -EINVAL) {
				TH_LOG("new slot, flags %#x: %d", flags[i], ret);
			}
			ret = pkvm_set_slot(self->vm, 1, PKVM_MEM_IPA,
					    self->vm->mem_size, self->vm->mem,
					    flags[i]);
			EXPECT_EQ(ret, -EINVAL) {
				TH_LOG("old slot, flags %#x: %d", flags[i], ret);
			}
		}
		pkvm_must(self->vcpu, guest_store, PKVM_MEM_IPA, 1);
	}
}

TEST_F_TIMEOUT(vm, i1_memslots_are_fixed_after_first_run, TIMEOUT)
{
	struct pkvm_vm *vm = self->vm;

	/* Before it everything goes. */
	EXPECT_EQ(pkvm_set_slot(vm, 9, PKVM_MEM2_IPA, SZ_64K, vm->image, 0), 0);
	EXPECT_EQ(pkvm_set_slot(vm, 9, PKVM_MEM2_IPA + SZ_64K, SZ_64K, vm->image, 0), 0);
	EXPECT_EQ(pkvm_set_slot(vm, 9, 0, 0, NULL, 0), 0);

	pkvm_must(self->vcpu, guest_fill, PKVM_MEM_IPA, SZ_64K, 5);
	EXPECT_EQ(pkvm_set_slot(vm, 9, PKVM_MEM2_IPA, SZ_64K, vm->image, 0), -EPERM);
	EXPECT_EQ(pkvm_set_slot(vm, 1, 0, 0, NULL, 0), -EPERM);
	EXPECT_EQ(pkvm_set_slot(vm, 1, PKVM_MEM2_IPA, vm->mem_size, vm->mem, 0), -EPERM);
	EXPECT_EQ(pkvm_must(self->vcpu, guest_verify, PKVM_MEM_IPA, SZ_64K, 5), 0);
}

struct mover {
	struct pkvm_vm *vm;
	bool *stop;
	long tries, odd;
};

static void *move_slot(void *arg)
{
	struct mover *m = arg;

	while (!READ_ONCE(*m->stop)) {
		m->odd += pkvm_set_slot(m->vm, 1, 0, 0, NULL, 0) != -EPERM;
		m->odd += pkvm_set_slot(m->vm, 1, PKVM_MEM2_IPA, m->vm->mem_size,
					m->vm->mem, 0) != -EPERM;
		m->tries++;
	}
	return NULL;
}

/* What is refused has no effect on a guest that runs, at no moment. */
TEST_F_TIMEOUT(vm, i5_refused_slots_while_it_runs, TIMEOUT)
{
	struct pkvm_opts opts = { .mem_size = SZ_1M };
	struct pkvm_vm *vm = pkvm_vm_create(&opts);
	struct pkvm_vcpu *vcpu = pkvm_vcpu0(vm);
	bool stop = false;
	struct mover m = { .vm = vm, .stop = &stop };
	pthread_t thread;
	const size_t page = getpagesize();
	uint64_t off;

	pkvm_must(vcpu, guest_nop);
	ASSERT_EQ(pthread_create(&thread, NULL, move_slot, &m), 0);
	while (!READ_ONCE(m.tries))
		sched_yield();
	for (off = 0; off < vm->mem_size; off += 2 * page) {
		if (pkvm_call(vcpu, guest_fill, PKVM_MEM_IPA + off, page, off) != PKVM_RETURNED)
			break;
		if (pkvm_call(vcpu, guest_hvc, PKVM_HVC_SHARE, PKVM_MEM_IPA + off + page,
			      0, 0) != PKVM_RETURNED || vcpu->ret)
			break;
	}
	EXPECT_EQ(off, vm->mem_size);
	WRITE_ONCE(stop, true);
	pthread_join(thread, NULL);
	EXPECT_EQ(m.odd, 0);
	TH_LOG("%ld times", m.tries);
	for (off = 0; off < vm->mem_size; off += 2 * page)
		ASSERT_EQ(pkvm_must(vcpu, guest_verify, PKVM_MEM_IPA + off, page, off), 0);
	pkvm_vm_free(vm);
}

TEST_F_TIMEOUT(vm, i8_registers_are_out_of_reach_after_first_run, TIMEOUT)
{
	static const uint64_t regs[] = {
		ARM64_CORE_REG(regs.regs[0]), ARM64_CORE_REG(regs.regs[19]),
		ARM64_CORE_REG(regs.pc), ARM64_CORE_REG(regs.pstate),
		ARM64_CORE_REG(sp_el1), ARM64_CORE_REG(elr_el1),
		KVM_ARM64_SYS_REG(SYS_TTBR0_EL1), KVM_ARM64_SYS_REG(SYS_SCTLR_EL1),
		KVM_ARM64_SYS_REG(SYS_MPIDR_EL1), KVM_REG_ARM_TIMER_CNT,
		KVM_REG_ARM_PSCI_VERSION,
	};
	uint64_t val;
	int i;

	EXPECT_EQ(pkvm_get_reg(self->vcpu, KVM_ARM64_SYS_REG(SYS_MPIDR_EL1), &val), 0);
	EXPECT_EQ(pkvm_get_reg(self->vcpu, KVM_REG_ARM_PSCI_VERSION, &val), 0);
	EXPECT_GE(val, 0x10000);

	pkvm_must(self->vcpu, guest_nop);
	for (i = 0; i < ARRAY_SIZE(regs); i++) {
		val = 0x55;
		EXPECT_EQ(pkvm_get_reg(self->vcpu, regs[i], &val), -EPERM) {
			TH_LOG("get %#lx", regs[i]);
		}
		EXPECT_EQ(val, 0x55);
		EXPECT_EQ(pkvm_set_reg(self->vcpu, regs[i], 0), -EPERM) {
			TH_LOG("set %#lx", regs[i]);
		}
	}
	pkvm_must(self->vcpu, guest_nop);
}

TEST_F_TIMEOUT(vm, i5_run_without_gic, TIMEOUT)
{
	struct pkvm_opts opts = { .no_gic = true };
	struct pkvm_vm *vm = pkvm_vm_create(&opts);

	if (vm->ordinary)
		SKIP(return, "an ordinary VM needs no GIC");
	EXPECT_LT(pkvm_call(pkvm_vcpu0(vm), guest_nop), 0);
	EXPECT_LT(pkvm_call(pkvm_vcpu0(vm), guest_nop), 0);
	pkvm_vm_free(vm);
}

/* --------------------------------------------------------------- how VMs end */

FIXTURE(end) {
	struct pkvm_counters before;
};

FIXTURE_SETUP(end)
{
	const char *why = pkvm_unavailable();

	if (why)
		SKIP(return, "%s", why);
	pkvm_counters_read(&self->before);
}

FIXTURE_TEARDOWN(end)
{
	EXPECT_TRUE(pkvm_counters_back(&self->before, SLACK_KB));
}

static long cpu_on(struct pkvm_vcpu *vcpu, int target)
{
	return (int)pkvm_must(vcpu, guest_hvc, PSCI_0_2_FN64_CPU_ON, target,
			      (uintptr_t)pkvm_guest_entry,
			      (uintptr_t)&pkvm_guest_cpus[target]);
}

/* A VM with two vCPUs, both in use, and private and shared pages. */
static struct pkvm_vm *busy_vm(enum pkvm_backing backing)
{
	struct pkvm_opts opts = {
		.nr_vcpus = 2, .mem_size = SZ_2M, .backing = backing,
	};
	struct pkvm_vm *vm = pkvm_vm_create(&opts);

	TEST_ASSERT(!cpu_on(&vm->vcpus[0], 1), "CPU_ON failed");
	pkvm_must(&vm->vcpus[0], guest_fill, PKVM_MEM_IPA, SZ_64K, 1);
	pkvm_must(&vm->vcpus[1], guest_fill, PKVM_MEM_IPA + SZ_64K, SZ_64K, 2);
	pkvm_must(&vm->vcpus[1], guest_hvc, PKVM_HVC_SHARE, PKVM_MEM_IPA);
	return vm;
}

/*
 * Each file holds the VM, and so does each mapped run page: it ends with the
 * last of them, whichever that is, and then all of its memory is back.
 */
TEST_F_TIMEOUT(end, i4_i7_close_in_any_order, TIMEOUT)
{
	static const char parts[] = "0r1sgv";	/* vCPU fd and run page, GIC, VM */
	int order, i, j, nr = strlen(parts);
	unsigned int rnd = pkvm_seed();
	char perm[8];

	for (order = 0; order < 12; order++) {
		struct pkvm_vm *vm = busy_vm(order & 1 ? PKVM_ANON : PKVM_MEMFD);

		memcpy(perm, parts, sizeof(perm));
		for (i = nr - 1; i > 0; i--) {
			char c = perm[i];

			j = rand_r(&rnd) % (i + 1);
			perm[i] = perm[j];
			perm[j] = c;
		}
		for (i = 0; i < nr; i++) {
			/* Still alive: not a page may have come back. */
			EXPECT_TRUE(vm->ordinary ||
				    pkvm_host_read(vm->mem + SZ_64K, NULL).sig ==
				    SIGSEGV) {
				TH_LOG("order \"%s\", before %d", perm, i);
			}
			switch (perm[i]) {
			case '0':
				pkvm_close_fd(&vm->vcpus[0].fd);
				break;
			case '1':
				pkvm_close_fd(&vm->vcpus[1].fd);
				break;
			case 'r':
				munmap(vm->vcpus[0].run, vm->vcpus[0].run_size);
				vm->vcpus[0].run = NULL;
				break;
			case 's':
				munmap(vm->vcpus[1].run, vm->vcpus[1].run_size);
				vm->vcpus[1].run = NULL;
				break;
			case 'g':
				pkvm_close_fd(&vm->gic_fd);
				break;
			case 'v':
				pkvm_close_fd(&vm->fd);
				break;
			}
		}
		/* Without a delay: the last close does it. */
		EXPECT_EQ(pkvm_vmlck_kb(), self->before.vmlck_kb);
		EXPECT_TRUE(vm->ordinary || all_zero(vm)) {
			TH_LOG("order \"%s\"", perm);
		}
		EXPECT_TRUE(pkvm_counters_back(&self->before, -1)) {
			TH_LOG("order \"%s\"", perm);
		}
		pkvm_vm_free(vm);
	}
}

/* The guest's memory is gone from the VMM before the VM is. */
TEST_F_TIMEOUT(end, i7_munmap_before_close, TIMEOUT)
{
	static const enum pkvm_backing backing[] = { PKVM_MEMFD, PKVM_ANON, PKVM_THP };
	int i;

	for (i = 0; i < ARRAY_SIZE(backing); i++) {
		struct pkvm_vm *vm = busy_vm(backing[i]);

		munmap(vm->mem, vm->mem_size);
		munmap(vm->image, vm->image_size);
		if (vm->mem_fd >= 0)
			close(vm->mem_fd);
		pkvm_vm_close(vm);
		EXPECT_TRUE(pkvm_counters_back(&self->before, -1));
	}
}

/* A VM that never ran, one that has vCPUs only, one that ran once. */
TEST_F_TIMEOUT(end, i7_never_run, TIMEOUT)
{
	struct pkvm_opts opts = { .nr_vcpus = 3 };
	struct pkvm_vm *vm;
	int i, fd;

	for (i = 0; i < 20; i++) {
		fd = pkvm_create_fd(KVM_VM_TYPE_ARM_PROTECTED | pkvm_max_ipa_bits());
		EXPECT_TRUE(fd >= 0 || pkvm_forced_ordinary());
		if (fd >= 0)
			close(fd);
		vm = pkvm_vm_create(&opts);
		pkvm_vm_free(vm);
	}
}

static uint64_t guest_busy(uint64_t addr, uint64_t size)
{
	uint64_t i = 0;

	/* Touches new pages and old ones, and never ends. */
	for (;;) {
		guest_fill(addr + (i % (size >> 12) << 12), 4096, i);
		i++;
	}
	return 0;
}

/* S40: the files are closed while a vCPU runs. */
TEST_F_TIMEOUT(end, i5_close_while_running, TIMEOUT)
{
	struct pkvm_thread t[2];
	struct pkvm_vm *vm;
	int i, round;

	for (round = 0; round < 5; round++) {
		vm = busy_vm(round & 1 ? PKVM_THP : PKVM_MEMFD);
		for (i = 0; i < 2; i++)
			pkvm_thread_start(&t[i], &vm->vcpus[i], guest_busy,
					  PKVM_MEM_IPA + i * SZ_1M, SZ_1M);
		usleep(1000 * round * round);
		pkvm_close_fd(&vm->fd);
		pkvm_close_fd(&vm->gic_fd);
		pkvm_close_fd(&vm->vcpus[0].fd);
		pkvm_close_fd(&vm->vcpus[1].fd);
		usleep(10000);
		for (i = 0; i < 2; i++) {
			int stop = pkvm_thread_stop(&t[i]);

			/* EBADF if it was between two runs. */
			EXPECT_TRUE(stop == -EINTR || stop == -EBADF) {
				TH_LOG("stopped with %d", stop);
			}
		}
		pkvm_vm_close(vm);
		EXPECT_TRUE(vm->ordinary || all_zero(vm));
		pkvm_vm_free(vm);
		EXPECT_TRUE(pkvm_counters_back(&self->before, -1));
	}
}

static uint64_t now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000UL + ts.tv_nsec / 1000;
}

/* A VMM that does everything over and over, and says when it did it once. */
static void victim(int pipe_fd, unsigned int rnd)
{
	struct pkvm_thread t;
	struct pkvm_vm *vm;
	char c = 0;
	int i;

	for (;;) {
		vm = busy_vm(rand_r(&rnd) % 3);
		pkvm_thread_start(&t, &vm->vcpus[1], guest_fill,
				  PKVM_MEM_IPA + SZ_1M, SZ_1M, rnd);
		for (i = 16; i < 48; i++) {
			uint64_t ipa = PKVM_MEM_IPA + i * 4096;

			pkvm_must(&vm->vcpus[0], guest_store, ipa, i);
			pkvm_must(&vm->vcpus[0], guest_hvc, PKVM_HVC_SHARE, ipa);
			if (i & 1)
				pkvm_must(&vm->vcpus[0], guest_hvc,
					  PKVM_HVC_UNSHARE, ipa);
		}
		pkvm_thread_join(&t);
		pkvm_vm_free(vm);
		if (pipe_fd >= 0 && write(pipe_fd, &c, 1) != 1)
			_exit(1);
		pipe_fd = -1;
	}
}

static pid_t start_victim(int pipe_fd, unsigned int rnd)
{
	pid_t pid = fork();

	if (!pid)
		victim(pipe_fd, rnd);
	return pid;
}

/* S45: the VMM is killed at any moment, also in the midst of creation. */
TEST_F_TIMEOUT(end, i5_i7_sigkill_at_random_moments, TIMEOUT_KILLS)
{
	int i, fds[2], status, kills = pkvm_env("PKVM_KILLS", 20);
	unsigned int rnd = pkvm_seed();
	uint64_t once, delay;
	pid_t pid;
	char c;

	ASSERT_EQ(pipe(fds), 0);
	once = now_us();
	pid = start_victim(fds[1], rnd);
	ASSERT_GT(pid, 0);
	ASSERT_EQ(read(fds[0], &c, 1), 1);
	once = now_us() - once;
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	TH_LOG("one life takes %lu ms; killing %d at random", once / 1000, kills);

	for (i = 0; i < kills; i++) {
		pid = start_victim(-1, rand_r(&rnd));
		ASSERT_GT(pid, 0);
		delay = rand_r(&rnd) % (once + once / 2);
		usleep(delay);
		kill(pid, SIGKILL);
		ASSERT_EQ(waitpid(pid, &status, 0), pid);
		ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) {
			TH_LOG("the VMM ended by itself: status %#x", status);
		}
		ASSERT_TRUE(pkvm_counters_back(&self->before, SLACK_KB)) {
			TH_LOG("kill %d after %lu us", i, delay);
		}
	}
}

/* The address space goes first, the files at the same time or later. */
TEST_F_TIMEOUT(end, i7_exec_and_exit, TIMEOUT)
{
	int status, i;
	pid_t pid;

	for (i = 0; i < 4; i++) {
		pid = fork();
		if (!pid) {
			struct pkvm_vm *vm = busy_vm(i & 1 ? PKVM_ANON : PKVM_MEMFD);

			if (i & 2)
				_exit(0);
			(void)vm;
			freopen("/dev/null", "w", stdout);
			freopen("/dev/null", "w", stderr);
			execl("/proc/self/exe", "exec", "-h", NULL);
			_exit(9);
		}
		ASSERT_EQ(waitpid(pid, &status, 0), pid);
		EXPECT_TRUE(WIFEXITED(status));
		EXPECT_EQ(WEXITSTATUS(status), i & 2 ? 0 : KSFT_SKIP);
		EXPECT_TRUE(pkvm_counters_back(&self->before, SLACK_KB));
	}
}

/* A file of the VM outlives the process that owns the memory. */
TEST_F_TIMEOUT(end, i5_i7_vm_file_outlives_the_vmm, TIMEOUT)
{
	int status, fds[2];
	struct pkvm_vm *vm;
	char c;
	pid_t pid;

	ASSERT_EQ(pipe(fds), 0);
	vm = busy_vm(PKVM_MEMFD);
	pid = fork();
	if (!pid) {
		/* Holds copies of all files; the memory is the parent's. */
		close(fds[1]);
		status = pkvm_call(pkvm_vcpu0(vm), guest_nop);
		if (read(fds[0], &c, 1) < 0)
			_exit(1);
		/* Another's address space may not run the VM. */
		_exit(status == -EIO ? 0 : 2);
	}
	pkvm_vm_free(vm);
	usleep(50000);
	close(fds[1]);
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_TRUE(WIFEXITED(status));
	EXPECT_EQ(WEXITSTATUS(status), 0);
	close(fds[0]);
}

/* ----------------------------------------------------------- side by side */

TEST_F_TIMEOUT(end, i1_i10_several_vms, TIMEOUT)
{
	struct pkvm_vm *vms[4];
	struct pkvm_opts opts = { 0 };
	uint64_t secret = pkvm_seed();
	int i, j;

	for (i = 0; i < 4; i++) {
		opts.backing = i % 3;
		opts.ordinary = i == 2;
		vms[i] = pkvm_vm_create(&opts);
		pkvm_must(pkvm_vcpu0(vms[i]), guest_fill, PKVM_MEM_IPA, SZ_256K,
			  secret + i);
	}
	/* Each ends in turn; the others do not notice. */
	for (i = 3; i >= 0; i--) {
		for (j = 0; j <= i; j++) {
			EXPECT_EQ(pkvm_must(pkvm_vcpu0(vms[j]), guest_verify,
					    PKVM_MEM_IPA, SZ_256K, secret + j), 0);
			pkvm_must(pkvm_vcpu0(vms[j]), guest_fill, PKVM_MEM_IPA,
				  SZ_256K, secret + j);
		}
		if (vms[i]->ordinary) {
			EXPECT_EQ(((uint64_t *)vms[i]->mem)[5],
				  pkvm_pattern(secret + i, 5));
		} else {
			EXPECT_TRUE(pkvm_is_segv_at(pkvm_host_read(vms[i]->mem, NULL),
						    vms[i]->mem));
		}
		pkvm_vm_free(vms[i]);
	}
}

/* S44: a VM that gets the VMID of a dead one finds nothing of it. */
TEST_F_TIMEOUT(end, i1_i4_vmid_reuse, TIMEOUT)
{
	struct pkvm_vm *vm;
	int i;

	for (i = 0; i < 10; i++) {
		vm = pkvm_vm_create(NULL);
		EXPECT_EQ(pkvm_must(pkvm_vcpu0(vm), guest_count_nonzero, PKVM_MEM_IPA,
				    SZ_256K), 0);
		pkvm_must(pkvm_vcpu0(vm), guest_fill, PKVM_MEM_IPA, SZ_256K, i);
		pkvm_vm_free(vm);
	}
}

TEST_HARNESS_MAIN
