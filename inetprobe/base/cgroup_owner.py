"""A cgroup's path → the container, pod and systemd unit it belongs to, from the path alone.

No runtime is asked, so it holds for what is gone, and for a recording of another machine. Names of pods and containers
are therefore not here: only runtimes know them, behind their sockets, and what a process itself could tell
(``/proc/PID/environ``) is for its owner's eyes. On cgroup v1 the kernel gives no path that says anything (null).

How each builds its paths: systemd.slice(5), systemd.scope(5) and "Control Group APIs and Delegation"; the kubelet's
cgroup manager (pkg/kubelet/cm, both drivers); runc's and crun's ``systemd`` and ``cgroupfs`` managers with the prefixes
``docker``, ``cri-containerd``, ``crio``, ``libpod``; lxc.container.conf(5); systemd-nspawn(1), systemd-machined(8).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache

#: Runtimes by the prefix that their scopes have.
RUNTIMES = {
    "docker": "docker",
    "cri-containerd": "containerd",
    "containerd": "containerd",
    "nerdctl": "containerd",
    "crio": "cri-o",
    "libpod": "podman",
    "libpod-payload": "podman",
}
# Runtimes by the folder that their containers stand in, with the cgroupfs driver.
_FOLDERS = {"docker": "docker", "libpod_parent": "podman", "buildkit": "buildkit", "garden": "garden"}

_ID = r"[0-9a-f]{64}"
_PREFIXED = re.compile(rf"({'|'.join(sorted(RUNTIMES, key=len, reverse=True))})-({_ID})(?:\.scope)?")
_BARE = re.compile(rf"(?:{_ID}|[0-9a-f]{{32}}-[0-9]{{8,}})")  # the latter are Amazon ECS's on Fargate
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
_SHORT = 8  # characters of an id that are shown: runtimes take a beginning for the whole, too


@dataclass(frozen=True, slots=True)
class Owner:
    """What a cgroup belongs to; whatever its path does not say is None.

    ``container`` is the runtime's id, or the name of an LXC container, of a systemd-nspawn or libvirt machine;
    ``runtime`` who runs it: docker, containerd, podman, cri-o, lxc, systemd-nspawn, libvirt, buildkit or garden.
    ``pod`` is the Kubernetes pod's uid. ``unit`` is the innermost systemd service or scope, ``slice`` the innermost
    slice; within a container that has a systemd of its own they are those of the container's. ``user`` is the uid whose
    session or user manager it is.
    """

    container: str | None = None
    runtime: str | None = None
    pod: str | None = None
    unit: str | None = None
    slice: str | None = None
    user: int | None = None

    @property
    def owner(self) -> Owner:
        """Without what differs within one container: what to count by."""
        return Owner(self.container, self.runtime, self.pod) if self.container or self.pod else self

    def label(self) -> str | None:
        """A few words for people, ids cut to 8 characters; None if there are none to say."""
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


# A stranger's paths may have 16 kB each.
@lru_cache(maxsize=1024)
def owner_of(path: str | None) -> Owner:
    """Whose cgroup ``path`` is, a path below the cgroup mount as records have it; nobody's for None and ``/``."""
    found = Owner()
    parent = ""
    for folder in (path or "").split("/"):
        # A kubelet with systemd's driver and a containerd with the other make one folder of three names.
        three = _THREE.fullmatch(folder)
        for part in three.groups() if three else (folder,):
            if part:
                found = _further(found, parent, part)
                parent = part
    return found


def _further(found: Owner, parent: str, part: str) -> Owner:
    """What is known one folder further in."""
    pod = _POD.fullmatch(part)
    if pod:
        slice_ = part if part.endswith(".slice") else found.slice
        return replace(found, pod=pod[1].replace("_", "-"), container=None, runtime=None, unit=None, slice=slice_)
    container = _container(found, parent, part)
    if container is not None:
        name, runtime = container
        outside = None if found.container else found.unit
        return replace(found, container=name, runtime=runtime, unit=outside, user=found.user)
    if part.endswith(".slice"):
        found = replace(found, slice=part)
    elif _UNIT.fullmatch(part):
        found = replace(found, unit=part)
    user = _USER.fullmatch(part)
    return replace(found, user=int((user[1] or user[2])[:10])) if user else found


def _container(found: Owner, parent: str, part: str) -> tuple[str, str | None] | None:
    """(id or name, runtime) if the folder is a container's."""
    prefixed = _PREFIXED.fullmatch(part)
    if prefixed:
        return prefixed[2], RUNTIMES[prefixed[1]]
    if _BARE.fullmatch(part):
        # A pod's folder does not say who runs what is in it.
        return part, RUNTIMES.get(parent) or _FOLDERS.get(parent)
    own = {"buildkit": _IN_BUILDKIT, "garden": _IN_GARDEN}.get(parent)
    if own is not None and own.fullmatch(part):
        return part, _FOLDERS[parent]
    for pattern, runtime in ((_LXC, "lxc"), (_NSPAWN, "systemd-nspawn")):
        named = pattern.fullmatch(part)
        if named:
            return _unescaped(named[1]), runtime
    if parent == "lxc" and found == Owner():
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
