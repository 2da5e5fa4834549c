"""The changes to inet_create() and inet6_create() between kernels, each a feature of its own, never a version.

A profile has one set of these; for a live kernel they are probed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Features:
    """The behaviour of one kernel's inet_create() and inet6_create().

    - ``protocol_limit``: a protocol outside 0 … limit-1 is EINVAL before the lookup; None if nothing is checked, as in
      3.x (the check came with 79462ad02e86, Linux 4.4). IPPROTO_MAX of include/uapi/linux/in.h: 256, from 5.6 on 263.
    - ``request_module``: the kernel can load modules (CONFIG_MODULES); if not, __request_module() is never called.
    - ``alloc_errno``, ``alloc_errno6``: the errno of a failed sk_alloc() in inet_create() (ENOBUFS, ENOMEM from about
      5.14 on) and in inet6_create() (ENOBUFS to this day); None if not known.
    - ``netns_ok``: a protocol may refuse to work outside the initial net namespace (inet_netns_ok(), up to 5.x).
    - ``ehash_secret``: the first socket that is neither raw nor a datagram socket runs build_ehash_secret() (up to
      3.11). It changes no traced call, but makes that socket slow.
    - ``cgroup_hook``: a cgroup's BPF program may refuse (BPF_CGROUP_RUN_PROG_INET_SOCK, 61023658760, Linux 4.10).
    - ``cgroup_any_errno``: it may do so with any errno, not with EPERM alone (c4dcfdd406aa, Linux 5.18).
    - ``hash_can_fail``: proto.hash() returns an error (086c653f5862, about Linux 4.5); before, it returned nothing.
    - ``mptcp_nested``: mptcp_init_sock() makes the socket of its first subflow (5.6 to 6.5); None if not known.
    - ``inet_create``, ``inet6_create``: the function can be traced.
    - ``sk_prot_alloc``: the function can be traced. Some kernels' compiler inlines it into sk_alloc(); there is no call
      of it then.
    - ``wide_protocol``: sk_protocol has 16 bits (bf9765145b85, Linux 5.6); before, eight.
    - ``nproto``: NPROTO of include/linux/net.h, the number of address families, at most the model's: 45 until AF_MCTP
      came (bc49d8169aa7, Linux 5.15); None if not known: 45 or 46.
    """

    protocol_limit: int | None = 263
    request_module: bool = True
    alloc_errno: str | None = "ENOMEM"
    alloc_errno6: str | None = "ENOBUFS"
    netns_ok: bool = False
    ehash_secret: bool = False
    cgroup_hook: bool = True
    cgroup_any_errno: bool = True
    hash_can_fail: bool = True
    mptcp_nested: bool | None = False
    inet_create: bool = True
    inet6_create: bool = True
    sk_prot_alloc: bool = True
    wide_protocol: bool = True
    nproto: int | None = None


LINUX_3 = Features(
    protocol_limit=None,
    alloc_errno="ENOBUFS",
    netns_ok=True,
    ehash_secret=True,
    cgroup_hook=False,
    cgroup_any_errno=False,
    hash_can_fail=False,
    wide_protocol=False,
    nproto=41,
)
"""Linux 3.x."""

OF_KERNEL: Mapping[str, Features] = {
    "3.x": LINUX_3,
    "5.10": Features(alloc_errno="ENOBUFS", cgroup_any_errno=False, mptcp_nested=True, nproto=45),
    "6.1": Features(mptcp_nested=True, nproto=46),
    "6.12": Features(nproto=46),
    "7.2": Features(nproto=46),
}
"""The features of Debian's kernels and of Linux 3.x, by the kernel's name."""
