/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The modules of the hostile host, for the tests that use them: loading, and calls to
 * EL2 and what goes with them by name. Knows no test.
 */
#ifndef SELFTEST_KVM_ARM64_HOSTILE_H
#define SELFTEST_KVM_ARM64_HOSTILE_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>

#include "test_util.h"
#include "pkvm.h"

#include "../../test_modules/kvm_hostile_host.h"

#define KHH_ANYTHING	0x5a5a0000c0de5a5aul
#define KHH_EC(esr)	((esr) >> 26 & 0x3f)

#define KHH_RW		(KHH_R | KHH_W)
#define KHH_RWX		(KHH_R | KHH_W | KHH_X)

/* As ARM_EXCEPTION_TRAP, and the flags of a vCPU for the next entry. */
#define KHH_EXIT_IRQ		0
#define KHH_EXIT_TRAP		2
#define KHH_EXIT_IL		3
#define KHH_IFLAGS_PENDING	0x1
#define KHH_IFLAGS_INCREMENT	0x2

extern int khh_dev;
extern struct khh_info khh_info;

/* Load the module of this name if need be: NULL, or why it cannot be. */
const char *hostile_load(const char *module, const char *device);

/* Why there is no EL2 to attack here, or NULL: then khh_dev is open. */
const char *hostile_unavailable(void);
void hostile_close(void);

#define khh_must(cmd, arg)						\
	TEST_ASSERT(!ioctl(khh_dev, cmd, arg), "%s: %s", #cmd, strerror(errno))

/* Several calls on one CPU (-1: any), or with a vCPU loaded (its file). */
void khh_calls(int cpu, int vcpu_fd, struct khh_call *c, int nr);

#define KHH_CALL(_fn, ...) ((struct khh_call) { .fn = (_fn), .args = { __VA_ARGS__ } })

/* One call: what EL2 answers, or KHH_ANYTHING when it did not know the call. */
long khh_one_call(int cpu, int vcpu_fd, struct khh_call c);

#define hvc(fn, ...)		khh_one_call(-1, -1, KHH_CALL(fn, __VA_ARGS__))
#define hvc_on(cpu, fn, ...)	khh_one_call(cpu, -1, KHH_CALL(fn, __VA_ARGS__))
#define hvc_vcpu(vcpu, fn, ...)	khh_one_call(-1, (vcpu)->fd, KHH_CALL(fn, __VA_ARGS__))

/* Put out pages for EL2's tables. */
void khh_topup(struct pkvm_vcpu *vcpu);

/* As a host that wants to succeed: with table pages whenever EL2 asks for them. */
long khh_patient_call(struct pkvm_vcpu *vcpu, struct khh_call c);
long khh_share(struct pkvm_vcpu *vcpu, uint64_t pfn, uint64_t gfn, uint64_t nr,
	       uint64_t prot);
long khh_donate(struct pkvm_vcpu *vcpu, uint64_t pfn, uint64_t gfn, uint64_t nr);

struct khh_vm khh_vm_info(struct pkvm_vm *vm, uint64_t gfn);
uint32_t khh_handle(struct pkvm_vm *vm);
struct khh_mc khh_vcpu_info(struct pkvm_vcpu *vcpu);

/* Pages of the host kernel's. */
struct khh_pages khh_pages_alloc(unsigned int order);
uint64_t khh_page_alloc(unsigned int order);
void khh_page_free(uint64_t pfn);

/* The host kernel touches a page: 0 or the errno of the fault. */
int khh_peek(uint64_t pfn, uint64_t offset, uint64_t *val);
int khh_poke(uint64_t pfn, uint64_t offset, uint64_t val);

/* As the host would between two instructions of its own. */
void khh_store(uint64_t addr, uint64_t val, uint64_t len);
uint64_t khh_load(uint64_t addr, uint64_t len);

/* Does the host have this page for itself? Only then EL2 takes a share of it. */
bool khh_page_is_alone(uint64_t pfn);

/* Go on after an exit of the VMM's up to the next entry, which is left to the test. */
void khh_step(struct pkvm_vcpu *vcpu);

#endif /* SELFTEST_KVM_ARM64_HOSTILE_H */
