"""The commands as processes: exit statuses, streams, bad input."""

import json
import os
import subprocess
import sys

import pytest

from inetprobe.base.files import OutputFile
from inetprobe.record.accounting import Accounting
from inetprobe.record.arrow.writer import RecordingWriter
from inetprobe.record.batch import Batch
from tests.support import builders, run_command


def run(*argv, **options):
    return subprocess.run(
        [sys.executable, "-m", "inetprobe", *map(str, argv)], capture_output=True, text=True, check=False, **options
    )


@pytest.fixture(name="recording")
def recorded(tmp_path):
    path = tmp_path / "r.arrows"
    sink = RecordingWriter(OutputFile.create(path), builders.run())
    sink.batch(Batch(builders.every_kind()), builders.run())
    sink.summary(Accounting(entries=12, complete=11, incomplete={"return_missed": 1}))
    return path


def test_version():
    assert run("-V").stdout.startswith("inetprobe, version ")


def test_data_to_stdout_and_the_summary_to_stderr(recording):
    done = run("replay", recording, "--format", "json")
    assert done.returncode == 0
    kinds = [json.loads(line)["kind"] for line in done.stdout.splitlines()]
    assert kinds == ["trace"] * 12 + ["summary"]
    assert done.stderr == (
        "inetprobe: 12 calls, 3 failed (ENOMEM 1, EPERM 1, EPROTONOSUPPORT 1), 11 complete, "
        "1 incomplete (return_missed 1), 0 lost\n"
    )


def test_filters_and_count_and_output_agree(recording, tmp_path):
    kept = tmp_path / "failed.arrows"
    first = run_command.run("replay", recording, "-x", "--count", "2", "--format", "json", "-o", kept)
    again = run_command.run("replay", kept, "--format", "json")
    assert first.stdout == again.stdout
    assert [json.loads(line).get("errno") for line in again.stdout.splitlines()[:-1]] == ["EPERM", "EPROTONOSUPPORT"]


@pytest.mark.parametrize(
    ("argv", "status", "says"),
    [
        (["replay", "/no/such/file"], 4, "/no/such/file cannot be read: No such file or directory\n"),
        (["replay", "/dev/null"], 4, "is empty"),
        (["replay", __file__], 4, "does not begin as an Arrow stream does: give a file that inetprobe record wrote"),
        (["replay", __file__, "--family", "inett"], 2, "unknown family"),
        (["replay"], 2, "Missing argument"),
        (["nonesuch"], 2, "No such command"),
        (["tracee"], 2, "inetprobe: No such command 'tracee': did you mean trace? (see inetprobe --help)\n"),
        (["trace", "--", "no-such-program-here"], 127, "not found"),
        (["trace", "--", "/etc/passwd"], 126, "cannot be run"),
        (["trace", "--user", "nobody"], 2, "--user goes with a COMMAND"),
        (["trace", "--ring-size", "5000"], 2, "not a power of two"),
        (["record"], 2, "Missing option"),
        (["top"], 2, "use top --once"),
        (["top", "--once", "--interval", "1ms"], 2, "too short"),
        (["top", "--once", "--replay", "/no/such/file"], 4, "cannot be read"),
        (["top", "--once", "--replay", "x", "--", "true"], 2, "no COMMAND"),
        (["record", "-o", "/tmp/x", "--redact", "everything"], 2, "--redact"),
        (["export", "x", "--to", "parquet"], 2, "needs an output: give -o"),
        (["query", "x"], 2, "--questions lists the ready questions"),
    ],
)
def test_bad_input_is_one_sentence_and_its_status(argv, status, says):
    # A run that would start COMMAND gets a process of its own.
    done = run(*argv) if "--" in argv else run_command.run(*argv)
    assert done.returncode == status, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_closed_streams_are_like_dev_null(recording, tmp_path):
    copy = tmp_path / "copy.arrows"
    line = f"exec {sys.executable} -m inetprobe replay {recording} -o {copy} <&- >&- 2>&-"
    assert subprocess.run(["sh", "-c", line], check=False).returncode == 0
    assert run("replay", str(copy), "--format", "json").stdout == run("replay", recording, "--format", "json").stdout
    done = run("top", "--replay", recording, preexec_fn=lambda: os.close(0))
    assert done.returncode == 2
    assert "stdin is not one" in done.stderr


def test_a_closed_pipe_ends_the_command_quietly(recording):
    line = f"{sys.executable} -m inetprobe replay {recording} --format json | head -n 1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", line], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    assert len(done.stdout.splitlines()) == 1


def test_a_copy_of_a_damaged_recording_is_incomplete(recording, tmp_path):
    cut, copy = tmp_path / "cut.arrows", tmp_path / "copy.arrows"
    cut.write_bytes(recording.read_bytes()[:-600])
    done = run_command.run("replay", cut, "--format", "json", "-o", copy)
    assert done.returncode == 4
    assert run_command.run("replay", copy).returncode == 4


def test_ctrl_c_while_the_command_line_is_loaded():
    program = """
import sys
class Interrupted:
    def find_spec(self, name, *_):
        if name == "inetprobe.cli.main":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupted())
from inetprobe.__main__ import main
main()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "")


def test_replay_imports_no_bcc(recording):
    program = "import sys; from inetprobe.cli.main import cli; cli.main(['replay', sys.argv[1]], standalone_mode=False)"
    done = subprocess.run([sys.executable, "-c", program + "; assert 'bcc' not in sys.modules", recording], check=False)
    assert done.returncode == 0


@pytest.mark.parametrize("argv", [["explain", "--type", "raw", "--profile", "6.1"], ["trace", "--help"]])
def test_what_reads_no_profile_imports_no_msgspec(argv):
    program = f"import sys; from inetprobe.cli.main import cli; cli.main({argv}, standalone_mode=False)"
    done = subprocess.run([sys.executable, "-c", program + "; assert 'msgspec' not in sys.modules"], check=False)
    assert done.returncode == 0


def test_no_color_switches_colour_off(recording):
    assert "\x1b" not in run_command.run("replay", recording).stdout
    assert "\x1b[" in run_command.run("replay", recording, "--color", "always").stdout
