"""deploy/ gives `serve` the privileges that it needs on this kernel, and no others."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.live.conftest import MECHANISMS, command

DEPLOY = Path(__file__).parents[2] / "deploy"
PARANOID = Path("/proc/sys/kernel/perf_event_paranoid")


def unit_capabilities():
    text = (DEPLOY / "systemd/inetprobe.service").read_text()
    return re.search(r"^CapabilityBoundingSet=(.+)$", text, re.MULTILINE)[1].replace("CAP_", "").lower().split()


def daemon_set_capabilities():
    spec = yaml.safe_load((DEPLOY / "kubernetes/daemonset.yaml").read_text())["spec"]["template"]["spec"]
    return [name.lower() for name in spec["containers"][0]["securityContext"]["capabilities"]["add"]]


def serve_once(capabilities, mechanism):
    """Runs `serve --once` as user ID 0 with only these capabilities and, like the unit, unlimited locked memory."""
    bounding = ",".join(["-all", *(f"+{name}" for name in capabilities)])
    prefix = ["prlimit", "--memlock=unlimited", "setpriv", f"--bounding-set={bounding}", "--no-new-privs", "--"]
    argv = [*prefix, *command("serve", "--once", "--mechanism", mechanism)]
    return subprocess.run(argv, capture_output=True, text=True, check=False)


def all_attached(page):
    values = re.findall(r"^inetprobe_probe_attached\{.*\} (\S+)$", page, re.MULTILINE)
    return values and set(map(float, values)) == {1.0}


@pytest.fixture(name="paranoid")
def set_paranoid():
    """Sets kernel.perf_event_paranoid, and resets it after the test."""
    before = PARANOID.read_text()
    yield lambda value: PARANOID.write_text(f"{value}\n")
    PARANOID.write_text(before)


@MECHANISMS
@pytest.mark.parametrize(("value", "capabilities"), [(3, unit_capabilities), (2, daemon_set_capabilities)])
def test_the_capabilities_in_deploy_are_enough(mechanism, value, capabilities, paranoid):
    paranoid(value)
    done = serve_once(capabilities(), mechanism)
    assert done.returncode == 0, done.stderr
    assert all_attached(done.stdout)


@pytest.mark.parametrize(
    ("value", "capabilities", "missing"),
    [(3, unit_capabilities, "sys_admin"), (2, daemon_set_capabilities, "bpf"), (2, daemon_set_capabilities, "perfmon")],
)
def test_without_one_of_the_capabilities_serve_cannot_start(value, capabilities, missing, paranoid):
    """At 3 Debian's kernels demand CAP_SYS_ADMIN, which can replace the other two."""
    paranoid(value)
    done = serve_once([name for name in capabilities() if name != missing], "kprobe")
    assert done.returncode == 3
    (line,) = done.stderr.splitlines()
    if missing == "sys_admin":
        finding = "perf_event_open() is refused (Permission denied; kernel.perf_event_paranoid is 3)"
        assert line.startswith(f"inetprobe: {finding}: add CAP_SYS_ADMIN "), line
