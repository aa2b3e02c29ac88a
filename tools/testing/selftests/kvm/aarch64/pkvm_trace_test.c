// SPDX-License-Identifier: GPL-2.0-only
/*
 * The tracepoints of protected mode: every call of the host to EL2 by its name, with its
 * arguments and result, and every exit of a vCPU. And that all that KVM traces shows of a
 * protected guest what EL2 gives to the host, and nothing else (I8).
 *
 * PKVM_SEED=N: repeat a run.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <linux/sizes.h>

#include "kselftest_harness.h"
#include "kvm_util.h"
#include "processor.h"
#include "pkvm.h"

#define TIMEOUT		180
#define INSTANCE	"/sys/kernel/tracing/instances/pkvm_trace"
#define PAGE		4096UL

static bool trace_write(const char *file, const char *text)
{
	char path[256];
	bool done;
	int fd;

	snprintf(path, sizeof(path), INSTANCE "/%s", file);
	fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
	if (fd < 0)
		return false;
	done = write(fd, text, strlen(text)) == strlen(text);
	close(fd);
	return done;
}

static char *read_trace(void)
{
	size_t len = 0, room = SZ_4M;
	char *text = malloc(room);
	ssize_t got;
	int fd;

	TEST_ASSERT(text, "no memory");
	fd = open(INSTANCE "/trace", O_RDONLY | O_CLOEXEC);
	TEST_ASSERT(fd >= 0, "cannot read the trace");
	while (len < room - 1 && (got = read(fd, text + len, room - 1 - len)) > 0)
		len += got;
	close(fd);
	TEST_ASSERT(len < room - 1, "the trace is longer than that");
	text[len] = 0;
	return text;
}

static unsigned int count(const char *text, const char *what)
{
	unsigned int n = 0;

	for (text = strstr(text, what); text; text = strstr(text + 1, what))
		n++;
	return n;
}

FIXTURE(trace) {
	struct pkvm_vm *vm;
};

FIXTURE_SETUP(trace)
{
	const char *why = pkvm_unavailable();

	if (why)
		SKIP(return, "%s", why);
	if (pkvm_forced_ordinary())
		SKIP(return, "ordinary VMs are forced");
	if (access("/sys/kernel/tracing/events", F_OK))
		SKIP(return, "no tracefs");
	if (mkdir(INSTANCE, 0700) && errno != EEXIST)
		SKIP(return, "cannot make a trace instance");
	ASSERT_TRUE(trace_write("tracing_on", "1"));
	ASSERT_TRUE(trace_write("buffer_size_kb", "4096"));
	ASSERT_TRUE(trace_write("trace", ""));
}

FIXTURE_TEARDOWN(trace)
{
	pkvm_vm_free(self->vm);
	trace_write("events/enable", "0");
	rmdir(INSTANCE);
}

/* B17: names, arguments and results, from the first call for a VM to the last. */
TEST_F_TIMEOUT(trace, host_hypercalls, TIMEOUT)
{
	static const char * const names[] = {
		"__pkvm_host_share_hyp", "__pkvm_init_vm", "__pkvm_init_vcpu",
		"__pkvm_vcpu_load", "__pkvm_host_donate_guest", "__pkvm_vcpu_put",
		"__pkvm_start_teardown_vm", "__pkvm_reclaim_guest_pages",
		"__pkvm_finalize_teardown_vm", "__pkvm_host_unshare_hyp",
	};
	char want[128], *text, *p;
	unsigned int i, func;
	int n;

	ASSERT_TRUE(trace_write("events/kvm/pkvm_hypercall/enable", "1"));
	self->vm = pkvm_vm_create(NULL);
	pkvm_must(pkvm_vcpu0(self->vm), guest_store, PKVM_MEM_IPA, 1);
	pkvm_vm_close(self->vm);
	ASSERT_TRUE(trace_write("events/kvm/pkvm_hypercall/enable", "0"));

	text = read_trace();
	for (i = 0; i < ARRAY_SIZE(names); i++) {
		snprintf(want, sizeof(want), " %s args=", names[i]);
		EXPECT_GE(count(text, want), 1) {
			TH_LOG("no %s", names[i]);
		}
	}
	/* The page of the store: pfn, gfn, one page; and it succeeded. */
	snprintf(want, sizeof(want), ",0x%lx,0x1} ret=0\n", PKVM_MEM_IPA / PAGE);
	for (p = strstr(text, "__pkvm_host_donate_guest args={0x"); p;
	     p = strstr(p + 1, "__pkvm_host_donate_guest args={0x")) {
		char *end = strchr(p, '\n');

		if (end && end - p > strlen(want) &&
		    !strncmp(end + 1 - strlen(want), want, strlen(want)))
			break;
	}
	EXPECT_NE(p, NULL);
	/* A call without arguments, and every call with a name. */
	EXPECT_GE(count(text, "__pkvm_vcpu_put args={}"), 1);
	for (p = strstr(text, "func="); p; p = strstr(p + 1, "func=")) {
		char name[64] = "";

		n = sscanf(p, "func=%u %63s", &func, name);
		EXPECT_EQ(n, 2);
		EXPECT_EQ(strncmp(name, "__", 2), 0) {
			TH_LOG("%.80s", p);
		}
	}
	/* That would be traced while the guest runs. */
	EXPECT_EQ(count(text, "__kvm_vcpu_run"), 0);
	free(text);

	/* Off again: nothing. */
	ASSERT_TRUE(trace_write("trace", ""));
	pkvm_vm_free(self->vm);
	self->vm = pkvm_vm_create(NULL);
	pkvm_must(pkvm_vcpu0(self->vm), guest_nop);
	text = read_trace();
	EXPECT_EQ(count(text, "pkvm_hypercall"), 0);
	free(text);
}

static const struct {
	const char *name;
	uint64_t fn;
	uint64_t addr;
} exits[] = {
	{ "store to a device", (uint64_t)guest_canary_strb, PKVM_DEV_IPA + 0x128 },
	{ "load from a device", (uint64_t)guest_canary_ldrx, PKVM_DEV_IPA + 0x228 },
	{ "store to new memory", (uint64_t)guest_canary_strx, PKVM_MEM_IPA + 8 * PAGE },
	{ "hypercall", (uint64_t)guest_canary_hvc, 0xc600ffff },
	{ "share", (uint64_t)guest_canary_hvc, PKVM_HVC_SHARE },
	{ "system register", (uint64_t)guest_canary_id_reg, 0 },
	{ "interrupt to itself", (uint64_t)guest_canary_sgi, 0 },
};

/* What is stored, and what the guest tells of it afterwards. */
#define DATA_REG	7

/* S50: whatever KVM traces. What the guest sends to a device is the host's to see. */
TEST_F_TIMEOUT(trace, i8_guest_exits, TIMEOUT)
{
	uint64_t seed = pkvm_seed(), value;
	struct pkvm_vcpu *vcpu;
	char want[64], *text, *p;
	unsigned int i, seen = 0;

	ASSERT_TRUE(trace_write("events/kvm/enable", "1"));
	self->vm = pkvm_vm_create(NULL);
	vcpu = pkvm_vcpu0(self->vm);
	pkvm_must(vcpu, guest_make_canaries, seed);
	pkvm_must(vcpu, guest_load, PKVM_MEM_IPA);
	/* From here on every exit is the guest's in full flight. */
	ASSERT_TRUE(trace_write("trace", ""));
	for (i = 0; i < ARRAY_SIZE(exits); i++) {
		int stop = pkvm_call(vcpu, exits[i].fn, exits[i].addr, ~0UL);

		while (stop == PKVM_EXIT) {
			memset(vcpu->run->mmio.data, 0, sizeof(vcpu->run->mmio.data));
			stop = pkvm_resume(vcpu);
		}
		ASSERT_EQ(stop, PKVM_RETURNED) {
			TH_LOG("%s", exits[i].name);
		}
	}
	ASSERT_TRUE(trace_write("events/enable", "0"));
	text = read_trace();

	/* The exits are there, with what the host may know of them. */
	snprintf(want, sizeof(want), "ipa=0x%lx", (PKVM_DEV_IPA + 0x128) & ~(PAGE - 1));
	EXPECT_GE(count(text, want), 1);
	EXPECT_GE(count(text, " protected "), ARRAY_SIZE(exits) - 1);
	EXPECT_GE(count(text, "ec=0x24 DABT_LOW"), 3);
	EXPECT_EQ(count(text, " ordinary "), 0);

	for (i = 0; i < 32 + 2 * PKVM_NR_Q; i++) {
		if (i == DATA_REG)
			continue;
		value = pkvm_pattern(seed, i);
		snprintf(want, sizeof(want), "%lx", value);
		EXPECT_EQ(count(text, want), 0) {
			TH_LOG("register %u is in the trace", i);
		}
		snprintf(want, sizeof(want), "%lx", value >> 32);
		EXPECT_EQ(count(text, want), 0) {
			TH_LOG("half of register %u is in the trace", i);
		}
	}

	/* Nobody but EL2 knows where a guest is. */
	for (p = strstr(text, "PC: 0x"); p; p = strstr(p + 1, "PC: 0x")) {
		value = strtoul(p + 4, NULL, 16);
		EXPECT_EQ(value, 0) {
			TH_LOG("%.60s", p);
		}
		seen++;
	}
	EXPECT_GE(seen, ARRAY_SIZE(exits));
	for (p = strstr(text, "pc 0x"); p; p = strstr(p + 1, "pc 0x"))
		EXPECT_EQ(strtoul(p + 3, NULL, 16), 0);
	free(text);
}

/* An ordinary guest hides nothing from its host, and is told apart. */
TEST_F_TIMEOUT(trace, ordinary_guest_exits, TIMEOUT)
{
	struct pkvm_opts opts = { .ordinary = true };
	char *text;

	ASSERT_TRUE(trace_write("events/kvm/pkvm_guest_exit/enable", "1"));
	self->vm = pkvm_vm_create(&opts);
	pkvm_must(pkvm_vcpu0(self->vm), guest_store, PKVM_MEM_IPA, 1);
	text = read_trace();
	EXPECT_GE(count(text, " ordinary TRAP"), 1);
	EXPECT_EQ(count(text, " protected "), 0);
	free(text);
}

TEST_HARNESS_MAIN
