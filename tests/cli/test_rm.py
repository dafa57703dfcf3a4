from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cli.conftest import Em, make_run

from t9k import em as em_


@pytest.fixture(autouse=True)
def _uploaded(logged_in: str) -> None:
    make_run().upload(f"{logged_in}#default")


def answer(text: str, *args: str) -> tuple[int, str]:
    """Runs `em` on a terminal of its own where somebody types; gives the exit code and what is shown."""
    main, other = pty.openpty()
    command = [sys.executable, "-c", "from t9k.em.cli import main; main()", *args]
    em = subprocess.Popen(command, stdin=other, stdout=other, stderr=other, close_fds=True)
    os.close(other)
    os.write(main, text.encode())
    shown = b""
    while True:
        try:
            data = os.read(main, 4096)
        except OSError:  # the program has ended
            break
        if not data:
            break
        shown += data
    os.close(main)
    return em.wait(timeout=60), shown.decode()


def test_without_a_terminal_it_has_to_be_told(em: Em) -> None:
    ran = em("rm", "default/cnn")
    assert ran.code == 2
    assert "say -y to delete" in ran.err
    assert em("ls", "default").out == "cnn\n"


def test_deleting_keeps_the_versions(em: Em, logged_in: str) -> None:
    ran = em("rm", "-y", "default/cnn")
    assert (ran.code, ran.out) == (0, f"deleted  {logged_in}#/alice/default/cnn\n")
    assert em("ls", "default").out == ""
    assert em("show", "default/cnn@1").code == 0


def test_a_folder_needs_r(em: Em) -> None:
    em_.create_artifact("a").upload(em("config", "--json").json["backend"] + "#cv", make_folder=True)
    ran = em("rm", "-y", "cv")
    assert ran.code == 1
    assert "delete with -r" in ran.err
    assert em("rm", "-y", "-r", "cv").code == 0


def test_on_a_terminal_it_asks(em: Em) -> None:
    code, shown = answer("n\n", "rm", "default/cnn")
    assert code == 1
    assert "nothing was deleted" in shown
    assert "Delete the Run /alice/default/cnn (" in shown
    assert em("ls", "default").out == "cnn\n"
    code, shown = answer("y\n", "rm", "default/cnn")
    assert code == 0
    assert em("ls", "default").out == ""
    assert "Delete the folder /alice/default in" in answer("n\n", "rm", "default")[1]


def test_one_version_cannot_be_deleted(em: Em) -> None:
    ran = em("rm", "-y", "default/cnn@1")
    assert ran.code == 1
    assert "is one version; em rm /alice/default/cnn deletes the node" in ran.err


def test_local_ones_are_not_its_business(em: Em) -> None:
    run = make_run()
    ran = em("rm", "-y", run.local)
    assert ran.code == 1
    assert f"rm -r {run.local}" in ran.err


def test_what_is_not_there(em: Em) -> None:
    assert em("rm", "-y", "default/nothing").code == 1
    assert em("rm", "-y", "/alice").code == 1


@pytest.mark.parametrize("record", [b"damaged", b'{"v": 1, "metadata": {"loss": NaN}}'])
def test_a_node_whose_record_is_damaged_can_be_deleted_and_uploaded_again(
    em: Em, logged_in: str, record: bytes
) -> None:
    head = Path(logged_in.removeprefix("file://")) / "alice/default/.em/h/cnn/00000001.json"
    head.write_bytes(record)
    shown = em("show", "default/cnn")
    assert shown.code == 1
    assert "is damaged" in shown.err
    assert "delete the node and upload it again" in shown.err
    code, asked = answer("y\n", "rm", "default/cnn")
    assert (code, "Delete /alice/default/cnn, whose record is damaged" in asked) == (0, True)
    make_run().upload(f"{logged_in}#default")
    assert em("show", "default/cnn").code == 0
