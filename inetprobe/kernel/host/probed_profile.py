"""The profile of the running kernel: the facts that the model needs, from the kernel and from modprobe.

No socket is created to find out, since that would load modules: the registered protocols are in /proc/net/protocols,
the features in BTF and /proc/kallsyms, and modprobe says what it would load.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from inetprobe.base.errors import HostError
from inetprobe.base.uapi import AF_MCTP, AF_NETLINK
from inetprobe.kernel.host import modprobe as _modprobe
from inetprobe.kernel.host.btf import Btf
from inetprobe.kernel.host.kallsyms import Symbols
from inetprobe.model.features import Features
from inetprobe.model.net_families import NET_FAMILIES
from inetprobe.model.profile import FAMILY_ALIASES, FamilyModule, Profile
from inetprobe.model.protocols import BUILT_IN, PROTS, UNITS

#: The aliases by which inet_create and inet6_create request modules.
_ALIAS = re.compile(r"alias (net-pf-(?:2|10)-\S+) (\S+)$", re.MULTILINE)
#: Those by which __sock_create() does.
_FAMILY = re.compile(r"alias (net-pf-\d+) (\S+)$", re.MULTILINE)
_MODULE = re.compile(r"^(?:\S*/)?([\w-]+)\.ko(?:\.\w+)?:", re.MULTILINE)
_INSMOD = re.compile(r"^insmod \S*?([\w-]+)\.ko", re.MULTILINE)

_CONFIGURED = "modprobe's configuration blacklists it or puts a command in its place"

Modprobe = Callable[[Sequence[str]], str | None]


def probe(types: Btf, symbols: Symbols, root: Path = Path("/"), modprobe: Modprobe | None = None) -> Profile:
    """The profile of the kernel whose /proc, /sys and /lib/modules are below ``root``.

    ``modprobe`` returns what ``modprobe --show-depends`` prints for the given names, None where it cannot be run; by
    default the real one is run. A fact that cannot be read is unknown, never guessed. Raises HostError if not even the
    registered protocols can be read.
    """
    release = (_read(root / "proc/sys/kernel/osrelease") or os.uname().release).strip()
    modules = root / "lib/modules" / release
    protocols = _read(root / "proc/net/protocols")
    if protocols is None:
        raise HostError(f"{root / 'proc/net/protocols'} cannot be read, so the registered protocols are unknown")
    built_in, loaded = _registered(protocols)
    listed = _read(modules / "modules.alias")
    aliases = {alias: name for alias, name in _ALIAS.findall(listed or "") if name in UNITS}
    on_disk = _on_disk(modules)
    present = {unit for unit in UNITS if unit not in (*built_in, *loaded) and unit in on_disk}
    helper, file_max = (_read(root / "proc/sys" / name) for name in ("kernel/modprobe", "fs/file-max"))
    active = _read(root / "sys/kernel/security/lsm")
    lines = _modprobe.configuration(root)
    loadable, blocked = _loadable_or_blocked(present, aliases, lines, modprobe or _modprobe.show_depends)
    remedies, left_alone = _explain_blocked(blocked, aliases, lines)
    span = (_read(root / "proc/sys/net/ipv4/ping_group_range") or "").split()
    return Profile(
        kernel=release,
        features=features(types, symbols),
        built_in=built_in,
        loaded=loaded,
        loadable=loadable,
        blocked=blocked,
        remedies=remedies,
        left_alone=left_alone,
        aliases=aliases,
        families=None if listed is None else _families(listed, lines),
        registered=_registered_families(symbols),
        ipv6_disabled=_switch(root / "sys/module/ipv6/parameters/disable"),
        mptcp_enabled=_switch(root / "proc/sys/net/mptcp/enabled"),
        ping_group_range=(int(span[0]), int(span[1])) if len(span) == 2 else None,
        ip_no_pmtu_disc=_switch(root / "proc/sys/net/ipv4/ip_no_pmtu_disc"),
        modprobe=None if helper is None else helper.strip(),
        modules_disabled=_switch(root / "proc/sys/kernel/modules_disabled"),
        file_max=None if file_max is None else int(file_max),
        security_modules=None if active is None else tuple(active.strip().split(",")),
    )


def features(types: Btf, symbols: Symbols) -> Features:
    """The path's features, from the kernel's types and symbols; every kernel with BTF is newer than 3.x."""
    return Features(
        protocol_limit=types.enumerator("IPPROTO_MAX"),
        request_module="__request_module" in symbols,
        alloc_errno=None,
        alloc_errno6="ENOBUFS",
        cgroup_hook="__cgroup_bpf_run_filter_sk" in symbols,
        cgroup_any_errno="bpf_set_retval" in symbols,
        inet_create="inet_create" in symbols,
        inet6_create="inet6_create" in symbols,
        sk_prot_alloc=symbols.symbol_of("sk_prot_alloc") is not None,
        wide_protocol=types.field("sock", "sk_protocol").bits > 8,
        # Until 6.5 mptcp_sock kept its first subflow's socket, and created it at once or, in the last versions, later.
        mptcp_nested=None if types.has_member("mptcp_sock", "subflow") else False,
        # AF_MAX itself is in no type.
        nproto=AF_MCTP + 1 if symbols.has(NET_FAMILIES[AF_MCTP]) else None,
    )


def _registered(protocols: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(built in, loaded from modules), from /proc/net/protocols: a row per struct proto, its name first."""
    rows: dict[str, str] = {}
    for line in protocols.splitlines()[1:]:
        # A name may have blanks; the module is in the seventh column after it.
        match = re.match(r"(.+?) +\d+ +-?\d+ +-?\d+ +\S+ +\d+ +(?:yes|no) +(\S+) ", line)
        if match and match[1].strip() in PROTS:
            rows[PROTS[match[1].strip()].unit] = match[2]
    built_in = [unit for unit, module in rows.items() if module == "kernel"]
    order = {name: index for index, name in enumerate(BUILT_IN)}
    built_in.sort(key=lambda unit: order.get(unit, len(order)))
    return tuple(built_in), tuple(unit for unit, module in rows.items() if module != "kernel")


def _registered_families(symbols: Symbols) -> tuple[int, ...] | None:
    """The families with a create function; None where not even AF_NETLINK's is found, which every kernel with sockets
    has (net/Makefile): then this kernel names its functions otherwise."""
    families = tuple(family for family, create in NET_FAMILIES.items() if symbols.has(create))
    return families if AF_NETLINK in families else None


def _on_disk(modules: Path) -> frozenset[str]:
    return frozenset(name.replace("-", "_") for name in _MODULE.findall(_read(modules / "modules.dep") or ""))


def _loadable_or_blocked(
    present: Collection[str],
    aliases: dict[str, str],
    lines: Sequence[_modprobe.ConfigurationLine],
    modprobe: Modprobe,
) -> tuple[tuple[str, ...], dict[str, str]]:
    """(loadable, blocked: why) of the modules that are present but not loaded."""
    named = {unit: sorted(alias for alias in aliases if aliases[alias] == unit) for unit in UNITS if unit in present}
    blocked = {unit: "no alias leads to it" for unit, names in named.items() if not names and unit != "smc"}
    asked = {unit: names for unit, names in named.items() if names}  # smc registers in inetsw, with aliases, since 6.11
    loads: dict[str, bool | None] = {}
    # Those that the configuration is about each by itself: a blacklisted one is loaded where another module needs it.
    together = [unit for unit, names in asked.items() if _modprobe.obstacle(unit, names, lines) is None]
    for units in (together, *([unit] for unit in asked if unit not in together)):
        if units:
            printed = modprobe([alias for unit in units for alias in asked[unit]])
            found = {name.replace("-", "_") for name in _INSMOD.findall(printed or "")}
            loads |= {unit: None if printed is None else unit in found for unit in units}
    blocked |= {unit: _CONFIGURED for unit, does in loads.items() if does is False}
    blocked |= {unit: "modprobe could not be asked about it" for unit, does in loads.items() if does is None}
    return tuple(unit for unit in asked if loads[unit]), blocked


def _explain_blocked(
    blocked: dict[str, str], aliases: dict[str, str], lines: Sequence[_modprobe.ConfigurationLine]
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Replaces the reason in ``blocked`` by the configuration's lines, where they are found.

    Returns the remedies by module, and the modules that modprobe skips with exit status 0.
    """
    remedies, left_alone = {}, []
    for unit in [unit for unit, why in blocked.items() if why == _CONFIGURED]:
        obstacle = _modprobe.obstacle(unit, [alias for alias, name in aliases.items() if name == unit], lines)
        if obstacle is not None:
            blocked[unit], remedies[unit] = obstacle.why, obstacle.remedy
            if obstacle.silent:
                left_alone.append(unit)
    return remedies, tuple(left_alone)


def _families(listed: str, lines: Sequence[_modprobe.ConfigurationLine]) -> dict[str, FamilyModule]:
    """The modules with an alias of an address family. modprobe is not asked about each: there are some thirty."""
    families = {}
    for alias, module in _FAMILY.findall(listed):
        if alias in FAMILY_ALIASES:
            found = _modprobe.obstacle(module, [alias], lines)
            families[alias] = FamilyModule(module, *((found.why, found.remedy) if found else ()))
    return families


def _switch(path: Path) -> bool | None:
    text = _read(path)
    return None if text is None else text.strip() != "0"


def _read(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return None
