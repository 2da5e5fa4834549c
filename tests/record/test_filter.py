from pathlib import Path

import pytest

from inetprobe.base.errors import UsageError
from inetprobe.record.filter import build, parse_duration
from tests.support import builders


def kept(values=None, **flags):
    """The sequence numbers, 1 to 12, of the kinds that pass."""
    records = builders.every_kind()
    return records["seq"][build(values or {}, **flags).mask(records, builders.run())].tolist()


def test_no_filter_keeps_everything():
    assert kept() == list(range(1, 13))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"protocol": ["sctp,IPPROTO_MPTCP"]}, [4, 6]),
        ({"protocol": ["sctp", "200"]}, [4, 5]),
        ({"family": ["inet6"]}, [7]),
        ({"family": ["PF_INET"], "type": ["raw,dgram"]}, [2, 3]),
        ({"type": ["!stream"]}, [2, 3, 11, 12]),  # theirs is not known, so it is not that
        ({"family": ["unix"]}, [11]),
        ({"family": ["all,!unix"], "comm": ["python3"], "type": ["!stream"]}, [2, 3, 12]),
        ({"family": ["inet"], "type": ["!stream"]}, [2, 3, 12]),
        ({"uid": ["!0"]}, [3]),
        ({"uid": ["root"], "type": ["dgram"]}, [2]),
        ({"errno": ["EPERM"]}, [3, 9]),  # the ninth's result was not seen
        ({"errno": ["!EPERM"]}, [1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 12]),
        ({"comm": ["python3"], "type": ["raw"]}, [3]),
        ({"comm": ["!py*"]}, [10]),
        ({"pid": ["100"], "netns": ["net:[4026531840]"], "type": ["raw"]}, [3]),
        ({"pid": ["99"]}, []),
        ({"cgroup": ["/"], "type": ["raw"]}, [3]),
        ({"cgroup": ["/user.slice"]}, []),
    ],
)
def test_values_are_alternatives_and_filters_all_hold(values, expected):
    assert kept(values) == expected


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ((2, 1, 0), {"tcp", "0"}),
        ((10, 1, 6), {"tcp"}),
        ((10, 2, 0), {"udp", "0"}),
        ((2, 5, 0), {"sctp", "0"}),
        ((2, 6, 0), {"dccp", "0"}),
        ((2, 3, 0), {"0"}),
        ((2, -1, 0), {"0"}),
        ((2, 1, 132), {"sctp"}),
        ((1, 1, 0), {"0"}),
    ],
)
def test_a_protocol_is_also_what_protocol_0_stands_for(request_, words):
    record = builders.every_kind()[:1].copy()
    for name, value in zip(("family", "type", "protocol"), request_, strict=True):
        record[name] = value
    passes = {
        word: [bool(build({"protocol": [f"{mark}{word}"]}).mask(record, builders.run())[0]) for mark in ("", "!")]
        for word in ("tcp", "udp", "sctp", "dccp", "0")
    }
    assert passes == {word: [word in words, word not in words] for word in passes}


def test_filters_on_the_outcome_pass_unseen_outcomes():
    assert kept(failed=True) == [3, 5, 8, 9]
    assert kept(module_requests=True) == [4, 5, 9]
    assert kept(min_duration="1ms") == [4, 5, 9]


def test_a_cgroup_holds_what_is_below_it():
    records = builders.every_kind()
    run = builders.run()
    run.cgroups[1] = "/user.slice/user-0.slice"
    for path, keeps in {"/user.slice": 12, "user.slice/": 12, "/user": 0, "/user*": 12, "/": 12}.items():
        assert build({"cgroup": [path]}).mask(records, run).sum() == keeps


def test_a_long_name_is_cut_as_the_kernel_cuts_it():
    (name,) = build({"comm": ["chromium-browser"]}).terms["comm"].include
    assert name == "chromium-browse"


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("family", "inett"),
        ("type", "strem"), ("protocol", "tpc"), ("errno", "EPREM"), ("pid", "²"), ("pid", ""),
        ("pid", "99999999999999999999"), ("uid", "nobody-here"), ("netns", "/no/such"), ("comm", "!"),
        ("netns", "net:[99999999999]"), ("netns", "a\0b"), ("uid", "a\0b"), ("family", "x" * 5000), ("uid", "x" * 5000),
        ("netns", "x" * 5000),
    ],
)  # fmt: skip
def test_a_bad_value_is_one_sentence(name, word):
    with pytest.raises(UsageError) as caught:
        build({name: [word]})
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_a_misspelt_name_gets_a_suggestion():
    with pytest.raises(UsageError, match="IPPROTO_SCTP"):
        build({"protocol": ["sctpp"]})


def test_durations():
    words = {
        "5ms": 5_000_000,
        "10us": 10_000,
        "1.5s": 1_500_000_000,
        "250ns": 250,
        "2": 2_000_000_000,
        "1m": 60 * 10**9,
    }
    assert {word: parse_duration(word) for word in words} == words
    with pytest.raises(UsageError):
        parse_duration("soon")


def test_describe_gives_every_filter():
    filters = build({"uid": ["!0"], "protocol": ["sctp"]}, failed=True, min_duration="5ms")
    assert filters.describe() == ("protocol=132", "uid=!0", "failed", "min-duration=5000000ns")


def test_a_user_name_is_this_machine_s():
    assert build({"uid": ["root"]}).terms["uid"].include == {0}
    assert Path("/proc/self/ns/net").stat().st_ino in build({"netns": ["/proc/self/ns/net"]}).terms["netns"].include


def test_other_families_are_traced_only_on_request():
    for words, beyond in {"inet": False, "!inet": False, "inet6,unix": True, "all": True, "netlink": True}.items():
        assert build({"family": [words]}).beyond_inet == beyond
    assert not build({}).beyond_inet


@pytest.mark.parametrize(
    "option",
    [
        "--pid={}", "--uid={}", "--netns={}", "--type={}", "--protocol={}", "--family={}", "--errno={}",
        "--min-duration={}s", "--min-duration=1{}.5ms",
    ],
)  # fmt: skip
@pytest.mark.parametrize("digits", [20, 400, 5000])
def test_a_number_of_any_length_is_refused_in_one_sentence(option, digits, monkeypatch, capsys):
    from inetprobe.cli.main import main

    argv = ["inetprobe", "replay", "none.arrows", option.format("9" * digits)]
    monkeypatch.setattr("sys.argv", argv)
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("name", ["comm", "cgroup"])
@pytest.mark.parametrize("word", ["\udcff\\\\x", "\udcff*"])
def test_a_byte_that_is_not_utf_8_is_meant_as_records_have_it(name, word):
    """As Python gives a byte of the command line."""
    assert build({name: [word]}).describe() == (f"{name}={word}".replace("\udcff", "\\xff"),)


def test_a_name_of_any_bytes_is_found():
    records = builders.every_kind()
    records["comm"][2] = b"\xff\xfe"
    assert build({"comm": ["\udcff\udcfe"]}).mask(records, builders.run()).nonzero()[0].tolist() == [2]
    run = builders.run()
    records["cgroup_id"][3] = 99
    run.cgroups = {99: "/a\\xff/b"}  # as kernel/host/cgroups.py has it
    assert build({"cgroup": ["/a\udcff"]}).mask(records, run).nonzero()[0].tolist() == [3]
