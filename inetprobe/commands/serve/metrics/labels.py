"""Label values from bounded sets, so that no process can make the page grow without bound."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from inetprobe.base.uapi import FAMILIES, PROTOCOLS, TYPES, errno_name
from inetprobe.record.layout import FUNCTIONS
from inetprobe.stats.snapshot import MANY

#: The label value that stands for every value past a label's cap.
OTHER = "other"

# Errnos of socket(2) itself, of a protocol's init and of the cgroup's hook; a program of the user's may choose others.
_PATH_ERRNOS = tuple(map(errno_name, (1, 2, 12, 13, 14, 22, 23, 24, 92, 93, 94, 95, 97, 105)))
# The functions that are always traced and those that --also may add, with room for recordings of later versions.
_MAX_FUNCTIONS = 32


class CappedLabel:
    """The values of one label: those in ``reserved``, and others in order of appearance, at most ``max_values`` in all.

    A text that has a value keeps it, and a text under OTHER stays there, so that no counter falls or jumps.
    """

    def __init__(self, max_values: int, reserved: Collection[str] = ()) -> None:
        self._reserved = frozenset(reserved)
        self._free = max_values - len(self._reserved)
        self._taken: set[str] = set()

    def value(self, text: str | None) -> str:
        """``text``; OTHER if it is past the cap or None."""
        if text is None:
            return OTHER
        if text in self._reserved or text in self._taken:
            return text
        if len(self._taken) >= self._free:
            return OTHER
        self._taken.add(text)
        return text


class Labels:
    """The values of every label so far. Not thread-safe."""

    #: Labels with a cap. For each, what is counted under OTHER is a metric.
    CAPPED = ("family", "socket_type", "protocol", "errno", "module", "function")

    def __init__(self) -> None:
        # The C headers' names are reserved: a process that tries numbers cannot displace a protocol in use.
        self._values = {
            "family": CappedLabel(64, FAMILIES.values()),
            "socket_type": CappedLabel(16, [_name(TYPES, number) for number in range(16)]),  # SOCK_TYPE_MASK
            "protocol": CappedLabel(64, PROTOCOLS.values()),
            "errno": CappedLabel(32, _PATH_ERRNOS),
            "module": CappedLabel(64),
            "function": CappedLabel(_MAX_FUNCTIONS, FUNCTIONS.values()),
        }

    def family(self, number: int) -> str:
        """``AF_INET`` for 2."""
        return self._values["family"].value(None if number >= MANY else _name(FAMILIES, number))

    def socket_type(self, number: int) -> str:
        """``SOCK_RAW`` for 3; each of the 16 types that fit under SOCK_TYPE_MASK has a value."""
        return self._values["socket_type"].value(_name(TYPES, number))

    def protocol(self, number: int | None) -> str:
        """``IPPROTO_SCTP`` for 132."""
        return self._values["protocol"].value(None if number is None else _name(PROTOCOLS, number))

    def errno(self, number: int | None) -> str:
        """``EPERM`` for 1."""
        return self._values["errno"].value(None if number is None else errno_name(number))

    def module(self, name: str | None) -> str:
        """The name that __request_module() was called with."""
        return self._values["module"].value(name)

    def function(self, name: str) -> str:
        """A kernel function's name."""
        return self._values["function"].value(name)


def fixed(value: str, known: Collection[str]) -> str:
    """``value`` if it is one of ``known``, else OTHER."""
    return value if value in known else OTHER


def _name(names: Mapping[int, str], number: int) -> str:
    return names.get(number, str(number))
