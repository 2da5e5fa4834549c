"""The model compared with this kernel, call by call: every type and protocol under every setting."""

import contextlib
import os
import subprocess
import sys
from dataclasses import replace

import pytest

from inetprobe.base.uapi import ERRNOS
from inetprobe.model import sys_socket
from inetprobe.model.profile import BUILT_IN_PROFILES
from inetprobe.model.rules import Rule
from inetprobe.model.world import Machine
from inetprobe.record.arrow.reader import RecordingReader
from inetprobe.trace.call_trace import call_traces
from inetprobe.trace.verdict import judge
from tests.live.conftest import HERE, MECHANISMS, book, inetprobe, tracing
from tests.live.sweeper import ABSENT, AUTOLOAD, EVERYONE, LOADED, available


@pytest.fixture(autouse=True)
def nothing_left_behind():
    """Replaces the check of conftest.py: the tracers end within the fixtures that start them."""


def traces_of(recording):
    """Returns the traces by process, each list in order, and the profile that the run recorded."""
    source = RecordingReader(recording)
    traces = {}
    for batch in source.batches():
        for trace in call_traces(batch, source.run):
            traces.setdefault(trace.pid, []).append(trace)
    return {pid: sorted(made, key=lambda trace: trace.start_ns) for pid, made in traces.items()}, source.run.profile


def sweep(part, folder):
    """Records one part of the sweep. Returns its folder, the traces by process, and the profile."""
    recording = folder / f"{part}.arrows"
    options = ("--ring-size", 1 << 24, "--", sys.executable, HERE / "sweeper.py", folder, part)
    done = inetprobe("record", "-o", recording, *options, timeout=1200)
    assert done.status == 0, done.err
    assert " 0 incomplete, 0 lost" in done.err, done.err
    return folder, *traces_of(recording)


@pytest.fixture(scope="module")
def absent(tmp_path_factory):
    return sweep("absent", tmp_path_factory.mktemp("absent"))


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    return sweep("loaded", tmp_path_factory.mktemp("loaded"))


@pytest.fixture(scope="module")
def autoload(tmp_path_factory):
    """SCTP can be loaded only once per boot, so both mechanisms trace the whole machine at the same time."""
    folder = tmp_path_factory.mktemp("autoload")
    recordings = {mechanism: folder / f"{mechanism}.arrows" for mechanism in ("kprobe", "fentry")}
    with contextlib.ExitStack() as stack:
        for mechanism, recording in recordings.items():
            stack.enter_context(tracing("--mechanism", mechanism, "-o", recording))
        subprocess.run([sys.executable, HERE / "sweeper.py", folder, "autoload"], check=True, timeout=600)
    return {mechanism: (folder, *traces_of(recording)) for mechanism, recording in recordings.items()}


def machine(case):
    """The model's machine for a case, the same for all its requests: a module that one loads is there for the next."""
    release = os.uname().release
    profile = next(profile for name, profile in BUILT_IN_PROFILES.items() if release.startswith(name + "."))
    return Machine(
        profile if case.autoload else replace(profile, modprobe=""),
        loaded=available() if case.loaded else (),
        cap_net_raw=case.user == "root",
        ping_group_allowed=case.ping == EVERYONE,
        mptcp_enabled=case.mptcp == "1",
        failures={"cgroup": "EPERM"} if case.denied else {},
    )


def differences(request, errno, predicted, trace, profile):
    """Yields each difference from the prediction as text."""
    if predicted.errno != (ERRNOS[errno] if errno else None):
        yield f"{request}: socket() returned {ERRNOS.get(errno, errno)}, predicted {predicted.errno}"
    if trace is None:
        return
    if (trace.family, trace.type, trace.protocol) != (request[0], request[1] & 15, request[2]):
        yield f"{request}: the trace is of {trace.family, trace.type, trace.protocol}"
    syscall, *below = trace.calls
    if syscall.function != "__sys_socket" or (syscall.result < 0) != bool(errno) or syscall.result < -errno:
        yield f"{request}: the system call is {syscall}"
    if tuple(trace.asked) != ("socket", *request):
        yield f"{request}: asked {trace.asked}"
    calls = tuple((c.function, c.depth - 1, c.result, c.pointer, c.module) for c in below)
    if (calls, trace.errno, trace.prot) != (tuple(map(tuple, predicted.calls)), predicted.errno, predicted.prot):
        yield f"{request}: traced {calls} {trace.errno} {trace.prot}, predicted {predicted}"
    verdict = judge(trace, profile)
    if (verdict.verdict, verdict.rule) != ("as_predicted", predicted.rule):
        yield f"{request}: judged {verdict}, predicted {predicted.rule}"


def check(case, part):
    folder, traces, profile = part
    pid = int((folder / f"{case.name}.pid").read_text())
    recorded = iter(traces[pid])
    errnos = [int(word) for word in (folder / case.name).read_text().split()]
    world, wrong, traced, rules = machine(case), [], 0, set()
    for request, errno in zip(case.requests(), errnos, strict=True):
        predicted = sys_socket.socket(world, *request)
        is_traced = predicted.rule is not Rule.PACKET  # the success of another family
        trace = next(recorded) if is_traced else None
        traced += is_traced
        rules |= {predicted.rule} if is_traced else set()
        wrong += differences(request, errno, predicted, trace, profile)
    print(f"{case.name}: {len(errnos)} requests, {traced} traces, {len(wrong)} differences")
    assert not wrong, "\n".join(wrong[:20])
    assert next(recorded, None) is None
    book(["record"], f"{traced} calls, {traced} complete, 0 incomplete, 0 lost", rules)


@pytest.mark.parametrize("case", ABSENT, ids=lambda case: case.name)
def test_the_model_predicts_every_call_without_modules(case, absent):
    check(case, absent)


@MECHANISMS
def test_the_model_predicts_every_call_that_loads_modules(mechanism, autoload):
    check(AUTOLOAD[0], autoload[mechanism])


@MECHANISMS
def test_modprobe_s_own_sockets_are_traces_of_their_own(mechanism, autoload):
    traces = [trace for made in autoload[mechanism][1].values() for trace in made if trace.comm == "modprobe"]
    assert traces, "sctp made no control sockets when it was loaded"
    assert all(trace.kernel_socket and trace.incomplete is None for trace in traces)
    assert {trace.prot for trace in traces} <= {"SCTP", "SCTPv6"}


@pytest.mark.parametrize("case", LOADED, ids=lambda case: case.name)
def test_the_model_predicts_every_call_with_modules(case, loaded):
    check(case, loaded)
