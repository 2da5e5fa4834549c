/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The caller: what a record and the filters say of the current thread. */
#ifndef INETPROBE_CALLER_H
#define INETPROBE_CALLER_H

#include "features.h"
#include "helpers.h"
#include "kernel.h"
#include "letters.h"
#include "read.h"
#include "record.h"

/* Filters of the caller are expressions over these; each is read only where an expression names it. */
#define WHO_PID ((u32)(bpf_get_current_pid_tgid() >> 32))
#define WHO_UID ((u32)bpf_get_current_uid_gid())
#define WHO_NETNS netns_of(net)
/* In the cgroup with this index in the map, or below it. */
#define WHO_CGROUP(index) (bpf_current_task_under_cgroup(MAP(MAP_CGROUPS), index) == 1)
#define WHO_FOLLOWED is_followed()
#define WHO_COMM(low, high) comm_is(low, high)

static __always_inline u32 netns_of(u64 net)
{
	u32 inum = 0;

	READ(inum, net, OFF_NET_INUM);
	return inum;
}

/* Of a create's argument `net`, which is the caller's own in most calls. */
static __always_inline u32 netns_of_create(u64 net, int fentry)
{
	if (fentry)
		return LOAD(u32, net, OFF_NET_INUM);
	if (TASK_STORAGE) {
		u64 mine = LOAD(u64, LOAD(u64, CURRENT_TASK(), OFF_TASK_NSPROXY), OFF_NSPROXY_NET);
		u32 inum = LOAD(u32, mine, OFF_NET_INUM); /* `mine` has a type that the verifier knows, `net` has none */

		if (mine == net)
			return inum;
	}
	return netns_of(net);
}

/* The caller's own net namespace. */
static __always_inline u64 current_net(void)
{
	u64 nsproxy = 0, net = 0;

	READ(nsproxy, bpf_get_current_task(), OFF_TASK_NSPROXY);
	READ(net, nsproxy, OFF_NSPROXY_NET);
	return net;
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
	return RECORD_CAP_KNOWN | ((effective >> CAP_NET_RAW) & 1 ? RECORD_CAP_NET_RAW : 0);
}

static __always_inline void fill_caller_by_load(struct inetprobe_record *r)
{
	u64 ids = bpf_get_current_pid_tgid(), task = CURRENT_TASK(), cred = LOAD(u64, task, OFF_TASK_CRED);

	r->pid = ids >> 32;
	r->tid = ids;
	r->ppid = LOAD(u32, LOAD(u64, task, OFF_TASK_REAL_PARENT), OFF_TASK_TGID);
	r->uid = LOAD(u32, cred, OFF_CRED_UID);
	r->gid = LOAD(u32, cred, OFF_CRED_GID);
	r->cgroup_id = bpf_get_current_cgroup_id();
	copy_name((u64 *)r->comm, LOAD(u64, task, OFF_TASK_COMM), LOAD(u64, task, OFF_TASK_COMM + 8));
}

static __always_inline void fill_caller_by_call(struct inetprobe_record *r)
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

static __always_inline void fill_caller(struct inetprobe_record *r)
{
	if (TASK_STORAGE)
		fill_caller_by_load(r);
	else
		fill_caller_by_call(r);
}

/* Is it ksoftirqd, the only thread on whose own stack softirqs run? No user process can pass for a kernel thread. */
static __always_inline int is_ksoftirqd(void)
{
	u32 flags = 0;
	u64 comm[2] = {};

	READ(flags, bpf_get_current_task(), OFF_TASK_FLAGS);
	if (!(flags & PF_KTHREAD))
		return 0;
	bpf_get_current_comm(comm, sizeof(comm));
	return comm[0] == 0x71726974666f736bULL; /* "ksoftirq" */
}

#endif
