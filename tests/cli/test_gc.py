from __future__ import annotations

import pytest
from tests.cli.conftest import Em, make_artifact

from t9k.em import session
from t9k.em.backend import Backend


@pytest.fixture
def garbage(em: Em, logged_in: str) -> str:
    make_artifact(files={"a": b"123"}).upload(f"{logged_in}#default")
    assert em("rm", "-y", "default/model").code == 0
    return logged_in


def test_by_default_it_only_says_what_would_go(em: Em, garbage: str) -> None:
    ran = em("gc", "--older-than", "0s")
    assert ran.code == 0
    *rows, last = ran.out.splitlines()
    assert rows[0].split() == ["Size", "Object"]
    assert any(row.strip().startswith("3 B  alice/default/model/") for row in rows)
    assert last.startswith(f"would delete {len(rows) - 1} objects, ")
    assert last.endswith(f" in {garbage}")
    assert ran.err == "nothing was changed; --apply deletes them\n"
    assert em("gc", "--older-than", "0s").out == ran.out


def test_with_apply_it_goes(em: Em, garbage: str) -> None:
    found = em("gc", "--older-than", "0s", "--json").json
    assert (found["applied"], found["count"]) == (False, len(found["objects"]))
    assert found["size"] == sum(each["size"] for each in found["objects"])
    ran = em("gc", "--apply", "--older-than", "0s")
    assert ran.code == 0
    assert ran.out.splitlines()[-1].startswith(f"deleted {found['count']} objects, ")
    assert em("gc", "--older-than", "0s").out == f"would delete 0 objects, 0 B in {garbage}\n"


def test_what_is_young_stays(em: Em, garbage: str) -> None:
    assert em("gc").out.startswith("would delete 0 objects, 0 B")
    assert em("gc", "--older-than", "1.5h", garbage).out.startswith("would delete 0 objects, 0 B")


def test_a_place_limits_it(em: Em, garbage: str) -> None:
    assert em("gc", "--older-than", "0s", "default", "--json").json["count"] > 0
    assert em("gc", "--older-than", "0s", f"{garbage}#default", "--json").json["count"] > 0


@pytest.mark.parametrize("wrong", ["72", "h", "-1h", "3 days", ""])
def test_a_wrong_time_says_how_to_write_it(em: Em, wrong: str) -> None:
    ran = em("gc", "--older-than", wrong)
    assert ran.code == 2
    assert "write it like 90s, 30m, 72h or 7d" in ran.err
    assert em("gc", "--keep-versions", "0").code == 2


def test_a_backend_may_leave_collecting_to_its_server(em: Em, store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Other:
        uri = store

    other: Backend = Other()  # type: ignore[assignment]
    monkeypatch.setattr(session, "resolve", lambda place: (other, place))
    ran = em("gc", store)
    assert ran.code == 1
    assert "em gc on the root that it serves" in ran.err


def test_in_a_terminal_it_shows_that_it_works(em: Em, garbage: str, terminal: None) -> None:
    assert em("gc").code == 0


def test_a_place_that_never_was_is_an_error(em: Em, garbage: str) -> None:
    for place in ("nope", "default/nope", "default/nope@3"):
        ran = em("gc", place, "--apply", "--older-than", "0s")
        assert (ran.code, ran.out) == (1, "")
        assert "there is no /alice/" in ran.err


def test_a_deleted_name_can_be_collected(em: Em, garbage: str) -> None:
    assert em("gc", "default/model", "--older-than", "0s", "--json").json["count"] > 0
    assert em("gc", "default/model", "--apply", "--older-than", "0s").code == 0
    assert em("gc", "default/model", "--older-than", "0s").code == 0


@pytest.mark.parametrize(("given", "said"), [("72h", "72 h"), ("7d", "168 h"), ("90m", "90 m"), ("100s", "100 s")])
def test_what_is_too_young_is_told(em: Em, garbage: str, given: str, said: str) -> None:
    ran = em("gc", "--older-than", given)
    assert ran.out.endswith(f"; what is younger than {said} is kept (--older-than)\n")
