"""Kernels whose compiler inlined, renamed or split a function, by symbols that say so of this one."""

import re
import sys
from pathlib import Path

import pytest

from inetprobe.kernel.host import syscall, tracefs
from inetprobe.kernel.host.kallsyms import KALLSYMS, Symbols
from inetprobe.kernel.host.kprobe import Kprobe
from inetprobe.kernel.program.target import Target
from inetprobe.record.arrow.reader import RecordingReader
from tests.live.conftest import accounted, in_socket, inetprobe, shape

# 200 is refused after two requests for a module; the last is MPTCP, which some kernels lack, and which makes a socket
# within its own on some.
SOCKETS = """
import contextlib, socket
for family, type_, protocol in ((2, 1, 0), (2, 2, 0), (10, 1, 0), (10, 3, 58), (2, 1, 200), (2, 1, 262)):
    with contextlib.suppress(OSError): socket.socket(family, type_, protocol).close()
"""
CREATES = ["inet_create", "inet_create", "inet6_create", "inet6_create", "inet_create", "inet_create"]
ERRNOS = [None, None, None, None, "EPROTONOSUPPORT"]
PROTS = ["TCP", "UDP", "TCPv6", "RAWv6", None]
CONNECTION = """
with socket.socket(1, 1, 0), socket.create_server(("127.0.0.1", 0)) as listener:
    with socket.create_connection(listener.getsockname()), listener.accept()[0]: pass
"""


@pytest.fixture
def pretend(monkeypatch):
    """A function that takes names from this kernel's symbols, and adds others."""

    def pretend(*without, instead=()):
        symbols = Symbols.of_kernel()
        changed = Symbols([*(symbols._names - {*without}), *instead], symbols.image)
        monkeypatch.setattr(Symbols, "of_kernel", lambda path=KALLSYMS: changed)

    return pretend


def traced(program, *options):
    result = inetprobe("trace", "--format", "json", *options, "--", sys.executable, "-c", program)
    assert result.status == 0, result.err
    assert accounted(result.summary), result.summary
    assert not result.summary["lost"]
    assert all(trace["complete"] for trace in result.traces)
    return result


def check_path(traces, allocation):
    """Every socket of SOCKETS is traced, as the model predicts, with these calls where it is allocated."""
    assert [trace["calls"][1]["function"] for trace in traces] == CREATES
    assert [trace["verdict"] for trace in traces] == ["as_predicted"] * len(CREATES), traces
    for trace, errno, prot in zip(traces, ERRNOS, PROTS, strict=False):
        assert (trace["errno"], trace["prot"]) == (errno, prot)
        assert shape(trace)[2:] == ([(2, "__request_module")] * 2 if errno else allocation)


def test_an_inlined_sk_prot_alloc_is_absent_from_every_trace(pretend, tmp_path):
    pretend("sk_prot_alloc", instead=["sk_prot_alloc.part.0"])
    result = traced(SOCKETS, "-o", tmp_path / "r.arrows")
    check_path(result.traces, [(2, "sk_alloc")])
    assert "this kernel has no sk_prot_alloc, but sk_prot_alloc.part.0: no trace has a call of it" in result.err
    assert inetprobe("replay", tmp_path / "r.arrows", "--format", "json").out == result.out


def test_a_renamed_sk_prot_alloc_is_traced_without_its_arguments(pretend, monkeypatch, tmp_path):
    """The kprobe is set on the name that the function has here."""
    pretend("sk_prot_alloc", instead=["sk_prot_alloc.isra.0"])
    monkeypatch.setattr(Target, "renamed", {"sk_prot_alloc": "sk_prot_alloc"})
    result = traced(SOCKETS + CONNECTION, "--family", "all", "-o", tmp_path / "r.arrows")
    check_path(result.traces[: len(CREATES)], [(2, "sk_alloc"), (3, "sk_prot_alloc")])
    assert "sk_prot_alloc.isra.0: it is traced by a kprobe without its arguments" in result.err
    run = RecordingReader(tmp_path / "r.arrows").run
    assert (run.symbols.keys(), run.mechanisms["sk_prot_alloc"]) == ({"sk_prot_alloc"}, "kprobe")
    # The accepted connection is neither counted nor traced.
    assert result.summary["accepted"] == {}
    assert [(trace["family"], *shape(trace)) for trace in result.traces[len(CREATES) :]] == [
        (1, *in_socket((0, "sk_alloc"), (1, "sk_prot_alloc"))),
        (2, *in_socket((0, "inet_create"), (1, "sk_alloc"), (2, "sk_prot_alloc"))),
        (2, *in_socket((0, "inet_create"), (1, "sk_alloc"), (2, "sk_prot_alloc"))),
    ]


def test_a_split_inet_create_leaves_the_sockets_of_ipv6(pretend):
    """With --family all, those of AF_INET are seen as far as sk_alloc."""
    pretend("inet_create", "sk_prot_alloc", instead=["inet_create.part.0.constprop.0"])
    result = traced(SOCKETS + CONNECTION, "--mechanism", "kprobe", "--family", "all")
    inet6 = [trace for trace in result.traces if trace["family"] == 10]
    without_sk_prot_alloc = in_socket((0, "inet6_create"), (1, "sk_alloc"))
    assert [(trace["verdict"], shape(trace)) for trace in inet6] == [("as_predicted", without_sk_prot_alloc)] * 2
    inet = [trace for trace in result.traces if trace["family"] == 2]
    assert len(inet) >= 4
    for trace in inet:
        call = "__request_module" if trace["errno"] else "sk_alloc"
        assert trace["verdict"] == "unmodelled"
        # MPTCP makes a second sock within its own, on some kernels.
        assert shape(trace) in [in_socket(*[(0, call)] * times) for times in (1, 2)]
        assert trace["reason"] == "inet_create cannot be traced on this kernel"
    assert "this kernel has no inet_create, but inet_create.part.0.constprop.0: there are no AF_INET" in result.err


@pytest.mark.parametrize("named", [True, False])
def test_a_kprobe_can_be_set_on_a_name_that_the_compiler_made(named):
    folder = tracefs.writable() if named else None
    names = re.findall(r" t ((?:sock|inet|tcp|udp)\w*\.(?:isra|constprop)\.0)$", KALLSYMS.read_text(), re.MULTILINE)
    # Newer kernels refuse a name that several functions have.
    name = next(name for name in names if names.count(name) == 1)
    program = syscall.load_program(syscall.KPROBE, "it", syscall.RETURN_0)
    for maxactive in (None, 10):
        kprobe = Kprobe.attach(folder, program, name, 3, maxactive)
        assert (name in Path("/sys/kernel/tracing/kprobe_events").read_text()) == named
        kprobe.close()
