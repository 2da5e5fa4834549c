/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * --stack: who called the outermost call of a trace that failed or lasted STACK_SLOW_NS. STACK_KERNEL and STACK_USER say
 * whose frames are wanted; STACK_AT_ENTRY, that this kernel cannot look beyond a kretprobe: then the kernel's are taken
 * when a create by kprobe begins. What is in the record stays with inetprobe/kernel/frames/naming.py, which gives the frames
 * names.
 */
#ifndef INETPROBE_STACK_H
#define INETPROBE_STACK_H

#include "caller.h"

/* Where a system call has left the registers of user space: arch/x86/include/asm/processor.h, task_pt_regs(). */
#define USER_REGS(stack, padding) ((stack) + STACK_SIZE - (padding) - sizeof(struct pt_regs))
#define FRED_PADDING 16 /* TOP_OF_KERNEL_STACK_PADDING with CONFIG_X86_FRED, else 0 */

/*
 * What the user's stack pointer points to. libc's wrapper of socket() pushes nothing, so there this is its return
 * address, which the frame pointer, still its caller's, does not lead to. Which padding this kernel has tells the
 * instruction pointer: it is the first frame's.
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
 * The frames, where they are wanted; 1 if there is a user's. Of a trace whose outermost return was not seen there are
 * none: what comes along is another call. In a softirq the user is a stranger.
 */
static __always_inline int fill_frames(struct inetprobe_frames *f, void *ctx, struct inetprobe_call *outermost, u8 flags,
				       u64 *at_entry, s32 size)
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
