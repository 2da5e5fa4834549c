"""The page: the gathered numbers and the summary, in one HTML file that needs nothing else.

Untrusted text (comms, cgroups, names of modules and protocols, paths) goes through ``printable`` and then Jinja's
escaping, so that it cannot be markup, move text or hide. Only scripts with a listed hash run, and nothing is loaded.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from inetprobe import __version__
from inetprobe.base.text import printable
from inetprobe.base.words import by_reason, counted
from inetprobe.commands.check.result import Case
from inetprobe.commands.report import charts, in_short, listings
from inetprobe.commands.report.bars import ShownTrace, shown
from inetprobe.commands.report.causes import Cause
from inetprobe.commands.report.gather import Gathered
from inetprobe.commands.report.numbers import NBSP, mechanisms, sentence, share, took

#: Causes that are shown one by one; the rest is one line.
CAUSES = 40
_LIBRARIES = (("d3.min.js", "LICENSE.d3"), ("plot.umd.min.js", "LICENSE.plot"))


def render(
    now: Gathered, before: Gathered | None, changes: Sequence[Case] | None, *, slowest: int, filters: Sequence[str] = ()
) -> str:
    """The page of ``now``; ``before`` and ``changes`` are None without a baseline.

    ``slowest`` is the number of slowest sockets to show, ``filters`` are those that all sockets passed.
    """
    found, rest = in_short.together(now.recordings)
    functions, stages = charts.functions(now, before), charts.stages(now, before)
    scripts = _scripts()
    view = now.stats.view()
    return _environment().get_template("page.html.j2").render(
        version=__version__,
        policy=_policy(scripts),
        scripts=scripts,
        style=Markup(_file("style.css")),  # ours
        charts=charts.data(now, before, [*functions, *stages]),
        now=now,
        filters=filters,
        before=before,
        view=view,
        ended=view.sockets - view.unseen,
        times=in_short.overall(now),
        lost=sum(sum(one.accounting.lost.values()) for one in now.recordings),
        damaged=[one for one in [*now.recordings, *(before.recordings if before else [])] if one.damage is not None],
        chapters=in_short.summary(now, changes),
        changes=changes,
        functions=functions,
        stages=stages,
        kinds=listings.kinds(now),
        modules=listings.modules(now),
        comms=listings.comms(now),
        cgroups=listings.cgroups(now),
        books=listings.books(now.recordings),
        causes=[_cause(cause, one) for cause, one in list(found.items())[:CAUSES]],
        causes_left=(max(0, len(found) - CAUSES), sum(one.count for one in list(found.values())[CAUSES:]) + rest),
        slowest=_slowest(now, slowest),
        several=len(now.recordings) > 1,
    )  # fmt: skip


def _cause(cause: Cause, merged: in_short.Together) -> dict[str, Any]:
    traces = [shown(trace, recording) for trace, recording in merged.examples]
    return {"cause": cause, "count": merged.count, "by": in_short.names(merged.comms, 5), "traces": traces}


def _slowest(now: Gathered, count: int) -> list[ShownTrace]:
    traces = [(trace, recording) for recording in now.recordings for trace in recording.slowest.traces()]
    traces.sort(key=lambda pair: -(pair[0].duration_ns or 0))
    return [shown(trace, recording) for trace, recording in traces[:count]]


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("inetprobe.commands.report", "assets/templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_harmless,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        n=lambda number: f"{number:,}",
        took=took,
        day=_day,
        clock=_clock,
        measured=_measured,
        tally=by_reason,
        mechanisms=mechanisms,
        sentence=sentence,
        capital=_capital,
    )
    environment.globals.update(share=share, counted=counted)
    return environment


def _harmless(value: Any) -> Any:
    """Makes every text of the page printable, except our own markup."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return NBSP.join(map(printable, value.split(NBSP)))


def _day(ns: int) -> str:
    """Nanoseconds since the epoch as UTC date and time."""
    return datetime.fromtimestamp(ns // 10**9, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _clock(us: int) -> str:
    """Microseconds since the epoch as UTC date and time with milliseconds."""
    return f"{_day(us * 1000).removesuffix(' UTC')}.{us % 10**6 // 1000:03}"


def _measured(value: float, unit: str) -> str:
    """A value of a comparison: nanoseconds, or a share from 0 to 1."""
    return took(round(value)) if unit == "ns" else f"{value * 100:.3g}{NBSP}%"


def _scripts() -> list[Markup]:
    """The libraries, each with its licence in front, and our own script."""
    own = _file("script.js")
    texts = [f"/*! {_file(f'vendor/{licence}')}*/\n{_file(f'vendor/{name}')}" for name, licence in _LIBRARIES]
    return [Markup(text) for text in (*texts, own)]  # our own text and the libraries', nothing untrusted


def _policy(scripts: Sequence[str]) -> str:
    """A Content-Security-Policy that loads nothing and runs only these scripts."""
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'" for s in scripts)
    # Style attributes are allowed: the bars need them. default-src keeps styles from loading anything.
    return f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def _file(name: str) -> str:
    return resources.files("inetprobe.commands.report").joinpath("assets", name).read_text(encoding="utf-8")
