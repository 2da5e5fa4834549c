/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The entry of each traced function: which trace it belongs to, or begins, and which it shows to be over. */
#ifndef INETPROBE_ENTRIES_H
#define INETPROBE_ENTRIES_H

#include "emit.h"
#include "follow.h"
#include "probe.h"

/*
 * Counts a call of sk_alloc(), or with `prot_alloc` of sk_prot_alloc(), outside every create. While no trace may begin,
 * as when only some probes are attached, a create's own call would look like one.
 */
static __always_inline void count_outside(struct slot *slot, u32 family, int prot_alloc)
{
	struct cpu_counters *c = this_cpu();
	u32 index;

	if (!c || !c->on)
		return;
	if (family == AF_INET || family == AF_INET6) {
		index = family == AF_INET6;
		lock_xadd(prot_alloc ? &slot->counters.sk_prot_alloc_outside[index]
				     : &slot->counters.sk_alloc_outside[index], 1);
		return;
	}
	index = family < FAMILIES ? family : FAMILIES - 1;
	asm volatile("" : "+r"(index)); /* else clang drops the mask, which the verifier needs */
	index &= FAMILIES - 1;
	if (prot_alloc)
		lock_xadd(&c->sk_prot_alloc_outside[index], 1);
	else
		lock_xadd(&c->sk_alloc_outside[index], 1);
}

/*
 * The thread whose open calls this call is within, stale ones dropped; 0 where none are open, or the call is foreign.
 * Of depth 0 where all open calls were stale. `sp` becomes the stack pointer where there is a thread.
 */
static __always_inline struct thread *open_calls(struct probe *p, u64 *sp)
{
	struct thread *t = thread_of(p->slot, p->task);

	if (!t)
		return 0;
	if (!BARE && !t->depth)
		return 0;
	*sp = stack_pointer(p, t);
	if (is_foreign(t, *sp)) {
		if (t->depth && is_of_dead_thread(t)) {
			abandon(p->slot, t);
			return 0;
		}
		if (t->depth) {
			t->foreign++;
			count(COUNT_FOREIGN);
		}
		if (!BARE)
			return 0;
		t = softirq_thread();
		if (!t)
			return 0;
	}
	if (!t->depth)
		return 0;
	if (top_of(t)->sp <= *sp)
		drop_stale(t, *sp, p->function, p->fentry);
	return t;
}

/* Likewise; a trace that is stale as a whole is abandoned. */
static __always_inline struct thread *open_trace(struct probe *p, u64 *sp)
{
	struct thread *t = open_calls(p, sp);

	if (t && !t->depth) {
		abandon(p->slot, t);
		t = 0;
	}
	return t;
}

/* Do the filters of the caller let it pass? */
static __always_inline int keeps_who(u64 net)
{
	return KEEP_WHO;
}

/* Counts an outermost entry. This CPU's counters, or 0 where no trace begins: none may yet, or a filter rejects the
 * caller. */
static __always_inline struct cpu_counters *begins(u64 net)
{
	struct cpu_counters *c = this_cpu();

	if (!c || !c->on)
		return 0;
	lock_xadd(&c->value[COUNT_ENTRIES], 1);
	if (!keeps_who(net)) {
		lock_xadd(&c->value[COUNT_FILTERED], 1);
		return 0;
	}
	return c;
}

/* The current thread's state, for a trace that begins; 0, and counted, where there is no room for it. */
static __always_inline struct thread *thread_or_lost(struct probe *p, struct cpu_counters *c)
{
	struct thread *t = thread_create(p->slot, p->task);

	if (!t)
		lock_xadd(&c->value[COUNT_LOST_NO_STATE], 1);
	return t;
}

/* Ends a trace whose outermost return was missed: sends what there is of it. */
static __always_inline void end_stale(struct probe *p, struct thread *t)
{
	if (is_of_dead_thread(t)) {
		abandon(p->slot, t);
		return;
	}
	t->flags |= RECORD_RETURN_MISSED;
	emit(p, 0, t);
	thread_free(p->slot, t);
}

/* This CPU's counters; 0 where no trace of a system call begins: none may yet, or a filter rejects the caller. */
static __always_inline struct cpu_counters *syscall_begins(void)
{
	struct cpu_counters *c = this_cpu();

	return c && c->on && keeps_who(KEEP_NETNS ? current_net() : 0) ? c : 0;
}

static __always_inline void begin_syscall(struct probe *p, struct thread *t, u32 function, u64 family, u64 type,
					  u64 protocol)
{
	begin(t, 0, family, type & SOCK_TYPE_MASK, protocol, 0);
	t->asked_family = family;
	t->asked_type = type;
	*(u64 *)&t->asked_protocol = (u32)protocol; /* and neither a create nor counted */
	if (STACK_AT_ENTRY && !p->fentry)
		*t->kernel_size = bpf_get_stack(p->ctx, *t->kernel, sizeof(*t->kernel), 0);
	push_first(t, stack_pointer(p, t), function);
}

/*
 * int __sys_socket(int family, int type, int protocol), and __sys_socketpair() and __sys_socket_file() likewise
 *
 * A thread makes one system call at a time: whatever it has open is over.
 */
static __always_inline int syscall_entry(struct probe *p)
{
	struct thread *t = thread_of(p->slot, p->task);
	struct cpu_counters *c;

	if (t && t->depth)
		end_stale(p, t);
	c = syscall_begins();
	if (!c)
		return 0;
	t = thread_create(p->slot, p->task);
	if (!t)
		return 0; /* its return is counted as not known */
	lock_xadd(&c->value[COUNT_CALLS], 1);
	begin_syscall(p, t, p->function, p->arg[0], p->arg[1], p->arg[2]);
	return 0;
}

/* Is this create the one that the open system call asked for? */
static __always_inline int is_asked_for(struct thread *t, s16 family, s16 type, u64 kern)
{
	return !(kern & 0xff) && t->asked_family == family && (t->asked_type & SOCK_TYPE_MASK) == type;
}

static __always_inline int is_second_of_pair(struct thread *t, s16 family, s16 type, u64 kern)
{
	return t->calls[0].function == FUNCTION_SYS_SOCKETPAIR && t->create && !t->nested &&
		is_returned(create_of(t)) && is_asked_for(t, family, type, kern);
}

/* A call that only a create makes shows that the open system call's was missed. */
static __always_inline void shows_create(struct thread *t, u64 family)
{
	if ((u32)t->asked_family == (u32)family && ((TRACES_INET && (u32)family == AF_INET) ||
						   (TRACES_INET6 && (u32)family == AF_INET6)))
		t->flags |= RECORD_ENTRY_MISSED;
}

/* int inet_create(struct net *net, struct socket *sock, int protocol, int kern), and inet6_create() likewise */
static __always_inline int create_entry(struct probe *p, s16 family)
{
	u64 net = p->arg[0], sock = p->arg[1], protocol = (u32)p->arg[2], kern = p->arg[3], sp = p->sp;
	struct thread *t = open_calls(p, &sp);
	struct cpu_counters *c;
	u8 flags = (kern & 0xff) ? RECORD_KERN : 0;
	s16 type = 0;

	READ_ARGUMENT(p->fentry, u16, type, sock, OFF_SOCKET_TYPE);
	if (t && t->depth && is_before_create(t) && is_asked_for(t, family, type, kern)) {
		c = this_cpu();
		if (!c)
			return 0;
		count_begun(t, c);
		if (type == SOCK_RAW)
			flags |= cap_net_raw(net);
		t->flags |= flags;
		t->protocol = protocol; /* a BPF program may have made it another than asked for */
		t->netns = netns_of_create(net, p->fentry);
		t->create = t->ncalls;
		if (SOCKS)
			*t->socket = sock;
		push(t, sp, p->function);
		return 0;
	}
	if (t && t->depth && (is_second_of_pair(t, family, type, kern) || nests(t, kern, p->fentry))) {
		c = this_cpu();
		if (!SERVE && c && is_before_create(t))
			count_begun(t, c);
		count(COUNT_NESTED);
		t->nested++;
		t->alloc_seen &= ~(2u << t->depth);
		push(t, sp, p->function);
		return 0;
	}
	if (t)
		end_stale(p, t);
	c = begins(net);
	if (!c)
		return 0;
	t = thread_or_lost(p, c);
	if (!t)
		return 0;
	lock_xadd(&c->value[COUNT_BEGUN], 1);
	if (!flags && type == SOCK_RAW)
		flags |= cap_net_raw(net);
	begin(t, flags, family, type, protocol, netns_of_create(net, p->fentry));
	if (SOCKS)
		*t->socket = sock;
	if (STACK_AT_ENTRY && !p->fentry)
		*t->kernel_size = bpf_get_stack(p->ctx, *t->kernel, sizeof(*t->kernel), 0);
	push_first(t, stack_pointer(p, t), p->function);
	return 0;
}

/* Begins the trace of a sock that no create makes: the thread's, or that of the softirq that runs on top of it. */
static __always_inline void begin_bare(struct probe *p, u64 family, u64 net, u64 prot, u64 kern)
{
	u64 stack = 0, sp;
	u8 flags = RECORD_BARE | ((kern & 0xff) ? RECORD_KERN : 0);
	struct cpu_counters *c = begins(net);
	struct thread *t;

	if (!c)
		return;
	t = thread_or_lost(p, c);
	if (!t)
		return;
	sp = stack_pointer(p, t);
	READ(stack, bpf_get_current_task(), OFF_TASK_STACK);
	*t->stack = stack;
	if ((stack ^ sp) & STACK_MASK) {
		t = softirq_thread();
		if (!t)
			return;
		*t->softirq = 1;
		flags |= RECORD_SOFTIRQ;
	} else if (is_ksoftirqd()) {
		flags |= RECORD_SOFTIRQ;
	}
	lock_xadd(&c->value[COUNT_BEGUN], 1);
	begin(t, flags, family, 0, 0, netns_of(net));
	t->prot = prot;
	if (STACK_AT_ENTRY && !p->fentry)
		*t->kernel_size = -EOPNOTSUPP;
	push_first(t, sp, p->function);
}

/* struct sock *sk_alloc(struct net *net, int family, gfp_t priority, struct proto *prot, int kern) */
static __always_inline int sk_alloc_entry(struct probe *p)
{
	u64 net = p->arg[0], family = p->arg[1], prot = p->arg[3], kern = p->arg[4], sp = p->sp;
	struct thread *t = open_trace(p, &sp);

	/* A create calls sk_alloc() once and for its own family: any other call is a later create's. */
	if (t && is_before_create(t)) {
		count_outside(p->slot, (u32)family, 0);
		shows_create(t, family);
		if (BARE) {
			if (!t->prot)
				t->prot = prot;
			push(t, sp, FUNCTION_SK_ALLOC);
		}
		return 0;
	}
	if (t && (differs(t, family) || t->alloc_seen & 1U << (t->depth & 31) || is_bare(t) ||
		  (t->depth == 1 && is_syscall(t)))) {
		abandon(p->slot, t);
		t = 0;
	}
	if (!t) {
		count_outside(p->slot, (u32)family, 0);
		if (BARE)
			begin_bare(p, (u32)family, net, prot, kern);
		return 0;
	}
	if (!t->prot)
		t->prot = prot;
	t->alloc_seen |= 1U << (t->depth & 31);
	push(t, sp, FUNCTION_SK_ALLOC);
	return 0;
}

/*
 * struct sock *sk_prot_alloc(struct proto *prot, gfp_t priority, int family)
 *
 * Without SK_PROT_ALLOC_ARGUMENTS the compiler may have changed how it is called, and `prot` and `family` are not
 * known: a call outside every trace is then neither counted nor traced.
 */
static __always_inline int sk_prot_alloc_entry(struct probe *p)
{
	u64 prot = p->arg[0], family = p->arg[2], sp = p->sp;
	struct thread *t = open_trace(p, &sp);

	if (t && top_of(t)->function == FUNCTION_SK_ALLOC) {
		if (SK_PROT_ALLOC_ARGUMENTS && (is_bare(t) || is_before_create(t)))
			count_outside(p->slot, (u32)family, 1);
		push(t, sp, FUNCTION_SK_PROT_ALLOC);
		return 0;
	}
	/* From sk_clone() of a connection being accepted, or from an sk_alloc() that is not traced. */
	if (SK_PROT_ALLOC_ARGUMENTS)
		count_outside(p->slot, (u32)family, 1);
	if (t && is_before_create(t))
		return 0;
	if (t && !is_bare(t)) {
		/* From a softirq that PREEMPT_RT runs on this very stack. */
		t->foreign++;
		count(COUNT_FOREIGN);
		return 0;
	}
	if (!BARE)
		return 0;
	if (t)
		abandon(p->slot, t);
	if (SK_PROT_ALLOC_ARGUMENTS)
		begin_bare(p, (u32)family, 0, prot, 0);
	return 0;
}

/* What inet_create(), inet6_create() and __sock_create() ask __request_module() for. */
#define FORMAT_FAMILY "net-pf-%d"
#define FORMAT_PROTO "net-pf-%d-proto-%d"
#define FORMAT_PROTO_TYPE "net-pf-%d-proto-%d-type-%d"

/* int __request_module(bool wait, const char *fmt, ...) */
static __always_inline int request_module_entry(struct probe *p)
{
	u64 fmt = p->arg[1], family = p->arg[2], protocol = p->arg[3], type = p->arg[4], sp = p->sp;
	struct thread *t = open_trace(p, &sp);
	struct inetprobe_call *call;
	struct cpu_counters *c;
	char text[28] = {};
	u32 form;
	int length;

	if (!t)
		return 0;
	/* The formats differ only in length. */
	length = bpf_probe_read_kernel_str(text, sizeof(text), (void *)fmt);
	if (text[0] != 'n' || text[3] != '-' || text[4] != 'p' || text[7] != '%')
		length = 0;
	form = length == sizeof(FORMAT_PROTO_TYPE) ? MODULE_PROTO_TYPE
		: length == sizeof(FORMAT_PROTO) ? MODULE_PROTO
		: length == sizeof(FORMAT_FAMILY) && is_before_create(t) ? MODULE_FAMILY : MODULE_NONE;
	if (!form && is_before_create(t))
		return 0; /* another family's own */
	/* It asks before sk_alloc(), and for nothing else: any other request is a later call's. */
	if (!form || differs(t, family) || t->alloc_seen) {
		abandon(p->slot, t);
		return 0;
	}
	if (form == MODULE_FAMILY) {
		c = this_cpu();
		if (!SERVE && c)
			count_begun(t, c);
	}
	if (form != MODULE_FAMILY && is_before_create(t))
		shows_create(t, family);
	call = push(t, sp, FUNCTION_REQUEST_MODULE);
	if (!call)
		return 0;
	t->modules++;
	call->module = form;
	call->module_family = family;
	call->module_protocol = form == MODULE_FAMILY ? 0 : protocol;
	call->module_type = form == MODULE_PROTO_TYPE ? type : 0;
	return 0;
}

/* A function of --also: recorded where an open trace calls it. */
static __always_inline int also_entry(struct probe *p)
{
	u64 sp = p->sp;
	struct thread *t = open_trace(p, &sp);

	if (t)
		push(t, sp, p->function);
	return 0;
}

#endif
