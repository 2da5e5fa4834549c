"""What seccomp filters refuse, by every action, by both mechanisms: what the program got and what the trace says."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from inetprobe.base.uapi import FAMILIES, call_text
from tests.live.conftest import HERE, accounted, inetprobe, shape
from tests.live.test_serve import PROLOGUE, serving

LOGGED_ACTIONS = Path("/proc/sys/kernel/seccomp/actions_logged")
CONFINED = [sys.executable, HERE / "confined.py"]


@pytest.fixture(scope="module", params=["kprobe", "fentry"])
def run(request):
    result = inetprobe("trace", "--format", "json", "--mechanism", request.param, "--", *CONFINED)
    assert result.status == 0, result.err
    return result, [json.loads(line) for line in result.out.splitlines() if line.startswith("[")]


def test_each_refusal_has_the_arguments_and_the_errno_that_it_had(run):
    result, made = run
    assert len(made) == 13
    assert [(syscall, family, type_ & 0xF, protocol, error) for syscall, family, type_, protocol, error in made] == [
        tuple(trace[key] for key in ("syscall", "family", "type", "protocol", "errno")) for trace in result.traces
    ]
    strict, made_one, *refused = result.traces
    assert (strict["errno"], made_one["rule"]) == ("SIGKILL", "created")
    assert {(trace["stage"], trace["rule"], trace["verdict"], trace["outcome"]) for trace in (strict, *refused)} == {
        ("seccomp", "seccomp", "as_predicted", "failed")
    }
    assert {tuple(shape(trace)) for trace in refused} == {((0, "__secure_computing"),)}


def test_both_identities_hold(run):
    summary = run[0].summary
    assert accounted(summary)
    calls = summary["calls"]
    assert (calls["returned"], calls["ok"], calls["not_told"]) == (2, 1, 1)  # the last one's arguments cannot be read


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
        (2, "SIGKILL"), (44, "SIGSYS"), (31, "SIGSYS"), (44, "SIGSYS"),
    ]  # fmt: skip
    assert accounted(result.summary)


@pytest.mark.parametrize(
    ("mechanism", "option"), [("kprobe", "--no-seccomp"), ("fentry", "--no-seccomp"), ("fentry", "--seccomp")]
)
def test_what_the_kernel_logs_is_seen_once(mechanism, option):
    command = ("--format", "json", "--mechanism", mechanism, option, "--", *CONFINED, "logged")
    result = inetprobe("trace", *command)
    made = [json.loads(line) for line in result.out.splitlines() if line.startswith("[")]
    assert [tuple(trace[key] for key in ("syscall", "family", "errno")) for trace in result.traces] == [
        (syscall, family, error) for syscall, family, _, _, error in made
    ]
    assert accounted(result.summary)
    assert result.summary["calls"]["not_told"] == 1


def test_kills_that_the_kernel_does_not_log_are_said_not_to_be_seen():
    before = LOGGED_ACTIONS.read_text()
    LOGGED_ACTIONS.write_text("kill_process trap\n")
    try:
        result = inetprobe("trace", "--no-seccomp", "--", "true")
    finally:
        LOGGED_ACTIONS.write_text(before)
    why = "without --seccomp: kernel.seccomp.actions_logged lacks kill_thread"
    assert f"sockets for which a seccomp filter kills are not seen {why}" in result.err


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
        if error and ("--seccomp" in options or error == "SIGKILL" or family in (31, 44))
    )
    found = {
        (sample.labels["family"], sample.labels["errno"]): sample.value
        for metric in text_string_to_metric_families(page)
        for sample in metric.samples
        if sample.name == "inetprobe_socket_refusals_total" and sample.labels["stage"] == "seccomp"
    }
    assert found == expected
