/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The kernel side: one record for each outermost inet_create() or inet6_create().
 *
 * Constants come in as -D from inetprobe/kernel/bpf.py: OFF_* from the kernel's BTF, MECHANISM_<function> as KPROBE or
 * FENTRY, TASK_STORAGE, FOLLOW, the filters KEEP_WHO and KEEP_WHAT, RING_PAGES, CPUS, WAKEUP_BYTES, STACK_SIZE. No kernel
 * structure header is included.
 *
 * A thread's open calls are a stack of frames, each with the stack pointer at its entry. Calls nest downwards, so the
 * stack pointer alone says which frames can still be live: one at or below the pointer of a later entry has returned,
 * and if its return was not seen, it was missed. A pointer on another stack belongs to an interrupt.
 */
#include <linux/types.h>
#include <asm/ptrace.h>
#include "record.h"

#define DEPTH 8		/* open calls of one thread: a power of two */
#define RET_SLOT 8	/* x86-64: `ret` pops the return address, so a return's pointer is its entry's plus this */
#define NO_PRODUCER (~0u)
#define STACK_MASK (~(u64)(STACK_SIZE - 1)) /* task stacks are aligned to their size */

struct thread {
	u64 sp[DEPTH];		/* stack pointer at the entry of each open call */
	u8 call[DEPTH];		/* its index in calls[] */
	u8 function[DEPTH];
	u32 depth;
	u32 ncalls;
	u32 open;		/* bit per function: is one open? */
	u64 start_ns;
	u64 owner;		/* task the frames belong to: a hash entry can outlive its thread */
	u64 prot;
	u64 frame;		/* where stack_of() turns a context's address into a number */
	u32 netns;
	s32 protocol;
	s16 family;
	s16 type;
	u32 foreign;
	u8 flags;
	u8 modules;		/* module requests seen */
	struct inetprobe_call calls[INETPROBE_CALLS];
};

struct cpu_counters {
	u64 value[COUNTERS];
	u64 seq[PRODUCERS];
};

/* First: bcc numbers maps from -1 down in order of declaration, and has no method of its own for ringbuf_query. */
BPF_RINGBUF_OUTPUT(records, RING_PAGES);
#define RECORDS ((void *)bpf_pseudo_fd(1, -1))
BPF_F_TABLE("array", u32, struct cpu_counters, counters, CPUS, 1024 /* BPF_F_MMAPABLE */);
BPF_F_TABLE("array", u32, u64, active, 1, 1024);
#ifdef FOLLOW
BPF_HASH(followed, u32, u8, 65536); /* thread groups of COMMAND and all it started */
#endif
#ifdef TASK_STORAGE
BPF_TASK_STORAGE(threads, struct thread);
#else
BPF_HASH(threads, u32, struct thread, 16384);
BPF_F_TABLE("array", u32, struct thread, blank, 1, 0);
#endif

#define READ(dst, base, offset) bpf_probe_read_kernel(&(dst), sizeof(dst), (void *)((u64)(base) + (offset)))

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
	return threads.lookup(&tid);
#endif
}

static __always_inline void thread_free(void)
{
#ifndef TASK_STORAGE
	u32 tid = bpf_get_current_pid_tgid();

	threads.delete(&tid);
#endif
}

#ifdef OFF_NET_INUM
static __always_inline u32 netns_of(u64 net)
{
	u32 inum = 0;

	READ(inum, net, OFF_NET_INUM);
	return inum;
}
#endif

/* Thread filters; a filter is compiled in as an expression over these, read only where it names them. */
#define WHO_PID ((u32)(bpf_get_current_pid_tgid() >> 32))
#define WHO_UID ((u32)bpf_get_current_uid_gid())
#define WHO_NETNS netns_of(net)
#define WHO_CGROUP(level) bpf_get_current_ancestor_cgroup_id(level)
#define WHO_FOLLOWED is_followed()
#define WHO_COMM(low, high) comm_is(low, high)

#ifdef FOLLOW
static __always_inline int is_followed(void)
{
	u32 pid = WHO_PID;

	return followed.lookup(&pid) != 0;
}
#endif

static __always_inline int comm_is(u64 low, u64 high)
{
	u64 comm[2] = {};

	bpf_get_current_comm(comm, sizeof(comm));
	return comm[0] == low && comm[1] == high;
}

/* Does the current thread hold CAP_NET_RAW over the net namespace? Unknown where its user namespace is another. */
static __always_inline u8 cap_net_raw(u64 net)
{
	u64 cred = 0, effective = 0, mine = 0, owner = 0;

	READ(cred, bpf_get_current_task(), OFF_TASK_CRED);
	READ(effective, cred, OFF_CRED_CAP_EFFECTIVE);
	READ(mine, cred, OFF_CRED_USER_NS);
	READ(owner, net, OFF_NET_USER_NS);
	if (!cred || mine != owner)
		return 0;
	return RECORD_CAP_KNOWN | ((effective >> 13) & 1 ? RECORD_CAP_NET_RAW : 0);
}

static __always_inline void fill_caller(struct inetprobe_record *r)
{
	u64 ids = bpf_get_current_pid_tgid(), user = bpf_get_current_uid_gid(), parent = 0;

	r->pid = ids >> 32;
	r->tid = ids;
	r->uid = user;
	r->gid = user >> 32;
	r->cgroup_id = bpf_get_current_cgroup_id();
	r->ppid = 0;
	READ(parent, bpf_get_current_task(), OFF_TASK_REAL_PARENT);
	READ(r->ppid, parent, OFF_TASK_TGID);
	bpf_get_current_comm(r->comm, sizeof(r->comm));
}

static __always_inline u64 wakeup(void)
{
	/* BPF_RB_AVAIL_DATA; BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP */
	return bpf_ringbuf_query(RECORDS, 0) >= WAKEUP_BYTES ? 2 : 1;
}

/* The trace is over: count how it ended and send it. Everything the filters ask of the outcome is known here. */
static __always_inline void emit(struct thread *t, u32 producer)
{
	struct cpu_counters *c = this_cpu();
	u32 cpu = bpf_get_smp_processor_id();
	struct inetprobe_record *r;
	u32 n = t->ncalls, outcome;
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
	}
	outcome = t->flags & RECORD_RETURN_MISSED ? COUNT_RETURN_MISSED
		: t->flags & RECORD_ENTRY_MISSED ? COUNT_ENTRY_MISSED
		: t->flags & RECORD_TRUNCATED ? COUNT_TRUNCATED : COUNT_COMPLETE;
	lock_xadd(&c->value[outcome], 1);
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

/* The trace ends with its outermost return missed. The programs of create send what there is of it; in the others
 * that would double the code for the rarest of cases, so there it is only counted. */
static __always_inline void abandon(struct thread *t, u32 producer)
{
	if (producer != NO_PRODUCER) {
		emit(t, producer);
	} else {
		count(COUNT_ENDED);
		count(COUNT_LOST_RETURN_MISSED);
	}
	thread_free();
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
 * address until it has been through a map.
 */
static __always_inline u64 stack_of(struct thread *t, u64 sp, void *frame)
{
	if (!frame)
		return sp;
	t->frame = (u64)frame;
	return *(volatile u64 *)&t->frame;
}

/* The open trace this entry belongs to, or none: stale frames are dropped first, an interrupt's call is set aside. */
static __always_inline struct thread *open_trace(u64 sp, void *frame, u32 producer)
{
	struct thread *t = thread_lookup();

	if (!t || !t->depth)
		return 0;
	sp = stack_of(t, sp, frame);
	if ((t->sp[0] ^ sp) & STACK_MASK) {
		t->foreign++;
		count(COUNT_FOREIGN);
		return 0;
	}
	unwind(t, sp);
	if (t->depth)
		return t;
	abandon(t, producer);
	return 0;
}

static __always_inline int create_entry(u64 sp, void *frame, u32 function, s16 family, u64 net, u64 sock, u64 protocol, u64 kern)
{
	u32 zero = 0;
	u64 now = bpf_ktime_get_boot_ns(), *on;
	struct thread *t = open_trace(sp, frame, function * 2);

	if (t) {
		count(COUNT_NESTED);
		push(t, stack_of(t, sp, frame), function, now);
		return 0;
	}
	on = active.lookup(&zero);
	if (!on || !*on)
		return 0;
	count(COUNT_ENTRIES);
#ifdef KEEP_WHO
	if (!(KEEP_WHO)) {
		count(COUNT_FILTERED);
		return 0;
	}
#endif
	t = thread_create();
	if (!t) {
		count(COUNT_LOST_NO_STATE);
		return 0;
	}
	count(COUNT_BEGUN);
	t->depth = 0;
	t->ncalls = 0;
	t->open = 0;
	t->foreign = 0;
	t->modules = 0;
	t->prot = 0;
	t->start_ns = now;
	t->owner = bpf_get_current_task();
	t->netns = netns_of(net);
	t->protocol = protocol;
	t->family = family;
	t->type = 0;
	READ(t->type, sock, OFF_SOCKET_TYPE);
	t->flags = (kern & 0xff) ? RECORD_KERN : 0;
	if (t->type == 3 /* SOCK_RAW */ && !t->flags)
		t->flags |= cap_net_raw(net);
	push(t, stack_of(t, sp, frame), function, now);
	return 0;
}

static __always_inline int sk_alloc_entry(u64 sp, void *frame, u64 family, u64 prot)
{
	struct thread *t = open_trace(sp, frame, NO_PRODUCER);

	/* Another family's sock is not this trace's: it was made by a later call, and this trace's return was missed. */
	if (t && (s16)family != t->family) {
		t->depth = 0;
		abandon(t, NO_PRODUCER);
		t = 0;
	}
	if (!t) {
		count(COUNT_BARE);
		return 0;
	}
	if (!t->prot)
		t->prot = prot;
	push(t, stack_of(t, sp, frame), FUNCTION_SK_ALLOC, bpf_ktime_get_boot_ns());
	return 0;
}

static __always_inline int sk_prot_alloc_entry(u64 sp, void *frame)
{
	struct thread *t = open_trace(sp, frame, NO_PRODUCER);

	if (!t)
		return 0;
	/* sk_clone() of an accepted connection, in a softirq that PREEMPT_RT ran on this very stack. */
	if (!(t->open & (1 << FUNCTION_SK_ALLOC))) {
		t->foreign++;
		count(COUNT_FOREIGN);
		return 0;
	}
	push(t, stack_of(t, sp, frame), FUNCTION_SK_PROT_ALLOC, bpf_ktime_get_boot_ns());
	return 0;
}

static __always_inline int request_module_entry(u64 sp, void *frame, u64 fmt, u64 family, u64 protocol, u64 type)
{
	struct thread *t = open_trace(sp, frame, NO_PRODUCER);
	struct inetprobe_call *call;
	char text[28] = {};
	int length;

	if (!t)
		return 0;
	call = push(t, stack_of(t, sp, frame), FUNCTION_REQUEST_MODULE, bpf_ktime_get_boot_ns());
	if (!call)
		return 0;
	t->modules++;
	/* The two formats of inet_create() differ in length alone: "net-pf-%d-proto-%d" with and without "-type-%d". */
	length = bpf_probe_read_kernel_str(text, sizeof(text), (void *)fmt);
	call->module = MODULE_OTHER;
	if (text[0] != 'n' || text[3] != '-' || text[4] != 'p' || text[7] != '%')
		return 0;
	if (length != 19 && length != 27)
		return 0;
	call->module = length == 27 ? MODULE_PROTO_TYPE : MODULE_PROTO;
	call->module_family = family;
	call->module_protocol = protocol;
	call->module_type = length == 27 ? type : 0;
	return 0;
}

/* A return: frames below it that are still open missed theirs, then the top frame is its own. */
static __always_inline int leave(u64 sp, void *frame, u32 function, u64 result, u8 flags, u32 producer)
{
	u32 top;
	struct thread *t = thread_lookup();
	struct inetprobe_call *call;

	if (!t || !t->depth)
		return 0;
	if (frame)
		sp = stack_of(t, sp, frame) + RET_SLOT;
	if ((t->sp[0] ^ sp) & STACK_MASK)
		return 0; /* its entry was set aside and counted */
	unwind(t, sp - RET_SLOT - 1);
	if (!t->depth) {
		abandon(t, producer);
		return 0;
	}
	top = (t->depth - 1) & (DEPTH - 1);
	if (t->sp[top] != sp - RET_SLOT || t->function[top] != function) {
		/* No frame: a call past the last slot, or one set aside, or an entry that was missed. */
		if (!(t->flags & RECORD_TRUNCATED) && !t->foreign)
			t->flags |= RECORD_ENTRY_MISSED;
		count(COUNT_ORPHAN_RETURN);
		return 0;
	}
	call = &t->calls[t->call[top] & (INETPROBE_CALLS - 1)];
	call->duration_ns = bpf_ktime_get_boot_ns() - t->start_ns - call->start_ns;
	call->flags = CALL_RETURNED | flags;
	if (!(flags & CALL_POINTER))
		call->result = result;
	else if (!result)
		call->flags |= CALL_NULL;
	pop(t);
	if (!t->depth && producer != NO_PRODUCER) { /* only a create is ever outermost */
		emit(t, producer);
		thread_free();
	}
	return 0;
}

/* One pair a function, by either mechanism; what an entry does not use of its arguments is never read. */
#define KPROBE_PAIR(fn, nargs, entry, exit)                                                                           \
	int entry_##fn(struct pt_regs *ctx)                                                                           \
	{                                                                                                             \
		u64 sp = ctx->sp, a0 = ctx->di, a1 = ctx->si, a2 = ctx->dx, a3 = ctx->cx, a4 = ctx->r8;               \
		void *frame = 0;                                                                                      \
		return entry;                                                                                         \
	}                                                                                                             \
	int return_##fn(struct pt_regs *ctx)                                                                          \
	{                                                                                                             \
		u64 sp = ctx->sp, result = ctx->ax;                                                                   \
		void *frame = 0;                                                                                      \
		return exit;                                                                                          \
	}
#define FENTRY_PAIR(fn, nargs, entry, exit)                                                                           \
	int kfunc__##fn(unsigned long long *ctx)                                                             \
	{                                                                                                             \
		u64 sp = 0, a0 = ctx[0], a1 = ctx[1], a2 = ctx[2], a3 = ctx[3], a4 = ctx[4];                          \
		void *frame = ctx;                                                                                    \
		return entry;                                                                                         \
	}                                                                                                             \
	int kretfunc__##fn(unsigned long long *ctx)                                                          \
	{                                                                                                             \
		u64 sp = 0, result = ctx[nargs];                                                                      \
		void *frame = ctx;                                                                                    \
		return exit;                                                                                          \
	}
#define PAIR_BY(mechanism, ...) mechanism##_PAIR(__VA_ARGS__)
#define PAIR_EXPANDED(...) PAIR_BY(__VA_ARGS__)
#define PAIR(fn, ...) PAIR_EXPANDED(MECHANISM_##fn, fn, __VA_ARGS__)

#define LEAVE_INT(id, producer) leave(sp, frame, id, (u32)result, 0, producer)
#define LEAVE_POINTER(id) leave(sp, frame, id, result, CALL_POINTER, NO_PRODUCER)
#define CREATE(fn, id, family)                                                                                        \
	PAIR(fn, 4, create_entry(sp, frame, id, family, a0, a1, (u32)a2, a3), LEAVE_INT(id, id * 2 + 1))

CREATE(inet_create, FUNCTION_INET_CREATE, 2)
CREATE(inet6_create, FUNCTION_INET6_CREATE, 10)
PAIR(sk_alloc, 5, sk_alloc_entry(sp, frame, a1, a3), LEAVE_POINTER(FUNCTION_SK_ALLOC))
PAIR(sk_prot_alloc, 3, sk_prot_alloc_entry(sp, frame), LEAVE_POINTER(FUNCTION_SK_PROT_ALLOC))
/* Variadic: fentry refuses it. */
KPROBE_PAIR(__request_module, 5, request_module_entry(sp, frame, a1, a2, a3, a4),
	    LEAVE_INT(FUNCTION_REQUEST_MODULE, NO_PRODUCER))

#ifdef FOLLOW
/* Raw tracepoints of fork and exit keep the set of thread groups that COMMAND became. */
int follow_fork(struct bpf_raw_tracepoint_args *ctx)
{
	u32 parent = WHO_PID, child = 0;
	u8 yes = 1;

	if (!followed.lookup(&parent))
		return 0;
	READ(child, ctx->args[1], OFF_TASK_TGID);
	if (child != parent && followed.update(&child, &yes))
		count(COUNT_UNFOLLOWED);
	return 0;
}

int follow_exit(struct bpf_raw_tracepoint_args *ctx)
{
	u32 pid = WHO_PID, live = 1;
	u64 signal = 0;

	if (!followed.lookup(&pid))
		return 0;
	READ(signal, ctx->args[0], OFF_TASK_SIGNAL);
	READ(live, signal, OFF_SIGNAL_LIVE);
	if (!live)
		followed.delete(&pid);
	return 0;
}
#endif
