/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Buffers of the module kvm_test_pages, and what watches the pages behind them:
 * reference counts as they change (page_ref trace events), and the kernel's log.
 */
#ifndef SELFTEST_KVM_ARM64_PAGEREF_H
#define SELFTEST_KVM_ARM64_PAGEREF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../../test_modules/kvm_test_pages.h"

/*
 * Load the module if need be. NULL when its device can be opened, else why the
 * test has to be skipped. The module lies beside the directory of the program.
 */
const char *ktp_unavailable(void);

/* A buffer: its file, or -errno of CREATE (-ENODEV: no such pages here). */
int ktp_create(uint32_t kind, uint32_t nr_pages, uint32_t order, uint32_t flags);

/* All of these fail the test when the ioctl fails. */
void ktp_snapshot(int fd, uint32_t first, uint32_t nr, struct ktp_page *pages);
void ktp_revoke(int fd, uint32_t first, uint32_t nr);
void ktp_replace(int fd, uint32_t flags);
uint64_t ktp_check_canary(int fd, uint32_t flags);	/* the number of bad words */
uint64_t ktp_peek64(int fd, uint32_t page, uint32_t offset);
uint32_t ktp_peek32(int fd, uint32_t page, uint32_t offset);
void ktp_poke(int fd, uint32_t page, uint32_t offset, const void *data, uint32_t len);
void ktp_poke64(int fd, uint32_t page, uint32_t offset, uint64_t value);
void ktp_fault_error(int fd, enum ktp_fault_error error, uint32_t count);
void ktp_storm_start(int fd, enum ktp_storm_op op, uint32_t interval_us);
uint64_t ktp_storm_stop(int fd);			/* the number of rounds */
/* false: this kernel cannot */
bool ktp_stall(int fd, int vcpu_fd, uint64_t gpa);
uint64_t ktp_stalled(int fd);				/* the syndrome */
void ktp_go(int fd);

/*
 * The difference of two snapshots in what nobody may change: pfn, page->flags,
 * counts. NULL when there is none; else a description in a static buffer.
 */
const char *ktp_pages_differ(const struct ktp_page *a, const struct ktp_page *b,
			     size_t nr);

/*
 * Count the page_ref events of a set of pages between start and stop, transient
 * ones too. stop returns how many; the first is in pageref_first(). A second start
 * before the stop is a mistake. Needs CONFIG_DEBUG_PAGE_REF.
 */
const char *pageref_unavailable(void);
void pageref_start(const struct ktp_page *pages, size_t nr);
unsigned long pageref_stop(void);
const char *pageref_first(void);

/*
 * The kernel's log from open to check: the first line that a sound kernel does
 * not print (warnings, bad pages, counts that are off), or NULL.
 */
int klog_open(void);
const char *klog_complaint(int fd);
/* Is there a line with this text since open, or the last call? How many? */
unsigned int klog_count(int fd, const char *text);

#endif /* SELFTEST_KVM_ARM64_PAGEREF_H */
