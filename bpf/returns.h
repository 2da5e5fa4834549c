/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The return of each traced function: which open call it closes, and the end of a thread. */
#ifndef INETPROBE_RETURNS_H
#define INETPROBE_RETURNS_H

#include "emit.h"
#include "follow.h"
#include "probe.h"

/*
 * The thread whose innermost open call is the one that returns; open calls above it, whose returns were missed, are
 * dropped, and those it jumped to. 0 where the returning call is not open. Of depth 0 where no open call can be live.
 */
static __always_inline struct thread *find_open(struct thread *t, u64 sp, u32 function, int fentry)
{
	if (is_foreign(t, sp)) {
		if (!BARE)
			return 0; /* its entry was set aside and counted */
		t = softirq_thread();
		if (!t || !t->depth)
			return 0;
		if (is_top(t, sp, function))
			return t;
	}
	if (!t->depth)
		return 0;
	unwind(t, sp - 1);
	if (!fentry && function >= FUNCTION_ALSO)
		drop_jumped_to(t, sp, function);
	if (t->depth && !is_top(t, sp, function)) {
		/* Not open: a call past the last slot, or one set aside, or one whose entry was missed. */
		if (!(t->flags & RECORD_TRUNCATED) && !t->foreign)
			t->flags |= RECORD_ENTRY_MISSED;
		count(COUNT_ORPHAN_RETURN);
		return 0;
	}
	return t;
}

/* A return with `result` and CALL_* `flags`. `emits`: can this function's call be the outermost of a trace? */
static __always_inline int leave(struct probe *p, u64 result, u8 flags, int emits)
{
	struct thread *t = thread_of(p->slot, p->task);
	struct inetprobe_call *call;
	u64 sp, left;

	if (!t)
		return 0;
	if (!BARE && !t->depth)
		return 0;
	sp = stack_pointer(p, t);
	if (!p->fentry)
		sp -= RETURN_ADDRESS;
	if (!is_top(t, sp, p->function)) {
		t = find_open(t, sp, p->function, p->fentry);
		if (!t)
			return 0;
	}
	if (t->depth) {
		call = &t->calls[top_of(t)->call & (INETPROBE_CALLS - 1)];
		call->duration_ns = bpf_ktime_get_boot_ns() - t->start_ns - call->start_ns;
		call->flags = CALL_RETURNED | flags;
		if (!(flags & (CALL_POINTER | CALL_VOID)))
			call->result = result;
		else if (flags & CALL_POINTER && !result)
			call->flags |= CALL_NULL;
		left = t->depth - 1ULL;
		t->depth = left;
		if (left)
			return 0;
	}
	if (!emits) {
		abandon(p->slot, t);
		return 0;
	}
	emit(p->ctx, t, p->program);
	thread_free(p->slot, t);
	return 0;
}

static __always_inline int leave_create(struct probe *p)
{
	return leave(p, (u32)p->result, 0, 1);
}

/* Outermost only where no create made the sock. */
static __always_inline int leave_sock(struct probe *p)
{
	return leave(p, p->result, CALL_POINTER, BARE);
}

static __always_inline int leave_int(struct probe *p)
{
	return leave(p, (u32)p->result, 0, 0);
}

/* Of functions of --also, by what they return. */
#define LEAVE_VOID leave(p, 0, CALL_VOID, 0)
#define LEAVE_POINTER leave(p, p->result, CALL_POINTER, 0)
#define LEAVE_8 leave(p, (u8)p->result, 0, 0)
#define LEAVE_16 leave(p, (u16)p->result, 0, 0)
#define LEAVE_32 leave(p, (u32)p->result, 0, 0)

/* A thread ends. Within a trace: its return was missed, or the kernel killed it there. With the last thread of a
 * followed process, the process leaves the set. The first argument of the
 * tracepoint sched_process_exit is the current task. */
static __always_inline int end_thread(u64 *ctx)
{
	u64 task = bpf_get_current_task();
	struct slot *slot = slot_of(task);
	struct thread *t = thread_of(slot, task);
	u32 pid = FOLLOW ? WHO_PID : 0, live = 1;
	u64 signal = 0;

	if (t) {
		if (t->depth) {
			t->depth = 0;
			count(COUNT_ENDED);
			count(COUNT_LOST_THREAD_DIED);
		}
		thread_free(slot, t);
	}
	if (!FOLLOW || !followed_has(&pid))
		return 0;
	READ(signal, ctx[0], OFF_TASK_SIGNAL);
	READ(live, signal, OFF_SIGNAL_LIVE);
	if (!live)
		bpf_map_delete_elem(MAP(MAP_FOLLOWED), &pid);
	return 0;
}

#endif
