"""A batch that was read as columns, and becomes records only for those who ask for them."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from inetprobe.calls import Calls, Places, unflatten
from inetprobe.record import NAMES, OPTIONAL, Batch, Loss, Records
from inetprobe.shapes import Names

Column = npt.NDArray[Any]
_APART = ("calls", "frames")


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

    def _take(self, rows: Places, losses: tuple[Loss, ...]) -> Batch:
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
            elif name not in _APART:
                records[name] = self.column(name)
        unflatten(self.calls, records["calls"])
        return records


class _Taken:
    """Columns of some rows of a batch."""

    def __init__(self, batch: ColumnBatch, rows: Places) -> None:
        self._batch = batch
        self._rows = rows

    def take(self, rows: Places) -> _Taken:
        return _Taken(self._batch, self._rows[rows])

    def column(self, name: str) -> Column:
        return self._batch.column(name)[self._rows]

    def names(self, name: str) -> Names:
        named = self._batch.names(name)
        return Names(named.values, named.places[self._rows])
