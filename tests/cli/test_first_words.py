"""What every live command says on a machine that cannot be traced, and how it ends: one sentence, status 3.

Each case is a mount namespace in which files of this machine's are hidden or replaced, as in a container. Fake roots
for the same checks are in ``tests/kernel/test_host_checks.py``.
"""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from inetprobe.kernel import libbcc
from inetprobe.kernel.host import btf

_COMMANDS = (
    "trace -- touch {ran}",
    "record -o {out} -- touch {ran}",
    "top --once -- touch {ran}",
    "serve --listen 127.0.0.1:0",
)
# Each command in a fork, which finds everything imported.
_FORKS = """
import os, sys
import inetprobe.commands.record, inetprobe.commands.serve.command, inetprobe.commands.top.once
from inetprobe.cli.main import main

for line in sys.argv[1:]:
    pid = os.fork()
    if not pid:
        sys.argv = ["inetprobe", *line.split()]
        main()
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""
_IN_A_VM = "or trace in a VM: inetprobe vm -- trace"
# perf's own kprobes, so that a kernel without any gets as far as the compiler.
_KPROBES = "mount -t tmpfs none /sys/bus/event_source/devices; mkdir /sys/bus/event_source/devices/kprobe; "
_KPROBES += "echo 6 > /sys/bus/event_source/devices/kprobe/type"
_NO_TRACEFS = "mount -t tmpfs none /sys/kernel/tracing; mount -t tmpfs none /sys/kernel/debug"


def said(hide, tmp_path, before=("unshare", "--mount")):
    """The set of what the commands wrote on stderr, after the shell line ``hide``; they all end with 3, and start no
    COMMAND."""
    words = {"ran": tmp_path / "ran", "out": tmp_path / "out"}
    lines = [line.format(**words) for line in _COMMANDS]
    # From Python 3.12 on, the script itself would be warned that a library has threads when it forks.
    forks = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", _FORKS, *lines]
    script = f"set -e; {hide}; exec {shlex.join(forks)}"
    done = subprocess.run(
        [*before, "sh", "-c", script],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, "INETPROBE_CACHE": str(tmp_path / "cache")},
    )
    assert done.stdout == "3\n" * len(lines), done.stderr
    assert not (tmp_path / "ran").exists()
    assert len(done.stderr.splitlines()) == len(lines), done.stderr
    return set(done.stderr.splitlines())


as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may load programs, and hide files from the tracer")


def test_without_root(tmp_path):
    why = "tracing needs root (or CAP_BPF and CAP_PERFMON, and access to tracefs)"
    before = () if os.geteuid() else ("unshare", "--user")
    assert said("true", tmp_path, before) == {f"inetprobe: {why}: run it again with sudo"}


@as_root
def test_root_without_capabilities(tmp_path):
    why = "root has neither CAP_SYS_ADMIN nor CAP_BPF with CAP_PERFMON here"
    fix = "start the container with --cap-add=bpf --cap-add=perfmon --cap-add=sys_admin"
    assert said("true", tmp_path, ("setpriv", "--bounding-set=-all", "--inh-caps=-all")) == {f"inetprobe: {why}: {fix}"}


@as_root
def test_root_of_a_user_namespace(tmp_path):
    why = "bpf() refuses to load a kprobe program (Operation not permitted) to root of a user namespace"
    fix = "start the container as real root"
    assert said("true", tmp_path, ("unshare", "--user", "--map-root-user")) == {f"inetprobe: {why}: {fix}"}


@as_root
def test_a_kernel_without_kprobes(tmp_path):
    """Such as one in which everything that would show them is hidden. Where fentry could do without them, it is tried,
    and says how it failed."""
    hide = f"{_NO_TRACEFS}; mount -t tmpfs none /sys/bus/event_source/devices"
    (line,) = said(hide, tmp_path)
    assert re.fullmatch(
        r"inetprobe: this kernel has no kprobes(, and fentry does not work \(it is not loaded: .*\))?: "
        rf"boot a kernel with CONFIG_KPROBE_EVENTS=y, {re.escape(_IN_A_VM)}",
        line,
    )


@as_root
def test_without_btf(tmp_path):
    why = f"{btf.VMLINUX} cannot be read (No such file or directory)"
    fix = f"boot a kernel with CONFIG_DEBUG_INFO_BTF=y, {_IN_A_VM}"
    assert said(f"mount -t tmpfs none {btf.VMLINUX.parent}", tmp_path) == {f"inetprobe: {why}: {fix}"}


@as_root
def test_without_sysfs(tmp_path):
    assert said("mount -t tmpfs none /sys", tmp_path) == {
        "inetprobe: /sys is not mounted here: mount -t sysfs sysfs /sys"
    }


@as_root
def test_without_symbols(tmp_path):
    fix = "start the container with --security-opt systempaths=unconfined, or the unit with ProtectKernelTunables=no"
    hide = f"touch {tmp_path}/empty; mount --bind {tmp_path}/empty /proc/kallsyms"
    assert said(hide, tmp_path) == {f"inetprobe: /proc/kallsyms is hidden here: {fix}"}


@as_root
def test_without_bcc(tmp_path):
    """Neither BCC's library nor its Python binding, on a system of which os-release says that it is like Fedora."""
    text = Path(libbcc.__file__).read_text().replace('"libbcc.so.0"', '"libnothing.so.0"')
    (tmp_path / "libbcc.py").write_text(text.replace("from bcc", "from nothing"))
    (tmp_path / "os-release").write_text('ID="amzn"\nID_LIKE="fedora"\n')
    hide = f"{_KPROBES}; mount --bind {tmp_path}/libbcc.py {libbcc.__file__}"
    hide += f"; mount --bind {tmp_path}/os-release $(readlink -f /etc/os-release)"
    why = "libnothing.so.0: cannot open shared object file: No such file or directory"
    assert said(hide, tmp_path) == {f"inetprobe: there is no BCC, the compiler ({why}): dnf install bcc"}
