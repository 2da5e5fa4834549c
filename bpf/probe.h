/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * One run of one program as struct probe, and PAIR(): the two programs of a traced function, by kprobe or fentry. With
 * asm/ptrace.h the one place that knows a machine's registers.
 */
#ifndef INETPROBE_PROBE_H
#define INETPROBE_PROBE_H

#include "features.h"
#include "threads.h"

#define RETURN_ADDRESS 8 /* x86-64: `ret` pops it, so the stack pointer at a return is that at the entry plus this */
#define ENTRY_OF(function) ((function) * 2) /* a function's two programs, as in runs[] and `seq` */
#define RETURN_OF(function) ((function) * 2 + 1)

struct probe {
	void *ctx;
	struct slot *slot;	/* the current thread's */
	u64 task;		/* the current one */
	u64 sp;			/* stack pointer at a kprobe; fentry has none: see stack_pointer() */
	u64 arg[5];		/* of an entry; those that it does not use are never read */
	u64 result;		/* of a return */
	u32 function;		/* FUNCTION_* */
	u32 program;		/* ENTRY_OF or RETURN_OF it */
	int fentry;		/* else a kprobe; constant in each program */
};

static __always_inline void probe_begin(struct probe *p, void *ctx, u32 function, u32 program, int fentry)
{
	p->ctx = ctx;
	p->function = function;
	p->program = program;
	p->fentry = fentry;
	p->task = bpf_get_current_task();
	/* Only serve shows how often a fentry program ran: how often it skipped one, the kernel counts itself. */
	p->slot = SERVE || !fentry ? enter(p->task, program) : slot_of(p->task);
}

static __always_inline void kprobe_entry(struct probe *p, struct pt_regs *ctx, u32 function)
{
	p->sp = ctx->sp;
	p->arg[0] = ctx->di;
	p->arg[1] = ctx->si;
	p->arg[2] = ctx->dx;
	p->arg[3] = ctx->cx;
	p->arg[4] = ctx->r8;
	probe_begin(p, ctx, function, ENTRY_OF(function), 0);
}

static __always_inline void kprobe_return(struct probe *p, struct pt_regs *ctx, u32 function)
{
	p->sp = ctx->sp;
	p->result = ctx->ax;
	probe_begin(p, ctx, function, RETURN_OF(function), 0);
}

static __always_inline void fentry_entry(struct probe *p, unsigned long long *ctx, u32 function)
{
	p->sp = 0;
	p->arg[0] = ctx[0];
	p->arg[1] = ctx[1];
	p->arg[2] = ctx[2];
	p->arg[3] = ctx[3];
	p->arg[4] = ctx[4];
	probe_begin(p, ctx, function, ENTRY_OF(function), 1);
}

static __always_inline void fentry_return(struct probe *p, unsigned long long *ctx, u32 nargs, u32 function)
{
	p->sp = 0;
	p->result = ctx[nargs];
	probe_begin(p, ctx, function, RETURN_OF(function), 1);
}

/*
 * The stack pointer of a probe. A kprobe has it in its registers. fentry has none, but its context lies on the traced
 * stack below the caller's frame, at the same place at entry and exit; the verifier allows no arithmetic on a context's
 * address until it has been through a map. An interrupt that does the same in between puts back what it found.
 */
static __always_inline u64 stack_pointer(struct probe *p, struct thread *t)
{
	volatile u64 *scratch = &t->scratch;
	u64 before, sp;

	if (!p->fentry)
		return p->sp;
	before = *scratch;
	*scratch = (u64)p->ctx;
	sp = *scratch;
	*scratch = before;
	return sp;
}

/* PAIR(function, number, number of arguments, entry, exit): `entry` and `exit` are expressions over the probe `p`. The
 * mechanism is that of MECHANISM_<function>. */
#define PROGRAM(name, context, begin, expression)                                                                     \
	int name(context *ctx)                                                                                        \
	{                                                                                                             \
		struct probe probe, *p = &probe;                                                                      \
		begin;                                                                                                \
		return expression;                                                                                    \
	}
#define KPROBE_RETURN(fn, id, nargs, exit)                                                                            \
	PROGRAM(return_##fn, struct pt_regs, kprobe_return(p, ctx, id), exit)
#define FENTRY_RETURN(fn, id, nargs, exit)                                                                            \
	PROGRAM(return_##fn, unsigned long long, fentry_return(p, ctx, nargs, id), exit)
#define KPROBE_ENTRY(fn, id, nargs, entry) PROGRAM(entry_##fn, struct pt_regs, kprobe_entry(p, ctx, id), entry)
#define FENTRY_ENTRY(fn, id, nargs, entry) PROGRAM(entry_##fn, unsigned long long, fentry_entry(p, ctx, id), entry)
#define KPROBE_PAIR(fn, id, nargs, entry, exit)                                                                       \
	KPROBE_ENTRY(fn, id, nargs, entry)                                                                            \
	KPROBE_RETURN(fn, id, nargs, exit)
#define FENTRY_PAIR(fn, id, nargs, entry, exit)                                                                       \
	FENTRY_ENTRY(fn, id, nargs, entry)                                                                            \
	FENTRY_RETURN(fn, id, nargs, exit)
#define PAIR_BY(mechanism, ...) mechanism##_PAIR(__VA_ARGS__)
#define PAIR_EXPANDED(...) PAIR_BY(__VA_ARGS__)
#define PAIR(fn, ...) PAIR_EXPANDED(MECHANISM_##fn, fn, __VA_ARGS__)
/* Likewise one of the two. */
#define SIDE_BY(mechanism, side, ...) mechanism##_##side(__VA_ARGS__)
#define SIDE_EXPANDED(...) SIDE_BY(__VA_ARGS__)
#define ENTRY_ONLY(fn, ...) SIDE_EXPANDED(MECHANISM_##fn, ENTRY, fn, __VA_ARGS__)
#define RETURN_ONLY(fn, ...) SIDE_EXPANDED(MECHANISM_##fn, RETURN, fn, __VA_ARGS__)

#endif
