import pytest

from inetprobe.kernel.host import rcu, syscall


@pytest.mark.parametrize(("refused", "cpus", "sleeps"), [(False, 2, False), (False, 1, True), (True, 2, True)])
def test_it_sleeps_where_the_kernel_does_not_wait(monkeypatch, refused, cpus, sleeps):
    slept = []
    if refused:
        monkeypatch.setattr(syscall.platform, "machine", lambda: "pdp11")
    monkeypatch.setattr(rcu.os, "cpu_count", lambda: cpus)
    monkeypatch.setattr(rcu.time, "sleep", slept.append)
    rcu.synchronize()
    assert bool(slept) == sleeps
