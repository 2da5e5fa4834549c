/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Sockets that a seccomp filter refuses: such a call never comes to __sys_socket(). kernel/seccomp.c __secure_computing()
 * runs the filters at each system call of a thread that has any, and returns -1 where the call is not to be made; the
 * registers then have what the thread gets in its place. Where a filter kills the thread, or the strict mode does, it may
 * not return: but it calls audit_seccomp(). So it does for other refusals of a filter that asks for it
 * (SECCOMP_FILTER_FLAG_LOG), once the registers are set, and nothing else does so often enough to cost anything.
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

/* Counts a refused call whose arguments cannot be read. */
static __always_inline void count_unread(void)
{
	struct cpu_counters *c = syscall_begins();

	if (!c)
		return;
	lock_xadd(&c->value[COUNT_CALLS], 1);
	lock_xadd(&c->value[COUNT_CALLS_UNKNOWN], 1);
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
	if (bpf_probe_read_user(args, sizeof(args), (void *)(regs->cx & 0xffffffff))) {
		count_unread();
		return 0;
	}
	a->family = args[0];
	a->type = args[1];
	a->protocol = args[2];
	return 1;
}

/* What the thread gets in the place of the call: an errno, ERRNO_SIGSYS for that signal, or 0 where a supervisor has made
 * the socket, and where audit_seccomp() has told of it. */
static __always_inline u32 refusal_of(struct pt_regs *regs, u64 task)
{
	u64 error = -regs->ax;
	u32 mode = 0;

	READ(mode, task, OFF_TASK_SECCOMP_MODE);
	if (mode == SECCOMP_MODE_DEAD) /* killed */
		return KILLS_LOGGED ? 0 : ERRNO_SIGSYS;
	if (regs->ax == regs->orig_ax) /* SECCOMP_RET_TRAP: syscall_rollback() */
		return ERRNO_SIGSYS;
	return error <= MAX_ERRNO ? error : 0;
}

/* SERVE: counts what a filter refused. Is it to be sent as well? */
static __always_inline int count_seccomp(struct probe *p, struct asked *a, u32 error, struct cpu_counters *c)
{
	struct cpu_cells *all = bpf_map_lookup_elem(MAP(MAP_CELLS), &(u32){bpf_get_smp_processor_id()});
	u32 number = p->function - FUNCTION_SECURE_COMPUTING;

	if (!all)
		return 0;
	count_refusal(&all->seccomp[number & (SECCOMP_FUNCTIONS - 1)], a->family, a->type, -error, 0);
	return within_rate(all, c);
}

/* One record of a call that is refused. The time that filters take is not known. */
static __always_inline int refuse(struct probe *p, struct asked *a, u32 error)
{
	struct thread *t = thread_of(p->slot, p->task);
	struct cpu_counters *c;

	if (t && t->depth)
		end_stale(p, t);
	c = syscall_begins();
	if (!c)
		return 0;
	t = thread_or_lost(p, c);
	if (!t) {
		lock_xadd(&c->value[COUNT_ENTRIES], 1);
		return 0;
	}
	begin_syscall(p, t, FUNCTION_SECURE_COMPUTING, a->family, a->type, a->protocol);
	t->calls[0].flags = CALL_RETURNED;
	t->calls[0].result = -error;
	t->calls[0].module_type = a->pair;
	if (!SERVE)
		emit(p, p->ctx, t);
	else if (count_seccomp(p, a, error, c))
		send(p, p->ctx, t, c, bpf_get_smp_processor_id());
	t->depth = 0;
	thread_free(p->slot, t);
	return 0;
}

/* Tells of the call that the thread asks for, if it is for a socket: refused with `error`, 0 where the registers say. */
static __always_inline int tell(struct probe *p, u32 error)
{
	struct pt_regs regs = {};
	struct asked a = {};
	u32 status = 0;

	bpf_probe_read_kernel(&regs, sizeof(regs), (void *)registers_of(p->task));
	if (!error)
		error = refusal_of(&regs, p->task);
	if (!error)
		return 0;
	READ(status, p->task, OFF_TASK_STATUS);
	return asks_for_socket(&regs, status & TS_COMPAT, &a) ? refuse(p, &a, error) : 0;
}

/* The return of __secure_computing(). */
static __always_inline int leave_seccomp(struct probe *p)
{
	return (s32)p->result == -1 ? tell(p, 0) : 0;
}

/*
 * void audit_seccomp(unsigned long syscall, long signr, int code): `code` is the filter's action; `signr` is 0 but where
 * the thread is killed.
 */
static __always_inline int seccomp_logged(struct probe *p)
{
	u32 action = p->arg[2] & SECCOMP_RET_ACTION_FULL;
	u32 error = p->arg[1] == SIGSYS ? ERRNO_SIGSYS : p->arg[1] == SIGKILL ? ERRNO_SIGKILL : 0;

	return error || (!REFUSALS_RETURN && action != SECCOMP_RET_LOG) ? tell(p, error) : 0;
}

#endif
