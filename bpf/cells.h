/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * What serve's page is made of, kept in the kernel: one struct cpu_cells per CPU, in an array that user space maps.
 *
 * Only the programs of a create's and of a system call's return count here, and those of seccomp.h, each in cells of
 * its own. No program runs twice at once on a CPU (prog->active), so a plain add is exact. inetprobe/kernel/maps/cells.py reads this file for
 * the layout.
 */
#ifndef INETPROBE_CELLS_H
#define INETPROBE_CELLS_H

#define CREATES 2	/* inet_create() and inet6_create(), by their FUNCTION_* */
/* Sizes of tables: powers of two. Where one is full, the rest is counted with less detail. */
#define OUTCOMES 512	/* by type, protocol and errno */
#define PLAIN_OUTCOMES 128	/* by type and errno */
#define LAST_OUTCOMES 32	/* by type * 2, plus 1 where it failed */
#define MODULES 128	/* by what was asked for, and whether it failed */
#define LAST_MODULES 2	/* by whether it failed */
#define REFUSALS 128	/* of system calls, by family, type and errno, whether after a create, or with an unknown flag */
#define TRIES 8		/* cells of a table that a key can be in */
#define CELL_TYPES 16
#define CELL_CALLS 8	/* functions, by FUNCTION_* */
#define BUCKETS 15	/* at most 14 bounds, and above the last */

/* A key's bits: in use, with its protocol or failed, then the form of the module's name, type, errno or family,
 * protocol. */
#define KEY_USED 1
#define KEY_PROTOCOL 2	/* of an outcome */
#define KEY_FAILED 2	/* of a module request */
#define KEY_AFTER 2	/* of a refusal: the create had succeeded */
#define KEY_FLAGS 4	/* likewise: the type has other flags than those of socket(2) */
#define KEY_FORM 2	/* from this bit on: MODULE_* */
#define KEY_TYPE 4
#define KEY_ERRNO 16
#define KEY_FAMILY 16
#define KEY_NUMBER 32

struct cell {
	__u64 key;	/* 0: free */
	__u64 count;
};

struct histogram {
	__u64 bucket[BUCKETS];
	__u64 sum_ns;
};

struct create_cells {
	struct cell outcomes[OUTCOMES];
	struct cell plain_outcomes[PLAIN_OUTCOMES];
	struct cell modules[MODULES];
	struct histogram durations[CELL_TYPES];
	struct histogram calls[CELL_CALLS];
	__u64 last_outcomes[LAST_OUTCOMES];
	__u64 last_modules[LAST_MODULES];
};

struct refusal_cells {
	struct cell refusals[REFUSALS];
	__u64 last_refusals;
};

struct syscall_cells {
	struct refusal_cells refused;
	struct cell modules[MODULES];	/* of families: asked for before a create */
	struct histogram durations;
	struct histogram requests;	/* for those modules */
	__u64 last_modules[LAST_MODULES];
};

struct cpu_cells {
	struct create_cells create[CREATES];
	struct syscall_cells syscall[SYSCALLS];
	struct refusal_cells seccomp[SECCOMP_FUNCTIONS]; /* what filters refuse, by the function that told of it */
	__u64 second;	/* of the rate limit */
	__u64 sent;	/* records in that second */
};

static __always_inline struct cell *cell_of(struct cell *table, u32 size, u64 key)
{
	u32 start = (key * 0x9E3779B97F4A7C15ULL) >> 32; /* 2^64 / golden ratio */

	for (u32 i = 0; i < TRIES; i++) {
		struct cell *cell = &table[(start + i) & (size - 1)];

		if (!cell->key)
			cell->key = key;
		if (cell->key == key)
			return cell;
	}
	return 0;
}

static __always_inline void count_outcome(struct create_cells *cells, u32 type, s32 protocol, s32 result)
{
	u32 error = result < 0 ? -result : 0;
	u64 plain, key;
	struct cell *cell;

	type &= CELL_TYPES - 1; /* SOCK_MAX is 11 */
	plain = KEY_USED | type << KEY_TYPE | (error & 0xfff) << KEY_ERRNO;
	key = plain | KEY_PROTOCOL | (u64)(u32)protocol << KEY_NUMBER;
	cell = cell_of(cells->outcomes, OUTCOMES, key);
	if (!cell)
		cell = cell_of(cells->plain_outcomes, PLAIN_OUTCOMES, plain);
	if (cell)
		cell->count++;
	else
		cells->last_outcomes[type * 2 + !!error]++;
}

/* A system call that failed before a create, or after one that had succeeded. */
static __always_inline void count_refusal(struct refusal_cells *cells, u32 family, u32 type, s32 result, int after)
{
	u32 error = -result;
	u64 key = KEY_USED | (type & SOCK_TYPE_MASK) << KEY_TYPE | (error & 0x1fff) << KEY_ERRNO; /* and ERRNO_SIGSYS */
	struct cell *cell;

	if (after)
		key |= KEY_AFTER;
	if (type & ~(u32)(SOCK_TYPE_MASK | SOCK_FLAGS))
		key |= KEY_FLAGS;
	key |= (u64)(family < FAMILIES ? family : FAMILIES - 1) << KEY_NUMBER;
	cell = cell_of(cells->refusals, REFUSALS, key);
	if (cell)
		cell->count++;
	else
		cells->last_refusals++;
}

static __always_inline void count_module(struct cell *modules, u64 *last, struct inetprobe_call *call)
{
	u64 key = KEY_USED | (call->module & 3) << KEY_FORM | (call->module_type & (CELL_TYPES - 1)) << KEY_TYPE |
		(u32)(u16)call->module_family << KEY_FAMILY | (u64)(u32)call->module_protocol << KEY_NUMBER;
	int failed = call->result != 0; /* also 0 where the return was not seen */
	struct cell *cell = cell_of(modules, MODULES, failed ? key | KEY_FAILED : key);

	if (cell)
		cell->count++;
	else
		last[failed]++;
}

static __always_inline void count_duration(struct histogram *histogram, u64 duration_ns)
{
	u32 bucket = BUCKET(duration_ns);

	if (bucket < BUCKETS)
		histogram->bucket[bucket]++;
	histogram->sum_ns += duration_ns;
}

#endif
