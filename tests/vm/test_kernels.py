import pytest

from inetprobe.base.errors import UsageError, VmError
from inetprobe.vm import apt_sources, kernels
from tests.support.strangers import give_away

DEB822 = """\
# the main archive
Types: deb
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main

Enabled: no
Types: deb
URIs: http://off.example/debian
Suites: bookworm
Components: main
"""
ONE_LINE = """\
# deb http://commented.example/debian bookworm main
deb [arch=amd64 signed-by=/etc/key.gpg] http://other.example/tools stable main extra # a comment
deb-src http://source.example/debian bookworm main
"""


def etc(root, **files):
    folder = root / "etc/apt/sources.list.d"
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(text)
    return root


def test_both_formats_are_read(tmp_path):
    sources = apt_sources.read(etc(tmp_path, debian_sources=DEB822, tools_list=ONE_LINE, ignored_bak=ONE_LINE))
    assert [source.uri for source in sources] == [
        "http://mirror.example/debian",
        "http://mirror.example/debian-security",
        "http://other.example/tools",
    ]
    assert sources[2].signed_by == "/etc/key.gpg"
    assert sources[2].components == ("main", "extra")


def test_the_mirror_has_this_system_s_suite(tmp_path):
    sources = apt_sources.read(etc(tmp_path, a_list=ONE_LINE, debian_sources=DEB822))
    mirror = apt_sources.debian_mirror(sources, "bookworm")
    assert mirror is not None
    assert mirror.uri == "http://mirror.example/debian"
    assert apt_sources.debian_mirror([sources[0]], "bookworm") is None


def test_an_image_is_found_in_either_layout(tmp_path):
    old, new = tmp_path / "old/boot", tmp_path / "new/usr/lib/modules/7.2"
    for folder, name in ((old, "vmlinuz-6.1"), (new, "vmlinuz")):
        folder.mkdir(parents=True)
        (folder / name).touch()
    assert kernels.find_vmlinuz(tmp_path / "old") == old / "vmlinuz-6.1"
    assert kernels.find_vmlinuz(tmp_path / "new") == new / "vmlinuz"
    assert kernels.find_vmlinuz(tmp_path) is None


def test_a_cached_kernel_needs_no_network(tmp_path, monkeypatch):
    monkeypatch.setenv("INETPROBE_CACHE", str(tmp_path))
    image = tmp_path / "kernels/6.1/boot/vmlinuz-6.1"
    image.parent.mkdir(parents=True)
    image.touch()
    notes = []
    assert kernels.resolve("6.1", notes.append) == image
    assert notes == []


def test_a_kernel_that_a_stranger_can_have_planted_is_not_booted(tmp_path, monkeypatch):
    monkeypatch.setenv("INETPROBE_CACHE", str(tmp_path))
    image = tmp_path / "kernels/6.1/boot/vmlinuz-6.1"
    image.parent.mkdir(parents=True)
    image.touch()
    give_away(tmp_path, monkeypatch)
    with pytest.raises(VmError, match=r"belongs to user .*: set INETPROBE_CACHE .*; --kernel also takes the path"):
        kernels.resolve("6.1", pytest.fail)


@pytest.mark.parametrize(("codename", "name"), [("bullseye", "5.10"), ("trixie", "6.12"), ("forky", "7.2")])
def test_the_default_is_this_debian_s_own(tmp_path, codename, name):
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/os-release").write_text(f'ID=debian\nVERSION_CODENAME="{codename}"\n')
    assert kernels.default_name(tmp_path) == name
    assert kernels.default_name(tmp_path / "nowhere") == kernels.DEFAULT


def test_an_unknown_kernel_is_one_sentence():
    with pytest.raises(UsageError, match="neither a kernel image nor one of"):
        kernels.resolve("4.4", lambda line: None)
