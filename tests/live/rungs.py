"""Makes a call for each rung of the ladder that a program can come to by itself, and says what it got.

Run as root. Each line is JSON: the system call, family, type, protocol, the errno's number (0 for success), and the
rule that decides it; null for a success.
"""

import ctypes
import json
import os
import resource
import sys
from pathlib import Path

UNIX, INET, INET6, NETLINK, PACKET, ASH = 1, 2, 10, 16, 17, 18
STREAM, DGRAM, RAW, SOCK_PACKET = 1, 2, 3, 10
CLOEXEC, NONBLOCK, UNKNOWN_FLAG = 0o2000000, 0o4000, 0x100
FILE_MAX = Path("/proc/sys/fs/file-max")

#: Has this kernel __sys_socket_file()? Linux 5.19
HAS_IO_URING = tuple(map(int, os.uname().release.split(".")[:2])) >= (5, 19)

LIBC = ctypes.CDLL(None, use_errno=True)

# (family, type, protocol, rule)
AS_ROOT = [
    (INET, STREAM, 0, None),
    (INET6, DGRAM | CLOEXEC | NONBLOCK, 17, None),
    (UNIX, STREAM, 0, None),
    (INET, STREAM | UNKNOWN_FLAG, 0, "flags"),
    (UNIX, STREAM | UNKNOWN_FLAG, 0, "flags"),
    (77, STREAM, 0, "family"),
    (-1, STREAM, 0, "family"),
    (INET, 11, 0, "type-range"),
    (UNIX, 15, 0, "type-range"),
    (ASH, STREAM, 0, "no-family"),
    (0, STREAM, 0, "no-family"),
    (UNIX, STREAM, 5, "family-create"),
    (NETLINK, RAW, 99, "family-create"),
    (INET, SOCK_PACKET, 0, None),
    (INET, STREAM, 200, "protocol"),
    (INET, STREAM, 999, "protocol-range"),
    (INET, DGRAM, 6, "protocol"),
]
AS_NOBODY = [
    (INET, RAW, 1, "cap-net-raw"),
    (PACKET, RAW, 0, "packet-cap-net-raw"),
    (INET, SOCK_PACKET, 0, "packet-cap-net-raw"),
]
WITHOUT_DESCRIPTORS = [
    (INET, STREAM, 0, "descriptor-limit"),
    (INET6, RAW, 58, "descriptor-limit"),
    (UNIX, DGRAM, 0, "descriptor-limit"),
    (INET, STREAM, 200, "protocol"),
    (INET, STREAM | UNKNOWN_FLAG, 0, "flags"),
]
BY_IO_URING = [
    (INET, STREAM, 0, None),
    (INET6, DGRAM, 17, None),
    (INET, STREAM, 200, "protocol"),
    (77, STREAM, 0, "family"),
    (UNIX, STREAM, 5, "family-create"),
]
WITHOUT_FILES = [
    (INET, STREAM, 0, "file-limit"),
    (UNIX, STREAM, 0, "file-limit"),
]


def socket(family, type_, protocol, rule):
    fd = LIBC.socket(family, type_, protocol)
    report("socket", family, type_, protocol, rule, fd)
    if fd >= 0:
        os.close(fd)


def socketpair(family, type_, protocol, rule, pair=None):
    pair = (ctypes.c_int * 2)() if pair is None else pair
    result = LIBC.socketpair(family, type_, protocol, pair)
    report("socketpair", family, type_, protocol, rule, result)
    if result >= 0:
        os.close(pair[0])
        os.close(pair[1])


def by_io_uring():
    sys.path.insert(0, str(Path(__file__).parent))
    from uring import Ring

    ring = Ring()
    for family, type_, protocol, rule in BY_IO_URING:
        result = ring.socket(family, type_, protocol)
        if result < 0:
            ctypes.set_errno(-result)
        report("io_uring", family, type_, protocol, rule, result)
        if result >= 0:
            os.close(result)
    ring.close()


def report(syscall, family, type_, protocol, rule, result):
    error = ctypes.get_errno() if result < 0 else 0
    print(json.dumps((syscall, family, type_, protocol, error, rule)), flush=True)


def make_all():
    for request in AS_ROOT:
        socket(*request)
    socketpair(UNIX, STREAM, 0, None)
    socketpair(INET, STREAM, 0, "no-pair")
    socketpair(INET, DGRAM | UNKNOWN_FLAG, 0, "flags")
    socketpair(INET, DGRAM, 6, "protocol")
    socketpair(UNIX, STREAM, 0, "fault", ctypes.c_void_p(8))
    if HAS_IO_URING:
        by_io_uring()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
    for request in WITHOUT_DESCRIPTORS:
        socket(*request)
    socketpair(UNIX, STREAM, 0, "descriptor-limit")
    socketpair(INET, STREAM, 0, "descriptor-limit")
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    file_max = FILE_MAX.read_text()
    if os.fork() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        for request in AS_NOBODY:
            socket(*request)
        os._exit(0)
    os.wait()
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        os.read(reader, 1)
        for request in WITHOUT_FILES:
            socket(*request)
        os._exit(0)
    FILE_MAX.write_text("16")  # there are more; and UNIX sockets twice as many (unix_create1() before Linux 5.16)
    try:
        os.write(writer, b"1")
        os.wait()
    finally:
        FILE_MAX.write_text(file_max)


if __name__ == "__main__":
    make_all()
