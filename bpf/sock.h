/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * --sock: the fields of the sock that was made. inetprobe/kernel/program/sock.py says where they are: SOCK_WORDS(X) is
 * a list of X(offset), the words that hold them; SOCK_FIELDS(X) one of X(name, word's offset, shift up, shift down,
 * kind), whose shifts leave only the field; SOCK_PRESENT has a bit for each field that this kernel has.
 */
#ifndef INETPROBE_SOCK_H
#define INETPROBE_SOCK_H

#include "features.h"
#include "read.h"

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
