"""Each rule of the path once, spelt out; and for each kernel the whole table of outcomes as a golden.

The goldens hold what the live sweep has found to be so on Debian's 5.10, 6.1, 6.12 and 7.2.
"""

from dataclasses import replace
from itertools import groupby

import pytest

from inetprobe.base.uapi import FAMILIES, TYPES
from inetprobe.model import inet_create
from inetprobe.model.features import Features
from inetprobe.model.profile import BUILT_IN_PROFILES
from inetprobe.model.reasons import Request, reason
from inetprobe.model.world import Machine
from tests.support.paths import GOLDENS

P61, P612, CLASSIC = (BUILT_IN_PROFILES[name] for name in ("6.1", "6.12", "3.x"))
FLAGS = 0o2000000 | 0o4000  # SOCK_CLOEXEC, SOCK_NONBLOCK
ALLOCATED = [("sk_alloc", 1), ("sk_prot_alloc", 2)]
TCP, UDP, ICMP, SCTP, L2TP, SMC, MPTCP = 6, 17, 1, 132, 115, 256, 262


def outcome(family, type_, protocol, profile=P61, **machine):
    return inet_create.socket(Machine(profile, **machine), family, type_, protocol)


def shape(found):
    return [(call.function, call.depth) if call.module is None else call.module for call in found.calls]


def asked(family, type_, protocol):
    return [f"net-pf-{family}-proto-{protocol}-type-{type_}", f"net-pf-{family}-proto-{protocol}"]


CASES = {
    "tcp": ((2, 1, 0), {}, "created", None, "TCP", [("inet_create", 0), *ALLOCATED]),
    "tcp6": ((10, 1, TCP), {}, "created", None, "TCPv6", [("inet6_create", 0), *ALLOCATED]),
    "cloexec": ((2, 1 | 0o2000000 | 0o4000, 0), {}, "created", None, "TCP", [("inet_create", 0), *ALLOCATED]),
    "flags": ((2, 1 | 16, 0), {}, "flags", "EINVAL", None, []),
    "negative type": ((2, -1, 0), {}, "flags", "EINVAL", None, []),
    "last type": ((10, 10, 0), {}, "type", "ESOCKTNOSUPPORT", None, [("inet6_create", 0), *asked(10, 10, 0)]),
    "type range": ((2, 11, 0), {}, "type-range", "EINVAL", None, []),
    "family": ((46, 1, 0), {}, "family", "EAFNOSUPPORT", None, []),
    "negative family": ((-1, 1, 0), {}, "family", "EAFNOSUPPORT", None, []),
    "family before type": ((46, 11, 0), {}, "family", "EAFNOSUPPORT", None, []),
    "flags before family": ((46, 17, 0), {}, "flags", "EINVAL", None, []),
    "packet": ((2, 10, 3), {}, "packet", None, "PACKET", [("sk_alloc", 0), ("sk_prot_alloc", 1)]),
    "packet nobody": ((2, 10, 3), {"cap_net_raw": False}, "packet-cap-net-raw", "EPERM", None, []),
    "packet memory": (
        (2, 10, 3), {"failures": {"alloc": "memory"}}, "alloc-memory", "ENOBUFS", "PACKET",
        [("sk_alloc", 0), ("sk_prot_alloc", 1)],
    ),
    "below range": ((2, 1, -1), {}, "protocol-range", "EINVAL", None, [("inet_create", 0)]),
    "above range": ((2, 3, 263), {}, "protocol-range", "EINVAL", None, [("inet_create", 0)]),
    "in range": ((2, 1, 261), {}, "protocol", "EPROTONOSUPPORT", None, [("inet_create", 0), *asked(2, 1, 261)]),
    "no type": ((2, 4, 0), {}, "type", "ESOCKTNOSUPPORT", None, [("inet_create", 0), *asked(2, 4, 0)]),
    "raw 0": ((2, 3, 0), {"cap_net_raw": False}, "protocol", "EPROTONOSUPPORT", None,
              [("inet_create", 0), *asked(2, 3, 0)]),
    "raw": ((2, 3, ICMP), {}, "created", None, "RAW", [("inet_create", 0), *ALLOCATED]),
    "raw nobody": ((2, 3, ICMP), {"cap_net_raw": False}, "cap-net-raw", "EPERM", None, [("inet_create", 0)]),
    "dgram nobody": ((2, 2, 0), {"cap_net_raw": False}, "created", None, "UDP", [("inet_create", 0), *ALLOCATED]),
    "sctp loads at the second": (
        (2, 1, SCTP), {}, "created", None, "SCTP", [("inet_create", 0), *asked(2, 1, SCTP), *ALLOCATED],
    ),
    "l2tp loads at the first": (
        (2, 2, L2TP), {}, "created", None, "L2TP/IP", [("inet_create", 0), asked(2, 2, L2TP)[0], *ALLOCATED],
    ),
    "sctp is in": ((2, 1, SCTP), {"loaded": ("sctp",)}, "created", None, "SCTP", [("inet_create", 0), *ALLOCATED]),
    "seqpacket 0": ((2, 5, 0), {"loaded": ("sctp",)}, "created", None, "SCTP", [("inet_create", 0), *ALLOCATED]),
    "sctp loads for nothing": (
        (2, 2, SCTP), {}, "protocol", "EPROTONOSUPPORT", None, [("inet_create", 0), *asked(2, 2, SCTP)],
    ),
    "sctp absent": (
        (2, 5, SCTP), {"loadable": ()}, "type", "ESOCKTNOSUPPORT", None, [("inet_create", 0), *asked(2, 5, SCTP)],
    ),
    "ping": ((2, 2, ICMP), {"ping_group_allowed": True}, "created", None, "PING", [("inet_create", 0), *ALLOCATED]),
    "ping refused": ((10, 2, 58), {}, "ping-group", "EACCES", "PINGv6", [("inet6_create", 0), *ALLOCATED]),
    "mptcp nests": (
        (2, 1, MPTCP), {"mptcp_enabled": True}, "created", None, "MPTCP",
        [("inet_create", 0), *ALLOCATED, ("inet_create", 1), ("sk_alloc", 2), ("sk_prot_alloc", 3)],
    ),
    "mptcp off": ((2, 1, MPTCP), {"mptcp_enabled": False}, "mptcp-disabled", "ENOPROTOOPT", "MPTCP",
                  [("inet_create", 0), *ALLOCATED]),
    "cgroup": ((2, 1, 0), {"failures": {"cgroup": "EPERM"}}, "cgroup", "EPERM", "TCP",
               [("inet_create", 0), *ALLOCATED]),
    "no memory": ((2, 1, 0), {"failures": {"alloc": "memory"}}, "alloc-memory", "ENOMEM", "TCP",
                  [("inet_create", 0), *ALLOCATED]),
    "no memory 6": ((10, 1, 0), {"failures": {"alloc": "security"}}, "alloc-security", "ENOBUFS", "TCPv6",
                    [("inet6_create", 0), *ALLOCATED]),
    "module going": ((2, 1, 0), {"failures": {"alloc": "module"}}, "alloc-module", "ENOMEM", "TCP",
                     [("inet_create", 0), *ALLOCATED]),
    "hash": ((2, 3, ICMP), {"failures": {"hash": "EINVAL"}}, "hash", "EINVAL", "RAW", [("inet_create", 0), *ALLOCATED]),
    "hash of raw alone": ((2, 1, 0), {"failures": {"hash": "EINVAL"}}, "created", None, "TCP",
                          [("inet_create", 0), *ALLOCATED]),
    "init": ((2, 1, 0), {"failures": {"init": "ENOMEM"}}, "init", "ENOMEM", "TCP", [("inet_create", 0), *ALLOCATED]),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_rule(case):
    request, machine, rule, errno, prot, calls = case
    found = outcome(*request, **machine)
    assert (found.rule, found.errno, found.prot, shape(found)) == (rule, errno, prot, calls)
    if found.calls and found.calls[0].function in ("inet_create", "inet6_create"):
        assert found.calls[0].result == inet_create.negative(errno)
    pointer = "NULL" if rule.startswith("alloc") else "valid"
    assert {c.pointer for c in found.calls if c.function in ("sk_alloc", "sk_prot_alloc")} <= {pointer}


def test_what_a_module_request_returns():
    assert [call.result for call in outcome(2, 1, SCTP).calls if call.module] == [256, 0]
    off = replace(P61, modprobe="")
    assert [call.result for call in outcome(2, 1, SCTP, off).calls if call.module] == [-2, -2]


def test_a_loaded_module_stays():
    machine = Machine(P61)
    assert len(inet_create.socket(machine, 2, 1, SCTP).calls) == 5
    assert len(inet_create.socket(machine, 2, 1, SCTP).calls) == 3
    assert len(inet_create.socket(machine, 10, 5, 0).calls) == 3


def test_a_request_for_a_module_that_is_in_succeeds():
    assert [call.result for call in outcome(2, 2, SCTP, loaded=("sctp",), loadable=()).calls if call.module] == [256, 0]


def test_dccp_for_ipv6_brings_that_for_ipv4():
    machine = Machine(CLASSIC, loadable=("dccp_ipv6",))
    assert inet_create.socket(machine, 10, 6, 0).prot == "DCCPv6"
    assert shape(inet_create.socket(machine, 2, 6, 33)) == [("inet_create", 0), *ALLOCATED]


def test_the_kernel_s_own_sockets_need_no_capability_and_pass_the_cgroup():
    machine = Machine(P61, cap_net_raw=False, failures={"cgroup": "EPERM"})
    assert inet_create.create(machine, 2, 3, ICMP, kern=True).rule == "created"


def test_smc_nests_and_mptcp_does_no_more():
    found = outcome(2, 1, SMC, P612, loaded=("smc",))
    assert shape(found)[3:] == [("inet_create", 1), ("sk_alloc", 2), ("sk_prot_alloc", 3)]
    assert shape(outcome(2, 1, MPTCP, P612)) == [("inet_create", 0), *ALLOCATED]
    assert shape(outcome(10, 1, MPTCP, P612)) == [("inet6_create", 0), *ALLOCATED]


def test_a_nested_socket_s_failure_is_the_outer_one_s():
    class Failing(Machine):
        def allocation_failure(self, entry):
            return "memory" if entry.prot == "TCP" else None

    found = inet_create.socket(Failing(P61, mptcp_enabled=True), 2, 1, MPTCP)
    assert (found.rule, found.nested, found.errno, found.prot) == ("nested", "alloc-memory", "ENOMEM", "MPTCP")
    assert [call.result for call in found.calls if call.function == "inet_create"] == [-12, -12]


def test_the_nested_socket_is_the_kernel_s_own():
    class Asked(Machine):
        asked = 0

        def cgroup_error(self):
            self.asked += 1

    machine = Asked(P61, mptcp_enabled=True)
    inet_create.socket(machine, 2, 1, MPTCP)
    assert machine.asked == 1


@pytest.mark.parametrize(
    ("request_", "rule", "errno"),
    [
        ((2, 1, -1), "protocol", "EPROTONOSUPPORT"),
        ((2, 3, -1), "created", None),
        ((2, 3, 300), "created", None),
        ((2, 3, 65536), "created", None),
        ((2, 5, 132), "created", None),
        ((2, 1, 262), "protocol", "EPROTONOSUPPORT"),
    ],
)
def test_the_classic_path_has_no_range_check(request_, rule, errno):
    found = outcome(*request_, CLASSIC)
    assert (found.rule, found.errno) == (rule, errno)


def test_the_classic_path_knows_namespaces_but_no_cgroup():
    assert outcome(2, 1, SCTP, CLASSIC, initial_netns=False).errno == "EAFNOSUPPORT"
    assert outcome(2, 1, SCTP, CLASSIC, initial_netns=True).errno is None
    assert outcome(2, 1, TCP, CLASSIC, initial_netns=False).errno is None
    # inet_create() alone asks, and of the protocol's number, whatever the type.
    assert outcome(10, 1, SCTP, CLASSIC, initial_netns=False).errno is None
    assert outcome(2, 3, SCTP, CLASSIC, initial_netns=False).errno is None
    assert outcome(2, 3, SCTP, CLASSIC, initial_netns=False, loaded=("sctp",)).rule == "netns"
    assert outcome(2, 1, SCTP, P61, initial_netns=False).errno is None
    assert outcome(2, 1, 0, CLASSIC, failures={"cgroup": "EPERM"}).errno is None
    assert outcome(2, 1, 0, CLASSIC, failures={"alloc": "memory"}).errno == "ENOBUFS"
    assert outcome(2, 3, ICMP, CLASSIC, failures={"hash": "EINVAL"}).errno is None


def test_a_raw_socket_whose_number_is_cut_to_nothing_is_not_hashed():
    features = replace(CLASSIC.features, hash_can_fail=True)
    profile = replace(CLASSIC, features=features)
    assert outcome(2, 3, 65536, profile, failures={"hash": "EINVAL"}).rule == "created"
    assert outcome(2, 3, 65537, profile, failures={"hash": "EINVAL"}).rule == "hash"


def test_a_kernel_without_modules_asks_for_none():
    profile = replace(P61, features=Features(request_module=False))
    assert shape(outcome(2, 1, SCTP, profile)) == [("inet_create", 0)]
    assert outcome(2, 1, SCTP, profile).errno == "EPROTONOSUPPORT"


def test_what_features_leave_open():
    open_ = replace(P61, features=Features(alloc_errno=None, mptcp_nested=None))
    assert outcome(2, 1, 0, open_, failures={"alloc": "memory"}).errno == "ENOMEM"
    assert len(outcome(2, 1, MPTCP, open_).calls) == 3


def test_another_family_is_not_the_model_s():
    with pytest.raises(ValueError, match="family 1 is neither"):
        outcome(1, 1, 0)


def test_negative():
    assert [inet_create.negative(name) for name in (None, "EPERM", "524")] == [0, -1, -524]


def describe(found):
    calls = "; ".join(f"{call.depth}:{call.function}" for call in found.calls if call.module is None)
    requests = sum(call.module is not None for call in found.calls)
    return f"{found.errno or 'ok'} {found.prot or '-'} [{found.rule}] {requests} modules; {calls}"


def table(profile, modules):
    """Every type and protocol of both families, runs of protocols with one outcome on one line."""
    for family in (2, 10):
        for type_ in range(-1, 12):
            # A machine of its own for each, since autoloading would carry over.
            lines = [
                (p, describe(outcome(family, type_, p, profile, loaded=modules, mptcp_enabled=True)))
                for p in range(-1, 265)
            ]
            for said, run in groupby(lines, key=lambda line: line[1]):
                numbers = [protocol for protocol, _ in run]
                span = f"{numbers[0]}..{numbers[-1]}" if len(numbers) > 1 else str(numbers[0])
                yield f"{FAMILIES[family]} {TYPES.get(type_, type_)} {span}: {said}"


@pytest.mark.parametrize("kernel", BUILT_IN_PROFILES)
def test_the_whole_table(kernel, update_goldens):
    profile = BUILT_IN_PROFILES[kernel]
    modules = tuple(name for name in (*profile.loadable, *profile.blocked))
    said = []
    for title, loaded in (("nothing loaded", ()), ("everything loaded", modules)):
        said += [f"# {title}", *table(profile, loaded)]
    golden = GOLDENS / f"model-{kernel}.txt"
    if update_goldens:
        golden.write_text("\n".join(said) + "\n")
    assert said == golden.read_text().splitlines()


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_every_reason_is_one_sentence(case):
    request, machine, *_ = case
    found = outcome(*request, **machine)
    said = reason(Request(request[0], request[1] & ~FLAGS, request[2], P61), found)
    assert said
    assert "\n" not in said
    assert not said.endswith(".")


def test_reasons(update_goldens):
    said = []
    for name, (request, machine, *_) in CASES.items():
        found = outcome(*request, **machine)
        asked = (request[0], request[1] & ~FLAGS, request[2], P61)
        said.append(f"{name}: {reason(Request(*asked), found)}")
        if (observed := reason(Request(*asked, seen=True), found)) != reason(Request(*asked), found):
            said.append(f"  seen: {observed}")
    golden = GOLDENS / "reasons.txt"
    if update_goldens:
        golden.write_text("\n".join(said) + "\n")
    assert said == golden.read_text().splitlines()
