"""A batch that was read as columns, and becomes records only for those who ask for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from inetprobe.calls import Calls, Places, unflatten
from inetprobe.record import Batch, Loss, Records

Column = npt.NDArray[Any]


class ColumnBatch(Batch):
    """A Batch of which ``column`` gives the members of the record but for its calls, each when first asked for."""

    def __init__(
        self,
        dtype: np.dtype[np.void],
        column: Callable[[str], Column],
        calls: Calls,
        losses: tuple[Loss, ...] = (),
    ) -> None:
        super().__init__(np.zeros(0, dtype), losses)
        self._records = None
        self._size = len(calls.counts)
        self._calls = calls
        self._dtype = dtype
        self._column = column
        self._known: dict[str, Column] = {}

    def column(self, name: str) -> Column:
        """See Batch."""
        if name not in self._known:
            self._known[name] = self._column(name)
        return self._known[name]

    @property
    def has_sock(self) -> bool:
        """See Batch."""
        return bool(self._dtype["sock"].shape[0])

    def take(self, rows: Places, losses: tuple[Loss, ...] = ()) -> Batch:
        """See Batch."""
        return ColumnBatch(self._dtype, lambda name: self.column(name)[rows], self.calls.take(rows), losses)

    def _make_records(self) -> Records:
        records = np.zeros(len(self), self._dtype)
        for name in self._dtype.names or ():
            if name == "sock":
                if self.has_sock:
                    records["sock"][:, 0] = self.column("sock")
            elif name != "calls":
                records[name] = self.column(name)
        unflatten(self.calls, records["calls"])
        return records
