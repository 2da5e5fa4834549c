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
        "inet6_create.part.0",
        *map("f{}".format, range(20)),
        *["static"] * 2,
    ],
    of_modules=["inet_hash"],
)
TYPES = Btf.of_kernel(BTF / "6.1")


def names(*words):
    return [function.name for function in also.resolve(words, SYMBOLS, TYPES)]


def test_repeated_functions_are_traced_once():
    assert names("sock_init_data, inet_hash", "inet_hash,") == ["sock_init_data", "inet_hash"]
    assert [f.number for f in also.resolve(["sock_init_data,inet_hash"], SYMBOLS, TYPES)] == [8, 9]


def test_lsm_stands_for_the_functions_of_the_security_modules_that_are_there():
    symbols = Symbols(["selinux_socket_create", "apparmor_socket_create", "unix_socket_create", "sock_init_data"])
    found = [function.name for function in also.resolve(["sock_init_data,lsm"], symbols, TYPES)]
    assert found == ["sock_init_data", "apparmor_socket_create", "selinux_socket_create"]
    assert names("lsm") == []


def test_descriptor_stands_for_the_functions_that_give_one_and_are_there():
    symbols = Symbols(["alloc_fd", "expand_files", "sock_alloc_file", "__sys_socket"])
    found = [function.name for function in also.resolve(["descriptor", "expand_files"], symbols, TYPES)]
    assert found == ["alloc_fd", "expand_files", "sock_alloc_file"]


def test_what_comes_before_a_trace_is_refused():
    with pytest.raises(UsageError, match="trace it with --seccomp"):
        names("__secure_computing")


def test_functions_of_the_path_are_left_out():
    assert names("sk_alloc") == []
    renamed = Symbols(["sk_prot_alloc.isra.0"])
    assert also.resolve(["sk_prot_alloc"], renamed, TYPES) == ()


def test_copies_of_a_function_of_the_path_are_refused():
    copies = Symbols(["sk_prot_alloc", "sk_prot_alloc.constprop.0"])
    with pytest.raises(UsageError, match=r"turned it into sk_prot_alloc\.constprop\.0"):
        also.resolve(["sk_prot_alloc"], copies, TYPES)


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("tcp_v4_init_sok", "tcp_v4_init_sock"),
        ("odd", "turned it into odd.isra.0, and may have changed how it is called"),
        ("odd.isra.0", "the compiler gave it that name, and may have changed how it is called"),
        ("sk_prot_alloc", "the compiler inlined it, or it is not built in"),
        ("inet6_create", "turned it into inet6_create.part.0"),
        ("static", "this kernel has 2 functions 'static'"),
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
