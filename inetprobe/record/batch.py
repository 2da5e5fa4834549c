"""A batch of records. A batch that was read as columns makes records only when they are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self, cast

import numpy as np
import numpy.typing as npt

from inetprobe.record.calls import Calls, Indices, flatten, opaque, unflatten, used
from inetprobe.record.layout import NAMES, OPTIONAL, Records
from inetprobe.record.shapes import Groups, Names, Words, alike, call_words, grouped, names_of, packed, words_of

Column = npt.NDArray[Any]
_NOT_COLUMNS = ("calls", "frames")
# Members of a record that its shape does not depend on.
_NO_SHAPE = (
    "start_ns",
    "seq",
    "cgroup_id",
    "pid",
    "tid",
    "ppid",
    "uid",
    "gid",
    "netns",
    "foreign",
    "cpu",
    "comm",
    "stack",
    "descriptor",
)


@dataclass(frozen=True, slots=True)
class Loss:
    """The number of sockets that have no trace, and why (``ring_full``, ``no_state``, …)."""

    reason: str
    count: int


def _keys(records: Records) -> list[bytes]:
    cleared = records.copy()
    for name in _NO_SHAPE:
        cleared[name] = np.zeros((), cleared.dtype[name])
    for name in ("start_ns", "duration_ns"):
        cleared["calls"][name] = 0
    cleared["calls"][~used(cleared)] = np.zeros((), cleared["calls"].dtype)
    keys: list[bytes] = opaque(cleared).tolist()
    return keys


class Batch:
    """Records in the order in which they arrived, and what was lost since the batch before.

    ``records`` is ``[records]`` of a ``record_dtype``, and is never written to. Code that needs only some columns asks
    for those and for ``calls``, so that a batch of columns need not become records.
    """

    def __init__(self, records: Records, losses: tuple[Loss, ...] = ()) -> None:
        self._records: Records | None = records
        self._size = len(records)
        self._calls: Calls | None = None
        self._shapes: Groups | None = None
        self._distinct: Batch | None = None
        self._keys: list[bytes] | None = None
        # The batch that this is a part of and the rows taken from it, if the shapes of that batch are known.
        self._part_of: tuple[Batch, Indices] | None = None
        self.losses = losses

    def __len__(self) -> int:
        return self._size

    @property
    def records(self) -> Records:
        """The records in the kernel's layout."""
        if self._records is None:
            self._records = self._make_records()
        return self._records

    @property
    def dtype(self) -> np.dtype[np.void]:
        """The dtype of the records."""
        return self.records.dtype

    @property
    def calls(self) -> Calls:
        """The records' calls, as columns."""
        if self._calls is None:
            self._calls = flatten(self.records)
        return self._calls

    @property
    def shapes(self) -> Groups:
        """Groups the records that differ only in process, place and time: of one request, path, results and flags.

        The verdict on one record of a shape is the verdict on all.
        """
        if self._shapes is None:
            if self._part_of is None:
                self._shapes = alike(self._words())
            else:
                whole, rows = self._part_of
                self._shapes = grouped(whole.shapes.group_of[rows])
        return self._shapes

    def shapes_by(self, *names: str) -> Groups:
        """Groups the records of one shape that are also equal in these members, as far as the records have them."""
        present = [name for name in names if name not in OPTIONAL or self.dtype[name].shape[0]]
        columns = [self.names(name).indices if name in NAMES else self.column(name) for name in present]
        return grouped(self.shapes.group_of, *columns)

    @property
    def distinct(self) -> Self:
        """The first record of each shape, in the order of ``shapes.first``."""
        if self._distinct is None:
            # Of records: columns would refer back to this batch, and it would wait for the garbage collector.
            self._distinct = Batch(self.take(self.shapes.first).records)
        return cast("Self", self._distinct)

    @property
    def shape_keys(self) -> list[bytes]:
        """The key of each shape, the same in every batch of this dtype: the bytes of a record of the shape, with 0 in
        all that the shape does not depend on."""
        if self._keys is None:
            if self._part_of is None:
                self._keys = _keys(self.distinct.records)
            else:
                whole, rows = self._part_of
                keys = whole.shape_keys
                self._keys = [keys[shape] for shape in whole.shapes.group_of[rows[self.shapes.first]].tolist()]
        return self._keys

    def column(self, name: str) -> npt.NDArray[Any]:
        """A member of ``struct inetprobe_record``, ``[records]``; ``sock`` and ``stack`` only if the dtype has them."""
        column: npt.NDArray[Any] = self.records[name]
        return column[:, 0] if name in OPTIONAL else column

    def names(self, name: str) -> Names:
        """A column of names, ``comm`` or ``prot``."""
        return names_of(self.column(name))

    @property
    def has_sock(self) -> bool:
        """Do the records have the fields of the sock that was made?"""
        return bool(self.dtype["sock"].shape[0])

    @property
    def has_stack(self) -> bool:
        """Do the records have the number of a stack?"""
        return bool(self.dtype["stack"].shape[0])

    def take(self, rows: Indices, losses: tuple[Loss, ...] = ()) -> Self:
        """The records of these rows, in the order of ``rows``, with these losses before them."""
        taken = self._take(rows, losses)
        if self._shapes is not None:
            taken._part_of = self, rows
        return cast("Self", taken)

    def _take(self, rows: Indices, losses: tuple[Loss, ...]) -> Batch:
        return Batch(opaque(self.records)[rows].view(self.dtype), losses)

    def _make_records(self) -> Records:
        raise NotImplementedError

    def _words(self) -> list[Words]:
        request = packed((self.column("family"), 16), (self.column("type"), 16), (self.column("protocol"), 32))
        made = packed((self.names("prot").indices, 32), (self.column("flags"), 8), (self.column("ncalls"), 8))
        asked = [
            packed((self.column("asked_family"), 32), (self.column("asked_type"), 32)),
            words_of(self.column("asked_protocol"))[0],
        ]
        socks = words_of(self.column("sock")) if self.has_sock else []
        return [request, *asked, made, *socks, *call_words(self.calls)]


def joined(pieces: Sequence[Records]) -> Records:
    """A copy of one or more arrays of records, concatenated."""
    return np.concatenate([opaque(piece) for piece in pieces]).view(pieces[0].dtype)


class Columns(Protocol):
    """The members of records, except for their calls, as numpy columns."""

    def column(self, name: str) -> Column:
        """A member that is not a name, ``[records]``."""

    def names(self, name: str) -> Names:
        """A member that is a name, ``comm`` or ``prot``."""


class ColumnBatch(Batch):
    """A Batch whose members come from ``columns``, each when it is first asked for and then kept."""

    def __init__(self, dtype: np.dtype[np.void], columns: Columns, calls: Calls, losses: tuple[Loss, ...] = ()) -> None:
        super().__init__(np.zeros(0, dtype), losses)
        self._records = None
        self._size = len(calls.counts)
        self._calls = calls
        self._dtype = dtype
        self._columns = columns
        self._known: dict[str, Column] = {}
        self._names: dict[str, Names] = {}

    def column(self, name: str) -> Column:
        """As of any batch, without making records."""
        if name not in self._known:
            if name in NAMES:
                named = self.names(name)
                self._known[name] = named.values[named.indices]
            else:
                self._known[name] = self._columns.column(name)
        return self._known[name]

    def names(self, name: str) -> Names:
        """As of any batch, without making records."""
        if name not in self._names:
            self._names[name] = self._columns.names(name)
        return self._names[name]

    @property
    def dtype(self) -> np.dtype[np.void]:
        """The dtype that the records would have."""
        return self._dtype

    def _take(self, rows: Indices, losses: tuple[Loss, ...]) -> Batch:
        columns = self._columns
        # A part of a part is taken from the whole, so that the part between need not be made.
        taken = columns.take(rows) if isinstance(columns, _Taken) else _Taken(self, rows)
        return ColumnBatch(self._dtype, taken, self.calls.take(rows), losses)

    def _make_records(self) -> Records:
        records = np.zeros(len(self), self._dtype)
        for name in self._dtype.names or ():
            if name in OPTIONAL:
                if self._dtype[name].shape[0]:
                    records[name][:, 0] = self.column(name)
            elif name not in _NOT_COLUMNS:
                records[name] = self.column(name)
        unflatten(self.calls, records)
        return records


class _Taken:
    """The columns of some rows of a batch."""

    def __init__(self, batch: ColumnBatch, rows: Indices) -> None:
        self._batch = batch
        self._rows = rows

    def take(self, rows: Indices) -> _Taken:
        return _Taken(self._batch, self._rows[rows])

    def column(self, name: str) -> Column:
        return self._batch.column(name)[self._rows]

    def names(self, name: str) -> Names:
        named = self._batch.names(name)
        return Names(named.values, named.indices[self._rows])
