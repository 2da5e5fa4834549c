"""What is answered to a request: the page, the landing page, and whether the process is well.

With ``basic_auth_users``, everything takes a password, as with the exporter-toolkit, but ``/healthz`` and ``/readyz``:
a kubelet's probe has none, and they say nothing but whether it runs. Client certificates are TLS's, so they hold for
all of it: where those are required, probe the port alone (``tcpSocket``) or take ``VerifyClientCertIfGiven``.
"""

from __future__ import annotations

import gzip
import html
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import inetprobe
from inetprobe.base.errors import UsageError
from inetprobe.commands.serve.web.auth import BasicAuth
from inetprobe.commands.serve.web.config import WebConfig
from inetprobe.commands.serve.web.worker import BusyError, Worker

HEALTH, READINESS, LANDING = "/healthz", "/readyz", "/"
_TEXT, _HTML = "text/plain; charset=utf-8", "text/html; charset=utf-8"
_LANDING = """<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>inetprobe</title></head>
<body>
<h1>inetprobe</h1>
<p>How inet sockets come to be, for Prometheus. Version {version}.</p>
<ul>
<li><a href="{telemetry_path}">Metrics</a></li>
<li><a href="{health}">Health</a>: the process answers</li>
<li><a href="{readiness}">Readiness</a>: it counts</li>
</ul>
</body>
</html>
"""


class Response(NamedTuple):
    """A page: its bytes, uncompressed, and their Content-Type."""

    content_type: str
    body: bytes
    status: int = 200


# Accept header ("" without one) and query string (without the "?") → the page. Called in one thread, one at a time.
Page = Callable[[str, str], Response]


class HttpRequest(NamedTuple):
    """A request without its body. Header names are in lower case; where one repeats, ", " joins its values."""

    method: str
    target: str
    headers: dict[str, bytes]
    client: str

    def text(self, name: str) -> str:
        """A header's value, "" without one."""
        return self.headers.get(name, b"").decode("latin-1")


@dataclass(slots=True)
class Answer:
    """A status, headers and a body; one to HEAD has the Content-Length of the body it does not send."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


class Routes:
    """Answers requests. All but the page callback runs in the event loop's thread, ``ready`` too: it must be quick.

    ``tell(subject, sentence)`` is told what only the log may know. Raises UsageError for an impossible telemetry path.
    """

    def __init__(
        self, telemetry_path: str, page: Page, ready: Callable[[], bool], tell: Callable[[str, str], None]
    ) -> None:
        _check(telemetry_path)
        self._telemetry_path = telemetry_path
        self._page = page
        self._ready = ready
        self._tell = tell
        self._auth = BasicAuth()
        self._pages: Worker[Response] = Worker("inetprobe-page", most=16, most_per_client=8)
        self._landing = _LANDING.format(
            version=html.escape(inetprobe.__version__),
            telemetry_path=html.escape(telemetry_path),
            health=HEALTH,
            readiness=READINESS,
        ).encode()

    async def answer(self, request: HttpRequest, config: WebConfig) -> Answer:
        """Never raises: what goes wrong is told, and answered by 500."""
        try:
            answer = await self._answer(request, config)
        except BusyError:
            answer = _say(503, "too many requests wait already: try again")
            answer.headers["Retry-After"] = "1"
        except Exception as error:  # noqa: BLE001 # the callbacks are others' code: their traceback is no client's business
            self._tell("answer", f"{request.method} was answered by 500: {type(error).__name__}: {error}")
            answer = _say(500, "the page could not be made: the exporter's own log says why")
        answer.headers = {"X-Content-Type-Options": "nosniff"} | answer.headers | dict(config.headers)
        return answer

    def close(self) -> None:
        """Drops what has not begun."""
        self._auth.close()
        self._pages.close()

    async def _answer(self, request: HttpRequest, config: WebConfig) -> Answer:
        path, _, query = _origin(request.target).partition("?")
        if path not in (HEALTH, READINESS) and not await self._auth.allows(
            config, request.headers.get("authorization"), request.client
        ):
            answer = _say(401, "a user name and a password are needed")
            answer.headers["WWW-Authenticate"] = 'Basic realm="inetprobe", charset="UTF-8"'
            return answer
        if path not in (HEALTH, READINESS, LANDING, self._telemetry_path):
            return _say(404, "there is no such page")
        if request.method not in ("GET", "HEAD"):
            answer = _say(405, "only GET and HEAD are answered")
            answer.headers["Allow"] = "GET, HEAD"
            return answer
        if path == self._telemetry_path:
            return await self._telemetry(request, query)
        if path == HEALTH:
            return _say(200, "ok")
        if path == READINESS:
            return _say(200, "ready") if self._ready() else _say(503, "not ready")
        policy = "default-src 'none'; frame-ancestors 'none'"
        return Answer(200, self._landing, {"Content-Type": _HTML, "Content-Security-Policy": policy})

    async def _telemetry(self, request: HttpRequest, query: str) -> Answer:
        accept = request.text("accept")
        zipped = accepts_gzip(request.text("accept-encoding"))
        made = await self._pages.run(request.client, (accept, query, zipped), lambda: self._make(accept, query, zipped))
        answer = Answer(made.status, made.body, {"Content-Type": made.content_type, "Vary": "Accept, Accept-Encoding"})
        if zipped:
            answer.headers["Content-Encoding"] = "gzip"
        return answer

    def _make(self, accept: str, query: str, zipped: bool) -> Response:
        made = self._page(accept, query)
        return made._replace(body=gzip.compress(made.body, 6, mtime=0)) if zipped else made


def accepts_gzip(accept_encoding: str) -> bool:
    """Does an Accept-Encoding header allow gzip (RFC 9110, 12.5.3)? What is not understood allows nothing."""
    weights = {}
    for part in accept_encoding.lower().split(","):
        coding, _, parameters = part.partition(";")
        name, _, value = parameters.partition("=")
        try:
            weights[coding.strip()] = float(value) if name.strip() == "q" else 1.0
        except ValueError:
            weights[coding.strip()] = 0.0
    return weights.get("gzip", weights.get("x-gzip", weights.get("*", 0.0))) > 0


def _origin(target: str) -> str:
    """The target from its path on: a proxy's has the scheme and the host before it."""
    scheme, colon, rest = target.partition("://")
    if not colon or scheme.lower() not in ("http", "https"):
        return target
    return "/" + rest.partition("/")[2]


def _say(status: int, sentence: str) -> Answer:
    return Answer(status, f"{sentence}\n".encode(), {"Content-Type": _TEXT})


def _check(path: str) -> None:
    if not path.startswith("/") or not path.isascii() or not path.isprintable() or set(path) & set(' ?#%\\"<>'):
        raise UsageError(f"--web.telemetry-path is {path[:60]!r}: give a path such as /metrics, of plain characters")
    if path.startswith("//") or path in (HEALTH, READINESS):
        raise UsageError(f"--web.telemetry-path is {path[:60]!r}, which stands for something else: give another path")
