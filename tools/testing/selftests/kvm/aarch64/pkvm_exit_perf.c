// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a guest's exits cost, ordinary or protected: to EL2, to the host kernel, to the
 * VMM; its faults, and what it shares. A benchmark: it owns no promise, tools that
 * compare two kernels do.
 *
 * Each operation is done N times and 2N times; the difference of the two times over N
 * is the cost of one, free of what every call of the guest costs. Of each size the
 * least of some batches counts. Time is the host's counter: with an emulator that
 * ticks once per nanosecond and instruction (QEMU's -icount shift=0) the figures are
 * instructions, host, EL2 and guest together, and repeatable.
 *
 * One line per operation: name and cost, or name, "SKIP" and why there is none.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "kvm_util.h"
#include "processor.h"
#include "pkvm.h"

#define SMCCC_VERSION		0x80000000
#define PAGE			4096UL
#define MAX_BATCHES		64
#define GICD_TYPER		(PKVM_GICD_IPA + 4)

/* ------------------------------------------------------------------ the guest */

static uint64_t guest_hvcs(uint64_t nr, uint64_t fn)
{
	while (nr--)
		guest_hvc_quiet(fn, 0, 0, 0);

	return 0;
}

/* An interrupt for no CPU: all that it does is to be trapped. */
static uint64_t guest_sgis(uint64_t nr)
{
	while (nr--)
		asm volatile("msr s3_0_c12_c11_5, xzr");

	return 0;
}

static uint64_t guest_loads(uint64_t nr, uint64_t addr)
{
	while (nr--)
		READ_ONCE(*(uint32_t *)addr);

	return 0;
}

static uint64_t guest_touch(uint64_t nr, uint64_t addr)
{
	for (; nr; nr--, addr += PAGE)
		WRITE_ONCE(*(uint64_t *)addr, addr);

	return 0;
}

static uint64_t guest_hvc_pages(uint64_t nr, uint64_t fn, uint64_t addr)
{
	uint64_t bad = 0;

	for (; nr; nr--, addr += PAGE)
		bad += guest_hvc_quiet(fn, addr, 0, 0) != PKVM_SMCCC_OK;

	return bad;
}

/* ------------------------------------------------------------------- the host */

static uint64_t frequency;
static bool protected_guest;

static uint64_t now(void)
{
	uint64_t t;

	asm volatile("isb\n\tmrs %0, cntvct_el0\n\tisb" : "=r" (t) :: "memory");
	return t;
}

static double since(uint64_t start)
{
	return (now() - start) * 1e9 / frequency;
}

static struct pkvm_vm *new_vm(size_t nr_pages)
{
	struct pkvm_opts opts = {
		.ordinary	= !protected_guest,
		.mem_size	= nr_pages * PAGE,
		.backing	= PKVM_MEMFD,
	};
	struct pkvm_vm *vm = pkvm_vm_create(&opts);

	TEST_ASSERT(vm, "no VM");
	/* What only the first run costs. */
	pkvm_must(pkvm_vcpu0(vm), guest_nop);

	return vm;
}

static struct pkvm_vm *vm;	/* of the operations that leave no trace */

static double hvc(uint64_t nr, uint64_t fn)
{
	uint64_t start = now();

	pkvm_must(pkvm_vcpu0(vm), guest_hvcs, nr, fn);
	return since(start);
}

/* To EL2 and back, if there is anything that EL2 answers by itself. */
static double hvc_el2(uint64_t nr)
{
	return hvc(nr, PKVM_HVC_MEMINFO);
}

static double hvc_version(uint64_t nr)
{
	return hvc(nr, SMCCC_VERSION);
}

static double world_switch(uint64_t nr)
{
	uint64_t start = now();

	pkvm_must(pkvm_vcpu0(vm), guest_sgis, nr);
	return since(start);
}

static double mmio_kernel(uint64_t nr)
{
	uint64_t start = now();

	pkvm_must(pkvm_vcpu0(vm), guest_loads, nr, GICD_TYPER);
	return since(start);
}

static double mmio_user(uint64_t nr)
{
	struct pkvm_vcpu *vcpu = pkvm_vcpu0(vm);
	uint64_t start = now(), exits = 0;
	double t;
	int stop;

	stop = pkvm_call(vcpu, guest_loads, nr, PKVM_DEV_IPA);
	while (stop == PKVM_EXIT && vcpu->run->exit_reason == KVM_EXIT_MMIO) {
		exits++;
		stop = pkvm_resume(vcpu);
	}
	t = since(start);
	TEST_ASSERT(stop == PKVM_RETURNED && exits == nr, "%lu of %lu exits, then %d", exits,
		    nr, stop);
	return t;
}

static double fault(uint64_t nr)
{
	struct pkvm_vm *own = new_vm(nr);
	uint64_t start = now();
	double t;

	pkvm_must(pkvm_vcpu0(own), guest_touch, nr, PKVM_MEM_IPA);
	t = since(start);
	pkvm_vm_free(own);
	return t;
}

static double share_or_unshare(uint64_t nr, bool unshare)
{
	struct pkvm_vm *own = new_vm(nr);
	struct pkvm_vcpu *vcpu = pkvm_vcpu0(own);
	uint64_t start, bad;
	double t;

	pkvm_must(vcpu, guest_touch, nr, PKVM_MEM_IPA);
	start = now();
	bad = pkvm_must(vcpu, guest_hvc_pages, nr, PKVM_HVC_SHARE, PKVM_MEM_IPA);
	if (unshare) {
		start = now();
		bad += pkvm_must(vcpu, guest_hvc_pages, nr, PKVM_HVC_UNSHARE, PKVM_MEM_IPA);
	}
	t = since(start);
	TEST_ASSERT(!bad, "%lu of %lu pages refused", bad, nr);
	pkvm_vm_free(own);
	return t;
}

static double mem_share(uint64_t nr)
{
	return share_or_unshare(nr, false);
}

/* The way of a call that EL2 cannot end without the host, and back. */
static double mem_unshare(uint64_t nr)
{
	return share_or_unshare(nr, true);
}

static double reclaim(uint64_t nr)
{
	struct pkvm_vm *own = new_vm(nr);
	uint64_t start;
	double t;

	pkvm_must(pkvm_vcpu0(own), guest_touch, nr, PKVM_MEM_IPA);
	start = now();
	pkvm_vm_close(own);
	t = since(start);
	pkvm_vm_free(own);
	return t;
}

static const struct operation {
	const char *name;
	double (*run)(uint64_t nr);
	uint64_t nr;
	bool only_protected;
} operations[] = {
	{ "world-switch", world_switch, 1000 },
	{ "hvc-el2", hvc_el2, 1000, true },
	{ "hvc-version", hvc_version, 1000 },
	{ "mmio-kernel", mmio_kernel, 1000 },
	{ "mmio-user", mmio_user, 1000 },
	{ "fault-4k-memfd", fault, 512 },
	{ "mem-share", mem_share, 512, true },
	{ "mem-unshare", mem_unshare, 512, true },
	{ "teardown-page", reclaim, 512 },
};

static double least(const struct operation *op, uint64_t nr, int batches)
{
	double t, min = op->run(nr);

	while (--batches) {
		t = op->run(nr);
		if (t < min)
			min = t;
	}
	return min;
}

/* A command as it is: a guest's boot, from the VMM's start to its end. */
static double run_command(const char *command)
{
	uint64_t start = now();
	int status = system(command);

	TEST_ASSERT(!status, "status %d of: %s", status, command);
	return since(start);
}

static void help(const char *name)
{
	printf("usage: %s [-p] [-b batches] [-c command] [operation ...]\n", name);
	printf(" -p: a protected guest\n");
	printf(" -b: batches, 2 to %d (default: 4)\n", MAX_BATCHES);
	printf(" -c: time this command as well, as operation \"boot\"\n");
	exit(KSFT_FAIL);
}

int main(int argc, char *argv[])
{
	const char *command = NULL;
	int opt, i, j, fd, batches = 4;

	while ((opt = getopt(argc, argv, "hpb:c:")) != -1) {
		if (opt == 'p')
			protected_guest = true;
		else if (opt == 'b')
			batches = atoi_positive("batches", optarg);
		else if (opt == 'c')
			command = optarg;
		else
			help(argv[0]);
	}
	if (batches < 2 || batches > MAX_BATCHES)
		help(argv[0]);
	TEST_REQUIRE(getpagesize() == PAGE);
	if (protected_guest) {
		fd = pkvm_create_fd(KVM_VM_TYPE_ARM_PROTECTED | pkvm_max_ipa_bits());
		if (fd < 0)
			ksft_exit_skip("This host has no protected guests\n");
		close(fd);
	}

	asm volatile("mrs %0, cntfrq_el0" : "=r" (frequency));
	vm = new_vm(256);
	for (i = 0; i < (int)ARRAY_SIZE(operations); i++) {
		const struct operation *op = &operations[i];

		for (j = optind; j < argc; j++)
			if (!strcmp(argv[j], op->name))
				break;
		if (optind != argc && j == argc)
			continue;
		if (op->only_protected && !protected_guest)
			printf("%-24s SKIP of protected guests only\n", op->name);
		else
			printf("%-24s %10.1f\n", op->name,
			       (least(op, 2 * op->nr, batches) - least(op, op->nr, batches)) /
			       op->nr);
		fflush(stdout);
	}
	pkvm_vm_free(vm);
	if (command)
		printf("%-24s %10.1f\n", "boot", run_command(command));

	return 0;
}
