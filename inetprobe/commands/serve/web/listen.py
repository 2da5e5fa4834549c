"""``--web.listen-address``: HOST:PORT as a listening socket."""

from __future__ import annotations

import errno
import os
import socket

from inetprobe.base.errors import UsageError

_BACKLOG = 512
_IPV4_MAPPED = bytes(10) + b"\xff\xff"  # RFC 4291, 2.5.5.2
_REASONS = {
    errno.EADDRINUSE: "another program listens there: give another port, or end that program",
    errno.EADDRNOTAVAIL: "this machine has no such address: give one that `ip address` lists",
    errno.EACCES: "a port below 1024 needs root or CAP_NET_BIND_SERVICE: give a higher port",
}


def listen(address: str) -> socket.socket:
    """A non-blocking socket that listens on ``127.0.0.1:10924``, ``[::1]:9000``, ``localhost:9000`` or ``:9000``.

    ``:9000`` means every IPv4 address, and every IPv6 address if the machine has IPv6. For port 0 the kernel chooses a
    port. Raises UsageError.
    """
    where = f"--web.listen-address {address[:80]!r}"
    host, port = _parse(where, address)
    try:
        family, _, _, _, socket_address = _resolve(host, port)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"{where}: the host {host[:60]!r} is not known: {reason}") from None
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(host != ""))
        listener.bind(socket_address)
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        reason = _REASONS.get(error.errno or 0) or os.strerror(error.errno or 0)
        raise UsageError(f"{where}: cannot listen: {reason}") from None
    return listener


def host_and_port(socket_address: tuple[object, ...]) -> str:
    """HOST:PORT of an address that getsockname() or accept() returned."""
    host, port = str(socket_address[0]), socket_address[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def client_of(host: str) -> str:
    """The client with this address. Whoever has an IPv6 address has its /64 (RFC 6177): that is one client."""
    if ":" not in host:
        return host
    packed = socket.inet_pton(socket.AF_INET6, host.partition("%")[0])
    return host if packed.startswith(_IPV4_MAPPED) else f"{packed[:8].hex()}/64"


def _parse(where: str, address: str) -> tuple[str, int]:
    host, colon, port = address.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not colon or not (port.isascii() and port.isdigit()) or len(port) > 5 or int(port) > 65535:
        raise UsageError(f"{where} has no port: give HOST:PORT, such as 127.0.0.1:10924")
    if ":" in host and not bracketed:
        raise UsageError(f"{where}: put an IPv6 address in brackets: [::1]:{port}")
    return (host[1:-1] if bracketed else host), int(port)


def _resolve(
    host: str, port: int
) -> tuple[int, int, int, str, tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]]:
    if host == "":
        try:
            with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
                probe.bind(("::", 0))
            host = "::"
        except OSError:
            host = "0.0.0.0"
    addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return min(addresses, key=lambda address: address[0] != socket.AF_INET)  # localhost means 127.0.0.1 to most people
