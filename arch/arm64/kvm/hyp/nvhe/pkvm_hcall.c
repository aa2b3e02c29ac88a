// SPDX-License-Identifier: GPL-2.0-only
/*
 * The host's calls of protected mode: from registers to functions.
 *
 * Owns how each call finds its arguments and where its result goes; hyp-main.c owns the
 * table of calls and which are barred when. Nothing is checked here but whether a vCPU
 * is loaded, and no argument is a pointer: the functions that are called check what
 * they are given, and say what they return.
 */

#include <linux/kvm_host.h>

#include <nvhe/guest_share.h>
#include <nvhe/ownership.h>
#include <nvhe/pkvm.h>
#include <nvhe/pkvm_hcall.h>
#include <nvhe/trap_handler.h>
#include <nvhe/vm_table.h>

void handle___pkvm_vcpu_load(struct kvm_cpu_context *host_ctxt)
{
	DECLARE_REG(pkvm_handle_t, handle, host_ctxt, 1);
	DECLARE_REG(unsigned int, vcpu_idx, host_ctxt, 2);

	cpu_reg(host_ctxt, 1) = pkvm_load_hyp_vcpu(handle, vcpu_idx);
}

void handle___pkvm_vcpu_put(struct kvm_cpu_context *host_ctxt)
{
	pkvm_put_hyp_vcpu();
}

void handle___pkvm_host_donate_guest(struct kvm_cpu_context *host_ctxt)
{
	DECLARE_REG(u64, pfn, host_ctxt, 1);
	DECLARE_REG(u64, gfn, host_ctxt, 2);
	DECLARE_REG(u64, nr_pages, host_ctxt, 3);
	struct pkvm_hyp_vcpu *hyp_vcpu = pkvm_get_loaded_hyp_vcpu();

	cpu_reg(host_ctxt, 1) = hyp_vcpu ?
		__pkvm_host_donate_guest(hyp_vcpu, pfn, gfn, nr_pages) : -EINVAL;
}

void handle___pkvm_host_can_access(struct kvm_cpu_context *host_ctxt)
{
	DECLARE_REG(u64, pfn, host_ctxt, 1);

	cpu_reg(host_ctxt, 1) = __pkvm_host_can_access(pfn);
}

void handle___pkvm_host_force_reclaim(struct kvm_cpu_context *host_ctxt)
{
	DECLARE_REG(u64, pfn, host_ctxt, 1);

	cpu_reg(host_ctxt, 1) = __pkvm_host_force_reclaim(pfn);
}

void handle___pkvm_host_share_guest(struct kvm_cpu_context *host_ctxt)
{
	DECLARE_REG(u64, pfn, host_ctxt, 1);
	DECLARE_REG(u64, gfn, host_ctxt, 2);
	DECLARE_REG(u64, nr_pages, host_ctxt, 3);
	DECLARE_REG(enum kvm_pgtable_prot, prot, host_ctxt, 4);
	struct pkvm_hyp_vcpu *hyp_vcpu = pkvm_get_loaded_hyp_vcpu();

	cpu_reg(host_ctxt, 1) = hyp_vcpu ?
		__pkvm_host_share_guest(hyp_vcpu, pfn, gfn, nr_pages, prot) : -EINVAL;
}

void handle___pkvm_host_relax_guest(struct kvm_cpu_context *host_ctxt)
{
	DECLARE_REG(u64, gfn, host_ctxt, 1);
	DECLARE_REG(u64, nr_pages, host_ctxt, 2);
	DECLARE_REG(enum kvm_pgtable_prot, prot, host_ctxt, 3);
	struct pkvm_hyp_vcpu *hyp_vcpu = pkvm_get_loaded_hyp_vcpu();

	cpu_reg(host_ctxt, 1) = hyp_vcpu ?
		__pkvm_host_relax_guest(hyp_vcpu, gfn, nr_pages, prot) : -EINVAL;
}

void handle___pkvm_guest_stage2_op(struct kvm_cpu_context *host_ctxt)
{
	DECLARE_REG(pkvm_handle_t, handle, host_ctxt, 1);
	DECLARE_REG(u32, op, host_ctxt, 2);
	DECLARE_REG(u64, gfn, host_ctxt, 3);
	DECLARE_REG(u64, nr_pages, host_ctxt, 4);

	cpu_reg(host_ctxt, 1) = __pkvm_guest_stage2_op(handle, op, gfn, nr_pages);
}

void handle___pkvm_start_teardown_vm(struct kvm_cpu_context *host_ctxt)
{
	DECLARE_REG(pkvm_handle_t, handle, host_ctxt, 1);

	cpu_reg(host_ctxt, 1) = __pkvm_start_teardown_vm(handle);
}

void handle___pkvm_reclaim_guest_pages(struct kvm_cpu_context *host_ctxt)
{
	DECLARE_REG(pkvm_handle_t, handle, host_ctxt, 1);
	DECLARE_REG(u64, pfn, host_ctxt, 2);
	DECLARE_REG(u64, gfn, host_ctxt, 3);
	DECLARE_REG(u64, nr_pages, host_ctxt, 4);

	cpu_reg(host_ctxt, 1) = __pkvm_reclaim_guest_pages(handle, pfn, gfn,
							   nr_pages);
}

void handle___pkvm_finalize_teardown_vm(struct kvm_cpu_context *host_ctxt)
{
	DECLARE_REG(pkvm_handle_t, handle, host_ctxt, 1);

	cpu_reg(host_ctxt, 1) = __pkvm_finalize_teardown_vm(handle);
}
