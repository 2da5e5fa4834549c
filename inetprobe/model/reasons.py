"""Why: the sentence of the rule that decided, with the request, the machine and what would change the outcome."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple, assert_never

from inetprobe.base.uapi import AF_INET, ERRNOS, FAMILIES, IPPROTO_ICMP, PROTOCOLS, SOCK_DGRAM, SOCK_RAW, TYPES
from inetprobe.model.inet_create import SOCK_TYPE_MASK, Outcome, PredictedCall
from inetprobe.model.profile import Profile
from inetprobe.model.protocols import BUILT_IN, UNITS, Unit
from inetprobe.model.rules import Rule
from inetprobe.model.world import LOADED


class Request(NamedTuple):
    """The request whose outcome is explained; ``type`` is without flags.

    ``seen`` is true if the outcome comes from a real trace, in which the cause was not observed but inferred.
    """

    family: int
    type: int
    protocol: int
    profile: Profile
    seen: bool = False


def reason(request: Request, outcome: Outcome) -> str:
    """The sentence for ``outcome``, without a full stop."""
    rule = outcome.rule
    match rule:
        case Rule.CREATED:
            return _created(request, outcome)
        case Rule.TYPE | Rule.PROTOCOL:
            return _not_registered(request, outcome)
        case Rule.PROTOCOL_RANGE:
            return _protocol_range(request)
        case Rule.CAP_NET_RAW:
            return _cap_net_raw(request)
        case Rule.NETNS:
            return f"{_protocol(request.protocol)} does not work outside the initial net namespace on this kernel"
        case Rule.ALLOC_MEMORY | Rule.ALLOC_SECURITY | Rule.ALLOC_MODULE:
            return _SOME_ALLOC_FAILURE if request.seen else rule.sentence
        case Rule.HASH:
            return f"{outcome.prot}'s hash function refused the socket with {outcome.errno}"
        case Rule.PING_GROUP:
            return _ping_group(request)
        case Rule.INIT:
            memory = "consistent with no memory, which was not observed" if request.seen else "there was no memory"
            return f"{outcome.prot}'s init function failed with {outcome.errno}: {memory}"
        case Rule.NESTED:
            return f"the TCP socket that {outcome.prot} makes for itself failed with {outcome.errno} ({outcome.nested})"
        case Rule.CGROUP:
            return _cgroup(request, outcome)
        case Rule.FAMILY:
            return f"address family {request.family} does not exist: inet_create was not reached"
        case Rule.TYPE_RANGE:
            type_ = request.type & SOCK_TYPE_MASK
            return f"socket type {type_} does not exist, the last is SOCK_PACKET (10): inet_create was not reached"
        case Rule.CAP_NET_RAW_DENIED | Rule.MPTCP_DISABLED | Rule.FLAGS | Rule.PACKET | Rule.PACKET_CAP_NET_RAW:
            return rule.sentence
        case _:
            assert_never(rule)


def _named(table: Mapping[int, str], number: int) -> str:
    return table.get(number, str(number))


def _type(request: Request) -> str:
    return _named(TYPES, request.type) if request.type in TYPES else f"socket type {request.type}"


def _protocol(number: int) -> str:
    return f"{PROTOCOLS[number]} ({number})" if number in PROTOCOLS else f"protocol {number}"


def _created(request: Request, outcome: Outcome) -> str:
    entry = outcome.entry
    assert entry is not None
    requested = _module_requests(outcome.calls)
    if requested:
        match = (
            f"{entry.prot} was not registered for {_type(request)} until the kernel had asked for "
            f"{_and(name for name, _ in requested)}: the module has been loaded since"
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


def _not_registered(request: Request, outcome: Outcome) -> str:
    autoload = _autoload(request.profile, outcome.calls)
    if outcome.rule is Rule.TYPE:
        missing = f"nothing is registered for {_type(request)} in {_named(FAMILIES, request.family)}"
    elif request.type == SOCK_RAW and request.protocol == 0:
        return f"SOCK_RAW takes any protocol but 0{autoload}: name the protocol, such as IPPROTO_ICMP"
    else:
        missing = f"{_protocol(request.protocol)} is not registered for {_type(request)}"
    return f"{missing}{autoload}: {_remedy(request, outcome)}"


def _autoload(profile: Profile, calls: Sequence[PredictedCall]) -> str:
    """The modules that the kernel asked for, and whether modprobe loaded them."""
    requested = _module_requests(calls)
    if not requested:
        return ""
    blocked = [profile.aliases.get(name) in profile.blocked for name, _ in requested]
    modprobe = _modprobe([result for _, result in requested], blocked)
    return f"; the kernel asked for {_and(name for name, _ in requested)}, {modprobe}"


_ORDINALS = ("first", "second")


def _modprobe(results: Sequence[int | None], blocked: Sequence[bool]) -> str:
    """The work of modprobe; ``blocked`` says for each request whether it leads to a module that must not be loaded."""
    error = next((result for result in results if result is not None and result < 0), None)
    if error is not None:
        name = ERRNOS.get(-error, str(-error))
        why = {"ENOENT": "there is no such program, or autoloading is off (/proc/sys/kernel/modprobe)"}.get(name, name)
        return f"but could not run modprobe: {why}"
    if any(blocked) and all(result != LOADED or barred for result, barred in zip(results, blocked, strict=True)):
        # modprobe's exit status is 0 for a blacklisted module that it does not load, as is that of /bin/true instead.
        which = _and(word for word, result in zip(_ORDINALS, results, strict=False) if result == LOADED)
        none = "modprobe loaded neither" if len(results) == 2 else "modprobe did not load it"
        return f"{none}, though its exit status was 0 for the {which}" if LOADED in results else none
    if len(results) == 2 and all(result == LOADED for result in results):
        return "modprobe loaded both and neither registered it"
    if LOADED in results:
        which = "the first" if results[0] == LOADED else "the second"
        return f"modprobe loaded a module for {which}, which did not register it"
    return "modprobe found neither" if len(results) == 2 else "modprobe did not find it"


def _remedy(request: Request, outcome: Outcome) -> str:
    provider = _provider(request.family, request.type, request.protocol)
    if provider is not None:
        return _install(UNITS[provider], request.profile, _module_requests(outcome.calls))
    types = _types_of(request.family, request.protocol, request.profile)
    if types and request.protocol:
        return f"{_protocol(request.protocol)} goes with {types}"
    if others := _protocols_of(request.family, request.type, request.profile):
        return f"{_type(request)} has {others}"
    return "no module of Linux registers it: check the type and the protocol"


@lru_cache(maxsize=8192)
def _provider(family: int, type_: int, protocol: int) -> str | None:
    """The unit with an entry that would match, or None; SOCK_RAW's, which matches everything, does not count."""
    for unit in UNITS.values():
        for entry in unit.entries:
            if entry.family == family and entry.type == type_ and entry.protocol and protocol in (entry.protocol, 0):
                return unit.name
    return None


def _install(unit: Unit, profile: Profile, requested: Sequence[tuple[str, int | None]]) -> str:
    name = unit.name
    if name in profile.blocked:
        remedy = profile.remedies.get(name, f"modprobe {name}")
        return f"{name} is on this machine but {profile.blocked[name]}: {remedy}"
    not_found = any(alias in unit.aliases and result != LOADED for alias, result in requested)
    if not not_found and name in (*profile.loadable, *profile.loaded):
        return f"modprobe {name}"
    if name in BUILT_IN:
        return f"this kernel ({profile.kernel}) is built without {name}"
    return f"install or unblacklist {name}"


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
    return _and(_named(PROTOCOLS, entry.protocol) for entry in matching)


def _protocol_range(request: Request) -> str:
    limit = request.profile.features.protocol_limit
    assert limit is not None
    return f"protocol {request.protocol} is outside 0 to {limit - 1}: IPPROTO_MAX is {limit} on this kernel"


def _cap_net_raw(request: Request) -> str:
    ping = request.family == AF_INET and request.protocol == IPPROTO_ICMP
    instead = ", or use SOCK_DGRAM where net.ipv4.ping_group_range allows it" if ping else ""
    return f"{Rule.CAP_NET_RAW.sentence}: run it as root or give it cap_net_raw{instead}"


# A trace shows only the NULL, not which of the three it was.
_SOME_ALLOC_FAILURE = (
    "sk_prot_alloc returned NULL: consistent with no memory for the sock or its security blob, or the "
    "protocol's module being removed, which was not observed: see the memory cgroup's limits"
)


def _ping_group(request: Request) -> str:
    span = request.profile.ping_group_range
    now = "" if span is None else " (now empty)" if span[0] > span[1] else f" (now {span[0]} to {span[1]})"
    return f"{Rule.PING_GROUP.sentence}{now}: widen it, or use SOCK_RAW with CAP_NET_RAW"


def _cgroup(request: Request, outcome: Outcome) -> str:
    program = ", consistent with a program that was not observed" if request.seen else ""
    return (
        f"after sk_alloc only a BPF program of the caller's cgroup (sock_create) refuses with {outcome.errno}"
        f"{program}: see bpftool cgroup tree"
    )


def _module_requests(calls: Iterable[PredictedCall]) -> list[tuple[str, int | None]]:
    """The modules that this socket asked for, not a nested one, each with the result of __request_module()."""
    return [(call.module, call.result) for call in calls if call.module is not None and call.depth == 1]


def _and(words: Iterable[str]) -> str:
    *first, last = list(words) or [""]
    return f"{', '.join(first)} and {last}" if first else last
