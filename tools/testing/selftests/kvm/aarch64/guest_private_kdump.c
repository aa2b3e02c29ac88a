// SPDX-License-Identifier: GPL-2.0-only
/*
 * Guest-private pages in the dump of a host that crashed (I5): EL2 and its guests'
 * pages outlive the kernel, and the crash kernel that reads all memory of the old one
 * must not die of what it may not read.
 *
 * One program for both sides. In the host, with the path of a kernel as its argument
 * and crashkernel= on the command line: it makes a guest, loads the kernel with itself
 * as the only program, and crashes. There, as process 1, it reads /proc/vmcore and
 * says in KTAP what it found; the machine ends with its status.
 */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <asm/kvm.h>
#include <linux/kexec.h>
#include <linux/sizes.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "kvm_util.h"
#include "held.h"
#include "guest_private.h"

#define NR_TESTS	6
#define PAGES_S		15	/* for the pages of one kind, on a slow machine */
#define ALL_S		120	/* for the whole dump */
#define INITRD		"/tmp/crash.cpio"
#define PORTS		"/sys/class/virtio-ports"

/* ------------------------------------------------------------------ the host */

static void cpio_entry(FILE *f, const char *name, unsigned int mode, unsigned int major,
		       unsigned int minor, const void *data, size_t size)
{
	static unsigned int ino;

	fprintf(f, "070701%08x%08x%08x%08x%08x%08x%08zx%08x%08x%08x%08x%08zx%08x",
		++ino, mode, 0, 0, 1, 0, size, 0, 0, major, minor, strlen(name) + 1, 0);
	fwrite(name, strlen(name) + 1, 1, f);
	while (ftell(f) % 4)
		fputc(0, f);
	fwrite(data, 1, size, f);
	while (ftell(f) % 4)
		fputc(0, f);
}

/* What the crash kernel boots into: this program and nothing else. */
static void make_initrd(const char *path)
{
	struct stat st;
	void *self;
	FILE *f;
	int fd;

	fd = open("/proc/self/exe", O_RDONLY);
	TEST_ASSERT(fd >= 0 && !fstat(fd, &st), "no program");
	self = mmap(NULL, st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	TEST_ASSERT(self != MAP_FAILED, "no program");
	f = fopen(path, "w");
	TEST_ASSERT(f, "no %s", path);
	cpio_entry(f, "dev", S_IFDIR | 0755, 0, 0, NULL, 0);
	cpio_entry(f, "proc", S_IFDIR | 0755, 0, 0, NULL, 0);
	cpio_entry(f, "sys", S_IFDIR | 0755, 0, 0, NULL, 0);
	cpio_entry(f, "dev/console", S_IFCHR | 0600, 5, 1, NULL, 0);
	cpio_entry(f, "init", S_IFREG | 0755, 0, 0, self, st.st_size);
	cpio_entry(f, "TRAILER!!!", 0, 0, 0, NULL, 0);
	TEST_ASSERT(!fclose(f), "no room for %s", path);
	munmap(self, st.st_size);
	close(fd);
}

static int end_host(const char *image)
{
	/* A kernel that faults for ever says so by a warning: that is its end. */
	char words[1024] = "console=ttyAMA0 maxcpus=1 panic=-1 panic_on_warn=1 ";
	const char *why = pkvm_unavailable();
	struct gp_host h;
	int kernel, initrd, s, i;

	if (why) {
		printf("1..0 # SKIP %s\n", why);
		return KSFT_SKIP;
	}
	gp_open(&h, GP_MEMFD, 1, 0);
	gp_make_windows(&h);
	for (s = 0; s < GP_GONE; s++) {
		for (i = 0; i < GP_PAGES; i++)
			snprintf(words + strlen(words), sizeof(words) - strlen(words),
				 "page=%d,%#lx,%#lx ", s, h.win[s].pfn[i], h.win[s].seed[i]);
	}
	make_initrd(INITRD);
	kernel = open(image, O_RDONLY);
	initrd = open(INITRD, O_RDONLY);
	TEST_ASSERT(kernel >= 0 && initrd >= 0, "no %s", image);
	TEST_ASSERT(!syscall(__NR_kexec_file_load, kernel, initrd, strlen(words) + 1, words,
			     KEXEC_FILE_ON_CRASH), "kexec_file_load() failed");
	printf("1..%d\n", NR_TESTS);
	/* Any other kernel would come up without what is EL2's and its guests'. */
	errno = 0;
	if (syscall(__NR_kexec_file_load, kernel, initrd, strlen(words) + 1, words, 0) != -1 ||
	    errno != EBUSY) {
		printf("# errno %d\nnot ", errno);
	}
	printf("ok 1 no_kernel_but_a_crash_kernel\n");
	fflush(stdout);
	/* The crash is no failure: nobody shall read of one. */
	TEST_ASSERT(write_text("/proc/sys/kernel/printk", "0"), "no console level");
	sleep(1);
	write_text("/proc/sysrq-trigger", "c");
	sleep(30);
	printf("# the host did not crash\n");
	return 1;
}

/* ---------------------------------------------------------- the crash kernel */

static int failed;

static void say(const char *format, ...)
{
	char line[256];
	va_list args;
	int fd;

	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	fd = open("/dev/hvc0", O_WRONLY | O_NOCTTY);
	if (fd < 0 || write(fd, line, strlen(line)) < 0)
		failed++;
	close(fd);
}

static void result(bool ok, const char *name)
{
	static int number = 1;

	failed += !ok;
	say("%sok %d %s\n", ok ? "" : "not ", ++number, name);
}

static off_t offset_of(int vmcore, uint64_t pa)
{
	Elf64_Ehdr head;
	Elf64_Phdr ph;
	int i;

	if (pread(vmcore, &head, sizeof(head), 0) != sizeof(head))
		return -1;
	for (i = 0; i < head.e_phnum; i++) {
		if (pread(vmcore, &ph, sizeof(ph), head.e_phoff + i * sizeof(ph)) != sizeof(ph))
			return -1;
		if (ph.p_type == PT_LOAD && pa >= ph.p_paddr && pa < ph.p_paddr + ph.p_filesz)
			return ph.p_offset + (pa - ph.p_paddr);
	}
	return -1;
}

/* What a page has to hold, by its place in the dump. */
struct wanted {
	off_t at;
	uint64_t seed;
};

static struct wanted wanted[GP_GONE][GP_PAGES];

static bool read_right(int vmcore, const struct wanted *want)
{
	static char page[4096] __aligned(4096);

	memset(page, 0x55, sizeof(page));
	return pread(vmcore, page, sizeof(page), want->at) == sizeof(page) &&
	       gp_page_is(page, want->seed);
}

/* As makedumpfile does it. */
static bool map_right(int vmcore, const struct wanted *want)
{
	char *p = mmap(NULL, GP_PAGE, PROT_READ, MAP_PRIVATE, vmcore, want->at);

	return p != MAP_FAILED && gp_page_is(p, want->seed);
}

static bool read_pages(int vmcore, int s)
{
	bool right = true;
	int i;

	for (i = 0; i < GP_PAGES; i++)
		right &= wanted[s][i].at > 0 && read_right(vmcore, &wanted[s][i]);
	return right;
}

static bool map_pages(int vmcore, int unused)
{
	bool right = true;
	int s, i;

	for (s = 0; s < GP_GONE; s++) {
		for (i = 0; i < GP_PAGES; i++)
			right &= wanted[s][i].at > 0 && map_right(vmcore, &wanted[s][i]);
	}
	return right;
}

/* All of it, EL2's own memory too. */
static bool read_all(int vmcore, int unused)
{
	static char part[SZ_1M];
	off_t size = 0;
	ssize_t len;

	if (lseek(vmcore, 0, SEEK_SET))
		return false;
	while ((len = read(vmcore, part, sizeof(part))) > 0)
		size += len;
	say("# %ld MiB of memory in the dump\n", size >> 20);
	return !len && size > SZ_64M;
}

/* In another process, which a fault may end, or keep where it is. */
static bool right_in(int seconds, bool (*look_at)(int vmcore, int s), int vmcore, int s)
{
	int status = 1, tries;
	pid_t pid;

	pid = fork();
	if (!pid)
		_exit(!look_at(vmcore, s));
	for (tries = 0; pid > 0 && tries < seconds * 50; tries++) {
		if (waitpid(pid, &status, WNOHANG) == pid)
			return !status;
		usleep(20000);
	}
	say("# no end of it\n");
	return false;
}

static void end(int status)
{
	char path[64], text[32];
	int i, fd;

	snprintf(text, sizeof(text), "status %d\n", status);
	for (i = 0; i < 8; i++) {
		snprintf(path, sizeof(path), PORTS "/vport%dp%d/name", i / 4, i % 4);
		if (access(path, R_OK))
			continue;
		snprintf(path, sizeof(path), "/dev/vport%dp%d", i / 4, i % 4);
		fd = open(path, O_WRONLY);
		if (fd >= 0 && write(fd, text, strlen(text)) < 0)
			printf("no status\n");
		close(fd);
	}
	sync();
	reboot(RB_POWER_OFF);
}

static void look(void)
{
	char words[2048] = "", *word;
	int fd, vmcore, s, nr[GP_GONE] = {};
	uint64_t pfn, seed;

	mount("proc", "/proc", "proc", 0, NULL);
	mount("sysfs", "/sys", "sysfs", 0, NULL);
	mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
	fd = open("/proc/cmdline", O_RDONLY);
	if (fd < 0 || read(fd, words, sizeof(words) - 1) < 0)
		failed++;
	vmcore = open("/proc/vmcore", O_RDONLY);
	if (vmcore < 0)
		say("# no /proc/vmcore\n");
	for (word = strtok(words, "\n "); word; word = strtok(NULL, "\n ")) {
		if (sscanf(word, "page=%d,%lx,%lx", &s, &pfn, &seed) != 3 || s >= GP_GONE ||
		    nr[s] == GP_PAGES)
			continue;
		wanted[s][nr[s]].at = offset_of(vmcore, pfn * GP_PAGE);
		wanted[s][nr[s]++].seed = s == GP_SHARED ? seed : 0;
	}
	result(right_in(PAGES_S, read_pages, vmcore, GP_PRIVATE), "private_reads_zeroes");
	result(right_in(PAGES_S, read_pages, vmcore, GP_SHARED), "shared_is_in_the_dump");
	result(right_in(PAGES_S, read_pages, vmcore, GP_AGAIN), "private_again_reads_zeroes");
	result(right_in(PAGES_S, map_pages, vmcore, 0), "mapping_of_the_dump");
	result(right_in(ALL_S, read_all, vmcore, 0), "whole_dump");
	end(failed ? 1 : 0);
}

/* Before the library's own, which looks for a KVM that is not there. */
static void __attribute__((constructor(101))) look_if_first(void)
{
	if (getpid() == 1)
		look();
}

int main(int argc, char **argv)
{
	if (argc != 2) {
		fprintf(stderr, "usage: %s KERNEL\n", argv[0]);
		return 1;
	}
	return end_host(argv[1]);
}
