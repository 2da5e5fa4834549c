import pytest

from inetprobe.vm.accel import KvmHistory
from tests.support.strangers import give_away


@pytest.fixture
def history(tmp_path):
    """(what is remembered of KVM for one kernel, what it said, its folder)."""
    kernel, said = tmp_path / "vmlinuz", []
    kernel.touch()
    (tmp_path / "cache").mkdir()
    return KvmHistory(tmp_path / "cache", kernel, said.append), said, tmp_path / "cache"


@pytest.mark.parametrize("boots", [True, False])
def test_what_was_learnt_is_recalled(history, boots):
    of_kernel, said, _ = history
    assert of_kernel.recall() is None
    of_kernel.remember(boots)
    assert of_kernel.recall() is boots
    assert said == []


def test_a_stranger_s_word_is_not_believed_and_no_file_lost_to_their_link(history, monkeypatch, tmp_path):
    of_kernel, said, folder = history
    of_kernel.remember(True)
    (file,) = (folder / "kvm").iterdir()
    precious = tmp_path / "precious"
    precious.write_text("kept")
    monkeypatch.setattr("os.getpid", lambda: 7)
    file.with_suffix(".7").symlink_to(precious)
    give_away(folder, monkeypatch)
    assert of_kernel.recall() is None
    of_kernel.remember(False)
    assert precious.read_text() == "kept"
    assert "true" in file.read_text()
    assert [sentence.partition(" KVM ")[2].partition(" ")[0] for sentence in said] == ["is", "is"]
    assert all("belongs to user" in sentence for sentence in said)


def test_a_folder_that_cannot_be_written_is_said(history):
    of_kernel, said, folder = history
    (folder / "kvm").touch()
    of_kernel.remember(True)
    assert said == [f"what was learnt about KVM is not cached in {folder / 'kvm'}: File exists"]
