"""``check`` as a command: exit statuses, formats, and the comparison with a baseline."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from xml.etree import ElementTree as ET

import junitparser
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inetprobe.commands.check.budget import Budget, Quantile, load
from inetprobe.commands.check.examine import Plan, examine
from inetprobe.commands.check.formats import github, junit
from inetprobe.commands.check.formats import json as report_json
from inetprobe.commands.check.formats import text as report_text
from inetprobe.commands.check.judged import EXAMPLES, Judged
from inetprobe.commands.check.result import Case, CheckResult, FileResult
from inetprobe.record.accounting import Accounting
from inetprobe.record.batch import Batch
from inetprobe.trace.call_trace import call_traces
from inetprobe.trace.output import Style
from inetprobe.trace.verdict import judge
from tests.support import builders, recorded, run_command
from tests.support.paths import GOLDENS

BUDGET = """
[[budget]]
name = "no failures"
max_failures = 0

[[budget]]
name = "quick, by p99: of inet_create"
p99 = { function = "inet_create", at_most = "50us" }
"""
FORMATS = {"text": report_text, "json": report_json, "junit": junit, "github": github}


run = partial(run_command.run, "check")


def cases(path, **plan):
    (one,) = examine([path], Plan(**plan)).files
    return {f"{case.group} {case.name}": case for case in one.cases}


@pytest.fixture(name="budget")
def _budget(tmp_path):
    path = tmp_path / "budget.toml"
    path.write_text(BUDGET)
    return path


def test_a_sound_recording_passes(tmp_path):
    command = [sys.executable, "-m", "inetprobe", "check", recorded.fine(tmp_path / "r.arrows")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "created 3" in done.stdout
    assert done.stderr == "inetprobe: 1 recording checked: 1 passed\n"


def test_a_deviation_fails_the_check(tmp_path):
    done = run(recorded.deviating(tmp_path / "r.arrows"))
    assert done.returncode == 1
    assert "1-9 socket(AF_INET, SOCK_STREAM, IPPROTO_IP) = -1 EPROTO: call 2:" in done.stdout


@pytest.mark.parametrize(
    ("named", "status"),
    [("", 0), ("deviation", 0), ("incomplete", 1), ("unmodelled", 1), ("deviation,incomplete", 1), ("lost", 0)],
)
def test_fail_on_names_what_fails_the_check(tmp_path, named, status):
    assert run(recorded.every_kind(tmp_path / "r.arrows"), "--fail-on", named).returncode == status


def test_an_unknown_name_gets_a_suggestion(tmp_path):
    done = run("r.arrows", "--fail-on", "deviations")
    assert (done.returncode, done.stderr) == (
        2,
        "inetprobe: --fail-on: unknown 'deviations': did you mean deviation?\n",
    )


def test_a_recording_that_cannot_be_judged_is_status_4(tmp_path):
    whole = recorded.every_kind(tmp_path / "whole.arrows").read_bytes()
    cut, damaged = tmp_path / "cut.arrows", tmp_path / "damaged.arrows"
    cut.write_bytes(whole[:-600])
    damaged.write_bytes(whole.replace(b'"0": "inet_create', b'"0": "inet_CREATE', 1))
    foreign = tmp_path / "foreign.arrows"
    foreign.write_bytes(b"hello")
    empty = recorded.write(tmp_path / "empty.arrows", np.zeros(0, builders.RECORD))
    lossy = recorded.write(
        tmp_path / "lossy.arrows",
        builders.created(prot=b"TCP"),
        Accounting(entries=3, complete=1, lost={"ring_full": 2}),
    )
    skipped = recorded.write(
        tmp_path / "skipped.arrows",
        builders.created(prot=b"TCP"),
        Accounting(entries=1, complete=1, program_skipped={"inet_create:entry": 5, "sk_alloc:entry": 7}),
    )
    short = recorded.write(tmp_path / "short.arrows", builders.created(prot=b"TCP"), Accounting(entries=3, complete=3))
    odd = recorded.write(tmp_path / "odd.arrows", builders.created(prot=b"TCP"), Accounting(entries=3, complete=1))
    bare = recorded.write(tmp_path / "bare.arrows", builders.every_kind()[10:])
    told = {
        cut: "is cut short after",
        damaged: "damaged",
        foreign: "is not a recording",
        tmp_path / "none": "cannot be read: ",
        empty: "is empty: no socket was recorded",
        lossy: "is lossy (ring_full 2)",
        skipped: "is lossy (probe skipped 5)",
        short: "is damaged: it has 1 socket, and its accounting says 3",
        odd: "its accounting does not add up, by +2 sockets",
        bare: "has no trace that the model can judge: inet_create did not make this sock",
    }
    for path, says in told.items():
        done = run(path)
        assert done.returncode == 4, path
        assert says in done.stderr, path
        assert "Traceback" not in done.stderr
        assert "NOT JUDGED" in done.stdout


def test_lossy_is_4_even_if_lost_is_a_failure(tmp_path):
    books = Accounting(entries=3, complete=1, lost={"ring_full": 2})
    lossy = recorded.write(tmp_path / "r.arrows", builders.created(prot=b"TCP"), books)
    assert run(lossy, "--fail-on", "lost").returncode == 4
    assert cases(lossy, fail_on=frozenset({"lost"}))["model lost"].message == "2 sockets without a trace"


def test_checks_of_a_lossy_recording_can_fail_but_not_pass(tmp_path):
    books = Accounting(entries=3, complete=2, lost={"ring_full": 1})
    path = recorded.deviating(tmp_path / "whole.arrows")
    lossy = recorded.write(tmp_path / "r.arrows", np.tile(builders.created(prot=b"TCP"), 2), books)
    assert cases(lossy)["model deviation"].status == "skipped"
    assert cases(path)["model deviation"].status == "failed"


def test_a_name_that_is_not_utf_8(tmp_path):
    path = tmp_path / os.fsdecode(b"b\xff\x1b[31m.arrows")
    recorded.fine(path)
    done = run(path, "--format", "github", "--min-sockets", 4)
    assert done.returncode == 4
    assert r"b\xff\x1b[31m.arrows has only 3 sockets" in done.stdout
    path.unlink()
    assert "cannot be read" in run(path).stderr


def test_too_few_sockets(tmp_path):
    path = recorded.fine(tmp_path / "r.arrows", 3)
    assert run(path, "--min-sockets", 3).returncode == 0
    done = run(path, "--min-sockets", 4)
    assert done.returncode == 4
    assert "has only 3 sockets, and --min-sockets asks for 4" in done.stderr
    assert "has no socket that passes the filters" in run(path, "--family", "inet6").stderr


def test_the_highest_status_of_several_recordings_counts(tmp_path):
    good, bad = recorded.fine(tmp_path / "good.arrows"), recorded.deviating(tmp_path / "bad.arrows")
    done = run(good, bad)
    assert done.returncode == 1
    assert "total of 2 recordings: FAILED\n  5 sockets" in done.stdout
    done = run(good, bad, tmp_path / "none", "-q")
    assert done.returncode == 4
    assert done.stderr == ""
    assert "good.arrows" not in done.stdout
    assert "bad.arrows: FAILED" in done.stdout
    assert "none: NOT JUDGED" in done.stdout


def test_a_budget_that_is_exceeded_and_one_that_is_bad(tmp_path, budget):
    path = recorded.every_kind(tmp_path / "r.arrows")
    done = run(path, "--budget", budget)
    assert done.returncode == 1
    assert "✗ budget no failures: 3 failures, at most 0 allowed" in done.stdout
    assert run(path, "--budget", budget, "--protocol", "udp").returncode == 0
    budget.write_text('[[budget]]\nname = "b"\nmax_failurs = 1\n')
    done = run(path, "--budget", budget)
    assert done.returncode == 2
    assert done.stderr == f"inetprobe: {budget}: budget 1 (b): unknown key 'max_failurs': did you mean max_failures?\n"


def test_output_never_overwrites_an_input(tmp_path, budget):
    path, out = recorded.fine(tmp_path / "r.arrows"), tmp_path / "out.json"
    done = run(path, "--format", "json", "-o", out)
    assert (done.returncode, done.stdout) == (0, "")
    assert json.loads(out.read_text())["status"] == 0
    before = path.read_bytes()
    for mine in (path, budget):
        done = run(path, "--budget", budget, "-o", mine)
        assert done.returncode == 2
        assert "-o names an input file" in done.stderr
    assert path.read_bytes() == before
    assert run(path, "-o", "/dev/full").returncode == 125


def test_a_dash_as_output_is_stdout(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = recorded.fine(Path("r.arrows"))
    assert run(path, "-o", "-") == run(path)
    assert [file.name for file in tmp_path.iterdir()] == ["r.arrows"]


def test_a_baseline_that_was_faster(tmp_path):
    old, new = recorded.timed(tmp_path / "old.arrows"), recorded.timed(tmp_path / "new.arrows", 1.5, seed=2)
    done = run(new, "--baseline", old)
    assert done.returncode == 1
    assert "✗ baseline inet_create: slower: median" in done.stdout
    assert "Mann–Whitney U, p " in done.stdout
    done = run(old, "--baseline", new)
    assert done.returncode == 0
    assert "✓ baseline inet_create: faster: median" in done.stdout


def test_a_baseline_with_fewer_failures(tmp_path):
    old = recorded.timed(tmp_path / "old.arrows", failing=4)
    new = recorded.timed(tmp_path / "new.arrows", failing=40, seed=2)
    worse, better = cases(new, baseline=old), cases(old, baseline=new)
    for name in ("failures", "EPERM"):
        assert (worse[f"baseline {name}"].status, worse[f"baseline {name}"].facts["change"]) == ("failed", "more")
        assert (better[f"baseline {name}"].status, better[f"baseline {name}"].facts["change"]) == ("passed", "fewer")
    assert "two-proportion z" in worse["baseline failures"].details[0]


def test_noise_is_not_a_change(tmp_path):
    old, new = recorded.timed(tmp_path / "old.arrows"), recorded.timed(tmp_path / "new.arrows", seed=2)
    for one, other in ((old, old), (new, old), (old, new)):
        found = cases(one, baseline=other)
        assert {case.status for case in found.values()} == {"passed"}
        assert not any(case.facts.get("change") for case in found.values())


def test_a_few_percent_are_no_change_however_significant(tmp_path):
    old = recorded.timed(tmp_path / "old.arrows", count=20_000)
    new = recorded.timed(tmp_path / "new.arrows", 1.05, count=20_000, seed=2)
    case = cases(new, baseline=old)["baseline inet_create"]
    assert case.facts["p_holm"] < 0.001
    assert case.status == "passed"


def test_too_few_calls_to_compare_are_skipped(tmp_path):
    old, new = recorded.timed(tmp_path / "old.arrows"), recorded.fine(tmp_path / "new.arrows")
    assert cases(new, baseline=old)["baseline inet_create"].status == "skipped"


def test_a_baseline_that_cannot_be_judged(tmp_path):
    new, none = recorded.fine(tmp_path / "new.arrows"), tmp_path / "none"
    done = run(new, "--baseline", none)
    assert done.returncode == 4
    assert f"the baseline {none} cannot be read" in done.stderr
    books = Accounting(entries=3, complete=1, lost={"ring_full": 2})
    lossy = recorded.write(tmp_path / "old.arrows", builders.created(prot=b"TCP"), books)
    assert "is lossy" in cases(new, baseline=lossy)["baseline conditions"].message


def test_different_conditions_are_reported(tmp_path):
    run_ = builders.run()
    other = replace(run_, kernel="6.12.0", mechanisms={"inet_create": "fentry"}, machine_id="another")
    old = recorded.write(tmp_path / "old.arrows", builders.created(prot=b"TCP"), run=other)
    found = cases(recorded.fine(tmp_path / "new.arrows"), baseline=old)["baseline conditions"]
    assert found.status == "warned"
    assert (
        found.message == "kernel 6.12.0 before, 6.1.0-test now; different machines, different mechanisms of the probes"
    )


@given(st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), min_size=1, max_size=5))
def test_damage_is_judged_or_reported_and_never_a_crash(whole, changes):
    content = bytearray(whole.read_bytes())
    for place, value in changes:
        content[place % len(content)] = value
    damaged = whole.with_suffix(".damaged")
    damaged.write_bytes(content)
    budgets = (Budget("b", max_failures=0, max_duration_ns=1, quantiles=(Quantile(99, "sk_alloc", 1),)),)
    report = examine([damaged], Plan(budgets=budgets, baseline=whole))
    assert report.status in (0, 1, 4)
    for form in FORMATS.values():
        form.render(report, Style())


@pytest.fixture(name="whole", scope="module")
def _whole(tmp_path_factory):
    return recorded.every_kind(tmp_path_factory.mktemp("whole") / "r.arrows")


@pytest.fixture(name="report")
def _report(tmp_path, budget, monkeypatch):
    """Recordings that pass, fail in every way, and cannot be judged; paths without the test's folder."""
    monkeypatch.chdir(tmp_path)
    recorded.timed(Path("old.arrows"))
    recorded.timed(Path("slow.arrows"), 1.5, failing=40, seed=2)
    recorded.deviating(Path("odd%,.arrows"))
    recorded.write(
        Path("lossy.arrows"), builders.created(prot=b"TCP"), Accounting(entries=3, complete=1, lost={"ring_full": 2})
    )
    plan = Plan(budgets=load(Path(budget.name)), baseline=Path("old.arrows"))
    return examine([Path(name) for name in ("old.arrows", "slow.arrows", "odd%,.arrows", "lossy.arrows")], plan)


@pytest.mark.parametrize("form", FORMATS)
def test_golden(form, report, update_goldens):
    shown = FORMATS[form].render(report, Style())
    golden = GOLDENS / f"check-{form}.txt"
    if update_goldens:
        golden.write_text(shown)
    assert shown == golden.read_text()


def test_text_is_under_80_columns_and_coloured_only_on_request(report):
    assert max(map(len, report_text.render(report, Style()).splitlines())) < 80
    assert "\x1b[31m" in report_text.render(report, Style(colour=True))
    assert "\x1b" not in report_text.render(report, Style())


def test_junit_can_be_parsed_back(report, tmp_path):
    path = tmp_path / "r.xml"
    path.write_text(junit.render(report, Style()), encoding="utf-8")
    suites = junitparser.JUnitXml.fromfile(str(path))
    assert [suite.name for suite in suites] == [one.file for one in report.files]
    for suite, one in zip(suites, report.files, strict=True):
        assert [case.name for case in suite] == [case.name for case in one.cases]
        statuses = {"failed": junitparser.Failure, "unjudged": junitparser.Error, "skipped": junitparser.Skipped}
        for read, case in zip(suite, one.cases, strict=True):
            assert [type(result) for result in read.result] == [statuses[s] for s in [case.status] if s in statuses]
        written = suite.tests, suite.failures, suite.errors, suite.skipped
        suite.update_statistics()
        assert written == (suite.tests, suite.failures, suite.errors, suite.skipped)
    assert sum(suite.failures for suite in suites) == suites.failures > 0
    assert sum(suite.errors for suite in suites) == suites.errors > 0


anything = st.text(st.characters(categories=None), max_size=20)


@given(anything, anything, anything)
def test_hostile_names_stay_names_in_every_format(file, name, message):
    case = Case("budget", name, "failed", message, (message,))
    report = CheckResult((FileResult(file, "6.1", Judged(), {}, (case,)),))
    text = report_text.render(report, Style())
    assert all(char == "\n" or char.isprintable() for char in text)
    assert json.loads(report_json.render(report, Style()))["files"][0]["checks"][0]["name"] == name
    (suite,) = ET.fromstring(junit.render(report, Style()))
    assert len(suite) == 1
    first, last = github.render(report, Style()).splitlines()
    head, data = first.removeprefix("::error title=").split("::", 1)
    assert ":" not in head
    assert "," not in head
    assert "\r" not in data
    assert last.startswith("inetprobe check: ")


def test_json_has_the_numbers(report):
    said = json.loads(report_json.render(report, Style()))
    assert (said["v"], said["kind"], said["status"]) == (1, "check", 4)
    assert [one["status"] for one in said["files"]] == [0, 1, 1, 4]
    assert said["total"]["verdicts"] == {"deviation": 1, "as_predicted": 802}
    assert said["total"]["lost"] == {"ring_full": 2}
    (example,) = said["files"][2]["examples"]
    assert example["errno"] == "EPROTO"


def test_judging_each_shape_once_equals_judging_each_trace():
    records = np.tile(builders.every_kind(), 50)
    records["seq"] = np.arange(len(records))
    records["calls"]["start_ns"][:, 1:] += 1
    judged = Judged()
    judged.batch(Batch(records), builders.run())
    verdicts = [judge(trace, builders.run().profile) for trace in call_traces(Batch(records), builders.run())]
    assert judged.verdicts == {name: sum(v.verdict == name for v in verdicts) for name in judged.verdicts}
    assert judged.rules == {name: sum(v.rule == name for v in verdicts) for name in judged.rules}
    assert sum(judged.verdicts.values()) == judged.sockets == len(records)
    shapes = Batch(records).shapes
    assert len(shapes.first) == 12 - 1  # two of every_kind differ in comm alone
    assert shapes.counts.sum() == len(records)


def test_the_number_of_examples_is_bounded():
    odd = [
        builders.record([builders.call(builders.CREATE, 0, 0, 5000, -number)], seq=number) for number in range(60, 90)
    ]
    judged = Judged()
    judged.batch(Batch(np.concatenate(odd)), builders.run())
    assert judged.verdicts["deviation"] > EXAMPLES
    assert len(judged.examples["deviation"]) == EXAMPLES


def test_a_recording_without_a_profile_is_not_judged(tmp_path):
    run_ = replace(builders.run(), profile=None)
    path = recorded.write(tmp_path / "r.arrows", builders.created(prot=b"TCP"), run=run_)
    assert "it has no profile" in cases(path)["recording judged"].message
