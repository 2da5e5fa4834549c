"""inet_create() and inet6_create() in plain Python, under the kernel's own names, down to sk_alloc() and init.

Each function is the kernel's function of that name, reduced to what decides the errno and to the calls that inetprobe
traces. The docstring has its C prototype and its file (Linux 6.12 unless said otherwise); the comment above a decision
is the kernel's condition. What differs between kernels is in ``model.features``; what else decides is asked of a
``World``.

``create`` is the way in; ``model.sys_socket`` is what the kernel does before and after.
"""

from __future__ import annotations

import errno
from functools import lru_cache
from typing import Literal, NamedTuple

from inetprobe.base.uapi import (
    AF_INET,
    AF_INET6,
    IPPROTO_TCP,
    SOCK_RAW,
    SOCK_STREAM,
)
from inetprobe.model.inetsw import Protosw, lookup
from inetprobe.model.rules import Rule
from inetprobe.model.seccomp import Action, FilterAnswer
from inetprobe.model.world import World

#: The traced function that each address family's socket() reaches: net_families[family]->create.
CREATE = {AF_INET: "inet_create", AF_INET6: "inet6_create"}


class PredictedCall(NamedTuple):
    """One call of a traced function.

    ``depth`` counts the traced calls around it. ``result`` is the int that the function returned; if it returns a
    pointer, ``pointer`` is ``valid`` or ``NULL``. ``module`` is the argument of __request_module(), else None.
    """

    function: str
    depth: int
    result: int | None = None
    pointer: str | None = None
    module: str | None = None


_NOT_RETURNED = PredictedCall("", 0)


class Outcome(NamedTuple):
    """How one socket() ended.

    ``rule`` decided it, or would decide it where the outcome is unknown; ``errno`` is a name, None for success, for an
    unknown outcome and where ``seccomp``, the filters' answer to the call, has none. ``entry`` is the protosw that the
    lookup found (the kernel's ``answer``) and ``protocol`` the protocol after the lookup; both are None before
    sk_alloc(). ``nested`` is the rule that decided the socket made within this one's init. ``calls`` are in order of
    entry.
    """

    rule: Rule
    errno: str | None = None
    entry: Protosw | None = None
    protocol: int | None = None
    nested: Rule | None = None
    calls: tuple[PredictedCall, ...] = ()
    seccomp: FilterAnswer | None = None

    @property
    def word(self) -> Literal["ok", "failed", "unknown"]:
        """The contract's: ``unknown`` where another process decides, or what the model does not have."""
        if self.rule.stage is None:
            return "ok"
        killed = self.seccomp is not None and self.seccomp.action is not Action.USER_NOTIF
        return "failed" if self.errno is not None or killed else "unknown"

    @property
    def prot(self) -> str | None:
        """The name of the struct proto, None if none was reached."""
        return None if self.entry is None else self.entry.prot


class Walk:
    """One walk through the functions below: the world that they ask, and the traced calls so far."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.features = world.features
        self.calls: list[PredictedCall] = []
        self._stack: list[tuple[int, str, str | None]] = []

    def enter(self, function: str, module: str | None = None) -> None:
        """A traced function is called."""
        self._stack.append((len(self.calls), function, module))
        self.calls.append(_NOT_RETURNED)

    def leave(self, result: int | None = None, pointer: str | None = None) -> None:
        """The traced function that was entered last returns."""
        index, function, module = self._stack.pop()
        self.calls[index] = PredictedCall(function, len(self._stack), result, pointer, module)


def create(world: World, family: int, type_: int, protocol: int, *, kern: bool = False) -> Outcome:
    """inet_create() or inet6_create() alone; ``type_`` is without flags, ``kern`` is true of a kernel socket."""
    walk = Walk(world)
    return pf_create(walk, family, type_, protocol, kern)._replace(calls=tuple(walk.calls))


def pf_create(walk: Walk, family: int, type_: int, protocol: int, kern: bool) -> Outcome:
    """``pf->create(net, sock, protocol, kern)``

    net/socket.c, __sock_create(). The traced call of inet_create() or inet6_create().
    """
    walk.enter(CREATE[family])
    outcome = inet_create(walk, family, type_, protocol, kern)
    walk.leave(negative(outcome.errno))
    return outcome


def inet_create(walk: Walk, family: int, type_: int, protocol: int, kern: bool) -> Outcome:
    """``static int inet_create(struct net *net, struct socket *sock, int protocol, int kern)``
    ``static int inet6_create(struct net *net, struct socket *sock, int protocol, int kern)``

    net/ipv4/af_inet.c and net/ipv6/af_inet6.c. Both make the same decisions in the same order. ``type_`` is
    ``sock->type``. ``kern`` is true of a kernel socket, for which neither the capability nor the cgroup's program is
    asked.
    """
    features, world = walk.features, walk.world

    # protocol < 0 || protocol >= IPPROTO_MAX
    if features.protocol_limit is not None and not 0 <= protocol < features.protocol_limit:
        return Outcome(Rule.PROTOCOL_RANGE, "EINVAL")

    # lookup_protocol:
    answer = lookup_protocol(walk, family, type_, protocol)
    if isinstance(answer, Outcome):
        return answer
    # IPPROTO_IP == protocol: protocol = answer->protocol
    protocol = protocol or answer.protocol

    # sock->type == SOCK_RAW && !kern && !ns_capable(net->user_ns, CAP_NET_RAW)
    if type_ == SOCK_RAW and not kern and not world.cap_net_raw():
        return Outcome(Rule.CAP_NET_RAW, "EPERM")

    # !inet_netns_ok(net, protocol), only in older kernels
    if features.netns_ok and family == AF_INET and not world.netns_ok(protocol):
        return Outcome(Rule.NETNS, "EAFNOSUPPORT")

    # sk = sk_alloc(net, PF_INET, GFP_KERNEL, answer->prot, kern); !sk
    failure = sk_alloc(walk, answer)
    if failure is not None:
        error = features.alloc_errno if family == AF_INET else features.alloc_errno6
        return Outcome(failure, error or world.alloc_errno(), answer, protocol)

    # SOCK_RAW == sock->type: inet->inet_num = protocol, a __u16
    # inet->inet_num: err = sk->sk_prot->hash(sk)
    if type_ == SOCK_RAW and protocol & 0xFFFF and features.hash_can_fail:
        error = world.hash_error(answer)
        if error is not None:
            return Outcome(Rule.HASH, error, answer, protocol)

    # err = sk->sk_prot->init(sk)
    refusal = prot_init(walk, family, answer)
    if refusal is not None:
        return refusal._replace(entry=answer, protocol=protocol)

    # !kern: err = BPF_CGROUP_RUN_PROG_INET_SOCK(sk)
    if not kern and features.cgroup_hook:
        error = world.cgroup_error()
        if error is not None:
            return Outcome(Rule.CGROUP, error, answer, protocol)

    return Outcome(Rule.CREATED, None, answer, protocol)


def lookup_protocol(walk: Walk, family: int, type_: int, protocol: int) -> Protosw | Outcome:
    """``lookup_protocol: … goto lookup_protocol;``

    net/ipv4/af_inet.c, inet_create(); net/ipv6/af_inet6.c, inet6_create(). Finds the entry of inetsw that matches. If
    none does, the kernel requests a module by type and protocol, then one by protocol alone, and looks again after
    each. The result of request_module() is ignored: only the table counts.
    """
    try_loading_module = 0
    while True:
        # list_for_each_entry_rcu(answer, &inetsw[sock->type], list)
        entries = walk.world.entries(family, type_, protocol)
        answer = lookup(entries, protocol)
        if answer is not None:
            return answer

        # err is -ESOCKTNOSUPPORT until the loop has seen an entry
        if try_loading_module == 2:
            return Outcome(Rule.PROTOCOL, "EPROTONOSUPPORT") if entries else Outcome(Rule.TYPE, "ESOCKTNOSUPPORT")

        try_loading_module += 1
        if try_loading_module == 1:
            request_module(walk, f"net-pf-{family}-proto-{protocol}-type-{type_}")
        else:
            request_module(walk, f"net-pf-{family}-proto-{protocol}")


def request_module(walk: Walk, name: str) -> None:
    """``int __request_module(bool wait, const char *fmt, ...)``

    kernel/module/kmod.c (before 5.19 kernel/kmod.c). Without CONFIG_MODULES the macro request_module() calls nothing.
    """
    if walk.features.request_module:
        walk.enter("__request_module", name)
        walk.leave(walk.world.request_module(name))


def sk_alloc(walk: Walk, answer: Protosw) -> Rule | None:
    """``struct sock *sk_alloc(struct net *net, int family, gfp_t priority, struct proto *prot, int kern)``

    net/core/sock.c. The rule by which it returned NULL, or None.
    """
    walk.enter("sk_alloc")
    failure = sk_prot_alloc(walk, answer)
    walk.leave(pointer="valid" if failure is None else "NULL")
    return failure


def sk_prot_alloc(walk: Walk, answer: Protosw) -> Rule | None:
    """``static struct sock *sk_prot_alloc(struct proto *prot, gfp_t priority, int family)``

    net/core/sock.c. The rule by which it returned NULL, or None. It takes memory from the proto's slab, or by kmalloc()
    if there is none, asks the LSMs (security_sk_alloc) and takes a reference to the proto's module (try_module_get); if
    any of the three fails, it returns NULL. Where the compiler inlined it, only sk_alloc() is traced.
    """
    if not walk.features.sk_prot_alloc:
        return walk.world.allocation_failure(answer)
    walk.enter("sk_prot_alloc")
    failure = walk.world.allocation_failure(answer)
    walk.leave(pointer="valid" if failure is None else "NULL")
    return failure


def prot_init(walk: Walk, family: int, answer: Protosw) -> Outcome | None:
    """``int (*init)(struct sock *sk)``

    include/net/sock.h, struct proto. How it failed, or None.
    """
    if answer.init == "ping":
        return ping_init_sock(walk)
    if answer.init == "mptcp":
        return mptcp_init_sock(walk, family, answer)
    if answer.init == "smc":
        return smc_inet_init_sock(walk, family, answer)
    return other_init_error(walk, answer)


def ping_init_sock(walk: Walk) -> Outcome | None:
    """``int ping_init_sock(struct sock *sk)``

    net/ipv4/ping.c. Fails unless one of the caller's groups is in net.ipv4.ping_group_range.
    """
    return None if walk.world.ping_group_allowed() else Outcome(Rule.PING_GROUP, "EACCES")


def mptcp_init_sock(walk: Walk, family: int, answer: Protosw) -> Outcome | None:
    """``static int mptcp_init_sock(struct sock *sk)``

    net/mptcp/protocol.c. From 5.6 to 6.5 it makes the socket of the first subflow, mptcp_subflow_create_socket() of
    net/mptcp/subflow.c.
    """
    # !mptcp_is_enabled(net)
    if not walk.world.mptcp_enabled():
        return Outcome(Rule.MPTCP_DISABLED, "ENOPROTOOPT")
    failure = other_init_error(walk, answer)
    if failure is not None:
        return failure
    nests = walk.features.mptcp_nested
    if walk.world.mptcp_nests() if nests is None else nests:
        return sock_create_kern(walk, family, SOCK_STREAM, IPPROTO_TCP)
    return None


def smc_inet_init_sock(walk: Walk, family: int, answer: Protosw) -> Outcome | None:
    """``static int smc_inet_init_sock(struct sock *sk)``

    net/smc/smc_inet.c. It makes a TCP socket to fall back to, smc_create_clcsk() of net/smc/af_smc.c.
    """
    return other_init_error(walk, answer) or sock_create_kern(walk, family, SOCK_STREAM, IPPROTO_TCP)


def other_init_error(walk: Walk, answer: Protosw) -> Outcome | None:
    """The failures of an init function that have no rule of their own: no memory."""
    error = walk.world.init_error(answer)
    return None if error is None else Outcome(Rule.INIT, error)


def sock_create_kern(walk: Walk, family: int, type_: int, protocol: int) -> Outcome | None:
    """``int sock_create_kern(struct net *net, int family, int type, int protocol, struct socket **res)``

    net/socket.c. How it failed, or None. Its __sock_create() refuses nothing by the arguments, since it is asked for a
    socket of the family that is in the midst of making one, and no security module refuses the kernel's own.
    """
    nested = pf_create(walk, family, type_, protocol, kern=True)
    return None if nested.errno is None else Outcome(Rule.NESTED, nested.errno, nested=nested.rule)


@lru_cache(maxsize=256)
def negative(name: str | None) -> int:
    """What the kernel returns for an errno: -1 for ``EPERM``, -524 for ``524``, 0 for None."""
    return 0 if name is None else -(int(name) if name.isdigit() else getattr(errno, name))
