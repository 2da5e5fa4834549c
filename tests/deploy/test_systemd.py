"""The unit by systemd's own tools: it has no mistake, is little exposed, and starts a valid command."""

import re
import shlex
import subprocess
import sys

import pytest

from inetprobe.kernel.host import syscall
from tests.support import serve_options
from tests.support.paths import ROOT

SYSTEMD = ROOT / "deploy/systemd"
UNIT = SYSTEMD / "inetprobe.service"
PROGRAM = "/opt/inetprobe/bin/inetprobe"
MAX_EXPOSURE = 3.0


def settings(text):
    """Every value of every key, in order."""
    values = {}
    for key, value in re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE):
        values.setdefault(key, []).append(value)
    return values


def analyze(*argv):
    return subprocess.run(
        ["systemd-analyze", "--no-pager", *map(str, argv)], capture_output=True, text=True, check=False
    )


def verified(folder, text):
    """systemd's complaints about the unit, which include a program that does not exist."""
    unit = folder / UNIT.name
    unit.write_text(text.replace(PROGRAM, sys.executable))
    done = analyze("verify", "--man=no", unit)
    return [line for line in done.stderr.splitlines() if UNIT.name in line or str(folder) in line]


def test_systemd_verifies_the_unit(tmp_path):
    text = UNIT.read_text()
    assert verified(tmp_path, text) == []
    assert any("ProtectHomes" in line for line in verified(tmp_path, text.replace("ProtectHome=", "ProtectHomes=")))
    assert any("exec" in line for line in verified(tmp_path, text.replace(PROGRAM, "/no/such/program")))


def test_the_unit_may_write_its_cache():
    unit = settings(UNIT.read_text())
    assert unit["Environment"] == [f"INETPROBE_CACHE=%C/{unit['CacheDirectory'][0]}"]
    assert unit["CacheDirectoryMode"] == ["0700"]


def exposure(unit, *options):
    done = analyze("security", "--offline=true", *options, unit)
    return float(re.search(r"exposure level for \S+: ([\d.]+)", done.stdout)[1]), done.returncode


def test_the_units_exposure_is_below_the_limit(tmp_path):
    measured, status = exposure(UNIT, f"--threshold={MAX_EXPOSURE * 10:.0f}")
    assert measured <= MAX_EXPOSURE
    assert status == 0
    weaker = tmp_path / UNIT.name
    weaker.write_text(
        re.sub(r"^(CapabilityBoundingSet|SystemCallFilter)=.*\n", "", UNIT.read_text(), flags=re.MULTILINE)
    )
    measured, status = exposure(weaker, f"--threshold={MAX_EXPOSURE * 10:.0f}")
    assert measured > MAX_EXPOSURE
    assert status != 0


def test_each_capability_has_its_reason():
    text = UNIT.read_text()
    (granted,) = settings(text)["CapabilityBoundingSet"]
    reasons = re.findall(r"^#   (CAP_\w+) +\S", text, re.MULTILINE)
    assert granted.split() == reasons == ["CAP_BPF", "CAP_PERFMON", "CAP_SYS_ADMIN"]


def test_settings_that_would_break_it_are_left_out_with_a_reason():
    values = settings(UNIT.read_text())
    for key in ("ProtectKernelTunables", "ProtectKernelModules", "ProtectProc", "ProcSubset", "MemoryDenyWriteExecute"):
        assert key not in values
        assert f"# {key}=" in UNIT.read_text() or f"and {key}=" in UNIT.read_text()
    assert values["LimitMEMLOCK"] == ["infinity"]
    assert "AF_UNIX" in values["RestrictAddressFamilies"][0]  # sd_notify
    assert values["Type"] == ["notify"]
    everyday = analyze("syscall-filter", "@system-service").stdout.split()
    last = values["SystemCallFilter"][-1].split()
    assert {*syscall.NUMBERS["x86_64"], "capset", "seccomp"} <= {*last, *everyday}
    assert {"bpf", "perf_event_open", "capset", "seccomp", "landlock_restrict_self"} <= set(last)


@pytest.mark.parametrize("commented", [False, True])
def test_the_defaults_are_options_of_serve(commented):
    text = (SYSTEMD / "inetprobe.default").read_text()
    (start,) = settings(UNIT.read_text())["ExecStart"]
    assert start == f"{PROGRAM} serve $INETPROBE_OPTIONS"
    assert settings(UNIT.read_text())["EnvironmentFile"] == ["-/etc/default/inetprobe"]
    lines = re.findall(
        r"^#   INETPROBE_OPTIONS=(.*)$" if commented else r"^INETPROBE_OPTIONS=(.*)$", text, re.MULTILINE
    )
    (quoted,) = lines
    (options,) = shlex.split(quoted)
    assert serve_options.params(shlex.split(options))["address"] == (":10924" if commented else "127.0.0.1:10924")
