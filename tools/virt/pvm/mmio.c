// SPDX-License-Identifier: GPL-2.0-only
/*
 * The MMIO bus: finds the device behind an address.
 *
 * Devices are added before the first vCPU runs and never after, so lookups
 * need no lock; each device does its own locking.
 */
#include <string.h>

#include "pvm.h"

struct mmio_dev {
	const char *name;
	u64 base;
	u64 size;
	mmio_fn fn;
	void *dev;
};

static struct mmio_dev devs[MAX_VIRTIO + 4];
static unsigned int ndevs;

void mmio_add(const char *name, u64 base, u64 size, mmio_fn fn, void *dev)
{
	if (ndevs == ARRAY_SIZE(devs))
		die(PVM_INTERNAL, "too many MMIO devices");
	devs[ndevs++] = (struct mmio_dev){
		.name = name, .base = base, .size = size, .fn = fn, .dev = dev,
	};
}

/* An address without a device reads as zero and ignores writes. */
void mmio_access(u64 addr, u8 *data, unsigned int len, bool write)
{
	unsigned int i;

	if (!write)
		memset(data, 0, len);
	for (i = 0; i < ndevs; i++) {
		struct mmio_dev *d = &devs[i];
		u64 off = addr - d->base;

		if (addr < d->base || off >= d->size)
			continue;
		if (!len || len > d->size - off)
			break;
		d->fn(d->dev, off, data, len, write);
		return;
	}
	pvm_dbg("no device for a %u byte MMIO %s at %#lx", len, write ? "write" : "read",
		addr);
}
