/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The maps, which inetprobe/kernel/maps/definitions.py makes, by index. */
#ifndef INETPROBE_MAPS_H
#define INETPROBE_MAPS_H

#define MAP_RECORDS 0	/* the ring buffer */
#define MAP_COUNTERS 1	/* of each CPU: struct cpu_counters */
#define MAP_SLOTS 2	/* struct slot */
#define MAP_CELLS 3	/* SERVE: struct cpu_cells, by CPU */
#define MAP_FOLLOWED 4	/* FOLLOW: thread groups of COMMAND and of all that it started */
#define MAP_COMMAND 5	/* FOLLOW in a pid namespace: COMMAND's process id there */
#define MAP_DISPLACED 6	/* struct thread: task storage, or a hash by thread id */
#define MAP_BLANK 7	/* for the hash: a struct thread of zeros, too large for a program's stack */
#define MAP_SOFTIRQS 8	/* BARE: struct thread of this CPU's softirqs, which never sleep */
#define MAP_CGROUPS 9	/* the cgroups that the filters name */

#endif
