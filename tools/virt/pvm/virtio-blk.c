// SPDX-License-Identifier: GPL-2.0-only
/*
 * virtio-blk on a file or block device (--disk). Read-only if we may not
 * write the file.
 *
 * Data moves between the file and guest memory by preadv and pwritev, which
 * fail with EFAULT on memory that is not ours to touch.
 */
#define _GNU_SOURCE
#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <linux/virtio_blk.h>
#include <linux/virtio_ids.h>

#include "virtio.h"

#define SECTOR_SIZE	512
#define SEG_MAX		(VQ_MAX - 2)	/* a header and a status beside the data */

static_assert(VQ_MAX <= IOV_MAX, "a request must fit one system call");

struct blk {
	struct virtio_dev dev;
	struct virtio_ops ops;
	struct virtio_blk_config config;
	const char *path;
	int fd;
	bool readonly;
	u64 size;
	struct vq_chain chain;
};

static struct blk disks[MAX_DISKS];

/* Move all LEN bytes; the vector is used up. Returns 0, -EFAULT or -EIO. */
static int transfer(struct blk *b, struct iovec *iov, int n, u64 off, size_t len, bool in)
{
	ssize_t done;
	int skip;

	while (len) {
		done = in ? preadv(b->fd, iov, n, off) : pwritev(b->fd, iov, n, off);
		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0 && errno == EFAULT)
			return -EFAULT;
		if (done <= 0) {
			pvm_dbg("%s: %s of '%s' failed: %s", b->dev.name, in ? "read" : "write",
				b->path, done ? strerror(errno) : "unexpected end of file");
			return -EIO;
		}
		len -= done;
		off += done;
		skip = iov_skip(iov, n, done);
		iov += skip;
		n -= skip;
	}
	return 0;
}

static int read_write(struct blk *b, u64 sector, struct iovec *iov, int n, size_t len, bool in)
{
	u64 sectors = b->size / SECTOR_SIZE;

	if (len % SECTOR_SIZE || sector > sectors || len / SECTOR_SIZE > sectors - sector)
		return -EIO;
	if (!in && b->readonly)
		return -EIO;
	return transfer(b, iov, n, sector * SECTOR_SIZE, len, in);
}

/* Serve one request; negative if the device is broken now. */
static int serve(struct blk *b, struct vq_chain *c)
{
	struct virtio_dev *dev = &b->dev;
	struct virtio_blk_outhdr hdr;
	char id[VIRTIO_BLK_ID_BYTES] = "";
	u8 status = VIRTIO_BLK_S_OK;
	u32 written = 1;
	struct iovec *in = c->iov + c->nout;
	struct iovec *out = c->iov;
	struct iovec last;
	int nout = c->nout, nin, skip, err;
	size_t in_len;

	if (!c->in_len || c->out_len < sizeof(hdr)) {
		virtio_broken(dev, "a request without header or status");
		return -EINVAL;
	}
	if (iov_read(out, nout, &hdr, sizeof(hdr))) {
		virtio_efault(dev, c->iov, c->nout + c->nin);
		return -EFAULT;
	}
	skip = iov_skip(out, nout, sizeof(hdr));
	out += skip;
	nout -= skip;

	/* The status is the very last byte; what is before it is data. */
	in_len = c->in_len - 1;
	for (nin = c->nin; !in[nin - 1].iov_len; nin--)
		;
	last = in[nin - 1];
	last.iov_base = (u8 *)last.iov_base + last.iov_len - 1;
	last.iov_len = 1;
	nin = iov_trim(in, nin, in_len);

	switch (le32toh(hdr.type)) {
	case VIRTIO_BLK_T_IN:
		err = read_write(b, le64toh(hdr.sector), in, nin, in_len, true);
		if (!err)
			written += in_len;
		break;
	case VIRTIO_BLK_T_OUT:
		err = read_write(b, le64toh(hdr.sector), out, nout, c->out_len - sizeof(hdr),
				 false);
		break;
	case VIRTIO_BLK_T_FLUSH:
		err = !b->readonly && fdatasync(b->fd) ? -EIO : 0;
		break;
	case VIRTIO_BLK_T_GET_ID:
		snprintf(id, sizeof(id), "%s", dev->name);
		if (in_len > sizeof(id))
			in_len = sizeof(id);
		err = iov_write(in, nin, 0, id, in_len);
		if (!err)
			written += in_len;
		break;
	default:
		err = 0;
		status = VIRTIO_BLK_S_UNSUPP;
	}
	if (err == -EFAULT) {
		virtio_efault(dev, c->iov, c->nout + c->nin);
		return err;
	}
	if (err)
		status = VIRTIO_BLK_S_IOERR;
	if (iov_write(&last, 1, 0, &status, 1)) {
		virtio_efault(dev, &last, 1);
		return -EFAULT;
	}
	return vq_push(dev, &dev->vq[0], c->head, written);
}

static void process(struct virtio_dev *dev)
{
	struct blk *b = (struct blk *)dev;

	while (vq_pop(dev, &dev->vq[0], &b->chain) > 0) {
		if (serve(b, &b->chain) || atomic_load(&dev->vm->stopping))
			break;
	}
}

/* Before anything of the VM exists, so that a bad file costs nothing. */
void blk_open(struct vm *vm)
{
	int i;

	for (i = 0; i < vm->opt.ndisks; i++) {
		struct blk *b = &disks[i];
		struct stat st;
		off_t size;

		b->path = vm->opt.disks[i];
		b->fd = open(b->path, O_RDWR | O_CLOEXEC);
		if (b->fd < 0 && (errno == EACCES || errno == EROFS || errno == EPERM)) {
			b->readonly = true;
			b->fd = open(b->path, O_RDONLY | O_CLOEXEC);
		}
		if (b->fd < 0 || fstat(b->fd, &st))
			die(PVM_BAD_FILE, "cannot open the disk '%s': %s", b->path,
			    strerror(errno));
		if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
			die(PVM_BAD_FILE, "the disk '%s' is neither a file nor a block device",
			    b->path);
		size = lseek(b->fd, 0, SEEK_END);
		if (size <= 0 || size % SECTOR_SIZE)
			die(PVM_BAD_FILE,
			    "the size of the disk '%s' must be a multiple of %d bytes, and not 0",
			    b->path, SECTOR_SIZE);
		b->size = size;
	}
}

void blk_create(struct vm *vm)
{
	int i;

	for (i = 0; i < vm->opt.ndisks; i++) {
		struct blk *b = &disks[i];

		b->config.capacity = htole64(b->size / SECTOR_SIZE);
		b->config.seg_max = htole32(SEG_MAX);
		b->ops.process = process;
		b->ops.config = &b->config;
		b->ops.config_len = sizeof(b->config);
		snprintf(b->dev.name, sizeof(b->dev.name), "disk%d", i);
		b->dev.id = VIRTIO_ID_BLOCK;
		b->dev.features = BIT(VIRTIO_BLK_F_SEG_MAX) | BIT(VIRTIO_BLK_F_FLUSH);
		if (b->readonly)
			b->dev.features |= BIT(VIRTIO_BLK_F_RO);
		b->dev.nvqs = 1;
		b->dev.ops = &b->ops;
		virtio_add(vm, &b->dev);
	}
}
