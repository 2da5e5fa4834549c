import json
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inetprobe.base.uapi import AF_INET, AF_INET6, AF_NETLINK, AF_PACKET, AF_UNIX, AF_XDP, SOCK_DGRAM, SOCK_STREAM
from inetprobe.model.features import Features
from inetprobe.model.profile import BUILT_IN_PROFILES, FamilyModule, Profile, tables, with_needs
from inetprobe.model.protocols import BUILT_IN, PROTS, UNITS
from inetprobe.model.question import SocketQuestion
from inetprobe.model.sys_socket import SOCK_MAX


@pytest.mark.parametrize("kernel", BUILT_IN_PROFILES)
def test_profile_survives_json(kernel):
    profile = BUILT_IN_PROFILES[kernel]
    again = Profile.from_dict(json.loads(json.dumps(profile.to_dict())))
    assert again.to_dict() == profile.to_dict()
    assert again.features == profile.features


def test_families_survive_json():
    families = {
        "net-pf-39": FamilyModule("nfc", "a line stands in the way", "remove it"),
        "net-pf-0": FamilyModule("x"),
    }
    profile = replace(BUILT_IN_PROFILES["6.1"], families=families, modules_disabled=True)
    again = Profile.from_dict(json.loads(json.dumps(profile.to_dict())))
    assert again.families == families
    assert again.modules_disabled is True


@pytest.mark.parametrize("registered", [(), (1, 2, 45), None])
def test_registered_families_survive_json(registered):
    profile = replace(BUILT_IN_PROFILES["6.1"], registered=registered)
    assert Profile.from_dict(json.loads(json.dumps(profile.to_dict()))).registered == registered


@pytest.mark.parametrize("active", [(), ("apparmor", "bpf"), None])
def test_security_modules_survive_json(active):
    profile = replace(BUILT_IN_PROFILES["6.1"], security_modules=active)
    assert Profile.from_dict(json.loads(json.dumps(profile.to_dict()))).security_modules == active


@pytest.mark.parametrize("active", [1, [1], ["\ud800"], [None]])
def test_what_is_no_list_of_names_is_refused(active):
    with pytest.raises((TypeError, ValueError)):
        Profile.from_dict({**BUILT_IN_PROFILES["6.1"].to_dict(), "security_modules": active})


@pytest.mark.parametrize("registered", ["unix", 1, {"1": 2}, [True], ["1"], [-1], [1 << 32]])
def test_what_is_no_list_of_families_is_refused(registered):
    with pytest.raises((TypeError, ValueError)):
        Profile.from_dict({**BUILT_IN_PROFILES["6.1"].to_dict(), "registered": registered})


@pytest.mark.parametrize(
    ("key", "value", "path"),
    [
        ("nproto", "46", "$.features.nproto"),
        ("aliases", [], "$.aliases"),
        ("security_modules", ["apparmor", 1], "$.security_modules[1]"),
        ("ping_group_range", [1], "$.ping_group_range"),
    ],
)
def test_what_is_no_profile_is_refused_with_the_path_of_the_key(key, value, path):
    data = BUILT_IN_PROFILES["6.1"].to_dict()
    (data["features"] if key in data["features"] else data)[key] = value
    with pytest.raises(ValueError, match=f"at `{re.escape(path)}`$"):
        Profile.from_dict(data)


def test_keys_and_units_of_a_newer_version_are_ignored():
    data = BUILT_IN_PROFILES["6.1"].to_dict()
    data["colour"] = "blue"
    data["features"] = {**data["features"], "teleports": True}
    data["loadable"] = [*data["loadable"], "homa"]
    data["blocked"] = {**data["blocked"], "homa": "unknown"}
    data["remedies"] = {"homa": "wait"}
    data["registered"] = [*data["registered"], 99, 1]
    data["families"] = {"net-pf-99": "homa", "net-pf-39": {"module": "nfc", "colour": "blue"}}
    again = Profile.from_dict(data)
    known = replace(BUILT_IN_PROFILES["6.1"], families={"net-pf-39": FamilyModule("nfc")})
    assert again.to_dict() == known.to_dict()


def test_keys_that_an_older_version_lacks_are_not_known():
    data = BUILT_IN_PROFILES["6.1"].to_dict()
    for key in ("ipv6_disabled", "mptcp_enabled", "ping_group_range", "ip_no_pmtu_disc", "modprobe"):
        del data[key]
    del data["remedies"], data["families"], data["registered"], data["modules_disabled"]
    del data["features"]["nproto"], data["features"]["mptcp_nested"], data["features"]["sk_prot_alloc"]
    again = Profile.from_dict(data)
    assert (again.mptcp_enabled, again.ping_group_range, again.ip_no_pmtu_disc, again.modprobe) == (None,) * 4
    assert (again.ipv6_disabled, again.families, again.modules_disabled) == (None,) * 3
    assert (again.registered, again.features.nproto) == (None, None)
    assert again.remedies == {}
    assert again.features.mptcp_nested is Features().mptcp_nested
    assert again.features.sk_prot_alloc


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from([*BUILT_IN_PROFILES["6.1"].to_dict(), *BUILT_IN_PROFILES["6.1"].to_dict()["features"]]), JSON)
def test_any_value_is_refused_or_makes_a_profile_that_survives_json(key, value):
    data = json.loads(json.dumps(BUILT_IN_PROFILES["6.1"].to_dict()))
    (data["features"] if key in data["features"] else data)[key] = value
    try:
        profile = Profile.from_dict(data)
    except (ValueError, TypeError, KeyError, IndexError):
        return
    assert Profile.from_dict(json.loads(json.dumps(profile.to_dict()))).to_dict() == profile.to_dict()


def test_dependencies_come_first_without_duplicates():
    assert with_needs(("dccp_ipv6", "sctp", "dccp_ipv4")) == ("dccp_ipv4", "dccp_ipv6", "sctp")


def test_tables_have_every_entry():
    both = tables(tuple(UNITS))
    registered = {
        entry.prot for inetsw in both.values() for type_ in range(SOCK_MAX) for entry in inetsw.entries(type_)
    }
    assert registered == set(PROTS)


@pytest.mark.parametrize(
    ("units", "type_", "prots"),
    [
        (BUILT_IN, SOCK_DGRAM, ["UDP", "UDP-Lite", "PING"]),
        ((*BUILT_IN, "sctp", "smc"), SOCK_STREAM, ["TCP", "INET_SMC", "SCTP", "MPTCP"]),
    ],
)
def test_order_of_the_entries(units, type_, prots):
    assert [entry.prot for entry in tables(units)[AF_INET].entries(type_)] == prots


@pytest.mark.parametrize(
    ("unit", "kernels"),
    [
        ("tcp", ["3.x", "5.10", "6.1", "6.12", "7.2"]),
        ("mptcp", ["6.1", "6.12", "7.2"]),
        ("smc", ["6.12"]),
        ("udplite", ["3.x", "5.10", "6.1", "6.12"]),
        ("dccp_ipv4", ["3.x", "5.10", "6.1", "6.12"]),
    ],
)
def test_kernels_that_have_a_unit(unit, kernels):
    assert kernels == [
        kernel
        for kernel, profile in BUILT_IN_PROFILES.items()
        if unit in (*profile.built_in, *profile.loadable, *profile.blocked)
    ]


def test_families_that_debian_has_built_in():
    xdp = {kernel for kernel, profile in BUILT_IN_PROFILES.items() if AF_XDP in profile.registered}
    assert xdp == {"5.10", "6.1", "6.12", "7.2"}
    assert all(
        {AF_UNIX, AF_INET, AF_INET6, AF_NETLINK, AF_PACKET} == {*profile.registered} - {AF_XDP}
        for profile in BUILT_IN_PROFILES.values()
    )
    assert {kernel: profile.features.nproto for kernel, profile in BUILT_IN_PROFILES.items()} == {
        "3.x": 41, "5.10": 45, "6.1": 46, "6.12": 46, "7.2": 46,
    }  # fmt: skip


def test_dccp_is_blocked_in_debian():
    assert "dccp_ipv4" in BUILT_IN_PROFILES["3.x"].loadable
    assert all("dccp_ipv4" in BUILT_IN_PROFILES[kernel].blocked for kernel in ("5.10", "6.1", "6.12"))


@pytest.mark.parametrize(("nproto", "errno"), [(45, "EAFNOSUPPORT"), (99, "EAFNOSUPPORT")])
def test_more_families_than_the_model_knows(nproto, errno):
    data = BUILT_IN_PROFILES["6.1"].to_dict()
    data["features"] = {**data["features"], "nproto": nproto}
    profile = Profile.from_dict(data)
    assert profile.features.nproto == min(nproto, 46)
    assert SocketQuestion(profile, 46, 1, 0).answer().errno == errno
