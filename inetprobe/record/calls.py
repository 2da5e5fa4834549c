"""The calls of a batch's records, one after another: what numpy is quick with, whatever each record's share of it."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from inetprobe.record.layout import (
    MODULE_PROTO,
    MODULE_PROTO_TYPE,
)

Indices = npt.NDArray[np.intp]


class Calls(NamedTuple):
    """Every call of every record, in the records' order and in order of entry.

    ``counts`` is how many each record has, ``starts`` where its first stands; the other columns have an element a call
    and are the members of ``struct inetprobe_call``. None of them is ever written to.
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
        """The calls of these records alone."""
        counts = self.counts[rows]
        starts = ends(counts) - counts
        places = np.repeat(self.starts[rows] - starts, counts) + np.arange(counts.sum())
        return Calls(counts, starts, *[column[places] for column in self[2:]])

    def rows(self, places: Indices) -> Indices:
        """Which record each of these calls is of."""
        found: Indices = np.searchsorted(self.starts, places, side="right") - 1
        return found


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


#: The columns of ``Calls`` that have an element a call.
COLUMNS = Calls._fields[2:]


def opaque(structures: npt.NDArray[np.void]) -> npt.NDArray[np.void]:
    """The same memory, its elements without members: such ones numpy copies whole, others member by member."""
    return structures.view(np.dtype((np.void, structures.dtype.itemsize)))


def ends(counts: Indices) -> Indices:
    """Where each record's calls end."""
    result: Indices = np.cumsum(counts, dtype=np.intp)
    return result


def flatten(slots: npt.NDArray[np.void], ncalls: npt.NDArray[Any]) -> Calls:
    """The calls in use of records with ``slots`` (records x calls); of a number beyond them, all there are."""
    counts = np.minimum(ncalls, slots.shape[1]).astype(np.intp)
    used = opaque(slots)[np.arange(slots.shape[1]) < counts[:, None]].view(slots.dtype)
    return Calls(counts, ends(counts) - counts, *[np.ascontiguousarray(used[name]) for name in COLUMNS])


def unflatten(calls: Calls, slots: npt.NDArray[np.void]) -> None:
    """The inverse of ``flatten``, into the ``slots`` of as many records, which have room for all and are zero."""
    used = np.empty(len(calls.start_ns), slots.dtype)
    for name in COLUMNS:
        used[name] = getattr(calls, name)
    opaque(slots)[np.arange(slots.shape[1]) < calls.counts[:, None]] = opaque(used)


@lru_cache(maxsize=4096)
def module_name(kind: int, family: int, protocol: int, socket_type: int) -> str | None:
    """The module alias inet_create asks for: its two formats in net/ipv4/af_inet.c, else None."""
    if kind == MODULE_PROTO_TYPE:
        return f"net-pf-{family}-proto-{protocol}-type-{socket_type}"
    if kind == MODULE_PROTO:
        return f"net-pf-{family}-proto-{protocol}"
    return None
