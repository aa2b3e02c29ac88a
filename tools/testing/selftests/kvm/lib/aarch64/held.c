// SPDX-License-Identifier: GPL-2.0-only
/*
 * The oracle of held.h. Owns the swap device zram0 between held_setup() and
 * held_cleanup(), and nothing else of the system.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/swap.h>

#include <linux/compiler.h>

#include "held.h"
#include "test_util.h"

#define ZRAM		"/dev/zram0"
#define ZRAM_SYS	"/sys/block/zram0/"
#define ZRAM_PAGES	16384UL
/* As in linux/kernel-page-flags.h, which is none of user space's. */
#define KPF_GUEST	43

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT	21
#endif

bool write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool done;

	if (fd < 0)
		return false;
	done = write(fd, text, strlen(text)) == (ssize_t)strlen(text);
	close(fd);
	return done;
}

long read_number(const char *path)
{
	char buf[64] = "";
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t len;

	if (fd < 0)
		return -1;
	len = read(fd, buf, sizeof(buf) - 1);
	close(fd);
	return len > 0 ? strtol(buf, NULL, 0) : -1;
}

/* NULL, or why there is no swap device for the oracle. */
const char *held_setup(void)
{
	size_t page = getpagesize();
	char *header, size[32];
	bool done;
	int fd;

	if (access(ZRAM_SYS "disksize", W_OK))
		return "no zram device that we may set up (CONFIG_ZRAM, root)";
	/* Left behind by a test that was killed; one of another owner is busy. */
	swapoff(ZRAM);
	write_text(ZRAM_SYS "reset", "1");
	snprintf(size, sizeof(size), "%lu", ZRAM_PAGES * page);
	if (!write_text(ZRAM_SYS "disksize", size))
		return "zram0 is in use";

	header = calloc(1, page);
	TEST_ASSERT(header, "out of memory");
	((uint32_t *)(header + 1024))[0] = 1;
	((uint32_t *)(header + 1024))[1] = ZRAM_PAGES - 1;
	memcpy(header + page - 10, "SWAPSPACE2", 10);
	fd = open(ZRAM, O_WRONLY | O_CLOEXEC);
	done = fd >= 0 && write(fd, header, page) == (ssize_t)page;
	if (fd >= 0)
		close(fd);
	free(header);
	if (!done || swapon(ZRAM, 0)) {
		write_text(ZRAM_SYS "reset", "1");
		return "cannot swap to zram0";
	}
	return NULL;
}

void held_cleanup(void)
{
	swapoff(ZRAM);
	write_text(ZRAM_SYS "reset", "1");
}

/*
 * Reclaim frees a page only if nobody but the swap cache has a reference. If
 * there is one more, the page is unmapped and written all the same, but stays in
 * the swap cache, where mincore() sees it.
 */
size_t held_pages(void *mem, size_t size)
{
	size_t page = getpagesize(), nr = size / page, i, held = 0;
	unsigned char *in = malloc(nr);
	int try;

	TEST_ASSERT(in, "out of memory");
	for (try = 0; try < 8; try++) {
		for (i = 0; i < nr; i++) {
			char *p = (char *)mem + i * page;

			/* Also brings in what an earlier try left in the cache. */
			WRITE_ONCE(*p, READ_ONCE(*p));
		}
		/*
		 * The per-CPU lists of pages on the way to the LRU have references
		 * too; compaction drains those of all CPUs.
		 */
		if (try)
			write_text("/proc/sys/vm/compact_memory", "1");
		TEST_ASSERT(!madvise(mem, size, MADV_PAGEOUT), "MADV_PAGEOUT failed");
		TEST_ASSERT(!mincore(mem, size, in), "mincore() failed");
		held = 0;
		for (i = 0; i < nr; i++)
			held += in[i] & 1;
		if (!held)
			break;
	}
	for (i = 0; i < nr && held; i++) {
		if (in[i] & 1) {
			printf("# %zu of %zu pages are held, the first at %#zx\n",
			       held, nr, i * page);
			break;
		}
	}
	free(in);
	return held;
}

uint64_t pfn_of(const void *addr)
{
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	uint64_t entry = 0;

	if (fd < 0)
		return 0;
	if (pread(fd, &entry, sizeof(entry),
		  (uintptr_t)addr / getpagesize() * sizeof(entry)) != sizeof(entry))
		entry = 0;
	close(fd);
	return entry & (1UL << 63) ? entry & ((1UL << 55) - 1) : 0;
}

uint64_t flags_of(uint64_t pfn)
{
	int fd = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);
	uint64_t flags = 0;

	TEST_ASSERT(fd >= 0 && pfn &&
		    pread(fd, &flags, sizeof(flags), pfn * sizeof(flags)) == sizeof(flags),
		    "cannot tell what page %#lx is", pfn);
	close(fd);
	return flags;
}

bool has_mark(uint64_t pfn)
{
	return flags_of(pfn) & (1UL << KPF_GUEST);
}

/* A line of /proc/vmstat, or -1. */
long read_vmstat(const char *name)
{
	FILE *f = fopen("/proc/vmstat", "r");
	char word[64];
	long val;

	TEST_ASSERT(f, "no /proc/vmstat");
	while (fscanf(f, "%63s %ld", word, &val) == 2) {
		if (!strcmp(word, name)) {
			fclose(f);
			return val;
		}
	}
	fclose(f);
	return -1;
}
