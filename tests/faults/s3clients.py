"""Uploads to S3 through a proxy, each with a journal as a local directory has one."""

from __future__ import annotations

import contextlib
import importlib.util
import re
from collections.abc import Iterator, Mapping

from tests.services.places import S3Place
from tests.services.proxy import Exchange, Fate, Proxy
from tests.services.stub import operation

from t9k.em.backend import Backend
from t9k.em.names import alternative_name, new_op
from t9k.em.records import RUN, Body, Draft, Node, Outcome
from t9k.em.registry import open_backend
from t9k.em.transfer.uploading import upload_node

DRIVERS = tuple(
    driver for driver in ("obstore", "fsspec") if importlib.util.find_spec(f"t9k_em_backends.{driver}") is not None
)
HOME = "/alice/default"


class MemoryJournal:
    """See `t9k.em.transfer.uploading.Journal`."""

    def __init__(self) -> None:
        self._ops: dict[str, tuple[str, str]] = {}

    def op_for(self, target: str, digest: str) -> tuple[str, bool]:
        known = self._ops.get(target)
        if known is not None and known[1] == digest:
            return known[0], True
        self._ops[target] = (new_op(), digest)
        return self._ops[target][0], False

    def done(self, target: str) -> None:
        self._ops.pop(target, None)


class Uploader:
    """One run that somebody uploads, perhaps several times, until it is there.

    Args:
        contents: Its files.
        strategy: For a name that is taken.
        name: Its name.
    """

    def __init__(self, contents: Mapping[str, bytes], strategy: str = "new", name: str = "m") -> None:
        self._bodies = {key: Body.of(data) for key, data in contents.items()}
        self._strategy = strategy
        self._draft = Draft(kind=RUN, name=name, alternative_name=alternative_name(name), id=new_op())
        self._journal = MemoryJournal()

    def upload(self, backend: Backend) -> tuple[Outcome, Node]:
        """Uploads it, or goes on with it."""
        return upload_node(backend, HOME, self._draft, self._bodies, strategy=self._strategy, journal=self._journal)


@contextlib.contextmanager
def through(proxy: Proxy, driver: str, root: str, **options: object) -> Iterator[Backend]:
    """A backend that reaches its store through a proxy; it opens by itself on first use, where that may go wrong."""
    query = "".join(f"&{name}={value}" for name, value in options.items())
    with contextlib.closing(open_backend(f"{root}?driver={driver}&endpoint=http://{proxy.address}{query}")) as backend:
        yield backend


@contextlib.contextmanager
def proxied(place: S3Place, *, delay_s: float = 0.0) -> Iterator[Proxy]:
    """A proxy before a service."""
    with Proxy(place.endpoint.partition("://")[2], delay_s=delay_s) as proxy:
        yield proxy


def first_of(pattern: str, fate: str) -> Fate:
    """The fate of the first request whose operation and target fit together, like 'PutObject .*/h/m/'."""
    met: list[int] = []

    def ask(exchange: Exchange) -> str:
        if met or not re.match(pattern, f"{operation(exchange)} {exchange.target}"):
            return ""
        met.append(exchange.number)
        return fate

    return ask
