"""A thread for calls that would block the event loop, one at a time, with a bounded queue that clients share fairly."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar, cast

T = TypeVar("T")


class BusyError(Exception):
    """The queue is full, or the client's share of it."""


@dataclass(eq=False, slots=True)
class _Place(Generic[T]):
    client: str
    key: Hashable
    make: Callable[[], T]
    result: asyncio.Future[T]


class Worker(Generic[T]):
    """A thread that runs the calls of all clients in turn, and those of one client in the order in which they came.

    A call that is queued or running has a place, of which there are ``max_calls``, and ``max_calls_per_client`` for one
    client. If no place is free, a client without one gets that of the newest call of the client that has the most, if
    that has more than one. All methods but ``close`` are for the event loop's thread.
    """

    def __init__(self, name: str, *, max_calls: int, max_calls_per_client: int) -> None:
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self._max_calls = max_calls
        self._max_calls_per_client = max_calls_per_client
        self._running: _Place[T] | None = None
        # The calls that have not begun: by client, those whose turn it is first, and by key. A call leaves both before
        # it begins, so a client that finds its key here gets a result that is younger than its request.
        self._queues: dict[str, list[_Place[T]]] = {}
        self._waiting: dict[Hashable, _Place[T]] = {}

    async def run(self, client: str, key: Hashable, call: Callable[[], T]) -> T:
        """Returns or raises what ``call`` does. Calls with the same ``key`` that wait together are made once.

        If the client has gone when the call fails, the loop's exception handler gets the error. Raises BusyError if the
        client gets no place, or another client got its place.
        """
        waiting = self._waiting.get(key)
        if waiting is None:
            self._make_room(client)
            waiting = _Place(client, key, call, asyncio.get_running_loop().create_future())
            self._waiting[key] = waiting
            self._queues.setdefault(client, []).append(waiting)
            if self._running is None:
                self._begin_next()
        # Shielded: a client that hangs up must not make room for more calls before the thread is done with this one.
        try:
            return await asyncio.shield(waiting.result)
        except asyncio.CancelledError:
            waiting.result.add_done_callback(_report_error)
            raise

    def close(self) -> None:
        """Drops the calls that have not begun. Does not wait for the call that is running."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _places(self, client: str) -> int:
        running = self._running is not None and self._running.client == client
        return len(self._queues.get(client, ())) + running

    def _make_room(self, client: str) -> None:
        if self._places(client) >= self._max_calls_per_client:
            raise BusyError
        if len(self._waiting) + (self._running is not None) < self._max_calls:
            return
        fullest = max(self._queues, key=self._places, default=client)
        if self._places(client) > 0 or self._places(fullest) < 2:
            raise BusyError
        displaced = self._queues[fullest].pop()
        if not self._queues[fullest]:
            del self._queues[fullest]
        del self._waiting[displaced.key]
        _settle(displaced.result, None, BusyError())

    def _begin_next(self) -> None:
        client = next(iter(self._queues), None)
        if client is None:
            self._running = None
            return
        first, *others = self._queues.pop(client)
        if others:
            self._queues[client] = others  # behind all other clients
        del self._waiting[first.key]
        self._running = first
        self._pool.submit(self._work, asyncio.get_running_loop(), first)

    def _work(self, loop: asyncio.AbstractEventLoop, place: _Place[T]) -> None:
        value: T | None = None
        error: Exception | None = None
        try:
            value = place.make()
        except Exception as raised:  # noqa: BLE001 # raised again in the event loop's thread
            error = raised
        loop.call_soon_threadsafe(self._done, place.result, value, error)

    def _done(self, result: asyncio.Future[T], value: T | None, error: Exception | None) -> None:
        self._begin_next()
        _settle(result, value, error)


def _settle(result: asyncio.Future[T], value: T | None, error: Exception | None) -> None:
    if result.cancelled():
        return
    if error is None:
        result.set_result(cast(T, value))
    else:
        result.set_exception(error)
        result.exception()  # keeps asyncio from logging it: _report_error() does if the client has gone


def _report_error(result: asyncio.Future[T]) -> None:
    error = None if result.cancelled() else result.exception()
    if error is not None and not isinstance(error, BusyError):
        message = f"a request failed after its client had gone: {type(error).__name__}: {error}"
        result.get_loop().call_exception_handler({"message": message})
