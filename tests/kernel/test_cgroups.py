import pytest

from inetprobe.kernel.host import cgroups as cgroups_module
from inetprobe.kernel.host.cgroups import Cgroups


def hierarchy(root):
    (root / "user.slice/user-0.slice").mkdir(parents=True)
    return Cgroups(root)


def test_an_id_becomes_the_path_below_the_mount(tmp_path):
    cgroups = hierarchy(tmp_path)
    identity = (tmp_path / "user.slice/user-0.slice").stat().st_ino
    assert cgroups.path(identity) == "/user.slice/user-0.slice"


def test_the_root_is_known_without_a_mount():
    assert Cgroups(None).path(1) == "/"


def test_a_removed_cgroup_is_remembered_and_an_unknown_one_is_none(tmp_path):
    cgroups = hierarchy(tmp_path)
    folder = tmp_path / "user.slice/user-0.slice"
    identity = folder.stat().st_ino
    assert cgroups.path(identity)
    folder.rmdir()
    assert cgroups.path(identity) == "/user.slice/user-0.slice"
    assert cgroups.path(1 << 60) is None


def test_a_path_becomes_a_folder(tmp_path):
    cgroups = hierarchy(tmp_path)
    (tmp_path / "cgroup.procs").touch()
    assert cgroups.folder("/user.slice/user-0.slice/") == tmp_path / "user.slice/user-0.slice"
    assert cgroups.folder("/") == tmp_path
    assert cgroups.folder("/nonesuch") is None
    assert cgroups.folder("/cgroup.procs") is None
    assert Cgroups(None).folder("/") is None


def test_the_root_of_a_cgroup_namespace_has_the_path_of_a_root(tmp_path):
    assert hierarchy(tmp_path).path(tmp_path.stat().st_ino) == "/"


def test_the_mount_is_found_wherever_it_is(tmp_path):
    mounts = tmp_path / "mounts"
    mounts.write_text("proc /proc proc rw 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n")
    assert str(Cgroups.of_host(mounts).root) == "/sys/fs/cgroup/unified"
    mounts.write_text("proc /proc proc rw 0 0\n")
    assert Cgroups.of_host(mounts).root is None


def test_a_hostile_name_is_text(tmp_path):
    folder = tmp_path / "a\x1b[31m"
    folder.mkdir()
    assert Cgroups(tmp_path).path(folder.stat().st_ino) == "/a\x1b[31m"


def test_only_what_was_asked_for_is_remembered(tmp_path, monkeypatch):
    monkeypatch.setattr(cgroups_module, "_RESCAN_S", 0.0)
    monkeypatch.setattr(cgroups_module, "_MOST", 2)
    root, removed = tmp_path / "root", tmp_path / "removed"  # their inodes are not used again
    root.mkdir()
    removed.mkdir()
    cgroups, identities = Cgroups(root), []
    for round_ in range(3):
        folders = [root / f"{round_}-{number}" for number in range(50)]
        for folder in folders:
            folder.mkdir()
        identities.append(folders[7].stat().st_ino)
        assert cgroups.path(identities[-1]) == f"/{round_}-7"
        for folder in folders:
            folder.rename(removed / folder.name)
    assert cgroups.path(1 << 60) is None  # looks again: there is none but the root
    assert cgroups.path(identities[2]) == "/2-7"
    assert cgroups.path(identities[0]) is None  # the least recently asked for
    assert len(cgroups._asked) + len(cgroups._found) < 8


@pytest.mark.parametrize("name", [b"\xff", b"a\x0cb", b"a\rb", b"a\xe2\x80\xa8b"])
def test_users_mount_at_any_name(tmp_path, name):
    """fusermount(1) needs no privilege."""
    mounts = tmp_path / "mounts"
    mounts.write_bytes(b"%s /home/u/%s fuse.x rw 0 0\ncgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n" % (name, name))
    assert str(Cgroups.of_host(mounts).root) == "/sys/fs/cgroup"


def test_what_no_folder_is_called_is_no_cgroup(tmp_path):
    assert Cgroups(tmp_path).folder("/" + "a" * 256) is None
