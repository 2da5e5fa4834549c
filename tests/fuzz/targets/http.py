"""What any client may send to ``serve``'s port: a connection's bytes, in pieces, with and without passwords."""

import asyncio

import h11

from inetprobe.commands.serve.web import Response
from inetprobe.commands.serve.web.config import WebConfig
from inetprobe.commands.serve.web.connection import Connection, Limits
from inetprobe.commands.serve.web.routes import Routes
from tests.support.web_server import SECRET

DICTIONARY = (
    "GET / HTTP/1.1\r\n", "HEAD /metrics HTTP/1.0\r\n", "POST ", "OPTIONS * HTTP/1.1\r\n", "CONNECT ", "/healthz",
    "/readyz", "http://h/", "https://", "?a=b", "#", "Host: h\r\n", "Connection: close\r\n",
    "Connection: keep-alive\r\n", "Transfer-Encoding: chunked\r\n", "Content-Length: 5\r\n",
    "Expect: 100-continue\r\n", "Upgrade: h2c\r\n", "Accept: application/openmetrics-text;version=1.0.0;q=0.5\r\n",
    "Accept: text/plain\r\n", "Accept-Encoding: gzip;q=0\r\n", "Accept-Encoding: *\r\n", "q=nan", "q=1e400",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "Authorization: Basic dTpzZWNyZXQ=\r\n", "Authorization: Basic Og==\r\n",
    "\r\n\r\n", "\r\n", "\r\n ", "5\r\n", "0\r\n\r\n",
)  # fmt: skip

_STATUSES = (200, 400, 401, 404, 405, 413, 414, 421, 431, 501, 503, 505)
_OPEN = WebConfig(headers={"X-Frame-Options": "deny"})
_CLOSED = WebConfig(users={b"u": SECRET.encode()}, decoy=SECRET.encode())
_LIMITS = Limits()
_told = []
_routes = Routes(
    "/metrics",
    lambda openmetrics: Response("text/plain", b"a_total 1\n" * 50),
    lambda: True,
    lambda: frozenset({"h"}),
    lambda subject, sentence: _told.append(sentence),
)
_loop = asyncio.new_event_loop()


class _Client:
    """The transport of a client that sends ``pieces``, and takes what it is sent."""

    def __init__(self, pieces):
        self._pieces = pieces
        self.sent = b""
        self.closed = False

    async def receive(self):
        return next(self._pieces, b"")

    async def send(self, data):
        assert not self.closed
        self.sent += data

    async def finish(self, max_bytes):
        pass

    def close(self):
        self.closed = True


def run(data):
    """The first byte is the length of the pieces, and with its highest bit whether a password is needed."""
    config = _CLOSED if data[:1] >= b"\x80" else _OPEN
    length = (data[0] & 0x7F if data else 0) or len(data) or 1
    pieces = (data[at : at + length] for at in range(1, len(data), length))
    client = _Client(pieces)
    connection = Connection(client, "192.0.2.1", lambda: config, _routes, _LIMITS, lambda _: None)
    _loop.run_until_complete(connection.run())
    assert client.closed
    for sentence in _told:  # of a page that could not be made there is none
        assert sentence.startswith("a request for the host "), sentence
        assert sentence.isprintable()
        assert len(sentence) < 500
    _told.clear()
    _parse(client.sent)


def _parse(sent):
    """What came is whole answers, as the other side of the protocol reads them."""
    while sent:
        head, blank, rest = sent.partition(b"\r\n\r\n")
        reader = h11.Connection(h11.CLIENT)
        reader.send(h11.Request(method="HEAD", target="/", headers=[("Host", "h")]))
        reader.receive_data(head + blank)
        answer = reader.next_event()
        assert isinstance(answer, h11.Response), answer
        assert answer.status_code in _STATUSES, answer
        headers = dict(answer.headers)
        assert len(headers) == len(answer.headers), f"a header is there twice: {answer}"
        # Whether it answers HEAD, and so has no body, is known by what follows: no body begins so.
        length = int(headers[b"content-length"]) if rest and not rest.startswith(b"HTTP/1.1 ") else 0
        assert len(rest) >= length, "a body is cut short"
        sent = rest[length:]
