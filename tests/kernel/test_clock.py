import time

from inetprobe.kernel.host import clock


def test_the_offset_of_a_time_namespace(tmp_path):
    offsets = tmp_path / "timens_offsets"
    offsets.write_text("monotonic           0         0\nboottime      864000       500\n")
    assert clock.namespace_offset_ns(offsets) == 864_000_000_000_500
    offsets.write_text("monotonic           0         0\nboottime          -1         7\n")
    assert clock.namespace_offset_ns(offsets) == -999_999_993
    assert clock.namespace_offset_ns(tmp_path / "none") == 0


def test_boot_time_and_offset_give_the_wall_clock():
    ahead_ns = 10**15
    kernels = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - ahead_ns
    assert abs(kernels + clock.wall_offset_ns(ahead_ns) - time.time_ns()) < 10**9
