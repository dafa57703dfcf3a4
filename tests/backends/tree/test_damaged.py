"""One damaged or hostile record stops nothing around it, on every kind of store."""

from __future__ import annotations

import json
import math

import pytest
from tests.backends.tree.test_collecting import PLACES, root_of

from t9k.em import mirror
from t9k.em.errors import Conflict, CorruptManifest, InvalidInput, NotFound
from t9k.em.records import Body
from t9k.em.registry import open_backend
from t9k.em.testing import make_request, read_node, upload
from t9k_em_backends.tree.heads import MAX_GENERATION, head_key, heads_prefix
from t9k_em_backends.tree.listing import REWRITE_AT

FOLDER = "/alice/team"
CONTENTS = {"a": b"1", "sub/b": b"22"}
HOSTILE = (
    {"metadata": {"loss": math.nan}},
    {"kind": "\ud800"},
    {"metadata": {"x": "\udfff"}},
    {"size": 2**63},
    {"time": ""},
)


@pytest.fixture(params=PLACES)
def backend(request):
    with open_backend(root_of(request.param, request)) as backend:
        yield backend


def _read(backend, key):
    return b"".join(backend.store.get(key))


def _change(backend, name, changes, generation=1):
    key = head_key(heads_prefix(FOLDER, name), generation)
    backend.store.put(key, Body.of(json.dumps(json.loads(_read(backend, key)) | changes).encode()))


@pytest.mark.long
def test_hostile_records_are_left_out_told_of_mirrored_around_and_deleted(backend, caplog):
    for number in range(len(HOSTILE)):
        upload(backend, make_request(FOLDER, f"m{number}", CONTENTS), CONTENTS)
    good = upload(backend, make_request(FOLDER, "good", CONTENTS), CONTENTS)
    for number, changes in enumerate(HOSTILE):
        _change(backend, f"m{number}", changes)
    assert [node.path for node in backend.list(FOLDER)] == [good.path]
    assert caplog.text.count("left out of the listing of /alice/team") == len(HOSTILE)
    assert sorted(backend.list_all(FOLDER).damaged) == [f"m{number}" for number in range(len(HOSTILE))]
    with pytest.raises(CorruptManifest, match="delete the node and upload it again"):
        backend.stat(f"{FOLDER}/m0")
    with open_backend("memory://mirrored-around") as target:
        report = mirror(backend.uri, target.uri)
        assert [entry.path for entry in report.problems] == [f"alice/team/m{number}" for number in range(len(HOSTILE))]
        assert read_node(target, target.stat(good.path)) == CONTENTS
        target.delete(FOLDER, recursive=True)
    with pytest.raises(Conflict, match=f"holds {len(HOSTILE) + 1} nodes"):
        backend.delete(FOLDER)
    backend.delete(FOLDER, recursive=True)
    for path in (FOLDER, good.path, f"{FOLDER}/m0"):
        with pytest.raises(NotFound, match="it was deleted"):
            backend.stat(path)


def test_records_put_back_from_another_copy_are_listed_as_stat_has_them(backend):
    names = [f"n{number:02d}" for number in range(REWRITE_AT)]
    for name in names:
        upload(backend, make_request(FOLDER, name, {}), {})
    assert [node.name for node in backend.list(FOLDER)] == names
    with open_backend(backend.uri) as another:
        assert [node.name for node in another.list(FOLDER)] == names
        _change(backend, "n00", {"id": "of-another-copy", "metadata": {"status": "Running"}})
        for reader in (backend, another):
            assert reader.list(FOLDER)[0] == reader.stat(f"{FOLDER}/n00")
            assert reader.list(FOLDER)[0].id == "of-another-copy"


def test_the_last_generation_is_the_last(backend):
    upload(backend, make_request(FOLDER, "m", CONTENTS, id="mine"), CONTENTS)
    prefix = heads_prefix(FOLDER, "m")
    backend.store.put(head_key(prefix, MAX_GENERATION), Body.of(_read(backend, head_key(prefix, 1))))
    assert backend.stat(f"{FOLDER}/m").generation == MAX_GENERATION
    with pytest.raises(InvalidInput, match="there can be no more; use another name"):
        upload(backend, make_request(FOLDER, "m", {"a": b"new"}, id="mine"), {"a": b"new"})
    assert read_node(backend, backend.stat(f"{FOLDER}/m")) == CONTENTS
