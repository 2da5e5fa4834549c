"""The two largest kinds of program compile, by this system's libbcc and by clang alone; all of them by the bcc of each
suite of Debian in tests/compilers."""

import re
import subprocess

import pytest

from inetprobe.kernel.host.btf import Btf
from inetprobe.kernel.host.cgroups import Cgroups
from inetprobe.kernel.host.kallsyms import Symbols
from inetprobe.kernel.program import compiler, constants
from inetprobe.kernel.program.target import Target
from inetprobe.kernel.trace_options import TraceOptions
from inetprobe.record.cheader import bpf_folder
from tests.support.variants import BTF, CASES, FUNCTIONS, assert_complete, ids, variant

LARGEST = pytest.mark.parametrize("case", [case for case in CASES if case[0] in ("serve", "everything")], ids=ids)


@LARGEST
def test_libbcc_compiles_it_and_every_map_it_names_is_made(case):
    defines, made, traced = variant(case)
    text = (bpf_folder() / "inetprobe.bpf.c").read_text()
    functions = compiler.compile_program(text, defines, None).functions
    assert_complete(functions, made, traced)


@LARGEST
def test_clang_compiles_it_without_bcc(case, tmp_path):
    defines, *_ = variant(case)
    source, made = bpf_folder() / "inetprobe.bpf.c", tmp_path / "program.o"
    command = ["clang", "-target", "bpf", "-O2", "-Wall", "-Wno-unused-function", f"-I{bpf_folder()}/include"]
    done = subprocess.run(
        [*command, "-iquote", bpf_folder(), *defines, "-Wno-macro-redefined", "-D__x86_64__", "-c", source, "-o", made],
        check=False,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, re.findall("error: .*|warning: .*", done.stderr)) == (0, [])


@pytest.mark.parametrize(("size", "expected"), [(None, 16384), (32768, 32768)])
def test_the_stack_is_as_large_as_the_kernel_s_btf_says(monkeypatch, size, expected):
    """KASAN doubles it; a kernel without the structure has the usual size."""
    monkeypatch.setattr(Btf, "size", lambda types, name: size if name == "irq_stack" else pytest.fail(name))
    target = Target.of_kernel(TraceOptions(), BTF, Symbols(FUNCTIONS), Cgroups(None))
    mechanisms = dict.fromkeys(FUNCTIONS, "kprobe")
    defined = constants.of_program(TraceOptions(), target, mechanisms, cpus=4, task_storage=True)
    assert defined["STACK_SIZE"] == expected
