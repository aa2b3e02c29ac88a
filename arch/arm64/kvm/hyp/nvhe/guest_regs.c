// SPDX-License-Identifier: GPL-2.0-only
/*
 * The registers of protected vCPUs.
 *
 * Owns what a protected vCPU's registers are at reset, which of its actions
 * trap, and what crosses between it and the host at each exit and entry. The
 * vCPU's context never leaves EL2. The host's struct kvm_vcpu is a mailbox: EL2
 * writes there what the host needs for this one exit, and reads from it the
 * few answers that this exit allows. The host changes the mailbox at any time,
 * so each field is read once and bounded before it is used.
 *
 * It may not touch page tables or the ownership of memory (guest_stage2.c,
 * ownership.c), and no host memory but the mailbox.
 *
 * What the host sees at each exit, and what it may answer:
 *
 *	interrupt	nothing			nothing
 *	WFx		ESR, mode		PC advance
 *	system register	ESR without Rt, mode;	PC advance with x0 -> Rt,
 *			x0 <- Rt of a write	or an undefined exception
 *	MMIO		ESR without Rt, IPA,	PC advance with x0 -> Rt,
 *			mode, endianness;	or an external abort
 *			x0 <- Rt of a store
 *	other abort	ESR without syndrome,	an external abort
 *			IPA, mode
 *	hypercall	see guest_hvc.c		see guest_hvc.c
 *
 * At each entry it may also ask for an SError, trap or not trap WFx, and set
 * the list registers.
 */

#include <linux/irqchip/arm-gic-v3.h>
#include <linux/kvm_host.h>
#include <uapi/linux/psci.h>

#include <asm/kvm_arm.h>
#include <asm/kvm_emulate.h>
#include <asm/kvm_hyp.h>
#include <asm/kvm_mmu.h>
#include <asm/kvm_ptrauth.h>

#include <hyp/adjust_pc.h>

#include <nvhe/fixed_config.h>
#include <nvhe/guest_monitor.h>
#include <nvhe/guest_regs.h>
#include <nvhe/guest_stage2.h>
#include <nvhe/host_buffers.h>
#include <nvhe/mm.h>
#include <nvhe/vm_table.h>

/* SCTLR_EL1 as KVM resets it: MMU and caches off, the RES1 bits of Armv8.0. */
#define GUEST_RESET_SCTLR	0x00C50078UL

#define GUEST_RESET_PSTATE	(PSR_MODE_EL1h | PSR_A_BIT | PSR_I_BIT | \
				 PSR_F_BIT | PSR_D_BIT)

/* What the host can set in HCR_EL2 of a protected vCPU. */
#define HOST_HCR_MASK		(HCR_TWI | HCR_TWE | HCR_VSE)

/* What the host uses of a guest's PSTATE. */
#define HOST_PSTATE_MASK	(PSR_MODE_MASK | PSR_MODE32_BIT | PSR_A_BIT)

/* What the host uses of an abort's syndrome, and what more for MMIO. */
#define HOST_ABORT_ESR_MASK	(ESR_ELx_EC_MASK | ESR_ELx_IL | ESR_ELx_FnV | \
				 ESR_ELx_EA | ESR_ELx_CM | ESR_ELx_S1PTW | \
				 ESR_ELx_WNR | ESR_ELx_FSC)
#define HOST_MMIO_ESR_MASK	(HOST_ABORT_ESR_MASK | ESR_ELx_ISV | \
				 ESR_ELx_SAS | ESR_ELx_SSE | ESR_ELx_SF)

/* Stage-2 faults report the low bits of the address in FAR_EL2 only. */
#define HOST_FAR_MASK		GENMASK_ULL(11, 0)

#define IFLAGS_PENDING		unpack_vcpu_flag(PENDING_EXCEPTION)
#define IFLAGS_INCREMENT	unpack_vcpu_flag(INCREMENT_PC)
#define IFLAGS_ANSWER		(IFLAGS_PENDING | unpack_vcpu_flag(EXCEPT_MASK))

/*
 * HCR_EL2 for a protected vCPU. Nothing of it is the host's choice but
 * HOST_HCR_MASK, at each entry.
 */
static u64 guest_hcr(struct kvm_vcpu *vcpu)
{
	u64 isar0 = pvm_read_id_reg(vcpu, SYS_ID_AA64ISAR0_EL1);
	u64 hcr = HCR_GUEST_FLAGS | HCR_TID1;

	if (has_hvhe())
		hcr |= HCR_E2H;

	/* External aborts and the error records are EL2's, also if the host has no RAS. */
	hcr |= HCR_TEA | HCR_TERR;

	if (cpus_have_final_cap(ARM64_HAS_STAGE2_FWB))
		hcr |= HCR_FWB;

	/* CTR_EL0 need not trap where all CPUs have the same. */
	if (cpus_have_final_cap(ARM64_HAS_EVT) &&
	    !cpus_have_final_cap(ARM64_MISMATCHED_CACHE_TYPE))
		hcr |= HCR_TID4;
	else
		hcr |= HCR_TID2;

	/* No memory tagging: HCR_ATA and HCR_DCT stay clear too. */
	if (system_supports_mte())
		hcr |= HCR_TID5;

	if (FIELD_GET(ID_AA64ISAR0_EL1_TLB_MASK, isar0) <
	    ID_AA64ISAR0_EL1_TLB_OS)
		hcr |= HCR_TTLBOS;

	return hcr;
}

/*
 * MDCR_EL2 but for HPMN, which is the CPU's. Debug registers, PMU, SPE and
 * trace trap. MDCR_EL2_TDE stays clear: a BRK is for the guest to handle, and
 * nothing else can raise a debug exception as MDSCR_EL1 stays 0. The buffers
 * of SPE and TRBE stay out of the guest's reach with E2PB and E2TB 0.
 */
static u64 guest_mdcr(void)
{
	u64 mdcr = MDCR_EL2_TPM | MDCR_EL2_TPMCR | MDCR_EL2_TDRA |
		   MDCR_EL2_TDOSA | MDCR_EL2_TDA | MDCR_EL2_TPMS |
		   MDCR_EL2_TTRF;

	if (cpus_have_final_cap(ARM64_HAS_FGT))
		mdcr |= MDCR_EL2_TDCC;

	return mdcr;
}

/* All that HCRX_EL2 enables is off, but what the ID registers promise. */
static u64 guest_hcrx(struct kvm_vcpu *vcpu)
{
	u64 isar2 = pvm_read_id_reg(vcpu, SYS_ID_AA64ISAR2_EL1);
	u64 hcrx = HCRX_EL2_SMPME;

	if (FIELD_GET(ID_AA64ISAR2_EL1_MOPS_MASK, isar2))
		hcrx |= HCRX_EL2_MSCEn | HCRX_EL2_MCE2;

	return hcrx;
}

/*
 * The fine-grained traps that a guest without a feature must not be spared:
 * the 'n' bits. The registers behind them (permission indirection and overlay,
 * TPIDR2_EL0, guarded control stacks, branch records...) are neither promised
 * to the guest nor switched, and hold the host's values while it runs.
 */
static void guest_init_fgu(struct kvm *kvm)
{
	kvm->arch.fgu[HFGxTR_GROUP]	= __HFGRTR_EL2_nMASK;
	kvm->arch.fgu[HFGITR_GROUP]	= __HFGITR_EL2_nMASK;
	kvm->arch.fgu[HDFGRTR_GROUP]	= __HDFGRTR_EL2_nMASK |
					  __HDFGWTR_EL2_nMASK;
}

/* The same affinities as the host computes: see reset_mpidr() there. */
static u64 vcpu_id_to_mpidr(unsigned int id)
{
	return BIT(31) |
	       FIELD_GET(GENMASK(3, 0), id) << MPIDR_LEVEL_SHIFT(0) |
	       FIELD_GET(GENMASK(11, 4), id) << MPIDR_LEVEL_SHIFT(1) |
	       FIELD_GET(GENMASK(19, 12), id) << MPIDR_LEVEL_SHIFT(2);
}

/**
 * pkvm_vcpu_affinity() - How the guest's PSCI calls name a vCPU.
 * @hyp_vcpu: the vCPU, which another CPU may be giving its reset state: MPIDR_EL1 is
 *	0 for a moment there.
 *
 * Return: the affinity fields of its MPIDR_EL1.
 */
u64 pkvm_vcpu_affinity(const struct pkvm_hyp_vcpu *hyp_vcpu)
{
	return vcpu_id_to_mpidr(hyp_vcpu->vcpu.vcpu_id) & MPIDR_HWID_BITMASK;
}

/**
 * pkvm_init_protected_vcpu() - Make the registers of a protected vCPU.
 * @hyp_vcpu: the vCPU, zeroed but for its ids, kvm and hw_mmu; not yet among
 *	the VM's vCPUs.
 * @host_vcpu: the host's, pinned.
 *
 * Called with vm_table_lock held, once for each vCPU. The first vCPU that the
 * host calls runnable boots the guest; all others are off.
 *
 * Return: 0; -EINVAL for a second runnable vCPU or an id that is out of range
 * or taken.
 */
int pkvm_init_protected_vcpu(struct pkvm_hyp_vcpu *hyp_vcpu,
			     const struct kvm_vcpu *host_vcpu)
{
	struct pkvm_hyp_vm *hyp_vm = pkvm_hyp_vcpu_to_hyp_vm(hyp_vcpu);
	bool boot = READ_ONCE(host_vcpu->arch.mp_state.mp_state) ==
		    KVM_MP_STATE_RUNNABLE;
	u8 host_cflags = READ_ONCE(host_vcpu->arch.cflags);
	struct kvm_vcpu *vcpu = &hyp_vcpu->vcpu;
	unsigned int i;

	if (vcpu->vcpu_id < 0 || vcpu->vcpu_id >= KVM_MAX_VCPUS)
		return -EINVAL;

	for (i = 0; i < hyp_vm->nr_vcpus; i++) {
		struct pkvm_hyp_vcpu *other = hyp_vm->vcpus[i];

		if (other->vcpu.vcpu_id == vcpu->vcpu_id)
			return -EINVAL;
		if (boot && other->power_state != PSCI_0_2_AFFINITY_LEVEL_OFF)
			return -EINVAL;
	}

	vcpu->arch.cflags = unpack_vcpu_flag(VCPU_INITIALIZED) |
			    (host_cflags & unpack_vcpu_flag(GUEST_HAS_PTRAUTH));
	vcpu->arch.iflags = 0;

	vcpu->arch.hcr_el2 = guest_hcr(vcpu);
	vcpu->arch.mdcr_el2 = guest_mdcr();
	vcpu->arch.hcrx_el2 = guest_hcrx(vcpu);
	guest_init_fgu(&hyp_vm->kvm);
	/* The only one there is. EL2 emulates its registers where they have to trap. */
	hyp_vm->kvm.arch.vgic.vgic_model = KVM_DEV_TYPE_ARM_VGIC_V3;

	vcpu->arch.debug_ptr = &vcpu->arch.vcpu_debug_state;
	__vcpu_sys_reg(vcpu, MPIDR_EL1) = vcpu_id_to_mpidr(vcpu->vcpu_id);

	pkvm_init_power_state(hyp_vcpu, boot);

	return 0;
}

/**
 * pkvm_reset_protected_vcpu() - Give a vCPU its reset state.
 * @hyp_vcpu: the vCPU, loaded on this CPU.
 * @pc: where it starts.
 * @x0: its argument.
 * @be: whether it starts big-endian.
 */
void pkvm_reset_protected_vcpu(struct pkvm_hyp_vcpu *hyp_vcpu, u64 pc, u64 x0,
			       bool be)
{
	struct kvm_vcpu *vcpu = &hyp_vcpu->vcpu;

	memset(&vcpu->arch.ctxt, 0, sizeof(vcpu->arch.ctxt));
	memset(&vcpu->arch.fault, 0, sizeof(vcpu->arch.fault));

	__vcpu_sys_reg(vcpu, MPIDR_EL1) = vcpu_id_to_mpidr(vcpu->vcpu_id);
	__vcpu_sys_reg(vcpu, SCTLR_EL1) = GUEST_RESET_SCTLR |
					  (be ? SCTLR_ELx_EE : 0);
	*vcpu_cpsr(vcpu) = GUEST_RESET_PSTATE;
	*vcpu_pc(vcpu) = pc;
	vcpu_set_reg(vcpu, 0, x0);

	/* Whatever the vCPU had asked the host before is void. */
	hyp_vcpu->exit_code = ARM_EXCEPTION_IRQ;
}

/**
 * pkvm_host_cpu_if() - Where the host's state of the virtual GIC is.
 * @cpu_if: what the host said, for a host that EL2 trusts.
 *
 * Return: in protected mode that of the vCPU that this CPU has loaded, NULL if it
 * has none, or the CPU has no interface of a GICv3: then there is no state to move,
 * and without the interface its registers are undefined even here.
 */
struct vgic_v3_cpu_if *pkvm_host_cpu_if(struct vgic_v3_cpu_if *cpu_if)
{
	struct pkvm_hyp_vcpu *hyp_vcpu;

	if (!is_protected_kvm_enabled())
		return kern_hyp_va(cpu_if);

	if (!hyp_gicv3_nr_lr)
		return NULL;

	hyp_vcpu = pkvm_get_loaded_hyp_vcpu();

	return hyp_vcpu ? &hyp_vcpu->host_vcpu->arch.vgic_cpu.vgic_v3 : NULL;
}

/**
 * pkvm_flush_ptrauth() - Let a guest use pointer authentication if it may.
 * @vcpu: EL2's vCPU, protected or not, about to run.
 *
 * In protected mode the host can neither set the traps nor save its keys for
 * this. The exit path loads EL2's keys from kvm_hyp_ctxt, and the way back to
 * the host loads the host's. A kernel that does not sign its own pointers has
 * no keys of its own: its user's stay in the registers while EL2 runs, so they
 * are what the exit path must bring back.
 */
void pkvm_flush_ptrauth(struct kvm_vcpu *vcpu)
{
	vcpu->arch.hcr_el2 &= ~(HCR_API | HCR_APK);
	if (!vcpu_has_ptrauth(vcpu))
		return;

	vcpu->arch.hcr_el2 |= HCR_API | HCR_APK;
	if (!IS_ENABLED(CONFIG_ARM64_PTR_AUTH_KERNEL))
		ptrauth_save_keys(this_cpu_ptr(&kvm_hyp_ctxt));
}

/**
 * pkvm_inject_live_sync() - Make a guest take an exception that EL2 decided on.
 * @vcpu: the vCPU that just exited, its EL1 registers still in the CPU.
 * @esr: ESR_EL1 for the exception.
 *
 * The context in memory is stale here: take what the entry needs from the CPU,
 * and put what it changes back there.
 */
void pkvm_inject_live_sync(struct kvm_vcpu *vcpu, u64 esr)
{
	*vcpu_pc(vcpu) = read_sysreg_el2(SYS_ELR);
	*vcpu_cpsr(vcpu) = read_sysreg_el2(SYS_SPSR);
	__vcpu_sys_reg(vcpu, VBAR_EL1) = read_sysreg_el1(SYS_VBAR);
	__vcpu_sys_reg(vcpu, SCTLR_EL1) = read_sysreg_el1(SYS_SCTLR);

	vcpu_clear_flag(vcpu, EXCEPT_MASK);
	vcpu_set_flag(vcpu, PENDING_EXCEPTION);
	vcpu_set_flag(vcpu, EXCEPT_AA64_EL1_SYNC);
	__kvm_adjust_pc(vcpu);

	write_sysreg_el1(esr, SYS_ESR);
	write_sysreg_el1(__vcpu_sys_reg(vcpu, ELR_EL1), SYS_ELR);
	write_sysreg_el1(__vcpu_sys_reg(vcpu, SPSR_EL1), SYS_SPSR);
	write_sysreg_el2(*vcpu_pc(vcpu), SYS_ELR);
	write_sysreg_el2(*vcpu_cpsr(vcpu), SYS_SPSR);
}

/*
 * Are all bytes of a data access where the host may see them? One that is not aligned
 * begins in one page and may end in the next, which is memory or another device's.
 */
static bool is_all_mmio(struct kvm_vcpu *vcpu)
{
	u64 first = kvm_vcpu_get_fault_ipa(vcpu) | (kvm_vcpu_get_hfar(vcpu) & HOST_FAR_MASK);
	u64 last = first + kvm_vcpu_dabt_get_as(vcpu) - 1;
	struct pkvm_hyp_vcpu *hyp_vcpu = to_pkvm_hyp_vcpu(vcpu);

	return pkvm_guest_mmio_allowed(hyp_vcpu, first) &&
	       (first >> PAGE_SHIFT == last >> PAGE_SHIFT ||
		pkvm_guest_mmio_allowed(hyp_vcpu, last));
}

/**
 * pkvm_guest_abort_exit() - Decide whether the host may see an abort as MMIO.
 * @vcpu: the vCPU that just exited with a data abort, its fault information
 *	complete.
 *
 * Where it may not, the syndrome is cut here, once: what is left of it rules
 * what the host gets and what it may answer. Takes the VM's lock.
 */
void pkvm_guest_abort_exit(struct kvm_vcpu *vcpu)
{
	if (kvm_vcpu_dabt_isvalid(vcpu) &&
	    kvm_vcpu_trap_is_translation_fault(vcpu) &&
	    !kvm_vcpu_abt_iss1tw(vcpu) && is_all_mmio(vcpu))
		return;

	vcpu->arch.fault.esr_el2 &= HOST_ABORT_ESR_MASK;
}

/**
 * pkvm_flush_vgic() - Take the virtual interrupts that the host has for a vCPU.
 * @hyp_vcpu: the vCPU, loaded on this CPU.
 * @sre: ICC_SRE_EL1 for the guest.
 */
void pkvm_flush_vgic(struct pkvm_hyp_vcpu *hyp_vcpu, u32 sre)
{
	struct vgic_v3_cpu_if *host_if = &hyp_vcpu->host_vcpu->arch.vgic_cpu.vgic_v3;
	struct vgic_v3_cpu_if *hyp_if = &hyp_vcpu->vcpu.arch.vgic_cpu.vgic_v3;
	unsigned int i;

	hyp_if->vgic_hcr = READ_ONCE(host_if->vgic_hcr);
	hyp_if->vgic_sre = sre;
	/* Only compared to NULL at EL2. */
	hyp_if->its_vpe.its_vm = READ_ONCE(host_if->its_vpe.its_vm);
	hyp_if->used_lrs = min(READ_ONCE(host_if->used_lrs), hyp_gicv3_nr_lr);

	for (i = 0; i < hyp_if->used_lrs; i++)
		hyp_if->vgic_lr[i] = READ_ONCE(host_if->vgic_lr[i]);
}

/**
 * pkvm_sync_vgic() - Tell the host what became of the virtual interrupts.
 * @hyp_vcpu: the vCPU, which has run.
 */
void pkvm_sync_vgic(struct pkvm_hyp_vcpu *hyp_vcpu)
{
	struct vgic_v3_cpu_if *host_if = &hyp_vcpu->host_vcpu->arch.vgic_cpu.vgic_v3;
	struct vgic_v3_cpu_if *hyp_if = &hyp_vcpu->vcpu.arch.vgic_cpu.vgic_v3;
	unsigned int i;

	WRITE_ONCE(host_if->vgic_hcr, hyp_if->vgic_hcr);
	for (i = 0; i < hyp_if->used_lrs; i++)
		WRITE_ONCE(host_if->vgic_lr[i], hyp_if->vgic_lr[i]);
}

static void flush_traps(struct pkvm_hyp_vcpu *hyp_vcpu)
{
	struct kvm_vcpu *host_vcpu = hyp_vcpu->host_vcpu;
	struct kvm_vcpu *vcpu = &hyp_vcpu->vcpu;

	vcpu->arch.hcr_el2 &= ~HOST_HCR_MASK;
	vcpu->arch.hcr_el2 |= READ_ONCE(host_vcpu->arch.hcr_el2) & HOST_HCR_MASK;
	vcpu->arch.vsesr_el2 = READ_ONCE(host_vcpu->arch.vsesr_el2) &
			       ESR_ELx_ISS_MASK;
	pkvm_flush_ptrauth(vcpu);

	/* HPMN is the CPU's; 0 would not be valid everywhere. */
	vcpu->arch.mdcr_el2 &= ~MDCR_EL2_HPMN_MASK;
	vcpu->arch.mdcr_el2 |= read_sysreg(mdcr_el2) & MDCR_EL2_HPMN_MASK;
}

/*
 * The virtual timer is the guest's. The host has the same registers, and needs them
 * to wake a vCPU that waits, so that it finds them as the guest left them.
 */
static void flush_vtimer(struct kvm_vcpu *vcpu)
{
	write_sysreg_el0(__vcpu_sys_reg(vcpu, CNTV_CVAL_EL0), SYS_CNTV_CVAL);
	write_sysreg_el0(__vcpu_sys_reg(vcpu, CNTV_CTL_EL0), SYS_CNTV_CTL);
}

static void sync_vtimer(struct kvm_vcpu *vcpu)
{
	__vcpu_sys_reg(vcpu, CNTV_CTL_EL0) = read_sysreg_el0(SYS_CNTV_CTL);
	__vcpu_sys_reg(vcpu, CNTV_CVAL_EL0) = read_sysreg_el0(SYS_CNTV_CVAL);
}

/* An exception at the next entry, while the context is in memory. */
static void inject_sync(struct kvm_vcpu *vcpu, u64 esr)
{
	__vcpu_sys_reg(vcpu, ESR_EL1) = esr;
	vcpu_set_flag(vcpu, PENDING_EXCEPTION);
	vcpu_set_flag(vcpu, EXCEPT_AA64_EL1_SYNC);
}

static void inject_external_abort(struct kvm_vcpu *vcpu)
{
	bool el0 = (*vcpu_cpsr(vcpu) & PSR_MODE_MASK) == PSR_MODE_EL0t;
	u64 ec, esr = kvm_vcpu_get_esr(vcpu) & ESR_ELx_IL;

	if (kvm_vcpu_trap_is_iabt(vcpu))
		ec = el0 ? ESR_ELx_EC_IABT_LOW : ESR_ELx_EC_IABT_CUR;
	else
		ec = el0 ? ESR_ELx_EC_DABT_LOW : ESR_ELx_EC_DABT_CUR;

	__vcpu_sys_reg(vcpu, FAR_EL1) = kvm_vcpu_get_hfar(vcpu);
	inject_sync(vcpu, ec << ESR_ELx_EC_SHIFT | esr | ESR_ELx_FSC_EXTABT);
}

static void inject_undef(struct kvm_vcpu *vcpu)
{
	inject_sync(vcpu, ESR_ELx_EC_UNKNOWN << ESR_ELx_EC_SHIFT |
			  (kvm_vcpu_get_esr(vcpu) & ESR_ELx_IL));
}

/* The value of an MMIO load, as the instruction would have it. */
static u64 mmio_load_value(struct kvm_vcpu *vcpu, u64 data)
{
	unsigned int bits = kvm_vcpu_dabt_get_as(vcpu) * 8;

	if (kvm_vcpu_dabt_issext(vcpu))
		data = sign_extend64(data, bits - 1);
	else
		data &= GENMASK_ULL(bits - 1, 0);

	return kvm_vcpu_dabt_issf(vcpu) ? data : lower_32_bits(data);
}

static void entry_sys64(struct kvm_vcpu *vcpu, u8 answer, u64 x0)
{
	if (answer & IFLAGS_PENDING) {
		inject_undef(vcpu);
	} else if (answer & IFLAGS_INCREMENT) {
		if (kvm_vcpu_get_esr(vcpu) & ESR_ELx_SYS64_ISS_DIR_READ)
			vcpu_set_reg(vcpu, kvm_vcpu_sys_get_rt(vcpu), x0);
		kvm_skip_instr(vcpu);
	}
}

static void entry_abort(struct kvm_vcpu *vcpu, u8 answer, u64 x0)
{
	bool mmio = !kvm_vcpu_trap_is_iabt(vcpu) && kvm_vcpu_dabt_isvalid(vcpu);
	bool cm = !kvm_vcpu_trap_is_iabt(vcpu) && kvm_vcpu_dabt_is_cm(vcpu) &&
		  kvm_vcpu_trap_is_translation_fault(vcpu) && !kvm_vcpu_abt_iss1tw(vcpu);

	if (answer & IFLAGS_PENDING) {
		inject_external_abort(vcpu);
	} else if (answer & IFLAGS_INCREMENT) {
		/*
		 * No data is lost with a cache operation where nothing is. One on a table
		 * walk, or that ends in another abort (all that is mapped may be written),
		 * is an address translation: that has a result.
		 */
		if (!mmio && !cm)
			return;
		if (mmio && !kvm_vcpu_dabt_iswrite(vcpu))
			vcpu_set_reg(vcpu, kvm_vcpu_dabt_get_rd(vcpu),
				     mmio_load_value(vcpu, x0));
		kvm_skip_instr(vcpu);
	}
}

/*
 * Take the host's answer to the last exit, if that exit wanted one. Whatever
 * else the host has put in its vCPU is not looked at.
 */
static void flush_answer(struct pkvm_hyp_vcpu *hyp_vcpu)
{
	struct kvm_vcpu *host_vcpu = hyp_vcpu->host_vcpu;
	u64 x0 = READ_ONCE(host_vcpu->arch.ctxt.regs.regs[0]);
	u8 iflags = READ_ONCE(host_vcpu->arch.iflags);
	struct kvm_vcpu *vcpu = &hyp_vcpu->vcpu;
	u8 answer = iflags & IFLAGS_ANSWER;
	u32 exit_code = hyp_vcpu->exit_code;

	if (answer)
		WRITE_ONCE(host_vcpu->arch.iflags, iflags & ~IFLAGS_ANSWER);

	/* Once: EL2 may panic before the guest runs, and the host go on and run it again. */
	hyp_vcpu->exit_code = ARM_EXCEPTION_IRQ;

	/* With an SError on the way the guest repeats what it did. */
	if (exit_code != ARM_EXCEPTION_TRAP)
		return;

	switch (kvm_vcpu_trap_get_class(vcpu)) {
	case ESR_ELx_EC_WFx:
		if (!(answer & IFLAGS_PENDING) && (answer & IFLAGS_INCREMENT))
			kvm_skip_instr(vcpu);
		break;
	case ESR_ELx_EC_SYS64:
		entry_sys64(vcpu, answer, x0);
		break;
	case ESR_ELx_EC_IABT_LOW:
	case ESR_ELx_EC_DABT_LOW:
		entry_abort(vcpu, answer, x0);
		break;
	case ESR_ELx_EC_HVC64:
		pkvm_guest_hvc_entry(hyp_vcpu, x0);
		break;
	}
}

static void show_fault(struct pkvm_hyp_vcpu *hyp_vcpu, u64 esr, u64 far,
		       u64 hpfar, u64 disr)
{
	struct kvm_vcpu_fault_info *fault = &hyp_vcpu->host_vcpu->arch.fault;

	WRITE_ONCE(fault->esr_el2, esr);
	WRITE_ONCE(fault->far_el2, far);
	WRITE_ONCE(fault->hpfar_el2, hpfar);
	WRITE_ONCE(fault->disr_el1, disr);
}

static void show_x0(struct pkvm_hyp_vcpu *hyp_vcpu, u64 x0)
{
	WRITE_ONCE(hyp_vcpu->host_vcpu->arch.ctxt.regs.regs[0], x0);
}

/* A timed wait looks like WFE to the host: it returns early, as it may. */
static void exit_wfx(struct pkvm_hyp_vcpu *hyp_vcpu, u64 esr)
{
	bool wfi = (esr & ESR_ELx_WFx_ISS_TI) == ESR_ELx_WFx_ISS_WFI;

	esr &= ESR_ELx_EC_MASK | ESR_ELx_IL | ESR_ELx_CV | ESR_ELx_COND_MASK;
	esr |= wfi ? ESR_ELx_WFx_ISS_WFI : ESR_ELx_WFx_ISS_WFE;
	show_fault(hyp_vcpu, esr, 0, 0, 0);
}

static void exit_sys64(struct pkvm_hyp_vcpu *hyp_vcpu, u64 esr)
{
	struct kvm_vcpu *vcpu = &hyp_vcpu->vcpu;
	bool read = esr & ESR_ELx_SYS64_ISS_DIR_READ;

	show_x0(hyp_vcpu,
		read ? 0 : vcpu_get_reg(vcpu, kvm_vcpu_sys_get_rt(vcpu)));
	show_fault(hyp_vcpu, esr & ~ESR_ELx_SYS64_ISS_RT_MASK, 0, 0, 0);
}

static void exit_mmio(struct pkvm_hyp_vcpu *hyp_vcpu, u64 esr)
{
	struct kvm_vcpu *host_vcpu = hyp_vcpu->host_vcpu;
	struct kvm_vcpu *vcpu = &hyp_vcpu->vcpu;
	unsigned int bits = kvm_vcpu_dabt_get_as(vcpu) * 8;
	u64 data = 0;

	if (kvm_vcpu_dabt_iswrite(vcpu))
		data = vcpu_get_reg(vcpu, kvm_vcpu_dabt_get_rd(vcpu)) &
		       GENMASK_ULL(bits - 1, 0);

	show_x0(hyp_vcpu, data);
	WRITE_ONCE(ctxt_sys_reg(&host_vcpu->arch.ctxt, SCTLR_EL1),
		   __vcpu_sys_reg(vcpu, SCTLR_EL1) &
		   (SCTLR_ELx_EE | SCTLR_EL1_E0E));
	show_fault(hyp_vcpu, esr & HOST_MMIO_ESR_MASK,
		   vcpu->arch.fault.far_el2 & HOST_FAR_MASK,
		   vcpu->arch.fault.hpfar_el2, 0);
}

static void exit_abort(struct pkvm_hyp_vcpu *hyp_vcpu, u64 esr)
{
	struct kvm_vcpu_fault_info *fault = &hyp_vcpu->vcpu.arch.fault;
	u64 far = fault->far_el2 & HOST_FAR_MASK;

	/* Of a fetch it is the PC. */
	if (kvm_vcpu_trap_is_iabt(&hyp_vcpu->vcpu))
		far = 0;

	show_fault(hyp_vcpu, esr & HOST_ABORT_ESR_MASK, far, fault->hpfar_el2, 0);
}

static void exit_trap(struct pkvm_hyp_vcpu *hyp_vcpu)
{
	struct kvm_vcpu *vcpu = &hyp_vcpu->vcpu;
	u64 esr = kvm_vcpu_get_esr(vcpu);

	switch (ESR_ELx_EC(esr)) {
	case ESR_ELx_EC_WFx:
		exit_wfx(hyp_vcpu, esr);
		break;
	case ESR_ELx_EC_SYS64:
		exit_sys64(hyp_vcpu, esr);
		break;
	case ESR_ELx_EC_DABT_LOW:
		if (kvm_vcpu_dabt_isvalid(vcpu)) {
			exit_mmio(hyp_vcpu, esr);
			break;
		}
		fallthrough;
	case ESR_ELx_EC_IABT_LOW:
		exit_abort(hyp_vcpu, esr);
		break;
	case ESR_ELx_EC_HVC64:
		pkvm_guest_hvc_exit(hyp_vcpu);
		show_fault(hyp_vcpu, esr, 0, 0, 0);
		break;
	default:
		/* All others are handled at EL2: see pvm_exit_handlers[]. */
		show_fault(hyp_vcpu, esr & (ESR_ELx_EC_MASK | ESR_ELx_IL), 0, 0,
			   0);
	}
}

/**
 * pkvm_sync_vserror() - The guest may have taken the SError that the host asked for.
 * @hyp_vcpu: the vCPU, which has run.
 */
void pkvm_sync_vserror(struct pkvm_hyp_vcpu *hyp_vcpu)
{
	struct kvm_vcpu *host_vcpu = hyp_vcpu->host_vcpu;
	u64 host_hcr = READ_ONCE(host_vcpu->arch.hcr_el2);

	if (!(hyp_vcpu->vcpu.arch.hcr_el2 & HCR_VSE) && (host_hcr & HCR_VSE))
		WRITE_ONCE(host_vcpu->arch.hcr_el2, host_hcr & ~HCR_VSE);
}

static void sync_host_vcpu(struct pkvm_hyp_vcpu *hyp_vcpu, u32 exit_code)
{
	struct kvm_vcpu *host_vcpu = hyp_vcpu->host_vcpu;
	struct kvm_vcpu *vcpu = &hyp_vcpu->vcpu;

	hyp_vcpu->exit_code = exit_code;
	pkvm_sync_vgic(hyp_vcpu);
	pkvm_sync_vserror(hyp_vcpu);

	if (ARM_EXCEPTION_CODE(exit_code) != ARM_EXCEPTION_IRQ ||
	    ARM_SERROR_PENDING(exit_code))
		WRITE_ONCE(host_vcpu->arch.ctxt.regs.pstate,
			   *vcpu_cpsr(vcpu) & HOST_PSTATE_MASK);

	if (ARM_SERROR_PENDING(exit_code))
		show_fault(hyp_vcpu, 0, 0, 0, vcpu->arch.fault.disr_el1);
	else if (exit_code == ARM_EXCEPTION_EL1_SERROR)
		show_fault(hyp_vcpu, kvm_vcpu_get_esr(vcpu), 0, 0, 0);
	else if (exit_code == ARM_EXCEPTION_TRAP)
		exit_trap(hyp_vcpu);
}

/**
 * pkvm_run_protected_vcpu() - Run a protected vCPU until it needs the host.
 * @hyp_vcpu: the vCPU, loaded on this CPU.
 *
 * Return: the exit code for the host, ARM_EXCEPTION_IL when the vCPU is off or
 * has left the state that protected guests may be in. It has not run then and
 * nothing has changed.
 */
int pkvm_run_protected_vcpu(struct pkvm_hyp_vcpu *hyp_vcpu)
{
	struct kvm_vcpu *vcpu = &hyp_vcpu->vcpu;
	u32 exit_code;
	int ret;

	/* Cleared for good when the guest enters AArch32 state. */
	if (!vcpu_get_flag(vcpu, VCPU_INITIALIZED))
		return ARM_EXCEPTION_IL;

	ret = pkvm_power_up(hyp_vcpu);
	if (ret)
		return ret == -EAGAIN ? ARM_EXCEPTION_IRQ : ARM_EXCEPTION_IL;

	fpsimd_sve_flush();
	vcpu->arch.iflags = 0;
	flush_traps(hyp_vcpu);
	flush_answer(hyp_vcpu);
	/* Protected guests have GICv3 only. */
	pkvm_flush_vgic(hyp_vcpu, ICC_SRE_EL1_DIB | ICC_SRE_EL1_DFB | ICC_SRE_EL1_SRE);

	/* Time is the CPU's: the host can neither move nor stop it. */
	write_sysreg(0, cntvoff_el2);
	flush_vtimer(vcpu);
	pkvm_stop_host_buffers();
	pkvm_stop_monitors();

	exit_code = __kvm_vcpu_run(vcpu);

	pkvm_resume_monitors();
	pkvm_resume_host_buffers();
	sync_vtimer(vcpu);
	fpsimd_sve_sync(vcpu);
	sync_host_vcpu(hyp_vcpu, exit_code);

	return exit_code;
}

/**
 * pkvm_init_cpu() - Make this CPU one that guests can run on.
 *
 * When the host is deprivileged, and when a CPU comes back: EL2's set-up lets a host have
 * what the CPU has. In streaming mode EL2's own use of SVE would be undefined, and only a
 * kernel that knows SME leaves that mode before it runs a vCPU. The list registers are
 * of any value, and of those that the host does not use for a vCPU none is written.
 */
void pkvm_init_cpu(void)
{
	pkvm_init_monitors();

	if (!system_supports_sme())
		cpacr_clear_set(CPACR_ELx_SMEN, 0);

	if (static_branch_unlikely(&kvm_vgic_global_state.gicv3_cpuif))
		__vgic_v3_init_lrs();
}

/* What the host had in a register that no guest is promised. */
static DEFINE_PER_CPU(u64, host_tpidr2);

/*
 * The register comes with SME, which implies FEAT_FGT, whose trap closes it: see
 * guest_init_fgu(). But emulators have CPUs with the one and without the other.
 */
static bool has_open_tpidr2(void)
{
	return !cpus_have_final_cap(ARM64_HAS_FGT) &&
	       (read_sysreg_s(SYS_ID_AA64PFR1_EL1) & ID_AA64PFR1_EL1_SME_MASK);
}

/**
 * pkvm_close_tpidr2() - Take TPIDR2_EL0 out of a guest's sight, if nothing else does.
 *
 * On the way to a guest of either kind, which finds 0 there each time it runs.
 */
void pkvm_close_tpidr2(void)
{
	if (!has_open_tpidr2())
		return;

	*this_cpu_ptr(&host_tpidr2) = read_sysreg_s(SYS_TPIDR2_EL0);
	write_sysreg_s(0, SYS_TPIDR2_EL0);
}

/**
 * pkvm_reopen_tpidr2() - Undo pkvm_close_tpidr2().
 *
 * On the way back to the host, on the same CPU.
 */
void pkvm_reopen_tpidr2(void)
{
	if (!has_open_tpidr2())
		return;

	write_sysreg_s(*this_cpu_ptr(&host_tpidr2), SYS_TPIDR2_EL0);
}

/**
 * pkvm_leave_vcpu_for_panic() - EL2 panics, and the host goes on.
 *
 * Nobody should bring that about, but broken memory does. The host's system registers
 * are restored already, if a vCPU ran. The panic is the host's to handle, and a hostile
 * one does not stop: it gets no registers of the guest's. What this CPU does for the
 * host from now on, as to invalidate TLBs, it does with no vCPU running. The registers
 * of a protected one are lost: from those of its last entry it would do again what it
 * did.
 */
void pkvm_leave_vcpu_for_panic(void)
{
	struct kvm_cpu_context *host_ctxt = host_data_ptr(host_ctxt);
	struct kvm_vcpu *vcpu = host_ctxt->__hyp_running_vcpu;
	u8 ec = ESR_ELx_EC(read_sysreg(esr_el2));

	/* The host prints them: only what EL2 did itself is its business. */
	if (ec != ESR_ELx_EC_DABT_CUR && ec != ESR_ELx_EC_IABT_CUR)
		write_sysreg(0, far_el2);
	write_sysreg(0, hpfar_el2);

	host_ctxt->__hyp_running_vcpu = NULL;
	if (vcpu && vcpu_is_protected(vcpu))
		vcpu_clear_flag(vcpu, VCPU_INITIALIZED);

	fpsimd_sve_drop();

	/* The next page that EL2 shows itself there must not be the last one still. */
	if (static_branch_likely(&kvm_protected_mode_initialized))
		hyp_fixmap_unmap();
}
