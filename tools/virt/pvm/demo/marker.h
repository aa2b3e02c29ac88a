/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The marker that the guest hides in its memory and the host looks for.
 */
#ifndef PVM_MARKER_H
#define PVM_MARKER_H

#include <linux/types.h>

#define MARKER_LEN 16

void marker_make(u8 *out);

#endif /* PVM_MARKER_H */
