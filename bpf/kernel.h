/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Numbers of the kernel's own headers; those of include/uapi/linux/bpf.h are in helpers.h. */
#ifndef INETPROBE_KERNEL_H
#define INETPROBE_KERNEL_H

/* include/linux/socket.h */
#define AF_INET 2
#define AF_INET6 10
#define AF_SMC 43
/* include/linux/net.h */
#define SOCK_RAW 3
#define SOCK_TYPE_MASK 0xf
#define SOCK_FLAGS (02000000 | 04000) /* SOCK_CLOEXEC, SOCK_NONBLOCK */
/* include/linux/sched.h */
#define PF_KTHREAD 0x00200000
/* include/uapi/linux/capability.h */
#define CAP_NET_RAW 13
/* include/linux/err.h */
#define MAX_ERRNO 4095
/* include/uapi/asm-generic/errno.h and errno-base.h */
#define EOPNOTSUPP 95
#define EMFILE 24
/* arch/x86/include/uapi/asm/signal.h */
#define SIGKILL 9
#define SIGSYS 31
/* include/uapi/linux/seccomp.h and kernel/seccomp.c, from Linux 5.16 on: the thread is being killed */
#define SECCOMP_MODE_DEAD 3
#define SECCOMP_RET_LOG 0x7ffc0000U
#define SECCOMP_RET_ACTION_FULL 0xffff0000U
#define RLIMIT_NOFILE 7 /* include/uapi/asm-generic/resource.h */
#define RLIMIT_BYTES 16 /* struct rlimit, the soft limit first */

#endif
