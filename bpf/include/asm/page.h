/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Empty: BCC asks for it by name and inetprobe uses nothing of it. */
