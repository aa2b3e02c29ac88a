// SPDX-License-Identifier: GPL-2.0-only
/*
 * The vCPU threads: KVM_RUN, and what to do with each way back from it.
 *
 * A vCPU thread hands MMIO to mmio.c and ends the run through vm_stop();
 * it touches neither guest memory nor the guest's registers.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "pvm.h"

/* Only there to interrupt KVM_RUN; immediate_exit closes the race. */
#define SIG_KICK	SIGRTMIN

static void kick_handler(int sig)
{
	(void)sig;
}

static void run_failed(struct vcpu *vcpu, int err)
{
	struct kvm_run *run = vcpu->run;

	if (run->exit_reason == KVM_EXIT_MEMORY_FAULT)
		pvm_info("CPU %d: KVM cannot serve the guest's access to %#lx (size %#lx, flags %#lx): %s",
			 vcpu->id, (u64)run->memory_fault.gpa,
			 (u64)run->memory_fault.size,
			 (u64)run->memory_fault.flags, strerror(err));
	else
		pvm_info("CPU %d: KVM_RUN failed: %s", vcpu->id, strerror(err));

	if (err == ENOMEM && vcpu->vm->opt.protected_vm)
		pvm_info("the host is short of memory, or RLIMIT_MEMLOCK is too low for this guest (raise it with ulimit -l)");
	vm_stop(vcpu->vm, err == ENOMEM ? PVM_NO_MEMORY : PVM_CRASH);
}

static void system_event(struct vcpu *vcpu)
{
	struct vm *vm = vcpu->vm;

	switch (vcpu->run->system_event.type) {
	case KVM_SYSTEM_EVENT_SHUTDOWN:
		pvm_dbg("CPU %d: the guest powered off", vcpu->id);
		vm_stop(vm, PVM_POWEROFF);
		break;
	case KVM_SYSTEM_EVENT_RESET:
		pvm_info("the guest asked for a reset");
		vm_stop(vm, PVM_RESET);
		break;
	case KVM_SYSTEM_EVENT_CRASH:
		pvm_info("the guest reports that it crashed");
		vm_stop(vm, PVM_CRASH);
		break;
	default:
		pvm_info("CPU %d: unknown system event %u", vcpu->id, vcpu->run->system_event.type);
		vm_stop(vm, PVM_CRASH);
	}
}

static void handle_exit(struct vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;

	switch (run->exit_reason) {
	case KVM_EXIT_MMIO:
		mmio_access(run->mmio.phys_addr, run->mmio.data,
			    run->mmio.len <= sizeof(run->mmio.data) ? run->mmio.len : 0,
			    run->mmio.is_write);
		break;
	case KVM_EXIT_SYSTEM_EVENT:
		system_event(vcpu);
		break;
	case KVM_EXIT_INTR:
		break;
	case KVM_EXIT_FAIL_ENTRY:
		pvm_info("CPU %d: the CPU refuses to enter the guest (reason %#lx)", vcpu->id,
			 (u64)run->fail_entry.hardware_entry_failure_reason);
		vm_stop(vcpu->vm, PVM_CRASH);
		break;
	case KVM_EXIT_INTERNAL_ERROR:
		pvm_info("CPU %d: KVM internal error %u", vcpu->id, run->internal.suberror);
		vm_stop(vcpu->vm, PVM_CRASH);
		break;
	default:
		pvm_info("CPU %d: unexpected exit from KVM, reason %u", vcpu->id, run->exit_reason);
		vm_stop(vcpu->vm, PVM_CRASH);
	}
}

static void *vcpu_thread(void *arg)
{
	struct vcpu *vcpu = arg;
	struct vm *vm = vcpu->vm;
	char name[16];

	snprintf(name, sizeof(name), "vcpu%d", vcpu->id);
	pthread_setname_np(pthread_self(), name);

	while (!atomic_load(&vm->stopping)) {
		if (!ioctl(vcpu->fd, KVM_RUN, 0)) {
			handle_exit(vcpu);
		} else if (errno != EINTR && errno != EAGAIN) {
			run_failed(vcpu, errno);
			break;
		}
	}
	atomic_store(&vcpu->done, true);
	return NULL;
}

void vcpus_start(struct vm *vm)
{
	struct sigaction sa = { .sa_handler = kick_handler };
	int i, err;

	sigaction(SIG_KICK, &sa, NULL);
	for (i = 0; i < vm->ncpus; i++) {
		struct vcpu *vcpu = &vm->vcpus[i];

		err = pthread_create(&vcpu->thread, NULL, vcpu_thread, vcpu);
		if (err) {
			pvm_info("cannot start the thread of CPU %d: %s", i, strerror(err));
			vm_stop(vm, PVM_NO_MEMORY);
			return;
		}
		vcpu->started = true;
	}
}

/* Returns false if a vCPU could not be brought back from the kernel. */
bool vcpus_stop(struct vm *vm)
{
	struct timespec tick = { .tv_nsec = 10 * 1000 * 1000 };
	int i, tries;

	for (i = 0; i < vm->ncpus; i++) {
		struct vcpu *vcpu = &vm->vcpus[i];

		if (!vcpu->started)
			continue;
		__atomic_store_n(&vcpu->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
		for (tries = 0; !atomic_load(&vcpu->done); tries++) {
			if (tries == 3000) {
				pvm_info("CPU %d does not come back from KVM_RUN", i);
				return false;
			}
			pthread_kill(vcpu->thread, SIG_KICK);
			nanosleep(&tick, NULL);
		}
		pthread_join(vcpu->thread, NULL);
	}
	return true;
}
