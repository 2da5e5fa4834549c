/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * --stack: the callers of the outermost call of a trace that failed or lasted at least STACK_SLOW_NS. STACK_KERNEL and
 * STACK_USER: are the kernel's and the user's frames asked for? STACK_AT_ENTRY: this kernel cannot unwind beyond a
 * kretprobe, so the kernel's frames are taken when a create by kprobe begins. The addresses go no further than
 * inetprobe/kernel/frames/naming.py, which gives them names.
 */
#ifndef INETPROBE_STACK_H
#define INETPROBE_STACK_H

#include "features.h"
#include "read.h"

/* Where a system call saves the user's registers: arch/x86/include/asm/processor.h, task_pt_regs(). */
#define USER_REGS(stack, padding) ((stack) + STACK_SIZE - (padding) - sizeof(struct pt_regs))
#define FRED_PADDING 16 /* TOP_OF_KERNEL_STACK_PADDING with CONFIG_X86_FRED, else 0 */

/*
 * The word at the user's stack pointer. libc's wrapper of socket() pushes nothing, so this is its return address, to
 * which the frame pointer, still its caller's, does not lead. The right padding is the one at which the saved
 * instruction pointer equals the first frame's.
 */
static __always_inline u64 user_caller(u64 task, u64 ip)
{
	u64 stack = 0, seen = 0, sp = 0, caller = 0, regs;

	READ(stack, task, OFF_TASK_STACK);
	regs = USER_REGS(stack, 0);
	READ(seen, regs, __builtin_offsetof(struct pt_regs, ip));
	if (seen != ip) {
		regs = USER_REGS(stack, FRED_PADDING);
		READ(seen, regs, __builtin_offsetof(struct pt_regs, ip));
		if (seen != ip)
			return 0;
	}
	READ(sp, regs, __builtin_offsetof(struct pt_regs, sp));
	bpf_probe_read_user(&caller, sizeof(caller), (void *)sp);
	return caller;
}

static __always_inline void fill_user(struct inetprobe_frames *f, void *ctx)
{
	u64 task = bpf_get_current_task(), leader = 0, mm = 0;

	f->process_start = 0;
	f->start_stack = 0;
	READ(leader, task, OFF_TASK_GROUP_LEADER);
	READ(f->process_start, leader, OFF_TASK_START);
	READ(mm, task, OFF_TASK_MM);
	READ(f->start_stack, mm, OFF_MM_START_STACK);
	f->user_size = bpf_get_stack(ctx, f->user, sizeof(f->user), BPF_F_USER_STACK);
	f->caller = f->user_size > 0 ? user_caller(task, f->user[0]) : 0;
}

/*
 * The frames, where they are asked for; 1 where the user's are among them. A trace whose outermost return was not seen
 * has none: it ends in another call. In a softirq the interrupted process is not the caller.
 */
static __always_inline int fill_frames(struct inetprobe_frames *f, void *ctx, struct inetprobe_call *outermost,
				       u8 flags, u64 *at_entry, s32 size)
{
	f->kernel_size = 0;
	f->user_size = 0;
	if (!ctx || !(outermost->flags & CALL_RETURNED))
		return 0;
	if (!outermost->result && !(outermost->flags & CALL_NULL) && outermost->duration_ns < STACK_SLOW_NS)
		return 0;
	if (STACK_AT_ENTRY && size) {
		f->kernel_size = size;
		__builtin_memcpy(f->kernel, at_entry, sizeof(f->kernel));
	} else if (STACK_KERNEL)
		f->kernel_size = bpf_get_stack(ctx, f->kernel, sizeof(f->kernel), 0);
	if (!STACK_USER || flags & RECORD_SOFTIRQ)
		return 0;
	fill_user(f, ctx);
	return 1;
}

#endif
