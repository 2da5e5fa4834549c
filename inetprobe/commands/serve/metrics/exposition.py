"""The page of a scrape: Prometheus' text format, or OpenMetrics with exemplars if the scraper prefers that."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.exposition import generate_latest as as_text
from prometheus_client.openmetrics.exposition import generate_latest as as_openmetrics

from inetprobe.commands.serve.metrics.collector import SnapshotCollector

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"

_as_openmetrics: Callable[[CollectorRegistry], bytes] = as_openmetrics


class Rendered(NamedTuple):
    """A page and its Content-Type."""

    content_type: str
    body: bytes


class Page:
    """The metrics of ``collector``; with ``process``, those of this process and its Python as well."""

    def __init__(self, collector: SnapshotCollector, *, process: bool = True) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(collector)
        if process:
            ProcessCollector(registry=self._registry)
            PlatformCollector(registry=self._registry)
            GCCollector(registry=self._registry)

    def render(self, openmetrics: bool = False) -> Rendered:
        """The page as of now. May be called by any thread."""
        if openmetrics:
            return Rendered(OPENMETRICS, _as_openmetrics(self._registry))
        return Rendered(TEXT, as_text(self._registry))


def wants_openmetrics(accept: str) -> bool:
    """Does an Accept header prefer OpenMetrics 1.0 (or its draft, 0.0.1) to the text format?"""
    # prometheus_client's own choice fails on a version that is not a number, and repeats the header in its answer.
    openmetrics = text = 0.0
    for offer in accept.split(","):
        media_type, *words = (part.strip() for part in offer.split(";"))
        parameters = dict(word.split("=", 1) for word in words if "=" in word)
        quality = _quality(parameters.get("q", "1"))
        if media_type == "application/openmetrics-text" and parameters.get("version", "1.0.0") in ("1.0.0", "0.0.1"):
            openmetrics = max(openmetrics, quality)
        elif media_type == "text/plain":
            text = max(text, quality)
    return openmetrics > 0 and openmetrics >= text


def _quality(word: str) -> float:
    try:
        value = float(word)
    except ValueError:
        return 0.0
    return value if 0 <= value <= 1 else 0.0
