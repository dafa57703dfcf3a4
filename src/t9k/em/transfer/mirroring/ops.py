"""The ops of uploads that any process may repeat."""

from __future__ import annotations

import hashlib
from datetime import datetime, timezone

from t9k.em.names import new_op
from t9k.em.records import parse_utc

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


class FixedOp:
    """A journal that needs no memory: the same content on top of the same generation always has the same op.

    So whoever mirrors next goes on where somebody was killed, wherever that was, and of two at once one finds what the
    other has published. It always says that the op may have been used.

    Args:
        seed: What the op stands for: name, content, and the generation below.
        moment: When the version was published in the source.
    """

    def __init__(self, seed: str, moment: str) -> None:
        self._seed = seed
        self._moment = moment
        self._is_over = False

    def op_for(self, target: str, digest: str) -> tuple[str, bool]:
        """See `t9k.em.transfer.uploading.Journal`."""
        if self._is_over:  # the collector took what was sent
            return new_op(), False
        del digest  # the content is in the seed, and does not depend on a name that is made up
        value = int.from_bytes(hashlib.sha256(f"{self._seed}\0{target}".encode()).digest(), "big")
        text = ""
        for _ in range(10):
            value, digit = divmod(value, len(_DIGITS))
            text += _DIGITS[digit]
        try:
            moment = max(parse_utc(self._moment), _EPOCH)
        except ValueError:
            moment = _EPOCH
        return f"{new_op(moment).partition('-')[0]}-{text}", True

    def done(self, target: str) -> None:
        """See `t9k.em.transfer.uploading.Journal`."""
        del target
        self._is_over = True
