"""Who sends or reads slowly keeps nobody else waiting, however many of them there are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from tests.server.sending import document, read, upload
from tests.server.test_exhaustion import connected, head
from tests.services.aistore import AIStorePlace, Someone, aistore

from t9k.em.server.http.middleware import DOCUMENT_BYTES

PATIENT = """
import t9k.em.server.http.connections as connections
import t9k.em.server.http.limits as limits
import t9k.em.server.http.room as room
connections.WRITE_S = room.GRACE_S = limits.STALLED_S = 600.0
"""
"""Nobody loses a connection for being slow, so that all who are slow stay."""

LARGE = bytes(range(256)) * (7 << 12)


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AIStorePlace]:
    directory = tmp_path_factory.mktemp("patient")
    (directory / "sitecustomize.py").write_text(PATIENT)
    with aistore(directory / "server", environment={"PYTHONPATH": str(directory)}) as place:
        yield place


@pytest.fixture(scope="module")
def attackers(patient: AIStorePlace) -> list[tuple[Someone, dict[str, Any]]]:
    users = [patient.someone() for _ in range(4)]
    return [(user, upload(user, f"/{user.name}/f", "large", {"file.bin": LARGE})) for user in users]


def assert_served(user: Someone) -> None:
    """All that a user does with files is answered."""
    contents = {"small": b"small", "large": LARGE}
    node = upload(user, f"/{user.name}/f", "m", contents, strategy="replace")
    for key, data in contents.items():
        assert read(user, node, key).content == data


@pytest.mark.long
def test_slow_readers(patient, attackers):
    with ExitStack() as stack:
        for user, node in attackers * 30:
            connection = stack.enter_context(connected(patient))
            target = f"nodes/content?path={node['path']}&generation=1&key=file.bin"
            connection.sendall(head(target, 0, user.key, "GET"))
        assert_served(patient.someone())


def test_lists_of_files_that_never_come(patient, attackers):
    with ExitStack() as stack:
        for user, _ in attackers * 5:
            stack.enter_context(connected(patient)).sendall(head("uploads", DOCUMENT_BYTES, user.key) + b" ")
        assert_served(patient.someone())


def test_bodies_that_never_come(patient, attackers):
    with ExitStack() as stack:
        for user, _ in attackers:
            begun = document(f"/{user.name}/f", "never", {})
            begun["files"] = [{"key": "data", "size": 1 << 30, "sha256": "0" * 64}]
            user.ask("POST", "uploads", json=begun).raise_for_status()
            for number in range(20):
                target = f"uploads/{begun['op']}/part?key=data&start={number << 23}"
                stack.enter_context(connected(patient)).sendall(head(target, 8 << 20, user.key, "PUT") + bytes(1 << 16))
        assert_served(patient.someone())
