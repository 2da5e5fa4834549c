"""Each format against its golden; `pytest --update-goldens` writes them again."""

import io
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inetprobe.record.accounting import Accounting
from inetprobe.record.batch import Batch, Loss
from inetprobe.record.layout import CALL_VOID
from inetprobe.trace.call_trace import call_traces
from inetprobe.trace.output import Style, open_format
from inetprobe.trace.output.json_lines import to_dict
from inetprobe.trace.output.json_template import STEP
from inetprobe.trace.output.summary import summary_line
from tests.support import builders
from tests.support.paths import GOLDENS


def shown(form, kinds=None, **style):
    out = io.StringIO()
    sink = open_format(form, out, Style(**style))
    sink.batch(Batch(builders.every_kind() if kinds is None else kinds, (Loss("ring_full", 3),)), builders.run())
    sink.summary(Accounting(entries=15, complete=11, incomplete={"return_missed": 1}, lost={"ring_full": 3}))
    return out.getvalue()


@pytest.mark.parametrize("form", ["tree", "line", "json"])
@pytest.mark.parametrize("stable", [False, True])
def test_golden(form, stable, update_goldens):
    golden = GOLDENS / f"{form}{'-stable' if stable else ''}.txt"
    if update_goldens:
        golden.write_text(shown(form, stable=stable))
    assert shown(form, stable=stable) == golden.read_text()


@pytest.mark.parametrize("form", ["tree", "line", "json"])
def test_golden_of_system_calls(form, update_goldens):
    golden = GOLDENS / f"syscalls-{form}.txt"
    if update_goldens:
        golden.write_text(shown(form, builders.every_syscall()))
    assert shown(form, builders.every_syscall()) == golden.read_text()


@pytest.mark.parametrize("kinds", [builders.every_kind(), builders.every_syscall()], ids=["kinds", "syscalls"])
def test_templates_give_the_json_of_the_library(kinds):
    lines = shown("json", kinds).splitlines()[1:-1]
    traces = call_traces(Batch(kinds), builders.run())
    assert lines == [json.dumps(to_dict(trace, builders.run())) for trace in traces]


def unlike(draw, records):
    """The records, with any values in the members that differ between records of one shape."""
    made = records.copy()
    for record in made:
        for name in ("start_ns", "seq", "cgroup_id", "pid", "tid", "ppid", "uid", "netns", "cpu"):
            most = 3 if name == "cgroup_id" else (1 << 8 * record[name].itemsize) - 1
            record[name] = draw(st.integers(0, most) | st.sampled_from([0, most]))
        record["descriptor"] = draw(st.integers(0, 2**31 - 1)) if record["descriptor"] else 0
        record["comm"] = draw(st.binary(max_size=16))
        record["calls"]["start_ns"] = draw(st.integers(0, 2**64 - 1))
        record["calls"]["duration_ns"] = [draw(st.integers(0, 2**62)) for _ in record["calls"]]
        record["calls"]["start_ns"] = 0  # so that they lie within each other
        record["calls"]["duration_ns"] = np.sort(record["calls"]["duration_ns"])[::-1]
    return made


@given(st.data())
@pytest.mark.parametrize("stable", [False, True])
def test_each_line_equals_json_dumps_of_its_trace(stable, data):
    run = builders.run()
    run.clock_offset_ns = data.draw(st.integers(-(2**63), 2**63))
    run.cgroups = {1: "/", 2: '/a\\"%s%%\u2028', 3: None}
    kinds = np.concatenate([builders.every_kind(), builders.every_syscall()])
    run.sock = data.draw(st.booleans())
    out = io.StringIO()
    sink = open_format("json", out, Style(stable=stable))
    wanted = []
    for _ in range(data.draw(st.integers(1, 3))):
        places = data.draw(st.lists(st.integers(0, len(kinds) - 1), max_size=8))
        records = unlike(data.draw, kinds[np.array(places, int)])
        if run.sock:
            socks = [
                data.draw(st.sampled_from([None, builders.TCP_SOCK, builders.TCP_SOCK._replace(mc_ttl=None)]))
                for _ in places
            ]
            records = builders.with_sock(records, *socks)
        sink.batch(Batch(records), run)
        wanted += [to_dict(trace, run) for trace in call_traces(Batch(records), run)]
    if stable:
        wanted = [without_the_unstable(fields) for fields in wanted]
    assert out.getvalue() == "".join(json.dumps(fields) + "\n" for fields in wanted)


def without_the_unstable(fields):
    unstable = {"id", "time", "mono_ns", "pid", "tid", "ppid", "cgroup", "netns", "cpu", "duration_ns", "start_ns"}
    kept = {key: value for key, value in fields.items() if key not in unstable}
    return {**kept, "calls": [{k: v for k, v in call.items() if k not in unstable} for call in fields["calls"]]}


def test_more_shapes_than_templates():
    records = np.tile(builders.every_kind()[4:5], 5000)
    records["protocol"] = np.arange(5000) // 2
    records["seq"] = np.arange(5000)
    out = io.StringIO()
    sink = open_format("json", out, Style())
    sink.batch(Batch(records), builders.run())
    traces = call_traces(Batch(records), builders.run())
    assert out.getvalue().splitlines() == [json.dumps(to_dict(trace, builders.run())) for trace in traces]
    assert len(sink._lines._templates) <= 2 * STEP


@pytest.mark.parametrize(("returned", "said"), [(True, "116µs"), (False, "?  return not seen")])
def test_a_void_function_has_returned(returned, said):
    calls = [
        builders.call(builders.CREATE, 0, 0, 200_000),
        builders.call(8, 1, 500, 116_000 * returned, returned=returned),
    ]
    calls[1] = (*calls[1][:5], calls[1][5] | CALL_VOID * returned, *calls[1][6:])
    run = builders.run()
    run.functions[8] = "sock_init_data"
    out = io.StringIO()
    open_format("tree", out, Style()).batch(Batch(builders.record(calls)), run)
    assert next(line for line in out.getvalue().splitlines() if "sock_init_data()" in line).endswith(f" {said}")


def test_a_name_that_looks_like_a_mark_is_a_name():
    records = np.tile(builders.created(prot=b"TCP"), 2)
    records["prot"] = [b'"\\u0000pid"', b"%d %(pid)s \x01"]
    out = io.StringIO()
    open_format("json", out, Style()).batch(Batch(records), builders.run())
    said = [json.loads(line)["prot"] for line in out.getvalue().splitlines()]
    assert said == ['"\\\\u0000pid"', "%d %(pid)s \x01"]


@pytest.mark.parametrize("form", ["tree", "line"])
def test_a_hostile_name_cannot_touch_the_terminal(form):
    assert "\x1b" not in shown(form)


def test_colour_only_on_request():
    assert "\x1b[" in shown("tree", colour=True)


def test_stable_output_does_not_depend_on_when_or_where():
    assert "1700000000" not in shown("json", stable=True)
    assert '"pid"' not in shown("json", stable=True)


def test_the_summary_says_what_does_not_add_up():
    assert "UNACCOUNTED" not in summary_line(Accounting(entries=2, complete=1, lost={"ring_full": 1}))
    assert "+1 calls UNACCOUNTED" in summary_line(Accounting(entries=2, complete=1))
    calls = {"returned": 9, "ok": 3, "before": 2, "in_create": 1, "after": 2, "not_told": 1}
    assert "UNACCOUNTED" not in summary_line(Accounting(calls=calls))
    told = summary_line(Accounting(calls=calls), calls=True)
    assert told.endswith(", system calls: returned 9, ok 3, before 2, in_create 1, after 2, not_told 1")
    assert summary_line(Accounting(), calls=True).endswith(", system calls: 0")
    short = summary_line(Accounting(calls=calls | {"after": 0}))
    assert short.endswith("+2 system calls UNACCOUNTED FOR")
    assert "UNACCOUNTED" not in summary_line(Accounting(entries=2, in_flight=2, calls=calls | {"after": 0}))
    assert "-1 system calls UNACCOUNTED" in summary_line(Accounting(entries=2, in_flight=2, calls=calls | {"ok": 4}))
    made = {"creates": 7, "created_ok": 2, "in_create": 3, "after": 1, "creates_not_told": 1}
    assert "UNACCOUNTED" not in summary_line(Accounting(calls=made))
    assert summary_line(Accounting(calls=made | {"after": 0})).endswith("+1 creates UNACCOUNTED FOR")
    assert summary_line(Accounting(calls=made | {"created_ok": 3})).endswith("-1 creates UNACCOUNTED FOR")


def test_the_summary_counts_failures_by_errno():
    line = summary_line(Accounting(entries=5, complete=5, failed={"EMFILE": 2, "EACCES": 1}))
    assert line == "5 calls, 3 failed (EACCES 1, EMFILE 2), 5 complete, 0 incomplete, 0 lost"
