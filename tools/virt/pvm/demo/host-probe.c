// SPDX-License-Identifier: GPL-2.0-only
/*
 * Tries to find the demo guest's secret from the host, as root, in every way
 * that the kernel offers for another process's memory:
 *
 *   /proc/PID/mem, process_vm_readv(), a mapping of the guest's memfd in this
 *   process, read() of the memfd, and vmsplice() of that mapping to a pipe
 *   (which pins the page instead of reading through the mapping).
 *
 * It reads only. One line per way says how many pages were tried, read and
 * refused. Exit status: 0 if the secret was found nowhere, 1 if it was found,
 * 2 if not every way could be tried, as the VMM was not there or went away.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "marker.h"

#define PAGE	4096UL
#define MEMFD	"memfd:pvm_guest"

/* How often a page was refused, and with which errno (negative) or signal. */
#define MAX_REASONS 8

struct refusals {
	int err[MAX_REASONS];
	unsigned long count[MAX_REASONS];
	int nr;
};

struct target {
	pid_t pid;
	unsigned long start, len;	/* in the VMM's address space */
	int memfd;			/* -1 if guest memory is anonymous */
	off_t memfd_off;
	u8 *map;
	int mem;			/* /proc/PID/mem */
	int pipe[2];
};

static u8 marker[MARKER_LEN];
static sigjmp_buf fault_env;

static void on_fault(int sig)
{
	siglongjmp(fault_env, sig);
}

/* Each way reads one page at OFF into BUF: 0, or -errno, or a signal number. */
typedef int (*read_page)(struct target *t, unsigned long off, u8 *buf);

static int result(ssize_t n)
{
	if (n == (ssize_t)PAGE)
		return 0;
	return n < 0 ? -errno : -EFAULT;
}

static int by_proc_mem(struct target *t, unsigned long off, u8 *buf)
{
	return result(pread(t->mem, buf, PAGE, t->start + off));
}

static int by_process_vm(struct target *t, unsigned long off, u8 *buf)
{
	struct iovec local = { .iov_base = buf, .iov_len = PAGE };
	struct iovec remote = { .iov_base = (void *)(t->start + off), .iov_len = PAGE };

	return result(process_vm_readv(t->pid, &local, 1, &remote, 1, 0));
}

static int by_mapping(struct target *t, unsigned long off, u8 *buf)
{
	int sig = sigsetjmp(fault_env, 0);

	if (sig)
		return sig;
	memcpy(buf, t->map + off, PAGE);
	return 0;
}

static int by_memfd_read(struct target *t, unsigned long off, u8 *buf)
{
	return result(pread(t->memfd, buf, PAGE, t->memfd_off + off));
}

static int by_vmsplice(struct target *t, unsigned long off, u8 *buf)
{
	struct iovec iov = { .iov_base = t->map + off, .iov_len = PAGE };
	ssize_t n = vmsplice(t->pipe[1], &iov, 1, SPLICE_F_NONBLOCK);

	if (n <= 0)
		return n ? -errno : -EFAULT;
	return result(read(t->pipe[0], buf, PAGE));
}

static void refuse(struct refusals *r, int err)
{
	int i;

	for (i = 0; i < r->nr && r->err[i] != err; i++)
		;
	if (i == MAX_REASONS)
		i--;
	else if (i == r->nr)
		r->err[r->nr++] = err;
	r->count[i]++;
}

static void print_refusals(const struct refusals *r)
{
	const char *name;
	int i;

	for (i = 0; i < r->nr; i++) {
		name = r->err[i] < 0 ? strerrorname_np(-r->err[i]) : sigabbrev_np(r->err[i]);
		printf("%s%s%s %lu", i ? ", " : " (", r->err[i] < 0 ? "" : "SIG",
		       name ? name : "?", r->count[i]);
	}
	printf("%s; ", r->nr ? ")" : "");
}

static long now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Returns whether the marker was found. */
static bool attempt(const char *name, struct target *t, read_page fn)
{
	unsigned long tried = 0, ok = 0, hits = 0;
	struct refusals refused = { .nr = 0 };
	static u8 buf[PAGE];
	long start = now_ms();
	unsigned long off;
	int err;

	for (off = 0; off < t->len; off += PAGE) {
		tried++;
		err = fn(t, off, buf);
		if (err) {
			refuse(&refused, err);
			continue;
		}
		ok++;
		if (memmem(buf, PAGE, marker, MARKER_LEN))
			hits++;
	}
	printf("host-probe: %s: %lu pages tried, %lu read, %lu refused", name, tried, ok,
	       tried - ok);
	print_refusals(&refused);
	if (hits)
		printf("secret FOUND in %lu pages", hits);
	else
		printf("secret not found");
	printf(" (%ld ms)\n", now_ms() - start);
	fflush(stdout);
	return hits;
}

/* The guest's memory in the VMM: its memfd, or else the largest anonymous area. */
static bool find_memory(struct target *t)
{
	unsigned long start, end, off;
	bool is_memfd, found_memfd = false;
	char path[64], line[512], perms[8];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/maps", t->pid);
	f = fopen(path, "re");
	if (!f)
		return false;
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx %7s %lx", &start, &end, perms, &off) != 4)
			continue;
		is_memfd = strstr(line, MEMFD);
		if (perms[0] != 'r' || (found_memfd && !is_memfd))
			continue;
		if (!is_memfd && (perms[3] != 'p' || strchr(line, '/') || strchr(line, '[')))
			continue;
		if (end - start > t->len || (is_memfd && !found_memfd)) {
			found_memfd = is_memfd;
			t->start = start;
			t->len = end - start;
			t->memfd_off = off;
		}
	}
	fclose(f);
	return t->len;
}

static int open_memfd(pid_t pid)
{
	char path[300], link[256];
	struct dirent *e;
	int fd = -1;
	ssize_t n;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	d = opendir(path);
	while (d && fd < 0 && (e = readdir(d))) {
		snprintf(path, sizeof(path), "/proc/%d/fd/%s", pid, e->d_name);
		n = readlink(path, link, sizeof(link) - 1);
		if (n <= 0)
			continue;
		link[n] = '\0';
		if (strstr(link, MEMFD))
			fd = open(path, O_RDWR | O_CLOEXEC);
	}
	if (d)
		closedir(d);
	return fd;
}

int main(int argc, char **argv)
{
	struct sigaction sa = { .sa_handler = on_fault, .sa_flags = SA_NODEFER };
	struct target t = { .memfd = -1 }, again = { .memfd = -1 };
	bool found = false, tried = false;
	char path[64];
	int i;

	marker_make(marker);
	if (argc == 2 && !strcmp(argv[1], "--marker")) {
		for (i = 0; i < MARKER_LEN; i++)
			printf("%02x", marker[i]);
		printf("\n");
		return 0;
	}
	if (argc != 2 || atoi(argv[1]) <= 0) {
		fprintf(stderr,
			"Usage: host-probe PID | --marker\nLook for the demo guest's secret in the VMM with that PID.\n");
		return 2;
	}
	t.pid = atoi(argv[1]);
	if (!find_memory(&t)) {
		fprintf(stderr, "host-probe: process %d has no guest memory that we may see\n",
			t.pid);
		return 2;
	}
	sigaction(SIGSEGV, &sa, NULL);
	sigaction(SIGBUS, &sa, NULL);

	snprintf(path, sizeof(path), "/proc/%d/mem", t.pid);
	t.mem = open(path, O_RDONLY | O_CLOEXEC);
	if (t.mem >= 0) {
		tried = true;
		found |= attempt("/proc/PID/mem", &t, by_proc_mem);
	} else {
		printf("host-probe: /proc/PID/mem: cannot be opened: %s\n", strerror(errno));
	}
	found |= attempt("process_vm_readv", &t, by_process_vm);

	t.memfd = open_memfd(t.pid);
	if (t.memfd >= 0) {
		tried = true;
		found |= attempt("read() of the memfd", &t, by_memfd_read);
		t.map = mmap(NULL, t.len, PROT_READ, MAP_SHARED, t.memfd, t.memfd_off);
		if (t.map == MAP_FAILED) {
			printf("host-probe: the memfd cannot be mapped: %s\n", strerror(errno));
		} else {
			found |= attempt("own mapping of the memfd", &t, by_mapping);
			if (!pipe(t.pipe))
				found |= attempt("vmsplice of that mapping", &t, by_vmsplice);
		}
	}
	again.pid = t.pid;
	if (!found && (!tried || !find_memory(&again))) {
		printf("host-probe: the VMM is gone: the search is not complete\n");
		return 2;
	}
	printf("host-probe: the secret was %s\n", found ? "FOUND" : "found nowhere");
	return found;
}
