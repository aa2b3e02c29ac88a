/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __FAKE_ASM_SPECTRE_H
#define __FAKE_ASM_SPECTRE_H

enum arm64_hyp_spectre_vector {
	HYP_VECTOR_DIRECT,
};

#endif /* __FAKE_ASM_SPECTRE_H */
