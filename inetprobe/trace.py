"""Records → call traces: pure functions, no clock, no I/O.

A record is flat: its calls stand in order of entry, each with its depth. ``call_traces`` checks a whole batch at once
(numpy, a few passes over the call slots) and then builds one ``CallTrace`` a record.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from inetprobe import text
from inetprobe.errors import TraceError
from inetprobe.model.sock import Sock
from inetprobe.names import errno_name
from inetprobe.record import (
    CALL_NULL,
    CALL_POINTER,
    CALL_RETURNED,
    CALL_VOID,
    MODULE_PROTO,
    MODULE_PROTO_TYPE,
    RECORD,
    RECORD_BARE,
    RECORD_CAP_KNOWN,
    RECORD_CAP_NET_RAW,
    RECORD_KERN,
    RECORD_SOFTIRQ,
    Batch,
    Records,
    incomplete_reason,
)
from inetprobe.run import Run

_HEAD = [name for name in RECORD.names or () if name not in ("calls", "sock")]
_PROBLEMS = {
    1: "it has no calls, or more than a record holds",
    2: "its first call is not at depth 0",
    3: "a call is deeper than a call of the one before it can be, or a second outermost call follows",
    4: "its calls are not in order of entry",
    5: "a call lasts beyond its parent",
    6: "a call is of a function this recording does not name",
}


class Call(NamedTuple):
    """One call of a traced kernel function.

    ``start_ns`` counts from the trace's own start; ``duration_ns`` is None where the return was never seen.
    ``result`` is the function's integer result; for a function that returns a pointer ``pointer`` is ``"valid"`` or
    ``"NULL"`` instead. ``module`` is the name ``__request_module`` was asked for.
    """

    function: str
    depth: int
    start_ns: int
    duration_ns: int | None
    result: int | None
    pointer: str | None
    module: str | None


class CallTrace(NamedTuple):
    """How one socket came to be, or did not.

    ``type`` is without SOCK_CLOEXEC and SOCK_NONBLOCK; ``protocol`` is as the caller asked. ``errno`` is the name, or
    None for success and for a result that was not seen. ``incomplete`` is None for a complete trace, else the reason.
    ``cap_net_raw``: did the caller hold it; None where it was not looked at (but for SOCK_RAW) or could not be told.
    ``cpu`` is the one the trace ended on, ``start_ns`` is CLOCK_BOOTTIME. ``netns`` is None where it could not be seen.

    A sock that neither inet_create nor inet6_create made is ``bare``: ``type``, ``protocol`` and ``errno`` are None.
    Of one made in a softirq (``softirq``) the thread is a stranger that was interrupted.

    ``sock`` has the fields of the sock that was made; None where none was, and where a run did not read them.
    """

    id: str
    start_ns: int
    pid: int
    tid: int
    ppid: int
    uid: int
    gid: int
    comm: str
    cgroup: str | None
    netns: int | None
    cpu: int
    family: int
    type: int | None
    protocol: int | None
    kernel_socket: bool
    cap_net_raw: bool | None
    bare: bool
    softirq: bool
    prot: str | None
    errno: str | None
    duration_ns: int | None
    incomplete: str | None
    foreign: int
    calls: tuple[Call, ...]
    sock: Sock | None = None


def call_traces(batch: Batch, run: Run) -> Iterator[CallTrace]:
    """The traces of a batch, in its order.

    Raises TraceError, before the first is yielded, if any record's calls do not nest.
    """
    codes = problems(batch.records, run)
    bad = np.flatnonzero(codes)
    if bad.size:
        first = int(bad[0])
        raise TraceError(
            f"record {first} of a batch of {len(batch)} is not a call trace: {_PROBLEMS[int(codes[first])]}"
        )
    # tolist() gives plain ints only where no field is itself an array, so the calls come apart from the rest.
    heads = batch.records[_HEAD].tolist()
    for head, slots, socks in zip(heads, batch.records["calls"].tolist(), batch.records["sock"].tolist(), strict=True):
        yield _build(head, slots, _sock(*socks[0]) if socks else None, run)


def problems(records: Records, run: Run) -> npt.NDArray[np.uint8]:
    """For each record 0 where its calls are well formed, else the number of the rule it breaks."""
    n = len(records)
    codes = np.zeros(n, np.uint8)
    calls = records["calls"]
    slots = calls.shape[1]
    ncalls = records["ncalls"].astype(np.int64)
    _mark(codes, (ncalls < 1) | (ncalls > slots), 1)
    _mark(codes, calls["depth"][:, 0] != 0, 2)

    known = np.zeros(256, bool)
    known[list(run.functions)] = True
    limit = np.iinfo(np.uint64).max
    rows = np.arange(n)
    # The end of the call that is open at each depth; a return that was not seen sets no limit.
    ends = np.full((n, slots + 1), limit, np.uint64)
    depth_before = np.zeros(n, np.int64)
    start_before = np.zeros(n, np.uint64)
    for slot in range(min(slots, int(ncalls.max(initial=0)))):  # mostly three
        call = calls[:, slot]
        used = slot < ncalls
        depth = call["depth"].astype(np.int64)
        start, duration = call["start_ns"], call["duration_ns"]
        if slot:
            _mark(codes, used & ((depth < 1) | (depth > depth_before + 1)), 3)
        _mark(codes, used & (start < start_before), 4)
        depth = np.clip(depth, 0, slots - 1)
        returned = (call["flags"] & CALL_RETURNED) != 0
        end = np.where(returned, start + duration, start)
        parent_end = np.where(depth > 0, ends[rows, depth - 1], limit)
        _mark(codes, used & ((end > parent_end) | (returned & (end < start))), 5)
        _mark(codes, used & ~known[call["function"]], 6)
        ends[rows, depth] = np.where(returned, end, parent_end)
        depth_before, start_before = depth, start
    return codes


def _mark(codes: npt.NDArray[np.uint8], where: npt.NDArray[np.bool_], code: int) -> None:
    codes[where & (codes == 0)] = code


@lru_cache(maxsize=4096)
def module_name(kind: int, family: int, protocol: int, socket_type: int) -> str | None:
    """The module alias inet_create asks for: its two formats in net/ipv4/af_inet.c, else None."""
    if kind == MODULE_PROTO_TYPE:
        return f"net-pf-{family}-proto-{protocol}-type-{socket_type}"
    if kind == MODULE_PROTO:
        return f"net-pf-{family}-proto-{protocol}"
    return None


def _sock(present: int, *fields: int) -> Sock | None:
    if not present:
        return None
    return Sock(*[value if present >> place & 1 else None for place, value in enumerate(fields)])


def _build(head: tuple[Any, ...], slots: list[tuple[int, ...]], sock: Sock | None, run: Run) -> CallTrace:
    (
        start_ns, seq, cgroup_id, pid, tid, ppid, uid, gid, netns, protocol, family, type_, foreign, cpu, flags, ncalls,
        comm, prot,
    ) = head  # fmt: skip
    functions = run.functions
    calls = []
    for start, duration, result, function, depth, call_flags, kind, m_protocol, m_family, m_type in slots[:ncalls]:
        returned = call_flags & CALL_RETURNED
        pointer = None
        if call_flags & CALL_POINTER:
            pointer = "NULL" if call_flags & CALL_NULL else "valid"
        calls.append(
            Call(
                functions[function],
                depth,
                start,
                duration if returned else None,
                result if returned and pointer is None and not call_flags & CALL_VOID else None,
                pointer,
                module_name(kind, m_family, m_protocol, m_type) if kind else None,
            )
        )
    outcome = calls[0].result
    bare = bool(flags & RECORD_BARE)
    return CallTrace(
        id=f"{cpu}-{seq}",
        start_ns=start_ns,
        pid=pid,
        tid=tid,
        ppid=ppid,
        uid=uid,
        gid=gid,
        comm=text.decode(comm.partition(b"\0")[0]),
        cgroup=run.cgroups.get(cgroup_id),
        netns=netns or None,
        cpu=cpu,
        family=family,
        type=None if bare else type_,
        protocol=None if bare else protocol,
        kernel_socket=bool(flags & RECORD_KERN),
        cap_net_raw=bool(flags & RECORD_CAP_NET_RAW) if flags & RECORD_CAP_KNOWN else None,
        bare=bare,
        softirq=bool(flags & RECORD_SOFTIRQ),
        prot=text.decode(prot.partition(b"\0")[0]) or None,
        errno=errno_name(-outcome) if outcome else None,
        duration_ns=calls[0].duration_ns,
        incomplete=incomplete_reason(flags),
        foreign=foreign,
        calls=tuple(calls),
        sock=sock,
    )
