"""The model compared with this kernel in each situation that a process can be in, call by call."""

import functools
import json
import os
import sys
from collections import Counter

import pytest

from inetprobe.base.uapi import errno_name
from inetprobe.model import seccomp
from inetprobe.model.seccomp import Instruction
from tests.live import situations
from tests.live.bpf_programs import LSM, attached, where
from tests.live.cgroup_denial import cgroup, deny
from tests.live.conftest import HERE, MECHANISMS, accounted, inetprobe
from tests.live.test_families import answers, check, in_ping_group

EACCES = 13
# Each call with this protocol a BPF LSM program refuses, in every situation.
REFUSED = 1
FILTERS = [[Instruction(*part) for part in situations.guarded(program)] for program in situations.FILTERS]


@pytest.fixture(scope="module")
def denying():
    with cgroup() as folder, attached(LSM, "bpf_lsm_socket_create", where(2, REFUSED, -EACCES)):
        deny(folder)
        yield folder


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """What ``explain`` says of the calls, each a line of JSON; asked once, if both runs make the same ones."""
    folder = tmp_path_factory.mktemp("machine")
    return functools.cache(lambda *lines: answers([question(*json.loads(line)[:-1]) for line in lines], folder))


def question(situation, syscall, family, type_, protocol):
    """For ``explain --batch``, which asks no filters."""
    failures = {"security": "EACCES"} if protocol == REFUSED else {}
    failures |= {
        "descriptors": {"descriptor": "EMFILE"},
        "files": {"descriptor": "ENFILE"},
        "cgroup": {"cgroup": "EPERM"},
    }.get(situation, {})
    nobody = situation in ("nobody", "files")
    return {
        "syscall": syscall, "family": family, "type": type_, "protocol": protocol, "failures": failures,
        "cap_net_raw": not nobody, "ping_group_allowed": in_ping_group(situations.NOBODY if nobody else os.getegid()),
    }  # fmt: skip


def by_filters(situation, syscall, *request):
    """The errno by which the situation's filters refuse the call, None where they do not."""
    if situation != "seccomp":
        return None
    said = seccomp.answer(FILTERS, "x86_64", *request, syscall)
    return None if said.passes else said.errno


@MECHANISMS
def test_each_failure_is_traced_and_predicted_in_every_situation(denying, mechanism, asked):
    options = ("--format", "json", "--failed", "--mechanism", mechanism, "--", sys.executable)
    result = inetprobe("trace", *options, HERE / "situations.py", denying)
    assert result.status == 0, result.err
    lines = [line for line in result.out.splitlines() if line.startswith("[")]
    made = list(map(json.loads, lines))
    assert [
        (syscall, family, type_ & 0xF, protocol, errno_name(error))
        for _, syscall, family, type_, protocol, error in made
        if error
    ] == [
        (trace["syscall"], trace["family"], trace["type"] & 0xF, trace["protocol"], trace["errno"])
        for trace in result.traces
    ]
    assert not [trace for trace in result.traces if trace["verdict"] != "as_predicted"]
    assert accounted(result.summary)
    assert not result.summary["calls"]["not_told"]
    predicted = Counter()
    for (situation, *call, error), answer in zip(made, asked(*lines), strict=True):
        refused = by_filters(situation, *call)
        if refused is not None:
            assert error == refused, (situation, call, error)
            predicted[situation] += 1
        else:
            predicted[situation] += check(call, error, answer)
    print(predicted, Counter((situation, errno_name(error)) for situation, *_, error in made))
    assert predicted.keys() == situations.SITUATIONS.keys()
    assert min(predicted.values()) > 200
