from inetprobe.base.files import same_file


def test_a_link_is_the_same_file_and_a_missing_one_is_not(tmp_path):
    file, link = tmp_path / "a", tmp_path / "b"
    assert not same_file(file, file)
    file.touch()
    link.symlink_to(file)
    (tmp_path / "c").touch()
    assert same_file(link, tmp_path / "c", file)
    assert not same_file(link, tmp_path / "c", tmp_path / "missing")
