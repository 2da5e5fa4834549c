"""Records → call traces: pure functions, no clock, no I/O.

A record is flat: its calls stand in order of entry, each with its depth. ``call_traces`` makes a ``CallTrace`` of each
record in a batch whose calls are known to nest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from inetprobe.base import text, words
from inetprobe.base.uapi import FAMILIES, SOCK_CLOEXEC, SOCK_NONBLOCK, call_text, errno_name
from inetprobe.model.inet_sock import Sock
from inetprobe.record.calls import module_name, parents_of
from inetprobe.record.layout import (
    CALL_NULL,
    CALL_POINTER,
    CALL_RETURNED,
    CALL_VOID,
    RECORD,
    RECORD_BARE,
    RECORD_CAP_KNOWN,
    RECORD_CAP_NET_RAW,
    RECORD_KERN,
    RECORD_SOFTIRQ,
    SECURE_COMPUTING,
    SYSCALLS,
    incomplete_reason,
)
from inetprobe.record.measures import create_indices
from inetprobe.record.nesting import NestedBatch
from inetprobe.record.run import Run
from inetprobe.record.self_time import without_children
from inetprobe.record.stacks import Stack

_HEAD = [name for name in RECORD.names or () if name not in ("calls", "sock", "stack", "frames")]


Outcome = Literal["ok", "failed", "unknown"]


class Call(NamedTuple):
    """One call of a traced kernel function.

    ``start_ns`` counts from the start of the trace; ``duration_ns`` is None where the return was not seen. ``result``
    is the integer result; ``pointer`` is ``"valid"`` or ``"NULL"`` instead where the function returns a pointer.
    ``module`` is the name that ``__request_module`` was asked for.
    """

    function: str
    depth: int
    start_ns: int
    duration_ns: int | None
    result: int | None
    pointer: str | None
    module: str | None


class Asked(NamedTuple):
    """A system call (``socket``, ``socketpair``, ``io_uring``) and its arguments as given; ``type`` has its flags."""

    syscall: str
    family: int
    type: int
    protocol: int


class CallTrace(NamedTuple):
    """How the kernel created one socket, or refused to.

    ``type`` is without SOCK_CLOEXEC and SOCK_NONBLOCK; ``protocol`` is as the caller asked. ``errno`` is the name, or
    None for a success and for a result that was not seen. ``incomplete`` is None for a complete trace, else the reason.
    ``cap_net_raw`` says whether the caller had CAP_NET_RAW; None where that was not looked at (it is for SOCK_RAW) or
    could not be determined. ``cpu`` is the CPU on which the trace ended, ``start_ns`` is CLOCK_BOOTTIME. ``netns`` is
    an inode number, None where it could not be read.

    A sock that neither inet_create nor inet6_create made is ``bare``: ``type``, ``protocol`` and ``errno`` are None.
    Of a sock made in a softirq (``softirq``), the thread is the one that was interrupted, and had no part in it.

    ``asked`` are the system call's arguments, None where no system call was seen around the create; ``family``,
    ``type`` and ``protocol`` are the create's, or where there is none, the system call's. ``create`` is the index of
    the create's call, None where there is none.

    ``descriptor_limit`` is the process's RLIMIT_NOFILE when the system call failed with EMFILE; None for any other
    call, and where it is not known.

    ``sock`` has the fields of the sock that was made; None where none was, and where the run did not read them.
    ``stack`` is the stack at the outermost call; None where that neither failed nor was slow, and where the run did not
    take stacks.
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
    asked: Asked | None = None
    create: int | None = 0
    descriptor_limit: int | None = None
    sock: Sock | None = None
    stack: Stack | None = None

    @property
    def request(self) -> tuple[int, int | None, int | None]:
        """Family, type without its flags and protocol as the caller asked, where a system call was seen."""
        if self.asked is None:
            return self.family, self.type, self.protocol
        return self.asked.family, self.asked.type & ~(SOCK_CLOEXEC | SOCK_NONBLOCK), self.asked.protocol

    @property
    def outcome(self) -> Outcome:
        """How it ended; ``unknown`` where the return was not seen."""
        if self.duration_ns is None:
            return "unknown"
        return "failed" if self.errno is not None or self.calls[0].pointer == "NULL" else "ok"


def call_traces(batch: NestedBatch, run: Run) -> Iterator[CallTrace]:
    """The traces of a batch, in its order."""
    # tolist() gives plain ints only where no field is itself an array, so the calls come apart from the rest.
    records = batch.records
    parts = [records[name].tolist() for name in ("calls", "sock", "stack")]
    creates = create_indices(records).tolist()
    for head, create, slots, socks, stacks in zip(records[_HEAD].tolist(), creates, *parts, strict=True):
        sock, stack = _sock(*socks[0]) if socks else None, run.stacks.get(stacks[0]) if stacks else None
        yield _build(head, slots, None if create < 0 else create, sock, stack, run)


def _sock(present: int, *fields: int) -> Sock | None:
    if not present:
        return None
    return Sock(*[value if present >> bit & 1 else None for bit, value in enumerate(fields)])


def _build(
    head: tuple[Any, ...],
    slots: list[tuple[int, ...]],
    create: int | None,
    sock: Sock | None,
    stack: Stack | None,
    run: Run,
) -> CallTrace:
    (
        start_ns, seq, cgroup_id, pid, tid, ppid, uid, gid, netns, protocol, family, type_, foreign, cpu, flags, ncalls,
        asked_family, asked_type, asked_protocol, descriptor, comm, prot,
    ) = head  # fmt: skip
    functions = run.functions
    calls = []
    for start, duration, result, function, depth, call_flags, form, m_protocol, m_family, m_type in slots[:ncalls]:
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
                module_name(form, m_family, m_protocol, m_type) if form else None,
            )
        )
    outcome = calls[0].result
    asked, limit = None, 0
    if slots[0][3] == SECURE_COMPUTING:
        asked = Asked("socketpair" if slots[0][9] else "socket", asked_family, asked_type, asked_protocol)
    elif slots[0][3] in SYSCALLS:
        limit = slots[0][7]
        asked = Asked(SYSCALLS[slots[0][3]], asked_family, asked_type, asked_protocol)
        if outcome == 0:
            calls[0] = calls[0]._replace(result=descriptor)
    bare = bool(flags & RECORD_BARE)
    return CallTrace(
        id=f"{cpu}-{seq}",
        start_ns=start_ns,
        pid=pid,
        tid=tid,
        ppid=ppid,
        uid=uid,
        gid=gid,
        comm=text.until_nul(comm),
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
        prot=text.until_nul(prot) or None,
        errno=errno_name(-outcome) if outcome else None,
        duration_ns=calls[0].duration_ns,
        incomplete=incomplete_reason(flags),
        foreign=foreign,
        calls=tuple(calls),
        asked=asked,
        create=create,
        descriptor_limit=limit or None,
        sock=sock,
        stack=stack,
    )


def request(trace: CallTrace) -> str:
    """The call in C: ``socket(AF_INET, SOCK_STREAM, IPPROTO_SCTP)``; for a bare sock, how the kernel made it."""
    family = words.name(FAMILIES, trace.family)
    if trace.bare:
        made = "sk_alloc" if trace.calls[0].function == "sk_alloc" else "accepted"
        return f"{made}({family}){' in softirq' if trace.softirq else ''}"
    if trace.asked is not None:
        return call_text(*trace.asked[1:], trace.asked.syscall)
    assert trace.type is not None
    assert trace.protocol is not None
    return call_text(trace.family, trace.type, trace.protocol)


def self_times(calls: Sequence[Call]) -> list[int | None]:
    """Nanoseconds of each call of one trace less those of the calls directly below it.

    None for a call whose return, or that of a call directly below it, was not seen.
    """
    depth = np.array([call.depth for call in calls], np.uint8)
    durations = np.array([call.duration_ns or 0 for call in calls], object)
    own: list[int | None] = without_children(depth, durations).tolist()
    for index, parent in enumerate(parents_of(depth).tolist()):
        if calls[index].duration_ns is None:
            own[index] = own[parent] = None
    return own
