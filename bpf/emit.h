/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* A trace that is over: counted in a cell (SERVE), or sent as a record. */
#ifndef INETPROBE_EMIT_H
#define INETPROBE_EMIT_H

#include "caller.h"
#include "cells.h"
#include "count.h"
#include "probe.h"
#include "sock.h"
#include "stack.h"
#include "threads.h"

/* Does the reader get an interrupt for this record? */
static __always_inline u64 wakeup(void)
{
	/* Only where just WAKEUP_BYTES have come together: each wakeup is an interrupt, and the reader may be on its way.
	 * Where several CPUs send at once, no record may find exactly that amount: hence the window. */
	u64 beyond = bpf_ringbuf_query(MAP(MAP_RECORDS), BPF_RB_AVAIL_DATA) - WAKEUP_BYTES;

	return beyond < WAKEUP_WINDOW ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP;
}

/* Do the filters that ask of the outcome let the trace pass? `outermost` is its outermost call, or of those that are
 * over, the create. */
static __always_inline int keeps_what(struct thread *t, struct inetprobe_call *outermost)
{
	return KEEP_WHAT;
}

/* May one more record be sent in this second? */
static __always_inline int within_rate(struct cpu_cells *all, struct cpu_counters *c)
{
	u64 second = bpf_ktime_get_boot_ns() >> 30; /* 2^30 ns: about one */

	if (all->second != second) {
		all->second = second;
		all->sent = 0;
	}
	if (all->sent++ < RATE_LIMIT)
		return 1;
	lock_xadd(&c->value[COUNT_RATE_LIMITED], 1);
	return 0;
}

/* SERVE: counts a create that has returned, the outermost of its trace, once. Is the trace to be sent? */
static __always_inline int count_create(struct thread *t, struct cpu_counters *c, struct cpu_cells *all)
{
	struct inetprobe_call *create = create_of(t);
	struct create_cells *its = &all->create[create->function & (CREATES - 1)];
	u32 outcome = outcome_of(t);

	if (!keeps_what(t, create)) {
		lock_xadd(&c->value[COUNT_FILTERED], 1);
		return 0;
	}
	count_outcome(its, t->type, t->protocol, create->result);
	count_duration(&its->durations[t->type & (CELL_TYPES - 1)], create->duration_ns);
	for (u32 i = 0; i < INETPROBE_CALLS; i++) {
		struct inetprobe_call *call = &t->calls[i];

		if (i >= t->ncalls)
			break;
		if (call->module)
			count_module(its->modules, its->last_modules, call);
		if (i != t->create && call->flags & CALL_RETURNED) /* the create's are in durations[] */
			count_duration(&its->calls[call->function & (CELL_CALLS - 1)], call->duration_ns);
	}
	lock_xadd(&c->value[outcome], 1);
	if (outcome == COUNT_COMPLETE && !t->modules && !create->result && create->duration_ns < SLOW_NS)
		return 0;
	return within_rate(all, c);
}

/* SERVE: counts a system call that has returned. Is it to be sent as well? */
static __always_inline int count_syscall(struct thread *t, struct cpu_counters *c, struct cpu_cells *all)
{
	struct inetprobe_call *outermost = &t->calls[0];
	struct inetprobe_call *create = create_of(t);
	struct syscall_cells *its;
	u32 number = (u32)outermost->function - FUNCTION_SYS_SOCKET;

	if (number >= SYSCALLS || !is_returned(outermost) || !keeps_what(t, outermost))
		return 0;
	its = &all->syscall[number];
	count_duration(&its->durations, outermost->duration_ns);
	if (is_before_create(t) && t->modules) { /* there is one at most */
		struct inetprobe_call *request = &t->calls[1];

		count_module(its->modules, its->last_modules, request);
		if (is_returned(request))
			count_duration(&its->requests, request->duration_ns);
	}
	/* A create that failed has counted its errno, and one that was not seen to return is not known. */
	if (!outermost->result || (t->create && (create->result || !is_returned(create))))
		return 0;
	count_refusal(&its->refused, t->asked_family, t->asked_type, outermost->result, t->create);
	return within_rate(all, c);
}

static __always_inline void send_record(struct probe *p, void *ctx, struct thread *t, struct cpu_counters *c, u64 cpu)
{
	u64 n = t->ncalls, seq = c->seq[p->program & (PRODUCERS - 1)]++;
	struct inetprobe_record *r = bpf_ringbuf_reserve(MAP(MAP_RECORDS), sizeof(*r), 0);
	u32 outcome = outcome_of(t);

	if (!r) {
		lock_xadd(&c->value[COUNT_LOST_RING_FULL], 1);
		return;
	}
	r->start_ns = t->start_ns;
	r->seq = seq * PRODUCERS + p->program;
	r->netns = is_before_create(t) ? netns_of(current_net()) : t->netns;
	r->protocol = t->protocol;
	r->family = t->family;
	r->type = t->type;
	r->foreign = t->foreign;
	r->cpu = cpu;
	r->flags = t->flags;
	r->ncalls = n;
	r->asked_family = t->asked_family;
	r->asked_type = t->asked_type;
	r->asked_protocol = t->asked_protocol;
	r->descriptor = t->descriptor;
	fill_caller(r);
	fill_prot(r, t);
	for (u64 i = 0; i < INETPROBE_CALLS; i++) {
		if (i >= n)
			break;
		r->calls[i] = t->calls[i];
		if (INETPROBE_CALLS > 8)
			asm volatile("" : "+r"(i)); /* else clang unrolls a part, and the verifier sees no end */
	}
	if (SOCKS) {
		__builtin_memset(r->sock, 0, sizeof(r->sock));
		if (*t->socket && t->calls[0].flags & CALL_RETURNED && !t->calls[0].result)
			fill_sock(r->sock, *t->socket);
	}
	if (!SERVE)
		lock_xadd(&c->value[outcome], 1);
	if (STACKS) {
		*r->stack = 0;
		if (fill_frames(r->frames, ctx, t->calls, t->flags, *t->kernel, *t->kernel_size)) {
			/* The process may end at any moment, and its mappings with it. */
			bpf_ringbuf_submit(r, BPF_RB_FORCE_WAKEUP);
			return;
		}
	}
	bpf_ringbuf_submit(r, wakeup());
}

/* Sends a trace that is over. All later records wait for one that has its place in the ring and is not yet sent: the
 * program may not be preempted meanwhile. `ctx` is 0 where the call that ends the trace is none of its own. */
static __always_inline void send(struct probe *p, void *ctx, struct thread *t, struct cpu_counters *c, u64 cpu)
{
	if (PREEMPT_KFUNCS && p->fentry)
		bpf_preempt_disable();
	send_record(p, ctx, t, c, cpu);
	if (PREEMPT_KFUNCS && p->fentry)
		bpf_preempt_enable();
}

/*
 * Counts the trace among those begun, where it is not yet: a system call's may end as none. Another family's socket(2)
 * that succeeds is nobody's business but BARE's.
 */
static __always_inline void count_begun(struct thread *t, struct cpu_counters *c)
{
	if (t->counted)
		return;
	t->counted = 1;
	lock_xadd(&c->value[COUNT_ENTRIES], 1);
	lock_xadd(&c->value[COUNT_BEGUN], 1);
}

/* How a trace that is over counts, and whether it is sent. All that the filters ask of the outcome is known here. */
static __always_inline void end_trace(struct probe *p, void *ctx, struct thread *t, struct cpu_counters *c, u64 cpu)
{
	struct inetprobe_call *outermost = &t->calls[0];

	if (SERVE) {
		struct cpu_cells *all = bpf_map_lookup_elem(MAP(MAP_CELLS), &(u32){cpu});

		if (t->counted) /* its create's return was missed */
			lock_xadd(&c->value[COUNT_OUTCOME_MISSED], 1);
		if (all && count_syscall(t, c, all) + t->sends)
			send(p, ctx, t, c, cpu);
		return;
	}
	if (!t->counted) { /* a system call's */
		if (!BARE && outcome_of(t) == COUNT_COMPLETE && !outermost->result)
			return;
		count_begun(t, c);
	}
	if (keeps_what(t, outermost))
		send(p, ctx, t, c, cpu);
	else
		lock_xadd(&c->value[COUNT_FILTERED], 1);
}

/* Counts a system call of which it is not known where it ended, and its create where that had returned. */
static __always_inline void count_untold(struct thread *t, struct cpu_counters *c)
{
	lock_xadd(&c->value[COUNT_CALLS_UNKNOWN], 1);
	if (t->create && is_returned(create_of(t)))
		lock_xadd(&c->value[COUNT_CREATES_UNKNOWN], 1);
}

/* The trace is over. It counts as ended once its record is there: the reader takes its last look after that. */
static __always_inline void emit(struct probe *p, void *ctx, struct thread *t)
{
	u64 cpu = bpf_get_smp_processor_id();
	struct cpu_counters *c = counters_of(cpu);

	t->depth = 0;
	if (!c)
		return;
	if (!is_returned(&t->calls[0]) && is_syscall(t))
		count_untold(t, c);
	end_trace(p, ctx, t, c, cpu);
	if (t->counted)
		lock_xadd(&c->value[COUNT_ENDED], 1);
}

/* The trace ends without a record, lost for the reason that `counter` counts. */
static __always_inline void lose(struct slot *slot, struct thread *t, u32 counter)
{
	struct cpu_counters *c = this_cpu();

	if (c && is_syscall(t))
		count_untold(t, c);
	if (c && !SERVE)
		count_begun(t, c);
	if (c && t->counted) {
		lock_xadd(&c->value[COUNT_ENDED], 1);
		lock_xadd(&c->value[counter], 1);
	}
	t->depth = 0;
	thread_free(slot, t);
}

/*
 * The trace's outermost return was missed. The entries of system calls and creates send what there is of it. In the
 * other programs, which do not emit, that would double the code for the rarest case: there it is only counted.
 */
static __always_inline void abandon(struct slot *slot, struct thread *t)
{
	lose(slot, t, COUNT_LOST_RETURN_MISSED);
}

#endif
