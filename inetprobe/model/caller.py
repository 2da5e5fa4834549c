"""A live process that is asked about: what of it decides a socket()."""

from __future__ import annotations

from typing import NamedTuple

from inetprobe.base.cgroup_owner import Owner, owner_of
from inetprobe.model.seccomp import Filters


class Caller(NamedTuple):
    """``cap_net_raw``: does it hold CAP_NET_RAW over its net namespace? ``groups`` are its effective and supplementary
    ones; ``cgroup`` is its path in cgroup v2, None without one; ``machine`` is uname's."""

    pid: int
    comm: str
    cgroup: str | None
    cap_net_raw: bool
    groups: frozenset[int]
    filters: Filters
    machine: str

    @property
    def name(self) -> str:
        """For people."""
        return f"process {self.pid} ({self.comm})"

    @property
    def owner(self) -> Owner:
        """Its container, pod and unit."""
        return owner_of(self.cgroup)
