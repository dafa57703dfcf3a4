from __future__ import annotations

from pathlib import Path

import pytest
from tests.cli.conftest import Em, make_artifact


@pytest.fixture
def node(em: Em, logged_in: str) -> Path:
    """The directory of an artifact in a store, whose object another one has too."""
    for name in ("model", "other"):
        make_artifact(name, {"weights.bin": b"weights" * 10, f"only-{name}.bin": name.encode()}).upload(
            f"{logged_in}#cv", make_folder=True
        )
    return next(Path(logged_in.removeprefix("file://"), "alice/cv/model").iterdir())


@pytest.fixture(autouse=True)
def _alice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EM_USER", "alice")


def test_all_is_well(em: Em, node: Path, logged_in: str) -> None:
    ran = em("check")
    assert (ran.code, ran.err) == (0, "")
    lines = [line.split(maxsplit=1) for line in ran.out.splitlines()]
    assert [line[0] for line in lines] == ["checked", "nodes", "read", "damage"]
    assert lines[0][1] == f"{logged_in}#/"
    assert lines[1][1] == "2 nodes, 2 versions"
    assert lines[3][1] == "none"


def test_damage_is_told_with_a_code_of_its_own_and_nothing_is_changed(em: Em, node: Path) -> None:
    (node / "objects/weights.bin").write_bytes(b"x")
    (node / "objects/only-model.bin").unlink()
    for _ in range(2):
        ran = em("check", "cv")
        assert ran.code == 4
        header, *rows, _, checked, _, _, damage = ran.out.splitlines()
        assert header.split() == ["Flaw", "Path", "File", "Problem"]
        assert [row.split()[:3] for row in rows] == [
            ["missing", "/alice/cv/model", "objects/only-model.bin"],
            ["rot", "/alice/cv/model", "objects/weights.bin"],
        ]
        assert checked.endswith("#/alice/cv")
        assert damage == "damage    2: 1 missing, 1 rot; none repaired"
        assert ran.err == "nothing was repaired; --repair fixes what can be fixed\n"


def test_what_is_repaired_has_a_code_of_its_own_and_what_is_left_another(em: Em, node: Path) -> None:
    (node / "objects/weights.bin").write_bytes(b"x")
    ran = em("check", "--repair")
    assert (ran.code, ran.err) == (5, "")
    assert "repaired: copied from /alice/cv/other: objects/weights.bin" in ran.out
    assert "damage    1: 1 rot; 1 repaired" in ran.out
    assert em("check").code == 0
    (node / "objects/weights.bin").write_bytes(b"x")
    (node / "objects/only-model.bin").unlink()
    ran = em("check", "--repair")
    assert (ran.code, ran.err) == (4, "")
    assert "damage    2: 1 missing, 1 rot; 1 repaired" in ran.out


def test_a_damaged_record_is_told_once(em: Em, node: Path, caplog: pytest.LogCaptureFixture) -> None:
    (node.parents[1] / ".em/h/model/00000001.json").write_text("{")
    ran = em("check")
    assert ran.code == 4
    assert ran.out.count("Expecting property name") == 1
    assert caplog.records == []


def test_as_json(em: Em, node: Path) -> None:
    (node / "objects/weights.bin").write_bytes(b"x")
    ran = em("check", "--json")
    assert ran.code == 4
    assert (ran.json["damaged"], ran.json["repaired"], ran.json["counts"]) == (1, 0, {"rot": 1})
    assert ran.json["found"][0]["key"] == "objects/weights.bin"


def test_what_is_of_a_later_version_is_unread(em: Em, node: Path) -> None:
    head = node.parents[1] / ".em/h/model/00000001.json"
    head.write_text(head.read_text().replace('"v":1', '"v":2', 1))
    ran = em("check")
    assert ran.code == 3
    assert "unread    1, see above" in ran.out
    assert "upgrade t9k-em" in ran.out


def test_a_sample_and_an_age_limit_what_is_read(em: Em, node: Path) -> None:
    every = em("check", "--json").json["read_files"]
    assert em("check", "--json", "--sample", "1").json["read_files"] == 1
    assert 0 < em("check", "--json", "--sample", "50%").json["read_files"] < every
    assert sum(em("check", "--json", "--sample", f"{part}/3").json["read_files"] for part in (1, 2, 3)) == every
    assert em("check", "--json", "--older-than", "1d").json["read_files"] == 0


@pytest.mark.parametrize(
    ("wrong", "advice"),
    [
        (["--sample", "all"], "give a share like 5%, a part like 3/20, or a number of files"),
        (["--older-than", "30"], "write it like 90s, 30m, 72h or 7d"),
    ],
)
def test_a_wrong_option_says_how_to_write_it(em: Em, wrong: list[str], advice: str) -> None:
    ran = em("check", *wrong)
    assert ran.code == 2
    assert advice in " ".join(ran.err.replace("│", " ").split())


def test_wrong_places_are_refused(em: Em, node: Path, tmp_path: Path) -> None:
    artifact = make_artifact("local")
    ran = em("check", artifact.local)
    assert (ran.code, "em check reads what is in a backend" in ran.err) == (1, True)
    ran = em("check", "cv/nope")
    assert (ran.code, "there is no /alice/cv/nope" in ran.err) == (1, True)
    assert em("check", f"file://{tmp_path}/empty").code == 1


def test_what_nothing_refers_to_is_garbage_and_no_damage(em: Em, node: Path) -> None:
    import os

    stray = node / "objects/stray.bin"
    stray.write_bytes(b"12345")
    os.utime(stray, (0, 0))
    ran = em("check")
    assert ran.code == 0
    assert "garbage   1 object, 5 B, which em gc --apply deletes" in ran.out


def test_in_a_terminal_it_shows_how_far_it_is(em: Em, node: Path, terminal: None) -> None:
    assert em("check").code == 0
