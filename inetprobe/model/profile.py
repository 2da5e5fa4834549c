"""A profile: what the model must know of a machine, in a form that a recording can carry.

Built in are those of Debian's kernels and of the classic path; ``kernel.host.probed_profile`` probes a live one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import lru_cache
from typing import Any

from inetprobe.base.text import encodable
from inetprobe.model.features import OF_KERNEL, Features
from inetprobe.model.inetsw import Inetsw
from inetprobe.model.protocols import BUILT_IN, FAMILIES, NEEDS, UNITS


# Compared and hashed as the one object it is: a key of caches, once a trace.
@dataclass(frozen=True, slots=True, eq=False)
class Profile:
    """One machine, as far as it decides what inet_create() does.

    ``built_in`` and ``loaded`` are units (of ``model.protocols``) in the order they registered; ``loadable`` those
    modules that modprobe would find and load, ``blocked`` those on disk that it would not, with what stops it; what
    helps then is ``modprobe MODULE``, or stands in ``remedies``. Those of ``left_alone`` are blacklisted, or have a
    command in their place that does nothing: modprobe's exit status is 0 all the same (insmod() of kmod's
    tools/modprobe.c, version 30). ``aliases`` maps a name the kernel may ask for to the module that answers to it.
    ``mptcp_enabled`` and ``ip_no_pmtu_disc`` are the sysctls of the tracer's net namespace, ``ping_group_range``
    likewise; any of the three None where it is not known. ``modprobe`` is the program that request_module() starts,
    empty where autoloading is switched off.
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
    mptcp_enabled: bool | None = True
    ping_group_range: tuple[int, int] | None = (1, 0)
    ip_no_pmtu_disc: bool | None = False
    modprobe: str | None = "/sbin/modprobe"

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, in a recording's metadata."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Profile:
        """The inverse; keys of a newer 1.x are left out. Raises ValueError, TypeError or KeyError for no profile."""
        data = _mapping(data)
        span = data.get("ping_group_range")
        modprobe = data.get("modprobe")
        return cls(
            kernel=_text(data["kernel"]),
            features=_features(_mapping(data["features"])),
            built_in=_units(data["built_in"]),
            loaded=_units(data["loaded"]),
            loadable=_units(data["loadable"]),
            blocked=_of_units(data["blocked"]),
            remedies=_of_units(data.get("remedies", {})),
            left_alone=_units(data.get("left_alone", ())),
            aliases={_text(alias): _text(name) for alias, name in _mapping(data["aliases"]).items()},
            mptcp_enabled=_flag(data.get("mptcp_enabled")),
            ping_group_range=None if span is None else (_number(span[0]), _number(span[1])),
            ip_no_pmtu_disc=_flag(data.get("ip_no_pmtu_disc")),
            modprobe=None if modprobe is None else _text(modprobe),
        )


def _features(data: Mapping[str, Any]) -> Features:
    values: dict[str, Any] = {}
    for item in fields(Features):
        if item.name in data:
            value = data[item.name]
            values[item.name] = value if value is None else _FEATURE_TYPES[item.type](value)
    features = Features(**values)
    for name in (features.alloc_errno, features.alloc_errno6):
        if name not in (None, "ENOMEM", "ENOBUFS"):
            raise ValueError(f"sk_alloc fails with {name!r}")
    return features


def _units(value: Any) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)):
        raise TypeError("a list of units is none")
    return tuple(dict.fromkeys(name for name in map(_text, value) if name in UNITS))


def _of_units(value: Any) -> Mapping[str, str]:
    return {name: _text(text) for name, text in _mapping(value).items() if name in UNITS}


def _mapping(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise TypeError(f"a mapping is {type(value).__name__}")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"a text is {type(value).__name__}")
    # A reason may quote it, once a trace. No path, release or alias of a real machine comes near.
    if len(value) > 4096:
        raise ValueError(f"a text of {len(value):,} characters")
    if not encodable(value):
        raise ValueError("a text cannot be written")
    return value


def _number(value: Any) -> int:
    if type(value) is not int:
        raise TypeError(f"a number is {type(value).__name__}")
    if not 0 <= value < 1 << 32:
        raise ValueError("a number is none that a kernel has")
    return value


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"a truth is {type(value).__name__}")
    return value


def _flag(value: Any) -> bool | None:
    return None if value is None else _truth(value)


_FEATURE_TYPES: Mapping[Any, Callable[[Any], Any]] = {
    "int | None": _number,
    "bool": _truth,
    "bool | None": _truth,
    "str": _text,
    "str | None": _text,
}


@lru_cache(maxsize=256)
def tables(registered: tuple[str, ...]) -> Mapping[int, Inetsw]:
    """inetsw and inetsw6, by family, after these units registered one after the other."""
    both = {family: Inetsw() for family in FAMILIES}
    for name in registered:
        for entry in UNITS[name].entries:
            both[entry.family].register(entry)
    return both


@lru_cache(maxsize=256)
def with_needs(names: tuple[str, ...]) -> tuple[str, ...]:
    """``names`` with what each needs before it, each once."""
    ordered: dict[str, None] = {}
    for name in names:
        ordered.update(dict.fromkeys((*NEEDS.get(name, ()), name)))
    return tuple(ordered)


def _upstream(names: Iterable[str]) -> dict[str, str]:
    return {alias: name for name in names for alias in UNITS[name].aliases}


_WITHOUT_MPTCP = tuple(name for name in BUILT_IN if name != "mptcp")
# L2TP's first alias had protocol and type the wrong way round, so that nothing ever asked for it; the second, which
# helps, came later, and both are right since 154e07c16485 (Linux 6.4, and stable kernels before).
_L2TP_SWAPPED = {"net-pf-2-proto-2-type-115": "l2tp_ip", "net-pf-10-proto-2-type-115": "l2tp_ip6"}
_L2TP_GENERIC = {"net-pf-2-proto-115": "l2tp_ip", "net-pf-10-proto-115": "l2tp_ip6"}
_L2TP, _SCTP, _SMC = _upstream(["l2tp_ip", "l2tp_ip6"]), _upstream(["sctp"]), _upstream(["smc"])
_DCCP = _upstream(["dccp_ipv4", "dccp_ipv6"])

# What each kernel has on disk, and the aliases of its modules.alias. Debian's build of DCCP has none: "net: dccp:
# Disable auto-loading as mitigation against local exploits", a patch of its own.
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
    # UDP-Lite, DCCP and Debian's SMC are gone.
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
        blocked={name: "no alias leads to it" for name in modules if name not in aliases.values()},
    )
    for kernel, (built_in, modules, aliases) in _MODULES.items()
}
"""By the name of the kernel: Debian's, with nothing loaded, and the classic 3.x."""
