// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which SMCs of the host EL2 passes on to the firmware.
 *
 * Knows no more than numbers. PSCI (psci-relay.c) and FF-A (ffa.c) have proxies, which
 * are asked first.
 */

#include <linux/arm-smccc.h>

#include <nvhe/host_smc.h>

/**
 * pkvm_host_smc_allowed() - May EL2 make a call for the host?
 * @func_id: the number, of which the firmware looks at the low 32 bits.
 *
 * To the firmware the caller is EL2, with registers of the host's. What services of
 * vendors make of that is their contract with the machine's kernel. The standard ones
 * are known, and some of them serve whoever calls at the caller's own exception level:
 * events of SDEI would enter EL2 at an address of the host's, a dynamic launch (DRTM)
 * start the host's code there, and RMI take pages away behind EL2's tables. So of the
 * standard services the listed ones pass; what will come later is none of them.
 *
 * Source: SMCCC (DEN0028) 6 and its table of ranges; DEN0054 (SDEI), DEN0113 (DRTM),
 * DEN0137 (RMM).
 *
 * Return: true if it may. If not, the host gets NOT_SUPPORTED.
 */
bool pkvm_host_smc_allowed(u32 func_id)
{
	if (ARM_SMCCC_OWNER_NUM(func_id) != ARM_SMCCC_OWNER_STANDARD)
		return true;

	switch (ARM_SMCCC_FUNC_NUM(func_id)) {
	case 0x040 ... 0x04f:	/* management mode, DEN0060 */
	case 0x050 ... 0x05f:	/* random numbers, DEN0098 */
	case 0x060 ... 0x0ef:	/* FF-A, DEN0077: beyond what the proxy knows */
	case 0x0f0 ... 0x10f:	/* errata, DEN0100 */
	case 0x130 ... 0x14f:	/* PCI configuration space, DEN0115 */
		return true;
	default:
		return false;
	}
}
