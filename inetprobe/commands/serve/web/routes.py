"""The answer to each request: the metrics page, the landing page, health and readiness.

With ``basic_auth_users`` every path needs a password, as in the exporter-toolkit, except ``/healthz`` and ``/readyz``:
a kubelet's probe has no password, and they say nothing but whether the process runs. Client certificates belong to TLS,
so they are needed for every path: if they are required, let the kubelet probe the port alone (``tcpSocket``) or use
``VerifyClientCertIfGiven``.
"""

from __future__ import annotations

import gzip
import html
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import inetprobe
from inetprobe.base.errors import UsageError
from inetprobe.commands.serve.metrics.exposition import wants_openmetrics
from inetprobe.commands.serve.web.auth import BasicAuth
from inetprobe.commands.serve.web.config import WebConfig
from inetprobe.commands.serve.web.hosts import is_foreign
from inetprobe.commands.serve.web.worker import BusyError, Worker

HEALTH, READINESS, LANDING = "/healthz", "/readyz", "/"
_TEXT, _HTML = "text/plain; charset=utf-8", "text/html; charset=utf-8"
_LANDING = """<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>inetprobe</title></head>
<body>
<h1>inetprobe</h1>
<p>How the kernel creates inet sockets, for Prometheus. Version {version}.</p>
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


# (is it OpenMetrics that the client prefers?) → the page. Called by one thread, one call at a time.
Page = Callable[[bool], Response]


class HttpRequest(NamedTuple):
    """A request without its body. Header names are in lower case; values of a repeated header are joined by ", "."""

    method: str
    target: str
    headers: dict[str, bytes]
    client: str

    def text(self, name: str) -> str:
        """The value of a header; "" if it is missing."""
        return self.headers.get(name, b"").decode("latin-1")


@dataclass(slots=True)
class Answer:
    """A status, headers and a body. The answer to HEAD has the Content-Length of the body that it does not send."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


class Routes:
    """Answers requests. ``page`` is called in a worker thread, everything else in the event loop's thread, so ``ready``
    must not block.

    ``names`` returns those that a Host header may have, or None if any will do (``hosts``). ``tell(subject, sentence)``
    gets errors that are for the log and not for clients. Raises UsageError for a bad telemetry path.
    """

    def __init__(
        self,
        telemetry_path: str,
        page: Page,
        ready: Callable[[], bool],
        names: Callable[[], frozenset[str] | None],
        tell: Callable[[str, str], None],
    ) -> None:
        _check(telemetry_path)
        self._telemetry_path = telemetry_path
        self._page = page
        self._ready = ready
        self._names = names
        self._tell = tell
        self._auth = BasicAuth()
        self._pages: Worker[Response] = Worker("inetprobe-page", max_calls=16, max_calls_per_client=8)
        self._landing = _LANDING.format(
            version=html.escape(inetprobe.__version__),
            telemetry_path=html.escape(telemetry_path),
            health=HEALTH,
            readiness=READINESS,
        ).encode()

    async def answer(self, request: HttpRequest, config: WebConfig) -> Answer:
        """The answer to a request. Never raises: an error goes to ``tell`` and is answered with status 500."""
        try:
            answer = await self._answer(request, config)
        except BusyError:
            answer = _say(503, "too many requests are waiting: try again")
            answer.headers["Retry-After"] = "1"
        except Exception as error:  # noqa: BLE001 # from a callback; clients must not see it
            self._tell("answer", f"{request.method} was answered with 500: {type(error).__name__}: {error}")
            answer = _say(500, "the page could not be made: the exporter's log says why")
        answer.headers = {"X-Content-Type-Options": "nosniff"} | answer.headers | dict(config.headers)
        return answer

    def close(self) -> None:
        """Drops the pages and password checks that have not begun."""
        self._auth.close()
        self._pages.close()

    async def _answer(self, request: HttpRequest, config: WebConfig) -> Answer:
        if config.tls is None and not config.users and "host" in request.headers:
            host, names = request.text("host"), self._names()
            if names is not None and is_foreign(host, names):
                return self._misdirected(host)
        path, _, _ = _origin(request.target).partition("?")
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
            return await self._telemetry(request)
        if path == HEALTH:
            return _say(200, "ok")
        if path == READINESS:
            return _say(200, "ready") if self._ready() else _say(503, "not ready")
        policy = "default-src 'none'; frame-ancestors 'none'"
        return Answer(200, self._landing, {"Content-Type": _HTML, "Content-Security-Policy": policy})

    def _misdirected(self, host: str) -> Answer:
        shown = repr(host[:60])
        self._tell("host", f"a request for the host {shown} was refused: it may be a web page's (docs/deploy.md)")
        return _say(
            421,
            f"the Host header has {shown}, which may be a web page's name for this machine: ask by address or as "
            "localhost, or set a password or TLS in the web configuration",
        )

    async def _telemetry(self, request: HttpRequest) -> Answer:
        preferred = wants_openmetrics(request.text("accept"))
        zipped = accepts_gzip(request.text("accept-encoding"))
        # Waiting requests for one page share it: by nothing else that a client chooses, or two could fill the places.
        key = (preferred, zipped)
        page = await self._pages.run(request.client, key, lambda: self._make(preferred, zipped))
        answer = Answer(page.status, page.body, {"Content-Type": page.content_type, "Vary": "Accept, Accept-Encoding"})
        if zipped:
            answer.headers["Content-Encoding"] = "gzip"
        return answer

    def _make(self, openmetrics: bool, zipped: bool) -> Response:
        page = self._page(openmetrics)
        return page._replace(body=gzip.compress(page.body, 6, mtime=0)) if zipped else page


def accepts_gzip(accept_encoding: str) -> bool:
    """Does an Accept-Encoding header allow gzip (RFC 9110, 12.5.3)? A part that cannot be parsed allows nothing."""
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
    """The target without the scheme and host that a proxy puts before the path."""
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
        raise UsageError(f"--web.telemetry-path is {path[:60]!r}, which is reserved: give another path")
