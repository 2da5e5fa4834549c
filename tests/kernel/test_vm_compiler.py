"""A process of the guest and the host's compiler, with a pseudo-terminal in the place of the virtio-serial port."""

import errno
import json
import os
import threading
import tty

import pytest

from inetprobe.kernel.program import compiler, compiler_process, vm_compiler
from inetprobe.vm.guest.protocol import COMPILER_VARIABLE

PROGRAM = "int it(void *ctx) { return ANSWER; }\n"


@pytest.fixture
def host(monkeypatch):
    """Runs a host that sends ``before`` and then what ``answer`` makes of the task."""
    master, slave = os.openpty()
    tty.setraw(master)
    tty.setraw(slave)
    monkeypatch.setenv(COMPILER_VARIABLE, os.ttyname(slave))
    threads = []

    def run(answer=vm_compiler.answer, before=b""):
        def serve():
            task = b""
            while not task.endswith(b"\n"):
                task += os.read(master, 1 << 16)
            sent = before + answer(task[:-1]) + b"\n"
            while sent:
                sent = sent[os.write(master, sent) :]

        threads.append(threading.Thread(target=serve))
        threads[-1].start()

    yield run
    for thread in threads:
        thread.join(10)
    os.close(slave)
    os.close(master)


def never(*_):
    raise AssertionError("the guest compiled")


def test_the_guest_has_the_code_without_compiling(host, monkeypatch):
    expected = compiler_process.run(PROGRAM, ["-DANSWER=7"])
    host(lambda task: vm_compiler._digest(task) + json.dumps(expected).encode())
    monkeypatch.setattr(compiler_process, "run", never)
    assert compiler.compile_program(PROGRAM, ["-DANSWER=7"], None).functions["it"][4] == 7


def test_the_answer_to_a_process_that_was_killed_is_left_alone(host):
    stale = vm_compiler.answer(json.dumps({"sources": "", "text": "", "defines": []}).encode()) + b"\n"
    host(before=stale)
    assert vm_compiler.ask(PROGRAM, ["-DANSWER=7"], never) == compiler_process.run(PROGRAM, ["-DANSWER=7"])


@pytest.mark.parametrize(("sources", "defines"), [("of another version", []), (None, ["-DA=1", "-include/etc/passwd"])])
def test_the_host_refuses_other_sources_and_options(host, monkeypatch, sources, defines):
    monkeypatch.setattr(compiler_process, "run", never)
    task = {"sources": sources or vm_compiler._sources(), "text": PROGRAM, "defines": defines}
    line = json.dumps(task).encode()
    assert vm_compiler.answer(line) == vm_compiler._digest(line) + b"null"


@pytest.mark.parametrize(
    "line", [b"", b"{", b"[]", b"7", b'{"sources": 1}', b'{"text": "", "defines": 7}', b"\xff", b"[" * 10**5]
)
def test_what_is_no_task_is_refused(line):
    assert vm_compiler.answer(line) == vm_compiler._digest(line) + b"null"


@pytest.mark.parametrize(
    "asked", [{"text": 7, "defines": []}, {"text": "", "defines": 7}, {"text": "", "defines": [7]}]
)
def test_a_task_of_other_types_is_refused(asked):
    line = json.dumps({"sources": vm_compiler._sources(), **asked}).encode()
    assert vm_compiler.answer(line) == vm_compiler._digest(line) + b"null"


def test_where_the_host_refuses_the_guest_compiles(host):
    host(lambda task: vm_compiler._digest(task) + b"null")
    said = []
    assert compiler.compile_program(PROGRAM, ["-DANSWER=7"], said.append).functions["it"][4] == 7
    assert said[0].startswith("the host of this VM refuses to compile")


def test_where_the_host_is_silent_or_the_port_busy_the_guest_compiles(host, monkeypatch):
    monkeypatch.setattr(vm_compiler, "LIMIT_S", 0.1)
    said = []
    assert vm_compiler.ask(PROGRAM, [], said.append) is None
    opened = os.open

    def busy(path, *rest, **options):
        if path == os.environ[COMPILER_VARIABLE]:
            raise OSError(errno.EBUSY, "busy")
        return opened(path, *rest, **options)

    monkeypatch.setattr(os, "open", busy)
    assert vm_compiler.ask(PROGRAM, [], said.append) is None
    assert said == [
        f"the host of this VM does not compile ({why}): compiling here" for why in ("no answer for 0.1 s", "busy")
    ]
