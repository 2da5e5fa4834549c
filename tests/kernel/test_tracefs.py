import os
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
    def refuse(self, **_):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "stat", refuse)
    with pytest.raises(HostError, match=r"closed to this user: run it again with sudo$"):
        tracefs.tracefs()


def test_only_leftovers_of_dead_processes_are_removed(tmp_path):
    """The kernel takes removals as appended lines; this ordinary file keeps them."""
    (tmp_path / "proc/7").mkdir(parents=True)
    listed = (
        "p:kprobes/inetprobe_entry_sk_alloc_7 sk_alloc\n"
        "r4096:kprobes/inetprobe_return_sk_alloc_8 sk_alloc\n"
        "r4096:kprobes/inetprobe_return_inet_create_bcc_8 sk_alloc\n"  # of an inetprobe before 1.0
        "p:kprobes/p_sk_alloc_bcc_8 sk_alloc\n"
    )
    events = tmp_path / "kprobe_events"
    events.write_text(listed)
    assert tracefs.remove_leftovers(tmp_path, tmp_path / "proc") == 2
    removed = "-:kprobes/inetprobe_return_sk_alloc_8\n-:kprobes/inetprobe_return_inet_create_bcc_8\n"
    assert events.read_text() == listed + removed


def test_a_long_function_gets_a_short_name_of_its_own(tmp_path, monkeypatch):
    """MAX_EVENT_NAME_LEN is 64 with the NUL, and a process id may have seven digits."""
    monkeypatch.setattr(os, "getpid", lambda: 4194304)
    (tmp_path / "kprobe_events").touch()
    function = "a" * 80
    names = [tracefs.add_kprobe(tmp_path, function, number, maxactive) for number in (8, 23) for maxactive in (None, 9)]
    assert len(set(names)) == 4
    assert all(len(name) < 64 for name in names)
    assert tracefs.add_kprobe(tmp_path, "sk_alloc", 2, 9) == "inetprobe_return_sk_alloc_4194304"
    # The kernel takes letters, digits and _ in the name of an event (is_good_name() of kernel/trace/trace.h).
    assert tracefs.add_kprobe(tmp_path, "sk_prot_alloc.isra.0", 3, None) == "inetprobe_entry_sk_prot_alloc_4194304"
    lines = (tmp_path / "kprobe_events").read_text().splitlines()
    assert lines[0] == f"p:kprobes/{names[0]} {function}"
    assert lines[-2] == "r9:kprobes/inetprobe_return_sk_alloc_4194304 sk_alloc"
    assert lines[-1] == "p:kprobes/inetprobe_entry_sk_prot_alloc_4194304 sk_prot_alloc.isra.0"


def test_tracefs_that_cannot_be_written_is_not_used(tmp_path, monkeypatch):
    (tmp_path / "kprobe_events").touch()
    assert tracefs.writable((tmp_path,)) == tmp_path
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    assert tracefs.writable((tmp_path,)) is None
    assert tracefs.writable((tmp_path / "nonexistent",)) is None
