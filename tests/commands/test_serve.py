"""The command: a recording's page, bad input, and the service with its signals."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from inetprobe.base.errors import HostError, InetprobeError, RecordingError, UsageError
from inetprobe.cli.main import cli
from inetprobe.commands.serve import command
from inetprobe.commands.serve.stream import VerdictStream
from inetprobe.commands.serve.web import Server
from inetprobe.kernel.maps.cells import Counting
from inetprobe.kernel.trace_options import TraceOptions
from inetprobe.record.accounting import Accounting
from inetprobe.record.filter import Filters
from tests.support import builders, recorded, run_command
from tests.support.live_source import Live

WEB = command.WebOptions("127.0.0.1:0", None, "/metrics")


def run(*argv):
    return run_command.run("serve", *argv)


def total(page, name):
    return sum(
        sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name == name
    )


@pytest.fixture(name="recording")
def every_kind(tmp_path):
    return recorded.every_kind(tmp_path / "r.arrows")


def test_once_prints_the_page_and_ends(recording):
    done = run("--replay", recording, "--once", "--buckets", "1us,1s")
    assert done.returncode == 0
    assert done.stderr == (
        "inetprobe: 12 calls, 3 failed (ENOMEM 1, EPERM 1, EPROTONOSUPPORT 1), 11 complete, "
        "1 incomplete (return_missed 1), 0 lost\n"
    )
    assert total(done.stdout, "inetprobe_socket_creations_total") == 9
    assert total(done.stdout, "inetprobe_records_total") == 5
    bounds = {line.split('le="')[1].split('"')[0] for line in done.stdout.splitlines() if "_bucket{" in line}
    assert bounds == {"1e-06", "1.0", "+Inf"}


def test_filtered_creations_are_counted_as_filtered(recording):
    done = run("--replay", recording, "--once", "-q", "--type", "raw,dgram", "--slow", "0ns")
    assert (done.returncode, done.stderr) == (0, "")
    assert total(done.stdout, "inetprobe_socket_creations_total") == 2
    assert total(done.stdout, "inetprobe_socket_creations_filtered_total") == 10
    assert total(done.stdout, "inetprobe_socket_creation_entries_total") == 12
    assert total(done.stdout, "inetprobe_records_total") == 2


@pytest.mark.parametrize(
    ("options", "status", "says"),
    [
        (["--replay", "/no/such/file", "--once"], 4, "cannot be read"),
        (["--replay", "/dev/null", "--once"], 4, "is empty"),
        (["--replay", __file__, "--max-rate", "5"], 2, "--max-rate is for counting live and --replay reads"),
        (["--replay", __file__, "--ring-size", "4194304"], 2, "--ring-size is for counting live"),
        (["--replay", __file__, "--seccomp"], 2, "--seccomp is for counting live"),
        (["--replay", __file__, "--once", "--log-failures"], 2, "give one of them"),
        (["--ring-size", "5000"], 2, "not a power of two"),
        (["--buckets", "5us,1us"], 2, "--buckets: '1us' does not exceed"),
        (["--slow", "soon"], 2, "'soon' is not a duration"),
        (["--max-rate", "0"], 2, "--max-rate"),
        (["--family", "inett"], 2, "unknown family"),
    ],
)
def test_bad_input_is_one_sentence_and_its_status(options, status, says):
    done = run(*options)
    assert (done.returncode, done.stdout) == (status, "")
    assert says in done.stderr
    assert "Traceback" not in done.stderr


OPTIONS = TraceOptions(counting=Counting())


def replayed(path, filters=None):
    options = TraceOptions(filters=filters or Filters(), counting=Counting())
    stream = VerdictStream(options.counting.bounds_ns, None, pytest.fail)
    command._Service(options, stream, lambda line: None).replay(path, None)


def malformed():
    records = builders.created()
    records["calls"]["depth"][0, 1] = 7
    return records


@pytest.mark.parametrize(
    ("records", "accounting", "says"),
    [
        (builders.created(), Accounting(entries=4, complete=1, lost={"ring_full": 3}), r"is lossy \(ring_full 3\)"),
        (
            builders.created(),
            Accounting(entries=1, complete=1, program_skipped={"inet_create:entry": 5}),
            r"is lossy \(probe skipped 5\)",
        ),
        (
            builders.created(),
            Accounting(entries=2, complete=2),
            "is damaged: it has 1 socket, and its accounting says 2",
        ),
        (
            builders.created(),
            Accounting(entries=9, complete=1),
            r"is damaged: its accounting does not add up, by \+8",
        ),
        (malformed(), None, r"is lossy \(malformed 1\)"),
        (builders.created()[:0], None, "is empty: no socket was recorded"),
    ],
    ids=["lossy", "skipped", "too few", "unbalanced", "malformed", "empty"],
)
def test_a_damaged_or_lossy_recording_is_refused(tmp_path, records, accounting, says):
    with pytest.raises(RecordingError, match=says):
        replayed(recorded.write(tmp_path / "r.arrows", records, accounting))


def test_a_recording_that_is_cut_short_is_refused(recording):
    recording.write_bytes(recording.read_bytes()[:-600])
    with pytest.raises(RecordingError, match="is cut short after"):
        replayed(recording)


class Web:
    """A stand-in for the web server, which calls each of ``steps`` after its start."""

    url = "http://192.0.2.1:9"
    files = ()

    def __init__(self, *steps):
        self.steps = steps
        self.calls = []

    def open(self, web, page, ready, tell, failed):
        self.ready_before = ready()
        self.page, self.ready = page, ready
        return self

    def start(self):
        self.calls.append("start")
        for step in self.steps:
            step(self)

    def reload(self):
        self.calls.append("reload")
        os.kill(os.getpid(), signal.SIGTERM)

    def stop(self):
        self.calls.append("stop")


def signalled(number):
    return lambda web: os.kill(os.getpid(), number)


def scrape(web):
    web.shown = web.page("").body.decode()


def service(monkeypatch, web, source=None):
    said = []
    monkeypatch.setattr(command, "open_web", web.open)
    monkeypatch.setattr(command, "open_live", lambda *_: source)
    return command._Service(
        TraceOptions(counting=Counting()), VerdictStream((1000,), None, said.append), said.append
    ), said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_replay_is_served_until_a_signal(recording, monkeypatch, number):
    web = Web(scrape, signalled(number))
    before = signal.getsignal(number)
    served, said = service(monkeypatch, web)
    served.replay(recording, WEB)
    assert web.calls == ["start", "stop"]
    assert (web.ready_before, web.ready()) == (False, True)
    assert total(web.shown, "inetprobe_socket_creations_total") == 9
    assert (said[-1], len(said)) == (f"serving {web.url}{WEB.telemetry_path}", 2)
    assert signal.getsignal(number) is before


def test_sighup_reloads_the_web_configuration(recording, monkeypatch):
    web = Web(signalled(signal.SIGHUP))
    service(monkeypatch, web)[0].replay(recording, WEB)
    assert web.calls == ["start", "reload", "stop"]


def test_live_counts_are_the_kernels_and_verdicts_the_streams(monkeypatch):
    source = Live(np.tile(builders.created(prot=b"TCP"), 3))
    web = Web(lambda _: source.streamed.wait(20), scrape, signalled(signal.SIGTERM))
    served, said = service(monkeypatch, web, source)
    served.live(WEB)
    assert total(web.shown, "inetprobe_socket_creations_total") == 9
    assert total(web.shown, "inetprobe_records_total") == 3
    assert (web.calls, source.closed) == (["start", "stop"], 1)
    counting, summary = "counting: Ctrl-C or SIGTERM ends it", "3 calls, 0 failed, 3 complete, 0 incomplete, 0 lost"
    assert sorted(said[:2]) == [counting, f"serving {web.url}{WEB.telemetry_path}"]
    assert said[2:] == [summary]


def test_an_error_in_the_stream_ends_the_service(monkeypatch):
    source = Live(builders.created(), HostError("the ring is gone"))
    web = Web()
    with pytest.raises(HostError, match="the ring is gone"):
        service(monkeypatch, web, source)[0].live(WEB)
    assert (web.calls, source.closed) == (["start", "stop"], 1)


def test_a_server_that_does_not_start_leaves_nothing_attached(monkeypatch):
    def fails(web):
        raise UsageError("no")

    source, web = Live(builders.created()), Web(fails)
    with pytest.raises(UsageError):
        service(monkeypatch, web, source)[0].live(WEB)
    assert (web.calls, source.closed) == (["start", "stop"], 1)


def test_a_bad_address_is_refused_before_anything_is_read_or_attached(monkeypatch):
    def refuse(*_):
        raise UsageError("the address is in use")

    served, _ = service(monkeypatch, Web(), None)
    monkeypatch.setattr(command, "open_web", refuse)
    monkeypatch.setattr(command, "open_live", pytest.fail)
    with pytest.raises(UsageError):
        served.live(WEB)
    with pytest.raises(UsageError):
        served.replay("/no/such/file", WEB)


def test_a_web_server_that_fails_ends_the_service_and_says_why(monkeypatch):
    async def broken(_server):
        raise ValueError("no such client")

    source, said = Live(builders.created()), []
    monkeypatch.setattr(command, "open_live", lambda *_: source)
    monkeypatch.setattr(Server, "_accept", broken)
    served = command._Service(OPTIONS, VerdictStream((1000,), None, print), said.append)
    began = time.monotonic()
    with pytest.raises(InetprobeError, match=r"the web server failed \(ValueError: no such client\)"):
        served.live(WEB)
    assert time.monotonic() - began < 10, "the end of the stream ended it, not the failure"
    assert source.closed == 1
    assert said[-1].startswith("1 call, 0 failed, 1 complete")


def test_a_signal_while_attaching_exits_with_130(monkeypatch):
    source = Live(builders.created())
    source.stop()
    web = Web()
    served, _ = service(monkeypatch, web, source)

    def slow(*_):
        os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGTERM)
        return source

    monkeypatch.setattr(command, "open_live", slow)
    with pytest.raises(SystemExit) as stopped:
        served.live(WEB)
    assert (stopped.value.code, web.calls, source.closed) == (130, [], 1)


def test_a_signal_between_two_steps_of_attaching_prevents_the_next_step(monkeypatch):
    web = Web()
    served, _ = service(monkeypatch, web)

    def steps(options, tell, go_on, files):
        os.kill(os.getpid(), signal.SIGHUP)
        go_on()
        os.kill(os.getpid(), signal.SIGINT)
        go_on()
        pytest.fail("it went on")

    monkeypatch.setattr(command, "open_live", steps)
    with pytest.raises(SystemExit) as stopped:
        served.live(WEB)
    assert (stopped.value.code, web.calls) == (130, [])


def test_reattaching_the_probes_does_not_consume_the_signal_to_stop(monkeypatch):
    source = Live(builders.created())
    web = Web(lambda _: source.streamed.wait(20), signalled(signal.SIGTERM), lambda _: again())
    served, _ = service(monkeypatch, web, source)
    again = served._exit_if_stopped
    served.live(WEB)
    assert web.calls == ["start", "stop"]


def test_the_log_has_a_json_line_for_each_trace_that_needs_explaining(recording, monkeypatch, capfd):
    web = Web(signalled(signal.SIGTERM))
    monkeypatch.setattr(command, "open_web", web.open)
    cli.main(["serve", "--replay", str(recording), "--log-failures", "-q"], standalone_mode=False)
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [line["kind"] for line in lines] == ["trace"] * 5 + ["summary"]
    assert {line.get("errno") for line in lines[:-1]} == {None, "EPERM", "EPROTONOSUPPORT", "ENOMEM"}


def test_systemd_is_notified_of_each_state(recording, tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(30)
        service = subprocess.Popen(
            [sys.executable, "-m", "inetprobe", "serve", "-q", "--replay", recording, "--listen", "127.0.0.1:0"],
            env={**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify")},
        )
        assert systemd.recv(4096) == b"READY=1"
        service.send_signal(signal.SIGHUP)
        assert systemd.recv(4096).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
        assert systemd.recv(4096) == b"READY=1"
        service.send_signal(signal.SIGTERM)
        assert systemd.recv(4096) == b"STOPPING=1"
        assert service.wait(30) == 0
