// SPDX-License-Identifier: GPL-2.0-only
/*
 * Behind hostile.h: loads the modules of the hostile host and speaks to
 * kvm_hostile_host. Owns khh_dev.
 */
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>
#include <sys/syscall.h>

#include "kvm_util.h"
#include "hostile.h"

int khh_dev = -1;
struct khh_info khh_info;

const char *hostile_load(const char *module, const char *device)
{
	static char why[PATH_MAX + 128];
	bool debug = !access("/proc/lockdep", F_OK);
	char self[PATH_MAX], path[PATH_MAX + 64];
	ssize_t len;
	int i, fd;

	len = readlink("/proc/self/exe", self, sizeof(self) - 1);
	if (len < 0)
		return "cannot tell where the program is";
	self[len] = 0;
	snprintf(path, sizeof(path), "%s/../%s%s", dirname(self), debug ? "debug/" : "",
		 module);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || (syscall(SYS_finit_module, fd, "", 0) && errno != EEXIST)) {
		snprintf(why, sizeof(why), "cannot load %s: %s", path, strerror(errno));
		return why;
	}
	close(fd);
	for (i = 0; i < 100 && access(device, R_OK | W_OK); i++)
		usleep(10000);
	return NULL;
}

const char *hostile_unavailable(void)
{
	const char *why;

	if (pkvm_forced_ordinary() || !pkvm_protected_mode())
		return "KVM is not in protected mode: there is no EL2 to attack";
	why = pkvm_unavailable() ?: hostile_load(KHH_MODULE, KHH_DEVICE);
	if (why)
		return why;
	khh_dev = open(KHH_DEVICE, O_RDWR | O_CLOEXEC);
	TEST_ASSERT(khh_dev >= 0, "cannot open %s: %s", KHH_DEVICE, strerror(errno));
	khh_must(KHH_IOC_INFO, &khh_info);
	return NULL;
}

void hostile_close(void)
{
	pkvm_close_fd(&khh_dev);
}

void khh_calls(int cpu, int vcpu_fd, struct khh_call *c, int nr)
{
	struct khh_calls all = {
		.cpu = cpu, .vcpu_fd = vcpu_fd, .nr = nr, .calls = (uintptr_t)c,
	};

	khh_must(KHH_IOC_CALLS, &all);
}

long khh_one_call(int cpu, int vcpu_fd, struct khh_call c)
{
	khh_calls(cpu, vcpu_fd, &c, 1);
	if (c.smccc) {
		printf("# function %u: register 0 is %lld\n", c.fn, c.smccc);
		return KHH_ANYTHING;
	}
	return c.ret;
}

void khh_topup(struct pkvm_vcpu *vcpu)
{
	struct khh_mc mc = { .vcpu_fd = vcpu->fd, .topup = 16 };

	khh_must(KHH_IOC_MC, &mc);
}

long khh_patient_call(struct pkvm_vcpu *vcpu, struct khh_call c)
{
	long ret;
	int i;

	for (i = 0; i < 4; i++) {
		ret = khh_one_call(-1, vcpu->fd, c);
		if (ret <= 0 || ret == (long)KHH_ANYTHING)
			break;
		khh_topup(vcpu);
	}
	return ret;
}

long khh_share(struct pkvm_vcpu *vcpu, uint64_t pfn, uint64_t gfn, uint64_t nr,
	       uint64_t prot)
{
	return khh_patient_call(vcpu, KHH_CALL(KHH_pkvm_host_share_guest, pfn, gfn, nr,
					       prot));
}

long khh_donate(struct pkvm_vcpu *vcpu, uint64_t pfn, uint64_t gfn, uint64_t nr)
{
	return khh_patient_call(vcpu, KHH_CALL(KHH_pkvm_host_donate_guest, pfn, gfn, nr));
}

struct khh_vm khh_vm_info(struct pkvm_vm *vm, uint64_t gfn)
{
	struct khh_vm v = { .vm_fd = vm->fd, .gfn = gfn };

	khh_must(KHH_IOC_VM, &v);
	return v;
}

uint32_t khh_handle(struct pkvm_vm *vm)
{
	return khh_vm_info(vm, 0).handle;
}

struct khh_mc khh_vcpu_info(struct pkvm_vcpu *vcpu)
{
	struct khh_mc mc = { .vcpu_fd = vcpu->fd };

	khh_must(KHH_IOC_MC, &mc);
	return mc;
}

struct khh_pages khh_pages_alloc(unsigned int order)
{
	struct khh_pages p = { .order = order };

	khh_must(KHH_IOC_ALLOC, &p);
	return p;
}

uint64_t khh_page_alloc(unsigned int order)
{
	return khh_pages_alloc(order).pfn;
}

void khh_page_free(uint64_t pfn)
{
	struct khh_pages p = { .pfn = pfn };

	khh_must(KHH_IOC_FREE, &p);
}

int khh_peek(uint64_t pfn, uint64_t offset, uint64_t *val)
{
	struct khh_access a = { .pfn = pfn, .offset = offset };
	int err = ioctl(khh_dev, KHH_IOC_PEEK, &a) ? errno : 0;

	*val = a.value;
	return err;
}

int khh_poke(uint64_t pfn, uint64_t offset, uint64_t val)
{
	struct khh_access a = { .pfn = pfn, .offset = offset, .value = val };

	return ioctl(khh_dev, KHH_IOC_POKE, &a) ? errno : 0;
}

void khh_store(uint64_t addr, uint64_t val, uint64_t len)
{
	TEST_ASSERT(!khh_one_call(-1, -1, KHH_CALL(KHH_STORE, addr, val, len)),
		    "the kernel cannot write to %#lx", addr);
}

uint64_t khh_load(uint64_t addr, uint64_t len)
{
	struct khh_call c = KHH_CALL(KHH_LOAD, addr, 0, len);

	khh_calls(-1, -1, &c, 1);
	TEST_ASSERT(!c.smccc, "the kernel cannot read %#lx", addr);
	return c.ret;
}

bool khh_page_is_alone(uint64_t pfn)
{
	if (hvc(KHH_pkvm_host_share_hyp, pfn))
		return false;
	return !hvc(KHH_pkvm_host_unshare_hyp, pfn);
}

void khh_step(struct pkvm_vcpu *vcpu)
{
	vcpu->run->immediate_exit = 1;
	TEST_ASSERT(pkvm_run(vcpu) == -EINTR, "the guest did not step");
	vcpu->run->immediate_exit = 0;
}
