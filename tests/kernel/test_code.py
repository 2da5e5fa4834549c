"""Code apart from the descriptors of the maps it names: taken from one set, loaded with another."""

import ctypes
import os
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inetprobe.kernel.host.syscall import MapShape
from inetprobe.kernel.program import code as compiled
from inetprobe.kernel.program.code import Compiled, Loaded, LoadError, fentry_name

GIVEN, OWN = (5, 6), (8, 9)
NEW_GIVEN, NEW_OWN = (50, 60), (80, 90)
NEW = dict(zip((*GIVEN, *OWN), (*NEW_GIVEN, *NEW_OWN), strict=True))
SHAPES = {8: MapShape("records", 27, 0, 0, 4096, 0), 9: MapShape("displaced", 1, 4, 8, 16, 0)}


def insn(code, source, imm):
    return struct.pack("<BBhi", code, source << 4 | 1, 0, imm)


def constant(source, imm, high=0):
    """A 64-bit constant, which takes two instructions."""
    return insn(0x18, source, imm) + insn(0, 0, high)


WORDS = st.integers(-(1 << 31), (1 << 31) - 1)
MAPS = st.tuples(st.sampled_from([1, 2]), st.sampled_from([*GIVEN, *OWN]), WORDS)
# A constant of whatever value, and a move of one, also where it looks like a map's descriptor.
OTHERS = st.one_of(
    st.builds(lambda imm, high: constant(0, imm, high), st.sampled_from([*GIVEN, *OWN]) | WORDS, WORDS),
    st.builds(lambda imm: insn(0xB7, 0, imm), st.sampled_from([*GIVEN, *OWN]) | WORDS),
    st.builds(lambda imm: insn(0xB7, 1, imm), st.sampled_from([*GIVEN, *OWN]) | WORDS),
)
CODE = st.lists(MAPS | OTHERS, max_size=8)


def code(parts, names):
    return b"".join(part if isinstance(part, bytes) else constant(part[0], names[part[1]], part[2]) for part in parts)


class Libbcc:
    """A module of libbcc that has compiled ``functions``, and the kernel that loads them."""

    def __init__(self, functions):
        self._functions = [(name.encode(), ctypes.create_string_buffer(text, len(text))) for name, text in functions]
        self.loaded = {}

    def bpf_num_functions(self, _module):
        return len(self._functions)

    def bpf_function_name(self, _module, number):
        return self._functions[number][0]

    def bpf_function_start(self, _module, name):
        return ctypes.addressof(dict(self._functions)[name])

    def bpf_function_size(self, _module, name):
        return len(dict(self._functions)[name])

    def bcc_prog_load(self, type_, name, insns, size, *_rest):
        assert size.value == len(insns)
        self.loaded[name.decode()] = type_.value, insns
        return 1000 + len(self.loaded)


@given(CODE, CODE)
def test_each_map_is_the_new_one_and_nothing_else_changes(first, second):
    same = dict(zip(NEW, NEW, strict=True))
    lib = Libbcc([("first", code(first, same)), ("second", code(second, same))])
    used = sorted({part[1] for part in first + second if not isinstance(part, bytes) and part[1] in OWN})
    made = iter([NEW[fd] for fd in used])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiled.syscall, "map_shape", SHAPES.__getitem__)
        patch.setattr(compiled.syscall, "create_map", lambda shape: next(made))
        program = Compiled.of_bcc(lib, 0, GIVEN)
        loaded = Loaded(lib, program, NEW_GIVEN, bcc_version="0.26.0")
    assert program.maps == tuple(SHAPES[fd] for fd in used)
    assert loaded.maps == {SHAPES[fd].name: NEW[fd] for fd in used}
    assert (loaded.load("first", 2), loaded.load("second", 26), loaded.load("first", 2)) == (1001, 1002, 1001)
    assert lib.loaded == {"first": (2, code(first, NEW)), "second": (26, code(second, NEW))}


def test_a_refused_map_leaves_none_open():
    program = Compiled((SHAPES[8], SHAPES[9]), {})
    opened = []

    def create(shape):
        if opened:
            raise OSError(12, "no memory")
        opened.append(os.open("/dev/null", os.O_RDONLY))
        return opened[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiled.syscall, "create_map", create)
        with pytest.raises(OSError, match="no memory"):
            Loaded(None, program, (), bcc_version="0.26.0")
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(opened[0])


def test_a_refused_function_says_the_kernel_s_reason():
    lib = Libbcc([])
    lib.bcc_prog_load = lambda *_: (ctypes.set_errno(13), -1)[1]
    with pytest.raises(LoadError, match=r"^Permission denied$"):
        Loaded(lib, Compiled((), {"it": insn(0x95, 0, 0)}), (), bcc_version="0.26.0").load("it", 2)


NAMES = [
    ("0.26.0", "kfunc__inet_create", "kfunc__inet_create"),
    ("0.27.0", "kretfunc____sock_create", "kretfunc____sock_create"),
    ("0.28.0", "kfunc__inet_create", "kfunc__vmlinux__inet_create"),
    ("0.31.0+ds", "kretfunc____sock_create", "kretfunc__vmlinux____sock_create"),
    ("1.0", "kretfunc__sk_alloc", "kretfunc__vmlinux__sk_alloc"),
    ("unknown", "kfunc__sk_alloc", "kfunc__vmlinux__sk_alloc"),
    ("0.31.0", "entry___request_module", "entry___request_module"),
]


@pytest.mark.parametrize(("version", "name", "spoken"), NAMES)
def test_a_fentry_program_is_named_as_its_bcc_reads_it(version, name, spoken):
    lib = Libbcc([])
    Loaded(lib, Compiled((), {name: insn(0x95, 0, 0)}), (), bcc_version=version).load(name, 26)
    assert list(lib.loaded) == [spoken]


def function_read_by(bcc_version, name):
    """How bcc_prog_load_xattr() of that bcc takes a fentry program's name apart; from 0.28 on it needs a second __."""
    rest = name.partition("__")[2]
    if bcc_version < (0, 28):
        return rest
    module, separator, function = rest.partition("__")
    assert separator, "bcc would overrun its buffer"
    return function if module == "vmlinux" else None


@pytest.mark.parametrize("version", [(0, 16), (0, 27), (0, 28), (0, 37)])
@given(function=st.from_regex(r"[a-z_][a-z0-9_]{0,40}", fullmatch=True), side=st.sampled_from(["kfunc", "kretfunc"]))
def test_bcc_reads_the_function_that_was_meant(version, function, side):
    spoken = fentry_name(f"{side}__{function}", "{}.{}.0".format(*version))
    assert function_read_by(version, spoken) == function
