/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* FOLLOW: the processes that are traced, by thread group. */
#ifndef INETPROBE_FOLLOW_H
#define INETPROBE_FOLLOW_H

#include "caller.h"
#include "count.h"

#define ANCESTORS 2 /* of a process that is not known to be followed: those whose being followed is looked up */

static __always_inline int followed_has(u32 *tgid)
{
	return bpf_map_lookup_elem(MAP(MAP_FOLLOWED), tgid) != 0;
}

static __always_inline long followed_add(u32 *tgid)
{
	u8 yes = 1;

	return bpf_map_update_elem(MAP(MAP_FOLLOWED), tgid, &yes, 0);
}

/* Is the current process COMMAND, or was it started by it? */
static __always_inline int is_followed(void)
{
	u32 pid = WHO_PID;
	u64 task = bpf_get_current_task();

	if (followed_has(&pid))
		return 1;
	/* Where the kernel preempts programs, a fork in between runs none: then an ancestor is in the set. */
	for (u32 i = 0; i < ANCESTORS; i++) {
		u32 ancestor = 0;

		READ(task, task, OFF_TASK_REAL_PARENT);
		READ(ancestor, task, OFF_TASK_TGID);
		if (!followed_has(&ancestor))
			continue;
		followed_add(&pid); /* where the set is full, the next call asks the ancestors again */
		return 1;
	}
	if (PIDNS) {
		/* COMMAND's first call: only here are its process ids in both namespaces known. */
		struct pidns_info ns = {};
		u32 zero = 0;
		u64 *wanted = bpf_map_lookup_elem(MAP(MAP_COMMAND), &zero);

		if (wanted && !bpf_get_ns_current_pid_tgid(PIDNS_DEV, PIDNS_INO, &ns, sizeof(ns)) && ns.tgid == *wanted) {
			followed_add(&pid);
			return 1;
		}
	}
	return 0;
}

/* A process forks: the child of a followed one is followed. The second argument of the tracepoint sched_process_fork is
 * the child's task. */
static __always_inline int follow_child(u64 *ctx)
{
	u32 parent = WHO_PID, child = 0;

	if (!is_followed())
		return 0;
	READ(child, ctx[1], OFF_TASK_TGID);
	if (child != parent && followed_add(&child))
		count(COUNT_UNFOLLOWED);
	return 0;
}

#endif
