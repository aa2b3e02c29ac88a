// SPDX-License-Identifier: GPL-2.0-only
/*
 * What each request of the KVM API gives for a protected VM, before its first run and
 * after it, and what each capability says (I8). The lists are those of
 * Documentation/virt/kvm/arm/protected-guests.rst: all requests that there are on
 * arm64, but KVM_RUN and what is about memslots.
 */
#include <errno.h>
#include <asm/kvm.h>
#include <linux/sizes.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>

#include "kselftest_harness.h"
#include "kvm_util.h"
#include "processor.h"
#include "pkvm.h"

#define TIMEOUT		120
#define MAX_CAP		1024

FIXTURE(api) {
	struct pkvm_vm *vm;
	struct pkvm_vcpu *vcpu;
	struct pkvm_counters before;
};

FIXTURE_SETUP(api)
{
	struct pkvm_opts opts = { .nr_vcpus = 2 };
	const char *why = pkvm_unavailable();

	if (why)
		SKIP(return, "%s", why);
	if (pkvm_forced_ordinary())
		SKIP(return, "ordinary VMs are forced");
	pkvm_counters_read(&self->before);
	self->vm = pkvm_vm_create(&opts);
	self->vcpu = pkvm_vcpu0(self->vm);
}

FIXTURE_TEARDOWN(api)
{
	if (!self->vm)
		return;
	pkvm_vm_free(self->vm);
	EXPECT_TRUE(pkvm_counters_back(&self->before, -1));
}

/* A request, of the VM or of a vCPU, and its errno at either time. */
struct request {
	const char *name;
	unsigned long cmd;
	void *arg;
	int before, after;
	bool new_file;		/* it is a file that a success returns */
};

#define REQ(cmd, arg, before, after)	{ #cmd, cmd, (void *)(arg), before, after, false }
#define FILE_REQ(cmd, arg, before, after) { #cmd, cmd, (void *)(arg), before, after, true }

static void expect_all(struct __test_metadata *_metadata, int fd, const struct request *req,
		       int nr, bool after)
{
	int i, ret, want, got;

	for (i = 0; i < nr; i++) {
		errno = 0;
		ret = ioctl(fd, req[i].cmd, req[i].arg);
		got = ret < 0 ? errno : 0;
		want = after ? req[i].after : req[i].before;
		EXPECT_EQ(got, want) {
			TH_LOG("request %d, %s, %s the first run: %s", i, req[i].name,
			       after ? "after" : "before", strerror(got));
		}
		if (ret >= 0 && req[i].new_file)
			close(ret);
	}
}

TEST_F_TIMEOUT(api, i8_requests_of_a_vcpu, TIMEOUT)
{
	uint64_t val = 0, ipa = PKVM_MEM2_IPA;
	struct kvm_one_reg pc = {
		.id = ARM64_CORE_REG(regs.pc), .addr = (uintptr_t)&val,
	}, ttbr = {
		.id = KVM_ARM64_SYS_REG(SYS_TTBR0_EL1), .addr = (uintptr_t)&val,
	};
	int irq = 27;
	struct kvm_device_attr timer = {
		.group = KVM_ARM_VCPU_TIMER_CTRL, .attr = KVM_ARM_VCPU_TIMER_IRQ_VTIMER,
		.addr = (uintptr_t)&irq,
	}, pvtime = {
		.group = KVM_ARM_VCPU_PVTIME_CTRL, .attr = KVM_ARM_VCPU_PVTIME_IPA,
		.addr = (uintptr_t)&ipa,
	}, pmu = {
		.group = KVM_ARM_VCPU_PMU_V3_CTRL, .attr = KVM_ARM_VCPU_PMU_V3_INIT,
	};
	struct kvm_vcpu_events events = { 0 }, serror = { .exception.serror_pending = 1 },
		dabt = { .exception.ext_dabt_pending = 1 };
	struct kvm_mp_state state, runnable = { .mp_state = KVM_MP_STATE_RUNNABLE },
		suspended = { .mp_state = KVM_MP_STATE_SUSPENDED };
	struct kvm_guest_debug debug = { .control = KVM_GUESTDBG_ENABLE };
	struct kvm_vcpu_init init = { .target = KVM_ARM_TARGET_GENERIC_V8 };
	struct kvm_reg_list list = { 0 };
	struct kvm_translation tr = { 0 };
	static char buf[SZ_4K];
	int sve = KVM_ARM_VCPU_SVE;
	const struct request boot[] = {
		REQ(KVM_GET_ONE_REG, &ttbr, 0, EPERM),
		REQ(KVM_GET_ONE_REG, &pc, 0, EPERM),
		REQ(KVM_SET_ONE_REG, &pc, 0, EPERM),
		REQ(KVM_GET_REG_LIST, &list, E2BIG, E2BIG),
		REQ(KVM_HAS_DEVICE_ATTR, &timer, 0, 0),
		REQ(KVM_SET_DEVICE_ATTR, &timer, 0, EBUSY),
		REQ(KVM_GET_DEVICE_ATTR, &timer, 0, 0),
		REQ(KVM_HAS_DEVICE_ATTR, &pvtime, ENXIO, ENXIO),
		REQ(KVM_SET_DEVICE_ATTR, &pvtime, ENXIO, ENXIO),
		REQ(KVM_GET_DEVICE_ATTR, &pvtime, ENXIO, ENXIO),
		REQ(KVM_HAS_DEVICE_ATTR, &pmu, ENXIO, ENXIO),
		REQ(KVM_SET_DEVICE_ATTR, &pmu, ENODEV, ENODEV),
		REQ(KVM_GET_VCPU_EVENTS, &events, 0, EPERM),
		REQ(KVM_SET_VCPU_EVENTS, &events, 0, EPERM),
		REQ(KVM_GET_MP_STATE, &state, 0, 0),
		REQ(KVM_SET_MP_STATE, &suspended, EINVAL, EPERM),
		REQ(KVM_SET_MP_STATE, &runnable, 0, EPERM),
		REQ(KVM_SET_GUEST_DEBUG, &debug, EPERM, EPERM),
		REQ(KVM_SET_SIGNAL_MASK, NULL, 0, 0),
		REQ(KVM_GET_REGS, buf, EINVAL, EINVAL),
		REQ(KVM_SET_REGS, buf, EINVAL, EINVAL),
		REQ(KVM_GET_SREGS, buf, EINVAL, EINVAL),
		REQ(KVM_SET_SREGS, buf, EINVAL, EINVAL),
		REQ(KVM_GET_FPU, buf, EINVAL, EINVAL),
		REQ(KVM_SET_FPU, buf, EINVAL, EINVAL),
		REQ(KVM_TRANSLATE, &tr, EINVAL, EINVAL),
		REQ(KVM_PRE_FAULT_MEMORY, buf, EINVAL, EINVAL),
		REQ(KVM_ARM_VCPU_FINALIZE, &sve, EINVAL, EINVAL),
		FILE_REQ(KVM_GET_STATS_FD, NULL, 0, 0),
	};
	/* One that has not run yet: nothing of it comes to the guest. */
	const struct request second[] = {
		REQ(KVM_ARM_VCPU_INIT, &init, 0, EPERM),
		REQ(KVM_SET_MP_STATE, &runnable, 0, EPERM),
		REQ(KVM_GET_ONE_REG, &pc, 0, 0),
		REQ(KVM_SET_ONE_REG, &pc, 0, 0),
		REQ(KVM_ARM_VCPU_INIT, &init, 0, EPERM),
	};
	const struct request late[] = {
		REQ(KVM_SET_VCPU_EVENTS, &serror, 0, EPERM),
		REQ(KVM_SET_VCPU_EVENTS, &dabt, 0, EPERM),
	};

	/* The same as before, or it is refused for that. */
	init.features[0] = BIT(KVM_ARM_VCPU_POWER_OFF) | BIT(KVM_ARM_VCPU_PSCI_0_2);
	if (ioctl(self->vm->fd, KVM_CHECK_EXTENSION, KVM_CAP_ARM_PTRAUTH_ADDRESS) > 0)
		init.features[0] |= BIT(KVM_ARM_VCPU_PTRAUTH_ADDRESS) |
				    BIT(KVM_ARM_VCPU_PTRAUTH_GENERIC);
	ASSERT_EQ(pkvm_get_reg(self->vcpu, pc.id, &val), 0);
	expect_all(_metadata, self->vcpu->fd, boot, ARRAY_SIZE(boot), false);
	ASSERT_EQ(pkvm_set_reg(self->vcpu, pc.id, (uintptr_t)pkvm_guest_entry), 0);
	expect_all(_metadata, self->vm->vcpus[1].fd, second, ARRAY_SIZE(second), false);

	EXPECT_EQ(pkvm_must(self->vcpu, guest_nop), 0);
	val = 0x55;
	list.n = 0;
	expect_all(_metadata, self->vcpu->fd, boot, ARRAY_SIZE(boot), true);
	expect_all(_metadata, self->vcpu->fd, late, ARRAY_SIZE(late), true);
	EXPECT_EQ(val, 0x55);
	expect_all(_metadata, self->vm->vcpus[1].fd, second, ARRAY_SIZE(second), true);
	EXPECT_EQ(pkvm_must(self->vcpu, guest_nop), 0);
}

TEST_F_TIMEOUT(api, i8_requests_of_a_vm, TIMEOUT)
{
	struct kvm_smccc_filter filter = {
		.base = 0x84000050, .nr_functions = 4,
		.action = KVM_SMCCC_FILTER_FWD_TO_USER,
	};
	struct kvm_device_attr smccc = {
		.group = KVM_ARM_VM_SMCCC_CTRL, .attr = KVM_ARM_VM_SMCCC_FILTER,
		.addr = (uintptr_t)&filter,
	};
	static uint64_t masks[KVM_ARM_FEATURE_ID_RANGE_SIZE];
	struct reg_mask_range range = { .addr = (uintptr_t)masks };
	struct kvm_arm_counter_offset offset = { .counter_offset = 1000 };
	struct kvm_arm_copy_mte_tags tags = {
		.guest_ipa = PKVM_MEM_IPA, .length = SZ_4K, .addr = self->vm->mem,
		.flags = KVM_ARM_TAGS_FROM_GUEST,
	};
	struct kvm_arm_device_addr addr = {
		.id = KVM_ARM_DEVICE_VGIC_V2 << KVM_ARM_DEVICE_ID_SHIFT,
		.addr = PKVM_GICD_IPA,
	};
	struct kvm_dirty_log log = { .slot = 1, .dirty_bitmap = self->vm->mem };
	struct kvm_clear_dirty_log clear = {
		.slot = 1, .num_pages = 64, .dirty_bitmap = self->vm->mem,
	};
	struct kvm_coalesced_mmio_zone zone = { .addr = PKVM_DEV_IPA, .size = 8 };
	int event = eventfd(0, EFD_CLOEXEC);
	struct kvm_irqfd irqfd = { .fd = event, .gsi = 1 },
		no_irqfd = { .fd = event, .gsi = 1, .flags = KVM_IRQFD_FLAG_DEASSIGN };
	struct kvm_ioeventfd io = { .fd = event, .addr = PKVM_DEV_IPA + 64, .len = 4 },
		no_io = { .fd = event, .addr = PKVM_DEV_IPA + 64, .len = 4,
			  .flags = KVM_IOEVENTFD_FLAG_DEASSIGN };
	struct kvm_irq_level level = {
		.irq = KVM_ARM_IRQ_TYPE_SPI << KVM_ARM_IRQ_TYPE_SHIFT | 40,
	};
	struct kvm_irq_routing routing = { 0 };
	struct kvm_msi msi = { .flags = KVM_MSI_VALID_DEVID };
	struct kvm_create_device v2 = { .type = KVM_DEV_TYPE_ARM_VGIC_V2 },
		v3 = { .type = KVM_DEV_TYPE_ARM_VGIC_V3 },
		its = { .type = KVM_DEV_TYPE_ARM_VGIC_ITS, .flags = KVM_CREATE_DEVICE_TEST };
	struct kvm_memory_attributes attributes = {
		.address = PKVM_MEM_IPA, .size = SZ_4K,
		.attributes = KVM_MEMORY_ATTRIBUTE_PRIVATE,
	};
	struct kvm_create_guest_memfd memfd = { .size = SZ_2M };
	struct kvm_vcpu_init target;
#define CAP(which, ...) (&(struct kvm_enable_cap) { .cap = KVM_CAP_ ## which, ## __VA_ARGS__ })
	const struct request vm[] = {
		/* Its GIC is there: no vCPU any more. */
		REQ(KVM_CREATE_VCPU, 3, EBUSY, EBUSY),
		REQ(KVM_HAS_DEVICE_ATTR, &smccc, ENXIO, ENXIO),
		REQ(KVM_SET_DEVICE_ATTR, &smccc, EINVAL, EINVAL),
		REQ(KVM_ARM_SET_COUNTER_OFFSET, &offset, EINVAL, EINVAL),
		REQ(KVM_ARM_MTE_COPY_TAGS, &tags, EINVAL, EINVAL),
		REQ(KVM_ARM_SET_DEVICE_ADDR, &addr, ENODEV, ENODEV),
		REQ(KVM_ARM_PREFERRED_TARGET, &target, 0, 0),
		REQ(KVM_ARM_GET_REG_WRITABLE_MASKS, &range, 0, 0),
		REQ(KVM_GET_DIRTY_LOG, &log, ENOENT, ENOENT),
		REQ(KVM_CLEAR_DIRTY_LOG, &clear, ENOENT, ENOENT),
		REQ(KVM_RESET_DIRTY_RINGS, NULL, EINVAL, EINVAL),
		REQ(KVM_REGISTER_COALESCED_MMIO, &zone, 0, 0),
		REQ(KVM_UNREGISTER_COALESCED_MMIO, &zone, 0, 0),
		REQ(KVM_IRQFD, &irqfd, 0, 0),
		REQ(KVM_IRQFD, &no_irqfd, 0, 0),
		REQ(KVM_IOEVENTFD, &io, 0, 0),
		REQ(KVM_IOEVENTFD, &no_io, 0, 0),
		REQ(KVM_IRQ_LINE, &level, 0, 0),
		REQ(KVM_SET_GSI_ROUTING, &routing, 0, 0),
		REQ(KVM_SIGNAL_MSI, &msi, ENODEV, ENODEV),
		REQ(KVM_CREATE_IRQCHIP, NULL, ENODEV, ENODEV),
		REQ(KVM_CREATE_DEVICE, &v2, ENODEV, ENODEV),
		REQ(KVM_CREATE_DEVICE, &v3, EEXIST, EEXIST),
		REQ(KVM_CREATE_DEVICE, &its, 0, 0),
		REQ(KVM_SET_MEMORY_ATTRIBUTES, &attributes, EINVAL, EINVAL),
		REQ(KVM_CREATE_GUEST_MEMFD, &memfd, EINVAL, EINVAL),
		FILE_REQ(KVM_GET_STATS_FD, NULL, 0, 0),
		REQ(KVM_ENABLE_CAP, CAP(HALT_POLL), 0, 0),
		REQ(KVM_ENABLE_CAP, CAP(ARM_MTE), EINVAL, EINVAL),
		REQ(KVM_ENABLE_CAP, CAP(ARM_NISV_TO_USER), EINVAL, EINVAL),
		REQ(KVM_ENABLE_CAP, CAP(ARM_SYSTEM_SUSPEND), EINVAL, EINVAL),
		REQ(KVM_ENABLE_CAP, CAP(ARM_EAGER_SPLIT_CHUNK_SIZE), EINVAL, EINVAL),
		REQ(KVM_ENABLE_CAP, CAP(MANUAL_DIRTY_LOG_PROTECT2, .args[0] = 1), EINVAL, EINVAL),
		REQ(KVM_ENABLE_CAP, CAP(DIRTY_LOG_RING, .args[0] = SZ_64K), EINVAL, EINVAL),
		REQ(KVM_ENABLE_CAP, CAP(DIRTY_LOG_RING_ACQ_REL, .args[0] = SZ_64K), EINVAL,
		    EINVAL),
		REQ(KVM_ENABLE_CAP, CAP(DIRTY_LOG_RING_WITH_BITMAP), EINVAL, EINVAL),
	};
#undef CAP

	ASSERT_GE(event, 0);
	expect_all(_metadata, self->vm->fd, vm, ARRAY_SIZE(vm), false);
	EXPECT_EQ(pkvm_must(self->vcpu, guest_nop), 0);
	expect_all(_metadata, self->vm->fd, vm, ARRAY_SIZE(vm), true);
	EXPECT_EQ(pkvm_must(self->vcpu, guest_nop), 0);
	close(event);
}

/* A ring for pages that are written has its place before there is a vCPU. */
TEST_F_TIMEOUT(api, no_ring_of_dirty_pages, TIMEOUT)
{
	struct kvm_enable_cap ring = {
		.cap = KVM_CAP_DIRTY_LOG_RING_ACQ_REL, .args[0] = SZ_64K,
	};
	uint64_t bits = pkvm_max_ipa_bits();
	int fd;

	fd = pkvm_create_fd(KVM_VM_TYPE_ARM_PROTECTED | bits);
	ASSERT_GE(fd, 0);
	EXPECT_EQ(ioctl(fd, KVM_ENABLE_CAP, &ring), -1);
	EXPECT_EQ(errno, EINVAL);
	close(fd);

	/* Others have it as before. */
	fd = pkvm_create_fd(bits);
	ASSERT_GE(fd, 0);
	EXPECT_GT(ioctl(fd, KVM_CHECK_EXTENSION, KVM_CAP_DIRTY_LOG_RING_ACQ_REL), 0);
	EXPECT_GT(ioctl(fd, KVM_CHECK_EXTENSION, KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2), 0);
	EXPECT_EQ(ioctl(fd, KVM_ENABLE_CAP, &ring), 0);
	close(fd);
}

/* All that a protected VM has; some of them on some machines only. */
static const int has[] = {
	KVM_CAP_ARM_IRQ_LINE_LAYOUT_2, KVM_CAP_ARM_PSCI, KVM_CAP_ARM_PSCI_0_2,
	KVM_CAP_ARM_PTRAUTH_ADDRESS, KVM_CAP_ARM_PTRAUTH_GENERIC, KVM_CAP_ARM_VM_IPA_SIZE,
	KVM_CAP_BINARY_STATS_FD, KVM_CAP_CHECK_EXTENSION_VM, KVM_CAP_COALESCED_MMIO,
	KVM_CAP_COALESCED_PIO, KVM_CAP_DESTROY_MEMORY_REGION_WORKS, KVM_CAP_DEVICE_CTRL,
	KVM_CAP_ENABLE_CAP_VM, KVM_CAP_HALT_POLL, KVM_CAP_IMMEDIATE_EXIT,
	KVM_CAP_INTERNAL_ERROR_DATA, KVM_CAP_IOEVENTFD, KVM_CAP_IOEVENTFD_ANY_LENGTH,
	KVM_CAP_IRQCHIP, KVM_CAP_IRQFD, KVM_CAP_IRQFD_RESAMPLE, KVM_CAP_IRQ_ROUTING,
	KVM_CAP_JOIN_MEMORY_REGIONS_WORKS, KVM_CAP_MAX_VCPUS, KVM_CAP_MAX_VCPU_ID,
	KVM_CAP_MEMORY_FAULT_INFO, KVM_CAP_MP_STATE, KVM_CAP_MSI_DEVID, KVM_CAP_NR_MEMSLOTS,
	KVM_CAP_NR_VCPUS, KVM_CAP_ONE_REG, KVM_CAP_SIGNAL_MSI, KVM_CAP_SYSTEM_EVENT_DATA,
	KVM_CAP_USER_MEMORY, KVM_CAP_USER_MEMORY2, KVM_CAP_VCPU_ATTRIBUTES,
};

static bool may_have(int cap)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(has); i++) {
		if (has[i] == cap)
			return true;
	}
	return false;
}

TEST_F_TIMEOUT(api, i8_every_capability, TIMEOUT)
{
	int cap, ret, nr = 0;

	for (cap = 0; cap < MAX_CAP; cap++) {
		ret = ioctl(self->vm->fd, KVM_CHECK_EXTENSION, cap);
		EXPECT_GE(ret, 0);
		EXPECT_TRUE(ret <= 0 || may_have(cap)) {
			TH_LOG("capability %d: %d", cap, ret);
		}
		nr += ret > 0;
	}
	EXPECT_GE(nr, 30);
	EXPECT_EQ(ioctl(self->vm->fd, KVM_CHECK_EXTENSION, KVM_CAP_ARM_PROTECTED_VM), 1);
}

TEST_HARNESS_MAIN
