// SPDX-License-Identifier: GPL-2.0-only
/*
 * A plugin of QEMU: which instructions of a range of the kernel's image ran.
 *
 *	-plugin el2cover.so,image=ADDRESS,start=OFFSET,end=OFFSET,out=FILE
 *
 * The range, in bytes from the start of the image, which is loaded at the physical
 * ADDRESS, is the text of EL2: that has no instrumentation of the compiler's. Code is
 * known by where it is in memory, not by the address that a CPU uses for it, since EL2
 * has mappings of its own. FILE has a line "OFFSET COUNT" for each instruction that ran,
 * and is written when QEMU ends. Nothing is added to code outside the range.
 *
 * Debian packages no header for plugins: what is used of the interface is declared here.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT		__attribute__((visibility("default")))
#define RAM_START	0x40000000ULL	/* of QEMU's virt machine, and where it starts */
#define INSN_SIZE	4

typedef uint64_t qemu_plugin_id_t;

struct qemu_plugin_tb;
struct qemu_plugin_insn;

enum qemu_plugin_op {
	QEMU_PLUGIN_INLINE_ADD_U64,
};

size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb,
						 size_t idx);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);
void *qemu_plugin_insn_haddr(const struct qemu_plugin_insn *insn);
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id,
					   void (*cb)(qemu_plugin_id_t id,
						      struct qemu_plugin_tb *tb));
void qemu_plugin_register_vcpu_insn_exec_inline(struct qemu_plugin_insn *insn,
						enum qemu_plugin_op op, void *ptr,
						uint64_t imm);
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t id,
				    void (*cb)(qemu_plugin_id_t id, void *userdata),
				    void *userdata);

EXPORT int qemu_plugin_version = 1;

static uint64_t image, start, end;
static const char *out;

/* Where QEMU has the machine's memory: known from the first instruction of all. */
static const char *ram;

/* How often each instruction ran. CPUs may lose each other's counts, but never all. */
static uint64_t *counts;

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
	size_t i, n = qemu_plugin_tb_n_insns(tb);

	for (i = 0; i < n; i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
		const char *host = qemu_plugin_insn_haddr(insn);
		uint64_t offset;

		if (!host)
			continue;
		if (!ram && qemu_plugin_insn_vaddr(insn) == RAM_START)
			ram = host;
		if (!ram)
			continue;

		offset = host - ram + RAM_START - image;
		if (offset < start || offset >= end)
			continue;
		qemu_plugin_register_vcpu_insn_exec_inline(insn, QEMU_PLUGIN_INLINE_ADD_U64,
							   &counts[(offset - start) / INSN_SIZE],
							   1);
	}
}

static void ended(qemu_plugin_id_t id, void *unused)
{
	FILE *f = fopen(out, "w");
	uint64_t i;

	if (!f) {
		perror(out);
		return;
	}
	for (i = 0; i < (end - start) / INSN_SIZE; i++)
		if (counts[i])
			fprintf(f, "%" PRIx64 " %" PRIu64 "\n", start + i * INSN_SIZE, counts[i]);
	if (fclose(f))
		perror(out);
}

/* QEMU describes itself in @info; nothing of that is needed. */
EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const void *info, int argc, char **argv);

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const void *info, int argc, char **argv)
{
	int i;

	for (i = 0; i < argc; i++) {
		if (!strncmp(argv[i], "image=", 6))
			image = strtoull(argv[i] + 6, NULL, 0);
		else if (!strncmp(argv[i], "start=", 6))
			start = strtoull(argv[i] + 6, NULL, 0);
		else if (!strncmp(argv[i], "end=", 4))
			end = strtoull(argv[i] + 4, NULL, 0);
		else if (!strncmp(argv[i], "out=", 4))
			out = strdup(argv[i] + 4);
	}
	if (!image || end <= start || start % INSN_SIZE || !out) {
		fprintf(stderr, "el2cover: wants image=, start=, end= and out=\n");
		return 1;
	}
	counts = calloc((end - start) / INSN_SIZE + 1, sizeof(*counts));
	if (!counts)
		return 1;

	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
	qemu_plugin_register_atexit_cb(id, ended, NULL);
	return 0;
}
