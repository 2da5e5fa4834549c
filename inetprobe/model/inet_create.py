"""The path itself: ``inet_create`` and ``inet6_create``, and what ``socket(2)`` checks before either is reached.

Sources: net/socket.c (__sys_socket, __sock_create), net/ipv4/af_inet.c (inet_create), net/ipv6/af_inet6.c
(inet6_create), net/core/sock.c (sk_alloc, sk_prot_alloc), net/packet/af_packet.c (packet_create), and each protocol's
init where it decides anything. What differs between kernels is in ``model.features``.
"""

from __future__ import annotations

import errno
from functools import lru_cache
from typing import NamedTuple

from inetprobe.model.inetsw import Protosw, walk
from inetprobe.model.protocols import AF_INET, AF_INET6, SOCK_MAX, SOCK_PACKET, SOCK_RAW, SOCK_STREAM
from inetprobe.model.world import World

# include/linux/net.h: the type's bits, and the flags that may stand beside it.
_SOCK_TYPE_MASK = 0xF
_SOCK_FLAGS = 0o2000000 | 0o4000  # SOCK_CLOEXEC, SOCK_NONBLOCK
_IPPROTO_TCP = 6
#: AF_MAX of include/linux/socket.h; it grows, and what lies above 45 is nobody's yet where it does not.
_FAMILIES = 46

CREATE = {AF_INET: "inet_create", AF_INET6: "inet6_create"}


class PredictedCall(NamedTuple):
    """One traced call; ``result`` is an integer, ``pointer`` ``valid`` or ``NULL`` where a pointer came back."""

    function: str
    depth: int
    result: int | None = None
    pointer: str | None = None
    module: str | None = None


class Outcome(NamedTuple):
    """What the path came to.

    ``rule`` names what decided; ``errno`` is a name, None for success; ``prot`` is the struct proto chosen, ``entry``
    its protosw, ``protocol`` the protocol after the walk. ``nested`` is the rule that decided in a socket made within
    this one's init. ``calls`` are in order of entry.
    """

    rule: str
    errno: str | None
    calls: tuple[PredictedCall, ...]
    entry: Protosw | None = None
    protocol: int | None = None
    nested: str | None = None

    @property
    def prot(self) -> str | None:
        """The struct proto's name, None when none was reached."""
        return None if self.entry is None else self.entry.prot


class _Decided(NamedTuple):
    rule: str
    errno: str | None
    entry: Protosw | None = None
    protocol: int | None = None
    nested: str | None = None


def socket(world: World, family: int, type_: int, protocol: int) -> Outcome:
    """``socket(family, type_, protocol)`` as user space calls it; ``type_`` may carry flags.

    Only AF_INET and AF_INET6 lead further than the first checks. Raises ValueError for another family that exists.
    """
    kind = type_ & _SOCK_TYPE_MASK
    if type_ & ~_SOCK_TYPE_MASK & ~_SOCK_FLAGS:
        return Outcome("flags", "EINVAL", ())
    if not 0 <= family < _FAMILIES:
        return Outcome("family", "EAFNOSUPPORT", ())
    if kind >= SOCK_MAX:
        return Outcome("type-range", "EINVAL", ())
    if family == AF_INET and kind == SOCK_PACKET:
        return _packet(world)
    if family not in CREATE:
        raise ValueError(f"family {family} is neither AF_INET ({AF_INET}) nor AF_INET6 ({AF_INET6})")
    return create(world, family, kind, protocol)


def create(world: World, family: int, type_: int, protocol: int, *, kern: bool = False) -> Outcome:
    """``inet_create`` or ``inet6_create``; ``type_`` is without flags, ``kern`` is true of the kernel's own sockets."""
    calls: list[PredictedCall] = []
    decided = _create(world, family, type_, protocol, kern, calls, 0)
    return Outcome(decided.rule, decided.errno, tuple(calls), decided.entry, decided.protocol, decided.nested)


def _create(
    world: World, family: int, type_: int, protocol: int, kern: bool, calls: list[PredictedCall], depth: int
) -> _Decided:
    here = len(calls)
    calls.append(_UNSET)
    decided = _path(world, family, type_, protocol, kern, calls, depth)
    calls[here] = PredictedCall(CREATE[family], depth, negative(decided.errno))
    return decided


_UNSET = PredictedCall("", 0)


@lru_cache(maxsize=256)
def negative(name: str | None) -> int:
    """The kernel's way to return an errno: its negative number, 0 for success."""
    return 0 if name is None else -(int(name) if name.isdigit() else getattr(errno, name))


def _path(
    world: World, family: int, type_: int, protocol: int, kern: bool, calls: list[PredictedCall], depth: int
) -> _Decided:
    features = world.features
    limit = features.protocol_limit
    if limit is not None and not 0 <= protocol < limit:
        return _Decided("protocol-range", "EINVAL")
    found = _lookup(world, family, type_, protocol, calls, depth)
    if isinstance(found, _Decided):
        return found
    number = protocol or found.protocol
    if type_ == SOCK_RAW and not kern and not world.cap_net_raw():
        return _Decided("cap-net-raw", "EPERM")
    if features.netns_ok and family == AF_INET and not world.netns_ok(number):
        return _Decided("netns", "EAFNOSUPPORT")
    failure = _allocate(world, found, calls, depth + 1)
    if failure is not None:
        name = features.alloc_errno if family == AF_INET else features.alloc_errno6
        return _Decided(f"alloc-{failure}", name or world.alloc_errno(), found, number)
    # inet_num is a __u16; a raw socket's is its protocol, and only what has one is hashed.
    if type_ == SOCK_RAW and number & 0xFFFF and features.hash_can_fail:
        error = world.hash_error(found)
        if error is not None:
            return _Decided("hash", error, found, number)
    rule, error, nested = _init(world, family, found, calls, depth)
    if error is not None:
        return _Decided(rule, error, found, number, nested)
    if not kern and features.cgroup_hook:
        error = world.cgroup_error()
        if error is not None:
            return _Decided("cgroup", error, found, number)
    return _Decided("created", None, found, number)


def _lookup(
    world: World, family: int, type_: int, protocol: int, calls: list[PredictedCall], depth: int
) -> Protosw | _Decided:
    """The walk, and up to two more after asking for a module: what it returns does not matter, the table does."""
    attempt = 0
    while True:
        entries = world.entries(family, type_, protocol)
        found = walk(entries, protocol)
        if found is not None:
            return found
        attempt += 1
        if attempt > 2:
            return _Decided("protocol", "EPROTONOSUPPORT") if entries else _Decided("type", "ESOCKTNOSUPPORT")
        if world.features.request_module:
            name = f"net-pf-{family}-proto-{protocol}"
            if attempt == 1:
                name += f"-type-{type_}"
            calls.append(PredictedCall("__request_module", depth + 1, world.request_module(name), None, name))


def _allocate(world: World, entry: Protosw, calls: list[PredictedCall], depth: int) -> str | None:
    """sk_alloc() and within it sk_prot_alloc(); why the latter failed, or None.

    sk_prot_alloc() takes memory from the proto's slab, or by kmalloc() where it has none, asks the LSMs
    (security_sk_alloc) and holds the proto's module (try_module_get); whichever fails, it returns NULL.
    """
    failure = world.allocation_failure(entry)
    pointer = "valid" if failure is None else "NULL"
    calls.append(PredictedCall("sk_alloc", depth, None, pointer))
    calls.append(PredictedCall("sk_prot_alloc", depth + 1, None, pointer))
    return failure


def _init(
    world: World, family: int, entry: Protosw, calls: list[PredictedCall], depth: int
) -> tuple[str, str | None, str | None]:
    """proto.init(): (rule, errno, rule of a nested socket)."""
    if entry.init == "ping":
        # ping_init_sock() of net/ipv4/ping.c.
        return ("ping-group", None, None) if world.ping_group_allowed() else ("ping-group", "EACCES", None)
    if entry.init == "mptcp" and not world.mptcp_enabled():
        # mptcp_init_sock() of net/mptcp/protocol.c.
        return "mptcp-disabled", "ENOPROTOOPT", None
    error = world.init_error(entry)
    if error is not None:
        return "init", error, None
    if entry.init == "smc" or (entry.init == "mptcp" and _mptcp_nests(world)):
        # smc_create_clcsk() of net/smc/af_smc.c, mptcp_subflow_create_socket() of net/mptcp/subflow.c.
        inner = _create(world, family, SOCK_STREAM, _IPPROTO_TCP, True, calls, depth + 1)
        return "nested", inner.errno, inner.rule
    return "init", None, None


def _mptcp_nests(world: World) -> bool:
    known = world.features.mptcp_nested
    return world.mptcp_nests() if known is None else known


def _packet(world: World) -> Outcome:
    """socket(AF_INET, SOCK_PACKET, …) has meant PF_PACKET since 2.2: packet_create() of net/packet/af_packet.c."""
    if not world.cap_net_raw():
        return Outcome("packet-cap-net-raw", "EPERM", ())
    calls: list[PredictedCall] = []
    failure = _allocate(world, PACKET, calls, 0)
    if failure is not None:
        return Outcome(f"alloc-{failure}", "ENOBUFS", tuple(calls), PACKET)
    return Outcome("packet", None, tuple(calls), PACKET)


PACKET = Protosw(17, SOCK_PACKET, 0, "PACKET", 0, "none", "packet")
