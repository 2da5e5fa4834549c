"""Why: the reason of the rule that decided, the evidence for it on this machine, and the ways to change the outcome."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple, assert_never

from inetprobe.base.uapi import (
    AF_INET,
    AF_PACKET,
    FAMILIES,
    IPPROTO_ICMP,
    PROTOCOLS,
    SOCK_DGRAM,
    SOCK_PACKET,
    SOCK_RAW,
    SOCK_TYPE_MASK,
    TYPES,
    call_text,
)
from inetprobe.base.words import listed
from inetprobe.model import modules, net_families, seccomp_reason
from inetprobe.model.caller import Caller
from inetprobe.model.fix import Fix
from inetprobe.model.inet_create import CREATE, Outcome
from inetprobe.model.lsm import ANOTHER, Refusal, deciding
from inetprobe.model.profile import Profile
from inetprobe.model.protocols import UNITS
from inetprobe.model.rules import Rule
from inetprobe.model.sys_socket import NPROTO
from inetprobe.model.world import INIT_ERRORS


class Explanation(NamedTuple):
    """Why one socket() ended as it did.

    ``reason`` is one sentence without a full stop. ``evidence`` is what was seen of this call and this machine, a
    clause each. ``fix`` has alternatives, the most careful first; it is empty for a success.
    """

    reason: str
    evidence: tuple[str, ...] = ()
    fix: tuple[Fix, ...] = ()

    def lines(self) -> Iterator[str]:
        """For people, a line each."""
        yield f"why: {self.reason}"
        yield from (f"evidence: {clause}" for clause in self.evidence)
        yield from (f"fix: {fix.do}{'' if fix.effect == 'safe' else f'  [{fix.effect}]'}" for fix in self.fix)

    def to_dict(self) -> dict[str, Any]:
        """The contract's keys in their order."""
        return {"reason": self.reason, "evidence": list(self.evidence), "fix": [fix._asdict() for fix in self.fix]}


class Request(NamedTuple):
    """The request whose outcome is explained; ``type`` is without flags.

    ``seen`` is true if the outcome comes from a real trace, in which the cause was not observed but inferred.
    ``caller`` is None unless a live process is asked about. ``descriptor_limit`` is the caller's RLIMIT_NOFILE, None
    where it is not known. ``refusal`` is that of a security module whose function was traced. ``syscall`` is
    ``socket``, ``socketpair`` or ``io_uring``.
    """

    family: int
    type: int
    protocol: int
    profile: Profile
    seen: bool = False
    caller: Caller | None = None
    descriptor_limit: int | None = None
    refusal: Refusal | None = None
    syscall: str = "socket"


def explain(request: Request, outcome: Outcome) -> Explanation:
    """Why ``outcome`` came of ``request``."""
    explanation = _explain(request, outcome)
    of_create = outcome.rule.stage == "create" and outcome.calls and outcome.calls[0].module is None
    if request.seen and outcome.errno is not None and of_create:
        return explanation._replace(evidence=(*_end(outcome), *explanation.evidence))
    return explanation


def _explain(request: Request, outcome: Outcome) -> Explanation:
    rule, profile = outcome.rule, request.profile
    match rule:
        case Rule.CREATED | Rule.PACKET:
            return Explanation(_created(request, outcome) if rule is Rule.CREATED else rule.sentence)
        case Rule.SECCOMP:
            if outcome.seccomp is not None and request.caller is not None:
                return Explanation(*seccomp_reason.of_filter(outcome.seccomp, request.caller))
            call = call_text(request.family, request.type, request.protocol, request.syscall)
            return Explanation(*seccomp_reason.of_some_filter(call, outcome.errno))
        case Rule.FLAGS:
            return Explanation(
                rule.sentence, fix=(Fix("pass SOCK_CLOEXEC and SOCK_NONBLOCK alone; set other flags with fcntl()"),)
            )
        case Rule.FAULT:
            return Explanation(rule.sentence, fix=(Fix("pass an array of two ints: int pair[2]"),))
        case Rule.NO_PAIR:
            return Explanation(rule.sentence, fix=(Fix("use AF_UNIX"),))
        case Rule.FAMILY:
            if outcome.errno is None:  # see sys_socket.sock_create
                return Explanation(
                    "AF_MCTP came with Linux 5.15: without it the family is refused, with it the type",
                    fix=(_PASS_A_TYPE,),
                )
            return Explanation(
                f"address family {request.family} does not exist",
                fix=(Fix(f"pass a family from 0 to {NPROTO - 1}, such as AF_INET (2)"),),
            )
        case Rule.TYPE_RANGE:
            return Explanation(
                f"socket type {request.type & SOCK_TYPE_MASK} does not exist, the last is SOCK_PACKET (10)",
                fix=(_PASS_A_TYPE,),
            )
        case Rule.TYPE | Rule.PROTOCOL:
            return _not_registered(request, outcome)
        case Rule.IPV6_DISABLED:
            return Explanation(
                rule.sentence,
                ("/sys/module/ipv6/parameters/disable is 1",),
                (
                    Fix("use AF_INET"),
                    Fix(
                        "remove ipv6.disable=1 from the kernel's command line, or /etc/modprobe.d, and boot",
                        "widens",
                    ),
                ),
            )
        case Rule.SECURITY | Rule.POST_CREATE:
            return _by_security_module(request, rule)
        case Rule.INODE | Rule.FILE_MEMORY:
            return Explanation(_with_alike(request, rule, rule.sentence), fix=_MORE_MEMORY)
        case Rule.NO_FAMILY:
            return _no_family(request, outcome)
        case Rule.FAMILY_CREATE:
            return _by_family(request, outcome)
        case Rule.DESCRIPTOR_LIMIT:
            limit = request.descriptor_limit
            return Explanation(
                rule.sentence,
                () if limit is None else (f"RLIMIT_NOFILE was {limit:,}",),
                (
                    Fix("look for descriptors that are never closed: ls -l /proc/PID/fd"),
                    Fix("LimitNOFILE=… in the [Service] of its unit, or ulimit -n", "widens"),
                ),
            )
        case Rule.FILE_LIMIT:
            most = profile.file_max
            return Explanation(
                rule.sentence,
                () if most is None else (f"fs.file-max was {most:,} when this machine was looked at",),
                (
                    Fix("see how many there are, and how many may be: cat /proc/sys/fs/file-nr"),
                    Fix("look for what holds them: lsof | awk '{print $1}' | sort | uniq -c | sort -n"),
                    Fix("sysctl -w fs.file-max=…", "widens"),
                ),
            )
        case Rule.PROTOCOL_RANGE:
            limit = profile.features.protocol_limit
            assert limit is not None
            return Explanation(
                f"protocol {request.protocol} is outside 0 to {limit - 1}: IPPROTO_MAX is {limit} on this kernel",
                fix=(Fix(f"pass a protocol from 0 to {limit - 1}"),),
            )
        case Rule.CAP_NET_RAW | Rule.PACKET_CAP_NET_RAW:
            return Explanation(rule.sentence, fix=(*_instead_of_raw(request), *_GIVE_CAP_NET_RAW))
        case Rule.CAP_NET_RAW_DENIED:
            return Explanation(
                f"{rule.sentence}: {rule.alike}",
                ("the caller has CAP_NET_RAW",),
                (Fix("ausearch -m AVC -ts recent, then allow net_raw in the security module's policy", "widens"),),
            )
        case Rule.NETNS:
            return Explanation(
                f"{_protocol(request.protocol)} does not work outside the initial net namespace on this kernel",
                fix=(Fix("make the socket in the initial net namespace"),),
            )
        case Rule.ALLOC_MEMORY | Rule.ALLOC_SECURITY | Rule.ALLOC_MODULE:
            if request.seen:  # a trace shows only the NULL, not which of the three it was
                guess = f"{Rule.ALLOC_MEMORY.sentence}, most likely: {Rule.ALLOC_MEMORY.alike}"
                return Explanation(guess, fix=(*_AGAIN, *_MORE_MEMORY))
            return Explanation(rule.sentence, fix=_AGAIN if rule is Rule.ALLOC_MODULE else _MORE_MEMORY)
        case Rule.HASH:
            return Explanation(
                f"{outcome.prot}'s hash function refused the socket",
                fix=(Fix("report it where this kernel comes from: no protocol of Linux refuses there"),),
            )
        case Rule.PING_GROUP:
            return _ping_group(request)
        case Rule.MPTCP_DISABLED:
            return Explanation(
                rule.sentence,
                (f"net.mptcp.enabled was {int(profile.mptcp_enabled)} when this machine was looked at",)
                if request.seen and profile.mptcp_enabled is not None
                else (),
                (Fix("pass IPPROTO_TCP"), Fix("sysctl -w net.mptcp.enabled=1", "widens")),
            )
        case Rule.INIT:
            failed = f"{outcome.prot}'s init function failed with {outcome.errno}"
            if outcome.errno in INIT_ERRORS:
                return Explanation(f"{failed}, most likely for want of memory", fix=_MORE_MEMORY)
            return Explanation(failed, fix=_AGAIN)
        case Rule.NESTED:
            return Explanation(
                f"the TCP socket that {outcome.prot} makes for itself failed with {outcome.errno}: {outcome.nested}",
                fix=_MORE_MEMORY,
            )
        case Rule.CGROUP:
            return Explanation(
                f"{rule.sentence}: {rule.alike}" if request.seen else rule.sentence,
                fix=(Fix("bpftool cgroup tree, then detach or change the program at the caller's cgroup", "weakens"),),
            )
        case _:
            assert_never(rule)


_PASS_A_TYPE = Fix("pass a type from 1 to 10, such as SOCK_STREAM (1)")
_ASK_THE_POLICY = Fix(
    "ausearch -m AVC -ts recent, or journalctl -k -g apparmor, then allow it in the security module's policy", "widens"
)
_POLICIES = {
    "AppArmor": Fix("journalctl -k -g apparmor, then add the network rule that it names to the profile", "widens"),
    "SELinux": Fix("ausearch -m AVC -ts recent | audit2allow, then allow it in the policy", "widens"),
    "a BPF LSM program": Fix("bpftool prog list | grep -w lsm, then change or unload the program", "weakens"),
}
_AGAIN = (Fix("make the socket again"),)
_GIVE_CAP_NET_RAW = (
    Fix("setcap cap_net_raw+ep PROGRAM", "widens"),
    Fix("AmbientCapabilities=CAP_NET_RAW in the [Service] of its unit", "widens"),
    Fix("docker run --cap-add NET_RAW; in a pod: securityContext: {capabilities: {add: [NET_RAW]}}", "widens"),
)
_MORE_MEMORY = (Fix("systemctl set-property UNIT MemoryMax=…; in a pod: resources: {limits: {memory: …}}", "widens"),)
_ANY_PING_GROUP = "net.ipv4.ping_group_range='0 2147483647'"


def _end(outcome: Outcome) -> Iterable[str]:
    """Where inet_create() stopped, as a trace shows it."""
    calls = {call.function: call for call in outcome.calls if call.depth <= 2}
    create = outcome.calls[0].function
    allocation = calls.get("sk_prot_alloc") or calls.get("sk_alloc")
    if allocation is None:
        return (f"{create} returned {outcome.errno} and did not come to sk_alloc",)
    if allocation.pointer == "NULL":
        return (f"{allocation.function} returned NULL",)
    return (f"{create} returned {outcome.errno} after sk_alloc had made the sock",)


def _named(table: Mapping[int, str], number: int) -> str:
    return table.get(number, str(number))


def _type(request: Request) -> str:
    return _named(TYPES, request.type) if request.type in TYPES else f"socket type {request.type}"


def _protocol(number: int) -> str:
    return f"{PROTOCOLS[number]} ({number})" if number in PROTOCOLS else f"protocol {number}"


def _created(request: Request, outcome: Outcome) -> str:
    entry = outcome.entry
    if entry is None or request.family not in CREATE:
        return f"{_named(FAMILIES, request.family)} has sockets of {_type(request)} with protocol {request.protocol}"
    requested = modules.requests(outcome.calls)
    if requested:
        match = (
            f"{entry.prot} is registered for {_type(request)} by the module that came when the kernel asked for "
            f"{listed((name for name, _ in requested), 'and')}"
        )
    else:
        match = f"{entry.prot} is registered for {_type(request)}"
        if request.protocol == 0:
            match += " and protocol 0 takes the first entry that has one"
        elif entry.protocol == 0:
            match += f" and takes any protocol, including {_protocol(request.protocol)}"
    if entry.init == "ping":
        match += "; one of the caller's groups is in ping_group_range"
    elif entry.init == "mptcp":
        match += "; net.mptcp.enabled is on"
    if request.profile.features.ehash_secret and request.type not in (SOCK_DGRAM, SOCK_RAW):
        match += "; the first such socket also waits for the connection hash's secret"
    return match


def _not_registered(request: Request, outcome: Outcome) -> Explanation:
    evidence = modules.autoload(request.profile, modules.requests(outcome.calls))
    if outcome.rule is Rule.TYPE:
        missing = f"nothing is registered for {_type(request)} in {_named(FAMILIES, request.family)}"
    elif request.type == SOCK_RAW and request.protocol == 0:
        return Explanation(
            "SOCK_RAW takes any protocol but 0", evidence, (Fix("name the protocol, such as IPPROTO_ICMP"),)
        )
    else:
        missing = f"{_protocol(request.protocol)} is not registered for {_type(request)}"
    provider = _provider(request.family, request.type, request.protocol)
    if provider is None:
        return Explanation(missing, evidence, (_other_request(request),))
    more, fix = modules.way_to(UNITS[provider], request.profile, modules.requests(outcome.calls))
    return Explanation(missing, (*evidence, *more), fix)


def _other_request(request: Request) -> Fix:
    """The request that goes with the type or the protocol, where no module would help."""
    types = _types_of(request.family, request.protocol, request.profile)
    if types and request.protocol:
        return Fix(f"use {types} with {_protocol(request.protocol)}")
    if others := _protocols_of(request.family, request.type, request.profile):
        return Fix(f"use {others} with {_type(request)}")
    return Fix("check the type and the protocol: no module of Linux registers this pair")


@lru_cache(maxsize=8192)
def _provider(family: int, type_: int, protocol: int) -> str | None:
    """The unit with an entry that would match, or None; SOCK_RAW's, which matches everything, does not count."""
    for unit in UNITS.values():
        for entry in unit.entries:
            if entry.family == family and entry.type == type_ and entry.protocol and protocol in (entry.protocol, 0):
                return unit.name
    return None


@lru_cache(maxsize=8192)
def _types_of(family: int, protocol: int, profile: Profile) -> str:
    units = {*profile.built_in, *profile.loaded, *profile.loadable}
    entries = [entry for name in UNITS if name in units for entry in UNITS[name].entries]
    types = {entry.type for entry in entries if entry.family == family and entry.protocol == protocol}
    return " or ".join(_named(TYPES, type_) for type_ in sorted(types))


@lru_cache(maxsize=4096)
def _protocols_of(family: int, type_: int, profile: Profile) -> str:
    units = {*profile.built_in, *profile.loaded}
    entries = [entry for name in UNITS if name in units for entry in UNITS[name].entries]
    matching = [entry for entry in entries if entry.family == family and entry.type == type_ and entry.protocol]
    return listed((_named(PROTOCOLS, entry.protocol) for entry in matching), "or")


def _with_alike(request: Request, rule: Rule, sentence: str) -> str:
    """The sentence, and of a trace what else would look the same."""
    return f"{sentence}; {rule.alike}" if request.seen and rule.alike else sentence


def _by_security_module(request: Request, rule: Rule) -> Explanation:
    """Which one is known where its function was traced, or where no other could have been it."""
    refusal = request.refusal
    if refusal is not None:
        return Explanation(
            f"{refusal.module} refused the socket{' once it was made' * refusal.is_after}",
            (f"{refusal.function} returned {refusal.errno}",),
            (_policy(refusal.module),),
        )
    able = deciding(request.profile.security_modules or (), rule)
    if len(able) == 1 and able[0] != ANOTHER and rule is Rule.SECURITY:
        alone = "no other security module of this machine (/sys/kernel/security/lsm) is asked about sockets"
        return Explanation(f"{able[0]} refused the socket", (alone,), (_policy(able[0]),))
    sentence = f"{rule.sentence}: {listed(able, 'or')}" if able else rule.sentence
    return Explanation(_with_alike(request, rule, sentence), fix=tuple(map(_policy, able)) or (_ASK_THE_POLICY,))


def _policy(module: str) -> Fix:
    return _POLICIES.get(module, _ASK_THE_POLICY)


def _by_family(request: Request, outcome: Outcome) -> Explanation:
    """Of an address family's own code, as far as it is modelled."""
    refused = net_families.mismatch(request.family, request.type, request.protocol)
    if refused is not None and refused.errno == outcome.errno:
        return Explanation(refused.reason, fix=(Fix(refused.instead),))
    family = _named(FAMILIES, request.family)
    look = Fix(f"check type, protocol and capabilities against {family}'s manual page")
    if outcome.errno is None:
        return Explanation(net_families.undecided(request.family, request.protocol), fix=(look,))
    return Explanation(_with_alike(request, outcome.rule, f"{family}'s own code refused the socket"), fix=(look,))


def _no_family(request: Request, outcome: Outcome) -> Explanation:
    profile = request.profile
    number = AF_PACKET if (request.family, request.type) == (AF_INET, SOCK_PACKET) else request.family
    family, alias = _named(FAMILIES, number), f"net-pf-{number}"
    requested = [(alias, call.result) for call in outcome.calls if call.module == alias]
    more, fix = modules.way_to_family(alias, family, profile)
    if outcome.errno is None:
        ask = Fix(f"ask on the machine itself: modprobe -n -v {alias}")
        return Explanation(f"whether this kernel has {family}, or a module with it, is not known", fix=(ask,))
    lacks = f"has no code for {family}" if profile.features.request_module else f"is built without {family}"
    evidence = (*modules.autoload(profile, requested[:1]), *more)
    return Explanation(_with_alike(request, outcome.rule, f"this kernel {lacks}"), evidence, fix)


def _instead_of_raw(request: Request) -> tuple[Fix, ...]:
    if (request.family, request.type, request.protocol) != (AF_INET, SOCK_RAW, IPPROTO_ICMP):
        return ()
    return (Fix("use SOCK_DGRAM with IPPROTO_ICMP where net.ipv4.ping_group_range has a group of the caller's"),)


def _ping_group(request: Request) -> Explanation:
    span = request.profile.ping_group_range
    evidence = (
        ()
        if span is None
        else ("net.ipv4.ping_group_range is empty",)
        if span[0] > span[1]
        else (f"net.ipv4.ping_group_range is {span[0]} to {span[1]}",)
    )
    fix = (
        Fix(f"sysctl -w {_ANY_PING_GROUP}", "widens"),
        Fix("use SOCK_RAW, with CAP_NET_RAW: setcap cap_net_raw+ep PROGRAM", "widens"),
    )
    return Explanation(Rule.PING_GROUP.sentence, evidence, fix)
