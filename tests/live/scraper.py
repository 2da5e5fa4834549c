"""Reads a large BPF hash map in a loop on one CPU: ``scraper.py CPU``.

While its bpf() is preempted, that CPU runs no kprobe program.
"""

import ctypes
import os
import struct
import sys

SYS_BPF, MAP_CREATE, MAP_UPDATE, LOOKUP_BATCH = 321, 0, 2, 24
ENTRIES = 16384
libc = ctypes.CDLL(None, use_errno=True)


def bpf(command, attributes):
    buffer = ctypes.create_string_buffer(attributes.ljust(128, b"\0"), 128)
    return libc.syscall(SYS_BPF, command, buffer, 128)


def main():
    os.sched_setaffinity(0, {int(sys.argv[1])})
    fd = bpf(MAP_CREATE, struct.pack("<IIII", 1, 4, 8, ENTRIES))
    if fd < 0:
        raise OSError(ctypes.get_errno(), "BPF_MAP_CREATE")
    key, value = ctypes.c_uint32(), ctypes.c_uint64()
    for key.value in range(ENTRIES):
        bpf(MAP_UPDATE, struct.pack("<IxxxxQQQ", fd, ctypes.addressof(key), ctypes.addressof(value), 0))
    out, keys, values = (ctypes.create_string_buffer(size) for size in (8, 4 * ENTRIES, 8 * ENTRIES))
    batch = struct.pack("<QQQQIIQQ", 0, *map(ctypes.addressof, (out, keys, values)), ENTRIES, fd, 0, 0)
    print(os.getpid(), flush=True)
    while True:
        bpf(LOOKUP_BATCH, batch)


if __name__ == "__main__":
    main()
