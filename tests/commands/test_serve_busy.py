"""Pages and password checks, which take time: one at a time, bounded in number, and shared where they can be."""

import asyncio
import base64
import contextlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import bcrypt
import pytest

from inetprobe.commands.serve.web.auth import BasicAuth, credentials
from inetprobe.commands.serve.web.config import WebConfig
from inetprobe.commands.serve.web.worker import BusyError, Worker
from tests.support.web_server import PAGE, SECRET, curl, page, say, serving

FIVE = bcrypt.hashpw(b"five", bcrypt.gensalt(5)).decode()


def asking(query):
    head = f"GET /metrics?{query} HTTP/1.1\r\nHost: localhost\r\nAccept: text/{query}\r\nConnection: close\r\n\r\n"
    return head.encode()


class Gate:
    """A page that waits until ``open`` is set, and counts the calls that are in it."""

    def __init__(self):
        self.begun = threading.Semaphore(0)
        self.open = threading.Event()
        self.calls = []
        self.inside = self.most_inside = 0

    def __call__(self, openmetrics):
        self.inside += 1
        self.most_inside = max(self.inside, self.most_inside)
        self.calls.append(openmetrics)
        self.begun.release()
        assert self.open.wait(20)
        self.inside -= 1
        return page(openmetrics)


def test_scrapes_that_wait_together_share_a_page_made_after_they_came():
    gate = Gate()
    with serving(gate) as server, ThreadPoolExecutor(40) as clients:
        first = clients.submit(say, server, asking("same"))
        assert gate.begun.acquire(timeout=10)
        others = [clients.submit(say, server, asking("same")) for _ in range(39)]
        assert curl(f"{server.url}/healthz").status == 200  # not held up
        gate.open.set()
        assert all(answer.result(20).endswith(PAGE) for answer in [first, *others])
    assert gate.most_inside == 1
    assert 2 <= len(gate.calls) <= 10  # a few may come after the others were served
    assert server.said == []


def test_scrapes_that_differ_in_what_makes_no_other_page_share_it_too():
    """Else two clients could fill the queue, and keep a third from its page."""
    gate = Gate()
    with serving(gate) as server, ThreadPoolExecutor(30) as clients:
        answers = [clients.submit(say, server, asking(number)) for number in range(30)]
        assert gate.begun.acquire(timeout=10)
        gate.open.set()
        statuses = {answer.result(20)[9:12] for answer in answers}
    assert statuses == {b"200"}
    assert gate.most_inside == 1
    assert len(gate.calls) <= 10


def done(futures, count):
    """Waits until ``count`` of the futures are done, checks that no more are a moment later, and returns those."""
    deadline = time.monotonic() + 10
    while sum(future.done() for future in futures) < count:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(0.1)
    finished = [future for future in futures if future.done()]
    assert len(finished) == count
    return finished


def in_one_loop(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, 10))


class Queue:
    """A worker whose thread is busy until ``go_on`` is set, and the order in which it makes the other calls."""

    def __init__(self, **limits):
        self.worker = Worker("test", **limits)
        self.go_on = threading.Event()
        self.made = []

    def ask(self, client, key):
        def call():
            assert self.go_on.wait(10)
            self.made.append((client, key))
            return key

        return asyncio.create_task(self.worker.run(client, key, call))

    async def refused(self, client, key):
        with pytest.raises(BusyError):
            await self.ask(client, key)


def test_a_client_has_a_bounded_share_of_the_queue_until_its_calls_are_done():
    async def crowd():
        queue = Queue(max_calls=3, max_calls_per_client=2)
        tasks = [queue.ask("a", 1), queue.ask("a", 2)]
        await asyncio.sleep(0.05)
        await queue.refused("a", 3)
        tasks.append(queue.ask("b", 4))
        await asyncio.sleep(0)
        await queue.refused("b", 5)
        for task in tasks:
            task.cancel()
        await asyncio.sleep(0.05)
        await queue.refused("b", 6)  # the thread still has to do all of it
        queue.go_on.set()
        while True:
            with contextlib.suppress(BusyError):
                assert await queue.ask("c", 7) == 7
                break
            await asyncio.sleep(0.01)
        with pytest.raises(ValueError, match="no"):
            await queue.worker.run("c", 8, lambda: int("no"))
        queue.worker.close()

    in_one_loop(crowd())


def test_clients_are_served_in_turn_and_each_in_its_order():
    async def crowd():
        queue = Queue(max_calls=20, max_calls_per_client=8)
        tasks = [queue.ask(client, (client, number)) for client in "abc" for number in range(3)]
        await asyncio.sleep(0.05)
        tasks.append(queue.ask("d", ("d", 0)))
        await asyncio.sleep(0)
        queue.go_on.set()
        await asyncio.gather(*tasks)
        queue.worker.close()
        return [f"{client}{number}" for client, (_, number) in queue.made]

    # The first call began before the others had come.
    assert in_one_loop(crowd()) == ["a0", "a1", "b0", "c0", "d0", "a2", "b1", "c1", "b2", "c2"]


def test_in_a_full_queue_a_newcomer_displaces_the_newest_call_of_the_client_with_the_most():
    async def crowd():
        messages = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: messages.append(context["message"]))
        queue = Queue(max_calls=6, max_calls_per_client=4)
        tasks = {key: queue.ask(key[0], key) for key in ("a0", "a1", "b0", "b1", "b2", "c0")}
        await asyncio.sleep(0.05)
        await queue.refused("a", "a2")  # it has places
        tasks["d0"] = queue.ask("d", "d0")
        with pytest.raises(BusyError):
            await tasks.pop("b2")
        tasks["a1"].cancel()  # its client has gone: nobody is told
        tasks["e0"] = queue.ask("e", "e0")
        with pytest.raises(asyncio.CancelledError):
            await tasks.pop("a1")
        tasks["f0"] = queue.ask("f", "f0")
        with pytest.raises(BusyError):
            await tasks.pop("b1")
        await queue.refused("g", "g0")  # each client has one place
        queue.go_on.set()
        assert {key: await task for key, task in tasks.items()} == {key: key for key in tasks}
        queue.worker.close()
        assert messages == []
        return [key for _, key in queue.made]

    assert in_one_loop(crowd()) == ["a0", "b0", "c0", "d0", "e0", "f0"]


def test_a_client_that_hangs_up_does_not_cancel_a_shared_call():
    async def pair():
        worker = Worker("test", max_calls=3, max_calls_per_client=3)
        go_on = threading.Event()
        busy = asyncio.create_task(worker.run("a", 0, lambda: go_on.wait(10)))
        first, second = (asyncio.create_task(worker.run("a", 1, lambda: "shared")) for _ in range(2))
        await asyncio.sleep(0.05)
        first.cancel()
        await asyncio.sleep(0)
        go_on.set()
        assert await busy
        assert await second == "shared"
        worker.close()

    in_one_loop(pair())


@pytest.mark.parametrize("fails", [True, False])
def test_an_error_after_its_client_has_gone_is_logged(fails):
    opened = threading.Event()

    def call():
        assert opened.wait(10)
        if fails:
            raise ValueError("no page today")

    async def gone():
        messages = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: messages.append(context["message"]))
        worker = Worker("test", max_calls=1, max_calls_per_client=1)
        client = asyncio.ensure_future(worker.run("a", "key", call))
        await asyncio.sleep(0)
        client.cancel()
        with pytest.raises(asyncio.CancelledError):
            await client
        opened.set()
        while True:  # until there is room again
            with contextlib.suppress(BusyError):
                await worker.run("a", "another", int)
                worker.close()
                return messages
            await asyncio.sleep(0.01)

    messages = in_one_loop(gone())
    assert messages == ["a request failed after its client had gone: ValueError: no page today"] * fails


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (b"Basic YTpi", (b"a", b"b")),
        (b"basic  YTpi ", (b"a", b"b")),
        (b"BASIC " + base64.b64encode(b"a:b:c"), (b"a", b"b:c")),
        (b"Basic Og==", (b"", b"")),
        (b"Basic YQ==", None),
        (b"Basic YTpi!", None),
        (b"Basic YTp", None),
        (b"Basic \xff", None),
        (b"Basic", None),
        (b"Digest YTpi", None),
        (b"", None),
        (None, None),
    ],
)
def test_credentials_are_parsed_from_the_header(header, expected):
    assert credentials(header) == expected


def basic(user, password):
    return b"Basic " + base64.b64encode(f"{user}:{password}".encode())


@pytest.fixture
def config(tmp_path):
    (tmp_path / "web.yml").write_text(f"basic_auth_users: {{alice: {SECRET}, bob: {FIVE}}}")
    return WebConfig.read(tmp_path / "web.yml")


@pytest.fixture
def checks(monkeypatch):
    """The hashes that were compared with, in order."""
    compared = []
    real = bcrypt.checkpw

    def checkpw(password, hashed):
        compared.append(hashed)
        return real(password, hashed)

    monkeypatch.setattr(bcrypt, "checkpw", checkpw)
    return compared


def allowed(config, *headers, auth=None):
    async def ask():
        checker = auth or BasicAuth()
        return [await checker.allows(config, header, "client") for header in headers]

    return asyncio.run(ask())


def test_an_unknown_user_takes_as_long_as_the_slowest_hash(config, checks):
    assert allowed(config, basic("eve", "secret")) == [False]
    assert [hashed[:7] for hashed in checks] == [b"$2b$05$"]


def test_every_refusal_takes_as_many_rounds_as_the_slowest_hash(tmp_path, checks):
    """A quicker one would tell that there is a user of that name."""
    eight = bcrypt.hashpw(b"eight", bcrypt.gensalt(8)).decode()
    (tmp_path / "web.yml").write_text(f"basic_auth_users: {{alice: {SECRET}, bob: {FIVE}, carol: {eight}}}")
    config = WebConfig.read(tmp_path / "web.yml")
    for user in ("alice", "bob", "carol", "eve"):
        checks.clear()
        assert allowed(config, basic(user, "wrong")) == [False]
        assert sum(2 ** int(hashed[4:6]) for hashed in checks) == 2**8, user


def test_an_unknown_user_with_the_decoys_password_is_refused(config, monkeypatch):
    monkeypatch.setattr(bcrypt, "checkpw", lambda password, hashed: True)
    assert allowed(config, basic("eve", "x"), basic("eve", "x"), basic("alice", "x")) == [False, False, True]


def test_a_success_is_cached_and_a_failure_is_not(config, checks):
    right, wrong = basic("alice", "secret"), basic("alice", "wrong")
    assert allowed(config, right, right, wrong, wrong, right) == [True, True, False, False, True]
    assert len(checks) == 1 + 2 * 2  # a refusal takes as long as one of the slower hash


def test_a_changed_hash_ends_a_cached_success(config, checks):
    auth = BasicAuth()
    assert allowed(config, basic("alice", "secret"), auth=auth) == [True]
    changed = WebConfig(users={b"alice": FIVE.encode()}, decoy=config.decoy)
    assert allowed(changed, basic("alice", "secret"), basic("alice", "five"), auth=auth) == [False, True]


def test_the_cache_of_successes_is_bounded(config, monkeypatch):
    auth = BasicAuth()
    monkeypatch.setattr(bcrypt, "checkpw", lambda password, hashed: True)
    first = basic("alice", "0")
    assert all(allowed(config, *(basic("alice", number) for number in range(500)), auth=auth))
    assert len(auth._cached) <= 64
    compared = []
    monkeypatch.setattr(bcrypt, "checkpw", lambda password, hashed: compared.append(hashed))
    assert allowed(config, first, basic("alice", 499), auth=auth) == [False, True]
    assert set(compared) == {SECRET.encode(), config.decoy[:4] + b"04" + config.decoy[6:]}


@pytest.mark.parametrize("password", ["x" * 72, "x" * 73, "x" * 5000])
def test_a_long_password_is_compared_up_to_72_bytes(config, password):
    hashed = bcrypt.hashpw(b"x" * 72, bcrypt.gensalt(4))
    long = WebConfig(users={b"alice": hashed}, decoy=config.decoy)
    assert allowed(long, basic("alice", password), basic("alice", password[:71])) == [True, False]


def test_a_nul_in_a_password_is_a_wrong_password(config):
    assert allowed(config, basic("alice", "\0"), basic("alice", "secret\0")) == [False, False]


def test_guesses_do_not_delay_a_client_with_a_cached_password(tmp_path, monkeypatch):
    (tmp_path / "web.yml").write_text(f"basic_auth_users: {{alice: {SECRET}}}")
    with serving(config=tmp_path / "web.yml") as server, ThreadPoolExecutor(10) as clients:
        scrape = curl, f"{server.url}/metrics", "-u", "alice:secret"
        assert clients.submit(*scrape).result().status == 200
        go_on = threading.Event()
        monkeypatch.setattr(bcrypt, "checkpw", lambda password, hashed: go_on.wait(20) and False)
        guesses = [clients.submit(curl, f"{server.url}/metrics", "-u", f"alice:{number}") for number in range(9)]
        refused = done(guesses, 5)  # one client may have four in the queue
        assert [guess.result().status for guess in refused] == [503] * 5
        assert clients.submit(*scrape).result().status == 200
        go_on.set()
        assert sorted(guess.result().status for guess in guesses) == [401] * 4 + [503] * 5


def test_guesses_from_many_addresses_do_not_keep_a_new_client_out(tmp_path, monkeypatch):
    (tmp_path / "web.yml").write_text(f"basic_auth_users: {{alice: {SECRET}}}")
    go_on = threading.Semaphore(0)
    real = bcrypt.checkpw

    def checkpw(password, hashed):
        assert go_on.acquire(timeout=20)
        return real(password, hashed)

    with serving(config=tmp_path / "web.yml") as server, ThreadPoolExecutor(30) as clients:
        monkeypatch.setattr(bcrypt, "checkpw", checkpw)

        def scrape(address, password):
            return curl(f"{server.url}/metrics", "--interface", address, "-u", f"alice:{password}")

        guesses = [clients.submit(scrape, f"127.0.0.{2 + n % 5}", n) for n in range(25)]
        done(guesses, 9)  # sixteen have a place
        scraped = clients.submit(scrape, "127.0.0.1", "secret")
        done(guesses, 10)  # one has lost its place
        go_on.release(7)  # for the check that is running, at most one of each guessing client, and the newcomer's
        assert scraped.result(10).status == 200
        go_on.release(20)
        assert sorted(guess.result().status for guess in guesses) == [401] * 15 + [503] * 10
