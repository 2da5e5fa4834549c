/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Where a thread keeps its frames: in the slot that its task's address hashes to, which takes two dozen instructions to
 * find, or to find that there are none. Two threads of one slot at a time are rare: the second one's frames are strays,
 * in task storage or a hash, where finding them takes five times as many.
 *
 * What is counted lies beside: by slot where every call of a program counts, by CPU the rest. None of it is a map to the
 * programs, but memory whose address they know.
 */
#ifndef INETPROBE_SLOTS_H
#define INETPROBE_SLOTS_H

#include "thread.h"

#define AF_INET 2
#define AF_INET6 10

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

/* Of arrays that inetprobe/kernel/maps/counters.py makes: an only value's address takes one instruction, a lookup a dozen. */
#define VALUE(fd) ((void *)bpf_pseudo_fd(2 /* BPF_PSEUDO_MAP_VALUE */, fd))
_Static_assert(sizeof(struct cpu_counters) == COUNTERS_BYTES, "as inetprobe/kernel/maps/counters.py has it");
_Static_assert(sizeof(struct slot) <= SLOT_BYTES, "as inetprobe/kernel/maps/counters.py has it");

static __always_inline struct cpu_counters *counters_of(u64 cpu)
{
	return cpu < CPUS ? VALUE(COUNTERS_FD) + cpu * COUNTERS_BYTES : 0;
}

static __always_inline struct cpu_counters *this_cpu(void)
{
	return counters_of(bpf_get_smp_processor_id());
}

static __always_inline void count(u32 which)
{
	struct cpu_counters *c = this_cpu();

	if (c)
		lock_xadd(&c->value[which], 1);
}

static __always_inline struct slot *slot_of(u64 task)
{
	u64 place = (task * 0x9E3779B97F4A7C15ULL) >> (64 - SLOT_BITS); /* 2^64 / golden ratio */

	return VALUE(SLOTS_FD) + place * SLOT_BYTES;
}

/* The current thread's slot, where a run of a program is counted. */
static __always_inline struct slot *enter(u64 task, u32 program)
{
	struct slot *slot = slot_of(task);

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

#endif
