"""Records → Snapshot, compared with a count by hand, trace by trace."""

import dataclasses
from bisect import bisect_left
from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from inetprobe.base import uapi
from inetprobe.model.profile import BUILT_IN_PROFILES
from inetprobe.record.accounting import Accounting
from inetprobe.record.batch import Batch
from inetprobe.record.layout import RECORD_ENTRY_MISSED, RECORD_RETURN_MISSED, RECORD_TRUNCATED
from inetprobe.stats.buckets import DEFAULT_BOUNDS_NS
from inetprobe.stats.recount import Recount
from inetprobe.stats.snapshot import MANY, Histogram, ModuleRequests, OutcomeKey, Probe, RefusalKey
from inetprobe.trace.call_trace import call_traces
from tests.support import builders
from tests.support.model_source import EVERY_PATH, ModelSource

KINDS = np.concatenate([builders.every_kind(), builders.every_syscall()])
NUMBERS = {name: number for number, name in uapi.ERRNOS.items()}
UNSEEN = ("outcome_missed", "thread_died", "no_state")


def counted(*batches, accounting=None, bounds=DEFAULT_BOUNDS_NS, run=None):
    run = run or builders.run()
    aggregate = Recount(bounds)
    for records in batches:
        aggregate.batch(Batch(records), run)
    if accounting is not None:
        aggregate.summary(accounting)
    return aggregate.snapshot()


def by_hand(records, bounds):
    """The same numbers from the call traces, one at a time."""
    outcomes, incomplete, modules, failures = Counter(), Counter(), Counter(), Counter()
    calls, creations = {}, {}

    def add(histograms, key, duration):
        counts, sums = histograms.setdefault(key, ([0] * (len(bounds) + 1), [0]))
        counts[bisect_left(bounds, duration)] += 1
        sums[0] += duration

    for trace in call_traces(Batch(records), builders.run()):
        for call in trace.calls:
            if call.duration_ns is not None:
                add(calls, call.function, call.duration_ns)
            if call.function == "__request_module":
                modules[call.module] += 1
                failures[call.module] += call.result not in (0, None)
        if trace.create is None:
            continue
        create = trace.calls[trace.create]
        if create.duration_ns is None:
            incomplete["outcome_missed"] += 1
            continue
        outcomes[OutcomeKey(trace.family, trace.type, trace.protocol, -create.result)] += 1
        add(creations, (trace.family, trace.type), create.duration_ns)
        if trace.incomplete is not None:
            incomplete[trace.incomplete] += 1
    done = [
        {key: Histogram(tuple(counts), sums[0]) for key, (counts, sums) in histograms.items()}
        for histograms in (calls, creations)
    ]
    return outcomes, incomplete, *done, {name: ModuleRequests(n, failures[name]) for name, n in modules.items()}


def assert_as_by_hand(snapshot, records):
    outcomes, incomplete, calls, creations, modules = by_hand(records, snapshot.bounds_ns)
    assert Counter(snapshot.outcomes) == outcomes
    assert {reason: n for reason, n in snapshot.incomplete.items() if n} == incomplete
    assert snapshot.call_durations == calls
    assert snapshot.creation_durations == creations
    assert snapshot.module_requests == modules


@given(
    st.lists(st.lists(st.integers(0, len(KINDS) - 1), max_size=12), min_size=1, max_size=4),
    st.lists(st.integers(0, 1 << 62), min_size=1, max_size=8),
    st.lists(st.integers(1, 10**10), min_size=1, max_size=14, unique=True).map(sorted).map(tuple),
)
def test_any_batches_count_as_by_hand(places, durations, bounds):
    batches = [KINDS[np.array(batch, int)].copy() for batch in places]
    for batch in batches:
        for number, record in enumerate(batch):
            record["calls"]["duration_ns"][0] = max(10**9, durations[number % len(durations)])
    snapshot = counted(*batches, bounds=bounds)
    together = np.concatenate(batches)
    assert_as_by_hand(snapshot, together)
    assert snapshot.entries == sum(snapshot.outcomes.values()) + sum(snapshot.incomplete.get(r, 0) for r in UNSEEN)


def test_refusals_are_system_calls_that_failed_outside_a_create():
    by_filters = np.concatenate([builders.refused_by_seccomp(1), builders.refused_by_seccomp(4096)])
    snapshot = counted(
        builders.every_syscall(),
        builders.every_syscall()[4:5],
        builders.every_kind(),
        by_filters,
        run=builders.with_seccomp(),
    )
    assert snapshot.refusals == {
        RefusalKey("seccomp", 1, 17): 1,
        RefusalKey("seccomp", 4096, 17): 1,
        RefusalKey("descriptor", 24, 2): 2,
        RefusalKey("post_create", 13, 2): 1,
        RefusalKey("arguments", 22, 2): 1,
        RefusalKey("family", 97, MANY): 2,  # 77 and -1
        RefusalKey("family", 97, 40): 1,
        RefusalKey("create", 93, 1): 1,
        RefusalKey("descriptor", 24, 1): 1,
        RefusalKey("post_create", 95, 2): 1,
    }
    assert OutcomeKey(2, 1, 0, 24) not in snapshot.outcomes
    assert "__secure_computing" not in snapshot.call_durations


def test_a_function_with_one_probe_shows_that_one():
    mechanisms = {"__secure_computing": "fentry", "audit_seccomp": "fentry"}
    run = dataclasses.replace(builders.with_seccomp(), mechanisms=mechanisms)
    assert counted(builders.refused_by_seccomp(1), run=run).probes == {
        ("__secure_computing", "return"): Probe("fentry", True, 1, 0),
        ("audit_seccomp", "entry"): Probe("fentry", True, None, 0),  # no call of a trace tells how often
    }


def test_a_create_within_another_family_s_call_is_that_family_s():
    """As the TCP socket in AF_SMC's."""
    (inner,) = call_traces(Batch(builders.in_syscall(builders.created(prot=b"TCP"), asked=(43, 1, 0))), builders.run())
    assert inner.create is None
    snapshot = counted(builders.in_syscall(builders.created(prot=b"TCP"), asked=(43, 1, 0)))
    assert (snapshot.entries, snapshot.outcomes, snapshot.creation_durations) == (0, {}, {})


def test_every_path_of_the_model_counts_as_by_hand():
    source = ModelSource(BUILT_IN_PROFILES["6.1"], EVERY_PATH)
    batches = [batch.records for batch in source.batches()]
    assert_as_by_hand(counted(*batches, run=source.run), np.concatenate(batches))


def test_a_bound_belongs_to_the_bucket_that_it_ends():
    records = np.tile(builders.created(), 4)
    records["calls"]["duration_ns"][:, 0] = [9999, 10_000, 10_001, 2**64 - 1]
    histogram = counted(records, bounds=(10_000, 20_000)).creation_durations[2, 1]
    assert histogram == Histogram((2, 1, 1), 9999 + 10_000 + 10_001 + 2**64 - 1)


def test_sums_beyond_64_bits_are_exact():
    records = np.tile(builders.created(), 3000)
    records["calls"]["duration_ns"][:, 0] = 2**64 - 1
    assert counted(records).creation_durations[2, 1].sum_ns == 3000 * (2**64 - 1)


def test_an_outcome_that_was_seen_counts_though_an_inner_call_is_missing():
    flags = (RECORD_RETURN_MISSED | RECORD_TRUNCATED, RECORD_ENTRY_MISSED, RECORD_TRUNCATED)
    snapshot = counted(np.concatenate([builders.created(flags=flag) for flag in flags]))
    assert snapshot.outcomes == {OutcomeKey(2, 1, 0, 0): 3}
    assert snapshot.incomplete == {"outcome_missed": 0, "return_missed": 1, "entry_missed": 1, "truncated": 1}


def test_a_result_that_is_not_an_errno_counts_as_failure():
    odd = [builders.record([builders.call(builders.CREATE, 0, 0, 5000, result)]) for result in (7, -4098, -(2**31))]
    null = builders.record([builders.call(builders.SK_ALLOC, 0, 0, 5000, pointer=False)])
    assert counted(np.concatenate([*odd, null])).outcomes == {OutcomeKey(2, 1, 0, None): 4}


def test_the_recorded_runs_accounting_completes_the_identity():
    accounting = Accounting(
        entries=40,
        complete=1,
        lost={"ring_full": 3, "no_state": 4, "thread_died": 5, "return_missed": 6},
        filtered=19,
        in_flight=2,
        probe_hits={"inet_create:entry": 40, "inet_create:return": 30},
        probe_misses={"inet_create:return": 7},
        program_skipped={"inet_create:entry": 1},
    )
    snapshot = counted(builders.created(), accounting=accounting)
    assert snapshot.incomplete == {"outcome_missed": 9, "no_state": 4, "thread_died": 5}
    unseen = sum(snapshot.incomplete[reason] for reason in UNSEEN)
    assert 40 == snapshot.entries == 1 + unseen + snapshot.filtered + snapshot.in_flight
    assert snapshot.lost == {"ring_full": 3}
    entry, returned = (snapshot.probes["inet_create", side] for side in ("entry", "return"))
    assert (entry.hits, entry.misses, returned.hits, returned.misses) == (39, 1, 30, 7)
    assert snapshot.probes["sk_alloc", "entry"].hits == 1  # nobody counted it: what the records show


def test_probes_are_those_of_the_run():
    run = builders.run()
    run.mechanisms = {"inet_create": "fentry", "sk_alloc": "kprobe"}
    probes = counted(builders.created(), run=run).probes
    assert {function: probe.mechanism for (function, _), probe in probes.items()} == {
        "inet_create": "fentry",
        "sk_alloc": "kprobe",
    }


def test_crafted_requests_cannot_fill_memory():
    aggregate = Recount()
    records = np.tile(np.concatenate([builders.created(), KINDS[4:5]]), 2048)
    for start in range(0, 80_000, len(records)):
        records["protocol"] = np.arange(start, start + len(records))
        records["family"] = np.arange(len(records)) % 7000
        records["calls"]["module_protocol"] = records["protocol"][:, None]
        aggregate.batch(Batch(records), builders.run())
    snapshot = aggregate.snapshot()
    assert len(snapshot.outcomes) <= (1 << 16) + 2
    assert len(snapshot.creation_durations) <= (1 << 12) + 1
    assert len(snapshot.module_requests) <= (1 << 12) + 1
    assert sum(snapshot.outcomes.values()) == aggregate.sockets == snapshot.entries
    assert sum(asked.requests for asked in snapshot.module_requests.values()) == aggregate.sockets
    assert snapshot.module_requests[None].failures == snapshot.module_requests[None].requests > 0
    assert snapshot.outcomes[OutcomeKey(-1, -1, None, 0)] > 0
    assert snapshot.outcomes[OutcomeKey(-1, -1, None, None)] > 0
