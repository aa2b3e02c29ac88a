/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the parts of pvm share: the options, the machine and its memory map,
 * and the functions that one file offers to the others.
 *
 * Nothing here may depend on more than the C library, the kernel's UAPI and
 * libfdt. The guest is not trusted: every value that comes from it (register
 * writes, rings, descriptors, addresses) is checked where it is used.
 */
#ifndef PVM_H
#define PVM_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>
#include <sys/uio.h>

#include <linux/bits.h>
#include <linux/compiler.h>
#include <linux/kernel.h>
#include <linux/kvm.h>
#include <linux/types.h>

/* How a run can end. --help prints the same table. */
enum pvm_status {
	PVM_POWEROFF	= 0,	/* the guest powered off */
	PVM_INTERNAL	= 1,	/* pvm or the host failed in the middle */
	PVM_BAD_ARG	= 2,	/* the command line makes no sense */
	PVM_BAD_FILE	= 3,	/* a file is missing or broken */
	PVM_REFUSED	= 4,	/* this host cannot do what was asked */
	PVM_NO_MEMORY	= 5,	/* the guest or the host has too little memory */
	PVM_CRASH	= 10,	/* the guest crashed, or cannot go on */
	PVM_RESET	= 11,	/* the guest asked for a reset */
	PVM_TIMEOUT	= 12,	/* --timeout ran out */
	PVM_STOPPED	= 13,	/* a signal or Ctrl-] ended the run */
	PVM_LEAK	= 14,	/* --scan-after found guest data */
};

#define SZ_4K		0x1000UL
#define SZ_1M		0x100000UL
#define SZ_2M		0x200000UL
#define SZ_16M		0x1000000UL

/*
 * The guest's physical memory map. It follows crosvm where crosvm has the
 * device, so that a kernel meets here what it meets there.
 */
#define UART_BASE		0x3f8UL
#define UART_SIZE		8
#define PVTIME_BASE		0x1ff0000UL
#define PVTIME_SIZE		0x10000UL
#define VIRTIO_BASE		0x2000000UL
#define VIRTIO_STRIDE		0x1000UL	/* a page each: MMIO guard works on pages */
#define VIRTIO_SIZE		0x200UL
#define GIC_DIST_BASE		0x3fff0000UL
#define GIC_DIST_SIZE		0x10000UL
#define GIC_REDIST_SIZE		0x20000UL	/* per CPU, just below the distributor */
#define RAM_BASE		0x80000000UL
#define FDT_MAX_SIZE		SZ_2M

#define GIC_NR_IRQS		64
#define SPI_UART		0
#define SPI_VIRTIO		1
#define PPI_PMU			7		/* INTID 23 */

#define MAX_CPUS		256
#define MAX_DISKS		8
#define MAX_VIRTIO		(MAX_DISKS + 1)

struct options {
	bool protected_vm;
	const char *kernel;
	const char *initrd;
	const char *disks[MAX_DISKS];
	int ndisks;
	const char *append;
	const char *dump_dtb;
	u64 mem;
	u64 swiotlb;
	long cpus;
	long timeout;
	bool hvc;
	bool anon;
	bool hugepages;
	bool no_eventfd;
	bool scan_after;
	bool verbose;
	u8 probe[64];
	size_t probe_len;
};

/* A file that was copied into guest memory; kept to tell leaks from copies. */
struct image {
	const char *path;
	const void *data;
	u64 size;
	u64 gpa;
};

struct ram {
	u8 *host;
	u64 gpa;
	u64 size;
	int memfd;
};

struct vcpu {
	struct vm *vm;
	int id;
	int fd;
	struct kvm_run *run;
	size_t run_size;
	u64 mpidr;
	pthread_t thread;
	bool started;
	atomic_bool done;
};

struct vm {
	struct options opt;
	int kvm_fd;
	int fd;
	int gic_fd;
	int ipa_bits;
	bool has_pmu;
	u64 psci_version;
	struct ram ram;
	struct image kernel;
	struct image initrd;
	struct image fdt;
	u64 entry;
	struct vcpu *vcpus;
	int ncpus;
	int nvirtio;
	void *pvtime;

	/* How the run ends: written once, by whoever is first. */
	int stop_fd;
	atomic_bool stopping;
	atomic_int status;
};

/* main.c */
extern bool pvm_verbose;
void __printf(1, 2) pvm_info(const char *fmt, ...);
void __printf(1, 2) pvm_dbg(const char *fmt, ...);
void __printf(2, 3) __noreturn die(enum pvm_status st, const char *fmt, ...);
void vm_stop(struct vm *vm, enum pvm_status st);

/* memory.c */
void mem_init_faults(void);
int guarded_copy(void *dst, const void *src, size_t len);
int guarded_load16(const u16 *p, u16 *val);
int guarded_store16(u16 *p, u16 val);
void ram_create(struct vm *vm);
void *ram_ptr(struct vm *vm, u64 gpa, u64 len);
u64 ram_gpa(struct vm *vm, const void *p);
void ram_probe(struct vm *vm, const char *when);
bool ram_scan_after(struct vm *vm);
long vmlck_kb(void);

/* load.c */
void load_open(struct vm *vm);
void load_place(struct vm *vm);
void load_copy(struct vm *vm);

/* fdt.c */
void fdt_build(struct vm *vm);

/* kvm.c */
void kvm_open(struct vm *vm);
void kvm_create(struct vm *vm);
void kvm_create_gic(struct vm *vm);
void kvm_create_vcpus(struct vm *vm);
void kvm_finish(struct vm *vm);
void kvm_destroy(struct vm *vm);
void kvm_irq_level(struct vm *vm, int spi, bool level);
int kvm_irqfd(struct vm *vm, int spi, int efd);
int kvm_ioeventfd(struct vm *vm, u64 addr, int len, int efd);

/* vcpu.c */
void vcpus_start(struct vm *vm);
bool vcpus_stop(struct vm *vm);

/* mmio.c: one entry per emulated device, fixed before the first vCPU runs */
typedef void (*mmio_fn)(void *dev, u64 off, u8 *data, unsigned int len, bool write);
void mmio_add(const char *name, u64 base, u64 size, mmio_fn fn, void *dev);
void mmio_access(u64 addr, u8 *data, unsigned int len, bool write);

/* uart.c */
void uart_create(struct vm *vm);
size_t uart_room(void *dev);
void uart_input(void *dev, const u8 *buf, size_t len);

/* input.c: stdin, given to whichever console owns it */
void input_start(struct vm *vm);
void input_stop(void);
void input_attach(void *dev, size_t (*room)(void *), void (*push)(void *, const u8 *, size_t));
void input_wake(void);
bool input_raw(void);
void output_write(const void *buf, size_t len);

/* virtio-blk.c, virtio-console.c */
void blk_open(struct vm *vm);
void blk_create(struct vm *vm);
void console_create(struct vm *vm);

/* virtio.c: what main needs of the transport; virtio.h has the rest */
void virtio_start(struct vm *vm);
void virtio_stop(struct vm *vm);

#endif /* PVM_H */
