"""The compiler in a process of its own: what it gives, and each way in which it can fail."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from inetprobe.base.errors import HostError, InetprobeError
from inetprobe.kernel import libbcc
from inetprobe.kernel.program import compiler
from inetprobe.kernel.program.code_cache import Code

PROGRAM = Code({"it": b"code"}, ())
SMALL = "int it(void *ctx) { return 0; }\n"
RETURN_0 = (0xB7).to_bytes(8, "little") + (0x95).to_bytes(8, "little")


@pytest.fixture
def compiled(monkeypatch, tmp_path):
    """(the functions, how often they were compiled, notes, what -v shows) of a start."""
    monkeypatch.setenv("INETPROBE_CACHE", str(tmp_path))
    calls = []
    monkeypatch.setattr(compiler, "compile_program", lambda *given: (calls.append(given), PROGRAM)[1])

    def start(constants):
        said, shown = [], []
        calls.clear()
        functions = compiler.compiled(constants, said.append, shown.append)
        return functions, len(calls), said, shown

    return start


def test_a_program_is_compiled_once_for_the_same_constants(compiled):
    assert compiled({"A": 1}) == (PROGRAM.functions, 1, [], [])
    assert compiled({"A": 1}) == (PROGRAM.functions, 0, [], [])
    assert compiled({"A": 2}) == (PROGRAM.functions, 1, [], [])


def test_without_a_home_folder_it_is_compiled_each_time(compiled, monkeypatch):
    def fail():
        raise InetprobeError("no home folder")

    monkeypatch.setattr(compiler, "cache_folder", fail)
    for _ in range(2):
        assert compiled({}) == (PROGRAM.functions, 1, [], ["the compiled program is not cached: no home folder"])


def test_libbcc_compiles_in_another_process(monkeypatch):
    monkeypatch.setenv("BCC_KERNEL_SOURCE", "/nonexistent")  # of the user's: it is not for us
    code = compiler.compile_program(SMALL, [], None)
    assert code.functions == {"it": RETURN_0}
    assert any("libbcc" in path for path, _, _ in code.libraries)
    assert code.is_current


def test_an_error_in_the_program_is_one_sentence_and_the_whole_log_with_verbose(capfd):
    shown = []
    with pytest.raises(HostError) as caught:
        compiler.compile_program("int it(void *ctx) { return nothing; }\n", [], shown.append)
    assert "does not compile: " in str(caught.value)
    assert "error: use of undeclared identifier 'nothing'" in str(caught.value)
    assert len(shown) > 2
    assert capfd.readouterr() == ("", "")


def test_without_libbcc_it_says_what_to_install(monkeypatch, tmp_path):
    script = tmp_path / "libbcc.py"
    text = Path(libbcc.__file__).read_text().replace('"libbcc.so.0"', '"libnothing.so.0"')
    script.write_text(text.replace("from bcc", "from nothing"))
    monkeypatch.setattr(libbcc, "__file__", str(script))
    monkeypatch.setattr(libbcc, "installed", lambda root: None)
    with pytest.raises(HostError, match=r"^there is no BCC, the compiler \(libnothing\.so\.0: "):
        compiler.compile_program(SMALL, [], None)


def test_a_library_that_is_there_is_not_to_be_installed(tmp_path):
    """Where Python has a dynamic linker of its own, as conda's and Nix's have."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/os-release").write_text("ID=arch\n")
    assert str(compiler.no_libbcc("why", tmp_path)) == "there is no BCC, the compiler (why): pacman -S bcc"
    library = tmp_path / "usr/lib/x86_64-linux-gnu/libbcc.so.0"
    library.parent.mkdir(parents=True)
    library.touch()
    fix = "install inetprobe with the system's own Python: /usr/bin/python3 -m venv"
    assert str(compiler.no_libbcc("why", tmp_path)) == f"this Python cannot load {library} (why): {fix}"


def test_a_compiler_that_hangs_is_ended(monkeypatch, tmp_path):
    script = tmp_path / "libbcc.py"
    script.write_text("import time\ntime.sleep(60)\n")
    monkeypatch.setattr(libbcc, "__file__", str(script))
    with pytest.raises(HostError, match=r"^bcc's compiler was not done after 0\.2 s: "):
        compiler.compile_program(SMALL, [], None, 0.2)


def test_a_compiler_that_crashes_is_one_sentence(monkeypatch, tmp_path):
    script = tmp_path / "libbcc.py"
    script.write_text('import os, sys\nprint("LLVM ERROR: out of memory", file=sys.stderr, flush=True)\nos.abort()\n')
    monkeypatch.setattr(libbcc, "__file__", str(script))
    with pytest.raises(
        HostError, match="compiler ended by SIGABRT: LLVM ERROR: out of memory: inetprobe trace -v shows"
    ):
        compiler.compile_program(SMALL, [], None)


def test_of_bcc_s_variables_the_compiler_has_only_ours(monkeypatch, tmp_path):
    """The cache's key does not depend on them."""
    monkeypatch.setenv("BCC_LINUX_VERSION_CODE", "1")
    script = tmp_path / "libbcc.py"
    script.write_text(
        "import json, os\n"
        "names = {name: '' for name in os.environ if name.startswith('BCC_')}\n"
        "print(json.dumps({'functions': names, 'libraries': []}))\n"
    )
    monkeypatch.setattr(libbcc, "__file__", str(script))
    assert set(compiler.compile_program(SMALL, [], None).functions) == {"BCC_KERNEL_SOURCE"}


def test_ctrl_c_ends_the_compiler_without_a_word():
    child = subprocess.Popen(
        [sys.executable, "-I", libbcc.__file__],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "BCC_KERNEL_SOURCE": str(compiler.bpf_folder())},
    )
    text = "".join(f"int it{number}(void *ctx) {{ return {number}; }}\n" for number in range(5000))  # for seconds
    child.stdin.write(json.dumps({"text": text, "flags": []}).encode())
    child.stdin.close()
    while "libLLVM" not in Path(f"/proc/{child.pid}/maps").read_text():
        assert child.poll() is None
    os.kill(child.pid, signal.SIGINT)
    assert child.wait(30) == -signal.SIGINT
    assert child.stderr.read() == b""


def test_the_binding_s_library_is_used_where_the_system_has_none(monkeypatch):
    library = libbcc.load()
    monkeypatch.setattr(libbcc, "_NAME", "libnothing.so.0")
    for binding in (SimpleNamespace(), None):  # another package by this name, or none
        monkeypatch.setitem(sys.modules, "bcc", binding)
        with pytest.raises(OSError, match=r"libnothing\.so\.0"):
            libbcc.load()
    monkeypatch.setitem(sys.modules, "bcc", SimpleNamespace(libbcc=SimpleNamespace(lib=library)))
    assert libbcc.load() is library
