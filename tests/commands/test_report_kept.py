"""What ``report`` keeps of recordings, within which bounds, and what it computes from that."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inetprobe.base.files import OutputFile
from inetprobe.commands.report import bars, in_short, listings, page
from inetprobe.commands.report import causes as causes_module
from inetprobe.commands.report.causes import Causes
from inetprobe.commands.report.slowest import Slowest
from inetprobe.commands.report.stages import Stages
from inetprobe.commands.report.timeline import MOST_BINS, Timeline
from inetprobe.model.profile import BUILT_IN_PROFILES
from inetprobe.record import self_time
from inetprobe.record.accounting import Accounting
from inetprobe.record.arrow.writer import RecordingWriter
from inetprobe.record.batch import Batch, Loss
from inetprobe.record.filter import build
from inetprobe.record.layout import RECORD_BARE, RECORD_TRUNCATED
from inetprobe.stats import loglinear
from inetprobe.stats.distribution import Distribution, _number
from inetprobe.stats.top_keys import OTHER
from inetprobe.trace.call_trace import call_traces, self_times
from tests.support import builders, recorded
from tests.support.model_source import EVERY_PATH, ModelSource
from tests.support.reported import Elements, gathered, rendered


@pytest.fixture(name="every")
def every_kind(tmp_path):
    return recorded.every_kind(tmp_path / "every.arrows")


@given(st.lists(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=20), min_size=1, max_size=8))
def test_a_timeline_has_few_bins_and_counts_every_socket(batches):
    timeline = Timeline()
    for starts in batches:
        records = np.tile(builders.created(), len(starts))
        records["start_ns"] = starts
        timeline.batch(Batch(records, (Loss("ring_full", 2),)), builders.run())
    bins = timeline.bins()
    assert bins[-1][0] // timeline.width_us - bins[0][0] // timeline.width_us < MOST_BINS
    assert sum(one.asked for _, one in bins) == sum(map(len, batches))
    assert sum(one.lost for _, one in bins) == 2 * len(batches)


def test_a_timeline_puts_each_socket_where_it_was():
    timeline = Timeline()
    records = np.tile(builders.created(), 4)
    records["start_ns"] = np.array([0, 1, 1, 100]) * 10**9
    records["calls"]["result"][3, 0] = -1
    timeline.batch(Batch(records), builders.run())
    offset = builders.run().clock_offset_ns // 1000
    assert timeline.width_us == 10**6
    assert [(at - offset, one.asked, one.failed) for at, one in timeline.bins()] == [
        (0, 1, 0), (10**6, 2, 0), (10**8, 1, 1),
    ]  # fmt: skip


def test_self_times_of_a_batch_are_those_of_its_traces():
    source = ModelSource(BUILT_IN_PROFILES["6.1"], EVERY_PATH)
    for batch in source.batches():
        own = self_time.self_times(batch.calls).tolist()
        for start, trace in zip(batch.calls.starts.tolist(), call_traces(batch, source.run), strict=True):
            assert self_times(trace.calls) == own[start : start + len(trace.calls)]
            assert sum(self_times(trace.calls)) == trace.duration_ns


def test_siblings_longer_than_their_parent_make_no_negative_time():
    calls = [builders.call(builders.CREATE, 0, 0, 2**63)]
    calls += [builders.call(builders.SK_ALLOC, 1, 0, 2**63, pointer=True)] * 3
    records = builders.record(calls)
    durations = records["calls"]["duration_ns"][0, :4] >> np.uint64(1)
    assert self_time.without_children(records["calls"]["depth"][0, :4], durations.astype(np.int64))[0] == 0
    (trace,) = call_traces(Batch(records), builders.run())
    assert self_times(trace.calls)[0] == 0
    stages = Stages()
    stages.batch(Batch(records), builders.run())
    assert stages.latencies()["sk_alloc"].max_ns == 3 * 2**58


def test_stages_leave_out_incomplete_creations():
    stages = Stages()
    stages.batch(Batch(builders.every_kind()), builders.run())
    found = stages.latencies()
    assert found["__request_module"].calls == 2
    assert found["inet_create"].sum_ns == sum(
        self_times(trace.calls)[place]
        for trace in call_traces(Batch(builders.every_kind()), builders.run())
        if trace.incomplete is None
        for place, call in enumerate(trace.calls)
        if call.function == "inet_create"
    )


def test_stages_count_no_incomplete_trace():
    stages = Stages()
    stages.batch(Batch(builders.created(flags=RECORD_TRUNCATED)), builders.run())
    stages.batch(Batch(builders.created(flags=RECORD_BARE)), builders.run())
    assert stages.latencies() == {}


@given(st.lists(st.lists(st.integers(0, 50), max_size=12), max_size=6), st.integers(0, 6))
def test_the_slowest_are_the_slowest(batches, most):
    slowest = Slowest(most)
    for durations in batches:
        records = np.tile(builders.created(), len(durations))
        records["calls"]["duration_ns"][:, 0] = np.array(durations, np.uint64) + 10_000
        slowest.batch(Batch(records), builders.run())
    every = sorted((value + 10_000 for durations in batches for value in durations), reverse=True)
    assert [trace.duration_ns for trace in slowest.traces()] == every[:most]


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=200), st.integers(1, 1000))
def test_quantiles_are_the_nearest_rank_to_a_64th(values, per_mille):
    histograms = loglinear.LogLinear()
    histograms.add(np.zeros(len(values), np.int64), np.array(values, np.uint64))
    times = Distribution.of([histograms.buckets(0)], [histograms.latency(0)])
    exact = sorted(values)[-(-len(values) * per_mille // 1000) - 1]
    assert abs(times.quantile(per_mille) - exact) <= exact / 64
    assert min(values) <= times.quantile(per_mille) <= max(values)
    assert sum(share for *_, share in times.bins()) == pytest.approx(1)
    assert all(_number(value) == loglinear.bucket(np.array([value], np.uint64))[0] for value in values[:5])
    assert all(any(low <= value < high for low, high, _ in times.bins()) for value in values[:5])


def test_the_largest_of_a_thousand_is_only_the_last_quantile():
    times = Distribution(((1, 1, 999), (2, 2, 1)), 1, 2)
    assert [times.quantile(per_mille) for per_mille in (1, 999, 1000)] == [1, 1, 2]


def test_causes_count_every_socket_and_keep_few():
    found = Causes(3)
    records = np.tile(builders.every_kind(), 5)
    records["seq"] = np.arange(len(records))
    for start in range(0, len(records), 7):
        found.batch(Batch(records[start : start + 7]), builders.run())
    causes, rest = found.found()
    assert rest == 0
    assert {(cause.outcome, one.count) for cause, one in causes.items()} == {
        ("EPERM", 5), ("EPROTONOSUPPORT", 5), ("ENOMEM", 5), ("unknown", 5),
    }  # fmt: skip
    assert all(len(one.examples) == 3 for one in causes.values())
    assert found.verdicts == Counter({"as_predicted": 45, "unmodelled": 10, "incomplete": 5})
    assert found.bare == 10


def test_crafted_causes_are_bounded(monkeypatch):
    monkeypatch.setattr(causes_module, "MOST_CAUSES", 50)
    found = Causes(3)
    for first in range(0, 3000, 100):
        records = np.tile(builders.record([builders.call(builders.CREATE, 0, 0, 5000, -71)]), 100)
        records["protocol"] = np.arange(first, first + 100)
        found.batch(Batch(records), builders.run())
    causes, rest = found.found()
    assert len(causes) <= 50
    assert len(found._kept) <= 200
    assert sum(one.count for one in causes.values()) + rest == 3000


def test_commands_without_room_are_counted_as_others(monkeypatch):
    monkeypatch.setattr(causes_module, "MOST_ASKERS", 8)
    found = Causes(1)
    records = np.tile(builders.record([builders.call(builders.CREATE, 0, 0, 5000, -1)], kind=3, protocol=1), 60)
    records["comm"] = [b"many"] * 31 + [b"c%d" % number for number in range(29)]
    for start in range(0, 60, 20):
        found.batch(Batch(records[start : start + 20]), builders.run())
    ((one,), rest) = list(found.found()[0].values()), found.found()[1]
    assert (one.count, rest) == (60, 0)
    assert one.comms.total() == 60
    assert one.comms["many"] == 31
    assert one.comms[OTHER] >= 20


def test_a_table_shows_few_and_sums_up_the_others(tmp_path):
    records = np.tile(builders.created(prot=b"TCP"), 100)
    records["comm"] = [b"busy"] * 50 + [b"c%d" % number for number in range(50)]
    records[99:] = builders.record([builders.call(builders.CREATE, 0, 0, 5, -1)], kind=3, protocol=1, comm=b"refused")
    found = listings.comms(gathered(recorded.write(tmp_path / "r.arrows", records)))
    assert found.rows[0].name == "busy"
    assert "refused" in [row.name for row in found.rows]
    assert len(found.rows) == listings.ROWS
    assert found.more == 51 - listings.ROWS
    assert found.rest.sockets == 51 - listings.ROWS


def test_the_accounting_is_that_of_the_recording(every):
    assert listings.books(gathered(every).recordings) == [
        ("calls", [12]), ("complete", [11]), ("incomplete: return_missed", [1]),
    ]  # fmt: skip


def test_the_accounting_of_a_cut_recording_adds_up(tmp_path):
    run = builders.run()
    path = tmp_path / "r.arrows"
    sink = RecordingWriter(OutputFile.create(path), run)
    for losses in ((), (Loss("ring_full", 7),)):
        sink.batch(Batch(builders.every_kind(), losses), run)
    sink.cut_short()
    (recording,) = gathered(path, filters=build({}, failed=True)).recordings
    assert "is cut short after 24 sockets" in recording.damage
    assert recording.accounting == Accounting(
        entries=31, complete=6, incomplete={"return_missed": 2}, lost={"ring_full": 7}, filtered=16
    )
    assert recording.accounting.unaccounted() == 0


def test_bars_show_when_their_calls_ran(every):
    (recording,) = gathered(every).recordings
    (trace,) = (one for one in recording.slowest.traces() if one.prot == "SCTP")
    one = bars.shown(trace, recording)
    assert [(bar.left, bar.width, bar.own_ns, bar.result) for bar in one.bars] == [
        (0.0, 100.0, 49_996_000, "0"),
        (0.0, 40.0, 200_000_000, "256, not found"),
        (40.02, 50.0, 250_000_000, "0, found"),
        (92.0, 0.0, 2000, "valid"),
        (92.0, 0.0, 2000, "valid"),
    ]


def test_a_bar_with_an_unseen_end_extends_to_the_end(every):
    (recording,) = gathered(every).recordings
    found, _ = in_short.together([recording])
    ((trace, _),) = next(one.examples for cause, one in found.items() if cause.outcome == "unknown")
    outer, inner = bars.shown(trace, recording).bars
    assert (outer.left, outer.width, outer.result) == (0, 100, "return not seen")
    assert (inner.left, inner.width) == (20, 80)


def test_stages_are_described(every):
    text = "".join(Elements(rendered(every)).text)
    assert "modprobe is started, looks for the alias and loads the module" in text


def test_several_files_are_one_page(tmp_path):
    one, other = recorded.every_kind(tmp_path / "one.arrows"), recorded.timed(tmp_path / "two.arrows", failing=4)
    both = gathered(one, other)
    assert both.stats.view().sockets == 10 + 400
    found, _ = in_short.together(both.recordings)
    by_outcome = {cause.outcome: together for cause, together in found.items()}
    assert by_outcome["EPERM"].count == 5
    assert [recording.name for _, recording in by_outcome["EPERM"].examples] == [str(one), str(other), str(other)]
    text = "".join(Elements(page.render(both, None, None, slowest=5)).text)
    assert str(one) in text
    assert str(other) in text


def test_the_page_shows_its_filters(every):
    only = build({"errno": ["EPERM"]})
    found = gathered(every, filters=only)
    assert found.stats.view().failed == 1
    text = "".join(Elements(page.render(found, None, None, slowest=5, filters=only.describe())).text)
    assert "errno=1" in text
    assert "10 sockets filtered out" in text
