"""The commands where a store is gone: what they say, and how another one is accepted."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from tests.cli.conftest import Em, make_run

from t9k.em import session


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


def test_login_makes_the_root_with_all_above_it_and_its_mark(em: Em, tmp_path: Path) -> None:
    root = tmp_path / "new/deep/store"
    ran = em("login", f"file://{root}")
    assert (ran.code, ran.err) == (0, "")
    assert (root / ".em/store.json").is_file()
    (context,) = yaml.safe_load(Path(".home/t9k-config.yaml").read_text())["contexts"]
    assert context["store"] == yaml.safe_load((root / ".em/store.json").read_text())["id"]
    assert em("ls", "/").code == 0


def test_commands_refuse_a_store_that_is_gone_until_it_is_back_or_another_is_accepted(
    em: Em, logged_in: str, root: Path, tmp_path: Path
) -> None:
    run = make_run()
    assert em("upload", run.local).code == 0
    root.rename(tmp_path / "elsewhere")
    for empty in (False, True):
        if empty:
            root.mkdir()
        session._by_uri.clear()
        for command in (
            ("ls", "/"),
            ("ls", "default"),
            ("show", "/alice/default/cnn"),
            ("upload", make_run("other").local),
            ("gc", "/"),
            ("gc", "--apply", "/"),
            ("rm", "--yes", "/alice/default/cnn"),
            ("ls", f"{logged_in}#/"),
        ):
            ran = em(*command)
            assert ran.code == 1, (command, ran.out)
            assert f"the store that was at {logged_in} is not there" in ran.err, command
            assert f"em login {logged_in}" in ran.err
    assert not list(root.iterdir())
    root.rmdir()
    (tmp_path / "elsewhere").rename(root)
    session._by_uri.clear()
    assert "cnn" in em("ls", "default").out
    root.rename(tmp_path / "elsewhere")
    ran = em("login", logged_in)
    assert ran.code == 0
    assert ran.err == (
        "em: warning: another store was there at the last login; what is there now is used from now on\n"
    )
    session._by_uri.clear()
    assert em("upload", run.local).code == 0
    assert em("login", logged_in).err == ""


def test_a_store_of_a_later_version_can_be_read_and_says_why_nothing_is_written(
    em: Em, logged_in: str, root: Path
) -> None:
    run = make_run()
    assert em("upload", run.local).code == 0
    mark = root / ".em/store.json"
    mark.write_text(mark.read_text().replace('"writer_features":[]', '"writer_features":["catalogue"]'))
    ran = em("login", logged_in)
    assert ran.code == 0
    assert "nothing can be uploaded" in ran.err
    assert "upgrade t9k-em" in ran.err
    assert "cnn" in em("ls", "default").out
    ran = em("upload", make_run("other").local)
    assert ran.code == 1
    assert "'catalogue'" in ran.err


def test_init_makes_the_store_of_a_server_and_accept_takes_another(em: Em, tmp_path: Path, root: Path) -> None:
    database = f"sqlite:///{tmp_path}/server.db"
    root = tmp_path / "srv/em/store"
    server = ("server", "--database", database, "--root", f"file://{root}")
    assert em(*server, "init", "alice").code == 0
    first = yaml.safe_load((root / ".em/store.json").read_text())["id"]
    root.rename(tmp_path / "elsewhere")
    ran = em(*server, "accept")
    assert ran.code == 0
    second = yaml.safe_load((root / ".em/store.json").read_text())["id"]
    assert first != second
    assert ran.out == f"file://{root} is the store {second} from now on\n"
    assert em("server", "--database", database, "accept").code == 2
    ran = em("server", "--database", database, "--root", "https://host/aistore", "accept")
    assert ran.code == 1


def test_a_mirror_neither_fills_an_empty_place_nor_takes_it_for_the_source(
    em: Em, logged_in: str, root: Path, tmp_path: Path
) -> None:
    assert em("upload", make_run().local).code == 0
    target = tmp_path / "copy"
    mirror = ("mirror", logged_in, f"file://{target}")
    assert em(*mirror).code == 0
    assert em("logout").code == 0
    for place in (root, target):
        place.rename(tmp_path / "elsewhere")
        for options in ((), ("--verify",), ("--delete", "--max-delete", "100%"), ("--dry-run",)):
            session._by_uri.clear()
            ran = em(*mirror, *options)
            assert ran.code == 1, (place, options, ran.out)
            assert f"the store that was at file://{place} is not there" in ran.err
            assert not place.exists()
        advice = ran.err.rpartition("say so: ")[2].split()
        (tmp_path / "elsewhere").rename(place)
        session._by_uri.clear()
        assert em(*mirror).code == 0
    target.rename(tmp_path / "elsewhere")
    assert advice[0] == "rm"
    Path(advice[1]).unlink()
    session._by_uri.clear()
    assert em(*mirror).code == 0, "a new copy is begun"
    assert "cnn" in em("ls", f"file://{target}#/alice/default").out


def test_copies_of_a_store_have_marks_of_their_own(em: Em, logged_in: str, root: Path, tmp_path: Path) -> None:
    assert em("upload", make_run().local).code == 0
    copy = tmp_path / "copy"
    assert em("mirror", logged_in, f"file://{copy}").code == 0
    mark = (root / ".em/store.json").read_text()
    other = (copy / ".em/store.json").read_text()
    assert yaml.safe_load(mark)["id"] != yaml.safe_load(other)["id"]
    assert em("mirror", logged_in, f"file://{copy}", "--delete").code == 0
    assert em("cp", f"{logged_in}#/alice/default/cnn", f"file://{copy}#/alice/other", "--make-folder").code == 0
    assert (copy / ".em/store.json").read_text() == other
    assert (root / ".em/store.json").read_text() == mark
