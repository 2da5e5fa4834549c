"""Failures that no program can bring about by itself: the kernel's security hooks deny, each for one thread's name."""

import os
import sys

import pytest

from inetprobe.kernel.host import syscall
from inetprobe.kernel.host.btf import Btf
from inetprobe.kernel.program import compiler
from tests.live.bpf_programs import MODIFY_RETURN
from tests.live.conftest import MECHANISMS, accounted, in_socket, inetprobe, shape

STREAM, RAW, ICMP = 1, 3, 1
EPERM, ENOMEM, EACCES = 1, 12, 13
CREATE = in_socket((0, "inet_create"))
WHOLE = in_socket((0, "inet_create"), (1, "sk_alloc"), (2, "sk_prot_alloc"))
# The hook, its errno, the socket's type and protocol, its errno (None: the kernel's choice), rule and calls.
HOOKS = [
    ("security_socket_create", EACCES, STREAM, 0, "EACCES", "security", in_socket()),
    ("security_inode_alloc", ENOMEM, STREAM, 0, "ENFILE", "inode", in_socket()),
    ("security_capable", EPERM, RAW, ICMP, "EPERM", "cap-net-raw-denied", CREATE),
    ("security_sk_alloc", ENOMEM, STREAM, 0, None, "alloc-memory", WHOLE),
    ("security_socket_post_create", EACCES, STREAM, 0, "EACCES", "post-create", WHOLE),
    ("security_file_alloc", ENOMEM, STREAM, 0, "ENOMEM", "file-memory", WHOLE),
]
TEXT = """
static inline __attribute__((always_inline)) int of(char letter)
{
    char comm[16] = {};
    bpf_get_current_comm(comm, sizeof(comm));
    return comm[0] == 'd' && comm[1] == 'e' && comm[2] == 'n' && comm[3] == 'y' && comm[4] == letter;
}
""" + "".join(
    f"int {hook}(void *ctx) {{ return of('{number}') ? -{error} : 0; }}\n"
    for number, (hook, error, *_) in enumerate(HOOKS)
)
PROGRAM = f"""
import ctypes
libc = ctypes.CDLL(None)
for index, (type_, protocol) in enumerate({[(type_, protocol) for _, _, type_, protocol, *_ in HOOKS]}):
    libc.prctl(15, b"deny%d" % index)
    for family in 2, 10:
        libc.socket(family, type_, protocol if family == 2 else 58 * bool(protocol))
libc.prctl(15, b"done")
"""


@pytest.fixture(scope="module")
def denials():
    functions, types, opened = compiler.compile_program(TEXT, [], None).functions, Btf.of_kernel(), []
    for hook, *_ in HOOKS:
        opened.append(syscall.load_program(MODIFY_RETURN, hook, functions[hook], types.prototype(hook).type_id))
        opened.append(syscall.attach(opened[-1]))
    yield
    for fd in reversed(opened):
        os.close(fd)


@MECHANISMS
def test_each_denial_has_its_rule(denials, mechanism):
    result = inetprobe("trace", "--format", "json", "--mechanism", mechanism, "--", sys.executable, "-c", PROGRAM)
    expected = [(family, *hook) for hook in HOOKS for family in (2, 10)]
    for trace, (family, hook, _, _, _, errno, rule, calls) in zip(result.traces, expected, strict=True):
        of_family = [(depth, name.replace("inet_", "inet6_") if family == 10 else name) for depth, name in calls]
        assert (trace["verdict"], trace["rule"], shape(trace)) == ("as_predicted", rule, of_family), (hook, trace)
        assert trace["errno"] == errno or (errno is None and trace["errno"] in ("ENOMEM", "ENOBUFS")), (hook, trace)
        assert trace["fix"], hook
        if hook == "security_sk_alloc":
            assert trace["evidence"] == ["sk_prot_alloc returned NULL"]
            assert [call.get("pointer") for call in trace["calls"]] == [None, None, "NULL", "NULL"]
    assert accounted(result.summary)
