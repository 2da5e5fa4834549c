"""The live source of ``serve``: the kernel's own counts at any moment, and a stream of the records to be explained.

Between scrapes nothing runs here: the kernel counts, and wakes the stream's reader when it sends a record.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

from inetprobe.base.errors import UsageError
from inetprobe.base.uapi import errno_name
from inetprobe.kernel.attached import Attached
from inetprobe.kernel.callbacks import CheckStop, Say, never_stop
from inetprobe.kernel.maps.cells import Counting
from inetprobe.kernel.trace_options import TraceOptions
from inetprobe.record.accounting import Accounting
from inetprobe.record.batch import Batch
from inetprobe.record.filter import is_glob
from inetprobe.record.run import Run
from inetprobe.stats.snapshot import Probe, Snapshot

_SECOND = 1.0
# How long the probes stay detached from a machine that is too busy: the first time, and at most.
_AWAY_S, _MAX_AWAY_S = 10.0, 300.0
# How long probes stay for traces that are in flight when the machine becomes too busy.
_TRACES_END_S = 5.0


class Breaker:
    """Decides when to detach the probes and when to attach them again; ``max_rate`` is in creations per second.

    Pure: the caller gives the time and the count. While the probes are detached the rate is unknown: after a pause they
    are attached for a second to measure it, and each measurement above ``max_rate`` doubles the next pause.
    """

    def __init__(self, max_rate: int) -> None:
        self.max_rate = max_rate
        self._away_s = _AWAY_S
        self._since: tuple[float, int] | None = None
        self._back_at: float | None = None

    @property
    def away(self) -> bool:
        """Should the probes be detached?"""
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
            self._away_s = min(2 * self._away_s, _MAX_AWAY_S)
        else:
            self._away_s = _AWAY_S


class CountingSource:
    """``snapshot`` may be called from another thread than the one that takes ``batches``; ``stop`` from any."""

    def __init__(self, attached: Attached, counting: Counting, say: Say) -> None:
        """``attached`` was made with these options ``counting``, and is this source's to close."""
        self.attached = attached
        self._bounds_ns = counting.bounds_ns
        self._breaker = None if counting.max_rate is None else Breaker(counting.max_rate)
        self._say = say
        self._stopping = False
        self._probing = True
        self._active = False
        self._deactivated = 0.0
        self._missed_before: dict[str, int] = {}
        self._changing = threading.Lock()  # one thread attaches and detaches the probes, another reads their counts

    @classmethod
    def of_kernel(cls, options: TraceOptions, say: Say, check_stop: CheckStop = never_stop) -> CountingSource:
        """Compiles, loads and attaches; nothing is counted yet. ``options.counting`` must be given.

        ``check_stop`` is called whenever probes are attached again, too. Raises HostError where this machine cannot be
        traced, UsageError for a filter that the kernel cannot decide.
        """
        if options.counting is None:
            raise ValueError("a CountingSource needs options.counting")
        for name, term in options.filters.terms.items():
            if any(is_glob(str(value)) for value in (*term.include, *term.exclude)):
                raise UsageError(f"the kernel counts, and decides no patterns: give --{name} without *, ? and [")
        if options.filters.beyond_inet:
            raise UsageError("only inet_create and inet6_create are counted: give --family inet or inet6")
        return cls(Attached.to_kernel(options, say, check_stop), options.counting, say)

    def __enter__(self) -> CountingSource:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def run(self) -> Run:
        """What is true of the whole run; its ``cgroups`` has those of the last batch."""
        return self.attached.run

    def start(self) -> None:
        """From now on creations are counted."""
        self.attached.program.activate()
        self._active = True

    def stop(self) -> None:
        """Asks ``batches`` to end soon."""
        self._stopping = True
        self.attached.program.ring.wake()

    def batches(self) -> Iterator[Batch]:
        """The stream. Without ``max_rate`` it blocks until the kernel or ``stop`` wakes it, else for a second."""
        attached, breaker = self.attached, self._breaker
        while not self._stopping:
            yield attached.next(_SECOND if breaker else None)
            if breaker is not None:
                breaker.look(time.monotonic(), attached.program.counters.read("entries"))
                self._obey(breaker)
        self._deactivate()
        yield from attached.let_traces_end()
        self._detach()
        yield from attached.rest()

    def close(self) -> None:
        """Detaches the probes and frees everything; to be called once, after ``batches`` has ended."""
        self.attached.close()

    def snapshot(self) -> Snapshot:
        """Every count now, without a system call into BPF's maps."""
        program = self.attached.program
        assert program.cells is not None  # the program was built with options.counting
        read, mechanisms = program.counters.read, program.mechanisms
        with self._changing:
            attached, missed = self._probing, dict(self._missed())
        runs, tables = program.runs(), program.cells.read()
        return Snapshot(
            bounds_ns=self._bounds_ns,
            entries=read("entries"),
            outcomes=tables.outcomes,
            refusals=tables.refusals,
            incomplete={
                "outcome_missed": read("outcome_missed") + read("lost_return_missed"),
                "thread_died": read("lost_thread_died"),
                "no_state": read("lost_no_state"),
                **{reason: read(reason) for reason in ("return_missed", "entry_missed", "truncated")},
            },
            filtered=read("filtered"),
            in_flight=self.attached.in_flight(),
            call_durations={name: its for name, its in tables.call_durations.items() if name in mechanisms},
            creation_durations=tables.creation_durations,
            module_requests=tables.module_requests,
            lost={"ring_full": read("lost_ring_full"), "rate_limited": read("rate_limited")},
            probes={
                (function, side): Probe(mechanisms[function], attached, hits, missed.pop(f"{function}:{side}", None))
                for (function, side), hits in runs.items()
            }
            # Tracepoints: a thread whose end is missed leaves its creation in flight.
            | {
                (event.partition(":")[0], "entry"): Probe("tracepoint", attached, None, n)
                for event, n in missed.items()
            },
            programs=program.costs(),
            maps=tables.fill,
            up=self._active,
        )

    def accounting(self) -> Accounting:
        """Where every entry went, as the kernel counted it: the stream has only some of the records."""
        accounting, now = self.attached.accounting({}), self.snapshot()
        inner = ("return_missed", "entry_missed", "truncated")
        accounting.incomplete = {reason: now.incomplete[reason] for reason in inner if now.incomplete[reason]}
        accounting.complete = sum(now.outcomes.values()) - sum(accounting.incomplete.values())
        for outcome, count in now.outcomes.items():
            if outcome.errno != 0:
                name = "unknown" if outcome.errno is None else errno_name(outcome.errno)
                accounting.failed[name] = accounting.failed.get(name, 0) + count
        accounting.lost = {reason: n for reason, n in now.incomplete.items() if n and reason not in inner}
        return accounting

    def _obey(self, breaker: Breaker) -> None:
        if breaker.away:
            if self._active:
                self._deactivate()
                self._say(f"more than {breaker.max_rate} sockets per second: nothing is counted until the rate drops")
            # Threads sleep in request_module; no trace begins meanwhile. A trace whose end was missed never ends.
            if self._probing and (
                not self.attached.in_flight() or time.monotonic() >= self._deactivated + _TRACES_END_S
            ):
                self._detach()
        elif not self._active:
            with self._changing:
                if not self._probing:
                    self.attached.program.attach()
                    self._probing = True
            self.start()

    def _deactivate(self) -> None:
        self.attached.program.deactivate()
        self._active = False
        self._deactivated = time.monotonic()

    def _detach(self) -> None:
        with self._changing:
            self._missed_before = self._missed()
            self._probing = False
            self.attached.program.detach()

    def _missed(self) -> dict[str, int]:
        """The calls that each probe is known to have missed since the start, by probe.

        The kernel forgets a kprobe's count when it is detached, and keeps that of a program.
        """
        if not self._probing:
            return self._missed_before
        now = {probe: count.misses + count.skipped for probe, count in self.attached.program.probe_counts().items()}
        for probe, before in self._missed_before.items():
            if self.attached.program.mechanisms.get(probe.partition(":")[0]) == "kprobe":
                now[probe] = now.get(probe, 0) + before
        return now
