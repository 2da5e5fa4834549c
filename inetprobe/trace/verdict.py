"""The verdict on a trace: is it complete, did it go as the model predicts, and why did it end as it did?"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from inetprobe.base.uapi import errno_name
from inetprobe.model.explanation import Explanation
from inetprobe.model.inet_create import CREATE, PredictedCall
from inetprobe.model.inet_sock import Sock, differences, entry_of, expected
from inetprobe.model.judge import AS_PREDICTED, FUNCTIONS, Seen, Verdict
from inetprobe.model.judge import judge as judge_seen
from inetprobe.model.lsm import HOOKS, Refusal
from inetprobe.model.profile import Profile
from inetprobe.model.system_call import SeenSyscall, judge_syscall, refused_by_seccomp
from inetprobe.record.layout import FUNCTIONS_WITH_SECCOMP, SECURE_COMPUTING
from inetprobe.record.nesting import NestedBatch
from inetprobe.record.run import Run
from inetprobe.trace.call_trace import Asked, CallTrace, call_traces

# Shapes whose verdicts are kept, more than any real run has (see inetprobe.record).
_MAX_SHAPES = 2048
_INCOMPLETE = {
    "return_missed": "a return was missed: more threads were inside a traced function than its kretprobe had room for, "
    "or, by fentry, a tool attached to the function or detached from it during the call",
    "entry_missed": "an entry was missed: a call returned that was not seen to begin",
    "truncated": "there were more calls than a record holds",
}
_SECCOMP = FUNCTIONS_WITH_SECCOMP[SECURE_COMPUTING]
_MISSING = {name: Verdict("incomplete", None, Explanation(why)) for name, why in _INCOMPLETE.items()}
_BARE = Verdict(
    "unmodelled",
    None,
    Explanation("inet_create did not make this sock: another family, or an accepted connection, did"),
)
# A create's sock if the create was not seen; also that of sctp_v4_create_accept_sk() and sctp_v6_create_accept_sk().
_BARE_INET = Verdict(
    "unmodelled",
    None,
    Explanation(
        "no create was seen to make this sock: SCTP accepted a connection, or the create's entry was missed, or the "
        "create cannot be traced on this kernel"
    ),
)
_NO_PROFILE = Verdict(
    "unmodelled", None, Explanation("the recording does not say what its machine was like (it has no profile)")
)


def judge(trace: CallTrace, profile: Profile | None) -> Verdict:
    """The verdict on a trace from a machine with this profile, None where it is not known."""
    if trace.incomplete is not None:
        return _MISSING[trace.incomplete]
    if trace.bare:
        return _BARE_INET if trace.family in CREATE and trace.calls[0].function == "sk_alloc" else _BARE
    if profile is None:
        return _NO_PROFILE
    # Half a dozen shapes make up nearly all traces: each is judged once. The number of a descriptor makes none.
    outermost = trace.calls[0] if trace.asked is None else trace.calls[0]._replace(result=None)
    verdict = _judged(
        profile,
        trace.asked,
        (trace.family, trace.type, trace.protocol, trace.kernel_socket, trace.cap_net_raw),
        trace.errno,
        trace.prot,
        trace.create,
        trace.descriptor_limit,
        tuple(
            [
                (call.function, call.depth, call.result, call.pointer, call.module)
                for call in (outermost, *trace.calls[1:])
            ]
        ),
    )
    if trace.sock is None or trace.prot is None or verdict.verdict != AS_PREDICTED:
        return verdict
    return _with_sock(verdict, profile, trace.prot, trace.type, trace.protocol, trace.sock)


class VerdictCache:
    """The verdicts on the shapes of one run's batches, each judged once."""

    def __init__(self) -> None:
        self._known: dict[bytes, Verdict] = {}

    def of_shapes(self, batch: NestedBatch, run: Run) -> list[Verdict]:
        """The verdict on each shape of a batch, in the order of ``batch.shapes``."""
        keys = batch.shape_keys
        if len(self._known) > _MAX_SHAPES:
            self._known.clear()
        new = [shape for shape, key in enumerate(keys) if key not in self._known]
        if new:
            for shape, trace in zip(new, call_traces(batch.distinct.take(np.array(new)), run), strict=True):
                self._known[keys[shape]] = judge(trace, run.profile)
        return [self._known[key] for key in keys]


# The caches below are bounded: a crafted recording may have a shape per protocol number, a kilobyte each.
_Call = tuple[str, int, int | None, str | None, str | None]


@lru_cache(maxsize=8192)
def _judged(
    profile: Profile,
    asked: Asked | None,
    request: tuple[int, int, int, bool, bool | None],
    errno: str | None,
    prot: str | None,
    create: int | None,
    descriptor_limit: int | None,
    calls: tuple[_Call, ...],
) -> Verdict:
    """The verdict on one shape; a system call's create is judged as one alone."""
    seen = None
    if create is not None:
        own = _within(calls, create)
        result = own[0][2]
        seen = Seen(*request, errno_name(-result) if result else None, prot, _of_the_path(own))
        if asked is None:
            return judge_seen(seen, profile)
    assert asked is not None
    if calls[0][0] == _SECCOMP:
        return refused_by_seccomp(SeenSyscall(*asked, errno, None), profile)
    others = () if seen else tuple(PredictedCall(*call) for call in calls if call[0] == "__request_module")
    return judge_syscall(SeenSyscall(*asked, errno, seen, others, descriptor_limit, _refusal(calls)), profile)


def _refusal(calls: tuple[_Call, ...]) -> Refusal | None:
    """Of the security module whose function was seen to refuse."""
    refused = ((name, result) for name, _, result, _, _ in calls if result is not None and result < 0 and name in HOOKS)
    return next((Refusal(name, errno_name(-result)) for name, result in refused), None)


def _within(calls: tuple[_Call, ...], index: int) -> tuple[_Call, ...]:
    """A call and those below it, as of depth 0 on."""
    depth = calls[index][1]
    end = next((i for i in range(index + 1, len(calls)) if calls[i][1] <= depth), len(calls))
    return tuple([(name, level - depth, result, ptr, module) for name, level, result, ptr, module in calls[index:end]])


@lru_cache(maxsize=8192)
def _with_sock(verdict: Verdict, profile: Profile, prot: str, type_: int, protocol: int, sock: Sock) -> Verdict:
    """The verdict on a trace whose calls are as predicted: is its sock as predicted?"""
    entry = entry_of(prot, type_)
    differing = differences(sock, expected(entry, protocol or entry.protocol, profile))
    if not differing:
        return verdict
    reason = "; ".join(f"sock.{field}: expected {wanted}, saw {seen}" for field, wanted, seen in differing)
    return Verdict("deviation", None, Explanation(reason))


def _of_the_path(calls: tuple[_Call, ...]) -> tuple[PredictedCall, ...]:
    """The calls without those that --also added, whose own calls move up."""
    kept = []
    others: list[int] = []  # depths of the open calls
    for function, depth, result, pointer, module in calls:
        while others and others[-1] >= depth:
            others.pop()
        if function in FUNCTIONS:
            kept.append(PredictedCall(function, depth - len(others), result, pointer, module))
        else:
            others.append(depth)
    return tuple(kept)
