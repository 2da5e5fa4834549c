/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* BCC includes this before any program; it refuses a kernel without CONFIG_BPF_SYSCALL. */
#ifndef INETPROBE_KCONFIG_H
#define INETPROBE_KCONFIG_H

#define CONFIG_BPF_SYSCALL 1

#endif
