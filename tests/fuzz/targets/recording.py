"""Recordings, replayed as ``inetprobe replay`` does, into every sink."""

import io
import json

from inetprobe.base.errors import InetprobeError, RecordingError
from inetprobe.base.files import OutputFile
from inetprobe.base.text import printable
from inetprobe.record.arrow.reader import RecordingReader
from inetprobe.record.arrow.writer import RecordingWriter
from inetprobe.record.filter import build
from inetprobe.trace.output import Style, open_format
from inetprobe.trace.output.summary import summary_line
from inetprobe.trace.pump import pump
from tests.fuzz import checks
from tests.fuzz.mutate import mutate as mutant

mutate = mutant
EVERY_SOCKET = build({})
EVERY_FILTER = build(
    {
        "pid": ["!7"],
        "uid": ["!7"],
        "netns": ["!7"],
        "comm": ["!a*", "!b"],
        "cgroup": ["/*/x", "/"],
        "family": ["all"],
        "type": ["!dgram"],
        "protocol": ["!udp"],
        "errno": ["!EPERM"],
    },
    failed=True,
    module_requests=True,
    min_duration="1ns",
)


class Terminal(io.TextIOBase):
    """Accepts only text that cannot move the cursor, change colours or reorder text."""

    def write(self, text):
        checks.is_shown(text)
        return len(text)


def run(data):
    """Replays ``data``. Raises every error but InetprobeError, and AssertionError where an output is wrong."""
    with checks.in_memory(data) as recording, checks.in_memory() as copy:
        for filters, limit in ((EVERY_FILTER, 5), (EVERY_SOCKET, None)):
            try:
                lines = _replay(recording, copy, filters, limit)
            except InetprobeError as error:
                checks.is_sentence(str(error))
                continue
            _, again = _read(copy, EVERY_SOCKET, None, [])
            assert _traces(again) == _traces(lines), "a copy of the recording shows other traces"


def _replay(recording, copy, filters, limit):
    terminal = Terminal()
    sinks = [open_format(name, terminal, Style()) for name in ("tree", "line")]
    sinks.append(open_format("json", io.StringIO(), Style(stable=True)))
    source, lines = _read(recording, filters, limit, sinks, copy)
    assert printable(summary_line(source.accounting())).isprintable()
    return lines


def _read(path, filters, limit, sinks, copy=None):
    source = RecordingReader(path)
    out = io.StringIO()
    sinks = [*sinks, open_format("json", out, Style())]
    if copy is not None:
        sinks.insert(0, RecordingWriter(OutputFile.create(copy), source.run))
    try:
        pump(source, filters, sinks, limit)
    except RecordingError:
        # As the command does: what came before the damage is shown with its summary.
        accounting = source.accounting()
        sinks[-1].summary(accounting)
        summary_line(accounting)
        if copy is not None:
            sinks[0].cut_short()
        _parse(out.getvalue())
        raise
    return source, _parse(out.getvalue())


def _parse(text):
    return [json.loads(line, parse_constant=_not_json) for line in text.splitlines()]


def _not_json(word):
    raise AssertionError(f"{word} is not JSON")


def _traces(lines):
    return [line for line in lines if line["kind"] == "trace"]
