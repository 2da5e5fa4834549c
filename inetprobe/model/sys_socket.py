"""socket(2) and socketpair(2) in plain Python, under the kernel's own names: net/socket.c.

Each function is the kernel's function of that name, as in ``model.inet_create``. An outcome is unknown from where the
kernel calls a create that is not modelled, or where it is not known whether it would call one.

``socket``, ``socketpair`` and ``kernel_socket`` are the ways in.
"""

from __future__ import annotations

from inetprobe.base.uapi import (
    AF_INET,
    AF_INET6,
    AF_MCTP,
    AF_PACKET,
    AF_UNIX,
    SOCK_CLOEXEC,
    SOCK_NONBLOCK,
    SOCK_PACKET,
    SOCK_TYPE_MASK,
)
from inetprobe.model.inet_create import CREATE, Outcome, Walk, pf_create, request_module
from inetprobe.model.net_families import MODELLED
from inetprobe.model.rules import Rule
from inetprobe.model.world import SocketWorld

# include/linux/net.h
SOCK_MAX = SOCK_PACKET + 1
#: AF_MAX of include/linux/socket.h; it grows, and no address family above 45 exists on the kernels where it is larger.
NPROTO = 46
#: The families whose proto_ops have a socketpair(). Those of AF_TIPC do, too, but its create is not modelled.
_PAIRING = (AF_UNIX,)
#: The errno of a failed sock_map_fd() or sock_alloc_file() → the rule.
DESCRIPTOR_RULES = {
    "EMFILE": Rule.DESCRIPTOR_LIMIT,
    "ENFILE": Rule.FILE_LIMIT,
    "ENOMEM": Rule.FILE_MEMORY,
}


class SocketWalk(Walk):
    """A walk that begins outside a create."""

    world: SocketWorld


def socket(world: SocketWorld, family: int, type_: int, protocol: int) -> Outcome:
    """``socket(family, type_, protocol)`` of a process; ``type_`` may carry flags."""
    walk = SocketWalk(world)
    return sys_socket(walk, family, type_, protocol)._replace(calls=tuple(walk.calls))


def socketpair(world: SocketWorld, family: int, type_: int, protocol: int) -> Outcome:
    """``socketpair(family, type_, protocol, pair)`` of a process, with an array that it may write to."""
    walk = SocketWalk(world)
    return sys_socketpair(walk, family, type_, protocol)._replace(calls=tuple(walk.calls))


def kernel_socket(world: SocketWorld, family: int, type_: int, protocol: int) -> Outcome:
    """A socket of the kernel's own: sock_create_kern() of net/socket.c."""
    walk = SocketWalk(world)
    return sock_create(walk, family, type_, protocol, kern=True)._replace(calls=tuple(walk.calls))


def sys_socket(walk: SocketWalk, family: int, type_: int, protocol: int) -> Outcome:
    """``int __sys_socket(int family, int type, int protocol)``

    net/socket.c.
    """
    # (type & ~SOCK_TYPE_MASK) & ~(SOCK_CLOEXEC | SOCK_NONBLOCK)
    if has_unknown_flag(type_):
        return Outcome(Rule.FLAGS, "EINVAL")
    made = sock_create(walk, family, type_ & SOCK_TYPE_MASK, protocol, kern=False)
    # retval = sock_map_fd(sock, flags & (O_CLOEXEC | O_NONBLOCK))
    return _with_descriptor(made, walk.world.descriptor_error())


def sys_socketpair(walk: SocketWalk, family: int, type_: int, protocol: int) -> Outcome:
    """``int __sys_socketpair(int family, int type, int protocol, int __user *usockvec)``

    net/socket.c. Until Linux 4.15 the descriptors came last.
    """
    # flags & ~(SOCK_CLOEXEC | SOCK_NONBLOCK)
    if has_unknown_flag(type_):
        return Outcome(Rule.FLAGS, "EINVAL")
    # fd1 = get_unused_fd_flags(flags); fd1 < 0
    error = walk.world.descriptor_error()
    if error == "EMFILE":
        return Outcome(Rule.DESCRIPTOR_LIMIT, error)
    # err = put_user(fd1, &usockvec[0]), and fd2
    fault = walk.world.array_error()
    if fault is not None:
        return Outcome(Rule.FAULT, fault)
    # err = sock_create(family, type, protocol, &sock1), then &sock2
    for _ in range(2):
        made = sock_create(walk, family, type_ & SOCK_TYPE_MASK, protocol, kern=False)
        if made.word != "ok":
            return made
    # err = sock1->ops->socketpair(sock1, sock2), most families' sock_no_socketpair()
    if family not in _PAIRING:
        return made._replace(rule=Rule.NO_PAIR, errno="EOPNOTSUPP")
    # newfile1 = sock_alloc_file(sock1, flags, NULL)
    return _with_descriptor(made, error)


def _with_descriptor(made: Outcome, error: str | None) -> Outcome:
    """``made`` with its descriptor and file, or refused one by ``error``."""
    if error is None or made.word != "ok":
        return made
    return made._replace(rule=DESCRIPTOR_RULES[error], errno=error)


def has_unknown_flag(type_: int) -> bool:
    """Has the type of socket(2) or socketpair(2) a flag that neither takes?"""
    return bool((type_ & ~SOCK_TYPE_MASK) & ~(SOCK_CLOEXEC | SOCK_NONBLOCK))


def sock_create(walk: SocketWalk, family: int, type_: int, protocol: int, *, kern: bool) -> Outcome:
    """``int __sock_create(struct net *net, int family, int type, int protocol, struct socket **res, int kern)``

    net/socket.c.
    """
    world, nproto = walk.world, walk.features.nproto
    # family < 0 || family >= NPROTO
    if not 0 <= family < (nproto or NPROTO):
        return Outcome(Rule.FAMILY, "EAFNOSUPPORT")

    # type < 0 || type >= SOCK_MAX
    if not 0 <= type_ < SOCK_MAX:
        if nproto is None and family == AF_MCTP:
            return Outcome(Rule.FAMILY)
        return Outcome(Rule.TYPE_RANGE, "EINVAL")

    # family == PF_INET && type == SOCK_PACKET: family = PF_PACKET
    means_packet = family == AF_INET and type_ == SOCK_PACKET
    family = AF_PACKET if means_packet else family

    # err = security_socket_create(family, type, protocol, kern)
    error = world.security_error(kern=kern)
    if error is not None:
        return Outcome(Rule.SECURITY, error)

    # sock = sock_alloc(); !sock
    error = world.inode_error()
    if error is not None:
        return Outcome(Rule.INODE, error)

    # net_families[family] is NULL: request_module("net-pf-%d", family)
    registered = world.registered(family)
    if registered is False:
        request_module(walk, f"net-pf-{family}")
        registered = world.registered(family)

    # pf = net_families[family]; !pf
    if not registered:
        rule = Rule.IPV6_DISABLED if family == AF_INET6 and world.ipv6_disabled() else Rule.NO_FAMILY
        return Outcome(rule, "EAFNOSUPPORT" if registered is False else None)

    # err = pf->create(net, sock, protocol, kern)
    if family in CREATE:
        made = pf_create(walk, family, type_, protocol, kern)
    elif family in MODELLED:
        made = MODELLED[family](walk, type_, protocol)
    else:
        return Outcome(Rule.FAMILY_CREATE)
    if made.word != "ok":
        return made

    # err = security_socket_post_create(sock, family, type, protocol, kern)
    error = world.post_create_error(kern=kern)
    if error is not None:
        return made._replace(rule=Rule.POST_CREATE, errno=error)
    return made._replace(rule=Rule.PACKET) if means_packet else made
