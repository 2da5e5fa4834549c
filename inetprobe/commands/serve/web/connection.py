"""One client's connection: TLS, then one request after the other, each with time limits."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import formatdate
from enum import IntEnum
from http import HTTPStatus

import h11

from inetprobe.commands.serve.web.config import WebConfig
from inetprobe.commands.serve.web.routes import Answer, HttpRequest, Routes
from inetprobe.commands.serve.web.tls import subject_alternative_names
from inetprobe.commands.serve.web.transport import Transport


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits for clients, in seconds, bytes and connections.

    ``headers`` is the time for a request's head, from its first byte or the start of the connection; ``write`` the time
    for a client to take a whole answer; ``linger`` and ``linger_bytes`` limit what is read from a client after its last
    answer; ``stop`` is the time for answers under way when the server stops. Above ``connections``, or ``writers`` that
    take an answer, connections are closed in the order of ``State``.
    """

    handshake: float = 10.0
    headers: float = 10.0
    idle: float = 120.0
    write: float = 30.0
    linger: float = 1.0
    linger_bytes: int = 65536
    stop: float = 5.0
    head_bytes: int = 16384
    connections: int = 512
    writers: int = 64


class State(IntEnum):
    """The state of a connection. If there are too many, the lowest state is closed first, the oldest of them first."""

    IDLE = 0
    READING = 1
    WRITING = 2
    ANSWERING = 3


class Connection:
    """Serves one client until one side ends the connection; ``run`` is its task.

    ``config`` returns the current configuration: asked once for TLS, and at each request for passwords and headers.
    ``entered`` is called after every change of state.
    """

    def __init__(
        self, stream: Transport, client: str, config: Callable[[], WebConfig], routes: Routes, limits: Limits,
        entered: Callable[[Connection], None],
    ) -> None:  # fmt: skip
        self.state = State.READING
        self.since = time.monotonic()
        self.ending = False  # set by the server: the answer under way is the last one
        self._stream = stream
        self._client = client
        self._config = config
        self._routes = routes
        self._limits = limits
        self._entered = entered
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=limits.head_bytes)

    async def run(self) -> None:
        """Returns when the connection is closed, whatever the client did."""
        try:
            config = self._config()
            if config.tls is not None and not await self._secured(config.tls, config.allowed_sans):
                return
            while await self._exchange():
                self._http.start_next_cycle()
                self._enter(State.IDLE)
            self._enter(State.IDLE)
            async with asyncio.timeout(self._limits.linger):
                await self._stream.finish(self._limits.linger_bytes)
        except OSError:
            pass  # the client is gone or too slow (TimeoutError is an OSError): there is nobody to tell
        finally:
            self._stream.close()

    def close(self) -> None:
        """Closes the connection at once. ``run`` does so at its end; this is for a task cancelled before it began."""
        self._stream.close()

    def _enter(self, state: State) -> None:
        self.state = state
        self.since = time.monotonic()
        self._entered(self)

    async def _secured(self, context: ssl.SSLContext, allowed_sans: frozenset[str] | None) -> bool:
        async with asyncio.timeout(self._limits.handshake):
            certificate = await self._stream.handshake(context)
        return allowed_sans is None or bool(subject_alternative_names(certificate) & allowed_sans)

    async def _exchange(self) -> bool:
        """Reads one request and answers it. False if that was the last one."""
        head = None
        try:
            head = await self._head()
            if head is None:
                return False
            if head.http_version not in (b"1.0", b"1.1"):
                raise h11.RemoteProtocolError("not HTTP/1", error_status_hint=505)
            # No route uses a body: it is not read, and the connection ends with the answer.
            complete = isinstance(self._http.next_event(), h11.EndOfMessage)
        except h11.RemoteProtocolError as error:
            if self._http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
                answer = Answer(error.error_status_hint, b"the request is not valid HTTP\n")
                await self._send(answer, with_body=head is None or head.method != b"HEAD", last=True)
            return False
        self._enter(State.ANSWERING)
        method = head.method.decode("ascii")
        request = HttpRequest(method, head.target.decode("ascii"), _headers(head), self._client)
        answer = await self._routes.answer(request, self._config())
        last = self.ending or not complete
        await self._send(answer, with_body=method != "HEAD", last=last)
        return not self.ending and self._http.our_state is h11.DONE and self._http.their_state is h11.DONE

    async def _head(self) -> h11.Request | None:
        event = self._http.next_event()
        if self.state is State.IDLE and event is h11.NEED_DATA and not self._http.trailing_data[0]:
            async with asyncio.timeout(self._limits.idle):
                await self._receive()
        self._enter(State.READING)
        async with asyncio.timeout(self._limits.headers):
            while event is h11.NEED_DATA:
                event = self._http.next_event()
                if event is h11.NEED_DATA:
                    await self._receive()
        return event if isinstance(event, h11.Request) else None

    async def _receive(self) -> None:
        self._http.receive_data(await self._stream.receive())

    async def _send(self, answer: Answer, *, with_body: bool, last: bool) -> None:
        headers = {"Date": formatdate(usegmt=True), "Content-Length": str(len(answer.body))} | answer.headers
        if last:
            headers["Connection"] = "close"
        reason = HTTPStatus(answer.status).phrase.encode()
        head = h11.Response(status_code=answer.status, reason=reason, headers=list(headers.items()))
        self._enter(State.WRITING)
        async with asyncio.timeout(self._limits.write):
            await self._stream.send(self._http.send(head) or b"")
            if with_body:
                # Not joined to the head: answers that share a page share its bytes.
                await self._stream.send(self._http.send(h11.Data(data=answer.body)) or b"")
            self._http.send(h11.EndOfMessage())


def _headers(head: h11.Request) -> dict[str, bytes]:
    headers: dict[str, bytes] = {}
    for raw, value in head.headers:
        name = raw.decode("ascii")
        headers[name] = headers[name] + b", " + value if name in headers else value
    return headers
