/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * A thread's open calls are a stack of frames, each with the stack pointer at its entry. Within one system call, calls
 * nest downwards, so the stack pointer says which frames can still be live: one at or below the pointer of a later
 * entry has returned, and if its return was not seen, it was missed. From one system call to the next the kernel moves
 * the stack's start at random (CONFIG_RANDOMIZE_KSTACK_OFFSET), so across them the pointer proves nothing: there it is
 * what inet_create() can call, and how often, that tells a stale frame. A pointer on another stack is an interrupt's.
 */
#ifndef INETPROBE_THREAD_H
#define INETPROBE_THREAD_H

#include "caller.h"
#include "counters.h"
#include "features.h"

#define RET_SLOT 8	/* x86-64: `ret` pops the return address, so a return's pointer is its entry's plus this */
#define DEPTH (INETPROBE_CALLS > 8 ? 16 : 8) /* open calls of one thread: a power of two */
#define STACK_MASK (~(u64)(STACK_SIZE - 1)) /* task stacks are aligned to their size */

/* An open call. */
struct frame {
	u64 sp;			/* stack pointer at its entry */
	u32 call;		/* its index in calls[] */
	u32 function;
};

struct thread {
	u64 owner;		/* task the frames belong to, 0 of a free slot; a displaced thread's, in a hash, can outlive its thread */
	struct frame frames[DEPTH];
	u32 depth;
	u32 ncalls;
	u32 alloc_seen;		/* bit per depth: has the create above it called sk_alloc()? */
	u32 foreign;
	u64 start_ns;
	u64 prot;
	u64 frame;		/* where stack_of() turns a context's address into a number */
	u64 socket[SOCKS];	/* that the outermost create was given; 0 of a bare sock */
	s32 kernel_size[STACKS];	/* with STACK_AT_ENTRY as that of struct inetprobe_frames, else 0 */
	u64 kernel[STACKS][KERNEL_FRAMES];
	u64 stack[BARE];	/* the task's own */
	u8 softirq[BARE];	/* is this the CPU's and not a thread's? */
	u32 netns;
	s32 protocol;
	s16 family;
	s16 type;
	u8 flags;
	u8 modules;		/* module requests seen */
	u8 nested;		/* creates within the outermost one */
	u8 displaced;		/* is it not in its slot? */
	u64 named;		/* struct proto of the kernel's own whose name was read last, and its first 8 bytes */
	u64 name;
	struct inetprobe_call calls[INETPROBE_CALLS];
};

/* Where the threads with one hash meet. Counts are of all of them, on any CPU. */
struct slot {
	u64 runs[PROGRAMS];	/* what the kernel counts as a kprobe's hit and did not run shows here */
	u64 sk_alloc_outside[INET_FAMILIES];	/* as in struct cpu_counters, of AF_INET and AF_INET6 */
	u64 sk_prot_alloc_outside[INET_FAMILIES];
	u64 claims;		/* threads that have taken it, or are trying to */
	u64 displaced;		/* threads that have found it taken */
	struct thread thread;
};
_Static_assert(sizeof(struct slot) <= SLOT_BYTES, "as inetprobe/kernel/maps/counters.py has it");

/* Has no create made this trace? */
static __always_inline int is_bare(struct thread *t)
{
	return BARE && t->flags & RECORD_BARE;
}

/* The frame of the innermost open call; some other where there is none. */
static __always_inline struct frame *top_of(struct thread *t)
{
	u64 depth = t->depth;

	return &t->frames[(depth - 1) & (DEPTH - 1)];
}

/* Is the top frame that of this call? */
static __always_inline int is_top(struct thread *t, u64 sp, u32 function)
{
	struct frame *top = top_of(t);

	return t->depth && top->sp == sp && top->function == function;
}

/* Drop the frames that cannot be live at `sp`: their returns were missed. */
static __always_inline void unwind(struct thread *t, u64 sp)
{
	for (u32 i = 0; i < DEPTH; i++) {
		if (!t->depth || top_of(t)->sp > sp)
			return;
		t->flags |= RECORD_RETURN_MISSED;
		t->depth--;
	}
}

static __always_inline struct inetprobe_call *push_at(struct thread *t, u64 sp, u64 function, u64 start_ns, u64 depth,
						      u64 n)
{
	struct inetprobe_call *call = &t->calls[n & (INETPROBE_CALLS - 1)];
	struct frame *frame = &t->frames[depth & (DEPTH - 1)];

	frame->sp = sp;
	*(u64 *)&frame->call = function << 32 | n;
	t->depth = depth + 1;
	t->ncalls = n + 1;
	call->start_ns = start_ns;
	call->duration_ns = 0;
	/* result to module, then the module's numbers: a store each */
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
	asm volatile("" : "+r"(depth), "+r"(n)); /* or clang drops the masks, which the verifier needs */
	return push_at(t, sp, function, bpf_ktime_get_boot_ns() - t->start_ns, depth, n);
}

/* The outermost call of a trace that has begun. */
static __always_inline void push_first(struct thread *t, u64 sp, u32 function)
{
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
	return (((BARE ? *t->stack : t->frames[0].sp) ^ sp) & STACK_MASK) != 0;
}

/*
 * Does the open trace's protocol make a socket of its own in its init, as MPTCP and SMC do? It does so for the kernel,
 * and once, after sk_alloc(). Anything else is a later system call, and the open trace's return was missed.
 */
static __always_inline int nests(struct thread *t, u64 kern, void *frame)
{
	u64 name = 0;

	if (!(kern & 0xff) || is_bare(t))
		return 0;
	if (frame)
		return 1; /* fexit has no limit of calls in flight to miss one by */
	if (t->nested || !t->alloc_seen)
		return 0;
	for (u32 i = 0; i < DEPTH; i++)
		if (i < t->depth && t->frames[i].function == FUNCTION_SK_ALLOC)
			return 0;
	READ(name, t->prot, OFF_PROTO_NAME);
	return (u32)name == 0x4354504d /* "MPTC" */ || name == 0x434d535f54454e49ULL /* "INET_SMC" */ ||
		name == 0x4d535f3654454e49ULL /* "INET6_SM" */;
}

/* Is the trace of another address family? */
static __always_inline int differs(struct thread *t, u64 family)
{
	return ((u16)t->family ^ family) & 0xffff;
}

static __always_inline void begin(struct thread *t, u8 flags, s16 family, s16 type, s32 protocol, u32 netns)
{
	*(u64 *)&t->alloc_seen = 0; /* and foreign */
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

	r->prot[0] = 0;
	if (!prot)
		return;
	if (t->named == prot) {
		letters = t->name;
	} else {
		READ(letters, prot, OFF_PROTO_NAME); /* mostly the whole name, and far cheaper than reading a string */
		if (prot - KERNEL < KERNEL_BYTES) { /* and where no module's can take its place, it stays so */
			t->name = letters;
			t->named = prot;
		}
	}
	*(u64 *)r->prot = letters;
	if (!((letters - 0x0101010101010101ULL) & ~letters & 0x8080808080808080ULL)) /* no byte of it is 0 */
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
