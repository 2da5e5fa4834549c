"""The model's seccomp against this kernel's: filters are installed in a child, which makes the call."""

import errno
import platform

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inetprobe.model import seccomp
from inetprobe.model.seccomp import Action, Instruction
from tests.support import sandbox
from tests.support.sandbox import EQUAL, LOAD, RETURN, of_socket

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="of_socket() knows the number on x86-64")

#: Offsets of the low words of the first three arguments.
ARGUMENTS = (16, 24, 32)
NUMBERS = st.one_of(st.integers(0, 40), st.integers(0, 0xFFFFFFFF), st.sampled_from([1, 2, 0x7FFFFFFF, 0x80000000]))
ALU = st.sampled_from([0x00, 0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0x80, 0xA0])
JUMPS = st.sampled_from([0x10, 0x20, 0x30, 0x40])


def instruction(draw, left):
    """One instruction of those that the kernel takes, with ``left`` more behind it."""
    kind = draw(st.sampled_from(["load", "immediate", "length", "alu", "jump", "memory", "move"]))
    if kind == "load":
        return Instruction(LOAD, 0, 0, draw(st.sampled_from([0, 4, *ARGUMENTS, 20, 60])))
    if kind == "immediate":
        return Instruction(draw(st.sampled_from([0x00, 0x01])), 0, 0, draw(NUMBERS))
    if kind == "length":
        return Instruction(draw(st.sampled_from([0x80, 0x81])), 0, 0, 0)
    if kind == "move":
        return Instruction(draw(st.sampled_from([0x07, 0x87])), 0, 0, 0)
    if kind == "memory":
        return Instruction(draw(st.sampled_from([0x60, 0x61, 0x02, 0x03])), 0, 0, draw(st.integers(0, 15)))
    if kind == "jump":
        source = draw(st.sampled_from([0, 8]))
        true, false = draw(st.integers(0, left)), draw(st.integers(0, left))
        return Instruction(0x05 | draw(JUMPS) | source, true, false, draw(NUMBERS))
    operation, source = draw(ALU), draw(st.sampled_from([0, 8]))
    if operation == 0x80:
        source = 0
    k = draw(NUMBERS)
    if operation == 0x30 and not source:
        k = max(k, 1)
    if operation in (0x60, 0x70) and not source:
        k %= 32
    return Instruction(0x04 | operation | source, 0, 0, k)


@st.composite
def programs(draw):
    """A computation over the arguments, which fill the memory first, and all of which makes the errno."""
    length = draw(st.integers(1, 12))
    filled = [
        each
        for slot in range(16)
        for each in (Instruction(LOAD, 0, 0, ARGUMENTS[slot % 3]), Instruction(0x02, 0, 0, slot))
    ]
    body = [instruction(draw, length - 1 - index) for index in range(length)]
    mixed = [
        each for slot in range(16) for each in (Instruction(0x61, 0, 0, slot), Instruction(0xAC, 0, 0, 0))
    ]  # X = M[slot], A ^= X
    return of_socket(*filled, *body, *mixed, *TO_ERRNO)


REQUESTS = [(2, 1, 0), (10, 3, 58), (1, 0x80001, 7), (99, 99, 99)]


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(programs(), min_size=1, max_size=3))
def test_the_kernel_computes_the_same(filters):
    predicted = [seccomp.answer(filters, "x86_64", *request) for request in REQUESTS]
    # Division by 0 ends a program with 0, which kills: such a child would answer nothing.
    if all(answer.action is Action.ERRNO for answer in predicted):
        assert sandbox.errnos(filters, REQUESTS) == [answer.errno for answer in predicted]
    else:
        assert {answer.action for answer in predicted} <= {Action.ERRNO, Action.KILL_THREAD}


NUMBERS_TRIED = (0, 1, 3, 31, 33, 1000, 0x7FFFFFFF, -1, -1000)
#: A &= 1023, A += 1024: an errno that is none of memory's or the test's.
TO_ERRNO = (
    Instruction(0x54, 0, 0, 0x3FF),
    Instruction(0x04, 0, 0, 1024),
    Instruction(0x44, 0, 0, Action.ERRNO),
    Instruction(0x16, 0, 0, 0),
)


def agree(*program, number=3, tried=NUMBERS_TRIED):
    """Do the kernel and the model compute the same of the family and of the type, which is ``number``?"""
    requests = [(family, number, 0) for family in tried]
    filters = [of_socket(*program, *TO_ERRNO)]
    predicted = [seccomp.answer(filters, "x86_64", *request) for request in requests]
    assert {answer.action for answer in predicted} == {Action.ERRNO}
    assert sandbox.errnos(filters, requests) == [answer.errno for answer in predicted]
    return len({answer.errno for answer in predicted}) > 1


@pytest.mark.parametrize("number", [1, 3, 31, 0x7FFFFFFF])
@pytest.mark.parametrize("operation", [0x00, 0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0xA0])
def test_each_operation(operation, number):
    family, type_to_x = Instruction(LOAD, 0, 0, 16), (Instruction(LOAD, 0, 0, 24), Instruction(0x07, 0, 0, 0))
    folded = (Instruction(0x07, 0, 0, 0), Instruction(0x74, 0, 0, 11), Instruction(0xAC, 0, 0, 0)) * 2  # A ^= A >> 11
    if operation not in (0x60, 0x70) or number < 32:  # bpf_check_classic() refuses a longer shift
        assert agree(family, Instruction(0x04 | operation, 0, 0, number), *folded)
    assert agree(*type_to_x, family, Instruction(0x0C | operation, 0, 0, 0), *folded, number=number)


def test_a_negation():
    assert agree(Instruction(LOAD, 0, 0, 16), Instruction(0x84, 0, 0, 0))


@pytest.mark.parametrize("source", [0, 8])
@pytest.mark.parametrize("operation", [0x10, 0x20, 0x30, 0x40])
def test_each_jump(operation, source):
    for number in (1, 31, 1000, 0x7FFFFFFF):
        assert agree(
            Instruction(LOAD, 0, 0, 24), Instruction(0x07, 0, 0, 0), Instruction(LOAD, 0, 0, 16),
            Instruction(0x05 | operation | source, 1, 0, number), Instruction(0x00, 0, 0, 7),
            number=number,
        )  # fmt: skip


def test_a_jump_passes_as_many_instructions_as_it_says():
    for length in (0, 1, 2, 3):
        steps = [Instruction(0x04, 0, 0, 1 << index) for index in range(4)]
        agree(Instruction(LOAD, 0, 0, 16), Instruction(0x05, 0, 0, length), *steps)
        agree(Instruction(LOAD, 0, 0, 16), Instruction(0x15, length, 3 - length, 3), *steps)


@pytest.mark.parametrize("code", [0x80, 0x81, 0x00, 0x01])
def test_each_constant(code):
    load_x = (Instruction(0x87, 0, 0, 0),) if code & 1 else ()
    agree(Instruction(code, 0, 0, 77), *load_x)


@pytest.mark.parametrize("slot", [0, 7, 15])
def test_memory_keeps_what_was_stored(slot):
    store = (Instruction(LOAD, 0, 0, 16), Instruction(0x02, 0, 0, slot), Instruction(0x00, 0, 0, 5))
    assert agree(*store, Instruction(0x60, 0, 0, slot))
    assert agree(*store, Instruction(0x61, 0, 0, slot), Instruction(0x87, 0, 0, 0))
    assert agree(
        Instruction(LOAD, 0, 0, 16), Instruction(0x07, 0, 0, 0), Instruction(0x03, 0, 0, slot),
        Instruction(0x00, 0, 0, 5), Instruction(0x60, 0, 0, slot),
    )  # fmt: skip


@pytest.mark.parametrize("offset", [0, 4, 16, 20, 24, 28, 32, 36, 40, 60])
def test_each_word_of_the_call(offset):
    # The high half of a register with a negative int is as its compiler left it.
    agree(Instruction(LOAD, 0, 0, offset), tried=[number for number in NUMBERS_TRIED if number >= 0])


def test_a_division_by_zero_kills():
    divides = of_socket(Instruction(LOAD, 0, 0, 16), Instruction(0x01, 0, 0, 0), Instruction(0x3C, 0, 0, 0), *TO_ERRNO)
    assert seccomp.answer([divides], "x86_64", 2, 1, 0).action is Action.KILL_THREAD
    assert sandbox.errnos([divides], [(2, 1, 0)]) == []


def returns(action, data=0):
    return of_socket(Instruction(RETURN, 0, 0, (action | data) & 0xFFFFFFFF))


@pytest.mark.parametrize(
    ("filters", "errno_", "number"),
    [
        ([returns(Action.ERRNO, errno.EACCES)], errno.EACCES, 1),
        ([returns(Action.ALLOW), returns(Action.ERRNO, errno.EPERM), returns(Action.ALLOW)], errno.EPERM, 2),
        ([returns(Action.ERRNO, 1), returns(Action.ERRNO, 2)], 2, 2),  # the newest of two that are as low
        ([returns(Action.ERRNO, 1), returns(Action.TRACE, 2)], 1, 1),
        ([returns(Action.TRACE, 7)], errno.ENOSYS, 1),
        ([returns(Action.ERRNO, 0xFFFF)], 4095, 1),
        ([returns(Action.LOG), returns(Action.ALLOW)], 0, 1),
    ],
)
def test_the_lowest_action_is_taken_and_of_equals_the_newest(filters, errno_, number):
    answer = seccomp.answer(filters, "x86_64", 2, 1, 0)
    assert (answer.errno, answer.filters) == (errno_, len(filters))
    assert answer.filter == number
    assert sandbox.errnos(filters, [(2, 1, 0)]) == [errno_]


def test_actions_that_end_the_call_without_an_errno():
    actions = [Action.KILL_PROCESS, Action.KILL_THREAD, Action.TRAP, Action.USER_NOTIF]
    for action in actions:
        answer = seccomp.answer([returns(action)], "x86_64", 2, 1, 0)
        assert (answer.action, answer.errno, answer.passes) == (action, 0, False)
    both = [returns(Action.KILL_THREAD), returns(Action.KILL_PROCESS), returns(Action.TRAP)]
    assert seccomp.answer(both, "x86_64", 2, 1, 0).action is Action.KILL_PROCESS
    assert seccomp.answer([returns(0x10000)], "x86_64", 2, 1, 0).action is Action.KILL_PROCESS  # of a newer kernel


def test_negative_arguments_fill_the_low_half_of_a_register():
    high = of_socket(Instruction(LOAD, 0, 0, 20), Instruction(0x44, 0, 0, Action.ERRNO), Instruction(0x16, 0, 0, 0))
    low = of_socket(
        Instruction(LOAD, 0, 0, 16), Instruction(0x54, 0, 0, 0xFF), Instruction(0x44, 0, 0, Action.ERRNO),
        Instruction(0x16, 0, 0, 0),
    )  # fmt: skip
    assert seccomp.answer([high], "x86_64", -1, 1, 0).errno == 0
    assert seccomp.answer([low], "x86_64", -1, 1, 0).errno == 0xFF


@pytest.mark.parametrize(
    "program",
    [
        [Instruction(LOAD, 0, 0, 2)],
        [Instruction(LOAD, 0, 0, 64)],
        [Instruction(0x28, 0, 0, 0)],
        [Instruction(0x94, 0, 0, 3)],
        [Instruction(0x60, 0, 0, 16)],
        [Instruction(0x05, 0, 0, 9)],
        [],
    ],
)
def test_a_filter_that_the_kernel_would_not_take_is_refused(program):
    with pytest.raises(ValueError, match="seccomp filter"):
        seccomp.answer([program], "x86_64", 2, 1, 0)


@pytest.mark.parametrize(("machine", "pair"), [("x86_64", 53), ("aarch64", 199)])
def test_a_filter_sees_which_of_the_two_system_calls_it_is(machine, pair):
    refuse, allow = (Instruction(RETURN, 0, 0, action) for action in (Action.ERRNO | errno.EPERM, Action.ALLOW))
    refuses_pairs = (Instruction(LOAD, 0, 0, 0), Instruction(EQUAL, 0, 1, pair), refuse, allow)
    assert seccomp.answer([refuses_pairs], machine, 1, 1, 0, "socketpair").errno == errno.EPERM
    assert seccomp.answer([refuses_pairs], machine, 1, 1, 0).passes
