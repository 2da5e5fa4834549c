import re
import subprocess

import pytest

from inetprobe.base.errors import InetprobeError
from inetprobe.model.inet_sock import Sock
from inetprobe.record.cheader import bpf_folder, parse_structs
from inetprobe.record.layout import RECORD, SLOTS, SLOTS_ALSO, define, record_dtype

HEADER = bpf_folder() / "record.h"


def compiled(tmp_path, body, **sizes):
    """The numbers that the C statements ``body`` print, compiled with record.h and ``sizes``."""
    source = tmp_path / "layout.c"
    source.write_text(
        "#include <stddef.h>\n#include <stdio.h>\n#include <linux/types.h>\n"
        f'#include "{HEADER}"\nint main(void) {{ {body} return 0; }}\n'
    )
    flags = [f"-D{name}={value}" for name, value in sizes.items()]
    subprocess.run(["gcc", *flags, "-o", tmp_path / "layout", source], check=True)
    out = subprocess.run([tmp_path / "layout"], check=True, capture_output=True, text=True).stdout
    return [int(word) for word in out.split()]


@pytest.mark.parametrize("stack", [False, True])
@pytest.mark.parametrize("sock", [False, True])
@pytest.mark.parametrize("calls", [SLOTS, SLOTS_ALSO])
@pytest.mark.parametrize("struct", ["record", "call", "sock", "frames"])
def test_every_offset_and_size_is_the_compiler_s(tmp_path, struct, calls, sock, stack):
    record = record_dtype(calls, sock=sock, stack=stack, frames=stack)
    parts = {"call": record["calls"].base, "sock": record["sock"].base, "frames": record["frames"].base}
    dtype = {"record": record, **parts}[struct]
    struct = f"inetprobe_{struct}"
    body = f'printf("%zu\\n", sizeof(struct {struct}));'
    for name in dtype.names:
        body += f'printf("%zu %zu\\n", offsetof(struct {struct}, {name}), sizeof(((struct {struct} *)0)->{name}));'
    size, *pairs = compiled(
        tmp_path, body, INETPROBE_CALLS=calls, INETPROBE_SOCKS=int(sock), INETPROBE_STACKS=int(stack)
    )
    assert dtype.itemsize == size
    assert pairs == [n for name in dtype.names for n in (dtype.fields[name][1], dtype.fields[name][0].itemsize)]


def test_every_constant_is_the_compiler_s(tmp_path):
    names = re.findall(r"#define (\w+) \d+", HEADER.read_text())
    assert len(names) > 30
    values = compiled(tmp_path, "".join(f'printf("%d\\n", {name});' for name in names))
    assert [define(name) for name in names] == values


def test_samples_need_no_padding_in_the_ring():
    assert RECORD.itemsize % 8 == 0
    assert record_dtype(SLOTS_ALSO).itemsize % 8 == 0
    assert record_dtype(sock=True).itemsize % 8 == 0
    assert record_dtype(stack=True, frames=True).itemsize % 8 == 0


@pytest.mark.parametrize("sock", [False, True])
def test_frames_come_last_and_move_no_other_member(sock):
    sent, kept, plain = (
        record_dtype(sock=sock, **more) for more in ({"stack": True, "frames": True}, {"stack": True}, {})
    )
    assert sent.fields["frames"][1] == kept.itemsize
    assert kept.fields["stack"][1] == plain.itemsize
    assert [sent.fields[name][1] for name in plain.names[:-1]] == [plain.fields[name][1] for name in plain.names[:-1]]


def test_the_sock_s_members_are_the_model_s_fields():
    assert record_dtype(sock=True)["sock"].base.names == ("present", *Sock._fields)


def test_a_declaration_it_cannot_read_is_refused():
    with pytest.raises(InetprobeError, match="cannot read the declaration"):
        parse_structs("struct s {\n\tunsigned x : 3;\n};\n", {})
