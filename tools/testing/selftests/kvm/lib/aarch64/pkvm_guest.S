/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the tests' protected guest cannot do in C: entry with the MMU off, the
 * identity map, the exception vectors, and single instructions with all registers
 * known. Runs in the guest only; the rest of the guest is in pkvm.c.
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
	.irp	reg, amair_el1, afsr0_el1, afsr1_el1, spsr_el1, cntv_cval_el0, \
		fpcr, fpsr
	mrs	x1, \reg
	str	x1, [x2], #8
	.endr
	/* Keys of pointer authentication, where there are any: APA, API, GPA, GPI. */
	mrs	x1, S3_0_C0_C6_1
	mov	x3, #0x0ff0
	movk	x3, #0xff00, lsl #16
	tst	x1, x3
	b.ne	1f
	/* APA3, GPA3 */
	mrs	x1, S3_0_C0_C6_2
	tst	x1, #0xff00
	b.eq	2f
1:
	.irp	reg, S3_0_C2_C1_0, S3_0_C2_C1_1, S3_0_C2_C1_2, S3_0_C2_C1_3, \
		S3_0_C2_C2_0, S3_0_C2_C2_1, S3_0_C2_C2_2, S3_0_C2_C2_3, \
		S3_0_C2_C3_0, S3_0_C2_C3_1
	mrs	x1, \reg
	str	x1, [x2], #8
	.endr
2:
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

/*
 * For tests of registers: one instruction with known values around it.
 * x0: its address, x1: passed on to guest_check_canaries()
 */
#define FRAME_SAVED	176

.macro canary_fn name, insn:vararg
	.globl	guest_canary_\name
	.type	guest_canary_\name, %function
guest_canary_\name:
	stp	x29, x30, [sp, #-FRAME_SAVED]!
	stp	x19, x20, [sp, #16]
	stp	x21, x22, [sp, #32]
	stp	x23, x24, [sp, #48]
	stp	x25, x26, [sp, #64]
	stp	x27, x28, [sp, #80]
	stp	d8, d9, [sp, #96]
	stp	d10, d11, [sp, #112]
	stp	d12, d13, [sp, #128]
	stp	d14, d15, [sp, #144]
	stp	x0, x1, [sp, #160]
	sub	sp, sp, #PKVM_CANARY_SIZE

	adrp	x30, pkvm_canaries
	add	x30, x30, :lo12:pkvm_canaries
	.irp	n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, \
		17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
	ldr	q\n, [x30, #(PKVM_CANARY_Q + 16 * \n)]
	.endr
	.irp	n, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, \
		18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30
	ldr	x\n, [x30, #(8 * \n)]
	.endr

	\insn

	.irp	n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, \
		17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30
	str	x\n, [sp, #(8 * \n)]
	.endr
	.irp	n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, \
		17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
	str	q\n, [sp, #(PKVM_CANARY_Q + 16 * \n)]
	.endr

	mov	x0, sp
	ldr	x1, [sp, #(PKVM_CANARY_SIZE + 168)]
	ldr	x2, [sp, #(PKVM_CANARY_SIZE + 160)]
	bl	guest_check_canaries
	add	sp, sp, #PKVM_CANARY_SIZE
	ldp	d14, d15, [sp, #144]
	ldp	d12, d13, [sp, #128]
	ldp	d10, d11, [sp, #112]
	ldp	d8, d9, [sp, #96]
	ldp	x27, x28, [sp, #80]
	ldp	x25, x26, [sp, #64]
	ldp	x23, x24, [sp, #48]
	ldp	x21, x22, [sp, #32]
	ldp	x19, x20, [sp, #16]
	ldp	x29, x30, [sp], #FRAME_SAVED
	ret
	.size	guest_canary_\name, . - guest_canary_\name
.endm

	canary_fn strb, strb w7, [x0]
	canary_fn strh, strh w7, [x0]
	canary_fn strw, str w7, [x0]
	canary_fn strx, str x7, [x0]
	canary_fn strzr, str xzr, [x0]
	canary_fn ldrb, ldrb w7, [x0]
	canary_fn ldrh, ldrh w7, [x0]
	canary_fn ldrw, ldr w7, [x0]
	canary_fn ldrx, ldr x7, [x0]
	canary_fn ldrsb_w, ldrsb w7, [x0]
	canary_fn ldrsb_x, ldrsb x7, [x0]
	canary_fn ldrsh_w, ldrsh w7, [x0]
	canary_fn ldrsh_x, ldrsh x7, [x0]
	canary_fn ldrsw_x, ldrsw x7, [x0]
	canary_fn ldr_zr, ldr xzr, [x0]
	canary_fn hvc, hvc #0
	canary_fn smc, smc #0
	canary_fn wfi, wfi
	canary_fn nop, nop
	canary_fn revidr, mrs x7, revidr_el1
	canary_fn ccsidr, mrs x7, ccsidr_el1
	canary_fn id_reg, mrs x7, id_aa64pfr0_el1
	canary_fn mdscr, msr mdscr_el1, x7
	canary_fn sgi, msr S3_0_C12_C11_5, xzr

/* A fetch from x0, where nothing is: the handler goes on at x30. */
.macro	fetch_from_x0
	adr	x30, 1f
	br	x0
1:
.endm
	canary_fn fetch, fetch_from_x0

.macro fault_fn name, insn:vararg
	.globl	guest_fault_\name
	.type	guest_fault_\name, %function
guest_fault_\name:
	\insn
	ret
	.size	guest_fault_\name, . - guest_fault_\name
.endm

	fault_fn impdef_mrs, mrs x0, S3_0_C15_C0_0
	fault_fn impdef_msr, msr S3_0_C15_C0_0, xzr
	fault_fn udf, .inst 0
	fault_fn brk, brk #0x123
	fault_fn post_index, ldr x1, [x0], #8
	fault_fn post_index_str, str x1, [x0], #8
	fault_fn pair, ldp x1, x2, [x0]
	fault_fn vector, ldr q0, [x0]

/*
 * One stub for each system register. x0 is the value; it keeps what it had when
 * the access is undefined. The numbers are those of pkvm_regs_test.c.
 */
	.globl	guest_mrs_stubs
guest_mrs_stubs:
.macro mrs_stubs regs:vararg
	.irp	reg, \regs
	mrs	x0, \reg
	ret
	.endr
.endm
	/* 0: AArch32 identification, all of which the guest must find absent */
	mrs_stubs S3_0_C0_C1_0, S3_0_C0_C1_1, S3_0_C0_C1_2, S3_0_C0_C1_3
	mrs_stubs S3_0_C0_C1_4, S3_0_C0_C1_5, S3_0_C0_C1_6, S3_0_C0_C1_7
	mrs_stubs S3_0_C0_C2_0, S3_0_C0_C2_1, S3_0_C0_C2_2, S3_0_C0_C2_3
	mrs_stubs S3_0_C0_C2_4, S3_0_C0_C2_5, S3_0_C0_C2_6, S3_0_C0_C2_7
	mrs_stubs S3_0_C0_C3_0, S3_0_C0_C3_1, S3_0_C0_C3_2, S3_0_C0_C3_4
	mrs_stubs S3_0_C0_C3_5, S3_0_C0_C3_6
	/* 22: of AArch64, absent as well: ZFR0, SMFR0, DFR1, AFR0, AFR1 */
	mrs_stubs S3_0_C0_C4_4, S3_0_C0_C4_5, S3_0_C0_C5_1, S3_0_C0_C5_4
	mrs_stubs S3_0_C0_C5_5
	/* 27: with fields: PFR0, PFR1, DFR0, MMFR0 */
	mrs_stubs S3_0_C0_C4_0, S3_0_C0_C4_1, S3_0_C0_C5_0, S3_0_C0_C7_0
	/* 31: readable */
	mrs_stubs midr_el1, revidr_el1, aidr_el1, mpidr_el1, ctr_el0
	mrs_stubs clidr_el1, ccsidr_el1, csselr_el1, dczid_el0, cntfrq_el0
	mrs_stubs cntvct_el0
	/* ISAR0 to 2, MMFR1 to 3, PFR2 */
	mrs_stubs S3_0_C0_C6_0, S3_0_C0_C6_1, S3_0_C0_C6_2, S3_0_C0_C7_1
	mrs_stubs S3_0_C0_C7_2, S3_0_C0_C7_3, S3_0_C0_C4_2
	/* 49: undefined: PMCR, PMCCNTR, PMINTEN, ZCR, SMCR, GCR, TRFCR */
	mrs_stubs S3_3_C9_C12_0, S3_3_C9_C13_0, S3_0_C9_C14_1, S3_0_C1_C2_0
	mrs_stubs S3_0_C1_C2_6, S3_0_C1_C0_6, S3_0_C1_C2_1
	/* PMSIDR, TRBLIMITR, AMCR, an implementation's own, HCR_EL2 */
	mrs_stubs S3_0_C9_C9_7, S3_0_C9_C11_0, S3_3_C13_C2_0, S3_0_C15_C1_0
	mrs_stubs S3_4_C1_C1_0
	/* 61: debug, reads as zero: MDSCR, BVR, BCR, WVR, WCR, OSDLR */
	mrs_stubs S2_0_C0_C2_2, S2_0_C0_C0_4, S2_0_C0_C0_5, S2_0_C0_C0_6
	mrs_stubs S2_0_C0_C0_7, S2_0_C1_C3_4

	/* Writes to the same debug registers. */
	.globl	guest_msr_debug_stubs
guest_msr_debug_stubs:
	.irp	reg, S2_0_C0_C2_2, S2_0_C0_C0_4, S2_0_C0_C0_5, S2_0_C0_C0_6, \
		S2_0_C0_C0_7, S2_0_C1_C3_4
	msr	\reg, x0
	ret
	.endr

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
