"""Work that would hold up the event loop, one piece at a time in a thread, with a bounded queue."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar, cast

T = TypeVar("T")


class BusyError(Exception):
    """The queue is full, or this client's share of it."""


class Worker(Generic[T]):
    """A thread that calls what it is given, in order.

    ``most`` calls at a time are queued or running, ``most_per_client`` of them for one client. All but ``close`` is for
    the event loop's thread.
    """

    def __init__(self, name: str, *, most: int, most_per_client: int) -> None:
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self._most = most
        self._most_per_client = most_per_client
        self._by_client: Counter[str] = Counter()
        # By key, those that have not begun. The thread takes a call out before it begins: who finds one here is sure
        # to get a result that is younger than the question.
        self._waiting: dict[Hashable, asyncio.Future[T]] = {}

    async def run(self, client: str, key: Hashable, call: Callable[[], T]) -> T:
        """What ``call`` returns or raises; the loop's exception handler is told if the client has gone by then.

        Calls of one ``key`` that wait together are made once. Raises BusyError.
        """
        result = self._waiting.get(key)
        if result is None:
            if self._by_client.total() >= self._most or self._by_client[client] >= self._most_per_client:
                raise BusyError
            loop = asyncio.get_running_loop()
            result = loop.create_future()
            self._waiting[key] = result
            self._by_client[client] += 1
            self._pool.submit(self._work, loop, client, key, call, result)
        # Shielded: who hangs up must not make room for more before the thread is done with it.
        try:
            return await asyncio.shield(result)
        except asyncio.CancelledError:
            result.add_done_callback(_unheard)
            raise

    def close(self) -> None:
        """Drops what has not begun; what runs ends in its own time."""
        self._pool.shutdown(wait=False, cancel_futures=True)

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
        except Exception as raised:  # noqa: BLE001 # it is the asker's, whose thread is another
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
            result.exception()  # whoever asked may be gone: then it is told by _unheard()


def _unheard(result: asyncio.Future[T]) -> None:
    error = None if result.cancelled() else result.exception()
    if error is not None:
        message = f"what a client that has gone had asked for failed: {type(error).__name__}: {error}"
        result.get_loop().call_exception_handler({"message": message})
