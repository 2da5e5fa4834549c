/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* A trace that is over: counted in a cell (SERVE), or sent as a record. */
#ifndef INETPROBE_EMIT_H
#define INETPROBE_EMIT_H

#include "caller.h"
#include "cells.h"
#include "count.h"
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

/* Counts all that serve shows of a trace that is over. Is it to be sent as well? */
static __always_inline int count_trace(struct thread *t, struct cpu_counters *c, u32 cpu, u32 outcome)
{
	struct inetprobe_call *create = &t->calls[0];
	struct create_cells *its;
	struct cpu_cells *all = bpf_map_lookup_elem(MAP(MAP_CELLS), &cpu);
	u64 second;

	if (!all)
		return 0;
	if (!(create->flags & CALL_RETURNED)) {
		outcome = COUNT_OUTCOME_MISSED;
	} else {
		its = &all->create[create->function & (CREATES - 1)];
		count_outcome(its, t->type, t->protocol, create->result);
		count_duration(&its->durations[t->type & (CELL_TYPES - 1)], create->duration_ns);
		for (u32 i = 0; i < INETPROBE_CALLS; i++) {
			struct inetprobe_call *call = &t->calls[i];

			if (i >= t->ncalls)
				break;
			if (call->module)
				count_module(its, call);
			if (i && call->flags & CALL_RETURNED) /* the outermost one's are in durations[] */
				count_duration(&its->calls[call->function & (CELL_CALLS - 1)], call->duration_ns);
		}
	}
	lock_xadd(&c->value[outcome], 1);
	if (outcome == COUNT_COMPLETE && !t->modules && !create->result && create->duration_ns < SLOW_NS)
		return 0;
	second = bpf_ktime_get_boot_ns() >> 30; /* 2^30 ns: about one */
	if (all->second != second) {
		all->second = second;
		all->sent = 0;
	}
	if (all->sent++ < RATE_LIMIT)
		return 1;
	lock_xadd(&c->value[COUNT_RATE_LIMITED], 1);
	return 0;
}

/* Counts how a trace ended, and sends it. All that the filters ask of the outcome is known here. */
static __always_inline void send(void *ctx, struct thread *t, struct cpu_counters *c, u64 cpu, u32 program)
{
	u64 n = t->ncalls, seq;
	struct inetprobe_record *r;
	u32 outcome = outcome_of(t);

	if (!(KEEP_WHAT)) {
		lock_xadd(&c->value[COUNT_FILTERED], 1);
		return;
	}
	if (SERVE && !count_trace(t, c, cpu, outcome))
		return;
	seq = c->seq[program & (PRODUCERS - 1)]++;
	r = bpf_ringbuf_reserve(MAP(MAP_RECORDS), sizeof(*r), 0);
	if (!r) {
		lock_xadd(&c->value[COUNT_LOST_RING_FULL], 1);
		return;
	}
	r->start_ns = t->start_ns;
	r->seq = seq * PRODUCERS + program;
	r->netns = t->netns;
	r->protocol = t->protocol;
	r->family = t->family;
	r->type = t->type;
	r->foreign = t->foreign;
	r->cpu = cpu;
	r->flags = t->flags;
	r->ncalls = n;
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

/* The trace is over. It counts as ended once its record is there: the reader takes its last look after that. */
static __always_inline void emit(void *ctx, struct thread *t, u32 program)
{
	u64 cpu = bpf_get_smp_processor_id();
	struct cpu_counters *c = counters_of(cpu);

	t->depth = 0;
	if (!c)
		return;
	send(ctx, t, c, cpu, program);
	lock_xadd(&c->value[COUNT_ENDED], 1);
}

/*
 * The trace's outermost return was missed. The programs of a create send what there is of it. In the others, which do
 * not emit, that would double the code for the rarest case: there it is only counted.
 */
static __always_inline void abandon(struct slot *slot, struct thread *t)
{
	t->depth = 0;
	count(COUNT_ENDED);
	count(COUNT_LOST_RETURN_MISSED);
	thread_free(slot, t);
}

#endif
