// SPDX-License-Identifier: GPL-2.0-only
/*
 * A host that writes to a page while EL2 reads it: after each instruction of EL2's
 * that reads the page, a function of the test's runs. What EL2 reads twice it may
 * read differently. Owns SIGSEGV and SIGTRAP meanwhile; looks at no other page.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "fake.h"
#include "watch.h"

/* The flag of this machine's that stops it after the next instruction. */
#define SINGLE_STEP	0x100

static phys_addr_t watched;
static void (*after)(void);
static unsigned int reads;
static struct sigaction old_segv, old_trap;

static void see_read(int sig, siginfo_t *info, void *context)
{
	ucontext_t *u = context;

	if ((unsigned long)info->si_addr - (EL2_VIEW + watched) >= PAGE_SIZE) {
		sigaction(SIGSEGV, &old_segv, NULL);
		return;
	}
	/* Let this one instruction see it. */
	mprotect(el2_ptr(watched), PAGE_SIZE, PROT_READ | PROT_WRITE);
	u->uc_mcontext.gregs[REG_EFL] |= SINGLE_STEP;
	reads++;
}

static void after_read(int sig, siginfo_t *info, void *context)
{
	ucontext_t *u = context;

	u->uc_mcontext.gregs[REG_EFL] &= ~(greg_t)SINGLE_STEP;
	after();
	mprotect(el2_ptr(watched), PAGE_SIZE, PROT_NONE);
}

/**
 * watch_start() - Watch a page that EL2 reads.
 * @phys: the page; one at a time.
 * @fn: runs after each read.
 */
void watch_start(phys_addr_t phys, void (*fn)(void))
{
	struct sigaction read = { .sa_sigaction = see_read, .sa_flags = SA_SIGINFO };
	struct sigaction step = { .sa_sigaction = after_read, .sa_flags = SA_SIGINFO };

	check(!watched && phys);
	watched = phys;
	after = fn;
	reads = 0;
	sigaction(SIGSEGV, &read, &old_segv);
	sigaction(SIGTRAP, &step, &old_trap);
	mprotect(el2_ptr(phys), PAGE_SIZE, PROT_NONE);
}

/**
 * watch_end() - Watch no more.
 *
 * Return: how many instructions have read the page.
 */
unsigned int watch_end(void)
{
	check(watched);
	mprotect(el2_ptr(watched), PAGE_SIZE, PROT_READ | PROT_WRITE);
	sigaction(SIGSEGV, &old_segv, NULL);
	sigaction(SIGTRAP, &old_trap, NULL);
	watched = 0;

	return reads;
}
