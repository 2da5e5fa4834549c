import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inetprobe.model.features import Features
from inetprobe.model.profile import BUILT_IN_PROFILES, Profile, tables, with_needs
from inetprobe.model.protocols import BUILT_IN, PROTS, UNITS


@pytest.mark.parametrize("kernel", BUILT_IN_PROFILES)
def test_a_profile_survives_json(kernel):
    profile = BUILT_IN_PROFILES[kernel]
    again = Profile.from_dict(json.loads(json.dumps(profile.to_dict())))
    assert again.to_dict() == profile.to_dict()
    assert again.features == profile.features


def test_what_a_newer_version_wrote_is_read_as_far_as_it_is_known():
    data = BUILT_IN_PROFILES["6.1"].to_dict()
    data["colour"] = "blue"
    data["features"] = {**data["features"], "teleports": True}
    data["loadable"] = [*data["loadable"], "homa"]
    data["blocked"] = {**data["blocked"], "homa": "unknown"}
    data["remedies"] = {"homa": "wait"}
    again = Profile.from_dict(data)
    assert again.to_dict() == BUILT_IN_PROFILES["6.1"].to_dict()


def test_what_an_older_version_left_out_is_not_known():
    data = BUILT_IN_PROFILES["6.1"].to_dict()
    for key in ("mptcp_enabled", "ping_group_range", "ip_no_pmtu_disc", "modprobe"):
        del data[key]
    del data["remedies"]
    del data["features"]["mptcp_nested"]
    again = Profile.from_dict(data)
    assert (again.mptcp_enabled, again.ping_group_range, again.ip_no_pmtu_disc, again.modprobe) == (None,) * 4
    assert again.remedies == {}
    assert again.features.mptcp_nested is Features().mptcp_nested


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from([*BUILT_IN_PROFILES["6.1"].to_dict(), *BUILT_IN_PROFILES["6.1"].to_dict()["features"]]), JSON)
def test_any_other_value_is_refused_or_makes_a_profile_that_can_be_written(key, value):
    data = json.loads(json.dumps(BUILT_IN_PROFILES["6.1"].to_dict()))
    (data["features"] if key in data["features"] else data)[key] = value
    try:
        profile = Profile.from_dict(data)
    except (ValueError, TypeError, KeyError, AttributeError, IndexError):
        return
    assert Profile.from_dict(json.loads(json.dumps(profile.to_dict()))).to_dict() == profile.to_dict()


def test_what_a_module_needs_comes_before_it_and_once():
    assert with_needs(("dccp_ipv6", "sctp", "dccp_ipv4")) == ("dccp_ipv4", "dccp_ipv6", "sctp")


def test_tables_have_every_entry_of_what_registered():
    both = tables(tuple(UNITS))
    found = {entry.prot for table in both.values() for type_ in range(11) for entry in table.entries(type_)}
    assert found == set(PROTS)
    assert [entry.prot for entry in tables(BUILT_IN)[2].entries(2)] == ["UDP", "UDP-Lite", "PING"]
    assert [entry.prot for entry in tables((*BUILT_IN, "sctp", "smc"))[2].entries(1)] == [
        "TCP", "INET_SMC", "SCTP", "MPTCP",
    ]  # fmt: skip


def test_what_each_kernel_has():
    has = {
        name: {*profile.built_in, *profile.loadable, *profile.blocked} for name, profile in BUILT_IN_PROFILES.items()
    }
    assert "mptcp" not in has["3.x"] | has["5.10"]
    assert all("mptcp" in has[name] for name in ("6.1", "6.12", "7.2"))
    assert [name for name in has if "smc" in has[name]] == ["6.12"]
    assert "udplite" not in has["7.2"]
    assert "dccp_ipv4" not in has["7.2"]
    assert all("dccp_ipv4" in BUILT_IN_PROFILES[name].blocked for name in ("5.10", "6.1", "6.12"))
    assert "dccp_ipv4" in BUILT_IN_PROFILES["3.x"].loadable
