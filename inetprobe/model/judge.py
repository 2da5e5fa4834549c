"""A real trace compared with the model: could inet_create() have gone this way on this machine, and by which rule?"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from inetprobe.base.uapi import SOCK_RAW
from inetprobe.model.explanation import Explanation, Request, explain
from inetprobe.model.inet_create import CREATE, Outcome, PredictedCall
from inetprobe.model.profile import Profile
from inetprobe.model.protocols import PROTS
from inetprobe.model.rules import Rule, Stage
from inetprobe.model.sys_socket import SOCK_MAX
from inetprobe.model.ways import Explorer, outcomes

#: The verdict on a trace that went a way of the model's.
AS_PREDICTED = "as_predicted"
#: The traced functions that the model predicts.
FUNCTIONS = frozenset({*CREATE.values(), "__request_module", "sk_alloc", "sk_prot_alloc"})


class Seen(NamedTuple):
    """The request, the outcome and the calls of one trace.

    ``calls`` has those of ``FUNCTIONS`` alone, and their depths count no others. ``cap_net_raw`` is None if it was not
    checked; ``errno`` is a name, None for success.
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
    """``verdict`` is ``as_predicted``, ``deviation``, ``unmodelled`` or ``incomplete``.

    ``rule`` decided a trace that went as predicted; ``why`` says why it ended so, of the others why they are judged so.
    """

    verdict: str
    rule: Rule | None
    why: Explanation

    @property
    def stage(self) -> Stage | None:
        """Where the socket was refused; None where it was not, and where that is not known."""
        return None if self.rule is None else self.rule.stage


# Equal for two traces that went the same way: errno, prot and calls, without modprobe's results, which decide nothing.
_Signature = tuple[str | None, str | None, tuple[tuple[object, ...], ...]]


def judge(seen: Seen, profile: Profile) -> Verdict:
    """The verdict on one complete trace."""
    unmodelled = _unmodelled(seen, profile)
    if unmodelled is not None:
        return Verdict("unmodelled", None, Explanation(unmodelled))
    request = Request(seen.family, seen.type, seen.protocol, profile, seen=True)
    ways = _ways(seen, profile, seen.cap_net_raw)
    outcome = ways.get(_signature(seen.errno, seen.prot, seen.calls))
    if outcome is None and seen.cap_net_raw and seen.type == SOCK_RAW:
        # A security module may refuse a caller who has the capability.
        denied = _ways(seen, profile, False).get(_signature(seen.errno, seen.prot, seen.calls))
        outcome = None if denied is None else denied._replace(rule=Rule.CAP_NET_RAW_DENIED)
    if outcome is None:
        return Verdict("deviation", None, Explanation(_difference(seen, tuple(ways.values()))))
    return Verdict(AS_PREDICTED, outcome.rule, explain(request, outcome._replace(calls=seen.calls)))


def _unmodelled(seen: Seen, profile: Profile) -> str | None:
    """Why the model does not cover the trace, or None."""
    if seen.family not in CREATE or not 0 <= seen.type < SOCK_MAX:
        return f"the model does not cover family {seen.family} with socket type {seen.type}"
    if seen.prot is None:
        return None
    entry = PROTS.get(seen.prot)
    if entry is None:
        return f"the model has no rule for the struct proto {seen.prot!r}"
    if entry.unit not in (*profile.built_in, *profile.loaded, *profile.loadable, *profile.blocked):
        return f"{seen.prot} came from {entry.unit}, which was not on this machine when its profile was made"
    return None


def _ways(seen: Seen, profile: Profile, cap_net_raw: bool | None) -> dict[_Signature, Outcome]:
    # The errno adds a way only if a cgroup's program may have chosen it: after sk_alloc(), when the prot is known. A
    # name with a minus stands for a result above 0, which only a damaged recording has; no way leads to it.
    errno = None if seen.errno is None or seen.errno.startswith("-") or seen.prot is None else seen.errno
    return _explored(profile, seen.family, seen.type, seen.protocol, seen.kern, cap_net_raw, errno)


@lru_cache(maxsize=4096)
def _explored(
    profile: Profile, family: int, type_: int, protocol: int, kern: bool, cap_net_raw: bool | None, errno: str | None
) -> dict[_Signature, Outcome]:
    """Every way, with the likeliest outcome that explains it."""
    explorer = Explorer(profile, cap_net_raw, errno)
    ways: dict[_Signature, Outcome] = {}
    for outcome in outcomes(explorer, family, type_, protocol, kern=kern):
        signature = _signature(outcome.errno, outcome.prot, outcome.calls)
        if signature not in ways or _far_fetched(ways[signature]) > _far_fetched(outcome):
            ways[signature] = outcome
    return ways


def _far_fetched(outcome: Outcome) -> bool:
    """A cgroup's program chose an errno that another rule may have given."""
    return outcome.rule == "cgroup" and outcome.errno != "EPERM"


def _signature(errno: str | None, prot: str | None, calls: tuple[PredictedCall, ...]) -> _Signature:
    return errno, prot, tuple(map(_call_signature, calls))


def _call_signature(call: PredictedCall) -> tuple[object, ...]:
    if call.module is not None:
        return call.function, call.depth, call.module
    return call.function, call.depth, call.result, call.pointer


def _difference(seen: Seen, ways: tuple[Outcome, ...]) -> str:
    """The first call that differs from the nearest way, as expected and as seen."""
    # Entries are compared before returns: inet_create is entered first, but its result is decided last.
    entries = [_entry(call) for call in seen.calls]
    nearest = max(ways, key=lambda way: _common_prefix([_entry(call) for call in way.calls], entries))
    index = _common_prefix([_entry(call) for call in nearest.calls], entries)
    if index < max(len(nearest.calls), len(seen.calls)):
        expected = _entry_text(nearest.calls[index]) if index < len(nearest.calls) else "no further call"
        actual = _entry_text(seen.calls[index]) if index < len(seen.calls) else "no further call"
        return f"call {index + 1}: expected {expected}, saw {actual}"
    index = _common_prefix(list(map(_call_signature, nearest.calls)), list(map(_call_signature, seen.calls)))
    if index < len(seen.calls):
        expected, actual = (_result_text(calls[index]) for calls in (nearest.calls, seen.calls))
        return f"call {index + 1}: expected {seen.calls[index].function} to return {expected}, saw {actual}"
    return f"expected the struct proto {nearest.prot}, saw {seen.prot}"


def _common_prefix(expected: list[tuple[object, ...]], seen: list[tuple[object, ...]]) -> int:
    """How many items are equal from the start."""
    length = 0
    for left, right in zip(expected, seen, strict=False):
        if left != right:
            break
        length += 1
    return length


def _entry(call: PredictedCall) -> tuple[object, ...]:
    return call.function, call.depth, call.module


def _entry_text(call: PredictedCall) -> str:
    return f"{call.function}({call.module or ''}) at depth {call.depth}"


def _result_text(call: PredictedCall) -> str:
    return call.pointer if call.pointer is not None else str(call.result)
