"""Bounded tables of counts by key: when a table is full, the keys that stand out least are counted as ``OTHER``."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from enum import Enum
from typing import Any, Final, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from inetprobe.stats.loglinear import Latency, LogLinear, Rows

K = TypeVar("K", bound=Hashable)


class Other(Enum):
    """The type of ``OTHER``, the key of all that has no key of its own."""

    OTHER = "other"


OTHER: Final = Other.OTHER


class TopKeys(Generic[K]):
    """Exact sums and maxima by key, for at most ``max_keys`` keys at a time.

    When there would be more, the half of the keys that stands out least in every column is added to OTHER. No count is
    lost, and keys with large counts stay; a key that comes back starts again. Row 0 is that of OTHER.
    """

    def __init__(self, max_keys: int, columns: int, *, timed: bool = False) -> None:
        """``columns`` is the number of sums per key; a ``timed`` table also has a histogram per key."""
        self.histograms = LogLinear() if timed else None
        self._max_keys = max_keys
        self._rows: dict[K, int] = {}
        self._notes: dict[K, Any] = {}
        self._sums = np.zeros((1, columns), object)
        self._longest = np.zeros(1, object)

    def __len__(self) -> int:
        return len(self._rows)

    def add(
        self, keys: Sequence[K], sums: Sequence[Sequence[int]], longest: Sequence[int] = (), notes: Sequence[Any] = ()
    ) -> Rows:
        """Adds ``sums[column][i]`` to ``keys[i]``, and returns the row of each key, ``[keys]``.

        ``longest`` has a candidate for the maximum of each key, and ``notes`` a value that replaces the key's note. A
        key may occur twice.
        """
        rows = self._rows_of(keys)
        if not keys:
            return rows
        np.add.at(self._sums, rows, np.array(sums, object).T)
        if longest:
            np.maximum.at(self._longest, rows, np.array(longest, object))
        for key, note in zip(keys, notes, strict=False):
            if key in self._rows:
                self._notes[key] = note
        return rows

    def items(self) -> Iterator[tuple[K | Other, tuple[int, ...]]]:
        """(key, (*sums, maximum)) of each key, then of OTHER if anything was added to it."""
        for key, row in self._rows.items():
            yield key, (*self._sums[row].tolist(), self._longest[row])
        if self._sums[0].any():
            yield OTHER, (*self._sums[0].tolist(), self._longest[0])

    def latency(self, key: K | Other) -> Latency | None:
        """The durations of a key, in a timed table."""
        assert self.histograms is not None
        return self.histograms.latency(self._row(key))

    def buckets(self, key: K | Other) -> Iterator[tuple[int, int, int]]:
        """(lowest ns, highest ns, count) of the key's buckets that are not empty, ascending, in a timed table."""
        assert self.histograms is not None
        return self.histograms.buckets(self._row(key))

    @property
    def notes(self) -> Mapping[K, Any]:
        """The latest note of each key."""
        return self._notes

    def merge(self, other: TopKeys[K]) -> None:
        """Adds another table with the same columns."""
        share = other._share()
        # Those that stand out most first: they are kept if there is not room for all.
        keys = sorted(other._rows, key=lambda key: -share[other._rows[key]])
        theirs = [other._rows[key] for key in keys]
        rows = self.add(
            keys,
            other._sums[theirs].T.tolist(),
            other._longest[theirs].tolist(),
            [other._notes[key] for key in keys if key in other._notes],
        )
        self._sums[0] += other._sums[0]
        self._longest[0] = max(self._longest[0], other._longest[0])
        if self.histograms is not None and other.histograms is not None:
            for mine, row in zip([*rows.tolist(), 0], [*theirs, 0], strict=True):
                self.histograms.merge(mine, other.histograms, row)

    def _row(self, key: K | Other) -> int:
        return 0 if isinstance(key, Other) else self._rows[key]

    def _rows_of(self, keys: Sequence[K]) -> Rows:
        if len(self._rows) + len(set(keys) - self._rows.keys()) > self._max_keys:
            self._fold()
        for key in keys:
            if key not in self._rows and len(self._rows) < self._max_keys:
                self._rows[key] = len(self._rows) + 1
        missing = len(self._rows) + 1 - len(self._sums)
        if missing > 0:
            missing = max(missing, len(self._sums))
            self._sums = np.concatenate([self._sums, np.zeros((missing, self._sums.shape[1]), object)])
            self._longest = np.concatenate([self._longest, np.zeros(missing, object)])
        return np.array([self._rows.get(key, 0) for key in keys], np.int64)

    def _share(self) -> npt.NDArray[np.float64]:
        """How far each row stands out, ``[rows]``: its largest ratio to the maximum of a column; 0 for OTHER."""
        used = len(self._rows) + 1
        columns = np.column_stack([self._sums[:used], self._longest[:used]]).astype(np.float64)
        columns[0] = 0
        result: npt.NDArray[np.float64] = (columns / np.maximum(columns.max(axis=0), 1)).max(axis=1)
        return result

    def _fold(self) -> None:
        """Keeps half of the keys, those that stand out most, and adds the others to OTHER."""
        share = self._share()
        used = len(share)
        left = set(np.argsort(-share, kind="stable")[: self._max_keys // 2].tolist()) - {0}
        keys = [key for key, row in self._rows.items() if row in left]
        kept = [self._rows[key] for key in keys]
        gone = sorted(set(range(used)) - set(kept))
        self._sums = np.concatenate([self._sums[gone].sum(axis=0)[None], self._sums[kept]])
        self._longest = np.concatenate([[max(self._longest[gone])], self._longest[kept]])
        if self.histograms is not None:
            self.histograms = self.histograms.keep(kept)
        self._rows = {key: row for row, key in enumerate(keys, 1)}
        self._notes = {key: self._notes[key] for key in keys if key in self._notes}
