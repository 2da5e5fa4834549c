/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The kernel's interface to BPF programs, of include/uapi/linux/bpf.h: helper functions by their numbers, and their
 * flags. Macros, since bcc declares some of them by the same names: which ones depends on its age.
 */
#ifndef INETPROBE_HELPERS_H
#define INETPROBE_HELPERS_H

#include <linux/types.h>

#define HELPER(number, returns, ...) ((returns (*)(__VA_ARGS__))number)
#define bpf_map_lookup_elem HELPER(1, void *, void *map, const void *key)
#define bpf_map_update_elem HELPER(2, long, void *map, const void *key, const void *value, u64 flags)
#define bpf_map_delete_elem HELPER(3, long, void *map, const void *key)
#define bpf_get_smp_processor_id HELPER(8, u64, void)
#define bpf_get_current_pid_tgid HELPER(14, u64, void)
#define bpf_get_current_uid_gid HELPER(15, u64, void)
#define bpf_get_current_comm HELPER(16, long, void *buffer, u32 size)
#define bpf_get_current_task HELPER(35, u64, void)
#define bpf_current_task_under_cgroup HELPER(37, int, void *map, u32 index)
#define bpf_get_stack HELPER(67, int, void *ctx, void *buffer, u32 size, u64 flags)
#define bpf_get_current_cgroup_id HELPER(80, u64, void)
#define bpf_probe_read_user HELPER(112, int, void *dst, u32 size, const void *user)
#define bpf_probe_read_kernel HELPER(113, int, void *dst, u32 size, const void *kernel)
#define bpf_probe_read_kernel_str HELPER(115, int, void *dst, u32 size, const void *kernel)
#define bpf_get_ns_current_pid_tgid HELPER(120, int, u64 dev, u64 ino, struct pidns_info *ids, u32 size)
#define bpf_ktime_get_boot_ns HELPER(125, u64, void)
#define bpf_ringbuf_reserve HELPER(131, void *, void *ring, u64 size, u64 flags)
#define bpf_ringbuf_submit HELPER(132, void, void *sample, u64 flags)
#define bpf_ringbuf_query HELPER(134, u64, void *ring, u64 what)
#define bpf_task_storage_get HELPER(156, void *, void *map, void *task, void *value, u64 flags) /* Linux 5.11 */
#define bpf_get_current_task_btf HELPER(158, void *, void) /* Linux 5.11 */
#define bpf_task_pt_regs HELPER(175, void *, void *task) /* Linux 5.15 */

#define BPF_F_USER_STACK (1ULL << 8)
#define BPF_LOCAL_STORAGE_GET_F_CREATE 1
#define BPF_RB_NO_WAKEUP 1
#define BPF_RB_FORCE_WAKEUP 2
#define BPF_RB_AVAIL_DATA 0

/* struct bpf_pidns_info, by a name that bcc does not have */
struct pidns_info {
	u32 pid;
	u32 tgid;
};

#undef lock_xadd
#define lock_xadd(pointer, value) ((void)__sync_fetch_and_add(pointer, value))

/* Kernel functions that a program may call (kfuncs): the loader puts their id in the place of such a number. */
#define KFUNCS 65536 /* above all helpers */
#define KFUNC(index, returns, ...) ((returns (*)(__VA_ARGS__))(KFUNCS + (index)))
#define bpf_preempt_disable KFUNC(0, void, void) /* Linux 6.10 */
#define bpf_preempt_enable KFUNC(1, void, void)

/* The loader puts a map's descriptor in the place of its index, where the source is BPF_PSEUDO_MAP_FD, or the address of
 * its only value, where it is BPF_PSEUDO_MAP_VALUE. */
u64 bpf_pseudo_fd(u64 source, u64 index) asm("llvm.bpf.pseudo");
#define MAP(index) ((void *)bpf_pseudo_fd(1, index))
#define VALUE(index) ((void *)bpf_pseudo_fd(2, index))

#endif
