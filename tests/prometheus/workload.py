"""A workload of known size as two recordings, the second of which has more of everything, and what Prometheus must say
of it: written down here, not computed by the code under test."""

import random
from collections import Counter
from typing import NamedTuple

import numpy as np

from tests.support import builders, recorded


class Kind(NamedTuple):
    """Sockets of one kind: how many in the first recording and in the second, and how each counts."""

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


KINDS = (
    Kind(40, 211, ("AF_INET", "SOCK_STREAM", "IPPROTO_IP"), None, (), ("inet_create", *CREATED),
         builders.created(prot=b"TCP")),
    Kind(23, 97, ("AF_INET", "SOCK_DGRAM", "IPPROTO_UDP"), None, (), ("inet_create", *CREATED),
         builders.created(kind=2, protocol=17, prot=b"UDP")),
    Kind(11, 31, ("AF_INET6", "SOCK_STREAM", "IPPROTO_IP"), None, (), ("inet6_create", *CREATED),
         builders.created(family=10, prot=b"TCPv6")),
    Kind(7, 19, ("AF_INET", "SOCK_RAW", "IPPROTO_ICMP"), "EPERM", (), ("inet_create",), _refused()),
    Kind(3, 13, ("AF_INET", "SOCK_STREAM", "IPPROTO_SCTP"), None, _asked(132, True),
         ("inet_create", "__request_module", "__request_module", *CREATED),
         builders.record(builders.autoloaded(132, 0, True), protocol=132, prot=b"SCTP")),
    Kind(2, 17, ("AF_INET", "SOCK_STREAM", "200"), "EPROTONOSUPPORT", _asked(200, False),
         ("inet_create", "__request_module", "__request_module"),
         builders.record(builders.autoloaded(200, -93, False), protocol=200)),
    Kind(1, 5, ("AF_INET", "SOCK_STREAM", "IPPROTO_IP"), "ENOMEM", (), ("inet_create", *CREATED), _no_memory()),
)  # fmt: skip


def write(path, second):
    """The first recording, or the second."""
    records = np.concatenate([np.tile(kind.record, kind[second]) for kind in KINDS])
    random.Random(second).shuffle(order := list(range(len(records))))
    records = records[order]
    records["seq"] = np.arange(len(records))
    return recorded.write(path, records)


def _counted(rows):
    counts = Counter()
    for labels, count in rows:
        counts[labels] += count
    return dict(counts)


#: What stands in Prometheus after the second, by label values.
CREATIONS = _counted((kind.labels, kind.second) for kind in KINDS)
FAILURES = _counted(((*kind.labels, kind.errno), kind.second) for kind in KINDS if kind.errno)
MODULE_REQUESTS = _counted(((name,), kind.second) for kind in KINDS for name, _ in kind.requests)
MODULE_FAILURES = _counted(((name,), kind.second * failed) for kind in KINDS for name, failed in kind.requests)
CALLS = _counted(((function,), kind.second) for kind in KINDS for function in kind.functions)
CREATION_COUNTS = _counted((kind.labels[:2], kind.second) for kind in KINDS)
CREATION_SECONDS = {
    labels: sum(k.second * int(k.record["calls"]["duration_ns"][0, 0]) for k in KINDS if k.labels[:2] == labels) / 1e9
    for labels in CREATION_COUNTS
}
#: What failed, asked for a module or took 10 ms is streamed and judged.
STREAMED = sum(kind.second for kind in KINDS if kind.errno or kind.requests)
SOCKETS = sum(kind.second for kind in KINDS)
FIRST_SOCKETS = sum(kind.first for kind in KINDS)
