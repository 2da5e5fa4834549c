from inetprobe.kernel import probes


def test_profile_is_read_by_event(tmp_path):
    (tmp_path / "kprobe_profile").write_text(
        "  inetprobe_entry_sk_alloc_bcc_7                     12               0\n"
        "  inetprobe_return_sk_alloc_bcc_7                    10               2\n"
    )
    assert probes.profile(tmp_path) == {
        "inetprobe_entry_sk_alloc_bcc_7": probes.ProbeCount(12, 0),
        "inetprobe_return_sk_alloc_bcc_7": probes.ProbeCount(10, 2),
    }


def test_tracefs_is_found_in_either_place(tmp_path):
    second = tmp_path / "debug/tracing"
    second.mkdir(parents=True)
    (second / "kprobe_events").touch()
    assert probes.tracefs((tmp_path / "tracing", second)) == second
    assert probes.tracefs((tmp_path / "tracing",)) is None
