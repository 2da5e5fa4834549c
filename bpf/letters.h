/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Eight letters of a name as one word, the first lowest (little-endian). */
#ifndef INETPROBE_LETTERS_H
#define INETPROBE_LETTERS_H

#include <linux/types.h>

/* Not 0 where there is a NUL; its lowest bit that is set is then in the first one. */
static __always_inline u64 nul_in(u64 letters)
{
	return (letters - 0x0101010101010101ULL) & ~letters & 0x8080808080808080ULL;
}

/* The letters before the first NUL. */
static __always_inline u64 until_nul(u64 letters, u64 nul)
{
	return letters & (nul ^ (nul - 1));
}

/*
 * A name of 16 bytes without those behind its NUL. Until Linux 5.17, __set_task_comm() of fs/exec.c leaves there what is
 * of an older, longer name.
 */
static __always_inline void copy_name(u64 *to, u64 low, u64 high)
{
	u64 nul = nul_in(low);

	to[0] = until_nul(low, nul);
	to[1] = nul ? 0 : until_nul(high, nul_in(high));
}

#endif
