/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The registers a kprobe sees: the one place, with probe.h and stack.h, that knows the machine. x86-64:
 * arch/x86/include/asm/ptrace.h, unchanged in this order since 2.6.
 */
#ifndef INETPROBE_PTRACE_H
#define INETPROBE_PTRACE_H

#if !defined(__x86_64__)
#error "inetprobe knows the registers of x86-64 only"
#endif

struct pt_regs {
	unsigned long r15, r14, r13, r12, bp, bx;
	unsigned long r11, r10, r9, r8, ax, cx, dx, si, di;
	unsigned long orig_ax, ip, cs, flags, sp, ss;
};

/* arch/x86/entry/syscalls/syscall_64.tbl and syscall_32.tbl, include/uapi/linux/net.h */
#define NR_SOCKET 41
#define NR_SOCKETPAIR 53
#define __X32_SYSCALL_BIT 0x40000000
#define NR_IA32_SOCKET 359
#define NR_IA32_SOCKETPAIR 360
#define NR_IA32_SOCKETCALL 102
#define SYS_SOCKET 1
#define SYS_SOCKETPAIR 8
/* arch/x86/include/asm/thread_info.h: is the thread in a 32-bit system call? */
#define TS_COMPAT 2

#endif
