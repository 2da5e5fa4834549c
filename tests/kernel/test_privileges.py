"""The privileges that a process has left, as the kernel reports them of a child."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from inetprobe.kernel.host import privileges

CHILD = """
import sys
from inetprobe.kernel.host import privileges
privileges.set_no_new_privileges()
privileges.drop(frozenset(map(int, sys.argv[1:])))
print(open("/proc/self/status").read())
"""


def status(keep):
    argv = [sys.executable, "-c", CHILD, *map(str, keep)]
    out = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    return dict(line.split(":\t", 1) for line in out.splitlines() if ":\t" in line)


@pytest.mark.parametrize("keep", [frozenset(), privileges.SIGNALS, privileges.attaching()])
def test_only_the_kept_capabilities_are_left(keep):
    lines = Path("/proc/self/status").read_text().splitlines()
    had = int(next(line for line in lines if line.startswith("CapPrm")).split()[1], 16)
    left = status(keep)
    kept = had & sum(1 << number for number in keep)
    assert [int(left[name], 16) for name in ("CapPrm", "CapEff", "CapInh", "CapAmb")] == [kept, kept, 0, 0]
    assert left["NoNewPrivs"] == "1"
    if not os.geteuid():
        assert not left["Groups"].strip()


@pytest.mark.parametrize(("paranoid", "wanted"), [("2\n", {38, 39}), ("3\n", {21, 38, 39}), ("-1\n", {38, 39})])
def test_attaching_depends_on_perf_event_paranoid(tmp_path, paranoid, wanted):
    setting = tmp_path / "perf_event_paranoid"
    setting.write_text(paranoid)
    assert privileges.attaching(setting) == wanted


def test_importing_a_command_starts_no_threads():
    program = (
        "import os; before = dict(os.environ)\n"
        "from inetprobe.cli.main import cli\n"
        "cli.get_command(None, 'record')\n"
        "assert dict(os.environ) == before\n"
        "print(len(os.listdir('/proc/self/task')))"
    )
    argv = [sys.executable, "-c", program]
    assert subprocess.run(argv, capture_output=True, text=True, check=True).stdout == "1\n"
