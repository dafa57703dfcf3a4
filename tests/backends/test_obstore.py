"""`ObstoreStore` keeps the contract of the port over a real S3."""

from __future__ import annotations

import os
from uuid import uuid4

import hypothesis
import pytest

from t9k.em.registry import open_backend
from t9k.em.testing import (
    BackendSuite,
    CollectsSuite,
    CopiesObjectsSuite,
    ObjectStoreSuite,
    SweepsTemporarySuite,
    backend_machine,
    object_store_machine,
)
from t9k.em.uris import parse
from t9k_em_backends.obstore import ObstoreStore
from t9k_em_backends.parts import MULTIPART_FROM_BYTES


def open_store(root: str) -> ObstoreStore:
    return ObstoreStore.from_uri(parse(root))


class _OnSeaweedFS:
    @pytest.fixture
    def root(self, s3):
        return s3.new_root()

    @pytest.fixture
    def store(self, root):
        with open_store(root) as store:
            yield store

    @pytest.fixture
    def new_store(self, root):
        return lambda: open_store(root)

    def leave_something(self, store):
        """A multipart upload that nobody completes."""
        drivers = store._open()
        drivers.multipart._create(store._key("half"))


class TestObstoreStore(_OnSeaweedFS, ObjectStoreSuite, CopiesObjectsSuite, SweepsTemporarySuite):
    pass


class TestObstoreStoreOnMoto(ObjectStoreSuite, CopiesObjectsSuite):
    @pytest.fixture
    def store(self, moto):
        with open_store(moto.new_root()) as store:
            yield store


class TestObstoreBackend(BackendSuite, CollectsSuite):
    @pytest.fixture
    def root(self, s3):
        return f"{s3.new_root()}?driver=obstore"

    @pytest.fixture
    def backend(self, root):
        with open_backend(root) as backend:
            yield backend

    @pytest.fixture
    def new_backend(self, root):
        return lambda: open_backend(root)
