// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the demo's guest does: keeps a secret in its memory, uses its CPUs and
 * its disk, waits while the host looks for the secret, and checks that the
 * secret is intact.
 *
 * It speaks in lines that begin with "pvm-demo:". The secret goes neither to
 * the console nor to the disk. It is left in memory at the end: removing it
 * is the hypervisor's job, and the host checks that.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <linux/compiler.h>
#include <linux/types.h>

#include "marker.h"

#define SECRET_SIZE	(1024 * 1024)
#define RANDOM_LEN	32
#define FILE_SIZE	(4 * 1024 * 1024)
#define CHUNK		65536
#define SPINS		0x100000
#define MAX_CPUS	64

/* The secret is an array of these. */
struct cell {
	u8 marker[MARKER_LEN];
	u8 random[RANDOM_LEN];
	u64 index;
	u64 zero;
};

#define NR_CELLS	(SECRET_SIZE / sizeof(struct cell))

static struct cell *secret;
static u8 secret_random[RANDOM_LEN];

static void __printf(1, 2) say(const char *fmt, ...)
{
	char line[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	dprintf(STDOUT_FILENO, "pvm-demo: %s\n", line);
}

static void __printf(1, 2) __noreturn fail(const char *fmt, ...)
{
	char line[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	say("FAILED: %s", line);
	exit(1);
}

static long now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void make_secret(void)
{
	size_t i;

	secret = mmap(NULL, SECRET_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		      0);
	if (secret == MAP_FAILED || mlock(secret, SECRET_SIZE))
		fail("no memory for the secret: %s", strerror(errno));
	if (getrandom(secret_random, RANDOM_LEN, 0) != RANDOM_LEN)
		fail("no random numbers: %s", strerror(errno));
	for (i = 0; i < NR_CELLS; i++) {
		marker_make(secret[i].marker);
		memcpy(secret[i].random, secret_random, RANDOM_LEN);
		secret[i].index = i;
	}
}

static void check_secret(const char *when)
{
	u8 marker[MARKER_LEN];
	size_t i;

	marker_make(marker);
	for (i = 0; i < NR_CELLS; i++) {
		struct cell *c = &secret[i];

		if (memcmp(c->marker, marker, MARKER_LEN) ||
		    memcmp(c->random, secret_random, RANDOM_LEN) || c->index != i || c->zero)
			fail("the secret was changed %s (cell %zu)", when, i);
	}
}

/* A file's content: pseudo-random, told by its seed. */
static u64 next(u64 *x)
{
	*x ^= *x << 13;
	*x ^= *x >> 7;
	*x ^= *x << 17;
	return *x;
}

static void fill_chunk(u64 *buf, u64 *state)
{
	size_t i;

	for (i = 0; i < CHUNK / sizeof(*buf); i++)
		buf[i] = next(state);
}

static void mount_disk(const char *disk)
{
	mkdir("/mnt", 0755);
	if (mount(disk, "/mnt", "ext4", 0, NULL) && mount(disk, "/mnt", "ext2", 0, NULL))
		fail("cannot mount %s: %s", disk, strerror(errno));
}

static void write_file(const char *path, u64 seed)
{
	static u64 buf[CHUNK / sizeof(u64)];
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	size_t done;

	if (fd < 0)
		fail("cannot create %s: %s", path, strerror(errno));
	for (done = 0; done < FILE_SIZE; done += CHUNK) {
		fill_chunk(buf, &seed);
		if (write(fd, buf, CHUNK) != CHUNK)
			fail("cannot write %s: %s", path, strerror(errno));
	}
	if (fsync(fd) || close(fd))
		fail("cannot sync %s: %s", path, strerror(errno));
}

static void check_file(const char *path, u64 seed)
{
	static u64 want[CHUNK / sizeof(u64)];
	static u64 got[CHUNK / sizeof(u64)];
	int fd = open(path, O_RDONLY);
	size_t done;

	if (fd < 0)
		fail("cannot open %s: %s", path, strerror(errno));
	for (done = 0; done < FILE_SIZE; done += CHUNK) {
		fill_chunk(want, &seed);
		if (read(fd, got, CHUNK) != CHUNK)
			fail("cannot read %s: %s", path, strerror(errno));
		if (memcmp(want, got, CHUNK))
			fail("%s has other data than was written", path);
	}
	close(fd);
}

static void use_disk(const char *disk)
{
	static const char path[] = "/mnt/pvm-demo";
	u64 seed;
	long start;

	if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
		fail("no random numbers: %s", strerror(errno));
	seed |= 1;
	mount_disk(disk);
	start = now_ms();
	write_file(path, seed);
	say("disk: wrote and synced %d KiB in %ld ms", FILE_SIZE / 1024, now_ms() - start);

	/* A fresh mount has nothing cached: the data must come from the disk. */
	if (umount("/mnt"))
		fail("cannot unmount %s: %s", disk, strerror(errno));
	mount_disk(disk);
	start = now_ms();
	check_file(path, seed);
	say("disk: read back and compared %d KiB in %ld ms", FILE_SIZE / 1024, now_ms() - start);
	if (umount("/mnt"))
		fail("cannot unmount %s: %s", disk, strerror(errno));
}

static void *spin(void *arg)
{
	u64 x = (uintptr_t)arg * 2 + 1;
	long i;

	for (i = 0; i < SPINS; i++)
		next(&x);
	/* Never zero; the use keeps the loop. */
	return x ? arg : NULL;
}

static void use_cpus(int want)
{
	int n = sysconf(_SC_NPROCESSORS_ONLN);
	pthread_t threads[MAX_CPUS];
	long start = now_ms();
	int i;

	if (n < 1 || n > MAX_CPUS || (want && n != want))
		fail("%d CPUs are online, not %d", n, want);
	for (i = 0; i < n; i++) {
		pthread_attr_t attr;
		cpu_set_t cpu;

		CPU_ZERO(&cpu);
		CPU_SET(i, &cpu);
		pthread_attr_init(&attr);
		pthread_attr_setaffinity_np(&attr, sizeof(cpu), &cpu);
		if (pthread_create(&threads[i], &attr, spin, (void *)(uintptr_t)i))
			fail("CPU %d does not take a thread", i);
		pthread_attr_destroy(&attr);
	}
	for (i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
	say("%d CPUs worked for %ld ms", n, now_ms() - start);
}

/* Wait for a line on the console, but not for ever. */
static void wait_for_host(int seconds)
{
	struct pollfd pfd = { .fd = STDIN_FILENO, .events = POLLIN };
	char line[64];

	if (poll(&pfd, 1, seconds * 1000) > 0 && read(STDIN_FILENO, line, sizeof(line)) > 0)
		say("the host says to go on");
	else
		say("nothing from the host in %d s, going on", seconds);
}

int main(int argc, char **argv)
{
	const char *disk = argc > 1 ? argv[1] : "/dev/vda";
	int cpus = argc > 2 ? atoi(argv[2]) : 0;
	int seconds = argc > 3 ? atoi(argv[3]) : 120;

	say("started");
	make_secret();
	use_cpus(cpus);
	use_disk(disk);
	check_secret("while the guest worked");
	say("secret ready");
	wait_for_host(seconds);
	check_secret("while the host looked for it");
	say("secret intact");
	say("done");
	return 0;
}
