/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The counters' layout, per CPU and per slot. inetprobe/kernel/maps/counters.py reads this file and makes the two maps.
 * The counters COUNT_* of record.h are indices of value[].
 */
#ifndef INETPROBE_COUNTERS_H
#define INETPROBE_COUNTERS_H

#define SLOT_BITS 10 /* there are 2 to the power of this many slots */
/* Room for a struct slot of thread.h, which asserts that it is enough: this, and for each call a trace can hold. */
#define SLOT_FIXED_BYTES 1304
#define SLOT_CALL_BYTES 32

struct cpu_counters {
	__u64 value[COUNTERS];
	__u64 on;		/* may traces begin? */
	__u64 seq[PRODUCERS];	/* records of each program so far, lost ones included */
	__u64 sk_alloc_outside[FAMILIES];	/* sk_alloc() outside every create, by family */
	__u64 sk_prot_alloc_outside[FAMILIES];	/* likewise: from sk_alloc(), and from sk_clone() for accepted children */
};

/* What every call of a program counts: in the current thread's slot, where CPUs seldom meet. */
struct slot_counters {
	__u64 runs[PROGRAMS];	/* of a kprobe's hits, those that the kernel ran its program for */
	__u64 sk_alloc_outside[INET_FAMILIES];	/* as above, of AF_INET and AF_INET6 */
	__u64 sk_prot_alloc_outside[INET_FAMILIES];
};

#endif
