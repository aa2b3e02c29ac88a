// SPDX-License-Identifier: GPL-2.0-only
/*
 * The buffers that the CPU itself fills for the host: samples (FEAT_SPE) and trace
 * (FEAT_TRBE).
 *
 * Owns PMSCR_EL1, PMBLIMITR_EL1, TRBLIMITR_EL1 and TRFCR_EL1 while EL2 has any of a
 * guest's tables loaded, in protected mode. The host has them for the rest of the time.
 *
 * The buffers lie at virtual addresses of the host's. A unit that is enabled may
 * translate them whenever it likes, by what is loaded just then: with a guest's VTTBR_EL2
 * alone a host could have it write into the guest's memory, and leave translations of its
 * own making to the guest; with a guest's TTBR1_EL1 it is the other way round. That all
 * is written does not keep the unit from it: it has to be off.
 */

#include <linux/bitfield.h>

#include <asm/barrier.h>
#include <asm/kvm_hyp.h>
#include <asm/sysreg.h>

#include <nvhe/guest_monitor.h>
#include <nvhe/host_buffers.h>

/* What to give back to the host; a unit that was off has a limit of 0 here. */
struct host_buffers {
	u64 pmblimitr;
	u64 pmscr;
	u64 trblimitr;
	u64 trfcr;
};

static DEFINE_PER_CPU(struct host_buffers, host_buffers);

/* Is there such a unit, and is it the host's rather than EL3's? */
static bool cpu_has_samples(u64 dfr0)
{
	return FIELD_GET(ID_AA64DFR0_EL1_PMSVer_MASK, dfr0) &&
	       !(read_sysreg_s(SYS_PMBIDR_EL1) & PMBIDR_EL1_P);
}

static bool cpu_has_trace(u64 dfr0)
{
	return FIELD_GET(ID_AA64DFR0_EL1_TraceBuffer_MASK, dfr0) &&
	       !(read_sysreg_s(SYS_TRBIDR_EL1) & TRBIDR_EL1_P);
}

static void stop_samples(struct host_buffers *host)
{
	u64 limit = read_sysreg_s(SYS_PMBLIMITR_EL1);

	if (!(limit & PMBLIMITR_EL1_E))
		return;

	host->pmblimitr = limit;
	host->pmscr = read_sysreg_el1(SYS_PMSCR);
	write_sysreg_el1(0, SYS_PMSCR);
	isb();
	psb_csync();
	dsb(nsh);
	write_sysreg_s(limit & ~PMBLIMITR_EL1_E, SYS_PMBLIMITR_EL1);
	isb();
	/* What it was translating meanwhile it is done with. */
	dsb(nsh);
}

static void stop_trace(struct host_buffers *host)
{
	u64 limit = read_sysreg_s(SYS_TRBLIMITR_EL1);

	if (!(limit & TRBLIMITR_EL1_E))
		return;

	host->trblimitr = limit;
	host->trfcr = 0;
	/* Otherwise nothing is traced, and the register may be EL3's. */
	if (pkvm_host_traces()) {
		host->trfcr = read_sysreg_el1(SYS_TRFCR);
		write_sysreg_el1(0, SYS_TRFCR);
		isb();
	}
	tsb_csync();
	dsb(nsh);
	write_sysreg_s(limit & ~TRBLIMITR_EL1_E, SYS_TRBLIMITR_EL1);
	isb();
	/* Erratum 2064142: it does not look at its registers until it is drained again. */
	if (cpus_have_final_cap(ARM64_WORKAROUND_2064142))
		tsb_csync();
	dsb(nsh);
}

/**
 * pkvm_stop_host_buffers() - Have the CPU write nothing more for the host.
 *
 * With the host's registers of translation in force, before any of them changes: on the
 * way to a guest of either kind, and to its VMID for maintenance of TLBs. On return all
 * is written, and the units translate nothing. A CPU whose units are off, or missing,
 * has its ID register read and little else.
 *
 * Source: Arm ARM, the Statistical Profiling Extension and the Trace Buffer Extension,
 * on synchronisation and on the owning translation regime.
 */
void pkvm_stop_host_buffers(void)
{
	struct host_buffers *host = this_cpu_ptr(&host_buffers);
	u64 dfr0 = read_sysreg_s(SYS_ID_AA64DFR0_EL1);

	host->pmblimitr = 0;
	host->trblimitr = 0;

	if (cpu_has_samples(dfr0))
		stop_samples(host);
	if (cpu_has_trace(dfr0))
		stop_trace(host);
}

/**
 * pkvm_resume_host_buffers() - Undo pkvm_stop_host_buffers().
 *
 * On the way back, on the same CPU, when the host's registers of translation are
 * written again.
 */
void pkvm_resume_host_buffers(void)
{
	struct host_buffers *host = this_cpu_ptr(&host_buffers);

	if (likely(!host->pmblimitr && !host->trblimitr))
		return;

	/* What is written is not in force yet. */
	isb();

	if (host->pmblimitr) {
		write_sysreg_s(host->pmblimitr, SYS_PMBLIMITR_EL1);
		isb();
		write_sysreg_el1(host->pmscr, SYS_PMSCR);
	}

	if (host->trblimitr) {
		write_sysreg_s(host->trblimitr, SYS_TRBLIMITR_EL1);
		isb();
		/* Erratum 2038923: once is not enough. */
		if (cpus_have_final_cap(ARM64_WORKAROUND_2038923))
			isb();
		if (host->trfcr)
			write_sysreg_el1(host->trfcr, SYS_TRFCR);
	}
}
