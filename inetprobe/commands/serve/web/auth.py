"""Basic authentication against bcrypt hashes, which are slow on purpose: off the event loop, remembered, bounded."""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
from collections import OrderedDict

import bcrypt

from inetprobe.commands.serve.web.config import WebConfig
from inetprobe.commands.serve.web.worker import Worker

_MOST_REMEMBERED = 64
_BCRYPT_BYTES = 72  # bcrypt never saw what comes after; the library refuses it, tools that make hashes cut it off


class BasicAuth:
    """Who may see the page. For the event loop's thread."""

    def __init__(self) -> None:
        # A stranger's guesses take one thread and at most these places; a client that is known takes none.
        self._lane: Worker[bool] = Worker("inetprobe-auth", most=16, most_per_client=4)
        self._secret = secrets.token_bytes(32)
        self._remembered: OrderedDict[bytes, None] = OrderedDict()

    async def allows(self, config: WebConfig, authorization: bytes | None, client: str) -> bool:
        """Does the Authorization header name a user and their password? Raises BusyError: too many wait to be checked.

        An unknown user takes as long as one with the slowest hash. Only successes are remembered, by a keyed digest of
        name, hash and password: another hash in the file ends them.
        """
        if not config.users:
            return True
        given = credentials(authorization)
        if given is None:
            return False
        user, password = given
        known = config.users.get(user)
        hashed = known or config.decoy
        told = repr((user, hashed, password)).encode()
        digest = hashlib.blake2b(told, key=self._secret, digest_size=32).digest()
        if digest in self._remembered:
            self._remembered.move_to_end(digest)
            return True
        matches = await self._lane.run(client, digest, lambda: _matches(password, hashed))
        if not matches or known is None:
            return False
        self._remembered[digest] = None
        while len(self._remembered) > _MOST_REMEMBERED:
            self._remembered.popitem(last=False)
        return True

    def close(self) -> None:
        """Drops the checks that have not begun."""
        self._lane.close()


def credentials(authorization: bytes | None) -> tuple[bytes, bytes] | None:
    """User and password of an Authorization header's value, None where it has none (RFC 7617)."""
    scheme, _, token = (authorization or b"").strip().partition(b" ")
    if scheme.lower() != b"basic":
        return None
    try:
        user, colon, password = base64.b64decode(token.strip(), validate=True).partition(b":")
    except binascii.Error:
        return None
    return (user, password) if colon else None


def _matches(password: bytes, hashed: bytes) -> bool:
    try:
        return bcrypt.checkpw(password[:_BCRYPT_BYTES], hashed)
    except ValueError:
        return False  # releases before 4 take no NUL in a password: no hash was made of one
