"""Live tests run as root on a kernel that can be traced: `make live` boots one VM for all of them."""

import json
import os
import subprocess
import sys
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


@pytest.fixture(autouse=True)
def nothing_left_behind():
    """No probe of ours outlives the command that set it."""
    yield
    left = [line for line in Path("/sys/kernel/tracing/kprobe_events").read_text().splitlines() if "inetprobe_" in line]
    assert not left


def pytest_configure(config):
    if os.geteuid():
        raise pytest.UsageError("the live tests need root: run make live")
