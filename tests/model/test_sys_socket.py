"""net/socket.c: what is refused around a create, and the creates of AF_UNIX, AF_NETLINK and AF_PACKET."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inetprobe.base.uapi import (
    AF_INET,
    AF_INET6,
    AF_MCTP,
    AF_NETLINK,
    AF_PACKET,
    AF_UNIX,
    FAMILIES,
    IPPROTO_MPTCP,
    SOCK_CLOEXEC,
    SOCK_DGRAM,
    SOCK_NONBLOCK,
    SOCK_PACKET,
    SOCK_RAW,
    SOCK_RDM,
    SOCK_SEQPACKET,
    SOCK_STREAM,
    TYPES,
)
from inetprobe.model import sys_socket
from inetprobe.model.explanation import Request, explain
from inetprobe.model.net_families import NET_FAMILIES
from inetprobe.model.profile import BUILT_IN_PROFILES, FamilyModule, Profile
from inetprobe.model.rules import Rule
from inetprobe.model.system_call import SeenSyscall, judge_syscall, rule_before_create
from inetprobe.model.world import FAILURES, LOADED, NO_MODPROBE, NOT_FOUND, Machine

P61, P510 = BUILT_IN_PROFILES["6.1"], BUILT_IN_PROFILES["5.10"]
# As a machine is probed: its families are all known, and which modules have others.
NFC, VSOCK, CAN = 39, 40, 29
PROBED = replace(
    P61,
    registered=(AF_UNIX, AF_INET, AF_INET6, AF_NETLINK, VSOCK),
    families={
        "net-pf-17": FamilyModule("af_packet"),
        "net-pf-29": FamilyModule("can"),
        "net-pf-39": FamilyModule("nfc", '"blacklist nfc" stands in the way', "remove it"),
    },
)
WITHOUT_MODULES = replace(PROBED, features=replace(P61.features, request_module=False))

ALLOCATED = ["sk_alloc", "sk_prot_alloc"]
CREATED = ["inet_create", *ALLOCATED]


class Case(NamedTuple):
    """One call on a machine with ``PROBED``, and how it ends; ``errno`` is None for success and an unknown outcome.

    ``calls`` are the functions, and the names of requested modules.
    """

    family: int
    type: int
    protocol: int
    rule: Rule
    errno: str | None = None
    calls: Sequence[str] = ()
    machine: Mapping[str, Any] = MappingProxyType({})
    pair: bool = False


def fails(**failures: str) -> dict[str, Any]:
    return {"failures": failures}


SOCKET_CASES = {
    # security_socket_create(), after family and type
    "security": Case(AF_INET, SOCK_STREAM, 0, Rule.SECURITY, "EACCES", machine=fails(security="EACCES")),
    "security of a missing family": Case(NFC, SOCK_RAW, 0, Rule.SECURITY, "EPERM", machine=fails(security="EPERM")),
    "type before security": Case(AF_UNIX, 11, 0, Rule.TYPE_RANGE, "EINVAL", machine=fails(security="EACCES")),
    # sock_alloc()
    "inode": Case(AF_UNIX, SOCK_STREAM, 0, Rule.INODE, "ENFILE", machine=fails(inode="ENFILE")),
    "inode before the family": Case(NFC, SOCK_STREAM, 0, Rule.INODE, "ENFILE", machine=fails(inode="ENFILE")),
    "security before inode": Case(
        AF_INET, SOCK_STREAM, 0, Rule.SECURITY, "EACCES", machine=fails(security="EACCES", inode="ENFILE")
    ),
    # net_families[family]
    "no module": Case(AF_MCTP, SOCK_STREAM, 0, Rule.NO_FAMILY, "EAFNOSUPPORT", ["net-pf-45"]),
    "a barred module": Case(NFC, SOCK_STREAM, 0, Rule.NO_FAMILY, "EAFNOSUPPORT", ["net-pf-39"]),
    "no sockets": Case(0, SOCK_STREAM, 0, Rule.NO_FAMILY, "EAFNOSUPPORT", ["net-pf-0"]),
    # pf->create() of others
    "loaded": Case(VSOCK, SOCK_STREAM, 0, Rule.FAMILY_CREATE),
    "loadable": Case(CAN, SOCK_STREAM, 0, Rule.FAMILY_CREATE, None, ["net-pf-29"]),
    "packet by its module": Case(AF_PACKET, SOCK_RAW, 3, Rule.CREATED, None, ["net-pf-17", *ALLOCATED]),
    "old packet by its module": Case(AF_INET, SOCK_PACKET, 3, Rule.PACKET, None, ["net-pf-17", *ALLOCATED]),
    # unix_create()
    "unix stream": Case(AF_UNIX, SOCK_STREAM, 0, Rule.CREATED, None, ALLOCATED),
    "unix dgram": Case(AF_UNIX, SOCK_DGRAM, 0, Rule.CREATED, None, ALLOCATED),
    "unix seqpacket": Case(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, AF_UNIX, Rule.CREATED, None, ALLOCATED),
    "unix raw": Case(AF_UNIX, SOCK_RAW | SOCK_NONBLOCK, 0, Rule.CREATED, None, ALLOCATED),
    "unix rdm": Case(AF_UNIX, SOCK_RDM, 0, Rule.FAMILY_CREATE, "ESOCKTNOSUPPORT"),
    "unix 0": Case(AF_UNIX, 0, 0, Rule.FAMILY_CREATE, "ESOCKTNOSUPPORT"),
    "unix protocol": Case(AF_UNIX, SOCK_STREAM, 2, Rule.FAMILY_CREATE, "EPROTONOSUPPORT"),
    "unix protocol below 0": Case(AF_UNIX, SOCK_STREAM, -1, Rule.FAMILY_CREATE, "EPROTONOSUPPORT"),
    "unix protocol before type": Case(AF_UNIX, SOCK_RDM, 2, Rule.FAMILY_CREATE, "EPROTONOSUPPORT"),
    "unix without memory": Case(
        AF_UNIX, SOCK_STREAM, 0, Rule.ALLOC_MEMORY, "ENOMEM", ALLOCATED, fails(alloc="memory")
    ),
    # netlink_create()
    "netlink raw": Case(AF_NETLINK, SOCK_RAW, 0, Rule.CREATED, None, ALLOCATED),
    "netlink dgram": Case(AF_NETLINK, SOCK_DGRAM, 0, Rule.CREATED, None, ALLOCATED),
    "netlink stream": Case(AF_NETLINK, SOCK_STREAM, 0, Rule.FAMILY_CREATE, "ESOCKTNOSUPPORT"),
    "netlink type before protocol": Case(AF_NETLINK, SOCK_STREAM, 32, Rule.FAMILY_CREATE, "ESOCKTNOSUPPORT"),
    "netlink protocol MAX_LINKS": Case(AF_NETLINK, SOCK_RAW, 32, Rule.FAMILY_CREATE, "EPROTONOSUPPORT"),
    "netlink protocol below 0": Case(AF_NETLINK, SOCK_RAW, -1, Rule.FAMILY_CREATE, "EPROTONOSUPPORT"),
    "netlink last protocol": Case(AF_NETLINK, SOCK_RAW, 31, Rule.FAMILY_CREATE),
    "netlink generic": Case(AF_NETLINK, SOCK_RAW, 16, Rule.FAMILY_CREATE),
    "netlink without memory": Case(
        AF_NETLINK, SOCK_RAW, 0, Rule.ALLOC_SECURITY, "ENOMEM", ALLOCATED, fails(alloc="security")
    ),
    # packet_create()
    "packet without CAP_NET_RAW": Case(
        AF_PACKET, SOCK_RAW, 3, Rule.PACKET_CAP_NET_RAW, "EPERM", ["net-pf-17"], {"cap_net_raw": False}
    ),
    "packet capability before type": Case(
        AF_PACKET, SOCK_STREAM, 3, Rule.PACKET_CAP_NET_RAW, "EPERM", ["net-pf-17"], {"cap_net_raw": False}
    ),
    "packet stream": Case(AF_PACKET, SOCK_STREAM, 3, Rule.FAMILY_CREATE, "ESOCKTNOSUPPORT", ["net-pf-17"]),
    "packet dgram": Case(AF_PACKET, SOCK_DGRAM, -1, Rule.CREATED, None, ["net-pf-17", *ALLOCATED]),
    "packet packet": Case(AF_PACKET, SOCK_PACKET, 3, Rule.CREATED, None, ["net-pf-17", *ALLOCATED]),
    "packet without memory": Case(
        AF_PACKET, SOCK_RAW, 0, Rule.ALLOC_MODULE, "ENOBUFS", ["net-pf-17", *ALLOCATED], fails(alloc="module")
    ),
    # security_socket_post_create()
    "post_create": Case(AF_INET, SOCK_STREAM, 0, Rule.POST_CREATE, "EACCES", CREATED, fails(post_create="EACCES")),
    "post_create of the old packet": Case(
        AF_INET, SOCK_PACKET, 0, Rule.POST_CREATE, "EPERM", ["net-pf-17", *ALLOCATED], fails(post_create="EPERM")
    ),
    "the create before post_create": Case(
        AF_UNIX, SOCK_RDM, 0, Rule.FAMILY_CREATE, "ESOCKTNOSUPPORT", machine=fails(post_create="EPERM")
    ),
    # sock_map_fd()
    "no descriptor": Case(
        AF_UNIX, SOCK_STREAM, 0, Rule.DESCRIPTOR_LIMIT, "EMFILE", ALLOCATED, fails(descriptor="EMFILE")
    ),
    "no file": Case(AF_INET, SOCK_STREAM, 0, Rule.FILE_LIMIT, "ENFILE", CREATED, fails(descriptor="ENFILE")),
    "no memory for one": Case(AF_INET, SOCK_STREAM, 0, Rule.FILE_MEMORY, "ENOMEM", CREATED, fails(descriptor="ENOMEM")),
    "the create before a descriptor": Case(
        AF_UNIX, SOCK_RDM, 0, Rule.FAMILY_CREATE, "ESOCKTNOSUPPORT", machine=fails(descriptor="EMFILE")
    ),
    "an unknown create before a descriptor": Case(
        VSOCK, SOCK_STREAM, 0, Rule.FAMILY_CREATE, machine=fails(descriptor="EMFILE")
    ),
}  # fmt: skip

PAIR_CASES = {
    "flags": Case(AF_UNIX, SOCK_STREAM | 16, 0, Rule.FLAGS, "EINVAL", machine=fails(descriptor="EMFILE")),
    "no descriptor, first": Case(99, 11, 0, Rule.DESCRIPTOR_LIMIT, "EMFILE", machine=fails(descriptor="EMFILE")),
    "array": Case(99, 11, 0, Rule.FAULT, "EFAULT", machine=fails(array="EFAULT", descriptor="ENFILE")),
    "no descriptor for it": Case(
        AF_UNIX, SOCK_STREAM, 0, Rule.DESCRIPTOR_LIMIT, "EMFILE", machine=fails(array="EFAULT", descriptor="EMFILE")
    ),
    "family": Case(99, 11, 0, Rule.FAMILY, "EAFNOSUPPORT", machine=fails(descriptor="ENFILE")),
    "unix": Case(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, Rule.CREATED, None, ALLOCATED * 2),
    "unix rdm": Case(AF_UNIX, SOCK_RDM, 0, Rule.FAMILY_CREATE, "ESOCKTNOSUPPORT"),
    "inet": Case(AF_INET, SOCK_STREAM, 0, Rule.NO_PAIR, "EOPNOTSUPP", CREATED * 2),
    "inet before its file": Case(
        AF_INET, SOCK_STREAM, 0, Rule.NO_PAIR, "EOPNOTSUPP", CREATED * 2, fails(descriptor="ENFILE")
    ),
    "netlink": Case(AF_NETLINK, SOCK_RAW, 0, Rule.NO_PAIR, "EOPNOTSUPP", ALLOCATED * 2),
    "old packet": Case(AF_INET, SOCK_PACKET, 0, Rule.NO_PAIR, "EOPNOTSUPP", ["net-pf-17", *ALLOCATED * 2]),
    "another family": Case(VSOCK, SOCK_STREAM, 0, Rule.FAMILY_CREATE),
    "no file": Case(AF_UNIX, SOCK_STREAM, 0, Rule.FILE_LIMIT, "ENFILE", ALLOCATED * 2, fails(descriptor="ENFILE")),
    "no memory for one": Case(
        AF_UNIX, SOCK_STREAM, 0, Rule.FILE_MEMORY, "ENOMEM", ALLOCATED * 2, fails(descriptor="ENOMEM")
    ),
}  # fmt: skip
CASES = {
    **SOCKET_CASES,
    **{f"a pair: {name}": case._replace(pair=True) for name, case in PAIR_CASES.items()},
}
EACH_CASE = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def answer(case: Case, profile: Profile = PROBED) -> sys_socket.Outcome:
    ask = sys_socket.socketpair if case.pair else sys_socket.socket
    return ask(Machine(profile, **case.machine), case.family, case.type, case.protocol)


@EACH_CASE
def test_rule_errno_and_calls(case):
    outcome = answer(case)
    assert (outcome.rule, outcome.errno) == (case.rule, case.errno)
    assert [call.module or call.function for call in outcome.calls] == list(case.calls)
    assert outcome.word == ("failed" if case.errno else "ok" if case.rule.stage is None else "unknown")


@EACH_CASE
def test_explain_and_the_judge_agree(case):
    """Of a call that came to no create, and whose errno is what the model predicts."""
    outcome = answer(case)
    syscall = "socketpair" if case.pair else "socket"
    seen = SeenSyscall(syscall, case.family, case.type, case.protocol, outcome.errno, None)
    if outcome.word != "failed" or "inet_create" in case.calls or case.rule.stage in ("security", "inode"):
        return
    if case.rule.stage == "post_create" or case.rule in (Rule.FILE_MEMORY, *ALLOCATION_RULES):
        return  # of another family than the two the errno alone does not tell
    assert rule_before_create(seen) is case.rule
    if case.rule is Rule.FAMILY_CREATE:
        verdict = judge_syscall(seen, PROBED)
        request = Request(case.family, case.type, case.protocol, PROBED)
        assert verdict.why == explain(request, outcome)


ALLOCATION_RULES = (Rule.ALLOC_MEMORY, Rule.ALLOC_SECURITY, Rule.ALLOC_MODULE)


def test_every_failure_has_a_rule():
    steps = {step for case in CASES.values() for step in case.machine.get("failures", ())}
    assert set(FAILURES) - steps == {"hash", "init", "cgroup"}  # test_inet_create has them


@pytest.mark.parametrize(
    ("family", "type_", "protocol", "reason", "fix"),
    [
        (AF_UNIX, SOCK_RDM, 0, "AF_UNIX has no sockets of SOCK_RDM",
         "pass SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET or SOCK_RAW"),
        (AF_UNIX, 9, 1, "AF_UNIX has no sockets of socket type 9",
         "pass SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET or SOCK_RAW"),
        (AF_UNIX, SOCK_STREAM, 6, "AF_UNIX takes protocol 0 or 1 (PF_UNIX)", "pass protocol 0"),
        (AF_NETLINK, SOCK_STREAM, 0, "AF_NETLINK has no sockets of SOCK_STREAM", "pass SOCK_RAW or SOCK_DGRAM"),
        (AF_NETLINK, SOCK_RAW, 32, "AF_NETLINK takes a protocol from 0 to 31",
         "pass one of NETLINK_*, such as NETLINK_ROUTE (0)"),
        (AF_PACKET, SOCK_STREAM, 0, "AF_PACKET has no sockets of SOCK_STREAM",
         "pass SOCK_RAW, SOCK_DGRAM or SOCK_PACKET"),
    ],
)  # fmt: skip
def test_what_a_family_never_has(family, type_, protocol, reason, fix):
    outcome = sys_socket.socket(Machine(P61), family, type_, protocol)
    why = explain(Request(family, type_, protocol, P61), outcome)
    assert (why.reason, [one.do for one in why.fix]) == (reason, [fix])
    # The same errno where the model has no mismatch, and another errno, may also be a security module's.
    other = explain(Request(family, type_, protocol, P61, seen=True), outcome._replace(errno="EACCES"))
    assert other.reason.startswith(f"{FAMILIES[family]}'s own code refused the socket; a security module may")
    predicted = explain(Request(family, type_, protocol, P61), outcome._replace(errno="EACCES"))
    assert predicted.reason == f"{FAMILIES[family]}'s own code refused the socket"


@pytest.mark.parametrize(
    ("profile", "family", "protocol", "reason"),
    [
        (PROBED, VSOCK, 0, "AF_VSOCK's own code decides about type and protocol, as its manual page says "
         "(address_families(7) names it)"),
        (PROBED, AF_NETLINK, 16, "whether this kernel has the netlink protocol 16 is not known"),
        (P61, NFC, 0, "whether this kernel has AF_NFC, or a module with it, is not known"),
        (replace(P61, registered=None), AF_UNIX, 0,
         "whether this kernel has AF_UNIX, or a module with it, is not known"),
    ],
)  # fmt: skip
def test_what_is_not_known_is_said(profile, family, protocol, reason):
    for ask in sys_socket.socket, sys_socket.socketpair:
        outcome = ask(Machine(profile), family, SOCK_RAW, protocol)
        assert (outcome.word, outcome.errno) == ("unknown", None)
        why = explain(Request(family, SOCK_RAW, protocol, profile), outcome)
        assert why.reason == reason
        assert why.fix


@pytest.mark.parametrize(
    ("profile", "family", "result"),
    [
        (PROBED, AF_MCTP, NOT_FOUND),
        (PROBED, NFC, None),  # a blacklisted module: modprobe's status may be either
        (PROBED, CAN, LOADED),
        (replace(PROBED, modprobe=""), CAN, NO_MODPROBE),
        (replace(PROBED, modules_disabled=True), CAN, NOT_FOUND),
    ],
)
def test_the_result_of_asking_for_a_family_s_module(profile, family, result):
    machine = Machine(profile)
    outcome = sys_socket.socket(machine, family, SOCK_STREAM, 0)
    assert [(call.module, call.result) for call in outcome.calls] == [(f"net-pf-{family}", result)]
    assert outcome.errno == (None if result == LOADED else "EAFNOSUPPORT")
    # What was loaded stays loaded.
    assert len(sys_socket.socket(machine, family, SOCK_STREAM, 0).calls) == (result != LOADED)


def test_without_modules_no_module_is_asked_for():
    outcome = sys_socket.socket(Machine(WITHOUT_MODULES), CAN, SOCK_STREAM, 0)
    assert (outcome.errno, outcome.calls) == ("EAFNOSUPPORT", ())


@pytest.mark.parametrize(
    ("changes", "registered"),
    [
        ({}, True),
        ({"registered": None}, None),
        ({"registered": (), "families": None}, None),  # a built-in profile's list is not whole
        ({"registered": (), "families": None, "modprobe": ""}, False),
        ({"registered": (), "families": None, "modules_disabled": True}, False),
        ({"registered": (), "families": None, "features": WITHOUT_MODULES.features}, False),
        ({"registered": None, "families": {}}, None),
        ({"registered": (), "families": {}}, False),
    ],
)
def test_whether_a_family_is_registered(changes, registered):
    assert Machine(replace(PROBED, **changes)).registered(VSOCK) is registered


def test_a_family_of_addresses_is_registered_by_no_code_of_linux():
    assert Machine(replace(P61, registered=None)).registered(0) is False
    assert Machine(replace(P61, registered=None, families={"net-pf-0": FamilyModule("x")})).registered(0) is None
    assert Machine(replace(P61, families={"net-pf-0": FamilyModule("x")})).registered(0) is False  # loadable


def test_of_the_inet_families_an_older_recording_knows_as_much_as_before():
    old = replace(P61, registered=None)
    assert Machine(old).registered(AF_INET)
    assert Machine(old).registered(AF_INET6)
    assert Machine(replace(old, ipv6_disabled=True)).registered(AF_INET6) is False
    assert Machine(replace(PROBED, registered=(AF_UNIX,))).registered(AF_INET) is False


def test_without_ipv6_another_missing_family_is_missing_by_itself():
    disabled = Machine(replace(PROBED, ipv6_disabled=True))
    assert sys_socket.socket(disabled, AF_INET6, SOCK_STREAM, 0).rule is Rule.IPV6_DISABLED
    assert sys_socket.socket(disabled, AF_MCTP, SOCK_STREAM, 0).rule is Rule.NO_FAMILY


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        ((AF_UNIX, SOCK_DGRAM, 1), "AF_UNIX has sockets of SOCK_DGRAM with protocol 1"),
        ((AF_NETLINK, SOCK_RAW, 0), "AF_NETLINK has sockets of SOCK_RAW with protocol 0"),
        ((AF_PACKET, SOCK_RAW, 3), "AF_PACKET has sockets of SOCK_RAW with protocol 3"),
        ((AF_INET, SOCK_STREAM, 6), "TCP is registered for SOCK_STREAM"),
    ],
)
def test_why_a_socket_is_made(request_, reason):
    outcome = sys_socket.socket(Machine(P61), *request_)
    assert explain(Request(*request_, P61), outcome).reason == reason


def test_ipv6_may_be_a_module_that_the_kernel_asks_for():
    module = replace(PROBED, registered=(AF_UNIX,), families={"net-pf-10": FamilyModule("ipv6")})
    outcome = sys_socket.socket(Machine(module), AF_INET6, SOCK_STREAM, 0)
    assert (outcome.errno, outcome.calls[0].module, outcome.calls[0].result) == (None, "net-pf-10", LOADED)
    missing = sys_socket.socket(Machine(replace(module, families={})), AF_INET6, SOCK_STREAM, 0)
    assert (missing.rule, missing.errno) == (Rule.NO_FAMILY, "EAFNOSUPPORT")


@pytest.mark.parametrize(
    ("nproto", "type_", "rule", "errno"),
    [
        (45, SOCK_STREAM, Rule.FAMILY, "EAFNOSUPPORT"),
        (45, 11, Rule.FAMILY, "EAFNOSUPPORT"),
        (46, 11, Rule.TYPE_RANGE, "EINVAL"),
        (46, SOCK_STREAM, Rule.NO_FAMILY, "EAFNOSUPPORT"),
        (None, SOCK_STREAM, Rule.NO_FAMILY, "EAFNOSUPPORT"),
        (None, 11, Rule.FAMILY, None),
    ],
)
def test_before_linux_5_15_mctp_was_no_family(nproto, type_, rule, errno):
    machine = Machine(replace(PROBED, features=replace(P61.features, nproto=nproto)))
    outcome = sys_socket.socket(machine, AF_MCTP, type_, 0)
    assert (outcome.rule, outcome.errno) == (rule, errno)
    assert sys_socket.socket(machine, VSOCK, 11, 0).rule is Rule.TYPE_RANGE
    assert sys_socket.socket(machine, 46, 11, 0).rule is Rule.FAMILY
    if errno is None:
        assert explain(Request(AF_MCTP, type_, 0, P61), outcome).reason == (
            "AF_MCTP came with Linux 5.15: without it the family is refused, with it the type"
        )


def test_the_kernel_s_own_sockets_are_refused_by_no_security_module():
    machine = Machine(P61, failures={"security": "EACCES", "post_create": "EACCES", "descriptor": "EMFILE"})
    assert sys_socket.kernel_socket(machine, AF_INET, SOCK_STREAM, 0).rule is Rule.CREATED
    assert sys_socket.kernel_socket(machine, 99, SOCK_STREAM, 0).rule is Rule.FAMILY
    nested = sys_socket.kernel_socket(machine, AF_INET, SOCK_STREAM, IPPROTO_MPTCP)
    assert nested.rule is Rule.CREATED
    # packet_create() asks about the capability all the same.
    without = Machine(P61, cap_net_raw=False)
    assert sys_socket.kernel_socket(without, AF_PACKET, SOCK_RAW, 0).errno == "EPERM"
    assert sys_socket.kernel_socket(without, AF_INET, SOCK_RAW, 1).errno is None


STAGES = ("arguments", "family", "security", "inode", "create", "post_create", "descriptor")
PROFILES = (*BUILT_IN_PROFILES.values(), PROBED, WITHOUT_MODULES, replace(P61, registered=None))
FAILING = st.fixed_dictionaries(
    {}, optional={step: st.sampled_from(tuple(causes or ("EPERM", "EACCES"))) for step, causes in FAILURES.items()}
)


@given(
    st.sampled_from(PROFILES), st.booleans(), st.integers(-1, 47), st.integers(-1, 15),
    st.sampled_from((0, SOCK_CLOEXEC, SOCK_NONBLOCK, 16)), st.integers(-1, 264), FAILING, st.booleans(),
)  # fmt: skip
def test_any_call_has_an_outcome_that_its_rule_allows(profile, pair, family, type_, flags, protocol, failures, raw):
    machine = Machine(profile, failures=failures, cap_net_raw=raw)
    type_ = type_ | flags if type_ >= 0 else type_
    outcome = (sys_socket.socketpair if pair else sys_socket.socket)(machine, family, type_, protocol)
    rule = outcome.rule
    assert (rule.stage is None) == (outcome.word == "ok")
    if outcome.word == "failed":
        assert outcome.errno in rule.errnos if rule.errnos else outcome.errno is not None
    else:
        assert outcome.errno is None
    why = explain(Request(family, type_ & ~(SOCK_CLOEXEC | SOCK_NONBLOCK), protocol, profile), outcome)
    assert why.reason
    assert bool(why.fix) == (outcome.word != "ok")
    # No call is made before its stage.
    asked = [call for call in outcome.calls if call.function != "__request_module" or call.depth]
    if rule.stage in STAGES[: STAGES.index("create")] and rule is not Rule.NO_FAMILY and not pair:
        assert not asked
    # A later failure than the one that decided changes nothing.
    steps = {"security": "security", "inode": "inode", "post_create": "post_create", "descriptor": "descriptor"}
    later = {step for step in steps if rule.stage in STAGES and STAGES.index(step) > STAGES.index(rule.stage)}
    if pair:
        later.discard("descriptor")  # comes first, too
    fewer = Machine(
        profile, failures={step: cause for step, cause in failures.items() if step not in later}, cap_net_raw=raw
    )
    again = (sys_socket.socketpair if pair else sys_socket.socket)(fewer, family, type_, protocol)
    assert (again.rule, again.errno, again.calls) == (rule, outcome.errno, outcome.calls)


def test_the_families_of_linux_have_their_creates():
    assert {NET_FAMILIES[family] for family in (AF_UNIX, AF_INET, AF_INET6, AF_NETLINK, AF_PACKET)} == {
        "unix_create", "inet_create", "inet6_create", "netlink_create", "packet_create",
    }  # fmt: skip
    without = {name for number, name in FAMILIES.items() if number not in NET_FAMILIES}
    assert without == {
        "AF_UNSPEC", "AF_BRIDGE", "AF_SECURITY", "AF_ASH", "AF_SNA", "AF_IB", "AF_MPLS",
        "AF_IPX", "AF_NETBEUI", "AF_ECONET", "AF_IRDA", "AF_WANPIPE",
    }  # fmt: skip
    assert set(TYPES) >= {SOCK_STREAM, SOCK_PACKET}
