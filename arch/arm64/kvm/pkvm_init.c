// SPDX-License-Identifier: GPL-2.0-only
/*
 * Can this machine have a host that is not trusted? Asked once, at boot, while the host
 * still is.
 */

#include <linux/acpi.h>
#include <linux/cpumask.h>
#include <linux/kvm_host.h>
#include <linux/of.h>
#include <linux/psci.h>
#include <linux/string.h>

#include <uapi/linux/psci.h>

#include <asm/cputype.h>
#include <asm/kvm_pkvm.h>
#include <asm/smp_plat.h>

/* Is a CPU at rest that the host does not have, and where only firmware can wake it? */
static bool __init is_off(u64 hwid, const char *method)
{
	int state;

	/* PSCI 0.1 cannot tell. */
	if (!psci_ops.affinity_info)
		return false;

	state = psci_ops.affinity_info(hwid, 0);

	/* One that firmware does not have cannot run, unless somebody else starts it. */
	if (state == PSCI_RET_INVALID_PARAMS)
		return method && !strcmp(method, "psci");

	return state == PSCI_0_2_AFFINITY_LEVEL_OFF || state == PSCI_RET_DISABLED;
}

static bool __init is_online_or_off(u64 hwid, const char *method)
{
	if (!(hwid & ~MPIDR_HWID_BITMASK)) {
		int cpu = get_logical_index(hwid);

		if ((cpu >= 0 && cpu_online(cpu)) || is_off(hwid, method))
			return true;
	}

	kvm_err("Protected mode needs CPU %#llx to be online, or off\n", hwid);
	return false;
}

static bool __init of_cpus_can_be_protected(void)
{
	struct device_node *dn;

	for_each_of_cpu_node(dn) {
		const char *method = NULL;

		of_property_read_string(dn, "enable-method", &method);
		if (!is_online_or_off(of_get_cpu_hwid(dn, 0), method)) {
			of_node_put(dn);
			return false;
		}
	}

	return true;
}

static bool __init acpi_cpus_can_be_protected(void)
{
	const char *method = acpi_psci_present() ? "psci" : NULL;
	unsigned int cpu;

	/* Those too many are in the map, too; all start as firmware says, by PSCI. */
	for (cpu = 0; cpu < CONFIG_NR_CPUS; cpu++) {
		u64 hwid = cpu_logical_map(cpu);

		if (hwid != INVALID_HWID && !is_online_or_off(hwid, method))
			return false;
	}

	return true;
}

/**
 * pkvm_cpus_can_be_protected() - Are all CPUs EL2's that are not off?
 *
 * EL2 takes the CPUs that are online, and starts no other one. One that runs without
 * being online, as it was too slow or has a feature too few, or that waits for the kernel
 * in a way of its own, has no stage 2, and the host can have it do what it likes: whether
 * the kernel wants that CPU or not. And EL2 numbers CPUs without holes.
 *
 * Called when EL2 is initialised, with the CPUs online that are to be so. One that the
 * device tree calls broken, or the MADT disabled, firmware is trusted to keep off.
 *
 * Return: true if protected mode is possible; otherwise the log says why it is not.
 */
bool __init pkvm_cpus_can_be_protected(void)
{
	if (num_possible_cpus() != nr_cpu_ids) {
		kvm_err("Protected mode needs CPUs without a gap, of %u\n", nr_cpu_ids);
		return false;
	}

	return acpi_disabled ? of_cpus_can_be_protected() : acpi_cpus_can_be_protected();
}
