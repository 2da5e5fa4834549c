"""BPF programs of five instructions that change what the kernel does."""

import contextlib
import os
import struct

from inetprobe.kernel.host import syscall
from inetprobe.kernel.host.btf import Btf

# BPF_PROG_TYPE_LSM with BPF_LSM_MAC, and BPF_PROG_TYPE_TRACING with BPF_MODIFY_RETURN, of include/uapi/linux/bpf.h
LSM, MODIFY_RETURN = syscall.ProgramType(29, 27), syscall.ProgramType(26, 26)


def where(argument, number, result):
    """A program that returns ``result`` where this argument of its function is ``number``, else 0."""
    r0, r1, r2 = 0, 1, 2
    instructions = [
        (0x79, r2 | r1 << 4, 8 * argument, 0),  # r2 = the argument
        (0xB7, r0, 0, 0),  # r0 = 0
        (0x56, r2, 1, number),  # if the low half of r2 is another number: go to exit
        (0xB7, r0, 0, result),  # r0 = result
        (0x95, 0, 0, 0),  # exit
    ]
    return b"".join(struct.pack("<BBhi", *instruction) for instruction in instructions)


@contextlib.contextmanager
def attached(type_, function, code):
    """The program runs at each call of ``function``."""
    program = syscall.load_program(type_, function, code, Btf.of_kernel().prototype(function).type_id)
    try:
        link = syscall.attach(program)
        yield
        os.close(link)
    finally:
        os.close(program)
