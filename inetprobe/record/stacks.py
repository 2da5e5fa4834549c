"""Stacks whose frames have names, by number: a record has only the number of its stack."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, NamedTuple

#: The maximum number of different stacks in a run; no real run has so many.
MAX_STACKS = 1 << 16

#: Why frames are missing, other than the errno with which the kernel refused them.
TRUNCATED, EXITED, EXECUTED, UNREADABLE, TOO_MANY, REDACTED = (
    "truncated", "exited", "executed", "unreadable", "too_many", "redacted",
)  # fmt: skip
#: Those of them that reading the process brings about.
LOSSES = (EXITED, EXECUTED, UNREADABLE)
# Characters of all frames together: names are strangers', and long.
_MOST_CHARACTERS = 1 << 25

# The offset is the last part of a frame before its file or module; names are not trusted, and may contain one too.
_OFFSET = re.compile(r"\+0x[0-9a-f]+(?=( [(\[].*)?$)", re.DOTALL)


class Side(NamedTuple):
    """The frames on one side of the system call, innermost first: ``__sock_create+0x11e``, ``main+0x1d (a.out)``.

    Names are untrusted text as ``text.decode`` makes it. ``lost`` is why some or all frames are missing: ``truncated``
    (there are more), ``exited`` (the process had ended before they were named), ``executed`` (the process ran another
    program by then), ``unreadable``, ``too_many`` (different stacks in one run), ``redacted``, or the kernel's errno.
    """

    frames: tuple[str, ...]
    lost: str | None = None


class Stack(NamedTuple):
    """The stack at the outermost call of a trace; a side is None where it was not asked for."""

    kernel: Side | None
    user: Side | None

    @property
    def losses(self) -> list[str]:
        """Each side that lacks frames, with the reason: ``user:exited``."""
        sides = zip(self._fields, self, strict=True)
        return [f"{name}:{side.lost}" for name, side in sides if side is not None and side.lost is not None]

    def callers(self) -> list[str]:
        """The functions without offsets, outermost first: the user's, then the kernel's."""
        frames = [frame for side in (self.kernel, self.user) if side is not None for frame in side.frames]
        return [_OFFSET.sub("", frame) for frame in reversed(frames)]


def as_dict(stack: Stack | None) -> dict[str, Any] | None:
    """The stack as in JSON: the frames of each side asked for, and under ``lost`` why frames are missing."""
    if stack is None:
        return None
    sides = {name: side for name, side in zip(stack._fields, stack, strict=True) if side is not None}
    lost = {name: side.lost for name, side in sides.items() if side.lost is not None}
    return {**{name: list(side.frames) for name, side in sides.items()}, **({"lost": lost} if lost else {})}


@dataclass(slots=True)
class Stacks:
    """The different stacks of a run. Their numbers begin at 1; 0 means no stack."""

    _numbers: dict[Stack, int] = field(default_factory=dict)
    _stacks: list[Stack] = field(default_factory=list)
    _characters: int = 0

    def number(self, stack: Stack) -> int:
        """The number of a stack; beyond ``MAX_STACKS``, or 32 Mi characters of names, the number of a stack whose sides
        are lost as ``too_many``."""
        if stack not in self._numbers:
            size = sum(len(frame) for side in stack if side is not None for frame in side.frames)
            if len(self._stacks) >= MAX_STACKS or self._characters + size > _MOST_CHARACTERS:
                stack, size = Stack(*[None if side is None else Side((), TOO_MANY) for side in stack]), 0
            if stack not in self._numbers:
                self._characters += size
                self._stacks.append(stack)
                self._numbers[stack] = len(self._stacks)
        return self._numbers[stack]

    def get(self, number: int) -> Stack | None:
        """The stack with a number that ``number`` returned; None for 0."""
        return self._stacks[number - 1] if number else None

    def without_users(self) -> Stacks:
        """The same numbers, without the frames of user space, which tell which programs ran."""
        hidden = Side((), REDACTED)
        kept = [stack if stack.user is None else stack._replace(user=hidden) for stack in self._stacks]
        return Stacks(_stacks=kept)
