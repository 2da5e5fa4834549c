import pytest

from inetprobe.base.errors import HostError
from inetprobe.kernel.host.kallsyms import OPTIONAL, PATH, REQUIRED, Symbols

OTHERS = [name for name in PATH if name != "sk_prot_alloc"]


def kallsyms(tmp_path, names):
    path = tmp_path / "kallsyms"
    others = "0000000000000000 W weak\n0000000000000000 d some_data\t[mod]\n"
    path.write_text("".join(f"0000000000000000 t {name}\n" for name in names) + others)
    return path


def test_functions_are_found_and_data_is_not(tmp_path):
    symbols = Symbols.of_kernel(kallsyms(tmp_path, [*REQUIRED, *OPTIONAL]))
    assert symbols.present() == {name: name for name in PATH}
    assert symbols.limits() == {}
    assert "some_data" not in symbols
    assert "weak" in symbols


def test_a_module_s_function_is_there_and_no_copy_of_the_kernel_s(tmp_path):
    path = tmp_path / "kallsyms"
    lines = ("t twice", "t twice", "t once", "t once\t[mod]", "t sctp_init_sock\t[sctp]")
    path.write_text("".join(f"0000000000000000 {line}\n" for line in lines))
    symbols = Symbols.of_kernel(path)
    assert "sctp_init_sock" in symbols
    assert [symbols.copies(name) for name in ("twice", "once", "sctp_init_sock")] == [2, 1, 0]


@pytest.mark.parametrize("create", ["inet_create", "inet6_create"])
def test_sk_alloc_and_one_create_are_enough(create):
    symbols = Symbols([create, "sk_alloc"])
    assert symbols.present() == {create: create, "sk_alloc": "sk_alloc"}
    assert symbols.limits().keys() == {*PATH} - {create, "sk_alloc"}


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (["inet_create", "sk_prot_alloc"], r"no sk_alloc \(the compiler inlined or renamed it\): no socket"),
        (["inet_create", "sk_alloc.isra.0"], r"no sk_alloc, but sk_alloc\.isra\.0: no socket"),
        (
            ["sk_alloc", "inet_create.part.0.constprop.0", "inet_created"],
            r"no inet_create, but inet_create\.part\.0\.constprop\.0; this kernel has no inet6_create \(CONFIG_IPV6\)",
        ),
    ],
)
def test_what_is_missing_is_named(names, sentence):
    with pytest.raises(HostError, match=sentence):
        Symbols(names).present()


@pytest.mark.parametrize(
    ("names", "symbol"),
    [
        (["sk_prot_alloc"], "sk_prot_alloc"),
        (["sk_prot_alloc", "sk_prot_alloc.cold"], "sk_prot_alloc"),
        (["sk_prot_alloc", "sk_prot_alloc.part.0", "sk_prot_allocate.isra.0"], "sk_prot_alloc"),
        (["sk_prot_alloc.isra.0"], "sk_prot_alloc.isra.0"),
        (["sk_prot_alloc.isra.42", "sk_prot_alloc.isra.42.cold"], "sk_prot_alloc.isra.42"),
        (["sk_prot_alloc.constprop.0.isra.1"], "sk_prot_alloc.constprop.0.isra.1"),
        (["sk_prot_alloc.llvm.1234567"], "sk_prot_alloc.llvm.1234567"),
        (["sk_prot_alloc.part.0"], None),
        (["sk_prot_alloc.part.0.isra.0"], None),
        (["sk_prot_alloc.isra.0.part.0"], None),
        (["sk_prot_alloc.cold"], None),
        ([], None),
        # Which of them sk_alloc calls is not known.
        (["sk_prot_alloc", "sk_prot_alloc.constprop.0"], None),
        (["sk_prot_alloc.isra.0", "sk_prot_alloc.constprop.0"], None),
    ],
)
def test_sk_prot_alloc_is_traced_by_the_one_name_that_it_has(names, symbol):
    symbols = Symbols([*OTHERS, *names])
    assert symbols.symbol_of("sk_prot_alloc") == symbol
    assert symbols.present().get("sk_prot_alloc") == symbol
    assert symbols.limits().keys() == (set() if symbol == "sk_prot_alloc" else {"sk_prot_alloc"})


def test_no_other_function_is_traced_under_another_name():
    renamed = [f"{name}.isra.0" for name in PATH]
    assert Symbols(["sk_alloc", "inet_create", *renamed]).present() == {
        "inet_create": "inet_create", "sk_alloc": "sk_alloc", "sk_prot_alloc": "sk_prot_alloc.isra.0",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (
            ["sk_prot_alloc.isra.0"],
            "this kernel has no sk_prot_alloc, but sk_prot_alloc.isra.0: it is traced by a kprobe without its argum",
        ),
        ([], "this kernel has no sk_prot_alloc (the compiler inlined or renamed it): no trace has a call of it"),
        (
            ["sk_prot_alloc", "sk_prot_alloc.constprop.0"],
            "this kernel has copies of sk_prot_alloc (sk_prot_alloc.constprop.0): no trace has a call of it",
        ),
    ],
)
def test_what_is_missing_of_sk_prot_alloc_is_said(names, sentence):
    limits = Symbols([*OTHERS, *names]).limits()
    assert list(limits) == ["sk_prot_alloc"]
    assert limits["sk_prot_alloc"].startswith(sentence)
    assert limits["sk_prot_alloc"].endswith("accepted connections are neither counted nor traced")


def test_an_unreadable_file_is_one_sentence(tmp_path):
    with pytest.raises(HostError, match="cannot be read"):
        Symbols.of_kernel(tmp_path / "none")


def test_the_kernel_s_image_is_empty_where_addresses_are_hidden(tmp_path):
    path = tmp_path / "kallsyms"
    path.write_text(
        "0000000000000000 A _text_size\nffffffffc0000000 b _end\t[evil]\nffffffff81000000 T _text\n"
        "ffffffff82a00000 B _end\nffffffffc0000000 b _end\t[evil]\n0000000000000000 A fixed\n"
    )
    assert Symbols.of_kernel(path).image == range(0xFFFFFFFF81000000, 0xFFFFFFFF82A00000)
    path.write_text("0000000000000000 T _text\n0000000000000000 B _end\n")
    assert not Symbols.of_kernel(path).image


def test_the_kernel_s_image_is_empty_where_an_address_is_none(tmp_path):
    path = tmp_path / "kallsyms"
    path.write_text("ffffffff81000000 T _text\nnowhere B _end\n")
    assert not Symbols.of_kernel(path).image
