"""Compares the sockets of one recording with one budget."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from inetprobe.base import words
from inetprobe.base.uapi import errno_name
from inetprobe.base.words import by_reason, counted, did_you_mean
from inetprobe.commands.check.budget import Budget, Quantile
from inetprobe.commands.check.result import Case, Status
from inetprobe.record.accounting import Accounting
from inetprobe.record.batch import Batch
from inetprobe.record.filter import Filters
from inetprobe.record.layout import Mask, Records
from inetprobe.record.measures import durations, errnos, failed, module_requests, seen
from inetprobe.record.nesting import NestedBatch
from inetprobe.record.run import Run
from inetprobe.stats.sample import Reservoir, quantile
from inetprobe.trace.call_trace import call_traces, request

_EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class _LimitResult:
    """One limit compared with a recording: ``over`` tells whether it is exceeded, None if nothing could be compared."""

    message: str
    over: bool | None
    facts: Mapping[str, Any]
    examples: tuple[str, ...] = ()
    judged: bool = True


@dataclass(slots=True)
class Spending:
    """A sink that counts what ``budget`` limits."""

    budget: Budget
    _sockets: int = 0
    _module_requests: int = 0
    _failures: int = 0
    _longest_ns: int = 0
    _timed: int = 0
    _forbidden: dict[int, int] = field(default_factory=dict)
    _samples: dict[Quantile, Reservoir] = field(default_factory=dict)
    _examples: dict[str, list[str]] = field(default_factory=dict)

    def batch(self, batch: NestedBatch, run: Run) -> None:
        """Holds a batch against the budget."""
        budget = self.budget
        records = batch.records
        if budget.where != Filters():
            records = records[budget.where.mask(records, run)]
        if not len(records):
            return
        self._sockets += len(records)
        if budget.max_module_requests is not None:
            requests = module_requests(records)
            self._module_requests += int(requests.sum())
            self._remember("max_module_requests", records, requests > 0, run)
        if budget.max_failures is not None:
            self._failures += int(np.count_nonzero(failed(records)))
            self._remember("max_failures", records, failed(records), run)
        if budget.forbid_errno:
            self._count_errnos(records, run)
        if budget.max_duration_ns is not None:
            self._time(records, budget.max_duration_ns, run)
        numbers = {name: number for number, name in run.functions.items()}
        for limit in budget.quantiles:
            sample = self._samples.setdefault(limit, Reservoir())
            if limit.function in numbers:
                sample.add(durations(records, numbers[limit.function]))

    def summary(self, accounting: Accounting) -> None:
        """The accounting is not needed."""

    def case(self, run: Run) -> Case:
        """The result of the budget, once the whole ``run`` has been read."""
        results = list(self._found(run))
        status: Status = "passed"
        if not all(result.judged for result in results):
            status = "unjudged"
        elif any(result.over for result in results):
            status = "failed"
        elif not self._sockets or all(result.over is None for result in results):
            status = "skipped"
        said = [
            result.message for result in results if result.over or not result.judged or status in ("passed", "skipped")
        ]
        message = "; ".join(said) if self._sockets or status == "unjudged" else "no socket matches its where"
        details = tuple(dict.fromkeys(line for result in results if result.over for line in result.examples))
        facts = {"sockets": self._sockets, "limits": [{**result.facts, "exceeded": result.over} for result in results]}
        return Case("budget", self.budget.name, status, message, details, facts)

    def _found(self, run: Run) -> list[_LimitResult]:
        budget = self.budget
        results = []
        if budget.max_module_requests is not None:
            results.append(
                self._limit("max_module_requests", "module request", self._module_requests, budget.max_module_requests)
            )
        if budget.max_failures is not None:
            results.append(self._limit("max_failures", "failure", self._failures, budget.max_failures))
        if budget.forbid_errno:
            results.append(self._errnos())
        if budget.max_duration_ns is not None:
            results.append(self._longest(budget.max_duration_ns))
        return results + [self._quantile(limit, run) for limit in budget.quantiles]

    def _limit(self, key: str, what: str, count: int, most: int) -> _LimitResult:
        facts = {"limit": key, "at_most": most, "found": count}
        message = f"{counted(count, what)}, at most {most:,} allowed"
        return _LimitResult(message, count > most, facts, tuple(self._examples.get(key, ())))

    def _errnos(self) -> _LimitResult:
        names = sorted(errno_name(number) for number in self.budget.forbid_errno)
        counts = {errno_name(number): count for number, count in self._forbidden.items()}
        facts = {"limit": "forbid_errno", "forbidden": names, "found": counts}
        message = f"forbidden: {by_reason(counts)}" if counts else f"no {' or '.join(names)}"
        return _LimitResult(message, bool(counts), facts, tuple(self._examples.get("forbid_errno", ())))

    def _longest(self, most: int) -> _LimitResult:
        facts = {"limit": "max_duration", "at_most_ns": most, "found_ns": self._longest_ns if self._timed else None}
        if not self._timed:
            return _LimitResult("no socket was seen to return", None, facts)
        message = f"the longest took {words.duration(self._longest_ns)}, at most {words.duration(most)} allowed"
        over = self._longest_ns > most
        return _LimitResult(message, over, facts, tuple(self._examples.get("max_duration", ())))

    def _quantile(self, limit: Quantile, run: Run) -> _LimitResult:
        name = f"p{limit.percent} of {limit.function}"
        facts = {"limit": f"p{limit.percent}", "function": limit.function, "at_most_ns": limit.at_most_ns}
        if limit.function not in run.functions.values():
            functions = run.functions.values()
            hint = did_you_mean(limit.function, functions, f"it has {', '.join(functions)}")
            message = f"{limit.function} was not traced in this recording: {hint}"
            return _LimitResult(message, None, facts | {"found_ns": None, "calls": 0}, judged=False)
        sample = self._samples.get(limit, Reservoir())
        if not sample.count:
            return _LimitResult(f"{name}: no call was recorded", None, facts | {"found_ns": None, "calls": 0})
        measured_ns = quantile(sample.values, limit.percent)
        of = f"{len(sample.values):,} of {sample.count:,} calls, sampled" if sample.sampled else ""
        message = f"{name} is {words.duration(measured_ns)}, at most {words.duration(limit.at_most_ns)} allowed"
        facts |= {"found_ns": measured_ns, "calls": sample.count, "sampled": sample.sampled}
        return _LimitResult(message + (f" ({of})" if of else ""), measured_ns > limit.at_most_ns, facts)

    def _count_errnos(self, records: Records, run: Run) -> None:
        values = errnos(records)
        here = np.isin(values, list(self.budget.forbid_errno))
        for number, count in zip(
            *(column.tolist() for column in np.unique(values[here], return_counts=True)), strict=True
        ):
            self._forbidden[number] = self._forbidden.get(number, 0) + count
        self._remember("forbid_errno", records, here, run)

    def _time(self, records: Records, most: int, run: Run) -> None:
        ended = seen(records)
        took = np.where(ended, records["calls"][:, 0]["duration_ns"], 0)
        self._timed += int(np.count_nonzero(ended))
        self._longest_ns = max(self._longest_ns, int(took.max()))
        self._remember("max_duration", records, took > most, run)

    def _remember(self, key: str, records: Records, where: Mask, run: Run) -> None:
        """Keeps the first few sockets that count towards the limit."""
        kept = self._examples.setdefault(key, [])
        if len(kept) == _EXAMPLES:
            return
        wanted = records[where][: _EXAMPLES - len(kept)]  # rows of nested batches
        for trace in call_traces(NestedBatch(Batch(wanted)), run):
            outcome = f"-1 {trace.errno}" if trace.errno else words.duration(trace.duration_ns)
            kept.append(f"{trace.id} {trace.comm} uid {trace.uid} {request(trace)} = {outcome}")
