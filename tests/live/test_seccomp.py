"""What seccomp filters refuse, by every action, by both mechanisms: what the program got and what the trace says."""

import json
import sys

import pytest

from inetprobe.base.uapi import call_text
from tests.live.conftest import HERE, KERNEL, accounted, inetprobe, shape

CONFINED = [sys.executable, HERE / "confined.py"]
#: Before, a thread that a filter kills never comes back from __secure_computing().
SEES_KILLED = KERNEL >= (5, 16)


@pytest.fixture(scope="module", params=["kprobe", "fentry"])
def run(request):
    result = inetprobe("trace", "--format", "json", "--mechanism", request.param, "--", *CONFINED)
    assert result.status == 0, result.err
    return result, [json.loads(line) for line in result.out.splitlines() if line.startswith("[")]


def test_each_refusal_has_the_arguments_and_the_errno_that_it_had(run):
    result, made = run
    expected = [call for call in made if SEES_KILLED or call[1] not in (44, 31)]
    assert len(made) == 9
    assert [
        (syscall, family, type_ & 0xF, protocol, error) for syscall, family, type_, protocol, error in expected
    ] == [tuple(trace[key] for key in ("syscall", "family", "type", "protocol", "errno")) for trace in result.traces]
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
