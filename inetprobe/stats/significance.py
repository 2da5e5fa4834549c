"""Is a difference more than noise? Rank and proportion tests in numpy, compared with those of scipy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

MANN_WHITNEY = "Mann–Whitney U"
FISHER = "Fisher's exact"
TWO_PROPORTIONS = "two-proportion z"

# Below this expected count the normal approximation of a proportion is poor (Cochran's rule).
_EXPECTED = 5


class Ranks(NamedTuple):
    """``superiority`` is the probability that a value of the first sample is above a value of the second, with half of
    it for ties: 0.5 for equal distributions. Cliff's delta is twice that, less one. ``p`` is two-sided."""

    superiority: float
    p: float


class Proportions(NamedTuple):
    """The two-sided ``p``, and the name of the ``test`` that gave it."""

    test: str
    p: float


def mann_whitney(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> Ranks:
    """The Mann–Whitney U test of two samples that are not empty: normal approximation, corrected for ties."""
    n, m = len(first), len(second)
    total = n + m
    _, indices, ties = np.unique(np.concatenate([first, second]), return_inverse=True, return_counts=True)
    last = np.cumsum(ties)
    ranks = last - (ties - 1) / 2
    u = float(ranks[indices[:n]].sum()) - n * (n + 1) / 2
    tied = float((ties.astype(float) ** 3 - ties).sum())
    variance = n * m / 12 * (total + 1 - tied / (total * (total - 1)))
    # The continuity correction: U is a whole number.
    distance = max(0.0, abs(u - n * m / 2) - 0.5)
    p = math.erfc(distance / math.sqrt(2 * variance)) if variance > 0 else 1.0
    return Ranks(u / (n * m), p)


def proportions(hits: int, n: int, other_hits: int, m: int) -> Proportions:
    """Tests whether ``hits`` of ``n`` and ``other_hits`` of ``m`` are the same proportion; ``n`` and ``m`` are not 0.

    The z-test is used where every expected count is large enough for it, else Fisher's exact test.
    """
    total = hits + other_hits
    # In whole numbers, so that successes and failures give exactly the same answer.
    if min(n, m) * min(total, n + m - total) < _EXPECTED * (n + m):
        return Proportions(FISHER, _fisher(hits, n, other_hits, m))
    share = total / (n + m)
    z = abs(hits / n - other_hits / m) / math.sqrt(share * (1 - share) * (1 / n + 1 / m))
    return Proportions(TWO_PROPORTIONS, math.erfc(z / math.sqrt(2)))


def holm(chances: Sequence[float]) -> list[float]:
    """P-values corrected for multiple tests (Holm 1979), in the order given."""
    corrected = [1.0] * len(chances)
    worst = 0.0
    for rank, index in enumerate(sorted(range(len(chances)), key=chances.__getitem__)):
        worst = max(worst, min(1.0, chances[index] * (len(chances) - rank)))
        corrected[index] = worst
    return corrected


def _fisher(hits: int, n: int, other_hits: int, m: int) -> float:
    """The probability of a table at most as likely as this one, given its margins."""
    both = hits + other_hits
    low, high = max(0, both - m), min(n, both)
    # Each table's likelihood from that of the table before. They are few, since an expected count is small.
    before = np.arange(low, high, dtype=float)
    steps = np.log((both - before) * (n - before)) - np.log((before + 1) * (m - both + before + 1))
    logs = np.concatenate([[0.0], np.cumsum(steps)])
    chances = np.exp(logs - logs.max())
    # The likelihoods of equally likely tables differ by rounding.
    as_likely = chances <= chances[hits - low] * (1 + 1e-7)
    return float(min(1.0, chances[as_likely].sum() / chances.sum()))
