"""A confined process tries what it must not do; ``tests/live/test_confinement.py`` has the same beside real probes."""

import errno
import json
import os
import socket
import subprocess
import sys

import pytest

from inetprobe.base.errors import InetprobeError
from inetprobe.kernel.host import landlock, syscall, system_call_filter
from tests.support.module import run_module
from tests.support.web_server import Authority

LANDLOCK, LIBSECCOMP = landlock.version().number, system_call_filter.library()
#: Each run of a command, and the attempts that it may succeed in.
STAYS = {"a UNIX socket", "signal itself"}
RUN = """
import os, sys
from pathlib import Path
from inetprobe.kernel.host import confinement, landlock, privileges, system_call_filter
def tried(attempt):
    try:
        attempt()
    except OSError as error:
        return error.strerror
    return "done"
"""


def attempts(tmp_path, *argv):
    """What a confined ``inetprobe ARGV`` could not do, and the errno of each."""
    (tmp_path / "removed").touch()
    done = run_module("tests.support.tries", tmp_path / "tried", *argv)
    assert done.returncode == 0, done.stderr
    tried = json.loads((tmp_path / "tried").read_text())
    return {name: error for name, error in tried.items() if name not in STAYS}, {
        name: error for name, error in tried.items() if name in STAYS
    }


@pytest.mark.skipif(LANDLOCK < 4 or LIBSECCOMP is None, reason="this kernel, or this machine, has less to give up")
@pytest.mark.parametrize(
    "argv", [("trace",), ("record", "-o", "{out}"), ("top", "--once"), ("why",), ("trace", "--", "true")], ids=" ".join
)
def test_a_live_run_can_do_none_of_it(tmp_path, argv):
    words = [word.format(out=tmp_path / "out.arrows") for word in argv]
    words[1:1] = ["--duration", "100ms"]
    refused, stays = attempts(tmp_path, *words)
    assert set(refused.values()) <= {"EACCES", "EPERM"}, refused
    assert set(stays.values()) == {None}
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "out.arrows") == ["removed", "tried"]


@pytest.mark.parametrize("argv", ["trace --format line", "top --once", "why --format json"])
def test_a_reader_that_has_gone_ends_a_confined_run_quietly(tmp_path, argv):
    reader, writer = os.pipe()
    os.close(reader)
    words = [*argv.split(), "--duration", "100ms"]
    done = run_module("tests.support.tries", tmp_path / "tried", *words, stdout=writer)
    os.close(writer)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr


def in_child(program, *argv):
    done = subprocess.run([sys.executable, "-c", RUN + program, *argv], capture_output=True, text=True, check=True)
    return done.stdout.split()


@pytest.mark.skipif(not LANDLOCK, reason="this kernel has no Landlock")
def test_files_that_are_kept_can_be_read_alone(tmp_path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").write_text("x")
    program = """
kept = Path(sys.argv[1])
confinement.confine(confinement.Kept(files=(kept / "file", Path("/nowhere/at all"))))
print((kept / "file").read_text())
for path, mode in (kept / "file", "a"), (kept / "new", "w"), (kept.parent / "other", "r"):
    print(tried(lambda: path.open(mode)).replace(" ", "_"))
"""
    (tmp_path / "other").write_text("x")
    assert in_child(program, tmp_path / "kept") == ["x", *["Permission_denied"] * 3]


@pytest.mark.skipif(not LANDLOCK, reason="this kernel has no Landlock")
def test_a_confined_server_reads_its_configuration_again_from_the_same_folders(tmp_path):
    """Certificates are renewed in place, or by another link; a file elsewhere takes a restart."""
    program = """
from inetprobe.commands.serve.web import Response, Server
said = []
server = Server("127.0.0.1:0", page=lambda o: Response(b"", ""), ready=lambda: True, say=said.append,
                config=Path(sys.argv[1]), telemetry_path="/metrics", failed=lambda: None)
server.bind()
confinement.confine(confinement.Kept(files=tuple(server.files)))
print("confined", flush=True)
for _ in sys.stdin:
    print(server.reload(), said[-1], flush=True)
"""
    for name in ("certificates", "renewed", "elsewhere"):
        (tmp_path / name).mkdir()
        Authority(tmp_path / name).issue("server", "localhost")
    (tmp_path / "etc").mkdir()
    config = tmp_path / "etc" / "web.yml"
    for name in ("server.pem", "server.key"):
        (tmp_path / "etc" / name).symlink_to(tmp_path / "certificates" / name)
    config.write_text("tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n")
    argv = [sys.executable, "-c", RUN + program, config]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as served:

        def reloaded():
            served.stdin.write("\n")
            served.stdin.flush()
            return served.stdout.readline().split(maxsplit=1)

        assert served.stdout.readline() == "confined\n"
        for name in ("server.pem", "server.key"):
            (tmp_path / "renewed" / name).replace(tmp_path / "certificates" / name)
        assert reloaded()[0] == "True"
        config.write_text(config.read_text().replace("server.", "../elsewhere/server."))
        done, why = reloaded()
        assert (done, "elsewhere/server.pem cannot be read: Permission denied" in why) == ("False", True), why
        served.stdin.close()
        assert served.wait() == 0


@pytest.mark.skipif(LANDLOCK < 6, reason="this kernel's Landlock leaves abstract sockets alone")
@pytest.mark.parametrize(("given", "sent"), [(True, "done"), (False, "Operation_not_permitted")])
def test_systemd_is_notified_over_an_abstract_socket_where_it_gives_one(given, sent):
    program = """
import socket
confinement.confine(confinement.Kept())
systemd = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
print(tried(lambda: systemd.sendto(b"READY=1", "\\0" + sys.argv[1])).replace(" ", "_"))
"""
    name = f"inetprobe-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd, pytest.MonkeyPatch.context() as patch:
        systemd.bind(f"\0{name}")
        if given:
            patch.setenv("NOTIFY_SOCKET", f"@{name}")
        else:
            patch.delenv("NOTIFY_SOCKET", raising=False)
        assert in_child(program, name) == [sent]


@pytest.mark.skipif(not LANDLOCK, reason="this kernel has no Landlock")
def test_what_is_imported_late_can_still_be():
    """The paths on which something goes wrong import modules that no test of a run does."""
    program = """
confinement.confine(confinement.Kept())
import sqlite3, click.shell_completion, encodings.idna, zoneinfo, pwd
print(len(zoneinfo.available_timezones()) > 10, pwd.getpwuid(0).pw_name)
"""
    assert in_child(program) == ["True", "root"]


@pytest.mark.parametrize(("error", "why"), [(errno.ENOSYS, "Function not implemented"), (errno.EPERM, "Operation not")])
def test_a_kernel_without_landlock_closes_nothing(monkeypatch, tmp_path, error, why):
    monkeypatch.setattr(syscall, "call", lambda *_: (-1, error))
    assert landlock.version().number == 0
    assert landlock.version().why.startswith(why)
    landlock.restrict([tmp_path], [], signals=False, abstract_sockets=False)


def test_a_kernel_that_refuses_is_one_sentence(monkeypatch, tmp_path):
    answers = {"landlock_create_ruleset": iter([(7, 0), (-1, errno.EINVAL)])}
    monkeypatch.setattr(syscall, "call", lambda name, *_: next(answers[name]))
    with pytest.raises(
        InetprobeError, match=r"^the kernel does not let files be closed \(landlock_create_ruleset: Inv"
    ):
        landlock.restrict([tmp_path], [], signals=False, abstract_sockets=False)


def test_a_machine_without_libseccomp_refuses_nothing(monkeypatch):
    monkeypatch.setattr(system_call_filter, "_LIBRARY", "libnothing.so.0")
    assert system_call_filter.library() is None
    system_call_filter.install(attaches=False, signals=False)


@pytest.mark.skipif(LIBSECCOMP is None, reason="this machine has no libseccomp")
def test_a_command_is_signalled_by_its_pidfd_alone():
    program = """
import signal, subprocess
child = subprocess.Popen(["cat"], stdin=subprocess.PIPE)  # which ends with this process
pidfd = os.pidfd_open(child.pid)
kept = sys.argv[1] == "kept"
system_call_filter.install(attaches=False, signals=kept)
print(tried(lambda: os.kill(child.pid, 9)).replace(" ", "_"))
print(tried(lambda: signal.pidfd_send_signal(pidfd, 9)).replace(" ", "_"))
if kept:
    print(child.wait())
else:
    print(child.poll())
"""
    assert in_child(program, "kept") == ["Operation_not_permitted", "done", "-9"]
    assert in_child(program, "dropped") == ["Operation_not_permitted"] * 2 + ["None"]


@pytest.mark.skipif(LIBSECCOMP is None, reason="this machine has no libseccomp")
def test_every_call_to_refuse_is_known_to_this_libseccomp_or_newer():
    lib = system_call_filter._load()
    newer = {"setxattrat", "removexattrat", "fchmodat2", "process_madvise", "quotactl_fd"}
    unknown = {rule.name for rule in system_call_filter._rules(attaches=False, signals=False)} - {
        name for name in system_call_filter._REFUSED if lib.seccomp_syscall_resolve_name(name.encode()) != -1
    }
    assert {name for name in unknown if lib.seccomp_syscall_resolve_name(name.encode()) == -1} <= newer
