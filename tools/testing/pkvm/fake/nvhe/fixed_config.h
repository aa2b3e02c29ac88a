/* SPDX-License-Identifier: GPL-2.0-only */
/* The features of protected guests are not looked at here. */
