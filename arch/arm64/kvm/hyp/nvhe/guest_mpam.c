// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory partitioning (FEAT_MPAM) is not for guests.
 *
 * Owns MPAM2_EL2 and MPAMHCR_EL2 while a guest runs, and no other register. No guest
 * is promised the extension and nobody switches its registers: what a guest puts into
 * MPAM0_EL1 and MPAM1_EL1 would stay in force for the host, and the next guest would
 * read it. So accesses trap, and are undefined.
 */

#include <asm/kvm_hyp.h>
#include <asm/sysreg.h>

#include <nvhe/guest_mpam.h>

#define SYS_MPAMIDR_EL1			sys_reg(3, 0, 10, 4, 4)
#define MPAMIDR_EL1_HAS_HCR		BIT(17)
#define MPAMIDR_EL1_HAS_TIDR		BIT(58)

#define MPAMHCR_EL2_TRAP_MPAMIDR_EL1	BIT(31)

#define MPAM2_EL2_TRAPMPAM1EL1		BIT(48)
#define MPAM2_EL2_TRAPMPAM0EL1		BIT(49)
#define MPAM2_EL2_EnMPAMSM		BIT(50)
#define MPAM2_EL2_TIDR			BIT(58)

/* The firmware has it, and the host said so on its command line. */
bool hyp_no_mpam;

/* What the CPU had before the guest. */
struct host_mpam {
	u64 mpam2;
	u64 mpamhcr;
};

static DEFINE_PER_CPU(struct host_mpam, host_mpam);

/**
 * pkvm_trap_mpam() - Trap a guest's accesses to all registers of FEAT_MPAM.
 *
 * For a CPU that has it, on the way to a guest. How EL2 itself is partitioned does not
 * change.
 */
void pkvm_trap_mpam(void)
{
	struct host_mpam *host = this_cpu_ptr(&host_mpam);
	u64 idr = read_sysreg_s(SYS_MPAMIDR_EL1);
	u64 mpam2;

	host->mpam2 = read_sysreg_s(SYS_MPAM2_EL2);
	mpam2 = host->mpam2 | MPAM2_EL2_TRAPMPAM0EL1 | MPAM2_EL2_TRAPMPAM1EL1;
	mpam2 &= ~MPAM2_EL2_EnMPAMSM;

	/* MPAMIDR_EL1 has a trap here or there; without either it shows no more than sizes. */
	if (idr & MPAMIDR_EL1_HAS_HCR) {
		host->mpamhcr = read_sysreg_s(SYS_MPAMHCR_EL2);
		write_sysreg_s(MPAMHCR_EL2_TRAP_MPAMIDR_EL1, SYS_MPAMHCR_EL2);
	} else if (idr & MPAMIDR_EL1_HAS_TIDR) {
		mpam2 |= MPAM2_EL2_TIDR;
	}

	write_sysreg_s(mpam2, SYS_MPAM2_EL2);
}

/**
 * pkvm_untrap_mpam() - Undo pkvm_trap_mpam().
 *
 * On the way back to the host, on the same CPU.
 */
void pkvm_untrap_mpam(void)
{
	struct host_mpam *host = this_cpu_ptr(&host_mpam);

	if (read_sysreg_s(SYS_MPAMIDR_EL1) & MPAMIDR_EL1_HAS_HCR)
		write_sysreg_s(host->mpamhcr, SYS_MPAMHCR_EL2);
	write_sysreg_s(host->mpam2, SYS_MPAM2_EL2);
}
