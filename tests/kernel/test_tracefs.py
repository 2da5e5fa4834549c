from pathlib import Path

import pytest

from inetprobe.base.errors import HostError
from inetprobe.kernel.host import tracefs


def test_profile_is_read_by_event(tmp_path):
    (tmp_path / "kprobe_profile").write_text(
        "  inetprobe_entry_sk_alloc_bcc_7                     12               0\n"
        "  inetprobe_return_sk_alloc_bcc_7                    10               2\n"
    )
    assert tracefs.profile(tmp_path) == {
        "inetprobe_entry_sk_alloc_bcc_7": (12, 0),
        "inetprobe_return_sk_alloc_bcc_7": (10, 2),
    }


def test_tracefs_is_found_in_either_place(tmp_path):
    second = tmp_path / "debug/tracing"
    second.mkdir(parents=True)
    (second / "kprobe_events").touch()
    assert tracefs.tracefs((tmp_path / "tracing", second)) == second
    assert tracefs.tracefs((tmp_path / "tracing",)) is None


def test_a_closed_tracefs_is_a_sentence(monkeypatch):
    def refuse(self):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "exists", refuse)
    with pytest.raises(HostError, match="closed to this user: run inetprobe as root"):
        tracefs.tracefs()


def test_only_leftovers_of_dead_processes_are_removed(tmp_path):
    """The kernel takes removals as appended lines; this ordinary file keeps them."""
    (tmp_path / "proc/7").mkdir(parents=True)
    listed = (
        "p:kprobes/inetprobe_entry_sk_alloc_bcc_7 sk_alloc\n"
        "r4096:kprobes/inetprobe_return_sk_alloc_bcc_8 sk_alloc\n"
        "p:kprobes/p_sk_alloc_bcc_8 sk_alloc\n"
    )
    events = tmp_path / "kprobe_events"
    events.write_text(listed)
    assert tracefs.remove_leftovers(tmp_path, tmp_path / "proc") == 1
    assert events.read_text() == listed + "-:kprobes/inetprobe_return_sk_alloc_bcc_8\n"
