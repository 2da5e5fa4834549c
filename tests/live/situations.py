"""Makes the same calls in each situation of SITUATIONS, with a process each: ``situations.py CGROUP``.

Run as root; CGROUP is the folder of a cgroup that refuses inet sockets. A line of JSON a call: the situation, the
system call, family, type, protocol, and the errno's number, 0 for success.
"""

import contextlib
import json
import os
import resource
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.live.families import errno_of
from tests.support.sandbox import ALLOW, EQUAL, LOAD, RETURN, install

FILE_MAX = Path("/proc/sys/fs/file-max")
NOBODY, EAFNOSUPPORT = 65534, 97
UNIX, INET, INET6, NETLINK, PACKET, ALG = 1, 2, 10, 16, 17, 38
FAMILIES, TYPES, PROTOCOLS = (-1, UNIX, INET, INET6, NETLINK, PACKET, ALG), range(-1, 16), (0, 1, 77)
# Each call for one of these starts modprobe.
ABSENT = (0, 18, 47)
CLOEXEC, UNKNOWN_FLAG = 0o2000000, 0x100
# The answers of two filters; the lower one, ERRNO before TRACE before ALLOW, is taken.
ERRNO, TRACE = 0x50000, 0x7FF00000
FILTERS = [
    [(LOAD, 0, 0, 16), (EQUAL, 0, 1, INET6), (RETURN, 0, 0, ERRNO | EAFNOSUPPORT), ALLOW],
    [(LOAD, 0, 0, 24), (EQUAL, 1, 0, 2), (EQUAL, 0, 1, 3 | CLOEXEC), (RETURN, 0, 0, TRACE), ALLOW],
]
NUMBERS = (41, 53)


def requests():
    """(system call, family, type, protocol) of each call."""
    for family in (*FAMILIES, *ABSENT):
        for type_ in TYPES if family in FAMILIES else (-1, 2, 11):
            yield from (("socket", family, type_, protocol) for protocol in (PROTOCOLS if 0 < type_ < 6 else (0,)))
        yield "socket", family, 3 | CLOEXEC, 1
        yield "socket", family, 1 | UNKNOWN_FLAG, 0
        yield from (("socketpair", family, type_ | CLOEXEC, 0) for type_ in (1, 3))


def guarded(program):
    """A filter that asks ``program`` about the two system calls, and allows all others."""
    return [(LOAD, 0, 0, 0), (EQUAL, 2, 0, NUMBERS[0]), (EQUAL, 1, 0, NUMBERS[1]), ALLOW, *program]


def as_nobody():
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)


def without_descriptors():
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))


def under_filters():
    for program in FILTERS:
        install(guarded(program))


@contextlib.contextmanager
def few_files():
    before = FILE_MAX.read_text()
    FILE_MAX.write_text("1")
    try:
        yield
    finally:
        FILE_MAX.write_text(before)


def confined_to(cgroup):
    (Path(cgroup) / "cgroup.procs").write_text(str(os.getpid()))


#: What the process does first, and what is so meanwhile.
SITUATIONS = {
    "root": (lambda cgroup: None, contextlib.nullcontext),
    "nobody": (lambda cgroup: as_nobody(), contextlib.nullcontext),
    "descriptors": (lambda cgroup: without_descriptors(), contextlib.nullcontext),
    "files": (lambda cgroup: as_nobody(), few_files),
    "cgroup": (confined_to, contextlib.nullcontext),
    "seccomp": (lambda cgroup: under_filters(), contextlib.nullcontext),
}


def make_all(cgroup):
    for situation, (prepare, meanwhile) in SITUATIONS.items():
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            os.read(reader, 1)
            os.close(reader)
            os.close(writer)
            prepare(cgroup)
            for request in requests():
                print(json.dumps((situation, *request, errno_of(*request))), flush=True)
            os._exit(0)
        with meanwhile():
            os.write(writer, b"1")
            _, status = os.waitpid(child, 0)
        os.close(reader)
        os.close(writer)
        assert not status, (situation, status)


if __name__ == "__main__":
    make_all(sys.argv[1])
