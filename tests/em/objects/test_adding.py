"""Files on their way into an artifact: which are found, where links lead, and that all or none arrive."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.em.local.faultydisk import run_unprivileged

from t9k.em.errors import LocalError, SourceChanged, SymlinkError
from t9k.em.objects import adding
from t9k.em.objects.adding import find_files, import_dir, import_file, object_path


@pytest.fixture
def source(tmp_path) -> Path:
    source = tmp_path / "source"
    (source / "deep" / "er").mkdir(parents=True)
    (source / "1").write_bytes(b"1")
    (source / "deep" / "er" / "2").write_bytes(b"22")
    return source


@pytest.fixture
def target(tmp_path) -> Path:
    (tmp_path / "artifact").mkdir()
    return tmp_path / "artifact"


def place(_: object, put: Callable[[], object]) -> None:
    put()


class TestObjectPath:
    @pytest.mark.parametrize(
        ("path", "obj_path", "key"),
        [
            ("x/a", None, "a"),
            ("a/", None, "a"),
            ("a", "b", "b"),
            ("a", "b/", "b/a"),
            ("a", "b/c/", "b/c/a"),
            (".", None, "cwd"),
            ("..", "x/", "x/parent"),
        ],
    )
    def test_is_the_last_component_or_what_was_asked_for(self, tmp_path, monkeypatch, path, obj_path, key):
        (tmp_path / "parent" / "cwd").mkdir(parents=True)
        monkeypatch.chdir(tmp_path / "parent" / "cwd")
        assert object_path(path, obj_path) == key


class TestFindFiles:
    def test_finds_all_in_a_fixed_order(self, source):
        assert list(find_files(source, "p").items()) == [("p/1", source / "1"), ("p/deep/er/2", source / "deep/er/2")]

    def test_follows_links_that_stay_inside(self, source):
        (source / "file").symlink_to("deep/er/2")
        (source / "deep" / "dir").symlink_to(source / "deep" / "er")
        (source / "deep" / "er" / "up").symlink_to("../../1")
        found = find_files(source, "p")
        assert set(found) == {"p/1", "p/deep/er/2", "p/file", "p/deep/dir/2", "p/deep/er/up", "p/deep/dir/up"}

    def test_takes_a_directory_that_is_itself_a_link(self, source, tmp_path):
        (tmp_path / "link").symlink_to(source)
        (source / "file").symlink_to(tmp_path / "link" / "1")
        assert set(find_files(tmp_path / "link", "p")) == {"p/1", "p/deep/er/2", "p/file"}

    @pytest.mark.parametrize(
        ("leads", "advice"),
        [
            ("/etc/passwd", "out of .*; copy what it stands for, or remove it"),
            ("/etc", "out of"),
            ("../..", "out of"),
            ("../../source2", "out of"),
            ("nowhere", "leads nowhere or in a circle; remove it"),
            ("loop", "leads nowhere or in a circle|out of"),
            ("..", "to a directory above itself; remove it"),
            (".", "to a directory above itself; remove it"),
        ],
    )
    def test_refuses_links_that_leave_dangle_or_loop(self, source, tmp_path, leads, advice):
        (tmp_path / "source2").mkdir()
        (source / "deep" / "loop").symlink_to(leads)
        with pytest.raises(SymlinkError, match=advice):
            find_files(source, "p")

    def test_refuses_links_that_lead_into_each_other(self, source):
        (source / "deep" / "down").symlink_to(source / "other")
        (source / "other").mkdir()
        (source / "other" / "up").symlink_to(source / "deep")
        with pytest.raises(SymlinkError, match="to a directory above itself"):
            find_files(source, "p")

    def test_refuses_what_is_neither_file_nor_directory(self, source):
        os.mkfifo(source / "pipe")
        with pytest.raises(LocalError, match="neither a file nor a directory; leave it out"):
            find_files(source, "p")
        (source / "pipe").unlink()
        with socket.socket(socket.AF_UNIX) as plug:
            os.chdir(source)
            plug.bind("plug")
            with pytest.raises(LocalError, match="neither a file nor a directory"):
                find_files(source, "p")

    def test_says_what_may_not_be_read(self, source, tmp_path):
        (source / "closed").mkdir(0)
        for path in (tmp_path, source):
            path.chmod(0o755)
        code = """
from t9k.em.objects.adding import find_files
try:
    find_files(Path('source'), 'p')
except errors.LocalError as error:
    print(error)
"""
        assert "check its permissions" in run_unprivileged(code)
        (source / "closed").chmod(0o700)


class TestImport:
    def test_of_a_file_gives_size_and_checksum_and_keeps_it_private(self, source, target):
        assert import_file(source / "1", "a/b", target) == {
            "size": 1,
            "sha256": "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b",
        }
        assert stat.S_IMODE((target / "objects" / "a" / "b").stat().st_mode) == 0o600

    def test_of_many_leaves_nothing_else_behind(self, source, target):
        added = import_dir(source, "p", target, place)
        assert {key: data["size"] for key, data in added.items()} == {"p/1": 1, "p/deep/er/2": 2}
        assert (target / "objects/p/deep/er/2").read_bytes() == b"22"
        assert list((target / ".em" / "staging").iterdir()) == []

    def test_of_many_leaves_nothing_after_an_error(self, source, target, monkeypatch):
        real = adding.import_file

        def changing(path, key, directory, **more):
            if key == "p/deep/er/2":
                raise SourceChanged("it changed")
            return real(path, key, directory, **more)

        monkeypatch.setattr(adding, "import_file", changing)
        with pytest.raises(SourceChanged):
            import_dir(source, "p", target, place)
        assert not (target / "objects").exists()
        assert list((target / ".em" / "staging").iterdir()) == []

    def test_says_what_is_in_the_way_of_a_directory(self, source, target):
        (target / "objects" / "a" / "1").mkdir(parents=True)
        with pytest.raises(LocalError, match="is in the way of object 'a/1'; move it away"):
            import_dir(source, "a", target, place)
        assert not (target / "objects" / "a" / "deep").exists() or not any(
            (target / "objects" / "a" / "deep").rglob("2")
        )

    def test_says_what_is_in_the_way(self, source, target):
        (target / "objects" / "a").mkdir(parents=True)
        (target / "objects" / "b").write_bytes(b"")
        for key in ("a", "b/c"):
            with pytest.raises(LocalError, match="is in the way of object .*; move it away"):
                import_file(source / "1", key, target)

    def test_writes_through_no_link(self, source, target, tmp_path):
        (tmp_path / "outside").mkdir()
        (target / "objects").symlink_to(tmp_path / "outside")
        with pytest.raises(SymlinkError):
            import_file(source / "1", "a", target)
        with pytest.raises(SymlinkError):
            import_dir(source, "a", target, place)
        assert list((tmp_path / "outside").iterdir()) == []
