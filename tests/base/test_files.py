import stat

import pytest

from inetprobe.base.files import WholeFile, same_file


def test_a_link_is_the_same_file_and_a_missing_one_is_not(tmp_path):
    file, link = tmp_path / "a", tmp_path / "b"
    assert not same_file(file, file)
    file.touch()
    link.symlink_to(file)
    (tmp_path / "c").touch()
    assert same_file(link, tmp_path / "c", file)
    assert not same_file(link, tmp_path / "c", tmp_path / "missing")


@pytest.mark.parametrize(("before", "after"), [(0o4755, 0o755), (0o2644, 0o644), (0o1600, 0o600), (0o640, 0o640)])
def test_a_file_that_becomes_ours_is_set_to_nobody_s_id(tmp_path, before, after):
    path = tmp_path / "a"
    path.touch()
    path.chmod(before)
    output = WholeFile(str(path))
    output.file.write(b"x")
    output.finish()
    assert stat.S_IMODE(path.stat().st_mode) == after
