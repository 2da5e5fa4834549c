"""The HTTP server of ``serve``: binds its port before anything is attached, then serves in one background thread."""

from __future__ import annotations

import asyncio
import errno
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from inetprobe.base.errors import InetprobeError, UsageError
from inetprobe.base.text import printable
from inetprobe.commands.serve.web.config import WebConfig
from inetprobe.commands.serve.web.connection import Connection, Limits, State
from inetprobe.commands.serve.web.hosts import loopback_names
from inetprobe.commands.serve.web.listen import client_of, host_and_port, listen
from inetprobe.commands.serve.web.routes import Page, Routes
from inetprobe.commands.serve.web.transport import Transport

_SECONDS_BETWEEN_REPEATS = 60.0
_OUT_OF_RESOURCES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Server:
    """Call ``bind``, ``start``, ``reload`` any number of times, and ``stop``, all from the thread that made the server.

    ``page`` and ``ready`` are as in ``routes``: ``page`` is called in a thread of its own, one call at a time;
    ``ready`` in the server's, so it must not block. ``say`` gets one line for a person, from any of the threads;
    messages that clients can cause come at most once per minute. ``failed`` is called in the server's thread if that
    ends before ``stop``, which then raises the reason.
    """

    def __init__(
        self,
        address: str,
        *,
        page: Page,
        ready: Callable[[], bool],
        say: Callable[[str], None],
        config: Path | None = None,
        telemetry_path: str = "/metrics",
        limits: Limits | None = None,
        failed: Callable[[], None] = lambda: None,
    ) -> None:
        self._address = address
        self._config_path = config
        self._say = say
        self._limits = limits or Limits()
        self._failed = failed
        self._failure: Exception | None = None
        self._config = WebConfig()
        self._last_said: dict[str, float] = {}
        self._names: frozenset[str] | None = None
        self._routes = Routes(telemetry_path, page, ready, lambda: self._names, self._tell)
        self._listener: socket.socket | None = None
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = asyncio.Event()
        self._connections: dict[Connection, asyncio.Task[None]] = {}

    @property
    def url(self) -> str:
        """The server's URL with the port, without a path. For use after ``bind``."""
        assert self._listener is not None, "bind() comes first"
        scheme = "http" if self._config.tls is None else "https"
        return f"{scheme}://{host_and_port(self._listener.getsockname())}"

    @property
    def files(self) -> Sequence[Path]:
        """The web configuration, and what it names: the files that ``reload`` reads. For use after ``bind``."""
        return () if self._config_path is None else (self._config_path, *self._config.files)

    def bind(self) -> None:
        """Reads the web configuration and binds the port: all that needs a privilege. Starts no thread.

        From here on clients can connect; they wait for ``start``. Raises UsageError, one sentence.
        """
        if self._config_path is not None:
            self._config = WebConfig.read(self._config_path)
        self._listener = listen(self._address)
        self._names = loopback_names(self._listener, self._address)

    def start(self) -> None:
        """Starts the server's thread; returns when it serves."""
        started = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(started,), name="inetprobe-web", daemon=True)
        self._thread.start()
        started.wait()

    def reload(self) -> bool:
        """Reads the web configuration again. If it is bad, says so in one line, keeps the old one and returns False.

        Connected clients are disconnected after the answer under way, so that the new configuration holds for all.
        Blocks on the disk.
        """
        if self._config_path is None:
            self._say("there is no web configuration to reload: --web.config.file was not given")
            return False
        try:
            config = WebConfig.read(self._config_path)
        except UsageError as error:
            self._say(f"the web configuration stays as it was: {error}")
            return False
        self._config = config
        self._in_loop(partial(self._end, State.IDLE))
        self._say(f"the web configuration is that of {self._config_path} now")
        return True

    def stop(self) -> None:
        """Accepts no more clients, finishes the answers under way (within ``Limits.stop`` seconds) and ends the thread.

        Raises InetprobeError if the thread had ended by itself.
        """
        if self._thread is not None:
            self._in_loop(self._stopping.set)
            self._thread.join()
            self._thread = None
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        self._routes.close()
        failure, self._failure = self._failure, None
        if failure is not None:
            name, text = type(failure).__name__, printable(str(failure))
            raise InetprobeError(f"the web server failed ({name}: {text}): please report it") from failure

    def _in_loop(self, call: Callable[[], None]) -> None:
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop has just ended
                self._loop.call_soon_threadsafe(call)

    def _run(self, started: threading.Event) -> None:
        try:
            asyncio.run(self._serve(started))
        except Exception as error:  # noqa: BLE001 # raised again by stop()
            self._failure = error
            self._failed()
        finally:
            started.set()

    async def _serve(self, started: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(lambda _, context: self._tell("loop", f"web server: {context['message']}"))
        accepting = asyncio.create_task(self._accept())
        stopping = asyncio.create_task(self._stopping.wait())
        started.set()
        await asyncio.wait((accepting, stopping), return_when=asyncio.FIRST_COMPLETED)
        if accepting.done():
            accepting.result()
        accepting.cancel()
        self._end(State.IDLE, State.READING)
        if self._connections:
            _, unfinished = await asyncio.wait(self._connections.values(), timeout=self._limits.stop)
            for task in unfinished:
                task.cancel()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        assert self._listener is not None, "bind() comes first"
        while True:
            try:
                client, address = await loop.sock_accept(self._listener)
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            except OSError as error:
                # accept(2) also fails with pending errors of a client that is already gone: those are not reported.
                if error.errno in _OUT_OF_RESOURCES:
                    self._tell("accept", f"a client could not be accepted: {error.strerror}")
                    self._evict(list(self._connections))
                    await asyncio.sleep(0.1)
                continue
            if len(self._connections) >= self._limits.connections:
                self._evict(list(self._connections))
            who = client_of(str(address[0]))
            connection = Connection(
                Transport(client), who, lambda: self._config, self._routes, self._limits, self._entered
            )
            task = asyncio.create_task(connection.run())
            self._connections[connection] = task
            task.add_done_callback(partial(self._ended, connection))
            await asyncio.sleep(0)  # a flood of clients must not starve the connected ones

    def _entered(self, connection: Connection) -> None:
        if connection.state is State.WRITING:
            writers = [other for other in self._connections if other.state is State.WRITING]
            if len(writers) > self._limits.writers:
                self._evict(writers)

    def _evict(self, candidates: list[Connection]) -> None:
        if candidates:
            victim = min(candidates, key=lambda connection: (connection.state, connection.since))
            self._connections.pop(victim).cancel()

    def _end(self, *at_once: State) -> None:
        """Ends every connection after the answer under way, those in the states ``at_once`` now."""
        for connection, task in self._connections.items():
            connection.ending = True
            if connection.state in at_once:
                task.cancel()

    def _ended(self, connection: Connection, task: asyncio.Task[None]) -> None:
        connection.close()
        self._connections.pop(connection, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._tell("connection", f"a connection ended because of a bug: {type(error).__name__}: {error}")

    def _tell(self, subject: str, sentence: str) -> None:
        now = time.monotonic()
        if now - self._last_said.get(subject, -_SECONDS_BETWEEN_REPEATS) >= _SECONDS_BETWEEN_REPEATS:
            self._last_said[subject] = now
            self._say(printable(sentence))
