// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a kernel with NVHE_EL2_DEBUG tells of EL2: the self-test at boot, the tables of
 * VMs in protected mode and who owns which page (I1). And that others tell nothing.
 *
 * PKVM_EL2_DEBUG=1: the kernel is one of those, and must have all of it.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/klog.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <linux/sizes.h>

#include "kselftest_harness.h"
#include "kvm_util.h"
#include "processor.h"
#include "pkvm.h"
#include "held.h"

#define TIMEOUT		180
#define DEBUGFS		"/sys/kernel/debug/kvm"
#define OWNERSHIP	DEBUGFS "/pkvm_page_ownership"
#define EL2_PAGES	DEBUGFS "/pkvm_el2_pages"
#define PAGE		4096UL
/* As many as the table in ownership_selftest.c has, at least. */
#define SELFTEST_STEPS	280

static bool el2_debug(void)
{
	return getenv("PKVM_EL2_DEBUG") || !access(OWNERSHIP, F_OK);
}

/* All of an open file from its start, which may be long and is made while it is read. */
static char *read_again(int fd)
{
	size_t len = 0, room = 0;
	char *text = NULL;
	ssize_t got;

	TEST_ASSERT(!lseek(fd, 0, SEEK_SET), "cannot go back to the start");
	do {
		if (room - len < SZ_64K) {
			room += SZ_1M;
			text = realloc(text, room);
			TEST_ASSERT(text, "no memory");
		}
		got = read(fd, text + len, room - len - 1);
		TEST_ASSERT(got >= 0, "cannot read: %s", strerror(errno));
		len += got;
	} while (got);
	text[len] = 0;
	return text;
}

static char *read_all(const char *path)
{
	char *text;
	int fd;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return NULL;
	text = read_again(fd);
	close(fd);
	return text;
}

/* The line that tells of an address, in a static buffer; "" if none does. */
static const char *line_of(const char *text, uint64_t addr)
{
	static char line[256];
	uint64_t start, end;
	const char *p;

	line[0] = 0;
	for (p = text; p && *p; p = strchr(p, '\n') ? strchr(p, '\n') + 1 : NULL) {
		if (sscanf(p, "0x%lx-0x%lx", &start, &end) != 2 || addr < start || addr >= end)
			continue;
		snprintf(line, sizeof(line), "%.*s", (int)strcspn(p, "\n"), p);
		return line;
	}
	return line;
}

/* ------------------------------------------------------------ without a guest */

/* S80, B16: every transition of the ownership table, at EL2, before the host runs. */
TEST(i1_selftest_at_boot)
{
	unsigned int steps = 0;
	char *log, *line;
	int n;

	if (!el2_debug())
		SKIP(return, "not a kernel with NVHE_EL2_DEBUG");

	log = malloc(SZ_1M);
	ASSERT_NE(log, NULL);
	n = klogctl(3 /* SYSLOG_ACTION_READ_ALL */, log, SZ_1M - 1);
	ASSERT_GT(n, 0);
	log[n] = 0;
	line = strstr(log, "EL2 self-test: ");
	ASSERT_NE(line, NULL);
	line[strcspn(line, "\n")] = 0;
	n = sscanf(line, "EL2 self-test: %u steps passed", &steps);
	ASSERT_EQ(n, 1) {
		TH_LOG("%s", line);
	}
	EXPECT_GE(steps, SELFTEST_STEPS);
	EXPECT_EQ(access("/dev/kvm", F_OK), 0);
	free(log);
}

/* Ranges of memory follow each other, and EL2 has what it reserved. */
TEST(i1_owner_of_all_memory)
{
	uint64_t start, end, last = 0, all = 0, el2 = 0, kib;
	char *text, *p, owner[64];
	int n;

	if (!el2_debug())
		SKIP(return, "not a kernel with NVHE_EL2_DEBUG");
	text = read_all(OWNERSHIP);
	ASSERT_NE(text, NULL);
	for (p = strtok(text, "\n"); p; p = strtok(NULL, "\n")) {
		n = sscanf(p, "0x%lx-0x%lx %luK %63[^\n]", &start, &end, &kib, owner);
		ASSERT_EQ(n, 4) {
			TH_LOG("%s", p);
		}
		EXPECT_LT(start, end);
		EXPECT_GE(start, last);
		EXPECT_EQ(kib, (end - start) / 1024);
		EXPECT_EQ(start % PAGE | end % PAGE, 0);
		EXPECT_STRNE(owner, "unknown");
		all += kib;
		el2 += strcmp(owner, "EL2") ? 0 : kib;
		last = end;
	}
	EXPECT_GE(all, sysconf(_SC_PHYS_PAGES) * (PAGE / 1024));
	/* A vmemmap, and the tables of both, at the very least. */
	EXPECT_GE(el2, all / 1024);
	EXPECT_LT(el2, all / 8);
	free(text);
}

/* --------------------------------------------------------------- with guests */

FIXTURE(guest) {
	struct pkvm_vm *vm;
	struct pkvm_vcpu *vcpu;
	bool ordinary;
	char file[128];
};

FIXTURE_VARIANT(guest) {
	bool ordinary;
};

FIXTURE_VARIANT_ADD(guest, protected) { .ordinary = false };
FIXTURE_VARIANT_ADD(guest, ordinary) { .ordinary = true };

FIXTURE_SETUP(guest)
{
	struct pkvm_opts opts = { .ordinary = variant->ordinary };
	const char *why = pkvm_unavailable();

	if (why)
		SKIP(return, "%s", why);
	if (pkvm_forced_ordinary() && !variant->ordinary)
		SKIP(return, "ordinary VMs are forced");
	self->vm = pkvm_vm_create(&opts);
	self->vcpu = pkvm_vcpu0(self->vm);
	snprintf(self->file, sizeof(self->file), DEBUGFS "/%d-%d/stage2_page_tables",
		 getpid(), self->vm->fd);
}

FIXTURE_TEARDOWN(guest)
{
	pkvm_vm_free(self->vm);
}

/* A kernel without the option shows nothing of what EL2 has. */
TEST_F_TIMEOUT(guest, i1_told_to_nobody_else, TIMEOUT)
{
	if (el2_debug())
		SKIP(return, "a kernel with NVHE_EL2_DEBUG");
	if (!pkvm_protected_mode())
		SKIP(return, "the tables are the host's");
	pkvm_must(self->vcpu, guest_nop);
	EXPECT_EQ(access(self->file, F_OK), -1);
	EXPECT_EQ(errno, ENOENT);
	EXPECT_EQ(access(OWNERSHIP, F_OK), -1);
	EXPECT_EQ(errno, ENOENT);
	EXPECT_EQ(access(EL2_PAGES, F_OK), -1);
	EXPECT_EQ(errno, ENOENT);
}

static bool says(const char *text, uint64_t addr, const char *want)
{
	const char *line = line_of(text, addr);
	bool found = strstr(line, want);

	if (!found)
		printf("# %#lx: \"%s\", not \"%s\"\n", addr, line, want);
	return found;
}

/* What a guest has where: mapped or not, private or not, and what it may do. */
TEST_F_TIMEOUT(guest, i1_table_of_a_guest, TIMEOUT)
{
	uint64_t ipa = PKVM_MEM_IPA;
	char *text;

	if (!el2_debug())
		SKIP(return, "not a kernel with NVHE_EL2_DEBUG");

	/* EL2 does not know the VM yet. */
	text = read_all(self->file);
	ASSERT_NE(text, NULL);
	EXPECT_STREQ(text, "");
	free(text);

	pkvm_must(self->vcpu, guest_store, ipa, 1);
	pkvm_must(self->vcpu, guest_store, ipa + PAGE, 1);
	pkvm_must(self->vcpu, guest_load, ipa + 2 * PAGE);
	text = read_all(self->file);
	ASSERT_NE(text, NULL);
	if (variant->ordinary) {
		/* Data, which KVM maps for the first fetch only when there is one. */
		EXPECT_TRUE(says(text, ipa, "R W   AF"));
		EXPECT_TRUE(says(text, ipa, "BORROWED"));
		EXPECT_TRUE(says(text, ipa + 2 * PAGE, "BORROWED"));
		EXPECT_EQ(strstr(text, "PRIVATE"), NULL);
		free(text);
		return;
	}
	EXPECT_TRUE(says(text, ipa, "R W X AF"));
	EXPECT_TRUE(says(text, ipa, "PRIVATE"));
	EXPECT_TRUE(says(text, ipa + PAGE, "PRIVATE"));
	EXPECT_EQ(strstr(text, "BORROWED"), NULL);
	EXPECT_EQ(strstr(text, "SHARED"), NULL);
	EXPECT_EQ(strstr(text, "DEVICE"), NULL);
	free(text);

	ASSERT_EQ(pkvm_must(self->vcpu, guest_hvc, PKVM_HVC_SHARE, ipa + PAGE, 0, 0), 0);
	ASSERT_EQ(pkvm_must(self->vcpu, guest_hvc, PKVM_HVC_GUARD_MAP, PKVM_DEV_IPA, 0, 0), 0);
	text = read_all(self->file);
	ASSERT_NE(text, NULL);
	EXPECT_TRUE(says(text, ipa, "PRIVATE"));
	EXPECT_TRUE(says(text, ipa + PAGE, "SHARED"));
	EXPECT_TRUE(says(text, ipa + 2 * PAGE, "PRIVATE"));
	EXPECT_TRUE(says(text, PKVM_DEV_IPA, "DEVICE"));
	free(text);

	ASSERT_EQ(pkvm_must(self->vcpu, guest_hvc, PKVM_HVC_UNSHARE, ipa + PAGE, 0, 0), 0);
	ASSERT_EQ(pkvm_must(self->vcpu, guest_hvc, PKVM_HVC_GUARD_UNMAP, PKVM_DEV_IPA, 0, 0), 0);
	text = read_all(self->file);
	ASSERT_NE(text, NULL);
	EXPECT_TRUE(says(text, ipa + PAGE, "PRIVATE"));
	EXPECT_EQ(strstr(text, "SHARED"), NULL);
	EXPECT_EQ(strstr(text, "DEVICE"), NULL);
	free(text);
}

/* Whose a page is at each point of its life. */
TEST_F_TIMEOUT(guest, i1_owner_of_a_page, TIMEOUT)
{
	uint64_t ipa = PKVM_MEM_IPA, phys, gfn, vm, start, end, kib;
	char *text;
	int n;

	if (!el2_debug())
		SKIP(return, "not a kernel with NVHE_EL2_DEBUG");
	memset(self->vm->mem, 1, PAGE);
	phys = pfn_of(self->vm->mem) * PAGE;
	ASSERT_NE(phys, 0);
	text = read_all(OWNERSHIP);
	ASSERT_NE(text, NULL);
	EXPECT_TRUE(says(text, phys, "K host"));
	EXPECT_EQ(strstr(line_of(text, phys), "shared"), NULL);
	free(text);

	pkvm_must(self->vcpu, guest_store, ipa, 1);
	text = read_all(OWNERSHIP);
	ASSERT_NE(text, NULL);
	/* The host's struct kvm_vcpu, which EL2 reads and writes. */
	EXPECT_NE(strstr(text, "K host, shared with EL2\n"), NULL);
	if (variant->ordinary) {
		/* Sharing lends it; it changes no owner. */
		EXPECT_TRUE(says(text, phys, "K host"));
		free(text);
		return;
	}
	n = sscanf(line_of(text, phys), "0x%lx-0x%lx %luK guest 0x%lx gfn 0x%lx", &start, &end,
		   &kib, &vm, &gfn);
	ASSERT_EQ(n, 5) {
		TH_LOG("%s", line_of(text, phys));
	}
	EXPECT_EQ(gfn + (phys - start) / PAGE, ipa / PAGE);
	EXPECT_GE(vm, 0x1000);
	free(text);

	ASSERT_EQ(pkvm_must(self->vcpu, guest_hvc, PKVM_HVC_SHARE, ipa, 0, 0), 0);
	text = read_all(OWNERSHIP);
	EXPECT_TRUE(says(text, phys, "guest, shared with host"));
	free(text);

	ASSERT_EQ(pkvm_must(self->vcpu, guest_hvc, PKVM_HVC_UNSHARE, ipa, 0, 0), 0);
	text = read_all(OWNERSHIP);
	EXPECT_TRUE(says(text, phys, "K guest 0x"));
	free(text);

	pkvm_vm_close(self->vm);
	text = read_all(OWNERSHIP);
	EXPECT_TRUE(says(text, phys, "K host"));
	EXPECT_EQ(strstr(line_of(text, phys), "shared"), NULL);
	EXPECT_EQ(strstr(text, "K guest"), NULL);
	free(text);
}

/* ------------------------------------------------------------ after the VMM */

enum { RANGE, LEVELS, TABLES, NR_FILES };

static const char * const files[] = {
	[RANGE] = "ipa_range", [LEVELS] = "stage2_levels", [TABLES] = "stage2_page_tables",
};

/* A VMM that hands its VM to us, and ends when it is told to. */
static void be_vmm(bool ordinary, int sock)
{
	struct pkvm_opts opts = { .ordinary = ordinary };
	struct pkvm_vm *vm = pkvm_vm_create(&opts);
	char c;

	pkvm_must(pkvm_vcpu0(vm), guest_store, PKVM_MEM_IPA, 1);
	if (!pkvm_send_fds(sock, &vm->fd, 1) ||
	    write(sock, &vm->fd, sizeof(vm->fd)) != sizeof(vm->fd))
		_exit(1);
	_exit(read(sock, &c, 1) != 1);
}

/* Is this what a file says when the VMM's memory is gone? Frees it. */
static bool right_without_mm(int file, bool ordinary, char *text, const char *before)
{
	bool right;

	if (!text)
		return false;
	if (file != TABLES)
		right = !strcmp(text, before);
	else if (ordinary)
		/* The host has taken back what it lent. */
		right = !strstr(text, "BORROWED");
	else
		right = says(text, PKVM_MEM_IPA, "PRIVATE");
	if (!right)
		printf("# %s: \"%.400s\"\n", files[file], text);
	free(text);
	return right;
}

/* The files are those of the VM, which can outlive the memory of its VMM. */
TEST_F_TIMEOUT(guest, i5_memory_first, TIMEOUT)
{
	char dir[64], path[128], *before[NR_FILES] = {};
	int sock[2], fds[NR_FILES], fd, number, status, i;
	pid_t pid;

	snprintf(path, sizeof(path), DEBUGFS "/%d-%d/%s", getpid(), self->vm->fd,
		 files[RANGE]);
	if (access(path, R_OK))
		SKIP(return, "no CONFIG_PTDUMP_STAGE2_DEBUGFS, or no debugfs");

	ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, sock), 0);
	pid = fork();
	ASSERT_GE(pid, 0);
	if (!pid) {
		close(sock[0]);
		be_vmm(variant->ordinary, sock[1]);
	}
	close(sock[1]);
	ASSERT_TRUE(pkvm_recv_fds(sock[0], &fd, 1));
	ASSERT_EQ(read(sock[0], &number, sizeof(number)), sizeof(number));
	snprintf(dir, sizeof(dir), DEBUGFS "/%d-%d", pid, number);

	for (i = 0; i < NR_FILES; i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, files[i]);
		fds[i] = open(path, O_RDONLY | O_CLOEXEC);
		/* A kernel without NVHE_EL2_DEBUG has no tables to show. */
		if (fds[i] < 0 && i == TABLES && !el2_debug())
			continue;
		ASSERT_GE(fds[i], 0);
		before[i] = read_again(fds[i]);
	}
	EXPECT_EQ(strtol(before[RANGE], NULL, 10), pkvm_max_ipa_bits());
	EXPECT_GT(strtol(before[LEVELS], NULL, 10), 1);
	if (el2_debug())
		EXPECT_TRUE(says(before[TABLES], PKVM_MEM_IPA,
				 variant->ordinary ? "BORROWED" : "PRIVATE"));

	ASSERT_EQ(write(sock[0], "", 1), 1);
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_EQ(status, 0);
	for (i = 0; i < NR_FILES; i++) {
		if (fds[i] < 0)
			continue;
		EXPECT_TRUE(right_without_mm(i, variant->ordinary, read_again(fds[i]),
					     before[i]));
		snprintf(path, sizeof(path), "%s/%s", dir, files[i]);
		EXPECT_TRUE(right_without_mm(i, variant->ordinary, read_all(path),
					     before[i]));
	}

	/* What is open keeps the VM, too; the last one that is closed ends it. */
	close(fd);
	EXPECT_EQ(access(dir, F_OK), 0);
	for (i = 0; i < NR_FILES; i++) {
		if (fds[i] < 0)
			continue;
		EXPECT_TRUE(right_without_mm(i, variant->ordinary, read_again(fds[i]),
					     before[i]));
		close(fds[i]);
		free(before[i]);
	}
	EXPECT_EQ(access(dir, F_OK), -1);
	EXPECT_EQ(errno, ENOENT);
	close(sock[0]);
}

TEST_HARNESS_MAIN
