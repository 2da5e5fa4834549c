"""The calls of a batch's records as flat columns, which numpy handles at once however many calls each record has."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from inetprobe.record.layout import MODULE_FAMILY, MODULE_PROTO, MODULE_PROTO_TYPE, Mask, Records

Indices = npt.NDArray[np.intp]


class Calls(NamedTuple):
    """Every call of every record, in the order of the records and of entry.

    ``counts`` is the number of calls of each record and ``starts`` the index of its first, both ``[records]``. The
    other columns are the members of ``struct inetprobe_call``, ``[calls]``. No column is ever written to.
    """

    counts: Indices
    starts: Indices
    start_ns: npt.NDArray[np.uint64]
    duration_ns: npt.NDArray[np.uint64]
    result: npt.NDArray[np.int32]
    function: npt.NDArray[np.uint8]
    depth: npt.NDArray[np.uint8]
    flags: npt.NDArray[np.uint8]
    module: npt.NDArray[np.uint8]
    module_protocol: npt.NDArray[np.int32]
    module_family: npt.NDArray[np.int16]
    module_type: npt.NDArray[np.int16]

    def take(self, rows: Indices) -> Calls:
        """The calls of these records, in the order of ``rows``."""
        counts = self.counts[rows]
        starts = ends(counts) - counts
        indices = np.repeat(self.starts[rows] - starts, counts) + np.arange(counts.sum())
        return Calls._make((counts, starts, *(column[indices] for column in self[2:])))

    def rows(self, indices: Indices) -> Indices:
        """The row of the record that each of these calls belongs to."""
        rows: Indices = np.searchsorted(self.starts, indices, side="right") - 1
        return rows


def parents_of(depth: npt.NDArray[np.uint8]) -> Indices:
    """The index of each call's parent among ``depth``, of one or more calls; an outermost call is its own parent.

    Never an index after the call's own, whatever the depths. By hand, for calls that nest::

        around = []  # the open calls
        for index, level in enumerate(depth):
            del around[level:]
            parents[index] = around[-1] if around else index
            around.append(index)
    """
    parents = np.arange(len(depth))
    parents -= depth > 0  # nearly always the call before
    parents[0] = 0
    others = np.flatnonzero(depth[1:] <= depth[:-1]) + 1
    for level in np.unique(depth[others]).tolist():
        if level:
            above = np.flatnonzero(depth == level - 1)
            children = others[depth[others] == level]
            before = np.searchsorted(above, children)
            parents[children] = np.where(before > 0, above[before - 1], 0) if len(above) else 0
    return parents


#: The columns of ``Calls`` with one element per call.
COLUMNS = Calls._fields[2:]


def opaque(structures: npt.NDArray[np.void]) -> npt.NDArray[np.void]:
    """The same memory as elements without members, which numpy copies whole instead of member by member."""
    return structures.view(np.dtype((np.void, structures.dtype.itemsize)))


def ends(counts: Indices) -> Indices:
    """The index after each record's last call, ``[records]``."""
    after: Indices = np.cumsum(counts, dtype=np.intp)
    return after


def used(records: Records) -> Mask:
    """Which call slots of each record are in use: ``[records, slots]``."""
    mask: Mask = np.arange(records["calls"].shape[1]) < records["ncalls"][:, None]
    return mask


def flatten(records: Records) -> Calls:
    """The calls in use; all slots of a record whose ``ncalls`` exceeds them."""
    slots = records["calls"]
    counts = np.minimum(records["ncalls"], slots.shape[1]).astype(np.intp)
    calls = opaque(slots)[used(records)].view(slots.dtype)
    return Calls(counts, ends(counts) - counts, *[np.ascontiguousarray(calls[name]) for name in COLUMNS])


def unflatten(calls: Calls, records: Records) -> None:
    """The inverse of ``flatten``: fills the call slots, which must be zero, of records that have their ``ncalls``."""
    slots = records["calls"]
    filled = np.empty(len(calls.start_ns), slots.dtype)
    for name in COLUMNS:
        filled[name] = getattr(calls, name)
    opaque(slots)[used(records)] = opaque(filled)


@lru_cache(maxsize=4096)
def module_name(form: int, family: int, protocol: int, socket_type: int) -> str | None:
    """The module alias that inet_create() asks for, in one of its two formats in net/ipv4/af_inet.c, or __sock_create()
    of net/socket.c; else None."""
    if form == MODULE_PROTO_TYPE:
        return f"net-pf-{family}-proto-{protocol}-type-{socket_type}"
    if form == MODULE_PROTO:
        return f"net-pf-{family}-proto-{protocol}"
    if form == MODULE_FAMILY:
        return f"net-pf-{family}"
    return None
