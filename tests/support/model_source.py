"""The model as a Source (``trace/pump.py``): records of every way that inet_create() can go, without a kernel.

Every question of the model gets every answer, including those that are hard to provoke: no memory, a security module's
denial, a protocol's module being removed, a failing hash or init, a cgroup's refusal.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import numpy as np

from inetprobe.base.uapi import (
    AF_INET,
    AF_INET6,
    IPPROTO_DCCP,
    IPPROTO_ICMP,
    IPPROTO_ICMPV6,
    IPPROTO_L2TP,
    IPPROTO_MPTCP,
    IPPROTO_RAW,
    IPPROTO_SCTP,
    IPPROTO_SMC,
    IPPROTO_TCP,
    IPPROTO_UDP,
    IPPROTO_UDPLITE,
    SOCK_DCCP,
    SOCK_DGRAM,
    SOCK_RAW,
    SOCK_RDM,
    SOCK_SEQPACKET,
    SOCK_STREAM,
)
from inetprobe.model.inet_create import Outcome, PredictedCall
from inetprobe.model.profile import Profile
from inetprobe.model.ways import Explorer, outcomes
from inetprobe.record.accounting import Accounting
from inetprobe.record.batch import Batch
from inetprobe.record.layout import (
    CALL_NULL,
    CALL_POINTER,
    CALL_RETURNED,
    FUNCTIONS,
    MODULE_PROTO,
    MODULE_PROTO_TYPE,
    RECORD,
    RECORD_CAP_KNOWN,
    RECORD_CAP_NET_RAW,
    RECORD_KERN,
    Records,
)
from inetprobe.record.run import Run

# Self time of a call, and of a call of __request_module.
_CALL_NS, _MODPROBE_NS = 1000, 5_000_000
_FUNCTION_NUMBERS = {name: number for number, name in FUNCTIONS.items()}

#: (family, type, protocol, kern).
ModelRequest = tuple[int, int, int, bool]


class ModelSource:
    """A Source of one record for each way that each request can go on a machine with ``profile``."""

    def __init__(self, profile: Profile, requests: Iterable[ModelRequest]) -> None:
        self.run = Run(
            kernel=profile.kernel,
            clock_offset_ns=0,
            mechanisms=dict.fromkeys(FUNCTIONS.values(), "model"),
            profile=profile,
        )
        self._requests = tuple(requests)
        self._made = 0
        self._stopping = False

    def batches(self) -> Iterator[Batch]:
        """One batch per request."""
        for request in self._requests:
            if self._stopping:
                return
            records = self._records(request)
            self._made += len(records)
            yield Batch(records)

    def stop(self) -> None:
        """Ends ``batches`` before the next request."""
        self._stopping = True

    def accounting(self) -> Accounting:
        """Every record made so far is complete; nothing is lost."""
        return Accounting(entries=self._made, complete=self._made)

    def _records(self, request: ModelRequest) -> Records:
        assert self.run.profile is not None
        family, type_, protocol, kern = request
        made = []
        for cap_net_raw in (True, False) if type_ == SOCK_RAW and not kern else (None,):
            explorer = Explorer(self.run.profile, cap_net_raw)
            distinct = dict.fromkeys(outcomes(explorer, family, type_, protocol, kern=kern))
            made += [record(request, cap_net_raw, outcome) for outcome in distinct]
        records = np.concatenate(made)
        records["seq"] = np.arange(self._made, self._made + len(records))
        records["start_ns"] = 10**9 + 10**8 * records["seq"]
        return records


def record(request: ModelRequest, cap_net_raw: bool | None, outcome: Outcome) -> Records:
    """Returns ``outcome`` as an array of one record. Raises ValueError if it has more calls than a record holds."""
    family, type_, protocol, kern = request
    made = np.zeros(1, RECORD)
    made["family"], made["type"], made["protocol"] = family, type_, protocol
    made["pid"] = made["tid"] = made["ppid"] = 1
    made["netns"] = 4026531840
    made["comm"] = b"model"
    flags = RECORD_KERN if kern else 0
    if cap_net_raw is not None:
        flags |= RECORD_CAP_KNOWN | (RECORD_CAP_NET_RAW if cap_net_raw else 0)
    made["flags"] = flags
    made["prot"] = (outcome.prot or "").encode()
    if len(outcome.calls) > made["calls"].shape[1]:
        raise ValueError(f"{len(outcome.calls)} calls do not fit into a record")
    made["ncalls"] = len(outcome.calls)
    for slot, (call, (start, end)) in enumerate(zip(outcome.calls, _times(outcome.calls), strict=True)):
        _fill(made["calls"][0, slot : slot + 1], call, start, end - start, request)
    return made


def _fill(slot: Records, call: PredictedCall, start: int, duration: int, request: ModelRequest) -> None:
    slot["function"], slot["depth"] = _FUNCTION_NUMBERS[call.function], call.depth
    slot["start_ns"], slot["duration_ns"] = start, duration
    flags = CALL_RETURNED
    if call.pointer is not None:
        flags |= CALL_POINTER | (CALL_NULL if call.pointer == "NULL" else 0)
    else:
        slot["result"] = call.result
    slot["flags"] = flags
    if call.module is not None:
        typed = call.module.endswith(f"-type-{request[1]}")
        slot["module"] = MODULE_PROTO_TYPE if typed else MODULE_PROTO
        slot["module_family"], slot["module_protocol"] = request[0], request[2]
        slot["module_type"] = request[1] if typed else 0


def _times(calls: tuple[PredictedCall, ...]) -> list[tuple[int, int]]:
    """Returns (start, end) of each call in ns: siblings one after the other, children within their parent."""
    now = 0
    starts: list[int] = []
    ends = [0] * len(calls)
    stack: list[int] = []
    for index, call in enumerate(itertools.chain(calls, [None])):
        while stack and (call is None or calls[stack[-1]].depth >= call.depth):
            now += _CALL_NS if calls[stack[-1]].module is None else _MODPROBE_NS
            ends[stack.pop()] = now
        if call is not None:
            now += _CALL_NS if index else 0
            starts.append(now)
            stack.append(index)
    return list(zip(starts, ends, strict=True))


EVERY_PATH: tuple[ModelRequest, ...] = tuple(
    (family, type_, protocol, kern)
    for family in (AF_INET, AF_INET6)
    for type_, protocols in (
        (SOCK_STREAM, (0, IPPROTO_TCP, IPPROTO_SCTP, IPPROTO_SMC, IPPROTO_MPTCP, IPPROTO_UDP, -1, 263)),
        (SOCK_DGRAM, (0, IPPROTO_ICMP, IPPROTO_ICMPV6, IPPROTO_L2TP, IPPROTO_UDPLITE, IPPROTO_DCCP)),
        (SOCK_RAW, (0, IPPROTO_ICMP, IPPROTO_RAW)),
        (SOCK_RDM, (0,)),
        (SOCK_SEQPACKET, (0, IPPROTO_SCTP)),
        (SOCK_DCCP, (0, IPPROTO_DCCP)),
        (0, (0,)),
    )
    for protocol in protocols
    for kern in (False, True)
)
"""Requests that together reach every rule and every protocol of every profile."""
