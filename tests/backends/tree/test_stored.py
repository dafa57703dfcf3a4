"""Files that a head refers to, compared with what a store says that it has."""

from __future__ import annotations

import pytest
from attrs import evolve

from t9k.em.errors import NotFound
from t9k.em.records import Body
from t9k.em.testing import make_request, upload
from t9k_em_backends.memory import MemoryBackend, MemoryStore
from t9k_em_backends.tree.heads import file_key
from t9k_em_backends.tree.stored import Comparison, Listed

FOLDER = "/alice/team"
CONTENTS = {"a": b"1"}


class TellsByETag(MemoryStore):
    """A store that keeps no SHA-256 and knows bytes by the ETag; one object goes once it was listed."""

    tells = False

    def list(self, *args, **options):
        for info in super().list(*args, **options):
            yield evolve(info, sha256="", etag="new") if self.tells else info

    def recognizes(self, info, body):
        return not self.tells or (info.etag == "new" and b"".join(body.chunks()) == CONTENTS["a"])

    def get(self, key, *args, **options):
        if self.tells and key.endswith("/a"):
            raise NotFound(f"there is no {key}")
        return super().get(key, *args, **options)


@pytest.fixture
def tree():
    return MemoryBackend(TellsByETag(), "memory://here")


@pytest.fixture
def file(tree):
    node = upload(tree, make_request(FOLDER, "node", CONTENTS), CONTENTS)
    (file,) = tree.files(node)
    tree.store.tells = True
    return evolve(file, etag="old")


def kept(tree, file, bodies):
    listed = Listed.of(tree.store, FOLDER, "node", [file.op], 1)
    comparison = Comparison(tree=tree.tree, folder=FOLDER, name="node", level="content", bodies=bodies)
    return comparison.kept([file], listed)


def test_an_etag_that_the_bytes_at_hand_have_is_taken_over_and_nothing_read(tree, file):
    assert kept(tree, file, {"a": Body.of(CONTENTS["a"])}) == {"a": evolve(file, etag="new")}


def test_what_goes_before_it_is_read_is_not_there(tree, file):
    assert file_key(FOLDER, "node", file).endswith("/a")
    assert kept(tree, file, {}) == {}
