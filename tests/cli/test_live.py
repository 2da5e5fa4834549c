"""A live run over a source without a kernel: when it traces, what it says, and how it ends."""

import os
import signal

import numpy as np
import pytest

from inetprobe.base.errors import HostError
from inetprobe.cli.live import LiveHost, LiveRun, run_live
from inetprobe.cli.main import cli
from inetprobe.kernel.trace_options import TraceOptions
from inetprobe.record.layout import record_dtype
from tests.support.attached import open_source
from tests.support.module import run_module


@pytest.fixture(name="run")
def _run():
    """Runs COMMAND, or nothing; ``run.heard`` has what happened, in its order. ``on_note`` is called with each note."""
    heard = []
    host = LiveHost(open_source(lambda: np.zeros(0, record_dtype()), heard.append), lambda capabilities, say: None)

    def run(*command, on_note=lambda line: None, duration_s=None):
        def say(line):
            heard.append(line.partition(" ")[0])
            on_note(line)

        run_live(LiveRun(TraceOptions(duration_s=duration_s), say, command, host=host), lambda run, file: [])

    run.heard = heard
    return run


def interrupted(line):
    if line.startswith("tracing"):
        os.kill(os.getpid(), signal.SIGINT)


def test_it_says_tracing_once_traces_begin(run):
    run(duration_s=0.001)
    assert run.heard == ["activate", "tracing", "deactivate", "detach", "close", "0"]


def test_ctrl_c_as_soon_as_it_says_tracing_ends_it(run):
    run(on_note=interrupted)
    assert run.heard == ["activate", "tracing", "deactivate", "detach", "close", "0"]


def test_ctrl_c_as_soon_as_it_says_tracing_leaves_command_unstarted(run, tmp_path):
    with pytest.raises(SystemExit) as ended:
        run("touch", str(tmp_path / "ran"), on_note=interrupted)
    assert ended.value.code == 130
    assert not (tmp_path / "ran").exists()
    assert run.heard == ["follow", "activate", "tracing", "deactivate", "detach", "close"]


def test_it_exits_with_command_s_status(run, tmp_path):
    with pytest.raises(SystemExit) as ended:
        run("sh", "-c", f"touch {tmp_path}/ran; exit 3")
    assert ended.value.code == 3
    assert (tmp_path / "ran").exists()
    assert run.heard == ["follow", "activate", "tracing", "deactivate", "detach", "close", "0"]


@pytest.mark.parametrize(
    "argv",
    [
        ["trace", "--format", "tree"], ["trace", "--format", "line"], ["trace", "--format", "json"],
        ["trace", "-o", "{out}"], ["record", "-o", "{out}"], ["top", "--once"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_nothing_is_imported_after_privileges_are_dropped(tmp_path, argv):
    late = tmp_path / "late"
    words = [word.format(out=tmp_path / "out.arrows") for word in argv]
    done = run_module("tests.support.after_drop", late, *words, "--duration", "100ms")
    assert done.returncode == 0, done.stderr
    assert "complete" in done.stderr
    assert late.read_text() == ""


@pytest.mark.parametrize(
    ("argv", "seccomp"),
    [
        (["trace"], False),
        (["trace", "--pid", "!7"], False),
        (["trace", "--pid", "7"], True),
        (["why", "--", "true"], True),
        (["record", "-o", "x", "--seccomp"], True),
        (["trace", "--no-seccomp", "--", "true"], False),
        (["top", "--once"], False),
    ],
)
def test_seccomp_is_traced_with_command_or_pid_or_where_it_is_asked_for(argv, seccomp, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    asked = []

    def opened(options, *_):
        asked.append(options.seccomp)
        raise HostError("no kernel")

    with pytest.raises(HostError, match="no kernel"):
        cli.main(argv, obj=LiveHost(opened, lambda capabilities, say: None), standalone_mode=False)
    assert asked == [seccomp]
