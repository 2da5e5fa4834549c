"""Everything besides the request that decides the outcome, as the questions that the model asks.

``Machine`` has one answer to each question; ``model.ways`` tries every answer to those of ``model.inet_create``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Protocol

from inetprobe.base.uapi import AF_INET, AF_INET6, FAMILIES, IPPROTO_SCTP
from inetprobe.model.features import Features
from inetprobe.model.inetsw import Protosw
from inetprobe.model.profile import FAMILY_ALIASES, WITHOUT_SOCKETS, Profile, tables, with_needs
from inetprobe.model.rules import Rule

#: Results of __request_module(): modprobe's exit status as wait(2) encodes it, or a negative errno.
LOADED, NOT_FOUND, NO_MODPROBE = 0, 256, -2

#: How sk_prot_alloc() can fail: no memory, an LSM's sk_alloc hook, the protocol's module being removed.
ALLOCATION_FAILURES: Mapping[str, Rule] = {
    "memory": Rule.ALLOC_MEMORY,
    "security": Rule.ALLOC_SECURITY,
    "module": Rule.ALLOC_MODULE,
}

#: The steps that can be made to fail, each with its causes; None for any errno.
FAILURES: Mapping[str, Collection[str] | None] = {
    "security": None,
    "inode": Rule.INODE.errnos,
    "alloc": tuple(ALLOCATION_FAILURES),
    "hash": None,
    "init": None,
    "cgroup": None,
    "post_create": None,
    "descriptor": ("EMFILE", "ENFILE", "ENOMEM"),
    "array": Rule.FAULT.errnos,
}

#: The errnos of init functions that found no memory; they differ by protocol.
INIT_ERRORS = ("ENOMEM", "ENOBUFS")


class World(Protocol):
    """The questions of ``model.inet_create``. An error is an errno's name, None for success."""

    features: Features

    def entries(self, family: int, type_: int, protocol: int) -> tuple[Protosw, ...]:
        """``inetsw[sock->type]`` as it is now, of this family; asked before each lookup."""

    def request_module(self, name: str) -> int | None:
        """The result of __request_module(name), which may have changed the tables; None if not known."""

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


class SocketWorld(World, Protocol):
    """The questions of ``model.sys_socket``. ``kern``: of a kernel socket."""

    def security_error(self, *, kern: bool) -> str | None:
        """The error of security_socket_create()."""

    def inode_error(self) -> str | None:
        """The error of sock_alloc()."""

    def registered(self, family: int) -> bool | None:
        """Is net_families[family] set now? None if not known, nor whether asking for its module would set it."""

    def ipv6_disabled(self) -> bool:
        """Was the kernel booted, or its module loaded, with ipv6.disable=1?"""

    def post_create_error(self, *, kern: bool) -> str | None:
        """The error of security_socket_post_create()."""

    def descriptor_error(self) -> str | None:
        """The error of get_unused_fd_flags() (EMFILE) or sock_alloc_file() (ENFILE, ENOMEM)."""

    def array_error(self) -> str | None:
        """The error of put_user() to the array of socketpair(2)."""


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

        ``failures``: ``alloc`` → a key of ALLOCATION_FAILURES; another step of FAILURES → an errno's name.
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
        self._registered = {*((AF_INET, AF_INET6) if profile.registered is None else profile.registered)}
        self._knows_registered = profile.registered is not None
        self._families = profile.families
        self._tables = tables((*self._built_in, *self._loaded))
        self._cap_net_raw = cap_net_raw
        self._ping_group_allowed = ping_group_allowed
        self._mptcp_enabled = bool(profile.mptcp_enabled) if mptcp_enabled is None else mptcp_enabled
        self._initial_netns = initial_netns
        self._failures = failures or {}

    def security_error(self, *, kern: bool) -> str | None:
        """See SocketWorld. Security modules let the kernel's own sockets pass: selinux_socket_create() and its like."""
        return None if kern else self._failures.get("security")

    def inode_error(self) -> str | None:
        """See SocketWorld."""
        return self._failures.get("inode")

    def registered(self, family: int) -> bool | None:
        """See SocketWorld. A list of a kernel's families without that of their modules may lack some."""
        if family == AF_INET6 and self._ipv6_disabled:
            return False
        if family in self._registered:
            return True
        if FAMILIES[family] in WITHOUT_SOCKETS and f"net-pf-{family}" not in (self._families or ()):
            return False
        loads = self.features.request_module and self._autoloads and self._loads
        return False if self._knows_registered and (self._families is not None or not loads) else None

    def ipv6_disabled(self) -> bool:
        """See SocketWorld."""
        return self._ipv6_disabled

    def post_create_error(self, *, kern: bool) -> str | None:
        """See SocketWorld."""
        return None if kern else self._failures.get("post_create")

    def descriptor_error(self) -> str | None:
        """See SocketWorld."""
        return self._failures.get("descriptor")

    def array_error(self) -> str | None:
        """See SocketWorld."""
        return self._failures.get("array")

    def entries(self, family: int, type_: int, protocol: int) -> tuple[Protosw, ...]:
        """See World."""
        return self._tables[family].entries(type_)

    def request_module(self, name: str) -> int | None:
        """See World. A module that modprobe finds and loads is in the table from now on."""
        if not self._autoloads:
            return NO_MODPROBE
        if name == f"net-pf-{AF_INET6}" and self._ipv6_disabled:  # modprobe finds it there, though without a family
            return LOADED
        if name in FAMILY_ALIASES:
            return self._request_family(name)
        module = self._aliases.get(name)
        if module is None or module not in (*self._loaded, *self._loadable, *self._left_alone):
            return NOT_FOUND
        if module in self._loadable and module not in self._loaded:
            if not self._loads:
                return NOT_FOUND  # modprobe's exit status is the same, whatever stopped it
            self._loaded = with_needs((*self._loaded, module))
            self._tables = tables((*self._built_in, *self._loaded))
        return LOADED

    def _request_family(self, alias: str) -> int | None:
        """The same of an address family's module."""
        found = (self._families or {}).get(alias)
        if found is None:
            return NOT_FOUND
        if found.obstacle is not None:
            return None
        if not self._loads:
            return NOT_FOUND
        self._registered.add(FAMILY_ALIASES.index(alias))
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
