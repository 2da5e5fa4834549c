import pytest

from inetprobe.base.errors import HostError
from inetprobe.kernel.host.kallsyms import OPTIONAL, REQUIRED, Symbols


def kallsyms(tmp_path, names):
    path = tmp_path / "kallsyms"
    path.write_text("".join(f"0000000000000000 t {name}\n" for name in names) + "0000000000000000 d some_data\t[mod]\n")
    return path


def test_functions_are_found_and_data_is_not(tmp_path):
    symbols = Symbols.of_kernel(kallsyms(tmp_path, [*REQUIRED, *OPTIONAL]))
    assert symbols.present() == (*REQUIRED, *OPTIONAL)
    assert "some_data" not in symbols


def test_an_optional_function_may_be_missing(tmp_path):
    assert Symbols.of_kernel(kallsyms(tmp_path, REQUIRED)).present() == REQUIRED


def test_a_renamed_function_is_reported_by_its_new_name():
    symbols = Symbols(["inet_create", "sk_alloc", "sk_prot_alloc.isra.0"])
    with pytest.raises(HostError, match=r"no function sk_prot_alloc .*sk_prot_alloc\.isra\.0"):
        symbols.present()


def test_an_inlined_function_is_named():
    with pytest.raises(HostError, match=r"no function sk_prot_alloc .*inlined"):
        Symbols(["inet_create", "sk_alloc"]).present()


def test_an_unreadable_file_is_one_sentence(tmp_path):
    with pytest.raises(HostError, match="cannot be read"):
        Symbols.of_kernel(tmp_path / "none")


def test_the_kernel_s_image_is_empty_where_addresses_are_hidden(tmp_path):
    path = tmp_path / "kallsyms"
    path.write_text(
        "ffffffff81000000 T _text\nffffffff82a00000 B _end\nffffffffc0000000 b _end\t[evil]\n0000000000000000 A fixed\n"
    )
    assert Symbols.of_kernel(path).image == range(0xFFFFFFFF81000000, 0xFFFFFFFF82A00000)
    path.write_text("0000000000000000 T _text\n0000000000000000 B _end\n")
    assert not Symbols.of_kernel(path).image
