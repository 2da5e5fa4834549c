"""A live run from its source to its summary, with a fake program."""

import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from inetprobe.cli import live
from inetprobe.kernel.source import RING_SIZE, LiveSource
from inetprobe.record.filter import build
from inetprobe.record.layout import record_dtype
from tests.support import builders


@pytest.fixture(name="run")
def _run(monkeypatch):
    """Runs COMMAND, or nothing; what happened in its order. ``told`` is called with all that is said."""
    heard = []

    def hear(what):
        return lambda *_: heard.append(what)

    class Source(LiveSource):
        def _build(self, say):
            return SimpleNamespace(
                activate=hear("activate"),
                deactivate=hear("deactivate"),
                detach=hear("detach"),
                close=hear("close"),
                follow=hear("follow"),
                probe_counts=dict,
                counters=SimpleNamespace(
                    read=lambda name: 0, lost=dict, new_losses=tuple, other_families=dict, accepted=dict
                ),
                ring=SimpleNamespace(
                    much=False,
                    wait=lambda timeout_s: None,
                    wake=lambda: None,
                    drain=lambda: np.zeros(0, record_dtype()),
                ),
            )

        def _describe(self):
            return builders.run()

    monkeypatch.setattr(live, "LiveSource", Source)
    monkeypatch.setattr(live, "_go_first", lambda tell: None)
    monkeypatch.setattr(live.privileges, "drop", lambda kept: None)

    def run(*command, told=lambda line: None, duration=None):
        def tell(line):
            heard.append(line.partition(" ")[0])
            told(line)

        monkeypatch.setattr(live, "say", lambda quiet: tell)
        live.run_live(
            lambda run, file: [], output=None, filters=build({}), command=command, user=None, duration=duration,
            count=None, mechanism="auto", maxactive=None, ring_size=RING_SIZE, also=(), sock=False, verbose=False,
            quiet=False,
        )  # fmt: skip

    run.heard = heard
    return run


def interrupted(line):
    if line.startswith("tracing"):
        os.kill(os.getpid(), signal.SIGINT)


def test_the_tracing_note_comes_once_tracing_has_begun(run):
    run(duration="1ms")
    assert run.heard == ["activate", "tracing", "deactivate", "detach", "close", "0"]


def test_ctrl_c_at_the_tracing_note_ends_the_run(run):
    run(told=interrupted)
    assert run.heard == ["activate", "tracing", "deactivate", "detach", "close", "0"]


def test_ctrl_c_at_the_tracing_note_does_not_start_command(run, tmp_path):
    with pytest.raises(SystemExit) as ended:
        run("touch", str(tmp_path / "ran"), told=interrupted)
    assert ended.value.code == 130
    assert not (tmp_path / "ran").exists()
    assert run.heard == ["follow", "activate", "tracing", "deactivate", "detach", "close"]


def test_the_exit_status_is_that_of_command(run, tmp_path):
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
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.after_drop", late, *words, "--duration", "100ms"],
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "complete" in done.stderr
    assert late.read_text() == ""
