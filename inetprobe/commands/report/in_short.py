"""The page's summary in words: what failed, what was slow, what was autoloaded, and how far to trust the page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from inetprobe.base.cgroup_owner import owner_of
from inetprobe.base.words import counted
from inetprobe.commands.check.result import Case
from inetprobe.commands.report.causes import Cause
from inetprobe.commands.report.gather import Gathered, Recording
from inetprobe.commands.report.numbers import apart, sentence, share, took
from inetprobe.model.explanation import Explanation
from inetprobe.model.profile import Profile
from inetprobe.model.protocols import UNITS
from inetprobe.record.accounting import CREATES
from inetprobe.record.run import Run
from inetprobe.stats.distribution import Distribution
from inetprobe.stats.overview import Asker, ProcessKey, Requests
from inetprobe.stats.top_keys import OTHER, Other
from inetprobe.trace.call_trace import CallTrace, self_times

Mark = Literal["bad", "warn", "good", "note"]
_SAID, _NAMED = 5, 3

_AROUND = (
    "in the system call around it",
    "the security modules, the inode, the descriptor and the file, or another family's own code",
)
#: By function: what a socket does in its self time, and what that consists of.
STAGES: Mapping[str, tuple[str, str]] = {
    **dict.fromkeys(("__sys_socket", "__sys_socketpair", "__sys_socket_file"), _AROUND),
    "__request_module": ("waiting for modprobe", "modprobe is started, looks for the alias and loads the module"),
    "sk_prot_alloc": ("allocating the sock", "slab or kmalloc, the security blob, the protocol's module"),
    "sk_alloc": ("in sk_alloc itself", "the net namespace and the cgroup of the sock"),
    "inet_create": ("in inet_create itself", "the walk through inetsw, sock_init_data, the protocol's init"),
    "inet6_create": ("in inet6_create itself", "the walk through inetsw6, sock_init_data, the protocol's init"),
}
_LOST = {
    "ring_full": "the reader was slower than the sockets: record with a larger --ring-size",
    "return_missed": "the return of an outermost call was missed",
    "thread_died": "a thread ended before the return of a traced call was seen",
    "no_state": "the kernel had no memory for the thread's state",
    "malformed": "the calls of these records do not nest",
}


class Said(NamedTuple):
    """One statement; ``head`` is printed bold. Both may quote untrusted text."""

    mark: Mark
    head: str
    text: str = ""


class Chapter(NamedTuple):
    """The statements on one subject."""

    title: str
    said: tuple[Said, ...]


@dataclass(frozen=True, slots=True)
class Together:
    """One cause over all recordings: how many sockets, by comm, and a few of them with their recordings."""

    count: int
    comms: Counter[str | Other]
    examples: list[tuple[CallTrace, Recording]]


def summary(now: Gathered, changes: Sequence[Case] | None = None) -> list[Chapter]:
    """The whole summary; ``changes`` are the cases of the comparison with a baseline, None without one."""
    chapters = [
        Chapter("What failed, and why", tuple(_failed(now))),
        Chapter("What was slow, and why", tuple(_slow(now))),
        Chapter("What was autoloaded, and by whom", tuple(_autoloaded(now))),
        Chapter("How far to trust this page", tuple(_trust(now.recordings))),
    ]
    if changes is not None:
        chapters.insert(0, Chapter("What changed since the baseline", tuple(_changed(changes))))
    return chapters


def together(recordings: Iterable[Recording]) -> tuple[dict[Cause, Together], int]:
    """The causes of all recordings, failures first and the most frequent first; and how many sockets had causes that
    were not kept."""
    causes_found: dict[Cause, Together] = {}
    rest = 0
    for recording in recordings:
        causes, more = recording.causes.found()
        rest += more
        for cause, found in causes.items():
            merged = causes_found.setdefault(cause, Together(0, Counter(), []))
            examples = [*merged.examples, *((trace, recording) for trace in found.examples)][
                : recording.causes.examples
            ]
            causes_found[cause] = Together(merged.count + found.count, merged.comms + found.comms, examples)
    order = sorted(
        causes_found.items(), key=lambda item: (not item[0].failed, item[0].verdict != "deviation", -item[1].count)
    )
    return dict(order), rest


def names(counts: Mapping[Any, int], most: int = _NAMED) -> str:
    """``nginx (112), curl (36) and 5 others``: the largest count first, at most ``most`` names."""
    known = [(name, count) for name, count in Counter(counts).most_common() if name is not OTHER]
    if len(counts) == 1 and known:
        return str(known[0][0] or "(no name)")
    shown = [f"{name or '(no name)'} ({count:,})" for name, count in known[:most]]
    more = len(known) - len(shown)
    if OTHER in counts:
        return f"{', '.join(shown)} and others" if shown else "many"
    if more:
        return f"{', '.join(shown)} and {counted(more, 'other')}"
    return f"{', '.join(shown[:-1])} and {shown[-1]}" if len(shown) > 1 else "".join(shown)


def overall(gathered: Gathered) -> Distribution:
    """How long the sockets of all kinds took."""
    latencies = gathered.stats.view().latencies
    return Distribution.of((gathered.stats.buckets(key) for key in latencies), latencies.values())


def mostly(trace: CallTrace) -> str | None:
    """The function in which a trace spent most of its time, None where that is not known."""
    took_by: Counter[str] = Counter()
    for call, own in zip(trace.calls, self_times(trace.calls), strict=True):
        if own is None:
            return None
        took_by[call.function] += own
    return took_by.most_common(1)[0][0]


def stage(function: str) -> str:
    """What a socket does in the self time of this function."""
    return STAGES[function][0] if function in STAGES else f"in {function} itself"


def module_of(alias: str, runs: Iterable[Run]) -> str | None:
    """The module that has an alias, on the machine of a recording or else in Linux; None if none is known."""
    for run in runs:
        if run.profile is not None and alias in run.profile.aliases:
            return run.profile.aliases[alias]
        if run.profile is not None and alias in (families := run.profile.families or {}):
            return families[alias].module
    return next((unit.name for unit in UNITS.values() if alias in unit.aliases), None)


def _stopped(alias: str | None, module: str | None, runs: Iterable[Run]) -> str | None:
    """The line of modprobe's configuration that blocks a module, if every recording's machine has one."""
    profiles = [run.profile for run in runs if run.profile is not None]
    lines = [_line(profile, alias, module) for profile in profiles if alias is not None and module is not None]
    return lines[0] if lines and None not in lines else None


def _line(profile: Profile, alias: str, module: str) -> str | None:
    family = (profile.families or {}).get(alias)
    if family is not None:
        return family.obstacle
    return profile.blocked.get(module) if module in profile.remedies else None


def _failed(now: Gathered) -> Iterable[Said]:
    view = now.stats.view()
    causes, rest = together(now.recordings)
    ended = view.sockets - view.unseen
    if view.failed:
        yield Said("bad", f"{view.failed:,} of {counted(ended, 'socket')} failed ({share(view.failed, ended)}).")
    elif ended:
        yield Said("good", "Nothing failed.", f"All {counted(ended, 'socket')} whose outcome was seen were created.")
    else:
        yield Said("note", "No outcome of a socket was seen.")
    reasons = _by_reason(item for item in causes.items() if item[0].failed)
    for one in reasons[:_SAID]:
        fix = f" Fix: {one.why.fix[0].do}." if one.why.fix else ""
        yield Said("bad", _what(one), f"{sentence(one.why.reason)}{fix} Requested by {names(one.comms)}.")
    left = sum(one.count for one in reasons[_SAID:]) + rest
    if left:
        yield Said("bad", f"{left:,} more", "failed for other reasons: see the failures below.")
    # Deviations that failed are listed above.
    odd = [item for item in causes.items() if item[0].verdict == "deviation" and not item[0].failed]
    for one in _by_reason(odd)[:_SAID]:
        yield Said("warn", _what(one), f"differs from the model. {sentence(one.why.reason)}")


@dataclass(slots=True)
class _Reason:
    """Causes that differ only in the request."""

    outcome: str
    why: Explanation
    requests: list[str] = field(default_factory=list)
    count: int = 0
    comms: Counter[str | Other] = field(default_factory=Counter)


def _by_reason(causes: Iterable[tuple[Cause, Together]]) -> list[_Reason]:
    """Grouped by outcome and reason, the most frequent first."""
    reasons: dict[tuple[str, str], _Reason] = {}
    for cause, merged in causes:
        key = cause.outcome, cause.why.reason
        reason = reasons.setdefault(key, _Reason(cause.outcome, cause.why))
        reason.requests.append(cause.request)
        reason.count += merged.count
        reason.comms.update(merged.comms)
    return sorted(reasons.values(), key=lambda reason: -reason.count)


def _what(one: _Reason) -> str:
    if len(one.requests) == 1:
        return f"{one.count:,} × {one.requests[0]} = {one.outcome}:"
    return f"{one.count:,} × {one.outcome} for {len(one.requests):,} kinds of socket, such as {one.requests[0]}:"


def _slow(now: Gathered) -> Iterable[Said]:
    times = overall(now)
    if not times.count:
        yield Said("note", "No socket was seen to return,", "so none has a duration.")
        return
    slowest = sorted(
        (trace for recording in now.recordings for trace in recording.slowest.traces()),
        key=lambda trace: -(trace.duration_ns or 0),
    )
    longest = slowest[0].duration_ns if slowest else None
    half, most = took(times.quantile(500)), took(times.quantile(990))
    ending = f"; the slowest took {took(longest)}" if longest is not None else ""
    yield Said("note", f"Half of the sockets took at most {half}", f"and 99 % at most {most}{ending}.")
    stages = now.stages.latencies()
    total = sum(latency.sum_ns for latency in stages.values())
    if total:
        function, latency = max(stages.items(), key=lambda item: item[1].sum_ns)
        mark: Mark = "warn" if function == "__request_module" else "note"
        head = f"{share(latency.sum_ns, total)} of all their time was spent {stage(function)}:"
        yield Said(
            mark, head, f"{took(latency.sum_ns)} of {took(total)}, summed over {counted(latency.calls, 'socket')}."
        )
    # Only those at least a tenth as slow as the slowest: among few sockets the twentieth slowest is not slow.
    slow = [trace for trace in slowest if 10 * (trace.duration_ns or 0) >= (longest or 0)]
    where = Counter(function for function in map(mostly, slow) if function is not None)
    for function, count in where.most_common(_NAMED):
        all_of = f"The {len(slow)} slowest sockets" if len(slow) > 1 else "The slowest socket"
        of = all_of if count == len(slow) else f"{count:,} of the {len(slow)} slowest sockets"
        yield Said("note", of, f"spent most of {'its' if count == 1 else 'their'} time {stage(function)}.")


def _autoloaded(now: Gathered) -> Iterable[Said]:
    view = now.stats.view()
    runs = [recording.run for recording in now.recordings]
    by: dict[str | None, Counter[Hashable]] = {}
    for key, asked in view.askers.items():
        if isinstance(key, Other):
            continue
        counts = by.setdefault(key.module, Counter())
        counts[_asker(key, view.facts)] += asked.requests
    known = [(alias, asked) for alias, asked in view.modules.items() if not isinstance(alias, Other)]
    # Loaded modules first, then by the time that callers waited.
    known.sort(key=lambda item: (item[1].failures == item[1].requests, -item[1].blocked_ns))
    if not view.modules:
        yield Said("good", "No socket requested a module.")
    for alias, asked in known[:_SAID]:
        counts = by.get(alias, Counter())
        if counts.total() < asked.requests:
            counts[OTHER] = asked.requests - counts.total()
        yield _module(alias, asked, counts, runs)
    left = len(view.modules) - len(known[:_SAID])
    if left:
        yield Said("note", f"{counted(left, 'more module name')}", "was requested." if left == 1 else "were requested.")


def _module(alias: str | None, asked: Requests, by: Mapping[Hashable, int], runs: Sequence[Run]) -> Said:
    module = None if alias is None else module_of(alias, runs)
    name = alias or "a name that inet_create does not request"
    head = f"{name} ({module})" if module else name
    found = asked.requests - asked.failures
    fate = "modprobe did not find it"
    if found:
        each = f" {found:,} times of {asked.requests:,}" if asked.failures else " each time"
        fate = "modprobe found it" + (each if asked.requests > 1 else "")
    # modprobe's exit status means nothing then: 0 for a blacklisted module, a failure for "install … /bin/false".
    stopped = _stopped(alias, module, runs)
    times = f"requested {asked.requests:,} times" if asked.requests > 1 else "requested once"
    waited = f"the caller waited {took(asked.blocked_ns)}"
    if asked.requests > 1:
        waited = f"callers waited {took(asked.blocked_ns)} in total, at most {took(asked.longest_ns)} each"
    return Said(
        "warn" if found and not stopped else "note", f"{head}:", f"{times} by {names(by)}; {stopped or fate}; {waited}."
    )


def _asker(asker: Asker, facts: Mapping[ProcessKey, object]) -> str:
    fact = facts.get(ProcessKey(asker.pid, asker.comm))
    label = owner_of(getattr(fact, "cgroup", None)).label()
    comm = asker.comm or "(no name)"
    return f"{comm} in {label}" if label else comm


def _changed(changes: Sequence[Case]) -> Iterable[Said]:
    changed = [case for case in changes if case.facts.get("change")]
    for case in changes:
        if case.status in ("warned", "unjudged"):
            yield Said("warn", "The baseline and this page's recordings were not recorded alike:", f"{case.message}.")
    for case in changed:
        mark: Mark = "bad" if case.status == "failed" else "good"
        yield Said(mark, f"{case.name}:", f"{apart(case.message)}.")
    if not changed:
        tested = sum("p_holm" in case.facts for case in changes)
        if tested:
            yield Said("good", "Nothing changed beyond noise", f"in {counted(tested, 'comparison')}.")
        else:
            yield Said("note", "There are too few sockets", "to compare with the baseline.")


def _trust(recordings: Sequence[Recording]) -> Iterable[Said]:
    whole = True
    for recording in recordings:
        of = f" ({recording.name})" if len(recordings) > 1 else ""
        problems = list(_problems(recording, of))
        whole = whole and not any(said.mark == "bad" for said in problems)
        yield from problems
    if whole:
        shown = sum(r.accounting.complete + sum(r.accounting.incomplete.values()) for r in recordings)
        kept = " that passed the filters" if any(r.accounting.filtered for r in recordings) else ""
        yield Said("good", "Nothing was lost:", f"{counted(shown, 'record')}{kept}, all counted on this page.")


_FILTERED = "excluded by the filters or, where a COMMAND was recorded, created by other processes"


def _problems(recording: Recording, of: str) -> Iterable[Said]:
    books = recording.accounting
    if recording.damage is not None:
        yield Said("bad", "The recording is not whole:", f"{recording.damage}.")
    for reason, count in sorted(books.lost.items(), key=lambda item: -item[1]):
        if count:
            why = f": {_LOST[reason]}" if reason in _LOST else ""
            yield Said("bad", f"{counted(count, 'socket')} left no trace{of}:", f"{reason}{why}.")
    odd = books.unaccounted()
    if odd:
        yield Said("bad", f"{odd:+,} sockets are unaccounted for{of}:", "the recording's numbers do not add up.")
    for reason, count in sorted(books.incomplete.items(), key=lambda item: -item[1]):
        if count:
            yield Said("warn", f"{counted(count, 'trace')} incomplete{of}:", f"{reason}.")
    for what, counts in (("missed", books.probe_misses), ("skipped", books.program_skipped)):
        total = sum(counts.values())
        if total:
            # A missed entry of an outermost function leaves no other sign.
            mark: Mark = "bad" if any(counts.get(probe) for probe in CREATES) else "warn"
            yield Said(mark, f"{counted(total, 'probe hit')} {what}{of}:", f"{names(Counter(counts))}.")
    if books.unfollowed:
        yield Said("warn", f"{counted(books.unfollowed, 'descendant')} of COMMAND not followed{of}.")
    unknown = recording.causes.verdicts["unmodelled"] - recording.causes.bare
    if unknown:
        why = f"{sentence(recording.causes.beyond)}"
        yield Said("note", f"{counted(unknown, 'socket')} not covered by the model{of}.", why)
    bare = recording.stats.view().bare
    if bare:
        origin = "of other families or accepted connections, counted only in the latency of functions"
        yield Said("note", f"{counted(bare, 'sock')} not created by inet_create{of}:", f"{origin}.")
    if books.in_flight:
        yield Said("note", f"{counted(books.in_flight, 'socket')} had not returned{of}", "when the recording ended.")
    if books.filtered:
        yield Said("note", f"{counted(books.filtered, 'socket')} filtered out{of}:", f"{_FILTERED}.")
