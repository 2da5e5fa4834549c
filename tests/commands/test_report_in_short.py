"""The summary of a page, and how it writes numbers."""

from dataclasses import replace

import numpy as np
import pytest

from inetprobe.base.files import OutputFile
from inetprobe.commands.check.baseline import Baseline, compare
from inetprobe.commands.report import in_short, numbers
from inetprobe.model.profile import BUILT_IN_PROFILES, FamilyModule
from inetprobe.record.accounting import Accounting
from inetprobe.record.arrow.writer import RecordingWriter
from inetprobe.record.filter import Filters
from inetprobe.trace.pump import pump
from tests.support import builders, recorded
from tests.support.model_source import EVERY_PATH, ModelSource
from tests.support.paths import GOLDENS
from tests.support.reported import gathered, spoken


@pytest.fixture(name="every")
def every_kind(tmp_path):
    return recorded.every_kind(tmp_path / "every.arrows")


def golden(name, said, update):
    path = GOLDENS / name
    if update:
        path.write_text(said)
    assert said == path.read_text()


def test_the_summary_of_every_kind(every, update_goldens):
    golden("report-every.txt", spoken(in_short.summary(gathered(every))), update_goldens)


def test_the_summary_of_many_with_a_baseline(tmp_path, update_goldens):
    before, after = tmp_path / "before.arrows", tmp_path / "after.arrows"
    recorded.timed(before, 1.0)
    recorded.timed(after, 1.6, failing=40, seed=2)
    now, old = gathered(after, sample=True), gathered(before, sample=True)
    changes = compare(now.sample, [one.run for one in now.recordings], Baseline(old.recordings[0].run, old.sample))
    golden("report-baseline.txt", spoken(in_short.summary(now, changes)), update_goldens)


def test_the_summary_of_every_path_of_the_model(tmp_path, update_goldens):
    source = ModelSource(BUILT_IN_PROFILES["6.1"], EVERY_PATH)
    sink = RecordingWriter(OutputFile.create(tmp_path / "model.arrows"), source.run)
    pump(source, Filters(), [sink])
    golden("report-model.txt", spoken(in_short.summary(gathered(tmp_path / "model.arrows"))), update_goldens)


@pytest.mark.parametrize("result", [0, 256])
def test_a_blocked_module_is_reported_as_blocked(tmp_path, result):
    line = '"blacklist sctp" (/etc/modprobe.d/a.conf:1) stands in the way'
    profile = replace(
        BUILT_IN_PROFILES["6.1"], loadable=(), blocked={"sctp": line}, remedies={"sctp": "remove that line"}
    )
    calls = builders.autoloaded(132, -93, allocated=result == 0)[:3]
    records = builders.record(calls, protocol=132)
    run = replace(builders.run(), profile=profile)
    stopped = recorded.write(tmp_path / "stopped.arrows", records, run=run)
    said = spoken(in_short.summary(gathered(stopped)))
    assert f"note: net-pf-2-proto-132 (sctp): requested once by python3; {line}; the caller waited 250~ms." in said
    fixed = recorded.every_kind(tmp_path / "fixed.arrows")
    assert line not in spoken(in_short.summary(gathered(stopped, fixed))).partition("net-pf-2-proto-132 (sctp):")[2]


def test_a_family_s_blocked_module_is_reported_as_blocked(tmp_path):
    line = '"blacklist vsock" (/etc/modprobe.d/a.conf:1) stands in the way'
    family = builders.call(builders.REQUEST_MODULE, 0, 500, 1000, 0, module=(builders.FAMILY, 40, 0, 0))
    records = builders.in_syscall(builders.record([family], family=40), result=-97)

    def spoken_of(name, module):
        run = replace(builders.run(), profile=replace(BUILT_IN_PROFILES["6.1"], families={"net-pf-40": module}))
        return spoken(in_short.summary(gathered(recorded.write(tmp_path / name, records, run=run))))

    said = spoken_of("stopped.arrows", FamilyModule("vsock", line, "remove that line"))
    assert f"note: net-pf-40 (vsock): requested once by python3; {line}; the caller waited" in said
    assert "warn: net-pf-40 (vsock): requested once by python3; modprobe found it;" in spoken_of(
        "free.arrows", FamilyModule("vsock")
    )


def test_a_recording_without_trouble(tmp_path):
    said = spoken(in_short.summary(gathered(recorded.fine(tmp_path / "fine.arrows"))))
    assert "Nothing failed." in said
    assert "No socket requested a module." in said
    assert "Nothing was lost: 3 records" in said
    assert "bad" not in said


def test_lost_missed_and_unaccounted_sockets_are_reported(tmp_path):
    books = Accounting(
        entries=30,
        complete=3,
        lost={"ring_full": 12, "thread_died": 1},
        in_flight=2,
        probe_misses={"inet_create:entry": 5},
        program_skipped={"sk_alloc:return": 6},
    )
    records = np.tile(builders.created(prot=b"TCP"), 3)
    said = spoken(in_short.summary(gathered(recorded.write(tmp_path / "r.arrows", records, books))))
    assert "bad: 12 sockets left no trace: ring_full: the reader was slower than the sockets" in said
    assert "bad: 1 socket left no trace: thread_died" in said
    assert "bad: 5 probe hits missed: inet_create:entry" in said
    assert "warn: 6 probe hits skipped: sk_alloc:return" in said
    assert "bad: +12 sockets are unaccounted for" in said
    assert "note: 2 sockets had not returned" in said
    assert "Nothing was lost" not in said


def test_deviations_are_reported_even_if_nothing_failed(tmp_path):
    odd = builders.record([builders.call(builders.CREATE, 0, 0, 5000)], prot=b"TCP")
    said = spoken(in_short.summary(gathered(recorded.write(tmp_path / "odd.arrows", odd))))
    assert "warn: 1 × socket(AF_INET, SOCK_STREAM, IPPROTO_IP) = ok: differs from the model. Call 2: expected" in said


def test_names():
    assert in_short.names({"a": 7}) == "a"
    assert in_short.names({"a": 1, "b": 2}) == "b (2) and a (1)"
    assert in_short.names({"a": 3, "b": 2, "c": 1, "d": 1, "": 1}) == "a (3), b (2), c (1) and 2 others"
    assert in_short.names({"": 1}) == "(no name)"


@pytest.mark.parametrize(
    ("ns", "said"),
    [(None, "?"), (0, "0~ns"), (1499, "1.5~µs"), (59 * 10**9, "59.00~s"), (125 * 10**9, "2~min 5~s"),
     (3600 * 10**9, "1~h"), (90_061 * 10**9, "1~d 1~h"), (2**64, "213,503~d 23~h")],
)  # fmt: skip
def test_durations(ns, said):
    assert numbers.took(ns).replace(numbers.NBSP, "~") == said


def test_a_share_is_0_or_100_percent_only_if_exact():
    said = [
        numbers.share(*one).replace(numbers.NBSP, " ")
        for one in ((0, 0), (0, 9), (1, 10**6), (10**6 - 1, 10**6), (9, 9))
    ]
    assert said == ["0 %", "0 %", "< 0.1 %", "> 99.9 %", "100 %"]


@pytest.mark.parametrize(
    ("recorded_as", "said"),
    [
        (
            {"inet_create": "fentry", "sk_alloc": "fentry", "__request_module": "kprobe"},
            "fentry; kprobe: __request_module",
        ),
        ({"inet_create": "kprobe", "sk_alloc": "kprobe"}, "kprobe"),
        ({}, ""),
    ],
)
def test_how_probes_were_attached_in_short(recorded_as, said):
    assert numbers.mechanisms(recorded_as) == said
