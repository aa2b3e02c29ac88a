// SPDX-License-Identifier: GPL-2.0-only
/*
 * The registers of ordinary vCPUs in protected mode.
 *
 * Such a guest trusts the host, which sees and sets its registers. EL2 does not
 * trust the host: whatever the host says, the guest runs with EL2's traps, and EL2
 * neither follows a pointer of the host's nor leaves the host's state to a guest.
 * So this file owns which of the host's values EL2 takes, and when:
 *
 *	once, when the vCPU is made	features, ID registers, where the SVE
 *					registers are saved and how long they are
 *	at the first use in a run	FP registers
 *	at each entry			general and EL1 registers, PSTATE, the
 *					list registers, the bits of HCR_EL2, MDCR_EL2,
 *					VSESR_EL2 and iflags in the masks below
 *
 * All else is EL2's choice. It may not touch page tables or the ownership of memory
 * but to pin what EL2 writes to.
 */

#include <linux/irqchip/arm-gic-v3.h>
#include <linux/kvm_host.h>

#include <asm/fpsimd.h>
#include <asm/kvm_arm.h>
#include <asm/kvm_emulate.h>
#include <asm/kvm_hyp.h>
#include <asm/kvm_mmu.h>

#include <hyp/adjust_pc.h>

#include <nvhe/guest_monitor.h>
#include <nvhe/guest_regs.h>
#include <nvhe/host_buffers.h>
#include <nvhe/mem_protect.h>
#include <nvhe/vm_table.h>

/*
 * What the host may say of HCR_EL2: when the guest waits, virtual interrupts, and
 * what it traps for its own emulation. Not whether there is a stage 2, who gets
 * SMCs, or how EL2 itself runs.
 */
#define HOST_HCR_MASK							\
	(HCR_TWI | HCR_TWE | HCR_VI | HCR_VF | HCR_VSE | HCR_TVM |	\
	 HCR_TRVM | HCR_TID2 | HCR_TID4 | HCR_TID5 | HCR_TTLBOS)

/* The VMM's debugger: who takes debug exceptions, who uses the registers. */
#define HOST_MDCR_MASK		(MDCR_EL2_TDE | MDCR_EL2_TDA)

/* Always: counters, profiling, trace and the debug ROM are not the guest's. */
#define GUEST_MDCR		(MDCR_EL2_TPM | MDCR_EL2_TPMCR | MDCR_EL2_TPMS | \
				 MDCR_EL2_TTRF | MDCR_EL2_TDRA | MDCR_EL2_TDOSA)

/* What the host's emulation wants done at the entry, and whose debug state. */
#define HOST_IFLAGS_MASK	(unpack_vcpu_flag(PENDING_EXCEPTION) |	\
				 unpack_vcpu_flag(EXCEPT_MASK) |	\
				 unpack_vcpu_flag(DEBUG_DIRTY))

/* VSESR_EL2: the syndrome, and whether it is IMPLEMENTATION DEFINED. */
#define HOST_VSESR_MASK		ESR_ELx_ISS_MASK

#define FEATURE_CFLAGS		(unpack_vcpu_flag(GUEST_HAS_SVE) |	\
				 unpack_vcpu_flag(GUEST_HAS_PTRAUTH))

/**
 * pkvm_init_ordinary_vm() - What EL2 must know of an ordinary VM's features.
 * @hyp_vm: the VM, not yet in the table.
 * @host_kvm: the host's, pinned.
 *
 * The ID registers tell which registers EL2 switches for the guest. A host that
 * lies here harms its guest: what is not switched traps (init_traps()), and what
 * the CPU does not have is not switched.
 */
void pkvm_init_ordinary_vm(struct pkvm_hyp_vm *hyp_vm, struct kvm *host_kvm)
{
	struct kvm_arch *arch = &hyp_vm->kvm.arch;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(arch->id_regs); i++)
		arch->id_regs[i] = READ_ONCE(host_kvm->arch.id_regs[i]);
	for (i = 0; i < ARRAY_SIZE(arch->fgu); i++)
		arch->fgu[i] = READ_ONCE(host_kvm->arch.fgu[i]);

	arch->flags = READ_ONCE(host_kvm->arch.flags) &
		      BIT(KVM_ARCH_FLAG_MTE_ENABLED);

	/* Whose registers EL2 emulates where they have to trap; others it knows not. */
	if (READ_ONCE(host_kvm->arch.vgic.vgic_model) == KVM_DEV_TYPE_ARM_VGIC_V3)
		arch->vgic.vgic_model = KVM_DEV_TYPE_ARM_VGIC_V3;

	/*
	 * The fine-grained traps that only features which are switched are spared:
	 * the 'n' bits. What is behind the others holds the host's values.
	 */
	arch->fgu[HFGxTR_GROUP] |= __HFGRTR_EL2_nMASK;
	arch->fgu[HFGITR_GROUP] |= __HFGITR_EL2_nMASK;
	arch->fgu[HDFGRTR_GROUP] |= __HDFGRTR_EL2_nMASK | __HDFGWTR_EL2_nMASK;
	if (kvm_has_feat(&hyp_vm->kvm, ID_AA64MMFR3_EL1, S1PIE, IMP))
		arch->fgu[HFGxTR_GROUP] &= ~(HFGxTR_EL2_nPIRE0_EL1 |
					     HFGxTR_EL2_nPIR_EL1);
	if (kvm_has_feat(&hyp_vm->kvm, ID_AA64MMFR3_EL1, S1POE, IMP))
		arch->fgu[HFGxTR_GROUP] &= ~(HFGxTR_EL2_nPOR_EL1 |
					     HFGxTR_EL2_nPOR_EL0);
}

static u64 ordinary_hcrx(struct kvm *kvm)
{
	u64 hcrx = HCRX_EL2_SMPME;

	if (kvm_has_feat(kvm, ID_AA64ISAR2_EL1, MOPS, IMP))
		hcrx |= HCRX_EL2_MSCEn | HCRX_EL2_MCE2;
	if (kvm_has_feat(kvm, ID_AA64MMFR3_EL1, TCRX, IMP))
		hcrx |= HCRX_EL2_TCR2En;
	if (kvm_has_fpmr(kvm))
		hcrx |= HCRX_EL2_EnFPM;

	return hcrx;
}

/*
 * Pin where the host wants the guest's SVE registers saved. EL2 writes there, with
 * what the guest says: it must be memory that the host has shared with EL2, all of
 * it, and stay so while the vCPU lives.
 */
static int pin_sve_state(struct kvm_vcpu *vcpu, const struct kvm_vcpu *host_vcpu)
{
	void *state = kern_hyp_va(READ_ONCE(host_vcpu->arch.sve_state));
	unsigned int vl = READ_ONCE(host_vcpu->arch.sve_max_vl);
	int ret;

	if (!sve_vl_valid(vl) || vl > kvm_host_sve_max_vl ||
	    !IS_ALIGNED((unsigned long)state, __SVE_VQ_BYTES))
		return -EINVAL;

	ret = hyp_pin_shared_mem(state, state + SVE_SIG_REGS_SIZE(sve_vq_from_vl(vl)));
	if (ret)
		return ret;

	vcpu->arch.sve_state = state;
	vcpu->arch.sve_max_vl = vl;

	return 0;
}

/*
 * Take the vCPU's features, once. The VM may be made before the VMM has initialised
 * all of its vCPUs: then this is tried again at the first run.
 */
static int take_features(struct pkvm_hyp_vcpu *hyp_vcpu)
{
	struct kvm_vcpu *host_vcpu = hyp_vcpu->host_vcpu;
	u8 cflags = READ_ONCE(host_vcpu->arch.cflags);
	struct kvm_vcpu *vcpu = &hyp_vcpu->vcpu;
	int ret;

	if (!(cflags & unpack_vcpu_flag(VCPU_INITIALIZED)))
		return -EAGAIN;

	if (!system_supports_sve())
		cflags &= ~unpack_vcpu_flag(GUEST_HAS_SVE);

	if (cflags & unpack_vcpu_flag(GUEST_HAS_SVE)) {
		if (!(cflags & unpack_vcpu_flag(VCPU_SVE_FINALIZED)))
			return -EAGAIN;
		ret = pin_sve_state(vcpu, host_vcpu);
		if (ret)
			return ret;
	}

	vcpu->arch.cflags = (cflags & FEATURE_CFLAGS) |
			    unpack_vcpu_flag(VCPU_INITIALIZED);

	return 0;
}

/**
 * pkvm_init_ordinary_vcpu() - Make the registers of an ordinary vCPU.
 * @hyp_vcpu: the vCPU, zeroed but for its ids, kvm, hw_mmu and the host's vCPU,
 *	which is pinned; not yet among the VM's vCPUs.
 *
 * Called with vm_table_lock held, once for each vCPU.
 *
 * Return: 0; -EINVAL for SVE registers of a length that is none or too large, or that
 * are not aligned; what hyp_pin_shared_mem() says of their place.
 */
int pkvm_init_ordinary_vcpu(struct pkvm_hyp_vcpu *hyp_vcpu)
{
	struct kvm_vcpu *vcpu = &hyp_vcpu->vcpu;
	int ret;

	vcpu->arch.hcrx_el2 = ordinary_hcrx(vcpu->kvm);

	ret = take_features(hyp_vcpu);

	return ret == -EAGAIN ? 0 : ret;
}

/**
 * pkvm_destroy_ordinary_vcpu() - Let go of what the vCPU had pinned.
 * @hyp_vcpu: the vCPU of a VM that is out of the table, protected or not.
 */
void pkvm_destroy_ordinary_vcpu(struct pkvm_hyp_vcpu *hyp_vcpu)
{
	struct kvm_vcpu_arch *arch = &hyp_vcpu->vcpu.arch;

	if (!arch->sve_state)
		return;

	hyp_unpin_shared_mem(arch->sve_state, arch->sve_state +
			     SVE_SIG_REGS_SIZE(sve_vq_from_vl(arch->sve_max_vl)));
	arch->sve_state = NULL;
}

static u64 ordinary_hcr(struct kvm_vcpu *vcpu, const struct kvm_vcpu *host_vcpu)
{
	u64 hcr, may = HOST_HCR_MASK;

	if (kvm_has_mte(vcpu->kvm))
		may |= HCR_ATA;
	/* Elsewhere EL2's own registers for it do not exist. */
	if (cpus_have_final_cap(ARM64_HAS_32BIT_EL1))
		may |= HCR_RW;

	hcr = HCR_GUEST_FLAGS & ~may;
	if (has_hvhe())
		hcr |= HCR_E2H;
	if (cpus_have_final_cap(ARM64_HAS_STAGE2_FWB))
		hcr |= HCR_FWB;
	if (cpus_have_final_cap(ARM64_HAS_RAS_EXTN))
		hcr |= HCR_TEA | HCR_TERR;

	return hcr | (READ_ONCE(host_vcpu->arch.hcr_el2) & may);
}

/* HPMN is the CPU's. The buffers of SPE and TRBE stay out of reach: E2PB, E2TB 0. */
static u64 ordinary_mdcr(const struct kvm_vcpu *host_vcpu)
{
	return GUEST_MDCR | (read_sysreg(mdcr_el2) & MDCR_EL2_HPMN_MASK) |
	       (READ_ONCE(host_vcpu->arch.mdcr_el2) & HOST_MDCR_MASK);
}

/*
 * Which counters run for the guest only, and which for the host only. All of them are
 * the host's, who can turn each on or off by itself.
 */
static void flush_pmu_events(struct kvm_vcpu *vcpu, const struct kvm_vcpu *host_vcpu)
{
#ifdef CONFIG_HW_PERF_EVENTS
	/* Elsewhere their registers are undefined, here too. */
	vcpu->arch.pmu.events = pkvm_cpu_has_counters() ? host_vcpu->arch.pmu.events :
				(struct kvm_pmu_events) {};
#endif
}

/* The guest's own or those of the VMM's debugger, both in the host's vCPU. */
static struct kvm_guest_debug_arch *ordinary_debug_ptr(struct kvm_vcpu *host_vcpu)
{
	struct kvm_guest_debug_arch *own = &host_vcpu->arch.vcpu_debug_state;
	struct kvm_guest_debug_arch *debugger = &host_vcpu->arch.external_debug_state;

	return kern_hyp_va(READ_ONCE(host_vcpu->arch.debug_ptr)) == debugger ?
	       debugger : own;
}

/*
 * What EL2 uses of an ordinary guest's system registers lies in three runs of the
 * array. The rest, the PMU's and those of an EL2 that the guest has not, is the
 * host's alone: two thirds of the array, which need not be copied at each run.
 */
static __always_inline bool in_run(int r, int first, int last)
{
	return r >= first && r <= last;
}

static __always_inline bool is_copied(int r)
{
	return in_run(r, MPIDR_EL1, DISR_EL1) ||
	       in_run(r, APIAKEYLO_EL1, DBGVCR32_EL2) ||
	       in_run(r, CPACR_EL1, POR_EL1);
}

static void copy_run(struct kvm_cpu_context *to, const struct kvm_cpu_context *from,
		     unsigned int first, unsigned int last)
{
	memcpy(&to->sys_regs[first], &from->sys_regs[first],
	       (last - first + 1) * sizeof(to->sys_regs[0]));
}

/* Every register that EL2 switches. */
static __always_inline void check_runs(void)
{
	BUILD_BUG_ON(!is_copied(TPIDR_EL0));
	BUILD_BUG_ON(!is_copied(TPIDRRO_EL0));
	BUILD_BUG_ON(!is_copied(TPIDR_EL1));
	BUILD_BUG_ON(!is_copied(CNTKCTL_EL1));
	BUILD_BUG_ON(!is_copied(PAR_EL1));
	BUILD_BUG_ON(!is_copied(MDCCINT_EL1));
	BUILD_BUG_ON(!is_copied(APGAKEYHI_EL1));
	BUILD_BUG_ON(!is_copied(RGSR_EL1));
	BUILD_BUG_ON(!is_copied(GCR_EL1));
	BUILD_BUG_ON(!is_copied(TFSRE0_EL1));
	BUILD_BUG_ON(!is_copied(POR_EL0));
	BUILD_BUG_ON(!is_copied(FPMR));
	BUILD_BUG_ON(!is_copied(DACR32_EL2));
	BUILD_BUG_ON(!is_copied(IFSR32_EL2));
	BUILD_BUG_ON(!is_copied(FPEXC32_EL2));
	BUILD_BUG_ON(!is_copied(SCTLR_EL1));
	BUILD_BUG_ON(!is_copied(ZCR_EL1));
	BUILD_BUG_ON(!is_copied(TTBR0_EL1));
	BUILD_BUG_ON(!is_copied(TTBR1_EL1));
	BUILD_BUG_ON(!is_copied(TCR_EL1));
	BUILD_BUG_ON(!is_copied(TCR2_EL1));
	BUILD_BUG_ON(!is_copied(ESR_EL1));
	BUILD_BUG_ON(!is_copied(AFSR0_EL1));
	BUILD_BUG_ON(!is_copied(AFSR1_EL1));
	BUILD_BUG_ON(!is_copied(FAR_EL1));
	BUILD_BUG_ON(!is_copied(MAIR_EL1));
	BUILD_BUG_ON(!is_copied(VBAR_EL1));
	BUILD_BUG_ON(!is_copied(CONTEXTIDR_EL1));
	BUILD_BUG_ON(!is_copied(AMAIR_EL1));
	BUILD_BUG_ON(!is_copied(MDSCR_EL1));
	BUILD_BUG_ON(!is_copied(ELR_EL1));
	BUILD_BUG_ON(!is_copied(SP_EL1));
	BUILD_BUG_ON(!is_copied(SPSR_EL1));
	BUILD_BUG_ON(!is_copied(TFSR_EL1));
	BUILD_BUG_ON(!is_copied(PIR_EL1));
	BUILD_BUG_ON(!is_copied(PIRE0_EL1));
}

/* All of a context but the FP registers, which follow when the guest uses them. */
static void copy_context(struct kvm_cpu_context *to, const struct kvm_cpu_context *from)
{
	check_runs();

	memcpy(to, from, offsetof(struct kvm_cpu_context, fp_regs));
	copy_run(to, from, MPIDR_EL1, DISR_EL1);
	copy_run(to, from, APIAKEYLO_EL1, DBGVCR32_EL2);
	copy_run(to, from, CPACR_EL1, POR_EL1);
}

/**
 * pkvm_flush_ordinary_fp() - Take the FP registers that the host has for a guest.
 * @vcpu: EL2's vCPU, which is not protected and has trapped on their first use.
 */
void pkvm_flush_ordinary_fp(struct kvm_vcpu *vcpu)
{
	vcpu->arch.ctxt.fp_regs =
		to_pkvm_hyp_vcpu(vcpu)->host_vcpu->arch.ctxt.fp_regs;
}

static void flush_context(struct pkvm_hyp_vcpu *hyp_vcpu)
{
	struct kvm_vcpu *host_vcpu = hyp_vcpu->host_vcpu;
	struct kvm_vcpu *vcpu = &hyp_vcpu->vcpu;

	copy_context(&vcpu->arch.ctxt, &host_vcpu->arch.ctxt);
	vcpu->arch.hcr_el2 = ordinary_hcr(vcpu, host_vcpu);
	vcpu->arch.iflags = READ_ONCE(host_vcpu->arch.iflags) & HOST_IFLAGS_MASK;
}

/*
 * Can the CPU go to this PSTATE from EL2? If not it stays there, with what the host
 * says of the interrupt masks, and the first interrupt is EL2's end.
 */
static bool pstate_is_a_guests(struct kvm_vcpu *vcpu)
{
	u64 pfr0, mode = *vcpu_cpsr(vcpu) & (PSR_MODE_MASK | PSR_MODE32_BIT);

	switch (mode) {
	case PSR_MODE_EL0t:
	case PSR_MODE_EL1t:
	case PSR_MODE_EL1h:
	/* These are run as EL1's: see to_hw_pstate(). */
	case PSR_MODE_EL2t:
	case PSR_MODE_EL2h:
		return !vcpu_el1_is_32bit(vcpu);
	case PSR_AA32_MODE_USR:
		pfr0 = read_sysreg(id_aa64pfr0_el1);
		return FIELD_GET(ID_AA64PFR0_EL1_EL0_MASK, pfr0) ==
		       ID_AA64PFR0_EL1_EL0_AARCH32;
	case PSR_AA32_MODE_FIQ:
	case PSR_AA32_MODE_IRQ:
	case PSR_AA32_MODE_SVC:
	case PSR_AA32_MODE_ABT:
	case PSR_AA32_MODE_UND:
	case PSR_AA32_MODE_SYS:
		return vcpu_el1_is_32bit(vcpu);
	default:
		return false;
	}
}

static void sync_context(struct pkvm_hyp_vcpu *hyp_vcpu)
{
	struct kvm_vcpu *host_vcpu = hyp_vcpu->host_vcpu;
	u8 iflags = READ_ONCE(host_vcpu->arch.iflags) & ~HOST_IFLAGS_MASK;

	copy_context(&host_vcpu->arch.ctxt, &hyp_vcpu->vcpu.arch.ctxt);
	WRITE_ONCE(host_vcpu->arch.iflags,
		   iflags | (hyp_vcpu->vcpu.arch.iflags & HOST_IFLAGS_MASK));
}

static void flush_vgic(struct pkvm_hyp_vcpu *hyp_vcpu)
{
	struct vgic_v3_cpu_if *host_if = &hyp_vcpu->host_vcpu->arch.vgic_cpu.vgic_v3;
	struct vgic_v3_cpu_if *hyp_if = &hyp_vcpu->vcpu.arch.vgic_cpu.vgic_v3;

	hyp_if->vgic_vmcr = READ_ONCE(host_if->vgic_vmcr);
	pkvm_flush_vgic(hyp_vcpu, READ_ONCE(host_if->vgic_sre));
}

/**
 * pkvm_run_ordinary_vcpu() - Run an ordinary vCPU until it exits to the host.
 * @hyp_vcpu: the vCPU, loaded on this CPU.
 *
 * Return: the exit code for the host; -EINVAL when the vCPU is not initialised, or
 * what pkvm_init_ordinary_vcpu() says of it. It has not run then, and neither when it
 * is ARM_EXCEPTION_IL for a PSTATE that cannot be a guest's.
 */
int pkvm_run_ordinary_vcpu(struct pkvm_hyp_vcpu *hyp_vcpu)
{
	struct kvm_vcpu *host_vcpu = hyp_vcpu->host_vcpu;
	struct kvm_vcpu *vcpu = &hyp_vcpu->vcpu;
	int exit_code;
	bool used_fp;

	if (unlikely(!vcpu_get_flag(vcpu, VCPU_INITIALIZED))) {
		int ret = take_features(hyp_vcpu);

		if (ret)
			return ret == -EAGAIN ? -EINVAL : ret;
	}

	flush_context(hyp_vcpu);
	if (unlikely(!pstate_is_a_guests(vcpu))) {
		WRITE_ONCE(host_vcpu->arch.ctxt.regs.pstate,
			   *vcpu_cpsr(vcpu) | PSR_IL_BIT);
		return ARM_EXCEPTION_IL;
	}

	fpsimd_sve_flush();
	pkvm_flush_ptrauth(vcpu);
	flush_pmu_events(vcpu, host_vcpu);
	vcpu->arch.mdcr_el2 = ordinary_mdcr(host_vcpu);
	vcpu->arch.vsesr_el2 = READ_ONCE(host_vcpu->arch.vsesr_el2) & HOST_VSESR_MASK;
	vcpu->arch.debug_ptr = ordinary_debug_ptr(host_vcpu);
	flush_vgic(hyp_vcpu);
	pkvm_stop_host_buffers();

	exit_code = __kvm_vcpu_run(vcpu);

	pkvm_resume_host_buffers();
	used_fp = guest_owns_fp_regs();
	fpsimd_sve_sync(vcpu);
	if (used_fp)
		host_vcpu->arch.ctxt.fp_regs = vcpu->arch.ctxt.fp_regs;

	sync_context(hyp_vcpu);
	host_vcpu->arch.fault = vcpu->arch.fault;
	pkvm_sync_vserror(hyp_vcpu);
	pkvm_sync_vgic(hyp_vcpu);

	return exit_code;
}

/**
 * pkvm_adjust_pc() - Apply a pending exception or step to the host's registers.
 * @hyp_vcpu: the vCPU that this CPU has loaded, or NULL.
 *
 * For an ordinary guest, whose VMM wants to see it done. What is pending for a
 * protected one stays for the next entry.
 */
void pkvm_adjust_pc(struct pkvm_hyp_vcpu *hyp_vcpu)
{
	if (!hyp_vcpu || pkvm_hyp_vcpu_is_protected(hyp_vcpu))
		return;

	flush_context(hyp_vcpu);
	__kvm_adjust_pc(&hyp_vcpu->vcpu);
	sync_context(hyp_vcpu);
}
