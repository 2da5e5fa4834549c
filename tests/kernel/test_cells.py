"""The kernel's tables: bpf/cells.h compiled for this machine counts into memory that Cells reads."""

import ctypes
import mmap
import os
import subprocess
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inetprobe.kernel.maps import cells
from inetprobe.record.cheader import bpf_folder, parse_defines
from inetprobe.record.layout import define
from inetprobe.stats.buckets import MAX_BOUNDS
from inetprobe.stats.snapshot import MANY, Histogram, ModuleRequests, OutcomeKey, RefusalKey

BOUNDS = (500, 1000, 25_000, 10**10)
CPUS = 3
PROGRAM = """
#include <stddef.h>
#include <linux/types.h>
typedef __u64 u64; typedef __u32 u32; typedef __s32 s32; typedef __u16 u16;
#undef __always_inline
#define __always_inline inline __attribute__((always_inline))
#include "record.h"
#include "kernel.h"
#include "cells.h"
void outcome(struct cpu_cells *cpus, u32 cpu, u32 create, u32 type, s32 protocol, s32 result, u64 duration)
{
	struct create_cells *its = &cpus[cpu].create[create];

	count_outcome(its, type, protocol, result);
	count_duration(&its->durations[type], duration);
}
void module(struct cpu_cells *cpus, u32 cpu, u32 create, u32 form, s32 family, s32 protocol, s32 type, s32 result)
{
	struct inetprobe_call call = {.result = result, .module = form, .module_family = family,
		.module_protocol = protocol, .module_type = type};

	count_module(cpus[cpu].create[create].modules, cpus[cpu].create[create].last_modules, &call);
}
void refusal(struct cpu_cells *cpus, u32 cpu, u32 syscall, s32 family, s32 type, s32 result, int after)
{
	count_refusal(&cpus[cpu].syscall[syscall].refused, family, type, result, after);
}
void seccomp(struct cpu_cells *cpus, u32 cpu, u32 function, s32 family, s32 type, s32 result)
{
	count_refusal(&cpus[cpu].seccomp[function], family, type, result, 0);
}
void family_module(struct cpu_cells *cpus, u32 cpu, u32 syscall, s32 family, s32 result)
{
	struct inetprobe_call call = {.result = result, .module = MODULE_FAMILY, .module_family = family};
	struct syscall_cells *its = &cpus[cpu].syscall[syscall];

	count_module(its->modules, its->last_modules, &call);
	count_duration(&its->durations, 2000);
	count_duration(&its->requests, 600);
}
size_t size(void) { return sizeof(struct cpu_cells); }
size_t offset(void) { return offsetof(struct cpu_cells, create[1].calls[3].sum_ns); }
"""


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    """bpf/cells.h as a library."""
    folder = tmp_path_factory.mktemp("cells")
    (folder / "cells.c").write_text(PROGRAM)
    bucket = cells.Counting(BOUNDS, 0, 0).constants()["BUCKET(ns)"]
    flags = ["-O1", "-shared", "-fPIC", "-iquote", bpf_folder(), f"-DBUCKET(ns)={bucket}"]
    subprocess.run(["gcc", *flags, "-o", folder / "cells.so", folder / "cells.c"], check=True)
    library = ctypes.CDLL(str(folder / "cells.so"))
    library.outcome.argtypes = [ctypes.c_void_p, *[ctypes.c_uint32] * 3, *[ctypes.c_int32] * 2, ctypes.c_uint64]
    library.refusal.argtypes = [ctypes.c_void_p, *[ctypes.c_uint32] * 2, *[ctypes.c_int32] * 4]
    library.seccomp.argtypes = [ctypes.c_void_p, *[ctypes.c_uint32] * 2, *[ctypes.c_int32] * 3]
    library.family_module.argtypes = [ctypes.c_void_p, *[ctypes.c_uint32] * 2, *[ctypes.c_int32] * 2]
    library.module.argtypes = [ctypes.c_void_p, *[ctypes.c_uint32] * 3, *[ctypes.c_int32] * 4]
    return library


class Map:
    """The map: the kernel writes at ``address``, ``read`` is what Python makes of it."""

    def __init__(self):
        size = -(-CPUS * cells.CPU_CELLS.itemsize // mmap.PAGESIZE) * mmap.PAGESIZE
        self.fd = os.memfd_create("cells")
        os.ftruncate(self.fd, size)
        self._memory = mmap.mmap(self.fd, size)
        self._held = (ctypes.c_char * size).from_buffer(self._memory)
        self.address = ctypes.addressof(self._held)

    def read(self):
        reader = cells.Cells(self.fd, CPUS, len(BOUNDS))
        try:
            return reader.read()
        finally:
            reader.close()

    def close(self):
        del self._held
        self._memory.close()
        os.close(self.fd)


@pytest.fixture
def table():
    made = Map()
    yield made
    made.close()


def test_the_layout_is_the_compiler_s(kernel):
    assert kernel.size() == cells.CPU_CELLS.itemsize
    create, calls = cells.CPU_CELLS["create"].base, cells.CPU_CELLS["create"].base["calls"].base
    offset = create.itemsize + create.fields["calls"][1] + 3 * calls.itemsize + calls.fields["sum_ns"][1]
    assert kernel.offset() == offset


def test_empty_tables_when_nothing_was_counted(table):
    tables = table.read()
    assert not tables.outcomes
    assert not tables.creation_durations
    assert not tables.module_requests
    assert not tables.refusals
    sizes = {"outcomes": 512, "plain_outcomes": 128, "modules": 128, "refusals": 128}
    assert tables.fill == {name: (0, size) for name, size in sizes.items()}
    assert all(histogram == Histogram((0,) * 5, 0) for histogram in tables.call_durations.values())


creations = st.tuples(
    st.integers(0, CPUS - 1),
    st.integers(0, 1),
    st.integers(0, 10),
    st.one_of(st.integers(-1, 263), st.integers(-(2**31), 2**31 - 1)),
    st.one_of(st.just(0), st.integers(-133, 0)),
    st.one_of(st.sampled_from(BOUNDS), st.integers(0, 2 * 10**10)),
)


@settings(deadline=None, max_examples=60)
@given(made=st.lists(creations, max_size=120))
def test_every_creation_is_counted_in_its_cell(kernel, made):
    table = Map()
    try:
        for creation in made:
            kernel.outcome(table.address, *creation)
        tables = table.read()
    finally:
        table.close()
    family = {0: 2, 1: 10}
    wanted = Counter(OutcomeKey(family[c], type_, protocol, -result) for _, c, type_, protocol, result, _ in made)
    assert _without_overflow(tables.outcomes, wanted) == 0
    for create, name in enumerate(("inet_create", "inet6_create")):
        durations = [duration for _, its, *_, duration in made if its == create]
        assert tables.call_durations[name] == histogram(durations)
    for (family_number, type_), found in tables.creation_durations.items():
        assert found == histogram([d for _, c, t, _, _, d in made if (family[c], t) == (family_number, type_)])


def histogram(durations):
    places = np.searchsorted(BOUNDS, durations, side="left") if durations else []
    return Histogram(tuple(np.bincount(places, minlength=len(BOUNDS) + 1).tolist()) if durations else (0,) * 5,
                     sum(durations))  # fmt: skip


def _without_overflow(found, wanted):
    """What is missing of ``wanted`` in ``found``, those counted without their protocol taken into account."""
    less = Counter(wanted) - Counter({outcome: n for outcome, n in found.items() if outcome.protocol is not None})
    plain = Counter()
    for outcome, count in less.items():
        plain[outcome._replace(protocol=None)] += count
    rest = {outcome: n for outcome, n in found.items() if outcome.protocol is None}
    assert Counter(rest) == plain
    return sum(found.values()) - sum(wanted.values())


def test_a_full_table_loses_detail_and_no_count(kernel, table):
    for protocol in range(3000):
        kernel.outcome(table.address, 1, 0, 3, protocol, -1 if protocol % 3 else 0, 100)
    tables = table.read()
    assert sum(tables.outcomes.values()) == 3000
    assert sum(n for outcome, n in tables.outcomes.items() if outcome.errno == 1) == 2000
    apart = [outcome for outcome in tables.outcomes if outcome.protocol is not None]
    assert 400 < len(apart) <= 512
    assert {outcome.errno for outcome in tables.outcomes if outcome.protocol is None} == {0, 1}
    assert tables.fill["outcomes"][0] == len(apart)


def test_what_no_table_has_room_for_is_counted_by_type_and_success(kernel, table):
    for type_ in range(11):
        for error in range(400):
            for protocol in (0, 6):
                kernel.outcome(table.address, 0, 1, type_, protocol, -error, 0)
    tables = table.read()
    assert sum(tables.outcomes.values()) == 11 * 400 * 2
    assert sum(n for outcome, n in tables.outcomes.items() if outcome.errno == 0) == 11 * 2
    for type_ in range(11):
        assert sum(n for outcome, n in tables.outcomes.items() if outcome.type == type_) == 800
        assert tables.outcomes[OutcomeKey(10, type_, None, None)]


def test_module_requests_are_counted_apart_while_there_is_room(kernel, table):
    with_type, without = define("MODULE_PROTO_TYPE"), define("MODULE_PROTO")
    kernel.module(table.address, 0, 0, with_type, 2, 132, 1, 256)
    kernel.module(table.address, 2, 0, without, 2, 132, 0, 0)
    kernel.module(table.address, 1, 1, without, 10, -7, 0, -2)
    kernel.module(table.address, 1, 1, without, 10, -7, 0, 0)
    assert table.read().module_requests == {
        "net-pf-2-proto-132-type-1": ModuleRequests(1, 1),
        "net-pf-2-proto-132": ModuleRequests(1, 0),
        "net-pf-10-proto--7": ModuleRequests(2, 1),
    }
    for protocol in range(1000):
        kernel.module(table.address, 0, 0, without, 2, protocol, 0, protocol % 2)
    requests = table.read().module_requests
    assert sum(found.requests for found in requests.values()) == 1004
    assert sum(found.failures for found in requests.values()) == 502
    assert requests[None].requests > 800
    assert requests["net-pf-2-proto-132"].requests >= 1


def test_refusals_are_counted_by_stage_errno_and_family(kernel, table):
    for cpu, syscall, *request in (
        (0, 0, 2, 1, -24, 1),
        (2, 0, 2, 1 | 0o2000000, -24, 1),  # another type to the kernel, the same stage
        (1, 0, 2, 1 | 0x100, -22, 0),
        (1, 0, 2, 1, -13, 0),
        (0, 0, 1, 1, -93, 0),
        (0, 0, -1, 1, -97, 0),
        (0, 0, 77, 1, -97, 0),
        (0, 1, 1, 1, -24, 0),
        (0, 1, 2, 1, -95, 1),
        (0, 2, 2, 1, -13, 1),
    ):
        kernel.refusal(table.address, cpu, syscall, *request)
    assert table.read().refusals == {
        RefusalKey("descriptor", 24, 2): 2,
        RefusalKey("arguments", 22, 2): 1,
        RefusalKey("security", 13, 2): 1,
        RefusalKey("create", 93, 1): 1,
        RefusalKey("family", 97, MANY): 2,
        RefusalKey("descriptor", 24, 1): 1,
        RefusalKey("post_create", 95, 2): 1,
        RefusalKey("post_create", 13, 2): 1,
    }
    for error in range(1, 400):
        kernel.refusal(table.address, 0, 0, 2, 1, -error, 1)
    tables = table.read()
    assert sum(tables.refusals.values()) == 10 + 399
    assert tables.refusals[RefusalKey(None, None, MANY)] > 250
    assert tables.fill["refusals"][0] > 100


def test_those_of_seccomp_filters_are_counted_likewise(kernel, table):
    for cpu, function, *request in (
        (0, 0, 16, 3, -1),
        (1, 0, 16, 2, -1),
        (0, 0, 2, 1 | 0x100, -22),
        (0, 1, 38, 5, -4096),
        (1, 0, 38, 5, -4096),
    ):
        kernel.seccomp(table.address, cpu, function, *request)
    tables = table.read()
    assert tables.refusals == {
        RefusalKey("seccomp", 1, 16): 2,
        RefusalKey("seccomp", 22, 2): 1,
        RefusalKey("seccomp", 4096, 38): 2,
    }
    assert tables.fill["refusals"][0] == 2
    for error in range(1, 400):
        kernel.seccomp(table.address, 0, 1, 2, 1, -error)
    assert table.read().fill["refusals"][0] > 100


def test_modules_of_families_are_counted_with_the_others(kernel, table):
    kernel.module(table.address, 0, 0, define("MODULE_PROTO"), 2, 132, 0, 0)
    kernel.family_module(table.address, 0, 0, 40, 0)
    kernel.family_module(table.address, 1, 1, 40, 256)
    tables = table.read()
    assert tables.module_requests == {
        "net-pf-2-proto-132": ModuleRequests(1, 0),
        "net-pf-40": ModuleRequests(2, 1),
    }
    assert tables.call_durations["__request_module"] == histogram([600, 600])
    assert tables.call_durations["__sys_socketpair"] == histogram([2000])
    assert tables.fill["modules"][0] == 1


def test_there_is_a_bucket_for_every_bound_of_the_command_line():
    assert parse_defines((bpf_folder() / "cells.h").read_text())["BUCKETS"] == MAX_BOUNDS + 1


def test_constants_are_what_the_program_takes():
    counting = cells.Counting((500, 1000), slow_ns=10**7, rate_limit=50)
    bucket = "((ns)>1000ULL?2:((ns)>500ULL?1:0))"
    assert counting.constants() == {"BUCKET(ns)": bucket, "SLOW_NS": "10000000ULL", "RATE_LIMIT": "50"}
