"""Records made by hand in the layout of bpf/record.h, one per kind of outcome."""

import dataclasses

import numpy as np

from inetprobe.model.inet_sock import Sock
from inetprobe.model.profile import BUILT_IN_PROFILES
from inetprobe.record.layout import (
    CALL_NULL,
    CALL_POINTER,
    CALL_RETURNED,
    FUNCTIONS_WITH_SECCOMP,
    RECORD,
    RECORD_BARE,
    RECORD_RETURN_MISSED,
    RECORD_SOFTIRQ,
    SECURE_COMPUTING,
    record_dtype,
)
from inetprobe.record.run import Run

CREATE, CREATE6, SK_ALLOC, SK_PROT_ALLOC, REQUEST_MODULE, SOCKET, SOCKETPAIR, SOCKET_FILE = range(8)
PROTO_TYPE, PROTO, FAMILY = 1, 2, 3


def run():
    return Run(
        "6.1.0-test",
        clock_offset_ns=1_700_000_000 * 10**9,
        host="host",
        machine_id="id",
        cgroups={1: "/"},
        profile=BUILT_IN_PROFILES["6.1"],
    )


def call(function, depth, start, duration, result=0, *, pointer=None, module=(0, 0, 0, 0), returned=True):
    flags = CALL_RETURNED * returned
    if pointer is not None:
        flags |= CALL_POINTER | (0 if pointer else CALL_NULL)
    kind, family, protocol, socket_type = module
    return (start, duration, result, function, depth, flags, kind, protocol, family, socket_type)


def record(calls, *, seq=1, start=10**9, comm=b"python3", prot=b"", flags=0, uid=0, netns=4026531840, **request):
    made = np.zeros(1, RECORD)
    values = dict(start_ns=start, seq=seq, cgroup_id=1, pid=100, tid=101, ppid=99, uid=uid, gid=uid, netns=netns)
    values |= dict(protocol=request.get("protocol", 0), family=request.get("family", 2), type=request.get("kind", 1))
    values |= dict(cpu=1, flags=flags, comm=comm, prot=prot)
    for name, value in (values | {"ncalls": len(calls)}).items():
        made[name] = value
    for slot, fields in enumerate(calls):
        made["calls"][0, slot] = fields
    return made


def created(**request):
    function = CREATE6 if request.get("family") == 10 else CREATE
    return record(
        [
            call(function, 0, 0, 9000),
            call(SK_ALLOC, 1, 1000, 4000, pointer=True),
            call(SK_PROT_ALLOC, 2, 2000, 2000, pointer=True),
        ],
        **request,
    )


def autoloaded(protocol, result, allocated):
    calls = [
        call(CREATE, 0, 0, 500_000_000, result),
        call(REQUEST_MODULE, 1, 1000, 200_000_000, 256, module=(PROTO_TYPE, 2, protocol, 1)),
        call(REQUEST_MODULE, 1, 200_100_000, 250_000_000, 256 * (not allocated), module=(PROTO, 2, protocol, 0)),
    ]
    if allocated:
        calls += [
            call(SK_ALLOC, 1, 460_000_000, 4000, pointer=True),
            call(SK_PROT_ALLOC, 2, 460_001_000, 2000, pointer=True),
        ]
    return calls


def every_kind():
    """One record of each kind, in a fixed order; the goldens show all of them."""
    nested = [
        call(CREATE, 0, 0, 90_000),
        call(SK_ALLOC, 1, 1000, 4000, pointer=True),
        call(SK_PROT_ALLOC, 2, 2000, 2000, pointer=True),
        call(CREATE, 1, 10_000, 70_000),
        call(SK_ALLOC, 2, 11_000, 4000, pointer=True),
        call(SK_PROT_ALLOC, 3, 12_000, 2000, pointer=True),
    ]
    no_memory = [
        call(CREATE, 0, 0, 9000, -12),
        call(SK_ALLOC, 1, 1000, 4000, pointer=False),
        call(SK_PROT_ALLOC, 2, 2000, 2000, pointer=False),
    ]
    missed = [call(CREATE, 0, 0, 0, returned=False), call(SK_ALLOC, 1, 1000, 4000, pointer=True)]
    bare = [call(SK_ALLOC, 0, 0, 4000, pointer=True), call(SK_PROT_ALLOC, 1, 1000, 2000, pointer=True)]
    accepted = [call(SK_PROT_ALLOC, 0, 0, 2000, pointer=True)]
    return np.concatenate(
        [
            created(seq=1, prot=b"TCP"),
            created(seq=2, kind=2, protocol=17, prot=b"UDP"),
            record([call(CREATE, 0, 0, 5000, -1)], seq=3, kind=3, protocol=1, uid=1000),
            record(autoloaded(132, 0, True), seq=4, protocol=132, prot=b"SCTP"),
            record(autoloaded(200, -93, False), seq=5, protocol=200),
            record(nested, seq=6, protocol=262, prot=b"MPTCP"),
            created(seq=7, family=10, prot=b"TCPv6"),
            record(no_memory, seq=8, prot=b"TCP"),
            record(missed, seq=9, flags=RECORD_RETURN_MISSED, prot=b"TCP"),
            created(seq=10, prot=b"TCP", comm=b'a\x1b[31m\n\xff\\"'),
            record(bare, seq=11, family=1, kind=0, prot=b"UNIX-STREAM", flags=RECORD_BARE),
            record(accepted, seq=12, kind=0, prot=b"TCP", flags=RECORD_BARE | RECORD_SOFTIRQ, netns=0),
        ]
    )


def in_syscall(made, *, syscall=SOCKET, result=None, descriptor=0, asked=None, limit=0):
    """A record as one of a system call around it, which returns ``result``, by default the outermost call's; ``asked``
    are its arguments, by default the record's; ``limit`` is RLIMIT_NOFILE of a call that failed with EMFILE."""
    outer = made.copy()
    count = int(made["ncalls"][0])
    outer["calls"][0, 1 : count + 1] = made["calls"][0, :count]
    outer["calls"]["depth"][0, 1 : count + 1] += 1
    outer["calls"]["start_ns"][0, 1 : count + 1] += 500
    within = made["calls"][0, 0] if count else call(0, 0, 0, 2000)
    took = int(made["calls"]["duration_ns"][0, 0]) + 3000
    outcome = int(within["result"]) if result is None else result
    outer["calls"][0, 0] = call(syscall, 0, 0, took, outcome)
    outer["calls"]["module_protocol"][0, 0] = limit
    outer["ncalls"] = count + 1
    request = asked or [int(made[name][0]) for name in ("family", "type", "protocol")]
    for name, value in zip(("asked_family", "asked_type", "asked_protocol"), request, strict=True):
        outer[name] = value
    outer["descriptor"] = descriptor
    return outer


def every_syscall():
    """One record of each kind of system call, in a fixed order."""
    cloexec = 0o2000000
    family = call(REQUEST_MODULE, 0, 500, 1000, 256, module=(FAMILY, 40, 0, 0))
    raw = record([call(CREATE, 0, 0, 5000, -1)], kind=3, protocol=1, uid=1000)
    kinds = [
        in_syscall(created(prot=b"TCP"), descriptor=3, asked=(2, 1 | cloexec, 0)),
        in_syscall(created(prot=b"TCP", family=10), descriptor=1000),
        in_syscall(raw),
        in_syscall(record(autoloaded(200, -93, False), protocol=200)),
        in_syscall(created(prot=b"TCP"), result=-24, limit=1024),
        in_syscall(created(prot=b"TCP"), result=-13),
        in_syscall(record([], kind=1), result=-22, asked=(2, 1 | 0x100, 0)),
        in_syscall(record([], family=77), result=-97),
        in_syscall(record([], family=-1), result=-97),
        in_syscall(record([family], family=40), result=-97),
        in_syscall(record([], family=1, protocol=5), result=-93),
        in_syscall(record([], family=1), result=-24, syscall=SOCKETPAIR),
        in_syscall(created(prot=b"TCP"), result=-95, syscall=SOCKETPAIR),
        in_syscall(created(prot=b"TCP"), syscall=SOCKET_FILE),
        in_syscall(record([], family=1, prot=b"UNIX"), result=0, descriptor=4),
    ]
    made = np.concatenate(kinds)
    made["seq"] = np.arange(1, len(made) + 1)
    return made


def refused_by_seccomp(errno, *, pair=False, family=17, kind=3):
    """A record of a call that a seccomp filter refused, in a run of ``with_seccomp``."""
    made = record([call(SECURE_COMPUTING, 0, 0, 0, -errno, module=(0, 0, 0, int(pair)))], family=family, kind=kind)
    for name in ("family", "type", "protocol"):
        made[f"asked_{name}"] = made[name]
    return made


def with_seccomp():
    """The run, with --seccomp."""
    return dataclasses.replace(run(), functions=FUNCTIONS_WITH_SECCOMP)


TCP_SOCK = Sock(1, 6, 0, 0, 0, 1, 0, 0, 1, -1, 1, 1, 1, 0, 0)


def with_sock(records, *socks):
    """The records as in a run with --sock, each with a sock or None."""
    made = np.zeros(len(records), record_dtype(sock=True))
    for name in records.dtype.names:
        if name != "sock":
            made[name] = records[name]
    for place, sock in enumerate(socks):
        if sock is not None:
            present = sum((value is not None) << bit for bit, value in enumerate(sock))
            made["sock"][place, 0] = (present, *(value or 0 for value in sock))
    return made


def with_stack(records, stacks, *made):
    """The records as in a run with --stack, each with a stack, which is added to ``stacks``, or None."""
    numbered = np.zeros(len(records), record_dtype(stack=True))
    for name in records.dtype.names:
        if name not in ("stack", "frames"):
            numbered[name] = records[name]
    for place, stack in enumerate(made):
        numbered["stack"][place, 0] = 0 if stack is None else stacks.number(stack)
    return numbered
