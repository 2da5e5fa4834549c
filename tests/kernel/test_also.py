import pytest

from inetprobe.base.errors import UsageError
from inetprobe.kernel.host.btf import Btf, Prototype
from inetprobe.kernel.host.kallsyms import Symbols
from inetprobe.kernel.program import also
from tests.support.paths import BTF

SYMBOLS = Symbols(
    [
        "tcp_v4_init_sock",
        "tcp_v6_init_sock",
        "sock_init_data",
        "inet_hash",
        "odd.isra.0",
        "sk_alloc",
        *map("f{}".format, range(20)),
    ]
)
TYPES = Btf.of_kernel(BTF / "6.1")


def names(*words):
    return [function.name for function in also.resolve(words, SYMBOLS, TYPES)]


def test_repeated_functions_are_traced_once():
    assert names("sock_init_data, inet_hash", "inet_hash,") == ["sock_init_data", "inet_hash"]
    assert [f.number for f in also.resolve(["sock_init_data,inet_hash"], SYMBOLS, TYPES)] == [8, 9]


def test_functions_of_the_path_are_left_out():
    assert names("sk_alloc") == []


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("tcp_v4_init_sok", "tcp_v4_init_sock"),
        ("odd", "odd.isra.0"),
        ("odd.isra.0", "no function"),
        ("zzzzzz", "/proc/kallsyms"),
        ("x(evil)", "no function"),
        (",".join(f"f{n}" for n in range(17)), "at most 16"),
    ],
)
def test_a_bad_function_name_is_one_sentence(word, hint):
    with pytest.raises(UsageError, match="--also") as caught:
        names(word)
    assert hint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_function_becomes_an_entry_of_the_program_s_list():
    function = also.AlsoFunction("tcp_v4_init_sock", 8, Prototype(1, "32", 7))
    assert function.entry("fentry") == "X(tcp_v4_init_sock,8,FENTRY,1,32)"
    assert also.AlsoFunction("odd", 9, None).entry("kprobe") == "X(odd,9,KPROBE,0,VOID)"
