"""The filters that the kernel decides. Records are filtered again, so a live test cannot show that one is missing."""

import pytest

from inetprobe.base.errors import UsageError
from inetprobe.kernel.host.cgroups import Cgroups
from inetprobe.kernel.program.kernel_filter import cgroup_folders, constants
from inetprobe.record.filter import build


def compiled(values=None, *, follow=False, **flags):
    return constants(build(values or {}, **flags), follow=follow)


def test_no_filters_are_no_constants():
    assert compiled() == {}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"pid": ["7,9"]}, {"KEEP_WHO": "({ s64 v = WHO_PID; (v == 7LL || v == 9LL); })"}),
        ({"uid": ["!0"]}, {"KEEP_WHO": "({ s64 v = WHO_UID; !(v == 0LL); })"}),
        (
            {"protocol": ["!99"]},
            {
                "KEEP_WHAT": "(t->flags & RECORD_BARE ? 1 : ({ s64 v = t->protocol, d = v || !(t->family == AF_INET || "
                "t->family == AF_INET6) ? v : t->type == 1 ? 6 : t->type == 2 ? 17 : t->type == 5 ? 132 : "
                "t->type == 6 ? 33 : v; !(v == 99LL || d == 99LL); }))"
            },
        ),
        (
            {"type": ["!raw"]},
            {"KEEP_WHAT": "(t->flags & RECORD_BARE ? 1 : ({ s64 v = t->type; !(v == 3LL); }))"},
        ),
        ({"family": ["all"]}, {}),
        ({"family": ["unix"]}, {"KEEP_WHAT": "({ s64 v = t->family; (v == 1LL); })"}),
        ({"comm": ["sh"]}, {"KEEP_WHO": "(WHO_COMM(0x6873ULL, 0x0ULL))"}),
        ({"comm": ["py*"]}, {}),
        ({"cgroup": ["/b,!/a,/c*"]}, {"KEEP_WHO": "!(WHO_CGROUP(0))"}),
        ({"cgroup": ["/b,!/a"]}, {"KEEP_WHO": "(WHO_CGROUP(1)) && !(WHO_CGROUP(0))"}),
    ],
)
def test_each_filter_becomes_its_expression(values, expected):
    assert compiled(values) == expected


def test_different_filters_must_all_hold():
    assert compiled({"uid": ["0"], "pid": ["7"]}, follow=True)["KEEP_WHO"].count(" && ") == 2
    assert set(compiled({"type": ["raw"]}, failed=True)) == {"KEEP_WHAT"}


def test_an_unseen_outcome_passes():
    for flags in ({"failed": True}, {"min_duration": "1ms"}):
        assert compiled(**flags)["KEEP_WHAT"].startswith("(!(outermost->flags & CALL_RETURNED) || ")


def test_the_folders_are_in_the_order_of_the_expression_s_indices(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
    filters = build({"cgroup": ["/b,!/a,/c*"]})
    assert cgroup_folders(filters, Cgroups(tmp_path)) == (tmp_path / "a", tmp_path / "b")
    assert cgroup_folders(build({}), Cgroups(None)) == ()


def test_a_missing_cgroup_is_one_sentence():
    with pytest.raises(UsageError, match="no cgroup '/nonesuch' below None: give a path"):
        cgroup_folders(build({"cgroup": ["/nonesuch"]}), Cgroups(None))


def test_the_net_namespace_is_read_at_a_system_call_s_entry_only_where_a_filter_asks_for_it():
    assert compiled({"netns": ["7"]})["KEEP_NETNS"] == "1"
    assert "KEEP_NETNS" not in compiled({"uid": ["7"]})
