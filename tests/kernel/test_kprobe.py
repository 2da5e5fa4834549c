"""Attaching a kprobe: what a refusal leaves behind. That it works, the live tests show."""

import pytest

from inetprobe.kernel.host import kprobe, syscall, tracefs
from inetprobe.kernel.host.kprobe import Kprobe


def test_a_refused_kprobe_leaves_no_event(tmp_path, monkeypatch):
    (tmp_path / "kprobe_events").touch()
    monkeypatch.setattr(tracefs, "event_id", lambda folder, event: 7)
    monkeypatch.setattr(syscall, "call", lambda name, *_: (-1, 13) if name == "perf_event_open" else (0, 0))
    with pytest.raises(PermissionError, match="Permission denied"):
        Kprobe.attach(tmp_path, 0, "sk_alloc", 2, None)
    made, removed = (tmp_path / "kprobe_events").read_text().splitlines()
    assert removed == f"-:{made.removeprefix('p:').split()[0]}"


def test_without_perf_s_kprobes_the_reason_is_an_errno(tmp_path, monkeypatch):
    monkeypatch.setattr(kprobe, "PMU", tmp_path)
    with pytest.raises(FileNotFoundError):
        Kprobe.attach(None, 0, "sk_alloc", 2, 9)
