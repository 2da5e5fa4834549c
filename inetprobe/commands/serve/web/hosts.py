"""Which Host headers a server answers to: a web page must not read it under a name that its author owns.

A browser lets a page read what comes from the page's own host and port. So the author of ``http://evil.example:10924``
lets that name mean 127.0.0.1 once the page is loaded (DNS rebinding): the browser then asks us, with the author's name
in the Host header. With passwords or TLS the page gets nothing: the browser knows no password for that name, and our
certificate is not for it. A server that listens on more than the loopback interface may have any name.
"""

from __future__ import annotations

import ipaddress
import socket
from urllib.parse import urlsplit


def loopback_names(listener: socket.socket, address: str) -> frozenset[str] | None:
    """The names of a server that only this machine reaches, in lower case; None if others reach it, too. ``address`` is
    that of --web.listen-address, which may have a name of its own."""
    if not ipaddress.ip_address(listener.getsockname()[0]).is_loopback:
        return None
    return frozenset(("localhost", socket.gethostname().lower(), urlsplit(f"//{address}").hostname or "localhost"))


def is_foreign(host: str, names: frozenset[str]) -> bool:
    """Does a Host header (HOST or HOST:PORT) have a name that is not one of ``names``? An address is no name."""
    try:
        name = (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:  # brackets without an address
        return True
    if name in names:
        return False
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return True
    return False
