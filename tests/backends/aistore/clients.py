"""Backends for the users of a server, without pauses between their tries."""

from __future__ import annotations

from attrs import define, field
from tests.services.aistore import Someone
from typing_extensions import Self

from t9k.em.uris import parse
from t9k_em_backends.aistore import AIStoreBackend
from t9k_em_backends.aistore.address import address_of
from t9k_em_backends.aistore.retries import Retries

AT_ONCE = Retries(sleep=lambda _: None, most=5)


@define
class Clients:
    """Makes backends, and closes them in the end."""

    made: list[AIStoreBackend] = field(factory=list)

    def __call__(self, someone: Someone, *, retries: Retries | None = None, url: str = "") -> AIStoreBackend:
        """A backend for a user.

        Args:
            someone: The user.
            retries: How patient it is.
            url: Where it finds the server, with options; by default where it is.
        """
        address = address_of(parse(url or someone.url), None)
        self.made.append(AIStoreBackend(address, someone.key, retries=retries))
        return self.made[-1]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for backend in self.made:
            backend.close()
