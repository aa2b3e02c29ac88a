/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __FAKE_LINUX_LIMITS_H
#define __FAKE_LINUX_LIMITS_H

#define USHRT_MAX	((unsigned short)~0U)
#define ULONG_MAX	(~0UL)
#define U8_MAX		((u8)~0U)

#endif /* __FAKE_LINUX_LIMITS_H */
