"""Everything beside the request that decides the path, as the questions that ``model.inet_create`` asks.

``Machine`` has one answer to each, ``model.ways`` tries them all.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Protocol

from inetprobe.model.features import Features
from inetprobe.model.inetsw import Protosw
from inetprobe.model.profile import Profile, tables, with_needs

#: What request_module() gives: modprobe's exit status as wait(2) has it, or a negative errno.
LOADED, NOT_FOUND, NO_MODPROBE = 0, 256, -2

#: How sk_prot_alloc() can fail (net/core/sock.c): no memory, an LSM's sk_alloc hook, the protocol's module going away.
ALLOCATION_FAILURES = ("memory", "security", "module")

_IPPROTO_SCTP = 132


class World(Protocol):
    """What the path asks. Errors are names of errnos, None for success."""

    features: Features

    def entries(self, family: int, type_: int, protocol: int) -> tuple[Protosw, ...]:
        """The list of the table now; asked anew at each walk."""

    def request_module(self, name: str) -> int:
        """The result of request_module(name), after its effect on the table."""

    def cap_net_raw(self) -> bool:
        """Does the caller hold CAP_NET_RAW in the net namespace's user namespace?"""

    def netns_ok(self, protocol: int) -> bool:
        """Does what receives this protocol work in this net namespace?"""

    def allocation_failure(self, entry: Protosw) -> str | None:
        """One of ALLOCATION_FAILURES, or None."""

    def alloc_errno(self) -> str:
        """What a failed sk_alloc() becomes where the kernel's features do not say: ENOMEM or ENOBUFS."""

    def hash_error(self, entry: Protosw) -> str | None:
        """From proto.hash()."""

    def init_error(self, entry: Protosw) -> str | None:
        """From proto.init(), but for what the questions below decide."""

    def ping_group_allowed(self) -> bool:
        """Is a group of the caller's in net.ipv4.ping_group_range?"""

    def mptcp_enabled(self) -> bool:
        """net.mptcp.enabled of the net namespace."""

    def mptcp_nests(self) -> bool:
        """Does MPTCP make a socket in its init, where the kernel's features do not say?"""

    def cgroup_error(self) -> str | None:
        """From the cgroup's BPF program at sock_create."""


@lru_cache(maxsize=256)
def known_modules(profile: Profile, names: tuple[str, ...]) -> tuple[str, ...]:
    """Those of ``names``, each after what it needs, that register anything on this kernel: no SMC before 6.11, no DCCP
    after 6.15."""
    modules = {*profile.loaded, *profile.loadable, *profile.blocked}
    return with_needs(tuple(name for name in names if name in modules))


class Machine:
    """A world of which everything is known."""

    def __init__(
        self,
        profile: Profile,
        *,
        loaded: Collection[str] | None = None,
        loadable: Collection[str] | None = None,
        cap_net_raw: bool = True,
        ping_group_allowed: bool = False,
        mptcp_enabled: bool | None = None,
        initial_netns: bool = True,
        failures: Mapping[str, str] | None = None,
    ) -> None:
        """``loaded`` and ``loadable`` stand in for the profile's; a module that this kernel does not have is left out.

        ``failures``: ``alloc`` → one of ALLOCATION_FAILURES; ``hash``, ``init``, ``cgroup`` → an errno's name.
        """
        self.features = profile.features
        self._built_in = profile.built_in
        self._loaded = profile.loaded if loaded is None else known_modules(profile, tuple(loaded))
        self._loadable = profile.loadable if loadable is None else known_modules(profile, tuple(loadable))
        self._aliases = profile.aliases
        self._left_alone = profile.left_alone
        self._autoloads = profile.modprobe != ""
        self._tables = tables((*self._built_in, *self._loaded))
        self._cap_net_raw = cap_net_raw
        self._ping_group_allowed = ping_group_allowed
        self._mptcp_enabled = bool(profile.mptcp_enabled) if mptcp_enabled is None else mptcp_enabled
        self._initial_netns = initial_netns
        self._failures = failures or {}

    def entries(self, family: int, type_: int, protocol: int) -> tuple[Protosw, ...]:
        """See World."""
        return self._tables[family].entries(type_)

    def request_module(self, name: str) -> int:
        """See World: a module that modprobe finds, and does not leave alone, is in the table from now on."""
        if not self._autoloads:
            return NO_MODPROBE
        module = self._aliases.get(name)
        if module is None or module not in (*self._loaded, *self._loadable, *self._left_alone):
            return NOT_FOUND
        if module in self._loadable and module not in self._loaded:
            self._loaded = with_needs((*self._loaded, module))
            self._tables = tables((*self._built_in, *self._loaded))
        return LOADED

    def cap_net_raw(self) -> bool:
        """See World."""
        return self._cap_net_raw

    def netns_ok(self, protocol: int) -> bool:
        """See World: of the protocols here, SCTP alone was not ready for other namespaces (until 3.7)."""
        return self._initial_netns or protocol != _IPPROTO_SCTP or "sctp" not in self._loaded

    def allocation_failure(self, entry: Protosw) -> str | None:
        """See World."""
        return self._failures.get("alloc")

    def alloc_errno(self) -> str:
        """See World."""
        return "ENOMEM"

    def hash_error(self, entry: Protosw) -> str | None:
        """See World."""
        return self._failures.get("hash")

    def init_error(self, entry: Protosw) -> str | None:
        """See World."""
        return self._failures.get("init")

    def ping_group_allowed(self) -> bool:
        """See World."""
        return self._ping_group_allowed

    def mptcp_enabled(self) -> bool:
        """See World."""
        return self._mptcp_enabled

    def mptcp_nests(self) -> bool:
        """See World: of the kernels with BTF only some early ones do."""
        return False

    def cgroup_error(self) -> str | None:
        """See World."""
        return self._failures.get("cgroup")
