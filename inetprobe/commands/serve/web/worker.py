"""A thread for calls that would block the event loop, one at a time, with a bounded queue."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar, cast

T = TypeVar("T")


class BusyError(Exception):
    """The queue is full, or the client's share of it."""


class Worker(Generic[T]):
    """A thread that runs calls in the order in which they came.

    At most ``max_calls`` are queued or running at a time, at most ``max_calls_per_client`` of them for one client. All
    methods but ``close`` are for the event loop's thread.
    """

    def __init__(self, name: str, *, max_calls: int, max_calls_per_client: int) -> None:
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self._max_calls = max_calls
        self._max_calls_per_client = max_calls_per_client
        self._by_client: Counter[str] = Counter()
        # The calls that have not begun, by key. The thread takes a call out before it begins, so a client that finds
        # its key here gets a result that is younger than its request.
        self._waiting: dict[Hashable, asyncio.Future[T]] = {}

    async def run(self, client: str, key: Hashable, call: Callable[[], T]) -> T:
        """Returns or raises what ``call`` does. Calls with the same ``key`` that wait together are made once.

        If the client has gone when the call fails, the loop's exception handler gets the error. Raises BusyError.
        """
        result = self._waiting.get(key)
        if result is None:
            if self._full(client):
                raise BusyError
            loop = asyncio.get_running_loop()
            result = loop.create_future()
            self._waiting[key] = result
            self._by_client[client] += 1
            self._pool.submit(self._work, loop, client, key, call, result)
        # Shielded: a client that hangs up must not make room for more calls before the thread is done with this one.
        try:
            return await asyncio.shield(result)
        except asyncio.CancelledError:
            result.add_done_callback(_report_error)
            raise

    def close(self) -> None:
        """Drops the calls that have not begun. Does not wait for the call that is running."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _full(self, client: str) -> bool:
        return self._by_client.total() >= self._max_calls or self._by_client[client] >= self._max_calls_per_client

    def _work(
        self,
        loop: asyncio.AbstractEventLoop,
        client: str,
        key: Hashable,
        call: Callable[[], T],
        result: asyncio.Future[T],
    ) -> None:
        del self._waiting[key]
        value: T | None = None
        error: Exception | None = None
        try:
            value = call()
        except Exception as raised:  # noqa: BLE001 # raised again in the event loop's thread
            error = raised
        loop.call_soon_threadsafe(self._done, client, result, value, error)

    def _done(self, client: str, result: asyncio.Future[T], value: T | None, error: Exception | None) -> None:
        self._by_client[client] -= 1
        if not self._by_client[client]:
            del self._by_client[client]
        if result.cancelled():
            return
        if error is None:
            result.set_result(cast(T, value))
        else:
            result.set_exception(error)
            result.exception()  # keeps asyncio from logging it: _report_error() does if the client has gone


def _report_error(result: asyncio.Future[T]) -> None:
    error = None if result.cancelled() else result.exception()
    if error is not None:
        message = f"a request failed after its client had gone: {type(error).__name__}: {error}"
        result.get_loop().call_exception_handler({"message": message})
