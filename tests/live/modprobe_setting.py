"""The program that the kernel runs to load a module (/proc/sys/kernel/modprobe), replaced for a time."""

import contextlib
from pathlib import Path

_SETTING = Path("/proc/sys/kernel/modprobe")


@contextlib.contextmanager
def modprobe_is(program):
    """The kernel runs ``program`` (a path; none where it is empty) while the body runs."""
    before = _SETTING.read_text()
    _SETTING.write_text(f"{program}\n")
    try:
        yield
    finally:
        _SETTING.write_text(before)


def shell_program(path, body):
    """Makes ``path`` a program of busybox's shell; the kernel's helpers have no PATH."""
    path.write_text(f"#!/bin/busybox sh\n{body}\n")
    path.chmod(0o755)
    return path
