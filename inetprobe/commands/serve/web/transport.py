"""A connected socket for coroutines, with or without TLS: the socket module's calls, awaited."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")

_CHUNK = 16384  # bytes: one TLS record
_NOT_TLS = b"HTTP/1.0 400 Bad Request\r\nConnection: close\r\n\r\nThis server speaks HTTPS.\n"


class Transport:
    """Takes over a non-blocking socket, for one coroutine. (asyncio's own TLS keeps 256 KiB per connection.)

    Every method raises OSError if the peer is gone or broke TLS. None has a time limit of its own.
    """

    def __init__(self, connected: socket.socket) -> None:
        self._socket: socket.socket = connected
        self._loop = asyncio.get_running_loop()

    async def handshake(self, context: ssl.SSLContext) -> dict[str, Any]:
        """Starts TLS. Returns the client's certificate as SSLSocket.getpeercert() does, {} if it has none."""
        wrapped = context.wrap_socket(self._socket, server_side=True, do_handshake_on_connect=False)
        self._socket = wrapped
        try:
            await self._until(wrapped.do_handshake)
        except ssl.SSLError as error:
            if error.reason == "HTTP_REQUEST":
                socket.socket.send(wrapped, _NOT_TLS)  # in the clear: the client does not speak TLS
            raise
        return wrapped.getpeercert() or {}

    async def receive(self) -> bytes:
        """The next bytes, at most 16 KiB; b"" when the peer has ended."""
        return await self._until(lambda: self._socket.recv(_CHUNK))

    async def send(self, data: bytes) -> None:
        """Sends all of ``data``: returns when the kernel has taken it."""
        view = memoryview(data)
        while view:
            sent = await self._until(partial(self._socket.send, view[:_CHUNK]), writes=True)
            view = view[sent:]

    async def finish(self, max_bytes: int) -> None:
        """Ends our side and reads at most ``max_bytes`` more: if bytes were unread at close, the kernel would reset the
        connection and the client could lose our answer."""
        if isinstance(self._socket, ssl.SSLSocket):
            with suppress(ssl.SSLError):
                self._socket.unwrap()
        self._socket.shutdown(socket.SHUT_WR)
        while max_bytes > 0 and (data := await self.receive()):
            max_bytes -= len(data)

    def close(self) -> None:
        """Closes the socket at once, whatever is under way."""
        self._socket.close()

    async def _until(self, call: Callable[[], T], *, writes: bool = False) -> T:
        # Lets other coroutines run even if this peer's bytes never run out.
        await asyncio.sleep(0)
        while True:
            try:
                return call()
            except ssl.SSLWantReadError:
                waits_to_write = False
            except ssl.SSLWantWriteError:
                waits_to_write = True
            except BlockingIOError:
                waits_to_write = writes
            if waits_to_write:
                await self._wait(self._loop.add_writer, self._loop.remove_writer)
            else:
                await self._wait(self._loop.add_reader, self._loop.remove_reader)

    async def _wait(self, add: Callable[..., None], remove: Callable[[int], bool]) -> None:
        ready = self._loop.create_future()
        descriptor = self._socket.fileno()

        def wake() -> None:
            if not ready.done():
                ready.set_result(None)

        add(descriptor, wake)
        try:
            await ready
        finally:
            remove(descriptor)
