"""--sock from the record to what is shown, and the model of it; how the kernel's side reads is a live test."""

import io
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inetprobe.base.errors import RecordingError
from inetprobe.base.files import OutputFile
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


def test_json_has_the_fields_in_their_order_and_null_where_no_sock_was_made():
    some, none = map(json.loads, shown("json", TCP._replace(nodefrag=None), None).splitlines())
    assert list(some)[-1] == list(none)[-1] == "sock"
    assert list(some["sock"]) == [name for name in Sock._fields if name != "nodefrag"]
    assert some["sock"]["uc_ttl"] == -1
    assert none["sock"] is None
    assert "sock" not in to_dict(next(call_traces(Batch(builders.created()), builders.run())), builders.run())


@pytest.mark.parametrize("stable", [False, True])
def test_json_by_hand_is_json_by_the_library(stable):
    traces = list(call_traces(Batch(records(TCP, None)), run()))
    lines = [json.loads(line) for line in shown("json", TCP, None, stable=stable).splitlines()]
    wanted = [to_dict(trace, run()) for trace in traces]
    assert [line["sock"] for line in lines] == [one["sock"] for one in wanted] == [TCP._asdict(), None]
    if not stable:
        assert shown("json", TCP, None).splitlines() == [json.dumps(one) for one in wanted]


def test_the_tree_has_a_line_of_it_and_the_line_format_nothing():
    assert "\n  sock: sk_type=1 sk_protocol=6 sk_reuse=0 " in shown("tree", TCP)
    assert "sock:" not in shown("tree", None)
    assert "sk_type" not in shown("line", TCP)


@given(st.lists(st.none() | SOCKS, max_size=5))
def test_columns_and_back(socks):
    made = builders.with_sock(np.repeat(builders.created(), len(socks)), *socks)
    batch = to_arrow(made, run())
    assert batch.schema == schema(sock=True)
    check(batch, batch.nbytes + 4096, sock=True)
    assert from_arrow(batch, run()).records.tobytes() == made.tobytes()


def test_a_reader_that_does_not_know_the_column_reads_the_rest():
    batch = to_arrow(records(TCP, None), run())
    check(batch, batch.nbytes + 4096)
    assert np.array_equal(from_arrow(batch, builders.run()).records, np.repeat(builders.created(prot=b"TCP"), 2))


def test_a_recording_replays_to_the_same_bytes(tmp_path):
    live, again = io.StringIO(), io.StringIO()
    books = Accounting(entries=2, complete=2)
    path = tmp_path / "r.arrows"
    for sink in (RecordingWriter(OutputFile.create(path), run()), open_format("json", live, Style())):
        sink.batch(Batch(records(TCP, None)), run())
        sink.summary(books)
    pump(RecordingReader(path), Filters(), [open_format("json", again, Style())])
    assert again.getvalue() == live.getvalue()
    assert RecordingReader(path).run.sock


def test_an_empty_run_with_it_is_a_recording_too(tmp_path):
    sink = RecordingWriter(OutputFile.create(tmp_path / "r.arrows"), run())
    sink.summary(Accounting())
    assert sum(map(len, RecordingReader(tmp_path / "r.arrows").batches())) == 0


def test_a_recording_that_promises_the_column_and_lacks_it_is_damaged():
    batch = to_arrow(builders.created(), builders.run())
    with pytest.raises(RecordingError, match="no column sock"):
        check(batch, batch.nbytes + 4096, sock=True)


@pytest.mark.parametrize(
    ("kernel", "prot", "kind", "protocol", "changed"),
    [
        ("6.1", "TCP", 1, 6, {}),
        ("6.1", "TCPv6", 1, 6, {"mc_all": 0}),
        ("6.1", "UDP", 2, 17, {"is_icsk": 0}),
        ("6.1", "PING", 2, 1, {"is_icsk": 0, "sk_reuse": 1}),
        ("6.1", "RAW", 3, 1, {"is_icsk": 0, "sk_reuse": 1, "inet_num": 1, "inet_sport": 1}),
        ("6.1", "RAW", 3, 255, {"is_icsk": 0, "sk_reuse": 1, "inet_num": 255, "inet_sport": 255, "hdrincl": 1}),
        ("6.1", "RAWv6", 3, 58, {"is_icsk": 0, "sk_reuse": 1, "inet_num": 58, "inet_sport": 58, "mc_all": 0}),
        ("6.1", "SCTP", 1, 132, {"is_icsk": 0}),
        ("6.1", "SCTP", 5, 132, {"is_icsk": 0}),
        ("6.1", "L2TP/IP", 2, 115, {"is_icsk": 0, "inet_num": 115}),
        ("6.1", "MPTCP", 1, 262, {}),
        ("6.12", "INET_SMC", 1, 256, {"is_icsk": None}),
        ("3.x", "RAW", 3, 256 + 6, {"is_icsk": 0, "sk_reuse": 1, "inet_num": 262, "inet_sport": 262, "sk_protocol": 6}),
    ],
)
def test_what_the_model_expects(kernel, prot, kind, protocol, changed):
    wanted = TCP._replace(**({"sk_type": kind, "sk_protocol": protocol} | changed))
    assert expected(entry_of(prot, kind), protocol, BUILT_IN_PROFILES[kernel]) == wanted


def test_every_proto_the_model_knows_has_an_expectation():
    for prot, entry in PROTS.items():
        assert expected(entry_of(prot, entry.type), entry.protocol, BUILT_IN_PROFILES["7.2"]).sk_type == entry.type


def test_a_difference_is_a_deviation_that_names_the_field():
    as_expected, other, unknown = call_traces(
        Batch(records(TCP, TCP._replace(uc_ttl=64, mc_loop=0), TCP._replace(mc_index=None))), run()
    )
    assert judge(as_expected, run().profile).verdict == "ok"
    verdict = judge(other, run().profile)
    assert verdict.verdict == "deviation"
    assert verdict.reason == "sock.uc_ttl: expected -1, saw 64; sock.mc_loop: expected 1, saw 0"
    assert judge(unknown, run().profile).verdict == "ok"


def test_another_net_namespace_may_discover_path_mtus_otherwise():
    assert not differences(TCP._replace(pmtudisc=0), TCP)
    (found,) = differences(TCP._replace(pmtudisc=3), TCP)
    assert found == ("pmtudisc", 1, 3)


def test_check_does_not_take_two_socks_for_one():
    """Traces that differ in their sock alone have verdicts of their own."""
    judged = Judged()
    judged.batch(Batch(records(TCP, TCP._replace(uc_ttl=64), TCP)), run())
    assert judged.verdicts == {"ok": 2, "deviation": 1}
