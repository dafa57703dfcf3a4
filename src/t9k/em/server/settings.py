"""How a server was started; the same for each of its processes."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

import attrs
from attrs import field, frozen

from t9k.em.errors import InvalidInput
from t9k.em.server.accounts import Quotas
from t9k.em.server.accounts.keys import MOST_KEYS

ENVIRONMENT = "EM_SERVER_SETTINGS"
"""Where a server's processes find its settings, which may hold the password of the database."""

DEFAULT_BODY_BYTES = 8 << 20
LEAST_BODY_BYTES = 5 << 20  # what S3 takes as a part
MOST_BODY_BYTES = 1 << 30


def _in_range(least: float, most: float) -> Callable[[object, attrs.Attribute[Any], Any], None]:
    def check(_: object, attribute: attrs.Attribute[Any], value: Any) -> None:
        if not least <= value <= most:
            raise InvalidInput(f"{attribute.name} of a server must be from {least} to {most}, not {value}")

    return check


def _stripped(path: str) -> str:
    return path.rstrip("/")


@frozen(kw_only=True)
class Settings:
    """What `em server` takes.

    Attributes:
        root: URI of the backend that keeps everything.
        database: URL of the database with accounts, keys and shares: `sqlite:////path` or `postgresql://...`.
        host: Address to listen on.
        port: Port to listen on; 0 for a free one.
        workers: How many processes serve.
        root_path: Path before that of every request, when a proxy in front leaves it there: '/t9k/aistore/server'.
        allow_query_keys: Whether an API key may come as a query parameter, as old clients send it.
        direct: Whether clients may get signed URLs of the store.
        body_bytes: The most that one request may carry.
        connections: How many connections one process takes; fewer where the system allows fewer files.
        connections_per_address: How many of them from one address; that of a proxy counts for all behind it.
        rate: Requests a second that one user may make of one process, twice as many in a burst; 0 for no limit.
        audit: Path of the audit log; '-' for standard error, '' for none.
        max_shares: How many shares may reach into the home of one user who has no limit of their own; 0 for any number.
        max_uploads: How many uploads such a user may have in progress; 0 for any number.
        max_bytes: How many bytes may lie in the folders of such a user; 0 for any number.
        upload_lifetime_s: How long an upload that was begun can be gone on with, in seconds.
    """

    root: str
    database: str = field(repr=False)
    host: str = "127.0.0.1"
    port: int = field(default=8000, validator=_in_range(0, 65_535))
    workers: int = field(default=1, validator=_in_range(1, 256))
    root_path: str = field(default="", converter=_stripped)
    allow_query_keys: bool = False
    direct: bool = True
    body_bytes: int = field(default=DEFAULT_BODY_BYTES, validator=_in_range(LEAST_BODY_BYTES, MOST_BODY_BYTES))
    connections: int = field(default=4096, validator=_in_range(1, 1 << 20))
    connections_per_address: int = field(default=1024, validator=_in_range(1, 1 << 20))
    audit: str = ""
    rate: float = field(default=0.0, validator=_in_range(0, 1e9))
    max_shares: int = field(default=10_000, validator=_in_range(0, 2**62))
    max_uploads: int = field(default=1000, validator=_in_range(0, 2**62))
    max_bytes: int = field(default=0, validator=_in_range(0, 2**62))
    upload_lifetime_s: float = field(default=7 * 86_400.0, validator=_in_range(1, 366 * 86_400.0))

    @property
    def quotas(self) -> Quotas:
        """What users may have who have no limits of their own."""
        return Quotas(keys=MOST_KEYS, shares=self.max_shares, uploads=self.max_uploads, bytes=self.max_bytes)

    def to_environment(self) -> None:
        """Leave the settings to the processes that this one starts."""
        os.environ[ENVIRONMENT] = json.dumps(attrs.asdict(self))

    @classmethod
    def from_environment(cls) -> Settings:
        """Return the settings that the process has which started this one.

        Raises:
            InvalidInput: The environment holds no settings.
        """
        left = os.environ.get(ENVIRONMENT)
        if left is None:
            raise InvalidInput(
                "no settings of a server were left here; start it with: em server --root file:///data/em"
            )
        return cls(**json.loads(left))
