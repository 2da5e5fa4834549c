"""Each format against its golden; `pytest --update-goldens` writes them anew."""

import io
import json
from pathlib import Path

import pytest

from inetprobe.record import Batch, Loss
from inetprobe.run import Accounting
from inetprobe.sinks import Style, open_format
from inetprobe.sinks.jsonl import to_dict
from inetprobe.sinks.summary import summary_line
from inetprobe.trace import call_traces

from . import builders

GOLDENS = Path(__file__).parent / "goldens"


def shown(form, **style):
    out = io.StringIO()
    sink = open_format(form, out, Style(**style))
    sink.batch(Batch(builders.every_kind(), (Loss("ring_full", 3),)), builders.run())
    sink.summary(Accounting(entries=15, complete=11, incomplete={"return_missed": 1}, lost={"ring_full": 3}))
    return out.getvalue()


@pytest.mark.parametrize("form", ["tree", "line", "json"])
@pytest.mark.parametrize("stable", [False, True])
def test_golden(form, stable, update_goldens):
    golden = GOLDENS / f"{form}{'-stable' if stable else ''}.txt"
    if update_goldens:
        golden.write_text(shown(form, stable=stable))
    assert shown(form, stable=stable) == golden.read_text()


def test_json_by_hand_is_json_by_the_library():
    lines = shown("json").splitlines()[1:-1]
    traces = call_traces(Batch(builders.every_kind()), builders.run())
    assert lines == [json.dumps(to_dict(trace, builders.run())) for trace in traces]


@pytest.mark.parametrize("form", ["tree", "line"])
def test_a_hostile_name_cannot_touch_the_terminal(form):
    assert "\x1b" not in shown(form)


def test_colour_is_only_where_asked():
    assert "\x1b[" in shown("tree", colour=True)


def test_stable_output_does_not_depend_on_when_or_where():
    assert "1700000000" not in shown("json", stable=True)
    assert '"pid"' not in shown("json", stable=True)


def test_the_summary_shouts_when_the_books_do_not_balance():
    assert "UNACCOUNTED" not in summary_line(Accounting(entries=2, complete=1, lost={"ring_full": 1}))
    assert "+1 UNACCOUNTED" in summary_line(Accounting(entries=2, complete=1))
