"""Every address family, as a program asks for it: each call that fails has its trace, its errno and a rule."""

import json
import sys
from collections import Counter

import pytest

from inetprobe.base.uapi import errno_name
from tests.live.conftest import HERE, accounted, inetprobe


@pytest.fixture(scope="module")
def run():
    result = inetprobe("trace", "--failed", "--format", "json", "--", sys.executable, HERE / "families.py")
    assert result.status == 0, result.err
    return result, [json.loads(line) for line in result.out.splitlines() if line.startswith("[")]


def test_each_failure_is_shown_as_the_program_saw_it(run):
    result, made = run
    failed = [
        (syscall, family, type_ & 0xF, protocol, errno_name(error))
        for syscall, family, type_, protocol, error in made
        if error
    ]
    assert len(made) > 700
    assert failed == [
        (trace["syscall"], trace["family"], trace["type"] & 0xF, trace["protocol"], trace["errno"])
        for trace in result.traces
    ]


def test_each_has_a_rule_and_something_to_do(run):
    result, _ = run
    assert not [trace for trace in result.traces if trace["verdict"] != "as_predicted"]
    assert all(trace["fix"] and trace["stage"] for trace in result.traces)
    print(Counter((trace["rule"], trace["errno"]) for trace in result.traces))


def test_both_identities_hold(run):
    result, made = run
    assert accounted(result.summary)
    calls = result.summary["calls"]
    assert calls["returned"] == len(made)
    assert calls["ok"] == sum(not error for *_, error in made)
    assert not calls["not_told"]
