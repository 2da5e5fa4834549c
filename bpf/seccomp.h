/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Sockets that a seccomp filter refuses: such a call never comes to __sys_socket(). kernel/seccomp.c __secure_computing()
 * runs the filters at each system call of a thread that has any, and returns -1 where the call is not to be made; the
 * registers then have what the thread gets in its place.
 */
#ifndef INETPROBE_SECCOMP_H
#define INETPROBE_SECCOMP_H

#include <asm/ptrace.h>
#include "entries.h"

/* A system call that makes sockets. */
struct asked {
	u32 family;
	u32 type;
	u32 protocol;
	int pair;	/* socketpair(2) */
};

/* The registers with which the thread came into the kernel: Linux 5.15 has a helper for their place. */
static __always_inline u64 registers_of(u64 task)
{
	u64 stack = 0;

	if (TASK_PT_REGS)
		return (u64)bpf_task_pt_regs(bpf_get_current_task_btf());
	READ(stack, task, OFF_TASK_STACK);
	return USER_REGS(stack, 0); /* FRED's padding came with 6.9 */
}

/* Fills `a` where these registers ask for a socket. arch/x86/entry/syscalls/. */
static __always_inline int asks_for_socket(struct pt_regs *regs, int compat, struct asked *a)
{
	u32 args[3] = {}, number = regs->orig_ax & ~__X32_SYSCALL_BIT;

	if (!compat) {
		a->family = regs->di;
		a->type = regs->si;
		a->protocol = regs->dx;
		a->pair = number == NR_SOCKETPAIR;
		return a->pair || number == NR_SOCKET;
	}
	a->family = regs->bx;
	a->type = regs->cx;
	a->protocol = regs->dx;
	a->pair = number == NR_IA32_SOCKETPAIR;
	if (a->pair || number == NR_IA32_SOCKET)
		return 1;
	a->pair = a->family == SYS_SOCKETPAIR;
	if (number != NR_IA32_SOCKETCALL || (!a->pair && a->family != SYS_SOCKET))
		return 0;
	if (bpf_probe_read_user(args, sizeof(args), (void *)(regs->cx & 0xffffffff)))
		return 0;
	a->family = args[0];
	a->type = args[1];
	a->protocol = args[2];
	return 1;
}

/* What the thread gets in the place of the call: an errno, ERRNO_SIGSYS for that signal, or 0 where that is no failure:
 * a supervisor has made the socket. */
static __always_inline u32 refusal_of(struct pt_regs *regs, u64 task)
{
	u64 error = -regs->ax;
	u32 mode = 0;

	READ(mode, task, OFF_TASK_SECCOMP_MODE);
	if (mode == SECCOMP_MODE_DEAD || regs->ax == regs->orig_ax) /* killed; SECCOMP_RET_TRAP: syscall_rollback() */
		return ERRNO_SIGSYS;
	return error <= MAX_ERRNO ? error : 0;
}

/* The return of __secure_computing(): one record where it refuses a socket. The time that filters take is not known. */
static __always_inline int leave_seccomp(struct probe *p)
{
	struct pt_regs regs = {};
	struct asked a = {};
	u32 status = 0, error;
	struct cpu_counters *c;
	struct thread *t;

	if ((s32)p->result != -1)
		return 0;
	bpf_probe_read_kernel(&regs, sizeof(regs), (void *)registers_of(p->task));
	READ(status, p->task, OFF_TASK_STATUS);
	if (!asks_for_socket(&regs, status & TS_COMPAT, &a))
		return 0;
	error = refusal_of(&regs, p->task);
	if (!error)
		return 0;
	t = thread_of(p->slot, p->task);
	if (t && t->depth)
		end_stale(p, t);
	c = begins(current_net());
	if (!c)
		return 0;
	t = thread_create(p->slot, p->task);
	if (!t) {
		lock_xadd(&c->value[COUNT_LOST_NO_STATE], 1);
		return 0;
	}
	lock_xadd(&c->value[COUNT_BEGUN], 1);
	begin(t, 0, a.family, a.type & SOCK_TYPE_MASK, a.protocol, netns_of(current_net()));
	t->asked_family = a.family;
	t->asked_type = a.type;
	t->asked_protocol = a.protocol;
	push_first(t, stack_pointer(p, t), p->function);
	t->calls[0].flags = CALL_RETURNED;
	t->calls[0].result = -error;
	t->calls[0].module_type = a.pair;
	emit(p->ctx, t, p->program);
	thread_free(p->slot, t);
	return 0;
}

#endif
