// SPDX-License-Identifier: GPL-2.0-only
/*
 * Buffers of the module kvm_test_pages, the page_ref events of their pages, and
 * the kernel's log. Knows nothing about guests.
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "test_util.h"
#include "pageref.h"

#define TRACING		"/sys/kernel/tracing"
#define INSTANCE	TRACING "/instances/pageref"

/* -------------------------------------------------------------- the module */

static bool load_module(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	long ret;

	if (fd < 0)
		return false;
	ret = syscall(SYS_finit_module, fd, "", 0);
	close(fd);
	/* EEXIST: another test was faster. */
	return !ret || errno == EEXIST;
}

const char *ktp_unavailable(void)
{
	static char why[PATH_MAX + 128];
	char self[PATH_MAX], path[PATH_MAX + 64];
	/* The structures of a kernel with lockdep are others. */
	bool debug = !access("/proc/lockdep", F_OK);
	ssize_t len;
	int i;

	if (!access(KTP_DEVICE, R_OK | W_OK))
		return NULL;
	len = readlink("/proc/self/exe", self, sizeof(self) - 1);
	if (len < 0)
		return "cannot tell where the program is";
	self[len] = 0;
	snprintf(path, sizeof(path), "%s/../%s%s", dirname(self), debug ? "debug/" : "",
		 KTP_MODULE);
	if (!load_module(path)) {
		snprintf(why, sizeof(why), "cannot load %s: %s", path, strerror(errno));
		return why;
	}
	for (i = 0; i < 100; i++) {
		if (!access(KTP_DEVICE, R_OK | W_OK))
			return NULL;
		usleep(10000);
	}
	return "the module is loaded, but there is no " KTP_DEVICE;
}

int ktp_create(uint32_t kind, uint32_t nr_pages, uint32_t order, uint32_t flags)
{
	struct ktp_create c = {
		.kind = kind, .nr_pages = nr_pages, .order = order, .flags = flags,
	};
	int fd = open(KTP_DEVICE, O_RDWR | O_CLOEXEC);
	int err;

	if (fd < 0)
		return -errno;
	if (!ioctl(fd, KTP_IOC_CREATE, &c))
		return fd;
	err = errno;
	close(fd);
	return -err;
}

#define ktp_must(fd, cmd, arg)							\
	TEST_ASSERT(!ioctl(fd, cmd, arg), "%s: %s", #cmd, strerror(errno))

void ktp_snapshot(int fd, uint32_t first, uint32_t nr, struct ktp_page *pages)
{
	struct ktp_snapshot s = {
		.first = first, .nr = nr, .pages = (uintptr_t)pages,
	};

	ktp_must(fd, KTP_IOC_SNAPSHOT, &s);
}

void ktp_revoke(int fd, uint32_t first, uint32_t nr)
{
	struct ktp_range r = { .first = first, .nr = nr };

	ktp_must(fd, KTP_IOC_REVOKE, &r);
}

void ktp_replace(int fd, uint32_t flags)
{
	ktp_must(fd, KTP_IOC_REPLACE, (unsigned long)flags);
}

uint64_t ktp_check_canary(int fd, uint32_t flags)
{
	struct ktp_check c = { .flags = flags };

	ktp_must(fd, KTP_IOC_CHECK, &c);
	return c.bad_words;
}

static void ktp_peek(int fd, uint32_t page, uint32_t offset, void *data, uint32_t len)
{
	struct ktp_access a = {
		.page = page, .offset = offset, .len = len, .data = (uintptr_t)data,
	};

	ktp_must(fd, KTP_IOC_PEEK, &a);
}

uint64_t ktp_peek64(int fd, uint32_t page, uint32_t offset)
{
	uint64_t value;

	ktp_peek(fd, page, offset, &value, sizeof(value));
	return value;
}

uint32_t ktp_peek32(int fd, uint32_t page, uint32_t offset)
{
	uint32_t value;

	ktp_peek(fd, page, offset, &value, sizeof(value));
	return value;
}

void ktp_poke(int fd, uint32_t page, uint32_t offset, const void *data, uint32_t len)
{
	struct ktp_access a = {
		.page = page, .offset = offset, .len = len, .data = (uintptr_t)data,
	};

	ktp_must(fd, KTP_IOC_POKE, &a);
}

void ktp_poke64(int fd, uint32_t page, uint32_t offset, uint64_t value)
{
	ktp_poke(fd, page, offset, &value, sizeof(value));
}

void ktp_fault_error(int fd, enum ktp_fault_error error, uint32_t count)
{
	struct ktp_error e = { .error = error, .count = count };

	ktp_must(fd, KTP_IOC_FAULT_ERROR, &e);
}

void ktp_storm_start(int fd, enum ktp_storm_op op, uint32_t interval_us)
{
	struct ktp_storm s = { .op = op, .interval_us = interval_us };

	ktp_must(fd, KTP_IOC_STORM_START, &s);
}

uint64_t ktp_storm_stop(int fd)
{
	struct ktp_storm s;

	ktp_must(fd, KTP_IOC_STORM_STOP, &s);
	return s.rounds;
}

bool ktp_stall(int fd, int vcpu_fd, uint64_t gpa)
{
	struct ktp_stall s = { .vcpu_fd = vcpu_fd, .gpa = gpa };

	if (!ioctl(fd, KTP_IOC_STALL, &s))
		return true;
	TEST_ASSERT(errno == EOPNOTSUPP, "KTP_IOC_STALL: %s", strerror(errno));
	return false;
}

uint64_t ktp_stalled(int fd)
{
	__u64 esr;

	ktp_must(fd, KTP_IOC_STALLED, &esr);
	return esr;
}

void ktp_go(int fd)
{
	ktp_must(fd, KTP_IOC_GO, NULL);
}

const char *ktp_pages_differ(const struct ktp_page *a, const struct ktp_page *b,
			     size_t nr)
{
	static char text[256];
	size_t i;

	for (i = 0; i < nr; i++) {
		if (a[i].pfn == b[i].pfn && a[i].flags == b[i].flags &&
		    a[i].count == b[i].count && a[i].mapcount == b[i].mapcount)
			continue;
		snprintf(text, sizeof(text),
			 "page %zu: pfn %#llx -> %#llx, flags %#llx -> %#llx, count %d -> %d, mapcount %d -> %d",
			 i, a[i].pfn, b[i].pfn, a[i].flags, b[i].flags, a[i].count,
			 b[i].count, a[i].mapcount, b[i].mapcount);
		return text;
	}
	return NULL;
}

/* -------------------------------------------------------- page_ref events */

static uint64_t *watched;
static size_t nr_watched;
static char first_event[256];

static bool trace_write(const char *file, const char *text)
{
	char path[PATH_MAX];
	ssize_t len = strlen(text);
	bool done;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", INSTANCE, file);
	fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
	if (fd < 0)
		return false;
	done = write(fd, text, len) == len;
	close(fd);
	return done;
}

static int compare_pfn(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

const char *pageref_unavailable(void)
{
	if (access(TRACING, F_OK))
		return "no tracefs";
	if (access(TRACING "/events/page_ref/enable", F_OK))
		return "the kernel has no page_ref events (CONFIG_DEBUG_PAGE_REF)";
	if (mkdir(INSTANCE, 0700) && errno != EEXIST)
		return "cannot make a trace instance";
	return NULL;
}

void pageref_start(const struct ktp_page *pages, size_t nr)
{
	char filter[128];
	size_t i;

	TEST_ASSERT(!watched, "page references are watched already");
	watched = calloc(nr, sizeof(*watched));
	TEST_ASSERT(watched, "no memory");
	nr_watched = nr;
	for (i = 0; i < nr; i++)
		watched[i] = pages[i].pfn;
	qsort(watched, nr, sizeof(*watched), compare_pfn);
	first_event[0] = 0;

	/* The set may have gaps: the filter keeps the rest of memory out of the buffer. */
	snprintf(filter, sizeof(filter), "pfn >= %llu && pfn <= %llu",
		 (unsigned long long)watched[0], (unsigned long long)watched[nr - 1]);
	TEST_ASSERT(trace_write("tracing_on", "0") &&
		    trace_write("buffer_size_kb", "4096") &&
		    trace_write("events/page_ref/filter", filter) &&
		    trace_write("events/page_ref/enable", "1") &&
		    trace_write("trace", "") && trace_write("tracing_on", "1"),
		    "cannot start the trace: %s", strerror(errno));
}

static unsigned long lost_events(void)
{
	unsigned long lost = 0, n;
	char path[PATH_MAX], line[128];
	FILE *f;
	int cpu;

	for (cpu = 0; ; cpu++) {
		snprintf(path, sizeof(path), INSTANCE "/per_cpu/cpu%d/stats", cpu);
		f = fopen(path, "r");
		if (!f)
			return lost;
		while (fgets(line, sizeof(line), f)) {
			if (sscanf(line, "overrun: %lu", &n) == 1 ||
			    sscanf(line, "dropped events: %lu", &n) == 1)
				lost += n;
		}
		fclose(f);
	}
}

unsigned long pageref_stop(void)
{
	unsigned long events = 0, lost;
	unsigned long long pfn;
	char line[512];
	char *at;
	FILE *f;

	TEST_ASSERT(watched, "page references are not watched");
	TEST_ASSERT(trace_write("tracing_on", "0"), "cannot stop the trace");
	lost = lost_events();
	f = fopen(INSTANCE "/trace", "r");
	TEST_ASSERT(f, "cannot read the trace");
	while (fgets(line, sizeof(line), f)) {
		uint64_t key;

		at = strstr(line, " pfn=0x");
		if (line[0] == '#' || !at || sscanf(at, " pfn=0x%llx", &pfn) != 1)
			continue;
		key = pfn;
		if (!bsearch(&key, watched, nr_watched, sizeof(key), compare_pfn))
			continue;
		if (!events++)
			snprintf(first_event, sizeof(first_event), "%.*s",
				 (int)strcspn(line, "\n"), line);
	}
	fclose(f);
	trace_write("events/page_ref/enable", "0");
	trace_write("events/page_ref/filter", "0");
	free(watched);
	watched = NULL;
	TEST_ASSERT(!lost, "the trace lost %lu events", lost);
	return events;
}

const char *pageref_first(void)
{
	return first_event[0] ? first_event : "none";
}

/* --------------------------------------------------------- the kernel's log */

int klog_open(void)
{
	int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);

	TEST_ASSERT(fd >= 0, "cannot open /dev/kmsg: %s", strerror(errno));
	TEST_ASSERT(lseek(fd, 0, SEEK_END) >= 0, "cannot seek in /dev/kmsg");
	return fd;
}

/* The text of the next record, without its prefix; NULL at the end. */
static char *klog_next(int fd)
{
	static char record[8192];
	ssize_t len;
	char *text;

	do {
		len = read(fd, record, sizeof(record) - 1);
		/* EPIPE: records were overwritten; what is left is still read. */
	} while (len < 0 && (errno == EINTR || errno == EPIPE));
	if (len < 0)
		return NULL;
	record[len] = 0;
	text = strchr(record, ';');
	text = text ? text + 1 : record;
	text[strcspn(text, "\n")] = 0;
	return text;
}

const char *klog_complaint(int fd)
{
	static const char * const bad[] = {
		"WARNING: ", "BUG: ", "kernel BUG at", "Bad page", "Oops", "refcount_t: ",
		"Unable to handle kernel", "INFO: possible", "INFO: lockdep", "UBSAN: ",
		"list_add corruption", "list_del corruption", "VM_BUG", "rcu: INFO: ",
		"get_user_pages: ", "INFO: task ", "Internal error: ", "nVHE hyp panic",
	};
	static char found[8192];
	char *text;
	size_t i;

	found[0] = 0;
	while ((text = klog_next(fd))) {
		for (i = 0; !found[0] && i < ARRAY_SIZE(bad); i++) {
			if (strstr(text, bad[i]))
				snprintf(found, sizeof(found), "%s", text);
		}
	}
	return found[0] ? found : NULL;
}

unsigned int klog_count(int fd, const char *text)
{
	unsigned int n = 0;
	char *line;

	while ((line = klog_next(fd)))
		n += !!strstr(line, text);
	return n;
}
