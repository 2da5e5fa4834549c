"""The running kernel's profile, from a recorded /proc and /lib/modules and each kernel's recorded BTF."""

import os

import pytest

from inetprobe.base.errors import HostError
from inetprobe.base.uapi import AF_INET, AF_INET6, AF_NETLINK, AF_PACKET, AF_UNIX, AF_XDP
from inetprobe.kernel.host.btf import Btf
from inetprobe.kernel.host.kallsyms import Symbols
from inetprobe.kernel.host.probed_profile import features, probe
from inetprobe.model.profile import BUILT_IN_PROFILES, FamilyModule, Profile
from inetprobe.model.world import Machine
from tests.support.paths import BTF

SYMBOLS = Symbols(["inet_create", "sk_prot_alloc", "__request_module", "__cgroup_bpf_run_filter_sk", "bpf_set_retval"])
# Rows of Debian's 6.1 with sctp loaded; the columns behind the module are which functions a proto has.
PROTOCOLS = """\
protocol  size sockets  memory press maxhdr  slab module     cl co di ac io in de sh ss gs se re bi br ha uh gp em
SCTPv6    1720      1      0   no       0   yes  sctp        y  y  y  y  y  y  y  y  y  y  y  y  y  y  n  y  y  y
SCTP      1568      1      0   no       0   yes  sctp        y  y  y  y  y  y  y  y  y  y  y  y  y  y  n  y  y  y
MPTCPv6   1872      0      0   no       0   yes  kernel      y  y  y  y  y  y  y  y  y  y  y  y  y  n  y  y  y  n
PACKET    1472      0     -1   NI       0   no   kernel      n  n  n  n  n  n  n  n  n  n  n  n  n  n  n  n  n  n
MPTCP     1720      0      0   no       0   yes  kernel      y  y  y  y  y  y  y  y  y  y  y  y  y  n  y  y  y  n
PINGv6    1176      0     -1   NI       0   yes  kernel      y  y  y  n  n  y  n  n  y  y  y  y  y  y  y  y  y  n
RAWv6     1176      1     -1   NI       0   yes  kernel      y  y  y  n  y  y  y  n  y  y  y  y  n  y  y  y  y  n
UDP-Lite  1152      0     -1   NI       0   yes  kernel      y  y  y  n  y  y  y  n  y  y  y  y  n  n  n  y  y  n
PING       968      0     -1   NI       0   yes  kernel      y  y  y  n  n  y  n  n  y  y  y  y  y  y  y  y  y  n
RAW        976      0     -1   NI       0   yes  kernel      y  y  y  n  y  y  y  n  y  y  y  y  n  y  y  y  y  n
UDP       1152      4      2   NI       0   yes  kernel      y  y  y  n  y  y  y  n  y  y  y  y  n  n  n  y  y  n
TCP       2312      3      1   no     256   yes  kernel      y  y  y  y  y  y  y  y  y  y  y  y  y  n  y  y  y  y
"""
ALIASES = """\
alias net-pf-2-proto-115 l2tp_ip
alias net-pf-2-proto-115-type-2 l2tp_ip
alias net-pf-10-proto-115 l2tp_ip6
alias net-pf-2-proto-132 sctp
alias net-pf-2-proto-256-type-1 smc
alias net-pf-16-proto-4 inet_diag
alias net-pf-39 nfc
alias net-pf-43 smc
alias net-pf-31 bluetooth
alias net-pf-99 homa
"""
MODULES = ("l2tp/l2tp_ip", "l2tp/l2tp_ip6", "sctp/sctp", "dccp/dccp_ipv4", "smc/smc")
SHOWN = "insmod /lib/modules/6.1/kernel/net/l2tp/l2tp_ip.ko \ninstall /bin/false\n"


@pytest.fixture
def machine(tmp_path):
    files = {
        "proc/net/protocols": PROTOCOLS,
        "proc/sys/kernel/osrelease": "6.1.0-test\n",
        "proc/sys/kernel/modprobe": "/sbin/modprobe\n",
        "proc/sys/net/ipv4/ping_group_range": "0\t2147483647\n",
        "proc/sys/net/ipv4/ip_no_pmtu_disc": "0\n",
        "proc/sys/net/mptcp/enabled": "1\n",
        "lib/modules/6.1.0-test/modules.alias": ALIASES,
        "lib/modules/6.1.0-test/modules.dep": "".join(f"kernel/net/{name}.ko.xz: \n" for name in MODULES),
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def btf(kernel="6.1"):
    return Btf((BTF / kernel).read_bytes())


def probed(root, shown=SHOWN):
    return probe(btf(), SYMBOLS, root, lambda names: shown)


def test_registered_protocols_are_built_in_or_loaded(machine):
    profile = probed(machine)
    assert profile.built_in == ("tcp", "udp", "ping", "raw", "udplite", "pingv6", "mptcp")
    assert profile.loaded == ("sctp",)


def test_families_are_registered_where_their_create_is(machine):
    names = "unix_create netlink_create inet6_create packet_create.llvm.123 vsock_create xsk_create nr_create.cold"
    # sunrpc's svc_create() is not AF_ATMSVC's.
    symbols = Symbols([*names.split(), "svc_create", "inet_create"])
    profile = probe(btf(), symbols, machine, lambda _: SHOWN)
    assert profile.registered == (AF_UNIX, AF_INET, 6, AF_INET6, AF_NETLINK, AF_PACKET, 40, AF_XDP)
    (machine / "sys/module/ipv6/parameters").mkdir(parents=True)
    (machine / "sys/module/ipv6/parameters/disable").write_text("1\n")
    disabled = probe(btf(), symbols, machine, lambda _: SHOWN)
    assert AF_INET6 in disabled.registered  # its code is there
    assert Machine(disabled).registered(AF_INET6) is False
    # AF_ATMSVC comes with AF_ATMPVC.
    atm = probe(btf(), Symbols(["netlink_create", "pvc_create"]), machine, lambda _: SHOWN)
    assert atm.registered == (8, AF_NETLINK, 20)


def test_where_functions_have_other_names_no_family_is_known(machine):
    assert probed(machine).registered is None


def test_the_number_of_families_is_known_where_the_last_is_there():
    assert features(btf(), SYMBOLS).nproto is None
    assert features(btf(), Symbols(["mctp_pf_create"])).nproto == 46


def test_modules_on_disk_are_loadable_or_blocked(machine):
    profile = probed(machine)
    assert profile.loadable == ("l2tp_ip",)
    assert set(profile.blocked) == {"l2tp_ip6", "dccp_ipv4", "smc"}
    assert profile.blocked["dccp_ipv4"] == "no alias leads to it"
    assert "blacklists it" in profile.blocked["l2tp_ip6"]
    assert profile.aliases["net-pf-2-proto-132"] == "sctp"
    assert "net-pf-16-proto-4" not in profile.aliases


def test_the_line_of_modprobes_configuration_is_named(machine):
    folder = machine / "etc/modprobe.d"
    folder.mkdir(parents=True)
    (folder / "hardening.conf").write_text("install l2tp-ip6 /bin/false\nblacklist dccp_ipv4\nblacklist l2tp_ip\n")
    profile = probed(machine)
    assert profile.blocked["l2tp_ip6"] == (
        '"install l2tp-ip6 /bin/false" (/etc/modprobe.d/hardening.conf:1) stands in the way'
    )
    assert profile.remedies == {"l2tp_ip6": "remove line 1 of /etc/modprobe.d/hardening.conf"}
    assert profile.left_alone == ()  # false's exit status is modprobe's
    assert profile.blocked["dccp_ipv4"] == "no alias leads to it"


def test_a_blacklisted_module_is_left_alone_and_one_with_a_command_is_not(machine):
    folder = machine / "etc/modprobe.d"
    folder.mkdir(parents=True)
    (folder / "hardening.conf").write_text("blacklist l2tp_ip6\ninstall smc /bin/false\n")
    profile = probed(machine)
    assert {"l2tp_ip6", "smc"} <= set(profile.blocked)
    assert profile.left_alone == ("l2tp_ip6",)


def test_a_module_loaded_only_as_a_dependency_is_blocked(machine):
    """On Debian's 6.1 l2tp_ip6 needs l2tp_ip, which modprobe loads for it even if it is blacklisted."""
    folder = machine / "etc/modprobe.d"
    folder.mkdir(parents=True)
    (folder / "hardening.conf").write_text("blacklist l2tp_ip\n")
    both = SHOWN + "insmod /lib/modules/6.1/kernel/net/l2tp/l2tp_ip6.ko \n"
    profile = probe(btf(), SYMBOLS, machine, lambda names: both if "net-pf-10-proto-115" in names else "")
    assert profile.loadable == ("l2tp_ip6",)
    assert "l2tp_ip" in profile.blocked


def test_smc_without_its_alias_registers_nothing(machine):
    aliases = machine / "lib/modules/6.1.0-test/modules.alias"
    aliases.write_text(ALIASES.replace("alias net-pf-2-proto-256-type-1 smc\n", ""))
    assert "smc" not in probed(machine).blocked


def test_modprobe_is_run_once_but_for_each_module_that_the_configuration_is_about(machine):
    asked = []
    l2tp_ip = ["net-pf-2-proto-115", "net-pf-2-proto-115-type-2"]
    others = ["net-pf-10-proto-115", "net-pf-2-proto-256-type-1"]
    probe(btf(), SYMBOLS, machine, lambda names: asked.append(names) or SHOWN)
    assert asked == [[*l2tp_ip, *others]]
    folder = machine / "etc/modprobe.d"
    folder.mkdir(parents=True)
    (folder / "hardening.conf").write_text("blacklist l2tp_ip\noptions smc x=1\n")
    asked.clear()
    probe(btf(), SYMBOLS, machine, lambda names: asked.append(names) or SHOWN)
    assert asked == [others, l2tp_ip]


def test_the_line_that_keeps_a_family_s_module_away_is_named(machine):
    assert probed(machine).families == {
        "net-pf-39": FamilyModule("nfc"), "net-pf-43": FamilyModule("smc"), "net-pf-31": FamilyModule("bluetooth")
    }  # fmt: skip
    folder = machine / "etc/modprobe.d"
    folder.mkdir(parents=True)
    (folder / "a.conf").write_text("# CIS\ninstall nfc /bin/true\nalias net-pf-31 off\nblacklist smc\n")
    families = probed(machine).families
    file = "/etc/modprobe.d/a.conf"
    assert families == {
        "net-pf-39": FamilyModule(
            "nfc", f'"install nfc /bin/true" ({file}:2) stands in the way', f"remove line 2 of {file}"
        ),
        "net-pf-43": FamilyModule(
            "smc", f'"blacklist smc" ({file}:4) stands in the way', f"remove line 4 of {file}, or modprobe smc"
        ),
        "net-pf-31": FamilyModule(
            "bluetooth",
            f'"alias net-pf-31 off" ({file}:3) stands in the way',
            f"remove line 3 of {file}, or modprobe bluetooth",
        ),
    }
    (machine / "lib/modules/6.1.0-test/modules.alias").unlink()
    assert probed(machine).families is None


@pytest.mark.parametrize(("text", "disabled"), [("0\n", False), ("1\n", True)])
def test_loading_may_be_disabled(machine, text, disabled):
    (machine / "proc/sys/kernel/modules_disabled").write_text(text)
    assert probed(machine).modules_disabled is disabled


def test_sysctls(machine):
    profile = probed(machine)
    assert (profile.kernel, profile.modprobe) == ("6.1.0-test", "/sbin/modprobe")
    assert profile.ping_group_range == (0, 2147483647)
    assert profile.mptcp_enabled is True
    assert profile.ip_no_pmtu_disc is False
    (machine / "proc/sys/kernel/modprobe").write_text("\n")
    (machine / "proc/sys/net/mptcp/enabled").write_text("0\n")
    assert probed(machine).modprobe == ""
    assert probed(machine).mptcp_enabled is False


@pytest.mark.parametrize(("text", "disabled"), [("0\n", False), ("1\n", True)])
def test_ipv6_may_be_disabled(machine, text, disabled):
    parameter = machine / "sys/module/ipv6/parameters/disable"
    parameter.parent.mkdir(parents=True)
    parameter.write_text(text)
    assert probed(machine).ipv6_disabled is disabled


def test_the_active_security_modules(machine):
    assert probed(machine).security_modules is None
    listed = machine / "sys/kernel/security/lsm"
    listed.parent.mkdir(parents=True)
    listed.write_text("lockdown,yama,apparmor,bpf")
    assert probed(machine).security_modules == ("lockdown", "yama", "apparmor", "bpf")


def test_unreadable_facts_are_unknown(machine):
    for name in ("kernel/modprobe", "net/ipv4/ping_group_range", "net/ipv4/ip_no_pmtu_disc", "net/mptcp/enabled"):
        (machine / "proc/sys" / name).unlink()
    profile = probed(machine, None)
    assert (profile.modprobe, profile.ping_group_range, profile.ip_no_pmtu_disc, profile.mptcp_enabled) == (None,) * 4
    assert (profile.ipv6_disabled, profile.modules_disabled) == (None, None)
    assert profile.loadable == ()
    assert profile.blocked["l2tp_ip"] == "modprobe could not be asked about it"
    (machine / "proc/net/protocols").unlink()
    with pytest.raises(HostError, match="cannot be read"):
        probed(machine)


@pytest.mark.parametrize("kernel", ["5.10", "6.1", "6.12", "7.2"])
def test_probed_features_agree_with_the_built_in_profiles(kernel):
    probed, built_in = features(btf(kernel), SYMBOLS), BUILT_IN_PROFILES[kernel].features
    assert probed.protocol_limit == built_in.protocol_limit == 263
    assert probed.wide_protocol == built_in.wide_protocol
    if "mptcp" in BUILT_IN_PROFILES[kernel].built_in:  # Debian's 5.10 is built without
        assert probed.mptcp_nested in (None, built_in.mptcp_nested)
    assert probed.alloc_errno in (None, built_in.alloc_errno)
    assert probed.alloc_errno6 == built_in.alloc_errno6


def test_features_that_are_symbols():
    bare = features(btf(), Symbols(["inet_create"]))
    assert [bare.request_module, bare.cgroup_hook, bare.cgroup_any_errno, bare.sk_prot_alloc] == [False] * 4
    assert (bare.inet_create, bare.inet6_create) == (True, False)
    assert features(btf(), Symbols(["inet6_create"])).inet_create is False
    full = features(btf(), SYMBOLS)
    assert full.request_module
    assert full.cgroup_hook
    assert full.cgroup_any_errno
    assert full.sk_prot_alloc
    assert features(btf(), Symbols(["sk_prot_alloc.isra.0"])).sk_prot_alloc  # traced under that name
    assert not features(btf(), Symbols(["sk_prot_alloc.part.0"])).sk_prot_alloc


def test_a_configuration_file_may_have_any_name(machine):
    folder = machine / "etc/modprobe.d"
    folder.mkdir(parents=True)
    (folder / os.fsdecode(b"\xff.conf")).write_text("install l2tp_ip6 /bin/false\n")
    profile = probed(machine)
    assert "/etc/modprobe.d/\\xff.conf:1" in profile.blocked["l2tp_ip6"]
    assert Profile.from_dict(profile.to_dict()).to_dict() == profile.to_dict(), "a recording of it can be read"
