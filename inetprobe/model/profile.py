"""A profile: the facts about a machine that decide what inet_create() does, in a form that a recording can carry.

The profiles of Debian's kernels and of Linux 3.x are built in; ``kernel.host.probed_profile`` probes a live machine.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from typing import Any

from inetprobe.base.text import encodable
from inetprobe.base.uapi import AF_INET, AF_INET6, AF_NETLINK, AF_PACKET, AF_UNIX, AF_XDP, FAMILIES
from inetprobe.model.features import OF_KERNEL, Features
from inetprobe.model.inetsw import Inetsw
from inetprobe.model.protocols import BUILT_IN, NEEDS, UNITS

#: By family.
FAMILY_ALIASES = tuple(f"net-pf-{family}" for family in FAMILIES)
#: Families of addresses or messages alone (include/linux/socket.h): nothing in Linux calls sock_register() for them.
WITHOUT_SOCKETS = ("AF_UNSPEC", "AF_BRIDGE", "AF_SECURITY", "AF_ASH", "AF_SNA", "AF_IB", "AF_MPLS")


@dataclass(frozen=True, slots=True)
class FamilyModule:
    """The module on disk with the code of an address family.

    ``obstacle`` is what keeps modprobe from loading it, None for nothing, and ``remedy`` is as in ``Profile``.
    """

    module: str
    obstacle: str | None = None
    remedy: str | None = None


# Compared and hashed by identity: a profile is a key of caches that are read once per trace.
@dataclass(frozen=True, slots=True, eq=False)
class Profile:
    """One machine, as far as it decides what inet_create() does.

    - ``built_in``, ``loaded``: units of ``model.protocols``, in the order in which they registered.
    - ``loadable``: the modules that modprobe would find and load.
    - ``blocked``: the modules on disk that modprobe would not load, each with the obstacle. The remedy is in
      ``remedies``, or else ``modprobe MODULE``.
    - ``left_alone``: the blocked modules that are blacklisted, or have an install command that does nothing. modprobe's
      exit status is 0 for them all the same (insmod() of kmod's tools/modprobe.c, version 30).
    - ``aliases``: a name that the kernel may ask for → the module that modprobe finds for it.
    - ``families``: a name that __sock_create() of net/socket.c may ask for, net-pf-N → the module that has it as its
      alias; None if not known.
    - ``registered``: the address families whose code is in the kernel or in a loaded module, AF_INET6 also with
      ipv6.disable=1; None if not known. Those of the built-in profiles are built in, and not all that are.
    - ``ipv6_disabled``: ipv6.disable=1; None if not known.
    - ``mptcp_enabled``, ``ip_no_pmtu_disc``, ``ping_group_range``: sysctls of the tracer's net namespace; None if not
      known.
    - ``file_max``: fs.file-max; None if not known.
    - ``security_modules``: the active ones, as /sys/kernel/security/lsm names them; None if not known.
    - ``modprobe``: the program that request_module() starts; empty if autoloading is switched off: then
      __request_module() of kernel/module/kmod.c (kernel/kmod.c before 5.19) starts nothing.
    - ``modules_disabled``: the sysctl kernel.modules_disabled, by which may_init_module() of kernel/module/main.c
      (kernel/module.c before 5.19) refuses every module until the next boot; None if not known.
    """

    kernel: str
    features: Features
    built_in: tuple[str, ...] = BUILT_IN
    loaded: tuple[str, ...] = ()
    loadable: tuple[str, ...] = ()
    blocked: Mapping[str, str] = field(default_factory=dict)
    remedies: Mapping[str, str] = field(default_factory=dict)
    left_alone: tuple[str, ...] = ()
    aliases: Mapping[str, str] = field(default_factory=dict)
    families: Mapping[str, FamilyModule] | None = None
    registered: tuple[int, ...] | None = None
    ipv6_disabled: bool | None = False
    mptcp_enabled: bool | None = True
    ping_group_range: tuple[int, int] | None = (1, 0)
    ip_no_pmtu_disc: bool | None = False
    modprobe: str | None = "/sbin/modprobe"
    modules_disabled: bool | None = False
    file_max: int | None = None
    security_modules: tuple[str, ...] | None = None

    def to_dict(self) -> dict[str, Any]:
        """The profile as a JSON object, for a recording's metadata."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Profile:
        """The inverse of ``to_dict``. Ignores keys, units and families of a newer 1.x.

        Raises ValueError, TypeError or KeyError if ``data`` is not a profile.
        """
        import msgspec  # a live kernel's profile is not read

        values = {**dict.fromkeys(_NOT_KNOWN), **data, **{name: data[name] for name in _REQUIRED}}
        if isinstance(values.get("families"), Mapping):
            values["families"] = _known_keys(values["families"], FAMILY_ALIASES)
        profile: Profile = msgspec.convert(values, cls)
        for name in (profile.features.alloc_errno, profile.features.alloc_errno6):
            if name not in (None, "ENOMEM", "ENOBUFS"):
                raise ValueError(f"sk_alloc fails with {name!r}")
        _check_bounds(asdict(replace(profile, file_max=None)), 32)
        _check_bounds(profile.file_max, 63)
        nproto = profile.features.nproto
        return replace(
            profile,
            features=replace(profile.features, nproto=None if nproto is None else min(nproto, len(FAMILIES))),
            built_in=_known(profile.built_in, UNITS),
            loaded=_known(profile.loaded, UNITS),
            loadable=_known(profile.loadable, UNITS),
            blocked=_known_keys(profile.blocked, UNITS),
            remedies=_known_keys(profile.remedies, UNITS),
            left_alone=_known(profile.left_alone, UNITS),
            registered=None if profile.registered is None else _known(profile.registered, FAMILIES),
        )


_REQUIRED = ("kernel", "features", "built_in", "loaded", "loadable", "blocked", "aliases")
#: None where the key is not there, unlike in a profile that is made without them.
_NOT_KNOWN = ("ipv6_disabled", "mptcp_enabled", "ping_group_range", "ip_no_pmtu_disc", "modprobe", "modules_disabled")


def _known(values: Iterable[Any], known: Collection[Any]) -> tuple[Any, ...]:
    return tuple(dict.fromkeys(value for value in values if value in known))


def _known_keys(table: Mapping[str, Any], known: Collection[str]) -> dict[str, Any]:
    return {key: value for key, value in table.items() if key in known}


def _check_bounds(value: Any, bits: int) -> None:
    """Raises ValueError for a number beyond ``bits``, and for a text that is long or cannot be encoded."""
    if isinstance(value, str):
        # A reason may quote it, once per trace. No path, release or alias of a real machine is nearly this long.
        if len(value) > 4096:
            raise ValueError(f"a string of {len(value):,} characters")
        if not encodable(value):
            raise ValueError("a string that cannot be encoded")
    elif isinstance(value, int):
        if not 0 <= value < 1 << bits:
            raise ValueError(f"{value} is not a {bits}-bit unsigned integer")
    elif value is not None:
        for each in (*value, *value.values()) if isinstance(value, dict) else value:
            _check_bounds(each, bits)


@lru_cache(maxsize=256)
def tables(registered: tuple[str, ...]) -> Mapping[int, Inetsw]:
    """inetsw and inetsw6, by family, after these units have registered in their order."""
    both = {family: Inetsw() for family in (AF_INET, AF_INET6)}
    for name in registered:
        for entry in UNITS[name].entries:
            both[entry.family].register(entry)
    return both


@lru_cache(maxsize=256)
def with_needs(names: tuple[str, ...]) -> tuple[str, ...]:
    """``names`` without duplicates, each after the modules that it depends on."""
    ordered: dict[str, None] = {}
    for name in names:
        ordered.update(dict.fromkeys((*NEEDS.get(name, ()), name)))
    return tuple(ordered)


def _upstream(names: Iterable[str]) -> dict[str, str]:
    return {alias: name for name in names for alias in UNITS[name].aliases}


# What Debian has built in for sure.
_IN_DEBIAN = (AF_UNIX, AF_INET, AF_INET6, AF_NETLINK, AF_PACKET)
_WITHOUT_MPTCP = tuple(name for name in BUILT_IN if name != "mptcp")
# L2TP's first alias had protocol and type the wrong way round, so that the kernel never asked for it. The second came
# later and works; both are right since 154e07c16485 (Linux 6.4, and older stable kernels).
_L2TP_SWAPPED = {"net-pf-2-proto-2-type-115": "l2tp_ip", "net-pf-10-proto-2-type-115": "l2tp_ip6"}
_L2TP_GENERIC = {"net-pf-2-proto-115": "l2tp_ip", "net-pf-10-proto-115": "l2tp_ip6"}
_L2TP, _SCTP, _SMC = _upstream(["l2tp_ip", "l2tp_ip6"]), _upstream(["sctp"]), _upstream(["smc"])
_DCCP = _upstream(["dccp_ipv4", "dccp_ipv6"])

# By kernel: what is built in, which modules are on disk, and the aliases of modules.alias. Debian's build of DCCP has
# no alias, by a patch of Debian's: "net: dccp: Disable auto-loading as mitigation against local exploits".
_MODULES: Mapping[str, tuple[tuple[str, ...], tuple[str, ...], Mapping[str, str]]] = {
    "3.x": (
        _WITHOUT_MPTCP,
        ("sctp", "dccp_ipv4", "dccp_ipv6", "l2tp_ip", "l2tp_ip6"),
        {**_SCTP, **_DCCP, **_L2TP_SWAPPED},
    ),
    "5.10": (
        _WITHOUT_MPTCP,
        ("sctp", "dccp_ipv4", "dccp_ipv6", "l2tp_ip", "l2tp_ip6"),
        {**_SCTP, **_L2TP_GENERIC, **_L2TP_SWAPPED},
    ),
    "6.1": (BUILT_IN, ("sctp", "dccp_ipv4", "dccp_ipv6", "l2tp_ip", "l2tp_ip6"), {**_SCTP, **_L2TP}),
    "6.12": (BUILT_IN, ("sctp", "dccp_ipv4", "dccp_ipv6", "l2tp_ip", "l2tp_ip6", "smc"), {**_SCTP, **_L2TP, **_SMC}),
    # Without UDP-Lite and DCCP, and in Debian without SMC.
    "7.2": (
        tuple(name for name in BUILT_IN if name != "udplite"),
        ("sctp", "l2tp_ip", "l2tp_ip6"),
        {**_SCTP, **_L2TP},
    ),
}

BUILT_IN_PROFILES: Mapping[str, Profile] = {
    kernel: Profile(
        kernel=kernel,
        features=OF_KERNEL[kernel],
        built_in=built_in,
        loadable=tuple(name for name in modules if name in aliases.values()),
        aliases=aliases,
        registered=(*_IN_DEBIAN, *(() if kernel == "3.x" else (AF_XDP,))),
        blocked={name: "no alias leads to it" for name in modules if name not in aliases.values()},
    )
    for kernel, (built_in, modules, aliases) in _MODULES.items()
}
"""The profiles of Debian's kernels and of Linux 3.x, by the kernel's name, with no module loaded."""
