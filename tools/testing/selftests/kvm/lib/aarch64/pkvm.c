// SPDX-License-Identifier: GPL-2.0-only
/*
 * The VMM and the guest behind pkvm.h. The host side uses the KVM UAPI only and
 * knows no test; the guest side runs from a copy of this program, so it may use
 * any function and constant of it, but no libc and no thread-local data.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stddef.h>
#include <unistd.h>
#include <elf.h>
#include <sys/auxv.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <linux/build_bug.h>
#include <linux/compiler.h>
#include <linux/kernel.h>
#include <linux/sizes.h>

#include "kvm_util.h"
#include "processor.h"
#include "held.h"
#include "pkvm.h"

#define IMAGE_SLOT	0
#define MEM_SLOT	1
#define HUGE_SIZE	SZ_2M
#define IMAGE_END	SZ_1G	/* devices begin here */
#define MAX_FDS		4	/* in one message */

static_assert(offsetof(struct pkvm_guest_cpu, canary) == PKVM_CPU_CANARY);
static_assert(sizeof(struct pkvm_guest_cpu) == PKVM_CPU_SIZE);
static_assert(offsetof(struct pkvm_canaries, q) == PKVM_CANARY_Q);
static_assert(sizeof(struct pkvm_canaries) == PKVM_CANARY_SIZE);

struct pkvm_guest_cpu pkvm_guest_cpus[PKVM_MAX_VCPUS];
struct pkvm_canaries pkvm_canaries;

/* ------------------------------------------------------------ guest side */

struct pkvm_guest_cpu *guest_cpu(void)
{
	return (struct pkvm_guest_cpu *)read_sysreg(tpidr_el1);
}

/* Plain forms only: nobody can emulate a device access with writeback. */
uint64_t guest_mmio_load(uint64_t addr)
{
	uint64_t val;

	asm volatile("ldr %0, [%1]" : "=r" (val) : "r" (addr) : "memory");
	return val;
}

void guest_mmio_store(uint64_t addr, uint64_t val)
{
	asm volatile("str %0, [%1]" :: "r" (val), "r" (addr) : "memory");
}

void guest_out(int index, uint64_t val)
{
	guest_mmio_store(PKVM_CTL_IPA + PKVM_CTL_OUT + 8 * index, val);
}

/* No vector registers here: the interrupted code may watch its own. */
__attribute__((target("general-regs-only")))
void pkvm_guest_exception(struct pkvm_guest_regs *regs, uint64_t vector)
{
	struct pkvm_guest_cpu *cpu = guest_cpu();
	uint64_t esr = read_sysreg(esr_el1);
	uint64_t far = read_sysreg(far_el1);

	if (cpu->catching) {
		cpu->caught++;
		cpu->vector = vector;
		cpu->esr = esr;
		cpu->pc = regs->pc;
		cpu->far = far;
		if (((esr >> ESR_EC_SHIFT) & ESR_EC_MASK) == ESR_EC_IABT)
			regs->pc = regs->regs[30];
		else
			regs->pc += 4;
		return;
	}

	guest_out(0, vector);
	guest_out(1, esr);
	guest_out(2, regs->pc);
	guest_out(3, far);
	for (;;)
		guest_mmio_store(PKVM_CTL_IPA + PKVM_CTL_PANIC, esr);
}

void pkvm_guest_main(struct pkvm_guest_cpu *cpu)
{
	uint64_t (*fn)(uint64_t a0, uint64_t a1, uint64_t a2, uint64_t a3,
		       uint64_t a4, uint64_t a5);
	uint64_t args[PKVM_NR_ARGS];
	int i;

	for (;;) {
		fn = (void *)guest_mmio_load(PKVM_CTL_IPA + PKVM_CTL_FN);
		for (i = 0; i < PKVM_NR_ARGS; i++)
			args[i] = guest_mmio_load(PKVM_CTL_IPA + PKVM_CTL_ARG +
						  8 * i);
		guest_mmio_store(PKVM_CTL_IPA + PKVM_CTL_RET,
				 fn(args[0], args[1], args[2], args[3], args[4],
				    args[5]));
	}
}

uint64_t guest_nop(void)
{
	return 0;
}

extern char __executable_start[], _end[];

uint64_t guest_touch_image(void)
{
	uint64_t p;

	for (p = (uint64_t)__executable_start & ~0xffful; p < (uint64_t)_end; p += 0x1000)
		READ_ONCE(*(uint64_t *)p);
	return 0;
}

uint64_t guest_load(uint64_t addr)
{
	return READ_ONCE(*(uint64_t *)addr);
}

uint64_t guest_store(uint64_t addr, uint64_t val)
{
	WRITE_ONCE(*(uint64_t *)addr, val);
	return 0;
}

uint64_t guest_fill(uint64_t addr, uint64_t size, uint64_t seed)
{
	uint64_t i;

	for (i = 0; i < size / 8; i++)
		WRITE_ONCE(((uint64_t *)addr)[i], pkvm_pattern(seed, i));
	return 0;
}

uint64_t guest_verify(uint64_t addr, uint64_t size, uint64_t seed)
{
	uint64_t i, bad = 0;

	for (i = 0; i < size / 8; i++)
		bad += READ_ONCE(((uint64_t *)addr)[i]) != pkvm_pattern(seed, i);
	return bad;
}

uint64_t guest_churn(uint64_t addr, uint64_t size, uint64_t seed, uint64_t stop)
{
	uint64_t bad = 0;

	do {
		guest_fill(addr, size, ++seed);
		bad += guest_verify(addr, size, seed);
	} while (!READ_ONCE(*(uint64_t *)stop));
	guest_out(0, seed);
	return bad;
}

uint64_t guest_count_nonzero(uint64_t addr, uint64_t size)
{
	uint64_t i, bad = 0;

	for (i = 0; i < size / 8; i++)
		bad += READ_ONCE(((uint64_t *)addr)[i]) != 0;
	return bad;
}

/*
 * In full 64 bits: smccc_hvc() of processor.c has a 32-bit function, and these
 * are also used to ask for what no well-behaved guest would.
 */
#define GUEST_CONDUIT(insn, report, fn, a1, a2, a3)			\
({									\
	register uint64_t _x0 asm("x0") = fn;				\
	register uint64_t _x1 asm("x1") = a1;				\
	register uint64_t _x2 asm("x2") = a2;				\
	register uint64_t _x3 asm("x3") = a3;				\
									\
	asm volatile(insn " #0"						\
		     : "+r" (_x0), "+r" (_x1), "+r" (_x2), "+r" (_x3)	\
		     :: "memory", "x4", "x5", "x6", "x7", "x8", "x9",	\
			"x10", "x11", "x12", "x13", "x14", "x15",	\
			"x16", "x17");					\
	if (report)							\
		guest_conduit_results(_x0, _x1, _x2, _x3);		\
	_x0;								\
})

static void guest_conduit_results(uint64_t x0, uint64_t x1, uint64_t x2,
				  uint64_t x3)
{
	guest_out(0, x0);
	guest_out(1, x1);
	guest_out(2, x2);
	guest_out(3, x3);
}

uint64_t guest_hvc_quiet(uint64_t fn, uint64_t a1, uint64_t a2, uint64_t a3)
{
	return GUEST_CONDUIT("hvc", false, fn, a1, a2, a3);
}

uint64_t guest_hvc(uint64_t fn, uint64_t a1, uint64_t a2, uint64_t a3)
{
	return GUEST_CONDUIT("hvc", true, fn, a1, a2, a3);
}

uint64_t guest_smc(uint64_t fn, uint64_t a1, uint64_t a2, uint64_t a3)
{
	return GUEST_CONDUIT("smc", true, fn, a1, a2, a3);
}

static void guest_catch(void)
{
	struct pkvm_guest_cpu *cpu = guest_cpu();

	cpu->caught = 0;
	WRITE_ONCE(cpu->catching, 1);
	barrier();
}

uint64_t guest_report_caught(void)
{
	struct pkvm_guest_cpu *cpu = guest_cpu();

	barrier();
	WRITE_ONCE(cpu->catching, 0);
	guest_out(0, READ_ONCE(cpu->vector));
	guest_out(1, READ_ONCE(cpu->esr));
	guest_out(2, READ_ONCE(cpu->pc));
	guest_out(3, READ_ONCE(cpu->far));
	return READ_ONCE(cpu->caught);
}

uint64_t guest_try_load(uint64_t addr)
{
	uint64_t val;

	guest_catch();
	val = guest_mmio_load(addr);
	guest_out(4, val);
	return guest_report_caught();
}

uint64_t guest_try_store(uint64_t addr, uint64_t val)
{
	guest_catch();
	guest_mmio_store(addr, val);
	return guest_report_caught();
}

uint64_t guest_try_exec(uint64_t addr)
{
	void (*fn)(void) = (void *)addr;

	guest_catch();
	fn();
	return guest_report_caught();
}

uint64_t guest_make_canaries(uint64_t seed)
{
	int i;

	for (i = 0; i < PKVM_NR_X; i++)
		WRITE_ONCE(pkvm_canaries.x[i], pkvm_pattern(seed, i));
	for (i = 0; i < 2 * PKVM_NR_Q; i++)
		WRITE_ONCE(pkvm_canaries.q[i],
			   pkvm_pattern(seed, PKVM_NR_X + 1 + i));
	return 0;
}

/* Called by the guest's assembly with what the registers are now. */
uint64_t guest_check_canaries(struct pkvm_canaries *seen, uint64_t may_change,
			      uint64_t x0)
{
	uint64_t bad = 0;
	int i;

	for (i = 1; i < PKVM_NR_X; i++)
		if (seen->x[i] != pkvm_canaries.x[i])
			bad |= BIT(i);
	if (seen->x[0] != x0)
		bad |= BIT(0);
	bad &= ~may_change;
	for (i = 0; i < 2 * PKVM_NR_Q; i++)
		if (seen->q[i] != pkvm_canaries.q[i])
			bad |= BIT(32 + i / 2);
	guest_out(7, seen->x[7]);
	return bad;
}

/* ------------------------------------------------------------- the system */

long pkvm_env(const char *name, long value)
{
	const char *s = getenv(name);

	return s && *s ? strtol(s, NULL, 0) : value;
}

uint64_t pkvm_seed(void)
{
	static uint64_t seed;

	if (!seed) {
		seed = pkvm_env("PKVM_SEED", 0);
		if (!seed)
			seed = (time(NULL) ^ getpid()) & 0xffffffff;
		printf("# seed: PKVM_SEED=%lu\n", seed);
	}
	return seed;
}

/* Run every guest unprotected, which shows what the tests can detect. */
bool pkvm_forced_ordinary(void)
{
	return pkvm_env("PKVM_ORDINARY", 0);
}

bool pkvm_protected_mode(void)
{
	char line[4096] = " ";
	ssize_t len;
	int fd;

	fd = open("/proc/cmdline", O_RDONLY);
	if (fd < 0)
		return false;
	len = read(fd, line + 1, sizeof(line) - 2);
	close(fd);
	if (len <= 0)
		return false;
	return strstr(line, " kvm-arm.mode=protected");
}

unsigned int pkvm_max_ipa_bits(void)
{
	return kvm_check_cap(KVM_CAP_ARM_VM_IPA_SIZE);
}

/* A VM of this type, or a negative errno. */
int pkvm_create_fd(uint64_t type)
{
	int kvm = open_kvm_dev_path_or_exit();
	int fd = ioctl(kvm, KVM_CREATE_VM, type);
	int err = errno;

	close(kvm);
	return fd < 0 ? -err : fd;
}

/*
 * Why the tests cannot run here, or NULL. A host that was told to be in
 * protected mode and has no protected VMs is a failure, which shows when a test
 * creates one, and not a reason to skip.
 */
const char *pkvm_unavailable(void)
{
	int fd;

	if (pkvm_forced_ordinary() || pkvm_protected_mode())
		return NULL;
	fd = pkvm_create_fd(KVM_VM_TYPE_ARM_PROTECTED | pkvm_max_ipa_bits());
	if (fd < 0)
		return "KVM is not in protected mode";
	close(fd);
	return NULL;
}

/* What a file says under a name, or -1. */
long pkvm_proc_value(const char *path, const char *key)
{
	size_t len = strlen(key);
	char line[256];
	long val = -1;
	FILE *f;

	f = fopen(path, "r");
	TEST_ASSERT(f, "cannot open %s", path);
	while (fgets(line, sizeof(line), f)) {
		if (!strncmp(line, key, len) &&
		    (line[len] == ':' || line[len] == ' ')) {
			val = strtol(line + len + 1, NULL, 10);
			break;
		}
	}
	fclose(f);
	return val;
}

long pkvm_vmlck_kb(void)
{
	return pkvm_proc_value("/proc/self/status", "VmLck");
}

/*
 * MemFree, and the free pages that each CPU keeps for itself: tens of MiB for each
 * node, more and more as pages come and go, and for good.
 */
long pkvm_free_kb(void)
{
	FILE *f = fopen("/proc/zoneinfo", "r");
	long val, pages = 0;
	char line[256];

	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, " count: %ld", &val) == 1)
			pages += val;
	}
	if (f)
		fclose(f);
	return pkvm_proc_value("/proc/meminfo", "MemFree") + pages * (getpagesize() / 1024);
}

/* TAINT_BAD_PAGE: references or mappings of a page that do not add up. */
static bool bad_page_seen(void)
{
	long taint = read_number("/proc/sys/kernel/tainted");

	return taint > 0 && (taint & BIT(5));
}

void pkvm_counters_read(struct pkvm_counters *c)
{
	char buf[64];
	int fd;

	/* The counters in vmstat lag behind until they are folded. */
	fd = open("/proc/sys/vm/stat_refresh", O_RDONLY);
	if (fd >= 0) {
		if (read(fd, buf, sizeof(buf)) < 0)
			perror("# stat_refresh");
		close(fd);
	}
	c->vmlck_kb = pkvm_vmlck_kb();
	c->pin_acquired = pkvm_proc_value("/proc/vmstat", "nr_foll_pin_acquired");
	c->pin_released = pkvm_proc_value("/proc/vmstat", "nr_foll_pin_released");
	c->free_kb = pkvm_free_kb();
	c->bad_page = bad_page_seen();
}

/*
 * Are charge, pins and (if slack_kb is not negative) free memory where they
 * were? What another process released by dying may take a moment. No, too, when
 * the kernel has complained of a page since: the counters may be right by chance.
 */
bool pkvm_counters_back(const struct pkvm_counters *before, long slack_kb)
{
	struct pkvm_counters now;
	int tries = 50;

	for (;;) {
		pkvm_counters_read(&now);
		if (now.bad_page != before->bad_page)
			break;
		if (now.vmlck_kb == before->vmlck_kb &&
		    now.pin_acquired - now.pin_released ==
		    before->pin_acquired - before->pin_released &&
		    (slack_kb < 0 ||
		     now.free_kb >= before->free_kb - slack_kb))
			return true;
		if (!--tries)
			break;
		usleep(100000);
	}

	printf("# counters, before and now: VmLck %ld %ld kB, pins %ld %ld, free %ld %ld kB\n",
	       before->vmlck_kb, now.vmlck_kb,
	       before->pin_acquired - before->pin_released,
	       now.pin_acquired - now.pin_released,
	       before->free_kb, now.free_kb);
	if (now.bad_page != before->bad_page)
		printf("# the kernel found a page in a bad state, see its log\n");
	return false;
}

/* ------------------------------------------------------------ host accesses */

static sigjmp_buf fault_jmp;
static struct pkvm_fault fault_seen;

static void fault_handler(int sig, siginfo_t *info, void *ctx)
{
	fault_seen.sig = sig;
	fault_seen.code = info->si_code;
	fault_seen.addr = (uintptr_t)info->si_addr;
	siglongjmp(fault_jmp, 1);
}

static struct pkvm_fault host_access(void (*access)(void *addr, uint64_t *val),
				     void *addr, uint64_t *val)
{
	static const int sigs[] = { SIGSEGV, SIGBUS, SIGILL };
	struct sigaction sa = {
		.sa_sigaction = fault_handler,
		.sa_flags = SA_SIGINFO,
	};
	struct sigaction old[ARRAY_SIZE(sigs)];
	int i;

	for (i = 0; i < ARRAY_SIZE(sigs); i++)
		sigaction(sigs[i], &sa, &old[i]);
	memset(&fault_seen, 0, sizeof(fault_seen));
	if (!sigsetjmp(fault_jmp, 1))
		access(addr, val);
	for (i = 0; i < ARRAY_SIZE(sigs); i++)
		sigaction(sigs[i], &old[i], NULL);
	return fault_seen;
}

static void access_read(void *addr, uint64_t *val)
{
	*val = READ_ONCE(*(uint64_t *)addr);
}

static void access_write(void *addr, uint64_t *val)
{
	WRITE_ONCE(*(uint64_t *)addr, *val);
}

static void access_exec(void *addr, uint64_t *val)
{
	((void (*)(void))addr)();
}

struct pkvm_fault pkvm_host_read(const void *addr, uint64_t *val)
{
	uint64_t unused;

	return host_access(access_read, (void *)addr, val ?: &unused);
}

struct pkvm_fault pkvm_host_write(void *addr, uint64_t val)
{
	return host_access(access_write, addr, &val);
}

struct pkvm_fault pkvm_host_exec(void *addr)
{
	return host_access(access_exec, addr, NULL);
}

struct pkvm_fault pkvm_host_do(void (*access)(void *addr, uint64_t *val), void *addr)
{
	return host_access(access, addr, NULL);
}

bool pkvm_is_segv_at(struct pkvm_fault fault, const void *addr)
{
	if (fault.sig == SIGSEGV && fault.code == SEGV_ACCERR &&
	    fault.addr == (uintptr_t)addr)
		return true;
	printf("# expected SIGSEGV with code %d at %p, got signal %d, code %d, address %#lx\n",
	       SEGV_ACCERR, addr, fault.sig, fault.code, fault.addr);
	return false;
}

/* Words of mem that are not zero; the test dies if one cannot be read. */
size_t pkvm_count_nonzero(const void *mem, size_t size)
{
	const uint64_t *p = mem;
	size_t i, bad = 0;

	for (i = 0; i < size / 8; i++)
		bad += READ_ONCE(p[i]) != 0;
	return bad;
}

/* ------------------------------------------------------------------ the VMM */

static void *map_aligned(size_t size, int flags, int fd)
{
	char *p, *start;

	/* Aligned, so that huge pages can be used on both sides. */
	p = mmap(NULL, size + HUGE_SIZE, PROT_NONE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	TEST_ASSERT(p != MAP_FAILED, "cannot reserve address space");
	start = (char *)(((uintptr_t)p + HUGE_SIZE - 1) & ~(HUGE_SIZE - 1UL));
	if (start > p)
		munmap(p, start - p);
	munmap(start + size, p + HUGE_SIZE - start);
	p = mmap(start, size, PROT_READ | PROT_WRITE, flags | MAP_FIXED, fd, 0);
	TEST_ASSERT(p != MAP_FAILED, "cannot map %zu bytes of guest memory", size);
	return p;
}

static void alloc_mem(struct pkvm_vm *vm, const struct pkvm_opts *opts)
{
	vm->mem_size = opts->mem_size ?: SZ_1M;
	vm->mem_fd = -1;
	vm->own_mem = opts->backing != PKVM_CALLER;

	switch (opts->backing) {
	case PKVM_MEMFD:
		vm->mem_fd = opts->mem_fd;
		if (!vm->mem_fd) {
			vm->own_fd = true;
			vm->mem_fd = memfd_create("guest", MFD_CLOEXEC);
			TEST_ASSERT(vm->mem_fd >= 0, "memfd_create() failed");
			TEST_ASSERT(!ftruncate(vm->mem_fd, vm->mem_size),
				    "ftruncate() failed");
		}
		vm->mem = map_aligned(vm->mem_size, MAP_SHARED, vm->mem_fd);
		break;
	case PKVM_ANON:
		vm->mem = map_aligned(vm->mem_size, MAP_PRIVATE | MAP_ANONYMOUS, -1);
		madvise(vm->mem, vm->mem_size, MADV_NOHUGEPAGE);
		break;
	case PKVM_THP:
		vm->mem = map_aligned(vm->mem_size, MAP_PRIVATE | MAP_ANONYMOUS, -1);
		madvise(vm->mem, vm->mem_size, MADV_HUGEPAGE);
		/* Huge pages come with the first touch of each. */
		memset(vm->mem, 0, vm->mem_size);
		break;
	case PKVM_CALLER:
		vm->mem = opts->mem;
		break;
	}
}

/* Copy every segment of this program to where the guest will find it. */
static void load_image(struct pkvm_vm *vm)
{
	const Elf64_Phdr *ph = (void *)getauxval(AT_PHDR);
	size_t i, nr = getauxval(AT_PHNUM), page = getpagesize();
	uintptr_t start = ~0UL, end = 0;
	int fd;

	for (i = 0; i < nr; i++) {
		if (ph[i].p_type != PT_LOAD)
			continue;
		start = min_t(uintptr_t, start, ph[i].p_vaddr);
		end = max_t(uintptr_t, end, ph[i].p_vaddr + ph[i].p_memsz);
	}
	start &= ~(page - 1);
	end = (end + page - 1) & ~(page - 1);
	TEST_ASSERT(start && end <= IMAGE_END,
		    "this test must be linked below %#x, not position-independent",
		    IMAGE_END);

	vm->image_size = end - start;
	/* Not anonymous: a fork() would have to copy what it cannot read. */
	fd = memfd_create("image", MFD_CLOEXEC);
	TEST_ASSERT(fd >= 0 && !ftruncate(fd, vm->image_size),
		    "cannot make %zu bytes for the guest's image", vm->image_size);
	vm->image = map_aligned(vm->image_size, MAP_SHARED, fd);
	close(fd);
	for (i = 0; i < nr; i++) {
		if (ph[i].p_type == PT_LOAD)
			memcpy(vm->image + (ph[i].p_vaddr - start),
			       (void *)ph[i].p_vaddr, ph[i].p_memsz);
	}
	for (i = 0; i < PKVM_MAX_VCPUS; i++) {
		struct pkvm_guest_cpu *cpu;

		cpu = vm->image + ((uintptr_t)&pkvm_guest_cpus[i] - start);
		memset(cpu, 0, sizeof(*cpu));
		cpu->id = i;
	}
	TEST_ASSERT(!pkvm_set_slot(vm, IMAGE_SLOT, start, vm->image_size,
				   vm->image, 0), "cannot add the image's memslot");
}

int pkvm_set_slot(struct pkvm_vm *vm, uint32_t slot, uint64_t ipa, size_t size,
		  const void *mem, uint32_t flags)
{
	struct kvm_userspace_memory_region region = {
		.slot = slot,
		.flags = flags,
		.guest_phys_addr = ipa,
		.memory_size = size,
		.userspace_addr = (uintptr_t)mem,
	};

	return ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION, &region) ? -errno : 0;
}

static void gic_attr(struct pkvm_vm *vm, uint32_t group, uint64_t attr, uint64_t val)
{
	struct kvm_device_attr a = {
		.group = group,
		.attr = attr,
		.addr = (uintptr_t)&val,
	};

	TEST_ASSERT(!ioctl(vm->gic_fd, KVM_SET_DEVICE_ATTR, &a),
		    "GICv3 attribute %u/%lu failed", group, attr);
}

static void create_gic(struct pkvm_vm *vm)
{
	struct kvm_create_device dev = { .type = KVM_DEV_TYPE_ARM_VGIC_V3 };

	TEST_ASSERT(!ioctl(vm->fd, KVM_CREATE_DEVICE, &dev),
		    "cannot create a GICv3");
	vm->gic_fd = dev.fd;
	gic_attr(vm, KVM_DEV_ARM_VGIC_GRP_ADDR, KVM_VGIC_V3_ADDR_TYPE_DIST,
		 PKVM_GICD_IPA);
	gic_attr(vm, KVM_DEV_ARM_VGIC_GRP_ADDR, KVM_VGIC_V3_ADDR_TYPE_REDIST,
		 PKVM_GICR_IPA);
}

int pkvm_vcpu_init(struct pkvm_vcpu *vcpu, bool power_off)
{
	struct kvm_vcpu_init init;

	TEST_ASSERT(!ioctl(vcpu->vm->fd, KVM_ARM_PREFERRED_TARGET, &init),
		    "no preferred target");
	init.features[0] |= 1 << KVM_ARM_VCPU_PSCI_0_2;
	if (power_off)
		init.features[0] |= 1 << KVM_ARM_VCPU_POWER_OFF;
	if (ioctl(vcpu->vm->fd, KVM_CHECK_EXTENSION, KVM_CAP_ARM_PTRAUTH_ADDRESS) > 0 &&
	    ioctl(vcpu->vm->fd, KVM_CHECK_EXTENSION, KVM_CAP_ARM_PTRAUTH_GENERIC) > 0) {
		init.features[0] |= 1 << KVM_ARM_VCPU_PTRAUTH_ADDRESS;
		init.features[0] |= 1 << KVM_ARM_VCPU_PTRAUTH_GENERIC;
	}
	if (vcpu->vm->sve)
		init.features[0] |= 1 << KVM_ARM_VCPU_SVE;
	if (vcpu->vm->pmu)
		init.features[0] |= 1 << KVM_ARM_VCPU_PMU_V3;
	if (ioctl(vcpu->fd, KVM_ARM_VCPU_INIT, &init))
		return -errno;
	if (vcpu->vm->sve && ioctl(vcpu->fd, KVM_ARM_VCPU_FINALIZE, &(int){ KVM_ARM_VCPU_SVE }) &&
	    errno != EPERM)
		return -errno;
	return 0;
}

static void create_vcpu(struct pkvm_vm *vm, int id, bool init, bool power_off)
{
	struct pkvm_vcpu *vcpu = &vm->vcpus[id];

	vcpu->vm = vm;
	vcpu->id = id;
	vcpu->fd = ioctl(vm->fd, KVM_CREATE_VCPU, id);
	TEST_ASSERT(vcpu->fd >= 0, "cannot create vCPU %d", id);
	vcpu->run_size = ioctl(vm->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, NULL);
	vcpu->run = mmap(NULL, vcpu->run_size, PROT_READ | PROT_WRITE, MAP_SHARED,
			 vcpu->fd, 0);
	TEST_ASSERT(vcpu->run != MAP_FAILED, "cannot map the run page");
	TEST_ASSERT(!init || !pkvm_vcpu_init(vcpu, power_off), "KVM_ARM_VCPU_INIT failed");
}

/*
 * A VM that is ready for its first call: memory, GIC and vCPUs in the order in
 * which real VMMs create them, vCPU 0 at the guest's entry, the others off.
 */
struct pkvm_vm *pkvm_vm_create(const struct pkvm_opts *opts)
{
	static const struct pkvm_opts defaults;
	struct pkvm_vm *vm = calloc(1, sizeof(*vm));
	uint64_t type = pkvm_max_ipa_bits();
	bool gic;
	int i;

	TEST_ASSERT(vm, "out of memory");
	if (!opts)
		opts = &defaults;
	vm->nr_vcpus = opts->nr_vcpus ?: 1;
	TEST_ASSERT(vm->nr_vcpus <= PKVM_MAX_VCPUS, "too many vCPUs");
	vm->ordinary = opts->ordinary || pkvm_forced_ordinary();
	vm->sve = opts->sve;
	vm->pmu = opts->pmu;
	if (!vm->ordinary)
		type |= KVM_VM_TYPE_ARM_PROTECTED;

	vm->kvm_fd = open_kvm_dev_path_or_exit();
	vm->fd = ioctl(vm->kvm_fd, KVM_CREATE_VM, type);
	TEST_ASSERT(vm->fd >= 0, "KVM_CREATE_VM(%#lx) failed", type);

	load_image(vm);
	alloc_mem(vm, opts);
	TEST_ASSERT(!pkvm_set_slot(vm, MEM_SLOT, PKVM_MEM_IPA, vm->mem_size,
				   vm->mem, 0), "cannot add the memory's memslot");
	vm->gic_fd = -1;
	/* In protected mode KVM has none to give where the machine's is not a GICv3. */
	gic = !opts->no_gic &&
	      ioctl(vm->kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_IRQCHIP) > 0;
	if (gic)
		create_gic(vm);
	for (i = 0; i < vm->nr_vcpus; i++)
		create_vcpu(vm, i, !i || !opts->late_init, i && !opts->all_on);
	if (gic)
		gic_attr(vm, KVM_DEV_ARM_VGIC_GRP_CTRL,
			 KVM_DEV_ARM_VGIC_CTRL_INIT, 0);

	TEST_ASSERT(!pkvm_set_reg(pkvm_vcpu0(vm), ARM64_CORE_REG(regs.pstate), 0x3c5),
		    "cannot set PSTATE");
	TEST_ASSERT(!pkvm_set_reg(pkvm_vcpu0(vm), ARM64_CORE_REG(regs.pc),
				  (uintptr_t)pkvm_guest_entry), "cannot set PC");
	TEST_ASSERT(!pkvm_set_reg(pkvm_vcpu0(vm), ARM64_CORE_REG(regs.regs[0]),
				  (uintptr_t)&pkvm_guest_cpus[0]), "cannot set x0");
	return vm;
}

void pkvm_close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* A mapped run page holds the vCPU, and so the VM, as a file does. */
void pkvm_close_vcpu(struct pkvm_vcpu *vcpu)
{
	if (vcpu->run)
		munmap(vcpu->run, vcpu->run_size);
	vcpu->run = NULL;
	pkvm_close_fd(&vcpu->fd);
}

/* The VM is gone when this returns; its memory is still mapped here. */
void pkvm_vm_close(struct pkvm_vm *vm)
{
	int i;

	for (i = 0; i < vm->nr_vcpus; i++)
		pkvm_close_vcpu(&vm->vcpus[i]);
	pkvm_close_fd(&vm->gic_fd);
	pkvm_close_fd(&vm->fd);
	pkvm_close_fd(&vm->kvm_fd);
}

void pkvm_vm_free(struct pkvm_vm *vm)
{
	if (!vm)
		return;
	pkvm_vm_close(vm);
	munmap(vm->image, vm->image_size);
	if (vm->own_mem)
		munmap(vm->mem, vm->mem_size);
	if (vm->own_fd)
		close(vm->mem_fd);
	free(vm);
}

bool pkvm_send_fds(int sock, const int *fds, int nr)
{
	char space[CMSG_SPACE(MAX_FDS * sizeof(*fds))] __aligned(8) = "";
	struct iovec iov = { "f", 1 };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = space, .msg_controllen = CMSG_SPACE(nr * sizeof(*fds)),
	};
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

	TEST_ASSERT(nr <= MAX_FDS, "too many files");
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(nr * sizeof(*fds));
	memcpy(CMSG_DATA(c), fds, nr * sizeof(*fds));
	return sendmsg(sock, &msg, 0) == 1;
}

/* False, too, when the other side is gone, where the kind of socket tells. */
bool pkvm_recv_fds(int sock, int *fds, int nr)
{
	char space[CMSG_SPACE(MAX_FDS * sizeof(*fds))] __aligned(8) = "", byte;
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = space, .msg_controllen = sizeof(space),
	};
	struct cmsghdr *c;

	TEST_ASSERT(nr <= MAX_FDS, "too many files");
	if (recvmsg(sock, &msg, 0) != 1)
		return false;
	c = CMSG_FIRSTHDR(&msg);
	if (!c || c->cmsg_type != SCM_RIGHTS || c->cmsg_len != CMSG_LEN(nr * sizeof(*fds)))
		return false;
	memcpy(fds, CMSG_DATA(c), nr * sizeof(*fds));
	return true;
}

int pkvm_get_reg(struct pkvm_vcpu *vcpu, uint64_t id, uint64_t *val)
{
	struct kvm_one_reg reg = { .id = id, .addr = (uintptr_t)val };

	return ioctl(vcpu->fd, KVM_GET_ONE_REG, &reg) ? -errno : 0;
}

int pkvm_set_reg(struct pkvm_vcpu *vcpu, uint64_t id, uint64_t val)
{
	struct kvm_one_reg reg = { .id = id, .addr = (uintptr_t)&val };

	return ioctl(vcpu->fd, KVM_SET_ONE_REG, &reg) ? -errno : 0;
}

/* One KVM_RUN: 0 or a negative errno. */
int pkvm_run(struct pkvm_vcpu *vcpu)
{
	return ioctl(vcpu->fd, KVM_RUN, NULL) ? -errno : 0;
}

static void answer(struct pkvm_vcpu *vcpu, uint64_t val)
{
	memcpy(vcpu->run->mmio.data, &val, sizeof(val));
}

static void take_call(struct pkvm_vcpu *vcpu)
{
	vcpu->pending = false;
	vcpu->idle = false;
	answer(vcpu, vcpu->fn);
}

/* Go on after a stop: an enum pkvm_stop or a negative errno. */
int pkvm_resume(struct pkvm_vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	uint64_t val;
	size_t reg;
	int ret;

	for (;;) {
		ret = pkvm_run(vcpu);
		if (ret)
			return ret;
		if (run->exit_reason != KVM_EXIT_MMIO || run->mmio.len != 8 ||
		    run->mmio.phys_addr < PKVM_CTL_IPA ||
		    run->mmio.phys_addr >= PKVM_CTL_IPA + 0x1000)
			return PKVM_EXIT;

		reg = run->mmio.phys_addr - PKVM_CTL_IPA;
		memcpy(&val, run->mmio.data, sizeof(val));
		if (!run->mmio.is_write) {
			if (reg == PKVM_CTL_FN && !vcpu->pending) {
				vcpu->idle = true;
				return PKVM_IDLE;
			}
			if (reg == PKVM_CTL_FN)
				take_call(vcpu);
			else if (reg >= PKVM_CTL_ARG && reg < PKVM_CTL_RET)
				answer(vcpu, vcpu->args[(reg - PKVM_CTL_ARG) / 8]);
			else
				return PKVM_EXIT;
			continue;
		}
		if (reg == PKVM_CTL_RET) {
			vcpu->ret = val;
			return PKVM_RETURNED;
		}
		if (reg == PKVM_CTL_PANIC)
			return PKVM_PANIC;
		if (reg < PKVM_CTL_OUT || reg >= PKVM_CTL_OUT + 8 * PKVM_NR_OUT)
			return PKVM_EXIT;
		vcpu->out[(reg - PKVM_CTL_OUT) / 8] = val;
	}
}

int __pkvm_call(struct pkvm_vcpu *vcpu, uint64_t fn, const uint64_t *args)
{
	memcpy(vcpu->args, args, sizeof(vcpu->args));
	vcpu->fn = fn;
	vcpu->pending = true;
	if (vcpu->idle)
		take_call(vcpu);
	return pkvm_resume(vcpu);
}

uint64_t __pkvm_must(struct pkvm_vcpu *vcpu, uint64_t fn, const uint64_t *args,
		     const char *what, const char *file, int line)
{
	int stop = __pkvm_call(vcpu, fn, args);

	/* Work for the task came between, io_uring's say: nobody's fault. */
	while (stop == -EINTR)
		stop = pkvm_resume(vcpu);
	if (stop == PKVM_RETURNED)
		return vcpu->ret;
	if (stop == PKVM_PANIC)
		printf("# %s:%d: %s(): guest exception %lu, ESR %#lx, PC %#lx, FAR %#lx\n",
		       file, line, what, vcpu->out[0], vcpu->out[1], vcpu->out[2],
		       vcpu->out[3]);
	else if (stop < 0)
		printf("# %s:%d: %s(): KVM_RUN failed: %s (exit reason %u)\n", file,
		       line, what, strerror(-stop), vcpu->run->exit_reason);
	else if (vcpu->run->exit_reason == KVM_EXIT_MMIO)
		printf("# %s:%d: %s(): unexpected MMIO %s of %u bytes at %#llx\n",
		       file, line, what,
		       vcpu->run->mmio.is_write ? "store" : "load",
		       vcpu->run->mmio.len, vcpu->run->mmio.phys_addr);
	else
		printf("# %s:%d: %s(): unexpected exit %u\n", file, line, what,
		       vcpu->run->exit_reason);
	/* The caller's context decides what a failure is: see test_assert(). */
	errno = 0;
	TEST_FAIL("the guest did not do what %s:%d wants of it", file, line);
	return 0;
}

/* ------------------------------------------------------------------ threads */

static void kick_handler(int sig)
{
}

static void *thread_main(void *data)
{
	struct pkvm_thread *t = data;

	if (t->fn)
		t->stop = __pkvm_call(t->vcpu, t->fn, t->args);
	else
		t->stop = pkvm_resume(t->vcpu);
	WRITE_ONCE(t->done, true);
	return NULL;
}

void __pkvm_thread_start(struct pkvm_thread *t, struct pkvm_vcpu *vcpu,
			 uint64_t fn, const uint64_t *args)
{
	struct sigaction sa = { .sa_handler = kick_handler };

	sigaction(SIGUSR1, &sa, NULL);
	memset(t, 0, sizeof(*t));
	t->vcpu = vcpu;
	t->fn = fn;
	if (args)
		memcpy(t->args, args, sizeof(t->args));
	TEST_ASSERT(!pthread_create(&t->tid, NULL, thread_main, t),
		    "cannot create a thread");
}

int pkvm_thread_join(struct pkvm_thread *t)
{
	pthread_join(t->tid, NULL);
	return t->stop;
}

/* Make the call end with -EINTR, if nothing else ended it before. */
int pkvm_thread_stop(struct pkvm_thread *t)
{
	t->vcpu->run->immediate_exit = 1;
	while (!READ_ONCE(t->done)) {
		pthread_kill(t->tid, SIGUSR1);
		usleep(1000);
	}
	pthread_join(t->tid, NULL);
	t->vcpu->run->immediate_exit = 0;
	return t->stop;
}

int __pkvm_call_timeout(struct pkvm_vcpu *vcpu, int ms, uint64_t fn,
			const uint64_t *args)
{
	struct pkvm_thread t;

	__pkvm_thread_start(&t, vcpu, fn, args);
	while (!READ_ONCE(t.done) && ms-- > 0)
		usleep(1000);
	return pkvm_thread_stop(&t);
}

int pkvm_resume_timeout(struct pkvm_vcpu *vcpu, int ms)
{
	return __pkvm_call_timeout(vcpu, ms, 0, NULL);
}
