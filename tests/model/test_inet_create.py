"""The table of the kernel's decisions: each rule spelt out, and the outcome of every request as a golden per kernel.

The goldens tests/goldens/model-*.txt have been confirmed by the live sweep on Debian's 5.10, 6.1, 6.12 and 7.2.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest

from inetprobe.base.uapi import (
    AF_INET,
    AF_INET6,
    FAMILIES,
    IPPROTO_DCCP,
    IPPROTO_ICMP,
    IPPROTO_ICMPV6,
    IPPROTO_L2TP,
    IPPROTO_MPTCP,
    IPPROTO_SCTP,
    IPPROTO_SMC,
    IPPROTO_TCP,
    SOCK_CLOEXEC,
    SOCK_DCCP,
    SOCK_DGRAM,
    SOCK_NONBLOCK,
    SOCK_PACKET,
    SOCK_RAW,
    SOCK_RDM,
    SOCK_SEQPACKET,
    SOCK_STREAM,
    TYPES,
)
from inetprobe.model import inet_create, sys_socket
from inetprobe.model.explanation import Request, explain
from inetprobe.model.features import Features
from inetprobe.model.profile import BUILT_IN_PROFILES, Profile
from inetprobe.model.rules import Rule
from inetprobe.model.world import Machine
from tests.model.test_sys_socket import CASES as OF_SYS_SOCKET
from tests.support.paths import GOLDENS

P61, P612, P3X = (BUILT_IN_PROFILES[kernel] for kernel in ("6.1", "6.12", "3.x"))


class Call(NamedTuple):
    """The arguments of one socket()."""

    family: int
    type: int
    protocol: int


def socket(family: int, type_: int, protocol: int = 0) -> Call:
    """``socket(family, type, protocol)`` as in C."""
    return Call(family, type_, protocol)


class Case(NamedTuple):
    """One decision of Linux 6.1: ``rule`` decides ``call``; on success ``errno`` is None.

    ``prot`` is the struct proto, if sk_alloc() was reached. ``calls`` are the traced calls in order of entry:
    (function, depth), or the name of a requested module. ``machine`` has the settings of ``Machine`` that differ from
    its defaults.
    """

    call: Call
    rule: Rule
    errno: str | None = None
    prot: str | None = None
    calls: Sequence[tuple[str, int] | str] = ()
    machine: Mapping[str, Any] = MappingProxyType({})


INET_CREATE, INET6_CREATE = ("inet_create", 0), ("inet6_create", 0)
SK_ALLOC = (("sk_alloc", 1), ("sk_prot_alloc", 2))
NESTED = (("inet_create", 1), ("sk_alloc", 2), ("sk_prot_alloc", 3))
UNPRIVILEGED = {"cap_net_raw": False}


def requests(family: int, type_: int, protocol: int) -> tuple[str, str]:
    """The modules that the kernel asks for."""
    return f"net-pf-{family}-proto-{protocol}-type-{type_}", f"net-pf-{family}-proto-{protocol}"


CASES = {
    # __sys_socket(): the flags
    "unknown flag": Case(socket(AF_INET, SOCK_STREAM | 16), Rule.FLAGS, "EINVAL"),
    "negative type": Case(socket(AF_INET, -1), Rule.FLAGS, "EINVAL"),
    "flags before family": Case(socket(46, SOCK_STREAM | 16), Rule.FLAGS, "EINVAL"),
    # __sock_create(): family, type, SOCK_PACKET
    "family above the last": Case(socket(46, SOCK_STREAM), Rule.FAMILY, "EAFNOSUPPORT"),
    "negative family": Case(socket(-1, SOCK_STREAM), Rule.FAMILY, "EAFNOSUPPORT"),
    "family before type": Case(socket(46, 11), Rule.FAMILY, "EAFNOSUPPORT"),
    "type above the last": Case(socket(AF_INET, 11), Rule.TYPE_RANGE, "EINVAL"),
    "packet": Case(
        socket(AF_INET, SOCK_PACKET, 3), Rule.PACKET, prot="PACKET",
        calls=[("sk_alloc", 0), ("sk_prot_alloc", 1)],
    ),
    "packet without CAP_NET_RAW": Case(
        socket(AF_INET, SOCK_PACKET, 3), Rule.PACKET_CAP_NET_RAW, "EPERM", machine=UNPRIVILEGED,
    ),
    "packet without memory": Case(
        socket(AF_INET, SOCK_PACKET, 3), Rule.ALLOC_MEMORY, "ENOBUFS", "PACKET",
        calls=[("sk_alloc", 0), ("sk_prot_alloc", 1)],
        machine={"failures": {"alloc": "memory"}},
    ),
    # inet_create(): IPPROTO_MAX
    "protocol below 0": Case(
        socket(AF_INET, SOCK_STREAM, -1), Rule.PROTOCOL_RANGE, "EINVAL", calls=[INET_CREATE],
    ),
    "protocol IPPROTO_MAX": Case(
        socket(AF_INET, SOCK_RAW, 263), Rule.PROTOCOL_RANGE, "EINVAL", calls=[INET_CREATE],
    ),
    # lookup_protocol: an entry matches
    "tcp by 0": Case(
        socket(AF_INET, SOCK_STREAM), Rule.CREATED, prot="TCP", calls=[INET_CREATE, *SK_ALLOC],
    ),
    "tcp by name": Case(
        socket(AF_INET6, SOCK_STREAM, IPPROTO_TCP), Rule.CREATED, prot="TCPv6", calls=[INET6_CREATE, *SK_ALLOC],
    ),
    "tcp with flags": Case(
        socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK), Rule.CREATED, prot="TCP",
        calls=[INET_CREATE, *SK_ALLOC],
    ),
    "raw matches any": Case(
        socket(AF_INET, SOCK_RAW, IPPROTO_ICMP), Rule.CREATED, prot="RAW", calls=[INET_CREATE, *SK_ALLOC],
    ),
    "sctp loaded": Case(
        socket(AF_INET, SOCK_STREAM, IPPROTO_SCTP), Rule.CREATED, prot="SCTP",
        calls=[INET_CREATE, *SK_ALLOC],
        machine={"loaded": ("sctp",)},
    ),
    "sctp loaded, by 0": Case(
        socket(AF_INET, SOCK_SEQPACKET), Rule.CREATED, prot="SCTP",
        calls=[INET_CREATE, *SK_ALLOC],
        machine={"loaded": ("sctp",)},
    ),
    # lookup_protocol: none matches, and modules are requested
    "l2tp, loaded by the first request": Case(
        socket(AF_INET, SOCK_DGRAM, IPPROTO_L2TP), Rule.CREATED, prot="L2TP/IP",
        calls=[INET_CREATE, "net-pf-2-proto-115-type-2", *SK_ALLOC],
    ),
    "sctp, loaded by the second request": Case(
        socket(AF_INET, SOCK_STREAM, IPPROTO_SCTP), Rule.CREATED, prot="SCTP",
        calls=[INET_CREATE, "net-pf-2-proto-132-type-1", "net-pf-2-proto-132", *SK_ALLOC],
    ),
    "sctp, loaded for the wrong type": Case(
        socket(AF_INET, SOCK_DGRAM, IPPROTO_SCTP), Rule.PROTOCOL, "EPROTONOSUPPORT",
        calls=[INET_CREATE, *requests(AF_INET, SOCK_DGRAM, IPPROTO_SCTP)],
    ),
    "sctp not installed": Case(
        socket(AF_INET, SOCK_SEQPACKET, IPPROTO_SCTP), Rule.TYPE, "ESOCKTNOSUPPORT",
        calls=[INET_CREATE, *requests(AF_INET, SOCK_SEQPACKET, IPPROTO_SCTP)],
        machine={"loadable": ()},
    ),
    "unregistered protocol": Case(
        socket(AF_INET, SOCK_STREAM, 261), Rule.PROTOCOL, "EPROTONOSUPPORT",
        calls=[INET_CREATE, *requests(AF_INET, SOCK_STREAM, 261)],
    ),
    "unregistered type": Case(
        socket(AF_INET, SOCK_RDM), Rule.TYPE, "ESOCKTNOSUPPORT",
        calls=[INET_CREATE, *requests(AF_INET, SOCK_RDM, 0)],
    ),
    "SOCK_PACKET of AF_INET6": Case(
        socket(AF_INET6, SOCK_PACKET), Rule.TYPE, "ESOCKTNOSUPPORT",
        calls=[INET6_CREATE, *requests(AF_INET6, SOCK_PACKET, 0)],
    ),
    "raw by 0, looked up before the capability": Case(
        socket(AF_INET, SOCK_RAW), Rule.PROTOCOL, "EPROTONOSUPPORT",
        calls=[INET_CREATE, *requests(AF_INET, SOCK_RAW, 0)],
        machine=UNPRIVILEGED,
    ),
    # ns_capable(net->user_ns, CAP_NET_RAW)
    "raw without CAP_NET_RAW": Case(
        socket(AF_INET, SOCK_RAW, IPPROTO_ICMP), Rule.CAP_NET_RAW, "EPERM", calls=[INET_CREATE], machine=UNPRIVILEGED,
    ),
    "datagram without CAP_NET_RAW": Case(
        socket(AF_INET, SOCK_DGRAM), Rule.CREATED, prot="UDP", calls=[INET_CREATE, *SK_ALLOC], machine=UNPRIVILEGED,
    ),
    # sk_alloc()
    "no memory": Case(
        socket(AF_INET, SOCK_STREAM), Rule.ALLOC_MEMORY, "ENOMEM", "TCP",
        calls=[INET_CREATE, *SK_ALLOC],
        machine={"failures": {"alloc": "memory"}},
    ),
    "no security blob, IPv6": Case(
        socket(AF_INET6, SOCK_STREAM), Rule.ALLOC_SECURITY, "ENOBUFS", "TCPv6",
        calls=[INET6_CREATE, *SK_ALLOC],
        machine={"failures": {"alloc": "security"}},
    ),
    "module being removed": Case(
        socket(AF_INET, SOCK_STREAM), Rule.ALLOC_MODULE, "ENOMEM", "TCP",
        calls=[INET_CREATE, *SK_ALLOC],
        machine={"failures": {"alloc": "module"}},
    ),
    # sk->sk_prot->hash(sk)
    "hash": Case(
        socket(AF_INET, SOCK_RAW, IPPROTO_ICMP), Rule.HASH, "EINVAL", "RAW",
        calls=[INET_CREATE, *SK_ALLOC],
        machine={"failures": {"hash": "EINVAL"}},
    ),
    "hash of raw sockets only": Case(
        socket(AF_INET, SOCK_STREAM), Rule.CREATED, prot="TCP",
        calls=[INET_CREATE, *SK_ALLOC],
        machine={"failures": {"hash": "EINVAL"}},
    ),
    # sk->sk_prot->init(sk)
    "ping": Case(
        socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP), Rule.CREATED, prot="PING",
        calls=[INET_CREATE, *SK_ALLOC],
        machine={"ping_group_allowed": True},
    ),
    "ping without a group": Case(
        socket(AF_INET6, SOCK_DGRAM, IPPROTO_ICMPV6), Rule.PING_GROUP, "EACCES", "PINGv6",
        calls=[INET6_CREATE, *SK_ALLOC],
    ),
    "mptcp makes a subflow": Case(
        socket(AF_INET, SOCK_STREAM, IPPROTO_MPTCP), Rule.CREATED, prot="MPTCP",
        calls=[INET_CREATE, *SK_ALLOC, *NESTED],
        machine={"mptcp_enabled": True},
    ),
    "mptcp switched off": Case(
        socket(AF_INET, SOCK_STREAM, IPPROTO_MPTCP), Rule.MPTCP_DISABLED, "ENOPROTOOPT", "MPTCP",
        calls=[INET_CREATE, *SK_ALLOC],
        machine={"mptcp_enabled": False},
    ),
    "init without memory": Case(
        socket(AF_INET, SOCK_STREAM), Rule.INIT, "ENOMEM", "TCP",
        calls=[INET_CREATE, *SK_ALLOC],
        machine={"failures": {"init": "ENOMEM"}},
    ),
    # BPF_CGROUP_RUN_PROG_INET_SOCK(sk)
    "cgroup program": Case(
        socket(AF_INET, SOCK_STREAM), Rule.CGROUP, "EPERM", "TCP",
        calls=[INET_CREATE, *SK_ALLOC],
        machine={"failures": {"cgroup": "EPERM"}},
    ),
}  # fmt: skip
"""In the order in which the kernel decides."""

EACH_CASE = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def outcome(call: Call, profile: Profile = P61, **machine: Any) -> inet_create.Outcome:
    return sys_socket.socket(Machine(profile, **machine), *call)


def shape(outcome):
    """The calls, as a Case has them."""
    return tuple((call.function, call.depth) if call.module is None else call.module for call in outcome.calls)


def module_results(outcome):
    return [call.result for call in outcome.calls if call.module]


@EACH_CASE
def test_decision(case):
    decided = outcome(case.call, **case.machine)
    assert (decided.rule, decided.errno, decided.prot) == (case.rule, case.errno, case.prot)
    assert shape(decided) == tuple(case.calls)


@EACH_CASE
def test_create_returns_the_errno_and_sk_alloc_a_pointer(case):
    decided = outcome(case.call, **case.machine)
    results = [call.result for call in decided.calls if call.function in ("inet_create", "inet6_create")]
    assert results[:1] == ([inet_create.negative(case.errno)] if results else [])
    pointers = {call.pointer for call in decided.calls if call.function in ("sk_alloc", "sk_prot_alloc")}
    assert pointers <= {"NULL" if case.rule.startswith("alloc") else "valid"}


TCP = socket(AF_INET, SOCK_STREAM)
SCTP = socket(AF_INET, SOCK_STREAM, IPPROTO_SCTP)
MPTCP = socket(AF_INET, SOCK_STREAM, IPPROTO_MPTCP)
ICMP = socket(AF_INET, SOCK_RAW, IPPROTO_ICMP)


def test_module_request_returns_the_exit_status_of_modprobe():
    assert module_results(outcome(SCTP)) == [256, 0]


def test_module_request_fails_without_modprobe():
    assert module_results(outcome(SCTP, replace(P61, modprobe=""))) == [-2, -2]


def test_module_request_loads_nothing_where_modules_are_disabled():
    locked = replace(P61, modules_disabled=True)
    refused = outcome(SCTP, locked)
    assert (refused.rule, module_results(refused)) == (Rule.PROTOCOL, [256, 256])
    call = socket(AF_INET, SOCK_DGRAM, IPPROTO_SCTP)
    assert module_results(outcome(call, locked, loaded=("sctp",))) == [256, 0]
    assert module_results(outcome(SCTP, replace(locked, loadable=(), left_alone=("sctp",)))) == [256, 0]


def test_module_request_succeeds_for_a_loaded_module():
    call = socket(AF_INET, SOCK_DGRAM, IPPROTO_SCTP)
    assert module_results(outcome(call, loaded=("sctp",), loadable=())) == [256, 0]


def test_loaded_module_stays_loaded():
    machine = Machine(P61)
    assert len(sys_socket.socket(machine, *SCTP).calls) == 5
    assert len(sys_socket.socket(machine, *SCTP).calls) == 3
    assert len(sys_socket.socket(machine, AF_INET6, SOCK_SEQPACKET, 0).calls) == 3


def test_dccp_for_ipv6_loads_dccp_for_ipv4():
    machine = Machine(P3X, loadable=("dccp_ipv6",))
    assert sys_socket.socket(machine, AF_INET6, SOCK_DCCP, 0).prot == "DCCPv6"
    assert shape(sys_socket.socket(machine, AF_INET, SOCK_DCCP, IPPROTO_DCCP)) == (INET_CREATE, *SK_ALLOC)


def test_kernel_without_modules_requests_none():
    profile = replace(P61, features=Features(request_module=False))
    assert shape(outcome(SCTP, profile)) == (INET_CREATE,)
    assert outcome(SCTP, profile).errno == "EPROTONOSUPPORT"


def test_kernel_socket_needs_no_capability_and_passes_the_cgroup():
    machine = Machine(P61, cap_net_raw=False, failures={"cgroup": "EPERM"})
    assert inet_create.create(machine, *ICMP, kern=True).rule is Rule.CREATED


def test_smc_makes_a_tcp_socket():
    call = socket(AF_INET, SOCK_STREAM, IPPROTO_SMC)
    assert shape(outcome(call, P612, loaded=("smc",))) == (INET_CREATE, *SK_ALLOC, *NESTED)


def test_mptcp_of_a_later_kernel_makes_no_subflow():
    assert shape(outcome(MPTCP, P612)) == (INET_CREATE, *SK_ALLOC)
    assert shape(outcome(MPTCP._replace(family=AF_INET6), P612)) == (INET6_CREATE, *SK_ALLOC)


def test_failure_of_a_nested_socket_fails_the_outer_one():
    class NoMemoryForTcp(Machine):
        def allocation_failure(self, entry):
            return Rule.ALLOC_MEMORY if entry.prot == "TCP" else None

    failed = sys_socket.socket(NoMemoryForTcp(P61, mptcp_enabled=True), *MPTCP)
    assert failed[:2] == (Rule.NESTED, "ENOMEM")
    assert (failed.nested, failed.prot) == (Rule.ALLOC_MEMORY, "MPTCP")
    assert [call.result for call in failed.calls if call.function == "inet_create"] == [-12, -12]


def test_nested_socket_is_a_kernel_socket():
    class CountingCgroup(Machine):
        runs = 0

        def cgroup_error(self):
            self.runs += 1

    machine = CountingCgroup(P61, mptcp_enabled=True)
    sys_socket.socket(machine, *MPTCP)
    assert machine.runs == 1


@pytest.mark.parametrize(
    ("call", "rule", "errno"),
    [
        (socket(AF_INET, SOCK_STREAM, -1), Rule.PROTOCOL, "EPROTONOSUPPORT"),
        (socket(AF_INET, SOCK_RAW, -1), Rule.CREATED, None),
        (socket(AF_INET, SOCK_RAW, 300), Rule.CREATED, None),
        (socket(AF_INET, SOCK_RAW, 65536), Rule.CREATED, None),
        (socket(AF_INET, SOCK_SEQPACKET, IPPROTO_SCTP), Rule.CREATED, None),
        (socket(AF_INET, SOCK_STREAM, IPPROTO_MPTCP), Rule.PROTOCOL, "EPROTONOSUPPORT"),
    ],
)
def test_linux_3_does_not_check_the_range_of_the_protocol(call, rule, errno):
    assert outcome(call, P3X)[:2] == (rule, errno)


@pytest.mark.parametrize(
    ("call", "profile", "machine", "errno"),
    [
        pytest.param(SCTP, P3X, {}, "EAFNOSUPPORT", id="sctp of 3.x"),
        pytest.param(SCTP, P3X, {"initial_netns": True}, None, id="in the initial namespace"),
        pytest.param(SCTP, P61, {}, None, id="sctp of 6.1"),
        pytest.param(socket(AF_INET, SOCK_STREAM, IPPROTO_TCP), P3X, {}, None, id="tcp"),
        # inet_create() alone asks, and by the protocol's number, whatever the type.
        pytest.param(socket(AF_INET6, SOCK_STREAM, IPPROTO_SCTP), P3X, {}, None, id="IPv6"),
        pytest.param(socket(AF_INET, SOCK_RAW, IPPROTO_SCTP), P3X, {}, None, id="raw, sctp not loaded"),
        pytest.param(
            socket(AF_INET, SOCK_RAW, IPPROTO_SCTP), P3X, {"loaded": ("sctp",)}, "EAFNOSUPPORT", id="raw, sctp loaded"
        ),
    ],
)
def test_inet_netns_ok(call, profile, machine, errno):
    assert outcome(call, profile, **{"initial_netns": False, **machine})[:2] == (
        Rule.NETNS if errno else Rule.CREATED,
        errno,
    )


@pytest.mark.parametrize(
    ("call", "failures", "errno"),
    [
        pytest.param(TCP, {"cgroup": "EPERM"}, None, id="no cgroup hook"),
        pytest.param(ICMP, {"hash": "EINVAL"}, None, id="hash returns nothing"),
        pytest.param(TCP, {"alloc": "memory"}, "ENOBUFS", id="ENOBUFS for no memory"),
    ],
)
def test_linux_3_differs_in_its_failures(call, failures, errno):
    assert outcome(call, P3X, failures=failures).errno == errno


@pytest.mark.parametrize(("protocol", "rule"), [(65536, Rule.CREATED), (65537, Rule.HASH)])
def test_raw_socket_is_hashed_unless_the_low_16_bits_of_its_protocol_are_0(protocol, rule):
    profile = replace(P3X, features=replace(P3X.features, hash_can_fail=True))
    assert outcome(socket(AF_INET, SOCK_RAW, protocol), profile, failures={"hash": "EINVAL"}).rule is rule


def test_machine_answers_what_the_features_leave_open():
    profile = replace(P61, features=Features(alloc_errno=None, mptcp_nested=None))
    assert outcome(TCP, profile, failures={"alloc": "memory"}).errno == "ENOMEM"
    assert len(outcome(MPTCP, profile).calls) == 3


@pytest.mark.parametrize(("name", "number"), [(None, 0), ("EPERM", -1), ("524", -524)])
def test_negative(name, number):
    assert inet_create.negative(name) == number


def describe(outcome):
    calls = "; ".join(f"{call.depth}:{call.function}" for call in outcome.calls if call.module is None)
    requests = sum(call.module is not None for call in outcome.calls)
    return f"{outcome.errno or 'ok'} {outcome.prot or '-'} [{outcome.rule}] {requests} modules; {calls}"


def table(profile, modules):
    """Every type and protocol of both families; a run of protocols with the same outcome is one line."""
    for family in (AF_INET, AF_INET6):
        for type_ in range(-1, 12):
            # A new machine for each, because modules stay loaded.
            described = [
                (p, describe(outcome(Call(family, type_, p), profile, loaded=modules, mptcp_enabled=True)))
                for p in range(-1, 265)
            ]
            for text, run in groupby(described, key=lambda pair: pair[1]):
                protocols = [protocol for protocol, _ in run]
                span = f"{protocols[0]}..{protocols[-1]}" if len(protocols) > 1 else str(protocols[0])
                yield f"{FAMILIES[family]} {TYPES.get(type_, type_)} {span}: {text}"


@pytest.mark.parametrize("kernel", BUILT_IN_PROFILES)
def test_whole_table(kernel, update_goldens):
    profile = BUILT_IN_PROFILES[kernel]
    modules = (*profile.loadable, *profile.blocked)
    lines = []
    for title, loaded in (("nothing loaded", ()), ("everything loaded", modules)):
        lines += [f"# {title}", *table(profile, loaded)]
    golden = GOLDENS / f"model-{kernel}.txt"
    if update_goldens:
        golden.write_text("\n".join(lines) + "\n")
    assert lines == golden.read_text().splitlines()


def explained(case, *, seen=False):
    family, type_, protocol = case.call
    bare = type_ & ~(SOCK_CLOEXEC | SOCK_NONBLOCK)
    return explain(Request(family, bare, protocol, P61, seen=seen), outcome(case.call, **case.machine))


@EACH_CASE
def test_reason_is_one_sentence(case):
    sentence = explained(case).reason
    assert sentence
    assert "\n" not in sentence
    assert not sentence.endswith(".")


def test_explanations(update_goldens):
    lines = []
    for name, case in CASES.items():
        lines += [f"{name}:", *(f"  {line}" for line in explained(case).lines())]
        if explained(case, seen=True) != explained(case):
            lines += ["  in a trace:", *(f"    {line}" for line in explained(case, seen=True).lines())]
    golden = GOLDENS / "explanations.txt"
    if update_goldens:
        golden.write_text("\n".join(lines) + "\n")
    assert lines == golden.read_text().splitlines()


@pytest.mark.parametrize("rule", Rule)
def test_rule_has_a_source_and_a_sentence(rule):
    for source in rule.source.split(", "):
        path, function = source.split(" ")
        assert path.endswith(".c")
        assert function.endswith("()")
    assert rule.sentence
    assert not rule.sentence.endswith(".")


def test_every_rule_has_a_case_or_a_test_of_its_own():
    """NETNS and NESTED need another profile or machine; CAP_NET_RAW_DENIED is the judge's; test_seccomp has SECCOMP,
    and below is IPV6_DISABLED."""
    cases = {case.rule for case in (*CASES.values(), *OF_SYS_SOCKET.values())}
    others = {Rule.NETNS, Rule.NESTED, Rule.CAP_NET_RAW_DENIED, Rule.SECCOMP, Rule.IPV6_DISABLED}
    assert set(Rule) - cases == others


@pytest.mark.parametrize(
    ("changes", "calls"),
    [
        ({}, [("__request_module", 0)]),
        ({"modprobe": ""}, [("__request_module", -2)]),
        ({"features": replace(P61.features, request_module=False)}, []),
    ],
)
def test_without_ipv6_there_is_no_such_family(changes, calls):
    machine = Machine(replace(P61, ipv6_disabled=True, **changes))
    refused = sys_socket.socket(machine, AF_INET6, SOCK_STREAM, 0)
    assert (refused.rule, refused.errno) == (Rule.IPV6_DISABLED, "EAFNOSUPPORT")
    assert [(call.function, call.result) for call in refused.calls] == calls
    assert sys_socket.socket(machine, AF_INET, SOCK_STREAM, 0).errno is None
    # The type is looked at before the family.
    assert sys_socket.socket(machine, AF_INET6, 11, 0).rule is Rule.TYPE_RANGE


@pytest.mark.parametrize("known", [False, None])
def test_where_it_is_not_known_to_be_disabled_ipv6_is_there(known):
    assert sys_socket.socket(Machine(replace(P61, ipv6_disabled=known)), AF_INET6, SOCK_STREAM, 0).errno is None
