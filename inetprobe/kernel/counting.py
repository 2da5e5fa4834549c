"""The live source of ``serve``: the kernel's own counts at any moment, and a stream of only what needs an explanation.

Between scrapes nothing runs here: the kernel counts, and wakes the stream's reader where it has something to tell.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

from inetprobe.base.errors import UsageError
from inetprobe.kernel.source import LiveOptions, LiveSource, Say
from inetprobe.record.accounting import Accounting
from inetprobe.record.batch import Batch
from inetprobe.record.filter import is_glob
from inetprobe.stats.snapshot import Probe, Snapshot

_SECOND = 1.0
# How long the probes stay away from a machine that is too busy, the first time and at most.
_AWAY_S, _LONGEST_AWAY_S = 10.0, 300.0


class Breaker:
    """When to take the probes away and when to bring them back: ``max_rate`` is in creations a second.

    Pure: it is told the time and the count. Away, the rate cannot be seen: after a while the probes come back for a
    second's look, and each look that finds the machine as busy doubles the while.
    """

    def __init__(self, max_rate: int) -> None:
        self.max_rate = max_rate
        self._away_s = _AWAY_S
        self._since: tuple[float, int] | None = None
        self._back_at: float | None = None

    @property
    def away(self) -> bool:
        """Are the probes to be away?"""
        return self._back_at is not None

    def look(self, now_s: float, entries: int) -> None:
        """To be called about once a second, with the creations counted so far."""
        if self._back_at is not None:
            if now_s >= self._back_at:
                self._back_at, self._since = None, (now_s, entries)
            return
        before, self._since = self._since, (now_s, entries)
        if before is None or now_s <= before[0]:
            return
        if (entries - before[1]) / (now_s - before[0]) > self.max_rate:
            self._back_at = now_s + self._away_s
            self._away_s = min(2 * self._away_s, _LONGEST_AWAY_S)
        else:
            self._away_s = _AWAY_S


class CountingSource(LiveSource):
    """``snapshot`` may be called from another thread than the one that takes ``batches``."""

    def __init__(
        self, options: LiveOptions, max_rate: int | None, say: Say, go_on: Callable[[], None] = lambda: None
    ) -> None:
        """Compiles, loads and attaches; nothing is counted yet. ``options.counting`` is to be given; ``go_on`` as of
        LiveSource.

        Raises HostError where this machine cannot be traced, UsageError for a filter that the kernel cannot decide.
        """
        if options.counting is None:
            raise ValueError("a CountingSource needs options.counting")
        for name, term in options.filters.terms.items():
            if any(is_glob(str(value)) for value in (*term.include, *term.exclude)):
                raise UsageError(f"the kernel counts, and decides no patterns: give --{name} without *, ? and [")
        if options.filters.beyond_inet:
            raise UsageError("only inet_create and inet6_create are counted: give --family inet or inet6")
        self._bounds_ns = options.counting.bounds_ns
        self._breaker = None if max_rate is None else Breaker(max_rate)
        self._say = say
        self._attached = True
        self._active = False
        self._missed_before: dict[str, int] = {}
        self._changing = threading.Lock()  # probes come and go in one thread and are looked at in another
        super().__init__(options, None, say, go_on)

    def start(self) -> None:
        """From now on creations are counted."""
        super().start()
        self._active = True

    def batches(self) -> Iterator[Batch]:
        """The stream; see LiveSource. Without a limit of the rate it blocks until the kernel or ``stop`` wakes it."""
        program = self._program
        while not self._stopping:
            yield self._next(_SECOND if self._breaker else None)
            if self._breaker is not None:
                self._breaker.look(time.monotonic(), program.counters.read("entries"))
                self._obey(self._breaker)
        self._deactivate()
        yield from self._let_them_end()
        self._detach()
        yield from self._rest()

    def snapshot(self) -> Snapshot:
        """Every count now, without a system call into BPF's maps."""
        assert self._program.cells is not None  # with options.counting it is there
        read, mechanisms = self._program.counters.read, self._program.mechanisms
        with self._changing:
            attached, missed = self._attached, dict(self._missed())
        runs, tables = self._program.runs(), self._program.cells.read()
        return Snapshot(
            bounds_ns=self._bounds_ns,
            entries=read("entries"),
            outcomes=tables.outcomes,
            incomplete={
                "outcome_missed": read("outcome_missed") + read("lost_return_missed"),
                "thread_died": read("lost_thread_died"),
                "no_state": read("lost_no_state"),
                **{reason: read(reason) for reason in ("return_missed", "entry_missed", "truncated")},
            },
            filtered=read("filtered"),
            in_flight=self._in_flight(),
            call_durations=tables.call_durations,
            creation_durations=tables.creation_durations,
            module_requests=tables.module_requests,
            lost={"ring_full": read("lost_ring_full"), "rate_limited": read("rate_limited")},
            probes={
                (function, side): Probe(mechanisms[function], attached, hits, missed.pop(f"{function}:{side}", 0))
                for (function, side), hits in runs.items()
            }
            # Tracepoints: a thread's end that is not seen leaves its creation in flight.
            | {
                (event.partition(":")[0], "entry"): Probe("tracepoint", attached, None, n)
                for event, n in missed.items()
            },
            programs=self._program.costs(),
            maps=tables.fill,
            up=self._active,
        )

    def accounting(self) -> Accounting:
        """Where every entry went, as the kernel counted it: the stream has only a part of them."""
        accounting, now = super().accounting(), self.snapshot()
        inner = ("return_missed", "entry_missed", "truncated")
        accounting.incomplete = {reason: now.incomplete[reason] for reason in inner if now.incomplete[reason]}
        accounting.complete = sum(now.outcomes.values()) - sum(accounting.incomplete.values())
        accounting.lost = {reason: n for reason, n in now.incomplete.items() if n and reason not in inner}
        return accounting

    def _obey(self, breaker: Breaker) -> None:
        if breaker.away:
            if self._active:
                self._deactivate()
                self._say(f"more than {breaker.max_rate} sockets a second: nothing is counted until it calms down")
            # Threads asleep in request_module may take their time; no trace begins meanwhile.
            if self._attached and not self._in_flight():
                self._detach()
        elif not self._active:
            with self._changing:
                if not self._attached:
                    self._program.attach()
                    self._attached = True
            self.start()

    def _deactivate(self) -> None:
        self._program.deactivate()
        self._active = False

    def _detach(self) -> None:
        with self._changing:
            self._missed_before = self._missed()
            self._attached = False
            self._program.detach()

    def _missed(self) -> dict[str, int]:
        """What each probe is known not to have seen, since the start. The kernel forgets a kprobe that is taken away,
        and never what it counts of a program."""
        if not self._attached:
            return self._missed_before
        now = {probe: count.misses + count.skipped for probe, count in self._program.probe_counts().items()}
        for probe, before in self._missed_before.items():
            if self._program.mechanisms.get(probe.partition(":")[0]) == "kprobe":
                now[probe] = now.get(probe, 0) + before
        return now
