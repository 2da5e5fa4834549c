/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The kernel side: one record for each outermost inet_create() or inet6_create(), and with BARE for each sock that
 * neither made.
 *
 * Constants come in as -D from inetprobe/kernel/bpf.py: OFF_* from the kernel's BTF, MECHANISM_<function> as KPROBE or
 * FENTRY, TASK_STORAGE (Linux 5.12: task storage, and a current task whose type the verifier knows), FOLLOW, BARE,
 * ALSO(X), the filters KEEP_WHO and KEEP_WHAT, RING_PAGES, CPUS, WAKEUP_BYTES and WAKEUP_WINDOW, STACK_SIZE, with --sock
 * INETPROBE_SOCKS and what bpf/sock.h names, with --stack INETPROBE_STACKS and what bpf/stack.h names, with serve SLOW_NS, RATE_LIMIT and what bpf/cells.h names. No kernel
 * structure header is included. All that touches a map is in this one file: bcc rewrites map operations in no other.
 *
 * A thread's open calls are a stack of frames, each with the stack pointer at its entry. Within one system call, calls
 * nest downwards, so the stack pointer says which frames can still be live: one at or below the pointer of a later
 * entry has returned, and if its return was not seen, it was missed. From one system call to the next the kernel moves
 * the stack's start at random (CONFIG_RANDOMIZE_KSTACK_OFFSET), so across them the pointer proves nothing: there it is
 * what inet_create() can call, and how often, that tells a stale frame. A pointer on another stack is an interrupt's.
 *
 * Where a thread keeps its frames: in the slot that its task's address hashes to, which takes two dozen instructions to
 * find, or to find that there are none. Two threads of one slot at a time are rare: the second one's frames are strays,
 * in task storage or a hash, where finding them takes five times as many.
 */
#include <linux/types.h>
#include <asm/ptrace.h>
#include "record.h"
#include "caller.h"
#include "pair.h"
#ifdef BUCKET
#include "cells.h"
#endif
#if INETPROBE_SOCKS
#include "sock.h"
#endif
#if INETPROBE_STACKS
#include "stack.h"
#endif

#define DEPTH (INETPROBE_CALLS > 8 ? 16 : 8) /* open calls of one thread: a power of two */
#define ANCESTORS 2 /* of a process not known to be followed: does one say that it is? */
#define NO_PRODUCER (~0u)
#define AF_INET 2
#define AF_INET6 10
#define SLOT_BITS 10
#define STACK_MASK (~(u64)(STACK_SIZE - 1)) /* task stacks are aligned to their size */

struct thread {
	u64 owner;		/* task the frames belong to, 0 of a free slot; a stray in a hash can outlive its thread */
	u64 sp[DEPTH];		/* stack pointer at the entry of each open call */
	u8 call[DEPTH];		/* its index in calls[] */
	u8 function[DEPTH];
	u32 depth;
	u32 ncalls;
	u32 open;		/* bit per function: is one open? */
	u32 allocated;		/* bit per depth: has the create above it called sk_alloc()? */
	u64 start_ns;
	u64 prot;
	u64 frame;		/* where stack_of() turns a context's address into a number */
#if INETPROBE_SOCKS
	u64 socket;		/* that the outermost create was given; 0 of a bare sock */
#endif
#if INETPROBE_STACKS
	s32 kernel_size;	/* with STACK_AT_ENTRY as that of struct inetprobe_frames, else 0 */
	u64 kernel[KERNEL_FRAMES];
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
	u8 stray;		/* is it not in its slot? */
	struct inetprobe_call calls[INETPROBE_CALLS];
};

/* Where the threads with one hash meet. Counts are of all of them, on any CPU. */
struct slot {
	u64 runs[PROGRAMS];	/* what the kernel counts as a kprobe's hit and did not run shows here */
	u64 allocated[INET_FAMILIES];	/* as other[] and outside[] below, of AF_INET and AF_INET6 */
	u64 cloned[INET_FAMILIES];
	u64 claims;		/* threads that have taken it, or are trying to */
	u64 strays;		/* threads that have found it taken */
	struct thread thread;
};

struct cpu_counters {
	u64 value[COUNTERS];
	u64 on;			/* do traces begin? */
	u64 seq[PRODUCERS];
	u64 other[FAMILIES];	/* sk_alloc() outside every create, by family */
	u64 outside[FAMILIES];	/* sk_prot_alloc() outside every create: sk_alloc()'s own and those of accepted children */
};

/* First: bcc numbers maps from -1 down in order of declaration, and has no method of its own for ringbuf_query. */
BPF_RINGBUF_OUTPUT(records, RING_PAGES);
#define RECORDS ((void *)bpf_pseudo_fd(1, -1))
BPF_F_TABLE("array", u32, struct cpu_counters, counters, CPUS, 1024 /* BPF_F_MMAPABLE */);
#ifdef BUCKET
BPF_F_TABLE("array", u32, struct cpu_cells, cells, CPUS, 1024);
#endif
#ifdef FOLLOW
BPF_HASH(followed, u32, u8, 65536); /* thread groups of COMMAND and all it started */
#ifdef PIDNS_INO
BPF_F_TABLE("array", u32, u64, command, 1, 0); /* COMMAND's process id in inetprobe's own pid namespace */
#endif
#endif
BPF_F_TABLE("array", u32, struct slot, slots, 1 << SLOT_BITS, 1024);
#ifdef TASK_STORAGE
BPF_TASK_STORAGE(strays, struct thread);
#else
BPF_HASH(strays, u32, struct thread, 16384);
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

static __always_inline struct slot *slot_of(u64 task)
{
	u32 place = (task * 0x9E3779B97F4A7C15ULL) >> (64 - SLOT_BITS); /* 2^64 / golden ratio */

	return slots.lookup(&place);
}

/* The current thread's slot, where each run of a program is counted. */
static __always_inline struct slot *enter(u64 task, u32 program)
{
	struct slot *slot = slot_of(task);

	if (slot)
		lock_xadd(&slot->runs[program & (PROGRAMS - 1)], 1);
	return slot;
}

/* sk_alloc() and sk_prot_alloc() outside every create that is followed. */
static __always_inline void count_family(struct slot *slot, u32 family, int allocated)
{
	struct cpu_counters *c;
	u32 place;

	if (family == AF_INET || family == AF_INET6) {
		place = family == AF_INET6;
		lock_xadd(allocated ? &slot->cloned[place] : &slot->allocated[place], 1);
		return;
	}
	c = this_cpu();
	if (!c)
		return;
	place = family < FAMILIES ? family : FAMILIES - 1;
	if (allocated)
		lock_xadd(&c->outside[place & (FAMILIES - 1)], 1);
	else
		lock_xadd(&c->other[place & (FAMILIES - 1)], 1);
}

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
	struct slot *slot = slot_of(t->owner);

	t->owner = 0;
	if (slot)
		lock_xadd(&slot->strays, -1);
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

static __always_inline void fill_prot(struct inetprobe_record *r, struct thread *t)
{
	u64 letters = 0;

	r->prot[0] = 0;
	if (!t->prot)
		return;
	READ(letters, t->prot, OFF_PROTO_NAME); /* mostly the whole name, and far cheaper than reading a string */
	*(u64 *)r->prot = letters;
	if (!((letters - 0x0101010101010101ULL) & ~letters & 0x8080808080808080ULL)) /* no byte of it is 0 */
		bpf_probe_read_kernel_str(r->prot, sizeof(r->prot), (void *)(t->prot + OFF_PROTO_NAME));
}

/* The trace is over: count how it ended and send it. Everything the filters ask of the outcome is known here. */
static __always_inline void emit(void *ctx, struct thread *t, u32 producer)
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

/* Close the top frame. */
static __always_inline void pop(struct thread *t)
{
	u32 top = (t->depth - 1) & (DEPTH - 1);

	t->open &= ~(1u << (t->function[top] & 31));
	t->depth--;
}

/* Is the top frame that of this call? */
static __always_inline int is_top(struct thread *t, u64 sp, u32 function)
{
	u32 top = (t->depth - 1) & (DEPTH - 1);

	return t->sp[top] == sp && t->function[top] == function;
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
static __always_inline void abandon(struct slot *slot, struct thread *t)
{
	t->depth = 0;
	count(COUNT_ENDED);
	count(COUNT_LOST_RETURN_MISSED);
	thread_free(slot, t);
}

static __always_inline struct inetprobe_call *push_at(struct thread *t, u64 sp, u32 function, u64 start_ns, u32 depth,
						      u32 n)
{
	struct inetprobe_call *call = &t->calls[n & (INETPROBE_CALLS - 1)];

	t->sp[depth & (DEPTH - 1)] = sp;
	t->call[depth & (DEPTH - 1)] = n;
	t->function[depth & (DEPTH - 1)] = function;
	t->depth = depth + 1;
	t->ncalls = n + 1;
	call->start_ns = start_ns;
	call->duration_ns = 0;
	/* result to module, then the module's numbers: a store each */
	*(u64 *)&call->result = (u64)function << 32 | (u64)depth << 40;
	*(u64 *)&call->module_protocol = 0;
	return call;
}

static __always_inline struct inetprobe_call *push(struct thread *t, u64 sp, u32 function)
{
	u32 depth = t->depth, n = t->ncalls;

	if (depth >= DEPTH || n >= INETPROBE_CALLS) {
		t->flags |= RECORD_TRUNCATED;
		return 0;
	}
	asm volatile("" : "+r"(depth), "+r"(n)); /* or clang drops the masks, which the verifier needs */
	t->open |= 1u << function;
	return push_at(t, sp, function, bpf_ktime_get_boot_ns() - t->start_ns, depth, n);
}

/* The outermost call of a trace that has begun. */
static __always_inline void push_first(struct thread *t, u64 sp, u32 function)
{
	t->open = 1u << function;
	t->start_ns = bpf_ktime_get_boot_ns();
	push_at(t, sp, function, 0, 0, 0);
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
static __always_inline struct thread *open_frames(struct slot *slot, u64 task, u64 sp, void *frame)
{
	struct thread *t = thread_of(slot, task);

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

static __always_inline struct thread *open_trace(struct slot *slot, u64 task, u64 sp, void *frame)
{
	struct thread *t = open_frames(slot, task, sp, frame);

	if (t && !t->depth) {
		abandon(slot, t);
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

static __always_inline void begin(struct thread *t, u8 flags, s16 family, u32 netns)
{
	t->allocated = 0;
	t->foreign = 0;
	t->modules = 0;
	t->nested = 0;
	t->prot = 0;
	t->netns = netns;
	t->protocol = 0;
	t->family = family;
	t->type = 0;
	t->flags = flags;
#if INETPROBE_SOCKS
	t->socket = 0;
#endif
#if INETPROBE_STACKS
	t->kernel_size = 0;
#endif
#ifdef BARE
	READ(t->stack, bpf_get_current_task(), OFF_TASK_STACK);
#endif
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
	struct thread *t = open_frames(slot, task, sp, frame);
	struct cpu_counters *c;
	u8 flags = (kern & 0xff) ? RECORD_KERN : 0;
	s16 type = 0;

	if (t && t->depth && nests(t, kern, frame)) {
		count(COUNT_NESTED);
		t->nested++;
		t->allocated &= ~(2u << t->depth);
		push(t, stack_of(t, sp, frame), function);
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
	begin(t, flags, family, netns_of_create(net, frame));
	t->protocol = protocol;
	t->type = type;
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
	begin(t, flags, family, netns_of(net));
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
	struct thread *t = open_trace(slot, task, sp, frame);
	u32 here;

	/* A create calls sk_alloc() once and for its own family: any other is a later call's, and a return was missed. */
	if (t && ((s16)family != t->family || t->allocated >> (t->depth & 31) & 1 || t->flags & RECORD_BARE)) {
		abandon(slot, t);
		t = 0;
	}
	if (!t) {
		count_family(slot, family, 0);
#ifdef BARE
		begin_bare(slot, task, sp, frame, FUNCTION_SK_ALLOC, family, net, prot, kern);
#endif
		return 0;
	}
	here = t->depth & 31;
	if (!t->prot)
		t->prot = prot;
	t->allocated |= 1u << here;
	push(t, stack_of(t, sp, frame), FUNCTION_SK_ALLOC);
	return 0;
}

static __always_inline int sk_prot_alloc_entry(struct slot *slot, u64 task, u64 sp, void *frame, u64 prot, u64 family)
{
	struct thread *t = open_trace(slot, task, sp, frame);

	if (t && t->open & (1 << FUNCTION_SK_ALLOC)) {
		if (t->flags & RECORD_BARE)
			count_family(slot, family, 1);
		push(t, stack_of(t, sp, frame), FUNCTION_SK_PROT_ALLOC);
		return 0;
	}
	/* sk_clone() of a connection being accepted, or of an sk_alloc() that nobody follows. */
	count_family(slot, family, 1);
	if (t && !(t->flags & RECORD_BARE)) {
		/* In a softirq that PREEMPT_RT ran on this very stack. */
		t->foreign++;
		count(COUNT_FOREIGN);
		return 0;
	}
#ifdef BARE
	if (t)
		abandon(slot, t);
	begin_bare(slot, task, sp, frame, FUNCTION_SK_PROT_ALLOC, family, 0, prot, 0);
#endif
	return 0;
}

static __always_inline int request_module_entry(struct slot *slot, u64 task, u64 sp, void *frame, u64 fmt, u64 family,
						u64 protocol, u64 type)
{
	struct thread *t = open_trace(slot, task, sp, frame);
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
		abandon(slot, t);
		return 0;
	}
	call = push(t, stack_of(t, sp, frame), FUNCTION_REQUEST_MODULE);
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
	struct thread *t = open_trace(slot, task, sp, frame);

	if (t)
		push(t, stack_of(t, sp, frame), function);
	return 0;
}

/* A return: frames below it that are still open missed theirs, then the top frame is its own. */
static __always_inline int leave(void *ctx, struct slot *slot, u64 task, u64 sp, void *frame, u32 function, u64 result,
				 u8 flags, u32 producer)
{
	struct thread *t = thread_of(slot, task);
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
	if (!is_top(t, sp, function)) {
		unwind(t, sp - 1);
		if (t->depth && !is_top(t, sp, function)) {
			/* No frame: a call past the last slot, or one set aside, or an entry that was missed. */
			if (!(t->flags & RECORD_TRUNCATED) && !t->foreign)
				t->flags |= RECORD_ENTRY_MISSED;
			count(COUNT_ORPHAN_RETURN);
			return 0;
		}
	}
	if (t->depth) {
		top = (t->depth - 1) & (DEPTH - 1);
		call = &t->calls[t->call[top] & (INETPROBE_CALLS - 1)];
		call->duration_ns = bpf_ktime_get_boot_ns() - t->start_ns - call->start_ns;
		call->flags = CALL_RETURNED | flags;
		if (!(flags & (CALL_POINTER | CALL_VOID)))
			call->result = result;
		else if (flags & CALL_POINTER && !result)
			call->flags |= CALL_NULL;
		t->open &= ~(1u << function);
		t->depth--;
		if (t->depth)
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
PAIR(sk_alloc, FUNCTION_SK_ALLOC, 5, sk_alloc_entry(slot, task, sp, frame, a0, (u32)a1, a3, a4), LEAVE_SOCK(FUNCTION_SK_ALLOC))
PAIR(sk_prot_alloc, FUNCTION_SK_PROT_ALLOC, 3, sk_prot_alloc_entry(slot, task, sp, frame, a0, (u32)a2),
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
	struct thread *t = slot ? thread_of(slot, task) : 0;
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
