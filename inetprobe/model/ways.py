"""Every way the path can go: the same ``create``, with each of its questions answered in every possible way.

``Explorer`` is a world whose answers are choices; ``outcomes`` runs the path once for each sequence of choices, depth
first, the likeliest answer of each question first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import TypeVar

from inetprobe.model import inet_create
from inetprobe.model.inetsw import Protosw
from inetprobe.model.profile import Profile, tables
from inetprobe.model.protocols import NEEDS, UNITS
from inetprobe.model.world import ALLOCATION_FAILURES, LOADED, NOT_FOUND

T = TypeVar("T")

#: What init functions fail with for want of memory, each protocol in its own way.
INIT_ERRORS = ("ENOMEM", "ENOBUFS")


class Explorer:
    """A world in which what ``profile`` leaves open is a choice; to be asked by one run of the path after the other.

    ``cap_net_raw`` is None where it is not known. ``errno`` is the one that was seen, which a cgroup's program may have
    chosen where the kernel lets it.
    """

    def __init__(self, profile: Profile, cap_net_raw: bool | None = None, errno: str | None = None) -> None:
        self.features = profile.features
        self._profile = profile
        self._cap_net_raw = cap_net_raw
        self._errno = errno
        # Each once, though a recording's profile may name it thrice: every one more doubles the ways to go.
        modules = dict.fromkeys((*profile.loaded, *profile.loadable, *profile.blocked))
        self._modules = tuple(name for name in modules if name not in profile.built_in)
        self._path: list[int] = []
        self._widths: list[int] = []
        self._asked = 0
        self._registered: frozenset[str] = frozenset()

    def begin(self) -> None:
        """Another run of the path begins, along the choices that ``advance`` has come to."""
        self._asked = 0
        self._registered = frozenset()

    def advance(self) -> bool:
        """Moves on to the next sequence of choices; False when all have been tried."""
        del self._path[self._asked :], self._widths[self._asked :]
        while self._path:
            self._path[-1] += 1
            if self._path[-1] < self._widths[-1]:
                return True
            self._path.pop()
            self._widths.pop()
        return False

    def _choose(self, options: Sequence[T]) -> T:
        if self._asked == len(self._path):
            self._path.append(0)
            self._widths.append(len(options))
        choice = options[self._path[self._asked]]
        self._asked += 1
        return choice

    def entries(self, family: int, type_: int, protocol: int) -> tuple[Protosw, ...]:
        """See World: a module may have come before any walk, loaded by whomever."""
        matter = [name for name in self._modules if _matters(name, family, type_) and name not in self._registered]
        more = [subset for size in range(len(matter) + 1) for subset in combinations(matter, size)]
        if len(more) > 1:
            self._registered |= frozenset(self._choose(more))
        modules = tuple(name for name in self._modules if name in self._registered)
        return tables((*self._profile.built_in, *modules))[family].entries(type_)

    def request_module(self, name: str) -> int:
        """See World: what comes of it shows at the next walk."""
        return NOT_FOUND if name not in self._profile.aliases else LOADED

    def cap_net_raw(self) -> bool:
        """See World."""
        return self._choose((True, False)) if self._cap_net_raw is None else self._cap_net_raw

    def netns_ok(self, protocol: int) -> bool:
        """See World."""
        return self._choose((True, False))

    def allocation_failure(self, entry: Protosw) -> str | None:
        """See World."""
        return self._choose((None, *ALLOCATION_FAILURES))

    def alloc_errno(self) -> str:
        """See World."""
        return self._choose(("ENOMEM", "ENOBUFS"))

    def hash_error(self, entry: Protosw) -> str | None:
        """See World: no hash function of a raw protocol fails, but the path allows for it."""
        return self._choose((None, "EINVAL"))

    def init_error(self, entry: Protosw) -> str | None:
        """See World."""
        return self._choose((None, *INIT_ERRORS))

    def ping_group_allowed(self) -> bool:
        """See World: the sysctl and the caller's groups may have changed since the profile was made."""
        return self._choose((True, False))

    def mptcp_enabled(self) -> bool:
        """See World: likewise, and it is each net namespace's own."""
        return self._choose((True, False))

    def mptcp_nests(self) -> bool:
        """See World."""
        return self._choose((False, True))

    def cgroup_error(self) -> str | None:
        """See World."""
        own = self._errno if self.features.cgroup_any_errno else None
        return self._choose((None, "EPERM") if own in (None, "EPERM") else (None, "EPERM", own))


def _matters(module: str, family: int, type_: int) -> bool:
    names = (*NEEDS.get(module, ()), module)
    return any(entry.family == family and entry.type == type_ for name in names for entry in UNITS[name].entries)


def outcomes(
    explorer: Explorer, family: int, type_: int, protocol: int, *, kern: bool
) -> Iterator[inet_create.Outcome]:
    """What inet_create can come to, likeliest first; the same outcome may come more than once."""
    while True:
        explorer.begin()
        yield inet_create.create(explorer, family, type_, protocol, kern=kern)
        if not explorer.advance():
            return
