"""A batch of records; read as columns, it becomes records only for those who ask for them."""

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
# Members of a record that make no difference to its shape.
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
)


@dataclass(frozen=True, slots=True)
class Loss:
    """``count`` sockets that were created but have no trace, and why (``ring_full``, ``no_state``, …)."""

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
    """Records in the order they arrived, and what was lost since the batch before.

    ``records`` is one-dimensional with a dtype of ``record_dtype``; it is never written to once in a batch. What needs
    only some columns asks for those, and for the calls apart: a batch that was columns need not become records.
    """

    def __init__(self, records: Records, losses: tuple[Loss, ...] = ()) -> None:
        self._records: Records | None = records
        self._size = len(records)
        self._calls: Calls | None = None
        self._shapes: Groups | None = None
        self._distinct: Batch | None = None
        self._keys: list[bytes] | None = None
        # Of what part of which batch this is, if that one's shapes are known.
        self._part_of: tuple[Batch, Indices] | None = None
        self.losses = losses

    def __len__(self) -> int:
        return self._size

    @property
    def records(self) -> Records:
        """All of it, as the kernel sent it."""
        if self._records is None:
            self._records = self._make_records()
        return self._records

    @property
    def dtype(self) -> np.dtype[np.void]:
        """That of the records."""
        return self.records.dtype

    @property
    def calls(self) -> Calls:
        """The records' calls, as columns."""
        if self._calls is None:
            self._calls = flatten(self.records)
        return self._calls

    @property
    def shapes(self) -> Groups:
        """Which records are the same but for who, where and when: of the same request, path, results and flags.

        The verdict on one of a shape is the verdict on all.
        """
        if self._shapes is None:
            if self._part_of is None:
                self._shapes = alike(self._words())
            else:
                whole, rows = self._part_of
                self._shapes = grouped(whole.shapes.group_of[rows])
        return self._shapes

    def shapes_by(self, *names: str) -> Groups:
        """The records of one shape that have the same in these members, too, as far as they have them."""
        there = [name for name in names if name not in OPTIONAL or self.dtype[name].shape[0]]
        also = [self.names(name).places if name in NAMES else self.column(name) for name in there]
        return grouped(self.shapes.group_of, *also)

    @property
    def distinct(self) -> Self:
        """The first record of each shape, in the order of ``shapes.first``."""
        if self._distinct is None:
            # Of records: columns would refer back to this batch, and it would wait for the garbage collector.
            self._distinct = Batch(self.take(self.shapes.first).records)
        return cast("Self", self._distinct)

    @property
    def shape_keys(self) -> list[bytes]:
        """What makes each shape one, the same in every batch of the dtype: the bytes of its record, with 0 in all that
        is not of the shape."""
        if self._keys is None:
            if self._part_of is None:
                self._keys = _keys(self.distinct.records)
            else:
                whole, rows = self._part_of
                keys = whole.shape_keys
                self._keys = [keys[shape] for shape in whole.shapes.group_of[rows[self.shapes.first]].tolist()]
        return self._keys

    def column(self, name: str) -> npt.NDArray[Any]:
        """A member of ``struct inetprobe_record``, one a record; ``sock`` and ``stack`` where a record has them."""
        column: npt.NDArray[Any] = self.records[name]
        return column[:, 0] if name in OPTIONAL else column

    def names(self, name: str) -> Names:
        """A column of names, ``comm`` or ``prot``, with fewer names than records to look at."""
        return names_of(self.column(name))

    @property
    def has_sock(self) -> bool:
        """Have the records the fields of the sock that was made?"""
        return bool(self.dtype["sock"].shape[0])

    @property
    def has_stack(self) -> bool:
        """Have the records a number of who called?"""
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
        made = packed((self.names("prot").places, 32), (self.column("flags"), 8), (self.column("ncalls"), 8))
        socks = words_of(self.column("sock")) if self.has_sock else []
        return [request, made, *socks, *call_words(self.calls)]


def joined(pieces: Sequence[Records]) -> Records:
    """A copy of one or more arrays of records in a row."""
    return np.concatenate([opaque(piece) for piece in pieces]).view(pieces[0].dtype)


class Columns(Protocol):
    """The members of a record but for its calls, as numpy columns."""

    def column(self, name: str) -> Column:
        """One that is no name."""

    def names(self, name: str) -> Names:
        """``comm`` or ``prot``."""


class ColumnBatch(Batch):
    """A Batch whose members come from ``columns``, each when it is first asked for."""

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
        """See Batch."""
        if name not in self._known:
            if name in NAMES:
                named = self.names(name)
                self._known[name] = named.values[named.places]
            else:
                self._known[name] = self._columns.column(name)
        return self._known[name]

    def names(self, name: str) -> Names:
        """See Batch."""
        if name not in self._names:
            self._names[name] = self._columns.names(name)
        return self._names[name]

    @property
    def dtype(self) -> np.dtype[np.void]:
        """See Batch."""
        return self._dtype

    def _take(self, rows: Indices, losses: tuple[Loss, ...]) -> Batch:
        columns = self._columns
        # A part of a part is one of the whole: what lies between need not be made.
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
    """Columns of some rows of a batch."""

    def __init__(self, batch: ColumnBatch, rows: Indices) -> None:
        self._batch = batch
        self._rows = rows

    def take(self, rows: Indices) -> _Taken:
        return _Taken(self._batch, self._rows[rows])

    def column(self, name: str) -> Column:
        return self._batch.column(name)[self._rows]

    def names(self, name: str) -> Names:
        named = self._batch.names(name)
        return Names(named.values, named.places[self._rows])
