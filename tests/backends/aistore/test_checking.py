"""A check through a server, which shows its clients no records."""

from __future__ import annotations

from pathlib import Path

import pytest

from t9k.em.errors import InvalidInput
from t9k.em.testing import make_request, upload
from t9k.em.transfer.checking.check import Options, run_check

CONTENTS = {"a": b"first", "b": b"second" * 100}


def check(backend, path, **options):
    return run_check(backend, path, Options(**options), place="here")


def directory_of(place, path):
    return Path(place.settings["root"].removeprefix("file://"), path[1:])


def test_bytes_are_read_through_the_server(over_files, alice, client):
    backend = client(alice)
    folder = f"/{alice.name}/team"
    upload(backend, make_request(folder, "node", CONTENTS), CONTENTS)
    report = check(backend, f"/{alice.name}")
    assert report.is_whole
    assert (report.nodes, report.files, report.read) == (1, 2, 605)
    assert report.unreferenced is None
    (path,) = directory_of(over_files, f"{folder}/node").glob("*/a")
    path.write_bytes(b"fIrst")
    (gone,) = directory_of(over_files, f"{folder}/node").glob("*/b")
    gone.unlink()
    report = check(backend, f"/{alice.name}")
    assert sorted((found.flaw.kind, found.flaw.path, found.flaw.key) for found in report.found) == [
        ("missing", f"{folder}/node", "b"),
        ("rot", f"{folder}/node", "a"),
    ]
    assert len(report.left) == 2
    with pytest.raises(InvalidInput, match="run em check on the root"):
        check(backend, f"/{alice.name}", repair=True)


def test_a_damaged_record_is_told_by_the_server(over_files, alice, client):
    backend = client(alice)
    folder = f"/{alice.name}/records"
    for name in ("node", "other"):
        upload(backend, make_request(folder, name, CONTENTS), CONTENTS)
    (directory_of(over_files, folder) / ".em/h/node/00000001.json").write_text("{")
    report = check(backend, folder)
    assert [(found.flaw.kind, found.flaw.path) for found in report.damage] == [("record", f"{folder}/node")]
    assert report.nodes == 1
    alone = check(backend, f"{folder}/node")
    assert [(found.flaw.kind, found.flaw.path) for found in alone.damage] == [("record", f"{folder}/node")]


def test_a_damaged_record_is_told_to_nobody_who_may_only_pass(over_files, alice, client):
    owner = client(alice)
    folder = f"/{alice.name}/passed"
    for name in ("node", "other"):
        upload(owner, make_request(folder, name, CONTENTS), CONTENTS)
    (directory_of(over_files, folder) / ".em/h/node/00000001.json").write_text("{")
    someone = over_files.someone(prefix="passing")
    over_files.accounts.share(f"{folder}/other", "user", someone.name, "view", alice.name)
    listing = client(someone).list_all(folder)
    assert (listing.damaged, listing.is_whole, [node.name for node in listing.nodes]) == ({}, False, ["other"])
    assert set(owner.list_all(folder).damaged) == {"node"}
    report = check(client(someone), folder)
    assert report.is_whole
    assert report.partial == (folder,)
