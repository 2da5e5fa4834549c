"""What seccomp filters refuse, by every action, by both mechanisms: what the program got and what the trace says."""

import json
import subprocess
import sys
from collections import Counter

import pytest
from prometheus_client.parser import text_string_to_metric_families

from inetprobe.base.uapi import FAMILIES, call_text
from tests.live.conftest import HERE, accounted, inetprobe, shape
from tests.live.test_serve import PROLOGUE, serving

CONFINED = [sys.executable, HERE / "confined.py"]


@pytest.fixture(scope="module", params=["kprobe", "fentry"])
def run(request):
    result = inetprobe("trace", "--format", "json", "--mechanism", request.param, "--", *CONFINED)
    assert result.status == 0, result.err
    return result, [json.loads(line) for line in result.out.splitlines() if line.startswith("[")]


def test_each_refusal_has_the_arguments_and_the_errno_that_it_had(run):
    result, made = run
    assert len(made) == 12
    assert [(syscall, family, type_ & 0xF, protocol, error) for syscall, family, type_, protocol, error in made] == [
        tuple(trace[key] for key in ("syscall", "family", "type", "protocol", "errno")) for trace in result.traces
    ]
    made_one, *refused = result.traces
    assert made_one["rule"] == "created"
    assert {(trace["stage"], trace["rule"], trace["verdict"], trace["outcome"]) for trace in refused} == {
        ("seccomp", "seccomp", "as_predicted", "failed")
    }
    assert {tuple(shape(trace)) for trace in refused} == {((0, "__secure_computing"),)}


def test_both_identities_hold(run):
    summary = run[0].summary
    assert accounted(summary)
    assert summary["calls"]["returned"] == summary["calls"]["ok"] == 1


def test_why_says_whose_filter_it_likely_is():
    done = inetprobe("why", "--format", "json", "--", *CONFINED)
    said = {(line["call"], line["errno"]): line for line in done.lines}
    line = said[call_text(10, 1, 17), "EAFNOSUPPORT"]
    assert line["reason"] == (
        "a seccomp filter, or the supervisor or tracer that it asks, refuses the call with EAFNOSUPPORT"
    )
    assert line["evidence"] == ["the process is in no container and no service: most likely its own sandbox"]
    assert said[call_text(17, 3, 0), "SIGSYS"]["reason"].startswith("a seccomp filter sends SIGSYS")


def test_without_seccomp_those_that_are_killed_are_seen():
    result = inetprobe("trace", "--failed", "--no-seccomp", "--format", "json", "--", *CONFINED)
    assert [(trace["family"], trace["errno"]) for trace in result.traces] == [
        (44, "SIGSYS"), (31, "SIGSYS"), (44, "SIGSYS"),
    ]  # fmt: skip
    assert accounted(result.summary)


@pytest.mark.parametrize("options", [("--mechanism", "kprobe"), ("--seccomp", "--mechanism", "fentry")])
def test_serve_counts_what_it_is_asked_for(options):
    confined = f"import runpy; runpy.run_path({str(HERE / 'confined.py')!r}, run_name='__main__')"
    with serving(*options) as served:
        done = subprocess.run([sys.executable, "-c", PROLOGUE + confined], check=True, capture_output=True, text=True)
        page = served.get("/metrics")
    made = [json.loads(line) for line in done.stdout.splitlines()]
    expected = Counter(
        (FAMILIES[family], error)
        for _, family, _, _, error in made
        if error and ("--seccomp" in options or family in (31, 44))
    )
    found = {
        (sample.labels["family"], sample.labels["errno"]): sample.value
        for metric in text_string_to_metric_families(page)
        for sample in metric.samples
        if sample.name == "inetprobe_socket_refusals_total" and sample.labels["stage"] == "seccomp"
    }
    assert found == expected
