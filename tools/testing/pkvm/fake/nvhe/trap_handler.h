/* SPDX-License-Identifier: GPL-2.0-only */
/* Nobody calls by registers here. */
