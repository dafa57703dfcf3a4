"""The contract as documents: both say what the code does, and the server keeps to them whatever is asked."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from tests.server.sending import document, upload

from t9k.em import wire
from t9k.em.server.app import bare_app
from t9k.em.server.models import UploadIn
from t9k.em.server.openapi import document as describe

DOCS = Path(__file__).parents[2] / "docs"
CONTENT = {"a/b.bin": b"0123456789"}
CONFORMANCE = [status_code_conformance, content_type_conformance, response_schema_conformance]
NOT_HERE = 501  # an ability that this deployment has not


def test_the_document_in_the_repository_is_that_of_the_code():
    stored = (DOCS / "aistore-openapi.json").read_text()
    assert json.loads(stored) == json.loads(describe()), "run: make openapi"


def test_the_page_names_every_route_and_every_code():
    page = (DOCS / "aistore-http.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \| (\d+) \|", page, re.MULTILINE))
    assert rows == {code: str(row.status) for code, row in wire.CODES.items()}
    for path in bare_app().openapi()["paths"]:
        assert path.replace("{name}/members/{user}", "{name}") in page or path == "/openapi.json", path


def test_what_the_client_sends_is_what_the_server_describes(alice):
    begun = document(f"/{alice.name}/f", "m", CONTENT)
    request = wire.request_of({**begun, "resumed": False, "since": 0, "preferAlternative": False})
    assert wire.request_of(UploadIn.model_validate(wire.request_json(request)).model_dump(by_alias=True)) == request


DOCUMENT = bare_app().openapi()
OPERATIONS = [(path, method) for path, operations in DOCUMENT["paths"].items() for method in operations]
schemathesis.serializer.alias(wire.BATCH_TYPE, "application/octet-stream")
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT)


@pytest.fixture(scope="session")
def there(server):
    """Values that lead to something: a user's node, and an upload in progress."""
    alice = server.someone(prefix="alice", is_admin=True)
    node = upload(alice, f"/{alice.name}/f", "m", CONTENT)
    begun = document(f"/{alice.name}/f", "other", CONTENT)
    assert alice.ask("POST", "uploads", json=begun).status_code == 200
    return alice, {
        "path": node["path"],
        "folder": f"/{alice.name}/f",
        "generation": 1,
        "key": "a/b.bin",
        "op": begun["op"],
        "kind": "public",
        "round": 0,
        "start": 0,
    }


@pytest.mark.long
@pytest.mark.parametrize(("path", "method"), OPERATIONS, ids=[f"{method} {path}" for path, method in OPERATIONS])
def test_no_request_makes_the_server_fail(server, there, path, method):
    alice, values = there
    headers = {"Authorization": f"Bearer {alice.key}"}

    @settings(max_examples=25, suppress_health_check=list(HealthCheck))
    @given(SCHEMA[path][method].as_strategy())
    def ask(case):
        for known in (False, True):
            if known:
                for part in (case.path_parameters, case.query, case.body):
                    if isinstance(part, dict):
                        part.update({name: value for name, value in values.items() if name in part})
            answer = case.call(base_url=server.url, headers=headers)
            assert answer.status_code < 500 or answer.status_code == NOT_HERE, answer.text
            case.validate_response(answer, checks=CONFORMANCE)

    ask()
