/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Locks that know who holds them. Which lock it is, fake.c learns from the words
 * that the code under test takes it with.
 */
#ifndef __FAKE_NVHE_SPINLOCK_H
#define __FAKE_NVHE_SPINLOCK_H

#include <asm/fake.h>

typedef struct hyp_spinlock {
	u32 owner;		/* CPU plus one */
} hyp_spinlock_t;

#define DEFINE_HYP_SPINLOCK(x)	hyp_spinlock_t x
#define __HYP_SPIN_LOCK_UNLOCKED	((hyp_spinlock_t){ 0 })

void fake_lock_init(hyp_spinlock_t *lock);
void fake_lock(hyp_spinlock_t *lock, const char *words);
void fake_unlock(hyp_spinlock_t *lock);
void fake_assert_held(hyp_spinlock_t *lock, const char *words);

#define hyp_spin_lock_init(l)	fake_lock_init(l)
#define hyp_spin_lock(l)	fake_lock(l, #l)
#define hyp_spin_unlock(l)	fake_unlock(l)
#define hyp_assert_lock_held(l)	fake_assert_held(l, #l)

#endif /* __FAKE_NVHE_SPINLOCK_H */
