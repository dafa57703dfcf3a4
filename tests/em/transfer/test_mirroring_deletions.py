"""What a mirror deletes: nothing that its reader does not see the whole of, and not much at once."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from t9k.em import mirror, session
from t9k.em.backend import Backend
from t9k.em.errors import InvalidInput, NotFound
from t9k.em.names import is_within
from t9k.em.records import ARTIFACT, RUN, Listing, Node
from t9k.em.testing import Faults, FaultyBackend, make_request, upload
from t9k.em.transfer.mirroring.deletions import MaxDelete
from t9k.em.transfer.mirroring.mirror import Side, run_mirror
from t9k.em.transfer.mirroring.nodes import Options
from t9k.em.transfer.mirroring.report import Action


@pytest.fixture
def source() -> str:
    return f"memory://{uuid4()}"


@pytest.fixture
def target() -> str:
    return f"memory://{uuid4()}"


def put(uri: str, *paths: str, kind: str = RUN) -> None:
    for path in paths:
        folder, _, name = path.rpartition("/")
        request = make_request(folder, name, {}, kind=kind, strategy="replace", id=name)
        upload(session.backend_at(uri), request, {})


def many(folder: str, count: int) -> list[str]:
    return [f"{folder}/n{number}" for number in range(count)]


def there(uri: str, path: str = "/") -> set[str]:
    """The paths of all runs and artifacts."""
    backend, found, folders = session.backend_at(uri), set(), [path]
    while folders:
        for node in backend.list(folders.pop()):
            if node.kind == "Folder":
                folders.append(node.path)
            else:
                found.add(node.path)
    return found


class Shown(FaultyBackend):
    """A backend that shows one folder, and that others are on the way there."""

    def __init__(self, inner: Backend, shown: str) -> None:
        super().__init__(inner, Faults())
        self.shown = shown

    def _is_shown(self, path: str) -> bool:
        return is_within(path, self.shown) or is_within(self.shown, path)

    def stat(self, path: str) -> Node:
        if not self._is_shown(path):
            raise NotFound(f"there is no {path}")
        return super().stat(path)

    def list_all(self, path: str) -> Listing:
        nodes = [node for node in super().list(path) if self._is_shown(node.path)]
        return Listing(nodes=nodes, is_whole=is_within(path, self.shown))


def side(uri: str, path: str = "/", backend: Backend | None = None) -> Side:
    return Side(backend=backend or session.backend_at(uri), uri=uri, path=path)


def mirror_shown(source: str, target: str, shown: str, **options: Any) -> Any:
    backend = Shown(session.backend_at(source), shown)
    return run_mirror(side(source, backend=backend), side(target), Options(delete=True, **options))


class TestPartOfASource:
    def test_nothing_is_deleted_in_a_folder_of_which_only_a_part_is_shown(self, source, target):
        put(source, "/alice/open/a", "/alice/closed/b", "/alice/c", "/bob/d")
        mirror(source, target)
        report = mirror_shown(source, target, "/alice/open")
        assert there(target) == {"/alice/open/a", "/alice/closed/b", "/alice/c", "/bob/d"}
        assert report.partial == ("", "alice")
        assert not report.complete
        told = {entry.path: entry.problem for entry in report.problems}
        assert told.keys() == {"", "alice"}
        assert "not deleted" in told[""]
        assert "bob" in told[""]
        assert "closed" in told["alice"]
        assert "key that may see all of /alice" in told["alice"]

    def test_what_is_wholly_shown_is_deleted_where_it_has_gone(self, source, target):
        put(source, "/alice/open/a", "/alice/open/deep/b", "/alice/c")
        mirror(source, target)
        put(target, "/alice/open/extra", "/alice/open/more/x")
        report = mirror_shown(source, target, "/alice/open")
        assert there(target) == {"/alice/open/a", "/alice/open/deep/b", "/alice/c"}
        assert {entry.path for entry in report.entries if entry.action is Action.DELETE} == {
            "alice/open/extra",
            "alice/open/more",
        }

    def test_it_is_complete_when_the_copy_has_no_more_than_what_is_shown(self, source, target):
        put(source, "/alice/open/a", "/alice/closed/b")
        report = mirror_shown(source, target, "/alice/open")
        assert (report.complete, report.partial) == (True, ("", "alice"))
        assert report.to_dict()["partial"] == ["", "alice"]
        assert there(target) == {"/alice/open/a"}

    def test_what_is_in_the_way_there_is_not_deleted_either(self, source, target):
        put(source, "/alice/open/a")
        put(target, "/alice/open")
        report = mirror_shown(source, target, "/alice/open/a")
        assert there(target) == {"/alice/open"}
        assert "in the way" in report.problems[0].problem
        assert "yourself" in report.problems[0].problem

    def test_a_plan_tells_the_same(self, source, target):
        put(source, "/alice/open/a", "/bob/d")
        mirror(source, target)
        report = mirror_shown(source, target, "/alice", apply=False)
        assert [entry.path for entry in report.problems] == [""]
        assert report.count(Action.DELETE) == 0


class TestMuchAtOnce:
    def test_more_than_ten_and_a_quarter_is_refused_before_anything_is_done(self, source, target):
        put(source, "/alice/new", *many("/alice/kept", 4))
        put(target, *many("/alice/x", 11), *many("/alice/kept", 4))
        before = there(target)
        with pytest.raises(InvalidInput, match=r"11 of the 15 .*, and 10 may be; .* max_delete=11; nothing was"):
            mirror(f"{source}#/alice/", f"{target}#/alice/", delete=True)
        assert there(target) == before

    def test_ten_are_deleted(self, source, target):
        put(source, "/alice/new")
        put(target, *many("/alice", 10))
        assert mirror(source, target, delete=True).complete
        assert there(target) == {"/alice/new"}

    def test_a_quarter_is_deleted_and_one_more_is_not(self, source, target):
        put(source, *many("/alice/kept", 36))
        put(target, *many("/alice/kept", 36), *many("/alice/x", 12))
        assert mirror(source, target, delete=True, dry_run=True).complete
        put(target, "/alice/one-more")
        with pytest.raises(InvalidInput, match="13 of the 49 .*, and 12 may be"):
            mirror(source, target, delete=True)

    def test_what_lies_in_folders_that_go_counts(self, source, target):
        put(source, "/alice/a")
        put(target, *many("/bob/x", 6), *many("/bob/x/deep", 5), "/carol/y")
        with pytest.raises(InvalidInput, match="12 of the 12 "):
            mirror(source, target, delete=True)

    def test_what_is_in_the_way_counts(self, source, target):
        put(source, "/alice/x", kind=ARTIFACT)
        put(target, *many("/alice/x", 11))
        with pytest.raises(InvalidInput, match="11 of the 11 "):
            mirror(source, target, delete=True)
        with pytest.raises(InvalidInput, match="11 of the 11 "):
            mirror(f"{source}#/alice/x", f"{target}#/alice", delete=True)

    @pytest.mark.parametrize("allowed", [11, "11", "74%", "100%"])
    def test_it_is_done_when_it_is_allowed(self, source, target, allowed):
        put(source, "/alice/new")
        put(target, *many("/alice/x", 11), *many("/alice/kept", 4))
        put(source, *many("/alice/kept", 4))
        assert mirror(source, target, delete=True, max_delete=allowed).complete
        assert there(target) == there(source)

    @pytest.mark.parametrize(("allowed", "most"), [(0, 0), ("0%", 0), ("50%", 7), ("53.4%", 8)])
    def test_less_may_be_allowed_too(self, source, target, allowed, most):
        put(source, *many("/alice/kept", 4))
        put(target, *many("/alice/x", 11), *many("/alice/kept", 4))
        with pytest.raises(InvalidInput, match=f"11 of the 15 .*, and {most} may be"):
            mirror(source, target, delete=True, max_delete=allowed)

    def test_a_plan_shows_what_would_go_and_says_that_it_is_too_much(self, source, target):
        put(source, "/alice/new")
        put(target, *many("/alice/x", 11))
        report = mirror(source, target, delete=True, dry_run=True)
        assert [entry.path for entry in report.entries if entry.action is Action.DELETE] == ["alice/x"]
        assert [(entry.path, "max_delete=11" in entry.problem) for entry in report.problems] == [("", True)]

    @pytest.mark.parametrize("value", ["", "many", "-1", -1, "101%", 1.5, "1.5", True, "1e3", "٣", "5 0"])
    def test_what_is_no_limit_is_refused(self, source, value):
        with pytest.raises(InvalidInput, match="max_delete="):
            MaxDelete.of(value)
