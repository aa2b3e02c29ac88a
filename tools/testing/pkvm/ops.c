// SPDX-License-Identifier: GPL-2.0-only
/*
 * Each call that the host or a guest can make of EL2's memory: what must come of it is
 * worked out from the model first, then the call is made, and then all that EL2 holds
 * is compared with the model, whether the call failed or not.
 */
#include <linux/arm-smccc.h>

#include "model.h"

/* Which vCPU of each VM ran last on each CPU; outlives a machine, as EL2's does. */
static u16 last_ran[FAKE_CPUS][KVM_MAX_PVMS];

static void expect(const char *what, long got, long want)
{
	if (got != want)
		die("%s returned %ld, not %ld", what, got, want);
	model_check();
}

static struct mvm *vm_by_handle(unsigned int handle)
{
	unsigned int idx = handle - PKVM_HANDLE_OFFSET;

	return idx < MODEL_VMS && m.vm[idx].used ? &m.vm[idx] : NULL;
}

static struct mvm *this_vm(void)
{
	check(m.loaded_vm[fake_cpu] >= 0);

	return &m.vm[m.loaded_vm[fake_cpu]];
}

static struct mvcpu *this_vcpu(void)
{
	return &this_vm()->vcpu[m.loaded_vcpu[fake_cpu]];
}

/**
 * loaded_vcpu() - The vCPU that this CPU has loaded.
 *
 * Return: it; there must be one.
 */
struct pkvm_hyp_vcpu *loaded_vcpu(void)
{
	struct pkvm_hyp_vcpu *vcpu = pkvm_get_loaded_hyp_vcpu();

	check(vcpu);

	return vcpu;
}

/**
 * host_mc() - Where the host puts out pages for the tables of this vCPU's VM.
 *
 * Return: the list's head, in memory that it shares with EL2.
 */
struct kvm_hyp_memcache *host_mc(void)
{
	return &((struct kvm_vcpu *)host_ptr(this_vcpu()->host))->arch.stage2_mc;
}

/**
 * pgd_size() - The memory that a VM's first level takes.
 *
 * Return: bytes: with up to 16 tables side by side one level less will do.
 */
unsigned long pgd_size(void)
{
	unsigned int bits = fake_features.pa_bits, levels = DIV_ROUND_UP(bits - 4 - 12, 9);

	return PAGE_SIZE << max(0, (int)bits - (int)(12 + 9 * levels));
}

static unsigned int topup_pages(void)
{
	return 2 * (DIV_ROUND_UP(fake_features.pa_bits - 4 - 12, 9) - 1);
}

static bool beyond(u64 addr, u64 size)
{
	return addr + size < addr || addr + size > 1UL << fake_features.pa_bits;
}

static void set_owner(u64 phys, u64 nr, enum owner owner)
{
	for (; nr--; phys += PAGE_SIZE)
		*mpage(phys) = (struct mpage) { .owner = owner };
}

/* What one owner has executed no other one finds in a cache of instructions. */
static void check_no_code(u64 phys)
{
	if (fake_icache[page_index(phys)] != fake_now)
		die("the page %#lx changed hands with old instructions", phys);
}

static void check_scrubbed(u64 phys, u64 size, bool link)
{
	for (; size; size -= PAGE_SIZE, phys += PAGE_SIZE) {
		const u64 *p = host_ptr(phys);

		for (unsigned int i = link; i < PAGE_SIZE / 8; i++) {
			if (p[i])
				die("the page %#lx came back with something in it", phys);
		}
		if ((link ? fake_cleaned : fake_cleared)[page_index(phys)] != fake_now)
			die("the page %#lx came back without being cleaned", phys);
		if (!link)
			check_no_code(phys);
	}
}

/* A page that changes hands has one value, whatever the host had in the caches. */
static void check_synced(u64 phys)
{
	if (fake_synced[page_index(phys)] != fake_now)
		die("the page %#lx was not cleaned while the host could not reach it", phys);
}

/* --- the host and EL2 */

/**
 * op_host_touch() - The host touches an address.
 * @addr: any.
 *
 * Return: 1 if it takes an abort, 0 if it may go on.
 */
long op_host_touch(u64 addr)
{
	struct mpage *p = mpage(addr);
	struct kvm_cpu_context ctxt;
	long abort;

	fake_step();
	addr &= GENMASK_ULL(51, 12);
	fake_fault = (struct kvm_vcpu_fault_info) { .hpfar_el2 = addr >> 8, .far_el2 = addr };
	fake_el2[SYS_ESR] = (u64)ESR_ELx_EC_DABT_LOW << ESR_ELx_EC_SHIFT | ESR_ELx_FSC_FAULT;
	fake_el2[SYS_SPSR] = PSR_MODE_EL1h;
	fake_el2[SYS_ELR] = 0x1234;
	fake_el1[SYS_VBAR] = 0x8000;
	fake_el1[SYS_ESR] = 0;
	handle_host_mem_abort(&ctxt);
	abort = fake_el2[SYS_ELR] == 0x8200;
	if (abort && (!(fake_el1[SYS_ESR] & ESR_ELx_S1PTW) || fake_el1[SYS_FAR] != addr ||
		      fake_el1[SYS_ELR] != 0x1234))
		die("the host's abort for %#lx has ESR %#lx", addr, fake_el1[SYS_ESR]);
	expect("an access of the host", abort,
	       beyond(addr, PAGE_SIZE) || (p && p->owner != OWNER_HOST && !p->lent));
	if (!abort && p) {
		int level;

		if (!(table_lookup(&host_mmu.pgt, addr, &level) & 1))
			die("the host may touch %#lx, but it is not mapped", addr);
	}

	return abort;
}

/**
 * op_share_hyp() - The host shares a page with EL2.
 * @pfn: any number.
 *
 * Return: what the call returned.
 */
long op_share_hyp(u64 pfn)
{
	u64 phys = pfn << PAGE_SHIFT;
	long want = model_alone(phys, 1) ? 0 : -EPERM, ret;

	fake_step();
	if (pfn != phys >> PAGE_SHIFT)
		want = -EINVAL;
	ret = __pkvm_host_share_hyp(pfn);
	if (!want)
		mpage(phys)->shared = true;
	expect("host_share_hyp", ret, want);

	return ret;
}

/**
 * op_unshare_hyp() - The host takes back what it shared with EL2.
 * @pfn: any number.
 *
 * Return: what the call returned.
 */
long op_unshare_hyp(u64 pfn)
{
	u64 phys = pfn << PAGE_SHIFT;
	struct mpage *p = mpage(phys);
	long want = -EPERM, ret;

	fake_step();
	if (pfn != phys >> PAGE_SHIFT)
		want = -EINVAL;
	else if (beyond(phys, PAGE_SIZE))
		want = -ERANGE;
	else if (p && p->shared)
		want = p->pins ? -EBUSY : 0;
	ret = __pkvm_host_unshare_hyp(pfn);
	if (!want)
		p->shared = false;
	expect("host_unshare_hyp", ret, want);

	return ret;
}

/**
 * op_donate_hyp() - The host gives memory to EL2.
 * @pfn: any number.
 * @nr: pages.
 *
 * Return: what the call returned.
 */
long op_donate_hyp(u64 pfn, u64 nr)
{
	u64 phys = pfn << PAGE_SHIFT;
	long want = model_alone(phys, nr) ? 0 : -EPERM, ret;

	fake_step();
	ret = __pkvm_host_donate_hyp(pfn, nr);
	if (!want) {
		set_owner(phys, nr, OWNER_EL2);
		for (u64 i = 0; i < nr; i++)
			mpage(phys + i * PAGE_SIZE)->loose = true;
	}
	expect("host_donate_hyp", ret, want);

	return ret;
}

/**
 * op_hyp_donate_host() - EL2 gives memory back that has no use.
 * @pfn: first page.
 * @nr: pages.
 *
 * Return: what the call returned.
 */
long op_hyp_donate_host(u64 pfn, u64 nr)
{
	u64 phys = pfn << PAGE_SHIFT;
	long want = 0, ret;

	fake_step();
	for (u64 i = 0; i < nr; i++) {
		struct mpage *p = mpage(phys + i * PAGE_SIZE);

		if (!p || !p->loose)
			want = -EPERM;
	}
	ret = __pkvm_hyp_donate_host(pfn, nr);
	if (!want)
		set_owner(phys, nr, OWNER_HOST);
	expect("hyp_donate_host", ret, want);

	return ret;
}

/**
 * op_share_ffa() - The host shares memory with the secure world.
 * @pfn: any number.
 * @nr: pages.
 *
 * Return: what the call returned.
 */
long op_share_ffa(u64 pfn, u64 nr)
{
	u64 phys = pfn << PAGE_SHIFT;
	long want = nr && model_alone(phys, nr) ? 0 : -EPERM, ret;

	fake_step();
	ret = __pkvm_host_share_ffa(pfn, nr);
	for (u64 i = 0; !want && i < nr; i++)
		mpage(phys + i * PAGE_SIZE)->ffa = true;
	expect("host_share_ffa", ret, want);

	return ret;
}

/**
 * op_unshare_ffa() - The secure world has given memory back.
 * @pfn: any number, but of no page that EL2 shares.
 * @nr: pages.
 *
 * Return: what the call returned.
 */
long op_unshare_ffa(u64 pfn, u64 nr)
{
	u64 phys = pfn << PAGE_SHIFT;
	long want = 0, ret;

	fake_step();
	for (u64 i = 0; i < nr; i++) {
		struct mpage *p = mpage(phys + i * PAGE_SIZE);

		check(!p || !p->shared);
		if (!p || !p->ffa)
			want = -EPERM;
	}
	if (beyond(phys, nr * PAGE_SIZE))
		want = -ERANGE;
	ret = __pkvm_host_unshare_ffa(pfn, nr);
	for (u64 i = 0; !want && i < nr; i++)
		mpage(phys + i * PAGE_SIZE)->ffa = false;
	expect("host_unshare_ffa", ret, want);

	return ret;
}

static long model_pin(u64 phys, u64 size)
{
	u64 end = PAGE_ALIGN(phys + size), at;

	phys &= PAGE_MASK;
	if (beyond(phys, end - phys))
		return -ERANGE;
	for (at = phys; at < end; at += PAGE_SIZE) {
		if (!mpage(at) || !mpage(at)->shared)
			return -EPERM;
	}
	/* The count has 16 bits. */
	for (at = phys; at < end; at += PAGE_SIZE) {
		if (mpage(at)->pins == 65535)
			return -EBUSY;
	}
	for (at = phys; at < end; at += PAGE_SIZE)
		mpage(at)->pins++;

	return 0;
}

static void model_unpin(u64 phys, u64 size)
{
	u64 end = PAGE_ALIGN(phys + size);

	for (phys &= PAGE_MASK; phys < end; phys += PAGE_SIZE)
		mpage(phys)->pins--;
}

/**
 * op_pin() - EL2 holds on to memory that the host shares with it.
 * @phys: where it begins.
 * @size: bytes.
 *
 * Return: what the call returned.
 */
long op_pin(u64 phys, u64 size)
{
	long want = model_pin(phys, size), ret;

	fake_step();
	ret = hyp_pin_shared_mem(el2_ptr(phys), el2_ptr(phys + size));
	expect("pin_shared_mem", ret, want);

	return ret;
}

/**
 * op_unpin() - EL2 lets go of it.
 * @phys: where it begins.
 * @size: bytes.
 */
void op_unpin(u64 phys, u64 size)
{
	fake_step();
	hyp_unpin_shared_mem(el2_ptr(phys), el2_ptr(phys + size));
	model_unpin(phys, size);
	expect("unpin_shared_mem", 0, 0);
}

/* --- VMs */

static bool ram_makes_sense(const struct pkvm_guest_ram *ram)
{
	u64 top = 1UL << 52;

	for (u64 i = 0; i < ram->nr; i++) {
		u64 gfn, nr;

		if (i == 64)
			return false;
		gfn = ram->range[i].gfn;
		nr = ram->range[i].nr_pages;
		if (gfn >= top || !nr || nr > top || gfn + nr > top)
			return false;
	}

	return true;
}

static bool every_cpu_is_protected(void)
{
	for (int i = 0; i < FAKE_CPUS; i++) {
		if (!(kvm_init_params[i].hcr_el2 & HCR_VM))
			return false;
	}

	return true;
}

/**
 * op_init_vm() - The host makes a VM.
 * @host: address of its struct kvm.
 * @vm: address of the memory for EL2's.
 * @pgd: address of the memory for the first level of the table.
 * @nr_vcpus: what struct kvm says; at most MODEL_VCPUS when the rest is good.
 * @protected: what struct kvm says.
 * @ram: what the host writes where @vm begins, where it can write.
 *
 * Return: what the call returned.
 */
long op_init_vm(u64 host, u64 vm, u64 pgd, unsigned int nr_vcpus, bool protected,
		const struct pkvm_guest_ram *ram)
{
	u64 size = PAGE_ALIGN(sizeof(struct pkvm_hyp_vm) + nr_vcpus * 8UL);
	long want, ret, idx = 0;

	fake_step();
	if (PAGE_ALIGNED(vm) && model_alone(vm, 1)) {
		/* What is behind the ranges would do for more of them. */
		for (u64 *p = host_ptr(vm); p < (u64 *)host_ptr(vm + PAGE_SIZE); p++)
			*p = 1;
		memcpy(host_ptr(vm), ram, sizeof(*ram));
	}
	while (idx < MODEL_VMS && m.vm[idx].used)
		idx++;
	want = model_pin(host, sizeof(struct kvm));
	if (!want) {
		struct kvm *kvm = host_ptr(host);

		kvm->arch.pkvm.nr_vcpus = nr_vcpus;
		kvm->arch.pkvm.enabled = protected;
		want = PKVM_HANDLE_OFFSET + idx;
		if (!nr_vcpus || nr_vcpus > 512)
			want = -EINVAL;
		else if (!PAGE_ALIGNED(vm) || !model_alone(vm, size / PAGE_SIZE) ||
			 !PAGE_ALIGNED(pgd) || !model_alone(pgd, pgd_size() / PAGE_SIZE) ||
			 vm - pgd < pgd_size() || pgd - vm < size)
			want = -ENOMEM;
		else if (!ram_makes_sense(ram))
			want = -EINVAL;
		else if (protected && !every_cpu_is_protected())
			want = -EPERM;
		else if (idx == MODEL_VMS || !IS_ALIGNED(pgd, pgd_size()))
			want = -ENOMEM;
		if (want < 0)
			model_unpin(host, sizeof(struct kvm));
	}
	ret = __pkvm_init_vm(el2_ptr(host), HOST_VIEW + vm, HOST_VIEW + pgd);
	if (want >= 0) {
		struct mslot *slots = m.vm[idx].slots;

		check(nr_vcpus <= MODEL_VCPUS);
		set_owner(vm, size / PAGE_SIZE, OWNER_EL2);
		set_owner(pgd, pgd_size() / PAGE_SIZE, OWNER_EL2);
		if (!slots)
			slots = malloc(NR_SLOTS * sizeof(*slots));
		memset(slots, 0, NR_SLOTS * sizeof(*slots));
		m.vm[idx] = (struct mvm) {
			.used = true, .protected = protected, .created = nr_vcpus,
			.vm = vm, .host = host, .slots = slots, .ram = *ram,
		};
	}
	expect("init_vm", ret, want);

	return ret;
}

/**
 * op_init_vcpu() - The host makes a vCPU.
 * @handle: of the VM, any number.
 * @host: address of its struct kvm_vcpu.
 * @vcpu: address of the memory for EL2's.
 * @idx: what struct kvm_vcpu says.
 *
 * Return: what the call returned.
 */
long op_init_vcpu(unsigned int handle, u64 host, u64 vcpu, unsigned int idx)
{
	struct mvm *vm = vm_by_handle(handle);
	bool pinned = false;
	long want = 0, ret;

	fake_step();
	if (!PAGE_ALIGNED(vcpu) || !model_alone(vcpu, VCPU_SIZE / PAGE_SIZE)) {
		want = -ENOMEM;
	} else if (!vm) {
		want = -ENOENT;
	} else if (vm->nr_vcpus >= vm->created) {
		want = -EINVAL;
	} else if (model_pin(host, sizeof(struct kvm_vcpu))) {
		want = -EBUSY;
	} else {
		pinned = true;
		((struct kvm_vcpu *)host_ptr(host))->vcpu_idx = idx;
		want = idx != vm->nr_vcpus ? -EINVAL : fake_init_vcpu_ret;
	}
	ret = __pkvm_init_vcpu(handle, el2_ptr(host), HOST_VIEW + vcpu);
	if (pinned && want)
		model_unpin(host, sizeof(struct kvm_vcpu));
	if (!want) {
		set_owner(vcpu, VCPU_SIZE / PAGE_SIZE, OWNER_EL2);
		vm->vcpu[vm->nr_vcpus++] = (struct mvcpu) {
			.phys = vcpu, .host = host, .cpu = -1,
		};
	}
	expect("init_vcpu", ret, want);

	return ret;
}

/**
 * op_load() - Load a vCPU on this CPU.
 * @handle: of the VM, any number.
 * @vcpu: any number.
 *
 * Return: what the call returned.
 */
long op_load(unsigned int handle, unsigned int vcpu)
{
	struct mvm *vm = vm_by_handle(handle);
	unsigned int flushes = fake_count.cpu_context;
	long want = 0, ret;
	u16 *last;

	fake_step();
	if (!vm || vcpu >= vm->nr_vcpus)
		want = -ENOENT;
	else if (m.loaded_vm[fake_cpu] >= 0 || vm->vcpu[vcpu].cpu >= 0 || vm->dying ||
		 (vm->protected && vm->nr_vcpus != vm->created))
		want = -EBUSY;
	ret = pkvm_load_hyp_vcpu(handle, vcpu);
	if (!want) {
		vm->vcpu[vcpu].cpu = fake_cpu;
		m.loaded_vm[fake_cpu] = vm - m.vm;
		m.loaded_vcpu[fake_cpu] = vcpu;
		last = &last_ran[fake_cpu][vm - m.vm];
		if (fake_count.cpu_context - flushes != (*last != vcpu + 1))
			die("%u flushes for vCPU %u after %d", fake_count.cpu_context - flushes,
			    vcpu, *last - 1);
		*last = vcpu + 1;
	}
	expect("vcpu_load", ret, want);

	return ret;
}

/**
 * op_put() - This CPU is done with its vCPU, if it has one.
 */
void op_put(void)
{
	fake_step();
	pkvm_put_hyp_vcpu();
	if (m.loaded_vm[fake_cpu] >= 0)
		this_vcpu()->cpu = -1;
	m.loaded_vm[fake_cpu] = -1;
	expect("vcpu_put", 0, 0);
}

static bool any_loaded(struct mvm *vm)
{
	for (unsigned int i = 0; i < vm->nr_vcpus; i++) {
		if (vm->vcpu[i].cpu >= 0)
			return true;
	}

	return false;
}

/**
 * op_start_teardown() - The host begins to take a VM down.
 * @handle: any number.
 *
 * Return: what the call returned.
 */
long op_start_teardown(unsigned int handle)
{
	struct mvm *vm = vm_by_handle(handle);
	long want = 0, ret;

	fake_step();
	if (!vm)
		want = -ENOENT;
	else if (any_loaded(vm))
		want = -EBUSY;
	ret = __pkvm_start_teardown_vm(handle);
	if (!want)
		vm->dying = true;
	expect("start_teardown_vm", ret, want);

	return ret;
}

/* What came back is EL2's no more; model_check() finds what is missing. */
static void model_came_back(struct kvm_hyp_memcache *mc)
{
	phys_addr_t phys = mc->head;

	for (unsigned long nr = 0; nr < mc->nr_pages; nr++) {
		struct mpage *p = mpage(phys);

		if (!p || p->owner != OWNER_EL2)
			die("finalize_teardown_vm gave back %#lx", phys);
		check_scrubbed(phys, PAGE_SIZE, true);
		*p = (struct mpage) { .owner = OWNER_HOST };
		phys = *(u64 *)host_ptr(phys);
	}
}

/**
 * op_finalize() - The host takes back what a VM was made of.
 * @handle: any number.
 *
 * Return: what the call returned.
 */
long op_finalize(unsigned int handle)
{
	struct mvm *vm = vm_by_handle(handle);
	unsigned int irq = fake_irq_after;
	struct kvm_hyp_memcache *mc;
	long want = 0, ret;

	fake_step();
	if (!vm)
		want = -ENOENT;
	else if (!vm->dying || vm->nr_pages || any_loaded(vm))
		want = -EBUSY;
	if (want)
		goto call;

	mc = &((struct kvm *)host_ptr(vm->host))->arch.pkvm.teardown_mc;
	*mc = (struct kvm_hyp_memcache) { 0 };
call:
	ret = __pkvm_finalize_teardown_vm(handle);
	if (want)
		goto out;

	if (irq && !fake_irq_after) {
		/* One page, and one look. */
		check(mc->nr_pages == irq);
		want = -EAGAIN;
	}
	if (ret != want)
		goto out;
	model_came_back(mc);
	if (ret)
		goto out;
	model_unpin(vm->host, sizeof(struct kvm));
	for (unsigned int i = 0; i < vm->nr_vcpus; i++)
		model_unpin(vm->vcpu[i].host, sizeof(struct kvm_vcpu));
	vm->used = false;
	fake_vm_died(vm - m.vm + 1);
out:
	expect("finalize_teardown_vm", ret, want);

	return ret;
}

/* --- pages for tables */

/**
 * op_topup() - The host puts out pages for the tables.
 * @pages: their addresses: what the host says, be it nonsense.
 * @nr: how many.
 */
void op_topup(phys_addr_t *pages, unsigned int nr)
{
	struct kvm_hyp_memcache *mc = host_mc();

	*mc = (struct kvm_hyp_memcache) { 0 };
	while (nr--) {
		struct mpage *p = mpage(pages[nr]);

		if (p && (p->owner == OWNER_HOST || p->lent))
			*(u64 *)host_ptr(pages[nr] & PAGE_MASK) = mc->head;
		mc->head = pages[nr];
		mc->nr_pages++;
	}
}

static void model_refill(struct kvm_hyp_memcache *left)
{
	struct mvcpu *vcpu = this_vcpu();

	*left = *host_mc();
	while (vcpu->mc < topup_pages()) {
		if (!left->nr_pages || !PAGE_ALIGNED(left->head) || !model_alone(left->head, 1))
			return;
		set_owner(left->head, 1, OWNER_EL2);
		left->head = *(u64 *)host_ptr(left->head);
		left->nr_pages--;
		vcpu->mc++;
	}
}

/* A mapping took pages, or said how many it lacks. */
static void tables_taken(const char *what, long ret, u64 ipa, u64 nr, bool block)
{
	struct mvcpu *vcpu = this_vcpu();
	unsigned int now = loaded_vcpu()->stage2_mc.nr_pages;

	if (ret > 0) {
		int missing = model_missing(this_vm(), ipa, nr, block);

		if (ret != missing || ret <= (long)vcpu->mc)
			die("%s wants %ld pages for tables, lacks %d, has %u", what, ret,
			    missing, vcpu->mc);
	}
	if (now > vcpu->mc)
		die("%s made pages for tables out of nothing", what);
	vcpu->mc = now;
}

/* --- protected guests */

static long range_error(u64 pfn, u64 gfn, u64 nr)
{
	u64 top = 1UL << 52;

	if (!nr || nr > 512 || pfn >= top || gfn >= top || pfn + nr >= top || gfn + nr >= top)
		return -EINVAL;

	return gfn + nr > 1UL << (fake_features.pa_bits - 12) ? -ERANGE : 0;
}

static struct mslot *slot_at(struct mvm *vm, u64 gfn)
{
	static struct mslot none;
	int slot = gfn_slot(gfn);

	none = (struct mslot) { 0 };

	return slot < 0 ? &none : &vm->slots[slot];
}

static long slot_error(const struct mslot *s)
{
	switch (s->kind) {
	case SLOT_NONE:
		return 0;
	case SLOT_POISON:
		return -EHWPOISON;
	case SLOT_MMIO:
		return -EPERM;
	default:
		return -EEXIST;
	}
}

static long guest_page_error(const struct mslot *s)
{
	long err = slot_error(s);

	return err == -EEXIST ? 0 : err ? err : -ENOENT;
}

static long shared_page_error(const struct mslot *s)
{
	return guest_page_error(s) ?: s->shared ? 0 : -EPERM;
}

/* The host ends a loan that this CPU's vCPU waits for the end of. */
static long op_return_page(u64 pfn, u64 gfn)
{
	struct mslot *s = slot_at(this_vm(), gfn);
	struct kvm_hyp_memcache left = *host_mc();
	long want = shared_page_error(s), ret;

	if (!want && s->phys != pfn << 12)
		want = -EPERM;
	ret = __pkvm_host_donate_guest(loaded_vcpu(), pfn, gfn, 1);
	if (!want) {
		check_synced(s->phys);
		s->shared = false;
		mpage(s->phys)->lent = false;
		this_vcpu()->unsharing = 0;
	}
	if (host_mc()->head != left.head || host_mc()->nr_pages != left.nr_pages)
		die("host_donate_guest took pages for tables to return one");
	expect("host_donate_guest, to return a page,", ret, want);

	return ret;
}

/**
 * op_donate_guest() - The host gives pages to this CPU's guest, or returns one.
 * @pfn: any number.
 * @gfn: any number; where the rest is good, of a window.
 * @nr: any number.
 *
 * Return: what the call returned.
 */
long op_donate_guest(u64 pfn, u64 gfn, u64 nr)
{
	struct mvm *vm = this_vm();
	struct kvm_hyp_memcache left = *host_mc();
	long want = vm->protected ? range_error(pfn, gfn, nr) : -EINVAL, ret;

	fake_step();
	if (!want && nr == 1 && this_vcpu()->unsharing == (gfn << 12) + 1)
		return op_return_page(pfn, gfn);
	if (!want && !model_is_ram(vm, gfn, nr))
		want = -EPERM;
	if (!want) {
		model_refill(&left);
		if (!model_alone(pfn << 12, nr))
			want = -EPERM;
		for (u64 i = 0; !want && i < nr; i++)
			want = slot_error(slot_at(vm, gfn + i));
	}
	fake_donating = !want;
	ret = __pkvm_host_donate_guest(loaded_vcpu(), pfn, gfn, nr);
	fake_donating = false;
	if (!want && ret > 0)
		want = ret;
	tables_taken("host_donate_guest", ret, gfn << 12, nr, false);
	for (u64 i = 0; !want && i < nr; i++) {
		u64 phys = (pfn + i) << 12;

		check(gfn_slot(gfn + i) >= 0);
		*slot_at(vm, gfn + i) = (struct mslot) {
			.kind = SLOT_PAGE, .phys = phys, .young = true,
			.prot = KVM_PGTABLE_PROT_RWX,
		};
		*mpage(phys) = (struct mpage) {
			.owner = OWNER_GUEST, .vm = vm - m.vm, .gfn = gfn + i,
		};
		vm->nr_pages++;
		check_synced(phys);
		check_no_code(phys);
		page_write(phys);
	}
	if (host_mc()->head != left.head || host_mc()->nr_pages != left.nr_pages)
		die("host_donate_guest left %lu pages at %#lx", host_mc()->nr_pages,
		    host_mc()->head);
	expect("host_donate_guest", ret, want);

	return ret;
}

static long guest_arg_error(u64 ipa)
{
	return (ipa & 0xfff) || ipa >= 1UL << fake_features.pa_bits ? -EINVAL : 0;
}

/* This CPU's guest runs: it waits for nothing any more. */
static void guest_runs(void)
{
	this_vcpu()->unsharing = 0;
	loaded_vcpu()->exit_code = ARM_EXCEPTION_IRQ;
}

/* It has left to unshare a page, with what else there may be in the registers. */
static void guest_waits(u64 ipa)
{
	struct pkvm_hyp_vcpu *hyp_vcpu = loaded_vcpu();

	hyp_vcpu->exit_code = ARM_EXCEPTION_TRAP;
	hyp_vcpu->vcpu.arch.fault.esr_el2 = (u64)ESR_ELx_EC_HVC64 << ESR_ELx_EC_SHIFT;
	vcpu_set_reg(&hyp_vcpu->vcpu, 0, ARM_SMCCC_VENDOR_HYP_KVM_MEM_UNSHARE_FUNC_ID);
	vcpu_set_reg(&hyp_vcpu->vcpu, 1, ipa);
}

/**
 * op_guest_share() - This CPU's protected guest shares a page with the host.
 * @ipa: any number.
 *
 * Return: what the call returned.
 */
long op_guest_share(u64 ipa)
{
	struct mslot *s = slot_at(this_vm(), ipa >> 12);
	long want = guest_arg_error(ipa), ret;

	fake_step();
	if (!want)
		want = guest_page_error(s);
	if (!want && s->shared)
		want = -EPERM;
	guest_runs();
	ret = __pkvm_guest_share_host(loaded_vcpu(), ipa);
	if (!want) {
		check_synced(s->phys);
		check_no_code(s->phys);
		s->shared = true;
		mpage(s->phys)->lent = true;
	}
	expect("guest_share_host", ret, want);

	return ret;
}

/**
 * op_guest_unshare() - This CPU's protected guest asks to stop sharing a page.
 * @ipa: any number.
 *
 * It waits then for the host to return the page: see op_donate_guest().
 *
 * Return: what the call returned.
 */
long op_guest_unshare(u64 ipa)
{
	struct mslot *s = slot_at(this_vm(), ipa >> 12);
	long want = guest_arg_error(ipa), ret;

	fake_step();
	if (!want)
		want = shared_page_error(s);
	guest_runs();
	ret = __pkvm_guest_check_shared(loaded_vcpu(), ipa);
	if (!want) {
		this_vcpu()->unsharing = ipa + 1;
		guest_waits(ipa);
	}
	expect("guest_check_shared", ret, want);

	return ret;
}

static long model_reclaim(struct mvm *vm, u64 pfn, u64 gfn)
{
	struct mslot *s;
	long err;

	if (pfn >= 1UL << 52 || gfn >= 1UL << 52)
		return -EINVAL;
	if (beyond(gfn << 12, PAGE_SIZE))
		return -ERANGE;
	s = slot_at(vm, gfn);
	err = guest_page_error(s);
	if (err)
		return err == -EHWPOISON ? 0 : err;
	if (s->phys != pfn << 12)
		return -EPERM;
	set_owner(s->phys, 1, OWNER_HOST);
	*s = (struct mslot) { 0 };
	vm->nr_pages--;

	return 1;
}

/**
 * op_reclaim() - The host takes pages back from a dying guest.
 * @handle: any number.
 * @pfn: any number.
 * @gfn: any number.
 * @nr: any number.
 *
 * Return: what the call returned.
 */
long op_reclaim(unsigned int handle, u64 pfn, u64 gfn, u64 nr)
{
	struct mvm *vm = vm_by_handle(handle);
	bool irq = fake_irq_after;
	long want = 0, ret, done;

	fake_step();
	if (!nr || (vm && !vm->protected))
		want = -EINVAL;
	else if (!vm)
		want = -ENOENT;
	else if (!vm->dying)
		want = -EBUSY;
	ret = __pkvm_reclaim_guest_pages(handle, pfn, gfn, nr);
	for (done = 0; !want && done < (long)min(nr, 512UL); done++) {
		long one;

		if (irq && done && done == ret)
			break;
		one = model_reclaim(vm, pfn + done, gfn + done);
		if (one < 0) {
			want = done ?: one;
			break;
		}
		if (one)
			check_scrubbed((pfn + done) << 12, PAGE_SIZE, false);
	}
	expect("reclaim_guest_pages", ret, want ?: done);

	return ret;
}

/**
 * op_can_access() - The host asks whether it may touch a page.
 * @pfn: any number.
 *
 * Return: what the call returned.
 */
long op_can_access(u64 pfn)
{
	struct mpage *p = mpage(pfn << 12);
	long want = -EINVAL, ret;

	fake_step();
	if (pfn < 1UL << 52 && page_is_memory(pfn << 12))
		want = p->owner == OWNER_HOST || p->lent;
	ret = __pkvm_host_can_access(pfn);
	expect("host_can_access", ret, want);

	return ret;
}

/**
 * op_force_reclaim() - The host cannot do without a page.
 * @pfn: any number.
 *
 * Return: what the call returned.
 */
long op_force_reclaim(u64 pfn)
{
	struct mpage *p = mpage(pfn << 12);
	long want, ret;

	fake_step();
	if (pfn >= 1UL << 52)
		want = -EINVAL;
	else if (!page_is_memory(pfn << 12))
		want = -EPERM;
	else if (p->owner == OWNER_HOST || p->lent)
		want = -EAGAIN;
	else
		want = p->owner == OWNER_GUEST ? 0 : -EPERM;
	ret = __pkvm_host_force_reclaim(pfn);
	if (!want && !ret) {
		struct mvm *vm = &m.vm[p->vm];

		*slot_at(vm, p->gfn) = (struct mslot) { .kind = SLOT_POISON };
		vm->nr_pages--;
		set_owner(pfn << 12, 1, OWNER_HOST);
		check_scrubbed(pfn << 12, PAGE_SIZE, false);
	}
	expect("host_force_reclaim", ret, want);

	return ret;
}

/**
 * op_mmio_map() - This CPU's protected guest says that a page is a device's.
 * @ipa: any number; where it is good, of a window.
 *
 * Return: what the call returned.
 */
long op_mmio_map(u64 ipa)
{
	struct mslot *s = slot_at(this_vm(), ipa >> 12);
	long want = guest_arg_error(ipa), err, ret;

	fake_step();
	err = slot_error(s);
	if (!want && model_is_ram(this_vm(), ipa >> 12, 1))
		want = -EEXIST;
	if (!want && err != -EPERM)
		want = err ? -EEXIST : 0;
	if (!want && !err && model_missing(this_vm(), ipa, 1, false) > (int)this_vcpu()->mc)
		want = -ENOMEM;
	guest_runs();
	ret = pkvm_guest_mmio_map(loaded_vcpu(), ipa);
	tables_taken("guest_mmio_map", ret, ipa, 1, false);
	if (!want) {
		check(gfn_slot(ipa >> 12) >= 0);
		s->kind = SLOT_MMIO;
	}
	expect("guest_mmio_map", ret, want);

	return ret;
}

/**
 * op_mmio_unmap() - This CPU's protected guest takes that back.
 * @ipa: any number.
 *
 * Return: what the call returned.
 */
long op_mmio_unmap(u64 ipa)
{
	struct mslot *s = slot_at(this_vm(), ipa >> 12);
	long want = guest_arg_error(ipa), ret;

	fake_step();
	if (!want && s->kind != SLOT_MMIO)
		want = -ENOENT;
	guest_runs();
	ret = pkvm_guest_mmio_unmap(loaded_vcpu(), ipa);
	if (!want)
		s->kind = SLOT_NONE;
	expect("guest_mmio_unmap", ret, want);

	return ret;
}

/**
 * op_mmio_allowed() - May an abort of this CPU's protected guest be shown as MMIO?
 * @ipa: an address of its address space.
 *
 * Return: what EL2 says.
 */
bool op_mmio_allowed(u64 ipa)
{
	struct mslot *s = slot_at(this_vm(), ipa >> 12);
	bool want = s->kind == SLOT_MMIO || (s->kind == SLOT_NONE && !this_vm()->mmio_guard);
	bool ret;

	want &= !model_is_ram(this_vm(), ipa >> 12, 1);
	fake_step();
	guest_runs();
	ret = pkvm_guest_mmio_allowed(loaded_vcpu(), ipa);
	expect("guest_mmio_allowed", ret, want);

	return ret;
}

/* --- ordinary guests */

#define TYPE_BITS	(KVM_PGTABLE_PROT_DEVICE | KVM_PGTABLE_PROT_NORMAL_NC)

static bool prot_makes_sense(u64 prot)
{
	u64 type = prot & TYPE_BITS;

	if (prot & ~(u64)(KVM_PGTABLE_PROT_RWX | TYPE_BITS))
		return false;
	if (!(prot & KVM_PGTABLE_PROT_R) || type == TYPE_BITS)
		return false;

	return !type || !(prot & KVM_PGTABLE_PROT_X);
}

/* A leaf goes: all of a block, wherever it is hit. */
static void model_unshare(struct mvm *vm, int slot)
{
	struct mslot *s = &vm->slots[slot];
	int nr = s->kind == SLOT_BLOCK ? PTRS_PER_PTE : 1;

	if (s->kind == SLOT_NONE)
		return;
	slot = ALIGN_DOWN(slot, nr);
	s = &vm->slots[slot];
	if (page_is_memory(s->phys)) {
		if (nr == 1)
			mpage(s->phys)->maps--;
		else
			mpage(s->phys)->blocks--;
	}
	vm->nr_pages -= nr;
	memset(s, 0, nr * sizeof(*s));
}

/**
 * op_share_guest() - The host maps memory of its own for this CPU's ordinary guest.
 * @pfn: any number.
 * @gfn: any number; where the rest is good, of a window.
 * @nr: any number.
 * @prot: any number.
 *
 * Return: what the call returned.
 */
long op_share_guest(u64 pfn, u64 gfn, u64 nr, u64 prot)
{
	struct mvm *vm = this_vm();
	struct kvm_hyp_memcache left = *host_mc();
	long want = range_error(pfn, gfn, nr), ret;
	bool memory = false, block = false;
	u64 phys = pfn << 12;
	struct mslot *s;

	fake_step();
	if (vm->protected || !prot_makes_sense(prot))
		want = -EINVAL;
	if (want)
		goto call;

	model_refill(&left);
	block = nr == 512 && !((pfn | gfn) & 511);
	if (!model_owned(phys, nr, &memory) || (!memory && !(prot & TYPE_BITS))) {
		want = -EPERM;
		goto call;
	}

	/* The very leaf is there; of a block, its first page is looked at. */
	s = slot_at(vm, gfn);
	if ((nr == 1 && s->kind == SLOT_PAGE && s->phys == phys) ||
	    (nr == 512 && s->kind == SLOT_BLOCK &&
	     s->phys - ((gfn & 511) << 12) == phys)) {
		want = -EAGAIN;
		goto call;
	}

	/* What cannot be counted once more costs the guest nothing. */
	for (u64 i = 0; memory && i < (block ? 1 : nr); i++) {
		struct mpage *p = mpage(phys + i * PAGE_SIZE);

		if (block ? p->blocks == 255 : p->maps == 65535) {
			want = -EBUSY;
			goto call;
		}
	}

	for (u64 i = 0; i < nr; i++) {
		check(gfn_slot(gfn + i) >= 0);
		model_unshare(vm, gfn_slot(gfn + i));
	}
call:
	ret = __pkvm_host_share_guest(loaded_vcpu(), pfn, gfn, nr, prot);
	tables_taken("host_share_guest", ret, gfn << 12, nr, block);
	if (!want && ret > 0)
		want = ret;
	if (!want) {
		for (u64 i = 0; i < nr; i++) {
			*slot_at(vm, gfn + i) = (struct mslot) {
				.kind = block ? SLOT_BLOCK : SLOT_PAGE,
				.phys = phys + i * PAGE_SIZE,
				.prot = prot, .young = true,
			};
			if (memory && !block)
				mpage(phys + i * PAGE_SIZE)->maps++;
		}
		if (memory && block)
			mpage(phys)->blocks++;
		vm->nr_pages += nr;
	}
	if (host_mc()->head != left.head || host_mc()->nr_pages != left.nr_pages)
		die("host_share_guest left %lu pages at %#lx", host_mc()->nr_pages,
		    host_mc()->head);
	expect("host_share_guest", ret, want);

	return ret;
}

static u64 leaf_pages(const struct mslot *s)
{
	return s->kind == SLOT_BLOCK ? PTRS_PER_PTE : 1;
}

static void each_of_leaf(struct mvm *vm, int slot, void (*fn)(struct mslot *s, u64 arg),
			 u64 arg)
{
	int nr = leaf_pages(&vm->slots[slot]);

	slot = ALIGN_DOWN(slot, nr);
	for (int i = 0; i < nr; i++)
		fn(&vm->slots[slot + i], arg);
}

static void more_prot(struct mslot *s, u64 prot)
{
	s->prot |= prot & (KVM_PGTABLE_PROT_W | KVM_PGTABLE_PROT_X);
	s->young = true;
}

static void less_prot(struct mslot *s, u64 prot)
{
	s->prot &= ~prot;
}

static void set_young(struct mslot *s, u64 young)
{
	s->young = young;
}

/**
 * op_relax() - The host lets this CPU's ordinary guest do more.
 * @gfn: any number.
 * @nr: any number.
 * @prot: any number.
 *
 * Return: what the call returned.
 */
long op_relax(u64 gfn, u64 nr, u64 prot)
{
	struct mvm *vm = this_vm();
	unsigned int told = fake_count.ipa_nsh;
	long want = 0, ret;

	fake_step();
	if (vm->protected || (prot && !prot_makes_sense(prot)) || gfn >= 1UL << 52)
		want = -EINVAL;
	else if (beyond(gfn << 12, 1))
		want = -ERANGE;
	else if (slot_at(vm, gfn)->kind == SLOT_NONE)
		want = -EAGAIN;
	else if (prot && leaf_pages(slot_at(vm, gfn)) > nr)
		want = -E2BIG;
	else if ((prot & KVM_PGTABLE_PROT_X) && (slot_at(vm, gfn)->prot &
		 (KVM_PGTABLE_PROT_DEVICE | KVM_PGTABLE_PROT_NORMAL_NC)))
		want = -EINVAL;
	ret = __pkvm_host_relax_guest(loaded_vcpu(), gfn, nr, prot);
	if (!want) {
		each_of_leaf(vm, gfn_slot(gfn), more_prot, prot);
		if (fake_count.ipa_nsh - told != !!prot)
			die("host_relax_guest told the TLB %u times", fake_count.ipa_nsh - told);
	}
	expect("host_relax_guest", ret, want);

	return ret;
}

/**
 * op_stage2() - The host changes a range of an ordinary guest's table.
 * @handle: any number.
 * @op: any number.
 * @gfn: any number.
 * @nr: any number.
 *
 * Return: what the call returned.
 */
long op_stage2(unsigned int handle, u32 op, u64 gfn, u64 nr)
{
	struct mvm *vm = vm_by_handle(handle);
	bool irq = fake_irq_after, young = false;
	u64 top = 1UL << 52, end;
	long want = 0, ret;

	fake_step();
	if (gfn >= top || nr >= top || !nr || gfn + nr >= top ||
	    (op != PKVM_S2_UNSHARE && nr > PKVM_MAX_OP_PAGES))
		want = -EINVAL;
	else if (!vm)
		want = -ENOENT;
	else if (vm->protected)
		want = -EINVAL;
	else if (gfn + nr > 1UL << (fake_features.pa_bits - 12))
		want = -ERANGE;
	else if (op > PKVM_S2_TLBI)
		want = -EINVAL;
	ret = __pkvm_guest_stage2_op(handle, op, gfn, nr);
	if (want)
		goto out;

	end = gfn + nr;
	if (op == PKVM_S2_UNSHARE && irq && ret > 0) {
		if ((u64)ret >= nr)
			die("guest_stage2_op got nowhere");
		want = ret;
		end -= ret;
	}
	for (int slot = 0; slot < NR_SLOTS; slot++) {
		struct mslot *s = &vm->slots[slot];

		if (slot_gfn(slot) < gfn || slot_gfn(slot) >= end || s->kind == SLOT_NONE)
			continue;
		young |= s->young;
		switch (op) {
		case PKVM_S2_UNSHARE:
			model_unshare(vm, slot);
			break;
		case PKVM_S2_WRPROTECT:
			each_of_leaf(vm, slot, less_prot, KVM_PGTABLE_PROT_W);
			break;
		case PKVM_S2_FLUSH:
			if (!fake_features.fwb && page_is_memory(s->phys) &&
			    !(s->prot & TYPE_BITS) &&
			    fake_cleaned[page_index(s->phys)] != fake_now)
				die("guest_stage2_op did not clean %#lx", s->phys);
			break;
		case PKVM_S2_CLEAR_YOUNG:
			each_of_leaf(vm, slot, set_young, false);
			break;
		}
	}
	if (op == PKVM_S2_TEST_YOUNG || op == PKVM_S2_CLEAR_YOUNG)
		want = young;
	if (op == PKVM_S2_TLBI) {
		for (int slot = 0; slot < NR_SLOTS; slot++) {
			struct fake_tlb *e = &fake_guest_tlb[vm - m.vm + 1][slot];

			if (e->pfn && e->writable && !(vm->slots[slot].prot & KVM_PGTABLE_PROT_W))
				die("a TLB can write to %#lx yet", slot_gfn(slot) << 12);
		}
	}
out:
	expect("guest_stage2_op", ret, want);

	return ret;
}
