"""Is a record a call trace? The rules, on the calls of a whole batch at once.

A batch that was checked has a type of its own, ``NestedBatch``: code that needs well-formed calls asks for one, and
``nested`` makes one. A part of such a batch is one too.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NewType

import numpy as np
import numpy.typing as npt

from inetprobe.record.batch import Batch, Loss
from inetprobe.record.calls import Calls, Indices, parents_of
from inetprobe.record.layout import has_returned
from inetprobe.record.run import Run

#: A batch of call traces: none of its records has a problem.
NestedBatch = NewType("NestedBatch", Batch)


class Problem(IntEnum):
    """The rule that a record breaks; of several, the one with the lowest number."""

    COUNT = 1  # no calls, or more than a record holds
    FIRST_DEPTH = 2  # the first call is not at depth 0
    DEPTH = 3  # a call is more than one level below the call before it, or is a second outermost call
    ORDER = 4  # the calls are not in order of entry
    END = 5  # a call ends after its parent
    FUNCTION = 6  # a call is of a function that the recording does not name


def nested(batch: Batch, run: Run) -> tuple[NestedBatch, Indices]:
    """The call traces of a batch, in its order, and the rows of its other records.

    The others count as ``malformed`` among the losses of the batch returned.
    """
    malformed = np.flatnonzero(problems(batch, run))
    if not len(malformed):
        return NestedBatch(batch), malformed
    well_formed = np.delete(np.arange(len(batch)), malformed)
    return NestedBatch(batch.take(well_formed, (*batch.losses, Loss("malformed", len(malformed))))), malformed


def problems(batch: Batch, run: Run) -> npt.NDArray[np.uint8]:
    """The ``Problem`` of each record, ``[records]``; 0 for a call trace."""
    calls = batch.calls
    codes = np.zeros(len(batch), np.uint8)
    ncalls = batch.column("ncalls")
    codes[(ncalls < 1) | (ncalls > calls.counts)] = Problem.COUNT
    if not len(calls.depth):
        return codes
    first = np.zeros(len(calls.depth), bool)
    first[calls.starts[calls.counts > 0]] = True
    _mark(codes, calls, first & (calls.depth != 0), Problem.FIRST_DEPTH)
    inner = ~first
    inner[1:] &= (calls.depth[1:] == 0) | (calls.depth[1:] - np.minimum(calls.depth[:-1], calls.depth[1:]) > 1)
    _mark(codes, calls, inner, Problem.DEPTH)
    early = ~first
    early[1:] &= calls.start_ns[1:] < calls.start_ns[:-1]
    _mark(codes, calls, early, Problem.ORDER)
    _mark(codes, calls, _too_long(calls), Problem.END)
    unknown = np.ones(256, bool)
    unknown[list(run.functions)] = False
    if unknown[: int(calls.function.max()) + 1].any():
        _mark(codes, calls, unknown[calls.function], Problem.FUNCTION)
    return codes


def _mark(codes: npt.NDArray[np.uint8], calls: Calls, where: npt.NDArray[np.bool_], problem: Problem) -> None:
    if where.any():
        rows = calls.rows(np.flatnonzero(where))
        codes[rows[codes[rows] == 0]] = problem


def _too_long(calls: Calls) -> npt.NDArray[np.bool_]:
    """Which calls end after their parent, ``[calls]``; meaningless for records with wrong depths.

    A call whose return was not seen counts as ending when it begins, and its own calls are held to the end of the
    nearest call around it that returned. By hand, over the calls of one record in order of entry::

        ends = []  # by depth: when the open call ends, or must end
        for start, duration, depth, returned in calls:
            del ends[depth:]
            limit = ends[-1] if ends else INFINITY
            end = start + duration if returned else start
            too_long = end > limit
            ends.append(end if returned else limit)
    """
    returned = has_returned(calls.flags)
    if returned.all():
        end = calls.start_ns + calls.duration_ns
        limit = end.take(parents_of(calls.depth))
    else:
        end = calls.start_ns + calls.duration_ns * returned
        parents = parents_of(calls.depth)
        open_ended = np.flatnonzero(~returned[parents])
        while len(open_ended):
            above = parents[parents[open_ended]]
            open_ended = open_ended[above != parents[open_ended]]
            parents[open_ended] = parents[parents[open_ended]]
            open_ended = open_ended[~returned[parents[open_ended]]]
        limit = np.where(returned, end, np.iinfo(np.uint64).max)[parents]
    too_long: npt.NDArray[np.bool_] = (end > limit) | (end < calls.start_ns)  # the latter: beyond 64 bits
    return too_long
