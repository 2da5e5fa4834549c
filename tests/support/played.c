/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The BPF programs compiled for this machine: its maps are memory, its helpers stand-ins, and played.py is the kernel. */
#include <linux/types.h>
#include "helpers.h"
#include "maps.h"
#include "read.h"

#define SENT_MAX 64
#define EFAULT 14

u64 current_task, now_ns;
s64 unpreempted; /* bpf_preempt_disable() without bpf_preempt_enable() so far */
extern u8 counters[], slots[];
void *reserve(void);
void submit(void);

static long read_memory(void *to, u32 size, const void *from)
{
	if ((u64)from < 4096) {
		__builtin_memset(to, 0, size);
		return -EFAULT;
	}
	__builtin_memcpy(to, from, size);
	return 0;
}

#undef MAP
#undef VALUE
#undef LOAD
#undef bpf_map_lookup_elem
#undef bpf_get_smp_processor_id
#undef bpf_get_current_pid_tgid
#undef bpf_get_current_uid_gid
#undef bpf_get_current_task
#undef bpf_get_current_task_btf
#undef bpf_get_current_cgroup_id
#undef bpf_get_current_comm
#undef bpf_probe_read_kernel
#undef bpf_probe_read_kernel_str
#undef bpf_ktime_get_boot_ns
#undef bpf_ringbuf_reserve
#undef bpf_ringbuf_submit
#undef bpf_ringbuf_query
#undef bpf_task_storage_get
#undef bpf_preempt_disable
#undef bpf_preempt_enable
#define MAP(index) ((void *)(u64)(index))
#define VALUE(index) ((void *)((index) == MAP_COUNTERS ? counters : slots))
#define LOAD(type, base, offset)                                                                                      \
	({                                                                                                            \
		type loaded;                                                                                          \
		read_memory(&loaded, sizeof(loaded), (void *)((u64)(base) + (offset)));                                \
		loaded;                                                                                               \
	})
#define bpf_map_lookup_elem(map, key) ((void *)0)
#define bpf_get_smp_processor_id() 0
#define bpf_get_current_pid_tgid() 0
#define bpf_get_current_uid_gid() 0
#define bpf_get_current_task() current_task
#define bpf_get_current_task_btf() ((void *)current_task)
#define bpf_get_current_cgroup_id() 0
#define bpf_get_current_comm(buffer, size) __builtin_strncpy((char *)(buffer), (char *)current_task + OFF_TASK_COMM, size)
#define bpf_probe_read_kernel read_memory
#define bpf_probe_read_kernel_str(to, size, from) __builtin_strncpy(to, (char *)(from), (size) - 1)
#define bpf_ktime_get_boot_ns() (now_ns++)
#define bpf_ringbuf_reserve(map, size, flags) reserve()
#define bpf_ringbuf_submit(record, flags) submit()
#define bpf_ringbuf_query(map, what) 0
#define bpf_task_storage_get(map, task, value, flags) ((void *)0)
#define bpf_preempt_disable() (unpreempted++)
#define bpf_preempt_enable() (unpreempted--)
#include "inetprobe.bpf.c"

u8 counters[CPUS * sizeof(struct cpu_counters)], slots[(1 << SLOT_BITS) * SLOT_BYTES];
struct inetprobe_record sent[SENT_MAX];
u32 submitted;
/* As each record was submitted. */
u64 ended_before[SENT_MAX];
s64 unpreempted_at[SENT_MAX];

/* The ring's memory is an older record's. */
void *reserve(void)
{
	return __builtin_memset(&sent[submitted % SENT_MAX], 0xff, sizeof(sent[0]));
}

void submit(void)
{
	unpreempted_at[submitted % SENT_MAX] = unpreempted;
	ended_before[submitted++ % SENT_MAX] = ((struct cpu_counters *)counters)->value[COUNT_ENDED];
}

void forget(void)
{
	__builtin_memset(counters, 0, sizeof(counters));
	__builtin_memset(slots, 0, sizeof(slots));
	submitted = unpreempted = 0;
}
