"""Sockets that a seccomp filter refused: the trace, its JSON, filters, and the recording."""

import json

import numpy as np
import pytest

from inetprobe.base.files import OutputFile
from inetprobe.base.uapi import SIGKILL, SIGSYS
from inetprobe.record import filter as filters
from inetprobe.record.accounting import Accounting
from inetprobe.record.arrow.reader import RecordingReader
from inetprobe.record.arrow.writer import RecordingWriter
from inetprobe.record.batch import Batch
from inetprobe.record.measures import create_indices, creations, errnos
from inetprobe.trace.call_trace import call_traces, request
from inetprobe.trace.output.json_lines import to_dict
from inetprobe.trace.verdict import judge
from tests.support import builders

RECORDS = np.concatenate(
    [
        builders.refused_by_seccomp(1),
        builders.refused_by_seccomp(SIGSYS, family=10),
        builders.refused_by_seccomp(97, pair=True, family=1, kind=1),
    ]
)
RUN = builders.with_seccomp()


def test_the_call_and_its_errno_are_those_of_the_program():
    traces = list(call_traces(Batch(RECORDS), RUN))
    assert [request(trace) for trace in traces] == [
        "socket(AF_PACKET, SOCK_RAW, 0)",
        "socket(AF_INET6, SOCK_RAW, IPPROTO_IP)",
        "socketpair(AF_UNIX, SOCK_STREAM, 0)",
    ]
    assert [(trace.errno, trace.outcome) for trace in traces] == [
        ("EPERM", "failed"), ("SIGSYS", "failed"), ("EAFNOSUPPORT", "failed"),
    ]  # fmt: skip
    assert {judge(trace, RUN.profile).stage for trace in traces} == {"seccomp"}
    assert [to_dict(trace, RUN)["syscall"] for trace in traces] == ["socket", "socket", "socketpair"]
    assert traces[0].calls[0].function == "__secure_computing"


def test_it_has_no_create_and_an_errno_of_its_own():
    assert create_indices(RECORDS).tolist() == [-1] * 3
    assert not len(creations(RECORDS))
    assert errnos(RECORDS).tolist() == [1, SIGSYS, 97]
    assert errnos(builders.refused_by_seccomp(SIGKILL)).tolist() == [SIGKILL]


@pytest.mark.parametrize(("errno", "kept"), [("SIGSYS", [1]), ("EPERM", [0]), ("!EPERM", [1, 2])])
def test_it_is_found_by_its_errno(errno, kept):
    mask = filters.build({"errno": (errno,)}).mask(RECORDS, RUN)
    assert np.flatnonzero(mask).tolist() == kept


def test_it_is_read_as_it_was_written(tmp_path):
    sink = RecordingWriter(OutputFile.create(tmp_path / "r.arrows"), RUN)
    sink.batch(Batch(RECORDS), RUN)
    sink.summary(Accounting(entries=3, complete=3))
    source = RecordingReader(tmp_path / "r.arrows")
    (batch, *_) = source.batches()
    assert np.array_equal(batch.records, RECORDS)
    lines = [[json.dumps(to_dict(trace, run)) for trace in call_traces(b, run)]
             for b, run in ((batch, source.run), (Batch(RECORDS), RUN))]  # fmt: skip
    assert lines[0] == lines[1]
