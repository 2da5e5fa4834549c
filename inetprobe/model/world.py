"""Everything besides the request that decides the outcome, as the questions that ``model.inet_create`` asks.

``Machine`` has one answer to each question; ``model.ways`` tries every answer.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Protocol

from inetprobe.base.uapi import AF_INET6, IPPROTO_SCTP
from inetprobe.model.features import Features
from inetprobe.model.inetsw import Protosw
from inetprobe.model.profile import Profile, tables, with_needs
from inetprobe.model.rules import Rule

#: Results of __request_module(): modprobe's exit status as wait(2) encodes it, or a negative errno.
LOADED, NOT_FOUND, NO_MODPROBE = 0, 256, -2

#: How sk_prot_alloc() can fail: no memory, an LSM's sk_alloc hook, the protocol's module being removed.
ALLOCATION_FAILURES: Mapping[str, Rule] = {
    "memory": Rule.ALLOC_MEMORY,
    "security": Rule.ALLOC_SECURITY,
    "module": Rule.ALLOC_MODULE,
}

#: The errnos of init functions that found no memory; they differ by protocol.
INIT_ERRORS = ("ENOMEM", "ENOBUFS")


class World(Protocol):
    """The questions. An error is an errno's name, None for success."""

    features: Features

    def ipv6_disabled(self) -> bool:
        """Was the kernel booted, or its module loaded, with ipv6.disable=1?"""

    def entries(self, family: int, type_: int, protocol: int) -> tuple[Protosw, ...]:
        """``inetsw[sock->type]`` as it is now, of this family; asked before each lookup."""

    def request_module(self, name: str) -> int:
        """The result of __request_module(name), which may have changed the table."""

    def cap_net_raw(self) -> bool:
        """Does the caller hold CAP_NET_RAW in the net namespace's user namespace?"""

    def netns_ok(self, protocol: int) -> bool:
        """inet_netns_ok(): may this protocol be used in the caller's net namespace?"""

    def allocation_failure(self, entry: Protosw) -> Rule | None:
        """Why sk_prot_alloc() returns NULL, one of ALLOCATION_FAILURES, or None."""

    def alloc_errno(self) -> str:
        """The errno of a failed sk_alloc() if the kernel's features leave it open: ENOMEM or ENOBUFS."""

    def hash_error(self, entry: Protosw) -> str | None:
        """The error of proto.hash()."""

    def init_error(self, entry: Protosw) -> str | None:
        """The error of proto.init() for any other reason than those of the next three questions."""

    def ping_group_allowed(self) -> bool:
        """Is one of the caller's groups in net.ipv4.ping_group_range?"""

    def mptcp_enabled(self) -> bool:
        """Is net.mptcp.enabled on in the net namespace?"""

    def mptcp_nests(self) -> bool:
        """Does mptcp_init_sock() make a socket? Asked if the kernel's features leave it open."""

    def cgroup_error(self) -> str | None:
        """The error of the BPF program that the caller's cgroup has at sock_create."""


@lru_cache(maxsize=256)
def known_modules(profile: Profile, names: tuple[str, ...]) -> tuple[str, ...]:
    """Those of ``names`` that this kernel has, each after its dependencies: no SMC before 6.11, no DCCP after 6.15."""
    modules = {*profile.loaded, *profile.loadable, *profile.blocked}
    return with_needs(tuple(name for name in names if name in modules))


class Machine:
    """A world in which every answer is known. What a request loads stays loaded for the next."""

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
        """``loaded`` and ``loadable`` replace the profile's; modules that this kernel does not have are ignored.

        ``failures``: ``alloc`` → a key of ALLOCATION_FAILURES; ``hash``, ``init``, ``cgroup`` → an errno's name.
        """
        self.features = profile.features
        self._built_in = profile.built_in
        self._loaded = profile.loaded if loaded is None else known_modules(profile, tuple(loaded))
        self._loadable = profile.loadable if loadable is None else known_modules(profile, tuple(loadable))
        self._aliases = profile.aliases
        self._left_alone = profile.left_alone
        self._autoloads = profile.modprobe != ""
        self._loads = not profile.modules_disabled
        self._ipv6_disabled = bool(profile.ipv6_disabled)
        self._tables = tables((*self._built_in, *self._loaded))
        self._cap_net_raw = cap_net_raw
        self._ping_group_allowed = ping_group_allowed
        self._mptcp_enabled = bool(profile.mptcp_enabled) if mptcp_enabled is None else mptcp_enabled
        self._initial_netns = initial_netns
        self._failures = failures or {}

    def ipv6_disabled(self) -> bool:
        """See World."""
        return self._ipv6_disabled

    def entries(self, family: int, type_: int, protocol: int) -> tuple[Protosw, ...]:
        """See World."""
        return self._tables[family].entries(type_)

    def request_module(self, name: str) -> int:
        """See World. A module that modprobe finds and loads is in the table from now on."""
        if not self._autoloads:
            return NO_MODPROBE
        if name == f"net-pf-{AF_INET6}":  # modprobe finds it there already, though without a family
            return LOADED
        module = self._aliases.get(name)
        if module is None or module not in (*self._loaded, *self._loadable, *self._left_alone):
            return NOT_FOUND
        if module in self._loadable and module not in self._loaded:
            if not self._loads:
                return NOT_FOUND  # modprobe's exit status is the same, whatever stopped it
            self._loaded = with_needs((*self._loaded, module))
            self._tables = tables((*self._built_in, *self._loaded))
        return LOADED

    def cap_net_raw(self) -> bool:
        """See World."""
        return self._cap_net_raw

    def netns_ok(self, protocol: int) -> bool:
        """See World. SCTP alone was not ready for other namespaces (until 3.7)."""
        return self._initial_netns or protocol != IPPROTO_SCTP or "sctp" not in self._loaded

    def allocation_failure(self, entry: Protosw) -> Rule | None:
        """See World."""
        return ALLOCATION_FAILURES[self._failures["alloc"]] if "alloc" in self._failures else None

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
        """See World. Of the kernels with BTF, only some early ones do."""
        return False

    def cgroup_error(self) -> str | None:
        """See World."""
        return self._failures.get("cgroup")
