"""Every address family, as a program asks for it: each call that fails has its trace, its errno and a rule."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from inetprobe.base.uapi import AF_INET, AF_INET6, AF_NETLINK, AF_PACKET, AF_UNIX, SOCK_DGRAM, SOCK_RAW, errno_name
from tests.live.conftest import HERE, accounted, command, inetprobe


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


CERTAIN = {AF_UNIX, AF_INET, AF_INET6, AF_NETLINK, AF_PACKET}
ONE_SOCKET = "import socket; socket.socket()"


def test_explain_predicts_each_call_or_says_that_it_does_not_know(run, tmp_path):
    """The profile is that of a recording: what the run has loaded would have been loaded for the prediction, too."""
    _, made = run
    recording = tmp_path / "machine.arrow"
    assert inetprobe("record", "-o", recording, "--", sys.executable, "-c", ONE_SOCKET).status == 0
    lowest, highest = map(int, Path("/proc/sys/net/ipv4/ping_group_range").read_text().split())
    caller = {"ping_group_allowed": lowest <= os.getegid() <= highest}
    requests = [
        json.dumps({"syscall": syscall, "family": family, "type": type_, "protocol": protocol, **caller})
        for syscall, family, type_, protocol, _ in made
    ]
    done = subprocess.run(
        command("explain", "--batch", "--profile", recording), input="\n".join(requests),
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    predicted = Counter()
    for (syscall, family, type_, protocol, error), line in zip(made, done.stdout.splitlines(), strict=True):
        answer = json.loads(line)
        call = (syscall, family, type_, protocol, error, answer)
        if answer["outcome"] == "unknown":
            # Of these families, whether a netlink protocol is registered is all that is not known.
            of_netlink = family == AF_NETLINK and type_ in (SOCK_DGRAM, SOCK_RAW) and protocol == 1
            assert family not in CERTAIN or of_netlink, call
            continue
        assert answer["errno"] == (errno_name(error) if error else None), call
        predicted[family] += 1
    print(predicted)
    assert predicted.keys() >= CERTAIN
    assert predicted.total() > 300
