// SPDX-License-Identifier: GPL-2.0-only
/*
 * A hostile guest for pvm's virtio devices: random register writes, rings and
 * descriptors, and memory that vanishes under them. Runs where it is built,
 * without KVM, with the sanitizers on.
 *
 * Whatever the guest does, the devices must answer a reset in time, and no
 * sanitizer may speak. Usage: virtio-fuzz [ROUNDS [SEED]]
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>

#include "virtio.h"

#define RAM_SIZE	(4 * SZ_1M)
#define DISK_SIZE	SZ_1M
#define NR_DEVS		2

static struct vm vm;
static u64 state;
static unsigned long resets, notifies;
static atomic_ulong complaints;

/* --- the parts of pvm that are not under test */

bool pvm_verbose;

void pvm_info(const char *fmt, ...)
{
	(void)fmt;
	atomic_fetch_add(&complaints, 1);
}

void pvm_dbg(const char *fmt, ...)
{
	(void)fmt;
}

void die(enum pvm_status st, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, "\n");
	exit(st);
}

void kvm_irq_level(struct vm *v, int spi, bool level)
{
	(void)v;
	(void)spi;
	(void)level;
}

int kvm_irqfd(struct vm *v, int spi, int efd)
{
	(void)v;
	(void)spi;
	(void)efd;
	return 0;
}

int kvm_ioeventfd(struct vm *v, u64 addr, int len, int efd)
{
	(void)v;
	(void)addr;
	(void)len;
	(void)efd;
	return 0;
}

void input_attach(void *dev, size_t (*room)(void *), void (*push)(void *, const u8 *, size_t))
{
	(void)dev;
	(void)room;
	(void)push;
}

void input_wake(void)
{
}

void output_write(const void *buf, size_t len)
{
	(void)buf;
	(void)len;
}

/* --- the guest */

static u64 rnd(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

static bool one_in(unsigned int n)
{
	return rnd() % n == 0;
}

static void wr(int dev, u64 off, u32 val)
{
	mmio_access(VIRTIO_BASE + dev * VIRTIO_STRIDE + off, (u8 *)&val, 4, true);
}

static u32 rd(int dev, u64 off)
{
	u32 val = 0;

	mmio_access(VIRTIO_BASE + dev * VIRTIO_STRIDE + off, (u8 *)&val, 4, false);
	return val;
}

/* Mostly in RAM, sometimes over its edges, sometimes anywhere. */
static u64 some_gpa(void)
{
	switch (rnd() % 16) {
	case 0:
		return rnd();
	case 1:
		return RAM_BASE + RAM_SIZE - rnd() % 64;
	case 2:
		return RAM_BASE - rnd() % 64;
	default:
		return RAM_BASE + rnd() % RAM_SIZE;
	}
}

static u32 some_len(void)
{
	static const u32 lens[] = { 0, 1, 15, 16, 17, 512, 4096, 65536, 0x7fffffff, 0xffffffff };

	return one_in(4) ? (u32)rnd() : lens[rnd() % ARRAY_SIZE(lens)];
}

static void put(u64 gpa, const void *val, size_t len)
{
	void *p = ram_ptr(&vm, gpa, len);

	if (p)
		guarded_copy(p, val, len);
}

static void fill_rings(u64 desc, u64 avail, u32 num)
{
	bool one_chain = one_in(8);
	struct virtio_blk_outhdr hdr;
	struct vring_desc d;
	unsigned int i;
	u64 gpa;
	u16 v;

	for (i = 0; i < num; i++) {
		gpa = some_gpa();
		hdr.type = rnd() % 10;
		hdr.sector = one_in(4) ? rnd() : rnd() % 4096;
		put(gpa, &hdr, sizeof(hdr));
		d.addr = gpa;
		d.len = one_in(2) ? 16 : some_len();
		d.flags = rnd() % (one_in(8) ? 8 : 4);
		d.next = one_in(16) ? rnd() : rnd() % num;
		if (one_chain) {
			d.addr = RAM_BASE + rnd() % (RAM_SIZE - 16);
			d.len = 16;
			d.flags = VRING_DESC_F_NEXT | (i > num / 2 ? VRING_DESC_F_WRITE : 0);
			d.next = i + 1;
		}
		put(desc + i * sizeof(d), &d, sizeof(d));
		v = one_in(16) ? rnd() : rnd() % num;
		put(avail + 4 + 2 * i, &v, 2);
	}
	v = rnd() % 2;
	put(avail, &v, 2);
	v = one_in(8) ? rnd() : rnd() % (num + 1);
	put(avail + 2, &v, 2);
}

static void set_up(int dev)
{
	u32 num = one_in(16) ? (u32)rnd() : 1U << rnd() % (one_in(8) ? 12 : 9);
	u64 desc = some_gpa() & ~15ULL, avail = some_gpa() & ~1ULL, used = some_gpa() & ~3ULL;
	u32 q = rnd() % 3;

	wr(dev, VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
	wr(dev, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
	wr(dev, VIRTIO_MMIO_DRIVER_FEATURES, 3);
	wr(dev, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
	wr(dev, VIRTIO_MMIO_DRIVER_FEATURES, one_in(8) ? (u32)rnd() : 0);
	wr(dev, VIRTIO_MMIO_STATUS, 0xb);
	wr(dev, VIRTIO_MMIO_QUEUE_SEL, q);
	wr(dev, VIRTIO_MMIO_QUEUE_NUM, num);
	wr(dev, VIRTIO_MMIO_QUEUE_DESC_LOW, desc);
	wr(dev, VIRTIO_MMIO_QUEUE_DESC_HIGH, desc >> 32);
	wr(dev, VIRTIO_MMIO_QUEUE_AVAIL_LOW, avail);
	wr(dev, VIRTIO_MMIO_QUEUE_AVAIL_HIGH, avail >> 32);
	wr(dev, VIRTIO_MMIO_QUEUE_USED_LOW, used);
	wr(dev, VIRTIO_MMIO_QUEUE_USED_HIGH, used >> 32);
	if (num <= 4096)
		fill_rings(desc, avail, num);
	wr(dev, VIRTIO_MMIO_QUEUE_READY, 1);
	wr(dev, VIRTIO_MMIO_STATUS, 0xf);
}

/* What unsharing does to a page, and sharing. */
static void toggle_page(void)
{
	u8 *p = vm.ram.host + (rnd() % RAM_SIZE & ~(SZ_4K - 1));

	mprotect(p, SZ_4K, one_in(2) ? PROT_NONE : PROT_READ | PROT_WRITE);
}

static void any_access(int dev)
{
	u8 data[8];

	memset(data, rnd(), sizeof(data));
	mmio_access(VIRTIO_BASE + dev * VIRTIO_STRIDE + rnd() % (VIRTIO_SIZE + 8), data,
		    1U << rnd() % 4, one_in(2));
}

static void one_round(void)
{
	int dev = rnd() % NR_DEVS;
	int steps = rnd() % 8;

	set_up(dev);
	while (steps--) {
		switch (rnd() % 4) {
		case 0:
			toggle_page();
			break;
		case 1:
			any_access(dev);
			break;
		default:
			wr(dev, VIRTIO_MMIO_QUEUE_NOTIFY, rnd() % 3);
			notifies++;
		}
	}
	/* The answer needs the device's lock: a device that hangs is seen here. */
	wr(dev, VIRTIO_MMIO_STATUS, 0);
	if (rd(dev, VIRTIO_MMIO_STATUS))
		die(1, "device %d did not reset", dev);
	resets++;
}

int main(int argc, char **argv)
{
	unsigned long rounds = argc > 1 ? strtoul(argv[1], NULL, 0) : 20000;
	u64 seed = argc > 2 ? strtoull(argv[2], NULL, 0) : 1;
	char disk[] = "/tmp/virtio-fuzz.XXXXXX";
	int fd;

	state = seed * 0x9e3779b97f4a7c15UL | 1;
	fd = mkstemp(disk);
	if (fd < 0 || ftruncate(fd, DISK_SIZE))
		die(2, "cannot make a disk in /tmp");

	vm.opt.mem = RAM_SIZE;
	vm.opt.no_eventfd = true;
	vm.opt.hvc = true;
	vm.opt.disks[vm.opt.ndisks++] = disk;
	atomic_store(&vm.status, -1);
	mem_init_faults();
	blk_open(&vm);
	unlink(disk);
	ram_create(&vm);
	blk_create(&vm);
	console_create(&vm);
	virtio_start(&vm);

	/* Hanging is failing. */
	while (rounds--) {
		alarm(30);
		one_round();
	}
	atomic_store(&vm.stopping, true);
	virtio_stop(&vm);
	printf("virtio-fuzz: seed %lu: %lu resets, %lu notifies, %lu complaints, no fault\n",
	       seed, resets, notifies, atomic_load(&complaints));
	return 0;
}
