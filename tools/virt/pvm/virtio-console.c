// SPDX-License-Identifier: GPL-2.0-only
/*
 * virtio-console (--hvc): one port, hvc0 in the guest. With it stdin goes
 * here and not to the UART; stdout carries both.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <linux/virtio_ids.h>

#include "virtio.h"

#define RX_QUEUE	0
#define TX_QUEUE	1
#define INPUT_SIZE	256

static struct console {
	struct virtio_dev dev;
	struct vq_chain chain;
	/* Typed, and not yet taken by the guest */
	pthread_mutex_t lock;
	u8 input[INPUT_SIZE];
	size_t len;
} con = { .lock = PTHREAD_MUTEX_INITIALIZER };

static size_t console_room(void *dev)
{
	struct console *c = dev;
	size_t room;

	pthread_mutex_lock(&c->lock);
	room = INPUT_SIZE - c->len;
	pthread_mutex_unlock(&c->lock);
	return room;
}

static void console_input(void *dev, const u8 *buf, size_t len)
{
	struct console *c = dev;

	pthread_mutex_lock(&c->lock);
	if (len > INPUT_SIZE - c->len)
		len = INPUT_SIZE - c->len;
	memcpy(c->input + c->len, buf, len);
	c->len += len;
	pthread_mutex_unlock(&c->lock);
	eventfd_write(c->dev.kick_fd, 1);
}

static int receive(struct console *c)
{
	struct vq_chain *ch = &c->chain;
	u8 buf[INPUT_SIZE];
	size_t len;
	int ret;

	pthread_mutex_lock(&c->lock);
	len = c->len;
	memcpy(buf, c->input, len);
	pthread_mutex_unlock(&c->lock);
	if (!len)
		return 0;

	ret = vq_pop(&c->dev, &c->dev.vq[RX_QUEUE], ch);
	if (ret <= 0)
		return ret;
	if (len > ch->in_len)
		len = ch->in_len;
	if (iov_write(ch->iov + ch->nout, ch->nin, 0, buf, len)) {
		virtio_efault(&c->dev, ch->iov + ch->nout, ch->nin);
		return -EFAULT;
	}

	pthread_mutex_lock(&c->lock);
	c->len -= len;
	memmove(c->input, c->input + len, c->len);
	pthread_mutex_unlock(&c->lock);
	input_wake();
	ret = vq_push(&c->dev, &c->dev.vq[RX_QUEUE], ch->head, len);
	return ret ? ret : 1;
}

static int transmit(struct console *c)
{
	struct vq_chain *ch = &c->chain;
	struct iovec *iov = ch->iov;
	u8 buf[256];
	size_t part;
	int ret, n;

	ret = vq_pop(&c->dev, &c->dev.vq[TX_QUEUE], ch);
	if (ret <= 0)
		return ret;
	n = ch->nout;
	while (ch->out_len) {
		part = ch->out_len < sizeof(buf) ? ch->out_len : sizeof(buf);
		if (iov_read(iov, n, buf, part)) {
			virtio_efault(&c->dev, iov, n);
			return -EFAULT;
		}
		output_write(buf, part);
		ch->out_len -= part;
		ret = iov_skip(iov, n, part);
		iov += ret;
		n -= ret;
	}
	ret = vq_push(&c->dev, &c->dev.vq[TX_QUEUE], ch->head, 0);
	return ret ? ret : 1;
}

static void process(struct virtio_dev *dev)
{
	struct console *c = (struct console *)dev;

	while (transmit(c) > 0 || receive(c) > 0) {
		if (atomic_load(&dev->vm->stopping))
			break;
	}
}

static const struct virtio_ops console_ops = { .process = process };

void console_create(struct vm *vm)
{
	if (!vm->opt.hvc)
		return;
	con.dev = (struct virtio_dev){ .name = "console" };
	con.dev.id = VIRTIO_ID_CONSOLE;
	con.dev.nvqs = 2;
	con.dev.ops = &console_ops;
	virtio_add(vm, &con.dev);
	input_attach(&con, console_room, console_input);
}
