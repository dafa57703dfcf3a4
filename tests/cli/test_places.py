from __future__ import annotations

import pytest
from tests.cli.conftest import make_run

from t9k.em import session
from t9k.em.cli.places import local_node, local_nodes, uri_of
from t9k.em.uris import parse


@pytest.mark.parametrize(
    "path", ["/alice/mnist", "/alice/a b", "/alice/100%", "/alice/a#b", "/alice/a?b", "/alice/模型"]
)
def test_the_uri_of_a_node_leads_back_to_it(path: str) -> None:
    uri = uri_of("file:///data/em", path, 3)
    assert parse(uri).folder == f"{path}@3"
    assert uri_of("file:///data/em", path) == uri.removesuffix("@3")
    assert session.resolve(uri)[1] == f"{path}@3"


def test_the_home_directory_has_its_short_name() -> None:
    run = make_run()
    assert local_node(f"~/../{run.local}") is not None
    assert len(local_nodes("~/..")) == 1


def test_a_uri_is_never_local(store: str) -> None:
    assert local_node(store) is None
    assert local_nodes(store) == []
