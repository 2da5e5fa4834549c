/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * --sock: the fields of the sock that was made. Where they are comes in as lists from inetprobe/kernel/program/sock.py:
 * SOCK_WORDS(X) of X(offset), the words that hold them; SOCK_FIELDS(X) of X(name, word's offset, bits up, bits down,
 * kind), where the shifts leave the field alone; SOCK_PRESENT, which of them this kernel has.
 */
#ifndef INETPROBE_SOCK_H
#define INETPROBE_SOCK_H

#include "caller.h"

#define SOCK_WORD(offset)                                                                                             \
	u64 word_##offset = 0;                                                                                        \
	READ(word_##offset, sk, offset);
#define SOCK_FIELD(name, offset, up, down, kind) s->name = SOCK_##kind(word_##offset << (up), down);
#define SOCK_UNSIGNED(top, down) ((top) >> (down))
#define SOCK_SIGNED(top, down) ((s64)(top) >> (down))
#define SOCK_BIG_ENDIAN(top, down) __builtin_bswap16((top) >> (down))

/* The sock of a struct socket whose create has returned 0. */
static __always_inline void fill_sock(struct inetprobe_sock *s, u64 socket)
{
	u64 sk = 0;

	READ(sk, socket, OFF_SOCKET_SK);
	if (!sk)
		return;
	SOCK_WORDS(SOCK_WORD)
	SOCK_FIELDS(SOCK_FIELD)
	s->present = SOCK_PRESENT;
}

#endif
