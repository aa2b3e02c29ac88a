// SPDX-License-Identifier: GPL-2.0-only
/*
 * The KVM side of the machine: the VM, its memory slot, the GIC, the vCPUs
 * and the two ways to raise an interrupt.
 *
 * The ioctls come in the order in which crosvm makes them, probes included,
 * so that what works here works there. Guest memory is registered before the
 * first vCPU exists. Running the vCPUs is vcpu.c's.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "pvm.h"

#define PSTATE_DAIF_EL1H	0x3c5UL

#define CORE_REG(name)	(KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE | \
			 KVM_REG_ARM_CORE_REG(name))
#define REG_PSTATE	CORE_REG(regs.pstate)
#define REG_PC		CORE_REG(regs.pc)
#define REG_X0		CORE_REG(regs.regs[0])
#define REG_MPIDR	ARM64_SYS_REG(3, 0, 0, 0, 5)

static int check_ext(int fd, unsigned long cap)
{
	int ret = ioctl(fd, KVM_CHECK_EXTENSION, cap);

	return ret < 0 ? 0 : ret;
}

/* What can be checked before anything is created. */
void kvm_open(struct vm *vm)
{
	int max;

	vm->kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (vm->kvm_fd < 0)
		die(PVM_REFUSED, "cannot open /dev/kvm: %s; %s", strerror(errno),
		    errno == EACCES ? "get access to it (group kvm)" :
		    "boot the host with KVM, at EL2");
	if (ioctl(vm->kvm_fd, KVM_GET_API_VERSION, 0) != KVM_API_VERSION)
		die(PVM_REFUSED, "/dev/kvm speaks another KVM API version than %d",
		    KVM_API_VERSION);
	if (!check_ext(vm->kvm_fd, KVM_CAP_IMMEDIATE_EXIT))
		die(PVM_REFUSED, "this KVM is too old: it lacks KVM_CAP_IMMEDIATE_EXIT");

	max = check_ext(vm->kvm_fd, KVM_CAP_MAX_VCPUS);
	if (vm->opt.cpus > max)
		die(PVM_BAD_ARG, "--cpus %ld is more than this host can give a guest (%d)",
		    vm->opt.cpus, max);

	vm->ipa_bits = check_ext(vm->kvm_fd, KVM_CAP_ARM_VM_IPA_SIZE);
	if (!vm->ipa_bits)
		vm->ipa_bits = 40;
	if (RAM_BASE + vm->opt.mem > 1UL << vm->ipa_bits)
		die(PVM_BAD_ARG, "--mem is more than this host can address for a guest (%d bits)",
		    vm->ipa_bits);
}

static void add_memslot(struct vm *vm, unsigned int slot, u64 gpa, u64 size, void *host)
{
	struct kvm_userspace_memory_region region = {
		.slot = slot,
		.guest_phys_addr = gpa,
		.memory_size = size,
		.userspace_addr = (uintptr_t)host,
	};

	if (ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION, &region))
		die(errno == ENOMEM ? PVM_NO_MEMORY : PVM_REFUSED,
		    "KVM refuses the guest memory at %#lx: %s",
		    gpa, strerror(errno));
}

void kvm_create(struct vm *vm)
{
	unsigned long type = KVM_VM_TYPE_ARM_IPA_SIZE(vm->ipa_bits);

	if (vm->opt.protected_vm)
		type |= KVM_VM_TYPE_ARM_PROTECTED;

	vm->fd = ioctl(vm->kvm_fd, KVM_CREATE_VM, type);
	if (vm->fd < 0 && vm->opt.protected_vm && errno == EINVAL)
		die(PVM_REFUSED,
		    "this host has no protected guests: boot a kernel that has them with kvm-arm.mode=protected");
	if (vm->fd < 0)
		die(errno == ENOMEM ? PVM_NO_MEMORY : PVM_REFUSED,
		    "KVM cannot create a VM: %s", strerror(errno));

	pvm_dbg("VM type %#lx; steal time %d, SVE %d, MTE %d, PMU %d, read-only memory %d", type,
		check_ext(vm->fd, KVM_CAP_STEAL_TIME), check_ext(vm->fd, KVM_CAP_ARM_SVE),
		check_ext(vm->fd, KVM_CAP_ARM_MTE), check_ext(vm->fd, KVM_CAP_ARM_PMU_V3),
		check_ext(vm->fd, KVM_CAP_READONLY_MEM));
	add_memslot(vm, 0, vm->ram.gpa, vm->ram.size, vm->ram.host);
}

static int set_attr(int fd, u32 group, u64 attr, void *data)
{
	struct kvm_device_attr a = {
		.group = group,
		.attr = attr,
		.addr = (uintptr_t)data,
	};

	return ioctl(fd, KVM_SET_DEVICE_ATTR, &a);
}

void kvm_create_gic(struct vm *vm)
{
	u64 redist = GIC_DIST_BASE - GIC_REDIST_SIZE * vm->ncpus;
	struct kvm_create_device dev = { .type = KVM_DEV_TYPE_ARM_VGIC_V3 };
	u64 dist = GIC_DIST_BASE;
	u32 nr_irqs = GIC_NR_IRQS;

	if (ioctl(vm->fd, KVM_CREATE_DEVICE, &dev))
		die(PVM_REFUSED, "this host cannot give a guest a GICv3: %s", strerror(errno));
	vm->gic_fd = dev.fd;

	if (set_attr(vm->gic_fd, KVM_DEV_ARM_VGIC_GRP_ADDR, KVM_VGIC_V3_ADDR_TYPE_REDIST,
		     &redist) ||
	    set_attr(vm->gic_fd, KVM_DEV_ARM_VGIC_GRP_ADDR, KVM_VGIC_V3_ADDR_TYPE_DIST, &dist) ||
	    set_attr(vm->gic_fd, KVM_DEV_ARM_VGIC_GRP_NR_IRQS, 0, &nr_irqs))
		die(PVM_REFUSED, "KVM refuses to set up the guest's GICv3: %s", strerror(errno));
}

static void set_reg(struct vcpu *vcpu, u64 id, u64 val, const char *name)
{
	struct kvm_one_reg reg = { .id = id, .addr = (uintptr_t)&val };

	if (ioctl(vcpu->fd, KVM_SET_ONE_REG, &reg))
		die(PVM_REFUSED, "KVM refuses to set %s of CPU %d: %s", name, vcpu->id,
		    strerror(errno));
}

static u64 get_reg(struct vcpu *vcpu, u64 id, const char *name)
{
	u64 val = 0;
	struct kvm_one_reg reg = { .id = id, .addr = (uintptr_t)&val };

	if (ioctl(vcpu->fd, KVM_GET_ONE_REG, &reg))
		die(PVM_REFUSED, "KVM refuses to tell %s of CPU %d: %s", name, vcpu->id,
		    strerror(errno));
	return val;
}

static bool has_pvtime(struct vcpu *vcpu)
{
	struct kvm_device_attr a = {
		.group = KVM_ARM_VCPU_PVTIME_CTRL,
		.attr = KVM_ARM_VCPU_PVTIME_IPA,
	};

	return !ioctl(vcpu->fd, KVM_HAS_DEVICE_ATTR, &a);
}

static void init_vcpu(struct vm *vm, struct vcpu *vcpu)
{
	struct kvm_vcpu_init init;

	if (ioctl(vm->fd, KVM_ARM_PREFERRED_TARGET, &init))
		die(PVM_REFUSED, "KVM knows no CPU type for this host: %s", strerror(errno));

	init.features[0] |= 1U << KVM_ARM_VCPU_PSCI_0_2;
	if (vm->has_pmu)
		init.features[0] |= 1U << KVM_ARM_VCPU_PMU_V3;
	if (check_ext(vm->fd, KVM_CAP_ARM_PTRAUTH_ADDRESS) &&
	    check_ext(vm->fd, KVM_CAP_ARM_PTRAUTH_GENERIC))
		init.features[0] |= 1U << KVM_ARM_VCPU_PTRAUTH_ADDRESS |
				    1U << KVM_ARM_VCPU_PTRAUTH_GENERIC;
	if (vcpu->id)
		init.features[0] |= 1U << KVM_ARM_VCPU_POWER_OFF;

	if (ioctl(vcpu->fd, KVM_ARM_VCPU_INIT, &init))
		die(PVM_REFUSED, "KVM refuses to initialise CPU %d (features %#x): %s", vcpu->id,
		    init.features[0], strerror(errno));
}

/* Steal time, as crosvm does it: only when every CPU has it. */
static void create_pvtime(struct vm *vm)
{
	u64 ipa = PVTIME_BASE;
	int i;

	vm->pvtime = mmap(NULL, PVTIME_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			  -1, 0);
	if (vm->pvtime == MAP_FAILED)
		die(PVM_NO_MEMORY, "no memory for the steal time page: %s", strerror(errno));
	add_memslot(vm, 1, PVTIME_BASE, PVTIME_SIZE, vm->pvtime);
	for (i = 0; i < vm->ncpus; i++, ipa += 64) {
		if (set_attr(vm->vcpus[i].fd, KVM_ARM_VCPU_PVTIME_CTRL, KVM_ARM_VCPU_PVTIME_IPA,
			     &ipa))
			die(PVM_REFUSED, "KVM offers steal time for CPU %d, then refuses it: %s", i,
			    strerror(errno));
	}
}

static void create_pmu(struct vm *vm)
{
	int irq = 16 + PPI_PMU;
	int i;

	for (i = 0; i < vm->ncpus; i++) {
		if (set_attr(vm->vcpus[i].fd, KVM_ARM_VCPU_PMU_V3_CTRL, KVM_ARM_VCPU_PMU_V3_IRQ,
			     &irq) ||
		    set_attr(vm->vcpus[i].fd, KVM_ARM_VCPU_PMU_V3_CTRL, KVM_ARM_VCPU_PMU_V3_INIT,
			     NULL)) {
			pvm_dbg("no PMU for the guest: %s", strerror(errno));
			vm->has_pmu = false;
			return;
		}
	}
}

void kvm_create_vcpus(struct vm *vm)
{
	int run_size = ioctl(vm->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	bool pvtime = true;
	int i;

	if (run_size < (int)sizeof(struct kvm_run))
		die(PVM_INTERNAL, "KVM reports a vCPU area of %d bytes", run_size);
	vm->vcpus = calloc(vm->ncpus, sizeof(*vm->vcpus));
	if (!vm->vcpus)
		die(PVM_NO_MEMORY, "out of memory");
	vm->has_pmu = check_ext(vm->fd, KVM_CAP_ARM_PMU_V3);

	for (i = 0; i < vm->ncpus; i++) {
		struct vcpu *vcpu = &vm->vcpus[i];

		vcpu->vm = vm;
		vcpu->id = i;
		vcpu->run_size = run_size;
		vcpu->fd = ioctl(vm->fd, KVM_CREATE_VCPU, (unsigned long)i);
		if (vcpu->fd < 0)
			die(errno == ENOMEM ? PVM_NO_MEMORY : PVM_REFUSED,
			    "KVM cannot create CPU %d: %s", i, strerror(errno));
		vcpu->run = mmap(NULL, run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
		if (vcpu->run == MAP_FAILED)
			die(PVM_INTERNAL, "cannot map CPU %d: %s", i, strerror(errno));
		pvtime = has_pvtime(vcpu) && pvtime;
	}
	for (i = 0; i < vm->ncpus; i++)
		init_vcpu(vm, &vm->vcpus[i]);

	if (set_attr(vm->gic_fd, KVM_DEV_ARM_VGIC_GRP_CTRL, KVM_DEV_ARM_VGIC_CTRL_INIT, NULL))
		die(PVM_REFUSED, "KVM cannot initialise the guest's GICv3: %s", strerror(errno));
	if (pvtime)
		create_pvtime(vm);
	if (vm->has_pmu)
		create_pmu(vm);

	vm->psci_version = get_reg(&vm->vcpus[0], KVM_REG_ARM_PSCI_VERSION, "the PSCI version");
	for (i = 0; i < vm->ncpus; i++)
		vm->vcpus[i].mpidr = get_reg(&vm->vcpus[i], REG_MPIDR, "MPIDR_EL1");
}

/* The boot protocol: the device tree in X0, everything masked, MMU off. */
void kvm_finish(struct vm *vm)
{
	int i;

	for (i = 0; i < vm->ncpus; i++)
		set_reg(&vm->vcpus[i], REG_PSTATE, PSTATE_DAIF_EL1H, "PSTATE");
	set_reg(&vm->vcpus[0], REG_PC, vm->entry, "PC");
	set_reg(&vm->vcpus[0], REG_X0, vm->fdt.gpa, "X0");
}

/*
 * Each of these holds a reference to the VM, the mapped vCPU areas too. When
 * this returns the VM is gone.
 */
void kvm_destroy(struct vm *vm)
{
	int i;

	for (i = 0; i < vm->ncpus; i++) {
		munmap(vm->vcpus[i].run, vm->vcpus[i].run_size);
		close(vm->vcpus[i].fd);
	}
	close(vm->gic_fd);
	close(vm->fd);
}

void kvm_irq_level(struct vm *vm, int spi, bool level)
{
	struct kvm_irq_level irq = {
		.irq = KVM_ARM_IRQ_TYPE_SPI << KVM_ARM_IRQ_TYPE_SHIFT | (spi + 32),
		.level = level,
	};

	if (ioctl(vm->fd, KVM_IRQ_LINE, &irq))
		pvm_dbg("KVM refuses to set interrupt %d: %s", spi + 32, strerror(errno));
}

int kvm_irqfd(struct vm *vm, int spi, int efd)
{
	struct kvm_irqfd irqfd = { .fd = efd, .gsi = spi };

	return ioctl(vm->fd, KVM_IRQFD, &irqfd) ? -errno : 0;
}

int kvm_ioeventfd(struct vm *vm, u64 addr, int len, int efd)
{
	struct kvm_ioeventfd ioev = { .addr = addr, .len = len, .fd = efd };

	return ioctl(vm->fd, KVM_IOEVENTFD, &ioev) ? -errno : 0;
}
