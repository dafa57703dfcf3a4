from __future__ import annotations

import pytest

from t9k.em.errors import InvalidURI
from t9k.em.registry import open_backend
from t9k.em.testing import (
    BackendSuite,
    CollectsSuite,
    CopiesObjectsSuite,
    DescentSuite,
    GrowsSuite,
    ObjectStoreSuite,
    ReferenceBackend,
    ServesUsersSuite,
    TakesPartsSuite,
    backend_machine,
    make_request,
    object_store_machine,
    upload,
)
from t9k_em_backends.memory import MemoryBackend, MemoryStore


class TestMemoryStore(ObjectStoreSuite, CopiesObjectsSuite):
    @pytest.fixture
    def store(self):
        return MemoryStore()


class TestMemoryBackend(BackendSuite, DescentSuite, CollectsSuite, ServesUsersSuite, TakesPartsSuite, GrowsSuite):
    @pytest.fixture
    def store(self):
        return MemoryStore()

    @pytest.fixture
    def backend(self, store):
        return MemoryBackend(store, "memory://test")

    @pytest.fixture
    def new_backend(self, store):
        return lambda: MemoryBackend(store, "memory://test")


def _clients():
    store = MemoryStore()
    return [MemoryBackend(store, "memory://test"), MemoryBackend(store, "memory://test")]


TestMemoryStoreHistory = object_store_machine(MemoryStore).TestCase
TestMemoryBackendHistory = backend_machine(_clients).TestCase


class TestReferenceBackend(BackendSuite, DescentSuite):
    """What the others are compared with keeps the contract itself."""

    @pytest.fixture
    def backend(self):
        return ReferenceBackend()


TestReferenceBackendHistory = backend_machine(lambda: [ReferenceBackend()]).TestCase


def test_one_name_is_one_tree_in_this_process():
    with (
        open_backend("memory://one") as one,
        open_backend("memory://one") as again,
        open_backend("memory://two") as two,
    ):
        node = upload(one, make_request("/alice/default", "m", {}), {})
        assert again.stat(node.path) == node
        assert list(two.list("/alice/default")) == []


def test_an_unknown_option_is_refused():
    with pytest.raises(InvalidURI, match="speed"):
        open_backend("memory://one?speed=fast")
