/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The entry of each traced function: which trace it belongs to, or begins, and which it shows to be over. */
#ifndef INETPROBE_ENTRIES_H
#define INETPROBE_ENTRIES_H

#include "emit.h"

/* sk_alloc() and sk_prot_alloc() outside every create that is followed. */
static __always_inline void count_outside(struct slot *slot, u32 family, int prot_alloc)
{
	struct cpu_counters *c;
	u32 index;

	if (family == AF_INET || family == AF_INET6) {
		index = family == AF_INET6;
		lock_xadd(prot_alloc ? &slot->sk_prot_alloc_outside[index] : &slot->sk_alloc_outside[index], 1);
		return;
	}
	c = this_cpu();
	if (!c)
		return;
	index = family < FAMILIES ? family : FAMILIES - 1;
	if (prot_alloc)
		lock_xadd(&c->sk_prot_alloc_outside[index & (FAMILIES - 1)], 1);
	else
		lock_xadd(&c->sk_alloc_outside[index & (FAMILIES - 1)], 1);
}

/* The open frames this call is on top of, stale ones dropped; an interrupt's call is set aside. Depth 0: all were.
 * `sp` becomes the stack pointer where there are any. */
static __always_inline struct thread *open_frames(struct slot *slot, u64 task, u64 *sp, void *frame)
{
	struct thread *t = thread_of(slot, task);

	if (!t)
		return 0;
	if (!BARE && !t->depth)
		return 0;
	*sp = stack_of(t, *sp, frame);
	if (is_foreign(t, *sp)) {
		if (t->depth) {
			t->foreign++;
			count(COUNT_FOREIGN);
		}
		if (!BARE)
			return 0;
		t = softirq_thread();
		if (!t)
			return 0;
	}
	if (!t->depth)
		return 0;
	if (top_of(t)->sp <= *sp)
		unwind(t, *sp);
	return t;
}

static __always_inline struct thread *open_trace(struct slot *slot, u64 task, u64 *sp, void *frame)
{
	struct thread *t = open_frames(slot, task, sp, frame);

	if (t && !t->depth) {
		abandon(slot, t);
		t = 0;
	}
	return t;
}

/* May a trace begin, and does anyone want this caller's? Counts the entry; 0 if not. */
static __always_inline struct cpu_counters *wanted(u64 net)
{
	struct cpu_counters *c = this_cpu();

	if (!c || !c->on)
		return 0;
	lock_xadd(&c->value[COUNT_ENTRIES], 1);
	if (!(KEEP_WHO)) {
		lock_xadd(&c->value[COUNT_FILTERED], 1);
		return 0;
	}
	return c;
}

static __always_inline int create_entry(void *ctx, struct slot *slot, u64 task, u64 sp, void *frame, u32 function,
					s16 family, u64 net, u64 sock, u64 protocol, u64 kern)
{
	u64 here = sp;
	struct thread *t = open_frames(slot, task, &here, frame);
	struct cpu_counters *c;
	u8 flags = (kern & 0xff) ? RECORD_KERN : 0;
	s16 type = 0;

	if (t && t->depth && nests(t, kern, frame)) {
		count(COUNT_NESTED);
		t->nested++;
		t->alloc_seen &= ~(2u << t->depth);
		push(t, here, function);
		return 0;
	}
	if (t) {
		t->flags |= RECORD_RETURN_MISSED;
		emit(0, t, function * 2);
		thread_free(slot, t);
	}
	c = wanted(net);
	if (!c)
		return 0;
	t = thread_create(slot, task);
	if (!t) {
		lock_xadd(&c->value[COUNT_LOST_NO_STATE], 1);
		return 0;
	}
	lock_xadd(&c->value[COUNT_BEGUN], 1);
	READ_ARGUMENT(u16, type, sock, OFF_SOCKET_TYPE);
	if (type == SOCK_RAW && !flags)
		flags |= cap_net_raw(net);
	begin(t, flags, family, type, protocol, netns_of_create(net, frame));
	if (SOCKS)
		*t->socket = sock;
	if (STACK_AT_ENTRY && !frame)
		*t->kernel_size = bpf_get_stack(ctx, *t->kernel, sizeof(*t->kernel), 0);
	push_first(t, stack_of(t, sp, frame), function);
	return 0;
}

/* A trace of a sock that no create makes: of the thread, or of the softirq that runs on top of it. */
static __always_inline void begin_bare(struct slot *slot, u64 task, u64 sp, void *frame, u32 function, u64 family, u64 net,
				       u64 prot, u64 kern)
{
	u64 stack = 0;
	u8 flags = RECORD_BARE | ((kern & 0xff) ? RECORD_KERN : 0);
	struct cpu_counters *c = wanted(net);
	struct thread *t;

	if (!c)
		return;
	t = thread_create(slot, task);
	if (!t) {
		lock_xadd(&c->value[COUNT_LOST_NO_STATE], 1);
		return;
	}
	sp = stack_of(t, sp, frame);
	READ(stack, bpf_get_current_task(), OFF_TASK_STACK);
	*t->stack = stack;
	if ((stack ^ sp) & STACK_MASK) {
		t = softirq_thread();
		if (!t)
			return;
		*t->softirq = 1;
		flags |= RECORD_SOFTIRQ;
	} else if (is_ksoftirqd()) {
		flags |= RECORD_SOFTIRQ;
	}
	lock_xadd(&c->value[COUNT_BEGUN], 1);
	begin(t, flags, family, 0, 0, netns_of(net));
	t->prot = prot;
	if (STACK_AT_ENTRY && !frame)
		*t->kernel_size = -EOPNOTSUPP;
	push_first(t, sp, function);
}

static __always_inline int sk_alloc_entry(struct slot *slot, u64 task, u64 sp, void *frame, u64 net, u64 family, u64 prot,
					  u64 kern)
{
	u64 entry = sp;
	struct thread *t = open_trace(slot, task, &sp, frame);

	/* A create calls sk_alloc() once and for its own family: any other is a later call's, and a return was missed. */
	if (t && (differs(t, family) || t->alloc_seen & 1U << (t->depth & 31) || is_bare(t))) {
		abandon(slot, t);
		t = 0;
	}
	if (!t) {
		count_outside(slot, (u32)family, 0);
		if (BARE)
			begin_bare(slot, task, entry, frame, FUNCTION_SK_ALLOC, (u32)family, net, prot, kern);
		return 0;
	}
	if (!t->prot)
		t->prot = prot;
	t->alloc_seen |= 1U << (t->depth & 31);
	push(t, sp, FUNCTION_SK_ALLOC);
	return 0;
}

static __always_inline int sk_prot_alloc_entry(struct slot *slot, u64 task, u64 sp, void *frame, u64 prot, u64 family)
{
	u64 entry = sp;
	struct thread *t = open_trace(slot, task, &sp, frame);

	if (t && top_of(t)->function == FUNCTION_SK_ALLOC) {
		if (is_bare(t))
			count_outside(slot, (u32)family, 1);
		push(t, sp, FUNCTION_SK_PROT_ALLOC);
		return 0;
	}
	/* sk_clone() of a connection being accepted, or of an sk_alloc() that nobody follows. */
	count_outside(slot, (u32)family, 1);
	if (t && !is_bare(t)) {
		/* In a softirq that PREEMPT_RT ran on this very stack. */
		t->foreign++;
		count(COUNT_FOREIGN);
		return 0;
	}
	if (!BARE)
		return 0;
	if (t)
		abandon(slot, t);
	begin_bare(slot, task, entry, frame, FUNCTION_SK_PROT_ALLOC, (u32)family, 0, prot, 0);
	return 0;
}

static __always_inline int request_module_entry(struct slot *slot, u64 task, u64 sp, void *frame, u64 fmt, u64 family,
						u64 protocol, u64 type)
{
	struct thread *t = open_trace(slot, task, &sp, frame);
	struct inetprobe_call *call;
	char text[28] = {};
	int length;

	if (!t)
		return 0;
	/* The two formats of inet_create() differ in length alone: "net-pf-%d-proto-%d" with and without "-type-%d". */
	length = bpf_probe_read_kernel_str(text, sizeof(text), (void *)fmt);
	if (text[0] != 'n' || text[3] != '-' || text[4] != 'p' || text[7] != '%')
		length = 0;
	/* It asks before sk_alloc(), and for nothing else: any other request is a later call's. */
	if ((length != 19 && length != 27) || differs(t, family) || t->alloc_seen) {
		abandon(slot, t);
		return 0;
	}
	call = push(t, sp, FUNCTION_REQUEST_MODULE);
	if (!call)
		return 0;
	t->modules++;
	call->module = length == 27 ? MODULE_PROTO_TYPE : MODULE_PROTO;
	call->module_family = family;
	call->module_protocol = protocol;
	call->module_type = length == 27 ? type : 0;
	return 0;
}

/* A function of --also: shown where an open trace calls it. */
static __always_inline int also_entry(struct slot *slot, u64 task, u64 sp, void *frame, u32 function)
{
	struct thread *t = open_trace(slot, task, &sp, frame);

	if (t)
		push(t, sp, function);
	return 0;
}

#endif
