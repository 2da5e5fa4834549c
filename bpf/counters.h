/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Counters: in each slot those that every run of a program counts, the rest by CPU. They are no maps to the programs, but
 * memory at addresses that the programs know.
 */
#ifndef INETPROBE_COUNTERS_H
#define INETPROBE_COUNTERS_H

#include "kernel.h"
#include "record.h"

struct cpu_counters {
	u64 value[COUNTERS];
	u64 on;			/* do traces begin? */
	u64 seq[PRODUCERS];
	u64 sk_alloc_outside[FAMILIES];	/* sk_alloc() outside every create, by family */
	u64 sk_prot_alloc_outside[FAMILIES];	/* likewise: those of sk_alloc(), and of sk_clone() for accepted children */
};

/* Of arrays that inetprobe/kernel/maps/counters.py makes: an only value's address takes one instruction, a lookup a dozen. */
#define VALUE(fd) ((void *)bpf_pseudo_fd(BPF_PSEUDO_MAP_VALUE, fd))
_Static_assert(sizeof(struct cpu_counters) == COUNTERS_BYTES, "as inetprobe/kernel/maps/counters.py has it");

static __always_inline struct cpu_counters *counters_of(u64 cpu)
{
	return cpu < CPUS ? VALUE(COUNTERS_FD) + cpu * COUNTERS_BYTES : 0;
}

static __always_inline struct cpu_counters *this_cpu(void)
{
	return counters_of(bpf_get_smp_processor_id());
}

static __always_inline void count(u32 counter)
{
	struct cpu_counters *c = this_cpu();

	if (c)
		lock_xadd(&c->value[counter], 1);
}

#endif
