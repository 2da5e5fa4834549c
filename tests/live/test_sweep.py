"""The model held against this kernel: every type and protocol under every setting, call for call."""

import os
import sys
from dataclasses import replace

import pytest

from inetprobe.model import create
from inetprobe.model.machine import Machine
from inetprobe.model.profile import BUILT_IN_PROFILES
from inetprobe.names import ERRNOS
from inetprobe.sources.replay import ReplaySource
from inetprobe.trace import call_traces
from inetprobe.verdict import judge

from .conftest import HERE, inetprobe
from .sweeper import CASES, EVERYONE, available


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """(folder with the errnos of each case, its traces in order by process, the profile that the run probed)."""
    folder = tmp_path_factory.mktemp("sweep")
    recording = folder / "sweep.arrows"
    options = ("--ring-size", 1 << 24, "--", sys.executable, HERE / "sweeper.py", folder)
    done = inetprobe("record", "-o", recording, *options, timeout=1200)
    assert done.status == 0, done.err
    assert " 0 incomplete, 0 lost" in done.err, done.err
    source = ReplaySource(recording)
    traces = {}
    for batch in source.batches():
        for trace in call_traces(batch, source.run):
            traces.setdefault(trace.pid, []).append(trace)
    return folder, traces, source.run.profile


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


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_trace_is_as_predicted(case, swept):
    folder, traces, profile = swept
    pid = int((folder / f"{case.name}.pid").read_text())
    mine = iter(sorted(traces.pop(pid), key=lambda trace: trace.start_ns))
    errnos = [int(word) for word in (folder / case.name).read_text().split()]
    world, wrong, seen = machine(case), [], 0
    for request, errno in zip(case.requests(), errnos, strict=True):
        want = create.socket(world, *request)
        reached = want.calls and want.calls[0].function in create.CREATE.values()
        trace = next(mine) if reached else None
        seen += bool(reached)
        wrong += differences(request, errno, want, trace, profile)
    print(f"{case.name}: {len(errnos)} requests, {seen} traces, {len(wrong)} differences")
    assert not wrong, "\n".join(wrong[:20])
    assert next(mine, None) is None
