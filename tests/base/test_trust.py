import os
from pathlib import Path

import pytest

from inetprobe.base.trust import distrust
from tests.support.strangers import give_away


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "folder" / "file"
    path.parent.mkdir(mode=0o755)
    path.touch(mode=0o644)
    return path


def test_what_is_ours_alone_is_trusted(file):
    assert distrust(file) is None
    assert distrust(file.parent / "missing" / "too") is None


@pytest.mark.parametrize("mode", [0o775, 0o757, 0o777])
def test_a_folder_above_that_others_may_write_to_is_not_trusted(file, mode):
    file.parent.chmod(mode)
    for path in (file, file.parent / "missing" / "too"):
        assert distrust(path) == f"other users may write to {file.parent}"


def test_with_the_sticky_bit_it_is(file):
    file.parent.chmod(0o1777)
    assert distrust(file) is None


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o1666])
def test_a_file_that_others_may_write_to_is_not_trusted(file, mode):
    file.chmod(mode)
    assert distrust(file) == f"other users may write to {file}"


def test_another_user_s_file_or_folder_is_not_trusted(file, monkeypatch):
    give_away(file.parent, monkeypatch)
    assert "belongs to user" in distrust(file)
    give_away(file, monkeypatch)
    assert "belongs to user" in distrust(file)


def test_a_user_trusts_root(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert distrust(Path("/")) is None


def test_a_link_is_as_trusted_as_what_it_leads_to(file, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(file.parent)
    assert distrust(link / "file") is None
    file.parent.chmod(0o777)
    assert distrust(link / "file") == f"other users may write to {file.parent}"


def test_links_in_a_circle_are_not_trusted(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert distrust(tmp_path / "a") == f"the links of {tmp_path / 'a'} lead in a circle"
