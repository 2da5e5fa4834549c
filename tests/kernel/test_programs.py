"""The BPF programs, compiled for this machine and called as the kernel calls them: see tests/support/played.py."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inetprobe.record.layout import FUNCTION_ALSO, FUNCTIONS, RECORD_KERN, RECORD_RETURN_MISSED, define
from tests.support.played import STACK, Played
from tests.support.variants import ids

KPROBE, FENTRY, HASH = ("trace", "kprobe", True), ("trace", "fentry", True), ("trace", "kprobe", False)
# Bytes above the stack's lowest at which each function is entered.
SYSCALL, CREATE, SK_ALLOC, PROT_ALLOC = 5000, 4000, 3000, 2000
LAST_FAMILY = define("FAMILIES") - 1
NAMES = FUNCTIONS | {FUNCTION_ALSO: "also_0", FUNCTION_ALSO + 1: "also_1"}


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    """Makes the programs of a case, compiled once for all tests."""
    compiled = {}

    def make(case, **constants):
        key = case, *constants.items()
        if key not in compiled:
            compiled[key] = Played.compile(tmp_path_factory.mktemp(ids(case).replace(" ", "-")), case, **constants)
        return Played(compiled[key], case)

    return make


def alloc(kernel, prot, at=0):
    kernel.enter("sk_alloc", SK_ALLOC - at, kernel.net, 2, 0, prot, 0)
    kernel.enter("sk_prot_alloc", PROT_ALLOC - at, prot, 0, 2)
    kernel.leave("sk_prot_alloc", PROT_ALLOC - at, 0xFFFF, arguments=3)
    kernel.leave("sk_alloc", SK_ALLOC - at, 0xFFFF, arguments=5)


def create(kernel, name=b"TCP"):
    """A socket's create, all but its return."""
    kernel.enter("inet_create", CREATE, kernel.net, kernel.socket(1), 0, 0)
    alloc(kernel, kernel.struct(OFF_PROTO_NAME=name))


def make_socket(kernel, name=b"TCP"):
    kernel.enter("__sys_socket", SYSCALL, 2, 1, 0)
    create(kernel, name)
    kernel.leave("inet_create", CREATE, 0, arguments=4)
    kernel.leave("__sys_socket", SYSCALL, 3, arguments=3)


def calls(record):
    """(depth, function) of each call of a record."""
    return [(call["depth"], NAMES[call["function"]]) for call in record["calls"][: record["ncalls"]]]


WHOLE = [(0, "__sys_socket"), (1, "inet_create"), (2, "sk_alloc"), (3, "sk_prot_alloc")]


@pytest.mark.parametrize("case", [KPROBE, FENTRY, HASH], ids=ids)
def test_a_trace_has_ended_once_its_record_is_sent(played, case):
    """The reader takes its last look once as many traces have ended as began."""
    kernel = played(case)
    make_socket(kernel)
    make_socket(kernel)
    assert list(map(calls, kernel.records)) == [WHOLE, WHOLE]
    assert kernel.ended_before == [0, 1]
    assert (kernel.count("complete"), kernel.count("begun"), kernel.count("ended")) == (2, 2, 2)


@pytest.mark.parametrize("case", [KPROBE, HASH], ids=ids)
@given(name=st.binary(max_size=15), older=st.binary(min_size=16, max_size=16))
def test_of_an_older_longer_comm_nothing_is_left(played, case, name, older):
    """Linux 5.12 to 5.16 keep it behind the NUL, and equal names would be different ones."""
    kernel = played(case)
    comm = (name + b"\0" + older)[:15] + b"\0"
    kernel.run_on(kernel.new_task(comm))
    make_socket(kernel)
    assert kernel.records["comm"].tobytes() == comm.partition(b"\0")[0].ljust(16, b"\0")


@given(name=st.text(string.printable, min_size=1, max_size=31).map(str.encode))
def test_of_an_older_record_nothing_is_left_in_a_protocol_s_name(played, name):
    """A ring's memory is used again and again."""
    kernel = played(KPROBE)
    make_socket(kernel, name.ljust(32, b"\0") + b"what follows the name")
    assert kernel.records["prot"].tobytes() == name.ljust(32, b"\0")


def test_a_traced_function_may_jump_to_another(played):
    """A tail call: both are entered at one stack pointer, and the second returns for both, innermost first."""
    kernel = played(("also", "kprobe", True))
    kernel.enter("__sys_socket", SYSCALL, 2, 1, 0)
    create(kernel)
    for _ in range(2):
        kernel.enter("also_0", SK_ALLOC)
        kernel.enter("also_1", SK_ALLOC)
        kernel.leave("also_1", SK_ALLOC, 0)
        kernel.leave("also_0", SK_ALLOC, 0)
    kernel.leave("inet_create", CREATE, 0)
    kernel.leave("__sys_socket", SYSCALL, 3)
    (record,) = kernel.records
    assert not record["flags"]
    assert calls(record) == [*WHOLE, *[(2, "also_0"), (3, "also_1")] * 2]
    assert not kernel.count("orphan_return")


def test_the_return_of_a_function_that_was_jumped_to_may_be_missed(played):
    kernel = played(("also", "kprobe", True))
    kernel.enter("__sys_socket", SYSCALL, 2, 1, 0)
    create(kernel)
    kernel.enter("also_0", SK_ALLOC)
    kernel.enter("also_1", SK_ALLOC)
    kernel.leave("also_0", SK_ALLOC, 0)
    kernel.leave("inet_create", CREATE, 0)
    kernel.leave("__sys_socket", SYSCALL, 3)
    (record,) = kernel.records
    assert record["flags"] == RECORD_RETURN_MISSED
    assert not kernel.count("orphan_return")


@pytest.mark.parametrize("case", [KPROBE, HASH], ids=ids)
def test_a_dead_thread_s_trace_is_not_that_of_the_next_with_its_task_struct(played, case):
    kernel = played(case)
    task = kernel.new_task(b"dead")
    kernel.run_on(task)
    kernel.enter("__sys_socket", SYSCALL, 2, 1, 0)
    create(kernel)
    kernel.start(task)
    make_socket(kernel)
    assert list(map(calls, kernel.records)) == [WHOLE]
    assert not kernel.records["flags"].any()
    assert (kernel.count("lost_return_missed"), kernel.count("begun"), kernel.count("ended")) == (1, 2, 2)


@pytest.mark.parametrize(("constants", "nested"), [({}, 1), ({"PREEMPTIBLE": 1}, 0)])
def test_where_fentry_skips_programs_a_later_create_for_the_kernel_is_no_nested_one(played, constants, nested):
    """The return of the outermost create was not seen; the thread then mounts NFS, say, deeper on its stack."""
    kernel = played(FENTRY, **constants)
    create(kernel)
    kernel.enter("inet_create", CREATE - 2000, kernel.net, kernel.socket(1), 0, 1)
    alloc(kernel, kernel.struct(OFF_PROTO_NAME=b"TCP"), at=2000 - 10)
    kernel.leave("inet_create", CREATE - 2000, 0, arguments=4)
    assert kernel.count("nested") == nested
    if not nested:
        assert kernel.records["flags"].tolist() == [RECORD_RETURN_MISSED, RECORD_KERN]
        assert kernel.count("entries") == 2


@pytest.mark.parametrize(("case", "kept"), [(("preemptible", "fentry", True), 1), (FENTRY, 0), (KPROBE, 0)])
def test_no_record_waits_for_a_program_that_is_preempted(played, case, kept):
    """While it has a place in the ring, all later ones wait. A kprobe's program is never preempted."""
    kernel = played(case)
    make_socket(kernel)
    make_socket(kernel)
    assert kernel.unpreempted == (0, [kept, kept])


@pytest.mark.parametrize(("stack_size", "foreign"), [(STACK // 2, 2), (STACK, 0)])
def test_all_of_a_stack_is_one_thread_s(played, stack_size, foreign):
    """With KASAN it has 32 KiB: a trace that begins in its upper half and goes on in the lower one is whole."""
    kernel = played(KPROBE, STACK_SIZE=stack_size)
    upper = STACK // 2
    kernel.enter("__sys_socket", upper + 1000, 2, 1, 0)
    kernel.enter("inet_create", upper + 100, kernel.net, kernel.socket(1), 0, 0)
    alloc(kernel, kernel.struct(OFF_PROTO_NAME=b"TCP"), at=-upper + SK_ALLOC + 1000)
    kernel.leave("inet_create", upper + 100, 0)
    kernel.leave("__sys_socket", upper + 1000, 3)
    assert kernel.records["foreign"].tolist() == [foreign]


@pytest.mark.parametrize("case", [KPROBE, FENTRY, HASH], ids=ids)
def test_a_sock_outside_a_create_is_counted_while_traces_may_begin(played, case):
    kernel = played(case)
    prot, unix = kernel.struct(OFF_PROTO_NAME=b"UNIX"), 1
    for on in (True, False):
        kernel.begin(on=on)
        for family in (unix, LAST_FAMILY + 1):
            kernel.enter("sk_alloc", SK_ALLOC, kernel.net, family, 0, prot, 0)
            kernel.enter("sk_prot_alloc", PROT_ALLOC, prot, 0, family)
        for member in ("sk_alloc_outside", "sk_prot_alloc_outside"):
            assert kernel.outside(member) == {unix: 1, LAST_FAMILY: 1}
