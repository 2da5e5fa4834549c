/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * What is known of a thread that is in the middle of a trace.
 *
 * Glossary
 *   trace       an outermost create, or with BARE the making of a sock that no create made, and the traced calls within
 *   create      inet_create() or inet6_create()
 *   system call __sys_socket(), __sys_socketpair() or io_uring's __sys_socket_file(): the outermost call of the traces
 *               that begin with it
 *   open call   a traced call whose return has not been seen (struct open_call); it is stale if it has returned all the
 *               same: its return was missed
 *   slot        where the threads whose task addresses have one hash meet; it has room for one thread's state. Finding
 *               the slot, or that no state is in it, takes two dozen instructions
 *   claim       a thread's count in its slot: the thread that finds itself alone owns the slot's state
 *   displaced   a thread that found its slot claimed: its state is in task storage or a hash, where finding it takes
 *               five times as many instructions
 *   foreign     a call on another stack than the trace's: an interrupt's, left out of the trace and counted
 *   bare        a trace of a sock that no create made: another family's, or that of a connection being accepted
 *   outside     of a create that is traced: sk_alloc() and sk_prot_alloc() there are only counted, by family
 *
 * Which later call proves which open call stale
 *
 * The stack grows down, and within one system call calls nest, so the stack pointer orders them: an open call at or
 * below the pointer of a later entry has returned, but for the one that ends by jumping to the later one (a tail call:
 * their pointers are equal). None of the path's own functions does that or is jumped to: only two of --also are taken
 * for it. From one system call to the next the kernel moves the stack's
 * start at random (CONFIG_RANDOMIZE_KSTACK_OFFSET), and the pointer proves nothing: there it is what inet_create() can
 * call, and how often, that tells.
 *
 *   later event on the trace's stack                    stale open calls         tested in
 *   entry at stack pointer sp                           all at or below sp       unwind(), drop_stale()
 *   return of an open call entered at sp                all below sp, and those  unwind(), find_open()
 *                                                         it jumped to
 *   create for a user (kern is 0)                       all                      nests()
 *   create for the kernel, in a bare trace              all                      nests()
 *   create for the kernel, by kprobe or PREEMPTIBLE,    all                      nests()
 *     if a nested create came before, no sk_alloc()
 *     has returned, or the sock is neither MPTCP's
 *     nor SMC's
 *   sk_alloc() of another family                        all                      sk_alloc_entry(), differs()
 *   sk_alloc() again within the same create, or in      all                      sk_alloc_entry(), alloc_seen
 *     a system call after its create
 *   system call                                         all                      syscall_entry()
 *   create for a user in a system call that asked       all                      is_asked_for()
 *     for another, or after its create
 *   sk_alloc() in a bare trace                          all                      sk_alloc_entry()
 *   sk_prot_alloc() in a bare trace, but from           all                      sk_prot_alloc_entry()
 *     its sk_alloc()
 *   __request_module() of another format or family,     all                      request_module_entry()
 *     or after sk_alloc()
 *   the thread's end                                    all                      end_thread()
 *   create of a thread that started after the trace     all                      is_of_dead_thread()
 *
 * sk_prot_alloc() in a create's trace but not from its sk_alloc() proves nothing: it is foreign, from a softirq that
 * PREEMPT_RT runs on this very stack.
 */
#ifndef INETPROBE_THREAD_H
#define INETPROBE_THREAD_H

#include "caller.h"
#include "count.h"
#include "features.h"
#include "letters.h"

#define DEPTH (INETPROBE_CALLS > 8 ? 16 : 8) /* open calls of one thread: a power of two */
#define STACK_MASK (~(u64)(STACK_SIZE - 1)) /* task stacks are aligned to their size */

/* An open call. */
struct open_call {
	u64 sp;			/* stack pointer at its entry */
	u32 call;		/* its index in calls[] */
	u32 function;
};

/* The open trace of a thread, or with `softirq` of a CPU's softirqs. */
struct thread {
	u64 owner;		/* the task, 0 of a free slot; only the slot's sole claimant writes it. In the hash of
				 * displaced threads, state can outlive its thread: there the owner tells */
	struct open_call open[DEPTH];
	u32 depth;
	u32 ncalls;
	u32 alloc_seen;		/* bit per depth: has the create above it called sk_alloc()? */
	u32 foreign;		/* next to it: begin() stores both at once */
	u64 start_ns;
	u64 prot;
	s32 asked_family;	/* of the system call */
	s32 asked_type;
	s32 asked_protocol;	/* next to both: begin() stores them at once */
	u16 create;		/* index of the create in calls[]; 0 where the system call has made none so far */
	u8 counted;		/* is it one of COUNT_BEGUN, and not yet of COUNT_ENDED? */
	u8 sends;		/* with SERVE: is its record wanted? */
	u64 scratch;		/* where stack_pointer() turns a context's address into a number */
	/* None or one of each, by feature. */
	u64 socket[SOCKS];	/* struct socket of the outermost create; 0 in a bare trace */
	s32 kernel_size[STACKS];	/* with STACK_AT_ENTRY as that of struct inetprobe_frames, else 0 */
	u64 kernel[STACKS][KERNEL_FRAMES];
	u64 stack[BARE];	/* address of the task's own stack */
	u8 softirq[BARE];	/* is this a CPU's softirq, not a thread? */
	s32 descriptor;		/* that the system call returned */
	u32 netns;
	s32 protocol;
	s16 family;
	s16 type;
	u8 flags;
	u8 modules;		/* module requests seen */
	u8 nested;		/* creates within the outermost one */
	u8 displaced;		/* is this not in its slot? */
	u64 named;		/* struct proto of the kernel's image whose name was read last */
	u64 name;		/* the first 8 bytes of that name */
	struct inetprobe_call calls[INETPROBE_CALLS];
};

/* Where the threads with one hash meet. Counts are of all of them, on any CPU. */
struct slot {
	struct slot_counters counters; /* first: counters.py reads them there */
	u64 claims;		/* threads that have taken it, or are trying to */
	u64 displaced;		/* threads that have found it taken and have state elsewhere */
	struct thread thread;
};
#define SLOT_BYTES (SLOT_FIXED_BYTES + SLOT_CALL_BYTES * INETPROBE_CALLS)
_Static_assert(sizeof(struct slot) <= SLOT_BYTES, "more room in counters.h");

_Static_assert(__builtin_offsetof(struct thread, counted) == __builtin_offsetof(struct thread, asked_protocol) + 6,
	       "begin() stores three at once");
_Static_assert(__builtin_offsetof(struct thread, foreign) == __builtin_offsetof(struct thread, alloc_seen) + 4,
	       "begin() stores both at once");

/* Is this the trace of a sock that no create made? */
static __always_inline int is_bare(struct thread *t)
{
	return BARE && t->flags & RECORD_BARE;
}

static __always_inline int is_returned(struct inetprobe_call *call)
{
	return call->flags & CALL_RETURNED;
}

/* Is the outermost call a system call? */
static __always_inline int is_syscall(struct thread *t)
{
	return (u32)t->calls[0].function - FUNCTION_SYS_SOCKET < SYSCALLS;
}

static __always_inline struct inetprobe_call *create_of(struct thread *t)
{
	return &t->calls[t->create & (INETPROBE_CALLS - 1)];
}

/* Has the system call's first create succeeded? */
static __always_inline int has_created(struct thread *t)
{
	return t->create && is_returned(create_of(t)) && !create_of(t)->result;
}

/* Is it a system call that has come to no create? */
static __always_inline int is_before_create(struct thread *t)
{
	return is_syscall(t) && !t->create;
}

/* The innermost open call; where none is open, any. */
static __always_inline struct open_call *top_of(struct thread *t)
{
	u64 depth = t->depth;

	return &t->open[(depth - 1) & (DEPTH - 1)];
}

/* Is the innermost open call this one? */
static __always_inline int is_top(struct thread *t, u64 sp, u32 function)
{
	struct open_call *top = top_of(t);

	return t->depth && top->sp == sp && top->function == function;
}

/* Drops the open calls that cannot be live at `sp`: their returns were missed. */
static __always_inline void unwind(struct thread *t, u64 sp)
{
	for (u32 i = 0; i < DEPTH; i++) {
		if (!t->depth || top_of(t)->sp > sp)
			return;
		t->flags |= RECORD_RETURN_MISSED;
		t->depth--;
	}
}

/*
 * Drops the open calls that cannot be live at the entry of `function` at `sp`. fentry's pointers are never equal in a
 * tail call: the trampoline calls the function, and its frame lies between the two.
 */
static __always_inline void drop_stale(struct thread *t, u64 sp, u32 function, int fentry)
{
	if (!fentry && function >= FUNCTION_ALSO) {
		unwind(t, sp - 1);
		if (t->depth && top_of(t)->sp == sp && top_of(t)->function >= FUNCTION_ALSO &&
		    top_of(t)->function != function)
			return;
	}
	unwind(t, sp);
}

/* Drops the calls that the open call of `function` at `sp` has jumped to: their returns were missed. */
static __always_inline void drop_jumped_to(struct thread *t, u64 sp, u32 function)
{
	u64 depth = t->depth;

	for (u64 i = 0; i < DEPTH; i++) {
		struct open_call *open = &t->open[(depth - 1 - i) & (DEPTH - 1)];

		if (i >= depth || open->sp != sp)
			return;
		if (open->function == function) {
			if (i)
				t->flags |= RECORD_RETURN_MISSED;
			t->depth = depth - i;
			return;
		}
	}
}

static __always_inline struct inetprobe_call *push_at(struct thread *t, u64 sp, u64 function, u64 start_ns, u64 depth,
						      u64 n)
{
	struct inetprobe_call *call = &t->calls[n & (INETPROBE_CALLS - 1)];
	struct open_call *open = &t->open[depth & (DEPTH - 1)];

	open->sp = sp;
	*(u64 *)&open->call = function << 32 | n;
	t->depth = depth + 1;
	t->ncalls = n + 1;
	call->start_ns = start_ns;
	call->duration_ns = 0;
	/* One store for result, function, depth, flags and module, one for the module's numbers (little-endian). */
	*(u64 *)&call->result = function << 32 | depth << 40;
	*(u64 *)&call->module_protocol = 0;
	return call;
}

static __always_inline struct inetprobe_call *push(struct thread *t, u64 sp, u32 function)
{
	u64 depth = t->depth, n = t->ncalls;

	if (depth >= DEPTH || n >= INETPROBE_CALLS) {
		t->flags |= RECORD_TRUNCATED;
		return 0;
	}
	asm volatile("" : "+r"(depth), "+r"(n)); /* else clang drops the masks, which the verifier needs */
	return push_at(t, sp, function, bpf_ktime_get_boot_ns() - t->start_ns, depth, n);
}

/* The outermost call of a trace that has begun. */
static __always_inline void push_first(struct thread *t, u64 sp, u32 function)
{
	t->start_ns = bpf_ktime_get_boot_ns();
	push_at(t, sp, function, 0, 0, 0);
}

/* Is `sp` on another stack than the trace's? */
static __always_inline int is_foreign(struct thread *t, u64 sp)
{
	return (((BARE ? *t->stack : t->open[0].sp) ^ sp) & STACK_MASK) != 0;
}

/*
 * Is this create nested: does the open trace's protocol make a socket of its own in its init, as MPTCP and SMC do? It
 * does so for the kernel, and once, after sk_alloc(). Any other create is a later system call's.
 */
static __always_inline int nests(struct thread *t, u64 kern, int fentry)
{
	u64 name = 0;

	if (!(kern & 0xff) || is_bare(t))
		return 0;
	if (fentry && !PREEMPTIBLE)
		return 1; /* fexit misses no return for want of room, as a kretprobe does */
	if (is_before_create(t))
		return t->asked_family == AF_SMC;
	if (t->nested || !t->alloc_seen)
		return 0;
	for (u32 i = 0; i < DEPTH; i++)
		if (i < t->depth && t->open[i].function == FUNCTION_SK_ALLOC)
			return 0;
	READ(name, t->prot, OFF_PROTO_NAME);
	return (u32)name == 0x4354504d /* "MPTC" */ || name == 0x434d535f54454e49ULL /* "INET_SMC" */ ||
		name == 0x4d535f3654454e49ULL /* "INET6_SM" */;
}

/* Is the trace another thread's, whose end was missed and whose task_struct has become the current thread's? */
static __always_inline int is_of_dead_thread(struct thread *t)
{
	u64 start = 0;

	READ(start, bpf_get_current_task(), OFF_TASK_START);
	return t->start_ns < start;
}

/* Is the trace of another address family? */
static __always_inline int differs(struct thread *t, u64 family)
{
	return ((u16)t->family ^ family) & 0xffff;
}

static __always_inline void begin(struct thread *t, u8 flags, s16 family, s16 type, s32 protocol, u32 netns)
{
	*(u64 *)&t->alloc_seen = 0; /* and foreign */
	*(u64 *)&t->asked_family = 0; /* and asked_type */
	*(u64 *)&t->asked_protocol = 1ULL << 48; /* and create, 1 for counted, and sends */
	t->descriptor = 0;
	t->modules = 0;
	t->nested = 0;
	t->prot = 0;
	t->netns = netns;
	t->protocol = protocol;
	t->family = family;
	t->type = type;
	t->flags = flags;
	if (SOCKS)
		*t->socket = 0;
	if (STACKS)
		*t->kernel_size = 0;
	if (BARE)
		READ(*t->stack, bpf_get_current_task(), OFF_TASK_STACK);
}

static __always_inline void fill_prot(struct inetprobe_record *r, struct thread *t)
{
	u64 prot = t->prot, letters = 0;

	/* The whole array: the ring holds an older record's bytes, and equal records must be equal. */
	__builtin_memset(r->prot, 0, sizeof(r->prot));
	if (!prot)
		return;
	if (t->named == prot) {
		letters = t->name;
	} else {
		READ(letters, prot, OFF_PROTO_NAME); /* the whole name of most, and far cheaper than reading a string */
		if (prot - KERNEL < KERNEL_BYTES) { /* no module can take its place: the name stays */
			t->name = letters;
			t->named = prot;
		}
	}
	*(u64 *)r->prot = letters;
	if (!nul_in(letters))
		bpf_probe_read_kernel_str(r->prot, sizeof(r->prot), (void *)(prot + OFF_PROTO_NAME));
}

static __always_inline u32 outcome_of(struct thread *t)
{
	if (!(t->flags & (RECORD_RETURN_MISSED | RECORD_ENTRY_MISSED | RECORD_TRUNCATED)))
		return COUNT_COMPLETE;
	return t->flags & RECORD_RETURN_MISSED ? COUNT_RETURN_MISSED
		: t->flags & RECORD_ENTRY_MISSED ? COUNT_ENTRY_MISSED : COUNT_TRUNCATED;
}

#endif
