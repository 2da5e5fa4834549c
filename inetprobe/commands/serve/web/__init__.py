"""``serve`` over HTTP: pages for scrapers, safe from clients that are slow, hostile or many.

One thread runs an asyncio loop (``server``): every connection (``connection``) is a task that reads a request with
h11 from a non-blocking socket (``stream``, TLS or not) and sends what ``routes`` answer. What takes time, the page
itself and bcrypt (``auth``), runs in a thread of its own behind a bounded queue (``lane``). ``config`` reads the web
configuration file, ``notify`` talks to systemd.
"""

from inetprobe.commands.serve.web.config import WebConfig
from inetprobe.commands.serve.web.connection import Limits
from inetprobe.commands.serve.web.routes import Response
from inetprobe.commands.serve.web.server import Server

__all__ = ["Limits", "Response", "Server", "WebConfig"]
