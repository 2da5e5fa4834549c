"""--stack, from the drained record to the output; live tests have the kernel's part."""

import io
import json

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from inetprobe.base.errors import RecordingError, UsageError
from inetprobe.base.files import OutputFile
from inetprobe.cli.live import wanted_stacks
from inetprobe.cli.main import cli
from inetprobe.record.accounting import Accounting
from inetprobe.record.arrow import stack_columns
from inetprobe.record.arrow.columns import check, from_arrow, schema, to_arrow
from inetprobe.record.arrow.reader import RecordingReader
from inetprobe.record.arrow.writer import RecordingWriter
from inetprobe.record.batch import Batch
from inetprobe.record.filter import Filters
from inetprobe.record.stacks import MAX_STACKS, REDACTED, TOO_MANY, Side, Stack, Stacks, as_dict
from inetprobe.trace.call_trace import call_traces
from inetprobe.trace.output import Style, open_format
from inetprobe.trace.output.json_lines import to_dict
from inetprobe.trace.output.summary import summary_line
from inetprobe.trace.pump import pump
from tests.support import builders
from tests.support.paths import GOLDENS

KERNEL = Side(("__sock_create+0x107", "mptcp_subflow_create_socket+0x5d [mptcp]"))
USER = Side(("__socket+0x7 (libc.so.6)", "culprit+0x18 (a.out)", "\x1b[2J\u202e+0x1 (b\n)"), "truncated")
BOTH, GONE, USERS = Stack(KERNEL, USER), Stack(KERNEL, Side((), "exited")), Stack(None, USER._replace(lost=None))

NAMES = st.text(st.characters(codec="utf-8"), max_size=20)
SIDES = st.none() | st.builds(Side, st.lists(NAMES, max_size=5).map(tuple), st.none() | NAMES)
STACKS = st.none() | st.builds(Stack, SIDES, SIDES)


def run():
    made = builders.run()
    made.stack = True
    return made


def batch(in_run, *stacks):
    failure = builders.record([builders.call(builders.CREATE, 0, 0, 5000, -93)], protocol=200)
    return Batch(builders.with_stack(np.concatenate([failure] * len(stacks)), in_run.stacks, *stacks))


def shown(form, *stacks, **style):
    out, in_run = io.StringIO(), run()
    open_format(form, out, Style(**style)).batch(batch(in_run, *stacks), in_run)
    return out.getvalue()


def test_json_has_the_recorded_sides_and_the_losses():
    both, gone, users, none = (
        json.loads(line)["stack"] for line in shown("json", BOTH, GONE, USERS, None).splitlines()
    )
    assert both == {"kernel": list(KERNEL.frames), "user": list(USER.frames), "lost": {"user": "truncated"}}
    assert gone == {"kernel": list(KERNEL.frames), "user": [], "lost": {"user": "exited"}}
    assert users == {"user": list(USER.frames)}
    assert none is None
    assert "stack" not in to_dict(next(call_traces(Batch(builders.created()), builders.run())), builders.run())


def test_json_by_template_equals_json_dumps():
    in_run = run()
    traces = list(call_traces(batch(in_run, BOTH, None, GONE), in_run))
    assert [trace.stack for trace in traces] == [BOTH, None, GONE]
    assert shown("json", BOTH, None, GONE).splitlines() == [json.dumps(to_dict(trace, in_run)) for trace in traces]


def test_golden_tree(update_goldens, request):
    golden = GOLDENS / "tree-stack.txt"
    if update_goldens:
        golden.write_text(shown("tree", BOTH, GONE, Stack(Side(()), None), None))
    assert shown("tree", BOTH, GONE, Stack(Side(()), None), None) == golden.read_text()


def test_control_characters_in_names_are_escaped_on_the_terminal():
    text = shown("tree", BOTH)
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert r"\x1b[2J\u202e+0x1 (b\x0a)" in text


@given(st.lists(STACKS, max_size=6))
def test_columns_and_back(stacks):
    in_run, again = run(), run()
    records = batch(in_run, *stacks).records if stacks else np.zeros(0, batch(in_run, None).dtype)
    arrow = to_arrow(records, in_run)
    assert arrow.schema == schema(stack=True)
    check(arrow, arrow.nbytes + 4096, stack=True)
    read = from_arrow(arrow, again)
    assert [again.stacks.get(int(n)) for n in read.records["stack"].ravel()] == stacks
    assert read.column("stack").tolist() == read.records["stack"].ravel().tolist()
    for start in range(len(stacks)):
        part = from_arrow(arrow.slice(start, 2), again)
        assert [again.stacks.get(int(n)) for n in part.column("stack")] == stacks[start : start + 2]


def test_a_recording_replays_to_the_same_bytes(tmp_path):
    live, again = io.StringIO(), io.StringIO()
    books = Accounting(entries=3, complete=3, stacks_lost={"user:exited": 1})
    path, in_run = tmp_path / "r.arrows", run()
    sinks = [RecordingWriter(OutputFile.create(path), in_run), open_format("json", live, Style())]
    for sink in sinks:
        sink.batch(batch(in_run, BOTH, None, GONE), in_run)
        sink.summary(books)
    accounting = pump(RecordingReader(path), Filters(), [open_format("json", again, Style())])
    assert again.getvalue() == live.getvalue()
    assert "1 stacks without all frames (user:exited 1)" in summary_line(accounting)


def test_redacting_comm_redacts_user_functions(tmp_path):
    path, in_run = tmp_path / "r.arrows", run()
    sink = RecordingWriter(OutputFile.create(path), in_run, frozenset({"comm"}))
    sink.batch(batch(in_run, BOTH, None), in_run)
    sink.summary(Accounting(entries=2, complete=2))
    source = RecordingReader(path)
    (hidden, none) = [trace.stack for part in source.batches() for trace in call_traces(part, source.run)]
    assert hidden == Stack(KERNEL, Side((), REDACTED))
    assert none is None
    assert b"culprit" not in path.read_bytes()


def test_the_column_may_be_missing_only_where_no_stacks_were_recorded():
    old = to_arrow(builders.created(), builders.run())
    check(old, old.nbytes + 4096)
    with pytest.raises(RecordingError, match="no column stack"):
        check(old, old.nbytes + 4096, stack=True)


def column(frames, lost=None):
    side = pa.StructArray.from_arrays(
        [frames, pa.array([lost] * len(frames), pa.utf8())], fields=list(stack_columns._SIDE)
    )
    return pa.StructArray.from_arrays([side, side], fields=list(stack_columns.FIELD.type))


def frames_of(names, indices, ends):
    words = pa.DictionaryArray.from_arrays(pa.array(indices, pa.int32()), pa.array(names, pa.utf8()))
    return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), words)


@pytest.mark.parametrize(
    ("frames", "lost"),
    [
        (frames_of(["a"], [0] * 2000, [0, 2000]), None),
        (frames_of(["a"], [0, None], [0, 2]), None),
        (frames_of([None], [0], [0, 1]), None),
        (frames_of(["a" * 5000], [0], [0, 1]), None),
        (frames_of(["a"], [0], [0, 1]), "b" * 5000),
    ],
)
def test_impossible_stacks_are_refused(frames, lost):
    with pytest.raises(RecordingError):
        stack_columns.from_arrow(column(frames, lost), Stacks())


def test_equal_stacks_share_a_number_and_beyond_the_limit_all_do():
    stacks = Stacks()
    assert stacks.get(0) is None
    assert [stacks.number(BOTH), stacks.number(GONE), stacks.number(Stack(*BOTH))] == [1, 2, 1]
    for index in range(MAX_STACKS):
        number = stacks.number(Stack(None, Side((str(index),))))
    assert stacks.get(number) == Stack(None, Side((), TOO_MANY))
    assert stacks.number(Stack(None, Side(("more",)))) == number
    assert as_dict(stacks.get(1))["kernel"] == list(KERNEL.frames)


@pytest.mark.parametrize(
    ("words", "slow", "wanted"),
    [
        (("user",), None, (False, True, 10_000_000)),
        (("kernel", "user"), "0", (True, True, 0)),
        ((" user,kernel ",), "2ms", (True, True, 2_000_000)),
    ],
)
def test_stack_options(words, slow, wanted):
    stack = wanted_stacks(words, slow)
    assert (stack.kernel, stack.user, stack.slow_ns) == wanted
    assert wanted_stacks((), None) is None


@pytest.mark.parametrize(("words", "slow"), [(("users",), None), (("",), None), ((), "1ms"), (("user",), "soon")])
def test_bad_stack_options_are_usage_errors(words, slow):
    with pytest.raises(UsageError):
        wanted_stacks(words, slow)


def test_top_has_no_stack_option():
    assert "--stack" in CliRunner().invoke(cli, ["record", "--help"]).output
    result = CliRunner().invoke(cli, ["top", "--stack", "user"])
    assert result.exit_code == 2
    assert "No such option" in result.output
