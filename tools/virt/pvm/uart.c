// SPDX-License-Identifier: GPL-2.0-only
/*
 * A 16550A UART: the guest's first console (ttyS0).
 *
 * Output goes to stdout at once, so the transmitter is always empty. Line
 * speed, modem lines and FIFO triggers exist as registers only.
 */
#include <string.h>

#include <linux/serial_reg.h>

#include "pvm.h"

#define FIFO_SIZE	64	/* larger than the real 16: fewer wake-ups */

static struct uart {
	struct vm *vm;
	pthread_mutex_t lock;
	u8 ier, lcr, mcr, scr, dll, dlm;
	bool fifo_on;
	bool thre_pending;	/* "transmitter empty" not yet seen in IIR */
	bool level;
	u8 rx[FIFO_SIZE];
	unsigned int head, count;
} uart = { .lock = PTHREAD_MUTEX_INITIALIZER };

static u8 uart_iir(struct uart *u)
{
	u8 fifo = u->fifo_on ? 0xc0 : 0;

	if (u->count && (u->ier & UART_IER_RDI))
		return fifo | UART_IIR_RDI;
	if (u->thre_pending && (u->ier & UART_IER_THRI))
		return fifo | UART_IIR_THRI;
	return fifo | UART_IIR_NO_INT;
}

static void uart_update_irq(struct uart *u)
{
	bool level = !(uart_iir(u) & UART_IIR_NO_INT);

	if (level == u->level)
		return;
	u->level = level;
	kvm_irq_level(u->vm, SPI_UART, level);
}

static void rx_push(struct uart *u, u8 c)
{
	if (u->count < FIFO_SIZE)
		u->rx[(u->head + u->count++) % FIFO_SIZE] = c;
}

static u8 rx_pop(struct uart *u)
{
	u8 c = 0;

	if (u->count) {
		c = u->rx[u->head];
		u->head = (u->head + 1) % FIFO_SIZE;
		u->count--;
	}
	return c;
}

static u8 uart_msr(struct uart *u)
{
	u8 msr = 0;

	if (!(u->mcr & UART_MCR_LOOP))
		return UART_MSR_DCD | UART_MSR_DSR | UART_MSR_CTS;
	if (u->mcr & UART_MCR_DTR)
		msr |= UART_MSR_DSR;
	if (u->mcr & UART_MCR_RTS)
		msr |= UART_MSR_CTS;
	if (u->mcr & UART_MCR_OUT1)
		msr |= UART_MSR_RI;
	if (u->mcr & UART_MCR_OUT2)
		msr |= UART_MSR_DCD;
	return msr;
}

static u8 uart_read(struct uart *u, u64 off)
{
	u8 iir;

	switch (off) {
	case UART_RX:
		return u->lcr & UART_LCR_DLAB ? u->dll : rx_pop(u);
	case UART_IER:
		return u->lcr & UART_LCR_DLAB ? u->dlm : u->ier;
	case UART_IIR:
		iir = uart_iir(u);
		if ((iir & UART_IIR_ID) == UART_IIR_THRI)
			u->thre_pending = false;
		return iir;
	case UART_LCR:
		return u->lcr;
	case UART_MCR:
		return u->mcr;
	case UART_LSR:
		return UART_LSR_TEMT | UART_LSR_THRE | (u->count ? UART_LSR_DR : 0);
	case UART_MSR:
		return uart_msr(u);
	default:
		return u->scr;
	}
}

/* Returns true if C is to be sent; the caller does so without the lock. */
static bool uart_write(struct uart *u, u64 off, u8 c)
{
	switch (off) {
	case UART_TX:
		if (u->lcr & UART_LCR_DLAB) {
			u->dll = c;
			return false;
		}
		u->thre_pending = true;
		if (!(u->mcr & UART_MCR_LOOP))
			return true;
		rx_push(u, c);
		return false;
	case UART_IER:
		if (u->lcr & UART_LCR_DLAB) {
			u->dlm = c;
			return false;
		}
		if (!(u->ier & UART_IER_THRI) && (c & UART_IER_THRI))
			u->thre_pending = true;
		u->ier = c & 0xf;
		return false;
	case UART_FCR:
		u->fifo_on = c & UART_FCR_ENABLE_FIFO;
		if (c & UART_FCR_CLEAR_RCVR)
			u->count = 0;
		return false;
	case UART_LCR:
		u->lcr = c;
		return false;
	case UART_MCR:
		u->mcr = c & 0x1f;
		return false;
	case UART_SCR:
		u->scr = c;
		return false;
	default:
		return false;
	}
}

static void uart_mmio(void *dev, u64 off, u8 *data, unsigned int len, bool write)
{
	struct uart *u = dev;
	bool send = false, freed;
	unsigned int before;

	/* Eight bit registers: wider accesses see the first one. */
	(void)len;
	pthread_mutex_lock(&u->lock);
	before = u->count;
	if (write)
		send = uart_write(u, off, data[0]);
	else
		data[0] = uart_read(u, off);
	freed = u->count < before;
	uart_update_irq(u);
	pthread_mutex_unlock(&u->lock);

	if (send)
		output_write(data, 1);
	if (freed)
		input_wake();
}

size_t uart_room(void *dev)
{
	struct uart *u = dev;
	size_t room;

	pthread_mutex_lock(&u->lock);
	room = FIFO_SIZE - u->count;
	pthread_mutex_unlock(&u->lock);
	return room;
}

void uart_input(void *dev, const u8 *buf, size_t len)
{
	struct uart *u = dev;

	pthread_mutex_lock(&u->lock);
	while (len--)
		rx_push(u, *buf++);
	uart_update_irq(u);
	pthread_mutex_unlock(&u->lock);
}

void uart_create(struct vm *vm)
{
	uart.vm = vm;
	mmio_add("uart", UART_BASE, UART_SIZE, uart_mmio, &uart);
	if (!vm->opt.hvc)
		input_attach(&uart, uart_room, uart_input);
}
