/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Who is calling: what a record and the filters say of the current thread. */
#ifndef INETPROBE_CALLER_H
#define INETPROBE_CALLER_H

#include "record.h"

#define READ(dst, base, offset) bpf_probe_read_kernel(&(dst), sizeof(dst), (void *)((u64)(base) + (offset)))

/*
 * What a pointer of a type that the verifier knows points to: an argument of fentry's, or what was loaded from one, or
 * from the current task. A load instead of a call, and where the pointer is bad, 0. In assembly, since bcc would make a
 * call of it.
 */
#define LOAD(type, base, offset)                                                                                      \
	({                                                                                                            \
		u64 loaded;                                                                                           \
		asm volatile("%0 = *(" #type " *)(%1 + %2)" : "=r"(loaded) : "r"((u64)(base)), "i"(offset));           \
		(type)loaded;                                                                                         \
	})
/* `dst` of an argument of the traced function. */
#define READ_ARGUMENT(type, dst, base, offset)                                                                        \
	if (frame)                                                                                                    \
		dst = LOAD(type, base, offset);                                                                       \
	else                                                                                                          \
		READ(dst, base, offset)

/* Thread filters; a filter is compiled in as an expression over these, read only where it names them. */
#define WHO_PID ((u32)(bpf_get_current_pid_tgid() >> 32))
#define WHO_UID ((u32)bpf_get_current_uid_gid())
#define WHO_NETNS netns_of(net)
#define WHO_CGROUP(level) bpf_get_current_ancestor_cgroup_id(level)
#define WHO_FOLLOWED is_followed()
#define WHO_COMM(low, high) comm_is(low, high)

static __always_inline u32 netns_of(u64 net)
{
	u32 inum = 0;

	READ(inum, net, OFF_NET_INUM);
	return inum;
}

/* Of a create's argument, which mostly is the caller's own. */
static __always_inline u32 netns_of_create(u64 net, void *frame)
{
	if (frame)
		return LOAD(u32, net, OFF_NET_INUM);
#ifdef TASK_STORAGE
	{
		u64 mine = LOAD(u64, LOAD(u64, bpf_get_current_task_btf(), OFF_TASK_NSPROXY), OFF_NSPROXY_NET);
		u32 inum = LOAD(u32, mine, OFF_NET_INUM); /* of this pointer's type, which `net` lacks */

		if (mine == net)
			return inum;
	}
#endif
	return netns_of(net);
}

static __always_inline int comm_is(u64 low, u64 high)
{
	u64 comm[2] = {};

	bpf_get_current_comm(comm, sizeof(comm));
	return comm[0] == low && comm[1] == high;
}

/* Does the current thread hold CAP_NET_RAW over the net namespace? Unknown where its user namespace is another. */
static __always_inline u8 cap_net_raw(u64 net)
{
	u64 cred = 0, effective = 0, mine = 0, owner = 0;

	READ(cred, bpf_get_current_task(), OFF_TASK_CRED);
	READ(effective, cred, OFF_CRED_CAP_EFFECTIVE);
	READ(mine, cred, OFF_CRED_USER_NS);
	READ(owner, net, OFF_NET_USER_NS);
	if (!cred || mine != owner)
		return 0;
	return RECORD_CAP_KNOWN | ((effective >> 13) & 1 ? RECORD_CAP_NET_RAW : 0);
}

#ifdef TASK_STORAGE
static __always_inline void fill_caller(struct inetprobe_record *r)
{
	u64 ids = bpf_get_current_pid_tgid(), task = (u64)bpf_get_current_task_btf(), cred = LOAD(u64, task, OFF_TASK_CRED);

	r->pid = ids >> 32;
	r->tid = ids;
	r->ppid = LOAD(u32, LOAD(u64, task, OFF_TASK_REAL_PARENT), OFF_TASK_TGID);
	r->uid = LOAD(u32, cred, OFF_CRED_UID);
	r->gid = LOAD(u32, cred, OFF_CRED_GID);
	r->cgroup_id = bpf_get_current_cgroup_id();
	*(u64 *)&r->comm[0] = LOAD(u64, task, OFF_TASK_COMM);
	*(u64 *)&r->comm[8] = LOAD(u64, task, OFF_TASK_COMM + 8);
}
#else
static __always_inline void fill_caller(struct inetprobe_record *r)
{
	u64 ids = bpf_get_current_pid_tgid(), user = bpf_get_current_uid_gid(), parent = 0;

	r->pid = ids >> 32;
	r->tid = ids;
	r->uid = user;
	r->gid = user >> 32;
	r->cgroup_id = bpf_get_current_cgroup_id();
	r->ppid = 0;
	READ(parent, bpf_get_current_task(), OFF_TASK_REAL_PARENT);
	READ(r->ppid, parent, OFF_TASK_TGID);
	bpf_get_current_comm(r->comm, sizeof(r->comm));
}
#endif

/* Softirqs run on the task's own stack in ksoftirqd alone, a kernel thread that nobody can pass for. */
static __always_inline int is_ksoftirqd(void)
{
	u32 flags = 0;
	u64 comm[2] = {};

	READ(flags, bpf_get_current_task(), OFF_TASK_FLAGS);
	if (!(flags & 0x00200000 /* PF_KTHREAD */))
		return 0;
	bpf_get_current_comm(comm, sizeof(comm));
	return comm[0] == 0x71726974666f736bULL; /* "ksoftirq" */
}

#endif
