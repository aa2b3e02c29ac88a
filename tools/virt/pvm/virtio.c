// SPDX-License-Identifier: GPL-2.0-only
/*
 * The virtio-mmio transport (virtio 1.x only) and split virtqueues.
 *
 * Each device has a thread of its own, kicked by an eventfd: through KVM's
 * ioeventfd or, with --no-eventfd, by the vCPU thread. Nothing in a ring is
 * trusted. A ring that makes no sense, or that lies in memory which the guest
 * has not shared, breaks that device (NEEDS_RESET) and nothing else.
 */
#define _GNU_SOURCE
#include <endian.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>

#include "virtio.h"

#define VIRTIO_MAGIC	0x74726976	/* "virt" */
#define VIRTIO_VENDOR	0x004d5650	/* "PVM" */

#define TRANSPORT_FEATURES (BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_F_ACCESS_PLATFORM))

static struct virtio_dev *devs[MAX_VIRTIO];

static void raise_irq(struct virtio_dev *dev, unsigned int cause)
{
	atomic_fetch_or(&dev->isr, cause);
	/* Edge triggered: a pulse while the handler runs makes it run again. */
	if (dev->irq_fd >= 0) {
		eventfd_write(dev->irq_fd, 1);
	} else {
		kvm_irq_level(dev->vm, dev->spi, true);
		kvm_irq_level(dev->vm, dev->spi, false);
	}
}

/* Called with dev->lock held. */
void virtio_broken(struct virtio_dev *dev, const char *why)
{
	if (dev->status & VIRTIO_CONFIG_S_NEEDS_RESET)
		return;
	pvm_info("%s: %s; the device stops until the guest resets it", dev->name, why);
	dev->status |= VIRTIO_CONFIG_S_NEEDS_RESET;
	if (dev->status & VIRTIO_CONFIG_S_DRIVER_OK)
		raise_irq(dev, VIRTIO_MMIO_INT_CONFIG);
}

/* Say where the memory is that we could not touch. */
void virtio_efault(struct virtio_dev *dev, const struct iovec *iov, int n)
{
	u8 c;
	int i;

	for (i = 0; i < n; i++) {
		if (iov[i].iov_len && guarded_copy(&c, iov[i].iov_base, 1)) {
			pvm_info("%s: the guest pointed the device at memory that it has not shared, at %#lx",
				 dev->name,
				 ram_gpa(dev->vm, iov[i].iov_base));
			break;
		}
	}
	virtio_broken(dev, "a buffer is not accessible");
}

static int ring_efault(struct virtio_dev *dev, const char *what)
{
	pvm_info("%s: the guest placed the %s ring in memory that it has not shared", dev->name,
		 what);
	virtio_broken(dev, "a ring is not accessible");
	return -EFAULT;
}

static int ring_invalid(struct virtio_dev *dev, const char *why)
{
	virtio_broken(dev, why);
	return -EINVAL;
}

static int add_desc(struct virtio_dev *dev, struct vq_chain *c, const struct vring_desc *d)
{
	u64 addr = le64toh(d->addr);
	u32 len = le32toh(d->len);
	bool in = le16toh(d->flags) & VRING_DESC_F_WRITE;
	void *p = ram_ptr(dev->vm, addr, len);

	if (!p)
		return ring_invalid(dev, "a descriptor points outside of RAM");
	if (!in && c->nin)
		return ring_invalid(dev, "a readable descriptor follows a writable one");
	c->iov[c->nout + c->nin] = (struct iovec){ .iov_base = p, .iov_len = len };
	if (in) {
		c->nin++;
		c->in_len += len;
	} else {
		c->nout++;
		c->out_len += len;
	}
	return 0;
}

/* Take the next request: 1 if there is one, 0 if not, or an error. */
int vq_pop(struct virtio_dev *dev, struct virtqueue *vq, struct vq_chain *c)
{
	const struct vring_avail *avail;
	struct vring_desc d;
	u16 idx, next;
	unsigned int seen;

	if (!vq->ready)
		return 0;
	avail = (const struct vring_avail *)vq->avail_ptr;
	if (guarded_load16(&avail->idx, &idx))
		return ring_efault(dev, "available");
	idx = le16toh(idx);
	if (idx == vq->last_avail)
		return 0;
	if ((u16)(idx - vq->last_avail) > vq->num)
		return ring_invalid(dev, "the available index ran ahead of the ring");
	if (guarded_copy(&next, &avail->ring[vq->last_avail % vq->num], sizeof(next)))
		return ring_efault(dev, "available");
	next = le16toh(next);

	c->head = next;
	c->nout = 0;
	c->nin = 0;
	c->out_len = 0;
	c->in_len = 0;
	for (seen = 0; ; seen++) {
		int err;

		if (next >= vq->num)
			return ring_invalid(dev, "a descriptor index is out of range");
		if (seen == vq->num)
			return ring_invalid(dev, "a descriptor chain is a loop");
		if (guarded_copy(&d, vq->desc_ptr + next * sizeof(d), sizeof(d)))
			return ring_efault(dev, "descriptor");
		if (le16toh(d.flags) & VRING_DESC_F_INDIRECT)
			return ring_invalid(dev, "indirect descriptors were not offered");
		err = add_desc(dev, c, &d);
		if (err)
			return err;
		if (!(le16toh(d.flags) & VRING_DESC_F_NEXT))
			break;
		next = le16toh(d.next);
	}
	vq->last_avail++;
	return 1;
}

/* Give a request back, WRITTEN bytes of it filled in. */
int vq_push(struct virtio_dev *dev, struct virtqueue *vq, u16 head, u32 written)
{
	struct vring_used *used = (struct vring_used *)vq->used_ptr;
	const struct vring_avail *avail = (const struct vring_avail *)vq->avail_ptr;
	struct vring_used_elem e = { .id = htole32(head), .len = htole32(written) };
	u16 flags;

	if (guarded_copy(&used->ring[vq->used_idx % vq->num], &e, sizeof(e)))
		return ring_efault(dev, "used");
	vq->used_idx++;
	if (guarded_store16(&used->idx, htole16(vq->used_idx)))
		return ring_efault(dev, "used");

	/* The index must be seen before we look whether to interrupt. */
	atomic_thread_fence(memory_order_seq_cst);
	if (guarded_load16(&avail->flags, &flags))
		return ring_efault(dev, "available");
	if (!(le16toh(flags) & VRING_AVAIL_F_NO_INTERRUPT))
		raise_irq(dev, VIRTIO_MMIO_INT_VRING);
	return 0;
}

/* Copy the first LEN bytes out of the vector. */
int iov_read(const struct iovec *iov, int n, void *buf, size_t len)
{
	u8 *p = buf;
	size_t part;

	for (; n && len; n--, iov++) {
		part = iov->iov_len < len ? iov->iov_len : len;
		if (guarded_copy(p, iov->iov_base, part))
			return -EFAULT;
		p += part;
		len -= part;
	}
	return len ? -EINVAL : 0;
}

/* Copy LEN bytes into the vector at OFF. */
int iov_write(const struct iovec *iov, int n, size_t off, const void *buf, size_t len)
{
	const u8 *p = buf;
	size_t part;

	for (; n && len; n--, iov++) {
		if (off >= iov->iov_len) {
			off -= iov->iov_len;
			continue;
		}
		part = iov->iov_len - off;
		if (part > len)
			part = len;
		if (guarded_copy((u8 *)iov->iov_base + off, p, part))
			return -EFAULT;
		p += part;
		len -= part;
		off = 0;
	}
	return len ? -EINVAL : 0;
}

/* Drop BYTES from the start; returns how many entries became empty. */
int iov_skip(struct iovec *iov, int n, size_t bytes)
{
	int i;

	for (i = 0; i < n && bytes >= iov[i].iov_len; i++) {
		bytes -= iov[i].iov_len;
		iov[i].iov_len = 0;
	}
	if (i < n) {
		iov[i].iov_base = (u8 *)iov[i].iov_base + bytes;
		iov[i].iov_len -= bytes;
	}
	return i;
}

/* Keep only the first LEN bytes; returns how many entries are left. */
int iov_trim(struct iovec *iov, int n, size_t len)
{
	int i;

	for (i = 0; i < n && len; i++) {
		if (iov[i].iov_len > len)
			iov[i].iov_len = len;
		len -= iov[i].iov_len;
	}
	return i;
}

static void reset(struct virtio_dev *dev)
{
	int i;

	for (i = 0; i < dev->nvqs; i++)
		dev->vq[i] = (struct virtqueue){ .num = VQ_MAX };
	dev->status = 0;
	dev->driver_features = 0;
	dev->dev_feat_sel = 0;
	dev->drv_feat_sel = 0;
	dev->queue_sel = 0;
	atomic_store(&dev->isr, 0);
}

static void set_status(struct virtio_dev *dev, u32 val)
{
	u32 broken = dev->status & VIRTIO_CONFIG_S_NEEDS_RESET;

	if (!val) {
		reset(dev);
		return;
	}
	if ((val & VIRTIO_CONFIG_S_FEATURES_OK) &&
	    !(dev->status & VIRTIO_CONFIG_S_FEATURES_OK)) {
		u64 f = dev->driver_features;

		/* Without ACCESS_PLATFORM the driver would hand us private memory. */
		if (f & ~dev->features || (f & TRANSPORT_FEATURES) != TRANSPORT_FEATURES) {
			pvm_dbg("%s: features %#lx refused", dev->name, f);
			val &= ~VIRTIO_CONFIG_S_FEATURES_OK;
		}
	}
	dev->status = val | broken;
	if (val & VIRTIO_CONFIG_S_DRIVER_OK)
		eventfd_write(dev->kick_fd, 1);
}

static void queue_ready(struct virtio_dev *dev, struct virtqueue *vq, u32 val)
{
	u32 n = vq->num;

	vq->ready = false;
	if (!val)
		return;
	vq->desc_ptr = ram_ptr(dev->vm, vq->desc, n * sizeof(struct vring_desc));
	vq->avail_ptr = ram_ptr(dev->vm, vq->avail, 6 + 2 * n);
	vq->used_ptr = ram_ptr(dev->vm, vq->used, 6 + sizeof(struct vring_used_elem) * n);
	if (!vq->desc_ptr || !vq->avail_ptr || !vq->used_ptr ||
	    vq->desc % VRING_DESC_ALIGN_SIZE || vq->avail % VRING_AVAIL_ALIGN_SIZE ||
	    vq->used % VRING_USED_ALIGN_SIZE) {
		virtio_broken(dev, "a queue is misaligned or outside of RAM");
		return;
	}
	vq->last_avail = 0;
	vq->used_idx = 0;
	vq->ready = true;
}

static void set_low(u64 *p, u32 val)
{
	*p = (*p & ~0xffffffffUL) | val;
}

static void set_high(u64 *p, u32 val)
{
	*p = (*p & 0xffffffffUL) | (u64)val << 32;
}

static struct virtqueue *selected(struct virtio_dev *dev)
{
	return dev->queue_sel < (u32)dev->nvqs ? &dev->vq[dev->queue_sel] : NULL;
}

static u32 read_reg(struct virtio_dev *dev, u64 off)
{
	struct virtqueue *vq = selected(dev);

	switch (off) {
	case VIRTIO_MMIO_MAGIC_VALUE:
		return VIRTIO_MAGIC;
	case VIRTIO_MMIO_VERSION:
		return 2;
	case VIRTIO_MMIO_DEVICE_ID:
		return dev->id;
	case VIRTIO_MMIO_VENDOR_ID:
		return VIRTIO_VENDOR;
	case VIRTIO_MMIO_DEVICE_FEATURES:
		if (dev->dev_feat_sel > 1)
			return 0;
		return dev->features >> (32 * dev->dev_feat_sel);
	case VIRTIO_MMIO_QUEUE_NUM_MAX:
		return vq ? VQ_MAX : 0;
	case VIRTIO_MMIO_QUEUE_READY:
		return vq && vq->ready;
	case VIRTIO_MMIO_STATUS:
		return dev->status;
	case VIRTIO_MMIO_SHM_LEN_LOW:
	case VIRTIO_MMIO_SHM_LEN_HIGH:
	case VIRTIO_MMIO_SHM_BASE_LOW:
	case VIRTIO_MMIO_SHM_BASE_HIGH:
		return UINT32_MAX;	/* no such region */
	default:
		return 0;
	}
}

static void write_reg(struct virtio_dev *dev, u64 off, u32 val)
{
	struct virtqueue *vq = selected(dev);

	switch (off) {
	case VIRTIO_MMIO_DEVICE_FEATURES_SEL:
		dev->dev_feat_sel = val;
		return;
	case VIRTIO_MMIO_DRIVER_FEATURES_SEL:
		dev->drv_feat_sel = val;
		return;
	case VIRTIO_MMIO_DRIVER_FEATURES:
		if (dev->status & VIRTIO_CONFIG_S_FEATURES_OK)
			return;
		if (dev->drv_feat_sel == 0)
			set_low(&dev->driver_features, val);
		else if (dev->drv_feat_sel == 1)
			set_high(&dev->driver_features, val);
		return;
	case VIRTIO_MMIO_QUEUE_SEL:
		dev->queue_sel = val;
		return;
	case VIRTIO_MMIO_STATUS:
		set_status(dev, val);
		return;
	}

	if (!vq)
		return;
	if (off == VIRTIO_MMIO_QUEUE_READY) {
		queue_ready(dev, vq, val);
		return;
	}
	/* The rest describes the queue, and cannot change while it is in use. */
	if (vq->ready)
		return;
	switch (off) {
	case VIRTIO_MMIO_QUEUE_NUM:
		if (val && val <= VQ_MAX && !(val & (val - 1)))
			vq->num = val;
		else
			virtio_broken(dev, "the guest chose an impossible queue size");
		return;
	case VIRTIO_MMIO_QUEUE_DESC_LOW:
		set_low(&vq->desc, val);
		return;
	case VIRTIO_MMIO_QUEUE_DESC_HIGH:
		set_high(&vq->desc, val);
		return;
	case VIRTIO_MMIO_QUEUE_AVAIL_LOW:
		set_low(&vq->avail, val);
		return;
	case VIRTIO_MMIO_QUEUE_AVAIL_HIGH:
		set_high(&vq->avail, val);
		return;
	case VIRTIO_MMIO_QUEUE_USED_LOW:
		set_low(&vq->used, val);
		return;
	case VIRTIO_MMIO_QUEUE_USED_HIGH:
		set_high(&vq->used, val);
		return;
	}
}

static void virtio_mmio(void *opaque, u64 off, u8 *data, unsigned int len, bool write)
{
	struct virtio_dev *dev = opaque;
	u32 val = 0;

	if (off >= VIRTIO_MMIO_CONFIG) {
		off -= VIRTIO_MMIO_CONFIG;
		if (!write && off < dev->ops->config_len && len <= dev->ops->config_len - off)
			memcpy(data, (const u8 *)dev->ops->config + off, len);
		return;
	}
	if (len != 4 || off % 4) {
		pvm_dbg("%s: ignored a %u byte access to register %#lx", dev->name, len,
			off);
		return;
	}
	if (write) {
		memcpy(&val, data, 4);
		val = le32toh(val);
	}

	/* These are used while requests run: they must not wait for the lock. */
	switch (off) {
	case VIRTIO_MMIO_QUEUE_NOTIFY:
		if (write)
			eventfd_write(dev->kick_fd, 1);
		return;
	case VIRTIO_MMIO_INTERRUPT_ACK:
		if (write)
			atomic_fetch_and(&dev->isr, ~val);
		return;
	case VIRTIO_MMIO_INTERRUPT_STATUS:
		if (!write) {
			val = htole32(atomic_load(&dev->isr));
			memcpy(data, &val, 4);
		}
		return;
	}

	pthread_mutex_lock(&dev->lock);
	if (write) {
		write_reg(dev, off, val);
	} else {
		val = htole32(read_reg(dev, off));
		memcpy(data, &val, 4);
	}
	pthread_mutex_unlock(&dev->lock);
}

static void *virtio_thread(void *arg)
{
	struct virtio_dev *dev = arg;
	eventfd_t n;

	pthread_setname_np(pthread_self(), dev->name);
	while (!eventfd_read(dev->kick_fd, &n) || errno == EINTR) {
		if (atomic_load(&dev->vm->stopping))
			break;
		pthread_mutex_lock(&dev->lock);
		if ((dev->status & VIRTIO_CONFIG_S_DRIVER_OK) &&
		    !(dev->status & VIRTIO_CONFIG_S_NEEDS_RESET))
			dev->ops->process(dev);
		pthread_mutex_unlock(&dev->lock);
	}
	return NULL;
}

/* Gives DEV its place on the bus; called in the order of the FDT nodes. */
void virtio_add(struct vm *vm, struct virtio_dev *dev)
{
	int n = vm->nvirtio;

	if (n == MAX_VIRTIO)
		die(PVM_BAD_ARG, "too many virtio devices");
	devs[vm->nvirtio++] = dev;
	dev->vm = vm;
	dev->base = VIRTIO_BASE + n * VIRTIO_STRIDE;
	dev->spi = SPI_VIRTIO + n;
	dev->features |= TRANSPORT_FEATURES;
	dev->irq_fd = -1;
	pthread_mutex_init(&dev->lock, NULL);
	reset(dev);
	dev->kick_fd = eventfd(0, EFD_CLOEXEC);
	if (dev->kick_fd < 0)
		die(PVM_INTERNAL, "eventfd: %s", strerror(errno));
	mmio_add(dev->name, dev->base, VIRTIO_SIZE, virtio_mmio, dev);
}

void virtio_start(struct vm *vm)
{
	int i, err;

	for (i = 0; i < vm->nvirtio; i++) {
		struct virtio_dev *dev = devs[i];

		if (!vm->opt.no_eventfd) {
			dev->irq_fd = eventfd(0, EFD_CLOEXEC);
			err = dev->irq_fd < 0 ? -errno : kvm_irqfd(vm, dev->spi, dev->irq_fd);
			if (!err)
				err = kvm_ioeventfd(vm, dev->base + VIRTIO_MMIO_QUEUE_NOTIFY, 4,
						    dev->kick_fd);
			if (err)
				die(PVM_REFUSED,
				    "KVM refuses an eventfd for %s: %s; try --no-eventfd",
				    dev->name, strerror(-err));
		}
		if (pthread_create(&dev->thread, NULL, virtio_thread, dev))
			die(PVM_NO_MEMORY, "cannot start the thread of %s", dev->name);
		dev->started = true;
	}
}

/* After vm->stopping is set. */
void virtio_stop(struct vm *vm)
{
	int i;

	for (i = 0; i < vm->nvirtio; i++) {
		struct virtio_dev *dev = devs[i];

		if (!dev->started)
			continue;
		eventfd_write(dev->kick_fd, 1);
		pthread_join(dev->thread, NULL);
		close(dev->kick_fd);
		if (dev->irq_fd >= 0)
			close(dev->irq_fd);
	}
}
