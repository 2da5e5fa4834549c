"""A cgroup's path → the container, pod and systemd unit that it belongs to, from the path alone.

No container runtime is asked, so it works for containers that have ended and for recordings of other machines. Names of
pods and containers are therefore unknown: only the runtimes know them, and the environment of a process
(``/proc/PID/environ``) is private to its owner. On cgroup v1 records have no usable path (null).

Sources for how each runtime builds its paths: systemd.slice(5), systemd.scope(5) and "Control Group APIs and
Delegation"; the kubelet's cgroup manager (pkg/kubelet/cm, both drivers); runc's and crun's ``systemd`` and ``cgroupfs``
managers with the prefixes ``docker``, ``cri-containerd``, ``crio``, ``libpod``; lxc.container.conf(5); systemd-
nspawn(1), systemd-machined(8).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache

#: Runtimes by the prefix of their scopes.
RUNTIMES = {
    "docker": "docker",
    "cri-containerd": "containerd",
    "containerd": "containerd",
    "nerdctl": "containerd",
    "crio": "cri-o",
    "libpod": "podman",
    "libpod-payload": "podman",
}
# Runtimes by the parent folder of their containers, with the cgroupfs driver.
_FOLDERS = {"docker": "docker", "libpod_parent": "podman", "buildkit": "buildkit", "garden": "garden"}

_ID = r"[0-9a-f]{64}"
_PREFIXED = re.compile(rf"({'|'.join(sorted(RUNTIMES, key=len, reverse=True))})-({_ID})(?:\.scope)?")
_BARE = re.compile(rf"(?:{_ID}|[0-9a-f]{{32}}-[0-9]{{8,}})")  # the latter form is that of Amazon ECS on Fargate
_IN_BUILDKIT = re.compile(r"[a-z0-9]{25}")
_IN_GARDEN = re.compile(r"[0-9a-f-]{20,}")
# A static pod's uid is a hash.
_POD = re.compile(r"(?:.*kubepods.*-)?pod([0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}|[0-9a-f]{32})(?:\.slice)?")
_LXC = re.compile(r"lxc\.payload\.(.+)")
_NSPAWN = re.compile(r"systemd-nspawn@(.+)\.service")
_MACHINE = re.compile(r"machine-(.+)\.scope")
_VIRTUAL = re.compile(r"(qemu|lxc|ch|xen)-[0-9]+-(.+)")
_UNIT = re.compile(r".+\.(?:service|scope|socket|mount|swap)")
_USER = re.compile(r"user(?:-([0-9]+)\.slice|@([0-9]+)\.service)")
_THREE = re.compile(r"(.+\.slice):([^:]+):([^:]+)")
_ESCAPE = re.compile(r"\\x([0-9a-f]{2})")
_NAME_MAX = 255  # bytes of a folder's name: include/uapi/linux/limits.h
_SHORT = 8  # characters of an id that are shown: runtimes accept a prefix of an id


@dataclass(frozen=True, slots=True)
class Owner:
    """The owner of a cgroup; members that the path does not tell are None.

    ``container`` is the runtime's id, or the name of an LXC container or of a systemd-nspawn or libvirt machine.
    ``runtime`` is docker, containerd, podman, cri-o, lxc, systemd-nspawn, libvirt, buildkit or garden. ``pod`` is the
    uid of the Kubernetes pod. ``unit`` is the innermost systemd service or scope and ``slice`` the innermost slice; in
    a container that runs systemd they are those inside. ``user`` is the uid that owns the session or user manager.
    """

    container: str | None = None
    runtime: str | None = None
    pod: str | None = None
    unit: str | None = None
    slice: str | None = None
    user: int | None = None

    @property
    def owner(self) -> Owner:
        """The owner without what differs within one container: the key to count by."""
        return Owner(self.container, self.runtime, self.pod) if self.container or self.pod else self

    def label(self) -> str | None:
        """The owner in a few words, ids cut to 8 characters; None if nothing is known."""
        words = []
        if self.pod is not None:
            words.append(f"pod {self.pod[:_SHORT]}")
        if self.container is not None:
            name = self.container[:_SHORT] if _BARE.fullmatch(self.container) else self.container
            words.append(f"{self.runtime or 'container'} {name}")
        if self.unit is not None:
            words.append(self.unit)
        elif not words and self.slice is not None:
            words.append(self.slice)
        if self.user is not None:
            words.append(f"(user {self.user})")
        return " ".join(words) or None


# Bounded: each path may have 16 kB, and untrusted recordings choose them.
@lru_cache(maxsize=1024)
def owner_of(path: str | None) -> Owner:
    """The owner of the cgroup ``path`` below the cgroup mount, as in records; an empty Owner for None and ``/``."""
    owner = Owner()
    parent = ""
    for folder in (path or "").split("/"):
        if len(folder) > _NAME_MAX:
            continue  # of a crafted recording: no kernel has it, and the patterns below may take long over it
        # A kubelet with the systemd driver and a containerd with the cgroupfs driver name one folder SLICE:PREFIX:NAME.
        triple = _THREE.fullmatch(folder)
        for part in triple.groups() if triple else (folder,):
            if part:
                owner = _descend(owner, parent, part)
                parent = part
    return owner


def _descend(outer: Owner, parent: str, part: str) -> Owner:
    """The owner of the folder ``part`` in ``parent``, a folder of the owner ``outer``."""
    pod = _POD.fullmatch(part)
    if pod:
        slice_ = part if part.endswith(".slice") else outer.slice
        return replace(outer, pod=pod[1].replace("_", "-"), container=None, runtime=None, unit=None, slice=slice_)
    container = _container(outer, parent, part)
    if container is not None:
        name, runtime = container
        outside = None if outer.container else outer.unit
        return replace(outer, container=name, runtime=runtime, unit=outside, user=outer.user)
    if part.endswith(".slice"):
        outer = replace(outer, slice=part)
    elif _UNIT.fullmatch(part):
        outer = replace(outer, unit=part)
    user = _USER.fullmatch(part)
    return replace(outer, user=int((user[1] or user[2])[:10])) if user else outer


def _container(outer: Owner, parent: str, part: str) -> tuple[str, str | None] | None:
    """(id or name, runtime) if the folder belongs to a container, else None."""
    prefixed = _PREFIXED.fullmatch(part)
    if prefixed:
        return prefixed[2], RUNTIMES[prefixed[1]]
    if _BARE.fullmatch(part):
        # The folder of a pod does not tell the runtime of its containers.
        return part, RUNTIMES.get(parent) or _FOLDERS.get(parent)
    own = {"buildkit": _IN_BUILDKIT, "garden": _IN_GARDEN}.get(parent)
    if own is not None and own.fullmatch(part):
        return part, _FOLDERS[parent]
    for pattern, runtime in ((_LXC, "lxc"), (_NSPAWN, "systemd-nspawn")):
        named = pattern.fullmatch(part)
        if named:
            return _unescaped(named[1]), runtime
    if parent == "lxc" and outer == Owner():
        return part, "lxc"
    machine = _MACHINE.fullmatch(part)
    if machine:
        name = _unescaped(machine[1])
        virtual = _VIRTUAL.fullmatch(name)
        return (virtual[2], "libvirt") if virtual else (name, "systemd-nspawn")
    return None


def _unescaped(name: str) -> str:
    r"""systemd writes a dash in a name as ``\x2d``."""
    return _ESCAPE.sub(lambda match: chr(int(match[1], 16)), name)
