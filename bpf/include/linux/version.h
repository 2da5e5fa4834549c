/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* inetprobe never asks the version: features are detected. BCC only compares it with very old ones. */
#ifndef INETPROBE_VERSION_H
#define INETPROBE_VERSION_H

#define KERNEL_VERSION(a, b, c) (((a) << 16) + ((b) << 8) + (c))
#define LINUX_VERSION_CODE KERNEL_VERSION(5, 10, 0)

#endif
