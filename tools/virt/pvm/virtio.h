/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a virtio device needs of the transport (virtio.c): its queues, the
 * chains it takes from them, and how to give up when the guest lies.
 */
#ifndef PVM_VIRTIO_H
#define PVM_VIRTIO_H

#include "pvm.h"

#define VQ_MAX		256

struct virtqueue {
	u32 num;
	bool ready;
	u64 desc, avail, used;	/* guest addresses */
	/* The same, checked when the queue was made ready */
	u8 *desc_ptr, *avail_ptr, *used_ptr;
	u16 last_avail;
	u16 used_idx;
};

struct virtio_dev;

struct virtio_ops {
	/*
	 * Serve all queues. Runs in the device's thread with its lock held, and
	 * only while the driver is ready and the device is not broken.
	 */
	void (*process)(struct virtio_dev *dev);
	/* Read-only configuration space */
	const void *config;
	size_t config_len;
};

struct virtio_dev {
	struct vm *vm;
	char name[16];
	u32 id;
	u64 features;
	const struct virtio_ops *ops;
	int nvqs;
	struct virtqueue vq[2];

	u64 base;
	int spi;
	int kick_fd, irq_fd;
	pthread_t thread;
	bool started;

	pthread_mutex_t lock;
	u32 status;
	u64 driver_features;
	u32 dev_feat_sel, drv_feat_sel, queue_sel;
	atomic_uint isr;
};

/*
 * A request: iov[0 .. nout) is what the driver gives us to read, the NIN
 * entries after it are for us to write. The pointers lead to guest memory;
 * any of them may fault.
 */
struct vq_chain {
	u16 head;
	int nout, nin;
	size_t out_len, in_len;
	struct iovec iov[VQ_MAX];
};

void virtio_add(struct vm *vm, struct virtio_dev *dev);
int vq_pop(struct virtio_dev *dev, struct virtqueue *vq, struct vq_chain *c);
int vq_push(struct virtio_dev *dev, struct virtqueue *vq, u16 head, u32 written);
void virtio_broken(struct virtio_dev *dev, const char *why);
void virtio_efault(struct virtio_dev *dev, const struct iovec *iov, int n);

int iov_read(const struct iovec *iov, int n, void *buf, size_t len);
int iov_write(const struct iovec *iov, int n, size_t off, const void *buf, size_t len);
int iov_skip(struct iovec *iov, int n, size_t bytes);
int iov_trim(struct iovec *iov, int n, size_t len);

#endif /* PVM_VIRTIO_H */
