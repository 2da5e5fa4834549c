/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The kernel side: one record for each outermost inet_create() or inet6_create(), and with BARE for each sock that
 * neither made.
 *
 * Constants come in as -D from inetprobe/kernel/bpf.py: OFF_* from the kernel's BTF, MECHANISM_<function> as KPROBE or
 * FENTRY, TASK_STORAGE, FOLLOW, BARE, ALSO(X), the filters KEEP_WHO and KEEP_WHAT, RING_PAGES, CPUS, WAKEUP_BYTES,
 * STACK_SIZE, with --sock INETPROBE_SOCKS and what bpf/sock.h names, with serve SLOW_NS, RATE_LIMIT and what
 * bpf/cells.h names. No kernel structure header is included. All that touches a map is in this one file: bcc rewrites
 * map operations in no other.
 *
 * A thread's open calls are a stack of frames, each with the stack pointer at its entry. Within one system call, calls
 * nest downwards, so the stack pointer says which frames can still be live: one at or below the pointer of a later
 * entry has returned, and if its return was not seen, it was missed. From one system call to the next the kernel moves
 * the stack's start at random (CONFIG_RANDOMIZE_KSTACK_OFFSET), so across them the pointer proves nothing: there it is
 * what inet_create() can call, and how often, that tells a stale frame. A pointer on another stack is an interrupt's.
 */
#include <linux/types.h>
#include <asm/ptrace.h>
#include "record.h"
#include "caller.h"
#include "pair.h"
#ifdef BOUNDS
#include "cells.h"
#endif
#if INETPROBE_SOCKS
#include "sock.h"
#endif

#define DEPTH (INETPROBE_CALLS > 8 ? 16 : 8) /* open calls of one thread: a power of two */
#define ANCESTORS 2 /* of a process not known to be followed: does one say that it is? */
#define NO_PRODUCER (~0u)
#define STACK_MASK (~(u64)(STACK_SIZE - 1)) /* task stacks are aligned to their size */

struct thread {
	u64 sp[DEPTH];		/* stack pointer at the entry of each open call */
	u8 call[DEPTH];		/* its index in calls[] */
	u8 function[DEPTH];
	u32 depth;
	u32 ncalls;
	u32 open;		/* bit per function: is one open? */
	u32 allocated;		/* bit per depth: has the create above it called sk_alloc()? */
	u64 start_ns;
	u64 owner;		/* task the frames belong to: a hash entry can outlive its thread */
	u64 prot;
	u64 frame;		/* where stack_of() turns a context's address into a number */
#if INETPROBE_SOCKS
	u64 socket;		/* that the outermost create was given; 0 of a bare sock */
#endif
#ifdef BARE
	u64 stack;		/* the task's own */
	u8 softirq;		/* is this the CPU's and not a thread's? */
#endif
	u32 netns;
	s32 protocol;
	s16 family;
	s16 type;
	u32 foreign;
	u8 flags;
	u8 modules;		/* module requests seen */
	u8 nested;		/* creates within the outermost one */
	struct inetprobe_call calls[INETPROBE_CALLS];
};

struct cpu_counters {
	u64 value[COUNTERS];
	u64 seq[PRODUCERS];
	u64 runs[PROGRAMS];	/* of kprobe programs: what the kernel counts as a hit and did not run shows here */
	u64 other[FAMILIES];	/* sk_alloc() outside every create, by family */
	u64 outside[FAMILIES];	/* sk_prot_alloc() outside every create: sk_alloc()'s own and those of accepted children */
};

/* First: bcc numbers maps from -1 down in order of declaration, and has no method of its own for ringbuf_query. */
BPF_RINGBUF_OUTPUT(records, RING_PAGES);
#define RECORDS ((void *)bpf_pseudo_fd(1, -1))
BPF_F_TABLE("array", u32, struct cpu_counters, counters, CPUS, 1024 /* BPF_F_MMAPABLE */);
#ifdef BOUNDS
BPF_F_TABLE("array", u32, struct cpu_cells, cells, CPUS, 1024);
#endif
/* [0]: do traces begin? [1]: COMMAND's process id in inetprobe's own pid namespace, where that is not the host's. */
BPF_F_TABLE("array", u32, u64, control, 2, 1024);
#ifdef FOLLOW
BPF_HASH(followed, u32, u8, 65536); /* thread groups of COMMAND and all it started */
#endif
#ifdef TASK_STORAGE
BPF_TASK_STORAGE(threads, struct thread);
#else
BPF_HASH(threads, u32, struct thread, 16384);
BPF_F_TABLE("array", u32, struct thread, blank, 1, 0);
#endif
#ifdef BARE
BPF_PERCPU_ARRAY(softirqs, struct thread, 1); /* frames on the stack of this CPU's softirqs, which never sleep */
#endif

static __always_inline struct cpu_counters *this_cpu(void)
{
	u32 cpu = bpf_get_smp_processor_id();

	return counters.lookup(&cpu);
}

static __always_inline void count(u32 which)
{
	struct cpu_counters *c = this_cpu();

	if (c)
		lock_xadd(&c->value[which], 1);
}

static __always_inline void count_run(u32 program)
{
	struct cpu_counters *c = this_cpu();

	if (c)
		c->runs[program & (PROGRAMS - 1)]++; /* no kprobe program runs on top of another */
}

/* fentry programs may be interrupted by others, and where the kernel has no guard (before 5.12) by themselves. */
static __always_inline void count_fentry_run(u32 program)
{
#ifdef BOUNDS
	struct cpu_counters *c = this_cpu();

	if (c)
		lock_xadd(&c->runs[program & (PROGRAMS - 1)], 1);
#endif
}

static __always_inline void count_family(u32 family, int allocated)
{
	struct cpu_counters *c = this_cpu();
	u32 slot = family < FAMILIES ? family : FAMILIES - 1;

	if (!c)
		return;
	if (allocated)
		lock_xadd(&c->outside[slot & (FAMILIES - 1)], 1);
	else
		lock_xadd(&c->other[slot & (FAMILIES - 1)], 1);
}

static __always_inline struct thread *thread_lookup(void)
{
#ifdef TASK_STORAGE
	return threads.task_storage_get(bpf_get_current_task_btf(), 0, 0);
#else
	u32 tid = bpf_get_current_pid_tgid();
	struct thread *t = threads.lookup(&tid);

	if (t && t->owner != bpf_get_current_task())
		return 0;
	return t;
#endif
}

static __always_inline struct thread *thread_create(void)
{
#ifdef TASK_STORAGE
	return threads.task_storage_get(bpf_get_current_task_btf(), 0, 1 /* BPF_LOCAL_STORAGE_GET_F_CREATE */);
#else
	u32 tid = bpf_get_current_pid_tgid(), zero = 0;
	struct thread *t = blank.lookup(&zero);

	if (!t || threads.update(&tid, t))
		return 0;
	t = threads.lookup(&tid);
	if (t)
		t->owner = bpf_get_current_task(); /* also where a softirq on top of it keeps its frames elsewhere */
	return t;
#endif
}

static __always_inline void thread_free(struct thread *t)
{
#ifndef TASK_STORAGE
	u32 tid = bpf_get_current_pid_tgid();

#ifdef BARE
	if (t->softirq)
		return;
#endif
	threads.delete(&tid);
#endif
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
		u32 one = 1;
		u64 *wanted = control.lookup(&one);

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
	/* BPF_RB_AVAIL_DATA; BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP */
	return bpf_ringbuf_query(RECORDS, 0) >= WAKEUP_BYTES ? 2 : 1;
}

#ifdef BOUNDS
/* Counts all that is to be known of a trace that is over. Is it one to send, too? */
static __always_inline int count_trace(struct thread *t, struct cpu_counters *c, u32 cpu, u32 outcome)
{
	struct inetprobe_call *create = &t->calls[0];
	struct create_cells *its;
	struct cpu_cells *all = cells.lookup(&cpu);
	u64 second = bpf_ktime_get_boot_ns() >> 30; /* about one */

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
			if (call->flags & CALL_RETURNED)
				count_duration(&its->calls[call->function & (CELL_CALLS - 1)], call->duration_ns);
		}
	}
	lock_xadd(&c->value[outcome], 1);
	if (outcome == COUNT_COMPLETE && !t->modules && !create->result && create->duration_ns < SLOW_NS)
		return 0;
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
static __always_inline void emit(struct thread *t, u32 producer)
{
	struct cpu_counters *c = this_cpu();
	u32 cpu = bpf_get_smp_processor_id();
	struct inetprobe_record *r;
	u32 n = t->ncalls, outcome = t->flags & RECORD_RETURN_MISSED ? COUNT_RETURN_MISSED
		: t->flags & RECORD_ENTRY_MISSED ? COUNT_ENTRY_MISSED
		: t->flags & RECORD_TRUNCATED ? COUNT_TRUNCATED : COUNT_COMPLETE;
	u64 seq;

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
#ifdef BOUNDS
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
	r->prot[0] = 0;
	if (t->prot)
		bpf_probe_read_kernel_str(r->prot, sizeof(r->prot), (void *)(t->prot + OFF_PROTO_NAME));
	for (u32 i = 0; i < INETPROBE_CALLS; i++) {
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
#ifndef BOUNDS
	lock_xadd(&c->value[outcome], 1);
#endif
	records.ringbuf_submit(r, wakeup());
}

/* Close the top frame. */
static __always_inline void pop(struct thread *t)
{
	u32 top = (t->depth - 1) & (DEPTH - 1);

	t->open &= ~(1u << (t->function[top] & 31));
	t->depth--;
}

/* Drop the frames that cannot be live at `sp`: their returns were missed. */
static __always_inline void unwind(struct thread *t, u64 sp)
{
	for (u32 i = 0; i < DEPTH; i++) {
		if (!t->depth || t->sp[(t->depth - 1) & (DEPTH - 1)] > sp)
			return;
		t->flags |= RECORD_RETURN_MISSED;
		pop(t);
	}
}

/* The trace's outermost return was missed. The programs of create send what there is of it; in the others that would
 * double the code for the rarest of cases, so there it is only counted. */
static __always_inline void abandon(struct thread *t)
{
	t->depth = 0;
	count(COUNT_ENDED);
	count(COUNT_LOST_RETURN_MISSED);
	thread_free(t);
}

static __always_inline struct inetprobe_call *push(struct thread *t, u64 sp, u32 function, u64 now)
{
	u32 depth = t->depth & (DEPTH - 1), n = t->ncalls & (INETPROBE_CALLS - 1);
	struct inetprobe_call *call = &t->calls[n];

	if (t->depth >= DEPTH || t->ncalls >= INETPROBE_CALLS) {
		t->flags |= RECORD_TRUNCATED;
		return 0;
	}
	t->sp[depth] = sp;
	t->call[depth] = n;
	t->function[depth] = function;
	t->open |= 1u << function;
	call->start_ns = now - t->start_ns;
	call->duration_ns = 0;
	call->result = 0;
	call->function = function;
	call->depth = depth;
	call->flags = 0;
	call->module = MODULE_NONE;
	call->module_protocol = 0;
	call->module_family = 0;
	call->module_type = 0;
	t->depth++;
	t->ncalls++;
	return call;
}

/*
 * The stack pointer of a probe. A kprobe has it in its registers. fentry has none, but its context lies on the traced
 * stack below the caller's frame, at the same place at entry and exit; the verifier allows no arithmetic on a context's
 * address until it has been through a map. An interrupt that does the same in between puts back what it found.
 */
static __always_inline u64 stack_of(struct thread *t, u64 sp, void *frame)
{
	volatile u64 *place = &t->frame;
	u64 before;

	if (!frame)
		return sp;
	before = *place;
	*place = (u64)frame;
	sp = *place;
	*place = before;
	return sp;
}

/* Not on the stack the trace is on? */
static __always_inline int is_foreign(struct thread *t, u64 sp)
{
#ifdef BARE
	return ((t->stack ^ sp) & STACK_MASK) != 0;
#else
	return ((t->sp[0] ^ sp) & STACK_MASK) != 0;
#endif
}

/* The open frames this call is on top of, stale ones dropped; an interrupt's call is set aside. Depth 0: all were. */
static __always_inline struct thread *open_frames(u64 sp, void *frame)
{
	struct thread *t = thread_lookup();

	if (!t)
		return 0;
#ifndef BARE
	if (!t->depth)
		return 0;
#endif
	sp = stack_of(t, sp, frame);
	if (is_foreign(t, sp)) {
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
	unwind(t, sp);
	return t;
}

static __always_inline struct thread *open_trace(u64 sp, void *frame)
{
	struct thread *t = open_frames(sp, frame);

	if (t && !t->depth) {
		abandon(t);
		t = 0;
	}
	return t;
}

/*
 * Does the open trace's protocol make a socket of its own in its init, as MPTCP and SMC do? It does so for the kernel,
 * and once, after sk_alloc(). Anything else is a later system call, and the open trace's return was missed.
 */
static __always_inline int nests(struct thread *t, u64 kern, void *frame)
{
	u64 name = 0;

	if (!(kern & 0xff) || t->flags & RECORD_BARE)
		return 0;
	if (frame)
		return 1; /* fexit has no limit of calls in flight to miss one by */
	if (t->nested || !t->allocated || t->open & (1 << FUNCTION_SK_ALLOC))
		return 0;
	READ(name, t->prot, OFF_PROTO_NAME);
	return (u32)name == 0x4354504d /* "MPTC" */ || name == 0x434d535f54454e49ULL /* "INET_SMC" */ ||
		name == 0x4d535f3654454e49ULL /* "INET6_SM" */;
}

static __always_inline void begin(struct thread *t, u64 now, u8 flags, s16 family, u64 net)
{
	count(COUNT_BEGUN);
	t->depth = 0;
	t->ncalls = 0;
	t->open = 0;
	t->allocated = 0;
	t->foreign = 0;
	t->modules = 0;
	t->nested = 0;
	t->prot = 0;
	t->start_ns = now;
	t->owner = bpf_get_current_task();
	t->netns = netns_of(net);
	t->protocol = 0;
	t->family = family;
	t->type = 0;
	t->flags = flags;
#if INETPROBE_SOCKS
	t->socket = 0;
#endif
#ifdef BARE
	READ(t->stack, t->owner, OFF_TASK_STACK);
#endif
}

/* May a trace begin, and does anyone want this caller's? Counts the entry. */
static __always_inline int wanted(u64 net)
{
	u32 zero = 0;
	u64 *on = control.lookup(&zero);

	if (!on || !*on)
		return 0;
	count(COUNT_ENTRIES);
#ifdef KEEP_WHO
	if (!(KEEP_WHO)) {
		count(COUNT_FILTERED);
		return 0;
	}
#endif
	return 1;
}

static __always_inline int create_entry(u64 sp, void *frame, u32 function, s16 family, u64 net, u64 sock,
					u64 protocol, u64 kern)
{
	u64 now = bpf_ktime_get_boot_ns();
	struct thread *t = open_frames(sp, frame);

	if (t && t->depth && nests(t, kern, frame)) {
		count(COUNT_NESTED);
		t->nested++;
		t->allocated &= ~(2u << t->depth);
		push(t, stack_of(t, sp, frame), function, now);
		return 0;
	}
	if (t) {
		t->flags |= RECORD_RETURN_MISSED;
		emit(t, function * 2);
		thread_free(t);
	}
	if (!wanted(net))
		return 0;
	t = thread_create();
	if (!t) {
		count(COUNT_LOST_NO_STATE);
		return 0;
	}
	begin(t, now, (kern & 0xff) ? RECORD_KERN : 0, family, net);
	t->protocol = protocol;
#if INETPROBE_SOCKS
	t->socket = sock;
#endif
	READ(t->type, sock, OFF_SOCKET_TYPE);
	if (t->type == 3 /* SOCK_RAW */ && !t->flags)
		t->flags |= cap_net_raw(net);
	push(t, stack_of(t, sp, frame), function, now);
	return 0;
}

#ifdef BARE
/* A trace of a sock that no create makes: of the thread, or of the softirq that runs on top of it. */
static __always_inline void begin_bare(u64 sp, void *frame, u32 function, u64 family, u64 net, u64 prot, u64 kern)
{
	u64 now = bpf_ktime_get_boot_ns(), stack = 0;
	u8 flags = RECORD_BARE | ((kern & 0xff) ? RECORD_KERN : 0);
	struct thread *t;
	u32 zero = 0;

	if (!wanted(net))
		return;
	t = thread_lookup();
	if (!t)
		t = thread_create();
	if (!t) {
		count(COUNT_LOST_NO_STATE);
		return;
	}
	sp = stack_of(t, sp, frame);
	READ(stack, bpf_get_current_task(), OFF_TASK_STACK);
	if (!t->stack)
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
	begin(t, now, flags, family, net);
	t->prot = prot;
	push(t, sp, function, now);
}
#endif

static __always_inline int sk_alloc_entry(u64 sp, void *frame, u64 net, u64 family, u64 prot, u64 kern)
{
	struct thread *t = open_trace(sp, frame);
	u32 here;

	/* A create calls sk_alloc() once and for its own family: any other is a later call's, and a return was missed. */
	if (t && ((s16)family != t->family || t->allocated >> (t->depth & 31) & 1 || t->flags & RECORD_BARE)) {
		abandon(t);
		t = 0;
	}
	if (!t) {
		count_family(family, 0);
#ifdef BARE
		begin_bare(sp, frame, FUNCTION_SK_ALLOC, family, net, prot, kern);
#endif
		return 0;
	}
	here = t->depth & 31;
	if (!t->prot)
		t->prot = prot;
	t->allocated |= 1u << here;
	push(t, stack_of(t, sp, frame), FUNCTION_SK_ALLOC, bpf_ktime_get_boot_ns());
	return 0;
}

static __always_inline int sk_prot_alloc_entry(u64 sp, void *frame, u64 prot, u64 family)
{
	struct thread *t = open_trace(sp, frame);

	if (t && t->open & (1 << FUNCTION_SK_ALLOC)) {
		if (t->flags & RECORD_BARE)
			count_family(family, 1);
		push(t, stack_of(t, sp, frame), FUNCTION_SK_PROT_ALLOC, bpf_ktime_get_boot_ns());
		return 0;
	}
	/* sk_clone() of a connection being accepted, or of an sk_alloc() that nobody follows. */
	count_family(family, 1);
	if (t && !(t->flags & RECORD_BARE)) {
		/* In a softirq that PREEMPT_RT ran on this very stack. */
		t->foreign++;
		count(COUNT_FOREIGN);
		return 0;
	}
#ifdef BARE
	if (t)
		abandon(t);
	begin_bare(sp, frame, FUNCTION_SK_PROT_ALLOC, family, 0, prot, 0);
#endif
	return 0;
}

static __always_inline int request_module_entry(u64 sp, void *frame, u64 fmt, u64 family, u64 protocol, u64 type)
{
	struct thread *t = open_trace(sp, frame);
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
	if ((length != 19 && length != 27) || (s16)family != t->family || t->allocated) {
		abandon(t);
		return 0;
	}
	call = push(t, stack_of(t, sp, frame), FUNCTION_REQUEST_MODULE, bpf_ktime_get_boot_ns());
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
static __always_inline int also_entry(u64 sp, void *frame, u32 function)
{
	struct thread *t = open_trace(sp, frame);

	if (t)
		push(t, stack_of(t, sp, frame), function, bpf_ktime_get_boot_ns());
	return 0;
}

/* A return: frames below it that are still open missed theirs, then the top frame is its own. */
static __always_inline int leave(u64 sp, void *frame, u32 function, u64 result, u8 flags, u32 producer)
{
	struct thread *t = thread_lookup();
	struct inetprobe_call *call;
	u32 top;

	if (!t)
		return 0;
#ifndef BARE
	if (!t->depth)
		return 0;
#endif
	sp = stack_of(t, sp, frame);
	if (!frame)
		sp -= RET_SLOT;
	if (is_foreign(t, sp)) {
#ifdef BARE
		u32 zero = 0;

		t = softirqs.lookup(&zero);
		if (!t)
			return 0;
#else
		return 0; /* its entry was set aside and counted */
#endif
	}
	if (!t->depth)
		return 0;
	unwind(t, sp - 1);
	if (t->depth) {
		top = (t->depth - 1) & (DEPTH - 1);
		if (t->sp[top] != sp || t->function[top] != function) {
			/* No frame: a call past the last slot, or one set aside, or an entry that was missed. */
			if (!(t->flags & RECORD_TRUNCATED) && !t->foreign)
				t->flags |= RECORD_ENTRY_MISSED;
			count(COUNT_ORPHAN_RETURN);
			return 0;
		}
		call = &t->calls[t->call[top] & (INETPROBE_CALLS - 1)];
		call->duration_ns = bpf_ktime_get_boot_ns() - t->start_ns - call->start_ns;
		call->flags = CALL_RETURNED | flags;
		if (!(flags & (CALL_POINTER | CALL_VOID)))
			call->result = result;
		else if (flags & CALL_POINTER && !result)
			call->flags |= CALL_NULL;
		pop(t);
		if (t->depth)
			return 0;
	}
	if (producer == NO_PRODUCER) {
		abandon(t);
		return 0;
	}
	emit(t, producer);
	thread_free(t);
	return 0;
}

#define LEAVE_INT(id, producer) leave(sp, frame, id, (u32)result, 0, producer)
#ifdef BARE
#define LEAVE_SOCK(id) leave(sp, frame, id, result, CALL_POINTER, id * 2 + 1)
#else
#define LEAVE_SOCK(id) leave(sp, frame, id, result, CALL_POINTER, NO_PRODUCER) /* only a create is ever outermost */
#endif
#define CREATE(fn, id, family)                                                                                        \
	PAIR(fn, id, 4, create_entry(sp, frame, id, family, a0, a1, (u32)a2, a3), LEAVE_INT(id, id * 2 + 1))

CREATE(inet_create, FUNCTION_INET_CREATE, 2)
CREATE(inet6_create, FUNCTION_INET6_CREATE, 10)
PAIR(sk_alloc, FUNCTION_SK_ALLOC, 5, sk_alloc_entry(sp, frame, a0, (u32)a1, a3, a4), LEAVE_SOCK(FUNCTION_SK_ALLOC))
PAIR(sk_prot_alloc, FUNCTION_SK_PROT_ALLOC, 3, sk_prot_alloc_entry(sp, frame, a0, (u32)a2),
     LEAVE_SOCK(FUNCTION_SK_PROT_ALLOC))
/* Variadic: fentry refuses it. */
KPROBE_PAIR(__request_module, FUNCTION_REQUEST_MODULE, 5, request_module_entry(sp, frame, a1, a2, a3, a4),
	    LEAVE_INT(FUNCTION_REQUEST_MODULE, NO_PRODUCER))

/* --also: ALSO(X) is a list of X(function, id, mechanism, number of arguments, what it returns). */
#ifdef ALSO
#define RETURNS_VOID(id) leave(sp, frame, id, 0, CALL_VOID, NO_PRODUCER)
#define RETURNS_POINTER(id) leave(sp, frame, id, result, CALL_POINTER, NO_PRODUCER)
#define RETURNS_8(id) leave(sp, frame, id, (u8)result, 0, NO_PRODUCER)
#define RETURNS_16(id) leave(sp, frame, id, (u16)result, 0, NO_PRODUCER)
#define RETURNS_32(id) leave(sp, frame, id, (u32)result, 0, NO_PRODUCER)
#define ALSO_PAIR(fn, id, mechanism, nargs, returns)                                                                  \
	PAIR_BY(mechanism, fn, id, nargs, also_entry(sp, frame, id), RETURNS_##returns(id))
ALSO(ALSO_PAIR)
#endif

/* A thread that ends within a trace: its return was missed, or the kernel killed it there. */
int thread_exit(struct bpf_raw_tracepoint_args *ctx)
{
	struct thread *t = thread_lookup();
#ifdef FOLLOW
	u32 pid = WHO_PID, live = 1;
	u64 signal = 0;
#endif

	if (t && t->depth) {
		t->depth = 0;
		count(COUNT_ENDED);
		count(COUNT_LOST_THREAD_DIED);
		thread_free(t);
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
