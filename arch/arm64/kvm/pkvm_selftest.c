// SPDX-License-Identifier: GPL-2.0-only
/*
 * The verdict of EL2's self-test, as a line in the log (CONFIG_NVHE_EL2_DEBUG).
 */

#include <linux/kvm_host.h>

#include <asm/kvm_asm.h>
#include <asm/pkvm_selftest.h>

DECLARE_KVM_NVHE_SYM(pkvm_selftest);

static const char *const whats[] = {
	[PKVM_SELFTEST_SHAREABLE] = "shareability of EL2's memory",
	[PKVM_SELFTEST_SETUP]	 = "setting up",
	[PKVM_SELFTEST_RESULT]	 = "result",
	[PKVM_SELFTEST_HOST]	 = "host's entry for page",
	[PKVM_SELFTEST_HYP]	 = "EL2's entry for page",
	[PKVM_SELFTEST_GUEST]	 = "guest's entry for VM and frame",
	[PKVM_SELFTEST_COUNT]	 = "count of page",
	[PKVM_SELFTEST_TOTAL]	 = "pages of VM",
	[PKVM_SELFTEST_CONTENT]	 = "content of page",
	[PKVM_SELFTEST_RETURNED] = "pages returned by VM",
};

/**
 * pkvm_report_selftest() - Tell what EL2's self-test found.
 *
 * Called when EL2 is initialised or has failed to, and before the host is deprivileged:
 * afterwards EL2's memory is not the host's to read.
 */
void __init pkvm_report_selftest(void)
{
	struct pkvm_selftest t = *(struct pkvm_selftest *)kvm_nvhe_sym(pkvm_selftest);

	if (t.what == PKVM_SELFTEST_GOOD && t.checks)
		kvm_info("EL2 self-test: %u steps passed\n", t.checks);
	else if (t.what == PKVM_SELFTEST_GOOD)
		kvm_err("EL2 self-test: did not run\n");
	else if (t.what == PKVM_SELFTEST_SETUP && !t.checks)
		kvm_info("EL2 self-test: not run, as there is too little memory for it\n");
	else
		kvm_err("EL2 self-test: ownership_selftest.c:%u: %s %#x is %#llx, not %#llx; %u steps passed\n",
			t.line, t.what < ARRAY_SIZE(whats) ? whats[t.what] : "?", t.index,
			t.got, t.want, t.checks);
}
