/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The record: emitted for each socket(2) that failed or came to inet_create() or inet6_create(), and for each outermost
 * one of those that no system call made.
 *
 * This is the only definition of the layout. inetprobe/record/layout.py reads this file to build its numpy type; keep
 * to one declaration a line, fixed-width types, plain `#define NAME NUMBER` and explicit padding.
 */
#ifndef INETPROBE_RECORD_H
#define INETPROBE_RECORD_H

/* Calls kept of one trace: a power of two, since it masks an index. With `--also` there are more. */
#ifndef INETPROBE_CALLS
#define INETPROBE_CALLS 8
#endif

/* Socks kept of one trace: one with `--sock`. */
#ifndef INETPROBE_SOCKS
#define INETPROBE_SOCKS 0
#endif

/* Stacks kept of one trace: one with `--stack`. The kernel sends its frames; the reader gives them names and then keeps
 * a number instead. */
#ifndef INETPROBE_STACKS
#define INETPROBE_STACKS 0
#endif
#ifndef INETPROBE_FRAMES
#define INETPROBE_FRAMES INETPROBE_STACKS
#endif

#define INETPROBE_COMM 16
#define INETPROBE_PROT 32
/* Frames of a stack, one more than is shown: where the last is used, the stack is deeper. */
#define KERNEL_FRAMES 33
#define USER_FRAMES 65

/* Functions, as `function` of a call. */
#define FUNCTION_INET_CREATE 0
#define FUNCTION_INET6_CREATE 1
#define FUNCTION_SK_ALLOC 2
#define FUNCTION_SK_PROT_ALLOC 3
#define FUNCTION_REQUEST_MODULE 4
/* System calls: these three, in this order. */
#define FUNCTION_SYS_SOCKET 5
#define FUNCTION_SYS_SOCKETPAIR 6
#define FUNCTION_SYS_SOCKET_FILE 7
#define SYSCALLS 3
/* Beyond those of --also, since they are not always traced. No call is audit_seccomp()'s: its program tells of one of
 * __secure_computing(). */
#define FUNCTION_SECURE_COMPUTING 24
#define FUNCTION_AUDIT_SECCOMP 25
#define SECCOMP_FUNCTIONS 2
#define FUNCTION_ALSO 8 /* the first of those added by --also */
#define ALSO_MAX 16

/* Flags of a call. */
#define CALL_RETURNED 1
#define CALL_POINTER 2
#define CALL_NULL 4
#define CALL_VOID 8

/* What __request_module() was asked for, as `module` of a call. */
#define MODULE_NONE 0
#define MODULE_PROTO_TYPE 1
#define MODULE_PROTO 2
#define MODULE_FAMILY 3

/* Flags of a record. */
#define RECORD_KERN 1
#define RECORD_CAP_KNOWN 2
#define RECORD_CAP_NET_RAW 4
#define RECORD_RETURN_MISSED 8
#define RECORD_ENTRY_MISSED 16
#define RECORD_TRUNCATED 32
/* No create made this sock: another family's sk_alloc(), or sk_prot_alloc() of a connection being accepted. */
#define RECORD_BARE 64
#define RECORD_SOFTIRQ 128

/* Counters, each per CPU. Every trace ends in exactly one of FILTERED .. LOST_THREAD_DIED, or is in flight. */
#define COUNT_ENTRIES 0
#define COUNT_FILTERED 1
#define COUNT_COMPLETE 2
#define COUNT_RETURN_MISSED 3
#define COUNT_ENTRY_MISSED 4
#define COUNT_TRUNCATED 5
#define COUNT_LOST_RING_FULL 6
#define COUNT_LOST_NO_STATE 7
#define COUNT_LOST_RETURN_MISSED 8
#define COUNT_LOST_THREAD_DIED 9
/* Not part of that sum. */
#define COUNT_NESTED 10
#define COUNT_FOREIGN 11
#define COUNT_ORPHAN_RETURN 12
#define COUNT_UNFOLLOWED 13
/* Traces begun and ended: the difference is in flight. */
#define COUNT_BEGUN 14
#define COUNT_ENDED 15
/* With serve: traces whose outermost return was not seen, and records that went beyond the rate limit. */
#define COUNT_OUTCOME_MISSED 16
#define COUNT_RATE_LIMITED 17
/* System calls, counted as they begin, or as they return where their entry was missed. */
#define COUNT_CALLS 18
/* Where each ended: in success without a create, and with one; before a create, in it, after it, or not known. */
#define COUNT_CALLS_OK 19
#define COUNT_CALLS_CREATED 20
#define COUNT_CALLS_BEFORE 21
#define COUNT_CALLS_IN_CREATE 22
#define COUNT_CALLS_AFTER 23
#define COUNT_CALLS_UNKNOWN 24
/* The first creates of system calls, counted as they return; and those whose call's end is not known. */
#define COUNT_CREATES 25
#define COUNT_CREATES_UNKNOWN 26
#define COUNTERS 27

/* `result` of FUNCTION_SECURE_COMPUTING is below 0 by an errno, or by one of these, beyond all of them, where seccomp
 * sends a signal: a filter SIGSYS, the strict mode SIGKILL. */
#define ERRNO_SIGSYS 4096
#define ERRNO_SIGKILL 4097

/* Programs that may emit a record. Each numbers its own on each CPU: there no program runs twice at once. */
#define PRODUCERS 32
/* Programs: function * 2 for its entry, plus 1 for its return. */
#define PROGRAMS 64
/* Address families that are counted apart; the last also counts all beyond it. */
#define FAMILIES 64
/* AF_INET and AF_INET6, in this order, which struct slot_counters counts. */
#define INET_FAMILIES 2

struct inetprobe_call {
	__u64 start_ns;		/* from the record's own start */
	__u64 duration_ns;	/* 0 until CALL_RETURNED */
	__s32 result;		/* 0 where CALL_POINTER: addresses stay in the kernel; 0 for a descriptor */
	__u8 function;		/* FUNCTION_* */
	__u8 depth;		/* 0 is the outermost call */
	__u8 flags;		/* CALL_* */
	__u8 module;		/* MODULE_* */
	__s32 module_protocol;	/* of a system call that failed with EMFILE: the process's RLIMIT_NOFILE */
	__s16 module_family;
	__s16 module_type;	/* of FUNCTION_SECURE_COMPUTING: was it socketpair(2)? */
};

/* The sock that was made; all 0 where none was. See struct sock and struct inet_sock for each member. */
struct inetprobe_sock {
	__u32 present;		/* bit per member below: does this kernel have it? */
	__s32 sk_type;
	__s32 sk_protocol;
	__s32 sk_reuse;
	__s32 inet_num;
	__s32 inet_sport;	/* in host byte order */
	__s32 is_icsk;
	__s32 hdrincl;
	__s32 nodefrag;
	__s32 pmtudisc;
	__s32 uc_ttl;
	__s32 mc_ttl;
	__s32 mc_loop;
	__s32 mc_all;
	__s32 mc_index;
	__s32 rcv_tos;
};

/* The callers of an outermost call, innermost first, and what it takes to give their addresses names. */
struct inetprobe_frames {
	__s32 kernel_size;	/* in bytes; below 0 the errno with which the kernel refused */
	__s32 user_size;
	__u64 process_start;	/* of the thread group's leader, CLOCK_BOOTTIME */
	__u64 start_stack;	/* of the process's memory: changes with each execve() */
	__u64 caller;		/* the word at the thread's stack pointer in user space; 0 where not known */
	__u64 kernel[KERNEL_FRAMES];
	__u64 user[USER_FRAMES];
};

struct inetprobe_record {
	__u64 start_ns;		/* CLOCK_BOOTTIME */
	__u64 seq;		/* numbers this CPU's records: count * PRODUCERS + producer, lost ones included */
	__u64 cgroup_id;	/* cgroup v2 */
	__u32 pid;		/* the thread group's, as in the initial pid namespace */
	__u32 tid;
	__u32 ppid;
	__u32 uid;		/* real, as in the initial user namespace */
	__u32 gid;
	__u32 netns;		/* inode number; 0 where it is not known */
	__s32 protocol;		/* of the create, else of the system call; 0 where RECORD_BARE */
	__s16 family;		/* likewise */
	__s16 type;		/* likewise, without SOCK_CLOEXEC and SOCK_NONBLOCK */
	__u32 foreign;		/* calls of interrupts on this thread, left out of the trace */
	__u16 cpu;
	__u8 flags;		/* RECORD_* */
	__u8 ncalls;
	__s32 asked_family;	/* of socket(2), as given; 0 where no system call was seen around the create */
	__s32 asked_type;	/* likewise, with its flags */
	__s32 asked_protocol;	/* likewise: a BPF program may have made it another for the create */
	__s32 descriptor;	/* of a socket(2) that succeeded, else 0 */
	char comm[INETPROBE_COMM];
	char prot[INETPROBE_PROT];	/* struct proto's name; empty when none was reached */
	struct inetprobe_call calls[INETPROBE_CALLS];
	struct inetprobe_sock sock[INETPROBE_SOCKS];
	__u64 stack[INETPROBE_STACKS];	/* 0; the reader's number of the stack */
	struct inetprobe_frames frames[INETPROBE_FRAMES];
};

#endif
