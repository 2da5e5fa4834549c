"""Label values from sets that end, so that no stranger can make the page grow without bound."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from inetprobe.base.uapi import FAMILIES, PROTOCOLS, TYPES, errno_name
from inetprobe.record.layout import FUNCTIONS

#: The value of everything past a label's cap.
OTHER = "other"

# What inet_create() itself, a protocol's init and the cgroup's hook fail with; a cgroup's program may choose another.
_PATH_ERRNOS = tuple(map(errno_name, (1, 2, 12, 13, 22, 92, 93, 94, 97, 105)))
# Functions always traced and those --also may add, with room for a recording of a later version.
_FUNCTIONS = 32


class CappedLabel:
    """The values of one label: ``named`` always, others in order of first appearance until there are ``most`` in all.

    What was given a value of its own keeps it and what was not never gets one: a counter neither falls nor jumps.
    """

    def __init__(self, most: int, named: Collection[str] = ()) -> None:
        self._named = frozenset(named)
        self._free = most - len(self._named)
        self._given: set[str] = set()

    def value(self, text: str | None) -> str:
        """``text``, or OTHER for what is past the cap and for None."""
        if text is None:
            return OTHER
        if text in self._named or text in self._given:
            return text
        if len(self._given) >= self._free:
            return OTHER
        self._given.add(text)
        return text


class Labels:
    """The values of every label so far. Not thread-safe."""

    #: Labels with a cap: what falls under OTHER is counted for each.
    CAPPED = ("family", "socket_type", "protocol", "errno", "module", "function")

    def __init__(self) -> None:
        # The names of the C headers have a place each, so that numbers tried by a stranger displace no protocol in use.
        self._values = {
            "family": CappedLabel(8, ("AF_INET", "AF_INET6")),
            "socket_type": CappedLabel(16, [_name(TYPES, number) for number in range(16)]),  # SOCK_TYPE_MASK
            "protocol": CappedLabel(64, PROTOCOLS.values()),
            "errno": CappedLabel(32, _PATH_ERRNOS),
            "module": CappedLabel(64),
            "function": CappedLabel(_FUNCTIONS, FUNCTIONS.values()),
        }

    def family(self, number: int) -> str:
        """``AF_INET`` for 2."""
        return self._values["family"].value(_name(FAMILIES, number))

    def socket_type(self, number: int) -> str:
        """``SOCK_RAW`` for 3; each of the 16 that fit under SOCK_TYPE_MASK has a value."""
        return self._values["socket_type"].value(_name(TYPES, number))

    def protocol(self, number: int | None) -> str:
        """``IPPROTO_SCTP`` for 132."""
        return self._values["protocol"].value(None if number is None else _name(PROTOCOLS, number))

    def errno(self, number: int | None) -> str:
        """``EPERM`` for 1."""
        return self._values["errno"].value(None if number is None else errno_name(number))

    def module(self, name: str | None) -> str:
        """The name as __request_module() was asked for it."""
        return self._values["module"].value(name)

    def function(self, name: str) -> str:
        """A kernel function's name."""
        return self._values["function"].value(name)


def fixed(value: str, known: Collection[str]) -> str:
    """``value`` if it is of a set that is known beforehand, else OTHER."""
    return value if value in known else OTHER


def _name(names: Mapping[int, str], number: int) -> str:
    return names.get(number, str(number))
