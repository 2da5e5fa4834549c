/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * What a program is built with: each feature is 1 where inetprobe/kernel/program/constants.py asks for it with -D, else
 * 0. Code tests a feature with `if`, so that every build checks every variant. Where a feature is off, its own constants
 * have the values below, which never run.
 */
#ifndef INETPROBE_FEATURES_H
#define INETPROBE_FEATURES_H

#include "record.h"

/* Task storage, and a current task whose type the verifier knows (Linux 5.12). */
#ifndef TASK_STORAGE
#define TASK_STORAGE 0
#endif

/* What seccomp filters refuse, with the constants of seccomp.h; TASK_PT_REGS: is there a helper for a thread's registers
 * (Linux 5.15)? Those that they kill are told of by audit_seccomp(), where the kernel logs them; so are other refusals,
 * where the filter asks for it. */
#if !defined(MECHANISM___secure_computing) && !defined(MECHANISM_audit_seccomp)
#define TASK_PT_REGS 0
#define OFF_TASK_STATUS 0
#define OFF_TASK_SECCOMP_MODE 0
#endif
#ifdef MECHANISM_audit_seccomp
#define KILLS_LOGGED 1
#else
#define KILLS_LOGGED 0
#endif
#ifdef MECHANISM___secure_computing
#define REFUSALS_RETURN 1
#else
#define REFUSALS_RETURN 0
#endif

/* The kernel may preempt a program by fentry, and skips that program's other runs on the CPU meanwhile. */
#ifndef PREEMPTIBLE
#define PREEMPTIBLE 0
#endif

/* Likewise, and the kernel has bpf_preempt_disable(). */
#ifndef PREEMPT_KFUNCS
#define PREEMPT_KFUNCS 0
#endif

/* Socks that no create makes are traced too. */
#ifndef BARE
#define BARE 0
#endif

/* COMMAND and all that it starts is traced, nothing else. */
#ifndef FOLLOW
#define FOLLOW 0
#endif

/* inetprobe runs in a pid namespace of its own, of this inode and device. */
#ifdef PIDNS_INO
#define PIDNS 1
#else
#define PIDNS 0
#define PIDNS_INO 0
#define PIDNS_DEV 0
#endif

/* serve: traces are counted in cells, and few records are sent. BUCKET(ns) is the index of the histograms' first upper
 * bound that is not below ns. */
#ifdef BUCKET
#define SERVE 1
#else
#define SERVE 0
#define BUCKET(ns) 0
#define SLOW_NS 0
#define RATE_LIMIT 0
#endif

/* --sock: a record has the fields of the sock, with the constants of sock.h. */
#define SOCKS INETPROBE_SOCKS
#if !SOCKS
#define OFF_SOCKET_SK 0
#define SOCK_WORDS(X)
#define SOCK_FIELDS(X)
#define SOCK_PRESENT 0
#endif

/* --stack: a record has the callers' frames, with the constants of stack.h. */
#define STACKS INETPROBE_STACKS
#if !STACKS
#define STACK_KERNEL 0
#define STACK_USER 0
#define STACK_AT_ENTRY 0
#define STACK_SLOW_NS 0
#define OFF_TASK_GROUP_LEADER 0
#define OFF_TASK_MM 0
#define OFF_MM_START_STACK 0
#endif

/* The creates that are traced. */
#ifdef MECHANISM_inet_create
#define TRACES_INET 1
#else
#define TRACES_INET 0
#endif
#ifdef MECHANISM_inet6_create
#define TRACES_INET6 1
#else
#define TRACES_INET6 0
#endif

/* The filters: KEEP_WHO is an expression over WHO_* of caller.h, for which KEEP_NETNS says that it asks for the net
 * namespace; KEEP_WHAT is one over the finished trace `t` and its call `outermost`. */
#ifdef KEEP_WHO
#define FILTERED 1
#else
#define FILTERED 0
#define KEEP_WHO 1
#endif
#ifndef KEEP_NETNS
#define KEEP_NETNS 0
#endif
#ifndef KEEP_WHAT
#define KEEP_WHAT 1
#endif

/* --also: X(function, number, mechanism, number of arguments, what it returns) for each. */
#ifndef ALSO
#define ALSO(X)
#endif

#endif
