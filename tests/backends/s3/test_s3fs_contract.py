"""The store by s3fs keeps the contract of the port, over real servers."""

from __future__ import annotations

import hypothesis
import pytest
from tests.services.places import new_root

from t9k.em.registry import open_backend
from t9k.em.testing import (
    BackendSuite,
    CollectsSuite,
    CopiesObjectsSuite,
    DescentSuite,
    GrowsSuite,
    ObjectStoreSuite,
    ServesUsersSuite,
    SweepsTemporarySuite,
    TakesPartsSuite,
    backend_machine,
    object_store_machine,
)
from t9k.em.uris import parse
from t9k_em_backends.s3.s3fs_store import S3fsStore


def open_store(root):
    return S3fsStore.from_uri(parse(root))


class _Store:
    @pytest.fixture
    def store(self, root):
        with open_store(root) as store:
            yield store

    @pytest.fixture
    def new_store(self, root):
        return lambda: open_store(root)


@pytest.mark.long
class TestS3fsStore(_Store, ObjectStoreSuite, CopiesObjectsSuite, SweepsTemporarySuite):
    @pytest.fixture
    def root(self, s3):
        return s3.new_root()

    def leave_something(self, store):
        """A multipart upload that nobody completes."""
        with store._multipart() as multipart:
            multipart._create(store._key("half"))


@pytest.mark.long
class TestS3StoreOnMoto(_Store, ObjectStoreSuite, CopiesObjectsSuite):
    @pytest.fixture
    def root(self, moto):
        return moto.new_root()

    @pytest.fixture
    def new_store(self, store):
        return lambda: store


class _Backend:
    @pytest.fixture
    def backend(self, root):
        with open_backend(root) as backend:
            yield backend

    @pytest.fixture
    def new_backend(self, root):
        return lambda: open_backend(root)


@pytest.mark.long
class TestS3Backend(_Backend, BackendSuite, DescentSuite, CollectsSuite, ServesUsersSuite, TakesPartsSuite, GrowsSuite):
    @pytest.fixture
    def root(self, s3):
        return f"{s3.new_root()}?driver=fsspec"

    @pytest.fixture
    def store(self, backend):
        return backend.store


def _clients():
    root = f"{new_root('s3')}?driver=fsspec"
    return [open_backend(root), open_backend(root)]


TestS3fsStoreHistory = pytest.mark.usefixtures("s3")(object_store_machine(lambda: open_store(new_root("s3"))).TestCase)
TestS3fsStoreHistory.settings = hypothesis.settings(max_examples=4, stateful_step_count=20)

TestS3BackendHistory = pytest.mark.usefixtures("s3")(backend_machine(_clients).TestCase)
TestS3BackendHistory.settings = hypothesis.settings(max_examples=2, stateful_step_count=15)
