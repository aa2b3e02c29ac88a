/* SPDX-License-Identifier: GPL-2.0-only */
#define SG_MAX_SEGMENTS	128
