"""sk_alloc() fails in the kernel itself: in a cgroup without memory, and by a denial of a security hook."""

import os
import sys
from collections import Counter

import pytest

from inetprobe.kernel.host import syscall
from inetprobe.kernel.host.btf import Btf
from inetprobe.kernel.program import compiler
from tests.live import cgroup_denial
from tests.live.conftest import HERE, accounted, in_socket, inetprobe, shape

FAILED = in_socket((0, "inet_create"), (1, "sk_alloc"), (2, "sk_prot_alloc"))
DENIED = """
int it(void *ctx)
{
    char comm[16] = {};
    bpf_get_current_comm(comm, sizeof(comm));
    return comm[0] == 'd' && comm[1] == 'e' && comm[2] == 'n' && comm[3] == 'y' ? -12 : 0;
}
"""
MODIFY_RETURN = syscall.ProgramType(26, 26)
DENY_ME = """
import contextlib, ctypes, socket
ctypes.CDLL(None).prctl(15, b"deny-me")
for family in (2, 10):
    with contextlib.suppress(OSError): socket.socket(family, 1, 0)
"""


def check_verdict(trace):
    assert (trace["complete"], trace["verdict"]) == (True, "as_predicted"), trace
    assert trace["evidence"] == ["sk_prot_alloc returned NULL"]
    assert [call.get("pointer") for call in trace["calls"]] == [None, None, "NULL", "NULL"]


def test_out_of_memory_in_a_cgroup_is_traced_as_a_failed_sk_prot_alloc():
    with cgroup_denial.cgroup("inetprobe-starved") as cgroup:
        result = inetprobe("trace", "--format", "json", "--", sys.executable, HERE / "starved.py", cgroup)
    assert result.status == 0, (result.status, result.err)
    assert accounted(result.summary)
    starved = [trace for trace in result.traces if trace["errno"]]
    found = Counter(trace["stage"] for trace in starved)
    for trace in starved:
        if trace["stage"] == "inode":
            assert (trace["rule"], trace["errno"], shape(trace)) == ("inode", "ENFILE", in_socket())
        elif trace["stage"] == "descriptor":
            assert (trace["rule"], trace["errno"], shape(trace)) == ("file-memory", "ENOMEM", FAILED)
        else:
            assert shape(trace) == FAILED
            assert trace["errno"] in ("ENOBUFS", "ENOMEM")
            check_verdict(trace)
    print(f"of {len(result.traces)} sockets these found no memory: {found}")
    assert found["create"], "only inodes and files found no memory, never a sock: the test shows nothing"


@pytest.fixture
def denial():
    """security_sk_alloc() denies every process whose comm begins with "deny"."""
    code = compiler.compile_program(DENIED, [], None).functions["it"]
    program = syscall.load_program(MODIFY_RETURN, "deny", code, Btf.of_kernel().prototype("security_sk_alloc").type_id)
    attached = syscall.attach(program)
    yield
    os.close(attached)
    os.close(program)


@pytest.mark.parametrize("mechanism", ["kprobe", "fentry"])
def test_a_denial_by_a_security_hook_is_traced_as_a_failed_sk_prot_alloc(mechanism, denial):
    result = inetprobe("trace", "--format", "json", "--mechanism", mechanism, "--", sys.executable, "-c", DENY_ME)
    assert [trace["family"] for trace in result.traces] == [2, 10]
    assert result.traces[0]["errno"] in ("ENOBUFS", "ENOMEM")
    assert result.traces[1]["errno"] == "ENOBUFS"
    for trace in result.traces:
        check_verdict(trace)
