"""A web server for a test, and clients for it: curl, a socket that says anything, certificates of an authority."""

import contextlib
import socket
import subprocess
from types import SimpleNamespace

import trustme

from inetprobe.commands.serve.web import Response, Server

PAGE = b"# HELP a_total what a page has\n# TYPE a_total counter\na_total 1\n" * 50
# bcrypt of "secret" at the least cost, so that tests are quick.
SECRET = "$2b$04$d8fEn9QCtDLZSDWnHcmOSumScxWqroZ3DoQfETzQOl9Fpvi9b9nmu"


def page(openmetrics):
    return Response("text/plain; version=0.0.4; charset=utf-8", PAGE)


@contextlib.contextmanager
def serving(page=page, *, ready=lambda: True, address="127.0.0.1:0", **options):
    """A server that serves, with its messages as ``said``. ``stop`` at the end raises if its thread failed before."""
    said = []
    server = Server(address, page=page, ready=ready, say=said.append, **options)
    server.said = said
    server.bind()
    server.start()
    try:
        yield server
    finally:
        server.stop()


def address_of(server):
    host, _, port = server.url.rpartition("/")[2].rpartition(":")
    return host.strip("[]"), int(port)


def connect(server, timeout=10):
    return socket.create_connection(address_of(server), timeout=timeout)


def to_the_end(client):
    """All that comes until the server ends, by FIN or by RST."""
    parts = []
    with contextlib.suppress(ConnectionResetError):
        while data := client.recv(65536):
            parts.append(data)
    return b"".join(parts)


def say(server, raw):
    """What the server answers to these bytes and the end of ours."""
    with connect(server) as client:
        with contextlib.suppress(OSError):  # it may have ended before it heard all of it
            client.sendall(raw)
            client.shutdown(socket.SHUT_WR)
        return to_the_end(client)


def curl(url, *options):
    """Status (0: none), headers and body of one curl, which is asked to be quick."""
    command = ["curl", "-s", "-i", "--max-time", "20", "-w", "\n%{http_code}", *options, url]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=30)
    rest, _, status = done.stdout.rpartition(b"\n")
    head, _, body = rest.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")[1:]
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return SimpleNamespace(status=int(status), headers=headers, body=body, exit=done.returncode)


class Authority:
    """A certificate authority whose certificates lie in a folder: ca.pem, NAME.pem (the chain) and NAME.key."""

    def __init__(self, folder, name="ca"):
        self._ca = trustme.CA()
        self.folder = folder
        self.file = folder / f"{name}.pem"
        self._ca.cert_pem.write_to_path(self.file)

    def issue(self, name, *identities):
        certificate = self._ca.issue_cert(*identities)
        certificate.private_key_pem.write_to_path(self.folder / f"{name}.key")
        chain = b"".join(blob.bytes() for blob in certificate.cert_chain_pems)
        (self.folder / f"{name}.pem").write_bytes(chain)
        return self.folder / f"{name}.pem", self.folder / f"{name}.key"
