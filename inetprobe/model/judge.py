"""A real trace held against the model: is there any way for the path to go like this on this machine, and which?"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from inetprobe.model.inet_create import CREATE, Outcome, PredictedCall
from inetprobe.model.profile import Profile
from inetprobe.model.protocols import PROTS, SOCK_MAX, SOCK_RAW
from inetprobe.model.reasons import Request, reason
from inetprobe.model.ways import Explorer, outcomes

#: The functions the model knows; calls of any other say nothing about it.
FUNCTIONS = frozenset({*CREATE.values(), "__request_module", "sk_alloc", "sk_prot_alloc"})


class Seen(NamedTuple):
    """What a trace shows: the request, the outcome and the calls (of ``FUNCTIONS`` alone, depths without the others).

    ``cap_net_raw`` is None where it was not looked at, ``errno`` a name or None for success.
    """

    family: int
    type: int
    protocol: int
    kern: bool
    cap_net_raw: bool | None
    errno: str | None
    prot: str | None
    calls: tuple[PredictedCall, ...]


class Verdict(NamedTuple):
    """``verdict`` is ``ok``, ``deviation`` or ``unmodelled``; ``rule`` is what decided, None where none did."""

    verdict: str
    rule: str | None
    reason: str


# What two traces have in common that went the same way: modprobe's results, which decide nothing, are left out.
_Signature = tuple[str | None, str | None, tuple[tuple[object, ...], ...]]


def judge(seen: Seen, profile: Profile) -> Verdict:
    """The verdict on one complete trace."""
    unmodelled = _beyond(seen, profile)
    if unmodelled is not None:
        return Verdict("unmodelled", None, unmodelled)
    request = Request(seen.family, seen.type, seen.protocol, profile, seen=True)
    ways = _ways(seen, profile, seen.cap_net_raw)
    outcome = ways.get(_signature(seen.errno, seen.prot, seen.calls))
    if outcome is None and seen.cap_net_raw and seen.type == SOCK_RAW:
        # A security module may refuse what the capability allows.
        denied = _ways(seen, profile, False).get(_signature(seen.errno, seen.prot, seen.calls))
        outcome = None if denied is None else denied._replace(rule="cap-net-raw-denied")
    if outcome is None:
        return Verdict("deviation", None, _difference(seen, tuple(ways.values())))
    return Verdict("ok", outcome.rule, reason(request, outcome._replace(calls=seen.calls)))


def _beyond(seen: Seen, profile: Profile) -> str | None:
    """Why the model has no say, or None."""
    if seen.family not in CREATE or not 0 <= seen.type < SOCK_MAX:
        return f"the model knows neither family {seen.family} nor socket type {seen.type}"
    if seen.prot is None:
        return None
    known = PROTS.get(seen.prot)
    if known is None:
        return f"the model has no rule for the struct proto {seen.prot!r}"
    if known.unit not in (*profile.built_in, *profile.loaded, *profile.loadable, *profile.blocked):
        return f"{seen.prot} came from {known.unit}, which was not on this machine when its profile was made"
    return None


def _ways(seen: Seen, profile: Profile, cap_net_raw: bool | None) -> dict[_Signature, Outcome]:
    # Of the errno that was seen only one that nothing but a cgroup's program can have chosen makes more ways.
    # What is above 0 is none (a damaged recording has such results): nothing leads to it.
    errno = None if seen.errno is None or seen.errno.startswith("-") or seen.prot is None else seen.errno
    return _explored(profile, seen.family, seen.type, seen.protocol, seen.kern, cap_net_raw, errno)


@lru_cache(maxsize=4096)
def _explored(
    profile: Profile, family: int, type_: int, protocol: int, kern: bool, cap_net_raw: bool | None, errno: str | None
) -> dict[_Signature, Outcome]:
    """Every way to go, the likeliest explanation of each."""
    explorer = Explorer(profile, cap_net_raw, errno)
    ways: dict[_Signature, Outcome] = {}
    for outcome in outcomes(explorer, family, type_, protocol, kern=kern):
        signature = _signature(outcome.errno, outcome.prot, outcome.calls)
        if signature not in ways or _far_fetched(ways[signature]) > _far_fetched(outcome):
            ways[signature] = outcome
    return ways


def _far_fetched(outcome: Outcome) -> bool:
    """A cgroup's program that gives the very errno that something else gives, too."""
    return outcome.rule == "cgroup" and outcome.errno != "EPERM"


def _signature(errno: str | None, prot: str | None, calls: tuple[PredictedCall, ...]) -> _Signature:
    return errno, prot, tuple(map(_same, calls))


def _same(call: PredictedCall) -> tuple[object, ...]:
    if call.module is not None:
        return call.function, call.depth, call.module
    return call.function, call.depth, call.result, call.pointer


def _difference(seen: Seen, ways: tuple[Outcome, ...]) -> str:
    """The first call that differs from the way that is nearest, expected and seen."""
    shown = [_same(call) for call in seen.calls]
    # What create returned is known last, though it stands first.
    nearest = max(ways, key=lambda way: _common([_entered(c) for c in way.calls], [_entered(c) for c in seen.calls]))
    place = _common([_entered(call) for call in nearest.calls], [_entered(call) for call in seen.calls])
    if place < max(len(nearest.calls), len(seen.calls)):
        expected = _words(nearest.calls[place]) if place < len(nearest.calls) else "no further call"
        actual = _words(seen.calls[place]) if place < len(seen.calls) else "no further call"
        return f"call {place + 1}: expected {expected}, saw {actual}"
    place = _common([_same(call) for call in nearest.calls], shown)
    if place < len(shown):
        expected, actual = (_returned(calls[place]) for calls in (nearest.calls, seen.calls))
        return f"call {place + 1}: expected {seen.calls[place].function} to return {expected}, saw {actual}"
    return f"expected the struct proto {nearest.prot}, saw {seen.prot}"


def _common(one: list[tuple[object, ...]], other: list[tuple[object, ...]]) -> int:
    same = 0
    for mine, yours in zip(one, other, strict=False):
        if mine != yours:
            break
        same += 1
    return same


def _entered(call: PredictedCall) -> tuple[object, ...]:
    return call.function, call.depth, call.module


def _words(call: PredictedCall) -> str:
    return f"{call.function}({call.module or ''}) at depth {call.depth}"


def _returned(call: PredictedCall) -> str:
    return call.pointer if call.pointer is not None else str(call.result)
