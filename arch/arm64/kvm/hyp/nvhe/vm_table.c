// SPDX-License-Identifier: GPL-2.0-only
/*
 * The VM table: from handles to VMs, and which CPU runs which vCPU.
 *
 * Owns the table, the lock that keeps its VMs alive, and the steps in a VM's
 * life that other CPUs can see: it is in the table, its vCPUs are loaded and
 * put, it is dying, it is gone. What a VM is made of is pkvm.c's business.
 */

#include <linux/kvm_host.h>
#include <linux/nospec.h>

#include <asm/kvm_hyp.h>
#include <asm/kvm_pkvm.h>

#include <nvhe/mem_protect.h>
#include <nvhe/memory.h>
#include <nvhe/ownership.h>
#include <nvhe/vm_table.h>

/* Protects the table, nr_vcpus, is_dying, and which vCPU is loaded where. */
DEFINE_HYP_SPINLOCK(vm_table_lock);

/* KVM_MAX_PVMS entries, made at initialisation. */
static struct pkvm_hyp_vm **vm_table;

/* The vCPU that this CPU has loaded; written under vm_table_lock. */
static DEFINE_PER_CPU(struct pkvm_hyp_vcpu *, loaded_hyp_vcpu);

/* Which vCPU of each VM ran last on this CPU, plus one; see load below. */
static DEFINE_PER_CPU(u16 [KVM_MAX_PVMS], last_vcpu_ran);

/**
 * pkvm_hyp_vm_table_init() - Hand over the memory of the table.
 * @tbl: cleared memory for KVM_MAX_PVMS pointers.
 *
 * Called once, before the host is deprivileged.
 */
void pkvm_hyp_vm_table_init(void *tbl)
{
	vm_table = tbl;
}

/**
 * get_vm_by_handle() - Find a VM by the host's name for it.
 * @handle: any number.
 *
 * Called with vm_table_lock held, which keeps the VM alive. Before the table
 * is there, as initialisation may have failed, there is no VM.
 *
 * Return: the VM, or NULL.
 */
struct pkvm_hyp_vm *get_vm_by_handle(pkvm_handle_t handle)
{
	return pkvm_get_vm_by_idx(handle - PKVM_HANDLE_OFFSET);
}

/**
 * pkvm_get_vm_by_idx() - Find a VM by its place in the table.
 * @idx: the place, any number.
 *
 * Called with vm_table_lock held, which keeps the VM alive.
 *
 * Return: the VM, or NULL.
 */
struct pkvm_hyp_vm *pkvm_get_vm_by_idx(unsigned int idx)
{
	hyp_assert_lock_held(&vm_table_lock);

	if (unlikely(!vm_table || idx >= KVM_MAX_PVMS))
		return NULL;

	return vm_table[array_index_nospec(idx, KVM_MAX_PVMS)];
}

/**
 * pkvm_get_vm() - Find a VM, and keep it.
 * @handle: the VM, as the host gave it.
 *
 * For calls that take longer than vm_table_lock should be held. As many CPUs as
 * there are can have a VM, one time each: the count cannot overflow.
 *
 * Return: the VM, for pkvm_put_vm(), or NULL.
 */
struct pkvm_hyp_vm *pkvm_get_vm(pkvm_handle_t handle)
{
	struct pkvm_hyp_vm *hyp_vm;

	hyp_spin_lock(&vm_table_lock);
	hyp_vm = get_vm_by_handle(handle);
	if (hyp_vm)
		hyp_page_ref_inc(hyp_virt_to_page(hyp_vm));
	hyp_spin_unlock(&vm_table_lock);

	return hyp_vm;
}

/**
 * pkvm_put_vm() - Let go of a VM.
 * @hyp_vm: what pkvm_get_vm() returned.
 */
void pkvm_put_vm(struct pkvm_hyp_vm *hyp_vm)
{
	hyp_spin_lock(&vm_table_lock);
	hyp_page_ref_dec(hyp_virt_to_page(hyp_vm));
	hyp_spin_unlock(&vm_table_lock);
}

/**
 * pkvm_hyp_vm_idx() - A VM's place in the table.
 * @hyp_vm: the VM.
 *
 * Return: 0 to KVM_MAX_PVMS - 1.
 */
unsigned int pkvm_hyp_vm_idx(const struct pkvm_hyp_vm *hyp_vm)
{
	return hyp_vm->kvm.arch.pkvm.handle - PKVM_HANDLE_OFFSET;
}

/**
 * insert_vm_table_entry() - Give a VM a handle and a VMID.
 * @hyp_vm: the VM.
 *
 * Called with vm_table_lock held.
 *
 * Return: the handle; -EINVAL without a table; -ENOMEM when all KVM_MAX_PVMS
 * are taken.
 */
int insert_vm_table_entry(struct pkvm_hyp_vm *hyp_vm)
{
	struct kvm_s2_mmu *mmu = &hyp_vm->kvm.arch.mmu;
	pkvm_handle_t handle;
	unsigned int idx;

	hyp_assert_lock_held(&vm_table_lock);

	if (unlikely(!vm_table))
		return -EINVAL;

	for (idx = 0; idx < KVM_MAX_PVMS && vm_table[idx]; idx++)
		;
	if (idx == KVM_MAX_PVMS)
		return -ENOMEM;

	handle = PKVM_HANDLE_OFFSET + idx;
	hyp_vm->kvm.arch.pkvm.handle = handle;
	atomic64_set(&mmu->vmid.id, pkvm_handle_to_vmid(handle));
	mmu->arch = &hyp_vm->kvm.arch;
	mmu->pgt = &hyp_vm->pgt;
	vm_table[idx] = hyp_vm;

	return handle;
}

/**
 * remove_vm_table_entry() - Take a VM out of the table.
 * @handle: a VM that is there.
 *
 * Called with vm_table_lock held. The handle and its VMID are free at once: the
 * caller has invalidated the VM's TLB entries.
 */
void remove_vm_table_entry(pkvm_handle_t handle)
{
	hyp_assert_lock_held(&vm_table_lock);
	vm_table[handle - PKVM_HANDLE_OFFSET] = NULL;
}

/**
 * pkvm_load_hyp_vcpu() - Make a vCPU this CPU's.
 * @handle: the VM, as the host gave it.
 * @vcpu_idx: the vCPU's index, as the host gave it.
 *
 * A vCPU is loaded on one CPU at a time, and a CPU has one vCPU loaded.
 * Takes vm_table_lock.
 *
 * Return: 0; -ENOENT when there is no such vCPU; -EBUSY when it is loaded
 * somewhere, when this CPU has another one loaded, or when the VM is dying.
 */
int pkvm_load_hyp_vcpu(pkvm_handle_t handle, unsigned int vcpu_idx)
{
	struct pkvm_hyp_vcpu **slot = this_cpu_ptr(&loaded_hyp_vcpu);
	struct pkvm_hyp_vcpu *hyp_vcpu;
	struct pkvm_hyp_vm *hyp_vm;
	u16 *last_ran;
	int ret = 0;

	hyp_spin_lock(&vm_table_lock);
	hyp_vm = get_vm_by_handle(handle);
	if (!hyp_vm || vcpu_idx >= hyp_vm->nr_vcpus) {
		ret = -ENOENT;
		goto unlock;
	}

	vcpu_idx = array_index_nospec(vcpu_idx, hyp_vm->nr_vcpus);
	hyp_vcpu = hyp_vm->vcpus[vcpu_idx];
	if (*slot || hyp_vcpu->loaded || hyp_vm->is_dying) {
		ret = -EBUSY;
		goto unlock;
	}

	/* vCPUs of a protected VM look at each other: all or none. */
	if (pkvm_hyp_vcpu_is_protected(hyp_vcpu) &&
	    hyp_vm->nr_vcpus != hyp_vm->kvm.created_vcpus) {
		ret = -EBUSY;
		goto unlock;
	}

	*slot = hyp_vcpu;
	hyp_vcpu->loaded = slot;
	hyp_page_ref_inc(hyp_virt_to_page(hyp_vm));

	/* TLBs and I-cache are private to each vCPU. */
	last_ran = &(*this_cpu_ptr(&last_vcpu_ran))[pkvm_hyp_vm_idx(hyp_vm)];
	if (*last_ran != vcpu_idx + 1) {
		__kvm_flush_cpu_context(&hyp_vm->kvm.arch.mmu);
		*last_ran = vcpu_idx + 1;
	}
unlock:
	hyp_spin_unlock(&vm_table_lock);

	return ret;
}

/**
 * pkvm_every_cpu_is_protected() - Does each CPU that may run have stage 2 for the host?
 *
 * One may have missed the end of EL2's set-up, and nobody knows what it does.
 *
 * Return: true if each CPU that EL2 has taken has it.
 */
bool pkvm_every_cpu_is_protected(void)
{
	unsigned int cpu;

	/* EL2's own test of itself is before that. */
	if (!static_branch_likely(&kvm_protected_mode_initialized))
		return true;

	for (cpu = 0; cpu < hyp_nr_cpus; cpu++) {
		if (cpu_logical_map(cpu) != INVALID_HWID &&
		    !(per_cpu_ptr(&kvm_init_params, cpu)->hcr_el2 & HCR_VM))
			return false;
	}

	return true;
}

/**
 * pkvm_put_hyp_vcpu() - This CPU is done with the vCPU that it has loaded.
 *
 * Does nothing when none is. Takes vm_table_lock.
 */
void pkvm_put_hyp_vcpu(void)
{
	struct pkvm_hyp_vcpu **slot = this_cpu_ptr(&loaded_hyp_vcpu);
	struct pkvm_hyp_vcpu *hyp_vcpu = *slot;

	if (!hyp_vcpu)
		return;

	/*
	 * What the guest began here is over before the vCPU goes on elsewhere: a barrier of
	 * its own waits there for what began there. An ordinary guest trusts the host, whose
	 * switch from thread to thread sees to that.
	 */
	if (pkvm_hyp_vcpu_is_protected(hyp_vcpu))
		dsb(ish);

	hyp_spin_lock(&vm_table_lock);
	hyp_vcpu->loaded = NULL;
	*slot = NULL;
	hyp_page_ref_dec(hyp_virt_to_page(pkvm_hyp_vcpu_to_hyp_vm(hyp_vcpu)));
	hyp_spin_unlock(&vm_table_lock);
}

/**
 * pkvm_get_loaded_hyp_vcpu() - The vCPU that this CPU has loaded.
 *
 * Return: the vCPU, which stays until pkvm_put_hyp_vcpu(), or NULL.
 */
struct pkvm_hyp_vcpu *pkvm_get_loaded_hyp_vcpu(void)
{
	return __this_cpu_read(loaded_hyp_vcpu);
}

/**
 * __pkvm_start_teardown_vm() - From now on no vCPU of the VM runs.
 * @handle: the VM, as the host gave it.
 *
 * Takes vm_table_lock.
 *
 * Return: 0; -ENOENT when there is no such VM; -EBUSY while a vCPU is loaded.
 */
int __pkvm_start_teardown_vm(pkvm_handle_t handle)
{
	struct pkvm_hyp_vm *hyp_vm;
	int ret = 0;

	hyp_spin_lock(&vm_table_lock);
	hyp_vm = get_vm_by_handle(handle);
	if (!hyp_vm)
		ret = -ENOENT;
	else if (hyp_page_count(hyp_vm))
		ret = -EBUSY;
	else
		hyp_vm->is_dying = true;
	hyp_spin_unlock(&vm_table_lock);

	return ret;
}

/**
 * __pkvm_reclaim_guest_pages() - The host takes pages back from a dying VM.
 * @handle: the VM, as the host gave it.
 * @pfn: first page frame, as the host gave it.
 * @gfn: first guest frame, as the host gave it.
 * @nr_pages: pages, contiguous on both sides, as the host gave it.
 *
 * Stops early for a pending interrupt, and at PKVM_MAX_PAGES_PER_CALL, but
 * not before the first page.
 * Takes vm_table_lock, which nothing in a guest's way waits for long: a page
 * takes about as long as it takes to clear it.
 *
 * Return: how many pages were returned, at least one; -EINVAL for no pages, and for
 * an ordinary VM, whose pages are the host's (__pkvm_guest_stage2_op());
 * -ENOENT when there is no such VM, or the first page is not there; -EBUSY
 * when teardown has not begun; or what __pkvm_host_reclaim_page() says of the
 * first page.
 */
int __pkvm_reclaim_guest_pages(pkvm_handle_t handle, u64 pfn, u64 gfn,
			       u64 nr_pages)
{
	struct pkvm_hyp_vm *hyp_vm;
	int ret = 0;
	u64 i;

	if (!nr_pages)
		return -EINVAL;
	nr_pages = min_t(u64, nr_pages, PKVM_MAX_PAGES_PER_CALL);

	for (i = 0; i < nr_pages; i++) {
		if (i && read_sysreg(isr_el1))
			break;

		hyp_spin_lock(&vm_table_lock);
		hyp_vm = get_vm_by_handle(handle);
		if (!hyp_vm)
			ret = -ENOENT;
		else if (!hyp_vm->kvm.arch.pkvm.enabled)
			ret = -EINVAL;
		else if (!hyp_vm->is_dying)
			ret = -EBUSY;
		else
			ret = __pkvm_host_reclaim_page(hyp_vm, pfn + i, gfn + i);
		hyp_spin_unlock(&vm_table_lock);

		if (ret)
			break;
	}

	return i ? i : ret;
}
