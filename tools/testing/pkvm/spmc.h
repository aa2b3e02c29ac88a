/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The secure world that answers the SMCs of the code under test, and the host that
 * calls it. spmc.c believes no descriptor: each page that it gets must be the host's
 * alone in the model, and stays noted as the secure world's until it is reclaimed.
 */
#ifndef __PKVM_TEST_SPMC_H
#define __PKVM_TEST_SPMC_H

#include <linux/arm_ffa.h>

#include <nvhe/ffa.h>
#include <nvhe/ffa_desc.h>

#include "fake.h"

#define SPMC_REGIONS	8

/**
 * struct spmc_region - Memory that somebody shares with the secure world.
 * @handle: its name; 0 for a free slot.
 * @len: bytes of its descriptor.
 * @have: bytes that have come.
 * @desc: they.
 */
struct spmc_region {
	u64 handle;
	u32 len, have;
	u8 desc[4096];
};

/**
 * struct spmc - The secure world.
 * @version: the highest that it speaks.
 * @agreed: what it was told to speak.
 * @id: what it says that the caller is.
 * @min_size: of the mailboxes, as FFA_FEATURES encodes it.
 * @tx: EL2's outgoing mailbox; 0 for none.
 * @rx: the incoming one.
 * @fragment: bytes that it gives back at once.
 * @calls: SMCs so far.
 * @last: the last one.
 * @fail: the function that it refuses; 0 for none.
 * @error: what it says then.
 * @partitions: what FFA_PARTITION_INFO_GET says: how many.
 * @partition_size: and how large each is.
 * @meanwhile: what the host writes on another CPU during each SMC.
 * @other_cpu: what else the host does there while the secure world looks at memory.
 * @answer: answers in its stead; false if it shall answer itself.
 * @region: what others share with it.
 */
struct spmc {
	u32 version, agreed, id, min_size, fragment;
	phys_addr_t tx, rx;
	unsigned int calls;
	unsigned long last[8];
	unsigned long fail;
	long error;
	unsigned long partitions, partition_size;
	void (*meanwhile)(void);
	void (*other_cpu)(void);
	bool (*answer)(const unsigned long *a, struct arm_smccc_res *res);
	struct spmc_region region[SPMC_REGIONS];
};

extern struct spmc spmc;
/* The firmware is of before FF-A when EL2 starts; kept over spmc_boot(). */
extern bool spmc_mute;

/* Of ffa.c: do EL2 and the host speak a version? A new machine has agreed on nothing. */
extern bool has_version_negotiated;

void spmc_boot(void);
void spmc_forget(void);
bool spmc_has(phys_addr_t phys);
void spmc_check(void);

/* The host */
struct ffa_range {
	u64 phys;
	u32 nr;
};

u32 ffa_describe(void *to, u32 version, const struct ffa_range *ranges, u32 nr);
long op_smc(unsigned long a0, unsigned long a1, unsigned long a2, unsigned long a3,
	    unsigned long a4, unsigned long a5);
/* x0 to x3 after the last op_smc(), and whether EL2 left it to the firmware. */
extern unsigned long smc_ret[4];
extern bool smc_forwarded;
/* The host's mailboxes, or 0. */
extern phys_addr_t host_tx, host_rx;

#endif /* __PKVM_TEST_SPMC_H */
