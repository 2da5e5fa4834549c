/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Counting: arrays of one value each, at addresses that the programs know: such an address takes one instruction, a
 * lookup a dozen. */
#ifndef INETPROBE_COUNT_H
#define INETPROBE_COUNT_H

#include "counters.h"
#include "helpers.h"
#include "maps.h"
#include "record.h"

static __always_inline struct cpu_counters *counters_of(u64 cpu)
{
	return cpu < CPUS ? VALUE(MAP_COUNTERS) + cpu * sizeof(struct cpu_counters) : 0;
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
