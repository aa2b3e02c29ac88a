/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Does anybody hold a page of ordinary memory besides its page tables? An oracle
 * that asks the kernel to reclaim the page and needs nothing but user space.
 */
#ifndef SELFTEST_KVM_HELD_H
#define SELFTEST_KVM_HELD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* A swap device of our own, for as long as the oracle is needed. */
const char *held_setup(void);
void held_cleanup(void);

/*
 * Pages of populated, writable memory that cannot be paged out. That is so for a
 * page to which somebody has a reference; the contents survive. The range must
 * not be locked, and 0 is the result for memory that nobody but us maps.
 */
size_t held_pages(void *mem, size_t size);

/* Physical frame of an address that is mapped here, or 0. */
uint64_t pfn_of(const void *addr);
/* What /proc/kpageflags says of a frame; and whether that is private to a guest. */
uint64_t flags_of(uint64_t pfn);
bool has_mark(uint64_t pfn);
bool write_text(const char *path, const char *text);
long read_number(const char *path);
long read_vmstat(const char *name);

#endif /* SELFTEST_KVM_HELD_H */
