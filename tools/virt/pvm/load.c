// SPDX-License-Identifier: GPL-2.0-only
/*
 * Kernel and initrd: opened and checked before anything is created, placed in
 * the guest's memory map, and copied in after the VM exists.
 *
 * Files are input like any other: nothing in a header is used unchecked.
 */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pvm.h"

/* Documentation/arch/arm64/booting.rst, "Call the kernel image" */
struct arm64_image_header {
	u32 code0;
	u32 code1;
	u64 text_offset;
	u64 image_size;
	u64 flags;
	u64 res[3];
	u32 magic;
	u32 pe_offset;
};

#define ARM64_IMAGE_MAGIC	0x644d5241	/* "ARM\x64" */
#define ARM64_FLAG_BE		1ULL

struct pe_section {
	char name[8];
	u32 virtual_size;
	u32 virtual_address;
	u32 raw_size;
	u32 raw_offset;
	u32 unused[4];
};

static void map_file(struct image *img, const char *what, const char *path)
{
	struct stat st;
	int fd;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st))
		die(PVM_BAD_FILE, "cannot open the %s '%s': %s", what, path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		die(PVM_BAD_FILE, "the %s '%s' is not a regular file", what, path);
	if (!st.st_size)
		die(PVM_BAD_FILE, "the %s '%s' is empty", what, path);

	img->path = path;
	img->size = st.st_size;
	img->data = mmap(NULL, img->size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (img->data == MAP_FAILED)
		die(PVM_BAD_FILE, "cannot read the %s '%s': %s", what, path, strerror(errno));
	close(fd);
}

static bool starts_with(const struct image *img, const void *magic, size_t len)
{
	return img->size >= len && !memcmp(img->data, magic, len);
}

/*
 * The Image header does not tell the size of the file, but the PE header that
 * EFI kernels carry does: a truncated download is caught here instead of in
 * the guest.
 */
static bool pe_complete(const struct image *img, u32 pe)
{
	const u8 *data = img->data;
	u16 nsections, opt_size;
	struct pe_section s;
	u64 off;

	if (pe > img->size || img->size - pe < 24 || memcmp(data + pe, "PE\0\0", 4))
		return true;
	memcpy(&nsections, data + pe + 6, 2);
	memcpy(&opt_size, data + pe + 20, 2);
	nsections = le16toh(nsections);
	off = (u64)pe + 24 + le16toh(opt_size);
	for (; nsections; nsections--, off += sizeof(s)) {
		if (off > img->size || img->size - off < sizeof(s))
			return false;
		memcpy(&s, data + off, sizeof(s));
		if ((u64)le32toh(s.raw_offset) + le32toh(s.raw_size) > img->size)
			return false;
	}
	return true;
}

static void check_kernel(struct vm *vm)
{
	const struct image *img = &vm->kernel;
	const char *path = img->path;
	struct arm64_image_header h;

	if (starts_with(img, "\x1f\x8b", 2))
		die(PVM_BAD_FILE,
		    "the kernel '%s' is compressed with gzip; decompress it first (gunzip)",
		    path);
	if (starts_with(img, "MZ\0\0zimg", 8))
		die(PVM_BAD_FILE,
		    "the kernel '%s' is a compressed EFI image; take arch/arm64/boot/Image of that kernel",
		    path);
	if (starts_with(img, "\x28\xb5\x2f\xfd", 4) || starts_with(img, "\xfd\x37zXZ", 5))
		die(PVM_BAD_FILE, "the kernel '%s' is compressed; decompress it first", path);
	if (starts_with(img, "\x7f\x45LF", 4))
		die(PVM_BAD_FILE,
		    "the kernel '%s' is an ELF file (vmlinux?); take arch/arm64/boot/Image",
		    path);
	if (img->size < sizeof(h))
		die(PVM_BAD_FILE, "the kernel '%s' is too short to be an arm64 Image", path);
	memcpy(&h, img->data, sizeof(h));
	if (le32toh(h.magic) != ARM64_IMAGE_MAGIC)
		die(PVM_BAD_FILE, "the kernel '%s' is no arm64 Image (the magic number is missing)",
		    path);
	if (!h.image_size)
		die(PVM_BAD_FILE, "the kernel '%s' does not tell its size (older than Linux 3.17)",
		    path);
	if (le64toh(h.flags) & ARM64_FLAG_BE)
		die(PVM_BAD_FILE, "the kernel '%s' is big-endian; a little-endian one is needed",
		    path);
	if (starts_with(img, "MZ", 2) && !pe_complete(img, le32toh(h.pe_offset)))
		die(PVM_BAD_FILE, "the kernel '%s' is truncated", path);
}

void load_open(struct vm *vm)
{
	map_file(&vm->kernel, "kernel", vm->opt.kernel);
	check_kernel(vm);
	if (vm->opt.initrd)
		map_file(&vm->initrd, "initrd", vm->opt.initrd);
}

/* Add without wrapping; a sum that is too big stays too big. */
static u64 sat_add(u64 a, u64 b)
{
	return a + b < a ? UINT64_MAX : a + b;
}

/* Kernel at the start of RAM, then the initrd, the device tree at the end. */
void load_place(struct vm *vm)
{
	u64 ram_end = RAM_BASE + vm->opt.mem;
	u64 end, need, size;
	struct arm64_image_header h;

	memcpy(&h, vm->kernel.data, sizeof(h));
	size = le64toh(h.image_size);
	if (size < vm->kernel.size)
		size = vm->kernel.size;

	vm->fdt.gpa = ram_end - FDT_MAX_SIZE;
	vm->kernel.gpa = sat_add(RAM_BASE, le64toh(h.text_offset));
	end = sat_add(vm->kernel.gpa, size);
	if (vm->initrd.data) {
		end = sat_add(end, SZ_16M - 1);
		if (end != UINT64_MAX)
			end &= ~(SZ_16M - 1);
		vm->initrd.gpa = end;
		end = sat_add(end, vm->initrd.size);
	}
	if (end > vm->fdt.gpa) {
		need = sat_add(end, FDT_MAX_SIZE + SZ_1M - 1);
		if (need == UINT64_MAX)
			die(PVM_BAD_FILE, "the kernel '%s' claims an impossible size",
			    vm->kernel.path);
		die(PVM_NO_MEMORY,
		    "--mem is too small: kernel%s and device tree need at least %lu MiB",
		    vm->initrd.data ? ", initrd" : "",
		    (need - RAM_BASE) / SZ_1M);
	}
	vm->entry = vm->kernel.gpa;
}

static void copy_image(struct vm *vm, const struct image *img)
{
	void *dst;

	if (!img->data)
		return;
	dst = ram_ptr(vm, img->gpa, img->size);
	if (!dst || guarded_copy(dst, img->data, img->size))
		die(PVM_NO_MEMORY, "cannot copy '%s' into guest memory", img->path);
}

void load_copy(struct vm *vm)
{
	copy_image(vm, &vm->kernel);
	copy_image(vm, &vm->initrd);
	copy_image(vm, &vm->fdt);
	pvm_dbg("kernel at %#lx, initrd at %#lx, device tree at %#lx",
		vm->kernel.gpa, vm->initrd.gpa,
		vm->fdt.gpa);
}
