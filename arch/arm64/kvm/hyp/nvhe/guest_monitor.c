// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a CPU counts and traces for the host stands still while a protected guest runs:
 * event counters (FEAT_PMUv3), and the trace of whatever unit (FEAT_TRF).
 *
 * Owns PMCR_EL0 and TRFCR_EL1 while such a guest runs, and MDCR_EL2.TTRF while the host
 * does. The guest itself reaches none of it: MDCR_EL2 of guest_regs.c. Samples
 * (FEAT_SPE) and the buffer of TRBE are host_buffers.c's. Records of branches (FEAT_BRBE)
 * are nobody's: the fine-grained traps keep the host from them too. Activity monitors
 * (FEAT_AMU) go on: EL3 alone can stop them.
 */

#include <linux/bitfield.h>
#include <linux/perf/arm_pmuv3.h>

#include <asm/esr.h>
#include <asm/kvm_arm.h>
#include <asm/kvm_hyp.h>
#include <asm/sysreg.h>

#include <nvhe/guest_monitor.h>

/*
 * @traces: the host has TRFCR_EL1 in use on this CPU.
 * @pmcr, @trfcr: what to give back to it; 0 for what was off.
 */
struct host_monitors {
	bool traces;
	u64 pmcr;
	u64 trfcr;
};

static DEFINE_PER_CPU(struct host_monitors, host_monitors);

/**
 * pkvm_cpu_has_counters() - Are there registers of FEAT_PMUv3 on this CPU?
 *
 * Return: true if there are. Elsewhere they are undefined, at EL2 too.
 */
bool pkvm_cpu_has_counters(void)
{
	return pmuv3_implemented(FIELD_GET(ID_AA64DFR0_EL1_PMUVer_MASK,
					   read_sysreg_s(SYS_ID_AA64DFR0_EL1)));
}

/**
 * pkvm_init_monitors() - Begin to see whether the host traces on this CPU.
 *
 * When the host is deprivileged, and when a CPU comes back: MDCR_EL2 is as it was set
 * up for a host at EL2.
 *
 * Firmware may keep TRFCR_EL1 for itself (MDCR_EL3.TTRF), and nothing asks it not to.
 * So EL2 leaves the register alone until the host uses it: its first access traps.
 */
void pkvm_init_monitors(void)
{
	u64 dfr0 = read_sysreg_s(SYS_ID_AA64DFR0_EL1);

	*this_cpu_ptr(&host_monitors) = (struct host_monitors) {};

	if (dfr0 & ID_AA64DFR0_EL1_TraceFilt_MASK)
		write_sysreg_s(read_sysreg_s(SYS_MDCR_EL2) | MDCR_EL2_TTRF, SYS_MDCR_EL2);
}

/**
 * pkvm_host_begins_to_trace() - The host's access to a system register has trapped.
 * @esr: its syndrome, of class SYS64.
 *
 * Return: true when the host may do it again, and has the register from now on.
 */
bool pkvm_host_begins_to_trace(u64 esr)
{
	if (esr_sys64_to_sysreg(esr) != SYS_TRFCR_EL1)
		return false;

	this_cpu_ptr(&host_monitors)->traces = true;
	write_sysreg_s(read_sysreg_s(SYS_MDCR_EL2) & ~MDCR_EL2_TTRF, SYS_MDCR_EL2);

	return true;
}

/**
 * pkvm_host_traces() - Has the host TRFCR_EL1 in use on this CPU?
 *
 * Return: true if so. Otherwise nothing is traced, and the register may be EL3's.
 */
bool pkvm_host_traces(void)
{
	return this_cpu_ptr(&host_monitors)->traces;
}

/**
 * pkvm_stop_monitors() - Stop what would tell the host of what a guest does.
 *
 * On the way to a protected guest, with the host's registers of EL1 still there. The
 * trace need not go to TRBE, whose buffer host_buffers.c drains. In force at the guest's
 * first instruction, as the return to it synchronises the context. Nothing is written
 * of what is off already, as it most often is.
 *
 * PMCR_EL0.E stops all counters below MDCR_EL2.HPMN, and there are no others: the host
 * cannot change HPMN. Source: Arm ARM, PMCR_EL0 and TRFCR_EL1.
 */
void pkvm_stop_monitors(void)
{
	struct host_monitors *host = this_cpu_ptr(&host_monitors);

	host->pmcr = 0;
	if (pkvm_cpu_has_counters()) {
		/* The bits that set counters to 0 read as 0. */
		u64 pmcr = read_sysreg_s(SYS_PMCR_EL0) &
			   ~(ARMV8_PMU_PMCR_P | ARMV8_PMU_PMCR_C);

		if (pmcr & ARMV8_PMU_PMCR_E) {
			host->pmcr = pmcr;
			write_sysreg_s(pmcr & ~ARMV8_PMU_PMCR_E, SYS_PMCR_EL0);
		}
	}

	if (unlikely(host->traces)) {
		host->trfcr = read_sysreg_el1(SYS_TRFCR);
		if (host->trfcr)
			write_sysreg_el1(0, SYS_TRFCR);
	}
}

/**
 * pkvm_resume_monitors() - Undo pkvm_stop_monitors().
 *
 * On the way back to the host, on the same CPU, with its registers of EL1 restored.
 */
void pkvm_resume_monitors(void)
{
	struct host_monitors *host = this_cpu_ptr(&host_monitors);

	if (unlikely(host->traces) && host->trfcr)
		write_sysreg_el1(host->trfcr, SYS_TRFCR);
	if (host->pmcr)
		write_sysreg_s(host->pmcr, SYS_PMCR_EL0);
}
