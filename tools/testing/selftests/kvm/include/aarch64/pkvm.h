/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A very small VMM for tests of protected guests, and the guest that it runs.
 *
 * A protected guest starts with the MMU off and with registers that nobody but
 * EL2 has set, so the VM library of the other tests cannot start one. Here the
 * test's own program image is copied into guest memory at the addresses it was
 * linked for; the guest enables an identity map and then serves calls: the host
 * names any function of the program and its arguments, the guest runs it and
 * returns the result, all by MMIO. Nothing of the guest's memory is ever shared
 * unless a test asks for it.
 *
 * This owns no test. It uses the KVM UAPI only.
 */
#ifndef SELFTEST_KVM_PKVM_H
#define SELFTEST_KVM_PKVM_H

#include <linux/const.h>

/* Guest physical addresses, all within the 39 bits of the identity map. */
#define PKVM_CTL_IPA		UL(0x40000000)	/* the call interface */
#define PKVM_DEV_IPA		UL(0x40100000)	/* device for the tests' use */
#define PKVM_GICD_IPA		UL(0x48000000)
#define PKVM_GICR_IPA		UL(0x480a0000)
#define PKVM_MEM_IPA		UL(0x80000000)	/* the tests' memory */
#define PKVM_MEM2_IPA		UL(0xa0000000)	/* a second slot, if a test wants it */
#define PKVM_HOLE_IPA		UL(0xc0000000)	/* mapped as memory, but none there */

/* Registers of the call interface. */
#define PKVM_CTL_FN		0x00	/* load: function to call */
#define PKVM_CTL_ARG		0x08	/* load: arguments, 6 times 8 bytes */
#define PKVM_CTL_RET		0x40	/* store: result, ends the call */
#define PKVM_CTL_PANIC		0x48	/* store: unexpected exception's ESR */
#define PKVM_CTL_OUT		0x80	/* store: further results, 8 times 8 bytes */

#define PKVM_NR_ARGS		6
#define PKVM_NR_OUT		8
#define PKVM_MAX_VCPUS		4
#define PKVM_STACK_SIZE		0x4000

/* Offsets that the guest's assembly needs; checked in pkvm.c. */
#define PKVM_CPU_CANARY		0x40
#define PKVM_CPU_SIZE		(0x400 + PKVM_STACK_SIZE)

/* struct pkvm_canaries, also the frame that the guest dumps registers into. */
#define PKVM_NR_X		31
#define PKVM_NR_Q		32
#define PKVM_CANARY_Q		(8 * (PKVM_NR_X + 1))
#define PKVM_CANARY_SIZE	(PKVM_CANARY_Q + 16 * PKVM_NR_Q)

#define PKVM_STUB_SIZE		8

#define PKVM_HVC(n)		(UL(0xc6000000) + (n))
#define PKVM_HVC_FEATURES	UL(0x86000000)
#define PKVM_HVC_UID		UL(0x8600ff01)
#define PKVM_HVC_MEMINFO	PKVM_HVC(2)
#define PKVM_HVC_SHARE		PKVM_HVC(3)
#define PKVM_HVC_UNSHARE	PKVM_HVC(4)
#define PKVM_HVC_GUARD_INFO	PKVM_HVC(5)
#define PKVM_HVC_GUARD_ENROLL	PKVM_HVC(6)
#define PKVM_HVC_GUARD_MAP	PKVM_HVC(7)
#define PKVM_HVC_GUARD_UNMAP	PKVM_HVC(8)

#define PKVM_SMCCC_OK			0L
#define PKVM_SMCCC_NOT_SUPPORTED	(-1L)
#define PKVM_SMCCC_INVALID_PARAMETER	(-3L)

#ifndef __ASSEMBLY__

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#include <linux/compiler.h>
#include <linux/kvm.h>

/* ------------------------------------------------------------ host side */

enum pkvm_backing {
	PKVM_MEMFD,		/* a memfd, MAP_SHARED: what real VMMs use */
	PKVM_ANON,		/* anonymous, 4K pages */
	PKVM_THP,		/* anonymous, huge pages where possible */
	PKVM_CALLER,		/* opts->mem, whatever it may be */
};

/* What pkvm_call() and pkvm_resume() return besides a negative errno. */
enum pkvm_stop {
	PKVM_RETURNED,		/* the function returned; see vcpu->ret */
	PKVM_EXIT,		/* an exit that is the test's; see vcpu->run */
	PKVM_PANIC,		/* exception in the guest; see vcpu->out */
	PKVM_IDLE,		/* the guest waits for a call */
};

struct pkvm_vm;

struct pkvm_vcpu {
	struct pkvm_vm *vm;
	int fd;
	int id;
	struct kvm_run *run;
	size_t run_size;
	bool pending;			/* a call that the guest has not taken */
	bool idle;			/* the guest's load of FN is unanswered */
	uint64_t fn;
	uint64_t args[PKVM_NR_ARGS];
	uint64_t ret;
	uint64_t out[PKVM_NR_OUT];
};

struct pkvm_opts {
	bool ordinary;			/* an ordinary VM with the same guest */
	int nr_vcpus;			/* 0 means 1 */
	bool all_on;			/* do not power off the secondary vCPUs */
	bool no_gic;
	bool sve;			/* give the vCPUs of an ordinary VM SVE */
	bool pmu;			/* and counters; not set up yet */
	bool late_init;			/* pkvm_vcpu_init() only for vCPU 0 */
	size_t mem_size;		/* at PKVM_MEM_IPA; 0 means 1 MiB */
	enum pkvm_backing backing;
	void *mem;			/* for PKVM_CALLER; never unmapped here */
	int mem_fd;			/* for PKVM_MEMFD: use this one if not 0 */
};

struct pkvm_vm {
	int kvm_fd;
	int fd;
	int gic_fd;
	int nr_vcpus;
	bool ordinary;
	bool sve;
	bool pmu;
	struct pkvm_vcpu vcpus[PKVM_MAX_VCPUS];
	void *image;
	size_t image_size;
	char *mem;
	size_t mem_size;
	int mem_fd;			/* -1 unless PKVM_MEMFD */
	bool own_fd;
	bool own_mem;
};

/* A call that runs in a thread of its own. */
struct pkvm_thread {
	pthread_t tid;
	struct pkvm_vcpu *vcpu;
	uint64_t fn;			/* 0: go on with the call before */
	uint64_t args[PKVM_NR_ARGS];
	int stop;			/* what the call returned */
	bool done;
};

/* How a host access ended; sig is 0 if it succeeded. */
struct pkvm_fault {
	int sig;
	int code;
	uintptr_t addr;
};

struct pkvm_counters {
	long vmlck_kb;
	long pin_acquired;
	long pin_released;
	long free_kb;
	bool bad_page;		/* the kernel found a page that is not as it must be */
};

bool pkvm_protected_mode(void);
bool pkvm_forced_ordinary(void);
const char *pkvm_unavailable(void);
unsigned int pkvm_max_ipa_bits(void);
int pkvm_create_fd(uint64_t type);

struct pkvm_vm *pkvm_vm_create(const struct pkvm_opts *opts);
int pkvm_set_slot(struct pkvm_vm *vm, uint32_t slot, uint64_t ipa, size_t size,
		  const void *mem, uint32_t flags);
void pkvm_vm_close(struct pkvm_vm *vm);
void pkvm_vm_free(struct pkvm_vm *vm);
void pkvm_close_vcpu(struct pkvm_vcpu *vcpu);
void pkvm_close_fd(int *fd);
int pkvm_vcpu_init(struct pkvm_vcpu *vcpu, bool power_off);
/* From one process to another by a socket, so that a VM can outlive its VMM. */
bool pkvm_send_fds(int sock, const int *fds, int nr);
bool pkvm_recv_fds(int sock, int *fds, int nr);

int pkvm_get_reg(struct pkvm_vcpu *vcpu, uint64_t id, uint64_t *val);
int pkvm_set_reg(struct pkvm_vcpu *vcpu, uint64_t id, uint64_t val);

int pkvm_run(struct pkvm_vcpu *vcpu);
int pkvm_resume(struct pkvm_vcpu *vcpu);
int __pkvm_call(struct pkvm_vcpu *vcpu, uint64_t fn, const uint64_t *args);
uint64_t __pkvm_must(struct pkvm_vcpu *vcpu, uint64_t fn, const uint64_t *args,
		     const char *what, const char *file, int line);

/* The leading element lets a call have no arguments. */
#define pkvm_args(...) \
	(((uint64_t[PKVM_NR_ARGS + 1]) { 0, ##__VA_ARGS__ }) + 1)

/* Run fn in the guest; returns as soon as a stop that is not ours occurs. */
#define pkvm_call(vcpu, fn, ...) \
	__pkvm_call(vcpu, (uint64_t)(fn), pkvm_args(__VA_ARGS__))

/* Run fn in the guest to its end, or fail the test; returns the result. */
#define pkvm_must(vcpu, fn, ...) \
	__pkvm_must(vcpu, (uint64_t)(fn), pkvm_args(__VA_ARGS__), #fn, \
		    __FILE__, __LINE__)

#define pkvm_thread_start(t, vcpu, fn, ...) \
	__pkvm_thread_start(t, vcpu, (uint64_t)(fn), pkvm_args(__VA_ARGS__))
void __pkvm_thread_start(struct pkvm_thread *t, struct pkvm_vcpu *vcpu,
			 uint64_t fn, const uint64_t *args);
int pkvm_thread_join(struct pkvm_thread *t);
int pkvm_thread_stop(struct pkvm_thread *t);

/* For what may never end: as pkvm_call() and pkvm_resume(), or -EINTR. */
#define pkvm_call_timeout(vcpu, ms, fn, ...) \
	__pkvm_call_timeout(vcpu, ms, (uint64_t)(fn), pkvm_args(__VA_ARGS__))
int __pkvm_call_timeout(struct pkvm_vcpu *vcpu, int ms, uint64_t fn,
			const uint64_t *args);
int pkvm_resume_timeout(struct pkvm_vcpu *vcpu, int ms);

struct pkvm_fault pkvm_host_read(const void *addr, uint64_t *val);
struct pkvm_fault pkvm_host_write(void *addr, uint64_t val);
struct pkvm_fault pkvm_host_exec(void *addr);
struct pkvm_fault pkvm_host_do(void (*access)(void *addr, uint64_t *val), void *addr);
bool pkvm_is_segv_at(struct pkvm_fault fault, const void *addr);
size_t pkvm_count_nonzero(const void *mem, size_t size);

void pkvm_counters_read(struct pkvm_counters *c);
bool pkvm_counters_back(const struct pkvm_counters *before, long slack_kb);
long pkvm_proc_value(const char *path, const char *key);
long pkvm_vmlck_kb(void);
long pkvm_free_kb(void);
uint64_t pkvm_seed(void);
long pkvm_env(const char *name, long value);

static inline struct pkvm_vcpu *pkvm_vcpu0(struct pkvm_vm *vm)
{
	return &vm->vcpus[0];
}

/* -------------------------------------------------------- both sides */

/* Well mixed, so that no value is found in memory by accident. */
static inline uint64_t pkvm_pattern(uint64_t seed, uint64_t index)
{
	uint64_t x = seed + (index + 1) * 0x9e3779b97f4a7c15UL;

	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9UL;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebUL;
	return x ^ (x >> 31);
}

/* ----------------------------------------------------------- guest side */

/* One per vCPU in the image; x0 points to it when the vCPU starts. */
struct pkvm_guest_cpu {
	uint64_t id;
	/* While set, an exception is recorded below and its insn is skipped. */
	uint64_t catching;
	uint64_t caught;
	uint64_t vector;
	uint64_t esr;
	uint64_t pc;
	uint64_t far;
	uint64_t pad;
	/* Registers as found by code that was asked to look at them. */
	uint64_t canary[96];
	uint8_t unused[0x400 - 0x40 - 96 * 8];
	uint8_t stack[PKVM_STACK_SIZE];
} __aligned(64);

extern struct pkvm_guest_cpu pkvm_guest_cpus[PKVM_MAX_VCPUS];

void pkvm_guest_entry(void);
void pkvm_guest_dump_entry(void);

/* Called by the guest's assembly. */
struct pkvm_guest_regs {
	uint64_t regs[31];
	uint64_t pc;
	uint64_t pstate;
};

void pkvm_guest_main(struct pkvm_guest_cpu *cpu);
void pkvm_guest_exception(struct pkvm_guest_regs *regs, uint64_t vector);

struct pkvm_guest_cpu *guest_cpu(void);
void guest_out(int index, uint64_t val);
/* Without a word to the host; guest_hvc() and guest_smc() report the results. */
uint64_t guest_hvc_quiet(uint64_t fn, uint64_t a1, uint64_t a2, uint64_t a3);
uint64_t guest_mmio_load(uint64_t addr);
void guest_mmio_store(uint64_t addr, uint64_t val);

/* What the host can ask for by pkvm_call(). */
uint64_t guest_nop(void);
/* So that later no access to the guest's own image is the first to a page. */
uint64_t guest_touch_image(void);
uint64_t guest_load(uint64_t addr);
uint64_t guest_store(uint64_t addr, uint64_t val);
uint64_t guest_fill(uint64_t addr, uint64_t size, uint64_t seed);
uint64_t guest_verify(uint64_t addr, uint64_t size, uint64_t seed);
/* Both, until the host writes to stop: the number of bad words; the last seed is out. */
uint64_t guest_churn(uint64_t addr, uint64_t size, uint64_t seed, uint64_t stop);
uint64_t guest_count_nonzero(uint64_t addr, uint64_t size);
/* x0 is returned, x1 to x3 are out[1] to out[3]. */
uint64_t guest_hvc(uint64_t fn, uint64_t a1, uint64_t a2, uint64_t a3);
uint64_t guest_smc(uint64_t fn, uint64_t a1, uint64_t a2, uint64_t a3);
/* Return the number of exceptions; out[0..3] are vector, ESR, PC and FAR. */
uint64_t guest_try_load(uint64_t addr);
uint64_t guest_try_store(uint64_t addr, uint64_t val);
uint64_t guest_try_exec(uint64_t addr);
uint64_t guest_report_caught(void);

/* Values for all registers; the guest's copy only, the host's stays empty. */
struct pkvm_canaries {
	uint64_t x[PKVM_NR_X + 1];
	uint64_t q[2 * PKVM_NR_Q];
};

extern struct pkvm_canaries pkvm_canaries;

uint64_t guest_make_canaries(uint64_t seed);
uint64_t guest_check_canaries(struct pkvm_canaries *seen, uint64_t may_change,
			      uint64_t x0);

/*
 * One instruction each, with its address in x0, its data in x7 and a canary in
 * every other register. The result has a bit for each register that has changed
 * and is not in may_change (x0 to x30, then the vector registers); x7 is out[7].
 */
uint64_t guest_canary_strb(uint64_t addr, uint64_t may_change);
uint64_t guest_canary_strh(uint64_t addr, uint64_t may_change);
uint64_t guest_canary_strw(uint64_t addr, uint64_t may_change);
uint64_t guest_canary_strx(uint64_t addr, uint64_t may_change);
uint64_t guest_canary_strzr(uint64_t addr, uint64_t may_change);
uint64_t guest_canary_ldrb(uint64_t addr, uint64_t may_change);
uint64_t guest_canary_ldrh(uint64_t addr, uint64_t may_change);
uint64_t guest_canary_ldrw(uint64_t addr, uint64_t may_change);
uint64_t guest_canary_ldrx(uint64_t addr, uint64_t may_change);
uint64_t guest_canary_ldrsb_w(uint64_t addr, uint64_t may_change);
uint64_t guest_canary_ldrsb_x(uint64_t addr, uint64_t may_change);
uint64_t guest_canary_ldrsh_w(uint64_t addr, uint64_t may_change);
uint64_t guest_canary_ldrsh_x(uint64_t addr, uint64_t may_change);
uint64_t guest_canary_ldrsw_x(uint64_t addr, uint64_t may_change);
uint64_t guest_canary_ldr_zr(uint64_t addr, uint64_t may_change);
uint64_t guest_canary_hvc(uint64_t addr, uint64_t may_change);
uint64_t guest_canary_smc(uint64_t addr, uint64_t may_change);
uint64_t guest_canary_wfi(uint64_t addr, uint64_t may_change);
uint64_t guest_canary_nop(uint64_t addr, uint64_t may_change);
uint64_t guest_canary_revidr(uint64_t addr, uint64_t may_change);
uint64_t guest_canary_ccsidr(uint64_t addr, uint64_t may_change);
uint64_t guest_canary_id_reg(uint64_t addr, uint64_t may_change);
uint64_t guest_canary_mdscr(uint64_t addr, uint64_t may_change);
uint64_t guest_canary_sgi(uint64_t addr, uint64_t may_change);
uint64_t guest_canary_fetch(uint64_t addr, uint64_t may_change);

/* One instruction each, that faults. */
uint64_t guest_fault_impdef_mrs(uint64_t addr);
uint64_t guest_fault_impdef_msr(uint64_t addr);
uint64_t guest_fault_udf(uint64_t addr);
uint64_t guest_fault_brk(uint64_t addr);
uint64_t guest_fault_post_index(uint64_t addr);
uint64_t guest_fault_post_index_str(uint64_t addr);
uint64_t guest_fault_pair(uint64_t addr);
uint64_t guest_fault_vector(uint64_t addr);

/* Stubs of PKVM_STUB_SIZE, one for each system register; see pkvm_guest.S. */
uint64_t guest_mrs_stubs(uint64_t val);
uint64_t guest_msr_debug_stubs(uint64_t val);

/* In the guest: walk another table from now on, with nothing left of the last one. */
static inline void guest_use_table(uint64_t table)
{
	asm volatile("dsb ish\n"
		     "msr ttbr0_el1, %0\n"
		     "isb\n"
		     "tlbi vmalle1\n"
		     "dsb nsh\n"
		     "isb\n" :: "r" (table) : "memory");
}

#endif /* __ASSEMBLY__ */
#endif /* SELFTEST_KVM_PKVM_H */
