"""modprobe.d(5) as libkmod reads it: the line that keeps a module from being loaded."""

import os
import subprocess

import pytest

from inetprobe.kernel.host.modprobe import configuration, obstacle

ALIASES = ("net-pf-2-proto-132", "net-pf-10-proto-132")


@pytest.fixture
def root(tmp_path):
    def write(**files):
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    return write


def why(root, module="sctp"):
    reason = obstacle(module, ALIASES, configuration(root))
    return None if reason is None else f"{reason.why}: {reason.remedy}"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("install sctp /bin/false\n", '"install sctp /bin/false" (/etc/modprobe.d/a.conf:1) stands in the way: '
                                      "remove line 1 of /etc/modprobe.d/a.conf"),
        ("# for CIS\n\n  blacklist\tsctp", '"blacklist sctp" (/etc/modprobe.d/a.conf:3) stands in the way: '
                                           "remove line 3 of /etc/modprobe.d/a.conf, or modprobe sctp"),
        ("blacklist sctp\ninstall sctp /bin/true\ninstall sctp /bin/false\n",
         '"blacklist sctp" (/etc/modprobe.d/a.conf:1) and "install sctp /bin/true" (/etc/modprobe.d/a.conf:2) '
         "stand in the way: remove line 1 of /etc/modprobe.d/a.conf and line 2 of /etc/modprobe.d/a.conf"),
        ("alias net_pf_2-proto-132 off\n", '"alias net_pf_2-proto-132 off" (/etc/modprobe.d/a.conf:1) stands in the '
                                           "way: remove line 1 of /etc/modprobe.d/a.conf, or modprobe sctp"),
        ("install net-pf-2-proto-132 /bin/true\n", '"install net-pf-2-proto-132 /bin/true" (/etc/modprobe.d/a.conf:1) '
                                                   "stands in the way: remove line 1 of /etc/modprobe.d/a.conf, or "
                                                   "modprobe sctp"),
        ("options x a=1\ninstall s* \\\n  /bin/false\nblacklist udp\n",
         '"install s* /bin/false" (/etc/modprobe.d/a.conf:2) stands in the way: '
         "remove line 2 of /etc/modprobe.d/a.conf"),
        ("#blacklist sctp\nblacklist\ninstall sctp\nblacklist sctp_diag\ninstall SCTP x\nalias net-pf-2-proto-132\n"
         "alias net-pf-2-proto-132 sctp\nalias net-pf-2-proto-33 off\noptions sctp a=1\nremove sctp x\n"
         "install net-pf-2-* x\ninstall net-pf-2-proto-33 x\ninstall net-pf-2-proto-132\n", None),
    ],
)  # fmt: skip
def test_the_line_in_the_way(root, text, says):
    assert why(root(**{"etc/modprobe.d/a.conf": text})) == says


@pytest.mark.parametrize(
    ("text", "silent"),
    [
        ("blacklist sctp", True),
        ("install sctp /bin/true", True),
        ("install sctp :", True),
        ("install sctp /bin/false", False),
        ("install sctp /bin/true; false", False),
        ("blacklist sctp\ninstall sctp /bin/false", True),
        ("blacklist sctp\nalias net-pf-2-proto-132 off", False),
        ("blacklist sctp\ninstall net-pf-2-proto-132 /bin/true", True),
        ("blacklist sctp\ninstall net-pf-2-proto-132 /bin/false", False),
        ("install sctp /bin/true\ninstall sctp /bin/false", True),
    ],
)
def test_obstacles_with_which_modprobe_succeeds(root, text, silent):
    folder = root(**{"etc/modprobe.d/a.conf": text + "\n"})
    assert obstacle("sctp", ALIASES, configuration(folder)).silent is silent


def test_hyphen_and_underscore_are_alike(root):
    folder = root(**{"etc/modprobe.d/a.conf": "blacklist dccp-ipv4\n"})
    assert why(folder, "dccp_ipv4").startswith('"blacklist dccp-ipv4" (/etc/modprobe.d/a.conf:1)')


def test_a_file_hides_later_files_of_its_name(root):
    line = "blacklist sctp\n"
    assert why(root(**{"lib/modprobe.d/b.conf": line})).startswith('"blacklist sctp" (/lib/modprobe.d/b.conf:1)')
    assert why(root(**{"run/modprobe.d/a.conf": line})).startswith('"blacklist sctp" (/run/modprobe.d/a.conf:1)')
    assert "b.conf" in why(root(**{"etc/modprobe.d/a.conf": ""}))
    assert why(root(**{"etc/modprobe.d/b.conf": "# nothing\n"})) is None


def test_only_conf_files_count(root):
    names = ("a.conf.dpkg-old", ".a.conf", "sctp", "d.conf/a.conf")
    assert why(root(**{f"etc/modprobe.d/{name}": "blacklist sctp\n" for name in names})) is None


def test_unreadable_files_and_fifos_are_left_out(root):
    folder = root(**{"etc/modprobe.d/b.conf": "blacklist sctp\n"})
    os.mkfifo(folder / "etc/modprobe.d/a.conf")
    (folder / "etc/modprobe.d/c.conf").symlink_to("nowhere")
    assert "b.conf:1" in why(folder)


def test_the_kernels_command_line(root):
    folder = root(**{"proc/cmdline": "quiet modprobe.blacklist=pcspkr,sctp root=/dev/vda\n"})
    assert why(folder).startswith('"blacklist sctp" (modprobe.blacklist= in /proc/cmdline) stands in the way')


def test_a_long_command_is_cut(root):
    reason = why(root(**{"etc/modprobe.d/a.conf": f"install sctp {'x' * 9999}\n"}))
    assert len(reason) < 250
    assert 'x…" (/etc' in reason


def test_modprobe_itself_reads_these_lines_alike(root):
    """--showconfig prints the configuration of a folder as libkmod reads it."""
    text = "blacklist dccp-ipv4\ninstall s*tp \\\n  /bin/false now\n# blacklist x\n"
    folder = root(**{"etc/modprobe.d/a.conf": text}) / "etc/modprobe.d"
    shown = subprocess.run(
        ["/usr/sbin/modprobe", "-C", folder, "--showconfig"], capture_output=True, text=True, check=True
    )
    theirs = [line.split() for line in shown.stdout.splitlines() if line.startswith(("blacklist ", "install "))]
    ours = [list(line.words) for line in configuration(folder.parents[1])]
    assert theirs == [["blacklist", "dccp_ipv4"], ["install", "s*tp", "/bin/false", "now"]]
    assert [[word.replace("-", "_") for word in words] for words in ours] == theirs
