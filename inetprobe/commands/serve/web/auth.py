"""Basic authentication with bcrypt hashes. They are slow on purpose: checked off the event loop, cached, bounded."""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
from collections import OrderedDict

import bcrypt

from inetprobe.commands.serve.web.config import WebConfig
from inetprobe.commands.serve.web.worker import Worker

_MAX_CACHED = 64
_BCRYPT_BYTES = 72  # bcrypt ignores the rest; the library refuses longer passwords, tools that make hashes cut them off


class BasicAuth:
    """Decides which clients may see the page. For the event loop's thread."""

    def __init__(self) -> None:
        # Guesses take one thread, whose calls the clients get in turn, and at most 16 places in its queue; a cached
        # password takes neither.
        self._worker: Worker[bool] = Worker("inetprobe-auth", max_calls=16, max_calls_per_client=4)
        self._secret = secrets.token_bytes(32)
        self._cached: OrderedDict[bytes, None] = OrderedDict()

    async def allows(self, config: WebConfig, authorization: bytes | None, client: str) -> bool:
        """Does the Authorization header have a known user and their password?

        Each refusal takes as long as one with the slowest hash, whoever is refused. Only successes are cached, by a
        keyed digest of name, hash and password: a changed hash in the file ends them. Raises BusyError if too many
        passwords wait to be checked.
        """
        if not config.users:
            return True
        pair = credentials(authorization)
        if pair is None:
            return False
        user, password = pair
        known = config.users.get(user)
        hashed = known or config.decoy
        identity = repr((user, hashed, password)).encode()
        digest = hashlib.blake2b(identity, key=self._secret, digest_size=32).digest()
        if digest in self._cached:
            self._cached.move_to_end(digest)
            return True
        matches = await self._worker.run(client, digest, lambda: _matches(password, hashed, config.decoy))
        if not matches or known is None:
            return False
        self._cached[digest] = None
        while len(self._cached) > _MAX_CACHED:
            self._cached.popitem(last=False)
        return True

    def close(self) -> None:
        """Drops the checks that have not begun."""
        self._worker.close()


def credentials(authorization: bytes | None) -> tuple[bytes, bytes] | None:
    """User and password in the value of an Authorization header; None if it has none (RFC 7617)."""
    scheme, _, token = (authorization or b"").strip().partition(b" ")
    if scheme.lower() != b"basic":
        return None
    try:
        user, colon, password = base64.b64decode(token.strip(), validate=True).partition(b":")
    except binascii.Error:
        return None
    return (user, password) if colon else None


def _matches(password: bytes, hashed: bytes, decoy: bytes) -> bool:
    if _compared(password, hashed):
        return True
    # A hash of cost c takes 2^c rounds. Those of the costs from c to below the decoy's, s, are what is left of the
    # decoy's: 2^s - 2^c. Else a quick refusal would tell that there is a user with a cheaper hash.
    for cost in range(_cost(hashed), _cost(decoy)):
        _compared(password, b"%s%02d%s" % (decoy[:4], cost, decoy[6:]))
    return False


def _cost(hashed: bytes) -> int:
    return int(hashed[4:6])


def _compared(password: bytes, hashed: bytes) -> bool:
    try:
        return bcrypt.checkpw(password[:_BCRYPT_BYTES], hashed)
    except ValueError:
        return False  # bcrypt before 4 refuses a NUL in a password, so no hash was made of one
