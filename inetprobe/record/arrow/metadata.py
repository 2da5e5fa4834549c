"""The JSON beside a recording's columns, written and read: the facts of the run, losses, and the accounting.

The schema's metadata has the facts, a batch's own metadata the losses just before it and the clock's offset where
that has changed, and that of the last batch the accounting. What is read is not trusted (see inetprobe.record): the
functions that read raise ValueError, TypeError or KeyError.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import asdict, replace
from typing import Any, NamedTuple

from inetprobe import __version__
from inetprobe.base.text import encodable
from inetprobe.model.profile import Profile
from inetprobe.record.accounting import Accounting
from inetprobe.record.batch import Loss
from inetprobe.record.layout import SLOTS, SLOTS_ALSO
from inetprobe.record.run import Run

FORMAT = "1.1"
#: The key of the facts in the schema's metadata.
KEY = "inetprobe"
# Parsed, JSON takes some 60 times its size; a recording's is a few hundred bytes.
_MAX_BYTES = 1 << 20
# Function names, reasons of losses, probes such as inet_create:entry: none of them needs escaping in a terminal.
_WORD = re.compile(r"[A-Za-z0-9_.:$-]{1,512}")
_FUNCTION_NUMBERS = {str(number): number for number in range(256)}
_REQUIRED = object()


class _Fact(NamedTuple):
    """A fact of a run: its key in the JSON, its field in ``Run``, how it is written, and how it is read."""

    key: str
    field: str
    write: Callable[[Run], Any]
    read: Callable[[Any], Any]
    #: What a recording without the key says.
    default: Any = _REQUIRED


_FACTS = (
    _Fact("kernel", "kernel",
          lambda run: run.kernel,
          lambda value: _text(value, "kernel")),
    _Fact("architecture", "architecture",
          lambda run: run.architecture,
          lambda value: _text(value, "architecture"), ""),
    _Fact("clock_offset_ns", "clock_offset_ns",
          lambda run: run.clock_offset_ns,
          lambda value: _clock_offset(value)),
    _Fact("mechanism", "mechanisms",
          lambda run: mechanism_text(run.mechanisms),
          lambda value: _text(value, "mechanism"), ""),
    _Fact("preemption", "preemption",
          lambda run: run.preemption,
          lambda value: None if value is None else _text(value, "preemption"), None),
    _Fact("symbols", "symbols",
          lambda run: dict(run.symbols),
          lambda value: _symbols(value), {}),
    _Fact("filters", "filters",
          lambda run: list(run.filters),
          lambda value: tuple(_text(filter_, "filter") for filter_ in _list(value, "filters")), []),
    _Fact("slots", "slots",
          lambda run: run.slots,
          lambda value: _slots(value), SLOTS),
    _Fact("sock", "sock",
          lambda run: run.sock,
          lambda value: _truth(value, "mark of --sock"), False),
    _Fact("stack", "stack",
          lambda run: run.stack,
          lambda value: _truth(value, "mark of --stack"), False),
    _Fact("profile", "profile",
          lambda run: None if run.profile is None else run.profile.to_dict(),
          lambda value: None if value is None else Profile.from_dict(value), None),
    _Fact("functions", "functions",
          lambda run: {str(number): name for number, name in run.functions.items()},
          lambda value: _functions(value)),
    _Fact("host", "host",
          lambda run: run.host,
          lambda value: None if value is None else _text(value, "host"), None),
    _Fact("machine_id", "machine_id",
          lambda run: run.machine_id,
          lambda value: None if value is None else _text(value, "machine_id"), None),
)  # fmt: skip


def run_metadata(run: Run, redact: AbstractSet[str] = frozenset()) -> dict[str, str]:
    """The schema's metadata; ``redact`` with ``"host"`` leaves out which machine it was, with the name of a filter what
    that names."""
    if "host" in redact:
        run = replace(run, host=None, machine_id=None)
    named = ((filter_, filter_.partition("=")[0]) for filter_ in run.filters)
    run = replace(run, filters=tuple(f"{name}=redacted" if name in redact else filter_ for filter_, name in named))
    facts = {"format": FORMAT, "version": __version__, **{fact.key: fact.write(run) for fact in _FACTS}}
    return {KEY: json.dumps(facts)}


def facts_of(raw: bytes) -> tuple[str, Mapping[str, Any]]:
    """The format's version and all facts, not yet read, of the value of ``KEY``."""
    facts = _mapping(_load(raw), "metadata")
    return _word(facts["format"], "format"), facts


def run_of(facts: Mapping[str, Any]) -> Run:
    """The run that ``run_metadata`` wrote, in any format 1.x; keys of a newer one are left out."""
    values = {}
    for fact in _FACTS:
        value = facts[fact.key] if fact.default is _REQUIRED else facts.get(fact.key, fact.default)
        values[fact.field] = fact.read(value)
    values["mechanisms"] = _mechanisms(values["mechanisms"], values["functions"].values())
    return Run(**values)


def mechanism_text(mechanisms: Mapping[str, str]) -> str:
    """``inet_create:fentry, sk_alloc:kprobe``."""
    return ", ".join(f"{function}:{mechanism}" for function, mechanism in mechanisms.items())


def _mechanisms(text: str, functions: Iterable[str]) -> dict[str, str]:
    """The inverse of ``mechanism_text``. A text that names no function holds for all ``functions``."""
    if ":" not in text:
        return dict.fromkeys(functions, text) if text else {}
    parts = (part.partition(":") for part in text.split(", "))
    return {function: mechanism for function, colon, mechanism in parts if colon}


def losses_metadata(losses: Iterable[Loss]) -> dict[str, str]:
    """A batch's metadata."""
    pairs = [[loss.reason, loss.count] for loss in losses]
    return {"losses": json.dumps(pairs)} if pairs else {}


def losses_of(metadata: Mapping[Any, bytes]) -> tuple[Loss, ...]:
    """The losses before a batch."""
    pairs = _list(_load(metadata.get("losses", b"[]")), "losses")
    return tuple(Loss(_word(reason, "loss"), _count(count, "loss")) for reason, count in pairs)


def clock_metadata(offset_ns: int) -> dict[str, str]:
    """The metadata of the first batch with another ``Run.clock_offset_ns`` than those before it: the clock was set."""
    return {"clock_offset_ns": json.dumps(offset_ns)}


def clock_of(metadata: Mapping[Any, bytes], before_ns: int) -> int:
    """The clock's offset of a batch; ``before_ns``: that of the batch before it."""
    return _clock_offset(_load(metadata["clock_offset_ns"])) if "clock_offset_ns" in metadata else before_ns


def accounting_metadata(accounting: Accounting) -> dict[str, str]:
    """The last batch's metadata."""
    return {"accounting": json.dumps(accounting.to_dict())}


def accounting_of(metadata: Mapping[Any, bytes]) -> Accounting | None:
    """The accounting, None of a batch that is not the last; keys of a newer format are left out."""
    if "accounting" not in metadata:
        return None
    recorded = _mapping(_load(metadata["accounting"]), "accounting")
    known = {}
    for name, default in asdict(Accounting()).items():
        if name in recorded:
            read = _counts if isinstance(default, dict) else _count
            known[name] = read(recorded[name], name)
    return Accounting.from_dict(known)


def _functions(value: Any) -> dict[int, str]:
    functions = _mapping(value, "table of functions")
    if not functions.keys() <= _FUNCTION_NUMBERS.keys():
        raise ValueError("its table of functions has a number that no call can have")
    names = {_FUNCTION_NUMBERS[number]: _word(name, "function's name") for number, name in functions.items()}
    if len(set(names.values())) < len(names):
        raise ValueError("two of its functions have one name")
    return names


def _symbols(value: Any) -> dict[str, str]:
    symbols = _mapping(value, "table of symbols")
    return {_word(name, "function's name"): _word(symbol, "symbol") for name, symbol in symbols.items()}


def _clock_offset(value: Any) -> int:
    """Nanoseconds whose sum with any start is a date."""
    return _integer(value, "clock offset", -(1 << 63), 1 << 63)


def _slots(value: Any) -> int:
    number = _integer(value, "number of calls per record", 1, 256)
    if number not in (SLOTS, SLOTS_ALSO):
        raise ValueError(f"it says that a record has room for {number} calls")
    return number


def _list(value: Any, name: str) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"its {name} are not a list")
    return value


def _load(raw: bytes) -> Any:
    """The value of a JSON text. Raises ValueError for one that is too long, too deep or not JSON."""
    if len(raw) > _MAX_BYTES:
        raise ValueError(f"its metadata has {len(raw):,} bytes")
    try:
        return json.loads(raw)
    except RecursionError:
        raise ValueError("its metadata is nested too deeply") from None


def _mapping(value: Any, name: str) -> dict[str, Any]:
    """A JSON object."""
    if not isinstance(value, dict):
        raise ValueError(f"its {name} is not a JSON object")
    return value


def _text(value: Any, name: str) -> str:
    """A string that can be encoded."""
    if not isinstance(value, str) or not encodable(value):
        raise ValueError(f"its {name} is not text")
    return value


def _word(value: Any, name: str) -> str:
    """A string that needs no escaping in a terminal."""
    if not isinstance(value, str) or not _WORD.fullmatch(value):
        raise ValueError(f"its {name} is not a valid name")
    return value


def _truth(value: Any, name: str) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise ValueError(f"its {name} is neither true nor false")
    return value


def _integer(value: Any, name: str, low: int, high: int) -> int:
    """A whole number from ``low`` up to, not including, ``high``."""
    if type(value) is not int or not low <= value < high:
        raise ValueError(f"its {name} is not a number from {low} to {high - 1}")
    return value


def _count(value: Any, name: str) -> int:
    """A number of things. A filtered copy of a damaged recording may have one below 0."""
    return _integer(value, name, -(1 << 63), 1 << 64)


def _counts(value: Any, name: str) -> dict[str, int]:
    """A number of things by name."""
    return {_word(key, name): _count(number, name) for key, number in _mapping(value, name).items()}
