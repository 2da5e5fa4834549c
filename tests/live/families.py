"""Asks for a socket of every address family, of every type and a few protocols, and for a pair.

A line of JSON a call: the system call, family, type, protocol, and the errno's number, 0 for success. A family whose
first socket finds no code is asked for no more types: each call would start modprobe again.
"""

import ctypes
import errno
import json
import os

LIBC = ctypes.CDLL(None, use_errno=True)
FAMILIES, TYPES, PROTOCOLS = range(-1, 48), range(-1, 16), (0, 1, 77)
STREAM, UNKNOWN_FLAG, CLOEXEC = 1, 0x100, 0o2000000


def errno_of(name, family, type_, protocol):
    """What the call ends with, 0 for success."""
    pair = (ctypes.c_int * 2)()
    made = LIBC.socket(family, type_, protocol) if name == "socket" else LIBC.socketpair(family, type_, protocol, pair)
    error = ctypes.get_errno() if made < 0 else 0
    for fd in () if error else (made,) if name == "socket" else pair:
        os.close(fd)
    return error


def call(*request):
    error = errno_of(*request)
    print(json.dumps((*request, error)), flush=True)
    return error


if __name__ == "__main__":
    for family in FAMILIES:
        types = TYPES if call("socket", family, STREAM, 0) != errno.EAFNOSUPPORT else (-1, 11)
        for type_ in types:
            for protocol in PROTOCOLS if 0 < type_ < 6 else (0,):
                call("socket", family, type_, protocol)
        call("socket", family, STREAM | UNKNOWN_FLAG, 0)
        call("socketpair", family, STREAM | CLOEXEC, 0)
