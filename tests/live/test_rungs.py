"""Every rung of the ladder by both mechanisms: what the program got, what strace saw and what the trace says."""

import ctypes
import json
import re
import sys
from collections import Counter
from pathlib import Path

import pytest

from inetprobe.base.uapi import call_text, errno_name
from tests.live.conftest import HERE, MECHANISMS, accounted, inetprobe

CALL = re.compile(r"^\d+ +(socket(?:pair)?)\((.*)\) += (-?\d+)(?: (E\w+))?", re.MULTILINE)


@pytest.fixture(scope="module", params=["kprobe", "fentry"])
def run(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    log, made = folder / "strace.txt", folder / "made.jsonl"
    watched = f"strace -f -X raw -e trace=socket,socketpair -o {log} {sys.executable} {HERE / 'rungs.py'} >{made}"
    result = inetprobe(
        "trace", "--format", "json", "--mechanism", request.param, "--",
        "sh", "-c", f"exec {watched}",
    )  # fmt: skip
    assert result.status == 0, result.err
    return result, log.read_text(), [json.loads(line) for line in made.read_text().splitlines()]


def of_program(result):
    return [trace for trace in result.traces if trace["comm"].startswith("python")]


def is_shown(family, type_, error):
    """A success of another family is not; socket(AF_INET, SOCK_PACKET) makes an AF_PACKET socket."""
    return error or (family in (2, 10) and type_ & 0xF != 10)


def test_each_call_has_the_errno_and_the_rule_that_it_has(run):
    result, _, made = run
    expected = [
        (syscall, family, type_ & 0xF, protocol, errno_name(error) if error else None, rule or "created")
        for syscall, family, type_, protocol, error, rule in made
        if is_shown(family, type_, error)
    ]
    assert expected == [
        (trace["syscall"], trace["family"], trace["type"] & 0xF, trace["protocol"], trace["errno"], trace["rule"])
        for trace in of_program(result)
    ]
    assert {trace["verdict"] for trace in of_program(result)} == {"as_predicted"}
    assert {trace["netns"] for trace in of_program(result)} == {Path("/proc/self/ns/net").stat().st_ino}


def test_a_limit_is_told_with_its_value(run):
    traces = of_program(run[0])
    of_process = [trace["evidence"] for trace in traces if trace["rule"] == "descriptor-limit"]
    assert of_process
    assert all("RLIMIT_NOFILE was 3" in evidence for evidence in of_process)
    of_machine = [trace["evidence"][-1] for trace in traces if trace["rule"] == "file-limit"]
    assert of_machine
    assert all(re.fullmatch(r"fs.file-max was [\d,]+ when this machine was looked at", last) for last in of_machine)


LEAK = """
import os, resource, socket, time
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
os.setgroups([]); os.setgid(65534); os.setuid(65534)
kept = []
try:
    while True: kept.append(socket.socket())
except OSError:
    time.sleep(3)
"""


def test_why_says_which_descriptors_another_user_s_process_holds():
    done = inetprobe("why", "--format", "json", "--", sys.executable, "-c", LEAK)
    (line,) = done.lines
    pid = line["who"][0]["pid"]
    assert line["evidence"][-2] == "RLIMIT_NOFILE was 64"
    assert re.match(rf"process {pid} now holds 64 descriptors: socket (59|6[01])\b", line["evidence"][-1])


def test_strace_agrees_call_for_call(run):
    result, log, _ = run
    witnessed = []
    for syscall, arguments, _, error in CALL.findall(log):
        family, type_ = (sum(int(word, 0) for word in part.split("|")) for part in arguments.split(", ")[:2])
        if is_shown(family, type_, error):
            witnessed.append((syscall, ctypes.c_int(family).value, type_ & 0xF, error or None))
    assert witnessed == [
        (trace["syscall"], trace["family"], trace["type"] & 0xF, trace["errno"])
        for trace in result.traces
        if trace["comm"] != "sh" and trace["syscall"] != "io_uring"  # which strace does not see
    ]


def test_both_identities_hold(run):
    result, _, made = run
    assert accounted(result.summary)
    calls = result.summary["calls"]
    assert not calls["not_told"]
    assert calls["in_create"] == sum(
        trace["stage"] == "create" and trace["family"] in (2, 10) and trace["type"] != 10 for trace in result.traces
    )
    assert calls["returned"] - calls["ok"] == sum(trace["errno"] is not None for trace in result.traces)
    assert calls["returned"] >= len(made)


@MECHANISMS
def test_why_says_each_distinct_failure_once_with_its_rule(mechanism):
    done = inetprobe("why", "--format", "json", "--mechanism", mechanism, "--", sys.executable, HERE / "rungs.py")
    assert done.status == 0, done.err
    assert "tracing" not in done.err
    assert " complete, " not in done.err
    made = [json.loads(line) for line in done.out.splitlines() if line.startswith("[")]
    said = {(line["call"], line["errno"], line["rule"]): line["count"] for line in done.lines}
    expected = Counter(
        (call_text(family, type_, protocol, syscall), errno_name(error), rule)
        for syscall, family, type_, protocol, error, rule in made
        if error
    )
    assert said == expected
    assert all(line["kind"] == "why" and line["fix"] and line["who"] for line in done.lines)
