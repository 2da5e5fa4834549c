"""The model held against this kernel: every type and protocol under every setting, call for call."""

import contextlib
import os
import subprocess
import sys
from dataclasses import replace

import pytest

from inetprobe.base.uapi import ERRNOS
from inetprobe.model import inet_create
from inetprobe.model.profile import BUILT_IN_PROFILES
from inetprobe.model.world import Machine
from inetprobe.record.arrow.reader import RecordingReader
from inetprobe.trace.call_trace import call_traces
from inetprobe.trace.verdict import judge
from tests.live.conftest import HERE, MECHANISMS, inetprobe, tracing
from tests.live.sweeper import ABSENT, AUTOLOAD, EVERYONE, LOADED, available


@pytest.fixture(autouse=True)
def nothing_left_behind():
    """A fixture's tracers are gone when it is made."""


def traces_of(recording):
    """(traces by process, each in order; the profile that the run probed)."""
    source = RecordingReader(recording)
    traces = {}
    for batch in source.batches():
        for trace in call_traces(batch, source.run):
            traces.setdefault(trace.pid, []).append(trace)
    return {pid: sorted(made, key=lambda trace: trace.start_ns) for pid, made in traces.items()}, source.run.profile


def swept(part, folder):
    recording = folder / f"{part}.arrows"
    options = ("--ring-size", 1 << 24, "--", sys.executable, HERE / "sweeper.py", folder, part)
    done = inetprobe("record", "-o", recording, *options, timeout=1200)
    assert done.status == 0, done.err
    assert " 0 incomplete, 0 lost" in done.err, done.err
    return folder, *traces_of(recording)


@pytest.fixture(scope="module")
def absent(tmp_path_factory):
    return swept("absent", tmp_path_factory.mktemp("absent"))


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    return swept("loaded", tmp_path_factory.mktemp("loaded"))


@pytest.fixture(scope="module")
def autoload(tmp_path_factory):
    """SCTP loads once a boot: both mechanisms watch the one time, and the whole machine."""
    folder = tmp_path_factory.mktemp("autoload")
    recordings = {mechanism: folder / f"{mechanism}.arrows" for mechanism in ("kprobe", "fentry")}
    with contextlib.ExitStack() as stack:
        for mechanism, recording in recordings.items():
            stack.enter_context(tracing("--mechanism", mechanism, "-o", recording))
        subprocess.run([sys.executable, HERE / "sweeper.py", folder, "autoload"], check=True, timeout=600)
    return {mechanism: (folder, *traces_of(recording)) for mechanism, recording in recordings.items()}


def machine(case):
    """The machine of a case; one for all its requests, since what one loads is there for the next."""
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


def differences(request, errno, want, trace, profile):
    """What is not as predicted, in words."""
    if want.errno != (ERRNOS[errno] if errno else None):
        yield f"{request}: socket() said {ERRNOS.get(errno, errno)}, predicted {want.errno}"
    if trace is None:
        return
    if (trace.family, trace.type, trace.protocol) != (request[0], request[1] & 15, request[2]):
        yield f"{request}: the trace is of {trace.family, trace.type, trace.protocol}"
    calls = tuple((c.function, c.depth, c.result, c.pointer, c.module) for c in trace.calls)
    if (calls, trace.errno, trace.prot) != (tuple(map(tuple, want.calls)), want.errno, want.prot):
        yield f"{request}: saw {calls} {trace.errno} {trace.prot}, predicted {want}"
    verdict = judge(trace, profile)
    if (verdict.verdict, verdict.rule) != ("ok", want.rule):
        yield f"{request}: judged {verdict}, predicted {want.rule}"


def hold(case, swept):
    folder, traces, profile = swept
    pid = int((folder / f"{case.name}.pid").read_text())
    mine = iter(traces[pid])
    errnos = [int(word) for word in (folder / case.name).read_text().split()]
    world, wrong, seen = machine(case), [], 0
    for request, errno in zip(case.requests(), errnos, strict=True):
        want = inet_create.socket(world, *request)
        reached = want.calls and want.calls[0].function in inet_create.CREATE.values()
        trace = next(mine) if reached else None
        seen += bool(reached)
        wrong += differences(request, errno, want, trace, profile)
    print(f"{case.name}: {len(errnos)} requests, {seen} traces, {len(wrong)} differences")
    assert not wrong, "\n".join(wrong[:20])
    assert next(mine, None) is None


@pytest.mark.parametrize("case", ABSENT, ids=lambda case: case.name)
def test_without_modules(case, absent):
    hold(case, absent)


@MECHANISMS
def test_modules_are_loaded_on_demand(mechanism, autoload):
    hold(AUTOLOAD[0], autoload[mechanism])


@MECHANISMS
def test_modprobe_s_own_sockets_are_traces_of_their_own(mechanism, autoload):
    traces = [trace for made in autoload[mechanism][1].values() for trace in made if trace.comm == "modprobe"]
    assert traces, "sctp makes control sockets of its own when it is loaded"
    assert all(trace.kernel_socket and trace.incomplete is None for trace in traces)
    assert {trace.prot for trace in traces} <= {"SCTP", "SCTPv6"}


@pytest.mark.parametrize("case", LOADED, ids=lambda case: case.name)
def test_with_modules(case, loaded):
    hold(case, loaded)
