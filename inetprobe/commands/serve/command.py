"""``inetprobe serve``: the Prometheus endpoint, live or from a recording."""

from __future__ import annotations

import contextlib
import queue
import signal
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import click
from click.core import ParameterSource

from inetprobe.base.errors import EXIT_INTERRUPTED, UsageError
from inetprobe.cli.complete import FILE
from inetprobe.cli.options import Filtering, filter_options, probe_options
from inetprobe.cli.terminal import say
from inetprobe.commands.serve.live_counts import RING_SIZE, Say, ServeOptions, ServeSource, open_live
from inetprobe.commands.serve.metrics.collector import SnapshotCollector
from inetprobe.commands.serve.metrics.exposition import Page, Rendered
from inetprobe.commands.serve.stream import VerdictStream
from inetprobe.commands.serve.systemd import READY, STOPPING, notify, reloading
from inetprobe.commands.serve.web import Response, Server
from inetprobe.record.filter import Filters, parse_duration
from inetprobe.stats.buckets import DEFAULT_BOUNDS_NS, parse_bounds
from inetprobe.trace.output import Style, open_format
from inetprobe.trace.output.summary import summary_line
from inetprobe.trace.pump import Sink, pump

F = TypeVar("F", bound=Callable[..., Any])

#: Options of a live run: a recording was made with its own.
_LIVE_ONLY = ("max_rate", "rate_limit", "mechanism", "maxactive", "ring_size")


@dataclass(frozen=True, slots=True)
class WebOptions:
    """Where the page is served: ``address`` as HOST:PORT, ``config`` in the format of --web.config.file."""

    address: str
    config: Path | None
    telemetry_path: str


class WebServer(Protocol):
    """What this command asks of inetprobe.commands.serve.web."""

    @property
    def url(self) -> str:
        """Where it listens, once it has started."""

    def start(self) -> None:
        """Begins to answer, in threads of its own."""

    def reload(self) -> object:
        """Reads the web configuration again."""

    def stop(self) -> None:
        """Ends every connection; to be called once. Raises InetprobeError where the server had ended by itself."""


def _serve_options(function: F) -> F:
    options = [
        click.option(
            "--web.listen-address",
            "--listen",
            "address",
            metavar="HOST:PORT",
            default="127.0.0.1:10924",
            show_default=True,
            help="Where to listen.",
        ),
        click.option(
            "--web.config.file",
            "config",
            type=FILE,
            metavar="FILE",
            help="TLS and passwords, as Prometheus' exporters have them.",
        ),
        click.option("--web.telemetry-path", "telemetry_path", metavar="PATH", default="/metrics", show_default=True),
        click.option(
            "--replay",
            "recording",
            type=FILE,
            metavar="FILE",
            help="Serve the counts of a recording: no kernel, no root.",
        ),
        click.option("--once", is_flag=True, help="Print the page on stdout and end."),
        click.option(
            "--max-rate",
            type=click.IntRange(1),
            metavar="N",
            help="Take the probes away above N sockets a second, until it has calmed down.",
        ),
        click.option("--log-failures", is_flag=True, help="Print every streamed trace on stdout as a line of JSON."),
        click.option(
            "--slow", metavar="TIME", default="10ms", show_default=True, help="What takes as long needs an explanation."
        ),
        click.option(
            "--rate-limit",
            type=click.IntRange(1),
            metavar="N",
            default=1000,
            show_default=True,
            help="Traces streamed a second and CPU, at most.",
        ),
        click.option(
            "--buckets",
            metavar="TIME[,…]",
            help="Bounds of the histograms, at most 14, ascending.  [default: 500ns to 10s]",
        ),
        *probe_options(RING_SIZE),
        click.option("-q", "--quiet", is_flag=True, help="No notes and no summary."),
    ]
    decorated: Any = function
    for option in reversed(options):
        decorated = option(decorated)
    result: F = decorated
    return result


@click.command("serve", cls=Filtering)
@filter_options
@_serve_options
def serve_command(
    filters: Filters,
    address: str,
    config: str | None,
    telemetry_path: str,
    recording: str | None,
    once: bool,
    log_failures: bool,
    slow: str,
    buckets: str | None,
    ring_size: int,
    quiet: bool,
    **live: Any,
) -> None:
    """Serve exact counts of this kernel's inet sockets to Prometheus.

    Counts and histograms are the kernel's own. What failed, asked for a module or was slow is streamed as well, judged
    and counted by verdict.

    \b
    Examples:
      inetprobe serve --web.listen-address 0.0.0.0:10924 --web.config.file web.yml
      inetprobe serve --replay boot.arrows --once > boot.prom
    """
    if once and log_failures:
        raise UsageError("--once prints the page on stdout, where --log-failures prints, too: give one of them")
    if recording is not None:
        _refuse_live_only()
    options = ServeOptions(
        filters=filters,
        bounds_ns=DEFAULT_BOUNDS_NS if buckets is None else parse_bounds(buckets),
        slow_ns=parse_duration(slow),
        ring_size=ring_size,
        **live,
    )
    web = WebOptions(address, None if config is None else Path(config), telemetry_path)
    tell = say(quiet)
    # Its counts are exact whatever becomes of the log, so that a daemon outlives its log's reader.
    log: Sink | None = open_format("json", sys.stdout, Style()) if log_failures else None
    service = _Service(options, VerdictStream(options.bounds_ns, log, tell), tell)
    if recording is None:
        service.live(None if once else web)
    else:
        service.replay(Path(recording), None if once else web)


def _refuse_live_only() -> None:
    context = click.get_current_context()
    for name in _LIVE_ONLY:
        if context.get_parameter_source(name) is not ParameterSource.DEFAULT:
            option = name.replace("_", "-")
            raise UsageError(f"--{option} is for counting live, and --replay reads a recording: leave one of them out")


class _Service:
    """One run of the command. The address and the web configuration are tried before anything is attached or read."""

    def __init__(self, options: ServeOptions, stream: VerdictStream, tell: Say) -> None:
        self._options = options
        self._stream = stream
        self._tell = tell
        self._page: Page | None = None
        # Filled by signal handlers and by the stream's thread: the main thread sleeps until there is something.
        self._events: queue.SimpleQueue[str] = queue.SimpleQueue()

    def replay(self, path: Path, web: WebOptions | None) -> None:
        """A recording's counts, until stopped; without ``web`` its page, once."""
        from inetprobe.commands.serve.recorded_counts import ReplayedCounts  # and Arrow, which counting live is spared

        server = None if web is None else self._bind(web)
        options = self._options
        counts = ReplayedCounts(path, options.filters, options.bounds_ns, self._stream, options.slow_ns)
        self._tell(summary_line(counts.accounting))
        self._page = Page(SnapshotCollector(counts, self._stream.told))
        if server is None:
            self._print()
        else:
            with self._signals():
                self._listen(server)

    def live(self, web: WebOptions | None) -> None:
        """The kernel's counts, until stopped; without ``web`` a page, once. Raises what the stream's thread raised."""
        server = None if web is None else self._bind(web)
        with self._signals():
            source = open_live(self._options, self._tell, self._go_on)
            try:
                self._go_on()
                self._page = Page(SnapshotCollector(source, self._stream.told))
                if server is None:
                    self._print()
                else:
                    self._stream_and_listen(source, server)
            finally:
                source.close()

    def _stream_and_listen(self, source: ServeSource, server: WebServer) -> None:
        with ThreadPoolExecutor(1, "stream") as executor:
            # The filters are decided in the kernel.
            streaming = executor.submit(pump, source, Filters(), [self._stream])
            streaming.add_done_callback(lambda _: self._events.put("stop"))
            self._tell("counting: Ctrl-C or SIGTERM ends it")
            try:
                self._listen(server)
            finally:
                source.stop()
                self._tell(summary_line(streaming.result()))

    def _bind(self, web: WebOptions) -> WebServer:
        return open_web(web, self._render, lambda: self._page is not None, self._tell, lambda: self._events.put("stop"))

    def _render(self, accept: str) -> Rendered:
        assert self._page is not None  # the server answers once it is started
        return self._page.render(accept)

    def _print(self) -> None:
        sys.stdout.buffer.write(self._render("").body)
        sys.stdout.buffer.flush()

    def _listen(self, server: WebServer) -> None:
        """Answers until SIGTERM or SIGINT; SIGHUP reloads the web configuration. systemd is told of each."""
        try:
            server.start()
            self._tell(f"serving {server.url}")
            notify(READY)
            while self._events.get() != "stop":
                notify(reloading())
                server.reload()
                notify(READY)
            notify(STOPPING)
        finally:
            server.stop()

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        words = {signal.SIGTERM: "stop", signal.SIGINT: "stop", signal.SIGHUP: "reload"}
        before = {number: signal.signal(number, self._on_signal(word)) for number, word in words.items()}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, word: str) -> Callable[[int, object], None]:
        return lambda _number, _frame: self._events.put(word)

    def _go_on(self) -> None:
        """Ends the process where it is told to stop before there is anything to serve."""
        if self._page is None and self._stopped():
            sys.exit(EXIT_INTERRUPTED)

    def _stopped(self) -> bool:
        """Has a signal to stop come already? One to reload is moot before there is anything to serve."""
        while not self._events.empty():
            if self._events.get() == "stop":
                return True
        return False


def open_web(
    web: WebOptions, page: Callable[[str], Rendered], ready: Callable[[], bool], tell: Say, failed: Callable[[], None]
) -> WebServer:
    """A server that listens and does not answer yet. ``page`` takes the request's Accept header; ``failed`` is called
    where it ends before it is told to, which ``stop`` then raises.

    Raises UsageError for a bad address or configuration, InetprobeError for an address that is in use.
    """
    server = Server(
        web.address,
        page=lambda accept, _query: Response(*page(accept)),
        ready=ready,
        say=tell,
        config=web.config,
        telemetry_path=web.telemetry_path,
        failed=failed,
    )
    server.bind()
    tell(f"serving {server.url}{web.telemetry_path}")
    return server
