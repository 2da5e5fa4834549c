/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Reads of kernel memory: members by their offset (OFF_*, from the kernel's BTF). No kernel structure header is
 * included, and CO-RE is not needed: the program is compiled on the traced machine. */
#ifndef INETPROBE_READ_H
#define INETPROBE_READ_H

#include "features.h"
#include "helpers.h"

#define READ(dst, base, offset) bpf_probe_read_kernel(&(dst), sizeof(dst), (void *)((u64)(base) + (offset)))

/*
 * Loads from a pointer whose type the verifier knows: an argument of a fentry program, the current task, or a pointer
 * loaded from one of these. It is a load instead of a call, and gives 0 where the pointer is bad. In assembly, clang
 * neither splits nor joins it.
 */
#define LOAD(type, base, offset)                                                                                      \
	({                                                                                                            \
		u64 loaded;                                                                                           \
		asm volatile("%0 = *(" #type " *)(%1 + %2)" : "=r"(loaded) : "r"((u64)(base)), "i"(offset));           \
		(type)loaded;                                                                                         \
	})
/* The current task, with TASK_STORAGE of a type that the verifier knows. */
#define CURRENT_TASK() (TASK_STORAGE ? (u64)bpf_get_current_task_btf() : bpf_get_current_task())

/* Reads `dst` from what an argument of the traced function points to. `fentry`: is it a fentry program's? */
#define READ_ARGUMENT(fentry, type, dst, base, offset)                                                                \
	if (fentry)                                                                                                   \
		dst = LOAD(type, base, offset);                                                                       \
	else                                                                                                          \
		READ(dst, base, offset)

#endif
