/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* PAGE_SIZE scales BCC's ring-buffer macro; inetprobe passes the running kernel's as a constant. */
#ifndef INETPROBE_PAGE_H
#define INETPROBE_PAGE_H

#ifndef PAGE_SIZE
#define PAGE_SIZE 4096
#endif

#endif
