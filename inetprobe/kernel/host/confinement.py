"""The rights that a live run gives up once its probes are attached: capabilities, files, the network, system calls.

docs/security.md has what remains possible, and why.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from inetprobe.kernel.host import landlock, privileges, system_call_filter, tracefs
from inetprobe.kernel.host.cgroups import Cgroups

# Code, tables of names and time zones, which every user may read: Python and libc open some of them late.
_PUBLIC = (
    "/usr", "/lib", "/lib64",
    "/etc/ld.so.cache", "/etc/localtime", "/etc/passwd", "/etc/group", "/etc/nsswitch.conf",
)  # fmt: skip


class Kept(NamedTuple):
    """What a process does after it is confined, beside its open files.

    ``attaches``: it attaches probes again. ``signals``: it signals a COMMAND by its pidfd, another user's with
    ``to_another_user``. ``reads_processes``: it reads the files of other processes, which Landlock would forbid, so
    that no file is closed to it. ``files``: more files that it reads, and that may be replaced: all of their folders.
    """

    attaches: bool = False
    signals: bool = False
    to_another_user: bool = False
    reads_processes: bool = False
    files: tuple[Path, ...] = ()

    def capabilities(self) -> frozenset[int]:
        """The numbers of those that are not dropped."""
        return (
            (privileges.attaching() if self.attaches else frozenset())
            | (privileges.SIGNALS if self.to_another_user else frozenset())
            | (privileges.PROCESSES if self.reads_processes else frozenset())
        )


def confine(kept: Kept) -> None:
    """Confines the calling thread, and those that it starts later, to what is ``kept``; no other thread may run yet.

    As far as the kernel has Landlock, and the machine libseccomp. Raises InetprobeError if the kernel refuses.
    """
    capabilities = kept.capabilities()
    privileges.set_no_new_privileges()
    if not kept.reads_processes:  # Landlock forbids that, too
        # Before the capabilities go: one may be what lets a folder be entered.
        folder = tracefs.writable()
        landlock.restrict(
            [*_code(), *filter(None, [Cgroups.of_host().root]), *_folders(kept.files)],
            [Path(os.devnull), *filter(None, [folder])],  # the former in place of a stdout that nobody reads
            signals=kept.signals,
            abstract_sockets=os.environ.get("NOTIFY_SOCKET", "").startswith("@"),
        )
    privileges.drop(capabilities)
    system_call_filter.install(attaches=kept.attaches, signals=kept.signals)


def _code() -> list[Path]:
    return [Path(path).resolve() for path in (*_PUBLIC, sys.base_prefix, *filter(None, sys.path))]


def _folders(files: Iterable[Path]) -> Iterator[Path]:
    for file in files:
        yield file.absolute().parent
        yield file.resolve().parent  # a link's, as certificates often are
