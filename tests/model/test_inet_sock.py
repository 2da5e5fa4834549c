"""--sock from the record to the output, and the model's prediction; reading the fields in the kernel is a live test."""

import io
import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inetprobe.base.errors import RecordingError
from inetprobe.base.files import OutputFile
from inetprobe.base.uapi import SOCK_DGRAM, SOCK_RAW, SOCK_SEQPACKET, SOCK_STREAM, TYPES
from inetprobe.commands.check.judged import Judged
from inetprobe.model.inet_sock import Sock, differences, entry_of, expected
from inetprobe.model.profile import BUILT_IN_PROFILES
from inetprobe.model.protocols import PROTS
from inetprobe.record.accounting import Accounting
from inetprobe.record.arrow.columns import check, from_arrow, schema, to_arrow
from inetprobe.record.arrow.reader import RecordingReader
from inetprobe.record.arrow.writer import RecordingWriter
from inetprobe.record.batch import Batch
from inetprobe.record.filter import Filters
from inetprobe.trace.call_trace import call_traces
from inetprobe.trace.output import Style, open_format
from inetprobe.trace.output.json_lines import to_dict
from inetprobe.trace.pump import pump
from inetprobe.trace.verdict import judge
from tests.support import builders

TCP = builders.TCP_SOCK
SOCKS = st.builds(Sock, *[st.none() | st.integers(-(1 << 31), (1 << 31) - 1)] * len(Sock._fields))


def run():
    made = builders.run()
    made.sock = True
    return made


def records(*socks):
    return builders.with_sock(np.concatenate([builders.created(prot=b"TCP") for _ in socks]), *socks)


def shown(form, *socks, **style):
    out = io.StringIO()
    open_format(form, out, Style(**style)).batch(Batch(records(*socks)), run())
    return out.getvalue()


def test_json_has_the_fields_in_order_and_null_without_a_sock():
    made, missing = map(json.loads, shown("json", TCP._replace(nodefrag=None), None).splitlines())
    assert list(made)[-1] == list(missing)[-1] == "sock"
    assert list(made["sock"]) == [name for name in Sock._fields if name != "nodefrag"]
    assert made["sock"]["uc_ttl"] == -1
    assert missing["sock"] is None
    assert "sock" not in to_dict(next(call_traces(Batch(builders.created()), builders.run())), builders.run())


@pytest.mark.parametrize("stable", [False, True])
def test_json_lines_are_those_of_the_json_module(stable):
    traces = list(call_traces(Batch(records(TCP, None)), run()))
    lines = [json.loads(line) for line in shown("json", TCP, None, stable=stable).splitlines()]
    expected = [to_dict(trace, run()) for trace in traces]
    assert [line["sock"] for line in lines] == [line["sock"] for line in expected] == [TCP._asdict(), None]
    if not stable:
        assert shown("json", TCP, None).splitlines() == [json.dumps(line) for line in expected]


def test_tree_has_a_line_of_fields_and_the_line_format_none():
    assert "\n  sock: sk_type=1 sk_protocol=6 sk_reuse=0 " in shown("tree", TCP)
    assert "sock:" not in shown("tree", None)
    assert "sk_type" not in shown("line", TCP)


@given(st.lists(st.none() | SOCKS, max_size=5))
def test_columns_roundtrip(socks):
    made = builders.with_sock(np.repeat(builders.created(), len(socks)), *socks)
    batch = to_arrow(made, run())
    assert batch.schema == schema(sock=True)
    check(batch, batch.nbytes + 4096, sock=True)
    assert from_arrow(batch, run()).records.tobytes() == made.tobytes()


def test_reader_without_the_column_reads_the_rest():
    batch = to_arrow(records(TCP, None), run())
    check(batch, batch.nbytes + 4096)
    assert np.array_equal(from_arrow(batch, builders.run()).records, np.repeat(builders.created(prot=b"TCP"), 2))


def test_recording_replays_to_the_same_bytes(tmp_path):
    live, replayed = io.StringIO(), io.StringIO()
    accounting = Accounting(entries=2, complete=2)
    path = tmp_path / "r.arrows"
    for sink in (RecordingWriter(OutputFile.create(path), run()), open_format("json", live, Style())):
        sink.batch(Batch(records(TCP, None)), run())
        sink.summary(accounting)
    pump(RecordingReader(path), Filters(), [open_format("json", replayed, Style())])
    assert replayed.getvalue() == live.getvalue()
    assert RecordingReader(path).run.sock


def test_empty_run_is_a_recording(tmp_path):
    sink = RecordingWriter(OutputFile.create(tmp_path / "r.arrows"), run())
    sink.summary(Accounting())
    assert sum(map(len, RecordingReader(tmp_path / "r.arrows").batches())) == 0


def test_recording_without_the_announced_column_is_damaged():
    batch = to_arrow(builders.created(), builders.run())
    with pytest.raises(RecordingError, match="no column sock"):
        check(batch, batch.nbytes + 4096, sock=True)


class Case(NamedTuple):
    """The sock of a struct proto, type and protocol: that of TCP but for ``changes``."""

    prot: str
    type: int
    protocol: int
    changes: Mapping[str, int | None] = MappingProxyType({})
    kernel: str = "6.1"


@pytest.mark.parametrize(
    "case",
    [
        Case("TCP", SOCK_STREAM, 6),
        Case("TCPv6", SOCK_STREAM, 6, {"mc_all": 0}),
        Case("UDP", SOCK_DGRAM, 17, {"is_icsk": 0}),
        Case("PING", SOCK_DGRAM, 1, {"is_icsk": 0, "sk_reuse": 1}),
        Case("RAW", SOCK_RAW, 1, {"is_icsk": 0, "sk_reuse": 1, "inet_num": 1, "inet_sport": 1}),
        Case("RAW", SOCK_RAW, 255, {"is_icsk": 0, "sk_reuse": 1, "inet_num": 255, "inet_sport": 255, "hdrincl": 1}),
        Case("RAWv6", SOCK_RAW, 58, {"is_icsk": 0, "sk_reuse": 1, "inet_num": 58, "inet_sport": 58, "mc_all": 0}),
        Case("SCTP", SOCK_STREAM, 132, {"is_icsk": 0}),
        Case("SCTP", SOCK_SEQPACKET, 132, {"is_icsk": 0}),
        Case("L2TP/IP", SOCK_DGRAM, 115, {"is_icsk": 0, "inet_num": 115}),
        Case("MPTCP", SOCK_STREAM, 262),
        Case("INET_SMC", SOCK_STREAM, 256, {"is_icsk": None}, kernel="6.12"),
        Case(  # sk_protocol has eight bits
            "RAW",
            SOCK_RAW,
            256 + 6,
            {"is_icsk": 0, "sk_reuse": 1, "inet_num": 262, "inet_sport": 262, "sk_protocol": 6},
            kernel="3.x",
        ),
    ],
    ids=lambda case: f"{case.prot} {TYPES[case.type]} {case.protocol} {case.kernel}",
)
def test_predicted_sock(case):
    sock = TCP._replace(**{"sk_type": case.type, "sk_protocol": case.protocol, **case.changes})
    assert expected(entry_of(case.prot, case.type), case.protocol, BUILT_IN_PROFILES[case.kernel]) == sock


def test_every_proto_has_a_prediction():
    for prot, entry in PROTS.items():
        assert expected(entry_of(prot, entry.type), entry.protocol, BUILT_IN_PROFILES["7.2"]).sk_type == entry.type


def test_deviation_names_the_fields():
    as_expected, other, unknown = call_traces(
        Batch(records(TCP, TCP._replace(uc_ttl=64, mc_loop=0), TCP._replace(mc_index=None))), run()
    )
    assert judge(as_expected, run().profile).verdict == "as_predicted"
    verdict = judge(other, run().profile)
    assert verdict.verdict == "deviation"
    assert verdict.why.reason == "sock.uc_ttl: expected -1, saw 64; sock.mc_loop: expected 1, saw 0"
    assert judge(unknown, run().profile).verdict == "as_predicted"


def test_path_mtu_discovery_may_differ_by_net_namespace():
    assert not differences(TCP._replace(pmtudisc=0), TCP)
    assert differences(TCP._replace(pmtudisc=3), TCP) == [("pmtudisc", 1, 3)]


def test_check_judges_traces_that_differ_only_in_their_sock():
    judged = Judged()
    judged.batch(Batch(records(TCP, TCP._replace(uc_ttl=64), TCP)), run())
    assert judged.verdicts == {"as_predicted": 2, "deviation": 1}
