// SPDX-License-Identifier: GPL-2.0-only
/*
 * pvm: a small virtual machine monitor that starts Linux, protected or not,
 * the way crosvm does.
 *
 * This file owns the command line, the messages, the order in which things
 * come up, and the one way in which a run ends. Everything that can be
 * refused is refused before the first vCPU runs.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "pvm.h"

#define DEFAULT_SWIOTLB	(8 * SZ_1M)

bool pvm_verbose;

static void vmsg(const char *fmt, va_list ap)
{
	char line[512];

	/* One write per line: several threads speak. */
	vsnprintf(line, sizeof(line), fmt, ap);
	dprintf(STDERR_FILENO, "pvm: %s%s", line, input_raw() ? "\r\n" : "\n");
}

void pvm_info(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vmsg(fmt, ap);
	va_end(ap);
}

void pvm_dbg(const char *fmt, ...)
{
	va_list ap;

	if (!pvm_verbose)
		return;
	va_start(ap, fmt);
	vmsg(fmt, ap);
	va_end(ap);
}

void die(enum pvm_status st, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vmsg(fmt, ap);
	va_end(ap);
	exit(st);
}

/* End the run. The first caller's status counts. */
void vm_stop(struct vm *vm, enum pvm_status st)
{
	int none = -1;

	if (atomic_compare_exchange_strong(&vm->status, &none, st)) {
		atomic_store(&vm->stopping, true);
		eventfd_write(vm->stop_fd, 1);
	}
}

static void usage(FILE *f)
{
	fputs("Usage: pvm [--protected] --kernel FILE --mem SIZE --cpus N [OPTION]...\n"
	      "Start Linux as a KVM guest.\n"
	      "\n"
	      "  --protected       a protected guest: the host cannot read its memory\n"
	      "  --kernel FILE     an arm64 Image, not compressed\n"
	      "  --initrd FILE     its initramfs\n"
	      "  --disk FILE       a virtio disk (/dev/vda, ...); may be given more than once;\n"
	      "                    read-only if FILE may not be written\n"
	      "  --mem SIZE        guest memory, a multiple of 2M (suffixes K, M, G)\n"
	      "  --cpus N          number of CPUs\n"
	      "  --append STR      the kernel's command line (console=ttyS0)\n"
	      "  --swiotlb SIZE    the pool that a protected guest shares for its devices\n"
	      "                    (8M; 0 for none)\n"
	      "  --hvc             add a virtio console (hvc0), and give it stdin\n"
	      "  --anon            guest memory is anonymous memory instead of a memfd\n"
	      "  --hugepages       ask for transparent huge pages\n"
	      "  --no-eventfd      no irqfd and ioeventfd\n"
	      "  --timeout SECS    end the guest after so many seconds\n"
	      "  --scan-after      when the guest is gone, look for its data in its memory,\n"
	      "                    and report what was charged to this process\n"
	      "  --probe-for HEX   bytes to look for in guest memory on SIGUSR1\n"
	      "  --dump-dtb FILE   write the guest's device tree\n"
	      "  --verbose         say what happens\n"
	      "  --help            show this text\n"
	      "\n"
	      "On a terminal, Ctrl-] ends the guest.\n"
	      "\n"
	      "Exit status:\n"
	      "   0  the guest powered off\n"
	      "   1  pvm or the host failed in the middle\n"
	      "   2  bad argument\n"
	      "   3  a file is missing or broken\n"
	      "   4  refused: no KVM, no protected mode, or a missing capability\n"
	      "   5  too little memory, in the guest or in the host\n"
	      "  10  the guest crashed, or KVM could not go on with it\n"
	      "  11  the guest asked for a reset\n"
	      "  12  the time of --timeout is over\n"
	      "  13  ended by a signal or Ctrl-]\n"
	      "  14  --scan-after found data of the guest\n", f);
}

static u64 parse_size(const char *opt, const char *arg)
{
	unsigned long long val;
	unsigned int shift = 0;
	char *end;

	errno = 0;
	val = strtoull(arg, &end, 0);
	switch (*end) {
	case 'k': case 'K':
		shift = 10;
		break;
	case 'm': case 'M':
		shift = 20;
		break;
	case 'g': case 'G':
		shift = 30;
		break;
	}
	if (shift)
		end++;
	if (errno || end == arg || *end || arg[0] == '-' || val > (1UL << 46) >> shift)
		die(PVM_BAD_ARG, "%s: '%s' is not a size (examples: 256M, 1G)", opt, arg);
	return val << shift;
}

static long parse_count(const char *opt, const char *arg, long max)
{
	char *end;
	long val;

	errno = 0;
	val = strtol(arg, &end, 10);
	if (errno || end == arg || *end || val < 1 || val > max)
		die(PVM_BAD_ARG, "%s: '%s' is not a number from 1 to %ld", opt, arg, max);
	return val;
}

static void parse_probe(struct options *o, const char *arg)
{
	size_t len = strlen(arg);
	unsigned int byte;
	int used;

	if (!len || len % 2 || len / 2 > sizeof(o->probe))
		die(PVM_BAD_ARG, "--probe-for: an even number of hex digits is needed, at most %zu",
		    2 * sizeof(o->probe));
	for (; *arg; arg += 2) {
		if (sscanf(arg, "%2x%n", &byte, &used) != 1 || used != 2)
			die(PVM_BAD_ARG, "--probe-for: '%.2s' is not a byte in hex", arg);
		o->probe[o->probe_len++] = byte;
	}
}

enum {
	OPT_PROTECTED = 256, OPT_KERNEL, OPT_INITRD, OPT_DISK, OPT_MEM, OPT_CPUS, OPT_APPEND,
	OPT_SWIOTLB, OPT_HVC, OPT_ANON, OPT_HUGEPAGES, OPT_NO_EVENTFD, OPT_TIMEOUT, OPT_SCAN_AFTER,
	OPT_PROBE_FOR, OPT_DUMP_DTB, OPT_VERBOSE, OPT_HELP,
};

static const struct option long_options[] = {
	{ "protected",	no_argument,		NULL, OPT_PROTECTED },
	{ "kernel",	required_argument,	NULL, OPT_KERNEL },
	{ "initrd",	required_argument,	NULL, OPT_INITRD },
	{ "disk",	required_argument,	NULL, OPT_DISK },
	{ "mem",	required_argument,	NULL, OPT_MEM },
	{ "cpus",	required_argument,	NULL, OPT_CPUS },
	{ "append",	required_argument,	NULL, OPT_APPEND },
	{ "swiotlb",	required_argument,	NULL, OPT_SWIOTLB },
	{ "hvc",	no_argument,		NULL, OPT_HVC },
	{ "anon",	no_argument,		NULL, OPT_ANON },
	{ "hugepages",	no_argument,		NULL, OPT_HUGEPAGES },
	{ "no-eventfd",	no_argument,		NULL, OPT_NO_EVENTFD },
	{ "timeout",	required_argument,	NULL, OPT_TIMEOUT },
	{ "scan-after",	no_argument,		NULL, OPT_SCAN_AFTER },
	{ "probe-for",	required_argument,	NULL, OPT_PROBE_FOR },
	{ "dump-dtb",	required_argument,	NULL, OPT_DUMP_DTB },
	{ "verbose",	no_argument,		NULL, OPT_VERBOSE },
	{ "help",	no_argument,		NULL, OPT_HELP },
	{ }
};

static void parse_option(struct options *o, int c)
{
	switch (c) {
	case OPT_PROTECTED:
		o->protected_vm = true;
		break;
	case OPT_KERNEL:
		o->kernel = optarg;
		break;
	case OPT_INITRD:
		o->initrd = optarg;
		break;
	case OPT_DISK:
		if (o->ndisks == MAX_DISKS)
			die(PVM_BAD_ARG, "--disk: at most %d disks", MAX_DISKS);
		o->disks[o->ndisks++] = optarg;
		break;
	case OPT_MEM:
		o->mem = parse_size("--mem", optarg);
		break;
	case OPT_CPUS:
		o->cpus = parse_count("--cpus", optarg, MAX_CPUS);
		break;
	case OPT_APPEND:
		o->append = optarg;
		break;
	case OPT_SWIOTLB:
		o->swiotlb = parse_size("--swiotlb", optarg);
		break;
	case OPT_HVC:
		o->hvc = true;
		break;
	case OPT_ANON:
		o->anon = true;
		break;
	case OPT_HUGEPAGES:
		o->hugepages = true;
		break;
	case OPT_NO_EVENTFD:
		o->no_eventfd = true;
		break;
	case OPT_TIMEOUT:
		o->timeout = parse_count("--timeout", optarg, 1000000);
		break;
	case OPT_SCAN_AFTER:
		o->scan_after = true;
		break;
	case OPT_PROBE_FOR:
		o->probe_len = 0;
		parse_probe(o, optarg);
		break;
	case OPT_DUMP_DTB:
		o->dump_dtb = optarg;
		break;
	case OPT_VERBOSE:
		o->verbose = true;
		break;
	case OPT_HELP:
		usage(stdout);
		exit(PVM_POWEROFF);
	default:
		die(PVM_BAD_ARG, "try 'pvm --help'");
	}
}

static void parse_options(struct options *o, int argc, char **argv)
{
	int c;

	o->append = "console=ttyS0";
	o->swiotlb = UINT64_MAX;	/* the default depends on --mem */
	while ((c = getopt_long(argc, argv, "", long_options, NULL)) != -1)
		parse_option(o, c);
	if (optind < argc)
		die(PVM_BAD_ARG, "'%s' does not belong to an option; try 'pvm --help'",
		    argv[optind]);
	if (!o->kernel)
		die(PVM_BAD_ARG, "--kernel FILE is missing; try 'pvm --help'");
	if (!o->mem)
		die(PVM_BAD_ARG, "--mem SIZE is missing; try 'pvm --help'");
	if (!o->cpus)
		die(PVM_BAD_ARG, "--cpus N is missing; try 'pvm --help'");
	if (o->mem % SZ_2M)
		die(PVM_BAD_ARG, "--mem must be a multiple of 2M");
	if (o->swiotlb == UINT64_MAX)
		o->swiotlb = min_t(u64, DEFAULT_SWIOTLB, o->mem / 2);
	if (o->swiotlb % 0x10000)
		die(PVM_BAD_ARG, "--swiotlb must be a multiple of 64K");
	if (o->swiotlb > o->mem / 2)
		die(PVM_BAD_ARG, "--swiotlb may take at most half of --mem");
	if (strlen(o->append) >= 2048)
		die(PVM_BAD_ARG, "--append is longer than the 2048 bytes that Linux takes");
	pvm_verbose = o->verbose;
}

/* Signals are taken by wait_for_end() alone, so no thread may receive them. */
static int block_signals(void)
{
	sigset_t set;
	int fd;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	fd = signalfd(-1, &set, SFD_CLOEXEC);
	if (fd < 0)
		die(PVM_INTERNAL, "signalfd: %s", strerror(errno));
	return fd;
}

static long long now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000LL + ts.tv_nsec / 1000000;
}

static void wait_for_end(struct vm *vm, int sig_fd)
{
	long long end = now_ms() + vm->opt.timeout * 1000LL;
	struct pollfd pfd[2] = {
		{ .fd = vm->stop_fd, .events = POLLIN },
		{ .fd = sig_fd, .events = POLLIN },
	};
	struct signalfd_siginfo si;

	while (!atomic_load(&vm->stopping)) {
		long long left = vm->opt.timeout ? end - now_ms() : 60000;

		if (left <= 0) {
			pvm_info("the guest did not end within %ld s", vm->opt.timeout);
			vm_stop(vm, PVM_TIMEOUT);
			break;
		}
		if (poll(pfd, 2, left > 60000 ? 60000 : left) <= 0 || !pfd[1].revents)
			continue;
		if (read(sig_fd, &si, sizeof(si)) != sizeof(si))
			continue;
		if (si.ssi_signo == SIGUSR1) {
			ram_probe(vm, "while the guest runs");
			continue;
		}
		vm_stop(vm, PVM_STOPPED);
	}
}

static int run(struct vm *vm, int sig_fd)
{
	long lck_before, lck_peak, lck_after;
	enum pvm_status st;
	bool gone;

	lck_before = vmlck_kb();
	input_start(vm);
	virtio_start(vm);
	vcpus_start(vm);
	wait_for_end(vm, sig_fd);

	gone = vcpus_stop(vm);
	input_stop();
	virtio_stop(vm);
	st = atomic_load(&vm->status);
	if (!gone)
		return PVM_INTERNAL;

	lck_peak = vmlck_kb();
	kvm_destroy(vm);
	lck_after = vmlck_kb();
	pvm_dbg("VmLck: %ld kB before, %ld kB at the end of the guest, %ld kB after", lck_before,
		lck_peak, lck_after);
	if (!vm->opt.scan_after)
		return st;

	pvm_info("scan after: VmLck %ld kB before, %ld kB at the end of the guest, %ld kB after",
		 lck_before, lck_peak, lck_after);
	if (!ram_scan_after(vm) && st == PVM_POWEROFF && vm->opt.protected_vm)
		st = PVM_LEAK;
	return st;
}

int main(int argc, char **argv)
{
	static struct vm vm;
	int sig_fd;

	parse_options(&vm.opt, argc, argv);
	vm.ncpus = vm.opt.cpus;
	mem_init_faults();
	sig_fd = block_signals();
	atomic_store(&vm.status, -1);
	vm.stop_fd = eventfd(0, EFD_CLOEXEC);
	if (vm.stop_fd < 0)
		die(PVM_INTERNAL, "eventfd: %s", strerror(errno));

	/* Everything that the user can have got wrong */
	load_open(&vm);
	load_place(&vm);
	blk_open(&vm);
	kvm_open(&vm);

	/* The machine, in crosvm's order */
	ram_create(&vm);
	kvm_create(&vm);
	kvm_create_gic(&vm);
	uart_create(&vm);
	blk_create(&vm);
	console_create(&vm);
	kvm_create_vcpus(&vm);
	fdt_build(&vm);
	load_copy(&vm);
	kvm_finish(&vm);

	return run(&vm, sig_fd);
}
