"""A reader of the log or of the notes that stops, is slow or is gone: serving and the end of it do not wait for it."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from inetprobe.commands.serve.line_writer import LineWriter
from tests.support.paths import ROOT
from tests.support.prometheus import free_port
from tests.support.web_server import curl


@contextlib.contextmanager
def pipe():
    """A pipe's end to write, as a text file, and its number to read from."""
    reader, writer = os.pipe()
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, reader)
        yield stack.enter_context(os.fdopen(writer, "w", encoding="utf-8")), reader


def gap(count):
    return f"{count} left out\n"


def lines_of(reader):
    parts = []
    while data := os.read(reader, 65536):
        parts.append(data)
    return b"".join(parts).decode().splitlines()


def soon(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_lines_are_written_at_once_until_it_is_started_and_soon_after():
    with pipe() as (file, reader):
        writer = LineWriter(file, gap)
        writer.write("one é\n")
        assert os.read(reader, 100) == "one é\n".encode()
        assert writer.close(0) == 0
        writer.start()
        writer.write("two\nthree\n")
        assert os.read(reader, 100) == b"two\nthree\n"
        writer.write("four\n")
        assert writer.close(10) == 0
        assert os.read(reader, 100) == b"four\n"


def test_a_stopped_reader_delays_nobody_and_its_lines_are_counted():
    with pipe() as (file, _):
        writer = LineWriter(file, gap, max_waiting=1 << 20)
        writer.start()
        began = time.monotonic()
        for number in range(30_000):
            writer.write(f"{number:0>99}\n")
        assert 30_000 - 65_536 // 100 <= writer.close(0.2) <= 30_000  # the pipe has the others
        assert time.monotonic() - began < 8


def test_a_slow_reader_finds_a_line_for_each_gap():
    with pipe() as (file, reader):
        writer = LineWriter(file, gap, max_waiting=1 << 20)
        writer.start()
        for number in range(30_000):
            writer.write(f"{number:0>99}\n")
        read = []
        collecting = threading.Thread(target=lambda: read.extend(lines_of(reader)))
        collecting.start()
        soon(lambda: not writer._waiting)
        writer.write("the last\n")
        left_out = writer.close(10)
        file.close()
        collecting.join(10)
    told = number = 0
    for line in read[:-1]:
        if line.endswith(" left out"):
            told += int(line.split()[0])
        else:
            assert int(line) == number + told
            number += 1
    assert (told, number, read[-1]) == (left_out, 30_000 - left_out, "the last")
    assert left_out > 0


def test_a_gap_at_the_end_is_told_too():
    with pipe() as (file, reader):
        writer = LineWriter(file, gap, max_waiting=8)
        writer.start()
        writer.write("longer than 8 bytes\n")
        assert writer.close(10) == 1
        assert os.read(reader, 100) == b"1 left out\n"


def test_a_reader_that_is_gone_is_an_error_of_a_later_line():
    with pipe() as (file, reader):
        gone, _ = os.pipe()
        os.dup2(gone, reader)  # closes what was there
        os.close(gone)
        writer = LineWriter(file, gap)
        with pytest.raises(BrokenPipeError):
            writer.write("a\n")
        writer.start()
        writer.write("b\n")
        with pytest.raises(BrokenPipeError, match="Broken pipe"):
            soon(lambda: writer.write("c\n"))
        assert writer.close(10) >= 1


@contextlib.contextmanager
def busy(*options, **streams):
    """A busy ``serve`` and its URL; ended with SIGKILL if it is still there."""
    port = free_port()
    argv = [sys.executable, "-m", "tests.support.busy_serve", f"--listen=127.0.0.1:{port}", *options]
    with subprocess.Popen(argv, cwd=ROOT, **streams) as process:
        try:
            url = f"http://127.0.0.1:{port}"
            soon_up = time.monotonic() + 60
            while curl(f"{url}/readyz").status != 200:
                assert process.poll() is None
                assert time.monotonic() < soon_up
                time.sleep(0.1)
            yield process, url
        finally:
            process.kill()


def total(url, name="inetprobe_records_total{"):
    samples = [line for line in curl(f"{url}/metrics").body.decode().splitlines() if line[:1] != "#"]
    return sum(float(line.split()[-1]) for line in samples if line.startswith(name))


@pytest.mark.parametrize("both", [False, True], ids=["stdout", "stdout and stderr"])
def test_sigterm_ends_serve_although_nobody_reads_what_it_says(both):
    errors = subprocess.STDOUT if both else subprocess.PIPE
    with busy("--log-failures", stdout=subprocess.PIPE, stderr=errors) as (process, url):
        before = total(url)
        soon(lambda: total(url) > before + 30_000)  # counted on, with far more lines than wait
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0  # it takes 2 s for each reader
        said = "" if both else process.stderr.read().decode()
    assert ("lines of the log could not be written: its reader was too slow or gone" in said) == (not both)
    assert "Fatal" not in said


def test_every_trace_is_in_the_log_or_in_its_gaps():
    with busy("--log-failures", "-q", stdout=subprocess.PIPE) as (process, url):
        soon(lambda: total(url) > 30_000)
        read = []
        reading = threading.Thread(target=lambda: read.extend(process.stdout))
        reading.start()
        soon(lambda: any(b"log_full" in line for line in list(read)))
        last, left_out = total(url), total(url, "inetprobe_log_lines_lost_total")
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        reading.join(10)
    lines = [json.loads(line) for line in read]
    kinds = [line["kind"] for line in lines]
    assert kinds[-1] == "summary"
    assert {line["reason"] for line in lines if line["kind"] == "lost"} == {"log_full"}
    lost = sum(line["count"] for line in lines if line["kind"] == "lost")
    assert 0 < left_out <= lost
    told = kinds.count("trace") + lost
    assert told >= last
    assert told % 1000 == 0  # whole batches


def test_a_reader_that_is_gone_does_not_end_serve():
    with busy("--log-failures", stdout=subprocess.PIPE, stderr=subprocess.PIPE) as (process, url):
        process.stdout.close()
        before = total(url)
        soon(lambda: total(url) > before + 3_000)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        said = process.stderr.read().decode()
    assert "the log of failures ends here, since it cannot be written: Broken pipe" in said
