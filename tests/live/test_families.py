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


def answers(requests, folder):
    """What ``explain --batch`` says of requests to this machine. The profile is that of a recording: what the run has
    loaded would have been loaded for the prediction, too."""
    recording = folder / "machine.arrow"
    assert inetprobe("record", "-o", recording, "--", sys.executable, "-c", ONE_SOCKET).status == 0
    done = subprocess.run(
        command("explain", "--batch", "--profile", recording), input="\n".join(map(json.dumps, requests)),
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [json.loads(line) for line in done.stdout.splitlines()]


def check(call, error, answer):
    """Is the answer what the kernel gave, or is it rightly unknown? 1 or 0."""
    if answer["outcome"] != "unknown":
        assert answer["errno"] == (errno_name(error) if error else None), (call, error, answer)
        return 1
    # Of these families, whether a netlink protocol is registered is all that is not known.
    _, family, type_, protocol = call
    of_netlink = family == AF_NETLINK and type_ in (SOCK_DGRAM, SOCK_RAW) and protocol == 1
    assert family not in CERTAIN or of_netlink, (call, error, answer)
    return 0


def in_ping_group(group):
    lowest, highest = map(int, Path("/proc/sys/net/ipv4/ping_group_range").read_text().split())
    return lowest <= group <= highest


def test_explain_predicts_each_call_or_says_that_it_does_not_know(run, tmp_path):
    _, made = run
    keys = ("syscall", "family", "type", "protocol")
    caller = {"ping_group_allowed": in_ping_group(os.getegid())}
    said = answers([dict(zip(keys, call, strict=True)) | caller for *call, _ in made], tmp_path)
    predicted = Counter()
    for (*call, error), answer in zip(made, said, strict=True):
        predicted[call[1]] += check(call, error, answer)
    print(predicted)
    assert {family for family, count in predicted.items() if count} >= CERTAIN
    assert predicted.total() > 300
