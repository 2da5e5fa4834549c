"""The model compared with this kernel in each situation that a process can be in, call by call."""

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
from tests.live.conftest import HERE, accounted, inetprobe
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


def test_each_failure_is_traced_and_predicted_in_every_situation(denying, tmp_path):
    """By the mechanism that this kernel gets; ``test_rungs.py`` has each rung by both."""
    options = ("--format", "json", "--failed", "--", sys.executable)
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
    said = answers([question(*one) for *one, _ in made], tmp_path)
    for (situation, *call, error), answer in zip(made, said, strict=True):
        refused = by_filters(situation, *call)
        if refused is not None:
            assert error == refused, (situation, call, error)
            predicted[situation] += 1
        else:
            predicted[situation] += check(call, error, answer)
    print(predicted, Counter((situation, errno_name(error)) for situation, *_, error in made))
    assert predicted.keys() == situations.SITUATIONS.keys()
    assert min(predicted.values()) > 200
