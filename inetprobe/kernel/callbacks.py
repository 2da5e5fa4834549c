"""The two callbacks that the kernel room takes: notes for the user, and a look at whether to give up."""

from __future__ import annotations

from collections.abc import Callable

#: Shows the user one line.
Say = Callable[[str], None]
#: Called between steps that take seconds; raises to give up.
CheckStop = Callable[[], None]


def never_stop() -> None:
    """A CheckStop for callers that let every step run."""
