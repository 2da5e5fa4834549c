"""The seccomp filters of a stranger's process, as ptrace(2) reads them: instructions of 8 bytes each."""

import struct

from inetprobe.model.caller import Caller
from inetprobe.model.profile import BUILT_IN_PROFILES
from inetprobe.model.question import SocketQuestion
from inetprobe.model.seccomp import SOCKET_CALLS, Instruction, answer
from tests.fuzz import checks

_INSTRUCTION = struct.Struct("=HBBI")
_MOST = 4096  # BPF_MAXINSNS of include/uapi/linux/bpf_common.h


def run(data):
    """The first byte is the length of each filter, in instructions; 0 for one that has them all."""
    length = (data[0] if data else 0) or _MOST
    whole = len(data[1:]) // _INSTRUCTION.size * _INSTRUCTION.size
    program = [Instruction(*fields) for fields in _INSTRUCTION.iter_unpack(data[1 : 1 + whole])][:_MOST]
    filters = tuple(tuple(program[at : at + length]) for at in range(0, len(program), length))
    if not filters:
        return
    for machine in SOCKET_CALLS:
        try:
            said = answer(filters, machine, 2, 1, 0)
        except ValueError as error:  # as its docstring says
            checks.is_sentence(str(error))
            continue
        assert 0 <= said.errno <= 4095, said
        assert 1 <= said.filter <= said.filters == len(filters), said
        caller = Caller(1, "x", None, True, frozenset(), filters, machine)
        asked = SocketQuestion(BUILT_IN_PROFILES["6.1"], 2, 1, 0, caller=caller)
        for line in asked.explain(asked.answer()).lines():
            checks.can_be_shown(line)
