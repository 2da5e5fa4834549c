"""A workload of known size as two recordings, the second with more of everything, and the counts that Prometheus must
have: written down here, not computed by the code under test."""

import random
from collections import Counter
from typing import NamedTuple

import numpy as np

from tests.support import builders, recorded


class SocketGroup(NamedTuple):
    """Equal sockets: how many are in the first recording and in the second, and the counts of each."""

    first: int
    second: int
    labels: tuple[str, str, str]
    errno: str | None
    requests: tuple[tuple[str, bool], ...]
    functions: tuple[str, ...]
    record: np.ndarray


CREATED = ("sk_alloc", "sk_prot_alloc")


def _refused():
    return builders.record([builders.call(builders.CREATE, 0, 0, 5000, -1)], kind=3, protocol=1, uid=1000)


def _no_memory():
    calls = [
        builders.call(builders.CREATE, 0, 0, 9000, -12),
        builders.call(builders.SK_ALLOC, 1, 1000, 4000, pointer=False),
        builders.call(builders.SK_PROT_ALLOC, 2, 2000, 2000, pointer=False),
    ]
    return builders.record(calls, prot=b"TCP")


def _asked(protocol, loaded):
    return ((f"net-pf-2-proto-{protocol}-type-1", True), (f"net-pf-2-proto-{protocol}", not loaded))


GROUPS = (
    SocketGroup(40, 211, ("AF_INET", "SOCK_STREAM", "IPPROTO_IP"), None, (), ("inet_create", *CREATED),
         builders.created(prot=b"TCP")),
    SocketGroup(23, 97, ("AF_INET", "SOCK_DGRAM", "IPPROTO_UDP"), None, (), ("inet_create", *CREATED),
         builders.created(kind=2, protocol=17, prot=b"UDP")),
    SocketGroup(11, 31, ("AF_INET6", "SOCK_STREAM", "IPPROTO_IP"), None, (), ("inet6_create", *CREATED),
         builders.created(family=10, prot=b"TCPv6")),
    SocketGroup(7, 19, ("AF_INET", "SOCK_RAW", "IPPROTO_ICMP"), "EPERM", (), ("inet_create",), _refused()),
    SocketGroup(3, 13, ("AF_INET", "SOCK_STREAM", "IPPROTO_SCTP"), None, _asked(132, True),
         ("inet_create", "__request_module", "__request_module", *CREATED),
         builders.record(builders.autoloaded(132, 0, True), protocol=132, prot=b"SCTP")),
    SocketGroup(2, 17, ("AF_INET", "SOCK_STREAM", "200"), "EPROTONOSUPPORT", _asked(200, False),
         ("inet_create", "__request_module", "__request_module"),
         builders.record(builders.autoloaded(200, -93, False), protocol=200)),
    SocketGroup(1, 5, ("AF_INET", "SOCK_STREAM", "IPPROTO_IP"), "ENOMEM", (), ("inet_create", *CREATED), _no_memory()),
)  # fmt: skip


class RefusedGroup(NamedTuple):
    """Equal system calls that came to no create."""

    first: int
    second: int
    labels: tuple[str, str, str]
    record: np.ndarray


REFUSED_GROUPS = (
    RefusedGroup(2, 23, ("descriptor", "EMFILE", "AF_UNIX"),
         builders.in_syscall(builders.record([], family=1), result=-24)),
    RefusedGroup(1, 3, ("arguments", "EINVAL", "AF_INET"),
         builders.in_syscall(builders.record([]), result=-22, asked=(2, 1 | 0x100, 0))),
    RefusedGroup(1, 4, ("seccomp", "SIGSYS", "AF_ALG"), builders.refused_by_seccomp(4096, family=38, kind=5)),
)  # fmt: skip


def write(path, second):
    """The first recording, or the second."""
    groups = (*GROUPS, *REFUSED_GROUPS)
    records = np.concatenate([np.tile(group.record, group[second]) for group in groups])
    random.Random(second).shuffle(order := list(range(len(records))))
    records = records[order]
    records["seq"] = np.arange(len(records))
    return recorded.write(path, records, run=builders.with_seccomp())


def _counted(rows):
    counts = Counter()
    for labels, count in rows:
        counts[labels] += count
    return dict(counts)


#: The counts in Prometheus after the second recording, by label values.
CREATIONS = _counted((group.labels, group.second) for group in GROUPS)
FAILURES = _counted(((*group.labels, group.errno), group.second) for group in GROUPS if group.errno)
MODULE_REQUESTS = _counted(((name,), group.second) for group in GROUPS for name, _ in group.requests)
MODULE_FAILURES = _counted(((name,), group.second * failed) for group in GROUPS for name, failed in group.requests)
REFUSALS = {group.labels: group.second for group in REFUSED_GROUPS}
CALLS = _counted(((function,), group.second) for group in GROUPS for function in group.functions)
CALLS["__sys_socket",] = sum(count for (stage, *_), count in REFUSALS.items() if stage != "seccomp")
CREATION_COUNTS = _counted((group.labels[:2], group.second) for group in GROUPS)
CREATION_SECONDS = {
    labels: sum(k.second * int(k.record["calls"]["duration_ns"][0, 0]) for k in GROUPS if k.labels[:2] == labels) / 1e9
    for labels in CREATION_COUNTS
}
#: Calls that failed, asked for a module or took 10 ms are streamed and judged.
STREAMED = sum(group.second for group in GROUPS if group.errno or group.requests) + sum(REFUSALS.values())
SOCKETS = sum(group.second for group in GROUPS)
FIRST_SOCKETS = sum(group.first for group in GROUPS)
