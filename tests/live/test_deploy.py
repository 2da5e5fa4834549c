"""deploy/ gives `serve` the privileges that it needs on this kernel, and none that it does not."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.live.conftest import MECHANISMS, command

DEPLOY = Path(__file__).parents[2] / "deploy"
PARANOID = Path("/proc/sys/kernel/perf_event_paranoid")


def of_the_unit():
    text = (DEPLOY / "systemd/inetprobe.service").read_text()
    return re.search(r"^CapabilityBoundingSet=(.+)$", text, re.MULTILINE)[1].replace("CAP_", "").lower().split()


def of_the_daemon_set():
    spec = yaml.safe_load((DEPLOY / "kubernetes/daemonset.yaml").read_text())["spec"]["template"]["spec"]
    return [name.lower() for name in spec["containers"][0]["securityContext"]["capabilities"]["add"]]


def page_with(capabilities, mechanism):
    """`serve --once` by user id 0 with these capabilities, and the unit's limit of locked memory."""
    bounding = ",".join(["-all", *(f"+{name}" for name in capabilities)])
    prefix = ["prlimit", "--memlock=unlimited", "setpriv", f"--bounding-set={bounding}", "--no-new-privs", "--"]
    argv = [*prefix, *command("serve", "--once", "--mechanism", mechanism)]
    return subprocess.run(argv, capture_output=True, text=True, check=False)


def attached(page):
    found = re.findall(r"^inetprobe_probe_attached\{.*\} (\S+)$", page, re.MULTILINE)
    return found and set(map(float, found)) == {1.0}


@pytest.fixture(name="paranoid")
def set_paranoid():
    """Sets kernel.perf_event_paranoid for a test."""
    before = PARANOID.read_text()
    yield lambda value: PARANOID.write_text(f"{value}\n")
    PARANOID.write_text(before)


@MECHANISMS
@pytest.mark.parametrize(("value", "capabilities"), [(3, of_the_unit), (2, of_the_daemon_set)])
def test_its_capabilities_are_enough(mechanism, value, capabilities, paranoid):
    paranoid(value)
    done = page_with(capabilities(), mechanism)
    assert done.returncode == 0, done.stderr
    assert attached(done.stdout)


@pytest.mark.parametrize(
    ("value", "capabilities", "missing"),
    [(3, of_the_unit, "sys_admin"), (2, of_the_daemon_set, "bpf"), (2, of_the_daemon_set, "perfmon")],
)
def test_none_of_them_is_too_many(value, capabilities, missing, paranoid):
    """CAP_SYS_ADMIN, which stands in for the other two, is what Debian's kernels ask for at 3."""
    paranoid(value)
    done = page_with([name for name in capabilities() if name != missing], "kprobe")
    assert done.returncode == 3
    assert "Traceback" not in done.stderr
