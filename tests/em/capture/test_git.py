from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from t9k.em.capture import git
from t9k.em.local.yamlwriter import dump

if shutil.which("git") is None:
    pytest.skip("needs the program git", allow_module_level=True)


def run(*args, cwd):
    subprocess.run(
        ["git", "-c", "user.name=a", "-c", "user.email=a@example.org", *args], cwd=cwd, check=True, capture_output=True
    )


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A repository with one commit, whose script was started."""
    path = tmp_path / "repository"
    (path / "sub").mkdir(parents=True)
    (path / "sub" / "train.py").write_text("print()")
    run("init", "--initial-branch", "dev", cwd=path)
    run("add", ".", cwd=path)
    run("commit", "-m", "first", cwd=path)
    monkeypatch.setattr(sys, "argv", [str(path / "sub" / "train.py"), "--token=secret"])
    return path


def fake_git(tmp_path: Path, monkeypatch, script: str) -> None:
    directory = tmp_path / "bin"
    directory.mkdir()
    (directory / "git").write_text(f"#!/bin/sh\n{script}\n")
    (directory / "git").chmod(0o755)
    monkeypatch.setenv("REAL_GIT", shutil.which("git"))
    monkeypatch.setenv("PATH", str(directory), prepend=os.pathsep)


def test_all_of_it(repository):
    run("remote", "add", "origin", "https://alice:secret@example.org/a/b.git", cwd=repository)
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=repository, check=True, capture_output=True, text=True)
    collected = git.collect(30)
    assert collected == {
        "path": str(repository),
        "remote": "https://example.org/a/b.git",
        "branch": "dev",
        "commit": head.stdout.strip(),
        "dirty": False,
        "untracked": [],
        "entry_point": "sub/train.py",
    }
    assert "secret" not in dump(collected).decode()


def test_dirty_means_that_a_known_file_changed(repository):
    (repository / "new.txt").write_text("git does not know it")
    os.utime(repository / "sub" / "train.py", (1, 1))
    assert git.collect(30)["dirty"] is False
    (repository / "sub" / "train.py").write_text("print(1)")
    assert git.collect(30)["dirty"] is True
    run("add", ".", cwd=repository)
    assert git.collect(30)["dirty"] is True


def test_dirty_looks_at_the_whole_repository_even_from_below(repository):
    run("config", "status.relativePaths", "true", cwd=repository)
    (repository / "top.txt").write_text("1")
    run("add", ".", cwd=repository)
    assert git.collect(30)["dirty"] is True


def test_a_detached_head_has_no_branch(repository):
    run("checkout", "--detach", cwd=repository)
    collected = git.collect(30)
    assert collected["branch"] is None
    assert collected["commit"]


def test_a_repository_without_commits(tmp_path, monkeypatch):
    run("init", "--initial-branch", "dev", cwd=tmp_path)
    monkeypatch.setattr(sys, "argv", [""])
    collected = git.collect(30)
    assert (collected["branch"], collected["commit"], collected["dirty"]) == ("dev", None, False)


class TestWhere:
    def test_the_repository_of_the_script_comes_before_the_working_directory(self, repository, tmp_path, monkeypatch):
        other = tmp_path / "other"
        other.mkdir()
        run("init", cwd=other)
        monkeypatch.chdir(other)
        assert git.collect(30)["path"] == str(repository)

    @pytest.mark.parametrize("script", ["", "-c", "bin/tool", "missing.py", "\0.py"])
    def test_without_a_script_it_is_the_working_directory(self, repository, monkeypatch, script):
        monkeypatch.chdir(repository / "sub")
        monkeypatch.setattr(sys, "argv", [script])
        collected = git.collect(30)
        assert (collected["path"], collected["entry_point"]) == (str(repository), None)

    def test_argv_may_be_empty(self, repository, monkeypatch):
        monkeypatch.chdir(repository)
        monkeypatch.setattr(sys, "argv", [])
        assert git.collect(30)["path"] == str(repository)

    def test_an_installed_program_is_no_script(self, repository, tmp_path, monkeypatch):
        """An interpreter may itself lie in a repository, as with pyenv."""
        launcher = repository / "lib" / "site-packages" / "tool" / "__main__.py"
        launcher.parent.mkdir(parents=True)
        launcher.write_text("")
        monkeypatch.setattr(sys, "argv", [str(launcher)])
        assert git.collect(30) == {}

    def test_a_script_outside_of_any_repository(self, repository, tmp_path, monkeypatch):
        (tmp_path / "train.py").write_text("")
        monkeypatch.setattr(sys, "argv", [str(tmp_path / "train.py")])
        assert git.collect(30) == {}
        monkeypatch.chdir(repository)
        collected = git.collect(30)
        assert (collected["path"], collected["entry_point"]) == (str(repository), None)

    def test_through_a_link(self, repository, tmp_path, monkeypatch):
        (tmp_path / "link").symlink_to(repository)
        monkeypatch.setattr(sys, "argv", [str(tmp_path / "link" / "sub" / "train.py")])
        assert git.collect(30)["entry_point"] == "sub/train.py"

    def test_a_working_directory_that_is_gone(self, tmp_path, monkeypatch):
        monkeypatch.setattr(sys, "argv", [""])
        (tmp_path / "gone").mkdir()
        monkeypatch.chdir(tmp_path / "gone")
        (tmp_path / "gone").rmdir()
        assert git.collect(30) == {}
        monkeypatch.chdir(tmp_path)

    def test_names_that_are_no_unicode(self, repository, monkeypatch):
        odd = os.fsencode(repository) + b"/caf\xe9.py"
        with open(odd, "wb"):
            pass
        monkeypatch.setattr(sys, "argv", [os.fsdecode(odd)])
        collected = git.collect(30)
        assert collected["entry_point"] == "caf\\xe9.py"
        dump(collected)


TOKEN = f"ghp_{'a1B2' * 9}"


class TestRemote:
    @pytest.mark.long
    @pytest.mark.parametrize(
        ("url", "kept"),
        [
            ("https://user:secret@example.org/a.git", "https://example.org/a.git"),
            ("https://secret@example.org:8443/a.git", "https://example.org:8443/a.git"),
            ("https://user:sec@ret@example.org/a", "https://example.org/a"),
            ("https://user:sec/ret@example.org/a", "https://example.org/a"),
            ("https://example.org/a.git?token=secret#secret", "https://example.org/a.git"),
            ("https://example.org:8443/@scope/a", "https://example.org:8443/@scope/a"),
            ("ssh://git@example.org:22/a.git", "ssh://git@example.org:22/a.git"),
            ("ssh://git:secret@example.org/a.git", "ssh://git@example.org/a.git"),
            ("git@example.org:a/b.git", "git@example.org:a/b.git"),
            ("git:secret@example.org:a/b.git", "git@example.org:a/b.git"),
            ("git:sec/ret@example.org:a/b.git", "git@example.org:a/b.git"),
            ("x-access-token:ghs_secret@github.com:a/b.git", "x-access-token@github.com:a/b.git"),
            ("https://x-access-token:ghs_secret@github.com/a/b.git", "https://github.com/a/b.git"),
            ("https://oauth2:secret@gitlab.com/a/b.git", "https://gitlab.com/a/b.git"),
            (f"{TOKEN}@github.com:a/b.git", "github.com:a/b.git"),
            (f"ssh://{TOKEN}@github.com/a/b.git", "ssh://github.com/a/b.git"),
            ("0123456789abcdef0123456789abcdef01234567@github.com:a/b", "github.com:a/b"),
            ("user:secret@github.com/a/b.git", "user@github.com/a/b.git"),
            ("git+https://user:secret@example.org/a", "git+https://example.org/a"),
            ("git+ssh://git:secret@example.org/a", "git+ssh://git@example.org/a"),
            ("ssh+git://git:secret@example.org/a", "ssh+git://example.org/a"),
            ("ssh://git:sec@ret@example.org/a", "ssh://git@example.org/a"),
            ("ssh://git:sec/ret@example.org/a", "ssh://git@example.org/a"),
            ("ssh://git@example.org/a?token=secret", "ssh://git@example.org/a"),
            ("git@example.org:a?private_token=secret", "git@example.org:a"),
            ("ftp://user:sec ret@example.org/a", "ftp://example.org/a"),
            ("HTTPS://user:secret@example.org/a", "HTTPS://example.org/a"),
            ("https://user%40a:secret@example.org/a", "https://example.org/a"),
            ("https://[::1]:8080/a", "https://[::1]:8080/a"),
            ("https://user:secret@[::1]:8080/a", "https://[::1]:8080/a"),
            ("http::https://user:secret@example.org/a", "http::https://example.org/a"),
            ("ext::ssh -i secret user:secret@example.org %S a", "ext::***"),
            (f"https://example.org/{TOKEN}/a", "https://example.org/***/a"),
            ("codecommit::eu-west-1://profile@a", "codecommit::eu-west-1://a"),
            ("example.org:a/b.git", "example.org:a/b.git"),
            ("../a@b.git", "../a@b.git"),
            ("C:/git/a@b", "C:/git/a@b"),
            ("/srv/git/a.git", "/srv/git/a.git"),
            ("file:///srv/a.git", "file:///srv/a.git"),
        ],
    )
    def test_credentials_are_dropped(self, repository, url, kept):
        run("config", "remote.origin.url", url, cwd=repository)
        assert git.collect(30)["remote"] == kept

    def test_what_takes_the_place_of_an_address_is_not_looked_up(self, repository):
        run("config", "remote.origin.url", "gh:a/b", cwd=repository)
        run("config", "url.https://user:secret@example.org/.insteadOf", "gh:", cwd=repository)
        run("config", "url.https://user:secret@example.org/.pushInsteadOf", "gh:", cwd=repository)
        assert git.collect(30)["remote"] == "gh:a/b"

    def test_origin_comes_first_and_then_the_first(self, repository):
        run("remote", "add", "first", "https://example.org/first", cwd=repository)
        run("remote", "add", "second", "https://example.org/second", cwd=repository)
        assert git.collect(30)["remote"] == "https://example.org/first"
        run("remote", "add", "origin", "https://example.org/origin", cwd=repository)
        assert git.collect(30)["remote"] == "https://example.org/origin"


class TestNeverAnError:
    def test_no_repository(self, tmp_path, monkeypatch):
        monkeypatch.setattr(sys, "argv", [""])
        assert git.collect(30) == {}

    def test_no_git(self, repository, tmp_path, monkeypatch):
        monkeypatch.setenv("PATH", str(tmp_path))
        assert git.collect(30) == {}
        (tmp_path / "git").write_bytes(b"\x7fno program")
        (tmp_path / "git").chmod(0o755)
        assert git.collect(30) == {}

    @pytest.mark.parametrize("damage", ["HEAD", "config", "objects"])
    def test_a_broken_repository(self, repository, damage):
        path = repository / ".git" / damage
        shutil.rmtree(path) if path.is_dir() else path.write_bytes(b"\0\xff[broken")
        collected = git.collect(30)
        assert collected.get("dirty") is None

    def test_a_repository_of_somebody_else(self, repository):
        if os.geteuid() != 0:
            pytest.skip("needs root to give the repository to another user")
        for path in [repository, *repository.rglob("*")]:
            os.chown(path, 65534, 65534)
        assert git.collect(30) == {}

    def test_nothing_is_asked_and_nothing_is_locked(self, repository, tmp_path, monkeypatch):
        fake_git(tmp_path, monkeypatch, f'env >> {tmp_path}/environment; read -r line && exit 3; exec "$REAL_GIT" "$@"')
        index = (repository / ".git" / "index").stat().st_mtime_ns
        os.utime(repository / "sub" / "train.py", (1, 1))
        assert git.collect(30)["branch"] == "dev"
        environment = (tmp_path / "environment").read_text().splitlines()
        for setting in ("GIT_OPTIONAL_LOCKS=0", "GIT_TERMINAL_PROMPT=0", "GIT_NO_LAZY_FETCH=1", "LC_ALL=C"):
            assert setting in environment
        assert (repository / ".git" / "index").stat().st_mtime_ns == index

    def test_no_program_that_the_repository_names_is_run(self, repository, tmp_path):
        program = f"touch {tmp_path}/ran; echo"
        (repository / ".gitattributes").write_text("*.py diff=evil\n")
        for key in ("core.fsmonitor", "diff.external", "diff.evil.command", "diff.evil.textconv"):
            run("config", key, program, cwd=repository)
        (repository / "sub" / "train.py").write_text("changed")
        assert git.collect(30)["dirty"] is True
        assert not (tmp_path / "ran").exists()


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


class TestSlowGit:
    @pytest.mark.long
    def test_is_killed_with_its_children_and_what_is_known_stays(self, repository, tmp_path, monkeypatch):
        pids = tmp_path / "pids"
        slow = f"sleep 600 & echo $! $$ > {pids}; wait"
        fake_git(tmp_path, monkeypatch, f'case "$*" in *" status "*) {slow};; *) exec "$REAL_GIT" "$@";; esac')
        collected = git.collect(3)
        assert collected["branch"] == "dev"
        assert collected["dirty"] is None
        assert collected["entry_point"] == "sub/train.py"
        for pid in map(int, pids.read_text().split()):
            while is_alive(pid):
                time.sleep(0.01)

    def test_from_the_first_question_on(self, repository, tmp_path, monkeypatch):
        fake_git(tmp_path, monkeypatch, f"echo x >> {tmp_path}/calls; sleep 600")
        assert git.collect(0.3) == {}
        assert (tmp_path / "calls").read_text() == "x\n"

    def test_no_time_at_all(self, repository):
        assert git.collect(0) == {}

    def test_a_child_that_left_the_group_is_not_waited_for(self, repository, tmp_path, monkeypatch):
        fake_git(tmp_path, monkeypatch, f"setsid sleep 600 & echo $! > {tmp_path}/pid")
        assert git.collect(0.5) == {}
        os.kill(int((tmp_path / "pid").read_text()), 9)

    def test_output_without_end(self, repository, tmp_path, monkeypatch):
        fake_git(tmp_path, monkeypatch, "exec yes")
        assert git.collect(0.3) == {}
