"""``report``: what is kept of recordings, in what bounds, what is said of it, and that a page is only what we wrote."""

import base64
import contextlib
import hashlib
import html.parser
import io
import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inetprobe import loglinear
from inetprobe.check.baseline import Baseline, compare
from inetprobe.cli import main
from inetprobe.filters import Filters, build
from inetprobe.model.profile import BUILT_IN_PROFILES
from inetprobe.pipeline import pump
from inetprobe.record import Batch, Loss
from inetprobe.report import causes as causes_module
from inetprobe.report import page, units, words
from inetprobe.report.causes import Causes
from inetprobe.report.distribution import Distribution, _number
from inetprobe.report.gather import Wanted, gather
from inetprobe.report.slowest import Slowest
from inetprobe.report.stages import Stages, own_of, own_times
from inetprobe.report.timeline import MOST_BINS, Timeline
from inetprobe.run import Accounting
from inetprobe.sinks import OutputFile
from inetprobe.sinks.recording import RecordingSink
from inetprobe.sources.model import EVERY_PATH, ModelSource
from inetprobe.trace import call_traces

from . import builders, mixed, recorded

GOLDENS = Path(__file__).parent / "goldens"
VENDOR = Path(page.__file__).parent / "vendor"
HOSTILE = "</script><script>alert(1)</script>\u2028\u202e<img src=x onerror=alert(2)>\x1b[31m'\"&{{7*7}}"


def run(*argv):
    """What the command would do as a process, without starting one."""
    out, err = io.TextIOWrapper(io.BytesIO(), encoding="utf-8"), io.StringIO()
    with (
        mock.patch("sys.argv", ["inetprobe", "report", *map(str, argv)]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        pytest.raises(SystemExit) as left,
    ):
        main()
    out.flush()
    return SimpleNamespace(
        returncode=left.value.code or 0, stdout=out.buffer.getvalue().decode(), stderr=err.getvalue()
    )


def gathered(*paths, filters=None, **wanted):
    return gather(list(paths), Wanted(filters or Filters(), **wanted))


def rendered(*paths, **wanted):
    return page.render(gathered(*paths, **wanted), None, None, slowest=20)


def spoken(chapters):
    lines = []
    for chapter in chapters:
        lines += [
            f"# {chapter.title}",
            *(f"{said.mark}: {said.head} {said.text}".rstrip() for said in chapter.said),
            "",
        ]
    return "\n".join(lines).replace(units.NBSP, "~")


class Elements(html.parser.HTMLParser):
    """Which elements a page has, with the attributes that could run or load something, and all its text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.risky, self.text, self.scripts, self._inside = Counter(), [], [], [], None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags[tag] += 1
        self._inside = tag
        self.risky += [
            (tag, name, value)
            for name, value in attrs
            if name.startswith("on") or name in ("src", "srcdoc", "action") or (name == "href" and value[:1] != "#")
        ]
        if tag == "script":
            self.scripts.append([dict(attrs), ""])

    def handle_endtag(self, tag):
        self._inside = None

    def handle_data(self, data):
        if self._inside == "script":
            self.scripts[-1][1] += data
        else:
            self.text.append(data)


# What is said.


@pytest.fixture(name="every")
def every_kind(tmp_path):
    return recorded.every_kind(tmp_path / "every.arrows")


def golden(name, said, update):
    path = GOLDENS / name
    if update:
        path.write_text(said)
    assert said == path.read_text()


def test_the_summary_of_every_kind(every, update_goldens):
    golden("report-every.txt", spoken(words.summary(gathered(every))), update_goldens)


def test_the_summary_of_many_beside_a_baseline(tmp_path, update_goldens):
    before, after = tmp_path / "before.arrows", tmp_path / "after.arrows"
    recorded.timed(before, 1.0)
    recorded.timed(after, 1.6, failing=40, seed=2)
    now, old = gathered(after, sample=True), gathered(before, sample=True)
    changes = compare(now.sample, now.recordings[0].run, Baseline(old.recordings[0].run, old.sample))
    golden("report-baseline.txt", spoken(words.summary(now, changes)), update_goldens)


def test_the_summary_of_every_way_that_the_model_knows(tmp_path, update_goldens):
    source = ModelSource(BUILT_IN_PROFILES["6.1"], EVERY_PATH)
    sink = RecordingSink(OutputFile.create(tmp_path / "model.arrows"), source.run)
    pump(source, Filters(), [sink])
    golden("report-model.txt", spoken(words.summary(gathered(tmp_path / "model.arrows"))), update_goldens)


def test_a_quiet_recording_is_told_to_be_quiet(tmp_path):
    said = spoken(words.summary(gathered(recorded.fine(tmp_path / "fine.arrows"))))
    assert "Nothing failed." in said
    assert "No socket asked for a module." in said
    assert "Nothing was lost: 3 records" in said
    assert "bad" not in said


def test_what_is_lost_missed_and_unaccounted_for_is_said(tmp_path):
    books = Accounting(
        entries=30,
        complete=3,
        lost={"ring_full": 12, "thread_died": 1},
        in_flight=2,
        probe_misses={"inet_create:entry": 5},
        program_skipped={"sk_alloc:return": 6},
    )
    records = np.tile(builders.created(prot=b"TCP"), 3)
    said = spoken(words.summary(gathered(recorded.write(tmp_path / "r.arrows", records, books))))
    assert "bad: 12 sockets left no trace: ring_full: the reader was slower than the sockets" in said
    assert "bad: 1 socket left no trace: thread_died" in said
    assert "bad: 5 probe hits missed: inet_create:entry" in said
    assert "warn: 6 probe hits skipped: sk_alloc:return" in said
    assert "bad: +12 sockets are unaccounted for" in said
    assert "note: 2 sockets had not returned" in said
    assert "Nothing was lost" not in said


def test_deviations_are_said_though_nothing_failed(tmp_path):
    odd = builders.record([builders.call(builders.CREATE, 0, 0, 5000)], prot=b"TCP")
    said = spoken(words.summary(gathered(recorded.write(tmp_path / "odd.arrows", odd))))
    assert (
        "warn: 1 × socket(AF_INET, SOCK_STREAM, IPPROTO_IP) = ok: not as the model predicts. Call 2: expected" in said
    )


def test_names():
    assert words.names({"a": 7}) == "a"
    assert words.names({"a": 1, "b": 2}) == "b (2) and a (1)"
    assert words.names({"a": 3, "b": 2, "c": 1, "d": 1, "": 1}) == "a (3), b (2), c (1) and 2 others"
    assert words.names({"": 1}) == "(no name)"


@pytest.mark.parametrize(
    ("ns", "said"),
    [(None, "?"), (0, "0~ns"), (1499, "1.5~µs"), (59 * 10**9, "59.00~s"), (125 * 10**9, "2~min 5~s"),
     (3600 * 10**9, "1~h"), (90_061 * 10**9, "1~d 1~h"), (2**64, "213,503~d 23~h")],
)  # fmt: skip
def test_durations(ns, said):
    assert units.took(ns).replace(units.NBSP, "~") == said


def test_shares_never_say_none_of_some_nor_all_of_most():
    said = [
        units.share(*one).replace(units.NBSP, " ") for one in ((0, 0), (0, 9), (1, 10**6), (10**6 - 1, 10**6), (9, 9))
    ]
    assert said == ["0 %", "0 %", "< 0.1 %", "> 99.9 %", "100 %"]


# What is kept, and in what bounds.


@given(st.lists(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=20), min_size=1, max_size=8))
def test_a_timeline_has_few_bins_and_forgets_no_socket(batches):
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


def test_own_times_are_one_and_the_same_in_both_ways():
    source = ModelSource(BUILT_IN_PROFILES["6.1"], EVERY_PATH)
    for batch in source.batches():
        own = own_times(batch.records)
        for place, trace in enumerate(call_traces(batch, source.run)):
            assert own_of(trace.calls) == own[place, : len(trace.calls)].tolist()
            assert sum(own_of(trace.calls)) == trace.duration_ns


def test_calls_side_by_side_that_take_more_than_all_make_no_negative_time():
    calls = [builders.call(builders.CREATE, 0, 0, 2**63)]
    calls += [builders.call(builders.SK_ALLOC, 1, 0, 2**63, pointer=True)] * 3
    records = builders.record(calls)
    assert own_times(records)[0, 0] == 0
    (trace,) = call_traces(Batch(records), builders.run())
    assert own_of(trace.calls)[0] == 0
    stages = Stages()
    stages.batch(Batch(records), builders.run())
    assert stages.latencies()["sk_alloc"].max_ns == 3 * 2**58


def test_stages_leave_out_what_was_not_seen_whole():
    stages = Stages()
    stages.batch(Batch(builders.every_kind()), builders.run())
    found = stages.latencies()
    assert found["__request_module"].calls == 2
    assert found["inet_create"].sum_ns == sum(
        own_of(trace.calls)[place]
        for trace in call_traces(Batch(builders.every_kind()), builders.run())
        if trace.incomplete is None
        for place, call in enumerate(trace.calls)
        if call.function == "inet_create"
    )


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
    histograms = loglinear.Histograms()
    histograms.add(np.zeros(len(values), np.int64), np.array(values, np.uint64))
    times = Distribution.of([histograms.buckets(0)], [histograms.latency(0)])
    exact = sorted(values)[-(-len(values) * per_mille // 1000) - 1]
    assert abs(times.quantile(per_mille) - exact) <= exact / 64
    assert min(values) <= times.quantile(per_mille) <= max(values)
    assert sum(share for *_, share in times.bins()) == pytest.approx(1)
    assert all(_number(value) == loglinear.bucket(np.array([value], np.uint64))[0] for value in values[:5])
    assert all(any(low <= value < high for low, high, _ in times.bins()) for value in values[:5])


def test_causes_count_every_socket_and_keep_few():
    found = Causes(3)
    records = np.tile(builders.every_kind(), 5)
    records["seq"] = np.arange(len(records))
    for start in range(0, len(records), 7):
        found.batch(Batch(records[start : start + 7]), builders.run())
    causes, rest = found.found()
    assert rest == 0
    assert {(cause.outcome, one.count) for cause, one in causes.items()} == {
        ("EPERM", 5), ("EPROTONOSUPPORT", 5), ("ENOMEM", 5), ("?", 5),
    }  # fmt: skip
    assert all(len(one.examples) == 3 for one in causes.values())
    assert found.verdicts == Counter({"ok": 45, "unmodelled": 10, "incomplete": 5})
    assert found.bare == 10


def test_causes_that_a_stranger_makes_up_are_bounded(monkeypatch):
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


def test_several_files_are_one_page(tmp_path):
    one, other = recorded.every_kind(tmp_path / "one.arrows"), recorded.timed(tmp_path / "two.arrows", failing=4)
    both = gathered(one, other)
    assert both.stats.view().sockets == 10 + 400
    found, _ = words.together(both.recordings)
    by_outcome = {cause.outcome: together for cause, together in found.items()}
    assert by_outcome["EPERM"].count == 5
    assert [recording.name for _, recording in by_outcome["EPERM"].examples] == [str(one), str(other), str(other)]
    text = "".join(Elements(page.render(both, None, None, slowest=5)).text)
    assert str(one) in text
    assert str(other) in text


def test_filters_are_a_part_of_the_page(every):
    only = build({"errno": ["EPERM"]})
    found = gathered(every, filters=only)
    assert found.stats.view().failed == 1
    text = "".join(Elements(page.render(found, None, None, slowest=5, filters=only.describe())).text)
    assert "errno=1" in text
    assert "10 sockets filtered out" in text


# The page is only what we wrote.


def test_nothing_in_a_page_loads_or_runs_but_its_own_scripts(every):
    text = rendered(every)
    found = Elements(text)
    assert found.risky == []
    assert found.tags["script"] == 4
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)[1].replace("&#39;", "'")
    assert "default-src 'none'" in policy
    data, *scripts = found.scripts
    assert data[0]["type"] == "application/json"
    allowed = re.findall(r"'sha256-([^']*)'", policy)
    assert allowed == [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for _, text in scripts]
    assert json.loads(data[1])["timeline"]["bins"]


@pytest.fixture(scope="module", name="plain")
def plain_page(tmp_path_factory):
    return Elements(rendered(hostile(tmp_path_factory.mktemp("plain") / "r.arrows", b"plain", "/plain", b"TCP")))


def hostile(path, comm, cgroup, prot, host="host"):
    records = np.concatenate([builders.every_kind(), builders.created(seq=20, prot=prot)])
    records["comm"] = comm
    records["prot"][records["prot"] != b""] = prot
    run = builders.run()
    run.cgroups, run.host = {1: cgroup}, host
    books = Accounting(entries=13, complete=12, incomplete={"return_missed": 1})
    return recorded.write(path, records, books, run)


@settings(max_examples=20)
@given(
    st.one_of(st.binary(min_size=1, max_size=15), st.just(b"</script><b>")),
    st.one_of(st.text(max_size=60), st.just(HOSTILE)).map(lambda text: text.encode("utf-8", "replace").decode()),
    st.one_of(st.binary(min_size=1, max_size=31), st.just(b"<svg onload=alert(1)>")),
)
def test_what_strangers_named_is_never_markup(tmp_path_factory, plain, comm, cgroup, prot):
    text = rendered(hostile(tmp_path_factory.mktemp("hostile") / "r.arrows", comm, cgroup, prot, host=cgroup))
    found = Elements(text)
    assert found.risky == []
    assert found.tags["script"] == 4
    assert found.tags.keys() <= plain.tags.keys() | {"small"}
    assert not re.search("[\u2028\u202a-\u202e\u2066-\u2069\x1b\x00]", text)


def test_hostile_names_are_there_to_be_read(tmp_path):
    path = hostile(tmp_path / "r.arrows", b"<b>&\x1b[1m", HOSTILE, b"<i>TCP")
    text = "".join(Elements(rendered(path)).text)
    assert "<b>&\\x1b[1m" in text
    assert "</script><script>alert(1)</script>\\u2028\\u202e<img" in text
    assert "{{7*7}}" in text


def test_the_libraries_are_those_that_were_looked_at():
    named = dict(re.findall(r"^([0-9a-f]{64})  (\S+)$", (VENDOR / "SHA256SUMS").read_text(), re.MULTILINE))
    assert {name: digest for digest, name in named.items()} == {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in VENDOR.iterdir() if path.suffix == ".js"
    }


# The command.


def test_a_page_is_written_and_said(every, tmp_path):
    done = run(every, "-o", tmp_path / "r.html")
    assert done.returncode == 0
    assert done.stdout == ""
    assert done.stderr.startswith(f"inetprobe: {tmp_path}/r.html: 10 sockets, 0.")
    assert (tmp_path / "r.html").read_text().startswith("<!doctype html>")


def test_without_an_output_the_page_goes_to_stdout(every):
    done = run(every)
    assert done.returncode == 0
    assert done.stdout.rstrip().endswith("</html>")
    assert done.stderr == ""


def test_a_page_is_not_for_a_terminal(every):
    leader, follower = os.openpty()
    try:
        done = subprocess.run(
            [sys.executable, "-m", "inetprobe", "report", every], stdout=follower, stderr=subprocess.PIPE, check=False
        )
    finally:
        os.close(leader)
        os.close(follower)
    assert done.returncode == 2
    assert b"give -o report.html" in done.stderr


def test_a_recording_that_is_cut_short_is_shown_as_far_as_it_goes(every, tmp_path):
    mixed.make(tmp_path / "whole.arrows", 12_000, rows=4096)
    data = (tmp_path / "whole.arrows").read_bytes()
    short = tmp_path / "short.arrows"
    short.write_bytes(data[: len(data) // 2])
    done = run(short, "-o", tmp_path / "r.html")
    assert done.returncode == 4
    assert done.stderr.count("\n") == 1
    assert "is cut short after 4,096 sockets" in done.stderr
    text = "".join(Elements((tmp_path / "r.html").read_text()).text)
    assert "Not whole." in text
    assert "is cut short after 4,096 sockets" in text
    assert "Nothing was lost" not in text


@pytest.mark.parametrize("content", [b"", b"no recording", None])
def test_what_is_no_recording_makes_no_page(tmp_path, content):
    path = tmp_path / "bad.arrows"
    if content is not None:
        path.write_bytes(content)
    done = run(path, "-o", tmp_path / "r.html")
    assert done.returncode == 4
    assert done.stderr.count("\n") == 1
    assert str(path) in done.stderr
    assert not (tmp_path / "r.html").exists()


def test_nothing_to_report_is_said(every, tmp_path):
    done = run(every, "--comm", "nobody", "-o", tmp_path / "r.html")
    assert done.returncode == 4
    assert "no socket that passes the filters: there is nothing to report" in done.stderr
    assert not (tmp_path / "r.html").exists()


def test_where_a_page_cannot_be_written(every, tmp_path):
    for place, why in ((tmp_path, "it is a folder"), (tmp_path / "no" / "r.html", "there is no folder")):
        done = run(every, "-o", place)
        assert done.returncode == 125
        assert why in done.stderr
        assert done.stderr.count("\n") == 1
    done = run(every, "-o", "/dev/full")
    assert done.returncode == 125
    assert "/dev/full cannot be written: No space left on device" in done.stderr
    assert "-o names a file that is read" in run(every, "-o", every).stderr


def test_a_baseline_is_shown_beside(tmp_path):
    before, after = recorded.timed(tmp_path / "a.arrows", 1.0), recorded.timed(tmp_path / "b.arrows", 2.0, seed=3)
    done = run(after, "--baseline", before, "-o", tmp_path / "r.html")
    assert done.returncode == 0
    found = Elements((tmp_path / "r.html").read_text())
    text = "".join(found.text)
    assert "What changed since the baseline" in text
    assert "slower ×" in text
    charts = json.loads(found.scripts[0][1])
    assert charts["timeline-before"]["bins"]
    assert charts["function-0"]["before"]


def test_a_report_imports_no_bcc_and_no_other_command_the_page(every, tmp_path):
    program = "import sys; sys.argv = ['inetprobe', *sys.argv[2:]]\nfrom inetprobe.cli import main\n" \
        "try: main()\nexcept SystemExit as e: assert not e.code, e.code\n" \
        "found = {'bcc', 'jinja2'} & sys.modules.keys()\nassert str(sorted(found)) == WANTED, found"  # fmt: skip
    for wanted, argv in ((["jinja2"], ["report", every, "-o", tmp_path / "r"]), ([], ["replay", every])):
        code = program.replace("WANTED", repr(str(wanted)))
        done = subprocess.run([sys.executable, "-c", code, "-", *argv], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
