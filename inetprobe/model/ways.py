"""Every way that inet_create() can go: the same ``inet_create.create``, with every answer to each of its questions.

``Explorer`` is a world whose answers are choices. ``outcomes`` runs ``create`` once per sequence of choices, depth
first, with the likeliest answer to each question first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import TypeVar

from inetprobe.model import inet_create
from inetprobe.model.inetsw import Protosw
from inetprobe.model.profile import Profile, tables
from inetprobe.model.protocols import NEEDS, UNITS
from inetprobe.model.rules import Rule
from inetprobe.model.world import ALLOCATION_FAILURES, INIT_ERRORS, LOADED, NOT_FOUND

T = TypeVar("T")


class Explorer:
    """A world in which everything that ``profile`` leaves open is a choice. It serves one run of ``create`` at a time.

    ``cap_net_raw`` is None if not known. ``errno`` is the one that was seen: a cgroup's program may have chosen it, if
    the kernel lets it choose.
    """

    def __init__(self, profile: Profile, cap_net_raw: bool | None = None, errno: str | None = None) -> None:
        self.features = profile.features
        self._profile = profile
        self._cap_net_raw = cap_net_raw
        self._errno = errno
        # Without duplicates, which a recording's profile may have: each module doubles the number of ways.
        modules = dict.fromkeys((*profile.loaded, *profile.loadable, *profile.blocked))
        self._modules = tuple(name for name in modules if name not in profile.built_in)
        self._choices: list[int] = []
        self._widths: list[int] = []
        self._asked = 0
        self._registered: frozenset[str] = frozenset()

    def begin(self) -> None:
        """Starts another run of ``create``, along the current sequence of choices."""
        self._asked = 0
        self._registered = frozenset()

    def advance(self) -> bool:
        """Moves to the next sequence of choices; False once all have been tried."""
        del self._choices[self._asked :], self._widths[self._asked :]
        while self._choices:
            self._choices[-1] += 1
            if self._choices[-1] < self._widths[-1]:
                return True
            self._choices.pop()
            self._widths.pop()
        return False

    def _choose(self, options: Sequence[T]) -> T:
        if self._asked == len(self._choices):
            self._choices.append(0)
            self._widths.append(len(options))
        choice = options[self._choices[self._asked]]
        self._asked += 1
        return choice

    def entries(self, family: int, type_: int, protocol: int) -> tuple[Protosw, ...]:
        """See World. Any process may have loaded a module before any lookup."""
        absent = [name for name in self._modules if _matters(name, family, type_) and name not in self._registered]
        subsets = [subset for size in range(len(absent) + 1) for subset in combinations(absent, size)]
        if len(subsets) > 1:
            self._registered |= frozenset(self._choose(subsets))
        modules = tuple(name for name in self._modules if name in self._registered)
        return tables((*self._profile.built_in, *modules))[family].entries(type_)

    def request_module(self, name: str) -> int:
        """See World. The effect is a choice of ``entries``, at the next lookup."""
        return NOT_FOUND if name not in self._profile.aliases else LOADED

    def cap_net_raw(self) -> bool:
        """See World."""
        return self._choose((True, False)) if self._cap_net_raw is None else self._cap_net_raw

    def netns_ok(self, protocol: int) -> bool:
        """See World."""
        return self._choose((True, False))

    def allocation_failure(self, entry: Protosw) -> Rule | None:
        """See World."""
        return self._choose((None, *ALLOCATION_FAILURES.values()))

    def alloc_errno(self) -> str:
        """See World."""
        return self._choose(("ENOMEM", "ENOBUFS"))

    def hash_error(self, entry: Protosw) -> str | None:
        """See World. No raw protocol's hash function fails today, but inet_create() checks."""
        return self._choose((None, "EINVAL"))

    def init_error(self, entry: Protosw) -> str | None:
        """See World."""
        return self._choose((None, *INIT_ERRORS))

    def ping_group_allowed(self) -> bool:
        """See World. The sysctl and the caller's groups may have changed since the profile was made."""
        return self._choose((True, False))

    def mptcp_enabled(self) -> bool:
        """See World. The sysctl may have changed, and each net namespace has its own."""
        return self._choose((True, False))

    def mptcp_nests(self) -> bool:
        """See World."""
        return self._choose((False, True))

    def cgroup_error(self) -> str | None:
        """See World."""
        chosen = self._errno if self.features.cgroup_any_errno else None
        return self._choose((None, "EPERM") if chosen in (None, "EPERM") else (None, "EPERM", chosen))


def _matters(module: str, family: int, type_: int) -> bool:
    names = (*NEEDS.get(module, ()), module)
    return any(entry.family == family and entry.type == type_ for name in names for entry in UNITS[name].entries)


def outcomes(
    explorer: Explorer, family: int, type_: int, protocol: int, *, kern: bool
) -> Iterator[inet_create.Outcome]:
    """Every outcome of inet_create() or inet6_create(), likeliest first; the same one may come more than once."""
    while True:
        explorer.begin()
        yield inet_create.create(explorer, family, type_, protocol, kern=kern)
        if not explorer.advance():
            return
