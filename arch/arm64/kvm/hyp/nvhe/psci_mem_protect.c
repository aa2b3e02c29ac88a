// SPDX-License-Identifier: GPL-2.0-only
/*
 * A reset of the machine leaves nothing of protected guests in RAM, where the firmware
 * has PSCI's MEM_PROTECT: it then overwrites RAM before it starts anything.
 *
 * Owns the count of VMs that need it and what the firmware was told, and knows nothing
 * of VMs. The host cannot make the call: psci-relay.c passes on the functions it lists.
 */

#include <linux/arm-smccc.h>
#include <linux/kvm_host.h>
#include <uapi/linux/psci.h>

#include <asm/kvm_hyp.h>

#include <nvhe/psci_mem_protect.h>
#include <nvhe/spinlock.h>

/* Protects both; nothing is taken within. Firmware may write to flash meanwhile. */
static DEFINE_HYP_SPINLOCK(mem_protect_lock);

/* Protected VMs, from before they have a page until they are cleared away. */
static unsigned int nr_vms;

/* It is on while guests need it. */
static bool is_on;

/* It was off, and it was EL2 that turned it on. */
static bool turned_on;

/* Off (0) or on (1) until now, or an error. */
static int mem_protect(bool enable)
{
	struct arm_smccc_res res;

	if (kvm_host_psci_config.version < PSCI_VERSION(1, 1) ||
	    kvm_host_psci_config.smccc_version < ARM_SMCCC_VERSION_1_1)
		return PSCI_RET_NOT_SUPPORTED;

	arm_smccc_1_1_smc(PSCI_1_1_FN_MEM_PROTECT, enable, &res);

	return res.a0;
}

/**
 * pkvm_mem_protect_get() - There is one more protected VM.
 *
 * Called before the VM has memory. The first one turns protection on, and any later one
 * tries again where that failed. A machine without it has protected guests all the same.
 *
 * Takes mem_protect_lock. Source: PSCI (DEN0022) MEM_PROTECT.
 */
void pkvm_mem_protect_get(void)
{
	int was;

	hyp_spin_lock(&mem_protect_lock);
	nr_vms++;
	if (!is_on) {
		was = mem_protect(true);
		turned_on = !was;
		WRITE_ONCE(is_on, was >= 0);
	}
	hyp_spin_unlock(&mem_protect_lock);
}

/**
 * pkvm_mem_protect_put() - A protected VM is no more.
 *
 * Called when its memory, and what EL2 had of it, is cleared. The last one turns off
 * what EL2 had turned on: the next system may well want to keep its RAM.
 *
 * Takes mem_protect_lock.
 */
void pkvm_mem_protect_put(void)
{
	hyp_spin_lock(&mem_protect_lock);
	if (!--nr_vms && (!turned_on || mem_protect(false) >= 0))
		WRITE_ONCE(is_on, false);
	hyp_spin_unlock(&mem_protect_lock);
}

/**
 * pkvm_reset_function() - With which call EL2 resets the machine for the host.
 * @func_id: SYSTEM_RESET2, as the host called it.
 *
 * A reset that keeps RAM, as a warm one may, turns protection off first (the reference
 * firmware does), and types of vendors do what they like. While there is something to
 * protect, the host gets the reset that clears.
 *
 * Return: @func_id, or SYSTEM_RESET, which takes no arguments.
 */
u64 pkvm_reset_function(u64 func_id)
{
	return READ_ONCE(is_on) ? PSCI_0_2_FN_SYSTEM_RESET : func_id;
}
