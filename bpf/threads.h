/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The current thread's struct thread: found, claimed and freed, in its slot or, of a displaced thread, in a map. */
#ifndef INETPROBE_THREADS_H
#define INETPROBE_THREADS_H

#include "maps.h"
#include "thread.h"

/* Of a displaced thread: task storage, which the kernel frees with the task, or a hash. */
static __always_inline struct thread *displaced_get(void)
{
	u32 tid;

	if (TASK_STORAGE)
		return bpf_task_storage_get(MAP(MAP_DISPLACED), bpf_get_current_task_btf(), 0, 0);
	tid = bpf_get_current_pid_tgid();
	return bpf_map_lookup_elem(MAP(MAP_DISPLACED), &tid);
}

static __always_inline struct thread *displaced_create(void)
{
	u32 tid, zero = 0;
	struct thread *blank;

	if (TASK_STORAGE)
		return bpf_task_storage_get(MAP(MAP_DISPLACED), bpf_get_current_task_btf(), 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	tid = bpf_get_current_pid_tgid();
	blank = bpf_map_lookup_elem(MAP(MAP_BLANK), &zero);
	if (!blank || bpf_map_update_elem(MAP(MAP_DISPLACED), &tid, blank, 0))
		return 0;
	return bpf_map_lookup_elem(MAP(MAP_DISPLACED), &tid);
}

static __always_inline void displaced_delete(void)
{
	u32 tid;

	if (TASK_STORAGE)
		return;
	tid = bpf_get_current_pid_tgid();
	bpf_map_delete_elem(MAP(MAP_DISPLACED), &tid);
}

static __always_inline struct slot *slot_of(u64 task)
{
	u64 index = (task * 0x9E3779B97F4A7C15ULL) >> (64 - SLOT_BITS); /* 2^64 / golden ratio */

	return VALUE(MAP_SLOTS) + index * SLOT_BYTES;
}

/* The current thread's slot, where a run of a program is counted. */
static __always_inline struct slot *enter(u64 task, u32 program)
{
	struct slot *slot = slot_of(task);

	lock_xadd(&slot->counters.runs[program & (PROGRAMS - 1)], 1);
	return slot;
}

static __always_inline struct thread *displaced_of(u64 task)
{
	struct thread *t = displaced_get();

	return t && t->owner == task ? t : 0;
}

static __always_inline struct thread *softirq_thread(void)
{
	u32 zero = 0;

	return BARE ? bpf_map_lookup_elem(MAP(MAP_SOFTIRQS), &zero) : 0;
}

/* The current thread's state, or 0 where it has none. */
static __always_inline struct thread *thread_of(struct slot *slot, u64 task)
{
	if (slot->thread.owner == task)
		return &slot->thread;
	return slot->displaced ? displaced_of(task) : 0;
}

static __always_inline struct thread *create_displaced(u64 task)
{
	struct thread *t = displaced_create();

	if (t) {
		t->owner = task;
		t->displaced = 1;
	}
	return t;
}

/*
 * Room for the current thread's state. Each of two threads that claim a slot at once counts its claim before it reads
 * the count, so at most one of them reads 1. Only a thread that reads 1 writes `owner` of the slot.
 */
static __always_inline struct thread *thread_create(struct slot *slot, u64 task)
{
	struct thread *t;

	if (BARE) {
		t = thread_of(slot, task); /* it has one where a softirq made a sock on top of it */
		if (t)
			return t;
	}
	lock_xadd(&slot->claims, 1);
	if (*(volatile u64 *)&slot->claims == 1) {
		slot->thread.owner = task;
		return &slot->thread;
	}
	lock_xadd(&slot->claims, -1);
	lock_xadd(&slot->displaced, 1);
	t = create_displaced(task);
	if (!t)
		lock_xadd(&slot->displaced, -1);
	return t;
}

static __always_inline void free_displaced(struct thread *t)
{
	lock_xadd(&slot_of(t->owner)->displaced, -1);
	t->owner = 0;
	displaced_delete();
}

static __always_inline void thread_free(struct slot *slot, struct thread *t)
{
	if (BARE && *t->softirq)
		return;
	if (t->displaced) {
		free_displaced(t);
		return;
	}
	*(volatile u64 *)&t->owner = 0;
	lock_xadd(&slot->claims, -1);
}

#endif
