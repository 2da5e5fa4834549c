"""``serve`` over HTTP: pages for scrapers, safe from clients that are slow, hostile or many.

One thread runs an asyncio loop (``server``). Each connection is a task (``connection``): it reads a request with h11
from a non-blocking socket (``transport``, with or without TLS) and sends the answer of ``routes``. Making the page and
bcrypt (``auth``) take time, so each runs in a thread of its own behind a bounded queue (``worker``). ``config`` reads
the web configuration file with ``yaml_section`` and ``tls``; ``listen`` opens the port; ``hosts`` knows its names.
"""

from inetprobe.commands.serve.web.config import WebConfig
from inetprobe.commands.serve.web.connection import Limits
from inetprobe.commands.serve.web.routes import Response
from inetprobe.commands.serve.web.server import Server

__all__ = ["Limits", "Response", "Server", "WebConfig"]
