/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The return of each traced function: which open call it closes, and the end of a thread. */
#ifndef INETPROBE_RETURNS_H
#define INETPROBE_RETURNS_H

#include "emit.h"
#include "follow.h"

#define NO_PRODUCER (~0u)

/* The thread whose top frame is that of the call that returns, once frames above it, whose returns were missed, are
 * gone; of depth 0 where its own frame cannot be live either, 0 where it has none. */
static __always_inline struct thread *find_frame(struct thread *t, u64 sp, u32 function)
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
	if (t->depth && !is_top(t, sp, function)) {
		/* No frame: a call past the last slot, or one set aside, or an entry that was missed. */
		if (!(t->flags & RECORD_TRUNCATED) && !t->foreign)
			t->flags |= RECORD_ENTRY_MISSED;
		count(COUNT_ORPHAN_RETURN);
		return 0;
	}
	return t;
}

static __always_inline int leave(void *ctx, struct slot *slot, u64 task, u64 sp, void *frame, u32 function, u64 result,
				 u8 flags, u32 producer)
{
	struct thread *t = thread_of(slot, task);
	struct inetprobe_call *call;
	u64 left;

	if (!t)
		return 0;
	if (!BARE && !t->depth)
		return 0;
	sp = stack_of(t, sp, frame);
	if (!frame)
		sp -= RET_SLOT;
	if (!is_top(t, sp, function)) {
		t = find_frame(t, sp, function);
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
	if (producer == NO_PRODUCER) {
		abandon(slot, t);
		return 0;
	}
	emit(ctx, t, producer);
	thread_free(slot, t);
	return 0;
}

/* A thread that ends within a trace: its return was missed, or the kernel killed it there. `exiting` is the current task,
 * as the tracepoint has it. */
static __always_inline int end_thread(u64 task, u64 exiting)
{
	struct slot *slot = slot_of(task);
	struct thread *t = thread_of(slot, task);
	u32 pid = FOLLOW ? WHO_PID : 0;

	if (t) {
		if (t->depth) {
			t->depth = 0;
			count(COUNT_ENDED);
			count(COUNT_LOST_THREAD_DIED);
		}
		thread_free(slot, t);
	}
	if (FOLLOW)
		unfollow(&pid, exiting);
	return 0;
}

#endif
