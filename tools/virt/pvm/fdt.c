// SPDX-License-Identifier: GPL-2.0-only
/*
 * The device tree that describes the machine to the guest, made with the
 * kernel's own libfdt. It is written to a buffer here; load.c copies it in.
 *
 * Addresses and interrupts come from pvm.h alone, so that the tree cannot
 * disagree with the devices.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include <libfdt.h>

#include "pvm.h"

#define PHANDLE_GIC	1
#define PHANDLE_POOL	2

#define GIC_SPI		0
#define GIC_PPI		1
#define EDGE_RISING	1
#define LEVEL_HIGH	4
#define LEVEL_LOW	8

/* libfdt's sequential writer, with the first error remembered. */
struct tree {
	void *buf;
	int err;
};

static void check(struct tree *t, int err)
{
	if (!t->err)
		t->err = err;
}

static void node_begin(struct tree *t, const char *name)
{
	check(t, fdt_begin_node(t->buf, name));
}

static void node_begin_at(struct tree *t, const char *name, u64 addr)
{
	char full[64];

	snprintf(full, sizeof(full), "%s@%lx", name, addr);
	node_begin(t, full);
}

static void node_end(struct tree *t)
{
	check(t, fdt_end_node(t->buf));
}

static void prop_flag(struct tree *t, const char *name)
{
	check(t, fdt_property(t->buf, name, NULL, 0));
}

static void prop_str(struct tree *t, const char *name, const char *val)
{
	check(t, fdt_property_string(t->buf, name, val));
}

static void prop_u32(struct tree *t, const char *name, u32 val)
{
	check(t, fdt_property_u32(t->buf, name, val));
}

static void prop_u64(struct tree *t, const char *name, u64 val)
{
	check(t, fdt_property_u64(t->buf, name, val));
}

static void prop_cells32(struct tree *t, const char *name, const u32 *val, int n)
{
	fdt32_t be[16];
	int i;

	for (i = 0; i < n; i++)
		be[i] = cpu_to_fdt32(val[i]);
	check(t, fdt_property(t->buf, name, be, n * sizeof(be[0])));
}

static void prop_cells64(struct tree *t, const char *name, const u64 *val, int n)
{
	fdt64_t be[8];
	int i;

	for (i = 0; i < n; i++)
		be[i] = cpu_to_fdt64(val[i]);
	check(t, fdt_property(t->buf, name, be, n * sizeof(be[0])));
}

static void prop_reg(struct tree *t, u64 base, u64 size)
{
	u64 val[] = { base, size };

	prop_cells64(t, "reg", val, 2);
}

static void prop_irq(struct tree *t, u32 type, u32 nr, u32 trigger)
{
	u32 val[] = { type, nr, trigger };

	prop_cells32(t, "interrupts", val, 3);
}

static void node_chosen(struct tree *t, struct vm *vm)
{
	u64 kaslr;
	u8 seed[64];

	node_begin(t, "chosen");
	prop_str(t, "bootargs", vm->opt.append);
	prop_str(t, "stdout-path", "/uart@3f8");
	if (vm->initrd.data) {
		prop_u64(t, "linux,initrd-start", vm->initrd.gpa);
		prop_u64(t, "linux,initrd-end", vm->initrd.gpa + vm->initrd.size);
	}
	if (getrandom(&kaslr, sizeof(kaslr), GRND_NONBLOCK) == sizeof(kaslr))
		prop_u64(t, "kaslr-seed", kaslr);
	if (getrandom(seed, sizeof(seed), GRND_NONBLOCK) == sizeof(seed))
		check(t, fdt_property(t->buf, "rng-seed", seed, sizeof(seed)));
	node_end(t);
}

/*
 * The pool that a protected guest shares with us. It has a size and no place:
 * the guest picks one.
 */
static void node_pool(struct tree *t, struct vm *vm)
{
	if (!vm->opt.swiotlb)
		return;
	node_begin(t, "reserved-memory");
	prop_u32(t, "#address-cells", 2);
	prop_u32(t, "#size-cells", 2);
	prop_flag(t, "ranges");
	node_begin(t, "restricted_dma_reserved");
	prop_str(t, "compatible", "restricted-dma-pool");
	prop_u64(t, "size", vm->opt.swiotlb);
	prop_u64(t, "alignment", 0x10000);
	prop_u32(t, "phandle", PHANDLE_POOL);
	node_end(t);
	node_end(t);
}

static void node_cpus(struct tree *t, struct vm *vm)
{
	int i;

	node_begin(t, "cpus");
	prop_u32(t, "#address-cells", 2);
	prop_u32(t, "#size-cells", 0);
	for (i = 0; i < vm->ncpus; i++) {
		u64 id = vm->vcpus[i].mpidr & 0xff00ffffffUL;

		node_begin_at(t, "cpu", id);
		prop_str(t, "device_type", "cpu");
		prop_str(t, "compatible", "arm,armv8");
		prop_str(t, "enable-method", "psci");
		prop_u64(t, "reg", id);
		node_end(t);
	}
	node_end(t);
}

static void node_psci(struct tree *t)
{
	static const char compatible[] = "arm,psci-1.0\0arm,psci-0.2";

	node_begin(t, "psci");
	check(t, fdt_property(t->buf, "compatible", compatible, sizeof(compatible)));
	prop_str(t, "method", "hvc");
	node_end(t);
}

static void node_gic(struct tree *t, struct vm *vm)
{
	u64 redists = GIC_REDIST_SIZE * vm->ncpus;
	u64 regs[] = { GIC_DIST_BASE, GIC_DIST_SIZE, GIC_DIST_BASE - redists, redists };

	node_begin_at(t, "intc", GIC_DIST_BASE);
	prop_str(t, "compatible", "arm,gic-v3");
	prop_u32(t, "#interrupt-cells", 3);
	prop_u32(t, "#address-cells", 2);
	prop_u32(t, "#size-cells", 2);
	prop_flag(t, "interrupt-controller");
	prop_cells64(t, "reg", regs, 4);
	prop_u32(t, "phandle", PHANDLE_GIC);
	node_end(t);
}

static void node_timer(struct tree *t)
{
	u32 irqs[] = {
		GIC_PPI, 13, LEVEL_LOW,
		GIC_PPI, 14, LEVEL_LOW,
		GIC_PPI, 11, LEVEL_LOW,
		GIC_PPI, 10, LEVEL_LOW,
	};

	node_begin(t, "timer");
	prop_str(t, "compatible", "arm,armv8-timer");
	prop_cells32(t, "interrupts", irqs, 12);
	prop_flag(t, "always-on");
	node_end(t);
}

static void node_pmu(struct tree *t, struct vm *vm)
{
	if (!vm->has_pmu)
		return;
	node_begin(t, "pmu");
	prop_str(t, "compatible", "arm,armv8-pmuv3");
	prop_irq(t, GIC_PPI, PPI_PMU, LEVEL_HIGH);
	node_end(t);
}

static void node_uart(struct tree *t)
{
	node_begin_at(t, "uart", UART_BASE);
	prop_str(t, "compatible", "ns16550a");
	prop_reg(t, UART_BASE, UART_SIZE);
	prop_u32(t, "clock-frequency", 1843200);
	prop_irq(t, GIC_SPI, SPI_UART, LEVEL_HIGH);
	node_end(t);
}

static void nodes_virtio(struct tree *t, struct vm *vm)
{
	int i;

	for (i = 0; i < vm->nvirtio; i++) {
		u64 base = VIRTIO_BASE + i * VIRTIO_STRIDE;

		node_begin_at(t, "virtio_mmio", base);
		prop_str(t, "compatible", "virtio,mmio");
		prop_reg(t, base, VIRTIO_SIZE);
		prop_irq(t, GIC_SPI, SPI_VIRTIO + i, EDGE_RISING);
		prop_flag(t, "dma-coherent");
		if (vm->opt.swiotlb)
			prop_u32(t, "memory-region", PHANDLE_POOL);
		node_end(t);
	}
}

static void dump(const char *path, const void *buf, size_t len)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	if (fd < 0 || write(fd, buf, len) != (ssize_t)len || close(fd))
		die(PVM_BAD_FILE, "cannot write the device tree to '%s': %s", path,
		    strerror(errno));
}

void fdt_build(struct vm *vm)
{
	struct tree t = { .buf = calloc(1, FDT_MAX_SIZE) };

	if (!t.buf)
		die(PVM_NO_MEMORY, "out of memory");
	check(&t, fdt_create(t.buf, FDT_MAX_SIZE));
	check(&t, fdt_finish_reservemap(t.buf));
	node_begin(&t, "");
	prop_str(&t, "compatible", "linux,dummy-virt");
	prop_str(&t, "model", "pvm");
	prop_u32(&t, "#address-cells", 2);
	prop_u32(&t, "#size-cells", 2);
	prop_u32(&t, "interrupt-parent", PHANDLE_GIC);
	node_chosen(&t, vm);
	node_begin_at(&t, "memory", RAM_BASE);
	prop_str(&t, "device_type", "memory");
	prop_reg(&t, vm->ram.gpa, vm->ram.size);
	node_end(&t);
	node_pool(&t, vm);
	node_cpus(&t, vm);
	node_psci(&t);
	node_gic(&t, vm);
	node_timer(&t);
	node_pmu(&t, vm);
	node_uart(&t);
	nodes_virtio(&t, vm);
	node_end(&t);
	check(&t, fdt_finish(t.buf));
	if (t.err)
		die(PVM_INTERNAL, "cannot make the device tree: %s", fdt_strerror(t.err));

	vm->fdt.path = "device tree";
	vm->fdt.data = t.buf;
	vm->fdt.size = fdt_totalsize(t.buf);
	if (vm->opt.dump_dtb)
		dump(vm->opt.dump_dtb, t.buf, vm->fdt.size);
}
