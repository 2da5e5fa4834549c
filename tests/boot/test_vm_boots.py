"""One real boot: what `inetprobe vm` promises, and what no running kernel takes back: lockdown, and IPv6 disabled."""

import errno
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from inetprobe.base.cache import cache_folder
from inetprobe.vm import kernels

GUEST = """
import json, os, socket, subprocess, sys
from pathlib import Path

LOCKDOWN = Path("/sys/kernel/security/lockdown")
TRACE = [sys.executable, "-m", "inetprobe", "trace", "--format", "json", "--", sys.executable, "-c"]
TRACE += ["import socket; socket.socket(2, 1, 0)"]

def trace_under(mode):
    if not LOCKDOWN.exists():
        subprocess.run(["mount", "-t", "securityfs", "securityfs", "/sys/kernel/security"], check=True)
    LOCKDOWN.write_text(mode)
    done = subprocess.run(TRACE, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr

print(os.uname().release)
print(Path("/sys/kernel/tracing/kprobe_events").exists())
socket.socket(2, 1, 132)
print("sctp" in Path("/proc/modules").read_text())
try:
    socket.socket(10, 2, 0)
except OSError as error:
    print(error.errno)
EXPLAIN = [sys.executable, "-m", "inetprobe", "explain", "--format", "json", "socket(AF_INET6, SOCK_DGRAM, 0)"]
print(subprocess.run(EXPLAIN, stdin=subprocess.DEVNULL, capture_output=True, text=True).stdout, end="")
print(json.dumps({mode: trace_under(mode) for mode in ("integrity", "confidentiality")}))
print("on stderr", file=sys.stderr)
sys.exit(37)
"""
PROGRAM = f"""
import sys
from pathlib import Path
from inetprobe.kernel.program import vm_compiler
from inetprobe.vm.run_in_vm import run_in_vm
def answer(task):
    print("the host compiles", file=sys.stderr)
    return vm_compiler.answer(task)
argv, append = [sys.executable, "-c", {GUEST!r}], ["ipv6.disable=1"]
sys.exit(run_in_vm(argv, answer, kernel=Path(sys.argv[1]), cpus=1, append=append))
"""


def link_or_copy(file, copy):
    try:
        os.link(file, copy)
    except OSError:  # on another file system
        shutil.copy2(file, copy)


@pytest.fixture(scope="module")
def boot():
    cached = cache_folder() / "kernels"
    image = kernels.resolve(None, lambda line: None).relative_to(cached)
    release = image.parts[0]
    with tempfile.TemporaryDirectory(dir="/var/tmp") as hidden:  # from the guest's own programs, by its init
        shutil.copytree(cached / release, Path(hidden, release), symlinks=True, copy_function=link_or_copy)
        return subprocess.run(
            [sys.executable, "-c", PROGRAM, Path(hidden, image)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )


def test_streams_status_and_modules_pass_through(boot):
    assert boot.returncode == 37, boot.stderr
    release, tracefs, sctp, *_ = boot.stdout.splitlines()
    assert release.startswith("6.1.")
    assert (tracefs, sctp) == ("True", "True")
    assert "on stderr" in boot.stderr
    assert "on stderr" not in boot.stdout


def test_integrity_does_not_stop_tracing_and_confidentiality_does(boot):
    under = json.loads(boot.stdout.splitlines()[5])
    status, out, err = under["integrity"]
    assert status == 0, err
    assert [json.loads(line)["kind"] for line in out.splitlines()].count("trace") == 1
    status, out, err = under["confidentiality"]
    assert (status, out) == (3, "")
    finding = "lockdown=confidentiality forbids reading kernel memory"
    assert err == f"inetprobe: {finding}: boot with lockdown=integrity or less\n"


def test_the_host_compiled_the_one_program_that_was_traced_with(boot):
    assert boot.stderr.splitlines().count("the host compiles") == 1


def test_a_kernel_without_ipv6_is_explained(boot):
    seen, explained = boot.stdout.splitlines()[3:5]
    assert int(seen) == errno.EAFNOSUPPORT
    answer = json.loads(explained)
    assert (answer["errno"], answer["stage"], answer["rule"]) == ("EAFNOSUPPORT", "family", "ipv6-disabled")
    assert [call["function"] for call in answer["calls"]] == ["__request_module"]
    assert answer["would_change"] == {"with IPv6 enabled": None}
