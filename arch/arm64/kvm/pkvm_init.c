// SPDX-License-Identifier: GPL-2.0-only
/*
 * Can this machine have a host that is not trusted? Asked once, at boot, while the host
 * still is.
 */

#include <linux/cpumask.h>
#include <linux/kvm_host.h>
#include <linux/psci.h>
#include <linux/string.h>

#include <uapi/linux/psci.h>

#include <asm/cpu_ops.h>
#include <asm/kvm_pkvm.h>
#include <asm/smp_plat.h>

static bool __init is_off(unsigned int cpu)
{
	const struct cpu_operations *ops = get_cpu_ops(cpu);
	int state;

	if (!psci_ops.affinity_info)
		return false;

	state = psci_ops.affinity_info(cpu_logical_map(cpu), 0);

	/* One that firmware does not have cannot run, unless somebody else has started it. */
	if (state == PSCI_RET_INVALID_PARAMS)
		return ops && !strcmp(ops->name, "psci");

	return state == PSCI_0_2_AFFINITY_LEVEL_OFF;
}

/**
 * pkvm_cpus_can_be_protected() - Are all CPUs EL2's that are not off?
 *
 * EL2 takes the CPUs that are online, and starts no other one. One that runs without
 * being online, as it was too slow or has a feature too few, or waits for the kernel in
 * a way of its own, has no stage 2, and the host can have it do what it likes. EL2
 * numbers CPUs without holes.
 *
 * Called when EL2 is initialised, before it is told which CPUs are online.
 *
 * Return: true if protected mode is possible; otherwise the log says why it is not.
 */
bool __init pkvm_cpus_can_be_protected(void)
{
	unsigned int cpu;

	if (num_possible_cpus() != nr_cpu_ids) {
		kvm_err("Protected mode needs all of the %u CPUs that are described\n",
			nr_cpu_ids);
		return false;
	}

	for_each_possible_cpu(cpu) {
		if (cpu_online(cpu))
			continue;
		if (!is_off(cpu)) {
			kvm_err("Protected mode needs CPU %u to be online, or off\n", cpu);
			return false;
		}
	}

	return true;
}
