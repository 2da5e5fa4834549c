/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The kernel side: one record for each outermost inet_create() or inet6_create(), and with BARE for each sock that
 * neither made. This file has the maps, an accessor for each operation on them, and the programs; what the programs do
 * is in the headers. bcc rewrites map operations in the main file only: hence the accessors.
 *
 * Constants come as -D from inetprobe/kernel/program/program.py: OFF_* (offsets from the kernel's BTF),
 * MECHANISM_<function> (KPROBE or FENTRY), RING_PAGES, CPUS, WAKEUP_BYTES and WAKEUP_WINDOW, STACK_SIZE, KERNEL and
 * KERNEL_BYTES (where the kernel's image lies), the features of features.h, and the two maps of
 * inetprobe/kernel/maps/counters.py.
 */
#include <linux/types.h>
#include <asm/ptrace.h>
#include "features.h"
#include "record.h"
#include "count.h"
#include "thread.h"
#include "cells.h"
#include "cells.h"

/* ---- maps and their accessors ---- */

/* First: bcc numbers maps from -1 down in order of declaration, and has no method of its own for ringbuf_query. */
BPF_RINGBUF_OUTPUT(records, RING_PAGES);
#define RECORDS ((void *)bpf_pseudo_fd(1, -1))

static __always_inline struct inetprobe_record *record_reserve(void)
{
	return records.ringbuf_reserve(sizeof(struct inetprobe_record));
}

static __always_inline void record_submit(struct inetprobe_record *r, u64 flags)
{
	records.ringbuf_submit(r, flags);
}

static __always_inline u64 records_pending(void)
{
	return bpf_ringbuf_query(RECORDS, BPF_RB_AVAIL_DATA);
}

#if SERVE
BPF_F_TABLE("array", u32, struct cpu_cells, cells, CPUS, BPF_F_MMAPABLE);

static __always_inline struct cpu_cells *cells_of(u32 *cpu)
{
	return cells.lookup(cpu);
}
#else
static __always_inline struct cpu_cells *cells_of(u32 *cpu)
{
	return 0;
}
#endif

#if FOLLOW
BPF_HASH(followed, u32, u8, 65536); /* thread groups of COMMAND and of all that it started */

static __always_inline int followed_has(u32 *tgid)
{
	return followed.lookup(tgid) != 0;
}

static __always_inline int followed_add(u32 *tgid, u8 *yes)
{
	return followed.update(tgid, yes);
}

static __always_inline void followed_delete(u32 *tgid)
{
	followed.delete(tgid);
}
#else
static __always_inline int followed_has(u32 *tgid)
{
	return 1;
}

static __always_inline int followed_add(u32 *tgid, u8 *yes)
{
	return 0;
}

static __always_inline void followed_delete(u32 *tgid)
{
}
#endif

#if FOLLOW && PIDNS
BPF_F_TABLE("array", u32, u64, command, 1, 0); /* COMMAND's process id in inetprobe's own pid namespace */

static __always_inline u64 *command_pid(void)
{
	u32 zero = 0;

	return command.lookup(&zero);
}
#else
static __always_inline u64 *command_pid(void)
{
	return 0;
}
#endif

#if TASK_STORAGE
BPF_TASK_STORAGE(displaced, struct thread);

static __always_inline struct thread *displaced_get(void)
{
	return displaced.task_storage_get(bpf_get_current_task_btf(), 0, 0);
}

static __always_inline struct thread *displaced_create(void)
{
	return displaced.task_storage_get(bpf_get_current_task_btf(), 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
}

static __always_inline void displaced_delete(void)
{
	/* The kernel frees it with the task. */
}
#else
BPF_HASH(displaced, u32, struct thread, 16384);
BPF_F_TABLE("array", u32, struct thread, blank, 1, 0); /* all 0: a struct thread is too large for a program's stack */

static __always_inline struct thread *displaced_get(void)
{
	u32 tid = bpf_get_current_pid_tgid();

	return displaced.lookup(&tid);
}

static __always_inline struct thread *displaced_create(void)
{
	u32 tid = bpf_get_current_pid_tgid(), zero = 0;
	struct thread *t = blank.lookup(&zero);

	if (!t || displaced.update(&tid, t))
		return 0;
	return displaced.lookup(&tid);
}

static __always_inline void displaced_delete(void)
{
	u32 tid = bpf_get_current_pid_tgid();

	displaced.delete(&tid);
}
#endif

#if BARE
BPF_PERCPU_ARRAY(softirqs, struct thread, 1); /* open calls of this CPU's softirqs, which never sleep */

static __always_inline struct thread *softirq_thread(void)
{
	u32 zero = 0;

	return softirqs.lookup(&zero);
}
#else
static __always_inline struct thread *softirq_thread(void)
{
	return 0;
}
#endif

/* ---- what the programs do ---- */

#include "threads.h"
#include "follow.h"
#include "emit.h"
#include "probe.h"
#include "entries.h"
#include "returns.h"

/* ---- the programs ---- */

PAIR(inet_create, FUNCTION_INET_CREATE, 4, create_entry(p, AF_INET), leave_create(p))
#ifdef MECHANISM_inet6_create /* not where the kernel has no such function */
PAIR(inet6_create, FUNCTION_INET6_CREATE, 4, create_entry(p, AF_INET6), leave_create(p))
#endif
PAIR(sk_alloc, FUNCTION_SK_ALLOC, 5, sk_alloc_entry(p), leave_sock(p))
PAIR(sk_prot_alloc, FUNCTION_SK_PROT_ALLOC, 3, sk_prot_alloc_entry(p), leave_sock(p))
/* Variadic: fentry refuses it. */
KPROBE_PAIR(__request_module, FUNCTION_REQUEST_MODULE, 5, request_module_entry(p), leave_int(p))

/* --also */
#define ALSO_PAIR(fn, id, mechanism, nargs, returns) PAIR_BY(mechanism, fn, id, nargs, also_entry(p), LEAVE_##returns)
ALSO(ALSO_PAIR)

int thread_exit(struct bpf_raw_tracepoint_args *ctx)
{
	return end_thread(ctx);
}

#if FOLLOW
int follow_fork(struct bpf_raw_tracepoint_args *ctx)
{
	return follow_child(ctx);
}
#endif
