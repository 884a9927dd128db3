"""What the server holds for all sessions by its digest: too long for an address, and yet to be found after a reload."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass, field


@dataclass
class Held:
    """Bytes by their digest. most: how many of them altogether; those that were seen longest ago go first."""

    most: int
    _by_digest: dict[str, bytes] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def put(self, value: bytes) -> str:
        """Hold it, the last one to go now. Gives its digest."""
        digest = hashlib.sha256(value).hexdigest()[:32]
        with self._lock:
            self._by_digest.pop(digest, None)
            self._by_digest[digest] = value
            while sum(map(len, self._by_digest.values())) > self.most and len(self._by_digest) > 1:
                del self._by_digest[next(iter(self._by_digest))]
        return digest

    def get(self, digest: str) -> bytes | None:
        """What has this digest, if it is held."""
        with self._lock:
            return self._by_digest.get(digest)
