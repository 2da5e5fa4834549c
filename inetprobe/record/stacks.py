"""Who called: stacks whose frames have names, by number, so that a record carries no more of one than that."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, NamedTuple

#: Different stacks of one run: whoever makes more of them has made them up.
MOST = 1 << 16

#: Why frames are missing, where it is not the errno with which the kernel refused them.
TRUNCATED, EXITED, EXECUTED, UNREADABLE, TOO_MANY, REDACTED = (
    "truncated", "exited", "executed", "unreadable", "too_many", "redacted",
)  # fmt: skip

# The last of a frame's, before the file or module: names are strangers'.
_OFFSET = re.compile(r"\+0x[0-9a-f]+(?=( [(\[].*)?$)", re.DOTALL)


class Side(NamedTuple):
    """The frames on one side of the system call, innermost first: ``__sock_create+0x11e``, ``main+0x1d (a.out)``.

    Names are strangers' as ``text.decode`` has them. ``lost`` is why some frames are missing, or all: ``truncated``
    (there are more), ``exited`` (the process had ended before they got names), ``executed`` (it was another program by
    then), ``unreadable``, ``too_many`` (different stacks in one run), ``redacted``, or the errno of the kernel.
    """

    frames: tuple[str, ...]
    lost: str | None = None


class Stack(NamedTuple):
    """Who called the outermost call of a trace; a side is None where nobody asked for it."""

    kernel: Side | None
    user: Side | None

    @property
    def losses(self) -> list[str]:
        """Each side with frames missing, with the reason: ``user:exited``."""
        sides = zip(self._fields, self, strict=True)
        return [f"{name}:{side.lost}" for name, side in sides if side is not None and side.lost is not None]

    def callers(self) -> list[str]:
        """The functions without the places in them, outermost first: the user's, then the kernel's."""
        frames = [frame for side in (self.kernel, self.user) if side is not None for frame in side.frames]
        return [_OFFSET.sub("", frame) for frame in reversed(frames)]


def as_dict(stack: Stack | None) -> dict[str, Any] | None:
    """As JSON has it: the frames of each side asked for, and under ``lost`` the reason where some are missing."""
    if stack is None:
        return None
    sides = {name: side for name, side in zip(stack._fields, stack, strict=True) if side is not None}
    lost = {name: side.lost for name, side in sides.items() if side.lost is not None}
    return {**{name: list(side.frames) for name, side in sides.items()}, **({"lost": lost} if lost else {})}


@dataclass(slots=True)
class Stacks:
    """The different stacks of a run. Their numbers begin at 1; 0 is none."""

    _numbers: dict[Stack, int] = field(default_factory=dict)
    _stacks: list[Stack] = field(default_factory=list)

    def number(self, stack: Stack) -> int:
        """That of ``stack``; of one beyond the ``MOST``, that of a stack which says so."""
        if stack not in self._numbers and len(self._stacks) >= MOST:
            stack = Stack(*[None if side is None else Side((), TOO_MANY) for side in stack])
        if stack not in self._numbers:
            self._stacks.append(stack)
            self._numbers[stack] = len(self._stacks)
        return self._numbers[stack]

    def get(self, number: int) -> Stack | None:
        """The stack of a number that ``number`` has given; None for 0."""
        return self._stacks[number - 1] if number else None

    def without_users(self) -> Stacks:
        """The same numbers, for who must not see whose programs these were."""
        hidden = Side((), REDACTED)
        kept = [stack if stack.user is None else stack._replace(user=hidden) for stack in self._stacks]
        return Stacks(_stacks=kept)
