"""One boot of the VM, as the host sees it: the guest is a small process that speaks the real protocol."""

import json
import os
import signal
import sys
import time

import pytest

from inetprobe.base.errors import VmError
from inetprobe.vm.guest import protocol
from inetprobe.vm.qemu import MONITOR
from inetprobe.vm.session import MOST_TASKS, TASK_BYTES, BootError, Session
from inetprobe.vm.streams import CHUNK, Console

GUEST = """
import json, os, sys, time
control, stdin, stdout, stderr, compiler, monitor = map(int, sys.argv[1:])
def until_quit():
    os.read(monitor, 100)
    os._exit(0)
def message():
    raw = b""
    while not raw.endswith(b"\\n"):
        raw += os.read(control, 1)
    return json.loads(raw)
def tell(**message):
    os.write(control, json.dumps(message).encode() + b"\\n")
print("the kernel says hello", flush=True)
"""
BOOTS = GUEST + "job = message()\ntell(booted='6.1')\n"


def session(guest, console=None, compile_=bytes, on_booted=lambda release: None, argv=("cmd",), **limits):
    def command(ports):
        return [sys.executable, "-c", guest, *(str(ports[name]) for name in (*protocol.PORTS, MONITOR))]

    job = protocol.Job(argv=list(argv), folder="/", environment={}, terminals=[], window=(24, 80))
    limits = {"boot_timeout_s": 20.0, **limits}
    return Session(command, job, console or Console(None), compile_, on_booted=on_booted, **limits)


def test_output_that_comes_after_the_exit_status_is_waited_for(capfd):
    late = "tell(exit=7, stdout=5, stderr=3)\ntime.sleep(0.2)\nos.write(stdout, b'hello')\nos.write(stderr, b'err')\n"
    assert session(BOOTS + late + "until_quit()").run() == 7
    assert capfd.readouterr() == ("hello", "err")


def test_a_task_of_the_guest_is_answered_while_its_output_goes_on(capfd):
    asks = """
os.write(compiler, b"fir"), os.write(stdout, b"asked"), time.sleep(0.1), os.write(compiler, b"st\\n")
answer = b""
while not answer.endswith(b"\\n"):
    answer += os.read(compiler, 100)
os.write(stdout, answer)
tell(exit=0, stdout=5 + len(answer), stderr=0)
"""
    assert session(BOOTS + asks + "until_quit()", compile_=bytes.upper).run() == 0
    assert capfd.readouterr().out == "askedFIRST\n"


def test_a_guest_that_floods_the_compiler_gets_few_answers(capfd):
    floods = """
import select
os.write(compiler, b"a" * (1 << 21) + b"\\n" + b"task\\n" * 20)
answers = b""
while select.select([compiler], [], [], 2)[0]:
    answers += os.read(compiler, 1 << 16)
shown = json.dumps(answers.decode().split("\\n")).encode()
os.write(stdout, shown)
tell(exit=0, stdout=len(shown), stderr=0)
"""
    lengths = []

    def compile_(task):
        lengths.append(len(task))
        time.sleep(0.5)
        return task[:4]

    assert session(BOOTS + floods + "until_quit()", compile_=compile_).run() == 0
    assert max(lengths) <= TASK_BYTES + CHUNK
    answered = json.loads(capfd.readouterr().out)
    assert 1 <= answered.count("task") <= MOST_TASKS


def test_arguments_are_bytes(capfd):
    hostile = ["a b", "$(x)", "\n'\"", os.fsdecode(b"\xff\xfe"), ""]
    echo = "data = json.dumps(job['argv']).encode()\nos.write(stdout, data)\ntell(exit=0, stdout=len(data), stderr=0)\n"
    assert session(BOOTS + echo + "until_quit()", argv=hostile).run() == 0
    assert protocol.messages(bytearray(capfd.readouterr().out.encode() + b"\n")) == [hostile]


@pytest.mark.parametrize(
    "sends",
    [
        r"b'{\n'",
        r"b'[]\n'",
        r"""b'{"exit": "0", "stdout": 0, "stderr": 0}\n'""",
        r"""b'{"exit": 0}\n'""",
        r"b'\xff\x1b\n'",
        r"b'[' * 2000 + b'\n'",
        "b'a' * (1 << 20)",
        r"""b'{"booted": "6.1"}\n'""",
    ],
)
def test_a_guest_that_breaks_the_protocol_is_one_sentence(sends):
    with pytest.raises(VmError) as caught:
        session(BOOTS + f"os.write(control, {sends})\nuntil_quit()", timeout_s=10.0).run()
    sentence, *console = str(caught.value).split("\n")
    assert sentence.startswith("the VM sent what is no message of inetprobe's agent (")
    assert "run it again without the program in it that writes to the port inetprobe.control" in sentence
    assert console == ["  the kernel says hello"]
    assert not isinstance(caught.value, BootError)  # which would boot it again


def test_a_compiler_that_fails_leaves_the_port_to_the_next_task(capfd, monkeypatch):
    asks = """
for task in [b"bad"] * 5 + [b"good"]:
    os.write(compiler, task + b"\\n"), time.sleep(0.1)
answer = os.read(compiler, 100)
os.write(stdout, answer)
tell(exit=0, stdout=len(answer), stderr=0)
"""
    failed = []
    monkeypatch.setattr("threading.excepthook", lambda why: failed.append(why.exc_type))

    def compile_(task):
        if task == b"bad":
            raise MemoryError
        return task.upper()

    assert session(BOOTS + asks + "until_quit()", compile_=compile_, timeout_s=10.0).run() == 0
    assert capfd.readouterr().out == "GOOD\n"
    assert failed == [MemoryError] * 5


@pytest.mark.parametrize("limit", [{"boot_timeout_s": 2.0}, {"silence_s": 2.0}])
def test_a_boot_that_hangs_is_ended_and_its_console_shown(limit):
    started = time.monotonic()
    with pytest.raises(BootError, match=r"had not booted after[\s\S]*the kernel says hello"):
        session(GUEST + "until_quit()", **limit).run()
    assert time.monotonic() - started < 10


def test_a_failed_boot_is_not_the_same_as_a_guest_that_dies():
    with pytest.raises(BootError, match="ended before it had booted"):
        session(GUEST + "sys.exit('no such kernel')").run()
    with pytest.raises(VmError, match=r"died under the command[\s\S]*panic") as died:
        session(BOOTS + "print('panic', flush=True)").run()
    assert not isinstance(died.value, BootError)


def test_a_command_that_never_ends_is_ended():
    with pytest.raises(VmError, match=r"did not finish within 0.5 s"):
        session(BOOTS + "until_quit()", timeout_s=0.5).run()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_goes_to_the_command(number):
    obeys = "tell(exit=message()['signal'], stdout=0, stderr=0)\nuntil_quit()"
    before = signal.getsignal(number)
    assert session(BOOTS + obeys, on_booted=lambda _release: os.kill(os.getpid(), number)).run() == number
    assert signal.getsignal(number) is before


def test_a_second_signal_ends_the_vm():
    def twice(_release):
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.05)

    assert session(BOOTS + "until_quit()", on_booted=twice).run() == 128 + signal.SIGINT


def test_a_guest_that_will_not_quit_is_killed(monkeypatch):
    monkeypatch.setattr("inetprobe.vm.session.STOP_S", 0.2)
    stubborn = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint(os.getpid(), flush=True)\n"
    console = Console(None)
    with pytest.raises(BootError):
        session(GUEST + stubborn + "time.sleep(60)", console, boot_timeout_s=0.5).run()
    with pytest.raises(ProcessLookupError):
        os.kill(int(console.last_lines().split()[-1]), 0)


def test_the_console_file_has_all_bytes_and_the_last_lines_no_escapes(tmp_path):
    with (tmp_path / "log").open("wb") as log:
        console = Console(log)
        console.feed(b"first\r\n\x1b[31mred\x1b[0m \xff\n")
    assert (tmp_path / "log").read_bytes().startswith(b"first")
    assert "\x1b" not in console.last_lines()
    assert console.last_lines().startswith("  first\n")
