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
	if (t->depth && function >= FUNCTION_SK_ALLOC && is_before_create(t) && !is_top(t, sp, function))
		return 0; /* another family's own, which its entry left out */
	if (t->depth && !is_top(t, sp, function)) {
		/* Not open: a call past the last slot, or one set aside, or one whose entry was missed. */
		if (!(t->flags & RECORD_TRUNCATED) && !t->foreign)
			t->flags |= RECORD_ENTRY_MISSED;
		count(COUNT_ORPHAN_RETURN);
		return 0;
	}
	return t;
}

/*
 * A return with `result` and CALL_* `flags`: closes its call. The thread, 0 where it is not open; of depth 0 where the
 * trace is over.
 */
static __always_inline struct thread *close(struct probe *p, u64 result, u8 flags)
{
	struct thread *t = thread_of(p->slot, p->task);
	struct inetprobe_call *call;
	u64 sp;

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
		t->depth--;
	}
	return t;
}

/* The end of a return's program: the trace ends where no call is open. `emits`: can this function's call be the
 * outermost of a trace? */
static __always_inline int ended(struct probe *p, struct thread *t, int emits)
{
	if (!t || t->depth)
		return 0;
	if (!emits) {
		abandon(p->slot, t);
		return 0;
	}
	emit(p, p->ctx, t);
	thread_free(p->slot, t);
	return 0;
}

static __always_inline int leave(struct probe *p, u64 result, u8 flags, int emits)
{
	return ended(p, close(p, result, flags), emits);
}

static __always_inline int leave_create(struct probe *p)
{
	struct thread *t = close(p, (u32)p->result, 0);
	u32 cpu = bpf_get_smp_processor_id();
	struct cpu_counters *c = counters_of(cpu);
	struct cpu_cells *all;

	/* Of a pair's two, the first. */
	if (t && c && is_syscall(t) && t->create && t->open[t->depth & (DEPTH - 1)].call == t->create &&
	    is_returned(create_of(t)))
		lock_xadd(&c->value[COUNT_CREATES], 1);
	if (SERVE && t && c && t->counted && t->depth == is_syscall(t) && is_returned(create_of(t))) {
		all = bpf_map_lookup_elem(MAP(MAP_CELLS), &cpu);
		t->sends = all && count_create(t, c, all);
		t->counted = 0;
		lock_xadd(&c->value[COUNT_ENDED], 1);
	}
	return ended(p, t, 1);
}

/* Counts where a system call ended. */
static __always_inline void count_end(struct thread *t, struct cpu_counters *c, s32 result)
{
	u32 where;

	if (result && (t->flags & RECORD_ENTRY_MISSED || (t->create && !is_returned(create_of(t))))) {
		count_untold(t, c);
		return;
	}
	if (has_created(t))
		where = result ? COUNT_CALLS_AFTER : COUNT_CALLS_CREATED;
	else
		where = !result ? COUNT_CALLS_OK : t->create ? COUNT_CALLS_IN_CREATE : COUNT_CALLS_BEFORE;
	lock_xadd(&c->value[where], 1);
}

/* RLIMIT_NOFILE of the current process, as include/linux/sched/signal.h rlimit() reads it; 0 where it cannot be read.
 * The kernel lets none be above 2^30 (fs.nr_open). */
static __always_inline u32 descriptor_limit(void)
{
	u64 signal = 0, soft = 0;

	READ(signal, bpf_get_current_task(), OFF_TASK_SIGNAL);
	READ(soft, signal, OFF_SIGNAL_RLIM + RLIMIT_NOFILE * RLIMIT_BYTES);
	return soft;
}

/* The return of a system call with `result`: 0 or an errno below it. */
static __always_inline int leave_syscall(struct probe *p, s32 result, s32 descriptor)
{
	struct thread *t = close(p, (u32)result, 0);
	struct cpu_counters *c = this_cpu();
	int is_known = t && is_syscall(t) && is_returned(&t->calls[0]);

	if (c && is_known) {
		count_end(t, c, result);
	} else if (c && c->on && !FILTERED) { /* its entry was missed: no filter has rejected the caller */
		lock_xadd(&c->value[COUNT_CALLS], 1);
		lock_xadd(&c->value[COUNT_CALLS_UNKNOWN], 1);
	}
	if (is_known)
		t->descriptor = descriptor;
	if (is_known && result == -EMFILE)
		t->calls[0].module_protocol = descriptor_limit();
	return ended(p, t, 1);
}

/* Of socket(2): a descriptor, or an errno below 0. */
static __always_inline int leave_socket(struct probe *p)
{
	s32 result = p->result;

	return leave_syscall(p, result < 0 ? result : 0, result < 0 ? 0 : result);
}

/* Of io_uring's: a file, or an errno as include/linux/err.h ERR_PTR() has it. */
static __always_inline int leave_socket_file(struct probe *p)
{
	u64 result = p->result;

	if (p->fentry) /* the verifier knows it for a pointer, and compares none with a number */
		READ(result, (u64)p->ctx, 3 * sizeof(u64));
	return leave_syscall(p, result >= (u64)-MAX_ERRNO ? result : 0, 0);
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

	if (t && t->depth)
		lose(slot, t, COUNT_LOST_THREAD_DIED);
	else if (t) /* with BARE: begun for a softirq */
		thread_free(slot, t);
	if (!FOLLOW || !followed_has(&pid))
		return 0;
	READ(signal, ctx[0], OFF_TASK_SIGNAL);
	READ(live, signal, OFF_SIGNAL_LIVE);
	if (!live)
		bpf_map_delete_elem(MAP(MAP_FOLLOWED), &pid);
	return 0;
}

#endif
