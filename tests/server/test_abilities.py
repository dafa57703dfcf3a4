"""A server offers what its backend can do, whatever the backend is made of."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from t9k.em.server.service import Service


class Signing:
    """A backend that signs by itself, without a store below it."""

    def __init__(self, signs_reads: bool) -> None:
        self.signs_reads = signs_reads

    def sign_read(self, node, file, *, lifetime_s):
        raise AssertionError("nothing is read")


@pytest.mark.long
@pytest.mark.parametrize("direct", [True, False])
@pytest.mark.parametrize("can", [True, False])
def test_direct_reads_are_offered_where_the_backend_says_that_it_signs_now(direct: bool, can: bool) -> None:
    service = SimpleNamespace(backend=Signing(can), settings=SimpleNamespace(direct=direct))
    assert Service.signs.fget(service) == (direct and can)


def test_and_not_where_it_does_not_sign_at_all() -> None:
    service = SimpleNamespace(backend=SimpleNamespace(), settings=SimpleNamespace(direct=True))
    assert Service.signs.fget(service) is False
