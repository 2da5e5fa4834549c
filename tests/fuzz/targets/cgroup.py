"""The names that strangers choose and every record carries: a comm, and the folders of a cgroup."""

from inetprobe.base import text
from inetprobe.base.cgroup_owner import owner_of
from inetprobe.kernel.host.cgroups import Cgroups
from inetprobe.record.filter import build
from tests.fuzz import checks
from tests.support import builders

DICTIONARY = (
    "/system.slice", "/kubepods.slice", "/kubepods-burstable-pod", "01234567_89ab_cdef_0123_456789abcdef", ".slice",
    "/docker-", "/cri-containerd-", ".scope", ".service", "/machine-qemu\\x2d1\\x2d", "/systemd-nspawn@",
    "/lxc.payload.", "/user-1000.slice", "/user@1000.service", "/lxc/", "/buildkit/", "0123456789abcdef" * 4, "\\x2d",
    ":", "//", "\x1b", "\u202e", "\u2028",
)  # fmt: skip

_FILTERS = [
    build({"comm": [word], "cgroup": [path]})
    for word, path in (("a*", "/*/x*/*y"), ("!*[!b]*?", "!/**/*[a-z]*.scope"), ("x,\\xff", "/system.slice"))
]
_ROOT = checks.folder_in_memory()


def run(data):
    comm, raw = data[:15], data[15:]
    _is_lossless(comm)
    _is_lossless(raw)
    path = _mounted(raw) or "/" + text.file_name(raw.decode("utf-8", "surrogateescape"))
    owner = owner_of(path)
    checks.is_shown(text.printable(path))
    checks.is_shown(text.printable(owner.label() or ""))
    assert owner.owner.owner == owner.owner
    traced = builders.run()
    records = builders.every_kind()
    records["comm"] = comm
    traced.cgroups = {int(identity): path for identity in records["cgroup_id"]}
    for filters in _FILTERS:
        filters.mask(records, traced)


def _is_lossless(raw):
    assert text.encode(text.decode(raw)) == raw
    checks.is_shown(text.printable(text.decode(raw)))


def _mounted(raw):
    """The path that ``Cgroups`` finds for a folder of this name; None where there can be none."""
    name = raw[:255]
    if not name or b"/" in name or b"\0" in name or name in (b".", b".."):
        return None
    folder = _ROOT / name.decode("utf-8", "surrogateescape")
    folder.mkdir()
    try:
        cgroups = Cgroups(_ROOT)
        path = cgroups.path(folder.stat().st_ino)
        assert path is not None
        assert cgroups.folder(path) in (folder, None), "another cgroup"
    finally:
        folder.rmdir()
    return path
