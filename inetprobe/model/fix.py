"""A fix: one way to change how a socket() ends."""

from __future__ import annotations

from typing import Literal, NamedTuple

Effect = Literal["safe", "widens", "weakens"]


class Fix(NamedTuple):
    """One way to change the outcome: ``do`` is the line to type or to write, or the change to the program.

    ``effect``: ``safe``; ``widens``, where more is allowed than before; ``weakens``, where a protection is taken away.
    """

    do: str
    effect: Effect = "safe"
