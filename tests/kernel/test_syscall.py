"""bpf(2) as the kernel answers it: errors, and the verifier's log."""

import ctypes
import errno

import pytest

from inetprobe.kernel.host import syscall


def test_a_refused_program_has_the_first_errno_and_the_log_of_the_second_try(monkeypatch):
    """A log that is full would else be the reason: ENOSPC."""
    answers, levels = [errno.EACCES, errno.ENOSPC], []

    def bpf(command, attributes):
        levels.append(attributes.log_level)
        if attributes.log_buf:
            ctypes.memmove(attributes.log_buf, b"R0 !read_ok", 11)
        return -1, answers.pop(0)

    monkeypatch.setattr(syscall, "_bpf", bpf)
    with pytest.raises(syscall.ProgramRefused) as refused:
        syscall.load_program(syscall.KPROBE, "it", syscall.RETURN_0)
    assert (refused.value.errno, refused.value.log, levels) == (errno.EACCES, "R0 !read_ok", [0, 1])


def test_a_program_s_attributes_are_the_kernel_s(monkeypatch):
    """union bpf_attr of include/uapi/linux/bpf.h; a name has at most 15 of the characters that the kernel takes."""
    seen = []
    monkeypatch.setattr(syscall, "_bpf", lambda command, attributes: (seen.append(bytes(attributes)), 5, 0)[1:])
    assert syscall.load_program(syscall.FEXIT, "return_a-very_long_name", syscall.RETURN_0, 77) == 5
    (raw,) = seen
    words = [int.from_bytes(raw[at : at + 4], "little") for at in range(0, len(raw), 4)]
    assert (words[0], words[1], words[17], words[27]) == (26, 2, 25, 77)
    assert raw[48:64] == b"return_a_very_l\0"


def test_an_unknown_machine_has_no_system_calls(monkeypatch):
    monkeypatch.setattr(syscall.platform, "machine", lambda: "pdp11")
    assert syscall.call("bpf", 0) == (-1, errno.ENOSYS)
