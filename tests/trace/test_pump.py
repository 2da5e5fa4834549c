"""Every path of the model through the whole pipeline: records, a recording, its replay, and each text format."""

import io
import json

import pytest

from inetprobe.base.files import OutputFile
from inetprobe.model.profile import BUILT_IN_PROFILES
from inetprobe.record.arrow.reader import RecordingReader
from inetprobe.record.arrow.writer import RecordingWriter
from inetprobe.record.filter import Filters
from inetprobe.trace.output import Style, open_format
from inetprobe.trace.pump import pump
from tests.support.model_source import EVERY_PATH, ModelSource


def shown(source, *others):
    out = {form: io.StringIO() for form in ("json", "tree", "line")}
    accounting = pump(source, Filters(), [*(open_format(form, file, Style()) for form, file in out.items()), *others])
    assert not accounting.unaccounted()
    return {form: file.getvalue() for form, file in out.items()}


@pytest.mark.parametrize("kernel", BUILT_IN_PROFILES)
def test_a_replay_shows_what_the_model_made(kernel, tmp_path):
    path = tmp_path / "every.arrows"
    source = ModelSource(BUILT_IN_PROFILES[kernel], EVERY_PATH)
    made = shown(source, RecordingWriter(OutputFile.create(path), source.run))
    assert shown(RecordingReader(path)) == made
    *traces, summary = map(json.loads, made["json"].splitlines())
    assert summary["complete"] == len(traces) > 500
    assert {trace["verdict"] for trace in traces} == {"as_predicted"}
    assert all(trace["reason"] for trace in traces)
    assert len(made["line"].splitlines()) == len(traces) + 1
    assert made["tree"].count("inet_create()") + made["tree"].count("inet6_create()") >= len(traces)
