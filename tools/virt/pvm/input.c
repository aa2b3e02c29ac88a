// SPDX-License-Identifier: GPL-2.0-only
/*
 * The user's side of the guest's consoles: stdin, read only while the guest
 * has room for it, and stdout. A terminal is switched to raw mode and back.
 *
 * Ctrl-] ends the guest, as there is no other way out of a raw terminal.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <termios.h>
#include <unistd.h>

#include "pvm.h"

#define KEY_QUIT	0x1d	/* Ctrl-] */

static struct {
	struct vm *vm;
	void *dev;
	size_t (*room)(void *dev);
	void (*push)(void *dev, const u8 *buf, size_t len);
	int wake_fd;
	bool started;
	pthread_t thread;
	struct termios saved;
} in = { .wake_fd = -1 };

static atomic_bool tty_raw;

bool input_raw(void)
{
	return tty_raw;
}

static void tty_restore(void)
{
	if (tty_raw) {
		tty_raw = 0;
		tcsetattr(STDIN_FILENO, TCSAFLUSH, &in.saved);
	}
}

static void tty_make_raw(void)
{
	struct termios t;

	/* A background job must not be stopped for touching the terminal. */
	if (!isatty(STDIN_FILENO) || tcgetpgrp(STDIN_FILENO) != getpgrp() ||
	    tcgetattr(STDIN_FILENO, &in.saved))
		return;
	t = in.saved;
	t.c_iflag &= ~(BRKINT | ICRNL | INLCR | IGNCR | ISTRIP | IXON);
	t.c_lflag &= ~(ICANON | ECHO | ISIG | IEXTEN);
	t.c_cc[VMIN] = 1;
	t.c_cc[VTIME] = 0;
	if (tcsetattr(STDIN_FILENO, TCSANOW, &t))
		return;
	tty_raw = 1;
	atexit(tty_restore);
	pvm_info("this terminal is the guest's console now; Ctrl-] ends the guest");
}

/* Waits for a slow reader, but not once the run is over. */
void output_write(const void *buf, size_t len)
{
	const u8 *p = buf;

	while (len) {
		struct pollfd pfd = { .fd = STDOUT_FILENO, .events = POLLOUT };
		int ready = poll(&pfd, 1, 100);
		ssize_t n;

		if (ready <= 0) {
			if (atomic_load(&in.vm->stopping) || (ready < 0 && errno != EINTR))
				return;
			continue;
		}
		n = write(STDOUT_FILENO, p, len);
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n <= 0)
			return;
		p += n;
		len -= n;
	}
}

static void *input_thread(void *arg)
{
	u8 buf[64];

	(void)arg;
	pthread_setname_np(pthread_self(), "input");
	for (;;) {
		size_t room = in.room(in.dev);
		struct pollfd pfd[2] = {
			{ .fd = in.wake_fd, .events = POLLIN },
			{ .fd = room ? STDIN_FILENO : -1, .events = POLLIN },
		};
		eventfd_t dummy;
		ssize_t n;

		if (poll(pfd, 2, -1) < 0 && errno != EINTR)
			return NULL;
		if (atomic_load(&in.vm->stopping))
			return NULL;
		if (pfd[0].revents)
			eventfd_read(in.wake_fd, &dummy);
		if (!pfd[1].revents)
			continue;
		n = read(STDIN_FILENO, buf, room < sizeof(buf) ? room : sizeof(buf));
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n <= 0)
			return NULL;
		if (tty_raw && memchr(buf, KEY_QUIT, n)) {
			vm_stop(in.vm, PVM_STOPPED);
			return NULL;
		}
		in.push(in.dev, buf, n);
	}
}

void input_attach(void *dev, size_t (*room)(void *), void (*push)(void *, const u8 *, size_t))
{
	in.dev = dev;
	in.room = room;
	in.push = push;
}

void input_wake(void)
{
	if (in.wake_fd >= 0)
		eventfd_write(in.wake_fd, 1);
}

void input_start(struct vm *vm)
{
	in.vm = vm;
	in.wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (in.wake_fd < 0)
		die(PVM_INTERNAL, "eventfd: %s", strerror(errno));
	tty_make_raw();
	if (pthread_create(&in.thread, NULL, input_thread, NULL))
		die(PVM_NO_MEMORY, "cannot start the input thread");
	in.started = true;
}

/* After vm->stopping is set. */
void input_stop(void)
{
	if (in.started) {
		input_wake();
		pthread_join(in.thread, NULL);
	}
	tty_restore();
}
