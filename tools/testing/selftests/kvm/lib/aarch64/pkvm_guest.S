/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The first and the last instructions of the tests' protected guest: entry with
 * the MMU off, the identity map, the exception vectors. Runs in the guest only;
 * the rest of the guest is in pkvm.c.
 */
#define __ASSEMBLY__
#include "pkvm.h"

#define MAIR		0x04ff		/* 0: normal write-back, 1: device nGnRE */
#define TCR_T0SZ	25		/* one table of 1 GiB blocks */
#define TCR_WBWA_SH	(1 << 8 | 1 << 10 | 3 << 12)
#define TCR_EPD1	(1 << 23)
#define TCR_IPS_40	(2 << 32)
#define TCR		(TCR_T0SZ | TCR_WBWA_SH | TCR_EPD1 | TCR_IPS_40)
#define SCTLR_RES1	0x30d00800
#define SCTLR_M_C_I	(1 << 0 | 1 << 2 | 1 << 12)

#define BLOCK_NORMAL	(1 << 54 | 1 << 10 | 3 << 8 | 0 << 2 | 1)
#define BLOCK_DEVICE	(1 << 54 | 1 << 53 | 1 << 10 | 1 << 2 | 1)

/* x0: this vCPU's struct pkvm_guest_cpu */
	.text
	.globl	pkvm_guest_entry
	.type	pkvm_guest_entry, %function
pkvm_guest_entry:
	ldr	x1, =MAIR
	msr	mair_el1, x1
	ldr	x1, =TCR
	msr	tcr_el1, x1
	adrp	x1, pkvm_guest_pgd
	msr	ttbr0_el1, x1
	adrp	x1, pkvm_guest_vectors
	add	x1, x1, :lo12:pkvm_guest_vectors
	msr	vbar_el1, x1
	mov	x1, #(3 << 20)
	msr	cpacr_el1, x1
	msr	tpidr_el1, x0
	dsb	sy
	isb
	tlbi	vmalle1
	ic	iallu
	dsb	nsh
	isb
	ldr	x1, =(SCTLR_RES1 | SCTLR_M_C_I)
	msr	sctlr_el1, x1
	isb
	ldr	x1, =PKVM_CPU_SIZE
	add	x1, x0, x1
	mov	sp, x1
	mov	x29, xzr
	mov	x30, xzr
	b	pkvm_guest_main
	.size	pkvm_guest_entry, . - pkvm_guest_entry

/*
 * As above, but all registers are written down before any is used: x0 is both
 * the only one with a value and where to write. x0 to x30 are words 0 to 30 of
 * the canary area, system registers follow.
 */
	.globl	pkvm_guest_dump_entry
	.type	pkvm_guest_dump_entry, %function
pkvm_guest_dump_entry:
	.irp	n, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, \
		18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30
	str	x\n, [x0, #(PKVM_CPU_CANARY + 8 * \n)]
	.endr
	str	x0, [x0, #PKVM_CPU_CANARY]
	mov	x1, sp
	str	x1, [x0, #(PKVM_CPU_CANARY + 8 * 31)]
	mov	x2, #(PKVM_CPU_CANARY + 8 * 32)
	add	x2, x0, x2
	.irp	reg, sctlr_el1, ttbr0_el1, ttbr1_el1, tcr_el1, mair_el1, \
		vbar_el1, elr_el1, far_el1, esr_el1, tpidr_el1, tpidr_el0, \
		tpidrro_el0, contextidr_el1, par_el1, sp_el0, cpacr_el1, \
		cntv_ctl_el0, cntkctl_el1, currentel, daif
	mrs	x1, \reg
	str	x1, [x2], #8
	.endr
	/* Vector registers: their OR must be zero, so one pair of words does. */
	mov	x1, #(3 << 20)
	msr	cpacr_el1, x1
	isb
	.irp	n, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, \
		18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
	orr	v0.16b, v0.16b, v\n\().16b
	.endr
	mov	x1, v0.d[0]
	str	x1, [x2], #8
	mov	x1, v0.d[1]
	str	x1, [x2], #8
	/* Written past the caches, read through them. */
	dsb	sy
	add	x1, x0, #PKVM_CPU_CANARY
1:	dc	ivac, x1
	add	x1, x1, #16
	cmp	x1, x2
	b.lo	1b
	dsb	sy
	b	pkvm_guest_entry
	.size	pkvm_guest_dump_entry, . - pkvm_guest_dump_entry

.macro vector nr
	.balign	128
	sub	sp, sp, #(8 * 34)
	stp	x0, x1, [sp, #0]
	mov	x1, #\nr
	b	pkvm_guest_vector
.endm

	.balign	2048
pkvm_guest_vectors:
	.irp	nr, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	vector	\nr
	.endr

pkvm_guest_vector:
	stp	x2, x3, [sp, #16]
	stp	x4, x5, [sp, #32]
	stp	x6, x7, [sp, #48]
	stp	x8, x9, [sp, #64]
	stp	x10, x11, [sp, #80]
	stp	x12, x13, [sp, #96]
	stp	x14, x15, [sp, #112]
	stp	x16, x17, [sp, #128]
	stp	x18, x19, [sp, #144]
	stp	x20, x21, [sp, #160]
	stp	x22, x23, [sp, #176]
	stp	x24, x25, [sp, #192]
	stp	x26, x27, [sp, #208]
	stp	x28, x29, [sp, #224]
	mrs	x2, elr_el1
	stp	x30, x2, [sp, #240]
	mrs	x2, spsr_el1
	str	x2, [sp, #256]
	mov	x0, sp
	bl	pkvm_guest_exception
	ldr	x2, [sp, #256]
	msr	spsr_el1, x2
	ldp	x30, x2, [sp, #240]
	msr	elr_el1, x2
	ldp	x28, x29, [sp, #224]
	ldp	x26, x27, [sp, #208]
	ldp	x24, x25, [sp, #192]
	ldp	x22, x23, [sp, #176]
	ldp	x20, x21, [sp, #160]
	ldp	x18, x19, [sp, #144]
	ldp	x16, x17, [sp, #128]
	ldp	x14, x15, [sp, #112]
	ldp	x12, x13, [sp, #96]
	ldp	x10, x11, [sp, #80]
	ldp	x8, x9, [sp, #64]
	ldp	x6, x7, [sp, #48]
	ldp	x4, x5, [sp, #32]
	ldp	x2, x3, [sp, #16]
	ldp	x0, x1, [sp, #0]
	add	sp, sp, #(8 * 34)
	eret

/* The guest's only table: 512 GiB identity, the second GiB is devices. */
	.section .rodata
	.balign	4096
pkvm_guest_pgd:
	.set	gib, 0
	.rept	512
	.if	gib == PKVM_CTL_IPA >> 30
	.quad	(gib << 30) | BLOCK_DEVICE
	.else
	.quad	(gib << 30) | BLOCK_NORMAL
	.endif
	.set	gib, gib + 1
	.endr

	.section .note.GNU-stack, "", %progbits
