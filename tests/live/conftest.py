"""Live tests run as root on a kernel that can be traced: `make live` boots one VM for all of them."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@dataclass
class Result:
    status: int
    out: str
    err: str

    @property
    def lines(self):
        return [json.loads(line) for line in self.out.splitlines() if line.startswith("{")]

    @property
    def traces(self):
        return [line for line in self.lines if line["kind"] == "trace"]

    @property
    def summary(self):
        assert self.lines[-1]["kind"] == "summary"
        return self.lines[-1]


def command(*argv):
    return [sys.executable, "-m", "inetprobe", *map(str, argv)]


def inetprobe(*argv, timeout=180):
    done = subprocess.run(command(*argv), capture_output=True, timeout=timeout, check=False, text=True)
    return Result(done.returncode, done.stdout, done.stderr)


def accounted(summary):
    """The identity, from the summary's own numbers."""
    ended = summary["complete"] + sum(summary["incomplete"].values()) + sum(summary["lost"].values())
    return summary["entries"] == ended + summary["filtered"] + summary["in_flight"]


def shape(trace):
    """(depth, function) of each call."""
    return [(call["depth"], call["function"]) for call in trace["calls"]]


class Tracer(Result):
    """A background `inetprobe trace --format json` of the whole machine."""

    process: subprocess.Popen


@contextlib.contextmanager
def tracing(*options):
    """Traces while the body runs; afterwards the result has everything, unless the body killed it."""
    argv = command("trace", "--format", "json", *options)
    with tempfile.TemporaryFile("w+") as out, tempfile.NamedTemporaryFile("w+") as err:
        tracer = Tracer(0, "", "")
        tracer.process = subprocess.Popen(argv, stdout=out, stderr=err, text=True)
        deadline = time.monotonic() + 120
        while "tracing" not in Path(err.name).read_text():
            assert tracer.process.poll() is None, Path(err.name).read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        try:
            yield tracer
            time.sleep(0.3)
        finally:
            tracer.process.send_signal(signal.SIGINT)
            tracer.status = tracer.process.wait(60)
        out.seek(0)
        tracer.out, tracer.err = out.read(), Path(err.name).read_text()


@pytest.fixture(autouse=True)
def nothing_left_behind():
    """No probe of ours outlives the command that set it."""
    yield
    left = [line for line in Path("/sys/kernel/tracing/kprobe_events").read_text().splitlines() if "inetprobe_" in line]
    assert not left


def pytest_configure(config):
    if os.geteuid():
        raise pytest.UsageError("the live tests need root: run make live")
