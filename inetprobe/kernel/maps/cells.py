"""The kernel's own tables of outcomes, durations and module requests, read from mapped memory without a system call."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from inetprobe.base.uapi import AF_INET, AF_INET6, SOCK_TYPE_MASK
from inetprobe.kernel.maps.counters import map_memory
from inetprobe.record.calls import module_name
from inetprobe.record.cheader import bpf_folder, parse_defines, parse_structs
from inetprobe.record.layout import FUNCTION_REQUEST_MODULE, FUNCTIONS, SYSCALLS, Records, define
from inetprobe.stats.buckets import DEFAULT_BOUNDS_NS
from inetprobe.stats.snapshot import MANY, Histogram, MapFill, ModuleRequests, OutcomeKey, RefusalKey, refusal

_HEADER = (bpf_folder() / "cells.h").read_text()
_DEFINES = parse_defines(_HEADER)
_SIZES = {name: define(name) for name in ("SYSCALLS", "SECCOMP_FUNCTIONS")}
CPU_CELLS = parse_structs(_HEADER, _DEFINES | _SIZES)["cpu_cells"]
# The address family of each create, by its index in cpu_cells.create.
_FAMILIES = {define("FUNCTION_INET_CREATE"): AF_INET, define("FUNCTION_INET6_CREATE"): AF_INET6}


@dataclass(frozen=True, slots=True)
class Counting:
    """How the kernel counts and what it sends.

    ``bounds_ns``: the histograms' upper bounds, ascending, at most ``bounds.MAX_BOUNDS``. Failures are sent, and
    successes of at least ``slow_ns``: at most ``rate_limit`` records per second and CPU. Above ``max_rate`` creations
    per second the probes are detached; None: never.
    """

    bounds_ns: tuple[int, ...] = DEFAULT_BOUNDS_NS
    slow_ns: int = 10_000_000
    rate_limit: int = 1000
    max_rate: int | None = None

    def constants(self) -> dict[str, str]:
        """The -D constants of bpf/inetprobe.bpf.c."""
        return {
            "BUCKET(ns)": _bucket(self.bounds_ns, 0),
            "SLOW_NS": f"{self.slow_ns}ULL",
            "RATE_LIMIT": str(self.rate_limit),
        }


@dataclass(frozen=True, slots=True)
class Tables:
    """The cells at one moment, in the types of ``snapshot.Snapshot``; ``fill``: used and available entries by table."""

    outcomes: dict[OutcomeKey, int]
    refusals: dict[RefusalKey, int]
    creation_durations: dict[tuple[int, int], Histogram]
    call_durations: dict[str, Histogram]
    module_requests: dict[str | None, ModuleRequests]
    fill: dict[str, MapFill]


class Cells:
    """The map ``cells`` of bpf/inetprobe.bpf.c. Not thread-safe."""

    def __init__(self, fd: int, cpus: int, bounds: int) -> None:
        """``bounds``: the number of the histograms' bounds. Raises OSError."""
        self._memory = map_memory(fd, cpus * CPU_CELLS.itemsize)
        cells = np.frombuffer(self._memory, CPU_CELLS, cpus)
        self._creates, self._syscalls, self._seccomp = cells["create"], cells["syscall"], cells["seccomp"]
        self._buckets = bounds + 1

    def read(self) -> Tables:
        """The current sums over all CPUs."""
        outcomes: dict[OutcomeKey, int] = {}
        refusals: Counter[RefusalKey] = Counter()
        requests: dict[str | None, tuple[int, int]] = {}
        durations, calls = {}, np.zeros((_DEFINES["CELL_CALLS"], _DEFINES["BUCKETS"] + 1), np.uint64)
        used = dict.fromkeys(("outcomes", "plain_outcomes", "modules", "refusals"), 0)
        for create, family in _FAMILIES.items():
            cells = self._creates[:, create].copy()
            for outcome, count in _outcomes(cells, family):
                outcomes[outcome] = outcomes.get(outcome, 0) + count
            _add(requests, cells)
            outermost = _summed(cells["durations"])
            for type_, row in enumerate(outermost):
                if row.any():
                    durations[family, type_] = self._histogram(row)
            calls += _summed(cells["calls"])
            calls[create] += outermost.sum(axis=0)
            _fill(used, cells)
        for index, (number, syscall) in enumerate(SYSCALLS.items()):
            cells = self._syscalls[:, index].copy()
            for key, count in _refusals(cells["refused"], syscall):
                refusals[key] += count
            _fill(used, cells["refused"])
            _add(requests, cells)
            calls[number] += _summed(cells["durations"])
            calls[FUNCTION_REQUEST_MODULE] += _summed(cells["requests"])
            _fill(used, cells)
        for index in range(_SIZES["SECCOMP_FUNCTIONS"]):
            cells = self._seccomp[:, index].copy()
            for key, count in _refusals(cells, None):
                refusals[key] += count
            _fill(used, cells)
        return Tables(
            outcomes,
            dict(refusals),
            durations,
            {FUNCTIONS[number]: self._histogram(row) for number, row in enumerate(calls) if number in FUNCTIONS},
            {name: ModuleRequests(*counts) for name, counts in requests.items()},
            {table: MapFill(count, _DEFINES[table.upper()]) for table, count in used.items()},
        )

    def close(self) -> None:
        """Unmaps the cells."""
        del self._creates, self._syscalls, self._seccomp
        self._memory.close()

    def _histogram(self, row: npt.NDArray[np.uint64]) -> Histogram:
        *buckets, total_ns = row.tolist()
        return Histogram(tuple(buckets[: self._buckets]), total_ns)


def _bucket(bounds_ns: tuple[int, ...], first: int) -> str:
    """A C expression that finds the bucket of ``ns`` by halving; ``first`` is the first bound's index."""
    if not bounds_ns:
        return str(first)
    middle = len(bounds_ns) // 2
    below, above = _bucket(bounds_ns[:middle], first), _bucket(bounds_ns[middle + 1 :], first + middle + 1)
    return f"((ns)>{bounds_ns[middle]}ULL?{above}:{below})"


def _summed(histograms: Records) -> npt.NDArray[np.uint64]:
    """Histograms of [CPU, …] as words […, buckets and the sum], the CPUs added up."""
    return np.concatenate([histograms["bucket"].sum(axis=0), histograms["sum_ns"].sum(axis=0)[..., None]], axis=-1)


def _used(table: Records) -> Iterator[tuple[int, int]]:
    """(key, count) of every used cell, summed over the CPUs."""
    used = table[(table["key"] != 0) & (table["count"] != 0)]
    keys, indexes = np.unique(used["key"], return_inverse=True)
    counts = np.zeros(len(keys), np.uint64)
    np.add.at(counts, indexes, used["count"])
    yield from zip(keys.tolist(), counts.tolist(), strict=True)


def _outcomes(cells: Records, family: int) -> Iterator[tuple[OutcomeKey, int]]:
    for table in ("outcomes", "plain_outcomes"):
        for key, count in _used(cells[table]):
            protocol = _signed(key >> _DEFINES["KEY_NUMBER"]) if key & _DEFINES["KEY_PROTOCOL"] else None
            yield (
                OutcomeKey(family, key >> _DEFINES["KEY_TYPE"] & 0xF, protocol, key >> _DEFINES["KEY_ERRNO"] & 0xFFF),
                count,
            )
    for index, count in enumerate(cells["last_outcomes"].sum(axis=0).tolist()):
        if count:
            yield OutcomeKey(family, index // 2, None, None if index % 2 else 0), count


def _refusals(cells: Records, syscall: str | None) -> Iterator[tuple[RefusalKey, int]]:
    """``syscall``: None where a seccomp filter refused."""
    for key, count in _used(cells["refusals"]):
        type_ = key >> _DEFINES["KEY_TYPE"] & SOCK_TYPE_MASK
        if key & _DEFINES["KEY_FLAGS"]:
            type_ |= SOCK_TYPE_MASK + 1  # one flag unknown to socket(2) stands for all
        errno, family = key >> _DEFINES["KEY_ERRNO"] & 0x1FFF, key >> _DEFINES["KEY_NUMBER"]
        yield refusal(syscall, family, type_, errno, after=bool(key & _DEFINES["KEY_AFTER"])), count
    rest = int(cells["last_refusals"].sum())
    if rest:
        yield RefusalKey(None, None, MANY), rest


def _add(requests: dict[str | None, tuple[int, int]], cells: Records) -> None:
    """Adds the module requests of some cells."""
    for name, failed, count in _requests(cells):
        total, failures = requests.get(name, (0, 0))
        requests[name] = total + count, failures + count * failed


def _fill(used: dict[str, int], cells: Records) -> None:
    """Counts the cells in use of each table, on the CPU that uses the most."""
    for table in used.keys() & set(cells.dtype.names or ()):
        used[table] = max(used[table], int(np.count_nonzero(cells[table]["key"], axis=1).max()))


def _requests(cells: Records) -> Iterator[tuple[str | None, bool, int]]:
    """(name, failed?, count); the name is None for requests after the table was full."""
    for key, count in _used(cells["modules"]):
        form, type_ = key >> _DEFINES["KEY_FORM"] & 3, key >> _DEFINES["KEY_TYPE"] & 0xF
        family, protocol = key >> _DEFINES["KEY_FAMILY"] & 0xFFFF, _signed(key >> _DEFINES["KEY_NUMBER"])
        yield module_name(form, family, protocol, type_), bool(key & _DEFINES["KEY_FAILED"]), count
    for failed, count in enumerate(cells["last_modules"].sum(axis=0).tolist()):
        if count:
            yield None, bool(failed), count


def _signed(word: int) -> int:
    return word - (1 << 32) if word >> 31 else word
