"""Why: one sentence for each rule of the path, with what the rule saw and what would change its mind."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from inetprobe.base.uapi import ERRNOS, FAMILIES, PROTOCOLS, TYPES
from inetprobe.model.inet_create import Outcome, PredictedCall
from inetprobe.model.profile import Profile
from inetprobe.model.protocols import AF_INET, BUILT_IN, SOCK_DGRAM, SOCK_RAW, UNITS, Unit
from inetprobe.model.world import LOADED


class Request(NamedTuple):
    """What was asked for; ``type`` without flags. ``seen``: the outcome is a real trace's, and what the rules looked at
    is inferred from it."""

    family: int
    type: int
    protocol: int
    profile: Profile
    seen: bool = False


def reason(request: Request, outcome: Outcome) -> str:
    """The sentence for ``outcome``."""
    return _RULES[outcome.rule](request, outcome)


def _named(table: Mapping[int, str], number: int) -> str:
    return table.get(number, str(number))


def _type(request: Request) -> str:
    return _named(TYPES, request.type) if request.type in TYPES else f"socket type {request.type}"


def _protocol(number: int) -> str:
    return f"{PROTOCOLS[number]} ({number})" if number in PROTOCOLS else f"protocol {number}"


def _created(request: Request, outcome: Outcome) -> str:
    entry = outcome.entry
    assert entry is not None
    asked = _requests(outcome.calls)
    what = f"{entry.prot} is registered for {_type(request)}"
    if request.protocol == 0:
        what += " and protocol 0 takes the first entry that has one"
    elif entry.protocol == 0:
        what += f" and takes any protocol, {_protocol(request.protocol)} too"
    if asked:
        what = (
            f"{entry.prot} was not registered for {_type(request)} until the kernel had asked for "
            f"{_and(name for name, _ in asked)}: the module has been loaded since"
        )
    checks = {"ping": "a group of the caller's is in ping_group_range", "mptcp": "net.mptcp.enabled is on"}
    secret = request.profile.features.ehash_secret and request.type not in (SOCK_DGRAM, SOCK_RAW)
    what += f"; {checks[entry.init]}" if entry.init in checks else ""
    return what + ("; the first such socket also waits for the connection hash's secret" if secret else "")


def _not_registered(request: Request, outcome: Outcome) -> str:
    fate = _fate(request.profile, outcome.calls)
    if outcome.rule == "type":
        what = f"nothing is registered for {_type(request)} in {_named(FAMILIES, request.family)}"
    elif request.type == SOCK_RAW and request.protocol == 0:
        return f"SOCK_RAW takes any protocol but 0{fate}: name the protocol, such as IPPROTO_ICMP"
    else:
        what = f"{_protocol(request.protocol)} is not registered for {_type(request)}"
    return f"{what}{fate}: {_remedy(request, outcome)}"


def _fate(profile: Profile, calls: Sequence[PredictedCall]) -> str:
    asked = _requests(calls)
    if not asked:
        return ""
    stopped = [profile.aliases.get(name) in profile.blocked for name, _ in asked]
    found = _found([result for _, result in asked], stopped)
    return f"; the kernel asked for {_and(name for name, _ in asked)}, {found}"


_ORDINALS = ("first", "second")


def _found(results: Sequence[int | None], stopped: Sequence[bool]) -> str:
    """``stopped``: for each, whether it leads to a module that modprobe would not load."""
    odd = next((result for result in results if result is not None and result < 0), None)
    if odd is not None:
        name = ERRNOS.get(-odd, str(-odd))
        why = {"ENOENT": "there is no such program, or autoloading is off (/proc/sys/kernel/modprobe)"}.get(name, name)
        return f"but could not run modprobe: {why}"
    if any(stopped) and all(result != LOADED or never for result, never in zip(results, stopped, strict=True)):
        # modprobe calls it success to leave a blacklisted module alone, as a command like /bin/true does.
        which = _and(word for word, result in zip(_ORDINALS, results, strict=False) if result == LOADED)
        none = "modprobe loaded neither" if len(results) == 2 else "modprobe did not load it"
        return f"{none}, though its exit status was 0 for the {which}" if LOADED in results else none
    if len(results) == 2 and all(result == LOADED for result in results):
        return "modprobe loaded both and neither registered it"
    if LOADED in results:
        which = "the first" if results[0] == LOADED else "the second"
        return f"modprobe loaded what answers to {which}, and that did not register it"
    return "modprobe found neither" if len(results) == 2 else "modprobe did not find it"


def _remedy(request: Request, outcome: Outcome) -> str:
    provider = _provider(request.family, request.type, request.protocol)
    if provider is not None:
        return _bring(UNITS[provider], request.profile, _requests(outcome.calls))
    types = _types_of(request.family, request.protocol, request.profile)
    if types and request.protocol:
        return f"{_protocol(request.protocol)} goes with {types}"
    if others := _protocols_of(request.family, request.type, request.profile):
        return f"{_type(request)} has {others}"
    return "no module of Linux registers it: check the type and the protocol"


@lru_cache(maxsize=8192)
def _provider(family: int, type_: int, protocol: int) -> str | None:
    """The unit whose entry would match; None where there is none, or only one that matches everything."""
    for unit in UNITS.values():
        for entry in unit.entries:
            if entry.family == family and entry.type == type_ and entry.protocol and protocol in (entry.protocol, 0):
                return unit.name
    return None


def _bring(unit: Unit, profile: Profile, asked: Sequence[tuple[str, int | None]]) -> str:
    name = unit.name
    if name in profile.blocked:
        remedy = profile.remedies.get(name, f"modprobe {name}")
        return f"{name} is on this machine but {profile.blocked[name]}: {remedy}"
    sought = any(alias in unit.aliases and result != LOADED for alias, result in asked)
    if not sought and name in (*profile.loadable, *profile.loaded):
        return f"modprobe {name}"
    if name in BUILT_IN:
        return f"this kernel ({profile.kernel}) is built without {name}"
    return f"install or unblacklist {name}"


@lru_cache(maxsize=8192)
def _types_of(family: int, protocol: int, profile: Profile) -> str:
    units = {*profile.built_in, *profile.loaded, *profile.loadable}
    entries = [entry for name in UNITS if name in units for entry in UNITS[name].entries]
    found = {e.type for e in entries if e.family == family and e.protocol == protocol}
    return " or ".join(_named(TYPES, kind) for kind in sorted(found))


@lru_cache(maxsize=4096)
def _protocols_of(family: int, type_: int, profile: Profile) -> str:
    units = {*profile.built_in, *profile.loaded}
    entries = [entry for name in UNITS if name in units for entry in UNITS[name].entries]
    found = [entry for entry in entries if entry.family == family and entry.type == type_ and entry.protocol]
    return _and(_named(PROTOCOLS, entry.protocol) for entry in found)


def _range(request: Request, outcome: Outcome) -> str:
    limit = request.profile.features.protocol_limit
    assert limit is not None
    return f"protocol {request.protocol} is outside 0 to {limit - 1}: IPPROTO_MAX is {limit} on this kernel"


def _capability(request: Request, outcome: Outcome) -> str:
    what = "a raw socket needs CAP_NET_RAW in the user namespace that owns the net namespace, which the caller lacks"
    dgram = request.family == AF_INET and request.protocol == 1
    instead = ", or use SOCK_DGRAM where net.ipv4.ping_group_range allows it" if dgram else ""
    return f"{what}: run it as root or give it cap_net_raw{instead}"


def _capability_denied(request: Request, outcome: Outcome) -> str:
    return (
        "the caller's CAP_NET_RAW was refused before sk_alloc: consistent with a security module's denial, which was "
        "not observed: see the audit log"
    )


def _netns(request: Request, outcome: Outcome) -> str:
    return f"{_protocol(request.protocol)} does not work outside the initial net namespace on this kernel"


_WANTING = {
    "memory": "there was no memory for the sock: see the limits of its memory cgroup",
    "security": "a security module's sk_alloc hook found no memory: see the audit log",
    "module": "the protocol's module is being removed: try again",
}


def _allocation(request: Request, outcome: Outcome) -> str:
    if request.seen:
        return (
            "sk_prot_alloc returned NULL: consistent with no memory for the sock or its security blob, or the "
            "protocol's module being removed, which was not observed: see the memory cgroup's limits"
        )
    return f"sk_prot_alloc returned NULL: {_WANTING[outcome.rule.removeprefix('alloc-')]}"


def _hash(request: Request, outcome: Outcome) -> str:
    return f"{outcome.prot}'s hash function refused the socket with {outcome.errno}"


def _ping(request: Request, outcome: Outcome) -> str:
    span = request.profile.ping_group_range
    now = "" if span is None else " (now empty)" if span[0] > span[1] else f" (now {span[0]} to {span[1]})"
    return f"no group of the caller's is in net.ipv4.ping_group_range{now}: widen it, or use SOCK_RAW with CAP_NET_RAW"


def _mptcp(request: Request, outcome: Outcome) -> str:
    return "MPTCP is switched off in this net namespace: sysctl net.mptcp.enabled=1"


def _init(request: Request, outcome: Outcome) -> str:
    seen = ": consistent with no memory, which was not observed" if request.seen else ": there was no memory"
    return f"{outcome.prot}'s init function failed with {outcome.errno}{seen}"


def _nested(request: Request, outcome: Outcome) -> str:
    return f"the TCP socket that {outcome.prot} makes for itself failed with {outcome.errno} ({outcome.nested})"


def _cgroup(request: Request, outcome: Outcome) -> str:
    seen = ", consistent with a program that was not observed" if request.seen else ""
    return (
        f"after sk_alloc only a BPF program of the caller's cgroup (sock_create) refuses with {outcome.errno}{seen}: "
        "see bpftool cgroup tree"
    )


def _flags(request: Request, outcome: Outcome) -> str:
    return "socket() takes no flags but SOCK_CLOEXEC and SOCK_NONBLOCK: inet_create was not reached"


def _family(request: Request, outcome: Outcome) -> str:
    return f"address family {request.family} does not exist: inet_create was not reached"


def _type_range(request: Request, outcome: Outcome) -> str:
    return f"socket type {request.type & 0xF} does not exist, the last is SOCK_PACKET (10): inet_create was not reached"


def _packet(request: Request, outcome: Outcome) -> str:
    if outcome.errno is None:
        return "socket(AF_INET, SOCK_PACKET) means AF_PACKET: inet_create was not reached"
    return (
        "socket(AF_INET, SOCK_PACKET) means AF_PACKET, which needs CAP_NET_RAW: inet_create was not reached; run it as "
        "root or give it cap_net_raw"
    )


def _requests(calls: Iterable[PredictedCall]) -> list[tuple[str, int | None]]:
    return [(call.module, call.result) for call in calls if call.module is not None and call.depth == 1]


def _and(words: Iterable[str]) -> str:
    *first, last = list(words) or [""]
    return f"{', '.join(first)} and {last}" if first else last


_RULES: Mapping[str, Callable[[Request, Outcome], str]] = {
    "created": _created,
    "type": _not_registered,
    "protocol": _not_registered,
    "protocol-range": _range,
    "cap-net-raw": _capability,
    "cap-net-raw-denied": _capability_denied,
    "netns": _netns,
    "alloc-memory": _allocation,
    "alloc-security": _allocation,
    "alloc-module": _allocation,
    "hash": _hash,
    "ping-group": _ping,
    "mptcp-disabled": _mptcp,
    "init": _init,
    "nested": _nested,
    "cgroup": _cgroup,
    "flags": _flags,
    "family": _family,
    "type-range": _type_range,
    "packet": _packet,
    "packet-cap-net-raw": _packet,
}

#: Every rule, in the order in which the path comes to them.
RULES = tuple(_RULES)
