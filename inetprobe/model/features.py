"""What changed in the path from kernel to kernel: each a feature of its own, never a version.

A profile is a set of these; one for a live kernel is probed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Features:
    """How this kernel's inet_create() and inet6_create() behave.

    - ``protocol_limit``: protocols outside 0 … limit-1 are EINVAL before the walk; None where nothing is checked, the
      classic path (the check came with 79462ad02e86, Linux 4.4). IPPROTO_MAX of include/uapi/linux/in.h: 256, from
      5.6 on 263.
    - ``request_module``: the kernel can load modules (CONFIG_MODULES); without, no call is made.
    - ``alloc_errno``, ``alloc_errno6``: what a failed sk_alloc() becomes in inet_create() (ENOBUFS, from 5.14 or so on
      ENOMEM) and in inet6_create() (ENOBUFS to this day); None where that cannot be known.
    - ``netns_ok``: protocols may refuse to work outside the initial net namespace (inet_netns_ok(), up to 5.x).
    - ``ehash_secret``: build_ehash_secret() at the first socket that is neither raw nor a datagram's (up to 3.11). It
      changes no traced call; what explains a slow first socket.
    - ``cgroup_hook``: a cgroup's BPF program may refuse (BPF_CGROUP_RUN_PROG_INET_SOCK, 61023658760, Linux 4.10).
    - ``cgroup_any_errno``: with an errno of its choice and not EPERM alone (c4dcfdd406aa, Linux 5.18).
    - ``hash_can_fail``: proto.hash() returns an error (086c653f5862, Linux 4.5 or so); before, it returned nothing.
    - ``mptcp_nested``: mptcp_init_sock() makes its first subflow's socket at once (5.6 to 6.5), None where that cannot
      be known.
    - ``wide_protocol``: sk_protocol is 16 bits wide (bf9765145b85, Linux 5.6); before, eight.
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
    wide_protocol: bool = True


CLASSIC = Features(
    protocol_limit=None,
    alloc_errno="ENOBUFS",
    netns_ok=True,
    ehash_secret=True,
    cgroup_hook=False,
    cgroup_any_errno=False,
    hash_can_fail=False,
    wide_protocol=False,
)
"""The path as 3.x had it."""

OF_KERNEL: Mapping[str, Features] = {
    "3.x": CLASSIC,
    "5.10": Features(alloc_errno="ENOBUFS", cgroup_any_errno=False, mptcp_nested=True),
    "6.1": Features(mptcp_nested=True),
    "6.12": Features(),
    "7.2": Features(),
}
"""Those of Debian's kernels, and of the classic path."""
