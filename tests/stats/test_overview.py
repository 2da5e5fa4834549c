"""OverviewSink, compared with a count by hand, trace by trace."""

import math
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inetprobe.base import uapi
from inetprobe.model.profile import BUILT_IN_PROFILES
from inetprobe.record.accounting import Accounting
from inetprobe.record.batch import Batch, Loss
from inetprobe.stats import overview
from inetprobe.stats.overview import Asker, Counts, Facts, Failure, Kind, OverviewSink, ProcessKey, Requests
from inetprobe.stats.top_keys import OTHER, Other
from inetprobe.trace.call_trace import call_traces
from tests.support import builders
from tests.support.model_source import EVERY_PATH, ModelSource

KINDS = builders.every_kind()
NUMBERS = {name: number for number, name in uapi.ERRNOS.items()}
COMMS = (b"a", b"nginx", b"[red]x\x1b", b"\xff\\")


def fed(*batches, run=None):
    filled = OverviewSink()
    for records in batches:
        filled.batch(Batch(records), run or builders.run())
    return filled


def latency(values):
    """All of it exact."""
    values = sorted(values)
    ranks = [values[math.ceil(len(values) * percent / 100) - 1] for percent in (50, 99)]
    return len(values), *ranks, values[0], values[-1], sum(values)


def by_hand(records, run):
    """Every mapping of an Overview, from one trace and one call at a time."""
    functions, kinds, latencies = defaultdict(list), {}, defaultdict(list)
    who = {"processes": {}, "comms": {}, "cgroups": {}}
    modules, askers = {}, {}
    failures, errnos, incomplete, totals = Counter(), Counter(), Counter(), Counter()

    def add(into, key, kind, *values):
        before = into.get(key, kind())
        into[key] = kind(*(b + v for b, v in zip(before[:-1], values[:-1], strict=True)), max(before[-1], values[-1]))

    for trace in call_traces(Batch(records), run):
        for call in trace.calls:
            if call.duration_ns is not None:
                functions[call.function].append(call.duration_ns)
        if trace.incomplete:
            incomplete[trace.incomplete] += 1
        if trace.bare:
            totals["bare"] += 1
            continue
        seen = trace.duration_ns is not None
        failed = trace.errno is not None
        asked = [call for call in trace.calls if call.function == "__request_module"]
        blocked = [call.duration_ns or 0 for call in asked]
        row = 1, failed, len(asked), sum(blocked), max(blocked, default=0)
        kind = Kind(trace.family, trace.type, trace.protocol)
        process = ProcessKey(trace.pid, trace.comm)
        add(kinds, kind, Counts, *row)
        cgroup = trace.cgroup
        for name, key in (("processes", process), ("comms", trace.comm), ("cgroups", cgroup)):
            add(who[name], key, Counts, *row)
        if seen:
            latencies[kind].append(trace.duration_ns)
        if failed:
            failures[Failure(*kind, NUMBERS[trace.errno])] += 1
            errnos[NUMBERS[trace.errno]] += 1
        for call, ns in zip(asked, blocked, strict=True):
            refused = call.result not in (0, None)
            add(modules, call.module, Requests, 1, refused, ns, ns)
            add(askers, Asker(call.module, *process), Requests, 1, refused, ns, ns)
        totals += Counter(sockets=1, failed=failed, unseen=not seen, requests=len(asked), blocked_ns=sum(blocked))
    return functions, kinds, latencies, who, modules, askers, failures, errnos, incomplete, totals


def assert_as_by_hand(view, records, run):
    functions, kinds, latencies, who, modules, askers, failures, errnos, incomplete, totals = by_hand(records, run)
    for found, values in ((view.functions, functions), (view.latencies, latencies)):
        assert found.keys() == values.keys()
        for key, near in found.items():
            exact = latency(values[key])
            assert (near.calls, *near[3:]) == (exact[0], *exact[3:])
            assert near.p50_ns == pytest.approx(exact[1], rel=1 / 64)
            assert near.p99_ns == pytest.approx(exact[2], rel=1 / 64)
    assert view.kinds == kinds
    for name, expected in who.items():
        assert getattr(view, name) == expected
    assert (view.modules, view.askers, view.failures, view.errnos) == (modules, askers, failures, errnos)
    assert view.incomplete == incomplete
    for name in ("sockets", "bare", "failed", "unseen", "requests", "blocked_ns"):
        assert getattr(view, name) == totals[name]


RECORDS = st.lists(
    st.tuples(st.integers(0, len(KINDS) - 1), st.integers(1, 3), st.sampled_from(COMMS), st.integers(1, 2),
              st.integers(10**9, 1 << 60)),
    max_size=12,
)  # fmt: skip


def made(rows):
    records = KINDS[np.array([row[0] for row in rows], int)].copy()
    for record, (_, pid, comm, cgroup, duration) in zip(records, rows, strict=True):
        record["pid"], record["comm"], record["cgroup_id"] = pid, comm, cgroup
        record["calls"]["duration_ns"][0] = duration
    return records


def run():
    known = builders.run()
    known.cgroups[2] = "/system.slice/x.service"
    return known


@settings(max_examples=50)
@given(st.lists(RECORDS, min_size=1, max_size=4))
def test_any_batches_count_as_by_hand(batches):
    batches = [made(rows) for rows in batches]
    assert_as_by_hand(fed(*batches, run=run()).view(), np.concatenate(batches), run())


@settings(max_examples=50)
@given(RECORDS, RECORDS)
def test_merging_equals_feeding_one(one, other):
    merged = fed(made(one), run=run())
    merged.merge(fed(made(other), run=run()))
    together = fed(made(one), made(other), run=run())
    assert merged.view() == together.view()


def test_every_path_of_the_model_counts_as_by_hand():
    source = ModelSource(BUILT_IN_PROFILES["6.1"], EVERY_PATH)
    source.run.cgroups[0] = "/"
    records = np.concatenate([batch.records for batch in source.batches()])
    view = fed(records, run=source.run).view()
    assert_as_by_hand(view, records, source.run)
    assert view.modules


def test_a_view_does_not_change_later():
    filled = fed(KINDS)
    before = filled.view()
    sockets = before.processes[ProcessKey(100, "python3")].sockets
    filled.batch(Batch(KINDS), builders.run())
    assert before.processes[ProcessKey(100, "python3")].sockets == sockets
    assert filled.view().sockets == 2 * before.sockets


def test_the_latest_facts_of_a_process():
    records = np.concatenate([builders.created(start=5, uid=7), builders.created(start=10**9, uid=1000)])
    records["ppid"] = [1, 42]
    filled = fed(records[:1], records[1:])
    assert filled.view().facts == {ProcessKey(100, "python3"): Facts(42, 1000, "/")}
    assert (filled.view().first_ns, filled.view().last_ns) == (5, 10**9)


def test_the_latest_facts_of_a_process_that_moved_within_a_batch():
    run = builders.run()
    run.cgroups = {number: f"/{number}" for number in range(1, 41)}
    records = np.tile(builders.created(), 40)
    records["cgroup_id"] = np.arange(1, 41)
    records["uid"][-1] = 1000
    filled = OverviewSink()
    filled.batch(Batch(records), run)
    (facts,) = filled.view().facts.values()
    assert (facts.cgroup, facts.uid) == ("/40", 1000)


def test_a_cgroup_without_a_path_goes_by_its_id():
    records = builders.created()
    records["cgroup_id"] = 77
    assert list(fed(records).view().cgroups) == [77]


def test_a_result_that_is_not_an_errno_counts_as_failure():
    odd = [builders.record([builders.call(builders.CREATE, 0, 0, 5000, result)]) for result in (7, -4098, -(2**31))]
    view = fed(np.concatenate(odd)).view()
    assert view.errnos == {None: 3}
    assert view.failures == {Failure(2, 1, 0, None): 3}


def test_a_request_without_a_return_has_no_blocked_time():
    calls = [
        builders.call(builders.CREATE, 0, 0, 0, returned=False),
        builders.call(builders.REQUEST_MODULE, 1, 5, 99, returned=False, module=(builders.PROTO, 2, 132, 0)),
    ]
    assert fed(builders.record(calls)).view().modules == {"net-pf-2-proto-132": Requests(1, 0, 0, 0)}


def test_losses_are_not_counted_twice():
    filled = OverviewSink()
    filled.batch(Batch(KINDS[:0], (Loss("ring_full", 3),)), builders.run())
    filled.batch(Batch(KINDS[:1], (Loss("ring_full", 2), Loss("malformed", 1))), builders.run())
    assert filled.view().lost == {"ring_full": 5, "malformed": 1}
    filled.summary(Accounting(entries=12, complete=1, lost={"ring_full": 9, "thread_died": 2}))
    assert filled.view().lost == {"ring_full": 9, "malformed": 1, "thread_died": 2}


def test_a_batch_of_any_size():
    assert fed(np.tile(KINDS, 6000)).view().sockets == 6000 * 10


def test_a_crafted_recording_cannot_fill_memory():
    filled = OverviewSink()
    records = np.tile(KINDS[4:5], 6000)
    for start in range(0, 24_000, len(records)):
        numbers = np.arange(start, start + len(records))
        records["pid"] = records["protocol"] = records["cgroup_id"] = numbers
        records["comm"] = [str(number).encode() for number in numbers]
        records["calls"]["module_protocol"] = numbers[:, None]
        records["calls"]["result"][:, 0] = -(numbers % 4000) - 1
        filled.batch(Batch(records), builders.run())
    view = filled.view()
    most = {
        "processes": overview.MOST_WHO, "comms": overview.MOST_WHO, "cgroups": overview.MOST_WHO,
        "kinds": overview.MOST_KINDS,
        "modules": overview.MOST_MODULES, "askers": overview.MOST_WHO, "failures": overview.MOST_FAILURES,
    }  # fmt: skip
    for name, limit in most.items():
        table = getattr(view, name)
        assert len(table) <= limit + 1, name
        counts = [value if isinstance(value, int) else value[0] for value in table.values()]
        assert sum(counts) == (48_000 if name in ("modules", "askers") else 24_000), name
        assert OTHER in table, name
    assert sum(found.calls for found in view.latencies.values()) == 24_000
    assert len([key for key in view.facts if not isinstance(key, Other)]) <= overview.MOST_WHO
