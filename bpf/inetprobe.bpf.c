/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The kernel side: one record for each socket(2) that failed or came to inet_create() or inet6_create(), one for each
 * outermost one of those that no system call made, and with BARE for each sock that neither made. This file has the
 * programs; what they do is in the headers. bcc is used as a compiler only: any clang for BPF compiles this as well.
 *
 * Constants come as -D from inetprobe/kernel/program/constants.py: OFF_* (offsets from the kernel's BTF),
 * MECHANISM_<function> (KPROBE or FENTRY), SK_PROT_ALLOC_ARGUMENTS (can those of sk_prot_alloc() be read?), CPUS,
 * WAKEUP_BYTES and WAKEUP_WINDOW, STACK_SIZE, KERNEL and KERNEL_BYTES (where the kernel's image lies), and the features
 * of features.h.
 */
#include <linux/types.h>
#include <asm/ptrace.h>
#include "entries.h"
#include "returns.h"
#include "seccomp.h"

/* Not where the kernel has no such function. */
#ifdef MECHANISM___sys_socket
PAIR(__sys_socket, FUNCTION_SYS_SOCKET, 3, syscall_entry(p), leave_socket(p))
#endif
#ifdef MECHANISM___sys_socketpair
PAIR(__sys_socketpair, FUNCTION_SYS_SOCKETPAIR, 4, syscall_entry(p), leave_syscall(p, p->result, 0))
#endif
#ifdef MECHANISM___sys_socket_file
PAIR(__sys_socket_file, FUNCTION_SYS_SOCKET_FILE, 3, syscall_entry(p), leave_socket_file(p))
#endif
#ifdef MECHANISM_inet_create
PAIR(inet_create, FUNCTION_INET_CREATE, 4, create_entry(p, AF_INET), leave_create(p))
#endif
#ifdef MECHANISM_inet6_create
PAIR(inet6_create, FUNCTION_INET6_CREATE, 4, create_entry(p, AF_INET6), leave_create(p))
#endif
PAIR(sk_alloc, FUNCTION_SK_ALLOC, 5, sk_alloc_entry(p), leave_sock(p))
#ifdef MECHANISM_sk_prot_alloc
PAIR(sk_prot_alloc, FUNCTION_SK_PROT_ALLOC, 3, sk_prot_alloc_entry(p), leave_sock(p))
#endif
/* Variadic: fentry refuses it. */
KPROBE_PAIR(__request_module, FUNCTION_REQUEST_MODULE, 5, request_module_entry(p), leave_int(p))

/* Not where it is not asked for, or the kernel has none. */
#ifdef MECHANISM_audit_seccomp
ENTRY_ONLY(audit_seccomp, FUNCTION_AUDIT_SECCOMP, 3, seccomp_logged(p))
#endif
#ifdef MECHANISM___secure_computing
RETURN_ONLY(__secure_computing, FUNCTION_SECURE_COMPUTING, SECURE_COMPUTING_ARGUMENTS, leave_seccomp(p))
#endif

/* --also */
#define ALSO_PAIR(fn, id, mechanism, nargs, returns) PAIR_BY(mechanism, fn, id, nargs, also_entry(p), LEAVE_##returns)
ALSO(ALSO_PAIR)

int thread_exit(u64 *ctx)
{
	return end_thread(ctx);
}

#if FOLLOW
int follow_fork(u64 *ctx)
{
	return follow_child(ctx);
}
#endif
