from __future__ import annotations

from pathlib import Path

import click
import pytest
from tests.cli.conftest import Em

pytest.importorskip("sqlalchemy")

from t9k.em.cli.sizes import parse_size


@pytest.fixture(autouse=True)
def database(em: Em, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EM_SERVER_DATABASE", f"sqlite:///{tmp_path}/server.db")
    em("server", "init", "alice")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("0", 0),
        ("4096", 4096),
        ("10B", 10),
        ("500GiB", 500 << 30),
        ("2TB", 2 * 10**12),
        ("1.5 kib", 1536),
        ("4096PiB", 2**62),
    ],
)
def test_a_size_is_what_people_write(written: str, meant: int) -> None:
    assert parse_size(written) == meant


@pytest.mark.parametrize("written", ["", "GiB", "-1", "1e9", "10 parrots", "4097PiB", "1,000"])
def test_anything_else_is_no_size(written: str) -> None:
    with pytest.raises(click.BadParameter, match="no size; write it like 500GiB|the most is 4096PiB"):
        parse_size(written)


def test_a_user_is_given_limits_and_those_of_the_server_again(em: Em) -> None:
    assert em("server", "user", "quota", "alice").out.splitlines() == [
        f"{what}: as the server was started" for what in ("keys", "shares", "uploads", "bytes")
    ]
    ran = em("server", "user", "quota", "alice", "--bytes", "500GB", "--uploads", "0", "--keys", "5")
    assert ran.out.splitlines() == ["keys: 5", "shares: as the server was started", "uploads: any", "bytes: 500.0 GB"]
    assert em("server", "user", "quota", "alice", "--keys", "default").out.startswith("keys: as the server was started")
    (shown,) = em("server", "usage", "--json").json
    assert shown["quotas"] == {"keys": None, "shares": None, "uploads": 0, "bytes": 500 * 10**9}
    assert shown["used"] == {"keys": 1, "shares": 0, "uploads": 0, "bytes": 0, "counted": None}
    assert "0 B of 500.0 GB" in em("server", "usage", "alice").out


def test_what_is_no_limit_is_refused_with_what_to_write(em: Em) -> None:
    for option, value, said in (
        ("--keys", "many", "no number"),
        ("--bytes", "much", "no size"),
        ("--shares", "-1", "no number"),
    ):
        ran = em("server", "user", "quota", "alice", option, value)
        assert ran.code == 2
        assert said in ran.err
    assert em("server", "user", "quota", "nobody").code == 1
    assert "em server user list" in em("server", "usage", "nobody").err


def test_a_recount_needs_the_root_and_counts_what_is_there(em: Em, tmp_path: Path) -> None:
    ran = em("server", "usage", "--recount")
    assert ran.code == 2
    assert "em server --root file:///data/em" in ran.err
    file = tmp_path / "root" / "alice" / "f" / "m" / "20230817T080524.390002Z-4e48t2a0bc" / "a"
    file.parent.mkdir(parents=True)
    file.write_bytes(bytes(1234))
    ran = em("server", "--root", f"file://{tmp_path}/root", "usage", "--recount", "--json")
    (shown,) = ran.json
    assert shown["used"]["bytes"] == 1234
    assert shown["used"]["counted"] is not None
