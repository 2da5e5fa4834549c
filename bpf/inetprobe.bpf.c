/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The kernel side: one record for each outermost inet_create() or inet6_create(), and with BARE for each sock that
 * neither made.
 *
 * Constants come in as -D from inetprobe/kernel/program/program.py: OFF_* from the kernel's BTF, MECHANISM_<function> as KPROBE or
 * FENTRY, TASK_STORAGE (Linux 5.12: task storage, and a current task whose type the verifier knows), FOLLOW, BARE,
 * ALSO(X), the filters KEEP_WHO and KEEP_WHAT, RING_PAGES, CPUS, WAKEUP_BYTES and WAKEUP_WINDOW, STACK_SIZE, KERNEL and
 * KERNEL_BYTES (where the kernel itself lies), those of inetprobe/kernel/maps/counters.py for its two maps, with --sock
 * INETPROBE_SOCKS and what bpf/sock.h names, with --stack INETPROBE_STACKS and what bpf/stack.h names, with serve
 * SLOW_NS, RATE_LIMIT and what bpf/cells.h names. No kernel structure header is included.
 *
 * All that touches a map is in this one file: bcc rewrites map operations in no other. What a thread is in the middle of
 * is in bpf/thread.h, where that is kept in bpf/slots.h.
 */
#include <linux/types.h>
#include <asm/ptrace.h>
#include "record.h"
#include "caller.h"
#include "pair.h"
#include "slots.h"
#ifdef BUCKET
#include "cells.h"
#endif
#if INETPROBE_SOCKS
#include "sock.h"
#endif
#if INETPROBE_STACKS
#include "stack.h"
#endif

#define ANCESTORS 2 /* of a process not known to be followed: does one say that it is? */
#define NO_PRODUCER (~0u)

/* First: bcc numbers maps from -1 down in order of declaration, and has no method of its own for ringbuf_query. */
BPF_RINGBUF_OUTPUT(records, RING_PAGES);
#define RECORDS ((void *)bpf_pseudo_fd(1, -1))
#ifdef BUCKET
BPF_F_TABLE("array", u32, struct cpu_cells, cells, CPUS, 1024 /* BPF_F_MMAPABLE */);
#endif
#ifdef FOLLOW
BPF_HASH(followed, u32, u8, 65536); /* thread groups of COMMAND and all it started */
#ifdef PIDNS_INO
BPF_F_TABLE("array", u32, u64, command, 1, 0); /* COMMAND's process id in inetprobe's own pid namespace */
#endif
#endif
#ifdef TASK_STORAGE
BPF_TASK_STORAGE(strays, struct thread);
#else
BPF_HASH(strays, u32, struct thread, 16384);
BPF_F_TABLE("array", u32, struct thread, blank, 1, 0);
#endif
#ifdef BARE
BPF_PERCPU_ARRAY(softirqs, struct thread, 1); /* frames on the stack of this CPU's softirqs, which never sleep */
#endif

static __always_inline struct thread *stray_of(u64 task)
{
#ifdef TASK_STORAGE
	struct thread *t = strays.task_storage_get(bpf_get_current_task_btf(), 0, 0);
#else
	u32 tid = bpf_get_current_pid_tgid();
	struct thread *t = strays.lookup(&tid);
#endif

	return t && t->owner == task ? t : 0;
}

/* The current thread's frames, if it has any. */
static __always_inline struct thread *thread_of(struct slot *slot, u64 task)
{
	if (slot->thread.owner == task)
		return &slot->thread;
	return slot->strays ? stray_of(task) : 0;
}

static __always_inline struct thread *make_stray(u64 task)
{
#ifdef TASK_STORAGE
	struct thread *t = strays.task_storage_get(bpf_get_current_task_btf(), 0, 1 /* BPF_LOCAL_STORAGE_GET_F_CREATE */);
#else
	u32 tid = bpf_get_current_pid_tgid(), zero = 0;
	struct thread *t = blank.lookup(&zero);

	if (!t || strays.update(&tid, t))
		return 0;
	t = strays.lookup(&tid);
#endif
	if (t) {
		t->owner = task;
		t->stray = 1;
	}
	return t;
}

/*
 * Room for the current thread's frames. Of two threads that claim a slot at once, each of which counts itself before it
 * looks, at most one sees itself alone; only who does owns it.
 */
static __always_inline struct thread *thread_create(struct slot *slot, u64 task)
{
	struct thread *t;

#ifdef BARE
	t = thread_of(slot, task); /* it has one already where a softirq made a sock on top of it */
	if (t)
		return t;
#endif
	lock_xadd(&slot->claims, 1);
	if (*(volatile u64 *)&slot->claims == 1) {
		slot->thread.owner = task;
		return &slot->thread;
	}
	lock_xadd(&slot->claims, -1);
	lock_xadd(&slot->strays, 1);
	t = make_stray(task);
	if (!t)
		lock_xadd(&slot->strays, -1);
	return t;
}

static __always_inline void free_stray(struct thread *t)
{
	lock_xadd(&slot_of(t->owner)->strays, -1);
	t->owner = 0;
#ifndef TASK_STORAGE
	u32 tid = bpf_get_current_pid_tgid();

	strays.delete(&tid);
#endif
}

static __always_inline void thread_free(struct slot *slot, struct thread *t)
{
#ifdef BARE
	if (t->softirq)
		return;
#endif
	if (t->stray) {
		free_stray(t);
		return;
	}
	*(volatile u64 *)&t->owner = 0;
	lock_xadd(&slot->claims, -1);
}

#ifdef FOLLOW
static __always_inline int is_followed(void)
{
	u32 pid = WHO_PID;
	u64 task = bpf_get_current_task();
	u8 yes = 1;

	if (followed.lookup(&pid))
		return 1;
	/* Where the kernel preempts programs, a fork that comes in between runs none: then an ancestor tells. */
	for (u32 i = 0; i < ANCESTORS; i++) {
		u32 ancestor = 0;

		READ(task, task, OFF_TASK_REAL_PARENT);
		READ(ancestor, task, OFF_TASK_TGID);
		if (!followed.lookup(&ancestor))
			continue;
		followed.update(&pid, &yes); /* where it is full, the next call asks the ancestors again */
		return 1;
	}
#ifdef PIDNS_INO
	{
		/* COMMAND's first call: only here are its process ids in both namespaces known. */
		struct bpf_pidns_info ns = {};
		u32 zero = 0;
		u64 *wanted = command.lookup(&zero);

		if (wanted && !bpf_get_ns_current_pid_tgid(PIDNS_DEV, PIDNS_INO, &ns, sizeof(ns)) && ns.tgid == *wanted) {
			followed.update(&pid, &yes);
			return 1;
		}
	}
#endif
	return 0;
}
#endif

static __always_inline u64 wakeup(void)
{
	/* Only while so much has just come together: each wakeup is an interrupt, and the reader may be on its way. */
	u64 beyond = bpf_ringbuf_query(RECORDS, 0 /* BPF_RB_AVAIL_DATA */) - WAKEUP_BYTES;

	return beyond < WAKEUP_WINDOW ? 2 /* BPF_RB_FORCE_WAKEUP */ : 1 /* BPF_RB_NO_WAKEUP */;
}

#ifdef BUCKET
/* Counts all that is to be known of a trace that is over. Is it one to send, too? */
static __always_inline int count_trace(struct thread *t, struct cpu_counters *c, u32 cpu, u32 outcome)
{
	struct inetprobe_call *create = &t->calls[0];
	struct create_cells *its;
	struct cpu_cells *all = cells.lookup(&cpu);
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
	second = bpf_ktime_get_boot_ns() >> 30; /* about one */
	if (all->second != second) {
		all->second = second;
		all->sent = 0;
	}
	if (all->sent++ < RATE_LIMIT)
		return 1;
	lock_xadd(&c->value[COUNT_RATE_LIMITED], 1);
	return 0;
}
#endif

/* The trace is over: count how it ended and send it. Everything the filters ask of the outcome is known here. */
static __always_inline void emit(void *ctx, struct thread *t, u32 producer)
{
	u64 cpu = bpf_get_smp_processor_id(), n = t->ncalls, seq;
	struct cpu_counters *c = counters_of(cpu);
	struct inetprobe_record *r;
	u32 outcome = outcome_of(t);

	t->depth = 0;
	if (!c)
		return;
	lock_xadd(&c->value[COUNT_ENDED], 1);
#ifdef KEEP_WHAT
	if (!(KEEP_WHAT)) {
		lock_xadd(&c->value[COUNT_FILTERED], 1);
		return;
	}
#endif
#ifdef BUCKET
	if (!count_trace(t, c, cpu, outcome))
		return;
#endif
	seq = c->seq[producer & (PRODUCERS - 1)]++;
	r = records.ringbuf_reserve(sizeof(*r));
	if (!r) {
		lock_xadd(&c->value[COUNT_LOST_RING_FULL], 1);
		return;
	}
	r->start_ns = t->start_ns;
	r->seq = seq * PRODUCERS + producer;
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
#if INETPROBE_CALLS > 8
		asm volatile("" : "+r"(i)); /* or clang unrolls a part, and the verifier no longer sees that it ends */
#endif
	}
#if INETPROBE_SOCKS
	__builtin_memset(r->sock, 0, sizeof(r->sock));
	if (t->socket && t->calls[0].flags & CALL_RETURNED && !t->calls[0].result)
		fill_sock(r->sock, t->socket);
#endif
#ifndef BUCKET
	lock_xadd(&c->value[outcome], 1);
#endif
#if INETPROBE_STACKS
	r->stack[0] = 0;
	if (fill_frames(r->frames, ctx, t->calls, t->flags, t->kernel, t->kernel_size)) {
		records.ringbuf_submit(r, 2 /* BPF_RB_FORCE_WAKEUP: the process may end at any moment, and its map with it */);
		return;
	}
#endif
	records.ringbuf_submit(r, wakeup());
}

/* The trace's outermost return was missed. The programs of create send what there is of it; in the others that would
 * double the code for the rarest of cases, so there it is only counted. */
static __always_inline void abandon(struct slot *slot, struct thread *t)
{
	t->depth = 0;
	count(COUNT_ENDED);
	count(COUNT_LOST_RETURN_MISSED);
	thread_free(slot, t);
}

/* The open frames this call is on top of, stale ones dropped; an interrupt's call is set aside. Depth 0: all were.
 * `sp` becomes the stack pointer where there are any. */
static __always_inline struct thread *open_frames(struct slot *slot, u64 task, u64 *sp, void *frame)
{
	struct thread *t = thread_of(slot, task);

	if (!t)
		return 0;
#ifndef BARE
	if (!t->depth)
		return 0;
#endif
	*sp = stack_of(t, *sp, frame);
	if (is_foreign(t, *sp)) {
		if (t->depth) {
			t->foreign++;
			count(COUNT_FOREIGN);
		}
#ifdef BARE
		u32 zero = 0;

		t = softirqs.lookup(&zero);
		if (!t)
			return 0;
#else
		return 0;
#endif
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
#ifdef KEEP_WHO
	if (!(KEEP_WHO)) {
		lock_xadd(&c->value[COUNT_FILTERED], 1);
		return 0;
	}
#endif
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
		t->allocated &= ~(2u << t->depth);
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
	if (type == 3 /* SOCK_RAW */ && !flags)
		flags |= cap_net_raw(net);
	begin(t, flags, family, type, protocol, netns_of_create(net, frame));
#if INETPROBE_SOCKS
	t->socket = sock;
#endif
#if INETPROBE_STACKS
	if (STACK_AT_ENTRY && !frame)
		t->kernel_size = bpf_get_stack(ctx, t->kernel, sizeof(t->kernel), 0);
#endif
	push_first(t, stack_of(t, sp, frame), function);
	return 0;
}

#ifdef BARE
/* A trace of a sock that no create makes: of the thread, or of the softirq that runs on top of it. */
static __always_inline void begin_bare(struct slot *slot, u64 task, u64 sp, void *frame, u32 function, u64 family, u64 net,
				       u64 prot, u64 kern)
{
	u64 stack = 0;
	u8 flags = RECORD_BARE | ((kern & 0xff) ? RECORD_KERN : 0);
	struct cpu_counters *c = wanted(net);
	struct thread *t;
	u32 zero = 0;

	if (!c)
		return;
	t = thread_create(slot, task);
	if (!t) {
		lock_xadd(&c->value[COUNT_LOST_NO_STATE], 1);
		return;
	}
	sp = stack_of(t, sp, frame);
	READ(stack, bpf_get_current_task(), OFF_TASK_STACK);
	t->stack = stack;
	if ((stack ^ sp) & STACK_MASK) {
		t = softirqs.lookup(&zero);
		if (!t)
			return;
		t->softirq = 1;
		flags |= RECORD_SOFTIRQ;
	} else if (is_ksoftirqd()) {
		flags |= RECORD_SOFTIRQ;
	}
	lock_xadd(&c->value[COUNT_BEGUN], 1);
	begin(t, flags, family, 0, 0, netns_of(net));
	t->prot = prot;
#if INETPROBE_STACKS
	if (STACK_AT_ENTRY && !frame)
		t->kernel_size = -95 /* EOPNOTSUPP */;
#endif
	push_first(t, sp, function);
}
#endif

static __always_inline int sk_alloc_entry(struct slot *slot, u64 task, u64 sp, void *frame, u64 net, u64 family, u64 prot,
					  u64 kern)
{
	u64 entry = sp;
	struct thread *t = open_trace(slot, task, &sp, frame);

	/* A create calls sk_alloc() once and for its own family: any other is a later call's, and a return was missed. */
	if (t && (differs(t, family) || t->allocated & 1U << (t->depth & 31) || is_bare(t))) {
		abandon(slot, t);
		t = 0;
	}
	if (!t) {
		count_family(slot, (u32)family, 0);
#ifdef BARE
		begin_bare(slot, task, entry, frame, FUNCTION_SK_ALLOC, (u32)family, net, prot, kern);
#endif
		return 0;
	}
	if (!t->prot)
		t->prot = prot;
	t->allocated |= 1U << (t->depth & 31);
	push(t, sp, FUNCTION_SK_ALLOC);
	return 0;
}

static __always_inline int sk_prot_alloc_entry(struct slot *slot, u64 task, u64 sp, void *frame, u64 prot, u64 family)
{
	u64 entry = sp;
	struct thread *t = open_trace(slot, task, &sp, frame);

	if (t && top_of(t)->function == FUNCTION_SK_ALLOC) {
		if (is_bare(t))
			count_family(slot, (u32)family, 1);
		push(t, sp, FUNCTION_SK_PROT_ALLOC);
		return 0;
	}
	/* sk_clone() of a connection being accepted, or of an sk_alloc() that nobody follows. */
	count_family(slot, (u32)family, 1);
	if (t && !is_bare(t)) {
		/* In a softirq that PREEMPT_RT ran on this very stack. */
		t->foreign++;
		count(COUNT_FOREIGN);
		return 0;
	}
#ifdef BARE
	if (t)
		abandon(slot, t);
	begin_bare(slot, task, entry, frame, FUNCTION_SK_PROT_ALLOC, (u32)family, 0, prot, 0);
#endif
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
	if ((length != 19 && length != 27) || differs(t, family) || t->allocated) {
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

/* The thread whose top frame is that of the call that returns, once frames above it, whose returns were missed, are
 * gone; of depth 0 where its own frame cannot be live either, 0 where it has none. */
static __always_inline struct thread *find_frame(struct thread *t, u64 sp, u32 function)
{
#ifdef BARE
	u32 zero = 0;
#endif

	if (is_foreign(t, sp)) {
#ifdef BARE
		t = softirqs.lookup(&zero);
		if (!t || !t->depth)
			return 0;
		if (is_top(t, sp, function))
			return t;
#else
		return 0; /* its entry was set aside and counted */
#endif
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
#ifndef BARE
	if (!t->depth)
		return 0;
#endif
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

#define LEAVE_INT(id, producer) leave(ctx, slot, task, sp, frame, id, (u32)result, 0, producer)
#ifdef BARE
#define LEAVE_SOCK(id) leave(ctx, slot, task, sp, frame, id, result, CALL_POINTER, id * 2 + 1)
#else
#define LEAVE_SOCK(id) leave(ctx, slot, task, sp, frame, id, result, CALL_POINTER, NO_PRODUCER) /* only a create is ever outermost */
#endif
#define CREATE(fn, id, family)                                                                                        \
	PAIR(fn, id, 4, create_entry(ctx, slot, task, sp, frame, id, family, a0, a1, (u32)a2, a3), LEAVE_INT(id, id * 2 + 1))

CREATE(inet_create, FUNCTION_INET_CREATE, 2)
CREATE(inet6_create, FUNCTION_INET6_CREATE, 10)
PAIR(sk_alloc, FUNCTION_SK_ALLOC, 5, sk_alloc_entry(slot, task, sp, frame, a0, a1, a3, a4), LEAVE_SOCK(FUNCTION_SK_ALLOC))
PAIR(sk_prot_alloc, FUNCTION_SK_PROT_ALLOC, 3, sk_prot_alloc_entry(slot, task, sp, frame, a0, a2),
     LEAVE_SOCK(FUNCTION_SK_PROT_ALLOC))
/* Variadic: fentry refuses it. */
KPROBE_PAIR(__request_module, FUNCTION_REQUEST_MODULE, 5, request_module_entry(slot, task, sp, frame, a1, a2, a3, a4),
	    LEAVE_INT(FUNCTION_REQUEST_MODULE, NO_PRODUCER))

/* --also: ALSO(X) is a list of X(function, id, mechanism, number of arguments, what it returns). */
#ifdef ALSO
#define RETURNS_VOID(id) leave(ctx, slot, task, sp, frame, id, 0, CALL_VOID, NO_PRODUCER)
#define RETURNS_POINTER(id) leave(ctx, slot, task, sp, frame, id, result, CALL_POINTER, NO_PRODUCER)
#define RETURNS_8(id) leave(ctx, slot, task, sp, frame, id, (u8)result, 0, NO_PRODUCER)
#define RETURNS_16(id) leave(ctx, slot, task, sp, frame, id, (u16)result, 0, NO_PRODUCER)
#define RETURNS_32(id) leave(ctx, slot, task, sp, frame, id, (u32)result, 0, NO_PRODUCER)
#define ALSO_PAIR(fn, id, mechanism, nargs, returns)                                                                  \
	PAIR_BY(mechanism, fn, id, nargs, also_entry(slot, task, sp, frame, id), RETURNS_##returns(id))
ALSO(ALSO_PAIR)
#endif

/* A thread that ends within a trace: its return was missed, or the kernel killed it there. */
int thread_exit(struct bpf_raw_tracepoint_args *ctx)
{
	u64 task = bpf_get_current_task();
	struct slot *slot = slot_of(task);
	struct thread *t = thread_of(slot, task);
#ifdef FOLLOW
	u32 pid = WHO_PID, live = 1;
	u64 signal = 0;
#endif

	if (t) {
		if (t->depth) {
			t->depth = 0;
			count(COUNT_ENDED);
			count(COUNT_LOST_THREAD_DIED);
		}
		thread_free(slot, t);
	}
#ifdef FOLLOW
	if (!followed.lookup(&pid))
		return 0;
	READ(signal, ctx->args[0], OFF_TASK_SIGNAL);
	READ(live, signal, OFF_SIGNAL_LIVE);
	if (!live)
		followed.delete(&pid);
#endif
	return 0;
}

#ifdef FOLLOW
/* The set of thread groups that COMMAND became. */
int follow_fork(struct bpf_raw_tracepoint_args *ctx)
{
	u32 parent = WHO_PID, child = 0;
	u8 yes = 1;

	if (!is_followed())
		return 0;
	READ(child, ctx->args[1], OFF_TASK_TGID);
	if (child != parent && followed.update(&child, &yes))
		count(COUNT_UNFOLLOWED);
	return 0;
}
#endif
