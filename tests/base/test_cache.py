import os
import stat
from pathlib import Path

import pytest

from inetprobe.base import cache
from inetprobe.base.errors import InetprobeError
from tests.support.strangers import give_away


def test_no_link_is_left_in_its_path(tmp_path, monkeypatch):
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    monkeypatch.setenv("INETPROBE_CACHE", str(tmp_path / "link" / "cache"))
    assert cache.cache_folder() == tmp_path / "folder" / "cache"


def test_without_a_home_folder_it_says_what_to_set(monkeypatch):
    def fail():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("INETPROBE_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", fail)
    with pytest.raises(InetprobeError, match=r"^there is no home folder for the cache: set INETPROBE_CACHE"):
        cache.cache_folder()


def test_every_folder_that_is_created_is_its_user_s_alone(tmp_path):
    mask = os.umask(0)
    try:
        assert cache.create(tmp_path / "a" / "b") is None
    finally:
        os.umask(mask)
    assert [stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "a", tmp_path / "a" / "b")] == [0o700, 0o700]
    assert cache.create(tmp_path / "a" / "b") is None


def test_nothing_is_created_in_a_folder_of_strangers(tmp_path, monkeypatch):
    give_away(tmp_path, monkeypatch)
    assert "belongs to user" in cache.create(tmp_path / "a" / "b")
    assert not list(tmp_path.iterdir())


def test_a_stranger_who_is_faster_is_noticed(tmp_path, monkeypatch):
    tmp_path.chmod(0o1777)
    made = Path.mkdir

    def faster(path, **options):
        made(path, **options)
        path.chmod(0o777)

    monkeypatch.setattr(Path, "mkdir", faster)
    assert cache.create(tmp_path / "a") == f"other users may write to {tmp_path / 'a'}"
