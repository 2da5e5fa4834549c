import pytest

from inetprobe.base import packages

DEBIAN = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\n'
UBUNTU = "ID=ubuntu\nID_LIKE=debian\n"
RHEL = 'NAME="Red Hat Enterprise Linux"\nID="rhel"\nID_LIKE="fedora"\n'
ROCKY = 'ID="rocky"\nID_LIKE="rhel centos fedora"\n'
LEAP = "# of openSUSE\nID=\"opensuse-leap\"\nID_LIKE='suse opensuse'\n"


@pytest.mark.parametrize(
    ("release", "command"),
    [
        (DEBIAN, "apt install libbpfcc"),
        (UBUNTU, "apt install libbpfcc"),
        (RHEL, "dnf install bcc"),
        (ROCKY, "dnf install bcc"),
        (LEAP, "zypper install libbcc0"),
        ("ID=arch\n", "pacman -S bcc"),
        ("ID=manjaro\nID_LIKE=arch\n", "pacman -S bcc"),
        ("ID=alpine\n", "apk add bcc"),
        ("ID=nixos\n", "install BCC with this system's package manager"),
        ('ID="broken\nno variable\n', "install BCC with this system's package manager"),
        (None, "install BCC with this system's package manager"),
    ],
)
@pytest.mark.parametrize("path", ["etc/os-release", "usr/lib/os-release"])
def test_the_command_is_of_the_system_s_own_manager(tmp_path, path, release, command):
    if release is not None:
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_text(release)
    assert packages.install("BCC", root=tmp_path) == command


def test_etc_goes_before_usr(tmp_path):
    for folder, release in (("etc", "ID=alpine\n"), ("usr/lib", DEBIAN)):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "os-release").write_text(release)
    assert packages.install("busybox", "depmod", root=tmp_path) == "apk add busybox-static kmod"


def test_every_manager_has_every_package():
    for of_managers in packages._PACKAGES.values():
        assert set(of_managers) == set(packages._INSTALL) == set(packages._MANAGERS.values())
