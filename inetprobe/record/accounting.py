"""Where every socket went, and whether that adds up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from inetprobe.base.words import by_reason, counted

#: The probes whose misses are sockets that are counted nowhere else.
CREATES = ("inet_create:entry", "inet6_create:entry")


@dataclass(slots=True)
class Accounting:
    """Where every trace went: each system call that failed or came to a create, and each outermost create of no system
    call's.

    ``entries`` is counted in the kernel when the probe is hit; ``complete`` and ``incomplete`` are the records that
    arrived. The identity: entries = complete + incomplete + lost + filtered + in_flight.

    ``failed`` are the traces that failed, by errno; no recording keeps them, since its readers may filter. ``calls``
    are system calls that returned, counted as they began, and where each ended: ``returned`` = ``ok`` + ``before`` a
    create + ``in_create`` + ``after`` one + ``not_told``. Those of other families count as well, the failed ones all
    before one. ``creates`` are those whose create returned, counted as it did: ``created_ok`` + ``in_create`` +
    ``after`` + ``creates_not_told``, of which the first are of ``ok`` and the last of ``not_told``. Some may be in
    flight.

    Not part of the identity are ``nested``, creates within another create; ``foreign``, calls of interrupts, which are
    left out; ``orphan_returns``, returns without an entry; ``unfollowed``, children of COMMAND; and by address family
    ``other_families``, calls of sk_alloc that no create made, and ``accepted``, socks cloned for accepted connections.
    By probe (``inet_create:entry``): ``probe_hits`` and ``probe_misses`` as the kernel counts them, and
    ``program_skipped``, hits on which the kernel did not run the program. ``stacks_lost`` are the stacks without all of
    their frames, by side and reason (``user:exited``).
    """

    entries: int = 0
    complete: int = 0
    incomplete: dict[str, int] = field(default_factory=dict)
    lost: dict[str, int] = field(default_factory=dict)
    filtered: int = 0
    in_flight: int = 0
    failed: dict[str, int] = field(default_factory=dict, compare=False)
    calls: dict[str, int] = field(default_factory=dict)
    nested: int = 0
    foreign: int = 0
    orphan_returns: int = 0
    unfollowed: int = 0
    other_families: dict[str, int] = field(default_factory=dict)
    accepted: dict[str, int] = field(default_factory=dict)
    probe_hits: dict[str, int] = field(default_factory=dict)
    probe_misses: dict[str, int] = field(default_factory=dict)
    program_skipped: dict[str, int] = field(default_factory=dict)
    stacks_lost: dict[str, int] = field(default_factory=dict)

    def unaccounted(self) -> int:
        """Entries less everything that they can have become: 0 when the identity holds."""
        ended = self.complete + sum(self.incomplete.values()) + sum(self.lost.values())
        return self.entries - ended - self.filtered - self.in_flight

    def unaccounted_calls(self) -> int:
        """System calls less those that ended or are in flight: 0 when the second identity holds."""
        return self._beyond_flight("returned", ("ok", "before", "in_create", "after", "not_told"))

    def unaccounted_creates(self) -> int:
        """Creates that returned less those whose call ended or is in flight: 0 when the second identity holds."""
        return self._beyond_flight("creates", ("created_ok", "in_create", "after", "creates_not_told"))

    def _beyond_flight(self, total: str, parts: Iterable[str]) -> int:
        rest = self.calls.get(total, 0) - sum(self.calls.get(part, 0) for part in parts)
        return 0 if total not in self.calls or 0 <= rest <= self.in_flight else rest

    def damage(self, sockets: int) -> str | None:
        """How a recording with this number of sockets is damaged, as the end of a sentence; None where it is whole."""
        arrived = self.complete + sum(self.incomplete.values())
        if arrived != sockets:
            return f"is damaged: it has {counted(sockets, 'socket')}, and its accounting says {arrived:,}"
        unaccounted = self.unaccounted()
        return f"is damaged: its accounting does not add up, by {unaccounted:+,} sockets" if unaccounted else None

    def missing(self) -> dict[str, int]:
        """The number of sockets about which nothing is known, by reason."""
        missing = {reason: count for reason, count in self.lost.items() if count}
        for reason, counts in (("probe missed", self.probe_misses), ("probe skipped", self.program_skipped)):
            unseen = sum(counts.get(probe, 0) for probe in CREATES)
            if unseen:
                missing[reason] = unseen
        if self.unfollowed:
            missing["children not followed"] = self.unfollowed
        return missing

    def is_whole(self) -> bool:
        """Is every call accounted for, and was each seen whole?"""
        unaccounted = self.unaccounted() or self.unaccounted_calls() or self.unaccounted_creates()
        return not (unaccounted or self.calls.get("not_told") or self.incomplete or self.missing())

    def gap(self) -> str | None:
        """Why a recording does not have every socket, as the end of a sentence; None where it does."""
        missing = self.missing()
        return f"is lossy ({by_reason(missing)}): what the missing sockets did is not known" if missing else None

    def to_dict(self) -> dict[str, Any]:
        """The accounting as in the JSON summary and in a recording; with ``stacks_lost`` only where there are some."""
        fields = asdict(self)
        del fields["failed"]
        if not self.stacks_lost:
            del fields["stacks_lost"]
        return fields

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Accounting:
        """The inverse of ``to_dict``; keys of a newer 1.x are left out."""
        known = {name: data[name] for name in cls.__dataclass_fields__ if name in data}
        return cls(**known)
