"""The sampled stream: verdicts, exemplars, the log, and the records of a recording that it would have had."""

import io
import json
import threading

import numpy as np
import pytest

from inetprobe.commands.serve.stream import (
    DurationKey,
    StreamCounts,
    StreamSelector,
    TraceExample,
    VerdictStream,
    needs_explaining,
)
from inetprobe.record.accounting import Accounting
from inetprobe.record.batch import Batch, Loss
from inetprobe.record.filter import Filters
from inetprobe.record.layout import RECORD_ENTRY_MISSED
from inetprobe.stats.snapshot import OutcomeKey
from inetprobe.trace import verdict
from inetprobe.trace.call_trace import call_traces
from inetprobe.trace.output import Style, open_format
from inetprobe.trace.pump import pump
from tests.support import builders
from tests.support.once import Once

BOUNDS = (1_000, 10_000, 1_000_000)
KINDS = builders.every_kind()
OFFSET = builders.run().clock_offset_ns


def refuse(line):
    pytest.fail(line)


def test_verdicts_are_those_of_each_trace():
    stream = VerdictStream(BOUNDS, None, refuse)
    for _ in range(3):
        stream.batch(Batch(np.tile(KINDS, 2)), builders.run())
    expected = {}
    for trace in call_traces(Batch(KINDS), builders.run()):
        word = verdict.judge(trace, builders.run().profile).verdict
        expected[word] = expected.get(word, 0) + 6
    assert stream.counts().verdicts == expected
    assert set(expected) >= {"as_predicted", "incomplete", "unmodelled"}


def test_the_newest_creation_is_the_example_of_its_bucket_and_failure():
    stream = VerdictStream(BOUNDS, None, refuse)
    old = builders.record([builders.call(builders.CREATE, 0, 0, 10_000, -93)], seq=7, start=10**9)
    new = builders.record([builders.call(builders.CREATE, 0, 0, 10_000, -93)], seq=8, start=2 * 10**9)
    slow = builders.created(seq=9, start=3 * 10**9)
    slow["calls"]["duration_ns"][0, 0] = 1_000_001
    stream.batch(Batch(np.concatenate([old, new, slow])), builders.run())
    newest = TraceExample("1-8", OFFSET + 2 * 10**9 + 10_000, 10_000)
    assert stream.counts() == StreamCounts(
        verdicts=stream.counts().verdicts,
        durations={
            DurationKey(2, 1, 1): newest,
            DurationKey(2, 1, 3): TraceExample("1-9", OFFSET + 3 * 10**9 + 1_000_001, 1_000_001),
        },
        failures={OutcomeKey(2, 1, 0, 93): newest},
    )


def test_unfinished_creations_and_socks_without_create_are_not_examples():
    stream = VerdictStream(BOUNDS, None, refuse)
    stream.batch(Batch(KINDS[[8, 10, 11]]), builders.run())
    counts = stream.counts()
    assert (sum(counts.verdicts.values()), counts.durations, counts.failures) == (3, {}, {})


def test_examples_are_bounded_and_the_newest_stay():
    stream = VerdictStream(BOUNDS, None, refuse)
    records = np.tile(builders.record([builders.call(builders.CREATE, 0, 0, 5000, -93)]), 1000)
    records["protocol"] = records["type"] = np.arange(1000)
    stream.batch(Batch(records), builders.run())
    counts = stream.counts()
    assert len(counts.durations) == len(counts.failures) == 256
    assert {outcome.protocol for outcome in counts.failures} == set(range(744, 1000))


def test_malformed_records_count_as_lost():
    broken = builders.created()
    broken["calls"]["depth"][0, 1] = 7
    stream = VerdictStream(BOUNDS, None, refuse)
    pump(Once(np.concatenate([builders.created(prot=b"TCP"), broken, broken])), Filters(), [stream])
    assert (stream.counts().verdicts, stream.counts().malformed) == ({"as_predicted": 1}, 2)


def test_the_log_has_the_same_lines_as_format_json():
    out, expected = io.StringIO(), io.StringIO()
    stream = VerdictStream(BOUNDS, open_format("json", out, Style()), refuse)
    batch = Batch(KINDS, (Loss("ring_full", 3),))
    for sink in (stream, open_format("json", expected, Style())):
        sink.batch(batch, builders.run())
        sink.summary(Accounting())
    assert out.getvalue() == expected.getvalue()
    kinds = [json.loads(line)["kind"] for line in out.getvalue().splitlines()]
    assert kinds == ["lost", *["trace"] * 12, "summary"]


class BrokenLog:
    """A log that cannot be written: a pipe without a reader, or a full disk."""

    def __init__(self, error):
        self.error = error

    def batch(self, batch, run):
        raise self.error

    def summary(self, accounting):
        pytest.fail("the log was ended")


@pytest.mark.parametrize("error", [BrokenPipeError(32, "Broken pipe"), OSError(28, "No space left on device")])
def test_counting_goes_on_when_the_log_fails_and_says_so_once(error):
    said = []
    stream = VerdictStream(BOUNDS, BrokenLog(error), said.append)
    pump(Once(np.tile(KINDS, 2)), Filters(), [stream])
    stream.batch(Batch(KINDS), builders.run())
    assert sum(stream.counts().verdicts.values()) == 36
    assert said == [f"the log of failures ends here, since it cannot be written: {error.strerror}"]


def test_records_that_need_explaining_are_selected_from_a_recording():
    # EPERM, both that asked for modules, ENOMEM, the one whose return was missed.
    assert np.flatnonzero(needs_explaining(Batch(KINDS), 10**7)).tolist() == [2, 3, 4, 7, 8]
    # With a lower threshold, the slow one as well.
    assert np.flatnonzero(needs_explaining(Batch(KINDS), 90_000)).tolist() == [2, 3, 4, 5, 7, 8]
    # All creations, which the last two are not.
    assert needs_explaining(Batch(KINDS), 0).tolist() == [True] * 10 + [False] * 2
    assert np.flatnonzero(needs_explaining(Batch(KINDS), 1 << 63)).tolist() == [2, 3, 4, 7, 8]
    assert needs_explaining(Batch(builders.created(flags=RECORD_ENTRY_MISSED)), 10**7).all()
    # EPERM and EPROTONOSUPPORT, then all that failed outside a create; a success of another family never.
    calls = Batch(builders.every_syscall())
    assert np.flatnonzero(needs_explaining(calls, 10**7)).tolist() == list(range(2, 13))
    assert np.flatnonzero(~needs_explaining(calls, 0)).tolist() == [14]
    stream = VerdictStream(BOUNDS, None, refuse)
    pump(Once(KINDS), Filters(), [StreamSelector(stream, 10**7)])
    assert sum(stream.counts().verdicts.values()) == 5


def test_random_protocols_cannot_fill_the_memory():
    stream = VerdictStream(BOUNDS, open_format("json", io.StringIO(), Style()), refuse)
    records = np.tile(KINDS[4:5], 9000)
    records["protocol"] = np.arange(1000, 10_000)
    records["calls"]["module_protocol"] = records["protocol"][:, None]
    stream.batch(Batch(records), builders.run())
    assert 4000 < verdict._judged.cache_info().currsize <= 8192
    assert sum(stream.counts().verdicts.values()) == 9000


def test_counts_are_consistent_while_batches_arrive():
    stream = VerdictStream(BOUNDS, None, refuse)
    done = threading.Event()
    wrong = []

    def ask():
        while not done.is_set():
            counts = stream.counts()
            total = sum(counts.verdicts.values())
            if total % 12 or (total and not counts.failures):
                wrong.append(counts)

    asking = threading.Thread(target=ask)
    asking.start()
    for _ in range(100):
        stream.batch(Batch(KINDS), builders.run())
    done.set()
    asking.join()
    assert not wrong
    assert sum(stream.counts().verdicts.values()) == 1200
