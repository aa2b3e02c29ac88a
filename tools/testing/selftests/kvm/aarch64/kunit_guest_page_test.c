// SPDX-License-Identifier: GPL-2.0-only
/*
 * The KUnit tests of mm/guest_page.c, which the kernel has run by itself when its
 * command line says kunit.enable=1: reports each of them by its name. Owns nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <sys/mount.h>

#include "kselftest.h"

#define RESULTS	"/sys/kernel/debug/kunit/guest_page/results"

struct result {
	char name[128];
	int ok;
	int skip;
};

/* "ok N NAME" or "not ok N NAME", with " # SKIP" or without, indented by @indent. */
static int parse(const char *line, int indent, char *name, struct result *r)
{
	char what[96];

	if ((int)strspn(line, " ") != indent)
		return 0;
	line += indent;
	r->ok = !strncmp(line, "ok ", 3);
	if (!r->ok && strncmp(line, "not ok ", 7))
		return 0;
	if (sscanf(line, r->ok ? "ok %*d %95s" : "not ok %*d %95s", what) != 1)
		return 0;
	r->skip = !!strstr(line, "# SKIP");
	snprintf(name, sizeof(what), "%s", what);

	return 1;
}

/* An owner's bug is said once, for the one page of freed_while_marked. */
static int leaks_told(void)
{
	int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK), told = 0;
	char line[2048];
	ssize_t len;

	while (fd >= 0 && ((len = read(fd, line, sizeof(line) - 1)) > 0 ||
			   (len < 0 && errno == EPIPE))) {
		line[len > 0 ? len : 0] = 0;
		told += strstr(line, ";guest page ") &&
			strstr(line, "freed while it is private; it is lost");
	}
	close(fd);

	return told;
}

int main(void)
{
	static struct result results[256];
	char line[512], subtest[96] = "", name[96];
	int nr = 0, i;
	FILE *f;

	ksft_print_header();
	mount("none", "/sys/kernel/debug", "debugfs", 0, NULL);
	f = fopen(RESULTS, "r");
	if (!f)
		ksft_exit_skip("no %s: boot with kunit.enable=1\n", RESULTS);

	while (fgets(line, sizeof(line), f) && nr < 256) {
		struct result *r = &results[nr];

		if (sscanf(line, "        # Subtest: %95s", subtest) == 1)
			continue;
		if (parse(line, 8, name, r)) {
			snprintf(r->name, sizeof(r->name), "%.60s.%.60s", subtest, name);
			nr++;
		} else if (parse(line, 4, name, r)) {
			/* The sum of what was listed just now, or a case by itself. */
			if (strcmp(name, subtest)) {
				snprintf(r->name, sizeof(r->name), "%s", name);
				nr++;
			}
			subtest[0] = 0;
		}
	}
	fclose(f);

	/* An empty file would be the report of a kernel that ran none. */
	if (!nr)
		ksft_exit_fail_msg("no results in %s\n", RESULTS);
	ksft_set_plan(nr + 1);
	for (i = 0; i < nr; i++) {
		if (results[i].skip)
			ksft_test_result_skip("%s\n", results[i].name);
		else
			ksft_test_result(results[i].ok, "%s\n", results[i].name);
	}
	ksft_test_result(leaks_told() == 1, "freed_while_marked_is_told\n");
	ksft_finished();
}
