import json
import os
import subprocess
import sys

import pytest

from inetprobe.model.profile import BUILT_IN_PROFILES
from inetprobe.model.rules import Rule
from tests.kernel.test_process import ADMIN
from tests.model.test_question import EXAMPLE
from tests.support import run_command
from tests.support.paths import ROOT
from tools.rules import pages


def explain(*argv, stdin=None, status=0):
    done = run_command.run("explain", *argv, stdin=stdin or "")
    assert done.returncode == status, done.stderr
    return done


def batch(*requests, status=0):
    lines = "".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in requests)
    return [json.loads(line) for line in explain("--batch", stdin=lines, status=status).stdout.splitlines()]


def test_example_of_the_contract():
    (answer,) = batch(EXAMPLE)
    assert answer["errno"] is None
    assert answer["calls"] == [
        {"function": "inet_create", "depth": 0}, {"function": "sk_alloc", "depth": 1},
        {"function": "sk_prot_alloc", "depth": 2},
    ]  # fmt: skip
    (answer,) = batch({**EXAMPLE, "loaded": [], "loadable": ["sctp"]})
    assert [call.get("module") for call in answer["calls"]][:3] == [
        None, "net-pf-2-proto-132-type-1", "net-pf-2-proto-132",
    ]  # fmt: skip
    (answer,) = batch({**EXAMPLE, "loaded": [], "loadable": []})
    assert (answer["outcome"], answer["errno"], answer["stage"]) == ("failed", "EPROTONOSUPPORT", "create")
    assert (answer["rule"], answer["reason"]) == (
        "protocol",
        "IPPROTO_SCTP (132) is not registered for SOCK_STREAM",
    )
    assert len(answer["evidence"]) == 1
    [fix] = answer["fix"]
    assert fix["do"].startswith("install the kernel module sctp")
    assert fix["effect"] == "widens"


def test_bad_request_is_one_sentence_and_the_others_are_answered():
    *bad, good = batch("{", {**EXAMPLE, "family": "martian"}, {**PAIR, "kern": True}, EXAMPLE, status=2)
    assert [list(answer) for answer in bad] == [["error"]] * 3
    assert good["errno"] is None


def test_answers_come_before_the_input_ends():
    process = subprocess.Popen(
        [sys.executable, "-m", "inetprobe", "explain", "--batch"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    for _ in range(2):
        process.stdin.write(json.dumps(EXAMPLE).encode() + b"\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["errno"] is None
    process.stdin.write(json.dumps(EXAMPLE).encode())
    process.stdin.close()
    assert json.loads(process.stdout.readline())["errno"] is None
    assert process.wait(10) == 0


PAIR = {"kernel": "6.1", "syscall": "socketpair", "family": "unix", "type": "stream", "protocol": 0}


def test_pairs_and_other_families_in_a_batch():
    unix, inet, vsock = batch(PAIR, {**PAIR, "family": "inet"}, {**PAIR, "family": "vsock"})
    assert (unix["outcome"], unix["errno"], unix["stage"], unix["rule"]) == ("ok", None, None, "created")
    assert [(call["function"], call["depth"]) for call in unix["calls"]] == [("sk_alloc", 0), ("sk_prot_alloc", 1)] * 2
    assert (inet["outcome"], inet["errno"], inet["rule"]) == ("failed", "EOPNOTSUPP", "no-pair")
    assert {key: vsock[key] for key in vsock if key != "fix"} == {
        "outcome": "unknown", "errno": None, "stage": "family", "calls": [], "rule": "no-family",
        "reason": "whether this kernel has AF_VSOCK, or a module with it, is not known", "evidence": [],
    }  # fmt: skip
    assert [fix["do"] for fix in vsock["fix"]] == ["ask on the machine itself: modprobe -n -v net-pf-40"]


def test_tree_of_a_pair():
    said = explain("socketpair(AF_INET6, SOCK_STREAM|SOCK_CLOEXEC, 0, [3, 4]) = 0", "--profile", "6.1").stdout
    assert said.splitlines() == [
        "socketpair(AF_INET6, SOCK_STREAM|SOCK_CLOEXEC, IPPROTO_IP) = -1 EOPNOTSUPP  (6.1)",
        *[
            "inet6_create()                                                0",
            "└─ sk_alloc()                                                 valid",
            "   └─ sk_prot_alloc()                                         valid",
        ] * 2,
        "why: the address family's sockets cannot be made in connected pairs",
        "fix: use AF_UNIX",
        "the pasted call ended with ok: this machine would not return that",
    ]  # fmt: skip


def test_tree_of_an_unknown_outcome():
    """A pasted result is no contradiction to it."""
    call = "socket(AF_XDP, SOCK_RAW, 0) = -1 EPERM (Operation not permitted)"
    assert explain(call, "--profile", "6.1").stdout.splitlines() == [
        "socket(AF_XDP, SOCK_RAW, 0) = ?  (6.1)",
        "why: AF_XDP's own code decides about type and protocol, as its manual page says "
        "(address_families(7) names it)",
        "fix: check type, protocol and capabilities against AF_XDP's manual page",
    ]


def test_tree_of_af_packet():
    said = explain("--family", "packet", "--type", "raw", "--profile", "6.1", "--no-cap-net-raw").stdout.splitlines()
    assert said[0] == "socket(AF_PACKET, SOCK_RAW, 0) = -1 EPERM  (6.1)"
    assert said[1].startswith("why: AF_PACKET, which socket(AF_INET, SOCK_PACKET) means too, needs CAP_NET_RAW")
    assert said[-1] == "with CAP_NET_RAW: ok"


def test_tree():
    said = explain("--type", "stream", "--protocol", "sctp", "--profile", "6.1", "--loadable", "").stdout
    assert said.splitlines() == [
        "socket(AF_INET, SOCK_STREAM, IPPROTO_SCTP) = -1 EPROTONOSUPPORT  (6.1)",
        "inet_create()                                                 -EPROTONOSUPPORT",
        "├─ __request_module(net-pf-2-proto-132-type-1)                256",
        "└─ __request_module(net-pf-2-proto-132)                       256",
        "why: IPPROTO_SCTP (132) is not registered for SOCK_STREAM",
        "evidence: the kernel asked for net-pf-2-proto-132-type-1 and net-pf-2-proto-132, modprobe found neither",
        "fix: install the kernel module sctp, or remove the line that blacklists it  [widens]",
        "with sctp loaded: ok",
    ]


def test_what_would_change_it():
    call = "socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP) = 3"
    said = explain(call, "--profile", "6.1").stdout
    assert "with a group in ping_group_range: ok" in said
    assert "the pasted call ended with ok: this machine would not return that" in said
    raw = json.loads(explain("socket(AF_INET, SOCK_RAW, 1)", "--profile", "6.1", "--format", "json").stdout)
    assert raw["would_change"] == {"without CAP_NET_RAW": "EPERM"}


@pytest.mark.parametrize(
    ("options", "errno"),
    [
        ("raw --protocol icmp --no-cap-net-raw", "EPERM"),
        ("raw --protocol icmp --no-cap-net-raw --kern", None),
        ("dgram --protocol icmp --ping-group-allowed", None),
        ("stream --protocol 262 --no-mptcp-enabled", "ENOPROTOOPT"),
        ("seqpacket --loaded sctp", None),
        ("stream --fail cgroup=EACCES", "EACCES"),
        ("stream --fail alloc=module", "ENOMEM"),
        ("stream --family inet6 --fail alloc=memory", "ENOBUFS"),
        ("stream --family unix --fail descriptor=EMFILE", "EMFILE"),
        ("stream --family 1 --protocol 2", "EPROTONOSUPPORT"),
    ],
)
def test_every_input_is_an_option(options, errno):
    answer = explain("--profile", "6.1", "--format", "json", "--type", *options.split()).stdout
    assert json.loads(answer)["errno"] == errno


def test_a_pasted_fault_is_the_array_s():
    answer = explain("socketpair(AF_UNIX, SOCK_STREAM, 0, 0x8) = -1 EFAULT (Bad address)", "--profile", "6.1").stdout
    assert answer.startswith("socketpair(AF_UNIX, SOCK_STREAM, 0) = -1 EFAULT")
    assert "the pasted call" not in answer


@pytest.mark.parametrize("rule", Rule)
def test_every_rule_has_its_page(rule):
    """`make man` writes them."""
    assert explain(rule).stdout == (ROOT / "docs/rules" / f"{rule}.md").read_text()


def test_the_index_leads_to_every_rule():
    assert {path.name for path in (ROOT / "docs/rules").iterdir()} == pages().keys()
    index = (ROOT / "docs/rules/README.md").read_text()
    assert index == pages()["README.md"]
    assert "| Protocol not supported | `EPROTONOSUPPORT` | `create` | [protocol](protocol.md) |" in index
    assert all(f"({rule}.md)" in index for rule in Rule)


def test_default_profile_is_the_running_kernel_s_or_is_named():
    done = explain("--type", "stream")
    assert done.stdout.startswith("socket(AF_INET, SOCK_STREAM, IPPROTO_IP) = ok")
    assert os.uname().release in done.stdout or "this is Debian's" in done.stderr


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        ((), "give a call"),
        (("socket(AF_INET, SOCK_STREAM, 0)", "--type", "raw"), "not both"),
        (("--type", "stream", "--profile", "nowhere"), "neither a recording nor one of"),
        (("--type", "stream", "--fail", "alloc"), "unknown cause '' of alloc: one of memory, security, module"),
        (("--type", "stream", "--profile", "6.1", "--loaded", "sctpp"), "'sctpp' registers nothing in inetsw on 6.1"),
        (("--type", "stream", "--profile", "6.1", "--loadable", "smc"), "'smc' registers nothing in inetsw on 6.1"),
        (("--batch", "socket(AF_INET, SOCK_STREAM, 0)"), "--batch takes its requests from stdin"),
        (("--batch", "--pid", "1"), "--batch answers for no live process"),
        (("socket(AF_INET, SOCK_STREAM, 0)", "--pid", "4194304"), "--pid 4194304: there is no such process"),
        (("socketpair(AF_UNIX, SOCK_STREAM, 0)", "--profile", "6.1", "--kern"), "the kernel itself makes no pairs"),
        (("socketpair(AF_UNIX, SOCK_STREAM)", "--profile", "6.1"), "as a call of socket() or socketpair()"),
        (("--type", "stream", "--profile", "6.1", "--fail", "inode=EPERM"), "unknown cause 'EPERM' of inode"),
    ],
)
def test_bad_usage_is_one_sentence(argv, says):
    done = explain(*argv, status=2)
    assert says in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_kernels_of_the_contract():
    assert list(BUILT_IN_PROFILES) == ["3.x", "5.10", "6.1", "6.12", "7.2"]


SANDBOXED = """
import time
from tests.support import sandbox
from tests.support.sandbox import EQUAL, LOAD, RETURN, of_socket
from inetprobe.model.seccomp import Action, Instruction
# Anything but AF_INET and AF_UNIX is refused.
sandbox.install(of_socket(
    Instruction(LOAD, 0, 0, 16), Instruction(EQUAL, 2, 0, 2), Instruction(EQUAL, 1, 0, 1),
    Instruction(RETURN, 0, 0, Action.ERRNO | 97),
))
print("ready", flush=True)
time.sleep(60)
"""


@pytest.fixture(name="sandboxed", scope="module")
def _sandboxed():
    child = subprocess.Popen([sys.executable, "-c", SANDBOXED], stdout=subprocess.PIPE, cwd=ROOT)
    assert child.stdout.readline() == b"ready\n"
    yield child.pid
    child.kill()
    child.communicate()


@ADMIN
def test_a_process_s_seccomp_filter_is_asked_first(sandboxed):
    call = "socket(AF_INET6, SOCK_STREAM|SOCK_CLOEXEC, 0)"
    head, why, evidence, whose, fix, change = explain(
        call, "--profile", "6.1", "-p", str(sandboxed)
    ).stdout.splitlines()
    assert head == "socket(AF_INET6, SOCK_STREAM|SOCK_CLOEXEC, IPPROTO_IP) = -1 EAFNOSUPPORT  (6.1)"
    assert why == "why: a seccomp filter refuses it with EAFNOSUPPORT"
    assert evidence.startswith(f"evidence: filter 1 of 1 of process {sandboxed} (python")
    assert evidence.endswith(", in the order of installation, answers ERRNO(EAFNOSUPPORT)")
    assert whose.startswith("evidence: the process is in ")
    assert fix.startswith("fix: ")
    assert change == "without its seccomp filters: ok"


@ADMIN
def test_a_call_that_the_filter_allows_is_asked_of_the_model(sandboxed):
    allowed = explain("socket(AF_INET, SOCK_STREAM, 0)", "--profile", "6.1", "--pid", str(sandboxed))
    assert allowed.stdout.startswith("socket(AF_INET, SOCK_STREAM, IPPROTO_IP) = ok")
    # Whether this kernel has another family is not known, but the filter is.
    said = explain("socket(AF_VSOCK, SOCK_STREAM, 0)", "--profile", "6.1", "-p", str(sandboxed), "--format", "json")
    answer = json.loads(said.stdout)
    assert (answer["outcome"], answer["errno"], answer["stage"], answer["rule"]) == (
        "failed", "EAFNOSUPPORT", "seccomp", "seccomp",
    )  # fmt: skip
    assert answer["calls"] == []
    assert answer["would_change"] == {"without its seccomp filters": "unknown"}
    # The filter is about socket() alone.
    pair = explain("socketpair(AF_VSOCK, SOCK_STREAM, 0)", "--profile", "6.1", "-p", str(sandboxed))
    assert pair.stdout.startswith("socketpair(AF_VSOCK, SOCK_STREAM, 0) = ?")


def test_a_line_without_an_end_is_refused():
    done = explain("--batch", stdin="[" * ((1 << 20) + (1 << 17)), status=2)
    assert done.stderr == "inetprobe: a line of stdin is longer than 1 MiB: --batch takes a small JSON object a line\n"
