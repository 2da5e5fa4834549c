/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * PAIR(function, id, nargs, entry, exit): the two programs of a traced function, by the mechanism that
 * MECHANISM_<function> names. `entry` and `exit` are expressions over slot, task, sp, frame, and a0..a4 or result; what an entry
 * does not use of its arguments is never read. The one place that knows a machine's registers, with asm/ptrace.h.
 */
#ifndef INETPROBE_PROBE_H
#define INETPROBE_PROBE_H

#define KPROBE_PAIR(fn, id, nargs, entry, exit)                                                                       \
	int entry_##fn(struct pt_regs *ctx)                                                                           \
	{                                                                                                             \
		u64 sp = ctx->sp, a0 = ctx->di, a1 = ctx->si, a2 = ctx->dx, a3 = ctx->cx, a4 = ctx->r8;               \
		void *frame = 0;                                                                                      \
		u64 task = bpf_get_current_task();                                                                    \
		struct slot *slot = enter(task, (id) * 2);                                                            \
		return entry;                                                                                         \
	}                                                                                                             \
	int return_##fn(struct pt_regs *ctx)                                                                          \
	{                                                                                                             \
		u64 sp = ctx->sp, result = ctx->ax;                                                                   \
		void *frame = 0;                                                                                      \
		u64 task = bpf_get_current_task();                                                                    \
		struct slot *slot = enter(task, (id) * 2 + 1);                                                        \
		return exit;                                                                                          \
	}
/* Only serve shows how often a fentry program ran: the kernel counts itself how often it skipped one. */
#define ENTER_FENTRY(task, program) (SERVE ? enter(task, program) : slot_of(task))
#define FENTRY_PAIR(fn, id, nargs, entry, exit)                                                                       \
	int kfunc__##fn(unsigned long long *ctx)                                                                      \
	{                                                                                                             \
		u64 sp = 0, a0 = ctx[0], a1 = ctx[1], a2 = ctx[2], a3 = ctx[3], a4 = ctx[4];                          \
		void *frame = ctx;                                                                                    \
		u64 task = bpf_get_current_task();                                                                    \
		struct slot *slot = ENTER_FENTRY(task, (id) * 2);                                                     \
		return entry;                                                                                         \
	}                                                                                                             \
	int kretfunc__##fn(unsigned long long *ctx)                                                                   \
	{                                                                                                             \
		u64 sp = 0, result = ctx[nargs];                                                                      \
		void *frame = ctx;                                                                                    \
		u64 task = bpf_get_current_task();                                                                    \
		struct slot *slot = ENTER_FENTRY(task, (id) * 2 + 1);                                                 \
		return exit;                                                                                          \
	}
#define PAIR_BY(mechanism, ...) mechanism##_PAIR(__VA_ARGS__)
#define PAIR_EXPANDED(...) PAIR_BY(__VA_ARGS__)
#define PAIR(fn, ...) PAIR_EXPANDED(MECHANISM_##fn, fn, __VA_ARGS__)

#endif
