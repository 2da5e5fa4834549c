"""``inetprobe serve``: the Prometheus endpoint, live or from a recording."""

from __future__ import annotations

import contextlib
import json
import queue
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import click
from click.core import ParameterSource

from inetprobe.base.errors import EXIT_INTERRUPTED, UsageError
from inetprobe.base.signals import handled
from inetprobe.base.words import counted
from inetprobe.cli.complete import FILE
from inetprobe.cli.options import Filtering, filter_options, options, probe_options
from inetprobe.cli.terminal import say
from inetprobe.commands.serve.line_writer import LineWriter
from inetprobe.commands.serve.live_counts import RING_SIZE, ServeSource, open_live
from inetprobe.commands.serve.metrics.collector import SnapshotCollector
from inetprobe.commands.serve.metrics.exposition import Page, Rendered
from inetprobe.commands.serve.stream import VerdictStream
from inetprobe.commands.serve.systemd import READY, STOPPING, notify, reloading
from inetprobe.commands.serve.web import Response, Server
from inetprobe.kernel.callbacks import Say
from inetprobe.kernel.maps.cells import Counting
from inetprobe.kernel.trace_options import TraceOptions
from inetprobe.record.filter import Filters, parse_duration
from inetprobe.stats.buckets import DEFAULT_BOUNDS_NS, parse_bounds
from inetprobe.trace.output import Style
from inetprobe.trace.output.json_lines import JsonSink
from inetprobe.trace.output.summary import summary_line
from inetprobe.trace.pump import pump

F = TypeVar("F", bound=Callable[..., Any])

#: Options of a live run. A recording was made with options of its own.
_LIVE_ONLY = ("max_rate", "rate_limit", "mechanism", "maxactive", "ring_size", "seccomp")
# Seconds at the end for a reader that is slow, of the log and of the notes each.
_READERS_S = 2.0


@dataclass(frozen=True, slots=True)
class WebOptions:
    """Where the page is served: ``address`` is HOST:PORT, ``config`` the file of --web.config.file."""

    address: str
    config: Path | None
    telemetry_path: str


class WebServer(Protocol):
    """The part of inetprobe.commands.serve.web.Server that this command uses."""

    @property
    def url(self) -> str:
        """The server's URL, without a path."""

    @property
    def files(self) -> Sequence[Path]:
        """The files that ``reload`` reads."""

    def start(self) -> None:
        """Begins to answer requests, in threads of its own."""

    def reload(self) -> object:
        """Reads the web configuration again."""

    def stop(self) -> None:
        """Ends every connection. To be called once. Raises InetprobeError if the server had ended by itself."""


def _serve_options(function: F) -> F:
    return options(
        click.option(
            "--web.listen-address",
            "--listen",
            "address",
            metavar="HOST:PORT",
            default="127.0.0.1:10924",
            show_default=True,
            help="Address and port to listen on.",
        ),
        click.option(
            "--web.config.file",
            "config",
            type=FILE,
            metavar="FILE",
            help="TLS and basic auth, in the format of Prometheus exporters.",
        ),
        click.option(
            "--web.telemetry-path",
            "telemetry_path",
            metavar="PATH",
            default="/metrics",
            show_default=True,
            help="Path of the page.",
        ),
        click.option(
            "--replay",
            "recording",
            type=FILE,
            metavar="FILE",
            help="Serve the counts of a recording instead of this kernel's; needs no root.",
        ),
        click.option("--once", is_flag=True, help="Print the page on stdout and exit."),
        click.option(
            "--max-rate",
            type=click.IntRange(1),
            metavar="N",
            help="Detach the probes above N sockets per second until the rate drops.",
        ),
        click.option("--log-failures", is_flag=True, help="Print each streamed trace on stdout as a line of JSON."),
        click.option(
            "--slow",
            metavar="TIME",
            default="10ms",
            show_default=True,
            help="Also explain creations that take at least this long.",
        ),
        click.option(
            "--rate-limit",
            type=click.IntRange(1),
            metavar="N",
            default=1000,
            show_default=True,
            help="Maximum traces streamed per second and CPU.",
        ),
        click.option(
            "--buckets",
            metavar="TIME[,…]",
            help="Upper bounds of the histograms' buckets: at most 14, ascending.  [default: 500ns to 10s]",
        ),
        click.option(
            "--seccomp",
            is_flag=True,
            help="Also count what seccomp filters refuse without killing or logging. It costs each system call of "
            "every confined process.",
        ),
        *probe_options(RING_SIZE),
        click.option("-q", "--quiet", is_flag=True, help="Print no notes and no summary."),
    )(function)


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
    rate_limit: int,
    max_rate: int | None,
    ring_size: int,
    quiet: bool,
    **live: Any,
) -> None:
    """Serve exact counts of this kernel's inet sockets to Prometheus.

    Counts and histograms are kept in the kernel and are exact. Creations that failed, asked for a module or were slow
    are also streamed, checked against the model and counted by verdict.

    \b
    Examples:
      inetprobe serve --web.listen-address 0.0.0.0:10924 --web.config.file web.yml
      inetprobe serve --replay boot.arrows --once > boot.prom
    """
    if once and log_failures:
        raise UsageError("--once and --log-failures both print on stdout: give one of them")
    if recording is not None:
        _refuse_live_only()
    counting = Counting(
        bounds_ns=DEFAULT_BOUNDS_NS if buckets is None else parse_bounds(buckets),
        slow_ns=parse_duration(slow),
        rate_limit=rate_limit,
        max_rate=max_rate,
    )
    options = TraceOptions(filters=filters, ring_size=ring_size, counting=counting, **live)
    web = WebOptions(address, None if config is None else Path(config), telemetry_path)
    notes, lines = LineWriter(sys.stderr, _notes_left_out), LineWriter(sys.stdout, _lines_left_out)
    tell = say(quiet, lambda line: _note(notes, line))
    # The counts stay exact without the log, so serve goes on when the log's reader has gone.
    log = JsonSink(lines, Style()) if log_failures else None
    stream = VerdictStream(counting.bounds_ns, log, tell, lines.left_out)
    service = _Service(options, stream, tell, (notes, lines))
    try:
        if recording is None:
            service.live(None if once else web)
        else:
            service.replay(Path(recording), None if once else web)
    finally:
        if unwritten := lines.close(_READERS_S):
            tell(f"{counted(unwritten, 'line')} of the log could not be written: its reader was too slow or gone")
        notes.close(_READERS_S)


def _note(notes: LineWriter, line: str) -> None:
    with contextlib.suppress(OSError):  # nobody reads stderr any more: there is nobody to tell
        notes.write(f"{line}\n")


def _notes_left_out(count: int) -> str:
    return f"inetprobe: {counted(count, 'note')} left out here: the reader of stderr was too slow\n"


def _lines_left_out(count: int) -> str:
    return json.dumps({"v": 1, "kind": "lost", "reason": "log_full", "count": count}) + "\n"


def _refuse_live_only() -> None:
    context = click.get_current_context()
    for name in _LIVE_ONLY:
        if context.get_parameter_source(name) is not ParameterSource.DEFAULT:
            option = name.replace("_", "-")
            raise UsageError(f"--{option} is for counting live and --replay reads a recording: give one of them")


class _Service:
    """One run of the command. It checks the address and the web configuration before it attaches or reads anything.

    ``writers`` are those of the stream's log and of ``tell``. They are started before anything is served, which must
    not wait for their readers.
    """

    def __init__(
        self, options: TraceOptions, stream: VerdictStream, tell: Say, writers: Sequence[LineWriter] = ()
    ) -> None:
        assert options.counting is not None
        self._options = options
        self._counting = options.counting
        self._stream = stream
        self._tell = tell
        self._writers = writers
        self._page: Page | None = None
        # Signal handlers and the stream's thread put "stop" or "reload" here; the main thread sleeps until then.
        self._events: queue.SimpleQueue[str] = queue.SimpleQueue()

    def replay(self, path: Path, web: WebOptions | None) -> None:
        """Serves a recording's counts until stopped; without ``web``, prints its page once.

        Raises RecordingError for a recording whose counts are not exact.
        """
        from inetprobe.commands.serve.recorded_counts import ReplayedCounts  # imports Arrow; a live run need not

        server = None if web is None else self._bind(web)
        counting = self._counting
        counts = ReplayedCounts(path, self._options.filters, counting.bounds_ns, self._stream, counting.slow_ns)
        self._tell(summary_line(counts.accounting))
        self._page = Page(SnapshotCollector(counts, self._stream.counts))
        if web is None or server is None:
            self._print()
        else:
            with self._signals():
                self._start_writers()
                self._listen(server, web.telemetry_path)

    def live(self, web: WebOptions | None) -> None:
        """Serves the kernel's counts until stopped; without ``web``, prints the page once.

        Raises HostError if this machine cannot be traced, and what the stream's thread raised.
        """
        server = None if web is None else self._bind(web)
        with self._signals():
            files = () if server is None else server.files
            source = open_live(self._options, self._tell, self._exit_if_stopped, files)
            try:
                self._exit_if_stopped()
                self._page = Page(SnapshotCollector(source, self._stream.counts))
                if web is None or server is None:
                    self._print()
                else:
                    self._start_writers()  # after open_live: no thread may be there before capabilities are dropped
                    self._stream_and_listen(source, server, web.telemetry_path)
            finally:
                source.close()

    def _stream_and_listen(self, source: ServeSource, server: WebServer, page: str) -> None:
        with ThreadPoolExecutor(1, "stream") as executor:
            # No filters here: the kernel applies them.
            streaming = executor.submit(pump, source, Filters(), [self._stream])
            streaming.add_done_callback(lambda _: self._events.put("stop"))
            self._tell("counting: Ctrl-C or SIGTERM ends it")
            try:
                self._listen(server, page)
            finally:
                source.stop()
                self._tell(summary_line(streaming.result()))

    def _start_writers(self) -> None:
        for writer in self._writers:
            writer.start()

    def _bind(self, web: WebOptions) -> WebServer:
        return open_web(web, self._render, lambda: self._page is not None, self._tell, lambda: self._events.put("stop"))

    def _render(self, openmetrics: bool = False) -> Rendered:
        assert self._page is not None  # it is set before the server starts
        return self._page.render(openmetrics)

    def _print(self) -> None:
        sys.stdout.buffer.write(self._render().body)
        sys.stdout.buffer.flush()

    def _listen(self, server: WebServer, page: str) -> None:
        """Answers until SIGTERM or SIGINT; SIGHUP reloads the web configuration. systemd is notified of each. ``page``
        is its path."""
        try:
            server.start()
            self._tell(f"serving {server.url}{page}")
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
        events: dict[int, str] = {signal.SIGTERM: "stop", signal.SIGINT: "stop", signal.SIGHUP: "reload"}
        with handled(events, lambda number, _frame: self._events.put(events[number])):
            yield

    def _exit_if_stopped(self) -> None:
        """Exits with status 130 if a signal to stop came before there is anything to serve."""
        if self._page is None and self._stopped():
            sys.exit(EXIT_INTERRUPTED)

    def _stopped(self) -> bool:
        """Has a signal to stop come? Drops signals to reload: nothing is served yet."""
        while not self._events.empty():
            if self._events.get() == "stop":
                return True
        return False


def open_web(
    web: WebOptions, page: Callable[[bool], Rendered], ready: Callable[[], bool], tell: Say, failed: Callable[[], None]
) -> WebServer:
    """A server that listens and does not answer yet.

    ``page`` is asked for OpenMetrics or for the text format. ``failed`` is called if the server ends by itself; its
    ``stop`` then raises the reason. Raises UsageError for a bad configuration, or an address that is bad or in use.
    """
    server = Server(
        web.address,
        page=lambda openmetrics: Response(*page(openmetrics)),
        ready=ready,
        say=tell,
        config=web.config,
        telemetry_path=web.telemetry_path,
        failed=failed,
    )
    server.bind()
    return server
